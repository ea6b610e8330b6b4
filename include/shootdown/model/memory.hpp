// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <iterator>
#include <memory>

#include <absl/container/btree_map.h>

#include <shootdown/arch/types.hpp>
#include <shootdown/env/backend.hpp>
#include <shootdown/env/bystander.hpp>
#include <shootdown/env/environment.hpp>
#include <shootdown/status.hpp>

SHOOTDOWN_BEGIN
namespace model {

/// What every word of released memory holds: as a descriptor or STE it is invalid, as a command its opcode is reserved.
inline constexpr std::uint64_t memory_poison = 0xdeadf4eedeadf4eeu;

/// The memory that CPU and device share: an arena of Env::dma_word cells that the device sees from `base` on.
///
/// Contract. Device side: load64, store64 and store_low32 by bus address; an address outside the arena, or inside an abort
///   window, answers out_of_range, which the SMMU sees as an external abort. CPU side: allocate (zeroed) and release
///   (poisoned, so that a device that still reads it reads nonsense) spans, and convert addresses both ways.
/// Context: loads and stores any; allocate and release may sleep (one mutex). Progress: loads and stores wait-free.
/// Cost: one atomic access and two compares. Not for data frames: the oracle needs no memory behind those.
/// Sites: D1 the device's load (acquire) and D2, D3 the device's stores (release) pair with the CPU's accesses to the same
/// cell (ring slot, MSI word, STE, CD, PTE); S4 zeroing, S5 poisoning; S6 abort window -> S7.
template <environment Env>
class memory {
 public:
  using word = typename Env::dma_word;
  static constexpr std::uint64_t alignment = 64 * 1024;

  /// `bytes` is rounded up to 64 KiB; `base` must be 64 KiB aligned.
  memory(bus_addr base, std::size_t bytes)
      : base_{raw(base)}, words_{(bytes + alignment - 1) / alignment * (alignment / 8)}, cells_{new word[words_]} {
    if ((base_ & (alignment - 1)) != 0) Env::fail("memory: the bus base is not 64 KiB aligned");
    for (std::size_t i = 0; i != words_; ++i) cells_[i].store(0, std::memory_order_relaxed);  // S4 relaxed: nobody else has it yet
    free_.emplace(0, words_);
  }

  [[nodiscard]] bus_addr base() const noexcept { return bus_addr{base_}; }
  [[nodiscard]] std::size_t bytes() const noexcept { return words_ * 8; }
  [[nodiscard]] bool contains(bus_addr a) const noexcept { return raw(a) >= base_ && raw(a) - base_ < bytes(); }

