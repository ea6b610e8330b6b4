// SPDX-License-Identifier: MIT
#pragma once

#include <string_view>

#include "scenarios/components.hpp"
#include "scenarios/domains.hpp"
#include "scenarios/machine.hpp"
#include "scenarios/queues.hpp"
#include "scenarios/scenario.hpp"

namespace scenarios {

/// The collection: scenarios that must hold, each followed by its broken twins.
[[nodiscard]] inline const collection& all() {
  static const collection list = [] {
    collection c;
    add_components(c);
    add_queues(c);
    add_domains(c);
    add_machine(c);
    return c;
  }();
  return list;
}

/// Null: no scenario of that name.
[[nodiscard]] inline const entry* find(std::string_view name) {
  for (const entry& e : all())
    if (e.play.name == name) return &e;
  return nullptr;
}

}  // namespace scenarios
