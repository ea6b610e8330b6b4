// SPDX-License-Identifier: MIT
#include <shootdown/model/smmu.hpp>

#include <cstdint>
#include <optional>

#include <gtest/gtest.h>

#include "register_rig.hpp"
#include "test_env.hpp"

// The faults that a test can order from the device, at register level. What the library makes of them: faults_library_test.cpp.
namespace {
using namespace shootdown;
using namespace shootdown::model;
using model_test::test_env;
using rig_type = model_test::register_rig<test_env>;

constexpr stream_id dev{8};
constexpr std::uint64_t x = 0x4000'5000;
command tlbi() { return cmd::tlbi_nsnh_all{}.encode(); }
command sync() { return cmd::sync::silent().encode(); }

struct model_faults : testing::Test {
  std::optional<rig_type> held;
  rig_type* r{};
  model_test::hand_tables<test_env>::space s;
  dma_span<test_env> page;

  model_faults() {
    test_env::failures.clear();
    test_env::clock = 0;
    build();
  }
  ~model_faults() override {
    EXPECT_TRUE(r->machine.check_invariants());
    EXPECT_TRUE(test_env::failures.empty());
  }
  void build(engine_options e = {}) {
    machine_options o{};
    o.memory_bytes = std::size_t{1} << 20;
    o.data_frames = 64;
    o.smmu.engine = e;
    r = &held.emplace(o, 6, 3);
    s = r->tables.new_space(1);
    r->tables.set_ste(raw(dev), r->tables.ste_of(s));
    page = r->regs.allocate_dma(4096, 4096);
    r->enable();
    r->tables.map(s, x, page.bus);
  }
  smmu<test_env>& device() { return r->machine.smmu(); }
  bool store(std::uint64_t at = x) { return device().dma(dev, iova{at}, request::store(), 1, instant{}).ok(); }
  std::uint32_t active() { return r->read32<reg::gerror>() ^ r->read32<reg::gerrorn>(); }
  std::uint64_t commands() { return device().counters().front.commands; }
};

TEST_F(model_faults, fetches_fail_as_often_as_ordered) {
  device().fail_fetch(fetch_fault::aborted, 1, 3);
  r->send({tlbi(), tlbi(), sync()});
  for (unsigned i = 0; i != 3; ++i) {
    EXPECT_EQ(r->error_code(), 2u);
    EXPECT_EQ(r->cons(), 1u);
    EXPECT_TRUE(r->command_error());
    r->acknowledge();
    r->regs.idle({});
  }
  EXPECT_TRUE(r->drained());
  device().fail_fetch(fetch_fault::garbled, 0, 0);
  EXPECT_TRUE(r->complete({tlbi()}));
}

TEST_F(model_faults, a_dropped_message_is_reported_and_the_word_stays) {
  const auto word = r->regs.allocate_dma(8, 8);
  word.cpu[0].store(~std::uint64_t{0}, std::memory_order_release);
  device().set_front_options({.drop_message = true});
  r->send({cmd::sync::message(word.bus, 7).encode()});
  EXPECT_TRUE(r->drained());
  EXPECT_EQ(word.cpu[0].load(std::memory_order_acquire), ~std::uint64_t{0});
  EXPECT_EQ(active(), reg::gerror::msi_cmdq_abt_err::mask);
}

TEST_F(model_faults, a_wide_message_clears_the_upper_half) {
  const auto word = r->regs.allocate_dma(8, 8);
  for (const bool wide : {false, true}) {
    word.cpu[0].store(~std::uint64_t{0}, std::memory_order_release);
    device().set_front_options({.wide_message = wide});
    r->send({cmd::sync::message(word.bus, 7).encode()});
    EXPECT_EQ(word.cpu[0].load(std::memory_order_acquire), wide ? 7u : 0xffff'ffff'0000'0007u);
  }
  EXPECT_EQ(active(), 0u);
}

TEST_F(model_faults, a_frozen_cons_hides_that_the_device_goes_on) {
  const auto word = r->regs.allocate_dma(8, 8);
  EXPECT_TRUE(r->complete({tlbi()}));
  device().freeze_cons(true);
  r->send({tlbi(), cmd::sync::message(word.bus, 9).encode()});
  EXPECT_EQ(r->cons(), 2u);
  EXPECT_EQ(commands(), 4u);
  EXPECT_EQ(word.cpu[0].load(std::memory_order_acquire), 9u);
  EXPECT_EQ(r->read32<reg::cmdq_prod>(), 4u) << "only CONS is frozen";
  device().freeze_cons(false);
  EXPECT_TRUE(r->drained());
}

TEST_F(model_faults, syncs_become_slow_and_quick_again) {
  EXPECT_FALSE(device().timed());
  device().slow_syncs(nanoseconds{1000});
  EXPECT_TRUE(device().timed());
  r->send({sync()});
  test_env::clock += 999;
  EXPECT_FALSE(r->drained());
  test_env::clock += 1;
  EXPECT_TRUE(r->drained());
  device().slow_syncs(nanoseconds{0});
  r->send({sync()});
  EXPECT_TRUE(r->drained());
}

TEST_F(model_faults, a_flood_of_events_overflows_the_queue) {
  device().flood_events(8);
  EXPECT_EQ(r->read32<reg::eventq_prod>(), 8u);
  device().flood_events(3);
  EXPECT_EQ(r->read32<reg::eventq_prod>(), 0x8000'0008u);
  EXPECT_EQ(device().counters().front.events_lost, 3u);
  for (unsigned i = 0; i != 8; ++i) EXPECT_EQ(r->next_event()->id, event_id::f_translation);
  EXPECT_TRUE(r->complete({tlbi()}));
}

TEST_F(model_faults, any_error_bit_can_be_raised_and_is_raised_once) {
  for (unsigned bit = 0; bit != 32; ++bit) {
    const std::uint32_t mask = std::uint32_t{1} << bit;
    const bool known = (reg::gerror_fields::mask & mask) != 0;
    device().raise_errors(mask);
    EXPECT_EQ(active(), known ? mask : 0u) << bit;
    device().raise_errors(mask);
    EXPECT_EQ(active(), known ? mask : 0u) << bit;
    r->acknowledge();
    EXPECT_EQ(active(), 0u);
    EXPECT_TRUE(r->complete({tlbi()})) << bit;
  }
  EXPECT_EQ(device().counters().front.software_errors, 0u);
}

TEST_F(model_faults, a_command_error_out_of_nothing_holds_the_queue_and_repeats_no_command) {
  build({.landing = landing_policy::held});
  const auto t = device().translate(dev, iova{x}, request::store(), instant{});
  ASSERT_TRUE(t.ok());
  r->send({tlbi(), sync(), tlbi(), sync()});
  EXPECT_EQ(r->cons(), 1u);  // the SYNC waits for the landing
  device().raise_errors(1);
  EXPECT_TRUE(r->machine.check_invariants());
  EXPECT_EQ(r->error_code(), 0u);
  EXPECT_TRUE(device().land(t->id, 0, instant{}).ok());
  EXPECT_EQ(r->cons(), 1u);
  r->acknowledge();
  EXPECT_TRUE(r->drained());
  EXPECT_EQ(commands(), 4u);
}

TEST_F(model_faults, a_storm_returns_after_every_acknowledgement) {
  constexpr std::uint32_t bits = 0x2f5;  // all but SFM_ERR: CMDQ_ERR too
  device().storm(bits, 3);
  unsigned seen = 0;
  r->put({tlbi(), sync()});
  r->doorbell();
  for (unsigned i = 0; i != 60; ++i) {
    if (active() != 0) {
      ++seen;
      EXPECT_EQ(active() & ~bits, 0u);
      r->acknowledge();
    }
  }
  EXPECT_GT(seen, 5u);
  EXPECT_TRUE(r->drained());
  EXPECT_EQ(commands(), 2u);
  device().storm(0, 0);
  r->acknowledge();
  for (unsigned i = 0; i != 10; ++i) EXPECT_EQ(active(), 0u);
}

TEST_F(model_faults, in_service_failure_nothing_moves_until_a_reset) {
  EXPECT_TRUE(store());
  device().fail_service();
  EXPECT_TRUE(reg::gerror::sfm_err::get(active()));
  EXPECT_FALSE(store());
  EXPECT_FALSE(r->complete({tlbi()}));
  r->acknowledge();
  EXPECT_FALSE(r->complete({}));
  r->write32<reg::cr0>(0);
  EXPECT_NE(r->read32<reg::cr0ack>(), 0u);
  device().reset({}, instant{});
  EXPECT_EQ(active(), 0u);
  EXPECT_EQ(r->read32<reg::cr0ack>(), 0u);
}

struct restart : model_faults {
  /// The same registers again, without any invalidation.
  void start_again() {
    r->write64<reg::strtab_base>(raw(r->tables.stream_table()));
    r->write32<reg::strtab_base_cfg>(r->tables.stream_log2);
    r->write64<reg::cmdq_base>(raw(r->commands.bus) | 6);
    r->write64<reg::eventq_base>(raw(r->records.bus) | 3);
    r->prod = r->event_cons = 0;
    r->enable();
  }
};

TEST_F(restart, a_reset_clears_every_register_but_the_identification) {
  EXPECT_TRUE(r->complete({tlbi()}));
  device().raise_errors(0x10);
  device().flood_events(2);
  device().reset({}, instant{});
  for (const reg::map_entry& e : reg::map) {
    const std::uint64_t v = e.bits == 64 ? r->regs.read64(e.offset) : r->regs.read32(e.offset);
    switch (e.offset) {
      case reg::idr0::offset: EXPECT_EQ(v, device().id().idr0); break;
      case reg::idr1::offset: EXPECT_EQ(v, device().id().idr1); break;
      case reg::idr3::offset: EXPECT_EQ(v, device().id().idr3); break;
      case reg::idr5::offset: EXPECT_EQ(v, device().id().idr5); break;
      case reg::gbpa::offset: EXPECT_EQ(v, reg::gbpa::abort::mask); break;
      default: EXPECT_EQ(v, 0u) << e.name;
    }
  }
  EXPECT_FALSE(store(raw(page.bus)));
  device().reset({.abort = false}, instant{});
  EXPECT_TRUE(store(raw(page.bus))) << "bypass";
  start_again();
  EXPECT_TRUE(r->complete({tlbi()}));
  EXPECT_TRUE(store());
}

TEST_F(restart, caches_are_dropped_or_survive) {
  for (const bool keep : {false, true}) {
    build();
    EXPECT_TRUE(store());
    r->tables.unmap(s, x);
    device().reset({.keep_caches = keep}, instant{});
    EXPECT_EQ(device().cached() != 0, keep);
    start_again();
    EXPECT_EQ(store(), keep);
  }
}

TEST_F(restart, what_was_executed_and_not_synchronised_is_lost) {
  EXPECT_TRUE(store());
  r->tables.unmap(s, x);
  r->send({tlbi()});
  EXPECT_TRUE(r->drained());
  device().reset({.keep_caches = true}, instant{});
  start_again();
  EXPECT_TRUE(r->complete({}));
  EXPECT_TRUE(store());
}

TEST_F(restart, a_reset_lands_what_was_under_way) {
  const auto t = device().translate(dev, iova{x}, request::store(), instant{});
  ASSERT_TRUE(t.ok());
  device().reset({}, instant{});
  EXPECT_EQ(device().outstanding(), 0u);
  EXPECT_EQ(device().land(t->id, 0, instant{}).code(), errc::not_present);
}

TEST_F(model_faults, off_the_bus_everything_reads_as_ones_and_nothing_arrives) {
  device().vanish(true);
  for (const bool frozen : {true, false}) {  // a knob of the CPU's view brings nothing back
    device().freeze_cons(frozen);
    EXPECT_EQ(r->read32<reg::cmdq_cons>(), ~std::uint32_t{0});
  }
  EXPECT_EQ(r->regs.read64(reg::cmdq_base::offset), ~std::uint64_t{0});
  EXPECT_FALSE(store());
  r->send({tlbi(), sync()});
  device().vanish(false);
  EXPECT_EQ(r->read32<reg::cmdq_prod>(), 0u);
  EXPECT_TRUE(store());
  r->doorbell();
  EXPECT_TRUE(r->drained());
}

}  // namespace
