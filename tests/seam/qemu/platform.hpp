// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>

// What the image needs of QEMU's `virt` machine (highmem=off): console, clock, exit, and a NIC that does DMA on command.
namespace platform {

inline constexpr std::uintptr_t uart = 0x09000000;
inline constexpr std::uintptr_t smmu = 0x09050000;  // page 1 at + 0x10000
inline constexpr std::uintptr_t ecam = 0x3f000000;
inline constexpr std::uintptr_t pci_window = 0x10000000;

inline std::uint32_t read32(std::uintptr_t a) noexcept { return *reinterpret_cast<volatile std::uint32_t*>(a); }
inline std::uint64_t read64(std::uintptr_t a) noexcept { return *reinterpret_cast<volatile std::uint64_t*>(a); }
inline void write32(std::uintptr_t a, std::uint32_t v) noexcept { *reinterpret_cast<volatile std::uint32_t*>(a) = v; }
inline void write64(std::uintptr_t a, std::uint64_t v) noexcept { *reinterpret_cast<volatile std::uint64_t*>(a) = v; }

inline void print(const char* text) noexcept {
  for (; *text != '\0'; ++text) write32(uart, static_cast<unsigned char>(*text));
}
inline void print_hex(std::uint64_t v) noexcept {
  print("0x");
  bool leading = true;
  for (int shift = 60; shift >= 0; shift -= 4) {
    const auto digit = static_cast<unsigned>((v >> shift) & 15);
    if (leading && digit == 0 && shift != 0) continue;
    leading = false;
    write32(uart, static_cast<std::uint32_t>("0123456789abcdef"[digit]));
  }
}

/// Nanoseconds of the generic timer (62.5 MHz on this machine: 16 ns a tick).
inline std::uint64_t now_ns() noexcept {
  std::uint64_t ticks = 0;
  std::uint64_t hertz = 0;
  asm volatile("isb\n mrs %0, cntvct_el0\n mrs %1, cntfrq_el0" : "=r"(ticks), "=r"(hertz)::"memory");
  return ticks * (1000000000u / hertz);
}

/// Ends QEMU through semihosting; its exit status is `code`.
[[noreturn]] inline void exit(std::uint64_t code) noexcept {
  struct {
    std::uint64_t reason, code;
  } block{0x20026, code};
  register std::uint64_t x0 asm("x0") = 0x20;
  register void* x1 asm("x1") = &block;
  asm volatile("hlt #0xf000" ::"r"(x0), "r"(x1) : "memory");
  for (;;) {
  }
}

/// An Intel 82540EM ("e1000") at 00:01.0 in PHY loop-back. Writing TDT makes it, within that store, read a packet at
/// the transmit buffer and write it to the receive buffer: one DMA write at an IOVA of the test's choice.
/// Its StreamID is its bus/device/function number.
class loopback_nic {
 public:
  static constexpr std::uint32_t stream = 1u << 3;
  static constexpr unsigned packet_bytes = 64;
  static constexpr unsigned ring_entries = 8;

  /// `rings`: a 4 KiB page mapped at IOVA `rings_iova` that holds both rings and the packet. False: no such device.
  bool start(volatile std::uint64_t* rings, std::uint64_t rings_iova) noexcept {
    const std::uintptr_t config = ecam + (std::uintptr_t{stream} << 12);
    if (read32(config) != 0x100e8086u) return false;
    write32(config + 0x10, static_cast<std::uint32_t>(pci_window));  // BAR0
    write32(config + 4, 6);                                          // memory space, bus master
    rings_ = rings;
    for (unsigned i = 0; i != 512; ++i) rings_[i] = 0;
    tx_iova_ = rings_iova + packet_offset;
    reg(0x20, 0x4140u | (0u << 16) | (1u << 21) | (1u << 26));  // MDIC: PHY control = loop-back
    reg(0x2800, static_cast<std::uint32_t>(rings_iova + rx_offset));
    reg(0x2804, static_cast<std::uint32_t>((rings_iova + rx_offset) >> 32));
    reg(0x2808, ring_entries * 16);
    reg(0x2810, 0);
    reg(0x2818, 0);
    reg(0x3800, static_cast<std::uint32_t>(rings_iova + tx_offset));
    reg(0x3804, static_cast<std::uint32_t>((rings_iova + tx_offset) >> 32));
    reg(0x3808, ring_entries * 16);
    reg(0x3810, 0);
    reg(0x3818, 0);
    reg(0x400, 2);                        // TCTL: enable
    reg(0x100, 2 | 4 | 8 | 16);           // RCTL: enable, store bad packets, promiscuous
    const std::uint64_t held = now_ns();  // the receiver stays closed for a second after RCTL
    while (now_ns() - held < 1100000000u) {
    }
    return true;
  }

  /// One packet, every byte `fill`, to the receive buffer at `target` (an IOVA).
  void dma_write(std::uint64_t target, std::uint8_t fill) noexcept {
    const std::uint64_t pattern = 0x0101010101010101u * fill;
    for (unsigned i = 0; i != packet_bytes / 8; ++i) rings_[packet_offset / 8 + i] = pattern;
    const unsigned next = (tail_ + 1) % ring_entries;
    rings_[rx_offset / 8 + 2 * tail_] = target;
    rings_[rx_offset / 8 + 2 * tail_ + 1] = 0;
    rings_[tx_offset / 8 + 2 * tail_] = tx_iova_;
    rings_[tx_offset / 8 + 2 * tail_ + 1] = packet_bytes | (std::uint64_t{1 | 8} << 24);  // end of packet, report status
    asm volatile("dsb sy" ::: "memory");
    reg(0x2818, next);
    reg(0x3818, next);
    asm volatile("dsb sy" ::: "memory");
    tail_ = next;
  }

 private:
  static constexpr std::uint64_t rx_offset = 0;
  static constexpr std::uint64_t tx_offset = 1024;
  static constexpr std::uint64_t packet_offset = 2048;
  static void reg(std::uint32_t offset, std::uint32_t v) noexcept { write32(pci_window + offset, v); }

  volatile std::uint64_t* rings_{};
  std::uint64_t tx_iova_{};
  unsigned tail_{};
};

}  // namespace platform
