// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "calibration.hpp"
#include "closed_loop.hpp"

namespace shootdown::bench {

/// A kind of SMMU, or of trouble.
struct hardware {
  std::string_view name;
  std::string_view about;
  std::uint64_t sync;
  bool sync_stalls;
  std::uint32_t preempted_in_1000;
  double noise;  ///< a difference in throughput below this share says nothing: preemptions are few
};
inline constexpr hardware all_hardware[] = {
    {"sync30", "CMD_SYNC 30 ns", sim::reference_machine::sync_short, true, 0, 0.02},
    {"sync200", "CMD_SYNC 200 ns", sim::reference_machine::sync_middle, true, 0, 0.02},
    {"sync800", "CMD_SYNC 800 ns", sim::reference_machine::sync_long, true, 0, 0.02},
    {"nostall200", "CMD_SYNC 200 ns that does not stall later commands", sim::reference_machine::sync_middle, false, 0, 0.02},
    {"nostall800", "CMD_SYNC 800 ns that does not stall later commands", sim::reference_machine::sync_long, false, 0, 0.02},
    {"preempted", "CMD_SYNC 200 ns; 1 % of the reservations lose their CPU for 1 ms", sim::reference_machine::sync_middle, true, 10, 0.10},
};

/// One measured point.
struct point {
  std::string_view hardware;
  std::string_view strategy;
  unsigned cpus;
  loop_result result;
};

/// A row of the queueing model "one SYNC per caller" (performance anchors 3.5): a shared 60 ns line for the reservation and
/// nothing else, doorbells that combine.
struct queueing_row {
  std::uint64_t sync;
  unsigned cpus;
  double millions;  ///< per second
  double p99_us;    ///< 0: not given
};
inline constexpr queueing_row queueing_model[] = {{30, 8, 10.8, 0},  {200, 2, 2.48, 0},   {200, 8, 4.65, 1.6}, {200, 32, 4.65, 6.7},
                                                  {800, 2, 1.23, 0}, {800, 8, 1.23, 6.4}, {800, 32, 1.23, 26}, {800, 96, 1.23, 78}};
struct queueing_point {
  queueing_row model;
  loop_result result;  ///< owner_add with the reference machine's own lines: 60 ns however many CPUs
};

/// Garry, September 2020 (37734fe9-8b67-3cf3-2925-2fee549cb45a@huawei.com), another day on more CPUs: not fitted, neither column.
inline constexpr published_row unfitted{96, 5.2, 18.7};

/// What a run of the program found out.
struct findings {
  column cas;             ///< the experiment of the published table, fitted
  column add;             ///< and predicted
  column cas_fifo;        ///< with a plain FIFO line instead of the fitted one
  double cas_unfitted{};  ///< `unfitted`, predicted: thousands per CPU
  double add_unfitted{};
  std::vector<queueing_point> queueing;
  std::vector<point> points;
  std::uint64_t seed{1};
  bool quick{};

  /// The first failure of any run, empty if there was none.
  [[nodiscard]] std::string failure() const;
  [[nodiscard]] const loop_result* find(std::string_view hardware, std::string_view strategy, unsigned cpus) const;
};

struct sweep_options {
  bool quick{};
  std::uint64_t seed{1};
  std::function<bool(std::string_view)> wanted;  ///< by strategy
  std::function<void(std::size_t done, std::size_t all, std::string_view what)> progress;
};
[[nodiscard]] findings sweep(const sweep_options& o);

/// The tables, for people.
[[nodiscard]] std::string calibration_text(const findings& f);
[[nodiscard]] std::string queueing_text(const findings& f);
[[nodiscard]] std::string sweep_text(const findings& f);
/// Where a strategy is behind the baseline.
[[nodiscard]] std::string losses_text(const findings& f);
/// All of it, for programs.
[[nodiscard]] std::string json(const findings& f);

}  // namespace shootdown::bench
