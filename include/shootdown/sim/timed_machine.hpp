// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include <shootdown/env/stats.hpp>
#include <shootdown/env/time.hpp>
#include <shootdown/sim/cell.hpp>
#include <shootdown/sim/timed_lines.hpp>

SHOOTDOWN_BEGIN
namespace sim {

struct timed_options {
  std::uint64_t seed{1};
  line_arbitration arbitration{fitted_arbitration};
  nanoseconds time_limit{20'000'000'000};  ///< of virtual time
  std::uint32_t preempted_in_1000{};       ///< reservations during which the hypervisor takes the CPU away
  nanoseconds preempted_for{1'000'000};
  std::size_t stack_bytes{128u * 1024u};  ///< of each CPU; sanitizers need more than the code itself
};

/// How a run ended.
struct [[nodiscard]] timed_report {
  bool deadlocked{};          ///< every CPU that had not returned waited for something that nobody would do
  bool time_limit_reached{};  ///< somebody polled on
  bool no_memory{};           ///< a stack could not be had; nothing ran
  unsigned failures{};        ///< contracts violated: Env::fail, and what the device saw
  const char* first_failure{};
  instant end{};  ///< virtual time from the start of the run
  std::uint64_t events{};
  std::uint64_t preemptions{};
  std::uint64_t most_travelled{};  ///< ns that the busiest line was on its way
  std::array<std::uint64_t, static_cast<std::size_t>(counter::count_)> counts{};

  [[nodiscard]] bool ok() const noexcept { return !deadlocked && !time_limit_reached && !no_memory && failures == 0; }
  [[nodiscard]] std::uint64_t count(counter c) const noexcept { return counts[static_cast<std::size_t>(c)]; }
};

/// Somebody who wants to know of stores to device words: a device that checks what it is given.
struct timed_watcher {
  void (*stored)(void* self, const void* address) noexcept {};
  void* self{};
};

namespace detail {

struct timed_retired {
  timed_retired* next{};
  void (*callback)(timed_retired*) noexcept {};
  std::uint64_t stamp{};  ///< guards with a smaller number existed at the retirement
};

/// What a run is made of. One per thread is current; without one, operations act at once and cost nothing.
struct timed_machine {
  explicit timed_machine(const timed_options& o) noexcept : options{o}, scheduler{o.seed}, lines{scheduler, o.arbitration} {}

  timed_options options;
  timed_scheduler scheduler;
  timed_lines lines;
  timed_report report{};
  std::vector<timed_watcher> watchers;

  std::uint64_t next_guard{1};
  timed_retired* first_retired{};
  timed_retired* last_retired{};
  std::uint64_t retired_count{};
  std::uint64_t called_count{};

  void count(counter c, std::uint64_t n) noexcept { report.counts[static_cast<std::size_t>(c)] += n; }
  void fail(const char* text) noexcept {
    if (report.failures++ == 0) report.first_failure = text;
  }

  [[nodiscard]] std::uint64_t oldest_guard() const noexcept {
    std::uint64_t oldest = next_guard;
    for (std::size_t i = 0; i != scheduler.count(); ++i)
      if (scheduler.cpu(i).guards != 0) oldest = std::min(oldest, scheduler.cpu(i).guard_number);
    return oldest;
  }
  /// Retired objects whose guards are gone: called between events, as if by a CPU that nobody waits for.
  void call_due() noexcept {
    while (first_retired != nullptr && first_retired->stamp <= oldest_guard()) {
      timed_retired* const r = first_retired;
      first_retired = r->next;
      if (first_retired == nullptr) last_retired = nullptr;
      r->callback(r);
      ++called_count;
    }
    if (first_retired == nullptr) scheduler.set_after(nullptr, nullptr);
  }
  void retire(timed_retired& r, void (*callback)(timed_retired*) noexcept) noexcept {
    r = timed_retired{nullptr, callback, next_guard};
    (first_retired == nullptr ? first_retired : last_retired->next) = &r;
    last_retired = &r;
    ++retired_count;
    scheduler.set_after([](void* self, std::uint64_t) noexcept { static_cast<timed_machine*>(self)->call_due(); }, this);
  }
};

inline thread_local constinit timed_machine* timed_now = nullptr;

/// The run of this thread if one of its CPUs is executing, else null.
[[nodiscard]] inline timed_machine* timed_running() noexcept {
  timed_machine* const m = timed_now;
  return m != nullptr && m->scheduler.current() != nullptr ? m : nullptr;
}

}  // namespace detail

/// The `world` of virtual time: what an operation on a cell costs (reference_machine, timed_lines) on the virtual CPU that
/// executes it. Memory is sequentially consistent: an operation takes effect at one moment, for all at once.
///
/// Between runs, and in callbacks of retired objects, operations cost nothing: that is how worlds are built and inspected.
struct timed_world {
  static void born(cell) noexcept {}

