// SPDX-License-Identifier: MIT
#include "contract.hpp"

#include <atomic>
#include <thread>
#include <vector>

// The parts of the published lock-free queue: valid bits, the waiters' lock, gathering, shadow CONS.
namespace shootdown::test {
namespace {

TEST(valid_map, its_meaning_flips_with_every_lap_so_that_nothing_is_cleared) {
  queue::valid_map<queue_env> map;
  ASSERT_TRUE(map.allocate(7));  // 128 slots, two words
  map.reset();
  for (std::uint64_t at = 0; at < 5 * 128; at += 20) {
    EXPECT_FALSE(map.valid(seq64{at}, 1)) << at;
    EXPECT_FALSE(map.valid(seq64{at}, 20)) << at;
    map.mark(seq64{at}, 19);
    EXPECT_FALSE(map.valid(seq64{at}, 20)) << at;
    EXPECT_TRUE(map.valid(seq64{at}, 19)) << at;
    map.mark(seq64{at + 19}, 1);
    EXPECT_TRUE(map.valid(seq64{at}, 20)) << at;
  }
}

TEST(valid_map, a_range_may_be_the_whole_ring_and_start_anywhere) {
  for (std::uint64_t start = 0; start != 64; ++start) {
    queue::valid_map<queue_env> map;
    ASSERT_TRUE(map.allocate(6));
    map.reset();
    if (start != 0) map.mark(seq64{0}, start);
    for (std::uint64_t lap = 0; lap != 3; ++lap) {
      const seq64 at{start + 64 * lap};
      EXPECT_FALSE(map.valid(at, 64));
      map.mark(at, 64);
      EXPECT_TRUE(map.valid(at, 64));
      EXPECT_FALSE(map.valid(advance(at, 64), 1));
    }
  }
}

TEST(valid_map, agrees_with_a_plain_array_over_many_laps) {
  queue::valid_map<queue_env> map;
  ASSERT_TRUE(map.allocate(6));
  map.reset();
  std::uint64_t marked = 0;
  for (std::uint64_t step = 1; marked < 2000; step = step % 64 + 1) {
    map.mark(seq64{marked}, step);
    marked += step;
    for (std::uint64_t back = 1; back <= 64 && back <= marked; ++back) EXPECT_TRUE(map.valid(seq64{marked - back}, back));
    for (std::uint64_t n = 1; n <= 64; ++n) {
      // The next n positions: those whose slot was last marked a lap ago are not valid.
      EXPECT_FALSE(map.valid(seq64{marked}, n));
    }
  }
}

TEST(waiter_lock, exclusive_needs_it_free_and_shares_queue_behind_it) {
  queue::waiter_lock<queue_env> lock;
  const auto never = [] { return false; };
  ASSERT_TRUE(lock.lock_shared(never));
  EXPECT_FALSE(lock.try_lock_exclusive());
  EXPECT_FALSE(lock.try_unlock_shared());  // the only one: keeps it
  ASSERT_TRUE(lock.lock_shared(never));
  EXPECT_TRUE(lock.try_unlock_shared());
  EXPECT_FALSE(lock.try_unlock_shared());
  lock.unlock_shared();
  ASSERT_TRUE(lock.try_lock_exclusive());
  EXPECT_FALSE(lock.try_lock_exclusive());
  // A share that queued is kept by the release, and the exclusive side cannot come back before it had its turn.
  unsigned turns = 0;
  EXPECT_TRUE(lock.lock_shared([&] {
    if (++turns == 3) lock.unlock_exclusive();
    return false;
  }));
  EXPECT_EQ(turns, 3u);
  EXPECT_FALSE(lock.try_lock_exclusive());
  lock.unlock_shared();
  EXPECT_TRUE(lock.try_lock_exclusive());
  EXPECT_FALSE(lock.lock_shared([] { return true; }));  // given up: no share stays behind
  EXPECT_EQ(lock.shares(), 0u);
  lock.unlock_exclusive();
  EXPECT_TRUE(lock.check_invariants());
}

struct owner_cas : queue_fixture<variant<queue::owner_cas, completion_mode::cons_poll, 6>> {};

/// Submits another list from within its own emit(): the two reservations overlap without any second thread.
struct nesting_list {
  owner_cas::queue_type* queue;
  numbered_list own, inner;
  result<ticket>* inner_ticket;
  std::uint32_t* prod_seen;
  owner_cas::device_type* device;
  [[nodiscard]] std::uint32_t size() const noexcept { return own.size(); }
  [[nodiscard]] completion closing() const noexcept { return own.closing(); }
  template <class Sink>
  void emit(std::uint32_t first, std::uint32_t n, Sink&& sink) const noexcept {
    *inner_ticket = queue->try_submit(inner);
    *prod_seen = device->prod();
    own.emit(first, n, sink);
  }
};

TEST_F(owner_cas, the_first_in_publishes_for_all_that_followed_with_one_doorbell) {
  device.runs_in_waits = false;
  result<ticket> inner{errc::pending};
  std::uint32_t prod_seen = 99;
  const std::uint32_t doorbells = device.doorbells();
  ticket outer = must_submit(nesting_list{&queue, {1, 2}, {2, 3}, &inner, &prod_seen, &device});
  ASSERT_TRUE(inner.ok());
  EXPECT_EQ(prod_seen, 0u);  // the inner list was complete, but is not the owner's to publish early
  EXPECT_EQ(device.doorbells(), doorbells + 1);
  EXPECT_EQ(device.prod(), 7u);
  device.step(7);
  EXPECT_EQ(finish(*inner), errc::ok);
  EXPECT_EQ(finish(outer), errc::ok);
  EXPECT_EQ(check_stream(device.consumed()), "");
}

TEST_F(owner_cas, an_unsettled_ticket_keeps_everybody_from_moving_cons) {
  ticket a = must_submit(numbered_list{1, 31}), b = must_submit(numbered_list{2, 30});
  device.step(64);
  // All 63 commands are consumed, but the two tickets are not settled: by contract there is no room for 2 more.
  EXPECT_EQ(queue.submit(numbered_list{3, 1}, in_turns(300)).code(), errc::timed_out);
  EXPECT_EQ(finish(a), errc::ok);  // not the last one out
  EXPECT_EQ(queue.try_submit(numbered_list{4, 1}).code(), errc::would_block);
  const host::tally before = host::thread_stats::mine();
  EXPECT_EQ(finish(b), errc::ok);  // the last one out: moves CONS, in one emulated RMW
  EXPECT_EQ((host::thread_stats::mine() - before)[counter::emulated_rmw], 1u);
  result<ticket> r = queue.try_submit(numbered_list{5, 62});
  ASSERT_TRUE(r.ok());
  EXPECT_EQ(finish(*r), errc::ok);
}

TEST_F(owner_cas, an_abandoned_ticket_holds_nothing_and_answers_timed_out) {
  ticket a = must_submit(numbered_list{1, 31}), b = must_submit(numbered_list{2, 30});
  queue.abandon(a);
  queue.abandon(a);  // once is enough, twice does no harm
  EXPECT_EQ(queue.poll(a).code(), errc::timed_out);
  queue.abandon(b);
  EXPECT_EQ(queue.try_submit(numbered_list{3, 30}).code(), errc::would_block) << "abandoning must not claim that anything was consumed";
  device.step(64);
  result<ticket> r = queue.try_submit(numbered_list{4, 62});
  ASSERT_TRUE(r.ok()) << "the submitter refreshes CONS itself, since nobody holds a share";
  EXPECT_EQ(finish(*r), errc::ok);
  EXPECT_TRUE(queue.check_invariants());
}

TEST_F(owner_cas, a_submitter_refreshes_cons_itself_when_nobody_waits) {
  for (std::uint32_t i = 1; i != 33; ++i) {
    device.step(64);
    const result<ticket> r = queue.try_submit(numbered_list{i, 64, completion::none});
    ASSERT_TRUE(r.ok()) << i;
  }
}

/// One command; says when it is being written and waits for leave to finish.
struct gate_list {
  std::atomic<bool>*mine, *awaited;
  [[nodiscard]] std::uint32_t size() const noexcept { return 1; }
  [[nodiscard]] completion closing() const noexcept { return completion::sync; }
  template <class Sink>
  void emit(std::uint32_t, std::uint32_t, Sink&& sink) const noexcept {
    mine->store(true, std::memory_order_release);
    while (!awaited->load(std::memory_order_acquire)) std::this_thread::yield();
    sink(numbered_list{1, 1}.at(0));
  }
};

TEST_F(owner_cas, a_gathered_writer_that_never_finishes_fails_the_queue_within_the_publish_limit) {
  config.publish_limit = nanoseconds{200'000};  // 200 turns of the clock
  device.enable(false);
  ASSERT_TRUE(queue.configure(config).ok());
  device.attach(config.ring, 6);
  device.enable(true);
  std::atomic<bool> owner_in{false}, follower_in{false}, owner_out{false};
  result<ticket> followers{errc::pending};
  std::thread follower{[&] {
    while (!owner_in.load(std::memory_order_acquire)) std::this_thread::yield();
    followers =
        queue.submit(gate_list{&follower_in, &owner_out}, deadline::never());  // reserved behind the owner; does not finish before it
  }};
  const result<ticket> owners = queue.submit(gate_list{&owner_in, &follower_in}, deadline::never());
  owner_out.store(true, std::memory_order_release);
  follower.join();
  EXPECT_EQ(owners.code(), errc::queue_failed);
  EXPECT_TRUE(queue.failed());
  EXPECT_EQ(device.prod(), 0u);
  if (followers.ok()) {
    EXPECT_EQ(finish(*followers), errc::queue_failed);
  } else {
    EXPECT_EQ(followers.code(), errc::queue_failed);
  }
  ASSERT_TRUE(restart().ok());
  ticket t = must_submit(numbered_list{9, 3});
  EXPECT_EQ(finish(t), errc::ok);
}

/// Three overlapping submissions, each held where the next one needs it: A owns and gathers B, which does not finish; C is
/// the next owner. Nothing may reach PROD until B has finished, and then A's end before C's.
TEST_F(owner_cas, an_owner_waits_for_all_it_gathered_and_for_the_owner_before_it) {
  device.runs_in_waits = false;
  queue_env::clock_is_virtual = false;
  queue_env::event_turn = nullptr;
  std::vector<std::uint32_t> rung;  // PROD values; doorbells are ordered by the queue
  device.on_doorbell = [&](std::uint32_t) { rung.push_back(device.prod()); };
  std::atomic<bool> a_in{false}, b_in{false}, b_leave{false}, always{true}, c_in{false};
  std::atomic<std::uint32_t> a_pauses{0}, c_pauses{0};
  std::atomic<int> returned{0};
  result<ticket> a{errc::pending}, b{errc::pending}, c{errc::pending};
  const auto run = [&](result<ticket>& out, gate_list list, std::atomic<std::uint32_t>* pauses) {
    queue_env::pauses = pauses;
    out = queue.submit(list, deadline::never());
    returned.fetch_add(1, std::memory_order_release);
  };
  const auto until = [&](auto&& condition) {
    while (!condition()) std::this_thread::yield();
  };
  std::thread ta{[&] { run(a, {&a_in, &b_in}, &a_pauses); }};
  until([&] { return a_in.load(std::memory_order_acquire); });
  std::thread tb{[&] { run(b, {&b_in, &b_leave}, nullptr); }};
  until([&] { return a_pauses.load(std::memory_order_relaxed) != 0 || returned.load(std::memory_order_acquire) != 0; });
  std::thread tc{[&] { run(c, {&c_in, &always}, &c_pauses); }};  // the gathering is closed: a new owner
  until([&] { return c_pauses.load(std::memory_order_relaxed) != 0 || returned.load(std::memory_order_acquire) != 0; });
  EXPECT_EQ(returned.load(std::memory_order_acquire), 0);
  EXPECT_EQ(device.prod(), 0u);
  b_leave.store(true, std::memory_order_release);
  ta.join();
  tb.join();
  tc.join();
  EXPECT_EQ(rung, (std::vector<std::uint32_t>{4, 6}));
  device.step(6);
  EXPECT_EQ(finish(*a), errc::ok);
  EXPECT_EQ(finish(*b), errc::ok);
  EXPECT_EQ(finish(*c), errc::ok);
}

TEST(position_map, widens_31_bits_for_as_long_as_one_likes) {
  queue::position_map<queue_env> map;
  const std::uint64_t base = (std::uint64_t{5} << 31) - 192;
  map.start(seq64{base});
  for (std::uint64_t at = base; at < base + (std::uint64_t{1} << 34); at += 500'000) {
    const auto low = static_cast<std::uint32_t>(at & map.mask);
    ASSERT_EQ(value(map.reserved(low)), at);
    // Everything that can still be in a ring of 2^19 slots, and the CONS behind it.
    for (const std::uint64_t back : {std::uint64_t{1}, std::uint64_t{100}, std::uint64_t{1} << 19}) {
      if (at - base < back) continue;
      ASSERT_EQ(value(map.widen(static_cast<std::uint32_t>((at - back) & map.mask))), at - back);
    }
  }
}

}  // namespace
}  // namespace shootdown::test
