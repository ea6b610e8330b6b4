// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

#include <shootdown/arch/event.hpp>
#include <shootdown/arch/types.hpp>

namespace model_test {
using namespace shootdown;

/// What a transaction of a stream with one CD comes to, worked out from the words in memory without any cache: a second
/// opinion on the walker. It goes by bit positions of the input address (which bits index which table) instead of levels.
class reference_walker {
 public:
  /// A word of memory in CPU byte order; nothing where nothing answers.
  using reader = std::function<std::optional<std::uint64_t>(std::uint64_t)>;

  struct answer {
    bool granted{};
    std::uint64_t output{};
    event_id event{};
    bool stage2{};
    event_class cls{event_class::input};
    std::uint64_t at{};
  };
  struct access {
    bool write{};
    bool privileged{};
  };

  reference_walker(reader r, const std::uint64_t* ste) : read_{std::move(r)}, ste_{ste} {}

  answer translate(std::uint64_t x, const access& a) {
    const unsigned config = static_cast<unsigned>(ste_[0] >> 1) & 7;
    has_second_ = config >= 6;
    if (config == 6) {
      if ((x >> 48) != 0) return refuse(event_id::f_addr_size);
      const second s = stage2(x, a.write, event_class::input);
      return s.fine ? answer{true, s.output} : s.why;
    }
    const found context = locate(ste_[0] & 0x000f'ffff'ffff'ffc0, event_class::cd);
    if (!context.fine) return context.why;
    std::uint64_t cd[8];
    for (unsigned i = 0; i != 8; ++i) {
      const std::optional<std::uint64_t> w = read_(context.address + i * 8);
      if (!w) return {false, 0, event_id::f_cd_fetch, false, event_class::cd, context.address};
      cd[i] = *w;
    }
    if ((cd[0] >> 31 & 1) == 0 || (cd[0] >> 41 & 1) == 0) return {false, 0, event_id::c_bad_cd, false, event_class::cd};
    const bool upper = (x >> 63) != 0;
    const unsigned tg = static_cast<unsigned>(cd[0] >> (upper ? 22 : 6)) & 3;
    const unsigned page = upper ? (tg == 1 ? 14 : tg == 2 ? 12 : 16) : (tg == 0 ? 12 : tg == 1 ? 16 : 14);
    const unsigned bits = 64 - static_cast<unsigned>(cd[0] >> (upper ? 16 : 0) & 0x3f);
    const bool enabled = (cd[0] >> (upper ? 30 : 14) & 1) == 0;
    const std::uint64_t sign = upper ? ~std::uint64_t{0} : 0;
    if (!enabled || (x ^ sign) >> bits != 0) return refuse(event_id::f_translation);

    bool read_only = false;
    bool hidden = false;
    std::uint64_t table = cd[upper ? 2 : 1];
    const std::vector<unsigned> at = positions(page, bits, 0);
    for (std::size_t i = 0; i != at.size(); ++i) {
      const unsigned width = (i == 0 ? bits : at[i - 1]) - at[i];
      const found word_at = locate(table + (x >> at[i]) % (std::uint64_t{1} << width) * 8, event_class::table_descriptor);
      if (!word_at.fine) return word_at.why;
      const std::optional<std::uint64_t> w = word(word_at.address, (cd[0] >> 15 & 1) != 0);
      if (!w) return {false, 0, event_id::f_walk_eabt, false, event_class::table_descriptor, word_at.address};
      const bool last = i + 1 == at.size();
      switch (sort(*w, page, at[i], last)) {
        case sorted::nothing: return refuse(event_id::f_translation);
        case sorted::pointer:
          if ((pointer(*w, page) >> width_of(cd[0] >> 32 & 7)) != 0) return refuse(event_id::f_addr_size);
          table = pointer(*w, page);
          read_only = read_only || (*w >> 62 & 1) != 0;
          hidden = hidden || (*w >> 61 & 1) != 0;
          continue;
        case sorted::leaf: break;
      }
      const std::uint64_t out = pointer(*w, at[i]);
      if ((out >> width_of(cd[0] >> 32 & 7)) != 0) return refuse(event_id::f_addr_size);
      if ((*w >> 10 & 1) == 0) return refuse(event_id::f_access);
      if (a.write && (read_only || (*w >> 7 & 1) != 0)) return refuse(event_id::f_permission);
      if (!a.privileged && (hidden || (*w >> 6 & 1) == 0)) return refuse(event_id::f_permission);
      const std::uint64_t to = out + x % (std::uint64_t{1} << at[i]);
      if (!has_second_) return {true, to};
      const second s = stage2(to, a.write, event_class::input);
      return s.fine ? answer{true, s.output} : s.why;
    }
    return refuse(event_id::f_translation);
  }

 private:
  enum class sorted { nothing, pointer, leaf };
  struct second {
    bool fine{};
    std::uint64_t output{};
    answer why{};
  };
  struct found {
    bool fine{};
    std::uint64_t address{};
    answer why{};
  };
  static answer refuse(event_id id) { return {false, 0, id}; }
  static unsigned width_of(std::uint64_t code) {
    constexpr unsigned widths[]{32, 36, 40, 42, 44, 48, 48, 48};
    return widths[code];
  }
  static std::uint64_t pointer(std::uint64_t w, unsigned low) { return (w & 0x0000'ffff'ffff'ffff) >> low << low; }
  /// Lowest index bit of each table on the way, the first table first: as many tables as the width takes, or just `tables`.
  static std::vector<unsigned> positions(unsigned page, unsigned bits, unsigned tables) {
    std::vector<unsigned> p{page};
    while (tables == 0 ? p.back() + page - 3 < bits : p.size() < tables) p.push_back(p.back() + page - 3);
    std::reverse(p.begin(), p.end());
    return p;
  }
  // Leaves: the page; 2 MiB and 1 GiB, 32 MiB, 512 MiB.
  static sorted sort(std::uint64_t w, unsigned page, unsigned low, bool last) {
    if (w % 2 == 0) return sorted::nothing;
    if (last) return w % 4 == 3 ? sorted::leaf : sorted::nothing;
    if (w % 4 == 3) return sorted::pointer;
    const bool block = page == 12 ? low == 21 || low == 30 : page == 14 ? low == 25 : low == 29;
    return block ? sorted::leaf : sorted::nothing;
  }
  std::optional<std::uint64_t> word(std::uint64_t at, bool big) const {
    std::optional<std::uint64_t> w = read_(at);
    if (w && big) w = __builtin_bswap64(*w);
    return w;
  }
  found locate(std::uint64_t at, event_class why) {
    if (!has_second_) return {true, at, {}};
    const second s = stage2(at, false, why);
    return {s.fine, s.output, s.why};
  }
  second stage2(std::uint64_t in, bool write, event_class why) {
    const auto stop = [&](event_id id) { return second{false, 0, {false, 0, id, true, why, in & ~std::uint64_t{0xfff}}}; };
    const std::uint64_t w2 = ste_[2];
    const unsigned bits = 64 - static_cast<unsigned>(w2 >> 32 & 0x3f);
    const unsigned tg = static_cast<unsigned>(w2 >> 46) & 3;
    const unsigned page = tg == 0 ? 12 : tg == 1 ? 16 : 14;
    const unsigned sl0 = static_cast<unsigned>(w2 >> 38) & 3;
    if ((in >> bits) != 0) return stop(event_id::f_translation);
    const std::vector<unsigned> at = positions(page, bits, (page == 12 ? 2 : 1) + sl0);
    std::uint64_t table = ste_[3];
    for (std::size_t i = 0; i != at.size(); ++i) {
      const unsigned width = (i == 0 ? bits : at[i - 1]) - at[i];
      const std::uint64_t word_at = table + (in >> at[i]) % (std::uint64_t{1} << width) * 8;
      const std::optional<std::uint64_t> w = word(word_at, (w2 >> 52 & 1) != 0);
      if (!w) return {false, 0, {false, 0, event_id::f_walk_eabt, true, why, word_at}};
      const sorted kind = sort(*w, page, at[i], i + 1 == at.size());
      if (kind == sorted::nothing) return stop(event_id::f_translation);
      const std::uint64_t out = pointer(*w, kind == sorted::pointer ? page : at[i]);
      if ((out >> width_of(w2 >> 48 & 7)) != 0) return stop(event_id::f_addr_size);
      if (kind == sorted::pointer) {
        table = out;
        continue;
      }
      if ((*w >> 10 & 1) == 0) return stop(event_id::f_access);
      const bool device = why != event_class::input && (w2 >> 54 & 1) != 0 && (*w >> 4 & 3) == 0;
      if (device || (*w >> (write ? 7 : 6) & 1) == 0) return stop(event_id::f_permission);
      return {true, out + in % (std::uint64_t{1} << at[i]), {}};
    }
    return stop(event_id::f_translation);
  }

  reader read_;
  const std::uint64_t* ste_;
  bool has_second_{};
};

}  // namespace model_test
