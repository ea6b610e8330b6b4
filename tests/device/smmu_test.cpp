// SPDX-License-Identifier: MIT
#include <array>
#include <cstdint>
#include <memory>
#include <type_traits>
#include <vector>

#include <gtest/gtest.h>

#include "device/rig.hpp"

// One SMMU from probe to shutdown: the register sequence, what it holds, and what it refuses.
namespace {
using namespace device_test;
namespace reg = shootdown::reg;

template <class Strategy>
struct smmu_life : strategy_test<Strategy> {};
TYPED_TEST_SUITE(smmu_life, strategies, strategy_name);

std::uint32_t with_bits(std::uint32_t word, std::uint64_t bits, bool on) {
  return on ? word | static_cast<std::uint32_t>(bits) : word & ~static_cast<std::uint32_t>(bits);
}
/// The ways a CMD_SYNC can complete, as ID registers and configuration ask for them.
struct way {
  bool msi, sev, allow_msi, allow_sev;
  queue::completion_mode expected;
};
constexpr std::array<way, 7> ways{{
    {true, true, true, true, queue::completion_mode::msi},
    {true, false, true, true, queue::completion_mode::msi},
    {true, true, false, true, queue::completion_mode::cons_sev},
    {false, true, true, true, queue::completion_mode::cons_sev},
    {true, true, false, false, queue::completion_mode::cons_poll},
    {true, false, false, true, queue::completion_mode::cons_poll},
    {false, false, true, true, queue::completion_mode::cons_poll},
}};
world_options world_of(const way& w) {
  world_options o = small_world();
  o.machine.smmu.id.idr0 = with_bits(with_bits(o.machine.smmu.id.idr0, reg::idr0::msi::mask, w.msi), reg::idr0::sev::mask, w.sev);
  o.smmu.allow_msi = w.allow_msi;
  o.smmu.allow_sev = w.allow_sev;
  return o;
}
command flush(std::uint16_t as) { return cmd::tlbi_nh_asid{asid{as}, vmid{0}}.encode(); }

}  // namespace

TYPED_TEST(smmu_life, starts_works_and_stops_with_every_way_of_completion) {
  for (const way& w : ways) {
    world<TypeParam> m{world_of(w)};
    const std::size_t before = m.free_bytes();
    ASSERT_EQ(m.start(), status{});
    EXPECT_TRUE(m.smmu.started());
    EXPECT_EQ(m.smmu.commands().config().completion, w.expected);
    const auto quiet = m.machine.smmu().counters();
    for (std::uint16_t i = 1; i != 200; ++i) ASSERT_EQ(m.smmu.issue(flush(i)), status{});  // several laps of 64 slots
    const auto busy = m.machine.smmu().counters();
    EXPECT_EQ(busy.engine.tlbis - quiet.engine.tlbis, 199u);
    EXPECT_EQ(busy.engine.syncs - quiet.engine.syncs, 199u);
    EXPECT_EQ(busy.front.messages - quiet.front.messages, w.expected == queue::completion_mode::msi ? 199u : 0u);
    EXPECT_EQ(busy.front.events_to_cpus - quiet.front.events_to_cpus, w.expected == queue::completion_mode::cons_sev ? 199u : 0u);
    EXPECT_EQ(busy.front.software_errors + busy.front.prod_regressions + busy.front.rejected, 0u);
    EXPECT_TRUE(m.smmu.check_invariants());
    ASSERT_EQ(m.smmu.stop(), status{});
    EXPECT_FALSE(m.smmu.started());
    EXPECT_EQ(m.free_bytes(), before) << "every byte is given back";
    EXPECT_TRUE(m.regs.live.empty());
  }
}

TYPED_TEST(smmu_life, msi_needs_a_coherent_smmu) {
  world_options o = small_world();
  o.machine.smmu.id.idr0 = with_bits(o.machine.smmu.id.idr0, reg::idr0::cohacc::mask, false);
  world<TypeParam> m{o};
  ASSERT_EQ(m.start(), status{});
  EXPECT_NE(m.smmu.commands().config().completion, queue::completion_mode::msi);
  EXPECT_EQ(m.smmu.issue(flush(1)), status{});
}

TYPED_TEST(smmu_life, restarts_with_other_sizes_and_fails_tickets_of_the_earlier_life) {
  world<TypeParam> m;
  const std::size_t before = m.free_bytes();
  std::vector<ticket> old;
  for (const unsigned log2 : {6u, 9u, 7u, 6u}) {
    m.options.smmu.cmdq_log2 = log2;
    ASSERT_EQ(m.start(), status{});
    for (ticket& t : old) {
      ticket copy = t;
      EXPECT_EQ(m.smmu.poll(copy), status{errc::queue_failed});
    }
    for (std::uint16_t i = 1; i != 150; ++i) ASSERT_EQ(m.smmu.issue(flush(i)), status{});
    const command c = flush(1);
    auto t = m.smmu.submit(array_list{&c, 1}, deadline::never());
    ASSERT_TRUE(t.ok());
    old.push_back(*t);
    ASSERT_EQ(m.smmu.stop(), status{});
    EXPECT_EQ(m.free_bytes(), before);
  }
}

