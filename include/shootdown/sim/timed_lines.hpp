// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <unordered_map>
#include <vector>

#include <shootdown/sim/line_arbitration.hpp>
#include <shootdown/sim/timed_scheduler.hpp>

SHOOTDOWN_BEGIN
namespace sim {

/// A set of virtual CPUs.
class cpu_set {
 public:
  static constexpr unsigned most_cpus = 256;
  void add(unsigned i) noexcept { words_[i / 64] |= std::uint64_t{1} << (i % 64); }
  void remove(unsigned i) noexcept { words_[i / 64] &= ~(std::uint64_t{1} << (i % 64)); }
  [[nodiscard]] bool has(unsigned i) const noexcept { return (words_[i / 64] >> (i % 64) & 1) != 0; }
  void clear() noexcept { words_ = {}; }
  [[nodiscard]] unsigned count() const noexcept {
    unsigned n = 0;
    for (const std::uint64_t w : words_) n += static_cast<unsigned>(std::popcount(w));
    return n;
  }
  friend cpu_set operator|(cpu_set a, const cpu_set& b) noexcept {
    for (std::size_t i = 0; i != a.words_.size(); ++i) a.words_[i] |= b.words_[i];
    return a;
  }
  template <class F>
  void each(F&& f) const noexcept {
    for (std::size_t i = 0; i != words_.size(); ++i)
      for (std::uint64_t w = words_[i]; w != 0; w &= w - 1) f(static_cast<unsigned>(i * 64) + static_cast<unsigned>(std::countr_zero(w)));
  }

 private:
  std::array<std::uint64_t, most_cpus / 64> words_{};
};

class timed_lines;

/// One cache line as the coherence protocol sees it.
struct timed_line {
  struct request {
    timed_cpu* who;
    bool own;
  };
  cpu_set copies;                ///< CPUs that can read it
  timed_cpu* owner{};            ///< the one that may write it; its copy is then the only one
  cpu_set asking;                ///< CPUs in `waiting`
  std::vector<request> waiting;  ///< oldest first
  bool moving{};                 ///< on its way to somebody; nobody owns it meanwhile
  bool called{};                 ///< an arbitration is due at free_at
  std::uint64_t free_at{};       ///< its last writer is done with it
  std::uint64_t travelled{};     ///< ns spent on the way so far
  timed_lines* home{};
};

/// The cache-line model. A load hits if the CPU has a copy, a store or read-modify-write if it owns the line; anything else
/// asks for the line and waits. A line serves one request at a time, readers too (a home node admits one transaction per
/// address); who is next and how long it takes is `line_arbitration`. Others keep their copies until a writer has the line.
///
/// CPUs execute in order and have no store buffer: a store that does not own its line waits for it, as in a CPU that must
/// not let it pass a release. Caches never run out of room: a line is lost to others only.
/// Lines are 64 bytes of address; determinism needs objects aligned to that.
class timed_lines {
 public:
  timed_lines(timed_scheduler& s, line_arbitration a) noexcept : scheduler_{&s}, arbitration_{a} {}
  timed_lines(const timed_lines&) = delete;
  timed_lines& operator=(const timed_lines&) = delete;

  /// The current CPU's access: returns at the moment when it takes effect, with the clock moved on by `cost` beyond that.
  void access(const void* address, bool own, std::uint64_t cost) noexcept {
    scheduler_->order();
    timed_cpu& c = *scheduler_->current();
    timed_line& l = find(address);
    if (own ? l.owner != &c : !l.copies.has(c.index)) fetch(l, c, own);
    const std::uint64_t effect = c.clock;
    c.clock += cost;
    if (own) l.free_at = c.clock;
    if (!own) c.watch(&l);
    if (!l.moving && !l.waiting.empty()) call(l, own ? c.clock : effect);
  }

  /// The device writes: it does not queue for the line, but every copy goes.
  void device_write(const void* address) noexcept {
    timed_line& l = find(address);
    l.copies.each([&](unsigned i) { lose(scheduler_->cpu(i), l); });
    l.copies.clear();
    l.owner = nullptr;
  }

