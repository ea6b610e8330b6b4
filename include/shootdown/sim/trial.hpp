// SPDX-License-Identifier: MIT
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <shootdown/sim/scheduler.hpp>

SHOOTDOWN_BEGIN
namespace sim {

/// Leaves a scenario whose trial has failed; the trial knows why.
struct trial_failed {};

/// One execution of a scenario: virtual CPUs and agents as fibers of the calling thread, every step and every doubt of which
/// a chooser decides. Equal answers, equal trials.
///
///   void scenario(sim::trial& t) {
///     auto& world = t.make<my_world>();
///     t.cpu("unmap", [&] { ... });
///     t.agent("smmu", [&] { return world.device.turn(); });
///     t.go();
///     t.require(world.leaks() == 0, "a stale translation was used");
///   }
///
/// Between two operations of sim::env a flow runs alone. A trial ends by itself as long as every loop of every flow contains
/// an operation of sim::env: when all CPUs have returned and every retired object is gone; or it fails: require(), fail() of
/// the environment, nobody can go on (deadlock), nothing changes however far time advances (livelock), the step limit.
/// A flow that waits (relax, wait_event) is left alone until somebody else changes a value; if nobody can, time jumps.
/// After a failure nothing is unwound: fibers and made objects are abandoned where they stand.
/// Interrupts come on a CPU's own stack, before any of its steps, unless an irq_guard is held; they do not nest.
/// Context: a thread, outside of any trial. At most max_observers flows and device views.
class trial : public scheduler {
 public:
  explicit trial(const trial_options& o, chooser& c, step_log* log = nullptr) : scheduler{o, c, log} {}
  ~trial() {
    if (failed()) {
      static auto& abandoned = *new std::vector<std::shared_ptr<void>>;  // reachable for leak checkers, never destroyed
      for (auto& o : objects_) abandoned.push_back(std::move(o));
    }
    while (!objects_.empty()) objects_.pop_back();
  }

  /// The trial whose go() runs on this thread; null outside.
  [[nodiscard]] SHOOTDOWN_TSAN_UNSEEN static trial* current() noexcept { return current_; }

  // For the scenario.

  /// Virtual CPU 0, 1, ... (before any agent): the trial ends when all of them have returned.
  void cpu(std::string name, std::function<void()> work) { add(flow::kind::cpu, std::move(name), std::move(work)); }
  /// Calls turn() again and again while the trial lasts. false: nothing to do until somebody changes a value.
  void agent(std::string name, std::function<bool()> turn) {
    add(flow::kind::agent, std::move(name), [this, turn = std::move(turn)] {
      while (!stopping()) {
        if (!turn()) wait(deadline::never().at);
      }
    });
  }
  /// An interrupt handler of CPU `cpu`; options.interrupts times at most.
  void interrupt(unsigned cpu, std::function<void()> handler) { on_interrupt(cpu, std::move(handler)); }
  /// An object of this trial's: destroyed in reverse order after a good end, abandoned after a bad one.
  template <class T, class... A>
  T& make(A&&... a) {
    auto p = std::make_shared<T>(std::forward<A>(a)...);
    T& r = *p;
    objects_.push_back(std::move(p));
    return r;
  }
  /// Steps call the words of [first, first + bytes) so.
  void name(const void* first, std::size_t bytes, std::string text) {
    if (log() != nullptr) log()->name(first, bytes, std::move(text));
  }
  /// A question of the scenario's own: 0 .. n - 1.
  [[nodiscard]] unsigned choose(unsigned n) {
    const tsan_ignore quiet;
    return ask(decision_kind::scenario, n);
  }
  void require(bool good, std::string_view what) {
    if (!good) fail(what);
  }
  /// The trial has failed. Does not return.
  [[noreturn]] void fail(std::string_view what) {
    note_failure(what);
    while (current() == this) leave();
    throw trial_failed{};
  }
  void note(std::string_view what) {
    const tsan_ignore quiet;
    if (log() != nullptr) log()->note(steps(), running_name(), what);
  }

  /// Runs everything that was added, to the end. Then the trial is ready for another set of flows.
  void go() {
    if (failed()) throw trial_failed{};
    current_ = this;
    run();
    current_ = nullptr;
    if (failed()) throw trial_failed{};
  }

 private:
  std::vector<std::shared_ptr<void>> objects_;

  static inline thread_local constinit trial* current_ = nullptr;
};

}  // namespace sim
SHOOTDOWN_END
