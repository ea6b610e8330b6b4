// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include <shootdown/config.hpp>

// Registers that this library neither programs nor emulates, so that an offset in a log has a name. IHI 0070 6.1.
// They are not in reg::map: an emulated SMMU reads them as 0.
SHOOTDOWN_BEGIN
namespace reg {

template <std::uint32_t Offset, unsigned Bits>
struct unused_register {
  static constexpr std::uint32_t offset = Offset;
  static constexpr unsigned bits = Bits;
};

using gatos_ctrl = unused_register<0x100, 32>;
using gatos_sid = unused_register<0x108, 64>;
using gatos_addr = unused_register<0x110, 64>;
using gatos_par = unused_register<0x118, 64>;
using mpamidr = unused_register<0x130, 32>;
using gmpam = unused_register<0x138, 32>;
using vatos_sel = unused_register<0x180, 32>;
using dpt_base = unused_register<0x200, 64>;
using dpt_base_cfg = unused_register<0x208, 32>;
using dpt_cfg_far = unused_register<0x210, 64>;

/// CMDQ_CONTROL_PAGE_BASEn of enhanced command queues.
[[nodiscard]] constexpr std::uint32_t cmdq_control_page_base(unsigned n) noexcept { return 0x4000 + 32 * n; }
/// Registers of the Secure programming interface start here.
inline constexpr std::uint32_t secure_registers = 0x8000;

}  // namespace reg
SHOOTDOWN_END
