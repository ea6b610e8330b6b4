// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include <shootdown/arch/types.hpp>
#include <shootdown/env/bystander.hpp>
#include <shootdown/env/environment.hpp>
#include <shootdown/model/leak.hpp>
#include <shootdown/status.hpp>

SHOOTDOWN_BEGIN
namespace model {

/// What the oracle watches.
struct oracle_config {
  bus_addr data_base{bus_addr{std::uint64_t{1} << 40}};  ///< first data frame; no memory lies behind data frames
  std::size_t data_frames{4096};                         ///< 4 KiB frames from there
  bus_addr table_base{};                                 ///< where page tables may lie (the arena)
  std::size_t table_frames{};
  unsigned stream_bits{8};
};

/// The DMA oracle: knows the owner of every data and table frame, and calls an access that meets the wrong one a leak.
///
/// Contract. The test claims frames for (space, IOVA) before it maps them and releases them after the unmap RETURNED ok;
///   it binds each StreamID to the space whose translations it may use. A landing in a data frame is legal only if the
///   frame's owner is exactly (a space of the stream, the page asked for). A landing or a walk outside the watched frames
///   is not judged here. table_allocated / table_freed are the hooks of a table page pool (its Observer).
/// Context: any. Progress: everything wait-free but recording a leak (mutex; leaks are meant to be rare).
/// Cost: one store a frame to claim or release, two loads a landing, one load a descriptor read; no read-modify-write, so
///   that counting environments see only what the library does. Two callers must not claim one frame at the same time;
///   claiming a frame that is owned is refused.
/// Does not see: an access through a stale translation that happens to be right again (same frame, space and page).
/// Sites: S1 owner store (release) -> S2 owner load (acquire); S3 binding store (release) -> S4 load (acquire);
///        S5 table state store (release) -> S6 load (acquire); S7 leak count (relaxed) under the mutex, read by S8.
template <environment Env>
class oracle {
  using aside = bystander<Env>;  // a judge that ordered what it watches would hide what it looks for
  using cell = typename aside::template atomic<std::uint64_t>;
  using small_cell = typename aside::template atomic<std::uint32_t>;

 public:
  static constexpr std::size_t max_records = 64;

  explicit oracle(const oracle_config& c)
      : config_{c},
        owners_{new cell[c.data_frames]},
        tables_{new small_cell[c.table_frames]},
        bindings_{new small_cell[std::size_t{1} << c.stream_bits]} {
    for (std::size_t i = 0; i != c.data_frames; ++i) owners_[i].store(0, std::memory_order_relaxed);   // S1 relaxed: construction
    for (std::size_t i = 0; i != c.table_frames; ++i) tables_[i].store(0, std::memory_order_relaxed);  // S5 relaxed: construction
    for (std::size_t i = 0; i != (std::size_t{1} << c.stream_bits); ++i)
      bindings_[i].store(0, std::memory_order_relaxed);  // S3 relaxed: construction
  }

  /// Transactions of `sid` may use translations of `space`, and of `also` while an attach or replace is under way.
  status bind(stream_id sid, space_id space, space_id also = space_id::none) noexcept {
    if ((std::uint64_t{raw(sid)} >> config_.stream_bits) != 0) return errc::out_of_range;
    bindings_[raw(sid)].store(std::uint32_t{raw(space)} | (std::uint32_t{raw(also)} << 16),
                              std::memory_order_release);  // S3 -> S4: a landing after the store is judged by the new binding
    return {};
  }

  /// Frames [first, first + 4096 * frames) now hold the pages of `space` from `x` on.
  status claim(bus_addr first, std::size_t frames, space_id space, iova x) noexcept {
    std::size_t at = 0;
    if (const status s = locate(first, frames, space, x, at); !s.ok()) return s;
    for (std::size_t i = 0; i != frames; ++i)
      if (owners_[at + i].load(std::memory_order_acquire) != 0)
        return errc::already_present;  // S2 acquire: pairs with S1 of the last owner
    for (std::size_t i = 0; i != frames; ++i)
      owners_[at + i].store(raw(make_owner(space, page(x, i))), std::memory_order_release);  // S1 -> S2: owned before the PTE is published
    return {};
  }

