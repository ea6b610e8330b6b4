// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <bit>
#include <cstdint>
#include <type_traits>

#include <shootdown/config.hpp>

// What the real environments (bare and host) share: the CPU's own atomics, cells shared with a device, fences, the pause.
SHOOTDOWN_BEGIN

/// std::atomic<T> without its traps: no default memory order, no conversion, no operators, lock-free or it does not compile
/// (a locking fallback would call into libatomic and would not exist on bare metal).
/// Any context. Every operation is wait-free or, on machines with load/store-exclusive pairs, lock-free.
/// Sites: S1..S10 have the order of the caller, whose own site names the partner.
template <class T>
class native_atomic {
  static_assert(std::is_trivially_copyable_v<T> && std::atomic<T>::is_always_lock_free, "this CPU has no lock-free atomic of this size");

 public:
  constexpr native_atomic() noexcept = default;
  constexpr explicit native_atomic(T v) noexcept : v_{v} {}
  native_atomic(const native_atomic&) = delete;
  native_atomic& operator=(const native_atomic&) = delete;

  [[nodiscard]] T load(std::memory_order o) const noexcept { return v_.load(o); }  // S1 the caller's order
  void store(T v, std::memory_order o) noexcept { v_.store(v, o); }                // S2 the caller's order
  T exchange(T v, std::memory_order o) noexcept { return v_.exchange(v, o); }      // S3 the caller's order
  bool compare_exchange_weak(T& expected, T v, std::memory_order ok, std::memory_order failed) noexcept {
    return v_.compare_exchange_weak(expected, v, ok, failed);  // S4 the caller's orders
  }
  bool compare_exchange_strong(T& expected, T v, std::memory_order ok, std::memory_order failed) noexcept {
    return v_.compare_exchange_strong(expected, v, ok, failed);  // S5 the caller's orders
  }
  T fetch_add(T v, std::memory_order o) noexcept
    requires std::is_integral_v<T>
  {
    return v_.fetch_add(v, o);
  }  // S6 the caller's order
  T fetch_sub(T v, std::memory_order o) noexcept
    requires std::is_integral_v<T>
  {
    return v_.fetch_sub(v, o);
  }  // S7 the caller's order
  T fetch_and(T v, std::memory_order o) noexcept
    requires std::is_integral_v<T>
  {
    return v_.fetch_and(v, o);
  }  // S8 the caller's order
  T fetch_or(T v, std::memory_order o) noexcept
    requires std::is_integral_v<T>
  {
    return v_.fetch_or(v, o);
  }  // S9 the caller's order
  T fetch_xor(T v, std::memory_order o) noexcept
    requires std::is_integral_v<T>
  {
    return v_.fetch_xor(v, o);
  }  // S10 the caller's order

 private:
  std::atomic<T> v_{};
};
static_assert(sizeof(native_atomic<std::uint64_t>) == 8 && sizeof(native_atomic<void*>) == sizeof(void*));

/// A value as a little-endian memory word, and back: the identity on a little-endian CPU.
[[nodiscard]] constexpr std::uint64_t little_endian_word(std::uint64_t v) noexcept {
  if constexpr (std::endian::native == std::endian::big) return __builtin_bswap64(v);
  return v;
}

/// A 64-bit little-endian cell that a device reads or writes (see `dma_cell`). Any context; wait-free but for store_low.
///
/// store_low replaces bits [31:0] as a 32-bit MSI write does. It is a compare-exchange of the whole cell rather than a
/// 32-bit store, because C++ and ThreadSanitizer know no atomics of two sizes on one object; only a software device calls
/// it, real ones write by themselves. Lock-free: it repeats only when another write hit the cell in between.
/// Sites: S11, S12, S14 have the order of the caller. S13, S14's failure: relaxed.
class alignas(8) native_dma_word {
 public:
  constexpr native_dma_word() noexcept = default;
  native_dma_word(const native_dma_word&) = delete;
  native_dma_word& operator=(const native_dma_word&) = delete;

