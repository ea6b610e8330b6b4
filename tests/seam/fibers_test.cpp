// SPDX-License-Identifier: MIT
// World (c): fibers that may be switched at every atomic operation, over the model, whose device runs on them as well.
#include "seam/scenario.hpp"

#include <gtest/gtest.h>

#include <vector>

#include <shootdown/host/lab.hpp>
#include <shootdown/queue/locked.hpp>
#include <shootdown/queue/owner_cas.hpp>
#include <shootdown/sim/round_robin_env.hpp>

using namespace shootdown;

namespace {

using env = sim::round_robin_env;

template <class Strategy>
struct seam_on_fibers : ::testing::Test {
  static host::lab_options options(unsigned spaces) {
    host::lab_options o;
    o.spaces = spaces;
    o.machine.backend.posted_writes = true;
    o.machine.memory_bytes = std::size_t{5} << 20;
    o.machine.data_frames = 4096;
    o.smmu.cmdq_log2 = 6;  // a small ring, so that it wraps and fills
    return o;
  }
};
using strategies = ::testing::Types<queue::locked, queue::owner_cas>;
TYPED_TEST_SUITE(seam_on_fibers, strategies);

}  // namespace

TYPED_TEST(seam_on_fibers, one_unmap_step_by_step) {
  host::lab<env, TypeParam> lab{this->options(1)};
  ASSERT_TRUE(lab.open().ok());
  auto& space = lab.at(0);
  const iova at{0x7654'3000};
  ASSERT_TRUE(lab.machine().oracle().claim(lab.frame(5), 1, space.id(), at).ok());
  const char* wrong = "never ran";
  const auto report = sim::round_robin::run({[&] {
    wrong =
        seam::one_unmap(space.domain(), space.table(), [&](iova x) { return space.write(x).ok(); }, at, lab.frame(5), deadline::never());
  }});
  EXPECT_TRUE(report.ok());
  EXPECT_EQ(wrong, nullptr) << wrong;
  EXPECT_EQ(lab.leaks(), 0u);
}

TYPED_TEST(seam_on_fibers, concurrent_unmaps_leak_nothing_under_many_schedules) {
  for (std::uint64_t seed = 0; seed != 6; ++seed) {
    host::lab<env, TypeParam> lab{this->options(2)};
    ASSERT_TRUE(lab.open().ok());
    std::vector<model::agent<env>*> agents;
    for (unsigned i = 0; i != 2; ++i) agents.push_back(&lab.machine().smmu().add_agent(lab.at(i).sid(), {.seed = seed + i + 1u}));
    unsigned failures = 0;
    std::vector<sim::round_robin::task> tasks;
    for (unsigned t = 0; t != 4; ++t) {
      tasks.emplace_back([&, t] {
        auto& space = lab.at(t / 2);
        for (unsigned i = 0; i != 12; ++i) {
          const host::mapping m{iova{(std::uint64_t{t} << 30) + (i % 3) * 0x10000}, lab.frame(t * 16 + (i * 3) % 8),
                                (1 + (i + t) % 4) * 4096u};
          if (!space.map(m).ok()) ++failures;
          agents[t / 2]->tell(m.at, m.bytes);
          if (!space.write(m.at).ok()) ++failures;
          if (!space.unmap(m).ok()) ++failures;
        }
      });
    }
    const auto report = sim::round_robin::run(std::move(tasks), {.seed = seed});
    EXPECT_TRUE(report.ok()) << "seed " << seed;
    EXPECT_EQ(failures, 0u) << "seed " << seed;
    EXPECT_EQ(lab.leaks(), 0u) << "seed " << seed;
    EXPECT_TRUE(lab.check_invariants());
  }
}
