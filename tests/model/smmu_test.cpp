// SPDX-License-Identifier: MIT
#include <shootdown/model/smmu.hpp>

#include <array>
#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "register_rig.hpp"
#include "test_env.hpp"

// The device at register level, driven without the library: what QEMU's SMMUv3 with a DMA device was measured to do
// (the numbered cases), and what this adversary does beyond it.
namespace {
using namespace shootdown;
using namespace shootdown::model;
using model_test::test_env;
using rig_type = model_test::register_rig<test_env>;

constexpr stream_id dev{8};
constexpr std::uint64_t x = 0x4000'5000;

struct model_smmu : testing::Test {
  std::optional<rig_type> held;
  rig_type* r{};
  model_test::hand_tables<test_env>::space s;
  dma_span<test_env> a;  // two pages of memory that DMA may reach
  dma_span<test_env> b;

  model_smmu() {
    test_env::failures.clear();
    test_env::clock = 0;
  }
  ~model_smmu() override {
    if (r != nullptr) {
      EXPECT_TRUE(r->machine.check_invariants());
    }
    EXPECT_TRUE(test_env::failures.empty());
  }
  void build(machine_options o = {}, unsigned event_log2 = 5) {
    o.memory_bytes = std::size_t{1} << 20;
    o.data_frames = 1024;
    r = &held.emplace(o, 6, event_log2);
    s = r->tables.new_space(1);
    r->tables.set_ste(raw(dev), r->tables.ste_of(s));
    a = r->regs.allocate_dma(4096, 4096);
    b = r->regs.allocate_dma(4096, 4096);
    r->enable();
  }
  static machine_options with(engine_options e) {
    machine_options o{};
    o.smmu.engine = e;
    return o;
  }
  smmu<test_env>& device() { return r->machine.smmu(); }
  bool store(std::uint64_t at, std::uint64_t value) { return device().dma(dev, iova{at}, request::store(), value, instant{}).ok(); }
  static std::uint64_t word(const dma_span<test_env>& page) { return page.cpu[0].load(std::memory_order_acquire); }
  void expect_event(event_id id, std::uint64_t address) {
    const auto e = r->next_event();
    ASSERT_TRUE(e.has_value());
    EXPECT_EQ(e->id, id) << name(e->id);
    EXPECT_EQ(e->sid, dev);
    EXPECT_EQ(e->address, address);
  }
  bus_addr frame(unsigned n) { return bus_addr{raw(r->machine.oracle().config().data_base) + n * 4096u}; }
};

TEST_F(model_smmu, case_1_a_mapped_write_lands_without_an_event) {
  build();
  r->tables.map(s, x, a.bus);
  EXPECT_TRUE(store(x, 11));
  EXPECT_EQ(word(a), 11u);
  EXPECT_FALSE(r->next_event());
}

TEST_F(model_smmu, case_2_after_the_pte_is_cleared_a_stale_write_still_lands) {
  build();
  r->tables.map(s, x, a.bus);
  EXPECT_TRUE(store(x, 1));
  r->tables.unmap(s, x);
  EXPECT_TRUE(store(x, 2));
  EXPECT_EQ(word(a), 2u);
  EXPECT_FALSE(r->next_event());
}

TEST_F(model_smmu, cases_3_and_4_after_tlbi_and_sync_it_faults_and_a_new_mapping_needs_no_tlbi) {
  build();
  r->tables.map(s, x, a.bus);
  EXPECT_TRUE(store(x, 1));
  r->tables.unmap(s, x);
  EXPECT_TRUE(r->complete({rig_type::va(1, x)}));
  EXPECT_FALSE(store(x, 2));
  EXPECT_EQ(word(a), 1u);
  expect_event(event_id::f_translation, x);
  EXPECT_FALSE(r->next_event());
  r->tables.map(s, x, a.bus);
  EXPECT_TRUE(store(x, 3));
  EXPECT_EQ(word(a), 3u);
}

TEST_F(model_smmu, cases_5_to_9_a_switched_pte_is_seen_only_after_the_right_command_was_published) {
  build();
  r->tables.map(s, x, a.bus);
  EXPECT_TRUE(store(x, 1));
  r->tables.map(s, x, b.bus);
  std::uint64_t value = 2;
  const auto still_a = [&](const char* why) {
    EXPECT_TRUE(store(x, value));
    EXPECT_EQ(word(a), value) << why;
    EXPECT_EQ(word(b), 0u) << why;
    ++value;
  };
  still_a("no TLBI");
  EXPECT_TRUE(r->complete({rig_type::va(2, x)}));
  still_a("wrong ASID");
  EXPECT_TRUE(r->complete({rig_type::va(1, x + 4096)}));
  still_a("wrong page");
  EXPECT_TRUE(r->complete({rig_type::range(1, granule::k4, 0x4000'0000, 0, 9, 2)}));
  still_a("wrong level hint");
  EXPECT_TRUE(r->complete({rig_type::range(1, granule::k64, 0x4000'0000, 31, 0, 3)}));
  still_a("wrong granule");
  EXPECT_TRUE(r->complete({cmd::tlbi_nh_va{asid{1}, vmid{7}, tlbi_operand::address(x, true)}.encode()}));
  still_a("a VMID on an SMMU without stage 2");
  r->put({rig_type::va(1, x), cmd::sync::silent().encode()});
  for (unsigned turn = 0; turn != 10; ++turn) r->regs.idle({});
  still_a("PROD was not advanced");
  r->doorbell();
  EXPECT_TRUE(r->drained());
  EXPECT_TRUE(store(x, 99));
  EXPECT_EQ(word(b), 99u);
}

TEST_F(model_smmu, cases_10_and_11_a_changed_ste_counts_only_after_cfgi) {
  build();
  r->tables.map(s, x, a.bus);
  EXPECT_TRUE(store(x, 1));
  r->tables.set_ste(raw(dev), ste::abort());
  EXPECT_TRUE(store(x, 2));
  EXPECT_EQ(word(a), 2u);
  EXPECT_TRUE(r->complete({cmd::cfgi_ste{dev, true}.encode()}));
  EXPECT_FALSE(store(x, 3));
  EXPECT_EQ(word(a), 2u);
  EXPECT_FALSE(r->next_event());
}

TEST_F(model_smmu, a_command_without_a_sync_has_no_effect_however_long_one_waits) {
  build();
  r->tables.map(s, x, a.bus);
  EXPECT_TRUE(store(x, 1));
  r->tables.unmap(s, x);
  r->send({rig_type::va(1, x)});
  EXPECT_TRUE(r->drained());  // consumed, which proves nothing
  for (unsigned turn = 0; turn != 100; ++turn) r->regs.idle({});
  EXPECT_TRUE(store(x, 2));
  EXPECT_EQ(word(a), 2u);
  EXPECT_TRUE(r->complete({}));
  EXPECT_FALSE(store(x, 3));
}

TEST_F(model_smmu, an_eager_device_acts_on_consumption) {
  build(with({.lazy = false}));
  r->tables.map(s, x, a.bus);
  EXPECT_TRUE(store(x, 1));
  r->tables.unmap(s, x);
  r->send({rig_type::va(1, x)});
  EXPECT_FALSE(store(x, 2));
}

TEST_F(model_smmu, cons_stays_at_the_sync_until_the_stale_transaction_has_landed) {
  build(with({.landing = landing_policy::held}));
  ASSERT_TRUE(r->machine.oracle().bind(dev, space_id{1}).ok());
  ASSERT_TRUE(r->machine.oracle().claim(frame(3), 1, space_id{1}, iova{x}).ok());
  r->tables.map(s, x, frame(3));
  const auto t = device().translate(dev, iova{x}, request::store(), instant{});
  ASSERT_TRUE(t.ok());
  r->tables.unmap(s, x);
  EXPECT_FALSE(r->complete({rig_type::va(1, x)}));
  EXPECT_EQ(r->cons(), 1u);
  EXPECT_TRUE(device().land(t->id, 0, instant{}).value().legal);
  EXPECT_TRUE(r->drained());
  EXPECT_EQ(r->machine.leaks(), 0u);
}

TEST_F(model_smmu, reusing_the_frame_before_the_sync_completed_is_a_leak) {
  build(with({.landing = landing_policy::held}));
  ASSERT_TRUE(r->machine.oracle().bind(dev, space_id{1}).ok());
  ASSERT_TRUE(r->machine.oracle().claim(frame(3), 1, space_id{1}, iova{x}).ok());
  r->tables.map(s, x, frame(3));
  const auto t = device().translate(dev, iova{x}, request::store(), instant{});
  ASSERT_TRUE(t.ok());
  r->tables.unmap(s, x);
  r->send({rig_type::va(1, x), cmd::sync::silent().encode()});
  ASSERT_TRUE(r->machine.oracle().release(frame(3), 1, space_id{1}, iova{x}).ok());  // does not wait
  ASSERT_TRUE(r->machine.oracle().claim(frame(3), 1, space_id{2}, iova{x}).ok());
  EXPECT_FALSE(device().land(t->id, 0, instant{}).value().legal);
  std::array<leak_record, 1> leak{};
  ASSERT_EQ(r->machine.oracle().records(leak), 1u);
  EXPECT_EQ(leak[0].kind, leak_kind::foreign_frame);
  EXPECT_EQ(owner_space(leak[0].found), space_id{2});
}

TEST_F(model_smmu, a_message_is_written_only_after_the_landing) {
  build(with({.landing = landing_policy::held}));
  const auto word_at = r->regs.allocate_dma(8, 8);
  r->tables.map(s, x, a.bus);
  const auto t = device().translate(dev, iova{x}, request::store(), instant{});
  r->tables.unmap(s, x);
  r->send({rig_type::va(1, x), cmd::sync::message(word_at.bus, 0x1234'5678).encode()});
  for (unsigned turn = 0; turn != 20; ++turn) r->regs.idle({});
  EXPECT_EQ(word(word_at), 0u);
  (void)device().land(t->id, 0, instant{});
  r->regs.idle({});
  EXPECT_EQ(word(word_at), 0x1234'5678u);
  EXPECT_TRUE(r->drained());
  EXPECT_EQ(device().counters().front.messages, 1u);
}

TEST_F(model_smmu, a_message_that_cannot_be_written_is_reported_and_the_sync_completes) {
  build();
  r->send({cmd::sync::message(bus_addr{0x1000}, 1).encode()});
  EXPECT_TRUE(r->drained());
  EXPECT_TRUE(reg::gerror::msi_cmdq_abt_err::get(r->read32<reg::gerror>() ^ r->read32<reg::gerrorn>()));
}

TEST_F(model_smmu, a_freed_table_is_read_when_the_invalidation_kept_the_walk_cache) {
  for (const bool leaf_only : {true, false}) {
    build();
    auto& oracle = r->machine.oracle();
    r->tables.map(s, x, a.bus);
    EXPECT_TRUE(store(x, 1));
    const bus_addr parent = r->tables.slot(s, x, 2);
    const bus_addr table = descriptor{r->tables.read(parent)}.next_table(granule::k4);
    r->tables.write(parent, 0);
    EXPECT_TRUE(r->complete({rig_type::va(1, x, leaf_only)}));
    r->tables.free_table(table);
    EXPECT_FALSE(store(x, 2));
    EXPECT_EQ(oracle.leaks(), leaf_only ? 1u : 0u);
    std::array<leak_record, 1> leak{};
    if (leaf_only) {
      ASSERT_EQ(oracle.records(leak), 1u);
      EXPECT_EQ(leak[0].kind, leak_kind::freed_table);
      EXPECT_EQ(leak[0].sid, dev);
    }
  }
}

TEST_F(model_smmu, a_level_hint_that_is_too_low_keeps_the_pointer_to_the_freed_table) {
  for (const unsigned ttl : {2u, 0u}) {
    build();
    r->tables.map(s, x, a.bus);
    EXPECT_TRUE(store(x, 1));
    const bus_addr parent = r->tables.slot(s, x, 2);
    const bus_addr table = descriptor{r->tables.read(parent)}.next_table(granule::k4);
    r->tables.write(parent, 0);
    EXPECT_TRUE(r->complete({rig_type::va(1, x), rig_type::range(1, granule::k4, 0x4000'0000, 0, 9, ttl, false)}));
    r->tables.free_table(table);
    EXPECT_FALSE(store(x, 2));
    EXPECT_EQ(r->machine.leaks(), ttl == 0 ? 0u : 1u);
  }
}

TEST_F(model_smmu, an_event_queue_overflows_once_until_it_is_acknowledged) {
  build({}, 2);
  for (unsigned i = 0; i != 10; ++i) EXPECT_FALSE(store(x + 8 * i, 0));
  EXPECT_EQ(r->read32<reg::eventq_prod>(), 0x8000'0004u);  // full, OVFLG toggled
  EXPECT_EQ(device().counters().front.events_lost, 6u);
  for (unsigned i = 0; i != 4; ++i) expect_event(event_id::f_translation, x + 8 * i);
  EXPECT_FALSE(r->next_event());
  EXPECT_FALSE(store(x, 0));
  expect_event(event_id::f_translation, x);
}

TEST_F(model_smmu, an_illegal_command_stops_the_queue_until_it_is_replaced_and_acknowledged) {
  build();
  r->tables.map(s, x, a.bus);
  EXPECT_TRUE(store(x, 1));
  r->tables.unmap(s, x);
  r->send({command{0xff, 0}, rig_type::va(1, x), cmd::sync::silent().encode()});
  EXPECT_TRUE(r->command_error());
  EXPECT_EQ(r->error_code(), 1u);
  EXPECT_EQ(r->cons(), 0u);
  EXPECT_TRUE(store(x, 2));
  r->commands.cpu[0].store(cmd::sync::silent().encode().dw0, std::memory_order_release);
  r->acknowledge();
  EXPECT_TRUE(r->drained());
  EXPECT_FALSE(store(x, 3));
}

TEST_F(model_smmu, ordered_faults_garble_or_abort_one_command_fetch) {
  for (const fetch_fault f : {fetch_fault::garbled, fetch_fault::aborted}) {
    build();
    device().fail_fetch(f, 1);
    r->send({cmd::tlbi_nsnh_all{}.encode(), cmd::tlbi_nsnh_all{}.encode(), cmd::sync::silent().encode()});
    EXPECT_TRUE(r->command_error());
    EXPECT_EQ(r->error_code(), f == fetch_fault::garbled ? 1u : 2u);
    EXPECT_EQ(r->cons(), 1u);
    r->acknowledge();
    EXPECT_TRUE(r->drained());
    EXPECT_FALSE(r->command_error());
  }
}

TEST_F(model_smmu, an_atc_timeout_stops_at_the_sync_and_loses_no_tlbi) {
  build();
  r->tables.map(s, x, a.bus);
  EXPECT_TRUE(store(x, 1));
  r->tables.unmap(s, x);
  device().fail_syncs(1);
  r->send({rig_type::va(1, x), cmd::sync::silent().encode()});
  EXPECT_TRUE(r->command_error());
  EXPECT_EQ(r->error_code(), 3u);
  EXPECT_EQ(r->cons(), 1u);
  EXPECT_TRUE(store(x, 2));
  r->acknowledge();
  EXPECT_TRUE(r->drained());
  EXPECT_FALSE(store(x, 3));
}

TEST_F(model_smmu, a_stuck_device_consumes_and_acknowledges_nothing_until_it_is_released) {
  build();
  device().stick(true);
  EXPECT_FALSE(r->complete({cmd::tlbi_nsnh_all{}.encode()}));
  EXPECT_EQ(r->cons(), 0u);
  r->write32<reg::cr0>(0);
  EXPECT_NE(r->read32<reg::cr0ack>(), 0u);
  r->write32<reg::cr0>(r->read32<reg::cr0ack>());
  device().stick(false);
  r->regs.idle({});
  EXPECT_TRUE(r->drained());
}

TEST_F(model_smmu, latencies_are_counted_in_the_environments_clock) {
  build(with({.sync_latency = nanoseconds{100'000}, .command_latency = nanoseconds{10'000}}));
  test_env::clock = 1'000'000;
  r->send({cmd::tlbi_nsnh_all{}.encode(), cmd::tlbi_nsnh_all{}.encode(), cmd::sync::silent().encode()});
  const auto at = [&](std::uint64_t t) {
    test_env::clock = t;
    return r->cons();
  };
  EXPECT_EQ(at(1'000'000), 1u);
  EXPECT_EQ(at(1'009'999), 1u);
  EXPECT_EQ(at(1'010'000), 2u);
  EXPECT_EQ(at(1'019'999), 2u);
  EXPECT_EQ(at(1'020'000), 2u);  // the SYNC starts
  EXPECT_EQ(at(1'119'999), 2u);
  EXPECT_EQ(at(1'120'000), 3u);
}

TEST_F(model_smmu, while_translation_is_off_gbpa_decides) {
  build();
  r->cr0(reg::cr0::cmdqen::mask);
  EXPECT_TRUE(store(raw(b.bus), 5));  // bypass
  EXPECT_EQ(word(b), 5u);
  r->write32<reg::gbpa>(static_cast<std::uint32_t>(reg::gbpa::update::mask | reg::gbpa::abort::mask));
  r->regs.idle({});
  EXPECT_FALSE(store(raw(b.bus), 6));
  EXPECT_EQ(word(b), 5u);
}

TEST_F(model_smmu, caches_survive_a_disabled_period_without_invalidation) {
  build();
  r->tables.map(s, x, a.bus);
  EXPECT_TRUE(store(x, 1));
  r->cr0(reg::cr0::cmdqen::mask | reg::cr0::eventqen::mask);
  r->tables.unmap(s, x);
  r->enable();
  EXPECT_TRUE(store(x, 2));
  EXPECT_EQ(word(a), 2u);
  EXPECT_TRUE(r->complete({cmd::cfgi_all().encode(), cmd::tlbi_nsnh_all{}.encode()}));
  EXPECT_EQ(device().cached(), 0u);
  EXPECT_FALSE(store(x, 3));
}

TEST_F(model_smmu, bad_configurations_are_reported_with_their_own_events) {
  build();
  EXPECT_FALSE(device().dma(stream_id{70}, iova{x}, request::load(), 0, instant{}).ok());
  auto e = r->next_event();
  ASSERT_TRUE(e);
  EXPECT_EQ(e->id, event_id::c_bad_streamid);
  EXPECT_EQ(e->sid, stream_id{70});
  EXPECT_FALSE(device().dma(stream_id{9}, iova{x}, request::load(), 0, instant{}).ok());
  e = r->next_event();
  ASSERT_TRUE(e);
  EXPECT_EQ(e->id, event_id::c_bad_ste);
}

TEST_F(model_smmu, counts_what_it_did) {
  build();
  r->tables.map(s, x, a.bus);
  EXPECT_TRUE(store(x, 1));
  EXPECT_TRUE(store(x, 2));
  EXPECT_TRUE(r->complete({rig_type::range(1, granule::k4, x, 4, 0, 3), cmd::cfgi_ste{dev, true}.encode()}));
  EXPECT_FALSE(store(0x9000, 2));
  const smmu_counters c = device().counters();
  EXPECT_EQ(c.engine.commands, 3u);
  EXPECT_EQ(c.engine.syncs, 1u);
  EXPECT_EQ(c.engine.tlbis, 1u);
  EXPECT_EQ(c.engine.cfgis, 1u);
  EXPECT_EQ(c.engine.covered_pages, 5u);
  EXPECT_EQ(c.engine.removed_entries, 3u);  // leaf, STE, CD
  EXPECT_EQ(c.engine.dmas, 3u);
  EXPECT_EQ(c.engine.landings, 2u);
  EXPECT_EQ(c.engine.faults, 1u);
  EXPECT_EQ(c.engine.walk.walks, 2u);
  EXPECT_EQ(c.engine.walk.tlb_hits, 1u);
  EXPECT_EQ(c.front.doorbells, 1u);
  EXPECT_EQ(c.front.events, 1u);
}

TEST_F(model_smmu, an_smmu_without_announced_features_refuses_what_needs_them) {
  machine_options o{};
  o.smmu.id = emu::id_registers::qemu_7_2();
  o.data_base = bus_addr{std::uint64_t{1} << 40};
  build(o);
  r->tables.map(s, x, a.bus);
  EXPECT_TRUE(store(x, 1));
  r->tables.unmap(s, x);
  EXPECT_TRUE(r->complete({rig_type::va(1, x)}));
  EXPECT_FALSE(store(x, 1));
  r->send({cmd::tlbi_s12_vmall{vmid{1}}.encode()});
  EXPECT_TRUE(r->command_error());
}

}  // namespace
