// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include <shootdown/arch/attributes.hpp>
#include <shootdown/arch/field.hpp>
#include <shootdown/arch/types.hpp>
#include <shootdown/status.hpp>

SHOOTDOWN_BEGIN

enum class descriptor_kind : std::uint8_t { invalid, table, block, page };

/// What a stage-1 leaf allows and how it is cached.
struct leaf_attributes {
  std::uint8_t attr_index{};  ///< entry of CD.MAIR, 0..7
  bool read_only{};           ///< AP[2]
  bool unprivileged{true};    ///< AP[1]: EL0-like accesses too, which is what most devices make
  shareability share{shareability::inner};
  bool not_global{true};  ///< nG: the TLB entry carries the ASID
  bool no_execute{true};  ///< XN and PXN
  bool accessed{true};    ///< AF; 0 faults on access
  friend constexpr bool operator==(const leaf_attributes&, const leaf_attributes&) noexcept = default;
};

/// What a stage-2 leaf allows and how it is cached. Reading and writing are independent here.
struct stage2_attributes {
  std::uint8_t mem_attr{0xf};  ///< MemAttr without FWB: 0xf normal write-back, 0x5 normal non-cacheable, 0x1 Device-nGnRE
  bool read{true};             ///< S2AP[0]
  bool write{true};            ///< S2AP[1]
  shareability share{shareability::inner};
  bool no_execute{true};  ///< XN = 2: not executable at any exception level, with and without IDR3.XNX
  bool accessed{true};    ///< AF; 0 faults on access
  friend constexpr bool operator==(const stage2_attributes&, const stage2_attributes&) noexcept = default;
};

/// One VMSAv8-64 descriptor, 64 bits, 48-bit output addresses. Arm ARM D8.3; IHI 0070 3.3.
///
/// What a word means depends on granule and level, which the walker knows, so every question takes them. Levels 0..3;
/// leaves: 4 KiB at 1, 2, 3; 16 KiB and 64 KiB at 2, 3 (level 1 leaves of those need 52-bit addresses). Table descriptors are
/// the same at both stages; leaves differ in their attributes: leaf() and attributes() are stage 1, stage2_*() stage 2.
/// Constant value type; a table in memory is an array of dma words that hold `w`.
struct descriptor {
  using valid_f = field<0, 0, bool>;
  using type_f = field<1, 1, bool>;  // 1: table (levels 0..2) or page (level 3); 0: block
  using attr_index_f = field<4, 2, std::uint8_t>;
  using ap1_f = field<6, 6, bool>;
  using ap2_f = field<7, 7, bool>;
  using sh_f = field<9, 8, shareability>;
  using af_f = field<10, 10, bool>;
  using ng_f = field<11, 11, bool>;
  using contiguous_f = field<52, 52, bool>;
  using pxn_f = field<53, 53, bool>;
  using xn_f = field<54, 54, bool>;
  using mem_attr_f = field<5, 2, std::uint8_t>;  // stage 2
  using s2ap_f = field<7, 6, unsigned>;          // stage 2: bit 0 read, bit 1 write
  using s2xn_f = field<54, 53, unsigned>;        // stage 2: 0 executable, 2 not
  static constexpr unsigned output_bits = 48;
  static constexpr unsigned last_level = 3;

  std::uint64_t w{};

  [[nodiscard]] static constexpr bool leaf_allowed(granule g, unsigned level) noexcept {
    return level <= last_level && level >= (g == granule::k4 ? 1u : 2u);
  }
  /// log2 of the entries of one full table.
  [[nodiscard]] static constexpr unsigned index_bits(granule g) noexcept { return granule_shift(g) - 3; }
  /// Which entry of the level-`level` table `input` selects.
  [[nodiscard]] static constexpr std::uint32_t index(granule g, unsigned level, std::uint64_t input) noexcept {
    return static_cast<std::uint32_t>((input >> level_shift(g, level)) & ((std::uint64_t{1} << index_bits(g)) - 1));
  }

  /// misaligned: not a multiple of the granule; out_of_range: beyond 48 bits; invalid_argument: not a granule.
  [[nodiscard]] static constexpr result<descriptor> table(granule g, bus_addr next) noexcept {
    if (raw(g) < 1 || raw(g) > 3) return errc::invalid_argument;
    if ((raw(next) >> output_bits) != 0) return errc::out_of_range;
    if ((raw(next) & low_mask(granule_shift(g))) != 0) return errc::misaligned;
    return descriptor{raw(next) | valid_f::put(true) | type_f::put(true)};
  }
  /// A block (levels 1, 2) or page (level 3). unsupported: this level has no leaves; otherwise as table().
  [[nodiscard]] static constexpr result<descriptor> leaf(granule g, unsigned level, bus_addr out, const leaf_attributes& a) noexcept {
    if (raw(g) < 1 || raw(g) > 3 || !attr_index_f::fits(a.attr_index)) return errc::invalid_argument;
    if (!leaf_allowed(g, level)) return errc::unsupported;
    if ((raw(out) >> output_bits) != 0) return errc::out_of_range;
    if ((raw(out) & low_mask(level_shift(g, level))) != 0) return errc::misaligned;
    return descriptor{raw(out) | valid_f::put(true) | type_f::put(level == last_level) | attr_index_f::put(a.attr_index) |
                      ap1_f::put(a.unprivileged) | ap2_f::put(a.read_only) | sh_f::put(a.share) | af_f::put(a.accessed) |
                      ng_f::put(a.not_global) | pxn_f::put(a.no_execute) | xn_f::put(a.no_execute)};
  }

