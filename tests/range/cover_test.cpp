// SPDX-License-Identifier: MIT
#include <shootdown/range/cover.hpp>

#include <gtest/gtest.h>

#include <bit>
#include <cstdint>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include <support/linux_split.hpp>
#include <support/range_oracle.hpp>

#include "cover_support.hpp"

namespace sd = shootdown;
using namespace shootdown::test;
using sd::cover;
using sd::cover_policy;
using sd::cover_rules;
using sd::errc;
using sd::granule;
using sd::range_piece;
using splits = std::vector<num_scale>;

namespace {

constexpr cover_policy all_policies[] = {cover_policy::exact, cover_policy::disjoint, cover_policy::bounded};
constexpr unsigned no_hint = 0;

splits forms(const cover& c) {
  splits out;
  for (const wire_words w : words_of(c)) out.push_back({wire_operand{w}.num, wire_operand{w}.scale});
  return out;
}

/// Forms for n pages of 4 KiB at a start that is aligned to nothing but the page.
splits pages(std::uint64_t n, cover_policy policy, unsigned ttl = 3) {
  const auto c = cover::make(piece_with_ttl(0x7'0000'1000, n * 4 * KiB, ttl), ranges(policy));
  EXPECT_TRUE(c.ok()) << n;
  return forms(*c);
}

/// The cover of n 4 KiB granules from 0 with SCALE up to 31 or 39, without the half getting in the way.
cover from_zero(std::uint64_t n, cover_policy policy, bool wide) {
  const auto c = cover::make(piece_with_ttl(0, n * 4 * KiB, 3), ranges(policy, 63, wide));
  EXPECT_TRUE(c.ok());
  return *c;
}

}  // namespace

// ---- commands.md 4.4: the table ------------------------------------------------------------------------------------

struct vector_row {
  std::uint64_t n;
  splits linux_leaf, linux_tables, greedy;
  num_scale single;
  std::uint64_t single_extra;
};

class published_vectors : public ::testing::TestWithParam<vector_row> {};

TEST_P(published_vectors, baseline_disjoint_and_bounded_agree_with_the_table) {
  const vector_row& v = GetParam();
  EXPECT_EQ(linux_split(v.n, true), v.linux_leaf);
  EXPECT_EQ(linux_split(v.n, false), v.linux_tables);
  EXPECT_EQ(pages(v.n, cover_policy::disjoint), v.greedy);
  EXPECT_EQ(pages(v.n, cover_policy::bounded), splits{v.single});
  const auto c = cover::make(piece_with_ttl(0x7'0000'1000, v.n * 4 * KiB, 3), ranges(cover_policy::bounded));
  EXPECT_EQ(c->over_bytes(), v.single_extra * 4 * KiB);
}

