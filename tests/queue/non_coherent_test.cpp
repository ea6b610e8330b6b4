// SPDX-License-Identifier: MIT
#include "contract.hpp"

#include <functional>
#include <map>
#include <utility>
#include <vector>

// A device that does not snoop: it fetches what was published, not what the CPU last wrote. So every slot has to be published
// after its last write and before the doorbell, or the GERRORN write, that lets the device go there.
namespace shootdown::test {
namespace {

/// Remembers the words of each published range as they were at that moment: the memory that such a device sees.
struct non_coherent_env : queue_env {
  static inline std::map<const void*, std::uint64_t> memory;
  static void dma_publish(const void* p, std::size_t n) noexcept {
    const auto* const words = static_cast<const dma_word*>(p);
    for (std::size_t i = 0; i != n / sizeof(dma_word); ++i) memory[words + i] = words[i].load(std::memory_order_relaxed);
  }
};

template <class Strategy>
struct non_coherent_queue : testing::Test {
  using env = non_coherent_env;
  queue_device<env> device;
  queue::command_queue<env, queue_device<env>, Strategy> queue{device};
  queue::queue_config<env> config;
  std::vector<std::uint32_t> stale;  // slots whose newest contents had not been published when the device fetched them
  std::size_t fetched{};

  void SetUp() override {
    env::failures = 0;
    env::memory.clear();
    config.log2size = 6;
    config.ring = device.allocate_dma(16u << 6, 16u << 6);
    config.prod_offset = device.prod_offset;
    config.cons_offset = device.cons_offset;
    config.gerror_offset = device.gerror_offset;
    config.gerrorn_offset = device.gerrorn_offset;
    ASSERT_TRUE(queue.configure(config).ok());
    device.attach(config.ring, 6);
    device.enable(true);
    device.fault_of = [this](command c) {
      fetch(c);
      return fault(c);
    };
  }
  void TearDown() override { EXPECT_EQ(device.breaches(), ""); }

  /// What the device is about to execute against what it would have found in memory. A lap later the slot is unpublished again.
  void fetch(command c) {
    const std::uint32_t slot = device.cons() % 64;
    const auto* const words = config.ring.cpu + std::size_t{slot} * 2;
    ++fetched;
    for (unsigned i = 0; i != 2; ++i) {
      const auto it = env::memory.find(words + i);
      if (it == env::memory.end() || it->second != (i == 0 ? c.dw0 : c.dw1)) stale.push_back(slot);
      if (it != env::memory.end()) env::memory.erase(it);
    }
  }
  std::function<typename queue_device<env>::fault(command)> fault = [](command) { return queue_device<env>::fault::none; };
  errc send(numbered_list list) {
    result<ticket> t = queue.submit(list, deadline::in(env::now(), nanoseconds{100'000'000}));
    return t.ok() ? queue.wait(*t, deadline::in(env::now(), nanoseconds{100'000'000})).code() : t.code();
  }
};
using strategies = testing::Types<queue::locked, queue::owner_cas>;
struct strategy_name {
  template <class S>
  static std::string GetName(int) {
    return S::name;
  }
};
TYPED_TEST_SUITE(non_coherent_queue, strategies, strategy_name);

TYPED_TEST(non_coherent_queue, every_slot_is_published_before_its_doorbell_wherever_a_list_wraps) {
  std::uint32_t sent = 0;
  for (std::uint32_t id = 1; id != 60; ++id) {
    const std::uint32_t n = 1 + id * 7 % 29;
    ASSERT_EQ(this->send({id, n}), errc::ok) << id;
    sent += n + 1;
  }
  EXPECT_EQ(this->fetched, sent);
  EXPECT_GT(sent, 8 * 64u) << "several laps, so that lists wrap in every way";
  EXPECT_EQ(this->stale, std::vector<std::uint32_t>{});
}

TYPED_TEST(non_coherent_queue, a_replaced_command_is_published_before_the_device_goes_on) {
  using fault_kind = queue_device<non_coherent_env>::fault;
  this->fault = [](command c) { return !is_sync(c) && list_of(c) == 3 ? fault_kind::illegal : fault_kind::none; };
  for (std::uint32_t id = 1; id != 6; ++id) {
    EXPECT_EQ(this->send({id, 2}), id == 3 ? errc::illegal_command : errc::ok) << id;
  }
  EXPECT_EQ(this->stale, std::vector<std::uint32_t>{});
}

}  // namespace
}  // namespace shootdown::test
