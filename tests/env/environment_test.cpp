// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>

#include <shootdown/env/archetype.hpp>
#include <shootdown/host/env.hpp>
#include <shootdown/sim/round_robin_env.hpp>

namespace {

using namespace shootdown;

// Each of these lacks one piece of the archetype, or has it with a wrong type.
struct no_rcu : archetype_env {
  using rcu = void;
};
struct retire_may_throw : archetype_env {
  struct rcu : archetype_env::rcu {
    static void retire(head&, callback) {}
  };
};
struct no_publish : archetype_env {
  struct rcu : archetype_env::rcu {
    static void publish() = delete;
  };
};
struct dereference_by_value : archetype_env {
  struct rcu : archetype_env::rcu {
    template <class T>
    static T dereference(const atomic<T*>&) noexcept;
  };
};
struct guard_needs_argument : archetype_env {
  struct rcu : archetype_env::rcu {
    struct guard {
      explicit guard(int) {}
    };
  };
};
struct no_quiescent : archetype_env {
  struct rcu : archetype_env::rcu {
    static void quiescent() = delete;
  };
};
struct no_full_fence : archetype_env {
  static void full_fence() = delete;
};
struct no_dma_publish : archetype_env {
  static void dma_publish(const void*) noexcept {}
};
struct no_dma_observe : archetype_env {
  static void dma_observe() = delete;
};
struct wide_dma_word : archetype_env {
  struct dma_word : archetype_dma_word {
    std::uint64_t extra{};
  };
};
struct dma_word_without_store_low : archetype_env {
  struct dma_word : archetype_dma_word {
    void store_low() = delete;
  };
};
struct now_is_a_number : archetype_env {
  static std::uint64_t now() noexcept { return 0; }
};
struct no_relax : archetype_env {
  static void relax() = delete;
};
struct no_wait_event : archetype_env {
  static void wait_event() = delete;
};
struct signed_cpu : archetype_env {
  static int cpu() noexcept { return 0; }
};
struct no_irq_guard : archetype_env {
  using irq_guard = void;
};
struct throwing_mutex : archetype_env {
  struct mutex {
    void lock() {}
    void unlock() {}
  };
};
struct no_allocate : archetype_env {
  static void* allocate(std::size_t) noexcept { return nullptr; }
};
struct no_deallocate : archetype_env {
  static void deallocate() = delete;
};
struct no_stats : archetype_env {
  using stats = void;
};
struct no_trace : archetype_env {
  using trace = void;
};
struct no_fail : archetype_env {
  static void fail() = delete;
};
struct padded_atomics : archetype_env {
  template <class T>
  struct atomic : archetype_atomic<T> {
    using archetype_atomic<T>::archetype_atomic;
    char extra{};
  };
};
struct atomics_without_add : archetype_env {
  template <class T>
  struct atomic : archetype_atomic<T> {
    using archetype_atomic<T>::archetype_atomic;
    void fetch_add() = delete;
  };
};

// One row: exactly the named group is broken, and so is the whole.
enum group : unsigned { atomics = 1, rcu = 2, device = 4, waiting = 8, cpu = 16, memory = 32, reporting = 64 };
template <class E>
consteval unsigned broken() {
  return (environment_atomics<E> ? 0u : atomics) | (environment_rcu<E> ? 0u : rcu) | (environment_device<E> ? 0u : device) |
         (environment_waiting<E> ? 0u : waiting) | (environment_cpu<E> ? 0u : cpu) | (environment_memory<E> ? 0u : memory) |
         (environment_reporting<E> ? 0u : reporting);
}

TEST(environment, archetype_and_the_real_environments_satisfy_every_group) {
  EXPECT_EQ(broken<archetype_env>(), 0u);
  EXPECT_EQ(broken<host::env>(), 0u);
  EXPECT_EQ(broken<host::counted_env>(), 0u);
  EXPECT_EQ(broken<sim::round_robin_env>(), 0u);
  EXPECT_TRUE(environment<archetype_env>);
  EXPECT_FALSE(environment<int>);
}

template <class E>
void expect_only(unsigned which, const char* name) {
  EXPECT_EQ(broken<E>(), which) << name;
  EXPECT_FALSE(environment<E>) << name;
}
#define EXPECT_ONLY(type, which) expect_only<type>(which, #type)

TEST(environment, a_missing_piece_breaks_its_own_group_and_the_whole) {
  EXPECT_ONLY(no_rcu, rcu);
  EXPECT_ONLY(retire_may_throw, rcu);
  EXPECT_ONLY(no_publish, rcu);
  EXPECT_ONLY(dereference_by_value, rcu);
  EXPECT_ONLY(guard_needs_argument, rcu);
  EXPECT_ONLY(no_quiescent, rcu);
  EXPECT_ONLY(no_full_fence, device);
  EXPECT_ONLY(no_dma_publish, device);
  EXPECT_ONLY(no_dma_observe, device);
  EXPECT_ONLY(wide_dma_word, device);
  EXPECT_ONLY(dma_word_without_store_low, device);
  EXPECT_ONLY(now_is_a_number, waiting);
  EXPECT_ONLY(no_relax, waiting);
  EXPECT_ONLY(no_wait_event, waiting);
  EXPECT_ONLY(signed_cpu, cpu);
  EXPECT_ONLY(no_irq_guard, cpu);
  EXPECT_ONLY(throwing_mutex, cpu);
  EXPECT_ONLY(no_allocate, memory);
  EXPECT_ONLY(no_deallocate, memory);
  EXPECT_ONLY(no_stats, reporting);
  EXPECT_ONLY(no_trace, reporting);
  EXPECT_ONLY(no_fail, reporting);
}

TEST(environment, atomics_must_have_the_size_of_their_value_and_every_operation) {
  EXPECT_TRUE(broken<padded_atomics>() & atomics);
  EXPECT_TRUE(broken<atomics_without_add>() & atomics);
  EXPECT_FALSE(environment<padded_atomics>);
  EXPECT_FALSE(environment<atomics_without_add>);
}

struct no_idle : archetype_backend {
  void idle() = delete;
};
struct narrow_read : archetype_backend {
  std::uint32_t read64(std::uint32_t) noexcept { return 0; }
};
struct throwing_write : archetype_backend {
  void write32(std::uint32_t, std::uint32_t) {}
};
struct foreign_memory : archetype_backend {
  dma_span<host::env> allocate_dma(std::size_t, std::size_t) noexcept { return {}; }
};

TEST(backend, archetype_satisfies_it_and_a_missing_or_wrong_piece_does_not) {
  EXPECT_TRUE((backend<archetype_backend, archetype_env>));
  EXPECT_FALSE((backend<no_idle, archetype_env>));
  EXPECT_FALSE((backend<narrow_read, archetype_env>));
  EXPECT_FALSE((backend<throwing_write, archetype_env>));
  EXPECT_FALSE((backend<foreign_memory, archetype_env>));
  EXPECT_FALSE((backend<archetype_backend, no_fail>));
}

TEST(backend, an_empty_span_means_no_memory) {
  archetype_backend b;
  EXPECT_FALSE(b.allocate_dma(64, 64));
  archetype_env::dma_word w;
  EXPECT_TRUE((dma_span<archetype_env>{&w, 1, bus_addr{0}}));
}

}  // namespace
