// SPDX-License-Identifier: MIT
#include <array>
#include <cstdint>
#include <vector>

#include <gtest/gtest.h>

#include "device/rig.hpp"

// Errors and events: who is told what, and that the SMMU goes on.
namespace {
using namespace device_test;
namespace reg = shootdown::reg;

template <class Strategy>
struct gerror : strategy_test<Strategy> {};
TYPED_TEST_SUITE(gerror, strategies, strategy_name);
template <class Strategy>
struct events : strategy_test<Strategy> {};
TYPED_TEST_SUITE(events, strategies, strategy_name);

world_options posted(bool msi = true) {
  world_options o = small_world();
  o.machine.backend.posted_writes = true;
  o.smmu.allow_msi = msi;
  o.smmu.allow_sev = false;
  return o;
}
constexpr command illegal{0xff, 0};
command flush(std::uint16_t as) { return cmd::tlbi_nh_asid{asid{as}, vmid{0}}.encode(); }
constexpr std::uint64_t at = 0x10000;

}  // namespace

TYPED_TEST(gerror, nothing_active_is_nothing_written) {
  world<TypeParam> m;
  ASSERT_EQ(m.start(), status{});
  m.regs.logging = true;
  const device::gerror_report r = m.smmu.service_gerror();
  EXPECT_EQ(r.queue, status{});
  EXPECT_EQ(r.others, 0u);
  EXPECT_FALSE(r.service_failure);
  EXPECT_FALSE(m.regs.wrote_anything());
}

TYPED_TEST(gerror, an_illegal_command_fails_its_own_submitter_and_no_other) {
  for (const bool serviced : {false, true}) {
    for (const bool msi : {false, true}) {
      world<TypeParam> m{posted(msi)};
      ASSERT_EQ(m.start(), status{});
      const std::array<command, 3> bad{flush(1), illegal, flush(3)};
      const std::array<command, 2> good{flush(4), flush(5)};
      const auto tlbis = m.machine.smmu().counters().engine.tlbis;
      auto before = m.smmu.submit(array_list{good.data(), 2}, deadline::never());
      auto wrong = m.smmu.submit(array_list{bad.data(), 3}, deadline::never());
      auto behind = m.smmu.submit(array_list{good.data(), 2}, deadline::never());
      ASSERT_TRUE(before.ok() && wrong.ok() && behind.ok());
      if (serviced) {
        for (int i = 0; i != 4; ++i) m.smmu.idle({});
        EXPECT_EQ(m.smmu.service_gerror().queue, status{errc::illegal_command});
        EXPECT_EQ(m.smmu.service_gerror().queue, status{}) << "recovered";
      }
      EXPECT_EQ(m.smmu.wait(*behind, in_turns(2000)), status{});
      EXPECT_EQ(m.smmu.wait(*wrong, in_turns(2000)), status{errc::illegal_command});
      EXPECT_EQ(m.smmu.wait(*before, in_turns(2000)), status{});
      EXPECT_EQ(m.smmu.wait(*wrong, in_turns(2000)), status{errc::illegal_command}) << "a settled ticket answers again";
      EXPECT_EQ(m.machine.smmu().counters().engine.tlbis - tlbis, 6u) << "all but the illegal one ran";
      std::array<queue::error_record, 4> kept{};
      ASSERT_EQ(m.smmu.commands().errors().snapshot(kept), 1u);
      EXPECT_EQ(kept[0].kind, errc::illegal_command);
      EXPECT_EQ(kept[0].what, illegal);
      EXPECT_EQ(m.smmu.issue(flush(1)), status{});
    }
  }
}

TYPED_TEST(gerror, an_aborted_fetch_is_repeated_and_nobody_fails) {
  world<TypeParam> m{posted()};
  ASSERT_EQ(m.start(), status{});
  m.machine.smmu().fail_fetch(model::fetch_fault::aborted, 0);
  const command c = flush(1);
  auto t = m.smmu.submit(array_list{&c, 1}, deadline::never());
  ASSERT_TRUE(t.ok());
  for (int i = 0; i != 4; ++i) m.smmu.idle({});
  EXPECT_EQ(m.smmu.service_gerror().queue, status{errc::fetch_aborted});
  EXPECT_EQ(m.smmu.wait(*t, in_turns(2000)), status{});
}

