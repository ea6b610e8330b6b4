// SPDX-License-Identifier: MIT
// Two-level stream and CD tables: what an SMMU finds that walks them, in which order things become visible, what each sync has
// to drop, and what happens when memory or a sync fails.
#include <shootdown/table/two_level_context_table.hpp>
#include <shootdown/table/two_level_stream_table.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <vector>

#include <shootdown/table/context_table.hpp>
#include <support/table_env.hpp>

namespace {

using namespace shootdown;
using table::config_scope;
using table::second_level;

/// A dma word that tells of every store, and with which order.
class watched_word {
 public:
  [[nodiscard]] std::uint64_t load(std::memory_order o) const noexcept { return w_.load(o); }  // S1 the caller's order
  void store(std::uint64_t v, std::memory_order o) noexcept {
    if (before_store) before_store(this, v, o);
    w_.store(v, o);  // S2 the caller's order
  }
  void store_low(std::uint32_t low, std::memory_order o) noexcept { w_.store_low(low, o); }  // S3 the caller's order
  static inline std::function<void(const watched_word*, std::uint64_t, std::memory_order)> before_store{};

 private:
  native_dma_word w_;
};
struct env : table_test::env {
  using dma_word = watched_word;
};

/// Memory at bus addresses, handed out in aligned pieces. Filled with ones: nothing may rely on zeroes.
class memory {
 public:
  static constexpr std::uint64_t base = 0x4'0000'0000;
  explicit memory(std::size_t words) : words_{std::make_unique<env::dma_word[]>(words)}, count_{words} {
    for (std::size_t i = 0; i < words; ++i) words_[i].store(~std::uint64_t{0}, std::memory_order_relaxed);  // S4 relaxed: one thread
  }
  dma_span<env> take(std::size_t bytes, std::size_t align) {
    ++requests;
    const std::size_t at = (next_ + align - 1) / align * align;
    if (refuse || at + bytes > count_ * 8) return {};
    next_ = at + bytes;
    EXPECT_EQ(bytes, align);
    return {words_.get() + at / 8, bytes / 8, bus_addr{base + at}};
  }
  [[nodiscard]] std::uint64_t word(std::uint64_t bus) const {
    return words_[(bus - base) / 8].load(std::memory_order_acquire);  // S5 acquire: as the SMMU fetches, pairs with the table's releases
  }
  [[nodiscard]] bool contains(std::uint64_t bus) const { return bus >= base && (bus - base) / 8 < count_; }
  bool refuse{};
  unsigned requests{};

