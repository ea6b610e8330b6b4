// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <iterator>
#include <map>
#include <optional>

namespace table_test {

/// Disjoint stretches of input addresses, each mapped to one stretch of output addresses.
class stretches {
 public:
  struct stretch {
    std::uint64_t end;
    std::uint64_t pa;
  };
  [[nodiscard]] bool any(std::uint64_t va, std::uint64_t end) const {
    const auto next = all_.upper_bound(va);
    if (next != all_.end() && next->first < end) return true;
    return next != all_.begin() && std::prev(next)->second.end > va;
  }
  [[nodiscard]] std::optional<std::uint64_t> at(std::uint64_t va) const {
    const auto next = all_.upper_bound(va);
    if (next == all_.begin()) return {};
    const auto& [start, s] = *std::prev(next);
    return va < s.end ? std::optional{s.pa + (va - start)} : std::nullopt;
  }
  void add(std::uint64_t va, std::uint64_t bytes, std::uint64_t pa) { all_[va] = {va + bytes, pa}; }
  void remove(std::uint64_t va, std::uint64_t end) {
    split(va);
    split(end);
    all_.erase(all_.lower_bound(va), all_.lower_bound(end));
  }
  [[nodiscard]] const std::map<std::uint64_t, stretch>& all() const { return all_; }

 private:
  void split(std::uint64_t at) {
    const auto next = all_.upper_bound(at);
    if (next == all_.begin()) return;
    auto& [start, s] = *std::prev(next);
    if (start == at || s.end <= at) return;
    all_[at] = {s.end, s.pa + (at - start)};
    s.end = at;
  }
  std::map<std::uint64_t, stretch> all_;
};

}  // namespace table_test
