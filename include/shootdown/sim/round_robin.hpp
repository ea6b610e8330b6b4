// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <numeric>
#include <utility>
#include <vector>

#include <shootdown/env/sanitizer.hpp>
#include <shootdown/env/time.hpp>
#include <shootdown/sim/fiber.hpp>

SHOOTDOWN_BEGIN
namespace sim {

/// How a run goes. The same options and tasks give the same run, switch by switch.
struct run_options {
  std::uint64_t seed{};                   ///< 0: strict round robin, a switch at every step. Else: each round in a permuted order
  unsigned burst{8};                      ///< with a seed: a fiber passes 1..burst switch points in one go
  std::uint64_t step_limit{2'000'000};    ///< switch points passed before the run is given up
  nanoseconds tick{1};                    ///< virtual time per switch point
  std::size_t stack_bytes{256u * 1024u};  ///< of each fiber; sanitizers need more than the code itself
  bool switches_order{};                  ///< ThreadSanitizer only: true hides races between tasks (tests with plain shared words)
};

/// How a run ended.
struct [[nodiscard]] run_report {
  std::size_t finished{};     ///< tasks that returned
  bool deadlocked{};          ///< every unfinished fiber waited for another one, or for an event without a deadline
  bool step_limit_reached{};  ///< somebody spun on
  bool no_memory{};           ///< a stack could not be had; nothing ran
  std::uint64_t steps{};      ///< switch points passed
  std::uint64_t switches{};   ///< fibers resumed
  instant begin{};            ///< virtual time
  instant end{};
  std::uint64_t callbacks{};          ///< retired objects whose callback ran
  std::uint64_t callbacks_pending{};  ///< and those abandoned with the run
  unsigned failures{};                ///< calls of fail()
  const char* first_failure{};        ///< text of the first
  std::uint64_t trace_hash{};         ///< of the sequence of fibers that ran: equal hashes, equal schedules
  /// Everything returned and nobody broke a contract.
  [[nodiscard]] bool ok() const noexcept { return !deadlocked && !step_limit_reached && !no_memory && failures == 0; }
};

namespace detail {

/// The scheduler's state is plain words of one thread in the machine, but of many in ThreadSanitizer's eyes, which must look
/// at the program under test and not at this. Rare places say so by an object of this type, never across a switch; the
/// functions of every step are left uninstrumented (SHOOTDOWN_UNSEEN), which is cheaper.
using bookkeeping = tsan_ignore;
#define SHOOTDOWN_UNSEEN __attribute__((noinline, no_sanitize("thread")))

struct retired {
  retired* next{};
  void (*callback)(retired*) noexcept {};
  std::uint64_t stamp{};  ///< guards with a smaller number existed at the retirement
};

/// One flow: a task, the reclaimer, or what is outside of a run.
struct flow {
  unsigned index{};
  std::unique_ptr<fiber> stack;
  fiber* self{};  ///< stack.get(), null outside of a run
  std::function<void()> work;
  unsigned guards{};             ///< nested
  std::uint64_t guard_number{};  ///< of the outermost
  bool (*ready)(void*){};        ///< what it waits for; null: it can run
  void* ready_argument{};
  instant wake{~std::uint64_t{0}};  ///< it can also run at this time
};

/// What a run, or the time between runs, is made of. One per thread is current.
struct world {
  std::vector<std::unique_ptr<flow>> flows;  ///< tasks, then the reclaimer; outside of a run: one without a stack
  flow* current{};
  bool stopping{};  ///< all tasks have returned
  run_options options{};
  run_report report{};
  std::uint64_t random{};
  unsigned slice{};  ///< switch points the current flow may still pass
  instant clock{};
  std::uint64_t writes{};  ///< events: stores and read-modify-writes so far
  std::uint64_t next_guard{1};
  retired* first{};
  retired* last{};
  std::uint64_t retired_count{};
  std::uint64_t called_count{};
  char gp_start{};  ///< as in host::rcu: stand-ins for grace periods in ThreadSanitizer's eyes
  char gp_end{};
  char gp_called{};

