// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <utility>
#include <vector>

#include <shootdown/arch/registers.hpp>
#include <shootdown/device/event_queue.hpp>
#include <shootdown/device/stage1_stream.hpp>
#include <shootdown/host/env.hpp>
#include <shootdown/invs/attachment.hpp>

// An SMMU that does not snoop. Event records are in memory while a CPU that read the slot a lap ago still has the old line;
// context descriptors are in the CPU's cache until they are published.
namespace {

using namespace shootdown;

struct env : host::basic_env<> {
  static inline std::function<void(const void*, std::size_t)> on_observe;
  static inline std::function<void(const void*, std::size_t)> on_publish;
  static void dma_observe(const void* p, std::size_t n) noexcept {
    if (on_observe) on_observe(p, n);
  }
  static void dma_publish(const void* p, std::size_t n) noexcept {
    if (on_publish) on_publish(p, n);
  }
};

/// Registers by offset, one allocation, and memory apart from what the CPU sees of it.
struct backend_double {
  static constexpr std::size_t words = 4u << 3;
  std::array<env::dma_word, words> seen{};    // what the CPU's cache holds
  std::array<std::uint64_t, words> memory{};  // what the SMMU wrote
  std::array<std::uint32_t, 0x20000 / 4> registers{};
  std::uint32_t read32(std::uint32_t o) noexcept { return registers[o / 4]; }
  std::uint64_t read64(std::uint32_t) noexcept { return 0; }
  void write32(std::uint32_t o, std::uint32_t v) noexcept { registers[o / 4] = v; }
  void write64(std::uint32_t, std::uint64_t) noexcept {}
  void idle(deadline) noexcept {}
  dma_span<env> allocate_dma(std::size_t, std::size_t) noexcept { return {seen.data(), words, bus_addr{0x10000}}; }
  void release_dma(dma_span<env>) noexcept {}
  void observe(const void* p, std::size_t n) {
    const auto first = static_cast<std::size_t>(static_cast<const env::dma_word*>(p) - seen.data());
    for (std::size_t i = first; i != first + n / 8; ++i) seen[i].store(memory[i], std::memory_order_relaxed);
  }
};

TEST(non_coherent_events, every_record_is_read_from_memory_in_each_lap) {
  backend_double b;
  env::on_observe = [&](const void* p, std::size_t n) { b.observe(p, n); };
  device::event_queue<env, backend_double> queue{b};
  ASSERT_TRUE(queue.open(3, 8).ok());
  std::vector<std::uint64_t> got, written;
  std::uint32_t prod = 0;
  for (std::uint64_t n = 1; n != 30; ++n) {
    for (std::uint64_t k = 0; k != 1 + n % 3; ++k, prod = (prod + 1) % 16) {
      for (unsigned w = 0; w != 4; ++w) written.push_back(b.memory[(prod % 8) * 4 + w] = n * 1000 + k * 10 + w);
    }
    b.registers[reg::eventq_prod::offset / 4] = prod;
    static_cast<void>(queue.service([&](const event_record& r) { got.insert(got.end(), r.w.begin(), r.w.end()); }));
  }
  env::on_observe = nullptr;
  EXPECT_EQ(got, written);
  queue.close();
}

/// What a stage1_stream asks of its SMMU, with a look at memory at the moment when an STE is switched.
struct smmu_double {
  using environment_type = env;
  struct double_backend {
    std::array<env::dma_word, 16> words{};
    dma_span<env> allocate_dma(std::size_t, std::size_t) noexcept { return {words.data(), 16, bus_addr{0x1000}}; }
    void release_dma(dma_span<env>) noexcept {}
  };
  struct double_identity {
    bool can_stall{};
  };
  struct double_streams {
    ste now = ste::abort();
    [[nodiscard]] result<ste> read(stream_id) const noexcept { return now; }
  };
  double_backend& device() noexcept { return backend; }
  double_identity id() const noexcept { return {}; }
  double_streams& streams() noexcept { return table; }
  bool started() const noexcept { return true; }
  bool has_stream(stream_id) const noexcept { return true; }
  status write_stream(stream_id, const ste& e) noexcept {
    table.now = e;
    if (on_switch) on_switch(e);
    return std::exchange(next, status{});
  }
  status invalidate_context(stream_id, substream_id) noexcept { return {}; }
  double_backend backend;
  double_streams table;
  std::function<void(const ste&)> on_switch;
  status next{};  // the answer of the next write_stream
};

TEST(non_coherent_contexts, a_descriptor_is_in_memory_before_the_stream_leads_to_it) {
  smmu_double smmu;
  std::map<const void*, std::uint64_t> memory;
  env::on_publish = [&](const void* p, std::size_t n) {
    const auto* const words = static_cast<const env::dma_word*>(p);
    for (std::size_t i = 0; i != n / 8; ++i) memory[words + i] = words[i].load(std::memory_order_relaxed);
  };
  device::stage1_stream<smmu_double> stream{smmu, stream_id{3}};
  ASSERT_TRUE(stream.open().ok());
  unsigned switches = 0;
  smmu.on_switch = [&](const ste& e) {
    ++switches;
    const std::size_t first = (raw(e.cd_table()) - 0x1000) / 8;
    ASSERT_LE(first, 8u);
    for (std::size_t i = first; i != first + 8; ++i) {
      const auto* const cell = &smmu.backend.words[i];
      ASSERT_EQ(memory.count(cell), 1u) << i;
      EXPECT_EQ(memory[cell], cell->load(std::memory_order_relaxed)) << i;
    }
  };
  for (std::uint16_t as = 1; as != 5; ++as) {
    const device::stage1_space space{.root = bus_addr{0x10'0000u * as}};
    const install wanted{.what = install::action::translate, .asid_tag = {tag_kind::asid, as}};
    EXPECT_TRUE(stream.writer(space).write_entry(wanted).ok());
  }
  EXPECT_EQ(switches, 4u);
  env::on_publish = nullptr;
  stream.close();
}

// Which of the two descriptors the SMMU uses after a change that failed, nobody knows: neither is written before the stream aborts.
TEST(stage1_stream_in_doubt, aborts_before_a_descriptor_is_written_again) {
  smmu_double smmu;
  device::stage1_stream<smmu_double> stream{smmu, stream_id{3}};
  ASSERT_TRUE(stream.open().ok());
  const auto translate = [&](std::uint16_t as) {
    const device::stage1_space space{.root = bus_addr{0x10'0000u * as}};
    return stream.writer(space).write_entry(install{.what = install::action::translate, .asid_tag = {tag_kind::asid, as}}).code();
  };
  const auto descriptors = [&] {
    std::array<std::uint64_t, 16> w{};
    for (std::size_t i = 0; i != 16; ++i) w[i] = smmu.backend.words[i].load(std::memory_order_relaxed);
    return w;
  };
  ASSERT_EQ(translate(1), errc::ok);
  smmu.next = errc::timed_out;
  ASSERT_EQ(translate(2), errc::timed_out);
  const auto before = descriptors();
  std::vector<ste> switched;
  smmu.on_switch = [&](const ste& e) {
    if (e == ste::abort()) {
      EXPECT_EQ(descriptors(), before);
    }
    switched.push_back(e);
  };
  EXPECT_EQ(translate(3), errc::ok);
  ASSERT_EQ(switched.size(), 2u);
  EXPECT_EQ(switched[0], ste::abort());
  EXPECT_TRUE(switched[1].has_stage1());
  switched.clear();
  EXPECT_EQ(translate(4), errc::ok);
  EXPECT_EQ(switched.size(), 1u) << "no doubt any more: one switch, nothing aborts in between";
  stream.close();
}

}  // namespace
