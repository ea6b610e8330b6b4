// SPDX-License-Identifier: MIT
#pragma once

#include <sched.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <new>
#include <thread>

#include <shootdown/env/check.hpp>
#include <shootdown/env/native.hpp>
#include <shootdown/host/counted_atomic.hpp>
#include <shootdown/host/rcu.hpp>
#include <shootdown/host/thread_stats.hpp>

SHOOTDOWN_BEGIN
namespace host {

/// The environment of a process: threads, std::mutex, the steady clock, a flavour of liburcu. Devices are other threads or
/// the model; memory is coherent. Every thread that uses the library holds an Env::rcu::thread_scope (bp: may hold one).
/// Link with the flavour's library: liburcu-memb, -mb, -bp or -qsbr.
///
/// Stats   what counts: null_stats, thread_stats
/// Trace   what records: null_trace
/// Atomic  native_atomic, counted_atomic
/// Rcu     memb_rcu, mb_rcu, bp_rcu, qsbr_rcu: see basic_rcu and, for what each costs, host::flavour
///
/// qsbr. A thread calls Env::rcu::quiescent() between its operations, and puts Env::rcu::blocking_region around waits of its
/// own. The waits of this environment that block do so by themselves: mutex, synchronize, drain. relax and wait_event give
/// the CPU away at most, so the library's own waits for the device, bounded by their deadlines, hold up grace periods in
/// every flavour alike.
///
/// Derive from it to change a member (fault_env does); the library sees only the derived type.
/// ThreadSanitizer: clean, see host::rcu for what is annotated and why full_fence is inline assembly in env/native.hpp.
template <class Stats = null_stats, class Trace = null_trace, template <class> class Atomic = native_atomic, class Rcu = host::rcu>
struct basic_env {
  template <class T>
  using atomic = Atomic<T>;
  using dma_word = native_dma_word;
  using rcu = Rcu;
  using stats = Stats;
  using trace = Trace;

  static void full_fence() noexcept { native_smp_fence(); }
  // The device is a thread: the release and acquire of its registers and words order everything.
  static void dma_publish(const void*, std::size_t) noexcept {}
  static void dma_observe(const void*, std::size_t) noexcept {}

  /// A pause; every 64th one of a thread gives the CPU away. With more threads than CPUs the one that is waited for may
  /// not be running, and a loop of pauses alone would then burn a whole time slice.
  static void relax() noexcept {
    static thread_local constinit unsigned turns = 0;
    if ((++turns & 63u) == 0)
      std::this_thread::yield();
    else
      native_relax();
  }
  /// No events between threads: gives the CPU away once, which is an early return.
  static void wait_event(deadline) noexcept { std::this_thread::yield(); }
  static instant now() noexcept {
    const auto t = std::chrono::steady_clock::now().time_since_epoch();
    return instant{static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(t).count())};
  }

  static unsigned cpu() noexcept {
    const int c = ::sched_getcpu();
    return c < 0 ? 0u : static_cast<unsigned>(c);
  }
  /// Nothing: a thread has no interrupts, and preemption cannot be switched off. A ticket holder that loses its CPU makes
  /// others wait longer, as a virtual CPU does; the algorithms' correctness never rests on it.
  struct irq_guard {
    irq_guard() noexcept {}
    ~irq_guard() noexcept {}
    irq_guard(const irq_guard&) = delete;
    irq_guard& operator=(const irq_guard&) = delete;
  };
  /// Its holder may wait for readers: a thread that must report is offline while it waits for the lock. Inside a guard it
  /// cannot be, so a lock taken there must be one whose holders never wait for readers (a leaf, as the model's are).
  class mutex {
   public:
    void lock() noexcept {
      if constexpr (Rcu::flavour::reports) {
        if (m_.try_lock()) return;
        if (!Rcu::reading()) {
          const typename Rcu::blocking_region away;
          m_.lock();
          return;
        }
      }
      m_.lock();
    }
    [[nodiscard]] bool try_lock() noexcept { return m_.try_lock(); }
    void unlock() noexcept { m_.unlock(); }

   private:
    std::mutex m_;
  };

  static void* allocate(std::size_t bytes, std::size_t align) noexcept {
    return ::operator new(bytes, std::align_val_t{std::max(align, alignof(std::max_align_t))}, std::nothrow);
  }
  static void deallocate(void* p, std::size_t, std::size_t align) noexcept {
    ::operator delete(p, std::align_val_t{std::max(align, alignof(std::max_align_t))});
  }

  static void fail(const char* text) noexcept { fatal(text); }
};

/// An environment with the given reclamation.
template <class Rcu>
using env_with = basic_env<null_stats, null_trace, native_atomic, Rcu>;
/// The same, with every shared read-modify-write and every library counter counted per thread.
template <class Rcu>
using counted_env_with = basic_env<thread_stats, null_trace, counted_atomic, Rcu>;

using memb_env = env_with<memb_rcu>;
using mb_env = env_with<mb_rcu>;
using bp_env = env_with<bp_rcu>;
using qsbr_env = env_with<qsbr_rcu>;
using counted_memb_env = counted_env_with<memb_rcu>;
using counted_mb_env = counted_env_with<mb_rcu>;
using counted_bp_env = counted_env_with<bp_rcu>;
using counted_qsbr_env = counted_env_with<qsbr_rcu>;

/// The default: memb.
using env = memb_env;
using counted_env = counted_memb_env;

static_assert(require_environment<env>() && require_environment<counted_env>());
static_assert(require_environment<mb_env>() && require_environment<counted_mb_env>());
static_assert(require_environment<bp_env>() && require_environment<counted_bp_env>());
static_assert(require_environment<qsbr_env>() && require_environment<counted_qsbr_env>());

}  // namespace host
SHOOTDOWN_END
