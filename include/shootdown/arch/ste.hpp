// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <cstdint>

#include <shootdown/arch/attributes.hpp>
#include <shootdown/arch/field.hpp>
#include <shootdown/arch/types.hpp>
#include <shootdown/status.hpp>

SHOOTDOWN_BEGIN

/// The eight 64-bit words of an STE or CD.
using entry_words = std::array<std::uint64_t, 8>;

/// STE.Config.
enum class ste_config : std::uint8_t { abort = 0, bypass = 4, stage1 = 5, stage2 = 6, nested = 7 };
/// STE.S1Fmt: one table of CDs, or two levels with leaf tables of 4 KiB (64 CDs) or 64 KiB (1024 CDs).
enum class cd_format : std::uint8_t { linear = 0, two_level_4k = 1, two_level_64k = 2 };
/// STE.S1DSS: what a transaction without substream does when S1CDMax > 0.
enum class default_substream : std::uint8_t { terminate = 0, bypass = 1, use_ssid0 = 2 };
/// STE.EATS.
enum class ats_mode : std::uint8_t { abort = 0, full = 1, split_stage = 2 };
/// STE.STRW: the translation regime, which decides between NH_* and EL2_* TLBIs.
enum class stream_world : std::uint8_t { ns_el1 = 0, el2 = 2 };

/// What ste::stage1 needs.
struct ste_stage1 {
  bus_addr cd_table{};
  unsigned cd_log2{};  ///< S1CDMax: log2 of the number of CDs, 0..20
  cd_format format{cd_format::linear};
  default_substream without_ssid{default_substream::use_ssid0};
  ats_mode ats{ats_mode::abort};
  stream_world world{stream_world::ns_el1};
  vmid vm{};            ///< 0 for a stage-1-only domain
  bool no_stall{true};  ///< S1STALLD: faults terminate instead of stalling
  cacheability inner{cacheability::write_back};
  cacheability outer{cacheability::write_back};
  shareability share{shareability::inner};
};

/// The shape of a stage-2 walk: where it starts. Up to 16 tables of the start level may lie side by side (concatenated), which
/// saves a level; the one with the fewest levels is used, which every SMMU that has the width accepts. IHI 0070 5.2 (S2SL0).
struct stage2_walk {
  granule tg{granule::k4};
  unsigned input_bits{40};  ///< width of the IPA space, 32..48

  static constexpr unsigned min_input_bits = 32;
  static constexpr unsigned max_input_bits = 48;
  [[nodiscard]] constexpr bool valid() const noexcept {
    return raw(tg) >= 1 && raw(tg) <= 3 && input_bits >= min_input_bits && input_bits <= max_input_bits;
  }
  [[nodiscard]] constexpr unsigned start_level() const noexcept {
    const unsigned stride = granule_shift(tg) - 3;
    return 4 - (input_bits - granule_shift(tg) - 4 + stride - 1) / stride;
  }
  /// Concatenated tables of the start level: 1, 2, 4, 8 or 16.
  [[nodiscard]] constexpr unsigned start_tables() const noexcept {
    const unsigned index = input_bits - level_shift(tg, start_level());
    const unsigned stride = granule_shift(tg) - 3;
    return index > stride ? 1u << (index - stride) : 1u;
  }
  /// Bytes of the start tables together, which is also their alignment; at least 64.
  [[nodiscard]] constexpr std::uint64_t start_bytes() const noexcept {
    const unsigned index = input_bits - level_shift(tg, start_level());
    return index < 3 ? 64 : std::uint64_t{8} << index;
  }
  [[nodiscard]] constexpr unsigned sl0() const noexcept { return (tg == granule::k4 ? 2u : 3u) - start_level(); }
  [[nodiscard]] constexpr unsigned t0sz() const noexcept { return 64 - input_bits; }
  [[nodiscard]] static constexpr unsigned tg_of(granule g) noexcept { return g == granule::k4 ? 0u : g == granule::k64 ? 1u : 2u; }
};
static_assert(stage2_walk{granule::k4, 48}.start_level() == 0 && stage2_walk{granule::k4, 48}.start_tables() == 1);
static_assert(stage2_walk{granule::k4, 40}.start_level() == 1 && stage2_walk{granule::k4, 40}.start_tables() == 2);
static_assert(stage2_walk{granule::k4, 34}.start_level() == 2 && stage2_walk{granule::k4, 34}.start_tables() == 16);
static_assert(stage2_walk{granule::k16, 48}.start_level() == 1 && stage2_walk{granule::k16, 48}.start_tables() == 2);
static_assert(stage2_walk{granule::k64, 33}.start_level() == 3 && stage2_walk{granule::k64, 33}.start_tables() == 16);
static_assert(stage2_walk{granule::k4, 40}.sl0() == 1 && stage2_walk{granule::k64, 33}.sl0() == 0 &&
              stage2_walk{granule::k16, 48}.sl0() == 2);

