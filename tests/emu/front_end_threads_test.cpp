// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

#include <shootdown/arch/commands.hpp>
#include <shootdown/emu/front_end.hpp>
#include <shootdown/host/env.hpp>

// The promise of the register file under real threads, for ThreadSanitizer: what a CPU wrote before a doorbell is there when
// the device side fetches; what the device side did before CONS is there when a CPU reads CONS. `payloads` and `effects` are
// plain memory on purpose: only the orderings of the registers protect them.
namespace {
using namespace shootdown;

constexpr std::uint64_t ring_base = 0x1000;
constexpr unsigned log2size = 6;
constexpr std::uint32_t slots = 1u << log2size;
constexpr std::uint32_t total = 6'000;

struct shared_memory {
  std::array<host::env::dma_word, 2 * slots> ring{};
  result<std::uint64_t> load64(bus_addr a) noexcept {
    return ring[(raw(a) - ring_base) / 8].load(std::memory_order_relaxed);  // ordered by PROD alone
  }
  status store64(bus_addr, std::uint64_t) noexcept { return errc::fetch_aborted; }
  status store_low32(bus_addr, std::uint32_t) noexcept { return errc::fetch_aborted; }
};

struct counting_executor {
  std::vector<std::uint32_t> payloads = std::vector<std::uint32_t>(total, 0);  // written by the CPUs, as page tables are
  std::vector<std::uint32_t> effects = std::vector<std::uint32_t>(total, 0);   // written by the device side
  std::uint32_t next{};
  void execute(const command& c) noexcept {
    effects[next] = raw(cmd::tlbi_nh_asid::decode(c).as) + payloads[next];
    ++next;
  }
  emu::sync_verdict sync(instant) noexcept { return emu::sync_verdict::done; }
  void smmu_enabled(bool) noexcept {}
  void commands_rejected(const command&, errc) noexcept {}
};

TEST(front_end_threads, producers_and_the_device_side_need_no_ordering_of_their_own) {
  shared_memory memory;
  counting_executor executor;
  emu::front_end<host::env, shared_memory, counting_executor> smmu{memory, executor, emu::id_registers::model_default()};
  const queue_geometry ring{log2size};
  smmu.write64(reg::cmdq_base::offset, ring_base | log2size);
  smmu.write32(reg::cr0::offset, static_cast<std::uint32_t>(reg::cr0::cmdqen::mask));

  std::atomic<bool> finished{false};
  std::thread device{[&] {
    while (!finished.load(std::memory_order_acquire)) {
      if (smmu.run(instant{0}, 16) == 0) std::this_thread::yield();
    }
  }};
  while (smmu.read32(reg::cr0ack::offset) == 0) std::this_thread::yield();

  std::mutex producers;
  std::uint32_t produced = 0;
  const auto produce = [&] {
    for (;;) {
      const std::lock_guard lock{producers};
      if (produced == total) return;
      std::uint32_t cons = 0;
      while (ring.free(ring.word(produced), cons = smmu.read32(reg::cmdq_cons::offset)) == 0) std::this_thread::yield();
      const std::uint64_t done = produced - ring.used(ring.word(produced), cons);
      if (done != 0) {
        EXPECT_NE(executor.effects[done - 1], 0u) << "CONS passed a command whose effect is not visible";
      }
      const command c = cmd::tlbi_nh_asid{.as = asid{static_cast<std::uint16_t>(produced + 1)}}.encode();
      memory.ring[2 * ring.index(produced)].store(c.dw0, std::memory_order_relaxed);
      memory.ring[2 * ring.index(produced) + 1].store(c.dw1, std::memory_order_relaxed);
      executor.payloads[produced] = 100'000;
      ++produced;
      smmu.write32(reg::cmdq_prod::offset, ring.word(produced));
    }
  };
  std::thread other{produce};
  produce();
  other.join();
  while (smmu.read32(reg::cmdq_cons::offset) != ring.word(total)) std::this_thread::yield();
  for (std::uint32_t i = 0; i != total; ++i) ASSERT_EQ(executor.effects[i], 100'000 + i + 1);
  finished.store(true, std::memory_order_release);
  device.join();
  EXPECT_EQ(smmu.counters().doorbells, total);
  EXPECT_EQ(smmu.counters().software_errors + smmu.counters().prod_regressions, 0u);
  EXPECT_TRUE(smmu.check_invariants());
}

}  // namespace
