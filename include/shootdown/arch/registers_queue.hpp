// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include <shootdown/arch/field.hpp>
#include <shootdown/arch/registers_control.hpp>
#include <shootdown/arch/types.hpp>

// Queue registers. Index and wrap flag of PROD and CONS: queue_word.hpp. IHI 0070 3.5 and 6.3.
SHOOTDOWN_BEGIN

/// CMDQ_CONS.ERR: why the queue stopped. Valid only while GERROR.CMDQ_ERR is active.
enum class command_error : std::uint8_t { none = 0, ill = 1, abt = 2, atc_inv_sync = 3 };

namespace reg {

/// The base of a queue, aligned to max(32, bytes of the queue). The hint is RA for commands, WA for events and page requests.
template <std::uint32_t Offset>
struct queue_base {
  static constexpr std::uint32_t offset = Offset;
  static constexpr unsigned bits = 64;
  using log2size = field<4, 0, unsigned>;
  using addr = addr_field<51, 5, bus_addr>;
  using allocate_hint = field<62, 62, bool>;
};

using cmdq_base = queue_base<0x090>;

struct cmdq_prod {
  static constexpr std::uint32_t offset = 0x098;
  static constexpr unsigned bits = 32;
  using wr = field<19, 0, std::uint32_t>;  // index and wrap flag of the largest queue
};
struct cmdq_cons {
  static constexpr std::uint32_t offset = 0x09c;  // written by software only while CMDQEN = 0
  static constexpr unsigned bits = 32;
  using rd = field<19, 0, std::uint32_t>;
  using err = field<30, 24, command_error>;
};

using eventq_base = queue_base<0x0a0>;
using eventq_irq_cfg0 = irq_cfg0<0x0b0>;
using eventq_irq_cfg1 = irq_cfg1<0x0b8>;
using eventq_irq_cfg2 = irq_cfg2<0x0bc>;
using priq_base = queue_base<0x0c0>;
using priq_irq_cfg0 = irq_cfg0<0x0d0>;
using priq_irq_cfg1 = irq_cfg1<0x0d8>;
using priq_irq_cfg2 = irq_cfg2<0x0dc>;

/// PROD of a queue that the SMMU fills. OVFLG differs from CONS.OVACKFLG while an overflow is not acknowledged.
template <std::uint32_t Offset>
struct output_prod {
  static constexpr std::uint32_t offset = Offset;
  static constexpr unsigned bits = 32;
  using wr = field<19, 0, std::uint32_t>;
  using ovflg = field<31, 31, bool>;
};
template <std::uint32_t Offset>
struct output_cons {
  static constexpr std::uint32_t offset = Offset;
  static constexpr unsigned bits = 32;
  using rd = field<19, 0, std::uint32_t>;
  using ovackflg = field<31, 31, bool>;
};
inline constexpr std::uint32_t page1 = 0x10000;
using eventq_prod = output_prod<page1 + 0x0a8>;
using eventq_cons = output_cons<page1 + 0x0ac>;
using priq_prod = output_prod<page1 + 0x0c8>;
using priq_cons = output_cons<page1 + 0x0cc>;

}  // namespace reg
SHOOTDOWN_END
