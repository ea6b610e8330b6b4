// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <utility>

#include <absl/container/btree_map.h>

#include <shootdown/arch/field.hpp>
#include <shootdown/arch/types.hpp>
#include <shootdown/model/node_pool.hpp>
#include <shootdown/model/tag_map.hpp>
#include <shootdown/model/translation.hpp>

SHOOTDOWN_BEGIN
namespace model {

/// A translation as an endpoint keeps it.
struct atc_entry {
  entry_id id{};
  std::uint64_t first{};   ///< untranslated address of the extent's first byte
  std::uint64_t output{};  ///< bus address of the same byte
  std::uint8_t extent{};   ///< log2 of its bytes, at least 12
  bool writable{};
  request asked{};  ///< what it was asked for with: PASID and privilege
};

/// What a CMD_ATC_INV names, taken from the command's words and from nothing of the library's encoder.
struct atc_scope {
  std::uint32_t sid{};
  std::uint32_t ssid{};
  bool ssv{};     ///< false: entries of every PASID and those without
  bool global{};  ///< with ssv: entries of every PASID, but not those without
  std::uint8_t size{};
  std::uint64_t first{};  ///< aligned down to its span; inclusive
  std::uint64_t last{};
};

/// IHI 0070 4.5.1: 2^SIZE pages of 4 KiB, ADDR[11+SIZE:0] forced to 0, 52 is everything.
[[nodiscard]] constexpr atc_scope decode_atc_scope(command c) noexcept {
  atc_scope s{};
  s.sid = field<63, 32, std::uint32_t>::get(c.dw0);
  s.ssid = field<31, 12, std::uint32_t>::get(c.dw0);
  s.ssv = field<11, 11, bool>::get(c.dw0);
  s.global = field<9, 9, bool>::get(c.dw0);
  s.size = field<5, 0, std::uint8_t>::get(c.dw1);
  if (s.size >= 52) {
    s.last = ~std::uint64_t{0};
    return s;
  }
  const std::uint64_t mask = (std::uint64_t{1} << (s.size + 12u)) - 1;
  s.first = c.dw1 & ~std::uint64_t{0xfff} & ~mask;
  s.last = s.first | mask;
  return s;
}

/// The address translation cache of an endpoint: keeps every translation until an invalidation really names it.
///
/// Unbounded, never replaces. Entries are kept by PASID (or without one) and privilege; of several that answer for one
/// address the oldest does. An invalidation drops every entry that overlaps its span. PCIe ATS 10.2 and 10.3.
/// Context: the device's lock. Cost: a search per extent size in use; removal O(sizes * tags * log n + k).
class atc {
 public:
  explicit atc(node_pool& pool) : map_{std::less<key>{}, pool_allocator<std::pair<const key, atc_entry>>{pool}} {}

  /// The oldest entry that translates `x` for such a request, or null. It need not permit it.
  [[nodiscard]] const atc_entry* find(std::uint64_t x, const request& r) const noexcept {
    const atc_entry* best = nullptr;
    for (unsigned extent = 12; extent != 64; ++extent) {
      if ((extents_ >> extent & 1) == 0) continue;
      const auto it = map_.find(key{tag(r), extent, x >> extent});
      if (it != map_.end() && (best == nullptr || raw(it->second.id) < raw(best->id))) best = &it->second;
    }
    return best;
  }

  /// Keeps `e`. One of the same place and extent makes room only if it grants less: writing is asked for again. True: it is new.
  bool insert(const atc_entry& e) {
    const auto [it, fresh] = map_.emplace(key{tag(e.asked), e.extent, e.first >> e.extent}, e);
    extents_ |= std::uint64_t{1} << e.extent;
    if (!fresh && e.writable && !it->second.writable) it->second = e;
    return fresh;
  }

  /// Drops what `s` names; removed(entry) is told each. Returns how many.
  template <class F>
  std::size_t remove(const atc_scope& s, F&& removed) {
    std::size_t n = 0;
    key at = s.ssv && !s.global ? key{std::uint64_t{s.ssid} << 1, 0, 0} : key{0, 0, 0};
    for (auto it = map_.lower_bound(at); it != map_.end(); it = map_.lower_bound(at)) {
      const key k = it->first;
      if (s.ssv && ((k.tag >= untagged) || (!s.global && k.tag >> 1 != s.ssid))) break;  // tags ascend, those without PASID come last
      const std::uint64_t first = s.first >> k.extent, last = s.last >> k.extent;
      if (k.block < first) {
        at = {k.tag, k.extent, first};
        continue;
      }
      auto stop = it;
      for (; stop != map_.end() && stop->first.tag == k.tag && stop->first.extent == k.extent && stop->first.block <= last; ++stop, ++n)
        removed(static_cast<const atc_entry&>(stop->second));
      map_.erase(it, stop);
      at = {k.tag, k.extent + 1, 0};
    }
    if (map_.empty()) extents_ = 0;
    return n;
  }

  [[nodiscard]] std::size_t size() const noexcept { return map_.size(); }
  /// f(entry) for every entry.
  template <class F>
  void for_each(F&& f) const {
    for (const auto& [k, e] : map_) f(e);
  }
  [[nodiscard]] bool check_invariants() const {
    for (const auto& [k, e] : map_) {
      if (k.extent != e.extent || e.extent < 12 || e.extent > 63 || (extents_ >> e.extent & 1) == 0) return false;
      if (k.block != e.first >> e.extent || k.tag != tag(e.asked)) return false;
      if (((e.first | e.output) & ((std::uint64_t{1} << e.extent) - 1)) != 0) return false;
    }
    return true;
  }

 private:
  static constexpr std::uint64_t untagged = std::uint64_t{1} << 21;  // above every PASID: 20 bits, and one for privilege
  struct key {
    std::uint64_t tag;
    unsigned extent;
    std::uint64_t block;
    friend constexpr bool operator<(const key& a, const key& b) noexcept {
      if (a.tag != b.tag) return a.tag < b.tag;
      return a.extent != b.extent ? a.extent < b.extent : a.block < b.block;
    }
  };
  static constexpr std::uint64_t tag(const request& r) noexcept {
    return (r.has_ssid ? std::uint64_t{raw(r.ssid) & 0xfffffu} << 1 : untagged) | (r.privileged ? 1u : 0u);
  }

  absl::btree_map<key, atc_entry, std::less<key>, pool_allocator<std::pair<const key, atc_entry>>> map_;
  std::uint64_t extents_{};  // bit e: an entry of that extent was inserted since the cache was empty
};

}  // namespace model
SHOOTDOWN_END
