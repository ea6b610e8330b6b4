// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>

#include <sys/time.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <mutex>
#include <thread>
#include <type_traits>

#include <shootdown/host/env.hpp>

#include "host/flavours.hpp"

// A registered thread of a QSBR flavour is waited for until it reports. What must not hold up a grace period, in every
// flavour; and what does hold one up in qsbr if the report is left out.
namespace {

using namespace shootdown;
using host_test::join;

static_assert(std::is_same_v<host::env, host::memb_env> && std::is_same_v<host::rcu, host::memb_rcu>);
static_assert(std::is_same_v<host::env, host::basic_env<>> && std::is_same_v<host::counted_env, host::counted_memb_env>);
static_assert(std::is_same_v<host::qsbr_env::rcu::flavour, host::flavour::qsbr>);
static_assert(std::is_same_v<host::counted_qsbr_env::stats, host::thread_stats>);
static_assert(std::is_same_v<host::thread_scope, host::basic_thread_scope<host::flavour::memb>>);
static_assert(std::is_same_v<host::blocking_region, host::basic_blocking_region<host::flavour::memb>>);

template <class Rcu>
class host_blocking : public testing::Test {
 protected:
  typename Rcu::thread_scope scope_;
};
TYPED_TEST_SUITE(host_blocking, host_test::flavours, host_test::flavour_name);

/// The caller holds the lock and waits for readers, one of which waits for the lock.
template <class Rcu, class Mutex>
void synchronize_with_a_lock_held() {
  Mutex m;
  std::atomic<bool> coming{false};
  m.lock();
  std::thread waiter{[&] {
    const typename Rcu::thread_scope scope;
    coming.store(true);
    m.lock();
    { const typename Rcu::guard back_online; }
    m.unlock();
  }};
  while (!coming.load()) std::this_thread::yield();
  Rcu::synchronize();
  m.unlock();
  join<Rcu>(waiter);
}

/// The caller waits in `wait` for a thread that waits for readers.
template <class Rcu, class Wait>
void wait_for_an_updater(Wait&& wait) {
  std::thread updater{[] {
    Rcu::synchronize();
    Rcu::drain();
  }};
  wait(updater);
}

/// The caller is busy, without a guard, until a thread that waits for readers is done.
template <class Rcu, class Between>
void busy_until_an_updater_is_done(Between&& between) {
  std::atomic<bool> done{false};
  std::thread updater{[&] {
    Rcu::synchronize();
    done.store(true);
  }};
  while (!done.load()) {
    { const typename Rcu::guard g; }
    between();
    std::this_thread::yield();
  }
  join<Rcu>(updater);
}

TYPED_TEST(host_blocking, a_thread_that_waits_for_a_mutex_holds_up_no_grace_period) {
  for (int i = 0; i != 20; ++i) synchronize_with_a_lock_held<TypeParam, typename host::env_with<TypeParam>::mutex>();
}

TYPED_TEST(host_blocking, a_thread_in_a_blocking_region_holds_up_no_grace_period) {
  wait_for_an_updater<TypeParam>([](std::thread& t) { join<TypeParam>(t); });
  { const typename TypeParam::guard the_region_has_ended; }
  wait_for_an_updater<TypeParam>([](std::thread& t) {
    const typename TypeParam::blocking_region outer;
    { const typename TypeParam::blocking_region inner; }
    t.join();
  });
  { const typename TypeParam::guard the_region_has_ended; }
}

TYPED_TEST(host_blocking, a_busy_thread_that_reports_holds_up_no_grace_period) {
  for (int i = 0; i != 5; ++i) busy_until_an_updater_is_done<TypeParam>([] { TypeParam::quiescent(); });
}

TYPED_TEST(host_blocking, a_report_inside_a_region_does_not_end_it) {
  wait_for_an_updater<TypeParam>([](std::thread& t) {
    const typename TypeParam::blocking_region away;
    TypeParam::quiescent();
    t.join();
  });
}

TYPED_TEST(host_blocking, a_scope_made_in_a_region_begins_when_the_region_ends) {
  std::thread other{[] {
    typename TypeParam::thread_scope* mine = nullptr;
    {
      const typename TypeParam::blocking_region away;  // of a thread that is not registered: only counted
      mine = new typename TypeParam::thread_scope;
      std::thread updater{[] { TypeParam::synchronize(); }};
      updater.join();
    }
    { const typename TypeParam::guard g; }
    {
      const typename TypeParam::blocking_region away;
      delete mine;
    }
    std::thread updater{[] { TypeParam::synchronize(); }};
    updater.join();
  }};
  join<TypeParam>(other);
}

TYPED_TEST(host_blocking, a_lock_taken_inside_a_guard_gives_the_guard_not_up) {
  // The reader waits for a lock with a guard held; what it guards must outlive the wait.
  using rcu = TypeParam;
  typename host::env_with<rcu>::mutex m;
  static std::atomic<bool> freed;
  freed.store(false);
  struct watched : rcu::head {};
  static watched w;
  std::atomic<bool> coming{false};
  m.lock();
  std::thread reader{[&] {
    const typename rcu::thread_scope scope;
    {
      const typename rcu::guard g;
      coming.store(true);
      m.lock();
      EXPECT_FALSE(freed.load()) << "the wait for the lock let a grace period pass the guard";
      m.unlock();
    }
    rcu::quiescent();
  }};
  while (!coming.load()) std::this_thread::yield();
  rcu::retire(w, [](typename rcu::head*) noexcept { freed.store(true); });
  rcu::quiescent();
  {
    const typename rcu::blocking_region away;
    std::this_thread::sleep_for(std::chrono::milliseconds{30});  // time for a callback that should not come
  }
  m.unlock();
  join<rcu>(reader);
  rcu::drain();
  EXPECT_TRUE(freed.load());
}

TYPED_TEST(host_blocking, a_mutex_needs_no_scope) {
  typename host::env_with<TypeParam>::mutex m;
  int plain = 0;
  std::thread all[3];
  for (auto& t : all)
    t = std::thread{[&] {
      for (int i = 0; i != 300; ++i) {
        m.lock();
        ++plain;
        m.unlock();
      }
    }};
  for (auto& t : all) join<TypeParam>(t);
  EXPECT_EQ(plain, 900);
  EXPECT_TRUE(m.try_lock());
  m.unlock();
}

// The other half: without the report qsbr hangs. The alarm ends what never ends; it comes early enough for a test and,
// because nothing else ends these, no slow machine makes them fail.
template <class F>
void with_alarm(F&& f, int seconds = 0) {
  const typename host::qsbr_rcu::thread_scope scope;
  itimerval soon{};
  soon.it_value.tv_sec = seconds;
  soon.it_value.tv_usec = 250'000;
  std::signal(SIGALRM, SIG_DFL);
  setitimer(ITIMER_REAL, &soon, nullptr);
  f();
  std::_Exit(0);
}
class host_qsbr_death_test : public testing::Test {
 protected:
  void SetUp() override { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
};

TEST_F(host_qsbr_death_test, a_mutex_that_stays_online_while_it_blocks_hangs) {
  EXPECT_EXIT(with_alarm([] { synchronize_with_a_lock_held<host::qsbr_rcu, std::mutex>(); }), testing::KilledBySignal(SIGALRM), "");
}
TEST_F(host_qsbr_death_test, a_join_outside_of_a_blocking_region_hangs) {
  EXPECT_EXIT(with_alarm([] { wait_for_an_updater<host::qsbr_rcu>([](std::thread& t) { t.join(); }); }),
              testing::KilledBySignal(SIGALRM), "");
}
TEST_F(host_qsbr_death_test, a_busy_thread_that_never_reports_hangs_its_updater) {
  EXPECT_EXIT(with_alarm([] { busy_until_an_updater_is_done<host::qsbr_rcu>([] {}); }), testing::KilledBySignal(SIGALRM), "");
}
TEST_F(host_qsbr_death_test, the_alarm_leaves_a_program_that_ends_alone) {
  EXPECT_EXIT(with_alarm([] { busy_until_an_updater_is_done<host::qsbr_rcu>([] { host::qsbr_rcu::quiescent(); }); }, 60),
              testing::ExitedWithCode(0), "");
}

}  // namespace
