// SPDX-License-Identifier: MIT
#include "scenarios/queues.hpp"

#include "scenarios/all.hpp"

namespace scenarios {

void queues_of(collection& c) { add_queues(c); }

}  // namespace scenarios
