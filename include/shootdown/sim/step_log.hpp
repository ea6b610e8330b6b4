// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>  // std::memory_order only
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <absl/container/flat_hash_map.h>
#include <absl/strings/str_format.h>

#include <shootdown/sim/cell.hpp>

SHOOTDOWN_BEGIN
namespace sim {

[[nodiscard]] constexpr const char* name_of(std::memory_order o) noexcept {
  switch (o) {
    case std::memory_order_relaxed: return "relaxed";
    case std::memory_order_consume: return "consume";
    case std::memory_order_acquire: return "acquire";
    case std::memory_order_release: return "release";
    case std::memory_order_acq_rel: return "acq_rel";
    case std::memory_order_seq_cst: return "seq_cst";
  }
  return "?";
}
/// The path below the include directory: `queue/ring.hpp`.
[[nodiscard]] constexpr std::string_view short_file(const char* path) noexcept {
  const std::string_view p{path};
  const std::size_t slash = p.rfind('/');
  if (slash == std::string_view::npos) return p;
  const std::size_t before = p.rfind('/', slash - 1);
  return p.substr(before == std::string_view::npos ? 0 : before + 1);
}

/// What happened in a trial, line by line, for people. Written only while a trial is repeated, because it is slow.
/// Cells are called by the names that the scenario gave them, otherwise c0, c1, ... in the order of their first use.
/// Sites: none of its own: memory orders are data here.
class step_log {
 public:
  void open() {
    lines_.clear();
    seen_.clear();
    on_ = true;
  }
  void close() noexcept { on_ = false; }
  [[nodiscard]] bool on() const noexcept { return on_; }
  [[nodiscard]] const std::vector<std::string>& lines() const noexcept { return lines_; }

  /// [first, first + bytes) is called `text`, its words text[0], text[1], ...
  void name(const void* first, std::size_t bytes, std::string text) { named_.push_back({first, bytes, std::move(text)}); }
  void forget_names() { named_.clear(); }

  void operation(std::uint64_t step, std::string_view flow, const char* what, const cell& c, std::uint64_t value, std::memory_order o,
                 std::uint32_t stale, const where& w) {
    std::string text = absl::StrFormat("%6d %-10s %-8s %-7s %s = %#x", step, flow, what, name_of(o), cell_name(c), value);
    if (stale != 0) absl::StrAppendFormat(&text, "   <- %d older than the newest (%#x)", stale, c.get());
    absl::StrAppendFormat(&text, "   %s:%d", short_file(w.file_name()), w.line());
    lines_.push_back(std::move(text));
  }
  void fence(std::uint64_t step, std::string_view flow, std::memory_order o, const where& w) {
    lines_.push_back(absl::StrFormat("%6d %-10s fence    %-7s   %s:%d", step, flow, name_of(o), short_file(w.file_name()), w.line()));
  }
  void note(std::uint64_t step, std::string_view flow, std::string_view what) {
    lines_.push_back(absl::StrFormat("%6d %-10s %s", step, flow, what));
  }

 private:
  struct named {
    const void* first{};
    std::size_t bytes{};
    std::string text;
  };
  [[nodiscard]] std::string cell_name(const cell& c) {
    for (const named& n : named_) {
      const auto offset = static_cast<std::size_t>(static_cast<const std::byte*>(c.at) - static_cast<const std::byte*>(n.first));
      if (offset < n.bytes) return n.bytes <= 8 ? n.text : absl::StrFormat("%s[%d]", n.text, offset / 8);
    }
    const auto number = seen_.try_emplace(c.at, seen_.size()).first->second;
    return absl::StrFormat("%s%d", c.device_word ? "w" : "c", number);
  }

  bool on_{};
  std::vector<std::string> lines_;
  std::vector<named> named_;
  absl::flat_hash_map<const void*, std::size_t> seen_;
};

}  // namespace sim
SHOOTDOWN_END
