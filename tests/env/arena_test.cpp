// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <span>
#include <vector>

#include <shootdown/env/arena.hpp>

namespace {

using namespace shootdown;

struct memory {
  alignas(64) std::array<std::byte, 4096> bytes{};
  [[nodiscard]] std::span<std::byte> from(std::size_t first, std::size_t n) { return std::span{bytes}.subspan(first, n); }
};

TEST(arena, gives_nothing_before_it_has_memory) {
  arena a;
  EXPECT_EQ(a.allocate(1, 1), nullptr);
  EXPECT_EQ(a.allocate(0, 1), nullptr);
  a.add({});
  EXPECT_EQ(a.capacity(), 0u);
  EXPECT_TRUE(a.check_invariants());
}

TEST(arena, cuts_unaligned_ends_off) {
  memory m;
  arena a;
  a.add(m.from(1, 62));  // one whole 16-byte unit is lost at each end
  EXPECT_EQ(a.capacity(), 32u);
  EXPECT_NE(a.allocate(32, 16), nullptr);
  EXPECT_EQ(a.allocate(1, 1), nullptr);
  arena tiny;
  tiny.add(m.from(1, 15));
  EXPECT_EQ(tiny.capacity(), 0u);
}

TEST(arena, refuses_what_cannot_be_and_changes_nothing) {
  memory m;
  arena a;
  a.add(m.bytes);
  EXPECT_EQ(a.allocate(16, 0), nullptr);
  EXPECT_EQ(a.allocate(16, 3), nullptr);
  EXPECT_EQ(a.allocate(4097, 1), nullptr);
  EXPECT_EQ(a.allocate(~std::size_t{0}, 1), nullptr);
  EXPECT_EQ(a.allocate(~std::size_t{0} - 7, 16), nullptr);
  EXPECT_EQ(a.allocate(16, std::size_t{1} << 63), nullptr);
  EXPECT_EQ(a.available(), 4096u);
  EXPECT_TRUE(a.check_invariants());
}

TEST(arena, honours_alignment_and_keeps_what_it_skips) {
  memory m;
  arena a;
  a.add(m.from(16, 4080));
  void* const p = a.allocate(64, 64);
  ASSERT_NE(p, nullptr);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(p) % 64, 0u);
  EXPECT_EQ(a.available(), 4080u - 64u);
  void* const before = a.allocate(48, 1);  // fits exactly into what the alignment skipped
  EXPECT_LT(before, p);
  a.deallocate(p, 64);
  a.deallocate(before, 48);
  a.deallocate(nullptr, 16);
  EXPECT_EQ(a.available(), 4080u);
  EXPECT_NE(a.allocate(4080, 1), nullptr);  // one hole again
}

TEST(arena, blocks_never_overlap_and_all_merge_back_in_any_order_of_release) {
  memory m;
  std::mt19937 random{42};
  for (int round = 0; round != 20; ++round) {
    arena a;
    a.add(m.bytes);
    struct block {
      unsigned char* p;
      std::size_t bytes;
      unsigned char mark;
    };
    std::vector<block> live;
    for (int step = 0; step != 300; ++step) {
      if (random() % 3 != 0 || live.empty()) {
        const std::size_t bytes = random() % 200;
        const std::size_t align = std::size_t{1} << (random() % 8);
        auto* const p = static_cast<unsigned char*>(a.allocate(bytes, align));
        if (p == nullptr) continue;
        ASSERT_EQ(reinterpret_cast<std::uintptr_t>(p) % align, 0u);
        const auto mark = static_cast<unsigned char>(step);
        std::memset(p, mark, bytes);
        live.push_back({p, bytes, mark});
      } else {
        const std::size_t i = random() % live.size();
        const block b = live[i];
        ASSERT_TRUE(std::all_of(b.p, b.p + b.bytes, [&](unsigned char c) { return c == b.mark; })) << "overwritten by another block";
        a.deallocate(b.p, b.bytes);
        live.erase(live.begin() + static_cast<std::ptrdiff_t>(i));
      }
      ASSERT_TRUE(a.check_invariants());
    }
    for (const block& b : live) a.deallocate(b.p, b.bytes);
    EXPECT_EQ(a.available(), 4096u);
    EXPECT_NE(a.allocate(4096, 64), nullptr);
  }
}

TEST(arena, check_invariants_sees_a_block_that_was_given_back_twice) {
  memory m;
  arena a;
  a.add(m.bytes);
  void* const p = a.allocate(64, 16);
  void* const q = a.allocate(64, 16);
  a.deallocate(p, 64);
  a.deallocate(p, 64);
  EXPECT_FALSE(a.check_invariants());
  (void)q;
}

}  // namespace
