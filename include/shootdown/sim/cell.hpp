// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>  // std::memory_order only
#include <bit>
#include <concepts>
#include <cstdint>
#include <cstring>
#include <source_location>
#include <type_traits>

#include <shootdown/config.hpp>

SHOOTDOWN_BEGIN
namespace sim {

/// What an instrumented atomic operation acts on. The newest value lies at `at`, in the object itself; whatever else a world
/// knows about it is kept elsewhere, by address, so that instrumented types have the size and layout of the real ones.
struct cell {
  void* at{};
  std::uint8_t size{};  ///< bytes: 1, 2, 4 or 8
  bool device_word{};   ///< a dma_word: shared with a device, little-endian

  /// The value in the object. Atomic for ThreadSanitizer's sake only, to which fibers are threads: worlds run on one.
  [[nodiscard]] std::uint64_t get() const noexcept {
    switch (size) {
      case 8: return __atomic_load_n(as<std::uint64_t>(), __ATOMIC_RELAXED);
      case 4: return __atomic_load_n(as<std::uint32_t>(), __ATOMIC_RELAXED);
      case 2: return __atomic_load_n(as<std::uint16_t>(), __ATOMIC_RELAXED);
      default: return __atomic_load_n(as<std::uint8_t>(), __ATOMIC_RELAXED);
    }
  }
  void put(std::uint64_t v) const noexcept {
    switch (size) {
      case 8: return __atomic_store_n(as<std::uint64_t>(), v, __ATOMIC_RELAXED);
      case 4: return __atomic_store_n(as<std::uint32_t>(), static_cast<std::uint32_t>(v), __ATOMIC_RELAXED);
      case 2: return __atomic_store_n(as<std::uint16_t>(), static_cast<std::uint16_t>(v), __ATOMIC_RELAXED);
      default: return __atomic_store_n(as<std::uint8_t>(), static_cast<std::uint8_t>(v), __ATOMIC_RELAXED);
    }
  }

