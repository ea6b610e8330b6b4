// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>  // std::memory_order only
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include <shootdown/arch/types.hpp>
#include <shootdown/config.hpp>
#include <shootdown/env/backend.hpp>
#include <shootdown/env/environment.hpp>
#include <shootdown/env/spinlock.hpp>
#include <shootdown/range/gather.hpp>
#include <shootdown/status.hpp>

SHOOTDOWN_BEGIN
namespace table {

inline constexpr std::size_t page_bytes = 4096;  ///< of a 4 KiB-granule table
inline constexpr std::size_t page_words = page_bytes / 8;

/// Where a page is, for the pool. `leaving`: its owner has given it back, the observer is being told.
enum class page_state : std::uint8_t { used, leaving, pooled };

/// What software knows about one table page and cannot read out of it. It is the page's handle in a gather (held_frame).
/// `state` belongs to the pool and its lock; everything else belongs to the editor that has the page, and its caller's lock.
///
/// Two independent facts give a table below the root its state:
///   linked         | the parent's descriptor is valid: a walk reaches the table
///   held           | the table sits in the chain of a gather whose invalidation has not completed
///   linked, !held  | normal (live may be 0: an empty leftover)
///  !linked,  held  | parked: the parent's descriptor is invalid but keeps the address, so that map can link it again
///   linked,  held  | revived: linked again while it was held
///  !linked, !held  | waiting: its own hold is over, but parked tables inside are still held
struct page_meta : held_frame {
  std::uint32_t parent{};  ///< page number of the table with the descriptor of this one
  std::uint32_t root{};    ///< page number of the root this page belongs to
  std::uint16_t slot{};    ///< which descriptor of the parent
  std::uint16_t live{};    ///< valid descriptors in the page
  std::uint16_t parked{};  ///< parked descriptors in the page
  std::uint8_t level{};    ///< 0 .. 3
  bool linked{};
  bool held{};
  page_state state{page_state::used};
};

/// Sees every page leave and enter the pool. `freed` comes before anybody else can get the page, `allocated` before its
/// owner can. Called without a lock, possibly on several threads at once; must be noexcept.
template <class O>
concept pool_observer = requires(O o, bus_addr at) {
  { o.allocated(at) } noexcept;
  { o.freed(at) } noexcept;
};

/// The same for an observer that counts smaller frames than the pool's pages, and so wants the size too.
template <class O>
concept sized_pool_observer = requires(O o, bus_addr at, std::size_t bytes) {
  { o.allocated(at, bytes) } noexcept;
  { o.freed(at, bytes) } noexcept;
};

struct null_observer {
  constexpr void allocated(bus_addr) noexcept {}
  constexpr void freed(bus_addr) noexcept {}
};

/// One table: its words (512 with 4 KiB granules), where a device finds it, and its bookkeeping. Empty (no page) when cpu == nullptr.
template <class Env>
struct table_page {
  typename Env::dma_word* cpu{};
  page_meta* meta{};
  bus_addr bus{};
  [[nodiscard]] explicit constexpr operator bool() const noexcept { return cpu != nullptr; }
};

/// Pages for translation tables, of one granule (PageBytes), out of memory and bookkeeping that the caller supplies.
///
/// Purpose: the frames a walk may read all come from here, so a freed one is known to be a table, and an Observer (the
/// model's DMA oracle) learns of each change of hands.
/// Contract: `memory` starts page-aligned on the bus; `meta` has one element a page; both outlive the pool. Pages that do
/// not fit (a span that is misaligned, or fewer elements than pages) are not used; check(memory, meta) says so beforehand.
/// allocate() gives a page of zeroes, already visible to a device that finds it; free() takes one that no device can reach
/// any more (after the SYNC). allocate_run() gives neighbours, for concatenated start tables. A page freed twice, or a foreign
/// one, goes to Env::fail and changes nothing.
/// Context: any but NMI (a spinlock held for a few instructions, local interrupts off); several editors and threads.
/// Progress: blocking, but nobody waits inside the lock. Cost: O(1) plus zeroing; check_invariants is O(pages), and so is
/// allocate_run, under the lock: it is for the making of a table, not for its use.
/// Not a general allocator: one size, no growth.
///
/// Sites: D1 first contents
template <class Env, class Observer = null_observer, std::size_t PageBytes = page_bytes>
class page_pool {
  static_assert(PageBytes == 4096 || PageBytes == 16384 || PageBytes == 65536, "page_pool: PageBytes is a granule: 4, 16 or 64 KiB");
  static_assert(environment<Env>, "page_pool: Env does not satisfy shootdown::environment");
  static_assert(pool_observer<Observer> || sized_pool_observer<Observer>,
                "page_pool: Observer needs noexcept allocated(bus_addr) and freed(bus_addr), or both with a std::size_t of bytes");

