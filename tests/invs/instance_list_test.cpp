// SPDX-License-Identifier: MIT
#include <random>

#include <gtest/gtest.h>

#include <shootdown/arch/commands.hpp>
#include <shootdown/invs/fan_out.hpp>
#include <shootdown/invs/instance_list.hpp>
#include <shootdown/invs/plan.hpp>

#include "invs/fixture.hpp"

namespace {
using namespace invs_test;

using plan_t = invalidation_plan<8>;
using list_t = instance_list<env, recording_port, 8>;

const command sync_{cmd::sync::silent().encode()};

std::vector<command> walk(const list_t& l) {
  std::vector<command> v;
  l.emit(0, l.size(), [&](command c) { v.push_back(c); });
  EXPECT_EQ(v.size(), l.size());
  return v;
}
range_piece leaves(std::uint64_t address, std::uint64_t bytes, unsigned level = 3) {
  return {address, bytes, granule::k4, static_cast<std::uint8_t>(1u << level), 0};
}
command nh_va(unsigned as, tlbi_operand o) { return cmd::tlbi_nh_va{asid{static_cast<std::uint16_t>(as)}, vmid{}, o}.encode(); }
command s2_ipa(unsigned vm, tlbi_operand o) { return cmd::tlbi_s2_ipa{vmid{static_cast<std::uint16_t>(vm)}, o}.encode(); }
command nh_asid(unsigned as) { return cmd::tlbi_nh_asid{asid{static_cast<std::uint16_t>(as)}}.encode(); }
command nh_all(unsigned vm) { return cmd::tlbi_nh_all{vmid{static_cast<std::uint16_t>(vm)}}.encode(); }
command s12(unsigned vm) { return cmd::tlbi_s12_vmall{vmid{static_cast<std::uint16_t>(vm)}}.encode(); }
command atc(unsigned sid, unsigned pasid, std::uint64_t address, unsigned size) {
  return cmd::atc_inv{stream_id{sid}, substream_id{pasid}, pasid != 0, false, static_cast<std::uint8_t>(size), address}.encode();
}
tlbi_operand range(std::uint64_t address, unsigned num, unsigned scale, unsigned ttl, bool leaf = true) {
  return *tlbi_operand::range(granule::k4, address, num, scale, ttl, leaf);
}

class list_test : public fixture {
 protected:
  void TearDown() override {
    array_t::destroy(a);
    fixture::TearDown();
  }
  void build(const std::vector<spec_t>& specs) {
    right_side r{specs};
    const auto made = array_t::merge(a, r.view());
    ASSERT_TRUE(made.ok());
    array_t::destroy(a);
    a = *made;
  }
  void drop(const std::vector<spec_t>& specs) {
    right_side r{specs};
    ASSERT_TRUE(a->unref(r).ok());
  }
  void ask(std::initializer_list<range_piece> pieces, plan_rules rules = {}) {
    plan = std::make_unique<plan_t>();
    ASSERT_TRUE(plan->prepare({pieces.begin(), pieces.size()}, rules).ok());
  }
  void ask_everything() {
    plan = std::make_unique<plan_t>();
    plan->prepare_everything();
  }
  std::vector<list_t> lists() {
    std::vector<list_t> v;
    for (std::uint32_t next = 0; next != a->count();) {
      const std::uint32_t before = next;
      v.push_back(list_t::take(*a, before, a->count(), *plan, next));
      EXPECT_GT(next, before);
      if (next <= before) break;
    }
    return v;
  }
  std::vector<command> trace() {
    const auto all = lists();
    EXPECT_EQ(all.size(), 1u);
    return walk(all.at(0));
  }
  recording_port p{0}, q{1};
  array_t* a{};
  std::unique_ptr<plan_t> plan;
};

using commands = std::vector<command>;

// The expected traces of the fact sheet. The closing SYNC is the queue's and not in the list.
TEST_F(list_test, one_leaf_page_of_an_asid) {
  build({s1(p, 0x42)});
  ask({leaves(0x7000, 0x1000)});
  EXPECT_EQ(trace(), (commands{nh_va(0x42, range(0x7000, 0, 0, 3))}));
}
TEST_F(list_test, everything_of_an_asid) {
  build({s1(p, 0x42)});
  ask_everything();
  EXPECT_EQ(trace(), (commands{nh_asid(0x42)}));
}
TEST_F(list_test, device_caches_come_behind_a_sync) {
  build({s1(p, 9), ats(p, 1), ats(p, 2)});
  ask({leaves(0x8000, 0x4000)});
  EXPECT_EQ(trace(), (commands{nh_va(9, range(0x8000, 3, 0, 3)), sync_, atc(1, 0, 0x8000, 2), atc(2, 0, 0x8000, 2)}));
}
TEST_F(list_test, nesting_parent_clears_stage_one_behind_a_sync) {
  build({s2(p, 5), clear_s1(p, 5)});
  ask({leaves(0x200000, 0x200000, 2)});
  EXPECT_EQ(trace(), (commands{s2_ipa(5, range(0x200000, 0, 9, 2)), sync_, nh_all(5)}));
}
// A reader may see the tag's users fall before those of the clear; and a window may begin with a clear.
TEST_F(list_test, device_caches_come_behind_a_stage_one_clear_that_has_no_tag_before_it) {
  build({clear_s1(p, 5), ats(p, 7, 0, entry_type::ats_full)});
  ask({leaves(0x1000, 0x1000)});
  EXPECT_EQ(trace(), (commands{nh_all(5), sync_, atc(7, 0, 0, 52)}));
}

TEST_F(list_test, whole_vmid_needs_no_stage_one_clear) {
  build({s2(p, 5), clear_s1(p, 5)});
  ask_everything();
  EXPECT_EQ(trace(), (commands{s12(5)}));
}
TEST_F(list_test, nesting_parent_with_device_caches) {
  build({s2(p, 5), clear_s1(p, 5), ats(p, 7, 3, entry_type::ats_full)});
  ask({leaves(0x3000, 0x1000)});
  EXPECT_EQ(trace(), (commands{s2_ipa(5, range(0x3000, 0, 0, 3)), sync_, nh_all(5), sync_, atc(7, 0, 0, 52)}));
}
TEST_F(list_test, whole_vmid_with_device_caches) {
  build({s2(p, 5), clear_s1(p, 5), ats(p, 7, 3, entry_type::ats_full)});
  ask_everything();
  EXPECT_EQ(trace(), (commands{s12(5), sync_, atc(7, 0, 0, 52)}));
}
TEST_F(list_test, each_instance_has_its_own_list_in_instance_order) {
  build({s1(p, 1), s1(q, 2)});
  ask({leaves(0x1000, 0x1000)});
  const auto all = lists();
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(&all[0].port(), &p);
  EXPECT_EQ(walk(all[0]), (commands{nh_va(1, range(0x1000, 0, 0, 3))}));
  EXPECT_EQ(&all[1].port(), &q);
  EXPECT_EQ(walk(all[1]), (commands{nh_va(2, range(0x1000, 0, 0, 3))}));
}

TEST_F(list_test, two_instances_with_interleaved_types) {
  build({s2(p, 5), clear_s1(p, 5), ats(p, 9, 0, entry_type::ats_full)});
  build({s2(q, 6), ats(q, 4)});
  ask({leaves(0x1000, 0x1000)});
  const auto all = lists();
  ASSERT_EQ(all.size(), 2u);
  const auto o = range(0x1000, 0, 0, 3);
  EXPECT_EQ(walk(all[0]), (commands{s2_ipa(5, o), sync_, nh_all(5), sync_, atc(9, 0, 0, 52)}));
  EXPECT_EQ(walk(all[1]), (commands{s2_ipa(6, o), sync_, atc(4, 0, 0x1000, 0)}));
}

TEST_F(list_test, per_vsmmu_vmids_are_in_the_first_phase) {
  build({s2(p, 3, entry_type::s2_vmid_vsmmu), clear_s1(p, 3)});
  build({s2(p, 8)});
  ask({leaves(0x1000, 0x1000)});
  const auto o = range(0x1000, 0, 0, 3);
  EXPECT_EQ(trace(), (commands{s2_ipa(8, o), s2_ipa(3, o), sync_, nh_all(3)}));
}

TEST_F(list_test, leading_trash_is_skipped) {
  build({s1(p, 1)});
  build({s1(p, 2)});
  drop({s1(p, 1)});
  ask({leaves(0x1000, 0x1000)});
  EXPECT_EQ(trace(), (commands{nh_va(2, range(0x1000, 0, 0, 3))}));
}

TEST_F(list_test, syncs_are_decided_by_live_neighbours) {
  build({s1(p, 1), clear_s1(p, 5), ats(p, 7)});
  build({s1(q, 1), clear_s1(q, 5), ats(q, 7)});
  drop({clear_s1(p, 5), ats(p, 7)});
  drop({s1(q, 1), clear_s1(q, 5)});
  ask({leaves(0x1000, 0x1000)});
  const auto all = lists();
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(walk(all[0]), (commands{nh_va(1, range(0x1000, 0, 0, 3))})) << "no SYNC for phases that are all trash";
  EXPECT_EQ(walk(all[1]), (commands{atc(7, 0, 0x1000, 0)})) << "no SYNC in front of the first commands";
}

TEST_F(list_test, an_instance_that_is_all_trash_has_an_empty_list) {
  build({s1(p, 1)});
  build({s1(q, 1)});
  drop({s1(p, 1)});
  ask({leaves(0x1000, 0x1000)});
  const auto all = lists();
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0].size(), 0u);
  EXPECT_EQ(all[1].size(), 1u);
}

