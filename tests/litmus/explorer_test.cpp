// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <string_view>

#include <shootdown/env/sanitizer.hpp>
#include <shootdown/sim/drivers.hpp>
#include <shootdown/sim/env.hpp>

#include "litmus/axiomatic.hpp"
#include "litmus/catalogue.hpp"
#include "litmus/compare.hpp"
#include "litmus/explorer_runner.hpp"
#include "litmus/random_program.hpp"
#include "litmus/verdicts.hpp"

// The explorer as scenarios use it (trials on fibers, sim::env's atomics, its drivers) against the axioms.
namespace {

using namespace litmus;
namespace sim = shootdown::sim;

#if SHOOTDOWN_TSAN || SHOOTDOWN_ASAN
constexpr std::uint64_t variants_of_a_shape = 1;
constexpr int random_count = 20;
constexpr std::size_t longest_random = 5;
#else
constexpr std::uint64_t variants_of_a_shape = 32;
constexpr int random_count = 600;
constexpr std::size_t longest_random = 7;
#endif

bool inside(const outcome_set& a, const outcome_set& b) { return std::includes(b.begin(), b.end(), a.begin(), a.end()); }

TEST(explorer, does_exactly_what_the_axioms_allow_in_the_catalogue) {
  comparison c;
  for (const shape& s : shapes) {
    const variants v{s};
    const bool heavy = s.name == "CoRR2" || s.name == "RS2" || s.name == "Z6.U";
    for (const std::uint64_t i : v.drawn(heavy ? 1 + variants_of_a_shape / 8 : variants_of_a_shape)) {
      const program p = v.at(i);
      const observed_outcomes o = explorer_runner<>{p}.run();
      EXPECT_TRUE(o.exhausted) << text_of(p);
      c.add(p, enumerate(p), o);
    }
  }
  EXPECT_TRUE(c.good()) << c.report();
}

// Every order on every access and every fence between them: 2025 variants of each shape with four accesses.
TEST(explorer, does_exactly_what_the_axioms_allow_in_every_variant_of_the_two_thread_shapes) {
  comparison c;
  for (const char* name : {"MP", "SB", "LB", "S", "R", "2+2W", "CoRR", "CoRW", "CoWR"}) {
    const variants v{*find_shape(name)};
    for (std::uint64_t i = 0; i < v.count(); i += SHOOTDOWN_TSAN || SHOOTDOWN_ASAN ? 101 : 1) {
      const program p = v.at(i);
      c.add(p, enumerate(p), explorer_runner<>{p}.run());
    }
  }
  EXPECT_TRUE(c.good()) << c.report();
}

TEST(explorer, does_exactly_what_the_axioms_allow_in_random_programs) {
  comparison c;
  random_programs programs{0xa11};
  for (int i = 0; i != random_count; ++i) {
    const program p = programs.next();
    if (p.operations() > longest_random) continue;
    c.add(p, enumerate(p), explorer_runner<>{p}.run());
  }
  EXPECT_TRUE(c.good()) << c.report();
}

TEST(explorer, sees_what_is_known_by_hand_to_be_allowed_and_nothing_else) {
  for (const known_group& g : known_verdicts)
    for (const known& k : g.verdicts) {
      const program p = parse(k.text);
      const condition c = parse_condition(p, k.outcome);
      const bool seen = c.holds_in(explorer_runner<>{p}.run().outcomes);
      EXPECT_EQ(seen, k.no_lb && c.holds_in(enumerate(p).stepwise)) << g.name << ": " << text_of(p) << ": " << k.outcome << ": " << k.why;
    }
}

// What the library shares with a device goes through the same memory.
TEST(explorer, gives_dma_words_the_same_memory) {
  for (const std::string_view name : {"MP", "SB", "WRC", "ISA2", "unmap/attach"}) {
    const variants v{*find_shape(name)};
    for (std::uint64_t i = 0; i < v.count(); i += v.count() / (variants_of_a_shape + 1) + 1) {
      const program p = v.at(i);
      EXPECT_EQ(explorer_runner<sim::env::dma_word>{p}.run().outcomes, enumerate(p).stepwise) << text_of(p);
    }
  }
}

// Interleavings are what all programs can do if every order is seq_cst.
TEST(explorer, sequential_memory_is_sequentially_consistent) {
  sim::trial_options o = unbounded_trials();
  o.memory = sim::memory_model::sequential;
  for (const shape& s : shapes) {
    program p = parse(s.text);
    const outcome_set seen = explorer_runner<>{p}.run(o).outcomes;
    for (auto& t : p.threads)
      for (operation& x : t) x.order = x.failed = std::memory_order_seq_cst;
    EXPECT_EQ(seen, enumerate(p).cxx20) << s.name;
  }
}

// The bounds that scenarios run with only leave outcomes out.
TEST(explorer, bounds_of_staleness_and_placement_allow_nothing_more) {
  for (const shape& s : shapes) {
    const program p = parse(s.text);
    const outcome_set allowed = enumerate(p).stepwise;
    sim::trial_options o = unbounded_trials();
    o.weak = {};
    EXPECT_TRUE(inside(explorer_runner<>{p}.run(o).outcomes, allowed)) << s.name;
    o.weak.placement = true;
    o.weak.staleness = 1;
    EXPECT_TRUE(inside(explorer_runner<>{p}.run(o).outcomes, allowed)) << s.name;
    o.weak.staleness = 0;
    EXPECT_TRUE(inside(explorer_runner<>{p}.run(o).outcomes, allowed)) << s.name;
  }
}
TEST(explorer, needs_placement_for_modification_orders_against_the_execution_only) {
  const program p = parse("Wx1 Wy2 || Wy1 Wx2");
  const condition c = parse_condition(p, "x=1 y=1");
  sim::trial_options o = unbounded_trials();
  EXPECT_TRUE(c.holds_in(explorer_runner<>{p}.run(o).outcomes));
  o.weak.placement = false;
  EXPECT_FALSE(c.holds_in(explorer_runner<>{p}.run(o).outcomes));
  for (const std::string_view name : {"MP", "SB", "WRC", "ISA2", "RWC", "W+RWC", "IRIW", "unmap/attach", "RS"}) {
    const program q = parse(find_shape(name)->text);
    EXPECT_TRUE(parse_condition(q, find_shape(name)->interesting).holds_in(explorer_runner<>{q}.run(o).outcomes)) << name;
  }
}

TEST(explorer, random_drivers_see_nothing_that_is_forbidden) {
  random_programs programs{0xf00d};
  for (int i = 0; i != 40; ++i) {
    const program p = programs.next();
    const outcome_set allowed = enumerate(p).stepwise;
    sim::pct probabilistic{3, 7, 4};
    sim::random_walk walk{9, 8};
    for (sim::chooser* driver : {static_cast<sim::chooser*>(&probabilistic), static_cast<sim::chooser*>(&walk)}) {
      const observed_outcomes o = explorer_runner<>{p}.run(*driver, unbounded_trials(), {.trials = 300});
      EXPECT_TRUE(inside(o.outcomes, allowed)) << text_of(p);
      EXPECT_FALSE(o.exhausted);
    }
  }
}

}  // namespace
