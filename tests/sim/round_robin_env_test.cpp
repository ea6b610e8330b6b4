// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>

#include <sys/wait.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <utility>
#include <vector>

#include <shootdown/sim/round_robin_env.hpp>

namespace {

using namespace shootdown;
using env = sim::round_robin_env;
using rcu = env::rcu;
using sim::round_robin;
using sim::run_options;
using sim::run_report;
constexpr auto relaxed = std::memory_order_relaxed;
constexpr auto acquire = std::memory_order_acquire;
constexpr auto release = std::memory_order_release;

run_options seeded(std::uint64_t seed) {
  run_options o;
  o.seed = seed;
  return o;
}

// For tests whose tasks share plain words.
run_report watch(std::vector<round_robin::task> tasks) {
  run_options o;
  o.switches_order = true;
  return round_robin::run(std::move(tasks), o);
}

struct object : rcu::head {
  int number{};
  bool dead{};
};
void bury(rcu::head* h) noexcept { static_cast<object*>(h)->dead = true; }

// Two environments that reclaim too early. Everything else is the correct one's.
struct frees_at_once : env {
  struct rcu : env::rcu {
    static void retire(head& h, void (*fn)(head*) noexcept) noexcept { fn(&h); }
  };
};
struct waits_for_nobody : env {
  struct rcu : env::rcu {
    static void synchronize() noexcept { env::relax(); }
  };
};
static_assert(environment<frees_at_once> && environment<waits_for_nobody>);

enum class how { retire, synchronize };

// Readers walk to an object under a guard and look at it again and again; an updater replaces and reclaims it. Returns how
// often a reader saw a reclaimed object.
template <class Env>
int dead_objects_seen(std::uint64_t seed, how reclaim) {
  std::array<object, 12> objects{};
  for (std::size_t i = 0; i != objects.size(); ++i) objects[i].number = static_cast<int>(i);
  typename Env::template atomic<object*> slot{&objects[0]};
  std::atomic<int> seen{0};
  std::atomic<int> looks{0};
  const auto reader = [&] {
    for (int i = 0; i != 15; ++i) {
      const typename Env::rcu::guard outer;
      const object* const o = Env::rcu::dereference(slot);
      for (int look = 0; look != 4; ++look) {
        const typename Env::rcu::guard inner;
        Env::full_fence();
        looks.fetch_add(1, relaxed);
        if (o->dead) seen.fetch_add(1, relaxed);
      }
    }
  };
  const auto updater = [&] {
    for (std::size_t i = 1; i != objects.size(); ++i) {
      object* const old = Env::rcu::dereference(slot);
      Env::rcu::publish(slot, &objects[i]);
      if (reclaim == how::retire) {
        Env::rcu::retire(*old, bury);
      } else {
        Env::rcu::synchronize();
        old->dead = true;
      }
      for (int pause = 0; pause != 5; ++pause) Env::relax();
    }
    Env::rcu::drain();
    for (std::size_t i = 0; i + 1 != objects.size(); ++i)
      if (!objects[i].dead) Env::fail("drain returned before a callback had run");
  };
  const run_report r = round_robin::run({reader, updater, reader}, seeded(seed));
  EXPECT_TRUE(r.ok()) << seed << ": " << (r.first_failure != nullptr ? r.first_failure : "");
  EXPECT_EQ(r.callbacks_pending, 0u);
  EXPECT_EQ(looks.load(relaxed), 2 * 15 * 4);
  return seen.load(relaxed);
}

TEST(round_robin_rcu, no_schedule_shows_a_reader_a_reclaimed_object) {
  for (std::uint64_t seed = 0; seed != 60; ++seed) {
    EXPECT_EQ(dead_objects_seen<env>(seed, how::retire), 0) << seed;
    EXPECT_EQ(dead_objects_seen<env>(seed, how::synchronize), 0) << seed;
  }
}

#if !SHOOTDOWN_TSAN  // the broken environments race, and ThreadSanitizer reports it (see the death tests below)
TEST(round_robin_rcu, the_same_test_sees_a_retire_that_frees_at_once) {
  EXPECT_GT(dead_objects_seen<frees_at_once>(0, how::retire), 0) << "deterministic: strict round robin";
  int seen = 0;
  for (std::uint64_t seed = 1; seed != 20; ++seed) seen += dead_objects_seen<frees_at_once>(seed, how::retire);
  EXPECT_GT(seen, 0);
}

TEST(round_robin_rcu, the_same_test_sees_a_synchronize_that_does_not_wait) {
  EXPECT_GT(dead_objects_seen<waits_for_nobody>(0, how::synchronize), 0);
}
#endif

TEST(round_robin_rcu, a_callback_waits_for_the_guards_that_existed_and_for_no_later_one) {
  object o;
  std::vector<int> order;
  bool retired = false;
  bool first_gone = false;
  static std::vector<int>* log = nullptr;
  log = &order;
  const run_report r = watch({[&] {  // existed
                                           {
                                             const rcu::guard g;
                                             while (!retired) env::relax();
                                             for (int i = 0; i != 20; ++i) env::relax();
                                             order.push_back(1);
                                           }
                                           first_gone = true;
                                         },
                                         [&] {  // came later, and stays on until the callback has run
                                           while (!retired) env::relax();
                                           const rcu::guard g;
                                           for (int i = 0; i != 1000 && order.size() < 2; ++i) env::relax();
                                           order.push_back(3);
                                         },
                                         [&] {
                                           env::relax();
                                           rcu::retire(o, [](rcu::head*) noexcept { log->push_back(2); });
                                           retired = true;
                                         }});
  EXPECT_TRUE(r.ok());
  EXPECT_TRUE(first_gone);
  EXPECT_EQ(order, (std::vector{1, 2, 3}));
}

TEST(round_robin_rcu, synchronize_does_not_wait_for_later_guards) {
  bool waiting = false;
  bool returned = false;
  bool later_saw_it_return = false;
  const run_report r = watch({[&] {
                                           env::relax();
                                           waiting = true;
                                           rcu::synchronize();
                                           returned = true;
                                         },
                                         [&] {
                                           const rcu::guard early;
                                           while (!waiting) env::relax();
                                           for (int i = 0; i != 10; ++i) {
                                             env::relax();
                                             if (returned) env::fail("synchronize overtook a guard that existed");
                                           }
                                         },
                                         [&] {
                                           while (!waiting) env::relax();
                                           env::relax();
                                           const rcu::guard late;
                                           for (int i = 0; i != 1000 && !returned; ++i) env::relax();
                                           later_saw_it_return = returned;
                                         }});
  EXPECT_TRUE(r.ok()) << (r.first_failure != nullptr ? r.first_failure : "");
  EXPECT_TRUE(later_saw_it_return);
}

TEST(round_robin_rcu, callbacks_run_on_their_own_fiber_in_order_and_may_retire_and_wait) {
  static std::vector<unsigned> cpus;
  static object second;
  cpus.clear();
  second = {};
  object first;
  const run_report r = watch({[&] {
                                           rcu::retire(first, [](rcu::head*) noexcept {
                                             cpus.push_back(env::cpu());
                                             env::relax();
                                             const rcu::guard g;
                                             rcu::retire(second, [](rcu::head*) noexcept { cpus.push_back(env::cpu()); });
                                           });
                                           EXPECT_TRUE(cpus.empty()) << "inside retire";
                                         },
                                         [] {}});
  EXPECT_TRUE(r.ok());
  EXPECT_EQ(cpus, (std::vector{2u, 2u}));
  EXPECT_EQ(r.callbacks, 2u) << "the run ends when the last callback has run";
}

TEST(round_robin_env, outside_of_a_run_it_works_for_one_flow) {
  object a;
  rcu::retire(a, bury);
  EXPECT_TRUE(a.dead);
  object b;
  {
    const rcu::guard outer;
    {
      const rcu::guard inner;
      rcu::retire(b, bury);
    }
    EXPECT_FALSE(b.dead);
  }
  EXPECT_TRUE(b.dead);
  rcu::synchronize();
  rcu::drain();
  rcu::quiescent();
  env::mutex m;
  m.lock();
  m.unlock();
  const instant before = env::now();
  env::relax();
  env::full_fence();
  env::wait_event(deadline::never());
  EXPECT_EQ(env::now(), before) << "the clock stands";
  void* const p = env::allocate(100, 64);
  ASSERT_NE(p, nullptr);
  env::deallocate(p, 100, 64);
}

TEST(round_robin_env, objects_made_before_a_run_serve_in_it_and_after_it) {
  env::atomic<std::uint64_t> a{5};
  env::dma_word w;
  w.store(0xffff0000ffff0000u, relaxed);
  const run_report r = round_robin::run({[&] { a.fetch_add(1, relaxed); }, [&] { w.store_low(7, release); }});
  EXPECT_TRUE(r.ok());
  EXPECT_EQ(a.load(relaxed), 6u);
  EXPECT_EQ(w.load(acquire), 0xffff000000000007u);
}

TEST(round_robin_env, dma_words_lie_little_endian) {
  env::dma_word w;
  w.store(0x0123456789abcdefu, relaxed);
  std::array<unsigned char, 8> bytes{};
  std::memcpy(bytes.data(), static_cast<const void*>(&w), 8);
  EXPECT_EQ(bytes, (std::array<unsigned char, 8>{0xef, 0xcd, 0xab, 0x89, 0x67, 0x45, 0x23, 0x01}));
}

TEST(round_robin_env_death_test, outside_of_a_run_a_broken_contract_ends_the_process) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(env::fail("nobody would read the report"), "nobody would read the report");
  EXPECT_DEATH(
      {
        env::mutex m;
        m.lock();
        m.lock();
      },
      "locked again");
}

