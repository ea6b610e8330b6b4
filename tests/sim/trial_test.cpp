// SPDX-License-Identifier: MIT
#include <cstdint>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <shootdown/sim/env.hpp>
#include <shootdown/sim/explore.hpp>

namespace {
using namespace shootdown;
using sim::env;
using sim::trial;
using ::testing::HasSubstr;

constexpr auto relaxed = std::memory_order_relaxed;
constexpr auto acquire = std::memory_order_acquire;
constexpr auto release = std::memory_order_release;

struct two_words {
  env::atomic<std::uint32_t> x, y;
};

sim::exploration all_of(std::function<void(trial&)> body, unsigned bound = 1000, sim::trial_options o = {}) {
  sim::dfs driver{bound};
  return sim::explore({"case", "", std::move(body)}, driver, o);
}
sim::trial_options weak() {
  sim::trial_options o;
  o.memory = sim::memory_model::weak;
  return o;
}

}  // namespace

TEST(trial, every_interleaving_of_two_flows_is_tried_exactly_once) {
  // Two flows of three steps each: 6! / (3! 3!) = 20 orders.
  std::set<std::string> orders;
  const auto e = all_of([&](trial& t) {
    auto& w = t.make<two_words>();
    std::string order;
    for (const char* name : {"a", "b"})
      t.cpu(name, [&, name] {
        for (int i = 0; i != 3; ++i) {
          w.x.fetch_add(1, relaxed);
          const tsan_ignore quiet;  // the test's own notes
          order += name;
        }
      });
    t.go();
    EXPECT_TRUE(orders.insert(order).second) << order << " twice";
  });
  EXPECT_TRUE(e.exhausted);
  EXPECT_EQ(e.trials, 20u);
  EXPECT_EQ(orders.size(), 20u);
}

TEST(trial, a_bound_counts_preemptions_only) {
  // Without preemptions: who is first (2). With one: 2 * 3 * ... the running one is left after its 1st or 2nd step.
  for (const auto& [bound, expected] : {std::pair{0u, 2u}, {1u, 6u}, {2u, 14u}, {3u, 18u}, {4u, 20u}}) {
    const auto e = all_of(
        [&](trial& t) {
          auto& w = t.make<two_words>();
          for (const char* name : {"a", "b"})
            t.cpu(name, [&] {
              for (int i = 0; i != 3; ++i) w.x.fetch_add(1, relaxed);
            });
          t.go();
        },
        bound);
    EXPECT_TRUE(e.exhausted);
    EXPECT_EQ(e.trials, expected) << "bound " << bound;
  }
}

TEST(trial, a_lost_update_is_found_and_its_schedule_repeats_it) {
  const sim::scenario lost{"lost", "", [](trial& t) {
                             auto& w = t.make<two_words>();
                             for (const char* name : {"a", "b"}) t.cpu(name, [&] { w.x.store(w.x.load(relaxed) + 1, relaxed); });
                             t.go();
                             t.require(w.x.load(relaxed) == 2, "an update was lost");
                           }};
  sim::dfs driver{2};
  const auto e = sim::explore(lost, driver, {});
  ASSERT_FALSE(e.ok());
  EXPECT_EQ(e.failure->what, "an update was lost");
  EXPECT_TRUE(e.failure->repeats);
  EXPECT_THAT(e.failure->steps.front(), HasSubstr("trial_test.cpp:"));
  const auto parsed = sim::parse_schedule(e.failure->schedule);
  ASSERT_TRUE(parsed.ok());
  for (int i = 0; i != 3; ++i) {
    const auto again = sim::replay(lost, *parsed);
    ASSERT_TRUE(again.ok());
    ASSERT_TRUE(again->has_value());
    EXPECT_EQ((*again)->schedule, e.failure->schedule);
    EXPECT_EQ((*again)->steps, e.failure->steps);
  }
}

TEST(trial, a_deadlock_is_reported_with_its_steps) {
  const auto e = all_of([](trial& t) {
    struct locks {
      env::mutex a, b;
    };
    auto& l = t.make<locks>();
    t.cpu("ab", [&] {
      l.a.lock();
      l.b.lock();
      l.b.unlock();
      l.a.unlock();
    });
    t.cpu("ba", [&] {
      l.b.lock();
      l.a.lock();
      l.a.unlock();
      l.b.unlock();
    });
    t.go();
  });
  ASSERT_FALSE(e.ok());
  EXPECT_THAT(e.failure->what, HasSubstr("deadlock"));
  EXPECT_TRUE(e.failure->repeats);
}