INSTANTIATE_TEST_SUITE_P(
    commands_md_4_4, published_vectors,
    ::testing::Values(vector_row{1, {{0, 0}}, {{0, 1}}, {{0, 0}}, {0, 0}, 0}, vector_row{2, {{0, 1}}, {{0, 1}}, {{0, 1}}, {1, 0}, 0},
                      vector_row{3, {{2, 0}}, {{2, 0}}, {{2, 0}}, {2, 0}, 0}, vector_row{7, {{6, 0}}, {{6, 0}}, {{6, 0}}, {6, 0}, 0},
                      vector_row{8, {{0, 3}}, {{0, 3}}, {{0, 3}}, {7, 0}, 0}, vector_row{31, {{30, 0}}, {{30, 0}}, {{30, 0}}, {30, 0}, 0},
                      vector_row{32, {{0, 5}}, {{0, 5}}, {{0, 5}}, {31, 0}, 0},
                      vector_row{33, {{0, 0}, {0, 5}}, {{16, 1}}, {{0, 5}, {0, 0}}, {16, 1}, 1},
                      vector_row{34, {{16, 1}}, {{16, 1}}, {{16, 1}}, {16, 1}, 0},
                      vector_row{63, {{30, 0}, {0, 5}}, {{30, 0}, {0, 5}}, {{30, 1}, {0, 0}}, {31, 1}, 1},
                      vector_row{65, {{0, 0}, {0, 6}}, {{0, 1}, {0, 6}}, {{0, 6}, {0, 0}}, {16, 2}, 3},
                      vector_row{127, {{30, 0}, {2, 5}}, {{30, 0}, {2, 5}}, {{30, 2}, {2, 0}}, {31, 2}, 1},
                      vector_row{512, {{0, 9}}, {{0, 9}}, {{0, 9}}, {31, 4}, 0},
                      vector_row{513, {{0, 0}, {0, 9}}, {{0, 1}, {0, 9}}, {{0, 9}, {0, 0}}, {16, 5}, 31},
                      vector_row{1000, {{28, 3}, {2, 8}}, {{28, 3}, {2, 8}}, {{30, 5}, {0, 3}}, {31, 5}, 24},
                      vector_row{1023, {{30, 0}, {30, 5}}, {{30, 0}, {30, 5}}, {{30, 5}, {30, 0}}, {31, 5}, 1},
                      vector_row{4095, {{30, 0}, {30, 5}, {2, 10}}, {{30, 0}, {30, 5}, {2, 10}}, {{30, 7}, {30, 2}, {2, 0}}, {31, 7}, 1},
                      vector_row{65535,
                                 {{30, 0}, {30, 5}, {30, 10}, {0, 15}},
                                 {{30, 0}, {30, 5}, {30, 10}, {0, 15}},
                                 {{30, 11}, {30, 6}, {30, 1}, {0, 0}},
                                 {31, 11},
                                 1},
                      vector_row{262143,
                                 {{30, 0}, {30, 5}, {30, 10}, {6, 15}},
                                 {{30, 0}, {30, 5}, {30, 10}, {6, 15}},
                                 {{30, 13}, {30, 8}, {30, 3}, {6, 0}},
                                 {31, 13},
                                 1}),
    [](const auto& row) { return "n_" + std::to_string(row.param.n); });

// ---- iotlb-range-invalidation.md 3.1, 3.2 --------------------------------------------------------------------------

TEST(cover_disjoint, first_command_agrees_with_the_rmm_vectors) {
  struct row {
    std::uint64_t pages;
    unsigned limit, scale, count;
    bool all;
  };
  const std::uint64_t one = 1;
  for (const row& r :
       {row{1, 31, 0, 1, true}, row{3, 31, 0, 3, true}, row{7, 31, 0, 7, true}, row{6, 31, 1, 3, true}, row{10, 31, 1, 5, true},
        row{31, 31, 0, 31, true}, row{62, 31, 1, 31, true}, row{124, 31, 2, 31, true}, row{33, 31, 5, 1, false}, row{63, 39, 1, 31, false},
        row{512, 31, 9, 1, true}, row{1023, 39, 5, 31, false}, row{one << 32, 31, 31, 2, true}, row{one << 35, 31, 31, 16, true},
        row{one << 36, 31, 31, 32, true}, row{one << 37, 31, 31, 32, false}, row{one << 40, 39, 39, 2, true},
        row{one << 44, 39, 39, 32, true}, row{one << 45, 39, 39, 32, false}}) {
    const cover c = from_zero(r.pages, cover_policy::disjoint, r.limit == 39);
    EXPECT_EQ(c.operand(0).scale(), r.scale) << r.pages;
    EXPECT_EQ(c.operand(0).num() + 1, r.count) << r.pages;
    EXPECT_EQ(c.count() == 1, r.all) << r.pages;
    EXPECT_EQ(c.over_bytes(), 0u);
  }
}

TEST(cover_disjoint, whole_splits_agree_with_the_comparison_table) {
  EXPECT_EQ(pages(12345, cover_policy::disjoint), (splits{{2, 12}, {6, 3}, {0, 0}}));
  EXPECT_EQ(linux_split(12345, true), (splits{{24, 0}, {0, 5}, {2, 12}}));
  EXPECT_EQ(pages(262144, cover_policy::disjoint), (splits{{0, 18}}));
  EXPECT_EQ(pages(262145, cover_policy::disjoint), (splits{{0, 18}, {0, 0}}));
  EXPECT_EQ(linux_split(262145, true), (splits{{0, 0}, {0, 18}}));
}

