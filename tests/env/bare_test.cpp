// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <shootdown/env/bare.hpp>
#include <shootdown/env/spinlock.hpp>

namespace {

using namespace shootdown;

// A board whose interrupts are calls: `pending` runs as soon as interrupts are on, as a handler would.
struct board {
  static inline std::uint64_t time = 0;
  static inline bool irqs_on = true;
  static inline void (*pending)() = nullptr;
  static inline std::vector<std::string> failures;
  static inline std::vector<std::string> maintenance;
  alignas(64) static inline std::array<std::byte, 1024> arena{};

  static std::uint64_t now_ns() noexcept { return time; }
  static bool irq_save() noexcept {
    const bool was = irqs_on;
    irqs_on = false;
    return was;
  }
  static void irq_restore(bool was) noexcept {
    irqs_on = was;
    if (!was || pending == nullptr) return;
    auto* const handler = pending;
    pending = nullptr;
    irqs_on = false;
    handler();
    irqs_on = true;
  }
  static void fail(const char* text) noexcept { failures.emplace_back(text); }
  static void dma_clean(const void*, std::size_t n) noexcept { maintenance.push_back("clean " + std::to_string(n)); }
  static void dma_invalidate(const void*, std::size_t n) noexcept { maintenance.push_back("invalidate " + std::to_string(n)); }
  static std::span<std::byte> memory() noexcept { return arena; }
};
using env = bare_env<board>;
using rcu = env::rcu;

struct minimal_board {
  static std::uint64_t now_ns() noexcept { return 7; }
  static int irq_save() noexcept { return 0; }
  static void irq_restore(int) noexcept {}
};
struct heap_board : minimal_board {
  static inline std::size_t given_back = 0;
  alignas(64) static inline std::array<std::byte, 64> block{};
  static void* allocate(std::size_t n, std::size_t) noexcept { return n <= block.size() ? block.data() : nullptr; }
  static void deallocate(void*, std::size_t n, std::size_t) noexcept { given_back += n; }
  static inline deadline waited{};
  static void wait_event(deadline d) noexcept { waited = d; }
};
struct boardless {
  static std::uint64_t now_ns() noexcept { return 0; }
};
static_assert(bare_platform<board> && bare_platform<minimal_board> && !bare_platform<boardless> && !bare_platform<int>);
static_assert(require_environment<env>() && require_environment<bare_env<minimal_board>>() && require_environment<bare_env<heap_board>>());

struct object : rcu::head {
  int id{};
};
std::vector<int> freed;
void reclaim(rcu::head* h) noexcept { freed.push_back(static_cast<object*>(h)->id); }

class bare_env_test : public testing::Test {
 protected:
  void SetUp() override {
    board::time = 0;
    board::irqs_on = true;
    board::pending = nullptr;
    board::failures.clear();
    board::maintenance.clear();
    freed.clear();
  }
  void TearDown() override {
    EXPECT_TRUE(board::irqs_on) << "interrupts left off";
    EXPECT_TRUE(rcu::check_invariants());
    EXPECT_EQ(rcu::depth(), 0u);
  }
};

TEST_F(bare_env_test, retire_without_a_guard_runs_the_callback_at_once) {
  object a;
  a.id = 1;
  rcu::retire(a, reclaim);
  EXPECT_EQ(freed, std::vector{1});
}

TEST_F(bare_env_test, retire_under_a_guard_waits_for_the_outermost_one_and_keeps_the_order) {
  std::array<object, 3> o{};
  for (int i = 0; i != 3; ++i) o[static_cast<std::size_t>(i)].id = i;
  {
    const rcu::guard outer;
    rcu::retire(o[0], reclaim);
    {
      const rcu::guard inner;
      rcu::retire(o[1], reclaim);
    }
    EXPECT_TRUE(freed.empty()) << "the inner guard's end is not the last";
    rcu::retire(o[2], reclaim);
    EXPECT_TRUE(freed.empty());
  }
  EXPECT_EQ(freed, (std::vector{0, 1, 2}));
  EXPECT_TRUE(board::failures.empty());
}

object from_handler;
TEST_F(bare_env_test, an_interrupt_handler_that_retires_while_the_main_flow_reads_does_not_free_under_it) {
  from_handler.id = 9;
  {
    const rcu::guard reading;  // its own irq_restore would deliver; so raise it afterwards
    board::pending = [] {
      const rcu::guard handlers_own;
      rcu::retire(from_handler, reclaim);
    };
    { const env::irq_guard deliver; }
    EXPECT_EQ(board::pending, nullptr) << "the handler ran";
    EXPECT_TRUE(freed.empty()) << "freed while the main flow was reading";
  }
  EXPECT_EQ(freed, std::vector{9});
}

TEST_F(bare_env_test, an_interrupt_between_the_last_guards_end_and_the_callbacks_frees_nothing_twice) {
  static object first;
  static object second;
  first = {};
  second = {};
  first.id = 1;
  second.id = 2;
  {
    const rcu::guard reading;
    rcu::retire(first, reclaim);
    board::pending = [] { rcu::retire(second, reclaim); };
    // The next irq_restore is that of the guard's end, when the list has been taken and not yet run.
  }
  EXPECT_EQ(freed, (std::vector{2, 1}));
}

TEST_F(bare_env_test, a_callback_may_take_a_guard_and_retire) {
  static object inner;
  inner = {};
  inner.id = 2;
  object outer;
  outer.id = 1;
  {
    const rcu::guard g;
    rcu::retire(outer, [](rcu::head* h) noexcept {
      {
        const rcu::guard nested;
        rcu::retire(inner, reclaim);
      }
      reclaim(h);
    });
  }
  EXPECT_EQ(freed, (std::vector{2, 1}));
}

TEST_F(bare_env_test, waiting_inside_a_guard_is_reported_and_outside_it_is_nothing) {
  rcu::synchronize();
  rcu::drain();
  rcu::quiescent();
  EXPECT_TRUE(board::failures.empty());
  {
    const rcu::guard g;
    rcu::synchronize();
    rcu::drain();
  }
  EXPECT_EQ(board::failures.size(), 2u);
}

TEST_F(bare_env_test, publish_and_dereference_carry_the_pointer) {
  env::atomic<object*> slot;
  object o;
  EXPECT_EQ(rcu::dereference(slot), nullptr);
  rcu::publish(slot, &o);
  EXPECT_EQ(rcu::dereference(slot), &o);
  rcu::publish(slot, nullptr);
  EXPECT_EQ(rcu::dereference(slot), nullptr);
}

TEST_F(bare_env_test, irq_guards_nest_and_restore_what_was) {
  {
    const env::irq_guard outer;
    EXPECT_FALSE(board::irqs_on);
    { const env::irq_guard inner; }
    EXPECT_FALSE(board::irqs_on) << "the inner guard switched interrupts on under the outer one";
  }
  EXPECT_TRUE(board::irqs_on);
}

TEST_F(bare_env_test, locking_a_held_mutex_is_reported_instead_of_hanging) {
  env::mutex m;
  m.lock();
  EXPECT_TRUE(board::failures.empty());
  m.lock();
  EXPECT_EQ(board::failures.size(), 1u);
  m.unlock();
}

TEST_F(bare_env_test, memory_comes_from_the_boards_arena_and_runs_out_cleanly) {
  void* const all = env::allocate(1024, 16);
  ASSERT_NE(all, nullptr);
  EXPECT_EQ(env::allocate(1, 1), nullptr);
  env::deallocate(all, 1024, 16);
  void* const again = env::allocate(100, 64);
  EXPECT_NE(again, nullptr);
  env::deallocate(again, 100, 64);
  EXPECT_EQ(bare_env<minimal_board>::allocate(1, 1), nullptr);
}

TEST_F(bare_env_test, a_boards_own_heap_and_event_wait_are_used_when_they_exist) {
  using with_heap = bare_env<heap_board>;
  void* const p = with_heap::allocate(64, 1);
  EXPECT_EQ(p, heap_board::block.data());
  EXPECT_EQ(with_heap::allocate(65, 1), nullptr);
  with_heap::deallocate(p, 64, 1);
  EXPECT_EQ(heap_board::given_back, 64u);
  with_heap::wait_event(deadline{instant{123}});
  EXPECT_EQ(since_epoch(heap_board::waited.at), 123u);
}

TEST_F(bare_env_test, cache_maintenance_goes_to_the_board) {
  std::array<std::byte, 32> bytes{};
  env::dma_publish(bytes.data(), 32);
  env::dma_observe(bytes.data(), 16);
  EXPECT_EQ(board::maintenance, (std::vector<std::string>{"clean 32", "invalidate 16"}));
  bare_env<minimal_board>::dma_publish(bytes.data(), 32);
  bare_env<minimal_board>::dma_observe(bytes.data(), 32);
  env::full_fence();
}

TEST_F(bare_env_test, time_is_the_boards) {
  board::time = 1234;
  EXPECT_EQ(since_epoch(env::now()), 1234u);
  EXPECT_EQ(env::cpu(), 0u);
}

TEST_F(bare_env_test, spinlock_gives_up_at_its_deadline) {
  spinlock<env> lock;
  ASSERT_TRUE(lock.try_lock());
  EXPECT_FALSE(lock.try_lock());
  board::time = 50;
  EXPECT_FALSE(lock.lock_until(deadline{instant{50}}));
  lock.unlock();
  EXPECT_TRUE(lock.lock_until(deadline{instant{0}})) << "a free lock is taken even when the deadline has passed";
  EXPECT_TRUE(lock.check_invariants());
  lock.unlock();
}

using bare_env_death_test = bare_env_test;
TEST_F(bare_env_death_test, without_a_hook_a_broken_contract_traps) {
  EXPECT_DEATH(bare_env<minimal_board>::fail("no hook"), "");
}

}  // namespace
