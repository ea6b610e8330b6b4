// SPDX-License-Identifier: MIT
// Long random histories of an editor in every format against a model of plain intervals, and a device that decodes the words
// by itself, keeps every table pointer it ever saw and is told only what the pieces say.
#include <shootdown/table/editor.hpp>

#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <random>
#include <utility>
#include <vector>

#include <support/format_walker.hpp>
#include <support/interval_model.hpp>
#include <support/table_env.hpp>

namespace {

using namespace shootdown;
using table_test::env;
using table_test::format_hit;
using table_test::stretches;

template <class Format>
constexpr std::size_t page_size = std::size_t{1} << granule_shift(Format::tg);
template <class Format>
constexpr bool is_stage2 = std::is_same_v<typename Format::input_type, ipa>;

/// What the device would be told. `sl0`: by hand, for stage 2.
struct shape {
  unsigned bits;
  bool upper{};
  unsigned sl0{};
  unsigned tables{1};  // start tables expected
};

template <class Format>
class format_history {
  using arena_type = table_test::arena<env, page_size<Format>>;
  using editor_type = table::editor<env, typename arena_type::pool_type, Format>;
  using input = typename Format::input_type;
  static constexpr std::uint64_t unit = page_size<Format>;

 public:
  format_history(std::uint32_t seed, std::size_t pages, const shape& s)
      : random_{seed},
        memory_{pages + s.tables},
        editor_{memory_.pool},
        shape_{s},
        base_{s.upper ? ~((std::uint64_t{1} << s.bits) - 1) : 0},
        device_{memory_, registers()} {
    EXPECT_EQ(editor_.start_tables(), s.tables);
    EXPECT_EQ(editor_.start_level(), device_.start());
    EXPECT_EQ(editor_.address_bits(), s.bits);
    EXPECT_EQ(editor_.first_address(), base_);
    memory_.book.frees_allowed = false;
  }

  void run(unsigned steps) {
    for (unsigned i = 0; i < steps && !::testing::Test::HasFailure(); ++i) {
      switch (pick(11)) {
        case 0: case 1: case 2: case 3: map_something(); break;
        case 4: case 5: case 6: unmap_something_mapped(); break;
        case 7: unmap_anything(); break;
        case 8: case 9: finish_one(); break;
        default: trim(); break;
      }
      check();
    }
    tear_down();
  }
  unsigned unmaps{};
  unsigned cut_runs{};                  // unmaps refused because they would have cut a run in two
  std::array<unsigned, 4> runs{};       // contiguous leaves seen, by level
  std::array<unsigned, 4> leaves{};     // leaves unmapped, by level
  unsigned root_crossings{};            // maps over the edge between two start tables

 private:
  struct pending {
    gather<> g;
    bool promises{true};
  };

  table_test::walk_registers registers() {
    typename Format::config_type c{};
    c.input_bits = static_cast<std::uint8_t>(shape_.bits);
    if constexpr (!is_stage2<Format>) c.upper_half = shape_.upper;
    EXPECT_TRUE(editor_.create(c).ok());
    table_test::walk_registers r{raw(editor_.root()), granule_shift(Format::tg), 64 - shape_.bits, {}, shape_.upper};
    if (is_stage2<Format>) r.sl0 = shape_.sl0;
    return r;
  }
  std::uint64_t pick(std::uint64_t n) { return std::uniform_int_distribution<std::uint64_t>{0, n - 1}(random_); }
  [[nodiscard]] std::uint64_t size() const { return std::uint64_t{1} << shape_.bits; }
  [[nodiscard]] std::uint64_t block() const { return std::uint64_t{1} << device_.shift(2); }
  [[nodiscard]] std::uint64_t root_span() const { return std::uint64_t{1} << (device_.shift(device_.start()) + granule_shift(Format::tg) - 3); }

