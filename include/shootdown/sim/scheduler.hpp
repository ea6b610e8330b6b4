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

/// What a trial is run by: its flows, which of them can go on, virtual time, and the questions to the chooser. The environment's
/// operations come here; a scenario sees trial only.
/// Context: the thread of the trial. Everything but step(), wait(), block_until(), synchronize() and drain() is inside of one step.
class scheduler {
 public:
  scheduler(const scheduler&) = delete;
  scheduler& operator=(const scheduler&) = delete;

  [[nodiscard]] bool failed() const noexcept { return !failure_.empty(); }
  [[nodiscard]] const std::string& failure() const noexcept { return failure_; }
  [[nodiscard]] std::uint64_t steps() const noexcept { return steps_; }
  [[nodiscard]] std::uint64_t decisions() const noexcept { return decisions_; }
  [[nodiscard]] const std::vector<deviation>& deviations() const noexcept { return deviations_; }
  [[nodiscard]] std::uint64_t forgotten() const noexcept { return forgotten_; }
  [[nodiscard]] const trial_options& options() const noexcept { return options_; }

  /// The first failure counts. Returns; the flow has to leave() for good.
  void note_failure(std::string_view what) noexcept {
    const tsan_ignore quiet;
    if (failure_.empty()) failure_ = what.empty() ? "failed" : what;
    if (log() != nullptr) log()->note(steps_, running_name(), failure_);
  }
  [[nodiscard]] flow& self() noexcept { return *running_; }
  [[nodiscard]] history& memory() noexcept { return memory_; }
  [[nodiscard]] bool weak() const noexcept { return options_.memory == memory_model::weak; }
  /// Virtual time: a nanosecond a step, and what waiting takes. Outside of a run it passes by pass().
  [[nodiscard]] static instant now() noexcept { return clock_; }
  /// False: it has passed so often that somebody must be waiting there for what nobody does.
  [[nodiscard]] static bool pass(nanoseconds d) noexcept {
    clock_ = deadline::in(clock_, d).at;
    return ++passed_ < most_passes;
  }
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
      bool stale = weak() && memory_.refresh(f.view);
      if (weak() && f.inside != max_observers) stale = memory_.refresh(f.inside) || stale;
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

 protected:
  scheduler(const trial_options& o, chooser& c, step_log* log) : options_{o}, chooser_{c}, log_{log} {
    clock_ = instant{1};
    passed_ = 0;
  }
  ~scheduler() = default;

  void add(flow::kind what, std::string name, std::function<void()> work) {
    auto f = std::make_unique<flow>();
    f->what = what;
    f->name = std::move(name);
    f->work = std::move(work);
    f->index = static_cast<std::uint8_t>(flows_.size());
    flows_.push_back(std::move(f));
  }

  void on_interrupt(unsigned cpu, std::function<void()> handler) { flows_.at(cpu)->handler = std::move(handler); }
  [[nodiscard]] std::string_view running_name() const noexcept { return running_ != nullptr ? std::string_view{running_->name} : "-"; }

  /// All flows, from their beginning to their end or a failure.
  void run() {
    add(flow::kind::reclaimer, "reclaimer", [this] { reclaim(); });
    if (start()) loop();
    for (const auto& f : flows_) crew::of_this_thread().give_back(std::move(f->worker));
    running_ = nullptr;
    flows_.clear();
    forgotten_ += memory_.forgotten();
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

 private:
  static constexpr nanoseconds first_patience{1'000};
  static constexpr unsigned most_fruitless = 200;
  static constexpr std::uint64_t most_passes = 10'000'000;

  [[nodiscard]] bool start() {
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
        f->ready = [](void* p) { return static_cast<scheduler*>(p)->reclaimer_due(); };
        f->argument = this;
        blocked_ |= f->bit();
        continue;
      }
      ready_ |= f->bit();
      cpus_left_ += f->what == flow::kind::cpu ? 1 : 0;
    }
    if (failed()) return false;
    for (const auto& f : flows_) f->worker->give([work = &f->work] { (*work)(); });
    stopping_ = cpus_left_ == 0;
    recheck_ = true;
    return true;
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

  static inline thread_local constinit instant clock_{1};
  static inline thread_local constinit std::uint64_t passed_ = 0;

  trial_options options_;
  chooser& chooser_;
  step_log* log_{};
  history& memory_{memory_of_this_thread()};
  flow_list flows_;
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
