// SPDX-License-Identifier: MIT
#pragma once

#include <shootdown/range/cover.hpp>

#include <cstdint>
#include <sstream>
#include <string>
#include <vector>

#include <support/range_oracle.hpp>

namespace shootdown::test {

inline constexpr std::uint64_t KiB = 1024, MiB = 1024 * KiB, GiB = 1024 * MiB, TiB = 1024 * GiB;

/// A rule set for hardware with range invalidation.
constexpr cover_rules ranges(cover_policy policy, unsigned address_bits = 48, bool wide = false) {
  return {true, wide, policy, static_cast<std::uint8_t>(address_bits), 0};
}

/// A piece that ttl_of() answers with `ttl`: 4 KiB granule unless told; 0 by mixed leaves.
constexpr range_piece piece_with_ttl(std::uint64_t address, std::uint64_t bytes, unsigned ttl, granule g = granule::k4) {
  return {address, bytes, g, static_cast<std::uint8_t>(ttl == 0 ? 0b1100u : 1u << ttl), 0};
}

inline void words_of(const cover& c, std::vector<wire_words>& out) {
  out.clear();
  for (std::uint32_t i = 0; i != c.count(); ++i) {
    const tlbi_operand o = c.operand(i);
    out.push_back({o.dw0(), o.dw1()});
  }
}
inline std::vector<wire_words> words_of(const cover& c) {
  std::vector<wire_words> out;
  words_of(c, out);
  return out;
}

/// Everything that is promised of a cover, checked on the encoded words alone. Empty when all holds, else the first
/// violation. `words` are the commands to judge: the cover's own, or a broken copy in a negative test.
inline std::string fault_of(const range_piece& p, const cover_rules& r, const std::vector<wire_words>& words) {
  const bool lower = (p.address >> 63) == 0;
  const std::uint64_t low = (std::uint64_t{1} << r.address_bits) - 1;
  const wire_rules rules{r.range_invalidation, r.wide_scale, lower ? 0 : ~low, lower ? low : ~std::uint64_t{0}};
  const std::uint64_t granule_bytes = std::uint64_t{1} << granule_shift(p.g);
  const std::uint64_t entry_bytes = p.freed_levels == 0 ? std::uint64_t{1} << leaf_shift(p) : granule_bytes;
  const std::uint64_t last = p.address + (p.bytes - 1);
  for (const wire_words w : words) {
    if (const char* why = why_illegal(w, rules, entry_bytes); why != nullptr) return why;
    const wire_operand o{w};
    if (o.leaf != (p.freed_levels == 0)) return "LEAF";
    if (o.tg != (r.range_invalidation ? raw(p.g) : 0u)) return "TG";
    if (o.ttl != 0) {
      if (p.leaf_levels != (1u << o.ttl)) return "TTL is not the level of all leaves";
      if ((p.freed_levels >> (o.ttl + 1)) != 0) return "TTL hides a freed table";
    }
  }
  if (!covered_by({p.address, last}, words, entry_bytes)) return "does not cover the piece";
  const std::uint64_t hit = union_bytes(words, entry_bytes);
  const std::uint64_t named = named_bytes(words, entry_bytes);
  const std::uint64_t over = hit - p.bytes;
  const bool widened = r.range_invalidation && p.bytes == granule_bytes && wire_operand{words[0]}.ttl == 0;
  if (widened) return over == granule_bytes && words.size() == 1 ? "" : "one granule without a hint must become two";
  if (!r.range_invalidation || r.policy != cover_policy::bounded) {
    if (over != 0) return "names bytes outside the piece";
  } else if (over >= p.bytes / 16 && over != 0) {
    return "more than 1/16 over";
  }
  const wire_operand first{words[0]};
  const unsigned unit_shift = first.ttl == 1 || first.ttl == 2 ? level_shift(p.g, first.ttl) : granule_shift(p.g);
  const std::uint64_t longest = std::uint64_t{32} << ((r.wide_scale ? 39u : 31u) + granule_shift(p.g));
  const std::uint64_t full = (p.bytes - 1) / longest;
  if (r.range_invalidation && r.policy == cover_policy::bounded && words.size() > full + 1) return "bounded: too many commands";
  if (r.range_invalidation && r.policy == cover_policy::exact && words.size() > (full == 0 ? 2 : full + 1))
    return "exact: too many commands";
  if (r.range_invalidation && r.policy == cover_policy::disjoint && named != hit) {
    const bool lone_granule = first.ttl == 0 && named == hit + granule_bytes && (p.bytes >> unit_shift) % 2 == 1;
    if (!lone_granule) return "disjoint: names bytes twice";
  }
  return "";
}

inline std::string describe(const range_piece& p, const cover_rules& r, const std::vector<wire_words>& words) {
  std::ostringstream s;
  s << std::hex << "address 0x" << p.address << " bytes 0x" << p.bytes << std::dec << " tg " << unsigned{raw(p.g)} << " leaves "
    << unsigned{p.leaf_levels} << " freed " << unsigned{p.freed_levels} << " policy " << static_cast<unsigned>(r.policy) << " bits "
    << unsigned{r.address_bits} << " wide " << r.wide_scale << " ril " << r.range_invalidation << ":";
  for (const wire_words w : words) {
    const wire_operand o{w};
    s << std::hex << " [0x" << o.address << std::dec << " num " << o.num << " scale " << o.scale << " ttl " << o.ttl << "]";
  }
  return s.str();
}

/// Makes the cover and checks it in full, the reported surplus too. Empty when all holds.
inline std::string fault_of_cover(const range_piece& p, const cover_rules& r, std::vector<wire_words>& words) {
  const result<cover> made = cover::make(p, r);
  if (!made.ok()) return name(made.code());
  const cover& c = *made;
  if (c.whole_tag()) return c.count() == 0 && !r.range_invalidation ? "" : "whole tag with range invalidation";
  if (c.count() == 0) return "no command";
  words_of(c, words);
  std::string fault = fault_of(p, r, words);
  if (fault.empty() && r.range_invalidation) {
    if (c.covered_bytes() != union_bytes(words, 0)) fault = "covered_bytes()";
    if (c.over_bytes() != c.covered_bytes() - p.bytes) fault = "over_bytes()";
    std::uint64_t lowest = ~std::uint64_t{0};
    for (const wire_words w : words) lowest = std::min(lowest, wire_operand{w}.address);
    if (c.covered_address() != lowest) fault = "covered_address()";
  }
  if (!fault.empty()) fault += " | " + describe(p, r, words);
  return fault;
}

}  // namespace shootdown::test
