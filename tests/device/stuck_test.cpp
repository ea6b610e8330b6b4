// SPDX-License-Identifier: MIT
#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include <gtest/gtest.h>

#include "device/rig.hpp"

// An SMMU that stops answering: every wait ends by its deadline and says so, and nothing that it may still use is reused.
namespace {
using namespace device_test;
namespace reg = shootdown::reg;

template <class Strategy>
struct stuck : strategy_test<Strategy> {};
TYPED_TEST_SUITE(stuck, strategies, strategy_name);

constexpr std::uint64_t limit = 200;
world_options impatient(bool msi = true) {
  world_options o = small_world();
  o.smmu.limit = nanoseconds{limit};
  o.smmu.allow_msi = msi;
  o.smmu.allow_sev = false;
  return o;
}
command flush(std::uint16_t as) { return cmd::tlbi_nh_asid{asid{as}, vmid{0}}.encode(); }

}  // namespace

TYPED_TEST(stuck, an_smmu_that_never_answers_fails_start_and_costs_nothing) {
  world<TypeParam> m{impatient()};
  const std::size_t before = m.free_bytes();
  m.machine.smmu().stick(true);
  for (int i = 0; i != 3; ++i) {
    const std::uint64_t from = test_env::clock;
    EXPECT_EQ(m.start(), status{errc::timed_out});
    EXPECT_LE(test_env::clock - from, 4 * limit) << "bounded";
    EXPECT_EQ(m.free_bytes(), before);
  }
  m.machine.smmu().stick(false);
  ASSERT_EQ(m.start(), status{});
  EXPECT_EQ(m.smmu.issue(flush(1)), status{});
}

TYPED_TEST(stuck, sticking_at_any_register_access_of_start_is_survived) {
  std::uint64_t accesses = 0;
  {
    world<TypeParam> m{impatient()};
    ASSERT_EQ(m.start(), status{});
    accesses = m.regs.accesses;
  }
  unsigned failed = 0, dropped = 0;
  for (std::uint64_t at = 1; at <= accesses; ++at) {
    world<TypeParam> m{impatient()};
    m.regs.before = [&] {
      if (m.regs.accesses == at) m.machine.smmu().stick(true);
    };
    const std::uint64_t from = test_env::clock;
    const status s = m.start();
    EXPECT_LE(test_env::clock - from, 20 * limit) << at;
    m.regs.before = nullptr;
    if (s.ok()) {
      m.machine.smmu().stick(false);
      continue;  // the device was done before it stuck
    }
    ++failed;
    EXPECT_EQ(s, status{errc::timed_out}) << at;
    EXPECT_EQ(m.smmu.stop(), status{errc::not_present}) << at;
    const std::map<std::uint64_t, std::size_t> lost = m.regs.live;
    dropped += !lost.empty();
    EXPECT_TRUE(lost.empty() || lost.size() == m.regs.allocations) << "either all of it may go back or none: " << at;
    m.machine.smmu().stick(false);
    ASSERT_EQ(m.start(), status{}) << at;
    EXPECT_EQ(m.smmu.issue(flush(1)), status{}) << at;
    for (const auto& [bus, words] : lost) {
      EXPECT_TRUE(m.regs.live.count(bus) == 1 && m.regs.live[bus] == words) << "given back although it may still be read: " << at;
    }
    ASSERT_EQ(m.smmu.stop(), status{}) << at;
    EXPECT_EQ(m.regs.live, lost) << at;
  }
  EXPECT_GT(failed, accesses / 2);
  EXPECT_GT(dropped, 0u) << "some of these had their queue running already";
}

TYPED_TEST(stuck, the_call_that_waits_reports_it_and_the_ticket_can_be_waited_for_again) {
  for (const bool msi : {true, false}) {
    world<TypeParam> m{impatient(msi)};
    ASSERT_EQ(m.start(), status{});
    m.machine.smmu().stick(true);
    const command a = flush(1), b = flush(2);
    auto first = m.smmu.submit(array_list{&a, 1}, in_turns(limit));
    auto second = m.smmu.submit(array_list{&b, 1}, in_turns(limit));
    ASSERT_TRUE(first.ok() && second.ok()) << "room is there, so submitting does not wait";
    for (int i = 0; i != 3; ++i) {
      const std::uint64_t from = test_env::clock;
      EXPECT_EQ(m.smmu.wait(*first, in_turns(limit)), status{errc::timed_out});
      EXPECT_EQ(test_env::clock - from, limit);
      EXPECT_FALSE(first->settled);
      EXPECT_EQ(m.smmu.poll(*second), status{errc::pending});
    }
    m.machine.smmu().stick(false);
    EXPECT_EQ(m.smmu.wait(*first, in_turns(limit)), status{});
    EXPECT_EQ(m.smmu.wait(*second, in_turns(limit)), status{});
    EXPECT_TRUE(m.smmu.check_invariants());
  }
}

