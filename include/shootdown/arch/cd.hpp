// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <cstdint>

#include <shootdown/arch/attributes.hpp>
#include <shootdown/arch/field.hpp>
#include <shootdown/arch/ste.hpp>
#include <shootdown/arch/types.hpp>
#include <shootdown/status.hpp>

SHOOTDOWN_BEGIN

/// What cd::stage1 needs: one translation table, for the lower half of the address space unless another builder says so.
struct cd_stage1 {
  bus_addr table{};  ///< of the start level
  granule tg{granule::k4};
  unsigned input_bits{48};  ///< width of the IOVA space, 25..48
  address_size output{address_size::bits48};
  asid as{};
  bool private_asid{true};   ///< ASET: the ASID is not shared with CPUs
  bool fault_records{true};  ///< R: faults leave an event record
  bool fault_aborts{true};   ///< A: a terminated transaction aborts instead of reading 0
  std::uint64_t mair{0xff};  ///< attribute 0 = normal, write-back
  cacheability inner{cacheability::write_back};
  cacheability outer{cacheability::write_back};
  shareability share{shareability::inner};
};

/// One half of the address space, for a CD that serves the upper half (TTB1) as well. Its granule may differ from the lower one's.
struct cd_half {
  bus_addr table{};  ///< of the start level
  granule tg{granule::k4};
  unsigned input_bits{48};  ///< width of the half, 25..48
  cacheability inner{cacheability::write_back};
  cacheability outer{cacheability::write_back};
  shareability share{shareability::inner};
};

/// First-level descriptor of a two-level CD table. IHI 0070 5.4. The word 0 is invalid: its substreams have no CD.
struct context_l1 {
  using v_f = field<0, 0, bool>;
  using l2ptr_f = addr_field<51, 12, bus_addr>;
  std::uint64_t w{};

  /// A second level of 64 (4 KiB) or 1024 CDs (64 KiB). invalid_argument: f is linear; misaligned: to the size of the second
  /// level; out_of_range: beyond 52 bits.
  [[nodiscard]] static constexpr result<context_l1> make(bus_addr l2, cd_format f) noexcept {
    if (f != cd_format::two_level_4k && f != cd_format::two_level_64k) return errc::invalid_argument;
    if ((raw(l2) >> 52) != 0) return errc::out_of_range;
    if ((raw(l2) & ((std::uint64_t{64} << leaf_log2(f)) - 1)) != 0) return errc::misaligned;
    return context_l1{l2ptr_f::put(l2) | v_f::put(true)};
  }
  /// log2 of the CDs in one second level.
  [[nodiscard]] static constexpr unsigned leaf_log2(cd_format f) noexcept { return f == cd_format::two_level_4k ? 6 : 10; }
  [[nodiscard]] constexpr bool valid() const noexcept { return v_f::get(w); }
  [[nodiscard]] constexpr bus_addr l2() const noexcept { return l2ptr_f::get(w); }
  friend constexpr bool operator==(context_l1, context_l1) noexcept = default;
};
static_assert(context_l1::make(bus_addr{0x1'2345'6000}, cd_format::two_level_4k).value().w == 0x1'2345'6001);

/// Context descriptor: 64 bytes. IHI 0070 5.4.
///
/// Purpose: the stage-1 translation of one (stream, substream), and its ASID. A value in CPU byte order, see ste.
struct cd {
  // dw0
  using t0sz_f = field<5, 0, unsigned>;
  using tg0_f = field<7, 6, unsigned>;  // 0 4 KiB, 1 64 KiB, 2 16 KiB
  using ir0_f = field<9, 8, cacheability>;
  using or0_f = field<11, 10, cacheability>;
  using sh0_f = field<13, 12, shareability>;
  using epd0_f = field<14, 14, bool>;
  using endi_f = field<15, 15, bool>;
  using t1sz_f = field<21, 16, unsigned>;
  using tg1_f = field<23, 22, unsigned>;  // 1 16 KiB, 2 4 KiB, 3 64 KiB
  using ir1_f = field<25, 24, cacheability>;
  using or1_f = field<27, 26, cacheability>;
  using sh1_f = field<29, 28, shareability>;
  using epd1_f = field<30, 30, bool>;
  using v_f = field<31, 31, bool>;
  using ips_f = field<34, 32, address_size>;
  using tbi0_f = field<38, 38, bool>;
  using aa64_f = field<41, 41, bool>;
  using hd_f = field<42, 42, bool>;
  using ha_f = field<43, 43, bool>;
  using s_f = field<44, 44, bool>;
  using r_f = field<45, 45, bool>;
  using a_f = field<46, 46, bool>;
  using aset_f = field<47, 47, bool>;
  using asid_f = field<63, 48, asid>;
  // dw1, dw2, dw3
  using ttb0_f = addr_field<51, 4, bus_addr>;
  using ttb1_f = addr_field<51, 4, bus_addr>;

