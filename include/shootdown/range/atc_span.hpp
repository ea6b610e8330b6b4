// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <span>

#include <shootdown/config.hpp>
#include <shootdown/status.hpp>

SHOOTDOWN_BEGIN

/// ADDR and SIZE of one ATC_INV: 2^size pages of 4096 bytes, naturally aligned, whatever the translation granule is.
/// IHI 0070 4.5.1; commands.md 5. The PASID is the entry's business, not the range's.
struct atc_span {
  static constexpr unsigned page_shift = 12;
  static constexpr unsigned everything_size = 52;

  std::uint64_t address{};             ///< its bits below 12 + size are 0
  std::uint8_t size{everything_size};  ///< the SIZE field, 0..52; 52 = the whole address space

  [[nodiscard]] static constexpr atc_span everything() noexcept { return {}; }
  /// The aligned block of 2^shift bytes (12 <= shift <= 64) that contains `address`.
  [[nodiscard]] static constexpr atc_span block(std::uint64_t address, unsigned shift) noexcept {
    if (shift >= 64) return everything();
    return {address >> shift << shift, static_cast<std::uint8_t>(shift - page_shift)};
  }
  /// Last byte hit. A byte count would not do: everything is 2^64.
  [[nodiscard]] constexpr std::uint64_t last() const noexcept {
    return size >= everything_size ? ~std::uint64_t{0} : address + ((std::uint64_t{1} << (size + page_shift)) - 1);
  }
  friend constexpr bool operator==(const atc_span&, const atc_span&) noexcept = default;
};

/// An address range as the ATC functions take it: any byte range; bytes = 0 means everything. `stu_shift` is log2 of the
/// endpoint's smallest translation unit in bytes: a span below it may be answered with Unsupported Request, which the
/// SMMU reports as success although nothing was invalidated.
/// invalid_argument: stu_shift outside 12..63. out_of_range: the range wraps.
[[nodiscard]] constexpr status validate_atc(std::uint64_t address, std::uint64_t bytes, unsigned stu_shift) noexcept {
  if (stu_shift < atc_span::page_shift || stu_shift > 63) return errc::invalid_argument;
  if (bytes != 0 && address + (bytes - 1) < address) return errc::out_of_range;
  return {};
}

/// The smallest single span that contains the range. Its size has no bound: two pages on either side of a large power
/// of two hit everything below the next one. Any context; O(1).
[[nodiscard]] constexpr result<atc_span> single_atc_span(std::uint64_t address, std::uint64_t bytes,
                                                         unsigned stu_shift = atc_span::page_shift) noexcept {
  if (const status s = validate_atc(address, bytes, stu_shift); !s.ok()) return s;
  if (bytes == 0) return atc_span::everything();
  const unsigned differing = static_cast<unsigned>(std::bit_width(address ^ (address + (bytes - 1))));
  return atc_span::block(address, std::max(differing, stu_shift));
}

/// At most MaxSpans spans that contain the range and hit as few other bytes as that many spans can; of equal choices the
/// one with fewer spans, as each costs a PCIe round trip.
///
/// How. A range that is not one block lies across the middle of its smallest block. Each side of the middle is a row of
/// aligned blocks that shrink outwards (the bits of its length). With m spans for a side the m - 1 largest stay exact
/// and the outer rest is rounded up to one block: rounding earlier would only enlarge it. So what is left to choose is
/// how many spans each side gets. Worked in units of the STU: no span is ever below it.
/// Context: any. Cost: make() O(MaxSpans^2), no loop over pages. Trivially copyable. Disjoint spans, ascending.
template <unsigned MaxSpans = 4>
class atc_cover {
  static_assert(MaxSpans >= 1);

 public:
  /// One span over everything.
  constexpr atc_cover() noexcept = default;

  /// Errors of validate_atc; invalid_argument: limit outside 1..MaxSpans.
  [[nodiscard]] static constexpr result<atc_cover> make(std::uint64_t address, std::uint64_t bytes,
                                                        unsigned stu_shift = atc_span::page_shift, unsigned limit = MaxSpans) noexcept {
    const result<atc_span> one = single_atc_span(address, bytes, stu_shift);
    if (!one.ok()) return one.code();
    if (limit < 1 || limit > MaxSpans) return errc::invalid_argument;
    atc_cover c;
    c.spans_[0] = *one;
    const unsigned shift = one->size + atc_span::page_shift;
    if (limit == 1 || bytes == 0 || shift == stu_shift) return c;
    // The block of 2^shift bytes has its middle inside the range. Lengths of the two sides, in STU units, are at most
    // half the block, so they fit even when the block is the whole 2^64.
    const std::uint64_t first = address >> stu_shift;
    const std::uint64_t last = (address + (bytes - 1)) >> stu_shift;
    const std::uint64_t middle = (last >> (shift - 1 - stu_shift)) << (shift - 1 - stu_shift);
    const std::uint64_t left = middle - first;
    const std::uint64_t right = last - middle + 1;
    unsigned best_left = 1;
    unsigned best_right = 1;
    for (unsigned total = 2; total <= limit; ++total) {
      for (unsigned l = 1; l != total; ++l) {
        if (rounded(left, l) + rounded(right, total - l) >= rounded(left, best_left) + rounded(right, best_right)) continue;
        best_left = l;
        best_right = total - l;
      }
    }
    const std::uint64_t half = std::uint64_t{1} << (shift - 1 - stu_shift);
    if (rounded(left, best_left) == half && rounded(right, best_right) == half) return c;  // the block, whole again
    c.count_ = 0;
    c.add_left(middle, left, best_left, stu_shift);
    c.add_right(middle, right, best_right, stu_shift);
    return c;
  }

  [[nodiscard]] constexpr std::span<const atc_span> spans() const noexcept { return {spans_.data(), count_}; }
  [[nodiscard]] constexpr std::uint32_t count() const noexcept { return count_; }

 private:
  /// `length` rounded up so that at most n bits are set: the units hit by n spans.
  [[nodiscard]] static constexpr std::uint64_t rounded(std::uint64_t length, unsigned n) noexcept {
    std::uint64_t kept = 0;
    for (; n > 1 && length != 0; --n) {
      kept += std::bit_floor(length);
      length -= std::bit_floor(length);
    }
    return kept + (length == 0 ? 0 : std::bit_ceil(length));
  }
  constexpr void push(std::uint64_t unit, std::uint64_t units, unsigned stu_shift) noexcept {
    spans_[count_++] = atc_span::block(unit << stu_shift, static_cast<unsigned>(std::countr_zero(units)) + stu_shift);
  }
  /// Blocks grow towards the middle: emitted from the outside, so the smallest bits of the rounded length come first.
  constexpr void add_left(std::uint64_t middle, std::uint64_t length, unsigned n, unsigned stu_shift) noexcept {
    std::uint64_t left = rounded(length, n);
    std::uint64_t unit = middle - left;
    while (left != 0) {
      const std::uint64_t units = left & (~left + 1);
      push(unit, units, stu_shift);
      unit += units;
      left -= units;
    }
  }
  constexpr void add_right(std::uint64_t middle, std::uint64_t length, unsigned n, unsigned stu_shift) noexcept {
    std::uint64_t unit = middle;
    for (std::uint64_t left = rounded(length, n); left != 0;) {
      const std::uint64_t units = std::bit_floor(left);
      push(unit, units, stu_shift);
      unit += units;
      left -= units;
    }
  }

  std::array<atc_span, MaxSpans> spans_{};
  std::uint32_t count_{1};
};

SHOOTDOWN_END
