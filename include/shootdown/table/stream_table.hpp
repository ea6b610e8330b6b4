// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>  // std::memory_order only
#include <cstddef>
#include <cstdint>

#include <shootdown/arch/ste.hpp>
#include <shootdown/arch/types.hpp>
#include <shootdown/config.hpp>
#include <shootdown/env/backend.hpp>
#include <shootdown/env/environment.hpp>
#include <shootdown/status.hpp>
#include <shootdown/table/entry_writer.hpp>

SHOOTDOWN_BEGIN
namespace table {

/// Linear stream table: one STE for each StreamID 0 .. 2^log2size - 1. IHI 0070 3.3.1, 5.2.
///
/// Contract: configure() while the SMMU does not use the memory (SMMUEN = 0); afterwards entries change by write() only.
/// Streams nobody has written abort. Writers of one stream are serialised by the caller; different streams are independent.
/// Context: configure any; write that of its sync callable (may sleep); read any. Cost: 64 bytes a stream.
/// Not for sparse StreamIDs: 2^log2size entries exist from the start.
///
/// Sites: D1 first contents
template <environment Env>
class stream_table {
 public:
  static constexpr unsigned max_log2 = 32;  // IDR1.SIDSIZE

  stream_table() noexcept = default;
  stream_table(const stream_table&) = delete;
  stream_table& operator=(const stream_table&) = delete;

  /// Takes `memory` (aligned on the bus to the table's size, 64 << log2size bytes) and makes every entry abort.
  /// out_of_range: log2size, or too little memory; misaligned. On error nothing changed.
  [[nodiscard]] status configure(dma_span<Env> memory, unsigned log2size) noexcept {
    if (log2size > max_log2) return errc::out_of_range;
    const std::uint64_t words = std::uint64_t{8} << log2size;
    if (!memory || memory.words < words) return errc::out_of_range;
    if (raw(memory.bus) % (words * 8) != 0) return errc::misaligned;
    memory_ = memory;
    log2size_ = log2size;
    const ste none = ste::abort();
    for (std::uint64_t i = 0; i < words; ++i) {
      memory.cpu[i].store(none.w[i % 8], std::memory_order_relaxed);  // D1 relaxed: the registers that enable it come later
    }
    Env::dma_publish(memory.cpu, static_cast<std::size_t>(words) * 8);
    return {};
  }

  /// Makes `e` the entry of `sid`; sync() -> status issues CFGI_STE (leaf) for it and waits. out_of_range: no such stream;
  /// else what sync said (see entry_writer: the stream then has its old entry, or aborts).
  template <class Sync>
  [[nodiscard]] status write(stream_id sid, const ste& e, Sync&& sync) noexcept {
    if (!contains(sid)) return errc::out_of_range;
    return entry_writer<Env, ste_rules>{at(sid)}.write(e.w, sync);
  }

  [[nodiscard]] result<ste> read(stream_id sid) const noexcept {
    if (!contains(sid)) return errc::out_of_range;
    return ste{entry_writer<Env, ste_rules>::read(at(sid))};
  }

  [[nodiscard]] bool contains(stream_id sid) const noexcept { return memory_ && (std::uint64_t{raw(sid)} >> log2size_) == 0; }
  [[nodiscard]] bus_addr base() const noexcept { return memory_.bus; }    ///< STRTAB_BASE.ADDR
  [[nodiscard]] unsigned log2size() const noexcept { return log2size_; }  ///< STRTAB_BASE_CFG.LOG2SIZE

 private:
  [[nodiscard]] typename Env::dma_word* at(stream_id sid) const noexcept { return memory_.cpu + std::size_t{raw(sid)} * 8; }

  dma_span<Env> memory_{};
  unsigned log2size_{};
};

}  // namespace table
SHOOTDOWN_END
