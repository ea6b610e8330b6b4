// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>

#include <cstdint>
#include <random>

#include <shootdown/arch/descriptor.hpp>

namespace {
using namespace shootdown;

constexpr granule granules[] = {granule::k4, granule::k16, granule::k64};
constexpr std::uint64_t output_mask = (std::uint64_t{1} << 48) - 1;

// A 4 KiB page, read-write for unprivileged accesses, inner shareable, AF, nG, XN and PXN: worked out by hand.
static_assert(descriptor::leaf(granule::k4, 3, bus_addr{0x8'1234'5000}, {}).value().w == 0x0060'0008'1234'5f43);
static_assert(descriptor::leaf(granule::k4, 2, bus_addr{0x8'1220'0000}, {}).value().w == 0x0060'0008'1220'0f41);
static_assert(descriptor::table(granule::k4, bus_addr{0x1000}).value().w == 0x1003);

TEST(descriptor, leaves_exist_where_48_bit_outputs_have_them) {
  for (const granule g : granules) {
    for (unsigned level = 0; level <= 4; ++level) {
      const bool allowed = level == 3 || level == 2 || (level == 1 && g == granule::k4);
      const auto made = descriptor::leaf(g, level, bus_addr{0}, {});
      EXPECT_EQ(made.ok(), allowed) << int{raw(g)} << ' ' << level;
      if (!made.ok()) {
        EXPECT_EQ(made.code(), errc::unsupported);
      }
    }
  }
}

TEST(descriptor, a_leaf_gives_back_what_it_was_made_of) {
  std::mt19937_64 random{3};
  for (const granule g : granules) {
    for (unsigned level = 1; level <= 3; ++level) {
      if (!descriptor::leaf_allowed(g, level)) continue;
      for (unsigned turn = 0; turn != 2'000; ++turn) {
        const std::uint64_t size = std::uint64_t{1} << level_shift(g, level);
        const bus_addr out{random() & output_mask & ~(size - 1)};
        const leaf_attributes a{static_cast<std::uint8_t>(random() & 7),
                                (random() & 1) != 0,
                                (random() & 1) != 0,
                                shareability::outer,
                                (random() & 1) != 0,
                                (random() & 1) != 0,
                                (random() & 1) != 0};
        const auto d = descriptor::leaf(g, level, out, a);
        ASSERT_TRUE(d.ok());
        ASSERT_EQ(d->output(g, level), out);
        ASSERT_EQ(d->attributes(), a);
        ASSERT_EQ(d->kind(g, level), level == 3 ? descriptor_kind::page : descriptor_kind::block);
        ASSERT_TRUE(d->is_leaf(g, level));
        ASSERT_FALSE(d->is_table(g, level));
      }
    }
  }
}

TEST(descriptor, the_same_word_means_something_else_at_another_level) {
  const descriptor d{0x1003};
  EXPECT_EQ(d.kind(granule::k4, 0), descriptor_kind::table);
  EXPECT_EQ(d.kind(granule::k4, 2), descriptor_kind::table);
  EXPECT_EQ(d.kind(granule::k4, 3), descriptor_kind::page);
  const descriptor block{0x0000'0000'4000'0001};
  EXPECT_EQ(block.kind(granule::k4, 0), descriptor_kind::invalid);
  EXPECT_EQ(block.kind(granule::k4, 1), descriptor_kind::block);
  EXPECT_EQ(block.kind(granule::k4, 3), descriptor_kind::invalid) << "block encoding at level 3 is reserved";
  EXPECT_EQ(block.kind(granule::k16, 1), descriptor_kind::invalid);
  EXPECT_EQ(block.kind(granule::k64, 2), descriptor_kind::block);
}

TEST(descriptor, a_word_with_bit_0_clear_is_invalid_whatever_else_it_holds) {
  for (const granule g : granules) {
    for (unsigned level = 0; level <= 3; ++level) {
      EXPECT_EQ(descriptor{0xffff'ffff'ffff'fffe}.kind(g, level), descriptor_kind::invalid);
    }
  }
}

TEST(descriptor, bad_addresses_are_refused) {
  EXPECT_EQ(descriptor::table(granule::k64, bus_addr{0x1000}).code(), errc::misaligned);
  EXPECT_EQ(descriptor::table(granule::k4, bus_addr{std::uint64_t{1} << 48}).code(), errc::out_of_range);
  EXPECT_EQ(descriptor::table(granule{0}, bus_addr{0}).code(), errc::invalid_argument);
  EXPECT_EQ(descriptor::leaf(granule::k4, 2, bus_addr{0x1000}, {}).code(), errc::misaligned);
  EXPECT_EQ(descriptor::leaf(granule::k4, 3, bus_addr{std::uint64_t{1} << 50}, {}).code(), errc::out_of_range);
  EXPECT_EQ(descriptor::leaf(granule::k4, 3, bus_addr{0}, {.attr_index = 8}).code(), errc::invalid_argument);
}

TEST(descriptor, tables_are_found_whatever_the_attribute_bits) {
  for (const granule g : granules) {
    const std::uint64_t next = std::uint64_t{7} << granule_shift(g);
    auto d = descriptor::table(g, bus_addr{next});
    ASSERT_TRUE(d.ok());
    d->w |= std::uint64_t{0x1f} << 59;  // hierarchical attributes
    EXPECT_EQ(d->next_table(g), bus_addr{next});
    EXPECT_TRUE(d->is_table(g, 2));
  }
}

TEST(descriptor, index_walks_the_input_address) {
  const std::uint64_t va = (std::uint64_t{5} << 39) | (std::uint64_t{6} << 30) | (std::uint64_t{7} << 21) | (std::uint64_t{8} << 12);
  for (unsigned level = 0; level <= 3; ++level) EXPECT_EQ(descriptor::index(granule::k4, level, va), 5u + level);
  EXPECT_EQ(descriptor::index(granule::k64, 2, std::uint64_t{9} << 29), 9u);
  EXPECT_EQ(descriptor::index(granule::k16, 3, std::uint64_t{2047} << 14), 2047u);
}

}  // namespace
