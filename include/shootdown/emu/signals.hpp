// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include <shootdown/arch/registers.hpp>
#include <shootdown/emu/concepts.hpp>
#include <shootdown/emu/front_end_counters.hpp>
#include <shootdown/emu/id_registers.hpp>
#include <shootdown/emu/register_file.hpp>

SHOOTDOWN_BEGIN
namespace emu {

/// GERROR, GERRORN and the interrupts of a front end. IHI 0070 3.18 and 7.5.
///
/// Purpose: one place that toggles GERROR bits and raises interrupts, as a message if one is configured, else as a count.
/// Contract: device side only. An error that is active already is not raised again. GERRORN counts as of the last poll(),
/// so an acknowledgement is a step of its own.
template <class Env, bus Bus>
class signals {
 public:
  signals(register_file<Env>& regs, Bus& memory, const id_registers& id, front_end_counters& counters) noexcept
      : regs_{regs}, bus_{memory}, id_{id}, counters_{counters} {}

  [[nodiscard]] bool active(std::uint64_t mask) const noexcept { return ((gerror_ ^ gerrorn_) & mask) != 0; }

  /// Makes the errors of `mask` active; those that are stay as they are.
  void raise(std::uint64_t mask) noexcept {
    const std::uint32_t fresh = static_cast<std::uint32_t>(mask) & ~(gerror_ ^ gerrorn_);
    if (fresh == 0) return;
    gerror_ ^= fresh;
    regs_.template set<reg::gerror>(gerror_);
    if (!reg::irq_ctrl::gerror_irqen::get(regs_.template get<reg::irq_ctrlack>())) return;
    if (interrupt<reg::gerror_irq_cfg0, reg::gerror_irq_cfg1>()) return;
    // A message that reports a lost message could not arrive either: the bit alone has to do.
    gerror_ ^= static_cast<std::uint32_t>(reg::gerror::msi_gerror_abt_err::mask) & ~(gerror_ ^ gerrorn_);
    regs_.template set<reg::gerror>(gerror_);
  }

  void event_queue_not_empty() noexcept {
    if (!reg::irq_ctrl::eventq_irqen::get(regs_.template get<reg::irq_ctrlack>())) return;
    if (!interrupt<reg::eventq_irq_cfg0, reg::eventq_irq_cfg1>()) raise(reg::gerror::msi_eventq_abt_err::mask);
  }

  /// Takes up a GERRORN write. True if there was one.
  bool poll() noexcept {
    const std::uint32_t written = regs_.template get32<reg::gerrorn>() & reg::gerror_fields::mask;
    const std::uint32_t changed = written ^ gerrorn_;
    if (changed == 0) return false;
    if ((changed & ~(gerror_ ^ gerrorn_)) != 0) ++counters_.software_errors;  // toggled a bit that was not active
    gerrorn_ = written;
    return true;
  }

  /// Power-on, together with the registers: nothing is active.
  void reset() noexcept { gerror_ = gerrorn_ = 0; }

  [[nodiscard]] bool check_invariants() const noexcept {
    return (gerror_ & ~reg::gerror_fields::mask) == 0 && regs_.template get32<reg::gerror>() == gerror_;
  }

 private:
  /// False if the message write aborted.
  template <class Cfg0, class Cfg1>
  [[nodiscard]] bool interrupt() noexcept {
    const bus_addr address = Cfg0::addr::get(regs_.template get<Cfg0>());
    if (!id_.msi() || raw(address) == 0) {
      ++counters_.wired_interrupts;
      return true;
    }
    return bus_.store_low32(address, regs_.template get32<Cfg1>()).ok();
  }

  register_file<Env>& regs_;
  Bus& bus_;
  const id_registers& id_;
  front_end_counters& counters_;
  std::uint32_t gerror_{};
  std::uint32_t gerrorn_{};
};

}  // namespace emu
SHOOTDOWN_END
