// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>

#include "cases.hpp"

namespace shootdown::bench {

/// A line on stderr that says how far the run is. One user at a time.
class progress_meter {
 public:
  explicit progress_meter(std::size_t total) : total_{total} {}
  void step(const std::string& what);
  void finish();

 private:
  std::size_t total_;
  std::size_t done_{};
};

/// Registers `c` with Google Benchmark. One iteration is one unmap of every thread; a repetition is one pass over the
/// workload on a machine of its own. `meter` must outlive the run.
void register_unmap(const bench_case& c, progress_meter& meter);

}  // namespace shootdown::bench
