// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <shootdown/sim/drivers.hpp>
#include <shootdown/sim/explore.hpp>

#include "scenarios/all.hpp"

// How a scenario is explored: memory models x drivers.
namespace explore {

using shootdown::sim::chooser;
using shootdown::sim::memory_model;

struct way {
  std::string name;
  std::string world;  ///< memory model
  unsigned bound{};   ///< dfs: interferences; 0: another driver
  memory_model memory{};
  bool coherent{true};
  bool placement{};
  std::function<std::unique_ptr<chooser>(std::uint64_t seed)> driver;
};

inline shootdown::sim::trial_options options_of(const scenarios::entry& e, const way& w) {
  shootdown::sim::trial_options o;
  o.memory = w.memory;
  o.weak.coherent = w.coherent;
  o.weak.placement = w.placement;
  o.interrupts = e.interrupts;
  return o;
}

inline std::string name_of(memory_model m, bool coherent) {
  return m == memory_model::sequential ? "interleavings" : coherent ? "weak memory" : "weak, not coherent";
}
inline way depth_first(memory_model m, unsigned bound, bool coherent = true) {
  const std::string world = name_of(m, coherent);
  return {world + ", dfs " + std::to_string(bound), world, bound, m, coherent, false, [bound](std::uint64_t) {
            return std::make_unique<shootdown::sim::dfs>(bound);
          }};
}
inline way by_priority(memory_model m, unsigned depth, bool coherent = true) {
  const std::string world = name_of(m, coherent);
  return {world + ", pct " + std::to_string(depth), world, 0, m, coherent, false, [depth](std::uint64_t seed) {
            return std::make_unique<shootdown::sim::pct>(depth, seed);
          }};
}
inline way by_chance(memory_model m, bool coherent = true, bool placement = false) {
  const std::string world = name_of(m, coherent);
  return {world + (placement ? ", placement, random" : ", random"), world, 0, m, coherent, placement, [](std::uint64_t seed) {
            return std::make_unique<shootdown::sim::random_walk>(seed);
          }};
}

/// What `./run explore` does with every scenario, and a mutant has to survive.
inline std::vector<way> ways() {
  using enum memory_model;
  return {
      depth_first(sequential, 1),
      by_priority(sequential, 3),
      by_chance(sequential),
      depth_first(sequential, 2),
      depth_first(weak, 1),
      by_priority(weak, 3),
      by_chance(weak),
      by_chance(weak, true, true),
      depth_first(weak, 2),
      depth_first(weak, 1, false),
      by_priority(weak, 3, false),
      by_chance(weak, false),
  };
}

}  // namespace explore
