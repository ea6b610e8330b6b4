// SPDX-License-Identifier: MIT
#include <shootdown/device/probe.hpp>

#include <gtest/gtest.h>

using namespace shootdown;

namespace {

// What QEMU 7.2 advertises, and single fields changed from it.
constexpr std::uint32_t qemu_idr0 = 0x0d40101a, qemu_idr1 = 0x02730010, qemu_idr3 = 0x1404, qemu_idr5 = 0x74;

result<device::identity> decode(std::uint32_t idr0 = qemu_idr0, std::uint32_t idr1 = qemu_idr1, std::uint32_t idr3 = qemu_idr3,
                                std::uint32_t idr5 = qemu_idr5) {
  return device::decode_identity(idr0, idr1, idr3, idr5, 0);
}

}  // namespace

TEST(probe, reads_the_registers_of_qemu) {
  const auto id = decode();
  ASSERT_TRUE(id.ok());
  const port_features& f = id->features;
  EXPECT_TRUE(f.stage1);
  EXPECT_FALSE(f.stage2);
  EXPECT_TRUE(f.range_invalidation);
  EXPECT_FALSE(f.wide_scale);
  EXPECT_FALSE(f.ats);
  EXPECT_TRUE(f.coherent);
  EXPECT_EQ(f.asid_bits, 16);
  EXPECT_EQ(f.vmid_bits, 8);
  EXPECT_EQ(f.stream_bits, 16);
  EXPECT_EQ(f.substream_bits, 0);
  EXPECT_EQ(f.address_bits, 44);
  EXPECT_TRUE(f.supports(granule::k4) && f.supports(granule::k16) && f.supports(granule::k64));
  EXPECT_EQ(id->cmdq_log2_max, 19);
  EXPECT_EQ(id->eventq_log2_max, 19);
  EXPECT_FALSE(id->msi);
  EXPECT_FALSE(id->sev);
  EXPECT_FALSE(id->hyp);
}

TEST(probe, refuses_register_sets_that_it_cannot_drive) {
  EXPECT_EQ(decode(qemu_idr0 & ~0x3u).code(), errc::unsupported) << "no stage";
  EXPECT_EQ(decode((qemu_idr0 & ~0xcu) | 0x4u).code(), errc::unsupported) << "AArch32 tables only";
  EXPECT_EQ(decode(qemu_idr0 | (3u << 21)).code(), errc::unsupported) << "big-endian tables only";
  EXPECT_EQ(decode(qemu_idr0, qemu_idr1 | (1u << 28)).code(), errc::unsupported) << "REL";
  EXPECT_EQ(decode(qemu_idr0, qemu_idr1 | (1u << 29)).code(), errc::unsupported) << "QUEUES_PRESET";
  EXPECT_EQ(decode(qemu_idr0, qemu_idr1 | (1u << 30)).code(), errc::unsupported) << "TABLES_PRESET";
  EXPECT_EQ(decode(qemu_idr0, (qemu_idr1 & ~0x3fu) | 33).code(), errc::unsupported) << "SIDSIZE";
  EXPECT_EQ(decode(qemu_idr0, qemu_idr1 & ~(0x1fu << 21)).code(), errc::unsupported) << "a command queue of one entry";
  EXPECT_EQ(decode(qemu_idr0, qemu_idr1, qemu_idr3, qemu_idr5 & ~0x70u).code(), errc::unsupported) << "no granule";
}

TEST(probe, a_wide_scale_needs_range_invalidation) {
  constexpr std::uint32_t ds = 1u << 7;
  EXPECT_TRUE(decode(qemu_idr0, qemu_idr1, qemu_idr3, qemu_idr5 | ds)->features.wide_scale);
  EXPECT_FALSE(decode(qemu_idr0, qemu_idr1, qemu_idr3 & ~(1u << 10), qemu_idr5 | ds)->features.wide_scale);
  EXPECT_FALSE(decode(qemu_idr0, qemu_idr1, qemu_idr3 & ~(1u << 10), qemu_idr5)->features.range_invalidation);
}

TEST(probe, queue_limits_are_cut_to_the_architecture) {
  EXPECT_EQ(decode(qemu_idr0, qemu_idr1 | (0x1fu << 21))->cmdq_log2_max, 19);
}
