// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <cstdint>

#include <shootdown/arch/field.hpp>
#include <shootdown/arch/types.hpp>
#include <shootdown/env/environment.hpp>
#include <shootdown/env/time.hpp>
#include <shootdown/model/config_cache.hpp>
#include <shootdown/model/memory.hpp>
#include <shootdown/model/oracle.hpp>
#include <shootdown/model/tlb.hpp>
#include <shootdown/model/translation.hpp>
#include <shootdown/model/walk_cache.hpp>

SHOOTDOWN_BEGIN
namespace model {

/// The registers a translation depends on, and what the instance can do.
struct walk_setup {
  std::uint64_t strtab_base{};  ///< STRTAB_BASE
  std::uint32_t strtab_cfg{};   ///< STRTAB_BASE_CFG; linear tables only (IDR0.ST_LEVEL = 0)
  bool stage1{true};
  bool stage2{};  ///< S2VMID tags stage-1 entries
  bool hyp{};
  bool e2h{};                  ///< CR2.E2H
  bool record_bad_streamid{};  ///< CR2.RECINVSID
  std::uint8_t stream_bits{8};
  std::uint8_t substream_bits{};
  std::uint8_t output_bits{48};   ///< OAS
  std::uint8_t granules{0b0010};  ///< bit g: granule g is implemented
  bool fence_after_ste{};         ///< attach ordering variant ii: a full fence between the STE read and the walk
};

/// The caches of one SMMU.
struct caches {
  explicit caches(node_pool& pool) : leaves{pool}, tables{pool}, configs{pool} {}
  tlb leaves;
  walk_cache tables;
  config_cache configs;
  std::uint64_t next_id{1};
  [[nodiscard]] entry_id fresh() noexcept { return entry_id{next_id++}; }
};

struct walk_counters {
  std::uint64_t walks{};  ///< translations that missed the TLB
  std::uint64_t tlb_hits{};
  std::uint64_t descriptor_reads{};
  std::uint64_t config_fetches{};
};

/// Translates: STE -> CD -> stage-1 walk, each step from the caches if they have it. IHI 0070 3.3, 5.2, 5.4; VMSAv8-64.
///
/// Purpose: what hardware does with memory that the library writes, decoded independently of the library's own types. All
///   three granules, any T0SZ of 16..39, TTB0 and TTB1, blocks where the granule has them, AF and AP checks.
/// Formats that the instance does not announce give C_BAD_STE or C_BAD_CD, as hardware does (stage 2 is never announced).
/// Ordering: every word is read with acquire (memory S1). There is no fence between the STE read and the walk: the attach
///   side must supply the ordering (variant i); fence_after_ste is variant ii.
/// Context: the device's lock. Cost: a TLB hit three searches, a walk one read a level below the deepest cached pointer.
template <environment Env>
class walker {
 public:
  walker(memory<Env>& m, oracle<Env>& o, caches& c) noexcept : memory_{m}, oracle_{o}, caches_{c} {}

