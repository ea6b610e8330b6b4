// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include <shootdown/arch/types.hpp>
#include <shootdown/env/environment.hpp>
#include <shootdown/model/random.hpp>
#include <shootdown/model/translation.hpp>

SHOOTDOWN_BEGIN
namespace model {

struct agent_options {
  std::uint64_t seed{1};
  unsigned accesses{2};  ///< per device step
  unsigned write_percent{50};
  bool has_ssid{};
  substream_id ssid{};
  unsigned ats_percent{};  ///< accesses through its endpoint's ATC; it gets an endpoint of the default kind if it has none
};

/// A device that does not listen: it uses every IOVA it was ever told about, at random, reads and writes, and does not stop
/// because the driver unmapped it. Half of its accesses go to what it was told most recently, because that is what is
/// being unmapped now. With ATS it asks for translations, keeps them and uses them for as long as its cache has them.
///
/// Contract: tell() from any thread; a bounded ring remembers the last `capacity` ranges. Two threads that tell at the
///   same instant may overwrite one another's range; a torn pair is merely an odd address, as a broken device may emit.
/// next() only by the device (its lock). Progress: wait-free. Cost: three stores to tell, three loads an access.
/// Sites: S1 range stores (relaxed), S2 head store (release) -> S3 head load (acquire), S4 range loads (relaxed).
template <environment Env>
class agent {
  using cell = typename Env::template atomic<std::uint64_t>;

 public:
  static constexpr std::size_t capacity = 1024;

  agent(stream_id sid, const agent_options& o) : sid_{sid}, options_{o}, chance_{o.seed ^ (std::uint64_t{raw(sid)} << 32)} {
    for (std::size_t i = 0; i != capacity; ++i) {
      base_[i].store(0, std::memory_order_relaxed);   // S1 relaxed: construction
      pages_[i].store(0, std::memory_order_relaxed);  // S1 relaxed: construction
    }
    head_.store(0, std::memory_order_relaxed);  // S2 relaxed: construction
  }

  [[nodiscard]] stream_id sid() const noexcept { return sid_; }
  [[nodiscard]] const agent_options& options() const noexcept { return options_; }

  /// From now on the device uses [x, x + bytes), for ever.
  void tell(iova x, std::uint64_t bytes) noexcept {
    const std::uint64_t n = head_.load(std::memory_order_acquire);                // S3 acquire: pairs with S2 of another teller
    base_[n % capacity].store(raw(x), std::memory_order_relaxed);                 // S1 relaxed: published by S2; a torn pair is harmless
    pages_[n % capacity].store((bytes + 4095) >> 12, std::memory_order_relaxed);  // S1 relaxed: as above
    head_.store(n + 1, std::memory_order_release);                                // S2 release -> S3: the range before its number
  }
  [[nodiscard]] std::uint64_t told() const noexcept { return head_.load(std::memory_order_acquire); }  // S3 acquire: pairs with S2

  struct access {
    iova address{};
    request want{};
    bool by_ats{};
  };
  /// The next access. The agent must have been told something.
  [[nodiscard]] access next() noexcept {
    const std::uint64_t n = head_.load(std::memory_order_acquire);  // S3 acquire: pairs with S2
    const std::uint64_t r = chance_.next();
    const std::uint64_t window = (r & 1) != 0 ? (n < 8 ? n : 8) : (n < capacity ? n : capacity);
    const std::uint64_t at = (n - 1 - chance_.below(window)) % capacity;
    const std::uint64_t base = base_[at].load(std::memory_order_relaxed);    // S4 relaxed: any mixture of told values will do
    const std::uint64_t pages = pages_[at].load(std::memory_order_relaxed);  // S4 relaxed: as above
    const std::uint64_t page = (r >> 1 & 3) == 0 ? 0 : (r >> 1 & 3) == 1 ? (pages == 0 ? 0 : pages - 1) : chance_.below(pages);
    access a{};
    a.address = iova{base + (page << 12) + (r >> 8 & 0xff8)};
    a.want.write = (r >> 32) % 100 < options_.write_percent;
    a.want.has_ssid = options_.has_ssid;
    a.want.ssid = options_.ssid;
    a.by_ats = options_.ats_percent != 0 && chance_.below(100) < options_.ats_percent;
    return a;
  }
  [[nodiscard]] prng& chance() noexcept { return chance_; }

 private:
  stream_id sid_;
  agent_options options_;
  prng chance_;
  std::array<cell, capacity> base_{};
  std::array<cell, capacity> pages_{};
  cell head_{};
};

}  // namespace model
SHOOTDOWN_END
