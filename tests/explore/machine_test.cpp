// SPDX-License-Identifier: MIT
// The whole stack beyond what scenarios_test does with every scenario: stores that enter late, an SMMU that does not snoop, failing
// compare-exchanges; and that the world would notice what it is there for.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include <shootdown/env/sanitizer.hpp>
#include <shootdown/sim/drivers.hpp>
#include <shootdown/sim/explore.hpp>
#include <shootdown/sim/schedule.hpp>

#include "scenarios/all.hpp"
#include "scenarios/machine.hpp"

namespace {
using namespace shootdown;
using scenarios::entry;

constexpr std::uint64_t share = SHOOTDOWN_TSAN || SHOOTDOWN_ASAN ? 20 : 1;
constexpr std::uint64_t enough = 100'000 / share;  // steps under one driver
constexpr std::uint64_t patience = 6'000'000;      // steps until a twin must have been found

const scenarios::collection& machines() {
  static const scenarios::collection list = [] {
    scenarios::collection c;
    scenarios::machines_of(c);
    return c;
  }();
  return list;
}
std::vector<const entry*> good() {
  std::vector<const entry*> list;
  for (const entry& e : machines())
    if (!e.broken()) list.push_back(&e);
  return list;
}
std::string text(const sim::failure& f) {
  std::string s = f.what + "\n" + f.schedule;
  for (std::size_t i = f.steps.size() > 80 ? f.steps.size() - 80 : 0; i != f.steps.size(); ++i) s += "\n" + f.steps[i];
  return s;
}
sim::trial_options weak() {
  sim::trial_options o;
  o.memory = sim::memory_model::weak;
  o.step_limit = 20'000;
  return o;
}
sim::trial_options late_stores() {
  sim::trial_options o = weak();
  o.weak.placement = true;
  o.spurious_failures = true;
  return o;
}
sim::trial_options no_snooping() {
  sim::trial_options o = weak();
  o.weak.coherent = false;
  return o;
}
/// What a broken twin of this name and body comes to. A twin must be found.
sim::exploration search(const char* name, void (*body)(sim::trial&), const sim::trial_options& o) {
  sim::exploration sum;
  for (std::uint64_t seed = 1; sum.ok() && sum.steps < patience; ++seed) {
    sim::pct by_priority{3, seed};
    sum += sim::explore({name, "", body}, by_priority, o, {.steps = 150'000});
    sim::random_walk by_chance{seed};
    if (sum.ok()) sum += sim::explore({name, "", body}, by_chance, o, {.steps = 150'000});
  }
  return sum;
}

/// A driver that forgets that memory has to be cleaned for an SMMU that does not snoop.
struct env_without_publish : scenarios::env {
  static void dma_publish(const void*, std::size_t) noexcept {}
};

class machine : public ::testing::TestWithParam<const entry*> {};
INSTANTIATE_TEST_SUITE_P(all, machine, ::testing::ValuesIn(good()),
                         [](const auto& i) { return std::string{i.param->play.name.substr(sizeof "machine_" - 1)}; });

TEST_P(machine, holds_where_stores_enter_late) {
  sim::trial_options o = late_stores();
  o.interrupts = GetParam()->interrupts;
  sim::random_walk by_chance{3};
  const auto r = sim::explore(GetParam()->play, by_chance, o, {.steps = enough});
  EXPECT_TRUE(r.ok()) << text(*r.failure);
}

TEST_P(machine, holds_where_the_smmu_does_not_snoop) {
  sim::trial_options o = no_snooping();
  o.interrupts = GetParam()->interrupts;
  sim::pct by_priority{3, 5};
  const auto r = sim::explore(GetParam()->play, by_priority, o, {.steps = enough});
  EXPECT_TRUE(r.ok()) << text(*r.failure);
  sim::random_walk by_chance{5};
  const auto q = sim::explore(GetParam()->play, by_chance, o, {.steps = enough});
  EXPECT_TRUE(q.ok()) << text(*q.failure);
}

}  // namespace

TEST(machine_world, a_missing_dma_publish_is_found_where_the_smmu_does_not_snoop_and_only_there) {
  const auto missing = search("no_publish", scenarios::machine_unmaps<env_without_publish>, no_snooping());
  ASSERT_FALSE(missing.ok()) << "not found in " << missing.trials << " trials";
  EXPECT_TRUE(missing.failure->repeats);
  sim::pct by_priority{3, 1};
  const auto snoops =
      sim::explore({"no_publish", "", scenarios::machine_unmaps<env_without_publish>}, by_priority, weak(), {.steps = enough});
  EXPECT_TRUE(snoops.ok()) << text(*snoops.failure);
}

TEST(machine_world, a_device_that_overlooked_the_doorbell_looks_again) {
  // The oldest values that are allowed, always. A polling loop of the device must end all the same, and no SYNC times out.
  struct always_old final : sim::chooser {
    std::uint32_t choose(const sim::question& q) override { return q.kind == sim::decision_kind::value ? q.options - 1 : 0; }
    bool end(std::uint64_t) override { return false; }
  };
  for (const scenarios::entry* e : good()) {
    always_old driver;
    const auto r = sim::explore(e->play, driver, weak());
    EXPECT_TRUE(r.ok()) << e->play.name << ": " << text(*r.failure);
  }
}

TEST(machine_world, a_leak_is_told_with_its_owner_and_the_schedule_leads_there_again) {
  using namespace scenarios;
  const sim::scenario careless{"careless", "", machine_unmaps<env, machine_omissions{.wait = true}>};
  sim::dfs first{0};
  const auto r = sim::explore(careless, first, {});
  ASSERT_FALSE(r.ok());
  EXPECT_NE(r.failure->what.find("_frame sid=0x0 iova=0x"), std::string::npos) << r.failure->what;
  const auto parsed = sim::parse_schedule(r.failure->schedule);
  ASSERT_TRUE(parsed.ok());
  for (unsigned i = 0; i != 3; ++i) {
    const auto again = sim::replay(careless, *parsed);
    ASSERT_TRUE(again.ok() && again->has_value());
    EXPECT_EQ((*again)->what, r.failure->what);
    EXPECT_EQ((*again)->steps.size(), r.failure->steps.size());
  }
}

TEST(machine_world, is_small_enough_to_be_built_for_every_trial) {
  std::uint64_t granted = 0;
  sim::random_walk driver{1};
  const auto r = sim::explore({"small", "",
                               [&](sim::trial& t) {
                                 auto& w = t.make<scenarios::machine_world<scenarios::env>>(t);
                                 w.attach(0, 0);
                                 w.map(0, 1, 0);
                                 w.access(0, 1);
                                 static_cast<void>(w.unmap(0, 1));
                                 w.access(0, 1);  // faults
                                 granted += w.granted;
                                 w.finish();
                               }},
                              driver, {}, {.trials = 50});
  EXPECT_TRUE(r.ok()) << text(*r.failure);
  EXPECT_EQ(r.trials, 50u);
  EXPECT_EQ(granted, 50u);
}
