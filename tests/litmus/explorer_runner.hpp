// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <shootdown/sim/drivers.hpp>
#include <shootdown/sim/env.hpp>
#include <shootdown/sim/explore.hpp>

#include "litmus/history_runner.hpp"
#include "litmus/program.hpp"

namespace litmus {

[[nodiscard]] inline shootdown::sim::trial_options unbounded_trials() {
  shootdown::sim::trial_options o;
  o.memory = shootdown::sim::memory_model::weak;
  o.weak = unbounded_history();
  o.interrupts = 0;
  return o;
}

/// A program as a scenario of the explorer, with the types that the library uses: sim::env's atomics (or, Cell being
/// sim::env::dma_word, the words it shares with a device), fibers, trials and a driver of the caller's choice.
template <class Cell = shootdown::sim::env::atomic<std::uint64_t>>
class explorer_runner {
 public:
  explicit explorer_runner(program p) : program_{std::move(p)} {}

  /// Runs until the driver is at its end; unbounded depth first by default. A failed trial throws.
  [[nodiscard]] observed_outcomes run(const shootdown::sim::trial_options& o = unbounded_trials()) {
    shootdown::sim::dfs all{~0u};
    return run(all, o, {});
  }
  [[nodiscard]] observed_outcomes run(shootdown::sim::chooser& driver, const shootdown::sim::trial_options& o,
                                      const shootdown::sim::budget& b) {
    observed_outcomes seen;
    const std::string about = text_of(program_);
    const shootdown::sim::scenario s{"litmus", about, [&](shootdown::sim::trial& t) { seen.outcomes.insert(one_trial(t)); }};
    const shootdown::sim::exploration e = shootdown::sim::explore(s, driver, o, b);
    if (!e.ok()) throw std::runtime_error(about + ": " + e.failure->what + ": " + e.failure->schedule);
    seen.executions = e.trials;
    seen.exhausted = e.exhausted;
    return seen;
  }

 private:
  struct memory {
    std::array<Cell, 4> words{};
    std::array<std::array<std::uint64_t, slot_limit>, 8> registers{};  // of each thread: nothing orders the threads in a trial
  };

  [[nodiscard]] outcome one_trial(shootdown::sim::trial& t) {
    auto& m = t.make<memory>();
    for (std::size_t i = 0; i != program_.threads.size(); ++i)
      t.cpu("T" + std::to_string(i), [&m, &ops = program_.threads[i], own = m.registers[i].data()]() mutable {
        for (const operation& o : ops)
          if (const auto [reads, value] = step(m.words[o.location], o); reads) *own++ = value;
      });
    t.go();
    outcome result;
    std::size_t slot = 0;
    for (std::size_t i = 0; i != program_.threads.size(); ++i) {
      std::size_t r = 0;
      for (const operation& o : program_.threads[i])
        if (o.reads()) result.set(slot++, m.registers[i].at(r++));
    }
    for (std::size_t l = 0; l != program_.locations(); ++l) result.set(slot++, m.words[l].load(std::memory_order_relaxed));
    return result;
  }

  [[nodiscard]] static std::pair<bool, std::uint64_t> step(Cell& c, const operation& o) {
    if (o.what == kind::load) return {true, c.load(o.order)};
    if (o.what == kind::store) return c.store(o.operand, o.order), std::pair{false, std::uint64_t{0}};
    if (o.what == kind::fence)
      return shootdown::sim::explored::fence(o.order, shootdown::sim::where::current()), std::pair{false, std::uint64_t{0}};
    if constexpr (std::is_same_v<Cell, shootdown::sim::env::dma_word>) {
      throw std::invalid_argument("litmus: a dma_word has no such operation");
    } else {
      if (o.what == kind::exchange) return {true, c.exchange(o.operand, o.order)};
      if (o.what == kind::add) return {true, c.fetch_add(o.operand, o.order)};
      std::uint64_t value = o.expected;
      static_cast<void>(c.compare_exchange_strong(value, o.operand, o.order, o.failed));
      return {true, value};
    }
  }

  program program_;
};

}  // namespace litmus
