// SPDX-License-Identifier: MIT
// A structure names itself and the contract when its Env lacks a piece.
// EXPECT: page_pool: Env does not satisfy shootdown::environment
#include <shootdown/env/archetype.hpp>
#include <shootdown/table/page_pool.hpp>

struct incomplete : shootdown::archetype_env {
#ifndef CONTROL
  struct rcu {};
#endif
};

using pool = shootdown::table::page_pool<incomplete>;
std::size_t size_of_pool() { return sizeof(pool); }