  // An offset near an edge: of a run, a block, a run of blocks, a start table, the space.
  std::uint64_t offset() {
    std::uint64_t centre = 0;
    switch (pick(6)) {
      case 0: centre = pick(3) * block(); break;
      case 1: centre = block() * device_.run(2) * pick(2); break;
      case 2: centre = shape_.tables > 1 ? root_span() * (1 + pick(shape_.tables - 1)) : 0; break;
      case 3: centre = size() - (pick(2) == 0 ? unit : block()); break;
      case 4: centre = unit * device_.run(3) * pick(4); break;
      default: break;
    }
    const std::uint64_t off = pick(3) == 0 ? pick(6) * unit : 0;
    return (pick(2) == 0 ? centre + off : centre - off) % size();
  }
  std::uint64_t length() {
    const std::uint64_t run = unit * device_.run(3);
    switch (pick(9)) {
      case 0: return unit;
      case 1: return 3 * unit;
      case 2: return run;
      case 3: return 2 * run;
      case 4: return run + unit;
      case 5: return block();
      case 6: return block() + run;
      case 7: return block() * device_.run(2);
      default: return block() * (device_.run(2) + 1) + 2 * unit;
    }
  }

  void map_something() {
    const std::uint64_t va = offset();
    const std::uint64_t bytes = length();
    if (bytes <= size() - va && promised_.any(va, va + bytes)) return;  // the contract: not before its invalidation is complete
    const std::uint64_t pa = pick(3) != 0 ? (va + (std::uint64_t{1} << 40)) % (std::uint64_t{1} << 47) : (std::uint64_t{3} << 40) + pick(1 << 14) * unit;
    const auto tables = editor_.tables();
    const auto available = memory_.pool.available();
    const auto hint = pick(3) == 0 ? table::run_hint::none : table::run_hint::contiguous;
    memory_.book.frees_allowed = true;  // tables that were never linked go back when memory runs out
    const errc got = editor_.map(input{base_ + va}, bus_addr{pa}, bytes, {.read = true, .write = true}, hint).code();
    memory_.book.frees_allowed = false;
    if (bytes > size() - va) {
      EXPECT_EQ(got, errc::out_of_range);
    } else if (model_.any(va, va + bytes)) {
      EXPECT_EQ(got, errc::already_present);
    } else if (got != errc::no_memory) {
      ASSERT_EQ(got, errc::ok);
      model_.add(va, bytes, pa);
      if (va / root_span() != (va + bytes - 1) / root_span()) ++root_crossings;
      if (hint == table::run_hint::contiguous) expect_runs(va, bytes, pa);
    }
    if (got != errc::ok) {
      EXPECT_EQ(editor_.tables(), tables);
      EXPECT_EQ(memory_.pool.available(), available);
    }
  }
  // After a map with the hint: every page run that both addresses allow is marked, wherever the map made pages.
  void expect_runs(std::uint64_t va, std::uint64_t bytes, std::uint64_t pa) {
    const std::uint64_t end = va + bytes;
    for (std::uint64_t at = va; at < end;) {
      const auto hit = device_.walk(base_ + at);
      ASSERT_TRUE(hit);
      const std::uint64_t leaf = std::uint64_t{1} << device_.shift(hit->level);
      const std::uint64_t run = leaf * device_.run(hit->level);
      if (hit->level == 3) {
        const std::uint64_t head = at / run * run;
        EXPECT_EQ(hit->contiguous, head >= va && head + run <= end && (pa - va) % run == 0) << std::hex << at;
      }
      if (hit->contiguous) ++runs[hit->level];
      at += hit->contiguous ? run : leaf;
    }
  }

