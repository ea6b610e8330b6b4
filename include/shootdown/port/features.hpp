// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include <shootdown/arch/types.hpp>

SHOOTDOWN_BEGIN

/// What one SMMU instance can do, as far as invalidation is concerned: probed once, constant afterwards.
struct port_features {
  bool stage1{};                  ///< IDR0.S1P
  bool stage2{};                  ///< IDR0.S2P
  bool range_invalidation{};      ///< IDR3.RIL
  bool wide_scale{};              ///< IDR5.DS: SCALE up to 39, TTL 1 for 16 KiB
  bool ats{};                     ///< IDR0.ATS
  bool e2h{};                     ///< stage-1 tags live in EL2-E2H: EL2_VA/EL2_ASID instead of NH_VA/NH_ASID
  bool coherent{};                ///< IDR0.COHACC
  std::uint8_t asid_bits{};       ///< 8 or 16
  std::uint8_t vmid_bits{};       ///< 8 or 16
  std::uint8_t stream_bits{};     ///< IDR1.SIDSIZE
  std::uint8_t substream_bits{};  ///< IDR1.SSIDSIZE
  std::uint8_t address_bits{};    ///< output (bus, IPA) address width, IDR5.OAS
  std::uint8_t granules{};        ///< bit g set: granule{g} is supported

  [[nodiscard]] constexpr bool supports(granule g) const noexcept { return ((granules >> raw(g)) & 1u) != 0; }
};

SHOOTDOWN_END
