// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

#include <shootdown/arch/cmd_device.hpp>
#include <shootdown/arch/cmd_sync.hpp>
#include <shootdown/arch/command.hpp>
#include <shootdown/arch/tlbi_operand.hpp>
#include <shootdown/env/environment.hpp>
#include <shootdown/invs/array.hpp>
#include <shootdown/invs/entry.hpp>
#include <shootdown/invs/plan.hpp>
#include <shootdown/port/command_list.hpp>
#include <shootdown/port/command_port.hpp>

SHOOTDOWN_BEGIN

/// The commands of one request for one SMMU instance: a command_list over a window of at most 64 adjacent entries.
///
///     TLB tags x operands | SYNC | stage-1 clears | SYNC | device caches x spans | (closing SYNC: the queue's)
///
/// An interior SYNC stands only between two phases that both have commands. It need not be waited for: commands behind a
/// CMD_SYNC of the same queue do not start before it completes. With the whole-tag opcode the stage-1 clears are left out,
/// as S12_VMALL has dropped stage 1 too. Entries that would repeat the command before them are left out.
///
/// Contract: which entries are live is decided once, in take(), and kept as a bit mask: `users` may fall while the list
/// exists, and it must emit the same commands each time it is walked. A group of more than 64 entries gives several lists for
/// the same port; each ends in a SYNC, so the phases keep their order across them when they are submitted in order.
/// Points into the array (hold the RCU guard) and the plan. Trivially copyable. Context: any.
/// Cost: take() reads up to 64 entries; emit() finds its place in at most 64 steps, then O(1) a command.
/// invs-array.md 7, 10; commands.md 5, 6.
template <environment Env, command_port Port, unsigned MaxPieces>
class instance_list {
 public:
  using entry_t = entry<Env, Port>;
  using plan_t = invalidation_plan<MaxPieces>;
  static constexpr std::uint32_t window = 64;

  instance_list() noexcept = default;

  /// The list of the entries from `first` on (first < n = the array's count, read once), for the instance of entry `first`.
  /// `next` becomes the entry behind the window. The list may be empty (all trash).
  [[nodiscard]] static instance_list take(const entry_array<Env, Port>& a, std::uint32_t first, std::uint32_t n, plan_t& plan,
                                          std::uint32_t& next) noexcept {
    instance_list l;
    const entry_spec<Port>& head = a[first].spec;
    l.base_ = &a[first];
    l.plan_ = &plan;
    l.operands_ = &plan.covers(head.range_invalidation, head.wide_scale);
    const entry_spec<Port>* before = nullptr;
    next = first;
    for (; next != n && next - first != window && a[next].spec.instance == head.instance; ++next) {
      const entry_spec<Port>& e = a[next].spec;
      if (!a[next].live()) continue;
      if (e.type == entry_type::s2_vmid_s1_clear && l.operands_->whole_tag()) continue;
      if (before != nullptr && repeats(*before, e)) {
        if (e.type == entry_type::ats) l.stu_ = std::max(l.stu_, e.stu);  // functions behind one StreamID can differ in their unit
        continue;
      }
      before = &e;
      l.add(e, next - first);
    }
    if (l.ats_ != 0) l.spans_ = plan.span_count(l.stu_);
    return l;
  }

  [[nodiscard]] Port& port() const noexcept { return *base_->spec.port; }
  [[nodiscard]] std::uint32_t size() const noexcept { return atc_begin() + atc_size(); }
  [[nodiscard]] completion closing() const noexcept { return completion::sync; }
  /// Position of the first device-cache command; size() without any.
  [[nodiscard]] std::uint32_t atc_begin() const noexcept { return tlb_size() + first_sync() + clears_ + (second_sync() ? 1u : 0u); }

  template <class Sink>
  void emit(std::uint32_t first, std::uint32_t n, Sink&& sink) const noexcept {
    std::uint32_t start = 0;
    // f(from, to) for the part of a section of `length` commands that lies in [first, first + n).
    const auto section = [&](std::uint32_t length, auto&& f) noexcept {
      const std::uint32_t from = std::max(first, start);
      const std::uint32_t to = std::min(first + n, start + length);
      if (from < to) f(from - start, to - start);
      start += length;
    };
    const auto barrier = [&](std::uint32_t, std::uint32_t) noexcept { sink(cmd::sync::silent().encode()); };
    section(tlb_size(), [&](std::uint32_t from, std::uint32_t to) noexcept { emit_tlb(from, to, sink); });
    section(first_sync(), barrier);
    section(clears_, [&](std::uint32_t from, std::uint32_t to) noexcept {
      for (std::uint32_t i = from; i != to; ++i) sink(command{spec(tags_ + i).whole_word(), 0});
    });
    section(second_sync() ? 1u : 0u, barrier);
    section(std::uint32_t{ats_} * spans_, [&](std::uint32_t from, std::uint32_t to) noexcept { emit_ats(from, to, sink); });
    section(full_, [&](std::uint32_t from, std::uint32_t to) noexcept {
      constexpr std::uint64_t everything = cmd::atc_inv::span_word(0, cmd::atc_inv::all);
      for (std::uint32_t i = from; i != to; ++i) sink(command{spec(tags_ + clears_ + ats_ + i).whole_word(), everything});
    });
  }

