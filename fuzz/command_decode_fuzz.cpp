// SPDX-License-Identifier: MIT
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>

#include <shootdown/arch/commands.hpp>
#include <shootdown/arch/format.hpp>
#include <shootdown/emu/decoder.hpp>

// Input: commands of 16 bytes, little-endian, as they lie in a ring. What must hold for every one of them:
// encode(decode(c)) is c without its reserved bits; text never leaves its span; the strict decoder accepts nothing that
// the architecture refuses outright, and stripping reserved bits never makes an accepted command illegal.
namespace {
using namespace shootdown;

[[noreturn]] void broken() { __builtin_trap(); }
void require(bool ok) {
  if (!ok) broken();
}

std::uint64_t word_at(const std::uint8_t* p) {
  std::uint64_t v = 0;
  for (unsigned i = 0; i != 8; ++i) v |= std::uint64_t{p[i]} << (8 * i);
  return v;
}

void check_text(command c) {
  std::array<char, format_max + 1> text{};
  text.fill('#');
  const std::size_t whole = format(c, std::span{text}.first(format_max));
  require(whole < format_max && text[whole] == '#' && text[format_max] == '#');
  const std::size_t room = (c.dw0 >> 8) % format_max;
  std::array<char, format_max + 1> cut{};
  cut.fill('#');
  const std::size_t n = format(c, std::span{cut}.first(room));
  require(n == (whole < room ? whole : room) && cut[n] == '#');
}

void check(command c) {
  const command res0 = reserved_bits(c);
  const command clean{c.dw0 & ~res0.dw0, c.dw1 & ~res0.dw1};
  require(visit(c, [](const auto& typed) { return typed.encode(); }) == clean);
  require(reserved_bits(clean) == command{});
  check_text(c);

  const bool typed = visit(c, [](const auto& t) { return !std::is_same_v<std::decay_t<decltype(t)>, cmd::reserved>; });
  for (const emu::id_registers& id : {emu::id_registers::qemu_7_2(), emu::id_registers::model_default()}) {
    const emu::verdict strict = emu::decode(c, id, emu::reserved_bits_rule::illegal);
    const emu::verdict lenient = emu::decode(c, id, emu::reserved_bits_rule::ignored);
    require(typed || !strict.ok());
    require(!strict.ok() || lenient.ok());
    require(!strict.ok() || res0 == command{});
    require(!lenient.ok() || emu::decode(clean, id, emu::reserved_bits_rule::ignored).ok());
  }
}
}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  for (; size >= command_bytes; data += command_bytes, size -= command_bytes) check({word_at(data), word_at(data + 8)});
  return 0;
}
