// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>

#include <sys/wait.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <thread>
#include <type_traits>
#include <vector>

#include <shootdown/host/env.hpp>

#include "host/flavours.hpp"

// Every flavour of liburcu against one contract.
namespace {

using namespace shootdown;
using host_test::join;
constexpr auto relaxed = std::memory_order_relaxed;

constexpr std::uint64_t alive = 0x600dc0ffee;

template <class Rcu>
struct object : Rcu::head {
  std::uint64_t canary{alive};
  std::uint64_t number{};
};

// What a callback leaves behind: plain counters, read after drain.
std::uint64_t freed_count = 0;
std::uint64_t freed_sum = 0;
template <class Rcu>
void destroy(typename Rcu::head* h) noexcept {
  auto* const o = static_cast<object<Rcu>*>(h);
  ++freed_count;
  freed_sum += o->number;
  o->canary = 0;  // a reader that still looks sees it, and ThreadSanitizer sees the race
  delete o;
}

template <class Rcu>
class host_rcu : public testing::Test {
 protected:
  void SetUp() override { freed_count = freed_sum = 0; }
  typename Rcu::thread_scope scope_;
};
TYPED_TEST_SUITE(host_rcu, host_test::flavours, host_test::flavour_name);

TYPED_TEST(host_rcu, readers_never_see_a_reclaimed_object_and_every_callback_runs_once) {
  using rcu = TypeParam;
  using object = ::object<rcu>;
  constexpr std::uint64_t updates = 1500;
  host::env::atomic<object*> slot{new object};
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> dead{0};
  std::atomic<std::uint64_t> went_back{0};
  std::atomic<int> reading{0};
  std::vector<std::thread> readers;
  for (int r = 0; r != 2; ++r)
    readers.emplace_back([&] {
      const typename rcu::thread_scope scope;
      std::uint64_t last = 0;
      reading.fetch_add(1, relaxed);
      while (!stop.load(relaxed)) {
        for (int burst = 0; burst != 16; ++burst) {
          const typename rcu::guard outer;
          const typename rcu::guard inner;
          const object* const o = rcu::dereference(slot);
          if (o->canary != alive) dead.fetch_add(1, relaxed);
          if (o->number < last) went_back.fetch_add(1, relaxed);
          last = o->number;
        }
        rcu::quiescent();
        std::this_thread::yield();
      }
    });
  while (reading.load(relaxed) != 2) std::this_thread::yield();
  for (std::uint64_t n = 1; n <= updates; ++n) {
    auto* const fresh = new object;
    fresh->number = n;
    object* const old = rcu::dereference(slot);
    rcu::publish(slot, fresh);
    rcu::retire(*old, destroy<rcu>);
    rcu::quiescent();
    if (n % 64 == 0) std::this_thread::yield();
    if (n % 500 == 0) rcu::drain();  // reclaims while the readers are at it, however the worker is scheduled
  }
  stop.store(true, relaxed);
  for (auto& t : readers) join<rcu>(t);
  rcu::drain();
  EXPECT_EQ(freed_count, updates);
  EXPECT_EQ(freed_sum, updates * (updates - 1) / 2);
  EXPECT_EQ(dead.load(relaxed), 0u);
  EXPECT_EQ(went_back.load(relaxed), 0u);
  delete rcu::dereference(slot);
}

TYPED_TEST(host_rcu, synchronize_lets_the_updater_reuse_the_object) {
  using rcu = TypeParam;
  using object = ::object<rcu>;
  host::env::atomic<object*> slot;
  object a;
  object b;
  rcu::publish(slot, &a);
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> torn{0};
  std::atomic<std::uint64_t> looks{0};
  std::thread reader{[&] {
    const typename rcu::thread_scope scope;
    while (!stop.load(relaxed)) {
      {
        const typename rcu::guard g;
        const object* const o = rcu::dereference(slot);
        if (o->canary != alive + o->number) torn.fetch_add(1, relaxed);
      }
      rcu::quiescent();
      looks.fetch_add(1, relaxed);
      std::this_thread::yield();
    }
  }};
  while (looks.load(relaxed) == 0) std::this_thread::yield();
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
  stop.store(true, relaxed);
  join<rcu>(reader);
  EXPECT_EQ(torn.load(relaxed), 0u);
}

TYPED_TEST(host_rcu, updaters_and_readers_are_the_same_threads) {
  // Each thread reads all slots, replaces its own and waits: every one is a reader that the others' grace periods wait for.
  using rcu = TypeParam;
  using object = ::object<rcu>;
  constexpr unsigned threads = 3;
  constexpr unsigned turns = 60;
  host::env::atomic<object*> slots[threads];
  for (auto& s : slots) rcu::publish(s, new object);
  std::atomic<std::uint64_t> dead{0};
  std::vector<std::thread> all;
  for (unsigned t = 0; t != threads; ++t)
    all.emplace_back([&, t] {
      const typename rcu::thread_scope scope;
      for (unsigned i = 0; i != turns; ++i) {
        {
          const typename rcu::guard g;
          for (const auto& s : slots)
            if (rcu::dereference(s)->canary != alive) dead.fetch_add(1, relaxed);
        }
        object* const old = rcu::dereference(slots[t]);
        rcu::publish(slots[t], new object);
        if (i % 2 == 0) {
          rcu::retire(*old, [](typename rcu::head* h) noexcept {
            static_cast<object*>(h)->canary = 0;
            delete static_cast<object*>(h);
          });
        } else {
          rcu::synchronize();
          old->canary = 0;
          delete old;
        }
        rcu::quiescent();
      }
    });
  for (auto& t : all) join<rcu>(t);
  rcu::drain();
  EXPECT_EQ(dead.load(relaxed), 0u);
  for (auto& s : slots) delete rcu::dereference(s);
}

TYPED_TEST(host_rcu, synchronize_waits_for_a_guard_that_existed_before) {
  using rcu = TypeParam;
  std::atomic<bool> inside{false};
  std::atomic<bool> begun{false};
  std::atomic<bool> returned{false};
  std::thread reader{[&] {
    const typename rcu::thread_scope scope;
    {
      const typename rcu::guard g;
      inside.store(true);
      while (!begun.load()) std::this_thread::yield();
      for (int i = 0; i != 50; ++i) {
        std::this_thread::yield();
        EXPECT_FALSE(returned.load()) << "the updater did not wait for a guard that was there first";
      }
    }
    rcu::quiescent();
  }};
  while (!inside.load()) std::this_thread::yield();
  begun.store(true);
  rcu::synchronize();
  returned.store(true);
  join<rcu>(reader);
}

TYPED_TEST(host_rcu, retire_does_not_wait_for_a_reader_and_the_callback_does) {
  // The reader ends its section only after retire has returned: a retire that waited would hang here.
  using rcu = TypeParam;
  std::atomic<bool> inside{false};
  std::atomic<bool> leave{false};
  static std::atomic<bool> called{false};
  called.store(false);
  struct watched : rcu::head {};
  static watched w;
  std::thread reader{[&] {
    const typename rcu::thread_scope scope;
    const typename rcu::guard g;
    inside.store(true);
    while (!leave.load()) std::this_thread::yield();
    EXPECT_FALSE(called.load()) << "the callback overtook a guard that existed at retire";
  }};
  while (!inside.load()) std::this_thread::yield();
  rcu::retire(w, [](typename rcu::head*) noexcept { called.store(true); });
  EXPECT_FALSE(called.load());
  leave.store(true);
  join<rcu>(reader);
  rcu::drain();
  EXPECT_TRUE(called.load());
}

TYPED_TEST(host_rcu, drain_waits_for_every_callback_retired_before) {
  using rcu = TypeParam;
  for (int round = 0; round != 3; ++round) {
    freed_count = 0;
    for (int i = 0; i != 500; ++i) rcu::retire(*new object<rcu>, destroy<rcu>);
    rcu::drain();
    EXPECT_EQ(freed_count, 500u);
  }
}

TYPED_TEST(host_rcu, retire_works_inside_a_guard_and_callbacks_may_take_guards_and_retire) {
  using rcu = TypeParam;
  static bool second_ran;
  second_ran = false;
  {
    const typename rcu::guard g;
    rcu::retire(*new object<rcu>, [](typename rcu::head* h) noexcept {
      const typename rcu::guard on_the_worker;
      rcu::retire(*h, [](typename rcu::head* again) noexcept {
        second_ran = true;
        delete static_cast<object<rcu>*>(again);
      });
    });
  }
  rcu::drain();  // the first callback
  rcu::drain();  // the one it retired
  EXPECT_TRUE(second_ran);
}

TYPED_TEST(host_rcu, a_guard_of_a_callback_holds_back_grace_periods) {
  // The callback looks at an object that the main thread replaces and, after a grace period, overwrites.
  using rcu = TypeParam;
  using object = ::object<rcu>;
  static host::env::atomic<object*> slot;
  static std::atomic<int> step;
  static std::atomic<bool> saw_it_whole;
  step.store(0);
  saw_it_whole.store(false);
  auto* const seen = new object;
  rcu::publish(slot, seen);
  rcu::retire(*new object, [](typename rcu::head* h) noexcept {
    {
      const typename rcu::guard g;
      const object* const o = rcu::dereference(slot);
      step.store(1, relaxed);
      while (step.load(relaxed) != 2) std::this_thread::yield();
      saw_it_whole.store(o->canary == alive, relaxed);
    }
    delete static_cast<object*>(h);
  });
  {
    const typename rcu::blocking_region away;  // the callback comes after a grace period that waits for this thread, too
    while (step.load(relaxed) != 1) std::this_thread::yield();
  }
  auto* const fresh = new object;
  rcu::publish(slot, fresh);
  step.store(2, relaxed);
  rcu::synchronize();
  seen->canary = 0;
  delete seen;
  rcu::drain();
  EXPECT_TRUE(saw_it_whole.load());
  delete fresh;
}

TYPED_TEST(host_rcu, reading_tells_whether_this_thread_holds_a_guard) {
  using rcu = TypeParam;
  EXPECT_FALSE(rcu::reading());
  {
    const typename rcu::guard outer;
    { const typename rcu::guard inner; }
    EXPECT_TRUE(rcu::reading());
    std::thread{[] { EXPECT_FALSE(rcu::reading()); }}.join();
  }
  EXPECT_FALSE(rcu::reading());
}

template <class Rcu>
class host_thread_scope : public testing::Test {};
TYPED_TEST_SUITE(host_thread_scope, host_test::flavours, host_test::flavour_name);

TYPED_TEST(host_thread_scope, nests_and_only_the_outermost_unregisters) {
  using rcu = TypeParam;
  using scope = typename rcu::thread_scope;
  constexpr bool unregistered = !rcu::flavour::needs_scope;  // what registered() says of a thread without a scope
  EXPECT_EQ(scope::registered(), unregistered);
  {
    const scope outer;
    EXPECT_TRUE(scope::registered());
    { const scope inner; }
    EXPECT_TRUE(scope::registered());
    { const typename rcu::guard still_works; }
    scope::quiescent();
    rcu::quiescent();
  }
  EXPECT_EQ(scope::registered(), unregistered);
  std::thread{[&] { EXPECT_EQ(scope::registered(), unregistered); }}.join();
  { const scope again; }
  EXPECT_EQ(scope::registered(), unregistered);
  scope::quiescent();  // of a thread that nobody knows: nothing
}

TYPED_TEST(host_thread_scope, a_thread_without_one_may_be_an_updater) {
  using rcu = TypeParam;
  rcu::synchronize();
  rcu::drain();
  const typename rcu::blocking_region away;
}

TYPED_TEST(host_thread_scope, a_thread_that_ended_is_not_waited_for) {
  using rcu = TypeParam;
  for (int i = 0; i != 20; ++i) {
    std::thread{[] {
      const typename rcu::thread_scope scope;
      const typename rcu::guard g;
    }}.join();
    rcu::synchronize();
  }
}

TEST(host_bp, a_thread_may_read_and_retire_without_a_scope) {
  using rcu = host::bp_rcu;
  freed_count = 0;
  std::thread{[] {
    const rcu::guard g;
    rcu::retire(*new object<rcu>, destroy<rcu>);
  }}.join();
  rcu::drain();
  EXPECT_EQ(freed_count, 1u);
}

#if !SHOOTDOWN_TSAN  // the tool's own handling of abort only slows these down
template <class Rcu>
class host_rcu_death_test : public testing::Test {
 protected:
  void SetUp() override { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
};
TYPED_TEST_SUITE(host_rcu_death_test, host_test::flavours, host_test::flavour_name);

template <class Rcu, class F>
void inside_a_guard(F&& f) {
  const typename Rcu::thread_scope s;
  const typename Rcu::guard g;
  f();
}

TYPED_TEST(host_rcu_death_test, misuse_ends_the_process_with_its_reason) {
  using rcu = TypeParam;
  if constexpr (rcu::flavour::needs_scope) {
    EXPECT_DEATH({ const typename rcu::guard g; }, "rcu::guard on a thread without a host::thread_scope");
    EXPECT_DEATH({ object<rcu> o; rcu::retire(o, destroy<rcu>); }, "rcu::retire on a thread without a host::thread_scope");
  }
  EXPECT_DEATH(inside_a_guard<rcu>([] { rcu::synchronize(); }), "synchronize inside a guard");
  EXPECT_DEATH(inside_a_guard<rcu>([] { rcu::drain(); }), "drain inside a guard");
  EXPECT_DEATH(inside_a_guard<rcu>([] { rcu::quiescent(); }), "quiescent inside a guard");
  EXPECT_DEATH(inside_a_guard<rcu>([] { const typename rcu::blocking_region away; }), "a blocking region inside a guard");
  EXPECT_DEATH(
      {
        const typename rcu::thread_scope s;
        object<rcu> o;
        rcu::retire(o, [](typename rcu::head*) noexcept { rcu::synchronize(); });
        rcu::drain();
      },
      "inside a guard or a callback");
}

TYPED_TEST(host_rcu_death_test, a_blocking_region_admits_no_guard_and_no_retire) {
  using rcu = TypeParam;
  EXPECT_DEATH(
      {
        const typename rcu::thread_scope s;
        const typename rcu::blocking_region away;
        const typename rcu::guard g;
      },
      "rcu::guard in a blocking region");
  EXPECT_DEATH(
      {
        const typename rcu::thread_scope s;
        const typename rcu::blocking_region away;
        object<rcu> o;
        rcu::retire(o, destroy<rcu>);
      },
      "rcu::retire in a blocking region");
}

TYPED_TEST(host_rcu_death_test, a_scope_must_not_end_inside_a_guard) {
  using rcu = TypeParam;
  EXPECT_DEATH(
      {
        auto* const s = new typename rcu::thread_scope;
        const typename rcu::guard g;
        delete s;
      },
      "ends inside a guard");
}
#endif

#if SHOOTDOWN_TSAN
// Does ThreadSanitizer still see what the annotations must not hide? One reader looks at an object under a guard, ends the
// guard and tells so by a relaxed flag, which orders nothing; then the updater writes to it, with or without a grace period.
enum class grace { none, synchronize, retire, of_another_flavour };
template <class Rcu>
void update_after_reader(grace how) {
  using other = std::conditional_t<std::is_same_v<Rcu, host::memb_rcu>, host::qsbr_rcu, host::memb_rcu>;
  const typename Rcu::thread_scope scope;
  struct watched : Rcu::head {
    volatile std::uint64_t number{};  // volatile: the optimiser must not find out that nobody uses it
  };
  static watched o;
  static std::atomic<int> step{0};
  std::thread reader{[] {
    const typename Rcu::thread_scope readers_scope;
    {
      const typename Rcu::guard g;
      (void)o.number;
    }
    Rcu::quiescent();
    step.store(1, relaxed);
    while (step.load(relaxed) != 2) {
      Rcu::quiescent();  // a report that an updater did not wait for excuses nothing
      std::this_thread::yield();
    }
  }};
  while (step.load(relaxed) != 1) std::this_thread::yield();
  if (how == grace::synchronize) Rcu::synchronize();
  if (how == grace::of_another_flavour) other::synchronize();
  if (how == grace::retire)
    Rcu::retire(o, [](typename Rcu::head* h) noexcept { static_cast<watched*>(h)->number = 1; });
  else
    o.number = 1;
  step.store(2, relaxed);
  join<Rcu>(reader);
  Rcu::drain();
  std::exit(0);  // ThreadSanitizer turns it into its own code when it has reported
}
bool reported(int status) { return WIFEXITED(status) && WEXITSTATUS(status) != 0; }

template <class Rcu>
class host_rcu_tsan_death_test : public testing::Test {
 protected:
  void SetUp() override { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
};
TYPED_TEST_SUITE(host_rcu_tsan_death_test, host_test::flavours, host_test::flavour_name);

TYPED_TEST(host_rcu_tsan_death_test, a_write_without_a_grace_period_is_reported) {
  EXPECT_EXIT(update_after_reader<TypeParam>(grace::none), reported, "data race");
}
TYPED_TEST(host_rcu_tsan_death_test, a_write_after_a_grace_period_of_another_flavour_is_reported) {
  EXPECT_EXIT(update_after_reader<TypeParam>(grace::of_another_flavour), reported, "data race");
}
TYPED_TEST(host_rcu_tsan_death_test, a_write_after_synchronize_or_in_a_callback_is_not) {
  EXPECT_EXIT(update_after_reader<TypeParam>(grace::synchronize), testing::ExitedWithCode(0), "");
  EXPECT_EXIT(update_after_reader<TypeParam>(grace::retire), testing::ExitedWithCode(0), "");
}
#endif

}  // namespace
