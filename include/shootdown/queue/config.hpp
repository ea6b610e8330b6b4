// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>

#include <shootdown/arch/command.hpp>
#include <shootdown/arch/queue_word.hpp>
#include <shootdown/arch/types.hpp>
#include <shootdown/env/backend.hpp>
#include <shootdown/env/time.hpp>
#include <shootdown/status.hpp>

SHOOTDOWN_BEGIN
namespace queue {

/// How a waiter learns that its CMD_SYNC completed.
///   cons_poll  CS = SIG_NONE; the waiter reads CONS. Works on every queue, VCMDQs included
///   cons_sev   CS = SIG_SEV; the waiter sleeps in Env::wait_event between two reads of CONS (IDR0.SEV)
///   msi        CS = SIG_IRQ; the SMMU writes memory that the waiter reads (IDR0.MSI and a coherent SMMU)
enum class completion_mode : std::uint8_t { cons_poll, cons_sev, msi };

/// What a command queue is built over. A plain value; the queue copies it. The memory stays the caller's and must outlive
/// the device's use of the queue. Register offsets are the backend's, so the same queue serves the CMDQ, an ECMDQ or a VCMDQ.
template <class Env>
struct queue_config {
  dma_span<Env> ring{};                       ///< 2 words per slot, aligned on the bus to max(32, its size in bytes)
  unsigned log2size{};                        ///< slots = 2^log2size
  unsigned hardware_log2size{19};             ///< the most the hardware takes: IDR1.CMDQS
  std::uint32_t prod_offset{};                ///< xxx_PROD
  std::uint32_t cons_offset{};                ///< xxx_CONS
  std::uint32_t gerror_offset{0x60};          ///< GERROR, bit 0 = CMDQ_ERR
  std::uint32_t gerrorn_offset{0x64};         ///< GERRORN
  completion_mode completion{};               ///< see above
  dma_span<Env> msi_word{};                   ///< msi mode: one word of its own, 8-byte aligned (owner_cas uses the ring instead)
  nanoseconds publish_limit{10'000'000'000};  ///< how long to wait for another CPU between its reservation and its publication
};

inline constexpr unsigned slot_words = 2;  ///< 64-bit words of one command
inline constexpr unsigned max_log2size = queue_geometry::max_log2size;
inline constexpr std::uint64_t bus_limit = std::uint64_t{1} << 52;

/// Is `c` a configuration that a queue of at least 2^min_log2size slots can run on? Nothing is touched. What a strategy
/// needs on top of it, it checks itself.
///   no_memory         no ring
///   not_power_of_two  the ring's size is not one of a queue
///   invalid_argument  ring size and log2size disagree; an unknown completion mode
///   out_of_range      smaller than the strategy needs, larger than the hardware takes, memory beyond 52 bus address bits
///   misaligned        the ring's bus address is not a multiple of max(32, its size); offsets that are not multiples of 4
template <class Env>
[[nodiscard]] constexpr status check(const queue_config<Env>& c, unsigned min_log2size) noexcept {
  if (!c.ring) return errc::no_memory;
  if (c.ring.words < slot_words || (c.ring.words & (c.ring.words - 1)) != 0) return errc::not_power_of_two;
  if (c.log2size < min_log2size || c.log2size > c.hardware_log2size || c.log2size > max_log2size) return errc::out_of_range;
  if (c.ring.words != (std::size_t{slot_words} << c.log2size)) return errc::invalid_argument;
  const std::uint64_t bytes = std::uint64_t{command_bytes} << c.log2size;
  const std::uint64_t align = bytes < 32 ? 32 : bytes;
  if ((raw(c.ring.bus) & (align - 1)) != 0) return errc::misaligned;
  if (raw(c.ring.bus) >= bus_limit) return errc::out_of_range;
  if (((c.prod_offset | c.cons_offset | c.gerror_offset | c.gerrorn_offset) & 3u) != 0) return errc::misaligned;
  if (c.completion != completion_mode::cons_poll && c.completion != completion_mode::cons_sev && c.completion != completion_mode::msi)
    return errc::invalid_argument;
  return {};
}

/// Can `c.msi_word` take the MSI of a CMD_SYNC? An address of 0 would mean "send none".
template <class Env>
[[nodiscard]] constexpr status check_msi_word(const queue_config<Env>& c) noexcept {
  if (!c.msi_word || c.msi_word.words < 1 || raw(c.msi_word.bus) == 0) return errc::invalid_argument;
  if ((raw(c.msi_word.bus) & 7u) != 0) return errc::misaligned;
  if (raw(c.msi_word.bus) >= bus_limit) return errc::out_of_range;
  return {};
}

}  // namespace queue
SHOOTDOWN_END
