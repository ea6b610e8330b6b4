// SPDX-License-Identifier: MIT
#include "scenarios/components.hpp"

#include "scenarios/all.hpp"

namespace scenarios {

void components_of(collection& c) { add_components(c); }

}  // namespace scenarios
