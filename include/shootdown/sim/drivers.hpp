// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <random>
#include <span>
#include <string>
#include <vector>

#include <shootdown/sim/chooser.hpp>

SHOOTDOWN_BEGIN
namespace sim {

/// Every trial with at most `bound` interferences, depth first, each exactly once. An interference is an answer other than 0
/// that was not free: a preemption, an old value, an interrupt, a failure. Free answers (who goes on when the running flow
/// waits) are all tried.
class dfs final : public chooser {
 public:
  explicit dfs(unsigned bound) noexcept : bound_{bound} {}

  void begin() override {
    at_ = 0;
    spent_ = 0;
  }
  [[nodiscard]] std::uint32_t choose(const question& q) override {
    if (at_ == path_.size()) path_.push_back({0, q.options, q.free});
    branch& b = path_[at_++];
    b.options = q.options;  // equal in equal trials; told again so that a trial that is not repeatable does no harm
    b.answer = std::min(b.answer, q.options - 1);
    spent_ += cost(b);
    return b.answer;
  }
  bool end(std::uint64_t) override {
    depth_ = std::max(depth_, path_.size());
    path_.resize(at_);
    unsigned spent = spent_;
    while (!path_.empty()) {
      branch& b = path_.back();
      spent -= cost(b);
      if (b.answer + 1 < b.options && (b.free || spent < bound_)) {
        ++b.answer;
        return true;
      }
      path_.pop_back();
    }
    return false;
  }
  /// Decisions of the longest trial.
  [[nodiscard]] std::size_t depth() const noexcept { return depth_; }

 private:
  struct branch {
    std::uint32_t answer{};
    std::uint32_t options{};
    bool free{};
  };
  [[nodiscard]] static unsigned cost(const branch& b) noexcept { return b.answer != 0 && !b.free ? 1 : 0; }

  unsigned bound_;
  std::vector<branch> path_;
  std::size_t at_{};
  unsigned spent_{};
  std::size_t depth_{};
};

/// Probabilistic concurrency testing (Burckhardt, Kothari, Musuvathi, Nagarakatte, ASPLOS 2010): flows have random
/// priorities, the highest that can runs, and at depth - 1 random decisions the running one drops to the lowest. A bug of
/// depth d (d ordering constraints) is found with probability at least 1 / (n k^(d-1)) a trial: n flows, k decisions.
/// Other questions (values, interrupts, failures) are answered otherwise than 0 once in `rarely`.
/// A flow that gives way (its polling loop went round) drops to the lowest priority, or it would be chosen again for ever.
class pct final : public chooser {
 public:
  pct(unsigned depth, std::uint64_t seed, unsigned rarely = 24) noexcept : depth_{depth}, rarely_{rarely}, random_{seed} {}

  void begin() override {
    for (unsigned& p : priority_) p = 1000 + static_cast<unsigned>(random_() % 1'000'000);
    lowest_ = 999;
    changes_.clear();
    for (unsigned i = 1; i < depth_; ++i) changes_.push_back(random_() % std::max<std::uint64_t>(longest_, 1));
    at_ = 0;
  }
  [[nodiscard]] std::uint32_t choose(const question& q) override {
    if (q.kind != decision_kind::flow) {
      if (random_() % rarely_ != 0) return 0;
      return 1 + static_cast<std::uint32_t>(random_() % (q.options - 1));
    }
    const std::uint64_t number = at_++;
    if (q.free)
      lower(q.flows.back());
    else if (std::find(changes_.begin(), changes_.end(), number) != changes_.end())
      lower(q.flows.front());
    std::uint32_t best = 0;
    for (std::uint32_t i = 1; i != q.flows.size(); ++i)
      if (priority_[q.flows[i]] > priority_[q.flows[best]]) best = i;
    return best;
  }
  bool end(std::uint64_t) override {
    longest_ = std::max(longest_, at_);
    return true;
  }

 private:
  void lower(unsigned flow) noexcept {
    priority_[flow] = lowest_;
    if (lowest_ != 0) --lowest_;
  }

  unsigned depth_;
  unsigned rarely_;
  std::mt19937_64 random_;
  std::array<unsigned, 32> priority_{};
  unsigned lowest_{};
  std::uint64_t at_{};
  std::uint64_t longest_{64};
  std::vector<std::uint64_t> changes_;
};

/// Interferes once in `rarely` questions, with a random answer; `rarely` itself is drawn for each trial up to the given one,
/// so that quiet and restless trials mix. Free questions get any answer.
class random_walk final : public chooser {
 public:
  explicit random_walk(std::uint64_t seed, unsigned rarely = 64) noexcept : most_{std::max(2u, rarely)}, random_{seed} {}

  void begin() override { rarely_ = 2 + static_cast<unsigned>(random_() % (most_ - 1)); }
  [[nodiscard]] std::uint32_t choose(const question& q) override {
    if (!q.free && random_() % rarely_ != 0) return 0;
    return static_cast<std::uint32_t>(random_() % q.options);
  }

 private:
  unsigned most_;
  unsigned rarely_{2};
  std::mt19937_64 random_;
};

/// Answers from a fuzzer's bytes: a byte below 0xc0 says "go on" for (it + 1) questions, the others give one answer. After the
/// last byte all answers are 0. So a short input is a quiet trial and a byte changed in the middle leaves what came before.
class byte_driver final : public chooser {
 public:
  explicit byte_driver(std::span<const std::uint8_t> bytes) noexcept : bytes_{bytes} {}

  void begin() override {
    at_ = 0;
    quiet_ = 0;
  }
  [[nodiscard]] std::uint32_t choose(const question& q) override {
    if (quiet_ != 0) {
      --quiet_;
      return 0;
    }
    if (at_ == bytes_.size()) return 0;
    const std::uint8_t b = bytes_[at_++];
    if (b < 0xc0) {
      quiet_ = b;
      return 0;
    }
    return 1 + (b - 0xc0u) % (q.options - 1);
  }
  bool end(std::uint64_t) override { return false; }
  [[nodiscard]] std::size_t used() const noexcept { return at_; }

 private:
  std::span<const std::uint8_t> bytes_;
  std::size_t at_{};
  unsigned quiet_{};
};

}  // namespace sim
SHOOTDOWN_END
