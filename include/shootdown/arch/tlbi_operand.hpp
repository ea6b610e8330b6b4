// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include <shootdown/arch/command.hpp>
#include <shootdown/arch/field.hpp>
#include <shootdown/arch/types.hpp>
#include <shootdown/status.hpp>

SHOOTDOWN_BEGIN

/// NUM and SCALE of dw0; LEAF, TTL, TG and ADDR of dw1: what one by-address TLBI names. IHI 0070 4.4.1.
///
/// Purpose: range/ computes operands once for a request; each target only ORs its tag word (opcode, VMID, ASID) to dw0.
/// Contract: the factories are the only way to make one. TG != 0 with NUM = SCALE = TTL = 0 raises CERROR_ILL on every
/// SMMU and no factory returns it, so no such command can be built from an operand. A default-constructed operand is
/// address(0, false).
/// Context: any. Cost: two words, passed in registers.
class tlbi_operand {
 public:
  using num_f = field<16, 12, unsigned>;
  using scale_f = field<25, 20, unsigned>;  // bit 25 is RES0 unless IDR5.DS = 1
  using leaf_f = field<0, 0, bool>;
  using ttl_f = field<9, 8, unsigned>;
  using tg_f = field<11, 10, unsigned>;
  using addr_f = addr_field<63, 12>;

  static constexpr std::uint64_t dw0_mask = num_f::mask | scale_f::mask;
  static constexpr std::uint64_t dw1_mask = leaf_f::mask | ttl_f::mask | tg_f::mask | addr_f::mask;
  static constexpr unsigned max_num = 31;
  static constexpr unsigned max_scale = 31;       ///< IDR5.DS = 0
  static constexpr unsigned max_wide_scale = 39;  ///< IDR5.DS = 1; larger values act as 39

  constexpr tlbi_operand() noexcept = default;

  /// The one entry that contains `addr`, of any granule: TG = 0, so neither a range nor a level hint. Bits [11:0] of
  /// `addr` do not matter. LEAF = 0 also names the walk-cache entries on the way to it.
  [[nodiscard]] static constexpr tlbi_operand address(std::uint64_t addr, bool leaf) noexcept {
    return {0, addr_f::put(addr) | leaf_f::put(leaf)};
  }

  /// [addr, addr + (num + 1) * 2^scale granules). `ttl` 1..3 promises that every leaf in it sits at that level; 0 is no
  /// hint. `wide_scale` = IDR5.DS.
  ///   invalid_argument  not a granule; or NUM = SCALE = TTL = 0
  ///   out_of_range      num > 31, scale > 31 (39 if wide), ttl > 3
  ///   unsupported       16 KiB with TTL 1 and without wide_scale: the level does not exist and the hint acts as 0
  ///   misaligned        addr is not a multiple of the leaf that TTL names (of the granule for TTL 0 and 3)
  /// A range that runs past 2^64 ends there.
  [[nodiscard]] static constexpr result<tlbi_operand> range(granule g, std::uint64_t addr, unsigned num, unsigned scale, unsigned ttl,
                                                            bool leaf, bool wide_scale = false) noexcept {
    if (raw(g) < raw(granule::k4) || raw(g) > raw(granule::k64)) return errc::invalid_argument;
    if (num > max_num || scale > (wide_scale ? max_wide_scale : max_scale) || ttl > 3) return errc::out_of_range;
    if (num == 0 && scale == 0 && ttl == 0) return errc::invalid_argument;
    if (g == granule::k16 && ttl == 1 && !wide_scale) return errc::unsupported;
    if ((addr & alignment_mask(g, ttl)) != 0) return errc::misaligned;
    return tlbi_operand{num_f::put(num) | scale_f::put(scale), addr_f::put(addr) | leaf_f::put(leaf) | ttl_f::put(ttl) | tg_f::put(raw(g))};
  }

  /// The operand of a command as it stands in a ring. Keeps every operand bit, also those that range() would refuse
  /// (misaligned, NUM with TG = 0, SCALE bit 5): a decoder has to show them. invalid_argument for the illegal form.
  [[nodiscard]] static constexpr result<tlbi_operand> from_wire(command c) noexcept {
    if (illegal(c)) return errc::invalid_argument;
    return tlbi_operand{c.dw0 & dw0_mask, c.dw1 & dw1_mask};
  }
  /// TG != 0 with NUM = SCALE = TTL = 0.
  [[nodiscard]] static constexpr bool illegal(command c) noexcept {
    return (c.dw1 & tg_f::mask) != 0 && (c.dw1 & ttl_f::mask) == 0 && (c.dw0 & dw0_mask) == 0;
  }
  /// The address bits that must be 0 for (g, ttl); bits [11:0] belong to other fields but count as address here.
  [[nodiscard]] static constexpr std::uint64_t alignment_mask(granule g, unsigned ttl) noexcept {
    const unsigned shift = (ttl == 0 || ttl == 3) ? granule_shift(g) : level_shift(g, ttl);
    return (std::uint64_t{1} << shift) - 1;
  }

  [[nodiscard]] constexpr std::uint64_t dw0() const noexcept { return dw0_; }
  [[nodiscard]] constexpr std::uint64_t dw1() const noexcept { return dw1_; }
  [[nodiscard]] constexpr unsigned tg() const noexcept { return tg_f::get(dw1_); }
  [[nodiscard]] constexpr unsigned num() const noexcept { return num_f::get(dw0_); }
  [[nodiscard]] constexpr unsigned scale() const noexcept { return scale_f::get(dw0_); }
  [[nodiscard]] constexpr unsigned ttl() const noexcept { return ttl_f::get(dw1_); }
  [[nodiscard]] constexpr bool leaf() const noexcept { return leaf_f::get(dw1_); }
  [[nodiscard]] constexpr std::uint64_t address() const noexcept { return addr_f::get(dw1_); }
  /// Bytes of the range; 0 for TG = 0, where the size is that of the entry found. SCALE above 39 acts as 39.
  [[nodiscard]] constexpr std::uint64_t span_bytes() const noexcept {
    if (tg() == 0) return 0;
    const unsigned s = scale() > max_wide_scale ? max_wide_scale : scale();
    return (std::uint64_t{num()} + 1) << (s + tg() * 2 + 10);
  }
  friend constexpr bool operator==(const tlbi_operand&, const tlbi_operand&) noexcept = default;

 private:
  constexpr tlbi_operand(std::uint64_t dw0, std::uint64_t dw1) noexcept : dw0_{dw0}, dw1_{dw1} {}
  std::uint64_t dw0_{};
  std::uint64_t dw1_{};
};
static_assert(sizeof(tlbi_operand) == 16);

/// The command for one target: a tag word (opcode, VMID and ASID of dw0, from cmd::<tlbi>::tag_word) with an operand.
[[nodiscard]] constexpr command stamp(std::uint64_t tag_word, const tlbi_operand& operand) noexcept {
  return {tag_word | operand.dw0(), operand.dw1()};
}

SHOOTDOWN_END