/// What ste::stage2 needs, and the second half of ste::nested.
struct ste_stage2 {
  bus_addr table{};  ///< of the start level; concatenated ones side by side
  stage2_walk walk{};
  address_size output{address_size::bits48};  ///< S2PS, at most IDR5.OAS
  vmid vm{};
  ats_mode ats{ats_mode::abort};  ///< stage 2 alone; with nested, that of stage 1 counts
  bool fault_records{true};       ///< S2R: faults leave an event record
  bool stall{false};              ///< S2S: faults stall instead of terminating
  bool protect_walks{false};      ///< S2PTW: stage-1 walks through Device memory fault
  cacheability inner{cacheability::write_back};
  cacheability outer{cacheability::write_back};
  shareability share{shareability::inner};
};

/// First-level descriptor of a two-level stream table. IHI 0070 5.1. The word 0 is invalid: its streams have no entry.
struct stream_l1 {
  using span_f = field<4, 0, unsigned>;  // 0: invalid; else the second level has 2^(SPAN - 1) entries
  using l2ptr_f = addr_field<51, 6, bus_addr>;
  std::uint64_t w{};

  /// A full second level of 2^split entries. invalid_argument: split not 6, 8 or 10; misaligned: to its 64 << split bytes;
  /// out_of_range: beyond 52 bits.
  [[nodiscard]] static constexpr result<stream_l1> make(bus_addr l2, unsigned split) noexcept {
    if (split != 6 && split != 8 && split != 10) return errc::invalid_argument;
    if ((raw(l2) >> 52) != 0) return errc::out_of_range;
    if ((raw(l2) & ((std::uint64_t{64} << split) - 1)) != 0) return errc::misaligned;
    return stream_l1{l2ptr_f::put(l2) | span_f::put(split + 1)};
  }
  [[nodiscard]] constexpr bool valid() const noexcept { return span_f::get(w) != 0; }
  [[nodiscard]] constexpr bus_addr l2() const noexcept { return l2ptr_f::get(w); }
  friend constexpr bool operator==(stream_l1, stream_l1) noexcept = default;
};
static_assert(stream_l1::make(bus_addr{0x1'2340'4000}, 8).value().w == 0x1'2340'4009);