 private:
  /// Would `e` emit what the live entry before it emitted? Duplicates are adjacent: the array is sorted.
  [[nodiscard]] static bool repeats(const entry_spec<Port>& before, const entry_spec<Port>& e) noexcept {
    if (before.type != e.type) return false;
    return e.type == entry_type::ats_full ? before.whole_word() == e.whole_word() : before.tag_word == e.tag_word;
  }
  void add(const entry_spec<Port>& e, std::uint32_t bit) noexcept {
    mask_ |= std::uint64_t{1} << bit;
    switch (e.type) {
      case entry_type::s1_asid:
      case entry_type::s2_vmid:
      case entry_type::s2_vmid_vsmmu: ++tags_; break;
      case entry_type::s2_vmid_s1_clear: ++clears_; break;
      case entry_type::ats:
        ++ats_;
        stu_ = std::max(stu_, e.stu);  // one unit for all devices of the list, so that all have the same number of spans
        break;
      case entry_type::ats_full: ++full_; break;
    }
  }

  [[nodiscard]] std::uint32_t tlb_size() const noexcept { return tags_ == 0 ? 0 : tags_ * operands_->count(); }
  [[nodiscard]] std::uint32_t atc_size() const noexcept { return ats_ * spans_ + full_; }
  [[nodiscard]] std::uint32_t first_sync() const noexcept { return tags_ != 0 && clears_ != 0 ? 1u : 0u; }
  [[nodiscard]] bool second_sync() const noexcept { return (tags_ != 0 || clears_ != 0) && (ats_ != 0 || full_ != 0); }

  /// The mask from its k-th set bit on.
  [[nodiscard]] std::uint64_t from_kth(std::uint32_t k) const noexcept {
    std::uint64_t m = mask_;
    for (; k != 0; --k) m &= m - 1;
    return m;
  }
  [[nodiscard]] const entry_spec<Port>& at_bit(std::uint64_t m) const noexcept { return base_[std::countr_zero(m)].spec; }
  [[nodiscard]] const entry_spec<Port>& spec(std::uint32_t k) const noexcept { return at_bit(from_kth(k)); }

  template <class Sink>
  void emit_tlb(std::uint32_t from, std::uint32_t to, Sink& sink) const noexcept {
    const std::uint32_t each = operands_->count();
    std::uint64_t m = from_kth(from / each);
    for (std::uint32_t at = from % each, left = to - from; left != 0; m &= m - 1, at = 0) {
      const entry_spec<Port>& e = at_bit(m);
      const std::uint32_t here = std::min(left, each - at);
      if (operands_->whole_tag())
        sink(command{e.whole_word(), 0});
      else
        operands_->each(at, here, [&](tlbi_operand o) noexcept { sink(stamp(e.tag_word, o)); });
      left -= here;
    }
  }
  template <class Sink>
  void emit_ats(std::uint32_t from, std::uint32_t to, Sink& sink) const noexcept {
    std::uint64_t m = from_kth(std::uint32_t{tags_} + clears_ + from / spans_);
    for (std::uint32_t at = from % spans_, left = to - from; left != 0; m &= m - 1, at = 0) {
      const std::uint64_t tag = at_bit(m).tag_word;
      const std::uint32_t here = std::min(left, spans_ - at);
      plan_->each_span(stu_, at, here, [&](atc_span s) noexcept { sink(command{tag, cmd::atc_inv::span_word(s.address, s.size)}); });
      left -= here;
    }
  }

  const entry_t* base_{};
  const plan_t* plan_{};
  const typename plan_t::operands* operands_{};
  std::uint64_t mask_{};
  std::uint32_t spans_{};
  std::uint8_t tags_{}, clears_{}, ats_{}, full_{};  // set bits of each kind; in this order in the mask
  std::uint8_t stu_{};
};

/// Part [first, first + count) of a list that is too long for one reservation. All but the last part end without completion;
/// one of those that holds device-cache commands ends in an interior SYNC of its own, or another caller's SYNC behind it would
/// take the blame for a device that does not answer.
template <class List>
class list_part {
 public:
  list_part() noexcept = default;
  list_part(const List& whole, std::uint32_t first, std::uint32_t count) noexcept
      : whole_{&whole},
        first_{first},
        count_{count},
        last_{first + count == whole.size()},
        barrier_{!last_ && first + count > whole.atc_begin()} {}
  [[nodiscard]] std::uint32_t size() const noexcept { return count_ + (barrier_ ? 1u : 0u); }
  [[nodiscard]] completion closing() const noexcept { return last_ ? completion::sync : completion::none; }
  template <class Sink>
  void emit(std::uint32_t first, std::uint32_t n, Sink&& sink) const noexcept {
    const std::uint32_t inner = first < count_ ? std::min(n, count_ - first) : 0;
    if (inner != 0) whole_->emit(first_ + first, inner, sink);
    if (inner != n) sink(cmd::sync::silent().encode());
  }

 private:
  const List* whole_{};
  std::uint32_t first_{};
  std::uint32_t count_{};
  bool last_{};
  bool barrier_{};
};

SHOOTDOWN_END
