// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include <shootdown/config.hpp>

SHOOTDOWN_BEGIN

/// What the library counts through Env::stats::add. With `null_stats` every count compiles to nothing.
/// Shared read-modify-writes and failed compare-exchanges are counted by the environment's atomic, not by the algorithms
/// (host::counted_atomic): an algorithm cannot forget one.
enum class counter : std::uint8_t {
  submissions,       ///< lists accepted
  commands,          ///< commands written into rings, SYNCs included
  syncs,             ///< of these, CMD_SYNC
  doorbells,         ///< PROD register writes
  bytes,             ///< bytes written into rings
  completion_polls,  ///< turns of a wait for completion
  space_waits,       ///< times a submitter found too little room and had to wait
  shared_rmw,        ///< read-modify-writes on shared memory (counted by the atomic)
  failed_cas,        ///< of these, compare-exchanges that failed
  emulated_rmw,      ///< RMWs that C++ needs where the published algorithm has a plain store (owner_cas); part of shared_rmw
  count_             ///< number of counters
};

/// Counts nothing.
struct null_stats {
  static constexpr void add(counter, std::uint64_t = 1) noexcept {}
};

/// Points of an unmap's life that Env::trace can record. a and b depend on the point: ticket end and list size, or 0.
enum class trace_point : std::uint8_t { reserve, publish, doorbell, wait_begin, wait_end, attach, detach, error };

/// Records nothing.
struct null_trace {
  static constexpr void event(trace_point, std::uint64_t = 0, std::uint64_t = 0) noexcept {}
};

SHOOTDOWN_END
