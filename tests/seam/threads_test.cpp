// SPDX-License-Identifier: MIT
// Worlds (a) and (b): threads on liburcu over the model; world (b) is this file under ThreadSanitizer.
#include "seam/scenario.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include <shootdown/host/lab.hpp>
#include <shootdown/queue/locked.hpp>
#include <shootdown/queue/owner_cas.hpp>

using namespace shootdown;

namespace {

template <class Strategy>
struct seam_on_threads : ::testing::Test {};
using strategies = ::testing::Types<queue::locked, queue::owner_cas>;
TYPED_TEST_SUITE(seam_on_threads, strategies);

host::lab_options options(unsigned spaces) {
  host::lab_options o;
  o.spaces = spaces;
  o.machine.backend.posted_writes = true;
  o.machine.memory_bytes = std::size_t{5} << 20;
  o.machine.data_frames = 4096;
  return o;
}

}  // namespace

TYPED_TEST(seam_on_threads, one_unmap_step_by_step) {
  const host::thread_scope registered;
  host::lab<host::env, TypeParam> lab{options(1)};
  ASSERT_TRUE(lab.open().ok());
  auto& space = lab.at(0);
  const iova at{0x7654'3000};
  ASSERT_TRUE(lab.machine().oracle().claim(lab.frame(5), 1, space.id(), at).ok());
  const char* wrong =
      seam::one_unmap(space.domain(), space.table(), [&](iova x) { return space.write(x).ok(); }, at, lab.frame(5), deadline::never());
  EXPECT_EQ(wrong, nullptr) << wrong;
  EXPECT_EQ(lab.leaks(), 0u);
  EXPECT_TRUE(lab.check_invariants());
}

// Three threads on two spaces: 0 and 1 share the first one. Every thread reuses its frames at once for other IOVAs.
TYPED_TEST(seam_on_threads, concurrent_unmaps_leak_nothing) {
  const host::thread_scope registered;
  host::lab<host::env, TypeParam> lab{options(2)};
  ASSERT_TRUE(lab.open().ok());
  std::vector<model::agent<host::env>*> agents;
  for (unsigned i = 0; i != 2; ++i) agents.push_back(&lab.machine().smmu().add_agent(lab.at(i).sid(), {.seed = i + 1u}));
  std::atomic<unsigned> failures{0};
  const auto work = [&](unsigned t) {
    const host::thread_scope mine;
    auto& space = lab.at(t / 2);
    for (unsigned i = 0; i != 150; ++i) {
      const std::uint64_t pages = 1 + (i * 5 + t) % 7;
      const host::mapping m{iova{(std::uint64_t{t} << 30) + (i % 13) * 0x10000}, lab.frame(t * 64 + (i * 3) % 32), pages * 4096};
      if (!space.map(m).ok()) ++failures;
      agents[t / 2]->tell(m.at, m.bytes);
      if (!space.write(m.at).ok()) ++failures;
      if (!space.unmap(m).ok()) ++failures;
    }
  };
  std::vector<std::thread> threads;
  for (unsigned t = 0; t != 3; ++t) threads.emplace_back(work, t);
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(failures, 0u);
  EXPECT_EQ(lab.leaks(), 0u);
  EXPECT_TRUE(lab.check_invariants());
  const auto counters = lab.machine().smmu().counters();
  EXPECT_GT(counters.engine.faults, 0u) << "the agents never used an unmapped IOVA: nothing was proven";
  EXPECT_EQ(counters.engine.unpredictable, 0u);
}
