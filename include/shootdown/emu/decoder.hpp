// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include <shootdown/arch/commands.hpp>
#include <shootdown/emu/id_registers.hpp>
#include <shootdown/status.hpp>

SHOOTDOWN_BEGIN
namespace emu {

/// Both reactions to non-zero reserved fields that the architecture permits. IHI 0070 4.1.5.
enum class reserved_bits_rule : std::uint8_t { illegal, ignored };

/// Why a command is CERROR_ILL.
enum class illegal_reason : std::uint8_t {
  none,
  unknown_opcode,
  secure,           ///< SSEC, or a Secure-only opcode, on a Non-secure queue
  missing_stage,    ///< stage 1 or stage 2 not implemented
  missing_feature,  ///< HYP, ATS, PRI, stalling, MPAM or DPT not implemented
  tlbi_form,        ///< TG != 0 with NUM = SCALE = TTL = 0
  tlbi_range,       ///< range fields without range invalidation, or beside TG = 0
  granule,          ///< TG names a granule that does not exist here
  atc_size,         ///< SIZE > 52
  reserved_value,   ///< a reserved encoding: CS = 3, PRI RESP = 3
  reserved_bits,    ///< RES0 not 0, rule `illegal`
};

[[nodiscard]] constexpr const char* name(illegal_reason r) noexcept {
  switch (r) {
    case illegal_reason::none: return "none";
    case illegal_reason::unknown_opcode: return "unknown_opcode";
    case illegal_reason::secure: return "secure";
    case illegal_reason::missing_stage: return "missing_stage";
    case illegal_reason::missing_feature: return "missing_feature";
    case illegal_reason::tlbi_form: return "tlbi_form";
    case illegal_reason::tlbi_range: return "tlbi_range";
    case illegal_reason::granule: return "granule";
    case illegal_reason::atc_size: return "atc_size";
    case illegal_reason::reserved_value: return "reserved_value";
    case illegal_reason::reserved_bits: return "reserved_bits";
  }
  return "?";
}

/// What a strict Non-secure SMMU makes of a command.
struct verdict {
  illegal_reason reason{illegal_reason::none};
  /// Legal, but the architecture does not say what it does: ADDR not aligned to the TTL leaf, an id wider than implemented,
  /// VMID without stage 2, SCALE above its maximum, range fields that a lenient SMMU drops. A correct driver never sends one.
  bool unpredictable{};
  /// The command with reserved bits and ignored fields cleared: what is executed.
  command effective{};
  [[nodiscard]] constexpr bool ok() const noexcept { return reason == illegal_reason::none; }
  [[nodiscard]] constexpr errc code() const noexcept { return ok() ? errc::ok : errc::illegal_command; }
};

namespace detail {

/// One pass over the fields of a command; rules of IHI 0070 4.1.5 to 4.1.7, 4.4, 4.5 and 4.7.
class judge {
 public:
  constexpr judge(command c, const id_registers& id, reserved_bits_rule rule) noexcept : id_{id}, rule_{rule} {
    const command res0 = reserved_bits(c);
    dirty_ = res0 != command{};
    v_.effective = {c.dw0 & ~res0.dw0, c.dw1 & ~res0.dw1};
  }
  [[nodiscard]] constexpr verdict result() const noexcept {
    verdict v = v_;
    if (v.ok() && dirty_ && rule_ == reserved_bits_rule::illegal) v.reason = illegal_reason::reserved_bits;
    return v;
  }

