// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

#include <shootdown/device/stage1_stream.hpp>
#include <shootdown/host/env.hpp>
#include <shootdown/host/lab.hpp>
#include <shootdown/queue/locked.hpp>
#include <shootdown/queue/owner_cas.hpp>

#include "host/flavours.hpp"

// The whole stack under every flavour of liburcu: threads map, let the device write, unmap and reuse while another one
// attaches and detaches devices of the same domains and waits for grace periods, and the agents never stop.
namespace {

using namespace shootdown;

template <class Env, class Strategy>
struct setup {
  using env = Env;
  using lab = host::lab<Env, Strategy>;
  static constexpr const char* strategy = std::is_same_v<Strategy, queue::locked> ? "locked" : "owner_cas";
};
using setups = ::testing::Types<setup<host::memb_env, queue::owner_cas>, setup<host::memb_env, queue::locked>,
                                setup<host::mb_env, queue::owner_cas>, setup<host::mb_env, queue::locked>,
                                setup<host::bp_env, queue::owner_cas>, setup<host::bp_env, queue::locked>,
                                setup<host::qsbr_env, queue::owner_cas>, setup<host::qsbr_env, queue::locked>>;
struct setup_name {
  template <class Setup>
  static std::string GetName(int) {
    return std::string{Setup::env::rcu::flavour::name} + "_" + Setup::strategy;
  }
};

template <class Setup>
struct flavours_lab : ::testing::Test {};
TYPED_TEST_SUITE(flavours_lab, setups, setup_name);

TYPED_TEST(flavours_lab, unmaps_leak_nothing_while_devices_come_and_go) {
  using env = typename TypeParam::env;
  using rcu = typename env::rcu;
  using lab_type = typename TypeParam::lab;
  constexpr unsigned mappers = 3;  // 0 and 1 share space 0, which a second device joins and leaves; 2 has space 1 for itself,
  constexpr unsigned turns = 100;  // whose only device is detached again and again, so that its tag comes and goes
  constexpr unsigned enough = 6;   // changes, at least
  const typename rcu::thread_scope registered;
  host::lab_options o;
  o.spaces = 2;
  o.machine.backend.posted_writes = true;
  o.machine.memory_bytes = std::size_t{5} << 20;
  o.machine.data_frames = 4096;
  lab_type lab{o};
  ASSERT_TRUE(lab.open().ok());
  auto& machine = lab.machine();

  const stream_id guest{3};
  device::stage1_stream<typename lab_type::smmu_type> stream{lab.smmu(), guest};
  typename lab_type::domain_type::attachment_t attachment;
  ASSERT_TRUE(machine.oracle().bind(guest, lab.at(0).id()).ok());
  ASSERT_TRUE(stream.open().ok());

  std::vector<model::agent<env>*> agents;
  for (const stream_id sid : {lab.at(0).sid(), lab.at(1).sid(), guest})
    agents.push_back(&machine.smmu().add_agent(sid, {.seed = 1u + raw(sid), .accesses = 1}));

  std::atomic<unsigned> failures{0};
  std::atomic<unsigned> mapping{mappers};
  std::atomic<unsigned> changes{0};
  const auto check = [&](bool good) {
    if (!good) failures.fetch_add(1, std::memory_order_relaxed);
  };
  const auto map_and_unmap = [&](unsigned t) {
    const typename rcu::thread_scope mine;
    auto& space = lab.at(t / 2);
    for (unsigned i = 0; i < turns || changes.load(std::memory_order_relaxed) < enough; ++i) {
      const std::uint64_t pages = 1 + (i * 5 + t) % 7;
      const host::mapping m{iova{(std::uint64_t{t} << 30) + (i % 13) * 0x10000}, lab.frame(t * 64 + (i * 3) % 32), pages * 4096};
      check(space.map(m).ok());
      agents[t / 2]->tell(m.at, m.bytes);
      if (t / 2 == 0) agents[2]->tell(m.at, m.bytes);
      const status wrote = space.write(m.at);
      check(wrote.ok() || (t / 2 == 1 && wrote.code() == errc::not_present));  // the device of space 1 may be away
      check(space.unmap(m).ok());
      rcu::quiescent();
    }
    mapping.fetch_sub(1, std::memory_order_relaxed);
  };
  const auto come_and_go = [&] {
    const typename rcu::thread_scope mine;
    auto& shared = lab.at(0);
    auto& alone = lab.at(1);
    for (unsigned i = 0; mapping.load(std::memory_order_relaxed) != 0; ++i) {
      check(shared.domain().attach(attachment, {lab.smmu(), {&guest, 1}}, stream.writer(shared.translation()), {}).ok());
      check(alone.detach().ok());
      rcu::quiescent();
      std::this_thread::yield();
      check(shared.domain().detach(attachment, stream.writer(), {}).ok());
      check(alone.attach().ok());
      if (i % 4 == 0) rcu::synchronize();  // whoever unmaps now is waited for, and must get on
      rcu::quiescent();
      changes.fetch_add(1, std::memory_order_relaxed);
      std::this_thread::yield();
    }
  };

  std::vector<std::thread> threads;
  for (unsigned t = 0; t != mappers; ++t) threads.emplace_back(map_and_unmap, t);
  threads.emplace_back(come_and_go);
  for (std::thread& t : threads) host_test::join<rcu>(t);

  EXPECT_EQ(failures.load(), 0u);
  EXPECT_GE(changes.load(), enough);
  EXPECT_EQ(lab.leaks(), 0u);
  EXPECT_TRUE(lab.check_invariants());
  const auto counters = machine.smmu().counters();
  EXPECT_GT(counters.engine.faults, 0u) << "the agents never used an unmapped IOVA: nothing was proven";
  EXPECT_EQ(counters.engine.unpredictable, 0u);
  stream.close();
}

}  // namespace
