// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include <shootdown/arch/event.hpp>
#include <shootdown/env/time.hpp>
#include <shootdown/model/endpoint.hpp>
#include <shootdown/model/walker.hpp>

SHOOTDOWN_BEGIN
namespace model {

/// What a SYNC does about outstanding transactions that rest on removed entries.
enum class landing_policy : std::uint8_t {
  held,    ///< waits until the test has landed them
  forced,  ///< lands them itself right before it completes: the last moment at which they are legal
};

struct engine_options {
  std::uint64_t seed{1};
  bool lazy{true};           ///< TLBI and CFGI take effect at the next SYNC, in random order; false: at once
  unsigned early_percent{};  ///< of lazy effects that come at once all the same: finds page table writes that are too late
  landing_policy landing{landing_policy::forced};
  nanoseconds sync_latency{};
  nanoseconds command_latency{};
  bool fence_after_ste{};      ///< walk_setup::fence_after_ste
  bool contiguous_runs{true};  ///< walk_setup::contiguous_runs
  std::uint32_t max_transactions{256};
  std::uint32_t agent_transactions{8};  ///< that agents keep between translation and landing
  std::uint32_t max_pending{4096};      ///< lazy effects; beyond it one is applied early, as hardware may at any time
  nanoseconds atc_round_trip{};         ///< from the execution of an ATC_INV to the endpoint's answer
  nanoseconds atc_timeout{};            ///< how long a SYNC waits for an answer beyond that
  bool atc_timeout_takes_all{};         ///< requests to other endpoints are lost with the one that timed out: the failing set is UNKNOWN
};

/// For callers that do not look at fault records.
struct ignore_events {
  constexpr void operator()(const event_record&) const noexcept {}
};

/// What the device did. Exact; read under the device's lock.
struct engine_counters {
  std::uint64_t commands{};  ///< executed, SYNCs included
  std::uint64_t syncs{};
  std::uint64_t tlbis{};
  std::uint64_t whole_tag_tlbis{};  ///< of these, not by address
  std::uint64_t cfgis{};
  std::uint64_t other{};          ///< neither SYNC, TLBI nor CFGI
  std::uint64_t atc_invs{};       ///< of these, ATC_INV
  std::uint64_t atc_timeouts{};   ///< SYNCs that found one unanswered
  std::uint64_t covered_pages{};  ///< see coverage
  std::uint64_t unpredictable{};  ///< TLBIs that break an alignment rule: a bug of the driver
  std::uint64_t removed_entries{};
  std::uint64_t dmas{};  ///< translations asked for
  std::uint64_t faults{};
  std::uint64_t events{};  ///< faults that were recorded
  std::uint64_t landings{};
  std::uint64_t forced_landings{};  ///< of these, by a SYNC
  std::uint64_t bus_errors{};       ///< landings where nothing answers
  walk_counters walk{};
  endpoint_counters ats{};  ///< of all endpoints together
};

}  // namespace model
SHOOTDOWN_END
