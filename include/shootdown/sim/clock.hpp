// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include <shootdown/config.hpp>

SHOOTDOWN_BEGIN
namespace sim {

/// Who makes memory accesses in a trial: a flow, or a part of a device that has a view of its own.
using observer = std::uint8_t;
inline constexpr unsigned max_observers = 16;

/// What an observer knows to have happened: of each observer its first `at[i]` accesses, and the steps of the total order of
/// seq_cst operations up to that of a fence it knows of. Happens-before between two accesses is one comparison.
struct vector_clock {
  std::array<std::uint32_t, max_observers> at{};
  std::uint32_t fence{};

  void join(const vector_clock& o) noexcept {
    for (unsigned i = 0; i != max_observers; ++i) at[i] = std::max(at[i], o.at[i]);
    fence = std::max(fence, o.fence);
  }
  [[nodiscard]] bool knows(observer who, std::uint32_t access) const noexcept { return at[who] >= access; }
};

}  // namespace sim
SHOOTDOWN_END
