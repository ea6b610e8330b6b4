// SPDX-License-Identifier: MIT
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <thread>

#include <shootdown/host/env.hpp>

// What the typed suites over liburcu's flavours share.
namespace host_test {

using flavours = ::testing::Types<shootdown::host::memb_rcu, shootdown::host::mb_rcu, shootdown::host::bp_rcu, shootdown::host::qsbr_rcu>;

/// Names the tests after the flavour: `host_rcu/qsbr.drain_...`.
struct flavour_name {
  template <class Rcu>
  static std::string GetName(int) {
    return Rcu::flavour::name;
  }
};

/// Joins as a thread that may be the reader somebody waits for has to.
template <class Rcu>
void join(std::thread& t) {
  const typename Rcu::blocking_region away;
  t.join();
}

}  // namespace host_test
