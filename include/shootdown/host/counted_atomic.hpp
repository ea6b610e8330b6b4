// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <concepts>
#include <cstdint>

#include <shootdown/env/native.hpp>
#include <shootdown/host/thread_stats.hpp>

SHOOTDOWN_BEGIN
namespace host {

/// native_atomic that counts: every read-modify-write as counter::shared_rmw, every compare-exchange that fails as
/// counter::failed_cas too (a failed one takes the line all the same). Loads and stores are free of counting.
/// A spurious failure of the weak form counts: it costs what a real one costs.
/// Cost: a thread-local increment per RMW. Not for the device side of a model in the same process: give the model an
/// environment that does not count, or its work is billed to the driver.
/// Sites: S1..S10 have the order of the caller, whose own site names the partner.
template <class T>
class counted_atomic {
 public:
  constexpr counted_atomic() noexcept = default;
  constexpr explicit counted_atomic(T v) noexcept : v_{v} {}

  [[nodiscard]] T load(std::memory_order o) const noexcept { return v_.load(o); }     // S1 the caller's order
  void store(T v, std::memory_order o) noexcept { v_.store(v, o); }                   // S2 the caller's order
  T exchange(T v, std::memory_order o) noexcept { return rmw(), v_.exchange(v, o); }  // S3 the caller's order
  bool compare_exchange_weak(T& expected, T v, std::memory_order ok, std::memory_order failed) noexcept {
    return cas(v_.compare_exchange_weak(expected, v, ok, failed));  // S4 the caller's orders
  }
  bool compare_exchange_strong(T& expected, T v, std::memory_order ok, std::memory_order failed) noexcept {
    return cas(v_.compare_exchange_strong(expected, v, ok, failed));  // S5 the caller's orders
  }
  T fetch_add(T v, std::memory_order o) noexcept
    requires std::integral<T>
  {
    return rmw(), v_.fetch_add(v, o);
  }  // S6 the caller's order
  T fetch_sub(T v, std::memory_order o) noexcept
    requires std::integral<T>
  {
    return rmw(), v_.fetch_sub(v, o);
  }  // S7 the caller's order
  T fetch_and(T v, std::memory_order o) noexcept
    requires std::integral<T>
  {
    return rmw(), v_.fetch_and(v, o);
  }  // S8 the caller's order
  T fetch_or(T v, std::memory_order o) noexcept
    requires std::integral<T>
  {
    return rmw(), v_.fetch_or(v, o);
  }  // S9 the caller's order
  T fetch_xor(T v, std::memory_order o) noexcept
    requires std::integral<T>
  {
    return rmw(), v_.fetch_xor(v, o);
  }  // S10 the caller's order

 private:
  static void rmw() noexcept { thread_stats::add(counter::shared_rmw); }
  static bool cas(bool succeeded) noexcept {
    thread_stats::add(counter::shared_rmw);
    if (!succeeded) thread_stats::add(counter::failed_cas);
    return succeeded;
  }
  native_atomic<T> v_{};
};
static_assert(sizeof(counted_atomic<std::uint64_t>) == 8);

}  // namespace host
SHOOTDOWN_END
