// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>

#include <cstdint>
#include <thread>
#include <vector>

#include <shootdown/host/env.hpp>

namespace {

using namespace shootdown;
using host::tally;
using host::thread_stats;
constexpr auto relaxed = std::memory_order_relaxed;
constexpr auto acquire = std::memory_order_acquire;
constexpr auto acq_rel = std::memory_order_acq_rel;

TEST(thread_stats, sums_all_threads_those_that_ended_included) {
  thread_stats::reset();
  std::vector<std::thread> all;
  for (std::uint64_t t = 1; t <= 4; ++t)
    all.emplace_back([t] {
      for (int i = 0; i != 1000; ++i) thread_stats::add(counter::commands, t);
      thread_stats::add(counter::syncs);
    });
  for (auto& t : all) t.join();
  thread_stats::add(counter::doorbells, 5);
  const tally sum = thread_stats::sum();
  EXPECT_EQ(sum[counter::commands], 10'000u);
  EXPECT_EQ(sum[counter::syncs], 4u);
  EXPECT_EQ(sum[counter::doorbells], 5u);
  EXPECT_EQ(sum[counter::bytes], 0u);
}

TEST(thread_stats, reset_is_a_new_zero_for_the_sum_and_leaves_a_threads_own_count) {
  const tally before = thread_stats::mine();
  thread_stats::add(counter::bytes, 16);
  thread_stats::reset();
  EXPECT_EQ(thread_stats::sum(), tally{});
  thread_stats::add(counter::bytes, 16);
  EXPECT_EQ(thread_stats::sum()[counter::bytes], 16u);
  EXPECT_EQ((thread_stats::mine() - before)[counter::bytes], 32u);
}

TEST(thread_stats, a_new_thread_that_takes_over_an_ended_ones_place_loses_nothing) {
  thread_stats::reset();
  for (int round = 0; round != 50; ++round) std::thread{[] { thread_stats::add(counter::space_waits); }}.join();
  EXPECT_EQ(thread_stats::sum()[counter::space_waits], 50u);
}

TEST(thread_stats, summing_while_others_count_never_goes_back) {
  thread_stats::reset();
  std::thread adder{[] {
    for (int i = 0; i != 20'000; ++i) thread_stats::add(counter::submissions);
  }};
  std::uint64_t last = 0;
  for (int i = 0; i != 200; ++i) {
    const std::uint64_t now = thread_stats::sum()[counter::submissions];
    EXPECT_GE(now, last);
    last = now;
  }
  adder.join();
  EXPECT_EQ(thread_stats::sum()[counter::submissions], 20'000u);
}

TEST(counted_atomic, counts_each_read_modify_write_once_and_no_load_or_store) {
  host::counted_env::atomic<std::uint64_t> a{5};
  const tally before = thread_stats::mine();
  const auto rmw = [&] { return (thread_stats::mine() - before)[counter::shared_rmw]; };
  const auto failed = [&] { return (thread_stats::mine() - before)[counter::failed_cas]; };
  a.store(1, relaxed);
  EXPECT_EQ(a.load(acquire), 1u);
  EXPECT_EQ(rmw(), 0u);
  EXPECT_EQ(a.exchange(2, acq_rel), 1u);
  EXPECT_EQ(a.fetch_add(2, relaxed), 2u);
  EXPECT_EQ(a.fetch_sub(1, relaxed), 4u);
  EXPECT_EQ(a.fetch_or(4, relaxed), 3u);
  EXPECT_EQ(a.fetch_and(6, relaxed), 7u);
  EXPECT_EQ(a.fetch_xor(1, relaxed), 6u);
  EXPECT_EQ(rmw(), 6u);
  EXPECT_EQ(failed(), 0u);
  std::uint64_t expected = 0;
  EXPECT_FALSE(a.compare_exchange_strong(expected, 1, acq_rel, acquire));
  EXPECT_EQ(expected, 7u);
  EXPECT_EQ(rmw(), 7u);
  EXPECT_EQ(failed(), 1u);
  EXPECT_TRUE(a.compare_exchange_strong(expected, 1, acq_rel, acquire));
  EXPECT_EQ(rmw(), 8u);
  EXPECT_EQ(failed(), 1u);
  expected = 0;
  EXPECT_FALSE(a.compare_exchange_weak(expected, 9, acq_rel, acquire));
  EXPECT_EQ(rmw(), 9u);
  EXPECT_EQ(failed(), 2u);
}

TEST(counted_atomic, contended_increments_balance_successes_and_failures_exactly) {
  // Every success adds one; so RMWs = successes + failures, whatever the schedule was.
  host::counted_env::atomic<std::uint32_t> a;
  thread_stats::reset();
  std::vector<std::thread> all;
  for (int t = 0; t != 3; ++t)
    all.emplace_back([&] {
      for (int i = 0; i != 2000; ++i) {
        std::uint32_t seen = a.load(relaxed);
        while (!a.compare_exchange_weak(seen, seen + 1, relaxed, relaxed)) {
        }
      }
    });
  for (auto& t : all) t.join();
  const tally sum = thread_stats::sum();
  EXPECT_EQ(a.load(relaxed), 6000u);
  EXPECT_EQ(sum[counter::shared_rmw], 6000u + sum[counter::failed_cas]);
}

TEST(counted_env, the_default_environment_counts_nothing) {
  const tally before = thread_stats::mine();
  host::env::atomic<std::uint64_t> a;
  a.fetch_add(1, relaxed);
  host::env::stats::add(counter::commands);
  EXPECT_EQ(thread_stats::mine(), before);
  host::counted_env::stats::add(counter::commands);
  EXPECT_NE(thread_stats::mine(), before);
}

}  // namespace
