// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include <shootdown/arch/types.hpp>
#include <shootdown/env/time.hpp>

SHOOTDOWN_BEGIN
namespace model {

/// Identity of an address space for the oracle: the test's own number of a domain. 0 means none.
enum class space_id : std::uint16_t { none = 0 };

/// Who owns a data frame: space in [63:48], the 4 KiB page number of the IOVA in [47:0]. 0 is a free frame.
/// Packed, not hashed: two different owners never look alike.
enum class owner_token : std::uint64_t { free = 0 };

[[nodiscard]] constexpr owner_token make_owner(space_id space, iova x) noexcept {
  return owner_token{(std::uint64_t{raw(space)} << 48) | ((raw(x) >> 12) & ((std::uint64_t{1} << 48) - 1))};
}
[[nodiscard]] constexpr space_id owner_space(owner_token t) noexcept { return space_id{static_cast<std::uint16_t>(raw(t) >> 48)}; }
[[nodiscard]] constexpr iova owner_page(owner_token t) noexcept { return iova{(raw(t) & ((std::uint64_t{1} << 48) - 1)) << 12}; }

/// What went wrong. Each is a use of something that the caller was told is no longer in use.
enum class leak_kind : std::uint8_t {
  free_frame,     ///< a DMA landed in a data frame that nobody owns
  foreign_frame,  ///< a DMA landed in a data frame of another space or of another page
  table_write,    ///< a DMA landed in a page table
  freed_table,    ///< a walk read a descriptor from a frame that is not a live table
};
[[nodiscard]] constexpr const char* name(leak_kind k) noexcept {
  switch (k) {
    case leak_kind::free_frame: return "free_frame";
    case leak_kind::foreign_frame: return "foreign_frame";
    case leak_kind::table_write: return "table_write";
    case leak_kind::freed_table: return "freed_table";
  }
  return "?";
}

/// One leak, as much as is needed to find its cause.
struct leak_record {
  leak_kind kind{};
  stream_id sid{};
  iova address{};          ///< what the device asked for
  bus_addr bus{};          ///< where it ended, or which descriptor was read
  owner_token expected{};  ///< the owner that would have made it legal
  owner_token found{};     ///< the owner it met
  instant time{};
};

/// Writes one line, e.g. "free_frame sid=0x8 iova=0x1000 bus=0x100003000 expected=1:0x1000 found=free t=42"; cut at the
/// span's size, always ended by a zero if there is room for one. Returns the characters written without the zero.
inline std::size_t format(const leak_record& r, std::span<char> out) noexcept {
  std::size_t n = 0;
  const auto text = [&](const char* s) {
    for (; *s != '\0'; ++s)
      if (n + 1 < out.size()) out[n++] = *s;
  };
  const auto number = [&](std::uint64_t v, unsigned base) {
    std::array<char, 21> digits{};
    std::size_t at = digits.size() - 1;
    do {
      digits[--at] = "0123456789abcdef"[v % base];
      v /= base;
    } while (v != 0);
    if (base == 16) text("0x");
    text(&digits[at]);
  };
  const auto owner = [&](owner_token t) {
    if (t == owner_token::free) return text("free");
    number(raw(owner_space(t)), 10);
    text(":");
    number(raw(owner_page(t)), 16);
  };
  text(name(r.kind));
  text(" sid=");
  number(raw(r.sid), 16);
  text(" iova=");
  number(raw(r.address), 16);
  text(" bus=");
  number(raw(r.bus), 16);
  text(" expected=");
  owner(r.expected);
  text(" found=");
  owner(r.found);
  text(" t=");
  number(since_epoch(r.time), 10);
  if (!out.empty()) out[n] = '\0';
  return n;
}

}  // namespace model
SHOOTDOWN_END
