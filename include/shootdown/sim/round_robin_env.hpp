// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <type_traits>

#include <shootdown/env/check.hpp>
#include <shootdown/env/native.hpp>
#include <shootdown/sim/round_robin.hpp>

SHOOTDOWN_BEGIN
namespace sim {

namespace detail {
/// Before every access another fiber may run; a write wakes those who wait for an event.
inline void before_read() noexcept { switch_point(); }
inline void before_write() noexcept {
  switch_point();
  if (running_world != nullptr) note_write(*running_world);
}
}  // namespace detail

/// An atomic whose every operation is a switch point. Interleavings only: between two switches one fiber runs alone, so all
/// orders behave as seq_cst. The orders still reach ThreadSanitizer, which reports the ones that do not suffice.
/// Sites: S1..S10 have the order of the caller, whose own site names the partner.
template <class T>
class round_robin_atomic {
 public:
  constexpr round_robin_atomic() noexcept = default;
  constexpr explicit round_robin_atomic(T v) noexcept : v_{v} {}

  [[nodiscard]] T load(std::memory_order o) const noexcept { return detail::before_read(), v_.load(o); }  // S1 the caller's order
  void store(T v, std::memory_order o) noexcept { detail::before_write(), v_.store(v, o); }               // S2 the caller's order
  T exchange(T v, std::memory_order o) noexcept { return detail::before_write(), v_.exchange(v, o); }     // S3 the caller's order
  bool compare_exchange_weak(T& expected, T v, std::memory_order ok, std::memory_order failed) noexcept {
    return detail::before_write(), v_.compare_exchange_strong(expected, v, ok, failed);  // S4 the caller's orders
  }
  bool compare_exchange_strong(T& expected, T v, std::memory_order ok, std::memory_order failed) noexcept {
    return detail::before_write(), v_.compare_exchange_strong(expected, v, ok, failed);  // S5 the caller's orders
  }
  T fetch_add(T v, std::memory_order o) noexcept
    requires std::integral<T>
  {
    return detail::before_write(), v_.fetch_add(v, o);  // S6 the caller's order
  }
  T fetch_sub(T v, std::memory_order o) noexcept
    requires std::integral<T>
  {
    return detail::before_write(), v_.fetch_sub(v, o);  // S7 the caller's order
  }
  T fetch_and(T v, std::memory_order o) noexcept
    requires std::integral<T>
  {
    return detail::before_write(), v_.fetch_and(v, o);  // S8 the caller's order
  }
  T fetch_or(T v, std::memory_order o) noexcept
    requires std::integral<T>
  {
    return detail::before_write(), v_.fetch_or(v, o);  // S9 the caller's order
  }
  T fetch_xor(T v, std::memory_order o) noexcept
    requires std::integral<T>
  {
    return detail::before_write(), v_.fetch_xor(v, o);  // S10 the caller's order
  }

 private:
  native_atomic<T> v_{};
};
static_assert(sizeof(round_robin_atomic<std::uint64_t>) == 8);

/// The same for cells shared with a device.
/// Sites: S11..S13 have the order of the caller, whose own site names the partner.
class round_robin_dma_word {
 public:
  [[nodiscard]] std::uint64_t load(std::memory_order o) const noexcept {
    return detail::before_read(), v_.load(o);  // S11 the caller's order
  }
  void store(std::uint64_t v, std::memory_order o) noexcept {
    detail::before_write(), v_.store(v, o);  // S12 the caller's order
  }
  void store_low(std::uint32_t v, std::memory_order o) noexcept {
    detail::before_write(), v_.store_low(v, o);  // S13 the caller's order
  }

 private:
  native_dma_word v_{};
};

/// The third world of the library: fibers of one thread, switched one operation at a time, repeatable (round_robin).
///
/// Switch points: every operation of atomic and dma_word, full_fence, relax, wait_event, mutex, synchronize and drain.
/// Outside of a run the same members work for one flow: nothing switches, the clock stands, retired objects go as soon as
/// no guard is held; so worlds are built and inspected before and after the run.
/// rcu          exact: a callback runs when the guards that existed at retire are gone, on the reclaimer fiber, so never
///              inside retire and at the earliest moment the contract allows
/// wait_event   sleeps until some fiber writes to an atomic or dma_word, or the deadline; time jumps when all sleep
/// mutex        a waiter is blocked, not spinning: cycles of waiters are reported as a deadlock
/// fail         is counted in the report and returns; outside of a run it ends the process
/// Progress: everything waits for the scheduler. Not for: weak memory (every step is visible to all at once).
///
/// Sites: S14 publish (release) -> S15 dereference (acquire)
template <class Stats = null_stats, class Trace = null_trace>
struct basic_round_robin_env {
  template <class T>
  using atomic = round_robin_atomic<T>;
  using dma_word = round_robin_dma_word;
  using stats = Stats;
  using trace = Trace;

