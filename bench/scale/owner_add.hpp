// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <cstdint>

#include <shootdown/arch/cmd_sync.hpp>
#include <shootdown/queue/core.hpp>
#include <shootdown/queue/valid_map.hpp>
#include <shootdown/queue/waiter_lock.hpp>

namespace shootdown::bench {

/// The published variant of owner_cas without its compare-exchange (John Garry, August 2020, second version; described on
/// the mailing list, not merged): a baseline for measurements, not for use.
///
/// One fetch_add takes the slots and says at the same time "one more in this gathering": the word holds the position and,
/// above it, how many lists have joined since the last owner closed one. Whoever finds that number at zero is the owner.
/// Nobody looks for room: the ring must hold everything that all CPUs can have in flight at once, which for a list of one
/// command and its SYNC is two slots per CPU. Gathering, valid bits, the waiters' lock, own SYNCs and the last one out are
/// owner_cas's, and so are the waits' bounds; the shadow CONS, which nobody asks for room any more, moves all the same.
///
/// Contract: as above, and at most 2^40 commands; a ring that is too small is overrun, which sim::timed_device reports.
/// Context: any but NMI and signal handlers. Progress: blocking, as owner_cas.
/// Cost per list: as owner_cas, the compare-exchange and its failures replaced by one fetch_add.
///
/// Sites: S1 word (relaxed), S2 reserve (relaxed), S3 close (relaxed), S4 owner_prod (release) -> S5 (acquire), S6 start (relaxed)
///        S7 shadow CONS (release) -> S8 (acquire); valid bits and lock: valid_map.hpp, waiter_lock.hpp
template <class Env, class Backend>
class owner_add_engine {
 public:
  explicit owner_add_engine(queue::queue_core<Env, Backend>& core) noexcept : core_{&core} {}

  [[nodiscard]] static status check(const queue::queue_config<Env>& c) noexcept {
    if (const status s = queue::check(c, queue::valid_map<Env>::min_log2size); !s.ok()) return s;
    if (c.completion == queue::completion_mode::msi && raw(c.ring.bus) == 0) return errc::invalid_argument;
    return {};
  }
  [[nodiscard]] status prepare(const queue::queue_config<Env>& c) noexcept {
    return valid_.allocate(c.log2size) ? status{} : errc::no_memory;
  }
  void start(seq64 base) noexcept {
    valid_.reset();
    lock_.reset();
    word_.store(value(base) & position_mask, std::memory_order_relaxed);  // S6 relaxed: nobody uses the queue; core.hpp S2 publishes
    shadow_cons_.store(value(base), std::memory_order_relaxed);           // S6 relaxed: as above
    owner_prod_.store(value(base), std::memory_order_relaxed);            // S6 relaxed: as above
  }

  template <command_list List>
  [[nodiscard]] status submit(const List& list, std::uint32_t size, bool closing, const deadline*, ticket& t) noexcept {
    const std::uint32_t need = size + (closing ? 1u : 0u);
    typename Env::irq_guard irqs_off;
    const std::uint64_t old = word_.fetch_add(need + one_joiner, std::memory_order_relaxed);  // S2 relaxed: only uniqueness is needed
    t.first = seq64{old & position_mask};
    t.end = advance(t.first, need);
    Env::trace::event(trace_point::reserve, value(t.end), need);
    patience limit{core_};
    const command sync = closing_sync(seq64{value(t.end) - 1});
    queue::write_list(core_->slots, t.first, list, size, closing ? &sync : nullptr);
    if (closing && !lock_.lock_shared(limit)) return errc::queue_failed;
    valid_.mark(t.first, need);
    return old < one_joiner ? publish(t.first, limit) : status{};
  }

