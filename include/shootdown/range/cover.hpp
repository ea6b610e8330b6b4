// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <type_traits>

#include <shootdown/arch/tlbi_operand.hpp>
#include <shootdown/arch/types.hpp>
#include <shootdown/config.hpp>
#include <shootdown/range/piece.hpp>
#include <shootdown/range/split.hpp>
#include <shootdown/status.hpp>

SHOOTDOWN_BEGIN

/// How a piece becomes range commands.
///   exact     at most two commands whose union is the piece; they may overlap. For hardware, where latency counts
///   disjoint  no byte outside the piece and none named twice: for emulated SMMUs, whose cost grows with the pages named
///   bounded   one command, which may name up to 1/16 more than the piece. The fewest commands there are
enum class cover_policy : std::uint8_t { exact, disjoint, bounded };

/// What the target allows and what the caller prefers. One class of SMMUs with equal rules shares one cover.
struct cover_rules {
  bool range_invalidation{};  ///< IDR3.RIL; without it one command per entry
  bool wide_scale{};          ///< IDR5.DS: SCALE up to 39, TTL 1 for 16 KiB
  cover_policy policy{cover_policy::exact};
  std::uint8_t address_bits{widest_address};  ///< input address width: surplus stays inside that half
  std::uint32_t entry_limit{};                ///< without RIL: this many commands or more become the whole tag; 0 = the
                                              ///< number of descriptors in a table page of the step size (commands.md 8)
};

/// The TLBI operands that remove one piece: a generator, not a container.
///
/// Contract. The union of operand(0) .. operand(count() - 1) contains every byte of the piece, at the levels it names,
/// and every operand is legal: ADDR aligned to the leaf that TTL names, never NUM = SCALE = TTL = 0 with a granule, never
/// out of the piece's address half, never wrapping. When whole_tag() is true count() is 0 and the caller sends the
/// whole-ASID or whole-VMID opcode instead; a default-constructed cover, and so the value of a failed result, is of that
/// kind: a caller that overlooks the error removes too much, never too little.
/// Surplus. exact and disjoint name nothing outside the piece with one exception: a single granule without a TTL hint
/// becomes two granules, because one granule without a hint is the illegal form. disjoint in the same case at the *end*
/// of a longer piece names the last but one granule twice. bounded names less than 1/16 too much, and the same exception.
/// Pieces longer than one command (2^48 bytes with 4 KiB granules, without IDR5.DS) take one more command per such length.
/// Context: any. Cost: make() is a few dozen instructions without loops over pages; operand(i) is O(1) for exact,
/// bounded and per-entry covers and at most 9 steps for disjoint. Trivially copyable, within one cache line.
/// One cover has one TTL and one LEAF: a piece that mixes levels gets no hint. Where the levels of neighbouring stretches
/// are worth keeping apart, make a piece of each.
/// commands.md 4.4, 4.5, 8; iotlb-range-invalidation.md 3.
class cover {
 public:
  constexpr cover() noexcept = default;

  /// The cover that names no address: the whole tag.
  [[nodiscard]] static constexpr cover everything() noexcept { return {}; }

  /// Errors: those of validate(piece, rules.address_bits), and invalid_argument for a policy that does not exist.
  [[nodiscard]] static constexpr result<cover> make(const range_piece& p, const cover_rules& r) noexcept {
    if (r.policy > cover_policy::bounded) return errc::invalid_argument;
    if (const status s = validate(p, r.address_bits); !s.ok()) return s;
    cover c;
    c.piece_first_ = p.address;
    c.piece_bytes_ = p.bytes;
    c.granule_ = p.g;
    c.leaf_ = leaf_only(p);
    if (!r.range_invalidation) {
      c.plan_entries(p, r.entry_limit);
      return c;
    }
    c.whole_tag_ = false;
    c.ttl_ = static_cast<std::uint8_t>(ttl_of(p, r.wide_scale));
    c.wide_ = r.wide_scale;
    c.unit_shift_ = static_cast<std::uint8_t>(c.ttl_ == 0 ? granule_shift(p.g) : level_shift(p.g, c.ttl_));
    c.plan_ranges(r);
    return c;
  }

