// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include <shootdown/config.hpp>

SHOOTDOWN_BEGIN
namespace sim {

/// What a trial can be in doubt about.
enum class decision_kind : std::uint8_t {
  flow,       ///< who makes the next step; 0: whoever made the last one, if it can
  value,      ///< which store a load returns; 0: the newest, k: the k-th before it
  placement,  ///< where a store enters the modification order; 0: at its end
  interrupt,  ///< does an interrupt come before this step; 0: no
  fault,      ///< does something fail that may (an allocation, a weak compare-exchange); 0: no
  scenario,   ///< a question of the scenario's own
};
[[nodiscard]] constexpr char letter_of(decision_kind k) noexcept { return "fvpixs"[static_cast<unsigned>(k)]; }

/// A question to a chooser. Answers are 0 .. options - 1; 0 is what would happen without anybody interfering.
struct question {
  decision_kind kind{};
  std::uint32_t options{2};             ///< at least 2
  bool free{};                          ///< flow: the current one cannot go on or gave way, so that no answer is an interference
  std::span<const std::uint8_t> flows;  ///< flow: who the answers stand for
};

/// Who answers: what distinguishes the ways to explore. One chooser serves many trials, one after another.
/// Virtual functions: this is a tool of the host, not part of the freestanding core.
class chooser {
 public:
  chooser() = default;
  chooser(const chooser&) = delete;
  chooser& operator=(const chooser&) = delete;
  virtual ~chooser() = default;

  /// A trial begins.
  virtual void begin() {}
  [[nodiscard]] virtual std::uint32_t choose(const question& q) = 0;
  /// The trial has ended after so many steps. False: everything this chooser can reach has been tried.
  virtual bool end(std::uint64_t steps) {
    static_cast<void>(steps);
    return true;
  }
};

/// The answers of one trial that were not 0, which is all that a schedule consists of.
struct deviation {
  std::uint64_t decision{};  ///< number of the question in its trial, from 0
  std::uint32_t answer{};
  friend bool operator==(const deviation&, const deviation&) = default;
};

/// Repeats a trial. Questions it knows nothing of are answered 0.
class replayer final : public chooser {
 public:
  explicit replayer(std::vector<deviation> list) : list_{std::move(list)} {}
  void begin() override { at_ = next_ = 0; }
  [[nodiscard]] std::uint32_t choose(const question& q) override {
    const std::uint64_t number = at_++;
    if (next_ == list_.size() || list_[next_].decision != number) return 0;
    const std::uint32_t answer = list_[next_++].answer;
    if (answer < q.options) return answer;
    misfit_ = true;
    return 0;
  }
  bool end(std::uint64_t) override { return false; }
  /// The schedule named an answer that was not possible there, or a question that never came: it is of other code.
  [[nodiscard]] bool misfit() const noexcept { return misfit_ || next_ != list_.size(); }

 private:
  std::vector<deviation> list_;
  std::uint64_t at_{};
  std::size_t next_{};
  bool misfit_{};
};

}  // namespace sim
SHOOTDOWN_END
