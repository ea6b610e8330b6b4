// SPDX-License-Identifier: MIT
#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include <shootdown/host/env.hpp>
#include <shootdown/invs/domain.hpp>

#include "invs/mini_smmu.hpp"

// The same on threads: bounded work, meant for ThreadSanitizer.
namespace {
using namespace shootdown;
using host::env;
using domain_t = domain<env, test_support::recording_port>;
using smmu_t = invs_test::mini_smmu<env>;

TEST(domain_threads, unmaps_run_while_masters_come_and_go) {
  const host::thread_scope scope;
  {
    invs_test::one_page page;
    domain_options o;
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
        for (int i = 0; i != 60; ++i) {
          check(d.attach(at, {s.port, id}, s.of(stream), deadline::never()));
          if (i % 8 == 0) d.purge();
          for (int k = 0; k != 3; ++k) s.access(stream);
          check(d.detach(at, s.of(stream), deadline::never()));
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
          std::this_thread::yield();
        } while (controllers != 0);
      });
    }
    threads.emplace_back([&] {
      while (controllers != 0) {
        for (unsigned i = 0; i != 2; ++i) a.access(i);
        b.access(0);
      }
    });
    for (auto& t : threads) t.join();
    EXPECT_EQ(bad, 0u);
    EXPECT_EQ(page.leaks, 0u);
    EXPECT_GE(page.uses, 3u * 60 * 3);
    EXPECT_TRUE(d.check_invariants());
    for (auto* s : {&a, &b}) {
      EXPECT_EQ(s->port.violations(), std::vector<std::string>{});
      EXPECT_EQ(s->port.tags().used(), 0u);
      EXPECT_EQ(s->port.unsettled(), 0u);
    }
  }
  env::rcu::drain();
}

TEST(domain_threads, an_instance_goes_after_synchronize) {
  const host::thread_scope scope;
  {
    invs_test::one_page page;
    domain_t d{domain_options{}};
    auto doomed = std::make_unique<smmu_t>(std::uint16_t{0}, page);
    smmu_t stays{1, page};
    const stream_id id[]{stream_id{0}};
    domain_t::attachment_t x, y;
    ASSERT_TRUE(d.attach(x, {doomed->port, id}, doomed->of(0), deadline::never()).ok());
    ASSERT_TRUE(d.attach(y, {stays.port, id}, stays.of(0), deadline::never()).ok());
    std::atomic<bool> stop{}, running{};
    std::thread reader{[&] {
      const host::thread_scope mine;
      while (!stop) {
        EXPECT_TRUE(invs_test::unmap(page, d, deadline::never()).ok());
        running = true;
      }
    }};
    while (!running) std::this_thread::yield();
    EXPECT_TRUE(d.detach(x, doomed->of(0), deadline::never()).ok());
    domain_t::synchronize();
    doomed.reset();  // AddressSanitizer and ThreadSanitizer watch a reader that would still use it
    for (const auto from = page.pte.load(); page.pte.load() < from + 5;) std::this_thread::yield();
    stop = true;
    reader.join();
    EXPECT_TRUE(d.detach(y, stays.of(0), deadline::never()).ok());
  }
  env::rcu::drain();
}

}  // namespace
