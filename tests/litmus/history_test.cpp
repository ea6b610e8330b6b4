// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>

#include <cctype>
#include <cstdint>
#include <string>

#include <shootdown/env/sanitizer.hpp>

#include "litmus/axiomatic.hpp"
#include "litmus/catalogue.hpp"
#include "litmus/compare.hpp"
#include "litmus/history_runner.hpp"
#include "litmus/random_program.hpp"

// The explorer's weak memory against the axioms, outcome by outcome, both ways.
namespace {

using namespace litmus;

#if SHOOTDOWN_TSAN || SHOOTDOWN_ASAN
constexpr std::uint64_t variants_of_a_shape = 30;
constexpr int random_count = 60;
#else
constexpr std::uint64_t variants_of_a_shape = 800;
constexpr int random_count = 3000;
#endif

comparison compare_variants(const shape& s, std::uint64_t most) {
  const variants v{s};
  comparison c;
  for (const std::uint64_t i : v.chosen(most)) {
    const program p = v.at(i);
    c.add(p, enumerate(p), history_runner{p}.run());
  }
  return c;
}

// Two threads of two accesses: every order on every access and every fence between them, 2025 variants a shape.
TEST(history, does_exactly_what_the_axioms_allow_in_every_variant_of_the_two_thread_shapes) {
  for (const char* name : {"MP", "SB", "LB", "S", "R", "2+2W", "CoRR", "CoRW", "CoWR"}) {
    const comparison c = compare_variants(*find_shape(name), SHOOTDOWN_TSAN || SHOOTDOWN_ASAN ? variants_of_a_shape : 2025);
    EXPECT_TRUE(c.good()) << name << ": " << c.report();
  }
}

class history_shapes : public testing::TestWithParam<shape> {};

TEST_P(history_shapes, do_exactly_what_the_axioms_allow) {
  // CoRR2 has a hundred times the executions of the others.
  const std::uint64_t most = GetParam().name == "CoRR2" ? variants_of_a_shape / 12 : variants_of_a_shape;
  const comparison c = compare_variants(GetParam(), most);
  EXPECT_TRUE(c.good()) << c.report();
}
INSTANTIATE_TEST_SUITE_P(all, history_shapes, testing::ValuesIn(shapes), [](const testing::TestParamInfo<shape>& i) {
  std::string name;
  for (const char c : i.param.name) name += std::isalnum(static_cast<unsigned char>(c)) != 0 ? c : '_';
  return name + "_" + std::to_string(i.index);
});

TEST(history, does_exactly_what_the_axioms_allow_in_random_programs) {
  comparison c;
  random_programs programs{0x5d0};
  for (int i = 0; i != random_count; ++i) {
    const program p = programs.next();
    c.add(p, enumerate(p), history_runner{p}.run());
  }
  EXPECT_TRUE(c.good()) << c.report();
}

// The reduction of the runner itself leaves nothing out.
TEST(history_runner, finds_the_same_outcomes_with_all_orders_of_independent_steps) {
  random_programs programs{77};
  std::uint64_t reduced = 0, all = 0;
  for (int i = 0; i != random_count / 10; ++i) {
    const program p = programs.next();
    if (p.operations() > 6) continue;
    const observed_outcomes a = history_runner{p}.run();
    const observed_outcomes b = history_runner{p, false}.run();
    EXPECT_EQ(a.outcomes, b.outcomes) << text_of(p);
    reduced += a.executions;
    all += b.executions;
  }
  EXPECT_LT(reduced, all);
}

// The outcomes that the explorer leaves out on purpose, by name: if one of these fails, the documents are wrong, not the memory.
TEST(history, leaves_out_load_buffering) {
  const program p = parse("Rx Wy1 || Ry Wx1");
  const condition c = parse_condition(p, "r0=1 r1=1");
  EXPECT_TRUE(c.holds_in(enumerate(p).cxx20));
  EXPECT_FALSE(c.holds_in(enumerate(p).no_lb));
  EXPECT_FALSE(c.holds_in(history_runner{p}.run().outcomes));
}
TEST(history, leaves_out_an_s_against_the_execution) {
  struct {
    const char* text;
    const char* outcome;
  } const cases[] = {{"Wx1.sc Wy1 || Ry F.sc Rx", "r0=1 r1=0"},
                     {"Wx1 F.sc Wy1 || Ry Wz1 || Rz F.sc Rx", "r0=1 r1=1 r2=0"},
                     {"Wx1.sc Wy1.rel || Ay1.sc Ry || Wy3.sc Rx.sc", "r0=1 r1=3 r2=0"}};
  for (const auto& k : cases) {
    const program p = parse(k.text);
    const condition c = parse_condition(p, k.outcome);
    EXPECT_TRUE(c.holds_in(enumerate(p).no_lb)) << k.text;
    EXPECT_FALSE(c.holds_in(enumerate(p).stepwise)) << k.text;
    EXPECT_FALSE(c.holds_in(history_runner{p}.run().outcomes)) << k.text;
  }
}

// Two faults that the memory once had, found here.
TEST(history, seq_cst_loads_of_relaxed_stores_take_their_place_in_s) {
  const program p = parse("Wx1 || Wy1 || Rx.sc Ry.sc || Ry.sc Rx.sc");
  EXPECT_FALSE(parse_condition(p, "r0=1 r1=0 r2=1 r3=0").holds_in(history_runner{p}.run().outcomes));
}
TEST(history, a_failed_compare_exchange_that_is_seq_cst_is_bound_to_s_and_a_relaxed_one_is_not) {
  for (const char* text : {"Rx.sc F.ar Cy02.rel/sc || Wy1 Ax1.acq || Rx.acq Wy2.sc Rx.sc", "Wx1.sc Cy12.rlx/sc || Wy1.sc Cx12.rlx/sc",
                           "Wx1.sc Cy12.sc/rlx || Wy1.sc Cx12.sc/rlx"}) {
    const program p = parse(text);
    comparison c;
    c.add(p, enumerate(p), history_runner{p}.run());
    EXPECT_TRUE(c.good()) << c.report();
  }
}

// The comparison compares: outcomes of a weaker program are forbidden, of a stronger one missed.
TEST(history, comparison_notices_outcomes_of_another_program) {
  const program weak = parse("Wx1 Ry || Wy1 Rx");
  const program strong = parse("Wx1.sc Ry.sc || Wy1.sc Rx.sc");
  comparison c;
  c.add(strong, enumerate(strong), history_runner{weak}.run());
  EXPECT_EQ(c.forbidden.size(), 1u) << c.report();
  c = {};
  c.add(weak, enumerate(weak), history_runner{strong}.run());
  EXPECT_EQ(c.missed.size(), 1u) << c.report();
  const program relay = parse("Wx1.sc Wy1 || Ry F.sc Rx");
  c = {};
  c.add(relay, enumerate(relay), history_runner{parse("Wx1 Wy1 || Ry Rx")}.run());
  EXPECT_EQ(c.beyond.size(), 1u) << c.report();
}

}  // namespace