TYPED_TEST(gerror, a_ring_that_cannot_be_read_at_all_times_out) {
  world<TypeParam> m{posted()};
  ASSERT_EQ(m.start(), status{});
  m.machine.memory().abort_window(m.smmu.commands().config().ring.bus, 64 * 16);
  const command c = flush(1);
  auto t = m.smmu.submit(array_list{&c, 1}, deadline::never());
  ASSERT_TRUE(t.ok());
  EXPECT_EQ(m.smmu.wait(*t, in_turns(500)), status{errc::timed_out});
  m.machine.memory().abort_window(bus_addr{0}, 0);
  EXPECT_EQ(m.smmu.wait(*t, in_turns(500)), status{});
}

TYPED_TEST(gerror, an_atc_timeout_is_told_to_whom_the_sync_belonged) {
  world<TypeParam> m{posted()};
  ASSERT_EQ(m.start(), status{});
  const command c = flush(1);
  m.machine.smmu().fail_syncs(1);
  auto first = m.smmu.submit(array_list{&c, 1}, deadline::never());
  auto second = m.smmu.submit(array_list{&c, 1}, deadline::never());
  ASSERT_TRUE(first.ok() && second.ok());
  for (int i = 0; i != 4; ++i) m.smmu.idle({});
  EXPECT_EQ(m.smmu.service_gerror().queue, status{errc::atc_timed_out});
  EXPECT_EQ(m.smmu.wait(*second, in_turns(2000)), status{});
  EXPECT_EQ(m.smmu.wait(*first, in_turns(2000)), status{errc::atc_timed_out});
}

TYPED_TEST(gerror, a_lost_completion_message_costs_time_only) {
  world<TypeParam> m{posted()};
  ASSERT_EQ(m.start(), status{});
  ASSERT_EQ(m.smmu.commands().config().completion, queue::completion_mode::msi);
  m.machine.smmu().set_front_options({.drop_message = true});
  EXPECT_EQ(m.smmu.issue(flush(1)), status{});
  const device::gerror_report r = m.smmu.service_gerror();
  EXPECT_EQ(r.others, static_cast<std::uint32_t>(reg::gerror::msi_cmdq_abt_err::mask));
  EXPECT_EQ(r.queue, status{});
  EXPECT_EQ(m.smmu.service_gerror().others, 0u) << "acknowledged";
  m.machine.smmu().set_front_options({});
  EXPECT_EQ(m.smmu.issue(flush(1)), status{});
  EXPECT_EQ(m.machine.smmu().counters().front.software_errors, 0u) << "no bit was toggled that was not active";
}

TYPED_TEST(gerror, a_service_failure_fails_everybody_until_a_restart) {
  world<TypeParam> m{posted()};
  ASSERT_EQ(m.start(), status{});
  const command c = flush(1);
  auto t = m.smmu.submit(array_list{&c, 1}, deadline::never());
  ASSERT_TRUE(t.ok());
  m.machine.smmu().stick(true);
  m.regs.flips[reg::gerror::offset] = static_cast<std::uint32_t>(reg::gerror::sfm_err::mask);
  EXPECT_TRUE(m.smmu.service_gerror().service_failure);
  EXPECT_EQ(m.smmu.wait(*t, deadline::never()), status{errc::queue_failed}) << "without waiting for anything";
  EXPECT_EQ(m.smmu.submit(array_list{&c, 1}, deadline::never()).code(), errc::queue_failed);
  EXPECT_FALSE(m.smmu.service_gerror().service_failure) << "acknowledged";
  m.regs.flips.clear();
  m.machine.smmu().stick(false);
  ASSERT_EQ(m.smmu.stop(), status{});
  ASSERT_EQ(m.start(), status{});
  EXPECT_EQ(m.smmu.issue(c), status{});
}

TYPED_TEST(events, a_write_after_unmap_is_reported_with_its_stream_and_address) {
  world<TypeParam> m;
  ASSERT_EQ(m.start(), status{});
  auto& s = m.add_space();
  m.add_device(3, &s);
  m.map(s, at, 1, 1);
  EXPECT_EQ(m.write(3, at), status{});
  EXPECT_EQ(m.smmu.service_events([](const event_record&) { ADD_FAILURE(); }).records, 0u);
  m.unmap(s, at, 1, 1);
  EXPECT_FALSE(m.write(3, at + 0x18).ok());
  std::vector<event> seen;
  const auto r = m.smmu.service_events([&](const event_record& e) { seen.push_back(e.decode()); });
  EXPECT_EQ(r.records, 1u);
  EXPECT_FALSE(r.overflowed);
  ASSERT_EQ(seen.size(), 1u);
  EXPECT_EQ(seen[0].id, event_id::f_translation);
  EXPECT_EQ(seen[0].sid, stream_id{3});
  EXPECT_EQ(seen[0].address, at + 0x18);
  EXPECT_FALSE(seen[0].read);
  EXPECT_FALSE(seen[0].ssv);
  EXPECT_EQ(m.leaks(), 0u);
}

