// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "litmus/program.hpp"

namespace litmus {

/// Small random programs, the same for the same seed on every machine: 2 or 3 threads (rarely 4), up to 8 operations of which
/// up to 7 are accesses, 1 to 3 locations, all kinds and orders.
class random_programs {
 public:
  explicit random_programs(std::uint64_t seed) : state_{seed} {}

  [[nodiscard]] program next() {
    const std::size_t threads = below(12) == 0 ? 4 : 2 + below(2);
    const std::size_t locations = 1 + below(3);
    const std::size_t calm = below(4);  // of all programs a quarter has relaxed accesses mostly, and so on
    std::size_t left = threads == 4 ? 7 : 8;
    program p;
    for (std::size_t t = 0; t != threads; ++t) {
      std::vector<operation>& ops = p.threads.emplace_back();
      const std::size_t most = left - (threads - t - 1);
      const std::size_t count = 1 + below(most < 4 ? most : 4);
      for (std::size_t i = 0; i != count; ++i) {
        // A fence at the end of a thread orders nothing.
        ops.push_back(i + 1 != count && i != 0 && below(3) == 0 ? fence() : access(locations, calm));
      }
      left -= count;
    }
    return p;
  }

 private:
  [[nodiscard]] std::uint64_t random() {  // splitmix64
    std::uint64_t z = (state_ += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  [[nodiscard]] std::size_t below(std::size_t n) { return static_cast<std::size_t>(random() % n); }

  [[nodiscard]] operation fence() {
    static constexpr std::array orders{std::memory_order_acquire, std::memory_order_release, std::memory_order_acq_rel,
                                       std::memory_order_seq_cst, std::memory_order_seq_cst};
    return {.what = kind::fence, .order = orders[below(orders.size())]};
  }
  [[nodiscard]] operation access(std::size_t locations, std::size_t calm) {
    static constexpr std::array kinds{kind::load,  kind::load,  kind::load, kind::load,     kind::store,
                                      kind::store, kind::store, kind::add,  kind::exchange, kind::compare_exchange};
    static constexpr std::array all{std::memory_order_relaxed, std::memory_order_acquire, std::memory_order_release,
                                    std::memory_order_acq_rel, std::memory_order_seq_cst};
    operation o;
    o.what = kinds[below(kinds.size())];
    o.location = static_cast<std::uint8_t>(below(locations));
    if (o.writes()) o.operand = static_cast<std::uint8_t>(o.what == kind::add ? 1 : 1 + below(3));
    if (o.what == kind::compare_exchange) o.expected = static_cast<std::uint8_t>(below(3));
    if (calm == 0 && below(4) != 0) return o;
    do {
      o.order = all[below(all.size())];
    } while ((o.what == kind::load && (o.order == std::memory_order_release || o.order == std::memory_order_acq_rel)) ||
             (o.what == kind::store && (o.order == std::memory_order_acquire || o.order == std::memory_order_acq_rel)));
    if (o.what == kind::compare_exchange) o.failed = all[std::array<std::size_t, 3>{0, 1, 4}[below(3)]];
    return o;
  }

  std::uint64_t state_;
};

}  // namespace litmus
