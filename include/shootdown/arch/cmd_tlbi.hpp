// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include <shootdown/arch/command.hpp>
#include <shootdown/arch/field.hpp>
#include <shootdown/arch/tlbi_operand.hpp>
#include <shootdown/arch/types.hpp>

// TLB invalidation. IHI 0070 4.4. The commands come in seven shapes (which tags, with or without an address); each shape
// is a template over the opcode and each command of the specification is an alias at the end of this file.
// TTL128 (dw1[7]) belongs to 128-bit descriptors, which this library does not use: it counts as reserved.
SHOOTDOWN_BEGIN
namespace cmd {

/// dw0 tags. 8 significant bits each unless IDR0.VMID16 / ASID16; VMID must be 0 where stage 2 does not exist.
using vmid_f = field<47, 32, vmid>;
using asid_f = field<63, 48, asid>;

/// A TLBI without operand.
template <opcode Op>
struct tlbi_all {
  static constexpr opcode op = Op;
  static constexpr std::uint64_t res0_dw0 = ~opcode_f::mask;
  static constexpr std::uint64_t res0_dw1 = ~std::uint64_t{0};

  [[nodiscard]] constexpr command encode() const noexcept { return {opcode_f::put(op), 0}; }
  [[nodiscard]] static constexpr tlbi_all decode(command) noexcept { return {}; }
  friend constexpr bool operator==(const tlbi_all&, const tlbi_all&) noexcept = default;
};

/// A TLBI of one VMID.
template <opcode Op>
struct tlbi_by_vmid {
  static constexpr opcode op = Op;
  static constexpr std::uint64_t res0_dw0 = ~(opcode_f::mask | vmid_f::mask);
  static constexpr std::uint64_t res0_dw1 = ~std::uint64_t{0};
  vmid vm{};

  [[nodiscard]] constexpr command encode() const noexcept { return {opcode_f::put(op) | vmid_f::put(vm), 0}; }
  [[nodiscard]] static constexpr tlbi_by_vmid decode(command c) noexcept { return {vmid_f::get(c.dw0)}; }
  friend constexpr bool operator==(const tlbi_by_vmid&, const tlbi_by_vmid&) noexcept = default;
};

/// A TLBI of one ASID of a translation regime without VMIDs.
template <opcode Op>
struct tlbi_by_asid {
  static constexpr opcode op = Op;
  static constexpr std::uint64_t res0_dw0 = ~(opcode_f::mask | asid_f::mask);
  static constexpr std::uint64_t res0_dw1 = ~std::uint64_t{0};
  asid as{};

  [[nodiscard]] constexpr command encode() const noexcept { return {opcode_f::put(op) | asid_f::put(as), 0}; }
  [[nodiscard]] static constexpr tlbi_by_asid decode(command c) noexcept { return {asid_f::get(c.dw0)}; }
  friend constexpr bool operator==(const tlbi_by_asid&, const tlbi_by_asid&) noexcept = default;
};

/// A TLBI of one ASID of one VMID. Global entries stay.
template <opcode Op>
struct tlbi_by_asid_vmid {
  static constexpr opcode op = Op;
  static constexpr std::uint64_t res0_dw0 = ~(opcode_f::mask | vmid_f::mask | asid_f::mask);
  static constexpr std::uint64_t res0_dw1 = ~std::uint64_t{0};
  asid as{};
  vmid vm{};

  [[nodiscard]] constexpr command encode() const noexcept { return {opcode_f::put(op) | vmid_f::put(vm) | asid_f::put(as), 0}; }
  [[nodiscard]] static constexpr tlbi_by_asid_vmid decode(command c) noexcept { return {asid_f::get(c.dw0), vmid_f::get(c.dw0)}; }
  friend constexpr bool operator==(const tlbi_by_asid_vmid&, const tlbi_by_asid_vmid&) noexcept = default;
};

/// What by-address TLBIs share. decode() of the never-legal operand yields an empty operand; visit() hands such a command
/// out as cmd::reserved, so only a caller that skipped tlbi_operand::illegal() can meet it.
struct tlbi_by_address {
  static constexpr std::uint64_t operand_res0_dw1 = ~tlbi_operand::dw1_mask;
  [[nodiscard]] static constexpr tlbi_operand operand_of(command c) noexcept { return tlbi_operand::from_wire(c).value(); }
};

/// A TLBI of a virtual address (range) in one ASID of one VMID.
template <opcode Op>
struct tlbi_by_va_asid_vmid {
  static constexpr opcode op = Op;
  static constexpr std::uint64_t res0_dw0 = ~(opcode_f::mask | tlbi_operand::dw0_mask | vmid_f::mask | asid_f::mask);
  static constexpr std::uint64_t res0_dw1 = tlbi_by_address::operand_res0_dw1;
  asid as{};
  vmid vm{};
  tlbi_operand operand{};

  [[nodiscard]] static constexpr std::uint64_t tag_word(asid as, vmid vm) noexcept {
    return opcode_f::put(op) | vmid_f::put(vm) | asid_f::put(as);
  }
  [[nodiscard]] constexpr command encode() const noexcept { return stamp(tag_word(as, vm), operand); }
  [[nodiscard]] static constexpr tlbi_by_va_asid_vmid decode(command c) noexcept {
    return {asid_f::get(c.dw0), vmid_f::get(c.dw0), tlbi_by_address::operand_of(c)};
  }
  friend constexpr bool operator==(const tlbi_by_va_asid_vmid&, const tlbi_by_va_asid_vmid&) noexcept = default;
};

/// A TLBI of an address (range) in one VMID, whatever the ASID. AddrHi: highest address bit of the command.
template <opcode Op, unsigned AddrHi>
struct tlbi_by_addr_vmid {
  using addr_f = addr_field<AddrHi, 12>;
  static constexpr opcode op = Op;
  static constexpr std::uint64_t res0_dw0 = ~(opcode_f::mask | tlbi_operand::dw0_mask | vmid_f::mask);
  static constexpr std::uint64_t res0_dw1 = tlbi_by_address::operand_res0_dw1 | (tlbi_operand::addr_f::mask & ~addr_f::mask);
  vmid vm{};
  tlbi_operand operand{};

