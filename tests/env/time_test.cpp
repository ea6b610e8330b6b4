// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>

#include <cstdint>

#include <shootdown/env/time.hpp>

namespace {

using namespace shootdown;
constexpr std::uint64_t top = ~std::uint64_t{0};

TEST(deadline, passes_at_its_instant_and_not_before) {
  const deadline d = deadline::in(instant{100}, nanoseconds{50});
  EXPECT_EQ(since_epoch(d.at), 150u);
  EXPECT_FALSE(d.passed(instant{149}));
  EXPECT_TRUE(d.passed(instant{150}));
  EXPECT_TRUE(d.passed(instant{top}));
}

TEST(deadline, a_zero_duration_has_passed_at_once) {
  EXPECT_TRUE(deadline::in(instant{7}, nanoseconds{0}).passed(instant{7}));
  EXPECT_TRUE(deadline::in(instant{0}, nanoseconds{0}).passed(instant{0}));
}

TEST(deadline, never_never_passes) {
  EXPECT_FALSE(deadline::never().passed(instant{0}));
  EXPECT_FALSE(deadline::never().passed(instant{top}));
  EXPECT_FALSE(deadline{}.passed(instant{top}));
}

TEST(deadline, a_sum_that_overflows_saturates_to_never) {
  for (const std::uint64_t now : {std::uint64_t{1}, std::uint64_t{1} << 63, top - 1, top}) {
    const deadline d = deadline::in(instant{now}, nanoseconds{top});
    EXPECT_FALSE(d.passed(instant{top})) << now;
    EXPECT_FALSE(d.passed(instant{now})) << now;
  }
  EXPECT_EQ(since_epoch(deadline::in(instant{top}, nanoseconds{1}).at), top);
}

TEST(deadline, the_largest_sum_that_fits_but_one_still_passes) {
  const deadline d = deadline::in(instant{top - 10}, nanoseconds{9});
  EXPECT_FALSE(d.passed(instant{top - 2}));
  EXPECT_TRUE(d.passed(instant{top - 1}));
  // The sum that is exactly the largest number is the spelling of never.
  EXPECT_FALSE(deadline::in(instant{top - 10}, nanoseconds{10}).passed(instant{top}));
}

static_assert(deadline::in(instant{5}, nanoseconds{5}).passed(instant{10}));

}  // namespace
