// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include <shootdown/env/sanitizer.hpp>
#include <shootdown/sim/fiber.hpp>

SHOOTDOWN_BEGIN
namespace sim {

/// Fibers that are used again: a trial needs a handful of stacks, an exploration runs millions of trials.
/// A worker whose job did not end cannot be used again and is given up with its stack (see fiber).
/// Context: one thread; `of_this_thread()` has one crew per thread.
class crew {
 public:
#if SHOOTDOWN_TSAN || SHOOTDOWN_ASAN
  static constexpr std::size_t stack_bytes = 512u * 1024u;
#else
  static constexpr std::size_t stack_bytes = 256u * 1024u;
#endif

  class worker {
   public:
    worker() : stack_{stack_bytes, &enter, this, fiber::switching::orders_nothing} {}

    [[nodiscard]] bool valid() const noexcept { return stack_.valid(); }
    [[nodiscard]] bool idle() const noexcept { return idle_; }
    void give(std::function<void()> job) {
      job_ = std::move(job);
      idle_ = false;
      tsan_release(this);
    }
    void resume() noexcept { stack_.resume(); }
    void suspend() noexcept { stack_.suspend(); }
    /// What the job did comes before what the caller does now.
    void join() noexcept { tsan_acquire(&idle_); }

   private:
    static void enter(void* p) noexcept {
      auto* const self = static_cast<worker*>(p);
      for (;;) {
        tsan_acquire(self);
        self->job_();
        {
          const tsan_ignore quiet;
          self->idle_ = true;
        }
        tsan_release(&self->idle_);
        self->stack_.suspend();
      }
    }
    std::function<void()> job_;
    bool idle_{true};
    fiber stack_;
  };

  /// An idle worker; null when there is no memory for its stack.
  [[nodiscard]] std::unique_ptr<worker> take() {
    if (!idle_.empty()) {
      std::unique_ptr<worker> w = std::move(idle_.back());
      idle_.pop_back();
      return w;
    }
    auto w = std::make_unique<worker>();
    return w->valid() ? std::move(w) : nullptr;
  }
  void give_back(std::unique_ptr<worker> w) {
    if (w == nullptr) return;
    w->join();
    if (w->idle()) idle_.push_back(std::move(w));
  }

  [[nodiscard]] static crew& of_this_thread() {
    static thread_local crew c;
    return c;
  }

 private:
  std::vector<std::unique_ptr<worker>> idle_;
};

}  // namespace sim
SHOOTDOWN_END