 public:
  using environment_type = Env;
  using page = table_page<Env>;
  static constexpr std::size_t page_size = PageBytes;
  static constexpr std::size_t page_entries = PageBytes / 8;

  /// Would these two make a pool? misaligned, empty_range, or out_of_range (too little bookkeeping, or a bus end beyond 2^48).
  [[nodiscard]] static constexpr status check(const dma_span<Env>& memory, std::span<const page_meta> meta) noexcept {
    if (!memory || memory.words < page_entries) return errc::empty_range;
    if (raw(memory.bus) % page_size != 0 || memory.words % page_entries != 0) return errc::misaligned;
    if (raw(memory.bus) > bus_limit || bus_limit - raw(memory.bus) < memory.words * 8) return errc::out_of_range;
    if (meta.size() < memory.words / page_entries) return errc::out_of_range;
    return errc::ok;
  }

  page_pool(dma_span<Env> memory, std::span<page_meta> meta, Observer observer = Observer{}) noexcept
      : memory_{memory}, meta_{meta.data()}, observer_{std::move(observer)} {
    if (!check(memory, meta).ok()) {
      Env::fail("page_pool: memory misaligned, empty, too far up the bus, or fewer metadata than pages");
      memory_ = {};
    }
    count_ = memory_.words / page_entries;
    for (std::size_t i = count_; i-- > 0;) {  // downwards: the first page handed out is page 0
      meta_[i] = page_meta{};
      push(meta_[i]);
    }
  }
  page_pool(const page_pool&) = delete;
  page_pool& operator=(const page_pool&) = delete;

  /// A page of zeroes, or an empty one when none is left.
  [[nodiscard]] page allocate() noexcept {
    page_meta* meta = nullptr;
    {
      const section guard{*this};
      if (free_ == nullptr) return {};
      meta = static_cast<page_meta*>(std::exchange(free_, free_->next));
      --free_count_;
      *meta = page_meta{};
    }
    return prepared(*meta);
  }

  /// The first of `n` neighbouring pages (a power of two), aligned on the bus to all of them, each as allocate() gives one and
  /// each to be freed by itself. Empty when there is no such run.
  [[nodiscard]] page allocate_run(std::size_t n) noexcept {
    if (n == 1) return allocate();
    if (n == 0 || (n & (n - 1)) != 0 || n > count_) return {};
    std::size_t first = 0;
    {
      const section guard{*this};
      const std::uint64_t base = raw(memory_.bus) / page_size;
      first = static_cast<std::size_t>((n - base % n) % n);
      while (first + n <= count_ && !all_pooled(first, n)) first += n;
      if (first + n > count_) return {};
      for (held_frame** link = &free_; *link != nullptr;) {
        auto& meta = *static_cast<page_meta*>(*link);
        if (number_of(meta) - first >= n) {  // below `first`: wraps to something huge
          link = &meta.next;
          continue;
        }
        *link = meta.next;
        --free_count_;
        meta = page_meta{};
      }
    }
    for (std::size_t i = n; i-- > 1;) static_cast<void>(prepared(meta_[first + i]));
    return prepared(meta_[first]);
  }

  /// Back to the pool. No device, cache or gather may know the page any more.
  void free(page_meta& meta) noexcept {
    if (!owns(meta)) return Env::fail("page_pool: freed a page of somewhere else");
    if (!leave(meta)) return Env::fail("page_pool: page freed twice");
    if constexpr (sized_pool_observer<Observer>) {  // before the push: the next owner must not be seen before this
      observer_.freed(at(meta).bus, page_size);
    } else {
      observer_.freed(at(meta).bus);
    }
    const section guard{*this};
    push(meta);
  }

