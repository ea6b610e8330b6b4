// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>

#include <cstdint>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <shootdown/env/spinlock.hpp>
#include <shootdown/sim/round_robin_env.hpp>

namespace {

using namespace shootdown;
using env = sim::round_robin_env;
using sim::round_robin;
using sim::run_options;
using sim::run_report;
constexpr auto relaxed = std::memory_order_relaxed;
constexpr auto acquire = std::memory_order_acquire;
constexpr auto release = std::memory_order_release;

// The tasks here share plain words to watch the scheduler, not to prove orderings.
run_report run(std::vector<round_robin::task> tasks, run_options o = {}) {
  o.switches_order = true;
  return round_robin::run(std::move(tasks), o);
}
run_options seeded(std::uint64_t seed) {
  run_options o;
  o.seed = seed;
  return o;
}
run_options limited(std::uint64_t steps) {
  run_options o;
  o.step_limit = steps;
  return o;
}

TEST(round_robin, switches_at_every_step_in_task_order) {
  std::string order;
  const auto task = [&order](char c) {
    return [&order, c] {
      for (int i = 0; i != 3; ++i) {
        order += c;
        env::relax();
      }
    };
  };
  const run_report r = run({task('a'), task('b'), task('c')});
  EXPECT_TRUE(r.ok());
  EXPECT_EQ(order, "abcabcabc");
  EXPECT_EQ(r.finished, 3u);
  EXPECT_EQ(r.failures, 0u);
}

TEST(round_robin, every_operation_of_the_environment_is_a_switch_point) {
  // The other task counts its turns; it gets one for each operation here.
  env::atomic<std::uint64_t> a;
  env::dma_word w;
  env::mutex m;
  int turns = 0;
  bool stop = false;
  std::vector<int> at;
  const auto note = [&] { at.push_back(turns); };
  const run_report r = run({[&] {
                                           std::uint64_t e = 0;
                                           note(), (void)a.load(relaxed);
                                           note(), a.store(1, relaxed);
                                           note(), a.exchange(2, relaxed);
                                           note(), a.compare_exchange_weak(e, 3, relaxed, relaxed);
                                           note(), a.compare_exchange_strong(e, 3, relaxed, relaxed);
                                           note(), a.fetch_add(1, relaxed);
                                           note(), a.fetch_sub(1, relaxed);
                                           note(), a.fetch_and(1, relaxed);
                                           note(), a.fetch_or(1, relaxed);
                                           note(), a.fetch_xor(1, relaxed);
                                           note(), (void)w.load(relaxed);
                                           note(), w.store(1, relaxed);
                                           note(), w.store_low(1, relaxed);
                                           note(), env::full_fence();
                                           note(), env::relax();
                                           note(), m.lock();
                                           note(), m.unlock();
                                           note(), env::rcu::synchronize();
                                           note(), env::rcu::drain();
                                           note(), stop = true;
                                         },
                                         [&] {
                                           while (!stop) ++turns, env::relax();
                                         }});
  ASSERT_TRUE(r.ok());
  ASSERT_EQ(at.size(), 20u);
  for (std::size_t i = 0; i != at.size(); ++i) EXPECT_EQ(at[i], static_cast<int>(i)) << "operation " << i;
}

TEST(round_robin, the_same_seed_gives_the_same_run_and_other_seeds_others) {
  const auto once = [](std::uint64_t seed) {
    env::atomic<std::uint32_t> a;
    const auto body = [&a] {
      for (int i = 0; i != 20; ++i) a.fetch_add(1, relaxed);
    };
    return run({body, body, body}, seeded(seed));
  };
  std::set<std::uint64_t> schedules;
  for (std::uint64_t seed = 0; seed != 20; ++seed) {
    const run_report first = once(seed);
    const run_report second = once(seed);
    EXPECT_TRUE(first.ok());
    EXPECT_EQ(first.trace_hash, second.trace_hash);
    EXPECT_EQ(first.steps, second.steps);
    EXPECT_EQ(first.switches, second.switches);
    EXPECT_EQ(since_epoch(first.end) - since_epoch(first.begin), since_epoch(second.end) - since_epoch(second.begin));
    schedules.insert(first.trace_hash);
  }
  EXPECT_EQ(schedules.size(), 20u);
}

TEST(round_robin, an_increment_made_of_a_load_and_a_store_loses_updates_and_fetch_add_does_not) {
  const auto once = [](std::uint64_t seed, bool atomic) {
    env::atomic<std::uint32_t> a;
    const auto body = [&a, atomic] {
      for (int i = 0; i != 10; ++i) {
        if (atomic) a.fetch_add(1, relaxed);
        else a.store(a.load(relaxed) + 1, relaxed);
      }
    };
    EXPECT_TRUE(run({body, body}, seeded(seed)).ok());
    return a.load(relaxed);
  };
  for (std::uint64_t seed = 0; seed != 10; ++seed) {
    EXPECT_EQ(once(seed, true), 20u);
    EXPECT_LT(once(seed, false), 20u) << "seed " << seed;
  }
}

TEST(round_robin, virtual_time_moves_by_one_tick_per_step) {
  run_options o;
  o.tick = nanoseconds{10};
  std::vector<std::uint64_t> times;
  const run_report r = run({[&] {
                                          for (int i = 0; i != 3; ++i) {
                                            times.push_back(since_epoch(env::now()));
                                            env::relax();
                                          }
                                        }},
                                        o);
  ASSERT_EQ(times.size(), 3u);
  EXPECT_EQ(times[1] - times[0], 10u);
  EXPECT_EQ(times[2] - times[1], 10u);
  EXPECT_EQ(since_epoch(r.end), since_epoch(env::now())) << "the clock goes on from run to run";
  EXPECT_EQ(since_epoch(run({}).begin), since_epoch(r.end));
}

TEST(round_robin, wait_event_wakes_at_a_write_of_another_task) {
  env::atomic<std::uint32_t> flag;
  int turns = 0;
  const run_report r = run({[&] {
                                           while (flag.load(acquire) == 0) {
                                             ++turns;
                                             env::wait_event(deadline::never());
                                           }
                                         },
                                         [&] {
                                           for (int i = 0; i != 50; ++i) env::relax();
                                           flag.store(1, release);
                                         }});
  EXPECT_TRUE(r.ok());
  EXPECT_EQ(turns, 1) << "it slept through the other task's pauses";
}

TEST(round_robin, when_all_sleep_time_jumps_to_the_first_deadline) {
  std::vector<int> woke;
  const auto sleeper = [&woke](int id, std::uint64_t ns) {
    return [&woke, id, ns] {
      const instant start = env::now();
      const deadline d = deadline::in(start, nanoseconds{ns});
      while (!d.passed(env::now())) env::wait_event(d);
      woke.push_back(id);
    };
  };
  const run_report r = run({sleeper(1, 3'000'000'000), sleeper(2, 1'000'000'000), sleeper(3, 2'000'000'000)});
  EXPECT_TRUE(r.ok());
  EXPECT_EQ(woke, (std::vector{2, 3, 1}));
  EXPECT_LT(r.steps, 20u) << "three seconds in a handful of steps";
  EXPECT_GE(since_epoch(r.end) - since_epoch(r.begin), 3'000'000'000u);
}

TEST(round_robin, two_mutexes_taken_in_opposite_order_are_reported_as_a_deadlock) {
  env::mutex a;
  env::mutex b;
  const auto take = [](env::mutex& first, env::mutex& second) {
    return [&first, &second] {
      first.lock();
      second.lock();
      second.unlock();
      first.unlock();
    };
  };
  const run_report r = run({take(a, b), take(b, a), [] {}});
  EXPECT_TRUE(r.deadlocked);
  EXPECT_FALSE(r.ok());
  EXPECT_EQ(r.finished, 1u);

  env::mutex c;
  env::mutex d;
  EXPECT_TRUE(run({take(c, d), take(c, d)}).ok());
}

TEST(round_robin, waiting_for_ones_own_guard_or_for_nobody_is_a_deadlock) {
  const run_report synchronize = run({[] {
    const env::rcu::guard g;
    env::rcu::synchronize();
  }});
  EXPECT_TRUE(synchronize.deadlocked);
  const run_report event = run({[] { env::wait_event(deadline::never()); }});
  EXPECT_TRUE(event.deadlocked);
  EXPECT_EQ(event.finished, 0u);
}

TEST(round_robin, a_task_that_spins_on_ends_at_the_step_limit) {
  env::atomic<std::uint32_t> never;
  for (const std::uint64_t seed : {0u, 7u}) {
    run_options o = limited(1000);
    o.seed = seed;
    const run_report r = run({[&] {
                                             while (never.load(acquire) == 0) env::relax();
                                           },
                                           [] {}},
                                          o);
    EXPECT_TRUE(r.step_limit_reached);
    EXPECT_FALSE(r.deadlocked);
    EXPECT_FALSE(r.ok());
    EXPECT_EQ(r.steps, 1000u);
    EXPECT_EQ(r.finished, 1u);
  }
}

TEST(round_robin, an_abandoned_run_leaves_the_next_one_untouched) {
  static env::rcu::head pending;
  const run_report first = round_robin::run(
      {[] {
        const env::rcu::guard g;
        env::rcu::retire(pending, [](env::rcu::head*) noexcept { ADD_FAILURE() << "the guard never ended"; });
        for (;;) env::relax();
      }},
      limited(500));
  EXPECT_TRUE(first.step_limit_reached);
  EXPECT_EQ(first.callbacks, 0u);
  EXPECT_EQ(first.callbacks_pending, 1u);
  const run_report second = run({[] { env::rcu::synchronize(); }});
  EXPECT_TRUE(second.ok());
  EXPECT_EQ(second.callbacks_pending, 0u);
}

TEST(round_robin, fail_is_counted_with_its_first_text_and_returns) {
  bool went_on = false;
  const run_report r = run({[&] {
    env::fail("first");
    env::fail("second");
    went_on = true;
  }});
  EXPECT_TRUE(went_on);
  EXPECT_EQ(r.failures, 2u);
  EXPECT_STREQ(r.first_failure, "first");
  EXPECT_FALSE(r.ok());
}

TEST(round_robin, no_tasks_are_a_finished_run) {
  const run_report r = run({});
  EXPECT_TRUE(r.ok());
  EXPECT_EQ(r.finished, 0u);
}

TEST(round_robin, stacks_that_cannot_be_had_are_reported_and_nothing_runs) {
  run_options o;
  o.stack_bytes = std::size_t{1} << 60;
  bool ran = false;
  const run_report r = run({[&] { ran = true; }}, o);
  EXPECT_TRUE(r.no_memory);
  EXPECT_FALSE(r.ok());
  EXPECT_FALSE(ran);
}

TEST(round_robin, cpu_is_the_index_of_the_task) {
  std::vector<unsigned> seen(3, 99);
  const auto task = [&seen](std::size_t i) {
    return [&seen, i] {
      env::relax();
      seen[i] = env::cpu();
    };
  };
  EXPECT_TRUE(run({task(0), task(1), task(2)}, seeded(3)).ok());
  EXPECT_EQ(seen, (std::vector<unsigned>{0, 1, 2}));
  EXPECT_EQ(env::cpu(), 0u);
}

TEST(round_robin, runs_on_several_threads_do_not_see_each_other) {
  std::vector<std::thread> all;
  std::vector<std::uint64_t> hashes(3);
  for (std::size_t t = 0; t != 3; ++t)
    all.emplace_back([t, &hashes] {
      env::atomic<std::uint32_t> a;
      const auto body = [&a] {
        for (int i = 0; i != 100; ++i) a.fetch_add(1, relaxed);
      };
      const run_report r = run({body, body}, seeded(5));
      EXPECT_TRUE(r.ok());
      EXPECT_EQ(a.load(relaxed), 200u);
      hashes[t] = r.trace_hash;
    });
  for (auto& t : all) t.join();
  EXPECT_EQ(hashes[0], hashes[1]);
  EXPECT_EQ(hashes[0], hashes[2]);
}

// Mutual exclusion, and whether this world can see that it is missing.
struct leaky_lock {
  env::atomic<std::uint32_t> held;
  void lock() {
    while (held.load(acquire) != 0) env::relax();
    held.store(1, release);  // two may come past the load
  }
  void unlock() { held.store(0, release); }
};
template <class Lock>
int meetings(std::uint64_t seed) {
  Lock lock;
  int inside = 0;
  int met = 0;
  int done = 0;
  const auto body = [&] {
    for (int i = 0; i != 20; ++i) {
      lock.lock();
      if (inside++ != 0) ++met;
      env::relax();
      --inside;
      ++done;
      lock.unlock();
    }
  };
  EXPECT_TRUE(round_robin::run({body, body, body}, seeded(seed)).ok());
  EXPECT_EQ(done, 60);
  return met;
}

TEST(spinlock, fibers_never_meet_in_the_section) {
  for (std::uint64_t seed = 0; seed != 30; ++seed) {
    EXPECT_EQ(meetings<spinlock<env>>(seed), 0) << seed;
    EXPECT_EQ(meetings<env::mutex>(seed), 0) << seed;
  }
}

#if !SHOOTDOWN_TSAN  // the data race is the point, and ThreadSanitizer reports it
TEST(spinlock, a_lock_of_a_load_and_a_store_is_caught_by_the_same_test) {
  int met = 0;
  for (std::uint64_t seed = 0; seed != 30; ++seed) met += meetings<leaky_lock>(seed);
  EXPECT_GT(met, 0);
}
#endif

TEST(spinlock, lock_until_gives_up_at_its_deadline_in_virtual_time) {
  spinlock<env> lock;
  bool got = true;
  instant gave_up{};
  deadline d;
  const run_report r = run({[&] {
                                           lock.lock();
                                           for (int i = 0; i != 500; ++i) env::relax();
                                           lock.unlock();
                                         },
                                         [&] {
                                           env::relax();
                                           d = deadline::in(env::now(), nanoseconds{100});
                                           got = lock.lock_until(d);
                                           gave_up = env::now();
                                         }});
  EXPECT_TRUE(r.ok());
  EXPECT_FALSE(got);
  EXPECT_TRUE(d.passed(gave_up));
  EXPECT_LT(since_epoch(gave_up) - since_epoch(d.at), 10u);
}

}  // namespace
