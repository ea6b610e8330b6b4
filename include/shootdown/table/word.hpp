// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include <shootdown/arch/descriptor.hpp>
#include <shootdown/arch/types.hpp>
#include <shootdown/config.hpp>

SHOOTDOWN_BEGIN
namespace table {

/// The states of one word of a translation table. The hardware knows valid and invalid; of an invalid word it ignores bits
/// [63:1] (Arm ARM D8.3), and there the editor keeps the address of a table that it unlinked ("parked").
enum class word_kind : std::uint8_t {
  empty,   ///< 0
  parked,  ///< valid bit 0, the rest as in the table descriptor it was
  table,
  leaf,  ///< page at level 3, block above
};

[[nodiscard]] constexpr word_kind kind_of(std::uint64_t word, unsigned level) noexcept {
  if (word == 0) return word_kind::empty;
  if (!descriptor::valid_f::get(word)) return word_kind::parked;
  return level < descriptor::last_level && descriptor::type_f::get(word) ? word_kind::table : word_kind::leaf;
}

/// The next table (table, parked) or the first byte that a leaf maps.
[[nodiscard]] constexpr bus_addr address_of(std::uint64_t word, granule g = granule::k4) noexcept { return descriptor{word}.next_table(g); }

/// Attribute bits as a format makes them, and an address, as the word of a leaf.
[[nodiscard]] constexpr std::uint64_t make_leaf(bus_addr to, unsigned level, std::uint64_t bits) noexcept {
  return raw(to) | bits | descriptor::valid_f::put(true) | descriptor::type_f::put(level == descriptor::last_level);
}
[[nodiscard]] constexpr std::uint64_t make_table(bus_addr next) noexcept {
  return raw(next) | descriptor::valid_f::put(true) | descriptor::type_f::put(true);
}
[[nodiscard]] constexpr std::uint64_t park(std::uint64_t table_word) noexcept { return table_word & ~descriptor::valid_f::mask; }

/// The attribute bits of a leaf descriptor: without address, valid bit and type.
[[nodiscard]] constexpr std::uint64_t attribute_bits(descriptor leaf_at_zero) noexcept {
  return leaf_at_zero.w & ~(descriptor::valid_f::mask | descriptor::type_f::mask);
}

static_assert(make_table(bus_addr{0x1234'0000}) == descriptor::table(granule::k64, bus_addr{0x1234'0000}).value().w);
static_assert(kind_of(park(make_table(bus_addr{0x1000})), 2) == word_kind::parked &&
              !descriptor{park(make_table(bus_addr{0x1000}))}.valid());
static_assert(address_of(park(make_table(bus_addr{0x1000}))) == bus_addr{0x1000});
static_assert(kind_of(park(make_table(bus_addr{0})), 2) == word_kind::parked, "a table at bus address 0 is not an empty slot");

}  // namespace table
SHOOTDOWN_END
