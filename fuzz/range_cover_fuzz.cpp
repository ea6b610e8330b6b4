// SPDX-License-Identifier: MIT
// Bytes -> a piece and rules -> a cover, judged on its encoded words alone: refused exactly when it is bad input, else
// legal, covering, and within the surplus of its policy. ATC spans and the gather ride along. abort() on a violation.
#include <shootdown/range/atc_span.hpp>
#include <shootdown/range/cover.hpp>
#include <shootdown/range/gather.hpp>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

namespace sd = shootdown;

namespace {

__extension__ typedef unsigned __int128 wide;  // nothing wraps in it

[[noreturn]] void violated(const char* what) {
  std::fprintf(stderr, "range_cover_fuzz: %s\n", what);
  std::abort();
}
void require(bool condition, const char* what) {
  if (!condition) violated(what);
}

/// The input as a stream of integers; zeros once it is used up.
class byte_stream {
 public:
  byte_stream(const std::uint8_t* data, std::size_t size) : data_{data}, left_{size} {}
  std::uint8_t u8() {
    if (left_ == 0) return 0;
    --left_;
    return *data_++;
  }
  std::uint64_t u64() {
    std::uint64_t v = 0;
    for (unsigned i = 0; i != 8; ++i) v |= std::uint64_t{u8()} << (8 * i);
    return v;
  }
  [[nodiscard]] bool empty() const { return left_ == 0; }

 private:
  const std::uint8_t* data_;
  std::size_t left_;
};

/// A piece near an interesting place: raw words would hardly ever pass validation.
sd::range_piece make_piece(byte_stream& in, unsigned bits) {
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
  for (std::size_t i = 0; i != spans.size(); ++i) {
    require(spans[i].size <= 52 && (spans[i].size == 52 || spans[i].size + 12u >= stu), "ATC: SIZE");
    require(spans[i].size == 52 || spans[i].address % (std::uint64_t{1} << (spans[i].size + 12)) == 0, "ATC: alignment");
    require(i == 0 || spans[i].address == spans[i - 1].last() + 1, "ATC: hole or overlap");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  byte_stream in{data, size};
  sd::gather<4> g;
  while (!in.empty()) {
    const std::uint8_t flags = in.u8();
    const sd::cover_rules r{(flags & 1) != 0, (flags & 2) != 0, static_cast<sd::cover_policy>(flags >> 2 & 3),
                            static_cast<std::uint8_t>((flags & 16) != 0 ? 48 : in.u8() & 63), (flags & 32) != 0 ? in.u8() : 0u};
    const sd::range_piece p = make_piece(in, r.address_bits);
    judge(p, r);
    judge_atc(p.address, p.bytes, 12 + (flags >> 5), 1 + (in.u8() & 7));
    const bool room = g.room_for(p);
    require(g.add(p).ok() == room, "gather: room_for() and add() disagree");
    require(g.check_invariants(), "gather: invariants");
    if ((flags & 128) != 0) {
      for (const sd::range_piece& q : g.pieces()) judge(q, {true, false, r.policy, 63, 0});
      g.clear_pieces();
    }
  }
  return 0;
}
