// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>

#include <cstdint>
#include <thread>
#include <vector>

#include <shootdown/env/spinlock.hpp>
#include <shootdown/host/env.hpp>

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
