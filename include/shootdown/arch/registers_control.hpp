// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include <shootdown/arch/attributes.hpp>
#include <shootdown/arch/field.hpp>
#include <shootdown/arch/types.hpp>

// Control, error and interrupt registers of page 0. IHI 0070 6.3.
SHOOTDOWN_BEGIN
namespace reg {

/// The bits of CR0 and, once the SMMU follows, of CR0ACK. Never change one whose last change is not acknowledged.
struct cr0_fields {
  using smmuen = field<0, 0, bool>;
  using priqen = field<1, 1, bool>;
  using eventqen = field<2, 2, bool>;
  using cmdqen = field<3, 3, bool>;
  using atschk = field<4, 4, bool>;
  using vmw = field<8, 6, std::uint8_t>;
  using dpt_walk_en = field<10, 10, bool>;
  static constexpr std::uint32_t mask = static_cast<std::uint32_t>(smmuen::mask | priqen::mask | eventqen::mask | cmdqen::mask |
                                                                   atschk::mask | vmw::mask | dpt_walk_en::mask);
};
struct cr0 : cr0_fields {
  static constexpr std::uint32_t offset = 0x020;
  static constexpr unsigned bits = 32;
};
struct cr0ack : cr0_fields {
  static constexpr std::uint32_t offset = 0x024;
  static constexpr unsigned bits = 32;
};

/// Memory attributes of the SMMU's own accesses. Written while the related enables are 0.
struct cr1 {
  static constexpr std::uint32_t offset = 0x028;
  static constexpr unsigned bits = 32;
  using queue_ic = field<1, 0, cacheability>;
  using queue_oc = field<3, 2, cacheability>;
  using queue_sh = field<5, 4, shareability>;
  using table_ic = field<7, 6, cacheability>;
  using table_oc = field<9, 8, cacheability>;
  using table_sh = field<11, 10, shareability>;
  static constexpr std::uint32_t mask = 0xfff;
};

struct cr2 {
  static constexpr std::uint32_t offset = 0x02c;
  static constexpr unsigned bits = 32;
  using e2h = field<0, 0, bool>;
  using recinvsid = field<1, 1, bool>;
  using ptm = field<2, 2, bool>;  // 1: broadcast TLBI of CPUs is ignored
  using rec_cfg_ats = field<3, 3, bool>;
  static constexpr std::uint32_t mask = 0xf;
};

struct statusr {
  static constexpr std::uint32_t offset = 0x040;
  static constexpr unsigned bits = 32;
};

/// What transactions meet while SMMUEN = 0. A write counts only with UPDATE = 1; the SMMU clears UPDATE when it took it.
struct gbpa {
  static constexpr std::uint32_t offset = 0x044;
  static constexpr unsigned bits = 32;
  using abort = field<20, 20, bool>;
  using update = field<31, 31, bool>;
};

struct agbpa {
  static constexpr std::uint32_t offset = 0x048;
  static constexpr unsigned bits = 32;
};

struct irq_ctrl_fields {
  using gerror_irqen = field<0, 0, bool>;
  using priq_irqen = field<1, 1, bool>;
  using eventq_irqen = field<2, 2, bool>;
  static constexpr std::uint32_t mask = 0x7;
};
struct irq_ctrl : irq_ctrl_fields {
  static constexpr std::uint32_t offset = 0x050;
  static constexpr unsigned bits = 32;
};
struct irq_ctrlack : irq_ctrl_fields {
  static constexpr std::uint32_t offset = 0x054;
  static constexpr unsigned bits = 32;
};

/// An error is active while its bit differs between GERROR (the SMMU toggles) and GERRORN (software copies GERROR there).
struct gerror_fields {
  using cmdq_err = field<0, 0, bool>;
  using eventq_abt_err = field<2, 2, bool>;
  using priq_abt_err = field<3, 3, bool>;
  using msi_cmdq_abt_err = field<4, 4, bool>;
  using msi_eventq_abt_err = field<5, 5, bool>;
  using msi_priq_abt_err = field<6, 6, bool>;
  using msi_gerror_abt_err = field<7, 7, bool>;
  using sfm_err = field<8, 8, bool>;
  using cmdqp_err = field<9, 9, bool>;
  static constexpr std::uint32_t mask = 0x3fd;
};
struct gerror : gerror_fields {
  static constexpr std::uint32_t offset = 0x060;
  static constexpr unsigned bits = 32;
};
struct gerrorn : gerror_fields {
  static constexpr std::uint32_t offset = 0x064;
  static constexpr unsigned bits = 32;
};

/// Where an interrupt is written as a message: address (0 = wired), data, attributes.
template <std::uint32_t Offset>
struct irq_cfg0 {
  static constexpr std::uint32_t offset = Offset;
  static constexpr unsigned bits = 64;
  using addr = addr_field<51, 2, bus_addr>;
};
template <std::uint32_t Offset>
struct irq_cfg1 {
  static constexpr std::uint32_t offset = Offset;
  static constexpr unsigned bits = 32;
  using data = field<31, 0, std::uint32_t>;
};
template <std::uint32_t Offset>
struct irq_cfg2 {
  static constexpr std::uint32_t offset = Offset;
  static constexpr unsigned bits = 32;
  using memattr = field<3, 0, std::uint8_t>;  // 0x1 Device-nGnRE, 0xF normal write-back
  using sh = field<5, 4, shareability>;
};
using gerror_irq_cfg0 = irq_cfg0<0x068>;
using gerror_irq_cfg1 = irq_cfg1<0x070>;
using gerror_irq_cfg2 = irq_cfg2<0x074>;

struct strtab_base {
  static constexpr std::uint32_t offset = 0x080;
  static constexpr unsigned bits = 64;
  using addr = addr_field<51, 6, bus_addr>;
  using ra = field<62, 62, bool>;
};

/// STRTAB_BASE_CFG.FMT.
enum class stream_table_format : std::uint8_t { linear = 0, two_level = 1 };

struct strtab_base_cfg {
  static constexpr std::uint32_t offset = 0x088;
  static constexpr unsigned bits = 32;
  using log2size = field<5, 0, unsigned>;
  using split = field<10, 6, unsigned>;  // 6, 8 or 10
  using fmt = field<17, 16, stream_table_format>;
};

/// Level-1 stream table descriptor, in memory. SPAN 0: no level-2 table; else it has 2^(SPAN-1) STEs.
struct l1_stream_descriptor {
  using span = field<4, 0, unsigned>;
  using l2ptr = addr_field<51, 6, bus_addr>;
};

/// Level-1 CD table descriptor, in memory.
struct l1_cd_descriptor {
  using v = field<0, 0, bool>;
  using l2ptr = addr_field<51, 12, bus_addr>;
};

}  // namespace reg
SHOOTDOWN_END
