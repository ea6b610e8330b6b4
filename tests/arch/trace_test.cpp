// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <sstream>
#include <string>
#include <type_traits>
#include <vector>

#include <shootdown/arch/commands.hpp>
#include <shootdown/arch/format.hpp>
#include <support/gzip_file.hpp>

// The command queue history that Linux 6.1.192 produced, see bench/traces/README.md.
namespace {
using namespace shootdown;

std::uint64_t little_endian(const char* p) {
  std::uint64_t v = 0;
  for (unsigned i = 0; i != 8; ++i) v |= std::uint64_t{static_cast<unsigned char>(p[i])} << (8 * i);
  return v;
}

std::vector<command> recorded() {
  const std::string raw = test::read_gzip(test::trace_path("linux-6.1.192-strict-smp1.raw.gz"));
  std::vector<command> commands;
  for (std::size_t i = 0; i + command_bytes <= raw.size(); i += command_bytes) {
    commands.push_back({little_endian(&raw[i]), little_endian(&raw[i + 8])});
  }
  return commands;
}

std::string text_of(command c) {
  std::array<char, format_max> buffer{};
  return {buffer.data(), format(c, buffer)};
}

TEST(recorded_commands, all_decode_and_encode_bit_identically) {
  const std::vector<command> commands = recorded();
  ASSERT_EQ(commands.size(), 23'517u);
  for (std::size_t i = 0; i != commands.size(); ++i) {
    const command c = commands[i];
    ASSERT_EQ(reserved_bits(c), command{}) << "command " << i;
    const command back = visit(c, [](const auto& typed) {
      static_assert(!std::is_void_v<decltype(typed.encode())>);
      return typed.encode();
    });
    ASSERT_EQ(back, c) << "command " << i;
    ASSERT_FALSE(visit(c, [](const auto& typed) { return std::is_same_v<std::decay_t<decltype(typed)>, cmd::reserved>; }))
        << "command " << i;
  }
}

TEST(recorded_commands, totals_are_those_of_the_recording) {
  unsigned nh_va = 0, sync_sev = 0, cfgi_ste = 0, prefetch = 0, nh_asid = 0, nsnh_all = 0, cfgi_all = 0, other = 0;
  for (const command c : recorded()) {
    switch (opcode_of(c)) {
      case opcode::tlbi_nh_va:
        EXPECT_EQ(cmd::tlbi_nh_va::decode(c).operand.tg(), 1u);
        ++nh_va;
        break;
      case opcode::sync:
        EXPECT_EQ(cmd::sync::decode(c), cmd::sync::event());
        ++sync_sev;
        break;
      case opcode::cfgi_ste: ++cfgi_ste; break;
      case opcode::prefetch_config: ++prefetch; break;
      case opcode::tlbi_nh_asid: ++nh_asid; break;
      case opcode::tlbi_nsnh_all: ++nsnh_all; break;
      case opcode::cfgi_ste_range: cmd::cfgi_ste_range::decode(c) == cmd::cfgi_all() ? ++cfgi_all : ++other; break;
      default: ++other;
    }
  }
  EXPECT_EQ(nh_va, 11'804u);
  EXPECT_EQ(sync_sev, 11'682u);
  EXPECT_EQ(cfgi_ste, 18u);
  EXPECT_EQ(prefetch, 7u);
  EXPECT_EQ(nh_asid, 4u);
  EXPECT_EQ(nsnh_all, 1u);
  EXPECT_EQ(cfgi_all, 1u);
  EXPECT_EQ(other, 0u);
}

TEST(recorded_commands, every_range_is_one_that_the_factory_makes_too) {
  for (const command c : recorded()) {
    if (opcode_of(c) != opcode::tlbi_nh_va) continue;
    const auto typed = cmd::tlbi_nh_va::decode(c);
    const tlbi_operand& o = typed.operand;
    const auto again = tlbi_operand::range(granule::k4, o.address(), o.num(), o.scale(), o.ttl(), o.leaf());
    ASSERT_TRUE(again.ok());
    ASSERT_EQ(stamp(cmd::tlbi_nh_va::tag_word(typed.as, typed.vm), *again), c);
  }
}

void text_matches(const char* file, std::size_t lines_expected) {
  std::istringstream lines{test::read_gzip(test::trace_path(file))};
  std::string line;
  std::size_t n = 0;
  while (std::getline(lines, line)) {
    std::istringstream words{line};
    std::size_t index = 0;
    command c{};
    words >> std::dec >> index >> std::hex >> c.dw0 >> c.dw1 >> std::ws;
    std::string expected;
    std::getline(words, expected);
    ASSERT_EQ(index, n);
    ASSERT_EQ(text_of(c), expected) << "line " << n;
    ++n;
  }
  EXPECT_EQ(n, lines_expected);
}

TEST(recorded_commands, format_writes_the_text_recording_line_by_line) { text_matches("linux-6.1.192-strict-smp1.txt.gz", 23'517); }
TEST(recorded_commands, format_writes_the_lazy_text_recording_line_by_line) { text_matches("linux-6.1.192-lazy-smp1.txt.gz", 202); }

TEST(recorded_commands, raw_and_text_recording_hold_the_same_words) {
  const std::vector<command> commands = recorded();
  std::istringstream lines{test::read_gzip(test::trace_path("linux-6.1.192-strict-smp1.txt.gz"))};
  std::string line;
  for (const command c : commands) {
    ASSERT_TRUE(std::getline(lines, line));
    std::istringstream words{line};
    std::size_t index = 0;
    command t{};
    words >> std::dec >> index >> std::hex >> t.dw0 >> t.dw1;
    ASSERT_EQ(t, c) << "line " << index;
  }
}

}  // namespace
