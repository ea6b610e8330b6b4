// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include <shootdown/arch/commands.hpp>
#include <shootdown/arch/registers.hpp>
#include <shootdown/device/control.hpp>
#include <shootdown/env/backend.hpp>
#include <shootdown/port/command_list.hpp>
#include <shootdown/status.hpp>

SHOOTDOWN_BEGIN
namespace device {

/// The register sequence from "unknown state" to "translating", in the order that the architecture's reset chapter and
/// existing drivers agree on (IHI 0070 6.3, registers.md section 6). Each step leaves the SMMU aborting traffic, never
/// bypassing, until the last one. Context: control path, alone on this SMMU.
template <environment Env, backend<Env> Backend>
class bring_up {
 public:
  explicit bring_up(Backend& b) noexcept : backend_{b}, control_{b} {}

  /// Incoming traffic aborts, everything is off, interrupts and their message addresses too, attributes are set:
  /// inner-shareable write-back for queues and tables; private TLB maintenance (PTM), so that every invalidation comes through
  /// a queue. timed_out: the SMMU did not answer and may still use its memory.
  [[nodiscard]] status quiesce(deadline d) noexcept {
    if (const status s = control_.set_global_abort(true, d); !s.ok()) return s;
    if (const status s = control_.set_cr0(0, d); !s.ok()) return s;
    if (const status s = control_.set_irq_ctrl(0, d); !s.ok()) return s;
    using namespace reg;
    backend_.write64(gerror_irq_cfg0::offset, 0);  // an earlier owner's message address may be anybody's memory by now
    backend_.write64(eventq_irq_cfg0::offset, 0);
    constexpr std::uint64_t attributes = cr1::queue_ic::put(cacheability::write_back) | cr1::queue_oc::put(cacheability::write_back) |
                                         cr1::queue_sh::put(shareability::inner) | cr1::table_ic::put(cacheability::write_back) |
                                         cr1::table_oc::put(cacheability::write_back) | cr1::table_sh::put(shareability::inner);
    backend_.write32(cr1::offset, static_cast<std::uint32_t>(attributes));
    backend_.write32(cr2::offset, static_cast<std::uint32_t>(cr2::ptm::put(true) | cr2::recinvsid::put(true)));
    backend_.write32(gerrorn::offset, backend_.read32(gerror::offset));  // errors of an earlier owner would hold the new queue
    return {};
  }

  /// The linear stream table of 2^log2size entries at `table`.
  void set_stream_table(bus_addr table, unsigned log2size) noexcept {
    using namespace reg;
    backend_.write64(strtab_base::offset, strtab_base::ra::put(true) | strtab_base::addr::put(table));
    backend_.write32(strtab_base_cfg::offset, static_cast<std::uint32_t>(strtab_base_cfg::log2size::put(log2size) |
                                                                         strtab_base_cfg::fmt::put(stream_table_format::linear)));
  }

  /// The command queue at `ring`, empty. Then CR0.CMDQEN.
  [[nodiscard]] status enable_commands(bus_addr ring, unsigned log2size, deadline d) noexcept {
    using namespace reg;
    backend_.write64(cmdq_base::offset,
                     cmdq_base::allocate_hint::put(true) | cmdq_base::addr::put(ring) | cmdq_base::log2size::put(log2size));
    backend_.write32(cmdq_prod::offset, 0);
    backend_.write32(cmdq_cons::offset, 0);
    return enable(cr0::cmdqen::put(true), d);
  }

  /// Nothing that an earlier owner of the SMMU left in its caches may be used: CFGI_ALL, SYNC, TLBI of everything, SYNC, each
  /// waited for. `issue(list, deadline) -> status` sends a list and waits for it.
  template <class Issue>
  [[nodiscard]] static status invalidate_everything(bool el2, Issue&& issue, deadline d) noexcept {
    const command config = cmd::cfgi_all().encode();
    if (const status s = issue(array_list{&config, 1}, d); !s.ok()) return s;
    const command tlb[2] = {cmd::tlbi_nsnh_all{}.encode(), cmd::tlbi_el2_all{}.encode()};
    return issue(array_list{tlb, el2 ? 2u : 1u}, d);
  }

  [[nodiscard]] status enable_events(deadline d) noexcept { return enable(reg::cr0::eventqen::put(true), d); }

  /// Interrupt enables (IRQ_CTRL bits), wired; off since quiesce(). 0 for a driver that polls.
  [[nodiscard]] status set_interrupts(std::uint32_t irq_ctrl_bits, deadline d) noexcept {
    return irq_ctrl_bits == 0 ? status{} : control_.set_irq_ctrl(irq_ctrl_bits, d);
  }

  /// The last step: translation on. With `ats` translated transactions are checked against the STE.
  [[nodiscard]] status enable_translation(bool ats, deadline d) noexcept {
    if (ats) {
      if (const status s = enable(reg::cr0::atschk::put(true), d); !s.ok()) return s;
    }
    return enable(reg::cr0::smmuen::put(true), d);
  }

 private:
  [[nodiscard]] status enable(std::uint64_t bit, deadline d) noexcept {
    return control_.set_cr0(control_.cr0() | static_cast<std::uint32_t>(bit), d);
  }

  Backend& backend_;
  control<Env, Backend> control_;
};

}  // namespace device
SHOOTDOWN_END
