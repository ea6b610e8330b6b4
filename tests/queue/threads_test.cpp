// SPDX-License-Identifier: MIT
#include "contract.hpp"

#include <atomic>
#include <random>
#include <thread>
#include <type_traits>
#include <vector>

// Several submitters and a device with a thread of its own: nothing orders them but the ring, the registers and the MSI
// word. The memory handed back and forth is plain, so ThreadSanitizer sees every missing edge.
namespace shootdown::test {
namespace {

constexpr std::uint32_t threads = 3;
constexpr std::uint32_t lists_each = 120;

template <class V>
struct command_queue_threads : queue_fixture<V> {
  void SetUp() override {
    queue_fixture<V>::SetUp();
    queue_env::clock_is_virtual = false;
    queue_env::event_turn = nullptr;
    this->device.burst = 4;
  }
  /// Runs body(thread number) on every thread beside the device; the device has consumed everything at the end.
  template <class Body>
  void together(Body body) {
    this->device.start_thread();
    std::vector<std::thread> crew;
    for (std::uint32_t t = 0; t != threads; ++t) crew.emplace_back([body, t] { body(t); });
    for (std::thread& each : crew) each.join();
    this->device.stop_thread();
    while (this->device.step(64) != 0) {
    }
  }
  [[nodiscard]] static deadline soon() {
    return deadline::in(queue_env::now(), nanoseconds{60'000'000'000});
  }  // only to fail instead of hanging
  [[nodiscard]] static std::uint32_t id(std::uint32_t thread, std::uint32_t n) { return thread * lists_each + n; }
};
TYPED_TEST_SUITE(command_queue_threads, all_variants, variant_name);

TYPED_TEST(command_queue_threads, earlier_writes_reach_the_device_and_its_effects_reach_the_waiter) {
  std::vector<std::uint64_t> written(threads * lists_each), effect(threads * lists_each);  // plain memory
  std::uint64_t unseen = 0;
  this->device.on_command = [&](command c) {
    if (is_sync(c)) return;
    if (written[list_of(c)] != list_of(c) * 3u + 1) ++unseen;  // guarantee 1
    effect[list_of(c)] = list_of(c) * 5u + 1;
  };
  std::atomic<std::uint64_t> wrong{0};
  this->together([&](std::uint32_t thread) {
    std::mt19937 random{thread + 1};
    for (std::uint32_t n = 0; n != lists_each; ++n) {
      const std::uint32_t list = this->id(thread, n);
      written[list] = list * 3u + 1;
      result<ticket> t = this->queue.submit(
          numbered_list{list, 1 + static_cast<std::uint32_t>(random() % 3), completion::sync, static_cast<std::uint16_t>(thread)},
          this->soon());
      if (!t.ok() || !this->queue.wait(*t, this->soon()).ok() || effect[list] != list * 5u + 1)
        wrong.fetch_add(1, std::memory_order_relaxed);
      written[list] = 0;  // guarantee 2: the device is done with it
    }
  });
  EXPECT_EQ(wrong.load(), 0u);
  EXPECT_EQ(unseen, 0u);
  EXPECT_EQ(check_stream(this->device.consumed()), "");
}

TYPED_TEST(command_queue_threads, lists_of_many_submitters_stay_whole_and_in_order) {
  const std::uint32_t doorbells = this->device.doorbells();
  std::atomic<std::uint64_t> wrong{0}, sent{0};
  this->together([&](std::uint32_t thread) {
    std::mt19937 random{thread + 77};
    std::uint64_t mine = 0;
    for (std::uint32_t n = 0; n != lists_each; ++n) {
      const bool waits = random() % 4 != 0;
      const std::uint32_t size = 1 + static_cast<std::uint32_t>(random() % (this->slots() - 1));
      result<ticket> t = this->queue.submit(
          numbered_list{this->id(thread, n), size, waits ? completion::sync : completion::none, static_cast<std::uint16_t>(thread)},
          this->soon());
      if (!t.ok()) {
        wrong.fetch_add(1, std::memory_order_relaxed);
        continue;
      }
      mine += size + (waits ? 1 : 0);
      status s = errc::pending;
      if (random() % 2 == 0) {
        while (s == status{errc::pending}) {
          s = this->queue.poll(*t);
          this->queue.idle(this->soon());
        }
      } else {
        s = this->queue.wait(*t, this->soon());
      }
      if (!s.ok()) wrong.fetch_add(1, std::memory_order_relaxed);
    }
    sent.fetch_add(mine, std::memory_order_relaxed);
  });
  EXPECT_EQ(wrong.load(), 0u);
  EXPECT_EQ(this->device.consumed().size(), sent.load());
  EXPECT_EQ(check_stream(this->device.consumed()), "");
  const std::uint32_t rung = this->device.doorbells() - doorbells;
  EXPECT_LE(rung, threads * lists_each);
  if constexpr (std::is_same_v<typename TypeParam::strategy, queue::locked>) {
    EXPECT_EQ(rung, threads * lists_each);  // one doorbell per list; owner_cas may gather
  }
}

TYPED_TEST(command_queue_threads, refused_commands_are_blamed_on_their_own_tickets_while_all_go_on) {
  // No more errors than the log holds, so that nothing is forgotten, however the threads are scheduled.
  const auto bad = [](std::uint32_t list) { return list % 24 == 7; };
  this->device.fault_of = [&](command c) {
    const bool first = !is_sync(c) && (c.dw1 & 0xffff) == 0;
    return first && bad(list_of(c)) ? queue_device<queue_env>::fault::illegal : queue_device<queue_env>::fault::none;
  };
  std::atomic<std::uint64_t> wrong{0};
  this->together([&](std::uint32_t thread) {
    for (std::uint32_t n = 0; n != lists_each; ++n) {
      const std::uint32_t list = this->id(thread, n);
      result<ticket> t = this->queue.submit(numbered_list{list, 2, completion::sync, static_cast<std::uint16_t>(thread)}, this->soon());
      const errc expected = bad(list) ? errc::illegal_command : errc::ok;
      if (!t.ok() || this->queue.wait(*t, this->soon()).code() != expected) wrong.fetch_add(1, std::memory_order_relaxed);
    }
  });
  EXPECT_EQ(wrong.load(), 0u);
  std::uint64_t expected = 0;
  for (std::uint32_t list = 0; list != threads * lists_each; ++list) expected += bad(list) ? 1 : 0;
  EXPECT_LE(expected, queue::error_log<queue_env>::capacity);
  EXPECT_EQ(this->queue.errors().total(), expected);
  EXPECT_FALSE(this->device.error_active());
}

TYPED_TEST(command_queue_threads, failing_the_queue_releases_everybody) {
  this->device.stuck = true;
  std::atomic<std::uint32_t> in{0};
  std::atomic<std::uint64_t> wrong{0};
  std::vector<std::thread> crew;
  for (std::uint32_t thread = 0; thread != threads; ++thread)
    crew.emplace_back([&, thread] {
      in.fetch_add(1, std::memory_order_relaxed);
      for (std::uint32_t n = 0;; ++n) {  // fills the ring, then waits for room
        result<ticket> t =
            this->queue.submit(numbered_list{this->id(thread, n), 2, completion::none, static_cast<std::uint16_t>(thread)}, this->soon());
        if (t.ok()) continue;
        if (t.code() != errc::queue_failed) wrong.fetch_add(1, std::memory_order_relaxed);
        break;
      }
    });
  while (in.load(std::memory_order_relaxed) != threads) std::this_thread::yield();
  this->queue.fail();
  for (std::thread& each : crew) each.join();
  EXPECT_EQ(wrong.load(), 0u);
  this->device.stuck = false;
  this->device.runs_in_idle = true;
  this->device.forget();
  ASSERT_TRUE(this->restart().ok());
  queue_env::clock_is_virtual = true;
  queue_env::event_turn = [this] { this->device.idle(deadline::never()); };
  ticket t = this->must_submit(numbered_list{1, 1});
  EXPECT_EQ(this->finish(t), errc::ok);
}

}  // namespace
}  // namespace shootdown::test
