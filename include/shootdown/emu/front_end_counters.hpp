// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include <shootdown/config.hpp>
#include <shootdown/emu/decoder.hpp>
#include <shootdown/env/time.hpp>

SHOOTDOWN_BEGIN
namespace emu {

/// Switches of a front end: permitted behaviours and injected faults. Changed by the device side, between steps.
struct front_end_options {
  reserved_bits_rule reserved{reserved_bits_rule::illegal};
  nanoseconds ack_delay{};  ///< from seeing a CR0, IRQ_CTRL or GBPA write to acting on it
  bool wide_message{};      ///< quirk: a SYNC's message writes 64 bits, the upper 32 as 0
  bool drop_message{};      ///< fault: a SYNC's message write aborts; the SYNC completes without it
};

/// What a front end saw and did. All but `doorbells` and `prod_regressions` change in the device side's steps only.
struct front_end_counters {
  std::uint64_t doorbells{};         ///< CMDQ_PROD writes
  std::uint64_t prod_regressions{};  ///< of these: PROD went back, or jumped further than the queue is long
  std::uint64_t commands{};          ///< consumed, SYNCs included
  std::uint64_t syncs{};
  std::uint64_t messages{};          ///< message writes of SYNCs that arrived
  std::uint64_t events_to_cpus{};    ///< SYNCs with CS = SEV
  std::uint64_t wired_interrupts{};  ///< SYNC (CS = IRQ without message), GERROR and event queue lines
  std::uint64_t rejected{};          ///< times the queue stopped: any CERROR
  std::uint64_t unpredictable{};     ///< commands that a correct driver never sends
  std::uint64_t ignored{};           ///< commands consumed without effect (ATC_INV and PRI_RESP while SMMUEN = 0)
  std::uint64_t software_errors{};   ///< PROD beyond the ring, GERRORN bits toggled while inactive, misaligned queue bases
  std::uint64_t events{};            ///< event records written
  std::uint64_t events_lost{};       ///< no room, or the write aborted
};

}  // namespace emu
SHOOTDOWN_END
