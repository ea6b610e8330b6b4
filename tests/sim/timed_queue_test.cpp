// SPDX-License-Identifier: MIT
// The library's command queues, unchanged, in virtual time: bench/scale's closed loop on them.
#include <gtest/gtest.h>

#include <cstdint>
#include <string>

#include <shootdown/env/spinlock.hpp>
#include <shootdown/queue/locked.hpp>
#include <shootdown/queue/owner_cas.hpp>

#include "../../bench/scale/closed_loop.hpp"
#include "../../bench/scale/owner_add.hpp"

namespace {

using namespace shootdown;
using bench::closed_loop;
using bench::loop_case;
using bench::loop_result;
using queue::completion_mode;

std::string failure(const loop_result& r) { return r.failure == nullptr ? "" : r.failure; }

loop_case small(unsigned cpus) {
  loop_case c{};
  c.cpus = cpus;
  c.operations = 500;
  return c;
}

template <class Strategy>
class timed_queue : public testing::Test {};
using strategies = testing::Types<queue::locked, queue::owner_cas, bench::owner_add>;
TYPED_TEST_SUITE(timed_queue, strategies);

// closed_loop fails a run in which a wait returned before the device had completed the ticket.
TYPED_TEST(timed_queue, every_wait_returns_after_its_own_completion) {
  for (const completion_mode how : {completion_mode::msi, completion_mode::cons_poll, completion_mode::cons_sev}) {
    for (const bool stalls : {true, false}) {
      for (const unsigned cpus : {1u, 3u, 16u}) {
        loop_case c = small(cpus);
        c.completion = how;
        c.sync_stalls = stalls;
        const loop_result r = closed_loop<TypeParam>(c);
        EXPECT_EQ(failure(r), "") << cpus << " CPUs";
        EXPECT_EQ(r.measured, c.operations);
        EXPECT_GE(r.p50, 150u + 15 + 200) << "a doorbell, a TLBI and a SYNC at least";
        EXPECT_LE(r.p50, r.p99);
      }
    }
  }
}

TYPED_TEST(timed_queue, equal_seeds_give_equal_results) {
  loop_case c = small(12);
  const loop_result a = closed_loop<TypeParam>(c), b = closed_loop<TypeParam>(c);
  EXPECT_EQ(a.per_second, b.per_second);
  EXPECT_EQ(a.p99, b.p99);
  EXPECT_EQ(a.events, b.events);
  c.seed = 2;
  EXPECT_NE(closed_loop<TypeParam>(c).events, a.events);
}

TYPED_TEST(timed_queue, a_long_sync_is_the_bottleneck_and_sets_the_throughput) {
  loop_case c = small(6);
  c.sync = 800;
  c.arbitration = {};
  const loop_result r = closed_loop<TypeParam>(c);
  EXPECT_EQ(failure(r), "");
  EXPECT_NEAR(r.per_second, 1e9 / (15 + 800), 1e9 / 815 * 0.01);  // one TLBI and one SYNC at a time
}

TYPED_TEST(timed_queue, one_cpu_pays_think_time_and_latency) {
  loop_case c = small(1);
  c.think_spread = 0;
  c.log2size = 6;  // all slots are in the cache after the first lap
  const loop_result r = closed_loop<TypeParam>(c);
  EXPECT_EQ(failure(r), "");
  EXPECT_EQ(r.p50, r.p99);
  EXPECT_NEAR(r.per_second, 1e9 / static_cast<double>(300 + r.p50), 1e3);
  EXPECT_LT(r.p50, 150u + 15 + 200 + 60 + 120) << "the message's line comes once; everything else is local";
  EXPECT_EQ(r.attempts, 1.0);
  EXPECT_EQ(r.doorbells, 1.0);
}

TYPED_TEST(timed_queue, preempted_holders_cost_their_millisecond) {
  loop_case c = small(8);
  c.preempted_in_1000 = 10;
  c.operations = 1000;
  const loop_result r = closed_loop<TypeParam>(c);
  EXPECT_EQ(failure(r), "");
  EXPECT_GT(r.preemptions, 2u);
  EXPECT_GT(r.worst, 1'000'000u);
  EXPECT_LT(r.per_second, 0.5 * closed_loop<TypeParam>(small(8)).per_second);
}

TYPED_TEST(timed_queue, a_sync_that_does_not_stall_is_no_slower) {
  loop_case c = small(4);
  c.sync = 800;
  const double stalling = closed_loop<TypeParam>(c).per_second;
  c.sync_stalls = false;
  EXPECT_GT(closed_loop<TypeParam>(c).per_second, 1.2 * stalling);
}

TEST(timed_queue, reservation_by_addition_never_fails_and_by_compare_exchange_does) {
  const loop_result cas = closed_loop<queue::owner_cas>(small(32)), add = closed_loop<bench::owner_add>(small(32));
  EXPECT_EQ(add.attempts, 1.0);
  EXPECT_GT(cas.attempts, 4.0);
  EXPECT_GT(add.per_second, 2 * cas.per_second);
}

TEST(timed_queue, the_published_compare_exchange_column_is_met) {
  // The whole comparison is `./run scale`; this notices a change of the model that was not followed by a fit.
  loop_case c{};
  c.cpus = 64;
  c.think = sim::fitted_map_unmap_work;
  c.think_spread = c.think / 2;
  c.operations = 3000;
  const loop_result r = closed_loop<queue::owner_cas>(c);
  EXPECT_EQ(failure(r), "");
  EXPECT_NEAR(r.per_second / 64, 11e3, 1.1e3);
  EXPECT_NEAR(r.attempts, 12, 1.5);
}

/// A queue that rings the doorbell first and writes afterwards.
struct hasty {
  template <class Env, class Backend>
  class engine {
   public:
    explicit engine(queue::queue_core<Env, Backend>& core) noexcept : core_{&core}, tracker_{core.slots} {}
    static status check(const queue::queue_config<Env>& c) noexcept { return queue::check(c, 2); }
    status prepare(const queue::queue_config<Env>&) noexcept { return {}; }
    void start(seq64 base) noexcept {
      tail_ = base;
      tracker_.start(base);
    }
    template <command_list List>
    status submit(const List& list, std::uint32_t size, bool, const deadline*, ticket& t) noexcept {
      const lock_guard<spinlock<Env>> only{lock_};
      t.first = tail_;
      t.end = tail_ = advance(tail_, size + 1);
      const command sync = tracker_.closing_sync(t.end);
      core_->slots.doorbell(t.end);
      queue::write_list(core_->slots, t.first, list, size, &sync);
      return {};
    }
    queue::sight look(const ticket& t, bool thorough) noexcept {
      tracker_.observe(thorough, [this]() noexcept { return tail_; });
      return {covers(tracker_.completed(), t.end), false, t.end};
    }
    void settle(const queue::sight&) noexcept {}
    void abandon() noexcept {}
    seq64 reached() const noexcept { return tracker_.consumed(); }
    seq64 in_doubt_from(seq64 at) const noexcept { return at; }
    seq64 tail() const noexcept { return tail_; }
    bool check_invariants() const noexcept { return true; }

