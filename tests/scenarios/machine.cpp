// SPDX-License-Identifier: MIT
#include "scenarios/machine.hpp"

#include "scenarios/all.hpp"

namespace scenarios {

void machines_of(collection& c) { add_machine(c); }

}  // namespace scenarios
