// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include <shootdown/arch/cmd_sync.hpp>
#include <shootdown/queue/core.hpp>
#include <shootdown/queue/position_map.hpp>
#include <shootdown/queue/valid_map.hpp>
#include <shootdown/queue/waiter_lock.hpp>

SHOOTDOWN_BEGIN
namespace queue {

/// The published lock-free command queue (Linux, 2019; described in cmdq-algorithm.md sections 1-5), as the baseline that
/// other strategies are measured against: neither improved nor weakened.
///
/// One 64-bit word holds the shadow PROD and CONS; a compare-exchange reserves. The first reserver that finds the OWNED flag
/// clear publishes for all that follow until it clears the flag: it waits for the owner before it, then for the valid bits of
/// everything gathered, then writes PROD once. Every list ends in its own CMD_SYNC and every waiter holds the shared lock
/// from before its publication until its ticket is settled; the last one out moves the shadow CONS.
///
/// What differs from the published form, and why:
///   - C++ has no mixed-size access: the CONS half moves by fetch_add of the difference, counted as emulated_rmw; acquire and
///     release stand where the original relies on control dependencies and barriers.
///   - Positions run through 31 bits instead of index and wrap bit, and are mapped to 64 bits for tickets and the error log.
///   - Waiting for room waits for exactly the slots needed, under one deadline, and tries the exclusive refresh in every
///     turn (the original stops at "not full", restarts its timer, and can miss a refresh that nobody repeats).
///   - Waiting for the previous owner and for gathered writers is bounded by config.publish_limit and ends in a failed queue.
///   - submit and wait are two calls, so interrupts are on in the completion wait; a timed-out ticket keeps its share.
///   - After an MSI the shadow CONS moves to the SYNC, not past it: CONS may not have moved yet, and PROD must not claim one
///     slot more than the ring has. A dropped MSI is found by reading CONS in thorough turns.
///
/// Contract: slots a multiple of 64; every awaited ticket is settled or abandoned by its holder. An unsettled one keeps the exclusive
/// refresh and every other last-one-out from moving CONS: a thread that holds tickets for most of the ring and asks for more
/// room waits for itself until its deadline.
/// Context: any but NMI and signal handlers; interrupts off from reservation to publication. Progress: blocking: an owner
/// waits for the slowest gathered writer and for the owner before it; a submitter in a full ring for the slowest waiter.
/// Cost per list with SYNC: a compare-exchange (and its failures), lock in, valid bits (1 per 64 slots), lock out; owners 1
/// more, and one doorbell; the last one out 1 more.
///
/// Sites: S1 pair (relaxed), S2 reserve (acquire) <- S3 CONS half (release), S4 OWNED clear (relaxed)
///        S5 owner_prod (release) -> S6 (acquire), S7 start (relaxed)
///        valid bits and lock: valid_map.hpp S1 -> S2, waiter_lock.hpp
template <class Env, class Backend>
class owner_cas_engine {
 public:
  static constexpr unsigned min_log2size = valid_map<Env>::min_log2size;

  explicit owner_cas_engine(queue_core<Env, Backend>& core) noexcept : core_{&core} {}

  [[nodiscard]] static status check(const queue_config<Env>& c) noexcept {
    if (const status s = queue::check(c, min_log2size); !s.ok()) return s;
    // The MSI goes to the SYNC's own slot, and an MSI address of 0 means none.
    if (c.completion == completion_mode::msi && raw(c.ring.bus) == 0) return errc::invalid_argument;
    return {};
  }
  [[nodiscard]] status prepare(const queue_config<Env>& c) noexcept { return valid_.allocate(c.log2size) ? status{} : errc::no_memory; }

  void start(seq64 base) noexcept {
    valid_.reset();
    lock_.reset();
    const std::uint64_t at = value(base) & position_mask;
    positions_.start(base);
    owner_prod_.store(static_cast<std::uint32_t>(at),
                      std::memory_order_relaxed);                     // S7 relaxed: nobody uses the queue; core.hpp S2 publishes
    pair_.store((at << cons_shift) | at, std::memory_order_relaxed);  // S7 relaxed: as above
  }

  template <command_list List>
  [[nodiscard]] status submit(const List& list, std::uint32_t size, bool closing, const deadline* until, ticket& t) noexcept {
    const std::uint32_t need = size + (closing ? 1u : 0u);
    for (;;) {
      {
        typename Env::irq_guard irqs_off;
        std::uint64_t old = pair_.load(std::memory_order_relaxed);  // S1 relaxed: S2 validates it
        while (free_slots(old) >= need) {
          const std::uint64_t next = (old & ~low_half) | owned | ((old + need) & position_mask);
          if (pair_.compare_exchange_weak(old, next,
                                          std::memory_order_acquire,     // S2 acquire: pairs with S3: the slots are free before we write
                                          std::memory_order_relaxed)) {  // S1 relaxed: as above
            return insert(list, size, closing, old, need, t);
          }
        }
      }
      if (const status s = wait_for_room(need, until); !s.ok()) return s;
    }
  }

