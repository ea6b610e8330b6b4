// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <set>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>

#include "litmus/axiomatic.hpp"
#include "litmus/catalogue.hpp"
#include "litmus/random_program.hpp"

// The yardstick before it measures: verdicts that are known from the standard and the literature, worked out by hand.
namespace {

using namespace litmus;

struct known {
  std::string_view text;
  std::string_view outcome;
  bool cxx20;  // allowed by the standard
  bool no_lb;  // and without load buffering
  std::string_view why;
};
void expect_agreement(std::span<const known> verdicts) {
  for (const known& k : verdicts) {
    const program p = parse(k.text);
    const condition c = parse_condition(p, k.outcome);
    const allowed_outcomes a = enumerate(p);
    EXPECT_EQ(c.holds_in(a.cxx20), k.cxx20) << text_of(p) << ": " << k.outcome << ": " << k.why;
    EXPECT_EQ(c.holds_in(a.no_lb), k.no_lb) << text_of(p) << ": " << k.outcome << ": " << k.why;
  }
}

constexpr known message_passing[] = {
    {"Wx1 Wy1 || Ry Rx", "r0=1 r1=0", true, true, "nothing orders anything"},
    {"Wx1 Wy1.rel || Ry.acq Rx", "r0=1 r1=0", false, false, "release synchronizes with acquire"},
    {"Wx1 Wy1.rel || Ry.acq Rx", "r0=0 r1=0", true, true, "the flag is not there yet"},
    {"Wx1 Wy1.rel || Ry.acq Rx", "r0=0 r1=1", true, true, "the message came early"},
    {"Wx1 Wy1.rel || Ry.acq Rx", "r0=1 r1=1", true, true, "flag and message"},
    {"Wx1 Wy1.rel || Ry Rx", "r0=1 r1=0", true, true, "nobody acquires"},
    {"Wx1 Wy1 || Ry.acq Rx", "r0=1 r1=0", true, true, "nobody releases"},
    {"Wx1.rel Wy1 || Ry.acq Rx.acq", "r0=1 r1=0", true, true, "the release is on the wrong store"},
    {"Wx1 F.rel Wy1 || Ry F.acq Rx", "r0=1 r1=0", false, false, "release fence, acquire fence"},
    {"Wx1 F.rel Wy1 || Ry.acq Rx", "r0=1 r1=0", false, false, "release fence, acquire load"},
    {"Wx1 Wy1.rel || Ry F.acq Rx", "r0=1 r1=0", false, false, "release store, acquire fence"},
    {"Wx1 F.ar Wy1 || Ry F.ar Rx", "r0=1 r1=0", false, false, "both fences are both"},
    {"Wx1 F.sc Wy1 || Ry F.sc Rx", "r0=1 r1=0", false, false, "seq_cst fences are both, too"},
    {"Wx1 F.acq Wy1 || Ry F.acq Rx", "r0=1 r1=0", true, true, "an acquire fence does not release"},
    {"Wx1 F.rel Wy1 || Ry F.rel Rx", "r0=1 r1=0", true, true, "a release fence does not acquire"},
    {"F.rel Wx1 Wy1 || Ry F.acq Rx", "r0=1 r1=0", true, true, "the fence stands before the message"},
    {"Wx1 Wy1.sc || Ry.sc Rx", "r0=1 r1=0", false, false, "seq_cst includes release and acquire"},
    {"Wx1.sc Wy1 || Ry F.sc Rx", "r0=1 r1=0", true, true, "S may contradict the relaxed chain"},
    {"Wx1 Xy1.ar || Ay1.ar Rx", "r1=1 r2=0", false, false, "read-modify-writes as store and load"},
    {"Wx1 Xy1.acq || Ay1.rel Rx", "r1=1 r2=0", true, true, "the orders the wrong way round"},
    {"Wx1 Wy1.rel || Cy12.acq/rlx Rx", "r0=1 r1=0", false, false, "a success acquires"},
    {"Wx1 Wy1.rel || Cy02.acq/rlx Rx", "r0=1 r1=0", true, true, "a failure has the other order"},
    {"Wx1 Wy1.rel || Cy02.rlx/acq Rx", "r0=1 r1=0", false, false, "a failure that acquires"},
};
constexpr known store_buffering[] = {
    {"Wx1 Ry || Wy1 Rx", "r0=0 r1=0", true, true, ""},
    {"Wx1.rel Ry.acq || Wy1.rel Rx.acq", "r0=0 r1=0", true, true, "release and acquire do not order a store before a load"},
    {"Wx1.sc Ry.sc || Wy1.sc Rx.sc", "r0=0 r1=0", false, false, "what seq_cst is for"},
    {"Wx1.sc Ry.sc || Wy1.sc Rx", "r0=0 r1=0", true, true, "the relaxed load is not in S"},
    {"Wx1.sc Ry || Wy1.sc Rx", "r0=0 r1=0", true, true, "neither load is in S"},
    {"Wx1 Ry.sc || Wy1 Rx.sc", "r0=0 r1=0", true, true, "neither store is in S"},
    {"Wx1 F.sc Ry || Wy1 F.sc Rx", "r0=0 r1=0", false, false, "two seq_cst fences"},
    {"Wx1 F.sc Ry || Wy1 F.ar Rx", "r0=0 r1=0", true, true, "one is not enough"},
    {"Wx1 F.sc Ry || Wy1.sc Rx.sc", "r0=0 r1=0", false, false, "C++20: a fence against seq_cst accesses"},
    {"Wx1 F.sc Ry || Wy1.sc Rx", "r0=0 r1=0", true, true, "the last load is in no order"},
    {"Wx1 F.sc Ry || Wy1 Rx.sc", "r0=0 r1=0", true, true, "the last store is in no order"},
    {"Xx1.sc Ry.sc || Xy1.sc Rx.sc", "r1=0 r3=0", false, false, "Dekker with seq_cst exchanges"},
    {"Xx1.ar Ry.acq || Xy1.ar Rx.acq", "r1=0 r3=0", true, true, "acq_rel exchanges are no barrier"},
    {"Wx1 Ay0.ar || Wy1 Ax0.ar", "r0=0 r1=0", true, true, "the stores that overwrite the additions of 0 do not read them"},
    {"Xx1.ar Ay0.ar || Xy1.ar Ax0.ar", "r1=0 r3=0", false, false, "exchanges do, and so acquire"},
    {"Wx1 Az1.ar Ry || Wy1 Az1.ar Rx", "r1=0 r3=0", false, false, "acq_rel RMWs of one word are ordered by modification order"},
    {"Wx1 Az1 Ry || Wy1 Az1 Rx", "r1=0 r3=0", true, true, "relaxed ones order nothing"},
    {"Wx1 F.sc Ry || Wy1 F.sc Rz || Wz1 F.sc Rx", "r0=0 r1=0 r2=0", false, false, "a ring of three"},
    {"Wx1 F.sc Ry || Wy1 F.sc Rz || Wz1 F.ar Rx", "r0=0 r1=0 r2=0", true, true, "with one link missing"},
};
constexpr known load_buffering[] = {
    {"Rx Wy1 || Ry Wx1", "r0=1 r1=1", true, false, "C++20 allows it; the explorer leaves it out"},
    {"Rx.acq Wy1 || Ry.acq Wx1", "r0=1 r1=1", true, false, "acquire alone does not help: nobody releases"},
    {"Rx Wy1.rel || Ry.acq Wx1", "r0=1 r1=1", false, false, "one pair: a load would see what happens after it"},
    {"Rx.acq Wy1.rel || Ry.acq Wx1.rel", "r0=1 r1=1", false, false, ""},
    {"Rx F.ar Wy1 || Ry F.ar Wx1", "r0=1 r1=1", false, false, "the fences synchronize both ways"},
    {"Rx F.sc Wy1 || Ry Wx1", "r0=1 r1=1", true, false, ""},
    {"Rx Wy1 || Ry Wz1 || Rz Wx1", "r0=1 r1=1 r2=1", true, false, "in a ring"},
};
constexpr known two_locations[] = {
    {"Wx1 Wy1 || Ry Wx2", "r0=1 x=1", true, true, "S"},
    {"Wx1 Wy1.rel || Ry.acq Wx2", "r0=1 x=1", false, false, "S: happens-before orders the stores"},
    {"Wx1 Wy1 || Wy2 Rx", "r0=0 y=2", true, true, "R"},
    {"Wx1.rel Wy1.rel || Wy2.rel Rx.acq", "r0=0 y=2", true, true, "R: a store before a load again"},
    {"Wx1.sc Wy1.sc || Wy2.sc Rx.sc", "r0=0 y=2", false, false, "R"},
    {"Wx1 F.sc Wy1 || Wy2 F.sc Rx", "r0=0 y=2", false, false, "R"},
    {"Wx1 F.rel Wy1 || Wy2 F.sc Rx", "r0=0 y=2", true, true, "R with one seq_cst fence"},
    {"Wx1.rel Wy2.rel || Wy1.rel Wx2.rel", "x=1 y=1", true, true, "2+2W: release orders no modification orders"},
    {"Wx1.sc Wy2.sc || Wy1.sc Wx2.sc", "x=1 y=1", false, false, "2+2W"},
    {"Wx1 F.sc Wy2 || Wy1 F.sc Wx2", "x=1 y=1", false, false, "2+2W"},
    {"Wx1 F.ar Wy2 || Wy1 F.ar Wx2", "x=1 y=1", true, true, "2+2W"},
    {"Xx1.ar Xy2.ar || Xy1.ar Xx2.ar", "x=1 y=1", false, false, "2+2W: each exchange has read the other's, so they synchronize"},
};
constexpr known coherence[] = {
    {"Wx1 || Rx Rx", "r0=1 r1=0", false, false, "CoRR"},
    {"Wx1 Wx2", "x=1", false, false, "CoWW"},
    {"Wx1 Rx || Wx2", "r0=0", false, false, "CoWR"},
    {"Wx1 Rx || Wx2", "r0=2 x=1", false, false, "CoWR: its own store is older than what it reads"},
    {"Rx Wx1", "r0=1", false, false, "CoRW"},
    {"Rx Wx1 || Wx2", "r0=2 x=2", false, false, "CoRW"},
    {"Wx1 || Wx2 || Rx Rx || Rx Rx", "r0=1 r1=2 r2=2 r3=1", false, false, "one modification order for all"},
    {"Wx1 || Wx2", "x=1", true, true, ""},
    {"Ax1 || Ax1", "x=1", false, false, "no update is lost"},
    {"Ax1 || Ax1 || Ax1", "r0=1 r1=1", false, false, "each value is returned once"},
    {"Ax1 || Wx2", "r0=0 x=2", true, true, ""},
    {"Ax1 || Wx2", "r0=0 x=1", false, false, "nothing comes between an RMW and what it read"},
    {"Cx01 || Cx02", "r0=0 r1=0", false, false, "one winner"},
    {"Cx01 || Cx02", "r0=0 r1=1 x=1", true, true, ""},
    {"Cx12 || Wx1", "r0=0 x=1", true, true, "a failure is only a load"},
    {"Cx12 || Wx1", "r0=1 x=2", true, true, ""},
    {"Cx12 || Wx1", "r0=1 x=1", false, false, "a success writes"},
    {"Wx1.rel Ax1.rel Ax1.rel || Rx.acq Rx.acq", "r2=3 r3=2", false, false, ""},
};
constexpr known three_and_four[] = {
    {"Wx1 || Rx Wy1 || Ry Rx", "r0=1 r1=1 r2=0", true, true, "WRC"},
    {"Wx1 || Rx Wy1.rel || Ry.acq Rx", "r0=1 r1=1 r2=0", false, false, "WRC: coherence of x over happens-before"},
    {"Wx1.rel || Rx.acq Wy1.rel || Ry.acq Rx", "r0=1 r1=1 r2=0", false, false, "WRC"},
    {"Wx1 Wy1.rel || Ry.acq Wz1.rel || Rz.acq Rx", "r0=1 r1=1 r2=0", false, false, "ISA2"},
    {"Wx1 Wy1.rel || Ry Wz1.rel || Rz.acq Rx", "r0=1 r1=1 r2=0", true, true, "ISA2: the second does not acquire"},
    {"Wx1 F.sc Wy1 || Ry Wz1 || Rz F.sc Rx", "r0=1 r1=1 r2=0", true, true, "fences order nothing over a relaxed relay"},
    {"Wx1 || Rx.acq Ry.acq || Wy1.rel Rx.acq", "r0=1 r1=0 r2=0", true, true, "RWC"},
    {"Wx1 || Rx.acq F.sc Ry || Wy1 F.sc Rx", "r0=1 r1=0 r2=0", false, false, "RWC needs seq_cst fences"},
    {"Wx1 || Rx.acq F.sc Ry || Wy1 F.ar Rx", "r0=1 r1=0 r2=0", true, true, "RWC: on both sides"},
    {"Wx1.sc || Rx.sc Ry.sc || Wy1.sc Rx.sc", "r0=1 r1=0 r2=0", false, false, "RWC"},
    {"Wx1 Wy1.rel || Ry.acq Rz || Wz1 F.sc Rx", "r0=1 r1=0 r2=0", true, true, "W+RWC"},
    {"Wx1 Wy1.rel || Ry.acq F.sc Rz || Wz1 F.sc Rx", "r0=1 r1=0 r2=0", false, false, "W+RWC"},
    {"Wx1 || Wy1 || Rx.acq Ry.acq || Ry.acq Rx.acq", "r0=1 r1=0 r2=1 r3=0", true, true, "IRIW"},
    {"Wx1.rel || Wy1.rel || Rx.acq Ry.acq || Ry.acq Rx.acq", "r0=1 r1=0 r2=1 r3=0", true, true, "IRIW"},
    {"Wx1.sc || Wy1.sc || Rx.sc Ry.sc || Ry.sc Rx.sc", "r0=1 r1=0 r2=1 r3=0", false, false, "IRIW"},
    {"Wx1.sc || Wy1.sc || Rx.acq Ry.sc || Ry.acq Rx.sc", "r0=1 r1=0 r2=1 r3=0", true, true,
     "IRIW: the repair of C++20 (leading fences on Power)"},
    {"Wx1 || Wy1 || Rx F.sc Ry || Ry F.sc Rx", "r0=1 r1=0 r2=1 r3=0", false, false, "IRIW: C++20 gives fences their strength"},
    {"Wx1 || Wy1 || Rx.sc Ry.sc || Ry.sc Rx.sc", "r0=1 r1=0 r2=1 r3=0", false, false, "IRIW: seq_cst loads of relaxed stores"},
};
constexpr known release_sequences[] = {
    {"Wx1 Wy1.rel || Ay1 || Ry.acq Rx", "r0=1 r1=2 r2=0", false, false, "through a relaxed read-modify-write of another thread"},
    {"Wx1 Wy1.rel || Ay1 || Cy23 || Ry.acq Rx", "r0=1 r1=2 r2=3 r3=0", false, false, "through two"},
    {"Wx1 Wy1.rel || Ay1 || Ry F.acq Rx", "r0=1 r1=2 r2=0", false, false, "to a fence"},
    {"Wx1 F.rel Wy1 || Ay1 || Ry.acq Rx", "r0=1 r1=2 r2=0", false, false, "the hypothetical one of a release fence"},
    {"Wx1 Wy1 || Ay1 || Ry.acq Rx", "r0=1 r1=2 r2=0", true, true, "nobody released"},
    {"Wx1 Wy1.rel Wy2 || Ry.acq Rx", "r0=2 r1=0", true, true, "C++20: a plain store of the same thread does not belong to it"},
    {"Wx1 Wy1.rel || Wy2 || Ry.acq Rx", "r0=2 r1=0", true, true, "nor one of another thread"},
    {"Wx1 Wy1.rel Ay1 || Ry.acq Rx", "r1=2 r2=0", false, false, "a read-modify-write of the same thread does"},
    {"Wx1 F.rel Wy1 Wy2 || Ry.acq Rx", "r0=2 r1=0", false, false, "a fence covers all later stores"},
};
// x is the PTE, y the array pointer, z the STE (acquired by the SMMU, which has no fence before its walk).
constexpr known unmap_and_attach[] = {
    {"Wx1 F.sc Ry || Wy1 F.sc Wz1.rel || Rz.acq Rx", "r0=0 r1=1 r2=0", false, false, "fences on both CPUs: what the library does"},
    {"Wx1 F.sc Ry.acq || Wy1.rel Wz1.rel || Rz.acq Rx", "r0=0 r1=1 r2=0", true, true, "no fence in attach"},
    {"Wx1 Ry.acq || Wy1.rel F.sc Wz1.rel || Rz.acq Rx", "r0=0 r1=1 r2=0", true, true, "no fence in unmap"},
    {"Wx1 F.sc Ry || Wy1.rel Wz1.rel || Rz.acq F.sc Rx", "r0=0 r1=1 r2=0", false, false, "a fence in the SMMU instead of attach"},
    {"Wx1 F.sc Ry || Wy1 F.sc Wz1 || Rz Rx", "r0=0 r1=1 r2=0", true, true, "an SMMU that does not acquire the STE"},
    {"Wx1 F.sc Ry || Wy1 F.ar Wz1.rel || Rz.acq Rx", "r0=0 r1=1 r2=0", true, true, "a weaker fence in attach"},
    {"Wx1.sc Ry.sc || Wy1.sc Wz1.sc || Rz.sc Rx.sc", "r0=0 r1=1 r2=0", false, false, "all seq_cst, as for ThreadSanitizer"},
    {"Wx1.sc Ry.sc || Wy1.sc Wz1.rel || Rz.acq Rx.sc", "r0=0 r1=1 r2=0", false, false, "sb;hb;sb: the STE need not be seq_cst"},
    {"Wx1.sc Ry.sc || Wy1.sc Wz1.rel || Rz.acq Rx", "r0=0 r1=1 r2=0", true, true, "but the walk must be"},
};
constexpr known repairs[] = {
    {"Wx1.sc Wy1.rel || Ay1.sc Ry || Wy3.sc Rx.sc", "r0=1 r1=3 r2=0", true, true, "Z6.U: forbidden by C++11, allowed since P0668R5"},
    {"Wx1.sc Wy1.sc || Ay1.sc Ry || Wy3.sc Rx.sc", "r0=1 r1=3 r2=0", false, false, "Z6.U with all seq_cst"},
    {"Wx1.sc || Rx.acq Wy1.rel || Ay1.sc || Wy3.sc Rx.sc", "r0=1 r1=1 y=3 r2=0", true, true, "happens-before and S disagree"},
};

TEST(axioms, agree_with_verdicts_known_by_hand_message_passing) { expect_agreement(message_passing); }
TEST(axioms, agree_with_verdicts_known_by_hand_store_buffering) { expect_agreement(store_buffering); }
TEST(axioms, agree_with_verdicts_known_by_hand_load_buffering) { expect_agreement(load_buffering); }
TEST(axioms, agree_with_verdicts_known_by_hand_two_locations) { expect_agreement(two_locations); }
TEST(axioms, agree_with_verdicts_known_by_hand_coherence) { expect_agreement(coherence); }
TEST(axioms, agree_with_verdicts_known_by_hand_three_and_four) { expect_agreement(three_and_four); }
TEST(axioms, agree_with_verdicts_known_by_hand_release_sequences) { expect_agreement(release_sequences); }
TEST(axioms, agree_with_verdicts_known_by_hand_unmap_and_attach) { expect_agreement(unmap_and_attach); }
TEST(axioms, agree_with_verdicts_known_by_hand_repairs) { expect_agreement(repairs); }

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
