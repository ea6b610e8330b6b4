// SPDX-License-Identifier: MIT
#pragma once

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

/// An ordered store of tagged items: (regime, VMID, ASID or global, granule, level, base address) -> Value.
///
/// The order puts one tag's items of one size side by side, so that an address range is one run per (granule, level):
/// removing k of n items costs O(log n + k) for each run, whatever the alignment of the range. Unbounded on purpose.
/// Context: the device's lock. Memory: recycled by a node_pool.
template <class Value>
class tag_map {
 public:
  explicit tag_map(node_pool& pool) : map_{std::less<key>{}, pool_allocator<std::pair<const key, Value>>{pool}} {}

  /// The item whose extent holds `x`, or null.
  [[nodiscard]] Value* find(const entry_tag& t, granule g, unsigned level, std::uint64_t x) noexcept {
    if ((present_ >> slot(g, level) & 1u) == 0) return nullptr;
    const auto it = map_.find(make(t, g, level, x));
    return it == map_.end() ? nullptr : &it->second;
  }
  /// Inserts; an item that is there already stays as it is (a cache may keep what it has). True: it is new.
  bool insert(const entry_tag& t, granule g, unsigned level, std::uint64_t x, const Value& v) {
    const bool fresh = map_.emplace(make(t, g, level, x), v).second;
    if (fresh) {
      ++population_[slot(g, level)];
      present_ |= 1u << slot(g, level);
    }
    return fresh;
  }

  /// Removes every item of the levels `levels` that `s` names; removed(value) is told each. Returns how many.
  template <class F>
  std::size_t remove(const scope& s, std::uint8_t levels, F&& removed) {
    if (s.what == scope::extent::nothing || levels == 0 || map_.empty()) return 0;
    if (s.what == scope::extent::everything) {  // EL2_ALL: both EL2 regimes
      return remove_run(map_.lower_bound(key{hi(regime::el2, 0, 0, 0), 0}), map_.end(), removed);
    }
    if (s.what == scope::extent::regime)
      return remove_run(map_.lower_bound(key{hi(s.where, 0, 0, 0), 0}), map_.lower_bound(key{regime_end(s.where), 0}), removed);
    if (s.what == scope::extent::vmid)
      return remove_run(map_.lower_bound(key{hi(s.where, s.vm, 0, 0), 0}), map_.lower_bound(key{hi(s.where, s.vm + 1u, 0, 0), 0}), removed);
    if (s.what == scope::extent::asid)
      return remove_run(map_.lower_bound(key{hi(s.where, s.vm, s.as, 0), 0}), map_.lower_bound(key{hi(s.where, s.vm, s.as + 1u, 0), 0}),
                        removed);
    return remove_addresses(s, levels, removed);
  }

  [[nodiscard]] std::size_t size() const noexcept { return map_.size(); }
  /// Calls f(value) for every item. For tests.
  template <class F>
  void for_each(F&& f) const {
    for (const auto& [k, v] : map_) f(v);
  }
  /// Base addresses are aligned to their level and the population counts are right.
  [[nodiscard]] bool check_invariants() const {
    std::size_t count[16]{};
    for (const auto& [k, v] : map_) {
      const granule g{static_cast<std::uint8_t>(k.high >> 2 & 3)};
      const unsigned level = static_cast<unsigned>(k.high & 3);
      if (raw(g) == 0 || (k.low & ((std::uint64_t{1} << level_shift(g, level)) - 1)) != 0) return false;
      ++count[slot(g, level)];
    }
    for (unsigned i = 0; i != 16; ++i)
      if (count[i] != population_[i] || ((present_ >> i & 1u) != 0) != (count[i] != 0)) return false;
    return true;
  }

 private:
  // high: regime [41:39], VMID [38:22] (17 bits: one past the last must fit), ASID [21:4] (18 bits: 0x10000 is "global"),
  // granule [3:2], level [1:0]. low: base address.
  struct key {
    std::uint64_t high;
    std::uint64_t low;
    friend constexpr bool operator<(const key& a, const key& b) noexcept { return a.high != b.high ? a.high < b.high : a.low < b.low; }
  };
  using map_type = absl::btree_map<key, Value, std::less<key>, pool_allocator<std::pair<const key, Value>>>;
  using iterator = typename map_type::iterator;
  static constexpr std::uint64_t global_as = 0x10000;

  static constexpr std::uint64_t hi(regime r, std::uint64_t vm, std::uint64_t as, std::uint64_t slot) noexcept {
    return (std::uint64_t{raw(r)} << 39) + (vm << 22) + (as << 4) + slot;
  }
  static constexpr std::uint64_t regime_end(regime r) noexcept { return (std::uint64_t{raw(r)} + 1) << 39; }
  static constexpr unsigned slot(granule g, unsigned level) noexcept { return raw(g) * 4u + level; }
  static constexpr std::uint64_t base(granule g, unsigned level, std::uint64_t x) noexcept {
    return x & ~((std::uint64_t{1} << level_shift(g, level)) - 1);
  }
  static constexpr key make(const entry_tag& t, granule g, unsigned level, std::uint64_t x) noexcept {
    return {hi(t.where, t.vm, t.global ? global_as : t.as, slot(g, level)), base(g, level, x)};
  }

  template <class F>
  std::size_t remove_run(iterator first, iterator last, F& removed) {
    std::size_t n = 0;
    for (iterator it = first; it != last; ++it, ++n) {
      removed(it->second);
      forget(static_cast<unsigned>(it->first.high & 15));
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
      const std::uint64_t as = k.high >> 4 & 0x3ffff;
      if (!s.any_asid && as != s.as && as != global_as) {
        at = {hi(s.where, s.vm, global_as, 0), 0};
        continue;
      }
      const unsigned g = static_cast<unsigned>(k.high >> 2 & 3);
      const unsigned level = static_cast<unsigned>(k.high & 3);
      if ((s.granules >> g & 1u) == 0 || (levels >> level & 1u) == 0) {
        at = {k.high + 1, 0};
        continue;
      }
      const std::uint64_t first = base(granule{static_cast<std::uint8_t>(g)}, level, s.first);
      if (k.low < first) {
        at = {k.high, first};
        continue;
      }
      if (k.low <= s.last) {
        iterator stop = it;
        for (; stop != map_.end() && stop->first.high == k.high && stop->first.low <= s.last; ++stop, ++n) {
          removed(stop->second);
          forget(static_cast<unsigned>(k.high & 15));
        }
        map_.erase(it, stop);
      }
      at = {k.high + 1, 0};
    }
    return n;
  }

  void forget(unsigned s) noexcept {
    if (--population_[s] == 0) present_ &= ~(1u << s);
  }

  map_type map_;
  std::size_t population_[16]{};
  std::uint32_t present_{};
};

}  // namespace model
SHOOTDOWN_END