/// Stream table entry: 64 bytes. IHI 0070 5.2.
///
/// Purpose: what the SMMU does with one stream. A value in CPU byte order; the table in memory holds dma words, written by
/// table/'s hitless writer. The SMMU reads it with single-copy atomicity per 64-bit word only.
struct ste {
  // dw0
  using v_f = field<0, 0, bool>;
  using config_f = field<3, 1, ste_config>;
  using s1fmt_f = field<5, 4, cd_format>;
  using s1ctxptr_f = addr_field<51, 6, bus_addr>;
  using s1cdmax_f = field<63, 59, unsigned>;
  // dw1
  using s1dss_f = field<1, 0, default_substream>;
  using s1cir_f = field<3, 2, cacheability>;
  using s1cor_f = field<5, 4, cacheability>;
  using s1csh_f = field<7, 6, shareability>;
  using mev_f = field<19, 19, bool>;
  using s2fwb_f = field<25, 25, bool>;
  using s1stalld_f = field<27, 27, bool>;
  using eats_f = field<29, 28, ats_mode>;
  using strw_f = field<31, 30, stream_world>;
  using shcfg_f = field<45, 44, std::uint8_t>;  // 1: as the transaction came in
  using overrides_f = field<63, 32>;            // attribute overrides, SHCFG among them
  // dw2
  using s2vmid_f = field<15, 0, vmid>;
  using s2t0sz_f = field<37, 32, unsigned>;
  using s2sl0_f = field<39, 38, unsigned>;
  using s2ir0_f = field<41, 40, cacheability>;
  using s2or0_f = field<43, 42, cacheability>;
  using s2sh0_f = field<45, 44, shareability>;
  using s2tg_f = field<47, 46, unsigned>;  // 0 4 KiB, 1 64 KiB, 2 16 KiB
  using s2ps_f = field<50, 48, address_size>;
  using s2aa64_f = field<51, 51, bool>;
  using s2endi_f = field<52, 52, bool>;
  using s2ptw_f = field<54, 54, bool>;
  using s2s_f = field<57, 57, bool>;
  using s2r_f = field<58, 58, bool>;
  // dw3
  using s2ttb_f = addr_field<51, 4, bus_addr>;

  static constexpr unsigned bytes = 64;
  static constexpr std::uint8_t shcfg_incoming = 1;

  entry_words w{};

  /// Every transaction of the stream aborts.
  [[nodiscard]] static constexpr ste abort() noexcept { return {{v_f::put(true) | config_f::put(ste_config::abort), 0, 0, 0, 0, 0, 0, 0}}; }
  /// Addresses pass untranslated.
  [[nodiscard]] static constexpr ste bypass() noexcept {
    return {{v_f::put(true) | config_f::put(ste_config::bypass), shcfg_f::put(shcfg_incoming), 0, 0, 0, 0, 0, 0}};
  }
  /// Stage 1 through the CD table at s.cd_table.
  ///   out_of_range      cd_table beyond 52 bits, cd_log2 > 20
  ///   misaligned        cd_table not aligned to its own size (64 bytes at least)
  ///   invalid_argument  an enumerator outside its set; split-stage ATS without stage 2
  [[nodiscard]] static constexpr result<ste> stage1(const ste_stage1& s) noexcept {
    if (raw(s.ats) > 1) return errc::invalid_argument;
    return with_cds(s);
  }
  /// Stage 2 only: IPA = the address of the transaction.
  ///   invalid_argument  an enumerator outside its set; split-stage ATS without stage 1
  ///   out_of_range      a width outside 32..48, output above 48 bits, table beyond the output width
  ///   misaligned        table not aligned to all its start tables together
  [[nodiscard]] static constexpr result<ste> stage2(const ste_stage2& s) noexcept {
    if (raw(s.ats) > 1) return errc::invalid_argument;
    const result<ste> walk = with_stage2(s);
    if (!walk.ok()) return walk;
    ste e = *walk;
    e.w[0] = v_f::put(true) | config_f::put(ste_config::stage2);
    e.w[1] = eats_f::put(s.ats) | shcfg_f::put(shcfg_incoming);
    return e;
  }
  /// Both stages. The CD table, and what its CDs point to, are then in the IPA space. ATS is what `first` says, split-stage
  /// included; the VMID is that of `second`. The errors of stage1() and stage2(); also
  ///   out_of_range      the CD table lies beyond the IPA space
  ///   invalid_argument  first.vm is neither 0 nor second.vm, second.ats is set, a world other than NS-EL1
  [[nodiscard]] static constexpr result<ste> nested(const ste_stage1& first, const ste_stage2& second) noexcept {
    if (first.world != stream_world::ns_el1 || second.ats != ats_mode::abort) return errc::invalid_argument;
    if (raw(first.vm) != 0 && first.vm != second.vm) return errc::invalid_argument;
    const result<ste> walk = with_stage2(second);
    if (!walk.ok()) return walk;
    if ((raw(first.cd_table) >> second.walk.input_bits) != 0) return errc::out_of_range;
    const result<ste> cds = with_cds(first);
    if (!cds.ok()) return cds;
    ste e = *walk;
    e.w[0] = config_f::set(cds->w[0], ste_config::nested);
    e.w[1] = cds->w[1];
    return e;
  }