TEST(cover, ranges_longer_than_one_command_go_on_where_the_first_ended) {
  for (const auto& [wide, longest] : {std::pair{false, std::uint64_t{1} << 36}, std::pair{true, std::uint64_t{1} << 44}}) {
    const unsigned top_scale = wide ? 39 : 31;
    for (const cover_policy policy : all_policies) {
      const cover two = from_zero(2 * longest, policy, wide);
      EXPECT_EQ(forms(two), (splits{{31, top_scale}, {31, top_scale}}));
      EXPECT_EQ(two.operand(1).address(), longest * 4 * KiB);
      std::vector<wire_words> words;
      for (const std::uint64_t n : {longest - 1, longest, longest + 1, 2 * longest - 1, 3 * longest + 33, 5 * longest + 12345}) {
        EXPECT_EQ(fault_of_cover(piece_with_ttl(0x1000, n * 4 * KiB, 3), ranges(policy, 63, wide), words), "");
        EXPECT_EQ(fault_of_cover(piece_with_ttl(0x1000, n * 4 * KiB, no_hint), ranges(policy, 63, wide), words), "");
      }
    }
  }
}

TEST(cover, scale_limit_counts_the_leaf_own_scale) {
  // 64 KiB granule, level 1: a leaf is 2^26 granules, so 32 * 2^5 leaves of 4 TiB fill one command without DS.
  const std::uint64_t leaf = 4 * TiB;
  std::vector<wire_words> words;
  const std::uint64_t base = 0;
  for (const cover_policy policy : all_policies) {
    const auto one = cover::make(piece_with_ttl(base, 1024 * leaf, 1, granule::k64), ranges(policy, 63));
    EXPECT_EQ(one->count(), 1u);
    EXPECT_EQ(fault_of_cover(piece_with_ttl(base, 1025 * leaf, 1, granule::k64), ranges(policy, 63), words), "");
    EXPECT_EQ(words.size(), 2u);
  }
}

// ---- the forms, closed against literal -----------------------------------------------------------------------------

TEST(unit_run, largest_within_is_the_greedy_of_the_sheet) {
  std::mt19937_64 random{1};
  for (const unsigned limit : {31u, 39u, 5u, 0u}) {
    for (std::uint64_t i = 1; i != 70000; ++i) {
      const std::uint64_t n = i < 66000 ? i : (random() >> (random() % 63)) | 1;
      const num_scale want = greedy_split(n >> 46 != 0 ? n >> 20 : n, limit)[0];
      const sd::unit_run got = sd::largest_within(n >> 46 != 0 ? n >> 20 : n, limit);
      ASSERT_EQ(got.count, want.num + 1) << n << " limit " << limit;
      ASSERT_EQ(got.scale, want.scale) << n << " limit " << limit;
      if (limit == 0 && i == 4096) break;  // the literal form takes n / 32 steps here
      if (limit == 5 && i == 20000) break;
    }
  }
}

TEST(unit_run, smallest_covering_is_the_single_command_of_the_sheet) {
  std::mt19937_64 random{2};
  for (std::uint64_t i = 1; i != 200000; ++i) {
    const std::uint64_t n = i < 100000 ? i : (random() >> (20 + random() % 40)) | 1;
    const num_scale want = single_split(n);
    ASSERT_EQ(sd::smallest_covering(n).count, want.num + 1) << n;
    ASSERT_EQ(sd::smallest_covering(n).scale, want.scale) << n;
  }
}

// ---- the page oracle -----------------------------------------------------------------------------------------------

TEST(cover, marks_every_page_of_every_small_range_in_a_bitmap) {
  constexpr unsigned limit = 700, margin = 64;
  std::vector<unsigned> marks(limit + 2 * margin);
  std::vector<wire_words> words;
  for (const cover_policy policy : all_policies) {
    for (const unsigned ttl : {0u, 2u, 3u}) {
      const std::uint64_t unit = ttl == 2 ? 2 * MiB : 4 * KiB;
      for (unsigned n = 1; n <= limit; ++n) {
        const std::uint64_t first = 5000 * unit;
        words_of(*cover::make(piece_with_ttl(first, n * unit, ttl), ranges(policy)), words);
        std::fill(marks.begin(), marks.end(), 0);
        for (const wire_words w : words) {
          const wire_operand o{w};
          ASSERT_EQ(o.bytes(0) % unit, 0u);
          for (std::uint64_t at = 0; at != o.bytes(0); at += unit) ++marks.at((o.address + at - first) / unit + margin);
        }
        const bool two = ttl == 0 && n == 1;
        std::uint64_t outside = 0, twice = 0;
        for (unsigned i = 0; i != marks.size(); ++i) {
          const bool inside = i >= margin && i < margin + n;
          if (inside) {
            ASSERT_GE(marks[i], 1u) << "page " << i - margin << " of " << n;
            twice += marks[i] > 1;
          } else {
            outside += marks[i];
          }
        }
        const std::uint64_t sixteenth = policy == cover_policy::bounded ? n / 16 : 0;
        ASSERT_LE(outside, two ? 1 : sixteenth) << n;
        if (policy == cover_policy::disjoint) {
          ASSERT_LE(twice, ttl == 0 && n % 2 == 1 && n > 1 ? 1 : 0) << n;
        }
        if (policy == cover_policy::exact) {
          ASSERT_LE(words.size(), 2u);
          ASSERT_LE(twice * 100, 4 * n) << n << ": double-named share";
        }
      }
    }
  }
}

