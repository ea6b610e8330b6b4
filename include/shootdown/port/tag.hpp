// SPDX-License-Identifier: MIT
#pragma once

#include <concepts>
#include <cstdint>

#include <shootdown/config.hpp>
#include <shootdown/status.hpp>

SHOOTDOWN_BEGIN

/// Which number space a tag comes from.
enum class tag_kind : std::uint8_t { asid, vmid };

/// An ASID or VMID of one SMMU instance. 0 is never handed out (VMID 0 tags stage-1-only domains, ASID 0 stays free).
struct tag {
  tag_kind kind{tag_kind::asid};
  std::uint16_t id{};
  friend constexpr bool operator==(tag, tag) noexcept = default;
};

/// The tag space of one SMMU instance. May sleep (it has a mutex of its own).
///   acquire(kind)  a tag that no TLB entry carries; exhausted when none is left
///   release(tag)   back for reuse; the caller has flushed it and the flush completed
///   retire(tag)    its flush failed: never handed out again until the instance is reset
template <class T>
concept tag_allocator = requires(T t, tag_kind k, tag g) {
  { t.acquire(k) } noexcept -> std::same_as<result<tag>>;
  { t.release(g) } noexcept;
  { t.retire(g) } noexcept;
};

SHOOTDOWN_END
