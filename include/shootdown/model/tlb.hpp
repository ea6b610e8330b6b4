// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>

#include <shootdown/model/tag_map.hpp>

SHOOTDOWN_BEGIN
namespace model {

/// A leaf as the TLB keeps it.
struct tlb_entry {
  entry_id id{};
  std::uint64_t output{};  ///< bus address of the extent's first byte
  std::uint8_t level{};
  granule g{granule::k4};
  bool writable{};
  bool unprivileged{};
};

/// The adversary TLB: keeps every entry for as long as the architecture lets it.
///
/// It is unbounded and never replaces; an entry goes only when a command really demands it (see decode_scope for what is
/// strict). When several entries answer for one address the oldest does: the one that is most likely stale.
/// It shares no code with the library's emulation of a TLB. IHI 0070 4.4, iotlb-range-invalidation sheet 5.
/// Context: the device's lock. Cost: lookup one search per level and granule in use, removal O(log n + k).
class tlb {
 public:
  explicit tlb(node_pool& pool) : map_{pool} {}

  /// The oldest entry that translates `x` for `t` under granule `g`, or null. Global entries answer for every ASID.
  [[nodiscard]] const tlb_entry* find(entry_tag t, granule g, std::uint64_t x) noexcept {
    const tlb_entry* best = nullptr;
    for (unsigned pass = 0; pass != (any_global_ ? 2u : 1u); ++pass) {
      t.global = pass != 0;
      for (unsigned level = 0; level != 4; ++level) {
        const tlb_entry* const e = map_.find(t, g, level, x);
        if (e != nullptr && (best == nullptr || raw(e->id) < raw(best->id))) best = e;
      }
    }
    return best;
  }
  bool insert(const entry_tag& t, std::uint64_t x, const tlb_entry& e) {
    any_global_ = any_global_ || t.global;
    return map_.insert(t, e.g, e.level, x, e);
  }
  /// Removes what `s` demands; removed(entry_id) is told each. Returns how many.
  template <class F>
  std::size_t remove(const scope& s, F&& removed) {
    return map_.remove(s, s.leaf_levels, [&](const tlb_entry& e) { removed(e.id); });
  }
  [[nodiscard]] std::size_t size() const noexcept { return map_.size(); }
  [[nodiscard]] bool check_invariants() const { return map_.check_invariants(); }

 private:
  tag_map<tlb_entry> map_;
  bool any_global_{};
};

}  // namespace model
SHOOTDOWN_END