  [[nodiscard]] sight look(const ticket& t, bool thorough) noexcept {
    auto& slots = core_->slots;
    const seq64 sync{value(t.end) - 1};
    if (slots.config().completion == completion_mode::msi) {
      if (static_cast<std::uint32_t>(slots.first_word(sync)) == 0) return {true, false, sync};
      if (!thorough) return {};
    }
    const seq64 known = reached();  // before CONS, which is never behind it
    const std::uint32_t cons = slots.read_cons();
    const bool suspicious = ring<Env, Backend>::err_f::get(cons) != 0;
    const seq64 at = slots.position(known, cons);
    // Beyond what was ever reserved: an SMMU that lost its state (CONS reads 0) or is off the bus (all ones).
    if (distance(tail(), at) < 0 || !covers(at, t.end)) return {false, suspicious, {}};
    return {true, suspicious, at};
  }

  /// The ticket that `seen` completed gives its share back; the last one out moves the shadow CONS.
  void settle(const sight& seen) noexcept {
    if (lock_.try_unlock_shared()) return;
    move_cons(seen.consumed);
    lock_.unlock_shared();
  }
  /// A ticket that nobody will ask about again gives its share back and says nothing about CONS.
  void abandon() noexcept {
    if (!lock_.try_unlock_shared()) lock_.unlock_shared();
  }

  [[nodiscard]] seq64 reached() const noexcept {
    return positions_.widen(cons_of(pair_.load(std::memory_order_relaxed)));  // S1 relaxed: a lower bound by itself
  }
  /// Every list that is waited for ends in a SYNC of its own, so a failing SYNC speaks for its own list only.
  [[nodiscard]] seq64 in_doubt_from(seq64 at) const noexcept { return at; }
  [[nodiscard]] seq64 tail() const noexcept {
    return positions_.widen(prod_of(pair_.load(std::memory_order_relaxed)));
  }  // S1 relaxed: as above
  /// Tickets that hold a share of the lock.
  [[nodiscard]] std::uint32_t shares() const noexcept { return lock_.shares(); }

  [[nodiscard]] bool check_invariants() const noexcept {
    const std::uint64_t pair = pair_.load(std::memory_order_relaxed);  // S1 relaxed: one word is consistent by itself
    if (((prod_of(pair) - cons_of(pair)) & position_mask) > core_->slots.slots() || !lock_.check_invariants()) return false;
    // Nobody owns and all is published: then every slot must be marked for its last lap, unless something moved meanwhile.
    const bool at_rest = (pair & owned) == 0 && owner_prod_.load(std::memory_order_acquire) == prod_of(pair);  // S6 acquire: pairs with S5
    const std::uint64_t n = core_->slots.slots();
    if (!at_rest || valid_.valid(seq64{value(positions_.widen(prod_of(pair))) - n}, n)) return true;
    return pair_.load(std::memory_order_relaxed) != pair;  // S1 relaxed: S6 and the bits were acquired before
  }

 private:
  // pair_: [63:32] shadow CONS, modulo 2^32 of which 31 bits count; [31] OWNED; [30:0] shadow PROD.
  static constexpr unsigned cons_shift = 32;
  static constexpr std::uint64_t low_half = 0xffff'ffff;
  static constexpr std::uint64_t owned = std::uint64_t{1} << 31;
  static constexpr std::uint64_t position_mask = owned - 1;

  [[nodiscard]] static constexpr std::uint32_t prod_of(std::uint64_t pair) noexcept {
    return static_cast<std::uint32_t>(pair & position_mask);
  }
  [[nodiscard]] static constexpr std::uint32_t cons_of(std::uint64_t pair) noexcept {
    return static_cast<std::uint32_t>((pair >> cons_shift) & position_mask);
  }
  [[nodiscard]] std::uint64_t free_slots(std::uint64_t pair) const noexcept {
    return core_->slots.slots() - ((prod_of(pair) - cons_of(pair)) & position_mask);
  }

  template <command_list List>
  [[nodiscard]] status insert(const List& list, std::uint32_t size, bool closing, std::uint64_t old, std::uint32_t need,
                              ticket& t) noexcept {
    t.first = positions_.reserved(prod_of(old));
    t.end = advance(t.first, need);
    Env::trace::event(trace_point::reserve, value(t.end), need);
    patience limit{core_};
    const command sync = closing_sync(seq64{value(t.end) - 1});
    write_list(core_->slots, t.first, list, size, closing ? &sync : nullptr);
    // Before the slots are valid: from the moment the device may run our SYNC, nobody may give its slot away.
    if (closing && !lock_.lock_shared(limit)) return errc::queue_failed;
    valid_.mark(t.first, need);
    return (old & owned) == 0 ? publish(t.first, limit) : status{};
  }

