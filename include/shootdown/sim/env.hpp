// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <atomic>  // std::memory_order only
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <type_traits>

#include <shootdown/env/check.hpp>
#include <shootdown/model/device_side.hpp>
#include <shootdown/sim/explored.hpp>
#include <shootdown/sim/rcu.hpp>

SHOOTDOWN_BEGIN
namespace sim {

/// Two (or more) observers that take turns inside a device: the consumer of the command queue and the table walker each have
/// a view of memory of their own, whatever flow carries them. Entering orders nothing. See model::device_side.
class split_device_side {
 public:
  [[nodiscard]] bool try_lock(model::device_role r) noexcept {
    trial* const t = trial::current();
    const tsan_ignore quiet;
    if (held_) return false;
    held_ = true;
    tsan_acquire(this);
    if (t != nullptr) enter(*t, r);
    return true;
  }
  void lock(model::device_role r) noexcept {
    trial* const t = trial::current();
    if (t != nullptr) t->block_until([this] { return !held_; });
    if (!try_lock(r)) std::abort();
  }
  void unlock() noexcept {
    trial* const t = trial::current();
    const tsan_ignore quiet;
    tsan_release(this);
    held_ = false;
    if (t == nullptr) return;
    t->self().view = outside_;
    t->recheck();
  }
  /// Walks that begin from now on see what the consumer has seen.
  void synchronised() noexcept {
    trial* const t = trial::current();
    if (t == nullptr || !t->weak() || epoch_ != t->epoch()) return;
    const tsan_ignore quiet;
    t->memory().join(walker_, t->memory().clock_of(consumer_));
  }

 private:
  void enter(trial& t, model::device_role r) noexcept {
    outside_ = t.self().view;
    if (!t.weak() || r == model::device_role::looker) return;
    if (epoch_ != t.epoch()) {
      epoch_ = t.epoch();
      consumer_ = t.new_view(true);
      walker_ = t.new_view(true);
    }
    t.self().view = r == model::device_role::consumer ? consumer_ : walker_;
    if (r == model::device_role::consumer) t.self().inside = consumer_;
  }

  bool held_{};
  std::uint64_t epoch_{};  // the go() that the views are of
  observer consumer_{};
  observer walker_{};
  observer outside_{};
};

/// The environment of trials: the unchanged library under a chooser (see trial, history). Interleavings or weak memory is an
/// option of the trial, not another type.
///
/// Outside of a trial's go() the same members work for one flow: nothing switches, time passes only by waiting, retired
/// objects go as soon as no guard is held, and a model device is run by its backend; so worlds are built and looked at.
/// relax, wait_event   leave the flow alone until somebody else changes a value; if nobody can, time jumps
/// irq_guard           keeps the interrupt handlers of its CPU away
/// mutex               a waiter is blocked, not spinning: cycles of waiters are reported as a deadlock
/// allocate            fails where the chooser says so, options.allocation_failures times at most
/// fail                ends the trial as failed; outside of go() the process
/// Progress: everything waits for the chooser.
/// Sites: none of its own: memory orders are data here.
template <class Stats = null_stats, class Trace = null_trace>
struct basic_env {
  template <class T>
  using atomic = atomic_of<T, explored>;
  using dma_word = dma_word_of<explored>;
  using rcu = sim::rcu;
  using stats = Stats;
  using trace = Trace;
  using device_side = split_device_side;

  [[nodiscard]] static bool device_runs_alone() noexcept { return trial::current() != nullptr; }

  static void full_fence(const where& w = where::current()) noexcept { explored::fence(std::memory_order_seq_cst, w); }
  static void dma_publish(const void* p, std::size_t n, const where& w = where::current()) noexcept { explored::publish(p, n, w); }
  static void dma_observe(const void* p, std::size_t n, const where& w = where::current()) noexcept { explored::observe(p, n, w); }

  static void relax() noexcept { wait_event(deadline::never()); }
  static void wait_event(deadline d) noexcept {
    if (trial* const t = trial::current()) return t->wait(d.at);
    if (!trial::pass(nanoseconds{1'000})) fail("a wait that nobody ends, outside of go()");
  }
  [[nodiscard]] static instant now() noexcept { return trial::now(); }

  [[nodiscard]] static unsigned cpu() noexcept {
    const tsan_ignore quiet;
    trial* const t = trial::current();
    return t != nullptr ? t->self().index : 0;
  }
  class irq_guard {
   public:
    irq_guard() noexcept { count(1); }
    ~irq_guard() { count(-1); }
    irq_guard(const irq_guard&) = delete;
    irq_guard& operator=(const irq_guard&) = delete;

   private:
    static void count(int by) noexcept {
      const tsan_ignore quiet;
      if (trial* const t = trial::current()) t->self().irqs_off += static_cast<unsigned>(by);
    }
  };
  class mutex {
   public:
    void lock() noexcept {
      trial* const t = trial::current();
      if (t != nullptr) t->block_until([this] { return !held_; });
      const tsan_ignore quiet;
      if (held_) return fail("mutex: locked again by the only flow");
      held_ = true;
      tsan_acquire(this);
      if (t != nullptr && t->weak()) t->memory().join(t->self().view, known_);
    }
    void unlock() noexcept {
      trial* const t = trial::current();
      const tsan_ignore quiet;
      tsan_release(this);
      held_ = false;
      known_ = {};
      if (t == nullptr) return;
      if (t->weak()) known_ = t->memory().clock_of(t->self().view);
      t->recheck();
    }

   private:
    bool held_{};
    vector_clock known_{};  // to the last holder
  };

  [[nodiscard]] static void* allocate(std::size_t bytes, std::size_t align) noexcept {
    {
      const tsan_ignore quiet;
      trial* const t = trial::current();
      if (t != nullptr && t->allocation_fails()) return nullptr;
    }
    return ::operator new(bytes, std::align_val_t{std::max(align, alignof(std::max_align_t))}, std::nothrow);
  }
  static void deallocate(void* p, std::size_t, std::size_t align) noexcept {
    ::operator delete(p, std::align_val_t{std::max(align, alignof(std::max_align_t))});
  }

  static void fail(const char* text) noexcept {
    trial* const t = trial::current();
    if (t != nullptr) t->fail(text);
    std::fprintf(stderr, "shootdown: contract violated outside of a trial: %s\n", text);
    std::abort();
  }
};
using env = basic_env<>;
static_assert(require_environment<env>());

}  // namespace sim
SHOOTDOWN_END
