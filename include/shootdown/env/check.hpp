// SPDX-License-Identifier: MIT
#pragma once

#include <shootdown/env/environment.hpp>

SHOOTDOWN_BEGIN

/// Says which part of the contract E misses and which line to write, where `environment<E>` alone would only be false.
/// Instantiate it next to your environment: `template struct shootdown::check_environment<my_env>;` or call
/// require_environment<my_env>() in any constant expression. Costs nothing at run time.
template <class E>
struct check_environment {
  static_assert(environment_atomics<E>,
                "environment: write `template <class T> using atomic = ...;`: std::atomic's load, store, exchange, "
                "compare_exchange_weak/strong (two orders) and, for 32- and 64-bit integers, fetch_add/sub/and/or/xor, all "
                "noexcept, sizeof(T) bytes");
  static_assert(environment_rcu<E>,
                "environment: write `struct rcu { struct guard; struct head; ... };` with `static void retire(head&, void "
                "(*)(head*) noexcept) noexcept`, `synchronize()`, `drain()`, `quiescent()`, `template <class T> static void "
                "publish(atomic<T*>&, T*) noexcept` and `template <class T> static T* dereference(const atomic<T*>&) noexcept`");
  static_assert(environment_device<E>,
                "environment: write `using dma_word = ...;` (8 bytes; load, store, store_low), `static void full_fence() "
                "noexcept;`, `static void dma_publish(const void*, std::size_t) noexcept;` and the same `dma_observe`");
  static_assert(environment_waiting<E>,
                "environment: write `static void relax() noexcept;`, `static void wait_event(deadline) noexcept;` and "
                "`static instant now() noexcept;`");
  static_assert(environment_cpu<E>,
                "environment: write `static unsigned cpu() noexcept;`, `struct irq_guard;` (constructed: interrupts off) and "
                "`struct mutex;` (lock and unlock, noexcept)");
  static_assert(environment_memory<E>,
                "environment: write `static void* allocate(std::size_t bytes, std::size_t align) noexcept;` and `static "
                "void deallocate(void*, std::size_t bytes, std::size_t align) noexcept;`");
  static_assert(environment_reporting<E>,
                "environment: write `using stats = null_stats;`, `using trace = null_trace;` and `static void fail(const "
                "char*) noexcept;`");
};

/// The same as a call: `static_assert(require_environment<my_env>());`
template <class E>
consteval bool require_environment() {
  return sizeof(check_environment<E>) != 0 && environment<E>;
}

SHOOTDOWN_END