#if SHOOTDOWN_TSAN
// Fibers never run at the same time; ThreadSanitizer must find their races all the same.
void pass_a_message(std::memory_order publish, std::memory_order observe) {
  struct box {
    volatile int plain{};
  };
  box b;
  env::atomic<std::uint32_t> flag;
  const run_report r = round_robin::run({[&] {
                                           b.plain = 1;
                                           flag.store(1, publish);
                                         },
                                         [&] {
                                           while (flag.load(observe) == 0) env::relax();
                                           (void)b.plain;
                                         }});
  std::exit(r.ok() ? 0 : 1);
}
bool reported(int status) { return WIFEXITED(status) && WEXITSTATUS(status) != 0; }

TEST(round_robin_tsan_death_test, a_missing_release_or_acquire_is_reported) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(pass_a_message(relaxed, acquire), reported, "data race");
  EXPECT_EXIT(pass_a_message(release, relaxed), reported, "data race");
}
TEST(round_robin_tsan_death_test, a_paired_one_is_not) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(pass_a_message(release, acquire), testing::ExitedWithCode(0), "");
}

void reclaim_with(bool grace_period) {
  static struct : rcu::head {
    volatile int number{};
  } o;
  bool ok = round_robin::run({[] {
                                {
                                  const rcu::guard g;
                                  (void)o.number;
                                }
                              },
                              [grace_period] {
                                for (int i = 0; i != 10; ++i) env::relax();
                                if (grace_period) rcu::synchronize();
                                o.number = 1;
                              }})
                .ok();
  std::exit(ok ? 0 : 1);
}
TEST(round_robin_tsan_death_test, a_reclamation_without_a_grace_period_is_reported_even_if_no_reader_is_hurt) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(reclaim_with(false), reported, "data race");
  EXPECT_EXIT(reclaim_with(true), testing::ExitedWithCode(0), "");
}
#endif

}  // namespace