TYPED_TEST(stuck, a_full_ring_times_out_in_submit_and_sends_nothing) {
  world<TypeParam> m{impatient()};
  ASSERT_EQ(m.start(), status{});
  const auto before = m.machine.smmu().counters().engine.tlbis;
  m.machine.smmu().stick(true);
  std::vector<ticket> sent;
  const command c = flush(1);
  std::uint64_t commands = 0;
  for (;;) {
    const std::uint64_t from = test_env::clock;
    auto t = m.smmu.submit(array_list{&c, 1}, in_turns(limit));
    if (!t.ok()) {
      EXPECT_EQ(t.code(), errc::timed_out);
      EXPECT_EQ(test_env::clock - from, limit);
      EXPECT_EQ(m.smmu.try_submit(array_list{&c, 1}).code(), errc::would_block);
      break;
    }
    sent.push_back(*t);
    ++commands;
    ASSERT_LE(commands, 64u);
  }
  m.machine.smmu().stick(false);
  for (ticket& t : sent) EXPECT_EQ(m.smmu.wait(t, in_turns(limit)), status{});
  EXPECT_EQ(m.machine.smmu().counters().engine.tlbis - before, commands) << "what was refused was not sent";
  EXPECT_EQ(m.smmu.issue(c), status{});
}

TYPED_TEST(stuck, stop_times_out_keeps_the_memory_and_can_be_repeated) {
  world<TypeParam> m{impatient()};
  const std::size_t before = m.free_bytes();
  ASSERT_EQ(m.start(), status{});
  const auto held = m.regs.live;
  const command c = flush(1);
  m.machine.smmu().stick(true);
  auto t = m.smmu.submit(array_list{&c, 1}, in_turns(limit));
  ASSERT_TRUE(t.ok());
  for (int i = 0; i != 2; ++i) {
    EXPECT_EQ(m.smmu.stop(), status{errc::timed_out});
    EXPECT_TRUE(m.smmu.started());
    EXPECT_EQ(m.regs.live, held) << "the SMMU may still read it";
    EXPECT_EQ(m.smmu.submit(array_list{&c, 1}, in_turns(limit)).code(), errc::queue_failed) << "stopping has begun";
  }
  EXPECT_EQ(m.smmu.wait(*t, in_turns(limit)), status{errc::queue_failed}) << "nobody learns of its completion any more";
  EXPECT_EQ(m.start(), status{errc::already_present});
  m.machine.smmu().stick(false);
  EXPECT_EQ(m.smmu.stop(), status{});
  EXPECT_EQ(m.free_bytes(), before);
}

TYPED_TEST(stuck, write_stream_times_out_and_the_stream_aborts_when_the_smmu_wakes_up) {
  world<TypeParam> m{impatient()};
  auto& s = m.add_space();
  ASSERT_EQ(m.start(), status{});
  auto& d = m.add_device(1, &s);
  m.map(s, 0x10000, 1, 1);
  ASSERT_EQ(m.write(1, 0x10000), status{});
  m.machine.smmu().stick(true);
  EXPECT_EQ(m.smmu.write_stream(stream_id{1}, ste::abort()), status{errc::timed_out});
  m.machine.smmu().stick(false);
  EXPECT_EQ(m.smmu.issue(cmd::cfgi_all().encode()), status{});
  EXPECT_FALSE(m.write(1, 0x10000).ok());
  EXPECT_EQ(d.detach(), status{});
  m.unmap(s, 0x10000, 1, 1);
  EXPECT_EQ(m.leaks(), 0u);
}

TYPED_TEST(stuck, an_unmap_times_out_and_its_memory_stays_owned_until_a_later_one_succeeds) {
  world<TypeParam> m{impatient()};
  auto& s = m.add_space();
  ASSERT_EQ(m.start(), status{});
  m.add_device(1, &s);
  m.map(s, 0x10000, 1, 1);
  ASSERT_EQ(m.write(1, 0x10000), status{});
  gather<> g;
  m.clear(s, 0x10000, 1, g);
  m.machine.smmu().stick(true);
  EXPECT_EQ(s.domain.invalidate(g, in_turns(limit)), status{errc::timed_out});
  EXPECT_EQ(m.write(1, 0x10000), status{}) << "the stuck SMMU translates on: the frame must not be anybody else's";
  EXPECT_TRUE(g.holds_frames());
  EXPECT_EQ(m.leaks(), 0u);
  m.machine.smmu().stick(false);
  EXPECT_EQ(s.domain.invalidate(g, in_turns(limit)), status{});
  s.table.release(g);
  m.release_frames(s, 0x10000, 1, 1);
  EXPECT_FALSE(m.write(1, 0x10000).ok());
  EXPECT_EQ(m.leaks(), 0u);
}

TYPED_TEST(stuck, waits_that_timed_out_do_not_wear_out_the_queue) {
  world<TypeParam> m{impatient()};
  auto& s = m.add_space();
  ASSERT_EQ(m.start(), status{});
  m.add_device(1, &s);
  for (int round = 0; round != 4; ++round) {
    m.machine.smmu().stick(true);
    for (int i = 0; i != 7; ++i) EXPECT_EQ(m.smmu.issue(flush(1)), status{errc::timed_out});
    EXPECT_EQ(s.domain.invalidate_all(in_turns(limit)), status{errc::timed_out});
    m.machine.smmu().stick(false);
    for (std::uint16_t i = 1; i != 100; ++i) ASSERT_EQ(m.smmu.issue(flush(i)), status{}) << i;  // three laps
  }
}
