// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <set>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "litmus/program.hpp"

// The classic litmus shapes and all their variants: every memory order on every access, every fence (or none) between every
// two accesses of a thread.
namespace litmus {

/// A program without orders and the outcome that the shape is about.
struct shape {
  std::string_view name;
  std::string_view text;
  std::string_view interesting;  ///< empty: only the sets of outcomes are compared
  std::string_view about;
};

// Names as in the literature (MP message passing, SB store buffering, LB load buffering, IRIW independent reads of independent
// writes, WRC write-to-read causality, RWC read-to-write causality, ISA2 a chain of two messages, 2+2W two writes each; Co..
// coherence; Z6.x the shapes of three threads with one edge of modification order).
inline constexpr shape shapes[] = {
    {"MP", "Wx1 Wy1 || Ry Rx", "r0=1 r1=0", "the flag without the message"},
    {"SB", "Wx1 Ry || Wy1 Rx", "r0=0 r1=0", "neither sees the other"},
    {"LB", "Rx Wy1 || Ry Wx1", "r0=1 r1=1", "each reads what the other stores later"},
    {"S", "Wx2 Wy1 || Ry Wx1", "r0=1 x=2", "a store after the flag loses to one before it"},
    {"R", "Wx1 Wy1 || Wy2 Rx", "r0=0 y=2", "the later writer of y misses x"},
    {"2+2W", "Wx1 Wy2 || Wy1 Wx2", "x=1 y=1", "both first stores come last"},
    {"CoRR", "Wx1 || Rx Rx", "r0=1 r1=0", "one location going back"},
    {"CoRR2", "Wx1 || Wx2 || Rx Rx || Rx Rx", "r0=1 r1=2 r2=2 r3=1", "two readers disagree about one location"},
    {"CoWW", "Wx1 Wx2", "x=1", "a thread's own stores change places"},
    {"CoWR", "Wx1 Rx || Wx2", "r0=0", "a thread misses its own store"},
    {"CoRW1", "Rx Wx1", "r0=1", "a load sees the store behind it"},
    {"CoRW", "Rx Wx1 || Wx2", "r0=2 x=2", "a store comes before the store its thread has read"},
    {"WRC", "Wx1 || Rx Wy1 || Ry Rx", "r0=1 r1=1 r2=0", "the third does not learn what the second knew"},
    {"ISA2", "Wx1 Wy1 || Ry Wz1 || Rz Rx", "r0=1 r1=1 r2=0", "a message by way of another thread"},
    {"RWC", "Wx1 || Rx Ry || Wy1 Rx", "r0=1 r1=0 r2=0", "SB with the first store made by somebody else"},
    {"W+RWC", "Wx1 Wy1 || Ry Rz || Wz1 Rx", "r0=1 r1=0 r2=0", "RWC with a message"},
    {"WWC", "Wx2 || Rx Wy1 || Ry Wx1", "r0=2 r1=1 x=2", "S by way of another thread"},
    {"WRW+WR", "Wx1 || Rx Wy1 || Wy2 Rx", "r0=1 r1=0 y=2", "R by way of another thread"},
    {"WRW+2W", "Wx2 || Rx Wy1 || Wy2 Wx1", "r0=2 x=2 y=2", "2+2W by way of another thread"},
    {"IRIW", "Wx1 || Wy1 || Rx Ry || Ry Rx", "r0=1 r1=0 r2=1 r3=0", "two readers disagree about the order of two stores"},
    {"IRRWIW", "Wx2 || Wy1 || Rx Ry || Ry Wx1", "r0=2 r1=0 r2=1 x=2", "IRIW with a store instead of the last load"},
    {"Z6.0", "Wx1 Wy1 || Ry Wz1 || Wz2 Rx", "r0=1 r1=0 z=2", ""},
    {"Z6.1", "Wx2 Wy1 || Wy2 Wz1 || Rz Wx1", "r0=1 x=2 y=2", ""},
    {"Z6.2", "Wx2 Wy1 || Ry Wz1 || Rz Wx1", "r0=1 r1=1 x=2", ""},
    {"Z6.3", "Wx1 Wy1 || Wy2 Wz1 || Rz Rx", "r0=1 r1=0 y=2", ""},
    {"Z6.4", "Wx1 Wy1 || Wy2 Rz || Wz1 Rx", "r0=0 r1=0 y=2", ""},
    {"Z6.5", "Wx2 Wy1 || Wy2 Rz || Wz1 Wx1", "r0=0 x=2 y=2", ""},
    {"3.SB", "Wx1 Ry || Wy1 Rz || Wz1 Rx", "r0=0 r1=0 r2=0", "SB in a ring of three"},
    {"3.2W", "Wx2 Wy1 || Wy2 Wz1 || Wz2 Wx1", "x=2 y=2 z=2", "2+2W in a ring of three"},
    {"3.LB", "Rx Wy1 || Ry Wz1 || Rz Wx1", "r0=1 r1=1 r2=1", "LB in a ring of three"},
    {"unmap/attach", "Wx1 Ry || Wy1 Wz1 || Rz Rx", "r0=0 r1=1 r2=0",
     "x is a PTE, y the array pointer, z the STE: the unmap misses the new array and the SMMU walks the old PTE"},
    // read-modify-writes
    {"lost update", "Ax1 || Ax1", "x=1", "two additions count as one"},
    {"lost update 3", "Ax1 || Xx4 || Ax1", "x=1", "RMWs of one location in any order"},
    {"two winners", "Cx01 || Cx02", "r0=0 r1=0", "both compare_exchanges succeed"},
    {"MP+rmw", "Wx1 Xy1 || Ay1 Rx", "r1=1 r2=0", "MP by read-modify-writes"},
    {"MP+cas", "Wx1 Wy1 || Cy12 Rx", "r0=1 r1=0", "MP into a compare_exchange"},
    {"SB+rmw", "Xx1 Ry || Xy1 Rx", "r1=0 r3=0", "Dekker with exchanges for stores"},
    {"SB+rmw=ld", "Wx1 Ay0 || Wy1 Ax0", "r0=0 r1=0", "Dekker with read-modify-writes for loads"},
    {"SB+cas", "Wx1 Cy12 || Wy1 Cx12", "r0=0 r1=0", "Dekker with compare_exchanges that fail for loads"},
    {"RWC+cas", "Wx1 || Cx23 Ry || Wy1 Rx", "r0=1 r1=0 r2=0", "RWC with one that fails for the first load"},
    {"SB+barrier", "Wx1 Az1 Ry || Wy1 Az1 Rx", "r1=0 r3=0", "Dekker with a read-modify-write of a third word as the barrier"},
    {"2+2W+rmw", "Wx1 Xy2 || Wy1 Xx2", "x=1 y=1", "2+2W with exchanges"},
    {"RS", "Wx1 Wy1 || Ay1 || Ry Rx", "r0=1 r1=2 r2=0", "a release sequence goes on through a read-modify-write"},
    {"RS2", "Wx1 Wy1 || Ay1 || Cy23 || Ry Rx", "r0=1 r1=2 r2=3 r3=0", "and through several"},
    {"RS=store", "Wx1 Wy1 Wy2 || Ry Rx", "r0=2 r1=0", "a plain store of the same thread ends it (C++20)"},
    {"RS/other", "Wx1 Wy1 || Wy2 || Ay1 Rx", "r0=2 r1=0 y=3", "a store of another thread ends it"},
    {"Z6.U", "Wx1 Wy1 || Ay1 Ry || Wy3 Rx", "r0=1 r1=3 r2=0", "happens-before against S: the repair of P0668R5"},
};

[[nodiscard]] inline const shape* find_shape(std::string_view name) {
  for (const shape& s : shapes)
    if (s.name == name) return &s;
  return nullptr;
}

/// All variants of a shape, by number: a mixed-radix count over the places where something can be chosen.
class variants {
 public:
  explicit variants(const shape& s) : variants{parse(s.text)} {}
  explicit variants(program plain) : plain_{std::move(plain)} {
    for (const auto& t : plain_.threads)
      for (std::size_t i = 0; i != t.size(); ++i) {
        if (i != 0) places_.push_back({.fence = true, .options = 5});
        places_.push_back({.fence = false, .options = orders_of(t[i].what).size()});
        if (t[i].what == kind::compare_exchange) places_.back().options *= load_orders.size();
      }
  }

