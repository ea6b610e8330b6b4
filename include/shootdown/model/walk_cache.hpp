// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>

#include <shootdown/model/tag_map.hpp>

SHOOTDOWN_BEGIN
namespace model {

/// A table descriptor as the walk cache keeps it: where the next table is, and the restrictions met on the way.
struct table_pointer {
  entry_id id{};
  std::uint64_t table{};  ///< address of the table of level `level` + 1, see `intermediate`
  std::uint8_t level{};   ///< level of the descriptor (0..2)
  granule g{granule::k4};
  bool read_only{};   ///< APTable[1] of this or a higher level
  bool privileged{};  ///< APTable[0] of this or a higher level
  /// `table` is an IPA, which stage 2 translates anew at each use. False for a stage-1 pointer whose whole table stage 2 maps
  /// with one leaf: such a pointer is kept as a combined entry, with the bus address, and S2_IPA does not remove it.
  bool intermediate{};
};

/// The adversary walk cache: table pointers per tag, level and address prefix, kept until a TLBI with LEAF = 0 that covers
/// them, or one of the whole tag. With TTL = t and LEAF = 0 only pointers out of tables above level t go: a library that
/// frees a table of level t under that hint is caught. A walk starts below the deepest pointer found. Each stage has pointers
/// of its own: those of stage 1 under (VMID, ASID), those of stage 2 under the VMID.
/// IHI 0070 4.4 (Leaf, TTL). Context: the device's lock. Cost as tlb.
class walk_cache {
 public:
  explicit walk_cache(node_pool& pool) : map_{pool} {}

  /// The deepest pointer on the way to `x`, from tables of level `top` (where the walk would start) downwards; null if none.
  [[nodiscard]] const table_pointer* deepest(const entry_tag& t, granule g, unsigned top, std::uint64_t x) noexcept {
    for (unsigned level = 3; level-- > top;)
      if (const table_pointer* const p = map_.find(t, {g, static_cast<std::uint8_t>(level), false, 0}, x)) return p;
    return nullptr;
  }
  bool insert(const entry_tag& t, std::uint64_t x, const table_pointer& p) { return map_.insert(t, {p.g, p.level, false, 0}, x, p); }
  template <class F>
  std::size_t remove(const scope& s, F&& removed) {
    return map_.remove(s, s.table_levels, [&](const table_pointer& p) { removed(p.id); });
  }
  [[nodiscard]] std::size_t size() const noexcept { return map_.size(); }
  [[nodiscard]] bool check_invariants() const { return map_.check_invariants(); }

 private:
  tag_map<table_pointer> map_;
};

}  // namespace model
SHOOTDOWN_END
