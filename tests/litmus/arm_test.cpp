// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include <shootdown/env/sanitizer.hpp>

#include "litmus/axiomatic.hpp"
#include "litmus/catalogue.hpp"
#include "litmus/program.hpp"
#include "litmus/random_program.hpp"

// Arm's own axioms beside C++'s: do the two yardsticks agree where they must, and does the explorer show what Arm can do?
namespace {

using namespace litmus;

#if SHOOTDOWN_TSAN || SHOOTDOWN_ASAN
constexpr std::uint64_t variants_of_a_shape = 20;
constexpr int random_count = 300;
#else
constexpr std::uint64_t variants_of_a_shape = 200;
constexpr int random_count = 5000;
#endif

bool inside(const outcome_set& a, const outcome_set& b) { return std::includes(b.begin(), b.end(), a.begin(), a.end()); }

/// The library's discipline: the only seq_cst operations are full fences.
bool only_fences_are_seq_cst(const program& p) {
  for (const auto& t : p.threads)
    for (const operation& o : t)
      if (o.what != kind::fence && (o.order == std::memory_order_seq_cst || o.failed == std::memory_order_seq_cst)) return false;
  return true;
}

template <class F>
void for_programs(F&& f) {
  for (const shape& s : shapes) {
    const variants v{s};
    for (const std::uint64_t i : v.drawn(variants_of_a_shape)) f(v.at(i));
  }
  random_programs programs{0xa93};
  for (int i = 0; i != random_count; ++i) f(programs.next());
}

TEST(arm_axioms, agree_with_the_verdicts_known_by_hand) {
  struct {
    const char* text;
    const char* outcome;
    bool allowed;
    const char* why;
  } const cases[] = {
      {"Wx1 Wy1 || Ry Rx", "r0=1 r1=0", true, "MP"},
      {"Wx1 F.rel Wy1 || Ry F.acq Rx", "r0=1 r1=0", false, "MP+dmb+dmb.ld"},
      {"Wx1 Wy1.rel || Ry.acq Rx", "r0=1 r1=0", false, "MP+stlr+ldar"},
      {"Wx1 F.acq Wy1 || Ry.acq Rx", "r0=1 r1=0", true, "DMB ISHLD does not order stores"},
      {"Wx1.sc Wy1 || Ry.acq Rx", "r0=1 r1=0", true, "a store may overtake an STLR before it"},
      {"Wx1 Ry || Wy1 Rx", "r0=0 r1=0", true, "SB"},
      {"Wx1 F.sc Ry || Wy1 F.sc Rx", "r0=0 r1=0", false, "SB+dmbs"},
      {"Wx1.rel Ry.acq || Wy1.rel Rx.acq", "r0=0 r1=0", false, "SB+stlr+ldar: RCsc, stronger than C++"},
      {"Wx1.sc Ry || Wy1.sc Rx", "r0=0 r1=0", true, "SB+stlr"},
      {"Rx Wy1 || Ry Wx1", "r0=1 r1=1", true, "LB"},
      {"Rx.acq Wy1 || Ry.acq Wx1", "r0=1 r1=1", false, "LB+ldar"},
      {"Rx Wy1.rel || Ry Wx1.rel", "r0=1 r1=1", false, "LB+stlr"},
      {"Wx1 Wy2 || Wy1 Wx2", "x=1 y=1", true, "2+2W"},
      {"Wx1 Wy2.rel || Wy1 Wx2.rel", "x=1 y=1", false, "2+2W+stlr"},
      {"Wx1 || Wy1 || Rx Ry || Ry Rx", "r0=1 r1=0 r2=1 r3=0", true, "IRIW: the loads change places"},
      {"Wx1 || Wy1 || Rx.acq Ry || Ry.acq Rx", "r0=1 r1=0 r2=1 r3=0", false, "IRIW+ldar: one order of stores for all"},
      {"Wx1 || Rx.acq Wy1 || Ry.acq Rx", "r0=1 r1=1 r2=0", false, "WRC+ldar: one order of stores for all"},
      {"Wx1 || Rx Rx", "r0=1 r1=0", false, "CoRR"},
      {"Ax1 || Ax1", "x=1", false, "atomicity"},
      {"Wx1 Az1.acq Ry || Wy1 Az1.acq Rx", "r1=0 r3=0", true, "the addition's own store is not waited for"},
      {"Wx1 Az1.ar Ry || Wy1 Az1.ar Rx", "r1=0 r3=0", false, "with A and L it is a barrier"},
      {"Xx1.ar Ry || Xy1.ar Rx", "r1=0 r3=0", false, "and orders its own store with later loads"},
  };
  for (const auto& k : cases) {
    const program p = parse(k.text);
    EXPECT_EQ(parse_condition(p, k.outcome).holds_in(enumerate(p).arm), k.allowed) << k.text << ": " << k.outcome << ": " << k.why;
  }
}

// The mapping is sound: a slip in either set of axioms that forbids too much of C++, or too little of Arm, shows here.
TEST(arm_axioms, allow_nothing_that_the_standard_forbids) {
  for_programs([](const program& p) {
    const allowed_outcomes a = enumerate(p);
    EXPECT_TRUE(inside(a.arm, a.cxx20)) << text_of(p);
    EXPECT_TRUE(inside(a.arm_in_order, a.arm)) << text_of(p);
    EXPECT_FALSE(a.arm_in_order.empty()) << text_of(p);
  });
}

// What the explorer leaves out of a program like the library's needs a store that overtakes an earlier load of its own thread.
TEST(arm_axioms, in_order_of_loads_and_later_stores_are_covered_by_the_explorer_where_only_fences_are_seq_cst) {
  std::uint64_t programs = 0, overtaking = 0;
  const auto check = [&](const program& p) {
    if (!only_fences_are_seq_cst(p)) return;
    const allowed_outcomes a = enumerate(p);
    EXPECT_TRUE(inside(a.arm_in_order, a.stepwise)) << text_of(p);
    overtaking += !inside(a.arm, a.stepwise);
    ++programs;
  };
  for_programs(check);
  for (const shape& s : shapes) check(parse(s.text));
  EXPECT_GT(programs, 200u);
  EXPECT_GT(overtaking, 2u) << "the restriction is not needed any more";
}

// And where an access is seq_cst, Arm can do more: an STLR is overtaken by a relaxed store behind it.
TEST(arm_axioms, allow_a_store_before_an_earlier_seq_cst_one_which_the_explorer_does_not_show) {
  const program p = parse("Wx1.sc Wy1 || Ry F.sc Rx");
  const condition c = parse_condition(p, "r0=1 r1=0");
  EXPECT_TRUE(c.holds_in(enumerate(p).arm_in_order));
  EXPECT_FALSE(c.holds_in(enumerate(p).stepwise));
}

// So the discipline is part of the proof: the library orders stores before loads by full fences, and nothing of it is a
// seq_cst access.
TEST(library, has_no_seq_cst_accesses) {
  namespace fs = std::filesystem;
  unsigned headers = 0;
  for (const auto& e : fs::recursive_directory_iterator{fs::path{SHOOTDOWN_SOURCE_DIR} / "include/shootdown"}) {
    const std::string room = e.path().parent_path().filename().string();
    if (e.path().extension() != ".hpp" || room == "sim" || room == "host") continue;
    ++headers;
    std::ifstream file{e.path()};
    for (std::string line; std::getline(file, line);) {
      const std::string code = line.substr(0, line.find("//"));
      const bool named = code.find("memory_order_seq_cst") != code.npos || code.find("memory_order::seq_cst") != code.npos;
      EXPECT_TRUE(!named || code.find("_fence") != code.npos) << e.path() << ": " << line;
    }
  }
  EXPECT_GT(headers, 80u);
}

}  // namespace
