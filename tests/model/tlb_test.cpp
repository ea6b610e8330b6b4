// SPDX-License-Identifier: MIT
#include <shootdown/model/tlb.hpp>

#include <cstdint>
#include <set>
#include <vector>

#include <gtest/gtest.h>

#include <shootdown/arch/commands.hpp>
#include <shootdown/model/random.hpp>
#include <shootdown/model/walk_cache.hpp>

namespace {
using namespace shootdown;
using namespace shootdown::model;

constexpr entry_tag tagged(std::uint16_t as, std::uint16_t vm = 0, bool global = false) { return {regime::el1, vm, as, global}; }

struct tlb_fixture : testing::Test {
  node_pool pool;
  tlb t{pool};
  walk_cache tables{pool};
  tlbi_facts facts{};
  std::uint64_t next = 1;

  std::uint64_t add(const entry_tag& tag, std::uint64_t x, unsigned level = 3, granule g = granule::k4) {
    t.insert(tag, x, {entry_id{next}, 0x1000 * next, static_cast<std::uint8_t>(level), g, true, true});
    return next++;
  }
  std::uint64_t add_table(const entry_tag& tag, std::uint64_t x, unsigned level, granule g = granule::k4) {
    tables.insert(tag, x, {entry_id{next}, 0x1000 * next, static_cast<std::uint8_t>(level), g, false, false});
    return next++;
  }
  std::set<std::uint64_t> send(command c) {
    std::set<std::uint64_t> gone;
    const scope s = decode_scope(c, facts);
    t.remove(s, [&](entry_id id) { EXPECT_TRUE(gone.insert(raw(id)).second); });
    tables.remove(s, [&](entry_id id) { EXPECT_TRUE(gone.insert(raw(id)).second); });
    EXPECT_TRUE(t.check_invariants());
    EXPECT_TRUE(tables.check_invariants());
    return gone;
  }
  // Ids of what is found; 0: nothing.
  std::uint64_t found(const entry_tag& tag, granule g, std::uint64_t x) {
    const tlb_entry* const e = t.find(tag, g, x);
    return e == nullptr ? 0 : raw(e->id);
  }
  std::uint64_t deepest(const entry_tag& tag, granule g, unsigned top, std::uint64_t x) {
    const table_pointer* const p = tables.deepest(tag, g, top, x);
    return p == nullptr ? 0 : raw(p->id);
  }
  using ids = std::set<std::uint64_t>;
  static command va(std::uint16_t as, const result<tlbi_operand>& op, std::uint16_t vm = 0) {
    EXPECT_TRUE(op.ok());
    return cmd::tlbi_nh_va{asid{as}, vmid{vm}, op.value()}.encode();
  }
};
using adversary_tlb = tlb_fixture;
using adversary_walk_cache = tlb_fixture;

TEST_F(adversary_tlb, finds_an_entry_anywhere_in_its_extent_and_nowhere_else) {
  add(tagged(1), 0x5000);
  add(tagged(1), 0x40'0000, 2);
  EXPECT_NE(t.find(tagged(1), granule::k4, 0x5fff), nullptr);
  EXPECT_EQ(t.find(tagged(1), granule::k4, 0x6000), nullptr);
  EXPECT_EQ(t.find(tagged(2), granule::k4, 0x5000), nullptr);
  EXPECT_EQ(t.find(tagged(1, 3), granule::k4, 0x5000), nullptr);
  EXPECT_EQ(t.find(tagged(1), granule::k16, 0x5000), nullptr);
  ASSERT_NE(t.find(tagged(1), granule::k4, 0x5f'ffff), nullptr);
  EXPECT_EQ(t.find(tagged(1), granule::k4, 0x5f'ffff)->level, 2);
}

TEST_F(adversary_tlb, the_oldest_of_several_answers_wins) {
  const auto page = add(tagged(1), 0x20'1000);
  const auto block = add(tagged(1), 0x20'0000, 2);
  EXPECT_EQ(found(tagged(1), granule::k4, 0x20'1000), page);
  EXPECT_EQ(found(tagged(1), granule::k4, 0x20'2000), block);
}

TEST_F(adversary_tlb, an_address_without_granule_removes_the_entry_that_holds_it_whatever_its_size) {
  const auto page = add(tagged(1), 0x20'1000);
  const auto block = add(tagged(1), 0x20'0000, 2);
  const auto other = add(tagged(1), 0x20'2000);
  const auto coarse = add(tagged(1), 0x20'0000, 3, granule::k64);
  EXPECT_EQ(send(va(1, tlbi_operand::address(0x20'1000, true))), (ids{page, block, coarse}));
  EXPECT_EQ(found(tagged(1), granule::k4, 0x20'2000), other);
}

TEST_F(adversary_tlb, a_level_hint_keeps_entries_of_other_levels) {
  const auto page = add(tagged(1), 0x20'0000);
  const auto block = add(tagged(1), 0x20'0000, 2);
  EXPECT_EQ(send(va(1, tlbi_operand::range(granule::k4, 0x20'0000, 0, 9, 2, true))), (ids{block}));
  EXPECT_EQ(send(va(1, tlbi_operand::range(granule::k4, 0x20'0000, 0, 9, 0, true))), (ids{page}));
}

TEST_F(adversary_tlb, a_granule_keeps_entries_of_other_granules) {
  const auto four = add(tagged(1), 0x20'0000);
  const auto sixtyfour = add(tagged(1), 0x20'0000, 3, granule::k64);
  EXPECT_EQ(send(va(1, tlbi_operand::range(granule::k64, 0x20'0000, 1, 0, 3, true))), (ids{sixtyfour}));
  EXPECT_EQ(send(va(1, tlbi_operand::range(granule::k4, 0x20'0000, 31, 0, 3, true))), (ids{four}));
}

TEST_F(adversary_tlb, the_wrong_asid_or_page_removes_nothing) {
  add(tagged(1), 0x5000);
  EXPECT_TRUE(send(va(2, tlbi_operand::address(0x5000, true))).empty());
  EXPECT_TRUE(send(va(1, tlbi_operand::address(0x6000, true))).empty());
  EXPECT_TRUE(send(cmd::tlbi_nh_asid{asid{2}, vmid{0}}.encode()).empty());
  EXPECT_EQ(t.size(), 1u);
}

TEST_F(adversary_tlb, a_range_removes_its_pages_and_the_blocks_that_overlap_it) {
  ids pages;
  for (unsigned i = 0; i != 40; ++i) {
    const auto id = add(tagged(1), 0x1f'0000 + i * 0x1000u);
    if (i >= 4 && i < 4 + 17) pages.insert(id);
  }
  pages.insert(add(tagged(1), 0x0, 2));        // 0..2 MiB overlaps from below
  pages.insert(add(tagged(1), 0x20'0000, 2));  // 2..4 MiB overlaps from above
  add(tagged(1), 0x40'0000, 2);
  EXPECT_EQ(send(va(1, tlbi_operand::range(granule::k4, 0x1f'4000, 16, 0, 0, true))), pages);
}

TEST_F(adversary_tlb, a_range_is_clipped_at_the_top_of_the_address_space) {
  const auto bottom = add(tagged(1), 0x0);
  const auto top = add(tagged(1), 0xffff'ffff'ffff'f000u);
  EXPECT_EQ(send(va(1, tlbi_operand::range(granule::k4, 0xffff'ffff'ffff'f000u, 31, 31, 3, true))), (ids{top}));
  EXPECT_EQ(send(va(1, tlbi_operand::range(granule::k4, 0, 31, 31, 3, true))), (ids{bottom}));
}

TEST_F(adversary_tlb, by_asid_keeps_global_entries_and_by_address_removes_them) {
  const auto own = add(tagged(1), 0x5000);
  const auto global = add(tagged(1, 0, true), 0x9000);
  EXPECT_EQ(found(tagged(7), granule::k4, 0x9000), global);
  EXPECT_EQ(send(cmd::tlbi_nh_asid{asid{1}, vmid{0}}.encode()), (ids{own}));
  EXPECT_EQ(send(va(4, tlbi_operand::address(0x9000, true))), (ids{global}));
}

TEST_F(adversary_tlb, all_asids_of_one_address_go_with_vaa) {
  const auto one = add(tagged(1), 0x5000);
  const auto two = add(tagged(2), 0x5000);
  const auto global = add(tagged(0, 0, true), 0x5000);
  add(tagged(2), 0x6000);
  EXPECT_EQ(send(cmd::tlbi_nh_vaa{vmid{0}, tlbi_operand::address(0x5000, true)}.encode()), (ids{one, two, global}));
}

TEST_F(adversary_tlb, a_vmid_on_a_stage_1_only_smmu_removes_nothing) {
  const auto e = add(tagged(1), 0x5000);
  EXPECT_TRUE(send(va(1, tlbi_operand::address(0x5000, true), 3)).empty());
  EXPECT_TRUE(send(cmd::tlbi_nh_all{vmid{3}}.encode()).empty());
  EXPECT_EQ(send(cmd::tlbi_nh_all{vmid{0}}.encode()), (ids{e}));
}

TEST_F(adversary_tlb, vmids_are_compared_when_stage_2_exists) {
  facts.stage2 = true;
  const auto three = add(tagged(1, 3), 0x5000);
  const auto four = add(tagged(1, 4), 0x5000);
  const auto zero = add(tagged(1, 0), 0x5000);
  EXPECT_EQ(send(va(1, tlbi_operand::address(0x5000, true), 3)), (ids{three}));
  EXPECT_EQ(send(cmd::tlbi_s12_vmall{vmid{4}}.encode()), (ids{four}));
  EXPECT_EQ(send(cmd::tlbi_nsnh_all{}.encode()), (ids{zero}));
}

TEST_F(adversary_tlb, tag_bits_beyond_the_implemented_width_make_the_command_do_nothing) {
  facts.stage2 = true;
  facts.asid_bits = facts.vmid_bits = 8;
  add(tagged(1, 2), 0x5000);
  EXPECT_TRUE(send(va(0x101, tlbi_operand::address(0x5000, true), 2)).empty());
  EXPECT_TRUE(send(va(1, tlbi_operand::address(0x5000, true), 0x102)).empty());
  EXPECT_TRUE(send(cmd::tlbi_nh_asid{asid{0x101}, vmid{2}}.encode()).empty());
  EXPECT_EQ(send(va(1, tlbi_operand::address(0x5000, true), 2)).size(), 1u);
}

TEST_F(adversary_tlb, without_range_support_a_range_command_shrinks_to_one_entry) {
  facts.range = false;
  const auto first = add(tagged(1), 0x5000);
  add(tagged(1), 0x6000);
  EXPECT_EQ(send(va(1, tlbi_operand::range(granule::k4, 0x5000, 7, 0, 3, true))), (ids{first}));
}

TEST_F(adversary_tlb, an_address_that_is_not_aligned_to_its_level_hint_is_unpredictable_and_removes_nothing) {
  add(tagged(1), 0x20'1000, 3);
  const command c{0x0001'0000'0090'0012u, 0x0000'0000'0020'1601u};  // TTL 2, ADDR 0x201000
  EXPECT_TRUE(decode_scope(c, facts).unpredictable);
  EXPECT_TRUE(send(c).empty());
}

TEST_F(adversary_tlb, level_1_of_16k_is_a_hint_only_with_wide_scale) {
  const command c{0x0001'0000'0010'0012u, 0x0000'0010'0000'0901u};  // TG 2, TTL 1, SCALE 1, 64 GiB aligned
  EXPECT_EQ(decode_scope(c, facts).leaf_levels, 0b1111);
  facts.wide_scale = true;
  EXPECT_EQ(decode_scope(c, facts).leaf_levels, 0b0010);
}

TEST_F(adversary_tlb, scale_has_six_bits_and_a_maximum_of_39_with_wide_scale_only) {
  const command c{0x0001'0000'03f0'0012u, 0x0000'0000'0000'0701u};       // SCALE field 63
  EXPECT_EQ(decode_scope(c, facts).last, (std::uint64_t{1} << 43) - 1);  // 31
  facts.wide_scale = true;
  EXPECT_EQ(decode_scope(c, facts).last, (std::uint64_t{1} << 51) - 1);  // 39
}

TEST_F(adversary_tlb, el2_commands_reach_only_their_own_kind) {
  const auto el1 = add(tagged(1), 0x5000);
  const auto plain = add({regime::el2, 0, 0, false}, 0x5000);
  const auto e2h = add({regime::el2_e2h, 0, 1, false}, 0x5000);
  EXPECT_EQ(send(cmd::tlbi_el2_va{asid{1}, tlbi_operand::address(0x5000, true)}.encode()), (ids{plain}));
  facts.e2h = true;
  EXPECT_EQ(send(cmd::tlbi_el2_va{asid{1}, tlbi_operand::address(0x5000, true)}.encode()), (ids{e2h}));
  add({regime::el2, 0, 0, false}, 0x5000);
  add({regime::el2_e2h, 0, 1, false}, 0x5000);
  EXPECT_EQ(send(cmd::tlbi_el2_all{}.encode()).size(), 2u);
  EXPECT_EQ(send(cmd::tlbi_nsnh_all{}.encode()), (ids{el1}));
}

// What a command demands, decided entry by entry from the rules, for the random comparison below.
struct plain_entry {
  std::uint64_t id;
  std::uint16_t as;
  bool global;
  granule g;
  unsigned level;
  std::uint64_t first;
  std::uint64_t last;
};

TEST_F(adversary_tlb, random_commands_remove_exactly_what_a_brute_force_scan_says) {
  prng chance{2024};
  std::vector<plain_entry> truth;
  for (unsigned turn = 0; turn != 3000; ++turn) {
    if (chance.below(4) != 0) {
      const granule g{static_cast<std::uint8_t>(1 + chance.below(3))};
      const unsigned level = 1 + static_cast<unsigned>(chance.below(3));
      const unsigned shift = level_shift(g, level);
      const std::uint64_t x = chance.below(48) * 0x8000 % (std::uint64_t{1} << 32) + (chance.below(8) == 0 ? 0xffff'ffff'ffe0'0000u : 0);
      const std::uint64_t first = x >> shift << shift;
      const bool global = chance.below(8) == 0;
      const std::uint16_t as = static_cast<std::uint16_t>(1 + chance.below(3));
      if (t.insert(tagged(as, 0, global), first, {entry_id{next}, 0, static_cast<std::uint8_t>(level), g, true, true})) {
        truth.push_back({next, as, global, g, level, first, first + ((std::uint64_t{1} << shift) - 1)});
        ++next;
      }
      continue;
    }
    const granule g{static_cast<std::uint8_t>(1 + chance.below(3))};
    const unsigned ttl = static_cast<unsigned>(chance.below(4));
    const unsigned num = static_cast<unsigned>(chance.below(32));
    const unsigned scale = static_cast<unsigned>(chance.below(chance.below(4) == 0 ? 32 : 6));
    const std::uint16_t as = static_cast<std::uint16_t>(1 + chance.below(3));
    const bool point = chance.below(4) == 0;
    const bool any = chance.below(4) == 0;
    std::uint64_t at = chance.below(2'000'000) + (chance.below(8) == 0 ? 0xffff'ffff'ffe0'0000u : 0);
    const unsigned align = point ? 12 : level_shift(g, ttl == 0 ? 3 : ttl);
    at = at >> align << align;
    const auto op = point ? result<tlbi_operand>{tlbi_operand::address(at, true)} : tlbi_operand::range(g, at, num, scale, ttl, true);
    if (!op.ok()) continue;
    const command c = any ? cmd::tlbi_nh_vaa{vmid{0}, *op}.encode() : va(as, op);
    const std::uint64_t span = (std::uint64_t{num} + 1) << scale << granule_shift(g);
    const std::uint64_t last = point ? at : (at + span - 1 < at ? ~std::uint64_t{0} : at + span - 1);
    ids expected;
    std::vector<plain_entry> kept;
    const bool hint = !point && ttl != 0 && !(g == granule::k16 && ttl == 1);
    for (const plain_entry& e : truth) {
      const bool tag = any || e.global || e.as == as;
      const bool kind = point || (e.g == g && (!hint || e.level == ttl));
      if (tag && kind && e.first <= last && at <= e.last)
        expected.insert(e.id);
      else
        kept.push_back(e);
    }
    truth = kept;
    ASSERT_EQ(send(c), expected) << "turn " << turn;
    ASSERT_EQ(t.size(), truth.size());
  }
}

// The same for entries of both stages, three VMIDs, runs of contiguous leaves and pieces of fractured blocks.
struct staged_entry {
  std::uint64_t id;
  entry_tag tag;
  granule g;
  unsigned level;
  std::uint64_t first;  // of its extent
  std::uint64_t last;
};

TEST_F(adversary_tlb, random_commands_of_both_stages_remove_exactly_what_a_brute_force_scan_says) {
  facts.stage2 = true;
  prng chance{77};
  std::vector<staged_entry> truth;
  const auto granules = [&] { return granule{static_cast<std::uint8_t>(1 + chance.below(3))}; };
  const auto tag16 = [&](unsigned n) { return static_cast<std::uint16_t>(1 + chance.below(n)); };
  std::size_t taken = 0;
  for (unsigned turn = 0; turn != 6000; ++turn) {
    if (chance.below(4) != 0) {
      tlb_entry e{};
      e.g = granules();
      e.level = static_cast<std::uint8_t>(2 + chance.below(2));
      e.run = chance.below(4) == 0;
      const unsigned extent = e.shape().extent_shift();
      if (chance.below(3) == 0) e.part = static_cast<std::uint8_t>(12 + chance.below(extent - 12));
      const bool second = chance.below(3) == 0;
      const entry_tag tag{second ? regime::stage2 : regime::el1, tag16(3), second ? std::uint16_t{0} : tag16(2),
                          !second && chance.below(8) == 0};
      const std::uint64_t x = chance.below(1u << 28);
      e.id = entry_id{next};
      if (t.insert(tag, x, e)) {
        const std::uint64_t first = x >> extent << extent;
        truth.push_back({next, tag, e.g, e.level, first, first + ((std::uint64_t{1} << extent) - 1)});
        ++next;
      }
      ASSERT_NE(t.find(tag, e.g, x), nullptr);
      continue;
    }
    const granule g = granules();
    const unsigned ttl = chance.below(2) == 0 ? 0 : 2 + static_cast<unsigned>(chance.below(2));
    const bool point = chance.below(3) == 0;
    const unsigned align = point ? 12 : level_shift(g, ttl == 0 ? 3 : ttl);
    const std::uint64_t at = chance.below(1u << 28) >> align << align;
    const unsigned num = static_cast<unsigned>(chance.below(32));
    const unsigned scale = static_cast<unsigned>(chance.below(8));
    const auto op = point ? result<tlbi_operand>{tlbi_operand::address(at, true)} : tlbi_operand::range(g, at, num, scale, ttl, true);
    if (!op.ok()) continue;
    const std::uint64_t span = (std::uint64_t{num} + 1) << scale << granule_shift(g);
    const std::uint64_t last = point ? at : at + span - 1;
    const std::uint16_t as = tag16(2);
    const std::uint16_t vm = tag16(3);
    const unsigned which = static_cast<unsigned>(chance.below(20));
    const auto by_address = [&](const staged_entry& e) {
      return e.tag.vm == vm && (point || (e.g == g && (ttl == 0 || e.level == ttl))) && e.first <= last && at <= e.last;
    };
    command c{};
    std::set<std::uint64_t> expected;
    const auto expect = [&](command k, auto&& named) {
      c = k;
      for (const staged_entry& e : truth)
        if (named(e)) expected.insert(e.id);
    };
    const auto first_stage = [](const staged_entry& e) { return e.tag.where == regime::el1; };
    if (which < 7) {
      expect(cmd::tlbi_nh_va{asid{as}, vmid{vm}, *op}.encode(),
             [&](const staged_entry& e) { return first_stage(e) && by_address(e) && (e.tag.global || e.tag.as == as); });
    } else if (which < 10) {
      expect(cmd::tlbi_nh_vaa{vmid{vm}, *op}.encode(), [&](const staged_entry& e) { return first_stage(e) && by_address(e); });
    } else if (which < 17) {
      expect(cmd::tlbi_s2_ipa{vmid{vm}, *op}.encode(), [&](const staged_entry& e) { return !first_stage(e) && by_address(e); });
    } else if (which == 17) {
      expect(cmd::tlbi_nh_asid{asid{as}, vmid{vm}}.encode(),
             [&](const staged_entry& e) { return first_stage(e) && e.tag.vm == vm && !e.tag.global && e.tag.as == as; });
    } else if (which == 18) {
      expect(cmd::tlbi_nh_all{vmid{vm}}.encode(), [&](const staged_entry& e) { return first_stage(e) && e.tag.vm == vm; });
    } else {
      expect(cmd::tlbi_s12_vmall{vmid{vm}}.encode(), [&](const staged_entry& e) { return e.tag.vm == vm; });
    }
    ASSERT_EQ(send(c), expected) << "turn " << turn << " kind " << which;
    taken += expected.size();
    std::erase_if(truth, [&](const staged_entry& e) { return expected.count(e.id) != 0; });
    ASSERT_EQ(t.size(), truth.size());
  }
  EXPECT_GT(taken, 1000u);
}

TEST_F(adversary_tlb, breathing_takes_no_more_memory_after_the_first_breath) {
  for (unsigned i = 0; i != 4096; ++i) add(tagged(1), i * 0x1000u);
  send(cmd::tlbi_nh_asid{asid{1}, vmid{0}}.encode());
  const std::size_t chunks = pool.chunks();
  for (unsigned turn = 0; turn != 5; ++turn) {
    for (unsigned i = 0; i != 4096; ++i) add(tagged(1), i * 0x1000u);
    send(va(1, tlbi_operand::range(granule::k4, 0, 31, 7, 3, true)));
    EXPECT_EQ(t.size(), 0u);
  }
  EXPECT_EQ(pool.chunks(), chunks);
}

TEST_F(adversary_walk_cache, the_deepest_pointer_on_the_way_is_found) {
  add_table(tagged(1), 0x4000'0000, 0);
  const auto one = add_table(tagged(1), 0x4000'0000, 1);
  EXPECT_EQ(deepest(tagged(1), granule::k4, 0, 0x4020'0000), one);
  const auto two = add_table(tagged(1), 0x4020'0000, 2);
  EXPECT_EQ(deepest(tagged(1), granule::k4, 0, 0x4020'0000), two);
  EXPECT_EQ(deepest(tagged(1), granule::k4, 0, 0x4040'0000), one);
  EXPECT_EQ(tables.deepest(tagged(2), granule::k4, 0, 0x4020'0000), nullptr);
}

TEST_F(adversary_walk_cache, pointers_survive_leaf_only_invalidation) {
  add_table(tagged(1), 0x4020'0000, 2);
  EXPECT_TRUE(send(va(1, tlbi_operand::address(0x4020'0000, true))).empty());
  EXPECT_TRUE(send(va(1, tlbi_operand::range(granule::k4, 0x4000'0000, 31, 10, 0, true))).empty());
  EXPECT_EQ(tables.size(), 1u);
}

TEST_F(adversary_walk_cache, pointers_go_with_leaf_0_over_their_range_and_with_their_tag) {
  const auto two = add_table(tagged(1), 0x4020'0000, 2);
  const auto one = add_table(tagged(1), 0x4000'0000, 1);
  const auto far = add_table(tagged(1), 0x8000'0000, 1);
  const auto other = add_table(tagged(2), 0x4000'0000, 1);
  EXPECT_EQ(send(va(1, tlbi_operand::address(0x4020'5000, false))), (ids{one, two}));
  EXPECT_EQ(send(cmd::tlbi_nh_asid{asid{1}, vmid{0}}.encode()), (ids{far}));
  EXPECT_EQ(send(cmd::tlbi_nh_all{vmid{0}}.encode()), (ids{other}));
}

TEST_F(adversary_walk_cache, with_a_level_hint_only_pointers_above_that_level_go) {
  const auto zero = add_table(tagged(1), 0x4000'0000, 0);
  const auto one = add_table(tagged(1), 0x4000'0000, 1);
  const auto two = add_table(tagged(1), 0x4000'0000, 2);
  const auto block = add(tagged(1), 0x4000'0000, 2);
  add(tagged(1), 0x4000'0000, 3);
  EXPECT_EQ(send(va(1, tlbi_operand::range(granule::k4, 0x4000'0000, 0, 9, 2, false))), (ids{zero, one, block}));
  EXPECT_EQ(deepest(tagged(1), granule::k4, 0, 0x4000'0000), two);
}

}  // namespace