TEST_F(list_test, a_skipped_stage_one_clear_at_the_end_ends_the_walk) {
  build({s2(p, 5), clear_s1(p, 5)});
  build({clear_s1(q, 5)});
  ask_everything();
  const auto all = lists();
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(walk(all[0]), (commands{s12(5)}));
  EXPECT_EQ(all[1].size(), 0u);
}

TEST_F(list_test, without_ril_one_command_per_entry_or_the_whole_tag) {
  auto f = recording_port::default_features();
  f.range_invalidation = false;
  recording_port old{2, f};
  build({s1(old, 3), clear_s1(old, 3), ats(old, 4)});
  ask({leaves(0x1000, 0x2000)});
  EXPECT_EQ(trace(), (commands{nh_va(3, tlbi_operand::address(0x1000, true)), nh_va(3, tlbi_operand::address(0x2000, true)), sync_,
                               nh_all(3), sync_, atc(4, 0, 0, 2)}));
  ask({leaves(0x200000, 0x200000)});
  EXPECT_EQ(trace(), (commands{nh_asid(3), sync_, atc(4, 0, 0x200000, 9)})) << "too many: the whole tag, but an exact span";
  ask({leaves(0x1000, 0x2000), leaves(0x200000, 0x200000)});
  EXPECT_EQ(trace(), (commands{nh_asid(3), sync_, atc(4, 0, 0, 2), atc(4, 0, 0x200000, 9)})) << "one piece too long";
  plan_rules few;
  few.entry_limit = 2;
  ask({leaves(0x1000, 0x1000)}, few);
  EXPECT_EQ(trace().size(), 5u);
  ask({leaves(0x1000, 0x2000)}, few);
  EXPECT_EQ(trace(), (commands{nh_asid(3), sync_, atc(4, 0, 0, 2)}));
}

