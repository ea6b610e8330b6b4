// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <deque>

#include <shootdown/sim/flow.hpp>
#include <shootdown/sim/history.hpp>

SHOOTDOWN_BEGIN
namespace sim {

/// Intrusive base of retired objects, as small as a real one: what waits for what is kept beside it.
struct retired {
  retired* next{};
  void (*callback)(retired*) noexcept {};
};

/// The read sections of a trial's flows, and the objects that wait for them. Exact: nothing waits for a section that began
/// after the retirement. Callers are inside of one step: nothing here switches.
/// Sites: none of its own: memory orders are data here.
class grace_periods {
 public:
  /// `memory`: null if memory is sequential.
  void watch(const flow_list& flows, history* memory) noexcept {
    flows_ = &flows;
    memory_ = memory;
    begun_ = {};
  }

  void enter(flow& f) noexcept {
    if (f.guards++ != 0) return;
    f.guard_number = next_++;
    if (memory_ != nullptr) memory_->join(f.view, begun_);
  }
  /// True: the outermost section ended.
  bool leave(flow& f) noexcept {
    if (--f.guards != 0) return false;
    if (memory_ != nullptr) f.left = memory_->clock_of(f.view);
    return true;
  }

  void retire(flow& by, retired& r, void (*callback)(retired*) noexcept) {
    r = {nullptr, callback};
    waiting_.push_back({&r, next_, readers(), {}});
    ++retired_;
    if (memory_ == nullptr) return;
    waiting_.back().known = memory_->clock_of(by.view);
    begun_.join(waiting_.back().known);
  }
  [[nodiscard]] bool due() const noexcept { return !waiting_.empty() && over(waiting_.front().stamp); }
  [[nodiscard]] bool empty() const noexcept { return waiting_.empty(); }
  [[nodiscard]] retired& take(flow& by) noexcept {
    const entry e = waiting_.front();
    waiting_.pop_front();
    if (memory_ != nullptr) memory_->join(by.view, e.known);
    know(by, e.readers);
    return *e.what;
  }
  void called() noexcept { ++called_; }
  [[nodiscard]] std::uint64_t retired_so_far() const noexcept { return retired_; }
  [[nodiscard]] std::uint64_t called_so_far() const noexcept { return called_; }

  /// A grace period that somebody waits for: it is a full fence at both ends.
  struct period {
    std::uint64_t stamp{};
    std::uint32_t readers{};
  };
  [[nodiscard]] period begin(flow& by) noexcept {
    if (memory_ != nullptr) {
      memory_->fence(by.view, std::memory_order_seq_cst);
      begun_.join(memory_->clock_of(by.view));
    }
    return {next_, readers()};
  }
  [[nodiscard]] bool over(std::uint64_t stamp) const noexcept {
    return std::all_of(flows_->begin(), flows_->end(), [&](const auto& f) { return f->guards == 0 || f->guard_number >= stamp; });
  }
  void end(flow& by, const period& p) noexcept {
    know(by, p.readers);
    if (memory_ != nullptr) memory_->fence(by.view, std::memory_order_seq_cst);
  }

 private:
  struct entry {
    retired* what{};
    std::uint64_t stamp{};    // read sections with a smaller number existed at the retirement
    std::uint32_t readers{};  // flows that were in one
    vector_clock known{};     // to who retired it
  };
  [[nodiscard]] std::uint32_t readers() const noexcept {
    std::uint32_t m = 0;
    for (const auto& f : *flows_)
      if (f->guards != 0) m |= f->bit();
    return m;
  }
  void know(flow& by, std::uint32_t readers) noexcept {
    if (memory_ == nullptr) return;
    for (; readers != 0; readers &= readers - 1) memory_->join(by.view, (*flows_)[static_cast<unsigned>(std::countr_zero(readers))]->left);
  }

  const flow_list* flows_{};
  history* memory_{};
  std::uint64_t next_{1};
  std::deque<entry> waiting_;
  std::uint64_t retired_{};
  std::uint64_t called_{};
  vector_clock begun_{};  // known to those who began a grace period
};

}  // namespace sim
SHOOTDOWN_END
