// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <utility>

#include <absl/container/btree_map.h>

#include <shootdown/arch/command.hpp>
#include <shootdown/arch/field.hpp>
#include <shootdown/arch/types.hpp>
#include <shootdown/model/node_pool.hpp>
#include <shootdown/model/tag_map.hpp>

SHOOTDOWN_BEGIN
namespace model {

/// An STE or CD as fetched: 64 bytes in CPU byte order.
struct config_entry {
  entry_id id{};
  std::array<std::uint64_t, 8> w{};
};

/// The adversary configuration cache: STEs per StreamID and CDs per (StreamID, SubstreamID), valid or not, kept until a
/// CFGI command names them. CFGI_STE, CFGI_STE_RANGE and CFGI_ALL also drop the CDs that were reached through these
/// streams; CFGI_CD and CFGI_CD_ALL leave the STE. IHI 0070 4.3. Context: the device's lock. Cost O(log n + k).
class config_cache {
 public:
  explicit config_cache(node_pool& pool)
      : stes_{std::less<std::uint64_t>{}, allocator{pool}}, cds_{std::less<std::uint64_t>{}, allocator{pool}} {}

  [[nodiscard]] const config_entry* ste(stream_id sid) const noexcept { return find(stes_, raw(sid)); }
  [[nodiscard]] const config_entry* cd(stream_id sid, substream_id ssid) const noexcept { return find(cds_, cd_key(sid, ssid)); }
  void insert_ste(stream_id sid, const config_entry& e) { stes_.insert_or_assign(raw(sid), e); }
  void insert_cd(stream_id sid, substream_id ssid, const config_entry& e) { cds_.insert_or_assign(cd_key(sid, ssid), e); }

  /// Executes a CFGI command; anything else removes nothing. removed(entry_id) is told each. Returns how many.
  template <class F>
  std::size_t remove(command c, F&& removed) {
    using sid_f = field<63, 32, std::uint32_t>;
    using ssid_f = field<31, 12, std::uint32_t>;
    using range_f = field<4, 0, unsigned>;
    const std::uint64_t sid = sid_f::get(c.dw0);
    switch (opcode_of(c)) {
      case opcode::cfgi_ste: return streams(sid, sid, removed);
      case opcode::cfgi_ste_range: {
        const std::uint64_t count = std::uint64_t{1} << (range_f::get(c.dw1) + 1);
        const std::uint64_t first = sid & ~(count - 1);
        return streams(first, first + count - 1, removed);
      }
      case opcode::cfgi_cd: {
        const std::uint64_t k = cd_key(stream_id{static_cast<std::uint32_t>(sid)}, substream_id{ssid_f::get(c.dw0)});
        return run(cds_, k, k, removed);
      }
      case opcode::cfgi_cd_all: return run(cds_, sid << 20, (sid << 20) | 0xfffff, removed);
      default: return 0;
    }
  }
  [[nodiscard]] std::size_t size() const noexcept { return stes_.size() + cds_.size(); }

 private:
  using value = std::pair<const std::uint64_t, config_entry>;
  using allocator = pool_allocator<value>;
  using map_type = absl::btree_map<std::uint64_t, config_entry, std::less<std::uint64_t>, allocator>;

  static constexpr std::uint64_t cd_key(stream_id sid, substream_id ssid) noexcept {
    return (std::uint64_t{raw(sid)} << 20) | (raw(ssid) & 0xfffffu);
  }
  static const config_entry* find(const map_type& m, std::uint64_t k) noexcept {
    const auto it = m.find(k);
    return it == m.end() ? nullptr : &it->second;
  }
  template <class F>
  static std::size_t run(map_type& m, std::uint64_t first, std::uint64_t last, F& removed) {
    const auto from = m.lower_bound(first);
    std::size_t n = 0;
    auto to = from;
    for (; to != m.end() && to->first <= last; ++to, ++n) removed(to->second.id);
    m.erase(from, to);
    return n;
  }
  template <class F>
  std::size_t streams(std::uint64_t first, std::uint64_t last, F& removed) {
    return run(stes_, first, last, removed) + run(cds_, first << 20, (last << 20) | 0xfffff, removed);
  }

  map_type stes_;
  map_type cds_;
};

}  // namespace model
SHOOTDOWN_END