TEST_F(list_test, classes_of_instances_get_their_own_operands) {
  auto f = recording_port::default_features();
  f.range_invalidation = false;
  recording_port old{2, f};
  build({s1(p, 1), s1(old, 1)});
  ask({leaves(0x4000, 0x2000)});
  const auto all = lists();
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(walk(all[0]), (commands{nh_va(1, range(0x4000, 1, 0, 3))}));
  EXPECT_EQ(walk(all[1]), (commands{nh_va(1, tlbi_operand::address(0x4000, true)), nh_va(1, tlbi_operand::address(0x5000, true))}));
}

TEST_F(list_test, a_wide_scale_is_used_where_the_smmu_has_it_and_nowhere_else) {
  auto f = recording_port::default_features();
  f.wide_scale = true;
  recording_port wide{2, f};
  build({s1(p, 1), s1(wide, 1)});
  plan_rules rules;
  rules.page = granule::k16;
  ask({{std::uint64_t{1} << 36, std::uint64_t{1} << 36, granule::k16, 0b0010, 0}}, rules);  // a block of level 1
  const auto all = lists();
  ASSERT_EQ(all.size(), 2u);
  const auto narrow_op = tlbi_operand::from_wire(walk(all[0]).at(0)), wide_op = tlbi_operand::from_wire(walk(all[1]).at(0));
  EXPECT_EQ(narrow_op->ttl(), 0u) << "TTL 1 of 16 KiB granules is reserved without IDR5.DS";
  EXPECT_EQ(wide_op->ttl(), 1u);
  EXPECT_EQ(narrow_op->span_bytes(), std::uint64_t{1} << 36);
  EXPECT_EQ(wide_op->span_bytes(), std::uint64_t{1} << 36);
}