  /// The same for stage 2. Also invalid_argument: a reserved MemAttr (outer cacheable, inner 0).
  [[nodiscard]] static constexpr result<descriptor> stage2_leaf(granule g, unsigned level, bus_addr out,
                                                                const stage2_attributes& a) noexcept {
    if (raw(g) < 1 || raw(g) > 3 || !valid_mem_attr(a.mem_attr)) return errc::invalid_argument;
    if (!leaf_allowed(g, level)) return errc::unsupported;
    if ((raw(out) >> output_bits) != 0) return errc::out_of_range;
    if ((raw(out) & low_mask(level_shift(g, level))) != 0) return errc::misaligned;
    return descriptor{raw(out) | valid_f::put(true) | type_f::put(level == last_level) | mem_attr_f::put(a.mem_attr) |
                      s2ap_f::put((a.read ? 1u : 0u) | (a.write ? 2u : 0u)) | sh_f::put(a.share) | af_f::put(a.accessed) |
                      s2xn_f::put(a.no_execute ? 2u : 0u)};
  }
  /// MemAttr[3:2] = 0 is Device memory, any [1:0]; otherwise both halves name a cacheability, and 0 is none.
  [[nodiscard]] static constexpr bool valid_mem_attr(std::uint8_t m) noexcept {
    return mem_attr_f::fits(m) && ((m >> 2) == 0 || (m & 3) != 0);
  }
  /// How many neighbouring leaves share one TLB entry when all carry the contiguous bit: 16 (4 KiB), 128 or 32 (16 KiB, levels
  /// 3 and 2), 32 (64 KiB). 1 where the library uses no such run: 1 GiB leaves, and levels without leaves.
  [[nodiscard]] static constexpr unsigned run_length(granule g, unsigned level) noexcept {
    if (level < 2 || level > last_level) return 1;
    if (g == granule::k16) return level == last_level ? 128 : 32;
    return g == granule::k4 ? 16 : 32;
  }

  /// Reserved encodings (a "block" where none is allowed) are invalid, as the walker treats them.
  [[nodiscard]] constexpr descriptor_kind kind(granule g, unsigned level) const noexcept {
    if (!valid_f::get(w)) return descriptor_kind::invalid;
    if (type_f::get(w)) return level == last_level ? descriptor_kind::page : descriptor_kind::table;
    return level != last_level && leaf_allowed(g, level) ? descriptor_kind::block : descriptor_kind::invalid;
  }
  [[nodiscard]] constexpr bool is_leaf(granule g, unsigned level) const noexcept {
    const descriptor_kind k = kind(g, level);
    return k == descriptor_kind::block || k == descriptor_kind::page;
  }
  [[nodiscard]] constexpr bool is_table(granule g, unsigned level) const noexcept { return kind(g, level) == descriptor_kind::table; }
  [[nodiscard]] constexpr bool valid() const noexcept { return valid_f::get(w); }

  /// Where the next level's table lies; meaningful for a table.
  [[nodiscard]] constexpr bus_addr next_table(granule g) const noexcept {
    return bus_addr{w & low_mask(output_bits) & ~low_mask(granule_shift(g))};
  }
  /// First byte that a leaf at `level` maps to.
  [[nodiscard]] constexpr bus_addr output(granule g, unsigned level) const noexcept {
    return bus_addr{w & low_mask(output_bits) & ~low_mask(level_shift(g, level))};
  }
  [[nodiscard]] constexpr leaf_attributes attributes() const noexcept {
    return {attr_index_f::get(w), ap2_f::get(w), ap1_f::get(w), sh_f::get(w), ng_f::get(w), xn_f::get(w), af_f::get(w)};
  }
  [[nodiscard]] constexpr stage2_attributes stage2() const noexcept {
    return {mem_attr_f::get(w), (s2ap_f::get(w) & 1u) != 0, (s2ap_f::get(w) & 2u) != 0, sh_f::get(w), s2xn_f::get(w) != 0, af_f::get(w)};
  }
  [[nodiscard]] constexpr bool contiguous() const noexcept { return contiguous_f::get(w); }

  friend constexpr bool operator==(const descriptor&, const descriptor&) noexcept = default;

 private:
  [[nodiscard]] static constexpr std::uint64_t low_mask(unsigned bits) noexcept { return (std::uint64_t{1} << bits) - 1; }
};
static_assert(sizeof(descriptor) == 8);

SHOOTDOWN_END
