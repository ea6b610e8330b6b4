// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>  // std::memory_order only
#include <cstdint>

#include <shootdown/config.hpp>

SHOOTDOWN_BEGIN
namespace model {

/// What a flow does inside the device. Hardware is not one observer: what its command queue has seen of memory, its table
/// walks need not have seen.
enum class device_role : std::uint8_t {
  consumer,  ///< command queue, registers, handshakes
  walker,    ///< translations, translation requests of endpoints, landings
  looker,    ///< counters and knobs: no part of the machine
};

/// The device side as a lock: whoever has it is the device. What each of them saw, the next one has seen: a device with one
/// view, and CPUs that run it are ordered with one another more than hardware would order them.
///
/// Contract: as a spin lock. Context: any. Progress: try_lock wait-free, lock waits for the holder.
/// Sites: S1 lock exchange (acquire) <-> S2 unlock (release); S3 lock peek (relaxed).
template <class Device>
class locked_device_side {
 public:
  [[nodiscard]] bool try_lock(device_role) noexcept {
    if (held_.load(std::memory_order_relaxed) != 0) return false;  // S3 relaxed: only spares the exchange, decides nothing
    return held_.exchange(1, std::memory_order_acquire) == 0;      // S1 acquire: pairs with S2 of the last device side
  }
  void lock(device_role r) noexcept {
    while (!try_lock(r)) Device::relax();
  }
  void unlock() noexcept { held_.store(0, std::memory_order_release); }  // S2 release -> S1
  /// The consumer is about to let invalidations take effect: from here on every walk sees what it has seen.
  void synchronised() noexcept {}

 private:
  typename Device::template atomic<std::uint32_t> held_{};
};

namespace detail {
template <class Device>
struct device_side_of {
  using type = locked_device_side<Device>;
};
template <class Device>
  requires requires { typename Device::device_side; }
struct device_side_of<Device> {
  using type = typename Device::device_side;
};
}  // namespace detail

/// How flows that enter the device are kept apart. An environment may bring its own `device_side` with the members above: a
/// simulator of weak memory has to, because the lock orders what hardware leaves unordered. It then keeps views apart by role
/// and joins them in synchronised(), as the architecture does: after a CMD_SYNC, walks see what the invalidations before it saw.
template <class Device>
using device_side = typename detail::device_side_of<Device>::type;

/// Is the device a flow of its own now? Then no register access and no wait of a CPU runs it. An environment says so with
/// `device_runs_alone() -> bool`.
template <class Device>
[[nodiscard]] bool device_runs_alone() noexcept {
  if constexpr (requires { Device::device_runs_alone(); }) return Device::device_runs_alone();
  return false;
}
/// Can it ever be?
template <class Device>
inline constexpr bool device_may_run_alone = requires { Device::device_runs_alone(); };

}  // namespace model
SHOOTDOWN_END
