// SPDX-License-Identifier: MIT
#include "contract.hpp"

#include <functional>
#include <optional>

#include <shootdown/queue/completion.hpp>
#include <shootdown/queue/ring.hpp>

// Observers that sleep at the worst place, messages that are laps old, and an SMMU whose registers cannot be: none may ever be
// taken for progress.
namespace shootdown::test {
namespace {

/// The scripted device, with a hook behind the sampling of CONS: what happens while the reader is on its way with the value.
struct overtaking_device : queue_device<queue_env> {
  std::function<void()> behind_cons;         // called once, between the sample and the reader
  std::function<void()> before_acknowledge;  // called before GERRORN is written
  std::optional<std::uint32_t> cons_shows;   // what CONS reads instead of the truth
  std::uint32_t read32(std::uint32_t offset) noexcept {
    std::uint32_t v = queue_device::read32(offset);
    if (offset != cons_offset) return v;
    if (cons_shows) v = *cons_shows;
    if (auto hook = std::exchange(behind_cons, nullptr)) hook();
    return v;
  }
  void write32(std::uint32_t offset, std::uint32_t v) noexcept {
    if (offset == gerrorn_offset && before_acknowledge) before_acknowledge();
    queue_device::write32(offset, v);
  }
};

template <class Strategy>
struct overtaken : testing::Test {
  using env = queue_env;
  overtaking_device device;
  queue::command_queue<env, overtaking_device, Strategy> queue{device};
  queue::queue_config<env> config;
  std::uint32_t id{};

