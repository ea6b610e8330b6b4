// SPDX-License-Identifier: MIT
#include <array>
#include <cstdint>
#include <string>

#include <gtest/gtest.h>

#include "hand_formats.hpp"

// Stream tables and CD tables of two levels, and substreams.
namespace {
using namespace shootdown;
using namespace shootdown::model;
using namespace model_test;
using rig_type = format_rig<test_env>;
using tree = hand_tree<test_env>;
using nested = nested_space<test_env>;

struct model_two_level_streams : testing::TestWithParam<unsigned> {
  rig_type r;
  unsigned split = GetParam();
  std::uint64_t l1 = r.take(4096, 4096);
  std::uint64_t l2 = r.take(std::uint64_t{64} << split, std::uint64_t{64} << split);

  model_two_level_streams() {
    r.setup.stream_bits = 16;
    r.setup.record_bad_streamid = true;
    r.setup.strtab_base = l1;
    r.setup.strtab_cfg = 1u << 16 | split << 6 | (split + 4);
    point(2, l2, split + 1);
    set(first() + 5, 4);
  }
  [[nodiscard]] std::uint32_t first() const { return 2u << split; }  // of the third level-1 descriptor
  void point(unsigned n, std::uint64_t table, unsigned span) { r.write(l1 + n * 8, table | span); }
  /// Config 4: bypass, so that a transaction shows which STE was found.
  void set(std::uint32_t sid, unsigned config, std::uint64_t table = 0) {
    r.write_entry((table == 0 ? l2 : table) + (sid & ((1u << split) - 1)) * 64u, ste_words({.config = config}));
  }
  outcome on_stream(std::uint32_t sid) { return r.go(0x1000, {}, sid).what; }
  void expect_bad(std::uint32_t sid) { expect_fault(r.go(0x1000, {}, sid), event_id::c_bad_streamid); }
  [[nodiscard]] static command ste(std::uint32_t sid, bool leaf) { return cmd::cfgi_ste{stream_id{sid}, leaf}.encode(); }
};

TEST_P(model_two_level_streams, are_found_through_their_level_1_descriptor) {
  EXPECT_EQ(on_stream(first() + 5), outcome::granted);
  expect_fault(r.go(0x1000, {}, first() + 6), event_id::c_bad_ste);
  expect_bad(first() - 1);   // SPAN = 0
  expect_bad(16u << split);  // beyond LOG2SIZE
  EXPECT_TRUE(r.go(0x1000, {}, first() - 1).recorded);
  r.setup.record_bad_streamid = false;
  EXPECT_FALSE(r.go(0x1000, {}, first() - 1).recorded);
}

TEST_P(model_two_level_streams, end_with_the_span) {
  point(3, l2, 3);  // 4 STEs
  const std::uint32_t base = 3u << split;
  set(3, 4);
  EXPECT_EQ(on_stream(base + 3), outcome::granted);
  expect_bad(base + 4);
  point(4, l2, split + 2);  // more than the split leaves
  expect_bad(4u << split);
  point(5, l2, 12);  // reserved
  expect_bad(5u << split);
}

TEST_P(model_two_level_streams, that_are_invalid_stay_so_until_the_level_1_descriptor_is_invalidated) {
  const std::uint32_t sid = (1u << split) + 5;
  expect_bad(sid);
  point(1, l2, split + 1);
  expect_bad(sid);  // the invalid descriptor is cached
  EXPECT_EQ(r.send(ste(sid, true)), 0u);
  expect_bad(sid);
  EXPECT_EQ(r.send(ste(sid + (1u << split), false)), 0u);
  expect_bad(sid);
  EXPECT_EQ(r.send(ste(sid + 1, false)), 1u);  // any stream of the descriptor
  EXPECT_EQ(on_stream(sid), outcome::granted);
}

TEST_P(model_two_level_streams, of_a_table_that_was_replaced_are_read_in_the_old_one_after_leaf_only_invalidation) {
  EXPECT_EQ(on_stream(first() + 5), outcome::granted);
  const std::uint64_t other = r.take(std::uint64_t{64} << split, std::uint64_t{64} << split);
  set(first() + 5, 0, other);  // abort
  point(2, other, split + 1);
  EXPECT_EQ(on_stream(first() + 5), outcome::granted);
  EXPECT_EQ(r.send(ste(first() + 5, true)), 1u);
  EXPECT_EQ(on_stream(first() + 5), outcome::granted);  // fetched anew from the old table
  for (const command& k : {ste(first() + 5, false), cmd::cfgi_ste_range{stream_id{first()}, 3}.encode(), cmd::cfgi_all().encode()}) {
    point(2, l2, split + 1);
    r.forget_everything();
    EXPECT_EQ(on_stream(first() + 5), outcome::granted);
    point(2, other, split + 1);
    EXPECT_EQ(r.send(k), 2u);
    EXPECT_EQ(on_stream(first() + 5), outcome::aborted);
  }
}

TEST_P(model_two_level_streams, whose_tables_cannot_be_read_are_fetch_faults) {
  point(6, 0x10'0000, split + 1);
  expect_fault(r.go(0, {}, 6u << split), event_id::f_ste_fetch, false, event_class::input, 0x10'0000);
  r.setup.strtab_base = 0x2000;
  expect_fault(r.go(0, {}, 7u << split), event_id::f_ste_fetch, false, event_class::input, 0x2000 + 7 * 8);
}

TEST_P(model_two_level_streams, do_not_exist_on_an_smmu_without_them) {
  r.setup.two_level_streams = false;  // FMT is ignored: the table is linear
  r.write_entry(l1 + 64 * 3, ste_words({.config = 4}));
  EXPECT_EQ(on_stream(3), outcome::granted);
}
INSTANTIATE_TEST_SUITE_P(split, model_two_level_streams, testing::Values(6u, 8u, 10u),
                         [](const auto& i) { return std::to_string(i.param); });

/// Stream 8 with 2^12 CDs of every S1Fmt; the CD of SSID s maps its own page.
struct model_substreams : testing::TestWithParam<unsigned> {
  static constexpr unsigned log2 = 12;
  rig_type r;
  unsigned format = GetParam();
  unsigned split = format == 1 ? 6 : 10;
  std::uint64_t root = format == 0 ? r.take(64u << log2, 64u << log2) : r.take(4096, 4096);
  ste_fields f{.contexts = root, .cd_log2 = log2, .format = format};

  model_substreams() { r.set_ste(8, ste_words(f)); }
  void again() {
    r.set_ste(8, ste_words(f));
    r.forget_everything();
  }
  /// The CD of `ssid`, in the leaf table at `leaf` (a new one if there is none).
  std::uint64_t place(std::uint32_t ssid) {
    if (format == 0) return root + ssid * 64u;
    const std::uint64_t l1 = root + (ssid >> split) * 8u;
    if ((r.read(l1) & 1) == 0) r.write(l1, r.take(64u << split, 64u << split) | 1);
    return (r.read(l1) & ~0xfffull) + (ssid & ((1u << split) - 1)) * 64u;
  }
  void give(std::uint32_t ssid, std::uint64_t out) {
    tree t{r, 12, 25, 2};
    t.map(0x1000, 3, word::leaf(out, 3, word::s1));
    r.write_entry(place(ssid), cd_words({.as = static_cast<std::uint16_t>(ssid + 1), .ttb0 = t.root(), .bits0 = 25}));
  }
  [[nodiscard]] static command cd(std::uint32_t ssid, bool leaf) { return cmd::cfgi_cd{stream_id{8}, substream_id{ssid}, leaf}.encode(); }
};

TEST_P(model_substreams, have_contexts_of_their_own) {
  for (const std::uint32_t ssid : {0u, 1u, 63u, 64u, 1023u, 1024u, 4095u}) give(ssid, 0x10'0000 + ssid * 0x1000u);
  for (const std::uint32_t ssid : {1u, 63u, 64u, 1023u, 1024u, 4095u}) expect_output(r.on(ssid, 0x1008), 0x10'0008 + ssid * 0x1000u);
  expect_output(r.go(0x1008), 0x10'0008);                      // S1DSS 2: CD 0
  expect_fault(r.on(0, 0x1008), event_id::f_stream_disabled);  // which substream 0 may not use then
  expect_fault(r.on(2, 0x1008), event_id::c_bad_cd, false, event_class::cd);
  expect_fault(r.on(4096, 0x1008), event_id::c_bad_substreamid);  // beyond S1CDMax
  EXPECT_EQ(r.o.leaks(), 0u);
}

TEST_P(model_substreams, decide_what_happens_without_one) {
  give(0, 0x9000);
  expect_output(r.go(0x1000), 0x9000);
  for (const unsigned reserved_or_terminate : {0u, 3u}) {
    f.without_ssid = reserved_or_terminate;
    again();
    expect_fault(r.go(0x1000), event_id::f_stream_disabled);
    expect_output(r.on(0, 0x1000), 0x9000);
  }
  f.without_ssid = 1;
  again();
  EXPECT_TRUE(r.go(0x1000).bypass);
  expect_output(r.on(0, 0x1000), 0x9000);
}

TEST_P(model_substreams, are_invalidated_one_by_one_or_together) {
  for (const std::uint32_t ssid : {0u, 1u, 2u}) give(ssid, 0x10'0000);
  const auto fill = [&] {
    r.forget_everything();
    EXPECT_EQ(r.go(0x1000).what, outcome::granted);
    for (const std::uint32_t ssid : {1u, 2u}) EXPECT_EQ(r.on(ssid, 0x1000).what, outcome::granted);
  };
  const unsigned tables = format == 0 ? 0 : 1;
  fill();
  EXPECT_EQ(r.send(cd(1, true)), 1u);
  EXPECT_EQ(r.send(cd(1, true)), 0u);
  EXPECT_EQ(r.send(cd(2, false)), 1u + tables);
  fill();
  EXPECT_EQ(r.send(cmd::cfgi_cd_all{stream_id{8}}.encode()), 3u + tables);
  fill();
  EXPECT_EQ(r.send(cmd::cfgi_cd_all{stream_id{9}}.encode()), 0u);
  EXPECT_EQ(r.send(cmd::cfgi_ste{stream_id{8}, true}.encode()), 4u + tables);
}

TEST_P(model_substreams, beyond_an_invalid_level_1_descriptor_stay_bad_until_it_is_invalidated) {
  if (format == 0) return;
  const std::uint32_t ssid = (1u << split) + 7;
  expect_fault(r.on(ssid, 0x1000), event_id::c_bad_substreamid);
  give(ssid, 0x9000);
  expect_fault(r.on(ssid, 0x1000), event_id::c_bad_substreamid);
  EXPECT_EQ(r.send(cd(ssid, true)), 0u);
  expect_fault(r.on(ssid, 0x1000), event_id::c_bad_substreamid);
  EXPECT_EQ(r.send(cd(7, false)), 0u);         // another descriptor
  EXPECT_EQ(r.send(cd(ssid + 1, false)), 1u);  // any substream of this one
  expect_output(r.on(ssid, 0x1000), 0x9000);
}

TEST_P(model_substreams, of_a_replaced_leaf_table_are_read_in_the_old_one_after_leaf_only_invalidation) {
  if (format == 0) return;
  give(5, 0x9000);
  expect_output(r.on(5, 0x1000), 0x9000);
  r.write(root, 0);
  give(5, 0xa000);  // in a new leaf table
  EXPECT_EQ(r.send(cd(5, true)), 1u);
  expect_output(r.on(5, 0x1000), 0x9000);
  EXPECT_EQ(r.send(cd(5, false)), 2u);
  r.send(cmd::tlbi_nsnh_all{}.encode());
  expect_output(r.on(5, 0x1000), 0xa000);
}

TEST_P(model_substreams, need_the_format_to_be_announced) {
  give(1, 0x9000);
  r.setup.two_level_contexts = false;
  if (format == 0)
    expect_output(r.on(1, 0x1000), 0x9000);
  else
    expect_fault(r.on(1, 0x1000), event_id::c_bad_ste);
}

TEST_P(model_substreams, whose_contexts_cannot_be_read_are_fetch_faults) {
  f.contexts = 0x10'0000;
  again();
  expect_fault(r.on(1, 0x1000), event_id::f_cd_fetch, false, event_class::cd, format == 0 ? 0x10'0040u : 0x10'0000u);
  f.contexts = root;
  again();
  if (format == 0) return;
  r.write(root, 0x20'0000 | 1);
  expect_fault(r.on(1, 0x1000), event_id::f_cd_fetch, false, event_class::cd, 0x20'0040);
}

TEST_P(model_substreams, under_stage_2_have_intermediate_context_addresses_at_both_levels) {
  nested n{r, 12, 39, 12, 40, 1};
  const std::uint64_t leaf_at = place(3);
  r.write_entry(leaf_at, cd_words(n.cd_f));
  const std::uint64_t page = leaf_at & ~0xfffull;
  if (format != 0) {
    n.lift_up(root, 4096);
    r.write(root, ((leaf_at & ~0xfffull) + nested::lift) | 1);
  }
  n.ste_f.contexts = root + nested::lift;
  n.ste_f.cd_log2 = log2;
  n.ste_f.format = format;
  r.set_ste(8, ste_words(n.ste_f));
  n.s1.map(0x1000, 3, word::leaf(0x5000, 3, word::s1));
  n.s2.map(0x5000, 3, word::leaf(0x9000, 3, word::s2));
  r.forget_everything();
  expect_fault(r.on(3, 0x1000), event_id::f_translation, true, event_class::cd, page + nested::lift);
  n.lift_up(leaf_at, 64);
  expect_output(r.on(3, 0x1000), 0x9000);
  if (format == 0) return;
  n.s2.map(root + nested::lift, 3, 0);
  r.forget_everything();
  expect_fault(r.on(3, 0x1000), event_id::f_translation, true, event_class::cd, root + nested::lift);
}
INSTANTIATE_TEST_SUITE_P(format, model_substreams, testing::Values(0u, 1u, 2u), [](const auto& i) {
  return std::string(i.param == 0 ? "linear" : i.param == 1 ? "leaves_of_4k" : "leaves_of_64k");
});

TEST(model_substreams_of_format_3, are_those_of_a_linear_table) {
  rig_type r;
  const std::uint64_t cds = r.take(128, 128);
  tree t{r, 12, 25, 2};
  t.map(0x1000, 3, word::leaf(0x9000, 3, word::s1));
  r.write_entry(cds + 64, cd_words({.ttb0 = t.root(), .bits0 = 25}));
  r.set_ste(8, ste_words({.contexts = cds, .cd_log2 = 1, .format = 3}));
  expect_output(r.on(1, 0x1000), 0x9000);
}

TEST(model_tags, wider_than_the_smmu_has_are_illegal) {
  rig_type r;
  const std::uint64_t cd = r.take(64, 64);
  tree t{r, 12, 25, 2};
  t.map(0x1000, 3, word::leaf(0x9000, 3, word::s1));
  r.write_entry(cd, cd_words({.as = 0x101, .ttb0 = t.root(), .bits0 = 25}));
  r.set_ste(8, ste_words({.contexts = cd, .vm = 0x102}));
  expect_output(r.go(0x1000), 0x9000);
  r.setup.asid_bits = 8;
  expect_fault(r.go(0x1000), event_id::c_bad_cd, false, event_class::cd);
  r.setup.vmid_bits = 8;
  expect_fault(r.go(0x1000), event_id::c_bad_ste);
  r.setup.stage2 = false;  // no VMIDs, no objection
  expect_fault(r.go(0x1000), event_id::c_bad_cd, false, event_class::cd);
}

}  // namespace
