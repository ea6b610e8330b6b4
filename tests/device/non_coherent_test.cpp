// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <functional>
#include <vector>

#include <shootdown/arch/registers.hpp>
#include <shootdown/device/event_queue.hpp>
#include <shootdown/host/env.hpp>

// Event records of an SMMU that does not snoop: they are in memory, and a CPU that read the slot a lap ago still has the old line.
namespace {

using namespace shootdown;

struct env : host::basic_env<> {
  static inline std::function<void(const void*, std::size_t)> on_observe;
  static void dma_observe(const void* p, std::size_t n) noexcept {
    if (on_observe) on_observe(p, n);
  }
};

/// Registers by offset, one allocation, and memory apart from what the CPU sees of it.
struct backend_double {
  static constexpr std::size_t words = 4u << 3;
  std::array<env::dma_word, words> seen{};      // what the CPU's cache holds
  std::array<std::uint64_t, words> memory{};    // what the SMMU wrote
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

}  // namespace
