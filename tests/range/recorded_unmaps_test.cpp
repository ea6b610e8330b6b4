// SPDX-License-Identifier: MIT
// The covers on real input: every unmap that a Linux guest asked of an SMMUv3 (bench/traces/README.md).
#include <shootdown/range/cover.hpp>
#include <shootdown/range/gather.hpp>

#include <gtest/gtest.h>
#include <zlib.h>

#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include <support/linux_split.hpp>

#include "cover_support.hpp"

#ifndef SHOOTDOWN_TRACE_DIR
#define SHOOTDOWN_TRACE_DIR "bench/traces"
#endif

namespace sd = shootdown;
using namespace shootdown::test;
using sd::cover;
using sd::cover_policy;
using sd::granule;
using sd::range_piece;

namespace {

struct recorded {
  std::uint64_t address;
  std::uint64_t pages;
};

/// "unmap IOVA+PAGES ..." of every line. A line that is not of this form is missed in the count.
std::vector<recorded> recording() {
  std::vector<recorded> out;
  gzFile file = gzopen(SHOOTDOWN_TRACE_DIR "/linux-6.1.192-strict-smp1.pairs.txt.gz", "rb");
  EXPECT_NE(file, nullptr) << "no recording";
  if (file == nullptr) return out;
  std::vector<char> buffer(1 << 20);
  while (gzgets(file, buffer.data(), static_cast<int>(buffer.size())) != nullptr) {
    const std::string line{buffer.data()};
    if (line.rfind("unmap 0x", 0) != 0) continue;
    char* plus = nullptr;
    const std::uint64_t address = std::strtoull(line.c_str() + 6, &plus, 16);
    if (*plus != '+') continue;
    out.push_back({address, std::strtoull(plus + 1, nullptr, 10)});
  }
  gzclose(file);
  EXPECT_EQ(out.size(), 11178u);
  return out;
}

struct totals {
  std::uint64_t commands{}, large_commands{}, over_pages{}, unmaps{}, large_unmaps{}, double_pages{};
};

/// Each unmap as one contiguous piece of 4 KiB leaves with these levels. Every cover is checked in full on the way.
totals run(cover_policy policy, std::uint8_t leaves, std::uint8_t freed) {
  totals t;
  std::vector<wire_words> words;
  for (const recorded& u : recording()) {
    const range_piece p{u.address, u.pages * 4 * KiB, granule::k4, leaves, freed};
    const sd::cover_rules r = ranges(policy);
    EXPECT_EQ(fault_of_cover(p, r, words), "");
    const bool large = u.pages >= 512;
    ++t.unmaps;
    t.large_unmaps += large;
    t.commands += words.size();
    t.large_commands += large ? words.size() : 0;
    t.over_pages += cover::make(p, r)->over_bytes() / (4 * KiB);
    t.double_pages += (named_bytes(words, 0) - union_bytes(words, 0)) / (4 * KiB);
  }
  return t;
}

constexpr std::uint8_t pages_only = 1 << 3;
constexpr std::uint8_t mixed = 1 << 2 | 1 << 3;
constexpr std::uint8_t level_3_table = 1 << 3;

}  // namespace

TEST(recorded_unmaps, exact_takes_11296_commands_and_133_for_the_large_ones) {
  const totals t = run(cover_policy::exact, pages_only, 0);
  EXPECT_EQ(t.unmaps, 11178u);
  EXPECT_EQ(t.large_unmaps, 70u);
  EXPECT_EQ(t.commands, 11296u);
  EXPECT_EQ(t.large_commands, 133u);
  EXPECT_EQ(t.over_pages, 0u);
}

TEST(recorded_unmaps, disjoint_takes_11325_commands_and_162_for_the_large_ones) {
  const totals t = run(cover_policy::disjoint, pages_only, 0);
  EXPECT_EQ(t.commands, 11325u);
  EXPECT_EQ(t.large_commands, 162u);
  EXPECT_EQ(t.over_pages, 0u);
  EXPECT_EQ(t.double_pages, 0u);
}

TEST(recorded_unmaps, bounded_takes_one_command_each) {
  const totals t = run(cover_policy::bounded, pages_only, 0);
  EXPECT_EQ(t.commands, 11178u);
  EXPECT_EQ(t.large_commands, 70u);
  EXPECT_GT(t.over_pages, 0u);
}

TEST(recorded_unmaps, freed_level_3_tables_change_leaf_and_nothing_else) {
  for (const cover_policy policy : {cover_policy::exact, cover_policy::disjoint, cover_policy::bounded}) {
    const totals without = run(policy, pages_only, 0);
    const totals with = run(policy, pages_only, level_3_table);
    EXPECT_EQ(with.commands, without.commands);
    EXPECT_EQ(with.over_pages, without.over_pages);
  }
  EXPECT_FALSE(cover::make({0x1000, 0x1000, granule::k4, pages_only, level_3_table}, ranges(cover_policy::exact))->leaf());
}

// Without a level hint (blocks and pages mixed, or tables below the blocks) the number of commands is the same. What
// differs: TTL = 0; each single-page unmap names a second page, which does not belong to it; and a lone last page is
// widened into its own piece, so more pages are named twice.
TEST(recorded_unmaps, mixed_levels_keep_the_counts_but_widen_every_single_page) {
  std::uint64_t single_pages = 0;
  for (const recorded& u : recording()) single_pages += u.pages == 1;
  EXPECT_EQ(single_pages, 10557u);
  struct row {
    cover_policy policy;
    std::uint64_t over_hinted, twice_hinted, twice_mixed;
  };
  for (const row& want :
       {row{cover_policy::exact, 0, 67, 121}, row{cover_policy::disjoint, 0, 0, 65}, row{cover_policy::bounded, 4625, 0, 0}}) {
    const totals hinted = run(want.policy, pages_only, 0);
    const totals t = run(want.policy, mixed, 0);
    EXPECT_EQ(t.commands, hinted.commands);
    EXPECT_EQ(t.large_commands, hinted.large_commands);
    EXPECT_EQ(hinted.over_pages, want.over_hinted);
    EXPECT_EQ(t.over_pages, want.over_hinted + single_pages);
    EXPECT_EQ(hinted.double_pages, want.twice_hinted);
    EXPECT_EQ(t.double_pages, want.twice_mixed);
  }
}

TEST(recorded_unmaps, low_bits_first_baseline_counts_like_the_disjoint_cover) {
  std::uint64_t commands = 0;
  for (const recorded& u : recording()) commands += linux_split(u.pages, true).size();
  EXPECT_EQ(commands, 11325u);
}

TEST(recorded_unmaps, a_cover_without_its_last_command_is_noticed_on_every_unmap) {
  std::vector<wire_words> words;
  for (const recorded& u : recording()) {
    const range_piece p = piece_with_ttl(u.address, u.pages * 4 * KiB, 3);
    words_of(*cover::make(p, ranges(cover_policy::exact)), words);
    words.pop_back();
    ASSERT_FALSE(covered_by({p.address, sd::last_byte(p)}, words, 0));
  }
}

TEST(recorded_unmaps, unmapping_page_by_page_gathers_into_one_piece) {
  for (const recorded& u : recording()) {
    sd::gather<1> g;
    for (std::uint64_t i = 0; i != u.pages; ++i) {
      ASSERT_TRUE(g.add({u.address + i * 4 * KiB, 4 * KiB, granule::k4, pages_only, 0}).ok());
    }
    ASSERT_EQ(g.pieces().size(), 1u);
    ASSERT_EQ(g.pieces()[0], (range_piece{u.address, u.pages * 4 * KiB, granule::k4, pages_only, 0}));
  }
}