  // What unmap must say and report, from the words as a device reads them.
  std::pair<errc, std::uint8_t> expected(std::uint64_t va, std::uint64_t end) {
    unsigned levels = 0;
    for (std::uint64_t at = va; at < end;) {
      const auto hit = device_.walk(base_ + at);
      if (!hit) return {errc::not_present, std::uint8_t{0}};
      const std::uint64_t whole = (std::uint64_t{1} << device_.shift(hit->level)) * (hit->contiguous ? device_.run(hit->level) : 1);
      if (at % whole != 0 || end - at < whole) {
        cut_runs += hit->contiguous ? 1u : 0u;
        return {errc::misaligned, std::uint8_t{0}};
      }
      levels |= 1u << hit->level;
      ++leaves[hit->level];
      at += whole;
    }
    return {errc::ok, static_cast<std::uint8_t>(levels)};
  }
  void unmap(std::uint64_t va, std::uint64_t bytes) {
    const auto [wanted, levels] = expected(va, va + bytes);
    if (pending_.size() == 6) return;
    auto fresh = std::make_unique<pending>();
    const auto held = editor_.held();
    ASSERT_EQ(editor_.unmap(input{base_ + va}, bytes, fresh->g).code(), wanted);
    if (wanted != errc::ok) {
      EXPECT_TRUE(fresh->g.empty());
      return;
    }
    const range_piece& p = fresh->g.pieces()[0];
    EXPECT_EQ(p.address, base_ + va);
    EXPECT_EQ(p.bytes, bytes);
    EXPECT_EQ(p.g, Format::tg);
    EXPECT_EQ(p.leaf_levels, levels);
    EXPECT_EQ(p.freed_levels != 0, editor_.held() != held);
    EXPECT_TRUE(validate(p, shape_.bits).ok());
    EXPECT_TRUE(fresh->g.check_invariants());
    model_.remove(va, va + bytes);
    promised_.add(va, bytes, 0);
    pending_.push_back(std::move(fresh));
    ++unmaps;
  }
  void unmap_something_mapped() {
    if (model_.all().empty()) return;
    const auto& [start, s] = *std::next(model_.all().begin(), static_cast<std::ptrdiff_t>(pick(model_.all().size())));
    const std::uint64_t pages = (s.end - start) / unit;
    const std::uint64_t first = pick(3) == 0 ? pick(std::min<std::uint64_t>(pages, 4)) : 0;
    const std::uint64_t count = pick(3) == 0 ? 1 + pick(pages - first) : pages - first;
    unmap(start + first * unit, count * unit);
  }
  void unmap_anything() {
    const std::uint64_t va = offset();
    const std::uint64_t bytes = length();
    if (bytes <= size() - va) unmap(va, bytes);
  }
  void finish_one() {
    if (pending_.empty()) return;
    const auto which = static_cast<std::ptrdiff_t>(pick(pending_.size()));
    const std::unique_ptr<pending> p = std::move(pending_[static_cast<std::size_t>(which)]);
    pending_.erase(pending_.begin() + which);
    for (const range_piece& piece : p->g.pieces()) {
      device_.invalidate(piece);
      if (p->promises) promised_.remove(piece.address - base_, piece.address - base_ + piece.bytes);
    }
    memory_.book.frees_allowed = true;
    editor_.release(p->g);
    memory_.book.frees_allowed = false;
    EXPECT_TRUE(p->g.empty());
  }
  void trim() {
    if (editor_.leftovers() == 0) return;
    auto fresh = std::make_unique<pending>();
    fresh->promises = false;  // its pieces name tables, not leaves
    static_cast<void>(editor_.trim(fresh->g));
    for (const range_piece& p : fresh->g.pieces()) EXPECT_TRUE(validate(p, shape_.bits).ok());
    pending_.push_back(std::move(fresh));
  }

  void expect_all_ways(std::uint64_t va) {
    // Normal write-back or MAIR 0, inner shareable, AF, readable and writable, not executable.
    constexpr std::uint64_t attributes = is_stage2<Format> ? (0xfull << 2 | 3ull << 6 | 3ull << 8 | 1ull << 10 | 2ull << 53)
                                                           : (1ull << 6 | 3ull << 8 | 1ull << 10 | 1ull << 11 | 3ull << 53);
    const auto wanted = model_.at(va);
    const auto found = editor_.lookup(input{base_ + va});
    ASSERT_EQ(found.ok(), wanted.has_value()) << std::hex << va;
    EXPECT_EQ(raw(found->address), wanted.value_or(0));
    for (const auto& answer : device_.walk_all_ways(base_ + va)) {
      ASSERT_EQ(answer.has_value(), wanted.has_value()) << std::hex << va;
      if (!wanted) continue;
      EXPECT_EQ(*answer, (format_hit{*wanted, found->level, found->contiguous, attributes})) << std::hex << va;
      if (!answer->contiguous) continue;
      // A TLB may answer for the whole run from any of its leaves: then every address of it has to be mapped just so.
      const std::uint64_t run = (std::uint64_t{1} << device_.shift(answer->level)) * device_.run(answer->level);
      const std::uint64_t head = va / run * run;
      for (const std::uint64_t at : {head, head + run / 2, head + run - 1}) EXPECT_EQ(model_.at(at), answer->pa - (va - head) + (at - head));
    }
  }
  void check() {
    ASSERT_TRUE(editor_.check_invariants());
    ASSERT_EQ(memory_.pool.available() + editor_.tables(), memory_.pages);
    ASSERT_EQ(memory_.book.errors, 0u);
    ASSERT_EQ(env::take_failures(), 0u);
    for (const auto& [start, s] : model_.all()) {
      expect_all_ways(start);
      expect_all_ways(s.end - 1);
      expect_all_ways(start + pick(s.end - start));
    }
    for (int i = 0; i < 6; ++i) expect_all_ways(offset());
    ASSERT_EQ(device_.reads_of_free_tables, 0u);
    ASSERT_EQ(device_.wrong_halves, 0u);
  }
  void tear_down() {
    if (::testing::Test::HasFailure()) return;
    while (!pending_.empty()) finish_one();
    while (!model_.all().empty() && !::testing::Test::HasFailure()) {
      const auto [start, s] = *model_.all().begin();
      unmap(start, s.end - start);
      while (!pending_.empty()) finish_one();
    }
    while (editor_.leftovers() != 0) {
      trim();
      while (!pending_.empty()) finish_one();
    }
    check();
    EXPECT_EQ(editor_.tables(), shape_.tables);
    memory_.book.frees_allowed = true;
    EXPECT_TRUE(editor_.destroy().ok());
    EXPECT_EQ(memory_.pool.available(), memory_.pages);
    EXPECT_TRUE(memory_.pool.check_invariants());
    EXPECT_EQ(memory_.book.errors, 0u);
  }

