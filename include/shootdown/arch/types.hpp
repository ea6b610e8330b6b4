// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <type_traits>

#include <shootdown/config.hpp>

// Units and name spaces as types: a StreamID cannot be passed where an ASID is meant.
// They are scoped enumerations, so they cost nothing, compare and order by value, and convert only through raw().
SHOOTDOWN_BEGIN

enum class stream_id : std::uint32_t {};     ///< StreamID, 0 .. 2^IDR1.SIDSIZE - 1
enum class substream_id : std::uint32_t {};  ///< SubstreamID = PCIe PASID, 0 .. 2^IDR1.SSIDSIZE - 1 (20 bits at most)
enum class asid : std::uint16_t {};          ///< address space tag; 8 significant bits when IDR0.ASID16 = 0
enum class vmid : std::uint16_t {};          ///< virtual machine tag; 8 significant bits when IDR0.VMID16 = 0
enum class iova : std::uint64_t {};          ///< input address of a transaction, bytes
enum class ipa : std::uint64_t {};           ///< intermediate physical address, bytes
enum class bus_addr : std::uint64_t {};      ///< address that a device uses for memory (PA on most machines), bytes
enum class page_count : std::uint64_t {};    ///< a number of translation granules
enum class instance_id : std::uint16_t {};   ///< small number of one SMMU instance; arrays sort by it

/// The value of a unit type. The one way out of it.
template <class E>
  requires std::is_enum_v<E>
[[nodiscard]] constexpr auto raw(E e) noexcept {
  return static_cast<std::underlying_type_t<E>>(e);
}

/// Translation granule. The enumerators are the TG encoding of range commands; TG = 0 (no granule) is not a granule.
enum class granule : std::uint8_t { k4 = 1, k16 = 2, k64 = 3 };

/// log2 of the granule in bytes: 12, 14 or 16 (commands.md 4.1: TG * 2 + 10).
[[nodiscard]] constexpr unsigned granule_shift(granule g) noexcept { return raw(g) * 2u + 10u; }

/// log2 of the bytes that one leaf at `level` (0..3) maps under granule `g`.
[[nodiscard]] constexpr unsigned level_shift(granule g, unsigned level) noexcept {
  return granule_shift(g) + (3u - level) * (granule_shift(g) - 3u);
}

SHOOTDOWN_END
