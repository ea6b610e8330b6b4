// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include <shootdown/sim/reference_machine.hpp>

SHOOTDOWN_BEGIN
namespace sim {

/// Who gets a contended cache line next, and how long its journey takes. The only fitted part of virtual time; all in
/// thousandths. All zero: the reference machine's 60 ns, whoever comes next.
///
///   oldest_first  how often the line goes to the request that waits longest; else every waiting one has the same chance.
///                 1000 is a FIFO (a fair home node), 0 an interconnect that makes requesters come back. It decides how
///                 often a compare-exchange that failed is repeated before anyone else succeeds.
///   distance      how much longer a transfer takes for each further CPU that takes part in the run: they are spread over
///                 more clusters, dies and sockets.
///   crowding      how much longer it takes for each further CPU that waits for the line, or whose copy has to go before it
///                 can be written. The other way to explain the same column; the fit likes it less and it is left at 0.
struct line_arbitration {
  std::uint32_t oldest_first{};
  std::uint32_t distance{};
  std::uint32_t crowding{};

  /// A transfer in a run of `cpus` CPUs, of which `others` are concerned in it besides the one that gets the line.
  [[nodiscard]] constexpr std::uint64_t transfer(std::uint64_t cpus, std::uint64_t others) const noexcept {
    const std::uint64_t longer = distance * (cpus - 1) + crowding * others;
    return reference_machine::line_transfer + (reference_machine::line_transfer * longer + 500) / 1000;
  }
  friend constexpr bool operator==(const line_arbitration&, const line_arbitration&) noexcept = default;
};

/// Fitted to the compare-exchange column of John Garry's measurements of August 2020 (map and unmap per second and CPU at 8,
/// 16, 32 and 64 CPUs, and the share of compare-exchanges that succeed at 64) by `./run scale --fit`, which finds these
/// numbers again. Never fitted to anything else: what they say about other algorithms is a prediction.
inline constexpr line_arbitration fitted_arbitration{225, 11, 0};

/// The third fitted number, which belongs to that experiment and not to the machine: what a CPU did there between two
/// invalidations (IOVA and page table work of one map and unmap), mean, +- half, in nanoseconds.
inline constexpr std::uint64_t fitted_map_unmap_work = 2000;

}  // namespace sim
SHOOTDOWN_END
