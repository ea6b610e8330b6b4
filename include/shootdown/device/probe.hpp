// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include <shootdown/arch/attributes.hpp>
#include <shootdown/arch/registers.hpp>
#include <shootdown/env/backend.hpp>
#include <shootdown/port/features.hpp>
#include <shootdown/status.hpp>

SHOOTDOWN_BEGIN
namespace device {

/// What the ID registers of one instance say, beyond what a command port needs.
struct identity {
  port_features features{};
  std::uint8_t cmdq_log2_max{};    ///< IDR1.CMDQS, 19 at most
  std::uint8_t eventq_log2_max{};  ///< IDR1.EVENTQS, 19 at most
  bool msi{};                      ///< CMD_SYNC can complete by a memory write (needs `features.coherent` to be polled)
  bool sev{};                      ///< CMD_SYNC can wake WFE
  bool hyp{};                      ///< EL2 commands exist, so bring-up must also invalidate EL2
  bool two_level_streams{};        ///< IDR0.ST_LEVEL
  bool pri{};                      ///< IDR0.PRI
  bool can_stall{};                ///< faults may stall, so STE.S1STALLD exists and says that they must not
  std::uint32_t iidr{};            ///< implementer and revision, for errata
};

/// Decodes ID registers. Spec: IHI 0070 6.3.1 to 6.3.7. Any context, no side effects.
/// unsupported: no stage at all, no AArch64 tables, big-endian tables only, preset or register-relative queues or tables,
///   no granule, SIDSIZE above 32, a command queue that cannot hold a command and its SYNC,
///   faults that always stall.
[[nodiscard]] constexpr result<identity> decode_identity(std::uint32_t idr0, std::uint32_t idr1, std::uint32_t idr3, std::uint32_t idr5,
                                                         std::uint32_t iidr) noexcept {
  constexpr unsigned ttf_aarch64 = 2, ttendian_big = 3, queue_log2_architectural = 19, sid_bits_max = 32;
  using namespace reg;

  identity id;
  port_features& f = id.features;
  f.stage1 = idr0::s1p::get(idr0);
  f.stage2 = idr0::s2p::get(idr0);
  if (!f.stage1 && !f.stage2) return errc::unsupported;
  if ((static_cast<unsigned>(idr0::ttf::get(idr0)) & ttf_aarch64) == 0) return errc::unsupported;
  if (static_cast<unsigned>(idr0::ttendian::get(idr0)) == ttendian_big) return errc::unsupported;
  if (idr1::rel::get(idr1) || idr1::queues_preset::get(idr1) || idr1::tables_preset::get(idr1)) return errc::unsupported;

  if (idr0::stall::get(idr0) == stall_model::stall_forced) return errc::unsupported;

  f.coherent = idr0::cohacc::get(idr0);
  f.ats = idr0::ats::get(idr0);
  f.asid_bits = idr0::asid16::get(idr0) ? 16 : 8;
  f.vmid_bits = idr0::vmid16::get(idr0) ? 16 : 8;
  const auto sid_bits = static_cast<unsigned>(idr1::sidsize::get(idr1));
  if (sid_bits > sid_bits_max) return errc::unsupported;
  f.stream_bits = static_cast<std::uint8_t>(sid_bits);
  f.substream_bits = static_cast<std::uint8_t>(idr1::ssidsize::get(idr1));
  f.range_invalidation = idr3::ril::get(idr3);
  f.wide_scale = f.range_invalidation && idr5::ds::get(idr5);
  f.address_bits = static_cast<std::uint8_t>(address_bits(idr5::oas::get(idr5)));
  f.granules = static_cast<std::uint8_t>((idr5::gran4k::get(idr5) ? 1u << raw(granule::k4) : 0u) |
                                         (idr5::gran16k::get(idr5) ? 1u << raw(granule::k16) : 0u) |
                                         (idr5::gran64k::get(idr5) ? 1u << raw(granule::k64) : 0u));
  if (f.granules == 0) return errc::unsupported;

  const auto cap = [](unsigned v) { return static_cast<std::uint8_t>(v < queue_log2_architectural ? v : queue_log2_architectural); };
  id.cmdq_log2_max = cap(static_cast<unsigned>(idr1::cmdqs::get(idr1)));
  id.eventq_log2_max = cap(static_cast<unsigned>(idr1::eventqs::get(idr1)));
  if (id.cmdq_log2_max < 1) return errc::unsupported;
  id.msi = idr0::msi::get(idr0);
  id.sev = idr0::sev::get(idr0);
  id.hyp = idr0::hyp::get(idr0);
  id.pri = idr0::pri::get(idr0);
  id.can_stall = idr0::stall::get(idr0) == stall_model::stall_and_terminate;
  id.two_level_streams = static_cast<unsigned>(idr0::st_level::get(idr0)) == 1;
  id.iidr = iidr;
  return id;
}

/// Reads the ID registers of `b` and decodes them. Any context; five MMIO reads.
template <environment Env, backend<Env> Backend>
[[nodiscard]] result<identity> probe(Backend& b) noexcept {
  return decode_identity(b.read32(reg::idr0::offset), b.read32(reg::idr1::offset), b.read32(reg::idr3::offset), b.read32(reg::idr5::offset),
                         b.read32(reg::iidr::offset));
}

}  // namespace device
SHOOTDOWN_END
