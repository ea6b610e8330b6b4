// SPDX-License-Identifier: MIT
#pragma once

#include <concepts>
#include <cstdint>

#include <shootdown/arch/command.hpp>
#include <shootdown/arch/types.hpp>
#include <shootdown/env/time.hpp>
#include <shootdown/status.hpp>

SHOOTDOWN_BEGIN
namespace emu {

/// What an executor answers while a CMD_SYNC is at the head of the queue.
enum class sync_verdict : std::uint8_t {
  done,         ///< everything before it is complete
  not_yet,      ///< ask again
  atc_timeout,  ///< an ATC invalidation before it will never complete: CERROR_ATC_INV_SYNC
};

/// Memory as the emulated SMMU reaches it. A failure is an external abort.
///   load64(a), store64(a, v)   one 64-bit little-endian word, a multiple of 8; load acquires, store releases
///   store_low32(a, v)          what a message write does: four bytes at a multiple of 4
template <class B>
concept bus = requires(B b, bus_addr a, std::uint64_t v, std::uint32_t lo) {
  { b.load64(a) } noexcept -> std::same_as<result<std::uint64_t>>;
  { b.store64(a, v) } noexcept -> std::same_as<status>;
  { b.store_low32(a, lo) } noexcept -> std::same_as<status>;
};

/// What the emulated SMMU does with the commands it accepted. Called by the device side only, one call at a time.
///   execute(c)              an accepted command that is no CMD_SYNC, reserved bits cleared. It may take effect at any time
///                           until the next SYNC answers done
///   sync(now)               see sync_verdict; called once per step while a CMD_SYNC is at the head
///   smmu_enabled(on)        CR0.SMMUEN took this value
///   commands_rejected(c, e) the queue stopped at c: illegal_command, fetch_aborted (c is zero) or atc_timed_out
template <class X>
concept executor = requires(X x, const command& c, instant now, bool on, errc e) {
  { x.execute(c) } noexcept;
  { x.sync(now) } noexcept -> std::same_as<sync_verdict>;
  { x.smmu_enabled(on) } noexcept;
  { x.commands_rejected(c, e) } noexcept;
};

}  // namespace emu
SHOOTDOWN_END
