// SPDX-License-Identifier: MIT
// Commands as they lie in a ring, judged against command_rules.hpp, which restates their formats by bit position:
//   encode(decode(c)) is c without its reserved bits, and those are the right ones
//   format() shows every field that means something, never leaves its span, and is cut where the span ends
//   the strict decoder accepts what the rules accept, under any identification registers, strict and lenient; what it lets
//   through is fit to be judged again, and means the same to the model's own decoder
//
// Input: tag, id registers (1 byte: 0 full, 1 default, 2 QEMU, 3 four words follow), then commands of 16 bytes, little-endian.
// A shorter rest is filled up with zeros.
//
// Under test: arch/command.hpp arch/commands.hpp arch/cmd_ arch/format.hpp arch/tlbi_operand.hpp emu/decoder.hpp
#include <array>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <type_traits>

#include <shootdown/arch/commands.hpp>
#include <shootdown/arch/format.hpp>
#include <shootdown/emu/decoder.hpp>
#include <shootdown/model/atc.hpp>
#include <shootdown/model/scope.hpp>

#include "command_rules.hpp"
#include "input.hpp"

extern "C" const std::uint8_t fuzz_format_tag = 'c';

namespace {
using namespace shootdown;
using fuzz::require;

emu::id_registers choose_id(fuzz::input& in) {
  emu::id_registers id = emu::id_registers::model_full();
  const unsigned kind = in.below(4);
  if (kind == 1) return emu::id_registers::model_default();
  if (kind == 2) return emu::id_registers::qemu_7_2();
  if (kind == 3) {
    emu::id_registers wild{};
    for (std::uint32_t* const word : {&wild.idr0, &wild.idr1, &wild.idr3, &wild.idr5}) *word = in.u32();
    if (wild.validate().ok()) id = wild;
  }
  return id;
}

/// Where the field behind a key lies.
command place(std::string_view key, std::uint64_t v, const fuzz::rule& r) {
  if (key == "sid") return {v << 32, 0};
  if (key == "ssid") return {v << 12 | (r.op == 0x05 ? 0 : fuzz::ssv), 0};
  if (key == "num") return {v << 12, 0};
  if (key == "scale") return {v << 20, 0};
  if (key == "asid") return {v << 48, 0};
  if (key == "vmid") return {v << 32, 0};
  if (key == "global") return {v << 9, 0};
  if (key == "ssec") return {v << 10, 0};
  if (key == "resp") return r.op == 0x44 ? command{v << 12, 0} : command{0, v << 12};
  if (key == "cs") return {v << 12, 0};
  if (key == "msh") return {v << 22, 0};
  if (key == "msiattr") return {v << 24, 0};
  if (key == "msidata") return {v << 32, 0};
  if (key == "dw0") return {v, 0};
  if (key == "ttl") return {0, v << 8};
  if (key == "tg") return {0, v << 10};
  for (const std::string_view low : {"leaf", "size", "addr", "range", "grpid", "stag", "msiaddr", "dw1"})
    if (key == low) return {0, v};
  fuzz::broken("text with an unknown key");
}

/// Reads a line back. `line` is not empty.
command parse(std::string_view line, std::string_view& name, const fuzz::rule& r) {
  const auto word = [&line] {
    const std::size_t end = line.find(' ');
    const std::string_view w = line.substr(0, end);
    line = end == std::string_view::npos ? std::string_view{} : line.substr(end + 1);
    return w;
  };
  name = word();
  command c{r.op, 0};
  while (!line.empty()) {
    const std::string_view w = word();
    const std::size_t equals = w.find('=');
    require(equals != std::string_view::npos, "text without key=value");
    std::string_view digits = w.substr(equals + 1);
    const bool hex = digits.starts_with("0x");
    if (hex) digits.remove_prefix(2);
    std::uint64_t v = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), v, hex ? 16 : 10);
    require(error == std::errc{} && end == digits.data() + digits.size(), "text with something that is no number");
    const command p = place(w.substr(0, equals), v, r);
    require((c.dw0 & p.dw0 & ~fuzz::op_bits) == 0 && (c.dw1 & p.dw1) == 0, "text that names a field twice");
    c.dw0 |= p.dw0;
    c.dw1 |= p.dw1;
  }
  return c;
}

/// `clean` without what the text leaves out on purpose.
command shown(command clean, const fuzz::rule& r) {
  if (r.feature == fuzz::need::dpt) return clean;  // shown as two words
  if ((r.dw0 & fuzz::ssv) != 0 && (clean.dw0 & fuzz::ssv) == 0) clean.dw0 &= ~fuzz::ssid;
  if (r.op == 0x04 && clean.dw1 == 31) clean.dw0 &= ~fuzz::sid;
  if (r.op == 0x46 && fuzz::part(clean.dw0, 13, 12) != 1) clean = {clean.dw0 & ~fuzz::bits(63, 32), 0};
  return clean;
}

