// SPDX-License-Identifier: MIT
// Each format of the editor by hand: widths and start levels, blocks, contiguous runs, the upper half, concatenated tables,
// and what is refused.
#include <shootdown/table/editor.hpp>

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <tuple>
#include <type_traits>
#include <vector>

#include <shootdown/table/stage1_4k.hpp>
#include <support/format_walker.hpp>
#include <support/table_env.hpp>

namespace {

using namespace shootdown;
using table::run_hint;
using table_test::env;

constexpr std::uint64_t kib = 1024;
constexpr std::uint64_t mib = 1024 * kib;
constexpr std::uint64_t gib = 1024 * mib;

/// A table of one format over an arena of its own.
template <class Format>
struct bench {
  static constexpr std::uint64_t unit = std::uint64_t{1} << granule_shift(Format::tg);
  static constexpr bool stage2 = std::is_same_v<typename Format::input_type, ipa>;
  using arena_type = table_test::arena<env, unit>;
  using editor_type = table::editor<env, typename arena_type::pool_type, Format>;
  using config = typename Format::config_type;
  using access = typename Format::prot_type;

  explicit bench(std::size_t pages, config c = {}) : memory{pages}, editor{memory.pool} { EXPECT_TRUE(editor.create(c).ok()); }
  ~bench() {
    EXPECT_TRUE(editor.check_invariants());
    EXPECT_TRUE(memory.pool.check_invariants());
    EXPECT_EQ(editor.held(), 0u);
    EXPECT_TRUE(editor.destroy().ok());
    EXPECT_EQ(memory.pool.available(), memory.pages);
    EXPECT_EQ(memory.book.errors, 0u);
    EXPECT_EQ(env::take_failures(), 0u);
  }
  [[nodiscard]] static typename Format::input_type at(std::uint64_t x) { return typename Format::input_type{x}; }
  [[nodiscard]] errc map(std::uint64_t va, std::uint64_t pa, std::uint64_t bytes, run_hint runs = run_hint::none, access a = {.write = true}) {
    return editor.map(at(va), bus_addr{pa}, bytes, a, runs).code();
  }
  /// Unmaps, releases and gives the piece.
  [[nodiscard]] range_piece unmap(std::uint64_t va, std::uint64_t bytes) {
    gather<> g;
    EXPECT_EQ(editor.unmap(at(va), bytes, g).code(), errc::ok);
    const range_piece p = g.pieces().empty() ? range_piece{} : g.pieces()[0];
    editor.release(g);
    return p;
  }
  [[nodiscard]] errc refused(std::uint64_t va, std::uint64_t bytes) {
    gather<> g;
    const auto before = memory.image();
    const errc got = editor.unmap(at(va), bytes, g).code();
    EXPECT_TRUE(g.empty());
    EXPECT_EQ(memory.image(), before);
    return got;
  }
  [[nodiscard]] std::optional<std::tuple<std::uint64_t, unsigned, bool>> lookup(std::uint64_t va) const {
    const auto found = editor.lookup(at(va));
    if (!found.ok()) return {};
    return std::tuple{raw(found->address), found->level, found->contiguous};
  }
  arena_type memory;
  editor_type editor;
};
using found = std::optional<std::tuple<std::uint64_t, unsigned, bool>>;

template <class Format>
errc create(typename Format::config_type c, std::size_t pages = 16) {
  typename bench<Format>::arena_type memory{pages};
  typename bench<Format>::editor_type editor{memory.pool};
  const errc got = editor.create(c).code();
  EXPECT_EQ(memory.pool.available() == pages, got != errc::ok);
  EXPECT_TRUE(editor.check_invariants());
  EXPECT_TRUE(editor.destroy().ok());
  return got;
}

TEST(table_format, widths_that_a_format_lacks_are_unsupported_and_take_no_page) {
  using namespace table;
  EXPECT_EQ(create<stage1_k16>({.input_bits = 15}), errc::unsupported);
  EXPECT_EQ(create<stage1_k16>({.input_bits = 16}), errc::ok);
  EXPECT_EQ(create<stage1_k16>({.input_bits = 49}), errc::unsupported);
  EXPECT_EQ(create<stage1_k64>({.input_bits = 16}), errc::unsupported) << "not even two pages";
  EXPECT_EQ(create<stage1_k64>({.input_bits = 17}), errc::ok);
  EXPECT_EQ(create<stage1_k64>({.input_bits = 52}), errc::unsupported);
  EXPECT_EQ(create<stage1_k64>({.output_bits = 31}), errc::unsupported);
  EXPECT_EQ(create<stage1_k64>({.output_bits = 52}), errc::unsupported);
  EXPECT_EQ(create<stage2_k4>({.input_bits = 31}), errc::unsupported);
  EXPECT_EQ(create<stage2_k4>({.input_bits = 49}), errc::unsupported);
  EXPECT_EQ(create<stage2_k16>({.output_bits = 31}), errc::unsupported);
  EXPECT_EQ(create<stage2_k64>({.output_bits = 49}), errc::unsupported);
}

TEST(table_format, concatenated_tables_need_neighbouring_aligned_pages) {
  using namespace table;
  EXPECT_EQ(create<stage2_k4>({.input_bits = 43}, 16), errc::ok);
  EXPECT_EQ(create<stage2_k4>({.input_bits = 43}, 15), errc::no_memory);
  EXPECT_EQ(create<stage2_k16>({.input_bits = 40}, 16), errc::ok);
  EXPECT_EQ(create<stage2_k64>({.input_bits = 33}, 8), errc::no_memory);
  // A page in use in the middle of the only aligned run.
  table_test::arena<> memory{5};
  const auto taken = memory.pool.allocate();
  ASSERT_EQ(taken.bus, bus_addr{table_test::arena<>::base});
  table::editor<env, table_test::arena<>::pool_type, stage2_k4> editor{memory.pool};
  EXPECT_EQ(editor.create({.input_bits = 41}).code(), errc::no_memory);  // pages 1..4 are free, but not aligned to four
  EXPECT_EQ(memory.pool.available(), 4u);
  memory.pool.free(*taken.meta);
  ASSERT_TRUE(editor.create({.input_bits = 41}).ok());
  EXPECT_EQ(editor.start_tables(), 4u);
  EXPECT_EQ(raw(editor.root()) % (4 * 4096), 0u);
  EXPECT_EQ(memory.pool.available(), 1u);
  EXPECT_TRUE(memory.pool.check_invariants());
  EXPECT_TRUE(editor.destroy().ok());
  EXPECT_EQ(memory.pool.available(), 5u);
  EXPECT_TRUE(memory.pool.check_invariants());
}

/// The last and the first page of every width, seen by a walker that gets the register values.
template <class Format>
void every_width(unsigned from, bool upper) {
  using b = bench<Format>;
  for (unsigned bits = from; bits <= 48; ++bits) {
    SCOPED_TRACE(bits);
    typename b::config c{};
    c.input_bits = static_cast<std::uint8_t>(bits);
    std::optional<unsigned> sl0;
    if constexpr (b::stage2) {
      // registers.md 5, by the levels that remain after four bits of concatenation.
      const unsigned page = granule_shift(Format::tg);
      unsigned levels = 1;
      while (page + levels * (page - 3) + 4 < bits) ++levels;
      sl0 = levels - (page == 12 ? 2u : 1u);
      EXPECT_EQ((stage2_walk{Format::tg, bits}.sl0()), *sl0);
    } else {
      c.upper_half = upper;
    }
    b f{24, c};
    const std::uint64_t base = upper ? ~((std::uint64_t{1} << bits) - 1) : 0;
    const std::uint64_t top = base + (std::uint64_t{1} << bits) - b::unit;
    table_test::format_walker<typename b::arena_type> device{
        f.memory, {raw(f.editor.root()), granule_shift(Format::tg), 64 - bits, sl0, upper}};
    EXPECT_EQ(f.editor.start_level(), device.start());
    ASSERT_EQ(f.map(top, 5 * b::unit, b::unit), errc::ok);
    EXPECT_EQ(device.walk(top + 8)->pa, 5 * b::unit + 8);
    if (top != base) {
      ASSERT_EQ(f.map(base, 6 * b::unit, b::unit), errc::ok);
      EXPECT_EQ(device.walk(base + 8)->pa, 6 * b::unit + 8);
      EXPECT_EQ(f.unmap(base, b::unit).address, base);
    }
    EXPECT_EQ(f.map(top, 5 * b::unit, 2 * b::unit), errc::out_of_range);
    EXPECT_EQ(f.map(top + b::unit, 5 * b::unit, b::unit), errc::out_of_range) << "the next page, or the first of the other half";
    EXPECT_EQ(f.map(base - b::unit, 5 * b::unit, b::unit), errc::out_of_range);
    EXPECT_EQ(f.editor.lookup(f.at(base - 1)).code(), errc::out_of_range);
    EXPECT_EQ(f.unmap(top, b::unit).address, top);
    EXPECT_EQ(device.wrong_halves + device.reads_of_free_tables, 0u);
  }
}
TEST(table_format, every_width_of_stage_1_is_walked_from_its_start_level) {
  for (const bool upper : {false, true}) {
    every_width<table::stage1_k4>(16, upper);
    every_width<table::stage1_k16>(16, upper);
    every_width<table::stage1_k64>(17, upper);
  }
}
TEST(table_format, every_width_of_stage_2_is_walked_from_what_sl0_says) {
  every_width<table::stage2_k4>(32, false);
  every_width<table::stage2_k16>(32, false);
  every_width<table::stage2_k64>(32, false);
}

TEST(table_format, blocks_are_those_of_the_granule) {
  bench<table::stage1_k16> k16{8};
  ASSERT_EQ(k16.map(32 * mib, 96 * mib, 32 * mib + 16 * kib), errc::ok);
  EXPECT_EQ(k16.lookup(32 * mib + 5), found({96 * mib + 5, 2, false}));
  EXPECT_EQ(k16.lookup(64 * mib + 5), found({128 * mib + 5, 3, false}));
  EXPECT_EQ(k16.unmap(32 * mib, 32 * mib), (range_piece{32 * mib, 32 * mib, granule::k16, 0b0100, 0}));
  EXPECT_EQ(k16.unmap(64 * mib, 16 * kib), (range_piece{64 * mib, 16 * kib, granule::k16, 0b1000, 0b1110}));

  bench<table::stage1_k64> k64{8};
  ASSERT_EQ(k64.map(512 * mib, gib, 512 * mib), errc::ok);
  EXPECT_EQ(k64.lookup(512 * mib + 5), found({gib + 5, 2, false}));
  EXPECT_EQ(k64.refused(512 * mib, 64 * kib), errc::misaligned) << "part of a block";
  EXPECT_EQ(k64.unmap(512 * mib, 512 * mib), (range_piece{512 * mib, 512 * mib, granule::k64, 0b0100, 0b0100}));

  bench<table::stage1_k64> pages{16, {.blocks = false}};
  ASSERT_EQ(pages.map(0, 0, 512 * mib), errc::ok);
  EXPECT_EQ(pages.lookup(0), found({0, 3, false}));
  EXPECT_EQ(pages.unmap(0, 512 * mib).leaf_levels, 0b1000u);

  bench<table::stage2_k4> s2{16, {.input_bits = 40, .block_levels = 0xff}};  // levels 0 and 3 do not count
  ASSERT_EQ(s2.map(gib, 3 * gib, gib + 2 * mib), errc::ok);
  EXPECT_EQ(s2.lookup(gib), found({3 * gib, 1, false}));
  EXPECT_EQ(s2.lookup(2 * gib), found({4 * gib, 2, false}));
  EXPECT_EQ(s2.unmap(gib, gib + 2 * mib), (range_piece{gib, gib + 2 * mib, granule::k4, 0b0110, 0b0100}));

  bench<table::stage2_k16> no_l1{8, {.input_bits = 48, .block_levels = 0b0010}};  // 64 GiB blocks need 52-bit addresses
  EXPECT_EQ(no_l1.map(0, 0, std::uint64_t{64} * gib), errc::no_memory);
}

TEST(table_format, granules_set_what_is_aligned) {
  bench<table::stage1_k64> f{8};
  EXPECT_EQ(f.map(4 * kib, 0, 64 * kib), errc::misaligned);
  EXPECT_EQ(f.map(0, 4 * kib, 64 * kib), errc::misaligned);
  EXPECT_EQ(f.map(0, 0, 16 * kib), errc::misaligned);
  EXPECT_EQ(f.refused(0, 4 * kib), errc::misaligned);
  EXPECT_EQ(f.refused(0, 0), errc::empty_range);
  EXPECT_EQ(f.refused(0, 64 * kib), errc::not_present);
  EXPECT_EQ(f.map(0, (std::uint64_t{1} << 48) - 64 * kib, 128 * kib), errc::out_of_range);
  EXPECT_EQ(f.map(0, 0, 64 * kib, run_hint::none, {.read = false}), errc::invalid_argument);
}

template <class Format>
struct run_case {
  std::uint64_t leaf;
  unsigned leaves;
  unsigned level;
};
/// One whole run, and everything that must not become one.
template <class Format>
void runs_of(const run_case<Format>& c, std::size_t pages) {
  SCOPED_TRACE(::testing::Message() << int{raw(Format::tg)} << " level " << c.level);
  const std::uint64_t run = c.leaf * c.leaves;
  bench<Format> f{pages};
  ASSERT_EQ(f.map(run, 5 * run, run, run_hint::contiguous), errc::ok);
  for (const std::uint64_t at : {run, run + c.leaf, 2 * run - 1}) EXPECT_EQ(f.lookup(at), found({at + 4 * run, c.level, true}));
  ASSERT_EQ(f.map(3 * run, 5 * run, run), errc::ok);
  EXPECT_EQ(f.lookup(3 * run), found({5 * run, c.level, false})) << "not asked for";
  ASSERT_EQ(f.map(5 * run, 5 * run + c.leaf, run, run_hint::contiguous), errc::ok);
  EXPECT_EQ(f.lookup(5 * run), found({5 * run + c.leaf, c.level, false})) << "output not aligned to the run";
  ASSERT_EQ(f.map(7 * run, 7 * run, run - c.leaf, run_hint::contiguous), errc::ok);
  EXPECT_EQ(f.lookup(7 * run), found({7 * run, c.level, false})) << "one leaf short";
  ASSERT_EQ(f.map(8 * run - c.leaf, 8 * run - c.leaf, c.leaf, run_hint::contiguous), errc::ok);
  EXPECT_EQ(f.lookup(8 * run - c.leaf), found({8 * run - c.leaf, c.level, false})) << "filled by two maps";
  ASSERT_EQ(f.map(9 * run - c.leaf, 9 * run - c.leaf, 2 * run + 2 * c.leaf, run_hint::contiguous), errc::ok);
  EXPECT_EQ(f.lookup(9 * run - c.leaf), found({9 * run - c.leaf, c.level, false})) << "before the runs";
  EXPECT_EQ(f.lookup(9 * run), found({9 * run, c.level, true}));
  EXPECT_EQ(f.lookup(11 * run - 1), found({11 * run - 1, c.level, true}));
  EXPECT_EQ(f.lookup(11 * run), found({11 * run, c.level, false})) << "behind them";

  // Whole runs only, from either end; the levels of a piece are those of the entries.
  EXPECT_EQ(f.refused(run, c.leaf), errc::misaligned);
  EXPECT_EQ(f.refused(run, run - c.leaf), errc::misaligned);
  EXPECT_EQ(f.refused(run + c.leaf, run - c.leaf), errc::misaligned);
  EXPECT_EQ(f.refused(9 * run - c.leaf, run), errc::misaligned);
  EXPECT_EQ(f.refused(10 * run + c.leaf, run), errc::misaligned);
  EXPECT_EQ(f.refused(0, 2 * run), errc::not_present);
  const range_piece p = f.unmap(run, run);
  EXPECT_EQ(p.leaf_levels, 1u << c.level);
  EXPECT_EQ(ttl_of(p), c.level) << "commands.md 4.3: 64 KiB contiguous is TTL 3, 32 MiB contiguous TTL 2";
  EXPECT_EQ(f.unmap(9 * run - c.leaf, run + c.leaf).leaf_levels, 1u << c.level);
  EXPECT_EQ(f.unmap(3 * run + c.leaf, c.leaf).bytes, c.leaf) << "outside runs each leaf is its own";
  EXPECT_TRUE(f.editor.check_invariants());
}
TEST(table_format, contiguous_runs_have_the_length_of_granule_and_level) {
  runs_of<table::stage1_k4>({4 * kib, 16, 3}, 16);
  runs_of<table::stage1_k4>({2 * mib, 16, 2}, 16);
  runs_of<table::stage1_k16>({16 * kib, 128, 3}, 16);
  runs_of<table::stage1_k16>({32 * mib, 32, 2}, 16);
  runs_of<table::stage1_k64>({64 * kib, 32, 3}, 16);
  runs_of<table::stage1_k64>({512 * mib, 32, 2}, 16);
  runs_of<table::stage2_k4>({4 * kib, 16, 3}, 32);
  runs_of<table::stage2_k4>({2 * mib, 16, 2}, 32);
  runs_of<table::stage2_k16>({16 * kib, 128, 3}, 32);
  runs_of<table::stage2_k16>({32 * mib, 32, 2}, 32);
  runs_of<table::stage2_k64>({64 * kib, 32, 3}, 32);
  runs_of<table::stage2_k64>({512 * mib, 32, 2}, 32);
}

TEST(table_format, a_block_run_needs_all_its_slots_and_gives_way_to_parked_tables) {
  bench<table::stage1_k4> f{16};
  ASSERT_EQ(f.map(6 * mib, 0, 4 * kib), errc::ok);
  gather<> g;
  ASSERT_TRUE(f.editor.unmap(iova{6 * mib}, 4 * kib, g).ok());
  ASSERT_EQ(f.map(0, 0, 6 * mib, run_hint::contiguous), errc::ok);
  ASSERT_EQ(f.map(6 * mib + 4 * kib, 6 * mib + 4 * kib, 26 * mib - 4 * kib, run_hint::contiguous), errc::ok);
  EXPECT_EQ(f.lookup(0), found({0, 2, false}));
  EXPECT_EQ(f.lookup(8 * mib), found({8 * mib, 2, false})) << "not the whole run";
  EXPECT_EQ(f.lookup(7 * mib), found({7 * mib, 3, true})) << "pages in the revived table";
  f.editor.release(g);

  bench<table::stage1_k4> h{16};
  ASSERT_EQ(h.map(6 * mib, 0, 4 * kib), errc::ok);
  gather<> pending;
  ASSERT_TRUE(h.editor.unmap(iova{6 * mib}, 4 * kib, pending).ok());  // complete, not yet released
  ASSERT_EQ(h.map(0, 0, 32 * mib, run_hint::contiguous), errc::ok);
  EXPECT_EQ(h.lookup(0), found({0, 2, false})) << "one slot of the run holds a table";
  EXPECT_EQ(h.lookup(6 * mib), found({6 * mib, 3, true}));
  EXPECT_TRUE(h.editor.check_invariants());
  h.editor.release(pending);
}

TEST(table_format, invariants_notice_a_broken_run) {
  bench<table::stage1_k16> f{8, {.input_bits = 25}};  // one table: level 3
  ASSERT_EQ(f.map(0, 0, 4 * mib, run_hint::contiguous), errc::ok);
  ASSERT_TRUE(f.editor.check_invariants());
  constexpr std::uint64_t mark = std::uint64_t{1} << 52;
  for (const unsigned slot : {0u, 1u, 127u, 128u, 200u}) {
    auto& word = f.memory.words[slot];
    const std::uint64_t good = word.load(std::memory_order_relaxed);  // S1 relaxed: one thread
    EXPECT_NE(good & mark, 0u);
    for (const std::uint64_t bad : {good & ~mark, good + 0x4000, good ^ (1u << 7)}) {
      word.store(bad, std::memory_order_relaxed);  // S2 relaxed: one thread
      EXPECT_EQ(f.editor.check_invariants(), false) << slot << std::hex << ' ' << bad;
    }
    word.store(good, std::memory_order_relaxed);  // S3 relaxed: one thread
  }
}

TEST(table_format, stage_2_words_carry_what_stage_2_leaves_have) {
  using f_type = bench<table::stage2_k64>;
  f_type f{16, {.input_bits = 33}};  // sixteen tables of level 3 side by side
  ASSERT_EQ(f.map(0, 0x7'0000, f_type::unit, run_hint::none, {.read = true}), errc::ok);
  ASSERT_EQ(f.map(f_type::unit, 0x7'0000, f_type::unit, run_hint::none, {.read = false, .write = true}), errc::ok);
  ASSERT_EQ(f.map(2 * f_type::unit, 0x7'0000, f_type::unit, run_hint::none,
                  {.read = true, .write = true, .execute = true, .mem_attr = 1, .share = shareability::non}),
            errc::ok);
  const std::uint64_t common = 0x7'0000 | 3 | (1 << 10);
  EXPECT_EQ(f.memory.word(raw(f.editor.root())), common | (0xfu << 2) | (1u << 6) | (3u << 8) | (std::uint64_t{1} << 54));
  EXPECT_EQ(f.memory.word(raw(f.editor.root()) + 8), common | (0xfu << 2) | (2u << 6) | (3u << 8) | (std::uint64_t{1} << 54));
  EXPECT_EQ(f.memory.word(raw(f.editor.root()) + 16), common | (1u << 2) | (3u << 6));
  for (const std::uint8_t reserved : {std::uint8_t{4}, std::uint8_t{8}, std::uint8_t{12}, std::uint8_t{16}}) {
    EXPECT_EQ(f.map(0x10'0000, 0, f_type::unit, run_hint::none, {.mem_attr = reserved}), errc::invalid_argument);
  }
  EXPECT_EQ(f.map(0x10'0000, 0, f_type::unit, run_hint::none, {.read = false}), errc::invalid_argument);
  EXPECT_EQ(f.map(0x10'0000, 0, f_type::unit, run_hint::none, {.share = shareability{1}}), errc::invalid_argument);
}

TEST(table_format, a_range_over_the_edge_of_two_concatenated_tables_is_one_piece) {
  bench<table::stage2_k4> f{24, {.input_bits = 34}};  // sixteen tables of level 2, a GiB each
  const std::uint64_t at = 5 * gib - 2 * mib;
  ASSERT_EQ(f.map(at, gib - 2 * mib, 4 * mib), errc::ok);
  EXPECT_EQ(f.lookup(5 * gib), found({gib, 2, false}));
  EXPECT_EQ(f.refused(at, 6 * mib), errc::not_present);
  EXPECT_EQ(f.unmap(at, 4 * mib), (range_piece{at, 4 * mib, granule::k4, 0b0100, 0}));
  // Contiguous blocks fill the second table's first slots.
  ASSERT_EQ(f.map(at, 32 * mib - 2 * mib, 34 * mib, run_hint::contiguous), errc::ok);
  EXPECT_EQ(f.lookup(at), found({30 * mib, 2, false}));
  EXPECT_EQ(f.lookup(5 * gib), found({32 * mib, 2, true}));
  EXPECT_EQ(f.refused(at, 4 * mib), errc::misaligned);
  EXPECT_EQ(f.unmap(at, 34 * mib).bytes, 34 * mib);
  // A failure in the second start table leaves the first as it was.
  ASSERT_EQ(f.map(5 * gib, 0, 4 * kib), errc::ok);
  const auto before = f.memory.image();
  EXPECT_EQ(f.map(at, 0, 4 * mib), errc::already_present);
  EXPECT_EQ(f.memory.image(), before);
  EXPECT_EQ(f.unmap(5 * gib, 4 * kib).freed_levels, 0b1000u) << "start tables never go";
}

TEST(table_format, the_upper_half_reports_and_trims_sign_extended_addresses) {
  bench<table::stage1_k4> f{16, {.input_bits = 39, .upper_half = true}};
  const std::uint64_t base = ~((std::uint64_t{1} << 39) - 1);
  EXPECT_EQ(f.editor.first_address(), base);
  EXPECT_EQ(f.map(0, 0, 4 * kib), errc::out_of_range) << "the lower half has a table of its own";
  EXPECT_EQ(f.map(base & ((std::uint64_t{1} << 48) - 1), 0, 4 * kib), errc::out_of_range) << "not sign-extended";
  const std::uint64_t top = ~std::uint64_t{0} - (4 * kib - 1);
  ASSERT_EQ(f.map(top, 0x9000, 4 * kib), errc::ok);
  EXPECT_EQ(f.lookup(~std::uint64_t{0}), found({0x9fff, 3, false}));
  EXPECT_EQ(f.map(top, 0x9000, 8 * kib), errc::out_of_range) << "the range would wrap";
  // A leftover: emptied, revived, emptied again while held.
  gather<> first;
  gather<> second;
  ASSERT_TRUE(f.editor.unmap(iova{top}, 4 * kib, first).ok());
  EXPECT_EQ(first.pieces()[0], (range_piece{top, 4 * kib, granule::k4, 0b1000, 0b1100}));
  ASSERT_EQ(f.map(top - 4 * kib, 0, 4 * kib), errc::ok);
  ASSERT_TRUE(f.editor.unmap(iova{top - 4 * kib}, 4 * kib, second).ok());
  f.editor.release(first);
  f.editor.release(second);
  gather<> g;
  ASSERT_TRUE(f.editor.trim(g).ok());
  ASSERT_FALSE(g.pieces().empty());
  for (const range_piece& p : g.pieces()) {
    EXPECT_GE(p.address, base);
    EXPECT_TRUE(validate(p, 39).ok());
  }
  f.editor.release(g);
  EXPECT_EQ(f.editor.tables(), 1u);
}

TEST(table_format, a_run_from_the_pool_is_aligned_whole_and_freed_page_by_page) {
  table_test::arena<> a{9};
  const auto single = a.pool.allocate();
  const auto run = a.pool.allocate_run(4);
  ASSERT_TRUE(run);
  EXPECT_EQ(raw(run.bus) % (4 * 4096), 0u);
  EXPECT_EQ(a.pool.available(), 4u);
  EXPECT_TRUE(a.pool.check_invariants());
  EXPECT_FALSE(a.pool.allocate_run(4)) << "the first four have one page in use, the last is alone";
  EXPECT_FALSE(a.pool.allocate_run(3)) << "not a power of two";
  EXPECT_FALSE(a.pool.allocate_run(0));
  EXPECT_FALSE(a.pool.allocate_run(16));
  const auto pair = a.pool.allocate_run(2);
  ASSERT_TRUE(pair);
  EXPECT_EQ(raw(pair.bus), table_test::arena<>::base + 2 * 4096);
  a.pool.free(*single.meta);
  for (std::size_t i = 0; i < 4; ++i) a.pool.free(*a.pool.page_number(a.pool.number_of(*run.meta) + i).meta);
  for (std::size_t i = 0; i < 2; ++i) a.pool.free(*a.pool.page_number(a.pool.number_of(*pair.meta) + i).meta);
  EXPECT_EQ(a.pool.available(), 9u);
  EXPECT_EQ(a.book.errors, 0u);
  EXPECT_TRUE(a.pool.allocate_run(8));
  EXPECT_EQ(env::take_failures(), 0u);
}

TEST(table_format, a_run_is_aligned_on_the_bus_wherever_the_memory_begins) {
  for (std::uint64_t skew = 0; skew < 4; ++skew) {
    const auto words = std::make_unique<env::dma_word[]>(8 * 512);
    std::vector<table::page_meta> meta(8);
    table::page_pool<env> pool{{words.get(), 8 * 512, bus_addr{0x8000'0000 + skew * 4096}}, meta};
    const auto run = pool.allocate_run(4);
    ASSERT_TRUE(run) << skew;
    EXPECT_EQ(raw(run.bus) % (4 * 4096), 0u) << skew;
    EXPECT_EQ(pool.available(), 4u);
    EXPECT_EQ(static_cast<bool>(pool.allocate_run(4)), skew == 0) << "of eight pages only aligned ones hold a second run";
    EXPECT_TRUE(pool.check_invariants());
  }
}

/// Counts 4 KiB frames.
struct frame_counter {
  std::uint64_t* frames;
  void allocated(bus_addr, std::size_t bytes) const noexcept { *frames += bytes / 4096; }
  void freed(bus_addr, std::size_t bytes) const noexcept { *frames -= bytes / 4096; }
};
TEST(table_format, an_observer_of_smaller_frames_is_told_the_size_of_a_page) {
  constexpr std::size_t words = 65536 / 8;
  const auto memory = std::make_unique<env::dma_word[]>(3 * words);
  std::vector<table::page_meta> meta(3);
  std::uint64_t frames = 0;
  table::page_pool<env, frame_counter, 65536> pool{{memory.get(), 3 * words, bus_addr{0x10'0000}}, meta, frame_counter{&frames}};
  const auto one = pool.allocate();
  EXPECT_EQ(frames, 16u);
  const auto two = pool.allocate_run(2);
  EXPECT_FALSE(two) << "page 0 is taken, 1 and 2 are not aligned to two";
  EXPECT_EQ(frames, 16u);
  pool.free(*one.meta);
  EXPECT_EQ(frames, 0u);
  EXPECT_TRUE(pool.allocate_run(2));
  EXPECT_EQ(frames, 32u);
}

TEST(table_format, a_pool_is_of_one_granule) {
  static_assert(std::is_base_of_v<table::editor<env, table::page_pool<env>, table::stage1_k4>, table::stage1_4k<env>>);
  static_assert(table::page_pool<env>::page_size == 4096);
  static_assert(table::page_pool<env, table::null_observer, 16384>::page_entries == 2048);
  const auto words = std::make_unique<env::dma_word[]>(2 * 2048);
  std::vector<table::page_meta> meta(2);
  using pool = table::page_pool<env, table::null_observer, 16384>;
  EXPECT_EQ(pool::check({words.get(), 4096, bus_addr{0x1000}}, meta).code(), errc::misaligned);
  EXPECT_EQ(pool::check({words.get(), 512, bus_addr{0x4000}}, meta).code(), errc::empty_range);
  EXPECT_TRUE(pool::check({words.get(), 4096, bus_addr{0x4000}}, meta).ok());
}

}  // namespace
