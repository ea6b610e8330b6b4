// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include <shootdown/arch/attributes.hpp>
#include <shootdown/arch/descriptor.hpp>
#include <shootdown/arch/types.hpp>
#include <shootdown/config.hpp>
#include <shootdown/table/word.hpp>

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

/// Attribute bits of a leaf, without address and type. nG is set: only leaves with it go when the ASID is flushed. AF is
/// set: nobody here would handle an access fault.
[[nodiscard]] constexpr std::uint64_t leaf_bits(prot p) noexcept {
  const leaf_attributes a{p.attr_index, !p.write, !p.privileged_only, p.share, true, !p.execute, true};
  return attribute_bits(descriptor::leaf(granule::k4, 3, bus_addr{0}, a).value());
}

static_assert(make_leaf(bus_addr{0x4020'0000}, 2, leaf_bits({.read = true, .write = true})) ==
              descriptor::leaf(granule::k4, 2, bus_addr{0x4020'0000}, leaf_attributes{}).value().w);

}  // namespace table
SHOOTDOWN_END