  /// The page at a bus address; empty when there is none of this pool.
  [[nodiscard]] page at(bus_addr bus) const noexcept {
    const std::uint64_t offset = raw(bus) - raw(memory_.bus);  // below the base: wraps to something huge
    if (offset / page_size >= count_ || offset % page_size != 0) return {};
    return page_number(static_cast<std::size_t>(offset / page_size));
  }
  [[nodiscard]] page at(page_meta& meta) const noexcept { return page_number(number_of(meta)); }
  [[nodiscard]] page page_number(std::size_t n) const noexcept {
    return {memory_.cpu + n * page_entries, meta_ + n, bus_addr{raw(memory_.bus) + n * page_size}};
  }
  [[nodiscard]] std::uint32_t number_of(const page_meta& meta) const noexcept { return static_cast<std::uint32_t>(&meta - meta_); }
  /// Is `meta` one of this pool's elements?
  [[nodiscard]] bool owns(const page_meta& meta) const noexcept {
    const auto first = reinterpret_cast<std::uintptr_t>(meta_);
    const auto that = reinterpret_cast<std::uintptr_t>(&meta);
    return that >= first && that - first < count_ * sizeof(page_meta) && (that - first) % sizeof(page_meta) == 0;
  }

  [[nodiscard]] std::size_t capacity() const noexcept { return count_; }
  /// Pages on the free list; a snapshot when others use the pool.
  [[nodiscard]] std::size_t available() noexcept {
    const section guard{*this};
    return free_count_;
  }
  [[nodiscard]] Observer& observer() noexcept { return observer_; }

  /// Every page of the free list is marked so, once, and no other page is; the count is right.
  [[nodiscard]] bool check_invariants() noexcept {
    const section guard{*this};
    std::size_t listed = 0;
    for (const held_frame* f = free_; f != nullptr; f = f->next, ++listed) {
      const auto& meta = *static_cast<const page_meta*>(f);
      if (listed == count_ || !owns(meta) || meta.state != page_state::pooled) return false;  // listed == count_: a cycle
    }
    std::size_t marked = 0;
    for (std::size_t i = 0; i < count_; ++i) marked += meta_[i].state == page_state::pooled ? 1u : 0u;
    return listed == free_count_ && marked == free_count_;
  }

 private:
  static constexpr std::uint64_t bus_limit = std::uint64_t{1} << 48;  // a 4 KiB-granule descriptor carries address bits [47:12]

  /// Local interrupts off, then the lock: the pool may be used by an interrupt handler of the same CPU.
  class section {
   public:
    explicit section(page_pool& pool) noexcept : pool_{pool} { pool_.lock_.lock(); }
    ~section() { pool_.lock_.unlock(); }
    section(const section&) = delete;
    section& operator=(const section&) = delete;

   private:
    [[no_unique_address]] typename Env::irq_guard irqs_{};
    page_pool& pool_;
  };

  /// Tells the observer, zeroes and publishes: what every page goes through before its new owner has it.
  [[nodiscard]] page prepared(page_meta& meta) noexcept {
    const page got = at(meta);
    if constexpr (sized_pool_observer<Observer>) {
      observer_.allocated(got.bus, page_size);
    } else {
      observer_.allocated(got.bus);
    }
    for (std::size_t i = 0; i < page_entries; ++i) {
      got.cpu[i].store(0, std::memory_order_relaxed);  // D1 relaxed: unreachable until a store links the page
    }
    Env::dma_publish(got.cpu, page_size);
    return got;
  }
  [[nodiscard]] bool all_pooled(std::size_t first, std::size_t n) const noexcept {
    for (std::size_t i = 0; i < n; ++i) {
      if (meta_[first + i].state != page_state::pooled) return false;
    }
    return true;
  }
  [[nodiscard]] bool leave(page_meta& meta) noexcept {
    const section guard{*this};
    return std::exchange(meta.state, meta.state == page_state::used ? page_state::leaving : meta.state) == page_state::used;
  }
  void push(page_meta& meta) noexcept {
    meta.state = page_state::pooled;
    meta.next = free_;
    free_ = &meta;
    ++free_count_;
  }

  dma_span<Env> memory_{};
  page_meta* meta_{};
  std::size_t count_{};
  spinlock<Env> lock_{};
  held_frame* free_{};        // guarded by lock_
  std::size_t free_count_{};  // guarded by lock_
  [[no_unique_address]] Observer observer_{};
};

}  // namespace table
SHOOTDOWN_END
