// SPDX-License-Identifier: MIT
#include <shootdown/table/page_pool.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <memory>
#include <set>
#include <thread>
#include <vector>

#include <support/table_env.hpp>

namespace {

using namespace shootdown;
using table_test::arena;
using table_test::env;

TEST(page_pool, hands_out_every_page_once_zeroed_and_then_none) {
  arena<> a{5};
  for (std::size_t i = 0; i < 5 * 512; ++i) a.words[i].store(~std::uint64_t{0}, std::memory_order_relaxed);  // S1 relaxed: one thread
  std::set<std::uint64_t> seen;
  for (int i = 0; i < 5; ++i) {
    const auto page = a.pool.allocate();
    ASSERT_TRUE(page);
    EXPECT_EQ(raw(page.bus) % table::page_bytes, 0u);
    EXPECT_TRUE(seen.insert(raw(page.bus)).second);
    for (std::size_t w = 0; w < table::page_words; ++w) ASSERT_EQ(a.word(raw(page.bus) + w * 8), 0u);
  }
  EXPECT_FALSE(a.pool.allocate());
  EXPECT_EQ(a.pool.available(), 0u);
  EXPECT_TRUE(a.pool.check_invariants());
}

TEST(page_pool, a_freed_page_comes_back_zeroed_with_fresh_bookkeeping) {
  arena<> a{1};
  auto page = a.pool.allocate();
  page.cpu[511].store(7, std::memory_order_relaxed);  // S2 relaxed: one thread
  page.meta->live = 3;
  page.meta->held = true;
  a.pool.free(*page.meta);
  page = a.pool.allocate();
  ASSERT_TRUE(page);
  EXPECT_EQ(a.word(raw(page.bus) + 511 * 8), 0u);
  EXPECT_EQ(page.meta->live, 0u);
  EXPECT_FALSE(page.meta->held);
}

TEST(page_pool, finds_pages_by_bus_address_and_nothing_else) {
  arena<> a{3};
  const std::uint64_t base = arena<>::base;
  EXPECT_EQ(a.pool.at(bus_addr{base}).cpu, &a.words[0]);
  EXPECT_EQ(a.pool.at(bus_addr{base + 0x2000}).meta, &a.meta[2]);
  EXPECT_EQ(raw(a.pool.at(a.meta[1]).bus), base + 0x1000);
  EXPECT_FALSE(a.pool.at(bus_addr{base + 0x3000}));
  EXPECT_FALSE(a.pool.at(bus_addr{base - 0x1000}));
  EXPECT_FALSE(a.pool.at(bus_addr{base + 8}));
  EXPECT_FALSE(a.pool.at(bus_addr{0}));
}

TEST(page_pool, a_page_freed_twice_or_from_elsewhere_is_reported_and_changes_nothing) {
  arena<> a{2};
  arena<> b{2};
  const auto page = a.pool.allocate();
  const auto other = b.pool.allocate();
  a.pool.free(*page.meta);
  EXPECT_EQ(env::take_failures(), 0u);
  a.pool.free(*page.meta);
  EXPECT_EQ(env::take_failures(), 1u);
  a.pool.free(*other.meta);
  EXPECT_EQ(env::take_failures(), 1u);
  EXPECT_EQ(a.pool.available(), 2u);
  EXPECT_EQ(b.pool.available(), 1u);
  EXPECT_EQ(a.book.freed_times.size(), 1u);
  EXPECT_TRUE(a.pool.check_invariants());
  EXPECT_TRUE(b.pool.check_invariants());
}

TEST(page_pool, refuses_memory_that_cannot_hold_tables) {
  const auto words = std::make_unique<env::dma_word[]>(2 * 512);
  std::vector<table::page_meta> meta(2);
  using pool = table::page_pool<env>;
  const auto span = [&](std::size_t n, std::uint64_t bus) { return dma_span<env>{words.get(), n, bus_addr{bus}}; };
  EXPECT_TRUE(pool::check(span(1024, 0x1000), meta).ok());
  EXPECT_TRUE(pool::check(span(1024, 0xffff'ffff'e000), meta).ok());
  EXPECT_EQ(pool::check(span(1024, 0x1008), meta).code(), errc::misaligned);
  EXPECT_EQ(pool::check(span(1000, 0x1000), meta).code(), errc::misaligned);
  EXPECT_EQ(pool::check(span(0, 0x1000), meta).code(), errc::empty_range);
  EXPECT_EQ(pool::check({}, meta).code(), errc::empty_range);
  EXPECT_EQ(pool::check(span(1024, 0xffff'ffff'f000), meta).code(), errc::out_of_range);
  EXPECT_EQ(pool::check(span(1024, 0x1000), std::span{meta}.first(1)).code(), errc::out_of_range);

  pool broken{span(1024, 0x1008), meta};
  EXPECT_EQ(env::take_failures(), 1u);
  EXPECT_EQ(broken.capacity(), 0u);
  EXPECT_FALSE(broken.allocate());
  EXPECT_TRUE(broken.check_invariants());
}

TEST(page_pool, invariants_notice_a_broken_free_list) {
  arena<> a{4};
  ASSERT_TRUE(a.pool.check_invariants());
  a.meta[2].state = table::page_state::used;  // on the list, but not marked
  EXPECT_FALSE(a.pool.check_invariants());
  a.meta[2].state = table::page_state::pooled;
  held_frame* const next = a.meta[1].next;
  a.meta[1].next = &a.meta[0];  // a cycle
  EXPECT_FALSE(a.pool.check_invariants());
  a.meta[1].next = nullptr;  // cut short
  EXPECT_FALSE(a.pool.check_invariants());
  a.meta[1].next = next;
  EXPECT_TRUE(a.pool.check_invariants());
}

TEST(page_pool, the_observer_sees_a_page_leave_before_anyone_can_have_it_and_return_before_anyone_else_can) {
  arena<> a{1};
  for (int i = 0; i < 10; ++i) {
    const auto page = a.pool.allocate();
    EXPECT_TRUE(a.book.taken.contains(raw(page.bus)));
    EXPECT_FALSE(a.pool.allocate());
    a.pool.free(*page.meta);
    EXPECT_FALSE(a.book.taken.contains(raw(page.bus)));
  }
  EXPECT_EQ(a.book.errors, 0u);
  EXPECT_EQ(a.book.freed_times[arena<>::base], 10u);
}

/// Looks, while it is told, whether somebody else could have the page already.
struct looking_observer {
  const std::function<std::size_t()>* available;
  std::vector<std::size_t>* at_free;
  void allocated(bus_addr) const noexcept {}
  void freed(bus_addr) const noexcept { at_free->push_back((*available)()); }
};

TEST(page_pool, a_page_is_not_to_be_had_while_the_observer_hears_that_it_is_free) {
  const auto words = std::make_unique<env::dma_word[]>(3 * 512);
  std::vector<table::page_meta> meta(3);
  std::function<std::size_t()> available;
  std::vector<std::size_t> at_free;
  const dma_span<env> memory{words.get(), 3 * 512, bus_addr{0x10000}};
  table::page_pool<env, looking_observer> pool{memory, meta, looking_observer{&available, &at_free}};
  available = [&] { return pool.available(); };
  const auto first = pool.allocate(), second = pool.allocate();
  pool.free(*first.meta);
  pool.free(*second.meta);
  EXPECT_EQ(at_free, (std::vector<std::size_t>{1, 2}));
  EXPECT_EQ(pool.available(), 3u);
}

/// Ownership flags per page that threads may touch.
struct shared_book {
  std::vector<std::atomic<int>>* taken;
  std::atomic<int>* errors;
  static std::size_t slot(bus_addr at) { return (raw(at) - 0x10000) / table::page_bytes; }
  void allocated(bus_addr at) const noexcept {
    if ((*taken)[slot(at)].exchange(1, std::memory_order_relaxed) != 0) errors->fetch_add(1, std::memory_order_relaxed);  // S3 S4 relaxed: checks
  }
  void freed(bus_addr at) const noexcept {
    if ((*taken)[slot(at)].exchange(0, std::memory_order_relaxed) != 1) errors->fetch_add(1, std::memory_order_relaxed);  // S5 S6 relaxed: checks
  }
};

TEST(page_pool, several_threads_never_share_a_page) {
  constexpr std::size_t pages = 6;
  const auto words = std::make_unique<env::dma_word[]>(pages * 512);
  std::vector<table::page_meta> meta(pages);
  std::vector<std::atomic<int>> taken(pages);
  std::atomic<int> errors{0};
  table::page_pool<env, shared_book> pool{{words.get(), pages * 512, bus_addr{0x10000}}, meta, {&taken, &errors}};
  const auto work = [&](unsigned id) {
    for (unsigned turn = 0; turn < 400; ++turn) {
      const auto one = pool.allocate();
      const auto two = pool.allocate();
      for (const auto& page : {one, two}) {
        if (!page) continue;
        page.meta->slot = static_cast<std::uint16_t>(id);  // plain data: ThreadSanitizer sees a page that two threads have
        page.cpu[turn % 512].store(id, std::memory_order_relaxed);  // S7 relaxed: the page is this thread's
      }
      for (const auto& page : {one, two}) {
        if (!page) continue;
        if (page.meta->slot != id || page.cpu[turn % 512].load(std::memory_order_relaxed) != id)  // S8 relaxed: the page is this thread's
          errors.fetch_add(1, std::memory_order_relaxed);                                         // S9 relaxed: read after join
        pool.free(*page.meta);
      }
      if (turn % 64 == 0 && !pool.check_invariants()) errors.fetch_add(1, std::memory_order_relaxed);  // S10 relaxed: read after join
    }
  };
  std::vector<std::thread> threads;
  for (unsigned id = 1; id <= 4; ++id) threads.emplace_back(work, id);
  for (auto& t : threads) t.join();
  EXPECT_EQ(errors.load(std::memory_order_relaxed), 0);  // S11 relaxed: after join
  EXPECT_EQ(pool.available(), pages);
  EXPECT_TRUE(pool.check_invariants());
}

}  // namespace
