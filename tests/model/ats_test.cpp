// SPDX-License-Identifier: MIT
#include <shootdown/model/ats.hpp>

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "register_rig.hpp"
#include "test_env.hpp"

// Endpoints with a cache of their own, at register level: what a driver must do for them, and what is seen when it does not.
namespace {
using namespace shootdown;
using namespace shootdown::model;
using model_test::test_env;
using rig_type = model_test::register_rig<test_env>;

constexpr stream_id dev{8};
constexpr std::uint64_t x = 0x4020'5000;
constexpr space_id home{1};

command sync() { return cmd::sync::silent().encode(); }
command atc(std::uint64_t at, std::uint8_t size, stream_id sid = dev) {
  return cmd::atc_inv{.sid = sid, .size = size, .address = at}.encode();
}
command atc_pasid(std::uint32_t ssid, std::uint64_t at, std::uint8_t size, bool global = false) {
  return cmd::atc_inv{.sid = dev, .ssid = substream_id{ssid}, .ssv = true, .global = global, .size = size, .address = at}.encode();
}
command cfgi() { return cmd::cfgi_ste{dev, true}.encode(); }

machine_options with_ats(engine_options e = {}) {
  machine_options o{};
  o.memory_bytes = std::size_t{1} << 20;
  o.data_frames = 1024;
  o.smmu.engine = e;
  o.smmu.id.idr0 = static_cast<std::uint32_t>(reg::idr0::ats::set(o.smmu.id.idr0, true));
  o.smmu.id.idr1 = static_cast<std::uint32_t>(reg::idr1::ssidsize::set(o.smmu.id.idr1, 4));
  return o;
}

struct model_ats : testing::Test {
  std::optional<rig_type> held;
  rig_type* r{};
  model_test::hand_tables<test_env>::space s;
  dma_span<test_env> cds;

