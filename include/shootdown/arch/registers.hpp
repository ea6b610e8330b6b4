// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <cstdint>

#include <shootdown/arch/registers_control.hpp>
#include <shootdown/arch/registers_id.hpp>
#include <shootdown/arch/registers_other.hpp>
#include <shootdown/arch/registers_queue.hpp>

SHOOTDOWN_BEGIN
namespace reg {

enum class access : std::uint8_t { ro, rw };

/// One line of the register map.
struct map_entry {
  std::uint32_t offset;
  std::uint8_t bits;
  access mode;
  const char* name;
};

/// The registers of this library in the order of IHI 0070 6.1. Two pages of 64 KiB; offsets of page 1 include 0x10000.
inline constexpr std::array<map_entry, 39> map{{
    {idr0::offset, 32, access::ro, "IDR0"},
    {idr1::offset, 32, access::ro, "IDR1"},
    {idr2::offset, 32, access::ro, "IDR2"},
    {idr3::offset, 32, access::ro, "IDR3"},
    {idr4::offset, 32, access::ro, "IDR4"},
    {idr5::offset, 32, access::ro, "IDR5"},
    {iidr::offset, 32, access::ro, "IIDR"},
    {aidr::offset, 32, access::ro, "AIDR"},
    {cr0::offset, 32, access::rw, "CR0"},
    {cr0ack::offset, 32, access::ro, "CR0ACK"},
    {cr1::offset, 32, access::rw, "CR1"},
    {cr2::offset, 32, access::rw, "CR2"},
    {statusr::offset, 32, access::ro, "STATUSR"},
    {gbpa::offset, 32, access::rw, "GBPA"},
    {irq_ctrl::offset, 32, access::rw, "IRQ_CTRL"},
    {irq_ctrlack::offset, 32, access::ro, "IRQ_CTRLACK"},
    {gerror::offset, 32, access::ro, "GERROR"},
    {gerrorn::offset, 32, access::rw, "GERRORN"},
    {gerror_irq_cfg0::offset, 64, access::rw, "GERROR_IRQ_CFG0"},
    {gerror_irq_cfg1::offset, 32, access::rw, "GERROR_IRQ_CFG1"},
    {gerror_irq_cfg2::offset, 32, access::rw, "GERROR_IRQ_CFG2"},
    {strtab_base::offset, 64, access::rw, "STRTAB_BASE"},
    {strtab_base_cfg::offset, 32, access::rw, "STRTAB_BASE_CFG"},
    {cmdq_base::offset, 64, access::rw, "CMDQ_BASE"},
    {cmdq_prod::offset, 32, access::rw, "CMDQ_PROD"},
    {cmdq_cons::offset, 32, access::rw, "CMDQ_CONS"},
    {eventq_base::offset, 64, access::rw, "EVENTQ_BASE"},
    {eventq_irq_cfg0::offset, 64, access::rw, "EVENTQ_IRQ_CFG0"},
    {eventq_irq_cfg1::offset, 32, access::rw, "EVENTQ_IRQ_CFG1"},
    {eventq_irq_cfg2::offset, 32, access::rw, "EVENTQ_IRQ_CFG2"},
    {priq_base::offset, 64, access::rw, "PRIQ_BASE"},
    {priq_irq_cfg0::offset, 64, access::rw, "PRIQ_IRQ_CFG0"},
    {priq_irq_cfg1::offset, 32, access::rw, "PRIQ_IRQ_CFG1"},
    {priq_irq_cfg2::offset, 32, access::rw, "PRIQ_IRQ_CFG2"},
    {idr6::offset, 32, access::ro, "IDR6"},
    {eventq_prod::offset, 32, access::rw, "EVENTQ_PROD"},
    {eventq_cons::offset, 32, access::rw, "EVENTQ_CONS"},
    {priq_prod::offset, 32, access::rw, "PRIQ_PROD"},
    {priq_cons::offset, 32, access::rw, "PRIQ_CONS"},
}};

/// Bytes of one page, and of both.
inline constexpr std::uint32_t page_bytes = 0x10000;
inline constexpr std::uint32_t file_bytes = 2 * page_bytes;

}  // namespace reg
SHOOTDOWN_END