// Four places: a low start aligned to nothing, both tops (where the piece ends with its half) and the upper half's start.
TEST(cover, every_length_up_to_2_to_the_16_is_covered_legally_at_all_edges) {
  std::vector<wire_words> words;
  for (const cover_policy policy : all_policies) {
    for (const unsigned ttl : {0u, 2u, 3u}) {
      const std::uint64_t unit = ttl == 2 ? 2 * MiB : 4 * KiB;
      for (std::uint64_t n = 1; n <= 65536; ++n) {
        const std::uint64_t starts[] = {5003 * unit, 256 * TiB - n * unit, 0 - n * unit, 0xffff000000000000};
        const range_piece p = piece_with_ttl(starts[n % 4], n * unit, ttl);
        const std::string fault = fault_of_cover(p, ranges(policy), words);
        ASSERT_EQ(fault, "") << n;
      }
    }
  }
}

TEST(cover_exact, uses_one_command_exactly_when_one_can_be_exact) {
  for (std::uint64_t n = 1; n <= 5000; ++n) {
    const bool representable = (n >> std::countr_zero(n)) <= 31 || n == 32;
    ASSERT_EQ(pages(n, cover_policy::exact).size(), representable ? 1u : 2u) << n;
    if (n == 1) continue;
    ASSERT_EQ(pages(n, cover_policy::exact, no_hint).size(), representable ? 1u : 2u) << n;
  }
}

TEST(cover_exact, second_command_ends_where_the_piece_ends) {
  const auto c = cover::make(piece_with_ttl(0x10000, 33 * 4 * KiB, 3), ranges(cover_policy::exact));
  ASSERT_EQ(c->count(), 2u);
  EXPECT_EQ(c->operand(0).address(), 0x10000u);
  EXPECT_EQ(c->operand(0).span_bytes(), 32 * 4 * KiB);
  EXPECT_EQ(c->operand(1).address(), 0x10000 + 32 * 4 * KiB);
  EXPECT_EQ(c->operand(1).span_bytes(), 4 * KiB);
  const auto t = cover::make(piece_with_ttl(0x10000, 33 * 4 * KiB, no_hint), ranges(cover_policy::exact));
  ASSERT_EQ(t->count(), 2u);
  EXPECT_EQ(t->operand(1).address(), 0x10000 + 31 * 4 * KiB) << "a lone granule grows into its neighbour, not out of the piece";
  EXPECT_EQ(t->operand(1).span_bytes(), 2 * 4 * KiB);
  EXPECT_EQ(t->over_bytes(), 0u);
}

TEST(cover_disjoint, never_more_commands_than_the_baseline) {
  for (std::uint64_t n = 1; n <= 100000; ++n) {
    const auto c = cover::make(piece_with_ttl(0, n * 4 * KiB, 3), ranges(cover_policy::disjoint));
    ASSERT_EQ(c->count(), linux_split(n, true).size()) << n;
  }
}

// ---- edges ---------------------------------------------------------------------------------------------------------

