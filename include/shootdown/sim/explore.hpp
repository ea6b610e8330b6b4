// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <absl/strings/str_cat.h>

#include <shootdown/sim/chooser.hpp>
#include <shootdown/sim/drivers.hpp>
#include <shootdown/sim/schedule.hpp>
#include <shootdown/sim/step_log.hpp>
#include <shootdown/sim/trial.hpp>

SHOOTDOWN_BEGIN
namespace sim {

/// Something that can go wrong: a function that builds a world in a trial, runs it and looks at the result.
/// The body must be repeatable: no state of its own between trials, no clock, no random numbers but the trial's choices.
struct scenario {
  std::string_view name;  ///< letters, digits, `_`, `.`, `-`
  std::string_view about;
  std::function<void(trial&)> body;
};

/// How a trial went wrong, and how to see it again.
struct failure {
  std::string what;
  std::string schedule;
  std::vector<std::string> steps;  ///< of the repeated trial, one operation a line
  bool repeats{};                  ///< it failed in the same way again, as it must
};

/// When to stop. Whatever comes first; a failure always does.
struct budget {
  std::uint64_t trials{~std::uint64_t{0}};
  std::uint64_t steps{~std::uint64_t{0}};
  std::uint64_t milliseconds{~std::uint64_t{0}};  ///< looked at between trials; not for tests
};

struct exploration {
  std::uint64_t trials{};
  std::uint64_t steps{};
  std::uint64_t decisions{};
  std::uint64_t longest{};    ///< decisions of the longest trial
  std::uint64_t forgotten{};  ///< stores that weak memory forgot: see history
  bool exhausted{};           ///< the driver had nothing left to try
  std::optional<sim::failure> failure{};
  [[nodiscard]] bool ok() const noexcept { return !failure.has_value(); }

  exploration& operator+=(const exploration& o) {
    trials += o.trials;
    steps += o.steps;
    decisions += o.decisions;
    longest = std::max(longest, o.longest);
    forgotten += o.forgotten;
    exhausted = exhausted && o.exhausted;
    if (!failure) failure = o.failure;
    return *this;
  }
};

/// Races that ThreadSanitizer has reported in this process. A program that wants a race to fail its trial calls this from
/// `extern "C" void __tsan_on_report(void*)`; without ThreadSanitizer it stays 0.
[[nodiscard]] inline std::uint64_t& races_reported() noexcept {
  static std::uint64_t n = 0;
  return n;
}

namespace detail {
/// One trial. The failure, if any, without its steps.
inline std::optional<failure> run_trial(const scenario& s, chooser& c, const trial_options& o, step_log* log, exploration& sum) {
  std::optional<failure> f;
  if (log != nullptr) log->forget_names();
  const std::uint64_t races = races_reported();
  c.begin();
  trial t{o, c, log};
  try {
    s.body(t);
  } catch (const trial_failed&) {
  }
  if (races_reported() != races) t.note_failure("a data race on plain memory, as reported by ThreadSanitizer");
  ++sum.trials;
  sum.steps += t.steps();
  sum.decisions += t.decisions();
  sum.longest = std::max(sum.longest, t.decisions());
  sum.forgotten += t.forgotten();
  if (t.failed()) f = failure{t.failure(), to_string({std::string{s.name}, o, t.deviations()}), {}, false};
  return f;
}
}  // namespace detail

/// Repeats one trial with a step list. invalid_argument: the schedule does not fit this scenario (it is of other code).
[[nodiscard]] inline absl::StatusOr<std::optional<failure>> replay(const scenario& s, const schedule& what) {
  replayer again{what.deviations};
  step_log log;
  log.open();
  exploration sum;
  std::optional<failure> f = detail::run_trial(s, again, what.options, &log, sum);
  if (again.misfit()) return absl::InvalidArgumentError("the schedule asks for decisions that this scenario does not have");
  if (f) {
    f->steps = log.lines();
    f->repeats = true;
  }
  return f;
}

/// Runs trials of `s` until one fails, the chooser is at its end, or the budget is spent. A failure is repeated once to get its steps.
/// Context: a thread, outside of any trial.
[[nodiscard]] inline exploration explore(const scenario& s, chooser& c, const trial_options& o, const budget& b = {}) {
  exploration sum;
  const auto begin = std::chrono::steady_clock::now();
  const auto out_of_time = [&] {
    return b.milliseconds != ~std::uint64_t{0} &&
           std::chrono::steady_clock::now() - begin >= std::chrono::milliseconds{static_cast<std::int64_t>(b.milliseconds)};
  };
  while (sum.trials < b.trials && sum.steps < b.steps && !out_of_time()) {
    const std::uint64_t before = sum.steps;
    sum.failure = detail::run_trial(s, c, o, nullptr, sum);
    if (sum.failure) {
      const auto parsed = parse_schedule(sum.failure->schedule);
      const auto again = parsed.ok() ? replay(s, *parsed) : parsed.status();
      if (again.ok() && again->has_value()) {
        sum.failure->repeats = (*again)->what == sum.failure->what;
        sum.failure->steps = std::move((*again)->steps);
      }
      return sum;
    }
    if (!c.end(sum.steps - before)) {
      sum.exhausted = true;
      return sum;
    }
  }
  return sum;
}

}  // namespace sim
SHOOTDOWN_END
