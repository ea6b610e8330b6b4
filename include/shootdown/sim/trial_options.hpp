// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include <shootdown/sim/history.hpp>

SHOOTDOWN_BEGIN
namespace sim {

enum class memory_model : std::uint8_t {
  sequential,  ///< interleavings: every store is seen at once
  weak,        ///< what C++20 allows beyond that: see history
};

/// How a trial runs. Part of a schedule: the same answers under other options are another trial.
struct trial_options {
  memory_model memory{memory_model::sequential};
  history_options weak{};
  std::uint64_t step_limit{200'000};
  unsigned interrupts{1};          ///< at most, in one go()
  unsigned allocation_failures{};  ///< at most, in one trial
  bool spurious_failures{};        ///< weak compare-exchanges may fail although the value is as expected
};

}  // namespace sim
SHOOTDOWN_END
