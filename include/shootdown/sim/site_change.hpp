// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <atomic>  // std::memory_order only
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <absl/container/flat_hash_map.h>

#include <shootdown/sim/step_log.hpp>

SHOOTDOWN_BEGIN
namespace sim {

/// A fault put into the library without compiling it again: the operations of one source line behave as if they had another
/// memory order, or (for a fence, a dma_publish, a dma_observe) as if they were not there.
/// Sites: none of its own: memory orders are data here.
struct site_change {
  std::string file;  ///< as in step lists: "queue/ring.hpp"
  std::uint32_t line{};
  std::uint32_t last_line{};  ///< of a call that stands on several lines; 0: the same
  bool removed{};             ///< fences and dma calls
  std::memory_order from{};   ///< orders: only operations that have this one
  std::memory_order to{};
};

/// A place in the source that has been executed in the simulator, and with what.
struct site {
  enum class what : std::uint8_t { load, store, modify, exchange_ok, exchange_failed, fence, publish, observe };
  std::string file;
  std::uint32_t line{};
  std::uint32_t column{};
  what kind{};
  std::memory_order order{};
  std::uint64_t executed{};
};

/// The changes in force, and, if asked, a record of all sites that were executed. One thread at a time.
class site_table {
 public:
  void change(site_change c) {
    change_ = std::move(c);
    active_ = true;
    busy_ = true;
    applied_ = 0;
  }
  void restore() noexcept {
    active_ = false;
    busy_ = recording_;
  }
  /// Operations that the change has affected since it was made.
  [[nodiscard]] std::uint64_t applied() const noexcept { return applied_; }

  void record(bool on) noexcept {
    recording_ = on;
    busy_ = on || active_;
  }
  void clear() { seen_.clear(); }
  [[nodiscard]] std::vector<site> recorded() const {
    std::vector<site> list;
    for (const auto& [k, n] : seen_) list.push_back({std::string{short_file(k.file)}, k.line, k.column, k.kind, k.order, n});
    return list;
  }

  /// The order that an operation really has.
  [[nodiscard]] std::memory_order order(const where& w, site::what kind, std::memory_order o) {
    if (!busy_) return o;
    if (recording_) ++seen_[{w.file_name(), w.line(), w.column(), kind, o}];
    if (!active_ || change_.removed || o != change_.from || !here(w)) return o;
    ++applied_;
    return change_.to;
  }
  /// Is this fence or dma call there?
  [[nodiscard]] bool present(const where& w, site::what kind) {
    if (!busy_) return true;
    if (recording_) ++seen_[{w.file_name(), w.line(), w.column(), kind, std::memory_order_seq_cst}];
    if (!active_ || !change_.removed || !here(w)) return true;
    ++applied_;
    return false;
  }

 private:
  struct key {
    const char* file{};
    std::uint32_t line{};
    std::uint32_t column{};
    site::what kind{};
    std::memory_order order{};
    friend bool operator==(const key&, const key&) = default;
    template <class H>
    friend H AbslHashValue(H h, const key& k) {
      return H::combine(std::move(h), k.file, k.line, k.column, k.kind, k.order);
    }
  };
  [[nodiscard]] bool here(const where& w) const noexcept {
    return w.line() >= change_.line && w.line() <= std::max(change_.line, change_.last_line) && short_file(w.file_name()) == change_.file;
  }

  site_change change_;
  bool active_{};
  bool recording_{};
  bool busy_{};
  std::uint64_t applied_{};
  absl::flat_hash_map<key, std::uint64_t> seen_;
};

/// The table of this process's simulator.
[[nodiscard]] inline site_table& sites() {
  static site_table t;
  return t;
}

}  // namespace sim
SHOOTDOWN_END