  struct rcu {
    using head = detail::retired;

    class [[nodiscard]] guard {
     public:
      guard() noexcept : world_{&detail::here()} {
        {
          const detail::bookkeeping quiet;
          flow_ = world_->current;
          if (flow_->guards++ == 0) flow_->guard_number = world_->next_guard++;
        }
        tsan_acquire(&world_->gp_start);
      }
      ~guard() noexcept {
        tsan_release(&world_->gp_end);
        {
          const detail::bookkeeping quiet;
          --flow_->guards;
        }
        if (detail::running_world == nullptr) detail::call_due(*world_);
      }
      guard(const guard&) = delete;
      guard& operator=(const guard&) = delete;

     private:
      detail::world* world_;
      detail::flow* flow_;
    };

    static void retire(head& h, void (*fn)(head*) noexcept) noexcept {
      detail::world& w = detail::here();
      tsan_release(&h);
      {
        const detail::bookkeeping quiet;
        h = head{nullptr, fn, w.next_guard};
        (w.first == nullptr ? w.first : w.last->next) = &h;
        w.last = &h;
        ++w.retired_count;
      }
      if (detail::running_world == nullptr) detail::call_due(w);
    }
    static void synchronize() noexcept {
      detail::world& w = detail::here();
      tsan_release(&w.gp_start);
      const std::uint64_t stamp = [&w] {
        const detail::bookkeeping quiet;
        return w.next_guard;
      }();
      if (!detail::wait_until([&w, stamp] { return w.oldest_guard() >= stamp; })) fail("rcu::synchronize inside a guard never ends");
      tsan_acquire(&w.gp_end);
    }
    static void drain() noexcept {
      detail::world& w = detail::here();
      const std::uint64_t count = [&w] {
        const detail::bookkeeping quiet;
        return w.retired_count;
      }();
      if (!detail::wait_until([&w, count] { return w.called_count >= count; })) fail("rcu::drain inside a guard never ends");
      tsan_acquire(&w.gp_called);
    }
    static void quiescent() noexcept {}

    template <class T>
    static void publish(atomic<T*>& slot, std::type_identity_t<T*> p) noexcept {
      slot.store(p, std::memory_order_release);  // S14 release -> S15: *p is complete before the pointer is seen
    }
    template <class T>
    [[nodiscard]] static T* dereference(const atomic<T*>& slot) noexcept {
      return slot.load(std::memory_order_acquire);  // S15 acquire: pairs with S14
    }
  };

  static void full_fence() noexcept { detail::switch_point(); }
  static void dma_publish(const void*, std::size_t) noexcept {}
  static void dma_observe(const void*, std::size_t) noexcept {}

  static void relax() noexcept { detail::switch_point(true); }
  static void wait_event(deadline d) noexcept {
    detail::world& w = detail::here();
    const std::uint64_t seen = [&w] {
      const detail::bookkeeping quiet;
      return w.writes;
    }();
    detail::wait_until([&w, seen] { return w.writes != seen; }, d.at);
  }
  static instant now() noexcept {
    const detail::bookkeeping quiet;
    return detail::here().clock;
  }

  static unsigned cpu() noexcept {
    const detail::bookkeeping quiet;
    return detail::here().current->index;
  }
  struct irq_guard {  // a fiber is a CPU of its own; the others go on while its interrupts are off
    irq_guard() noexcept {}
    ~irq_guard() noexcept {}
    irq_guard(const irq_guard&) = delete;
    irq_guard& operator=(const irq_guard&) = delete;
  };
  class mutex {
   public:
    void lock() noexcept {
      if (!detail::wait_until([this] { return !held_; })) fail("mutex: locked again by the only flow");
      {
        const detail::bookkeeping quiet;
        held_ = true;
      }
      tsan_acquire(this);
    }
    void unlock() noexcept {
      tsan_release(this);
      {
        const detail::bookkeeping quiet;
        held_ = false;
      }
      detail::switch_point();
    }

   private:
    bool held_{};
  };

  [[nodiscard]] static void* allocate(std::size_t bytes, std::size_t align) noexcept {
    return ::operator new(bytes, std::align_val_t{std::max(align, alignof(std::max_align_t))}, std::nothrow);
  }
  static void deallocate(void* p, std::size_t, std::size_t align) noexcept {
    ::operator delete(p, std::align_val_t{std::max(align, alignof(std::max_align_t))});
  }

  static void fail(const char* text) noexcept {
    if (detail::running_world == nullptr) {
      std::fprintf(stderr, "shootdown: contract violated: %s\n", text);
      std::abort();
    }
    const detail::bookkeeping quiet;
    run_report& r = detail::running_world->report;
    if (r.failures++ == 0) r.first_failure = text;
  }
};

using round_robin_env = basic_round_robin_env<>;
static_assert(require_environment<round_robin_env>());

}  // namespace sim
SHOOTDOWN_END
