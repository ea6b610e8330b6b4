// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include <shootdown/env/stats.hpp>

SHOOTDOWN_BEGIN
namespace host {

/// One value per counter.
struct tally {
  static constexpr std::size_t size = static_cast<std::size_t>(counter::count_);
  std::array<std::uint64_t, size> values{};
  [[nodiscard]] constexpr std::uint64_t operator[](counter c) const noexcept { return values[static_cast<std::size_t>(c)]; }
  constexpr tally& operator+=(const tally& o) noexcept {
    for (std::size_t i = 0; i != size; ++i) values[i] += o.values[i];
    return *this;
  }
  constexpr tally& operator-=(const tally& o) noexcept {
    for (std::size_t i = 0; i != size; ++i) values[i] -= o.values[i];
    return *this;
  }
  friend constexpr tally operator-(tally a, const tally& b) noexcept { return a -= b; }
  friend constexpr bool operator==(const tally&, const tally&) noexcept = default;
};

/// Env::stats with counters of each thread's own: add() touches no shared line, so that counting does not change what is
/// counted. sum() adds all threads up, those that ended included; reset() makes the present the new zero.
///
/// sum() and reset() may run beside add(): they see each counter at some moment of the call, exact when the adders are
/// known to have stopped (joined). Context: threads; the first add() of a thread allocates and takes a lock.
///
/// Sites: S1 own counter (relaxed)  S2 bump (relaxed) -> S3 sum (relaxed)
class thread_stats {
 public:
  static void add(counter c, std::uint64_t n = 1) noexcept {
    auto& cell = mine_or_new().cells[static_cast<std::size_t>(c)];
    const std::uint64_t old = cell.load(std::memory_order_relaxed);  // S1 relaxed: only this thread writes it
    cell.store(old + n, std::memory_order_relaxed);                  // S2 relaxed: a number by itself; exact readers have joined
  }
  /// What the calling thread has counted since it began (reset() does not touch it).
  [[nodiscard]] static tally mine() noexcept { return read(mine_or_new()); }
  /// What all threads have counted since the last reset().
  [[nodiscard]] static tally sum() noexcept {
    registry& r = all();
    const std::lock_guard hold{r.lock};
    return total(r) - r.zero;
  }
  static void reset() noexcept {
    registry& r = all();
    const std::lock_guard hold{r.lock};
    r.zero = total(r);
  }

 private:
  struct alignas(cache_line) block {
    std::array<std::atomic<std::uint64_t>, tally::size> cells{};
    bool taken{true};  // under registry::lock
  };
  // Blocks are never freed, only handed from an ended thread to a new one: their counts stay in the sum.
  struct registry {
    std::mutex lock;
    std::vector<std::unique_ptr<block>> blocks;
    tally zero;
  };
  struct lease {  // gives the block back when the thread ends
    block* held{};
    ~lease() noexcept {
      if (held == nullptr) return;
      const std::lock_guard hold{all().lock};
      held->taken = false;
      current_ = nullptr;
    }
  };

  static registry& all() noexcept {
    static registry* const r = new registry;  // never destroyed: threads may still count while the process ends
    return *r;
  }
  static block& mine_or_new() noexcept { return current_ != nullptr ? *current_ : enrol(); }
  [[gnu::noinline]] static block& enrol() noexcept {
    static thread_local lease own;
    registry& r = all();
    const std::lock_guard hold{r.lock};
    block* b = nullptr;
    for (auto& each : r.blocks)
      if (!each->taken) b = each.get();
    if (b == nullptr) b = r.blocks.emplace_back(std::make_unique<block>()).get();
    b->taken = true;
    current_ = own.held = b;
    return *b;
  }
  static tally read(const block& b) noexcept {
    tally t;
    for (std::size_t i = 0; i != tally::size; ++i)
      t.values[i] = b.cells[i].load(std::memory_order_relaxed);  // S3 relaxed: each number by itself
    return t;
  }
  static tally total(const registry& r) noexcept {
    tally t;
    for (const auto& b : r.blocks) t += read(*b);
    return t;
  }

  static inline thread_local constinit block* current_ = nullptr;
};

}  // namespace host
SHOOTDOWN_END
