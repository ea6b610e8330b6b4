// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <cstdint>

#include <shootdown/env/environment.hpp>
#include <shootdown/port/ticket.hpp>

SHOOTDOWN_BEGIN
namespace queue {

/// Turns the 31-bit positions of a queue whose shadow PROD has no more room into 64-bit ones, which tickets and the error log
/// are written in.
///
/// It keeps one 64-bit position that is behind everything in use; a 31-bit position is the first one from there on with
/// these bits. reserved() moves it forward long before 31 bits run out, to 2^24 behind the caller: nobody is further behind,
/// because the caller's slots are not published yet and the ring, of 2^19 slots at most, stops there.
/// Contract: positions asked for are in the ring. Context: any. Progress: lock-free. Cost: one load of a line that is written
/// once in 2^29 commands.
///
/// Sites: S1 base (relaxed), S2 its move (relaxed), S3 start (relaxed)
template <class Env>
class position_map {
 public:
  static constexpr unsigned bits = 31;
  static constexpr std::uint64_t mask = (std::uint64_t{1} << bits) - 1;

  /// Positions begin at `base`. Only while nobody uses it.
  void start(seq64 base) noexcept {
    base_.store(value(base), std::memory_order_relaxed);  // S3 relaxed: nobody uses the queue; its start publishes
  }
  [[nodiscard]] seq64 widen(std::uint32_t at) const noexcept {
    const std::uint64_t base = base_.load(std::memory_order_relaxed);  // S1 relaxed: any value it had less than 2^31 before `at` serves
    return seq64{base + ((at - base) & mask)};
  }
  /// The same for a position that the caller has just reserved.
  [[nodiscard]] seq64 reserved(std::uint32_t at) noexcept {
    const seq64 s = widen(at);
    std::uint64_t base = base_.load(std::memory_order_relaxed);  // S1 relaxed: as above
    while (value(s) - base > move_after && !base_.compare_exchange_weak(base, value(s) - keep_behind,
                                                                        std::memory_order_relaxed,     // S2 relaxed: a number by itself
                                                                        std::memory_order_relaxed)) {  // S1 relaxed: as above
    }
    return s;
  }

 private:
  static constexpr std::uint64_t move_after = std::uint64_t{1} << 29;
  static constexpr std::uint64_t keep_behind = std::uint64_t{1} << 24;
  typename Env::template atomic<std::uint64_t> base_{};
};

}  // namespace queue
SHOOTDOWN_END
