// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include <shootdown/arch/commands.hpp>

SHOOTDOWN_BEGIN

/// The spelling of an opcode in logs and recordings: the specification's without CMD_, PREFETCH_CFG for PREFETCH_CONFIG.
/// "RESERVED" for values that name no command. Any context.
[[nodiscard]] constexpr const char* name(opcode op) noexcept {
  switch (op) {
    case opcode::prefetch_config: return "PREFETCH_CFG";
    case opcode::prefetch_addr: return "PREFETCH_ADDR";
    case opcode::cfgi_ste: return "CFGI_STE";
    case opcode::cfgi_ste_range: return "CFGI_STE_RANGE";
    case opcode::cfgi_cd: return "CFGI_CD";
    case opcode::cfgi_cd_all: return "CFGI_CD_ALL";
    case opcode::cfgi_vms_pidm: return "CFGI_VMS_PIDM";
    case opcode::tlbi_nh_all: return "TLBI_NH_ALL";
    case opcode::tlbi_nh_asid: return "TLBI_NH_ASID";
    case opcode::tlbi_nh_va: return "TLBI_NH_VA";
    case opcode::tlbi_nh_vaa: return "TLBI_NH_VAA";
    case opcode::tlbi_el3_all: return "TLBI_EL3_ALL";
    case opcode::tlbi_el3_va: return "TLBI_EL3_VA";
    case opcode::tlbi_el2_all: return "TLBI_EL2_ALL";
    case opcode::tlbi_el2_asid: return "TLBI_EL2_ASID";
    case opcode::tlbi_el2_va: return "TLBI_EL2_VA";
    case opcode::tlbi_el2_vaa: return "TLBI_EL2_VAA";
    case opcode::tlbi_s12_vmall: return "TLBI_S12_VMALL";
    case opcode::tlbi_s2_ipa: return "TLBI_S2_IPA";
    case opcode::tlbi_nsnh_all: return "TLBI_NSNH_ALL";
    case opcode::atc_inv: return "ATC_INV";
    case opcode::pri_resp: return "PRI_RESP";
    case opcode::resume: return "RESUME";
    case opcode::stall_term: return "STALL_TERM";
    case opcode::sync: return "SYNC";
    case opcode::tlbi_s_el2_all: return "TLBI_S_EL2_ALL";
    case opcode::tlbi_s_el2_asid: return "TLBI_S_EL2_ASID";
    case opcode::tlbi_s_el2_va: return "TLBI_S_EL2_VA";
    case opcode::tlbi_s_el2_vaa: return "TLBI_S_EL2_VAA";
    case opcode::tlbi_s_s12_vmall: return "TLBI_S_S12_VMALL";
    case opcode::tlbi_s_s2_ipa: return "TLBI_S_S2_IPA";
    case opcode::tlbi_snh_all: return "TLBI_SNH_ALL";
    case opcode::dpti_all: return "DPTI_ALL";
    case opcode::dpti_pa: return "DPTI_PA";
  }
  return "RESERVED";
}

/// Characters that format() needs at most.
inline constexpr std::size_t format_max = 128;

namespace detail {

/// Appends to a span and drops what does not fit.
class text_writer {
 public:
  explicit constexpr text_writer(std::span<char> out) noexcept : out_{out} {}
  [[nodiscard]] constexpr std::size_t size() const noexcept { return n_; }
  constexpr void text(const char* s) noexcept {
    for (; *s != '\0'; ++s) one(*s);
  }
  constexpr void dec(const char* key, std::uint64_t v) noexcept { number(key, v, 10); }
  constexpr void hex(const char* key, std::uint64_t v) noexcept { number(key, v, 16); }

 private:
  constexpr void one(char c) noexcept {
    if (n_ < out_.size()) out_[n_++] = c;
  }
  /// " key=value".
  constexpr void number(const char* key, std::uint64_t v, unsigned base) noexcept {
    char digits[20]{};
    unsigned n = 0;
    do {
      digits[n++] = "0123456789abcdef"[v % base];
      v /= base;
    } while (v != 0);
    one(' ');
    text(key);
    text(base == 16 ? "=0x" : "=");
    while (n != 0) one(digits[--n]);
  }
  std::span<char> out_;
  std::size_t n_{};
};

/// The fields of each command. TLBIs always show num, scale and asid, also those that have none: so do the recordings.
struct field_writer {
  text_writer& out;

  constexpr void stream(stream_id sid, substream_id ssid, bool ssv) const noexcept {
    out.hex("sid", raw(sid));
    if (ssv) out.hex("ssid", raw(ssid));
  }
  constexpr void tlbi(const tlbi_operand& o, asid as, vmid vm) const noexcept {
    out.dec("num", o.num());
    out.dec("scale", o.scale());
    out.dec("asid", raw(as));
    if (raw(vm) != 0) out.dec("vmid", raw(vm));
  }
  constexpr void address(const tlbi_operand& o) const noexcept {
    out.dec("leaf", o.leaf() ? 1 : 0);
    out.dec("ttl", o.ttl());
    out.dec("tg", o.tg());
    out.hex("addr", o.address());
  }

