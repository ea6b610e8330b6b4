// SPDX-License-Identifier: MIT
// Two threads on one nesting parent whose device caches translations: every unmap wipes the whole cache, also under the other
// thread's DMA, which must reach mapped memory all the same.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include <shootdown/host/lab.hpp>

using namespace shootdown;

TEST(lab_shared_atc, an_unmap_of_one_thread_refuses_no_access_of_the_other) {
  using lab_type = host::lab<host::env, queue::owner_cas, host::env, table::stage2_k4>;
  const host::thread_scope registered;
  lab_type::options_type o;
  o.ats = o.nesting_parent = true;
  o.machine.smmu.id.idr0 |= static_cast<std::uint32_t>(reg::idr0::s2p::put(true) | reg::idr0::ats::put(true));
  o.machine.backend.posted_writes = true;
  o.machine.data_frames = 64;
  lab_type lab{o};
  ASSERT_TRUE(lab.open().ok());
  std::atomic<unsigned> refused{0}, failed{0};
  const auto work = [&](unsigned t) {
    const host::thread_scope mine;
    auto& space = lab.at(0);
    const host::mapping m{iova{0x100000 + t * 0x10000u}, lab.frame(t), 4096};
    for (unsigned i = 0; i != 1500; ++i) {
      if (!space.map(m).ok()) ++failed;
      if (!space.write(m.at).ok()) ++refused;
      if (!space.unmap(m).ok()) ++failed;
    }
  };
  std::thread a{work, 0u}, b{work, 1u};
  a.join();
  b.join();
  EXPECT_EQ(refused, 0u);
  EXPECT_EQ(failed, 0u);
  EXPECT_EQ(lab.leaks(), 0u);
  EXPECT_TRUE(lab.check_invariants());
}
