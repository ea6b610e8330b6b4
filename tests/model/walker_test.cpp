// SPDX-License-Identifier: MIT
#include <shootdown/model/walker.hpp>

#include <cstdint>

#include <gtest/gtest.h>

#include <shootdown/arch/commands.hpp>

#include "hand_tables.hpp"
#include "test_env.hpp"

namespace {
using namespace shootdown;
using namespace shootdown::model;
using model_test::test_env;

constexpr bus_addr arena{0x8000'0000};
constexpr bus_addr data{0x1'0000'0000};

struct model_walker : testing::Test {
  memory<test_env> m{arena, 1 << 20};
  oracle<test_env> o{oracle_config{data, 4096, arena, 256, 8}};
  node_pool pool;
  caches c{pool};
  walker<test_env> w{m, o, c};
  model_test::hand_tables<test_env> h{m, o};
  walk_setup setup{};
  model_test::hand_tables<test_env>::space s = h.new_space(1);

  model_walker() {
    test_env::failures.clear();
    setup.strtab_base = raw(h.stream_table());
    setup.strtab_cfg = h.stream_log2;
    h.set_ste(8, h.ste_of(s));
  }
  translation go(std::uint64_t x, request a = request::load(), std::uint32_t sid = 8) {
    return w.translate(setup, stream_id{sid}, iova{x}, a, instant{});
  }
  void expect_fault(const translation& t, event_id id, event_class cls = event_class::input, bool recorded = true) {
    EXPECT_EQ(t.what, outcome::faulted);
    EXPECT_EQ(t.event, id) << name(t.event);
    EXPECT_EQ(t.cls, cls);
    EXPECT_EQ(t.recorded, recorded);
  }
  void set_cd(unsigned word, std::uint64_t clear, std::uint64_t set) {
    const bus_addr at{raw(s.cd_memory.bus) + word * 8u};
    h.write(at, (h.read(at) & ~clear) | set);
    c.configs.remove(cmd::cfgi_all().encode(), [](entry_id) {});
  }
  void set_ste(unsigned word, std::uint64_t clear, std::uint64_t set) {
    const bus_addr at{raw(h.stream_table()) + 8 * 64 + word * 8u};
    h.write(at, (h.read(at) & ~clear) | set);
    c.configs.remove(cmd::cfgi_all().encode(), [](entry_id) {});
  }
  void drop_tlb() {
    const scope all = decode_scope(cmd::tlbi_nsnh_all{}.encode(), {});
    c.leaves.remove(all, [](entry_id) {});
    c.tables.remove(all, [](entry_id) {});
  }
};

TEST_F(model_walker, translates_pages_and_blocks_of_every_level) {
  h.map(s, 0x12'3000, bus_addr{raw(data) + 0x5000});
  h.map(s, 0x40'0000, bus_addr{raw(data) + 0x20'0000}, 2);
  h.map(s, 0x40'0000'0000, bus_addr{0x40'0000'0000}, 1);
  const translation page = go(0x12'3456);
  EXPECT_EQ(page.what, outcome::granted);
  EXPECT_EQ(page.output, raw(data) + 0x5456);
  EXPECT_EQ(page.level, 3);
  EXPECT_EQ(go(0x5a'bcde).output, raw(data) + 0x3a'bcde);
  EXPECT_EQ(go(0x40'1234'5678).output, 0x40'1234'5678u);
  EXPECT_EQ(o.leaks(), 0u);
}

TEST_F(model_walker, a_48_bit_space_is_walked_from_level_0_and_a_25_bit_space_from_level_2) {
  const bus_addr l1 = h.new_table();
  const bus_addr l0 = h.new_table();
  h.write(bus_addr{raw(l0) + 8 * 1}, descriptor::table(granule::k4, l1)->w);
  h.write(bus_addr{raw(l1) + 8 * 2}, descriptor::leaf(granule::k4, 1, bus_addr{0x40'0000'0000}, {})->w);
  set_cd(0, 0x3f, 16);
  set_cd(1, ~0ull, raw(l0));
  EXPECT_EQ(go((1ull << 39) | (2ull << 30) | 0x123).output, 0x40'0000'0123u);
  expect_fault(go(1ull << 48), event_id::f_translation);
  const bus_addr l2 = h.new_table();
  h.write(bus_addr{raw(l2) + 8 * 15}, descriptor::leaf(granule::k4, 2, bus_addr{raw(data)}, {})->w);
  set_cd(0, 0x3f, 39);
  set_cd(1, ~0ull, raw(l2));
  drop_tlb();
  EXPECT_EQ(go((15ull << 21) | 0x77).output, raw(data) + 0x77);
  expect_fault(go(1ull << 25), event_id::f_translation);
}

TEST_F(model_walker, the_upper_half_is_translated_by_ttb1_when_it_is_enabled) {
  expect_fault(go(0xffff'ffff'ffff'0000u), event_id::f_translation);  // EPD1
  const bus_addr l1 = h.new_table();
  h.write(bus_addr{raw(l1) + 8 * 511}, descriptor::leaf(granule::k4, 1, bus_addr{0x40'0000'0000}, {})->w);
  set_cd(0, std::uint64_t{1} << 30 | 0x3full << 16 | 3ull << 22, 25ull << 16 | 2ull << 22);
  set_cd(2, ~0ull, raw(l1));
  EXPECT_EQ(go(0xffff'ffff'ffff'0000u).output, 0x40'3fff'0000u);
  expect_fault(go(0xff00'ffff'ffff'0000u), event_id::f_translation);
}

TEST_F(model_walker, sixteen_and_sixty_four_kib_tables_are_walked_when_announced) {
  setup.granules = 0b1110;
  const auto big = m.allocate_dma(65536, 65536);
  for (unsigned i = 0; i != 16; ++i) o.table_allocated(bus_addr{raw(big.bus) + i * 4096u});
  // 64 KiB, 38 bits: level 2 start, one table of 512 entries
  h.write(bus_addr{raw(big.bus) + 8 * 3}, descriptor::leaf(granule::k64, 2, bus_addr{0x40'0000'0000}, {})->w);
  set_cd(0, 0xff, 26 | 1u << 6);
  set_cd(1, ~0ull, raw(big.bus));
  EXPECT_EQ(go((3ull << 29) | 0x1234).output, 0x40'0000'1234u);
  // 16 KiB, 36 bits: level 2 start
  drop_tlb();
  set_cd(0, 0xff, 28 | 2u << 6);
  h.write(bus_addr{raw(big.bus) + 8 * 3}, descriptor::leaf(granule::k16, 2, bus_addr{0x40'0000'0000}, {})->w);
  EXPECT_EQ(go((3ull << 25) | 0x1234).output, 0x40'0000'1234u);
  setup.granules = 0b0010;
  expect_fault(go(0), event_id::c_bad_cd, event_class::cd);
}

TEST_F(model_walker, an_invalid_descriptor_faults_and_is_not_cached) {
  expect_fault(go(0x12'3000), event_id::f_translation);
  h.map(s, 0x12'3000, data);
  EXPECT_EQ(go(0x12'3000).what, outcome::granted);
}

TEST_F(model_walker, a_block_where_none_is_allowed_faults) {
  h.write(h.slot(s, 0x1000, 3), raw(data) | 0x441);  // bits[1:0] = 01 at level 3
  expect_fault(go(0x1000), event_id::f_translation);
}

TEST_F(model_walker, access_flag_and_permissions_are_checked) {
  leaf_attributes a{};
  a.accessed = false;
  h.map(s, 0x1000, data, 3, a);
  expect_fault(go(0x1000), event_id::f_access);
  a = {};
  a.read_only = true;
  h.map(s, 0x2000, data, 3, a);
  EXPECT_EQ(go(0x2000).what, outcome::granted);
  expect_fault(go(0x2000, request::store()), event_id::f_permission);
  a = {};
  a.unprivileged = false;
  h.map(s, 0x3000, data, 3, a);
  expect_fault(go(0x3000), event_id::f_permission);
  EXPECT_EQ(go(0x3000, request{false, true, false, substream_id{0}}).what, outcome::granted);
}

TEST_F(model_walker, table_restrictions_reach_the_leaf_also_from_the_walk_cache) {
  h.map(s, 0x1000, data);
  const bus_addr l1 = h.slot(s, 0x1000, 1);
  h.write(l1, h.read(l1) | std::uint64_t{1} << 62);  // APTable: read-only
  expect_fault(go(0x1000, request::store()), event_id::f_permission);
  h.map(s, 0x2000, data);
  expect_fault(go(0x2000, request::store()), event_id::f_permission);
  EXPECT_EQ(go(0x2000).what, outcome::granted);
}

TEST_F(model_walker, addresses_beyond_the_output_width_fault) {
  set_cd(0, 7ull << 32, 0);  // IPS: 32 bits
  h.map(s, 0x1000, data);
  expect_fault(go(0x1000), event_id::f_addr_size);
  set_cd(1, ~0ull, std::uint64_t{1} << 40);  // TTB0 beyond IPS
  expect_fault(go(0x1000), event_id::c_bad_cd, event_class::cd);
}

TEST_F(model_walker, a_table_that_memory_does_not_answer_for_is_a_walk_abort) {
  h.write(h.slot(s, 0x1000, 1), 0x4000'0003u);  // next table outside the arena
  expect_fault(go(0x1000), event_id::f_walk_eabt, event_class::table_descriptor);
}

TEST_F(model_walker, bad_streams_and_stes_have_their_own_events) {
  expect_fault(go(0, {}, 64), event_id::c_bad_streamid, event_class::input, false);
  setup.record_bad_streamid = true;
  expect_fault(go(0, {}, 64), event_id::c_bad_streamid);
  expect_fault(go(0, {}, 9), event_id::c_bad_ste);  // V = 0
  for (const unsigned config : {6u, 7u}) {  // no stage 2
    set_ste(0, 7u << 1, config << 1);
    expect_fault(go(0), event_id::c_bad_ste);
  }
  setup.strtab_base = 0x1000;
  c.configs.remove(cmd::cfgi_all().encode(), [](entry_id) {});
  expect_fault(go(0), event_id::f_ste_fetch);
}

TEST_F(model_walker, reserved_configurations_abort_without_a_record) {
  for (const unsigned config : {0u, 1u, 2u, 3u}) {
    set_ste(0, 7u << 1, config << 1);
    EXPECT_EQ(go(0x1000).what, outcome::aborted) << config;
  }
}

TEST_F(model_walker, abort_and_bypass_stes_do_what_they_say) {
  h.set_ste(1, ste::abort());
  h.set_ste(2, ste::bypass());
  EXPECT_EQ(go(0x1000, {}, 1).what, outcome::aborted);
  const translation t = go(0x1234, {}, 2);
  EXPECT_EQ(t.what, outcome::granted);
  EXPECT_TRUE(t.bypass);
  EXPECT_EQ(t.output, 0x1234u);
  expect_fault(go(1ull << 50, {}, 2), event_id::f_addr_size);
  expect_fault(go(0x1000, {false, false, true, substream_id{1}}, 2), event_id::c_bad_substreamid);
}

TEST_F(model_walker, bad_cds_have_their_own_event) {
  set_cd(0, std::uint64_t{1} << 31, 0);  // V
  expect_fault(go(0), event_id::c_bad_cd, event_class::cd);
  set_cd(0, 0, std::uint64_t{1} << 31);
  set_cd(0, std::uint64_t{1} << 41, 0);  // AArch32
  expect_fault(go(0), event_id::c_bad_cd, event_class::cd);
  set_cd(0, 0, std::uint64_t{1} << 41);
  set_cd(0, 0x3f, 12);  // T0SZ
  expect_fault(go(0), event_id::c_bad_cd, event_class::cd);
  set_cd(0, 0xff, 25 | 3u << 6);  // TG0
  expect_fault(go(0), event_id::c_bad_cd, event_class::cd);
  set_cd(0, 0xff, 25);
  expect_fault(go(0), event_id::f_translation);
  set_ste(0, 0x000fffffffffffc0ull, 0x1000);
  expect_fault(go(0), event_id::f_cd_fetch, event_class::cd);
}

TEST_F(model_walker, substreams_select_their_cd) {
  setup.substream_bits = 2;
  const auto cds = m.allocate_dma(256, 256);
  for (unsigned i = 0; i != 8; ++i) h.write(bus_addr{raw(cds.bus) + 64 * 2 + i * 8u}, h.read(bus_addr{raw(s.cd_memory.bus) + i * 8u}));
  set_ste(0, 0x000fffffffffffc0ull | 0x1full << 59, raw(cds.bus) | 2ull << 59);
  h.map(s, 0x1000, data);
  EXPECT_EQ(go(0x1000, {false, false, true, substream_id{2}}).what, outcome::granted);
  expect_fault(go(0x1000, {false, false, true, substream_id{3}}), event_id::c_bad_cd, event_class::cd);
  expect_fault(go(0x1000, {false, false, true, substream_id{4}}), event_id::c_bad_substreamid);
  set_ste(1, 3, 0);  // S1DSS: terminate what has no substream
  expect_fault(go(0x1000), event_id::f_stream_disabled);
  set_ste(1, 3, 1);
  EXPECT_TRUE(go(0x1000).bypass);
  set_ste(1, 3, 3);  // reserved: as 0
  expect_fault(go(0x1000), event_id::f_stream_disabled);
  set_ste(1, 3, 2);
  expect_fault(go(0x1000, {false, false, true, substream_id{0}}), event_id::f_stream_disabled);
  setup.substream_bits = 1;
  expect_fault(go(0x1000), event_id::c_bad_ste);
  setup.substream_bits = 0;  // S1CDMax does not exist: one CD
  expect_fault(go(0x1000), event_id::c_bad_cd, event_class::cd);
  expect_fault(go(0x1000, {false, false, true, substream_id{1}}), event_id::c_bad_substreamid);
}

TEST_F(model_walker, faults_are_recorded_only_when_the_cd_says_so) {
  set_cd(0, std::uint64_t{1} << 45, 0);
  expect_fault(go(0x1000), event_id::f_translation, event_class::input, false);
}

TEST_F(model_walker, a_cached_leaf_answers_after_its_descriptor_is_gone) {
  h.map(s, 0x1000, data);
  EXPECT_FALSE(go(0x1000).from_tlb);
  h.unmap(s, 0x1000);
  const translation t = go(0x1008);
  EXPECT_TRUE(t.from_tlb);
  EXPECT_EQ(t.output, raw(data) + 8);
  drop_tlb();
  expect_fault(go(0x1000), event_id::f_translation);
}

TEST_F(model_walker, a_walk_starts_below_the_deepest_cached_pointer) {
  h.map(s, 0x1000, data);
  h.map(s, 0x2000, data);
  (void)go(0x1000);
  const auto before = w.counters().descriptor_reads;
  (void)go(0x2000);
  EXPECT_EQ(w.counters().descriptor_reads, before + 1);
}

TEST_F(model_walker, a_walk_through_a_cached_pointer_into_a_freed_table_is_a_leak) {
  h.map(s, 0x1000, data);
  (void)go(0x1000);
  const bus_addr l2 = h.slot(s, 0x1000, 2);
  const bus_addr table = descriptor{h.read(l2)}.next_table(granule::k4);
  h.write(l2, 0);
  h.free_table(table);
  expect_fault(go(0x2000), event_id::f_translation);  // poison is no valid descriptor
  EXPECT_EQ(o.leaks(), 1u);
}

TEST_F(model_walker, a_walk_after_the_pointer_was_dropped_does_not_touch_the_freed_table) {
  h.map(s, 0x1000, data);
  (void)go(0x1000);
  const bus_addr l2 = h.slot(s, 0x1000, 2);
  const bus_addr table = descriptor{h.read(l2)}.next_table(granule::k4);
  h.write(l2, 0);
  const scope gone = decode_scope(cmd::tlbi_nh_va{asid{1}, vmid{0}, tlbi_operand::address(0x1000, false)}.encode(), {});
  c.tables.remove(gone, [](entry_id) {});
  c.leaves.remove(gone, [](entry_id) {});
  h.free_table(table);
  expect_fault(go(0x2000), event_id::f_translation);
  EXPECT_EQ(o.leaks(), 0u);
}

TEST_F(model_walker, the_fence_of_ordering_variant_ii_is_a_switch) {
  h.map(s, 0x1000, data);
  const auto before = test_env::fences;
  (void)go(0x1000);
  EXPECT_EQ(test_env::fences, before);
  setup.fence_after_ste = true;
  (void)go(0x1000);
  EXPECT_EQ(test_env::fences, before + 1);
}

TEST_F(model_walker, a_translation_names_everything_it_rests_on) {
  h.map(s, 0x1000, data);
  EXPECT_EQ(go(0x1000).used_count, 5);  // STE, CD, two table pointers, leaf
  EXPECT_EQ(go(0x1000).used_count, 3);  // STE, CD, leaf
  h.map(s, 0x2000, data);
  EXPECT_EQ(go(0x2000).used_count, 4);  // STE, CD, the pointer it started from, leaf
}

TEST_F(model_walker, a_stream_of_el2_has_one_table_unless_e2h_is_set) {
  setup.hyp = true;
  set_ste(1, std::uint64_t{3} << 30, std::uint64_t{2} << 30);
  const bus_addr l1 = h.new_table();
  h.write(bus_addr{raw(l1) + 8 * 511}, descriptor::leaf(granule::k4, 1, bus_addr{0x40'0000'0000}, {})->w);
  set_cd(0, std::uint64_t{1} << 30 | 0x3full << 16 | 3ull << 22, 25ull << 16 | 2ull << 22);
  set_cd(2, ~0ull, raw(l1));
  h.map(s, 0x1000, data);
  EXPECT_EQ(go(0x1000).output, raw(data));
  expect_fault(go(0xffff'ffff'ffff'0000u), event_id::f_translation);
  set_cd(0, 3ull << 22, 0);  // TG1 is reserved, and nobody looks
  EXPECT_EQ(go(0x1000).output, raw(data));
  setup.e2h = true;
  expect_fault(go(0x1000), event_id::c_bad_cd, event_class::cd);
  set_cd(0, 0, 2ull << 22);
  EXPECT_EQ(go(0xffff'ffff'ffff'0000u).output, 0x40'3fff'0000u);
  setup.hyp = false;
  expect_fault(go(0x1000), event_id::c_bad_ste);
}

TEST_F(model_walker, global_leaves_answer_for_every_asid) {
  leaf_attributes a{};
  a.not_global = false;
  h.map(s, 0x1000, data, 3, a);
  (void)go(0x1000);
  const auto other = h.new_space(2);
  h.set_ste(9, h.ste_of(other));
  EXPECT_TRUE(go(0x1000, {}, 9).from_tlb);
}

}  // namespace
