// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <new>
#include <span>

#include <shootdown/arch/tlbi_operand.hpp>
#include <shootdown/arch/types.hpp>
#include <shootdown/range/atc_span.hpp>
#include <shootdown/range/cover.hpp>
#include <shootdown/range/piece.hpp>
#include <shootdown/status.hpp>

SHOOTDOWN_BEGIN

/// Fixed sizes of an invalidation: pieces of one pass, and lists under way at the same time (one per SMMU instance and 64
/// entries). More instances are served in windows of that many. And of a domain: the stripes of its ATS section.
struct invalidation_limits {
  unsigned pieces{8};
  unsigned lanes{4};
  unsigned stripes{8};
};

/// How a domain wants its pieces turned into commands.
struct plan_rules {
  granule page{granule::k4};      ///< of the domain's tables; other granules are refused
  std::uint8_t address_bits{48};  ///< input address width of the domain
  cover_policy policy{cover_policy::exact};
  std::uint32_t entry_limit{};    ///< without RIL, a piece with this many entries takes the whole tag; 0: a table page
  std::uint32_t command_limit{};  ///< more commands than this for one tag take the whole tag; 0: no limit
  std::uint8_t atc_spans{1};      ///< at most this many ATC_INVs for a piece and device, 1..4
  bool lower_half_only{};         ///< IPAs: there is no sign-extended upper half
};

/// One request, prepared once for all its targets: its pieces, and per class of SMMUs with equal range abilities the
/// operands of its TLB commands. An entry then only adds its tag word.
///
/// Contract: prepare() first; covers() as often as wanted, computed at the first call for a class. The plan owns copies: the
/// caller's pieces may go away. Lists point into the plan, so it is neither copied nor moved.
/// Context: any; one thread. No allocation. Cost: MaxPieces * (24 + 3 * 64) bytes, of which only the classes in use are
/// touched. Not for requests with more pieces than MaxPieces: they are refused (too_large), the domain splits them.
/// commands.md 4, 5, 8.
template <unsigned MaxPieces = 8>
class invalidation_plan {
  static_assert(MaxPieces >= 1);

 public:
  static constexpr unsigned max_pieces = MaxPieces;

  /// The operands of one class: those of all pieces, one piece after the other.
  class operands {
   public:
    /// Commands for one tag; 1 with whole_tag().
    [[nodiscard]] std::uint32_t count() const noexcept { return whole_ ? 1 : total_; }
    /// Send the opcode for everything under the tag instead.
    [[nodiscard]] bool whole_tag() const noexcept { return whole_; }

    /// f(operand) for operands [first, first + n), in order. Not with whole_tag().
    template <class F>
    void each(std::uint32_t first, std::uint32_t n, F&& f) const noexcept {
      for (std::uint32_t piece = 0; n != 0; ++piece) {
        const cover& c = at(piece);
        if (first >= c.count()) {
          first -= c.count();
          continue;
        }
        const std::uint32_t here = std::min(n, c.count() - first);
        for (std::uint32_t i = first; i != first + here; ++i) f(c.operand(i));
        n -= here;
        first = 0;
      }
    }

   private:
    friend class invalidation_plan;
    operands() noexcept {}  // covers_ stays uninitialised until its class is asked for: most requests need one of three
    [[nodiscard]] const cover& at(std::uint32_t i) const noexcept {
      return *std::launder(reinterpret_cast<const cover*>(covers_.data() + i * sizeof(cover)));
    }
    void put(std::uint32_t i, const cover& c) noexcept { ::new (static_cast<void*>(covers_.data() + i * sizeof(cover))) cover{c}; }

    bool made_{};
    bool whole_{};
    std::uint32_t total_{};
    alignas(cover) std::array<std::byte, MaxPieces * sizeof(cover)> covers_;
  };

  invalidation_plan() noexcept {}  // not defaulted: value-initialisation would clear all that operands() leaves alone
  invalidation_plan(const invalidation_plan&) = delete;
  invalidation_plan& operator=(const invalidation_plan&) = delete;