// Each list ends in a SYNC that the next one's phases rely on: the second may not slip into room that the first just missed.
TEST_F(list_test, lists_of_one_port_keep_their_order_when_room_comes_between_two_tries) {
  std::vector<spec_t> many{s1(p, 1)};
  for (unsigned sid = 0; sid != 70; ++sid) many.push_back(ats(p, sid));
  build(many);
  ask({leaves(0x1000, 0x1000)});
  const auto all = lists();
  ASSERT_EQ(all.size(), 2u);
  fan_out<env, recording_port, 8, 4> out;
  for (const list_t& l : all) out.add(l);
  p.set_max_list(200);
  p.control().full_tries = 1;
  p.control().tries_make_room = true;
  EXPECT_FALSE(out.step());
  EXPECT_EQ(p.lists().size(), 0u);
  while (!out.step()) {
  }
  ASSERT_EQ(p.lists().size(), 2u);
  EXPECT_EQ(p.lists()[0].commands, walk(all[0]));
  EXPECT_EQ(p.lists()[1].commands, walk(all[1]));
  status worst;
  out.collect(worst);
  EXPECT_TRUE(worst.ok());
}

TEST_F(list_test, at_the_deadline_each_port_is_asked_once_more_by_its_own_wait) {
  build({s1(p, 1), s1(q, 1)});
  ask({leaves(0x1000, 0x1000)});
  fan_out<env, recording_port, 8, 4> out;
  for (const list_t& l : lists()) out.add(l);
  for (auto* port : {&p, &q}) {
    port->control().never_complete = true;
    port->on_idle = [] { ++state().now; };
  }
  out.send(deadline{instant{5}});
  EXPECT_EQ(p.waits() + q.waits(), 0u);
  EXPECT_FALSE(out.settle(deadline{instant{5}}));
  EXPECT_EQ(p.waits(), 1u) << "a queue learns of a deadline only in its own wait: it looks thoroughly, and may have to fail";
  EXPECT_EQ(q.waits(), 1u);
  for (auto* port : {&p, &q}) port->control() = {};
  EXPECT_TRUE(out.settle(deadline{instant{5}}));
}

TEST_F(list_test, a_command_limit_takes_the_whole_tag) {
  build({s1(p, 1)});
  plan_rules rules;
  rules.command_limit = 2;
  ask({leaves(0x1000, 0x1000), leaves(0x9000, 0x1000)}, rules);
  EXPECT_EQ(trace().size(), 2u);
  ask({leaves(0x1000, 0x1000), leaves(0x9000, 0x1000), leaves(0x20000, 0x1000)}, rules);
  EXPECT_EQ(trace(), (commands{nh_asid(1)}));
}

TEST_F(list_test, pieces_follow_each_other_for_each_tag) {
  build({s2(p, 1), s2(p, 2)});
  ask({leaves(0x1000, 0x1000), leaves(0x9000, 0x1000)});
  const auto x = range(0x1000, 0, 0, 3), y = range(0x9000, 0, 0, 3);
  EXPECT_EQ(trace(), (commands{s2_ipa(1, x), s2_ipa(1, y), s2_ipa(2, x), s2_ipa(2, y)}));
}

TEST_F(list_test, a_device_listed_twice_is_asked_once) {
  build({s1(p, 1), ats(p, 7), ats(p, 7), ats(p, 7, 2), ats(p, 7, 2), ats(p, 8)});
  ask({leaves(0x1000, 0x1000)});
  EXPECT_EQ(trace(), (commands{nh_va(1, range(0x1000, 0, 0, 3)), sync_, atc(7, 0, 0x1000, 0), atc(7, 2, 0x1000, 0), atc(8, 0, 0x1000, 0)}));
}
TEST_F(list_test, a_duplicate_whose_first_copy_is_trash_is_still_asked) {
  build({ats(p, 7)});
  build({ats(p, 7), ats(p, 7)});
  drop({ats(p, 7)});
  const_cast<entry_t&>((*a)[0]).set_users(0);
  ask({leaves(0x1000, 0x1000)});
  EXPECT_EQ(trace(), (commands{atc(7, 0, 0x1000, 0)}));
  const_cast<entry_t&>((*a)[0]).set_users(1);
}
TEST_F(list_test, a_full_wipe_is_sent_once_per_device_whatever_the_pasids) {
  build({ats(p, 7, 1, entry_type::ats_full), ats(p, 7, 2, entry_type::ats_full), ats(p, 8, 1, entry_type::ats_full)});
  ask({leaves(0x1000, 0x1000)});
  EXPECT_EQ(trace(), (commands{atc(7, 0, 0, 52), atc(8, 0, 0, 52)}));
}

