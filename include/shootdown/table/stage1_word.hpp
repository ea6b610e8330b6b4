// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include <shootdown/arch/attributes.hpp>
#include <shootdown/arch/descriptor.hpp>
#include <shootdown/arch/types.hpp>
#include <shootdown/config.hpp>

SHOOTDOWN_BEGIN
namespace table {

/// What a mapping allows. Stage 1 has no write-only leaf: `write` implies that reading works too.
struct prot {
  bool read{true};
  bool write{false};
  bool execute{false};
  bool privileged_only{false};  ///< refuses the ordinary (unprivileged) accesses of most devices
  std::uint8_t attr_index{0};   ///< entry of CD.MAIR, 0 .. 7
  shareability share{shareability::inner};
};

/// Neither readable nor writable is not a mapping; the rest has to fit its field.
[[nodiscard]] constexpr bool valid(prot p) noexcept {
  return (p.read || p.write) && descriptor::attr_index_f::fits(p.attr_index) && raw(p.share) <= 3 && raw(p.share) != 1;
}

/// The states of one word of a 4 KiB-granule stage-1 table. The hardware knows valid and invalid; of an invalid word it
/// ignores bits [63:1] (Arm ARM D8.3), and there the editor keeps the address of a table that it unlinked ("parked").
enum class word_kind : std::uint8_t {
  empty,   ///< 0
  parked,  ///< valid bit 0, the rest as in the table descriptor it was
  table,
  leaf,  ///< page at level 3, block at levels 1 and 2
};

[[nodiscard]] constexpr word_kind kind_of(std::uint64_t word, unsigned level) noexcept {
  if (word == 0) return word_kind::empty;
  if (!descriptor::valid_f::get(word)) return word_kind::parked;
  return level < descriptor::last_level && descriptor::type_f::get(word) ? word_kind::table : word_kind::leaf;
}

/// The next table (table, parked) or the first byte that a leaf maps.
[[nodiscard]] constexpr bus_addr address_of(std::uint64_t word) noexcept { return descriptor{word}.next_table(granule::k4); }

/// Attribute bits of a leaf, without address and type. nG is set: only leaves with it go when the ASID is flushed. AF is
/// set: nobody here would handle an access fault.
[[nodiscard]] constexpr std::uint64_t leaf_bits(prot p) noexcept {
  const leaf_attributes a{p.attr_index, !p.write, !p.privileged_only, p.share, true, !p.execute, true};
  return descriptor::leaf(granule::k4, 3, bus_addr{0}, a).value().w & ~(descriptor::valid_f::mask | descriptor::type_f::mask);
}

[[nodiscard]] constexpr std::uint64_t make_leaf(bus_addr to, unsigned level, std::uint64_t bits) noexcept {
  return raw(to) | bits | descriptor::valid_f::put(true) | descriptor::type_f::put(level == descriptor::last_level);
}
[[nodiscard]] constexpr std::uint64_t make_table(bus_addr next) noexcept {
  return raw(next) | descriptor::valid_f::put(true) | descriptor::type_f::put(true);
}
[[nodiscard]] constexpr std::uint64_t park(std::uint64_t table_word) noexcept { return table_word & ~descriptor::valid_f::mask; }

static_assert(make_table(bus_addr{0x1234'5000}) == descriptor::table(granule::k4, bus_addr{0x1234'5000}).value().w);
static_assert(make_leaf(bus_addr{0x4020'0000}, 2, leaf_bits({.read = true, .write = true})) ==
              descriptor::leaf(granule::k4, 2, bus_addr{0x4020'0000}, leaf_attributes{}).value().w);
static_assert(kind_of(park(make_table(bus_addr{0x1000})), 2) == word_kind::parked &&
              !descriptor{park(make_table(bus_addr{0x1000}))}.valid());
static_assert(address_of(park(make_table(bus_addr{0x1000}))) == bus_addr{0x1000});
static_assert(kind_of(park(make_table(bus_addr{0})), 2) == word_kind::parked, "a table at bus address 0 is not an empty slot");

}  // namespace table
SHOOTDOWN_END
