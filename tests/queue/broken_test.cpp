// SPDX-License-Identifier: MIT
#include "contract.hpp"

#include <shootdown/queue/completion.hpp>

#include <string>

// Would the checks notice? Strategies with one deliberate flaw each must be caught, by name, by an inspection that the real
// strategies pass.
namespace shootdown::test {
namespace {

enum class flaw {
  none,
  early_doorbell,
  no_room_check,
  piecemeal_reservation,
  no_sync,
  no_wait,
  raw_cons,
  interrupts_on,
  waits_with_interrupts_off
};

/// A strategy for one thread, right but for F.
template <flaw F>
struct flawed {
  static constexpr const char* name = "flawed";
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
    status submit(const List& list, std::uint32_t size, bool closing, const deadline* until, ticket& t) noexcept {
      const std::uint32_t n = size + (closing && F != flaw::no_sync ? 1u : 0u);
      while (F != flaw::no_room_check && value(tail_) + n - value(tracker_.completed()) > core_->slots.slots()) {
        tracker_.observe_cons([this]() noexcept { return tail_; });
        if (until == nullptr || until->passed(Env::now())) return until == nullptr ? errc::would_block : errc::timed_out;
        if (F == flaw::waits_with_interrupts_off) {
          typename Env::irq_guard irqs_off;
          core_->slots.pause(*until);
        } else {
          core_->slots.pause(*until);
        }
      }
      if constexpr (F == flaw::interrupts_on) {
        insert(list, size, closing, n, t);
      } else {
        typename Env::irq_guard irqs_off;
        insert(list, size, closing, n, t);
      }
      return {};
    }
    queue::sight look(const ticket& t, bool) noexcept {
      if (F == flaw::no_wait) return {true, false, t.end};
      if (F == flaw::raw_cons) {
        const std::uint32_t cons = core_->slots.read_cons();
        return {queue_geometry{core_->slots.config().log2size}.consumed(static_cast<std::uint32_t>(value(t.end) - 1), cons), false, t.end};
      }
      tracker_.observe(true, [this]() noexcept { return tail_; });
      return {covers(tracker_.completed(), t.end), false, t.end};
    }
    void settle(const queue::sight&) noexcept {}
    seq64 reached() const noexcept { return tracker_.completed(); }
    seq64 in_doubt_from(seq64 at) const noexcept { return at; }
    seq64 tail() const noexcept { return tail_; }
    bool check_invariants() const noexcept { return true; }

