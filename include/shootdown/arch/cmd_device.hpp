// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include <shootdown/arch/cmd_config.hpp>
#include <shootdown/arch/command.hpp>
#include <shootdown/arch/field.hpp>
#include <shootdown/arch/types.hpp>

// Commands that reach an endpoint or one of its transactions: ATS, PRI, stall. IHI 0070 4.5 and 4.6.
SHOOTDOWN_BEGIN
namespace cmd {

/// CMD_ATC_INV: ask one endpoint to drop 2^SIZE pages of 4 KiB (whatever the translation granule). IHI 0070 4.5.
/// SSV = 0 drops entries with and without PASID. The SMMU forces ADDR[11+SIZE:0] to 0. SIZE = 52 is everything.
struct atc_inv {
  using global_f = field<9, 9, bool>;
  using size_f = field<5, 0, std::uint8_t>;
  using addr_f = addr_field<63, 12>;
  static constexpr opcode op = opcode::atc_inv;
  static constexpr std::uint64_t res0_dw0 = ~(opcode_f::mask | global_f::mask | ssec_f::mask | ssv_f::mask | ssid_f::mask | sid_f::mask);
  static constexpr std::uint64_t res0_dw1 = ~(size_f::mask | addr_f::mask);
  static constexpr std::uint8_t all = 52;  ///< the largest legal SIZE: the whole address space
  stream_id sid{};
  substream_id ssid{};
  bool ssv{};
  bool global{};
  std::uint8_t size{};
  std::uint64_t address{};
  bool ssec{};

  [[nodiscard]] static constexpr std::uint64_t tag_word(stream_id sid, substream_id ssid, bool ssv, bool global = false) noexcept {
    return opcode_f::put(op) | global_f::put(global) | ssv_f::put(ssv) | ssid_f::put(ssid) | sid_f::put(sid);
  }
  /// dw1 of a span, to go with a tag word.
  [[nodiscard]] static constexpr std::uint64_t span_word(std::uint64_t address, std::uint8_t size) noexcept {
    return size_f::put(size) | addr_f::put(address);
  }
  [[nodiscard]] constexpr command encode() const noexcept {
    return {tag_word(sid, ssid, ssv, global) | ssec_f::put(ssec), span_word(address, size)};
  }
  [[nodiscard]] static constexpr atc_inv decode(command c) noexcept {
    return {sid_f::get(c.dw0),  ssid_f::get(c.dw0), ssv_f::get(c.dw0), global_f::get(c.dw0),
            size_f::get(c.dw1), addr_f::get(c.dw1), ssec_f::get(c.dw0)};
  }
  friend constexpr bool operator==(const atc_inv&, const atc_inv&) noexcept = default;
};

/// Answer to a page request group. 3 is illegal.
enum class pri_response : std::uint8_t { failure = 0, invalid = 1, success = 2 };

/// CMD_PRI_RESP: answer one page request group. No CMD_SYNC makes its delivery certain. IHI 0070 4.5.
struct pri_resp {
  using group_f = field<8, 0, std::uint16_t>;
  using response_f = field<13, 12, pri_response>;
  static constexpr opcode op = opcode::pri_resp;
  static constexpr std::uint64_t res0_dw0 = ~(opcode_f::mask | ssec_f::mask | ssv_f::mask | ssid_f::mask | sid_f::mask);
  static constexpr std::uint64_t res0_dw1 = ~(group_f::mask | response_f::mask);
  stream_id sid{};
  substream_id ssid{};
  bool ssv{};
  std::uint16_t group{};
  pri_response response{};
  bool ssec{};

  [[nodiscard]] constexpr command encode() const noexcept {
    return {opcode_f::put(op) | ssec_f::put(ssec) | ssv_f::put(ssv) | ssid_f::put(ssid) | sid_f::put(sid),
            group_f::put(group) | response_f::put(response)};
  }
  [[nodiscard]] static constexpr pri_resp decode(command c) noexcept {
    return {sid_f::get(c.dw0), ssid_f::get(c.dw0), ssv_f::get(c.dw0), group_f::get(c.dw1), response_f::get(c.dw1), ssec_f::get(c.dw0)};
  }
  friend constexpr bool operator==(const pri_resp&, const pri_resp&) noexcept = default;
};

/// What becomes of a stalled transaction.
enum class resume_action : std::uint8_t { terminate = 0, retry = 1, abort = 2 };

/// CMD_RESUME: let one stalled transaction go on. Complete when consumed, without a CMD_SYNC. IHI 0070 4.6.
struct resume {
  using action_f = field<13, 12, resume_action>;
  using stag_f = field<15, 0, std::uint16_t>;
  static constexpr opcode op = opcode::resume;
  static constexpr std::uint64_t res0_dw0 = ~(opcode_f::mask | ssec_f::mask | action_f::mask | sid_f::mask);
  static constexpr std::uint64_t res0_dw1 = ~stag_f::mask;
  stream_id sid{};
  std::uint16_t stag{};
  resume_action action{};
  bool ssec{};

  [[nodiscard]] constexpr command encode() const noexcept {
    return {opcode_f::put(op) | ssec_f::put(ssec) | action_f::put(action) | sid_f::put(sid), stag_f::put(stag)};
  }
  [[nodiscard]] static constexpr resume decode(command c) noexcept {
    return {sid_f::get(c.dw0), stag_f::get(c.dw1), action_f::get(c.dw0), ssec_f::get(c.dw0)};
  }
  friend constexpr bool operator==(const resume&, const resume&) noexcept = default;
};

/// CMD_STALL_TERM: terminate every stalled transaction of a stream whose STE aborts. IHI 0070 4.6.
struct stall_term {
  static constexpr opcode op = opcode::stall_term;
  static constexpr std::uint64_t res0_dw0 = ~(opcode_f::mask | ssec_f::mask | sid_f::mask);
  static constexpr std::uint64_t res0_dw1 = ~std::uint64_t{0};
  stream_id sid{};
  bool ssec{};

  [[nodiscard]] constexpr command encode() const noexcept { return {opcode_f::put(op) | ssec_f::put(ssec) | sid_f::put(sid), 0}; }
  [[nodiscard]] static constexpr stall_term decode(command c) noexcept { return {sid_f::get(c.dw0), ssec_f::get(c.dw0)}; }
  friend constexpr bool operator==(const stall_term&, const stall_term&) noexcept = default;
};

/// CMD_DPTI_ALL and CMD_DPTI_PA: device permission table. Their field layout is not part of this library: every bit but
/// the opcode is carried as it is, so a queue can pass them on and a log can show them.
template <opcode Op>
struct dpti {
  static constexpr opcode op = Op;
  static constexpr std::uint64_t res0_dw0 = 0;
  static constexpr std::uint64_t res0_dw1 = 0;
  std::uint64_t operand0{};  ///< dw0 without the opcode
  std::uint64_t operand1{};  ///< dw1

  [[nodiscard]] constexpr command encode() const noexcept { return {opcode_f::set(operand0, op), operand1}; }
  [[nodiscard]] static constexpr dpti decode(command c) noexcept { return {c.dw0 & ~opcode_f::mask, c.dw1}; }
  friend constexpr bool operator==(const dpti&, const dpti&) noexcept = default;
};
using dpti_all = dpti<opcode::dpti_all>;
using dpti_pa = dpti<opcode::dpti_pa>;

}  // namespace cmd
SHOOTDOWN_END