  void bring_up(unsigned log2size, queue::completion_mode mode = queue::completion_mode::cons_poll, std::uint64_t garbage = 0) {
    env::failures = 0;
    env::clock_is_virtual = true;
    config.log2size = log2size;
    const std::size_t bytes = std::size_t{16} << log2size;
    config.ring = device.allocate_dma(bytes, bytes);
    config.msi_word = device.allocate_dma(8, 8);
    config.msi_word.cpu->store(garbage, std::memory_order_relaxed);
    config.completion = mode;
    config.prod_offset = device.prod_offset;
    config.cons_offset = device.cons_offset;
    config.gerror_offset = device.gerror_offset;
    config.gerrorn_offset = device.gerrorn_offset;
    ASSERT_TRUE(queue.configure(config).ok());
    device.attach(config.ring, log2size);
    device.enable(true);
    device.runs_in_waits = false;
  }
  void TearDown() override {
    EXPECT_EQ(device.breaches(), "");
    EXPECT_TRUE(queue.check_invariants());
  }
  /// One command and its SYNC.
  ticket send() {
    const result<ticket> r = queue.try_submit(numbered_list{++id, 1});
    EXPECT_EQ(r.code(), errc::ok) << id;
    return *r;
  }
  void send_and_settle() {
    ticket t = send();
    device.step(2);
    EXPECT_EQ(queue.poll(t).code(), errc::ok) << id;
  }
};
struct overtaken_locked : overtaken<queue::locked> {};
struct overtaken_owner_cas : overtaken<queue::owner_cas> {};

// The sampled CONS is 0. Before its reader goes on, the queue moves a lap and a half: completed is 6, [6, 10) is under way, and
// from 6 on the first position with the bits of 0 is 8.
TEST_F(overtaken_locked, an_observer_that_slept_for_more_than_a_lap_learns_less_never_more) {
  bring_up(2);
  ticket first = send(), u{}, v{};
  device.behind_cons = [&] {
    device.step(2);
    for (unsigned i = 0; i != 2; ++i) send_and_settle();
    u = send();
    v = send();
  };
  static_cast<void>(queue.poll(first));
  EXPECT_EQ(queue.poll(u).code(), errc::pending) << "nothing of it was consumed";
  EXPECT_EQ(queue.poll(v).code(), errc::pending);
  device.step(4);
  EXPECT_EQ(queue.poll(v).code(), errc::ok);
  EXPECT_EQ(queue.poll(u).code(), errc::ok);
  EXPECT_EQ(queue.poll(first).code(), errc::ok);
}

// The same in a submitter that looks for room.
TEST_F(overtaken_locked, a_submitter_that_slept_gives_no_slot_away) {
  bring_up(2);
  ticket a = send(), b = send();  // full
  std::uint32_t seen = 0;
  device.on_doorbell = [&](std::uint32_t used) { seen = std::max(seen, used); };
  device.behind_cons = [&] {
    device.step(4);
    EXPECT_EQ(queue.poll(a).code(), errc::ok);
    EXPECT_EQ(queue.poll(b).code(), errc::ok);
  };
  const result<ticket> r = queue.try_submit(numbered_list{++id, 3});  // by the sample nothing is free
  EXPECT_EQ(r.code(), errc::would_block);
  ticket c = send(), d = send();
  EXPECT_EQ(queue.try_submit(numbered_list{++id, 1}).code(), errc::would_block);
  EXPECT_LE(seen, 4u);
  device.step(4);
  EXPECT_EQ(queue.poll(d).code(), errc::ok);
  EXPECT_EQ(queue.poll(c).code(), errc::ok);
}

template <class Fixture>
void cons_that_cannot_be(Fixture& f, unsigned log2size) {
  f.bring_up(log2size);
  for (unsigned i = 0; i != 5; ++i) f.send_and_settle();  // position 10
  ticket t = f.send();
  for (const std::uint32_t shown : {0u, 7u, 0x8fff'ffffu, 0xffff'ffffu}) {
    f.device.cons_shows = shown;
    EXPECT_EQ(f.queue.poll(t).code(), errc::pending) << shown;
    EXPECT_EQ(f.queue.wait(t, deadline::in(queue_env::now(), nanoseconds{200'000})).code(), errc::timed_out) << shown;
  }
  f.device.cons_shows.reset();
  EXPECT_EQ(f.queue.poll(t).code(), errc::pending);
  f.device.step(2);
  EXPECT_EQ(f.queue.poll(t).code(), errc::ok);
  EXPECT_EQ(queue_env::failures, 0);
}
TEST_F(overtaken_locked, an_smmu_that_lost_its_state_is_never_taken_for_completion) { cons_that_cannot_be(*this, 3); }
TEST_F(overtaken_owner_cas, an_smmu_that_lost_its_state_is_never_taken_for_completion) { cons_that_cannot_be(*this, 6); }

TEST_F(overtaken_owner_cas, a_submitter_believes_no_cons_beyond_what_was_submitted) {
  bring_up(6);
  for (unsigned i = 0; i != 5; ++i) send_and_settle();
  ASSERT_TRUE(queue.try_submit(numbered_list{++id, 64, completion::none}).ok());  // full, and nobody waits
  for (const std::uint32_t shown : {0u, 9u, 0xffff'ffffu}) {
    device.cons_shows = shown;
    EXPECT_EQ(queue.try_submit(numbered_list{++id, 1}).code(), errc::would_block) << shown;
  }
  EXPECT_EQ(queue_env::failures, 0);
  device.cons_shows.reset();
  device.step(64);
  ASSERT_TRUE(queue.try_submit(numbered_list{++id, 64, completion::none}).ok());
}

template <class Fixture>
void error_at_a_position_that_cannot_be(Fixture& f, unsigned log2size) {
  f.bring_up(log2size);
  for (unsigned i = 0; i != 5; ++i) f.send_and_settle();
  ticket t = f.send();
  f.device.raise(1);
  for (const std::uint32_t shown : {0x0100'0007u, 0x0100'0000u, 0xffff'ffffu}) {
    f.device.cons_shows = shown;
    EXPECT_EQ(f.queue.recover().code(), errc::unknown_error) << shown;
    EXPECT_TRUE(f.device.error_active()) << "not acknowledged: nothing was repaired";
  }
  EXPECT_EQ(f.queue.errors().total(), 0u);
  f.device.cons_shows.reset();
  EXPECT_EQ(f.queue.recover().code(), errc::unknown_error);  // CONS has no error code: acknowledged, nothing in doubt
  f.device.step(2);
  EXPECT_EQ(f.queue.poll(t).code(), errc::ok);
  EXPECT_EQ(check_stream(f.device.consumed()), "") << "no slot was overwritten";
}
TEST_F(overtaken_locked, recovery_touches_no_slot_for_registers_that_cannot_be) { error_at_a_position_that_cannot_be(*this, 3); }
TEST_F(overtaken_owner_cas, recovery_touches_no_slot_for_registers_that_cannot_be) { error_at_a_position_that_cannot_be(*this, 6); }

// The device goes on at the write of GERRORN, on another CPU perhaps: whoever then sees the queue move has to find the record.
TEST_F(overtaken_locked, the_record_and_the_new_command_are_there_before_the_device_goes_on) {
  using fault_kind = queue_device<queue_env>::fault;
  for (const auto kind : {fault_kind::illegal, fault_kind::atc_timeout}) {
    if (kind == fault_kind::illegal) bring_up(3);
    bool once = true;
    device.fault_of = [&](command c) {
      return is_sync(c) == (kind == fault_kind::atc_timeout) && std::exchange(once, false) ? kind : fault_kind::none;
    };
    const std::uint64_t before = queue.errors().total();
    unsigned acknowledged = 0;
    ticket t = send();
    device.before_acknowledge = [&] {
      ++acknowledged;
      EXPECT_EQ(queue.errors().total(), before + 1);
      const auto slot = config.ring.cpu + std::size_t{device.cons() & 7u} * 2;
      EXPECT_TRUE(is_sync({slot[0].load(std::memory_order_relaxed), 0}));
    };
    device.step(2);
    EXPECT_TRUE(device.error_active());
    EXPECT_EQ(queue.recover().code(), kind == fault_kind::illegal ? errc::illegal_command : errc::atc_timed_out);
    EXPECT_EQ(acknowledged, 1u);
    device.before_acknowledge = nullptr;
    device.step(2);
    EXPECT_EQ(queue.poll(t).code(), kind == fault_kind::illegal ? errc::illegal_command : errc::atc_timed_out);
  }
}

// CMDQ_ERR may become active between a service's recovery and its acknowledgement of the rest.
TEST_F(overtaken_locked, the_service_of_other_errors_leaves_the_queue_error_to_recovery) {
  bring_up(3);
  ticket t = send();
  device.raise(1u | 4u | 8u);
  EXPECT_EQ(queue.acknowledge(~std::uint32_t{0}), 12u);
  EXPECT_TRUE(device.error_active());
  EXPECT_EQ(queue.acknowledge(~std::uint32_t{0}), 0u);
  EXPECT_EQ(queue.recover().code(), errc::unknown_error);
  EXPECT_FALSE(device.error_active());
  device.step(2);
  EXPECT_EQ(queue.poll(t).code(), errc::ok);
}

TEST_F(overtaken_owner_cas, abandoning_a_ticket_of_an_older_generation_gives_no_share_back) {
  bring_up(6);
  ticket old = send();
  device.enable(false);
  ASSERT_TRUE(queue.reset().ok());
  device.attach(config.ring, 6);
  device.enable(true);
  ticket now = send(), later = send();
  queue.abandon(old);
  EXPECT_EQ(queue.poll(old).code(), errc::timed_out);
  device.step(4);
  EXPECT_EQ(queue.poll(now).code(), errc::ok);
  EXPECT_TRUE(queue.check_invariants());
  EXPECT_EQ(queue.poll(later).code(), errc::ok);
  EXPECT_TRUE(queue.check_invariants());
  EXPECT_TRUE(queue.try_submit(numbered_list{++id, 64, completion::none}).ok()) << "the last one out moved CONS";
}

TEST_F(overtaken_locked, what_the_message_word_held_before_says_nothing) {
  bring_up(3, queue::completion_mode::msi, 0x5555'0000'0000'0004);
  ticket t = send();
  EXPECT_EQ(queue.poll(t).code(), errc::pending);
  device.step(2);
  EXPECT_EQ(queue.poll(t).code(), errc::ok);
}

/// A tracker in message mode over registers and a word that the test writes.
struct tracker_rig {
  overtaking_device device;
  queue::ring<queue_env, overtaking_device> ring{device};
  queue::queue_config<queue_env> config;
  queue::completion_tracker<queue_env, overtaking_device> tracker{ring};
  explicit tracker_rig(seq64 base) {
    config.log2size = 19;
    config.prod_offset = device.prod_offset;
    config.cons_offset = device.cons_offset;
    config.completion = queue::completion_mode::msi;
    config.msi_word = device.allocate_dma(8, 8);
    ring.configure(config);
    tracker.start(base);
  }
  void shows(std::uint64_t at) { device.cons_shows = static_cast<std::uint32_t>(at) & 0xf'ffffu; }
  void message(std::uint64_t at) { config.msi_word.cpu->store_low(static_cast<std::uint32_t>(at), std::memory_order_relaxed); }
  std::uint64_t look(bool thorough) {
    static_cast<void>(tracker.observe(thorough, [] { return seq64{std::uint64_t{1} << 40}; }));
    return value(tracker.completed());
  }
};

TEST(completion_tracker, a_message_across_the_wrap_of_its_32_bits_is_one_step_forward) {
  const std::uint64_t wrap = std::uint64_t{1} << 32;
  tracker_rig r{seq64{wrap - 8}};
  r.shows(wrap - 8);
  r.message(wrap - 3);
  EXPECT_EQ(r.look(false), wrap - 3);
  r.message(wrap + 5);
  EXPECT_EQ(r.look(false), wrap + 5) << "by the message alone: CONS has not been read";
}

TEST(completion_tracker, an_observer_with_an_older_cons_moves_nothing_back) {
  tracker_rig r{seq64{0}};
  r.shows(4);
  r.device.behind_cons = [&] {
    r.shows(9);
    EXPECT_EQ(r.look(true), 9u);
  };
  EXPECT_EQ(r.look(true), 9u) << "sampled 4, then slept while another observer saw 9";
  r.message(12);
  r.shows(11);
  EXPECT_EQ(r.look(false), 12u);
  EXPECT_EQ(r.look(true), 12u) << "a message may be seen before CONS has moved";
}

// Every message since position 3 is lost. From 2^31 positions later the word, as a signed difference, would be ahead.
TEST(completion_tracker, a_message_word_that_is_2_to_the_31_behind_is_not_ahead) {
  tracker_rig r{seq64{0}};
  r.message(3);
  ASSERT_EQ(r.look(false), 3u);
  const std::uint64_t end = (std::uint64_t{1} << 32) + (std::uint64_t{1} << 22);
  for (std::uint64_t at = std::uint64_t{1} << 19; at <= end; at += std::uint64_t{1} << 19) {
    r.shows(at);
    ASSERT_EQ(r.look(true), at);
    ASSERT_EQ(r.look(false), at) << "the word still says 3";
  }
  r.message(end + 10);
  r.shows(end + 10);
  EXPECT_EQ(r.look(true), end + 10);
}

}  // namespace
}  // namespace shootdown::test
