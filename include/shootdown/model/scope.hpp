// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include <shootdown/arch/command.hpp>
#include <shootdown/arch/field.hpp>
#include <shootdown/arch/types.hpp>

SHOOTDOWN_BEGIN
namespace model {

/// What an entry translates for. The first three: virtual addresses of a translation regime (STE.STRW, CR2.E2H); el1 holds
/// stage-1-only and combined (stage 1 and 2) entries, which carry a VMID and an ASID. stage2: intermediate addresses of a VMID.
enum class regime : std::uint8_t { el1 = 0, el2 = 1, el2_e2h = 2, stage2 = 3 };

/// What of the ID and control registers decides what a TLBI means.
struct tlbi_facts {
  bool stage2{};      ///< IDR0.S2P: VMIDs are compared
  bool range{true};   ///< IDR3.RIL
  bool wide_scale{};  ///< IDR5.DS
  bool e2h{};         ///< CR2.E2H
  std::uint8_t asid_bits{16};
  std::uint8_t vmid_bits{16};
};

/// The set of cache entries that a TLBI command demands to be removed: nothing more.
struct scope {
  enum class extent : std::uint8_t { nothing, addresses, asid, vmid, regime, everything };
  extent what{extent::nothing};
  model::regime where{regime::el1};
  bool and_stage2{};  ///< vmid, regime: the stage-2 entries too
  bool any_asid{};
  std::uint16_t as{};
  std::uint16_t vm{};
  std::uint8_t granules{};      ///< bit g: entries of granule g
  std::uint8_t leaf_levels{};   ///< bit l: leaf entries of level l
  std::uint8_t table_levels{};  ///< bit l: cached pointers out of tables of level l
  std::uint64_t first{};        ///< addresses, inclusive
  std::uint64_t last{};
  bool unpredictable{};  ///< the command is a contract violation (ADDR not aligned to its TTL leaf): removes nothing
};

/// Decodes a TLBI command, independently of the library's own encoder and decoder: field positions come from the
/// architecture (IHI 0070 4.4), so that a wrong encoder does not meet a decoder that is wrong in the same way.
///
/// Strict where the architecture permits keeping entries: TG != 0 names one granule only, TTL != 0 one leaf level and the
/// table levels above it, an ASID or VMID with bits beyond the implemented width and a VMID on a stage-1-only SMMU name
/// nothing. A range is clipped at the top of the address space. Commands that are not TLBIs give `nothing`.
/// By stage: NH_* name the entries of virtual addresses (combined ones included, whatever their IPA), S2_IPA those of
/// intermediate addresses only, so that a combined entry survives it; S12_VMALL and NSNH_ALL name both.
[[nodiscard]] constexpr scope decode_scope(command c, const tlbi_facts& f) noexcept {
  using num_f = field<16, 12>;
  using scale_f = field<24, 20>;
  using wide_scale_f = field<25, 20>;
  using vmid_f = field<47, 32, std::uint16_t>;
  using asid_f = field<63, 48, std::uint16_t>;
  using ipa_f = addr_field<55, 12>;
  using leaf_f = field<0, 0, bool>;
  using ttl_f = field<9, 8, unsigned>;
  using tg_f = field<11, 10, unsigned>;
  constexpr std::uint8_t all_granules = 0b1110;
  constexpr std::uint8_t all_levels = 0b1111;

  scope s{};
  bool has_asid = false;
  bool has_vmid = false;
  bool has_address = false;
  switch (opcode_of(c)) {
    case opcode::tlbi_nh_all:
      s.what = scope::extent::vmid;
      has_vmid = true;
      break;
    case opcode::tlbi_nh_asid:
      s.what = scope::extent::asid;
      has_vmid = has_asid = true;
      break;
    case opcode::tlbi_nh_va: has_address = has_vmid = has_asid = true; break;
    case opcode::tlbi_nh_vaa: has_address = has_vmid = true; break;
    case opcode::tlbi_s12_vmall:
      s.what = scope::extent::vmid;
      s.and_stage2 = has_vmid = true;
      break;
    case opcode::tlbi_s2_ipa:
      s.where = regime::stage2;
      has_address = has_vmid = true;
      break;
    case opcode::tlbi_nsnh_all:
      s.what = scope::extent::regime;
      s.and_stage2 = true;
      break;
    case opcode::tlbi_el2_all:
      s.what = scope::extent::everything;
      s.where = regime::el2;
      break;  // both kinds of EL2
    case opcode::tlbi_el2_asid:
      s.what = scope::extent::asid;
      s.where = regime::el2_e2h;
      has_asid = true;
      break;
    case opcode::tlbi_el2_va:
      s.where = f.e2h ? regime::el2_e2h : regime::el2;
      has_address = true;
      has_asid = f.e2h;
      break;
    case opcode::tlbi_el2_vaa:
      s.where = f.e2h ? regime::el2_e2h : regime::el2;
      has_address = true;
      break;
    default: return s;
  }
  const scope nothing{};
  s.granules = all_granules;
  s.leaf_levels = all_levels;
  s.table_levels = all_levels;
  s.last = ~std::uint64_t{0};
  s.any_asid = !has_asid;
  if (has_vmid) {
    s.vm = vmid_f::get(c.dw0);
    if (f.stage2 ? (s.vm >> f.vmid_bits) != 0 : s.vm != 0) return nothing;
  }
  if (has_asid) {
    s.as = asid_f::get(c.dw0);
    if ((s.as >> f.asid_bits) != 0) return nothing;
  }
  if (!has_address) return s;

  s.what = scope::extent::addresses;
  const bool leaf = leaf_f::get(c.dw1);
  const unsigned tg = tg_f::get(c.dw1);
  s.first = s.where == regime::stage2 ? ipa_f::get(c.dw1) : c.dw1 & ~std::uint64_t{0xfff};
  if (tg == 0 || !f.range) {  // one entry: the one that holds the address, whatever its size
    s.last = s.first;
    s.table_levels = leaf ? 0 : all_levels;
    return s;
  }
  unsigned ttl = ttl_f::get(c.dw1);
  if (tg == 2 && ttl == 1 && !f.wide_scale) ttl = 0;
  const granule g{static_cast<std::uint8_t>(tg)};
  const std::uint64_t num = num_f::get(c.dw0);
  std::uint64_t scale = f.wide_scale ? wide_scale_f::get(c.dw0) : scale_f::get(c.dw0);
  if (scale > 39) scale = 39;
  const unsigned unit = level_shift(g, ttl == 0 ? 3 : ttl);
  if ((s.first & ((std::uint64_t{1} << unit) - 1)) != 0) {
    scope bad{};
    bad.unpredictable = true;
    return bad;
  }
  if (ttl == 0 && num == 0 && scale == 0) return nothing;                  // reserved form; the front end refuses it before it comes here
  const unsigned shift = static_cast<unsigned>(scale) + granule_shift(g);  // at most 39 + 16
  const std::uint64_t span = (num + 1) << shift;                           // at most 2^60
  s.last = s.first + (span - 1) < s.first ? ~std::uint64_t{0} : s.first + (span - 1);
  s.granules = static_cast<std::uint8_t>(1u << tg);
  if (ttl != 0) s.leaf_levels = static_cast<std::uint8_t>(1u << ttl);
  if (leaf) {
    s.table_levels = 0;
  } else if (ttl != 0) {
    s.table_levels = static_cast<std::uint8_t>((1u << ttl) - 1);
  }
  return s;
}

}  // namespace model
SHOOTDOWN_END
