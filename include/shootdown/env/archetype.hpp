// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>  // std::memory_order only
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include <shootdown/env/backend.hpp>
#include <shootdown/env/check.hpp>
#include <shootdown/env/environment.hpp>

// The smallest types that satisfy `environment` and `backend`: a template for a port, and the proof that an algorithm uses
// no more than the contract (instantiate it with these and it compiles). They do nothing: every allocation fails, no time
// passes, nothing is atomic. Never run anything on them.
SHOOTDOWN_BEGIN

/// Just the operations of `atomic_integer`, on a plain value.
template <class T>
class archetype_atomic {
 public:
  constexpr archetype_atomic() noexcept = default;
  constexpr explicit archetype_atomic(T v) noexcept : v_{v} {}
  archetype_atomic(const archetype_atomic&) = delete;
  archetype_atomic& operator=(const archetype_atomic&) = delete;
  constexpr T load(std::memory_order) const noexcept { return v_; }
  constexpr void store(T v, std::memory_order) noexcept { v_ = v; }
  constexpr T exchange(T v, std::memory_order) noexcept { return replace(v); }
  constexpr bool compare_exchange_weak(T& e, T v, std::memory_order, std::memory_order) noexcept { return swap_if(e, v); }
  constexpr bool compare_exchange_strong(T& e, T v, std::memory_order, std::memory_order) noexcept { return swap_if(e, v); }
  constexpr T fetch_add(T v, std::memory_order) noexcept
    requires std::integral<T>
  {
    return replace(v_ + v);
  }
  constexpr T fetch_sub(T v, std::memory_order) noexcept
    requires std::integral<T>
  {
    return replace(v_ - v);
  }
  constexpr T fetch_and(T v, std::memory_order) noexcept
    requires std::integral<T>
  {
    return replace(v_ & v);
  }
  constexpr T fetch_or(T v, std::memory_order) noexcept
    requires std::integral<T>
  {
    return replace(v_ | v);
  }
  constexpr T fetch_xor(T v, std::memory_order) noexcept
    requires std::integral<T>
  {
    return replace(v_ ^ v);
  }

 private:
  constexpr T replace(T v) noexcept {
    const T old = v_;
    v_ = v;
    return old;
  }
  constexpr bool swap_if(T& expected, T v) noexcept {
    const bool equal = v_ == expected;
    (equal ? v_ : expected) = equal ? v : v_;
    return equal;
  }
  T v_{};
};

/// Just the operations of `dma_cell`.
class archetype_dma_word {
 public:
  constexpr std::uint64_t load(std::memory_order) const noexcept { return v_; }
  constexpr void store(std::uint64_t v, std::memory_order) noexcept { v_ = v; }
  constexpr void store_low(std::uint32_t low, std::memory_order) noexcept { v_ = (v_ & 0xffffffff00000000u) | low; }

 private:
  alignas(8) std::uint64_t v_{};
};

/// A type of static members only. Copy it, then give each member its meaning on your system.
/// Sites: S1 publish (release) -> S2 dereference (acquire)
struct archetype_env {
  // Atomics: std::atomic's interface without default orders. T's own size; never a lock inside.
  template <class T>
  using atomic = archetype_atomic<T>;
  // A cell shared with a device: little-endian in memory, CPU byte order here.
  using dma_word = archetype_dma_word;

  // Deferred reclamation: read sections, and callbacks that run when no reader can hold the object any more.
  struct rcu {
    struct guard {  // read section while it lives; nests
      guard() noexcept {}
      ~guard() noexcept {}
      guard(const guard&) = delete;
      guard& operator=(const guard&) = delete;
    };
    struct head {};  // base of a retired object
    using callback = void (*)(head*) noexcept;
    static void retire(head&, callback) noexcept {}  // never waits for a reader
    static void synchronize() noexcept {}            // waits for the guards alive at the call
    static void drain() noexcept {}                  // waits for every callback retired before
    static void quiescent() noexcept {}              // "this thread holds no guard now"
    template <class T>
    static void publish(atomic<T*>& slot, std::type_identity_t<T*> p) noexcept {  // release: *p before the pointer to it
      slot.store(p, std::memory_order_release);                                   // S1 release -> S2
    }
    template <class T>
    static T* dereference(const atomic<T*>& slot) noexcept {
      return slot.load(std::memory_order_acquire);  // S2 acquire: pairs with S1
    }
  };

  // The device.
  static void full_fence() noexcept {}                           // everything before | everything after
  static void dma_publish(const void*, std::size_t) noexcept {}  // our stores before a later doorbell
  static void dma_observe(const void*, std::size_t) noexcept {}  // the device's stores before our later loads

  // Waiting: exactly one of these (or the backend's idle) per turn of a polling loop.
  static void relax() noexcept {}               // one pause
  static void wait_event(deadline) noexcept {}  // sleep until an event or the deadline
  static instant now() noexcept { return {}; }  // monotonic, nanoseconds

  // The CPU.
  static unsigned cpu() noexcept { return 0; }  // small number; only a hint
  struct irq_guard {                            // local interrupts off while it lives; nests
    irq_guard() noexcept {}
    ~irq_guard() noexcept {}
    irq_guard(const irq_guard&) = delete;
    irq_guard& operator=(const irq_guard&) = delete;
  };
  struct mutex {  // control paths; may sleep
    void lock() noexcept {}
    void unlock() noexcept {}
  };

  // Memory: attach and bring-up only. Null means "none left" and is never fatal.
  static void* allocate(std::size_t, std::size_t) noexcept { return nullptr; }
  static void deallocate(void*, std::size_t, std::size_t) noexcept {}

  // Reporting.
  using stats = null_stats;
  using trace = null_trace;
  static void fail(const char*) noexcept { __builtin_trap(); }  // a contract violation of the caller
};

/// One SMMU: an object, passed by reference.
struct archetype_backend {
  std::uint32_t read32(std::uint32_t) noexcept { return 0; }  // MMIO load, acquire
  std::uint64_t read64(std::uint32_t) noexcept { return 0; }
  void write32(std::uint32_t, std::uint32_t) noexcept {}  // MMIO store, release
  void write64(std::uint32_t, std::uint64_t) noexcept {}
  void idle(deadline) noexcept {}  // one turn of a wait
  dma_span<archetype_env> allocate_dma(std::size_t, std::size_t) noexcept { return {}; }
  void release_dma(dma_span<archetype_env>) noexcept {}
};

static_assert(require_environment<archetype_env>());
static_assert(backend<archetype_backend, archetype_env>);

SHOOTDOWN_END
