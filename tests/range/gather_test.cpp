// SPDX-License-Identifier: MIT
#include <shootdown/range/gather.hpp>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <random>
#include <type_traits>
#include <vector>

namespace sd = shootdown;
using sd::errc;
using sd::gather;
using sd::granule;
using sd::held_frame;
using sd::range_piece;
using ::testing::ElementsAre;

namespace {

constexpr std::uint64_t page = 0x1000;

range_piece pages(std::uint64_t first, std::uint64_t n, unsigned leaves = 8, unsigned freed = 0) {
  return {first * page, n * page, granule::k4, static_cast<std::uint8_t>(leaves), static_cast<std::uint8_t>(freed)};
}

template <unsigned N>
std::vector<range_piece> content(const gather<N>& g) {
  EXPECT_TRUE(g.check_invariants());
  return {g.pieces().begin(), g.pieces().end()};
}

}  // namespace

TEST(gather, starts_empty) {
  gather<> g;
  EXPECT_TRUE(g.empty());
  EXPECT_TRUE(g.pieces().empty());
  EXPECT_EQ(g.take_held(), nullptr);
  EXPECT_TRUE(g.check_invariants());
}

TEST(gather, keeps_disjoint_pieces_sorted) {
  gather<> g;
  EXPECT_TRUE(g.add(pages(100, 2)).ok());
  EXPECT_TRUE(g.add(pages(10, 2)).ok());
  EXPECT_TRUE(g.add(pages(50, 2)).ok());
  EXPECT_THAT(content(g), ElementsAre(pages(10, 2), pages(50, 2), pages(100, 2)));
}

TEST(gather, joins_adjacent_and_overlapping_pieces_and_their_levels) {
  gather<> g;
  EXPECT_TRUE(g.add(pages(10, 2, 8, 0)).ok());
  EXPECT_TRUE(g.add(pages(12, 3, 8, 8)).ok()) << "adjacent above";
  EXPECT_THAT(content(g), ElementsAre(pages(10, 5, 8, 8)));
  EXPECT_TRUE(g.add(pages(8, 2, 4, 4)).ok()) << "adjacent below";
  EXPECT_THAT(content(g), ElementsAre(pages(8, 7, 12, 12)));
  EXPECT_TRUE(g.add(pages(14, 10, 8)).ok()) << "overlapping";
  EXPECT_THAT(content(g), ElementsAre(pages(8, 16, 12, 12)));
  EXPECT_TRUE(g.add(pages(9, 1, 2)).ok()) << "inside";
  EXPECT_THAT(content(g), ElementsAre(pages(8, 16, 14, 12)));
  EXPECT_TRUE(g.add(pages(0, 100, 8)).ok()) << "around";
  EXPECT_THAT(content(g), ElementsAre(pages(0, 100, 14, 12)));
}

TEST(gather, one_page_apart_is_not_adjacent) {
  gather<> g;
  EXPECT_TRUE(g.add(pages(10, 2)).ok());
  EXPECT_TRUE(g.add(pages(13, 2)).ok());
  EXPECT_TRUE(g.add(pages(8, 1)).ok());
  EXPECT_EQ(content(g).size(), 3u);
}

TEST(gather, unknown_leaves_stay_unknown_when_joined) {
  gather<> g;
  EXPECT_TRUE(g.add(pages(10, 2, 8)).ok());
  EXPECT_TRUE(g.add(pages(12, 2, 0)).ok());
  EXPECT_THAT(content(g), ElementsAre(pages(10, 4, 0)));
  EXPECT_EQ(sd::ttl_of(g.pieces()[0]), 0u) << "the hint of the known half would be a false promise about the other";
  EXPECT_TRUE(g.add(pages(14, 2, 8)).ok());
  EXPECT_THAT(content(g), ElementsAre(pages(10, 6, 0)));
}