  [[nodiscard]] std::uint64_t load(std::memory_order o) const noexcept {
    return little_endian_word(raw_.load(o));  // S11 the caller's order
  }
  void store(std::uint64_t v, std::memory_order o) noexcept {
    raw_.store(little_endian_word(v), o);  // S12 the caller's order
  }
  void store_low(std::uint32_t low, std::memory_order o) noexcept {
    std::uint64_t seen = raw_.load(std::memory_order_relaxed);  // S13 relaxed: S14 checks the value, nothing else is read through it
    while (!raw_.compare_exchange_weak(seen, with_low(seen, low), o, std::memory_order_relaxed)) {
      // S14 the caller's order; failure relaxed as S13
    }
  }

 private:
  [[nodiscard]] static constexpr std::uint64_t with_low(std::uint64_t raw, std::uint32_t low) noexcept {
    return little_endian_word((little_endian_word(raw) & 0xffffffff00000000u) | low);
  }
  std::atomic<std::uint64_t> raw_{0};  // as it lies in memory
};
static_assert(sizeof(native_dma_word) == 8 && alignof(native_dma_word) == 8 && std::atomic<std::uint64_t>::is_always_lock_free);

/// One pause of a polling loop: gives the sibling hardware thread and the memory system a rest.
inline void native_relax() noexcept {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield" ::: "memory");
#else
  asm volatile("" ::: "memory");
#endif
}

/// Orders every earlier access of this CPU before every later one, for CPUs and devices, normal memory and MMIO alike.
/// x86: mfence, because a locked instruction does not order write-combining stores on every model. AArch64: dmb sy; its
/// completion form (dsb) is needed only before instructions that are no memory access, such as wfe after a store.
/// Inline assembly and no atomic_thread_fence: ThreadSanitizer does not model fences and g++ warns about them (-Wtsan).
inline void native_full_fence() noexcept {
#if defined(__x86_64__) || defined(__i386__)
  asm volatile("mfence" ::: "memory");  // D1 full: CPU and device accesses on both sides
#elif defined(__aarch64__)
  asm volatile("dmb sy" ::: "memory");  // D1 full: CPU and device accesses on both sides
#else
  __atomic_thread_fence(__ATOMIC_SEQ_CST);  // D1 full: what the compiler takes for this CPU
#endif
}

/// The same between CPUs only, for worlds whose devices are threads too. x86: a locked no-op on the top of the stack, a
/// quarter of mfence's price. The word is this thread's own, so that ThreadSanitizer, were it to look, would see no
/// ordering between threads: a shared dummy would order everything with everything and hide the races it is run to find.
inline void native_smp_fence() noexcept {
#if defined(__x86_64__)
  asm volatile("lock orl $0, (%%rsp)" ::: "memory", "cc");  // closes store-load races; partner: the other side's fence
#elif defined(__aarch64__)
  asm volatile("dmb ish" ::: "memory");  // closes store-load races; partner: the other side's fence
#else
  native_full_fence();
#endif
}

/// Earlier stores to memory become visible to devices before any later store (the doorbell). x86 keeps stores in order, so
/// only the compiler has to be held.
inline void native_dma_write_fence() noexcept {
#if defined(__aarch64__)
  asm volatile("dmb oshst" ::: "memory");  // D2 store-store: words before the doorbell; partner: the device's fetch
#elif defined(__x86_64__) || defined(__i386__)
  asm volatile("" ::: "memory");  // D2 store-store: words before the doorbell; partner: the device's fetch
#else
  native_full_fence();  // D2
#endif
}

/// Later loads from memory see what a device wrote before an earlier load saw its completion.
inline void native_dma_read_fence() noexcept {
#if defined(__aarch64__)
  asm volatile("dmb oshld" ::: "memory");  // D3 load-load: completion before the data; partner: the device's writes
#elif defined(__x86_64__) || defined(__i386__)
  asm volatile("" ::: "memory");  // D3 load-load: completion before the data; partner: the device's writes
#else
  native_full_fence();  // D3
#endif
}

SHOOTDOWN_END
