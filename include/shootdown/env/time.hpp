// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include <shootdown/config.hpp>

SHOOTDOWN_BEGIN

enum class nanoseconds : std::uint64_t {};  ///< a duration
enum class instant : std::uint64_t {};      ///< a point of Env::now(), nanoseconds since an epoch of the environment's choice

[[nodiscard]] constexpr std::uint64_t count(nanoseconds d) noexcept { return static_cast<std::uint64_t>(d); }
[[nodiscard]] constexpr std::uint64_t since_epoch(instant t) noexcept { return static_cast<std::uint64_t>(t); }

/// When a wait gives up. Absolute, so that one deadline serves a whole operation with several waits in it.
struct deadline {
  instant at{~std::uint64_t{0}};
  [[nodiscard]] static constexpr deadline never() noexcept { return {}; }
  /// `d` from `now`, saturating: a huge duration means never.
  [[nodiscard]] static constexpr deadline in(instant now, nanoseconds d) noexcept {
    const std::uint64_t sum = since_epoch(now) + count(d);
    return sum < since_epoch(now) ? never() : deadline{instant{sum}};
  }
  [[nodiscard]] constexpr bool passed(instant now) const noexcept {
    return at != instant{~std::uint64_t{0}} && since_epoch(now) >= since_epoch(at);
  }
};

SHOOTDOWN_END