  [[nodiscard]] constexpr bool valid() const noexcept { return v_f::get(w[0]); }
  [[nodiscard]] constexpr ste_config config() const noexcept { return config_f::get(w[0]); }
  [[nodiscard]] constexpr bool has_stage1() const noexcept { return (raw(config()) & 5u) == 5u; }
  [[nodiscard]] constexpr bool has_stage2() const noexcept { return (raw(config()) & 6u) == 6u; }
  [[nodiscard]] constexpr bus_addr cd_table() const noexcept { return s1ctxptr_f::get(w[0]); }
  [[nodiscard]] constexpr unsigned cd_log2() const noexcept { return s1cdmax_f::get(w[0]); }
  [[nodiscard]] constexpr cd_format format() const noexcept { return s1fmt_f::get(w[0]); }
  [[nodiscard]] constexpr default_substream without_ssid() const noexcept { return s1dss_f::get(w[1]); }
  [[nodiscard]] constexpr ats_mode ats() const noexcept { return eats_f::get(w[1]); }
  [[nodiscard]] constexpr stream_world world() const noexcept { return strw_f::get(w[1]); }
  [[nodiscard]] constexpr vmid vm() const noexcept { return s2vmid_f::get(w[2]); }
  [[nodiscard]] constexpr bus_addr stage2_table() const noexcept { return s2ttb_f::get(w[3]); }

  [[nodiscard]] constexpr unsigned stage2_input_bits() const noexcept { return 64 - s2t0sz_f::get(w[2]); }

  /// Bytes of the table that S1CtxPtr names (the level-1 table if there are two), at least 64.
  [[nodiscard]] static constexpr std::uint64_t cd_table_bytes(cd_format f, unsigned cd_log2) noexcept {
    const unsigned leaf_log2 = f == cd_format::two_level_4k ? 6u : 10u;
    if (f == cd_format::linear) return std::uint64_t{64} << cd_log2;
    const std::uint64_t l1 = cd_log2 > leaf_log2 ? std::uint64_t{8} << (cd_log2 - leaf_log2) : 8;
    return l1 < 64 ? 64 : l1;
  }
  /// The bits that the SMMU looks at while the entry has this value.
  [[nodiscard]] constexpr entry_words used_bits() const noexcept;
  friend constexpr bool operator==(const ste&, const ste&) noexcept = default;