TEST_F(list_test, spans_are_never_below_the_largest_unit) {
  build({ats(p, 7, 0, entry_type::ats, 0), ats(p, 8, 0, entry_type::ats, 4)});
  ask({leaves(0x11000, 0x1000)});
  EXPECT_EQ(trace(), (commands{atc(7, 0, 0x10000, 4), atc(8, 0, 0x10000, 4)}));
}
TEST_F(list_test, of_functions_behind_one_stream_the_largest_unit_counts) {
  for (const bool larger_first : {false, true}) {
    build({ats(p, 2, 3, entry_type::ats, larger_first ? 3 : 0), ats(p, 2, 3, entry_type::ats, larger_first ? 0 : 3)});
    ask({leaves(0x5000, 4096)});
    EXPECT_EQ(trace(), (commands{atc(2, 3, 0, 3)})) << "asked once, for no less than eight pages";
    drop({ats(p, 2, 3), ats(p, 2, 3)});
  }
}

TEST_F(list_test, several_spans_when_allowed) {
  build({ats(p, 7), ats(p, 8, 5)});
  plan_rules rules;
  rules.atc_spans = 2;
  ask({leaves(0x1ff000, 0x2000)}, rules);
  EXPECT_EQ(trace(), (commands{atc(7, 0, 0x1ff000, 0), atc(7, 0, 0x200000, 0), atc(8, 5, 0x1ff000, 0), atc(8, 5, 0x200000, 0)}));
}

TEST_F(list_test, a_list_repeats_itself_although_users_leave) {
  build({s1(p, 1), s1(p, 2), ats(p, 7)});
  ask({leaves(0x1000, 0x1000)});
  const auto before = lists().at(0);
  const auto first = walk(before);
  drop({s1(p, 1), ats(p, 7)});
  EXPECT_EQ(walk(before), first);
  EXPECT_EQ(trace(), (commands{nh_va(2, range(0x1000, 0, 0, 3))})) << "a new request sees the change";
}

TEST_F(list_test, groups_of_more_than_64_entries_give_several_lists_in_order) {
  std::vector<spec_t> specs{s1(p, 1)};
  for (unsigned i = 0; i != 130; ++i) specs.push_back(ats(p, i));
  build(specs);
  ask({leaves(0x1000, 0x1000)});
  const auto all = lists();
  ASSERT_EQ(all.size(), 3u);
  commands joined;
  for (const auto& l : all) {
    EXPECT_EQ(l.closing(), completion::sync);
    const auto c = walk(l);
    joined.insert(joined.end(), c.begin(), c.end());
  }
  commands expected{nh_va(1, range(0x1000, 0, 0, 3)), sync_};
  for (unsigned i = 0; i != 130; ++i) expected.push_back(atc(i, 0, 0x1000, 0));
  EXPECT_EQ(joined, expected);
}

TEST_F(list_test, refuses_bad_pieces) {
  plan_t bad;
  const auto code = [&](std::vector<range_piece> v) { return bad.prepare(v, {}).code(); };
  EXPECT_EQ(code({}), errc::empty_range);
  EXPECT_EQ(code({leaves(0x1000, 0)}), errc::empty_range);
  EXPECT_EQ(code({leaves(0x1001, 0x1000)}), errc::misaligned);
  EXPECT_EQ(code({leaves(0x1000, 0x1800)}), errc::misaligned);
  EXPECT_EQ(code({leaves(std::uint64_t{1} << 48, 0x1000)}), errc::out_of_range);
  EXPECT_EQ(code({leaves((std::uint64_t{1} << 48) - 0x1000, 0x2000)}), errc::out_of_range);
  EXPECT_EQ(code({{0x10000, 0x10000, granule::k64, 8, 0}}), errc::unsupported) << "another granule than the domain's";
  EXPECT_EQ(code({leaves(0x1000, 0x1000), leaves(0x1000, 0)}), errc::empty_range) << "every piece is looked at";
  EXPECT_EQ(code(std::vector<range_piece>(9, leaves(0x1000, 0x1000))), errc::too_large);
  EXPECT_EQ(code(std::vector<range_piece>(8, leaves(0x1000, 0x1000))), errc::ok);
}

