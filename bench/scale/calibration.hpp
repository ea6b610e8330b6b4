// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

#include <shootdown/sim/line_arbitration.hpp>

namespace shootdown::bench {

/// John Garry, August 2020 (1598018062-175608-1-git-send-email-john.garry@huawei.com): thousands of map and unmap per second
/// and CPU, before and after the compare-exchange became a fetch_add; about 1 compare-exchange in 12 succeeds at 64 CPUs.
struct published_row {
  unsigned cpus;
  double cas;
  double add;
};
inline constexpr std::array<published_row, 4> published{{{8, 282, 302}, {16, 115, 193}, {32, 36, 80}, {64, 11, 30}}};
inline constexpr double published_attempts = 12;

/// What the fit may move.
struct calibration {
  sim::line_arbitration arbitration;
  std::uint64_t work;  ///< of one map and unmap besides the invalidation, mean ns, +- half
};
inline constexpr calibration committed{sim::fitted_arbitration, sim::fitted_map_unmap_work};

/// One column of the published table as virtual time has it.
struct column {
  std::array<double, published.size()> kilo_per_cpu{};
  double attempts{};  ///< compare-exchanges per success at the most CPUs
};

/// Two runs of the experiment for each row, with a SYNC of 200 ns and completion by MSI.
[[nodiscard]] column measure_cas(const calibration& c);
[[nodiscard]] column measure_add(const calibration& c);

/// The same at one other number of CPUs: thousands per CPU.
[[nodiscard]] double measure_cas(const calibration& c, unsigned cpus);
[[nodiscard]] double measure_add(const calibration& c, unsigned cpus);

/// Sum of the squared logarithms of measured / published over the four rows of the compare-exchange column and the attempts.
[[nodiscard]] double misfit(const column& cas);

struct fit_result {
  calibration best;
  double misfit;
  unsigned evaluations;
};
/// Search over oldest_first (steps of 25), one of distance and crowding (of 1) and work (of 100 ns), from a start far from
/// anything plausible: of the 26 neighbours, 8 steps away, then 4, 2, 1, the best, as long as one is better. Looks at the
/// compare-exchange column only.
enum class growth { distance, crowding };
[[nodiscard]] fit_result fit(growth by, const std::function<void(const fit_result&)>& progress);

}  // namespace shootdown::bench
