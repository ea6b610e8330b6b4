// SPDX-License-Identifier: MIT
#pragma once

#include <urcu/urcu-memb.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <type_traits>

#include <shootdown/env/sanitizer.hpp>

#if defined(_LGPL_SOURCE) && SHOOTDOWN_TSAN
#error "host/rcu.hpp: with _LGPL_SOURCE liburcu inlines code that ThreadSanitizer misreads; build without it"
#endif

SHOOTDOWN_BEGIN
namespace host {

/// Prints a broken contract and ends the process: a host program that continued would hide it.
[[noreturn]] inline void fatal(const char* text) noexcept {
  std::fputs("shootdown: contract violated: ", stderr);
  std::fputs(text, stderr);
  std::fputc('\n', stderr);
  std::abort();
}

namespace detail {
/// Objects that stand for liburcu's grace periods in ThreadSanitizer's eyes. They hold nothing.
inline char gp_start{};   ///< updater -> readers: written before a grace period, read by sections that begin later
inline char gp_end{};     ///< readers -> updater: sections that ended before a grace period ended
inline char gp_called{};  ///< callbacks -> drain
struct rcu_thread {
  unsigned scopes{};   ///< nested thread_scopes, or 1 inside a callback (liburcu's worker registers itself)
  bool in_callback{};  ///< on liburcu's worker
};
inline thread_local constinit rcu_thread this_thread{};
}  // namespace detail

/// Registers the calling thread with liburcu for its lifetime; a thread needs one before its first guard. Nests: only the
/// outermost registers and unregisters. Create and destroy it on the same thread, outside of guards. May sleep (a lock).
class thread_scope {
 public:
  thread_scope() noexcept {
    if (detail::this_thread.scopes++ == 0) urcu_memb_register_thread();
  }
  ~thread_scope() noexcept {
    if (--detail::this_thread.scopes == 0) urcu_memb_unregister_thread();
  }
  thread_scope(const thread_scope&) = delete;
  thread_scope& operator=(const thread_scope&) = delete;
  /// The thread holds no guard now. Only a QSBR flavour needs to be told; memb finds out by itself.
  static void quiescent() noexcept { urcu_memb_quiescent_state(); }
  [[nodiscard]] static bool registered() noexcept { return detail::this_thread.scopes != 0; }
};

/// Reclamation by liburcu's memb flavour, by library calls.
///
/// guard       a few nanoseconds, wait-free; the thread needs a thread_scope
/// retire      call_rcu: never waits for readers. May be called inside a guard, needs a thread_scope. Allocates nothing, but
///             liburcu starts its worker thread at the first call
/// callback    runs on that worker, outside any guard; it may take guards and retire, not synchronize or drain
/// synchronize, drain  wait for readers (and callbacks): never inside a guard or a callback, or they would wait for themselves
///
/// liburcu 0.13 is not built for ThreadSanitizer, so what it orders is told to the tool here, and no more than that:
///   synchronize  release(gp_start)  -> acquire(gp_start) guard: a section that begins after the grace period began sees
///                                      what the updater did before it
///   ~guard       release(gp_end)    -> acquire(gp_end) synchronize, callback: sections that ended in the grace period
///   retire       release(head)      -> acquire(head) callback: what the retirer did before; nobody else sees more by it
///   callback     release(gp_called) -> acquire(gp_called) drain
/// The annotations order nothing in the machine. An updater that forgets the grace period lacks the acquire of gp_end, so
/// its premature delete is still reported.
///
/// Sites: S1 publish (release) -> S2 dereference (acquire)
struct rcu {
  class [[nodiscard]] guard {
   public:
    guard() noexcept {
      if (!thread_scope::registered()) fatal("rcu::guard on a thread without a host::thread_scope");
      urcu_memb_read_lock();
      tsan_acquire(&detail::gp_start);
    }
    ~guard() noexcept {
      tsan_release(&detail::gp_end);
      urcu_memb_read_unlock();
    }
    guard(const guard&) = delete;
    guard& operator=(const guard&) = delete;
  };

  struct head {
    rcu_head link{};  // first: the callback gets back from it to the head
    void (*callback)(head*) noexcept {};
  };
  static_assert(std::is_standard_layout_v<head>);

  static void retire(head& h, void (*fn)(head*) noexcept) noexcept {
    if (!thread_scope::registered()) fatal("rcu::retire on a thread without a host::thread_scope");
    h.callback = fn;
    tsan_release(&h);
    urcu_memb_call_rcu(&h.link, [](rcu_head* link) { run(reinterpret_cast<head*>(link)); });
  }
  static void synchronize() noexcept {
    refuse_self_wait("rcu::synchronize inside a guard or a callback never ends");
    tsan_release(&detail::gp_start);
    urcu_memb_synchronize_rcu();
    tsan_acquire(&detail::gp_end);
  }
  static void drain() noexcept {
    refuse_self_wait("rcu::drain inside a guard or a callback never ends");
    {
      const tsan_ignore quiet;  // liburcu allocates a work item here and frees it on its worker
      urcu_memb_barrier();
    }
    tsan_acquire(&detail::gp_called);
  }
  static void quiescent() noexcept { thread_scope::quiescent(); }

  template <class Slot, class Pointer>
  static void publish(Slot& slot, Pointer p) noexcept {
    slot.store(p, std::memory_order_release);  // S1 release -> S2: *p is complete before the pointer is seen
  }
  template <class Slot>
  [[nodiscard]] static auto dereference(const Slot& slot) noexcept {
    return slot.load(std::memory_order_acquire);  // S2 acquire: pairs with S1
  }

 private:
  static void run(head* h) noexcept {
    tsan_acquire(h);
    tsan_acquire(&detail::gp_end);
    auto& self = detail::this_thread;
    ++self.scopes;
    self.in_callback = true;
    h->callback(h);
    self.in_callback = false;
    --self.scopes;
    tsan_release(&detail::gp_called);
  }
  static void refuse_self_wait(const char* text) noexcept {
    if (detail::this_thread.in_callback || urcu_memb_read_ongoing() != 0) fatal(text);
  }
};

}  // namespace host
SHOOTDOWN_END
