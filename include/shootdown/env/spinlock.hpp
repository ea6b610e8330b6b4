// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include <shootdown/env/environment.hpp>

SHOOTDOWN_BEGIN

/// Test-and-test-and-set lock for sections of a few dozen instructions that must not sleep.
///
/// Contract: unlock() by whoever locked; not recursive. What the section wrote is visible to the next holder.
/// Context: any. A lock that an interrupt handler takes too is held only under Env::irq_guard, or the handler spins on the
/// CPU that should release it. Every environment that suspends a holder (threads) makes the others wait for it.
/// Progress: blocking, unfair: one CPU can starve another. lock() has no deadline of its own because the sections are
/// bounded by construction; where the holder may be stuck on a device, use lock_until.
/// Cost: one exchange uncontended; waiters spin on a shared copy of the line and pause once per turn.
/// Not for: hot paths with many CPUs (one contended line; that is what owner_cas and ticket queues avoid), long sections
/// (Env::mutex).
///
/// Sites: S1 test (relaxed)  S2 lock (acquire) <- S3 unlock (release)  S4 invariant (relaxed)
template <environment Env>
class spinlock {
 public:
  spinlock() noexcept = default;
  spinlock(const spinlock&) = delete;
  spinlock& operator=(const spinlock&) = delete;

  /// Takes the lock if it is free now. Wait-free.
  [[nodiscard]] bool try_lock() noexcept {
    if (held_.load(std::memory_order_relaxed) != 0) return false;  // S1 relaxed: a hint that keeps waiters off the bus; S2 decides
    return held_.exchange(1, std::memory_order_acquire) == 0;      // S2 acquire: pairs with S3, the last holder's writes are visible
  }
  void lock() noexcept {
    while (!try_lock()) Env::relax();
  }
  /// Gives up at `d`; false then. Tries at least once.
  [[nodiscard]] bool lock_until(deadline d) noexcept {
    while (!try_lock()) {
      if (d.passed(Env::now())) return false;
      Env::relax();
    }
    return true;
  }
  void unlock() noexcept {
    held_.store(0, std::memory_order_release);  // S3 release -> S2: the section's writes before the lock is seen free
  }
  /// The word is one of its two values. Any context.
  [[nodiscard]] bool check_invariants() const noexcept {
    return held_.load(std::memory_order_relaxed) <= 1;  // S4 relaxed: looks at this word only
  }

 private:
  typename Env::template atomic<std::uint32_t> held_{};  // 0 free, 1 held
};

/// RAII for anything with lock() and unlock().
template <class Lock>
class [[nodiscard]] lock_guard {
 public:
  explicit lock_guard(Lock& l) noexcept : lock_{l} { lock_.lock(); }
  ~lock_guard() noexcept { lock_.unlock(); }
  lock_guard(const lock_guard&) = delete;
  lock_guard& operator=(const lock_guard&) = delete;

 private:
  Lock& lock_;
};

SHOOTDOWN_END
