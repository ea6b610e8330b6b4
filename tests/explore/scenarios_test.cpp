// SPDX-License-Identifier: MIT
// Every scenario holds in a fixed number of schedules, in both memory models and under each driver; every broken twin is found,
// and its schedule finds it again.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <shootdown/env/sanitizer.hpp>
#include <shootdown/sim/drivers.hpp>
#include <shootdown/sim/explore.hpp>
#include <shootdown/sim/schedule.hpp>

#include "scenarios/all.hpp"

#if SHOOTDOWN_ASAN
// A failed trial is abandoned with its stacks, and what these held is unreachable: the twins leak by design.
extern "C" int __lsan_is_turned_off();  // NOLINT(bugprone-reserved-identifier): the run-time's own name
extern "C" int __lsan_is_turned_off() { return 1; }
#endif

namespace {
using namespace shootdown;
using scenarios::entry;

// A step costs far more under a sanitizer, and what its schedules would add is found by the plain build.
constexpr std::uint64_t share = SHOOTDOWN_TSAN || SHOOTDOWN_ASAN ? 20 : 1;
constexpr std::uint64_t enough = 150'000 / share;  // steps under one driver
constexpr std::uint64_t patience = 6'000'000;      // steps until a twin must have been found
constexpr unsigned most_interferences = 4;

std::vector<const entry*> chosen(bool broken) {
  std::vector<const entry*> list;
  for (const entry& e : scenarios::all())
    if (e.broken() == broken) list.push_back(&e);
  return list;
}
std::string spell(std::string_view name) {
  std::string s{name};
  std::replace_if(s.begin(), s.end(), [](char c) { return c == '.' || c == '-'; }, '_');
  return s;
}
sim::trial_options options_of(const entry& e, sim::memory_model m) {
  sim::trial_options o;
  o.memory = m;
  o.interrupts = e.interrupts;
  o.step_limit = 20'000;
  return o;
}
std::string text(const sim::failure& f) {
  std::string s = f.what + "\n" + f.schedule;
  const std::size_t shown = 80;
  for (std::size_t i = f.steps.size() > shown ? f.steps.size() - shown : 0; i != f.steps.size(); ++i) s += "\n" + f.steps[i];
  return s;
}
/// One more interference after another, as long as the budget lasts.
sim::exploration depth_first(const entry& e, const sim::trial_options& o, std::uint64_t steps) {
  sim::exploration sum;
  for (unsigned bound = 0; bound <= most_interferences && sum.steps < steps && sum.ok(); ++bound) {
    sim::dfs driver{bound};
    sum += sim::explore(e.play, driver, o, {.steps = steps - sum.steps});
  }
  return sum;
}
sim::exploration by_priority(const entry& e, const sim::trial_options& o, std::uint64_t steps, std::uint64_t seed) {
  sim::pct driver{3, seed};
  return sim::explore(e.play, driver, o, {.steps = steps});
}
sim::exploration by_chance(const entry& e, const sim::trial_options& o, std::uint64_t steps, std::uint64_t seed) {
  sim::random_walk driver{seed};
  return sim::explore(e.play, driver, o, {.steps = steps});
}

using given = std::pair<const entry*, sim::memory_model>;
std::string name_of(const ::testing::TestParamInfo<given>& i) {
  return spell(i.param.first->play.name) + (i.param.second == sim::memory_model::weak ? "_weak" : "");
}
std::vector<given> in_both(const std::vector<const entry*>& list, bool broken) {
  std::vector<given> all;
  for (const entry* e : list) {
    if (!broken || !e->weak_only) all.emplace_back(e, sim::memory_model::sequential);
    all.emplace_back(e, sim::memory_model::weak);
  }
  return all;
}

class scenario : public ::testing::TestWithParam<given> {};
INSTANTIATE_TEST_SUITE_P(all, scenario, ::testing::ValuesIn(in_both(chosen(false), false)), name_of);

TEST_P(scenario, holds) {
  const auto& [e, memory] = GetParam();
  const sim::trial_options o = options_of(*e, memory);
  std::uint64_t trials = 0;
  for (const auto& r : {depth_first(*e, o, enough), by_priority(*e, o, enough, 1), by_chance(*e, o, enough, 1)}) {
    EXPECT_TRUE(r.ok()) << text(*r.failure);
    trials += r.trials;
  }
  EXPECT_GT(trials, 3u) << "one schedule proves nothing";
}

class twin : public ::testing::TestWithParam<given> {};
INSTANTIATE_TEST_SUITE_P(all, twin, ::testing::ValuesIn(in_both(chosen(true), true)), name_of);

TEST_P(twin, is_found_and_its_schedule_finds_it_again) {
  const auto& [e, memory] = GetParam();
  const sim::trial_options o = options_of(*e, memory);
  sim::exploration sum = e->small ? depth_first(*e, o, enough) : sim::exploration{};
  for (std::uint64_t seed = 1; sum.ok() && sum.steps < patience; ++seed) {
    sum += by_priority(*e, o, enough, seed);
    if (sum.ok()) sum += by_chance(*e, o, enough, seed);
  }
  ASSERT_FALSE(sum.ok()) << "the explorer does not see it in " << sum.trials << " trials: what " << e->twin_of << " proves is worth less";
  EXPECT_TRUE(sum.failure->repeats);
  EXPECT_FALSE(sum.failure->steps.empty());
  const auto parsed = sim::parse_schedule(sum.failure->schedule);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->scenario, e->play.name);
  const auto again = sim::replay(e->play, *parsed);
  ASSERT_TRUE(again.ok()) << again.status();
  ASSERT_TRUE(again->has_value()) << sum.failure->schedule;
  EXPECT_EQ((*again)->what, sum.failure->what);
  EXPECT_EQ((*again)->steps.size(), sum.failure->steps.size()) << "the same steps, but for addresses";
}

TEST(collection, names_are_those_of_schedules_and_every_twin_belongs_to_a_scenario_that_holds) {
  std::vector<std::string_view> names;
  for (const entry& e : scenarios::all()) {
    EXPECT_EQ(e.play.name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_.-"), std::string_view::npos) << e.play.name;
    EXPECT_FALSE(e.play.about.empty()) << e.play.name;
    EXPECT_EQ(scenarios::find(e.play.name), &e) << "two of one name: " << e.play.name;
    if (!e.broken()) continue;
    const entry* const of = scenarios::find(e.twin_of);
    ASSERT_NE(of, nullptr) << e.play.name;
    EXPECT_FALSE(of->broken()) << e.play.name;
  }
  EXPECT_EQ(scenarios::find("nothing"), nullptr);
}

}  // namespace