  std::mt19937 random_;
  arena_type memory_;
  editor_type editor_;
  shape shape_;
  std::uint64_t base_;
  table_test::format_walker<arena_type> device_;
  stretches model_;     // what is mapped, by offset
  stretches promised_;  // what was unmapped and is not invalidated yet
  std::vector<std::unique_ptr<pending>> pending_;
};

template <class Format>
void run_histories(std::initializer_list<shape> shapes, std::size_t pages, unsigned steps) {
  std::array<unsigned, 4> runs{};
  std::array<unsigned, 4> leaves{};
  unsigned unmaps = 0;
  unsigned cut = 0;
  unsigned crossings = 0;
  std::uint32_t seed = 1;
  bool concatenated = false;
  for (const shape& s : shapes) {
    for (int turn = 0; turn < 2 && !::testing::Test::HasFailure(); ++turn, ++seed) {
      SCOPED_TRACE(::testing::Message() << s.bits << " bits, seed " << seed);
      format_history<Format> h{seed, pages, s};
      h.run(steps);
      unmaps += h.unmaps;
      cut += h.cut_runs;
      crossings += h.root_crossings;
      concatenated = concatenated || s.tables > 1;
      for (unsigned level = 0; level < 4; ++level) {
        runs[level] += h.runs[level];
        leaves[level] += h.leaves[level];
      }
    }
  }
  // The histories have to reach what they are about.
  EXPECT_GT(unmaps, 40u);
  EXPECT_GT(cut, 3u);
  EXPECT_GT(runs[2], 0u);
  EXPECT_GT(runs[3], 3u);
  EXPECT_GT(leaves[2], 3u);
  EXPECT_GT(leaves[3], 10u);
  EXPECT_EQ(crossings != 0, concatenated);
}

TEST(editor, stage_1_with_4_kib_granules_agrees_with_the_model) {
  run_histories<table::stage1_k4>({{48}, {48, true}, {39, true}, {31}}, 24, 800);
}
TEST(editor, stage_1_with_16_kib_granules_agrees_with_the_model) {
  run_histories<table::stage1_k16>({{48}, {47, true}, {36, true}, {31}}, 16, 600);
}
TEST(editor, stage_1_with_64_kib_granules_agrees_with_the_model) {
  run_histories<table::stage1_k64>({{48}, {43, true}, {42}}, 8, 400);
}
TEST(editor, stage_2_with_4_kib_granules_agrees_with_the_model) {
  run_histories<table::stage2_k4>({{48, false, 2, 1}, {44, false, 2, 1}, {43, false, 1, 16}, {40, false, 1, 2}, {34, false, 0, 16}, {32, false, 0, 4}}, 24, 600);
}
TEST(editor, stage_2_with_16_kib_granules_agrees_with_the_model) {
  run_histories<table::stage2_k16>({{48, false, 2, 2}, {40, false, 1, 16}, {32, false, 1, 1}}, 14, 600);
}
TEST(editor, stage_2_with_64_kib_granules_agrees_with_the_model) {
  run_histories<table::stage2_k64>({{48, false, 2, 1}, {46, false, 1, 16}, {36, false, 1, 1}, {33, false, 0, 16}}, 6, 300);
}

}  // namespace