  /// The smallest number of a guard alive; larger than all when there is none.
  [[nodiscard]] std::uint64_t oldest_guard() const noexcept {
    std::uint64_t oldest = next_guard;
    for (const auto& f : flows)
      if (f->guards != 0) oldest = std::min(oldest, f->guard_number);
    return oldest;
  }
  [[nodiscard]] bool callback_due() const noexcept { return first != nullptr && first->stamp <= oldest_guard(); }
  [[nodiscard]] std::uint64_t draw() noexcept {  // splitmix64
    std::uint64_t z = random += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
};

inline world& between_runs() noexcept {
  static thread_local world w;
  if (w.flows.empty()) {
    w.flows.push_back(std::make_unique<flow>());
    w.current = w.flows.front().get();
  }
  return w;
}
inline thread_local constinit world* running_world = nullptr;
[[nodiscard]] inline world& here() noexcept { return running_world != nullptr ? *running_world : between_runs(); }

/// Runs the callbacks whose guards are gone. On the reclaimer, or outside of a run.
inline void call_due(world& w) noexcept {
  for (;;) {
    retired* r = nullptr;
    {
      const bookkeeping quiet;
      if (!w.callback_due()) return;
      r = w.first;
      w.first = r->next;
      if (w.first == nullptr) w.last = nullptr;
    }
    tsan_acquire(r);
    tsan_acquire(&w.gp_end);
    r->callback(r);
    tsan_release(&w.gp_called);
    const bookkeeping quiet;
    ++w.called_count;
    ++w.report.callbacks;
  }
}

/// One step of virtual time. Says which fiber has to suspend now, if any.
SHOOTDOWN_UNSEEN inline fiber* step(world& w, bool give_way) noexcept {
  ++w.report.steps;
  w.clock = instant{static_cast<std::uint64_t>(w.clock) + static_cast<std::uint64_t>(w.options.tick)};
  if (!give_way && w.slice > 1 && w.report.steps < w.options.step_limit) {
    --w.slice;
    return nullptr;
  }
  return w.current->self;
}
SHOOTDOWN_UNSEEN inline void note_write(world& w) noexcept { ++w.writes; }
SHOOTDOWN_UNSEEN inline flow* current_flow(const world& w) noexcept { return w.current; }

/// A place where another fiber may take over. `give_way`: it does if there is one.
inline void switch_point(bool give_way = false) noexcept {
  if (running_world == nullptr) return;
  if (fiber* const f = step(*running_world, give_way)) f->suspend();
}

/// Parks the current flow until `ready()` holds or `wake` has come.
template <class Ready>
void park(world& w, Ready& ready, instant wake) noexcept {
  {
    const bookkeeping quiet;
    w.current->ready = [](void* p) { return (*static_cast<Ready*>(p))(); };
    w.current->ready_argument = &ready;
    w.current->wake = wake;
  }
  current_flow(w)->self->suspend();
}

/// A switch point that waits until `ready()` or until `wake`; says whether it is ready. Outside of a run nobody could make it.
template <class Ready>
bool wait_until(Ready ready, instant wake = instant{~std::uint64_t{0}}) noexcept {
  if (running_world != nullptr) {
    world& w = *running_world;
    step(w, true);
    park(w, ready, wake);
  }
  const bookkeeping quiet;
  return ready();
}

inline void reclaim(world& w) noexcept {
  for (;;) {
    call_due(w);
    {
      const bookkeeping quiet;
      if (w.stopping && w.first == nullptr) return;
    }
    auto something = [&w] { return w.callback_due() || (w.stopping && w.first == nullptr); };
    park(w, something, deadline::never().at);  // no switch point: an idle reclaimer takes no time
  }
}

}  // namespace detail

/// The smallest deterministic scheduler: tasks as fibers of the calling thread, switched at the operations of
/// round_robin_env. A run ends by itself whatever the tasks do, as long as each of their loops contains such an operation:
/// when all have returned, when none can go on (deadlock), or at the step limit. In the last two cases the fibers are
/// abandoned and the objects on their stacks not destroyed.
///
/// Flow i is CPU i; one more, the reclaimer, runs the callbacks of retired objects as early as the guards allow.
/// Time is virtual: it moves by `tick` at each switch point, and jumps when everybody sleeps.
/// ThreadSanitizer takes the tasks for threads and reports their races (see fiber); words of the test itself that several
/// tasks share must be atomic, or options.switches_order set.
/// Context: a thread, not inside a run; runs on several threads do not see each other. Tasks must not let exceptions out.
struct round_robin {
  using task = std::function<void()>;

