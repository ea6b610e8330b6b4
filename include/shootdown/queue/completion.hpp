// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <cstdint>

#include <shootdown/arch/cmd_sync.hpp>
#include <shootdown/port/ticket.hpp>
#include <shootdown/queue/ring.hpp>

SHOOTDOWN_BEGIN
namespace queue {

/// What one look at CONS said.
struct cons_view {
  seq64 position{};   ///< the device had consumed everything before it
  bool error_code{};  ///< CONS.ERR is set: stale unless GERROR says otherwise
};

/// How far the device has come, as one 64-bit position that only grows: `completed` = the first command not known to be
/// complete. A ticket is complete when `completed` covers its end. Waiters compare this number; they never look at their
/// own slot or at a raw CONS, both of which are reused.
///
/// Two sources move it forward, and both can only under-estimate:
///   CONS  has n + 1 bits. The observer first loads a position that CONS had reached (c), then CONS. The device's true
///         position K at that moment is >= c, and the smallest position >= c with CONS's bits is <= K. An observer that
///         slept for whole laps between the two loads learns less than the truth, never more.
///   MSI   one word for the whole queue, aligned to 8 bytes; the payload is the low half of the position behind the SYNC. It
///         is taken as a signed difference to `completed`, by the same argument. The one way to read too much would be a
///         word more than 2^31 positions *behind* it (every MSI since then lost): `msi_seen_`, a position the word is known
///         to have had, bounds how far behind it can be, and from 2^31 on CONS alone is used.
/// The MSI of a SYNC may be visible before CONS has moved past it. So in MSI mode CONS is only known to have reached the
/// position before `completed` (consumed()): extending CONS from `completed` itself would gain two laps out of nothing, and
/// giving the SYNC's slot away would let PROD claim one slot more than the ring has.
/// A lost MSI (GERROR.MSI_CMDQ_ABT_ERR) costs time, not correctness: every thorough turn, and the last one before a timeout,
/// reads CONS as well.
///
/// Context: any. Progress: lock-free (a failed compare-exchange means that another observer advanced). Cost: one load per
/// turn in MSI mode, one register read per turn otherwise; one compare-exchange per step forward, shared by all waiters.
/// Spec: cmdq-algorithm.md sections 5, 8 and 10.3.
///
/// Sites: S1 completed (acquire) <- S2 advance (release), S3 to compare (relaxed), S4 msi_seen_ (relaxed), S6 start
///        D5 MSI word (acquire) <- the device's MSI write
template <class Env, class Backend>
class completion_tracker {
 public:
  explicit completion_tracker(ring<Env, Backend>& r) noexcept : ring_{&r} {}

  /// Everything before `base` is over. Only while the device is stopped and nobody waits on this generation.
  void start(seq64 base) noexcept {
    if (by_message()) {
      typename Env::dma_word* const word = ring_->config().msi_word.cpu;
      word->store(low_half(value(base)), std::memory_order_relaxed);  // S6 relaxed: before the queue is started (core.hpp S2)
      Env::dma_publish(word, sizeof(typename Env::dma_word));
    }
    msi_seen_.store(value(base), std::memory_order_relaxed);   // S6 relaxed: as above
    completed_.store(value(base), std::memory_order_relaxed);  // S6 relaxed: as above
  }

  /// The CMD_SYNC that ends a list at `end` (the position behind it).
  [[nodiscard]] command closing_sync(seq64 end) const noexcept {
    switch (ring_->config().completion) {
      case completion_mode::cons_sev: return cmd::sync::event().encode();
      case completion_mode::msi: return cmd::sync::message(ring_->config().msi_word.bus, low_half(value(end))).encode();
      case completion_mode::cons_poll: break;
    }
    return cmd::sync::silent().encode();
  }

  [[nodiscard]] seq64 completed() const noexcept {
    return seq64{completed_.load(std::memory_order_acquire)};  // S1 acquire: pairs with S2; what the consumed commands did happened before
  }

  /// A position that CONS has reached: slots before it may be written again.
  [[nodiscard]] seq64 consumed() const noexcept { return seq64{value(completed()) - (by_message() ? 1u : 0u)}; }

  /// One look at the device. `thorough` also reads CONS where completion is by message. Returns whether CONS was read and
  /// shows an error code.
  template <class Tail>
  bool observe(bool thorough, const Tail& tail) noexcept {
    if (by_message() && observe_message() && !thorough) return false;
    return observe_cons(tail).error_code;
  }

  /// The same by CONS alone: what a submitter that needs room does.
  /// A CONS beyond tail(), the end of what was ever submitted, is that of an SMMU that lost its state (it reads 0) or is off
  /// the bus (all ones): no progress. tail() is asked after CONS was read, so a doorbell just rung counts.
  template <class Tail>
  cons_view observe_cons(const Tail& tail) noexcept {
    const seq64 reached = consumed();  // before CONS, see above
    const std::uint32_t cons = ring_->read_cons();
    const seq64 at = ring_->position(reached, cons);
    if (distance(tail(), at) < 0) return {reached, false};
    advance_to(at);
    return {at, ring<Env, Backend>::err_f::get(cons) != 0};
  }

 private:
  [[nodiscard]] bool by_message() const noexcept { return ring_->config().completion == completion_mode::msi; }
  [[nodiscard]] static constexpr std::uint32_t low_half(std::uint64_t v) noexcept { return static_cast<std::uint32_t>(v); }

  /// False if the word cannot be trusted any more.
  bool observe_message() noexcept {
    const seq64 reached = completed();                            // before the word, see above
    const seq64 seen{msi_seen_.load(std::memory_order_relaxed)};  // S4 relaxed: any position the word ever had is a valid bound
    if (distance(reached, seen) >= (std::int64_t{1} << 31)) return false;
    typename Env::dma_word* const word = ring_->config().msi_word.cpu;
    Env::dma_observe(word, sizeof(typename Env::dma_word));
    const std::uint32_t payload = low_half(word->load(std::memory_order_acquire));  // D5 acquire: pairs with the device's MSI write
    const auto step = static_cast<std::int32_t>(payload - low_half(value(reached)));
    if (step > 0) {
      const seq64 to = shootdown::advance(reached, static_cast<std::uint64_t>(step));
      msi_seen_.store(value(to), std::memory_order_relaxed);  // S4 relaxed: as above; an older value stored late is still one
      advance_to(to);
    }
    return true;
  }

  void advance_to(seq64 to) noexcept {
    std::uint64_t known = completed_.load(std::memory_order_relaxed);  // S3 relaxed: only compared; S2 decides
    while (distance(to, seq64{known}) > 0 &&
           !completed_.compare_exchange_weak(known, value(to),
                                             std::memory_order_release,     // S2 -> S1: what CONS or D5 acquired, before the number
                                             std::memory_order_relaxed)) {  // S3 relaxed: only to compare again
    }
  }

  ring<Env, Backend>* ring_;
  typename Env::template atomic<std::uint64_t> completed_{};
  typename Env::template atomic<std::uint64_t> msi_seen_{};
};

}  // namespace queue
SHOOTDOWN_END
