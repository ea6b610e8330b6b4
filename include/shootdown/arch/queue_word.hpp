// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include <shootdown/config.hpp>

SHOOTDOWN_BEGIN

/// The arithmetic of PROD and CONS words of a queue of 2^log2size entries. IHI 0070 3.5.1.
///
/// A word is index (bits [n-1:0]) and wrap flag (bit n): one counter modulo 2^(n+1). A sequence is the same position as a
/// 64-bit number that never wraps; word(seq) is its low n+1 bits. Every argument may carry bits above n (ERR, OVFLG): they
/// are masked. Comparisons are by difference, so none breaks at a wrap.
/// Contract: log2size <= max_log2size. Context: any. Cost: a few ALU operations.
struct queue_geometry {
  static constexpr unsigned max_log2size = 19;  ///< architectural limit of CMDQS, EVENTQS and PRIQS
  unsigned log2size{};

  [[nodiscard]] constexpr std::uint32_t slots() const noexcept { return std::uint32_t{1} << log2size; }
  [[nodiscard]] constexpr std::uint32_t index_mask() const noexcept { return slots() - 1; }
  [[nodiscard]] constexpr std::uint32_t word_mask() const noexcept { return slots() * 2 - 1; }

  [[nodiscard]] constexpr std::uint32_t index(std::uint64_t seq_or_word) const noexcept {
    return static_cast<std::uint32_t>(seq_or_word & index_mask());
  }
  /// Index and wrap flag of a sequence, or of a register value.
  [[nodiscard]] constexpr std::uint32_t word(std::uint64_t seq_or_word) const noexcept {
    return static_cast<std::uint32_t>(seq_or_word & word_mask());
  }
  [[nodiscard]] constexpr bool wrap(std::uint64_t seq_or_word) const noexcept { return (seq_or_word & slots()) != 0; }
  [[nodiscard]] constexpr std::uint32_t add(std::uint32_t w, std::uint32_t k) const noexcept { return (w + k) & word_mask(); }

  /// Steps from `from` forward to `to`, 0 .. 2^(n+1) - 1.
  [[nodiscard]] constexpr std::uint32_t ahead(std::uint32_t from, std::uint32_t to) const noexcept { return (to - from) & word_mask(); }
  /// Entries between CONS and PROD; more than slots() if PROD claims more than the queue holds.
  [[nodiscard]] constexpr std::uint32_t used(std::uint32_t prod, std::uint32_t cons) const noexcept { return ahead(cons, prod); }
  [[nodiscard]] constexpr bool plausible(std::uint32_t prod, std::uint32_t cons) const noexcept { return used(prod, cons) <= slots(); }
  [[nodiscard]] constexpr std::uint32_t free(std::uint32_t prod, std::uint32_t cons) const noexcept {
    const std::uint32_t u = used(prod, cons);
    return u >= slots() ? 0 : slots() - u;
  }
  [[nodiscard]] constexpr bool empty(std::uint32_t prod, std::uint32_t cons) const noexcept { return used(prod, cons) == 0; }
  [[nodiscard]] constexpr bool full(std::uint32_t prod, std::uint32_t cons) const noexcept { return used(prod, cons) == slots(); }
  /// Has `cons` passed the entry at `slot`? True as long as CONS is 1 .. slots() beyond it, so only while CONS cannot be
  /// a whole turn ahead.
  [[nodiscard]] constexpr bool consumed(std::uint32_t slot, std::uint32_t cons) const noexcept {
    const std::uint32_t d = ahead(slot, cons);
    return d != 0 && d <= slots();
  }

  /// The smallest sequence >= base whose word is `w`: how a register value becomes a position again. Right if the true
  /// position is less than 2^(n+1) beyond base.
  [[nodiscard]] constexpr std::uint64_t extend(std::uint64_t base, std::uint32_t w) const noexcept { return base + ahead(word(base), w); }

  friend constexpr bool operator==(const queue_geometry&, const queue_geometry&) noexcept = default;
};

SHOOTDOWN_END