  /// The unmap of these frames has returned: from now on nobody may touch them. The owner must be the one that claimed.
  status release(bus_addr first, std::size_t frames, space_id space, iova x) noexcept {
    std::size_t at = 0;
    if (const status s = locate(first, frames, space, x, at); !s.ok()) return s;
    for (std::size_t i = 0; i != frames; ++i)
      if (owners_[at + i].load(std::memory_order_acquire) != raw(make_owner(space, page(x, i))))
        return errc::not_present;  // S2 acquire: S1
    for (std::size_t i = 0; i != frames; ++i)
      owners_[at + i].store(0, std::memory_order_release);  // S1 -> S2: a landing that meets this store came after the promise
    return {};
  }

  [[nodiscard]] owner_token owner(bus_addr a) const noexcept {
    return is_data(a) ? owner_token{owners_[data_index(a)].load(std::memory_order_acquire)} : owner_token::free;  // S2 acquire: S1
  }
  [[nodiscard]] bool is_data(bus_addr a) const noexcept { return raw(a) >= raw(config_.data_base) && data_index(a) < config_.data_frames; }

  /// Hooks of a page pool: the frame of `a` became a page table, or stopped being one.
  void table_allocated(bus_addr a) noexcept { set_table(a, 1); }
  void table_freed(bus_addr a) noexcept { set_table(a, 0); }
  [[nodiscard]] bool is_live_table(bus_addr a) const noexcept {
    return is_table_room(a) && tables_[table_index(a)].load(std::memory_order_acquire) != 0;  // S6 acquire: pairs with S5
  }

  /// A transaction of `sid` for IOVA `x` reaches the bus at `b`. False: that was a leak (recorded).
  bool landing(stream_id sid, iova x, bus_addr b, instant now) noexcept {
    if (!is_data(b)) {
      if (!is_live_table(b)) return true;
      report({leak_kind::table_write, sid, x, b, make_owner(spaces(sid).first, x), owner_token::free, now});
      return false;
    }
    const owner_token found = owner(b);
    const auto [space, also] = spaces(sid);
    if (found != owner_token::free) {
      if (space != space_id::none && found == make_owner(space, x)) return true;
      if (also != space_id::none && found == make_owner(also, x)) return true;
    }
    report({found == owner_token::free ? leak_kind::free_frame : leak_kind::foreign_frame, sid, x, b, make_owner(space, x), found, now});
    return false;
  }

  /// A walk for (sid, x) reads the descriptor at `b`. False: the frame is not a live table, a leak (recorded).
  bool descriptor_read(stream_id sid, iova x, bus_addr b, instant now) noexcept {
    if (is_live_table(b)) return true;
    report({leak_kind::freed_table, sid, x, b, make_owner(spaces(sid).first, x), owner(b), now});
    return false;
  }

  /// Exact number of leaks so far, however many records were kept.
  [[nodiscard]] std::uint64_t leaks() const noexcept { return leaks_.load(std::memory_order_acquire); }  // S8 acquire: pairs with S7
  /// Copies the first leaks (at most max_records are kept) to `out`; returns how many.
  std::size_t records(std::span<leak_record> out) noexcept {
    mutex_.lock();
    std::size_t n = 0;
    while (n < kept_ && n < out.size()) {
      out[n] = records_[n];
      ++n;
    }
    mutex_.unlock();
    return n;
  }
  void forget_leaks() noexcept {
    mutex_.lock();
    kept_ = 0;
    leaks_.store(0, std::memory_order_release);  // S7 -> S8
    mutex_.unlock();
  }

