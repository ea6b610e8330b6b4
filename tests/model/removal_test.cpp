// SPDX-License-Identifier: MIT
#include <algorithm>
#include <cstdint>
#include <string>
#include <tuple>
#include <vector>

#include <gtest/gtest.h>

#include "hand_formats.hpp"

// What each TLBI removes, entry kind by entry kind, and what it may keep: the entries are made by walks, the command is
// executed, and a transaction shows whether the entry still answers.
namespace {
using namespace shootdown;
using namespace shootdown::model;
using namespace model_test;
using rig_type = format_rig<test_env>;
using tree = hand_tree<test_env>;
using nested = nested_space<test_env>;

constexpr std::uint64_t x = 0x40'5000;    // the input address in question
constexpr std::uint64_t via = 0x80'7000;  // where stage 1 of the nested stream sends it
constexpr std::uint16_t vm_of[]{3, 4, 5};

/// The kinds of entry, all of them for `x`, VMID 3 and ASID 1 unless noted. Stage 1 maps 4 KiB pages.
enum class kind : unsigned {
  stage1_leaf,       // S1-only
  stage1_global,     // nG = 0, made under ASID 2
  stage1_pointer,    // to the level-3 table
  combined_leaf,     // VMID 4
  combined_pointer,  // VMID 4
  stage2_leaf,       // VMID 5, IPA x
  stage2_pointer,    // VMID 5
  count
};
constexpr const char* kind_names[]{"stage1_leaf",      "stage1_global", "stage1_pointer", "combined_leaf",
                                   "combined_pointer", "stage2_leaf",   "stage2_pointer"};
constexpr unsigned bit(kind k) { return 1u << static_cast<unsigned>(k); }
constexpr unsigned stage1_leaves = bit(kind::stage1_leaf) | bit(kind::stage1_global);
constexpr unsigned stage1_all = stage1_leaves | bit(kind::stage1_pointer);
constexpr unsigned combined_all = bit(kind::combined_leaf) | bit(kind::combined_pointer);
constexpr unsigned stage2_all = bit(kind::stage2_leaf) | bit(kind::stage2_pointer);
constexpr unsigned everything = stage1_all | combined_all | stage2_all;

/// The four streams and a probe for each kind.
struct removal_rig {
  rig_type r;
  nested n{r, 12, 39, 12, 40, 1, vm_of[1]};  // stream 8
  tree one{r, 12, 39, 1};                    // streams 9 and 10: stage 1, ASIDs 1 and 2
  tree other{r, 12, 39, 1};
  tree two{r, 12, 40, 1};  // stream 11: stage 2
  std::uint64_t cds = r.take(128, 64);
  unsigned next = 1;

  removal_rig() {
    r.write_entry(cds, cd_words({.as = 1, .ttb0 = one.root(), .bits0 = 39}));
    r.write_entry(cds + 64, cd_words({.as = 2, .ttb0 = other.root(), .bits0 = 39}));
    r.set_ste(9, ste_words({.contexts = cds, .vm = vm_of[0]}));
    r.set_ste(10, ste_words({.contexts = cds + 64, .vm = vm_of[0]}));
    r.set_ste(11, ste_words({.config = 6, .vm = vm_of[2], .s2_root = two.root(), .s2_bits = 40, .s2_start = 1}));
  }
  tree& table_of(kind k) {
    switch (k) {
      case kind::stage1_leaf:
      case kind::stage1_pointer: return one;
      case kind::stage1_global: return other;
      case kind::combined_leaf:
      case kind::combined_pointer: return n.s1;
      default: return two;
    }
  }
  static std::uint32_t stream_of(kind k) {
    return k == kind::stage1_global                                  ? 10
           : k == kind::combined_leaf || k == kind::combined_pointer ? 8
           : k == kind::stage2_leaf || k == kind::stage2_pointer     ? 11
                                                                     : 9;
  }
  static bool is_pointer(kind k) { return k == kind::stage1_pointer || k == kind::combined_pointer || k == kind::stage2_pointer; }
  std::uint64_t attributes(kind k) const {
    return k == kind::stage2_leaf || k == kind::stage2_pointer ? word::s2
           : k == kind::stage1_global                          ? word::s1 & ~word::not_global
                                                               : word::s1;
  }

