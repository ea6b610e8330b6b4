// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>

#include "litmus/axiomatic.hpp"
#include "litmus/catalogue.hpp"
#include "litmus/random_program.hpp"
#include "litmus/verdicts.hpp"

// The yardstick before it measures.
namespace {

using namespace litmus;

TEST(axioms, agree_with_the_verdicts_known_by_hand) {
  for (const known_group& g : known_verdicts)
    for (const known& k : g.verdicts) {
      const program p = parse(k.text);
      const condition c = parse_condition(p, k.outcome);
      const allowed_outcomes a = enumerate(p);
      EXPECT_EQ(c.holds_in(a.cxx20), k.cxx20) << g.name << ": " << text_of(p) << ": " << k.outcome << ": " << k.why;
      EXPECT_EQ(c.holds_in(a.no_lb), k.no_lb) << g.name << ": " << text_of(p) << ": " << k.outcome << ": " << k.why;
    }
}

TEST(axioms_catalogue, all_seq_cst_forbids_every_interesting_outcome) {
  for (const shape& s : shapes) {
    program p = parse(s.text);
    const condition c = parse_condition(p, s.interesting);
    for (auto& t : p.threads)
      for (operation& o : t) o.order = o.failed = std::memory_order_seq_cst;
    const allowed_outcomes a = enumerate(p);
    EXPECT_FALSE(c.holds_in(a.cxx20)) << s.name;
    EXPECT_EQ(a.cxx20, a.stepwise) << s.name << ": sequential consistency needs none of the differences";
  }
}

TEST(axioms_catalogue, all_relaxed_allows_what_coherence_and_atomicity_do_not_forbid) {
  for (const shape& s : shapes) {
    const program p = parse(s.text);
    const bool one_location = p.locations() == 1;
    EXPECT_NE(parse_condition(p, s.interesting).holds_in(enumerate(p).cxx20), one_location) << s.name;
  }
}

// Making an order stronger never allows more: over all variants of MP and R, along the chain rlx < acq/rel < sc.
TEST(axioms_catalogue, stronger_orders_never_allow_more) {
  for (const std::string_view name : {"MP", "R", "MP+rmw"}) {
    const variants v{*find_shape(name)};
    for (std::uint64_t i = 0; i < v.count(); i += 1 + v.count() / 700) {
      const program p = v.at(i);
      const outcome_set before = enumerate(p).cxx20;
      for (std::size_t t = 0; t != p.threads.size(); ++t)
        for (std::size_t o = 0; o != p.threads[t].size(); ++o) {
          program q = p;
          q.threads[t][o].order = std::memory_order_seq_cst;
          const outcome_set after = enumerate(q).cxx20;
          EXPECT_TRUE(std::includes(before.begin(), before.end(), after.begin(), after.end())) << text_of(p) << " -> " << text_of(q);
        }
    }
  }
}

// RC11, written down independently of the standard's wording, never forbids what the standard allows, and is the same
// but for two known places: its S does not see seq_cst loads that meet through a relaxed store, nor sb of one location.
TEST(axioms_random, rc11_allows_everything_that_the_standard_does_without_load_buffering) {
  random_programs programs{2024};
  unsigned weaker = 0;
  for (int i = 0; i != 2000; ++i) {
    const program p = programs.next();
    const allowed_outcomes a = enumerate(p);
    EXPECT_TRUE(std::includes(a.rc11.begin(), a.rc11.end(), a.no_lb.begin(), a.no_lb.end())) << text_of(p);
    EXPECT_TRUE(std::includes(a.cxx20.begin(), a.cxx20.end(), a.no_lb.begin(), a.no_lb.end())) << text_of(p);
    EXPECT_TRUE(std::includes(a.no_lb.begin(), a.no_lb.end(), a.stepwise.begin(), a.stepwise.end())) << text_of(p);
    EXPECT_FALSE(a.stepwise.empty()) << text_of(p);
    weaker += a.rc11 != a.no_lb;
  }
  EXPECT_LT(weaker, 10u);
  const program iriw = parse("Wx1 || Wy1 || Rx.sc Ry.sc || Ry.sc Rx.sc");
  const allowed_outcomes a = enumerate(iriw);
  EXPECT_NE(a.rc11, a.no_lb) << "the known difference is gone: the comparison compares nothing";
}

TEST(litmus_program, is_read_as_it_is_written) {
  for (const shape& s : shapes) EXPECT_EQ(text_of(parse(s.text)), s.text);
  random_programs programs{1};
  for (int i = 0; i != 500; ++i) {
    const program p = programs.next();
    EXPECT_EQ(parse(text_of(p)), p) << text_of(p);
  }
}

TEST(litmus_program, errors_name_the_position) {
  const auto message = [](std::string_view text) -> std::string {
    try {
      static_cast<void>(parse(text));
    } catch (const std::invalid_argument& e) {
      return e.what();
    }
    return "no error";
  };
  EXPECT_EQ(message("Wx1 Ry."), "litmus: \"Wx1 Ry.\": position 7: an order: rlx, acq, rel, ar or sc is expected");
  EXPECT_EQ(message("Wx"), "litmus: \"Wx\": position 2: a digit is expected");
  EXPECT_EQ(message("Wq1"), "litmus: \"Wq1\": position 1: a location is expected");
  EXPECT_EQ(message("Wx1 Qx"), "litmus: \"Wx1 Qx\": position 4: one of R W X A C F is expected");
  EXPECT_EQ(message("Wx1Rx"), "litmus: \"Wx1Rx\": position 3: a space between operations is expected");
  EXPECT_EQ(message("Wx1 ||"), "litmus: \"Wx1 ||\": position 6: an operation in every thread is expected");
  EXPECT_THROW(static_cast<void>(parse_condition(parse("Rx"), "r1=0")), std::invalid_argument);
  EXPECT_THROW(static_cast<void>(parse_condition(parse("Rx"), "y=0")), std::invalid_argument);
}

TEST(litmus_variants, are_all_different_and_have_the_shape) {
  const variants v{*find_shape("MP")};
  ASSERT_EQ(v.count(), 3u * 3 * 3 * 3 * 5 * 5);
  std::set<std::string> texts;
  unsigned orders = 0, fences = 0;
  for (std::uint64_t i = 0; i != v.count(); ++i) {
    texts.insert(text_of(v.at(i)));
    orders += v.plain_orders(i);
    fences += v.plain_fences(i);
  }
  EXPECT_EQ(texts.size(), v.count());
  EXPECT_EQ(orders, 81u);
  EXPECT_EQ(fences, 25u);
  EXPECT_TRUE(texts.contains("Wx1.rel F.sc Wy1.sc || Ry.acq F.ar Rx"));
}

}  // namespace