  [[nodiscard]] translation translate(const walk_setup& s, stream_id sid, iova x, const request& a, instant now) {
    translation t{};
    const config_entry* const e = fetch_ste(s, sid, t);
    if (e == nullptr) return t;
    const std::uint64_t w0 = e->w[0];
    if ((w0 & 1) == 0) return fault(t, event_id::c_bad_ste, event_class::input, true);
    t.rests_on(e->id);
    switch (w0 >> 1 & 7) {
      case 0: t.what = outcome::aborted; return t;
      case 4: return bypass(s, t, x);
      case 5: break;
      default: return fault(t, event_id::c_bad_ste, event_class::input, true);
    }
    if (!s.stage1) return fault(t, event_id::c_bad_ste, event_class::input, true);
    const std::uint64_t w1 = e->w[1];
    const unsigned cd_log2 = static_cast<unsigned>(w0 >> 59);
    const unsigned world = static_cast<unsigned>(w1 >> 30 & 3);
    if (cd_log2 > s.substream_bits || (cd_log2 != 0 && (w0 >> 4 & 3) != 0)) return fault(t, event_id::c_bad_ste, event_class::input, true);
    if (world != 0 && !(world == 2 && s.hyp)) return fault(t, event_id::c_bad_ste, event_class::input, true);
    substream_id ssid{0};
    if (a.has_ssid) {
      if (cd_log2 == 0 || (raw(a.ssid) >> cd_log2) != 0) return fault(t, event_id::c_bad_substreamid, event_class::input, true);
      ssid = a.ssid;
      if (raw(ssid) == 0 && (w1 & 3) == 2) return fault(t, event_id::f_stream_disabled, event_class::input, true);
    } else if (cd_log2 != 0) {
      switch (w1 & 3) {
        case 0: return fault(t, event_id::f_stream_disabled, event_class::input, true);
        case 1: return bypass(s, t, x);
        case 2: break;
        default: return fault(t, event_id::c_bad_ste, event_class::input, true);
      }
    }
    entry_tag tag{};
    tag.where = world == 0 ? regime::el1 : s.e2h ? regime::el2_e2h : regime::el2;
    tag.vm = s.stage2 && world == 0 ? static_cast<std::uint16_t>(e->w[2]) : std::uint16_t{0};
    if (s.fence_after_ste) Env::full_fence();  // D1 variant ii: STE read before every later read of this walk
    const config_entry* const d = fetch_cd(sid, ssid, (w0 & address_mask(52)) & ~std::uint64_t{63}, t);
    if (d == nullptr) return t;
    return stage1(s, sid, x, a, now, tag, *d, t);
  }

  /// The stream's STE as the configuration cache has it, fetched if it is not there. Null: `t` says why. For checks that are
  /// made without a translation.
  [[nodiscard]] const config_entry* configuration(const walk_setup& s, stream_id sid, translation& t) { return fetch_ste(s, sid, t); }

  [[nodiscard]] const walk_counters& counters() const noexcept { return counters_; }

 private:
  static constexpr std::uint64_t address_mask(unsigned bits) noexcept { return (std::uint64_t{1} << bits) - 1; }

  static translation& fault(translation& t, event_id id, event_class c, bool recorded, std::uint64_t fetch = 0) noexcept {
    t.what = outcome::faulted;
    t.event = id;
    t.cls = c;
    t.recorded = recorded;
    t.fetch = fetch;
    return t;
  }
  static translation& bypass(const walk_setup& s, translation& t, iova x) noexcept {
    if ((raw(x) >> s.output_bits) != 0) return fault(t, event_id::f_addr_size, event_class::input, true);
    t.what = outcome::granted;
    t.bypass = true;
    t.output = raw(x);
    return t;
  }

  // Eight words, each read once, the one with the valid bit first: torn updates show as hardware would show them.
  bool fetch64(std::uint64_t at, std::array<std::uint64_t, 8>& w) {
    ++counters_.config_fetches;
    for (unsigned i = 0; i != 8; ++i) {
      const result<std::uint64_t> r = memory_.load64(bus_addr{at + i * 8u});
      if (!r.ok()) return false;
      w[i] = *r;
    }
    return true;
  }
  const config_entry* fetch_ste(const walk_setup& s, stream_id sid, translation& t) {
    if (const config_entry* const hit = caches_.configs.ste(sid)) return hit;
    const unsigned log2size = s.strtab_cfg & 0x3f;
    const std::uint64_t n = raw(sid);
    if ((n >> s.stream_bits) != 0 || (log2size < 32 && (n >> log2size) != 0)) {
      fault(t, event_id::c_bad_streamid, event_class::input, s.record_bad_streamid);
      return nullptr;
    }
    const std::uint64_t at = (s.strtab_base & address_mask(52) & ~std::uint64_t{63}) + n * 64;
    config_entry e{};
    if (!fetch64(at, e.w)) {
      fault(t, event_id::f_ste_fetch, event_class::input, true, at);
      return nullptr;
    }
    e.id = caches_.fresh();
    caches_.configs.insert_ste(sid, e);
    return caches_.configs.ste(sid);
  }
  const config_entry* fetch_cd(stream_id sid, substream_id ssid, std::uint64_t table, translation& t) {
    const config_entry* hit = caches_.configs.cd(sid, ssid);
    if (hit == nullptr) {
      const std::uint64_t at = table + std::uint64_t{raw(ssid)} * 64;
      config_entry e{};
      if (!fetch64(at, e.w)) {
        fault(t, event_id::f_cd_fetch, event_class::cd, true, at);
        return nullptr;
      }
      e.id = caches_.fresh();
      caches_.configs.insert_cd(sid, ssid, e);
      hit = caches_.configs.cd(sid, ssid);
    }
    return hit;
  }

