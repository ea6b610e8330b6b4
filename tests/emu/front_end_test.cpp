// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

#include <emu/emu_doubles.hpp>
#include <shootdown/arch/commands.hpp>
#include <shootdown/arch/event.hpp>
#include <shootdown/emu/front_end.hpp>
#include <shootdown/host/env.hpp>

namespace {
using namespace shootdown;
using emu::sync_verdict;
using test::scripted_bus;
using test::scripted_executor;
using device_side = emu::front_end<host::env, scripted_bus, scripted_executor>;

constexpr std::uint64_t ring_base = 0x10000;
constexpr std::uint64_t event_base = 0x20000;
constexpr std::uint64_t message_word = 0x30008;
constexpr auto smmuen = static_cast<std::uint32_t>(reg::cr0::smmuen::mask);
constexpr auto cmdqen = static_cast<std::uint32_t>(reg::cr0::cmdqen::mask);
constexpr auto eventqen = static_cast<std::uint32_t>(reg::cr0::eventqen::mask);
constexpr auto cmdq_err = static_cast<std::uint32_t>(reg::gerror::cmdq_err::mask);
constexpr auto msi_lost = static_cast<std::uint32_t>(reg::gerror::msi_cmdq_abt_err::mask);

struct front_end : testing::Test {
  scripted_bus memory;
  scripted_executor executor;
  device_side smmu;
  std::uint32_t produced = 0;
  unsigned log2 = 3;

  explicit front_end(emu::id_registers id = emu::id_registers::model_default()) : smmu{memory, executor, id} {}
  void TearDown() override { EXPECT_TRUE(smmu.check_invariants()); }

  static instant at(std::uint64_t ns) { return instant{ns}; }
  unsigned run(std::uint64_t now = 0) { return smmu.run(at(now), 1000); }
  std::uint32_t read(std::uint32_t offset) const { return smmu.read32(offset); }
  std::uint32_t cons() const { return read(reg::cmdq_cons::offset) & 0xfffff; }
  command_error error() const { return reg::cmdq_cons::err::get(read(reg::cmdq_cons::offset)); }
  bool active(std::uint32_t bit) const { return ((read(reg::gerror::offset) ^ read(reg::gerrorn::offset)) & bit) != 0; }
  void acknowledge() { smmu.write32(reg::gerrorn::offset, read(reg::gerror::offset)); }