  static run_report run(std::vector<task> tasks, run_options options = {}) {
    detail::world w;
    detail::world& before = detail::between_runs();
    w.options = options;
    w.random = options.seed;
    w.clock = w.report.begin = before.clock;
    const std::size_t task_count = tasks.size();
    for (auto& t : tasks) add(w, std::move(t));
    add(w, [&w] { detail::reclaim(w); });
    for (const auto& f : w.flows) w.report.no_memory = w.report.no_memory || !f->stack->valid();
    if (!w.report.no_memory) {
      detail::running_world = &w;
      for (const auto& f : w.flows) tsan_release(f.get());  // what the caller did, to every fiber: pairs with enter()
      loop(w, task_count);
    }
    for (const auto& f : w.flows) f->stack.reset();  // the caller comes after all that the fibers did
    detail::running_world = nullptr;
    w.report.callbacks_pending = w.retired_count - w.called_count;
    before.clock = w.report.end = w.clock;
    return w.report;
  }

 private:
  static void add(detail::world& w, task work) {
    auto f = std::make_unique<detail::flow>();
    f->index = static_cast<unsigned>(w.flows.size());
    f->work = std::move(work);
    const auto switching = w.options.switches_order ? fiber::switching::orders : fiber::switching::orders_nothing;
    f->stack = std::make_unique<fiber>(w.options.stack_bytes, &enter, f.get(), switching);
    f->self = f->stack.get();
    w.flows.push_back(std::move(f));
  }
  static void enter(void* p) noexcept {
    tsan_acquire(p);
    static_cast<detail::flow*>(p)->work();
  }
  static void loop(detail::world& w, std::size_t task_count) {
    std::vector<std::size_t> order(w.flows.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    for (;;) {
      if (w.options.seed != 0)
        for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[w.draw() % i]);
      bool progress = false;
      for (const std::size_t i : order) {
        detail::flow& f = *w.flows[i];
        if (!can_run(w, f)) continue;
        progress = true;
        resume(w, f);
        if (i < task_count && f.stack->done()) ++w.report.finished;
        if (w.report.steps >= w.options.step_limit) {
          w.report.step_limit_reached = w.report.finished != task_count || w.first != nullptr;
          if (w.report.step_limit_reached) return;
        }
      }
      w.stopping = w.report.finished == task_count;
      if (w.stopping && w.flows[task_count]->stack->done()) return;
      if (progress || sleep(w)) continue;
      w.report.deadlocked = true;
      return;
    }
  }
  static bool can_run(const detail::world& w, const detail::flow& f) {
    if (f.stack->done()) return false;
    if (f.ready == nullptr || since_epoch(w.clock) >= since_epoch(f.wake)) return true;
    const detail::bookkeeping quiet;  // ready() reads words of the waiter and of the environment
    return f.ready(f.ready_argument);
  }
  static void resume(detail::world& w, detail::flow& f) {
    f.ready = nullptr;
    f.wake = deadline::never().at;
    w.current = &f;
    w.slice = w.options.seed == 0 ? 1 : 1 + static_cast<unsigned>(w.draw() % std::max(1u, w.options.burst));
    ++w.report.switches;
    w.report.trace_hash = (w.report.trace_hash ^ (f.index + 1)) * 0x100000001b3u;
    f.stack->resume();
  }
  /// Nobody can run: time passes until the first sleeper wakes. False when none will.
  static bool sleep(detail::world& w) {
    instant first = deadline::never().at;
    for (const auto& f : w.flows)
      if (!f->stack->done() && since_epoch(f->wake) < since_epoch(first)) first = f->wake;
    if (first == deadline::never().at) return false;
    w.clock = first;
    return true;
  }
};

}  // namespace sim
SHOOTDOWN_END

#undef SHOOTDOWN_UNSEEN
