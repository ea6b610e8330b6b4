// SPDX-License-Identifier: MIT
#pragma once

#include <benchmark/benchmark.h>

#include <map>
#include <string>
#include <vector>

#include "cases.hpp"

namespace shootdown::bench {

/// Collects the runs of Google Benchmark and prints them as one table per workload: the median of the repetitions, all
/// counts per unmap. The JSON report is Google Benchmark's own and holds every repetition.
class summary_reporter : public benchmark::BenchmarkReporter {
 public:
  explicit summary_reporter(unsigned repetitions) : repetitions_{repetitions} {}

  bool ReportContext(const Context& context) override;
  void ReportRuns(const std::vector<Run>& runs) override;

  /// Prints the tables of `workloads`, in that order, to the output stream.
  void print(const std::vector<workload>& workloads) const;

  [[nodiscard]] bool failed() const { return failed_; }
  [[nodiscard]] double leaks() const { return leaks_; }

 private:
  struct row {
    std::string strategy, policy, domains;
    std::map<std::string, double> counters;
    double unmaps_per_second{};
  };
  static std::vector<row> in_order(std::vector<row> rows);
  void print_recorded(const workload& w) const;

  unsigned repetitions_;
  std::map<std::string, std::vector<row>> rows_;  // by workload
  double leaks_{};
  bool failed_{};
};

}  // namespace shootdown::bench