  struct half {  // one of TTB0, TTB1
    unsigned input_bits;
    granule g;
    std::uint64_t table;
    bool known;
    bool disabled;
  };
  static half lower(const std::array<std::uint64_t, 8>& w) noexcept {
    constexpr granule tg[4]{granule::k4, granule::k64, granule::k16, granule{0}};
    return {64u - static_cast<unsigned>(w[0] & 0x3f), tg[w[0] >> 6 & 3], w[1] & address_mask(52) & ~std::uint64_t{15}, (w[0] >> 6 & 3) != 3,
            (w[0] >> 14 & 1) != 0};
  }
  static half upper(const std::array<std::uint64_t, 8>& w) noexcept {
    constexpr granule tg[4]{granule{0}, granule::k16, granule::k4, granule::k64};
    return {64u - static_cast<unsigned>(w[0] >> 16 & 0x3f), tg[w[0] >> 22 & 3], w[2] & address_mask(52) & ~std::uint64_t{15},
            (w[0] >> 22 & 3) != 0, (w[0] >> 30 & 1) != 0};
  }

  translation& stage1(const walk_setup& s, stream_id sid, iova x, const request& a, instant now, entry_tag tag, const config_entry& d,
                      translation& t) {
    constexpr unsigned widths[8]{32, 36, 40, 42, 44, 48, 52, 56};
    const std::uint64_t w0 = d.w[0];
    const bool aa64 = (w0 >> 41 & 1) != 0;
    if ((w0 >> 31 & 1) == 0 || !aa64) return fault(t, event_id::c_bad_cd, event_class::cd, true);
    t.rests_on(d.id);
    const unsigned ips = widths[w0 >> 32 & 7];
    const unsigned output_bits = ips < s.output_bits ? ips : s.output_bits;
    const bool record = (w0 >> 45 & 1) != 0;  // R
    for (const half& h : {lower(d.w), upper(d.w)}) {
      if (h.disabled) continue;
      if (!h.known || (s.granules >> raw(h.g) & 1u) == 0 || h.input_bits < 25 || h.input_bits > 48 || (h.table >> output_bits) != 0)
        return fault(t, event_id::c_bad_cd, event_class::cd, true);
    }
    std::uint64_t in = raw(x);
    const bool top_byte_ignored = (w0 >> 38 & 1) != 0;
    if (top_byte_ignored) in = (in << 8 >> 8) | ((in >> 55 & 1) != 0 ? std::uint64_t{0xff} << 56 : 0);
    const bool high = (in >> 63) != 0;
    const half h = high ? upper(d.w) : lower(d.w);
    if (h.disabled || (high ? ~in : in) >> h.input_bits != 0) return fault(t, event_id::f_translation, event_class::input, record);
    if (tag.where != regime::el2) tag.as = static_cast<std::uint16_t>(w0 >> 48);

    tlb_entry leaf{};
    if (const tlb_entry* const hit = caches_.leaves.find(tag, h.g, in)) {
      ++counters_.tlb_hits;
      t.from_tlb = true;
      leaf = *hit;
    } else if (!walk(sid, x, now, tag, h, in, output_bits, record, leaf, t)) {
      return t;
    }
    t.level = leaf.level;
    t.rests_on(leaf.id);
    if ((a.write && !leaf.writable) || (!a.privileged && !leaf.unprivileged))
      return fault(t, event_id::f_permission, event_class::input, record);
    t.what = outcome::granted;
    t.output = leaf.output | (in & address_mask(level_shift(leaf.g, leaf.level)));
    t.extent = static_cast<std::uint8_t>(level_shift(leaf.g, leaf.level));
    return t;
  }

