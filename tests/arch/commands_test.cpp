// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>

#include <cstdint>
#include <random>
#include <type_traits>

#include <shootdown/arch/commands.hpp>

namespace {
using namespace shootdown;

// Golden encodings, computed by hand from the field tables of IHI 0070 chapter 4.
constexpr command words(std::uint64_t dw0, std::uint64_t dw1) { return {dw0, dw1}; }
constexpr tlbi_operand range_of(granule g, std::uint64_t addr, unsigned num, unsigned scale, unsigned ttl, bool leaf) {
  return tlbi_operand::range(g, addr, num, scale, ttl, leaf).value();
}
constexpr stream_id sid{0x1234};

static_assert(cmd::prefetch_config{.sid = sid}.encode() == words(0x0000123400000001, 0));
static_assert(cmd::cfgi_ste{.sid = sid, .leaf = true}.encode() == words(0x0000123400000003, 1));
static_assert(cmd::cfgi_ste_range{.sid = stream_id{0x1200}, .range = 7}.encode() == words(0x0000120000000004, 7));
static_assert(cmd::cfgi_all().encode() == words(0x0000000000000004, 0x1f));
static_assert(cmd::cfgi_cd{.sid = sid, .ssid = substream_id{0x56}, .leaf = true}.encode() == words(0x0000123400056005, 1));
static_assert(cmd::cfgi_cd_all{.sid = sid}.encode() == words(0x0000123400000006, 0));
static_assert(cmd::tlbi_nh_all{.vm = vmid{5}}.encode() == words(0x0000000500000010, 0));
static_assert(cmd::tlbi_nh_asid{.as = asid{0x42}, .vm = vmid{0}}.encode() == words(0x0042000000000011, 0));
static_assert(cmd::tlbi_nh_va{.as = asid{0x42}, .operand = tlbi_operand::address(0x200000, true)}.encode() ==
              words(0x0042000000000012, 0x0000000000200001));
static_assert(cmd::tlbi_nh_va{.as = asid{0x42}, .operand = range_of(granule::k4, 0x10000000, 16, 0, 3, true)}.encode() ==
              words(0x0042000000010012, 0x0000000010000701));
static_assert(cmd::tlbi_nh_va{.as = asid{0x42}, .operand = range_of(granule::k4, 0x40000000, 0, 9, 2, true)}.encode() ==
              words(0x0042000000900012, 0x0000000040000601));
static_assert(cmd::tlbi_nh_va{.as = asid{0x42}, .operand = range_of(granule::k4, 0x7000, 0, 1, 0, false)}.encode() ==
              words(0x0042000000100012, 0x0000000000007400));
static_assert(cmd::tlbi_nh_vaa{.vm = vmid{5}, .operand = tlbi_operand::address(0xffff000000001000, false)}.encode() ==
              words(0x0000000500000013, 0xffff000000001000));
static_assert(cmd::tlbi_el2_all{}.encode() == words(0x20, 0));
static_assert(cmd::tlbi_el2_asid{.as = asid{0x42}}.encode() == words(0x0042000000000021, 0));
static_assert(cmd::tlbi_el2_va{.as = asid{0x42}, .operand = tlbi_operand::address(0x200000, true)}.encode() ==
              words(0x0042000000000022, 0x0000000000200001));
static_assert(cmd::tlbi_s12_vmall{.vm = vmid{5}}.encode() == words(0x0000000500000028, 0));
static_assert(cmd::tlbi_s2_ipa{.vm = vmid{5}, .operand = range_of(granule::k64, 0x80000000, 0, 13, 2, true)}.encode() ==
              words(0x0000000500d0002a, 0x0000000080000e01));
static_assert(cmd::tlbi_nsnh_all{}.encode() == words(0x30, 0));
static_assert(cmd::atc_inv{.sid = sid, .size = cmd::atc_inv::all}.encode() == words(0x0000123400000040, 0x34));
static_assert(cmd::atc_inv{.sid = sid, .ssid = substream_id{9}, .ssv = true, .size = 2, .address = 0x8000}.encode() ==
              words(0x0000123400009840, 0x8002));
static_assert(cmd::pri_resp{.sid = sid, .ssid = substream_id{9}, .ssv = true, .group = 0x1ff, .response = cmd::pri_response::success}
                  .encode() == words(0x0000123400009841, 0x21ff));
static_assert(cmd::resume{.sid = sid, .stag = 0xbeef, .action = cmd::resume_action::retry}.encode() == words(0x0000123400001044, 0xbeef));
static_assert(cmd::sync::silent().encode() == words(0x46, 0));
static_assert(cmd::sync::event().encode() == words(0x000000000fc02046, 0));
static_assert(cmd::sync::message(bus_addr{0x80001230}, 0).encode() == words(0x000000000fc01046, 0x80001230));
static_assert(cmd::sync::message(bus_addr{0x80001230}, 0xdeadbeef).encode() == words(0xdeadbeef0fc01046, 0x80001230));

// The rest of the opcode map, which has no golden line: opcode and tags in place, nothing else.
static_assert(cmd::prefetch_addr{.sid = sid, .ssid = substream_id{1}, .ssv = true, .size = 3, .address = 0x5000}.encode() ==
              words(0x0000123400001802, 0x5003));
static_assert(cmd::cfgi_vms_pidm{.vm = vmid{5}}.encode() == words(0x0000000500000007, 0));
static_assert(cmd::tlbi_el3_all{}.encode() == words(0x18, 0));
static_assert(cmd::tlbi_el3_va{.operand = tlbi_operand::address(0x3000, true)}.encode() == words(0x1a, 0x3001));
static_assert(cmd::tlbi_el2_vaa{.operand = tlbi_operand::address(0x3000, false)}.encode() == words(0x23, 0x3000));
static_assert(cmd::stall_term{.sid = sid}.encode() == words(0x0000123400000045, 0));
static_assert(cmd::tlbi_s_el2_all{}.encode() == words(0x50, 0));
static_assert(cmd::tlbi_s_el2_asid{.as = asid{1}}.encode() == words(0x0001000000000051, 0));
static_assert(cmd::tlbi_s_s12_vmall{.vm = vmid{1}}.encode() == words(0x0000000100000058, 0));
static_assert(cmd::tlbi_snh_all{}.encode() == words(0x60, 0));

// A tag word is what encode() writes without operand; stamp() joins the two.
static_assert(stamp(cmd::tlbi_nh_va::tag_word(asid{0x42}, vmid{7}), range_of(granule::k4, 0x1000, 1, 2, 3, true)) ==
              cmd::tlbi_nh_va{.as = asid{0x42}, .vm = vmid{7}, .operand = range_of(granule::k4, 0x1000, 1, 2, 3, true)}.encode());
static_assert(cmd::atc_inv::tag_word(sid, substream_id{9}, true) ==
              cmd::atc_inv{.sid = sid, .ssid = substream_id{9}, .ssv = true}.encode().dw0);

// The bits that a command gives a meaning to never overlap its reserved bits: encoding all-ones sets exactly the others.
template <class C>
constexpr bool masks_match() {
  const command all{~std::uint64_t{0}, ~std::uint64_t{0}};
  const command c = C::decode(all).encode();
  return c.dw0 == ((~C::res0_dw0 & ~opcode_f::mask) | opcode_f::put(C::op)) && c.dw1 == ~C::res0_dw1;
}
static_assert(masks_match<cmd::prefetch_config>() && masks_match<cmd::prefetch_addr>() && masks_match<cmd::cfgi_ste>());
static_assert(masks_match<cmd::cfgi_ste_range>() && masks_match<cmd::cfgi_cd>() && masks_match<cmd::cfgi_cd_all>());
static_assert(masks_match<cmd::cfgi_vms_pidm>() && masks_match<cmd::tlbi_nh_all>() && masks_match<cmd::tlbi_nh_asid>());
static_assert(masks_match<cmd::tlbi_nh_va>() && masks_match<cmd::tlbi_nh_vaa>() && masks_match<cmd::tlbi_el2_va>());
static_assert(masks_match<cmd::tlbi_s2_ipa>() && masks_match<cmd::tlbi_el2_vaa>() && masks_match<cmd::tlbi_nsnh_all>());
static_assert(masks_match<cmd::atc_inv>() && masks_match<cmd::pri_resp>() && masks_match<cmd::resume>());
static_assert(masks_match<cmd::stall_term>() && masks_match<cmd::sync>() && masks_match<cmd::dpti_pa>());

TEST(command, reserved_bits_of_the_specification_are_reserved_here) {
  EXPECT_EQ(cmd::tlbi_nh_va::res0_dw1, 0x00000000000000feu) << "dw1[7:1]: TTL128 and RES0";
  EXPECT_EQ(cmd::tlbi_s2_ipa::res0_dw1, 0xff000000000000feu) << "IPA ends at bit 55";
  EXPECT_EQ(cmd::tlbi_nh_va::res0_dw0, 0x00000000fc0e0f00u);
  EXPECT_EQ(cmd::sync::res0_dw0, 0x00000000f03fcf00u);
  EXPECT_EQ(cmd::sync::res0_dw1, 0xff00000000000003u);
  EXPECT_EQ(cmd::cfgi_cd::res0_dw0, 0x0000000000000b00u);
  EXPECT_EQ(cmd::atc_inv::res0_dw1, 0x0000000000000fc0u);
}

TEST(command, random_words_decode_and_encode_to_themselves_without_their_reserved_bits) {
  std::mt19937_64 random{20240601};
  unsigned typed_commands = 0;
  for (unsigned turn = 0; turn != 300'000; ++turn) {
    command c{random(), random()};
    if (turn % 3 == 0) c.dw0 &= random();  // sparse words reach the TG = 0 and NUM = 0 corners
    if (turn % 5 == 0) c.dw1 &= random() & random();
    c.dw0 = opcode_f::set(c.dw0, opcode{static_cast<std::uint8_t>(turn % 0x80)});
    const command res0 = reserved_bits(c);
    const command back = visit(c, [](const auto& typed) { return typed.encode(); });
    ASSERT_EQ(back.dw0, c.dw0 & ~res0.dw0) << std::hex << c.dw0 << ' ' << c.dw1;
    ASSERT_EQ(back.dw1, c.dw1 & ~res0.dw1) << std::hex << c.dw0 << ' ' << c.dw1;
    typed_commands += visit(c, [](const auto& typed) { return std::is_same_v<std::decay_t<decltype(typed)>, cmd::reserved> ? 0u : 1u; });
  }
  EXPECT_GT(typed_commands, 70'000u);
}

TEST(command, every_field_value_survives_encode_and_decode) {
  std::mt19937_64 random{7};
  for (unsigned turn = 0; turn != 20'000; ++turn) {
    const auto s = stream_id{static_cast<std::uint32_t>(random())};
    const auto ss = substream_id{static_cast<std::uint32_t>(random() & 0xfffff)};
    const auto as = asid{static_cast<std::uint16_t>(random())};
    const auto vm = vmid{static_cast<std::uint16_t>(random())};
    const bool flag = (random() & 1) != 0;
    const std::uint64_t page = random() & ~std::uint64_t{0xfff};
    const tlbi_operand op = tlbi_operand::address(page, flag);

    const cmd::cfgi_cd cd{s, ss, flag};
    ASSERT_EQ(cmd::cfgi_cd::decode(cd.encode()), cd);
    const cmd::cfgi_ste_range steps{s, static_cast<std::uint8_t>(random() & 31)};
    ASSERT_EQ(cmd::cfgi_ste_range::decode(steps.encode()), steps);
    const cmd::tlbi_nh_va va{as, vm, op};
    ASSERT_EQ(cmd::tlbi_nh_va::decode(va.encode()), va);
    const cmd::tlbi_el2_va el2{as, op};
    ASSERT_EQ(cmd::tlbi_el2_va::decode(el2.encode()), el2);
    const cmd::tlbi_s2_ipa s2{vm, tlbi_operand::address(page & 0x00fffffffffff000, flag)};
    ASSERT_EQ(cmd::tlbi_s2_ipa::decode(s2.encode()), s2);
    const cmd::atc_inv atc{s, ss, flag, !flag, static_cast<std::uint8_t>(random() & 63), page};
    ASSERT_EQ(cmd::atc_inv::decode(atc.encode()), atc);
    const cmd::pri_resp pri{s, ss, flag, static_cast<std::uint16_t>(random() & 0x1ff),
                            cmd::pri_response{static_cast<std::uint8_t>(random() % 3)}};
    ASSERT_EQ(cmd::pri_resp::decode(pri.encode()), pri);
    const cmd::resume res{s, static_cast<std::uint16_t>(random()), cmd::resume_action{static_cast<std::uint8_t>(random() % 3)}};
    ASSERT_EQ(cmd::resume::decode(res.encode()), res);
    const cmd::sync sy = cmd::sync::message(bus_addr{random() & 0x00fffffffffffffc}, static_cast<std::uint32_t>(random()));
    ASSERT_EQ(cmd::sync::decode(sy.encode()), sy);
  }
}

TEST(command, visit_names_the_type_of_each_opcode) {
  unsigned named = 0;
  for (unsigned op = 0; op != 256; ++op) {
    const bool ok = visit(command{op, 0}, [op](const auto& typed) {
      using type = std::decay_t<decltype(typed)>;
      if constexpr (std::is_same_v<type, cmd::reserved>) {
        return typed.raw == command{op, 0};
      } else {
        return static_cast<unsigned>(type::op) == op;
      }
    });
    EXPECT_TRUE(ok) << op;
    named +=
        visit(command{op, 0}, [](const auto& typed) { return std::is_same_v<std::decay_t<decltype(typed)>, cmd::reserved> ? 0u : 1u; });
  }
  EXPECT_EQ(named, 34u) << "commands of the opcode map";
}

TEST(command, the_never_legal_tlbi_form_is_handed_out_as_reserved) {
  for (const opcode op :
       {opcode::tlbi_nh_va, opcode::tlbi_nh_vaa, opcode::tlbi_el2_va, opcode::tlbi_el2_vaa, opcode::tlbi_s2_ipa, opcode::tlbi_el3_va}) {
    for (std::uint64_t tg = 1; tg <= 3; ++tg) {
      const command c{opcode_f::put(op) | (std::uint64_t{3} << 48), tlbi_operand::tg_f::put(static_cast<unsigned>(tg)) | 0x5000 | 1};
      EXPECT_TRUE(visit(c, [](const auto& typed) { return std::is_same_v<std::decay_t<decltype(typed)>, cmd::reserved>; }));
      EXPECT_EQ(visit(c, [](const auto& typed) { return typed.encode(); }), c);
    }
    const command legal{opcode_f::put(op), tlbi_operand::tg_f::put(1) | tlbi_operand::ttl_f::put(3) | 0x5000};
    EXPECT_FALSE(visit(legal, [](const auto& typed) { return std::is_same_v<std::decay_t<decltype(typed)>, cmd::reserved>; }));
  }
}

TEST(command, cfgi_ste_range_contains_the_aligned_block_of_its_stream) {
  const cmd::cfgi_ste_range block{.sid = stream_id{0x1234}, .range = 3};  // 16 streams
  EXPECT_TRUE(block.contains(stream_id{0x1230}));
  EXPECT_TRUE(block.contains(stream_id{0x123f}));
  EXPECT_FALSE(block.contains(stream_id{0x122f}));
  EXPECT_FALSE(block.contains(stream_id{0x1240}));
  EXPECT_TRUE(cmd::cfgi_all().contains(stream_id{0xffffffff}));
}

}  // namespace
