// SPDX-License-Identifier: MIT
// What operations on shared memory cost in virtual time.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <utility>
#include <vector>

#include <shootdown/sim/timed_env.hpp>

namespace {

using namespace shootdown;
using env = sim::timed_env;
using machine = sim::reference_machine;
using sim::timed_options;
using sim::timed_report;
using sim::timed_run;
using word = env::atomic<std::uint64_t>;
constexpr auto relaxed = std::memory_order_relaxed;

struct alignas(cache_line) line {
  word w{0};
  word beside{0};
};

timed_options plain() {
  timed_options o{};
  o.arbitration = {};  // 60 ns, whoever comes next
  return o;
}
timed_report run(std::vector<timed_run::task> tasks, const timed_options& o = plain()) {
  timed_run r{o};
  return r(std::move(tasks));
}
std::uint64_t now() { return since_epoch(env::now()); }
/// What `f` costs the CPU that calls it.
template <class F>
std::uint64_t cost(F&& f) {
  const std::uint64_t before = now();
  f();
  return now() - before;
}

TEST(reference_machine, is_the_one_that_was_settled) {
  // Not to be adjusted: results of different dates are compared.
  EXPECT_EQ(machine::think, 300u);
  EXPECT_EQ(machine::think_spread, 150u);
  EXPECT_EQ(machine::local_rmw, 5u);
  EXPECT_EQ(machine::line_transfer, 60u);
  EXPECT_EQ(machine::doorbell, 150u);
  EXPECT_EQ(machine::mmio_read, 300u);
  EXPECT_EQ(machine::tlbi, 15u);
  EXPECT_EQ(machine::sync_short, 30u);
  EXPECT_EQ(machine::sync_middle, 200u);
  EXPECT_EQ(machine::sync_long, 800u);
  EXPECT_EQ(machine::atc_inv, 1000u);
  EXPECT_EQ(machine::trap, 2000u);
  EXPECT_EQ(machine::hit, 1u);
  EXPECT_EQ(machine::pause, 5u);
}

TEST(timed_lines, operations_on_a_line_of_ones_own_are_local) {
  line l;
  std::uint64_t rmw = 0, load = 0, store = 0, failed = 0;
  EXPECT_TRUE(run({[&] {
                l.w.store(1, relaxed);
                rmw = cost([&] { l.w.fetch_add(1, relaxed); });
                load = cost([&] { EXPECT_EQ(l.w.load(relaxed), 2u); });
                store = cost([&] { l.beside.store(1, relaxed); });
                std::uint64_t expected = 7;
                failed = cost([&] { EXPECT_FALSE(l.w.compare_exchange_strong(expected, 9, relaxed, relaxed)); });
                EXPECT_EQ(expected, 2u);
              }}).ok());
  EXPECT_EQ(rmw, 5u);
  EXPECT_EQ(load, 1u);
  EXPECT_EQ(store, 1u);
  EXPECT_EQ(failed, 5u);
}

TEST(timed_lines, a_line_that_somebody_else_had_is_transferred_once) {
  line l;
  std::uint64_t first = 0, again = 0, other = 0;
  EXPECT_TRUE(run({[&] {
                     first = cost([&] { l.w.fetch_add(1, relaxed); });
                     timed_run::spend(1000);
                     again = cost([&] { l.w.fetch_add(1, relaxed); });
                   },
                   [&] {
                     timed_run::spend(500);
                     other = cost([&] { l.w.fetch_add(1, relaxed); });
                   }})
                  .ok());
  EXPECT_EQ(first, 65u) << "from memory";
  EXPECT_EQ(other, 65u) << "from CPU 0";
  EXPECT_EQ(again, 65u) << "and back";
}

TEST(timed_lines, readers_share_a_line_until_somebody_writes_it) {
  line l;
  std::array<std::uint64_t, 3> reader{};
  std::uint64_t upgrade = 0;
  EXPECT_TRUE(run({[&] {
                     reader[0] = cost([&] { EXPECT_EQ(l.w.load(relaxed), 0u); });
                     timed_run::spend(200);
                     reader[1] = cost([&] { EXPECT_EQ(l.w.load(relaxed), 0u); });  // CPU 1 read it meanwhile
                     timed_run::spend(500);
                     reader[2] = cost([&] { EXPECT_EQ(l.w.load(relaxed), 7u); });  // and has written it now
                   },
                   [&] {
                     timed_run::spend(100);
                     EXPECT_EQ(l.beside.load(relaxed), 0u);
                     timed_run::spend(300);
                     upgrade = cost([&] { l.w.store(7, relaxed); });
                   }})
                  .ok());
  EXPECT_EQ(reader[0], 61u);
  EXPECT_EQ(reader[1], 1u);
  EXPECT_EQ(reader[2], 61u);
  EXPECT_EQ(upgrade, 61u) << "a shared copy is not enough to write";
}

TEST(timed_lines, words_on_different_lines_do_not_disturb_each_other) {
  std::array<line, 2> l;
  std::array<std::uint64_t, 2> total{};
  const auto work = [&](std::size_t i) {
    return [&, i] {
      l[i].w.fetch_add(1, relaxed);
      total[i] = cost([&] {
        for (int n = 0; n != 100; ++n) l[i].w.fetch_add(1, relaxed);
      });
    };
  };
  EXPECT_TRUE(run({work(0), work(1)}).ok());
  EXPECT_EQ(total[0], 500u);
  EXPECT_EQ(total[1], 500u);
}

TEST(timed_lines, contenders_get_the_line_one_after_the_other) {
  for (const std::uint32_t oldest_first : {0u, 1000u}) {
    line l;
    std::vector<std::uint64_t> done;
    std::vector<timed_run::task> tasks;
    for (unsigned cpu = 0; cpu != 8; ++cpu)
      tasks.push_back([&] {
        l.w.fetch_add(1, relaxed);
        done.push_back(now());
      });
    timed_options o = plain();
    o.arbitration.oldest_first = oldest_first;
    EXPECT_TRUE(run(std::move(tasks), o).ok());
    std::sort(done.begin(), done.end());
    for (std::size_t i = 0; i != done.size(); ++i) EXPECT_EQ(done[i], 65 * (i + 1));
    EXPECT_EQ(l.w.load(relaxed), 8u);
  }
}

TEST(timed_lines, readers_are_served_one_at_a_time_too) {
  line l;
  std::vector<std::uint64_t> done;
  const auto reader = [&] {
    static_cast<void>(l.w.load(relaxed));
    done.push_back(now());
  };
  EXPECT_TRUE(run({reader, reader, reader}).ok());
  std::sort(done.begin(), done.end());
  EXPECT_EQ(done, (std::vector<std::uint64_t>{61, 121, 181}));
}

TEST(timed_lines, a_fifo_serves_in_the_order_of_arrival_and_chance_does_not) {
  const auto order = [](std::uint32_t oldest_first, std::uint64_t seed) {
    line l;
    std::vector<unsigned> served;
    std::vector<timed_run::task> tasks;
    for (unsigned cpu = 0; cpu != 16; ++cpu)
      tasks.push_back([&, cpu] {
        timed_run::spend(cpu);
        l.w.fetch_add(1, relaxed);
        served.push_back(cpu);
      });
    timed_options o = plain();
    o.arbitration.oldest_first = oldest_first;
    o.seed = seed;
    EXPECT_TRUE(run(std::move(tasks), o).ok());
    return served;
  };
  const auto fifo = order(1000, 1);
  EXPECT_TRUE(std::is_sorted(fifo.begin(), fifo.end()));
  EXPECT_NE(order(0, 1), fifo);
  EXPECT_EQ(order(0, 1), order(0, 1));
  EXPECT_NE(order(0, 1), order(0, 2));
}

TEST(timed_lines, transfers_take_longer_by_the_fitted_parameters_only) {
  line l;
  std::vector<std::uint64_t> done;
  const auto add = [&] {
    l.w.fetch_add(1, relaxed);
    done.push_back(now());
  };
  timed_options far = plain();
  far.arbitration.distance = 100;  // 6 ns for each of the two further CPUs
  EXPECT_TRUE(run({add, add, add}, far).ok());
  EXPECT_EQ(done, (std::vector<std::uint64_t>{77, 154, 231}));

  done.clear();
  timed_options crowded = plain();
  crowded.arbitration.crowding = 100;
  // The first asks alone; then one waits beside the winner, and the last winner's line has to leave its owner.
  EXPECT_TRUE(run({add, add, add}, crowded).ok());
  std::sort(done.begin(), done.end());
  ASSERT_EQ(done.size(), 3u);
  EXPECT_EQ(done[0], 65u);
  EXPECT_EQ(done[1] - done[0], 65u + 12) << "one waits, one had it";
  EXPECT_EQ(done[2] - done[1], 65u + 6) << "one had it";
}

TEST(timed_lines, a_compare_exchange_loop_succeeds_once_a_round_on_a_fifo_and_more_often_by_chance) {
  const auto attempts = [](std::uint32_t oldest_first) {
    line l;
    std::vector<timed_run::task> tasks;
    for (unsigned cpu = 0; cpu != 32; ++cpu)
      tasks.push_back([&] {
        for (int n = 0; n != 20; ++n) {
          std::uint64_t seen = l.w.load(relaxed);
          while (!l.w.compare_exchange_weak(seen, seen + 1, relaxed, relaxed)) {
          }
        }
      });
    timed_options o = plain();
    o.arbitration.oldest_first = oldest_first;
    const timed_report r = run(std::move(tasks), o);
    EXPECT_TRUE(r.ok());
    EXPECT_EQ(l.w.load(relaxed), 32u * 20);
    return 1 + static_cast<double>(r.count(counter::failed_cas)) / (32 * 20);
  };
  // On a FIFO one attempt of a round succeeds, and it is the same CPU's until that has finished: 32, 31, ... 1 contenders.
  EXPECT_NEAR(attempts(1000), 33 / 2.0, 0.6);
  const double by_chance = attempts(0);
  EXPECT_GT(by_chance, 4);  // sqrt(pi/2 * contenders) of them
  EXPECT_LT(by_chance, 11);
}

TEST(timed_lines, a_waiter_sleeps_until_its_line_is_written) {
  line l;
  std::uint64_t seen_at = 0, written_at = 0;
  const timed_report r = run({[&] {
                                while (l.w.load(relaxed) == 0) env::relax();
                                seen_at = now();
                              },
                              [&] {
                                timed_run::spend(2'000'000);
                                l.w.store(1, relaxed);
                                written_at = now();
                              }});
  EXPECT_TRUE(r.ok());
  EXPECT_EQ(seen_at, written_at - machine::hit + machine::pause + machine::line_transfer + machine::hit);
  EXPECT_LT(r.events, 100u) << "2 ms of waiting must not be 2 ms of turns";
}

TEST(timed_lines, a_waiter_that_lost_its_line_already_looks_again_at_once) {
  line l;
  std::uint64_t waited = 0;
  EXPECT_TRUE(run({[&] {
                     static_cast<void>(l.w.load(relaxed));  // 61
                     timed_run::spend(500);                 // CPU 1 writes meanwhile
                     waited = cost([] { env::relax(); });
                   },
                   [&] {
                     timed_run::spend(100);
                     l.w.store(1, relaxed);
                   }})
                  .ok());
  EXPECT_EQ(waited, machine::pause);
}

TEST(timed_lines, dma_words_cost_as_atomics_do) {
  struct alignas(cache_line) {
    env::dma_word w{};
  } memory;
  std::uint64_t first = 0, again = 0;
  EXPECT_TRUE(run({[&] {
                first = cost([&] { memory.w.store(3, relaxed); });
                again = cost([&] { EXPECT_EQ(memory.w.load(relaxed), 3u); });
              }}).ok());
  EXPECT_EQ(first, 61u);
  EXPECT_EQ(again, 1u);
}

TEST(timed_lines, a_closed_loop_on_one_line_has_the_throughput_that_follows_from_its_costs) {
  // Four CPUs think 50 ns and add: 50 + 65 = 115 < 4 * 65, so the line is busy all the time, one add in 65 ns.
  line l;
  std::vector<timed_run::task> tasks;
  for (unsigned cpu = 0; cpu != 4; ++cpu)
    tasks.push_back([&] {
      for (int n = 0; n != 100; ++n) {
        l.w.fetch_add(1, relaxed);
        timed_run::spend(50);
      }
    });
  timed_options o = plain();
  o.arbitration.oldest_first = 1000;
  const timed_report r = run(std::move(tasks), o);
  EXPECT_TRUE(r.ok());
  EXPECT_EQ(since_epoch(r.end), 400u * 65 + 50);
  EXPECT_EQ(r.count(counter::shared_rmw), 400u);
  EXPECT_EQ(r.most_travelled, 400u * 60);
  EXPECT_EQ(r.count(counter::failed_cas), 0u);
}

}  // namespace
