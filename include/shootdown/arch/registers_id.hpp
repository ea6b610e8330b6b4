// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include <shootdown/arch/attributes.hpp>
#include <shootdown/arch/field.hpp>

// Identification registers, read-only. IHI 0070 6.3. A field takes and yields 64-bit words; registers of 32 bits widen.
SHOOTDOWN_BEGIN
namespace reg {

/// IDR0.STALL_MODEL.
enum class stall_model : std::uint8_t { stall_and_terminate = 0, terminate_only = 1, stall_forced = 2 };

struct idr0 {
  static constexpr std::uint32_t offset = 0x000;
  static constexpr unsigned bits = 32;
  using s2p = field<0, 0, bool>;
  using s1p = field<1, 1, bool>;
  using ttf = field<3, 2, std::uint8_t>;  // bit 0 AArch32, bit 1 AArch64
  using cohacc = field<4, 4, bool>;
  using btm = field<5, 5, bool>;
  using httu = field<7, 6, std::uint8_t>;
  using dormhint = field<8, 8, bool>;
  using hyp = field<9, 9, bool>;
  using ats = field<10, 10, bool>;
  using ns1ats = field<11, 11, bool>;
  using asid16 = field<12, 12, bool>;
  using msi = field<13, 13, bool>;
  using sev = field<14, 14, bool>;
  using atos = field<15, 15, bool>;
  using pri = field<16, 16, bool>;
  using vmw = field<17, 17, bool>;
  using vmid16 = field<18, 18, bool>;
  using cd2l = field<19, 19, bool>;
  using vatos = field<20, 20, bool>;
  using ttendian = field<22, 21, std::uint8_t>;  // 0 mixed, 2 little, 3 big
  using atsrecerr = field<23, 23, bool>;
  using stall = field<25, 24, stall_model>;
  using term_model = field<26, 26, bool>;
  using st_level = field<28, 27, std::uint8_t>;  // 0 linear, 1 two-level too
  using rme_impl = field<30, 30, bool>;
  static constexpr std::uint8_t ttf_aarch64 = 2;  ///< bit of TTF
};

struct idr1 {
  static constexpr std::uint32_t offset = 0x004;
  static constexpr unsigned bits = 32;
  using sidsize = field<5, 0, unsigned>;    // 0..32
  using ssidsize = field<10, 6, unsigned>;  // 0..20
  using priqs = field<15, 11, unsigned>;    // log2 of the most PRI queue entries
  using eventqs = field<20, 16, unsigned>;  // ... event queue entries
  using cmdqs = field<25, 21, unsigned>;    // ... command queue entries, 19 at most
  using attr_perms_ovr = field<26, 26, bool>;
  using attr_types_ovr = field<27, 27, bool>;
  using rel = field<28, 28, bool>;
  using queues_preset = field<29, 29, bool>;
  using tables_preset = field<30, 30, bool>;
  using ecmdq = field<31, 31, bool>;
};

struct idr2 {
  static constexpr std::uint32_t offset = 0x008;
  static constexpr unsigned bits = 32;
};

struct idr3 {
  static constexpr std::uint32_t offset = 0x00c;
  static constexpr unsigned bits = 32;
  using had = field<2, 2, bool>;
  using pbha = field<3, 3, bool>;
  using xnx = field<4, 4, bool>;
  using pps = field<5, 5, bool>;
  using mpam = field<7, 7, bool>;
  using fwb = field<8, 8, bool>;
  using stt = field<9, 9, bool>;
  using ril = field<10, 10, bool>;  // range invalidation and TTL hints
  using bbml = field<12, 11, std::uint8_t>;
  using e0pd = field<13, 13, bool>;
  using ptwnnc = field<14, 14, bool>;
  using dpt = field<15, 15, bool>;
  using mec = field<16, 16, bool>;
};

struct idr4 {
  static constexpr std::uint32_t offset = 0x010;  // implementation defined
  static constexpr unsigned bits = 32;
};

struct idr5 {
  static constexpr std::uint32_t offset = 0x014;
  static constexpr unsigned bits = 32;
  using oas = field<2, 0, address_size>;
  using gran4k = field<4, 4, bool>;
  using gran16k = field<5, 5, bool>;
  using gran64k = field<6, 6, bool>;
  using ds = field<7, 7, bool>;  // 52-bit 4K/16K; TLBI SCALE has 6 bits
  using d128 = field<8, 8, bool>;
  using vax = field<11, 10, std::uint8_t>;  // 0 48, 1 52, 2 56 bits of VA
  using stall_max = field<31, 16, std::uint16_t>;
};

struct iidr {
  static constexpr std::uint32_t offset = 0x018;
  static constexpr unsigned bits = 32;
  using implementer = field<11, 0, std::uint16_t>;
  using revision = field<15, 12, std::uint8_t>;
  using variant = field<19, 16, std::uint8_t>;
  using productid = field<31, 20, std::uint16_t>;
};

struct aidr {
  static constexpr std::uint32_t offset = 0x01c;
  static constexpr unsigned bits = 32;
  using arch_minor = field<3, 0, std::uint8_t>;
  using arch_major = field<7, 4, std::uint8_t>;
};

struct idr6 {
  static constexpr std::uint32_t offset = 0x190;  // ECMDQ sizing
  static constexpr unsigned bits = 32;
  using ba_doorbells = field<9, 0, std::uint16_t>;
  using log2numq = field<19, 16, std::uint8_t>;  // CMDQ_CONTROL_PAGE_LOG2NUMQ
  using log2nump = field<27, 24, std::uint8_t>;  // CMDQ_CONTROL_PAGE_LOG2NUMP
};

}  // namespace reg
SHOOTDOWN_END
