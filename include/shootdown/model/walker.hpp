// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include <shootdown/arch/types.hpp>
#include <shootdown/env/environment.hpp>
#include <shootdown/env/time.hpp>
#include <shootdown/model/config_reader.hpp>
#include <shootdown/model/memory.hpp>
#include <shootdown/model/oracle.hpp>
#include <shootdown/model/stage_geometry.hpp>
#include <shootdown/model/translation.hpp>
#include <shootdown/model/walk_setup.hpp>

SHOOTDOWN_BEGIN
namespace model {

/// Translates: STE -> CD -> stage-1 walk -> stage-2 walk, each step from the caches if they have it. IHI 0070 3.3, 3.4, 5.2, 5.4;
/// VMSAv8-64.
///
/// Purpose: what hardware does with memory that the library writes, decoded independently of the library's own types. Stage 1,
///   stage 2 and both; all three granules at each stage, 25 to 48 bits of input, TTB0 and TTB1, concatenated start tables,
///   blocks where the granule has them, contiguous runs, tables of either endianness, AF, AP and S2AP checks.
/// With both stages every address that stage 1 reads from (CD, level-1 CD descriptor, tables) goes through stage 2. Results are
///   cached apart: intermediate addresses under the VMID, and combined with stage 1 under (VMID, ASID), leaves and pointers.
/// Formats that the instance does not announce give C_BAD_STE or C_BAD_CD, as hardware does.
/// Not modelled: 52-bit addresses, 128-bit and AArch32 descriptors, hardware update of flags, execute permissions.
/// Ordering: every word is read with acquire (memory D1). There is no fence between the STE read and the walk: the attach
///   side must supply the ordering (variant i); fence_after_ste is variant ii.
/// Context: the device's lock. Cost: a TLB hit three searches, a walk one read a level below the deepest cached pointer; with
///   both stages each of these reads is itself translated.
template <environment Env>
class walker {
 public:
  walker(memory<Env>& m, oracle<Env>& o, caches& c) noexcept : memory_{m}, oracle_{o}, caches_{c}, configs_{m, c, counters_} {}
  walker(const walker&) = delete;
  walker& operator=(const walker&) = delete;

  [[nodiscard]] translation translate(const walk_setup& s, stream_id sid, iova x, const request& a, instant now) {
    translation t{};
    job j{s, sid, x, a, now, t};
    (void)run(j);
    return t;
  }

  /// The stream's STE as the configuration cache has it, fetched if it is not there. Null: `t` says why. For checks that are
  /// made without a translation.
  [[nodiscard]] const config_entry* configuration(const walk_setup& s, stream_id sid, translation& t) { return configs_.ste(s, sid, t); }

  [[nodiscard]] const walk_counters& counters() const noexcept { return counters_; }

 private:
  struct job {
    const walk_setup& s;
    stream_id sid;
    iova x;
    const request& a;
    instant now;
    translation& t;
    stage2_config second{};
    bool has_second{};
    bool alone{};  ///< stage 2 without stage 1: its entries are what the transaction rests on
  };
  // Every step below returns false when the translation has ended: in a fault, or in a grant that needs no further step.

  static bool end_in(job& j, event_id id) noexcept { return j.t.fault(id, event_class::input, true); }
  static bool bypass(job& j) noexcept {
    if ((raw(j.x) >> j.s.output_bits) != 0) return end_in(j, event_id::f_addr_size);
    j.t.what = outcome::granted;
    j.t.bypass = j.t.readable = j.t.writable = true;
    j.t.output = raw(j.x);
    return false;
  }

