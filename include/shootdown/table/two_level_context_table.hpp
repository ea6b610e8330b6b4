// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include <shootdown/arch/cd.hpp>
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

/// Two-level table of context descriptors for a stream with sparse PASIDs: second levels of 64 (4 KiB) or 1024 CDs (64 KiB) come
/// to be when a substream below them is first written. Needs IDR0.CD2L. IHI 0070 3.3.2, 5.4.
///
/// Contract: configure() while no STE leads here; afterwards entries change by write() and clear() only. Substreams nobody has
/// written are invalid. Writers of substreams with the same second level are serialised by the caller; others are independent.
/// clear() never allocates. Second levels stay until take_back().
/// Context: configure and read any; write and clear that of their callables (may sleep). Cost: 8 bytes for each second level, and
/// its 4 or 64 KiB when in use.
/// Not for nested streams whose guest owns the CDs.
template <environment Env>
class two_level_context_table {
 public:
  static constexpr unsigned max_log2 = 20;  // IDR1.SSIDSIZE

  two_level_context_table() noexcept = default;
  two_level_context_table(const two_level_context_table&) = delete;
  two_level_context_table& operator=(const two_level_context_table&) = delete;

  /// First-level descriptors of a table for 2^log2size substreams.
  [[nodiscard]] static constexpr std::size_t first_level_words(cd_format f, unsigned log2size) noexcept {
    const unsigned leaf = context_l1::leaf_log2(f);
    return log2size > leaf ? std::size_t{1} << (log2size - leaf) : 1;
  }

  /// Takes the first level (aligned on the bus to its size, 64 bytes at least), and one element of bookkeeping for each of its
  /// descriptors. `ssid_bits`: the PASID width that SMMU (IDR1.SSIDSIZE) and endpoint have. invalid_argument: f is linear;
  /// out_of_range: log2size not 1..ssid_bits, or too little memory or bookkeeping; misaligned; busy: not taken back. On error nothing
  /// changed.
  [[nodiscard]] status configure(dma_span<Env> first, std::span<second_level<Env>> below, unsigned log2size, cd_format f,
                                 unsigned ssid_bits = max_log2) noexcept {
    if (f != cd_format::two_level_4k && f != cd_format::two_level_64k) return errc::invalid_argument;
    if (log2size == 0 || log2size > ssid_bits || log2size > max_log2) return errc::out_of_range;
    if (const status s = tables_.configure(first, below, first_level_words(f, log2size)); !s.ok()) return s;
    log2size_ = log2size;
    format_ = f;
    return {};
  }

  /// Makes `c` the CD of `ssid`. source(bytes, align) -> dma_span is asked when the second level does not exist yet;
  /// sync(config_scope) -> status issues CFGI_CD for the substream (LEAF = 0 for all_levels) on every stream that uses the table,
  /// CMD_SYNC, and waits. out_of_range: no such substream; no_memory; else what sync said: the CD is its old self, or invalid.
  template <table_source<Env> Source, scoped_sync Sync>
  [[nodiscard]] status write(substream_id ssid, const cd& c, Source&& source, Sync&& sync) noexcept {
    if (!contains(ssid)) return errc::out_of_range;
    if (!tables_.exists(first_index(ssid)) && !c.valid()) return {};
    if (const status s = tables_.use(first_index(ssid), layout{format_}, source, sync); !s.ok()) return s;
    return entry_writer<Env, cd_rules>{at(ssid)}.write(c.w, [&]() -> status { return sync(config_scope::leaf); });
  }
  /// Makes the CD of `ssid` invalid: transactions of the substream abort.
  template <scoped_sync Sync>
  [[nodiscard]] status clear(substream_id ssid, Sync&& sync) noexcept {
    return write(ssid, cd{}, [](std::size_t, std::size_t) { return dma_span<Env>{}; }, sync);
  }

  /// The CD of `ssid`; for a substream without second level an invalid one.
  [[nodiscard]] result<cd> read(substream_id ssid) const noexcept {
    if (!contains(ssid)) return errc::out_of_range;
    if (!tables_.exists(first_index(ssid))) return cd{};
    return cd{entry_writer<Env, cd_rules>::read(at(ssid))};
  }
  /// What an STE has to say to lead here; the rest of the fields are the caller's.
  [[nodiscard]] ste_stage1 placed(ste_stage1 s = {}) const noexcept {
    s.cd_table = base();
    s.cd_log2 = log2size_;
    s.format = format_;
    return s;
  }

  /// Gives each second level to sink(dma_span) and ends the table. Only when no STE leads here any more.
  template <class Sink>
  void take_back(Sink&& sink) noexcept {
    tables_.take_back(std::forward<Sink>(sink));
  }

  [[nodiscard]] bool contains(substream_id ssid) const noexcept { return tables_.count() != 0 && (raw(ssid) >> log2size_) == 0; }
  [[nodiscard]] bus_addr base() const noexcept { return tables_.base(); }  ///< STE.S1ContextPtr
  [[nodiscard]] unsigned log2size() const noexcept { return log2size_; }   ///< STE.S1CDMax
  [[nodiscard]] cd_format format() const noexcept { return format_; }      ///< STE.S1Fmt
  [[nodiscard]] std::size_t second_levels() const noexcept { return tables_.tables(); }
  [[nodiscard]] bool check_invariants() const noexcept { return tables_.check_invariants(layout{format_}); }

 private:
  struct layout {
    cd_format format;
    [[nodiscard]] std::size_t bytes() const noexcept { return std::size_t{cd::bytes} << context_l1::leaf_log2(format); }
    [[nodiscard]] static entry_words first_entry() noexcept { return {}; }
    [[nodiscard]] result<context_l1> link(bus_addr l2) const noexcept { return context_l1::make(l2, format); }
  };

  [[nodiscard]] std::size_t first_index(substream_id ssid) const noexcept {
    return std::size_t{raw(ssid)} >> context_l1::leaf_log2(format_);
  }
  [[nodiscard]] typename Env::dma_word* at(substream_id ssid) const noexcept {
    return tables_.entry(first_index(ssid), raw(ssid) & ((std::size_t{1} << context_l1::leaf_log2(format_)) - 1));
  }

  two_level<Env, layout> tables_{};
  unsigned log2size_{};
  cd_format format_{cd_format::two_level_4k};
};

}  // namespace table
SHOOTDOWN_END