TEST(cover, one_granule_without_a_hint_becomes_two_inside_its_half) {
  for (const cover_policy policy : all_policies) {
    const auto at = [&](std::uint64_t address) { return *cover::make(piece_with_ttl(address, 4 * KiB, no_hint), ranges(policy)); };
    for (const std::uint64_t start : {std::uint64_t{0}, std::uint64_t{0x7000}, std::uint64_t{0xffff000000000000}}) {
      EXPECT_EQ(forms(at(start)), (splits{{0, 1}}));
      EXPECT_EQ(at(start).operand(0).address(), start);
      EXPECT_EQ(at(start).over_bytes(), 4 * KiB);
    }
    EXPECT_EQ(at(256 * TiB - 4 * KiB).operand(0).address(), 256 * TiB - 8 * KiB);
    EXPECT_EQ(at(0xfffffffffffff000).operand(0).address(), 0xffffffffffffe000);
    EXPECT_EQ(at(0xfffffffffffff000).covered_address(), 0xffffffffffffe000);
  }
}

TEST(cover, one_granule_with_a_hint_stays_one) {
  for (const cover_policy policy : all_policies) {
    const auto c = cover::make({0xfffffffffffff000, 4 * KiB, granule::k4, 0b1000, 0b1000}, ranges(policy));
    EXPECT_EQ(forms(*c), (splits{{0, 0}}));
    EXPECT_EQ(c->operand(0).ttl(), 3u);
    EXPECT_FALSE(c->operand(0).leaf()) << "the table that held it went away";
    EXPECT_EQ(c->over_bytes(), 0u);
  }
}

TEST(cover_bounded, shifts_down_where_its_surplus_would_pass_the_top) {
  for (const unsigned ttl : {0u, 2u, 3u}) {
    const std::uint64_t unit = ttl == 2 ? 2 * MiB : 4 * KiB;
    for (const std::uint64_t end : {256 * TiB, std::uint64_t{0}}) {  // 0: 2^64
      const auto c = cover::make(piece_with_ttl(end - 513 * unit, 513 * unit, ttl), ranges(cover_policy::bounded));
      ASSERT_EQ(c->count(), 1u);
      EXPECT_EQ(c->operand(0).address(), end - 17 * 32 * unit);
      EXPECT_EQ(c->operand(0).span_bytes(), 17 * 32 * unit);
      EXPECT_EQ(c->over_bytes(), 31 * unit);
    }
  }
}

TEST(cover_bounded, fills_a_half_that_is_nearly_all_the_piece) {
  std::vector<wire_words> words;
  for (unsigned bits = 13; bits <= 30; ++bits) {
    const std::uint64_t half = std::uint64_t{1} << (bits - 12);
    for (const std::uint64_t n : {half, half - 1, half / 2 + 1, std::uint64_t{1}}) {
      for (const std::uint64_t start : {std::uint64_t{0}, (half - n) * 4 * KiB, 0 - n * 4 * KiB, 0 - half * 4 * KiB}) {
        for (const unsigned ttl : {0u, 3u}) {
          for (const cover_policy policy : all_policies) {
            ASSERT_EQ(fault_of_cover(piece_with_ttl(start, n * 4 * KiB, ttl), ranges(policy, bits), words), "") << bits << ' ' << n;
          }
        }
      }
    }
  }
}

TEST(cover, every_operand_carries_the_hint_that_is_true) {
  const auto ttl = [](granule g, std::uint64_t bytes, unsigned leaves, unsigned freed, bool wide) {
    const range_piece p{8 * bytes, 33 * bytes, g, static_cast<std::uint8_t>(leaves), static_cast<std::uint8_t>(freed)};
    const auto c = cover::make(p, ranges(cover_policy::exact, 63, wide));
    EXPECT_EQ(c->count(), 2u);
    EXPECT_EQ(c->operand(0).ttl(), c->operand(1).ttl());
    return c->operand(0).ttl();
  };
  EXPECT_EQ(ttl(granule::k4, 4 * KiB, 0b1000, 0b1000, false), 3u);
  EXPECT_EQ(ttl(granule::k4, 2 * MiB, 0b0100, 0b0100, false), 2u);
  EXPECT_EQ(ttl(granule::k4, 2 * MiB, 0b0100, 0b1000, false), 0u);
  EXPECT_EQ(ttl(granule::k4, GiB, 0b0010, 0, false), 1u);
  EXPECT_EQ(ttl(granule::k16, 64 * GiB, 0b0010, 0, false), 0u);
  EXPECT_EQ(ttl(granule::k16, 64 * GiB, 0b0010, 0, true), 1u) << "level-1 blocks of 64 GiB exist with IDR5.DS";
  EXPECT_EQ(ttl(granule::k64, 512 * MiB, 0b0100, 0, false), 2u);
  EXPECT_EQ(ttl(granule::k64, 4 * TiB, 0b0010, 0, false), 1u);
}

