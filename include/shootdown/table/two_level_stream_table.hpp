// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include <shootdown/arch/ste.hpp>
#include <shootdown/arch/types.hpp>
#include <shootdown/config.hpp>
#include <shootdown/env/backend.hpp>
#include <shootdown/env/environment.hpp>
#include <shootdown/status.hpp>
#include <shootdown/table/entry_writer.hpp>
#include <shootdown/table/two_level.hpp>

SHOOTDOWN_BEGIN
namespace table {

/// Two-level stream table: second levels of 2^split STEs come to be when a stream below them is first written. Needs
/// IDR0.ST_LEVEL = 1. IHI 0070 3.3.1, 5.1, 5.2.
///
/// Contract: configure() while the SMMU does not use the memory (SMMUEN = 0); afterwards entries change by write() only.
/// Streams nobody has written abort, with an STE or without. Writers of streams with the same second level (sid >> split) are
/// serialised by the caller; others are independent. A write that makes a stream abort never allocates, so a detach cannot fail
/// for want of memory. Second levels stay until take_back().
/// Context: configure and read any; write that of its callables (may sleep). Cost: 8 bytes for each 2^split streams, and
/// 64 << split bytes for each second level in use; check_invariants O(first level).
/// Not for a handful of dense StreamIDs: stream_table is smaller and takes one fetch less.
template <environment Env>
class two_level_stream_table {
 public:
  static constexpr unsigned max_log2 = 32;  // IDR1.SIDSIZE

  two_level_stream_table() noexcept = default;
  two_level_stream_table(const two_level_stream_table&) = delete;
  two_level_stream_table& operator=(const two_level_stream_table&) = delete;

  /// Takes the first level, 2^(log2size - split) words (aligned on the bus to its size, 64 bytes at least), and as many elements
  /// of bookkeeping. Every stream aborts. invalid_argument: split not 6, 8 or 10; out_of_range: log2size not split..32, or too
  /// little memory or bookkeeping; misaligned; busy: not taken back. On error nothing changed.
  [[nodiscard]] status configure(dma_span<Env> first, std::span<second_level<Env>> below, unsigned log2size, unsigned split) noexcept {
    if (split != 6 && split != 8 && split != 10) return errc::invalid_argument;
    if (log2size < split || log2size > max_log2) return errc::out_of_range;
    if (const status s = tables_.configure(first, below, std::size_t{1} << (log2size - split)); !s.ok()) return s;
    log2size_ = log2size;
    split_ = split;
    return {};
  }

  /// Makes `e` the entry of `sid`. source(bytes, align) -> dma_span is asked when the second level does not exist yet;
  /// sync(config_scope) -> status issues CFGI_STE for the stream (LEAF = 0 for all_levels), CMD_SYNC, and waits.
  /// out_of_range: no such stream; no_memory; else what sync said: the stream then has its old entry, or aborts.
  template <table_source<Env> Source, scoped_sync Sync>
  [[nodiscard]] status write(stream_id sid, const ste& e, Source&& source, Sync&& sync) noexcept {
    if (!contains(sid)) return errc::out_of_range;
    if (!tables_.exists(first_index(sid)) && e == ste::abort()) return {};
    if (const status s = tables_.use(first_index(sid), layout{split_}, source, sync); !s.ok()) return s;
    return entry_writer<Env, ste_rules>{at(sid)}.write(e.w, [&]() -> status { return sync(config_scope::leaf); });
  }

  /// The entry of `sid`; for a stream without second level, ste::abort(), which is what it amounts to.
  [[nodiscard]] result<ste> read(stream_id sid) const noexcept {
    if (!contains(sid)) return errc::out_of_range;
    if (!tables_.exists(first_index(sid))) return ste::abort();
    return ste{entry_writer<Env, ste_rules>::read(at(sid))};
  }

  /// Gives each second level to sink(dma_span) and ends the table. Only when no SMMU can reach it any more.
  template <class Sink>
  void take_back(Sink&& sink) noexcept {
    tables_.take_back(std::forward<Sink>(sink));
  }

  [[nodiscard]] bool contains(stream_id sid) const noexcept { return tables_.count() != 0 && (std::uint64_t{raw(sid)} >> log2size_) == 0; }
  [[nodiscard]] bus_addr base() const noexcept { return tables_.base(); }  ///< STRTAB_BASE.ADDR
  [[nodiscard]] unsigned log2size() const noexcept { return log2size_; }   ///< STRTAB_BASE_CFG.LOG2SIZE
  [[nodiscard]] unsigned split() const noexcept { return split_; }         ///< STRTAB_BASE_CFG.SPLIT; FMT is 1
  [[nodiscard]] std::size_t second_levels() const noexcept { return tables_.tables(); }
  [[nodiscard]] bool check_invariants() const noexcept { return tables_.check_invariants(layout{split_}); }

 private:
  struct layout {
    unsigned split;
    [[nodiscard]] std::size_t bytes() const noexcept { return std::size_t{ste::bytes} << split; }
    [[nodiscard]] static entry_words first_entry() noexcept { return ste::abort().w; }
    [[nodiscard]] result<stream_l1> link(bus_addr l2) const noexcept { return stream_l1::make(l2, split); }
  };

  [[nodiscard]] std::size_t first_index(stream_id sid) const noexcept { return std::size_t{raw(sid)} >> split_; }
  [[nodiscard]] typename Env::dma_word* at(stream_id sid) const noexcept {
    return tables_.entry(first_index(sid), raw(sid) & ((std::size_t{1} << split_) - 1));
  }

  two_level<Env, layout> tables_{};
  unsigned log2size_{};
  unsigned split_{8};
};

}  // namespace table
SHOOTDOWN_END
