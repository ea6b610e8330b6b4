// SPDX-License-Identifier: MIT
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include <gtest/gtest.h>

#include "device/rig.hpp"

// The order of the register accesses that bring an SMMU up and down, and that traffic never passes it untranslated meanwhile.
namespace {
using namespace device_test;
namespace reg = shootdown::reg;

template <class Strategy>
struct sequence : strategy_test<Strategy> {};
TYPED_TEST_SUITE(sequence, strategies, strategy_name);

constexpr auto cmdqen = static_cast<std::uint32_t>(reg::cr0::cmdqen::mask);
constexpr auto eventqen = static_cast<std::uint32_t>(reg::cr0::eventqen::mask);
constexpr auto smmuen = static_cast<std::uint32_t>(reg::cr0::smmuen::mask);
constexpr auto atschk = static_cast<std::uint32_t>(reg::cr0::atschk::mask);

using log_type = std::vector<register_access>;

/// Where the first write with these bits, and none of `without`, of a register stands in the log.
std::size_t place(const log_type& log, std::uint32_t offset, std::uint64_t with = 0, std::uint64_t without = 0) {
  for (std::size_t i = 0; i != log.size(); ++i) {
    if (log[i].write && log[i].offset == offset && (log[i].value & with) == with && (log[i].value & without) == 0) return i;
  }
  ADD_FAILURE() << "register 0x" << std::hex << offset << " was never written so";
  return log.size();
}
/// Index of the first read of `offset` after `from` that gave `value`.
std::size_t seen(const log_type& log, std::size_t from, std::uint32_t offset, std::uint64_t value) {
  for (std::size_t i = from; i != log.size(); ++i) {
    if (!log[i].write && log[i].offset == offset && log[i].value == value) return i;
  }
  ADD_FAILURE() << "register 0x" << std::hex << offset << " was never seen as 0x" << value;
  return log.size();
}

/// Rules that hold for every log: CR0, IRQ_CTRL and GBPA are only written when their last write has been acknowledged; base
/// registers only while what they describe is off; PROD of the command queue moves only while CMDQEN is acknowledged.
void expect_legal(const log_type& log, std::uint32_t cr0_before = 0) {
  std::uint64_t cr0 = cr0_before, ack = cr0_before, irq = 0, irq_ack = 0;
  bool gbpa_busy = false;
  for (std::size_t i = 0; i != log.size(); ++i) {
    const register_access& a = log[i];
    switch (a.offset) {
      case reg::cr0::offset:
        if (a.write) {
          EXPECT_EQ(cr0, ack) << "access " << i << ": CR0 written before its last change was acknowledged";
          cr0 = a.value;
        }
        break;
      case reg::cr0ack::offset: ack = a.value; break;
      case reg::irq_ctrl::offset:
        if (a.write) {
          EXPECT_EQ(irq, irq_ack) << "access " << i;
          irq = a.value;
        }
        break;
      case reg::irq_ctrlack::offset: irq_ack = a.value; break;
      case reg::gbpa::offset:
        if (a.write) {
          EXPECT_FALSE(gbpa_busy) << "access " << i;
          EXPECT_TRUE(reg::gbpa::update::get(a.value)) << "a write without UPDATE does nothing";
        }
        gbpa_busy = reg::gbpa::update::get(a.value);
        break;
      case reg::strtab_base::offset:
      case reg::strtab_base_cfg::offset:
      case reg::cr2::offset: EXPECT_FALSE(a.write && ((cr0 | ack) & smmuen) != 0) << "access " << i; break;
      case reg::cr1::offset: EXPECT_FALSE(a.write && (cr0 | ack) != 0) << "access " << i; break;
      case reg::cmdq_base::offset:
      case reg::cmdq_cons::offset: EXPECT_FALSE(a.write && ((cr0 | ack) & cmdqen) != 0) << "access " << i; break;
      case reg::cmdq_prod::offset:
        if (a.write && a.value != 0) {
          EXPECT_NE(ack & cmdqen, 0u) << "access " << i << ": a command before CMDQEN was acknowledged";
        }
        break;
      case reg::eventq_base::offset:
      case reg::eventq_prod::offset: EXPECT_FALSE(a.write && ((cr0 | ack) & eventqen) != 0) << "access " << i; break;
      default: break;
    }
  }
  EXPECT_EQ(cr0, ack);
  EXPECT_EQ(irq, irq_ack);
  EXPECT_FALSE(gbpa_busy);
}

world_options with_delays(bool ats) {
  world_options o = small_world();
  o.machine.smmu.front.ack_delay = nanoseconds{7};  // a handshake takes turns
  o.machine.backend.posted_writes = true;
  if (ats) o.machine.smmu.id.idr0 |= static_cast<std::uint32_t>(reg::idr0::ats::mask);
  o.smmu.irq_ctrl = static_cast<std::uint32_t>(reg::irq_ctrl::gerror_irqen::mask | reg::irq_ctrl::eventq_irqen::mask);
  return o;
}

}  // namespace

