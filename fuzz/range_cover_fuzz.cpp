// SPDX-License-Identifier: MIT
// Bytes -> pieces and rules -> covers, judged on their encoded words alone: refused exactly when it is bad input, else
// legal, covering, and within the surplus of its policy; small pieces against a set of pages as well. ATC spans are held
// against the best choice there is, found by search. A gather takes every piece and may neither lose nor invent a byte.
//
// Input: tag, then steps: flags (1 byte: 1 RIL, 2 wide SCALE, 4-8 policy, 16 address bits 48 instead of the next byte,
// 32 an entry limit follows, 64 a small piece, 128 look at the gather and empty it), a piece (make_piece, make_small_piece),
// the limit of ATC spans (1 byte).
//
// Under test: range/
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include <shootdown/range/atc_span.hpp>
#include <shootdown/range/cover.hpp>
#include <shootdown/range/gather.hpp>

#include "input.hpp"

extern "C" const std::uint8_t fuzz_format_tag = 'v';

namespace sd = shootdown;

namespace {
using fuzz::require;

__extension__ typedef unsigned __int128 wide;  // nothing wraps in it

/// A piece near an interesting place: raw words would hardly ever pass validation.
sd::range_piece make_piece(fuzz::input& in, unsigned bits) {
  sd::range_piece p;
  const std::uint8_t shape = in.u8();
  p.g = static_cast<sd::granule>(shape & 3);
  p.leaf_levels = in.u8() & 0x1f;
  p.freed_levels = in.u8() & 0x1f;
  const unsigned unit = 12 + (in.u8() % 32);
  const std::uint64_t mask = (shape & 4) != 0 ? ~std::uint64_t{0} : ~((std::uint64_t{1} << unit) - 1);
  p.bytes = (in.u64() >> (in.u8() & 63)) & mask;
  p.address = (in.u64() >> (in.u8() & 63)) & mask;
  switch (shape >> 4 & 3) {
    case 0: break;
    case 1: p.address = (std::uint64_t{1} << bits) - p.bytes; break;  // ends with the lower half
    case 2: p.address = 0 - p.bytes; break;                           // ends with the upper half
    case 3: p.address |= ~std::uint64_t{0} << bits; break;
  }
  return p;
}

/// At most 256 granules, so that its pages can be counted one by one.
sd::range_piece make_small_piece(fuzz::input& in, unsigned bits) {
  sd::range_piece p;
  const std::uint8_t shape = in.u8();
  p.g = static_cast<sd::granule>(1 + shape % 3);
  p.leaf_levels = static_cast<std::uint8_t>(shape >> 4 & 15);
  p.freed_levels = in.u8() & 15;
  const unsigned shift = 10 + 2 * (1 + shape % 3);
  p.bytes = (std::uint64_t{in.u8()} + 1) << shift;
  const std::uint64_t from_edge = std::uint64_t{in.u8()} << shift;
  const std::uint64_t half = std::uint64_t{1} << bits;
  const std::uint8_t where = in.u8();
  switch (where & 3) {
    case 0: p.address = from_edge; break;
    case 1: p.address = half - p.bytes - from_edge; break;
    case 2: p.address = 0 - half + from_edge; break;
    default: p.address = 0 - p.bytes - from_edge; break;
  }
  p.address += (std::uint64_t{where} >> 2) << 21 & (half / 2 - 1);
  return p;
}

/// Independent restatement of validate() in 128-bit arithmetic, where nothing wraps.
bool acceptable(const sd::range_piece& p, unsigned bits) {
  const unsigned tg = static_cast<unsigned>(p.g);
  if (tg < 1 || tg > 3) return false;
  if (p.leaf_levels > 15 || p.freed_levels > 15) return false;
  if ((p.leaf_levels & 1) != 0 && tg != 1) return false;
  if ((p.freed_levels & 1) != 0 && tg == 3) return false;
  const unsigned shift = tg * 2 + 10;
  if (bits <= shift || bits > 63 || p.bytes == 0) return false;
  if (p.address % (std::uint64_t{1} << shift) != 0 || p.bytes % (std::uint64_t{1} << shift) != 0) return false;
  const wide end = wide{p.address} + p.bytes;
  const wide half = wide{1} << bits;
  const wide top = wide{1} << 64;
  return end <= half || (p.address >= top - half && end <= top);
}

/// The granules that the commands name, one by one. Small pieces only.
void judge_pages(const sd::range_piece& p, const sd::cover_rules& r, const sd::cover& c) {
  const unsigned tg = static_cast<unsigned>(p.g);
  const unsigned shift = 10 + 2 * tg;
  std::map<std::uint64_t, unsigned> named;  // granule number -> how often
  for (std::uint32_t i = 0; i != c.count(); ++i) {
    const std::uint64_t dw0 = c.operand(i).dw0(), dw1 = c.operand(i).dw1();
    const std::uint64_t first = dw1 >> shift, num = dw0 >> 12 & 31, scale = dw0 >> 20 & 63;
    require((dw1 & ~std::uint64_t{0xfff}) == first << shift, "ADDR inside a granule");
    std::uint64_t n = (num + 1) << scale;
    if ((dw1 >> 10 & 3) == 0) n = (c.count() == 1 ? p.bytes : c.operand(1).address() - c.operand(0).address()) >> shift;  // the leaf
    require(n <= 1024, "a small piece with a large command");
    for (std::uint64_t g = first; g != first + n; ++g) ++named[g];
  }
  const std::uint64_t first = p.address >> shift, count = p.bytes >> shift;
  for (std::uint64_t g = first; g != first + count; ++g) require(named.contains(g), "a granule of the piece is not named");
  require(named.size() - count == c.over_bytes() >> shift, "granules beyond the piece");
  if (r.policy == sd::cover_policy::disjoint && r.range_invalidation && count > 1) {
    unsigned twice = 0;
    for (const auto& [g, times] : named) twice += times - 1;
    require(twice == 0 || (twice == 1 && named[first + count - 2] == 2), "disjoint names a granule twice");
  }
}

void judge(const sd::range_piece& p, const sd::cover_rules& r) {
  const sd::result<sd::cover> made = sd::cover::make(p, r);
  const bool good = acceptable(p, r.address_bits) && static_cast<unsigned>(r.policy) <= 2;
  require(made.ok() == good, "accepted bad input or refused good input");
  const sd::cover& c = *made;
  if (!good || c.whole_tag()) {
    require(c.whole_tag() && c.count() == 0, "a failed cover must name everything");
    require(!good || !r.range_invalidation, "whole tag although ranges can be named");
    return;
  }
  require(c.count() != 0, "no command");
  const unsigned tg = static_cast<unsigned>(p.g);
  const unsigned granule_shift = tg * 2 + 10;
  const wide low = wide{1} << r.address_bits;
  const bool upper = (p.address >> 63) != 0;
  const wide half_first = upper ? (wide{1} << 64) - low : 0;
  const wide half_end = upper ? wide{1} << 64 : low;
  const wide piece_end = wide{p.address} + p.bytes;

  if (p.bytes >> granule_shift <= 256) judge_pages(p, r, c);

  // Millions of commands only without RIL: there both ends and a sample are judged.
  const std::uint32_t stride = c.count() > 4096 ? c.count() / 2048 : 1;
  const std::uint64_t step = r.range_invalidation ? 0 : c.count() == 1 ? p.bytes : c.operand(1).address() - c.operand(0).address();
  struct span {
    wide first, end;
  };
  std::vector<span> spans;
  for (std::uint32_t i = 0; i < c.count(); i += stride) {
    const sd::tlbi_operand o = c.operand(i);
    require(o.leaf() == (p.freed_levels == 0), "LEAF");
    if (!r.range_invalidation) {
      require(o.dw0() == 0 && (o.dw1() & 0xffe) == 0, "TG = 0 with range fields");
      require(o.address() == p.address + std::uint64_t{i} * step, "entries must step evenly");
      continue;
    }
    require(o.tg() == tg, "TG");
    require(o.num() != 0 || o.scale() != 0 || o.ttl() != 0, "the (0, 0, TTL 0) form");
    require(o.scale() <= (r.wide_scale ? 39u : 31u), "SCALE");
    if (o.ttl() != 0) {
      const unsigned leaf = granule_shift + (3 - o.ttl()) * (granule_shift - 3);
      require(p.leaf_levels == 1u << o.ttl(), "TTL is not the level of all leaves");
      require((p.freed_levels >> (o.ttl() + 1)) == 0, "TTL hides a freed table");
      require(o.address() % (std::uint64_t{1} << leaf) == 0, "ADDR not aligned to the leaf of TTL");
      require(tg != 2 || o.ttl() != 1 || r.wide_scale, "16 KiB TTL 1 without DS");
    }
    require(o.address() % (std::uint64_t{1} << granule_shift) == 0, "ADDR not aligned to the granule");
    const wide end = wide{o.address()} + ((wide{o.num()} + 1) << (o.scale() + granule_shift));
    require(o.address() >= half_first && end <= half_end, "left its half");
    spans.push_back({o.address(), end});
  }
  if (!r.range_invalidation) {
    require(wide{step} * c.count() == p.bytes, "entries must add up to the piece");
    return;
  }
  if (stride != 1) return;
  // Every policy issues spans so that each begins inside or right behind what is named so far; only then is this complete.
  wide first = spans[0].first, end = spans[0].end, named = 0;
  for (const span& s : spans) {
    require(s.first <= end && s.end >= first, "hole");
    first = s.first < first ? s.first : first;
    end = s.end > end ? s.end : end;
    named += s.end - s.first;
  }
  require(first <= p.address && end >= piece_end, "does not cover the piece");
  const wide over = (end - first) - p.bytes;
  require(over == c.over_bytes() && end - first == c.covered_bytes() && first == c.covered_address(), "misreported surplus");
  const bool lone = p.bytes == std::uint64_t{1} << granule_shift && c.operand(0).ttl() == 0;
  const wide longest = wide{32} << ((r.wide_scale ? 39u : 31u) + granule_shift);
  const wide full = (wide{p.bytes} - 1) / longest;
  if (lone) {
    require(over == p.bytes && c.count() == 1, "a lone granule without a hint becomes two");
  } else if (r.policy == sd::cover_policy::bounded) {
    require(over * 16 <= p.bytes && c.count() <= full + 1, "bounded");
  } else {
    require(over == 0, "exact covers name nothing else");
    if (r.policy == sd::cover_policy::exact) require(c.count() <= (full == 0 ? 2 : full + 1), "exact: too many commands");
    if (r.policy == sd::cover_policy::disjoint) {
      require(named == p.bytes || (c.operand(0).ttl() == 0 && named == wide{p.bytes} + (std::uint64_t{1} << granule_shift)), "named twice");
    }
  }
}

/// The fewest bytes, in units of 2^stu, that k aligned blocks inside [base, base + 2^height) need to cover what of
/// [first, last] lies there; too_many if k is too few.
constexpr std::uint64_t too_many = ~std::uint64_t{0};
std::uint64_t best(std::uint64_t base, unsigned height, std::uint64_t first, std::uint64_t last, unsigned k) {
  const std::uint64_t end = base + ((std::uint64_t{1} << height) - 1);
  if (last < base || first > end) return 0;
  if (k == 0) return too_many;
  const std::uint64_t whole = std::uint64_t{1} << height;
  if (height == 0 || (first <= base && last >= end)) return whole;
  const std::uint64_t half = whole / 2, middle = base + half;
  std::uint64_t least = whole;
  const auto try_split = [&](unsigned left) {
    const std::uint64_t l = best(base, height - 1, first, last, left);
    const std::uint64_t r = l == too_many ? too_many : best(middle, height - 1, first, last, k - left);
    if (r != too_many) least = std::min(least, l + r);
  };
  if (first >= middle) {  // one side only, or one of them in full, which takes one block: nothing to search
    try_split(0);
  } else if (last < middle) {
    try_split(k);
  } else if (first <= base) {
    try_split(1);
  } else if (last >= end) {
    try_split(k - 1);
  } else {
    for (unsigned left = 1; left < k; ++left) try_split(left);
  }
  return least;
}

void judge_atc(std::uint64_t address, std::uint64_t bytes, unsigned stu, unsigned limit) {
  const auto made = sd::atc_cover<4>::make(address, bytes, stu, limit);
  const bool good = stu >= 12 && stu <= 63 && limit >= 1 && limit <= 4 && (bytes == 0 || address + (bytes - 1) >= address);
  require(made.ok() == good, "ATC: accepted bad input or refused good input");
  if (!good) return;
  const auto spans = made->spans();
  require(!spans.empty() && spans.size() <= limit, "ATC: number of spans");
  const std::uint64_t last = bytes == 0 ? ~std::uint64_t{0} : address + (bytes - 1);
  if (bytes == 0) address = 0;
  require(spans.front().address <= address && spans.back().last() >= last, "ATC: ends");
  std::uint64_t units = 0;
  for (std::size_t i = 0; i != spans.size(); ++i) {
    require(spans[i].size <= 52 && (spans[i].size == 52 || spans[i].size + 12u >= stu), "ATC: SIZE");
    require(spans[i].size == 52 || spans[i].address % (std::uint64_t{1} << (spans[i].size + 12)) == 0, "ATC: alignment");
    require(i == 0 || spans[i].address == spans[i - 1].last() + 1, "ATC: hole or overlap");
    units += ((spans[i].last() - spans[i].address) >> stu) + 1;
  }
  const unsigned height = 64 - stu;
  require(units == best(0, height, address >> stu, last >> stu, limit), "ATC: fewer bytes would do");
  if (spans.size() > 1) {
    const unsigned one_less = static_cast<unsigned>(spans.size()) - 1;
    require(units < best(0, height, address >> stu, last >> stu, one_less), "ATC: fewer spans would do");
  }
}

/// What a gather must hold: for each granule the union of what was added, and the levels of whoever touched it.
class gather_oracle {
 public:
  void add(const sd::range_piece& p) { added_.push_back(p); }
  void clear() { added_.clear(); }
  void judge(std::span<const sd::range_piece> held) const {
    for (const sd::range_piece& p : added_) {
      const auto in = [&](const sd::range_piece& q) {
        return q.g == p.g && q.address <= p.address && sd::last_byte(q) >= sd::last_byte(p);
      };
      const auto it = std::find_if(held.begin(), held.end(), in);
      require(it != held.end(), "gather: lost a piece");
      require(p.leaf_levels == 0 ? it->leaf_levels == 0 : it->leaf_levels == 0 || (it->leaf_levels & p.leaf_levels) == p.leaf_levels,
              "gather: lost a leaf level");
      require((it->freed_levels & p.freed_levels) == p.freed_levels, "gather: lost a freed level");
    }
    for (const sd::range_piece& q : held) {
      std::vector<std::array<wide, 2>> parts;
      unsigned leaves = 0, freed = 0;
      bool unknown = false;
      for (const sd::range_piece& p : added_) {
        if (p.g != q.g || p.address < q.address || sd::last_byte(p) > sd::last_byte(q)) continue;
        parts.push_back({p.address, wide{p.address} + p.bytes});
        leaves |= p.leaf_levels;
        freed |= p.freed_levels;
        unknown = unknown || p.leaf_levels == 0;
      }
      std::sort(parts.begin(), parts.end());
      wide end = q.address;
      for (const auto& [from, to] : parts) {
        require(from <= end, "gather: invented bytes");
        end = to > end ? to : end;
      }
      require(end == wide{q.address} + q.bytes, "gather: invented an end");
      require(q.leaf_levels == (unknown ? 0 : leaves) && q.freed_levels == freed, "gather: invented a level");
    }
  }

