// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <type_traits>

#include <shootdown/env/sanitizer.hpp>
#include <shootdown/host/rcu_flavours.hpp>

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
/// Objects that stand for a flavour's grace periods in ThreadSanitizer's eyes. They hold nothing.
template <class Flavour>
struct rcu_marks {
  static inline char gp_start{};   ///< updater -> readers: written before a grace period, read by sections that begin later
  static inline char gp_end{};     ///< readers -> updater: sections that ended before a grace period ended
  static inline char gp_called{};  ///< callbacks -> drain
};

/// What a thread is to a flavour. `closed` counts the reasons why it may not take a guard now: not registered where it must
/// be, and every blocking region it is in. A thread of a reporting flavour is online exactly while it is 0.
template <class Flavour>
struct rcu_thread {
  unsigned closed{Flavour::needs_scope ? 1u : 0u};
  unsigned guards{};  ///< held now; reporting flavours only, the others keep count themselves
  unsigned scopes{};  ///< nested thread_scopes, and 1 inside a callback (liburcu's worker registers itself)
  bool in_callback{};

  [[nodiscard]] bool reading() const noexcept {
    if constexpr (Flavour::reports)
      return guards != 0;
    else
      return Flavour::reading();
  }
  // Of a reporting flavour these are the ends and the beginning of what a grace period waits for.
  static void before_report() noexcept {
    if constexpr (Flavour::reports) tsan_release(&rcu_marks<Flavour>::gp_end);
  }
  static void after_report() noexcept {
    if constexpr (Flavour::reports) tsan_acquire(&rcu_marks<Flavour>::gp_start);
  }
  static void go_offline() noexcept {
    before_report();
    Flavour::offline();
  }
  static void go_online() noexcept {
    Flavour::online();
    after_report();
  }
};
template <class Flavour>
inline thread_local constinit rcu_thread<Flavour> this_thread{};
}  // namespace detail

/// Registers the calling thread with a flavour of liburcu for its lifetime; a thread needs one before its first guard (bp:
/// may have one). Nests: only the outermost registers and unregisters. Create and destroy it on the same thread, outside of
/// guards. May sleep (a lock).
template <flavour::rcu_flavour Flavour>
class basic_thread_scope {
 public:
  basic_thread_scope() noexcept {
    auto& self = detail::this_thread<Flavour>;
    if (self.scopes++ != 0) return;
    Flavour::register_thread();
    self.after_report();
    if constexpr (Flavour::needs_scope) {
      if (--self.closed != 0) self.go_offline();  // made inside a blocking region
    }
  }
  ~basic_thread_scope() {
    auto& self = detail::this_thread<Flavour>;
    if (self.scopes == 1) {
      if (self.reading()) fatal("a host::thread_scope ends inside a guard");
      if constexpr (Flavour::needs_scope) ++self.closed;
      self.before_report();
      Flavour::unregister_thread();
    }
    --self.scopes;
  }
  basic_thread_scope(const basic_thread_scope&) = delete;
  basic_thread_scope& operator=(const basic_thread_scope&) = delete;

  /// As basic_rcu::quiescent.
  static void quiescent() noexcept {
    auto& self = detail::this_thread<Flavour>;
    if (self.reading()) fatal("rcu::quiescent inside a guard");
    if constexpr (Flavour::reports) {
      if (self.closed != 0) return;  // offline, or unknown to liburcu: nobody waits for it. A report would put it online
      self.before_report();
      Flavour::quiescent();
      self.after_report();
    }
  }
  /// The thread may take guards, as far as registration goes.
  [[nodiscard]] static bool registered() noexcept { return !Flavour::needs_scope || detail::this_thread<Flavour>.scopes != 0; }
};

/// Around a wait of the caller's own (a join, a condition variable, a pipe): while it lives, grace periods do not wait for
/// this thread. Needed with qsbr, where a registered thread that sleeps otherwise holds up every updater, a dead-lock if it
/// sleeps for one of them; the other flavours only check the contract, so that code written on them is right on qsbr too.
/// Contract: not made inside a guard, no guard and no retire inside it. Nests. A thread without a thread_scope may use it.
template <flavour::rcu_flavour Flavour>
class [[nodiscard]] basic_blocking_region {
 public:
  basic_blocking_region() noexcept {
    auto& self = detail::this_thread<Flavour>;
    if (self.reading()) fatal("a blocking region inside a guard: what the guard protects could go");
    if (self.closed++ == 0) self.go_offline();
  }
  ~basic_blocking_region() {
    auto& self = detail::this_thread<Flavour>;
    if (--self.closed == 0) self.go_online();
  }
  basic_blocking_region(const basic_blocking_region&) = delete;
  basic_blocking_region& operator=(const basic_blocking_region&) = delete;
};