TEST(cover, bad_input_is_refused_with_its_reason_and_the_value_names_everything) {
  const cover_rules r = ranges(cover_policy::exact);
  EXPECT_EQ(cover::make({0x1000, 0}, r).code(), errc::empty_range);
  EXPECT_EQ(cover::make({0x1800, 0x1000}, r).code(), errc::misaligned);
  EXPECT_EQ(cover::make({256 * TiB, 0x1000}, r).code(), errc::out_of_range);
  EXPECT_EQ(cover::make({0xfffffffffffff000, 0x2000}, r).code(), errc::out_of_range);
  EXPECT_EQ(cover::make({0, 0x1000, granule::k4, 0x20}, r).code(), errc::invalid_argument);
  EXPECT_EQ(cover::make({0, 0x1000, granule{0}}, r).code(), errc::invalid_argument);
  EXPECT_EQ(cover::make({0, 0x1000}, ranges(cover_policy{3})).code(), errc::invalid_argument);
  EXPECT_EQ(cover::make({0, 0x1000}, ranges(cover_policy::exact, 64)).code(), errc::invalid_argument);
  EXPECT_TRUE(cover::make({0x1000, 0}, r).value().whole_tag());
  EXPECT_EQ(cover::make({0x1000, 0}, r).value().count(), 0u);
}

TEST(cover, operands_beyond_the_count_are_the_default_operand) {
  const auto c = cover::make(piece_with_ttl(0, 33 * 4 * KiB, 3), ranges(cover_policy::exact));
  EXPECT_EQ(c->operand(2), sd::tlbi_operand{});
  EXPECT_EQ(cover::everything().operand(0), sd::tlbi_operand{});
}

