// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <cstdint>

#include <shootdown/arch/types.hpp>
#include <shootdown/env/environment.hpp>
#include <shootdown/model/memory.hpp>
#include <shootdown/model/stage_geometry.hpp>
#include <shootdown/model/translation.hpp>
#include <shootdown/model/walk_setup.hpp>

SHOOTDOWN_BEGIN
namespace model {

/// Finds the STE of a stream and the CD of a substream: from the configuration cache, or through linear or two-level tables in
/// memory, of which every piece read is cached, valid or not. IHI 0070 3.3, 5.1 to 5.4, 7.3.
///
/// Context: the device's lock. The entry returned lives until the next call or invalidation.
/// Ordering: each word of an entry is read once, the one with the valid bit first: torn updates show as hardware would show
/// them. CDs and their level-1 descriptors are read where `resolve` says: with stage 2 their addresses are intermediate ones.
template <environment Env>
class config_reader {
 public:
  config_reader(memory<Env>& m, caches& c, walk_counters& counters) noexcept : memory_{m}, caches_{c}, counters_{counters} {}

  /// Null: `t` holds the fault.
  [[nodiscard]] const config_entry* ste(const walk_setup& s, stream_id sid, translation& t) {
    if (const config_entry* const hit = caches_.configs.ste(sid)) return hit;
    const unsigned log2size = s.strtab_cfg & 0x3f;
    const std::uint64_t n = raw(sid);
    const std::uint64_t base = s.strtab_base & low_bits(52) & ~std::uint64_t{63};
    if ((n >> s.stream_bits) != 0 || (log2size < 32 && (n >> log2size) != 0)) return bad_stream(s, t);
    std::uint64_t at = base + n * 64;
    if (s.two_level_streams && (s.strtab_cfg >> 16 & 3) == 1) {
      const unsigned asked = s.strtab_cfg >> 6 & 0x1f;
      const unsigned split = asked == 8 || asked == 10 ? asked : 6;  // others are reserved and act as 6
      std::uint64_t l1 = 0;
      if (const std::uint64_t* const hit = caches_.configs.l1_ste(sid)) {
        l1 = *hit;
      } else {
        const std::uint64_t from = base + (n >> split) * 8;
        if (!read(from, l1)) return no_ste(t, from);
        caches_.configs.insert_l1_ste(sid, split, caches_.fresh(), l1);
      }
      const unsigned span = static_cast<unsigned>(l1 & 0x1f);
      if (span == 0 || span > split + 1) return bad_stream(s, t);
      const std::uint64_t within = n & low_bits(split);
      if ((within >> (span - 1)) != 0) return bad_stream(s, t);
      at = (l1 & low_bits(52) & ~low_bits(6 + span - 1)) + within * 64;
    }
    config_entry e{};
    if (!fetch(at, e.w)) return no_ste(t, at);
    e.id = caches_.fresh();
    caches_.configs.insert_ste(sid, e);
    return caches_.configs.ste(sid);
  }

  /// Where the CDs of a stream are: S1ContextPtr, S1Fmt (0 linear, 1 and 2 two-level).
  struct cd_table {
    std::uint64_t base;
    unsigned format;
  };
  /// Null: `t` holds the fault. resolve(address, bus&) -> bool makes a bus address; it has set the fault if it fails.
  template <class Resolve>
  [[nodiscard]] const config_entry* cd(stream_id sid, substream_id ssid, const cd_table& table, translation& t, Resolve&& resolve) {
    if (const config_entry* const hit = caches_.configs.cd(sid, ssid)) return hit;
    std::uint64_t at = table.base + std::uint64_t{raw(ssid)} * 64;
    if (table.format != 0) {
      const unsigned split = table.format == 1 ? 6 : 10;
      std::uint64_t l1 = 0;
      if (const std::uint64_t* const hit = caches_.configs.l1_cd(sid, ssid)) {
        l1 = *hit;
      } else {
        std::uint64_t from = table.base + (std::uint64_t{raw(ssid)} >> split) * 8;
        if (!resolve(from, from)) return nullptr;
        if (!read(from, l1)) return no_cd(t, from);
        caches_.configs.insert_l1_cd(sid, ssid, split, caches_.fresh(), l1);
      }
      if ((l1 & 1) == 0) {
        (void)t.fault(event_id::c_bad_substreamid, event_class::input, true);
        return nullptr;
      }
      at = (l1 & low_bits(52) & ~low_bits(12)) + (raw(ssid) & low_bits(split)) * 64;
    }
    if (!resolve(at, at)) return nullptr;
    config_entry e{};
    if (!fetch(at, e.w)) return no_cd(t, at);
    e.id = caches_.fresh();
    caches_.configs.insert_cd(sid, ssid, e);
    return caches_.configs.cd(sid, ssid);
  }

 private:
  bool read(std::uint64_t at, std::uint64_t& w) {
    const result<std::uint64_t> r = memory_.load64(bus_addr{at});
    if (r.ok()) w = *r;
    return r.ok();
  }
  bool fetch(std::uint64_t at, std::array<std::uint64_t, 8>& w) {
    ++counters_.config_fetches;
    for (unsigned i = 0; i != 8; ++i)
      if (!read(at + i * 8u, w[i])) return false;
    return true;
  }
  static const config_entry* bad_stream(const walk_setup& s, translation& t) {
    (void)t.fault(event_id::c_bad_streamid, event_class::input, s.record_bad_streamid);
    return nullptr;
  }
  static const config_entry* no_ste(translation& t, std::uint64_t at) {
    (void)t.fault(event_id::f_ste_fetch, event_class::input, true, at);
    return nullptr;
  }
  static const config_entry* no_cd(translation& t, std::uint64_t at) {
    (void)t.fault(event_id::f_cd_fetch, event_class::cd, true, at);
    return nullptr;
  }

  memory<Env>& memory_;
  caches& caches_;
  walk_counters& counters_;
};

}  // namespace model
SHOOTDOWN_END
