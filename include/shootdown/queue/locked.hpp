// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <cstdint>

#include <shootdown/env/spinlock.hpp>
#include <shootdown/queue/completion.hpp>
#include <shootdown/queue/core.hpp>

SHOOTDOWN_BEGIN
namespace queue {

/// Reservation under one spinlock, held from the reservation to the doorbell: the strategy whose correctness is plain, and
/// the oracle that the others are compared with.
///
/// Right for every ring that fits one list and its SYNC, down to 4 slots. Completion by completion.hpp.
/// Context: any but NMI and signal handlers; interrupts are off while the lock is held, on while waiting for it or for room.
/// Progress: blocking. Submitters wait for the one that holds the lock (bounded by its list); nobody waits for a waiter, and
/// an unsettled ticket holds nothing. A submitter of a long list can be overtaken by shorter ones until its deadline.
/// Cost per list: one lock (exchange + store), one doorbell, register reads only when room is short. All CPUs meet on one line.
/// Not for: many CPUs.
///
/// Sites: S1 tail by the lock's holder, S2 tail by others (relaxed)
template <class Env, class Backend>
class locked_engine {
 public:
  static constexpr unsigned min_log2size = 2;

  explicit locked_engine(queue_core<Env, Backend>& core) noexcept : core_{&core}, tracker_{core.slots} {}

  [[nodiscard]] static status check(const queue_config<Env>& c) noexcept {
    if (const status s = queue::check(c, min_log2size); !s.ok()) return s;
    return c.completion == completion_mode::msi ? check_msi_word(c) : status{};
  }
  [[nodiscard]] status prepare(const queue_config<Env>&) noexcept { return {}; }

  void start(seq64 base) noexcept {
    tail_.store(value(base), std::memory_order_relaxed);  // S1 relaxed: no other call is in progress
    tracker_.start(base);
  }

  /// Writes `list` as one run and fills in `t`. `until` null: no waiting for room.
  template <command_list List>
  [[nodiscard]] status submit(const List& list, std::uint32_t size, bool closing, const deadline* until, ticket& t) noexcept {
    const std::uint64_t need = std::uint64_t{size} + (closing ? 1 : 0);
    const deadline limit = until != nullptr ? *until : deadline::in(Env::now(), core_->slots.config().publish_limit);
    bool counted = false;
    for (unsigned turn = 1;; ++turn) {
      bool contended = false;
      bool suspicious = false;
      {
        typename Env::irq_guard irqs_off;
        if (lock_.try_lock()) {
          const lock_adopted release{lock_};
          if (core_->failed()) return errc::queue_failed;
          const seq64 first{tail_.load(std::memory_order_relaxed)};  // S1 relaxed: the lock orders it
          bool fits = room(first, tracker_.consumed(), need);
          if (!fits) {
            const cons_view seen = tracker_.observe_cons([this]() noexcept { return tail(); });
            suspicious = seen.error_code;
            fits = room(first, seen.position, need);
          }
          if (fits) {
            publish(list, size, closing, first, need, t);
            return {};
          }
        } else {
          contended = true;
        }
      }
      if (!contended && until == nullptr) return errc::would_block;
      if (limit.passed(Env::now())) return until != nullptr ? errc::timed_out : errc::would_block;
      if (contended) {
        Env::relax();
        continue;
      }
      if (!counted) Env::stats::add(counter::space_waits);
      counted = true;
      core_->service(*this, suspicious || turn % core_->thorough_period == 0);
      core_->slots.pause(limit);
    }
  }

  [[nodiscard]] sight look(const ticket& t, bool thorough) noexcept {
    if (covers(tracker_.completed(), t.end)) return {true, false, t.end};
    const bool suspicious = tracker_.observe(thorough, [this]() noexcept { return tail(); });
    return {covers(tracker_.completed(), t.end), suspicious, t.end};
  }
  void settle(const sight&) noexcept {}
  void abandon() noexcept {}

  [[nodiscard]] seq64 reached() const noexcept { return tracker_.consumed(); }
  /// Every list that is waited for ends in a SYNC of its own, so a failing SYNC speaks for its own list only.
  [[nodiscard]] seq64 in_doubt_from(seq64 at) const noexcept { return at; }
  [[nodiscard]] seq64 tail() const noexcept {
    return seq64{tail_.load(std::memory_order_relaxed)};  // S2 relaxed: a number by itself
  }
  [[nodiscard]] bool check_invariants() const noexcept {
    const seq64 done = tracker_.completed();  // before the tail: both grow, so the difference seen is never too small
    return distance(tail(), done) >= 0 && lock_.check_invariants();
  }

 private:
  /// Unlocks at the end of the block; the lock was taken by try_lock.
  class lock_adopted {
   public:
    explicit lock_adopted(spinlock<Env>& l) noexcept : lock_{l} {}
    ~lock_adopted() noexcept { lock_.unlock(); }
    lock_adopted(const lock_adopted&) = delete;
    lock_adopted& operator=(const lock_adopted&) = delete;

   private:
    spinlock<Env>& lock_;
  };

  [[nodiscard]] bool room(seq64 first, seq64 consumed, std::uint64_t need) const noexcept {
    return value(first) - value(consumed) + need <= core_->slots.slots();
  }

  template <command_list List>
  void publish(const List& list, std::uint32_t size, bool closing, seq64 first, std::uint64_t need, ticket& t) noexcept {
    t.first = first;
    t.end = advance(first, need);
    Env::trace::event(trace_point::reserve, value(t.end), need);
    const command sync = tracker_.closing_sync(t.end);
    write_list(core_->slots, first, list, size, closing ? &sync : nullptr);
    tail_.store(value(t.end), std::memory_order_relaxed);  // S1 relaxed: the lock orders it
    core_->slots.doorbell(t.end);
  }

  queue_core<Env, Backend>* core_;
  completion_tracker<Env, Backend> tracker_;
  alignas(cache_line) spinlock<Env> lock_{};
  typename Env::template atomic<std::uint64_t> tail_{};  // first position not reserved; written under lock_
};

/// Strategy tag: see locked_engine.
struct locked {
  template <class Env, class Backend>
  using engine = locked_engine<Env, Backend>;
  static constexpr const char* name = "locked";
};

}  // namespace queue
SHOOTDOWN_END
