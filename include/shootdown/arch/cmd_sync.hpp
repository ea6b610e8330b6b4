// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include <shootdown/arch/attributes.hpp>
#include <shootdown/arch/command.hpp>
#include <shootdown/arch/field.hpp>
#include <shootdown/arch/types.hpp>

SHOOTDOWN_BEGIN
namespace cmd {

/// How a CMD_SYNC tells that it completed, besides CONS. 3 is reserved.
enum class sync_signal : std::uint8_t { none = 0, irq = 1, sev = 2 };

/// CMD_SYNC: everything before it in the same queue is complete when it completes, and nothing behind it starts before.
/// CS = irq writes the 32-bit MSIDATA to MSIADDR after all earlier effects; MSIADDR 0 sends none. IHI 0070 4.7.
struct sync {
  using cs_f = field<13, 12, sync_signal>;
  using msh_f = field<23, 22, shareability>;
  using msiattr_f = field<27, 24, std::uint8_t>;
  using msidata_f = field<63, 32, std::uint32_t>;
  using msiaddr_f = addr_field<55, 2, bus_addr>;
  static constexpr opcode op = opcode::sync;
  static constexpr std::uint64_t res0_dw0 = ~(opcode_f::mask | cs_f::mask | msh_f::mask | msiattr_f::mask | msidata_f::mask);
  static constexpr std::uint64_t res0_dw1 = ~msiaddr_f::mask;
  static constexpr std::uint8_t normal_write_back = 0xf;  ///< MSIATTR: normal memory, inner and outer write-back
  sync_signal cs{};
  shareability msh{};
  std::uint8_t msiattr{};
  std::uint32_t msidata{};
  bus_addr msiaddr{};

  /// Completion shows in CONS only.
  [[nodiscard]] static constexpr sync silent() noexcept { return {}; }
  /// Completion sends an event to the CPUs (IDR0.SEV).
  [[nodiscard]] static constexpr sync event() noexcept { return {sync_signal::sev, shareability::inner, normal_write_back, 0, {}}; }
  /// Completion writes `data` to `address`, a multiple of 4.
  [[nodiscard]] static constexpr sync message(bus_addr address, std::uint32_t data) noexcept {
    return {sync_signal::irq, shareability::inner, normal_write_back, data, address};
  }

  [[nodiscard]] constexpr command encode() const noexcept {
    return {opcode_f::put(op) | cs_f::put(cs) | msh_f::put(msh) | msiattr_f::put(msiattr) | msidata_f::put(msidata),
            msiaddr_f::put(msiaddr)};
  }
  [[nodiscard]] static constexpr sync decode(command c) noexcept {
    return {cs_f::get(c.dw0), msh_f::get(c.dw0), msiattr_f::get(c.dw0), msidata_f::get(c.dw0), msiaddr_f::get(c.dw1)};
  }
  friend constexpr bool operator==(const sync&, const sync&) noexcept = default;
};

}  // namespace cmd
SHOOTDOWN_END