  bool run(job& j) {
    const walk_setup& s = j.s;
    const config_entry* const e = configs_.ste(s, j.sid, j.t);
    if (e == nullptr) return false;
    const std::uint64_t w0 = e->w[0];
    const std::uint64_t w1 = e->w[1];
    if ((w0 & 1) == 0) return end_in(j, event_id::c_bad_ste);
    j.t.rests_on(e->id);
    if ((w0 >> 3 & 1) == 0) {  // Config 0; 1 to 3 are reserved and act as 0
      j.t.what = outcome::aborted;
      return false;
    }
    const bool first = (w0 >> 1 & 1) != 0;
    j.has_second = (w0 >> 2 & 1) != 0;
    if ((first && !s.stage1) || (j.has_second && !s.stage2)) return end_in(j, event_id::c_bad_ste);
    // Stage 2 makes any stream an NS-EL1 one.
    const unsigned world = first && !j.has_second ? static_cast<unsigned>(w1 >> 30 & 3) : 0;
    if (world != 0 && !(world == 2 && s.hyp)) return end_in(j, event_id::c_bad_ste);
    const bool tagged = s.stage2 && world == 0 && (first || j.has_second);
    const std::uint16_t vm = tagged ? static_cast<std::uint16_t>(e->w[2]) : std::uint16_t{0};
    if ((vm >> s.vmid_bits) != 0) return end_in(j, event_id::c_bad_ste);
    if (j.has_second) {
      j.second = decode_stage2(s, e->w);
      if (!j.second.legal) return end_in(j, event_id::c_bad_ste);
    }
    if (!first) return j.a.has_ssid ? end_in(j, event_id::c_bad_substreamid) : without_stage1(j);

    const unsigned cd_log2 = s.substream_bits == 0 ? 0 : static_cast<unsigned>(w0 >> 59);
    unsigned format = cd_log2 == 0 ? 0 : static_cast<unsigned>(w0 >> 4 & 3);
    if (format == 3) format = 0;  // reserved, acts as linear
    const std::uint64_t contexts = w0 & low_bits(52) & ~std::uint64_t{63};
    if (cd_log2 > s.substream_bits || (format != 0 && !s.two_level_contexts)) return end_in(j, event_id::c_bad_ste);
    if (!j.has_second && (contexts >> s.output_bits) != 0) return end_in(j, event_id::c_bad_ste);
    substream_id ssid{0};
    const unsigned without = static_cast<unsigned>(w1 & 3);  // S1DSS
    if (j.a.has_ssid) {
      if (cd_log2 == 0 || (raw(j.a.ssid) >> cd_log2) != 0) return end_in(j, event_id::c_bad_substreamid);
      ssid = j.a.ssid;
      if (raw(ssid) == 0 && without == 2) return end_in(j, event_id::f_stream_disabled);
    } else if (cd_log2 != 0 && without != 2) {
      return without == 1 ? without_stage1(j) : end_in(j, event_id::f_stream_disabled);
    }

    entry_tag tag{};
    tag.where = world == 0 ? regime::el1 : s.e2h ? regime::el2_e2h : regime::el2;
    tag.vm = vm;
    if (s.fence_after_ste) Env::full_fence();  // D1 variant ii: STE read before every later read of this walk
    const config_entry* const d = configs_.cd(j.sid, ssid, {contexts, format}, j.t, [this, &j](std::uint64_t at, std::uint64_t& bus) {
      bus = at;
      return !j.has_second || through_stage2(j, at, event_class::cd, bus);
    });
    return d != nullptr && stage1(j, tag, *d);
  }

  bool without_stage1(job& j) {
    if (!j.has_second) return bypass(j);
    const std::uint64_t in = raw(j.x);
    if ((in >> j.s.output_bits) != 0) return end_in(j, event_id::f_addr_size);  // beyond IAS: a fault of the skipped stage
    j.alone = true;
    tlb_entry leaf{};
    return stage2(j, in, event_class::input, j.a.write, leaf) && grant(j, leaf, in);
  }

  bool stage1(job& j, entry_tag tag, const config_entry& d) {
    const std::uint64_t w0 = d.w[0];
    const bool big = (w0 >> 15 & 1) != 0;
    const stage1_half low = decode_half(j.s, d.w, false);
    const stage1_half high = decode_half(j.s, d.w, true);
    const bool halves = tag.where != regime::el2;  // EL2 without E2H has one table, no ASIDs and no global entries
    const bool legal = (w0 >> 31 & 1) != 0 && (w0 >> 41 & 1) != 0 && (j.s.endians >> (big ? 1 : 0) & 1u) != 0 &&
                       (w0 >> 48 >> j.s.asid_bits) == 0 && low.legal && (high.legal || !halves);
    if (!legal) return j.t.fault(event_id::c_bad_cd, event_class::cd, true);
    j.t.rests_on(d.id);
    const bool record = (w0 >> 45 & 1) != 0;  // R
    std::uint64_t in = raw(j.x);
    const bool upper = (in >> 55 & 1) != 0;
    if ((w0 >> (upper ? 39 : 38) & 1) != 0) in = (in & low_bits(56)) | (upper ? ~low_bits(56) : 0);  // the top byte is ignored
    const stage1_half& h = upper ? high : low;
    if (h.disabled || (upper && !halves) || (upper ? ~in : in) >> h.map.input_bits != 0)
      return j.t.fault(event_id::f_translation, event_class::input, record);
    if (halves) tag.as = static_cast<std::uint16_t>(w0 >> 48);

    if (const tlb_entry* const hit = caches_.leaves.find(tag, h.map.g, in)) {
      ++counters_.tlb_hits;
      j.t.from_tlb = true;
      return answer(j, *hit, in, record);
    }
    tlb_entry leaf{};
    ++counters_.walks;
    j.t.walked = true;
    bool global = false;
    if (!descend(j, {h.map, tag, false, event_class::input, record, in}, in, leaf, global)) return false;
    tag.global = global && halves;
    if (j.has_second && (!permitted(j, leaf, record) || !combine(j, in, leaf))) return false;
    leaf.id = caches_.fresh();
    caches_.leaves.insert(tag, in, leaf);
    return answer(j, leaf, in, record);
  }
  /// What an entry of the first stage, or of both, says to the request.
  static bool answer(job& j, const tlb_entry& leaf, std::uint64_t in, bool record) noexcept {
    if (!permitted(j, leaf, record)) return false;
    if (j.a.write ? !leaf.stage2_write : !leaf.stage2_read)
      return j.t.fault_of_stage2(event_id::f_permission, event_class::input, j.second.record, leaf.ipa | (in & low_bits(leaf.shift())));
    return grant(j, leaf, in);
  }

