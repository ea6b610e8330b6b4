// SPDX-License-Identifier: MIT
// Tables, STEs and CDs are little-endian in memory whatever the CPU, because every access goes through Env::dma_word. Shown with
// the same history on three CPUs: the host's, one that puts the most significant byte first, and one whose cells hold the bytes
// in the wrong order, where any access around the cell would show up.
#include <shootdown/table/editor.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <memory>
#include <random>
#include <vector>

#include <shootdown/table/context_table.hpp>
#include <shootdown/table/stream_table.hpp>
#include <shootdown/table/two_level_context_table.hpp>
#include <shootdown/table/two_level_stream_table.hpp>
#include <support/table_env.hpp>

namespace {

using namespace shootdown;
using bytes = std::vector<unsigned char>;

constexpr std::uint64_t swapped(std::uint64_t v) {
  std::uint64_t r = 0;
  for (int i = 0; i < 8; ++i) r = r << 8 | (v >> 8 * i & 0xff);
  return r;
}

/// A cell in the memory of a CPU of the other kind: its loads and stores have the most significant byte at the lowest address,
/// so, like any big-endian CPU, it has to swap before and after. One thread: the orders mean nothing here.
class big_endian_word {
 public:
  [[nodiscard]] std::uint64_t load(std::memory_order) const noexcept { return swapped(cpu_load()); }
  void store(std::uint64_t v, std::memory_order) noexcept { cpu_store(swapped(v)); }
  void store_low(std::uint32_t low, std::memory_order) noexcept { cpu_store(swapped((swapped(cpu_load()) & ~0xffff'ffffull) | low)); }

 private:
  [[nodiscard]] std::uint64_t cpu_load() const noexcept {
    std::uint64_t v = 0;
    for (const unsigned char b : memory_) v = v << 8 | b;
    return v;
  }
  void cpu_store(std::uint64_t v) noexcept {
    for (std::size_t i = 0; i < 8; ++i) memory_[i] = static_cast<unsigned char>(v >> 8 * (7 - i));
  }
  alignas(8) std::array<unsigned char, 8> memory_{};
};

/// A cell that keeps its bytes in the order no device expects. Code that reads or writes the memory itself, or copies values into
/// it, gets words that are upside down.
class mirrored_word {
 public:
  [[nodiscard]] std::uint64_t load(std::memory_order o) const noexcept { return swapped(w_.load(o)); }  // S1 the caller's order
  void store(std::uint64_t v, std::memory_order o) noexcept { w_.store(swapped(v), o); }                // S2 the caller's order
  void store_low(std::uint32_t low, std::memory_order o) noexcept {
    w_.store((w_.load(o) & 0xffff'ffff) | (swapped(low) & ~0xffff'ffffull), o);  // S3 S4 the caller's order
  }

 private:
  native_dma_word w_;
};

template <class Word>
struct on_cells : table_test::env {
  using dma_word = Word;
};
static_assert(environment<on_cells<big_endian_word>> && environment<on_cells<mirrored_word>>);

template <class Word>
void append(bytes& out, const Word* words, std::size_t n) {
  const auto* const first = reinterpret_cast<const unsigned char*>(words);
  out.insert(out.end(), first, first + n * 8);
}

/// Maps and unmaps over a few tables, some of them left parked; then every byte of the table memory.
template <class Env, class Format>
void edit(bytes& out, typename Format::config_type config) {
  constexpr std::uint64_t unit = std::uint64_t{1} << granule_shift(Format::tg);
  using arena = table_test::arena<Env, unit>;
  using input = typename Format::input_type;
  arena memory{24};
  table::editor<Env, typename arena::pool_type, Format> editor{memory.pool};
  ASSERT_TRUE(editor.create(config).ok());
  const std::uint64_t base = editor.first_address();
  const std::uint64_t run = unit * descriptor::run_length(Format::tg, 3);
  const std::uint64_t block = std::uint64_t{1} << level_shift(Format::tg, 2);
  std::mt19937 random{5};
  std::vector<std::unique_ptr<gather<>>> held;
  for (int i = 0; i < 120; ++i) {
    const std::uint64_t va = base + (random() % 3) * block + (random() % 6) * run + (random() % 3) * unit;
    const std::uint64_t size = std::array{unit, run, run + unit, block}[random() % 4];
    if (random() % 2 == 0) {
      const bus_addr pa{(std::uint64_t{0x1234} << 32) + (random() % 2 == 0 ? va - base : random() % 64 * unit)};
      static_cast<void>(editor.map(input{va}, pa, size, {.read = true, .write = random() % 2 == 0}, table::run_hint::contiguous));
    } else {
      held.push_back(std::make_unique<gather<>>());
      static_cast<void>(editor.unmap(input{va}, size, *held.back()));
      if (random() % 3 == 0) {
        editor.release(*held.front());
        held.erase(held.begin());
      }
    }
    ASSERT_TRUE(editor.check_invariants());
  }
  append(out, memory.words.get(), memory.pages * arena::page_words);
  for (const auto& g : held) editor.release(*g);
  ASSERT_TRUE(editor.destroy().ok());
}

template <class Env>
struct cells {
  explicit cells(std::size_t n) : words{std::make_unique<typename Env::dma_word[]>(n)}, count{n} {}
  dma_span<Env> take(std::size_t n_bytes, std::size_t align) {
    const std::size_t at = (next + align - 1) / align * align;
    if (at + n_bytes > count * 8) return {};
    next = at + n_bytes;
    return {words.get() + at / 8, n_bytes / 8, bus_addr{0x7'0000'0000 + at}};
  }
  std::unique_ptr<typename Env::dma_word[]> words;
  std::size_t count;
  std::size_t next{};
};

template <class Env>
void write_entries(bytes& out) {
  cells<Env> memory{1 << 15};
  const auto source = [&](std::size_t n, std::size_t align) { return memory.take(n, align); };
  const auto told = [](table::config_scope) -> status { return {}; };
  const auto leaf_told = []() -> status { return {}; };
  table::stream_table<Env> streams;
  table::context_table<Env> contexts;
  table::two_level_stream_table<Env> sparse_streams;
  table::two_level_context_table<Env> sparse_contexts;
  std::vector<table::second_level<Env>> below(64);
  ASSERT_TRUE(streams.configure(memory.take(64 * 64, 64 * 64), 6).ok());
  ASSERT_TRUE(contexts.configure(memory.take(64 * 8, 64 * 8), 3).ok());
  ASSERT_TRUE(sparse_streams.configure(memory.take(128, 128), std::span{below}.first(16), 12, 8).ok());
  ASSERT_TRUE(sparse_contexts.configure(memory.take(128, 128), std::span{below}.subspan(16, 16), 10, cd_format::two_level_4k).ok());
  const ste entries[] = {
      ste::abort(), ste::bypass(), ste::stage1(contexts.placed({.ats = ats_mode::full})).value(),
      ste::nested(sparse_contexts.placed(), {.table = bus_addr{0x12'3456'0000}, .walk = {granule::k16, 47}, .vm = vmid{0x102}}).value(),
      ste::stage2({.table = bus_addr{0x12'3456'0000}, .vm = vmid{0x1ff}}).value()};
  std::mt19937 random{9};
  for (int i = 0; i < 100; ++i) {
    const ste& e = entries[random() % 5];
    const cd c = cd::stage1_both({.table = bus_addr{(random() % 64) << 12}, .as = asid{static_cast<std::uint16_t>(random())}},
                                 {.table = bus_addr{0x1'0000}, .tg = granule::k64})
                     .value();
    ASSERT_TRUE(streams.write(stream_id{static_cast<std::uint32_t>(random() % 64)}, e, leaf_told).ok());
    ASSERT_TRUE(sparse_streams.write(stream_id{static_cast<std::uint32_t>(random() % 3 * 256 + random() % 4)}, e, source, told).ok());
    ASSERT_TRUE(contexts.write(substream_id{static_cast<std::uint32_t>(random() % 8)}, c, leaf_told).ok());
    ASSERT_TRUE(sparse_contexts.write(substream_id{static_cast<std::uint32_t>(random() % 128)}, c, source, told).ok());
    if (random() % 4 != 0) continue;
    ASSERT_TRUE(contexts.clear(substream_id{static_cast<std::uint32_t>(random() % 8)}, leaf_told).ok());
  }
  ASSERT_TRUE(sparse_streams.check_invariants() && sparse_contexts.check_invariants());
  append(out, memory.words.get(), memory.count);
}

template <class Env>
bytes history() {
  bytes out;
  edit<Env, table::stage1_k4>(out, {.input_bits = 39});
  edit<Env, table::stage1_k16>(out, {.input_bits = 47, .upper_half = true});
  edit<Env, table::stage1_k64>(out, {.input_bits = 48});
  edit<Env, table::stage2_k4>(out, {.input_bits = 34});
  edit<Env, table::stage2_k16>(out, {.input_bits = 38});
  edit<Env, table::stage2_k64>(out, {.input_bits = 45});
  write_entries<Env>(out);
  return out;
}

TEST(endianness, a_cpu_of_the_other_kind_leaves_the_same_bytes_for_the_device) {
  const bytes here = history<on_cells<native_dma_word>>();
  const bytes there = history<on_cells<big_endian_word>>();
  ASSERT_FALSE(HasFailure());
  ASSERT_EQ(here.size(), there.size());
  EXPECT_TRUE(here == there);
  // Not an image of zeroes, nor one that reads the same both ways.
  std::size_t lopsided = 0;
  for (std::size_t i = 0; i < here.size(); i += 8) {
    lopsided += std::equal(here.begin() + static_cast<std::ptrdiff_t>(i), here.begin() + static_cast<std::ptrdiff_t>(i) + 8,
                           std::make_reverse_iterator(here.begin() + static_cast<std::ptrdiff_t>(i) + 8))
                    ? 0u
                    : 1u;
  }
  EXPECT_GT(lopsided, 1000u);
}

TEST(endianness, no_access_goes_around_the_cell) {
  bytes here = history<on_cells<native_dma_word>>();
  const bytes mirrored = history<on_cells<mirrored_word>>();
  ASSERT_FALSE(HasFailure());
  ASSERT_EQ(here.size(), mirrored.size());
  EXPECT_FALSE(here == mirrored);
  for (std::size_t i = 0; i < here.size(); i += 8) {
    std::reverse(here.begin() + static_cast<std::ptrdiff_t>(i), here.begin() + static_cast<std::ptrdiff_t>(i) + 8);
  }
  EXPECT_TRUE(here == mirrored);
}

template <class Word>
bytes first_word_of_a_stream() {
  cells<on_cells<Word>> memory{64};
  table::stream_table<on_cells<Word>> t;
  EXPECT_TRUE(t.configure(memory.take(512, 512), 3).ok());
  const auto told = []() -> status { return {}; };
  EXPECT_TRUE(t.write(stream_id{0}, ste::stage1({.cd_table = bus_addr{0x1'2345'6780'0000}}).value(), told).ok());
  bytes out;
  append(out, memory.words.get(), 1);
  return out;
}
TEST(endianness, the_first_byte_in_memory_is_the_lowest_of_the_word) {
  const bytes wanted{0x0b, 0x00, 0x80, 0x67, 0x45, 0x23, 0x01, 0x00};  // V, Config 5; S1ContextPtr
  EXPECT_EQ(first_word_of_a_stream<native_dma_word>(), wanted);
  EXPECT_EQ(first_word_of_a_stream<big_endian_word>(), wanted);
  EXPECT_EQ(first_word_of_a_stream<mirrored_word>(), bytes(wanted.rbegin(), wanted.rend()));
}

}  // namespace