TEST(gather, a_piece_that_closes_gaps_joins_everything_it_reaches) {
  gather<> g;
  for (const std::uint64_t first : {10u, 20u, 30u, 40u, 60u}) EXPECT_TRUE(g.add(pages(first, 5, 8)).ok());
  EXPECT_TRUE(g.add(pages(15, 25, 4)).ok());
  EXPECT_THAT(content(g), ElementsAre(pages(10, 35, 12), pages(60, 5)));
}

TEST(gather, granules_are_kept_apart) {
  gather<> g;
  const range_piece big{0x10000, 0x10000, granule::k64, 8, 0};
  const range_piece middle{0x10000, 0x8000, granule::k16, 8, 0};
  EXPECT_TRUE(g.add(big).ok());
  EXPECT_TRUE(g.add(pages(0x10, 16)).ok());
  EXPECT_TRUE(g.add(middle).ok());
  EXPECT_THAT(content(g), ElementsAre(pages(0x10, 16), middle, big));
}

TEST(gather, halves_are_not_joined_and_the_last_byte_does_not_wrap_to_the_first) {
  gather<> g;
  const std::uint64_t top = std::uint64_t{1} << 51;  // in pages: 2^63 bytes
  EXPECT_TRUE(g.add(pages(top - 1, 1)).ok());
  EXPECT_TRUE(g.add(pages(top, 1)).ok());
  EXPECT_TRUE(g.add(pages(2 * top - 1, 1)).ok());
  EXPECT_TRUE(g.add(pages(0, 1)).ok());
  EXPECT_THAT(content(g), ElementsAre(pages(0, 1), pages(top - 1, 1), pages(top, 1), pages(2 * top - 1, 1)));
  EXPECT_TRUE(g.add(pages(2 * top - 2, 1)).ok());
  EXPECT_EQ(content(g).back(), pages(2 * top - 2, 2));
}

TEST(gather, whole_halves_are_one_piece_each) {
  gather<2> g;
  const std::uint64_t half = std::uint64_t{1} << 63;
  EXPECT_TRUE(g.add({half, half}).ok());
  EXPECT_TRUE(g.add({0, half}).ok());
  EXPECT_TRUE(g.add({half, half}).ok());
  EXPECT_EQ(content(g).size(), 2u);
}

TEST(gather, too_many_pieces_are_refused_and_change_nothing) {
  gather<3> g;
  for (const std::uint64_t first : {10u, 20u, 30u}) EXPECT_TRUE(g.add(pages(first, 2)).ok());
  const auto before = content(g);
  EXPECT_FALSE(g.room_for(pages(40, 1)));
  EXPECT_EQ(g.add(pages(40, 1)).code(), errc::too_large);
  EXPECT_EQ(g.add({10 * page, page * 16, granule::k64}).code(), errc::misaligned);
  EXPECT_EQ(g.add({0x10000, 0x10000, granule::k64}).code(), errc::too_large) << "overlaps only pieces of another granule";
  EXPECT_EQ(content(g), before);
  EXPECT_TRUE(g.room_for(pages(22, 8)));
  EXPECT_TRUE(g.add(pages(22, 8)).ok()) << "joins two, so it fits";
  EXPECT_THAT(content(g), ElementsAre(pages(10, 2), pages(20, 12)));
  EXPECT_TRUE(g.add(pages(40, 1)).ok()) << "the join made room";
}

TEST(gather, bad_pieces_are_refused_with_their_reason_and_change_nothing) {
  gather<> g;
  EXPECT_TRUE(g.add(pages(10, 2)).ok());
  const auto before = content(g);
  EXPECT_EQ(g.add({page, 0}).code(), errc::empty_range);
  EXPECT_EQ(g.add({page + 1, page}).code(), errc::misaligned);
  EXPECT_EQ(g.add({0xfffffffffffff000, 2 * page}).code(), errc::out_of_range);
  EXPECT_EQ(g.add({(std::uint64_t{1} << 63) - page, 2 * page}).code(), errc::out_of_range);
  EXPECT_EQ(g.add({page, page, granule::k4, 0x10}).code(), errc::invalid_argument);
  EXPECT_FALSE(g.room_for({page, 0}));
  EXPECT_EQ(content(g), before);
}

