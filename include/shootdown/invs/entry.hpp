// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>  // std::memory_order only
#include <compare>
#include <cstdint>

#include <shootdown/arch/cmd_device.hpp>
#include <shootdown/arch/cmd_tlbi.hpp>
#include <shootdown/arch/command.hpp>
#include <shootdown/arch/types.hpp>
#include <shootdown/env/environment.hpp>
#include <shootdown/port/command_port.hpp>
#include <shootdown/port/tag.hpp>
#include <shootdown/status.hpp>

SHOOTDOWN_BEGIN

/// What kind of cached thing an entry names. The order is the order of issue inside one instance: TLB entries first; the
/// stage-1 clear of a nesting parent after its stage-2 entries are gone (it could be refilled from them); device caches
/// last (they refill from the TLB). s2_vmid_vsmmu is a per-virtual-SMMU VMID: a TLB tag like s2_vmid.
enum class entry_type : std::uint8_t { s1_asid, s2_vmid, s2_vmid_vsmmu, s2_vmid_s1_clear, ats, ats_full };

/// The steps of one instance's list, each behind a CMD_SYNC of the one before.
enum class phase : std::uint8_t { tlb, s1_clear, atc };

[[nodiscard]] constexpr phase phase_of(entry_type t) noexcept {
  return t < entry_type::s2_vmid_s1_clear ? phase::tlb : t == entry_type::s2_vmid_s1_clear ? phase::s1_clear : phase::atc;
}

/// The sort key of an entry: instance number, type, id (ASID, VMID or StreamID), PASID. Never an address, so that two runs
/// of one program build the same arrays.
struct entry_key {
  std::uint16_t instance{};
  entry_type type{};
  std::uint32_t id{};
  std::uint32_t pasid{};
  friend constexpr auto operator<=>(const entry_key&, const entry_key&) noexcept = default;
};

/// The constant part of an entry: what to invalidate, where, and how the command begins. A plain value, copied freely.
///
/// The factories are the only validated way to make one. They refuse, with nothing built: a stage or ATS that the port's
/// features lack and a granule it does not support (unsupported), an id wider than the features allow (out_of_range), id 0
/// for a TLB tag, which is never handed out, and a translation unit beyond 4 KiB << 31 (invalid_argument).
/// Context: any. Cost: a few stores. commands.md 3.2, 3.3; invs-array.md 2.
template <command_port Port>
struct entry_spec {
  Port* port{};
  std::uint64_t tag_word{};  ///< dw0 of the sized command without its operand: opcode and tag
  instance_id instance{};    ///< port->instance(), kept here because the order of an array must not chase pointers
  entry_type type{};
  opcode whole{};             ///< opcode for "everything under this tag"
  bool range_invalidation{};  ///< IDR3.RIL of the instance
  bool wide_scale{};          ///< IDR5.DS of the instance
  granule page{granule::k4};  ///< TLB tags: granule of the domain's tables, its smallest page
  std::uint8_t stu{};         ///< device caches: smallest translation unit, 4 KiB << stu

  /// A stage-1 address space. E2H instances keep theirs in the EL2-E2H regime.
  [[nodiscard]] static constexpr result<entry_spec> stage1(Port& p, asid as, granule g) noexcept {
    const port_features& f = p.features();
    if (!f.stage1 || !f.supports(g)) return errc::unsupported;
    if (raw(as) == 0) return errc::invalid_argument;
    if (too_wide(raw(as), f.asid_bits)) return errc::out_of_range;
    return make(p, entry_type::s1_asid, f.e2h ? opcode::tlbi_el2_va : opcode::tlbi_nh_va,
                f.e2h ? opcode::tlbi_el2_asid : opcode::tlbi_nh_asid, cmd::asid_f::put(as), g, 0);
  }

  /// A stage-2 address space: s2_vmid, s2_vmid_vsmmu, or its helper s2_vmid_s1_clear (all stage-1 entries of the VMID).
  [[nodiscard]] static constexpr result<entry_spec> stage2(Port& p, entry_type t, vmid vm, granule g) noexcept {
    const port_features& f = p.features();
    const bool clear = t == entry_type::s2_vmid_s1_clear;
    if (!clear && t != entry_type::s2_vmid && t != entry_type::s2_vmid_vsmmu) return errc::invalid_argument;
    if (!f.stage2 || !f.supports(g) || (clear && !f.stage1)) return errc::unsupported;
    if (raw(vm) == 0) return errc::invalid_argument;
    if (too_wide(raw(vm), f.vmid_bits)) return errc::out_of_range;
    return make(p, t, clear ? opcode::tlbi_nh_all : opcode::tlbi_s2_ipa, clear ? opcode::tlbi_nh_all : opcode::tlbi_s12_vmall,
                cmd::vmid_f::put(vm), g, 0);
  }

  /// The cache of one device: `ats`, or `ats_full` for a nesting parent (an IPA range names no guest address, so all goes).
  /// PASID 0 means none: the request then has no PASID prefix and drops entries with and without PASID.
  [[nodiscard]] static constexpr result<entry_spec> device(Port& p, entry_type t, stream_id sid, substream_id pasid,
                                                           std::uint8_t stu) noexcept {
    const port_features& f = p.features();
    if (t != entry_type::ats && t != entry_type::ats_full) return errc::invalid_argument;
    if (!f.ats) return errc::unsupported;
    if (stu > 31) return errc::invalid_argument;
    if (too_wide(raw(sid), f.stream_bits) || too_wide(raw(pasid), f.substream_bits) || !cmd::ssid_f::fits(pasid)) {
      return errc::out_of_range;
    }
    return make(p, t, opcode::atc_inv, opcode::atc_inv, cmd::atc_inv::tag_word(sid, pasid, raw(pasid) != 0), granule::k4, stu);
  }

