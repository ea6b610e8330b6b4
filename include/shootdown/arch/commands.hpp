// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include <shootdown/arch/cmd_config.hpp>
#include <shootdown/arch/cmd_device.hpp>
#include <shootdown/arch/cmd_sync.hpp>
#include <shootdown/arch/cmd_tlbi.hpp>
#include <shootdown/arch/command.hpp>
#include <shootdown/arch/tlbi_operand.hpp>

SHOOTDOWN_BEGIN
namespace cmd {

/// A command that has no typed form: a reserved opcode, or a by-address TLBI in the never-legal form
/// (TG != 0, NUM = SCALE = TTL = 0), which a tlbi_operand cannot hold.
struct reserved {
  static constexpr std::uint64_t res0_dw0 = 0;
  static constexpr std::uint64_t res0_dw1 = 0;
  command raw{};
  [[nodiscard]] constexpr command encode() const noexcept { return raw; }
  [[nodiscard]] static constexpr reserved decode(command c) noexcept { return {c}; }
  friend constexpr bool operator==(const reserved&, const reserved&) noexcept = default;
};

/// Does the opcode name a by-address TLBI, so that tlbi_operand describes its operand?
[[nodiscard]] constexpr bool by_address(opcode op) noexcept {
  switch (op) {
    case opcode::tlbi_nh_va:
    case opcode::tlbi_nh_vaa:
    case opcode::tlbi_el3_va:
    case opcode::tlbi_el2_va:
    case opcode::tlbi_el2_vaa:
    case opcode::tlbi_s2_ipa:
    case opcode::tlbi_s_el2_va:
    case opcode::tlbi_s_el2_vaa:
    case opcode::tlbi_s_s2_ipa: return true;
    default: return false;
  }
}

}  // namespace cmd

/// Calls f with the decoded command, a struct of namespace cmd, or cmd::reserved; returns what f returns (one type for
/// all). Reserved bits are not judged here. Any context; wait-free; one jump.
template <class F>
constexpr decltype(auto) visit(command c, F&& f) {
  const opcode op = opcode_of(c);
  if (cmd::by_address(op) && tlbi_operand::illegal(c)) return f(cmd::reserved{c});
  switch (op) {
    case opcode::prefetch_config: return f(cmd::prefetch_config::decode(c));
    case opcode::prefetch_addr: return f(cmd::prefetch_addr::decode(c));
    case opcode::cfgi_ste: return f(cmd::cfgi_ste::decode(c));
    case opcode::cfgi_ste_range: return f(cmd::cfgi_ste_range::decode(c));
    case opcode::cfgi_cd: return f(cmd::cfgi_cd::decode(c));
    case opcode::cfgi_cd_all: return f(cmd::cfgi_cd_all::decode(c));
    case opcode::cfgi_vms_pidm: return f(cmd::cfgi_vms_pidm::decode(c));
    case opcode::tlbi_nh_all: return f(cmd::tlbi_nh_all::decode(c));
    case opcode::tlbi_nh_asid: return f(cmd::tlbi_nh_asid::decode(c));
    case opcode::tlbi_nh_va: return f(cmd::tlbi_nh_va::decode(c));
    case opcode::tlbi_nh_vaa: return f(cmd::tlbi_nh_vaa::decode(c));
    case opcode::tlbi_el3_all: return f(cmd::tlbi_el3_all::decode(c));
    case opcode::tlbi_el3_va: return f(cmd::tlbi_el3_va::decode(c));
    case opcode::tlbi_el2_all: return f(cmd::tlbi_el2_all::decode(c));
    case opcode::tlbi_el2_asid: return f(cmd::tlbi_el2_asid::decode(c));
    case opcode::tlbi_el2_va: return f(cmd::tlbi_el2_va::decode(c));
    case opcode::tlbi_el2_vaa: return f(cmd::tlbi_el2_vaa::decode(c));
    case opcode::tlbi_s12_vmall: return f(cmd::tlbi_s12_vmall::decode(c));
    case opcode::tlbi_s2_ipa: return f(cmd::tlbi_s2_ipa::decode(c));
    case opcode::tlbi_nsnh_all: return f(cmd::tlbi_nsnh_all::decode(c));
    case opcode::atc_inv: return f(cmd::atc_inv::decode(c));
    case opcode::pri_resp: return f(cmd::pri_resp::decode(c));
    case opcode::resume: return f(cmd::resume::decode(c));
    case opcode::stall_term: return f(cmd::stall_term::decode(c));
    case opcode::sync: return f(cmd::sync::decode(c));
    case opcode::tlbi_s_el2_all: return f(cmd::tlbi_s_el2_all::decode(c));
    case opcode::tlbi_s_el2_asid: return f(cmd::tlbi_s_el2_asid::decode(c));
    case opcode::tlbi_s_el2_va: return f(cmd::tlbi_s_el2_va::decode(c));
    case opcode::tlbi_s_el2_vaa: return f(cmd::tlbi_s_el2_vaa::decode(c));
    case opcode::tlbi_s_s12_vmall: return f(cmd::tlbi_s_s12_vmall::decode(c));
    case opcode::tlbi_s_s2_ipa: return f(cmd::tlbi_s_s2_ipa::decode(c));
    case opcode::tlbi_snh_all: return f(cmd::tlbi_snh_all::decode(c));
    case opcode::dpti_all: return f(cmd::dpti_all::decode(c));
    case opcode::dpti_pa: return f(cmd::dpti_pa::decode(c));
  }
  return f(cmd::reserved{c});
}

/// The reserved bits that are set in `c`, as {dw0 bits, dw1 bits}; all 0 for a command that encode() reproduces.
[[nodiscard]] constexpr command reserved_bits(command c) noexcept {
  return visit(c, [c](const auto& typed) noexcept {
    (void)typed;
    return command{c.dw0 & typed.res0_dw0, c.dw1 & typed.res0_dw1};
  });
}

SHOOTDOWN_END
