// SPDX-License-Identifier: MIT
#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "invs/ats_world.hpp"

// attach, detach, replace and reattach of stage 1, stage 2 and nesting parents, with ATS off, switched and kept: the exact order
// of publications, entry writes, commands and endpoint switches, and a failure at each step.
namespace {
using namespace invs_test;

using words = std::vector<std::string>;

struct kind {
  const char* name;
  translation_stage stage;
  bool parent;
};
void PrintTo(const kind& k, std::ostream* out) { *out << k.name; }

class ats_base : public fixture {
 protected:
  explicit ats_base(kind k) : kind_{k} {
    domain_options o;
    o.stage = k.stage;
    o.nesting_parent = k.parent;
    a = std::make_unique<domain_t>(o);
    o.number = 1;
    b = std::make_unique<domain_t>(o);
    w.watch("A", *a);
    w.watch("B", *b);
    for (auto* x : {&p, &q}) w.watch(*x);
  }
  void SetUp() override {
    fixture::SetUp();
    state().on_fence = [this] { w.fence(); };
  }
  void TearDown() override {
    EXPECT_TRUE(a->check_invariants());
    EXPECT_TRUE(b->check_invariants());
    a.reset();
    b.reset();
    EXPECT_EQ(w.violations, words{});
    for (auto* x : {&p, &q}) {
      EXPECT_EQ(x->violations(), words{});
      EXPECT_EQ(x->unsettled(), expected_unsettled);
    }
    fixture::TearDown();
  }
  struct device {
    recording_port& port;
    std::vector<stream_id> sids;
    substream_id pasid{};
    attachment_t at{};
    device(recording_port& port_, std::vector<unsigned> s, unsigned pasid_ = 0) : port{port_}, pasid{pasid_} {
      for (const unsigned i : s) sids.push_back(stream_id{i});
    }
    master_t m(bool ats = false, unsigned stu = 0) { return {port, sids, pasid, ats, static_cast<std::uint8_t>(stu)}; }
  };
  ats_world::ops ops(device& x) { return {w, x.port, x.sids}; }
  status attach(device& x, bool ats, domain_t& to) {
    auto o = ops(x);
    const status s = to.attach(x.at, x.m(ats), o, soon);
    w.ended(o, s, x.at.attached());
    return s;
  }
  status attach(device& x, bool ats) { return attach(x, ats, *a); }
  status detach(device& x, domain_t& from) {
    auto o = ops(x);
    const status s = from.detach(x.at, o, soon);
    w.ended(o, s, x.at.attached());
    return s;
  }
  status detach(device& x) { return detach(x, *a); }
  status replace(device& x) {
    auto o = ops(x);
    const status s = a->replace(x.at, *b, o, soon);
    w.ended(o, s, x.at.attached());
    return s;
  }
  status replace(device& x, bool ats) {
    auto o = ops(x);
    const status s = a->replace(x.at, *b, x.m(ats), o, soon);
    w.ended(o, s, x.at.attached());
    return s;
  }
  status reattach(device& x, bool ats) {
    auto o = ops(x);
    const status s = a->reattach(x.at, x.m(ats), o, soon);
    w.ended(o, s, x.at.attached());
    return s;
  }
  static std::vector<std::uint32_t> users(domain_t& of) {
    std::vector<std::uint32_t> v;
    of.each_entry([&](const spec_t&, std::uint32_t n) { v.push_back(n); });
    return v;
  }
  using counts = std::vector<std::uint32_t>;

  // The words of a trace, for this kind of domain.
  [[nodiscard]] std::string tag_word(unsigned id) const {
    return (kind_.stage == translation_stage::one ? "asid" : "vmid") + std::to_string(id);
  }
  [[nodiscard]] std::string entries(unsigned id, unsigned n, const std::string& devices = "") const {
    std::string s = tag_word(id) + "*" + std::to_string(n);
    if (kind_.parent) s += " clear" + std::to_string(id) + "*" + std::to_string(n);
    return s + (devices.empty() ? "" : " " + devices);
  }
  [[nodiscard]] std::string in_a(unsigned id, unsigned n, const std::string& devices = "") const {
    return " A[" + entries(id, n, devices) + "]";
  }
  [[nodiscard]] std::string in_b(unsigned id, unsigned n, const std::string& devices = "") const {
    return " B[" + entries(id, n, devices) + "]";
  }
  [[nodiscard]] std::string dev(unsigned sid) const { return (kind_.parent ? "full" : "ats") + std::to_string(sid) + "*1"; }
  [[nodiscard]] std::string flush(unsigned id) const {
    return (kind_.stage == translation_stage::one ? "0: NH_ASID " : "0: S12_VMALL ") + std::to_string(id);
  }
  const std::string wipe{"0: ATC_INV 7 all"};

