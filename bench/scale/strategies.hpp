// SPDX-License-Identifier: MIT
#pragma once

#include <span>
#include <string_view>

#include "closed_loop.hpp"

namespace shootdown::bench {

struct strategy {
  std::string_view name;
  loop_result (*run)(const loop_case&);
};

/// Everything that is compared; the first is the baseline.
[[nodiscard]] std::span<const strategy> strategies();

}  // namespace shootdown::bench
