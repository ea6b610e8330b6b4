// SPDX-License-Identifier: MIT
#include <shootdown/range/piece.hpp>

#include <gtest/gtest.h>

#include <cstdint>

namespace sd = shootdown;
using sd::errc;
using sd::granule;
using sd::range_piece;

namespace {

constexpr std::uint64_t KiB = 1024, MiB = 1024 * KiB, GiB = 1024 * MiB, TiB = 1024 * GiB;
constexpr std::uint8_t level(unsigned l) { return static_cast<std::uint8_t>(1u << l); }

errc code(const range_piece& p, unsigned bits = 48) { return sd::validate(p, bits).code(); }

unsigned ttl(granule g, std::uint64_t address, std::uint64_t bytes, unsigned leaves, unsigned freed = 0, bool wide = false) {
  return sd::ttl_of({address, bytes, g, static_cast<std::uint8_t>(leaves), static_cast<std::uint8_t>(freed)}, wide);
}

}  // namespace

TEST(range_piece, empty_is_its_own_error) { EXPECT_EQ(code({0x1000, 0}), errc::empty_range); }

TEST(range_piece, address_and_size_must_be_multiples_of_the_granule) {
  EXPECT_EQ(code({0x1000, 0x1000}), errc::ok);
  EXPECT_EQ(code({0x1001, 0x1000}), errc::misaligned);
  EXPECT_EQ(code({0x1000, 0x1800}), errc::misaligned);
  EXPECT_EQ(code({0x1000, 0x4000, granule::k16}), errc::misaligned);
  EXPECT_EQ(code({0x4000, 0x1000, granule::k16}), errc::misaligned);
  EXPECT_EQ(code({0x4000, 0x4000, granule::k16}), errc::ok);
  EXPECT_EQ(code({0x4000, 0x10000, granule::k64}), errc::misaligned);
  EXPECT_EQ(code({0x10000, 0x10000, granule::k64}), errc::ok);
}

TEST(range_piece, last_byte_of_each_half_is_legal_and_one_more_is_not) {
  EXPECT_EQ(code({0, 256 * TiB}), errc::ok);
  EXPECT_EQ(code({0, 256 * TiB + 4 * KiB}), errc::out_of_range);
  EXPECT_EQ(code({256 * TiB - 4 * KiB, 4 * KiB}), errc::ok);
  EXPECT_EQ(code({256 * TiB - 4 * KiB, 8 * KiB}), errc::out_of_range);
  EXPECT_EQ(code({256 * TiB, 4 * KiB}), errc::out_of_range);
  EXPECT_EQ(code({0xffff000000000000, 256 * TiB}), errc::ok);
  EXPECT_EQ(code({0xfffffffffffff000, 4 * KiB}), errc::ok);
  EXPECT_EQ(code({0xfffffffffffff000, 8 * KiB}), errc::out_of_range) << "wraps to 0";
  EXPECT_EQ(code({0xfffefffffffff000, 4 * KiB}), errc::out_of_range) << "below the upper half";
  EXPECT_EQ(code({0xffff000000000000, 256 * TiB + 4 * KiB}), errc::out_of_range);
  EXPECT_EQ(code({0x1000, ~std::uint64_t{0xfff}}), errc::out_of_range) << "runs into the other half";
  EXPECT_EQ(code({0x2000, ~std::uint64_t{0xfff}}), errc::out_of_range) << "wraps";
}

TEST(range_piece, halves_follow_the_address_width) {
  EXPECT_EQ(code({4 * GiB - 4 * KiB, 4 * KiB}, 32), errc::ok);
  EXPECT_EQ(code({4 * GiB, 4 * KiB}, 32), errc::out_of_range);
  EXPECT_EQ(code({0xffffffff00000000, 4 * GiB}, 32), errc::ok);
  EXPECT_EQ(code({0xfffffffe00000000, 4 * GiB}, 32), errc::out_of_range);
  EXPECT_EQ(code({0, std::uint64_t{1} << 63}, 63), errc::ok);
  EXPECT_EQ(code({std::uint64_t{1} << 63, std::uint64_t{1} << 63}, 63), errc::ok);
  EXPECT_EQ(code({(std::uint64_t{1} << 63) - 0x1000, 0x2000}, 63), errc::out_of_range) << "from one half into the other";
}

TEST(range_piece, widths_that_hold_no_two_granules_or_no_two_halves_are_refused) {
  EXPECT_EQ(code({0, 0x1000}, 12), errc::invalid_argument);
  EXPECT_EQ(code({0, 0x1000}, 13), errc::ok);
  EXPECT_EQ(code({0, 0x1000}, 64), errc::invalid_argument);
  EXPECT_EQ(code({0, 0x10000, granule::k64}, 16), errc::invalid_argument);
}

