// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>

#include <cstdint>
#include <random>

#include <shootdown/arch/queue_word.hpp>

namespace {
using namespace shootdown;

// Truth is kept in 64-bit sequences that never wrap; the geometry sees only their words.
TEST(queue_geometry, agrees_with_sequences_everywhere_in_small_rings) {
  for (unsigned n = 0; n <= 4; ++n) {
    const queue_geometry g{n};
    const std::uint32_t slots = 1u << n;
    for (std::uint64_t cons = 0; cons != 6 * slots; ++cons) {
      for (std::uint64_t prod = cons; prod <= cons + slots; ++prod) {
        const std::uint32_t p = g.word(prod), c = g.word(cons);
        ASSERT_EQ(g.used(p, c), prod - cons);
        ASSERT_EQ(g.free(p, c), slots - (prod - cons));
        ASSERT_EQ(g.empty(p, c), prod == cons);
        ASSERT_EQ(g.full(p, c), prod == cons + slots);
        ASSERT_TRUE(g.plausible(p, c));
        ASSERT_EQ(g.index(prod), prod % slots);
        ASSERT_EQ(g.wrap(prod), (prod / slots) % 2 == 1);
        ASSERT_EQ(g.add(c, static_cast<std::uint32_t>(prod - cons)), p);
        ASSERT_EQ(g.extend(cons, p), prod);
      }
    }
  }
}

TEST(queue_geometry, consumed_is_the_rule_of_the_register_description) {
  for (unsigned n = 0; n <= 4; ++n) {
    const queue_geometry g{n};
    for (std::uint32_t p = 0; p != 2 * g.slots(); ++p) {
      for (std::uint32_t c = 0; c != 2 * g.slots(); ++c) {
        const bool same_wrap = g.wrap(p) == g.wrap(c);
        const bool rule = (same_wrap && g.index(c) > g.index(p)) || (!same_wrap && g.index(c) <= g.index(p));
        ASSERT_EQ(g.consumed(p, c), rule) << "n " << n << " slot " << p << " cons " << c;
      }
    }
  }
}

TEST(queue_geometry, a_prod_that_claims_more_than_the_ring_is_implausible) {
  const queue_geometry g{3};
  EXPECT_TRUE(g.plausible(g.word(8), g.word(0)));
  EXPECT_FALSE(g.plausible(g.word(9), g.word(0)));
  EXPECT_FALSE(g.plausible(g.word(4), g.word(5))) << "PROD went back";
  EXPECT_EQ(g.free(g.word(9), g.word(0)), 0u);
}

TEST(queue_geometry, bits_above_the_wrap_flag_do_not_matter) {
  const queue_geometry g{8};
  EXPECT_EQ(g.word(0x0100'00bf), 0xbfu) << "CONS with ERR = 1";
  EXPECT_EQ(g.used(0x8000'0010, 0x0700'000f), 1u);
  EXPECT_TRUE(g.consumed(3, 0x0100'0004));
  EXPECT_EQ(g.extend(0, 0x0100'0004), 4u);
}

TEST(queue_geometry, extend_finds_the_position_of_a_register_value) {
  std::mt19937_64 random{5};
  for (unsigned turn = 0; turn != 50'000; ++turn) {
    const queue_geometry g{static_cast<unsigned>(random() % 20)};
    const std::uint64_t base = random();
    const std::uint64_t truth = base + random() % (std::uint64_t{2} * g.slots());
    ASSERT_EQ(g.extend(base, g.word(truth)), truth);
    ASSERT_GE(g.extend(base, static_cast<std::uint32_t>(random())) - base, 0u);
    ASSERT_LT(g.extend(base, static_cast<std::uint32_t>(random())) - base, std::uint64_t{2} * g.slots());
  }
}

}  // namespace
