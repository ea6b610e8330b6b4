// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <shootdown/env/sanitizer.hpp>
#include <shootdown/env/time.hpp>
#include <shootdown/sim/chooser.hpp>
#include <shootdown/sim/crew.hpp>
#include <shootdown/sim/flow.hpp>
#include <shootdown/sim/grace.hpp>
#include <shootdown/sim/history.hpp>
#include <shootdown/sim/step_log.hpp>
#include <shootdown/sim/trial_options.hpp>

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
class trial {
 public:
  trial(const trial_options& o, chooser& c, step_log* log = nullptr) : options_{o}, chooser_{c}, log_{log} { clock_ = instant{1}; }
  trial(const trial&) = delete;
  trial& operator=(const trial&) = delete;
  ~trial() {
    if (failed()) {
      static std::vector<std::shared_ptr<void>> abandoned;  // reachable, so that no leak checker complains
      for (auto& o : objects_) abandoned.push_back(std::move(o));
    }
    while (!objects_.empty()) objects_.pop_back();
  }

  /// The trial whose go() runs on this thread; null outside.
  [[nodiscard]] SHOOTDOWN_TSAN_UNSEEN static trial* current() noexcept { return current_; }

  // For the scenario.

  /// Virtual CPU 0, 1, ...: the trial ends when all of them have returned.
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
  void interrupt(unsigned cpu, std::function<void()> handler) { flows_.at(cpu)->handler = std::move(handler); }
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
    if (log_ != nullptr) log_->name(first, bytes, std::move(text));
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
  /// As fail(), for functions that must not throw: returns outside of go().
  void note_failure(std::string_view what) noexcept {
    const tsan_ignore quiet;
    if (failure_.empty()) failure_ = what.empty() ? "failed" : what;
    if (log_ != nullptr && log_->on()) log_->note(steps_, running_ != nullptr ? running_->name : "-", failure_);
  }
  void note(std::string_view what) {
    const tsan_ignore quiet;
    if (log_ != nullptr && log_->on()) log_->note(steps_, running_ != nullptr ? running_->name : "-", what);
  }

  /// Runs everything that was added, to the end. Then the trial is ready for another set of flows.
  void go() {
    if (failed()) throw trial_failed{};
    add(flow::kind::reclaimer, "reclaimer", [this] { reclaim(); });
    start();
    loop();
    for (const auto& f : flows_) crew::of_this_thread().give_back(std::move(f->worker));
    current_ = nullptr;
    running_ = nullptr;
    flows_.clear();
    forgotten_ += memory_.forgotten();
    if (failed()) throw trial_failed{};
  }

  [[nodiscard]] bool failed() const noexcept { return !failure_.empty(); }
  [[nodiscard]] const std::string& failure() const noexcept { return failure_; }
  [[nodiscard]] std::uint64_t steps() const noexcept { return steps_; }
  [[nodiscard]] std::uint64_t decisions() const noexcept { return decisions_; }
  [[nodiscard]] const std::vector<deviation>& deviations() const noexcept { return deviations_; }
  [[nodiscard]] std::uint64_t forgotten() const noexcept { return forgotten_; }
  [[nodiscard]] const trial_options& options() const noexcept { return options_; }

  // For the environment.

  [[nodiscard]] flow& self() noexcept { return *running_; }
  [[nodiscard]] history& memory() noexcept { return memory_; }
  [[nodiscard]] bool weak() const noexcept { return options_.memory == memory_model::weak; }
  /// Virtual time: a nanosecond a step, and what waiting takes. Outside of a run it passes by pass().
  [[nodiscard]] static instant now() noexcept { return clock_; }
  static void pass(nanoseconds d) noexcept { clock_ = deadline::in(clock_, d).at; }
  [[nodiscard]] step_log* log() noexcept { return log_ != nullptr && log_->on() ? log_ : nullptr; }
  [[nodiscard]] bool stopping() const noexcept {
    const tsan_ignore quiet;
    return stopping_;
  }
  /// A view of memory that belongs to no flow.
  [[nodiscard]] observer new_view(bool device) {
    if (views_ == max_observers) {
      note_failure("sim: more flows and device views than max_observers");
      return max_observers - 1;
    }
    if (device) memory_.is_device(views_);
    return views_++;
  }
  [[nodiscard]] std::uint64_t epoch() const noexcept { return epoch_; }