   private:
    queue::queue_core<Env, Backend>* core_;
    queue::completion_tracker<Env, Backend> tracker_;
    spinlock<Env> lock_{};
    seq64 tail_{};
  };
};

TEST(timed_queue, a_queue_that_rings_before_it_writes_is_caught_and_not_timed) {
  const loop_result r = closed_loop<hasty>(small(2));
  EXPECT_EQ(failure(r), "device: a doorbell for a slot that nobody has written");
  EXPECT_EQ(r.per_second, 0.0);
}

/// A queue whose waits do not wait.
struct impatient {
  template <class Env, class Backend>
  class engine : public queue::locked_engine<Env, Backend> {
   public:
    using queue::locked_engine<Env, Backend>::locked_engine;
    queue::sight look(const ticket& t, bool) noexcept { return {true, false, t.end}; }
  };
};

TEST(timed_queue, a_wait_that_returns_too_early_is_caught_and_not_timed) {
  EXPECT_EQ(failure(closed_loop<impatient>(small(1))), "a wait returned before its SYNC was complete");
}

TEST(timed_queue, a_ring_too_small_for_a_queue_without_room_check_is_caught) {
  loop_case c = small(64);
  c.log2size = 6;
  c.time_limit = nanoseconds{100'000'000};
  EXPECT_NE(failure(closed_loop<bench::owner_add>(c)), "");
  EXPECT_EQ(failure(closed_loop<queue::owner_cas>(c)), "") << "this one waits for room";
}

}  // namespace
