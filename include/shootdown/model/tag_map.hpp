// SPDX-License-Identifier: MIT
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <utility>

#include <absl/container/btree_map.h>

#include <shootdown/arch/types.hpp>
#include <shootdown/model/node_pool.hpp>
#include <shootdown/model/scope.hpp>

SHOOTDOWN_BEGIN
namespace model {

/// What tags a cached translation or table pointer.
struct entry_tag {
  regime where{regime::el1};
  std::uint16_t vm{};
  std::uint16_t as{};
  bool global{};  ///< nG = 0: found under every ASID
};

/// Number of one cached item; never reused. 0: none.
enum class entry_id : std::uint64_t { none = 0 };

/// log2 of the bytes that a run of leaves with the contiguous bit spans together; a single leaf where there are no runs.
[[nodiscard]] constexpr unsigned run_shift(granule g, unsigned level) noexcept {
  const unsigned leaf = level_shift(g, level);
  if (level == 0) return leaf;
  return leaf + (g == granule::k4 ? 4u : g == granule::k64 ? 5u : level == 3 ? 7u : 5u);
}

/// How much of the input space an item answers for. The extent is what invalidation by address is compared with: the leaf or
/// table entry of the stage that the item is tagged for, a whole run if that was cached as one. The item itself may be a
/// part of it: a stage-1 block that stage 2 maps in smaller pieces has one item a piece, and all go with any address of the
/// block (fractured entries, iotlb-range-invalidation sheet 8).
struct item_shape {
  granule g{granule::k4};
  std::uint8_t level{};
  bool run{};           ///< of contiguous leaves
  std::uint8_t part{};  ///< log2 of the bytes of this item; 0: the whole extent
  [[nodiscard]] constexpr unsigned extent_shift() const noexcept { return run ? run_shift(g, level) : level_shift(g, level); }
  [[nodiscard]] constexpr unsigned part_shift() const noexcept { return part == 0 ? extent_shift() : part; }
};

/// An ordered store of tagged items: (regime, VMID, ASID or global, shape, base address) -> Value.
///
/// The order puts one tag's items of one extent side by side, so that an address range is one run per (granule, level):
/// removing k of n items costs O(log n + k) for each run, whatever the alignment of the range. Unbounded on purpose.
/// Context: the device's lock. Memory: recycled by a node_pool.
template <class Value>
class tag_map {
 public:
  explicit tag_map(node_pool& pool) : map_{std::less<key>{}, pool_allocator<std::pair<const key, Value>>{pool}} {}

  /// Calls f(value) for every item of granule `g` that answers for `x`.
  template <class F>
  void each(const entry_tag& t, granule g, std::uint64_t x, F&& f) {
    for (std::uint32_t sizes = present_ >> (raw(g) * 8u) & 0xffu; sizes != 0; sizes &= sizes - 1) {
      const unsigned n = static_cast<unsigned>(std::countr_zero(sizes));
      item_shape s{g, static_cast<std::uint8_t>(n & 3), (n & 4) != 0, 0};
      for (std::uint64_t parts = parts_[slot(s)]; parts != 0; parts &= parts - 1) {
        s.part = static_cast<std::uint8_t>(std::countr_zero(parts));
        if (Value* const v = find(t, s, x)) f(*v);
      }
    }
  }
  /// The item of exactly this shape that answers for `x`, or null.
  [[nodiscard]] Value* find(const entry_tag& t, const item_shape& s, std::uint64_t x) noexcept {
    if ((present_ >> slot(s) & 1u) == 0) return nullptr;
    const auto it = map_.find(make(t, s, x));
    return it == map_.end() ? nullptr : &it->second;
  }
  /// Inserts; an item that is there already stays as it is (a cache may keep what it has). True: it is new.
  bool insert(const entry_tag& t, const item_shape& s, std::uint64_t x, const Value& v) {
    const bool fresh = map_.emplace(make(t, s, x), v).second;
    if (fresh) {
      ++population_[slot(s)];
      present_ |= 1u << slot(s);
      parts_[slot(s)] |= std::uint64_t{1} << s.part_shift();
    }
    return fresh;
  }

  /// Removes every item of the levels `levels` that `s` names; removed(value) is told each. Returns how many.
  template <class F>
  std::size_t remove(const scope& s, std::uint8_t levels, F&& removed) {
    if (s.what == scope::extent::nothing || levels == 0 || map_.empty()) return 0;
    switch (s.what) {
      case scope::extent::everything:  // EL2_ALL: both EL2 regimes
        return remove_run(hi(regime::el2, 0, 0, 0), regime_end(regime::el2_e2h), removed);
      case scope::extent::regime: {
        const std::size_t n = remove_run(hi(s.where, 0, 0, 0), regime_end(s.where), removed);
        return n + (s.and_stage2 ? remove_run(hi(regime::stage2, 0, 0, 0), regime_end(regime::stage2), removed) : 0);
      }
      case scope::extent::vmid: {
        const std::size_t n = remove_run(hi(s.where, s.vm, 0, 0), hi(s.where, s.vm + 1u, 0, 0), removed);
        return n + (s.and_stage2 ? remove_run(hi(regime::stage2, s.vm, 0, 0), hi(regime::stage2, s.vm + 1u, 0, 0), removed) : 0);
      }
      case scope::extent::asid: return remove_run(hi(s.where, s.vm, s.as, 0), hi(s.where, s.vm, s.as + 1u, 0), removed);
      default: return remove_addresses(s, levels, removed);
    }
  }