  [[nodiscard]] constexpr std::uint32_t id() const noexcept {
    if (type == entry_type::s1_asid) return raw(cmd::asid_f::get(tag_word));
    if (phase_of(type) == phase::atc) return raw(cmd::sid_f::get(tag_word));
    return raw(cmd::vmid_f::get(tag_word));
  }
  [[nodiscard]] constexpr substream_id pasid() const noexcept {
    return phase_of(type) == phase::atc ? cmd::ssid_f::get(tag_word) : substream_id{};
  }
  [[nodiscard]] constexpr entry_key key() const noexcept { return {raw(instance), type, id(), raw(pasid())}; }

  /// dw0 of the command that drops everything under this tag. ats_full sends no PASID: all of the device's entries go.
  [[nodiscard]] constexpr std::uint64_t whole_word() const noexcept {
    const std::uint64_t word = opcode_f::set(tag_word, whole);
    return type == entry_type::ats_full ? word & ~(cmd::ssid_f::mask | cmd::ssv_f::mask) : word;
  }

  /// The opcodes fit the type, and the copied instance number is the port's.
  [[nodiscard]] constexpr bool check_invariants() const noexcept {
    if (port == nullptr || port->instance() != instance) return false;
    const opcode sized = opcode_f::get(tag_word);
    switch (type) {
      case entry_type::s1_asid:
        return (sized == opcode::tlbi_nh_va && whole == opcode::tlbi_nh_asid) ||
               (sized == opcode::tlbi_el2_va && whole == opcode::tlbi_el2_asid);
      case entry_type::s2_vmid:
      case entry_type::s2_vmid_vsmmu: return sized == opcode::tlbi_s2_ipa && whole == opcode::tlbi_s12_vmall;
      case entry_type::s2_vmid_s1_clear: return sized == opcode::tlbi_nh_all && whole == opcode::tlbi_nh_all;
      case entry_type::ats:
      case entry_type::ats_full:
        return sized == opcode::atc_inv && whole == opcode::atc_inv && cmd::ssv_f::get(tag_word) == (raw(pasid()) != 0);
    }
    return false;
  }

 private:
  [[nodiscard]] static constexpr bool too_wide(std::uint32_t v, unsigned bits) noexcept { return bits < 32 && (v >> bits) != 0; }
  [[nodiscard]] static constexpr entry_spec make(Port& p, entry_type t, opcode sized, opcode all, std::uint64_t tag, granule g,
                                                 std::uint8_t unit) noexcept {
    entry_spec e;
    e.port = &p;
    e.tag_word = opcode_f::put(sized) | tag;
    e.instance = p.instance();
    e.type = t;
    e.whole = all;
    e.range_invalidation = p.features().range_invalidation;
    e.wide_scale = p.features().wide_scale;
    e.page = g;
    e.stu = unit;
    return e;
  }
};

/// The tag that a TLB entry stands for.
template <command_port Port>
[[nodiscard]] constexpr tag tag_of(const entry_spec<Port>& s) noexcept {
  return {s.type == entry_type::s1_asid ? tag_kind::asid : tag_kind::vmid, static_cast<std::uint16_t>(s.id())};
}

/// One thing that a domain's invalidation must reach: a TLB tag of one SMMU instance, or the cache of one device, with the
/// number of attachments that need it. Half a cache line; the walk of an unmap reads nothing else per target.
///
/// Contract: `spec` is constant once the array that holds the entry is published; `users` then only falls, and only under
/// the lock of the domain's control operations. 0 users is trash: readers skip it. In an array built for one master
/// ("right side", see entry_array) `users` carries the answer of unref instead.
/// Context: any. Progress: wait-free. invs-array.md 2.
///
/// Sites: S1, S2 are relaxed on both sides. A reader that misses a fall to 0 sends a harmless extra invalidation; one that
/// sees it skips a tag whose STE has been switched and whose flush the detaching side sends itself. Rises happen only in
/// arrays that nobody reads yet, and travel with the release store that publishes the array.
template <environment Env, command_port Port>
struct entry {
  entry_spec<Port> spec{};

  entry() noexcept { set_users(0); }
  explicit entry(const entry_spec<Port>& s) noexcept : spec{s} { set_users(0); }
  entry(const entry&) = delete;
  entry& operator=(const entry&) = delete;

  [[nodiscard]] std::uint32_t users() const noexcept {
    return users_.load(std::memory_order_relaxed);  // S1 relaxed: a stale count is harmless either way, see above
  }
  void set_users(std::uint32_t n) noexcept {
    users_.store(n, std::memory_order_relaxed);  // S2 relaxed: one writer (control lock); nothing is published through it
  }
  [[nodiscard]] bool live() const noexcept { return users() != 0; }

 private:
  typename Env::template atomic<std::uint32_t> users_;

  static constexpr bool small = sizeof(void*) != 8 || sizeof(entry_spec<Port>) <= 24;
  static_assert(small, "an entry must stay within half a cache line");
};

SHOOTDOWN_END
