// SPDX-License-Identifier: MIT
#include <shootdown/table/stage1_4k.hpp>

#include <gtest/gtest.h>

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <thread>
#include <vector>

#include <support/table_env.hpp>

namespace {

using namespace shootdown;
using table::prot;
using table::stage1_config;
using table_test::arena;
using table_test::env;
using table_test::shift;

constexpr std::uint64_t k4 = 4096;
constexpr std::uint64_t m2 = std::uint64_t{2} << 20;
constexpr std::uint64_t g1 = std::uint64_t{1} << 30;
constexpr prot rw{.read = true, .write = true};

/// A table over an arena of its own, and a device that walks it.
template <class Env = env, class Pool = typename arena<Env>::pool_type>
struct fixture {
  explicit fixture(std::size_t pages = 64, stage1_config config = {}) : memory{pages}, editor{memory.pool} {
    EXPECT_TRUE(editor.create(config).ok());
  }
  ~fixture() {
    EXPECT_TRUE(editor.check_invariants());
    EXPECT_TRUE(memory.pool.check_invariants());
    memory.book.frees_allowed = true;
    if (editor.held() == 0) {
      EXPECT_TRUE(editor.destroy().ok());
      EXPECT_EQ(memory.pool.available(), memory.pages);
    }
    EXPECT_EQ(memory.book.errors, 0u);
    EXPECT_EQ(env::take_failures(), 0u);
  }
  [[nodiscard]] errc map(std::uint64_t va, std::uint64_t pa, std::uint64_t bytes, prot p = rw) {
    return editor.map(iova{va}, bus_addr{pa}, bytes, p).code();
  }
  template <class G>
  [[nodiscard]] errc unmap(std::uint64_t va, std::uint64_t bytes, G& g) {
    return editor.unmap(iova{va}, bytes, g).code();
  }
  [[nodiscard]] table_test::walker<arena<Env>> device() const {
    return {memory, raw(editor.root()), editor.start_level()};
  }
  /// Level and address of a lookup, or nothing.
  [[nodiscard]] std::optional<std::pair<std::uint64_t, unsigned>> at(std::uint64_t va) const {
    const auto found = editor.lookup(iova{va});
    if (!found.ok()) return {};
    return std::pair{raw(found->address), found->level};
  }
  /// The tables in use without the root.
  [[nodiscard]] std::uint64_t tables() const { return editor.tables() - 1; }

