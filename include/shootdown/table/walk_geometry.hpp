// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include <shootdown/arch/cd.hpp>
#include <shootdown/arch/descriptor.hpp>
#include <shootdown/arch/ste.hpp>
#include <shootdown/arch/types.hpp>
#include <shootdown/config.hpp>
#include <shootdown/status.hpp>

SHOOTDOWN_BEGIN
namespace table {

/// What the granule alone decides about a walk: spans and slots. A "slot" is the index of a descriptor in its table.
template <granule G>
struct walk_steps {
  static constexpr std::size_t table_bytes = std::size_t{1} << granule_shift(G);
  static constexpr unsigned entries = static_cast<unsigned>(table_bytes / 8);

  [[nodiscard]] static constexpr std::uint64_t span_of(unsigned level) noexcept { return std::uint64_t{1} << level_shift(G, level); }
  [[nodiscard]] static constexpr unsigned slot_of(std::uint64_t at, unsigned level) noexcept {
    return static_cast<unsigned>(at >> level_shift(G, level)) % entries;
  }
  /// The end of the slot that `at` lies in, or `end` if that comes first.
  [[nodiscard]] static constexpr std::uint64_t end_of(std::uint64_t at, std::uint64_t end, unsigned level) noexcept {
    return std::min(end, (at | (span_of(level) - 1)) + 1);
  }
  /// Slots that share a TLB entry when their leaves are marked contiguous; runs are aligned to it, so they never leave a table.
  [[nodiscard]] static constexpr unsigned run_of(unsigned level) noexcept { return descriptor::run_length(G, level); }
};

/// What the configuration adds: widths, where the walk starts, and which half of the address space it serves.
///
/// Inside the editor an input address is an *offset*: 0 .. 2^input_bits - 1. In the upper half (TTB1) the address itself has all
/// higher bits set, and `base` is what lies between the two. A value; any context.
struct walk_geometry {
  std::uint64_t base{};  ///< 0, or the first address of the upper half
  std::uint8_t input_bits{48};
  std::uint8_t output_bits{48};
  std::uint8_t start_level{};    ///< of the first table
  std::uint8_t start_tables{1};  ///< concatenated tables of that level (stage 2): 1 .. 16
  std::uint8_t block_levels{};   ///< bit l: blocks of level l may be made

  [[nodiscard]] constexpr std::uint64_t size() const noexcept { return std::uint64_t{1} << input_bits; }
  [[nodiscard]] constexpr std::uint64_t offset_of(std::uint64_t address) const noexcept { return address - base; }
  /// Is every byte of [address, address + bytes) an input address? bytes != 0.
  [[nodiscard]] constexpr bool contains(std::uint64_t address, std::uint64_t bytes) const noexcept {
    const std::uint64_t offset = offset_of(address);  // an address of the other half wraps to something huge
    return offset < size() && size() - offset >= bytes;
  }
  [[nodiscard]] constexpr bool emits(std::uint64_t out, std::uint64_t bytes) const noexcept {
    const std::uint64_t limit = std::uint64_t{1} << output_bits;
    return out < limit && limit - out >= bytes;
  }
  [[nodiscard]] constexpr bool leaves_at(unsigned level) const noexcept {
    return level == descriptor::last_level || ((block_levels >> level) & 1u) != 0;
  }

  /// Stage 1. unsupported: input_bits not 16 .. 48 (17 with 64 KiB granules), output_bits not 32 .. 48.
  [[nodiscard]] static constexpr result<walk_geometry> stage1(granule g, unsigned input_bits, unsigned output_bits, unsigned blocks,
                                                              bool upper_half) noexcept {
    if (input_bits < (g == granule::k64 ? 17u : 16u) || input_bits > cd::max_input_bits) return errc::unsupported;
    if (output_bits < 32 || output_bits > 48) return errc::unsupported;
    walk_geometry w = of(g, input_bits, output_bits, blocks);
    w.start_level = static_cast<std::uint8_t>(cd::start_level(g, input_bits));
    w.base = upper_half ? ~(w.size() - 1) : 0;
    return w;
  }
  /// Stage 2, see stage2_walk. unsupported: input_bits or output_bits not 32 .. 48.
  [[nodiscard]] static constexpr result<walk_geometry> stage2(granule g, unsigned input_bits, unsigned output_bits,
                                                              unsigned blocks) noexcept {
    const stage2_walk walk{g, input_bits};
    if (!walk.valid() || output_bits < 32 || output_bits > 48) return errc::unsupported;
    walk_geometry w = of(g, input_bits, output_bits, blocks);
    w.start_level = static_cast<std::uint8_t>(walk.start_level());
    w.start_tables = static_cast<std::uint8_t>(walk.start_tables());
    return w;
  }

 private:
  [[nodiscard]] static constexpr walk_geometry of(granule g, unsigned input_bits, unsigned output_bits, unsigned blocks) noexcept {
    walk_geometry w;
    w.input_bits = static_cast<std::uint8_t>(input_bits);
    w.output_bits = static_cast<std::uint8_t>(output_bits);
    for (unsigned level = 0; level < descriptor::last_level; ++level) {
      if (descriptor::leaf_allowed(g, level)) w.block_levels = static_cast<std::uint8_t>(w.block_levels | (blocks & (1u << level)));
    }
    return w;
  }
};

}  // namespace table
SHOOTDOWN_END
