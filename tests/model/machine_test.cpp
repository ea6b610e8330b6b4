// SPDX-License-Identifier: MIT
#include <shootdown/model/machine.hpp>

#include <array>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include <shootdown/host/env.hpp>
#include <shootdown/sim/round_robin_env.hpp>

#include "register_rig.hpp"
#include "test_env.hpp"

static_assert(shootdown::backend<shootdown::model::backend<shootdown::host::env>, shootdown::host::env>);
static_assert(
    shootdown::backend<shootdown::model::backend<shootdown::host::counted_env, shootdown::host::env>, shootdown::host::counted_env>);
static_assert(shootdown::backend<shootdown::model::backend<shootdown::sim::round_robin_env>, shootdown::sim::round_robin_env>);

namespace {
using namespace shootdown;
using namespace shootdown::model;
using model_test::test_env;

machine_options small() {
  machine_options o{};
  o.memory_bytes = std::size_t{1} << 20;
  o.data_frames = 1024;
  return o;
}

/// What a driver can get wrong.
enum class bug { none, no_tlbi, wrong_asid, no_sync, no_wait, frees_before_sync };

/// One address space on one stream, and the loop of a driver: map a page or four, let the device use them, unmap, reuse the
/// frames. `share` serialises the ring between several such users.
template <class Env>
struct user {
  model_test::register_rig<Env>& rig;
  typename Env::mutex& share;
  unsigned number;
  bug mistake{bug::none};
  space_id space{static_cast<std::uint16_t>(number + 1)};
  typename model_test::hand_tables<Env>::space s = rig.tables.new_space(static_cast<std::uint16_t>(number + 1));
  agent<Env>* device{};
  prng chance{number + 77u};