  /// May all these pieces be invalidated under these rules? Those of validate(), and unsupported for a granule that is not
  /// the domain's; empty_range for no piece at all.
  [[nodiscard]] static status check(std::span<const range_piece> pieces, const plan_rules& rules) noexcept {
    if (pieces.empty()) return errc::empty_range;
    for (const range_piece& p : pieces) {
      if (const status s = validate(p, rules.address_bits); !s.ok()) return s;
      if (p.g != rules.page) return errc::unsupported;
      if (rules.lower_half_only && (p.address >> 63) != 0) return errc::out_of_range;
    }
    return {};
  }
  /// For these pieces. The errors of check(), and too_large for more than MaxPieces.
  [[nodiscard]] status prepare(std::span<const range_piece> pieces, const plan_rules& rules) noexcept {
    if (const status s = check(pieces, rules); !s.ok()) return s;
    if (pieces.size() > MaxPieces) return errc::too_large;
    std::copy(pieces.begin(), pieces.end(), pieces_.begin());
    count_ = static_cast<std::uint32_t>(pieces.size());
    rules_ = rules;
    return {};
  }
  /// For everything under every tag, and everything in every device cache.
  void prepare_everything() noexcept { count_ = 0; }

  [[nodiscard]] bool everything() const noexcept { return count_ == 0; }
  [[nodiscard]] std::span<const range_piece> pieces() const noexcept { return {pieces_.data(), count_}; }

  /// The TLB operands for SMMUs with these abilities.
  [[nodiscard]] const operands& covers(bool range_invalidation, bool wide_scale) noexcept {
    operands& o = classes_[!range_invalidation ? 0 : wide_scale ? 2 : 1];
    if (!o.made_) compute(o, range_invalidation, wide_scale);
    return o;
  }

  /// ATC_INVs for one device whose smallest translation unit is 4 KiB << stu.
  [[nodiscard]] std::uint32_t span_count(unsigned stu) const noexcept {
    if (everything()) return 1;
    std::uint32_t n = 0;
    for (const range_piece& p : pieces()) n += spans_of(p, stu).count();
    return n;
  }
  /// f(span) for spans [first, first + n) of span_count(stu).
  template <class F>
  void each_span(unsigned stu, std::uint32_t first, std::uint32_t n, F&& f) const noexcept {
    if (everything()) {
      if (first == 0 && n != 0) f(atc_span::everything());
      return;
    }
    for (const range_piece& p : pieces()) {
      const auto cut = spans_of(p, stu);
      for (const atc_span& s : cut.spans()) {
        if (first != 0) {
          --first;
        } else if (n != 0) {
          f(s);
          --n;
        }
      }
      if (n == 0) return;
    }
  }

 private:
  [[nodiscard]] atc_cover<4> spans_of(const range_piece& p, unsigned stu) const noexcept {
    // A failed result holds the span over everything: too much rather than too little.
    return atc_cover<4>::make(p.address, p.bytes, atc_span::page_shift + stu, rules_.atc_spans).value();
  }

  void compute(operands& o, bool range_invalidation, bool wide_scale) noexcept {
    o.made_ = true;
    o.whole_ = everything();
    const cover_rules r{range_invalidation, wide_scale, rules_.policy, rules_.address_bits, rules_.entry_limit};
    std::uint64_t total = 0;
    std::uint32_t i = 0;
    for (const range_piece& p : pieces()) {
      const cover c = cover::make(p, r).value();  // a failed result is the whole tag
      o.put(i++, c);
      o.whole_ = o.whole_ || c.whole_tag();
      total += c.count();
    }
    const std::uint32_t limit = rules_.command_limit != 0 ? std::min(rules_.command_limit, most_commands) : most_commands;
    if (total > limit) o.whole_ = true;
    o.total_ = o.whole_ ? 0 : static_cast<std::uint32_t>(total);
  }

  /// Keeps 64 tags times their commands within the 32 bits of a list's size.
  static constexpr std::uint32_t most_commands = 1u << 24;

  std::array<range_piece, MaxPieces> pieces_;
  std::uint32_t count_{};
  plan_rules rules_{};
  operands classes_[3];  // without RIL, with RIL, with RIL and wide SCALE
};

SHOOTDOWN_END