  static std::uint64_t load(cell c, std::memory_order, const where&) noexcept {
    if (auto* const m = detail::timed_running()) m->lines.access(c.at, false, reference_machine::hit);
    return c.get();
  }
  static void store(cell c, std::uint64_t v, std::memory_order, const where&) noexcept {
    if (auto* const m = detail::timed_running()) {
      if (c.device_word) lose_cpu(*m);
      m->lines.access(c.at, true, reference_machine::hit);
      if (c.device_word)
        for (const timed_watcher& w : m->watchers) w.stored(w.self, c.at);
    }
    c.put(v);
  }
  static std::uint64_t modify(cell c, modification how, std::uint64_t operand, std::memory_order, const where&) noexcept {
    if (auto* const m = detail::timed_running()) {
      m->lines.access(c.at, true, reference_machine::local_rmw);
      m->count(counter::shared_rmw, 1);
    }
    const std::uint64_t old = c.get();
    c.put(modified(how, old, operand, c.size));
    return old;
  }
  static bool compare_exchange(cell c, std::uint64_t& expected, std::uint64_t desired, std::memory_order, std::memory_order, bool,
                               const where&) noexcept {
    auto* const m = detail::timed_running();
    if (m != nullptr) {
      m->lines.access(c.at, true, reference_machine::local_rmw);
      m->count(counter::shared_rmw, 1);
    }
    const std::uint64_t old = c.get();
    if (old == expected) {
      c.put(desired);
      return true;
    }
    if (m != nullptr) m->count(counter::failed_cas, 1);
    expected = old;
    return false;
  }

 private:
  /// A CPU with interrupts off that writes memory for the device holds a reservation in every strategy: the worst moment.
  static void lose_cpu(detail::timed_machine& m) noexcept {
    timed_cpu& c = *m.scheduler.current();
    if (!c.doomed) return;
    c.doomed = false;
    ++m.report.preemptions;
    m.scheduler.sleep_until(c.clock + shootdown::count(m.options.preempted_for));
  }
};
static_assert(world<timed_world>);

/// Runs tasks on virtual CPUs, one each, up to 256. One object, one run.
///
///   timed_run run{options};
///   run.watch(device.watcher());
///   const timed_report r = run({task0, task1, ...});
///
/// A run ends by itself whatever the tasks do, as long as their loops contain operations of the environment: when all have
/// returned, when none ever will (deadlock), or at the limit of virtual time. In the last two cases the fibers are abandoned
/// and the objects on their stacks not destroyed. Tasks must not let exceptions out.
/// Context: a thread, not inside a run. Cost: 0.1 to 0.3 us per operation that another CPU can notice.
class timed_run {
 public:
  using task = std::function<void()>;

  explicit timed_run(const timed_options& o = {}) : machine_{o} {}
  timed_run(const timed_run&) = delete;
  timed_run& operator=(const timed_run&) = delete;

  void watch(timed_watcher w) { machine_.watchers.push_back(w); }

  /// The calling virtual CPU computes for `ns`, on its own.
  static void spend(std::uint64_t ns) noexcept {
    if (auto* const m = detail::timed_running()) m->scheduler.current()->clock += ns;
  }
  /// Events of the run so far, for tasks with a budget. Deterministic, as everything is.
  [[nodiscard]] static std::uint64_t events() noexcept {
    auto* const m = detail::timed_running();
    return m == nullptr ? 0 : m->scheduler.events();
  }

  timed_report operator()(std::vector<task> tasks) {
    timed_report& r = machine_.report;
    if (machine_.scheduler.count() != 0) machine_.fail("timed_run: used twice");
    if (tasks.size() > cpu_set::most_cpus) machine_.fail("timed_run: more than 256 CPUs");
    if (r.failures != 0) return r;
    for (task& t : tasks) r.no_memory = !machine_.scheduler.add(std::move(t), machine_.options.stack_bytes) || r.no_memory;
    if (!r.no_memory) {
      detail::timed_now = &machine_;
      using ending = timed_scheduler::ending;
      const ending how = machine_.scheduler.run(shootdown::count(machine_.options.time_limit));
      r.deadlocked = how == ending::nobody_can_run;
      r.time_limit_reached = how == ending::time_limit;
      if (how == ending::all_returned) machine_.call_due();
      detail::timed_now = nullptr;
    }
    r.end = instant{machine_.scheduler.end()};
    r.events = machine_.scheduler.events();
    r.most_travelled = machine_.lines.most_travelled();
    return r;
  }

 private:
  detail::timed_machine machine_;
};

}  // namespace sim
SHOOTDOWN_END
