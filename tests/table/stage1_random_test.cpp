// SPDX-License-Identifier: MIT
// Long random histories of one editor against a model of plain intervals, a device that never forgets on its own, a device
// that sees only what was published, and a device on another thread.
#include <shootdown/table/stage1_4k.hpp>

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <thread>
#include <vector>

#include <support/table_env.hpp>

namespace {

using namespace shootdown;
using table_test::arena;
using table_test::env;
using table_test::shift;

constexpr std::uint64_t k4 = 4096;
constexpr table::prot rw{.read = true, .write = true};

/// Disjoint stretches of input addresses, each mapped to one stretch of bus addresses.
class interval_model {
 public:
  struct stretch {
    std::uint64_t end;
    std::uint64_t pa;
  };
  [[nodiscard]] bool any(std::uint64_t va, std::uint64_t end) const {
    auto next = all_.upper_bound(va);
    if (next != all_.end() && next->first < end) return true;
    return next != all_.begin() && std::prev(next)->second.end > va;
  }
  [[nodiscard]] std::optional<std::uint64_t> at(std::uint64_t va) const {
    auto next = all_.upper_bound(va);
    if (next == all_.begin()) return {};
    const auto& [start, s] = *std::prev(next);
    return va < s.end ? std::optional{s.pa + (va - start)} : std::nullopt;
  }
  void add(std::uint64_t va, std::uint64_t bytes, std::uint64_t pa) { all_[va] = {va + bytes, pa}; }
  void remove(std::uint64_t va, std::uint64_t end) {
    split(va);
    split(end);
    all_.erase(all_.lower_bound(va), all_.lower_bound(end));
  }
  [[nodiscard]] const std::map<std::uint64_t, stretch>& all() const { return all_; }

 private:
  void split(std::uint64_t at) {
    auto next = all_.upper_bound(at);
    if (next == all_.begin()) return;
    auto& [start, s] = *std::prev(next);
    if (start == at || s.end <= at) return;
    all_[at] = {s.end, s.pa + (at - start)};
    s.end = at;
  }
  std::map<std::uint64_t, stretch> all_;
};

/// One history: random maps, unmaps, device accesses, invalidations and releases; everything is checked after each step.
class history {
 public:
  history(std::uint32_t seed, std::size_t pages, unsigned bits)
      : random_{seed},
        memory_{pages},
        editor_{memory_.pool},
        bits_{bits},
        device_{memory_, created_root(), editor_.start_level()} {
    memory_.book.frees_allowed = false;
  }

  void run(unsigned steps) {
    for (unsigned i = 0; i < steps && !::testing::Test::HasFailure(); ++i) {
      switch (pick(12)) {
        case 0: case 1: case 2: case 3: map_something(); break;
        case 4: case 5: case 6: unmap_something_mapped(); break;
        case 7: unmap_anything(); break;
        case 8: case 9: finish_one(); break;
        case 10: invalidate_one(); break;
        default: trim(); break;
      }
      check();
    }
    tear_down();
  }

 private:
  struct pending {
    gather<> g;
    bool invalidated{};
  };
  std::uint64_t created_root() {
    EXPECT_TRUE(editor_.create({.input_bits = static_cast<std::uint8_t>(bits_)}).ok());
    return raw(editor_.root());
  }
  std::uint64_t pick(std::uint64_t n) { return std::uniform_int_distribution<std::uint64_t>{0, n - 1}(random_); }

  // A page-aligned address near a boundary of one of a few tables, so that ranges meet.
  std::uint64_t address() {
    const std::uint64_t limit = std::uint64_t{1} << bits_;
    const std::uint64_t centre = pick(3) * (std::uint64_t{1} << 30) + pick(4) * (std::uint64_t{1} << 21);
    const std::uint64_t off = pick(3) == 0 ? 0 : pick(6) * k4;
    return (pick(2) == 0 ? centre + off : centre - off) % limit;
  }
  std::uint64_t length() {
    constexpr std::array<std::uint64_t, 8> sizes{k4, 2 * k4, 3 * k4, 512 * k4, 513 * k4, 1024 * k4, 512 * 512 * k4, 512 * 513 * k4};
    return sizes[pick(pick(6) == 0 ? sizes.size() : 6)];
  }
  [[nodiscard]] bool pending_in(std::uint64_t va, std::uint64_t end) const {
    return promised_.any(va, end);
  }