  /// Data frames that are owned. Linear; for tests at rest.
  [[nodiscard]] std::size_t owned_frames() const noexcept {
    std::size_t n = 0;
    for (std::size_t i = 0; i != config_.data_frames; ++i) n += owners_[i].load(std::memory_order_acquire) != 0;  // S2 acquire: S1
    return n;
  }
  [[nodiscard]] std::size_t live_tables() const noexcept {
    std::size_t n = 0;
    for (std::size_t i = 0; i != config_.table_frames; ++i) n += tables_[i].load(std::memory_order_acquire) != 0;  // S6 acquire: S5
    return n;
  }
  /// The records kept are the first ones, and as many as there were leaks up to the limit; owners name a space.
  [[nodiscard]] bool check_invariants() noexcept {
    mutex_.lock();
    const std::uint64_t n = leaks_.load(std::memory_order_acquire);  // S8 acquire: S7
    const bool good = kept_ == (n < max_records ? n : max_records);
    mutex_.unlock();
    for (std::size_t i = 0; i != config_.data_frames; ++i) {
      const std::uint64_t o = owners_[i].load(std::memory_order_acquire);  // S2 acquire: S1
      if (o != 0 && (o >> 48) == 0) return false;
    }
    return good;
  }
  [[nodiscard]] const oracle_config& config() const noexcept { return config_; }

 private:
  static iova page(iova x, std::size_t i) noexcept { return iova{raw(x) + (std::uint64_t{i} << 12)}; }
  [[nodiscard]] std::size_t data_index(bus_addr a) const noexcept {
    return static_cast<std::size_t>((raw(a) - raw(config_.data_base)) >> 12);
  }
  [[nodiscard]] std::size_t table_index(bus_addr a) const noexcept {
    return static_cast<std::size_t>((raw(a) - raw(config_.table_base)) >> 12);
  }
  [[nodiscard]] bool is_table_room(bus_addr a) const noexcept {
    return raw(a) >= raw(config_.table_base) && table_index(a) < config_.table_frames;
  }
  [[nodiscard]] status locate(bus_addr first, std::size_t frames, space_id space, iova x, std::size_t& at) const noexcept {
    if (space == space_id::none) return errc::invalid_argument;
    if (frames == 0) return errc::empty_range;
    if (((raw(first) | raw(x)) & 0xfff) != 0) return errc::misaligned;
    if (!is_data(first) || frames > config_.data_frames - data_index(first)) return errc::out_of_range;
    at = data_index(first);
    return {};
  }
  struct stream_spaces {
    space_id first;
    space_id second;
  };
  [[nodiscard]] stream_spaces spaces(stream_id sid) const noexcept {
    if ((std::uint64_t{raw(sid)} >> config_.stream_bits) != 0) return {space_id::none, space_id::none};
    const std::uint32_t b = bindings_[raw(sid)].load(std::memory_order_acquire);  // S4 acquire: pairs with S3
    return {space_id{static_cast<std::uint16_t>(b)}, space_id{static_cast<std::uint16_t>(b >> 16)}};
  }
  void set_table(bus_addr a, std::uint32_t live) noexcept {
    if (!is_table_room(a)) {
      Env::fail("oracle: a table outside the watched room");
      return;
    }
    tables_[table_index(a)].store(live, std::memory_order_release);  // S5 -> S6: live before a descriptor points to it, dead before reuse
  }
  void report(const leak_record& r) noexcept {
    mutex_.lock();
    if (kept_ < max_records) records_[kept_++] = r;
    const std::uint64_t n = leaks_.load(std::memory_order_relaxed);  // S7 relaxed: the mutex orders the writers
    leaks_.store(n + 1, std::memory_order_release);                  // S7 release -> S8: a reader of the count finds the record
    mutex_.unlock();
  }

  oracle_config config_;
  std::unique_ptr<cell[]> owners_;
  std::unique_ptr<small_cell[]> tables_;
  std::unique_ptr<small_cell[]> bindings_;
  typename aside::mutex mutex_;
  leak_record records_[max_records]{};
  std::size_t kept_{};
  cell leaks_{};
};

}  // namespace model
SHOOTDOWN_END
