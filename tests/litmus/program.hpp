// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>  // std::memory_order only
#include <cctype>
#include <cstddef>
#include <cstdint>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

// Litmus programs as data: threads of a few operations on a few locations, no branches, no data flow between locations.
// Their text form is the name of every variant in the tables and the input of the hand-written tests:
//
//   Wx1.rel            x.store(1, release)                 rlx (may be left out), acq, rel, ar, sc
//   Ry.acq             r = y.load(acquire)
//   Xx2.ar             r = x.exchange(2, acq_rel)
//   Ax1                r = x.fetch_add(1, relaxed)
//   Cx01.ar/acq        r = x's value; x.compare_exchange_strong(0, 1, acq_rel, acquire)
//   F.sc               atomic_thread_fence(seq_cst)
//   ||                 next thread
//
// Locations are x, y, z, w and start at 0. Every operation that reads has a register of its own, r0, r1, ... in the order of
// the text. An outcome is what all registers and, at the end, all locations hold: "r0=1 r1=0 x=1".
namespace litmus {

enum class kind : std::uint8_t { load, store, exchange, add, compare_exchange, fence };

struct operation {
  kind what{};
  std::uint8_t location{};
  std::uint8_t operand{};   ///< what is stored or added
  std::uint8_t expected{};  ///< compare_exchange
  std::memory_order order{std::memory_order_relaxed};
  std::memory_order failed{std::memory_order_relaxed};  ///< compare_exchange

  [[nodiscard]] bool reads() const { return what != kind::store && what != kind::fence; }
  [[nodiscard]] bool writes() const { return what != kind::load && what != kind::fence; }
  friend bool operator==(const operation&, const operation&) = default;
};

[[nodiscard]] constexpr bool acquires(std::memory_order o) {
  return o == std::memory_order_acquire || o == std::memory_order_acq_rel || o == std::memory_order_seq_cst;
}
[[nodiscard]] constexpr bool releases(std::memory_order o) {
  return o == std::memory_order_release || o == std::memory_order_acq_rel || o == std::memory_order_seq_cst;
}
/// The strongest order a failed compare_exchange may have, given the one of success.
[[nodiscard]] constexpr std::memory_order without_release(std::memory_order o) {
  if (o == std::memory_order_acq_rel) return std::memory_order_acquire;
  return o == std::memory_order_release ? std::memory_order_relaxed : o;
}

inline constexpr std::string_view location_names = "xyzw";
inline constexpr std::size_t slot_limit = 16;  // registers and locations of an outcome, 4 bits each

/// Values of all registers, then of all locations.
class outcome {
 public:
  void set(std::size_t slot, std::uint64_t value) {
    if (slot >= slot_limit || value > 15) throw std::out_of_range("litmus: an outcome has 16 slots of values 0 to 15");
    bits_ = (bits_ & ~(std::uint64_t{15} << (4 * slot))) | (value << (4 * slot));
  }
  [[nodiscard]] std::uint64_t get(std::size_t slot) const { return bits_ >> (4 * slot) & 15; }
  friend auto operator<=>(const outcome&, const outcome&) = default;

 private:
  std::uint64_t bits_{};
};
using outcome_set = std::set<outcome>;

struct program {
  std::vector<std::vector<operation>> threads;

  [[nodiscard]] std::size_t locations() const {
    std::size_t n = 0;
    for (const auto& t : threads)
      for (const operation& o : t)
        if (o.what != kind::fence && o.location >= n) n = o.location + 1u;
    return n;
  }
  [[nodiscard]] std::size_t registers() const {
    std::size_t n = 0;
    for (const auto& t : threads)
      for (const operation& o : t) n += o.reads();
    return n;
  }
  [[nodiscard]] std::size_t operations() const {
    std::size_t n = 0;
    for (const auto& t : threads) n += t.size();
    return n;
  }
  friend bool operator==(const program&, const program&) = default;
};

namespace detail {
struct order_name {
  std::memory_order order;
  std::string_view text;
};
inline constexpr order_name order_names[] = {{std::memory_order_relaxed, "rlx"},
                                             {std::memory_order_acquire, "acq"},
                                             {std::memory_order_release, "rel"},
                                             {std::memory_order_acq_rel, "ar"},
                                             {std::memory_order_seq_cst, "sc"}};
inline constexpr std::string_view kind_letters = "RWXACF";  // in the order of `kind`
}  // namespace detail

[[nodiscard]] inline std::string_view text_of(std::memory_order o) {
  for (const detail::order_name& n : detail::order_names)
    if (n.order == o) return n.text;
  return "?";
}

[[nodiscard]] inline std::string text_of(const operation& o) {
  std::string s{detail::kind_letters[static_cast<std::size_t>(o.what)]};
  if (o.what != kind::fence) s += location_names[o.location];
  if (o.what == kind::compare_exchange) s += std::to_string(o.expected);
  if (o.writes()) s += std::to_string(o.operand);
  if (o.order != std::memory_order_relaxed) s += "." + std::string{text_of(o.order)};
  if (o.what == kind::compare_exchange && o.failed != std::memory_order_relaxed) {
    if (o.order == std::memory_order_relaxed) s += ".rlx";
    s += "/" + std::string{text_of(o.failed)};
  }
  return s;
}

[[nodiscard]] inline std::string text_of(const program& p) {
  std::string s;
  for (std::size_t t = 0; t != p.threads.size(); ++t) {
    if (t != 0) s += " ||";
    for (const operation& o : p.threads[t]) s += (s.empty() ? "" : " ") + text_of(o);
  }
  return s;
}

[[nodiscard]] inline std::string text_of(const program& p, const outcome& o) {
  std::string s;
  for (std::size_t r = 0; r != p.registers(); ++r) s += "r" + std::to_string(r) + "=" + std::to_string(o.get(r)) + " ";
  for (std::size_t l = 0; l != p.locations(); ++l)
    s += std::string{location_names[l]} + "=" + std::to_string(o.get(p.registers() + l)) + (l + 1 == p.locations() ? "" : " ");
  return s;
}

/// A part of an outcome: "r0=1 r1=0". Holds of an outcome when all its values are as said. Empty: never.
struct condition {
  std::vector<std::pair<std::size_t, std::uint64_t>> values;  // slot, value