  /// Caches the entry. A leaf is cached by a walk to x; a pointer by a walk to x's neighbour, so that x itself is not.
  void make(kind k) {
    tree& t = table_of(k);
    const std::uint64_t at = is_pointer(k) ? x + 0x1000 : x;
    n.s2.map(via, 3, word::leaf(0x9000, 3, word::s2));
    n.s2.map(via + 0x1000, 3, word::leaf(0x9000, 3, word::s2));
    const bool combined = &t == &n.s1;
    t.map(at, 3, word::leaf(combined ? via + (at - x) : 0x9000, 3, attributes(k)));
    EXPECT_EQ(r.go(at, {}, stream_of(k)).what, outcome::granted);
  }
  /// Is it still there? The tables are changed so that the answer differs with and without the entry.
  bool kept(kind k) {
    tree& t = table_of(k);
    if (!is_pointer(k)) {
      t.map(x, 3, 0);
      const bool there = r.go(x, {}, stream_of(k)).what == outcome::granted;
      t.map(x, 3, word::leaf(t.root() == n.s1.root() ? via : 0x9000, 3, attributes(k)));
      return there;
    }
    // The parent forgets the table; only a cached pointer still leads to x's descriptor in it.
    const std::uint64_t parent = t.slot(x, 2);
    const std::uint64_t was = r.read(parent);
    t.map(x, 3, word::leaf(t.root() == n.s1.root() ? via : 0x9000, 3, attributes(k)));
    r.write(parent, 0);
    const bool there = r.go(x, {}, stream_of(k)).what == outcome::granted;
    r.write(parent, was);
    return there;
  }
};

struct removal_case {
  const char* name;
  command k;
  unsigned removed;  // bits of kinds
};
tlbi_operand page(std::uint64_t at, bool leaf) { return tlbi_operand::address(at, leaf); }
tlbi_operand hint(std::uint64_t at, unsigned ttl, bool leaf, granule g = granule::k4) {
  return tlbi_operand::range(g, at, 0, ttl == 3 ? 0 : 9, ttl, leaf).value();
}
constexpr unsigned leaf1 = bit(kind::stage1_leaf);
constexpr unsigned leaf2 = bit(kind::stage2_leaf);

const removal_case cases[]{
    {"nh_va_leaf", cmd::tlbi_nh_va{asid{1}, vmid{3}, page(x, true)}.encode(), stage1_leaves},
    {"nh_va", cmd::tlbi_nh_va{asid{1}, vmid{3}, page(x, false)}.encode(), stage1_all},
    {"nh_va_of_another_asid", cmd::tlbi_nh_va{asid{7}, vmid{3}, page(x, false)}.encode(), bit(kind::stage1_global)},
    {"nh_va_of_another_vmid", cmd::tlbi_nh_va{asid{1}, vmid{9}, page(x, false)}.encode(), 0},
    {"nh_va_of_another_page", cmd::tlbi_nh_va{asid{1}, vmid{3}, page(x + 0x20'0000, false)}.encode(), 0},
    {"nh_va_ttl_3_leaf", cmd::tlbi_nh_va{asid{1}, vmid{3}, hint(x, 3, true)}.encode(), stage1_leaves},
    {"nh_va_ttl_3", cmd::tlbi_nh_va{asid{1}, vmid{3}, hint(x, 3, false)}.encode(), stage1_all},
    {"nh_va_ttl_2", cmd::tlbi_nh_va{asid{1}, vmid{3}, hint(0x40'0000, 2, false)}.encode(), 0},
    {"nh_va_ttl_3_of_another_granule", cmd::tlbi_nh_va{asid{1}, vmid{3}, hint(0x40'0000, 3, false, granule::k64)}.encode(), 0},
    {"nh_va_combined_leaf", cmd::tlbi_nh_va{asid{1}, vmid{4}, page(x, true)}.encode(), bit(kind::combined_leaf)},
    {"nh_va_combined", cmd::tlbi_nh_va{asid{1}, vmid{4}, page(x, false)}.encode(), combined_all},
    {"nh_va_of_the_ipa", cmd::tlbi_nh_va{asid{1}, vmid{4}, page(via, false)}.encode(), 0},
    {"nh_va_in_a_vmid_of_stage_2", cmd::tlbi_nh_va{asid{0}, vmid{5}, page(x, false)}.encode(), 0},
    {"nh_vaa_leaf", cmd::tlbi_nh_vaa{vmid{3}, page(x, true)}.encode(), stage1_leaves},
    {"nh_vaa", cmd::tlbi_nh_vaa{vmid{3}, page(x, false)}.encode(), stage1_all},
    {"nh_vaa_combined", cmd::tlbi_nh_vaa{vmid{4}, page(x, false)}.encode(), combined_all},
    {"nh_vaa_in_a_vmid_of_stage_2", cmd::tlbi_nh_vaa{vmid{5}, page(x, false)}.encode(), 0},
    {"nh_asid", cmd::tlbi_nh_asid{asid{1}, vmid{3}}.encode(), leaf1 | bit(kind::stage1_pointer)},
    {"nh_asid_of_the_global_entry", cmd::tlbi_nh_asid{asid{2}, vmid{3}}.encode(), 0},
    {"nh_asid_combined", cmd::tlbi_nh_asid{asid{1}, vmid{4}}.encode(), combined_all},
    {"nh_asid_in_a_vmid_of_stage_2", cmd::tlbi_nh_asid{asid{0}, vmid{5}}.encode(), 0},
    {"nh_all", cmd::tlbi_nh_all{vmid{3}}.encode(), stage1_all},
    {"nh_all_combined", cmd::tlbi_nh_all{vmid{4}}.encode(), combined_all},
    {"nh_all_in_a_vmid_of_stage_2", cmd::tlbi_nh_all{vmid{5}}.encode(), 0},
    {"s2_ipa_leaf", cmd::tlbi_s2_ipa{vmid{5}, page(x, true)}.encode(), leaf2},
    {"s2_ipa", cmd::tlbi_s2_ipa{vmid{5}, page(x, false)}.encode(), stage2_all},
    {"s2_ipa_of_another_vmid", cmd::tlbi_s2_ipa{vmid{9}, page(x, false)}.encode(), 0},
    {"s2_ipa_ttl_3_leaf", cmd::tlbi_s2_ipa{vmid{5}, hint(x, 3, true)}.encode(), leaf2},
    {"s2_ipa_ttl_2", cmd::tlbi_s2_ipa{vmid{5}, hint(0x40'0000, 2, false)}.encode(), 0},
    {"s2_ipa_ttl_3_of_another_granule", cmd::tlbi_s2_ipa{vmid{5}, hint(0x40'0000, 3, false, granule::k64)}.encode(), 0},
    {"s2_ipa_combined", cmd::tlbi_s2_ipa{vmid{4}, page(via, false)}.encode(), 0},
    {"s2_ipa_combined_by_the_input_address", cmd::tlbi_s2_ipa{vmid{4}, page(x, false)}.encode(), 0},
    {"s2_ipa_in_a_vmid_of_stage_1", cmd::tlbi_s2_ipa{vmid{3}, page(x, false)}.encode(), 0},
    {"s12_vmall_of_stage_1", cmd::tlbi_s12_vmall{vmid{3}}.encode(), stage1_all},
    {"s12_vmall_combined", cmd::tlbi_s12_vmall{vmid{4}}.encode(), combined_all},
    {"s12_vmall_of_stage_2", cmd::tlbi_s12_vmall{vmid{5}}.encode(), stage2_all},
    {"nsnh_all", cmd::tlbi_nsnh_all{}.encode(), everything},
    {"el2_all", cmd::tlbi_el2_all{}.encode(), 0},
    {"el2_va", cmd::tlbi_el2_va{asid{1}, page(x, false)}.encode(), 0},
    {"cfgi_all", cmd::cfgi_all().encode(), 0},
};

struct model_removal : testing::TestWithParam<removal_case> {};

TEST_P(model_removal, takes_exactly_the_entries_that_the_command_names) {
  for (unsigned n = 0; n != static_cast<unsigned>(kind::count); ++n) {
    const kind k{n};
    removal_rig r;
    r.make(k);
    ASSERT_TRUE(r.kept(k)) << kind_names[n];
    r.r.send(GetParam().k);
    EXPECT_EQ(r.kept(k), (GetParam().removed & bit(k)) == 0) << kind_names[n];
  }
}
INSTANTIATE_TEST_SUITE_P(by, model_removal, testing::ValuesIn(cases), [](const auto& i) { return std::string(i.param.name); });

// Fractured entries.

struct model_fracture : testing::Test {
  rig_type r;
  nested n{r, 12, 39, 12, 40, 1};
  std::vector<std::uint64_t> pages;
  model_fracture() {
    n.s1.map(0x20'0000, 2, word::leaf(0x60'0000, 2, word::s1));  // 2 MiB, and stage 2 has 4 KiB pages
    for (unsigned i = 0; i < 512; i += 73) {
      n.s2.map(0x60'0000 + i * 0x1000u, 3, word::leaf(0x1'0000'0000 + i * 0x1000u, 3, word::s2));
      pages.push_back(0x20'0000 + i * 0x1000u);
      expect_output(r.go(pages.back()), 0x1'0000'0000 + i * 0x1000u);
    }
    n.s1.map(0x20'0000, 2, 0);
  }
  unsigned kept() {
    unsigned k = 0;
    for (const std::uint64_t p : pages) k += r.go(p).what == outcome::granted;
    return k;
  }
};

TEST_F(model_fracture, any_address_of_the_stage_1_block_removes_all_its_pieces) {
  EXPECT_EQ(kept(), pages.size());
  r.send(cmd::tlbi_nh_va{asid{1}, vmid{3}, tlbi_operand::address(0x3f'f000, true)}.encode());
  EXPECT_EQ(kept(), 0u);
}

TEST_F(model_fracture, the_level_hint_is_that_of_the_stage_1_leaf) {
  r.send(cmd::tlbi_nh_va{asid{1}, vmid{3}, tlbi_operand::range(granule::k4, 0x20'0000, 31, 4, 3, true).value()}.encode());
  EXPECT_EQ(kept(), pages.size());
  r.send(cmd::tlbi_nh_va{asid{1}, vmid{3}, tlbi_operand::range(granule::k4, 0x20'0000, 0, 0, 2, true).value()}.encode());
  EXPECT_EQ(kept(), 0u);
}

TEST_F(model_fracture, a_neighbouring_block_keeps_its_pieces) {
  r.send(cmd::tlbi_nh_va{asid{1}, vmid{3}, tlbi_operand::address(0x40'0000, true)}.encode());
  r.send(cmd::tlbi_nh_va{asid{1}, vmid{3}, tlbi_operand::address(0x1f'f000, true)}.encode());
  EXPECT_EQ(kept(), pages.size());
}

TEST(model_combined, entries_take_the_smaller_leaf_whichever_stage_has_it) {
  rig_type r;
  nested n{r, 12, 39, 16, 42, 2};
  n.s1.map(0x1000, 3, word::leaf(0x60'3000, 3, word::s1));  // 4 KiB inside a stage-2 block of 512 MiB
  n.s2.map(0, 2, word::leaf(std::uint64_t{1} << 40, 2, word::s2));
  const translation t = r.go(0x1234);
  expect_output(t, (std::uint64_t{1} << 40) + 0x60'3234);
  EXPECT_EQ(t.extent, 12);
  EXPECT_EQ(t.level, 3);
}

// The negative cases, judged by the oracle: each protocol is tried whole and with one step missing.

struct model_leaks : testing::Test {
  rig_type r;
  nested n{r, 12, 39, 12, 40, 1};
  static constexpr std::uint64_t frame = rig_type::data + 0x5000;
  static constexpr space_id owner{1};

  model_leaks() {
    EXPECT_TRUE(r.o.bind(stream_id{8}, owner).ok());
    EXPECT_TRUE(r.o.claim(bus_addr{frame}, 1, owner, iova{x}).ok());
    n.s1.map(x, 3, word::leaf(via, 3, word::s1));
    n.s2.map(via, 3, word::leaf(frame, 3, word::s2));
    EXPECT_TRUE(lands());
  }
  /// A DMA to x: did it get through, and legally?
  bool lands() {
    const translation t = r.store(x);
    return t.what == outcome::granted && r.o.landing(stream_id{8}, iova{x}, bus_addr{t.output}, instant{});
  }
  void give_up() { EXPECT_TRUE(r.o.release(bus_addr{frame}, 1, owner, iova{x}).ok()); }
};

TEST_F(model_leaks, s2_ipa_alone_leaves_the_combined_entry) {
  n.s2.map(via, 3, 0);
  r.send(cmd::tlbi_s2_ipa{vmid{3}, tlbi_operand::address(via, true)}.encode());
  give_up();
  EXPECT_FALSE(lands());
  EXPECT_EQ(r.o.leaks(), 1u);
}

TEST_F(model_leaks, nh_all_alone_leaves_the_stage_2_entry) {
  n.s2.map(via, 3, 0);
  r.send(cmd::tlbi_nh_all{vmid{3}}.encode());
  give_up();
  EXPECT_FALSE(lands());
  EXPECT_EQ(r.o.leaks(), 1u);
}

TEST_F(model_leaks, s2_ipa_and_nh_all_together_do_not) {
  n.s2.map(via, 3, 0);
  r.send(cmd::tlbi_s2_ipa{vmid{3}, tlbi_operand::address(via, true)}.encode());
  r.send(cmd::tlbi_nh_all{vmid{3}}.encode());
  give_up();
  EXPECT_FALSE(lands());
  EXPECT_EQ(r.o.leaks(), 0u);
}

TEST_F(model_leaks, s12_vmall_does_for_both) {
  n.s2.map(via, 3, 0);
  r.send(cmd::tlbi_s12_vmall{vmid{3}}.encode());
  give_up();
  EXPECT_FALSE(lands());
  EXPECT_EQ(r.o.leaks(), 0u);
}

TEST_F(model_leaks, a_guests_own_unmap_needs_only_its_address) {
  n.s1.map(x, 3, 0);
  r.send(cmd::tlbi_nh_va{asid{1}, vmid{3}, tlbi_operand::address(x, true)}.encode());
  give_up();
  EXPECT_FALSE(lands());
  EXPECT_EQ(r.o.leaks(), 0u);
}

// Stage 2 takes the guest's level-3 table away. The combined pointer to it is found by the VMID only.
TEST_F(model_leaks, a_stage_1_table_that_was_taken_away_is_read_after_s2_ipa_alone_and_not_after_nh_all) {
  const std::uint64_t table = n.s1.slot(x, 3) & ~0xfffull;
  const std::uint64_t at = table + nested::lift;
  for (const bool whole : {false, true}) {
    r.forget_everything();
    n.lift_up(table, 4096);
    r.o.table_allocated(bus_addr{table});
    r.o.forget_leaks();
    EXPECT_TRUE(lands());
    n.s2.map(at, 3, 0);
    r.send(cmd::tlbi_s2_ipa{vmid{3}, tlbi_operand::address(at, false)}.encode());
    r.send(whole ? cmd::tlbi_nh_all{vmid{3}}.encode() : cmd::tlbi_nh_va{asid{1}, vmid{3}, tlbi_operand::address(x, true)}.encode());
    r.o.table_freed(bus_addr{table});
    const translation t = r.store(x);
    EXPECT_EQ(r.o.leaks(), whole ? 0u : 1u);
    if (whole) expect_fault(t, event_id::f_translation, true, event_class::table_descriptor, at);
  }
}

struct model_freed_table : testing::TestWithParam<std::tuple<unsigned, unsigned, bool>> {
  rig_type r;
};

// A table of each granule and stage is emptied and freed. LEAF = 1, the wrong granule or a hint that is not the level of the
// freed table's entries keep the pointer to it, and the next walk reads freed memory; LEAF = 0 without a hint does not.
TEST_P(model_freed_table, is_read_unless_the_command_names_the_pointer_to_it) {
  const auto [g, level, second] = GetParam();
  const std::uint64_t cd = r.take(64, 64);
  const unsigned first = g == 12 ? 0 : 1;
  tree t{r, g, 48, second ? first : first_level(g, 48)};
  r.write_entry(cd, cd_words({.ttb0 = t.root(), .g0 = g}));
  r.set_ste(8, second ? ste_words({.config = 6, .vm = 5, .s2_root = t.root(), .s2_g = g, .s2_start = first})
                      : ste_words({.contexts = cd, .vm = 5}));
  const std::uint64_t extent = std::uint64_t{1} << leaf_log2(g, level - 1);  // what the freed table spans
  const std::uint64_t at = std::min(extent, std::uint64_t{1} << 47) & ~((std::uint64_t{1} << leaf_log2(g, 2)) - 1);
  const granule own = granule_of(g);
  const granule wrong = g == 12 ? granule::k64 : granule::k4;
  const auto send = [&](const result<tlbi_operand>& op) {
    ASSERT_TRUE(op.ok());
    r.send(second ? cmd::tlbi_s2_ipa{vmid{5}, *op}.encode() : cmd::tlbi_nh_va{asid{1}, vmid{5}, *op}.encode());
  };
  struct attempt {
    const char* what;
    result<tlbi_operand> op;
    bool enough;
  };
  const std::uint64_t base = at & ~(extent - 1);
  const std::vector<attempt> attempts{
      {"leaf only", tlbi_operand::address(at, true), false},
      {"leaf only, as a range", tlbi_operand::range(own, base, 31, 31, 0, true), false},
      {"wrong granule", tlbi_operand::range(wrong, base, 31, 31, 0, false), false},
      {"hint one level too high", tlbi_operand::range(own, base, 31, 20, level - 1, false), false},
      {"the right hint", tlbi_operand::range(own, base, 31, 20, level, false), true},
      {"no hint", tlbi_operand::range(own, base, 31, 31, 0, false), true},
      {"one address", tlbi_operand::address(at, false), true},
  };
  std::uint64_t leaks = 0;
  for (const attempt& a : attempts) {
    if (!a.op.ok()) continue;  // a level without leaves has no hint
    t.map(at, level, word::leaf(std::uint64_t{1} << 46, level, second ? word::s2 : word::s1));
    const std::uint64_t parent = t.slot(at, level - 1);
    const std::uint64_t table = t.slot(at, level) & ~((std::uint64_t{1} << g) - 1);
    r.write(parent, table | 3);
    r.forget_everything();
    ASSERT_EQ(r.go(at).what, outcome::granted) << a.what;
    r.write(parent, 0);
    t.map(at, level, 0);
    send(tlbi_operand::address(at, true));  // the leaf itself is gone in any case
    send(a.op);
    for (unsigned i = 0; i != (1u << (g - 12)); ++i) r.o.table_freed(bus_addr{table + i * 4096});
    expect_fault(r.go(at), event_id::f_translation, second, event_class::input, second ? at & ~0xfffull : 0);
    EXPECT_EQ(r.o.leaks() - leaks, a.enough ? 0u : 1u) << a.what;
    leaks = r.o.leaks();
    for (unsigned i = 0; i != (1u << (g - 12)); ++i) r.o.table_allocated(bus_addr{table + i * 4096});
  }
}
INSTANTIATE_TEST_SUITE_P(each, model_freed_table,
                         testing::Combine(testing::Values(12u, 14u, 16u), testing::Values(2u, 3u), testing::Bool()), [](const auto& i) {
                           return std::to_string((1u << std::get<0>(i.param)) / 1024) + "k_level_" + std::to_string(std::get<1>(i.param)) +
                                  (std::get<2>(i.param) ? "_stage_2" : "_stage_1");
                         });

}  // namespace