  /// A device's 64-bit read. `a` is 8-byte aligned (misaligned otherwise).
  [[nodiscard]] result<std::uint64_t> load64(bus_addr a) const noexcept {
    if (const status s = reachable(a, 8); !s.ok()) return s;
    return cells_[index(a)].load(std::memory_order_acquire);  // D1 acquire: the device's side of the CPU's release store
  }
  [[nodiscard]] status store64(bus_addr a, std::uint64_t v) noexcept {
    if (const status s = reachable(a, 8); !s.ok()) return s;
    cells_[index(a)].store(v, std::memory_order_release);  // D2 release: the device's side of the CPU's acquire load
    return {};
  }
  /// A device's 32-bit write (a message). One to the upper half of a cell is a load and a store: nobody else may write it.
  [[nodiscard]] status store_low32(bus_addr a, std::uint32_t v) noexcept {
    if (const status s = reachable(a, 4); !s.ok()) return s;
    word& w = cells_[index(a)];
    if (raw(a) % 8 == 0) {
      w.store_low(v, std::memory_order_release);  // D3 release: the device's side of the waiter's acquire load
      return {};
    }
    const std::uint64_t old = w.load(std::memory_order_acquire);  // D1 acquire: the device's side of the CPU's release store
    w.store((old & 0xffff'ffffu) | (std::uint64_t{v} << 32), std::memory_order_release);  // D2 release: the device's side, as store64
    return {};
  }

  /// The cell at a bus address, or null.
  [[nodiscard]] word* cpu(bus_addr a) noexcept { return contains(a) && raw(a) % 8 == 0 ? &cells_[index(a)] : nullptr; }
  /// The bus address of a cell of the arena; 0 for any other pointer.
  [[nodiscard]] bus_addr bus(const word* p) const noexcept {
    const std::less_equal<const word*> le{};
    if (!le(cells_.get(), p) || !le(p + 1, cells_.get() + words_)) return bus_addr{0};
    return bus_addr{base_ + static_cast<std::uint64_t>(p - cells_.get()) * 8};
  }

  /// Zeroed memory; empty when there is no room or the request is malformed.
  [[nodiscard]] dma_span<Env> allocate_dma(std::size_t bytes, std::size_t align) noexcept {
    if (bytes == 0 || bytes % 8 != 0 || align == 0 || (align & (align - 1)) != 0) return {};
    const std::size_t need = bytes / 8;
    const std::size_t step = align < 8 ? 1 : align / 8;
    const std::uint64_t lead = base_ / 8;  // alignment is that of the bus address
    mutex_.lock();
    std::size_t at = words_;
    for (auto it = free_.begin(); it != free_.end(); ++it) {
      const std::size_t start = static_cast<std::size_t>((it->first + lead + step - 1) / step * step - lead);
      const std::size_t end = it->first + it->second;
      if (start > end || end - start < need) continue;
      const std::size_t front = it->first;
      free_.erase(it);
      if (start != front) free_.emplace(front, start - front);
      if (start + need != end) free_.emplace(start + need, end - start - need);
      at = start;
      break;
    }
    mutex_.unlock();
    if (at == words_) return {};
    for (std::size_t i = at; i != at + need; ++i) cells_[i].store(0, std::memory_order_relaxed);  // S4 relaxed: published by its user
    return {&cells_[at], need, bus_addr{base_ + at * 8}};
  }

  /// Gives a span back and poisons it. The device must not be able to reach it any more; that is what the oracle checks.
  void release(dma_span<Env> s) noexcept {
    if (!s) return;
    const bus_addr b = bus(s.cpu);
    if (b == bus_addr{0} || s.words == 0 || s.words > words_ - index(b)) {
      Env::fail("memory: release of a span that is not of this arena");
      return;
    }
    const std::size_t at = index(b);
    for (std::size_t i = at; i != at + s.words; ++i)
      cells_[i].store(memory_poison, std::memory_order_relaxed);  // S5 relaxed: junk on purpose
    mutex_.lock();
    auto next = free_.lower_bound(at);
    const bool overlaps = (next != free_.end() && next->first < at + s.words) ||
                          (next != free_.begin() && std::prev(next)->first + std::prev(next)->second > at);
    if (overlaps) {
      mutex_.unlock();
      Env::fail("memory: double release of a span");
      return;
    }
    std::size_t first = at;
    std::size_t count = s.words;
    if (next != free_.end() && next->first == at + s.words) {
      count += next->second;
      next = free_.erase(next);
    }
    if (next != free_.begin() && std::prev(next)->first + std::prev(next)->second == at) {
      first = std::prev(next)->first;
      count += std::prev(next)->second;
      free_.erase(std::prev(next));
    }
    free_.emplace(first, count);
    mutex_.unlock();
  }

  /// Device accesses to [first, first + bytes) abort from now on; bytes = 0 ends it. One window; for fault injection.
  void abort_window(bus_addr first, std::uint64_t bytes) noexcept {
    abort_bytes_.store(0, std::memory_order_release);           // S6 release -> S7: the old window is closed before the base moves
    abort_first_.store(raw(first), std::memory_order_release);  // S6 release -> S7
    abort_bytes_.store(bytes, std::memory_order_release);       // S6 release -> S7: the base is set before the window opens
  }

  [[nodiscard]] std::size_t free_bytes() noexcept {
    mutex_.lock();
    std::size_t n = 0;
    for (const auto& [at, count] : free_) n += count;
    mutex_.unlock();
    return n * 8;
  }

  /// Free extents are inside the arena, not empty, disjoint and coalesced.
  [[nodiscard]] bool check_invariants() noexcept {
    mutex_.lock();
    bool good = true;
    std::size_t end = 0;
    bool first = true;
    for (const auto& [at, count] : free_) {
      good = good && count != 0 && at + count <= words_ && (first || at > end);
      end = at + count;
      first = false;
    }
    mutex_.unlock();
    return good;
  }

 private:
  [[nodiscard]] std::size_t index(bus_addr a) const noexcept { return static_cast<std::size_t>((raw(a) - base_) / 8); }
  [[nodiscard]] status reachable(bus_addr a, unsigned size) const noexcept {
    if ((raw(a) & (size - 1)) != 0) return errc::misaligned;
    if (!contains(a)) return errc::out_of_range;
    const std::uint64_t window = abort_bytes_.load(std::memory_order_acquire);  // S7 acquire: pairs with S6
    if (window != 0 && raw(a) - abort_first_.load(std::memory_order_acquire) < window) return errc::out_of_range;  // S7 acquire: S6
    return {};
  }

  std::uint64_t base_;
  std::size_t words_;
  std::unique_ptr<word[]> cells_;
  typename Env::mutex mutex_;
  absl::btree_map<std::size_t, std::size_t> free_;  // first word -> words
  typename bystander<Env>::template atomic<std::uint64_t> abort_first_{};
  typename bystander<Env>::template atomic<std::uint64_t> abort_bytes_{};
};

}  // namespace model
SHOOTDOWN_END
