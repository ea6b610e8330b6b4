// SPDX-License-Identifier: MIT
#include <shootdown/model/transaction_table.hpp>

#include <cstdint>
#include <map>

#include <gtest/gtest.h>

#include <shootdown/model/coverage.hpp>
#include <shootdown/model/random.hpp>

namespace {
using namespace shootdown;
using namespace shootdown::model;

translation resting_on(std::initializer_list<std::uint64_t> ids) {
  translation t{};
  for (const std::uint64_t i : ids) t.rests_on(entry_id{i});
  return t;
}

TEST(transaction_table, a_removed_entry_binds_exactly_those_that_rest_on_it) {
  transaction_table t{4};
  const auto a = t.add(stream_id{1}, iova{0}, request::load(), resting_on({1, 2}));
  const auto b = t.add(stream_id{1}, iova{0}, request::load(), resting_on({2, 3}));
  const auto c = t.add(stream_id{1}, iova{0}, request::load(), resting_on({4}));
  t.removed(entry_id{3});
  t.removed(entry_id{3});
  EXPECT_EQ(t.must_land(), 1u);
  EXPECT_TRUE(t.find(b)->must_land);
  t.removed(entry_id{2});
  EXPECT_EQ(t.must_land(), 2u);
  EXPECT_TRUE(t.find(a)->must_land);
  EXPECT_FALSE(t.find(c)->must_land);
  (void)t.take(b);
  EXPECT_EQ(t.must_land(), 1u);
  EXPECT_TRUE(t.check_invariants());
}

TEST(transaction_table, an_id_is_stale_once_it_was_taken_even_if_the_slot_is_used_again) {
  transaction_table t{1};
  const auto a = t.add(stream_id{1}, iova{0}, request::load(), {});
  EXPECT_TRUE(t.full());
  (void)t.take(a);
  EXPECT_EQ(t.find(a), nullptr);
  const auto b = t.add(stream_id{1}, iova{0}, request::load(), {});
  EXPECT_EQ(t.find(a), nullptr);
  EXPECT_NE(t.find(b), nullptr);
  EXPECT_EQ(t.find({}), nullptr);
}

TEST(transaction_table, random_use_agrees_with_a_map) {
  transaction_table t{16};
  std::map<std::uint64_t, transaction_id> live;
  prng chance{3};
  std::uint64_t next = 0;
  for (unsigned turn = 0; turn != 5000; ++turn) {
    if (!t.full() && chance.below(2) == 0) {
      live.emplace(next, t.add(stream_id{1}, iova{next}, request::load(), {}));
      ++next;
    } else if (!live.empty()) {
      auto it = live.begin();
      std::advance(it, static_cast<long>(chance.below(live.size())));
      ASSERT_NE(t.find(it->second), nullptr);
      EXPECT_EQ(t.take(it->second).address, iova{it->first});
      live.erase(it);
    }
    ASSERT_EQ(t.size(), live.size());
    ASSERT_TRUE(t.check_invariants());
  }
}

scope pages(std::uint16_t as, std::uint64_t first, std::uint64_t last) {
  scope s{};
  s.what = scope::extent::addresses;
  s.as = as;
  s.first = first << 12;
  s.last = (last << 12) | 0xfff;
  return s;
}

TEST(coverage, counts_overlaps_once_and_tags_apart) {
  coverage c;
  EXPECT_EQ(c.flush(), 0u);
  c.add(pages(1, 10, 19));
  c.add(pages(1, 0, 4));
  c.add(pages(1, 15, 24));
  c.add(pages(1, 16, 17));
  c.add(pages(2, 10, 19));
  EXPECT_EQ(c.flush(), 5u + 15u + 10u);
  EXPECT_EQ(c.flush(), 0u);
}

TEST(coverage, holds_the_whole_address_space) {
  coverage c;
  c.add(pages(1, 0, (std::uint64_t{1} << 52) - 1));
  c.add(pages(1, (std::uint64_t{1} << 52) - 1, (std::uint64_t{1} << 52) - 1));
  EXPECT_EQ(c.flush(), std::uint64_t{1} << 52);
}

TEST(coverage, commands_without_addresses_do_not_count) {
  coverage c;
  scope s = pages(1, 0, 9);
  s.what = scope::extent::asid;
  c.add(s);
  EXPECT_EQ(c.flush(), 0u);
}

}  // namespace
