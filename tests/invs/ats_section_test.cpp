// SPDX-License-Identifier: MIT
#include <deque>

#include <gtest/gtest.h>

#include <shootdown/invs/ats_section.hpp>

#include "invs/fixture.hpp"

namespace {
using namespace invs_test;
using section_t = ats_section<env, 4>;

class ats_section_test : public fixture {
 protected:
  static deadline in(std::uint64_t turns) { return deadline{instant{state().now + turns}}; }
  section_t s;
};

TEST_F(ats_section_test, a_fence_over_nobody_does_not_wait) {
  EXPECT_TRUE(s.fence(in(1)).ok());
  EXPECT_EQ(state().now, 0u);
  EXPECT_EQ(state().fences, 1u);
}

TEST_F(ats_section_test, entering_and_fencing_each_have_a_full_fence) {
  const auto p = s.enter();
  EXPECT_EQ(state().fences, 1u);
  EXPECT_EQ(s.inside(), 1u);
  s.leave(p);
  EXPECT_EQ(state().fences, 1u);
  EXPECT_EQ(s.inside(), 0u);
}

// A fence that comes first must find the reader in its cell, or the reader the newer array behind its own fence.
TEST_F(ats_section_test, a_reader_is_inside_when_its_fence_is_passed) {
  std::uint32_t inside = 99;
  state().on_fence = [&] { inside = s.inside(); };
  const auto p = s.enter();
  EXPECT_EQ(inside, 1u);
  state().on_fence = nullptr;
  s.leave(p);
}

TEST_F(ats_section_test, a_fence_waits_for_a_reader_in_any_stripe_and_phase) {
  for (unsigned cpu = 0; cpu != 9; ++cpu) {
    state().cpu = cpu;
    const auto p = s.enter();
    EXPECT_EQ(p.stripe, cpu % 4);
    state().cpu = 0;  // the reader moves to another CPU
    EXPECT_EQ(s.fence(in(5)).code(), errc::timed_out) << cpu;
    EXPECT_EQ(s.fence(in(5)).code(), errc::timed_out) << "whichever phase is the current one";
    s.leave(p);
    EXPECT_TRUE(s.fence(in(5)).ok()) << cpu;
  }
}

TEST_F(ats_section_test, each_turn_of_the_wait_relaxes_once) {
  const auto p = s.enter();
  unsigned turns = 0;
  state().on_relax = [&] {
    if (++turns == 7) s.leave(p);
  };
  EXPECT_TRUE(s.fence(deadline::never()).ok());
  EXPECT_EQ(turns, 7u);
  EXPECT_EQ(state().now, 7u);
}

TEST_F(ats_section_test, a_steady_stream_of_readers_does_not_hold_a_fence_up) {
  // Each turn one reader enters before the oldest leaves: the section is never empty.
  std::deque<section_t::place> inside{s.enter(), s.enter()};
  unsigned turns = 0;
  state().on_relax = [&] {
    ++turns;
    inside.push_back(s.enter());
    s.leave(inside.front());
    inside.pop_front();
  };
  for (int i = 0; i != 5; ++i) {
    turns = 0;
    EXPECT_TRUE(s.fence(in(100)).ok());
    EXPECT_LE(turns, 2u) << "only the two that were inside are waited for";
    EXPECT_EQ(s.inside(), 2u);
  }
  state().on_relax = nullptr;
  for (const auto& p : inside) s.leave(p);
}

TEST_F(ats_section_test, a_reader_that_looked_at_the_phase_long_ago_is_waited_for_by_the_next_fence) {
  // It reads the phase, then a whole fence passes, then it enters: into the phase that is no longer the current one. A fence
  // that turns the phase over and waits for the other one only would miss it.
  state().on_cpu = [&] { EXPECT_TRUE(s.fence(in(1)).ok()); };
  const auto late = s.enter();
  EXPECT_EQ(s.fence(in(5)).code(), errc::timed_out);
  s.leave(late);
  EXPECT_TRUE(s.fence(in(5)).ok());
}

TEST_F(ats_section_test, a_fence_that_gave_up_loses_nobody) {
  const auto first = s.enter();
  for (int i = 0; i != 3; ++i) EXPECT_EQ(s.fence(in(3)).code(), errc::timed_out);
  const auto second = s.enter();
  s.leave(first);
  EXPECT_EQ(s.fence(in(3)).code(), errc::timed_out);
  s.leave(second);
  EXPECT_TRUE(s.fence(in(3)).ok());
}

TEST_F(ats_section_test, unfinished_work_is_remembered) {
  s.leave(s.enter());
  EXPECT_FALSE(s.unfinished());
  s.leave(s.enter(), true);
  s.leave(s.enter());
  EXPECT_TRUE(s.unfinished());
}

}  // namespace