TYPED_TEST(sequence, start_follows_the_order_of_the_reset_chapter) {
  for (const bool ats : {false, true}) {
    world<TypeParam> m{with_delays(ats)};
    m.regs.logging = true;
    ASSERT_EQ(m.start(), status{});
    const log_type& log = m.regs.log;
    expect_legal(log);

    const std::size_t abort = place(log, reg::gbpa::offset, reg::gbpa::abort::mask | reg::gbpa::update::mask);
    const std::size_t off = place(log, reg::cr0::offset, 0, ~std::uint64_t{0});
    const std::size_t off_done = seen(log, off, reg::cr0ack::offset, 0);
    EXPECT_LT(abort, off);
    EXPECT_LT(off_done, place(log, reg::cr1::offset));
    EXPECT_LT(off_done, place(log, reg::cr2::offset, reg::cr2::ptm::mask, reg::cr2::e2h::mask));
    EXPECT_LT(off_done, place(log, reg::strtab_base::offset));
    EXPECT_LT(off_done, place(log, reg::gerror_irq_cfg0::offset, 0, ~std::uint64_t{0})) << "no message address of an earlier owner";

    const std::size_t commands = place(log, reg::cr0::offset, cmdqen);
    EXPECT_LT(place(log, reg::cmdq_base::offset), commands);
    EXPECT_LT(place(log, reg::strtab_base_cfg::offset), commands);
    const std::size_t first = place(log, reg::cmdq_prod::offset, 2);  // CFGI_ALL and its SYNC
    EXPECT_LT(seen(log, commands, reg::cr0ack::offset, cmdqen), first) << "the queue is on before the first command";
    const std::size_t events = place(log, reg::cr0::offset, eventqen);
    EXPECT_LT(first, events) << "the caches are empty before anything else goes on";
    EXPECT_LT(place(log, reg::eventq_base::offset), events);
    const std::size_t interrupts = place(log, reg::irq_ctrl::offset, m.options.smmu.irq_ctrl);
    EXPECT_LT(seen(log, events, reg::cr0ack::offset, cmdqen | eventqen), interrupts);
    const std::size_t translation = place(log, reg::cr0::offset, smmuen);
    EXPECT_LT(interrupts, translation);
    for (std::size_t i = translation + 1; i < log.size(); ++i) EXPECT_FALSE(log[i].write) << "SMMUEN comes last";
    const std::uint64_t all = cmdqen | eventqen | smmuen | (ats ? atschk : 0);
    EXPECT_EQ(log[translation].value, all);
    EXPECT_EQ(log.back().value, all) << "and is waited for";
    if (ats) {
      EXPECT_LT(place(log, reg::cr0::offset, atschk), translation);
    }
  }
}

