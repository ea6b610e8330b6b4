// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <thread>
#include <type_traits>

#include <shootdown/env/native.hpp>

namespace {

using namespace shootdown;
constexpr auto relaxed = std::memory_order_relaxed;
constexpr auto acquire = std::memory_order_acquire;
constexpr auto release = std::memory_order_release;
constexpr auto acq_rel = std::memory_order_acq_rel;

TEST(native_dma_word, lies_little_endian_in_memory) {
  native_dma_word w;
  w.store(0x0123456789abcdefu, release);
  std::array<unsigned char, 8> bytes{};
  std::memcpy(bytes.data(), static_cast<const void*>(&w), 8);
  EXPECT_EQ(bytes, (std::array<unsigned char, 8>{0xef, 0xcd, 0xab, 0x89, 0x67, 0x45, 0x23, 0x01}));
  EXPECT_EQ(w.load(acquire), 0x0123456789abcdefu);
}

TEST(native_dma_word, store_low_replaces_the_first_four_bytes_only) {
  native_dma_word w;
  EXPECT_EQ(w.load(relaxed), 0u);
  w.store(0xaaaaaaaabbbbbbbbu, relaxed);
  w.store_low(0x11223344u, release);
  EXPECT_EQ(w.load(acquire), 0xaaaaaaaa11223344u);
  std::array<unsigned char, 8> bytes{};
  std::memcpy(bytes.data(), static_cast<const void*>(&w), 8);
  EXPECT_EQ(bytes[0], 0x44);
  EXPECT_EQ(bytes[3], 0x11);
  EXPECT_EQ(bytes[4], 0xaa);
  w.store_low(0, relaxed);
  EXPECT_EQ(w.load(relaxed), 0xaaaaaaaa00000000u);
}

TEST(native_dma_word, store_low_never_loses_a_whole_store_of_another_thread) {
  // The writer stores n in the high half; low halves come from the other thread. A store_low built of a separate load and
  // store would bring an old high half back.
  native_dma_word w;
  constexpr std::uint32_t turns = 20'000;
  std::atomic<bool> stop{false};
  std::thread low{[&] {
    for (std::uint32_t i = 0; !stop.load(relaxed); ++i) w.store_low(i, release);
  }};
  std::uint32_t lost = 0;
  for (std::uint32_t n = 1; n <= turns; ++n) {
    w.store(std::uint64_t{n} << 32, release);
    if (w.load(acquire) >> 32 != n) ++lost;
  }
  stop.store(true, relaxed);
  low.join();
  EXPECT_EQ(lost, 0u);
  EXPECT_EQ(w.load(relaxed) >> 32, turns);
}

TEST(native_dma_word, little_endian_word_is_its_own_inverse) {
  for (const std::uint64_t v : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{0xfedcba9876543210u}})
    EXPECT_EQ(little_endian_word(little_endian_word(v)), v);
}

template <class T>
class native_atomic_integers : public testing::Test {};
using integers = testing::Types<std::uint32_t, std::uint64_t>;
TYPED_TEST_SUITE(native_atomic_integers, integers);

TYPED_TEST(native_atomic_integers, every_operation_returns_the_old_value_and_stores_the_new_one) {
  using T = TypeParam;
  native_atomic<T> a;
  EXPECT_EQ(a.load(relaxed), T{0});
  a.store(12, release);
  EXPECT_EQ(a.exchange(10, acq_rel), T{12});
  EXPECT_EQ(a.fetch_add(5, relaxed), T{10});
  EXPECT_EQ(a.fetch_sub(3, relaxed), T{15});
  EXPECT_EQ(a.fetch_and(0x6, relaxed), T{12});
  EXPECT_EQ(a.fetch_or(0x3, relaxed), T{4});
  EXPECT_EQ(a.fetch_xor(0x1, relaxed), T{7});
  EXPECT_EQ(a.load(acquire), T{6});
  EXPECT_EQ(a.fetch_sub(7, relaxed), T{6});
  EXPECT_EQ(a.load(acquire), static_cast<T>(~T{0}));
}

