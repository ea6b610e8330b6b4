// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>

#include <cstdint>
#include <thread>

#include <shootdown/emu/register_file.hpp>
#include <shootdown/host/env.hpp>

namespace {
using namespace shootdown;
using file = emu::register_file<host::env>;

struct register_file : testing::Test {
  file regs{emu::id_registers::model_default()};
  void enable(std::uint32_t bits) {
    regs.write32(reg::cr0::offset, bits);
    regs.set<reg::cr0ack>(bits);
  }
};

TEST_F(register_file, identification_reads_back_and_cannot_be_written) {
  const emu::id_registers id = emu::id_registers::model_default();
  EXPECT_EQ(regs.read32(reg::idr0::offset), id.idr0);
  EXPECT_EQ(regs.read32(reg::idr1::offset), id.idr1);
  EXPECT_EQ(regs.read32(reg::idr3::offset), id.idr3);
  EXPECT_EQ(regs.read32(reg::idr5::offset), id.idr5);
  for (const reg::map_entry& e : reg::map) {
    if (e.mode != reg::access::ro) continue;
    const std::uint32_t before = regs.read32(e.offset);
    regs.write32(e.offset, ~before);
    EXPECT_EQ(regs.read32(e.offset), before) << e.name;
  }
}

TEST_F(register_file, every_writable_register_keeps_what_was_written) {
  for (const reg::map_entry& e : reg::map) {
    if (e.mode != reg::access::rw) continue;
    if (e.bits == 64) {
      regs.write64(e.offset, 0x8123'4567'89ab'cdefu);
      EXPECT_EQ(regs.read64(e.offset), 0x8123'4567'89ab'cdefu) << e.name;
      EXPECT_EQ(regs.read32(e.offset), 0x89ab'cdefu) << e.name;
      EXPECT_EQ(regs.read32(e.offset + 4), 0x8123'4567u) << e.name;
    } else if (e.offset != reg::cr0::offset && e.offset != reg::irq_ctrl::offset) {  // these two close others
      regs.write32(e.offset, 0x89ab'cdefu);
      EXPECT_EQ(regs.read32(e.offset), 0x89ab'cdefu) << e.name;
    }
  }
}

TEST_F(register_file, unknown_offsets_read_as_zero_and_swallow_writes) {
  for (std::uint32_t offset = 0; offset < 0x400; offset += 4) {
    for (const std::uint32_t page : {0u, 0x10000u, 0x20000u, 0xfffff000u}) {
      bool known = false;
      for (const reg::map_entry& e : reg::map) known = known || (offset + page >= e.offset && offset + page < e.offset + e.bits / 8u);
      if (known) continue;
      regs.write32(offset + page, 0xffffffff);
      regs.write64(offset + page, ~std::uint64_t{0});
      ASSERT_EQ(regs.read32(offset + page), 0u) << std::hex << offset + page;
      ASSERT_EQ(regs.read64(offset + page), 0u) << std::hex << offset + page;
    }
  }
}

TEST_F(register_file, misaligned_and_wrongly_sized_accesses_do_nothing) {
  regs.write64(reg::strtab_base::offset, 0x1111'2222'3333'4440);
  EXPECT_EQ(regs.read32(reg::strtab_base::offset + 1), 0u);
  EXPECT_EQ(regs.read64(reg::strtab_base::offset + 4), 0u);
  regs.write32(reg::strtab_base::offset + 2, 7);
  regs.write64(reg::strtab_base::offset + 4, 7);
  EXPECT_EQ(regs.read64(reg::strtab_base::offset), 0x1111'2222'3333'4440u);
  regs.write64(reg::cmdq_prod::offset, 0x0000'0005'0000'0005);  // two 32-bit registers
  EXPECT_EQ(regs.read32(reg::cmdq_prod::offset), 0u);
  EXPECT_EQ(regs.read32(reg::cmdq_cons::offset), 0u);
  EXPECT_EQ(regs.read64(reg::cr0::offset), 0u);
}

TEST_F(register_file, the_halves_of_a_64_bit_register_are_writable_one_by_one) {
  regs.write32(reg::cmdq_base::offset, 0x8000'0008);
  regs.write32(reg::cmdq_base::offset + 4, 0x0000'0001);
  EXPECT_EQ(regs.read64(reg::cmdq_base::offset), 0x0000'0001'8000'0008u);
  regs.write32(reg::cmdq_base::offset, 0x4000'0004);
  EXPECT_EQ(regs.read64(reg::cmdq_base::offset), 0x0000'0001'4000'0004u);
}

TEST_F(register_file, queue_registers_are_closed_while_their_queue_is_on) {
  regs.write64(reg::cmdq_base::offset, 0x1000);
  regs.write32(reg::cmdq_cons::offset, 3);
  regs.write64(reg::eventq_base::offset, 0x2000);
  regs.write32(reg::cr1::offset, 0x555);
  enable(static_cast<std::uint32_t>(reg::cr0::cmdqen::mask | reg::cr0::eventqen::mask));
  regs.write64(reg::cmdq_base::offset, 0xdead000);
  regs.write32(reg::cmdq_base::offset, 0xdead000);
  regs.write32(reg::cmdq_cons::offset, 9);
  regs.write64(reg::eventq_base::offset, 0xdead000);
  regs.write32(reg::eventq_prod::offset, 9);
  regs.write32(reg::cr1::offset, 0xaaa);
  EXPECT_EQ(regs.read64(reg::cmdq_base::offset), 0x1000u);
  EXPECT_EQ(regs.read32(reg::cmdq_cons::offset), 3u);
  EXPECT_EQ(regs.read64(reg::eventq_base::offset), 0x2000u);
  EXPECT_EQ(regs.read32(reg::eventq_prod::offset), 0u);
  EXPECT_EQ(regs.read32(reg::cr1::offset), 0x555u);
  regs.write32(reg::eventq_cons::offset, 1);
  EXPECT_EQ(regs.read32(reg::eventq_cons::offset), 1u) << "CONS of the event queue belongs to software";

  regs.write32(reg::cr0::offset, 0);
  regs.write64(reg::cmdq_base::offset, 0xdead000);
  EXPECT_EQ(regs.read64(reg::cmdq_base::offset), 0x1000u) << "not acknowledged yet";
  regs.set<reg::cr0ack>(0);
  regs.write64(reg::cmdq_base::offset, 0x3000);
  EXPECT_EQ(regs.read64(reg::cmdq_base::offset), 0x3000u);
}

TEST_F(register_file, table_and_interrupt_registers_are_closed_by_their_enables) {
  enable(reg::cr0::smmuen::mask);
  regs.write64(reg::strtab_base::offset, 0x40);
  regs.write32(reg::strtab_base_cfg::offset, 4);
  regs.write32(reg::cr2::offset, 1);
  EXPECT_EQ(regs.read64(reg::strtab_base::offset) + regs.read32(reg::strtab_base_cfg::offset) + regs.read32(reg::cr2::offset), 0u);
  regs.write32(reg::irq_ctrl::offset, 1);
  regs.write64(reg::gerror_irq_cfg0::offset, 0x1000);
  EXPECT_EQ(regs.read64(reg::gerror_irq_cfg0::offset), 0u);
  regs.write64(reg::eventq_irq_cfg0::offset, 0x1000);
  EXPECT_EQ(regs.read64(reg::eventq_irq_cfg0::offset), 0x1000u) << "a line that is off";
}

TEST_F(register_file, gbpa_takes_writes_with_update_only_and_one_at_a_time) {
  constexpr auto update = static_cast<std::uint32_t>(reg::gbpa::update::mask);
  constexpr auto abort = static_cast<std::uint32_t>(reg::gbpa::abort::mask);
  regs.write32(reg::gbpa::offset, abort);
  EXPECT_EQ(regs.read32(reg::gbpa::offset), 0u);
  regs.write32(reg::gbpa::offset, abort | update);
  EXPECT_EQ(regs.read32(reg::gbpa::offset), abort | update);
  regs.write32(reg::gbpa::offset, update);
  EXPECT_EQ(regs.read32(reg::gbpa::offset), abort | update) << "the first is not taken yet";
}

TEST_F(register_file, a_prod_that_goes_back_is_noticed_at_the_write) {
  regs.write64(reg::cmdq_base::offset, 0x10000 | 3);  // 8 entries
  regs.write32(reg::cmdq_prod::offset, 5);
  regs.write32(reg::cmdq_prod::offset, 0);
  EXPECT_EQ(regs.prod_regressions(), 0u) << "initialisation";
  enable(reg::cr0::cmdqen::mask);
  for (const std::uint32_t prod : {2u, 2u, 7u, 15u, 0u, 8u}) regs.write32(reg::cmdq_prod::offset, prod);
  EXPECT_EQ(regs.prod_regressions(), 0u);
  regs.write32(reg::cmdq_prod::offset, 7);
  EXPECT_EQ(regs.prod_regressions(), 1u);
  EXPECT_EQ(regs.doorbells(), 9u);
}

// For ThreadSanitizer: `payload` is plain memory that only the register accesses order.
template <class Write, class See>
void carries_what_was_written_before(Write write, See see) {
  std::uint32_t payload = 0;
  std::thread cpu{[&] {
    payload = 42;
    write();
  }};
  while (!see()) std::this_thread::yield();
  EXPECT_EQ(payload, 42u);
  cpu.join();
}

TEST_F(register_file, every_kind_of_write_carries_what_the_cpu_wrote_before) {
  carries_what_was_written_before([this] { regs.write32(reg::gerrorn::offset, 1); }, [this] { return regs.get<reg::gerrorn>() == 1; });
  carries_what_was_written_before([this] { regs.write64(reg::strtab_base::offset, 0x40); },
                                  [this] { return regs.get<reg::strtab_base>() == 0x40; });
  carries_what_was_written_before([this] { regs.write32(reg::strtab_base::offset + 4, 1); },
                                  [this] { return regs.get<reg::strtab_base>() == 0x1'0000'0040; });
  carries_what_was_written_before([this] { regs.write32(reg::cmdq_prod::offset, 1); }, [this] { return regs.get<reg::cmdq_prod>() == 1; });
  carries_what_was_written_before([this] { regs.set<reg::cr0ack>(8); }, [this] { return regs.read32(reg::cr0ack::offset) == 8; });
}

TEST_F(register_file, concurrent_half_writes_lose_nothing) {
  std::thread low{[this] {
    for (std::uint32_t i = 0; i <= 20'000; ++i) regs.write32(reg::strtab_base::offset, i);
  }};
  for (std::uint32_t i = 0; i <= 20'000; ++i) regs.write32(reg::strtab_base::offset + 4, i);
  low.join();
  EXPECT_EQ(regs.read64(reg::strtab_base::offset), (std::uint64_t{20'000} << 32) | 20'000);
}

}  // namespace