TYPED_TEST(sequence, one_bit_of_cr0_changes_at_a_time) {
  world<TypeParam> m{with_delays(true)};
  m.regs.logging = true;
  ASSERT_EQ(m.start(), status{});
  std::uint64_t before = 0;
  std::size_t changes = 0;
  for (const register_access& a : m.regs.writes_to(reg::cr0::offset)) {
    const std::uint64_t changed = a.value ^ before;
    EXPECT_TRUE(changed == 0 || (changed & (changed - 1)) == 0) << std::hex << a.value;
    changes += changed != 0;
    before = a.value;
  }
  EXPECT_EQ(changes, 4u);
}

TYPED_TEST(sequence, stop_turns_everything_off_before_memory_goes_back) {
  world<TypeParam> m{with_delays(false)};
  ASSERT_EQ(m.start(), status{});
  const auto held = m.regs.live.size();
  m.regs.logging = true;
  bool given_back_early = false;
  m.regs.before = [&] { given_back_early = given_back_early || m.regs.live.size() != held; };
  ASSERT_EQ(m.smmu.stop(), status{});
  EXPECT_FALSE(given_back_early) << "no register access after memory was given back";
  expect_legal(m.regs.log, cmdqen | eventqen | smmuen);
  EXPECT_LT(place(m.regs.log, reg::gbpa::offset, reg::gbpa::abort::mask), place(m.regs.log, reg::cr0::offset));
  EXPECT_EQ(m.machine.smmu().read32(reg::cr0ack::offset), 0u);
  EXPECT_EQ(m.machine.smmu().read32(reg::irq_ctrlack::offset), 0u);
}

TYPED_TEST(sequence, traffic_never_passes_once_start_has_touched_the_smmu) {
  world<TypeParam> m{with_delays(false)};
  EXPECT_EQ(m.write(1, 0x1000), status{}) << "out of reset this SMMU lets traffic through";
  bool shut = false;
  std::uint64_t tried = 0, passed_late = 0;
  m.regs.before = [&] {
    const std::uint32_t gbpa = m.machine.smmu().read32(reg::gbpa::offset);
    shut = shut || (reg::gbpa::abort::get(gbpa) && !reg::gbpa::update::get(gbpa));
    const bool passed = m.write(1, 0x1000).ok();
    ++tried;
    passed_late += shut && passed;
  };
  ASSERT_EQ(m.start(), status{});
  EXPECT_TRUE(shut);
  EXPECT_FALSE(m.write(1, 0x1000).ok()) << "streams nobody attached abort";
  EXPECT_EQ(m.smmu.issue(cmd::cfgi_all().encode()), status{});
  ASSERT_EQ(m.smmu.stop(), status{});
  EXPECT_FALSE(m.write(1, 0x1000).ok()) << "nor after stop";
  ASSERT_EQ(m.start(), status{});
  EXPECT_GT(tried, 50u);
  EXPECT_EQ(passed_late, 0u);
}

TYPED_TEST(sequence, what_an_earlier_owner_left_in_the_caches_is_dropped_before_the_queue_is_anybodys) {
  for (const bool hyp : {false, true}) {
    world_options o = small_world();
    o.smmu.allow_msi = false;  // a message would overwrite a slot that is looked at below
    if (hyp) o.machine.smmu.id = emu::id_registers::model_full();
    world<TypeParam> m{o};
    ASSERT_EQ(m.machine.smmu().id().hyp(), hyp);
    ASSERT_EQ(m.start(), status{});
    const auto& ring = m.smmu.commands().config().ring;
    const std::uint32_t sent = m.machine.smmu().read32(reg::cmdq_prod::offset);
    std::vector<opcode> opcodes;
    for (std::uint32_t i = 0; i != sent; ++i) opcodes.push_back(opcode_of({ring.cpu[2 * i].load(std::memory_order_relaxed), 0}));
    std::vector<opcode> wanted{opcode_of(cmd::cfgi_all().encode()), opcode::sync, opcode::tlbi_nsnh_all};
    if (hyp) wanted.push_back(opcode::tlbi_el2_all);
    wanted.push_back(opcode::sync);
    EXPECT_EQ(opcodes, wanted) << "EL2: " << hyp;
    EXPECT_EQ(m.machine.smmu().read32(reg::cmdq_cons::offset), sent) << "all of it was waited for";
  }
}

