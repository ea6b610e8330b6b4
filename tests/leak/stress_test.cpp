// SPDX-License-Identifier: MIT
#include <atomic>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <shootdown/host/lab.hpp>
#include <shootdown/model/random.hpp>
#include <shootdown/queue/locked.hpp>
#include <shootdown/queue/owner_cas.hpp>

// Threads map, write, unmap and hand frames to one another, in a shared space and in spaces of their own, while streams join
// and leave the shared domain and agents go on using everything that was ever mapped. A fixed amount of work; no leak.
namespace {
using namespace shootdown;

template <class S, cover_policy P>
struct setup {
  using strategy = S;
  static constexpr cover_policy policy = P;
};
template <class Setup>
struct stress : ::testing::Test {
  host::thread_scope thread{};
};
using setups = ::testing::Types<setup<queue::locked, cover_policy::exact>, setup<queue::locked, cover_policy::disjoint>,
                                setup<queue::locked, cover_policy::bounded>, setup<queue::owner_cas, cover_policy::exact>,
                                setup<queue::owner_cas, cover_policy::disjoint>, setup<queue::owner_cas, cover_policy::bounded>>;
struct setup_name {
  template <class S>
  static std::string GetName(int) {
    constexpr const char* policies[]{"exact", "disjoint", "bounded"};
    return std::string{S::strategy::name} + "_" + policies[static_cast<int>(S::policy)];
  }
};
TYPED_TEST_SUITE(stress, setups, setup_name);

/// Runs of frames that any thread may take and any thread got back last: so a frame soon has another space and another page.
class frame_stock {
 public:
  static constexpr unsigned run = 8;
  explicit frame_stock(unsigned runs) {
    for (unsigned i = 0; i != runs; ++i) free_.push_back(std::uint64_t{i} * run);
  }
  std::uint64_t take() {
    const std::lock_guard hold{mutex_};
    const std::uint64_t first = free_.back();
    free_.pop_back();
    return first;
  }
  void put(std::uint64_t first) {
    const std::lock_guard hold{mutex_};
    free_.push_back(first);
  }

 private:
  std::mutex mutex_;
  std::vector<std::uint64_t> free_;
};

constexpr unsigned workers = 3;
constexpr int rounds = 50;
constexpr std::uint64_t page = 4096;

}  // namespace

