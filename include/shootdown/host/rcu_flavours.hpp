// SPDX-License-Identifier: MIT
#pragma once

#include <urcu/call-rcu.h>

#include <concepts>

#include <shootdown/env/sanitizer.hpp>

#if defined(_LGPL_SOURCE) && SHOOTDOWN_TSAN
#error "host/rcu_flavours.hpp: with _LGPL_SOURCE liburcu inlines code that ThreadSanitizer misreads; build without it"
#endif

// The library calls in use, of all flavours. Declared here and not taken from <urcu/urcu-memb.h> and its siblings: 0.13 maps
// the unprefixed names to one flavour and declares call_rcu only for the first that a translation unit includes. So this
// header goes along with any of them, before or after it, and maps nothing itself.
extern "C" {
void urcu_memb_register_thread(void);
void urcu_memb_unregister_thread(void);
void urcu_memb_read_lock(void);
void urcu_memb_read_unlock(void);
int urcu_memb_read_ongoing(void);
void urcu_memb_synchronize_rcu(void);
void urcu_memb_call_rcu(struct rcu_head* head, void (*func)(struct rcu_head* head));
void urcu_memb_barrier(void);

void urcu_mb_register_thread(void);
void urcu_mb_unregister_thread(void);
void urcu_mb_read_lock(void);
void urcu_mb_read_unlock(void);
int urcu_mb_read_ongoing(void);
void urcu_mb_synchronize_rcu(void);
void urcu_mb_call_rcu(struct rcu_head* head, void (*func)(struct rcu_head* head));
void urcu_mb_barrier(void);

void urcu_bp_register_thread(void);
void urcu_bp_read_lock(void);
void urcu_bp_read_unlock(void);
int urcu_bp_read_ongoing(void);
void urcu_bp_synchronize_rcu(void);
void urcu_bp_call_rcu(struct rcu_head* head, void (*func)(struct rcu_head* head));
void urcu_bp_barrier(void);

void urcu_qsbr_register_thread(void);
void urcu_qsbr_unregister_thread(void);
void urcu_qsbr_quiescent_state(void);
void urcu_qsbr_thread_offline(void);
void urcu_qsbr_thread_online(void);
void urcu_qsbr_synchronize_rcu(void);
void urcu_qsbr_call_rcu(struct rcu_head* head, void (*func)(struct rcu_head* head));
void urcu_qsbr_barrier(void);
}

