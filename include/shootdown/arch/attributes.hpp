// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include <shootdown/config.hpp>

SHOOTDOWN_BEGIN

/// SH encodings of CR1, MSI attributes, STE, CD and leaf descriptors. 1 is reserved.
enum class shareability : std::uint8_t { non = 0, outer = 2, inner = 3 };

/// IC, OC, IRGN and ORGN encodings. write_back of CR1 and write_back_allocate of a CD share the value 1.
enum class cacheability : std::uint8_t { non_cacheable = 0, write_back = 1, write_through = 2, write_back_no_allocate = 3 };

/// OAS (IDR5), IPS (CD) and S2PS (STE) encodings of an address width, and the width in bits; 0 for a reserved encoding.
enum class address_size : std::uint8_t { bits32 = 0, bits36 = 1, bits40 = 2, bits42 = 3, bits44 = 4, bits48 = 5, bits52 = 6, bits56 = 7 };

[[nodiscard]] constexpr unsigned address_bits(address_size s) noexcept {
  switch (s) {
    case address_size::bits32: return 32;
    case address_size::bits36: return 36;
    case address_size::bits40: return 40;
    case address_size::bits42: return 42;
    case address_size::bits44: return 44;
    case address_size::bits48: return 48;
    case address_size::bits52: return 52;
    case address_size::bits56: return 56;
  }
  return 0;
}

SHOOTDOWN_END