  kind kind_;
  ats_world w;
  recording_port p{0}, q{1};
  std::unique_ptr<domain_t> a, b;
  std::size_t expected_unsettled{};
  const range_piece page{0x1000, 0x1000, granule::k4, 8, 0};
};

class domain_ats : public ats_base, public ::testing::WithParamInterface<kind> {
 protected:
  domain_ats() : ats_base{GetParam()} {}
};
INSTANTIATE_TEST_SUITE_P(kinds, domain_ats,
                         ::testing::Values(kind{"stage_1", translation_stage::one, false}, kind{"stage_2", translation_stage::two, false},
                                           kind{"nesting_parent", translation_stage::two, true}),
                         [](const auto& i) { return i.param.name; });

// ---- exact orders ----

TEST_P(domain_ats, attach_and_detach_without_ats) {
  device x{p, {7}};
  ASSERT_TRUE(attach(x, false).ok());
  EXPECT_EQ(w.take_log(), (words{"fence" + in_a(1, 1), "translate " + tag_word(1)}));
  EXPECT_FALSE(x.at.ats());
  EXPECT_EQ(ats_world::spell(x.at.current_tag()), tag_word(1));
  ASSERT_TRUE(detach(x).ok());
  EXPECT_EQ(w.take_log(), (words{"block", flush(1)})) << "one flush of the tag, which takes stage 1 of a VMID along";
  EXPECT_EQ(p.tags().used(), 0u);
}
TEST_P(domain_ats, attach_and_detach_with_ats) {
  device x{p, {7}};
  ASSERT_TRUE(attach(x, true).ok());
  EXPECT_EQ(w.take_log(), (words{"fence" + in_a(1, 1, dev(7)), "translate " + tag_word(1) + " ats", "ats on", wipe}));
  EXPECT_TRUE(x.at.ats());
  EXPECT_TRUE(a->check_invariants());
  ASSERT_TRUE(detach(x).ok());
  EXPECT_EQ(w.take_log(), (words{"block", wipe, "fence", flush(1), "ats off"}));
}
TEST_P(domain_ats, replace_without_ats) {
  device x{p, {7}};
  ASSERT_TRUE(attach(x, false).ok());
  w.take_log();
  ASSERT_TRUE(replace(x).ok());
  EXPECT_EQ(w.take_log(), (words{"fence" + in_a(1, 1) + in_b(2, 1), "translate " + tag_word(2), flush(1)}));
  ASSERT_TRUE(detach(x, *b).ok());
}
TEST_P(domain_ats, replace_with_ats_kept) {
  device x{p, {7}};
  ASSERT_TRUE(attach(x, true).ok());
  w.take_log();
  ASSERT_TRUE(replace(x).ok());
  EXPECT_EQ(w.take_log(), (words{"fence" + in_a(1, 1, dev(7)) + in_b(2, 1, dev(7)), "translate " + tag_word(2) + " ats", wipe,
                                 "fence" + in_b(2, 1, dev(7)), flush(1)}));
  EXPECT_TRUE(x.at.ats());
  ASSERT_TRUE(detach(x, *b).ok());
}
TEST_P(domain_ats, replace_that_switches_ats_on) {
  device x{p, {7}};
  ASSERT_TRUE(attach(x, false).ok());
  w.take_log();
  ASSERT_TRUE(replace(x, true).ok());
  EXPECT_EQ(w.take_log(),
            (words{"fence" + in_a(1, 1) + in_b(2, 1, dev(7)), "translate " + tag_word(2) + " ats", "ats on", wipe, flush(1)}));
  ASSERT_TRUE(detach(x, *b).ok());
}
TEST_P(domain_ats, replace_that_switches_ats_off) {
  device x{p, {7}};
  ASSERT_TRUE(attach(x, true).ok());
  w.take_log();
  ASSERT_TRUE(replace(x, false).ok());
  EXPECT_EQ(w.take_log(), (words{"fence" + in_a(1, 1, dev(7)) + in_b(2, 1), "translate " + tag_word(2), wipe, "fence" + in_b(2, 1),
                                 flush(1), "ats off"}));
  EXPECT_FALSE(x.at.ats());
  ASSERT_TRUE(detach(x, *b).ok());
}
TEST_P(domain_ats, reattach_on_and_off_keeps_the_tag) {
  device x{p, {7}};
  ASSERT_TRUE(attach(x, false).ok());
  w.take_log();
  ASSERT_TRUE(reattach(x, true).ok());
  EXPECT_EQ(w.take_log(), (words{"fence" + in_a(1, 2, dev(7)), flush(1), "translate " + tag_word(1) + " ats", "ats on", wipe}));
  EXPECT_EQ(users(*a)[0], 1u);
  EXPECT_TRUE(a->check_invariants());
  EXPECT_EQ(reattach(x, true).code(), errc::already_present);
  ASSERT_TRUE(reattach(x, false).ok());
  EXPECT_EQ(w.take_log(), (words{"fence" + in_a(1, 2, dev(7)), "translate " + tag_word(1), wipe, "fence" + in_a(1, 1), "ats off"}));
  EXPECT_TRUE(a->check_invariants());
  ASSERT_TRUE(detach(x).ok());
}
TEST_P(domain_ats, a_second_master_keeps_the_tag_alive) {
  device x{p, {7}}, y{p, {9}};
  ASSERT_TRUE(attach(x, true).ok());
  w.take_log();
  ASSERT_TRUE(attach(y, true).ok());
  const auto joined = w.take_log();
  EXPECT_EQ((words{joined.begin() + 1, joined.end()}), (words{flush(1), "translate " + tag_word(1) + " ats", "ats on", "0: ATC_INV 9 all"}))
      << "a TLB entry that an earlier reader has yet to invalidate must not live on in the new cache";
  ASSERT_TRUE(detach(x).ok());
  EXPECT_EQ(w.take_log(), (words{"block", wipe, "fence" + in_a(1, 1, dev(9)), "ats off"}));
  ASSERT_TRUE(detach(y).ok());
}
TEST_P(domain_ats, several_streams_are_wiped_in_one_list) {
  device x{p, {7, 8, 12}};
  ASSERT_TRUE(attach(x, true).ok());
  const auto log = w.take_log();
  EXPECT_EQ(log.front(), "fence" + in_a(1, 1, dev(7) + " " + dev(8) + " " + dev(12)));
  EXPECT_EQ(log.back(), "0: ATC_INV 7 all ATC_INV 8 all ATC_INV 12 all");
  ASSERT_TRUE(detach(x).ok());
  EXPECT_EQ(w.take_log(), (words{"block", log.back(), "fence", flush(1), "ats off"}));
}
TEST_P(domain_ats, more_streams_than_a_list_takes_are_wiped_in_parts_with_their_own_syncs) {
  p.set_max_list(3);
  device x{p, {1, 2, 3, 4, 5}};
  ASSERT_TRUE(attach(x, true).ok());
  const auto log = w.take_log();
  EXPECT_EQ((words{log.begin() + 3, log.end()}),
            (words{"0: ATC_INV 1 all ATC_INV 2 all", "0: ATC_INV 3 all ATC_INV 4 all", "0: ATC_INV 5 all"}));
  for (const auto& l : p.lists()) EXPECT_EQ(l.closing, completion::sync);
  p.set_max_list(128);
  ASSERT_TRUE(detach(x).ok());
}
TEST_P(domain_ats, an_invalidation_is_one_list_with_interior_syncs) {
  device x{p, {7}}, y{q, {7}};
  ASSERT_TRUE(attach(x, true).ok());
  ASSERT_TRUE(attach(y, false).ok());
  w.take_log();
  ASSERT_TRUE(a->invalidate({&page, 1}, soon).ok());
  const auto log = w.take_log();
  const std::string range = kind_.stage == translation_stage::one ? ": NH_VA 1" : kind_.parent ? ": S2_IPA 1 SYNC NH_ALL 1" : ": S2_IPA 1";
  EXPECT_EQ((words{log.end() - 2, log.end()}), (words{"0" + range + " SYNC ATC_INV 7" + (kind_.parent ? " all" : ""), "1" + range}));
  ASSERT_TRUE(a->invalidate_all(soon).ok());
  const auto all = w.take_log();
  const std::string whole = flush(1).substr(1);
  EXPECT_EQ((words{all.end() - 2, all.end()}), (words{"0" + whole + " SYNC ATC_INV 7 all", "1" + whole}));
  EXPECT_EQ(a->check_invariants(), true);
  ASSERT_TRUE(detach(x).ok());
  ASSERT_TRUE(detach(y).ok());
}
TEST_P(domain_ats, without_device_caches_no_invalidation_enters_the_section) {
  device x{p, {7}}, y{p, {8}};
  ASSERT_TRUE(attach(x, false).ok());
  auto fences = state().fences;
  ASSERT_TRUE(a->invalidate({&page, 1}, soon).ok());
  EXPECT_EQ(state().fences, fences + 1);
  ASSERT_TRUE(attach(y, true).ok());
  fences = state().fences;
  ASSERT_TRUE(a->invalidate({&page, 1}, soon).ok());
  EXPECT_EQ(state().fences, fences + 2);
  ASSERT_TRUE(detach(y).ok());
  a->purge();
  fences = state().fences;
  ASSERT_TRUE(a->invalidate({&page, 1}, soon).ok());
  EXPECT_EQ(state().fences, fences + 1) << "a purge (or attach) drops the mark of device caches";
  ASSERT_TRUE(detach(x).ok());
}
TEST_P(domain_ats, detach_with_many_streams_allocates_nothing) {
  device x{p, {1, 2, 3, 4, 5, 6}};
  ASSERT_TRUE(attach(x, true).ok());
  state().fail_allocations = 100;
  ASSERT_TRUE(detach(x).ok());
  EXPECT_EQ(state().fail_allocations, 100u);
  state().fail_allocations = 0;
}

// ---- readers and the fence ----

TEST_P(domain_ats, detach_reports_a_reader_that_does_not_finish_and_leaves_ats_on) {
  device x{p, {7}}, y{q, {9}};
  ASSERT_TRUE(attach(x, true).ok());
  q.control().polls_to_complete = 1;
  ASSERT_TRUE(attach(y, false).ok());
  auto reader = a->begin({&page, 1}, soon);
  ASSERT_FALSE(reader.finished());
  w.take_log();
  EXPECT_EQ(detach(x).code(), errc::timed_out);
  EXPECT_FALSE(x.at.attached()) << "the software side completes";
  const auto log = w.take_log();
  EXPECT_EQ(log.back(), flush(1)) << "and no switching off";
  EXPECT_EQ(log[log.size() - 2], "fence" + std::string{" A["} + "1:" + tag_word(1) + "*1" + (kind_.parent ? " 1:clear1*1]" : "]"));
  EXPECT_EQ(a->fence(deadline{instant{state().now + 50}}).code(), errc::timed_out);
  EXPECT_TRUE(a->finish(reader, soon).ok());
  EXPECT_TRUE(a->fence(soon).ok());
  auto o = ops(x);
  EXPECT_TRUE(o.ats(false).ok()) << "now the caller may switch it off";
  q.control() = {};
  ASSERT_TRUE(detach(y).ok());
}
TEST_P(domain_ats, a_reader_that_came_in_through_a_superseded_array_is_waited_for) {
  device x{p, {7}}, y{q, {9}}, z{q, {10}};
  ASSERT_TRUE(attach(x, true).ok());
  ASSERT_TRUE(attach(y, false).ok());
  q.control().polls_to_complete = 1;
  auto reader = a->begin({&page, 1}, soon);
  ASSERT_TRUE(attach(z, true).ok()) << "publishes another array: a fence inside the first one would miss the reader";
  bool finished = false;
  state().on_relax = [&] {
    if (state().now > 30 && !finished) finished = a->finish(reader, soon).ok();
  };
  ASSERT_TRUE(detach(x).ok());
  EXPECT_TRUE(finished) << "detach came back before the reader was done";
  state().on_relax = nullptr;
  q.control() = {};
  ASSERT_TRUE(detach(y).ok());
  ASSERT_TRUE(detach(z).ok());
}
TEST_P(domain_ats, a_reader_that_saw_a_superseded_array_but_was_not_inside_looks_again) {
  device x{p, {7}}, y{p, {9}}, z{p, {10}};
  ASSERT_TRUE(attach(x, true).ok());
  ASSERT_TRUE(attach(y, true).ok());
  bool detached = false;
  state().on_cpu = [&] {  // the reader has loaded the array and is about to enter
    detached = attach(z, true).ok() && detach(x).ok();
  };
  w.take_log();
  ASSERT_TRUE(a->invalidate({&page, 1}, soon).ok());
  EXPECT_TRUE(detached);
  EXPECT_EQ(w.take_log().back().find("ATC_INV 7"), std::string::npos);
  ASSERT_TRUE(detach(y).ok());
  ASSERT_TRUE(detach(z).ok());
}
TEST_P(domain_ats, a_reader_whose_last_device_left_meanwhile_stays_outside) {
  device x{p, {7}}, y{p, {9}};
  ASSERT_TRUE(attach(x, true).ok());
  ASSERT_TRUE(attach(y, false).ok());
  state().on_cpu = [&] {
    EXPECT_TRUE(detach(x).ok());
    EXPECT_TRUE(a->purge());
  };
  p.control().polls_to_complete = 1;
  auto reader = a->begin({&page, 1}, soon);
  EXPECT_TRUE(a->fence(deadline{instant{state().now + 5}}).ok());
  EXPECT_TRUE(a->finish(reader, soon).ok());
  p.control() = {};
  ASSERT_TRUE(detach(y).ok());
}
TEST_P(domain_ats, behind_an_abandoned_invalidation_detach_waits_for_the_queue) {
  device x{p, {7}}, y{p, {9}};
  ASSERT_TRUE(attach(x, true).ok());
  ASSERT_TRUE(attach(y, true).ok());
  p.control().never_complete = true;
  EXPECT_EQ(a->invalidate({&page, 1}, soon).code(), errc::timed_out);
  p.control() = {};
  w.take_log();
  ASSERT_TRUE(detach(x).ok());
  EXPECT_EQ(w.take_log(), (words{"block", wipe, "fence" + in_a(1, 1, dev(9)), flush(1), "ats off"}))
      << "a SYNC behind the fence shows that what was given up has left the queue";
  ASSERT_TRUE(detach(y).ok());
  p.settle_all();
}

// ---- failures ----

TEST_P(domain_ats, a_failed_switch_on_is_undone) {
  device x{p, {7}};
  auto o = ops(x);
  o.ats_script = {errc::timed_out};
  EXPECT_EQ(a->attach(x.at, x.m(true), o, soon).code(), errc::timed_out);
  EXPECT_FALSE(x.at.attached());
  EXPECT_EQ(w.take_log(), (words{"fence" + in_a(1, 1, dev(7)), "translate " + tag_word(1) + " ats", "ats on", "block", wipe, "fence",
                                 flush(1), "ats off"}));
  EXPECT_EQ(p.tags().used(), 0u);
}
TEST_P(domain_ats, a_device_that_does_not_answer_is_not_attached) {
  device x{p, {7}};
  w.fail_in = 2;  // translate, ats on, wipe
  EXPECT_EQ(attach(x, true).code(), errc::atc_timed_out);
  EXPECT_FALSE(x.at.attached());
  EXPECT_EQ(users(*a), counts{});
}
TEST_P(domain_ats, a_detach_whose_device_does_not_answer_goes_on_and_reports) {
  device x{p, {7}};
  ASSERT_TRUE(attach(x, true).ok());
  w.take_log();
  w.fail_in = 1;  // block, wipe
  EXPECT_EQ(detach(x).code(), errc::atc_timed_out);
  EXPECT_EQ(w.take_log(), (words{"block", wipe, "fence", flush(1), "ats off"})) << "EATS = 0 stops it anyway";
  EXPECT_FALSE(x.at.attached());
  EXPECT_EQ(p.tags().used(), 0u);
}
TEST_P(domain_ats, a_detach_that_cannot_block_pins_device_entries_too) {
  device x{p, {7}};
  ASSERT_TRUE(attach(x, true).ok());
  w.take_log();
  w.fail_in = 0;
  EXPECT_EQ(detach(x).code(), errc::queue_failed);
  EXPECT_EQ(w.take_log(), (words{"block"})) << "nothing is taken from a device that may go on";
  EXPECT_EQ(users(*a), (kind_.parent ? counts{1, 1, 1} : counts{1, 1}));
  EXPECT_TRUE(a->check_invariants());
  w.reset();
  EXPECT_TRUE(a->forget(p, soon).ok());
  EXPECT_EQ(users(*a), counts{});
  EXPECT_EQ(p.tags().used(), 0u);
}

TEST_P(domain_ats, forgetting_an_instance_waits_for_readers_that_may_still_ask_its_devices) {
  device x{p, {7}}, y{q, {9}};
  ASSERT_TRUE(attach(x, true).ok());
  ASSERT_TRUE(attach(y, false).ok());
  w.fail_in = 0;
  EXPECT_EQ(detach(x).code(), errc::queue_failed);
  w.reset();
  q.control().polls_to_complete = 1;
  auto reader = a->begin({&page, 1}, soon);
  ASSERT_FALSE(reader.finished());
  EXPECT_EQ(a->forget(p, deadline{instant{state().now + 20}}).code(), errc::timed_out);
  EXPECT_EQ(a->forget(p, soon).code(), errc::not_present) << "it was done all the same";
  EXPECT_TRUE(a->finish(reader, soon).ok());
  EXPECT_TRUE(a->fence(soon).ok());
  q.control() = {};
  ASSERT_TRUE(detach(y).ok());
}

/// One operation of the four, from a known state, with the n-th step failing (once, or from there on): whatever happens, the
/// judge is content, the domains are whole, a failed attach left nothing, a failed change left the master somewhere definite.
TEST_P(domain_ats, a_failure_at_any_step_leaves_nothing_half_done) {
  enum class op { attach, detach, replace, reattach };
  unsigned explored = 0;
  for (const op what : {op::attach, op::detach, op::replace, op::reattach}) {
    for (const bool before : {false, true}) {
      for (const bool after : {false, true}) {
        for (const bool for_good : {false, true}) {
          for (int step = 0;; ++step) {
            const std::string where = std::to_string(static_cast<int>(what)) + (before ? " ats" : "") + (after ? " -> ats" : "") +
                                      (for_good ? " for good" : "") + " step " + std::to_string(step);
            SCOPED_TRACE(where);
            device x{p, {7}}, other{p, {9}};
            ASSERT_TRUE(attach(other, true).ok());
            if (what != op::attach) {
              ASSERT_TRUE(attach(x, before).ok());
            }
            const unsigned done = w.steps;
            w.fail_in = step;
            w.for_good = for_good;
            status s;
            switch (what) {
              case op::attach: s = attach(x, after); break;
              case op::detach: s = detach(x); break;
              case op::replace: s = replace(x, after); break;
              case op::reattach: s = reattach(x, after); break;
            }
            const bool reached = w.steps - done > static_cast<unsigned>(step);
            w.fail_in = -1;
            w.for_good = false;
            EXPECT_TRUE(a->check_invariants());
            EXPECT_TRUE(b->check_invariants());
            const bool changes = what != op::reattach || before != after;
            if (reached) {
              ++explored;
              EXPECT_FALSE(s.ok());
              EXPECT_TRUE(x.at.attached() == false || what == op::replace || what == op::reattach);
            } else {
              EXPECT_EQ(s.code(), changes ? errc::ok : errc::already_present);
            }
            // Wherever it is now, it can be taken away; what is pinned can be forgotten after a reset.
            if (x.at.attached()) {
              const status in_a = detach(x);
              if (!in_a.ok()) {
                EXPECT_EQ(in_a.code(), errc::not_present);
                EXPECT_TRUE(detach(x, *b).ok());
              }
            }
            EXPECT_TRUE(detach(other).ok());
            w.reset();
            static_cast<void>(a->forget(p, soon).ok());
            static_cast<void>(b->forget(p, soon).ok());
            EXPECT_EQ(users(*a), counts{});
            EXPECT_EQ(users(*b), counts{});
            EXPECT_EQ(p.tags().used(), 0u);
            if (!reached) break;
          }
        }
      }
    }
  }
  EXPECT_GT(explored, 50u);
}
TEST_P(domain_ats, control_operations_abandon_the_tickets_that_time_out) {
  device x{p, {7}}, y{p, {8}};
  ASSERT_TRUE(attach(x, true).ok());
  p.control().never_complete = true;
  EXPECT_EQ(attach(y, true).code(), errc::timed_out);
  EXPECT_EQ(p.abandoned(), 1u) << "the flush before it may cache: nothing else was done that would have to be undone";
  EXPECT_EQ(detach(x).code(), errc::timed_out);
  EXPECT_EQ(p.abandoned(), 3u) << "the wipe and the flush of the tag";
  EXPECT_EQ(p.tags().used(), 0u);
  EXPECT_TRUE(p.tags().retired(tag{kind_.stage == translation_stage::one ? tag_kind::asid : tag_kind::vmid, 1}));
  p.control() = {};
  p.settle_all();
}
TEST_P(domain_ats, without_memory_nothing_happens) {
  device x{p, {7, 8, 9}};
  for (unsigned n = 1; n != 3; ++n) {
    // The first allocation is the master's entries, the second the array.
    state().fail_allocations = 0;
    ASSERT_TRUE(attach(x, false).ok());
    w.take_log();
    state().fail_allocations = n;
    EXPECT_EQ(replace(x, true).code(), errc::no_memory);
    state().fail_allocations = n;
    EXPECT_EQ(reattach(x, true).code(), errc::no_memory);
    state().fail_allocations = 0;
    EXPECT_EQ(w.take_log(), words{});
    EXPECT_EQ(p.tags().used(), 1u);
    ASSERT_TRUE(detach(x).ok());
    state().fail_allocations = n;
    w.take_log();
    EXPECT_EQ(attach(x, true).code(), errc::no_memory);
    state().fail_allocations = 0;
    EXPECT_EQ(w.take_log(), words{});
    EXPECT_EQ(p.tags().used(), 0u);
  }
}

// ---- the judge sees each step that is left out ----

TEST_P(domain_ats, the_judge_sees_lost_wipes) {
  device x{p, {7}};
  p.control().deaf_to = opcode::atc_inv;
  ASSERT_TRUE(attach(x, true).ok());
  EXPECT_EQ(std::exchange(w.violations, {}), (words{"0:7/0 may use what it cached of another translation when an operation ends"}));
  ASSERT_TRUE(detach(x).ok());
  EXPECT_EQ(std::exchange(w.violations, {}), (words{"0:7/0 left the array before its cache was wiped"}));
}
TEST_P(domain_ats, the_judge_sees_an_entry_that_keeps_eats) {
  struct forgetful : ats_world::ops {
    status write_entry(install i) {
      if (i.what == install::action::translate) i.ats = true;
      return ops::write_entry(i);
    }
  };
  device x{p, {7}};
  ASSERT_TRUE(attach(x, true).ok());
  forgetful o{ops(x)};
  ASSERT_TRUE(a->reattach(x.at, x.m(false), o, soon).ok());
  const auto seen = std::exchange(w.violations, {});
  EXPECT_NE(std::find(seen.begin(), seen.end(), "0:7/0 may cache but is in no array: fence"), seen.end());
  EXPECT_NE(std::find(seen.begin(), seen.end(), "0:7/0 switched off while its entry has EATS"), seen.end());
  ASSERT_TRUE(detach(x).ok());
}
TEST_P(domain_ats, the_judge_sees_a_device_switched_on_too_early_and_off_too_early) {
  device x{p, {7}};
  struct hasty : ats_world::ops {
    status write_entry(const install& i) {
      const bool on = i.what == install::action::translate;
      EXPECT_TRUE(ats_world::ops::ats(on).ok());
      return ats_world::ops::write_entry(i);
    }
    status ats(bool) { return {}; }
  };
  ASSERT_TRUE(attach(x, true).ok());  // makes the stream known
  ASSERT_TRUE(detach(x).ok());
  hasty o{ops(x)};
  ASSERT_TRUE(a->attach(x.at, x.m(true), o, soon).ok());
  EXPECT_EQ(std::exchange(w.violations, {}), (words{"0:7/0 switched on before its entry has EATS"}));
  ASSERT_TRUE(a->detach(x.at, o, soon).ok());
  EXPECT_EQ(std::exchange(w.violations, {}), (words{"0:7/0 switched off while its entry has EATS",
                                                    "0:7/0 switched off while an array lists it", "0:7/0 switched off before a fence"}));
}
TEST_P(domain_ats, the_judge_sees_an_invalidation_behind_a_detach) {
  device x{p, {7}};
  ASSERT_TRUE(attach(x, true).ok());
  ASSERT_TRUE(detach(x).ok());
  const command late = cmd::atc_inv{stream_id{7}, {}, false, false, 0, 0x1000}.encode();
  auto t = p.submit(array_list{&late, 1}, soon);
  ASSERT_TRUE(t.ok());
  EXPECT_TRUE(p.wait(*t, soon).ok());
  EXPECT_EQ(std::exchange(w.violations, {}), (words{"0:7/0 is asked although detached"}));
}

// ---- what only stage 1 has ----

class domain_pasid : public ats_base {
 protected:
  domain_pasid() : ats_base{{"stage_1", translation_stage::one, false}} {}
};

TEST_F(domain_pasid, contexts_of_one_device_share_the_tag_and_have_their_own_cache_entries) {
  device x{p, {7}}, y{p, {7}, 4}, z{p, {7}, 5};
  ASSERT_TRUE(attach(x, true).ok());
  ASSERT_TRUE(attach(y, true).ok());
  ASSERT_TRUE(attach(z, true).ok());
  const auto log = w.take_log();
  EXPECT_EQ(log[log.size() - 5], "fence A[asid1*3 ats7*1 ats7/4*1 ats7/5*1]");
  EXPECT_EQ(log.back(), "0: ATC_INV 7/5 all");
  EXPECT_EQ(log[log.size() - 4], "0: NH_ASID 1") << "before the device may ask";
  EXPECT_EQ(log[log.size() - 3], "translate asid1/5 ats");
  ASSERT_TRUE(a->invalidate({&page, 1}, soon).ok());
  EXPECT_EQ(w.take_log().back(), "0: NH_VA 1 SYNC ATC_INV 7 ATC_INV 7/4 ATC_INV 7/5");
  EXPECT_EQ(attach(y, true).code(), errc::already_present);
  // The endpoint's enable belongs to the stream: the callables count, which these here need not.
  struct counting : ats_world::ops {
    status ats(bool) { return {}; }
  };
  for (auto* d : {&y, &z}) {
    counting o{ops(*d)};
    ASSERT_TRUE(a->detach(d->at, o, soon).ok());
    w.ended(o, {}, false);
  }
  EXPECT_EQ(w.take_log(), (words{"block/4", "0: ATC_INV 7/4 all", "fence A[asid1*2 ats7*1 ats7/5*1]", "block/5", "0: ATC_INV 7/5 all",
                                 "fence A[asid1*1 ats7*1]"}));
  ASSERT_TRUE(detach(x).ok());
}
TEST_F(domain_pasid, a_context_whose_device_does_not_answer_stays_covered) {
  device x{p, {7}, 4};
  ASSERT_TRUE(attach(x, true).ok());
  w.take_log();
  w.fail_in = 1;
  EXPECT_EQ(detach(x).code(), errc::atc_timed_out);
  EXPECT_EQ(w.take_log(), (words{"block/4", "0: ATC_INV 7/4 all", "0: NH_ASID 1"}))
      << "EATS is not its own: the cache may still be used, so the device stays in the array, with its ATS on";
  EXPECT_EQ(users(*a), counts{1});
  EXPECT_TRUE(a->check_invariants());
  ASSERT_TRUE(a->invalidate({&page, 1}, soon).ok());
  EXPECT_EQ(w.take_log().back(), "0: ATC_INV 7/4");
  w.reset();
  EXPECT_TRUE(a->forget(p, soon).ok());
}
TEST_F(domain_pasid, e2h_instances_use_their_own_commands) {
  auto f = recording_port::default_features();
  f.e2h = true;
  recording_port e{5, f};
  w.watch(e);
  device x{e, {7}};
  ASSERT_TRUE(attach(x, true).ok());
  ASSERT_TRUE(a->invalidate({&page, 1}, soon).ok());
  EXPECT_EQ(w.take_log().back(), "5: EL2_VA 1 SYNC ATC_INV 7");
  ASSERT_TRUE(detach(x).ok());
  const auto log = w.take_log();
  EXPECT_EQ(log[log.size() - 2], "5: EL2_ASID 1");
  EXPECT_EQ(e.violations(), words{});
}
TEST_F(domain_pasid, the_unit_of_a_device_widens_its_spans_and_cannot_change_while_ats_is_on) {
  device x{p, {7}};
  auto o = ops(x);
  ASSERT_TRUE(a->attach(x.at, x.m(true, 2), o, soon).ok());
  ASSERT_TRUE(a->invalidate({&page, 1}, soon).ok());
  EXPECT_EQ(cmd::atc_inv::decode(p.lists().back().commands.back()).size, 2);
  EXPECT_EQ(a->reattach(x.at, x.m(true, 3), o, soon).code(), errc::invalid_argument);
  EXPECT_EQ(a->replace(x.at, *b, x.m(true, 3), o, soon).code(), errc::invalid_argument);
  ASSERT_TRUE(a->replace(x.at, *b, o, soon).ok());
  ASSERT_TRUE(b->invalidate({&page, 1}, soon).ok());
  EXPECT_EQ(cmd::atc_inv::decode(p.lists().back().commands.back()).size, 2) << "kept";
  ASSERT_TRUE(detach(x, *b).ok());
}
TEST_F(domain_pasid, a_master_may_move_between_stages) {
  domain_options two;
  two.stage = translation_stage::two;
  two.number = 2;
  domain_t c{two};
  w.watch("C", c);
  device x{p, {7}};
  ASSERT_TRUE(attach(x, true).ok());
  w.take_log();
  auto o = ops(x);
  ASSERT_TRUE(a->replace(x.at, c, o, soon).ok());
  EXPECT_EQ(w.take_log(),
            (words{"fence A[asid1*1 ats7*1] C[vmid1*1 ats7*1]", "translate vmid1 ats", wipe, "fence C[vmid1*1 ats7*1]", "0: NH_ASID 1"}));
  ASSERT_TRUE(c.detach(x.at, o, soon).ok());
  w.reset();
}

// ---- bad input ----

TEST_F(domain_pasid, refuses_what_the_port_or_the_stage_lacks_and_changes_nothing) {
  auto f = recording_port::default_features();
  f.ats = f.stage2 = false;
  f.substream_bits = 4;
  f.stream_bits = 8;
  recording_port bare{3, f};
  f = recording_port::default_features();
  f.stage1 = false;
  f.address_bits = 40;
  recording_port only2{4, f};
  f = recording_port::default_features();
  f.vmid_bits = f.asid_bits = 0;  // every tag is too wide
  recording_port narrow{5, f};
  f = recording_port::default_features();
  f.granules = 0b1000;
  recording_port only64{6, f};
  attachment_t at;
  const auto try_it = [&](recording_port& port, domain_options o, unsigned pasid, bool ats, unsigned stu = 0) {
    domain_t d{o};
    const std::vector<stream_id> s{stream_id{1}};
    ats_world::ops op{w, port, s};
    const errc e = d.attach(at, {port, s, substream_id{pasid}, ats, static_cast<std::uint8_t>(stu)}, op, soon).code();
    EXPECT_FALSE(at.attached());
    EXPECT_EQ(port.tags().used(), 0u);
    EXPECT_TRUE(port.lists().empty());
    EXPECT_TRUE(d.check_invariants());
    return e;
  };
  domain_options one, two, parent, wrong;
  two.stage = parent.stage = translation_stage::two;
  parent.nesting_parent = wrong.nesting_parent = true;
  EXPECT_EQ(try_it(bare, one, 0, true), errc::unsupported) << "ATS";
  EXPECT_EQ(try_it(bare, one, 16, false), errc::out_of_range) << "PASID";
  EXPECT_EQ(try_it(p, one, 1u << 20, true), errc::out_of_range) << "PASID wider than a command";
  EXPECT_EQ(try_it(bare, two, 0, false), errc::unsupported) << "stage 2";
  EXPECT_EQ(try_it(only2, one, 0, false), errc::unsupported) << "stage 1";
  EXPECT_EQ(try_it(only2, parent, 0, false), errc::unsupported) << "a nesting parent needs both";
  EXPECT_EQ(try_it(p, wrong, 0, false), errc::invalid_argument);
  EXPECT_EQ(try_it(p, two, 1, false), errc::unsupported) << "stage 2 has no context descriptors";
  EXPECT_EQ(try_it(only2, two, 0, false), errc::out_of_range) << "IPAs wider than addresses";
  EXPECT_EQ(try_it(only64, one, 0, false), errc::unsupported) << "granule";
  EXPECT_EQ(try_it(p, one, 0, true, 32), errc::invalid_argument) << "STU";
  domain_options small = one;
  small.address_bits = 30;
  EXPECT_EQ(try_it(p, small, 0, true, 19), errc::out_of_range) << "a unit larger than the address range";
  EXPECT_EQ(try_it(narrow, one, 0, false), errc::out_of_range) << "a tag wider than the features";
  EXPECT_EQ(try_it(narrow, two, 0, false), errc::out_of_range);
  EXPECT_EQ(w.take_log(), words{}) << "no array was published, no entry written, nothing sent";
  EXPECT_EQ(state().live_blocks, 0u);
}
TEST_F(domain_pasid, a_change_refuses_another_master) {
  device x{p, {7}}, y{p, {8}}, z{q, {7}}, v{p, {7}, 3}, u{p, {7, 8}};
  ASSERT_TRUE(attach(x, false).ok());
  auto o = ops(x);
  for (auto* other : {&y, &z, &v, &u}) {
    EXPECT_EQ(a->reattach(x.at, other->m(true), o, soon).code(), errc::invalid_argument);
    EXPECT_EQ(a->replace(x.at, *b, other->m(true), o, soon).code(), errc::invalid_argument);
  }
  EXPECT_EQ(b->reattach(x.at, x.m(true), o, soon).code(), errc::not_present);
  auto f = recording_port::default_features();
  f.ats = false;
  recording_port bare{3, f};
  w.watch(bare);
  device n{bare, {7}};
  ASSERT_TRUE(attach(n, false).ok());
  EXPECT_EQ(reattach(n, true).code(), errc::unsupported);
  EXPECT_EQ(users(*a), (counts{1, 1}));
  ASSERT_TRUE(detach(n).ok());
  ASSERT_TRUE(detach(x).ok());
}
TEST_F(domain_pasid, ipas_have_no_upper_half) {
  domain_options two;
  two.stage = translation_stage::two;
  two.address_bits = 40;
  domain_t s2{two};
  const range_piece upper{~std::uint64_t{0xfff}, 0x1000, granule::k4, 8, 0};
  const range_piece beyond{std::uint64_t{1} << 40, 0x1000, granule::k4, 8, 0};
  const range_piece last{(std::uint64_t{1} << 40) - 0x1000, 0x1000, granule::k4, 8, 0};
  EXPECT_EQ(s2.invalidate({&upper, 1}, soon).code(), errc::out_of_range);
  EXPECT_EQ(s2.invalidate({&beyond, 1}, soon).code(), errc::out_of_range);
  EXPECT_TRUE(s2.invalidate({&last, 1}, soon).ok());
  EXPECT_TRUE(a->invalidate({&upper, 1}, soon).ok()) << "stage 1 has one";
}

}  // namespace