  constexpr void operator()(const cmd::reserved& c) noexcept {
    refuse(cmd::by_address(opcode_of(c.raw)) ? illegal_reason::tlbi_form : illegal_reason::unknown_opcode);
  }
  constexpr void operator()(const cmd::prefetch_config& c) noexcept { stream(c.sid, c.ssid, c.ssv, c.ssec); }
  constexpr void operator()(const cmd::prefetch_addr& c) noexcept { stream(c.sid, c.ssid, c.ssv, c.ssec); }
  constexpr void operator()(const cmd::cfgi_ste& c) noexcept { stream(c.sid, {}, false, c.ssec); }
  constexpr void operator()(const cmd::cfgi_ste_range& c) noexcept {
    if (c.range == cmd::cfgi_ste_range::all) return secure(c.ssec);
    stream(c.sid, {}, false, c.ssec);
  }
  constexpr void operator()(const cmd::cfgi_cd& c) noexcept {
    need(id_.stage1(), illegal_reason::missing_stage);
    stream(c.sid, c.ssid, true, c.ssec);
  }
  constexpr void operator()(const cmd::cfgi_cd_all& c) noexcept {
    need(id_.stage1(), illegal_reason::missing_stage);
    stream(c.sid, {}, false, c.ssec);
  }
  constexpr void operator()(const cmd::cfgi_vms_pidm& c) noexcept {
    need(reg::idr3::mpam::get(id_.idr3), illegal_reason::missing_feature);
    secure(c.ssec);
    vm(c.vm);
  }
  template <opcode Op>
  constexpr void operator()(const cmd::tlbi_all<Op>&) noexcept {
    regime(Op);
  }
  template <opcode Op>
  constexpr void operator()(const cmd::tlbi_by_vmid<Op>& c) noexcept {
    regime(Op);
    vm(c.vm);
  }
  template <opcode Op>
  constexpr void operator()(const cmd::tlbi_by_asid<Op>& c) noexcept {
    regime(Op);
    as(c.as);
  }
  template <opcode Op>
  constexpr void operator()(const cmd::tlbi_by_asid_vmid<Op>& c) noexcept {
    regime(Op);
    as(c.as);
    vm(c.vm);
  }
  template <opcode Op>
  constexpr void operator()(const cmd::tlbi_by_va_asid_vmid<Op>& c) noexcept {
    regime(Op);
    as(c.as);
    vm(c.vm);
    range(c.operand);
  }
  template <opcode Op, unsigned AddrHi>
  constexpr void operator()(const cmd::tlbi_by_addr_vmid<Op, AddrHi>& c) noexcept {
    regime(Op);
    vm(c.vm);
    range(c.operand);
  }
  template <opcode Op>
  constexpr void operator()(const cmd::tlbi_by_va_asid<Op>& c) noexcept {
    regime(Op);
    as(c.as);
    range(c.operand);
  }
  template <opcode Op>
  constexpr void operator()(const cmd::tlbi_by_va<Op>& c) noexcept {
    regime(Op);
    range(c.operand);
  }
  constexpr void operator()(const cmd::atc_inv& c) noexcept {
    need(id_.ats(), illegal_reason::missing_feature);
    stream(c.sid, c.ssid, c.ssv, c.ssec);
    need(c.size <= cmd::atc_inv::all, illegal_reason::atc_size);
  }
  constexpr void operator()(const cmd::pri_resp& c) noexcept {
    need(id_.pri(), illegal_reason::missing_feature);
    stream(c.sid, c.ssid, c.ssv, c.ssec);
    need(raw(c.response) <= raw(cmd::pri_response::success), illegal_reason::reserved_value);
  }
  constexpr void operator()(const cmd::resume& c) noexcept {
    need(id_.stalls(), illegal_reason::missing_feature);
    stream(c.sid, {}, false, c.ssec);
    doubt(raw(c.action) > raw(cmd::resume_action::abort));
  }
  constexpr void operator()(const cmd::stall_term& c) noexcept {
    need(id_.stalls(), illegal_reason::missing_feature);
    stream(c.sid, {}, false, c.ssec);
  }
  constexpr void operator()(const cmd::sync& c) noexcept { need(raw(c.cs) <= raw(cmd::sync_signal::sev), illegal_reason::reserved_value); }
  template <opcode Op>
  constexpr void operator()(const cmd::dpti<Op>&) noexcept {
    need(reg::idr3::dpt::get(id_.idr3), illegal_reason::missing_feature);
  }
  /// SSEC of a TLBI has no field of its own: it is illegal whatever the rule for reserved bits.
  constexpr void tlbi_ssec(command c) noexcept { secure(cmd::ssec_f::get(c.dw0)); }

 private:
  constexpr void refuse(illegal_reason why) noexcept {
    if (v_.reason == illegal_reason::none) v_.reason = why;
  }
  constexpr void need(bool holds, illegal_reason otherwise) noexcept {
    if (!holds) refuse(otherwise);
  }
  constexpr void doubt(bool strange) noexcept { v_.unpredictable = v_.unpredictable || strange; }
  constexpr void secure(bool ssec) noexcept { need(!ssec, illegal_reason::secure); }

