// SPDX-License-Identifier: MIT
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>

#include <shootdown/arch/types.hpp>
#include <shootdown/env/environment.hpp>

SHOOTDOWN_BEGIN

/// Memory that CPU and device share: `words` little-endian 64-bit cells at `cpu`, seen by the device at `bus`.
/// An empty span (cpu == nullptr) means "allocation failed".
template <class Env>
struct dma_span {
  typename Env::dma_word* cpu{};
  std::size_t words{};
  bus_addr bus{};
  [[nodiscard]] explicit constexpr operator bool() const noexcept { return cpu != nullptr; }
};

/// One SMMU as seen by software: an object, passed by reference; the library never copies it.
///   read32/read64   MMIO load, acquire: what the device wrote before is visible afterwards
///   write32/write64 MMIO store, release: what this CPU (and, cumulatively, those it synchronised with) wrote before is
///                   visible to the device when it sees the store
///   idle(d)         called exactly once per turn of every wait. Hardware: relax or WFE. Model: lets the device run to now()
///   allocate_dma    zeroed memory of `bytes` (multiple of 8), aligned to `align` (power of two) on the bus; empty on failure
///   release_dma     gives it back; the device must not be able to reach it any more
template <class B, class Env>
concept backend = environment<Env> && requires(B b, std::uint32_t offset, std::uint32_t v32, std::uint64_t v64, deadline d,
                                               std::size_t bytes, dma_span<Env> span) {
  { b.read32(offset) } noexcept -> std::same_as<std::uint32_t>;
  { b.read64(offset) } noexcept -> std::same_as<std::uint64_t>;
  { b.write32(offset, v32) } noexcept;
  { b.write64(offset, v64) } noexcept;
  { b.idle(d) } noexcept;
  { b.allocate_dma(bytes, bytes) } noexcept -> std::same_as<dma_span<Env>>;
  { b.release_dma(span) } noexcept;
};

SHOOTDOWN_END
