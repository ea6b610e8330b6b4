// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <type_traits>

#include <shootdown/env/check.hpp>
#include <shootdown/sim/timed_machine.hpp>

SHOOTDOWN_BEGIN
namespace sim {

/// The library on the reference machine in virtual time: up to 256 CPUs, each with its own clock, on shared cache lines.
///
/// atomic, dma_word   timed_world: hits are local, everything else waits for its line
/// now                the CPU's own clock, free
/// relax, wait_event  sleep until a line read since the last turn changes, or a tick (timed_lines::pause); a CMD_SYNC with
///                    CS = SEV ends every wait_event
/// full_fence         free: CPUs execute in order and have no store buffer
/// irq_guard          while one is held, the CPU can be preempted at its first store to device memory (timed_options)
/// mutex              a waiter is blocked: cycles of waiters are reported as a deadlock
/// rcu                guards are free; callbacks run when the last guard that existed at retire is gone, at no cost
/// stats              into the report of the run
/// fail               is counted in the report and returns; outside of a run it ends the process
/// Progress: everything waits for the scheduler. Not for: interleavings nobody's timing produces, weak memory (sim/env.hpp).
///
/// Sites: S1 publish (release) -> S2 dereference (acquire)
struct timed_env {
  template <class T>
  using atomic = atomic_of<T, timed_world>;
  using dma_word = dma_word_of<timed_world>;
  using trace = null_trace;

  struct stats {
    static void add(counter c, std::uint64_t n = 1) noexcept {
      if (auto* const m = detail::timed_running()) m->count(c, n);
    }
  };

  struct rcu {
    using head = detail::timed_retired;

    class [[nodiscard]] guard {
     public:
      guard() noexcept : machine_{detail::timed_running()} {
        if (machine_ == nullptr) return;
        machine_->scheduler.order();
        timed_cpu& c = *machine_->scheduler.current();
        if (c.guards++ == 0) c.guard_number = machine_->next_guard++;
      }
      ~guard() noexcept {
        if (machine_ == nullptr) return;
        machine_->scheduler.order();
        --machine_->scheduler.current()->guards;
      }
      guard(const guard&) = delete;
      guard& operator=(const guard&) = delete;

     private:
      detail::timed_machine* machine_;
    };

    static void retire(head& h, void (*fn)(head*) noexcept) noexcept {
      auto* const m = detail::timed_running();
      if (m == nullptr) return fn(&h);  // between runs nobody holds a guard
      m->scheduler.order();
      m->retire(h, fn);
    }
    static void synchronize() noexcept {
      auto* const m = detail::timed_running();
      if (m == nullptr) return;
      m->scheduler.order();
      const std::uint64_t stamp = m->next_guard;
      wait_for(*m, "rcu::synchronize inside a guard never ends", [m, stamp] { return m->oldest_guard() >= stamp; });
    }
    static void drain() noexcept {
      auto* const m = detail::timed_running();
      if (m == nullptr) return;
      m->scheduler.order();
      const std::uint64_t retired = m->retired_count;
      wait_for(*m, "rcu::drain inside a guard never ends", [m, retired] { return m->called_count >= retired; });
    }
    static void quiescent() noexcept {}

    template <class T>
    static void publish(atomic<T*>& slot, std::type_identity_t<T*> p) noexcept {
      slot.store(p, std::memory_order_release);  // S1 release -> S2: *p is complete before the pointer is seen
    }
    template <class T>
    [[nodiscard]] static T* dereference(const atomic<T*>& slot) noexcept {
      return slot.load(std::memory_order_acquire);  // S2 acquire: pairs with S1
    }

   private:
    /// Grace periods are looked at once a microsecond.
    template <class Done>
    static void wait_for(detail::timed_machine& m, const char* in_guard, Done done) noexcept {
      timed_cpu& c = *m.scheduler.current();
      if (c.guards != 0) return m.fail(in_guard);
      while (!done()) m.scheduler.sleep_until(c.clock + timed_lines::first_tick);
    }
  };

  static void full_fence() noexcept {}
  static void dma_publish(const void*, std::size_t) noexcept {}
  static void dma_observe(const void*, std::size_t) noexcept {}

  static void relax() noexcept {
    if (auto* const m = detail::timed_running()) m->lines.pause(~std::uint64_t{0});
  }
  static void wait_event(deadline d) noexcept {
    if (auto* const m = detail::timed_running()) m->lines.wait_event(since_epoch(d.at));
  }
  static instant now() noexcept {
    const auto* const m = detail::timed_now;
    return instant{m == nullptr ? 0 : m->scheduler.now()};
  }

  static unsigned cpu() noexcept {
    auto* const m = detail::timed_running();
    return m == nullptr ? 0 : m->scheduler.current()->index;
  }
  struct irq_guard {
    irq_guard() noexcept {
      auto* const m = detail::timed_running();
      if (m == nullptr) return;
      timed_cpu& c = *m->scheduler.current();
      if (c.irqs_off++ == 0) c.doomed = m->scheduler.chance(m->options.preempted_in_1000);
    }
    ~irq_guard() noexcept {
      auto* const m = detail::timed_running();
      if (m == nullptr) return;
      timed_cpu& c = *m->scheduler.current();
      if (--c.irqs_off == 0) c.doomed = false;
    }
    irq_guard(const irq_guard&) = delete;
    irq_guard& operator=(const irq_guard&) = delete;
  };
  class mutex {
   public:
    void lock() noexcept {
      auto* const m = detail::timed_running();
      if (m == nullptr) {
        if (held_) fail("mutex: locked again by the only flow");
        held_ = true;
        return;
      }
      m->lines.access(this, true, reference_machine::local_rmw);
      timed_cpu& c = *m->scheduler.current();
      if (held_) {
        waiting_.push_back(&c);
        m->scheduler.block();  // whoever unlocks hands it over
        return;
      }
      held_ = true;
    }
    void unlock() noexcept {
      auto* const m = detail::timed_running();
      if (m == nullptr) {
        held_ = false;
        return;
      }
      m->lines.access(this, true, reference_machine::hit);
      if (waiting_.empty()) {
        held_ = false;
        return;
      }
      timed_cpu& next = *waiting_.front();
      waiting_.erase(waiting_.begin());
      m->scheduler.wake(next, m->scheduler.now() + reference_machine::line_transfer);
    }

   private:
    bool held_{};
    std::vector<timed_cpu*> waiting_;  // oldest first
  };

  [[nodiscard]] static void* allocate(std::size_t bytes, std::size_t align) noexcept {
    const std::size_t whole_lines = (bytes + cache_line - 1) / cache_line * cache_line;  // which words share one must not be luck
    return ::operator new(whole_lines, std::align_val_t{std::max(align, cache_line)}, std::nothrow);
  }
  static void deallocate(void* p, std::size_t, std::size_t align) noexcept {
    ::operator delete(p, std::align_val_t{std::max(align, cache_line)});
  }

  static void fail(const char* text) noexcept {
    if (auto* const m = detail::timed_running()) return m->fail(text);
    std::fprintf(stderr, "shootdown: contract violated: %s\n", text);
    std::abort();
  }
};
static_assert(require_environment<timed_env>());

}  // namespace sim
SHOOTDOWN_END
