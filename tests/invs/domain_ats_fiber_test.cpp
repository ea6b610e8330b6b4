// SPDX-License-Identifier: MIT
#include <atomic>
#include <functional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <shootdown/env/sanitizer.hpp>
#include <shootdown/invs/domain.hpp>
#include <shootdown/sim/round_robin_env.hpp>

#include "invs/ats_smmu.hpp"

// Devices with caches come, go, change domains and their ATS state, against unmaps and their own requests, on deterministic
// interleavings: each seed is one schedule.
namespace {
using namespace shootdown;
using sim::round_robin_env;
using domain_t = domain<round_robin_env, test_support::recording_port>;
using smmu_t = invs_test::ats_smmu<round_robin_env>;

// One fiber at a time runs, so ThreadSanitizer learns little from more schedules, and each costs it far more.
constexpr std::uint64_t seeds = SHOOTDOWN_TSAN ? 10 : 250;

struct setting {
  translation_stage stage{translation_stage::one};
  bool parent{};
  opcode lost{};     // the first instance never hears this opcode
  bool impatient{};  // a device is called gone before its detach has returned
};

struct outcome {
  std::uint64_t leaks{}, uses{}, late{}, hits{};
  std::vector<std::string> violations;
  bool ok{true};
};

outcome run(std::uint64_t seed, setting m = {}) {
  invs_test::one_page page;
  domain_options o;
  o.stage = m.stage;
  o.nesting_parent = m.parent;
  domain_t d{o};
  o.number = 1;
  domain_t other{o};
  smmu_t a{0, page}, b{1, page};
  for (auto* s : {&a, &b}) s->port.control().polls_to_complete = seed % 4;
  a.port.control().deaf_to = m.lost;
  std::atomic<bool> stop{}, fine{true};  // atomic although one thread runs all: ThreadSanitizer sees threads
  std::atomic<int> controllers{3};
  const auto check = [&](status s) {
    if (!s.ok()) fine = false;
  };
  const auto pause = [] {
    for (int k = 0; k != 8; ++k) round_robin_env::relax();
  };
  const auto come_and_go = [&](smmu_t& s, unsigned stream, bool begin_with_ats) {
    return [&, stream, begin_with_ats] {
      const stream_id id[]{stream_id{stream}};
      domain_t::attachment_t at;
      for (int i = 0; i != 3; ++i) {
        s.gone(stream, false);
        check(d.attach(at, {s.port, id, {}, begin_with_ats}, s.of(stream), deadline::never()));
        pause();
        check(d.reattach(at, {s.port, id, {}, !begin_with_ats}, s.of(stream), deadline::never()));
        pause();
        check(d.replace(at, other, {s.port, id, {}, true}, s.of(stream), deadline::never()));
        pause();
        check(other.replace(at, d, s.of(stream), deadline::never()));
        pause();
        if (m.impatient) s.gone(stream, true);
        check(d.detach(at, s.of(stream), deadline::never()));
        s.gone(stream, true);
        pause();
      }
      if (--controllers == 0) stop = true;
    };
  };
  const auto unmapper = [&] {
    const range_piece piece{0x1000, 0x1000, granule::k4, 8, 0};
    while (!stop) {
      const std::uint64_t now = page.pte.fetch_add(1) + 1;
      check(d.invalidate({&piece, 1}, deadline::never()));
      check(other.invalidate({&piece, 1}, deadline::never()));  // both domains show the page
      std::uint64_t seen = page.promised.load();
      while (seen < now && !page.promised.compare_exchange_weak(seen, now)) {
      }
      for (std::uint64_t k = 0; k != seed % 5; ++k) round_robin_env::relax();
    }
  };
  const auto device = [&] {
    while (!stop) {
      for (unsigned i = 0; i != 2; ++i) {
        a.access(i);
        b.access(i);
      }
      round_robin_env::relax();
    }
  };
  std::vector<std::function<void()>> tasks{
      come_and_go(a, 0, true), come_and_go(a, 1, false), come_and_go(b, 0, true), unmapper, unmapper, device};
  const auto report = sim::round_robin::run(tasks, {.seed = seed});
  outcome result;
  result.ok = fine && report.ok() && d.check_invariants() && other.check_invariants();
  result.leaks = page.leaks;
  result.uses = page.uses;
  for (auto* s : {&a, &b}) {
    result.late += s->late;
    result.hits += s->hits;
    for (auto& v : s->port.violations()) result.violations.push_back(v);
  }
  return result;
}

class domain_ats_fibers : public ::testing::TestWithParam<setting> {};
INSTANTIATE_TEST_SUITE_P(kinds, domain_ats_fibers,
                         ::testing::Values(setting{}, setting{.stage = translation_stage::two},
                                           setting{.stage = translation_stage::two, .parent = true}),
                         [](const auto& i) {
                           return i.param.parent ? "nesting_parent" : i.param.stage == translation_stage::two ? "stage_2" : "stage_1";
                         });

TEST_P(domain_ats_fibers, no_device_uses_what_was_promised_gone_and_none_is_asked_when_it_has_left) {
  std::uint64_t uses = 0, hits = 0;
  // About one schedule in two hundred lets a device that joins a tag in use cache a TLB entry that an earlier reader is about to
  // invalidate: without the flush in enter() it leaks.
  for (std::uint64_t seed = 1; seed != seeds; ++seed) {
    const auto r = run(seed, GetParam());
    ASSERT_TRUE(r.ok) << "seed " << seed;
    ASSERT_EQ(r.leaks, 0u) << "seed " << seed;
    ASSERT_EQ(r.late, 0u) << "seed " << seed;
    ASSERT_EQ(r.violations, std::vector<std::string>{}) << "seed " << seed;
    uses += r.uses;
    hits += r.hits;
  }
  EXPECT_GT(uses, 100u);
  EXPECT_GT(hits, 30u) << "from the devices' own caches";
}

template <class F>
bool some_seed(setting m, F&& bad) {
  for (std::uint64_t seed = 1; seed != 40; ++seed) {
    if (bad(run(seed, m))) return true;
  }
  return false;
}
TEST(domain_ats_fiber_mutations, lost_device_invalidations_leak) {
  EXPECT_TRUE(some_seed({.lost = opcode::atc_inv}, [](const outcome& r) { return r.leaks != 0; }));
}
TEST(domain_ats_fiber_mutations, lost_stage_2_invalidations_leak) {
  EXPECT_TRUE(some_seed({.stage = translation_stage::two, .lost = opcode::tlbi_s2_ipa}, [](const outcome& r) { return r.leaks != 0; }));
}
TEST(domain_ats_fiber_mutations, invalidations_do_reach_a_device_until_its_detach_has_returned) {
  EXPECT_TRUE(some_seed({.impatient = true}, [](const outcome& r) { return r.late != 0; }));
}

}  // namespace