TYPED_TEST(events, records_come_in_order_over_many_laps) {
  world_options o = small_world();
  o.smmu.eventq_log2 = 2;
  world<TypeParam> m{o};
  ASSERT_EQ(m.start(), status{});
  m.add_device(1, &m.add_space());
  std::uint64_t next = 0, expected = 0;
  for (int round = 0; round != 40; ++round) {
    const std::uint64_t burst = 1 + static_cast<std::uint64_t>(round) % 4;
    for (std::uint64_t i = 0; i != burst; ++i) EXPECT_FALSE(m.write(1, at + 4096 * next++).ok());
    const auto r = m.smmu.service_events([&](const event_record& e) { EXPECT_EQ(e.decode().address, at + 4096 * expected++); });
    EXPECT_EQ(r.records, burst);
    EXPECT_FALSE(r.overflowed) << "a full queue has lost nothing yet";
    EXPECT_TRUE(m.smmu.check_invariants());
  }
  EXPECT_EQ(expected, next);
  EXPECT_EQ(m.machine.smmu().counters().front.software_errors, 0u);
}

TYPED_TEST(events, an_overflow_is_reported_once_and_recording_goes_on) {
  world_options o = small_world();
  o.smmu.eventq_log2 = 1;
  world<TypeParam> m{o};
  ASSERT_EQ(m.start(), status{});
  m.add_device(1, &m.add_space());
  for (int round = 0; round != 5; ++round) {  // OVFLG is a toggle: both directions
    for (int i = 0; i != 5; ++i) EXPECT_FALSE(m.write(1, at).ok());
    auto r = m.smmu.service_events([](const event_record&) {});
    EXPECT_EQ(r.records, 2u);
    EXPECT_TRUE(r.overflowed) << round;
    r = m.smmu.service_events([](const event_record&) { ADD_FAILURE(); });
    EXPECT_FALSE(r.overflowed) << round;
    EXPECT_FALSE(m.write(1, at).ok());
    r = m.smmu.service_events([](const event_record&) {});
    EXPECT_EQ(r.records, 1u);
    EXPECT_FALSE(r.overflowed) << round;
  }
  EXPECT_EQ(m.machine.smmu().counters().front.events_lost, 15u);
}

TYPED_TEST(events, a_fault_storm_cannot_hold_the_consumer) {
  world_options o = small_world();
  o.smmu.eventq_log2 = 3;
  world<TypeParam> m{o};
  ASSERT_EQ(m.start(), status{});
  m.add_device(1, &m.add_space());
  EXPECT_FALSE(m.write(1, at).ok());
  for (int pass = 0; pass != 10; ++pass) {
    const auto r = m.smmu.service_events([&](const event_record&) {
      for (int i = 0; i != 3; ++i) EXPECT_FALSE(m.write(1, at).ok());  // each record makes three more
    });
    EXPECT_GE(r.records, 1u);
    EXPECT_LE(r.records, 8u);
  }
}

TYPED_TEST(events, a_queue_position_that_cannot_be_is_not_believed) {
  world<TypeParam> m;
  ASSERT_EQ(m.start(), status{});
  m.add_device(1, &m.add_space());
  EXPECT_FALSE(m.write(1, at).ok());
  m.regs.answers[reg::eventq_prod::offset] = 0xffff'ffff;  // what a device reads as that is gone
  m.regs.logging = true;
  const auto r = m.smmu.service_events([](const event_record&) { ADD_FAILURE(); });
  EXPECT_EQ(r.records, 0u);
  EXPECT_FALSE(m.regs.wrote_anything());
  m.regs.answers.clear();
  EXPECT_EQ(m.smmu.service_events([](const event_record&) {}).records, 1u) << "nothing was lost by it";
}

TYPED_TEST(events, there_are_none_before_start_and_after_stop) {
  world<TypeParam> m;
  EXPECT_EQ(m.smmu.service_events([](const event_record&) { ADD_FAILURE(); }).records, 0u);
  ASSERT_EQ(m.start(), status{});
  ASSERT_EQ(m.smmu.stop(), status{});
  EXPECT_EQ(m.smmu.service_events([](const event_record&) { ADD_FAILURE(); }).records, 0u);
}
