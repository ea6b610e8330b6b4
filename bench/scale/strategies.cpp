// SPDX-License-Identifier: MIT
#include "strategies.hpp"

#include <shootdown/queue/locked.hpp>
#include <shootdown/queue/owner_cas.hpp>

#include "owner_add.hpp"

namespace shootdown::bench {
namespace {

template <class S>
constexpr strategy entry{S::name, &closed_loop<S>};

// A strategy is one line here.
constexpr strategy known[] = {
    entry<queue::owner_cas>,
    entry<owner_add>,
    entry<queue::locked>,
};

}  // namespace

std::span<const strategy> strategies() { return known; }

}  // namespace shootdown::bench