  static bool permitted(job& j, const tlb_entry& leaf, bool record) noexcept {
    j.t.level = leaf.level;
    if ((!j.a.write || leaf.writable) && (j.a.privileged || leaf.unprivileged)) return true;
    return j.t.fault(event_id::f_permission, event_class::input, record);
  }
  static bool grant(job& j, const tlb_entry& leaf, std::uint64_t in) noexcept {
    j.t.rests_on(leaf.id);
    j.t.what = outcome::granted;
    j.t.level = leaf.level;
    j.t.extent = static_cast<std::uint8_t>(leaf.shift());
    j.t.readable = leaf.stage2_read;
    j.t.writable = leaf.writable && leaf.stage2_write;
    j.t.output = leaf.output | (in & low_bits(leaf.shift()));
    return true;
  }

  // A stage-1 leaf and what stage 2 makes of the page it leads to become one entry: the size of the smaller, the extent of
  // stage 1.
  bool combine(job& j, std::uint64_t in, tlb_entry& leaf) {
    const std::uint64_t ipa = leaf.output | (in & low_bits(leaf.shift()));
    tlb_entry to{};
    if (!stage2(j, ipa, event_class::input, j.a.write, to)) return false;
    const unsigned shift = leaf.shift() < to.shift() ? leaf.shift() : to.shift();
    leaf.output = (to.output | (ipa & low_bits(to.shift()))) & ~low_bits(shift);
    leaf.ipa = ipa & ~low_bits(shift);
    leaf.part = static_cast<std::uint8_t>(shift == leaf.shift() ? leaf.part : shift);
    leaf.stage2_read = to.stage2_read;
    leaf.stage2_write = to.stage2_write;
    return true;
  }

  /// Stage 2 of one intermediate address, from the TLB or by a walk; the entry is cached under the VMID alone.
  bool stage2(job& j, std::uint64_t in, event_class why, bool write, tlb_entry& leaf) {
    const stage2_config& c = j.second;
    if ((in >> c.map.input_bits) != 0) return j.t.fault_of_stage2(event_id::f_translation, why, c.record, in);
    const entry_tag tag{regime::stage2, c.vm, 0, false};
    if (const tlb_entry* const hit = caches_.leaves.find(tag, c.map.g, in)) {
      ++counters_.stage2_hits;
      counters_.tlb_hits += j.alone;
      j.t.from_tlb = j.alone;
      leaf = *hit;
    } else {
      ++counters_.stage2_walks;
      counters_.walks += j.alone;
      j.t.walked = true;
      bool global = false;
      if (!descend(j, {c.map, tag, true, why, c.record, in}, in, leaf, global)) return false;
      leaf.id = caches_.fresh();
      caches_.leaves.insert(tag, in, leaf);
    }
    const bool exposed = why != event_class::input && c.protect_walk && leaf.device;
    if (exposed || (write ? !leaf.stage2_write : !leaf.stage2_read)) return j.t.fault_of_stage2(event_id::f_permission, why, c.record, in);
    return true;
  }
  bool through_stage2(job& j, std::uint64_t at, event_class why, std::uint64_t& bus) {
    tlb_entry to{};
    if (!stage2(j, at, why, false, to)) return false;
    bus = to.output | (at & low_bits(to.shift()));
    return true;
  }

