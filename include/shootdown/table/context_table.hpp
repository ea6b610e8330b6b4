// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>  // std::memory_order only
#include <cstddef>
#include <cstdint>

#include <shootdown/arch/cd.hpp>
#include <shootdown/arch/ste.hpp>
#include <shootdown/arch/types.hpp>
#include <shootdown/config.hpp>
#include <shootdown/env/backend.hpp>
#include <shootdown/env/environment.hpp>
#include <shootdown/status.hpp>
#include <shootdown/table/entry_writer.hpp>

SHOOTDOWN_BEGIN
namespace table {

/// Linear table of context descriptors: one CD for each SubstreamID 0 .. 2^log2size - 1, named by an STE's S1ContextPtr and
/// S1CDMax. One CD (log2size 0) serves a stream without substreams. IHI 0070 3.3.2, 5.4.
///
/// Contract: configure() while no STE leads here; afterwards entries change by write() and clear() only. Substreams nobody
/// has written are invalid. Writers of one CD are serialised by the caller; different CDs are independent. A PASID is good when
/// it is below 2^log2size (STE.S1CDMax), and that is at most what SMMU and endpoint can say (IDR1.SSIDSIZE, the PASID capability).
/// While S1DSS is use_ssid0, the CD of substream 0 serves the transactions without PASID, and PASID 0 itself faults.
/// Context: configure any; write and clear that of their sync callable (may sleep); read any. Cost: 64 bytes a substream.
/// Not for sparse SubstreamIDs: two_level_context_table.
///
/// Sites: D1 first contents
template <environment Env>
class context_table {
 public:
  static constexpr unsigned max_log2 = 20;  // IDR1.SSIDSIZE

  context_table() noexcept = default;
  context_table(const context_table&) = delete;
  context_table& operator=(const context_table&) = delete;

  /// Takes `memory` (aligned on the bus to the table's size, 64 << log2size bytes) and makes every CD invalid. `ssid_bits`: the
  /// PASID width that SMMU and endpoint have. out_of_range: log2size above it, or too little memory; misaligned. On error nothing
  /// changed.
  [[nodiscard]] status configure(dma_span<Env> memory, unsigned log2size, unsigned ssid_bits = max_log2) noexcept {
    if (log2size > max_log2 || log2size > ssid_bits) return errc::out_of_range;
    const std::size_t words = std::size_t{8} << log2size;
    if (!memory || memory.words < words) return errc::out_of_range;
    if (raw(memory.bus) % (words * 8) != 0) return errc::misaligned;
    memory_ = memory;
    log2size_ = log2size;
    for (std::size_t i = 0; i < words; ++i) {
      memory.cpu[i].store(0, std::memory_order_relaxed);  // D1 relaxed: the STE that leads here is written later, with release
    }
    Env::dma_publish(memory.cpu, words * 8);
    return {};
  }

  /// Makes `c` the CD of `ssid`; sync() -> status issues CFGI_CD (leaf) for it, on every stream that uses the table, and
  /// waits. out_of_range: no such substream; else what sync said (see entry_writer: the CD is then its old self, or invalid).
  template <class Sync>
  [[nodiscard]] status write(substream_id ssid, const cd& c, Sync&& sync) noexcept {
    if (!contains(ssid)) return errc::out_of_range;
    return entry_writer<Env, cd_rules>{at(ssid)}.write(c.w, sync);
  }
  /// Makes the CD of `ssid` invalid: transactions of the substream abort.
  template <class Sync>
  [[nodiscard]] status clear(substream_id ssid, Sync&& sync) noexcept {
    return write(ssid, cd{}, sync);
  }

  [[nodiscard]] result<cd> read(substream_id ssid) const noexcept {
    if (!contains(ssid)) return errc::out_of_range;
    return cd{entry_writer<Env, cd_rules>::read(at(ssid))};
  }

  /// What an STE has to say to lead here; the rest of the fields are the caller's.
  [[nodiscard]] ste_stage1 placed(ste_stage1 s = {}) const noexcept {
    s.cd_table = base();
    s.cd_log2 = log2size_;
    s.format = cd_format::linear;
    return s;
  }
  [[nodiscard]] bool contains(substream_id ssid) const noexcept { return memory_ && (raw(ssid) >> log2size_) == 0; }
  [[nodiscard]] bus_addr base() const noexcept { return memory_.bus; }    ///< STE.S1ContextPtr
  [[nodiscard]] unsigned log2size() const noexcept { return log2size_; }  ///< STE.S1CDMax

 private:
  [[nodiscard]] typename Env::dma_word* at(substream_id ssid) const noexcept { return memory_.cpu + std::size_t{raw(ssid)} * 8; }

  dma_span<Env> memory_{};
  unsigned log2size_{};
};

}  // namespace table
SHOOTDOWN_END