  /// One turn of a wait of the current CPU. A waiter that looked at memory only and still has all of it sleeps until one of
  /// the lines changes, `until`, or a tick that doubles from 1 us to `longest_tick`: what a CPU in WFE does, and no events.
  /// One that looked at a register, or has lost a line already, looks again after a pause.
  void pause(std::uint64_t until) noexcept {
    scheduler_->order();
    timed_cpu& c = *scheduler_->current();
    bool can_sleep = c.watching != 0 && !c.watches_more && until > c.clock;
    for (unsigned i = 0; i != c.watching; ++i) can_sleep = can_sleep && c.watched[i]->copies.has(c.index);
    if (can_sleep)
      sleep(c, until);
    else
      c.clock += reference_machine::pause;
    c.forget_watched();
  }
  /// The same for a wait that an event of the device ends (WFE, CMD_SYNC with CS = SEV), whatever was looked at before.
  void wait_event(std::uint64_t until) noexcept {
    scheduler_->order();
    timed_cpu& c = *scheduler_->current();
    c.waits_for_event = true;
    if (!c.event && until > c.clock)
      sleep(c, until);
    else
      c.clock += reference_machine::pause;
    c.event = c.waits_for_event = false;
    c.forget_watched();
  }
  /// The device's event: every CPU's next, or present, wait_event ends.
  void send_event() noexcept {
    for (std::size_t i = 0; i != scheduler_->count(); ++i) {
      timed_cpu& c = scheduler_->cpu(i);
      c.event = true;
      if (c.asleep && c.waits_for_event) rouse(c);
    }
  }

  /// How long the line that moved most was on its way, ns: if that is nearly the whole run, it is the bottleneck.
  [[nodiscard]] std::uint64_t most_travelled() const noexcept {
    std::uint64_t most = 0;
    for (const timed_line& l : lines_) most = std::max(most, l.travelled);
    return most;
  }

  static constexpr std::uint64_t first_tick = 1'000;
  static constexpr std::uint64_t longest_tick = 100'000;

 private:
  void fetch(timed_line& l, timed_cpu& c, bool own) noexcept {
    l.waiting.push_back({&c, own});
    l.asking.add(c.index);
    if (!l.moving && !l.called) {
      if (l.free_at <= c.clock)
        grant(l, c.clock);
      else
        call(l, l.free_at);
    }
    scheduler_->block();
    l.moving = false;
    if (own) {
      l.copies.remove(c.index);
      l.copies.each([&](unsigned i) { lose(scheduler_->cpu(i), l); });
      l.copies.clear();
      l.owner = &c;
    }
    l.copies.add(c.index);
  }

  /// The line is free: who gets it?
  void grant(timed_line& l, std::uint64_t now) noexcept {
    const bool oldest = l.waiting.size() == 1 || scheduler_->chance(arbitration_.oldest_first);
    const std::size_t chosen = oldest ? 0 : scheduler_->draw() % l.waiting.size();
    const timed_line::request winner = l.waiting[chosen];
    const unsigned concerned = (winner.own ? l.copies | l.asking : l.asking).count();  // the winner is among them
    l.waiting.erase(l.waiting.begin() + static_cast<std::ptrdiff_t>(chosen));
    l.asking.remove(winner.who->index);
    l.owner = nullptr;
    l.moving = true;
    const std::uint64_t journey = arbitration_.transfer(scheduler_->count(), concerned - 1);
    l.travelled += journey;
    scheduler_->wake(*winner.who, now + journey);
  }

  void call(timed_line& l, std::uint64_t time) noexcept {
    if (l.called) return;
    l.called = true;
    scheduler_->at(time, &arbitrate, &l);
  }
  static void arbitrate(void* p, std::uint64_t now) noexcept {
    timed_line& l = *static_cast<timed_line*>(p);
    l.called = false;
    if (!l.moving && !l.waiting.empty()) l.home->grant(l, now);
  }

  void sleep(timed_cpu& c, std::uint64_t until) noexcept {
    const std::uint64_t tick = std::min(first_tick << c.idle_turns, longest_tick);
    c.asleep = true;
    scheduler_->sleep_until(std::min(c.clock + tick, until));
    c.idle_turns = c.asleep ? std::min(c.idle_turns + 1, 16u) : 0;
    c.asleep = false;
  }
  void rouse(timed_cpu& c) noexcept {
    c.asleep = false;
    scheduler_->wake(c, scheduler_->now() + reference_machine::pause);
  }
  /// `c` loses its copy of `l`: if it sleeps on it, it looks again.
  void lose(timed_cpu& c, const timed_line& l) noexcept {
    if (c.asleep && c.watches(&l)) rouse(c);
  }

  timed_line& find(const void* address) noexcept {
    const std::uint64_t key = reinterpret_cast<std::uintptr_t>(address) / cache_line;
    remembered& r = recent_[(key ^ (key >> 10)) % recent_.size()];
    if (r.line != nullptr && r.key == key) return *r.line;
    const auto [at, fresh] = known_.try_emplace(key, nullptr);
    if (fresh) {
      at->second = &lines_.emplace_back();
      at->second->home = this;
    }
    r = {key, at->second};
    return *r.line;
  }

  struct remembered {
    std::uint64_t key{};
    timed_line* line{};
  };
  timed_scheduler* scheduler_;
  line_arbitration arbitration_;
  std::deque<timed_line> lines_;
  std::unordered_map<std::uint64_t, timed_line*> known_;
  std::array<remembered, 1024> recent_{};
};

}  // namespace sim
SHOOTDOWN_END