TYPED_TEST(stress, threads_share_spaces_and_frames_while_streams_come_and_go_and_nothing_leaks) {
  using lab_type = host::lab<host::env, typename TypeParam::strategy>;
  host::lab_options o;
  o.spaces = workers + 1;  // space 0 is everybody's
  o.table_pages = 256;
  o.policy = TypeParam::policy;
  o.machine.memory_bytes = std::size_t{2} << 20;
  o.machine.data_frames = 256;
  o.machine.smmu.agent_period = 4;
  o.smmu.cmdq_log2 = 6;
  o.smmu.stream_log2 = 6;
  lab_type lab{o};
  ASSERT_EQ(lab.open(), status{});
  auto& smmu = lab.machine().smmu();
  std::vector<model::agent<host::env>*> agents;
  for (unsigned i = 0; i != lab.spaces(); ++i) agents.push_back(&smmu.add_agent(lab.at(i).sid(), {.seed = i + 1}));
  constexpr std::uint32_t guest = 40;
  ASSERT_EQ(lab.machine().oracle().bind(stream_id{guest}, lab.at(0).id()), status{});
  auto& guest_agent = smmu.add_agent(stream_id{guest}, {.seed = 99});

  frame_stock stock{workers * 2};
  std::atomic<unsigned> bad{0};
  std::atomic<unsigned> running{workers};
  const auto expect = [&](bool good) {
    if (!good) bad.fetch_add(1);
  };

  std::vector<std::thread> threads;
  for (unsigned w = 0; w != workers; ++w) {
    threads.emplace_back([&, w] {
      const host::thread_scope mine;
      model::prng chance{w + 7u};
      for (int i = 0; i != rounds; ++i) {
        const unsigned where = chance.below(2) == 0 ? 0 : w + 1;
        auto& space = lab.at(where);
        // Pages of its own in tables that are shared: neighbours in one table come and go at the same time.
        const iova x{0x4000'0000 + (std::uint64_t{w} * 16 + chance.below(8)) * page + chance.below(2) * 0x20'0000};
        const std::uint64_t first = stock.take();
        const host::mapping m{x, lab.frame(first), (1 + chance.below(frame_stock::run)) * page};
        expect(space.map(m).ok());
        agents[where]->tell(m.at, m.bytes);
        if (where == 0) guest_agent.tell(m.at, m.bytes);
        expect(space.write(m.at).ok());
        expect(space.read(iova{raw(m.at) + m.bytes - page}).ok());
        expect(space.unmap(m).ok());
        expect(!space.write(m.at).ok());
        stock.put(first);
      }
      running.fetch_sub(1);
    });
  }
  std::uint64_t visits = 0;
  threads.emplace_back([&] {
    const host::thread_scope mine;
    auto& space = lab.at(0);
    const stream_id sid{guest};
    device::stage1_stream<typename lab_type::smmu_type> stream{lab.smmu(), sid};
    typename lab_type::domain_type::attachment_t membership;
    expect(stream.open().ok());
    do {
      expect(space.domain().attach(membership, {lab.smmu(), {&sid, 1}}, stream.writer(space.translation()), deadline::never()).ok());
      for (std::uint64_t i = 0; i != 4; ++i) (void)smmu.dma(sid, iova{0x4000'0000 + i * 16 * page}, model::request::store(), 0, {});
      expect(space.domain().detach(membership, stream.writer(), deadline::never()).ok());
      ++visits;
      if (visits % 8 == 0) space.domain().purge();
    } while (running.load() != 0);
    stream.close();
  });
  for (std::thread& t : threads) t.join();

  std::vector<model::leak_record> leaks(4);
  leaks.resize(lab.machine().oracle().records(leaks));
  for (const model::leak_record& r : leaks) {
    char text[200];
    (void)model::format(r, text);
    ADD_FAILURE() << text;
  }
  EXPECT_EQ(lab.leaks(), 0u);
  EXPECT_EQ(bad.load(), 0u);
  EXPECT_GT(visits, 0u);
  const auto counters = smmu.counters();
  EXPECT_GT(counters.engine.dmas, std::uint64_t{workers} * rounds * 3) << "the agents acted, too";
  EXPECT_GT(counters.engine.faults, 0u);
  EXPECT_EQ(counters.engine.unpredictable + counters.front.software_errors + counters.front.prod_regressions + counters.front.rejected, 0u);
  EXPECT_EQ(lab.machine().oracle().owned_frames(), 0u);
  EXPECT_TRUE(lab.check_invariants());
}

TYPED_TEST(stress, the_same_without_the_wait_leaks) {
  using lab_type = host::lab<host::env, typename TypeParam::strategy>;
  host::lab_options o;
  o.table_pages = 64;
  o.policy = TypeParam::policy;
  o.machine.memory_bytes = std::size_t{1} << 20;
  o.machine.data_frames = 64;
  o.machine.backend.posted_writes = true;
  o.smmu.cmdq_log2 = 6;
  o.smmu.stream_log2 = 3;
  lab_type lab{o};
  ASSERT_EQ(lab.open(), status{});
  auto& space = lab.at(0);
  auto& agent = lab.machine().smmu().add_agent(space.sid(), {.seed = 5});
  for (unsigned i = 0; i != 50; ++i) {
    const host::mapping m{iova{0x4000'0000 + (i % 16) * page}, lab.frame(i % 32), page};
    ASSERT_EQ(space.map(m), status{});
    agent.tell(m.at, m.bytes);
    for (int turn = 0; turn != 4; ++turn) (void)lab.machine().smmu().advance({}, 8);
    gather<> g;
    ASSERT_EQ(space.remove(m, g), status{});
    auto under_way = space.domain().begin(g.pieces(), deadline::never());
    space.release_frames(m);
    for (int turn = 0; turn != 2; ++turn) (void)space.write(m.at);
    ASSERT_EQ(space.domain().finish(under_way, deadline::never()), status{});
    space.give_back_tables(g);
  }
  EXPECT_GT(lab.leaks(), 0u);
}
