// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <cstdint>

#include <shootdown/queue/error_log.hpp>
#include <shootdown/queue/recovery.hpp>
#include <shootdown/queue/ring.hpp>

SHOOTDOWN_BEGIN
namespace queue {

/// What a strategy saw when it looked whether a ticket is complete.
struct sight {
  bool complete{};
  bool suspicious{};  ///< CONS showed an error code: stale unless GERROR says otherwise
  seq64 consumed{};   ///< if complete: the device has consumed everything before it
};

/// What the front of a command queue and its reservation strategy share: the ring, the error log, recovery, and whether the
/// queue works at all. A queue is failed until it is started, and again after fail(); each start is a new generation.
///
/// Context: any. Progress: wait-free.
/// Sites: S1 state (acquire) <- S2 start (release), S3 fail (relaxed)
template <class Env, class Backend>
struct queue_core {
  /// Turns of a wait between two looks at the error registers and, for waiters on memory, at CONS.
  static constexpr unsigned thorough_period = 64;

  explicit queue_core(Backend& device) noexcept : slots{device}, repair{slots, errors} {}
  queue_core(const queue_core&) = delete;
  queue_core& operator=(const queue_core&) = delete;

  [[nodiscard]] bool failed() const noexcept { return (load() & failed_bit) != 0; }
  [[nodiscard]] std::uint32_t generation() const noexcept { return load() >> 1; }

  /// Every submission and every unsettled ticket ends in queue_failed from now on.
  void fail() noexcept {
    state_.fetch_or(failed_bit, std::memory_order_relaxed);  // S3 relaxed: a flag that carries no data; the strategies' own edges do
  }
  /// A new generation that works. Only while no other call is in progress.
  void start() noexcept {
    const std::uint32_t next = ((load() >> 1) + 1) << 1;
    state_.store(next, std::memory_order_release);  // S2 -> S1: the strategy's fresh state before the queue is seen working
  }

  /// The error part of a wait's turn: recovers if the device waits for it. `suspicious`: CONS showed an error code, which is
  /// stale unless GERROR says otherwise.
  template <class Engine>
  void service(const Engine& engine, bool suspicious) noexcept {
    if (suspicious && repair.active()) {
      // Whatever it answers, the waiter's next look decides: its own record, progress, or its deadline.
      static_cast<void>(repair.recover(engine, slots.config().gerror_offset, slots.config().gerrorn_offset));
    }
  }

  ring<Env, Backend> slots;
  error_log<Env> errors{};
  recovery<Env, Backend> repair;

 private:
  static constexpr std::uint32_t failed_bit = 1;
  [[nodiscard]] std::uint32_t load() const noexcept {
    return state_.load(std::memory_order_acquire);  // S1 acquire: pairs with S2
  }

  typename Env::template atomic<std::uint32_t> state_{failed_bit};  // generation << 1 | failed
};

}  // namespace queue
SHOOTDOWN_END
