// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

// What every fuzz target shares: the input as a stream of numbers, the tag that names a format, and one way to fail.

/// The first byte of every input of a target, so that an input of another target, or of another generation of the format,
/// is refused instead of read as something else. Each target defines it; the replay program knows it too.
extern "C" const std::uint8_t fuzz_format_tag;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace fuzz {

/// Where reading stood and why the last input was refused; text is null if it was not.
struct refusal {
  std::size_t position{};
  const char* text{};
};
inline refusal& last_refusal() {
  static refusal r;
  return r;
}
/// Refuses an input: LLVMFuzzerTestOneInput returns this. libFuzzer drops it, the replay program reports it as malformed.
inline int malformed(std::size_t position, const char* text) {
  last_refusal() = {position, text};
  return -1;
}

/// How far the current input was read: part of every failure's message.
inline std::size_t& position() {
  static std::size_t at = 0;
  return at;
}
[[noreturn]] inline void broken(const char* what) {
  std::fprintf(stderr, "violated: %s (before byte %zu of the input)\n", what, position());
  std::abort();
}
inline void require(bool holds, const char* what) {
  if (!holds) broken(what);
}

/// The input behind its tag as a stream of integers, little-endian; zeros once it is used up.
class input {
 public:
  input(const std::uint8_t* data, std::size_t size) : data_{data}, size_{size} { position() = 0; }

  /// Takes the tag. False: refused, and the target returns -1.
  [[nodiscard]] bool tagged() {
    if (size_ != 0 && data_[0] == fuzz_format_tag) {
      ++at_;
      return true;
    }
    (void)malformed(0, size_ == 0 ? "empty: the tag of the format is missing" : "not the tag of this target's format");
    return false;
  }
  [[nodiscard]] std::uint8_t u8() { return static_cast<std::uint8_t>(number(1)); }
  [[nodiscard]] std::uint16_t u16() { return static_cast<std::uint16_t>(number(2)); }
  [[nodiscard]] std::uint32_t u32() { return static_cast<std::uint32_t>(number(4)); }
  [[nodiscard]] std::uint64_t u64() { return number(8); }
  /// One byte's worth of choice among n.
  [[nodiscard]] unsigned below(unsigned n) { return u8() % n; }
  [[nodiscard]] bool empty() const { return at_ == size_; }
  [[nodiscard]] const std::uint8_t* rest() const { return data_ + at_; }
  [[nodiscard]] std::size_t left() const { return size_ - at_; }

 private:
  [[nodiscard]] std::uint64_t number(unsigned bytes) {
    std::uint64_t v = 0;
    for (unsigned i = 0; i != bytes && at_ != size_; ++i) v |= std::uint64_t{data_[at_++]} << (8 * i);
    position() = at_;
    return v;
  }
  const std::uint8_t* data_;
  std::size_t size_;
  std::size_t at_{};
};

}  // namespace fuzz