TEST(gather, hands_back_every_held_frame_once_and_only_when_asked) {
  std::vector<held_frame> frames(5);
  gather<> g;
  for (held_frame& f : frames) g.hold(f);
  EXPECT_FALSE(g.empty());
  EXPECT_TRUE(g.holds_frames());
  g.clear_pieces();
  EXPECT_TRUE(g.holds_frames()) << "forgetting pieces does not free tables";
  std::vector<held_frame*> got;
  for (held_frame* f = g.take_held(); f != nullptr; f = f->next) got.push_back(f);
  EXPECT_THAT(got, ElementsAre(&frames[4], &frames[3], &frames[2], &frames[1], &frames[0]));
  EXPECT_EQ(g.take_held(), nullptr);
  EXPECT_TRUE(g.empty());
}

TEST(gather, is_reusable_after_its_pieces_are_cleared) {
  gather<1> g;
  EXPECT_TRUE(g.add(pages(1, 1)).ok());
  g.clear_pieces();
  EXPECT_TRUE(g.empty());
  EXPECT_TRUE(g.add(pages(100, 1)).ok());
  EXPECT_THAT(content(g), ElementsAre(pages(100, 1)));
}

TEST(gather, cannot_be_copied) {
  static_assert(!std::is_copy_constructible_v<gather<>> && !std::is_copy_assignable_v<gather<>>);
  SUCCEED();
}

// Truth: one byte of levels per page; unknown is a level of its own that hides the others.
TEST(gather, random_additions_agree_with_a_page_map) {
  std::mt19937 engine{7};
  const auto random = [&] { return static_cast<unsigned>(engine()); };
  unsigned refused = 0, joined = 0;
  for (unsigned round = 0; round != 3000; ++round) {
    constexpr unsigned space = 96;
    bool present[space] = {};
    gather<4> g;
    std::vector<range_piece> accepted;
    for (unsigned step = 0; step != 14; ++step) {
      const unsigned n = 1 + random() % 9;
      const unsigned first = random() % (space - n + 1);
      const unsigned leaves_of_p = random() % 3 == 0 ? 0 : 1u << (1 + random() % 3);
      const range_piece p = pages(first, n, leaves_of_p, (random() % 4) << 2);
      const auto before = content(g);
      const bool room = g.room_for(p);
      const sd::status s = g.add(p);
      ASSERT_EQ(s.ok(), room);
      ASSERT_TRUE(g.check_invariants());
      if (!s.ok()) {
        ++refused;
        ASSERT_EQ(s.code(), errc::too_large);
        ASSERT_EQ(content(g), before);
        bool touches = false;
        for (unsigned i = first == 0 ? 0 : first - 1; i != std::min(space, first + n + 1); ++i) touches |= present[i];
        ASSERT_FALSE(touches) << "a piece that touches another must always fit";
        continue;
      }
      joined += content(g).size() <= before.size();
      accepted.push_back(p);
      std::fill(present + first, present + first + n, true);
    }
    for (unsigned i = 0; i != space; ++i) {
      bool found = false;
      for (const range_piece& p : g.pieces()) found |= p.address <= i * page && i * page <= sd::last_byte(p);
      ASSERT_EQ(found, present[i]) << i;
    }
    for (const range_piece& p : g.pieces()) {
      unsigned leaves = 0, freed = 0;
      bool unknown = false;
      for (const range_piece& a : accepted) {
        if (a.address < p.address || a.address > sd::last_byte(p)) continue;
        leaves |= a.leaf_levels;
        freed |= a.freed_levels;
        unknown |= a.leaf_levels == 0;
      }
      ASSERT_EQ(p.leaf_levels, unknown ? 0 : leaves);
      ASSERT_EQ(p.freed_levels, freed);
    }
  }
  EXPECT_GT(refused, 1000u);
  EXPECT_GT(joined, 10000u);
}
