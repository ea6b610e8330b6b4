// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>

#include <sys/wait.h>

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

#include <shootdown/host/env.hpp>

namespace {

using namespace shootdown;
using host::rcu;
using host::thread_scope;

constexpr std::uint64_t alive = 0x600dc0ffee;

struct object : rcu::head {
  std::uint64_t canary{alive};
  std::uint64_t number{};
};

// What a callback leaves behind: plain counters, read after drain.
std::uint64_t freed_count = 0;
std::uint64_t freed_sum = 0;
void destroy(rcu::head* h) noexcept {
  auto* const o = static_cast<object*>(h);
  ++freed_count;
  freed_sum += o->number;
  o->canary = 0;  // a reader that still looks sees it, and ThreadSanitizer sees the race
  delete o;
}

class host_rcu : public testing::Test {
 protected:
  void SetUp() override { freed_count = freed_sum = 0; }
  thread_scope scope_;
};

TEST_F(host_rcu, readers_never_see_a_reclaimed_object_and_every_callback_runs_once) {
  constexpr std::uint64_t updates = 1500;
  host::env::atomic<object*> slot{new object};
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> dead{0};
  std::atomic<std::uint64_t> went_back{0};
  std::atomic<int> reading{0};
  std::vector<std::thread> readers;
  for (int r = 0; r != 2; ++r)
    readers.emplace_back([&] {
      const thread_scope scope;
      std::uint64_t last = 0;
      reading.fetch_add(1, std::memory_order_relaxed);
      while (!stop.load(std::memory_order_relaxed)) {
        for (int burst = 0; burst != 16; ++burst) {
          const rcu::guard outer;
          const rcu::guard inner;
          const object* const o = rcu::dereference(slot);
          if (o->canary != alive) dead.fetch_add(1, std::memory_order_relaxed);
          if (o->number < last) went_back.fetch_add(1, std::memory_order_relaxed);
          last = o->number;
        }
        std::this_thread::yield();
      }
    });
  while (reading.load(std::memory_order_relaxed) != 2) std::this_thread::yield();
  for (std::uint64_t n = 1; n <= updates; ++n) {
    auto* const fresh = new object;
    fresh->number = n;
    object* const old = rcu::dereference(slot);
    rcu::publish(slot, fresh);
    rcu::retire(*old, destroy);
    if (n % 64 == 0) std::this_thread::yield();
  }
  stop.store(true, std::memory_order_relaxed);
  for (auto& t : readers) t.join();
  rcu::drain();
  EXPECT_EQ(freed_count, updates);
  EXPECT_EQ(freed_sum, updates * (updates - 1) / 2);
  EXPECT_EQ(dead.load(std::memory_order_relaxed), 0u);
  EXPECT_EQ(went_back.load(std::memory_order_relaxed), 0u);
  delete rcu::dereference(slot);
}

TEST_F(host_rcu, synchronize_lets_the_updater_reuse_the_object) {
  host::env::atomic<object*> slot;
  object a;
  object b;
  rcu::publish(slot, &a);
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> torn{0};
  std::atomic<std::uint64_t> looks{0};
  std::thread reader{[&] {
    const thread_scope scope;
    while (!stop.load(std::memory_order_relaxed)) {
      {
        const rcu::guard g;
        const object* const o = rcu::dereference(slot);
        if (o->canary != alive + o->number) torn.fetch_add(1, std::memory_order_relaxed);
      }
      looks.fetch_add(1, std::memory_order_relaxed);
      std::this_thread::yield();
    }
  }};
  while (looks.load(std::memory_order_relaxed) == 0) std::this_thread::yield();
  object* current = &a;
  for (std::uint64_t n = 1; n != 100; ++n) {
    object* const other = current == &a ? &b : &a;
    other->number = n;  // plain writes: nobody reads it after the synchronize of the last turn
    other->canary = alive + n;
    rcu::publish(slot, other);
    rcu::synchronize();
    current->canary = 1;
    current = other;
  }
  stop.store(true, std::memory_order_relaxed);
  reader.join();
  EXPECT_EQ(torn.load(std::memory_order_relaxed), 0u);
}

TEST_F(host_rcu, retire_does_not_wait_for_a_reader_and_the_callback_does) {
  // The reader ends its section only after retire has returned: a retire that waited would hang here.
  std::atomic<bool> inside{false};
  std::atomic<bool> leave{false};
  static std::atomic<bool> called{false};
  called.store(false);
  struct watched : rcu::head {};
  static watched w;
  std::thread reader{[&] {
    const thread_scope scope;
    const rcu::guard g;
    inside.store(true);
    while (!leave.load()) std::this_thread::yield();
    EXPECT_FALSE(called.load()) << "the callback overtook a guard that existed at retire";
  }};
  while (!inside.load()) std::this_thread::yield();
  rcu::retire(w, [](rcu::head*) noexcept { called.store(true); });
  EXPECT_FALSE(called.load());
  leave.store(true);
  reader.join();
  rcu::drain();
  EXPECT_TRUE(called.load());
}

TEST_F(host_rcu, drain_waits_for_every_callback_retired_before) {
  for (int round = 0; round != 3; ++round) {
    freed_count = 0;
    for (int i = 0; i != 500; ++i) rcu::retire(*new object, destroy);
    rcu::drain();
    EXPECT_EQ(freed_count, 500u);
  }
}

TEST_F(host_rcu, retire_works_inside_a_guard_and_callbacks_may_take_guards_and_retire) {
  static bool second_ran;
  second_ran = false;
  {
    const rcu::guard g;
    rcu::retire(*new object, [](rcu::head* h) noexcept {
      const rcu::guard on_the_worker;
      rcu::retire(*h, [](rcu::head* again) noexcept {
        second_ran = true;
        delete static_cast<object*>(again);
      });
    });
  }
  rcu::drain();  // the first callback
  rcu::drain();  // the one it retired
  EXPECT_TRUE(second_ran);
}

TEST(host_thread_scope, nests_and_only_the_outermost_unregisters) {
  EXPECT_FALSE(thread_scope::registered());
  {
    const thread_scope outer;
    EXPECT_TRUE(thread_scope::registered());
    { const thread_scope inner; }
    EXPECT_TRUE(thread_scope::registered());
    const rcu::guard still_works;
    thread_scope::quiescent();
  }
  EXPECT_FALSE(thread_scope::registered());
  std::thread{[] { EXPECT_FALSE(thread_scope::registered()); }}.join();
  { const thread_scope again; }
  EXPECT_FALSE(thread_scope::registered());
}

#if !SHOOTDOWN_TSAN  // the tool's own handling of abort only slows these down
TEST(host_rcu_death_test, misuse_ends_the_process_with_its_reason) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH({ const rcu::guard g; }, "without a host::thread_scope");
  EXPECT_DEATH({ object o; rcu::retire(o, destroy); }, "without a host::thread_scope");
  EXPECT_DEATH(
      {
        const thread_scope s;
        const rcu::guard g;
        rcu::synchronize();
      },
      "inside a guard");
  EXPECT_DEATH(
      {
        const thread_scope s;
        const rcu::guard g;
        rcu::drain();
      },
      "inside a guard");
  EXPECT_DEATH(
      {
        const thread_scope s;
        object o;
        rcu::retire(o, [](rcu::head*) noexcept { rcu::synchronize(); });
        rcu::drain();
      },
      "inside a guard or a callback");
}
#endif

