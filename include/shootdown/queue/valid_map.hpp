// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <new>

#include <shootdown/arch/queue_word.hpp>
#include <shootdown/env/environment.hpp>
#include <shootdown/port/ticket.hpp>

SHOOTDOWN_BEGIN
namespace queue {

/// One bit per slot that says "this position is written", with a meaning that flips each lap: position p is valid when its
/// bit differs from p's wrap flag. So a lap that ends leaves every bit meaning "not yet" for the next one, and nobody ever
/// clears anything. cmdq-algorithm.md section 1.
///
/// Contract: a position is marked once, by the one who reserved it; ranges are at most the ring; the ring has a multiple of
/// 64 slots. Memory from Env::allocate, given back by the destructor. Context: mark and valid any; the rest bring-up only.
/// Progress: wait-free. Cost: one read-modify-write per 64 slots touched. Up to 64 writers share a word, 512 a cache line.
///
/// Sites: S1 mark (release) -> S2 valid (acquire), S3 reset (relaxed)
template <class Env>
class valid_map {
 public:
  static constexpr unsigned min_log2size = 6;

  valid_map() noexcept = default;
  valid_map(const valid_map&) = delete;
  valid_map& operator=(const valid_map&) = delete;
  ~valid_map() noexcept { release(); }

  /// Room for a ring of this size; the old memory is kept on failure.
  [[nodiscard]] bool allocate(unsigned log2size) noexcept {
    const std::size_t n = std::size_t{1} << (log2size - min_log2size);
    void* const raw_memory = Env::allocate(n * sizeof(word), cache_line);
    if (raw_memory == nullptr) return false;
    release();
    words_ = static_cast<word*>(raw_memory);
    for (std::size_t i = 0; i != n; ++i) ::new (static_cast<void*>(words_ + i)) word{};
    geometry_ = queue_geometry{log2size};
    return true;
  }

  /// Every bit clear: nothing is valid in a lap whose wrap flag is 0.
  void reset() noexcept {
    for (std::size_t i = 0; i != count(); ++i)
      words_[i].store(0, std::memory_order_relaxed);  // S3 relaxed: nobody uses the queue; its start publishes
  }

  /// Positions [first, first + n) are written.
  void mark(seq64 first, std::uint64_t n) noexcept {
    walk(first, n, [this](std::size_t i, std::uint64_t mask, bool) noexcept {
      words_[i].fetch_xor(mask, std::memory_order_release);  // S1 release -> S2: the slots, and all their writer did before, before "valid"
      return true;
    });
  }

  /// Are all of them? Their writers' stores are visible then.
  [[nodiscard]] bool valid(seq64 first, std::uint64_t n) const noexcept {
    return walk(first, n, [this](std::size_t i, std::uint64_t mask, bool wrapped) noexcept {
      const std::uint64_t bits = words_[i].load(std::memory_order_acquire) & mask;  // S2 acquire: pairs with S1
      return bits == (wrapped ? 0 : mask);
    });
  }

 private:
  using word = typename Env::template atomic<std::uint64_t>;
  static_assert(alignof(word) <= cache_line);

  /// Calls fn(word, mask, wrap flag) for each word that the range touches; stops at false. A word never spans two laps.
  template <class F>
  bool walk(seq64 first, std::uint64_t n, F&& fn) const noexcept {
    std::uint64_t at = value(first);
    while (n != 0) {
      const std::uint32_t slot = geometry_.index(at);
      const std::uint32_t bit = slot % 64;
      const std::uint64_t here = n < 64 - bit ? n : 64 - bit;
      const std::uint64_t mask = (here == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << here) - 1) << bit;
      if (!fn(std::size_t{slot / 64}, mask, geometry_.wrap(at))) return false;
      at += here;
      n -= here;
    }
    return true;
  }

  [[nodiscard]] std::size_t count() const noexcept { return words_ == nullptr ? 0 : geometry_.slots() / 64; }
  void release() noexcept {
    if (words_ == nullptr) return;
    for (std::size_t i = 0; i != count(); ++i) words_[i].~word();
    Env::deallocate(words_, count() * sizeof(word), cache_line);
    words_ = nullptr;
  }

  word* words_{};
  queue_geometry geometry_{};
};

}  // namespace queue
SHOOTDOWN_END
