// SPDX-License-Identifier: MIT
// The environment of virtual time: runs that end, clocks, waiting, RCU, mutexes, preemption.
#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include <shootdown/sim/timed_env.hpp>

namespace {

using namespace shootdown;
using env = sim::timed_env;
using sim::timed_options;
using sim::timed_report;
using sim::timed_run;
using word = env::atomic<std::uint64_t>;
constexpr auto relaxed = std::memory_order_relaxed;
constexpr auto acquire = std::memory_order_acquire;
constexpr auto release = std::memory_order_release;

struct alignas(cache_line) line {
  word w{0};
};

timed_report run(std::vector<timed_run::task> tasks, const timed_options& o = {}) {
  timed_run r{o};
  return r(std::move(tasks));
}
std::uint64_t now() { return since_epoch(env::now()); }

TEST(timed_env, every_cpu_has_its_own_clock_and_number) {
  std::vector<std::uint64_t> clocks;
  std::vector<unsigned> cpus;
  std::vector<timed_run::task> tasks;
  for (unsigned cpu = 0; cpu != 256; ++cpu)
    tasks.push_back([&, cpu] {
      timed_run::spend(1000 - cpu);
      clocks.push_back(now());
      cpus.push_back(env::cpu());
    });
  const timed_report r = run(std::move(tasks));
  EXPECT_TRUE(r.ok());
  ASSERT_EQ(cpus.size(), 256u);
  for (unsigned cpu = 0; cpu != 256; ++cpu) {
    EXPECT_EQ(cpus[cpu], cpu);
    EXPECT_EQ(clocks[cpu], 1000 - cpu);
  }
}

TEST(timed_env, operations_happen_in_the_order_of_virtual_time) {
  line l;
  std::vector<std::uint64_t> seen(3);
  EXPECT_TRUE(run({[&] {
                     timed_run::spend(3000);
                     seen[0] = l.w.fetch_add(1, relaxed);
                   },
                   [&] {
                     timed_run::spend(1000);
                     seen[1] = l.w.fetch_add(1, relaxed);
                   },
                   [&] {
                     timed_run::spend(2000);
                     seen[2] = l.w.fetch_add(1, relaxed);
                   }})
                  .ok());
  EXPECT_EQ(seen, (std::vector<std::uint64_t>{2, 0, 1}));
}

TEST(timed_env, more_than_256_cpus_are_refused) {
  const timed_report r = run(std::vector<timed_run::task>(257, [] {}));
  EXPECT_FALSE(r.ok());
  EXPECT_STREQ(r.first_failure, "timed_run: more than 256 CPUs");
}

TEST(timed_env, a_run_is_used_once) {
  timed_run r;
  EXPECT_TRUE(r({[] {}}).ok());
  EXPECT_STREQ(r({[] {}}).first_failure, "timed_run: used twice");
}

TEST(timed_env, equal_seeds_give_equal_runs) {
  const auto once = [](std::uint64_t seed) {
    const auto l = std::make_unique<line>();
    std::vector<std::uint64_t> trail;
    std::vector<timed_run::task> tasks;
    for (unsigned cpu = 0; cpu != 20; ++cpu)
      tasks.push_back([&, cpu] {
        for (int n = 0; n != 50; ++n) {
          trail.push_back(l->w.fetch_add(cpu + 1, relaxed) * 1000 + now());
          timed_run::spend(cpu % 3);
        }
      });
    timed_options o{};
    o.seed = seed;
    const timed_report r = run(std::move(tasks), o);
    EXPECT_TRUE(r.ok());
    return std::pair{trail, r.events};
  };
  EXPECT_EQ(once(5), once(5));
  EXPECT_NE(once(5).first, once(6).first);
}

TEST(timed_env, a_cycle_of_mutexes_is_reported_and_does_not_hang) {
  env::mutex a, b;
  const auto both = [](env::mutex& first, env::mutex& second) {
    return [&first, &second] {
      first.lock();
      timed_run::spend(1000);
      second.lock();
      second.unlock();
      first.unlock();
    };
  };
  const timed_report r = run({both(a, b), both(b, a)});
  EXPECT_TRUE(r.deadlocked);
  EXPECT_FALSE(r.ok());
}

TEST(timed_env, a_wait_for_what_never_comes_ends_at_the_time_limit) {
  line l;
  timed_options o{};
  o.time_limit = nanoseconds{5'000'000};
  timed_report r = run({[&] {
                         while (l.w.load(acquire) == 0) env::relax();
                       }},
                       o);
  EXPECT_TRUE(r.time_limit_reached);
  EXPECT_LT(r.events, 200u);
  r = run({[&] {
             while (l.w.load(acquire) == 0) {  // not even a pause
             }
           },
           [&] { timed_run::spend(1000); }},
          o);
  EXPECT_TRUE(r.time_limit_reached);
}

TEST(timed_env, a_mutex_admits_one_at_a_time_in_the_order_of_arrival) {
  env::mutex m;
  std::vector<unsigned> entered;
  unsigned inside = 0;
  std::vector<timed_run::task> tasks;
  for (unsigned cpu = 0; cpu != 6; ++cpu)
    tasks.push_back([&, cpu] {
      timed_run::spend(500 * cpu);
      m.lock();
      EXPECT_EQ(++inside, 1u);
      entered.push_back(cpu);
      timed_run::spend(5000);
      static_cast<void>(env::now());
      --inside;
      m.unlock();
    });
  const timed_report r = run(std::move(tasks));
  EXPECT_TRUE(r.ok());
  EXPECT_EQ(entered, (std::vector<unsigned>{0, 1, 2, 3, 4, 5}));
  EXPECT_GE(since_epoch(r.end), 30'000u);
}

TEST(timed_env, wait_event_ends_at_its_deadline) {
  std::uint64_t woke = 0;
  EXPECT_TRUE(run({[&] {
                for (const deadline d = deadline::in(env::now(), nanoseconds{777'777}); !d.passed(env::now());) env::wait_event(d);
                woke = now();
              }}).ok());
  EXPECT_EQ(woke, 777'777u);
}

struct object : env::rcu::head {
  bool* gone{};
  std::uint64_t* at{};
};
void reclaim(env::rcu::head* h) noexcept {
  auto* const o = static_cast<object*>(h);
  *o->gone = true;
  *o->at = since_epoch(env::now());
}

TEST(timed_env, callbacks_run_when_the_guards_that_existed_are_gone) {
  object o;
  bool gone = false, seen_gone_inside = true, gone_after_retire = true;
  std::uint64_t at = 0, left = 0;
  o.gone = &gone;
  o.at = &at;
  EXPECT_TRUE(run({[&] {
                     const env::rcu::guard outer;
                     {
                       const env::rcu::guard inner;
                       timed_run::spend(10'000);
                     }
                     timed_run::spend(10'000);
                     seen_gone_inside = gone;
                     left = now();
                   },
                   [&] {
                     timed_run::spend(1000);
                     env::rcu::retire(o, &reclaim);
                     gone_after_retire = gone;
                     env::rcu::drain();
                     EXPECT_TRUE(gone);
                   }})
                  .ok());
  EXPECT_FALSE(gone_after_retire);
  EXPECT_FALSE(seen_gone_inside);
  EXPECT_TRUE(gone);
  EXPECT_GE(at, left);
}

TEST(timed_env, synchronize_waits_for_old_guards_and_not_for_new_ones) {
  std::uint64_t synchronized = 0;
  EXPECT_TRUE(run({[&] {
                     const env::rcu::guard g;
                     timed_run::spend(10'000);
                   },
                   [&] {
                     timed_run::spend(100);
                     env::rcu::synchronize();
                     synchronized = now();
                   },
                   [&] {
                     timed_run::spend(5000);
                     const env::rcu::guard younger;
                     timed_run::spend(1'000'000);
                   }})
                  .ok());
  EXPECT_GE(synchronized, 10'000u);
  EXPECT_LT(synchronized, 12'000u);
}

TEST(timed_env, synchronize_inside_a_guard_is_a_violation) {
  const timed_report r = run({[] {
    const env::rcu::guard g;
    env::rcu::synchronize();
  }});
  EXPECT_EQ(r.failures, 1u);
  EXPECT_STREQ(r.first_failure, "rcu::synchronize inside a guard never ends");
}

TEST(timed_env, fail_is_recorded_and_returns) {
  bool went_on = false;
  const timed_report r = run({[&] {
    env::fail("first");
    env::fail("second");
    went_on = true;
  }});
  EXPECT_TRUE(went_on);
  EXPECT_EQ(r.failures, 2u);
  EXPECT_STREQ(r.first_failure, "first");
}

TEST(timed_env, a_preempted_cpu_loses_time_at_its_first_store_to_device_memory_under_an_irq_guard) {
  struct alignas(cache_line) {
    env::dma_word w{};
  } memory;
  line ordinary;
  timed_options o{};
  o.preempted_in_1000 = 1000;
  o.preempted_for = nanoseconds{50'000};
  std::vector<std::uint64_t> took;
  const auto cost = [&](auto&& f) {
    const std::uint64_t before = now();
    f();
    took.push_back(now() - before);
  };
  const timed_report r = run({[&] {
                               memory.w.store(1, relaxed);
                               ordinary.w.store(1, relaxed);
                               {
                                 const env::irq_guard off;
                                 cost([&] { ordinary.w.fetch_add(1, relaxed); });
                                 cost([&] { memory.w.store(2, relaxed); });
                                 cost([&] { memory.w.store(3, relaxed); });
                               }
                               cost([&] { memory.w.store(4, relaxed); });
                               const env::irq_guard outer;
                               const env::irq_guard inner;
                               cost([&] { memory.w.store(5, relaxed); });
                             }},
                             o);
  EXPECT_TRUE(r.ok());
  EXPECT_EQ(took, (std::vector<std::uint64_t>{5, 50'001, 1, 1, 50'001}));
  EXPECT_EQ(r.preemptions, 2u);
}

TEST(timed_env, between_runs_operations_act_at_once) {
  line l;
  EXPECT_EQ(l.w.fetch_add(3, relaxed), 0u);
  std::uint64_t expected = 3;
  EXPECT_TRUE(l.w.compare_exchange_strong(expected, 8, release, relaxed));
  EXPECT_EQ(l.w.load(relaxed), 8u);
  object o;
  bool gone = false;
  std::uint64_t at = 0;
  o.gone = &gone;
  o.at = &at;
  {
    const env::rcu::guard g;
  }
  env::rcu::retire(o, &reclaim);
  env::rcu::synchronize();
  env::rcu::drain();
  EXPECT_TRUE(gone);
  env::mutex m;
  m.lock();
  m.unlock();
  env::relax();
  env::wait_event(deadline::never());
  EXPECT_EQ(since_epoch(env::now()), 0u);
}

TEST(timed_env, counters_of_the_library_end_up_in_the_report) {
  const timed_report r = run({[] { env::stats::add(counter::doorbells, 3); }, [] { env::stats::add(counter::doorbells); }});
  EXPECT_EQ(r.count(counter::doorbells), 4u);
  EXPECT_EQ(r.count(counter::syncs), 0u);
}

}  // namespace
