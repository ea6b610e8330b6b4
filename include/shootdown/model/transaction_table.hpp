// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include <shootdown/arch/types.hpp>
#include <shootdown/model/tag_map.hpp>
#include <shootdown/model/translation.hpp>

SHOOTDOWN_BEGIN
namespace model {

/// Names one outstanding transaction; stale once it has landed.
struct transaction_id {
  std::uint32_t slot{~std::uint32_t{0}};
  std::uint32_t generation{};
  friend constexpr bool operator==(const transaction_id&, const transaction_id&) noexcept = default;
};

/// A transaction between its translation and its landing.
struct transaction {
  transaction_id id{};
  stream_id sid{};
  iova address{};
  request want{};
  bus_addr output{};
  bool must_land{};  ///< something it rests on was removed: the next SYNC waits for it
  decltype(translation::used) used{};
  std::uint8_t used_count{};
};

/// The transactions that were translated and have not landed. Fixed capacity, dense, no allocation after construction.
/// Context: the device's lock. Cost: O(1) to add, find and take; O(outstanding) for each cache entry removed.
class transaction_table {
 public:
  explicit transaction_table(std::uint32_t capacity) : slots_(capacity), position_(capacity), generations_(capacity) {
    live_.reserve(capacity);
    free_.reserve(capacity);
    for (std::uint32_t i = capacity; i-- != 0;) free_.push_back(i);
  }

  [[nodiscard]] bool full() const noexcept { return free_.empty(); }
  [[nodiscard]] std::size_t size() const noexcept { return live_.size(); }

  /// The table must not be full.
  transaction_id add(stream_id sid, iova x, const request& r, const translation& t) noexcept {
    const std::uint32_t n = free_.back();
    free_.pop_back();
    slots_[n] = {{n, generations_[n]}, sid, x, r, bus_addr{t.output}, false, t.used, t.used_count};
    position_[n] = static_cast<std::uint32_t>(live_.size());
    live_.push_back(n);
    return slots_[n].id;
  }
  [[nodiscard]] const transaction* find(transaction_id id) const noexcept {
    if (id.slot >= slots_.size() || generations_[id.slot] != id.generation || slots_[id.slot].id != id) return nullptr;
    const std::uint32_t at = position_[id.slot];
    return at < live_.size() && live_[at] == id.slot ? &slots_[id.slot] : nullptr;
  }
  [[nodiscard]] const transaction& nth(std::size_t n) const noexcept { return slots_[live_[n]]; }
  /// Ends a transaction that find() knows.
  transaction take(transaction_id id) noexcept {
    const transaction t = slots_[id.slot];
    const std::uint32_t at = position_[id.slot];
    live_[at] = live_.back();
    position_[live_[at]] = at;
    live_.pop_back();
    ++generations_[id.slot];
    free_.push_back(id.slot);
    if (t.must_land) --must_land_;
    return t;
  }

  /// A cache entry was removed: whoever rests on it has to land before the next SYNC completes.
  void removed(entry_id id) noexcept {
    for (const std::uint32_t n : live_) {
      transaction& t = slots_[n];
      if (t.must_land) continue;
      if (std::find(t.used.begin(), t.used.begin() + t.used_count, id) == t.used.begin() + t.used_count) continue;
      t.must_land = true;
      ++must_land_;
    }
  }
  [[nodiscard]] std::size_t must_land() const noexcept { return must_land_; }

  [[nodiscard]] bool check_invariants() const noexcept {
    std::size_t bound = 0;
    for (std::size_t i = 0; i != live_.size(); ++i) {
      if (position_[live_[i]] != i || find(slots_[live_[i]].id) == nullptr) return false;
      bound += slots_[live_[i]].must_land;
    }
    return bound == must_land_ && live_.size() + free_.size() == slots_.size();
  }

 private:
  std::vector<transaction> slots_;
  std::vector<std::uint32_t> position_;     // of a slot in live_
  std::vector<std::uint32_t> generations_;  // grows each time a slot is taken
  std::vector<std::uint32_t> live_;
  std::vector<std::uint32_t> free_;
  std::size_t must_land_{};
};

}  // namespace model
SHOOTDOWN_END
