// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include <shootdown/arch/types.hpp>
#include <shootdown/env/backend.hpp>
#include <shootdown/host/env.hpp>
#include <shootdown/range/piece.hpp>
#include <shootdown/table/page_pool.hpp>

// What the tests of tables share: an environment that reports instead of trapping, memory with an owner for each frame,
// and a device that walks it by bit arithmetic of its own and keeps every table pointer it ever saw.
namespace table_test {

/// A dma word that counts its accesses.
class counted_word {
 public:
  [[nodiscard]] std::uint64_t load(std::memory_order o) const noexcept {
    accesses.fetch_add(1, std::memory_order_relaxed);  // S1 relaxed: a count
    return w_.load(o);                                 // S2 the caller's order
  }
  void store(std::uint64_t v, std::memory_order o) noexcept {
    accesses.fetch_add(1, std::memory_order_relaxed);  // S3 relaxed: a count
    w_.store(v, o);                                    // S4 the caller's order
  }
  void store_low(std::uint32_t low, std::memory_order o) noexcept { w_.store_low(low, o); }
  static inline std::atomic<std::uint64_t> accesses{0};

 private:
  shootdown::native_dma_word w_;
};

/// The host environment, with contract violations counted, and hooks on what a non-coherent device would see.
struct env : shootdown::host::basic_env<> {
  static inline std::atomic<unsigned> failures{0};
  static inline std::function<void(const void*, std::size_t)> on_publish{};
  static inline std::function<void()> on_fence{};
  static void fail(const char*) noexcept { failures.fetch_add(1, std::memory_order_relaxed); }  // S5 relaxed: a count
  static void full_fence() noexcept {
    shootdown::native_smp_fence();
    if (on_fence) on_fence();
  }
  static void dma_publish(const void* p, std::size_t n) noexcept {
    if (on_publish) on_publish(p, n);
  }
  /// How many violations since the last call.
  static unsigned take_failures() { return failures.exchange(0, std::memory_order_relaxed); }  // S6 relaxed: a count
};
struct counting_env : env {
  using dma_word = counted_word;
};

/// Who owns each frame, as the pool's observer tells. Frees count as errors while `frees_allowed` is false.
struct ledger {
  std::set<std::uint64_t> taken;
  std::map<std::uint64_t, unsigned> freed_times;
  bool frees_allowed{true};
  unsigned errors{};
  void allocated(std::uint64_t at) { errors += taken.insert(at).second ? 0u : 1u; }
  void freed(std::uint64_t at) {
    errors += taken.erase(at) == 1 && frees_allowed ? 0u : 1u;
    ++freed_times[at];
  }
};
struct ledger_observer {
  ledger* book;
  void allocated(shootdown::bus_addr at) const noexcept { book->allocated(raw(at)); }
  void freed(shootdown::bus_addr at) const noexcept { book->freed(raw(at)); }
};

/// `n` pages of table memory at bus address `base`, with a pool over them.
template <class Env = env, std::size_t PageBytes = 4096>
struct arena {
  using pool_type = shootdown::table::page_pool<Env, ledger_observer, PageBytes>;
  static constexpr std::uint64_t base = 0x8000'0000;
  static constexpr std::size_t page_words = PageBytes / 8;

  explicit arena(std::size_t n)
      : pages{n},
        words{std::make_unique<typename Env::dma_word[]>(n * page_words)},
        meta(n),
        pool{shootdown::dma_span<Env>{words.get(), n * page_words, shootdown::bus_addr{base}}, meta, ledger_observer{&book}} {}

  [[nodiscard]] std::uint64_t word(std::uint64_t bus) const {
    return words[(bus - base) / 8].load(std::memory_order_acquire);  // S7 acquire: as a walk reads, pairs with the editor's releases
  }
  [[nodiscard]] std::vector<std::uint64_t> image() const {
    std::vector<std::uint64_t> all(pages * page_words);
    for (std::size_t i = 0; i < all.size(); ++i) all[i] = words[i].load(std::memory_order_relaxed);  // S8 relaxed: nobody writes meanwhile
    return all;
  }

  std::size_t pages;
  ledger book;
  std::unique_ptr<typename Env::dma_word[]> words;
  std::vector<shootdown::table::page_meta> meta;
  pool_type pool;
};

/// Bits of input address below a level-`level` leaf.
constexpr unsigned shift(unsigned level) { return 12 + 9 * (3 - level); }

/// A device's view: walks from the root or from any table pointer that it saw and was not told to forget.
template <class Arena>
class walker {
 public:
  struct hit {
    std::uint64_t pa{};
    unsigned level{};
    friend bool operator==(const hit&, const hit&) = default;
  };

  walker(const Arena& memory, std::uint64_t root, unsigned start) : memory_{memory}, root_{root}, start_{start} {}

  /// From the root, remembering every table pointer on the way.
  std::optional<hit> walk(std::uint64_t va) { return walk_from(root_, start_, va); }
  /// The answers from all remembered pointers that serve `va`, the root's first.
  std::vector<std::optional<hit>> walk_all_ways(std::uint64_t va) {
    std::vector<std::optional<hit>> answers{walk(va)};
    for (unsigned level = start_ + 1; level <= 3; ++level) {
      const auto found = cache_.find({level, va >> shift(level - 1)});
      if (found == cache_.end()) continue;
      for (const std::uint64_t at : std::set<std::uint64_t>{found->second}) answers.push_back(walk_from(at, level, va));
    }
    return answers;
  }
  /// Forgets as little as an invalidation of this piece allows: pointers to tables of the levels it says were freed.
  void invalidate(const shootdown::range_piece& p) {
    std::erase_if(cache_, [&](const auto& entry) {
      const auto [level, region] = entry.first;
      const std::uint64_t first = region << shift(level - 1);
      const std::uint64_t last = first + (std::uint64_t{1} << shift(level - 1)) - 1;
      return ((p.freed_levels >> level) & 1u) != 0 && first <= last_byte(p) && p.address <= last;
    });
  }
  [[nodiscard]] bool remembers(std::uint64_t table) const {
    for (const auto& [key, tables] : cache_) {
      if (tables.contains(table)) return true;
    }
    return false;
  }
  unsigned reads_of_free_tables{};

 private:
  std::optional<hit> walk_from(std::uint64_t table, unsigned level, std::uint64_t va) {
    for (;; ++level) {
      if (!memory_.book.taken.contains(table)) {
        ++reads_of_free_tables;
        return {};
      }
      const std::uint64_t word = memory_.word(table + ((va >> shift(level)) & 511) * 8);
      if ((word & 1) == 0) return {};
      const std::uint64_t address = word & 0x0000'ffff'ffff'f000;
      if (level == 3 || (word & 2) == 0) return hit{address + (va & ((std::uint64_t{1} << shift(level)) - 1)), level};
      table = address;
      cache_[{level + 1, va >> shift(level)}].insert(table);
    }
  }

  const Arena& memory_;
  std::uint64_t root_;
  unsigned start_;
  std::map<std::pair<unsigned, std::uint64_t>, std::set<std::uint64_t>> cache_;  // (level of the table, region) -> tables seen
};

}  // namespace table_test
