// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include <shootdown/env/environment.hpp>
#include <shootdown/env/time.hpp>
#include <shootdown/invs/instance_list.hpp>
#include <shootdown/port/command_port.hpp>
#include <shootdown/port/ticket.hpp>
#include <shootdown/status.hpp>

SHOOTDOWN_BEGIN

/// Sends a few lists to their ports and waits for all of them: everything is submitted before anything is waited for, so
/// the elapsed time is that of the slowest instance, not the sum.
///
/// Contract: add() lists, in the order of their array; then send() and settle() until nothing is active. A list longer
/// than its port's max_list() goes out in parts; only the last one signals, and its ticket is widened to begin at the first
/// part, so that an error of any part is reported (one of a stranger's command between two parts is, too). If the queue was
/// reset between two parts the outcome is queue_failed. Lists for one port go out in their order.
/// Who may block whom: a full ring or a slow SYNC delays no other port's list, as long as two ports are active all steps are
/// try_submit and poll, with one idle turn of one waiting port, in rotation, per turn. The last active one is handed to
/// its own submit or wait, which know better how to sleep.
/// Context: any but NMI and signal handlers; one thread. No allocation, no lock of its own.
/// Not for lists of different requests: it knows one result.
template <environment Env, command_port Port, unsigned MaxPieces, unsigned Lanes>
class fan_out {
  static_assert(Lanes >= 1);

 public:
  using list_t = instance_list<Env, Port, MaxPieces>;

  fan_out() noexcept {}
  fan_out(const fan_out&) = delete;  // tickets have one owner, and ports may look at the lists until they are settled
  fan_out& operator=(const fan_out&) = delete;

  [[nodiscard]] bool full() const noexcept { return count_ == Lanes; }
  /// Takes a list that is not empty; only while not full().
  void add(const list_t& l) noexcept {
    lane& n = lanes_[count_++];
    n = lane{};
    n.list = l;
    n.at = lane::stage::sending;
    ++active_;
  }
  /// Lists not yet settled.
  [[nodiscard]] std::uint32_t active() const noexcept { return active_; }

  /// Submits, waiting for room until the deadline. What found none stays; settle() and step() go on with it.
  void send(deadline d) noexcept {
    for (;;) {
      const std::uint32_t unsent = send_what_fits();
      if (unsent == 0) return;
      if (unsent == 1) return static_cast<void>(push_waiting(first(lane::stage::sending), d));
      if (d.passed(Env::now())) return;
      idle(lane::stage::sending, d);
    }
  }
  /// One step of everything, without waiting. True when nothing is active.
  [[nodiscard]] bool step() noexcept {
    send_what_fits();
    for (std::uint32_t i = 0; i != count_; ++i) {
      lane& l = lanes_[i];
      if (l.at == lane::stage::waiting) conclude(l, l.list.port().poll(l.t));
    }
    return active_ == 0;
  }
  /// Waits until nothing is active; false when the deadline passed first.
  [[nodiscard]] bool settle(deadline d) noexcept {
    for (;;) {
      if (active_ == 0) return true;
      if (active_ == 1) return settle_last(d);
      if (step()) return true;
      if (active_ == 1) continue;
      if (d.passed(Env::now())) {
        for (std::uint32_t i = 0; i != count_; ++i) {
          lane& l = lanes_[i];  // each port learns that its deadline passed: it may have to fail its queue
          if (l.at == lane::stage::waiting) conclude(l, l.list.port().wait(l.t, d));
        }
        return active_ == 0;
      }
      idle_any(d);
    }
  }
  /// Nobody will ask again: the ports forget the tickets of what is not settled.
  void abandon() noexcept {
    for (std::uint32_t i = 0; i != count_; ++i) {
      if (lanes_[i].at == lane::stage::waiting) lanes_[i].list.port().abandon(lanes_[i].t);
    }
  }
  /// Adds the outcomes, in the order of the lists, to `worst`, and forgets the lists. Only when nothing is active.
  void collect(status& worst) noexcept {
    for (std::uint32_t i = 0; i != count_; ++i) worst.merge(lanes_[i].outcome);
    count_ = 0;
  }

