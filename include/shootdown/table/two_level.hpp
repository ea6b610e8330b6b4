// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>  // std::memory_order only
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>

#include <shootdown/arch/ste.hpp>
#include <shootdown/arch/types.hpp>
#include <shootdown/config.hpp>
#include <shootdown/env/backend.hpp>
#include <shootdown/env/environment.hpp>
#include <shootdown/status.hpp>

SHOOTDOWN_BEGIN
namespace table {

/// Which cached copies a sync has to drop: the LEAF bit of CFGI_STE and CFGI_CD.
enum class config_scope : std::uint8_t {
  leaf,        ///< LEAF = 1: the entry
  all_levels,  ///< LEAF = 0: the entry and the first-level descriptor on the way to it
};

/// What software remembers of one second-level table: the first level holds only its bus address.
template <class Env>
struct second_level {
  dma_span<Env> memory{};
  bool announced{};  ///< the SMMU has been told of the first-level descriptor
};

/// `sync(scope) -> status`: issues CFGI of that scope and CMD_SYNC, and waits.
template <class S>
concept scoped_sync = requires(S s, config_scope scope) {
  { s(scope) } -> std::same_as<status>;
};
/// `source(bytes, align) -> dma_span`: memory aligned on the bus, empty when there is none.
template <class S, class Env>
concept table_source = requires(S s, std::size_t bytes) {
  { s(bytes, bytes) } -> std::same_as<dma_span<Env>>;
};

/// The first level of a two-level table of eight-word entries, and the second levels below it as they come to be.
///
/// Purpose: what two-level stream tables and two-level CD tables have in common. Format supplies bytes of a second level,
/// `first_entry()` (the words of an entry nobody has written) and `link(bus_addr) -> result` (the first-level word).
/// Order: a second level is filled and published before the release store of the word that leads to it; then sync(all_levels),
/// because the SMMU may hold a copy of the invalid word and would go on refusing. If that sync fails, the table stays where it is
/// (the SMMU may have fetched the new word) and the next use announces it again.
/// Context: that of source and sync (may sleep). Users of one second level are serialised by the caller; different ones are
/// independent. A second level is never given back while the SMMU runs; take_back() is for afterwards.
/// Cost: use() O(1), the first use of a second level O(its bytes) and one sync.
///
/// Sites: D1 empty first level, D2 first contents, D3 first-level word -> the SMMU's fetch, D4 own words
template <environment Env, class Format>
class two_level {
 public:
  two_level() noexcept = default;
  two_level(const two_level&) = delete;
  two_level& operator=(const two_level&) = delete;

  /// Takes the first level (aligned on the bus to its size, 64 bytes at least) and one element of bookkeeping for each of its
  /// `count` descriptors. busy: there are second levels, take_back() first; out_of_range: too little memory or bookkeeping;
  /// misaligned. On error nothing changed.
  [[nodiscard]] status configure(dma_span<Env> first, std::span<second_level<Env>> below, std::size_t count) noexcept {
    if (tables() != 0) return errc::busy;
    if (!first || first.words < count || below.size() < count) return errc::out_of_range;
    if (raw(first.bus) % (count < 8 ? 64 : count * 8) != 0) return errc::misaligned;
    first_ = first;
    below_ = below.data();
    count_ = count;
    for (std::size_t i = 0; i < count; ++i) {
      below_[i] = {};
      first.cpu[i].store(0, std::memory_order_relaxed);  // D1 relaxed: the register or STE that leads here is written later, with release
    }
    Env::dma_publish(first.cpu, count * 8);
    return {};
  }

  /// Makes sure that the second level `i` exists and that the SMMU knows: no_memory (nothing changed), misaligned or
  /// out_of_range (the source's memory is unusable: nothing changed), or what sync said.
  template <class Source, class Sync>
  [[nodiscard]] status use(std::size_t i, const Format& format, Source&& source, Sync&& sync) noexcept {
    second_level<Env>& s = below_[i];
    if (!s.memory) {
      const std::size_t bytes = format.bytes();
      const dma_span<Env> fresh = source(bytes, bytes);
      if (!fresh) return errc::no_memory;
      const auto word = format.link(fresh.bus);
      if (!word.ok()) return word.state();
      if (fresh.words < bytes / 8) return errc::out_of_range;
      const entry_words none = Format::first_entry();
      for (std::size_t w = 0; w < bytes / 8; ++w) {
        fresh.cpu[w].store(none[w % 8], std::memory_order_relaxed);  // D2 relaxed: unreachable until D3
      }
      Env::dma_publish(fresh.cpu, bytes);
      s = {fresh, false};
      first_.cpu[i].store(word->w, std::memory_order_release);  // D3 release: the entries behind the device's pointer, first
      Env::dma_publish(first_.cpu + i, 8);
    }
    if (s.announced) return {};
    const status told = sync(config_scope::all_levels);
    s.announced = told.ok();
    return told;
  }
  [[nodiscard]] bool exists(std::size_t i) const noexcept { return static_cast<bool>(below_[i].memory); }
  /// The words of entry `n` of the second level `i`, which exists.
  [[nodiscard]] typename Env::dma_word* entry(std::size_t i, std::size_t n) const noexcept { return below_[i].memory.cpu + n * 8; }

  /// Gives every second level to `sink(dma_span)` and forgets the first. Only when the SMMU can reach neither any more.
  template <class Sink>
  void take_back(Sink&& sink) noexcept {
    for (std::size_t i = 0; i < count_; ++i) {
      if (below_[i].memory) sink(below_[i].memory);
      below_[i] = {};
    }
    first_ = {};
    count_ = 0;
  }

  [[nodiscard]] bus_addr base() const noexcept { return first_.bus; }
  [[nodiscard]] std::size_t count() const noexcept { return count_; }
  /// Second levels that exist.
  [[nodiscard]] std::size_t tables() const noexcept {
    std::size_t n = 0;
    for (std::size_t i = 0; i < count_; ++i) n += exists(i) ? 1u : 0u;
    return n;
  }
  /// The first level says what the bookkeeping says. O(count).
  [[nodiscard]] bool check_invariants(const Format& format) const noexcept {
    for (std::size_t i = 0; i < count_; ++i) {
      const std::uint64_t word = first_.cpu[i].load(std::memory_order_relaxed);  // D4 relaxed: nobody changes it meanwhile, by contract
      if (!below_[i].memory) {
        if (word != 0 || below_[i].announced) return false;
        continue;
      }
      const auto wanted = format.link(below_[i].memory.bus);
      if (!wanted.ok() || wanted->w != word) return false;
    }
    return true;
  }

 private:
  dma_span<Env> first_{};
  second_level<Env>* below_{};
  std::size_t count_{};
};

}  // namespace table
SHOOTDOWN_END