#if SHOOTDOWN_TSAN
// Does ThreadSanitizer still see what the annotations must not hide? One reader looks at an object under a guard, ends the
// guard and tells so by a relaxed flag, which orders nothing; then the updater writes to it, with or without a grace period.
enum class grace { none, synchronize, retire };
void update_after_reader(grace how) {
  const thread_scope scope;
  struct watched : rcu::head {
    volatile std::uint64_t number{};  // volatile: the optimiser must not find out that nobody uses it
  };
  static watched o;
  static std::atomic<int> step{0};
  std::thread reader{[] {
    const thread_scope readers_scope;
    {
      const rcu::guard g;
      (void)o.number;
    }
    step.store(1, std::memory_order_relaxed);
    while (step.load(std::memory_order_relaxed) != 2) std::this_thread::yield();
  }};
  while (step.load(std::memory_order_relaxed) != 1) std::this_thread::yield();
  if (how == grace::synchronize) rcu::synchronize();
  if (how == grace::retire) rcu::retire(o, [](rcu::head* h) noexcept { static_cast<watched*>(h)->number = 1; });
  else o.number = 1;
  step.store(2, std::memory_order_relaxed);
  reader.join();
  rcu::drain();
  std::exit(0);  // ThreadSanitizer turns it into its own code when it has reported
}
bool reported(int status) { return WIFEXITED(status) && WEXITSTATUS(status) != 0; }

TEST(host_rcu_tsan_death_test, a_write_without_a_grace_period_is_reported) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(update_after_reader(grace::none), reported, "data race");
}
TEST(host_rcu_tsan_death_test, a_write_after_synchronize_or_in_a_callback_is_not) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(update_after_reader(grace::synchronize), testing::ExitedWithCode(0), "");
  EXPECT_EXIT(update_after_reader(grace::retire), testing::ExitedWithCode(0), "");
}
#endif

}  // namespace