SHOOTDOWN_BEGIN
namespace host::flavour {

/// What basic_rcu asks of a flavour: two facts and liburcu's calls, the same for all.
///   needs_scope  a thread must be registered before its first guard
///   reports      a reader is waited for until it reports that it holds no guard, and not only while it holds one
template <class F>
concept rcu_flavour = requires(rcu_head* h, void (*fn)(rcu_head*)) {
  { F::name } -> std::convertible_to<const char*>;
  { F::needs_scope } -> std::convertible_to<bool>;
  { F::reports } -> std::convertible_to<bool>;
  { F::register_thread() } noexcept;
  { F::unregister_thread() } noexcept;
  { F::read_lock() } noexcept;
  { F::read_unlock() } noexcept;
  { F::quiescent() } noexcept;
  { F::offline() } noexcept;
  { F::online() } noexcept;
  { F::synchronize() } noexcept;
  { F::call(h, fn) } noexcept;
  { F::barrier() } noexcept;
};

namespace detail {
/// Flavours whose grace periods look at the guards: nothing to report.
struct by_guard {
  static constexpr bool reports = false;
  static void quiescent() noexcept {}
  static void offline() noexcept {}
  static void online() noexcept {}
};
}  // namespace detail

/// The default: guards without a fence, the updater fences all threads by sys_membarrier. Where the kernel lacks the private
/// expedited form, liburcu falls back to fences in the guards.
struct memb : detail::by_guard {
  static constexpr const char* name = "memb";
  static constexpr bool needs_scope = true;
  static void register_thread() noexcept { urcu_memb_register_thread(); }
  static void unregister_thread() noexcept { urcu_memb_unregister_thread(); }
  static void read_lock() noexcept { urcu_memb_read_lock(); }
  static void read_unlock() noexcept { urcu_memb_read_unlock(); }
  [[nodiscard]] static bool reading() noexcept { return urcu_memb_read_ongoing() != 0; }
  static void synchronize() noexcept { urcu_memb_synchronize_rcu(); }
  static void call(rcu_head* h, void (*fn)(rcu_head*)) noexcept { urcu_memb_call_rcu(h, fn); }
  static void barrier() noexcept { urcu_memb_barrier(); }
};

/// A full fence in both ends of every outermost guard: the dearest guard, the cheapest grace period, needs nothing of the
/// kernel.
struct mb : detail::by_guard {
  static constexpr const char* name = "mb";
  static constexpr bool needs_scope = true;
  static void register_thread() noexcept { urcu_mb_register_thread(); }
  static void unregister_thread() noexcept { urcu_mb_unregister_thread(); }
  static void read_lock() noexcept { urcu_mb_read_lock(); }
  static void read_unlock() noexcept { urcu_mb_read_unlock(); }
  [[nodiscard]] static bool reading() noexcept { return urcu_mb_read_ongoing() != 0; }
  static void synchronize() noexcept { urcu_mb_synchronize_rcu(); }
  static void call(rcu_head* h, void (*fn)(rcu_head*)) noexcept { urcu_mb_call_rcu(h, fn); }
  static void barrier() noexcept { urcu_mb_barrier(); }
};

/// "Bullet-proof": a thread registers itself at its first guard and leaves when it ends, so threads that somebody else makes
/// can read. A thread_scope only moves the registration (a lock, perhaps memory) out of that first guard.
struct bp : detail::by_guard {
  static constexpr const char* name = "bp";
  static constexpr bool needs_scope = false;
  static void register_thread() noexcept { urcu_bp_register_thread(); }
  static void unregister_thread() noexcept {}  // the thread's end does it
  static void read_lock() noexcept { urcu_bp_read_lock(); }
  static void read_unlock() noexcept { urcu_bp_read_unlock(); }
  [[nodiscard]] static bool reading() noexcept { return urcu_bp_read_ongoing() != 0; }
  static void synchronize() noexcept { urcu_bp_synchronize_rcu(); }
  static void call(rcu_head* h, void (*fn)(rcu_head*)) noexcept { urcu_bp_call_rcu(h, fn); }
  static void barrier() noexcept { urcu_bp_barrier(); }
};

/// Quiescent-state-based: a guard costs nothing, and in return every registered thread owes a report between its calls
/// (basic_rcu::quiescent) and must be offline while it waits for others (basic_blocking_region), or no grace period ends.
struct qsbr {
  static constexpr const char* name = "qsbr";
  static constexpr bool needs_scope = true;
  static constexpr bool reports = true;
  static void register_thread() noexcept { urcu_qsbr_register_thread(); }  // online from here
  static void unregister_thread() noexcept { urcu_qsbr_unregister_thread(); }
  static void read_lock() noexcept {}
  static void read_unlock() noexcept {}
  static void quiescent() noexcept { urcu_qsbr_quiescent_state(); }
  static void offline() noexcept { urcu_qsbr_thread_offline(); }
  static void online() noexcept { urcu_qsbr_thread_online(); }
  static void synchronize() noexcept { urcu_qsbr_synchronize_rcu(); }
  static void call(rcu_head* h, void (*fn)(rcu_head*)) noexcept { urcu_qsbr_call_rcu(h, fn); }
  static void barrier() noexcept { urcu_qsbr_barrier(); }
};

static_assert(rcu_flavour<memb> && rcu_flavour<mb> && rcu_flavour<bp> && rcu_flavour<qsbr>);

}  // namespace host::flavour
SHOOTDOWN_END
