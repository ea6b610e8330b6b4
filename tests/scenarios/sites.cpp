// SPDX-License-Identifier: MIT
#include "scenarios/sites.hpp"

#include "scenarios/all.hpp"

namespace scenarios {

void sites_of(collection& c) { add_sites(c); }

}  // namespace scenarios
