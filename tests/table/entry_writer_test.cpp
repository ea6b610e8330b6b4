// SPDX-License-Identifier: MIT
#include <shootdown/table/context_table.hpp>
#include <shootdown/table/entry_writer.hpp>
#include <shootdown/table/stream_table.hpp>

#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include <support/table_env.hpp>

namespace {

using namespace shootdown;
using table::cd_rules;
using table::entry_change;
using table::ste_rules;

/// A dma word that tells of every store.
class watched_word {
 public:
  [[nodiscard]] std::uint64_t load(std::memory_order o) const noexcept { return w_.load(o); }  // S1 the caller's order
  void store(std::uint64_t v, std::memory_order o) noexcept {
    w_.store(v, o);  // S2 the caller's order
    if (on_store) on_store(o);
  }
  void store_low(std::uint32_t low, std::memory_order o) noexcept { w_.store_low(low, o); }  // S3 the caller's order
  static inline std::function<void(std::memory_order)> on_store{};

 private:
  native_dma_word w_;
};
struct watching_env : table_test::env {
  using dma_word = watched_word;
};

/// Silences the hooks at the end of a test.
struct hooks {
  ~hooks() {
    watched_word::on_store = {};
    table_test::env::on_publish = {};
    table_test::env::on_fence = {};
  }
};

struct live_entry {
  std::array<watched_word, 8> words;
  void set(const entry_words& w) {
    for (std::size_t i = 0; i < 8; ++i) words[i].store(w[i], std::memory_order_relaxed);  // S4 relaxed: one thread
  }
  [[nodiscard]] entry_words get() const { return table::entry_writer<watching_env, ste_rules>::read(words.data()); }
};

/// The entry as the SMMU understands it: only the bits it looks at.
template <class Rules>
entry_words meaning(entry_words w) {
  const entry_words used = Rules::used(w);
  for (std::size_t i = 0; i < 8; ++i) w[i] &= used[i];
  return w;
}
/// May an SMMU fetch that takes each word either from `a` or from `b` see anything but what `a` or `b` mean (or an invalid
/// entry)? `a` and `b` are memory before and after the stores between two syncs.
template <class Rules>
bool every_mix_is_one_of_them(const entry_words& a, const entry_words& b) {
  for (unsigned mix = 0; mix < 256; ++mix) {
    entry_words seen{};
    for (std::size_t i = 0; i < 8; ++i) seen[i] = (mix >> i & 1u) != 0 ? b[i] : a[i];
    const bool aborts = (seen[0] & Rules::valid) == 0;
    if (!aborts && meaning<Rules>(seen) != meaning<Rules>(a) && meaning<Rules>(seen) != meaning<Rules>(b)) return false;
  }
  return true;
}

/// One write with everything looked at: after every single store, and for every fetch that straddles the stores of a step.
template <class Rules>
struct audited_write {
  status outcome{};
  entry_change change{};
  unsigned steps{};
  unsigned syncs{};
  bool clean{true};      ///< old, new, or (only if breaking) invalid, at each moment and in each straddling fetch
  bool went_back{};      ///< the old configuration appeared again after the new one
  bool was_invalid{};

