// SPDX-License-Identifier: MIT
#pragma once

#include <string_view>
#include <utility>
#include <vector>

#include <shootdown/env/native.hpp>
#include <shootdown/sim/env.hpp>
#include <shootdown/sim/explore.hpp>

// What the explorer runs: worlds small enough to be tried in very many schedules. Every scenario that must hold has twins in
// which one step is left out; a twin must fail, or its scenario proves nothing.
namespace scenarios {

using shootdown::sim::trial;

/// One scenario of the collection.
struct entry {
  shootdown::sim::scenario play;
  std::string_view twin_of{};  ///< broken: the scenario that this is with something left out
  bool weak_only{};            ///< broken: no interleaving shows it, only weak memory does
  bool small{};                ///< a few hundred steps: depth first reaches far
  unsigned interrupts{};       ///< the scenario has a handler: so many interrupts a trial

  [[nodiscard]] bool broken() const noexcept { return !twin_of.empty(); }
};
using collection = std::vector<entry>;

/// What the scenarios run in: the simulator's environment, in which the judges are no part of the world.
struct env : shootdown::sim::env {
  struct bystander {
    template <class T>
    using atomic = shootdown::native_atomic<T>;
    struct mutex {
      void lock() noexcept {}
      void unlock() noexcept {}
    };
  };
};

// Environments with something missing, for twins.

/// Full fences do nothing.
struct env_without_fences : env {
  static void full_fence() noexcept {}
};
/// Interrupts come at any time.
struct env_without_irq_guard : env {
  struct irq_guard {
    irq_guard() noexcept {}
    ~irq_guard() {}
    irq_guard(const irq_guard&) = delete;
    irq_guard& operator=(const irq_guard&) = delete;
  };
};

/// Atomics whose loads do not acquire, or whose stores do not release.
template <class T, bool Acquire, bool Release>
struct careless_atomic : shootdown::sim::atomic_of<T, shootdown::sim::explored> {
  using base = shootdown::sim::atomic_of<T, shootdown::sim::explored>;
  using where = shootdown::sim::where;
  using base::base;
  using order = std::memory_order;

  [[nodiscard]] static constexpr order less(order o) noexcept {
    const bool acquires = Acquire && (o == order::acquire || o == order::acq_rel);
    const bool releases = Release && (o == order::release || o == order::acq_rel);
    return o == order::seq_cst    ? o
           : acquires && releases ? order::acq_rel
           : acquires             ? order::acquire
           : releases             ? order::release
                                  : order::relaxed;
  }
  [[nodiscard]] T load(order o, const where& w = where::current()) const noexcept { return base::load(less(o), w); }
  void store(T v, order o, const where& w = where::current()) noexcept { base::store(v, less(o), w); }
  T exchange(T v, order o, const where& w = where::current()) noexcept { return base::exchange(v, less(o), w); }
  bool compare_exchange_weak(T& e, T v, order ok, order failed, const where& w = where::current()) noexcept {
    return base::compare_exchange_weak(e, v, less(ok), less(failed), w);
  }
  bool compare_exchange_strong(T& e, T v, order ok, order failed, const where& w = where::current()) noexcept {
    return base::compare_exchange_strong(e, v, less(ok), less(failed), w);
  }
  T fetch_add(T v, order o, const where& w = where::current()) noexcept
    requires std::integral<T>
  {
    return base::fetch_add(v, less(o), w);
  }
  T fetch_sub(T v, order o, const where& w = where::current()) noexcept
    requires std::integral<T>
  {
    return base::fetch_sub(v, less(o), w);
  }
  T fetch_and(T v, order o, const where& w = where::current()) noexcept
    requires std::integral<T>
  {
    return base::fetch_and(v, less(o), w);
  }
  T fetch_or(T v, order o, const where& w = where::current()) noexcept
    requires std::integral<T>
  {
    return base::fetch_or(v, less(o), w);
  }
  T fetch_xor(T v, order o, const where& w = where::current()) noexcept
    requires std::integral<T>
  {
    return base::fetch_xor(v, less(o), w);
  }
};
struct env_without_acquire : env {
  template <class T>
  using atomic = careless_atomic<T, false, true>;
};
struct env_without_release : env {
  template <class T>
  using atomic = careless_atomic<T, true, false>;
};

/// A number that several flows change under the protection of what is tested, and would not without it: in weak memory it
/// must also have been handed on.
template <class Env>
class shared_counter {
 public:
  void bump() noexcept { v_.store(v_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed); }
  [[nodiscard]] std::uint32_t get() const noexcept { return v_.load(std::memory_order_relaxed); }

 private:
  typename Env::template atomic<std::uint32_t> v_{0};
};

}  // namespace scenarios
