// SPDX-License-Identifier: MIT
// An embedding that lacks a piece is told which contract it breaks.
// EXPECT: environment_waiting
// EXPECT: relax
#include <shootdown/env/archetype.hpp>
#include <shootdown/env/spinlock.hpp>

struct incomplete : shootdown::archetype_env {
#ifndef CONTROL
  static void relax() = delete;
#endif
};

shootdown::spinlock<incomplete> lock;
