// SPDX-License-Identifier: MIT
#include <array>
#include <cstdint>
#include <set>
#include <string>
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

struct words {
  env::atomic<std::uint32_t> x, y;
};
/// Needs three ordered steps of two flows in the middle of a long trial.
const sim::scenario deep{"deep", "", [](trial& t) {
                           auto& w = t.make<words>();
                           t.cpu("a", [&] {
                             for (int i = 0; i != 40; ++i) (void)w.y.load(relaxed);
                             w.x.store(1, relaxed);
                             w.x.store(0, relaxed);
                           });
                           t.cpu("b", [&] {
                             for (int i = 0; i != 40; ++i) (void)w.y.load(relaxed);
                             t.require(w.x.load(relaxed) == 0, "the window was hit");
                           });
                           t.go();
                         }};

}  // namespace

TEST(drivers, pct_and_random_walks_find_a_window_and_are_repeatable) {
  for (std::uint64_t seed = 1; seed != 4; ++seed) {
    sim::pct p{3, seed}, q{3, seed};
    const auto a = sim::explore(deep, p, {}, {.trials = 20'000});
    const auto b = sim::explore(deep, q, {}, {.trials = 20'000});
    ASSERT_FALSE(a.ok());
    ASSERT_FALSE(b.ok());
    EXPECT_EQ(a.trials, b.trials);
    EXPECT_EQ(a.failure->schedule, b.failure->schedule);
    EXPECT_TRUE(a.failure->repeats);
    sim::random_walk r{seed};
    const auto c = sim::explore(deep, r, {}, {.trials = 20'000});
    ASSERT_FALSE(c.ok());
    EXPECT_TRUE(c.failure->repeats);
  }
}

TEST(drivers, dfs_without_a_bound_visits_every_order_once) {
  std::multiset<std::string> orders;
  const sim::scenario s{"orders", "", [&](trial& t) {
                          auto& w = t.make<words>();
                          std::string order;
                          for (const char* name : {"a", "b", "c"})
                            t.cpu(name, [&, name] {
                              for (int i = 0; i != 2; ++i) {
                                w.x.fetch_add(1, relaxed);
                                const tsan_ignore quiet;  // the test's own notes
                                order += name;
                              }
                            });
                          t.go();
                          orders.insert(order);
                        }};
  sim::dfs all{100};
  const auto e = sim::explore(s, all, {});
  EXPECT_EQ(e.trials, 90u);  // 6! / 2!^3
  EXPECT_EQ(std::set<std::string>(orders.begin(), orders.end()).size(), 90u);
}

TEST(drivers, bytes_decide_and_short_inputs_are_quiet) {
  const std::array<std::uint8_t, 1> none{0xbf};
  sim::byte_driver quiet{none};
  EXPECT_TRUE(sim::explore(deep, quiet, {}).ok());
  // Flow a runs 40 loads and one store, then b is let in.
  std::set<std::string> found;
  for (unsigned wait = 0; wait != 128; ++wait) {
    const std::array<std::uint8_t, 2> input{static_cast<std::uint8_t>(wait), 0xc0};
    sim::byte_driver d{input};
    const auto e = sim::explore(deep, d, {});
    EXPECT_LE(d.used(), 2u);
    if (!e.ok()) found.insert(e.failure->schedule);
  }
  EXPECT_FALSE(found.empty());
  sim::byte_driver empty{{}};
  EXPECT_TRUE(sim::explore(deep, empty, {}).exhausted);
}

TEST(schedule, text_and_back) {
  sim::schedule s;
  s.scenario = "attach_against_unmap.locked";
  s.options.memory = sim::memory_model::weak;
  s.options.step_limit = 1234;
  s.options.interrupts = 3;
  s.options.allocation_failures = 2;
  s.options.weak = {.staleness = 5, .placement = true, .coherent = false};
  s.options.spurious_failures = true;
  s.deviations = {{17, 1}, {230, 2}};
  const std::string text = sim::to_string(s);
  EXPECT_EQ(text, "sd1/attach_against_unmap.locked/wl1234i3s5a2pnc/17=1,230=2");
  const auto back = sim::parse_schedule(text);
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(sim::to_string(*back), text);
  EXPECT_EQ(back->deviations, s.deviations);
  EXPECT_TRUE(sim::parse_schedule("sd1/x/m/").ok());
}

TEST(schedule, malformed_text_is_refused_with_the_position) {
  struct bad {
    const char* text;
    const char* expected;
  };
  for (const bad& b :
       {bad{"", "position 1: `sd1/`"}, bad{"sd2/x/m/", "position 1: `sd1/`"}, bad{"sd1/", "position 5: a scenario's name"},
        bad{"sd1//m/", "position 5: a scenario's name"}, bad{"sd1/x/", "position 7: `m` or `w`"}, bad{"sd1/x/q/", "position 7: `m` or `w`"},
        bad{"sd1/x/m", "position 8: `/`"}, bad{"sd1/x/mz/", "position 8: an option"}, bad{"sd1/x/ml/", "position 9: a number"},
        bad{"sd1/x/ml99999999999999999999/", "position 9: a number"}, bad{"sd1/x/m/x", "position 9: the number of a decision"},
        bad{"sd1/x/m/1", "position 10: `=`"}, bad{"sd1/x/m/1=0", "position 11: an answer from 1 on"},
        bad{"sd1/x/m/1=1 ", "position 12: `,` or the end"}, bad{"sd1/x/m/1=1,", "position 13: the number of a decision"},
        bad{"sd1/x/m/5=1,5=1", "position 13: a decision after the one before"}}) {
    const auto s = sim::parse_schedule(b.text);
    ASSERT_FALSE(s.ok()) << b.text;
    EXPECT_THAT(std::string{s.status().message()}, HasSubstr(b.expected)) << b.text;
  }
}

TEST(schedule, one_that_does_not_fit_the_scenario_is_an_error_and_not_another_trial) {
  for (const char* text : {"sd1/deep/ml200000i1s2/100000=1", "sd1/deep/ml200000i1s2/3=7"}) {
    const auto s = sim::parse_schedule(text);
    ASSERT_TRUE(s.ok());
    EXPECT_FALSE(sim::replay(deep, *s).ok()) << text;
  }
}

TEST(site_table, a_weakened_order_a_removed_fence_and_what_was_executed) {
  // Message passing: the release store and the acquire load stand on lines of their own.
  std::uint32_t store_line = 0, fence_line = 0;
  const sim::scenario mp{"mp", "", [&](trial& t) {
                           auto& w = t.make<words>();
                           t.cpu("writer", [&] {
                             w.x.store(1, relaxed);
                             store_line = __LINE__ + 1;
                             w.y.store(1, std::memory_order_release);
                           });
                           t.cpu("reader", [&] {
                             if (w.y.load(std::memory_order_acquire) == 1)
                               t.require(w.x.load(relaxed) == 1, "the flag came before the data");
                           });
                           t.go();
                         }};
  const sim::scenario sb{"sb", "", [&](trial& t) {
                           auto& w = t.make<words>();
                           unsigned a = 9, b = 9;
                           t.cpu("a", [&] {
                             w.x.store(1, relaxed);
                             fence_line = __LINE__ + 1;
                             env::full_fence();
                             a = w.y.load(relaxed);
                           });
                           t.cpu("b", [&] {
                             w.y.store(1, relaxed);
                             env::full_fence();
                             b = w.x.load(relaxed);
                           });
                           t.go();
                           t.require(a + b != 0, "both read zero");
                         }};
  sim::trial_options o;
  o.memory = sim::memory_model::weak;
  const auto run = [&](const sim::scenario& s) {
    sim::dfs d{100};
    return sim::explore(s, d, o);
  };
  sim::sites().record(true);
  EXPECT_TRUE(run(mp).ok());
  EXPECT_TRUE(run(sb).ok());
  sim::sites().record(false);
  const auto recorded = sim::sites().recorded();
  const auto has = [&](std::uint32_t line, sim::site::what kind) {
    return std::any_of(recorded.begin(), recorded.end(), [&](const sim::site& s) {
      return s.file == "sim/drivers_test.cpp" && s.line == line && s.kind == kind && s.executed > 0;
    });
  };
  EXPECT_TRUE(has(store_line, sim::site::what::store));
  EXPECT_TRUE(has(fence_line, sim::site::what::fence));

  sim::sites().change({"sim/drivers_test.cpp", store_line, 0, false, std::memory_order_release, std::memory_order_relaxed});
  const auto weakened = run(mp);
  EXPECT_GT(sim::sites().applied(), 0u);
  sim::sites().restore();
  ASSERT_FALSE(weakened.ok());
  EXPECT_EQ(weakened.failure->what, "the flag came before the data");

  sim::sites().change({"sim/drivers_test.cpp", fence_line, 0, true, {}, {}});
  const auto unfenced = run(sb);
  sim::sites().restore();
  ASSERT_FALSE(unfenced.ok());
  EXPECT_TRUE(run(mp).ok());
  EXPECT_TRUE(run(sb).ok());
}
