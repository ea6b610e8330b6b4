// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include <shootdown/arch/registers.hpp>
#include <shootdown/env/backend.hpp>
#include <shootdown/status.hpp>

SHOOTDOWN_BEGIN
namespace device {

/// The handshakes of the control registers: write, then wait until the SMMU says it has taken effect.
/// Every wait has the caller's deadline and gives one turn to the backend. Context: control paths, one caller at a time.
/// timed_out: the hardware did not answer; it may still do so later. IHI 0070 6.3.9 (CR0), 6.3.15 (GBPA), 6.3.16 (IRQ_CTRL).
template <environment Env, backend<Env> Backend>
class control {
 public:
  explicit control(Backend& b) noexcept : backend_{b} {}

  /// CR0 = `bits`, then CR0ACK = `bits`.
  [[nodiscard]] status set_cr0(std::uint32_t bits, deadline d) noexcept {
    backend_.write32(reg::cr0::offset, bits);
    return until(reg::cr0ack::offset, ~std::uint32_t{0}, bits, d);
  }
  [[nodiscard]] std::uint32_t cr0() noexcept { return backend_.read32(reg::cr0::offset); }

  /// IRQ_CTRL = `bits`, then IRQ_CTRLACK.
  [[nodiscard]] status set_irq_ctrl(std::uint32_t bits, deadline d) noexcept {
    backend_.write32(reg::irq_ctrl::offset, bits);
    return until(reg::irq_ctrlack::offset, ~std::uint32_t{0}, bits, d);
  }

  /// Makes transactions abort (or bypass) while translation is off. Waits for UPDATE = 0 before and after the write.
  [[nodiscard]] status set_global_abort(bool abort, deadline d) noexcept {
    constexpr auto update = static_cast<std::uint32_t>(reg::gbpa::update::mask);
    if (const status s = until(reg::gbpa::offset, update, 0, d); !s.ok()) return s;
    const std::uint32_t now = backend_.read32(reg::gbpa::offset);
    const auto wanted = static_cast<std::uint32_t>(reg::gbpa::abort::set(now, abort));
    backend_.write32(reg::gbpa::offset, wanted | update);
    return until(reg::gbpa::offset, update, 0, d);
  }

 private:
  /// Polls until (register & mask) == value.
  [[nodiscard]] status until(std::uint32_t offset, std::uint32_t mask, std::uint32_t value, deadline d) noexcept {
    while ((backend_.read32(offset) & mask) != value) {
      if (d.passed(Env::now())) return errc::timed_out;
      backend_.idle(d);
    }
    return {};
  }

  Backend& backend_;
};

}  // namespace device
SHOOTDOWN_END
