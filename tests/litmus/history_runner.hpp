// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include <shootdown/sim/history.hpp>

#include "litmus/program.hpp"

namespace litmus {

/// How the runners set up the explorer's memory: nothing is bounded.
[[nodiscard]] inline shootdown::sim::history_options unbounded_history() {
  shootdown::sim::history_options o;
  o.staleness = 1000;
  o.placement = true;
  return o;
}

/// What a runner has seen.
struct observed_outcomes {
  outcome_set outcomes;
  std::uint64_t executions{};
  bool exhausted{true};
};

/// Every execution of a program on the explorer's memory (sim::history) itself: all orders of steps, all answers to its
/// questions. Without fibers, so that tens of thousands of programs can be run; explorer_runner does it with everything.
///
/// reduced: of the orders of steps that differ only in neighbouring independent steps one is enough. Independent are steps of
/// different threads on different locations, loads of one location, and fences other than seq_cst with everything.
class history_runner {
 public:
  explicit history_runner(const program& p, bool reduced = true) : program_{p}, reduced_{reduced} {}

  [[nodiscard]] observed_outcomes run() {
    do {
      execute();
    } while (backtrack());
    return std::move(seen_);
  }

 private:
  using memory_order = std::memory_order;
  static constexpr std::size_t nobody = ~std::size_t{0};

  struct decision {
    std::uint32_t answer{};
    std::uint32_t options{};
  };

  [[nodiscard]] std::uint32_t choose(std::uint32_t options) {
    if (options == 1) return 0;
    if (next_ == decisions_.size()) decisions_.push_back({0, options});
    return decisions_[next_++].answer;
  }
  [[nodiscard]] bool backtrack() {
    while (!decisions_.empty() && decisions_.back().answer + 1 == decisions_.back().options) decisions_.pop_back();
    if (decisions_.empty()) return false;
    ++decisions_.back().answer;
    return true;
  }

  [[nodiscard]] static bool independent(const operation& a, const operation& b) {
    const auto local = [](const operation& o) { return o.what == kind::fence && o.order != std::memory_order_seq_cst; };
    if (local(a) || local(b)) return true;
    if (a.what == kind::fence || b.what == kind::fence) {
      const operation& other = a.what == kind::fence ? b : a;
      return other.what != kind::fence && other.order != std::memory_order_seq_cst && other.failed != std::memory_order_seq_cst;
    }
    if (a.location != b.location) return true;
    return a.what == kind::load && b.what == kind::load && a.order != std::memory_order_seq_cst && b.order != std::memory_order_seq_cst;
  }

  void execute() {
    next_ = 0;
    words_ = {};
    at_ = {};
    history_.start(unbounded_history());
    std::array<std::size_t, 8> first_register{};
    for (std::size_t t = 0, r = 0; t != program_.threads.size(); ++t) {
      first_register[t] = r;
      for (const operation& o : program_.threads[t]) r += o.reads();
    }
    outcome result;
    const operation* last = nullptr;
    std::size_t last_thread = nobody;
    for (;;) {
      std::array<std::size_t, 8> able{};
      std::uint32_t n = 0;
      bool left = false;
      for (std::size_t t = 0; t != program_.threads.size(); ++t) {
        if (at_[t] == program_.threads[t].size()) continue;
        left = true;
        // The lexicographically first order of steps among the equivalent ones has no independent neighbours in descending
        // order, so orders that have some can be left out.
        if (reduced_ && last != nullptr && t < last_thread && independent(*last, program_.threads[t][at_[t]])) continue;
        able[n++] = t;
      }
      if (!left) break;
      if (n == 0) return;  // every continuation is the same as one that is explored elsewhere
      const std::size_t t = able[choose(n)];
      last = &program_.threads[t][at_[t]++];
      last_thread = t;
      if (const auto [reads, value] = step(static_cast<shootdown::sim::observer>(t), *last); reads) result.set(first_register[t]++, value);
    }
    ++seen_.executions;
    for (std::size_t l = 0; l != program_.locations(); ++l) result.set(program_.registers() + l, words_[l]);
    seen_.outcomes.insert(result);
  }

  [[nodiscard]] std::pair<bool, std::uint64_t> step(shootdown::sim::observer who, const operation& o) {
    const auto ask = [this](bool, std::uint32_t options) { return choose(options); };
    const shootdown::sim::cell c{&words_[o.location], 8, false};
    std::uint32_t stale = 0;
    switch (o.what) {
      case kind::load: return {true, history_.load(who, c, o.order, ask, stale)};
      case kind::store: history_.store(who, c, o.operand, o.order, ask); return {};
      case kind::exchange: return {true, history_.modify(who, c, shootdown::sim::modification::exchange, o.operand, o.order, ask, stale)};
      case kind::add: return {true, history_.modify(who, c, shootdown::sim::modification::add, o.operand, o.order, ask, stale)};
      case kind::compare_exchange: {
        std::uint64_t value = o.expected;
        static_cast<void>(history_.compare_exchange(who, c, value, o.operand, o.order, o.failed, ask, stale));
        return {true, value};
      }
      case kind::fence: history_.fence(who, o.order); return {};
    }
    return {};
  }

  const program& program_;
  bool reduced_;
  shootdown::sim::history history_;
  std::array<std::uint64_t, 4> words_{};
  std::array<std::size_t, 8> at_{};
  std::vector<decision> decisions_;
  std::size_t next_{};
  observed_outcomes seen_;
};

}  // namespace litmus
