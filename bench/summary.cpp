// SPDX-License-Identifier: MIT
#include "summary.hpp"

#include <absl/strings/str_format.h>
#include <absl/strings/str_split.h>

#include <algorithm>
#include <ostream>
#include <tuple>
#include <utility>

namespace shootdown::bench {
namespace {

/// 1234567 -> "1.23 M".
std::string human(double v) {
  if (v >= 1e6) return absl::StrFormat("%.2f M", v / 1e6);
  if (v >= 1e4) return absl::StrFormat("%.1f k", v / 1e3);
  return absl::StrFormat("%.0f", v);
}

std::string human_ns(double v) {
  if (v >= 1e6) return absl::StrFormat("%.2f ms", v / 1e6);
  if (v >= 1e4) return absl::StrFormat("%.1f us", v / 1e3);
  return absl::StrFormat("%.0f ns", v);
}

double get(const std::map<std::string, double>& m, const char* key) {
  const auto it = m.find(key);
  return it == m.end() ? 0.0 : it->second;
}

}  // namespace

bool summary_reporter::ReportContext(const Context& context) {
  GetOutputStream() << absl::StrFormat("%d CPUs at %.0f MHz; wall-clock figures are a sanity check, the counts are the evidence\n",
                                       context.cpu_info.num_cpus, context.cpu_info.cycles_per_second / 1e6);
  return true;
}

void summary_reporter::ReportRuns(const std::vector<Run>& runs) {
  for (const Run& run : runs) {
    if (run.error_occurred) {
      failed_ = true;
      GetErrorStream() << "\n" << run.benchmark_name() << ": " << run.error_message << "\n";
      continue;
    }
    if (run.run_type == Run::RT_Iteration) {
      const auto leaks = run.counters.find("leaks");
      if (leaks != run.counters.end()) leaks_ += leaks->second.value;
    }
    const bool shown =
        repetitions_ > 1 ? run.run_type == Run::RT_Aggregate && run.aggregate_name == "median" : run.run_type == Run::RT_Iteration;
    if (!shown) continue;
    const std::vector<std::string> parts = absl::StrSplit(run.run_name.function_name, '/');
    if (parts.size() < 5) continue;
    row r{parts[2], parts[3], parts[4], {}, 0.0};
    for (const auto& [key, counter] : run.counters) r.counters[key] = counter.value;
    r.unmaps_per_second = get(r.counters, "unmaps_per_second");
    rows_[parts[1]].push_back(std::move(r));
  }
}

/// By policy, then domains, then strategy, so that what is to be compared stands together; random interleaving finishes the
/// cases in any order.
std::vector<summary_reporter::row> summary_reporter::in_order(std::vector<row> rows) {
  const auto place = [](const row& r) {
    const auto of = [](const auto& all, const std::string& n) {
      std::size_t i = 0;
      for (const auto kind : all) {
        if (n == name(kind)) break;
        ++i;
      }
      return i;
    };
    return std::tuple{of(all_policies, r.policy), of(all_sharings, r.domains), of(all_strategies, r.strategy)};
  };
  std::sort(rows.begin(), rows.end(), [&](const row& a, const row& b) { return place(a) < place(b); });
  return rows;
}

void summary_reporter::print(const std::vector<workload>& workloads) const {
  std::ostream& out = GetOutputStream();
  for (const workload& w : workloads) {
    const auto found = rows_.find(w.name);
    if (found == rows_.end()) continue;
    const std::vector<row> rows = in_order(found->second);
    out << absl::StrFormat("\n%s: %d unmaps a pass and thread\n", w.name, w.unmaps->size());
    out << absl::StrFormat("  %-10s%-10s%-9s%10s%10s%10s%8s%8s%8s%8s%8s%9s%9s%7s\n", "strategy", "policy", "domains", "unmaps/s", "p50",
                           "p99", "cmds", "SYNCs", "bells", "RMWs", "failCAS", "over pg", "mapflush", "leaks");
    for (const row& r : rows) {
      const auto& c = r.counters;
      out << absl::StrFormat("  %-10s%-10s%-9s%10s%10s%10s%8.3f%8.3f%8.3f%8.2f%8.3f%9.3f%9.3f%7.0f\n", r.strategy, r.policy, r.domains,
                             human(r.unmaps_per_second), human_ns(get(c, "p50_ns")), human_ns(get(c, "p99_ns")), get(c, "commands"),
                             get(c, "syncs"), get(c, "doorbells"), get(c, "shared_rmw"), get(c, "failed_cas"), get(c, "over_pages"),
                             get(c, "map_flushes"), get(c, "leaks"));
    }
    if (w.recorded) print_recorded(w);
  }
  out << "\nper unmap: commands with SYNCs, SYNCs, doorbells, shared read-modify-writes and failed compare-exchanges of the invalidation,\n"
         "pages invalidated beyond those asked for, flushes at map time. p50 and p99: unmap to table release, device work included.\n";
}

void summary_reporter::print_recorded(const workload& w) const {
  std::ostream& out = GetOutputStream();
  const recorded_totals all = sum_recorded(*w.unmaps, 1);
  const recorded_totals large = sum_recorded(*w.unmaps, large_unmap_pages);
  out << absl::StrFormat("\n  one pass of %d unmaps, %d of them of %d pages or more:%15s%22s\n", all.unmaps, large.unmaps,
                         large_unmap_pages, "TLBI + SYNC", "of these large");
  const auto line = [&](const std::string& what, double t, double s, double lt, double ls) {
    out << absl::StrFormat("    %-52s%12.0f + %-8.0f%10.0f + %-6.0f\n", what, t, s, lt, ls);
  };
  const auto d = [](std::uint64_t v) { return static_cast<double>(v); };
  if (all.tlbi != 0) {
    line("recorded driver", d(all.tlbi), d(all.sync), d(large.tlbi), d(large.sync));
    line("recorded driver, map-time flushes left out", d(all.tlbi - all.map_time), d(all.sync - all.map_time),
         d(large.tlbi - large.map_time), d(large.sync - large.map_time));
  }
  for (const row& r : in_order(rows_.at(w.name))) {
    if (r.domains != "private") continue;
    line("shootdown, " + r.strategy + ", " + r.policy, get(r.counters, "pass_tlbi"), get(r.counters, "pass_sync"),
         get(r.counters, "pass_large_tlbi"), get(r.counters, "pass_large_sync"));
  }
}

}  // namespace shootdown::bench
