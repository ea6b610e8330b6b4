// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "litmus/axiomatic.hpp"
#include "litmus/history_runner.hpp"
#include "litmus/program.hpp"

namespace litmus {

/// What the explorer was seen to do beside what the axioms allow, summed over programs.
///
/// Must be empty: forbidden (seen, and the standard does not allow it) and missed (not seen, and the model class `stepwise`
/// contains it); so must beyond (seen, allowed by the standard, but outside of the class: then the class is described wrongly).
/// The two named exceptions, which the explorer leaves out on purpose, are only counted: load buffering (allowed by C++20,
/// not under acyclic sb | rf) and S along the execution (not stepwise).
struct comparison {
  std::uint64_t programs{};
  std::uint64_t executions{};
  std::uint64_t allowed{};         ///< outcomes, of the standard
  std::uint64_t observed{};        ///< outcomes
  std::uint64_t load_buffering{};  ///< outcomes left out
  std::uint64_t s_order{};         ///< outcomes left out
  std::uint64_t arm{};             ///< outcomes that Arm code of the programs may have
  std::uint64_t arm_left_out{};    ///< of these: left out by the explorer
  std::uint64_t in_order{};        ///< of these: without a store that overtakes a load (see arm.hpp)
  std::vector<std::string> forbidden;
  std::vector<std::string> beyond;
  std::vector<std::string> missed;

  [[nodiscard]] bool good() const { return forbidden.empty() && beyond.empty() && missed.empty(); }

  void add(const program& p, const allowed_outcomes& a, const observed_outcomes& o) {
    ++programs;
    executions += o.executions;
    allowed += a.cxx20.size();
    observed += o.outcomes.size();
    load_buffering += a.cxx20.size() - a.no_lb.size();
    s_order += a.no_lb.size() - a.stepwise.size();
    arm += a.arm.size();
    for (const outcome& x : a.arm) {
      if (a.stepwise.contains(x)) continue;
      ++arm_left_out;
      in_order += a.arm_in_order.contains(x);
    }
    for (const outcome& x : o.outcomes) {
      if (!a.cxx20.contains(x))
        forbidden.push_back(text_of(p) + " : " + text_of(p, x));
      else if (!a.stepwise.contains(x))
        beyond.push_back(text_of(p) + " : " + text_of(p, x));
    }
    for (const outcome& x : a.stepwise)
      if (!o.outcomes.contains(x)) missed.push_back(text_of(p) + " : " + text_of(p, x));
  }

  comparison& operator+=(const comparison& o) {
    programs += o.programs, executions += o.executions, allowed += o.allowed, observed += o.observed;
    load_buffering += o.load_buffering, s_order += o.s_order;
    arm += o.arm, arm_left_out += o.arm_left_out, in_order += o.in_order;
    forbidden.insert(forbidden.end(), o.forbidden.begin(), o.forbidden.end());
    beyond.insert(beyond.end(), o.beyond.begin(), o.beyond.end());
    missed.insert(missed.end(), o.missed.begin(), o.missed.end());
    return *this;
  }

  /// For the message of a failed test: how many, and the first few.
  [[nodiscard]] std::string report() const {
    std::string s = std::to_string(programs) + " programs, " + std::to_string(executions) + " executions; " + std::to_string(allowed) +
                    " outcomes allowed by C++20, " + std::to_string(observed) + " seen; left out: load buffering " +
                    std::to_string(load_buffering) + ", S along the execution " + std::to_string(s_order) +
                    ". Arm: " + std::to_string(arm) + " outcomes, left out " + std::to_string(arm_left_out) +
                    ", of these without a store that overtakes a load " + std::to_string(in_order) + ".";
    const auto list = [&s](const char* what, const std::vector<std::string>& all) {
      if (all.empty()) return;
      s += "\n" + std::string{what} + ": " + std::to_string(all.size());
      for (std::size_t i = 0; i != all.size() && i != 5; ++i) s += "\n  " + all[i];
    };
    list("FORBIDDEN by the standard, and seen", forbidden);
    list("outside of the model class, and seen", beyond);
    list("in the model class, and never seen", missed);
    return s;
  }
};

}  // namespace litmus
