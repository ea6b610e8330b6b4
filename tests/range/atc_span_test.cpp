// SPDX-License-Identifier: MIT
#include <shootdown/range/atc_span.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <random>
#include <utility>
#include <vector>

namespace sd = shootdown;
using sd::atc_cover;
using sd::atc_span;
using sd::errc;

namespace {

constexpr std::uint64_t page = 4096;

atc_span single(std::uint64_t address, std::uint64_t bytes, unsigned stu = 12) {
  const auto s = sd::single_atc_span(address, bytes, stu);
  EXPECT_TRUE(s.ok());
  return *s;
}

/// Pages hit and spans used; ordered so that fewer pages win and, among equals, fewer spans.
using cost = std::pair<std::uint64_t, unsigned>;

/// Truth by trying everything: the best way to cover [first, last] inside the block of 2^shift units at `at` with at most n
/// spans, by taking the block or dividing the spans among its halves in every way.
cost best(std::uint64_t at, unsigned shift, std::uint64_t first, std::uint64_t last, unsigned n) {
  const std::uint64_t end = at + (std::uint64_t{1} << shift) - 1;
  if (end < first || last < at) return {0, 0};
  constexpr cost impossible{~std::uint64_t{0}, ~0u};
  if (n == 0) return impossible;
  cost found{std::uint64_t{1} << shift, 1};
  if (shift == 0) return found;
  const std::uint64_t middle = at + (std::uint64_t{1} << (shift - 1));
  for (unsigned left = 0; left <= n; ++left) {
    const cost l = best(at, shift - 1, first, last, left);
    const cost r = best(middle, shift - 1, first, last, n - left);
    if (l == impossible || r == impossible) continue;
    found = std::min(found, cost{l.first + r.first, l.second + r.second});
  }
  return found;
}

/// Empty when the spans are well formed, cover the range and never go below the STU.
template <unsigned N>
std::string fault_of(const atc_cover<N>& c, std::uint64_t address, std::uint64_t bytes, unsigned stu) {
  std::uint64_t next = address;
  bool reached_end = false;
  const atc_span* before = nullptr;
  for (const atc_span& s : c.spans()) {
    if (s.size > 52) return "SIZE above 52";
    if (s.size + 12u < stu && s.size != 52) return "below the STU";
    if (s.size < 52 && (s.address & ((std::uint64_t{1} << (s.size + 12)) - 1)) != 0) return "address not aligned to its size";
    if (before != nullptr && s.address <= before->last()) return "overlapping or out of order";
    if (reached_end) return "a span behind the range";
    if (next < s.address) return "hole";
    if (s.last() < next) return "a span before the range";
    reached_end = s.last() >= address + (bytes - 1);
    next = s.last() + 1;
    before = &s;
  }
  return reached_end ? "" : "does not reach the end";
}

std::uint64_t pages_hit(std::span<const atc_span> spans) {
  std::uint64_t sum = 0;
  for (const atc_span& s : spans) sum += std::uint64_t{1} << s.size;
  return sum;
}

}  // namespace

TEST(atc_span, single_agrees_with_the_published_vectors) {
  struct row {
    std::uint64_t address, bytes, addr;
    unsigned size;
  };
  for (const row& r :
       {row{0x0, 0x1000, 0x0, 0}, row{0x8000, 0x4000, 0x8000, 2}, row{0x7000, 0x4000, 0x0, 4}, row{0xfff, 2, 0x0, 1},
        row{0x200000, 0x200000, 0x200000, 9}, row{0x1ff000, 0x2000, 0x0, 10}, row{0x3ffff000, 0x2000, 0x0, 19},
        row{0x7ffffffff000, 0x2000, 0x0, 36}, row{0, 0, 0, 52}, row{0x123456789000, 0, 0, 52}, row{0, ~std::uint64_t{0}, 0, 52}}) {
    const atc_span s = single(r.address, r.bytes);
    EXPECT_EQ(s.address, r.addr) << std::hex << r.address << '+' << r.bytes;
    EXPECT_EQ(s.size, r.size) << std::hex << r.address << '+' << r.bytes;
  }
}

TEST(atc_span, both_ends_of_the_address_space_are_reachable) {
  EXPECT_EQ(single(0xfffffffffffff000, 0x1000), (atc_span{0xfffffffffffff000, 0}));
  EXPECT_EQ(single(0xfffffffffffff000, 0x1000).last(), ~std::uint64_t{0});
  EXPECT_EQ(single(0x7ffffffffffff000, 0x2000), atc_span::everything()) << "across the middle";
  EXPECT_EQ(single(0xffff000000000000, std::uint64_t{1} << 48), (atc_span{0xffff000000000000, 36}));
  EXPECT_EQ(atc_span::everything().last(), ~std::uint64_t{0});
}

