// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <new>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <shootdown/env/environment.hpp>
#include <shootdown/env/native.hpp>
#include <shootdown/env/stats.hpp>

namespace invs_test {

/// What the single-threaded environment below records and can be told to do. Reset before each test.
struct env_state {
  std::size_t live_blocks{};
  std::size_t allocations{};
  std::size_t fail_allocations{};  // the next n allocations fail
  unsigned guards{};               // read sections open now
  std::size_t fences{};
  std::size_t idle_turns{};
  unsigned cpu{};
  bool locked{};
  std::size_t locks{};
  std::uint64_t now{};
  std::vector<std::function<void()>> retired;
  std::vector<std::string> failures;
  std::function<void()> on_fence;
  std::function<void()> on_cpu;  // between a reader's load of the phase (or array) and its entry into the ATS section
  std::function<void()> on_relax;
};

inline env_state& state() {
  static env_state s;
  return s;
}

/// One thread; retired objects are freed by drain() or synchronize(), never inside a read section; every contract violation
/// is recorded. Time advances by one per relax().
struct single_env {
  template <class T>
  using atomic = std::atomic<T>;

  class dma_word {
   public:
    std::uint64_t load(std::memory_order o) const noexcept { return v_.load(o); }
    void store(std::uint64_t v, std::memory_order o) noexcept { v_.store(v, o); }
    void store_low(std::uint32_t v, std::memory_order o) noexcept { v_.store((v_.load(o) & ~0xffffffffull) | v, o); }

   private:
    std::atomic<std::uint64_t> v_{};
  };

  struct rcu {
    struct head {};
    class guard {
     public:
      guard() noexcept { ++state().guards; }
      ~guard() { --state().guards; }
      guard(const guard&) = delete;
      guard& operator=(const guard&) = delete;
    };
    template <class T>
    static void publish(std::atomic<T*>& slot, T* p) noexcept {
      slot.store(p, std::memory_order_release);
    }
    template <class T>
    static T* dereference(const std::atomic<T*>& slot) noexcept {
      return slot.load(std::memory_order_acquire);
    }
    static void retire(head& h, void (*fn)(head*) noexcept) noexcept {
      state().retired.push_back([p = &h, fn] { fn(p); });
    }
    static void synchronize() noexcept {
      if (state().guards != 0) state().failures.push_back("synchronize inside a read section");
    }
    static void drain() noexcept {
      synchronize();
      if (state().guards != 0) return;
      auto work = std::move(state().retired);
      state().retired.clear();
      for (auto& f : work) f();
    }
    static void quiescent() noexcept {}
  };

  struct mutex {
    void lock() noexcept {
      if (held) state().failures.push_back("mutex locked twice");
      held = true;
      ++state().locks;
    }
    void unlock() noexcept { held = false; }
    bool held{};
  };
  struct irq_guard {
    irq_guard() noexcept {}
    ~irq_guard() {}
  };
  using stats = shootdown::null_stats;
  using trace = shootdown::null_trace;

  static void full_fence() noexcept {
    shootdown::native_smp_fence();
    ++state().fences;
    if (state().on_fence) state().on_fence();
  }
  static void dma_publish(const void*, std::size_t) noexcept {}
  static void dma_observe(const void*, std::size_t) noexcept {}
  static void relax() noexcept {
    ++state().now;
    if (state().on_relax) state().on_relax();
  }
  static void wait_event(shootdown::deadline) noexcept { ++state().now; }
  static shootdown::instant now() noexcept { return shootdown::instant{state().now}; }
  static unsigned cpu() noexcept {
    if (const auto hook = std::exchange(state().on_cpu, nullptr)) hook();
    return state().cpu;
  }
  static void* allocate(std::size_t bytes, std::size_t align) noexcept {
    if (state().fail_allocations != 0) {
      --state().fail_allocations;
      return nullptr;
    }
    ++state().allocations;
    ++state().live_blocks;
    return ::operator new(bytes, std::align_val_t{align}, std::nothrow);
  }
  static void deallocate(void* p, std::size_t, std::size_t align) noexcept {
    --state().live_blocks;
    ::operator delete(p, std::align_val_t{align});
  }
  static void fail(const char* text) noexcept { state().failures.emplace_back(text); }
};
static_assert(shootdown::environment<single_env>);

}  // namespace invs_test
