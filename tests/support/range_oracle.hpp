// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

// What a range TLBI does, read from the two words of the command and from nothing of range/: the oracle that covers are
// held against. commands.md 3.2, 4.1, 4.2.
namespace shootdown::test {

struct wire_words {
  std::uint64_t dw0{};
  std::uint64_t dw1{};
};

/// What the hardware may still be promised besides the words.
struct wire_rules {
  bool range_invalidation{true};
  bool wide_scale{};
  std::uint64_t half_first{};
  std::uint64_t half_last{~std::uint64_t{0}};
};

/// Closed interval of bytes.
struct interval {
  std::uint64_t first{};
  std::uint64_t last{};
  friend bool operator==(const interval&, const interval&) = default;
};

/// One command, taken apart by bit position.
struct wire_operand {
  std::uint64_t address{};
  unsigned num{}, scale{}, ttl{}, tg{};
  bool leaf{};

  explicit wire_operand(wire_words w)
      : address{w.dw1 & ~std::uint64_t{0xfff}},
        num{static_cast<unsigned>(w.dw0 >> 12) & 31},
        scale{static_cast<unsigned>(w.dw0 >> 20) & 63},
        ttl{static_cast<unsigned>(w.dw1 >> 8) & 3},
        tg{static_cast<unsigned>(w.dw1 >> 10) & 3},
        leaf{(w.dw1 & 1) != 0} {}

  /// Alignment of ADDR that TTL demands, in bits: the rows of commands.md 4.1.
  [[nodiscard]] unsigned alignment() const {
    static constexpr unsigned bits[4][4] = {{12, 12, 12, 12}, {12, 30, 21, 12}, {14, 36, 25, 14}, {16, 42, 29, 16}};
    return bits[tg][ttl];
  }
  /// Bytes named; for TG = 0 the caller says how large the entry is.
  [[nodiscard]] std::uint64_t bytes(std::uint64_t entry_bytes) const {
    return tg == 0 ? entry_bytes : (std::uint64_t{num} + 1) << scale << (tg * 2 + 10);
  }
};

/// Null if the command is legal and stays where it may; else what is wrong.
[[nodiscard]] inline const char* why_illegal(wire_words w, const wire_rules& r, std::uint64_t entry_bytes) {
  const wire_operand o{w};
  if ((w.dw0 & ~((std::uint64_t{0x1f} << 12) | (std::uint64_t{0x3f} << 20))) != 0) return "stray bits in dw0";
  if ((w.dw1 & 0xfe) != 0) return "stray bits in dw1";
  if (o.tg == 0 && (o.num | o.scale | o.ttl) != 0) return "TG = 0 with NUM, SCALE or TTL";
  if (o.tg != 0 && !r.range_invalidation) return "range form without RIL";
  if (o.tg != 0 && o.num == 0 && o.scale == 0 && o.ttl == 0) return "the (0, 0, TTL 0) form";
  if (o.scale > (r.wide_scale ? 39u : 31u)) return "SCALE beyond its limit";
  if (o.tg == 2 && o.ttl == 1 && !r.wide_scale) return "16 KiB TTL 1 without DS";
  if ((o.address & ((std::uint64_t{1} << o.alignment()) - 1)) != 0) return "ADDR not aligned to the leaf of TTL";
  const std::uint64_t last = o.address + (o.bytes(entry_bytes) - 1);
  if (last < o.address) return "wraps";
  if (o.address < r.half_first || last > r.half_last) return "leaves its address half";
  return nullptr;
}

/// Union of intervals: sorted, disjoint, non-adjacent.
[[nodiscard]] inline std::vector<interval> union_of(std::vector<interval> in) {
  std::sort(in.begin(), in.end(), [](interval a, interval b) { return a.first < b.first; });
  std::vector<interval> out;
  for (const interval i : in) {
    if (!out.empty() && (out.back().last == ~std::uint64_t{0} || i.first <= out.back().last + 1)) {
      out.back().last = std::max(out.back().last, i.last);
    } else {
      out.push_back(i);
    }
  }
  return out;
}

/// Is `whole` inside the union of the commands' bytes?
[[nodiscard]] inline bool covered_by(interval whole, std::span<const wire_words> commands, std::uint64_t entry_bytes) {
  std::vector<interval> all;
  for (const wire_words w : commands) {
    const wire_operand o{w};
    all.push_back({o.address, o.address + (o.bytes(entry_bytes) - 1)});
  }
  for (const interval u : union_of(all)) {
    if (u.first <= whole.first && whole.last <= u.last) return true;
  }
  return false;
}

/// Sum of the commands' bytes, double-named ones counted as often as named.
[[nodiscard]] inline std::uint64_t named_bytes(std::span<const wire_words> commands, std::uint64_t entry_bytes) {
  std::uint64_t sum = 0;
  for (const wire_words w : commands) sum += wire_operand{w}.bytes(entry_bytes);
  return sum;
}

/// Bytes of the union.
[[nodiscard]] inline std::uint64_t union_bytes(std::span<const wire_words> commands, std::uint64_t entry_bytes) {
  std::vector<interval> all;
  for (const wire_words w : commands) {
    const wire_operand o{w};
    all.push_back({o.address, o.address + (o.bytes(entry_bytes) - 1)});
  }
  std::uint64_t sum = 0;
  for (const interval u : union_of(all)) sum += u.last - u.first + 1;
  return sum;
}

}  // namespace shootdown::test
