// SPDX-License-Identifier: MIT
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>

#include <shootdown/env/arena.hpp>
#include <shootdown/env/check.hpp>
#include <shootdown/env/native.hpp>

SHOOTDOWN_BEGIN

/// What bare_env needs from a board: static members.
///   std::uint64_t now_ns()          monotonic
///   T irq_save(); irq_restore(T)    local interrupts off, and back to what they were (T: the saved state)
/// Optional, used when they exist:
///   fail(const char*)               a contract violation; without it: trap
///   wait_event(deadline)            wfe or hlt. Only where something wakes it in time (AArch64: the event stream), because
///                                   nothing else bounds the sleep; without it: one pause
///   allocate(bytes, align), deallocate(p, bytes, align)     a heap; else
///   std::span<std::byte> memory()   an arena that bare_env cuts blocks from; else every allocation fails
///   dma_clean(p, n), dma_invalidate(p, n)   cache maintenance to the point of coherency, barrier included, for an SMMU
///                                   that does not snoop (IDR0.COHACC = 0)
template <class P>
concept bare_platform = requires {
  { P::now_ns() } noexcept -> std::convertible_to<std::uint64_t>;
  P::irq_restore(P::irq_save());
};

/// An environment without an operating system: firmware, a boot loader, a test image. One CPU, one flow of control (the
/// main flow) that interrupt handlers interrupt and return to. No threads: two flows that switch at any point are the host
/// environment's case, several CPUs need a real RCU and a sleeping mutex.
///
/// Freestanding: no library calls but memcpy and its like; state is constant-initialised. AArch64: run with the MMU on
/// (exclusive accesses need Normal memory) and build with -mno-outline-atomics.
///
/// Reclamation on one CPU. `depth` counts the guards alive in the main flow and in every handler on top of it; it and the
/// list of retired objects change only with interrupts off, so each change is one step for everybody.
///   retire with depth = 0: no guard exists anywhere on the only CPU, so the guards "that existed at the call" are none and
///     the callback runs at once. A guard taken later, even by an interrupt in the middle of the callback, cannot find the
///     object: it was unpublished before retire, by this CPU, in program order.
///   retire with depth > 0: the object is put on the list. Whoever takes depth from 1 to 0 ends the last guard that existed
///     then; it takes the whole list with interrupts off and runs the callbacks with interrupts as they were.
///   synchronize and drain: called by the main flow outside guards. Handlers have returned, so depth is 0 and the list
///     empty: nothing to wait for. Anything else is a contract violation and is reported, since waiting could not end.
/// Callbacks may therefore run in a handler and inside retire: they must be short and must not wait.
template <bare_platform Platform, class Stats = null_stats, class Trace = null_trace>
struct bare_env {
  template <class T>
  using atomic = native_atomic<T>;
  using dma_word = native_dma_word;
  using stats = Stats;
  using trace = Trace;

  static void fail(const char* text) noexcept {
    if constexpr (requires { Platform::fail(text); })
      Platform::fail(text);
    else
      __builtin_trap();
  }

  class [[nodiscard]] irq_guard {
   public:
    // The compiler barriers keep accesses inside; the board's functions may be plain register writes.
    irq_guard() noexcept : saved_{Platform::irq_save()} { asm volatile("" ::: "memory"); }
    ~irq_guard() noexcept {
      asm volatile("" ::: "memory");
      Platform::irq_restore(saved_);
    }
    irq_guard(const irq_guard&) = delete;
    irq_guard& operator=(const irq_guard&) = delete;

   private:
    std::remove_cvref_t<decltype(Platform::irq_save())> saved_;
  };

  /// Sites: S1 publish (release) -> S2 dereference (acquire). The rest is ordered by being one CPU with interrupts off.
  class rcu {
   public:
    struct head {
      head* next{};
      void (*callback)(head*) noexcept {};
    };
    struct [[nodiscard]] guard {
      guard() noexcept {
        const irq_guard off;
        ++depth_;
      }
      ~guard() noexcept { run(leave()); }
      guard(const guard&) = delete;
      guard& operator=(const guard&) = delete;
    };
    static void retire(head& h, void (*fn)(head*) noexcept) noexcept {
      if (defer(h, fn)) return;
      fn(&h);
    }
    static void synchronize() noexcept { expect_outside("rcu::synchronize inside a guard never ends"); }
    static void drain() noexcept { expect_outside("rcu::drain inside a guard never ends"); }
    static void quiescent() noexcept {}

