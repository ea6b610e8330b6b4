// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>  // std::memory_order only
#include <concepts>
#include <cstddef>
#include <cstdint>

#include <shootdown/arch/types.hpp>
#include <shootdown/env/stats.hpp>
#include <shootdown/env/time.hpp>

// What an embedding supplies: ONE type with static members, the template parameter `Env` of everything that touches
// concurrency or a device. So the same source runs on threads, under ThreadSanitizer, in a simulator and on bare metal.
// archetype_env (env/archetype.hpp) is the smallest type that satisfies it; env/bare.hpp and host/env.hpp are real ones.
SHOOTDOWN_BEGIN

/// The interface of std::atomic<T> that the library uses. Every call names its memory order. Default: T's zero value.
template <class A, class T>
concept atomic_cell =
    std::default_initializable<A> && std::constructible_from<A, T> && requires(A a, const A ca, T v, T& e, std::memory_order o) {
      { ca.load(o) } noexcept -> std::same_as<T>;
      { a.store(v, o) } noexcept;
      { a.exchange(v, o) } noexcept -> std::same_as<T>;
      { a.compare_exchange_weak(e, v, o, o) } noexcept -> std::same_as<bool>;
      { a.compare_exchange_strong(e, v, o, o) } noexcept -> std::same_as<bool>;
    } && sizeof(A) == sizeof(T);

template <class A, class T>
concept atomic_integer = atomic_cell<A, T> && requires(A a, T v, std::memory_order o) {
  { a.fetch_add(v, o) } noexcept -> std::same_as<T>;
  { a.fetch_sub(v, o) } noexcept -> std::same_as<T>;
  { a.fetch_and(v, o) } noexcept -> std::same_as<T>;
  { a.fetch_or(v, o) } noexcept -> std::same_as<T>;
  { a.fetch_xor(v, o) } noexcept -> std::same_as<T>;
};

/// A 64-bit little-endian cell that a device reads or writes: ring slot half, MSI word, STE, CD and PTE words.
/// Nothing else may touch such memory. Values are in CPU byte order at this interface. 8 bytes, 8-byte aligned.
/// store_low: what a 32-bit MSI write does (replaces bits [31:0], little-endian first four bytes); only the device side calls it.
template <class W>
concept dma_cell = std::default_initializable<W> && sizeof(W) == 8 && alignof(W) == 8 &&
                   requires(W w, const W cw, std::uint64_t v, std::uint32_t lo, std::memory_order o) {
                     { cw.load(o) } noexcept -> std::same_as<std::uint64_t>;
                     { w.store(v, o) } noexcept;
                     { w.store_low(lo, o) } noexcept;
                   };

/// Deferred reclamation. `guard` is an RAII read section (nestable; any context but NMI and signal handlers); `head` is an
/// intrusive base of retired objects. retire never waits and never runs the callback before every guard that existed at
/// the call is gone. synchronize waits for the guards that existed when it was called (may sleep). drain: every callback
/// retired before the call has run (may sleep; teardown). Both are called without a guard. quiescent: "this thread holds
/// no guard now" (QSBR flavours). Callbacks run in a context of the environment's choice and must not wait.
template <class R>
concept reclamation = std::default_initializable<typename R::guard> && std::default_initializable<typename R::head> &&
                      requires(typename R::head& h, void (*fn)(typename R::head*) noexcept) {
                        { R::retire(h, fn) } noexcept;
                        { R::synchronize() } noexcept;
                        { R::drain() } noexcept;
                        { R::quiescent() } noexcept;
                      };

template <class M>
concept lockable = std::default_initializable<M> && requires(M m) {
  { m.lock() } noexcept;
  { m.unlock() } noexcept;
};

// The contract, group by group. `environment` is their conjunction; check_environment (env/check.hpp) names the group that
// a type misses and the line to write.

/// atomic<T> for T = 32- and 64-bit integers and pointers; T's own size, lock-free.
template <class E>
concept environment_atomics =
    atomic_integer<typename E::template atomic<std::uint32_t>, std::uint32_t> &&
    atomic_integer<typename E::template atomic<std::uint64_t>, std::uint64_t> && atomic_cell<typename E::template atomic<int*>, int*>;

/// See `reclamation`. publish(slot, p): release store of a pointer; dereference(slot): acquire load.
template <class E>
concept environment_rcu = reclamation<typename E::rcu> &&
                          requires(typename E::template atomic<int*>& slot, const typename E::template atomic<int*>& cslot, int* p) {
                            { E::rcu::publish(slot, p) } noexcept;
                            { E::rcu::dereference(cslot) } noexcept -> std::same_as<int*>;
                          };

/// dma_word; full_fence() orders everything (CPU and device) on both sides; dma_publish(p, n): the n bytes at p written so
/// far reach the device before any later doorbell (non-coherent SMMUs; coherent: nothing or a store barrier);
/// dma_observe(p, n): later CPU reads of [p, p+n) see what the device wrote.
template <class E>
concept environment_device = dma_cell<typename E::dma_word> && requires(const void* p, std::size_t n) {
  { E::full_fence() } noexcept;
  { E::dma_publish(p, n) } noexcept;
  { E::dma_observe(p, n) } noexcept;
};

/// relax(): one pause; wait_event(d): sleep until an event or d (WFE), may return early; now(): monotonic.
template <class E>
concept environment_waiting = requires(deadline d) {
  { E::relax() } noexcept;
  { E::wait_event(d) } noexcept;
  { E::now() } noexcept -> std::same_as<instant>;
};

/// cpu(): a small number of the executing CPU, only a hint (the thread may migrate); irq_guard: RAII, local interrupts off;
/// mutex: may sleep, control paths only.
template <class E>
concept environment_cpu = lockable<typename E::mutex> && std::default_initializable<typename E::irq_guard> && requires {
  { E::cpu() } noexcept -> std::same_as<unsigned>;
};

/// allocate(bytes, align) -> null on failure; deallocate(p, bytes, align). Attach and bring-up only.
template <class E>
concept environment_memory = requires(void* p, std::size_t n) {
  { E::allocate(n, n) } noexcept -> std::same_as<void*>;
  { E::deallocate(p, n, n) } noexcept;
};

/// stats::add, trace::event, fail(text): a contract violation; traps by default, may return in tests.
template <class E>
concept environment_reporting = requires(const char* text) {
  { E::stats::add(counter::commands, std::uint64_t{1}) } noexcept;
  { E::trace::event(trace_point::reserve, std::uint64_t{}, std::uint64_t{}) } noexcept;
  { E::fail(text) } noexcept;
};

/// The whole contract.
template <class E>
concept environment = environment_atomics<E> && environment_rcu<E> && environment_device<E> && environment_waiting<E> &&
                      environment_cpu<E> && environment_memory<E> && environment_reporting<E>;

SHOOTDOWN_END
