// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <cstdint>

#include <shootdown/arch/types.hpp>
#include <shootdown/model/tag_map.hpp>
#include <shootdown/model/walk_setup.hpp>

SHOOTDOWN_BEGIN
namespace model {

[[nodiscard]] constexpr std::uint64_t low_bits(unsigned n) noexcept { return n >= 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << n) - 1; }

/// The tables of one stage as a CD or an STE describes them: where a walk starts and what its words mean. VMSAv8-64 with
/// 48-bit addresses. Decoded from the words by position, independently of the library's own types.
struct stage_geometry {
  granule g{granule::k4};
  unsigned input_bits{};   ///< of the input range
  unsigned top{};          ///< level of the first table
  std::uint64_t table{};   ///< address of the first table, or of the concatenated ones
  unsigned output_bits{};  ///< descriptors beyond it are F_ADDR_SIZE
  bool big_endian{};
  bool flag_ignored{};  ///< AFFD: a clear access flag is no fault

  /// Address of the descriptor for `x` in the table of `level` at `base`.
  [[nodiscard]] constexpr std::uint64_t slot(std::uint64_t base, unsigned level, std::uint64_t x) const noexcept {
    const unsigned shift = level_shift(g, level);
    const unsigned bits = level == top ? input_bits - shift : granule_shift(g) - 3;
    return base + (x >> shift & low_bits(bits)) * 8;
  }
  /// A descriptor as it was read, in CPU byte order.
  [[nodiscard]] constexpr std::uint64_t word(std::uint64_t w) const noexcept {
    if (!big_endian) return w;
    std::uint64_t swapped = 0;
    for (unsigned i = 0; i != 8; ++i) swapped = swapped << 8 | (w >> 8 * i & 0xff);
    return swapped;
  }
  enum class kind : std::uint8_t { invalid, table, leaf };
  [[nodiscard]] constexpr kind classify(std::uint64_t w, unsigned level) const noexcept {
    if ((w & 1) == 0) return kind::invalid;
    if (level == 3) return (w & 2) != 0 ? kind::leaf : kind::invalid;
    if ((w & 2) != 0) return kind::table;
    return level >= (g == granule::k4 ? 1u : 2u) ? kind::leaf : kind::invalid;
  }
};

namespace detail {
inline constexpr granule tg0[4]{granule::k4, granule::k64, granule::k16, granule{0}};
inline constexpr granule tg1[4]{granule{0}, granule::k16, granule::k4, granule::k64};
inline constexpr std::uint8_t widths[8]{32, 36, 40, 42, 44, 48, 52, 56};
}  // namespace detail

/// TTB0 or TTB1 of a CD. IHI 0070 5.4.
struct stage1_half {
  stage_geometry map{};
  bool disabled{};  ///< EPDn
  bool legal{};     ///< otherwise the CD is ILLEGAL
};
[[nodiscard]] constexpr stage1_half decode_half(const walk_setup& s, const std::array<std::uint64_t, 8>& w, bool upper) noexcept {
  stage1_half h{};
  stage_geometry& m = h.map;
  if ((w[0] >> (upper ? 30 : 14) & 1) != 0) return {m, true, true};
  m.g = upper ? detail::tg1[w[0] >> 22 & 3] : detail::tg0[w[0] >> 6 & 3];
  m.input_bits = 64u - static_cast<unsigned>(w[0] >> (upper ? 16 : 0) & 0x3f);
  m.table = w[upper ? 2 : 1] & low_bits(52) & ~std::uint64_t{15};
  const unsigned ips = detail::widths[w[0] >> 32 & 7];
  m.output_bits = ips < s.output_bits ? ips : s.output_bits;
  m.big_endian = (w[0] >> 15 & 1) != 0;
  m.flag_ignored = (w[0] >> 35 & 1) != 0;
  h.legal =
      raw(m.g) != 0 && (s.granules >> raw(m.g) & 1u) != 0 && m.input_bits >= 25 && m.input_bits <= 48 && (m.table >> m.output_bits) == 0;
  // By constants: this is on the way of every translation, and a division by a variable would be its dearest instruction.
  const unsigned bits = m.input_bits - 4;
  if (h.legal) m.top = 4 - (m.g == granule::k4 ? bits / 9 : m.g == granule::k16 ? bits / 11 : bits / 13);
  return h;
}

/// The stage-2 half of an STE. IHI 0070 5.2.
struct stage2_config {
  stage_geometry map{};
  std::uint16_t vm{};
  bool record{};        ///< S2R
  bool protect_walk{};  ///< S2PTW: neither CDs nor stage-1 tables in Device memory
  bool legal{};         ///< otherwise the STE is ILLEGAL
};
/// What is not implemented here is illegal: AArch32 tables, 52-bit addresses, hardware update of flags, stalling.
[[nodiscard]] constexpr stage2_config decode_stage2(const walk_setup& s, const std::array<std::uint64_t, 8>& w) noexcept {
  stage2_config c{};
  stage_geometry& m = c.map;
  const std::uint64_t w2 = w[2];
  m.g = detail::tg0[w2 >> 46 & 3];  // S2TG is encoded as TG0
  m.input_bits = 64u - static_cast<unsigned>(w2 >> 32 & 0x3f);
  const unsigned ps = detail::widths[w2 >> 48 & 7];
  m.output_bits = ps < s.output_bits ? ps : s.output_bits;
  m.big_endian = (w2 >> 52 & 1) != 0;
  m.flag_ignored = (w2 >> 53 & 1) != 0;
  c.protect_walk = (w2 >> 54 & 1) != 0;
  c.record = (w2 >> 58 & 1) != 0;
  c.vm = static_cast<std::uint16_t>(w2);
  const bool aa64 = (w2 >> 51 & 1) != 0;
  const bool updates = (w2 >> 55 & 3) != 0;
  const bool stalls = (w2 >> 57 & 1) != 0;
  if (!aa64 || updates || stalls || (s.endians >> (m.big_endian ? 1 : 0) & 1u) == 0) return c;
  if (raw(m.g) == 0 || (s.granules >> raw(m.g) & 1u) == 0) return c;
  const unsigned widest = s.output_bits < 48 ? s.output_bits : 48;
  if (m.input_bits < 25 || m.input_bits > widest) return c;
  const unsigned sl0 = static_cast<unsigned>(w2 >> 38 & 3);
  if (sl0 == 3) return c;
  m.top = (m.g == granule::k4 ? 2u : 3u) - sl0;
  // The first level is indexed by at least 1 bit and by at most 4 more than a table has: up to 16 tables side by side. The
  // highest level of each granule exists only with an output width that can need it.
  const unsigned shift = level_shift(m.g, m.top);
  if (m.input_bits <= shift || m.input_bits - shift > granule_shift(m.g) - 3 + 4) return c;
  if (sl0 == 2 && s.output_bits <= (m.g == granule::k16 ? 40u : 42u)) return c;
  const unsigned table_log2 = m.input_bits - shift + 3;
  m.table = w[3] & low_bits(52) & ~low_bits(table_log2 < 4 ? 4 : table_log2);
  c.legal = (m.table >> (m.output_bits < 48 ? m.output_bits : 48)) == 0;
  return c;
}

}  // namespace model
SHOOTDOWN_END
