// SPDX-License-Identifier: MIT
#pragma once

#include <shootdown/config.hpp>

SHOOTDOWN_BEGIN

namespace detail {
template <class Env>
struct bystander_of {
  using type = Env;
};
template <class Env>
  requires requires { typename Env::bystander; }
struct bystander_of<Env> {
  using type = typename Env::bystander;
};
}  // namespace detail

/// Where the state of an emulated device lives that is no part of the machine: the oracle, fault knobs, statistics. Usually the
/// environment itself. One whose atomics order what they should only watch, or are steps of a schedule, names another type as
/// `bystander` (atomic<T> and mutex).
template <class Env>
using bystander = typename detail::bystander_of<Env>::type;

SHOOTDOWN_END
