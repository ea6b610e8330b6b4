// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include <shootdown/arch/types.hpp>
#include <shootdown/config.hpp>
#include <shootdown/range/piece.hpp>
#include <shootdown/status.hpp>

SHOOTDOWN_BEGIN

/// A table frame between "unlinked" and "no walk can read it any more". Lives in the metadata of the frame, never in the
/// frame itself: the hardware may still be reading that.
struct held_frame {
  held_frame* next{};
};

/// Everything one unmap owes the hardware: the pieces to invalidate and the table frames to give back afterwards.
///
/// Contract. add() collects pieces; those of one granule that overlap or touch become one (their levels are joined, and
/// "unknown" stays unknown), so one pass over pieces() issues each address once. hold() takes a frame whose table was
/// unlinked; take_held() hands all of them back and may be called only after the CMD_SYNC behind the invalidation of
/// these pieces has completed: a walk that began earlier may read them until then. If the invalidation failed the
/// frames must stay held. clear_pieces() forgets the pieces once they are invalidated.
/// Order of pieces(): by granule, then by address; disjoint, and not even adjacent within a granule and address half.
/// Context: any; not thread-safe (one unmap, one gather). Cost: add() O(MaxPieces), the rest O(1). No memory of its own.
/// Not for deferred flushing of many unmaps: pieces beyond MaxPieces are refused, not approximated.
template <unsigned MaxPieces = 8>
class gather {
  static_assert(MaxPieces >= 1);

 public:
  constexpr gather() noexcept = default;
  gather(const gather&) = delete;  // the frames have one owner
  gather& operator=(const gather&) = delete;

  static constexpr unsigned max_pieces = MaxPieces;

  /// Adds a piece. The errors of validate() (against the widest address space; the table knows its own width), or
  /// too_large when it touches none of the MaxPieces that are there. On error nothing changed.
  constexpr status add(const range_piece& p) noexcept {
    if (const status s = validate(p, widest_address); !s.ok()) return s;
    const run touched = touching(p);
    if (touched.first == touched.end) {
      if (count_ == MaxPieces) return errc::too_large;
      std::move_backward(pieces_.begin() + touched.first, pieces_.begin() + count_, pieces_.begin() + count_ + 1);
      pieces_[touched.first] = p;
      ++count_;
      return {};
    }
    range_piece merged = p;
    for (unsigned i = touched.first; i != touched.end; ++i) merged = joined(merged, pieces_[i]);
    pieces_[touched.first] = merged;
    std::move(pieces_.begin() + touched.end, pieces_.begin() + count_, pieces_.begin() + touched.first + 1);
    count_ -= touched.end - touched.first - 1;
    return {};
  }

  /// Would add(p) succeed now? Lets an unmap refuse before it changes a table. Promises nothing about p's parts added one
  /// by one: in a full gather a part in the middle may touch nothing.
  [[nodiscard]] constexpr bool room_for(const range_piece& p) const noexcept {
    if (!validate(p, widest_address).ok()) return false;
    if (count_ < MaxPieces) return true;
    const run touched = touching(p);
    return touched.first != touched.end;
  }

  /// Keeps `frame` until take_held(). The frame must not be in any gather.
  constexpr void hold(held_frame& frame) noexcept {
    frame.next = held_;
    held_ = &frame;
  }
  [[nodiscard]] constexpr bool holds_frames() const noexcept { return held_ != nullptr; }
  /// The chain of held frames (last held first), now the caller's. Null if there are none.
  [[nodiscard]] constexpr held_frame* take_held() noexcept {
    held_frame* const chain = held_;
    held_ = nullptr;
    return chain;
  }

  [[nodiscard]] constexpr std::span<const range_piece> pieces() const noexcept { return {pieces_.data(), count_}; }
  constexpr void clear_pieces() noexcept { count_ = 0; }
  /// Neither pieces nor frames.
  [[nodiscard]] constexpr bool empty() const noexcept { return count_ == 0 && held_ == nullptr; }

  /// Every piece valid; sorted; no two that should have become one.
  [[nodiscard]] constexpr bool check_invariants() const noexcept {
    if (count_ > MaxPieces) return false;
    for (unsigned i = 0; i != count_; ++i) {
      if (!validate(pieces_[i], widest_address).ok()) return false;
      if (i != 0 && (!before(pieces_[i - 1], pieces_[i]) || touch(pieces_[i - 1], pieces_[i]))) return false;
    }
    return true;
  }

 private:
  struct run {
    unsigned first;
    unsigned end;
  };

  [[nodiscard]] static constexpr bool before(const range_piece& a, const range_piece& b) noexcept {
    return a.g != b.g ? raw(a.g) < raw(b.g) : a.address < b.address;
  }
  /// Overlapping or adjacent, so that their union is one valid piece: same granule, same address half.
  [[nodiscard]] static constexpr bool touch(const range_piece& a, const range_piece& b) noexcept {
    if (a.g != b.g || (a.address >> 63) != (b.address >> 63)) return false;
    // "One byte further" cannot wrap here: the only last byte without a successor is that of the upper half, and then
    // the other piece begins at or below it.
    const bool b_starts_in_reach = b.address <= last_byte(a) || b.address - 1 == last_byte(a);
    const bool a_starts_in_reach = a.address <= last_byte(b) || a.address - 1 == last_byte(b);
    return b_starts_in_reach && a_starts_in_reach;
  }
  [[nodiscard]] static constexpr range_piece joined(const range_piece& a, const range_piece& b) noexcept {
    range_piece u = a;
    u.address = std::min(a.address, b.address);
    u.bytes = std::max(last_byte(a), last_byte(b)) - u.address + 1;
    const bool known = a.leaf_levels != 0 && b.leaf_levels != 0;
    u.leaf_levels = known ? static_cast<std::uint8_t>(a.leaf_levels | b.leaf_levels) : std::uint8_t{0};
    u.freed_levels = static_cast<std::uint8_t>(a.freed_levels | b.freed_levels);
    return u;
  }
  /// The pieces that p touches: neighbours in the order, as the pieces are disjoint. An empty run is where p belongs.
  /// Joining p with them reaches no further piece: the outermost ones touch none beyond themselves.
  [[nodiscard]] constexpr run touching(const range_piece& p) const noexcept {
    unsigned first = 0;
    while (first != count_ && before(pieces_[first], p) && !touch(pieces_[first], p)) ++first;
    unsigned end = first;
    while (end != count_ && touch(pieces_[end], p)) ++end;
    return {first, end};
  }

  std::array<range_piece, MaxPieces> pieces_{};
  unsigned count_{};
  held_frame* held_{};
};

SHOOTDOWN_END