TEST(range_piece, levels_that_the_granule_does_not_have_are_refused) {
  EXPECT_EQ(code({0, 0x1000, granule::k4, 0x10, 0}), errc::invalid_argument);
  EXPECT_EQ(code({0, 0x1000, granule::k4, 0, 0x10}), errc::invalid_argument);
  EXPECT_EQ(code({0, 0x1000, granule::k4, 0x0f, 0x0f}), errc::ok);
  EXPECT_EQ(code({0, 0x4000, granule::k16, level(0), 0}), errc::invalid_argument) << "no 128 TiB blocks";
  EXPECT_EQ(code({0, 0x4000, granule::k16, 0x0e, level(0)}), errc::ok);
  EXPECT_EQ(code({0, 0x10000, granule::k64, level(0), 0}), errc::invalid_argument);
  EXPECT_EQ(code({0, 0x10000, granule::k64, 0, level(0)}), errc::invalid_argument);
  EXPECT_EQ(code({0, 0x10000, granule{0}}), errc::invalid_argument);
  EXPECT_EQ(code({0, 0x10000, granule{4}}), errc::invalid_argument);
}

// commands.md 4.3, by the level that the formula there yields for each entry size.
TEST(ttl_of, follows_the_leaf_level_for_every_granule) {
  EXPECT_EQ(ttl(granule::k4, 0, 4 * KiB, level(3)), 3u);
  EXPECT_EQ(ttl(granule::k4, 0, 2 * MiB, level(2)), 2u);
  EXPECT_EQ(ttl(granule::k4, 0, GiB, level(1)), 1u);
  EXPECT_EQ(ttl(granule::k4, 0, 512 * GiB, level(0)), 0u);
  EXPECT_EQ(ttl(granule::k16, 0, 16 * KiB, level(3)), 3u);
  EXPECT_EQ(ttl(granule::k16, 0, 32 * MiB, level(2)), 2u);
  EXPECT_EQ(ttl(granule::k16, 0, 64 * GiB, level(1)), 0u);
  EXPECT_EQ(ttl(granule::k16, 0, 64 * GiB, level(1), 0, true), 1u);
  EXPECT_EQ(ttl(granule::k64, 0, 64 * KiB, level(3)), 3u);
  EXPECT_EQ(ttl(granule::k64, 0, 512 * MiB, level(2)), 2u);
  EXPECT_EQ(ttl(granule::k64, 0, 4 * TiB, level(1)), 1u);
}

TEST(ttl_of, contiguous_groups_keep_the_level_of_their_members) {
  EXPECT_EQ(ttl(granule::k4, 64 * KiB, 64 * KiB, level(3)), 3u);
  EXPECT_EQ(ttl(granule::k4, 32 * MiB, 32 * MiB, level(2)), 2u);
}

TEST(ttl_of, unknown_or_mixed_leaves_get_no_hint) {
  EXPECT_EQ(ttl(granule::k4, 0, 4 * MiB, 0), 0u);
  EXPECT_EQ(ttl(granule::k4, 0, 4 * MiB, level(2) | level(3)), 0u);
}

TEST(ttl_of, freed_tables_keep_the_hint_only_if_they_lie_above_the_leaves) {
  EXPECT_EQ(ttl(granule::k4, 0, 2 * MiB, level(3), level(3)), 3u) << "pages and the level-3 table that held them";
  EXPECT_EQ(ttl(granule::k4, 0, GiB, level(3), level(3) | level(2)), 3u);
  EXPECT_EQ(ttl(granule::k4, 0, GiB, level(2), level(2)), 2u) << "blocks and the level-2 table that held them";
  EXPECT_EQ(ttl(granule::k4, 0, GiB, level(2), level(3)), 0u) << "an empty level-3 table beside blocks: its entry is level 2";
  EXPECT_EQ(ttl(granule::k4, 0, GiB, level(1), level(2)), 0u);
  EXPECT_EQ(ttl(granule::k4, 0, GiB, level(1), level(1)), 1u);
  EXPECT_EQ(ttl(granule::k4, 0, 2 * MiB, 0, level(3)), 0u);
}

TEST(ttl_of, needs_whole_leaves) {
  EXPECT_EQ(ttl(granule::k4, 4 * KiB, 2 * MiB, level(2)), 0u);
  EXPECT_EQ(ttl(granule::k4, 2 * MiB, 2 * MiB + 4 * KiB, level(2)), 0u);
  EXPECT_EQ(ttl(granule::k4, 2 * MiB, 4 * MiB, level(2)), 2u);
  EXPECT_EQ(ttl(granule::k4, 2 * MiB, GiB, level(1)), 0u);
}

TEST(range_piece, leaf_only_means_that_no_table_went_away) {
  EXPECT_TRUE(sd::leaf_only({0, 0x1000, granule::k4, level(3), 0}));
  EXPECT_FALSE(sd::leaf_only({0, 0x1000, granule::k4, level(3), level(3)}));
}