  [[nodiscard]] bool holds(const outcome& o) const {
    for (const auto& [slot, value] : values)
      if (o.get(slot) != value) return false;
    return !values.empty();
  }
  [[nodiscard]] bool holds_in(const outcome_set& s) const {
    for (const outcome& o : s)
      if (holds(o)) return true;
    return false;
  }
};

namespace detail {
/// Reads the text forms. Errors are std::invalid_argument with the position.
class reader {
 public:
  explicit reader(std::string_view text) : text_{text} {}

  [[nodiscard]] program read_program() {
    program p{{{}}};
    for (skip_space(); at_ != text_.size(); skip_space()) {
      if (take("||")) {
        p.threads.emplace_back();
        continue;
      }
      p.threads.back().push_back(read_operation());
      if (at_ != text_.size() && text_[at_] != ' ') bad("a space between operations");
    }
    for (const auto& t : p.threads)
      if (t.empty()) bad("an operation in every thread");
    return p;
  }

  [[nodiscard]] condition read_condition(const program& p) {
    condition c;
    for (skip_space(); at_ != text_.size(); skip_space()) {
      std::size_t slot = 0;
      if (take("r")) {
        slot = digit();
        if (slot >= p.registers()) bad("a register of the program");
      } else {
        slot = p.registers() + location();
        if (slot >= p.registers() + p.locations()) bad("a location of the program");
      }
      if (!take("=")) bad("=");
      c.values.emplace_back(slot, digit());
    }
    return c;
  }

 private:
  [[noreturn]] void bad(std::string_view wanted) const {
    throw std::invalid_argument("litmus: \"" + std::string{text_} + "\": position " + std::to_string(at_) + ": " + std::string{wanted} +
                                " is expected");
  }
  void skip_space() {
    while (at_ != text_.size() && text_[at_] == ' ') ++at_;
  }
  bool take(std::string_view s) {
    if (text_.substr(at_, s.size()) != s) return false;
    at_ += s.size();
    return true;
  }
  std::uint8_t digit() {
    if (at_ == text_.size() || std::isdigit(static_cast<unsigned char>(text_[at_])) == 0) bad("a digit");
    return static_cast<std::uint8_t>(text_[at_++] - '0');
  }
  std::uint8_t location() {
    const std::size_t l = at_ == text_.size() ? location_names.npos : location_names.find(text_[at_]);
    if (l == location_names.npos) bad("a location");
    ++at_;
    return static_cast<std::uint8_t>(l);
  }
  std::memory_order order() {
    for (const order_name& n : order_names)
      if (take(n.text)) return n.order;
    bad("an order: rlx, acq, rel, ar or sc");
  }
  operation read_operation() {
    const std::size_t letter = kind_letters.find(text_[at_]);
    if (letter == kind_letters.npos) bad("one of R W X A C F");
    ++at_;
    operation o;
    o.what = static_cast<kind>(letter);
    if (o.what != kind::fence) o.location = location();
    if (o.what == kind::compare_exchange) o.expected = digit();
    if (o.writes()) o.operand = digit();
    if (take(".")) o.order = order();
    if (o.what == kind::compare_exchange && take("/")) o.failed = order();
    return o;
  }

  std::string_view text_;
  std::size_t at_{};
};
}  // namespace detail

[[nodiscard]] inline program parse(std::string_view text) { return detail::reader{text}.read_program(); }
[[nodiscard]] inline condition parse_condition(const program& p, std::string_view text) { return detail::reader{text}.read_condition(p); }

}  // namespace litmus
