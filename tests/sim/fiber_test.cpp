// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

#include <shootdown/sim/fiber.hpp>

namespace {

using shootdown::sim::fiber;
constexpr std::size_t stack_bytes = 128u * 1024u;

// A fiber with a body that gets its own fiber.
struct coroutine {
  explicit coroutine(std::function<void(fiber&)> f) : body{std::move(f)}, self{stack_bytes, &enter, this} {}
  static void enter(void* p) noexcept {
    auto* const c = static_cast<coroutine*>(p);
    c->body(c->self);
  }
  std::function<void(fiber&)> body;
  fiber self;
};

TEST(fiber, runs_from_resume_to_suspend_and_ends) {
  std::vector<int> order;
  coroutine c{[&](fiber& self) {
    order.push_back(1);
    self.suspend();
    order.push_back(3);
  }};
  ASSERT_TRUE(c.self.valid());
  EXPECT_TRUE(order.empty());
  c.self.resume();
  order.push_back(2);
  EXPECT_FALSE(c.self.done());
  c.self.resume();
  EXPECT_TRUE(c.self.done());
  EXPECT_EQ(order, (std::vector{1, 2, 3}));
}

TEST(fiber, keeps_locals_registers_and_floating_point_values_over_switches) {
  constexpr int fibers = 5;
  constexpr int turns = 50;
  std::vector<double> results(fibers);
  std::vector<std::unique_ptr<coroutine>> all;
  for (int n = 0; n != fibers; ++n)
    all.push_back(std::make_unique<coroutine>([n, &results](fiber& self) {
      double x = n;
      std::uint64_t a = 1, b = static_cast<std::uint64_t>(n), c = 3, d = 5, e = 7, f = 11, g = 13, h = 17;
      for (int i = 0; i != turns; ++i) {
        x += 0.5;
        a += b, b ^= c, c += d, d ^= e, e += f, f ^= g, g += h, h ^= a;
        self.suspend();
      }
      results[static_cast<std::size_t>(n)] = x + static_cast<double>((a ^ b ^ c ^ d ^ e ^ f ^ g ^ h) % 1000);
    }));
  for (int i = 0; i <= turns; ++i)
    for (auto& c : all) c->self.resume();
  for (int n = 0; n != fibers; ++n) {  // the same without any switch
    double x = n;
    std::uint64_t a = 1, b = static_cast<std::uint64_t>(n), c = 3, d = 5, e = 7, f = 11, g = 13, h = 17;
    for (int i = 0; i != turns; ++i) {
      x += 0.5;
      a += b, b ^= c, c += d, d ^= e, e += f, f ^= g, g += h, h ^= a;
    }
    EXPECT_EQ(results[static_cast<std::size_t>(n)], x + static_cast<double>((a ^ b ^ c ^ d ^ e ^ f ^ g ^ h) % 1000)) << n;
    EXPECT_TRUE(all[static_cast<std::size_t>(n)]->self.done());
  }
}

TEST(fiber, running_names_the_innermost_and_a_fiber_may_resume_another) {
  EXPECT_EQ(fiber::running(), nullptr);
  std::vector<const fiber*> seen;
  coroutine inner{[&](fiber& self) {
    seen.push_back(fiber::running());
    self.suspend();
    seen.push_back(fiber::running());
  }};
  coroutine outer{[&](fiber& self) {
    inner.self.resume();
    seen.push_back(fiber::running());
    self.suspend();
    inner.self.resume();
    seen.push_back(fiber::running());
  }};
  outer.self.resume();
  EXPECT_EQ(fiber::running(), nullptr);
  outer.self.resume();
  EXPECT_TRUE(inner.self.done() && outer.self.done());
  EXPECT_EQ(seen, (std::vector<const fiber*>{&inner.self, &outer.self, &inner.self, &outer.self}));
}

TEST(fiber, exceptions_work_inside_of_it) {
  int caught = 0;
  coroutine c{[&](fiber& self) {
    for (int i = 0; i != 3; ++i) {
      try {
        if (i != 1) throw std::runtime_error{"inside"};
      } catch (const std::runtime_error&) {
        ++caught;
      }
      self.suspend();
    }
  }};
  while (!c.self.done()) c.self.resume();
  EXPECT_EQ(caught, 2);
}

[[gnu::noinline]] int eat_stack(int depth) {
  volatile unsigned char frame[512];
  frame[depth % 512] = 1;
  return depth == 0 ? frame[0] : eat_stack(depth - 1) + frame[depth % 512];
}

TEST(fiber, uses_its_own_stack_deeply) {
  int result = 0;
  coroutine c{[&](fiber& self) {
    self.suspend();
    result = eat_stack(60);
  }};
  while (!c.self.done()) c.self.resume();
  EXPECT_EQ(result, 61);
}

TEST(fiber, an_abandoned_stack_leaves_nothing_behind_for_the_next_one) {
  for (int i = 0; i != 200; ++i) {
    coroutine c{[&](fiber& self) {
      volatile char red_zones_around_it[100] = {};
      self.suspend();
      ADD_FAILURE() << "resumed" << red_zones_around_it[99];
    }};
    c.self.resume();
    EXPECT_FALSE(c.self.done());
  }
}

TEST(fiber, threads_have_fibers_of_their_own) {
  std::vector<std::thread> all;
  std::vector<int> sums(3);
  for (std::size_t t = 0; t != 3; ++t)
    all.emplace_back([t, &sums] {
      int sum = 0;
      coroutine c{[&](fiber& self) {
        for (int i = 1; i <= 100; ++i) {
          sum += i;
          self.suspend();
        }
      }};
      while (!c.self.done()) c.self.resume();
      sums[t] = sum;
    });
  for (auto& t : all) t.join();
  EXPECT_EQ(sums, (std::vector{5050, 5050, 5050}));
}

TEST(fiber, without_memory_for_a_stack_it_is_invalid) {
  fiber f{std::size_t{1} << 60, [](void*) noexcept {}, nullptr};
  EXPECT_FALSE(f.valid());
}

#if !SHOOTDOWN_ASAN && !SHOOTDOWN_TSAN  // they bring their own handling of stack overflow
TEST(fiber_death_test, a_stack_that_overflows_faults_instead_of_reaching_its_neighbour) {
  EXPECT_DEATH(
      {
        coroutine c{[](fiber&) { eat_stack(1000); }};
        c.self.resume();
      },
      "");
}
#endif

}  // namespace