  arena<Env> memory;
  table::stage1_4k<Env, Pool> editor;
};

using leaf = std::optional<std::pair<std::uint64_t, unsigned>>;

TEST(stage1_4k, every_input_width_starts_at_its_level_and_ends_at_its_last_page) {
  for (unsigned bits = 16; bits <= 48; ++bits) {
    fixture<> f{8, {.input_bits = static_cast<std::uint8_t>(bits)}};
    const unsigned expected = bits > 39 ? 0 : bits > 30 ? 1 : bits > 21 ? 2 : 3;
    EXPECT_EQ(f.editor.start_level(), expected) << bits;
    EXPECT_EQ(f.editor.address_bits(), bits);
    const std::uint64_t top = (std::uint64_t{1} << bits) - k4;
    ASSERT_EQ(f.map(top, 0x5000, k4), errc::ok);
    ASSERT_EQ(f.map(0, 0x6000, k4), errc::ok);
    auto device = f.device();
    EXPECT_EQ(device.walk(top)->pa, 0x5000u);
    EXPECT_EQ(device.walk(8)->pa, 0x6008u);
    EXPECT_EQ(f.map(top, 0x5000, 2 * k4), errc::out_of_range);
    EXPECT_EQ(f.map(top + k4, 0x5000, k4), errc::out_of_range);
    EXPECT_EQ(f.editor.lookup(iova{top + k4}).code(), errc::out_of_range);
    gather<> g;
    ASSERT_EQ(f.unmap(top, k4, g), errc::ok);
    f.editor.release(g);
  }
}

TEST(stage1_4k, refuses_widths_of_other_formats_a_second_root_and_a_missing_page) {
  arena<> a{1};
  table::stage1_4k<env, arena<>::pool_type> editor{a.pool};
  gather<> g;
  EXPECT_EQ(editor.create({.input_bits = 15}).code(), errc::unsupported);
  EXPECT_EQ(editor.create({.input_bits = 49}).code(), errc::unsupported);
  EXPECT_EQ(editor.create({.output_bits = 31}).code(), errc::unsupported);
  EXPECT_EQ(editor.create({.output_bits = 52}).code(), errc::unsupported);
  EXPECT_EQ(editor.map(iova{0}, bus_addr{0}, k4, rw).code(), errc::not_present);
  EXPECT_EQ(editor.unmap(iova{0}, k4, g).code(), errc::not_present);
  EXPECT_EQ(editor.lookup(iova{0}).code(), errc::not_present);
  EXPECT_TRUE(editor.destroy().ok());
  EXPECT_TRUE(editor.check_invariants());
  EXPECT_TRUE(editor.create().ok());
  EXPECT_EQ(editor.create().code(), errc::already_present);
  table::stage1_4k<env, arena<>::pool_type> second{a.pool};
  EXPECT_EQ(second.create().code(), errc::no_memory);
  EXPECT_TRUE(editor.destroy().ok());
  EXPECT_TRUE(second.create().ok());
  EXPECT_TRUE(second.destroy().ok());
  EXPECT_EQ(a.pool.available(), 1u);
}

TEST(stage1_4k, a_range_becomes_the_largest_blocks_that_both_addresses_allow) {
  fixture<> f;
  // One page before a GiB, the GiB, 2 MiB and one page after it.
  ASSERT_EQ(f.map(g1 - k4, 5 * g1 - k4, k4 + g1 + m2 + k4), errc::ok);
  EXPECT_EQ(f.at(g1 - k4), leaf({5 * g1 - k4, 3}));
  EXPECT_EQ(f.at(g1 + 0x123456), leaf({5 * g1 + 0x123456, 1}));
  EXPECT_EQ(f.at(2 * g1 + 5), leaf({6 * g1 + 5, 2}));
  EXPECT_EQ(f.at(2 * g1 + m2), leaf({6 * g1 + m2, 3}));
  EXPECT_EQ(f.at(2 * g1 + m2 + k4), leaf{});
  EXPECT_EQ(f.at(0), leaf{});
  auto device = f.device();
  EXPECT_EQ(device.walk(2 * g1 - 1)->pa, 6 * g1 - 1);
}

TEST(stage1_4k, blocks_need_alignment_of_the_bus_address_and_leave_from_the_configuration) {
  fixture<> f{2048};
  ASSERT_EQ(f.map(0, k4, m2), errc::ok);
  EXPECT_EQ(f.at(0), leaf({k4, 3}));
  ASSERT_EQ(f.map(g1, m2, g1), errc::ok);
  EXPECT_EQ(f.at(g1), leaf({m2, 2}));
  fixture<> small{2048, {.blocks_2m = false, .blocks_1g = false}};
  ASSERT_EQ(small.map(0, 0, m2), errc::ok);
  EXPECT_EQ(small.at(0), leaf({0, 3}));
  fixture<> medium{2048, {.blocks_1g = false}};
  ASSERT_EQ(medium.map(0, 0, g1), errc::ok);
  EXPECT_EQ(medium.at(0), leaf({0, 2}));
}

TEST(stage1_4k, leaf_words_carry_the_requested_attributes) {
  fixture<> f;
  ASSERT_EQ(f.map(0x0000, 0x7000, k4, {.read = true}), errc::ok);
  ASSERT_EQ(f.map(0x1000, 0x7000, k4, {.read = false, .write = true}), errc::ok);
  ASSERT_EQ(f.map(0x2000, 0x7000, k4, {.read = true, .execute = true, .privileged_only = true, .attr_index = 5, .share = shareability::non}),
            errc::ok);
  // Level 3 is the page that was allocated last; its words are found by walking.
  std::uint64_t table = raw(f.editor.root());
  for (int level = 0; level < 3; ++level) table = f.memory.word(table) & ~std::uint64_t{0xfff};
  const std::uint64_t common = 0x7000 | 3 | (1 << 10) | (1 << 11);  // AF, nG
  EXPECT_EQ(f.memory.word(table), common | (3u << 6) | (3u << 8) | (std::uint64_t{3} << 53));
  EXPECT_EQ(f.memory.word(table + 8), common | (1u << 6) | (3u << 8) | (std::uint64_t{3} << 53));
  EXPECT_EQ(f.memory.word(table + 16), common | (2u << 6) | (5u << 2));
}

TEST(stage1_4k, a_bad_map_is_refused_and_changes_nothing) {
  fixture<> f{64, {.input_bits = 40, .output_bits = 36}};
  ASSERT_EQ(f.map(m2, m2, m2 + k4), errc::ok);
  const auto before = f.memory.image();
  EXPECT_EQ(f.map(0, 0, 0), errc::empty_range);
  EXPECT_EQ(f.map(8, 0, k4), errc::misaligned);
  EXPECT_EQ(f.map(0, 0, k4 + 1), errc::misaligned);
  EXPECT_EQ(f.map(0, 0x10, k4), errc::misaligned);
  EXPECT_EQ(f.map(std::uint64_t{1} << 40, 0, k4), errc::out_of_range);
  EXPECT_EQ(f.map((std::uint64_t{1} << 40) - k4, 0, 2 * k4), errc::out_of_range);
  EXPECT_EQ(f.map(0 - k4, 0, 2 * k4), errc::out_of_range);  // would wrap
  EXPECT_EQ(f.map(0, std::uint64_t{1} << 36, k4), errc::out_of_range);
  EXPECT_EQ(f.map(0, (std::uint64_t{1} << 36) - k4, 2 * k4), errc::out_of_range);
  EXPECT_EQ(f.map(0, 0, k4, {.read = false}), errc::invalid_argument);
  EXPECT_EQ(f.map(0, 0, k4, {.attr_index = 8}), errc::invalid_argument);
  EXPECT_EQ(f.map(0, 0, k4, {.share = static_cast<shareability>(1)}), errc::invalid_argument);
  EXPECT_EQ(f.map(0, 0, m2 + k4), errc::already_present);        // runs into the block
  EXPECT_EQ(f.map(2 * m2, 0, k4), errc::already_present);        // on the page
  EXPECT_EQ(f.map(2 * m2, 0, m2), errc::already_present);        // a block over a table with a page
  EXPECT_EQ(f.map(0, 0, g1), errc::already_present);             // a block over all of it
  EXPECT_EQ(f.map(m2 + k4, 0, k4), errc::already_present);       // inside the block
  EXPECT_EQ(f.memory.image(), before);
}

TEST(stage1_4k, a_bad_unmap_is_refused_and_changes_nothing) {
  fixture<> f{64, {.input_bits = 40}};
  gather<1> g;
  ASSERT_EQ(f.map(m2, m2, m2), errc::ok);                 // a block
  ASSERT_EQ(f.map(2 * m2, 2 * m2 + k4, 3 * k4), errc::ok);  // three pages
  ASSERT_EQ(f.map(2 * m2 + 4 * k4, 0, k4), errc::ok);     // a hole of one page, one page
  const auto before = f.memory.image();
  EXPECT_EQ(f.unmap(0, 0, g), errc::empty_range);
  EXPECT_EQ(f.unmap(1, k4, g), errc::misaligned);
  EXPECT_EQ(f.unmap(0, 100, g), errc::misaligned);
  EXPECT_EQ(f.unmap(std::uint64_t{1} << 40, k4, g), errc::out_of_range);
  EXPECT_EQ(f.unmap(std::uint64_t{1} << 39, std::uint64_t{1} << 40, g), errc::out_of_range);
  EXPECT_EQ(f.unmap(m2, k4, g), errc::misaligned);                  // first page of the block
  EXPECT_EQ(f.unmap(2 * m2 - k4, 2 * k4, g), errc::misaligned);     // last page of the block, and a good one
  EXPECT_EQ(f.unmap(m2 - k4, m2, g), errc::not_present);            // begins in a hole
  EXPECT_EQ(f.unmap(2 * m2, 5 * k4, g), errc::not_present);         // a hole inside
  EXPECT_EQ(f.unmap(g1, k4, g), errc::not_present);
  EXPECT_EQ(f.memory.image(), before);
  EXPECT_TRUE(g.empty());
  ASSERT_EQ(f.unmap(2 * m2 + 4 * k4, k4, g), errc::ok);
  const auto after = f.memory.image();
  EXPECT_EQ(f.unmap(m2, m2, g), errc::too_large);  // touches no piece that is there, and there is room for one only
  EXPECT_EQ(f.memory.image(), after);
  EXPECT_EQ(g.pieces().size(), 1u);
  f.editor.release(g);
}

TEST(stage1_4k, a_piece_tells_the_levels_of_its_leaves_and_of_the_tables_that_went) {
  fixture<> f;
  ASSERT_EQ(f.map(0, 0, 2 * k4), errc::ok);
  ASSERT_EQ(f.map(m2, m2, m2), errc::ok);
  const auto piece_of = [&](std::uint64_t va, std::uint64_t bytes) {
    gather<> g;
    EXPECT_EQ(f.unmap(va, bytes, g), errc::ok);
    EXPECT_EQ(g.pieces().size(), 1u);
    const range_piece p = g.pieces()[0];
    f.editor.release(g);
    EXPECT_TRUE(g.empty());
    return p;
  };
  EXPECT_EQ(piece_of(0, k4), (range_piece{0, k4, granule::k4, 0b1000, 0}));
  EXPECT_EQ(piece_of(k4, k4), (range_piece{k4, k4, granule::k4, 0b1000, 0b1000}));       // the level-3 table is empty
  EXPECT_EQ(piece_of(m2, m2), (range_piece{m2, m2, granule::k4, 0b0100, 0b0110}));       // the level-2 and level-1 tables are
  ASSERT_EQ(f.map(g1 - m2 - k4, 7 * g1 - m2 - k4, k4 + m2 + g1), errc::ok);               // a page, a block of each size
  EXPECT_EQ(piece_of(g1 - m2 - k4, k4 + m2 + g1), (range_piece{g1 - m2 - k4, k4 + m2 + g1, granule::k4, 0b1110, 0b1110}));
  EXPECT_EQ(f.tables(), 0u);
  EXPECT_EQ(f.memory.image(), std::vector<std::uint64_t>(64 * 512));
}

TEST(stage1_4k, an_unmap_clears_every_page_that_it_names_and_no_other) {
  for (unsigned n = 1; n != 6; ++n) {
    fixture<> f;
    ASSERT_TRUE(f.editor.map(iova{0x10'0000}, bus_addr{0x50'0000}, 8 * k4, rw).ok());
    gather<> g;
    ASSERT_TRUE(f.editor.unmap(iova{0x10'0000 + k4}, n * k4, g).ok());
    for (unsigned i = 0; i != 8; ++i) {
      EXPECT_EQ(f.editor.lookup(iova{0x10'0000 + i * k4}).ok(), i == 0 || i > n) << n << " pages, page " << i;
    }
    EXPECT_TRUE(f.editor.check_invariants());
    f.editor.release(g);
  }
}

TEST(stage1_4k, tables_stay_out_of_the_pool_until_release) {
  fixture<> f;
  ASSERT_EQ(f.map(0, 0, k4), errc::ok);
  const auto used = f.memory.pool.available();
  gather<> g;
  f.memory.book.frees_allowed = false;
  ASSERT_EQ(f.unmap(0, k4, g), errc::ok);
  EXPECT_EQ(f.memory.pool.available(), used);
  EXPECT_EQ(f.editor.held(), 3u);
  EXPECT_EQ(f.editor.destroy().code(), errc::busy);
  EXPECT_TRUE(f.editor.check_invariants());
  f.memory.book.frees_allowed = true;
  f.editor.release(g);
  EXPECT_EQ(f.memory.pool.available(), used + 3);
  EXPECT_EQ(f.tables(), 0u);
}

TEST(stage1_4k, destroy_can_take_back_what_gathers_hold_that_will_never_be_released) {
  fixture<> f;
  ASSERT_EQ(f.map(0, 0, k4), errc::ok);
  ASSERT_EQ(f.map(g1, 0, k4), errc::ok);
  gather<> lost;
  ASSERT_EQ(f.unmap(0, k4, lost), errc::ok);
  EXPECT_EQ(f.editor.held(), 2u);
  EXPECT_EQ(f.editor.destroy().code(), errc::busy);
  EXPECT_EQ(f.at(g1), leaf({0, 3}));
  EXPECT_TRUE(f.editor.destroy(table::held_tables::take_back).ok());
  EXPECT_EQ(f.memory.pool.available(), f.memory.pages);
  EXPECT_EQ(f.editor.held(), 0u);
}

TEST(stage1_4k, a_map_during_the_hold_revives_the_table_so_that_cached_pointers_stay_right) {
  fixture<> f;
  ASSERT_EQ(f.map(0, 0, k4), errc::ok);
  auto device = f.device();
  ASSERT_TRUE(device.walk(0));
  gather<> g;
  ASSERT_EQ(f.unmap(0, k4, g), errc::ok);
  ASSERT_EQ(f.map(k4, 0x9000, k4), errc::ok);  // a neighbour in all three tables
  EXPECT_EQ(f.tables(), 3u);                   // no new ones
  for (const auto& answer : device.walk_all_ways(k4)) {
    ASSERT_TRUE(answer) << "a cached table pointer leads nowhere";
    EXPECT_EQ(answer->pa, 0x9000u);
  }
  f.memory.book.frees_allowed = false;  // they are in use again
  device.invalidate(g.pieces()[0]);
  f.editor.release(g);
  EXPECT_EQ(f.editor.held(), 0u);
  EXPECT_EQ(f.tables(), 3u);
  EXPECT_EQ(f.at(k4), leaf({0x9000, 3}));
}

TEST(stage1_4k, only_the_revived_part_of_a_held_chain_survives_release) {
  fixture<> f;
  ASSERT_EQ(f.map(0, 0, k4), errc::ok);
  gather<> g;
  ASSERT_EQ(f.unmap(0, k4, g), errc::ok);
  ASSERT_EQ(f.map(m2, m2, m2), errc::ok);  // levels 1 and 2 come back, the level-3 table at 0 does not
  EXPECT_EQ(f.tables(), 3u);
  EXPECT_TRUE(f.editor.check_invariants());
  f.editor.release(g);
  EXPECT_EQ(f.tables(), 2u);
  ASSERT_EQ(f.map(0, 0, m2), errc::ok);  // its parked word is gone: a block fits
  EXPECT_EQ(f.at(0), leaf({0, 2}));
}

TEST(stage1_4k, a_block_over_a_parked_table_becomes_pages_in_it) {
  fixture<> f;
  ASSERT_EQ(f.map(m2, 0, k4), errc::ok);
  ASSERT_EQ(f.map(0, 0, k4), errc::ok);
  auto device = f.device();
  ASSERT_TRUE(device.walk(0));
  gather<> g;
  ASSERT_EQ(f.unmap(0, k4, g), errc::ok);
  ASSERT_EQ(f.map(k4, k4, m2 - k4), errc::ok);  // all but the page that is still being invalidated
  device.invalidate(g.pieces()[0]);
  f.editor.release(g);
  ASSERT_EQ(f.map(0, 0, k4), errc::ok);
  for (std::uint64_t va : {std::uint64_t{0}, k4, m2 - 1}) {
    for (const auto& answer : device.walk_all_ways(va)) EXPECT_EQ(answer->pa, va);
  }
  // The same one level up: a GiB over a parked level-2 table with a parked table inside.
  fixture<> h;
  ASSERT_EQ(h.map(0, 0, k4), errc::ok);
  auto other = h.device();
  ASSERT_TRUE(other.walk(0));
  gather<> pending;
  ASSERT_EQ(h.unmap(0, k4, pending), errc::ok);
  other.invalidate(pending.pieces()[0]);  // complete, not yet released
  ASSERT_EQ(h.map(0, 0, g1), errc::ok);
  EXPECT_EQ(h.at(0), leaf({0, 3}));
  EXPECT_EQ(h.at(m2), leaf({m2, 2}));
  h.editor.release(pending);
  EXPECT_EQ(h.at(5), leaf({5, 3}));
}

TEST(stage1_4k, a_gib_over_a_parked_table_takes_the_tables_that_its_pages_need) {
  fixture<> f{600, {.blocks_2m = false}};
  ASSERT_EQ(f.map(0, 0, k4), errc::ok);
  gather<> g;
  ASSERT_EQ(f.unmap(0, k4, g), errc::ok);
  ASSERT_EQ(f.map(0, 0, g1), errc::ok);  // the level-2 table and one level-3 table are there, 511 are not
  EXPECT_EQ(f.tables(), 514u);
  EXPECT_EQ(f.at(g1 - 1), leaf({g1 - 1, 3}));
  f.editor.release(g);
  EXPECT_EQ(f.tables(), 514u);
}

TEST(stage1_4k, a_table_that_empties_again_while_held_is_not_freed_by_the_first_release) {
  fixture<> f;
  ASSERT_EQ(f.map(m2, m2, m2), errc::ok);  // keeps levels 1 and 2
  ASSERT_EQ(f.map(0, 0, k4), errc::ok);
  auto device = f.device();
  ASSERT_TRUE(device.walk(0));
  gather<> first;
  gather<> second;
  ASSERT_EQ(f.unmap(0, k4, first), errc::ok);
  ASSERT_EQ(f.map(k4, k4, k4), errc::ok);
  ASSERT_TRUE(device.walk(k4));
  ASSERT_EQ(f.unmap(k4, k4, second), errc::ok);
  EXPECT_EQ(second.pieces()[0].freed_levels, 0u);
  EXPECT_FALSE(second.holds_frames());
  EXPECT_EQ(f.editor.leftovers(), 1u);
  f.memory.book.frees_allowed = false;
  device.invalidate(first.pieces()[0]);
  f.editor.release(first);  // the device may hold a pointer from after the revival
  device.invalidate(second.pieces()[0]);
  f.editor.release(second);
  EXPECT_EQ(f.tables(), 3u);
  EXPECT_TRUE(f.editor.check_invariants());
  (void)device.walk_all_ways(k4);
  EXPECT_EQ(device.reads_of_free_tables, 0u);
  // It serves again, as pages ...
  ASSERT_EQ(f.map(0, 0, m2), errc::ok);
  EXPECT_EQ(f.at(0), leaf({0, 3}));
  EXPECT_EQ(f.editor.leftovers(), 0u);
  for (const auto& answer : device.walk_all_ways(k4)) EXPECT_EQ(answer->pa, k4);
  // ... and goes like any other.
  gather<> third;
  ASSERT_EQ(f.unmap(0, m2, third), errc::ok);
  EXPECT_EQ(third.pieces()[0].freed_levels, 0b1000u);
  f.memory.book.frees_allowed = true;
  f.editor.release(third);
  EXPECT_EQ(f.tables(), 2u);
}

TEST(stage1_4k, trim_collects_leftovers_bottom_up_with_a_piece_for_each) {
  fixture<> f;
  ASSERT_EQ(f.map(0, 0, k4), errc::ok);
  gather<> first;
  gather<> second;
  ASSERT_EQ(f.unmap(0, k4, first), errc::ok);
  ASSERT_EQ(f.map(0x5000, 0, k4), errc::ok);
  ASSERT_EQ(f.unmap(0x5000, k4, second), errc::ok);
  EXPECT_EQ(f.editor.leftovers(), 1u);  // the level-3 table; it keeps the two above it
  gather<> none;
  EXPECT_TRUE(f.editor.trim(none).ok());  // still held: nothing to collect yet
  EXPECT_TRUE(none.empty());
  f.editor.release(first);
  f.editor.release(second);
  EXPECT_EQ(f.tables(), 3u);
  gather<> g;
  EXPECT_TRUE(f.editor.trim(g).ok());
  ASSERT_EQ(g.pieces().size(), 1u);
  EXPECT_EQ(g.pieces()[0], (range_piece{0, k4, granule::k4, 0, 0b1110}));
  EXPECT_TRUE(f.editor.check_invariants());
  EXPECT_EQ(f.editor.held(), 3u);
  f.editor.release(g);
  EXPECT_EQ(f.tables(), 0u);
}

TEST(stage1_4k, trim_stops_at_a_full_gather_and_continues_with_the_next) {
  fixture<> f;
  for (std::uint64_t i = 0; i < 3; ++i) {
    gather<> first;
    gather<> second;
    ASSERT_EQ(f.map(i * m2, 0, k4), errc::ok);
    ASSERT_EQ(f.unmap(i * m2, k4, first), errc::ok);
    ASSERT_EQ(f.map(i * m2, 0, k4), errc::ok);
    ASSERT_EQ(f.unmap(i * m2, k4, second), errc::ok);
    f.editor.release(first);
    f.editor.release(second);
  }
  EXPECT_EQ(f.editor.leftovers(), 3u);
  gather<2> g;
  EXPECT_EQ(f.editor.trim(g).code(), errc::too_large);
  EXPECT_EQ(f.editor.leftovers(), 1u);
  EXPECT_TRUE(f.editor.check_invariants());
  f.editor.release(g);
  EXPECT_TRUE(f.editor.trim(g).ok());
  f.editor.release(g);
  EXPECT_EQ(f.tables(), 0u);
}

/// Two unmaps: the first empties a level-3 table, the second the level-2 and level-1 tables around it.
struct nested_hold : fixture<> {
  nested_hold() {
    EXPECT_EQ(map(0, 0, k4), errc::ok);
    EXPECT_EQ(map(m2, m2, m2), errc::ok);
    EXPECT_TRUE(view.walk(0));
    EXPECT_TRUE(view.walk(m2));
    EXPECT_EQ(unmap(0, k4, inner), errc::ok);
    EXPECT_EQ(unmap(m2, m2, outer), errc::ok);
    EXPECT_EQ(inner.pieces()[0].freed_levels, 0b1000u);
    EXPECT_EQ(outer.pieces()[0].freed_levels, 0b0110u);
    EXPECT_EQ(editor.held(), 3u);
  }
  void finish(gather<>& g) {
    for (const range_piece& p : g.pieces()) view.invalidate(p);
    editor.release(g);
    EXPECT_TRUE(editor.check_invariants());
  }
  gather<> inner;
  gather<> outer;
  table_test::walker<arena<>> view{device()};
};

TEST(stage1_4k, a_table_emptied_around_a_held_one_waits_for_it) {
  nested_hold f;
  f.memory.book.frees_allowed = false;
  f.finish(f.outer);
  EXPECT_EQ(f.tables(), 3u);  // the level-2 table contains a parked table, the level-1 table contains it
  EXPECT_EQ(f.editor.held(), 1u);
  f.memory.book.frees_allowed = true;
  f.finish(f.inner);
  EXPECT_EQ(f.tables(), 0u);
}

TEST(stage1_4k, the_inner_of_two_nested_holds_may_end_first) {
  nested_hold f;
  f.finish(f.inner);
  EXPECT_EQ(f.tables(), 2u);
  f.finish(f.outer);
  EXPECT_EQ(f.tables(), 0u);
}

TEST(stage1_4k, a_map_after_the_outer_hold_ended_still_finds_the_inner_parked_table) {
  nested_hold f;
  f.finish(f.outer);
  ASSERT_EQ(f.map(k4, 0x7000, k4), errc::ok);  // the device still has its pointer to the level-3 table
  EXPECT_EQ(f.tables(), 3u);
  for (const auto& answer : f.view.walk_all_ways(k4)) EXPECT_EQ(answer->pa, 0x7000u);
  f.memory.book.frees_allowed = false;
  f.finish(f.inner);
  EXPECT_EQ(f.at(k4), leaf({0x7000, 3}));
}

TEST(stage1_4k, a_revived_waiting_table_that_empties_again_is_held_by_the_new_gather) {
  nested_hold f;
  f.finish(f.outer);
  ASSERT_EQ(f.map(3 * m2, 0, m2), errc::ok);  // revives levels 1 and 2, which no gather holds any more
  gather<> again;
  ASSERT_EQ(f.unmap(3 * m2, m2, again), errc::ok);
  EXPECT_EQ(again.pieces()[0].freed_levels, 0b0110u);
  f.finish(f.inner);
  EXPECT_EQ(f.tables(), 2u);
  f.finish(again);
  EXPECT_EQ(f.tables(), 0u);
}

TEST(stage1_4k, several_unmaps_may_share_a_gather) {
  fixture<> f;
  ASSERT_EQ(f.map(0, 0, 4 * k4), errc::ok);
  gather<> g;
  for (std::uint64_t i = 0; i < 4; ++i) ASSERT_EQ(f.unmap(i * k4, k4, g), errc::ok);
  ASSERT_EQ(g.pieces().size(), 1u);
  EXPECT_EQ(g.pieces()[0], (range_piece{0, 4 * k4, granule::k4, 0b1000, 0b1110}));
  f.editor.release(g);
  EXPECT_EQ(f.tables(), 0u);
}

TEST(stage1_4k, a_frame_of_another_table_is_reported_and_not_freed) {
  fixture<> f;
  table::stage1_4k<env, arena<>::pool_type> other{f.memory.pool};
  ASSERT_TRUE(other.create().ok());
  ASSERT_TRUE(other.map(iova{0}, bus_addr{0}, k4, rw).ok());
  gather<> g;
  ASSERT_TRUE(other.unmap(iova{0}, k4, g).ok());
  gather<> copy;
  std::vector<held_frame*> chain;
  for (held_frame* frame = g.take_held(); frame != nullptr; frame = frame->next) chain.push_back(frame);
  copy.hold(*chain.back());
  f.memory.book.frees_allowed = false;
  f.editor.release(copy);
  EXPECT_EQ(env::take_failures(), 1u);
  EXPECT_EQ(other.held(), 3u);
  f.memory.book.frees_allowed = true;
  for (held_frame* frame : chain) g.hold(*frame);
  other.release(g);
  EXPECT_TRUE(other.destroy().ok());
}

TEST(stage1_4k, an_allocation_that_fails_at_any_depth_leaves_no_trace) {
  // Two pages on both sides of a GiB: a level-1 table, and tables of levels 2 and 3 for each. With the root: six pages.
  constexpr std::uint64_t from = g1 - k4;
  constexpr std::uint64_t bytes = 2 * k4;
  for (std::size_t budget = 1; budget <= 6; ++budget) {
    fixture<> f{budget};
    const auto before = f.memory.image();
    const auto free_before = f.memory.pool.available();
    const errc got = f.map(from, 0x10000, bytes);
    EXPECT_EQ(got, budget == 6 ? errc::ok : errc::no_memory) << budget;
    if (got == errc::ok) continue;
    EXPECT_EQ(f.memory.image(), before);
    EXPECT_EQ(f.memory.pool.available(), free_before);
    EXPECT_EQ(f.tables(), 0u);
    EXPECT_TRUE(f.editor.check_invariants());
  }
}

TEST(stage1_4k, a_failed_map_over_parked_tables_leaves_them_parked) {
  fixture<> f{4};
  ASSERT_EQ(f.map(0, 0, k4), errc::ok);
  gather<> g;
  ASSERT_EQ(f.unmap(0, k4, g), errc::ok);
  const auto before = f.memory.image();
  EXPECT_EQ(f.map(k4, 0, m2), errc::no_memory);  // the parked table, and one more that is not there
  EXPECT_EQ(f.memory.image(), before);
  EXPECT_TRUE(f.editor.check_invariants());
  f.editor.release(g);
  EXPECT_EQ(f.memory.pool.available(), 3u);
  EXPECT_EQ(f.map(0, 0, k4), errc::ok);
}

TEST(stage1_4k, invariants_notice_wrong_counts_and_words) {
  fixture<> f;
  ASSERT_EQ(f.map(0, 0, k4), errc::ok);
  ASSERT_TRUE(f.editor.check_invariants());
  auto& root = *f.memory.pool.at(f.editor.root()).meta;
  ++root.live;
  EXPECT_FALSE(f.editor.check_invariants());
  --root.live;
  auto& word = f.memory.words[(raw(f.editor.root()) - arena<>::base) / 8];
  const std::uint64_t good = word.load(std::memory_order_relaxed);  // S1 relaxed: one thread
  for (const std::uint64_t bad : {good & ~std::uint64_t{1}, good + 0x1000, std::uint64_t{0}, good | (std::uint64_t{1} << 40)}) {
    word.store(bad, std::memory_order_relaxed);  // S2 relaxed: one thread
    EXPECT_FALSE(f.editor.check_invariants()) << std::hex << bad;
  }
  word.store(good, std::memory_order_relaxed);  // S3 relaxed: one thread
  auto& child = *f.memory.pool.at(bus_addr{good & ~std::uint64_t{0xfff}}).meta;
  child.held = true;
  EXPECT_FALSE(f.editor.check_invariants());
  child.held = false;
  EXPECT_TRUE(f.editor.check_invariants());
}

TEST(stage1_4k, a_gib_of_pages_costs_a_few_accesses_a_page) {
  fixture<table_test::counting_env> f{600, {.blocks_2m = false}};
  auto& accesses = table_test::counted_word::accesses;
  constexpr std::uint64_t pages = g1 / k4;
  accesses.store(0, std::memory_order_relaxed);  // S4 relaxed: one thread
  ASSERT_EQ(f.map(0, k4, g1), errc::ok);
  EXPECT_LE(accesses.load(std::memory_order_relaxed), 3 * pages + 10'000);  // S5 relaxed: one thread. Zeroing, reading, writing
  accesses.store(0, std::memory_order_relaxed);                             // S6 relaxed: one thread
  gather<> g;
  ASSERT_EQ(f.unmap(0, g1, g), errc::ok);
  EXPECT_LE(accesses.load(std::memory_order_relaxed), pages + 10'000);  // S7 relaxed: one thread. Clearing
  EXPECT_EQ(f.editor.held(), 514u);
  f.editor.release(g);
  EXPECT_EQ(f.tables(), 0u);
}

}  // namespace
