// SPDX-License-Identifier: MIT
#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include <shootdown/host/env.hpp>
#include <shootdown/invs/domain.hpp>

#include "invs/ats_smmu.hpp"

// Devices with caches on threads: bounded work, meant for ThreadSanitizer.
namespace {
using namespace shootdown;
using host::env;
using domain_t = domain<env, test_support::recording_port>;
using smmu_t = invs_test::ats_smmu<env>;

class domain_ats_threads : public ::testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(kinds, domain_ats_threads, ::testing::Bool(),
                         [](const auto& i) { return i.param ? "nesting_parent" : "stage_1"; });

TEST_P(domain_ats_threads, no_device_is_asked_behind_its_detach_and_none_leaks) {
  const host::thread_scope scope;
  {
    invs_test::one_page page;
    domain_options o;
    o.stage = GetParam() ? translation_stage::two : translation_stage::one;
    o.nesting_parent = GetParam();
    domain_t d{o};
    smmu_t a{0, page}, b{1, page};
    for (auto* s : {&a, &b}) s->port.control().polls_to_complete = 2;
    std::atomic<int> controllers{3};
    std::atomic<unsigned> bad{};
    const auto check = [&](status s) {
      if (!s.ok()) ++bad;
    };
    std::vector<std::thread> threads;
    const auto come_and_go = [&](smmu_t& s, unsigned stream) {
      threads.emplace_back([&, stream] {
        const host::thread_scope mine;
        const stream_id id[]{stream_id{stream}};
        domain_t::attachment_t at;
        for (int i = 0; i != 40; ++i) {
          s.gone(stream, false);
          check(d.attach(at, {s.port, id, {}, true}, s.of(stream), deadline::never()));
          if (i % 8 == 0) d.purge();
          for (int k = 0; k != 3; ++k) s.access(stream);
          if (i % 4 == 0) {
            check(d.reattach(at, {s.port, id}, s.of(stream), deadline::never()));
            check(d.reattach(at, {s.port, id, {}, true}, s.of(stream), deadline::never()));
            s.access(stream);
          }
          check(d.detach(at, s.of(stream), deadline::never()));
          s.gone(stream, true);
        }
        --controllers;
      });
    };
    come_and_go(a, 0);
    come_and_go(a, 1);
    come_and_go(b, 0);
    for (int k = 0; k != 2; ++k) {
      threads.emplace_back([&] {
        const host::thread_scope mine;
        do {
          check(invs_test::unmap(page, d, deadline::never()));
        } while (controllers != 0);
      });
    }
    threads.emplace_back([&] {
      while (controllers != 0) {
        for (unsigned i = 0; i != 2; ++i) a.access(i);
        b.access(0);
        std::this_thread::yield();
      }
    });
    for (auto& t : threads) t.join();
    EXPECT_EQ(bad, 0u);
    EXPECT_EQ(page.leaks, 0u);
    EXPECT_GT(page.uses, 0u);
    EXPECT_TRUE(d.check_invariants());
    for (auto* s : {&a, &b}) {
      EXPECT_EQ(s->late, 0u);
      EXPECT_GT(s->asked, 0u);
      EXPECT_EQ(s->port.violations(), std::vector<std::string>{});
      EXPECT_EQ(s->port.tags().used(), 0u);
      EXPECT_EQ(s->port.unsettled(), 0u);
    }
  }
  env::rcu::drain();
}

// Readers that never pause: a fence that waited for later ones would not come back.
TEST(domain_ats_thread, detach_comes_back_under_a_steady_stream_of_invalidations) {
  const host::thread_scope scope;
  {
    invs_test::one_page page;
    domain_t d{domain_options{}};
    smmu_t a{0, page};
    const stream_id first[]{stream_id{0}}, second[]{stream_id{1}};
    domain_t::attachment_t stays, goes;
    ASSERT_TRUE(d.attach(stays, {a.port, first, {}, true}, a.of(0), deadline::never()).ok());
    std::atomic<bool> stop{};
    std::atomic<unsigned> bad{};
    std::vector<std::thread> readers;
    for (int k = 0; k != 3; ++k) {
      readers.emplace_back([&] {
        const host::thread_scope mine;
        while (!stop) {
          if (!invs_test::unmap(page, d, deadline::never()).ok()) ++bad;
        }
      });
    }
    for (int i = 0; i != 30; ++i) {
      a.gone(1, false);
      EXPECT_TRUE(d.attach(goes, {a.port, second, {}, true}, a.of(1), deadline::never()).ok());
      EXPECT_TRUE(d.detach(goes, a.of(1), deadline::never()).ok());
      a.gone(1, true);
    }
    stop = true;
    for (auto& t : readers) t.join();
    EXPECT_EQ(bad, 0u);
    EXPECT_EQ(a.late, 0u);
    EXPECT_TRUE(d.detach(stays, a.of(0), deadline::never()).ok());
  }
  env::rcu::drain();
}

}  // namespace
