// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include <shootdown/range/piece.hpp>

// A device that walks tables of any stage, granule and half. It knows the register fields and the descriptor bits, and shares
// no code with the editor: positions and level rules are written out here once more.
namespace table_test {

/// What the STE or CD tells about a table, as numbers.
struct walk_registers {
  std::uint64_t ttb{};
  unsigned granule_log2{12};    // of TG
  unsigned tsz{16};             // T0SZ, T1SZ or S2T0SZ
  std::optional<unsigned> sl0;  // stage 2 only
  bool upper{};                 // through TTB1
};

struct format_hit {
  std::uint64_t pa{};
  unsigned level{};
  bool contiguous{};
  std::uint64_t attributes{};  // the word without address, contiguous bit and the two type bits
  friend bool operator==(const format_hit&, const format_hit&) = default;
};

template <class Arena>
class format_walker {
 public:
  format_walker(const Arena& memory, const walk_registers& r) : memory_{memory}, r_{r}, start_{start_of(r)} {}

  [[nodiscard]] unsigned start() const { return start_; }
  [[nodiscard]] unsigned shift(unsigned level) const { return r_.granule_log2 + (3 - level) * (r_.granule_log2 - 3); }
  /// Leaves in a contiguous run, by granule and level.
  [[nodiscard]] unsigned run(unsigned level) const {
    switch (r_.granule_log2) {
      case 12: return 16;
      case 14: return level == 3 ? 128 : 32;
      default: return 32;
    }
  }
  /// From the root, remembering every table pointer on the way.
  std::optional<format_hit> walk(std::uint64_t va) {
    const std::uint64_t offset = input(va);
    // The start tables lie side by side: one index, as wide as what is left.
    return follow(r_.ttb, start_, offset, offset >> shift(start_));
  }
  std::vector<std::optional<format_hit>> walk_all_ways(std::uint64_t va) {
    std::vector<std::optional<format_hit>> answers{walk(va)};
    for (unsigned level = start_ + 1; level <= 3; ++level) {
      const auto found = cache_.find({level, input(va) >> shift(level - 1)});
      if (found == cache_.end()) continue;
      for (const std::uint64_t at : std::set<std::uint64_t>{found->second}) answers.push_back(follow(at, level, input(va), index(input(va), level)));
    }
    return answers;
  }
  /// Forgets the pointers to tables of the levels that the piece says were freed, and no others.
  void invalidate(const shootdown::range_piece& p) {
    const std::uint64_t from = input(p.address);
    const std::uint64_t to = from + (p.bytes - 1);
    std::erase_if(cache_, [&](const auto& entry) {
      const auto [level, region] = entry.first;
      const std::uint64_t first = region << shift(level - 1);
      const std::uint64_t last = first + (std::uint64_t{1} << shift(level - 1)) - 1;
      return ((p.freed_levels >> level) & 1u) != 0 && first <= to && from <= last;
    });
  }
  unsigned reads_of_free_tables{};
  unsigned wrong_halves{};

 private:
  static unsigned start_of(const walk_registers& r) {
    if (r.sl0) return r.granule_log2 == 12 ? 2 - *r.sl0 : 3 - *r.sl0;
    unsigned level = 3;  // stage 1: the last level whose single table takes the whole input
    for (unsigned top = r.granule_log2 + r.granule_log2 - 3; top < 64 - r.tsz; top += r.granule_log2 - 3) --level;
    return level;
  }
  std::uint64_t input(std::uint64_t va) {
    const std::uint64_t mask = (std::uint64_t{1} << (64 - r_.tsz)) - 1;
    if ((va & ~mask) != (r_.upper ? ~mask : 0)) ++wrong_halves;
    return va & mask;
  }
  [[nodiscard]] std::uint64_t index(std::uint64_t offset, unsigned level) const {
    return (offset >> shift(level)) & ((std::uint64_t{1} << (r_.granule_log2 - 3)) - 1);
  }
  std::optional<format_hit> follow(std::uint64_t table, unsigned level, std::uint64_t offset, std::uint64_t slot) {
    for (;;) {
      const std::uint64_t at = table + slot * 8;
      if (!memory_.book.taken.contains(at & ~((std::uint64_t{1} << r_.granule_log2) - 1))) {
        ++reads_of_free_tables;
        return {};
      }
      const std::uint64_t word = memory_.word(at);
      if ((word & 1) == 0) return {};
      const std::uint64_t address = word & 0x0000'ffff'ffff'ffff & ~((std::uint64_t{1} << r_.granule_log2) - 1);
      const bool type = (word & 2) != 0;
      if (level == 3 || !type) {
        const bool allowed = level == 3 ? type : level == 2 || (level == 1 && r_.granule_log2 == 12);
        const std::uint64_t low = offset & ((std::uint64_t{1} << shift(level)) - 1);
        if (!allowed || (address & ((std::uint64_t{1} << shift(level)) - 1)) != 0) return {};
        return format_hit{address + low, level, (word >> 52 & 1) != 0, word & ~address & ~(std::uint64_t{1} << 52) & ~std::uint64_t{3}};
      }
      table = address;
      ++level;
      cache_[{level, offset >> shift(level - 1)}].insert(table);
      slot = index(offset, level);
    }
  }

  const Arena& memory_;
  walk_registers r_;
  unsigned start_;
  std::map<std::pair<unsigned, std::uint64_t>, std::set<std::uint64_t>> cache_;
};

}  // namespace table_test
