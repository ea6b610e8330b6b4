// SPDX-License-Identifier: MIT
#pragma once

#include <concepts>
#include <cstdint>
#include <type_traits>

#include <shootdown/arch/attributes.hpp>
#include <shootdown/arch/descriptor.hpp>
#include <shootdown/arch/types.hpp>
#include <shootdown/config.hpp>
#include <shootdown/status.hpp>
#include <shootdown/table/stage1_word.hpp>
#include <shootdown/table/walk_geometry.hpp>
#include <shootdown/table/word.hpp>

// The formats of table::editor: stage 1 and stage 2, each with 4, 16 and 64 KiB granules. VMSAv8-64, 64-bit descriptors, 48-bit
// addresses. Whether an SMMU has the stage, the granule and the widths stands in IDR0 and IDR5; the caller asks there.
SHOOTDOWN_BEGIN
namespace table {

/// What a stage-1 table with 4 KiB granules translates, and with which leaves.
struct stage1_config {
  std::uint8_t input_bits{48};   ///< 16 .. 48; TxSZ = 64 - input_bits. Below 25 the SMMU needs small tables (IDR3.STT)
  std::uint8_t output_bits{48};  ///< 32 .. 48: bus addresses (IPS, at most IDR5.OAS)
  bool blocks_2m{true};
  bool blocks_1g{true};
  bool upper_half{false};  ///< TTB1: input addresses have all bits above input_bits set
};

/// The same for the other granules, which have blocks of one size only: 32 MiB (16 KiB) or 512 MiB (64 KiB).
struct large_stage1_config {
  std::uint8_t input_bits{48};  ///< 16 (64 KiB granules: 17) .. 48
  std::uint8_t output_bits{48};
  bool blocks{true};
  bool upper_half{false};
};

/// What a stage-2 table translates: intermediate physical addresses.
struct stage2_config {
  std::uint8_t input_bits{40};        ///< 32 .. 48 (S2T0SZ = 64 - input_bits), at most IDR5.OAS
  std::uint8_t output_bits{48};       ///< 32 .. 48 (S2PS, at most IDR5.OAS)
  std::uint8_t block_levels{0b0110};  ///< bit l: blocks of level l; those that the granule lacks do not count
};

/// What a stage-2 mapping allows. Unlike in stage 1, reading and writing are independent.
struct stage2_prot {
  bool read{true};
  bool write{false};
  bool execute{false};
  std::uint8_t mem_attr{0xf};  ///< MemAttr without FWB: 0xf normal write-back, 0x5 normal non-cacheable, 0x1 Device-nGnRE
  shareability share{shareability::inner};
};

[[nodiscard]] constexpr bool valid(stage2_prot p) noexcept {
  return (p.read || p.write) && descriptor::valid_mem_attr(p.mem_attr) && raw(p.share) <= 3 && raw(p.share) != 1;
}
/// As leaf_bits(prot). AF is set: nobody here would handle an access fault.
[[nodiscard]] constexpr std::uint64_t leaf_bits(stage2_prot p) noexcept {
  const stage2_attributes a{p.mem_attr, p.read, p.write, p.share, !p.execute, true};
  return attribute_bits(descriptor::stage2_leaf(granule::k4, 3, bus_addr{0}, a).value());
}

/// What the editor asks of a format.
template <class F>
concept table_format = requires(typename F::config_type config, typename F::prot_type access, typename F::input_type input) {
  { F::tg } -> std::convertible_to<granule>;
  { F::geometry(config) } noexcept -> std::same_as<result<walk_geometry>>;
  { valid(access) } noexcept -> std::same_as<bool>;
  { leaf_bits(access) } noexcept -> std::same_as<std::uint64_t>;
  { raw(input) } noexcept -> std::same_as<std::uint64_t>;
};

/// Stage 1: IOVA -> bus address (or IPA, when nested). The start table has its own page, whatever its size.
template <granule G>
struct stage1_format {
  static constexpr granule tg = G;
  using input_type = iova;
  using prot_type = prot;
  using config_type = std::conditional_t<G == granule::k4, stage1_config, large_stage1_config>;

  [[nodiscard]] static constexpr result<walk_geometry> geometry(const config_type& c) noexcept {
    unsigned blocks = 0;
    if constexpr (G == granule::k4) {
      blocks = (c.blocks_2m ? 1u << 2 : 0u) | (c.blocks_1g ? 1u << 1 : 0u);
    } else {
      blocks = c.blocks ? 1u << 2 : 0u;
    }
    return walk_geometry::stage1(G, c.input_bits, c.output_bits, blocks, c.upper_half);
  }
};

/// Stage 2: IPA -> bus address. Up to 16 start tables side by side; ste::stage2 takes root() and address_bits() as they are.
template <granule G>
struct stage2_format {
  static constexpr granule tg = G;
  using input_type = ipa;
  using prot_type = stage2_prot;
  using config_type = stage2_config;

  [[nodiscard]] static constexpr result<walk_geometry> geometry(const config_type& c) noexcept {
    return walk_geometry::stage2(G, c.input_bits, c.output_bits, c.block_levels);
  }
};

using stage1_k4 = stage1_format<granule::k4>;
using stage1_k16 = stage1_format<granule::k16>;
using stage1_k64 = stage1_format<granule::k64>;
using stage2_k4 = stage2_format<granule::k4>;
using stage2_k16 = stage2_format<granule::k16>;
using stage2_k64 = stage2_format<granule::k64>;

static_assert(table_format<stage1_k4> && table_format<stage1_k64> && table_format<stage2_k16>);
static_assert(make_leaf(bus_addr{0x4000'0000}, 2, leaf_bits(stage2_prot{.write = true})) ==
              descriptor::stage2_leaf(granule::k64, 2, bus_addr{0x4000'0000}, stage2_attributes{}).value().w);

}  // namespace table
SHOOTDOWN_END
