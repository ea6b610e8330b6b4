// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>

#include <shootdown/arch/commands.hpp>
#include <shootdown/range/gather.hpp>

#include "invs/fixture.hpp"
#include "invs/hardware.hpp"

namespace {
using namespace invs_test;

using commands = std::vector<command>;
using words = std::vector<std::string>;

const range_piece page{0x1000, 0x1000, granule::k4, 8, 0};
command nh_va(unsigned as, std::uint64_t address = 0x1000) {
  return cmd::tlbi_nh_va{asid{static_cast<std::uint16_t>(as)}, vmid{}, *tlbi_operand::range(granule::k4, address, 0, 0, 3, true)}.encode();
}
command nh_asid(unsigned as) { return cmd::tlbi_nh_asid{asid{static_cast<std::uint16_t>(as)}}.encode(); }

class domain_test : public fixture {
 protected:
  domain_test() {
    domain_options o;
    d = std::make_unique<domain_t>(o);
    o.number = 1;
    other = std::make_unique<domain_t>(o);
    for (auto* x : {d.get(), other.get()}) hw.watch(*x);
    for (auto* x : {&p, &q, &r}) {
      hw.watch(*x);
      x->share_clock(&clock);
    }
    state().on_fence = nullptr;
  }
  void SetUp() override {
    fixture::SetUp();
    state().on_fence = [this] { hw.judge("fence"); };
  }
  void TearDown() override {
    EXPECT_TRUE(d->check_invariants());
    EXPECT_TRUE(other->check_invariants());
    d.reset();
    other.reset();
    EXPECT_EQ(hw.violations, words{});
    for (auto* x : {&p, &q, &r}) {
      EXPECT_EQ(x->violations(), words{});
      EXPECT_EQ(x->unsettled(), expected_unsettled);
    }
    fixture::TearDown();
  }
  test_ops ops(recording_port& port, unsigned sid) { return {hw, port, {stream_id{sid}}, {}, {}}; }
  struct device {
    recording_port& port;
    std::vector<stream_id> streams;
    attachment_t a{};
    device(recording_port& port_, unsigned sid) : port{port_}, streams{stream_id{sid}} {}
    master_t m() { return {port, streams}; }
  };
  status attach(device& x, domain_t& to) { return to.attach(x.a, x.m(), ops(x.port, raw(x.streams[0])), soon); }
  status attach(device& x) { return attach(x, *d); }
  status detach(device& x) { return d->detach(x.a, ops(x.port, raw(x.streams[0])), soon); }
  std::vector<std::uint32_t> users(domain_t& of) {
    std::vector<std::uint32_t> v;
    of.each_entry([&](const spec_t&, std::uint32_t n) { v.push_back(n); });
    return v;
  }
  using counts = std::vector<std::uint32_t>;
  static tag asid_tag(unsigned id) { return {tag_kind::asid, static_cast<std::uint16_t>(id)}; }