  void bring_up(std::uint32_t enables = cmdqen) {
    smmu.write64(reg::cmdq_base::offset, ring_base | log2);
    smmu.write32(reg::cmdq_prod::offset, 0);
    smmu.write32(reg::cmdq_cons::offset, 0);
    smmu.write64(reg::eventq_base::offset, event_base | 2);
    smmu.write32(reg::cr0::offset, enables);
    run();
    ASSERT_EQ(read(reg::cr0ack::offset), enables);
  }
  /// Writes a command behind the others; visible to the device side with ring().
  void put(command c) {
    memory.put_command(ring_base, produced & ((1u << log2) - 1), c);
    ++produced;
  }
  void ring() { smmu.write32(reg::cmdq_prod::offset, produced & ((2u << log2) - 1)); }
  static command tlbi(std::uint16_t as) { return cmd::tlbi_nh_asid{.as = asid{as}}.encode(); }
  static command sync() { return cmd::sync::silent().encode(); }
};

TEST_F(front_end, cr0_is_acknowledged_by_a_step_and_not_by_the_write) {
  smmu.write32(reg::cr0::offset, smmuen | eventqen);
  EXPECT_EQ(read(reg::cr0ack::offset), 0u);
  EXPECT_TRUE(smmu.step(at(0)));
  EXPECT_EQ(read(reg::cr0ack::offset), smmuen | eventqen);
  EXPECT_EQ(executor.enables, std::vector<bool>{true});
  EXPECT_FALSE(smmu.step(at(0))) << "idle";
  smmu.write32(reg::cr0::offset, eventqen);
  run();
  EXPECT_EQ(executor.enables, (std::vector<bool>{true, false}));
}

TEST_F(front_end, enables_that_this_smmu_lacks_are_never_acknowledged) {
  smmu.write32(reg::cr0::offset, 0xffffffff);
  run();
  EXPECT_EQ(read(reg::cr0ack::offset), smmuen | eventqen | cmdqen) << "neither PRI nor ATS nor VMW";
}

TEST_F(front_end, acknowledgements_take_as_long_as_the_delay_says) {
  smmu.options().ack_delay = nanoseconds{100};
  smmu.write32(reg::cr0::offset, smmuen);
  smmu.write32(reg::irq_ctrl::offset, 5);
  EXPECT_EQ(run(1000), 0u);
  EXPECT_EQ(run(1099), 0u);
  EXPECT_EQ(read(reg::cr0ack::offset), 0u);
  EXPECT_EQ(run(1100), 2u);
  EXPECT_EQ(read(reg::cr0ack::offset), smmuen);
  EXPECT_EQ(read(reg::irq_ctrlack::offset), 5u);
}

TEST_F(front_end, gbpa_update_is_a_handshake) {
  smmu.write32(reg::gbpa::offset, static_cast<std::uint32_t>(reg::gbpa::abort::mask | reg::gbpa::update::mask));
  EXPECT_FALSE(smmu.aborts_while_disabled());
  run();
  EXPECT_TRUE(smmu.aborts_while_disabled());
  EXPECT_EQ(read(reg::gbpa::offset), static_cast<std::uint32_t>(reg::gbpa::abort::mask)) << "UPDATE reads 0 again";
}

TEST_F(front_end, commands_run_in_order_one_per_step) {
  bring_up();
  for (std::uint16_t i = 1; i <= 3; ++i) put(tlbi(i));
  EXPECT_EQ(run(), 0u) << "no doorbell yet";
  ring();
  EXPECT_TRUE(smmu.step(at(0)));
  EXPECT_EQ(cons(), 1u);
  EXPECT_EQ(run(), 2u);
  EXPECT_EQ(cons(), 3u);
  EXPECT_EQ(executor.executed, (std::vector<command>{tlbi(1), tlbi(2), tlbi(3)}));
  EXPECT_EQ(smmu.counters().commands, 3u);
  EXPECT_EQ(smmu.counters().doorbells, 2u) << "the PROD = 0 of the bring-up counts";
}

TEST_F(front_end, nothing_is_consumed_while_cmdqen_is_0) {
  bring_up();
  smmu.write32(reg::cr0::offset, 0);
  run();
  put(tlbi(1));
  ring();
  EXPECT_EQ(run(), 0u);
  smmu.write32(reg::cr0::offset, cmdqen);
  run();
  EXPECT_EQ(cons(), 1u);
}

TEST_F(front_end, the_ring_wraps_for_ever) {
  bring_up();
  for (std::uint16_t i = 0; i != 1000; ++i) {
    const unsigned batch = 1 + i % 8;
    for (unsigned k = 0; k != batch; ++k) put(tlbi(i));
    ring();
    ASSERT_EQ(run(), batch);
    ASSERT_EQ(cons(), produced % 16);
  }
  EXPECT_EQ(executor.executed.size(), produced);
  EXPECT_EQ(smmu.counters().software_errors + smmu.counters().prod_regressions, 0u);
}

TEST_F(front_end, a_ring_larger_than_advertised_is_clamped) {
  emu::id_registers id = emu::id_registers::model_default();
  id.idr1 = static_cast<std::uint32_t>(reg::idr1::cmdqs::set(id.idr1, 2));
  device_side small{memory, executor, id};
  small.write64(reg::cmdq_base::offset, ring_base | 10);
  small.write32(reg::cr0::offset, cmdqen);
  small.run(at(0), 10);
  for (unsigned i = 0; i != 4; ++i) memory.put_command(ring_base, i, tlbi(static_cast<std::uint16_t>(i)));
  small.write32(reg::cmdq_prod::offset, 4);  // index 0, wrapped
  EXPECT_EQ(small.run(at(0), 10), 4u);
  EXPECT_EQ(small.read32(reg::cmdq_cons::offset), 4u);
  small.write32(reg::cmdq_prod::offset, 5);
  EXPECT_EQ(small.run(at(0), 10), 1u);
  EXPECT_EQ(executor.executed.back(), tlbi(0)) << "slot 0 again";
  EXPECT_TRUE(small.check_invariants());
}

TEST_F(front_end, a_sync_holds_the_queue_until_the_executor_is_done) {
  bring_up();
  executor.answers = {sync_verdict::not_yet, sync_verdict::not_yet, sync_verdict::done};
  put(tlbi(1));
  put(sync());
  put(tlbi(2));
  ring();
  EXPECT_EQ(run(), 1u);
  EXPECT_EQ(cons(), 1u);
  EXPECT_FALSE(smmu.step(at(1)));
  EXPECT_EQ(executor.executed.size(), 1u) << "nothing behind the SYNC starts";
  EXPECT_EQ(run(2), 2u);
  EXPECT_EQ(cons(), 3u);
  EXPECT_EQ(executor.sync_polls, 3u);
  EXPECT_EQ(smmu.counters().syncs, 1u);
}

TEST_F(front_end, a_message_replaces_the_low_32_bits_of_its_word) {
  bring_up();
  memory.words[message_word] = 0x1111'2222'3333'4444;
  put(cmd::sync::message(bus_addr{message_word}, 0xcafe).encode());
  ring();
  EXPECT_EQ(run(), 1u);
  EXPECT_EQ(memory.words[message_word], 0x1111'2222'0000'cafeu) << "32 bits only";
  EXPECT_EQ(smmu.counters().messages, 1u);
  EXPECT_EQ(cons(), 1u);
}

TEST(front_end_order, cons_is_published_after_effects_and_message) {
  // A bus and an executor that look at CONS the way a CPU would.
  struct bus_view {
    scripted_bus inner;
    std::uint32_t (*read_cons)(void*){};
    void* device{};
    std::vector<std::uint32_t> seen;
    result<std::uint64_t> load64(bus_addr a) noexcept { return inner.load64(a); }
    status store64(bus_addr a, std::uint64_t v) noexcept { return inner.store64(a, v); }
    status store_low32(bus_addr a, std::uint32_t v) noexcept {
      seen.push_back(read_cons(device));
      return inner.store_low32(a, v);
    }
  };
  struct executor_view {
    bus_view* bus{};
    std::vector<std::uint32_t> seen;
    void execute(const command&) noexcept { seen.push_back(bus->read_cons(bus->device)); }
    sync_verdict sync(instant) noexcept { return sync_verdict::done; }
    void smmu_enabled(bool) noexcept {}
    void commands_rejected(const command&, errc) noexcept {}
  };
  using machine = emu::front_end<host::env, bus_view, executor_view>;
  bus_view memory;
  executor_view executor;
  executor.bus = &memory;
  machine smmu{memory, executor, emu::id_registers::model_default()};
  memory.device = &smmu;
  memory.read_cons = [](void* d) { return static_cast<machine*>(d)->read32(reg::cmdq_cons::offset); };
  memory.inner.put_command(ring_base, 0, cmd::tlbi_nh_asid{.as = asid{1}}.encode());
  memory.inner.put_command(ring_base, 1, cmd::sync::message(bus_addr{message_word}, 1).encode());
  smmu.write64(reg::cmdq_base::offset, ring_base | 3);
  smmu.write32(reg::cr0::offset, cmdqen);
  smmu.run(instant{0}, 10);
  smmu.write32(reg::cmdq_prod::offset, 2);
  smmu.run(instant{0}, 10);
  EXPECT_EQ(executor.seen, std::vector<std::uint32_t>{0});
  EXPECT_EQ(memory.seen, std::vector<std::uint32_t>{1});
  EXPECT_EQ(smmu.read32(reg::cmdq_cons::offset), 2u);
}

TEST_F(front_end, a_wide_message_overwrites_its_neighbour) {
  bring_up();
  smmu.options().wide_message = true;
  memory.words[message_word] = ~std::uint64_t{0};
  put(cmd::sync::message(bus_addr{message_word}, 0xcafe).encode());
  ring();
  run();
  EXPECT_EQ(memory.words[message_word], 0xcafeu);
}

TEST_F(front_end, a_lost_message_raises_gerror_and_the_sync_completes) {
  bring_up();
  smmu.options().drop_message = true;
  memory.words[message_word] = 7;
  put(cmd::sync::message(bus_addr{message_word}, 0xcafe).encode());
  ring();
  run();
  EXPECT_EQ(cons(), 1u);
  EXPECT_EQ(memory.words[message_word], 7u);
  EXPECT_TRUE(active(msi_lost));
  EXPECT_FALSE(active(cmdq_err));

  smmu.options().drop_message = false;
  memory.broken.insert(message_word);
  put(cmd::sync::message(bus_addr{message_word}, 0xcafe).encode());
  ring();
  run();
  EXPECT_EQ(cons(), 2u);
  EXPECT_TRUE(active(msi_lost)) << "raised once, still active";
  acknowledge();
  run();
  EXPECT_FALSE(active(msi_lost));
}

TEST_F(front_end, a_message_needs_an_address) {
  bring_up();
  put(cmd::sync::message(bus_addr{0}, 0xcafe).encode());
  put(cmd::sync::event().encode());
  ring();
  run();
  EXPECT_EQ(cons(), 2u);
  EXPECT_TRUE(memory.writes.empty());
  EXPECT_EQ(smmu.counters().wired_interrupts, 1u);
  EXPECT_EQ(smmu.counters().events_to_cpus, 1u);
}

struct front_end_like_qemu : front_end {
  front_end_like_qemu() : front_end{emu::id_registers::qemu_7_2()} {}
};
TEST_F(front_end_like_qemu, has_neither_messages_nor_events) {
  bring_up();
  put(cmd::sync::message(bus_addr{message_word}, 1).encode());
  put(cmd::sync::event().encode());
  ring();
  run();
  EXPECT_EQ(cons(), 2u);
  EXPECT_TRUE(memory.writes.empty());
  EXPECT_EQ(smmu.counters().events_to_cpus, 0u);
}

TEST_F(front_end, an_illegal_command_stops_the_queue_until_it_is_replaced_and_acknowledged) {
  bring_up();
  put(tlbi(1));
  put({0xff, 0});
  put(tlbi(2));
  ring();
  run();
  EXPECT_EQ(cons(), 1u) << "at the bad command";
  EXPECT_EQ(error(), command_error::ill);
  EXPECT_TRUE(active(cmdq_err));
  ASSERT_EQ(executor.rejected.size(), 1u);
  EXPECT_EQ(executor.rejected[0], (std::pair{command{0xff, 0}, errc::illegal_command}));
  put(tlbi(3));
  ring();
  EXPECT_EQ(run(), 0u) << "stopped, whatever PROD does";

  memory.put_command(ring_base, 1, sync());
  EXPECT_EQ(run(), 0u) << "not acknowledged";
  acknowledge();
  EXPECT_EQ(run(), 4u) << "the acknowledgement and three commands";
  EXPECT_EQ(cons(), 4u);
  EXPECT_FALSE(active(cmdq_err));
  EXPECT_EQ(error(), command_error::ill) << "the code stays, as on real SMMUs: it means nothing while no error is active";
  EXPECT_EQ(executor.executed, (std::vector<command>{tlbi(1), tlbi(2), tlbi(3)}));
}

TEST_F(front_end, acknowledging_without_repair_raises_the_error_again) {
  bring_up();
  put({0xff, 0});
  ring();
  run();
  const std::uint32_t first = read(reg::gerror::offset);
  acknowledge();
  run();
  EXPECT_TRUE(active(cmdq_err));
  EXPECT_NE(read(reg::gerror::offset), first) << "toggled";
  EXPECT_EQ(executor.rejected.size(), 2u);
}

TEST_F(front_end, a_fetch_abort_is_retried_after_acknowledgement) {
  bring_up();
  put(tlbi(1));
  put(tlbi(2));
  memory.broken.insert(ring_base + 16 + 8);
  ring();
  run();
  EXPECT_EQ(cons(), 1u);
  EXPECT_EQ(error(), command_error::abt);
  EXPECT_EQ(executor.rejected.back().second, errc::fetch_aborted);
  memory.broken.clear();
  acknowledge();
  run();
  EXPECT_EQ(cons(), 2u);
  EXPECT_EQ(executor.executed.size(), 2u);
}

TEST_F(front_end, an_atc_timeout_stops_at_the_sync_which_runs_again) {
  bring_up();
  executor.answers = {sync_verdict::atc_timeout};
  put(tlbi(1));
  put(cmd::sync::message(bus_addr{message_word}, 5).encode());
  ring();
  run();
  EXPECT_EQ(cons(), 1u) << "at the CMD_SYNC";
  EXPECT_EQ(error(), command_error::atc_inv_sync);
  EXPECT_EQ(memory.words[message_word], 0u) << "no completion signal";
  EXPECT_EQ(executor.rejected.back().second, errc::atc_timed_out);
  EXPECT_TRUE(smmu.check_invariants());
  acknowledge();
  run();
  EXPECT_EQ(cons(), 2u);
  EXPECT_EQ(memory.words[message_word], 5u);
}

TEST_F(front_end, a_sync_that_failed_is_read_again_because_software_may_have_replaced_it) {
  bring_up();
  executor.answers = {sync_verdict::atc_timeout};
  put(cmd::sync::message(bus_addr{message_word}, 5).encode());
  ring();
  run();
  memory.put_command(ring_base, 0, sync());
  acknowledge();
  run();
  EXPECT_EQ(cons(), 1u);
  EXPECT_EQ(memory.words[message_word], 0u) << "the silent SYNC ran, not the one read before";
}

TEST_F(front_end, toggling_an_inactive_gerrorn_bit_is_a_software_error) {
  bring_up();
  smmu.write32(reg::gerrorn::offset, cmdq_err);
  run();
  EXPECT_EQ(smmu.counters().software_errors, 1u);
}

TEST_F(front_end, an_error_that_software_made_active_stops_a_waiting_sync_like_any_other) {
  bring_up();
  executor.answers = {sync_verdict::not_yet};
  put(sync());
  ring();
  run();
  ASSERT_EQ(executor.sync_polls, 1u);
  smmu.write32(reg::gerrorn::offset, cmdq_err);
  run();
  EXPECT_TRUE(active(cmdq_err));
  EXPECT_TRUE(smmu.check_invariants());
  EXPECT_EQ(executor.sync_polls, 1u) << "nothing is consumed";
  memory.put_command(ring_base, 0, tlbi(7));
  acknowledge();
  run();
  EXPECT_EQ(executor.executed, std::vector{tlbi(7)}) << "the head is read again";
  EXPECT_EQ(cons(), 1u);
}

TEST_F(front_end, a_prod_beyond_the_ring_is_counted_once_and_not_believed) {
  bring_up();
  put(tlbi(1));
  smmu.write32(reg::cmdq_prod::offset, 9);
  EXPECT_EQ(run(), 0u);
  EXPECT_EQ(run(), 0u);
  EXPECT_EQ(smmu.counters().software_errors, 1u);
  EXPECT_EQ(smmu.counters().prod_regressions, 1u);
  EXPECT_TRUE(executor.executed.empty());
}

TEST_F(front_end, atc_commands_have_no_effect_while_translation_is_off) {
  emu::id_registers id = emu::id_registers::model_default();
  id.idr0 = static_cast<std::uint32_t>(reg::idr0::ats::set(id.idr0, true));
  device_side ats{memory, executor, id};
  ats.write64(reg::cmdq_base::offset, ring_base | 3);
  ats.write32(reg::cr0::offset, cmdqen);
  const command inv = cmd::atc_inv{.sid = stream_id{8}}.encode();
  memory.put_command(ring_base, 0, inv);
  memory.put_command(ring_base, 1, tlbi(1));
  memory.put_command(ring_base, 2, inv);
  ats.run(at(0), 10);
  ats.write32(reg::cmdq_prod::offset, 2);
  ats.run(at(0), 10);
  EXPECT_EQ(executor.executed, std::vector<command>{tlbi(1)}) << "TLBI works, ATC_INV is consumed";
  EXPECT_EQ(ats.counters().ignored, 1u);
  ats.write32(reg::cr0::offset, cmdqen | smmuen);
  ats.run(at(0), 10);
  ats.write32(reg::cmdq_prod::offset, 3);
  ats.run(at(0), 10);
  EXPECT_EQ(executor.executed.back(), inv);
  EXPECT_TRUE(ats.check_invariants());
}

TEST_F(front_end, reserved_bits_are_refused_or_cleared_as_chosen) {
  bring_up();
  const command stray{tlbi(1).dw0 | (std::uint64_t{1} << 9), 0x80};
  put(stray);
  ring();
  run();
  EXPECT_EQ(error(), command_error::ill);
  smmu.options().reserved = emu::reserved_bits_rule::ignored;
  acknowledge();
  run();
  EXPECT_EQ(executor.executed, std::vector<command>{tlbi(1)}) << "executed without them";
}

TEST_F(front_end, unpredictable_commands_run_and_are_counted) {
  bring_up();
  put(cmd::tlbi_nh_asid{.as = asid{1}, .vm = vmid{9}}.encode());
  ring();
  run();
  EXPECT_EQ(cons(), 1u);
  EXPECT_EQ(smmu.counters().unpredictable, 1u);
}

TEST_F(front_end, a_misaligned_queue_base_is_aligned_down_and_counted) {
  log2 = 6;
  smmu.write64(reg::cmdq_base::offset, (ring_base + 0x20) | log2);
  smmu.write32(reg::cr0::offset, cmdqen);
  run();
  put(tlbi(1));
  ring();
  EXPECT_EQ(run(), 1u);
  EXPECT_EQ(smmu.counters().software_errors, 1u);
}

TEST_F(front_end, gerror_interrupts_go_out_as_message_or_line) {
  smmu.write32(reg::irq_ctrl::offset, 1);
  bring_up();
  put({0xff, 0});
  ring();
  run();
  EXPECT_EQ(smmu.counters().wired_interrupts, 1u);
  memory.put_command(ring_base, 0, sync());
  acknowledge();
  run();
  smmu.write32(reg::irq_ctrl::offset, 0);
  run();
  smmu.write64(reg::gerror_irq_cfg0::offset, 0x40000);
  smmu.write32(reg::gerror_irq_cfg1::offset, 0x77);
  smmu.write32(reg::irq_ctrl::offset, 1);
  run();
  put({0xff, 0});
  ring();
  run();
  EXPECT_EQ(memory.words[0x40000], 0x77u);
  EXPECT_EQ(smmu.counters().wired_interrupts, 1u);
}

TEST_F(front_end, a_gerror_message_that_aborts_leaves_its_own_bit) {
  smmu.write64(reg::gerror_irq_cfg0::offset, 0x40000);
  smmu.write32(reg::irq_ctrl::offset, 1);
  memory.broken.insert(0x40000);
  bring_up();
  put({0xff, 0});
  ring();
  run();
  EXPECT_TRUE(active(cmdq_err));
  EXPECT_TRUE(active(static_cast<std::uint32_t>(reg::gerror::msi_gerror_abt_err::mask)));
}

// Event queue

event_record fault(std::uint32_t sid) { return event_record::encode({.id = event_id::f_translation, .sid = stream_id{sid}}); }

TEST_F(front_end, events_lie_in_the_queue_before_prod_moves) {
  bring_up(cmdqen | eventqen);
  EXPECT_TRUE(smmu.raise_event(fault(0x18)).ok());
  EXPECT_EQ(read(reg::eventq_prod::offset), 1u);
  for (unsigned i = 0; i != 4; ++i) EXPECT_EQ(memory.words[event_base + 8 * i], fault(0x18).w[i]);
  EXPECT_EQ(smmu.counters().events, 1u);
}

TEST_F(front_end, a_full_event_queue_loses_records_and_says_so_until_acknowledged) {
  bring_up(cmdqen | eventqen);
  for (std::uint32_t i = 0; i != 4; ++i) EXPECT_TRUE(smmu.raise_event(fault(i)).ok());
  EXPECT_EQ(smmu.raise_event(fault(4)).code(), errc::would_block);
  EXPECT_EQ(smmu.raise_event(fault(5)).code(), errc::would_block);
  EXPECT_EQ(read(reg::eventq_prod::offset), 0x80000004u) << "OVFLG toggled once, PROD stays";
  EXPECT_EQ(smmu.counters().events_lost, 2u);

  smmu.write32(reg::eventq_cons::offset, 0x80000002);  // two read, overflow acknowledged
  EXPECT_TRUE(smmu.raise_event(fault(6)).ok());
  EXPECT_EQ(read(reg::eventq_prod::offset), 0x80000005u);
  EXPECT_EQ(memory.words[event_base + 0], fault(6).w[0]) << "slot 0 again, wrapped";
  EXPECT_TRUE(smmu.raise_event(fault(7)).ok());
  EXPECT_EQ(smmu.raise_event(fault(8)).code(), errc::would_block);
  EXPECT_EQ(read(reg::eventq_prod::offset), 0x00000006u) << "a second overflow toggles back";
}

TEST_F(front_end, an_event_queue_drops_prod_bits_beyond_its_width_when_it_starts) {
  smmu.write32(reg::eventq_prod::offset, 0xfa237e23);
  bring_up(cmdqen | eventqen);
  EXPECT_EQ(read(reg::eventq_prod::offset), 0x80000003u) << "four slots: index and wrap flag, and OVFLG";
  EXPECT_TRUE(smmu.check_invariants());
}

TEST_F(front_end, an_event_queue_that_is_off_or_broken_loses_the_record) {
  bring_up(cmdqen);
  EXPECT_EQ(smmu.raise_event(fault(1)).code(), errc::not_present);
  smmu.write32(reg::cr0::offset, cmdqen | eventqen);
  run();
  memory.broken.insert(event_base + 16);
  EXPECT_FALSE(smmu.raise_event(fault(1)).ok());
  EXPECT_TRUE(active(static_cast<std::uint32_t>(reg::gerror::eventq_abt_err::mask)));
  EXPECT_EQ(read(reg::eventq_prod::offset), 0u);
  EXPECT_EQ(smmu.counters().events_lost, 2u);
}

TEST_F(front_end, the_event_line_is_raised_when_the_queue_stops_being_empty) {
  smmu.write32(reg::irq_ctrl::offset, static_cast<std::uint32_t>(reg::irq_ctrl::eventq_irqen::mask));
  bring_up(cmdqen | eventqen);
  EXPECT_TRUE(smmu.raise_event(fault(1)).ok());
  EXPECT_TRUE(smmu.raise_event(fault(2)).ok());
  EXPECT_EQ(smmu.counters().wired_interrupts, 1u);
  smmu.write32(reg::eventq_cons::offset, 2);
  EXPECT_TRUE(smmu.raise_event(fault(3)).ok());
  EXPECT_EQ(smmu.counters().wired_interrupts, 2u);
}

TEST_F(front_end, disabling_the_queue_in_front_of_a_waiting_sync_starts_the_sync_again) {
  bring_up();
  executor.answers = {sync_verdict::not_yet, sync_verdict::done};
  put(sync());
  ring();
  EXPECT_EQ(run(), 0u);
  smmu.write32(reg::cr0::offset, 0);
  run();
  EXPECT_EQ(cons(), 0u);
  smmu.write32(reg::cr0::offset, cmdqen);
  run();
  EXPECT_EQ(cons(), 1u);
}

}  // namespace
