// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include <shootdown/model/config_cache.hpp>
#include <shootdown/model/tlb.hpp>
#include <shootdown/model/walk_cache.hpp>

SHOOTDOWN_BEGIN
namespace model {

/// The registers a translation depends on, and what the instance can do.
struct walk_setup {
  std::uint64_t strtab_base{};  ///< STRTAB_BASE
  std::uint32_t strtab_cfg{};   ///< STRTAB_BASE_CFG
  bool stage1{true};
  bool stage2{};  ///< S2VMID tags stage-1 entries
  bool hyp{};
  bool e2h{};                  ///< CR2.E2H
  bool record_bad_streamid{};  ///< CR2.RECINVSID
  std::uint8_t stream_bits{8};
  std::uint8_t substream_bits{};
  std::uint8_t output_bits{48};   ///< OAS
  std::uint8_t granules{0b0010};  ///< bit g: granule g is implemented
  bool fence_after_ste{};         ///< attach ordering variant ii: a full fence between the STE read and the walk
  bool two_level_streams{};       ///< IDR0.ST_LEVEL = 1; otherwise STRTAB_BASE_CFG.FMT is ignored
  bool two_level_contexts{};      ///< IDR0.CD2L
  std::uint8_t endians{0b01};     ///< IDR0.TTENDIAN: bit 0 little-endian tables, bit 1 big-endian ones
  std::uint8_t asid_bits{16};
  std::uint8_t vmid_bits{16};
  /// A run of leaves with the contiguous bit is cached as one entry, made from whichever leaf was met first. Off: the bit is
  /// ignored. The architecture permits both.
  bool contiguous_runs{true};
};

/// The caches of one SMMU.
struct caches {
  explicit caches(node_pool& pool) : leaves{pool}, tables{pool}, configs{pool} {}
  tlb leaves;
  walk_cache tables;
  config_cache configs;
  std::uint64_t next_id{1};
  [[nodiscard]] entry_id fresh() noexcept { return entry_id{next_id++}; }
};

struct walk_counters {
  std::uint64_t walks{};  ///< translations that missed the TLB
  std::uint64_t tlb_hits{};
  std::uint64_t descriptor_reads{};
  std::uint64_t config_fetches{};
  std::uint64_t stage2_walks{};  ///< of intermediate addresses, for whatever purpose
  std::uint64_t stage2_hits{};
};

}  // namespace model
SHOOTDOWN_END
