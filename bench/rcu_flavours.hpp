// SPDX-License-Identifier: MIT
#pragma once

#include <benchmark/benchmark.h>

#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "summary.hpp"

namespace shootdown::bench {

/// Registers what liburcu's flavours cost, `BM_rcu/<flavour>/<operation>`, as far as the name matches `filter`, and says how
/// many. They are no part of the main job: none, unless the filter contains "rcu". `quick`: shorter runs.
std::size_t register_rcu_flavours(const std::string& filter, bool quick);

/// The summary that also knows these benchmarks.
class rcu_summary_reporter : public summary_reporter {
 public:
  explicit rcu_summary_reporter(unsigned repetitions) : summary_reporter{repetitions}, repetitions_{repetitions} {}
  void ReportRuns(const std::vector<Run>& runs) override;
  /// One line a flavour, one column an operation, medians of the CPU time; nothing if none ran.
  void print_rcu() const;

 private:
  unsigned repetitions_;
  std::map<std::string, std::map<std::string, double>> ns_;  // by flavour and operation
};

}  // namespace shootdown::bench
