// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include <shootdown/config.hpp>

SHOOTDOWN_BEGIN
namespace model {

/// A small seeded generator (SplitMix64): the only source of chance in the model, so that every run replays from its seed.
/// One owner at a time; 8 bytes; about 1 ns a number. Not for anything that needs unpredictability.
class prng {
 public:
  constexpr explicit prng(std::uint64_t seed = 1) noexcept : state_{seed} {}

  [[nodiscard]] constexpr std::uint64_t next() noexcept {
    state_ += 0x9e3779b97f4a7c15u;
    std::uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  /// A number in [0, n); n = 0 gives 0. The bias of the remainder (below n / 2^64) does not matter here.
  [[nodiscard]] constexpr std::uint64_t below(std::uint64_t n) noexcept { return n == 0 ? 0 : next() % n; }

 private:
  std::uint64_t state_;
};

}  // namespace model
SHOOTDOWN_END
