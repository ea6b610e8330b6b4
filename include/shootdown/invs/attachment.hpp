// SPDX-License-Identifier: MIT
#pragma once

#include <concepts>
#include <cstdint>
#include <span>

#include <shootdown/arch/types.hpp>
#include <shootdown/config.hpp>
#include <shootdown/env/environment.hpp>
#include <shootdown/invs/entry.hpp>
#include <shootdown/invs/master_entries.hpp>
#include <shootdown/invs/plan.hpp>
#include <shootdown/port/command_port.hpp>
#include <shootdown/port/tag.hpp>
#include <shootdown/status.hpp>

SHOOTDOWN_BEGIN

/// A device as a domain sees it: its streams behind one SMMU instance, and how it wants to be attached.
template <command_port Port>
struct master {
  Port& port;
  std::span<const stream_id> streams;  ///< strictly ascending; lives as long as the attachment
  substream_id pasid{};                ///< 0: the default context, else this PASID's context descriptor (stage 1 only)
  bool ats{};                          ///< the device may cache translations
  std::uint8_t stu{};                  ///< its smallest translation unit, 4 KiB << stu
};

/// What a domain asks its caller to write into the STE (and CD) of a master's streams.
struct install {
  enum class action : std::uint8_t {
    translate,  ///< walk the domain's tables under its tag
    block,      ///< abort everything (pasid != 0: everything of that PASID)
  };
  action what{action::block};
  tag asid_tag{};  ///< translate at stage 1: the tag of the context descriptor
  substream_id pasid{};
  bool ats{};      ///< translate only: STE.EATS. False, and always with `block`: EATS = 0, translated requests abort
  tag vmid_tag{};  ///< translate at stage 2: the tag of the STE

  /// The one tag that is set.
  [[nodiscard]] constexpr tag in_use() const noexcept { return vmid_tag.id != 0 ? vmid_tag : asid_tag; }
};

/// The caller's part of attach, detach, replace and reattach. Called under the domain's mutex, so it must not call a control
/// operation of any domain.
///   write_entry(install)  writes the STE or CD of each stream and completes the change: CFGI + SYNC done, so afterwards no new
///                         transaction uses the old configuration. ok means exactly that; anything else means that old or
///                         new may be in use
///   ats(on)               switches the device's own ATS enable. on: the STE has EATS = 1 by then. off: no invalidation goes to
///                         the device any more
/// EATS and the device's enable belong to a stream, not to a PASID. For a master with several PASIDs attached the callables
/// keep count: EATS and the enable stay on as long as one attachment with ATS is left.
/// A device must complete an invalidation while its ATS is off (PCIe: Unsupported Request will do): invalidations reach it as
/// soon as it is in the array, which comes before ats(true).
template <class O>
concept attach_ops = requires(O& o, const install& i, bool on) {
  { o.write_entry(i) } -> std::same_as<status>;
  { o.ats(on) } -> std::same_as<status>;
};

/// The membership of one master in one domain: the caller's object, linked into the domain while attached.
///
/// Contract: pinned in memory; destroyed only when detached (a contract violation otherwise). Operations on one attachment are
/// serialised by the caller (the device's lock); those on different attachments need nothing. Holds what detach needs, so
/// that detach allocates nothing.
template <environment Env, command_port Port>
class attachment {
 public:
  attachment() noexcept = default;
  attachment(const attachment&) = delete;
  attachment& operator=(const attachment&) = delete;
  ~attachment() {
#if SHOOTDOWN_CHECK
    if (owner_ != nullptr) Env::fail("an attachment was destroyed while attached");
#endif
  }

  [[nodiscard]] bool attached() const noexcept { return owner_ != nullptr; }
  /// The device may cache translations.
  [[nodiscard]] bool ats() const noexcept { return attached() && ats_; }
  /// The tag it translates under; {} when not attached.
  [[nodiscard]] tag current_tag() const noexcept { return attached() ? tag_of(entries_.tag_spec()) : tag{}; }

 private:
  template <environment E, command_port P, invalidation_limits M>
  friend class domain;

  [[nodiscard]] Port* port() const noexcept { return entries_.tag_spec().port; }

  const void* owner_{};
  attachment* next_{};
  attachment* previous_{};
  std::span<const stream_id> streams_{};
  substream_id pasid_{};
  bool ats_{};
  std::uint8_t stu_{};
  master_entries<Env, Port> entries_{};
};

SHOOTDOWN_END
