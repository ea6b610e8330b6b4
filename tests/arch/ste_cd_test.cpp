// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>

#include <cstdint>

#include <shootdown/arch/cd.hpp>
#include <shootdown/arch/ste.hpp>

namespace {
using namespace shootdown;

static_assert(ste::abort().w == entry_words{1, 0, 0, 0, 0, 0, 0, 0});
static_assert(ste::bypass().w == entry_words{0x9, std::uint64_t{1} << 44, 0, 0, 0, 0, 0, 0});

TEST(ste, stage1_puts_every_field_where_the_smmu_reads_it) {
  const auto e = ste::stage1({.cd_table = bus_addr{0x8'0000'0000}, .cd_log2 = 0, .ats = ats_mode::full, .vm = vmid{0x1234}});
  ASSERT_TRUE(e.ok());
  EXPECT_EQ(e->w[0], 0x8'0000'000bu);  // V, Config 5, S1CtxPtr
  EXPECT_EQ(e->w[1], (std::uint64_t{1} << 44) | (1u << 28) | (1u << 27) | (3u << 6) | (1u << 4) | (1u << 2) | 2u);
  EXPECT_EQ(e->w[2], 0x1234u);
  EXPECT_TRUE(e->valid());
  EXPECT_TRUE(e->has_stage1());
  EXPECT_FALSE(e->has_stage2());
  EXPECT_EQ(e->cd_table(), bus_addr{0x8'0000'0000});
  EXPECT_EQ(e->vm(), vmid{0x1234});
  EXPECT_EQ(e->ats(), ats_mode::full);
  EXPECT_EQ(e->world(), stream_world::ns_el1);
}

TEST(ste, bad_input_is_refused_by_name) {
  EXPECT_EQ(ste::stage1({.cd_table = bus_addr{0x20}}).code(), errc::misaligned);
  EXPECT_EQ(ste::stage1({.cd_table = bus_addr{0x1000}, .cd_log2 = 8}).code(), errc::misaligned) << "256 CDs are 16 KiB";
  EXPECT_EQ(ste::stage1({.cd_table = bus_addr{std::uint64_t{1} << 52}}).code(), errc::out_of_range);
  EXPECT_EQ(ste::stage1({.cd_log2 = 21}).code(), errc::out_of_range);
  EXPECT_EQ(ste::stage1({.format = cd_format{3}}).code(), errc::invalid_argument);
  EXPECT_EQ(ste::stage1({.ats = ats_mode::split_stage}).code(), errc::invalid_argument);
  EXPECT_EQ(ste::stage1({.world = stream_world{1}}).code(), errc::invalid_argument);
  EXPECT_EQ(ste::stage1({.share = shareability{1}}).code(), errc::invalid_argument);
  EXPECT_TRUE(ste::stage1({.cd_table = bus_addr{0x4000}, .cd_log2 = 8}).ok());
}

TEST(ste, the_smmu_looks_at_more_the_more_the_configuration_uses) {
  const entry_words invalid = ste_used(entry_words{0xfffffffffffffffe, ~0ull, ~0ull, ~0ull});
  EXPECT_EQ(invalid, (entry_words{1}));
  EXPECT_EQ(ste::abort().used_bits(), (entry_words{0xf}));
  const entry_words bypass = ste::bypass().used_bits();
  EXPECT_EQ(bypass[0], 0xfu);
  EXPECT_NE(bypass[1] & ste::shcfg_f::mask, 0u);
  EXPECT_EQ(bypass[1] & ste::s1dss_f::mask, 0u);
  EXPECT_EQ(bypass[2] | bypass[3], 0u);

  const entry_words s1 = ste::stage1({.cd_table = bus_addr{0x40}}).value().used_bits();
  EXPECT_EQ(s1[0] & ste::s1ctxptr_f::mask, ste::s1ctxptr_f::mask);
  EXPECT_EQ(s1[1] & ste::eats_f::mask, ste::eats_f::mask);
  EXPECT_EQ(s1[2], ste::s2vmid_f::mask);
  EXPECT_EQ(s1[3], 0u);

  ste s2{};
  s2.w[0] = ste::v_f::put(true) | ste::config_f::put(ste_config::stage2);
  EXPECT_EQ(s2.used_bits()[0] & ste::s1ctxptr_f::mask, 0u);
  EXPECT_EQ(s2.used_bits()[3] & ste::s2ttb_f::mask, ste::s2ttb_f::mask);

  ste reserved{};
  reserved.w[0] = ste::v_f::put(true) | (std::uint64_t{2} << 1);
  for (const std::uint64_t w : reserved.used_bits()) EXPECT_EQ(w, ~std::uint64_t{0});
}

// The hitless writer relies on it: every set bit of an entry we build is one that its own used_bits names.
TEST(ste, no_builder_sets_a_bit_that_its_configuration_does_not_use) {
  const ste built[] = {ste::abort(), ste::bypass(),
                       ste::stage1({.cd_table = bus_addr{0x10'0000}, .cd_log2 = 4, .ats = ats_mode::full, .vm = vmid{9}}).value()};
  for (const ste& e : built) {
    for (unsigned i = 0; i != 8; ++i) EXPECT_EQ(e.w[i] & ~e.used_bits()[i], 0u) << i;
  }
}

TEST(ste, the_cd_table_size_follows_its_format) {
  EXPECT_EQ(ste::cd_table_bytes(cd_format::linear, 0), 64u);
  EXPECT_EQ(ste::cd_table_bytes(cd_format::linear, 4), 1024u);
  EXPECT_EQ(ste::cd_table_bytes(cd_format::two_level_4k, 16), 8u << 10);
  EXPECT_EQ(ste::cd_table_bytes(cd_format::two_level_64k, 20), 8u << 10);
  EXPECT_EQ(ste::cd_table_bytes(cd_format::two_level_64k, 3), 64u);
}

TEST(cd, stage1_puts_every_field_where_the_smmu_reads_it) {
  const auto c = cd::stage1({.table = bus_addr{0x1'2345'6000}, .input_bits = 39, .output = address_size::bits44, .as = asid{0xabcd}});
  ASSERT_TRUE(c.ok());
  // T0SZ 25, IRGN/ORGN write-back, SH inner, EPD1, V, IPS 4, AA64, R, A, ASET, ASID
  const std::uint64_t dw0 = 25u | (1u << 8) | (1u << 10) | (3u << 12) | (1u << 30) | (1u << 31) | (std::uint64_t{4} << 32) |
                            (std::uint64_t{1} << 41) | (std::uint64_t{7} << 45) | (std::uint64_t{0xabcd} << 48);
  EXPECT_EQ(c->w[0], dw0);
  EXPECT_EQ(c->w[1], 0x1'2345'6000u);
  EXPECT_EQ(c->w[3], 0xffu);
  EXPECT_EQ(c->as(), asid{0xabcd});
  EXPECT_EQ(c->input_bits(), 39u);
  EXPECT_EQ(*c->tg(), granule::k4);
}

TEST(cd, tg0_has_its_own_order_of_granules) {
  for (const granule g : {granule::k4, granule::k16, granule::k64}) {
    const auto c = cd::stage1({.tg = g});
    ASSERT_TRUE(c.ok());
    EXPECT_EQ(*c->tg(), g);
  }
  EXPECT_EQ(cd::tg0_of(granule::k64), 1u);
  EXPECT_EQ(cd::tg0_of(granule::k16), 2u);
  cd reserved{};
  reserved.w[0] = cd::tg0_f::put(3);
  EXPECT_EQ(reserved.tg().code(), errc::invalid_argument);
}

TEST(cd, bad_input_is_refused_by_name) {
  EXPECT_EQ(cd::stage1({.table = bus_addr{0x800}}).code(), errc::misaligned);
  EXPECT_EQ(cd::stage1({.input_bits = 24}).code(), errc::out_of_range);
  EXPECT_EQ(cd::stage1({.input_bits = 49}).code(), errc::out_of_range);
  EXPECT_EQ(cd::stage1({.output = address_size::bits52}).code(), errc::out_of_range);
  EXPECT_EQ(cd::stage1({.table = bus_addr{std::uint64_t{1} << 36}, .output = address_size::bits36}).code(), errc::out_of_range);
  EXPECT_EQ(cd::stage1({.tg = granule{0}}).code(), errc::invalid_argument);
  EXPECT_EQ(cd::stage1({.share = shareability{1}}).code(), errc::invalid_argument);
}

TEST(cd, the_walk_starts_where_the_address_width_says) {
  EXPECT_EQ(cd::start_level(granule::k4, 48), 0u);
  EXPECT_EQ(cd::start_level(granule::k4, 39), 1u);
  EXPECT_EQ(cd::start_level(granule::k4, 30), 2u);
  EXPECT_EQ(cd::start_level(granule::k16, 47), 1u);
  EXPECT_EQ(cd::start_level(granule::k64, 42), 2u);
  EXPECT_EQ(cd::start_level(granule::k64, 43), 1u);
  EXPECT_EQ(cd::start_table_bytes(granule::k4, 39), 4096u);
  EXPECT_EQ(cd::start_table_bytes(granule::k4, 40), 64u) << "two entries, but never less than 64 bytes";
  EXPECT_EQ(cd::start_table_bytes(granule::k4, 44), 256u);
}

TEST(cd, a_disabled_half_is_not_looked_at) {
  const auto c = cd::stage1({.table = bus_addr{0x1000}});
  ASSERT_TRUE(c.ok());
  const entry_words u = c->used_bits();
  EXPECT_EQ(u[0] & cd::t1sz_f::mask, 0u);
  EXPECT_EQ(u[0] & cd::t0sz_f::mask, cd::t0sz_f::mask);
  EXPECT_EQ(u[1] & cd::ttb0_f::mask, cd::ttb0_f::mask);
  EXPECT_EQ(u[2] & cd::ttb1_f::mask, 0u);
  EXPECT_EQ(u[0] & cd::asid_f::mask, cd::asid_f::mask);
  cd closed = *c;
  closed.w[0] |= cd::epd0_f::put(true);
  EXPECT_EQ(closed.used_bits()[1] & cd::ttb0_f::mask, 0u);
  EXPECT_EQ(cd_used(entry_words{}), (entry_words{cd::v_f::mask})) << "V = 0: nothing else";
  for (unsigned i = 0; i != 8; ++i) EXPECT_EQ(c->w[i] & ~u[i], 0u) << i;
}

}  // namespace
