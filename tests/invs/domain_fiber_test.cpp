// SPDX-License-Identifier: MIT
#include <atomic>
#include <functional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <shootdown/invs/domain.hpp>
#include <shootdown/sim/round_robin_env.hpp>

#include "invs/mini_smmu.hpp"

// Attach, detach and replace against unmaps and running devices, on deterministic interleavings: each seed is one schedule.
namespace {
using namespace shootdown;
using sim::round_robin_env;
using domain_t = domain<round_robin_env, test_support::recording_port>;
using smmu_t = invs_test::mini_smmu<round_robin_env>;

struct mutation {
  opcode lost{};       // the first instance never hears this opcode
  bool early_entry{};  // the STE is written before the domain is asked
  bool alone{};        // the first instance has one master only, so its tag often dies
};

struct outcome {
  std::uint64_t leaks{}, uses{};
  std::vector<std::string> violations;
  bool ok{true};
};

outcome run(std::uint64_t seed, mutation m = {}) {
  invs_test::one_page page;
  domain_options o;
  domain_t d{o};
  o.number = 1;
  domain_t other{o};
  smmu_t a{0, page}, b{1, page};
  for (auto* s : {&a, &b}) s->port.control().polls_to_complete = seed % 4;
  a.port.control().deaf_to = m.lost;
  // Atomic although one thread runs all: ThreadSanitizer sees threads.
  std::atomic<bool> stop{}, fine{true};
  std::atomic<int> controllers{3};
  const auto check = [&](status s) {
    if (!s.ok()) fine = false;
  };

  const auto come_and_go = [&](smmu_t& s, unsigned stream) {
    return [&, stream] {
      const stream_id id[]{stream_id{stream}};
      domain_t::attachment_t at;
      for (int i = 0; i != 6; ++i) {
        if (m.early_entry) s.install_early(stream, 1);
        check(d.attach(at, {s.port, id}, s.of(stream), deadline::never()));
        for (int k = 0; k != 20; ++k) round_robin_env::relax();
        check(d.detach(at, s.of(stream), deadline::never()));
        for (int k = 0; k != 20; ++k) round_robin_env::relax();
      }
      if (--controllers == 0) stop = true;
    };
  };
  const auto unmapper = [&] {
    while (!stop) {
      check(invs_test::unmap(page, d, deadline::never()));
      for (std::uint64_t k = 0; k != seed % 7 * 3; ++k) round_robin_env::relax();
    }
  };
  const auto device = [&] {
    while (!stop) {
      for (unsigned i = 0; i != 3; ++i) {
        a.access(i);
        b.access(i);
      }
      round_robin_env::relax();
    }
  };
  std::vector<std::function<void()>> tasks{
      come_and_go(a, 0), come_and_go(m.alone ? b : a, 1), come_and_go(b, 0), unmapper, unmapper, device};
  const auto report = sim::round_robin::run(tasks, {.seed = seed});
  outcome result;
  result.ok = fine && report.ok() && d.check_invariants();
  result.leaks = page.leaks;
  result.uses = page.uses;
  for (auto* s : {&a, &b}) {
    for (auto& v : s->port.violations()) result.violations.push_back(v);
  }
  return result;
}

TEST(domain_fibers, no_device_uses_what_an_invalidation_promised_gone) {
  std::uint64_t uses = 0;
  for (std::uint64_t seed = 1; seed != 40; ++seed) {
    const auto r = run(seed);
    ASSERT_TRUE(r.ok) << "seed " << seed;
    ASSERT_EQ(r.leaks, 0u) << "seed " << seed;
    ASSERT_EQ(r.violations, std::vector<std::string>{}) << "seed " << seed;
    uses += r.uses;
  }
  EXPECT_GT(uses, 500u) << "devices did translate";
}

// The port may be taken down when synchronize() has returned: a reader of the array from before may have waited on it until then.
TEST(domain_fibers, no_reader_asks_an_instance_any_more_when_synchronize_has_returned) {
  unsigned late_readers = 0;
  for (std::uint64_t seed = 1; seed != 40; ++seed) {
    invs_test::one_page page;
    domain_t d{domain_options{}};
    smmu_t goes{0, page}, stays{1, page};
    for (auto* s : {&goes, &stays}) s->port.control().polls_to_complete = 3 + seed % 5;
    const stream_id id[]{stream_id{0}};
    std::atomic<bool> attached{}, stop{};
    const auto asked = [&] { return goes.port.polls() + goes.port.waits() + goes.port.tries() + goes.port.blocking_submits(); };
    std::size_t at_return = 0, at_end = 0;
    const auto control = [&] {
      domain_t::attachment_t x, y;
      EXPECT_TRUE(d.attach(x, {goes.port, id}, goes.of(0), deadline::never()).ok());
      EXPECT_TRUE(d.attach(y, {stays.port, id}, stays.of(0), deadline::never()).ok());
      attached = true;
      for (std::uint64_t k = 0; k != seed * 7; ++k) round_robin_env::relax();
      EXPECT_TRUE(d.detach(x, goes.of(0), deadline::never()).ok());
      const std::size_t at_detach = asked();
      domain_t::synchronize();
      at_return = asked();
      late_readers += at_return != at_detach ? 1u : 0u;
      for (int k = 0; k != 200; ++k) round_robin_env::relax();
      at_end = asked();
      stop = true;
      EXPECT_TRUE(d.detach(y, stays.of(0), deadline::never()).ok());
    };
    const auto reader = [&] {
      while (!attached) round_robin_env::relax();
      while (!stop) EXPECT_TRUE(invs_test::unmap(page, d, deadline::never()).ok());
    };
    std::vector<std::function<void()>> tasks{control, reader, reader};
    // The port's counts are plain words, so the switches have to order them in ThreadSanitizer's eyes.
    ASSERT_TRUE(sim::round_robin::run(tasks, {.seed = seed, .switches_order = true}).ok()) << "seed " << seed;
    ASSERT_EQ(at_end, at_return) << "seed " << seed;
  }
  EXPECT_GT(late_readers, 5u) << "in some of these schedules there was somebody to wait for";
}

bool some_seed_leaks(mutation m) {
  for (std::uint64_t seed = 1; seed != 60; ++seed) {
    if (run(seed, m).leaks != 0) return true;
  }
  return false;
}

TEST(domain_fibers, an_entry_written_before_the_array_leaks) { EXPECT_TRUE(some_seed_leaks({.early_entry = true})); }
TEST(domain_fibers, a_lost_whole_tag_flush_leaks) { EXPECT_TRUE(some_seed_leaks({.lost = opcode::tlbi_nh_asid, .alone = true})); }
TEST(domain_fibers, a_lost_invalidation_leaks) { EXPECT_TRUE(some_seed_leaks({.lost = opcode::tlbi_nh_va})); }

TEST(domain_fibers, replace_in_both_directions_neither_deadlocks_nor_leaks) {
  for (std::uint64_t seed = 1; seed != 20; ++seed) {
    invs_test::one_page page;
    domain_options o;
    domain_t d{o};
    o.number = 1;
    domain_t other{o};
    smmu_t a{0, page}, b{1, page};
    std::atomic<bool> stop{};
    std::atomic<int> movers{2};
    const auto check = [&](status s) { EXPECT_TRUE(s.ok()) << name(s.code()); };
    const auto mover = [&](smmu_t& s, unsigned stream, domain_t& home, domain_t& away) {
      return [&, stream] {
        const stream_id id[]{stream_id{stream}};
        domain_t::attachment_t at;
        check(home.attach(at, {s.port, id}, s.of(stream), deadline::never()));
        for (int i = 0; i != 4; ++i) {
          check(home.replace(at, away, s.of(stream), deadline::never()));
          check(away.replace(at, home, s.of(stream), deadline::never()));
        }
        check(home.detach(at, s.of(stream), deadline::never()));
        if (--movers == 0) stop = true;
      };
    };
    // Both domains share the page, so an unmap invalidates both.
    const auto unmapper = [&] {
      const range_piece piece{0x1000, 0x1000, granule::k4, 8, 0};
      while (!stop) {
        const std::uint64_t now = page.pte.fetch_add(1) + 1;
        check(d.invalidate({&piece, 1}, deadline::never()));
        check(other.invalidate({&piece, 1}, deadline::never()));
        page.promised = now;
      }
    };
    const auto device = [&] {
      while (!stop) {
        a.access(0);
        b.access(0);
        round_robin_env::relax();
      }
    };
    const auto report = sim::round_robin::run({mover(a, 0, d, other), mover(b, 0, other, d), unmapper, device}, {.seed = seed});
    ASSERT_TRUE(report.ok()) << "seed " << seed;
    ASSERT_EQ(page.leaks.load(), 0u) << "seed " << seed;
    ASSERT_GT(page.uses.load(), 0u);
    for (auto* s : {&a, &b}) ASSERT_EQ(s->port.violations(), std::vector<std::string>{}) << "seed " << seed;
    ASSERT_TRUE(d.check_invariants());
    ASSERT_TRUE(other.check_invariants());
  }
}

}  // namespace