  static constexpr unsigned bytes = 64;
  static constexpr unsigned min_input_bits = 25;
  static constexpr unsigned max_input_bits = 48;

  entry_words w{};

  /// The lower half only (TTB0); the upper half faults.
  ///   invalid_argument  not a granule, an enumerator outside its set
  ///   out_of_range      input_bits not 25..48, output above 48 bits, table beyond the output width
  ///   misaligned        table not aligned to the size of the start level (64 bytes at least)
  [[nodiscard]] static constexpr result<cd> stage1(const cd_stage1& s) noexcept {
    if (const status bad = check(lower_of(s), s.output); !bad.ok()) return bad;
    cd c = common(s);
    c.put_lower(lower_of(s));
    c.w[0] |= epd1_f::put(true);
    return c;
  }
  /// The upper half only (TTB1): s.table, s.tg and s.input_bits describe it; the lower half faults.
  [[nodiscard]] static constexpr result<cd> stage1_upper(const cd_stage1& s) noexcept {
    if (const status bad = check(lower_of(s), s.output); !bad.ok()) return bad;
    cd c = common(s);
    c.put_upper(lower_of(s));
    c.w[0] |= epd0_f::put(true);
    return c;
  }
  /// Both halves under one ASID: the lower one as `s` says, the upper one as `upper` says.
  [[nodiscard]] static constexpr result<cd> stage1_both(const cd_stage1& s, const cd_half& upper) noexcept {
    if (const status bad = check(lower_of(s), s.output); !bad.ok()) return bad;
    if (const status bad = check(upper, s.output); !bad.ok()) return bad;
    cd c = common(s);
    c.put_lower(lower_of(s));
    c.put_upper(upper);
    return c;
  }

  [[nodiscard]] constexpr bool valid() const noexcept { return v_f::get(w[0]); }
  [[nodiscard]] constexpr asid as() const noexcept { return asid_f::get(w[0]); }
  [[nodiscard]] constexpr bus_addr table() const noexcept { return ttb0_f::get(w[1]); }
  [[nodiscard]] constexpr unsigned input_bits() const noexcept { return 64 - t0sz_f::get(w[0]); }
  /// TG0 as a granule; invalid_argument for the reserved encoding 3.
  [[nodiscard]] constexpr result<granule> tg() const noexcept {
    switch (tg0_f::get(w[0])) {
      case 0: return granule::k4;
      case 1: return granule::k64;
      case 2: return granule::k16;
      default: return errc::invalid_argument;
    }
  }
  [[nodiscard]] constexpr bool has_lower() const noexcept { return !epd0_f::get(w[0]); }
  [[nodiscard]] constexpr bool has_upper() const noexcept { return !epd1_f::get(w[0]); }
  [[nodiscard]] constexpr bus_addr upper_table() const noexcept { return ttb1_f::get(w[2]); }
  [[nodiscard]] constexpr unsigned upper_input_bits() const noexcept { return 64 - t1sz_f::get(w[0]); }
  /// TG1 as a granule; invalid_argument for the reserved encoding 0.
  [[nodiscard]] constexpr result<granule> upper_tg() const noexcept {
    switch (tg1_f::get(w[0])) {
      case 1: return granule::k16;
      case 2: return granule::k4;
      case 3: return granule::k64;
      default: return errc::invalid_argument;
    }
  }
  [[nodiscard]] static constexpr unsigned tg1_of(granule g) noexcept { return g == granule::k16 ? 1u : g == granule::k4 ? 2u : 3u; }
  [[nodiscard]] static constexpr unsigned tg0_of(granule g) noexcept { return g == granule::k4 ? 0u : g == granule::k64 ? 1u : 2u; }
  /// Level at which a walk of `input_bits` bits starts.
  [[nodiscard]] static constexpr unsigned start_level(granule g, unsigned input_bits) noexcept {
    const unsigned stride = granule_shift(g) - 3;
    return 4 - (input_bits - 4) / stride;
  }
  [[nodiscard]] static constexpr std::uint64_t start_table_bytes(granule g, unsigned input_bits) noexcept {
    const unsigned bits = input_bits - level_shift(g, start_level(g, input_bits));
    return bits < 3 ? 64 : std::uint64_t{8} << bits;
  }
  /// The bits that the SMMU looks at while the entry has this value.
  [[nodiscard]] constexpr entry_words used_bits() const noexcept;
  friend constexpr bool operator==(const cd&, const cd&) noexcept = default;