  constexpr void operator()(const cmd::prefetch_config& c) const noexcept {
    stream(c.sid, c.ssid, c.ssv);
    out.dec("leaf", 0);
  }
  constexpr void operator()(const cmd::prefetch_addr& c) const noexcept {
    stream(c.sid, c.ssid, c.ssv);
    out.dec("size", c.size);
    out.hex("addr", c.address);
  }
  constexpr void operator()(const cmd::cfgi_ste& c) const noexcept {
    stream(c.sid, {}, false);
    out.dec("leaf", c.leaf ? 1 : 0);
  }
  constexpr void operator()(const cmd::cfgi_ste_range& c) const noexcept {
    if (c.range != cmd::cfgi_ste_range::all) stream(c.sid, {}, false);
    out.dec("range", c.range);
  }
  constexpr void operator()(const cmd::cfgi_cd& c) const noexcept {
    stream(c.sid, c.ssid, true);
    out.dec("leaf", c.leaf ? 1 : 0);
  }
  constexpr void operator()(const cmd::cfgi_cd_all& c) const noexcept { stream(c.sid, {}, false); }
  constexpr void operator()(const cmd::cfgi_vms_pidm& c) const noexcept { out.dec("vmid", raw(c.vm)); }
  template <opcode Op>
  constexpr void operator()(const cmd::tlbi_all<Op>&) const noexcept {
    tlbi({}, {}, {});
  }
  template <opcode Op>
  constexpr void operator()(const cmd::tlbi_by_vmid<Op>& c) const noexcept {
    tlbi({}, {}, c.vm);
  }
  template <opcode Op>
  constexpr void operator()(const cmd::tlbi_by_asid<Op>& c) const noexcept {
    tlbi({}, c.as, {});
  }
  template <opcode Op>
  constexpr void operator()(const cmd::tlbi_by_asid_vmid<Op>& c) const noexcept {
    tlbi({}, c.as, c.vm);
  }
  template <opcode Op>
  constexpr void operator()(const cmd::tlbi_by_va_asid_vmid<Op>& c) const noexcept {
    tlbi(c.operand, c.as, c.vm);
    address(c.operand);
  }
  template <opcode Op, unsigned AddrHi>
  constexpr void operator()(const cmd::tlbi_by_addr_vmid<Op, AddrHi>& c) const noexcept {
    tlbi(c.operand, {}, c.vm);
    address(c.operand);
  }
  template <opcode Op>
  constexpr void operator()(const cmd::tlbi_by_va_asid<Op>& c) const noexcept {
    tlbi(c.operand, c.as, {});
    address(c.operand);
  }
  template <opcode Op>
  constexpr void operator()(const cmd::tlbi_by_va<Op>& c) const noexcept {
    tlbi(c.operand, {}, {});
    address(c.operand);
  }
  constexpr void operator()(const cmd::atc_inv& c) const noexcept {
    stream(c.sid, c.ssid, c.ssv);
    if (c.global) out.dec("global", 1);
    out.dec("size", c.size);
    out.hex("addr", c.address);
  }
  constexpr void operator()(const cmd::pri_resp& c) const noexcept {
    stream(c.sid, c.ssid, c.ssv);
    out.dec("grpid", c.group);
    out.dec("resp", raw(c.response));
  }
  constexpr void operator()(const cmd::resume& c) const noexcept {
    stream(c.sid, {}, false);
    out.hex("stag", c.stag);
    out.dec("resp", raw(c.action));
  }
  constexpr void operator()(const cmd::stall_term& c) const noexcept { stream(c.sid, {}, false); }
  constexpr void operator()(const cmd::sync& c) const noexcept {
    out.dec("cs", raw(c.cs));
    out.dec("msh", raw(c.msh));
    out.dec("msiattr", c.msiattr);
    if (c.cs != cmd::sync_signal::irq) return;
    out.hex("msidata", c.msidata);
    out.hex("msiaddr", raw(c.msiaddr));
  }
  template <opcode Op>
  constexpr void operator()(const cmd::dpti<Op>& c) const noexcept {
    words(c.encode());
  }
  constexpr void operator()(const cmd::reserved& c) const noexcept { words(c.raw); }
  constexpr void words(command c) const noexcept {
    out.hex("dw0", c.dw0);
    out.hex("dw1", c.dw1);
  }
};

}  // namespace detail

/// Writes `c` as one line without line end, name and fields, in the form of the recordings:
///   TLBI_NH_VA num=0 scale=0 asid=1 leaf=1 ttl=3 tg=1 addr=0xffff8000
/// Returns the characters written: at most out.size() (the rest is dropped), never a terminating 0. Reserved bits do not
/// show, but SSEC does. Any context; no allocation.
constexpr std::size_t format(command c, std::span<char> out) noexcept {
  detail::text_writer w{out};
  visit(c, [&w, c](const auto& typed) noexcept {
    const bool all = opcode_of(c) == opcode::cfgi_ste_range && cmd::cfgi_ste_range::decode(c).range == cmd::cfgi_ste_range::all;
    w.text(all ? "CFGI_ALL" : name(opcode_of(c)));
    detail::field_writer{w}(typed);
    if constexpr (requires { typed.ssec; }) {
      if (typed.ssec) w.dec("ssec", 1);
    }
  });
  return w.size();
}

SHOOTDOWN_END