void check_text(command c, command clean) {
  std::array<char, format_max + 1> text{};
  text.fill('#');
  const std::size_t whole = format(c, std::span{text}.first(format_max));
  require(whole < format_max && text[whole] == '#' && text[format_max] == '#', "text leaves its span");
  const std::size_t room = (c.dw0 >> 8) % format_max;
  std::array<char, format_max + 1> cut{};
  cut.fill('#');
  const std::size_t n = format(c, std::span{cut}.first(room));
  require(n == (whole < room ? whole : room) && cut[n] == '#', "cut text leaves its span");
  require(std::string_view(cut.data(), n) == std::string_view(text.data(), n), "cut text is another one");

  static constexpr fuzz::rule unknown{0, "RESERVED", 0, 0, fuzz::need::never, false};
  const fuzz::rule* known = fuzz::rule_of(c);
  std::string_view name;
  const command read = parse({text.data(), whole}, name, known == nullptr ? unknown : *known);
  const bool all = known != nullptr && known->op == 0x04 && clean.dw1 == 31;
  require(name == (all ? "CFGI_ALL" : known == nullptr ? "RESERVED" : known->name), "name of a command");
  require(read == (known == nullptr ? clean : shown(clean, *known)), "text that loses a field");
}

/// The factory of range operands makes exactly those that the rules permit.
void check_operand(command c, const emu::id_registers& id) {
  const auto made = tlbi_operand::from_wire(c);
  require(made.ok() == !fuzz::formless(c), "from_wire");
  if (!made.ok()) return;
  if (made->tg() == 0) {
    const tlbi_operand plain = tlbi_operand::address(c.dw1, made->leaf());
    require(plain.dw0() == 0 && plain.dw1() == (c.dw1 & (fuzz::bits(63, 12) | 1)) && plain.span_bytes() == 0, "address()");
    return;
  }
  const unsigned tg = made->tg(), ttl = made->ttl(), scale = made->scale();
  const unsigned page = 10 + 2 * tg, leaf = ttl == 0 ? page : page + (3 - ttl) * (page - 3);
  const bool aligned = (c.dw1 & ~std::uint64_t{0xfff} & ((std::uint64_t{1} << leaf) - 1)) == 0;
  const bool wide = id.wide_scale();
  const auto again =
      tlbi_operand::range(granule{static_cast<std::uint8_t>(tg)}, made->address(), made->num(), scale, ttl, made->leaf(), wide);
  require(again.ok() == (aligned && scale <= (wide ? 39u : 31u) && !(tg == 2 && ttl == 1 && !wide)), "range() and the rules disagree");
  if (again.ok()) require(*again == *made, "range() makes another operand");
}

/// What the model, with a decoder of its own, takes an executed command for.
void check_meaning(const emu::verdict& v, const emu::id_registers& id) {
  const command c = v.effective;
  if (opcode_of(c) == opcode::atc_inv) {
    const model::atc_scope s = model::decode_atc_scope(c);
    const cmd::atc_inv a = cmd::atc_inv::decode(c);
    const std::uint64_t span = a.size >= 52 ? 0 : std::uint64_t{1} << (a.size + 12);
    require(s.sid == raw(a.sid) && s.ssid == raw(a.ssid) && s.ssv == a.ssv && s.global == a.global && s.size == a.size, "ATC_INV: tags");
    require(s.first == (span == 0 ? 0 : a.address / span * span) && s.last == s.first + (span - 1), "ATC_INV: span");
    return;
  }
  const fuzz::rule& r = *fuzz::rule_of(c);
  if (r.op < 0x10 || r.op > 0x30) return;
  model::tlbi_facts f{};
  f.stage2 = id.stage2();
  f.range = id.range_invalidation();
  f.wide_scale = id.wide_scale();
  f.e2h = true;
  f.asid_bits = static_cast<std::uint8_t>(id.asid_bits());
  f.vmid_bits = static_cast<std::uint8_t>(id.vmid_bits());
  const model::scope s = model::decode_scope(c, f);
  if (v.unpredictable) return;
  require(!s.unpredictable && s.what != model::scope::extent::nothing, "the model ignores a command that is fine");
  if ((r.dw0 & fuzz::asid) != 0) require(!s.any_asid && s.as == fuzz::part(c.dw0, 63, 48), "TLBI: ASID");
  if ((r.dw0 & fuzz::vmid) != 0) require(s.vm == fuzz::part(c.dw0, 47, 32), "TLBI: VMID");
  require((s.what == model::scope::extent::addresses) == r.by_address, "TLBI: by address");
  if (!r.by_address) return;
  const tlbi_operand o = *tlbi_operand::from_wire(c);
  require(s.first == o.address(), "TLBI: address");
  require((s.table_levels == 0) == o.leaf(), "TLBI: LEAF");
  if (o.tg() == 0) return require(s.last == s.first, "TLBI: one entry");
  const std::uint64_t last = o.address() + (o.span_bytes() - 1);
  require(s.last == (last < o.address() ? ~std::uint64_t{0} : last), "TLBI: range");
  require(s.granules == 1u << o.tg() && s.leaf_levels == (o.ttl() == 0 ? 0xfu : 1u << o.ttl()), "TLBI: granule and level");
}