  void map_something() {
    const std::uint64_t va = address();
    const std::uint64_t bytes = length();
    const std::uint64_t limit = std::uint64_t{1} << bits_;
    const std::uint64_t pa = pick(2) == 0 ? (va + (std::uint64_t{1} << 40)) % (std::uint64_t{1} << 47) : (std::uint64_t{3} << 40) + pick(1 << 20) * k4;
    if (bytes <= limit - va && pending_in(va, va + bytes)) return;  // the contract: not before its invalidation is complete
    const auto tables = editor_.tables();
    const auto available = memory_.pool.available();
    memory_.book.frees_allowed = true;  // tables that were never linked go back when memory runs out
    const errc got = editor_.map(iova{va}, bus_addr{pa}, bytes, rw).code();
    memory_.book.frees_allowed = false;
    if (bytes > limit - va) {
      EXPECT_EQ(got, errc::out_of_range);
    } else if (model_.any(va, va + bytes)) {
      EXPECT_EQ(got, errc::already_present);
    } else if (got == errc::no_memory) {
      ++times_without_memory;
    } else {
      ASSERT_EQ(got, errc::ok);
      model_.add(va, bytes, pa);
    }
    if (got != errc::ok) {
      EXPECT_EQ(editor_.tables(), tables);
      EXPECT_EQ(memory_.pool.available(), available);
    }
  }

  // What unmap must say, from the words as a device reads them.
  errc expected(std::uint64_t va, std::uint64_t end) {
    for (std::uint64_t at = va; at < end;) {
      const auto hit = device_.walk(at);
      if (!hit) return errc::not_present;
      const std::uint64_t size = std::uint64_t{1} << shift(hit->level);
      if (at % size != 0 || end - at < size) return errc::misaligned;
      at += size;
    }
    return errc::ok;
  }
  void unmap(std::uint64_t va, std::uint64_t bytes) {
    const errc wanted = expected(va, va + bytes);
    if (pending_.size() == 6) return;
    std::uint8_t levels = 0;
    for (std::uint64_t at = va; wanted == errc::ok && at < va + bytes;) {
      const unsigned level = device_.walk(at)->level;
      levels = static_cast<std::uint8_t>(levels | 1u << level);
      at += std::uint64_t{1} << shift(level);
    }
    auto fresh = std::make_unique<pending>();
    const auto held = editor_.held();
    ASSERT_EQ(editor_.unmap(iova{va}, bytes, fresh->g).code(), wanted);
    if (wanted != errc::ok) {
      EXPECT_TRUE(fresh->g.empty());
      return;
    }
    const range_piece& p = fresh->g.pieces()[0];
    EXPECT_EQ(p.address, va);
    EXPECT_EQ(p.bytes, bytes);
    EXPECT_EQ(p.leaf_levels, levels);
    EXPECT_EQ(p.freed_levels != 0, editor_.held() != held);
    model_.remove(va, va + bytes);
    promised_.add(va, bytes, 0);
    pending_.push_back(std::move(fresh));
    ++unmaps;
  }
  void unmap_something_mapped() {
    if (model_.all().empty()) return;
    const auto& [start, s] = *std::next(model_.all().begin(), static_cast<std::ptrdiff_t>(pick(model_.all().size())));
    const std::uint64_t pages = (s.end - start) / k4;
    const std::uint64_t first = pick(3) == 0 ? pick(std::min<std::uint64_t>(pages, 4)) : 0;
    const std::uint64_t count = pick(3) == 0 ? 1 + pick(pages - first) : pages - first;
    unmap(start + first * k4, count * k4);
  }
  void unmap_anything() {
    const std::uint64_t va = address();
    const std::uint64_t bytes = length();
    if (bytes <= (std::uint64_t{1} << bits_) - va) unmap(va, bytes);
  }
  void invalidate_one() {
    if (!pending_.empty()) invalidate(*pending_[pick(pending_.size())]);
  }
  void invalidate(pending& p) {
    if (p.invalidated) return;  // once: the device may have cached again since
    for (const range_piece& piece : p.g.pieces()) {
      device_.invalidate(piece);
      promised_.remove(piece.address, piece.address + piece.bytes);
    }
    p.invalidated = true;
  }
  void finish_one() {
    if (pending_.empty()) return;
    const std::size_t which = pick(pending_.size());
    invalidate(*pending_[which]);
    release(*pending_[which]);
    pending_.erase(pending_.begin() + static_cast<std::ptrdiff_t>(which));
  }
  void release(pending& p) {
    memory_.book.frees_allowed = true;
    editor_.release(p.g);
    memory_.book.frees_allowed = false;
    EXPECT_TRUE(p.g.empty());
  }
  void trim() {
    if (editor_.leftovers() == 0 || pick(2) != 0) return;
    auto fresh = std::make_unique<pending>();
    (void)editor_.trim(fresh->g).ok();
    trimmed += fresh->g.empty() ? 0u : 1u;
    // Its pieces name tables, not leaves: nothing is promised about their addresses.
    invalidate_only_tables_.push_back(std::move(fresh));
    if (invalidate_only_tables_.size() > 2) finish_trim();
  }
  void finish_trim() {
    pending& p = *invalidate_only_tables_.front();
    for (const range_piece& piece : p.g.pieces()) device_.invalidate(piece);
    release(p);
    invalidate_only_tables_.erase(invalidate_only_tables_.begin());
  }