  [[nodiscard]] std::uint64_t count() const {
    std::uint64_t n = 1;
    for (const place& p : places_) n *= p.options;
    return n;
  }
  /// All orders and no fences, or all fences between relaxed accesses.
  [[nodiscard]] bool plain_orders(std::uint64_t number) const { return only(number, false); }
  [[nodiscard]] bool plain_fences(std::uint64_t number) const { return only(number, true); }

  /// All of them if there are no more than `most`; otherwise all fences between relaxed accesses, all orders without fences
  /// if they are no more than `most`, and others drawn at random (the same ones every time) to make up `most`.
  [[nodiscard]] std::vector<std::uint64_t> chosen(std::uint64_t most) const {
    const std::uint64_t n = count();
    std::set<std::uint64_t> numbers;
    std::vector<std::uint64_t> orders;
    for (std::uint64_t i = 0; i != n; ++i) {
      if (n <= most || plain_fences(i)) numbers.insert(i);
      if (plain_orders(i)) orders.push_back(i);
    }
    if (orders.size() <= most) numbers.insert(orders.begin(), orders.end());
    draw(numbers, most);
    return {numbers.begin(), numbers.end()};
  }
  /// `most` of them (or all) at random, the same ones every time.
  [[nodiscard]] std::vector<std::uint64_t> drawn(std::uint64_t most) const {
    std::set<std::uint64_t> numbers;
    draw(numbers, most);
    return {numbers.begin(), numbers.end()};
  }

