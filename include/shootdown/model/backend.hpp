// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>

#include <shootdown/env/backend.hpp>
#include <shootdown/env/environment.hpp>
#include <shootdown/model/device_side.hpp>
#include <shootdown/model/memory.hpp>
#include <shootdown/model/smmu.hpp>

SHOOTDOWN_BEGIN
namespace model {

struct backend_options {
  unsigned steps{256};   ///< units of work one access or turn runs at most
  bool posted_writes{};  ///< a register write does not run the device: what it starts happens at the next read or idle()
};

/// A model SMMU as software sees hardware: satisfies the `backend` concept.
///
/// Contract: a register access touches the register, and lets the device run up to Env::now(); idle() does the same once
///   and pauses if that did nothing. The clock is read only if some latency is set.
/// With posted_writes off a doorbell may have completed its commands when it returns, as on QEMU; set it (or a latency) to
///   find a missing wait. Where the device is a flow of its own (device_runs_alone) nothing here runs it: idle() is a pause.
/// Context: any thread (allocate_dma may sleep). Progress: wait-free but for the bounded run of the device.
template <environment Env, environment Device = Env>
class backend {
 public:
  backend(memory<Env>& m, smmu<Env, Device>& s, const backend_options& o = {}) noexcept : memory_{m}, smmu_{s}, options_{o} {}

  [[nodiscard]] std::uint32_t read32(std::uint32_t offset) noexcept {
    run();
    return smmu_.read32(offset);
  }
  [[nodiscard]] std::uint64_t read64(std::uint32_t offset) noexcept {
    run();
    return smmu_.read64(offset);
  }
  void write32(std::uint32_t offset, std::uint32_t v) noexcept {
    smmu_.write32(offset, v);
    if (!options_.posted_writes) run();
  }
  void write64(std::uint32_t offset, std::uint64_t v) noexcept {
    smmu_.write64(offset, v);
    if (!options_.posted_writes) run();
  }
  void idle(deadline) noexcept {
    if (!run()) Env::relax();
  }
  [[nodiscard]] dma_span<Env> allocate_dma(std::size_t bytes, std::size_t align) noexcept { return memory_.allocate_dma(bytes, align); }
  void release_dma(dma_span<Env> s) noexcept { memory_.release(s); }

  [[nodiscard]] smmu<Env, Device>& device() noexcept { return smmu_; }

 private:
  bool run() noexcept {
    if (device_runs_alone<Device>()) return false;
    return smmu_.advance(smmu_.timed() ? Env::now() : instant{}, options_.steps);
  }

  memory<Env>& memory_;
  smmu<Env, Device>& smmu_;
  backend_options options_;
};

}  // namespace model
SHOOTDOWN_END
