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

/// What cd::stage1 needs: one translation table for the lower half of the address space (TTB0); the upper half faults.
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

  ///   invalid_argument  not a granule, an enumerator outside its set
  ///   out_of_range      input_bits not 25..48, output above 48 bits, table beyond the output width
  ///   misaligned        table not aligned to the size of the start level (64 bytes at least)
  [[nodiscard]] static constexpr result<cd> stage1(const cd_stage1& s) noexcept {
    if (raw(s.tg) < 1 || raw(s.tg) > 3 || raw(s.inner) > 3 || raw(s.outer) > 3) return errc::invalid_argument;
    if (raw(s.share) > 3 || raw(s.share) == 1) return errc::invalid_argument;
    if (s.input_bits < min_input_bits || s.input_bits > max_input_bits) return errc::out_of_range;
    if (raw(s.output) > raw(address_size::bits48) || (raw(s.table) >> address_bits(s.output)) != 0) return errc::out_of_range;
    if ((raw(s.table) & (start_table_bytes(s.tg, s.input_bits) - 1)) != 0) return errc::misaligned;
    cd c{};
    c.w[0] = t0sz_f::put(64 - s.input_bits) | tg0_f::put(tg0_of(s.tg)) | ir0_f::put(s.inner) | or0_f::put(s.outer) | sh0_f::put(s.share) |
             epd1_f::put(true) | v_f::put(true) | ips_f::put(s.output) | aa64_f::put(true) | r_f::put(s.fault_records) |
             a_f::put(s.fault_aborts) | aset_f::put(s.private_asid) | asid_f::put(s.as);
    c.w[1] = ttb0_f::put(s.table);
    c.w[3] = s.mair;
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

SHOOTDOWN_END
