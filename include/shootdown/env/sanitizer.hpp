// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>

#include <shootdown/config.hpp>

// Which sanitizer this translation unit is built with, and the annotations the hosted environments need. Nothing is
// included and nothing is emitted in a build without one, so the freestanding core may see this file.
#if defined(__SANITIZE_THREAD__)
#define SHOOTDOWN_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define SHOOTDOWN_TSAN 1
#endif
#endif
#ifndef SHOOTDOWN_TSAN
#define SHOOTDOWN_TSAN 0
#endif

#if defined(__SANITIZE_ADDRESS__)
#define SHOOTDOWN_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SHOOTDOWN_ASAN 1
#endif
#endif
#ifndef SHOOTDOWN_ASAN
#define SHOOTDOWN_ASAN 0
#endif

// A function whose plain accesses ThreadSanitizer does not look at: bookkeeping of a scheduler of fibers, which is one
// thread's in the machine and many threads' in its eyes. See also tsan_ignore, for the inside of a function.
#if SHOOTDOWN_TSAN
#define SHOOTDOWN_TSAN_UNSEEN __attribute__((noinline, no_sanitize("thread")))
#else
#define SHOOTDOWN_TSAN_UNSEEN
#endif

#if SHOOTDOWN_TSAN
extern "C" {
void __tsan_acquire(void* address);  // NOLINT(bugprone-reserved-identifier): the run-time's own names
void __tsan_release(void* address);  // NOLINT(bugprone-reserved-identifier)
void AnnotateIgnoreReadsBegin(const char* file, int line);
void AnnotateIgnoreReadsEnd(const char* file, int line);
void AnnotateIgnoreWritesBegin(const char* file, int line);
void AnnotateIgnoreWritesEnd(const char* file, int line);
}
#endif

SHOOTDOWN_BEGIN

/// Tells ThreadSanitizer about an ordering that a library it cannot see provides: everything before tsan_release(p)
/// happens before everything after a later tsan_acquire(p). They order nothing in the machine.
inline void tsan_acquire([[maybe_unused]] void* address) noexcept {
#if SHOOTDOWN_TSAN
  __tsan_acquire(address);
#endif
}
inline void tsan_release([[maybe_unused]] void* address) noexcept {
#if SHOOTDOWN_TSAN
  __tsan_release(address);
#endif
}

/// While it lives, ThreadSanitizer does not look at this thread's plain accesses and allocations: for words whose ordering
/// is somebody else's secret (a library's own, a scheduler's bookkeeping). Atomics and locks still count.
class tsan_ignore {
 public:
#if SHOOTDOWN_TSAN
  tsan_ignore() noexcept {
    AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
    AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
  }
  ~tsan_ignore() noexcept {
    AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
    AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
  }
#else
  tsan_ignore() noexcept {}
  ~tsan_ignore() noexcept {}
#endif
  tsan_ignore(const tsan_ignore&) = delete;
  tsan_ignore& operator=(const tsan_ignore&) = delete;
};

SHOOTDOWN_END