  /// Use the opcode that drops the whole ASID or VMID; there are no operands.
  [[nodiscard]] constexpr bool whole_tag() const noexcept { return whole_tag_; }
  /// Number of commands.
  [[nodiscard]] constexpr std::uint32_t count() const noexcept { return count_; }

  /// Operand i of [0, count()), in any order and as often as wanted. Beyond count(): the default operand.
  [[nodiscard]] constexpr tlbi_operand operand(std::uint32_t i) const noexcept {
    if (i >= count_) return {};
    if (per_entry_) return tlbi_operand::address(piece_first_ + (std::uint64_t{i} << unit_shift_), leaf_);
    if (i < body_count_) return at(piece_first_ + i * bytes_of(body_), body_);
    if (tail_units_ != 0) return tail_operand(i - body_count_);
    return at(last_address_, last_);
  }

  /// LEAF of every operand; with whole_tag() what the piece would have needed.
  [[nodiscard]] constexpr bool leaf() const noexcept { return leaf_; }

  /// First byte that the commands name together.
  [[nodiscard]] constexpr std::uint64_t covered_address() const noexcept { return surplus_in_last() ? last_address_ : piece_first_; }
  /// Bytes that the commands name together, each byte counted once. Everything (2^64 - 1) for the whole tag.
  [[nodiscard]] constexpr std::uint64_t covered_bytes() const noexcept {
    if (whole_tag_) return ~std::uint64_t{0};
    return surplus_in_last() ? bytes_of(last_) : piece_bytes_;
  }
  /// Bytes named although they do not belong to the piece: the over-invalidation.
  [[nodiscard]] constexpr std::uint64_t over_bytes() const noexcept { return covered_bytes() - piece_bytes_; }

 private:
  [[nodiscard]] constexpr std::uint64_t bytes_of(unit_run r) const noexcept { return r.units() << unit_shift_; }
  /// Is the last command the only one? Only then can it name more than the piece.
  [[nodiscard]] constexpr bool surplus_in_last() const noexcept { return has_last_ && body_count_ == 0; }

  [[nodiscard]] constexpr tlbi_operand at(std::uint64_t address, unit_run r) const noexcept {
    const unsigned scale = r.scale + unit_shift_ - granule_shift(granule_);
    return tlbi_operand::range(granule_, address, r.count - 1u, scale, ttl_, leaf_, wide_).value();
  }

  /// Step j of the greedy split of the last tail_units_ units. Under TTL = 0 a lone last granule is widened towards the
  /// start, where the piece goes on: exactness is worth more than naming one granule twice.
  [[nodiscard]] constexpr tlbi_operand tail_operand(std::uint32_t j) const noexcept {
    std::uint64_t address = piece_first_ + body_count_ * bytes_of(body_);
    std::uint64_t left = tail_units_;
    unit_run r = largest_within(left, max_run_scale_);
    for (; j != 0; --j) {
      address += bytes_of(r);
      left -= r.units();
      r = largest_within(left, max_run_scale_);
    }
    if (illegal(r)) return at(address - (std::uint64_t{1} << unit_shift_), two_granules);
    return at(address, r);
  }

  static constexpr unit_run two_granules{1, 1};
  /// One granule without a level hint has no legal encoding.
  [[nodiscard]] constexpr bool illegal(unit_run r) const noexcept { return ttl_ == 0 && r.units() == 1; }