 private:
  [[nodiscard]] static constexpr cd_half lower_of(const cd_stage1& s) noexcept {
    return {s.table, s.tg, s.input_bits, s.inner, s.outer, s.share};
  }
  [[nodiscard]] static constexpr status check(const cd_half& h, address_size output) noexcept {
    if (raw(h.tg) < 1 || raw(h.tg) > 3 || raw(h.inner) > 3 || raw(h.outer) > 3) return errc::invalid_argument;
    if (raw(h.share) > 3 || raw(h.share) == 1) return errc::invalid_argument;
    if (h.input_bits < min_input_bits || h.input_bits > max_input_bits) return errc::out_of_range;
    if (raw(output) > raw(address_size::bits48) || (raw(h.table) >> address_bits(output)) != 0) return errc::out_of_range;
    return (raw(h.table) & (start_table_bytes(h.tg, h.input_bits) - 1)) != 0 ? errc::misaligned : errc::ok;
  }
  /// What does not belong to a half.
  [[nodiscard]] static constexpr cd common(const cd_stage1& s) noexcept {
    cd c{};
    c.w[0] = v_f::put(true) | ips_f::put(s.output) | aa64_f::put(true) | r_f::put(s.fault_records) | a_f::put(s.fault_aborts) |
             aset_f::put(s.private_asid) | asid_f::put(s.as);
    c.w[3] = s.mair;
    return c;
  }
  constexpr void put_lower(const cd_half& h) noexcept {
    w[0] |= t0sz_f::put(64 - h.input_bits) | tg0_f::put(tg0_of(h.tg)) | ir0_f::put(h.inner) | or0_f::put(h.outer) | sh0_f::put(h.share);
    w[1] = ttb0_f::put(h.table);
  }
  constexpr void put_upper(const cd_half& h) noexcept {
    w[0] |= t1sz_f::put(64 - h.input_bits) | tg1_f::put(tg1_of(h.tg)) | ir1_f::put(h.inner) | or1_f::put(h.outer) | sh1_f::put(h.share);
    w[2] = ttb1_f::put(h.table);
  }
};
static_assert(sizeof(cd) == cd::bytes);

/// The bits of each word that the SMMU looks at for a CD of value `w`; never too few, see ste_used.
[[nodiscard]] constexpr entry_words cd_used(const entry_words& w) noexcept {
  entry_words u{};
  u[0] = cd::v_f::mask;
  if (!cd::v_f::get(w[0])) return u;
  for (std::uint64_t& word : u) word = ~std::uint64_t{0};
  if (cd::epd0_f::get(w[0])) {
    u[0] &= ~(cd::t0sz_f::mask | cd::tg0_f::mask | cd::ir0_f::mask | cd::or0_f::mask | cd::sh0_f::mask);
    u[1] &= ~cd::ttb0_f::mask;
  }
  if (cd::epd1_f::get(w[0])) {
    u[0] &= ~(cd::t1sz_f::mask | cd::tg1_f::mask | cd::ir1_f::mask | cd::or1_f::mask | cd::sh1_f::mask);
    u[2] &= ~cd::ttb1_f::mask;
  }
  return u;
}

constexpr entry_words cd::used_bits() const noexcept { return cd_used(w); }

// Both halves, 64 KiB below and 16 KiB above, 42 and 47 bits, ASID 5: worked out by hand from the field positions.
static_assert(cd::stage1_both({.table = bus_addr{0x2'0000}, .tg = granule::k64, .input_bits = 42, .as = asid{5}},
                              {.table = bus_addr{0x4'0000}, .tg = granule::k16, .input_bits = 47})
                  .value()
                  .w == entry_words{0x0005'e205'b551'3556, 0x2'0000, 0x4'0000, 0xff, 0, 0, 0, 0});

SHOOTDOWN_END
