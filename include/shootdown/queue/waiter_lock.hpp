// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <cstdint>

#include <shootdown/env/environment.hpp>

SHOOTDOWN_BEGIN
namespace queue {

/// The shared/exclusive lock of the published lock-free command queue: every SYNC waiter holds it shared, so that nobody
/// gives its slot away while it still looks at it; whoever refreshes the shadow CONS holds it exclusively.
///
/// Shared takers add themselves at once, also while it is held exclusively, and releasing the exclusive side keeps them: an
/// exclusive taker cannot come back before they had their turn (the fairness change of 2026, cmdq-algorithm.md section 3).
/// Contract: the exclusive side is held for a few instructions with interrupts off. Context: any.
/// Progress: lock_shared waits for an exclusive holder only; everything else is wait-free.
///
/// Sites: S1 lock_shared (acquire), S2 its spin (acquire), S3 last-holder test (acquire), S4 try_exclusive (acquire)
///        <- S5 unlock_shared (release), S6 unlock_exclusive (release); S7 reset, hint and invariant (relaxed)
template <class Env>
class waiter_lock {
 public:
  /// Nobody holds it. Only while nobody uses it.
  void reset() noexcept { word_.store(0, std::memory_order_relaxed); }  // S7 relaxed: core.hpp S2 publishes

  /// Takes a share; `give_up()` is asked once per turn while an exclusive holder is in the way. False: given up, no share taken.
  template <class GiveUp>
  [[nodiscard]] bool lock_shared(GiveUp&& give_up) noexcept {
    if ((word_.fetch_add(1, std::memory_order_acquire) & exclusive) == 0)
      return true;  // S1 acquire: pairs with S5, S6: the last shadow CONS is ours to see
    while ((word_.load(std::memory_order_acquire) & exclusive) != 0) {  // S2 acquire: pairs with S6
      if (give_up()) {
        unlock_shared();
        return false;
      }
      Env::relax();
    }
    return true;
  }
  void unlock_shared() noexcept {
    word_.fetch_sub(1, std::memory_order_release);  // S5 release -> S1, S3, S4: the shadow CONS before the share is gone
  }
  /// Gives the share back unless it is the only one: false then, and the caller still holds it. Two holders may both find
  /// that they are not the last; never do two find that they are.
  [[nodiscard]] bool try_unlock_shared() noexcept {
    if (word_.load(std::memory_order_acquire) == 1) return false;  // S3 acquire: pairs with S5 of the holder before
    unlock_shared();
    return true;
  }
  /// Only if nobody holds it at all.
  [[nodiscard]] bool try_lock_exclusive() noexcept {
    if (word_.load(std::memory_order_relaxed) != 0) return false;  // S7 relaxed: a hint that saves a failing compare-exchange
    std::uint32_t nobody = 0;
    return word_.compare_exchange_strong(nobody, exclusive, std::memory_order_acquire,  // S4 acquire: pairs with S5, S6
                                         std::memory_order_relaxed);                    // S7 relaxed: not taken, nothing read
  }
  void unlock_exclusive() noexcept {
    word_.fetch_and(~exclusive, std::memory_order_release);  // S6 release -> S1, S2, S4: keeps the shares that queued meanwhile
  }

  /// Shares held or queued.
  [[nodiscard]] std::uint32_t shares() const noexcept {
    return word_.load(std::memory_order_relaxed) & ~exclusive;  // S7 relaxed: a number by itself
  }
  /// No release without a take.
  [[nodiscard]] bool check_invariants() const noexcept { return shares() < (exclusive >> 1); }

 private:
  static constexpr std::uint32_t exclusive = std::uint32_t{1} << 31;
  typename Env::template atomic<std::uint32_t> word_{};  // shares | exclusive
};

}  // namespace queue
SHOOTDOWN_END
