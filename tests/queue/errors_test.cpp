// SPDX-License-Identifier: MIT
#include "contract.hpp"

#include <array>
#include <atomic>
#include <thread>
#include <vector>

// Command queue errors: who is told, what is repaired, and that waiters get over them without an interrupt.
namespace shootdown::test {
namespace {

using fault = queue_device<queue_env>::fault;

template <class V>
struct command_queue_errors : queue_fixture<V> {
  /// The device refuses the commands of these lists (their SYNC is judged by `on_sync`), each `times` times.
  void refuse(std::vector<std::uint32_t> lists, fault kind, unsigned times = 1, bool on_sync = false) {
    this->device.fault_of = [this, lists, kind, times, on_sync](command c) {
      if (is_sync(c)) {
        if (!on_sync || seen_ == 0 || refused_ >= times) return fault::none;
        ++refused_;
        return kind;
      }
      for (const std::uint32_t id : lists)
        if (list_of(c) == id) {
          if (on_sync) {
            seen_ = 1;
            return fault::none;
          }
          if (refused_ >= times * lists.size()) return fault::none;
          ++refused_;
          return kind;
        }
      seen_ = 0;
      return fault::none;
    };
  }
  unsigned refused_{}, seen_{};

  std::vector<shootdown::queue::error_record> log() {
    std::array<shootdown::queue::error_record, 64> out{};
    return {out.begin(), out.begin() + static_cast<std::ptrdiff_t>(this->queue.errors().snapshot(out))};
  }
};
TYPED_TEST_SUITE(command_queue_errors, all_variants, variant_name);

TYPED_TEST(command_queue_errors, an_illegal_command_is_reported_to_its_own_ticket_only) {
  ASSERT_TRUE(this->restart_with(6).ok());
  this->refuse({2}, fault::illegal);
  ticket a = this->must_submit(numbered_list{1, 1}), b = this->must_submit(numbered_list{2, 2}), c = this->must_submit(numbered_list{3, 1});
  EXPECT_EQ(this->finish(c), errc::ok);
  EXPECT_EQ(this->finish(a), errc::ok);
  EXPECT_EQ(this->finish(b), errc::illegal_command);
  EXPECT_EQ(this->finish(b), errc::illegal_command);
  EXPECT_FALSE(this->device.error_active());
  // The refused command became a CMD_SYNC without signal; the rest of its list and everybody else's was executed.
  const auto& got = this->device.consumed();
  ASSERT_EQ(got.size(), 7u);
  EXPECT_EQ(got[2], (command{0x46, 0}));
  EXPECT_EQ(got[3], (numbered_list{2, 2}.at(1)));
  const auto records = this->log();
  ASSERT_EQ(records.size(), 1u);
  EXPECT_EQ(value(records[0].at), value(b.first));
  EXPECT_EQ(records[0].first, records[0].at);
  EXPECT_EQ(records[0].kind, errc::illegal_command);
  EXPECT_EQ(records[0].what, (numbered_list{2, 2}.at(0)));
  EXPECT_EQ(this->queue.errors().total(), 1u);
}

TYPED_TEST(command_queue_errors, a_closing_sync_that_is_refused_still_ends_the_wait) {
  this->refuse({1}, fault::illegal, 1, true);
  ticket t = this->must_submit(numbered_list{1, 1});
  EXPECT_EQ(this->finish(t), errc::illegal_command);
  ticket next = this->must_submit(numbered_list{2, 1});
  EXPECT_EQ(this->finish(next), errc::ok);
}

TYPED_TEST(command_queue_errors, a_fetch_abort_is_retried_and_loses_nothing) {
  this->refuse({1}, fault::fetch_abort, 3);
  ticket t = this->must_submit(numbered_list{1, 2});
  EXPECT_EQ(this->finish(t), errc::ok);
  EXPECT_EQ(this->device.consumed().size(), 3u);
  EXPECT_EQ(this->device.consumed()[0], (numbered_list{1, 2}.at(0)));
  EXPECT_TRUE(this->log().empty());
}

TYPED_TEST(command_queue_errors, a_fetch_abort_that_never_ends_becomes_a_timeout) {
  this->refuse({1}, fault::fetch_abort, 1u << 30);
  ticket t = this->must_submit(numbered_list{1, 1});
  EXPECT_EQ(this->queue.wait(t, this->in_turns(500)).code(), errc::timed_out);
  this->device.fault_of = nullptr;
  EXPECT_EQ(this->finish(t), errc::ok);
}

TYPED_TEST(command_queue_errors, an_atc_timeout_fails_the_list_whose_sync_it_stopped) {
  ASSERT_TRUE(this->restart_with(6).ok());
  this->refuse({2}, fault::atc_timeout, 3, true);
  ticket a = this->must_submit(numbered_list{1, 1}), b = this->must_submit(numbered_list{2, 2}), c = this->must_submit(numbered_list{3, 1});
  EXPECT_EQ(this->finish(c), errc::ok);
  EXPECT_EQ(this->finish(b), errc::atc_timed_out);
  EXPECT_EQ(this->finish(a), errc::ok);
  EXPECT_EQ(check_stream(this->device.consumed()), "");  // the SYNC was executed again, nothing was replaced
  const auto records = this->log();
  ASSERT_EQ(records.size(), 1u);  // the same SYNC failing three times is one error
  EXPECT_EQ(value(records[0].at), value(b.end) - 1);
  EXPECT_EQ(records[0].kind, errc::atc_timed_out);
  EXPECT_TRUE(is_sync(records[0].what));
}

TYPED_TEST(command_queue_errors, when_the_log_overflows_the_oldest_tickets_learn_that_nothing_is_known) {
  ASSERT_TRUE(this->restart_with(7).ok());
  constexpr std::uint32_t over = queue::error_log<queue_env>::capacity + 3;
  std::vector<std::uint32_t> bad;
  for (std::uint32_t id = 2; id != 2 + over; ++id) bad.push_back(id);
  this->refuse(bad, fault::illegal);
  std::vector<ticket> tickets;
  for (std::uint32_t id = 1; id != 3 + over; ++id) tickets.push_back(this->must_submit(numbered_list{id, 1}));
  EXPECT_EQ(this->finish(tickets.back()), errc::ok);
  EXPECT_EQ(this->queue.errors().total(), over);
  EXPECT_EQ(this->finish(tickets[0]), errc::unknown_error);  // it was fine, but the log cannot tell any more
  for (std::uint32_t i = 1; i != 1 + over; ++i)
    EXPECT_EQ(this->finish(tickets[i]), i <= 3 ? errc::unknown_error : errc::illegal_command) << i;
  ticket later = this->must_submit(numbered_list{100, 1});
  EXPECT_EQ(this->finish(later), errc::ok);
}

TYPED_TEST(command_queue_errors, the_interrupt_service_recovers_too_and_once_is_enough) {
  this->refuse({1}, fault::illegal);
  this->device.runs_in_waits = false;
  EXPECT_EQ(this->queue.recover().code(), errc::ok);  // nothing was wrong
  ticket t = this->must_submit(numbered_list{1, 1});
  this->device.step(5);
  EXPECT_TRUE(this->device.error_active());
  EXPECT_EQ(this->queue.recover().code(), errc::illegal_command);
  EXPECT_FALSE(this->device.error_active());
  EXPECT_EQ(this->queue.recover().code(), errc::ok);
  this->device.step(5);
  EXPECT_EQ(this->queue.poll(t).code(), errc::illegal_command);
}

TYPED_TEST(command_queue_errors, recovery_leaves_the_other_gerror_bits_to_their_service) {
  this->refuse({1}, fault::illegal);
  this->device.raise(4);
  ticket t = this->must_submit(numbered_list{1, 1});
  EXPECT_EQ(this->finish(t), errc::illegal_command);
  EXPECT_EQ(this->queue.acknowledge(0x1f8), 0u);
  EXPECT_EQ(this->queue.acknowledge(0x1fd), 4u);
  EXPECT_EQ(this->queue.acknowledge(0x1fd), 0u);
}

TYPED_TEST(command_queue_errors, a_submitter_that_waits_for_room_gets_the_queue_going_again) {
  this->refuse({1000}, fault::illegal);
  this->fill(0);  // nobody waits for any of these lists
  this->device.stuck = false;
  ticket t = this->must_submit(numbered_list{1, 2});
  EXPECT_EQ(this->finish(t), errc::ok);
  EXPECT_EQ(this->queue.errors().total(), 1u);
}

TYPED_TEST(command_queue_errors, a_stale_error_code_in_cons_is_not_an_error) {
  this->refuse({1}, fault::fetch_abort);
  this->device.runs_in_waits = false;
  ticket t = this->must_submit(numbered_list{1, 1});
  this->device.step(5);
  EXPECT_EQ(this->queue.recover().code(), errc::fetch_aborted);
  EXPECT_NE(this->device.cons() >> 24, 0u);  // this device leaves the code where it was
  EXPECT_EQ(this->queue.poll(t).code(), errc::pending);
  EXPECT_EQ(this->queue.recover().code(), errc::ok);
  this->device.step(5);
  EXPECT_EQ(this->finish(t), errc::ok);
}

TYPED_TEST(command_queue_errors, a_reset_forgets_no_error_but_blames_no_new_ticket) {
  this->refuse({1}, fault::illegal);
  ticket t = this->must_submit(numbered_list{1, 1});
  EXPECT_EQ(this->finish(t), errc::illegal_command);
  ASSERT_TRUE(this->restart().ok());
  EXPECT_EQ(this->queue.errors().total(), 1u);
  ticket n = this->must_submit(numbered_list{2, 1});
  EXPECT_EQ(this->finish(n), errc::ok);
}

TEST(error_log, judges_ranges_by_overlap) {
  queue::error_log<queue_env> log;
  EXPECT_EQ(log.outcome(seq64{0}, seq64{100}), errc::ok);
  log.record({seq64{10}, seq64{10}, errc::illegal_command, {1, 2}});
  log.record({seq64{20}, seq64{29}, errc::atc_timed_out, {3, 4}});
  EXPECT_EQ(log.outcome(seq64{0}, seq64{10}), errc::ok);
  EXPECT_EQ(log.outcome(seq64{0}, seq64{11}), errc::illegal_command);
  EXPECT_EQ(log.outcome(seq64{10}, seq64{11}), errc::illegal_command);
  EXPECT_EQ(log.outcome(seq64{11}, seq64{20}), errc::ok);
  EXPECT_EQ(log.outcome(seq64{11}, seq64{21}), errc::atc_timed_out);
  EXPECT_EQ(log.outcome(seq64{29}, seq64{40}), errc::atc_timed_out);
  EXPECT_EQ(log.outcome(seq64{30}, seq64{40}), errc::ok);
  EXPECT_TRUE(log.check_invariants());
}

TEST(error_log, its_invariants_notice_positions_that_go_back) {
  queue::error_log<queue_env> log;
  log.record({seq64{10}, seq64{10}, errc::illegal_command, {}});
  log.record({seq64{5}, seq64{5}, errc::illegal_command, {}});
  EXPECT_FALSE(log.check_invariants());
}

TEST(error_log, readers_beside_a_writer_see_whole_records_or_are_told_to_ask_again) {
  queue::error_log<queue_env> log;
  std::atomic<bool> stop{false};
  std::thread writer{[&] {
    for (std::uint64_t i = 1; i != 3000; ++i) log.record({seq64{i * 10}, seq64{i * 10 + 5}, errc::illegal_command, {i, ~i}});
    stop.store(true, std::memory_order_release);
  }};
  unsigned torn = 0;
  while (!stop.load(std::memory_order_acquire)) {
    std::array<queue::error_record, 16> out{};
    const std::size_t n = log.snapshot(out);
    for (std::size_t i = 0; i != n; ++i)
      if (out[i].what.dw0 != ~out[i].what.dw1 || value(out[i].at) != value(out[i].first) + 5 || value(out[i].first) != out[i].what.dw0 * 10)
        ++torn;
    const errc e = log.outcome(seq64{6}, seq64{10});  // between two records: clean as long as the log remembers
    if (e != errc::ok && e != errc::unknown_error && e != errc::pending) ++torn;
  }
  writer.join();
  EXPECT_EQ(torn, 0u);
  EXPECT_EQ(log.total(), 2999u);
}

}  // namespace
}  // namespace shootdown::test
