// SPDX-License-Identifier: MIT
#include <shootdown/model/memory.hpp>

#include <cstdint>
#include <map>
#include <set>

#include <gtest/gtest.h>

#include <shootdown/model/random.hpp>

#include "test_env.hpp"

namespace {
using namespace shootdown;
using model_test::test_env;
using arena = model::memory<test_env>;
constexpr bus_addr base{0x8000'0000};

struct memory : testing::Test {
  memory() { test_env::failures.clear(); }
  arena m{base, 1 << 20};
};

TEST_F(memory, an_allocation_is_zeroed_and_aligned_on_the_bus) {
  for (const std::size_t align : {std::size_t{8}, std::size_t{64}, std::size_t{4096}, std::size_t{65536}}) {
    const auto s = m.allocate_dma(24, align);
    ASSERT_TRUE(s);
    EXPECT_EQ(raw(s.bus) % align, 0u);
    EXPECT_EQ(s.words, 3u);
    for (std::size_t i = 0; i != s.words; ++i) EXPECT_EQ(s.cpu[i].load(std::memory_order_relaxed), 0u);
    EXPECT_EQ(m.cpu(s.bus), s.cpu);
    EXPECT_EQ(m.bus(s.cpu + 2), bus_addr{raw(s.bus) + 16});
  }
  EXPECT_TRUE(m.check_invariants());
}

TEST_F(memory, released_memory_reads_as_poison_and_is_zeroed_again_when_it_is_reused) {
  auto s = m.allocate_dma(4096, 4096);
  s.cpu[7].store(1, std::memory_order_relaxed);
  m.release(s);
  EXPECT_EQ(m.load64(bus_addr{raw(s.bus) + 56}).value(), model::memory_poison);
  const auto again = m.allocate_dma(4096, 4096);
  EXPECT_EQ(again.bus, s.bus);
  EXPECT_EQ(m.load64(bus_addr{raw(s.bus) + 56}).value(), 0u);
}

TEST_F(memory, device_accesses_outside_the_arena_or_misaligned_are_refused) {
  EXPECT_EQ(m.load64(bus_addr{raw(base) - 8}).code(), errc::out_of_range);
  EXPECT_EQ(m.load64(bus_addr{raw(base) + (1 << 20)}).code(), errc::out_of_range);
  EXPECT_TRUE(m.load64(bus_addr{raw(base) + (1 << 20) - 8}).ok());
  EXPECT_EQ(m.load64(bus_addr{raw(base) + 4}).code(), errc::misaligned);
  EXPECT_EQ(m.store64(bus_addr{0}, 1).code(), errc::out_of_range);
  EXPECT_EQ(m.store_low32(bus_addr{raw(base) + 2}, 1).code(), errc::misaligned);
  EXPECT_EQ(m.cpu(bus_addr{raw(base) + 3}), nullptr);
}

TEST_F(memory, an_msi_write_replaces_the_low_half_only) {
  const auto s = m.allocate_dma(8, 8);
  ASSERT_TRUE(m.store64(s.bus, 0x1111'2222'3333'4444u).ok());
  ASSERT_TRUE(m.store_low32(s.bus, 0xaaaa'bbbbu).ok());
  EXPECT_EQ(s.cpu->load(std::memory_order_acquire), 0x1111'2222'aaaa'bbbbu);
}

TEST_F(memory, an_abort_window_fails_device_accesses_until_it_is_closed) {
  const auto s = m.allocate_dma(64, 64);
  m.abort_window(bus_addr{raw(s.bus) + 16}, 8);
  EXPECT_TRUE(m.load64(bus_addr{raw(s.bus) + 8}).ok());
  EXPECT_EQ(m.load64(bus_addr{raw(s.bus) + 16}).code(), errc::out_of_range);
  EXPECT_EQ(m.store_low32(bus_addr{raw(s.bus) + 16}, 0).code(), errc::out_of_range);
  EXPECT_TRUE(m.load64(bus_addr{raw(s.bus) + 24}).ok());
  m.abort_window(bus_addr{0}, 0);
  EXPECT_TRUE(m.load64(bus_addr{raw(s.bus) + 16}).ok());
}

TEST_F(memory, malformed_requests_give_an_empty_span) {
  EXPECT_FALSE(m.allocate_dma(0, 8));
  EXPECT_FALSE(m.allocate_dma(12, 8));
  EXPECT_FALSE(m.allocate_dma(8, 3));
  EXPECT_FALSE(m.allocate_dma((1 << 20) + 8, 8));
  EXPECT_EQ(m.free_bytes(), std::size_t{1} << 20);
}

TEST_F(memory, double_and_foreign_releases_are_contract_violations_that_change_nothing) {
  const auto s = m.allocate_dma(4096, 8);
  m.release(s);
  m.release(s);
  EXPECT_EQ(test_env::failures.size(), 1u);
  typename test_env::dma_word foreign;
  m.release({&foreign, 1, bus_addr{0}});
  EXPECT_EQ(test_env::failures.size(), 2u);
  EXPECT_EQ(m.free_bytes(), std::size_t{1} << 20);
  EXPECT_TRUE(m.check_invariants());
}

TEST_F(memory, random_allocation_keeps_spans_disjoint_and_returns_every_byte) {
  model::prng chance{11};
  std::map<std::uint64_t, dma_span<test_env>> live;
  for (unsigned turn = 0; turn != 2000; ++turn) {
    if (live.size() < 40 && chance.below(2) == 0) {
      const auto s = m.allocate_dma(8 * (1 + chance.below(1024)), std::size_t{8} << chance.below(10));
      if (!s) continue;
      const auto next = live.lower_bound(raw(s.bus));
      if (next != live.end()) {
        ASSERT_LE(raw(s.bus) + s.words * 8, next->first);
      }
      if (next != live.begin()) {
        ASSERT_LE(std::prev(next)->first + std::prev(next)->second.words * 8, raw(s.bus));
      }
      live.emplace(raw(s.bus), s);
    } else if (!live.empty()) {
      auto it = live.begin();
      std::advance(it, static_cast<long>(chance.below(live.size())));
      m.release(it->second);
      live.erase(it);
    }
    ASSERT_TRUE(m.check_invariants());
  }
  for (auto& [at, s] : live) m.release(s);
  EXPECT_EQ(m.free_bytes(), std::size_t{1} << 20);
  EXPECT_TRUE(test_env::failures.empty());
}

}  // namespace