 private:
  [[nodiscard]] static constexpr result<ste> with_cds(const ste_stage1& s) noexcept {
    if (s.cd_log2 > 20 || (raw(s.cd_table) >> 52) != 0) return errc::out_of_range;
    if (raw(s.format) > 2 || raw(s.without_ssid) > 2 || raw(s.ats) > 2) return errc::invalid_argument;
    if (raw(s.inner) > 3 || raw(s.outer) > 3) return errc::invalid_argument;
    if (s.world != stream_world::ns_el1 && s.world != stream_world::el2) return errc::invalid_argument;
    if (raw(s.share) > 3 || raw(s.share) == 1) return errc::invalid_argument;
    if ((raw(s.cd_table) & (cd_table_bytes(s.format, s.cd_log2) - 1)) != 0) return errc::misaligned;
    ste e{};
    e.w[0] = v_f::put(true) | config_f::put(ste_config::stage1) | s1fmt_f::put(s.format) | s1ctxptr_f::put(s.cd_table) |
             s1cdmax_f::put(s.cd_log2);
    e.w[1] = s1dss_f::put(s.without_ssid) | s1cir_f::put(s.inner) | s1cor_f::put(s.outer) | s1csh_f::put(s.share) |
             s1stalld_f::put(s.no_stall) | eats_f::put(s.ats) | strw_f::put(s.world) | shcfg_f::put(shcfg_incoming);
    e.w[2] = s2vmid_f::put(s.vm);
    return e;
  }
  /// dw2 and dw3.
  [[nodiscard]] static constexpr result<ste> with_stage2(const ste_stage2& s) noexcept {
    if (raw(s.walk.tg) < 1 || raw(s.walk.tg) > 3 || raw(s.inner) > 3 || raw(s.outer) > 3) return errc::invalid_argument;
    if (raw(s.share) > 3 || raw(s.share) == 1) return errc::invalid_argument;
    if (!s.walk.valid() || raw(s.output) > raw(address_size::bits48)) return errc::out_of_range;
    if ((raw(s.table) >> address_bits(s.output)) != 0) return errc::out_of_range;
    if ((raw(s.table) & (s.walk.start_bytes() - 1)) != 0) return errc::misaligned;
    ste e{};
    e.w[2] = s2vmid_f::put(s.vm) | s2t0sz_f::put(s.walk.t0sz()) | s2sl0_f::put(s.walk.sl0()) | s2ir0_f::put(s.inner) |
             s2or0_f::put(s.outer) | s2sh0_f::put(s.share) | s2tg_f::put(stage2_walk::tg_of(s.walk.tg)) | s2ps_f::put(s.output) |
             s2aa64_f::put(true) | s2ptw_f::put(s.protect_walks) | s2s_f::put(s.stall) | s2r_f::put(s.fault_records);
    e.w[3] = s2ttb_f::put(s.table);
    return e;
  }
};
static_assert(sizeof(ste) == ste::bytes);

/// The bits of each word that the SMMU looks at for an STE of value `w`: what a hitless update must not change in two
/// steps. Never too few: a bit of unclear use counts as used (that costs a break-before-make, not correctness).
[[nodiscard]] constexpr entry_words ste_used(const entry_words& w) noexcept {
  entry_words u{};
  u[0] = ste::v_f::mask;
  if (!ste::v_f::get(w[0])) return u;
  u[0] |= ste::config_f::mask;
  const ste entry{w};
  if (entry.config() == ste_config::abort) return u;
  u[1] |= ste::overrides_f::mask | ste::mev_f::mask;
  if (entry.has_stage1()) {
    u[0] |= ste::s1fmt_f::mask | ste::s1ctxptr_f::mask | ste::s1cdmax_f::mask;
    u[1] |= ste::s1dss_f::mask | ste::s1cir_f::mask | ste::s1cor_f::mask | ste::s1csh_f::mask | ste::s1stalld_f::mask | ste::eats_f::mask |
            ste::strw_f::mask;
    u[2] |= ste::s2vmid_f::mask;
  }
  if (entry.has_stage2()) {
    u[1] |= ste::s2fwb_f::mask | ste::eats_f::mask;
    u[2] = ~std::uint64_t{0};
    u[3] = ~std::uint64_t{0};
  }
  if (raw(entry.config()) > 0 && raw(entry.config()) < 4) u = {~0ull, ~0ull, ~0ull, ~0ull, ~0ull, ~0ull, ~0ull, ~0ull};  // reserved
  return u;
}

constexpr entry_words ste::used_bits() const noexcept { return ste_used(w); }

// A 40-bit IPA space, two concatenated start tables of 4 KiB, VMID 7: worked out by hand from the field positions.
static_assert(ste::stage2({.table = bus_addr{0x8000'2000}, .output = address_size::bits40, .vm = vmid{7}}).value().w ==
              entry_words{0xd, std::uint64_t{1} << 44, 0x040a'3558'0000'0007, 0x8000'2000, 0, 0, 0, 0});
static_assert(ste::nested({.cd_table = bus_addr{0x1000}}, {.table = bus_addr{0x8000'2000}, .vm = vmid{7}}).value().w[0] == 0x100f);

SHOOTDOWN_END
