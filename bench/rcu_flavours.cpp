// SPDX-License-Identifier: MIT
#include "rcu_flavours.hpp"

#include <absl/strings/str_format.h>
#include <absl/strings/str_split.h>

#include <atomic>
#include <cstdint>
#include <ostream>
#include <regex>
#include <string>
#include <vector>

#include <shootdown/host/env.hpp>

namespace shootdown::bench {
namespace {

struct operation {
  const char* name;
  const char* what;
};
// One thread, nobody else reads: what the operation itself costs.
constexpr operation library{"library", "liburcu's own lock and unlock, without the contract checks of host::rcu"};
constexpr operation lock{"lock", "a guard made and destroyed"};
constexpr operation read{"read", "the same with a dereference and a load through the pointer in between"};
constexpr operation read_report{"read_quiescent", "the same and a report: what an operation of a qsbr thread costs"};
constexpr operation quiescent{"quiescent", "a report when no updater waits"};
constexpr operation synchronize{"synchronize", "a grace period without readers"};
constexpr operation all_operations[] = {library, lock, read, read_report, quiescent, synchronize};
constexpr const char* all_flavours[] = {host::flavour::memb::name, host::flavour::mb::name, host::flavour::bp::name,
                                        host::flavour::qsbr::name};

/// What a reader looks at. The pointer is published once: the cost of a miss is not the flavour's.
template <class Rcu>
struct published {
  std::uint64_t value{1};
  host::env::atomic<std::uint64_t*> slot{};
  published() { Rcu::publish(slot, &value); }

  void look() const {
    const typename Rcu::guard g;
    std::uint64_t* const p = Rcu::dereference(slot);
    benchmark::DoNotOptimize(*p);
  }
};

template <class Rcu, class F>
void add(const operation& o, const std::regex& filter, bool quick, std::size_t& count, F body) {
  const std::string name = std::string("BM_rcu/") + Rcu::flavour::name + "/" + o.name;
  if (!std::regex_search(name, filter)) return;
  ++count;
  benchmark::RegisterBenchmark(name.c_str(),
                               [body](benchmark::State& state) {
                                 const typename Rcu::thread_scope registered;
                                 const published<Rcu> shared;
                                 for (auto _ : state) {
                                   body(shared);
                                   benchmark::ClobberMemory();
                                 }
                               })
      ->MinTime(quick ? 0.01 : 0.05)
      ->Unit(benchmark::kNanosecond);
}

template <class Rcu>
void add_all(const std::regex& filter, bool quick, std::size_t& count) {
  using flavour = typename Rcu::flavour;
  using shared = const published<Rcu>&;
  add<Rcu>(library, filter, quick, count, [](shared) {
    flavour::read_lock();
    benchmark::ClobberMemory();
    flavour::read_unlock();
  });
  add<Rcu>(lock, filter, quick, count, [](shared) {
    const typename Rcu::guard g;
    benchmark::ClobberMemory();
  });
  add<Rcu>(read, filter, quick, count, [](shared s) { s.look(); });
  add<Rcu>(read_report, filter, quick, count, [](shared s) {
    s.look();
    Rcu::quiescent();
  });
  add<Rcu>(quiescent, filter, quick, count, [](shared) { Rcu::quiescent(); });
  add<Rcu>(synchronize, filter, quick, count, [](shared) { Rcu::synchronize(); });
}

}  // namespace

std::size_t register_rcu_flavours(const std::string& filter, bool quick) {
  std::size_t count = 0;
  if (filter.find("rcu") == std::string::npos) return count;
  const std::regex matching{filter};
  add_all<host::memb_rcu>(matching, quick, count);
  add_all<host::mb_rcu>(matching, quick, count);
  add_all<host::bp_rcu>(matching, quick, count);
  add_all<host::qsbr_rcu>(matching, quick, count);
  return count;
}

void rcu_summary_reporter::ReportRuns(const std::vector<Run>& runs) {
  for (const Run& run : runs) {
    const std::vector<std::string> parts = absl::StrSplit(run.run_name.function_name, '/');
    if (parts.size() < 3 || parts[0] != "BM_rcu" || run.error_occurred) continue;
    const bool shown =
        repetitions_ > 1 ? run.run_type == Run::RT_Aggregate && run.aggregate_name == "median" : run.run_type == Run::RT_Iteration;
    if (shown) ns_[parts[1]][parts[2]] = run.GetAdjustedCPUTime();
  }
  summary_reporter::ReportRuns(runs);
}

void rcu_summary_reporter::print_rcu() const {
  if (ns_.empty()) return;
  std::ostream& out = GetOutputStream();
  out << absl::StrFormat("\nliburcu's flavours, ns of CPU time, one thread\n  %-8s", "flavour");
  for (const operation& o : all_operations) out << absl::StrFormat("%16s", o.name);
  out << "\n";
  for (const char* flavour : all_flavours) {
    const auto ran = ns_.find(flavour);
    if (ran == ns_.end()) continue;
    out << absl::StrFormat("  %-8s", flavour);
    for (const operation& o : all_operations) {
      const auto found = ran->second.find(o.name);
      out << (found == ran->second.end() ? absl::StrFormat("%16s", "-") : absl::StrFormat("%16.2f", found->second));
    }
    out << "\n";
  }
  for (const operation& o : all_operations) out << absl::StrFormat("  %-16s%s\n", o.name, o.what);
}

}  // namespace shootdown::bench