  std::uint64_t clock{};
  std::size_t expected_unsettled{};
  hardware hw;
  recording_port p{0}, q{1}, r{2};
  std::unique_ptr<domain_t> d, other;
};

// ---- attach and detach ----

TEST_F(domain_test, attach_publishes_before_it_installs_and_detach_flushes_after_it_blocked) {
  device x{p, 7};
  auto o = ops(p, 7);
  ASSERT_TRUE(d->attach(x.a, x.m(), o, soon).ok());
  ASSERT_EQ(o.seen.size(), 1u);
  EXPECT_EQ(o.seen[0].what, install::action::translate);
  EXPECT_EQ(o.seen[0].asid_tag, asid_tag(1));
  EXPECT_TRUE(x.a.attached());
  EXPECT_EQ(x.a.current_tag(), asid_tag(1));
  EXPECT_EQ(state().fences, 1u);
  ASSERT_TRUE(detach(x).ok());
  EXPECT_EQ(hw.log, (words{"translate", "block", "flush 0"}));
  EXPECT_EQ(p.lists().at(0).commands, (commands{nh_asid(1)}));
  EXPECT_EQ(p.lists().at(0).closing, completion::sync);
  EXPECT_FALSE(x.a.attached());
  EXPECT_EQ(p.tags().used(), 0u);
  EXPECT_EQ(users(*d), counts{});
}

TEST_F(domain_test, masters_of_one_instance_share_its_tag_and_the_last_one_flushes) {
  device x{p, 1}, y{p, 2}, z{q, 1};
  ASSERT_TRUE(attach(x).ok());
  ASSERT_TRUE(attach(y).ok());
  ASSERT_TRUE(attach(z).ok());
  EXPECT_EQ(users(*d), (counts{2, 1}));
  EXPECT_EQ(y.a.current_tag(), x.a.current_tag());
  EXPECT_EQ(p.tags().used(), 1u);
  EXPECT_TRUE(d->check_invariants());
  ASSERT_TRUE(detach(x).ok());
  EXPECT_EQ(users(*d), (counts{1, 1}));
  EXPECT_TRUE(p.lists().empty()) << "no flush while a master is left";
  ASSERT_TRUE(detach(y).ok());
  EXPECT_EQ(p.lists().size(), 1u);
  EXPECT_TRUE(q.lists().empty());
  ASSERT_TRUE(detach(z).ok());
}

TEST_F(domain_test, detach_allocates_nothing_and_purge_drops_the_trash) {
  device x{p, 1}, y{q, 1};
  ASSERT_TRUE(attach(x).ok());
  ASSERT_TRUE(attach(y).ok());
  state().fail_allocations = 100;
  ASSERT_TRUE(detach(x).ok());
  EXPECT_FALSE(d->purge()) << "no memory";
  EXPECT_EQ(state().fail_allocations, 99u);
  state().fail_allocations = 0;
  EXPECT_TRUE(d->purge());
  EXPECT_FALSE(d->purge()) << "nothing left to drop";
  EXPECT_EQ(users(*d), (counts{1}));
  ASSERT_TRUE(detach(y).ok());
}

TEST_F(domain_test, a_tag_is_reused_only_after_its_flush) {
  device x{p, 1}, y{p, 2};
  p.tags().set_limit(1);
  ASSERT_TRUE(attach(x).ok());
  EXPECT_EQ(other->attach(y.a, y.m(), ops(p, 2), soon).code(), errc::exhausted);
  EXPECT_EQ(users(*other), counts{});
  ASSERT_TRUE(detach(x).ok());
  ASSERT_TRUE(attach(y, *other).ok());
  EXPECT_EQ(y.a.current_tag(), asid_tag(1));
  ASSERT_TRUE(other->detach(y.a, ops(p, 2), soon).ok());
}

TEST_F(domain_test, a_failed_flush_retires_the_tag_and_is_reported) {
  device x{p, 1}, y{q, 1}, z{r, 1};
  ASSERT_TRUE(attach(x).ok());
  ASSERT_TRUE(attach(y).ok());
  ASSERT_TRUE(attach(z).ok());
  p.control().outcome = errc::illegal_command;
  EXPECT_EQ(detach(x).code(), errc::illegal_command);
  q.control().submit_error = errc::queue_failed;
  EXPECT_EQ(detach(y).code(), errc::queue_failed);
  r.control().always_full = true;
  EXPECT_EQ(detach(z).code(), errc::timed_out);
  for (auto* x1 : {&x, &y, &z}) EXPECT_FALSE(x1->a.attached()) << "the software side completes";
  for (auto* port : {&p, &q, &r}) {
    EXPECT_TRUE(port->tags().retired(asid_tag(1)));
    port->control() = {};
  }
  EXPECT_EQ(users(*d), counts{});
  ASSERT_TRUE(attach(x).ok());
  EXPECT_EQ(x.a.current_tag(), asid_tag(2));
  ASSERT_TRUE(detach(x).ok());
}

TEST_F(domain_test, a_port_that_loses_the_flush_is_caught_by_the_tag_space) {
  device x{p, 1};
  ASSERT_TRUE(attach(x).ok());
  p.control().deaf_to = opcode::tlbi_nh_asid;
  ASSERT_TRUE(detach(x).ok());
  EXPECT_EQ(p.violations(), (words{"tag 1 released without a completed flush"})) << "the judge of the tests above works";
  p.tags().forget_violations();
}

TEST_F(domain_test, installing_before_publishing_is_caught_by_the_judge) {
  // The wrong order, by hand: the STE is written while the array does not have the tag yet.
  auto o = ops(p, 1);
  const auto t = p.tags().acquire(tag_kind::asid);
  ASSERT_TRUE(o.write_entry({install::action::translate, *t, {}, false}).ok());
  EXPECT_FALSE(hw.violations.empty());
  hw.violations.clear();
  hw.entries.clear();
  p.tags().flushed(*t);
  p.tags().release(*t);
}

// ---- bad input ----

TEST_F(domain_test, refuses_bad_masters_and_changes_nothing) {
  auto f = recording_port::default_features();
  f.stream_bits = 8;
  f.substream_bits = 4;
  recording_port narrow{3, f};
  f.stage1 = false;
  recording_port no_stage1{4, f};
  f = recording_port::default_features();
  f.granules = 0b1000;
  recording_port no_4k{5, f};
  f = recording_port::default_features();
  f.ats = f.stage2 = false;
  recording_port no_ats{6, f};
  attachment_t a;
  auto o = ops(narrow, 1);
  const auto code = [&](recording_port& port, std::vector<stream_id> s, unsigned pasid = 0, bool ats_ = false) {
    return d->attach(a, {port, s, substream_id{pasid}, ats_, 0}, o, soon).code();
  };
  EXPECT_EQ(code(narrow, {}), errc::invalid_argument);
  EXPECT_EQ(code(narrow, {stream_id{2}, stream_id{1}}), errc::invalid_argument);
  EXPECT_EQ(code(narrow, {stream_id{1}, stream_id{1}}), errc::invalid_argument);
  EXPECT_EQ(code(narrow, {stream_id{1}, stream_id{256}}), errc::out_of_range);
  EXPECT_EQ(code(narrow, {stream_id{1}}, 16), errc::out_of_range);
  EXPECT_EQ(code(no_ats, {stream_id{1}}, 0, true), errc::unsupported);
  EXPECT_EQ(code(no_stage1, {stream_id{1}}), errc::unsupported);
  EXPECT_EQ(code(no_4k, {stream_id{1}}), errc::unsupported);
  domain_options two;
  two.stage = translation_stage::two;
  domain_t stage2{two};
  const std::vector<stream_id> s{stream_id{1}};
  EXPECT_EQ(stage2.attach(a, {no_ats, s}, o, soon).code(), errc::unsupported);
  EXPECT_EQ(state().allocations, 0u);
  EXPECT_EQ(narrow.tags().used() + no_stage1.tags().used() + no_4k.tags().used(), 0u);
  EXPECT_TRUE(o.seen.empty());
  EXPECT_FALSE(a.attached());
}

TEST_F(domain_test, refuses_double_attach_and_foreign_detach) {
  device x{p, 1}, same{p, 1}, stranger{q, 1};
  ASSERT_TRUE(attach(x).ok());
  EXPECT_EQ(attach(x).code(), errc::already_present);
  EXPECT_EQ(attach(same).code(), errc::already_present) << "the stream is attached through another object";
  EXPECT_EQ(detach(stranger).code(), errc::not_present);
  EXPECT_EQ(other->detach(x.a, ops(p, 1), soon).code(), errc::not_present);
  EXPECT_EQ(users(*d), (counts{1}));
  ASSERT_TRUE(d->attach(same.a, {p, same.streams, substream_id{4}}, ops(p, 99), soon).ok()) << "another PASID is another master";
  EXPECT_EQ(users(*d), (counts{2}));
  EXPECT_EQ(attach(stranger).code(), errc::ok);
  ASSERT_TRUE(detach(x).ok());
  EXPECT_EQ(detach(x).code(), errc::not_present) << "twice";
  ASSERT_TRUE(d->detach(same.a, ops(p, 99), soon).ok());
  ASSERT_TRUE(detach(stranger).ok());
}

TEST_F(domain_test, refuses_two_ports_with_one_number) {
  recording_port twin{0};
  device x{p, 1}, y{twin, 2};
  ASSERT_TRUE(attach(x).ok());
  EXPECT_EQ(attach(y).code(), errc::invalid_argument);
  EXPECT_EQ(twin.tags().used(), 0u);
  ASSERT_TRUE(detach(x).ok());
}

// ---- failures at each step of attach ----

TEST_F(domain_test, attach_without_tag_or_memory_changes_nothing) {
  device x{p, 1};
  p.tags().fail_acquire(true);
  EXPECT_EQ(attach(x).code(), errc::exhausted);
  EXPECT_EQ(state().allocations, 0u);
  p.tags().fail_acquire(false);
  state().fail_allocations = 1;
  EXPECT_EQ(attach(x).code(), errc::no_memory);
  EXPECT_EQ(p.tags().used(), 0u);
  EXPECT_EQ(users(*d), counts{});
  EXPECT_TRUE(hw.log.empty()) << "no STE was touched and nothing sent";
  device y{p, 2};
  ASSERT_TRUE(attach(x).ok());
  state().fail_allocations = 1;
  EXPECT_EQ(attach(y).code(), errc::no_memory);
  EXPECT_EQ(users(*d), (counts{1}));
  EXPECT_EQ(p.tags().used(), 1u) << "the shared tag stays";
  ASSERT_TRUE(detach(x).ok());
}

TEST_F(domain_test, a_failed_install_is_blocked_and_undone) {
  device x{p, 1};
  auto o = ops(p, 1);
  o.script = {errc::timed_out};
  EXPECT_EQ(d->attach(x.a, x.m(), o, soon).code(), errc::timed_out);
  EXPECT_EQ(hw.log, (words{"translate", "block", "flush 0"}));
  EXPECT_FALSE(x.a.attached());
  EXPECT_EQ(users(*d), counts{});
  EXPECT_EQ(p.tags().used(), 0u);
  ASSERT_TRUE(attach(x).ok());
  device y{p, 2};
  auto second = ops(p, 2);
  second.script = {errc::queue_failed};
  EXPECT_EQ(d->attach(y.a, y.m(), second, soon).code(), errc::queue_failed);
  EXPECT_EQ(users(*d), (counts{1})) << "the first master keeps the tag";
  ASSERT_TRUE(detach(x).ok());
}

TEST_F(domain_test, a_failed_install_whose_flush_fails_retires_the_tag) {
  device x{p, 1};
  auto o = ops(p, 1);
  o.script = {errc::timed_out};
  p.control().outcome = errc::unknown_error;
  EXPECT_EQ(d->attach(x.a, x.m(), o, soon).code(), errc::timed_out) << "the first failure is the answer";
  EXPECT_TRUE(p.tags().retired(asid_tag(1)));
  EXPECT_EQ(users(*d), counts{});
}

TEST_F(domain_test, an_entry_that_cannot_be_blocked_stays_covered_until_forgotten) {
  device x{p, 1};
  auto o = ops(p, 1);
  o.script = {errc::timed_out, errc::queue_failed};
  EXPECT_EQ(d->attach(x.a, x.m(), o, soon).code(), errc::timed_out);
  EXPECT_FALSE(x.a.attached());
  EXPECT_EQ(users(*d), (counts{1})) << "pinned";
  EXPECT_TRUE(d->check_invariants());
  EXPECT_EQ(p.tags().used(), 1u);
  ASSERT_TRUE(d->invalidate({&page, 1}, soon).ok());
  EXPECT_EQ(p.lists().at(0).commands, (commands{nh_va(1)})) << "invalidations still reach the tag";
  ASSERT_TRUE(attach(x).ok());
  EXPECT_EQ(d->forget(p).code(), errc::busy);
  o.script = {errc::queue_failed};
  EXPECT_EQ(d->detach(x.a, o, soon).code(), errc::queue_failed) << "a detach that cannot block pins as well";
  EXPECT_FALSE(x.a.attached());
  EXPECT_EQ(users(*d), (counts{2}));
  EXPECT_TRUE(d->check_invariants());
  hw.entries.clear();  // the instance is reset
  EXPECT_TRUE(d->forget(p).ok());
  EXPECT_EQ(users(*d), counts{});
  EXPECT_TRUE(p.tags().retired(asid_tag(1)));
  EXPECT_EQ(d->forget(p).code(), errc::not_present);
  EXPECT_TRUE(d->check_invariants());
}

TEST_F(domain_test, a_pinned_tag_is_retired_with_its_domain) {
  {
    domain_t local{domain_options{}};
    device y{q, 1};
    test_ops oy{hw, q, {}, {errc::timed_out, errc::queue_failed}, {}};
    EXPECT_EQ(local.attach(y.a, y.m(), oy, soon).code(), errc::timed_out);
    EXPECT_FALSE(q.tags().retired(asid_tag(1)));
  }
  EXPECT_TRUE(q.tags().retired(asid_tag(1)));
}

// ---- replace ----

TEST_F(domain_test, replace_moves_without_a_blocked_time) {
  device x{p, 1};
  ASSERT_TRUE(attach(x).ok());
  auto o = ops(p, 1);
  ASSERT_TRUE(d->replace(x.a, *other, o, soon).ok());
  EXPECT_EQ(hw.log, (words{"translate", "translate", "flush 0"}));
  EXPECT_EQ(users(*d), counts{});
  EXPECT_EQ(users(*other), (counts{1}));
  EXPECT_EQ(x.a.current_tag(), asid_tag(2));
  EXPECT_EQ(p.lists().at(0).commands, (commands{nh_asid(1)}));
  EXPECT_EQ(detach(x).code(), errc::not_present);
  ASSERT_TRUE(other->replace(x.a, *d, o, soon).ok()) << "back, which locks in the same order";
  ASSERT_TRUE(detach(x).ok());
}

TEST_F(domain_test, both_domains_invalidate_while_replace_writes_the_entry) {
  device x{p, 1};
  ASSERT_TRUE(attach(x).ok());
  struct watching_ops : test_ops {
    domain_t &a, &b;
    std::size_t covered{};
    status write_entry(const install& i) {
      a.each_entry([&](const spec_t&, std::uint32_t) { ++covered; });
      b.each_entry([&](const spec_t&, std::uint32_t) { ++covered; });
      return test_ops::write_entry(i);
    }
  } o{ops(p, 1), *d, *other};
  ASSERT_TRUE(d->replace(x.a, *other, o, soon).ok());
  EXPECT_EQ(o.covered, 2u);
  ASSERT_TRUE(other->detach(x.a, ops(p, 1), soon).ok());
}

TEST_F(domain_test, replace_refuses_itself_equal_numbers_and_strangers) {
  device x{p, 1}, y{q, 1};
  ASSERT_TRUE(attach(x).ok());
  domain_options o;
  domain_t same_number{o};
  EXPECT_EQ(d->replace(x.a, *d, ops(p, 1), soon).code(), errc::already_present);
  EXPECT_EQ(d->replace(x.a, same_number, ops(p, 1), soon).code(), errc::invalid_argument);
  EXPECT_EQ(d->replace(y.a, *other, ops(q, 1), soon).code(), errc::not_present);
  EXPECT_EQ(users(*d), (counts{1}));
  ASSERT_TRUE(detach(x).ok());
}

TEST_F(domain_test, a_failed_replace_leaves_the_master_where_it_was) {
  device x{p, 1};
  ASSERT_TRUE(attach(x).ok());
  state().fail_allocations = 1;
  auto o = ops(p, 1);
  EXPECT_EQ(d->replace(x.a, *other, o, soon).code(), errc::no_memory);
  EXPECT_TRUE(o.seen.empty());
  o.script = {errc::timed_out};
  EXPECT_EQ(d->replace(x.a, *other, o, soon).code(), errc::timed_out);
  ASSERT_EQ(o.seen.size(), 2u);
  EXPECT_EQ(o.seen[1].asid_tag, asid_tag(1)) << "the old translation is written again";
  EXPECT_EQ(users(*d), (counts{1}));
  EXPECT_EQ(users(*other), counts{});
  EXPECT_EQ(p.lists().at(0).commands, (commands{nh_asid(2)})) << "the new tag may have been used";
  ASSERT_TRUE(detach(x).ok());
}

TEST_F(domain_test, a_replace_that_can_write_neither_blocks_and_detaches) {
  device x{p, 1};
  ASSERT_TRUE(attach(x).ok());
  auto o = ops(p, 1);
  o.script = {errc::timed_out, errc::timed_out};
  EXPECT_EQ(d->replace(x.a, *other, o, soon).code(), errc::timed_out);
  EXPECT_FALSE(x.a.attached());
  EXPECT_EQ(users(*d), counts{});
  EXPECT_EQ(users(*other), counts{});
  EXPECT_EQ(p.tags().used(), 0u);
  ASSERT_TRUE(attach(x).ok());
  o.script = {errc::timed_out, errc::timed_out, errc::timed_out};
  EXPECT_EQ(d->replace(x.a, *other, o, soon).code(), errc::timed_out);
  EXPECT_FALSE(x.a.attached());
  EXPECT_EQ(users(*d), (counts{1})) << "pinned in both";
  EXPECT_EQ(users(*other), (counts{1}));
  hw.entries.clear();
  EXPECT_TRUE(d->forget(p).ok());
  EXPECT_TRUE(other->forget(p).ok());
}

// ---- invalidation ----

TEST_F(domain_test, an_empty_domain_invalidates_without_commands) {
  EXPECT_TRUE(d->invalidate({&page, 1}, soon).ok());
  EXPECT_TRUE(d->invalidate_all(soon).ok());
  EXPECT_EQ(state().locks, 0u);
}

TEST_F(domain_test, invalidation_takes_no_lock_and_allocates_nothing) {
  device x{p, 1}, y{q, 2};
  ASSERT_TRUE(attach(x).ok());
  ASSERT_TRUE(attach(y).ok());
  const auto locks = state().locks, allocations = state().allocations, fences = state().fences;
  gather<> g;
  ASSERT_TRUE(g.add(page).ok());
  ASSERT_TRUE(g.add({0x9000, 0x1000, granule::k4, 8, 0}).ok());
  EXPECT_TRUE(d->invalidate(g, soon).ok());
  EXPECT_EQ(p.lists().at(0).commands, (commands{nh_va(1), nh_va(1, 0x9000)}));
  EXPECT_EQ(p.lists().at(0).closing, completion::sync);
  EXPECT_EQ(q.lists(), p.lists());
  EXPECT_TRUE(d->invalidate_all(soon).ok());
  EXPECT_EQ(p.lists().at(1).commands, (commands{nh_asid(1)}));
  EXPECT_EQ(state().locks, locks);
  EXPECT_EQ(state().allocations, allocations);
  EXPECT_EQ(state().fences, fences + 2) << "one per invalidation";
  ASSERT_TRUE(detach(x).ok());
  ASSERT_TRUE(detach(y).ok());
}

TEST_F(domain_test, refuses_bad_pieces_and_sends_nothing) {
  device x{p, 1};
  ASSERT_TRUE(attach(x).ok());
  const auto code = [&](std::vector<range_piece> v) {
    auto i = d->begin(v, soon);
    EXPECT_TRUE(i.finished());
    const errc e = d->invalidate(v, soon).code();
    EXPECT_EQ(d->finish(i, soon).code(), e);
    return e;
  };
  EXPECT_EQ(code({}), errc::empty_range);
  EXPECT_EQ(code({{0x1001, 0x1000, granule::k4, 0, 0}}), errc::misaligned);
  EXPECT_EQ(code({{0x1000, 0, granule::k4, 0, 0}}), errc::empty_range);
  EXPECT_EQ(code({{std::uint64_t{1} << 48, 0x1000, granule::k4, 0, 0}}), errc::out_of_range);
  EXPECT_EQ(code({{0x10000, 0x10000, granule::k64, 0, 0}}), errc::unsupported);
  std::vector<range_piece> many(9, page);
  many[8].bytes = 1;
  EXPECT_EQ(d->invalidate(many, soon).code(), errc::misaligned) << "seen before the first eight are sent";
  EXPECT_TRUE(p.lists().empty());
  EXPECT_EQ(d->begin(std::vector<range_piece>(9, page), soon).outcome().code(), errc::too_large);
  ASSERT_TRUE(detach(x).ok());
}

TEST_F(domain_test, more_pieces_than_one_pass_takes_go_in_several) {
  device x{p, 1};
  ASSERT_TRUE(attach(x).ok());
  std::vector<range_piece> many;
  for (unsigned i = 0; i != 19; ++i) many.push_back({0x10000ull * (i + 1), 0x1000, granule::k4, 8, 0});
  EXPECT_TRUE(d->invalidate(many, soon).ok());
  commands all, expected;
  for (const auto& l : p.lists()) all.insert(all.end(), l.commands.begin(), l.commands.end());
  for (const auto& m : many) expected.push_back(nh_va(1, m.address));
  EXPECT_EQ(all, expected);
  EXPECT_EQ(p.lists().size(), 3u);
  ASSERT_TRUE(detach(x).ok());
}

TEST_F(domain_test, all_instances_are_submitted_before_any_is_waited_for) {
  device x{p, 1}, y{q, 1}, z{r, 1};
  for (auto* m : {&x, &y, &z}) ASSERT_TRUE(attach(*m).ok());
  for (auto* port : {&p, &q, &r}) port->control().polls_to_complete = 3;
  auto i = d->begin({&page, 1}, soon);
  EXPECT_FALSE(i.finished());
  EXPECT_EQ(i.outcome().code(), errc::pending);
  EXPECT_EQ(state().guards, 1u) << "the read section lasts until it is finished";
  for (auto* port : {&p, &q, &r}) {
    EXPECT_EQ(port->lists().size(), 1u);
    EXPECT_EQ(port->unsettled(), 1u);
  }
  EXPECT_TRUE(d->finish(i, soon).ok());
  EXPECT_TRUE(i.finished());
  EXPECT_EQ(state().guards, 0u);
  EXPECT_EQ(p.idles() + q.idles() + r.idles(), 3u) << "one idle turn per turn: the slowest counts, not the sum";
  for (auto* m : {&x, &y, &z}) ASSERT_TRUE(detach(*m).ok());
}

TEST_F(domain_test, poll_drives_without_waiting) {
  device x{p, 1}, y{q, 1};
  for (auto* m : {&x, &y}) ASSERT_TRUE(attach(*m).ok());
  p.control().polls_to_complete = 2;
  auto i = d->begin({&page, 1}, soon);
  EXPECT_EQ(d->poll(i).code(), errc::pending);
  EXPECT_EQ(d->poll(i).code(), errc::pending);
  EXPECT_TRUE(d->poll(i).ok());
  EXPECT_TRUE(d->poll(i).ok()) << "and says so again";
  EXPECT_EQ(p.idles() + q.idles(), 0u);
  p.control() = {};
  for (auto* m : {&x, &y}) ASSERT_TRUE(detach(*m).ok());
}

TEST_F(domain_test, a_full_ring_delays_no_other_instance) {
  device x{p, 1}, y{q, 1}, z{r, 1};
  for (auto* m : {&x, &y, &z}) ASSERT_TRUE(attach(*m).ok());
  p.control().full_tries = 3;
  EXPECT_TRUE(d->invalidate({&page, 1}, soon).ok());
  EXPECT_LT(q.lists().at(0).order, p.lists().at(0).order);
  EXPECT_LT(r.lists().at(0).order, p.lists().at(0).order);
  EXPECT_EQ(p.blocking_submits(), 1u) << "the last one waits by the port's own means";
  EXPECT_EQ(q.blocking_submits() + r.blocking_submits(), 0u);
  for (auto* m : {&x, &y, &z}) ASSERT_TRUE(detach(*m).ok());
}

TEST_F(domain_test, two_full_rings_do_not_wait_for_each_other) {
  device x{p, 1}, y{q, 1}, z{r, 1};
  for (auto* m : {&x, &y, &z}) ASSERT_TRUE(attach(*m).ok());
  p.control().always_full = true;
  q.control().full_tries = 2;
  auto i = d->begin({&page, 1}, deadline{instant{20}});
  EXPECT_EQ(p.lists().size(), 0u);
  EXPECT_EQ(q.lists().size(), 1u) << "q had room after two turns although p never has";
  EXPECT_EQ(r.lists().size(), 1u);
  EXPECT_EQ(d->finish(i, deadline{instant{20}}).code(), errc::timed_out);
  EXPECT_FALSE(i.finished());
  p.control().always_full = false;
  EXPECT_TRUE(d->finish(i, soon).ok()) << "what found no room goes out later";
  EXPECT_EQ(p.lists().size(), 1u);
  for (auto* m : {&x, &y, &z}) ASSERT_TRUE(detach(*m).ok());
}

TEST_F(domain_test, a_timeout_is_reported_and_can_be_waited_for_again) {
  device x{p, 1}, y{q, 1};
  for (auto* m : {&x, &y}) ASSERT_TRUE(attach(*m).ok());
  p.control().never_complete = true;
  auto i = d->begin({&page, 1}, soon);
  EXPECT_EQ(d->finish(i, deadline{instant{50}}).code(), errc::timed_out);
  EXPECT_EQ(q.unsettled(), 0u);
  EXPECT_EQ(p.unsettled(), 1u);
  q.control().never_complete = true;
  {
    auto both = d->begin({&page, 1}, soon);
    EXPECT_EQ(d->finish(both, deadline{instant{state().now + 5}}).code(), errc::timed_out);
    EXPECT_EQ(p.unsettled() + q.unsettled(), 3u);
    p.control() = {};
    q.control() = {};
    EXPECT_TRUE(d->finish(both, soon).ok());
  }
  EXPECT_TRUE(d->finish(i, soon).ok());
  for (auto* m : {&x, &y}) ASSERT_TRUE(detach(*m).ok());
}

TEST_F(domain_test, the_synchronous_form_gives_up_after_a_timeout) {
  device x{p, 1};
  ASSERT_TRUE(attach(x).ok());
  p.control().never_complete = true;
  EXPECT_EQ(d->invalidate({&page, 1}, soon).code(), errc::timed_out);
  EXPECT_EQ(p.abandoned(), 1u) << "the port may keep resources for a ticket until it is told";
  EXPECT_EQ(state().guards, 0u);
  EXPECT_EQ(p.unsettled(), 1u);
  p.control() = {};
  ASSERT_TRUE(detach(x).ok());
  p.settle_all();
}

TEST_F(domain_test, dropping_an_unfinished_invalidation_is_a_violation_unless_abandoned) {
  device x{p, 1};
  ASSERT_TRUE(attach(x).ok());
  p.control().never_complete = true;
  {
    auto dropped = d->begin({&page, 1}, soon);
  }
  EXPECT_EQ(state().failures.size(), 1u);
  {
    auto given_up = d->begin({&page, 1}, soon);
    given_up.abandon();
  }
  EXPECT_EQ(state().failures.size(), 1u);
  expected_failures = state().failures;
  p.control() = {};
  ASSERT_TRUE(detach(x).ok());
  p.settle_all();
}

TEST_F(domain_test, the_first_failure_in_instance_order_is_the_answer) {
  device x{p, 1}, y{q, 1}, z{r, 1};
  for (auto* m : {&x, &y, &z}) ASSERT_TRUE(attach(*m).ok());
  q.control().outcome = errc::illegal_command;
  r.control().submit_error = errc::queue_failed;
  EXPECT_EQ(d->invalidate({&page, 1}, soon).code(), errc::illegal_command);
  EXPECT_EQ(p.lists().size(), 1u) << "the others are served";
  q.control() = {};
  EXPECT_EQ(d->invalidate({&page, 1}, soon).code(), errc::queue_failed);
  r.control() = {};
  for (auto* m : {&x, &y, &z}) ASSERT_TRUE(detach(*m).ok());
}

TEST_F(domain_test, more_instances_than_lanes_are_served_in_windows) {
  using narrow_t = domain<env, recording_port, invalidation_limits{.pieces = 2, .lanes = 2}>;
  narrow_t narrow{domain_options{}};
  recording_port ports[5]{recording_port{10}, recording_port{11}, recording_port{12}, recording_port{13}, recording_port{14}};
  narrow_t::attachment_t a[5];
  const std::vector<stream_id> s{stream_id{1}};
  for (unsigned i = 0; i != 5; ++i) {
    test_ops o{hw, ports[i], {}, {}, {}};
    ASSERT_TRUE(narrow.attach(a[i], {ports[i], s}, o, soon).ok());
    ports[i].control().polls_to_complete = 2;
  }
  ports[3].control().outcome = errc::illegal_command;
  auto i = narrow.begin({&page, 1}, soon);
  EXPECT_EQ(ports[0].lists().size() + ports[1].lists().size() + ports[2].lists().size(), 2u);
  EXPECT_EQ(narrow.finish(i, soon).code(), errc::illegal_command);
  for (auto& port : ports) EXPECT_EQ(port.lists().size(), 1u);
  auto polled = narrow.begin({&page, 1}, soon);
  status st = errc::pending;
  for (int turns = 0; turns != 50 && st.code() == errc::pending; ++turns) st = narrow.poll(polled);
  EXPECT_EQ(st.code(), errc::illegal_command);
  for (auto& port : ports) EXPECT_EQ(port.lists().size(), 2u);
  for (unsigned k = 0; k != 5; ++k) {
    ports[k].control() = {};
    test_ops o{hw, ports[k], {}, {}, {}};
    ASSERT_TRUE(narrow.detach(a[k], o, soon).ok());
    EXPECT_EQ(ports[k].violations(), words{});
  }
}

// ---- lists longer than the port takes ----

class long_list : public domain_test {
 protected:
  void SetUp() override {
    domain_test::SetUp();
    auto f = recording_port::default_features();
    f.range_invalidation = false;
    old = std::make_unique<recording_port>(std::uint16_t{7}, f);
    old->on_idle = [] { ++state().now; };
    old->set_max_list(11);
    x = std::make_unique<device>(*old, 1);
    ASSERT_TRUE(attach(*x).ok());
  }
  void TearDown() override {
    old->control() = {};
    EXPECT_TRUE(detach(*x).ok());
    EXPECT_EQ(old->violations(), words{});
    x.reset();
    domain_test::TearDown();
  }
  commands joined() {
    commands c;
    for (const auto& l : old->lists()) c.insert(c.end(), l.commands.begin(), l.commands.end());
    return c;
  }
  std::unique_ptr<recording_port> old;
  std::unique_ptr<device> x;
  const range_piece pages{0x100000, 25 * 0x1000, granule::k4, 8, 0};
};

TEST_F(long_list, goes_out_in_parts_and_only_the_last_signals) {
  ASSERT_TRUE(d->invalidate({&pages, 1}, soon).ok());
  const auto lists = old->lists();
  ASSERT_EQ(lists.size(), 3u);
  EXPECT_EQ(lists[0].commands.size(), 10u);
  EXPECT_EQ(lists[0].closing, completion::none);
  EXPECT_EQ(lists[1].closing, completion::none);
  EXPECT_EQ(lists[2].commands.size(), 5u);
  EXPECT_EQ(lists[2].closing, completion::sync);
  commands expected;
  for (unsigned i = 0; i != 25; ++i) {
    expected.push_back(cmd::tlbi_nh_va{asid{1}, vmid{}, tlbi_operand::address(0x100000 + 0x1000 * i, true)}.encode());
  }
  EXPECT_EQ(joined(), expected);
}

TEST_F(long_list, the_ticket_that_is_waited_for_covers_all_parts) {
  ASSERT_TRUE(d->invalidate({&pages, 1}, soon).ok());
  ASSERT_EQ(old->settled().size(), 1u);
  EXPECT_EQ(value(old->settled()[0].first), 0u) << "an error of the first part is this caller's error";
  EXPECT_EQ(value(old->settled()[0].end), 26u);
}

TEST_F(long_list, a_ring_that_fills_up_between_parts_is_waited_for) {
  device y{p, 5};
  ASSERT_TRUE(attach(y).ok());
  old->fill_after(1, 4);
  ASSERT_TRUE(d->invalidate({&pages, 1}, soon).ok());
  EXPECT_EQ(old->lists().size(), 3u);
  EXPECT_EQ(p.lists().size(), 1u);
  EXPECT_EQ(joined().size(), 25u);
  ASSERT_TRUE(detach(y).ok());
}

TEST_F(long_list, a_reset_between_parts_fails_it) {
  old->reset_after(2);
  EXPECT_EQ(d->invalidate({&pages, 1}, soon).code(), errc::queue_failed);
  EXPECT_EQ(old->lists().size(), 3u);
  EXPECT_EQ(old->unsettled(), 0u) << "the last ticket is settled all the same";
}

TEST_F(long_list, a_part_that_is_refused_ends_the_list) {
  old->refuse_after(1, errc::queue_failed);
  EXPECT_EQ(d->invalidate({&pages, 1}, soon).code(), errc::queue_failed);
  EXPECT_EQ(old->lists().size(), 1u);
  EXPECT_EQ(old->unsettled(), 0u);
}

// ---- life of the objects ----

TEST_F(domain_test, destroying_what_is_attached_is_a_violation) {
  device x{p, 1};
  {
    domain_t local{domain_options{}};
    test_ops o{hw, p, {}, {}, {}};
    {
      attachment_t a;
      ASSERT_TRUE(local.attach(a, x.m(), o, soon).ok());
      ASSERT_TRUE(local.detach(a, o, soon).ok());
    }
    EXPECT_TRUE(state().failures.empty());
    ASSERT_TRUE(local.attach(x.a, x.m(), o, soon).ok());
  }
  EXPECT_EQ(state().failures.size(), 1u);
  expected_failures = state().failures;
  expected_failures.push_back("an attachment was destroyed while attached");
  // x.a still names the dead domain; it reports that when it goes at the end of this body.
}

TEST_F(domain_test, superseded_arrays_are_freed_only_behind_their_readers) {
  device x{p, 1}, y{q, 1};
  ASSERT_TRUE(attach(x).ok());
  p.control().polls_to_complete = 1;
  auto i = d->begin({&page, 1}, soon);
  ASSERT_TRUE(attach(y).ok());
  EXPECT_EQ(state().live_blocks, 2u) << "the reader's array is still there";
  EXPECT_TRUE(d->finish(i, soon).ok());
  EXPECT_TRUE(q.lists().empty()) << "it began before y came";
  domain_t::synchronize();
  env::rcu::drain();
  EXPECT_EQ(state().live_blocks, 1u);
  p.control() = {};
  ASSERT_TRUE(detach(x).ok());
  ASSERT_TRUE(detach(y).ok());
}

}  // namespace
