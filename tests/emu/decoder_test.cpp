// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>

#include <cstdint>
#include <set>
#include <string>

#include <shootdown/arch/format.hpp>
#include <shootdown/emu/decoder.hpp>
#include <support/gzip_file.hpp>

namespace {
using namespace shootdown;
using emu::id_registers;
using emu::illegal_reason;
using emu::reserved_bits_rule;

constexpr reserved_bits_rule strict = reserved_bits_rule::illegal;
constexpr reserved_bits_rule lenient = reserved_bits_rule::ignored;

template <class Field>
void put(std::uint32_t& word, typename Field::value_type v) {
  word = static_cast<std::uint32_t>(Field::set(word, v));
}

/// Everything implemented, 8-bit tags excepted.
id_registers everything() {
  id_registers r = id_registers::model_default();
  put<reg::idr0::s2p>(r.idr0, true);
  put<reg::idr0::hyp>(r.idr0, true);
  put<reg::idr0::ats>(r.idr0, true);
  put<reg::idr0::pri>(r.idr0, true);
  put<reg::idr0::stall>(r.idr0, reg::stall_model::stall_and_terminate);
  put<reg::idr1::ssidsize>(r.idr1, 8);
  put<reg::idr3::mpam>(r.idr3, true);
  put<reg::idr3::dpt>(r.idr3, true);
  return r;
}

illegal_reason why(command c, const id_registers& id, reserved_bits_rule rule = strict) { return emu::decode(c, id, rule).reason; }
bool doubtful(command c, const id_registers& id) {
  const emu::verdict v = emu::decode(c, id, strict);
  EXPECT_TRUE(v.ok()) << name(v.reason);
  return v.unpredictable;
}
command only_opcode(opcode op) { return {opcode_f::put(op), 0}; }

TEST(decoder, the_opcodes_of_a_fully_equipped_non_secure_queue) {
  const std::set<unsigned> legal = {0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x10, 0x11, 0x12, 0x13, 0x20, 0x21,
                                    0x22, 0x23, 0x28, 0x2a, 0x30, 0x40, 0x41, 0x44, 0x45, 0x46, 0x70, 0x73};
  const std::set<unsigned> secure = {0x18, 0x1a, 0x50, 0x51, 0x52, 0x53, 0x58, 0x5a, 0x60};
  for (unsigned op = 0; op != 256; ++op) {
    const illegal_reason r = why({op, 0}, everything());
    if (legal.contains(op)) {
      EXPECT_EQ(r, illegal_reason::none) << op;
    } else {
      EXPECT_EQ(r, secure.contains(op) ? illegal_reason::secure : illegal_reason::unknown_opcode) << op;
    }
    EXPECT_EQ(why({op, 0}, everything(), lenient), r) << op;
  }
}

TEST(decoder, commands_of_missing_stages_and_features_are_illegal) {
  const id_registers s1 = id_registers::model_default();
  id_registers s2 = s1;
  put<reg::idr0::s1p>(s2.idr0, false);
  put<reg::idr0::s2p>(s2.idr0, true);
  for (const opcode op :
       {opcode::tlbi_nh_all, opcode::tlbi_nh_asid, opcode::tlbi_nh_va, opcode::tlbi_nh_vaa, opcode::cfgi_cd, opcode::cfgi_cd_all}) {
    EXPECT_EQ(why(only_opcode(op), s1), illegal_reason::none) << name(op);
    EXPECT_EQ(why(only_opcode(op), s2), illegal_reason::missing_stage) << name(op);
  }
  for (const opcode op : {opcode::tlbi_s12_vmall, opcode::tlbi_s2_ipa}) {
    EXPECT_EQ(why(only_opcode(op), s1), illegal_reason::missing_stage) << name(op);
    EXPECT_EQ(why(only_opcode(op), s2), illegal_reason::none) << name(op);
  }
  for (const opcode op : {opcode::tlbi_el2_all, opcode::tlbi_el2_asid, opcode::tlbi_el2_va, opcode::tlbi_el2_vaa, opcode::atc_inv,
                          opcode::pri_resp, opcode::resume, opcode::stall_term, opcode::cfgi_vms_pidm, opcode::dpti_all, opcode::dpti_pa}) {
    EXPECT_EQ(why(only_opcode(op), s1), illegal_reason::missing_feature) << name(op);
    EXPECT_EQ(why(only_opcode(op), everything()), illegal_reason::none) << name(op);
  }
  EXPECT_EQ(why(only_opcode(opcode::tlbi_nsnh_all), s2), illegal_reason::none);
}

TEST(decoder, ssec_on_a_non_secure_queue_is_illegal_even_to_a_lenient_smmu) {
  for (const opcode op : {opcode::prefetch_config, opcode::cfgi_ste, opcode::cfgi_ste_range, opcode::cfgi_cd, opcode::atc_inv,
                          opcode::resume, opcode::tlbi_nh_va, opcode::tlbi_nsnh_all, opcode::tlbi_nh_asid}) {
    const command c{opcode_f::put(op) | cmd::ssec_f::put(true), 0};
    EXPECT_EQ(why(c, everything()), illegal_reason::secure) << name(op);
    EXPECT_EQ(why(c, everything(), lenient), illegal_reason::secure) << name(op);
  }
}

TEST(decoder, each_reserved_bit_is_illegal_or_ignored_as_chosen) {
  const id_registers id = everything();
  unsigned bits = 0;
  for (unsigned op = 0; op != 256; ++op) {
    const command plain{op, 0};
    if (why(plain, id) != illegal_reason::none) continue;
    const auto masks = visit(plain, [](const auto& typed) { return command{typed.res0_dw0, typed.res0_dw1}; });
    for (unsigned bit = 0; bit != 128; ++bit) {
      const command one{bit < 64 ? std::uint64_t{1} << bit : 0, bit < 64 ? 0 : std::uint64_t{1} << (bit - 64)};
      if (((masks.dw0 & one.dw0) | (masks.dw1 & one.dw1)) == 0) continue;
      const command c{plain.dw0 | one.dw0, plain.dw1 | one.dw1};
      const bool is_ssec = bit == 10 && op >= 0x10 && op < 0x40;
      ASSERT_EQ(why(c, id), is_ssec ? illegal_reason::secure : illegal_reason::reserved_bits) << op << " bit " << bit;
      if (is_ssec) continue;
      const emu::verdict v = emu::decode(c, id, lenient);
      ASSERT_TRUE(v.ok());
      ASSERT_EQ(v.effective, plain);
      ++bits;
    }
  }
  EXPECT_GT(bits, 800u);
}

// All operand forms against the rules spelled out here a second time.
TEST(decoder, every_tlbi_range_form) {
  id_registers ds = everything();
  put<reg::idr5::ds>(ds.idr5, true);
  id_registers no_ril = everything();
  put<reg::idr3::ril>(no_ril.idr3, false);
  id_registers only_4k = everything();
  put<reg::idr5::gran16k>(only_4k.idr5, false);
  put<reg::idr5::gran64k>(only_4k.idr5, false);

  for (const id_registers& id : {everything(), ds, no_ril, only_4k}) {
    const bool ril = id.range_invalidation(), wide = id.wide_scale();
    for (unsigned tg = 0; tg != 4; ++tg) {
      for (unsigned ttl = 0; ttl != 4; ++ttl) {
        for (unsigned num = 0; num != 32; ++num) {
          for (unsigned scale = 0; scale != 64; ++scale) {
            const command c{opcode_f::put(opcode::tlbi_nh_va) | tlbi_operand::num_f::put(num) | tlbi_operand::scale_f::put(scale),
                            tlbi_operand::tg_f::put(tg) | tlbi_operand::ttl_f::put(ttl)};
            const bool no_level = tg == 2 && ttl == 1 && !wide;
            const unsigned level = no_level ? 0 : ttl;
            bool legal = true;
            if (tg == 0)
              legal = num == 0 && scale == 0 && ttl == 0;
            else
              legal = ril && (wide || scale < 32) && (num != 0 || scale != 0 || level != 0) &&
                      id.supports(granule{static_cast<std::uint8_t>(tg)});
            const emu::verdict v = emu::decode(c, id, strict);
            ASSERT_EQ(v.ok(), legal) << tg << ' ' << ttl << ' ' << num << ' ' << scale << ' ' << name(v.reason);
            if (legal) {
              ASSERT_EQ(v.unpredictable, scale > 39);
              ASSERT_EQ(tlbi_operand::ttl_f::get(v.effective.dw1), level);
            }
            const emu::verdict l = emu::decode(c, id, lenient);
            if (legal) {
              ASSERT_TRUE(l.ok());
            }
            if (tg != 0 && !ril && (num != 0 || scale != 0 || ttl != 0)) {
              ASSERT_TRUE(l.ok() && l.unpredictable);
              ASSERT_EQ(l.effective, only_opcode(opcode::tlbi_nh_va)) << "shrinks to one entry";
            }
            if (tg != 0 && ril && num == 0 && level == 0 && (wide ? scale == 0 : scale % 32 == 0)) {
              ASSERT_EQ(l.reason, id.supports(granule{static_cast<std::uint8_t>(tg)}) ? illegal_reason::tlbi_form
                                  : scale == 0 && ttl == 0                            ? illegal_reason::tlbi_form
                                                                                      : illegal_reason::granule);
            }
          }
        }
      }
    }
  }
}

TEST(decoder, what_a_correct_driver_never_sends_is_flagged) {
  const id_registers id = id_registers::model_default();
  const auto va = [](unsigned tg, unsigned ttl, std::uint64_t addr) {
    return command{opcode_f::put(opcode::tlbi_nh_va) | tlbi_operand::scale_f::put(1),
                   tlbi_operand::tg_f::put(tg) | tlbi_operand::ttl_f::put(ttl) | addr};
  };
  EXPECT_FALSE(doubtful(va(1, 3, 0x1000), id));
  EXPECT_FALSE(doubtful(va(1, 2, 0x200000), id));
  EXPECT_TRUE(doubtful(va(1, 2, 0x1000), id));
  EXPECT_TRUE(doubtful(va(1, 1, 0x200000), id));
  EXPECT_TRUE(doubtful(va(3, 3, 0x1000), id));
  EXPECT_TRUE(doubtful(va(2, 1, 0x1000), id)) << "16 KiB: TTL 1 acts as 0, the granule still counts";
  EXPECT_FALSE(doubtful(va(2, 1, 0x4000), id));

  EXPECT_FALSE(doubtful(cmd::cfgi_ste{.sid = stream_id{0xffff}}.encode(), id));
  EXPECT_TRUE(doubtful(cmd::cfgi_ste{.sid = stream_id{0x10000}}.encode(), id));
  EXPECT_TRUE(doubtful(cmd::cfgi_cd{.sid = stream_id{1}, .ssid = substream_id{1}}.encode(), id)) << "SSIDSIZE 0";
  EXPECT_TRUE(doubtful(cmd::tlbi_nh_asid{.as = asid{1}, .vm = vmid{1}}.encode(), id)) << "VMID without stage 2";
  EXPECT_FALSE(doubtful(cmd::tlbi_nh_asid{.as = asid{1}, .vm = vmid{1}}.encode(), everything()));
  id_registers narrow = everything();
  put<reg::idr0::asid16>(narrow.idr0, false);
  put<reg::idr0::vmid16>(narrow.idr0, false);
  EXPECT_TRUE(doubtful(cmd::tlbi_nh_asid{.as = asid{0x100}}.encode(), narrow));
  EXPECT_FALSE(doubtful(cmd::tlbi_nh_asid{.as = asid{0xff}}.encode(), narrow));
  EXPECT_TRUE(doubtful(cmd::tlbi_s12_vmall{.vm = vmid{0x100}}.encode(), narrow));
  EXPECT_FALSE(doubtful(cmd::cfgi_all().encode(), id));
}

TEST(decoder, sizes_and_encodings_without_meaning_are_illegal) {
  const id_registers id = everything();
  EXPECT_EQ(why(cmd::atc_inv{.size = 52}.encode(), id), illegal_reason::none);
  EXPECT_EQ(why(cmd::atc_inv{.size = 53}.encode(), id), illegal_reason::atc_size);
  EXPECT_EQ(why(cmd::pri_resp{.response = cmd::pri_response{3}}.encode(), id), illegal_reason::reserved_value);
  EXPECT_EQ(why(cmd::sync{.cs = cmd::sync_signal{3}}.encode(), id), illegal_reason::reserved_value);
  EXPECT_TRUE(doubtful(cmd::resume{.action = cmd::resume_action{3}}.encode(), id));
  EXPECT_EQ(why(cmd::sync{.cs = cmd::sync_signal::irq}.encode(), id_registers::qemu_7_2()), illegal_reason::none) << "no MSI: wired";
}

TEST(decoder, accepts_every_command_that_linux_sent_and_doubts_none) {
  const std::string raw = test::read_gzip(test::trace_path("linux-6.1.192-strict-smp1.raw.gz"));
  ASSERT_EQ(raw.size(), 23'517u * command_bytes);
  for (std::size_t i = 0; i != raw.size(); i += command_bytes) {
    command c{};
    for (unsigned b = 0; b != 8; ++b) {
      c.dw0 |= std::uint64_t{static_cast<unsigned char>(raw[i + b])} << (8 * b);
      c.dw1 |= std::uint64_t{static_cast<unsigned char>(raw[i + 8 + b])} << (8 * b);
    }
    for (const id_registers& id : {id_registers::qemu_7_2(), id_registers::model_default()}) {
      const emu::verdict v = emu::decode(c, id, strict);
      ASSERT_TRUE(v.ok()) << i / command_bytes << ' ' << name(v.reason);
      ASSERT_FALSE(v.unpredictable) << i / command_bytes;
      ASSERT_EQ(v.effective, c);
    }
  }
}

TEST(decoder, every_reason_has_a_name) {
  std::set<std::string> names;
  for (unsigned r = 0; r <= static_cast<unsigned>(illegal_reason::reserved_bits); ++r)
    names.insert(name(illegal_reason{static_cast<std::uint8_t>(r)}));
  EXPECT_EQ(names.size(), static_cast<std::size_t>(illegal_reason::reserved_bits) + 1);
  EXPECT_FALSE(names.contains("?"));
}

}  // namespace
