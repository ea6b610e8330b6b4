// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include <shootdown/model/scope.hpp>

SHOOTDOWN_BEGIN
namespace model {

/// Counts the 4 KiB pages that by-address TLBIs cover: per tag the union of all ranges between two CMD_SYNCs, so that
/// commands that overlap are not counted twice. Covered minus requested pages is what was invalidated for nothing.
/// Context: the device's lock. Cost: an append a command, a sort of those few at the SYNC.
class coverage {
 public:
  coverage() { spans_.reserve(64); }

  void add(const scope& s) {
    if (s.what != scope::extent::addresses) return;
    const std::uint64_t tag =
        (std::uint64_t{raw(s.where)} << 40) | (std::uint64_t{s.vm} << 20) | (s.any_asid ? std::uint64_t{0x10000} : std::uint64_t{s.as});
    spans_.push_back({tag, s.first >> 12, s.last >> 12});
  }

  /// The pages covered since the last call.
  [[nodiscard]] std::uint64_t flush() {
    std::sort(spans_.begin(), spans_.end(),
              [](const span& a, const span& b) { return a.tag != b.tag ? a.tag < b.tag : a.first < b.first; });
    std::uint64_t pages = 0;
    for (std::size_t i = 0; i != spans_.size();) {
      span run = spans_[i];
      for (++i; i != spans_.size() && spans_[i].tag == run.tag && spans_[i].first <= run.last; ++i)
        run.last = std::max(run.last, spans_[i].last);
      pages += run.last - run.first + 1;
    }
    spans_.clear();
    return pages;
  }

 private:
  struct span {
    std::uint64_t tag;
    std::uint64_t first;  // page numbers, inclusive
    std::uint64_t last;
  };
  std::vector<span> spans_;
};

}  // namespace model
SHOOTDOWN_END