 private:
  template <class U>
  [[nodiscard]] U* as() const noexcept {
    using aliased [[gnu::may_alias]] = U;
    return static_cast<aliased*>(at);
  }
};
static_assert(std::endian::native == std::endian::little, "sim: the simulator runs on little-endian hosts");

/// Read-modify-writes. low replaces bits [31:0], as a 32-bit MSI write does.
enum class modification : std::uint8_t { exchange, add, sub, bit_and, bit_or, bit_xor, low };

[[nodiscard]] constexpr std::uint64_t modified(modification m, std::uint64_t old, std::uint64_t operand, std::uint8_t size) noexcept {
  const std::uint64_t mask = size == 8 ? ~std::uint64_t{0} : (std::uint64_t{1} << (size * 8u)) - 1;
  switch (m) {
    case modification::exchange: return operand & mask;
    case modification::add: return (old + operand) & mask;
    case modification::sub: return (old - operand) & mask;
    case modification::bit_and: return old & operand & mask;
    case modification::bit_or: return (old | operand) & mask;
    case modification::bit_xor: return (old ^ operand) & mask;
    case modification::low: return (old & ~std::uint64_t{0xffff'ffff}) | (operand & 0xffff'ffff);
  }
  return old;
}

/// Where in the source an operation stands. The library's line, because it is a default argument of the operation.
using where = std::source_location;

/// A world: who decides what an operation on a cell sees and costs. Static members, so that an environment is a type.
template <class W>
concept world = requires(cell c, std::uint64_t v, std::uint64_t& e, std::memory_order o, modification m, const where& w) {
  { W::born(c) } noexcept;
  { W::load(c, o, w) } noexcept -> std::same_as<std::uint64_t>;
  { W::store(c, v, o, w) } noexcept;
  { W::modify(c, m, v, o, w) } noexcept -> std::same_as<std::uint64_t>;
  { W::compare_exchange(c, e, v, o, o, true, w) } noexcept -> std::same_as<bool>;
};

/// An atomic whose operations a world decides. std::atomic's interface, as `environment` asks for it.
/// Context and progress: the world's. Sites: S1..S10 have the order of the caller, whose own site names the partner.
template <class T, world World>
  requires std::is_trivially_copyable_v<T> && (sizeof(T) <= 8)
class atomic_of {
 public:
  constexpr atomic_of() noexcept { born(); }
  constexpr explicit atomic_of(T v) noexcept : v_{v} { born(); }
  atomic_of(const atomic_of&) = delete;
  atomic_of& operator=(const atomic_of&) = delete;

  [[nodiscard]] T load(std::memory_order o, const where& w = where::current()) const noexcept {
    return value(World::load(me(), o, w));  // S1 the caller's order
  }
  void store(T v, std::memory_order o, const where& w = where::current()) noexcept {
    World::store(me(), bits(v), o, w);  // S2 the caller's order
  }
  T exchange(T v, std::memory_order o, const where& w = where::current()) noexcept {
    return value(World::modify(me(), modification::exchange, bits(v), o, w));  // S3 the caller's order
  }
  bool compare_exchange_weak(T& expected, T v, std::memory_order ok, std::memory_order failed, const where& w = where::current()) noexcept {
    return exchange_if(expected, v, ok, failed, true, w);  // S4 the caller's orders
  }
  bool compare_exchange_strong(T& expected, T v, std::memory_order ok, std::memory_order failed,
                               const where& w = where::current()) noexcept {
    return exchange_if(expected, v, ok, failed, false, w);  // S5 the caller's orders
  }
  T fetch_add(T v, std::memory_order o, const where& w = where::current()) noexcept
    requires std::integral<T>
  {
    return value(World::modify(me(), modification::add, bits(v), o, w));  // S6 the caller's order
  }
  T fetch_sub(T v, std::memory_order o, const where& w = where::current()) noexcept
    requires std::integral<T>
  {
    return value(World::modify(me(), modification::sub, bits(v), o, w));  // S7 the caller's order
  }
  T fetch_and(T v, std::memory_order o, const where& w = where::current()) noexcept
    requires std::integral<T>
  {
    return value(World::modify(me(), modification::bit_and, bits(v), o, w));  // S8 the caller's order
  }
  T fetch_or(T v, std::memory_order o, const where& w = where::current()) noexcept
    requires std::integral<T>
  {
    return value(World::modify(me(), modification::bit_or, bits(v), o, w));  // S9 the caller's order
  }
  T fetch_xor(T v, std::memory_order o, const where& w = where::current()) noexcept
    requires std::integral<T>
  {
    return value(World::modify(me(), modification::bit_xor, bits(v), o, w));  // S10 the caller's order
  }

 private:
  static_assert(sizeof(T) == 1 || sizeof(T) == 2 || sizeof(T) == 4 || sizeof(T) == 8);

  constexpr void born() noexcept {
    if (!std::is_constant_evaluated()) World::born(me());
  }
  [[nodiscard]] cell me() const noexcept { return {const_cast<T*>(&v_), sizeof(T), false}; }
  [[nodiscard]] static std::uint64_t bits(T v) noexcept {
    std::uint64_t b = 0;
    std::memcpy(&b, &v, sizeof v);
    return b;
  }
  [[nodiscard]] static T value(std::uint64_t b) noexcept {
    T v;
    std::memcpy(&v, &b, sizeof v);
    return v;
  }
  bool exchange_if(T& expected, T v, std::memory_order ok, std::memory_order failed, bool weak, const where& w) noexcept {
    std::uint64_t seen = bits(expected);
    const bool done = World::compare_exchange(me(), seen, bits(v), ok, failed, weak, w);
    if (!done) expected = value(seen);
    return done;
  }

  T v_{};
};

/// A 64-bit cell that a device reads or writes, decided by a world. As atomic_of; see `dma_cell`.
/// Sites: S11..S13 have the order of the caller, whose own site names the partner.
template <world World>
class alignas(8) dma_word_of {
 public:
  constexpr dma_word_of() noexcept {
    if (!std::is_constant_evaluated()) World::born(me());
  }
  dma_word_of(const dma_word_of&) = delete;
  dma_word_of& operator=(const dma_word_of&) = delete;

  [[nodiscard]] std::uint64_t load(std::memory_order o, const where& w = where::current()) const noexcept {
    return World::load(me(), o, w);  // S11 the caller's order
  }
  void store(std::uint64_t v, std::memory_order o, const where& w = where::current()) noexcept {
    World::store(me(), v, o, w);  // S12 the caller's order
  }
  void store_low(std::uint32_t v, std::memory_order o, const where& w = where::current()) noexcept {
    static_cast<void>(World::modify(me(), modification::low, v, o, w));  // S13 the caller's order
  }

 private:
  [[nodiscard]] cell me() const noexcept { return {const_cast<std::uint64_t*>(&v_), 8, true}; }
  std::uint64_t v_{};
};

}  // namespace sim
SHOOTDOWN_END
