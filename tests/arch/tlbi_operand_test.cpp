// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>

#include <cstdint>
#include <random>
#include <type_traits>

#include <shootdown/arch/tlbi_operand.hpp>

namespace {
using namespace shootdown;

constexpr granule granules[] = {granule::k4, granule::k16, granule::k64};

static_assert(tlbi_operand{} == tlbi_operand::address(0, false));
static_assert(!std::is_constructible_v<tlbi_operand, std::uint64_t, std::uint64_t>, "only the factories make an operand");
static_assert(!std::is_aggregate_v<tlbi_operand>);

TEST(tlbi_operand, no_factory_makes_the_never_legal_form) {
  unsigned made = 0;
  for (unsigned g = 0; g != 5; ++g) {
    for (unsigned num = 0; num != 34; ++num) {
      for (unsigned scale = 0; scale != 42; ++scale) {
        for (unsigned ttl = 0; ttl != 5; ++ttl) {
          for (const bool wide : {false, true}) {
            const auto r = tlbi_operand::range(granule{static_cast<std::uint8_t>(g)}, 0, num, scale, ttl, false, wide);
            const bool in_range = g >= 1 && g <= 3 && num <= 31 && scale <= (wide ? 39u : 31u) && ttl <= 3;
            const bool zero_form = num == 0 && scale == 0 && ttl == 0;
            const bool no_such_level = g == 2 && ttl == 1 && !wide;
            ASSERT_EQ(r.ok(), in_range && !zero_form && !no_such_level) << g << ' ' << num << ' ' << scale << ' ' << ttl << ' ' << wide;
            if (!r.ok()) continue;
            ++made;
            ASSERT_FALSE(tlbi_operand::illegal({r->dw0(), r->dw1()}));
            ASSERT_EQ(r->num(), num);
            ASSERT_EQ(r->scale(), scale);
            ASSERT_EQ(r->ttl(), ttl);
            ASSERT_EQ(r->tg(), g);
          }
        }
      }
    }
  }
  EXPECT_GT(made, 20'000u);
}

TEST(tlbi_operand, refusals_say_why) {
  EXPECT_EQ(tlbi_operand::range(granule{0}, 0, 1, 0, 3, true).code(), errc::invalid_argument);
  EXPECT_EQ(tlbi_operand::range(granule::k4, 0, 0, 0, 0, true).code(), errc::invalid_argument);
  EXPECT_EQ(tlbi_operand::range(granule::k4, 0, 32, 0, 3, true).code(), errc::out_of_range);
  EXPECT_EQ(tlbi_operand::range(granule::k4, 0, 0, 32, 3, true).code(), errc::out_of_range);
  EXPECT_EQ(tlbi_operand::range(granule::k4, 0, 0, 40, 3, true, true).code(), errc::out_of_range);
  EXPECT_EQ(tlbi_operand::range(granule::k4, 0, 0, 1, 4, true).code(), errc::out_of_range);
  EXPECT_EQ(tlbi_operand::range(granule::k16, 0, 0, 1, 1, true).code(), errc::unsupported);
  EXPECT_EQ(tlbi_operand::range(granule::k4, 0x800, 1, 0, 3, true).code(), errc::misaligned);
  EXPECT_TRUE(tlbi_operand::range(granule::k16, 0, 0, 1, 1, true, true).ok());
}

// The table of IHI 0070 4.4.1: bits that must be 0, by granule and TTL.
TEST(tlbi_operand, the_address_is_aligned_to_the_leaf_that_ttl_names) {
  struct row {
    granule g;
    unsigned ttl;
    unsigned first_free_bit;
  };
  const row rows[] = {{granule::k4, 0, 12},  {granule::k4, 3, 12},  {granule::k4, 2, 21},  {granule::k4, 1, 30},
                      {granule::k16, 0, 14}, {granule::k16, 3, 14}, {granule::k16, 2, 25}, {granule::k16, 1, 36},
                      {granule::k64, 0, 16}, {granule::k64, 3, 16}, {granule::k64, 2, 29}, {granule::k64, 1, 42}};
  for (const row& r : rows) {
    for (unsigned bit = 0; bit != 64; ++bit) {
      const auto made = tlbi_operand::range(r.g, std::uint64_t{1} << bit, 1, 1, r.ttl, true, true);
      EXPECT_EQ(made.ok(), bit >= r.first_free_bit) << "TG " << int{raw(r.g)} << " TTL " << r.ttl << " bit " << bit;
      if (!made.ok()) {
        EXPECT_EQ(made.code(), errc::misaligned);
      }
    }
  }
}

TEST(tlbi_operand, span_is_units_times_two_to_the_scale_granules) {
  for (const granule g : granules) {
    for (unsigned num = 0; num <= 31; ++num) {
      for (unsigned scale = 0; scale <= 39; ++scale) {
        const auto r = tlbi_operand::range(g, 0, num, scale, 3, true, true);
        ASSERT_TRUE(r.ok());
        EXPECT_EQ(r->span_bytes(), (std::uint64_t{num} + 1) << (scale + granule_shift(g)));
      }
    }
  }
  EXPECT_EQ(tlbi_operand::address(0x1000, true).span_bytes(), 0u);
  const command wild{tlbi_operand::scale_f::put(63), tlbi_operand::tg_f::put(1)};
  EXPECT_EQ(tlbi_operand::from_wire(wild)->span_bytes(), std::uint64_t{1} << (39 + 12)) << "SCALE above 39 acts as 39";
}

TEST(tlbi_operand, from_wire_keeps_every_operand_bit_and_refuses_only_the_illegal_form) {
  std::mt19937_64 random{11};
  unsigned refused = 0;
  for (unsigned turn = 0; turn != 100'000; ++turn) {
    command c{random(), random()};
    if (turn % 2 == 0) c.dw0 &= ~tlbi_operand::dw0_mask;
    if (turn % 4 == 0) c.dw1 &= ~tlbi_operand::ttl_f::mask;
    const auto r = tlbi_operand::from_wire(c);
    const bool illegal = (c.dw1 & 0xc00) != 0 && (c.dw1 & 0x300) == 0 && (c.dw0 & 0x03f1f000) == 0;
    ASSERT_EQ(r.ok(), !illegal);
    ASSERT_EQ(tlbi_operand::illegal(c), illegal);
    refused += illegal ? 1u : 0u;
    if (!r.ok()) continue;
    ASSERT_EQ(r->dw0(), c.dw0 & 0x03f1f000);
    ASSERT_EQ(r->dw1(), c.dw1 & 0xffffffffffffff01);
  }
  EXPECT_GT(refused, 10'000u);
}

TEST(tlbi_operand, a_range_says_what_it_was_asked_to_say) {
  for (const bool leaf : {false, true}) {
    const auto o = tlbi_operand::range(granule::k16, 0x1234'0000, 5, 7, 3, leaf);
    ASSERT_TRUE(o.ok());
    EXPECT_EQ(o->leaf(), leaf);
    EXPECT_EQ(o->num(), 5u);
    EXPECT_EQ(o->scale(), 7u);
    EXPECT_EQ(o->ttl(), 3u);
    EXPECT_EQ(o->tg(), 2u);
    EXPECT_EQ(o->address(), 0x1234'0000u);
    EXPECT_EQ(o->span_bytes(), std::uint64_t{6 << 7} * 16384);
  }
}

TEST(tlbi_operand, an_address_is_not_a_range_and_drops_its_low_bits) {
  const tlbi_operand o = tlbi_operand::address(0xffff'8000'1234'5fff, true);
  EXPECT_EQ(o.address(), 0xffff'8000'1234'5000u);
  EXPECT_TRUE(o.leaf());
  EXPECT_EQ(o.tg() + o.ttl() + o.num() + o.scale(), 0u);
}

}  // namespace