TEST(atc_span, never_smaller_than_the_smallest_translation_unit) {
  EXPECT_EQ(single(0x5000, 0x1000, 16), (atc_span{0, 4}));
  EXPECT_EQ(single(0x15000, 0x1000, 16), (atc_span{0x10000, 4}));
  EXPECT_EQ(single(0x15000, 0x10000, 16), (atc_span{0x0, 6}));
  EXPECT_EQ(single(0x5000, 0x1000, 63), (atc_span{0, 51}));
  for (unsigned stu = 12; stu <= 63; ++stu) EXPECT_GE(single(0x1234'5678'9000, 0x1000, stu).size + 12u, stu);
}

TEST(atc_span, bad_input_is_refused_with_its_reason) {
  EXPECT_EQ(sd::single_atc_span(0, 0x1000, 11).code(), errc::invalid_argument);
  EXPECT_EQ(sd::single_atc_span(0, 0x1000, 64).code(), errc::invalid_argument);
  EXPECT_EQ(sd::single_atc_span(0xfffffffffffff000, 0x1001).code(), errc::out_of_range);
  EXPECT_EQ(sd::single_atc_span(1, ~std::uint64_t{0}).code(), errc::ok) << "ends with the last byte";
  EXPECT_EQ(sd::single_atc_span(2, ~std::uint64_t{0}).code(), errc::out_of_range);
  EXPECT_EQ(atc_cover<4>::make(0, 0x1000, 11).code(), errc::invalid_argument);
  EXPECT_EQ(atc_cover<4>::make(0, 0x1000, 12, 0).code(), errc::invalid_argument);
  EXPECT_EQ(atc_cover<4>::make(0, 0x1000, 12, 5).code(), errc::invalid_argument);
  EXPECT_EQ(atc_cover<4>::make(0xfffffffffffff000, 0x2000).code(), errc::out_of_range);
  const auto failed = atc_cover<4>::make(0, 0x1000, 11);
  ASSERT_EQ(failed.value().count(), 1u);
  EXPECT_EQ(failed.value().spans()[0], atc_span::everything()) << "overlooking the error must not lose an invalidation";
}

TEST(atc_cover, two_pages_across_a_large_boundary_no_longer_wipe_the_cache) {
  const auto c = atc_cover<2>::make(0x7ffffffff000, 0x2000);
  ASSERT_EQ(c->count(), 2u);
  EXPECT_EQ(c->spans()[0], (atc_span{0x7ffffffff000, 0}));
  EXPECT_EQ(c->spans()[1], (atc_span{0x800000000000, 0}));
  const auto middle = atc_cover<2>::make(0x7ffffffffffff000, 0x2000);
  ASSERT_EQ(middle->count(), 2u);
  EXPECT_EQ(middle->spans()[0], (atc_span{0x7ffffffffffff000, 0}));
  EXPECT_EQ(middle->spans()[1], (atc_span{0x8000000000000000, 0}));
}

TEST(atc_cover, spends_spans_where_they_save_most) {
  // Pages 7..10: two spans hit 4..11? No: 7 alone and 8..11.
  const auto two = atc_cover<4>::make(7 * page, 4 * page, 12, 2);
  ASSERT_EQ(two->count(), 2u);
  EXPECT_EQ(two->spans()[0], (atc_span{7 * page, 0}));
  EXPECT_EQ(two->spans()[1], (atc_span{8 * page, 2}));
  const auto three = atc_cover<4>::make(7 * page, 4 * page);
  ASSERT_EQ(three->count(), 3u) << "exact with three; the fourth is not spent";
  EXPECT_EQ(pages_hit(three->spans()), 4u);
}

TEST(atc_cover, aligned_blocks_and_everything_stay_one_span) {
  EXPECT_EQ(atc_cover<8>::make(0x200000, 0x200000)->count(), 1u);
  EXPECT_EQ(atc_cover<8>::make(0x1000, 0)->count(), 1u);
  EXPECT_EQ(atc_cover<8>::make(0x1000, 0)->spans()[0], atc_span::everything());
  EXPECT_EQ(atc_cover<8>::make(0, ~std::uint64_t{0})->spans()[0], atc_span::everything());
  EXPECT_EQ(atc_cover<8>::make(0, ~std::uint64_t{0})->count(), 1u);
  EXPECT_EQ(atc_cover<8>::make(0, ~std::uint64_t{0}, 63)->count(), 1u);
}