  [[nodiscard]] std::size_t size() const noexcept { return map_.size(); }
  /// Calls f(value) for every item. For tests.
  template <class F>
  void for_each(F&& f) const {
    for (const auto& [k, v] : map_) f(v);
  }
  /// Items are aligned to their sizes and no larger than their extents; the counts and summaries are right.
  [[nodiscard]] bool check_invariants() const {
    std::size_t count[slots]{};
    for (const auto& [k, v] : map_) {
      const item_shape s = shape_of(k.high);
      const unsigned part = static_cast<unsigned>(k.low & 0xfff);
      if (raw(s.g) == 0 || part < 12 || part > s.extent_shift() || aligned(k.low, 12) != aligned(k.low, part)) return false;
      if ((parts_[slot(s)] >> part & 1u) == 0) return false;
      ++count[slot(s)];
    }
    for (unsigned i = 0; i != slots; ++i)
      if (count[i] != population_[i] || ((present_ >> i & 1u) != 0) != (count[i] != 0)) return false;
    return true;
  }

 private:
  // high: regime [41:40], VMID [39:23] (17 bits: one past the last must fit), ASID [22:5] (18 bits: 0x10000 is "global"),
  // granule [4:3], run [2], level [1:0]. low: base of the item, its log2 size in the low 12 bits; the items of one extent are
  // neighbours.
  struct key {
    std::uint64_t high;
    std::uint64_t low;
    friend constexpr bool operator<(const key& a, const key& b) noexcept { return a.high != b.high ? a.high < b.high : a.low < b.low; }
  };
  using map_type = absl::btree_map<key, Value, std::less<key>, pool_allocator<std::pair<const key, Value>>>;
  using iterator = typename map_type::iterator;
  static constexpr std::uint64_t global_as = 0x10000;
  static constexpr unsigned slots = 32;

  static constexpr std::uint64_t hi(regime r, std::uint64_t vm, std::uint64_t as, std::uint64_t slot) noexcept {
    return (std::uint64_t{raw(r)} << 40) + (vm << 23) + (as << 5) + slot;
  }
  static constexpr std::uint64_t regime_end(regime r) noexcept { return (std::uint64_t{raw(r)} + 1) << 40; }
  static constexpr unsigned slot(const item_shape& s) noexcept { return raw(s.g) * 8u + (s.run ? 4u : 0u) + s.level; }
  static constexpr item_shape shape_of(std::uint64_t high) noexcept {
    return {granule{static_cast<std::uint8_t>(high >> 3 & 3)}, static_cast<std::uint8_t>(high & 3), (high & 4) != 0, 0};
  }
  static constexpr std::uint64_t aligned(std::uint64_t x, unsigned shift) noexcept { return x & ~((std::uint64_t{1} << shift) - 1); }
  static constexpr key make(const entry_tag& t, const item_shape& s, std::uint64_t x) noexcept {
    const unsigned shift = s.part_shift();
    return {hi(t.where, t.vm, t.global ? global_as : t.as, slot(s)), aligned(x, shift) | shift};
  }

  template <class F>
  std::size_t remove_run(std::uint64_t first, std::uint64_t end, F& removed) {
    return erase(map_.lower_bound(key{first, 0}), map_.lower_bound(key{end, 0}), removed);
  }
  template <class F>
  std::size_t erase(iterator first, iterator last, F& removed) {
    std::size_t n = 0;
    for (iterator it = first; it != last; ++it, ++n) {
      removed(it->second);
      const unsigned s = static_cast<unsigned>(it->first.high % slots);
      if (--population_[s] == 0) {
        present_ &= ~(1u << s);
        parts_[s] = 0;
      }
    }
    map_.erase(first, last);
    return n;
  }

  // Visits only runs that can hold a match; from anything else it seeks to the next candidate.
  template <class F>
  std::size_t remove_addresses(const scope& s, std::uint8_t levels, F& removed) {
    std::size_t n = 0;
    key at{hi(s.where, s.vm, s.any_asid ? 0 : s.as, 0), 0};
    const std::uint64_t end = hi(s.where, s.vm + 1u, 0, 0);
    for (iterator it = map_.lower_bound(at); it != map_.end() && it->first.high < end; it = map_.lower_bound(at)) {
      const key k = it->first;
      const std::uint64_t as = k.high >> 5 & 0x3ffff;
      if (!s.any_asid && as != s.as && as != global_as) {
        at = {hi(s.where, s.vm, global_as, 0), 0};
        continue;
      }
      const item_shape shape = shape_of(k.high);
      if ((s.granules >> raw(shape.g) & 1u) == 0 || (levels >> shape.level & 1u) == 0) {
        at = {k.high + 1, 0};
        continue;
      }
      const unsigned extent = shape.extent_shift();
      const std::uint64_t first = aligned(s.first, extent);
      if (k.low < first) {
        at = {k.high, first};
        continue;
      }
      iterator stop = it;
      while (stop != map_.end() && stop->first.high == k.high && aligned(stop->first.low, extent) <= s.last) ++stop;
      if (stop != it) n += erase(it, stop, removed);
      at = {k.high + 1, 0};
    }
    return n;
  }

  map_type map_;
  std::size_t population_[slots]{};
  std::uint64_t parts_[slots]{};  // bit n: an item of 2^n bytes may be there
  std::uint32_t present_{};
};

}  // namespace model
SHOOTDOWN_END