  void expect_all_ways(std::uint64_t va) {
    const auto wanted = model_.at(va);
    const auto found = editor_.lookup(iova{va});
    ASSERT_EQ(found.ok(), wanted.has_value()) << std::hex << va;
    EXPECT_EQ(raw(found->address), wanted.value_or(0));
    for (const auto& answer : device_.walk_all_ways(va)) {
      ASSERT_EQ(answer.has_value(), wanted.has_value()) << std::hex << va << " through a cached pointer";
      if (wanted) {
        EXPECT_EQ(answer->pa, *wanted);
        EXPECT_EQ(answer->level, found->level);
      }
    }
  }
  void check() {
    ASSERT_TRUE(editor_.check_invariants());
    ASSERT_TRUE(memory_.pool.check_invariants());
    ASSERT_EQ(memory_.pool.available() + editor_.tables(), memory_.pages);
    ASSERT_EQ(memory_.book.errors, 0u);
    ASSERT_EQ(env::take_failures(), 0u);
    for (const auto& [start, s] : model_.all()) {
      expect_all_ways(start);
      expect_all_ways(s.end - 1);
      expect_all_ways(start + pick(s.end - start));
    }
    for (int i = 0; i < 8; ++i) expect_all_ways(address());
    ASSERT_EQ(device_.reads_of_free_tables, 0u);
  }
  void tear_down() {
    while (!pending_.empty()) finish_one();
    while (!invalidate_only_tables_.empty()) finish_trim();
    check();
    // Unmap the rest, trim the leftovers: every frame but the root has to come back without destroy.
    while (!model_.all().empty()) {
      const auto [start, s] = *model_.all().begin();
      unmap(start, s.end - start);
      while (!pending_.empty()) finish_one();
      if (::testing::Test::HasFailure()) return;
    }
    while (editor_.leftovers() != 0) {
      invalidate_only_tables_.push_back(std::make_unique<pending>());
      (void)editor_.trim(invalidate_only_tables_.back()->g).ok();
      finish_trim();
    }
    EXPECT_EQ(editor_.tables(), 1u);
    EXPECT_EQ(memory_.pool.available(), memory_.pages - 1);
    memory_.book.frees_allowed = true;
    EXPECT_TRUE(editor_.destroy().ok());
    EXPECT_EQ(memory_.pool.available(), memory_.pages);
    EXPECT_EQ(memory_.book.errors, 0u);
  }

 public:
  unsigned times_without_memory{};
  unsigned unmaps{};
  unsigned trimmed{};

