// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>

#include <shootdown/model/tag_map.hpp>

SHOOTDOWN_BEGIN
namespace model {

/// A leaf as the TLB keeps it. A combined entry (stage 1 and 2) has the level and granule of its stage-1 leaf, the output and
/// the rights of both stages, and the size of the smaller leaf.
struct tlb_entry {
  entry_id id{};
  std::uint64_t output{};  ///< bus address of the entry's first byte
  std::uint8_t level{};
  granule g{granule::k4};
  bool writable{};
  bool unprivileged{};
  bool run{};           ///< stands for a whole run of contiguous leaves
  std::uint8_t part{};  ///< log2 of its bytes if it is smaller than the leaf or run; 0 otherwise
  bool stage2_read{true};
  bool stage2_write{true};
  bool device{};        ///< stage 2 says Device memory
  std::uint64_t ipa{};  ///< combined: intermediate address of the entry's first byte
  [[nodiscard]] constexpr item_shape shape() const noexcept { return {g, level, run, part}; }
  [[nodiscard]] constexpr unsigned shift() const noexcept { return shape().part_shift(); }
};

/// The adversary TLB: keeps every entry for as long as the architecture lets it.
///
/// It is unbounded and never replaces; an entry goes only when a command really demands it (see decode_scope for what is
/// strict). When several entries answer for one address the oldest does: the one that is most likely stale.
/// Three kinds of entry: stage-1-only and combined ones under (VMID, ASID), stage-2-only ones under the VMID alone.
/// It shares no code with the library's emulation of a TLB. IHI 0070 4.4, iotlb-range-invalidation sheet 5 and 8.
/// Context: the device's lock. Cost: lookup one search per level and size in use, removal O(log n + k).
class tlb {
 public:
  explicit tlb(node_pool& pool) : map_{pool} {}

  /// The oldest entry that translates `x` for `t` under granule `g`, or null. Global entries answer for every ASID.
  [[nodiscard]] const tlb_entry* find(entry_tag t, granule g, std::uint64_t x) noexcept {
    const tlb_entry* best = nullptr;
    for (unsigned pass = 0; pass != (any_global_ ? 2u : 1u); ++pass) {
      t.global = pass != 0;
      map_.each(t, g, x, [&best](const tlb_entry& e) {
        if (best == nullptr || raw(e.id) < raw(best->id)) best = &e;
      });
    }
    return best;
  }
  bool insert(const entry_tag& t, std::uint64_t x, const tlb_entry& e) {
    any_global_ = any_global_ || t.global;
    return map_.insert(t, e.shape(), x, e);
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
