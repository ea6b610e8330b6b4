// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include <shootdown/arch/cmd_tlbi.hpp>
#include <shootdown/queue/command_queue.hpp>
#include <shootdown/sim/timed_device.hpp>

namespace shootdown::bench {

/// A closed loop on the reference machine: every CPU thinks, submits one TLBI and its SYNC, waits for the SYNC, and begins
/// again.
struct loop_case {
  unsigned cpus{1};
  std::uint64_t think{sim::reference_machine::think};                ///< mean
  std::uint64_t think_spread{sim::reference_machine::think_spread};  ///< +-
  std::uint64_t sync{sim::reference_machine::sync_middle};
  bool sync_stalls{true};
  std::uint32_t preempted_in_1000{};
  queue::completion_mode completion{queue::completion_mode::msi};
  sim::line_arbitration arbitration{sim::fitted_arbitration};
  std::uint32_t operations{4000};         ///< to measure, of all CPUs; some more come before them to warm up
  std::uint64_t event_budget{6'000'000};  ///< beyond it the loop ends as soon as it has measured a few
  unsigned log2size{12};
  std::uint64_t seed{1};
  nanoseconds time_limit{60'000'000'000};  ///< of virtual time; then the run has failed
};

struct loop_result {
  double per_second{};  ///< of all CPUs
  std::uint64_t measured{};
  std::uint64_t p50{};  ///< submit to return of wait, ns
  std::uint64_t p99{};
  std::uint64_t worst{};
  double rmw{};           ///< shared read-modify-writes per operation
  double attempts{};      ///< compare-exchanges and adds that were tried per reservation: 1 + failed ones
  double doorbells{};     ///< per operation
  double busiest_line{};  ///< share of the time that the line which moved most was on its way; near 1: the bottleneck
  std::uint64_t events{};
  std::uint64_t preemptions{};
  const char* failure{};  ///< null: every operation was complete when its wait returned, and nothing was violated
};

namespace detail {

/// Numbers for a CPU of its own.
class dice {
 public:
  dice(std::uint64_t seed, unsigned cpu) noexcept : state_{seed * 0x2545f4914f6cdd1du + cpu} {}
  /// 0 .. bound - 1
  std::uint64_t operator()(std::uint64_t bound) noexcept {
    std::uint64_t z = state_ += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (z ^ (z >> 31)) % bound;
  }

 private:
  std::uint64_t state_;
};

}  // namespace detail

template <class Strategy>
[[nodiscard]] loop_result closed_loop(const loop_case& c) {
  using env = sim::timed_env;
  using queue_type = queue::command_queue<env, sim::timed_device, Strategy>;
  struct alignas(cache_line) place {
    explicit place(sim::timed_device& d) : commands{d} {}
    queue_type commands;
  };

  sim::timed_device device{{c.sync, c.sync_stalls}};
  const auto owned = std::make_unique<place>(device);
  queue_type& commands = owned->commands;
  const std::size_t bytes = std::size_t{command_bytes} << c.log2size;
  queue::queue_config<env> config{};
  config.ring = device.allocate_dma(bytes, bytes);
  config.log2size = c.log2size;
  config.prod_offset = sim::timed_device::prod_offset;
  config.cons_offset = sim::timed_device::cons_offset;
  config.completion = c.completion;
  config.msi_word = device.allocate_dma(sizeof(env::dma_word), cache_line);
  device.attach(config.ring, c.log2size);
  loop_result out{};
  if (!commands.configure(config).ok()) {
    out.failure = "the queue refused its configuration";
    return out;
  }

  const std::uint64_t warm_up = std::uint64_t{c.cpus} + 100, enough = warm_up + c.operations, few = 200;
  std::uint64_t done = 0, began = 0, ended = 0;
  bool early = false, refused = false, stop = false;
  std::vector<std::uint64_t> latencies;
  latencies.reserve(c.operations);
  const command tlbi = cmd::tlbi_nh_va{}.encode();
  std::vector<sim::timed_run::task> tasks;
  for (unsigned cpu = 0; cpu != c.cpus; ++cpu) {
    tasks.push_back([&, cpu] {
      detail::dice dice{c.seed, cpu};
      const auto spend = [&](std::uint64_t ns) { sim::timed_run::spend(ns); };
      spend(dice(c.think + c.think_spread + 1));
      while (!stop) {
        spend(c.think - c.think_spread + dice(2 * c.think_spread + 1));
        const std::uint64_t from = since_epoch(env::now());
        const array_list list{&tlbi, 1};
        result<ticket> t = commands.submit(list, deadline::never());
        if (!t.ok()) {
          refused = true;
          return;
        }
        if (!commands.wait(*t, deadline::never()).ok()) refused = true;
        early = early || device.completed() < value(t->end);
        const std::uint64_t to = since_epoch(env::now());
        ++done;
        if (done == warm_up) began = to;
        if (done > warm_up && !stop) {
          latencies.push_back(to - from);
          ended = to;
        }
        stop = stop || done == enough || (latencies.size() >= few && sim::timed_run::events() > c.event_budget);
      }
    });
  }

  sim::timed_options options{};
  options.seed = c.seed;
  options.arbitration = c.arbitration;
  options.preempted_in_1000 = c.preempted_in_1000;
  options.time_limit = c.time_limit;
  sim::timed_run run{options};
  run.watch(device.watcher());
  const sim::timed_report r = run(std::move(tasks));

  out.failure = r.deadlocked                   ? "deadlock"
                : r.time_limit_reached         ? "time limit"
                : r.no_memory                  ? "no memory"
                : r.failures != 0              ? r.first_failure
                : early                        ? "a wait returned before its SYNC was complete"
                : refused                      ? "a submission or wait failed"
                : !commands.check_invariants() ? "the queue's invariants do not hold"
                                               : nullptr;
  if (out.failure != nullptr) return out;
  std::sort(latencies.begin(), latencies.end());
  const auto at = [&latencies](std::size_t thousandths) { return latencies[(latencies.size() - 1) * thousandths / 1000]; };
  out.measured = latencies.size();
  out.per_second = 1e9 * static_cast<double>(out.measured) / static_cast<double>(ended - began);
  out.p50 = at(500);
  out.p99 = at(990);
  out.worst = latencies.back();
  const auto all = static_cast<double>(done);
  out.rmw = static_cast<double>(r.count(counter::shared_rmw)) / all;
  out.attempts = 1 + static_cast<double>(r.count(counter::failed_cas)) / all;
  out.doorbells = static_cast<double>(r.count(counter::doorbells)) / all;
  out.busiest_line = static_cast<double>(r.most_travelled) / static_cast<double>(since_epoch(r.end));
  out.events = r.events;
  out.preemptions = r.preemptions;
  return out;
}

}  // namespace shootdown::bench
