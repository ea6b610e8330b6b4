// SPDX-License-Identifier: MIT
#include <atomic>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include <shootdown/host/lab.hpp>
#include <shootdown/model/random.hpp>
#include <shootdown/queue/locked.hpp>
#include <shootdown/queue/owner_cas.hpp>

// Threads unmap while another lets the device leave and join, with and without its cache; agents go on using every translation
// that the cache has. A fixed amount of work: no leak, and no invalidation to a device that was let go.
namespace {
using namespace shootdown;

template <class Strategy>
struct ats_stress : ::testing::Test {
  host::thread_scope thread{};
};
struct name_of {
  template <class S>
  static std::string GetName(int) {
    return S::name;
  }
};
using strategies = ::testing::Types<queue::locked, queue::owner_cas>;
TYPED_TEST_SUITE(ats_stress, strategies, name_of);

constexpr unsigned workers = 2;
constexpr int rounds = 60;
constexpr std::uint64_t page = 4096;

struct seen {
  std::uint64_t leaks{};
  std::uint64_t late{};
  std::uint64_t translated{};
  unsigned bad{};
};

/// `hasty`: the device's ATS goes off before the domain was asked to let it go.
template <class Strategy>
seen run(bool hasty) {
  host::lab_options o;
  o.ats = true;
  o.table_pages = 64;
  o.machine.memory_bytes = std::size_t{1} << 20;
  o.machine.data_frames = 64;
  o.machine.smmu.agent_period = 2;
  o.machine.smmu.id.idr0 = static_cast<std::uint32_t>(reg::idr0::ats::set(o.machine.smmu.id.idr0, true));
  o.smmu.cmdq_log2 = 6;
  o.smmu.stream_log2 = 4;
  seen result;
  host::lab<host::env, Strategy> lab{o};
  EXPECT_EQ(lab.open(), status{});
  auto& space = lab.at();
  auto& device = lab.machine().smmu();
  model::agent_options a{};
  a.ats_percent = 70;
  auto& agent = device.add_agent(space.sid(), a);
  const host::mapping first{iova{0x4000'0000}, lab.frame(0), page};
  EXPECT_EQ(space.map(first), status{});
  EXPECT_EQ(space.write(first.at), status{});
  EXPECT_EQ(space.unmap(first), status{});
  std::atomic<unsigned> bad{0}, running{workers};
  std::vector<std::thread> threads;
  for (unsigned w = 0; w != workers; ++w) {
    threads.emplace_back([&, w] {
      const host::thread_scope mine;
      model::prng chance{w + 3u};
      for (int i = 0; i != rounds; ++i) {
        const iova x{0x4000'0000 + (std::uint64_t{w} * 16 + chance.below(8)) * page};
        const host::mapping m{x, lab.frame(w * 16 + chance.below(4)), (1 + chance.below(3)) * page};
        if (!space.map(m).ok()) ++bad;
        agent.tell(m.at, m.bytes);
        static_cast<void>(space.write(m.at));  // refused while the device is away
        if (!space.unmap(m).ok()) ++bad;
        if (space.write(m.at).ok()) ++bad;
      }
      --running;
    });
  }
  threads.emplace_back([&] {
    const host::thread_scope mine;
    for (unsigned i = 0; running != 0 || i < 8; ++i) {
      if (hasty && space.attachment().ats()) static_cast<void>(space.device().ats(false));
      if (hasty) std::this_thread::yield();
      if (!space.detach().ok()) ++bad;
      static_cast<void>(space.write(iova{0x4000'0000}));
      if (!space.attach(i % 3 != 0).ok()) ++bad;
      for (unsigned k = 0; k != 20; ++k) lab.machine().backend().idle({});
    }
  });
  for (std::thread& t : threads) t.join();
  EXPECT_TRUE(lab.check_invariants());
  const auto c = device.counters_of(space.sid());
  result.leaks = lab.leaks();
  result.late = c.late_atc_invs;
  result.translated = c.translated;
  result.bad = bad;
  return result;
}

}  // namespace

TYPED_TEST(ats_stress, a_device_comes_and_goes_under_unmaps_and_nothing_leaks_or_comes_late) {
  const seen s = run<TypeParam>(false);
  EXPECT_EQ(s.leaks, 0u);
  EXPECT_EQ(s.late, 0u);
  EXPECT_EQ(s.bad, 0u);
  EXPECT_GT(s.translated, 0u);
}

TYPED_TEST(ats_stress, ats_switched_off_ahead_of_the_detach_is_seen) {
  const seen s = run<TypeParam>(true);
  EXPECT_GT(s.late, 0u) << "the detach itself wipes a device that is off";
  EXPECT_EQ(s.bad, 0u);
}
