// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <random>
#include <span>
#include <string>

#include <shootdown/arch/format.hpp>

namespace {
using namespace shootdown;

std::string text_of(command c) {
  std::array<char, format_max> buffer{};
  return {buffer.data(), format(c, buffer)};
}

TEST(format, shows_the_fields_that_the_recordings_never_carry) {
  EXPECT_EQ(text_of(cmd::tlbi_nh_all{.vm = vmid{5}}.encode()), "TLBI_NH_ALL num=0 scale=0 asid=0 vmid=5");
  EXPECT_EQ(text_of(cmd::tlbi_s2_ipa{.vm = vmid{5}, .operand = tlbi_operand::address(0x80000000, true)}.encode()),
            "TLBI_S2_IPA num=0 scale=0 asid=0 vmid=5 leaf=1 ttl=0 tg=0 addr=0x80000000");
  EXPECT_EQ(text_of(cmd::cfgi_cd{.sid = stream_id{0x1234}, .ssid = substream_id{0x56}, .leaf = true}.encode()),
            "CFGI_CD sid=0x1234 ssid=0x56 leaf=1");
  EXPECT_EQ(text_of(cmd::cfgi_ste_range{.sid = stream_id{0x1200}, .range = 7}.encode()), "CFGI_STE_RANGE sid=0x1200 range=7");
  EXPECT_EQ(
      text_of(
          cmd::atc_inv{.sid = stream_id{8}, .ssid = substream_id{9}, .ssv = true, .global = true, .size = 2, .address = 0x8000}.encode()),
      "ATC_INV sid=0x8 ssid=0x9 global=1 size=2 addr=0x8000");
  EXPECT_EQ(text_of(cmd::sync::message(bus_addr{0x80001230}, 0xdeadbeef).encode()),
            "SYNC cs=1 msh=3 msiattr=15 msidata=0xdeadbeef msiaddr=0x80001230");
  EXPECT_EQ(text_of(cmd::pri_resp{.sid = stream_id{1}, .group = 3, .response = cmd::pri_response::success}.encode()),
            "PRI_RESP sid=0x1 grpid=3 resp=2");
  EXPECT_EQ(text_of(cmd::resume{.sid = stream_id{1}, .stag = 0xbeef, .action = cmd::resume_action::retry}.encode()),
            "RESUME sid=0x1 stag=0xbeef resp=1");
  EXPECT_EQ(text_of(cmd::cfgi_ste{.sid = stream_id{1}, .ssec = true}.encode()), "CFGI_STE sid=0x1 leaf=0 ssec=1");
  EXPECT_EQ(text_of({0xff, 0x12}), "RESERVED dw0=0xff dw1=0x12");
}

TEST(format, the_never_legal_form_shows_its_words) {
  EXPECT_EQ(text_of({0x0001000000000012, 0x5401}), "TLBI_NH_VA dw0=0x1000000000012 dw1=0x5401");
}

TEST(format, never_writes_past_the_span_and_never_needs_more_than_its_maximum) {
  std::mt19937_64 random{13};
  std::size_t longest = 0;
  for (unsigned turn = 0; turn != 30'000; ++turn) {
    command c{random(), random()};
    if (turn % 4 == 0) c = {c.dw0 | 0xffffffffffffff00, ~std::uint64_t{0}};
    c.dw0 = opcode_f::set(c.dw0, opcode{static_cast<std::uint8_t>(turn)});
    std::array<char, format_max + 32> big{};
    const std::size_t whole = format(c, big);
    longest = whole > longest ? whole : longest;

    std::array<char, 64> small;
    small.fill('#');
    const std::size_t room = random() % 60;
    const std::size_t n = format(c, std::span{small}.first(room));
    ASSERT_EQ(n, whole < room ? whole : room);
    for (std::size_t i = 0; i != small.size(); ++i) ASSERT_EQ(small[i], i < n ? big[i] : '#');
  }
  EXPECT_LE(longest, format_max);
  EXPECT_EQ(format({0x46, 0}, {}), 0u);
}

static_assert([] {
  std::array<char, format_max> buffer{};
  return format(cmd::sync::silent().encode(), buffer);
}() == sizeof("SYNC cs=0 msh=0 msiattr=0") - 1);  // usable in constant expressions

}  // namespace