 private:
  std::unique_ptr<env::dma_word[]> words_;
  std::size_t count_;
  std::size_t next_{};
};

struct hooks {
  ~hooks() {
    watched_word::before_store = {};
    table_test::env::on_publish = {};
  }
};

ste stage1_entry(std::uint64_t cds) { return ste::stage1({.cd_table = bus_addr{cds}}).value(); }
cd context(std::uint64_t table, std::uint16_t as) { return cd::stage1({.table = bus_addr{table}, .as = asid{as}}).value(); }

/// One table, its memory, and what it told the SMMU.
template <class Table>
struct rig {
  explicit rig(std::size_t words = 1 << 17) : mem{words} {}
  auto source() {
    return [this](std::size_t bytes, std::size_t align) { return mem.take(bytes, align); };
  }
  auto sync() {
    return [this](config_scope scope) -> status {
      scopes.push_back(scope);
      return scopes.size() == failing ? errc::timed_out : errc::ok;
    };
  }
  std::vector<config_scope> take_scopes() { return std::exchange(scopes, {}); }
  memory mem;
  Table table;
  std::vector<second_level<env>> below;
  std::vector<config_scope> scopes;
  std::size_t failing{};  // which sync fails, 1 is the first
};

using scopes = std::vector<config_scope>;
constexpr config_scope leaf = config_scope::leaf;
constexpr config_scope all = config_scope::all_levels;

struct stream_rig : rig<table::two_level_stream_table<env>> {
  explicit stream_rig(unsigned log2 = 16, unsigned split = 8) {
    const std::size_t count = std::size_t{1} << (log2 - split);
    below.resize(count);
    EXPECT_TRUE(table.configure(mem.take(std::max<std::size_t>(count * 8, 64), std::max<std::size_t>(count * 8, 64)), below, log2, split).ok());
    mem.requests = 0;
  }
  [[nodiscard]] errc write(std::uint32_t sid, const ste& e) { return table.write(stream_id{sid}, e, source(), sync()).code(); }
  /// What an SMMU fetches: by STRTAB_BASE, SPLIT and the fields of registers.md 3. Nothing: no entry for the stream.
  [[nodiscard]] std::optional<entry_words> fetch(std::uint32_t sid) const {
    const std::uint64_t l1 = mem.word(raw(table.base()) + (std::uint64_t{sid} >> table.split()) * 8);
    const std::uint64_t span = l1 & 31;
    const std::uint64_t n = sid & ((1u << table.split()) - 1);
    if (span == 0 || n >= (std::uint64_t{1} << (span - 1))) return {};
    entry_words e{};
    for (unsigned i = 0; i < 8; ++i) e[i] = mem.word((l1 & 0x000f'ffff'ffff'ffc0) + n * 64 + i * 8);
    return e;
  }
};

TEST(two_level_stream_table, second_levels_come_with_their_first_stream) {
  for (const unsigned split : {6u, 8u, 10u}) {
    stream_rig r{12, split};
    EXPECT_EQ(r.table.base(), bus_addr{memory::base});
    EXPECT_EQ(r.table.log2size(), 12u);
    EXPECT_EQ(r.table.second_levels(), 0u);
    for (const std::uint32_t sid : {0u, 63u, 4095u}) EXPECT_FALSE(r.fetch(sid));
    const std::uint32_t sid = (2u << split) + 5;
    if (sid >> 12 != 0) continue;
    ASSERT_EQ(r.write(sid, stage1_entry(0x1000)), errc::ok);
    EXPECT_EQ(r.take_scopes().front(), all) << "the SMMU may hold the invalid first-level descriptor";
    EXPECT_EQ(r.table.second_levels(), 1u);
    EXPECT_EQ(r.fetch(sid), stage1_entry(0x1000).w);
    for (const std::uint32_t other : {2u << split, sid + 1, (3u << split) - 1}) EXPECT_EQ(r.fetch(other), ste::abort().w);
    for (const std::uint32_t other : {(2u << split) - 1, 0u, (3u << split)}) EXPECT_FALSE(r.fetch(other));
    // The neighbour's second level is there: only its own entry changes.
    ASSERT_EQ(r.write(sid + 1, stage1_entry(0x2000)), errc::ok);
    for (const config_scope scope : r.take_scopes()) EXPECT_EQ(scope, leaf);
    EXPECT_EQ(r.mem.requests, 1u);
    EXPECT_EQ(*r.table.read(stream_id{sid}), stage1_entry(0x1000));
    EXPECT_TRUE(r.table.check_invariants());
  }
}

TEST(two_level_stream_table, nothing_is_reachable_before_it_is_complete_and_published) {
  const hooks cleanup;
  stream_rig r;
  const std::uint64_t l1 = raw(r.table.base());
  std::set<const void*> published;
  bool linked = false;
  table_test::env::on_publish = [&](const void* p, std::size_t n) {
    for (std::size_t i = 0; i < n; i += 8) published.insert(static_cast<const char*>(p) + i);
  };
  unsigned stores_of_first_level = 0;
  watched_word::before_store = [&](const watched_word* at, std::uint64_t v, std::memory_order o) {
    if (at != r.below[0].memory.cpu && (v & 31) == 9 && v > memory::base && !linked) {  // the descriptor with SPAN = 9
      linked = true;
      ++stores_of_first_level;
      EXPECT_EQ(o, std::memory_order_release);
      const std::uint64_t l2 = v & ~std::uint64_t{63};
      for (std::uint64_t i = 0; i < 256 * 8; ++i) {
        ASSERT_EQ(r.mem.word(l2 + i * 8), ste::abort().w[i % 8]);
        ASSERT_EQ(published.count(r.below[3].memory.cpu + i), 1u) << "the first level came before the second was published";
      }
      EXPECT_EQ(r.scopes.size(), 0u);
    }
  };
  ASSERT_EQ(r.write(3 * 256 + 7, stage1_entry(0x1000)), errc::ok);
  EXPECT_EQ(stores_of_first_level, 1u);
  EXPECT_FALSE(r.fetch(0));
  EXPECT_NE(r.mem.word(l1 + 3 * 8), 0u);
  EXPECT_EQ(r.scopes.front(), all);
  EXPECT_GE(std::count(r.scopes.begin(), r.scopes.end(), leaf), 1);
}

TEST(two_level_stream_table, a_stream_that_aborts_needs_no_memory) {
  stream_rig r;
  r.mem.refuse = true;
  EXPECT_EQ(r.write(77, ste::abort()), errc::ok);
  EXPECT_EQ(r.mem.requests, 0u);
  EXPECT_TRUE(r.scopes.empty());
  EXPECT_EQ(*r.table.read(stream_id{77}), ste::abort());
  EXPECT_EQ(r.write(77, ste::bypass()), errc::no_memory);
  EXPECT_TRUE(r.scopes.empty());
  EXPECT_FALSE(r.fetch(77));
  EXPECT_TRUE(r.table.check_invariants());
  r.mem.refuse = false;
  EXPECT_EQ(r.write(77, ste::bypass()), errc::ok);
  r.mem.refuse = true;
  EXPECT_EQ(r.write(77, ste::abort()), errc::ok) << "a detach";
  EXPECT_EQ(r.fetch(77), ste::abort().w);
}

TEST(two_level_stream_table, a_second_level_is_announced_until_the_smmu_has_heard) {
  stream_rig r;
  r.failing = 1;
  EXPECT_EQ(r.write(5, ste::bypass()), errc::timed_out);
  EXPECT_EQ(r.take_scopes(), scopes{all});
  EXPECT_EQ(r.fetch(5), ste::abort().w) << "the SMMU may or may not know the table: either way the stream aborts";
  EXPECT_TRUE(r.table.check_invariants());
  r.failing = 0;
  ASSERT_EQ(r.write(6, ste::bypass()), errc::ok) << "another stream of it";
  EXPECT_EQ(r.take_scopes().front(), all);
  ASSERT_EQ(r.write(5, ste::bypass()), errc::ok);
  for (const config_scope scope : r.take_scopes()) EXPECT_EQ(scope, leaf);
  EXPECT_EQ(r.mem.requests, 1u);
}

TEST(two_level_stream_table, bad_input_is_refused_and_changes_nothing) {
  stream_rig r{12, 8};
  EXPECT_EQ(r.write(4096, ste::bypass()), errc::out_of_range);
  EXPECT_EQ(r.table.read(stream_id{4096}).code(), errc::out_of_range);
  EXPECT_FALSE(r.table.contains(stream_id{~0u}));
  EXPECT_TRUE(r.scopes.empty());
  EXPECT_EQ(r.mem.requests, 0u);

  memory mem{1 << 12};
  std::vector<second_level<env>> below(16);
  const dma_span<env> first = mem.take(128, 128);
  table::two_level_stream_table<env> t;
  EXPECT_FALSE(t.contains(stream_id{0})) << "not configured";
  EXPECT_EQ(t.configure(first, below, 12, 7).code(), errc::invalid_argument);
  EXPECT_EQ(t.configure(first, below, 7, 8).code(), errc::out_of_range);
  EXPECT_EQ(t.configure(first, below, 33, 8).code(), errc::out_of_range);
  EXPECT_EQ(t.configure({}, below, 12, 8).code(), errc::out_of_range);
  EXPECT_EQ(t.configure(first, below, 13, 8).code(), errc::out_of_range);
  EXPECT_EQ(t.configure(first, std::span{below}.first(15), 12, 8).code(), errc::out_of_range);
  EXPECT_EQ(t.configure({first.cpu, first.words, bus_addr{raw(first.bus) + 64}}, below, 12, 8).code(), errc::misaligned);
  ASSERT_TRUE(t.configure(first, below, 12, 8).ok());

  // A source whose memory does not serve: refused before a device could know it.
  const auto ok = [](config_scope) -> status { return {}; };
  const auto crooked = [&](std::size_t bytes, std::size_t) { return dma_span<env>{first.cpu, bytes / 8, bus_addr{raw(first.bus) + 64}}; };
  EXPECT_EQ(t.write(stream_id{1}, ste::bypass(), crooked, ok).code(), errc::misaligned);
  const auto tiny = [&](std::size_t, std::size_t) { return dma_span<env>{first.cpu, 16, bus_addr{0x10'0000}}; };
  EXPECT_EQ(t.write(stream_id{1}, ste::bypass(), tiny, ok).code(), errc::out_of_range);
  EXPECT_EQ(mem.word(raw(first.bus)), 0u);
  EXPECT_TRUE(t.check_invariants());
}

TEST(two_level_stream_table, hands_its_second_levels_back_at_the_end) {
  stream_rig r;
  for (const std::uint32_t sid : {1u, 300u, 301u, 70u * 256}) ASSERT_EQ(r.write(sid, ste::bypass()), errc::ok);
  EXPECT_EQ(r.table.configure(r.mem.take(2048, 2048), r.below, 16, 8).code(), errc::busy);
  std::set<std::uint64_t> back;
  r.table.take_back([&](const dma_span<env>& s) {
    EXPECT_EQ(s.words, 256u * 8);
    back.insert(raw(s.bus));
  });
  EXPECT_EQ(back.size(), 3u);
  EXPECT_FALSE(r.table.contains(stream_id{1}));
  EXPECT_TRUE(r.table.configure(r.mem.take(2048, 2048), r.below, 16, 8).ok());
}

TEST(two_level_stream_table, behaves_as_a_linear_table_under_random_writes) {
  std::mt19937 random{11};
  for (const unsigned split : {6u, 8u, 10u}) {
    stream_rig r{13, split};
    std::vector<ste> model(1 << 13, ste::abort());
    for (int i = 0; i < 300; ++i) {
      const auto sid = static_cast<std::uint32_t>(random() % 4 == 0 ? random() & 0x1fff : (random() & 3) << 11 | (random() & 7));
      const ste e = random() % 3 == 0 ? ste::abort() : random() % 2 == 0 ? ste::bypass() : stage1_entry((random() & 0xffff) << 6);
      r.failing = random() % 16 == 0 ? 1 : 0;
      r.scopes.clear();
      const errc got = r.write(sid, e);
      if (got == errc::ok) {
        model[sid] = e;
      } else {
        ASSERT_EQ(got, errc::timed_out);
        const ste now = *r.table.read(stream_id{sid});  // its old entry; a failed sync at the switch would make it abort
        ASSERT_TRUE(ste_used(now.w)[0] == 1u || now.config() == model[sid].config());
        r.failing = 0;
        ASSERT_EQ(r.write(sid, model[sid]), errc::ok);
      }
      ASSERT_TRUE(r.table.check_invariants());
      const auto look = static_cast<std::uint32_t>(random() & 0x1fff);
      for (const std::uint32_t s : {sid, look}) {
        ASSERT_EQ(*r.table.read(stream_id{s}), model[s]);
        ASSERT_EQ(r.fetch(s).value_or(ste::abort().w), model[s].w);
      }
    }
  }
}

struct context_rig : rig<table::two_level_context_table<env>> {
  explicit context_rig(unsigned log2 = 16, cd_format f = cd_format::two_level_4k) : rig{1 << 17} {
    const std::size_t count = table.first_level_words(f, log2);
    below.resize(count);
    const std::size_t bytes = std::max<std::size_t>(count * 8, 64);
    EXPECT_TRUE(table.configure(mem.take(bytes, bytes), below, log2, f).ok());
    mem.requests = 0;
  }
  [[nodiscard]] errc write(std::uint32_t ssid, const cd& c) { return table.write(substream_id{ssid}, c, source(), sync()).code(); }
  /// What an SMMU fetches that was given placed() in the STE.
  [[nodiscard]] std::optional<entry_words> fetch(std::uint32_t ssid) const {
    const ste e = ste::stage1(table.placed()).value();
    if ((ssid >> e.cd_log2()) != 0) return {};
    const unsigned bits = e.format() == cd_format::two_level_4k ? 6 : 10;
    const std::uint64_t l1 = mem.word(raw(e.cd_table()) + (ssid >> bits) * 8);
    if ((l1 & 1) == 0) return {};
    entry_words c{};
    for (unsigned i = 0; i < 8; ++i) c[i] = mem.word((l1 & 0x000f'ffff'ffff'f000) + (ssid & ((1u << bits) - 1)) * 64 + i * 8);
    return c;
  }
};

TEST(two_level_context_table, second_levels_come_with_their_first_substream) {
  for (const cd_format f : {cd_format::two_level_4k, cd_format::two_level_64k}) {
    context_rig r{16, f};
    const unsigned bits = f == cd_format::two_level_4k ? 6 : 10;
    EXPECT_EQ(r.below.size(), std::size_t{1} << (16 - bits));
    for (const std::uint32_t ssid : {0u, 1u, 65535u}) EXPECT_FALSE(r.fetch(ssid));
    ASSERT_EQ(r.write(65535, context(0x1000, 9)), errc::ok);
    EXPECT_EQ(r.take_scopes().front(), all) << "CFGI_CD, LEAF = 0";
    EXPECT_EQ(r.fetch(65535), context(0x1000, 9).w);
    EXPECT_EQ(r.fetch(65534), entry_words{}) << "invalid";
    EXPECT_FALSE(r.fetch((65535u >> bits << bits) - 1));
    ASSERT_EQ(r.write(65534, context(0x2000, 10)), errc::ok);
    for (const config_scope scope : r.take_scopes()) EXPECT_EQ(scope, leaf);
    ASSERT_TRUE(r.table.clear(substream_id{65535}, r.sync()).ok());
    EXPECT_EQ(r.fetch(65535).value()[0] & 1u << 31, 0u);
    EXPECT_EQ(r.fetch(65534), context(0x2000, 10).w);
    EXPECT_EQ(r.table.second_levels(), 1u);
    EXPECT_TRUE(r.table.check_invariants());
  }
}

TEST(two_level_context_table, pasids_are_bounded_by_s1cdmax_and_by_what_the_endpoint_can_say) {
  context_rig r{7};
  EXPECT_EQ(r.write(127, context(0, 1)), errc::ok);
  EXPECT_EQ(r.write(128, context(0, 1)), errc::out_of_range);
  EXPECT_EQ(r.table.read(substream_id{128}).code(), errc::out_of_range);
  EXPECT_EQ(r.table.clear(substream_id{1u << 20}, r.sync()).code(), errc::out_of_range);
  EXPECT_EQ(r.table.placed({.without_ssid = default_substream::terminate}).without_ssid, default_substream::terminate);

  memory mem{1 << 12};
  std::vector<second_level<env>> below(16);
  const dma_span<env> first = mem.take(128, 128);
  table::two_level_context_table<env> t;
  using enum cd_format;
  EXPECT_EQ(t.configure(first, below, 10, linear).code(), errc::invalid_argument);
  EXPECT_EQ(t.configure(first, below, 0, two_level_4k).code(), errc::out_of_range) << "one CD needs no table";
  EXPECT_EQ(t.configure(first, below, 21, two_level_64k).code(), errc::out_of_range);
  EXPECT_EQ(t.configure(first, below, 10, two_level_4k, 9).code(), errc::out_of_range) << "wider than IDR1.SSIDSIZE";
  EXPECT_EQ(t.configure(first, below, 11, two_level_4k).code(), errc::out_of_range) << "32 descriptors";
  EXPECT_EQ(t.configure({first.cpu, 16, bus_addr{raw(first.bus) + 64}}, below, 10, two_level_4k).code(), errc::misaligned);
  EXPECT_FALSE(t.contains(substream_id{0}));
  EXPECT_TRUE(t.configure(first, below, 10, two_level_4k, 10).ok());
  EXPECT_TRUE(t.contains(substream_id{1023}));
  EXPECT_EQ(t.first_level_words(two_level_64k, 3), 1u);
  EXPECT_TRUE(t.configure(first, below, 3, two_level_64k).ok()) << "one descriptor, not all of its CDs";
  EXPECT_FALSE(t.contains(substream_id{8}));
}

TEST(two_level_context_table, clearing_needs_no_memory_and_a_failed_sync_is_repeated) {
  context_rig r;
  r.mem.refuse = true;
  EXPECT_TRUE(r.table.clear(substream_id{300}, r.sync()).ok());
  EXPECT_TRUE(r.scopes.empty());
  EXPECT_EQ(r.write(300, context(0, 1)), errc::no_memory);
  r.mem.refuse = false;
  r.failing = 1;
  EXPECT_EQ(r.write(300, context(0, 1)), errc::timed_out);
  EXPECT_EQ(r.fetch(300), entry_words{});
  r.failing = 0;
  r.scopes.clear();
  EXPECT_EQ(r.write(301, context(0, 1)), errc::ok);
  EXPECT_EQ(r.scopes.front(), all);
  unsigned back = 0;
  r.table.take_back([&](const dma_span<env>& s) { back += s.words == 512 ? 1u : 100u; });
  EXPECT_EQ(back, 1u);
}

TEST(context_table, pasids_are_bounded_by_the_width_of_smmu_and_endpoint) {
  memory mem{1 << 12};
  const dma_span<env> span = mem.take(4096, 4096);
  table::context_table<env> t;
  EXPECT_EQ(t.configure(span, 6, 5).code(), errc::out_of_range);
  EXPECT_EQ(t.configure(span, 1, 0).code(), errc::out_of_range) << "no substreams at all";
  EXPECT_FALSE(t.contains(substream_id{0}));
  ASSERT_TRUE(t.configure(span, 6, 6).ok());
  const auto ok = []() -> status { return {}; };
  EXPECT_TRUE(t.write(substream_id{63}, context(0x1000, 4), ok).ok());
  EXPECT_EQ(t.write(substream_id{64}, context(0x1000, 4), ok).code(), errc::out_of_range);
  const auto e = ste::stage1(t.placed({.without_ssid = default_substream::terminate, .ats = ats_mode::full}));
  ASSERT_TRUE(e.ok());
  EXPECT_EQ(e->cd_table(), span.bus);
  EXPECT_EQ(e->cd_log2(), 6u);
  EXPECT_EQ(e->format(), cd_format::linear);
  EXPECT_EQ(e->without_ssid(), default_substream::terminate);
  EXPECT_EQ(e->ats(), ats_mode::full);
}

}  // namespace
