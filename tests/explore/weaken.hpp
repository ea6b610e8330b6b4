// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "explore/plan.hpp"

namespace explore {

/// Mutants without compiling: for each line of `file` one memory order is weakened, or one fence or dma call left out, and the
/// scenarios that execute it run until one fails, or `trials` times each and way (small ones 20 times as often). Prints a line
/// `status<TAB>file<TAB>line<TAB>kind<TAB>from<TAB>to<TAB>by` for each: killed and by which scenario, way and failure; survived; or
/// unreached. 0: all were killed; 1: some were not; 2: bad list.
int weaken(const std::string& file, const std::vector<const scenarios::entry*>& list, std::uint64_t trials, std::uint64_t seed);

}  // namespace explore