TYPED_TEST(smmu_life, calls_in_the_wrong_order_are_refused_and_change_nothing) {
  world<TypeParam> m;
  const command c = flush(1);
  EXPECT_EQ(m.smmu.stop(), status{errc::not_present});
  EXPECT_EQ(m.smmu.submit(array_list{&c, 1}, deadline::never()).code(), errc::queue_failed);
  EXPECT_EQ(m.smmu.write_stream(stream_id{1}, ste::abort()), status{errc::out_of_range});
  EXPECT_EQ(m.regs.accesses, 0u);
  ASSERT_EQ(m.start(), status{});
  const auto before = m.regs.accesses;
  device::smmu_config other = m.options.smmu;
  other.instance = instance_id{7};
  other.cmdq_log2 = 99;
  EXPECT_EQ(m.smmu.start(other), status{errc::already_present});
  EXPECT_EQ(m.regs.accesses, before);
  EXPECT_EQ(m.smmu.instance(), m.options.smmu.instance);
  EXPECT_EQ(m.smmu.issue(c), status{});
  ASSERT_EQ(m.smmu.stop(), status{});
  EXPECT_EQ(m.smmu.stop(), status{errc::not_present});
  EXPECT_EQ(m.smmu.submit(array_list{&c, 1}, deadline::never()).code(), errc::queue_failed);
  EXPECT_EQ(m.smmu.try_submit(array_list{&c, 1}).code(), errc::queue_failed);
  EXPECT_EQ(m.smmu.write_stream(stream_id{1}, ste::bypass()), status{errc::out_of_range}) << "the table's memory is somebody else's now";
}

TYPED_TEST(smmu_life, destruction_without_stop_is_reported) {
  {
    auto m = std::make_unique<world<TypeParam>>();
    auto lone = std::make_unique<typename world<TypeParam>::smmu_type>(m->regs);
    ASSERT_EQ(lone->start(m->options.smmu), status{});
    lone.reset();
    EXPECT_EQ(test_env::failures(), 1u);
    test_env::reset();
  }
}

TYPED_TEST(smmu_life, sizes_beyond_the_hardware_are_refused_before_a_register_is_written) {
  world_options base = small_world();
  const auto idr1 = static_cast<std::uint32_t>(reg::idr1::sidsize::put(6) | reg::idr1::eventqs::put(8) | reg::idr1::cmdqs::put(9));
  base.machine.smmu.id.idr1 = idr1;
  constexpr unsigned least = std::is_same_v<TypeParam, queue::owner_cas> ? 6 : 2;
  struct wrong {
    const char* what;
    void (*change)(device::smmu_config&);
  };
  const wrong wrongs[]{
      {"commands beyond IDR1.CMDQS", [](device::smmu_config& c) { c.cmdq_log2 = 10; }},
      {"commands below what the strategy needs", [](device::smmu_config& c) { c.cmdq_log2 = least - 1; }},
      {"no command queue", [](device::smmu_config& c) { c.cmdq_log2 = 0; }},
      {"events beyond IDR1.EVENTQS", [](device::smmu_config& c) { c.eventq_log2 = 9; }},
      {"no event queue", [](device::smmu_config& c) { c.eventq_log2 = 0; }},
      {"streams beyond IDR1.SIDSIZE", [](device::smmu_config& c) { c.stream_log2 = 7; }},
      {"absurd sizes", [](device::smmu_config& c) { c.cmdq_log2 = c.eventq_log2 = c.stream_log2 = ~0u; }},
  };
  for (const wrong& w : wrongs) {
    world<TypeParam> m{base};
    const std::size_t before = m.free_bytes();
    w.change(m.options.smmu);
    m.regs.logging = true;
    EXPECT_EQ(m.start(), status{errc::out_of_range}) << w.what;
    EXPECT_FALSE(m.regs.wrote_anything()) << w.what;
    EXPECT_EQ(m.regs.allocations, 0u) << w.what;
    EXPECT_EQ(m.free_bytes(), before) << w.what;
    EXPECT_FALSE(m.smmu.started()) << w.what;
    m.options.smmu = base.smmu;
    m.options.smmu.cmdq_log2 = 9;
    m.options.smmu.eventq_log2 = 8;
    m.options.smmu.stream_log2 = 6;
    EXPECT_EQ(m.start(), status{}) << "the largest sizes work: " << w.what;
    EXPECT_EQ(m.smmu.issue(flush(1)), status{});
    ASSERT_EQ(m.smmu.stop(), status{});
    m.options.smmu.cmdq_log2 = least;
    m.options.smmu.eventq_log2 = 1;
    m.options.smmu.stream_log2 = 0;
    EXPECT_EQ(m.start(), status{}) << "the smallest sizes work: " << w.what;
    EXPECT_EQ(m.smmu.issue(flush(1)), status{});
  }
}

