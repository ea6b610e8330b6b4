// SPDX-License-Identifier: MIT
#pragma once

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <absl/strings/str_format.h>

#include <shootdown/sim/chooser.hpp>
#include <shootdown/sim/trial_options.hpp>

SHOOTDOWN_BEGIN
namespace sim {

/// All it takes to repeat a trial: the scenario's name, the options, and every answer that was not 0.
///
/// As text: sd1/NAME/OPTIONS/DEVIATIONS, without blanks. OPTIONS: `m` sequential or `w` weak memory, then any of
///   l<steps> step limit, i<n> interrupts, a<n> failing allocations, s<n> staleness, p placement, n not coherent, c spurious failures.
/// DEVIATIONS: <decision>=<answer> joined by commas, decisions ascending; may be empty.
///   sd1/attach_against_unmap/wl200000i1s2/17=1,230=2
struct schedule {
  std::string scenario;
  trial_options options{};
  std::vector<deviation> deviations;
};

[[nodiscard]] inline std::string to_string(const schedule& s) {
  const trial_options& o = s.options;
  std::string text = absl::StrFormat("sd1/%s/%cl%di%ds%d", s.scenario, o.memory == memory_model::weak ? 'w' : 'm', o.step_limit,
                                     o.interrupts, o.weak.staleness);
  if (o.allocation_failures != 0) absl::StrAppendFormat(&text, "a%d", o.allocation_failures);
  if (o.weak.placement) text += 'p';
  if (!o.weak.coherent) text += 'n';
  if (o.spurious_failures) text += 'c';
  text += '/';
  for (std::size_t i = 0; i != s.deviations.size(); ++i)
    absl::StrAppendFormat(&text, "%s%d=%d", i == 0 ? "" : ",", s.deviations[i].decision, s.deviations[i].answer);
  return text;
}

/// The error names the position (from 1) and what was expected there.
[[nodiscard]] inline absl::StatusOr<schedule> parse_schedule(std::string_view text) {
  std::size_t at = 0;
  const auto wrong = [&](std::string_view expected) {
    return absl::InvalidArgumentError(absl::StrFormat("schedule, position %d: %s expected", at + 1, expected));
  };
  const auto number = [&](auto& out) {
    const auto [end, error] = std::from_chars(text.data() + at, text.data() + text.size(), out);
    if (error != std::errc{}) return false;
    at = static_cast<std::size_t>(end - text.data());
    return true;
  };
  schedule s;
  if (!text.starts_with("sd1/")) return wrong("`sd1/`");
  at = 4;
  const std::size_t name = text.find('/', at);
  if (name == std::string_view::npos || name == at) return wrong("a scenario's name and `/`");
  s.scenario = text.substr(at, name - at);
  at = name + 1;
  if (at == text.size() || (text[at] != 'm' && text[at] != 'w')) return wrong("`m` or `w`");
  s.options.memory = text[at++] == 'w' ? memory_model::weak : memory_model::sequential;
  while (at != text.size() && text[at] != '/') {
    const char letter = text[at++];
    bool good = true;
    switch (letter) {
      case 'l': good = number(s.options.step_limit); break;
      case 'i': good = number(s.options.interrupts); break;
      case 'a': good = number(s.options.allocation_failures); break;
      case 's': good = number(s.options.weak.staleness); break;
      case 'p': s.options.weak.placement = true; break;
      case 'n': s.options.weak.coherent = false; break;
      case 'c': s.options.spurious_failures = true; break;
      default: --at; return wrong("an option (l, i, a, s with a number; p, n, c) or `/`");
    }
    if (!good) return wrong("a number");
  }
  if (at == text.size()) return wrong("`/`");
  ++at;
  while (at != text.size()) {
    deviation d;
    const std::size_t begin = at;
    if (!number(d.decision)) return wrong("the number of a decision");
    if (!s.deviations.empty() && d.decision <= s.deviations.back().decision) {
      at = begin;
      return wrong("a decision after the one before");
    }
    if (at == text.size() || text[at] != '=') return wrong("`=`");
    ++at;
    const std::size_t answer = at;
    if (!number(d.answer) || d.answer == 0) {
      at = answer;
      return wrong("an answer from 1 on");
    }
    s.deviations.push_back(d);
    if (at == text.size()) break;
    if (text[at] != ',') return wrong("`,` or the end");
    if (++at == text.size()) return wrong("the number of a decision");
  }
  return s;
}

}  // namespace sim
SHOOTDOWN_END
