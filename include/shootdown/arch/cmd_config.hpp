// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include <shootdown/arch/command.hpp>
#include <shootdown/arch/field.hpp>
#include <shootdown/arch/types.hpp>

// Prefetch hints and configuration-cache invalidation. IHI 0070 4.2 and 4.3.
// Every command struct: op, the reserved bits of both words, encode() and decode(). decode ignores the opcode byte and
// the reserved bits; encode writes reserved bits as 0 and cuts values that do not fit (validate before: an identifier
// beyond the implemented width is CONSTRAINED UNPREDICTABLE, 4.1.7). `ssec` stays false on a Non-secure queue.
SHOOTDOWN_BEGIN
namespace cmd {

/// dw0 fields that several commands share.
using ssec_f = field<10, 10, bool>;
using ssv_f = field<11, 11, bool>;
using ssid_f = field<31, 12, substream_id>;
using sid_f = field<63, 32, stream_id>;

/// CMD_PREFETCH_CONFIG: a hint to load the configuration of a stream. IHI 0070 4.2.
struct prefetch_config {
  static constexpr opcode op = opcode::prefetch_config;
  static constexpr std::uint64_t res0_dw0 = ~(opcode_f::mask | ssec_f::mask | ssv_f::mask | ssid_f::mask | sid_f::mask);
  static constexpr std::uint64_t res0_dw1 = ~std::uint64_t{0};
  stream_id sid{};
  substream_id ssid{};
  bool ssv{};
  bool ssec{};

  [[nodiscard]] constexpr command encode() const noexcept {
    return {opcode_f::put(op) | ssec_f::put(ssec) | ssv_f::put(ssv) | ssid_f::put(ssid) | sid_f::put(sid), 0};
  }
  [[nodiscard]] static constexpr prefetch_config decode(command c) noexcept {
    return {sid_f::get(c.dw0), ssid_f::get(c.dw0), ssv_f::get(c.dw0), ssec_f::get(c.dw0)};
  }
  friend constexpr bool operator==(const prefetch_config&, const prefetch_config&) noexcept = default;
};

/// CMD_PREFETCH_ADDR: a hint to load translations of 2^SIZE pages. IHI 0070 4.2.
struct prefetch_addr {
  using size_f = field<4, 0, std::uint8_t>;
  using addr_f = addr_field<63, 12>;
  static constexpr opcode op = opcode::prefetch_addr;
  static constexpr std::uint64_t res0_dw0 = prefetch_config::res0_dw0;  // NS [9] exists on a Secure queue only
  static constexpr std::uint64_t res0_dw1 = ~(size_f::mask | addr_f::mask);
  stream_id sid{};
  substream_id ssid{};
  bool ssv{};
  std::uint8_t size{};
  std::uint64_t address{};
  bool ssec{};

  [[nodiscard]] constexpr command encode() const noexcept {
    return {opcode_f::put(op) | ssec_f::put(ssec) | ssv_f::put(ssv) | ssid_f::put(ssid) | sid_f::put(sid),
            size_f::put(size) | addr_f::put(address)};
  }
  [[nodiscard]] static constexpr prefetch_addr decode(command c) noexcept {
    return {sid_f::get(c.dw0), ssid_f::get(c.dw0), ssv_f::get(c.dw0), size_f::get(c.dw1), addr_f::get(c.dw1), ssec_f::get(c.dw0)};
  }
  friend constexpr bool operator==(const prefetch_addr&, const prefetch_addr&) noexcept = default;
};

/// CMD_CFGI_STE: drop the cached STE of a stream. LEAF = 0: also the level-1 descriptor on the way to it. IHI 0070 4.3.
struct cfgi_ste {
  using leaf_f = field<0, 0, bool>;
  static constexpr opcode op = opcode::cfgi_ste;
  static constexpr std::uint64_t res0_dw0 = ~(opcode_f::mask | ssec_f::mask | sid_f::mask);
  static constexpr std::uint64_t res0_dw1 = ~leaf_f::mask;
  stream_id sid{};
  bool leaf{};
  bool ssec{};

  [[nodiscard]] constexpr command encode() const noexcept {
    return {opcode_f::put(op) | ssec_f::put(ssec) | sid_f::put(sid), leaf_f::put(leaf)};
  }
  [[nodiscard]] static constexpr cfgi_ste decode(command c) noexcept { return {sid_f::get(c.dw0), leaf_f::get(c.dw1), ssec_f::get(c.dw0)}; }
  friend constexpr bool operator==(const cfgi_ste&, const cfgi_ste&) noexcept = default;
};

/// CMD_CFGI_STE_RANGE: the 2^(RANGE+1) streams of the aligned block around `sid`; RANGE = 31 is CFGI_ALL. IHI 0070 4.3.
struct cfgi_ste_range {
  using range_f = field<4, 0, std::uint8_t>;
  static constexpr opcode op = opcode::cfgi_ste_range;
  static constexpr std::uint64_t res0_dw0 = ~(opcode_f::mask | ssec_f::mask | sid_f::mask);
  static constexpr std::uint64_t res0_dw1 = ~range_f::mask;
  static constexpr std::uint8_t all = 31;
  stream_id sid{};
  std::uint8_t range{};
  bool ssec{};

