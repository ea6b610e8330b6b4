// SPDX-License-Identifier: MIT
#include "contract.hpp"

#include <array>
#include <random>
#include <type_traits>

// The contract of a command queue, one device turn at a time: the same cases for every strategy and every way to complete.
namespace shootdown::test {
namespace {

template <class V>
struct command_queue : queue_fixture<V> {};
TYPED_TEST_SUITE(command_queue, all_variants, variant_name);

TYPED_TEST(command_queue, sends_the_commands_in_order_and_one_sync_of_the_configured_kind_behind_them) {
  const numbered_list list{7, 3};
  ticket t = this->must_submit(list);
  EXPECT_TRUE(t.awaits);
  EXPECT_FALSE(t.settled);
  EXPECT_EQ(distance(t.end, t.first), 4);
  EXPECT_EQ(this->finish(t), errc::ok);
  const auto& got = this->device.consumed();
  ASSERT_EQ(got.size(), 4u);
  for (std::uint32_t i = 0; i != 3; ++i) EXPECT_EQ(got[i], list.at(i));
  const auto s = cmd::sync::decode(got[3]);
  EXPECT_EQ(opcode_of(got[3]), opcode::sync);
  switch (TypeParam::mode) {
    case completion_mode::cons_poll: EXPECT_EQ(got[3], (command{0x46, 0})); break;
    case completion_mode::cons_sev: EXPECT_EQ(got[3], (command{0x0fc02046, 0})); break;
    case completion_mode::msi: {
      EXPECT_EQ(s.cs, cmd::sync_signal::irq);
      EXPECT_EQ(s.msh, shareability::inner);
      EXPECT_EQ(s.msiattr, 0xf);
      const bool own_slot = std::is_same_v<typename TypeParam::strategy, queue::owner_cas>;
      EXPECT_EQ(raw(s.msiaddr), own_slot ? raw(this->config.ring.bus) + 3 * 16 : raw(this->config.msi_word.bus));
      EXPECT_EQ(s.msidata, own_slot ? 0u : 4u);
      break;
    }
  }
}

TYPED_TEST(command_queue, a_ticket_is_pending_until_its_sync_has_been_consumed) {
  this->device.runs_in_waits = false;
  ticket t = this->must_submit(numbered_list{1, 2});
  EXPECT_EQ(this->queue.poll(t).code(), errc::pending);
  this->device.step(2);
  EXPECT_EQ(this->queue.poll(t).code(), errc::pending);
  EXPECT_FALSE(t.settled);
  this->device.step(1);
  EXPECT_EQ(this->queue.poll(t).code(), errc::ok);
  EXPECT_TRUE(t.settled);
  EXPECT_EQ(this->queue.poll(t).code(), errc::ok);  // a settled ticket keeps its answer
  EXPECT_EQ(this->finish(t), errc::ok);
}

TYPED_TEST(command_queue, a_later_ticket_says_nothing_about_whether_an_earlier_one_was_waited_for) {
  ticket a = this->must_submit(numbered_list{1, 1}), b = this->must_submit(numbered_list{2, 1});
  EXPECT_EQ(this->finish(b), errc::ok);
  EXPECT_FALSE(a.settled);
  EXPECT_EQ(this->finish(a), errc::ok);
}

TYPED_TEST(command_queue, takes_a_list_that_fills_the_ring_and_refuses_one_command_more) {
  EXPECT_EQ(this->queue.max_list(), this->slots() / 2);
  const result<ticket> r = this->queue.submit(numbered_list{1, this->slots()}, deadline::never());
  EXPECT_EQ(r.code(), errc::too_large);
  EXPECT_EQ(this->queue.try_submit(numbered_list{1, this->slots() + 1, completion::none}).code(), errc::too_large);
  EXPECT_EQ(this->device.prod(), 0u);
  for (std::uint32_t i = 0; i != 5; ++i) {
    ticket t = this->must_submit(numbered_list{10 + i, this->slots() - 1});
    EXPECT_EQ(this->finish(t), errc::ok);
  }
  EXPECT_EQ(this->device.consumed().size(), 5 * this->slots());
  EXPECT_EQ(check_stream(this->device.consumed()), "");
}

TYPED_TEST(command_queue, refuses_an_empty_list_but_sends_a_bare_sync) {
  EXPECT_EQ(this->queue.submit(numbered_list{1, 0, completion::none}, deadline::never()).code(), errc::empty_range);
  EXPECT_EQ(this->device.prod(), 0u);
  ticket t = this->must_submit(numbered_list{1, 0});
  EXPECT_EQ(distance(t.end, t.first), 1);
  EXPECT_EQ(this->finish(t), errc::ok);
  ASSERT_EQ(this->device.consumed().size(), 1u);
  EXPECT_TRUE(is_sync(this->device.consumed()[0]));
}

TYPED_TEST(command_queue, a_list_without_completion_gets_no_sync_and_no_waiter) {
  ticket t = this->must_submit(numbered_list{1, 2, completion::none});
  EXPECT_FALSE(t.awaits);
  EXPECT_TRUE(t.settled);
  EXPECT_EQ(this->finish(t), errc::ok);
  EXPECT_TRUE(this->device.consumed().empty());  // the answer says "sent", it waits for nothing
  this->device.step(10);
  ASSERT_EQ(this->device.consumed().size(), 2u);
  EXPECT_EQ(check_stream(this->device.consumed()), "");
}

TYPED_TEST(command_queue, interior_syncs_are_commands_like_any_other) {
  const numbered_list n{1, 2};
  const std::array<command, 3> commands{n.at(0), cmd::sync::silent().encode(), n.at(1)};
  const host::tally before = host::thread_stats::mine();
  ticket t = this->must_submit(array_list{commands.data(), 3});
  const host::tally spent = host::thread_stats::mine() - before;
  EXPECT_EQ(this->finish(t), errc::ok);
  ASSERT_EQ(this->device.consumed().size(), 4u);
  EXPECT_EQ(this->device.consumed()[1], commands[1]);
  EXPECT_TRUE(is_sync(this->device.consumed()[3]));
  EXPECT_EQ(spent[counter::submissions], 1u);
  EXPECT_EQ(spent[counter::commands], 4u);
  EXPECT_EQ(spent[counter::syncs], 2u);
  EXPECT_EQ(spent[counter::doorbells], 1u);
  EXPECT_EQ(spent[counter::bytes], 64u);
}

TYPED_TEST(command_queue, the_ring_wraps_for_many_laps_with_lists_of_every_size) {
  std::mt19937 random{20261121};
  this->device.burst = 3;
  std::uint32_t sent = 0;
  for (std::uint32_t id = 1; id != 600; ++id) {
    const std::uint32_t size = 1 + static_cast<std::uint32_t>(random() % (this->slots() - 1));
    const bool waits = random() % 3 != 0;
    ticket t = this->must_submit(numbered_list{id, size, waits ? completion::sync : completion::none});
    if (waits) {
      ASSERT_EQ(this->finish(t), errc::ok) << id;
    }
    sent += size + (waits ? 1 : 0);
  }
  this->device.step(this->slots());
  EXPECT_EQ(this->device.consumed().size(), sent);
  EXPECT_EQ(check_stream(this->device.consumed()), "");
}

TYPED_TEST(command_queue, positions_cross_31_and_32_bits_without_a_seam) {
  for (const std::uint64_t edge : {std::uint64_t{1} << 31, std::uint64_t{1} << 32, std::uint64_t{3} << 31}) {
    const std::uint64_t two_laps = 2 * this->slots();
    ASSERT_TRUE(this->restart(seq64{edge - two_laps}).ok());
    seq64 last{edge - two_laps};
    for (std::uint32_t i = 0; i != 4 * this->slots(); ++i) {
      const numbered_list list{i + 1, 1 + i % 3};
      const std::uint32_t marked = i + 1;
      if (i % 7 == 3)
        this->device.fault_of = [marked](command c) {
          return !is_sync(c) && list_of(c) == marked ? queue_device<queue_env>::fault::illegal : queue_device<queue_env>::fault::none;
        };
      ticket t = this->must_submit(list);
      ASSERT_EQ(value(t.first), value(last));
      last = t.end;
      ASSERT_EQ(this->finish(t), i % 7 == 3 ? errc::illegal_command : errc::ok) << i;
      this->device.fault_of = nullptr;
    }
    EXPECT_GT(value(last), edge);
  }
}

TYPED_TEST(command_queue, try_submit_takes_exactly_what_fits) {
  this->fill(3);
  EXPECT_EQ(this->queue.try_submit(numbered_list{1, 3}).code(), errc::would_block);
  EXPECT_EQ(this->queue.try_submit(numbered_list{1, 4, completion::none}).code(), errc::would_block);
  const std::uint32_t prod = this->device.prod();
  result<ticket> r = this->queue.try_submit(numbered_list{2, 2});
  ASSERT_TRUE(r.ok());
  EXPECT_NE(this->device.prod(), prod);
  EXPECT_EQ(this->queue.try_submit(numbered_list{3, 0}).code(), errc::would_block);
  this->device.stuck = false;
  EXPECT_EQ(this->finish(*r), errc::ok);
}

TYPED_TEST(command_queue, waiting_for_room_ends_as_soon_as_the_list_fits) {
  for (std::uint32_t need = 1; need <= this->slots(); need += this->slots() / 4) {
    ASSERT_TRUE(this->restart().ok());
    this->fill(0);
    this->device.stuck = false;
    this->device.runs_in_waits = false;
    this->device.runs_in_idle = true;  // one command per turn of the wait, none in between
    std::uint32_t used = 0;
    this->device.on_doorbell = [&used](std::uint32_t u) { used = u; };
    const host::tally before = host::thread_stats::mine();
    ticket t = this->must_submit(numbered_list{1, need - 1});
    EXPECT_EQ(used, this->slots());  // not one slot later than it fitted
    EXPECT_EQ((host::thread_stats::mine() - before)[counter::space_waits], 1u);
    this->device.on_doorbell = nullptr;
    EXPECT_EQ(this->finish(t), errc::ok);
  }
}

TYPED_TEST(command_queue, a_deadline_while_waiting_for_room_leaves_nothing_behind) {
  this->fill(2);
  const std::uint32_t prod = this->device.prod();
  EXPECT_EQ(this->queue.submit(numbered_list{2001, 3}, this->in_turns(200)).code(), errc::timed_out);
  EXPECT_EQ(this->device.prod(), prod);
  this->device.stuck = false;
  ticket t = this->must_submit(numbered_list{2002, 3});
  EXPECT_EQ(this->finish(t), errc::ok);
  for (const command c : this->device.consumed()) EXPECT_NE(list_of(c), 2001u);
  EXPECT_EQ(check_stream(this->device.consumed()), "");
}

TYPED_TEST(command_queue, slots_that_trickle_free_do_not_restart_the_deadline) {
  this->fill(0);
  this->device.runs_in_waits = false;
  // 2 slots come free and no more: "not full" is true, "3 fit" never.
  this->device.stuck = false;
  this->device.step(2);
  this->device.stuck = true;
  const std::uint64_t turns = this->device.idles();
  EXPECT_EQ(this->queue.submit(numbered_list{1, 2}, this->in_turns(300)).code(), errc::timed_out);
  EXPECT_LE(this->device.idles() - turns, 300u);
  EXPECT_GT(this->device.idles() - turns, 30u);
}

TYPED_TEST(command_queue, a_stuck_device_times_out_the_call_that_waited_and_a_later_wait_succeeds) {
  this->device.stuck = true;
  ticket t = this->must_submit(numbered_list{1, 1});
  EXPECT_EQ(this->queue.wait(t, this->in_turns(300)).code(), errc::timed_out);
  EXPECT_FALSE(t.settled);
  EXPECT_EQ(this->queue.wait(t, this->in_turns(1)).code(), errc::timed_out);
  this->device.stuck = false;
  EXPECT_EQ(this->finish(t), errc::ok);
  ticket next = this->must_submit(numbered_list{2, 1});
  EXPECT_EQ(this->finish(next), errc::ok);
}

TYPED_TEST(command_queue, a_passed_deadline_does_not_refuse_what_needs_no_wait) {
  const result<ticket> r = this->queue.submit(numbered_list{1, 1}, deadline{instant{0}});
  ASSERT_TRUE(r.ok());
  ticket t = *r;
  this->device.step(2);
  EXPECT_EQ(this->queue.wait(t, deadline{instant{0}}).code(), errc::ok);
}

TYPED_TEST(command_queue, a_slow_sync_is_waited_for) {
  this->device.sync_delay = 500;
  ticket t = this->must_submit(numbered_list{1, 1});
  EXPECT_EQ(this->finish(t), errc::ok);
  EXPECT_EQ(this->device.consumed().size(), 2u);
}

template <class V>
struct command_queue_by_message : queue_fixture<V> {};
TYPED_TEST_SUITE(command_queue_by_message, message_variants, variant_name);

TYPED_TEST(command_queue_by_message, a_lost_message_is_found_in_cons) {
  this->device.drops_msi = true;
  ticket a = this->must_submit(numbered_list{1, 1});
  EXPECT_EQ(this->finish(a), errc::ok);
  ticket b = this->must_submit(numbered_list{2, 1});
  this->device.step(2);
  EXPECT_EQ(this->queue.wait(b, deadline{instant{0}}).code(), errc::ok);  // the last look before a timeout reads CONS
  ticket c = this->must_submit(numbered_list{3, 1});
  this->device.step(2);
  unsigned polls = 0;
  while (this->queue.poll(c).code() == errc::pending && polls < 1000) ++polls;
  EXPECT_TRUE(c.settled);
  EXPECT_LE(polls, 64u);
  this->device.drops_msi = false;
  EXPECT_EQ(this->queue.acknowledge(0x1fd), 16u);
  EXPECT_EQ(this->queue.acknowledge(0x1fd), 0u);
  ticket d = this->must_submit(numbered_list{4, 1});
  EXPECT_EQ(this->finish(d), errc::ok);
}

TYPED_TEST(command_queue_by_message, a_message_that_is_seen_before_cons_has_moved_gives_no_slot_away) {
  this->device.runs_in_waits = false;
  std::uint32_t id = 1;
  for (std::uint32_t round = 0; round != 3 * this->slots(); ++round) {
    ticket t = this->must_submit(numbered_list{id++, 1 + round % (this->slots() - 1)});
    const std::uint32_t fills = this->slots() - 1;
    result<ticket> early{errc::pending};
    this->device.before_cons = [&] {
      EXPECT_EQ(this->queue.poll(t).code(), errc::ok);
      early = this->queue.try_submit(numbered_list{id, fills});  // needs every slot, and the SYNC still has one
      EXPECT_TRUE(this->queue.check_invariants());
    };
    this->device.step(this->slots());
    this->device.before_cons = nullptr;
    EXPECT_EQ(early.code(), errc::would_block);
    ticket u = this->must_submit(numbered_list{id++, fills});
    EXPECT_EQ(distance(u.first, t.end), 0);
    this->device.step(this->slots());
    EXPECT_EQ(this->finish(u), errc::ok);
  }
}

struct liar {
  std::uint32_t says, emits;
  [[nodiscard]] std::uint32_t size() const noexcept { return says; }
  [[nodiscard]] completion closing() const noexcept { return completion::sync; }
  void emit(std::uint32_t, std::uint32_t, auto&& sink) const noexcept {
    for (std::uint32_t i = 0; i != emits; ++i) sink(numbered_list{1, emits}.at(i));
  }
};

TYPED_TEST(command_queue, a_list_that_emits_less_or_more_than_it_said_cannot_tear_the_ring) {
  for (const liar l : {liar{3, 1}, liar{2, 3}}) {
    this->device.forget();
    queue_env::failures = 0;
    ticket t = this->must_submit(l);
    EXPECT_EQ(this->finish(t), errc::ok);
    EXPECT_EQ(queue_env::failures.load(), 1);
    EXPECT_EQ(this->device.consumed().size(), l.says + 1);
    EXPECT_TRUE(is_sync(this->device.consumed().back()));
  }
  queue_env::failures = 0;
}

TYPED_TEST(command_queue, reset_fails_older_tickets_and_starts_afresh) {
  this->device.stuck = true;
  ticket old = this->must_submit(numbered_list{1, 1});
  ticket done = this->must_submit(numbered_list{2, 0, completion::sync});
  const std::uint32_t generation = this->queue.generation();
  this->device.stuck = false;
  ASSERT_TRUE(this->restart().ok());
  EXPECT_EQ(this->queue.generation(), generation + 1);
  EXPECT_EQ(this->device.prod(), 0u);
  EXPECT_EQ(this->device.cons(), 0u);
  EXPECT_EQ(this->queue.poll(old).code(), errc::queue_failed);
  EXPECT_TRUE(old.settled);
  EXPECT_EQ(this->finish(done), errc::queue_failed);
  for (std::uint32_t id = 10; id != 20; ++id) {
    ticket t = this->must_submit(numbered_list{id, 2});
    EXPECT_GE(distance(t.first, done.end), 0);
    EXPECT_EQ(this->finish(t), errc::ok);
  }
  EXPECT_EQ(check_stream(this->device.consumed()), "");
}

TYPED_TEST(command_queue, a_failed_queue_answers_queue_failed_until_it_is_reset) {
  this->device.stuck = true;
  ticket t = this->must_submit(numbered_list{1, 1});
  this->queue.fail();
  EXPECT_TRUE(this->queue.failed());
  EXPECT_EQ(this->queue.submit(numbered_list{2, 1}, deadline::never()).code(), errc::queue_failed);
  EXPECT_EQ(this->queue.try_submit(numbered_list{2, 1}).code(), errc::queue_failed);
  EXPECT_EQ(this->finish(t), errc::queue_failed);
  this->device.stuck = false;
  ASSERT_TRUE(this->restart().ok());
  ticket n = this->must_submit(numbered_list{3, 1});
  EXPECT_EQ(this->finish(n), errc::ok);
}

TYPED_TEST(command_queue, before_it_is_configured_everything_answers_queue_failed) {
  typename TestFixture::queue_type raw_queue{this->device};
  ticket t{};
  EXPECT_EQ(raw_queue.submit(numbered_list{1, 1}, deadline::never()).code(), errc::queue_failed);
  EXPECT_EQ(raw_queue.poll(t).code(), errc::queue_failed);
  EXPECT_EQ(raw_queue.reset().code(), errc::queue_failed);
  EXPECT_EQ(raw_queue.recover().code(), errc::queue_failed);
  EXPECT_TRUE(raw_queue.check_invariants());
}

TYPED_TEST(command_queue, interrupts_are_on_in_every_wait_and_off_from_reservation_to_doorbell) {
  // The device notes both breaches; here are waits of both kinds.
  this->fill(0);
  this->device.stuck = false;
  ticket t = this->must_submit(numbered_list{1, this->slots() - 1});
  EXPECT_EQ(this->finish(t), errc::ok);
  EXPECT_GT(this->device.idles(), 0u);
  EXPECT_EQ(queue_env::depth(), 0);
}

}  // namespace
}  // namespace shootdown::test
