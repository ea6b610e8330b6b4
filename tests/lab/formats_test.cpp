// SPDX-License-Identifier: MIT
// The whole stack for every table format, both stages, with and without ATS, over the model.
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

/// The default model with stage 2 and ATS on top.
emu::id_registers everything() {
  emu::id_registers id = emu::id_registers::model_default();
  id.idr0 |= static_cast<std::uint32_t>(reg::idr0::s2p::put(true) | reg::idr0::ats::put(true));
  return id;
}

template <class Format>
struct lab_formats : ::testing::Test {
  using lab_type = host::lab<host::env, queue::owner_cas, host::env, Format>;
  static constexpr std::uint64_t page = lab_type::page_size;
  static constexpr std::uint64_t frames_per_page = page / 4096;

  static typename lab_type::options_type options(bool ats) {
    typename lab_type::options_type o;
    o.spaces = 2;
    o.ats = ats;
    o.table_pages = 96;
    o.table.output_bits = 48;
    o.table.input_bits = 40;
    o.machine.smmu.id = everything();
    o.machine.memory_bytes = std::size_t{16} << 20;
    o.machine.data_frames = std::size_t{1} << 16;
    o.machine.backend.posted_writes = true;
    return o;
  }
};

using formats =
    ::testing::Types<table::stage1_k4, table::stage1_k16, table::stage1_k64, table::stage2_k4, table::stage2_k16, table::stage2_k64>;
struct format_names {
  template <class F>
  static std::string GetName(int) {
    return std::string(std::is_same_v<typename F::input_type, ipa> ? "stage2" : "stage1") + (F::tg == granule::k4    ? "_4k"
                                                                                             : F::tg == granule::k16 ? "_16k"
                                                                                                                     : "_64k");
  }
};
TYPED_TEST_SUITE(lab_formats, formats, format_names);

}  // namespace

TYPED_TEST(lab_formats, what_is_unmapped_cannot_be_reached_with_and_without_ats) {
  for (const bool ats : {false, true}) {
    const host::thread_scope registered;
    typename TestFixture::lab_type lab{this->options(ats)};
    const status opened = lab.open();
    ASSERT_TRUE(opened.ok()) << name(opened.code());
    auto& space = lab.at(0);
    const host::mapping m{iova{16 * this->page}, lab.frame(32 * this->frames_per_page), 3 * this->page};
    ASSERT_TRUE(space.map(m).ok());
    EXPECT_EQ(space.write(m.at).code(), errc::ok);
    EXPECT_EQ(space.read(iova{raw(m.at) + m.bytes - 8}).code(), errc::ok);
    EXPECT_EQ(space.read(iova{raw(m.at) + m.bytes}).code(), errc::not_present);
    EXPECT_EQ(lab.at(1).write(m.at).code(), errc::not_present) << "another space";
    typename TestFixture::lab_type::gather_type g;
    ASSERT_TRUE(space.remove(m, g).ok());
    EXPECT_EQ(space.write(m.at).code(), errc::ok) << "the device must still have it cached, or nothing is proven";
    ASSERT_TRUE(space.domain().invalidate(g, deadline::never()).ok());
    EXPECT_EQ(space.write(m.at).code(), errc::not_present);
    space.give_back(m, g);
    EXPECT_EQ(space.write(m.at).code(), errc::not_present);
    EXPECT_EQ(lab.leaks(), 0u);
    EXPECT_TRUE(lab.check_invariants());
  }
}

TYPED_TEST(lab_formats, blocks_pages_and_freed_tables_in_one_unmap) {
  const host::thread_scope registered;
  typename TestFixture::lab_type lab{this->options(false)};
  ASSERT_TRUE(lab.open().ok());
  auto& space = lab.at(0);
  if (this->page == 65536) return;  // a 512 MiB block has more frames than this oracle watches
  // From the last page before a block to the first page behind it.
  const std::uint64_t block = std::uint64_t{1} << level_shift(TypeParam::tg, 2);
  const host::mapping m{iova{2 * block - this->page}, bus_addr{raw(lab.frame(0)) + 2 * block - this->page}, block + 2 * this->page};
  ASSERT_TRUE(space.map(m).ok());
  for (const std::uint64_t offset : {std::uint64_t{0}, this->page, block, m.bytes - 8})
    EXPECT_TRUE(space.write(iova{raw(m.at) + offset}).ok());
  const auto before = lab.machine().smmu().counters().engine;
  ASSERT_TRUE(space.unmap(m).ok());
  const auto after = lab.machine().smmu().counters().engine;
  EXPECT_LE(after.tlbis - before.tlbis, 2u);
  EXPECT_EQ(after.syncs - before.syncs, 1u);
  EXPECT_EQ(after.unpredictable, 0u);
  for (const std::uint64_t offset : {std::uint64_t{0}, this->page, block, m.bytes - 8})
    EXPECT_FALSE(space.write(iova{raw(m.at) + offset}).ok());
  EXPECT_EQ(lab.leaks(), 0u);
  EXPECT_TRUE(lab.check_invariants());
}

TYPED_TEST(lab_formats, threads_unmap_under_agents_with_and_without_ats) {
  for (const bool ats : {false, true}) {
    const host::thread_scope registered;
    typename TestFixture::lab_type lab{this->options(ats)};
    ASSERT_TRUE(lab.open().ok());
    std::vector<model::agent<host::env>*> agents;
    for (unsigned i = 0; i != 2; ++i)
      agents.push_back(&lab.machine().smmu().add_agent(lab.at(i).sid(), {.seed = i + 1u, .ats_percent = ats ? 50u : 0u}));
    std::atomic<unsigned> failures{0};
    const auto work = [&](unsigned t) {
      const host::thread_scope mine;
      auto& space = lab.at(t / 2);
      for (unsigned i = 0; i != 60; ++i) {
        const std::uint64_t pages = 1 + (i * 5 + t) % 4;
        const host::mapping m{iova{(std::uint64_t{t} << 34) + (i % 5) * 8 * this->page},
                              lab.frame((t * 64 + (i * 3) % 32) * this->frames_per_page), pages * this->page};
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
  }
}
