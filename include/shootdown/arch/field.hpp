// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <type_traits>

#include <shootdown/config.hpp>

SHOOTDOWN_BEGIN

/// Bits [Hi:Lo] of a 64-bit little-endian word, holding a value of type T (an integer, bool or enumeration).
/// The same type serves registers, commands and in-memory structures.
template <unsigned Hi, unsigned Lo, class T = std::uint64_t>
struct field {
  static_assert(Hi < 64 && Lo <= Hi, "field<Hi, Lo>: bits of one 64-bit word, high bit first");
  using value_type = T;
  static constexpr unsigned hi = Hi;
  static constexpr unsigned lo = Lo;
  static constexpr std::uint64_t max = (Hi - Lo == 63) ? ~std::uint64_t{0} : (std::uint64_t{1} << (Hi - Lo + 1)) - 1;
  static constexpr std::uint64_t mask = max << Lo;

  /// Does the value fit? A value that does not must be refused before it is encoded.
  [[nodiscard]] static constexpr bool fits(T v) noexcept { return (static_cast<std::uint64_t>(v) & ~max) == 0; }
  /// The field's bits, all others 0. Excess bits are cut, never leaked into a neighbour.
  [[nodiscard]] static constexpr std::uint64_t put(T v) noexcept { return (static_cast<std::uint64_t>(v) & max) << Lo; }
  [[nodiscard]] static constexpr T get(std::uint64_t word) noexcept { return static_cast<T>((word >> Lo) & max); }
  /// `word` with this field replaced.
  [[nodiscard]] static constexpr std::uint64_t set(std::uint64_t word, T v) noexcept { return (word & ~mask) | put(v); }
};

/// An address field: the value is a whole address whose bits [Hi:Lo] are stored in place (no shift).
template <unsigned Hi, unsigned Lo, class T = std::uint64_t>
struct addr_field {
  static_assert(Hi < 64 && Lo <= Hi);
  using value_type = T;
  static constexpr std::uint64_t mask = field<Hi, Lo>::mask;
  [[nodiscard]] static constexpr bool fits(T v) noexcept { return (static_cast<std::uint64_t>(v) & ~mask) == 0; }
  [[nodiscard]] static constexpr std::uint64_t put(T v) noexcept { return static_cast<std::uint64_t>(v) & mask; }
  [[nodiscard]] static constexpr T get(std::uint64_t word) noexcept { return static_cast<T>(word & mask); }
  [[nodiscard]] static constexpr std::uint64_t set(std::uint64_t word, T v) noexcept { return (word & ~mask) | put(v); }
};

SHOOTDOWN_END
