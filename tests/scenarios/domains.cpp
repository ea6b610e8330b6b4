// SPDX-License-Identifier: MIT
#include "scenarios/domains.hpp"

#include "scenarios/all.hpp"

namespace scenarios {

void domains_of(collection& c) { add_domains(c); }

}  // namespace scenarios
