// SPDX-License-Identifier: MIT
#include <algorithm>
#include <atomic>
#include <bit>
#include <cstdint>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "hand_formats.hpp"

// Every format that the walker knows: granule x stage x leaf level, over tables written by hand.
namespace {
using namespace shootdown;
using namespace shootdown::model;
using namespace model_test;
using rig_type = format_rig<test_env>;
using tree = hand_tree<test_env>;
using nested = nested_space<test_env>;

struct leaf_case {
  unsigned g;
  unsigned bits;
  unsigned level;
};
std::string title(const testing::TestParamInfo<leaf_case>& i) {
  return std::to_string((1u << i.param.g) / 1024) + "k_" + std::to_string(i.param.bits) + "_bits_leaf_" + std::to_string(i.param.level);
}
constexpr leaf_case all_leaves[]{{12, 48, 3}, {12, 48, 2}, {12, 48, 1}, {12, 39, 3}, {12, 39, 2}, {12, 39, 1}, {12, 25, 3}, {12, 25, 2},
                                 {12, 32, 3}, {12, 40, 2}, {14, 48, 3}, {14, 48, 2}, {14, 47, 3}, {14, 36, 2}, {14, 36, 3}, {14, 25, 3},
                                 {16, 48, 3}, {16, 48, 2}, {16, 42, 3}, {16, 42, 2}, {16, 30, 2}, {16, 29, 3}, {16, 25, 3}};

struct model_format : testing::TestWithParam<leaf_case> {
  rig_type r;
  std::uint64_t cd = r.take(64, 64);
  std::uint64_t size() const { return std::uint64_t{1} << leaf_log2(GetParam().g, GetParam().level); }
  // An output address and inputs at both ends of the space, in units of the leaf.
  std::uint64_t out() const { return (std::uint64_t{0x5a'0000'0000} & ~(size() - 1)) + size(); }
  std::vector<std::uint64_t> inputs() const {
    const std::uint64_t end = std::uint64_t{1} << GetParam().bits;
    std::vector<std::uint64_t> v{0};
    if (end > size()) v.push_back(end - size());
    return v;
  }
  void expect_leaf(std::uint64_t x, std::uint64_t to) {
    expect_output(r.go(x), to);
    expect_output(r.go(x + size() - 1), to + size() - 1);
    const translation t = r.go(x + size() / 2 + 8);
    expect_output(t, to + size() / 2 + 8);
    EXPECT_TRUE(t.from_tlb);
    EXPECT_EQ(t.level, GetParam().level);
    EXPECT_EQ(t.extent, leaf_log2(GetParam().g, GetParam().level));
  }
};

TEST_P(model_format, stage_1_lower_half) {
  const auto [g, bits, level] = GetParam();
  tree s1{r, g, bits, first_level(g, bits)};
  r.write_entry(cd, cd_words({.ttb0 = s1.root(), .bits0 = bits, .g0 = g}));
  r.set_ste(8, ste_words({.contexts = cd}));
  for (const std::uint64_t x : inputs()) {
    expect_fault(r.go(x), event_id::f_translation);
    s1.map(x, level, word::leaf(out(), level, word::s1));
    expect_leaf(x, out());
  }
  expect_fault(r.go(std::uint64_t{1} << bits), event_id::f_translation);
  expect_fault(r.go(~std::uint64_t{0}), event_id::f_translation);  // EPD1
  EXPECT_EQ(r.o.leaks(), 0u);
}

TEST_P(model_format, stage_1_upper_half) {
  const auto [g, bits, level] = GetParam();
  tree s1{r, g, bits, first_level(g, bits)};
  r.write_entry(cd, cd_words({.ttb1 = s1.root(), .bits1 = bits, .g1 = g, .half0 = false, .half1 = true}));
  r.set_ste(8, ste_words({.contexts = cd}));
  const std::uint64_t top = ~std::uint64_t{0} << bits;
  for (const std::uint64_t x : inputs()) {
    s1.map(x, level, word::leaf(out(), level, word::s1));
    expect_leaf(top | x, out());
  }
  expect_fault(r.go(top - 1), event_id::f_translation);
  expect_fault(r.go(0), event_id::f_translation);  // EPD0
  EXPECT_EQ(r.o.leaks(), 0u);
}

TEST_P(model_format, stage_2_with_every_legal_start_level) {
  const auto [g, bits, level] = GetParam();
  unsigned legal = 0;
  for (unsigned start = g == 12 ? 0 : 1; start <= (g == 12 ? 2u : 3u); ++start) {
    const unsigned from = leaf_log2(g, start);
    const bool fits = bits > from && bits - from <= g - 3 + 4;
    ste_fields f{.config = 6, .vm = 5, .s2_bits = bits, .s2_g = g, .s2_start = start};
    if (!fits) {
      r.set_ste(8, ste_words(f));
      r.forget_everything();
      expect_fault(r.go(0), event_id::c_bad_ste);
      continue;
    }
    if (level < start) continue;
    ++legal;
    tree s2{r, g, bits, start};
    f.s2_root = s2.root();
    r.set_ste(8, ste_words(f));
    r.forget_everything();
    for (const std::uint64_t x : inputs()) {
      expect_fault(r.go(x), event_id::f_translation, true, event_class::input, x);
      s2.map(x, level, word::leaf(out(), level, word::s2));
      expect_leaf(x, out());
    }
    if (bits < 48)
      expect_fault(r.go(std::uint64_t{1} << bits), event_id::f_translation, true, event_class::input, std::uint64_t{1} << bits);
    expect_fault(r.go(std::uint64_t{1} << 48), event_id::f_addr_size);  // beyond the intermediate address size
  }
  EXPECT_GE(legal, 1u);
  EXPECT_EQ(r.o.leaks(), 0u);
}

TEST_P(model_format, both_stages_with_each_granule_of_stage_2) {
  const auto [g, bits, level] = GetParam();
  for (const auto& [page2, start2] : {std::pair{12u, 1u}, {14u, 2u}, {16u, 2u}}) {
    nested n{r, g, bits, page2, 39, start2};
    r.forget_everything();
    // Stage 1 sends x to an intermediate address; stage 2 maps one of its pages somewhere else.
    const std::uint64_t ipa = size() > (std::uint64_t{1} << 36) ? 0 : (std::uint64_t{0x20'0000'0000} & ~(size() - 1)) + size();
    const std::uint64_t page = std::uint64_t{1} << page2;
    const std::uint64_t inside = size() > page ? (size() / 2) & ~(page - 1) : 0;
    const std::uint64_t x = inputs().back();
    n.s1.map(x, level, word::leaf(ipa, level, word::s1));
    const std::uint64_t at = (ipa + inside) & ~(page - 1);
    expect_fault(r.go(x + inside), event_id::f_translation, true, event_class::input, (ipa + inside) & ~0xfffull);
    n.s2.map(at, 3, word::leaf(0x77'0000'0000, 3, word::s2));
    const translation t = r.go(x + inside + 0x18);
    expect_output(t, 0x77'0000'0000 + (ipa + inside - at) + 0x18);
    EXPECT_EQ(t.extent, std::min(leaf_log2(g, level), page2));
    EXPECT_EQ(t.level, level);
    EXPECT_TRUE(r.go(x + inside).from_tlb);
  }
  EXPECT_EQ(r.o.leaks(), 0u);
}
INSTANTIATE_TEST_SUITE_P(each, model_format, testing::ValuesIn(all_leaves), title);

struct model_stage2 : testing::Test {
  rig_type r;
  tree s2{r, 12, 40, 1};  // two tables side by side
  ste_fields f{.config = 6, .vm = 5, .s2_root = s2.root(), .s2_bits = 40, .s2_g = 12, .s2_start = 1};
  model_stage2() { r.set_ste(8, ste_words(f)); }
  void again() {
    r.set_ste(8, ste_words(f));
    r.forget_everything();
  }
  void set_bit(unsigned bit) {
    auto w = ste_words(f);
    w[2] |= std::uint64_t{1} << bit;
    r.set_ste(8, w);
    r.forget_everything();
  }
};

TEST_F(model_stage2, the_second_of_two_concatenated_tables_is_used) {
  s2.map(std::uint64_t{3} << 38, 3, word::leaf(0x9000, 3, word::s2));
  EXPECT_EQ(s2.slot(std::uint64_t{3} << 38, 1), s2.root() + 768 * 8);
  expect_output(r.go((std::uint64_t{3} << 38) + 4), 0x9004);
}

TEST_F(model_stage2, reading_and_writing_are_permitted_apart) {
  s2.map(0x1000, 3, word::leaf(0x9000, 3, word::s2 & ~word::stage2_write));
  s2.map(0x2000, 3, word::leaf(0xa000, 3, word::s2 & ~word::stage2_read));
  expect_output(r.go(0x1000), 0x9000);
  expect_fault(r.store(0x1008), event_id::f_permission, true, event_class::input, 0x1000);
  EXPECT_FALSE(r.go(0x1000).writable);
  EXPECT_TRUE(r.go(0x1000).readable);
  expect_output(r.store(0x2000), 0xa000);
  expect_fault(r.go(0x2000), event_id::f_permission, true, event_class::input, 0x2000);
}

TEST_F(model_stage2, access_flag_and_output_size_are_checked) {
  s2.map(0x1000, 3, word::leaf(0x9000, 3, word::s2 & ~word::access_flag));
  expect_fault(r.go(0x1000), event_id::f_access, true, event_class::input, 0x1000);
  set_bit(53);  // S2AFFD
  expect_output(r.go(0x1000), 0x9000);
  f.s2_ps = 1;  // 36 bits
  again();
  s2.map(0x2000, 3, word::leaf(std::uint64_t{1} << 36, 3, word::s2));
  expect_fault(r.go(0x2000), event_id::f_addr_size, true, event_class::input, 0x2000);
}

TEST_F(model_stage2, faults_are_recorded_only_when_the_ste_says_so) {
  EXPECT_TRUE(r.go(0x1000).recorded);
  auto w = ste_words(f);
  w[2] &= ~(std::uint64_t{1} << 58);  // S2R
  r.set_ste(8, w);
  r.forget_everything();
  EXPECT_FALSE(r.go(0x1000).recorded);
}

TEST_F(model_stage2, a_table_that_cannot_be_read_is_an_external_abort_of_stage_2) {
  r.write(s2.slot(0x1000, 1), 0x1000 | 3);
  const translation t = r.go(0x1000);
  expect_fault(t, event_id::f_walk_eabt, true, event_class::input, 0x1000);
}

TEST_F(model_stage2, what_an_ste_may_not_say_about_stage_2_is_a_bad_ste) {
  s2.map(0x1000, 3, word::leaf(0x9000, 3, word::s2));
  expect_output(r.go(0x1000), 0x9000);
  for (const unsigned bit : {55u, 56u, 57u}) {  // S2HD, S2HA, S2S
    set_bit(bit);
    expect_fault(r.go(0x1000), event_id::c_bad_ste);
  }
  auto w = ste_words(f);
  w[2] &= ~(std::uint64_t{1} << 51);  // AArch32
  r.set_ste(8, w);
  r.forget_everything();
  expect_fault(r.go(0x1000), event_id::c_bad_ste);
  w = ste_words(f);
  w[2] |= std::uint64_t{3} << 46;  // reserved granule
  r.set_ste(8, w);
  r.forget_everything();
  expect_fault(r.go(0x1000), event_id::c_bad_ste);
  again();
  r.setup.granules = 0b1000;
  expect_fault(r.go(0x1000), event_id::c_bad_ste);
  r.setup.granules = 0b1110;
  r.setup.vmid_bits = 8;
  expect_output(r.go(0x1000), 0x9000);
  f.vm = 0x100;
  again();
  expect_fault(r.go(0x1000), event_id::c_bad_ste);
  f.vm = 5;
  r.setup.output_bits = 36;  // wider than the SMMU
  again();
  expect_fault(r.go(0x1000), event_id::c_bad_ste);
  r.setup.output_bits = 48;
  f.s2_root = std::uint64_t{1} << 50;
  again();
  expect_fault(r.go(0x1000), event_id::c_bad_ste);
}

TEST_F(model_stage2, the_highest_start_level_needs_a_wide_smmu) {
  for (const auto& [g, bits, start, width] : {std::tuple{12u, 40u, 0u, 42u}, {14u, 40u, 1u, 40u}, {16u, 42u, 1u, 42u}}) {
    tree other{r, g, bits == 42 ? 43 : bits, start};
    f = {.config = 6, .vm = 5, .s2_root = other.root(), .s2_bits = bits == 42 ? 43 : bits, .s2_g = g, .s2_start = start};
    again();
    expect_fault(r.go(0), event_id::f_translation, true);
    r.setup.output_bits = static_cast<std::uint8_t>(width);
    again();
    expect_fault(r.go(0), event_id::c_bad_ste);
    r.setup.output_bits = 48;
  }
}

TEST_F(model_stage2, a_substream_on_a_stream_without_stage_1_is_a_bad_one) { expect_fault(r.on(1, 0), event_id::c_bad_substreamid); }

TEST_F(model_stage2, the_stream_world_is_ignored) {
  s2.map(0x1000, 3, word::leaf(0x9000, 3, word::s2));
  f.world = 3;
  again();
  expect_output(r.go(0x1000), 0x9000);
}

struct model_nested : testing::Test {
  rig_type r;
  nested n{r, 12, 39, 12, 40, 1};
  void map(std::uint64_t x, std::uint64_t ipa, std::uint64_t out, std::uint64_t a1 = word::s1, std::uint64_t a2 = word::s2) {
    n.s1.map(x, 3, word::leaf(ipa, 3, a1));
    n.s2.map(ipa, 3, word::leaf(out, 3, a2));
  }
  void unlift(std::uint64_t at) { n.s2.map((at & ~0xfffull) + nested::lift, 3, 0); }
};

TEST_F(model_nested, the_cd_is_fetched_through_stage_2) {
  map(0x1000, 0x5000, 0x9000);
  unlift(n.cd);
  expect_fault(r.go(0x1000), event_id::f_translation, true, event_class::cd, (n.cd & ~0xfffull) + nested::lift);
  n.lift_up(n.cd, 64);
  expect_output(r.go(0x1000), 0x9000);
  unlift(n.cd);
  expect_output(r.go(0x1000), 0x9000);  // the CD is cached until a CFGI names it
  r.send(cmd::tlbi_s12_vmall{vmid{3}}.encode());
  expect_output(r.go(0x1000), 0x9000);
  r.forget_everything();
  expect_fault(r.go(0x1000), event_id::f_translation, true, event_class::cd, (n.cd & ~0xfffull) + nested::lift);
}

TEST_F(model_nested, each_stage_1_table_is_read_through_stage_2) {
  map(0x1000, 0x5000, 0x9000);
  for (const unsigned level : {1u, 2u, 3u}) {
    const std::uint64_t at = n.s1.slot(0x1000, level);
    unlift(at);
    r.forget_everything();
    expect_fault(r.go(0x1000), event_id::f_translation, true, event_class::table_descriptor, (at & ~0xfffull) + nested::lift);
    n.s2.map((at & ~0xfffull) + nested::lift, 3, word::leaf(at & ~0xfffull, 3, word::s2 & ~word::stage2_read));
    expect_fault(r.go(0x1000), event_id::f_permission, true, event_class::table_descriptor, (at & ~0xfffull) + nested::lift);
    n.lift_up(at, 8);
    r.forget_everything();
    expect_output(r.go(0x1000), 0x9000);
  }
}

TEST_F(model_nested, cds_and_tables_in_device_memory_are_refused_when_protected) {
  map(0x1000, 0x5000, 0x9000, word::s1, word::s2 & ~word::normal);
  expect_output(r.go(0x1000), 0x9000);
  n.ste_f.s2_protect = true;
  r.set_ste(8, ste_words(n.ste_f));
  r.forget_everything();
  expect_output(r.go(0x1000), 0x9000);  // the transaction itself may go to a device
  const std::uint64_t at = n.s1.slot(0x1000, 2) & ~0xfffull;
  n.s2.map(at + nested::lift, 3, word::leaf(at, 3, word::s2 & ~word::normal));
  r.forget_everything();
  expect_fault(r.go(0x1000), event_id::f_permission, true, event_class::table_descriptor, at + nested::lift);
}

TEST_F(model_nested, both_stages_have_their_say_and_stage_1_first) {
  map(0x1000, 0x5000, 0x9000, word::s1 | word::read_only, word::s2);
  map(0x2000, 0x6000, 0xa000, word::s1, word::s2 & ~word::stage2_write);
  map(0x3000, 0x7000, 0xb000, word::s1 | word::read_only, word::s2 & ~word::stage2_write);
  for (const bool warm : {false, true}) {
    for (const std::uint64_t x : {0x1000u, 0x2000u, 0x3000u}) {
      const translation t = warm ? r.go(x) : translation{};
      EXPECT_EQ(t.what, warm ? outcome::granted : outcome::aborted);
    }
    expect_fault(r.store(0x1000), event_id::f_permission);
    expect_fault(r.store(0x2010), event_id::f_permission, true, event_class::input, 0x6000);
    expect_fault(r.store(0x3000), event_id::f_permission);
  }
}

TEST_F(model_nested, what_leaves_stage_1_is_checked_against_both_widths) {
  n.s1.map(0x1000, 3, word::leaf(std::uint64_t{1} << 41, 3, word::s1));
  expect_fault(r.go(0x1000), event_id::f_translation, true, event_class::input, std::uint64_t{1} << 41);  // beyond stage 2's input
  n.cd_f.ips = 2;
  r.write_entry(n.cd, cd_words(n.cd_f));
  r.forget_everything();
  expect_fault(r.go(0x1000), event_id::f_addr_size);  // beyond IPS
}

TEST_F(model_nested, a_stream_may_skip_stage_1_for_what_has_no_substream) {
  const std::uint64_t cds = r.take(128, 128);
  n.lift_up(cds, 128);
  r.write_entry(cds + 64, cd_words(n.cd_f));
  n.ste_f.contexts = cds + nested::lift;
  n.ste_f.cd_log2 = 1;
  n.ste_f.without_ssid = 1;
  r.set_ste(8, ste_words(n.ste_f));
  map(0x1000, 0x5000, 0x9000);
  n.s2.map(0x1000, 3, word::leaf(0xc000, 3, word::s2));
  expect_output(r.on(1, 0x1000), 0x9000);
  expect_output(r.go(0x1000), 0xc000);
  EXPECT_EQ(r.send(cmd::tlbi_s2_ipa{vmid{3}, tlbi_operand::address(0x1000, true)}.encode()), 1u);
}

TEST_F(model_nested, a_stage_1_table_larger_than_a_stage_2_page_may_lie_in_pieces) {
  nested big{r, 16, 42, 12, 40, 1};
  const std::uint64_t x = (std::uint64_t{0x1fff} << 16) | 0x18;  // the last descriptor of a 64 KiB table
  big.s1.map(x, 3, word::leaf(0x50000, 3, word::s1));
  big.s2.map(0x50000, 3, word::leaf(0x9000, 3, word::s2));
  const std::uint64_t last = big.s1.slot(x, 3);
  const std::uint64_t moved = r.take_table(4096);  // stage 2 puts the table's last 4 KiB elsewhere
  r.write(moved + (last & 0xfff), r.read(last));
  r.write(last, 0);
  big.s2.map((last & ~0xfffull) + nested::lift, 3, word::leaf(moved, 3, word::s2));
  r.forget_everything();
  expect_output(r.go(x), 0x9018);
  big.s1.map(0, 3, word::leaf(0x50000, 3, word::s1));
  expect_output(r.go(0x20), 0x9020);
}

struct run_case {
  unsigned g;
  unsigned level;
  unsigned leaves;
};
struct model_run : testing::TestWithParam<run_case> {
  rig_type r;
  std::uint64_t cd = r.take(64, 64);
};

TEST_P(model_run, of_contiguous_leaves_is_one_entry_unless_switched_off) {
  const auto [g, level, leaves] = GetParam();
  const std::uint64_t size = std::uint64_t{1} << leaf_log2(g, level);
  const std::uint64_t out = (std::uint64_t{0x400'0000'0000} / (size * leaves) + 1) * size * leaves;
  const std::uint64_t x = size * leaves;
  for (const unsigned stage : {1u, 2u}) {
    for (const bool runs : {true, false}) {
      tree t{r, g, 48, stage == 1 ? first_level(g, 48) : g == 12 ? 0u : 1u};
      r.setup.contiguous_runs = runs;
      r.write_entry(cd, cd_words({.ttb0 = t.root(), .bits0 = 48, .g0 = g}));
      r.set_ste(8, stage == 1 ? ste_words({.contexts = cd, .vm = 5})
                              : ste_words({.config = 6, .vm = 5, .s2_root = t.root(), .s2_g = g, .s2_start = t.start()}));
      r.forget_everything();
      const std::uint64_t a = (stage == 1 ? word::s1 : word::s2) | word::contiguous;
      for (unsigned i = 0; i != leaves; ++i) t.map(x + i * size, level, word::leaf(out + i * size, level, a));
      expect_output(r.go(x + size + 8), out + size + 8);
      const translation far = r.go(x + (leaves - 1) * size + 16);
      expect_output(far, out + (leaves - 1) * size + 16);
      EXPECT_EQ(far.from_tlb, runs);
      EXPECT_EQ(far.extent, leaf_log2(g, level) + (runs ? static_cast<unsigned>(std::countr_zero(leaves)) : 0u));
      // A command for one leaf removes the whole run; without runs it removes that leaf only.
      const auto op = tlbi_operand::range(granule_of(g), x + 2 * size, 0, 0, level, true);
      ASSERT_TRUE(op.ok());
      const command k = stage == 1 ? cmd::tlbi_nh_va{asid{1}, vmid{5}, *op}.encode() : cmd::tlbi_s2_ipa{vmid{5}, *op}.encode();
      EXPECT_EQ(r.send(k), runs ? 1u : 0u);
      EXPECT_EQ(r.go(x + (leaves - 1) * size).from_tlb, !runs);
      // A leaf that was cleared inside a run is still answered for by its neighbours' entry.
      t.map(x, level, 0);
      EXPECT_EQ(r.send(k), runs ? 1u : 0u);
      expect_output(r.go(x + size), out + size);
      EXPECT_EQ(r.go(x).what, runs ? outcome::granted : outcome::faulted);
    }
  }
}
INSTANTIATE_TEST_SUITE_P(each, model_run,
                         testing::Values(run_case{12, 3, 16}, run_case{12, 2, 16}, run_case{12, 1, 16}, run_case{14, 3, 128},
                                         run_case{14, 2, 32}, run_case{16, 3, 32}, run_case{16, 2, 32}),
                         [](const auto& i) {
                           return std::to_string((1u << i.param.g) / 1024) + "k_level_" + std::to_string(i.param.level) + "_of_" +
                                  std::to_string(i.param.leaves);
                         });

TEST(model_tables, of_either_endianness_translate_alike) {
  for (const bool big1 : {false, true}) {
    for (const bool big2 : {false, true}) {
      rig_type r;
      nested n{r, 16, 42, 14, 40, 2, 3, big1, big2};
      n.s1.map(0x12'3450'0000, 3, word::leaf(0x5'0000, 3, word::s1));
      n.s2.map(0x5'0000, 3, word::leaf(0x77'0000, 3, word::s2));
      expect_output(r.go(0x12'3450'0010), 0x77'0010);
      EXPECT_EQ(r.o.leaks(), 0u);
      // An SMMU without that endianness does not take the configuration.
      r.setup.endians = 0b01;
      r.forget_everything();
      if (big2)
        expect_fault(r.go(0x12'3450'0010), event_id::c_bad_ste);
      else if (big1)
        expect_fault(r.go(0x12'3450'0010), event_id::c_bad_cd, false, event_class::cd);
      else
        expect_output(r.go(0x12'3450'0010), 0x77'0010);
    }
  }
}

/// A CPU of the other endianness: the integer it keeps for a DMA word is the word's value with the bytes reversed.
struct big_env : test_env {
  class alignas(8) dma_word {
   public:
    [[nodiscard]] std::uint64_t load(std::memory_order o) const noexcept { return word::swapped(raw_.load(o)); }  // the caller's order
    void store(std::uint64_t v, std::memory_order o) noexcept { raw_.store(word::swapped(v), o); }                // the caller's order
    void store_low(std::uint32_t v, std::memory_order o) noexcept {
      store((load(std::memory_order_relaxed) & ~std::uint64_t{0xffffffff}) | v, o);
    }

   private:
    std::atomic<std::uint64_t> raw_{0};
  };
};
static_assert(environment<big_env>);

template <class Env>
std::vector<std::uint64_t> outcomes_of_one_program() {
  format_rig<Env> r;
  nested_space<Env> n{r, 12, 39, 16, 42, 2};
  std::vector<std::uint64_t> seen;
  for (unsigned i = 0; i != 64; ++i) {
    const std::uint64_t x = (std::uint64_t{i} * 0x1234'5000) & 0x7f'ffff'f000;
    n.s1.map(x, 3, word::leaf(0x10'0000 + i * 0x1'0000u, 3, word::s1));
    if (i % 3 != 0) n.s2.map(0x10'0000 + i * 0x1'0000u, 3, word::leaf(0x5000'0000 + i * 0x1'0000u, 3, word::s2));
    const translation t = r.go(x + 8);
    seen.push_back(t.what == outcome::granted ? t.output : raw(t.event));
  }
  return seen;
}
TEST(model_tables, written_by_a_cpu_of_any_endianness_are_the_same_to_the_device) {
  EXPECT_EQ(outcomes_of_one_program<big_env>(), outcomes_of_one_program<test_env>());
}

TEST(model_tables, the_top_byte_is_ignored_in_each_half_for_itself) {
  rig_type r;
  const std::uint64_t cd = r.take(64, 64);
  tree low{r, 12, 39, 1};
  tree high{r, 16, 42, 2};
  low.map(0x1000, 3, word::leaf(0x9000, 3, word::s1));
  high.map(0x3ff'ffff'0000 & 0x3ff'ffff'ffff, 3, word::leaf(0x1'0000, 3, word::s1));
  cd_fields f{.ttb0 = low.root(), .ttb1 = high.root(), .bits0 = 39, .g0 = 12, .bits1 = 42, .g1 = 16, .half1 = true};
  r.set_ste(8, ste_words({.contexts = cd}));
  for (const unsigned tbi : {0u, 1u, 2u, 3u}) {
    f.tbi0 = (tbi & 1) != 0;
    f.tbi1 = (tbi & 2) != 0;
    r.write_entry(cd, cd_words(f));
    r.forget_everything();
    expect_output(r.go(0x1234), 0x9234);
    expect_output(r.go(~std::uint64_t{0xffff} + 0x22), 0x1'0022);
    EXPECT_EQ(r.go(0xab00'0000'0000'1234).what, f.tbi0 ? outcome::granted : outcome::faulted);
    EXPECT_EQ(r.go(0xabff'ffff'ffff'0022).what, f.tbi1 ? outcome::granted : outcome::faulted);
  }
}

}  // namespace
