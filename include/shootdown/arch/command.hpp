// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include <shootdown/arch/field.hpp>
#include <shootdown/arch/types.hpp>

SHOOTDOWN_BEGIN

/// One command queue entry: 16 bytes, two little-endian 64-bit words. IHI 0070 4.1.
/// A value in CPU byte order; the ring stores it through Env::dma_word.
struct command {
  std::uint64_t dw0{};
  std::uint64_t dw1{};
  friend constexpr bool operator==(const command&, const command&) noexcept = default;
};
static_assert(sizeof(command) == 16);

inline constexpr unsigned command_bytes = 16;

/// dw0[7:0]. IHI 0070 4.1, table of opcodes. Values not listed are reserved and raise CERROR_ILL.
enum class opcode : std::uint8_t {
  prefetch_config = 0x01,
  prefetch_addr = 0x02,
  cfgi_ste = 0x03,
  cfgi_ste_range = 0x04,  // RANGE = 31 is CFGI_ALL
  cfgi_cd = 0x05,
  cfgi_cd_all = 0x06,
  cfgi_vms_pidm = 0x07,
  tlbi_nh_all = 0x10,
  tlbi_nh_asid = 0x11,
  tlbi_nh_va = 0x12,
  tlbi_nh_vaa = 0x13,
  tlbi_el3_all = 0x18,
  tlbi_el3_va = 0x1a,
  tlbi_el2_all = 0x20,
  tlbi_el2_asid = 0x21,
  tlbi_el2_va = 0x22,
  tlbi_el2_vaa = 0x23,
  tlbi_s12_vmall = 0x28,
  tlbi_s2_ipa = 0x2a,
  tlbi_nsnh_all = 0x30,
  atc_inv = 0x40,
  pri_resp = 0x41,
  resume = 0x44,
  stall_term = 0x45,
  sync = 0x46,
  tlbi_s_el2_all = 0x50,
  tlbi_s_el2_asid = 0x51,
  tlbi_s_el2_va = 0x52,
  tlbi_s_el2_vaa = 0x53,
  tlbi_s_s12_vmall = 0x58,
  tlbi_s_s2_ipa = 0x5a,
  tlbi_snh_all = 0x60,
  dpti_all = 0x70,
  dpti_pa = 0x73,
};

using opcode_f = field<7, 0, opcode>;
[[nodiscard]] constexpr opcode opcode_of(command c) noexcept { return opcode_f::get(c.dw0); }

/// The operand words of a by-address TLBI: NUM and SCALE of dw0; ADDR, LEAF, TTL and TG of dw1 (IHI 0070 4.4).
/// range/ computes it once for a request; a tag word (opcode | VMID | ASID) OR-ed to dw0 makes the command.
/// Only the factories of arch/tlbi_operand.hpp make one, and none makes the illegal form NUM = SCALE = TTL = 0, TG != 0.
class tlbi_operand;

SHOOTDOWN_END
