// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include <shootdown/env/native.hpp>
#include <shootdown/host/env.hpp>

SHOOTDOWN_BEGIN
namespace host {

/// For tests: an environment whose memory runs out when told to, and whose fail() counts and returns.
/// `Base` is any environment; `Tag` separates the state of tests that share a Base. The state is the process's: a test
/// begins with reset().
///
/// Sites: S1 draw (relaxed)  S2, S3 count (relaxed)  S4 text, first wins (relaxed)  S5 knobs and readings (relaxed)
template <class Base = env, class Tag = void>
struct fault_env : Base {
  /// The next `n` allocations succeed, every later one fails.
  static void fail_after(std::uint64_t n) noexcept {
    budget_.store(n, std::memory_order_relaxed);  // S5 relaxed: set while no other thread allocates
  }
  static void allow_all() noexcept { fail_after(unlimited); }
  static void reset() noexcept {
    allow_all();
    failures_.store(0, std::memory_order_relaxed);          // S5 relaxed: as above
    first_text_.store(nullptr, std::memory_order_relaxed);  // S5 relaxed: as above
  }
  /// Allocations not yet given back: 0 at the end of a test that leaks nothing.
  [[nodiscard]] static std::int64_t live() noexcept {
    return static_cast<std::int64_t>(live_.load(std::memory_order_relaxed));  // S5 relaxed: a number by itself
  }
  [[nodiscard]] static std::uint32_t failures() noexcept {
    return failures_.load(std::memory_order_relaxed);  // S5 relaxed: a number by itself
  }
  [[nodiscard]] static const char* first_failure() noexcept {
    return first_text_.load(std::memory_order_relaxed);  // S5 relaxed: it points to a literal
  }

  [[nodiscard]] static void* allocate(std::size_t bytes, std::size_t align) noexcept {
    if (!draw()) return nullptr;
    void* const p = Base::allocate(bytes, align);
    if (p != nullptr) live_.fetch_add(1, std::memory_order_relaxed);  // S2 relaxed: a number by itself
    return p;
  }
  static void deallocate(void* p, std::size_t bytes, std::size_t align) noexcept {
    if (p != nullptr) live_.fetch_sub(1, std::memory_order_relaxed);  // S3 relaxed: a number by itself
    Base::deallocate(p, bytes, align);
  }
  static void fail(const char* text) noexcept {
    const char* none = nullptr;
    // S4 relaxed, both: only uniqueness counts
    first_text_.compare_exchange_strong(none, text, std::memory_order_relaxed, std::memory_order_relaxed);
    failures_.fetch_add(1, std::memory_order_relaxed);  // S3 relaxed: a number by itself
  }

 private:
  static constexpr std::uint64_t unlimited = ~std::uint64_t{0};

  static bool draw() noexcept {
    std::uint64_t left = budget_.load(std::memory_order_relaxed);  // S1 relaxed: the compare-exchange below decides
    while (left != 0 && left != unlimited) {
      // S1 relaxed, both: a number by itself
      if (budget_.compare_exchange_weak(left, left - 1, std::memory_order_relaxed, std::memory_order_relaxed)) return true;
    }
    return left != 0;
  }

  static inline constinit native_atomic<std::uint64_t> budget_{unlimited};
  static inline constinit native_atomic<std::uint64_t> live_{0};
  static inline constinit native_atomic<std::uint32_t> failures_{0};
  static inline constinit native_atomic<const char*> first_text_{nullptr};
};

static_assert(require_environment<fault_env<>>());

}  // namespace host
SHOOTDOWN_END