TEST(trial, waiting_for_what_never_comes_is_a_livelock_and_spinning_without_waiting_hits_the_step_limit) {
  const auto waits = all_of([](trial& t) {
    auto& w = t.make<two_words>();
    t.cpu("waits", [&] {
      while (w.x.load(acquire) == 0) env::relax();
    });
    t.go();
  });
  ASSERT_FALSE(waits.ok());
  EXPECT_THAT(waits.failure->what, HasSubstr("livelock"));
  sim::trial_options few;
  few.step_limit = 1000;
  const auto spins = all_of(
      [](trial& t) {
        auto& w = t.make<two_words>();
        t.cpu("spins", [&] {
          while (w.x.load(acquire) == 0) w.y.fetch_add(1, relaxed);
        });
        t.go();
      },
      0, few);
  ASSERT_FALSE(spins.ok());
  EXPECT_THAT(spins.failure->what, HasSubstr("step limit"));
}

TEST(trial, time_jumps_to_deadlines_when_everybody_waits) {
  instant end{};
  const auto e = all_of([&](trial& t) {
    t.cpu("sleeps", [&] {
      const deadline d = deadline::in(env::now(), nanoseconds{5'000'000'000});
      while (!d.passed(env::now())) env::wait_event(d);
      end = env::now();
    });
    t.go();
  });
  EXPECT_TRUE(e.ok());
  EXPECT_GE(since_epoch(end), 5'000'000'000u);
  EXPECT_LT(e.steps, 200u);
}

TEST(trial, a_waiting_flow_costs_nothing_until_somebody_changes_a_value) {
  const auto e = all_of([&](trial& t) {
    auto& w = t.make<two_words>();
    t.cpu("waits", [&] {
      while (w.x.load(acquire) == 0) env::relax();
    });
    t.cpu("works", [&] {
      for (int i = 0; i != 10; ++i) (void)w.y.load(relaxed);
      w.x.store(1, release);
    });
    t.go();
  });
  EXPECT_TRUE(e.ok());
  EXPECT_TRUE(e.exhausted);
  EXPECT_LT(e.trials, 40u) << "the loop of the waiter adds no orders of its own";
}

TEST(trial, a_mutex_excludes_and_hands_over_what_its_holder_knew) {
  for (const auto& o : {sim::trial_options{}, weak()}) {
    const auto e = all_of(
        [](trial& t) {
          struct guarded {
            env::mutex m;
            env::atomic<std::uint32_t> n;
          };
          auto& g = t.make<guarded>();
          for (const char* name : {"a", "b"})
            t.cpu(name, [&] {
              g.m.lock();
              g.n.store(g.n.load(relaxed) + 1, relaxed);
              g.m.unlock();
            });
          t.go();
          t.require(g.n.load(relaxed) == 2, "lost");
        },
        1000, o);
    EXPECT_TRUE(e.ok()) << e.failure->what;
    EXPECT_TRUE(e.exhausted);
  }
}

TEST(trial, an_interrupt_comes_before_any_step_but_not_inside_a_guard) {
  std::set<std::uint32_t> seen;
  const auto e = all_of([&](trial& t) {
    auto& w = t.make<two_words>();
    std::uint32_t at = 99;
    t.cpu("cpu", [&] {
      w.x.store(1, relaxed);
      {
        env::irq_guard off;
        w.x.store(2, relaxed);
        w.x.store(3, relaxed);
      }
      w.x.store(4, relaxed);
    });
    t.interrupt(0, [&] { at = w.x.load(relaxed); });
    t.go();
    seen.insert(at);
  });
  EXPECT_TRUE(e.exhausted);
  EXPECT_EQ(seen, (std::set<std::uint32_t>{99, 0, 3})) << "none, before the first step, after the guard";
}

TEST(trial, interrupts_are_limited_and_do_not_nest) {
  unsigned most = 0;
  sim::trial_options o;
  o.interrupts = 2;
  const auto e = all_of(
      [&](trial& t) {
        auto& w = t.make<two_words>();
        unsigned count = 0, inside = 0;
        t.cpu("cpu", [&] {
          for (int i = 0; i != 4; ++i) w.x.fetch_add(1, relaxed);
        });
        t.interrupt(0, [&] {
          t.require(inside++ == 0, "nested");
          w.y.fetch_add(1, relaxed);
          ++count;
          --inside;
        });
        t.go();
        most = std::max(most, count);
      },
      1000, o);
  EXPECT_TRUE(e.ok());
  EXPECT_EQ(most, 2u);
}

TEST(trial, allocations_fail_where_the_chooser_says) {
  sim::trial_options o;
  o.allocation_failures = 1;
  std::set<std::string> outcomes;
  const auto e = all_of(
      [&](trial& t) {
        std::string got;
        t.cpu("cpu", [&] {
          for (int i = 0; i != 3; ++i) {
            void* const p = env::allocate(8, 8);
            got += p != nullptr ? '1' : '0';
            if (p != nullptr) env::deallocate(p, 8, 8);
          }
        });
        t.go();
        outcomes.insert(got);
      },
      1000, o);
  EXPECT_EQ(outcomes, (std::set<std::string>{"111", "011", "101", "110"}));
  EXPECT_EQ(e.trials, 4u);
}

TEST(trial, fail_of_the_environment_fails_the_trial) {
  const auto e = all_of([](trial& t) {
    t.cpu("cpu", [] { env::fail("somebody broke a contract"); });
    t.go();
  });
  ASSERT_FALSE(e.ok());
  EXPECT_EQ(e.failure->what, "somebody broke a contract");
}

TEST(trial, agents_run_while_cpus_do_and_end_with_them) {
  const auto e = all_of([](trial& t) {
    auto& w = t.make<two_words>();
    t.cpu("cpu", [&] {
      w.x.store(1, release);
      while (w.y.load(acquire) == 0) env::relax();
    });
    t.agent("device", [&] {
      if (w.x.load(acquire) == 0 || w.y.load(relaxed) != 0) return false;
      w.y.store(1, release);
      return true;
    });
    t.go();
  });
  EXPECT_TRUE(e.ok()) << e.failure->what;
  EXPECT_TRUE(e.exhausted);
}

namespace {
struct node : env::rcu::head {
  env::atomic<std::uint32_t> alive{1};
};
struct published {
  env::atomic<node*> slot{};
  node first{}, second{};
};
void kill(env::rcu::head* h) noexcept { static_cast<node*>(h)->alive.store(0, relaxed); }
void readers_and_reclamation(trial& t, bool guarded, bool waits) {
  auto& p = t.make<published>();
  p.slot.store(&p.first, relaxed);
  t.cpu("reader", [&] {
    const auto use = [&] {
      node* const n = env::rcu::dereference(p.slot);
      t.require(n->alive.load(relaxed) == 1, "a reader saw a reclaimed object");
    };
    if (guarded) {
      const env::rcu::guard g;
      use();
    } else {
      use();
    }
  });
  t.cpu("writer", [&] {
    env::rcu::publish(p.slot, &p.second);
    if (waits) {
      env::rcu::synchronize();
      kill(&p.first);
    } else {
      env::rcu::retire(p.first, &kill);
    }
  });
  t.go();
}
}  // namespace

TEST(trial, reclamation_waits_for_readers_and_for_nothing_else) {
  for (const auto& o : {sim::trial_options{}, weak()})
    for (const bool waits : {false, true}) {
      const auto good = all_of([&](trial& t) { readers_and_reclamation(t, true, waits); }, 1000, o);
      EXPECT_TRUE(good.ok()) << good.failure->what;
      EXPECT_TRUE(good.exhausted);
      const auto bad = all_of([&](trial& t) { readers_and_reclamation(t, false, waits); }, 1000, o);
      ASSERT_FALSE(bad.ok());
      EXPECT_EQ(bad.failure->what, "a reader saw a reclaimed object");
    }
}

TEST(trial, a_load_of_what_was_overwritten_long_ago_ends_when_its_loop_goes_round) {
  // Weak memory may show an old value, but not for ever: the loop ends in every trial.
  const auto e = all_of(
      [](trial& t) {
        auto& w = t.make<two_words>();
        t.cpu("sets", [&] { w.x.store(1, relaxed); });
        t.cpu("waits", [&] {
          while (w.x.load(relaxed) == 0) env::relax();
        });
        t.go();
      },
      1000, weak());
  EXPECT_TRUE(e.ok()) << e.failure->what;
  EXPECT_TRUE(e.exhausted);
}

TEST(trial, too_many_observers_are_refused) {
  const auto e = all_of([](trial& t) {
    for (unsigned i = 0; i != sim::max_observers; ++i) t.cpu("cpu", [] {});
    t.go();
  });
  ASSERT_FALSE(e.ok());
  EXPECT_THAT(e.failure->what, HasSubstr("max_observers"));
}

TEST(trial, outside_of_a_run_the_environment_works_for_one_flow) {
  two_words w;
  w.x.store(3, release);
  EXPECT_EQ(w.x.fetch_add(2, relaxed), 3u);
  std::uint32_t expected = 4;
  EXPECT_FALSE(w.x.compare_exchange_strong(expected, 9, acquire, relaxed));
  EXPECT_EQ(expected, 5u);
  const instant before = env::now();
  env::relax();
  EXPECT_GT(since_epoch(env::now()), since_epoch(before));
  node n;
  {
    const env::rcu::guard g;
    env::rcu::retire(n, &kill);
    EXPECT_EQ(n.alive.load(relaxed), 1u);
  }
  EXPECT_EQ(n.alive.load(relaxed), 0u);
}