  model_ats() {
    test_env::failures.clear();
    test_env::clock = 0;
  }
  ~model_ats() override {
    if (r != nullptr) {
      EXPECT_TRUE(r->machine.check_invariants());
    }
    EXPECT_TRUE(test_env::failures.empty());
  }
  /// Two PASIDs (0 is the default context) over one table, EATS = 1, one endpoint.
  void build(machine_options o = with_ats(), endpoint_options e = {}, bool check = true) {
    r = &held.emplace(o, 6, 5);
    s = r->tables.new_space(1);
    cds = r->regs.allocate_dma(256, 256);
    for (unsigned i = 0; i != 4; ++i) {
      for (unsigned w = 0; w != 8; ++w) cds.cpu[8 * i + w].store(s.cd_memory.cpu[w].load(std::memory_order_acquire), std::memory_order_release);
    }
    set_ste(ats_mode::full);
    device().add_endpoint(dev, e);
    ASSERT_TRUE(r->machine.oracle().bind(dev, home).ok());
    r->enable(false);
    const std::uint64_t on = reg::cr0::cmdqen::mask | reg::cr0::eventqen::mask | (check ? reg::cr0::atschk::mask : 0);
    r->cr0(on);
    r->cr0(on | reg::cr0::smmuen::mask);
  }
  void set_ste(ats_mode ats) {
    ste_stage1 c{};
    c.cd_table = cds.bus;
    c.cd_log2 = 2;
    c.ats = ats;
    r->tables.set_ste(raw(dev), ste::stage1(c).value());
  }
  smmu<test_env>& device() { return r->machine.smmu(); }
  endpoint_counters endpoint_() { return device().counters_of(dev); }
  bus_addr frame(unsigned n) { return bus_addr{raw(r->machine.oracle().config().data_base) + n * 4096u}; }
  void map(std::uint64_t at, unsigned n, const leaf_attributes& a = {}) {
    ASSERT_TRUE(r->machine.oracle().claim(frame(n), 1, home, iova{at}).ok());
    r->tables.map(s, at, frame(n), 3, a);
  }
  void give_back(std::uint64_t at, unsigned n) { ASSERT_TRUE(r->machine.oracle().release(frame(n), 1, home, iova{at}).ok()); }
  static request tagged(std::uint32_t ssid) {
    request q = request::store();
    q.has_ssid = true;
    q.ssid = substream_id{ssid};
    return q;
  }
  /// A write by the endpoint's cache. True: it reached something.
  bool store(std::uint64_t at, const request& q = request::store()) { return device().ats_dma(dev, iova{at}, q, 0, instant{test_env::clock}).ok(); }
  std::uint64_t leaks() { return r->machine.leaks(); }
  /// An unmap whose commands the test chooses, after which the frame is given back; does the device get through?
  std::uint64_t leaks_of(std::initializer_list<command> list, bool refills = true, endpoint_options e = {}) {
    e.refills = refills;
    build(with_ats(), e);
    map(x, 3);
    EXPECT_TRUE(store(x));
    EXPECT_EQ(device().cached_by(dev), 1u);
    r->tables.unmap(s, x);
    r->send(list);
    EXPECT_TRUE(r->drained());
    give_back(x, 3);
    (void)store(x);
    return leaks();
  }
  void expect_event(event_id id) {
    const auto e = r->next_event();
    ASSERT_TRUE(e.has_value());
    EXPECT_EQ(name(e->id), std::string{name(id)});
    EXPECT_EQ(e->sid, dev);
  }
};

// What an unmap needs, and each part of it left out.

TEST_F(model_ats, the_full_sequence_does_not_leak) {
  EXPECT_EQ(leaks_of({rig_type::va(1, x), sync(), atc(x, 0), sync()}), 0u);
  EXPECT_EQ(device().cached_by(dev), 0u);
  EXPECT_EQ(endpoint_().dropped, 1u);
  EXPECT_EQ(endpoint_().refills, 0u) << "it asked again, and there was nothing";
  EXPECT_EQ(device().counters().engine.atc_invs, 1u);
}
TEST_F(model_ats, without_an_atc_invalidation_the_device_keeps_its_translation) {
  EXPECT_EQ(leaks_of({rig_type::va(1, x), sync()}), 1u);
}
TEST_F(model_ats, without_the_sync_between_the_device_refills_from_the_stale_tlb) {
  EXPECT_EQ(leaks_of({rig_type::va(1, x), atc(x, 0), sync()}), 1u);
  EXPECT_EQ(endpoint_().refills, 1u);
}
TEST_F(model_ats, without_the_sync_between_and_a_device_that_does_not_ask_again_nothing_is_seen) {
  EXPECT_EQ(leaks_of({rig_type::va(1, x), atc(x, 0), sync()}, false), 0u);
}
TEST_F(model_ats, an_invalidation_ahead_of_the_tlb_invalidation_leaks) {
  EXPECT_EQ(leaks_of({atc(x, 0), sync(), rig_type::va(1, x), sync()}), 1u);
}
TEST_F(model_ats, without_the_closing_sync_the_device_has_not_answered) {
  EXPECT_EQ(leaks_of({rig_type::va(1, x), sync(), atc(x, 0)}), 1u);
}
TEST_F(model_ats, an_invalidation_of_another_page_stream_or_pasid_leaks) {
  EXPECT_EQ(leaks_of({rig_type::va(1, x), sync(), atc(x + 4096, 0), sync()}), 1u);
  EXPECT_EQ(leaks_of({rig_type::va(1, x), sync(), atc(x, 0, stream_id{9}), sync()}), 1u) << "nobody there: complete";
  EXPECT_EQ(leaks_of({rig_type::va(1, x), sync(), atc_pasid(1, x, 0), sync()}), 1u) << "untagged entries stay";
  EXPECT_EQ(leaks_of({rig_type::va(1, x), sync(), atc_pasid(1, x, 0, true), sync()}), 1u) << "global: of every PASID only";
  EXPECT_EQ(leaks_of({rig_type::va(1, x), sync(), atc(0, 52), sync()}), 0u);
}
TEST_F(model_ats, below_the_smallest_unit_the_answer_is_unsupported_and_nothing_is_reported) {
  endpoint_options e{};
  e.stu = 2;
  EXPECT_EQ(leaks_of({rig_type::va(1, x), sync(), atc(x, 0), sync()}, true, e), 1u);
  EXPECT_EQ(endpoint_().unsupported, 1u);
  EXPECT_FALSE(r->command_error());
  EXPECT_EQ(leaks_of({rig_type::va(1, x), sync(), atc(x, 2), sync()}, true, e), 0u);
}

// PASIDs.

TEST_F(model_ats, an_invalidation_with_a_pasid_takes_that_pasid_and_one_without_takes_all) {
  build();
  map(x, 3);
  const auto fill = [&] {
    EXPECT_TRUE(store(x));
    EXPECT_TRUE(store(x, tagged(1)));
    EXPECT_TRUE(store(x, tagged(2)));
    EXPECT_EQ(device().cached_by(dev), 3u);
  };
  fill();
  r->tables.unmap(s, x);
  EXPECT_TRUE(r->complete({rig_type::va(1, x), sync(), atc_pasid(1, x, 0)}));
  EXPECT_FALSE(store(x, tagged(1)));
  EXPECT_TRUE(store(x, tagged(2)));
  EXPECT_TRUE(store(x));
  EXPECT_TRUE(r->complete({atc_pasid(3, x, 0, true)}));
  EXPECT_FALSE(store(x, tagged(2)));
  EXPECT_TRUE(store(x));
  EXPECT_TRUE(r->complete({atc(x, 0)}));
  EXPECT_FALSE(store(x));
  EXPECT_EQ(device().cached_by(dev), 0u);
}
TEST_F(model_ats, one_without_a_pasid_takes_tagged_entries_too) {
  build();
  map(x, 3);
  EXPECT_TRUE(store(x));
  EXPECT_TRUE(store(x, tagged(1)));
  r->tables.unmap(s, x);
  EXPECT_TRUE(r->complete({rig_type::va(1, x), sync(), atc(x, 0)}));
  EXPECT_EQ(device().cached_by(dev), 0u);
}

// What is requested, and what is answered.

TEST_F(model_ats, a_translation_fault_is_answered_without_an_entry_or_a_record) {
  build();
  EXPECT_FALSE(store(x));
  EXPECT_EQ(device().cached_by(dev), 0u);
  EXPECT_FALSE(r->next_event());
  EXPECT_EQ(endpoint_().requests, 1u);
  EXPECT_EQ(endpoint_().refused, 0u);
}
TEST_F(model_ats, a_read_only_page_is_cached_as_such) {
  build();
  leaf_attributes a{};
  a.read_only = true;
  map(x, 3, a);
  EXPECT_TRUE(store(x, request::load()));
  EXPECT_EQ(device().cached_by(dev), 1u);
  EXPECT_FALSE(store(x));
  EXPECT_FALSE(r->next_event());
  map(x, 4);  // writable now, elsewhere; nothing was invalidated
  EXPECT_TRUE(r->complete({rig_type::va(1, x)}));
  EXPECT_TRUE(store(x));
}
TEST_F(model_ats, a_block_is_one_entry_that_any_page_of_it_takes_away) {
  build();
  const std::uint64_t block = x & ~std::uint64_t{0x1f'ffff};
  const bus_addr target{raw(frame(512)) & ~std::uint64_t{0x1f'ffff}};
  ASSERT_TRUE(r->machine.oracle().claim(target, 512, home, iova{block}).ok());
  r->tables.map(s, block, target, 2);
  EXPECT_TRUE(store(x));
  EXPECT_TRUE(store(block + 0x1f'f000));
  EXPECT_EQ(device().cached_by(dev), 1u);
  EXPECT_EQ(endpoint_().requests, 1u);
  r->tables.unmap(s, block, 2);
  EXPECT_TRUE(r->complete({rig_type::va(1, x), sync(), atc(block + 0x7000, 0)}));
  EXPECT_EQ(device().cached_by(dev), 0u);
  EXPECT_EQ(leaks(), 0u);
}
TEST_F(model_ats, a_stream_without_ats_is_refused_with_a_record_and_an_aborting_one_without) {
  build();
  map(x, 3);
  set_ste(ats_mode::abort);
  EXPECT_FALSE(store(x));
  expect_event(event_id::f_bad_ats_treq);
  r->tables.set_ste(raw(dev), ste::abort());
  EXPECT_TRUE(r->complete({cfgi()}));
  EXPECT_FALSE(store(x));
  r->tables.set_ste(raw(dev), ste::bypass());
  EXPECT_TRUE(r->complete({cfgi()}));
  EXPECT_FALSE(r->next_event());
  EXPECT_FALSE(store(x));
  expect_event(event_id::f_bad_ats_treq);
  EXPECT_EQ(endpoint_().refused, 3u);
}
TEST_F(model_ats, with_atschk_a_translated_request_is_checked_against_the_cached_ste) {
  for (const bool abort : {false, true}) {
    build();
    map(x, 3);
    EXPECT_TRUE(store(x));
    abort ? r->tables.set_ste(raw(dev), ste::abort()) : set_ste(ats_mode::abort);
    EXPECT_TRUE(store(x)) << "the STE is cached";
    EXPECT_TRUE(r->complete({cfgi()}));
    EXPECT_FALSE(store(x));
    expect_event(event_id::f_transl_forbidden);
    EXPECT_EQ(endpoint_().forbidden, 1u);
    EXPECT_EQ(device().cached_by(dev), 1u) << "an entry goes when it is invalidated";
  }
}
TEST_F(model_ats, without_atschk_nobody_looks_and_a_cleared_eats_does_not_stop_the_device) {
  for (const bool check : {true, false}) {
    build(with_ats(), {}, check);
    map(x, 3);
    EXPECT_TRUE(store(x));
    set_ste(ats_mode::abort);
    EXPECT_TRUE(r->complete({cfgi(), rig_type::va(1, x)}));
    give_back(x, 3);
    EXPECT_EQ(store(x), !check);
    EXPECT_EQ(leaks(), check ? 0u : 1u);
  }
}
TEST_F(model_ats, while_translation_is_off_nothing_is_translated_and_an_invalidation_is_ignored) {
  build();
  map(x, 3);
  EXPECT_TRUE(store(x));
  r->cr0(reg::cr0::cmdqen::mask | reg::cr0::eventqen::mask);
  EXPECT_FALSE(store(x));
  EXPECT_TRUE(r->complete({atc(0, 52)}));
  EXPECT_EQ(endpoint_().invalidations, 0u);
  EXPECT_EQ(device().cached_by(dev), 1u);
  EXPECT_EQ(device().counters().front.ignored, 1u);
}
TEST_F(model_ats, an_smmu_without_ats_calls_the_invalidation_illegal) {
  machine_options o = with_ats();
  o.smmu.id.idr0 = static_cast<std::uint32_t>(reg::idr0::ats::set(o.smmu.id.idr0, false));
  build(o, {}, false);
  r->send({atc(x, 0), sync()});
  EXPECT_EQ(r->error_code(), 1u);
}

// In flight.

TEST_F(model_ats, a_sync_waits_for_translated_transactions_that_rest_on_what_was_dropped) {
  build(with_ats({.landing = landing_policy::held}));
  map(x, 3);
  const auto t = device().ats_translate(dev, iova{x}, request::store(), instant{});
  ASSERT_TRUE(t.ok());
  r->tables.unmap(s, x);
  EXPECT_TRUE(r->complete({rig_type::va(1, x)})) << "it does not rest on the TLB";
  EXPECT_FALSE(r->complete({atc(x, 0)}));
  EXPECT_TRUE(device().land(t->id, 0, instant{}).value().legal);
  r->regs.idle({});
  EXPECT_TRUE(r->drained());
  EXPECT_EQ(leaks(), 0u);
}
TEST_F(model_ats, whoever_does_not_wait_for_it_meets_a_late_landing) {
  build(with_ats({.landing = landing_policy::held}));
  map(x, 3);
  const auto t = device().ats_translate(dev, iova{x}, request::store(), instant{});
  ASSERT_TRUE(t.ok());
  r->tables.unmap(s, x);
  r->send({rig_type::va(1, x), sync(), atc(x, 0), sync()});
  EXPECT_FALSE(r->drained());
  give_back(x, 3);  // too early
  EXPECT_FALSE(device().land(t->id, 0, instant{}).value().legal);
  EXPECT_EQ(leaks(), 1u);
}
TEST_F(model_ats, a_configuration_change_waits_for_translated_transactions_that_were_checked_against_it) {
  build(with_ats({.landing = landing_policy::held}));
  map(x, 3);
  const auto t = device().ats_translate(dev, iova{x}, request::store(), instant{});
  ASSERT_TRUE(t.ok());
  set_ste(ats_mode::abort);
  EXPECT_FALSE(r->complete({cfgi()}));
  EXPECT_TRUE(device().land(t->id, 0, instant{}).value().legal);
  r->regs.idle({});
  EXPECT_TRUE(r->drained());
}
TEST_F(model_ats, the_answer_takes_a_round_trip_in_which_the_device_goes_on) {
  build(with_ats({.atc_round_trip = nanoseconds{500}}));
  map(x, 3);
  EXPECT_TRUE(store(x));
  r->tables.unmap(s, x);
  r->send({rig_type::va(1, x), sync(), atc(x, 0), sync()});
  test_env::clock = 499;
  EXPECT_FALSE(r->drained());
  EXPECT_TRUE(store(x));
  test_env::clock = 500;
  EXPECT_TRUE(r->drained());
  EXPECT_FALSE(store(x));
  EXPECT_EQ(leaks(), 0u);
}

// Endpoints that do not answer.

TEST_F(model_ats, a_device_that_hangs_stops_the_queue_at_the_sync_and_keeps_its_translations) {
  build();
  map(x, 3);
  map(x + 4096, 4);
  EXPECT_TRUE(store(x));
  EXPECT_TRUE(r->machine.smmu().dma(dev, iova{x + 4096}, request::store(), 0, instant{}).ok());
  EXPECT_TRUE(device().set_endpoint_state(dev, endpoint_state::hung).ok());
  r->tables.unmap(s, x);
  r->tables.unmap(s, x + 4096);
  r->send({rig_type::va(1, x), rig_type::va(1, x + 4096), sync(), atc(x, 1), rig_type::va(1, 0x7000), sync(), sync()});
  EXPECT_TRUE(r->command_error());
  EXPECT_EQ(r->error_code(), 3u);
  EXPECT_EQ(r->cons(), 5u);
  EXPECT_EQ(device().counters().engine.atc_timeouts, 1u);
  r->acknowledge();
  EXPECT_TRUE(r->drained()) << "what timed out is over";
  give_back(x + 4096, 4);
  EXPECT_FALSE(device().dma(dev, iova{x + 4096}, request::store(), 0, instant{}).ok()) << "no TLBI was lost";
  EXPECT_EQ(leaks(), 0u);
  give_back(x, 3);  // although it was told
  EXPECT_TRUE(store(x));
  EXPECT_EQ(leaks(), 1u);
}
TEST_F(model_ats, the_timeout_comes_after_the_patience_of_the_smmu) {
  build(with_ats({.atc_round_trip = nanoseconds{100}, .atc_timeout = nanoseconds{1000}}));
  EXPECT_TRUE(device().set_endpoint_state(dev, endpoint_state::hung).ok());
  r->send({atc(x, 0), sync()});
  test_env::clock = 1099;
  EXPECT_FALSE(r->command_error());
  EXPECT_FALSE(r->drained());
  test_env::clock = 1100;
  EXPECT_EQ(r->cons(), 1u);
  EXPECT_TRUE(r->command_error());
}
TEST_F(model_ats, a_device_without_power_has_forgotten_everything_and_does_not_answer) {
  build();
  map(x, 3);
  EXPECT_TRUE(store(x));
  EXPECT_TRUE(device().set_endpoint_state(dev, endpoint_state::off).ok());
  EXPECT_EQ(device().cached_by(dev), 0u);
  EXPECT_FALSE(store(x));
  r->send({atc(x, 0), sync()});
  EXPECT_EQ(r->error_code(), 3u);
  EXPECT_TRUE(device().set_endpoint_state(dev, endpoint_state::alive).ok());
  EXPECT_FALSE(store(x)) << "its ATS is off";
  EXPECT_TRUE(device().enable_ats(dev, true).ok());
  EXPECT_TRUE(store(x));
}
TEST_F(model_ats, with_its_ats_off_a_device_answers_unsupported_or_not_at_all) {
  for (const disabled_answer a : {disabled_answer::unsupported_request, disabled_answer::none}) {
    endpoint_options e{};
    e.enabled = false;
    e.while_disabled = a;
    build(with_ats(), e);
    map(x, 3);
    EXPECT_FALSE(store(x));
    r->send({atc(x, 0), sync()});
    EXPECT_EQ(r->command_error(), a == disabled_answer::none);
    EXPECT_EQ(endpoint_().late_atc_invs, 0u) << "not yet on";
  }
}
TEST_F(model_ats, an_invalidation_after_ats_was_switched_off_is_late_until_the_next_attach_begins) {
  build();
  const auto send = [&] { EXPECT_TRUE(r->complete({atc(x, 0)})); };
  send();
  EXPECT_TRUE(device().enable_ats(dev, false).ok());
  EXPECT_EQ(endpoint_().late_atc_invs, 0u);
  send();
  EXPECT_EQ(endpoint_().late_atc_invs, 1u);
  EXPECT_TRUE(device().admit(dev).ok());
  send();
  EXPECT_TRUE(device().enable_ats(dev, true).ok());
  send();
  EXPECT_EQ(endpoint_().late_atc_invs, 1u);
  EXPECT_EQ(device().counters().engine.ats.late_atc_invs, 1u);
}
TEST_F(model_ats, a_timeout_may_take_requests_to_live_devices_along) {
  for (const bool all : {false, true}) {
    engine_options e{.atc_timeout_takes_all = all};
    e.atc_round_trip = nanoseconds{10};
    build(with_ats(e));
    device().add_endpoint(stream_id{9});
    EXPECT_TRUE(device().set_endpoint_state(stream_id{9}, endpoint_state::hung).ok());
    map(x, 3);
    EXPECT_TRUE(store(x));
    r->tables.unmap(s, x);
    EXPECT_TRUE(r->complete({rig_type::va(1, x)}));
    r->send({atc(x, 0, stream_id{9})});
    test_env::clock += 5;
    r->send({atc(x, 0), sync()});
    test_env::clock += 5;
    EXPECT_TRUE(r->command_error());
    r->acknowledge();
    test_env::clock += 10;
    EXPECT_TRUE(r->drained());
    EXPECT_EQ(device().cached_by(dev), all ? 1u : 0u) << "which of them failed is unknown to the driver";
  }
}
TEST_F(model_ats, switching_ats_on_empties_the_cache) {
  build();
  map(x, 3);
  EXPECT_TRUE(store(x));
  EXPECT_TRUE(device().enable_ats(dev, false).ok());
  EXPECT_EQ(device().cached_by(dev), 1u);
  EXPECT_FALSE(store(x));
  EXPECT_TRUE(device().enable_ats(dev, true).ok());
  EXPECT_EQ(device().cached_by(dev), 0u);
}
TEST_F(model_ats, without_an_endpoint_calls_answer_so) {
  build();
  EXPECT_EQ(device().enable_ats(stream_id{9}, true), status{errc::not_present});
  EXPECT_EQ(device().ats_dma(stream_id{9}, iova{x}, request::store(), 0, instant{}).code(), errc::not_present);
  EXPECT_EQ(device().counters_of(stream_id{9}).requests, 0u);
  device().add_endpoint(dev, {.stu = 7});
  EXPECT_TRUE(r->complete({atc(x, 0)}));
  EXPECT_EQ(endpoint_().unsupported, 0u) << "the first endpoint of a stream stays";
}

// Agents with ATS, many rounds.

std::uint64_t agent_leaks(std::initializer_list<unsigned> order, machine_options o = with_ats()) {
  o.backend.posted_writes = true;
  model_test::register_rig<test_env> rig{o};
  auto& oracle = rig.machine.oracle();
  const auto s = rig.tables.new_space(1);
  ste_stage1 c{};
  c.cd_table = s.cd_memory.bus;
  c.ats = ats_mode::full;
  rig.tables.set_ste(raw(dev), ste::stage1(c).value());
  EXPECT_TRUE(oracle.bind(dev, home).ok());
  rig.enable();
  rig.cr0(reg::cr0::cmdqen::mask | reg::cr0::eventqen::mask | reg::cr0::smmuen::mask | reg::cr0::atschk::mask);
  agent_options a{};
  a.ats_percent = 80;
  auto& user = rig.machine.smmu().add_agent(dev, a);
  prng chance{7};
  for (unsigned round = 0; round != 150; ++round) {
    const std::uint64_t at = 0x1000'0000 + chance.below(12) * 4096;
    const bus_addr to{raw(oracle.config().data_base) + chance.below(16) * 4096};
    EXPECT_TRUE(oracle.claim(to, 1, home, iova{at}).ok());
    rig.tables.map(s, at, to);
    user.tell(iova{at}, 4096);
    for (unsigned i = 0; i != 4; ++i) rig.regs.idle({});
    rig.tables.unmap(s, at);
    const command choice[3] = {rig_type::va(1, at), sync(), atc(at, 0)};
    for (const unsigned n : order) rig.put({choice[n]});
    EXPECT_TRUE(rig.complete({}));
    EXPECT_TRUE(oracle.release(to, 1, home, iova{at}).ok());
    for (unsigned i = 0; i != 2; ++i) rig.regs.idle({});
  }
  EXPECT_TRUE(rig.machine.check_invariants());
  EXPECT_GT(rig.machine.smmu().counters_of(dev).translated, 100u);
  return rig.machine.leaks();
}
TEST(model_ats_agents, a_correct_driver_never_leaks) {
  EXPECT_EQ(agent_leaks({0, 1, 2}), 0u);
  EXPECT_EQ(agent_leaks({0, 1, 2}, with_ats({.lazy = false})), 0u);
  EXPECT_EQ(agent_leaks({0, 1, 2}, with_ats({.early_percent = 50, .atc_round_trip = nanoseconds{20}})), 0u);
  EXPECT_EQ(agent_leaks({0, 1, 2}, with_ats({.sync_latency = nanoseconds{5}, .command_latency = nanoseconds{2}})), 0u);
}
TEST(model_ats_agents, each_part_left_out_leaks) {
  EXPECT_GT(agent_leaks({0, 1}), 0u) << "no ATC_INV";
  EXPECT_GT(agent_leaks({0, 2}), 0u) << "no SYNC between";
  EXPECT_GT(agent_leaks({2, 1, 0}), 0u) << "the wrong order";
  EXPECT_GT(agent_leaks({1, 2}), 0u) << "no TLBI";
}

// The cache alone, against a list.

TEST(model_atc, random_use_agrees_with_a_list) {
  node_pool pool;
  model::atc cache{pool};
  std::vector<atc_entry> list;
  prng chance{11};
  std::uint64_t next = 1;
  for (unsigned turn = 0; turn != 4000; ++turn) {
    request q{};
    q.has_ssid = chance.below(3) != 0;
    q.ssid = substream_id{static_cast<std::uint32_t>(chance.below(3))};
    q.privileged = chance.below(2) == 0;
    const auto same_tag = [&](const atc_entry& e) {
      return e.asked.has_ssid == q.has_ssid && (!q.has_ssid || e.asked.ssid == q.ssid) && e.asked.privileged == q.privileged;
    };
    const std::uint64_t at = chance.below(64) << 12 | (chance.below(4) << 21);
    if (chance.below(4) != 0) {
      atc_entry e{};
      e.id = entry_id{next++};
      e.extent = chance.below(4) == 0 ? 16 : chance.below(6) == 0 ? 21 : 12;
      e.first = at >> e.extent << e.extent;
      e.output = (next << 32) >> e.extent << e.extent;
      e.asked = q;
      const bool known = std::any_of(list.begin(), list.end(),
                                     [&](const atc_entry& o) { return same_tag(o) && o.extent == e.extent && o.first == e.first; });
      EXPECT_EQ(cache.insert(e), !known);
      if (!known) list.push_back(e);
    } else {
      atc_scope s{};
      s.ssv = chance.below(2) == 0;
      s.global = chance.below(4) == 0;
      s.ssid = raw(q.ssid);
      s.size = static_cast<std::uint8_t>(chance.below(20) == 0 ? 52 : chance.below(5));
      const command c = cmd::atc_inv{.sid = dev, .ssid = q.ssid, .ssv = s.ssv, .global = s.global, .size = s.size, .address = at}.encode();
      const atc_scope got = decode_atc_scope(c);
      const std::uint64_t bytes = std::uint64_t{4096} << (s.size < 52 ? s.size : 0);
      const std::uint64_t first = s.size == 52 ? 0 : at / bytes * bytes;
      const std::uint64_t last = s.size == 52 ? ~std::uint64_t{0} : first + bytes - 1;
      EXPECT_EQ(got.first, first);
      EXPECT_EQ(got.last, last);
      const std::size_t before = list.size();
      std::erase_if(list, [&](const atc_entry& e) {
        const bool tag = !s.ssv || (e.asked.has_ssid && (s.global || e.asked.ssid == q.ssid));
        return tag && e.first <= last && e.first + (std::uint64_t{1} << e.extent) - 1 >= first;
      });
      EXPECT_EQ(cache.remove(got, [](const atc_entry&) {}), before - list.size());
    }
    ASSERT_EQ(cache.size(), list.size());
    ASSERT_TRUE(cache.check_invariants());
    const atc_entry* best = nullptr;
    for (const atc_entry& e : list)
      if (same_tag(e) && e.first <= at && at < e.first + (std::uint64_t{1} << e.extent) && (best == nullptr || raw(e.id) < raw(best->id)))
        best = &e;
    const atc_entry* const found = cache.find(at, q);
    ASSERT_EQ(found == nullptr, best == nullptr);
    if (best != nullptr) {
      ASSERT_EQ(found->id, best->id);
    }
  }
}
TEST(model_atc, a_translation_that_grants_more_takes_the_place_of_one_that_grants_less) {
  node_pool pool;
  model::atc cache{pool};
  atc_entry e{entry_id{1}, 0x1000, 0x5000, 12, false, {}};
  EXPECT_TRUE(cache.insert(e));
  e = {entry_id{2}, 0x1000, 0x6000, 12, true, {}};
  EXPECT_FALSE(cache.insert(e));
  EXPECT_EQ(cache.find(0x1008, {})->output, 0x6000u);
  e = {entry_id{3}, 0x1000, 0x7000, 12, true, {}};
  EXPECT_FALSE(cache.insert(e));
  EXPECT_EQ(cache.find(0x1008, {})->output, 0x6000u);
}

}  // namespace
