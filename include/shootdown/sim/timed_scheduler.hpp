// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include <shootdown/sim/fiber.hpp>
#include <shootdown/sim/reference_machine.hpp>

SHOOTDOWN_BEGIN
namespace sim {

struct timed_line;

/// A virtual CPU: a fiber with a clock of its own.
struct timed_cpu {
  static constexpr unsigned most_watched = 8;

  unsigned index{};
  std::uint64_t clock{};  ///< virtual ns; never behind what has happened anywhere
  std::uint32_t stamp{};  ///< of the one event that may resume it; others are stale
  std::function<void()> work;
  std::unique_ptr<fiber> stack;
  fiber* self{};  ///< stack.get()

  // The lines read since the last turn of a wait. A waiter sleeps until one of them changes.
  timed_line* watched[most_watched]{};
  unsigned watching{};
  bool watches_more{};  ///< than that, or a device register: then only time passes
  bool asleep{};
  bool waits_for_event{};
  bool event{};           ///< the event register of WFE
  unsigned idle_turns{};  ///< sleeps in a row that nothing ended

  unsigned irqs_off{};  ///< irq_guards
  bool doomed{};        ///< the hypervisor takes the CPU away as soon as it holds a reservation
  unsigned guards{};    ///< rcu
  std::uint64_t guard_number{};
  std::uint64_t device_order{};  ///< when the last register access of this CPU reaches the device

  void watch(timed_line* l) noexcept {
    for (unsigned i = 0; i != watching; ++i)
      if (watched[i] == l) return;
    if (watching == most_watched)
      watches_more = true;
    else
      watched[watching++] = l;
  }
  [[nodiscard]] bool watches(const timed_line* l) const noexcept { return std::find(watched, watched + watching, l) != watched + watching; }
  void forget_watched() noexcept {
    watching = 0;
    watches_more = false;
  }
};

/// Discrete events: everything happens in the order of virtual time, equal times in the order in which they were asked for.
/// A CPU runs ahead of the others while nothing is due before its own clock, which costs nothing; order() is what it calls
/// before it touches anything that others can see.
///
/// Deterministic: the same tasks, seed and calls give the same run. Context: one thread. Cost: about 0.1 us per event.
class timed_scheduler {
 public:
  using callback = void (*)(void* self, std::uint64_t now) noexcept;

  explicit timed_scheduler(std::uint64_t seed) noexcept : random_{seed} {}

  /// Adds CPU number cpus().size(), which starts at time 0. False: no memory for its stack.
  bool add(std::function<void()> work, std::size_t stack_bytes) {
    auto c = std::make_unique<timed_cpu>();
    c->index = static_cast<unsigned>(cpus_.size());
    c->work = std::move(work);
    c->stack = std::make_unique<fiber>(stack_bytes, &enter, c.get());
    c->self = c->stack.get();
    cpus_.push_back(std::move(c));
    return cpus_.back()->self->valid();
  }

  enum class ending { all_returned, nobody_can_run, time_limit };

  /// Runs until every CPU has returned, or until none ever will, or until `limit`.
  ending run(std::uint64_t limit) noexcept {
    limit_ = limit;
    for (const auto& c : cpus_) push(c->clock, &resume_cpu, c.get(), c->stamp);
    std::size_t left = cpus_.size();
    while (left != 0) {
      if (events_.empty()) return ending::nobody_can_run;
      const event e = pop();
      if (e.at > limit_) return ending::time_limit;
      if (e.what != &resume_cpu) {
        now_ = e.at;
        e.what(e.self, e.at);
        continue;
      }
      auto& c = *static_cast<timed_cpu*>(e.self);
      if (c.stamp != e.stamp) continue;
      now_ = c.clock = e.at;
      current_ = &c;
      c.self->resume();
      current_ = nullptr;
      if (c.self->done()) {
        --left;
        end_ = std::max(end_, c.clock);  // what it still computed after its last event
      }
      if (after_ != nullptr) after_(after_self_, now_);
    }
    return ending::all_returned;
  }

  /// Called between events, when no CPU runs, until it is set to null.
  void set_after(callback f, void* self) noexcept {
    after_ = f;
    after_self_ = self;
  }

  [[nodiscard]] timed_cpu* current() const noexcept { return current_; }
  [[nodiscard]] timed_cpu& cpu(std::size_t index) const noexcept { return *cpus_[index]; }
  [[nodiscard]] std::size_t count() const noexcept { return cpus_.size(); }
  /// The time of the event that is being handled; a CPU that runs is at its own clock, later.
  [[nodiscard]] std::uint64_t now() const noexcept { return current_ != nullptr ? current_->clock : now_; }
  /// When the last CPU returned, or the last event happened.
  [[nodiscard]] std::uint64_t end() const noexcept { return std::max(now_, end_); }
  [[nodiscard]] std::uint64_t events() const noexcept { return sequence_; }

  /// `f(self, at)` when virtual time is `at`.
  void at(std::uint64_t time, callback f, void* self) noexcept { push(time, f, self, 0); }

  // For the CPU that runs.

  /// Lets everything happen that is due up to the CPU's clock.
  void order() noexcept {
    timed_cpu& c = *current_;
    if ((!events_.empty() && events_.front().at <= c.clock) || c.clock > limit_) sleep_until(c.clock);
  }
  void sleep_until(std::uint64_t time) noexcept {
    timed_cpu& c = *current_;
    push(time, &resume_cpu, &c, ++c.stamp);
    c.self->suspend();
  }
  /// Until somebody's wake(), which may have been called already.
  void block() noexcept { current_->self->suspend(); }
  /// A blocked or sleeping CPU goes on at `time`, whatever it was waiting for before.
  void wake(timed_cpu& c, std::uint64_t time) noexcept { push(time, &resume_cpu, &c, ++c.stamp); }

  [[nodiscard]] std::uint64_t draw() noexcept {  // splitmix64
    std::uint64_t z = random_ += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  /// True `thousandths` times in a thousand.
  [[nodiscard]] bool chance(std::uint32_t thousandths) noexcept { return thousandths != 0 && draw() % 1000 < thousandths; }

 private:
  struct event {
    std::uint64_t at;
    std::uint64_t sequence;
    callback what;
    void* self;
    std::uint32_t stamp;
  };
  static bool later(const event& a, const event& b) noexcept { return a.at != b.at ? a.at > b.at : a.sequence > b.sequence; }

  static void resume_cpu(void*, std::uint64_t) noexcept {}  // run() knows it by its address
  static void enter(void* p) noexcept { static_cast<timed_cpu*>(p)->work(); }

  void push(std::uint64_t time, callback f, void* self, std::uint32_t stamp) noexcept {
    events_.push_back({time, sequence_++, f, self, stamp});
    std::push_heap(events_.begin(), events_.end(), &later);
  }
  event pop() noexcept {
    std::pop_heap(events_.begin(), events_.end(), &later);
    const event e = events_.back();
    events_.pop_back();
    return e;
  }

  std::vector<std::unique_ptr<timed_cpu>> cpus_;
  std::vector<event> events_;
  std::uint64_t sequence_{};
  std::uint64_t random_;
  std::uint64_t now_{};
  std::uint64_t end_{};
  std::uint64_t limit_{~std::uint64_t{0}};
  timed_cpu* current_{};
  callback after_{};
  void* after_self_{};
};

}  // namespace sim
SHOOTDOWN_END
