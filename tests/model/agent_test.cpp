// SPDX-License-Identifier: MIT
#include <shootdown/model/agent.hpp>

#include <cstdint>
#include <set>
#include <vector>

#include <gtest/gtest.h>

#include "test_env.hpp"

namespace {
using namespace shootdown;
using namespace shootdown::model;
using device = agent<model_test::test_env>;

std::uint64_t page_of(const device::access& a) { return raw(a.address) >> 12; }

TEST(model_agent, uses_every_page_it_was_told_about_and_no_other) {
  device d{stream_id{3}, {.seed = 9}};
  d.tell(iova{0x10'0000}, 5 * 4096);
  d.tell(iova{0x20'0000}, 1);
  std::set<std::uint64_t> seen;
  for (unsigned i = 0; i != 1000; ++i) {
    const auto a = d.next();
    seen.insert(page_of(a));
    EXPECT_EQ(raw(a.address) % 8, 0u);
  }
  EXPECT_EQ(seen, (std::set<std::uint64_t>{0x100, 0x101, 0x102, 0x103, 0x104, 0x200}));
}

TEST(model_agent, remembers_old_addresses_until_its_ring_is_full) {
  device d{stream_id{3}, {.seed = 9}};
  d.tell(iova{0x5000}, 4096);
  const auto comes_back = [&] {
    for (unsigned i = 0; i != 50'000; ++i)
      if (page_of(d.next()) == 5) return true;
    return false;
  };
  for (unsigned i = 1; i != device::capacity; ++i) d.tell(iova{0x100'0000}, 4096);
  EXPECT_TRUE(comes_back());
  d.tell(iova{0x100'0000}, 4096);
  EXPECT_FALSE(comes_back());
  EXPECT_EQ(d.told(), device::capacity + 1);
}

TEST(model_agent, half_of_its_accesses_go_to_what_it_was_told_last) {
  device d{stream_id{3}, {.seed = 9}};
  for (unsigned i = 0; i != 500; ++i) d.tell(iova{0x100'0000}, 4096);
  for (unsigned i = 0; i != 8; ++i) d.tell(iova{0x5000}, 4096);
  unsigned recent = 0;
  for (unsigned i = 0; i != 10'000; ++i) recent += page_of(d.next()) == 5;
  EXPECT_GT(recent, 4500u);
  EXPECT_LT(recent, 5700u);
}

TEST(model_agent, reads_and_writes_in_the_share_asked_for) {
  for (const unsigned percent : {0u, 25u, 100u}) {
    device d{stream_id{3}, {.seed = 9, .write_percent = percent}};
    d.tell(iova{0x5000}, 4096);
    unsigned writes = 0;
    for (unsigned i = 0; i != 10'000; ++i) writes += d.next().want.write;
    EXPECT_GE(writes, percent * 100 - percent * 4);
    EXPECT_LE(writes, percent * 100 + (100 - percent) * 4 * (percent != 0));
  }
}

TEST(model_agent, the_seed_and_the_stream_decide_the_sequence) {
  const auto sequence = [](std::uint32_t sid, std::uint64_t seed) {
    device d{stream_id{sid}, {.seed = seed}};
    d.tell(iova{0}, 1u << 20);
    std::vector<std::uint64_t> v;
    for (unsigned i = 0; i != 32; ++i) v.push_back(raw(d.next().address));
    return v;
  };
  EXPECT_EQ(sequence(1, 5), sequence(1, 5));
  EXPECT_NE(sequence(1, 5), sequence(2, 5));
  EXPECT_NE(sequence(1, 5), sequence(1, 6));
}

}  // namespace