 private:
  std::vector<sd::range_piece> added_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::input in{data, size};
  if (!in.tagged()) return -1;
  sd::gather<4> g;
  gather_oracle truth;
  while (!in.empty()) {
    const std::uint8_t flags = in.u8();
    const sd::cover_rules r{(flags & 1) != 0, (flags & 2) != 0, static_cast<sd::cover_policy>(flags >> 2 & 3),
                            static_cast<std::uint8_t>((flags & 16) != 0 ? 48 : in.u8() & 63), (flags & 32) != 0 ? in.u8() : 0u};
    const sd::range_piece p = (flags & 64) != 0 ? make_small_piece(in, r.address_bits) : make_piece(in, r.address_bits);
    judge(p, r);
    const std::uint8_t spans = in.u8();
    judge_atc(p.address, p.bytes, 12 + (spans >> 4), 1 + (spans & 7));
    judge_atc(p.address + (spans & 0xf0), p.bytes - (spans & 0x70), 12 + (spans >> 3), 1 + (spans & 3));
    const bool room = g.room_for(p);
    require(g.add(p).ok() == room, "gather: room_for() and add() disagree");
    if (room) truth.add(p);
    require(g.check_invariants(), "gather: invariants");
    if ((flags & 128) != 0) {
      truth.judge(g.pieces());
      for (const sd::range_piece& q : g.pieces()) judge(q, {true, false, r.policy, 63, 0});
      g.clear_pieces();
      truth.clear();
    }
  }
  truth.judge(g.pieces());
  return 0;
}