  constexpr void plan_entries(const range_piece& p, std::uint32_t limit) noexcept {
    // With freed tables by the granule, whatever the leaves were (commands.md 4.5): one command per leaf would name every
    // freed table as well if all lie above the leaves, but drivers have never relied on that.
    const unsigned shift = leaf_only(p) ? leaf_shift(p) : granule_shift(p.g);
    const std::uint64_t entries = p.bytes >> shift;
    const std::uint64_t most = limit != 0 ? limit : std::uint64_t{1} << (shift - 3);
    if (entries >= most || entries > ~std::uint32_t{0}) return;  // stays the whole tag
    whole_tag_ = false;
    per_entry_ = true;
    unit_shift_ = static_cast<std::uint8_t>(shift);
    count_ = static_cast<std::uint32_t>(entries);
  }

  constexpr void plan_ranges(const cover_rules& r) noexcept {
    const unsigned unit_scale = unit_shift_ - granule_shift(granule_);
    max_run_scale_ = static_cast<std::uint8_t>((wide_ ? tlbi_operand::max_wide_scale : tlbi_operand::max_scale) - unit_scale);
    const std::uint64_t units = piece_bytes_ >> unit_shift_;
    const unit_run longest = longest_run(max_run_scale_);
    if (illegal({1, 0}) && units == 1) {
      plan_single(two_granules, r.address_bits);
      return;
    }
    if (r.policy == cover_policy::disjoint) {
      body_ = longest;
      body_count_ = static_cast<std::uint32_t>(units / longest.units());
      tail_units_ = units % longest.units();
      count_ = body_count_;
      for (std::uint64_t left = tail_units_; left != 0; ++count_) left -= largest_within(left, max_run_scale_).units();
      return;
    }
    if (units <= longest.units()) {
      const unit_run covering = smallest_covering(units);
      if (r.policy == cover_policy::bounded || covering.units() == units) {
        plan_single(covering, r.address_bits);
        return;
      }
      body_ = largest_within(units, max_run_scale_);
      body_count_ = 1;
    } else {
      body_ = longest;
      body_count_ = static_cast<std::uint32_t>((units - 1) / longest.units());
    }
    // What the body leaves over: one covering command that ends where the piece ends. Its surplus is shorter than the body.
    last_ = smallest_covering(units - body_count_ * body_.units());
    if (illegal(last_)) last_ = two_granules;
    last_address_ = last_byte_of_piece() - (bytes_of(last_) - 1);
    has_last_ = true;
    count_ = body_count_ + 1;
  }

  /// One command from the start of the piece; where its surplus would pass the top of the half it begins earlier.
  constexpr void plan_single(unit_run run, unsigned address_bits) noexcept {
    last_ = run;
    last_address_ = piece_first_;
    const std::uint64_t beyond = half_of(piece_first_, address_bits).last - piece_first_;  // room - 1: room may be 2^63
    if (bytes_of(run) - 1 > beyond) last_address_ -= bytes_of(run) - 1 - beyond;
    has_last_ = true;
    count_ = 1;
  }

  [[nodiscard]] constexpr std::uint64_t last_byte_of_piece() const noexcept { return piece_first_ + (piece_bytes_ - 1); }

  // Commands, in order: body_count_ times body_ from the start of the piece; then either the greedy split of tail_units_
  // (disjoint) or last_ at last_address_. Per-entry covers use only the start, the unit and the count.
  std::uint64_t piece_first_{};
  std::uint64_t piece_bytes_{};
  std::uint64_t last_address_{};
  std::uint64_t tail_units_{};
  std::uint32_t count_{};
  std::uint32_t body_count_{};
  unit_run body_{};
  unit_run last_{};
  granule granule_{granule::k4};
  std::uint8_t ttl_{};
  std::uint8_t unit_shift_{};     ///< log2 bytes of what lengths are counted in: the leaf under a TTL hint, else the granule
  std::uint8_t max_run_scale_{};  ///< SCALE limit minus the unit's own scale
  bool leaf_{};
  bool wide_{};
  bool per_entry_{};
  bool has_last_{};
  bool whole_tag_{true};
};
static_assert(std::is_trivially_copyable_v<cover> && sizeof(cover) <= cache_line);

SHOOTDOWN_END
