// SPDX-License-Identifier: MIT
#include <shootdown/device/tag_space.hpp>
#include <shootdown/host/env.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <set>
#include <thread>
#include <vector>

using namespace shootdown;

namespace {

/// host::env whose contract violations are counted instead of trapping.
struct lenient_env : host::env {
  static inline std::atomic<unsigned> violations{0};
  static void fail(const char*) noexcept { ++violations; }
};
using space = device::tag_space<lenient_env>;

struct tag_space_test : ::testing::Test {
  void SetUp() override { lenient_env::violations = 0; }
  std::unique_ptr<space> tags = std::make_unique<space>();
};

}  // namespace

TEST_F(tag_space_test, hands_out_nothing_before_it_is_configured) {
  EXPECT_EQ(tags->acquire(tag_kind::asid).code(), errc::exhausted);
  EXPECT_TRUE(tags->check_invariants());
}

TEST_F(tag_space_test, refuses_widths_that_do_not_exist_and_keeps_its_state) {
  ASSERT_TRUE(tags->configure(8, 8).ok());
  ASSERT_TRUE(tags->acquire(tag_kind::vmid).ok());
  EXPECT_EQ(tags->configure(9, 8).code(), errc::invalid_argument);
  EXPECT_EQ(tags->configure(16, 0).code(), errc::invalid_argument);
  EXPECT_EQ(tags->in_use(tag_kind::vmid), 1u);
}

TEST_F(tag_space_test, eight_bit_space_gives_255_distinct_tags_never_0_then_is_exhausted) {
  ASSERT_TRUE(tags->configure(8, 16).ok());
  std::set<std::uint16_t> seen;
  for (int i = 0; i != 255; ++i) {
    const auto t = tags->acquire(tag_kind::asid);
    ASSERT_TRUE(t.ok());
    EXPECT_TRUE(seen.insert(t->id).second);
  }
  EXPECT_EQ(seen.count(0), 0u);
  EXPECT_EQ(*seen.rbegin(), 255);
  EXPECT_EQ(tags->acquire(tag_kind::asid).code(), errc::exhausted);
  EXPECT_TRUE(tags->acquire(tag_kind::vmid).ok()) << "the two spaces are separate";
  EXPECT_TRUE(tags->check_invariants());
}

TEST_F(tag_space_test, sixteen_bit_space_gives_65535_tags) {
  ASSERT_TRUE(tags->configure(16, 16).ok());
  unsigned count = 0;
  while (tags->acquire(tag_kind::asid).ok()) ++count;
  EXPECT_EQ(count, 65535u);
  EXPECT_TRUE(tags->check_invariants());
}

TEST_F(tag_space_test, the_lowest_released_tag_goes_out_next) {
  ASSERT_TRUE(tags->configure(8, 8).ok());
  std::vector<tag> held;
  for (int i = 0; i != 200; ++i) held.push_back(*tags->acquire(tag_kind::asid));
  tags->release(held[150]);
  tags->release(held[70]);
  EXPECT_EQ(tags->acquire(tag_kind::asid)->id, held[70].id);
  EXPECT_EQ(tags->acquire(tag_kind::asid)->id, held[150].id);
  EXPECT_TRUE(tags->check_invariants());
}

TEST_F(tag_space_test, a_retired_tag_is_never_handed_out_again_until_configured_anew) {
  ASSERT_TRUE(tags->configure(8, 8).ok());
  const tag bad = *tags->acquire(tag_kind::asid);
  tags->retire(bad);
  unsigned count = 0;
  while (true) {
    const auto t = tags->acquire(tag_kind::asid);
    if (!t.ok()) break;
    EXPECT_NE(t->id, bad.id);
    ++count;
  }
  EXPECT_EQ(count, 254u);
  EXPECT_EQ(tags->retired(tag_kind::asid), 1u);
  EXPECT_TRUE(tags->check_invariants());
  ASSERT_TRUE(tags->configure(8, 8).ok());
  EXPECT_EQ(tags->acquire(tag_kind::asid)->id, bad.id);
}

TEST_F(tag_space_test, releasing_what_is_not_in_use_is_reported_and_changes_nothing) {
  ASSERT_TRUE(tags->configure(8, 8).ok());
  const tag t = *tags->acquire(tag_kind::asid);
  tags->release(t);
  EXPECT_EQ(lenient_env::violations, 0u);
  tags->release(t);
  EXPECT_EQ(lenient_env::violations, 1u);
  tags->release(tag{tag_kind::asid, 0});
  EXPECT_EQ(lenient_env::violations, 2u);
  tags->retire(tag{tag_kind::vmid, 300});
  EXPECT_EQ(lenient_env::violations, 3u);
  EXPECT_EQ(tags->in_use(tag_kind::asid), 0u);
  EXPECT_TRUE(tags->check_invariants());
}

TEST_F(tag_space_test, a_retired_tag_cannot_be_released_behind_its_back) {
  ASSERT_TRUE(tags->configure(8, 8).ok());
  const tag bad = *tags->acquire(tag_kind::asid);
  const tag other = *tags->acquire(tag_kind::asid);
  tags->retire(bad);
  tags->release(bad);
  EXPECT_EQ(lenient_env::violations, 1u);
  EXPECT_EQ(tags->in_use(tag_kind::asid), 1u);
  tags->release(other);
  EXPECT_EQ(tags->acquire(tag_kind::asid)->id, other.id);
  EXPECT_TRUE(tags->check_invariants());
}

TEST_F(tag_space_test, two_threads_never_hold_the_same_tag) {
  ASSERT_TRUE(tags->configure(8, 8).ok());
  std::vector<std::atomic<int>> owners(256);
  std::atomic<int> clashes{0};
  const auto work = [&] {
    for (int i = 0; i != 3000; ++i) {
      const auto t = tags->acquire(tag_kind::asid);
      if (!t.ok()) continue;
      if (owners[t->id].fetch_add(1) != 0) ++clashes;
      owners[t->id].fetch_sub(1);
      tags->release(*t);
    }
  };
  std::thread a(work), b(work);
  a.join();
  b.join();
  EXPECT_EQ(clashes, 0);
  EXPECT_EQ(tags->in_use(tag_kind::asid), 0u);
  EXPECT_TRUE(tags->check_invariants());
}