TEST(cover, is_usable_in_constant_expressions) {
  constexpr auto c = cover::make({0x1000'0000, 17 * 4 * KiB, granule::k4, 0b1000, 0}, ranges(cover_policy::exact));
  static_assert(c.ok() && c.value().count() == 1);
  static_assert(c.value().operand(0).dw0() == 0x10000 && c.value().operand(0).dw1() == 0x10000701);  // commands.md 9
  constexpr auto b = cover::make({0x4000'0000, 2 * MiB, granule::k4, 0b0100, 0}, ranges(cover_policy::exact));
  static_assert(b.value().operand(0).dw0() == 0x900000 && b.value().operand(0).dw1() == 0x40000601);
  constexpr auto t = cover::make({0x7000, 4 * KiB, granule::k4, 0, 0b1000}, ranges(cover_policy::exact));
  static_assert(t.value().operand(0).dw0() == 0x100000 && t.value().operand(0).dw1() == 0x7400);
  constexpr auto s = cover::make({0x8000'0000, 512 * MiB, granule::k64, 0b0100, 0}, ranges(cover_policy::exact));
  static_assert(s.value().operand(0).dw0() == 0xd00000 && s.value().operand(0).dw1() == 0x80000e01);
  SUCCEED();
}

// ---- without RIL ---------------------------------------------------------------------------------------------------

TEST(cover_entries, one_command_per_leaf) {
  const auto blocks = cover::make({2 * MiB, 10 * MiB, granule::k4, 0b0100, 0}, {});
  ASSERT_EQ(blocks->count(), 5u);
  for (std::uint32_t i = 0; i != 5; ++i) EXPECT_EQ(blocks->operand(i), sd::tlbi_operand::address((2 + 2 * i) * MiB, true));
  const auto page = cover::make({0xfffffffffffff000, 4 * KiB, granule::k4, 0b1000, 0}, {});
  ASSERT_EQ(page->count(), 1u);
  EXPECT_EQ(page->operand(0), sd::tlbi_operand::address(0xfffffffffffff000, true));
}

TEST(cover_entries, freed_tables_and_unknown_or_partial_leaves_step_by_the_granule) {
  const auto freed = cover::make({0, MiB, granule::k4, 0b1000, 0b1000}, {});
  EXPECT_EQ(freed->count(), 256u);
  EXPECT_FALSE(freed->operand(255).leaf());
  EXPECT_EQ(cover::make({0, MiB, granule::k4, 0, 0}, {})->count(), 256u);
  EXPECT_EQ(cover::make({0, 2 * MiB, granule::k16, 0b1100, 0}, {})->count(), 128u);
  EXPECT_EQ(cover::make({4 * KiB, MiB, granule::k4, 0b0100, 0}, {})->count(), 256u);
  const auto block_and_table = cover::make({0, 2 * MiB - 4 * KiB, granule::k4, 0b0100, 0b0100}, {});
  EXPECT_EQ(block_and_table->count(), 511u);
}

// commands.md 8: the number of descriptors in one table page, by the step.
TEST(cover_entries, become_the_whole_tag_at_one_table_page_of_them) {
  const auto whole = [](granule g, std::uint64_t bytes, unsigned leaves) {
    const auto c = cover::make({0, bytes, g, static_cast<std::uint8_t>(leaves), 0}, {});
    EXPECT_TRUE(c.ok());
    EXPECT_EQ(c->whole_tag(), c->count() == 0);
    return c->whole_tag();
  };
  EXPECT_FALSE(whole(granule::k4, 511 * 4 * KiB, 0b1000));
  EXPECT_TRUE(whole(granule::k4, 512 * 4 * KiB, 0b1000));
  EXPECT_FALSE(whole(granule::k16, 2047 * 16 * KiB, 0b1000));
  EXPECT_TRUE(whole(granule::k16, 2048 * 16 * KiB, 0b1000));
  EXPECT_FALSE(whole(granule::k64, 8191 * 64 * KiB, 0b1000));
  EXPECT_TRUE(whole(granule::k64, 8192 * 64 * KiB, 0b1000));
  EXPECT_FALSE(whole(granule::k4, 262143 * 2 * MiB, 0b0100));
  EXPECT_TRUE(whole(granule::k4, 262144 * 2 * MiB, 0b0100));
}

TEST(cover_entries, threshold_can_be_set) {
  cover_rules r{};
  r.entry_limit = 16;
  EXPECT_EQ(cover::make({0, 15 * 4 * KiB, granule::k4, 0b1000, 0}, r)->count(), 15u);
  EXPECT_TRUE(cover::make({0, 16 * 4 * KiB, granule::k4, 0b1000, 0}, r)->whole_tag());
  r.entry_limit = ~std::uint32_t{0};
  EXPECT_EQ(cover::make({0, GiB, granule::k4, 0b1000, 0}, r)->count(), 262144u);
  r.range_invalidation = true;
  r.entry_limit = 1;
  EXPECT_FALSE(cover::make({0, GiB, granule::k4, 0b1000, 0}, r)->whole_tag()) << "ranges never give up";
}

TEST(cover, everything_is_the_whole_tag) {
  EXPECT_TRUE(cover::everything().whole_tag());
  EXPECT_EQ(cover::everything().covered_bytes(), ~std::uint64_t{0});
}

// ---- beyond 2^16 ---------------------------------------------------------------------------------------------------

TEST(cover, random_pieces_of_all_granules_levels_and_sizes_hold) {
  std::mt19937_64 random{20260921};
  const auto below = [&](std::uint64_t n) { return random() % n; };
  std::vector<wire_words> words;
  std::uint64_t hints[4] = {};
  for (unsigned round = 0; round != 150000; ++round) {
    range_piece p;
    p.g = static_cast<granule>(1 + below(3));
    const unsigned g = sd::granule_shift(p.g);
    const unsigned level = 1 + static_cast<unsigned>(below(3));
    const unsigned shape = static_cast<unsigned>(below(4));
    p.leaf_levels = static_cast<std::uint8_t>(shape == 0 ? 0 : shape == 1 ? (1u << level) | 8u : 1u << level);
    p.freed_levels = static_cast<std::uint8_t>(below(3) == 0 ? below(8) << 1 : 0);
    const unsigned unit = shape >= 2 ? sd::level_shift(p.g, level) : g;
    const unsigned widths[] = {63, 52, 48, 44, unit + 1};
    const unsigned bits = std::max(unit + 1, widths[below(5)]);
    const std::uint64_t half = std::uint64_t{1} << (bits - unit);  // units in a half
    std::uint64_t n = 1 + (random() >> below(64)) % half;
    if (below(16) == 0) n = half - below(std::min<std::uint64_t>(half, 40));
    const std::uint64_t room = half - n;
    const std::uint64_t offset = below(4) == 0 ? room : below(4) == 0 ? 0 : room == 0 ? 0 : random() % (room + 1);
    p.address = (below(2) == 0 ? 0 : ~std::uint64_t{0} << bits) + (offset << unit);
    p.bytes = n << unit;
    cover_rules r = ranges(all_policies[below(3)], bits, below(2) == 0);
    if (bits - g > 48 && !r.wide_scale) continue;  // thousands of commands: covered by the test of long ranges
    ASSERT_EQ(fault_of_cover(p, r, words), "") << "round " << round;
    ++hints[wire_operand{words[0]}.ttl];
    if (words.size() > 1 && n < 4096) {
      r.range_invalidation = false;
      ASSERT_EQ(fault_of_cover(p, r, words), "") << "round " << round;
    }
  }
  for (const std::uint64_t h : hints) EXPECT_GT(h, 5000u) << "every TTL was exercised";
}

// ---- the oracle itself ---------------------------------------------------------------------------------------------

TEST(range_oracle, catches_a_dropped_command) {
  const range_piece p = piece_with_ttl(0x1000, 1000 * 4 * KiB, 3);
  for (const cover_policy policy : all_policies) {
    const cover_rules r = ranges(policy);
    std::vector<wire_words> words = words_of(*cover::make(p, r));
    ASSERT_EQ(fault_of(p, r, words), "");
    words.pop_back();
    if (words.empty()) words.push_back({0x0, 0x1701});  // one page only
    EXPECT_EQ(fault_of(p, r, words), "does not cover the piece");
  }
}

TEST(range_oracle, catches_a_hole_of_one_page_and_a_page_too_many) {
  const range_piece p = piece_with_ttl(0x1000, 1000 * 4 * KiB, 3);
  const cover_rules r = ranges(cover_policy::disjoint);
  const std::vector<wire_words> good = words_of(*cover::make(p, r));
  std::vector<wire_words> words = good;
  words[1].dw1 += 0x1000;
  EXPECT_EQ(fault_of(p, r, words), "does not cover the piece");
  words = good;
  words[1].dw1 -= 0x1000;
  words[1].dw0 = (words[1].dw0 & ~std::uint64_t{0x3f1f000}) | 8 << 12;  // nine pages instead of eight, ending in place
  EXPECT_EQ(fault_of(p, r, words), "disjoint: names bytes twice");
  words = good;
  words[1].dw0 = (words[1].dw0 & ~std::uint64_t{0x3f1f000}) | 8 << 12;
  EXPECT_EQ(fault_of(p, r, words), "names bytes outside the piece");
}

TEST(range_oracle, catches_each_illegal_form) {
  const wire_rules narrow{true, false, 0, (std::uint64_t{1} << 48) - 1};
  EXPECT_STREQ(why_illegal({0, 0x7400}, narrow, 0), "the (0, 0, TTL 0) form");
  EXPECT_EQ(why_illegal({0, 0x7700}, narrow, 0), nullptr);
  EXPECT_STREQ(why_illegal({32u << 20, 0x7700}, narrow, 0), "SCALE beyond its limit");
  EXPECT_STREQ(why_illegal({1u << 20, 0x7600}, narrow, 0), "ADDR not aligned to the leaf of TTL");
  EXPECT_STREQ(why_illegal({1u << 20, 0x0900}, narrow, 0), "16 KiB TTL 1 without DS");
  EXPECT_STREQ(why_illegal({0x1000, 0x7001}, narrow, 0x1000), "TG = 0 with NUM, SCALE or TTL");
  EXPECT_STREQ(why_illegal({0, 0x7701}, {false, false, 0, ~std::uint64_t{0}}, 0), "range form without RIL");
  EXPECT_STREQ(why_illegal({0x1000, 0xfffffffff701}, narrow, 0), "leaves its address half");
  EXPECT_STREQ(why_illegal({0x1000, 0xfffffffffffff701}, {}, 0), "wraps");
  EXPECT_STREQ(why_illegal({1, 0x7701}, narrow, 0), "stray bits in dw0");
  EXPECT_STREQ(why_illegal({0, 0x7781}, narrow, 0), "stray bits in dw1");
}