TYPED_TEST(sequence, errors_of_an_earlier_owner_are_acknowledged_before_the_new_queue_is_on) {
  world<TypeParam> m;
  auto& hw = m.machine.backend();
  const dma_span<test_env> old = hw.allocate_dma(1024, 1024);
  hw.write64(reg::cmdq_base::offset, raw(old.bus) | 6);
  hw.write32(reg::cr0::offset, cmdqen);
  old.cpu[0].store(0xff, std::memory_order_relaxed);
  hw.write32(reg::cmdq_prod::offset, 1);
  for (int i = 0; i != 10; ++i) hw.idle({});
  ASSERT_NE(hw.read32(reg::gerror::offset), hw.read32(reg::gerrorn::offset));
  bool on = false, clean = false;
  hw.write32(reg::cr0::offset, 0);
  for (int i = 0; i != 10; ++i) hw.idle({});
  m.regs.before = [&] {
    if (on || (hw.read32(reg::cr0ack::offset) & cmdqen) == 0) return;
    on = true;
    clean = hw.read32(reg::gerror::offset) == hw.read32(reg::gerrorn::offset);
  };
  ASSERT_EQ(m.start(), status{});
  EXPECT_TRUE(on);
  EXPECT_TRUE(clean);
  EXPECT_EQ(m.smmu.commands().errors().total(), 0u);
}

TYPED_TEST(sequence, what_an_earlier_owner_left_behind_does_no_harm) {
  world<TypeParam> m;
  // An owner that left in the middle: queue on, an error active, interrupts on and written to its memory.
  const dma_span<test_env> old = m.machine.backend().allocate_dma(1024, 1024);
  const dma_span<test_env> word = m.machine.backend().allocate_dma(64, 64);
  auto& hw = m.machine.backend();
  hw.write64(reg::gerror_irq_cfg0::offset, raw(word.bus));
  hw.write32(reg::gerror_irq_cfg1::offset, 0x55);
  hw.write64(reg::eventq_irq_cfg0::offset, raw(word.bus) + 8);
  hw.write32(reg::irq_ctrl::offset, static_cast<std::uint32_t>(reg::irq_ctrl_fields::mask));
  hw.write64(reg::cmdq_base::offset, raw(old.bus) | 6);
  hw.write32(reg::cr0::offset, cmdqen);
  old.cpu[0].store(0xff, std::memory_order_relaxed);
  hw.write32(reg::cmdq_prod::offset, 1);
  for (int i = 0; i != 10; ++i) hw.idle({});
  ASSERT_NE((hw.read32(reg::gerror::offset) ^ hw.read32(reg::gerrorn::offset)) & 1u, 0u) << "the error is active";
  word.cpu[0].store(0, std::memory_order_relaxed);

  m.options.smmu.irq_ctrl = static_cast<std::uint32_t>(reg::irq_ctrl_fields::mask);
  ASSERT_EQ(m.start(), status{});
  EXPECT_EQ(m.smmu.issue(cmd::cfgi_all().encode()), status{});
  EXPECT_EQ(m.smmu.service_gerror().queue, status{}) << "the old error is not ours";
  EXPECT_EQ(m.smmu.service_gerror().others, 0u);
  const command illegal{0xff, 0};
  EXPECT_EQ(m.smmu.issue(illegal), status{errc::illegal_command});
  EXPECT_FALSE(m.write(3, 0x1000).ok());
  EXPECT_EQ(word.cpu[0].load(std::memory_order_relaxed), 0u) << "a message went to memory that is somebody else's now";
  EXPECT_EQ(word.cpu[1].load(std::memory_order_relaxed), 0u);
}