// Any list, walked in any windows, must give what the whole walk gives, and the parts of a split must join to it.
TEST_F(list_test, random_lists_walk_alike_from_anywhere_and_in_parts) {
  std::mt19937 random{77};
  const auto below = [&](std::uint32_t n) { return static_cast<std::uint32_t>(random() % n); };
  auto f = recording_port::default_features();
  f.range_invalidation = false;
  recording_port old{2, f};
  for (int round = 0; round != 150; ++round) {
    recording_port& port = below(2) != 0 ? p : old;
    std::vector<spec_t> specs;
    for (unsigned i = 1; i <= below(4); ++i) specs.push_back(s1(port, i));
    for (unsigned i = 1; i <= below(4); ++i) specs.push_back(s2(port, i));
    for (unsigned i = 1; i <= below(4); ++i) specs.push_back(clear_s1(port, i));
    for (unsigned i = 1; i <= below(30); ++i) specs.push_back(ats(port, i / 2, i % 2, entry_type::ats, i % 3));
    for (unsigned i = 1; i <= below(30); ++i) specs.push_back(ats(port, i / 2, i % 2, entry_type::ats_full));
    std::sort(specs.begin(), specs.end(), [](const spec_t& x, const spec_t& y) { return x.key() < y.key(); });
    if (specs.empty()) continue;
    array_t::destroy(std::exchange(a, nullptr));
    build(specs);
    for (std::uint32_t i = 0; i + 1 < a->count(); ++i) {
      if (below(4) == 0) const_cast<entry_t&>((*a)[i]).set_users(0);
    }
    plan = std::make_unique<plan_t>();
    std::vector<range_piece> pieces;
    for (std::uint32_t i = 0, n = below(4); i != n; ++i) pieces.push_back(leaves(0x1000ull * (1 + 100 * i), 0x1000ull * (1 + below(70))));
    plan_rules rules;
    rules.policy = static_cast<cover_policy>(below(3));
    rules.atc_spans = static_cast<std::uint8_t>(1 + below(4));
    if (pieces.empty())
      plan->prepare_everything();
    else
      ASSERT_TRUE(plan->prepare(pieces, rules).ok());
    for (const auto& l : lists()) {
      const auto whole = walk(l);
      for (int k = 0; k != 20 && !whole.empty(); ++k) {
        const std::uint32_t from = below(l.size()), n = below(l.size() - from + 1);
        commands part;
        l.emit(from, n, [&](command c) { part.push_back(c); });
        ASSERT_EQ(part, (commands{whole.begin() + from, whole.begin() + from + n}));
      }
      const std::uint32_t step = 1 + below(40);
      commands joined;
      for (std::uint32_t at = 0; at != l.size();) {
        const std::uint32_t n = std::min(step, l.size() - at);
        const list_part<list_t> part{l, at, n};
        commands c;
        part.emit(0, part.size(), [&](command x) { c.push_back(x); });
        ASSERT_EQ(c.size(), part.size());
        commands one_by_one;
        for (std::uint32_t i = 0; i != part.size(); ++i) part.emit(i, 1, [&](command x) { one_by_one.push_back(x); });
        ASSERT_EQ(one_by_one, c);
        const bool last = at + n == l.size();
        ASSERT_EQ(part.closing(), last ? completion::sync : completion::none);
        const bool device = std::any_of(c.begin(), c.end(), [](command x) { return opcode_of(x) == opcode::atc_inv; });
        if (!last && device) {
          ASSERT_EQ(c.back(), sync_) << "a part with device commands ends in a SYNC of its own";
          c.pop_back();
        }
        joined.insert(joined.end(), c.begin(), c.end());
        at += n;
      }
      ASSERT_EQ(joined, whole);
    }
  }
}

}  // namespace