 private:
  std::mt19937 random_;
  arena<> memory_;
  table::stage1_4k<env, arena<>::pool_type> editor_;
  unsigned bits_;
  table_test::walker<arena<>> device_;
  interval_model model_;     // what is mapped
  interval_model promised_;  // what was unmapped and is not invalidated yet
  std::vector<std::unique_ptr<pending>> pending_;
  std::vector<std::unique_ptr<pending>> invalidate_only_tables_;
};

class stage1_history : public ::testing::TestWithParam<unsigned> {};

TEST_P(stage1_history, agrees_with_the_interval_model_through_every_cached_pointer) {
  const unsigned bits = GetParam();
  unsigned without_memory = 0;
  unsigned unmaps = 0;
  unsigned trimmed = 0;
  for (std::uint32_t seed = 1; seed <= 8 && !HasFailure(); ++seed) {
    SCOPED_TRACE(seed);
    history h{seed * 1000 + bits, seed % 2 == 0 ? std::size_t{9} : std::size_t{40}, bits};
    h.run(600);
    without_memory += h.times_without_memory;
    unmaps += h.unmaps;
    trimmed += h.trimmed;
  }
  // The histories have to reach what they are about.
  EXPECT_GT(unmaps, 100u);
  if (bits > 31) {
    EXPECT_GT(without_memory, 10u);
    EXPECT_GT(trimmed, 3u);
  }
}

INSTANTIATE_TEST_SUITE_P(widths, stage1_history, ::testing::Values(48u, 39u, 32u, 30u), ::testing::PrintToStringParamName());

/// Memory of a device that sees a word only once it was published.
class published_image {
 public:
  static constexpr std::uint64_t never = 0xdead'dead'dead'deadu;  // looks valid: a walk that meets it is a walk into garbage
  explicit published_image(arena<>& memory, std::uint64_t root) : memory_{memory}, words_(memory.pages * 512, never), root_{root} {}

  void publish(const void* p, std::size_t bytes) {
    const auto first = static_cast<std::size_t>(static_cast<const env::dma_word*>(p) - memory_.words.get());
    for (std::size_t i = first; i < first + bytes / 8; ++i) words_[i] = memory_.words[i].load(std::memory_order_relaxed);  // S1 relaxed: one thread
    if (words_[(root_ - arena<>::base) / 8] != never) visit(root_, 0);
  }
  [[nodiscard]] bool same() const {
    const auto now = memory_.image();
    for (std::size_t i = 0; i < now.size(); ++i) {
      if (words_[i] != never && words_[i] != now[i]) return false;
    }
    return true;
  }
  unsigned garbage{};
  unsigned publications{};

