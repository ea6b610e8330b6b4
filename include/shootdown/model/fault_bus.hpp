// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include <shootdown/arch/types.hpp>
#include <shootdown/env/environment.hpp>
#include <shootdown/model/memory.hpp>
#include <shootdown/status.hpp>

SHOOTDOWN_BEGIN
namespace model {

/// What can go wrong with one command on its way into the SMMU.
enum class fetch_fault : std::uint8_t {
  none,
  garbled,  ///< it reads as a reserved opcode: CERROR_ILL
  aborted,  ///< the read aborts: CERROR_ABT
};

/// The memory as the front end sees it, with faults to order: command fetches fail from the n-th on, so many times.
/// Context: the device's lock. Cost when nothing is armed: one compare a load.
template <environment Env>
class fault_bus {
 public:
  explicit fault_bus(memory<Env>& m) noexcept : memory_{m} {}

  /// Commands lie in [ring, ring + bytes); `countdown` fetches still succeed, then `times` fail.
  void arm(fetch_fault f, std::uint64_t countdown, bus_addr ring, std::uint64_t bytes, std::uint64_t times = 1) noexcept {
    fault_ = times == 0 ? fetch_fault::none : f;
    times_ = times;
    countdown_ = countdown;
    ring_ = raw(ring);
    bytes_ = bytes;
  }
  [[nodiscard]] bool armed() const noexcept { return fault_ != fetch_fault::none; }

  [[nodiscard]] result<std::uint64_t> load64(bus_addr a) noexcept {
    if (fault_ != fetch_fault::none && raw(a) - ring_ < bytes_ && raw(a) % 16 == 0) {
      if (countdown_ == 0) {
        const fetch_fault now = fault_;
        if (--times_ == 0) fault_ = fetch_fault::none;
        if (now == fetch_fault::aborted) return errc::fetch_aborted;
        return memory_poison;
      }
      --countdown_;
    }
    return memory_.load64(a);
  }
  [[nodiscard]] status store64(bus_addr a, std::uint64_t v) noexcept { return memory_.store64(a, v); }
  [[nodiscard]] status store_low32(bus_addr a, std::uint32_t v) noexcept { return memory_.store_low32(a, v); }

 private:
  memory<Env>& memory_;
  fetch_fault fault_{};
  std::uint64_t countdown_{};
  std::uint64_t times_{};
  std::uint64_t ring_{};
  std::uint64_t bytes_{};
};

}  // namespace model
SHOOTDOWN_END