TYPED_TEST(native_atomic_integers, a_failed_compare_exchange_reports_what_it_found_and_writes_nothing) {
  using T = TypeParam;
  native_atomic<T> a{T{4}};
  T expected = 5;
  EXPECT_FALSE(a.compare_exchange_strong(expected, 9, acq_rel, acquire));
  EXPECT_EQ(expected, T{4});
  EXPECT_EQ(a.load(relaxed), T{4});
  while (!a.compare_exchange_weak(expected, 9, acq_rel, acquire)) EXPECT_EQ(expected, T{4});
  EXPECT_EQ(a.load(relaxed), T{9});
}

template <class A, class T>
concept loads_without_order = requires(A a) { a.load(); };
template <class A, class T>
concept stores_without_order = requires(A a, T v) { a.store(v); };
template <class A, class T>
concept adds_without_order = requires(A a, T v) { a.fetch_add(v); };
template <class A, class T>
concept swaps_with_one_order = requires(A a, T e, T v) { a.compare_exchange_strong(e, v, std::memory_order_seq_cst); };
template <class A, class T>
concept has_operators = requires(A a, T v) { a = v; } || requires(A a) { ++a; };
template <class A, class T>
concept adds = requires(A a, T v) { a.fetch_add(v, std::memory_order_relaxed); };

template <class A, class T>
consteval bool order_can_be_forgotten() {
  return loads_without_order<A, T> || stores_without_order<A, T> || adds_without_order<A, T> || swaps_with_one_order<A, T> ||
         has_operators<A, T> || std::is_convertible_v<A, T> || std::is_copy_constructible_v<A> || std::is_copy_assignable_v<A>;
}

TEST(native_atomic, no_operation_works_without_an_order) {
  EXPECT_FALSE((order_can_be_forgotten<native_atomic<std::uint32_t>, std::uint32_t>()));
  EXPECT_FALSE((order_can_be_forgotten<native_atomic<int*>, int*>()));
  EXPECT_TRUE((order_can_be_forgotten<std::atomic<std::uint32_t>, std::uint32_t>())) << "the check itself sees it";
  EXPECT_TRUE((adds<native_atomic<std::uint32_t>, std::uint32_t>));
  EXPECT_FALSE((adds<native_atomic<int*>, int*>));
}

template <void (*Fence)() noexcept>
std::uint32_t store_buffering(unsigned rounds) {
  std::atomic<unsigned> x{0};
  std::atomic<unsigned> y{0};
  std::atomic<unsigned> at{0};
  unsigned seen_x = 0;
  unsigned seen_y = 0;
  std::uint32_t both_zero = 0;
  const auto meet = [&](unsigned target) {
    at.fetch_add(1, acq_rel);
    for (unsigned spins = 0; at.load(acquire) < target; ++spins) {
      if (spins % 64 == 63) std::this_thread::yield();
      else native_relax();
    }
  };
  std::thread other{[&] {
    for (unsigned r = 0; r != rounds; ++r) {
      meet(4 * r + 2);
      y.store(1, relaxed);
      Fence();
      seen_x = x.load(relaxed);
      meet(4 * r + 4);
    }
  }};
  for (unsigned r = 0; r != rounds; ++r) {
    x.store(0, relaxed);
    y.store(0, relaxed);
    meet(4 * r + 2);
    x.store(1, relaxed);
    Fence();
    seen_y = y.load(relaxed);
    meet(4 * r + 4);
    if (seen_x == 0 && seen_y == 0) ++both_zero;
  }
  other.join();
  return both_zero;
}

TEST(native_fences, store_load_reordering_is_never_seen_through_a_full_fence) {
  EXPECT_EQ(store_buffering<native_full_fence>(2000), 0u);
  EXPECT_EQ(store_buffering<native_smp_fence>(2000), 0u);
}

}  // namespace