/// Reclamation by a flavour of liburcu, by library calls.
///
/// guard       wait-free; the thread needs a thread_scope (not bp) and is in no blocking region. qsbr: counts its nesting, no
///             more; memb, bp: a few nanoseconds; mb: two fences
/// retire      call_rcu: never waits for readers. May be called inside a guard, wants what a guard wants. Allocates nothing,
///             but liburcu starts its worker thread at the first call
/// callback    runs on that worker, outside any guard; it may take guards and retire, not synchronize or drain
/// synchronize, drain  wait for readers (and callbacks): never inside a guard or a callback, or they would wait for
///             themselves. They are blocking regions by themselves. drain before what callbacks use goes (teardown)
/// quiescent   "this thread holds no guard now": between two operations of a qsbr thread, or grace periods wait until it
///             blocks or ends; nothing else needs it. Never inside a guard
///
/// liburcu 0.13 is not built for ThreadSanitizer, so what it orders is told to the tool here, and no more than that:
///   synchronize  release(gp_start)  -> acquire(gp_start) guard: a section that begins after the grace period began sees
///                                      what the updater did before it
///   ~guard       release(gp_end)    -> acquire(gp_end) synchronize, callback: sections that ended in the grace period
///   retire       release(head)      -> acquire(head) callback: what the retirer did before; nobody else sees more by it
///   callback     release(gp_called) -> acquire(gp_called) drain
/// A guard of qsbr orders nothing: there the first two edges belong to the reports instead (quiescent, both ends of a
/// blocking region and of a thread_scope). The annotations order nothing in the machine. An updater that forgets the grace
/// period lacks the acquire of gp_end, so its premature delete is still reported. Flavours share no annotation, as they share
/// no grace period: waiting on one does not protect readers of another, and is reported.
///
/// Sites: S1 publish (release) -> S2 dereference (acquire)
template <flavour::rcu_flavour Flavour>
struct basic_rcu {
  using flavour = Flavour;
  using thread_scope = basic_thread_scope<Flavour>;
  using blocking_region = basic_blocking_region<Flavour>;

  class [[nodiscard]] guard {
   public:
    guard() noexcept {
      auto& self = detail::this_thread<Flavour>;
      if (self.closed != 0) [[unlikely]]
        refuse("rcu::guard on a thread without a host::thread_scope", "rcu::guard in a blocking region");
      if constexpr (Flavour::reports) {
        ++self.guards;
      } else {
        Flavour::read_lock();
        tsan_acquire(&marks::gp_start);
      }
    }
    ~guard() noexcept {
      if constexpr (Flavour::reports) {
        --detail::this_thread<Flavour>.guards;
      } else {
        tsan_release(&marks::gp_end);
        Flavour::read_unlock();
      }
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
    if (detail::this_thread<Flavour>.closed != 0)
      refuse("rcu::retire on a thread without a host::thread_scope", "rcu::retire in a blocking region");
    h.callback = fn;
    tsan_release(&h);
    Flavour::call(&h.link, [](rcu_head* link) { run(reinterpret_cast<head*>(link)); });
  }
  static void synchronize() noexcept {
    refuse_self_wait("rcu::synchronize inside a guard or a callback never ends");
    tsan_release(&marks::gp_start);
    {
      const blocking_region away;
      Flavour::synchronize();
    }
    tsan_acquire(&marks::gp_end);
  }
  static void drain() noexcept {
    refuse_self_wait("rcu::drain inside a guard or a callback never ends");
    {
      const blocking_region away;
      const tsan_ignore quiet;  // liburcu allocates a work item here and frees it on its worker
      Flavour::barrier();
    }
    tsan_acquire(&marks::gp_called);
  }
  static void quiescent() noexcept { thread_scope::quiescent(); }
  /// The calling thread holds a guard.
  [[nodiscard]] static bool reading() noexcept { return detail::this_thread<Flavour>.reading(); }

  template <class Slot, class Pointer>
  static void publish(Slot& slot, Pointer p) noexcept {
    slot.store(p, std::memory_order_release);  // S1 release -> S2: *p is complete before the pointer is seen
  }
  template <class Slot>
  [[nodiscard]] static auto dereference(const Slot& slot) noexcept {
    return slot.load(std::memory_order_acquire);  // S2 acquire: pairs with S1
  }

 private:
  using marks = detail::rcu_marks<Flavour>;

  static void run(head* h) noexcept {
    tsan_acquire(h);
    tsan_acquire(&marks::gp_end);
    auto& self = detail::this_thread<Flavour>;
    self.after_report();  // the worker was offline until the grace period of these callbacks had ended
    ++self.scopes;
    if constexpr (Flavour::needs_scope) --self.closed;
    self.in_callback = true;
    h->callback(h);
    self.in_callback = false;
    if constexpr (Flavour::needs_scope) ++self.closed;
    --self.scopes;
    self.before_report();  // it goes offline again, or starts a grace period of its own
    tsan_release(&marks::gp_called);
  }
  [[noreturn, gnu::cold, gnu::noinline]] static void refuse(const char* unregistered, const char* blocking) noexcept {
    fatal(thread_scope::registered() ? blocking : unregistered);
  }
  static void refuse_self_wait(const char* text) noexcept {
    if (detail::this_thread<Flavour>.in_callback || reading()) fatal(text);
  }
};

using memb_rcu = basic_rcu<flavour::memb>;
using mb_rcu = basic_rcu<flavour::mb>;
using bp_rcu = basic_rcu<flavour::bp>;
using qsbr_rcu = basic_rcu<flavour::qsbr>;

/// The default flavour.
using rcu = memb_rcu;
using thread_scope = rcu::thread_scope;
using blocking_region = rcu::blocking_region;

}  // namespace host
SHOOTDOWN_END
