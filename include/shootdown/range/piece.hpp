// SPDX-License-Identifier: MIT
#pragma once

#include <bit>
#include <cstdint>

#include <shootdown/arch/types.hpp>
#include <shootdown/config.hpp>
#include <shootdown/status.hpp>

SHOOTDOWN_BEGIN

/// One contiguous stretch of input addresses that lost its translations, with what was removed there.
///
/// address, bytes  multiples of the granule; the last byte may be the last byte of the address space. Upper-half (TTB1)
///                 addresses are written sign-extended. A piece lies wholly in one half.
/// leaf_levels     bit l set: leaves (blocks or pages) of level l were removed. 0 = unknown, treated as "any level".
/// freed_levels    bit l set: a table that holds level-l descriptors was unlinked. 0 = no table went away.
///
/// A plain value: any context, no state. commands.md 4.1, 4.3.
struct range_piece {
  std::uint64_t address{};
  std::uint64_t bytes{};
  granule g{granule::k4};
  std::uint8_t leaf_levels{};
  std::uint8_t freed_levels{};
  friend constexpr bool operator==(const range_piece&, const range_piece&) noexcept = default;
};

/// The widest address width that still tells the two halves apart: validate() for callers that know no better.
inline constexpr unsigned widest_address = 63;

/// Last byte of the piece. Only for a piece that is valid: `address + bytes` itself may be 2^64, which has no value.
[[nodiscard]] constexpr std::uint64_t last_byte(const range_piece& p) noexcept { return p.address + (p.bytes - 1); }

/// First and last byte of one half of the address space.
struct address_half {
  std::uint64_t first{};
  std::uint64_t last{};
  [[nodiscard]] constexpr bool contains(std::uint64_t a) const noexcept { return first <= a && a <= last; }
};

/// The half that `address` belongs to by its top bit, when input addresses have `address_bits` significant bits.
[[nodiscard]] constexpr address_half half_of(std::uint64_t address, unsigned address_bits) noexcept {
  const std::uint64_t low = (std::uint64_t{1} << address_bits) - 1;
  return (address >> 63) == 0 ? address_half{0, low} : address_half{~low, ~std::uint64_t{0}};
}

/// Do these levels exist under the granule? Level 0 holds blocks only with 4 KiB granules; 64 KiB tables begin at level 1.
[[nodiscard]] constexpr bool levels_exist(const range_piece& p) noexcept {
  const unsigned leaves = p.g == granule::k4 ? 0b1111u : 0b1110u;
  const unsigned tables = p.g == granule::k64 ? 0b1110u : 0b1111u;
  return (p.leaf_levels & ~leaves) == 0 && (p.freed_levels & ~tables) == 0;
}

/// May commands be made of this piece? Every rule that a caller can break, in this order:
/// invalid_argument (granule, levels or address_bits outside granule_shift + 1 .. 63), empty_range, misaligned (address or
/// bytes, against the granule), out_of_range (beyond `address_bits`, wrapping, or reaching from one half into the other).
[[nodiscard]] constexpr status validate(const range_piece& p, unsigned address_bits) noexcept {
  if (raw(p.g) < raw(granule::k4) || raw(p.g) > raw(granule::k64)) return errc::invalid_argument;
  if (!levels_exist(p)) return errc::invalid_argument;
  if (address_bits <= granule_shift(p.g) || address_bits > widest_address) return errc::invalid_argument;
  if (p.bytes == 0) return errc::empty_range;
  const std::uint64_t low = (std::uint64_t{1} << granule_shift(p.g)) - 1;
  if (((p.address | p.bytes) & low) != 0) return errc::misaligned;
  if (last_byte(p) < p.address) return errc::out_of_range;
  const address_half half = half_of(p.address, address_bits);
  if (!half.contains(p.address) || !half.contains(last_byte(p))) return errc::out_of_range;
  return {};
}

/// Was no table unlinked? Then LEAF = 1 is enough: the walk caches may keep what they have.
[[nodiscard]] constexpr bool leaf_only(const range_piece& p) noexcept { return p.freed_levels == 0; }

/// Is exactly one level named? (std::has_single_bit would call a libgcc helper on CPUs without a population count.)
[[nodiscard]] constexpr bool one_level(std::uint8_t levels) noexcept { return levels != 0 && (levels & (levels - 1)) == 0; }

/// log2 of the size of the removed leaves when all are of one known level and the piece consists of whole ones, else
/// log2 of the granule: the size that is safe whatever was there.
[[nodiscard]] constexpr unsigned leaf_shift(const range_piece& p) noexcept {
  const unsigned fallback = granule_shift(p.g);
  if (!one_level(p.leaf_levels)) return fallback;
  const unsigned shift = level_shift(p.g, static_cast<unsigned>(std::countr_zero(p.leaf_levels)));
  const std::uint64_t low = (std::uint64_t{1} << shift) - 1;
  return ((p.address | p.bytes) & low) == 0 ? shift : fallback;
}

/// The TTL hint that is true for this piece; 0 = no hint. TTL = L is a promise about every removed entry, so it needs
///   - all leaves at one level L of 1..3 (level 0 has no encoding), and whole leaves: ADDR must be aligned to the leaf;
///   - every freed table at a level t <= L: LEAF = 0 with TTL = L drops the table entries of levels above L, and a
///     level-t table is named by an entry of level t - 1;
///   - with 16 KiB granules and L = 1, `wide_scale` (IDR5.DS): without it that TTL is reserved.
/// commands.md 4.1, 4.3.
[[nodiscard]] constexpr unsigned ttl_of(const range_piece& p, bool wide_scale = false) noexcept {
  if (!one_level(p.leaf_levels)) return 0;
  const unsigned level = static_cast<unsigned>(std::countr_zero(p.leaf_levels));
  if (level == 0 || leaf_shift(p) != level_shift(p.g, level)) return 0;
  if (p.g == granule::k16 && level == 1 && !wide_scale) return 0;
  if ((p.freed_levels >> (level + 1)) != 0) return 0;
  return level;
}

SHOOTDOWN_END