  audited_write(const entry_words& from, const entry_words& to, unsigned failing_sync = ~0u) {
    const hooks cleanup;
    live_entry entry;
    entry.set(from);
    entry_words settled = from;  // what the SMMU has for sure: memory at the last sync
    bool seen_new = false;
    watched_word::on_store = [&](std::memory_order o) {
      const entry_words now = entry.get();
      const bool invalid = (now[0] & Rules::valid) == 0;
      const bool is_old = meaning<Rules>(now) == meaning<Rules>(from);
      const bool is_new = meaning<Rules>(now) == meaning<Rules>(to);
      clean = clean && (invalid || is_old || is_new) && every_mix_is_one_of_them<Rules>(settled, now);
      went_back = went_back || (seen_new && is_old && !is_new);
      seen_new = seen_new || is_new;
      was_invalid = was_invalid || (invalid && !is_old && !is_new);
      clean = clean && o == std::memory_order_release;
    };
    table::entry_writer<watching_env, Rules> writer{entry.words.data()};
    outcome = writer.write(to, [&]() -> status {
      settled = entry.get();
      return syncs++ == failing_sync ? status{errc::timed_out} : status{};
    });
    change = writer.change();
    steps = writer.steps();
    result = entry.get();
  }
  entry_words result{};
};

ste stage1_entry(std::uint64_t cds, unsigned log2, ats_mode ats = ats_mode::abort) {
  const auto e = ste::stage1({.cd_table = bus_addr{cds}, .cd_log2 = log2, .ats = ats});
  EXPECT_TRUE(e.ok());
  return *e;
}
cd context(std::uint64_t root, asid as, unsigned bits = 48) {
  const auto c = cd::stage1({.table = bus_addr{root}, .input_bits = bits, .as = as});
  EXPECT_TRUE(c.ok());
  return *c;
}

TEST(entry_writer, an_equal_entry_costs_nothing) {
  const audited_write<ste_rules> w{ste::bypass().w, ste::bypass().w};
  EXPECT_TRUE(w.outcome.ok());
  EXPECT_EQ(w.change, entry_change::none);
  EXPECT_EQ(w.syncs, 0u);
}

TEST(entry_writer, switches_between_abort_bypass_and_stage_1_are_hitless) {
  const std::vector<entry_words> all{ste::abort().w, ste::bypass().w, stage1_entry(0x10000, 0).w, entry_words{}};
  for (const entry_words& from : all) {
    for (const entry_words& to : all) {
      if (from == to) continue;
      const audited_write<ste_rules> w{from, to};
      EXPECT_TRUE(w.outcome.ok());
      EXPECT_EQ(w.change, entry_change::hitless);
      EXPECT_TRUE(w.clean);
      EXPECT_FALSE(w.went_back);
      EXPECT_FALSE(w.was_invalid);
      EXPECT_EQ(w.result, to);
      EXPECT_EQ(w.syncs, w.steps);
      EXPECT_LE(w.syncs, 3u);
    }
  }
}

TEST(entry_writer, abort_to_stage_1_fills_the_ignored_words_then_switches_the_first) {
  const audited_write<ste_rules> there{ste::abort().w, stage1_entry(0x10000, 0).w};
  EXPECT_EQ(there.steps, 2u);
  const audited_write<ste_rules> back{stage1_entry(0x10000, 0).w, ste::abort().w};
  EXPECT_EQ(back.steps, 2u);  // the first word, then the leftovers
}

TEST(entry_writer, another_cd_table_or_ats_mode_is_one_word_both_together_break) {
  const audited_write<ste_rules> moved{stage1_entry(0x10000, 0).w, stage1_entry(0x20000, 3).w};
  EXPECT_EQ(moved.change, entry_change::hitless);
  EXPECT_EQ(moved.steps, 1u);
  const audited_write<ste_rules> ats{stage1_entry(0x10000, 0).w, stage1_entry(0x10000, 0, ats_mode::full).w};
  EXPECT_EQ(ats.change, entry_change::hitless);
  EXPECT_EQ(ats.steps, 1u);
  const audited_write<ste_rules> both{stage1_entry(0x10000, 0).w, stage1_entry(0x20000, 0, ats_mode::full).w};
  EXPECT_EQ(both.change, entry_change::breaking);
  EXPECT_TRUE(both.was_invalid);
  EXPECT_TRUE(both.clean);
  EXPECT_EQ(both.steps, 3u);
  EXPECT_EQ(both.result, stage1_entry(0x20000, 0, ats_mode::full).w);
}

TEST(entry_writer, a_cd_changes_its_asid_or_its_table_hitlessly_but_not_both) {
  const audited_write<cd_rules> tag{context(0x1000, asid{1}).w, context(0x1000, asid{2}).w};
  EXPECT_EQ(tag.change, entry_change::hitless);
  EXPECT_EQ(tag.steps, 1u);
  const audited_write<cd_rules> root{context(0x1000, asid{1}).w, context(0x2000, asid{1}).w};
  EXPECT_EQ(root.change, entry_change::hitless);
  const audited_write<cd_rules> both{context(0x1000, asid{1}).w, context(0x2000, asid{2}).w};
  EXPECT_EQ(both.change, entry_change::breaking);
  EXPECT_TRUE(both.clean);
  const audited_write<cd_rules> first{entry_words{}, context(0x1000, asid{1}).w};
  EXPECT_EQ(first.change, entry_change::hitless);
  EXPECT_EQ(first.steps, 2u);
  const audited_write<cd_rules> gone{context(0x1000, asid{1}).w, entry_words{}};
  EXPECT_EQ(gone.change, entry_change::hitless);
  EXPECT_TRUE(gone.clean);
}

/// A random value of an STE, legal or not, often sharing words with others.
entry_words random_ste(std::mt19937_64& random) {
  entry_words w{};
  switch (random() % 6) {
    case 0: w = ste::abort().w; break;
    case 1: w = ste::bypass().w; break;
    case 2: break;
    case 3:
      for (std::uint64_t& word : w) word = random();
      break;
    default:
      w = stage1_entry((random() % 4) << 20, static_cast<unsigned>(random() % 3), random() % 2 == 0 ? ats_mode::abort : ats_mode::full).w;
      w[2] = ste::s2vmid_f::set(w[2], vmid{static_cast<std::uint16_t>(random() % 2)});
  }
  if (random() % 4 == 0) w[random() % 8] ^= std::uint64_t{1} << (random() % 64);
  return w;
}
entry_words random_cd(std::mt19937_64& random) {
  entry_words w{};
  switch (random() % 5) {
    case 0: break;
    case 1:
      for (std::uint64_t& word : w) word = random();
      break;
    default: w = context((random() % 3) << 12, asid{static_cast<std::uint16_t>(random() % 3)}, random() % 2 == 0 ? 48 : 39).w;
  }
  if (random() % 4 == 0) w[random() % 8] ^= std::uint64_t{1} << (random() % 64);
  return w;
}

template <class Rules, class Make>
void check_random_transitions(std::uint64_t seed, Make make) {
  std::mt19937_64 random{seed};
  unsigned hitless = 0;
  unsigned breaking = 0;
  for (int i = 0; i < 1500; ++i) {
    const entry_words from = make(random);
    const entry_words to = make(random);
    const audited_write<Rules> w{from, to};
    ASSERT_TRUE(w.outcome.ok());
    ASSERT_EQ(w.result, to);
    ASSERT_TRUE(w.clean) << "a mixture was visible, transition " << i;
    ASSERT_FALSE(w.went_back);
    ASSERT_EQ(w.syncs, w.steps);
    ASSERT_LE(w.steps, 3u);
    ASSERT_TRUE(w.change == entry_change::breaking || !w.was_invalid);
    hitless += w.change == entry_change::hitless ? 1u : 0u;
    breaking += w.change == entry_change::breaking ? 1u : 0u;
  }
  EXPECT_GT(hitless, 100u);
  EXPECT_GT(breaking, 100u);
}

TEST(entry_writer, no_ste_transition_shows_a_mixture_at_any_store_or_in_any_straddling_fetch) {
  check_random_transitions<ste_rules>(11, random_ste);
}
TEST(entry_writer, no_cd_transition_shows_a_mixture_at_any_store_or_in_any_straddling_fetch) {
  check_random_transitions<cd_rules>(12, random_cd);
}

TEST(entry_writer, the_audit_itself_notices_a_naive_writer) {
  const entry_words from = stage1_entry(0x10000, 0).w;
  const entry_words to = stage1_entry(0x20000, 0, ats_mode::full).w;
  EXPECT_FALSE(every_mix_is_one_of_them<ste_rules>(from, to));
  EXPECT_FALSE(every_mix_is_one_of_them<ste_rules>(ste::abort().w, from));  // the first word before the second
  entry_words prepared = from;
  prepared[0] = ste::abort().w[0];
  EXPECT_TRUE(every_mix_is_one_of_them<ste_rules>(prepared, from));  // only the first word decides
}

TEST(entry_writer, a_failed_sync_leaves_the_old_entry_or_an_aborting_one) {
  std::mt19937_64 random{13};
  unsigned old = 0;
  unsigned aborting = 0;
  for (int i = 0; i < 600; ++i) {
    const entry_words from = random_ste(random);
    const entry_words to = random_ste(random);
    const unsigned steps = audited_write<ste_rules>{from, to}.steps;
    for (unsigned failing = 0; failing < steps; ++failing) {
      const audited_write<ste_rules> w{from, to, failing};
      ASSERT_EQ(w.outcome.code(), errc::timed_out);
      ASSERT_EQ(w.syncs, failing + 1);  // and no further step
      const bool invalid = !ste{w.result}.valid();
      const bool is_old = meaning<ste_rules>(w.result) == meaning<ste_rules>(from);
      ASSERT_TRUE(invalid || is_old);
      old += is_old ? 1u : 0u;
      aborting += invalid ? 1u : 0u;
    }
  }
  EXPECT_GT(old, 50u);
  EXPECT_GT(aborting, 50u);
}

TEST(entry_writer, an_entry_that_a_failure_left_behind_can_be_written_again) {
  const entry_words from = stage1_entry(0x10000, 0).w;
  const entry_words to = stage1_entry(0x20000, 0, ats_mode::full).w;
  for (unsigned failing = 0; failing < 3; ++failing) {
    const audited_write<ste_rules> failed{from, to, failing};
    ASSERT_FALSE(failed.outcome.ok());
    const audited_write<ste_rules> again{failed.result, to};
    EXPECT_TRUE(again.outcome.ok());
    EXPECT_TRUE(again.clean);
    EXPECT_EQ(again.result, to);
  }
}

TEST(entry_writer, fences_before_the_first_word_changes_even_when_nothing_will) {
  const hooks cleanup;
  live_entry entry;
  entry.set(ste::abort().w);
  std::string events;
  watched_word::on_store = [&](std::memory_order) { events += 'w'; };
  table_test::env::on_fence = [&] { events += 'F'; };
  table_test::env::on_publish = [&](const void*, std::size_t) { events += 'p'; };
  const auto sync = [&]() -> status {
    events += 's';
    return {};
  };
  table::entry_writer<watching_env, ste_rules> writer{entry.words.data()};
  ASSERT_TRUE(writer.write(ste::bypass().w, sync).ok());
  EXPECT_EQ(events, "Fwpswps");  // one fence; each step stores, publishes, syncs
  events.clear();
  ASSERT_TRUE(writer.write(ste::bypass().w, sync).ok());
  EXPECT_EQ(events, "F");
}

TEST(entry_writer, publishes_every_changed_word_before_its_sync) {
  std::mt19937_64 random{14};
  for (int i = 0; i < 300; ++i) {
    const hooks cleanup;
    live_entry entry;
    const entry_words from = random_ste(random);
    const entry_words to = random_ste(random);
    entry.set(from);
    entry_words device = from;
    table_test::env::on_publish = [&](const void* p, std::size_t n) {
      const auto first = static_cast<std::size_t>(static_cast<const watched_word*>(p) - entry.words.data());
      for (std::size_t w = first; w < first + n / 8; ++w) device[w] = entry.get()[w];
    };
    table::entry_writer<watching_env, ste_rules> writer{entry.words.data()};
    ASSERT_TRUE(writer
                    .write(to,
                           [&]() -> status {
                             EXPECT_EQ(device, entry.get());
                             return {};
                           })
                    .ok());
    ASSERT_EQ(device, to);
  }
}

struct table_memory {
  explicit table_memory(std::size_t entries, std::uint64_t bus)
      : words{std::make_unique<watched_word[]>(entries * 8)}, span{words.get(), entries * 8, bus_addr{bus}} {
    for (std::size_t i = 0; i < entries * 8; ++i) words[i].store(~std::uint64_t{0}, std::memory_order_relaxed);  // S5 relaxed: one thread
  }
  std::unique_ptr<watched_word[]> words;
  dma_span<watching_env> span;
};
const auto succeed = []() noexcept -> status { return {}; };

TEST(stream_table, starts_with_every_stream_aborting_and_keeps_what_is_written) {
  table_memory memory{16, 0x4000};
  table::stream_table<watching_env> table;
  ASSERT_TRUE(table.configure(memory.span, 4).ok());
  for (std::uint32_t i = 0; i < 16; ++i) EXPECT_EQ(*table.read(stream_id{i}), ste::abort());
  unsigned syncs = 0;
  const ste e = stage1_entry(0x10000, 0);
  ASSERT_TRUE(table
                  .write(stream_id{15}, e,
                         [&]() -> status {
                           ++syncs;
                           return {};
                         })
                  .ok());
  EXPECT_EQ(syncs, 2u);
  EXPECT_EQ(*table.read(stream_id{15}), e);
  EXPECT_EQ(*table.read(stream_id{14}), ste::abort());
  for (std::size_t w = 0; w < 8; ++w) EXPECT_EQ(memory.words[15 * 8 + w].load(std::memory_order_relaxed), e.w[w]);  // S6 relaxed: one thread
  EXPECT_EQ(table.base(), bus_addr{0x4000});
  EXPECT_EQ(table.log2size(), 4u);
}

TEST(stream_table, refuses_streams_and_memory_it_does_not_have) {
  table_memory memory{16, 0x4000};
  table::stream_table<watching_env> table;
  EXPECT_EQ(table.write(stream_id{0}, ste::bypass(), succeed).code(), errc::out_of_range);  // not configured
  EXPECT_EQ(table.read(stream_id{0}).code(), errc::out_of_range);
  EXPECT_EQ(table.configure({}, 0).code(), errc::out_of_range);
  EXPECT_EQ(table.configure(memory.span, 5).code(), errc::out_of_range);
  EXPECT_EQ(table.configure(memory.span, 33).code(), errc::out_of_range);
  EXPECT_EQ(table.configure({memory.words.get(), 16 * 8, bus_addr{0x4200}}, 4).code(), errc::misaligned);
  EXPECT_FALSE(table.contains(stream_id{0}));
  ASSERT_TRUE(table.configure(memory.span, 3).ok());
  EXPECT_EQ(table.write(stream_id{8}, ste::bypass(), succeed).code(), errc::out_of_range);
  EXPECT_EQ(table.read(stream_id{8}).code(), errc::out_of_range);
  EXPECT_EQ(table.read(stream_id{0xffff'ffff}).code(), errc::out_of_range);
  EXPECT_EQ(memory.words[8 * 8].load(std::memory_order_relaxed), ~std::uint64_t{0});  // S7 relaxed: one thread. Beyond the table: untouched
}

TEST(stream_table, passes_on_what_sync_said) {
  table_memory memory{1, 0x4000};
  table::stream_table<watching_env> table;
  ASSERT_TRUE(table.configure(memory.span, 0).ok());
  const auto stuck = []() -> status { return errc::queue_failed; };
  EXPECT_EQ(table.write(stream_id{0}, ste::bypass(), stuck).code(), errc::queue_failed);
  EXPECT_TRUE(table.read(stream_id{0})->config() == ste_config::abort || !table.read(stream_id{0})->valid());
}

TEST(context_table, starts_invalid_writes_reads_and_clears) {
  table_memory memory{4, 0x8000};
  table::context_table<watching_env> table;
  ASSERT_TRUE(table.configure(memory.span, 2).ok());
  for (std::uint32_t i = 0; i < 4; ++i) EXPECT_EQ(*table.read(substream_id{i}), cd{});
  const cd c = context(0x5000, asid{9});
  ASSERT_TRUE(table.write(substream_id{3}, c, succeed).ok());
  EXPECT_EQ(*table.read(substream_id{3}), c);
  EXPECT_EQ(*table.read(substream_id{2}), cd{});
  ASSERT_TRUE(table.clear(substream_id{3}, succeed).ok());
  EXPECT_EQ(*table.read(substream_id{3}), cd{});
  EXPECT_EQ(table.base(), bus_addr{0x8000});
  EXPECT_EQ(table.log2size(), 2u);
}

TEST(context_table, refuses_substreams_and_memory_it_does_not_have) {
  table_memory memory{4, 0x8000};
  table::context_table<watching_env> table;
  EXPECT_EQ(table.write(substream_id{0}, cd{}, succeed).code(), errc::out_of_range);
  EXPECT_EQ(table.configure(memory.span, 3).code(), errc::out_of_range);
  EXPECT_EQ(table.configure(memory.span, 21).code(), errc::out_of_range);
  EXPECT_EQ(table.configure({memory.words.get(), 4 * 8, bus_addr{0x8040}}, 2).code(), errc::misaligned);
  ASSERT_TRUE(table.configure(memory.span, 1).ok());
  EXPECT_EQ(table.clear(substream_id{2}, succeed).code(), errc::out_of_range);
  EXPECT_EQ(table.read(substream_id{2}).code(), errc::out_of_range);
}

}  // namespace