 private:
  struct lane {
    enum class stage : std::uint8_t { sending, waiting, done };
    list_t list{};
    list_part<list_t> part{};  // the last one handed over: it outlives the ticket, as a port may walk it again
    ticket t{};
    std::uint32_t sent{};  // commands of the list handed over
    stage at{stage::done};
    status outcome{};
  };

  void conclude(lane& l, status s) noexcept {
    if (s.code() == errc::pending || s.code() == errc::timed_out) return;  // the ticket is not settled
    l.outcome.merge(s);
    l.at = lane::stage::done;
    --active_;
  }

  /// Hands over the rest of a list, part by part, with `submit(part)`. False when a part found no room.
  template <class Submit>
  bool push(lane& l, Submit&& submit) noexcept {
    const std::uint32_t size = l.list.size();
    const std::uint32_t most = std::max(l.list.port().max_list(), 2u) - 1;  // room for the SYNC that ends each part
    while (l.sent != size) {
      const std::uint32_t n = std::min(most, size - l.sent);
      l.part = {l.list, l.sent, n};
      const result<ticket> r = submit(l.part);
      if (!r.ok()) {
        if (r.code() == errc::would_block || r.code() == errc::timed_out) return false;
        conclude(l, r.state());
        return true;
      }
      if (l.sent == 0) {
        l.t = *r;
      } else {
        if (r->generation != l.t.generation) l.outcome.merge(errc::queue_failed);
        const seq64 begin = r->generation == l.t.generation ? l.t.first : r->first;
        l.t = *r;
        l.t.first = begin;
      }
      l.sent += n;
    }
    l.at = lane::stage::waiting;
    return true;
  }
  [[nodiscard]] bool push_trying(lane& l) noexcept {
    return push(l, [&](const list_part<list_t>& part) noexcept { return l.list.port().try_submit(part); });
  }
  [[nodiscard]] bool push_waiting(lane& l, deadline d) noexcept {
    return push(l, [&](const list_part<list_t>& part) noexcept { return l.list.port().submit(part, d); });
  }

  /// One try for each list that is not out. Returns how many are still not.
  std::uint32_t send_what_fits() noexcept {
    std::uint32_t unsent = 0;
    for (std::uint32_t i = 0; i != count_; ++i) {
      lane& l = lanes_[i];
      if (l.at != lane::stage::sending) continue;
      if (behind_another(i) || !push_trying(l)) ++unsent;
    }
    return unsent;
  }
  [[nodiscard]] bool behind_another(std::uint32_t i) const noexcept {
    for (std::uint32_t j = 0; j != i; ++j) {
      if (lanes_[j].at == lane::stage::sending && &lanes_[j].list.port() == &lanes_[i].list.port()) return true;
    }
    return false;
  }

  [[nodiscard]] bool settle_last(deadline d) noexcept {
    for (std::uint32_t i = 0; i != count_; ++i) {
      lane& l = lanes_[i];
      if (l.at == lane::stage::sending && !push_waiting(l, d)) return false;
      if (l.at == lane::stage::waiting) conclude(l, l.list.port().wait(l.t, d));
    }
    return active_ == 0;
  }

  [[nodiscard]] lane& first(typename lane::stage s) noexcept {
    std::uint32_t i = 0;
    while (lanes_[i].at != s) ++i;
    return lanes_[i];
  }
  void idle(typename lane::stage s, deadline d) noexcept {
    do turn_ = (turn_ + 1) % count_;
    while (lanes_[turn_].at != s);
    lanes_[turn_].list.port().idle(d);
  }
  void idle_any(deadline d) noexcept {
    do turn_ = (turn_ + 1) % count_;
    while (lanes_[turn_].at == lane::stage::done);
    lanes_[turn_].list.port().idle(d);
  }

  std::array<lane, Lanes> lanes_{};
  std::uint32_t count_{};
  std::uint32_t active_{};
  std::uint32_t turn_{};
};

SHOOTDOWN_END
