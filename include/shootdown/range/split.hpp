// SPDX-License-Identifier: MIT
#pragma once

#include <bit>
#include <cstdint>

#include <shootdown/config.hpp>

SHOOTDOWN_BEGIN

/// What one range command can say about a length: count * 2^scale units, count 1..32 (NUM = count - 1). commands.md 4.1.
struct unit_run {
  std::uint8_t count{1};
  std::uint8_t scale{};
  [[nodiscard]] constexpr std::uint64_t units() const noexcept { return std::uint64_t{count} << scale; }
  friend constexpr bool operator==(unit_run, unit_run) noexcept = default;
};

/// The longest run one command can name.
[[nodiscard]] constexpr unit_run longest_run(unsigned max_scale) noexcept { return {32, static_cast<std::uint8_t>(max_scale)}; }

/// The longest run that does not exceed n (n >= 1); of equal ones the one with the larger scale. Repeated until nothing
/// is left it is the exact split (b) of commands.md 4.4.
/// The five leading bits of n are the best count there is: a smaller scale would have to stop at 32 units, which is less,
/// a larger one drops bits of n. At the scale limit the count may need the sixth bit, hence the cap at 32.
[[nodiscard]] constexpr unit_run largest_within(std::uint64_t n, unsigned max_scale) noexcept {
  const unsigned top = static_cast<unsigned>(std::bit_width(n)) - 1;
  unsigned scale = top > 4 ? top - 4 : 0;
  if (scale > max_scale) scale = max_scale;
  std::uint64_t count = n >> scale;
  if (count > 32) count = 32;
  while ((count & 1) == 0 && scale < max_scale) {
    count >>= 1;
    ++scale;
  }
  return {static_cast<std::uint8_t>(count), static_cast<std::uint8_t>(scale)};
}

/// The shortest run of at least n units, 1 <= n <= longest_run(max_scale).units(): (c) of commands.md 4.4. The surplus is
/// below n / 16: the scale only grows when n needs more than 32 units of the next smaller one.
[[nodiscard]] constexpr unit_run smallest_covering(std::uint64_t n) noexcept {
  const unsigned width = static_cast<unsigned>(std::bit_width(n - 1));
  const unsigned scale = width > 5 ? width - 5 : 0;
  return {static_cast<std::uint8_t>(((n - 1) >> scale) + 1), static_cast<std::uint8_t>(scale)};
}

SHOOTDOWN_END
