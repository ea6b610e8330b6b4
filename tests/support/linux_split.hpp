// SPDX-License-Identifier: MIT
#pragma once

#include <bit>
#include <cstdint>
#include <vector>

// Independent statements of the range splits of commands.md 4.4: (a) as a baseline to compare with, (b) and (c) as oracles
// for the library's closed forms. Deliberately literal and slow.
namespace shootdown::test {

/// NUM and SCALE as they stand in the command.
struct num_scale {
  unsigned num{};
  unsigned scale{};
  friend bool operator==(const num_scale&, const num_scale&) = default;
  [[nodiscard]] std::uint64_t granules() const { return (std::uint64_t{num} + 1) << scale; }
};

/// (a) Low bits first, as Linux emits them. `leaf` false (tables freed, no level hint): a count of 1 modulo 32 grows by one
/// so that no command is NUM = SCALE = 0. Counts below 2^36, where the scale cannot pass its limit.
[[nodiscard]] inline std::vector<num_scale> linux_split(std::uint64_t granules, bool leaf) {
  if (!leaf && granules % 32 == 1) ++granules;
  std::vector<num_scale> out;
  while (granules != 0) {
    const unsigned scale = static_cast<unsigned>(std::countr_zero(granules));
    const std::uint64_t count = (granules >> scale) & 31;
    out.push_back({static_cast<unsigned>(count) - 1, scale});
    granules -= count << scale;
  }
  return out;
}

/// (b) Greedy from the top, tried scale by scale.
[[nodiscard]] inline std::vector<num_scale> greedy_split(std::uint64_t granules, unsigned max_scale) {
  std::vector<num_scale> out;
  while (granules != 0) {
    const unsigned hi = static_cast<unsigned>(std::bit_width(granules)) - 1;
    const unsigned from = hi < max_scale ? hi : max_scale;
    const unsigned to = hi < 5 ? 0 : (hi - 5 < from ? hi - 5 : from);
    num_scale best{};
    std::uint64_t best_units = 0;
    for (unsigned scale = from + 1; scale-- > to;) {
      std::uint64_t count = granules >> scale;
      if (count > 32) count = 32;
      if (count == 0 || (count << scale) <= best_units) continue;
      best_units = count << scale;
      best = {static_cast<unsigned>(count) - 1, scale};
    }
    out.push_back(best);
    granules -= best_units;
  }
  return out;
}

/// (c) The smallest scale with which 32 units are enough.
[[nodiscard]] inline num_scale single_split(std::uint64_t granules) {
  for (unsigned scale = 0;; ++scale) {
    const std::uint64_t unit = std::uint64_t{1} << scale;
    const std::uint64_t count = granules / unit + (granules % unit != 0 ? 1 : 0);
    if (count <= 32) return {static_cast<unsigned>(count) - 1, scale};
  }
}

}  // namespace shootdown::test
