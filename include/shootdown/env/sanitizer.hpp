// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>

#include <shootdown/config.hpp>

// Which sanitizer this translation unit is built with, and the two annotations the hosted environments need. Nothing is
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

#if SHOOTDOWN_TSAN
extern "C" {
void __tsan_acquire(void* address);  // NOLINT(bugprone-reserved-identifier): the run-time's own names
void __tsan_release(void* address);  // NOLINT(bugprone-reserved-identifier)
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

SHOOTDOWN_END