  /// What the owner does: from `first`, its own start, to the end of what was gathered.
  template <class Patience>
  [[nodiscard]] status publish(seq64 first, Patience& limit) noexcept {
    const auto start = static_cast<std::uint32_t>(value(first) & position_mask);
    while (owner_prod_.load(std::memory_order_acquire) != start) {  // S6 acquire: pairs with S5; PROD must not go backwards
      if (limit()) return errc::queue_failed;
      Env::relax();
    }
    const std::uint32_t end =
        prod_of(pair_.fetch_and(~owned, std::memory_order_relaxed));  // S4 relaxed: closes the gathering; S5 -> S6 orders owners
    const std::uint64_t n = (end - start) & position_mask;
    while (!valid_.valid(first, n)) {
      if (limit()) return errc::queue_failed;
      Env::relax();
    }
    core_->slots.doorbell(advance(first, n));
    owner_prod_.store(end, std::memory_order_release);  // S5 release -> S6: our PROD before the next owner's
    return {};
  }

  /// Until `need` slots are free. Exact, and with the caller's one deadline.
  [[nodiscard]] status wait_for_room(std::uint32_t need, const deadline* until) noexcept {
    for (unsigned turn = 1;; ++turn) {
      const bool suspicious = refresh();
      if (free_slots(pair_.load(std::memory_order_relaxed)) >= need) return {};  // S1 relaxed: the reservation's S2 decides
      if (core_->failed()) return errc::queue_failed;
      if (until == nullptr) return errc::would_block;
      if (turn == 1) Env::stats::add(counter::space_waits);
      if (until->passed(Env::now())) return errc::timed_out;
      core_->service(*this, suspicious || turn % core_->thorough_period == 0);
      core_->slots.pause(*until);
    }
  }

  /// Moves the shadow CONS to the real one if no waiter is there to do it. Returns whether CONS was read and shows an error code.
  bool refresh() noexcept {
    typename Env::irq_guard irqs_off;
    if (!lock_.try_lock_exclusive()) return false;
    const seq64 known = reached();  // before CONS, which is never behind it
    const std::uint32_t cons = core_->slots.read_cons();
    const seq64 at = core_->slots.position(known, cons);
    if (distance(tail(), at) >= 0) move_cons(at);  // else as in look()
    lock_.unlock_exclusive();
    return ring<Env, Backend>::err_f::get(cons) != 0;
  }

  /// Only by the exclusive holder or the last shared one: nobody else moves the CONS half meanwhile, so a difference is exact.
  void move_cons(seq64 to) noexcept {
    const std::uint64_t pair = pair_.load(std::memory_order_relaxed);  // S1 relaxed: the lock acquired the last mover's S3
    const std::uint64_t step = (value(to) - cons_of(pair)) & position_mask;
    if (step == 0) return;  // a SYNC seen by its MSI may be where a refresh has been already
    if (step > core_->slots.slots()) {
      Env::fail("owner_cas: shadow CONS would go backwards");
      return;
    }
    pair_.fetch_add(step << cons_shift, std::memory_order_release);  // S3 release -> S2: the device is done with these slots
    Env::stats::add(counter::emulated_rmw);
  }

  [[nodiscard]] command closing_sync(seq64 at) const noexcept {
    switch (core_->slots.config().completion) {
      case completion_mode::cons_sev: return cmd::sync::event().encode();
      case completion_mode::msi: return cmd::sync::message(core_->slots.slot_address(at), 0).encode();
      case completion_mode::cons_poll: break;
    }
    return cmd::sync::silent().encode();
  }

  /// How long to wait for another CPU inside a submission; the clock starts when it is first asked. Giving up fails the
  /// queue: our slots are reserved and cannot be given back.
  class patience {
   public:
    explicit patience(queue_core<Env, Backend>* core) noexcept : core_{core} {}
    [[nodiscard]] bool operator()() noexcept {
      const instant now = Env::now();
      if (!asked_) until_ = deadline::in(now, core_->slots.config().publish_limit);
      asked_ = true;
      if (until_.passed(now)) core_->fail();
      return core_->failed();
    }

   private:
    queue_core<Env, Backend>* core_;
    deadline until_{};
    bool asked_{};
  };

  queue_core<Env, Backend>* core_;
  valid_map<Env> valid_{};
  position_map<Env> positions_{};
  alignas(cache_line) typename Env::template atomic<std::uint64_t> pair_{};        // alone on its line
  alignas(cache_line) typename Env::template atomic<std::uint32_t> owner_prod_{};  // PROD as the last owner wrote it
  waiter_lock<Env> lock_{};
};

/// Strategy tag: see owner_cas_engine.
struct owner_cas {
  template <class Env, class Backend>
  using engine = owner_cas_engine<Env, Backend>;
  static constexpr const char* name = "owner_cas";
};

}  // namespace queue
SHOOTDOWN_END