/// The factories for completion signals, and the streams that a CFGI_STE_RANGE names.
void check_factories(command c) {
  const std::uint64_t address = c.dw1 & fuzz::bits(55, 2);
  const std::uint32_t data = static_cast<std::uint32_t>(c.dw0 >> 32);
  const command message = cmd::sync::message(bus_addr{address}, data).encode();
  require(message == command{0x46 | 1u << 12 | 3u << 22 | 0xfu << 24 | std::uint64_t{data} << 32, address}, "SYNC with a message");
  require(cmd::sync::event().encode() == command{0x46 | 2u << 12 | 3u << 22 | 0xfu << 24, 0}, "SYNC with an event");
  require(cmd::sync::silent().encode() == command{0x46, 0}, "silent SYNC");
  const cmd::cfgi_ste_range r = cmd::cfgi_ste_range::decode({c.dw0, c.dw1});
  const std::uint64_t count = std::uint64_t{2} << (c.dw1 & 31), first = raw(r.sid) / count * count;
  for (const std::uint64_t s : {std::uint64_t{0}, first, first + count - 1, first + count, first - 1}) {
    if ((s >> 32) == 0)
      require(r.contains(stream_id{static_cast<std::uint32_t>(s)}) == (s >= first && s - first < count), "CFGI_STE_RANGE");
  }
  require(cmd::cfgi_all().encode() == command{0x04, 31}, "CFGI_ALL");
}

void check(command c, const emu::id_registers& id) {
  const command res0 = reserved_bits(c);
  require(res0 == fuzz::without_meaning(c), "reserved bits");
  const command clean{c.dw0 & ~res0.dw0, c.dw1 & ~res0.dw1};
  require(visit(c, [](const auto& typed) { return typed.encode(); }) == clean, "encode(decode())");
  require(reserved_bits(clean) == command{}, "reserved bits of a clean command");
  check_text(c, clean);
  check_factories(c);
  const fuzz::rule* const known = fuzz::rule_of(c);
  const bool typed = visit(c, [](const auto& t) { return !std::is_same_v<std::decay_t<decltype(t)>, cmd::reserved>; });
  require(typed == (known != nullptr && !(known->by_address && fuzz::formless(c))), "visit() and the list of commands");
  if (known != nullptr && known->by_address) check_operand(c, id);

  const fuzz::facts f{id};
  for (const bool lenient : {false, true}) {
    const auto rule = lenient ? emu::reserved_bits_rule::ignored : emu::reserved_bits_rule::illegal;
    const emu::verdict v = emu::decode(c, id, rule);
    require(v.ok() == fuzz::legal(c, f, lenient), "the strict decoder and the rules disagree");
    require(v.ok() || v.code() == errc::illegal_command, "code of a refusal");
    const std::string_view why = name(v.reason);
    require(v.ok() == (why == "none") && why != "?", "name of a refusal");
    if (!v.ok()) continue;
    require(reserved_bits(v.effective) == command{} && opcode_of(v.effective) == opcode_of(c), "effective command");
    if (!lenient && !(fuzz::part(c.dw1, 11, 10) == 2 && fuzz::part(c.dw1, 9, 8) == 1))
      require(v.effective == c, "a strict SMMU changes a command");
    const emu::verdict again = emu::decode(v.effective, id, rule);
    require(again.ok() && again.effective == v.effective, "what is executed cannot be judged again");
    check_meaning(v, id);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::input in{data, size};
  if (!in.tagged()) return -1;
  const emu::id_registers id = choose_id(in);
  while (!in.empty()) {
    const std::uint64_t dw0 = in.u64();
    check({dw0, in.u64()}, id);
  }
  return 0;
}