TEST(atc_cover, one_span_is_the_single_span) {
  std::mt19937_64 random{3};
  for (unsigned i = 0; i != 20000; ++i) {
    const std::uint64_t address = random() >> (random() % 64);
    const std::uint64_t bytes = std::min((random() >> (random() % 64)) | 1, ~address);
    if (bytes == 0) continue;
    const unsigned stu = 12 + static_cast<unsigned>(random() % 10);
    const auto c = atc_cover<3>::make(address, bytes, stu, 1);
    ASSERT_EQ(c->count(), 1u);
    ASSERT_EQ(c->spans()[0], single(address, bytes, stu));
    ASSERT_EQ(fault_of(*c, address, bytes, stu), "");
  }
}

// Every range of 64 pages, at the bottom, across 2^63 and at the top, every span limit to 6: as good as trying everything.
TEST(atc_cover, is_optimal_for_every_small_range) {
  for (std::uint64_t first = 0; first != 64; ++first) {
    for (std::uint64_t last = first; last != 64; ++last) {
      for (unsigned n = 1; n <= 6; ++n) {
        const cost want = best(0, 6, first, last, n);
        for (const std::uint64_t base : {std::uint64_t{0}, std::uint64_t{1} << 40, 0 - 64 * page}) {
          const auto c = atc_cover<6>::make(base + first * page, (last - first + 1) * page, 12, n);
          ASSERT_TRUE(c.ok());
          ASSERT_EQ(fault_of(*c, base + first * page, (last - first + 1) * page, 12), "") << first << ".." << last << " n " << n;
          ASSERT_EQ(pages_hit(c->spans()), want.first) << first << ".." << last << " n " << n;
          ASSERT_EQ(c->count(), want.second) << first << ".." << last << " n " << n;
        }
      }
    }
  }
}

TEST(atc_cover, is_optimal_in_units_of_the_translation_unit) {
  for (const unsigned stu : {13u, 14u, 16u}) {
    const std::uint64_t unit = std::uint64_t{1} << (stu - 12);
    for (std::uint64_t first = 0; first != 64; ++first) {
      for (std::uint64_t last = first; last != 64; ++last) {
        const auto c = atc_cover<3>::make(first * page, (last - first + 1) * page, stu);
        const cost want = best(0, 6, first / unit, last / unit, 3);
        ASSERT_EQ(fault_of(*c, first * page, (last - first + 1) * page, stu), "");
        ASSERT_EQ(pages_hit(c->spans()), want.first * unit) << first << ".." << last << " stu " << stu;
        ASSERT_EQ(c->count(), want.second);
      }
    }
  }
}

TEST(atc_cover, random_byte_ranges_are_covered_and_more_spans_never_hit_more) {
  std::mt19937_64 random{4};
  for (unsigned i = 0; i != 50000; ++i) {
    const std::uint64_t address = random() >> (random() % 64);
    const std::uint64_t bytes = std::min((random() >> (random() % 64)) | 1, ~address);
    if (bytes == 0) continue;
    const unsigned stu = 12 + static_cast<unsigned>(random() % 52);
    std::uint64_t before = ~std::uint64_t{0};
    for (unsigned n = 1; n <= 8; ++n) {
      const auto c = atc_cover<8>::make(address, bytes, stu, n);
      ASSERT_TRUE(c.ok());
      ASSERT_LE(c->count(), n);
      ASSERT_EQ(fault_of(*c, address, bytes, stu), "") << std::hex << address << '+' << bytes << " stu " << std::dec << stu << " n " << n;
      ASSERT_LE(pages_hit(c->spans()), before);
      before = pages_hit(c->spans());
    }
  }
}

TEST(atc_cover, two_spans_bound_the_surplus_by_the_size_of_the_range) {
  // Each side of the middle is rounded up to at most twice its length.
  std::mt19937_64 random{5};
  for (unsigned i = 0; i != 20000; ++i) {
    const std::uint64_t first = random() >> 20 >> (random() % 30);
    const std::uint64_t n = 1 + (random() >> 30 >> (random() % 30));
    const auto c = atc_cover<2>::make(first * page, n * page);
    ASSERT_LT(pages_hit(c->spans()), 2 * n + (n == 1)) << first << '+' << n;
  }
}

TEST(atc_cover, checker_catches_a_dropped_span) {
  const auto two = atc_cover<2>::make(0x7ffffffff000, 0x2000);
  ASSERT_EQ(fault_of(*two, 0x7ffffffff000, 0x2000, 12), "");
  EXPECT_EQ(fault_of(*two, 0x7ffffffff000, 0x3000, 12), "does not reach the end");
  EXPECT_EQ(fault_of(*two, 0x7fffffffe000, 0x3000, 12), "hole");
  EXPECT_EQ(fault_of(*two, 0x7ffffffff000, 0x1000, 12), "a span behind the range");
  EXPECT_EQ(fault_of(*two, 0x7ffffffff000, 0x2000, 13), "below the STU");
}
