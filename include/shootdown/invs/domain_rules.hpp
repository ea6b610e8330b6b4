// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include <shootdown/arch/types.hpp>
#include <shootdown/env/environment.hpp>
#include <shootdown/invs/array.hpp>
#include <shootdown/invs/attachment.hpp>
#include <shootdown/invs/domain_options.hpp>
#include <shootdown/invs/entry.hpp>
#include <shootdown/invs/master_entries.hpp>
#include <shootdown/port/command_port.hpp>
#include <shootdown/port/features.hpp>
#include <shootdown/port/tag.hpp>
#include <shootdown/range/atc_span.hpp>
#include <shootdown/status.hpp>

// What a domain may hold, and the entries that it holds for a master: functions of a domain's options and a master only.
SHOOTDOWN_BEGIN

/// May this master be attached to a domain with these options at all? Looks at nothing but the two.
///   invalid_argument  no stream, streams not strictly ascending, a nesting parent of stage 1, or a translation unit beyond 4 KiB << 31
///   unsupported       stage, granule or ATS that the SMMU lacks, or a PASID at stage 2, which has no context descriptors
///   out_of_range      StreamID or PASID wider than the SMMU knows, IPAs wider than its addresses, or a translation unit larger
///                     than the domain's address range
template <command_port Port>
[[nodiscard]] constexpr status admissible(const domain_options& o, const master<Port>& m) noexcept {
  const port_features& f = m.port.features();
  const bool two = o.stage == translation_stage::two;
  if (o.nesting_parent && !two) return errc::invalid_argument;
  if (two ? !f.stage2 : !f.stage1) return errc::unsupported;
  if (o.nesting_parent && !f.stage1) return errc::unsupported;
  if (!f.supports(o.page)) return errc::unsupported;
  if (m.ats && !f.ats) return errc::unsupported;
  if (two && raw(m.pasid) != 0) return errc::unsupported;
  if (m.streams.empty()) return errc::invalid_argument;
  for (std::size_t i = 0; i != m.streams.size(); ++i) {
    if (i != 0 && raw(m.streams[i]) <= raw(m.streams[i - 1])) return errc::invalid_argument;
    if (f.stream_bits < 32 && (raw(m.streams[i]) >> f.stream_bits) != 0) return errc::out_of_range;
  }
  if (f.substream_bits < 32 && (raw(m.pasid) >> f.substream_bits) != 0) return errc::out_of_range;
  if (two && o.address_bits > f.address_bits) return errc::out_of_range;
  if (m.ats) {
    if (m.stu > 31) return errc::invalid_argument;
    if (atc_span::page_shift + m.stu > o.address_bits) return errc::out_of_range;
  }
  return {};
}

/// Have these two (ascending) a stream in common?
[[nodiscard]] constexpr bool overlap(std::span<const stream_id> a, std::span<const stream_id> b) noexcept {
  for (std::size_t i = 0, j = 0; i != a.size() && j != b.size();) {
    if (a[i] == b[j]) return true;
    if (raw(a[i]) < raw(b[j]))
      ++i;
    else
      ++j;
  }
  return false;
}

/// Is `m` the master `now` with at most another ATS state? invalid_argument if not, and for another unit while ATS stays on: a
/// device reads its unit when its ATS is switched on.
template <command_port Port>
[[nodiscard]] constexpr status same_master(const master<Port>& now, const master<Port>& m) noexcept {
  if (&now.port != &m.port || now.pasid != m.pasid || now.streams.size() != m.streams.size()) return errc::invalid_argument;
  for (std::size_t i = 0; i != m.streams.size(); ++i) {
    if (now.streams[i] != m.streams[i]) return errc::invalid_argument;
  }
  return now.ats && m.ats && now.stu != m.stu ? status{errc::invalid_argument} : status{};
}

/// The entries of a master under a tag of its instance, in key order: tag, stage-1 clear of a nesting parent, and one device
/// cache per stream if it has ATS. no_memory, or what the entries' factories refuse. invs-array.md 4.
template <environment Env, command_port Port>
[[nodiscard]] status make_entries(const domain_options& o, const master<Port>& m, tag t, master_entries<Env, Port>& right) noexcept {
  using spec = entry_spec<Port>;
  if (const status s = right.reserve(1u + (o.nesting_parent ? 1u : 0u) + (m.ats ? m.streams.size() : 0u)); !s.ok()) return s;
  status s;
  const auto add = [&](const result<spec>& made) noexcept {
    s.merge(made.state());
    right.push(*made);
  };
  if (o.stage == translation_stage::one)
    add(spec::stage1(m.port, asid{t.id}, o.page));
  else
    add(spec::stage2(m.port, entry_type::s2_vmid, vmid{t.id}, o.page));
  if (o.nesting_parent) add(spec::stage2(m.port, entry_type::s2_vmid_s1_clear, vmid{t.id}, o.page));
  if (m.ats) {
    const entry_type type = o.nesting_parent ? entry_type::ats_full : entry_type::ats;
    for (const stream_id sid : m.streams) add(spec::device(m.port, type, sid, m.pasid, m.stu));
  }
  return s;
}

/// The request that makes a master translate under this tag, and the one that stops it.
template <command_port Port>
[[nodiscard]] constexpr install install_of(const entry_spec<Port>& s, substream_id pasid, bool ats) noexcept {
  const tag t = tag_of(s);
  const bool one = t.kind == tag_kind::asid;
  return {install::action::translate, one ? t : tag{}, pasid, ats, one ? tag{} : t};
}
[[nodiscard]] constexpr install block_of(substream_id pasid) noexcept { return {install::action::block, {}, pasid, false, {}}; }

/// Are the live entries of an array those of a domain with these options: tags of its stage, one per instance; with a nesting
/// parent the stage-1 clear of the same VMID and users, and full wipes of devices?
template <environment Env, command_port Port>
[[nodiscard]] bool kinds_fit(const entry_array<Env, Port>& a, const domain_options& o) noexcept {
  const entry_type tags = o.stage == translation_stage::one ? entry_type::s1_asid : entry_type::s2_vmid;
  const entry_type devices = o.nesting_parent ? entry_type::ats_full : entry_type::ats;
  for (std::uint32_t i = 0; i != a.count(); ++i) {
    const auto& e = a[i];
    if (!e.live() || e.spec.type == devices) continue;
    const auto* const own = a.find(e.spec.instance, tags);
    if (e.spec.type == entry_type::s2_vmid_s1_clear) {
      if (!o.nesting_parent || own == nullptr) return false;
      continue;
    }
    if (own != &e) return false;
    const auto* const clear = a.find(e.spec.instance, entry_type::s2_vmid_s1_clear);
    if ((clear != nullptr) != o.nesting_parent) return false;
    if (clear != nullptr && (clear->spec.id() != e.spec.id() || clear->users() != e.users())) return false;
  }
  return true;
}

SHOOTDOWN_END
