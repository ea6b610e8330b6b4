// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <utility>
#include <vector>

#include "litmus/arm.hpp"
#include "litmus/axioms.hpp"
#include "litmus/program.hpp"

// Brute force: all candidate executions of a program (which compare_exchanges succeed, the modification order of every
// location, who reads from whom), each judged by the axioms; the outcomes of those that pass are what the program may do.
namespace litmus {

/// What a program may do under each model; stepwise is inside no_lb, no_lb inside cxx20.
struct allowed_outcomes {
  outcome_set cxx20;
  outcome_set rc11;
  outcome_set no_lb;
  outcome_set stepwise;
  outcome_set arm;           ///< what Arm code of the program may do
  outcome_set arm_in_order;  ///< the same if no store overtakes an earlier load of its thread
  std::uint64_t candidates{};
};

namespace detail {

class enumerator {
 public:
  explicit enumerator(const program& p) : locations_{p.locations()}, registers_{p.registers()} {
    event_.resize(locations_);
    for (std::size_t l = 0; l != locations_; ++l) event_[l].location = static_cast<std::uint8_t>(l), event_[l].write = true;
    for (std::size_t t = 0; t != p.threads.size(); ++t)
      for (const operation& o : p.threads[t]) add(o, t);
    if (event_.size() > event_limit) throw std::out_of_range("litmus: at most 32 operations and locations");
    by_location_.resize(locations_);
    modification_.resize(locations_);
  }

  [[nodiscard]] allowed_outcomes run() {
    choose_successes(locations_);
    return std::move(result_);
  }

 private:
  struct event {
    operation op{};
    std::size_t thread{};
    std::size_t reg{};
    std::uint8_t location{};
    bool read{}, write{};  // a compare_exchange writes if it succeeds
    // of the candidate:
    std::uint64_t stored{};  // the value after the write
    std::uint64_t seen{};    // the value read
    std::size_t from{};      // the write it reads from
    std::size_t position{};  // in the modification order, of a write
  };

  void add(const operation& o, std::size_t thread) {
    event e;
    e.op = o, e.thread = thread + 1, e.location = o.location, e.read = o.reads(), e.write = o.writes();
    if (e.read) e.reg = next_register_++;
    event_.push_back(e);
  }

  // 1. Which compare_exchanges succeed.
  void choose_successes(std::size_t from) {
    std::size_t e = from;
    while (e != event_.size() && event_[e].op.what != kind::compare_exchange) ++e;
    if (e == event_.size()) {
      for (auto& writers : by_location_) writers.clear();
      for (std::size_t w = locations_; w != event_.size(); ++w)
        if (event_[w].write) by_location_[event_[w].location].push_back(w);
      for (std::size_t l = 0; l != locations_; ++l) modification_[l] = {l};
      order_writes(0);
      return;
    }
    for (const bool succeeds : {true, false}) {
      event_[e].write = succeeds;
      choose_successes(e + 1);
    }
  }

  // 2. The modification orders, location by location, value by value. Writes of one thread keep their order (coherence).
  void order_writes(std::size_t location) {
    if (location == locations_) {
      readers_.clear();
      for (std::size_t r = locations_; r != event_.size(); ++r)
        if (event_[r].read && !event_[r].write) readers_.push_back(r);
      choose_sources(0);
      return;
    }
    auto& left = by_location_[location];
    auto& order = modification_[location];
    if (std::all_of(left.begin(), left.end(), [](std::size_t w) { return w == taken; })) return order_writes(location + 1);
    for (std::size_t i = 0; i != left.size(); ++i) {
      const std::size_t w = left[i];
      if (w == taken || earlier_left(left, i)) continue;
      if (!append(order.back(), w)) continue;
      event_[w].position = order.size();
      order.push_back(w);
      left[i] = taken;
      order_writes(location);
      left[i] = w;
      order.pop_back();
    }
  }
  [[nodiscard]] bool earlier_left(const std::vector<std::size_t>& left, std::size_t i) const {
    for (std::size_t j = 0; j != i; ++j)
      if (left[j] != taken && event_[left[j]].thread == event_[left[i]].thread) return true;
    return false;
  }
  /// w directly after `last`: what it reads and stores; false if a compare_exchange would have failed there.
  [[nodiscard]] bool append(std::size_t last, std::size_t w) {
    event& e = event_[w];
    e.from = last, e.seen = event_[last].stored, e.stored = e.op.operand;
    if (e.op.what == kind::add) e.stored += e.seen;
    return e.op.what != kind::compare_exchange || e.seen == e.op.expected;
  }

