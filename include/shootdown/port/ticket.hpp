// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include <shootdown/config.hpp>

SHOOTDOWN_BEGIN

/// A position of a command queue that never wraps: command number since the queue's reset. Compared only by name.
enum class seq64 : std::uint64_t {};

[[nodiscard]] constexpr std::uint64_t value(seq64 s) noexcept { return static_cast<std::uint64_t>(s); }
[[nodiscard]] constexpr seq64 advance(seq64 s, std::uint64_t n) noexcept { return seq64{value(s) + n}; }
/// a - b as a signed number of commands.
[[nodiscard]] constexpr std::int64_t distance(seq64 a, seq64 b) noexcept { return static_cast<std::int64_t>(value(a) - value(b)); }
/// Has everything before `end` been passed when `done` is the first command not yet completed?
[[nodiscard]] constexpr bool covers(seq64 done, seq64 end) noexcept { return distance(done, end) >= 0; }

/// What submit() returns and wait() takes: the commands [first, end) of one queue, closing SYNC included.
///
/// A ticket cannot be given back. One with completion (`awaits`) is settled exactly once, by the first wait() or poll()
/// that does not answer `pending`; until then the queue may hold resources for it (owner_cas: its shared lock), so every
/// such ticket must be waited for or polled to its end, or abandoned. A settled ticket answers its outcome again and again.
/// Its owner may widen `first` down to earlier commands of the same queue and generation: their errors are then its own.
/// Copying one is for the bookkeeping of its single owner; only one copy may be settled.
struct ticket {
  seq64 first{};
  seq64 end{};
  std::uint32_t generation{};  ///< of the queue; a reset starts a new one and fails all older tickets
  bool awaits{};               ///< the list ended in a CMD_SYNC that signals
  bool settled{};              ///< outcome is final
  std::uint8_t outcome{};      ///< an errc, once settled
};

SHOOTDOWN_END