  [[nodiscard]] queue::sight look(const ticket& t, bool thorough) noexcept {
    auto& slots = core_->slots;
    const seq64 sync{value(t.end) - 1};
    if (slots.config().completion == queue::completion_mode::msi) {
      if (static_cast<std::uint32_t>(slots.first_word(sync)) == 0) return {true, false, sync};
      if (!thorough) return {};
    }
    const seq64 known = reached();  // before CONS, which is never behind it
    const std::uint32_t cons = slots.read_cons();
    const bool suspicious = queue::ring<Env, Backend>::err_f::get(cons) != 0;
    const seq64 at = slots.position(known, cons);
    if (distance(tail(), at) < 0 || !covers(at, t.end)) return {false, suspicious, {}};
    return {true, suspicious, at};
  }
  void settle(const queue::sight& seen) noexcept {
    if (lock_.try_unlock_shared()) return;
    if (distance(seen.consumed, reached()) > 0)
      shadow_cons_.store(value(seen.consumed), std::memory_order_release);  // S7 release -> S8: only the last one out writes it
    lock_.unlock_shared();
  }
  void abandon() noexcept {
    if (!lock_.try_unlock_shared()) lock_.unlock_shared();
  }

  [[nodiscard]] seq64 reached() const noexcept {
    return seq64{shadow_cons_.load(std::memory_order_acquire)};  // S8 acquire: pairs with S7
  }
  [[nodiscard]] seq64 in_doubt_from(seq64 at) const noexcept { return at; }
  [[nodiscard]] seq64 tail() const noexcept {
    return seq64{word_.load(std::memory_order_relaxed) & position_mask};  // S1 relaxed: a number by itself
  }
  [[nodiscard]] bool check_invariants() const noexcept { return distance(tail(), reached()) >= 0 && lock_.check_invariants(); }

 private:
  // word_: [63:40] lists that joined the gathering, [39:0] position.
  static constexpr std::uint64_t one_joiner = std::uint64_t{1} << 40;
  static constexpr std::uint64_t position_mask = one_joiner - 1;

  template <class Patience>
  [[nodiscard]] status publish(seq64 first, Patience& limit) noexcept {
    while (owner_prod_.load(std::memory_order_acquire) != value(first)) {  // S5 acquire: pairs with S4; PROD must not go backwards
      if (limit()) return errc::queue_failed;
      Env::relax();
    }
    const seq64 end{word_.fetch_and(position_mask, std::memory_order_relaxed) & position_mask};  // S3 relaxed: S4 -> S5 orders owners
    const auto n = static_cast<std::uint64_t>(distance(end, first));
    while (!valid_.valid(first, n)) {
      if (limit()) return errc::queue_failed;
      Env::relax();
    }
    core_->slots.doorbell(end);
    owner_prod_.store(value(end), std::memory_order_release);  // S4 release -> S5: our PROD before the next owner's
    return {};
  }

  [[nodiscard]] command closing_sync(seq64 at) const noexcept {
    switch (core_->slots.config().completion) {
      case queue::completion_mode::cons_sev: return cmd::sync::event().encode();
      case queue::completion_mode::msi: return cmd::sync::message(core_->slots.slot_address(at), 0).encode();
      case queue::completion_mode::cons_poll: break;
    }
    return cmd::sync::silent().encode();
  }

  /// How long to wait for another CPU; then the queue fails.
  class patience {
   public:
    explicit patience(queue::queue_core<Env, Backend>* core) noexcept : core_{core} {}
    [[nodiscard]] bool operator()() noexcept {
      const instant now = Env::now();
      if (!asked_) until_ = deadline::in(now, core_->slots.config().publish_limit);
      asked_ = true;
      if (until_.passed(now)) core_->fail();
      return core_->failed();
    }

   private:
    queue::queue_core<Env, Backend>* core_;
    deadline until_{};
    bool asked_{};
  };

  queue::queue_core<Env, Backend>* core_;
  queue::valid_map<Env> valid_{};
  alignas(cache_line) typename Env::template atomic<std::uint64_t> word_{};
  typename Env::template atomic<std::uint64_t> shadow_cons_{};                     // on the same line, as published
  alignas(cache_line) typename Env::template atomic<std::uint64_t> owner_prod_{};  // PROD as the last owner wrote it
  queue::waiter_lock<Env> lock_{};
};

/// Strategy tag: see owner_add_engine.
struct owner_add {
  template <class Env, class Backend>
  using engine = owner_add_engine<Env, Backend>;
  static constexpr const char* name = "owner_add";
};

}  // namespace shootdown::bench
