// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include <shootdown/config.hpp>

SHOOTDOWN_BEGIN
namespace sim {

/// The reference machine: what an operation costs in virtual time, in nanoseconds. The numbers of docs/design.md's measuring
/// chapter, settled before any strategy was measured on them.
///
/// FIXED. Results of different dates are comparable only because these never move: no later work may change one, tune one to
/// a strategy, or add a cost that only some strategies pay. What had to be fitted is elsewhere (line_arbitration.hpp).
struct reference_machine {
  // Workload.
  static constexpr std::uint64_t think = 300;         ///< between two unmaps of a CPU, mean
  static constexpr std::uint64_t think_spread = 150;  ///< +- this, uniform

  // CPUs and cache lines.
  static constexpr std::uint64_t local_rmw = 5;       ///< read-modify-write on a line this CPU owns
  static constexpr std::uint64_t line_transfer = 60;  ///< a line that another CPU, memory or the device had last, nobody else asking

  // The SMMU.
  static constexpr std::uint64_t doorbell = 150;   ///< PROD write until the SMMU has it: posted (the CPU goes on), one at a time
  static constexpr std::uint64_t mmio_read = 300;  ///< register read: the CPU waits
  static constexpr std::uint64_t tlbi = 15;        ///< any command but the next two
  static constexpr std::uint64_t sync_short = 30;  ///< CMD_SYNC: three kinds of SMMU
  static constexpr std::uint64_t sync_middle = 200;
  static constexpr std::uint64_t sync_long = 800;
  static constexpr std::uint64_t atc_inv = 1000;  ///< CMD_ATC_INV until the endpoint has answered
  static constexpr std::uint64_t trap = 2000;     ///< a register access of a guest that the hypervisor emulates

  // What the machine leaves open and a simulator has to say: small against all of the above.
  static constexpr std::uint64_t hit = 1;    ///< load of a line this CPU has, store to one it owns, a posted write leaving it
  static constexpr std::uint64_t pause = 5;  ///< one turn of a spin loop
};

}  // namespace sim
SHOOTDOWN_END