  [[nodiscard]] static constexpr std::uint64_t tag_word(vmid vm) noexcept { return opcode_f::put(op) | vmid_f::put(vm); }
  [[nodiscard]] constexpr command encode() const noexcept {
    const command c = stamp(tag_word(vm), operand);
    return {c.dw0, c.dw1 & ~res0_dw1};
  }
  [[nodiscard]] static constexpr tlbi_by_addr_vmid decode(command c) noexcept {
    return {vmid_f::get(c.dw0), tlbi_by_address::operand_of({c.dw0, c.dw1 & ~res0_dw1})};
  }
  friend constexpr bool operator==(const tlbi_by_addr_vmid&, const tlbi_by_addr_vmid&) noexcept = default;
};

/// A TLBI of a virtual address (range) in one ASID of a regime without VMIDs.
template <opcode Op>
struct tlbi_by_va_asid {
  static constexpr opcode op = Op;
  static constexpr std::uint64_t res0_dw0 = ~(opcode_f::mask | tlbi_operand::dw0_mask | asid_f::mask);
  static constexpr std::uint64_t res0_dw1 = tlbi_by_address::operand_res0_dw1;
  asid as{};
  tlbi_operand operand{};

  [[nodiscard]] static constexpr std::uint64_t tag_word(asid as) noexcept { return opcode_f::put(op) | asid_f::put(as); }
  [[nodiscard]] constexpr command encode() const noexcept { return stamp(tag_word(as), operand); }
  [[nodiscard]] static constexpr tlbi_by_va_asid decode(command c) noexcept { return {asid_f::get(c.dw0), tlbi_by_address::operand_of(c)}; }
  friend constexpr bool operator==(const tlbi_by_va_asid&, const tlbi_by_va_asid&) noexcept = default;
};

/// A TLBI of a virtual address (range) without tags.
template <opcode Op>
struct tlbi_by_va {
  static constexpr opcode op = Op;
  static constexpr std::uint64_t res0_dw0 = ~(opcode_f::mask | tlbi_operand::dw0_mask);
  static constexpr std::uint64_t res0_dw1 = tlbi_by_address::operand_res0_dw1;
  tlbi_operand operand{};

  [[nodiscard]] static constexpr std::uint64_t tag_word() noexcept { return opcode_f::put(op); }
  [[nodiscard]] constexpr command encode() const noexcept { return stamp(tag_word(), operand); }
  [[nodiscard]] static constexpr tlbi_by_va decode(command c) noexcept { return {tlbi_by_address::operand_of(c)}; }
  friend constexpr bool operator==(const tlbi_by_va&, const tlbi_by_va&) noexcept = default;
};

// In the order of the opcode map. What each removes: commands table of IHI 0070 4.4.
using tlbi_nh_all = tlbi_by_vmid<opcode::tlbi_nh_all>;           // all stage 1 of a VMID
using tlbi_nh_asid = tlbi_by_asid_vmid<opcode::tlbi_nh_asid>;    // non-global entries of an ASID
using tlbi_nh_va = tlbi_by_va_asid_vmid<opcode::tlbi_nh_va>;     // LEAF, TTL and TG honoured
using tlbi_nh_vaa = tlbi_by_addr_vmid<opcode::tlbi_nh_vaa, 63>;  // any ASID
using tlbi_el3_all = tlbi_all<opcode::tlbi_el3_all>;             // Secure queue only
using tlbi_el3_va = tlbi_by_va<opcode::tlbi_el3_va>;             // Secure queue only
using tlbi_el2_all = tlbi_all<opcode::tlbi_el2_all>;             // EL2 and EL2-E2H
using tlbi_el2_asid = tlbi_by_asid<opcode::tlbi_el2_asid>;       // EL2-E2H
using tlbi_el2_va = tlbi_by_va_asid<opcode::tlbi_el2_va>;        // ASID compared for EL2-E2H only
using tlbi_el2_vaa = tlbi_by_va<opcode::tlbi_el2_vaa>;           // EL2-E2H, any ASID
using tlbi_s12_vmall = tlbi_by_vmid<opcode::tlbi_s12_vmall>;     // stages 1 and 2 of a VMID
using tlbi_s2_ipa = tlbi_by_addr_vmid<opcode::tlbi_s2_ipa, 55>;  // stage-2-only entries; combined ones stay
using tlbi_nsnh_all = tlbi_all<opcode::tlbi_nsnh_all>;           // everything Non-secure below EL2
using tlbi_s_el2_all = tlbi_all<opcode::tlbi_s_el2_all>;         // this and the following: Secure queue only
using tlbi_s_el2_asid = tlbi_by_asid<opcode::tlbi_s_el2_asid>;
using tlbi_s_el2_va = tlbi_by_va_asid<opcode::tlbi_s_el2_va>;
using tlbi_s_el2_vaa = tlbi_by_va<opcode::tlbi_s_el2_vaa>;
using tlbi_s_s12_vmall = tlbi_by_vmid<opcode::tlbi_s_s12_vmall>;
using tlbi_s_s2_ipa = tlbi_by_addr_vmid<opcode::tlbi_s_s2_ipa, 55>;
using tlbi_snh_all = tlbi_all<opcode::tlbi_snh_all>;

}  // namespace cmd
SHOOTDOWN_END