  constexpr void stream(stream_id sid, substream_id ssid, bool has_ssid, bool ssec) noexcept {
    secure(ssec);
    doubt((std::uint64_t{raw(sid)} >> id_.stream_bits()) != 0);
    doubt(has_ssid && (raw(ssid) >> id_.substream_bits()) != 0);
  }
  constexpr void as(asid a) noexcept { doubt((std::uint32_t{raw(a)} >> id_.asid_bits()) != 0); }
  constexpr void vm(vmid v) noexcept { doubt((std::uint32_t{raw(v)} >> id_.vmid_bits()) != 0 || (!id_.stage2() && raw(v) != 0)); }

  /// Does the translation regime of a TLBI exist on a Non-secure queue of this SMMU?
  constexpr void regime(opcode op) noexcept {
    switch (op) {
      case opcode::tlbi_nh_all:
      case opcode::tlbi_nh_asid:
      case opcode::tlbi_nh_va:
      case opcode::tlbi_nh_vaa: need(id_.stage1(), illegal_reason::missing_stage); break;
      case opcode::tlbi_el2_all:
      case opcode::tlbi_el2_asid:
      case opcode::tlbi_el2_va:
      case opcode::tlbi_el2_vaa:
        need(id_.stage1(), illegal_reason::missing_stage);
        need(id_.hyp(), illegal_reason::missing_feature);
        break;
      case opcode::tlbi_s12_vmall:
      case opcode::tlbi_s2_ipa: need(id_.stage2(), illegal_reason::missing_stage); break;
      case opcode::tlbi_nsnh_all: break;
      default: refuse(illegal_reason::secure);
    }
  }

  constexpr void range(tlbi_operand o) noexcept {
    const bool lenient = rule_ == reserved_bits_rule::ignored;
    if (o.scale() > tlbi_operand::max_scale && !id_.wide_scale()) {  // SCALE[5] is RES0
      if (!lenient) return refuse(illegal_reason::tlbi_range);
      v_.effective.dw0 = tlbi_operand::scale_f::set(v_.effective.dw0, o.scale() & tlbi_operand::max_scale);
      doubt(true);
    }
    const bool operand_set = (o.dw0() | (o.dw1() & tlbi_operand::ttl_f::mask)) != 0;
    if ((o.tg() == 0 && operand_set) || (o.tg() != 0 && !id_.range_invalidation())) {
      if (!lenient) return refuse(illegal_reason::tlbi_range);
      v_.effective.dw0 &= ~tlbi_operand::dw0_mask;
      v_.effective.dw1 &= ~(tlbi_operand::ttl_f::mask | tlbi_operand::tg_f::mask);
      return doubt(true);
    }
    if (o.tg() == 0) return;
    const granule g{static_cast<std::uint8_t>(o.tg())};
    need(id_.supports(g), illegal_reason::granule);
    if (g == granule::k16 && o.ttl() == 1 && !id_.wide_scale()) {  // no such level: the hint acts as 0
      v_.effective.dw1 = tlbi_operand::ttl_f::set(v_.effective.dw1, 0);
    }
    need(!tlbi_operand::illegal(v_.effective), illegal_reason::tlbi_form);
    const unsigned ttl = tlbi_operand::ttl_f::get(v_.effective.dw1);
    doubt((o.address() & tlbi_operand::alignment_mask(g, ttl)) != 0);
    doubt(o.scale() > tlbi_operand::max_wide_scale);
  }

  const id_registers& id_;
  reserved_bits_rule rule_;
  bool dirty_{};
  verdict v_{};
};

}  // namespace detail

/// Judges one command of a Non-secure queue. Purpose: a test double, an emulator and a fuzzer refuse the same commands.
/// Context: any; wait-free; no state. IHI 0070 4.1.5 to 4.1.7.
[[nodiscard]] constexpr verdict decode(command c, const id_registers& id, reserved_bits_rule rule) noexcept {
  detail::judge j{c, id, rule};
  const unsigned op = raw(opcode_of(c));
  if (op >= 0x10 && op < 0x40) j.tlbi_ssec(c);
  visit(c, j);
  return j.result();
}

}  // namespace emu
SHOOTDOWN_END
