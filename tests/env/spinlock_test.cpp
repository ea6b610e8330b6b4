// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>

#include <cstdint>
#include <thread>
#include <vector>

#include <shootdown/env/spinlock.hpp>
#include <shootdown/host/env.hpp>
#include <shootdown/sim/round_robin_env.hpp>

namespace {

using namespace shootdown;

TEST(spinlock, threads_never_meet_in_the_section_and_see_each_others_writes) {
  spinlock<host::env> lock;
  std::uint64_t plain = 0;  // not atomic: ThreadSanitizer sees it too
  constexpr int threads = 3;
  constexpr int turns = 5'000;
  std::vector<std::thread> all;
  for (int t = 0; t != threads; ++t)
    all.emplace_back([&] {
      for (int i = 0; i != turns; ++i) {
        const lock_guard hold{lock};
        ++plain;
      }
    });
  for (auto& t : all) t.join();
  EXPECT_EQ(plain, static_cast<std::uint64_t>(threads) * turns);
  EXPECT_TRUE(lock.check_invariants());
}

TEST(spinlock, fibers_never_meet_in_the_section_wherever_they_are_switched) {
  using env = sim::round_robin_env;
  for (std::uint64_t seed = 0; seed != 40; ++seed) {
    spinlock<env> lock;
    unsigned inside = 0, met = 0, sections = 0;
    std::vector<sim::round_robin::task> tasks;
    for (int t = 0; t != 3; ++t)
      tasks.emplace_back([&] {
        for (int i = 0; i != 10; ++i) {
          const lock_guard hold{lock};
          met += ++inside != 1 ? 1u : 0u;
          env::relax();
          --inside;
          ++sections;
        }
      });
    ASSERT_TRUE(sim::round_robin::run(std::move(tasks), {.seed = seed}).ok()) << seed;
    EXPECT_EQ(met, 0u) << seed;
    EXPECT_EQ(sections, 30u) << seed;
  }
}

TEST(spinlock, try_lock_fails_while_held_and_succeeds_after_unlock) {
  spinlock<host::env> lock;
  ASSERT_TRUE(lock.try_lock());
  bool taken = true;
  std::thread other{[&] { taken = lock.try_lock(); }};
  other.join();
  EXPECT_FALSE(taken);
  lock.unlock();
  EXPECT_TRUE(lock.try_lock());
  lock.unlock();
}

TEST(spinlock, costs_one_read_modify_write_uncontended_and_none_while_waiting) {
  spinlock<host::counted_env> lock;
  const host::tally before = host::thread_stats::mine();
  lock.lock();
  EXPECT_EQ((host::thread_stats::mine() - before)[counter::shared_rmw], 1u);
  for (int i = 0; i != 10; ++i) EXPECT_FALSE(lock.try_lock());
  EXPECT_EQ((host::thread_stats::mine() - before)[counter::shared_rmw], 1u) << "a waiter must spin on a plain load";
  lock.unlock();
  EXPECT_EQ((host::thread_stats::mine() - before)[counter::shared_rmw], 1u);
}

}  // namespace