  // From the deepest cached pointer down to a leaf, which is cached and returned in `leaf`. False: t holds the fault.
  bool walk(stream_id sid, iova x, instant now, const entry_tag& tag, const half& h, std::uint64_t in, unsigned output_bits, bool record,
            tlb_entry& leaf, translation& t) {
    ++counters_.walks;
    t.walked = true;
    const unsigned stride = granule_shift(h.g) - 3;
    const unsigned top = 4 - (h.input_bits - 4) / stride;
    table_pointer from{entry_id::none, h.table, 0, h.g, false, false};
    unsigned level = top;
    if (const table_pointer* const p = caches_.tables.deepest(tag, h.g, top, in)) {
      from = *p;
      level = p->level + 1u;
      t.rests_on(p->id);
    }
    for (;; ++level) {
      const unsigned shift = level_shift(h.g, level);
      const unsigned bits = level == top ? h.input_bits - shift : stride;
      const std::uint64_t at = from.table + ((in >> shift & address_mask(bits)) * 8);
      ++counters_.descriptor_reads;
      t.level = static_cast<std::uint8_t>(level);
      (void)oracle_.descriptor_read(sid, x, bus_addr{at}, now);  // a leak is counted; the walk goes on with what it finds
      const result<std::uint64_t> r = memory_.load64(bus_addr{at});
      if (!r.ok()) {
        fault(t, event_id::f_walk_eabt, event_class::table_descriptor, true, at);
        return false;
      }
      const std::uint64_t w = *r;
      const bool last = level == 3;
      const bool block_here = level >= (h.g == granule::k4 ? 1u : 2u);
      if ((w & 1) == 0 || ((w & 2) == 0 && (last || !block_here))) {
        fault(t, event_id::f_translation, event_class::input, record);
        return false;
      }
      const bool is_table = (w & 2) != 0 && !last;
      const std::uint64_t out = w & address_mask(48) & ~address_mask(is_table ? granule_shift(h.g) : shift);
      if ((out >> output_bits) != 0) {
        fault(t, event_id::f_addr_size, event_class::input, record);
        return false;
      }
      if (is_table) {
        from = {caches_.fresh(),
                out,
                static_cast<std::uint8_t>(level),
                h.g,
                from.read_only || (w >> 62 & 1) != 0,
                from.privileged || (w >> 61 & 1) != 0};
        caches_.tables.insert(tag, in, from);
        t.rests_on(from.id);
        continue;
      }
      if ((w >> 10 & 1) == 0) {
        fault(t, event_id::f_access, event_class::input, record);
        return false;
      }
      leaf = {caches_.fresh(),
              out,
              static_cast<std::uint8_t>(level),
              h.g,
              (w >> 7 & 1) == 0 && !from.read_only,
              (w >> 6 & 1) != 0 && !from.privileged};
      entry_tag leaf_tag = tag;
      leaf_tag.global = (w >> 11 & 1) == 0 && tag.where != regime::el2;
      caches_.leaves.insert(leaf_tag, in, leaf);
      return true;
    }
  }

  memory<Env>& memory_;
  oracle<Env>& oracle_;
  caches& caches_;
  walk_counters counters_{};
};

}  // namespace model
SHOOTDOWN_END
