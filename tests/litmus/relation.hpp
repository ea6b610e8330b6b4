// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace litmus {

/// A set of events and a binary relation over them, as bits: the algebra in which memory models are written.
/// At most 32 events. In formulas r(a, b) reads "a is r-before b"; then() is the relational product r;s.
using events = std::uint32_t;
inline constexpr std::size_t event_limit = 32;

class relation {
 public:
  explicit relation(std::size_t count) : count_{count} {}

  [[nodiscard]] std::size_t count() const { return count_; }
  void add(std::size_t a, std::size_t b) { row_[a] |= events{1} << b; }
  void add(std::size_t a, events bs) { row_[a] |= bs; }
  [[nodiscard]] bool has(std::size_t a, std::size_t b) const { return (row_[a] >> b & 1u) != 0; }
  [[nodiscard]] events row(std::size_t a) const { return row_[a]; }

  [[nodiscard]] relation operator|(const relation& o) const {
    relation r = *this;
    for (std::size_t a = 0; a != count_; ++a) r.row_[a] |= o.row_[a];
    return r;
  }
  [[nodiscard]] relation operator&(const relation& o) const {
    relation r = *this;
    for (std::size_t a = 0; a != count_; ++a) r.row_[a] &= o.row_[a];
    return r;
  }
  [[nodiscard]] relation without(const relation& o) const {
    relation r = *this;
    for (std::size_t a = 0; a != count_; ++a) r.row_[a] &= ~o.row_[a];
    return r;
  }
  /// this;o
  [[nodiscard]] relation then(const relation& o) const {
    relation r{count_};
    for (std::size_t a = 0; a != count_; ++a)
      for (events left = row_[a]; left != 0; left &= left - 1) r.row_[a] |= o.row_[static_cast<std::size_t>(std::countr_zero(left))];
    return r;
  }
  /// [from];this;[to]
  [[nodiscard]] relation between(events from, events to) const {
    relation r{count_};
    for (std::size_t a = 0; a != count_; ++a)
      if ((from >> a & 1u) != 0) r.row_[a] = row_[a] & to;
    return r;
  }
  [[nodiscard]] relation inverse() const {
    relation r{count_};
    for (std::size_t a = 0; a != count_; ++a)
      for (std::size_t b = 0; b != count_; ++b)
        if (has(a, b)) r.add(b, a);
    return r;
  }
  /// this? (reflexive)
  [[nodiscard]] relation or_same() const {
    relation r = *this;
    for (std::size_t a = 0; a != count_; ++a) r.add(a, a);
    return r;
  }
  [[nodiscard]] relation without_same() const {
    relation r = *this;
    for (std::size_t a = 0; a != count_; ++a) r.row_[a] &= ~(events{1} << a);
    return r;
  }
  /// this+ (transitive)
  [[nodiscard]] relation closure() const {
    relation r = *this;
    for (std::size_t k = 0; k != count_; ++k)
      for (std::size_t a = 0; a != count_; ++a)
        if (r.has(a, k)) r.row_[a] |= r.row_[k];
    return r;
  }
  [[nodiscard]] bool irreflexive() const {
    for (std::size_t a = 0; a != count_; ++a)
      if (has(a, a)) return false;
    return true;
  }
  [[nodiscard]] bool acyclic() const { return closure().irreflexive(); }
  [[nodiscard]] bool inside(const relation& o) const {
    for (std::size_t a = 0; a != count_; ++a)
      if ((row_[a] & ~o.row_[a]) != 0) return false;
    return true;
  }

 private:
  std::size_t count_;
  std::array<events, event_limit> row_{};
};

}  // namespace litmus