  void attach() {
    rig.tables.set_ste(number, rig.tables.ste_of(s));
    EXPECT_TRUE(rig.machine.oracle().bind(stream_id{number}, space).ok());
    device = &rig.machine.smmu().add_agent(stream_id{number}, {.seed = number + 1u});
    (void)rig.tables.slot(s, base(0), 3);  // the tables exist before threads start
  }
  [[nodiscard]] std::uint64_t base(unsigned page) const { return 0x4000'0000u + page * 4096u; }
  [[nodiscard]] bus_addr frame(unsigned n) const {
    return bus_addr{raw(rig.machine.oracle().config().data_base) + (number * 16u + n) * 4096u};
  }
  bool invalidate(std::initializer_list<command> list) {
    share.lock();
    const bool good = rig.complete(list, 50'000'000);
    share.unlock();
    return good;
  }

  void round() {
    auto& oracle = rig.machine.oracle();
    const unsigned pages = 1 + static_cast<unsigned>(chance.below(4));
    const unsigned first = static_cast<unsigned>(chance.below(12));  // the same 16 pages and 16 frames, in ever new pairs
    const unsigned at = static_cast<unsigned>(chance.below(12));
    EXPECT_TRUE(oracle.claim(frame(at), pages, space, iova{base(first)}).ok());
    for (unsigned i = 0; i != pages; ++i) rig.tables.map(s, base(first + i), frame(at + i));
    device->tell(iova{base(first)}, pages * 4096u);
    for (unsigned i = 0; i != 4; ++i) rig.regs.idle({});
    for (unsigned i = 0; i != pages; ++i) rig.tables.unmap(s, base(first + i));
    const auto free_frames = [&] { EXPECT_TRUE(oracle.release(frame(at), pages, space, iova{base(first)}).ok()); };
    if (mistake == bug::frees_before_sync) free_frames();
    const auto as = static_cast<std::uint16_t>(mistake == bug::wrong_asid ? number + 2 : number + 1);
    const command range = model_test::register_rig<Env>::range(as, granule::k4, base(first), pages - 1, 0, 3);
    switch (mistake) {
      case bug::no_tlbi: EXPECT_TRUE(invalidate({})); break;
      case bug::no_sync:
        rig.send({range});
        while (!rig.drained()) rig.regs.idle({});
        break;
      case bug::no_wait: rig.send({range, cmd::sync::silent().encode()}); break;
      default: EXPECT_TRUE(invalidate({range})); break;
    }
    if (mistake != bug::frees_before_sync) free_frames();
    for (unsigned i = 0; i != 2; ++i) rig.regs.idle({});
    if (mistake == bug::no_wait)
      while (!rig.drained()) rig.regs.idle({});
  }
};

std::uint64_t leaks_with(bug b, machine_options o = small()) {
  model_test::register_rig<test_env> rig{o};
  typename test_env::mutex share;
  user<test_env> u{rig, share, 3, b};
  u.attach();
  rig.enable();
  for (unsigned i = 0; i != 200; ++i) u.round();
  EXPECT_TRUE(rig.machine.check_invariants());
  const smmu_counters c = rig.machine.smmu().counters();
  EXPECT_GT(c.engine.landings, 200u);
  EXPECT_GT(c.engine.faults, 0u);  // they did go on
  return rig.machine.leaks();
}

TEST(model_machine, a_correct_driver_never_leaks) {
  EXPECT_EQ(leaks_with(bug::none), 0u);
  machine_options o = small();
  o.backend.posted_writes = true;
  EXPECT_EQ(leaks_with(bug::none, o), 0u);
  o.smmu.engine.lazy = false;
  EXPECT_EQ(leaks_with(bug::none, o), 0u);
  o.smmu.engine.sync_latency = nanoseconds{20};
  o.smmu.engine.command_latency = nanoseconds{3};
  EXPECT_EQ(leaks_with(bug::none, o), 0u);
}

TEST(model_machine, a_missing_invalidation_leaks) { EXPECT_GT(leaks_with(bug::no_tlbi), 0u); }
TEST(model_machine, an_invalidation_of_another_asid_leaks) { EXPECT_GT(leaks_with(bug::wrong_asid), 0u); }
TEST(model_machine, a_missing_sync_leaks) { EXPECT_GT(leaks_with(bug::no_sync), 0u); }
TEST(model_machine, frames_freed_before_the_sync_leak) { EXPECT_GT(leaks_with(bug::frees_before_sync), 0u); }

TEST(model_machine, a_missing_wait_leaks_once_the_device_takes_its_time) {
  machine_options o = small();
  EXPECT_EQ(leaks_with(bug::no_wait, o), 0u);  // consumed inside the doorbell write: invisible, as on an emulator
  o.backend.posted_writes = true;
  EXPECT_GT(leaks_with(bug::no_wait, o), 0u);
  o.backend.posted_writes = false;
  o.smmu.engine.sync_latency = nanoseconds{20};
  EXPECT_GT(leaks_with(bug::no_wait, o), 0u);
}

TEST(model_machine, the_same_seed_gives_the_same_run) {
  const auto run = [](std::uint64_t seed) {
    machine_options o = small();
    o.smmu.engine.seed = seed;
    model_test::register_rig<test_env> rig{o};
    typename test_env::mutex share;
    user<test_env> u{rig, share, 3, bug::no_tlbi};
    u.attach();
    rig.enable();
    for (unsigned i = 0; i != 50; ++i) u.round();
    const auto c = rig.machine.smmu().counters().engine;
    return std::vector<std::uint64_t>{rig.machine.leaks(), c.dmas, c.faults, c.landings, c.walk.tlb_hits, c.removed_entries};
  };
  EXPECT_EQ(run(5), run(5));
}

TEST(model_machine, several_smmus_have_caches_of_their_own) {
  machine_options o = small();
  o.smmus = 2;
  model_test::register_rig<test_env> rig{o};
  rig.enable();
  auto& second = rig.machine.backend(1);
  second.write64(reg::strtab_base::offset, raw(rig.tables.stream_table()));
  second.write32(reg::strtab_base_cfg::offset, rig.tables.stream_log2);
  second.write32(reg::cr0::offset, 1);
  EXPECT_EQ(second.read32(reg::cr0ack::offset), 1u);
  const auto s = rig.tables.new_space(1);
  rig.tables.set_ste(8, rig.tables.ste_of(s));
  const auto page = rig.regs.allocate_dma(4096, 4096);
  rig.tables.map(s, 0x1000, page.bus);
  for (unsigned i = 0; i != 2; ++i) EXPECT_TRUE(rig.machine.smmu(i).dma(stream_id{8}, iova{0x1000}, request::store(), i, instant{}).ok());
  rig.tables.unmap(s, 0x1000);
  EXPECT_TRUE(rig.complete({rig.va(1, 0x1000)}));
  EXPECT_FALSE(rig.machine.smmu(0).dma(stream_id{8}, iova{0x1000}, request::store(), 7, instant{}).ok());
  EXPECT_TRUE(rig.machine.smmu(1).dma(stream_id{8}, iova{0x1000}, request::store(), 7, instant{}).ok());
}

TEST(model_machine, rooms_that_overlap_or_cannot_be_addressed_are_contract_violations) {
  test_env::failures.clear();
  machine_options o = small();
  o.data_base = bus_addr{raw(o.memory_base) + 4096};
  machine<test_env> overlapping{o};
  ASSERT_EQ(test_env::failures.size(), 1u);
  EXPECT_NE(test_env::failures[0].find("overlap"), std::string::npos);
  o = small();
  o.smmu.id.idr5 = static_cast<std::uint32_t>(reg::idr5::oas::set(o.smmu.id.idr5, address_size::bits40));
  machine<test_env> narrow{o};
  ASSERT_EQ(test_env::failures.size(), 2u);
  EXPECT_NE(test_env::failures[1].find("width"), std::string::npos);
  test_env::failures.clear();
}

TEST(model_machine, hooks_tell_the_oracle_about_tables) {
  machine<test_env> m{small()};
  auto h = m.hooks();
  h.allocated(bus_addr{0x8000'1000});
  EXPECT_TRUE(m.oracle().is_live_table(bus_addr{0x8000'1ff8}));
  h.freed(bus_addr{0x8000'1000});
  EXPECT_FALSE(m.oracle().is_live_table(bus_addr{0x8000'1000}));
}

TEST(model_machine, advancing_reports_whether_work_was_done) {
  model_test::register_rig<test_env> rig{small()};
  rig.enable();
  EXPECT_FALSE(rig.machine.advance(instant{}, 10));
  rig.put({cmd::tlbi_nsnh_all{}.encode(), cmd::tlbi_nsnh_all{}.encode(), cmd::sync::silent().encode()});
  rig.machine.smmu().write32(reg::cmdq_prod::offset, rig.prod);
  EXPECT_TRUE(rig.machine.advance(instant{}, 2));
  EXPECT_EQ(rig.machine.smmu().read32(reg::cmdq_cons::offset), 2u);
  EXPECT_TRUE(rig.machine.advance(instant{}, 2));
  EXPECT_EQ(rig.machine.smmu().read32(reg::cmdq_cons::offset), 3u);
  EXPECT_FALSE(rig.machine.advance(instant{}, 2));
}

TEST(model_machine, threads_that_map_and_unmap_at_once_do_not_leak) {
  machine_options o = small();
  o.backend.posted_writes = true;
  model_test::register_rig<host::env> rig{o};
  typename host::env::mutex share;
  std::vector<user<host::env>> users;
  users.reserve(3);
  for (unsigned i = 0; i != 3; ++i) users.push_back({rig, share, i});
  for (auto& u : users) u.attach();
  rig.enable();
  std::vector<std::thread> threads;
  for (auto& u : users)
    threads.emplace_back([&u] {
      for (unsigned i = 0; i != 150; ++i) u.round();
    });
  for (auto& t : threads) t.join();
  EXPECT_EQ(rig.machine.leaks(), 0u);
  EXPECT_TRUE(rig.machine.check_invariants());
  const smmu_counters c = rig.machine.smmu().counters();
  EXPECT_EQ(c.engine.syncs, 450u);
  EXPECT_EQ(c.engine.tlbis, 450u);
  EXPECT_EQ(c.engine.unpredictable, 0u);
}

TEST(model_machine, threads_that_forget_the_invalidation_leak) {
  model_test::register_rig<host::env> rig{small()};
  typename host::env::mutex share;
  std::vector<user<host::env>> users;
  users.reserve(2);
  for (unsigned i = 0; i != 2; ++i) users.push_back({rig, share, i, bug::no_tlbi});
  for (auto& u : users) u.attach();
  rig.enable();
  std::vector<std::thread> threads;
  for (auto& u : users)
    threads.emplace_back([&u] {
      for (unsigned i = 0; i != 150; ++i) u.round();
    });
  for (auto& t : threads) t.join();
  EXPECT_GT(rig.machine.leaks(), 0u);
}

std::uint64_t fibers(std::uint64_t seed, bug b) {
  using env = sim::round_robin_env;
  machine_options o = small();
  o.memory_bytes = 256 << 10;
  o.data_frames = 64;
  o.smmu.id.idr1 = static_cast<std::uint32_t>(reg::idr1::sidsize::set(o.smmu.id.idr1, 8));
  model_test::register_rig<env> rig{o};
  typename env::mutex share;
  std::vector<user<env>> users;
  users.reserve(2);
  for (unsigned i = 0; i != 2; ++i) users.push_back({rig, share, i, b});
  for (auto& u : users) u.attach();
  rig.enable();
  const auto work = [](user<env>& u) {
    return [&u] {
      for (unsigned i = 0; i != 20; ++i) u.round();
    };
  };
  const auto report = sim::round_robin::run({work(users[0]), work(users[1])}, {.seed = seed});
  EXPECT_TRUE(report.ok()) << (report.first_failure != nullptr ? report.first_failure : "");
  EXPECT_EQ(report.finished, 2u);
  EXPECT_TRUE(rig.machine.check_invariants());
  return rig.machine.leaks();
}

TEST(model_machine, fibers_switched_inside_the_device_do_not_leak) {
  for (std::uint64_t seed = 0; seed != 4; ++seed) EXPECT_EQ(fibers(seed, bug::none), 0u) << seed;
}
TEST(model_machine, fibers_that_forget_the_invalidation_leak) { EXPECT_GT(fibers(1, bug::no_tlbi), 0u); }

}  // namespace