  [[nodiscard]] constexpr command encode() const noexcept {
    return {opcode_f::put(op) | ssec_f::put(ssec) | sid_f::put(sid), range_f::put(range)};
  }
  [[nodiscard]] static constexpr cfgi_ste_range decode(command c) noexcept {
    return {sid_f::get(c.dw0), range_f::get(c.dw1), ssec_f::get(c.dw0)};
  }
  /// Is `s` one of the streams that this command names?
  [[nodiscard]] constexpr bool contains(stream_id s) const noexcept {
    const unsigned shift = (range & 31u) + 1;
    return (std::uint64_t{raw(sid)} >> shift) == (std::uint64_t{raw(s)} >> shift);
  }
  friend constexpr bool operator==(const cfgi_ste_range&, const cfgi_ste_range&) noexcept = default;
};

/// CMD_CFGI_ALL: every cached configuration. On the wire it is CFGI_STE_RANGE with RANGE = 31. IHI 0070 4.3.
[[nodiscard]] constexpr cfgi_ste_range cfgi_all() noexcept { return {stream_id{0}, cfgi_ste_range::all, false}; }

/// CMD_CFGI_CD: drop the cached CD of (stream, substream); SSID 0 is the default CD. IHI 0070 4.3.
struct cfgi_cd {
  using leaf_f = field<0, 0, bool>;
  static constexpr opcode op = opcode::cfgi_cd;
  static constexpr std::uint64_t res0_dw0 = ~(opcode_f::mask | ssec_f::mask | ssid_f::mask | sid_f::mask);
  static constexpr std::uint64_t res0_dw1 = ~leaf_f::mask;
  stream_id sid{};
  substream_id ssid{};
  bool leaf{};
  bool ssec{};

  [[nodiscard]] constexpr command encode() const noexcept {
    return {opcode_f::put(op) | ssec_f::put(ssec) | ssid_f::put(ssid) | sid_f::put(sid), leaf_f::put(leaf)};
  }
  [[nodiscard]] static constexpr cfgi_cd decode(command c) noexcept {
    return {sid_f::get(c.dw0), ssid_f::get(c.dw0), leaf_f::get(c.dw1), ssec_f::get(c.dw0)};
  }
  friend constexpr bool operator==(const cfgi_cd&, const cfgi_cd&) noexcept = default;
};

/// CMD_CFGI_CD_ALL: every cached CD of a stream. IHI 0070 4.3.
struct cfgi_cd_all {
  static constexpr opcode op = opcode::cfgi_cd_all;
  static constexpr std::uint64_t res0_dw0 = ~(opcode_f::mask | ssec_f::mask | sid_f::mask);
  static constexpr std::uint64_t res0_dw1 = ~std::uint64_t{0};
  stream_id sid{};
  bool ssec{};

  [[nodiscard]] constexpr command encode() const noexcept { return {opcode_f::put(op) | ssec_f::put(ssec) | sid_f::put(sid), 0}; }
  [[nodiscard]] static constexpr cfgi_cd_all decode(command c) noexcept { return {sid_f::get(c.dw0), ssec_f::get(c.dw0)}; }
  friend constexpr bool operator==(const cfgi_cd_all&, const cfgi_cd_all&) noexcept = default;
};

/// CMD_CFGI_VMS_PIDM: drop the cached PARTID map of a VMID. IHI 0070 4.3.
struct cfgi_vms_pidm {
  using vmid_f = field<47, 32, vmid>;
  static constexpr opcode op = opcode::cfgi_vms_pidm;
  static constexpr std::uint64_t res0_dw0 = ~(opcode_f::mask | ssec_f::mask | vmid_f::mask);
  static constexpr std::uint64_t res0_dw1 = ~std::uint64_t{0};
  vmid vm{};
  bool ssec{};

  [[nodiscard]] constexpr command encode() const noexcept { return {opcode_f::put(op) | ssec_f::put(ssec) | vmid_f::put(vm), 0}; }
  [[nodiscard]] static constexpr cfgi_vms_pidm decode(command c) noexcept { return {vmid_f::get(c.dw0), ssec_f::get(c.dw0)}; }
  friend constexpr bool operator==(const cfgi_vms_pidm&, const cfgi_vms_pidm&) noexcept = default;
};

}  // namespace cmd
SHOOTDOWN_END