TYPED_TEST(smmu_life, a_linear_stream_table_has_a_limit_of_its_own) {
  world_options o = small_world();
  o.machine.smmu.id.idr1 |= static_cast<std::uint32_t>(reg::idr1::sidsize::put(21));
  world<TypeParam> m{o};
  m.regs.answers[reg::idr1::offset] = o.machine.smmu.id.idr1;
  m.options.smmu.stream_log2 = 21;
  EXPECT_EQ(m.start(), status{errc::out_of_range});
}

TYPED_TEST(smmu_life, interrupt_bits_that_no_smmu_acknowledges_are_refused) {
  world<TypeParam> m;
  m.options.smmu.irq_ctrl = 0x10;
  EXPECT_EQ(m.start(), status{errc::invalid_argument});
  EXPECT_TRUE(m.regs.live.empty());
}

TYPED_TEST(smmu_life, id_registers_that_the_library_cannot_drive_are_refused_before_a_register_is_written) {
  const emu::id_registers good = emu::id_registers::model_default();
  struct wrong {
    const char* what;
    std::uint32_t offset, value;
  };
  const wrong wrongs[]{
      {"no stage", reg::idr0::offset, good.idr0 & ~0x3u},
      {"AArch32 tables only", reg::idr0::offset, (good.idr0 & ~0xcu) | 0x4u},
      {"big-endian tables only", reg::idr0::offset, good.idr0 | 0x0060'0000u},
      {"preset queues", reg::idr1::offset, good.idr1 | (1u << 29)},
      {"preset tables", reg::idr1::offset, good.idr1 | (1u << 30)},
      {"relative addresses", reg::idr1::offset, good.idr1 | (1u << 28)},
      {"no granule", reg::idr5::offset, good.idr5 & ~0x70u},
      {"not there: everything reads as zero", reg::idr0::offset, 0},
  };
  for (const wrong& w : wrongs) {
    world<TypeParam> m;
    m.regs.answers[w.offset] = w.value;
    m.regs.logging = true;
    EXPECT_EQ(m.start(), status{errc::unsupported}) << w.what;
    EXPECT_FALSE(m.regs.wrote_anything()) << w.what;
    EXPECT_EQ(m.regs.allocations, 0u) << w.what;
    m.regs.answers.clear();
    EXPECT_EQ(m.start(), status{}) << w.what;
  }
}

TYPED_TEST(smmu_life, memory_that_runs_out_anywhere_leaves_nothing_behind) {
  for (const way& w : {ways[0], ways[6]}) {
    world<TypeParam> m{world_of(w)};
    const std::size_t before = m.free_bytes();
    int n = 0;
    for (;; ++n) {
      ASSERT_LT(n, 10);
      m.regs.allocations_left = n;
      const status s = m.start();
      if (s.ok()) break;
      EXPECT_EQ(s, status{errc::no_memory}) << n;
      EXPECT_EQ(m.free_bytes(), before) << n;
      EXPECT_TRUE(m.regs.live.empty()) << n;
      EXPECT_EQ(m.smmu.stop(), status{errc::not_present});
      EXPECT_EQ(m.machine.smmu().read32(reg::cr0ack::offset), 0u) << n;
    }
    EXPECT_EQ(n, w.expected == queue::completion_mode::msi ? 4 : 3);  // stream table, ring, MSI word, event ring
    m.regs.allocations_left = -1;
    EXPECT_EQ(m.smmu.issue(flush(1)), status{});
  }
}

TYPED_TEST(smmu_life, only_owner_cas_takes_memory_of_the_environment_and_it_may_run_out) {
  constexpr bool takes = std::is_same_v<TypeParam, queue::owner_cas>;
  world<TypeParam> m;
  const std::size_t before = m.free_bytes();
  test_env::fail_after(0);
  EXPECT_EQ(m.start(), takes ? status{errc::no_memory} : status{});
  if (takes) {
    EXPECT_EQ(m.free_bytes(), before);
  }
  test_env::allow_all();
  EXPECT_EQ(m.start(), takes ? status{} : status{errc::already_present});
}