  /// Before every operation of a flow: others may come first, and an interrupt.
  void step(bool give_way = false) noexcept {
    crew::worker* leaving = nullptr;
    {
      const tsan_ignore quiet;
      leaving = decide(give_way);
    }
    if (leaving != nullptr) leaving->suspend();
    bool interruptible = false;
    {
      const tsan_ignore quiet;
      running_->chosen = false;
      interruptible = running_->handler != nullptr;
    }
    if (interruptible) interrupts();
  }
  /// A value has changed: those who wait may find what they wait for.
  void changed() noexcept {
    ++changes_;
    ++running_->own_changes;
    patience_ = first_patience;
    fruitless_ = 0;
    if (waiting_ == 0) return;
    const std::uint32_t woken = waiting_ & ~running_->bit();
    for (std::uint32_t m = woken; m != 0; m &= m - 1) flows_[static_cast<unsigned>(std::countr_zero(m))]->now = flow::state::ready;
    waiting_ &= ~woken;
    ready_ |= woken;
  }
  /// Something that blocked flows wait for may have happened.
  void recheck() noexcept { recheck_ = true; }

  /// One turn of a polling loop. What was read stale before is seen now.
  void wait(instant wake) noexcept {
    bool sleep = false;
    {
      const tsan_ignore quiet;
      flow& f = *running_;
      const bool stale = weak() && memory_.refresh(f.view);
      const std::uint64_t others = changes_ - f.own_changes;
      sleep = !stale && others == f.seen_changes && !stopping_;
      f.seen_changes = others;
      if (sleep) {
        ++steps_;
        f.now = flow::state::waiting;
        f.wake = wake;
        ready_ &= ~f.bit();
        waiting_ |= f.bit();
      }
    }
    if (!sleep) return step(true);
    leave();
    const tsan_ignore quiet;
    running_->seen_changes = changes_ - running_->own_changes;
  }
  /// Until ready() holds; recheck() says when it may.
  template <class Ready>
  void block_until(Ready ready) noexcept {
    step();
    for (;;) {
      {
        const tsan_ignore quiet;
        if (ready()) return;
        flow& f = *running_;
        f.now = flow::state::blocked;
        f.ready = [](void* p) { return (*static_cast<Ready*>(p))(); };
        f.argument = &ready;
        ready_ &= ~f.bit();
        blocked_ |= f.bit();
      }
      leave();
    }
  }
  [[nodiscard]] bool allocation_fails() {
    if (allocation_failures_ >= options_.allocation_failures || ask(decision_kind::fault, 2) == 0) return false;
    ++allocation_failures_;
    return true;
  }
  [[nodiscard]] std::uint32_t ask(decision_kind k, std::uint32_t n, bool free = false, std::span<const std::uint8_t> flows = {}) {
    if (n < 2 || stopping_) return 0;
    const std::uint64_t number = decisions_++;
    const std::uint32_t a = chooser_.choose({k, n, free, flows});
    if (a != 0) deviations_.push_back({number, a});
    return a;
  }

  // Deferred reclamation: see sim::rcu.

  static inline char grace_began{};  // stand for the edges of a grace period in ThreadSanitizer's eyes
  static inline char grace_ended{};

  void enter_guard() noexcept { grace_.enter(*running_); }
  void leave_guard() noexcept { recheck_ = grace_.leave(*running_) || recheck_; }
  void retire(retired& r, void (*fn)(retired*) noexcept) noexcept {
    grace_.retire(*running_, r, fn);
    recheck_ = true;
  }
  void synchronize() noexcept {
    grace_periods::period p;
    {
      const tsan_ignore quiet;
      p = grace_.begin(*running_);
    }
    block_until([this, &p] { return grace_.over(p.stamp); });
    const tsan_ignore quiet;
    grace_.end(*running_, p);
  }
  void drain() noexcept {
    const std::uint64_t count = grace_.retired_so_far();
    block_until([this, count] { return grace_.called_so_far() >= count; });
  }

