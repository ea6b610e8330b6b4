// SPDX-License-Identifier: MIT
#pragma once

#include <string_view>

#include "scenarios/scenario.hpp"

namespace scenarios {

// What each group adds; in a source file of its own, because the scenarios are most of what there is to compile.
void components_of(collection& c);
void queues_of(collection& c);
void domains_of(collection& c);
void machines_of(collection& c);
void sites_of(collection& c);

/// The collection: scenarios that must hold, each followed by its broken twins.
[[nodiscard]] inline const collection& all() {
  static const collection list = [] {
    collection c;
    components_of(c);
    queues_of(c);
    domains_of(c);
    machines_of(c);
    sites_of(c);
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