  [[nodiscard]] program at(std::uint64_t number) const {
    program p;
    std::size_t next = 0;
    const auto digit = [&] {
      const std::size_t n = places_[next++].options;
      const auto d = static_cast<std::size_t>(number % n);
      number /= n;
      return d;
    };
    for (const auto& t : plain_.threads) {
      std::vector<operation>& out = p.threads.emplace_back();
      for (std::size_t i = 0; i != t.size(); ++i) {
        if (i != 0)
          if (const std::size_t f = digit(); f != 0) out.push_back({.what = kind::fence, .order = fence_orders[f - 1]});
        operation o = t[i];
        const std::size_t d = digit();
        const auto orders = orders_of(o.what);
        o.order = orders[d % orders.size()];
        if (o.what == kind::compare_exchange) o.failed = load_orders[d / orders.size()];
        out.push_back(o);
      }
    }
    return p;
  }

 private:
  struct place {
    bool fence{};
    std::size_t options{};
  };
  static constexpr std::array load_orders{std::memory_order_relaxed, std::memory_order_acquire, std::memory_order_seq_cst};
  static constexpr std::array store_orders{std::memory_order_relaxed, std::memory_order_release, std::memory_order_seq_cst};
  static constexpr std::array rmw_orders{std::memory_order_relaxed, std::memory_order_acquire, std::memory_order_release,
                                         std::memory_order_acq_rel, std::memory_order_seq_cst};
  static constexpr std::array fence_orders{std::memory_order_acquire, std::memory_order_release, std::memory_order_acq_rel,
                                           std::memory_order_seq_cst};

  [[nodiscard]] static std::span<const std::memory_order> orders_of(kind k) {
    if (k == kind::load) return load_orders;
    if (k == kind::store) return store_orders;
    return rmw_orders;
  }
  void draw(std::set<std::uint64_t>& numbers, std::uint64_t most) const {
    const std::uint64_t n = count();
    for (std::uint64_t i = 1; numbers.size() < most && numbers.size() < n; ++i) {
      std::uint64_t z = i * 0x9e3779b97f4a7c15;
      z = (z ^ (z >> 29)) * 0xbf58476d1ce4e5b9;
      numbers.insert((z ^ (z >> 32)) % n);
    }
  }
  [[nodiscard]] bool only(std::uint64_t number, bool fences) const {
    for (const place& p : places_) {
      if (p.fence != fences && number % p.options != 0) return false;
      number /= p.options;
    }
    return true;
  }

  program plain_;
  std::vector<place> places_;
};

}  // namespace litmus