 private:
  static constexpr nanoseconds first_patience{1'000};
  static constexpr unsigned most_fruitless = 200;

  void add(flow::kind what, std::string name, std::function<void()> work) {
    auto f = std::make_unique<flow>();
    f->what = what;
    f->name = std::move(name);
    f->work = std::move(work);
    f->index = static_cast<std::uint8_t>(flows_.size());
    flows_.push_back(std::move(f));
  }

  void start() {
    ++epoch_;
    views_ = 0;
    ready_ = waiting_ = blocked_ = 0;
    stopping_ = recheck_ = false;
    cpus_left_ = 0;
    fruitless_ = 0;
    patience_ = first_patience;
    interrupts_left_ = options_.interrupts;
    grace_.watch(flows_, weak() ? &memory_ : nullptr);
    if (weak()) memory_.start(options_.weak);
    for (const auto& f : flows_) {
      f->view = new_view(false);
      f->worker = crew::of_this_thread().take();
      if (f->worker == nullptr) note_failure("sim: no memory for a stack");
      if (f->what == flow::kind::reclaimer) {  // comes to life with the first retired object
        f->now = flow::state::blocked;
        f->ready = [](void* p) { return static_cast<trial*>(p)->reclaimer_due(); };
        f->argument = this;
        blocked_ |= f->bit();
        continue;
      }
      ready_ |= f->bit();
      cpus_left_ += f->what == flow::kind::cpu ? 1 : 0;
    }
    if (failed()) throw trial_failed{};
    for (const auto& f : flows_) f->worker->give([work = &f->work] { (*work)(); });
    stopping_ = cpus_left_ == 0;
    recheck_ = true;
    current_ = this;
  }

  void loop() {
    flow* next = nullptr;
    crew::worker* worker = nullptr;
    const auto to_next = [&] {
      const tsan_ignore quiet;
      if (next != nullptr && next->worker->idle() && next->now != flow::state::ended) ended(*next);
      next = failed() ? nullptr : wanted_ != nullptr ? wanted_ : pick_next();
      if (next == nullptr) return false;
      running_ = next;
      running_->chosen = true;
      wanted_ = nullptr;
      worker = next->worker.get();
      return true;
    };
    running_ = flows_.back().get();
    while (to_next()) worker->resume();
  }
  void ended(flow& f) {
    f.now = flow::state::ended;
    ready_ &= ~f.bit();
    recheck_ = true;
    if (f.what == flow::kind::cpu && --cpus_left_ == 0) {
      stopping_ = true;  // agents end after their turn, the reclaimer when nothing is left
      ready_ |= waiting_;
      for (const auto& g : flows_)
        if (g->now == flow::state::waiting) g->now = flow::state::ready;
      waiting_ = 0;
    }
  }

  /// Nobody runs: who is next? Null: all have ended, or the trial has failed.
  [[nodiscard]] flow* pick_next() {
    for (;;) {
      unblock();
      if (ready_ != 0) return flows_[choose_flow(running_->index, true)].get();
      if ((waiting_ | blocked_) == 0) return nullptr;
      if (waiting_ == 0) {
        note_failure("deadlock: every flow waits for another one");
        return nullptr;
      }
      pass_time();
      if (failed()) return nullptr;
    }
  }
  /// The flows that can go on, in cyclic order after `from`, which comes first if it can and need not give way.
  [[nodiscard]] unsigned choose_flow(unsigned from, bool free) {
    std::array<std::uint8_t, 32> list{};
    unsigned n = 0;
    if (!free) list[n++] = static_cast<std::uint8_t>(from);
    const auto count = static_cast<unsigned>(flows_.size());
    for (unsigned k = 1; k <= count; ++k) {
      const unsigned i = from + k < count ? from + k : from + k - count;
      if ((ready_ >> i & 1) != 0 && (free || i != from)) list[n++] = static_cast<std::uint8_t>(i);
    }
    return list[ask(decision_kind::flow, n, free, {list.data(), n})];
  }
  void unblock() noexcept {
    if (!recheck_) return;
    recheck_ = false;
    for (std::uint32_t m = blocked_; m != 0; m &= m - 1) {
      flow& f = *flows_[static_cast<unsigned>(std::countr_zero(m))];
      if (!f.ready(f.argument)) continue;
      f.now = flow::state::ready;
      blocked_ &= ~f.bit();
      ready_ |= f.bit();
    }
  }
  /// Everybody waits: until the first deadline, or a little longer than the last time.
  void pass_time() {
    if (++fruitless_ > most_fruitless) return note_failure("livelock: nothing changes, however long everybody waits");
    instant until = deadline::in(clock_, patience_).at;
    for (const auto& f : flows_)
      if (f->now == flow::state::waiting) until = std::min(until, std::max(f->wake, clock_));
    clock_ = until;
    patience_ = nanoseconds{std::min<std::uint64_t>(count(patience_) * 2, 1'000'000'000)};
    for (const auto& f : flows_)
      if (f->now == flow::state::waiting) f->now = flow::state::ready;
    ready_ |= waiting_;
    waiting_ = 0;
  }

  /// The running flow is about to make a step. Returns its worker if somebody else comes first.
  [[nodiscard]] crew::worker* decide(bool give_way) noexcept {
    clock_ = instant{since_epoch(clock_) + 1};
    if (++steps_ >= options_.step_limit) {
      note_failure("step limit: the flows go on and on");
      return running_->worker.get();
    }
    if (failed()) return running_->worker.get();
    if (recheck_) unblock();
    if (running_->chosen && !give_way) return nullptr;
    if ((ready_ & (ready_ - 1)) == 0) return nullptr;  // nobody else
    if (stopping_ && !give_way) return nullptr;
    const unsigned next = choose_flow(running_->index, give_way);
    if (next == running_->index) return nullptr;
    wanted_ = flows_[next].get();
    return running_->worker.get();
  }
  /// Back to loop(), which decides who goes on.
  void leave() noexcept {
    crew::worker* mine = nullptr;
    {
      const tsan_ignore quiet;
      mine = running_->worker.get();
    }
    mine->suspend();
  }
  void interrupts() noexcept {
    std::function<void()>* handler = nullptr;
    {
      const tsan_ignore quiet;
      flow& f = *running_;
      if (f.irqs_off != 0 || f.in_interrupt || interrupts_left_ == 0 || ask(decision_kind::interrupt, 2) == 0) return;
      --interrupts_left_;
      f.in_interrupt = true;
      if (log() != nullptr) log()->note(steps_, f.name, "-- interrupt");
      handler = &f.handler;
    }
    (*handler)();
    const tsan_ignore quiet;
    running_->in_interrupt = false;
    if (log() != nullptr) log()->note(steps_, running_->name, "-- end of interrupt");
  }

  [[nodiscard]] bool reclaimer_due() const noexcept { return grace_.due() || (stopping_ && grace_.empty()); }
  void reclaim() noexcept {
    for (;;) {
      block_until([this] { return reclaimer_due(); });
      retired* r = nullptr;
      {
        const tsan_ignore quiet;
        if (!grace_.due()) return;
        r = &grace_.take(*running_);
      }
      tsan_acquire(r);
      tsan_acquire(&grace_ended);
      r->callback(r);
      const tsan_ignore quiet;
      grace_.called();
      recheck_ = true;
    }
  }

  /// Kept for its memory; a trial starts it anew.
  [[nodiscard]] static history& memory_of_this_thread() {
    static thread_local history h;
    return h;
  }

  static inline thread_local constinit trial* current_ = nullptr;
  static inline thread_local constinit instant clock_{1};

  trial_options options_;
  chooser& chooser_;
  step_log* log_{};
  history& memory_{memory_of_this_thread()};
  flow_list flows_;
  std::vector<std::shared_ptr<void>> objects_;
  flow* running_{};
  flow* wanted_{};
  std::uint32_t ready_{};
  std::uint32_t waiting_{};
  std::uint32_t blocked_{};
  bool stopping_{};
  bool recheck_{};
  unsigned cpus_left_{};
  unsigned interrupts_left_{};
  unsigned allocation_failures_{};
  unsigned fruitless_{};
  nanoseconds patience_{first_patience};
  observer views_{};
  std::uint64_t epoch_{};
  std::uint64_t steps_{};
  std::uint64_t decisions_{};
  std::uint64_t changes_{};
  std::uint64_t forgotten_{};
  std::vector<deviation> deviations_;
  std::string failure_;
  grace_periods grace_{};
};

}  // namespace sim
SHOOTDOWN_END
