// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iterator>
#include <utility>

#include <absl/container/btree_map.h>

#include <shootdown/arch/command.hpp>
#include <shootdown/arch/field.hpp>
#include <shootdown/arch/types.hpp>
#include <shootdown/model/node_pool.hpp>
#include <shootdown/model/tag_map.hpp>

SHOOTDOWN_BEGIN
namespace model {

/// An STE or CD as fetched: 64 bytes in CPU byte order. A level-1 descriptor has one word.
struct config_entry {
  entry_id id{};
  std::array<std::uint64_t, 8> w{};
};

/// The adversary configuration cache: STEs per StreamID, CDs per (StreamID, SubstreamID), and the level-1 descriptors of both
/// kinds of table, valid or not, kept until a CFGI command names them. IHI 0070 4.3.
///
///   CFGI_STE            the STE and all CDs and level-1 CD descriptors of the stream; LEAF = 0: the level-1 stream descriptor too
///   CFGI_STE_RANGE/ALL  the same for each stream, always with the level-1 stream descriptors
///   CFGI_CD             the CD; LEAF = 0: the level-1 CD descriptor too
///   CFGI_CD_ALL         all CDs and level-1 CD descriptors of the stream
/// Context: the device's lock. Cost O(log n + k).
class config_cache {
 public:
  explicit config_cache(node_pool& pool)
      : stes_{less{}, allocator{pool}},
        cds_{less{}, allocator{pool}},
        l1_stes_{less{}, l1_allocator{pool}},
        l1_cds_{less{}, l1_allocator{pool}} {}

  [[nodiscard]] const config_entry* ste(stream_id sid) const noexcept { return find(stes_, raw(sid)); }
  [[nodiscard]] const config_entry* cd(stream_id sid, substream_id ssid) const noexcept { return find(cds_, cd_key(sid, ssid)); }
  void insert_ste(stream_id sid, const config_entry& e) { stes_.insert_or_assign(raw(sid), e); }
  void insert_cd(stream_id sid, substream_id ssid, const config_entry& e) { cds_.insert_or_assign(cd_key(sid, ssid), e); }

  /// The level-1 descriptor that serves the stream, or (stream, substream); null if none is cached.
  [[nodiscard]] const std::uint64_t* l1_ste(stream_id sid) const noexcept { return find_span(l1_stes_, raw(sid)); }
  [[nodiscard]] const std::uint64_t* l1_cd(stream_id sid, substream_id ssid) const noexcept {
    return find_span(l1_cds_, cd_key(sid, ssid));
  }
  /// It serves the 2^`split` streams, or substreams, around the one given.
  void insert_l1_ste(stream_id sid, unsigned split, entry_id id, std::uint64_t w) { insert_span(l1_stes_, raw(sid), split, id, w); }
  void insert_l1_cd(stream_id sid, substream_id ssid, unsigned split, entry_id id, std::uint64_t w) {
    insert_span(l1_cds_, cd_key(sid, ssid), split, id, w);
  }

  /// Executes a CFGI command; anything else removes nothing. removed(entry_id) is told each. Returns how many.
  template <class F>
  std::size_t remove(command c, F&& removed) {
    using sid_f = field<63, 32, std::uint32_t>;
    using ssid_f = field<31, 12, std::uint32_t>;
    using range_f = field<4, 0, unsigned>;
    using leaf_f = field<0, 0, bool>;
    const std::uint64_t sid = sid_f::get(c.dw0);
    switch (opcode_of(c)) {
      case opcode::cfgi_ste: return streams(sid, sid, removed) + (leaf_f::get(c.dw1) ? 0 : spans(l1_stes_, sid, sid, removed));
      case opcode::cfgi_ste_range: {
        const std::uint64_t count = std::uint64_t{1} << (range_f::get(c.dw1) + 1);
        const std::uint64_t first = sid & ~(count - 1);
        return streams(first, first + count - 1, removed) + spans(l1_stes_, first, first + count - 1, removed);
      }
      case opcode::cfgi_cd: {
        const std::uint64_t k = cd_key(stream_id{static_cast<std::uint32_t>(sid)}, substream_id{ssid_f::get(c.dw0)});
        return run(cds_, k, k, removed) + (leaf_f::get(c.dw1) ? 0 : spans(l1_cds_, k, k, removed));
      }
      case opcode::cfgi_cd_all: return contexts(sid, sid, removed);
      default: return 0;
    }
  }
  [[nodiscard]] std::size_t size() const noexcept { return stes_.size() + cds_.size() + l1_stes_.size() + l1_cds_.size(); }

 private:
  struct span_entry {
    entry_id id{};
    std::uint64_t last{};  // of the span; its first is the key
    std::uint64_t w{};
  };
  using less = std::less<std::uint64_t>;
  using allocator = pool_allocator<std::pair<const std::uint64_t, config_entry>>;
  using map_type = absl::btree_map<std::uint64_t, config_entry, less, allocator>;
  using l1_allocator = pool_allocator<std::pair<const std::uint64_t, span_entry>>;
  using l1_map = absl::btree_map<std::uint64_t, span_entry, less, l1_allocator>;

  static constexpr std::uint64_t cd_key(stream_id sid, substream_id ssid) noexcept {
    return (std::uint64_t{raw(sid)} << 20) | (raw(ssid) & 0xfffffu);
  }
  static const config_entry* find(const map_type& m, std::uint64_t k) noexcept {
    const auto it = m.find(k);
    return it == m.end() ? nullptr : &it->second;
  }
  // Spans of one table are aligned and of one size. After a change of the size without invalidation some may overlap; then the
  // one that begins last is found, and an invalidation finds those that begin within reach: any answer will do there.
  static const std::uint64_t* find_span(const l1_map& m, std::uint64_t k) noexcept {
    auto it = m.upper_bound(k);
    if (it == m.begin()) return nullptr;
    --it;
    return k <= it->second.last ? &it->second.w : nullptr;
  }
  static void insert_span(l1_map& m, std::uint64_t k, unsigned split, entry_id id, std::uint64_t w) {
    const std::uint64_t size = std::uint64_t{1} << split;
    m.insert_or_assign(k & ~(size - 1), span_entry{id, k | (size - 1), w});
  }
  template <class F>
  static std::size_t spans(l1_map& m, std::uint64_t first, std::uint64_t last, F& removed) {
    auto it = m.upper_bound(first);
    if (it != m.begin() && std::prev(it)->second.last >= first) --it;
    return erase(m, it, last, removed);
  }
  template <class F>
  static std::size_t run(map_type& m, std::uint64_t first, std::uint64_t last, F& removed) {
    return erase(m, m.lower_bound(first), last, removed);
  }
  template <class Map, class F>
  static std::size_t erase(Map& m, typename Map::iterator from, std::uint64_t last, F& removed) {
    std::size_t n = 0;
    auto to = from;
    for (; to != m.end() && to->first <= last; ++to, ++n) removed(to->second.id);
    m.erase(from, to);
    return n;
  }
  template <class F>
  std::size_t contexts(std::uint64_t first, std::uint64_t last, F& removed) {
    return run(cds_, first << 20, (last << 20) | 0xfffff, removed) + spans(l1_cds_, first << 20, (last << 20) | 0xfffff, removed);
  }
  template <class F>
  std::size_t streams(std::uint64_t first, std::uint64_t last, F& removed) {
    return run(stes_, first, last, removed) + contexts(first, last, removed);
  }

  map_type stes_;
  map_type cds_;
  l1_map l1_stes_;
  l1_map l1_cds_;
};

}  // namespace model
SHOOTDOWN_END
