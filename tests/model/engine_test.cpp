// SPDX-License-Identifier: MIT
#include <shootdown/model/engine.hpp>

#include <cstdint>
#include <memory>
#include <set>
#include <vector>

#include <gtest/gtest.h>

#include <shootdown/arch/commands.hpp>

#include "hand_tables.hpp"
#include "test_env.hpp"

namespace {
using namespace shootdown;
using namespace shootdown::model;
using model_test::test_env;

constexpr bus_addr arena{0x8000'0000};
constexpr bus_addr data{0x1'0000'0000};
constexpr space_id space{1};

struct model_engine : testing::Test {
  memory<test_env> m{arena, 1 << 20};
  oracle<test_env> o{oracle_config{data, 4096, arena, 256, 8}};
  model_test::hand_tables<test_env> h{m, o};
  model_test::hand_tables<test_env>::space s = h.new_space(1);
  std::unique_ptr<engine<test_env>> e;
  std::vector<event> events;

  model_engine() {
    test_env::failures.clear();
    h.set_ste(8, h.ste_of(s));
    EXPECT_TRUE(o.bind(stream_id{8}, space).ok());
    build({});
  }
  ~model_engine() override {
    EXPECT_TRUE(e->check_invariants());
    EXPECT_TRUE(test_env::failures.empty());
  }
  void build(engine_options options) {
    e = std::make_unique<engine<test_env>>(m, o, options);
    walk_setup setup{};
    setup.strtab_base = raw(h.stream_table());
    setup.strtab_cfg = h.stream_log2;
    e->enable(setup);
  }
  auto raise() {
    return [this](const event_record& r) { events.push_back(r.decode()); };
  }
  engine<test_env>::grant go(std::uint64_t x, request r = request::load()) {
    const auto g = e->translate(stream_id{8}, iova{x}, r, instant{}, raise());
    EXPECT_TRUE(g.ok());
    return g.value();
  }
  bool sync(std::uint64_t at = 0) { return e->sync(instant{at}, raise()); }
  void map(std::uint64_t x, unsigned frame) {
    ASSERT_TRUE(o.claim(bus_addr{raw(data) + frame * 4096u}, 1, space, iova{x}).ok());
    h.map(s, x, bus_addr{raw(data) + frame * 4096u});
  }
  void give_up(std::uint64_t x, unsigned frame) { ASSERT_TRUE(o.release(bus_addr{raw(data) + frame * 4096u}, 1, space, iova{x}).ok()); }
  static command va(std::uint64_t x, bool leaf = true) {
    return cmd::tlbi_nh_va{asid{1}, vmid{0}, tlbi_operand::address(x, leaf)}.encode();
  }
};

TEST_F(model_engine, an_invalidation_takes_effect_only_at_the_sync) {
  map(0x1000, 5);
  (void)e->land(go(0x1000).id, 0, instant{});
  h.unmap(s, 0x1000);
  e->execute(va(0x1000));
  EXPECT_EQ(go(0x1000).t.what, outcome::granted);
  EXPECT_EQ(e->pending(), 1u);
  EXPECT_TRUE(e->land(go(0x1000).id, 0, instant{}).ok());
  build({});
}

TEST_F(model_engine, an_eager_engine_acts_at_once) {
  build({.lazy = false});
  map(0x1000, 5);
  (void)e->land(go(0x1000).id, 0, instant{});
  h.unmap(s, 0x1000);
  e->execute(va(0x1000));
  EXPECT_EQ(go(0x1000).t.event, event_id::f_translation);
}

TEST_F(model_engine, an_early_effect_finds_a_page_table_write_behind_the_invalidation) {
  for (const unsigned percent : {0u, 100u}) {
    build({.early_percent = percent});
    const unsigned frame = 5 + percent;
    map(0x1000, frame);
    (void)e->land(go(0x1000).id, 0, instant{});
    e->execute(va(0x1000));
    (void)e->land(go(0x1000).id, 0, instant{});
    h.unmap(s, 0x1000);  // too late
    EXPECT_TRUE(sync());
    give_up(0x1000, frame);
    EXPECT_EQ(go(0x1000).t.what, percent == 0 ? outcome::faulted : outcome::granted);
  }
}

TEST_F(model_engine, a_sync_waits_for_the_landing_of_what_rests_on_removed_entries) {
  build({.landing = landing_policy::held});
  map(0x1000, 5);
  map(0x2000, 6);
  const auto stale = go(0x1000);
  const auto other = go(0x2000);
  h.unmap(s, 0x1000);
  e->execute(va(0x1000));
  EXPECT_FALSE(sync());
  EXPECT_FALSE(sync());
  EXPECT_EQ(e->counters().syncs, 0u);
  EXPECT_TRUE(e->land(stale.id, 0, instant{}).value().legal);
  EXPECT_TRUE(sync());  // the other transaction may stay
  give_up(0x1000, 5);
  EXPECT_TRUE(e->land(other.id, 0, instant{}).value().legal);
  EXPECT_EQ(o.leaks(), 0u);
}

TEST_F(model_engine, a_caller_that_does_not_wait_for_the_sync_meets_a_leak) {
  build({.landing = landing_policy::held});
  map(0x1000, 5);
  const auto stale = go(0x1000);
  h.unmap(s, 0x1000);
  e->execute(va(0x1000));
  EXPECT_FALSE(sync());
  give_up(0x1000, 5);  // too early
  EXPECT_FALSE(e->land(stale.id, 0, instant{}).value().legal);
  EXPECT_EQ(o.leaks(), 1u);
}

TEST_F(model_engine, a_forcing_sync_lands_the_stale_transaction_at_the_last_legal_moment) {
  map(0x1000, 5);
  const auto stale = go(0x1000);
  h.unmap(s, 0x1000);
  e->execute(va(0x1000));
  EXPECT_TRUE(sync());
  give_up(0x1000, 5);
  EXPECT_EQ(e->counters().forced_landings, 1u);
  EXPECT_EQ(e->land(stale.id, 0, instant{}).code(), errc::not_present);
  EXPECT_EQ(o.leaks(), 0u);
}

TEST_F(model_engine, the_wrong_invalidation_leaves_the_transaction_and_the_entry) {
  map(0x1000, 5);
  const auto stale = go(0x1000);
  h.unmap(s, 0x1000);
  e->execute(va(0x2000));
  EXPECT_TRUE(sync());
  give_up(0x1000, 5);
  EXPECT_FALSE(e->land(stale.id, 0, instant{}).value().legal);
  EXPECT_FALSE(e->land(go(0x1000).id, 0, instant{}).value().legal);
  EXPECT_EQ(o.leaks(), 2u);
}

TEST_F(model_engine, a_configuration_removal_binds_transactions_too) {
  build({.landing = landing_policy::held});
  map(0x1000, 5);
  const auto old = go(0x1000);
  h.set_ste(8, ste::abort());
  e->execute(cmd::cfgi_ste{stream_id{8}, true}.encode());
  EXPECT_FALSE(sync());
  (void)e->land(old.id, 0, instant{});
  EXPECT_TRUE(sync());
  EXPECT_EQ(go(0x1000).t.what, outcome::aborted);
}

TEST_F(model_engine, sync_latency_is_counted_from_the_first_attempt) {
  build({.sync_latency = nanoseconds{100}});
  EXPECT_FALSE(sync(1000));
  EXPECT_FALSE(sync(1099));
  EXPECT_TRUE(sync(1100));
  EXPECT_FALSE(sync(1101));
  EXPECT_TRUE(sync(1300));
}

TEST_F(model_engine, which_effect_comes_first_depends_on_the_seed_only) {
  for (unsigned i = 1; i != 7; ++i) map(0x1000 * i, i);
  const auto first = [&](std::uint64_t seed) {
    build({.seed = seed, .max_pending = 5});  // the sixth pushes a random one out
    for (unsigned i = 1; i != 7; ++i) (void)e->land(go(0x1000 * i).id, 0, instant{});
    for (unsigned i = 1; i != 7; ++i) e->execute(va(0x1000 * i));
    EXPECT_EQ(e->counters().removed_entries, 1u);
    unsigned gone = 0;
    for (unsigned i = 1; i != 7; ++i)
      if (!go(0x1000 * i).t.from_tlb) gone = i;
    return gone;
  };
  EXPECT_EQ(first(1), first(1));
  std::set<unsigned> seen;
  for (std::uint64_t seed = 1; seed != 40; ++seed) seen.insert(first(seed));
  EXPECT_EQ(seen, (std::set<unsigned>{1, 2, 3, 4, 5, 6}));
}

TEST_F(model_engine, covered_pages_are_the_union_between_two_syncs) {
  const auto range = [](std::uint16_t as, std::uint64_t x, unsigned num, unsigned scale) {
    return cmd::tlbi_nh_va{asid{as}, vmid{0}, tlbi_operand::range(granule::k4, x, num, scale, 3, true).value()}.encode();
  };
  e->execute(range(1, 0x1000, 9, 0));   // pages 1..10
  e->execute(range(1, 0x5000, 15, 0));  // pages 5..20
  e->execute(range(2, 0x1000, 0, 0));   // another tag
  e->execute(va(0x10'0000));
  EXPECT_TRUE(sync());
  EXPECT_EQ(e->counters().covered_pages, 20u + 1u + 1u);
  e->execute(range(1, 0x1000, 9, 0));
  EXPECT_TRUE(sync());
  EXPECT_EQ(e->counters().covered_pages, 22u + 10u);
  e->execute(cmd::tlbi_nh_asid{asid{1}, vmid{0}}.encode());
  EXPECT_TRUE(sync());
  EXPECT_EQ(e->counters().covered_pages, 32u);
  EXPECT_EQ(e->counters().whole_tag_tlbis, 1u);
}

TEST_F(model_engine, a_recorded_fault_carries_what_the_transaction_was) {
  (void)go(0x7008, request::store());
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].id, event_id::f_translation);
  EXPECT_EQ(events[0].sid, stream_id{8});
  EXPECT_EQ(events[0].address, 0x7008u);
  EXPECT_FALSE(events[0].read);
  EXPECT_EQ(events[0].where, event_class::input);
}

TEST_F(model_engine, transactions_beyond_the_capacity_are_refused) {
  build({.max_transactions = 2});
  map(0x1000, 5);
  const auto a = go(0x1000);
  (void)go(0x1000);
  EXPECT_EQ(e->translate(stream_id{8}, iova{0x1000}, request::load(), instant{}, raise()).code(), errc::exhausted);
  EXPECT_TRUE(e->land(a.id, 0, instant{}).ok());
  EXPECT_EQ(e->land(a.id, 0, instant{}).code(), errc::not_present);
  EXPECT_EQ(go(0x1000).t.what, outcome::granted);
}

TEST_F(model_engine, while_disabled_transactions_bypass_or_abort_as_told) {
  e->disable(instant{});
  const auto g = e->translate(stream_id{8}, iova{raw(arena) + 8}, request::store(), instant{}, raise());
  ASSERT_TRUE(g.ok());
  EXPECT_TRUE(g->t.bypass);
  EXPECT_TRUE(e->land(g->id, 77, instant{}).value().answered);
  EXPECT_EQ(h.read(bus_addr{raw(arena) + 8}), 77u);
  e->abort_while_disabled(true);
  EXPECT_EQ(go(0x1000).t.what, outcome::aborted);
  EXPECT_TRUE(events.empty());
}

TEST_F(model_engine, an_access_where_nothing_answers_is_a_bus_error_and_no_leak) {
  h.map(s, 0x1000, bus_addr{0x4000});
  const auto l = e->land(go(0x1000).id, 0, instant{});
  EXPECT_TRUE(l->legal);
  EXPECT_FALSE(l->answered);
  EXPECT_EQ(e->counters().bus_errors, 1u);
}

TEST_F(model_engine, agents_go_on_with_addresses_that_were_unmapped) {
  auto& a = e->add_agent(stream_id{8}, {.seed = 3, .accesses = 4});
  e->run_agents(instant{}, raise());
  EXPECT_EQ(e->counters().dmas, 0u);  // it was told nothing yet
  map(0x1000, 5);
  a.tell(iova{0x1000}, 4096);
  for (unsigned i = 0; i != 10; ++i) e->run_agents(instant{}, raise());
  EXPECT_EQ(e->counters().dmas, 40u);
  EXPECT_GT(e->counters().landings, 0u);
  h.unmap(s, 0x1000);
  e->execute(va(0x1000));
  EXPECT_TRUE(sync());
  give_up(0x1000, 5);
  for (unsigned i = 0; i != 10; ++i) e->run_agents(instant{}, raise());
  EXPECT_EQ(events.size(), 40u);
  EXPECT_EQ(o.leaks(), 0u);
}

TEST_F(model_engine, agents_find_a_missing_invalidation) {
  auto& a = e->add_agent(stream_id{8}, {.seed = 3, .accesses = 4});
  map(0x1000, 5);
  a.tell(iova{0x1000}, 4096);
  for (unsigned i = 0; i != 10; ++i) e->run_agents(instant{}, raise());
  h.unmap(s, 0x1000);
  EXPECT_TRUE(sync());
  give_up(0x1000, 5);
  for (unsigned i = 0; i != 10; ++i) e->run_agents(instant{}, raise());
  EXPECT_GT(o.leaks(), 0u);
}

TEST_F(model_engine, agents_find_a_missing_sync) {
  auto& a = e->add_agent(stream_id{8}, {.seed = 3, .accesses = 4});
  map(0x1000, 5);
  a.tell(iova{0x1000}, 4096);
  for (unsigned i = 0; i != 10; ++i) e->run_agents(instant{}, raise());
  h.unmap(s, 0x1000);
  e->execute(va(0x1000));
  give_up(0x1000, 5);
  for (unsigned i = 0; i != 10; ++i) e->run_agents(instant{}, raise());
  EXPECT_GT(o.leaks(), 0u);
}

TEST_F(model_engine, no_memory_is_taken_in_the_steady_state) {
  auto& a = e->add_agent(stream_id{8}, {.seed = 3, .accesses = 8});
  for (unsigned i = 1; i != 65; ++i) map(0x1000 * i, i);
  a.tell(iova{0x1000}, 64 * 4096);
  const auto round = [&] {
    for (unsigned i = 0; i != 50; ++i) e->run_agents(instant{}, raise());
    for (unsigned i = 1; i != 65; ++i) e->execute(va(0x1000 * i, false));
    EXPECT_TRUE(sync());
  };
  for (unsigned i = 0; i != 5; ++i) round();
  const auto chunks = e->chunks();
  for (unsigned i = 0; i != 20; ++i) round();
  EXPECT_EQ(e->chunks(), chunks);
  EXPECT_EQ(o.leaks(), 0u);
}

}  // namespace
