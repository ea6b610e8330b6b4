// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include <shootdown/arch/attributes.hpp>
#include <shootdown/arch/queue_word.hpp>
#include <shootdown/arch/registers_id.hpp>
#include <shootdown/arch/types.hpp>
#include <shootdown/status.hpp>

SHOOTDOWN_BEGIN
namespace emu {

/// What an emulated SMMU says it is: the identification registers, constant for the life of a front end. IHI 0070 6.3.
///
/// Purpose: one value that steers the decoder, the register file and the executor. Start from a preset and change fields
/// with reg::idrN; validate() before use. Context: any.
struct id_registers {
  std::uint32_t idr0{};
  std::uint32_t idr1{};
  std::uint32_t idr2{};
  std::uint32_t idr3{};
  std::uint32_t idr4{};
  std::uint32_t idr5{};
  std::uint32_t idr6{};
  std::uint32_t iidr{};
  std::uint32_t aidr{};

  /// QEMU 7.2, machine virt: stage 1, range invalidation, neither MSI nor SEV nor ATS.
  [[nodiscard]] static constexpr id_registers qemu_7_2() noexcept {
    return {.idr0 = 0x0d40101a, .idr1 = 0x02730010, .idr3 = 0x1404, .idr5 = 0x74};
  }
  /// The in-memory model: as QEMU, with MSI and SEV completion, VMID16 and 48-bit addresses; terminates instead of stalling.
  [[nodiscard]] static constexpr id_registers model_default() noexcept {
    using namespace reg;
    id_registers r{};
    r.idr0 = word(idr0::s1p::put(true) | idr0::ttf::put(idr0::ttf_aarch64) | idr0::cohacc::put(true) | idr0::asid16::put(true) |
                  idr0::msi::put(true) | idr0::sev::put(true) | idr0::vmid16::put(true) | idr0::ttendian::put(2) |
                  idr0::stall::put(stall_model::terminate_only));
    r.idr1 = word(idr1::sidsize::put(16) | idr1::eventqs::put(19) | idr1::cmdqs::put(19));
    r.idr3 = word(idr3::ril::put(true));
    r.idr5 = word(idr5::oas::put(address_size::bits48) | idr5::gran4k::put(true) | idr5::gran16k::put(true) | idr5::gran64k::put(true));
    return r;
  }
  /// The model with all that it can act out: both stages, HYP, ATS, two-level stream and CD tables, 20-bit substreams, tables of
  /// either endianness.
  [[nodiscard]] static constexpr id_registers model_full() noexcept {
    using namespace reg;
    id_registers r = model_default();
    r.idr0 = word(idr0::ttendian::set(r.idr0, 0) | idr0::s2p::put(true) | idr0::hyp::put(true) | idr0::ats::put(true) |
                  idr0::cd2l::put(true) | idr0::st_level::put(1));
    r.idr1 = word(r.idr1 | idr1::ssidsize::put(20));
    return r;
  }

  /// Sets that contradict themselves or that no front end of this library can act out.
  ///   out_of_range      a size beyond the architecture (SIDSIZE, SSIDSIZE, queue sizes)
  ///   invalid_argument  no stage or no table format at all; a reserved encoding; a feature without the one it builds on
  ///   unsupported       preset queues or tables, 128-bit descriptors
  [[nodiscard]] constexpr status validate() const noexcept {
    using namespace reg;
    if (idr1::sidsize::get(idr1) > 32 || idr1::ssidsize::get(idr1) > 20) return errc::out_of_range;
    constexpr unsigned most = queue_geometry::max_log2size;
    if (idr1::cmdqs::get(idr1) > most || idr1::eventqs::get(idr1) > most || idr1::priqs::get(idr1) > most) return errc::out_of_range;
    if (!stage1() && !stage2()) return errc::invalid_argument;
    if (idr0::ttf::get(idr0) == 0) return errc::invalid_argument;
    if (raw(idr0::stall::get(idr0)) > 2 || idr0::st_level::get(idr0) > 1 || idr0::ttendian::get(idr0) == 1) return errc::invalid_argument;
    if (idr0::hyp::get(idr0) && !stage1()) return errc::invalid_argument;
    if (idr0::pri::get(idr0) && !ats()) return errc::invalid_argument;
    if (granules() == 0) return errc::invalid_argument;
    if (wide_scale() && !supports(granule::k4) && !supports(granule::k16)) return errc::invalid_argument;
    if (wide_scale() && !range_invalidation()) return errc::invalid_argument;
    if (idr1::rel::get(idr1) || idr1::queues_preset::get(idr1) || idr1::tables_preset::get(idr1)) return errc::unsupported;
    if (idr5::d128::get(idr5)) return errc::unsupported;
    return {};
  }

  [[nodiscard]] constexpr bool stage1() const noexcept { return reg::idr0::s1p::get(idr0); }
  [[nodiscard]] constexpr bool stage2() const noexcept { return reg::idr0::s2p::get(idr0); }
  [[nodiscard]] constexpr bool hyp() const noexcept { return reg::idr0::hyp::get(idr0); }
  [[nodiscard]] constexpr bool ats() const noexcept { return reg::idr0::ats::get(idr0); }
  [[nodiscard]] constexpr bool pri() const noexcept { return reg::idr0::pri::get(idr0); }
  [[nodiscard]] constexpr bool msi() const noexcept { return reg::idr0::msi::get(idr0); }
  [[nodiscard]] constexpr bool sev() const noexcept { return reg::idr0::sev::get(idr0); }
  [[nodiscard]] constexpr bool stalls() const noexcept { return reg::idr0::stall::get(idr0) != reg::stall_model::terminate_only; }
  [[nodiscard]] constexpr bool range_invalidation() const noexcept { return reg::idr3::ril::get(idr3); }
  [[nodiscard]] constexpr bool wide_scale() const noexcept { return reg::idr5::ds::get(idr5); }
  [[nodiscard]] constexpr unsigned asid_bits() const noexcept { return reg::idr0::asid16::get(idr0) ? 16 : 8; }
  [[nodiscard]] constexpr unsigned vmid_bits() const noexcept { return reg::idr0::vmid16::get(idr0) ? 16 : 8; }
  [[nodiscard]] constexpr unsigned stream_bits() const noexcept { return reg::idr1::sidsize::get(idr1); }
  [[nodiscard]] constexpr unsigned substream_bits() const noexcept { return reg::idr1::ssidsize::get(idr1); }
  [[nodiscard]] constexpr unsigned output_bits() const noexcept { return shootdown::address_bits(reg::idr5::oas::get(idr5)); }
  /// Bit g set: granule{g} is supported.
  [[nodiscard]] constexpr unsigned granules() const noexcept {
    return (reg::idr5::gran4k::get(idr5) ? 1u << raw(granule::k4) : 0u) | (reg::idr5::gran16k::get(idr5) ? 1u << raw(granule::k16) : 0u) |
           (reg::idr5::gran64k::get(idr5) ? 1u << raw(granule::k64) : 0u);
  }
  [[nodiscard]] constexpr bool supports(granule g) const noexcept { return ((granules() >> raw(g)) & 1u) != 0; }
  friend constexpr bool operator==(const id_registers&, const id_registers&) noexcept = default;

 private:
  [[nodiscard]] static constexpr std::uint32_t word(std::uint64_t w) noexcept { return static_cast<std::uint32_t>(w); }
};
static_assert(id_registers::qemu_7_2().validate().ok());
static_assert(id_registers::model_default().validate().ok());
static_assert(id_registers::model_full().validate().ok());

}  // namespace emu
SHOOTDOWN_END
