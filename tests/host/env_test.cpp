// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <thread>
#include <vector>

#include <shootdown/host/env.hpp>
#include <shootdown/host/fault_env.hpp>

namespace {

using namespace shootdown;
constexpr auto relaxed = std::memory_order_relaxed;

TEST(host_env, allocates_what_was_asked_at_the_alignment_asked) {
  for (std::size_t align = 1; align <= 65536; align *= 4)
    for (const std::size_t bytes : {std::size_t{0}, std::size_t{1}, std::size_t{4096}, std::size_t{100'000}}) {
      void* const p = host::env::allocate(bytes, align);
      ASSERT_NE(p, nullptr);
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(p) % align, 0u);
      std::memset(p, 0xa5, bytes);
      host::env::deallocate(p, bytes, align);
    }
  host::env::deallocate(nullptr, 8, 8);
}

TEST(host_env, too_much_memory_is_a_null_and_not_an_exception) {
#if !SHOOTDOWN_ASAN && !SHOOTDOWN_TSAN  // their allocators stop the program instead
  EXPECT_EQ(host::env::allocate(std::size_t{1} << 62, 64), nullptr);
#endif
}

TEST(host_env, time_does_not_go_back_and_waits_return) {
  instant last = host::env::now();
  for (int i = 0; i != 200; ++i) {
    host::env::relax();
    host::env::wait_event(deadline::never());
    const instant now = host::env::now();
    EXPECT_GE(since_epoch(now), since_epoch(last));
    last = now;
  }
}

TEST(host_env, mutex_excludes) {
  host::env::mutex m;
  int plain = 0;
  std::vector<std::thread> all;
  for (int t = 0; t != 3; ++t)
    all.emplace_back([&] {
      for (int i = 0; i != 1000; ++i) {
        m.lock();
        ++plain;
        m.unlock();
      }
    });
  for (auto& t : all) t.join();
  EXPECT_EQ(plain, 3000);
  EXPECT_TRUE(m.try_lock());
  m.unlock();
}

TEST(host_env_death_test, a_broken_contract_prints_its_text_and_aborts) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(host::env::fail("double detach"), "contract violated: double detach");
}

struct here;
using faulty = host::fault_env<host::env, here>;

TEST(fault_env, memory_runs_out_after_the_given_number_of_allocations) {
  faulty::reset();
  faulty::fail_after(2);
  void* const a = faulty::allocate(8, 8);
  void* const b = faulty::allocate(8, 8);
  EXPECT_NE(a, nullptr);
  EXPECT_NE(b, nullptr);
  EXPECT_EQ(faulty::allocate(8, 8), nullptr);
  EXPECT_EQ(faulty::allocate(8, 8), nullptr);
  EXPECT_EQ(faulty::live(), 2);
  faulty::allow_all();
  void* const c = faulty::allocate(8, 8);
  EXPECT_NE(c, nullptr);
  for (void* const p : {a, b, c}) faulty::deallocate(p, 8, 8);
  faulty::deallocate(nullptr, 8, 8);
  EXPECT_EQ(faulty::live(), 0);
}

TEST(fault_env, counts_contract_violations_and_keeps_the_first_text) {
  faulty::reset();
  EXPECT_EQ(faulty::failures(), 0u);
  EXPECT_EQ(faulty::first_failure(), nullptr);
  faulty::fail("first");
  faulty::fail("second");
  EXPECT_EQ(faulty::failures(), 2u);
  EXPECT_STREQ(faulty::first_failure(), "first");
  faulty::reset();
  EXPECT_EQ(faulty::failures(), 0u);
  EXPECT_EQ(host::fault_env<>::failures(), 0u) << "another tag, another state";
}

TEST(fault_env, threads_share_one_budget_exactly) {
  faulty::reset();
  faulty::fail_after(1000);
  std::atomic<int> got{0};
  std::vector<std::thread> all;
  for (int t = 0; t != 4; ++t)
    all.emplace_back([&] {
      for (int i = 0; i != 400; ++i)
        if (void* const p = faulty::allocate(1, 1)) {
          got.fetch_add(1, relaxed);
          faulty::deallocate(p, 1, 1);
        }
    });
  for (auto& t : all) t.join();
  EXPECT_EQ(got.load(relaxed), 1000);
  EXPECT_EQ(faulty::live(), 0);
  faulty::reset();
}

}  // namespace