   private:
    template <class List>
    void insert(const List& list, std::uint32_t size, bool closing, std::uint32_t n, ticket& t) noexcept {
      const command sync = cmd::sync::silent().encode();
      t.first = tail_;
      if (F == flaw::piecemeal_reservation) {
        list.emit(0, size, [this](command c) noexcept {
          core_->slots.put(tail_, c);
          tail_ = advance(tail_, 1);
        });
        if (closing) core_->slots.put(tail_, sync);
        t.end = tail_ = advance(tail_, closing ? 1 : 0);
        core_->slots.doorbell(t.end);
        return;
      }
      t.end = tail_ = advance(tail_, n);
      if (F == flaw::early_doorbell) core_->slots.doorbell(t.end);
      queue::write_list(core_->slots, t.first, list, size, closing && F != flaw::no_sync ? &sync : nullptr);
      if (F != flaw::early_doorbell) core_->slots.doorbell(value(tail_) > value(t.end) ? tail_ : t.end);
    }
    queue::queue_core<Env, Backend>* core_;
    queue::completion_tracker<Env, Backend> tracker_;
    seq64 tail_{};
  };
};

/// Submits a second list from inside the first one's emit(), where a strategy may let it.
template <class Queue>
struct intruded_list {
  Queue* queue;
  numbered_list own, inner;
  [[nodiscard]] std::uint32_t size() const noexcept { return own.size(); }
  [[nodiscard]] completion closing() const noexcept { return own.closing(); }
  template <class Sink>
  void emit(std::uint32_t first, std::uint32_t n, Sink&& sink) const noexcept {
    own.emit(first, 1, sink);
    static_cast<void>(queue->try_submit(inner).ok());
    own.emit(first + 1, n - 1, sink);
  }
};

/// The first thing that a strategy does wrong, or "". One thread; the order of the steps is fixed.
template <class Strategy>
std::string inspect(unsigned log2size) {
  rig<Strategy> r;
  r.publish_limit = nanoseconds{100'000};  // how long `locked` tries for a lock that this very thread holds
  r.bring_up(log2size, completion_mode::cons_poll);
  const std::uint32_t slots = 1u << log2size;
  r.device.runs_in_waits = false;
  r.device.runs_in_idle = true;
  std::uint32_t id = 0;
  const auto submit = [&](std::uint32_t size, completion c = completion::sync) {
    return *r.queue.submit(numbered_list{++id, size, c}, r.in_turns(10'000));
  };
  const auto finish = [&](ticket t) { return r.queue.wait(t, r.in_turns(10'000)).code(); };

  // A ticket is pending until the device has done its work; a device that starts with the doorbell finds written slots.
  ticket t = submit(1);
  if (r.queue.poll(t).code() != errc::pending) return "a ticket completed before its SYNC";
  if (finish(t) != errc::ok) return "no completion";
  r.device.on_doorbell = [&](std::uint32_t) { r.device.step(slots); };
  if (finish(submit(2)) != errc::ok) return "no completion with an eager device";
  r.device.on_doorbell = nullptr;
  if (r.device.breaches() != "") return r.device.breaches();

  // A full ring, and one list more.
  for (std::uint32_t n = 0; n != slots; n += 2) submit(2, completion::none);
  const errc behind = finish(submit(1));
  if (r.device.breaches() != "") return r.device.breaches();
  if (behind != errc::ok) return "no completion behind a full ring";

  // A list inside another one's reservation. Its ticket is nobody's: waiters of these strategies hold nothing for it.
  ticket outer = *r.queue.submit(intruded_list<typename rig<Strategy>::queue_type>{&r.queue, {id + 1, 2}, {id + 2, 1, completion::none}},
                                 r.in_turns(10'000));
  id += 2;
  r.device.step(slots);
  if (finish(outer) != errc::ok) return "no completion beside a nested list";
  if (const std::string s = check_stream(r.device.consumed()); s != "") return s.substr(0, s.find(" at command"));

  // A waiter that comes late, when the ring has gone round. (owner_cas does not let it go round.)
  if (std::string{Strategy::name} != "owner_cas") {
    ticket late = submit(1);
    for (std::uint32_t n = 0; n != slots / 2 + 2; ++n) {
      submit(1, completion::none);
      r.device.step(slots);
    }
    submit(slots - 4, completion::none);
    r.device.step(slots);
    if (finish(late) != errc::ok) return "a late waiter missed its completion";
  }
  return r.complaints();
}

TEST(negative_self_check, the_real_strategies_and_a_flawless_dummy_pass_the_inspection) {
  EXPECT_EQ(inspect<queue::locked>(3), "");
  EXPECT_EQ(inspect<queue::locked>(6), "");
  EXPECT_EQ(inspect<queue::owner_cas>(6), "");
  EXPECT_EQ(inspect<flawed<flaw::none>>(3), "");
}

TEST(negative_self_check, each_flaw_is_caught_and_called_by_its_name) {
  EXPECT_EQ(inspect<flawed<flaw::early_doorbell>>(3), "a slot was published before it was written");
  EXPECT_EQ(inspect<flawed<flaw::no_room_check>>(3), "PROD claims more than the ring holds");
  EXPECT_EQ(inspect<flawed<flaw::piecemeal_reservation>>(3), "a list is torn");
  EXPECT_EQ(inspect<flawed<flaw::no_wait>>(3), "a ticket completed before its SYNC");
  EXPECT_EQ(inspect<flawed<flaw::raw_cons>>(3), "a late waiter missed its completion");
  EXPECT_EQ(inspect<flawed<flaw::interrupts_on>>(3), "PROD written with interrupts on");
  EXPECT_EQ(inspect<flawed<flaw::waits_with_interrupts_off>>(3), "a wait with interrupts off");
  EXPECT_EQ(inspect<flawed<flaw::no_sync>>(3), "a list without its SYNC");
}

TEST(negative_self_check, the_stream_checker_tells_torn_lost_and_reordered_lists_apart) {
  const numbered_list a{1, 2}, b{2, 1}, c{3, 1, completion::none};
  const command sync = cmd::sync::silent().encode();
  EXPECT_EQ(check_stream({a.at(0), a.at(1), sync, c.at(0), numbered_list{4, 1}.at(0), sync}), "");
  EXPECT_EQ(check_stream({a.at(0), b.at(0), sync, a.at(1), sync}), "a list is torn at command 0");
  EXPECT_EQ(check_stream({a.at(0), a.at(1), b.at(0), sync}), "a list without its SYNC at command 0");
  EXPECT_EQ(check_stream({b.at(0), sync, a.at(0), a.at(1), sync}), "a thread's lists changed order at command 2");
  EXPECT_EQ(check_stream({sync}), "a SYNC without a list at command 0");
  EXPECT_EQ(check_stream({a.at(0)}), "a list is cut off at command 0");
}

}  // namespace
}  // namespace shootdown::test
