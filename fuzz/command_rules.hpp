// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include <shootdown/arch/command.hpp>
#include <shootdown/emu/id_registers.hpp>

// The command formats of IHI 0070 4.1 to 4.7 once more, by bit position and from nothing of arch/ or emu/: what the library's
// decoder, encoder, text and strict judge are held against.
namespace fuzz {

constexpr std::uint64_t bits(unsigned hi, unsigned lo) { return (~std::uint64_t{0} >> (63 - hi)) & (~std::uint64_t{0} << lo); }
constexpr std::uint64_t part(std::uint64_t w, unsigned hi, unsigned lo) { return (w & bits(hi, lo)) >> lo; }

/// What of the identification registers decides about commands.
struct facts {
  bool s1, s2, hyp, ats, pri, stalls, mpam, dpt, ril, ds;
  unsigned granules;

  explicit facts(const shootdown::emu::id_registers& id)
      : s1{part(id.idr0, 1, 1) != 0},
        s2{part(id.idr0, 0, 0) != 0},
        hyp{part(id.idr0, 9, 9) != 0},
        ats{part(id.idr0, 10, 10) != 0},
        pri{part(id.idr0, 16, 16) != 0},
        stalls{part(id.idr0, 25, 24) != 1},
        mpam{part(id.idr3, 7, 7) != 0},
        dpt{part(id.idr3, 15, 15) != 0},
        ril{part(id.idr3, 10, 10) != 0},
        ds{part(id.idr5, 7, 7) != 0},
        granules{static_cast<unsigned>(part(id.idr5, 4, 4) << 1 | part(id.idr5, 5, 5) << 2 | part(id.idr5, 6, 6) << 3)} {}
};

constexpr std::uint64_t sid = bits(63, 32), ssid = bits(31, 12), ssv = bits(11, 11), ssec = bits(10, 10), op_bits = bits(7, 0);
constexpr std::uint64_t asid = bits(63, 48), vmid = bits(47, 32), num_scale = bits(16, 12) | bits(25, 20);
constexpr std::uint64_t operand = bits(63, 12) | bits(11, 10) | bits(9, 8) | bits(0, 0);
constexpr std::uint64_t everything = ~std::uint64_t{0};

enum class need : std::uint8_t { none, s1, s2, el2, ats, pri, stalls, mpam, dpt, never };

struct rule {
  std::uint8_t op;
  const char* name;
  std::uint64_t dw0;  ///< bits with a meaning, the opcode apart
  std::uint64_t dw1;
  need feature;
  bool by_address;
};

inline constexpr std::array<rule, 34> rules{{
    {0x01, "PREFETCH_CFG", sid | ssid | ssv | ssec, 0, need::none, false},
    {0x02, "PREFETCH_ADDR", sid | ssid | ssv | ssec, bits(63, 12) | bits(4, 0), need::none, false},
    {0x03, "CFGI_STE", sid | ssec, 1, need::none, false},
    {0x04, "CFGI_STE_RANGE", sid | ssec, bits(4, 0), need::none, false},
    {0x05, "CFGI_CD", sid | ssid | ssec, 1, need::s1, false},
    {0x06, "CFGI_CD_ALL", sid | ssec, 0, need::s1, false},
    {0x07, "CFGI_VMS_PIDM", vmid | ssec, 0, need::mpam, false},
    {0x10, "TLBI_NH_ALL", vmid, 0, need::s1, false},
    {0x11, "TLBI_NH_ASID", asid | vmid, 0, need::s1, false},
    {0x12, "TLBI_NH_VA", asid | vmid | num_scale, operand, need::s1, true},
    {0x13, "TLBI_NH_VAA", vmid | num_scale, operand, need::s1, true},
    {0x18, "TLBI_EL3_ALL", 0, 0, need::never, false},
    {0x1a, "TLBI_EL3_VA", num_scale, operand, need::never, true},
    {0x20, "TLBI_EL2_ALL", 0, 0, need::el2, false},
    {0x21, "TLBI_EL2_ASID", asid, 0, need::el2, false},
    {0x22, "TLBI_EL2_VA", asid | num_scale, operand, need::el2, true},
    {0x23, "TLBI_EL2_VAA", num_scale, operand, need::el2, true},
    {0x28, "TLBI_S12_VMALL", vmid, 0, need::s2, false},
    {0x2a, "TLBI_S2_IPA", vmid | num_scale, operand & ~bits(63, 56), need::s2, true},
    {0x30, "TLBI_NSNH_ALL", 0, 0, need::none, false},
    {0x40, "ATC_INV", sid | ssid | ssv | ssec | bits(9, 9), bits(63, 12) | bits(5, 0), need::ats, false},
    {0x41, "PRI_RESP", sid | ssid | ssv | ssec, bits(13, 12) | bits(8, 0), need::pri, false},
    {0x44, "RESUME", sid | ssec | bits(13, 12), bits(15, 0), need::stalls, false},
    {0x45, "STALL_TERM", sid | ssec, 0, need::stalls, false},
    {0x46, "SYNC", bits(63, 32) | bits(27, 22) | bits(13, 12), bits(55, 2), need::none, false},
    {0x50, "TLBI_S_EL2_ALL", 0, 0, need::never, false},
    {0x51, "TLBI_S_EL2_ASID", asid, 0, need::never, false},
    {0x52, "TLBI_S_EL2_VA", asid | num_scale, operand, need::never, true},
    {0x53, "TLBI_S_EL2_VAA", num_scale, operand, need::never, true},
    {0x58, "TLBI_S_S12_VMALL", vmid, 0, need::never, false},
    {0x5a, "TLBI_S_S2_IPA", vmid | num_scale, operand & ~bits(63, 56), need::never, true},
    {0x60, "TLBI_SNH_ALL", 0, 0, need::never, false},
    {0x70, "DPTI_ALL", everything & ~op_bits, everything, need::dpt, false},
    {0x73, "DPTI_PA", everything & ~op_bits, everything, need::dpt, false},
}};

inline const rule* rule_of(shootdown::command c) {
  const auto it = std::find_if(rules.begin(), rules.end(), [&](const rule& r) { return r.op == (c.dw0 & op_bits); });
  return it == rules.end() ? nullptr : &*it;
}

/// A granule but neither a range nor a level: illegal on every SMMU.
inline bool formless(shootdown::command c) { return part(c.dw1, 11, 10) != 0 && part(c.dw1, 9, 8) == 0 && (c.dw0 & num_scale) == 0; }

/// The bits of `c` that mean nothing. A command that is none, or is formless, has no such bits: it is illegal as it stands.
inline shootdown::command without_meaning(shootdown::command c) {
  const rule* const r = rule_of(c);
  if (r == nullptr || (r->by_address && formless(c))) return {};
  return {c.dw0 & ~(r->dw0 | op_bits), c.dw1 & ~r->dw1};
}

/// Would a Non-secure SMMU execute it? lenient: reserved bits are ignored.
inline bool legal(shootdown::command c, const facts& f, bool lenient) {
  const rule* const r = rule_of(c);
  if (r == nullptr) return false;
  switch (r->feature) {
    case need::none: break;
    case need::s1:
      if (!f.s1) return false;
      break;
    case need::s2:
      if (!f.s2) return false;
      break;
    case need::el2:
      if (!f.s1 || !f.hyp) return false;
      break;
    case need::ats:
      if (!f.ats) return false;
      break;
    case need::pri:
      if (!f.pri) return false;
      break;
    case need::stalls:
      if (!f.stalls) return false;
      break;
    case need::mpam:
      if (!f.mpam) return false;
      break;
    case need::dpt:
      if (!f.dpt) return false;
      break;
    case need::never: return false;
  }
  const bool has_ssec = (r->dw0 & ssec) != 0 && r->feature != need::dpt;
  if ((has_ssec || (r->op >= 0x10 && r->op < 0x40)) && (c.dw0 & ssec) != 0) return false;
  if (!lenient && without_meaning(c) != shootdown::command{}) return false;
  if (r->op == 0x40 && part(c.dw1, 5, 0) > 52) return false;
  if (r->op == 0x41 && part(c.dw1, 13, 12) == 3) return false;
  if (r->op == 0x46 && part(c.dw0, 13, 12) == 3) return false;
  if (!r->by_address) return true;
  if (formless(c)) return false;
  std::uint64_t scale = part(c.dw0, 25, 20), ttl = part(c.dw1, 9, 8);
  const std::uint64_t num = part(c.dw0, 16, 12), tg = part(c.dw1, 11, 10);
  if (scale > 31 && !f.ds) {
    if (!lenient) return false;
    scale &= 31;
  }
  if (tg == 0) return lenient || (num | scale | ttl) == 0;
  if (!f.ril) return lenient;
  if ((f.granules >> tg & 1u) == 0) return false;
  if (tg == 2 && ttl == 1 && !f.ds) ttl = 0;
  return (num | scale | ttl) != 0;
}

}  // namespace fuzz