    template <class T>
    static void publish(atomic<T*>& slot, std::type_identity_t<T*> p) noexcept {
      slot.store(p, std::memory_order_release);  // S1 release -> S2: *p is complete before a handler can see the pointer
    }
    template <class T>
    [[nodiscard]] static T* dereference(const atomic<T*>& slot) noexcept {
      return slot.load(std::memory_order_acquire);  // S2 acquire: pairs with S1
    }
    /// Guards alive now. For tests and assertions.
    [[nodiscard]] static unsigned depth() noexcept {
      const irq_guard off;
      return depth_;
    }
    /// Without a guard nothing is deferred.
    [[nodiscard]] static bool check_invariants() noexcept {
      const irq_guard off;
      return depth_ != 0 || first_ == nullptr;
    }

   private:
    static bool defer(head& h, void (*fn)(head*) noexcept) noexcept {
      const irq_guard off;
      if (depth_ == 0) return false;
      h.next = nullptr;
      h.callback = fn;
      (first_ == nullptr ? first_ : last_->next) = &h;
      last_ = &h;
      return true;
    }
    static head* leave() noexcept {
      const irq_guard off;
      if (--depth_ != 0) return nullptr;
      head* const mine = first_;
      first_ = last_ = nullptr;
      return mine;
    }
    static void run(head* h) noexcept {
      while (h != nullptr) {
        head* const next = h->next;  // read first: the callback ends the object
        h->callback(h);
        h = next;
      }
    }
    static void expect_outside(const char* text) noexcept {
      if (depth() != 0) fail(text);
    }
    static inline constinit unsigned depth_ = 0;
    static inline constinit head* first_ = nullptr;  // in the order of retirement
    static inline constinit head* last_ = nullptr;
  };

  static void full_fence() noexcept { native_full_fence(); }
  static void dma_publish([[maybe_unused]] const void* p, [[maybe_unused]] std::size_t n) noexcept {
    if constexpr (requires { Platform::dma_clean(p, n); }) Platform::dma_clean(p, n);
    native_dma_write_fence();
  }
  static void dma_observe([[maybe_unused]] const void* p, [[maybe_unused]] std::size_t n) noexcept {
    native_dma_read_fence();  // before the invalidation too: no line may be dropped earlier than the completion was seen
    if constexpr (requires { Platform::dma_invalidate(p, n); }) Platform::dma_invalidate(p, n);
  }

  static void relax() noexcept { native_relax(); }
  static void wait_event([[maybe_unused]] deadline d) noexcept {
    if constexpr (requires { Platform::wait_event(d); })
      Platform::wait_event(d);
    else
      native_relax();
  }
  static instant now() noexcept { return instant{static_cast<std::uint64_t>(Platform::now_ns())}; }
  static unsigned cpu() noexcept { return 0; }

  /// For the main flow only: nobody else could release it, so a lock that is held is a contract violation, not a wait.
  class mutex {
   public:
    void lock() noexcept {
      if (held_) fail("mutex: locked again by the only flow that could unlock it");
      held_ = true;
    }
    void unlock() noexcept { held_ = false; }

   private:
    bool held_{};
  };

  [[nodiscard]] static void* allocate([[maybe_unused]] std::size_t bytes, [[maybe_unused]] std::size_t align) noexcept {
    if constexpr (requires { Platform::allocate(bytes, align); }) {
      return Platform::allocate(bytes, align);
    } else if constexpr (requires { Platform::memory(); }) {
      const irq_guard off;
      if (!arena_filled_) {
        arena_filled_ = true;
        arena_.add(Platform::memory());
      }
      return arena_.allocate(bytes, align);
    } else {
      return nullptr;
    }
  }
  static void deallocate([[maybe_unused]] void* p, [[maybe_unused]] std::size_t bytes, [[maybe_unused]] std::size_t align) noexcept {
    if constexpr (requires { Platform::allocate(bytes, align); }) {
      Platform::deallocate(p, bytes, align);
    } else if constexpr (requires { Platform::memory(); }) {
      const irq_guard off;
      arena_.deallocate(p, bytes);
    }
  }

 private:
  static inline constinit arena arena_{};
  static inline constinit bool arena_filled_ = false;
};

SHOOTDOWN_END
