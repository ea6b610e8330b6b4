// SPDX-License-Identifier: MIT
#include "contract.hpp"

#include <functional>
#include <type_traits>
#include <utility>
#include <vector>

// What configure() refuses, and that a refusal changes nothing.
namespace shootdown::test {
namespace {

template <class V>
struct queue_configuration : queue_fixture<V> {
  using config_type = queue::queue_config<queue_env>;
  /// configure() of the present configuration with `change`; the running queue must not notice a refusal.
  errc tried(const std::function<void(config_type&)>& change) {
    config_type c = this->config;
    change(c);
    const std::uint32_t prod = this->device.prod(), generation = this->queue.generation();
    const errc e = this->queue.configure(c).code();
    if (e != errc::ok) {
      EXPECT_EQ(this->device.prod(), prod);
      EXPECT_EQ(this->queue.generation(), generation);
      EXPECT_EQ(this->queue.config().log2size, this->config.log2size);
      ticket t = this->must_submit(numbered_list{++id_, 1});
      EXPECT_EQ(this->finish(t), errc::ok);
    }
    return e;
  }
  std::uint32_t id_{};
};
TYPED_TEST_SUITE(queue_configuration, all_variants, variant_name);

TYPED_TEST(queue_configuration, refuses_each_defect_by_name_and_changes_nothing) {
  using conf = typename TestFixture::config_type;
  EXPECT_EQ(this->tried([](conf& c) { c.ring = {}; }), errc::no_memory);
  EXPECT_EQ(this->tried([](conf& c) { c.ring.words = 0; }), errc::not_power_of_two);
  EXPECT_EQ(this->tried([](conf& c) { c.ring.words -= 2; }), errc::not_power_of_two);
  EXPECT_EQ(this->tried([](conf& c) { c.ring.words = c.ring.words * 3 / 2; }), errc::not_power_of_two);
  EXPECT_EQ(this->tried([](conf& c) { c.ring.words *= 2; }), errc::invalid_argument);
  EXPECT_EQ(this->tried([](conf& c) { c.log2size += 1; }), errc::invalid_argument);
  EXPECT_EQ(this->tried([](conf& c) { c.hardware_log2size = c.log2size - 1; }), errc::out_of_range);
  EXPECT_EQ(this->tried([](conf& c) {
    c.log2size = 64;
    c.hardware_log2size = 64;
  }),
            errc::out_of_range);
  EXPECT_EQ(this->tried([](conf& c) { c.ring.bus = bus_addr{raw(c.ring.bus) + 16}; }), errc::misaligned);
  EXPECT_EQ(this->tried([](conf& c) { c.ring.bus = bus_addr{raw(c.ring.bus) + c.ring.words * 4}; }), errc::misaligned);
  EXPECT_EQ(this->tried([](conf& c) { c.ring.bus = bus_addr{std::uint64_t{1} << 52}; }), errc::out_of_range);
  EXPECT_EQ(this->tried([](conf& c) { c.cons_offset += 2; }), errc::misaligned);
  EXPECT_EQ(this->tried([](conf& c) { c.completion = static_cast<completion_mode>(3); }), errc::invalid_argument);
}

TYPED_TEST(queue_configuration, refuses_a_ring_below_the_strategys_minimum) {
  using conf = typename TestFixture::config_type;
  EXPECT_EQ(this->tried([](conf& c) {
    c.log2size -= 1;
    c.ring.words /= 2;
  }),
            errc::out_of_range);
}

TYPED_TEST(queue_configuration, message_mode_needs_an_address_that_a_message_can_be_sent_to) {
  using conf = typename TestFixture::config_type;
  if constexpr (std::is_same_v<typename TypeParam::strategy, queue::owner_cas>) {
    // Its messages go to the ring: slot 0 of a ring at bus address 0 would get none.
    EXPECT_EQ(this->tried([](conf& c) {
      c.completion = completion_mode::msi;
      c.ring.bus = bus_addr{0};
    }),
              errc::invalid_argument);
  } else {
    const std::vector<std::pair<std::function<void(conf&)>, errc>> defects{
        {[](conf& c) { c.msi_word = {}; }, errc::invalid_argument},
        {[](conf& c) { c.msi_word.words = 0; }, errc::invalid_argument},
        {[](conf& c) { c.msi_word.bus = bus_addr{0}; }, errc::invalid_argument},
        {[](conf& c) { c.msi_word.bus = bus_addr{raw(c.msi_word.bus) + 4}; }, errc::misaligned},
        {[](conf& c) { c.msi_word.bus = bus_addr{std::uint64_t{1} << 52}; }, errc::out_of_range}};
    for (const auto& [change, code] : defects)
      EXPECT_EQ(this->tried([&](conf& c) {
        c.completion = completion_mode::msi;
        change(c);
      }),
                code);
  }
}

TYPED_TEST(queue_configuration, a_second_configuration_starts_a_generation_on_the_new_ring) {
  ticket old = this->must_submit(numbered_list{1, 1});
  const std::uint32_t generation = this->queue.generation();
  ASSERT_TRUE(this->restart_with(TestFixture::smallest + 1).ok());
  EXPECT_EQ(this->queue.generation(), generation + 1);
  EXPECT_EQ(this->queue.max_list(), this->slots() / 2);
  EXPECT_EQ(this->finish(old), errc::queue_failed);
  ticket t = this->must_submit(numbered_list{2, this->slots() - 1});
  EXPECT_EQ(this->finish(t), errc::ok);
}

/// An environment whose allocations fail at will.
struct starved_env : queue_env {
  static inline bool starving = false;
  static void* allocate(std::size_t bytes, std::size_t align) noexcept { return starving ? nullptr : queue_env::allocate(bytes, align); }
};

TEST(queue_configuration_memory, owner_cas_without_memory_for_its_bits_keeps_what_it_had) {
  starved_env::starving = false;
  queue_device<starved_env> device;
  queue::command_queue<starved_env, queue_device<starved_env>, queue::owner_cas> q{device};
  queue::queue_config<starved_env> c;
  c.log2size = 6;
  c.ring = device.allocate_dma(1024, 1024);
  c.prod_offset = queue_device<starved_env>::prod_offset;
  c.cons_offset = queue_device<starved_env>::cons_offset;
  starved_env::starving = true;
  EXPECT_EQ(q.configure(c).code(), errc::no_memory);
  EXPECT_TRUE(q.failed());
  starved_env::starving = false;
  ASSERT_TRUE(q.configure(c).ok());
  device.attach(c.ring, 6);
  device.enable(true);
  starved_env::starving = true;
  EXPECT_EQ(q.configure(c).code(), errc::no_memory);
  result<ticket> t = q.submit(numbered_list{1, 2}, deadline::never());
  ASSERT_TRUE(t.ok());
  EXPECT_EQ(q.wait(*t, deadline::never()).code(), errc::ok);
  EXPECT_EQ(device.breaches(), "");
}

}  // namespace
}  // namespace shootdown::test