  // 3. Where the loads (and failed compare_exchanges) read from.
  void choose_sources(std::size_t reader) {
    if (reader == readers_.size()) return judge_candidate();
    event& e = event_[readers_[reader]];
    for (const std::size_t w : modification_[e.location]) {
      e.from = w, e.seen = event_[w].stored;
      if (e.op.what == kind::compare_exchange && e.seen == e.op.expected) continue;
      if (!e.read || !in_line(readers_[reader])) continue;
      choose_sources(reader + 1);
    }
  }
  /// Coherence within the thread, to cut the search short: what the axioms would refuse anyway.
  [[nodiscard]] bool in_line(std::size_t r) const {
    const std::size_t at = event_[event_[r].from].position;
    for (std::size_t o = locations_; o != event_.size(); ++o) {
      if (o == r || event_[o].thread != event_[r].thread || event_[o].op.what == kind::fence || event_[o].location != event_[r].location)
        continue;
      if (event_[o].write && (o < r ? event_[o].position > at : event_[o].position <= at)) return false;
      if (!event_[o].write && o < r && event_[event_[o].from].position > at) return false;
    }
    return true;
  }

  void judge_candidate() {
    ++result_.candidates;
    const execution x = candidate();
    const verdict v = judge(x);
    const arm_verdict arm = judge_as_arm(x);
    if (!v.cxx20 && !v.rc11 && !arm.allowed) return;
    outcome o;
    for (const event& e : event_)
      if (e.read) o.set(e.reg, e.seen);
    for (std::size_t l = 0; l != locations_; ++l) o.set(registers_ + l, event_[modification_[l].back()].stored);
    if (v.cxx20) result_.cxx20.insert(o);
    if (v.rc11) result_.rc11.insert(o);
    if (v.no_lb) result_.no_lb.insert(o);
    if (v.stepwise) result_.stepwise.insert(o);
    if (arm.allowed) result_.arm.insert(o);
    if (arm.in_order) result_.arm_in_order.insert(o);
  }

  [[nodiscard]] execution candidate() const {
    execution x{event_.size()};
    for (std::size_t a = 0; a != event_.size(); ++a) {
      const event& e = event_[a];
      const events bit = events{1} << a;
      const bool fence = e.op.what == kind::fence;
      const std::memory_order o = e.op.what == kind::compare_exchange && !e.write ? e.op.failed : e.op.order;
      if (a < locations_) x.initial |= bit;
      if (fence) x.fences |= bit;
      if (!fence && e.read) x.reads |= bit, x.rf.add(e.from, a);
      if (!fence && e.write) x.writes |= bit;
      if (a >= locations_ && acquires(o) && (fence || e.read)) x.acquire |= bit;
      if (a >= locations_ && releases(o) && (fence || e.write)) x.release |= bit;
      if (a >= locations_ && o == std::memory_order_seq_cst) x.seq_cst |= bit;
      for (std::size_t b = 0; b != event_.size(); ++b) {
        const event& f = event_[b];
        if (a < b && e.thread != 0 && e.thread == f.thread) x.sb.add(a, b);
        if (fence || f.op.what == kind::fence || e.location != f.location || a == b) continue;
        x.same_location.add(a, b);
        if (e.write && f.write && e.position < f.position) x.mo.add(a, b);
      }
    }
    return x;
  }

  static constexpr std::size_t taken = ~std::size_t{0};

  std::size_t locations_;
  std::size_t registers_;
  std::size_t next_register_{};
  std::vector<event> event_;
  std::vector<std::vector<std::size_t>> by_location_;   // writes still to be placed
  std::vector<std::vector<std::size_t>> modification_;  // the modification orders
  std::vector<std::size_t> readers_;
  allowed_outcomes result_;
};

}  // namespace detail

[[nodiscard]] inline allowed_outcomes enumerate(const program& p) { return detail::enumerator{p}.run(); }

}  // namespace litmus
