// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>

#include <cstdint>
#include <set>

#include <shootdown/arch/registers.hpp>

namespace {
using namespace shootdown;

// The values that QEMU's SMMUv3 reports, read back field by field.
TEST(registers, identification_of_a_known_machine_decodes) {
  constexpr std::uint32_t idr0 = 0x0d40101a, idr1 = 0x02730010, idr3 = 0x1404, idr5 = 0x74;
  EXPECT_TRUE(reg::idr0::s1p::get(idr0));
  EXPECT_FALSE(reg::idr0::s2p::get(idr0));
  EXPECT_EQ(reg::idr0::ttf::get(idr0), 2);
  EXPECT_TRUE(reg::idr0::cohacc::get(idr0));
  EXPECT_TRUE(reg::idr0::asid16::get(idr0));
  EXPECT_FALSE(reg::idr0::msi::get(idr0));
  EXPECT_FALSE(reg::idr0::sev::get(idr0));
  EXPECT_FALSE(reg::idr0::ats::get(idr0));
  EXPECT_EQ(reg::idr0::stall::get(idr0), reg::stall_model::terminate_only);
  EXPECT_TRUE(reg::idr0::term_model::get(idr0));
  EXPECT_EQ(reg::idr0::st_level::get(idr0), 1);
  EXPECT_EQ(reg::idr0::ttendian::get(idr0), 2);
  EXPECT_EQ(reg::idr1::sidsize::get(idr1), 16u);
  EXPECT_EQ(reg::idr1::ssidsize::get(idr1), 0u);
  EXPECT_EQ(reg::idr1::eventqs::get(idr1), 19u);
  EXPECT_EQ(reg::idr1::cmdqs::get(idr1), 19u);
  EXPECT_FALSE(reg::idr1::ecmdq::get(idr1));
  EXPECT_TRUE(reg::idr3::had::get(idr3));
  EXPECT_TRUE(reg::idr3::ril::get(idr3));
  EXPECT_EQ(reg::idr3::bbml::get(idr3), 2);
  EXPECT_EQ(reg::idr5::oas::get(idr5), address_size::bits44);
  EXPECT_TRUE(reg::idr5::gran4k::get(idr5) && reg::idr5::gran16k::get(idr5) && reg::idr5::gran64k::get(idr5));
  EXPECT_FALSE(reg::idr5::ds::get(idr5));
}

TEST(registers, the_map_is_ascending_aligned_and_without_overlap) {
  std::uint32_t next = 0;
  std::set<std::uint32_t> seen;
  for (const reg::map_entry& e : reg::map) {
    EXPECT_GE(e.offset, next) << e.name;
    EXPECT_EQ(e.offset % (e.bits / 8u), 0u) << e.name;
    EXPECT_LT(e.offset, reg::file_bytes);
    EXPECT_TRUE(e.bits == 32 || e.bits == 64);
    EXPECT_TRUE(seen.insert(e.offset).second);
    next = e.offset + e.bits / 8u;
  }
}

TEST(registers, offsets_that_are_only_named_stay_outside_the_map) {
  for (const std::uint32_t offset : {reg::gatos_ctrl::offset, reg::mpamidr::offset, reg::vatos_sel::offset, reg::dpt_base::offset,
                                     reg::cmdq_control_page_base(0), reg::secure_registers}) {
    for (const reg::map_entry& e : reg::map) EXPECT_FALSE(offset >= e.offset && offset < e.offset + e.bits / 8u) << e.name;
  }
  EXPECT_EQ(reg::cmdq_control_page_base(3), 0x4060u);
}

TEST(registers, queue_registers_sit_where_drivers_expect_them) {
  EXPECT_EQ(reg::cmdq_base::offset, 0x90u);
  EXPECT_EQ(reg::cmdq_prod::offset, 0x98u);
  EXPECT_EQ(reg::cmdq_cons::offset, 0x9cu);
  EXPECT_EQ(reg::eventq_base::offset, 0xa0u);
  EXPECT_EQ(reg::eventq_prod::offset, 0x100a8u);
  EXPECT_EQ(reg::eventq_cons::offset, 0x100acu);
  EXPECT_EQ(reg::cmdq_cons::err::get(0x010000bf), command_error::ill);
  EXPECT_EQ(reg::gerror_fields::mask, 0x3fdu);
  EXPECT_EQ(address_bits(address_size::bits44), 44u);
}

}  // namespace