 private:
  void visit(std::uint64_t table, unsigned level) {
    for (std::size_t i = 0; i < 512; ++i) {
      const std::uint64_t word = words_[(table - arena<>::base) / 8 + i];
      if (word == never) ++garbage;
      else if (level < 3 && (word & 3) == 3) visit(word & 0x0000'ffff'ffff'f000, level + 1);
    }
  }
  arena<>& memory_;
  std::vector<std::uint64_t> words_;
  std::uint64_t root_;
};

TEST(stage1_4k, a_device_that_does_not_snoop_never_walks_into_unpublished_words) {
  arena<> memory{16};
  table::stage1_4k<env, arena<>::pool_type> editor{memory.pool};
  published_image image{memory, arena<>::base};  // the first page of the pool becomes the root
  env::on_publish = [&](const void* p, std::size_t n) { image.publish(p, n); };
  ASSERT_TRUE(editor.create().ok());
  ASSERT_EQ(raw(editor.root()), arena<>::base);
  std::mt19937 random{7};
  std::vector<bool> mapped(64);
  std::unique_ptr<gather<>> older;
  for (int i = 0; i < 400; ++i) {
    const std::uint64_t n = random() % mapped.size();
    const iova va{n * 37 * (std::uint64_t{1} << 18)};
    if (!mapped[n]) {
      mapped[n] = editor.map(va, bus_addr{n << 12}, k4, rw).ok();
    } else {
      auto g = std::make_unique<gather<>>();
      ASSERT_TRUE(editor.unmap(va, k4, *g).ok());
      mapped[n] = false;
      if (older) editor.release(*older);
      older = std::move(g);
    }
    ASSERT_TRUE(image.same()) << "a change was not published";
    ASSERT_EQ(image.garbage, 0u);
  }
  if (older) editor.release(*older);
  ASSERT_TRUE(image.same());
  env::on_publish = {};
  ASSERT_TRUE(editor.destroy().ok());
}

/// A device on another thread. It says when it is between two transactions; that is the SYNC here.
TEST(stage1_4k, a_walk_on_another_thread_finds_the_frame_as_it_was_before_the_map) {
  constexpr std::size_t frames = 8;
  constexpr std::uint64_t stride = (std::uint64_t{1} << 21) - k4;  // several tables, which come and go
  constexpr std::uint64_t frame_base = 0x4000'0000;
  arena<> memory{24};
  table::stage1_4k<env, arena<>::pool_type> editor{memory.pool};
  ASSERT_TRUE(editor.create().ok());
  std::array<std::uint64_t, frames> contents{};  // plain memory: only the order of the table's words protects it
  std::atomic<std::uint64_t> turns{0};
  std::atomic<bool> stop{false};
  std::uint64_t wrong = 0;
  std::uint64_t hits = 0;

  std::thread device{[&] {
    const auto walk = [&](std::uint64_t va) -> std::optional<std::uint64_t> {
      std::uint64_t at = raw(editor.root());
      for (unsigned level = 0;; ++level) {
        const std::uint64_t word = memory.word(at + ((va >> shift(level)) & 511) * 8);
        if ((word & 1) == 0) return {};
        at = word & 0x0000'ffff'ffff'f000;
        if (level == 3) return at;
      }
    };
    while (!stop.load(std::memory_order_relaxed)) {  // S2 relaxed: only ends the loop
      for (std::uint64_t n = 0; n < frames; ++n) {
        if (const auto pa = walk(n * stride)) {
          ++hits;
          if (contents[(*pa - frame_base) / k4] % frames != n) ++wrong;
        }
      }
      turns.fetch_add(1, std::memory_order_release);  // S3 release -> S4: this thread's reads are before the frame is written again
    }
  }};
  const auto sync = [&] {
    const std::uint64_t now = turns.load(std::memory_order_acquire);  // S4 acquire: pairs with S3
    while (turns.load(std::memory_order_acquire) < now + 2) std::this_thread::yield();  // S5 acquire: pairs with S3
  };

  std::mt19937 random{3};
  std::array<bool, frames> mapped{};
  for (std::uint64_t i = 0; i < 600; ++i) {
    const std::uint64_t n = random() % frames;
    if (!mapped[n]) {
      contents[n] = i * frames + n;
      ASSERT_TRUE(editor.map(iova{n * stride}, bus_addr{frame_base + n * k4}, k4, rw).ok());
      mapped[n] = true;
    } else {
      gather<> g;
      ASSERT_TRUE(editor.unmap(iova{n * stride}, k4, g).ok());
      mapped[n] = false;
      sync();
      editor.release(g);
      contents[n] = ~std::uint64_t{0};
    }
  }
  sync();
  stop.store(true, std::memory_order_relaxed);  // S6 relaxed: only ends the loop
  device.join();
  EXPECT_EQ(wrong, 0u);
  EXPECT_TRUE(editor.check_invariants());
  EXPECT_TRUE(editor.destroy().ok());
}

/// Editors are independent of each other, and of who uses the pool besides.
TEST(stage1_4k, two_editors_on_two_threads_share_a_small_pool) {
  constexpr std::size_t pages = 14;
  const auto words = std::make_unique<env::dma_word[]>(pages * 512);
  std::vector<table::page_meta> meta(pages);
  table::page_pool<env> pool{{words.get(), pages * 512, bus_addr{0x10000}}, meta};
  std::atomic<unsigned> errors{0};
  const auto work = [&](std::uint32_t seed) {
    const auto expect = [&](bool good) {
      if (!good) errors.fetch_add(1, std::memory_order_relaxed);  // S7 relaxed: read after join
    };
    table::stage1_4k<env> editor{pool};
    expect(editor.create().ok());
    std::mt19937 random{seed};
    std::array<bool, 6> mapped{};
    gather<> g;
    for (int i = 0; i < 300; ++i) {
      const std::uint64_t n = random() % mapped.size();
      const iova va{n << 30};
      if (!mapped[n]) {
        const errc got = editor.map(va, bus_addr{n * k4}, k4, rw).code();
        expect(got == errc::ok || got == errc::no_memory);
        mapped[n] = got == errc::ok;
      } else {
        expect(editor.unmap(va, k4, g).ok());
        mapped[n] = false;
        if (random() % 2 == 0 || g.pieces().size() == g.max_pieces) editor.release(g);
      }
      for (std::uint64_t m = 0; m < mapped.size(); ++m) expect(editor.lookup(iova{m << 30}).ok() == mapped[m]);
      if (i % 16 == 0) expect(editor.check_invariants());
    }
    editor.release(g);
    expect(editor.check_invariants() && editor.destroy().ok());
  };
  std::thread other{work, 1u};
  work(2u);
  other.join();
  EXPECT_EQ(errors.load(std::memory_order_relaxed), 0u);  // S8 relaxed: after join
  EXPECT_EQ(env::take_failures(), 0u);
  EXPECT_EQ(pool.available(), pages);
  EXPECT_TRUE(pool.check_invariants());
}

}  // namespace
