// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include <shootdown/table/context_table.hpp>
#include <shootdown/table/entry_writer.hpp>
#include <shootdown/table/stage1_4k.hpp>
#include <shootdown/table/stream_table.hpp>
#include <shootdown/table/two_level_stream_table.hpp>
#include <support/table_env.hpp>

// Configuration tables under an SMMU that does not snoop: what it finds in memory is what was published last, and it must be
// enough at every moment when it may look.
namespace {

using namespace shootdown;
using table_test::env;

/// The memory that such an SMMU reads: each published word as it was then.
struct device_view {
  std::map<const void*, std::uint64_t> memory;
  device_view() {
    env::on_publish = [this](const void* p, std::size_t n) {
      const auto* const words = static_cast<const env::dma_word*>(p);
      for (std::size_t i = 0; i != n / 8; ++i) memory[words + i] = words[i].load(std::memory_order_relaxed);
    };
  }
  ~device_view() { env::on_publish = nullptr; }
  device_view(const device_view&) = delete;
  device_view& operator=(const device_view&) = delete;
  [[nodiscard]] std::optional<std::uint64_t> at(const env::dma_word* w) const {
    const auto it = memory.find(w);
    return it == memory.end() ? std::nullopt : std::optional{it->second};
  }
};

struct words {
  explicit words(std::size_t n) : cells{std::make_unique<env::dma_word[]>(n)}, count{n} {
    for (std::size_t i = 0; i != n; ++i) cells[i].store(~std::uint64_t{0}, std::memory_order_relaxed);
  }
  [[nodiscard]] dma_span<env> span(std::uint64_t bus) const { return {cells.get(), count, bus_addr{bus}}; }
  std::unique_ptr<env::dma_word[]> cells;
  std::size_t count;
};

TEST(non_coherent_tables, a_new_stream_table_aborts_every_stream) {
  const device_view device;
  const words memory{16 * 8};
  table::stream_table<env> t;
  ASSERT_TRUE(t.configure(memory.span(0x4000), 4).ok());
  for (std::size_t i = 0; i != memory.count; ++i) EXPECT_EQ(device.at(&memory.cells[i]), ste::abort().w[i % 8]) << i;
}

TEST(non_coherent_tables, a_new_context_table_has_no_valid_descriptor) {
  const device_view device;
  const words memory{4 * 8};
  table::context_table<env> t;
  ASSERT_TRUE(t.configure(memory.span(0x4000), 2).ok());
  for (std::size_t i = 0; i != memory.count; ++i) EXPECT_EQ(device.at(&memory.cells[i]), 0u) << i;
}

TEST(non_coherent_tables, both_levels_of_a_stream_table_are_there_when_the_smmu_is_told) {
  const device_view device;
  const words first{8}, second{64 * 8};
  std::vector<table::second_level<env>> below(8);
  table::two_level_stream_table<env> t;
  ASSERT_TRUE(t.configure(first.span(0x4000), below, 9, 6).ok());
  for (std::size_t i = 0; i != first.count; ++i) EXPECT_EQ(device.at(&first.cells[i]), 0u) << "no stream is reachable yet";
  unsigned told = 0;
  const auto source = [&](std::size_t, std::size_t) { return second.span(0x1'0000); };
  const auto sync = [&](table::config_scope scope) -> status {
    if (scope != table::config_scope::all_levels) return {};
    ++told;
    EXPECT_EQ(device.at(&first.cells[2]).value_or(0) & ~std::uint64_t{0x3f}, 0x1'0000u) << "the SMMU is told of a word that it cannot see";
    for (std::size_t i = 0; i != second.count; ++i) EXPECT_EQ(device.at(&second.cells[i]), ste::abort().w[i % 8]) << i;
    return {};
  };
  ASSERT_TRUE(t.write(stream_id{2 * 64 + 5}, ste::bypass(), source, sync).ok());
  EXPECT_EQ(told, 1u);
  EXPECT_EQ(device.at(&second.cells[5 * 8]), ste::bypass().w[0]);
}

TEST(non_coherent_tables, an_entry_that_was_given_up_aborts_in_memory_too) {
  const device_view device;
  const words memory{8};
  for (unsigned i = 0; i != 8; ++i) memory.cells[i].store(ste::bypass().w[i], std::memory_order_relaxed);
  table::entry_writer<env, table::ste_rules> writer{memory.cells.get()};
  unsigned syncs = 0;
  const ste target = ste::abort();
  const errc failed = writer.write(target.w, [&]() -> status { return ++syncs == 1 ? status{errc::timed_out} : status{}; }).code();
  ASSERT_EQ(failed, errc::timed_out);
  EXPECT_EQ(memory.cells[0].load(std::memory_order_relaxed) & 1u, 0u);
  ASSERT_TRUE(device.at(&memory.cells[0]).has_value());
  EXPECT_EQ(*device.at(&memory.cells[0]) & 1u, 0u) << "the valid bit went off in the cache only";
}

}  // namespace
