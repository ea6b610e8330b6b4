// SPDX-License-Identifier: MIT
// STEs with stage 2 and nesting, CDs with an upper half, first-level descriptors of both kinds of two-level tables.
#include <gtest/gtest.h>

#include <cstdint>

#include <shootdown/arch/cd.hpp>
#include <shootdown/arch/descriptor.hpp>
#include <shootdown/arch/ste.hpp>

namespace {
using namespace shootdown;

constexpr ste_stage2 plain_stage2{.table = bus_addr{0x40'0000}, .vm = vmid{0x1234}};
constexpr granule granules[] = {granule::k4, granule::k16, granule::k64};

void expect_only_used_bits(const entry_words& w, const entry_words& used) {
  for (unsigned i = 0; i != 8; ++i) EXPECT_EQ(w[i] & ~used[i], 0u) << i;
}

TEST(ste, stage2_puts_every_field_where_the_smmu_reads_it) {
  const auto e = ste::stage2({.table = bus_addr{0x9'0000'0000},
                              .walk = {granule::k64, 44},
                              .output = address_size::bits44,
                              .vm = vmid{0xbeef},
                              .ats = ats_mode::full,
                              .fault_records = false,
                              .stall = true,
                              .protect_walks = true,
                              .inner = cacheability::non_cacheable,
                              .outer = cacheability::write_through,
                              .share = shareability::outer});
  ASSERT_TRUE(e.ok());
  EXPECT_EQ(e->w[0], 1u | (6u << 1));
  EXPECT_EQ(e->w[1], (std::uint64_t{1} << 44) | (1u << 28));
  // S2T0SZ 20, SL0 1 (level 2), IR0 0, OR0 2, SH0 2, TG 1 (64 KiB), PS 4, AA64, PTW, S
  const std::uint64_t high = 20u | (1u << 6) | (2u << 10) | (2u << 12) | (1u << 14) | (4u << 16) | (1u << 19) | (1u << 22) | (1u << 25);
  EXPECT_EQ(e->w[2], 0xbeefu | (high << 32));
  EXPECT_EQ(e->w[3], 0x9'0000'0000u);
  EXPECT_TRUE(e->has_stage2());
  EXPECT_FALSE(e->has_stage1());
  EXPECT_EQ(e->vm(), vmid{0xbeef});
  EXPECT_EQ(e->stage2_table(), bus_addr{0x9'0000'0000});
  EXPECT_EQ(e->stage2_input_bits(), 44u);
  expect_only_used_bits(e->w, e->used_bits());
}

TEST(ste, stage2_refuses_bad_input_by_name) {
  const auto with = [](auto change) {
    ste_stage2 s = plain_stage2;
    change(s);
    return ste::stage2(s).code();
  };
  EXPECT_EQ(with([](auto&) {}), errc::ok);
  EXPECT_EQ(with([](auto& s) { s.walk.input_bits = 31; }), errc::out_of_range);
  EXPECT_EQ(with([](auto& s) { s.walk.input_bits = 49; }), errc::out_of_range);
  EXPECT_EQ(with([](auto& s) { s.output = address_size::bits52; }), errc::out_of_range);
  EXPECT_EQ(with([](auto& s) { s.output = address_size::bits32, s.table = bus_addr{std::uint64_t{1} << 32}; }), errc::out_of_range);
  EXPECT_EQ(with([](auto& s) { s.table = bus_addr{0x40'1000}; }), errc::misaligned) << "40 bits: two tables side by side";
  EXPECT_EQ(with([](auto& s) { s.walk.input_bits = 34, s.table = bus_addr{0x40'8000}; }), errc::misaligned) << "sixteen";
  EXPECT_EQ(with([](auto& s) { s.walk.tg = granule{0}; }), errc::invalid_argument);
  EXPECT_EQ(with([](auto& s) { s.ats = ats_mode::split_stage; }), errc::invalid_argument);
  EXPECT_EQ(with([](auto& s) { s.share = shareability{1}; }), errc::invalid_argument);
  EXPECT_EQ(with([](auto& s) { s.inner = cacheability{4}; }), errc::invalid_argument);
}

TEST(ste, nested_has_the_fields_of_both_stages) {
  const ste_stage1 first{.cd_table = bus_addr{0x10'0000},
                         .cd_log2 = 16,
                         .format = cd_format::two_level_64k,
                         .without_ssid = default_substream::terminate,
                         .ats = ats_mode::split_stage};
  const auto e = ste::nested(first, plain_stage2);
  ASSERT_TRUE(e.ok());
  const auto alone = ste::stage2(plain_stage2);
  EXPECT_EQ(e->w[0], 1u | (7u << 1) | (2u << 4) | 0x10'0000u | (std::uint64_t{16} << 59));
  EXPECT_EQ(e->without_ssid(), default_substream::terminate);
  EXPECT_EQ(e->ats(), ats_mode::split_stage);
  EXPECT_EQ(e->w[2], alone->w[2]);
  EXPECT_EQ(e->w[3], alone->w[3]);
  EXPECT_TRUE(e->has_stage1() && e->has_stage2());
  expect_only_used_bits(e->w, e->used_bits());

  const auto with = [&](auto change) {
    ste_stage1 one = first;
    ste_stage2 two = plain_stage2;
    change(one, two);
    return ste::nested(one, two).code();
  };
  EXPECT_EQ(with([](auto& one, auto&) { one.vm = vmid{0x1234}; }), errc::ok);
  EXPECT_EQ(with([](auto& one, auto&) { one.vm = vmid{1}; }), errc::invalid_argument);
  EXPECT_EQ(with([](auto& one, auto&) { one.world = stream_world::el2; }), errc::invalid_argument);
  EXPECT_EQ(with([](auto&, auto& two) { two.ats = ats_mode::full; }), errc::invalid_argument);
  EXPECT_EQ(with([](auto& one, auto&) { one.cd_table = bus_addr{std::uint64_t{1} << 40}; }), errc::out_of_range) << "beyond the IPA space";
  EXPECT_EQ(with([](auto& one, auto&) { one.cd_log2 = 21; }), errc::out_of_range);
  EXPECT_EQ(with([](auto& one, auto&) { one.cd_table = bus_addr{0x10'0040}; }), errc::misaligned);
  EXPECT_EQ(with([](auto&, auto& two) { two.table = bus_addr{0x40'1000}; }), errc::misaligned);
  EXPECT_EQ(with([](auto&, auto& two) { two.walk.input_bits = 20; }), errc::out_of_range);
}

// The hitless writer's rule again: a stage-2 walk that changes is looked at as a whole.
TEST(ste, every_bit_of_the_stage_2_words_counts_as_used) {
  const entry_words u = ste::stage2(plain_stage2).value().used_bits();
  EXPECT_EQ(u[2], ~std::uint64_t{0});
  EXPECT_EQ(u[3], ~std::uint64_t{0});
  EXPECT_EQ(u[1] & ste::eats_f::mask, ste::eats_f::mask);
  EXPECT_EQ(u[0] & ste::s1ctxptr_f::mask, 0u);
  const entry_words both = ste::nested({.cd_table = bus_addr{0x40}}, plain_stage2).value().used_bits();
  EXPECT_EQ(both[0] & ste::s1ctxptr_f::mask, ste::s1ctxptr_f::mask);
  EXPECT_EQ(both[2], ~std::uint64_t{0});
}

TEST(stage2_walk, takes_the_fewest_levels_that_sixteen_tables_allow) {
  for (const granule g : granules) {
    for (unsigned bits = 32; bits <= 48; ++bits) {
      const stage2_walk w{g, bits};
      ASSERT_TRUE(w.valid());
      const std::uint64_t pages = std::uint64_t{w.start_tables()} << (granule_shift(g) - 3);
      const unsigned shift = level_shift(g, w.start_level());
      EXPECT_LE(w.start_tables(), 16u);
      EXPECT_GE(pages << shift, std::uint64_t{1} << bits) << "covers the space";
      if (w.start_tables() > 1) {
        EXPECT_EQ(pages << shift, std::uint64_t{1} << bits);
      }
      // One level fewer would take more than sixteen.
      if (w.start_level() < 3) {
        EXPECT_GT(bits, level_shift(g, w.start_level() + 1) + (granule_shift(g) - 3) + 4);
      }
      EXPECT_LE(w.sl0(), 2u);
    }
  }
  EXPECT_FALSE((stage2_walk{granule::k4, 31}.valid()));
  EXPECT_FALSE((stage2_walk{granule{0}, 40}.valid()));
}

TEST(stream_l1, names_a_full_second_level) {
  for (const unsigned split : {6u, 8u, 10u}) {
    const auto d = stream_l1::make(bus_addr{0x7'0001'0000}, split);
    ASSERT_TRUE(d.ok());
    EXPECT_EQ(d->w, 0x7'0001'0000u | (split + 1));
    EXPECT_TRUE(d->valid());
    EXPECT_EQ(d->l2(), bus_addr{0x7'0001'0000});
    EXPECT_EQ(stream_l1::make(bus_addr{std::uint64_t{32} << split}, split).code(), errc::misaligned);
  }
  EXPECT_EQ(stream_l1::make(bus_addr{0}, 7).code(), errc::invalid_argument);
  EXPECT_EQ(stream_l1::make(bus_addr{std::uint64_t{1} << 52}, 6).code(), errc::out_of_range);
  EXPECT_FALSE(stream_l1{}.valid());
}

TEST(context_l1, names_a_second_level_of_its_format) {
  const auto small = context_l1::make(bus_addr{0x5000}, cd_format::two_level_4k);
  ASSERT_TRUE(small.ok());
  EXPECT_EQ(small->w, 0x5001u);
  EXPECT_EQ(context_l1::make(bus_addr{0x5000}, cd_format::two_level_64k).code(), errc::misaligned);
  EXPECT_TRUE(context_l1::make(bus_addr{0x2'0000}, cd_format::two_level_64k).ok());
  EXPECT_EQ(context_l1::make(bus_addr{0x5000}, cd_format::linear).code(), errc::invalid_argument);
  EXPECT_EQ(context_l1::make(bus_addr{std::uint64_t{1} << 52}, cd_format::two_level_4k).code(), errc::out_of_range);
  EXPECT_FALSE(context_l1{}.valid());
}

TEST(cd, the_upper_half_has_its_own_fields_and_order_of_granules) {
  const auto c = cd::stage1_upper({.table = bus_addr{0x1'0000}, .tg = granule::k16, .input_bits = 40, .as = asid{9}});
  ASSERT_TRUE(c.ok());
  // T1SZ 24, TG1 1 (16 KiB), IR1/OR1 write-back, SH1 inner, EPD0, V, IPS 5, AA64, R, A, ASET, ASID
  EXPECT_EQ(c->w[0], (24u << 16) | (1u << 22) | (1u << 24) | (1u << 26) | (3u << 28) | (1u << 14) | (1u << 31) | (std::uint64_t{5} << 32) |
                         (std::uint64_t{1} << 41) | (std::uint64_t{7} << 45) | (std::uint64_t{9} << 48));
  EXPECT_EQ(c->w[1], 0u);
  EXPECT_EQ(c->w[2], 0x1'0000u);
  EXPECT_FALSE(c->has_lower());
  EXPECT_TRUE(c->has_upper());
  EXPECT_EQ(c->upper_table(), bus_addr{0x1'0000});
  EXPECT_EQ(c->upper_input_bits(), 40u);
  EXPECT_EQ(c->used_bits()[1] & cd::ttb0_f::mask, 0u);
  EXPECT_EQ(c->used_bits()[2] & cd::ttb1_f::mask, cd::ttb1_f::mask);
  expect_only_used_bits(c->w, c->used_bits());
  for (const granule g : granules) EXPECT_EQ(*cd::stage1_upper({.tg = g}).value().upper_tg(), g);
  EXPECT_EQ(cd{}.upper_tg().code(), errc::invalid_argument) << "TG1 = 0 is reserved";
}

TEST(cd, both_halves_may_differ_in_everything_but_the_asid) {
  const auto c = cd::stage1_both({.table = bus_addr{0x1000}, .input_bits = 39, .as = asid{3}},
                                 {.table = bus_addr{0x2'0000}, .tg = granule::k64, .input_bits = 48, .share = shareability::outer});
  ASSERT_TRUE(c.ok());
  EXPECT_TRUE(c->has_lower() && c->has_upper());
  EXPECT_EQ(*c->tg(), granule::k4);
  EXPECT_EQ(*c->upper_tg(), granule::k64);
  EXPECT_EQ(c->input_bits(), 39u);
  EXPECT_EQ(c->upper_input_bits(), 48u);
  EXPECT_EQ(c->table(), bus_addr{0x1000});
  EXPECT_EQ(c->upper_table(), bus_addr{0x2'0000});
  expect_only_used_bits(c->w, c->used_bits());
  const auto lower = cd::stage1({.table = bus_addr{0x1000}, .input_bits = 39, .as = asid{3}});
  EXPECT_EQ((c->w[0] & 0xffff) | cd::epd1_f::put(true), lower->w[0] & (0xffff | cd::epd1_f::mask)) << "the lower fields are the same";

  EXPECT_EQ(cd::stage1_both({}, {.table = bus_addr{0x800}}).code(), errc::misaligned);
  EXPECT_EQ(cd::stage1_both({.table = bus_addr{0x800}}, {}).code(), errc::misaligned);
  EXPECT_EQ(cd::stage1_both({}, {.input_bits = 24}).code(), errc::out_of_range);
  EXPECT_EQ(cd::stage1_both({}, {.tg = granule{4}}).code(), errc::invalid_argument);
  EXPECT_EQ(cd::stage1_both({}, {.inner = cacheability{7}}).code(), errc::invalid_argument);
  EXPECT_EQ(cd::stage1_both({.output = address_size::bits36}, {.table = bus_addr{std::uint64_t{1} << 36}}).code(), errc::out_of_range);
  EXPECT_EQ(cd::stage1_upper({.table = bus_addr{0x800}}).code(), errc::misaligned);
  EXPECT_EQ(cd::stage1_upper({.input_bits = 49}).code(), errc::out_of_range);
}

TEST(descriptor, stage_2_leaves_give_back_what_they_were_made_of) {
  for (const granule g : granules) {
    for (unsigned level = 0; level <= 4; ++level) {
      const bool allowed = level == 3 || level == 2 || (level == 1 && g == granule::k4);
      for (const std::uint8_t mem : {std::uint8_t{0xf}, std::uint8_t{5}, std::uint8_t{1}}) {
        for (unsigned bits = 0; bits < 16; ++bits) {
          const stage2_attributes a{mem, (bits & 1) != 0, (bits & 2) != 0, shareability::outer, (bits & 4) != 0, (bits & 8) != 0};
          const auto d = descriptor::stage2_leaf(g, level, bus_addr{std::uint64_t{1} << 46}, a);
          ASSERT_EQ(d.code(), allowed ? errc::ok : errc::unsupported);
          if (!allowed) continue;
          EXPECT_EQ(d->stage2(), a);
          EXPECT_EQ(d->output(g, level), bus_addr{std::uint64_t{1} << 46});
          EXPECT_TRUE(d->is_leaf(g, level));
        }
      }
    }
  }
  EXPECT_EQ(descriptor::stage2_leaf(granule::k4, 3, bus_addr{0}, {.mem_attr = 8}).code(), errc::invalid_argument);
  EXPECT_EQ(descriptor::stage2_leaf(granule::k64, 2, bus_addr{0x1'0000}, {}).code(), errc::misaligned);
  EXPECT_EQ(descriptor::stage2_leaf(granule::k4, 3, bus_addr{std::uint64_t{1} << 48}, {}).code(), errc::out_of_range);
  // A 64 KiB page, read-only Device-nGnRE, not shared: by hand.
  EXPECT_EQ(descriptor::stage2_leaf(granule::k64, 3, bus_addr{0x5'0000}, {.mem_attr = 1, .write = false, .share = shareability::non})->w,
            0x0040'0000'0005'0447u);
}

}  // namespace