  /// One stage of one walk.
  struct stage {
    const stage_geometry& map;
    entry_tag tag;
    bool second;
    event_class why;  ///< of stage 2: what its result is wanted for
    bool record;
    std::uint64_t ipa;
  };
  static bool fail(job& j, const stage& st, event_id id) noexcept {
    return st.second ? j.t.fault_of_stage2(id, st.why, st.record, st.ipa) : j.t.fault(id, event_class::input, st.record);
  }

  // From the deepest cached pointer down to a leaf.
  bool descend(job& j, const stage& st, std::uint64_t in, tlb_entry& leaf, bool& global) {
    const stage_geometry& m = st.map;
    const bool nested = j.has_second && !st.second;
    // What the transaction rests on are the pointers of the stage whose leaf it uses; stage 2 below stage 1 is in the combined leaf.
    const bool rest = !st.second || j.alone;
    table_pointer from{entry_id::none, m.table, 0, m.g, false, false, nested};
    unsigned level = m.top;
    if (const table_pointer* const p = caches_.tables.deepest(st.tag, m.g, m.top, in)) {
      from = *p;
      level = p->level + 1u;
      if (rest) j.t.rests_on(p->id);
    }
    for (bool fresh = false;; ++level) {
      std::uint64_t at = m.slot(from.table, level, in);
      if (from.intermediate) {
        const std::uint64_t offset = at - from.table;
        tlb_entry to{};
        if (!stage2(j, at, event_class::table_descriptor, false, to)) {
          if (fresh) caches_.tables.insert(st.tag, in, from);
          return false;
        }
        at = to.output | (at & low_bits(to.shift()));
        if (fresh && to.shift() >= granule_shift(m.g)) {  // the whole table is there: kept as a combined pointer
          from.table = at - offset;
          from.intermediate = false;
        }
      }
      if (fresh) caches_.tables.insert(st.tag, in, from);
      ++counters_.descriptor_reads;
      j.t.level = static_cast<std::uint8_t>(level);
      (void)oracle_.descriptor_read(j.sid, j.x, bus_addr{at}, j.now);  // a leak is counted; the walk goes on with what it finds
      const result<std::uint64_t> r = memory_.load64(bus_addr{at});
      if (!r.ok()) {
        j.t.stage2 = st.second;
        return j.t.fault(event_id::f_walk_eabt, st.second ? st.why : event_class::table_descriptor, true, at);
      }
      const std::uint64_t w = m.word(*r);
      const stage_geometry::kind what = m.classify(w, level);
      if (what == stage_geometry::kind::invalid) return fail(j, st, event_id::f_translation);
      const bool is_table = what == stage_geometry::kind::table;
      const unsigned shift = level_shift(m.g, level);
      const std::uint64_t out = w & low_bits(48) & ~low_bits(is_table ? granule_shift(m.g) : shift);
      if ((out >> m.output_bits) != 0) return fail(j, st, event_id::f_addr_size);
      if (!is_table) {
        if ((w >> 10 & 1) == 0 && !m.flag_ignored) return fail(j, st, event_id::f_access);
        leaf = make_leaf(j, st, w, out, level, from);
        global = !st.second && (w >> 11 & 1) == 0;
        return true;
      }
      from.id = caches_.fresh();
      from.table = out;
      from.level = static_cast<std::uint8_t>(level);
      from.read_only = !st.second && (from.read_only || (w >> 62 & 1) != 0);
      from.privileged = !st.second && (from.privileged || (w >> 61 & 1) != 0);
      from.intermediate = nested;
      if (rest) j.t.rests_on(from.id);
      fresh = true;
    }
  }
  static tlb_entry make_leaf(const job& j, const stage& st, std::uint64_t w, std::uint64_t out, unsigned level,
                             const table_pointer& from) noexcept {
    tlb_entry leaf{};
    leaf.level = static_cast<std::uint8_t>(level);
    leaf.g = st.map.g;
    leaf.run = j.s.contiguous_runs && (w >> 52 & 1) != 0 && run_shift(leaf.g, level) <= st.map.input_bits;
    leaf.output = out & ~low_bits(leaf.shift());
    leaf.writable = st.second || ((w >> 7 & 1) == 0 && !from.read_only);
    leaf.unprivileged = st.second || ((w >> 6 & 1) != 0 && !from.privileged);
    if (st.second) {
      leaf.stage2_read = (w >> 6 & 1) != 0;
      leaf.stage2_write = (w >> 7 & 1) != 0;
      leaf.device = (w >> 4 & 3) == 0;  // MemAttr[3:2]
    }
    return leaf;
  }

  memory<Env>& memory_;
  oracle<Env>& oracle_;
  caches& caches_;
  walk_counters counters_{};
  config_reader<Env> configs_;
};

}  // namespace model
SHOOTDOWN_END
