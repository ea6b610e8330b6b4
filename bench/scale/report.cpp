// SPDX-License-Identifier: MIT
#include <absl/strings/str_cat.h>
#include <absl/strings/str_format.h>
#include <absl/strings/str_join.h>

#include <string>
#include <vector>

#include "strategies.hpp"
#include "sweep.hpp"

namespace shootdown::bench {
namespace {

std::string percent(double measured, double wanted) { return absl::StrFormat("%+.0f %%", 100 * (measured / wanted - 1)); }

std::string duration(std::uint64_t ns) {
  if (ns >= 10'000'000) return absl::StrFormat("%.1f ms", static_cast<double>(ns) / 1e6);
  if (ns >= 10'000) return absl::StrFormat("%.1f us", static_cast<double>(ns) / 1e3);
  return absl::StrFormat("%d ns", ns);
}

std::string rate(double per_second) {
  return per_second >= 1e6 ? absl::StrFormat("%.2f M", per_second / 1e6) : absl::StrFormat("%.1f k", per_second / 1e3);
}

/// The strategies that were run, in order.
std::vector<std::string_view> ran(const findings& f) {
  std::vector<std::string_view> names;
  for (const strategy& s : strategies())
    for (const point& p : f.points)
      if (p.strategy == s.name) {
        names.push_back(s.name);
        break;
      }
  return names;
}
std::vector<unsigned> cpus_of(const findings& f) {
  std::vector<unsigned> counts;
  for (const point& p : f.points)
    if (counts.empty() || counts.back() < p.cpus) counts.push_back(p.cpus);
  return counts;
}

}  // namespace

std::string calibration_text(const findings& f) {
  std::string t = absl::StrFormat(
      "Calibration: map+unmap per second and CPU, thousands. Line model: oldest_first %d, distance %d, crowding %d (thousandths);\n"
      "work %d ns besides the invalidation. Fitted to the compare-exchange column only.\n"
      "  CPUs | CAS published    fitted   error | add published predicted   error\n",
      committed.arbitration.oldest_first, committed.arbitration.distance, committed.arbitration.crowding, committed.work);
  for (std::size_t i = 0; i != published.size(); ++i)
    absl::StrAppendFormat(&t, "  %4d | %13.0f %9.1f %7s | %13.0f %9.1f %7s\n", published[i].cpus, published[i].cas, f.cas.kilo_per_cpu[i],
                          percent(f.cas.kilo_per_cpu[i], published[i].cas), published[i].add, f.add.kilo_per_cpu[i],
                          percent(f.add.kilo_per_cpu[i], published[i].add));
  absl::StrAppendFormat(&t, "  %4d | %13.1f %9.1f %7s | %13.1f %9.1f %7s   both predicted (another day's table)\n", unfitted.cpus,
                        unfitted.cas, f.cas_unfitted, percent(f.cas_unfitted, unfitted.cas), unfitted.add, f.add_unfitted,
                        percent(f.add_unfitted, unfitted.add));
  absl::StrAppendFormat(
      &t,
      "  compare-exchanges per success at 64 CPUs: published about %.0f, fitted %.1f. Misfit %.4f.\n"
      "  A plain FIFO line of 60 ns would have %.1f attempts and %s thousand.\n",
      published_attempts, f.cas.attempts, misfit(f.cas), f.cas_fifo.attempts,
      absl::StrJoin(f.cas_fifo.kilo_per_cpu, " / ", [](std::string* out, double k) { absl::StrAppendFormat(out, "%.1f", k); }));
  return t;
}

std::string queueing_text(const findings& f) {
  std::string t =
      "Queueing model \"one SYNC per caller\" (one 60 ns line, combining doorbells) beside owner_add on 60 ns lines:\n"
      "  SYNC  CPUs | model M/s  here M/s   error | model p99   here p99\n";
  for (const queueing_point& q : f.queueing) {
    const std::string p99 = q.model.p99_us > 0 ? absl::StrFormat("%.1f us", q.model.p99_us) : "-";
    absl::StrAppendFormat(&t, "  %4d  %4d | %9.2f %9.2f %7s | %9s %10s\n", q.model.sync, q.model.cpus, q.model.millions,
                          q.result.per_second / 1e6, percent(q.result.per_second / 1e6, q.model.millions), p99, duration(q.result.p99));
  }
  return t;
}

std::string sweep_text(const findings& f) {
  std::string t;
  const auto names = ran(f);
  for (const hardware& h : all_hardware) {
    absl::StrAppendFormat(&t, "%s: %s. Operations per second, p50, p99\n  CPUs", h.name, h.about);
    for (const std::string_view name : names) absl::StrAppendFormat(&t, " | %30s", name);
    t += '\n';
    for (const unsigned cpus : cpus_of(f)) {
      absl::StrAppendFormat(&t, "  %4d", cpus);
      for (const std::string_view name : names) {
        const loop_result* const r = f.find(h.name, name, cpus);
        if (r == nullptr || r->failure != nullptr)
          absl::StrAppendFormat(&t, " | %30s", r == nullptr ? "" : "failed");
        else
          absl::StrAppendFormat(&t, " | %9s %9s %10s", rate(r->per_second), duration(r->p50), duration(r->p99));
      }
      t += '\n';
    }
    t += '\n';
  }
  return t;
}

std::string losses_text(const findings& f) {
  const std::string_view baseline = strategies().front().name;
  std::string t = absl::StrFormat("Behind the baseline %s, CPUs: share of its throughput, its p99 times\n", baseline);
  for (const std::string_view name : ran(f)) {
    if (name == baseline) continue;
    bool nowhere = true;
    for (const hardware& h : all_hardware) {
      std::vector<std::string> places;
      for (const unsigned cpus : cpus_of(f)) {
        const loop_result *const mine = f.find(h.name, name, cpus), *const theirs = f.find(h.name, baseline, cpus);
        if (mine == nullptr || theirs == nullptr) continue;
        const double throughput = mine->per_second / theirs->per_second;
        const double tail = static_cast<double>(mine->p99) / static_cast<double>(theirs->p99);
        if (throughput < 1 - h.noise || tail > 1.1) places.push_back(absl::StrFormat("%d: %.2f, %.1f", cpus, throughput, tail));
      }
      if (places.empty()) continue;
      nowhere = false;
      absl::StrAppendFormat(&t, "  %-10s %-10s %s\n", name, h.name, absl::StrJoin(places, "; "));
    }
    if (nowhere) absl::StrAppendFormat(&t, "  %-10s nowhere\n", name);
  }
  return t;
}

std::string json(const findings& f) {
  const auto numbers = [](const auto& values) {
    return absl::StrCat("[", absl::StrJoin(values, ", ", [](std::string* out, double k) { absl::StrAppendFormat(out, "%.3f", k); }), "]");
  };
  std::vector<std::string> rows, queueing, points, kinds, names;
  for (const published_row& p : published)
    rows.push_back(absl::StrFormat(R"({"cpus": %d, "cas": %.0f, "add": %.0f})", p.cpus, p.cas, p.add));
  for (const queueing_point& q : f.queueing)
    queueing.push_back(absl::StrFormat(R"({"sync": %d, "cpus": %d, "model_per_second": %.0f, "per_second": %.0f, "p99_ns": %d})",
                                       q.model.sync, q.model.cpus, q.model.millions * 1e6, q.result.per_second, q.result.p99));
  for (const hardware& h : all_hardware) kinds.push_back(absl::StrFormat(R"({"name": "%s", "about": "%s"})", h.name, h.about));
  for (const std::string_view name : ran(f)) names.push_back(absl::StrFormat(R"("%s")", name));
  for (const point& p : f.points)
    points.push_back(absl::StrFormat(
        R"({"hardware": "%s", "strategy": "%s", "cpus": %d, "per_second": %.1f, "p50_ns": %d, "p99_ns": %d, "worst_ns": %d, "measured": %d, "rmw": %.3f, "attempts": %.3f, "doorbells": %.4f, "busiest_line": %.4f, "preemptions": %d, "failure": "%s"})",
        p.hardware, p.strategy, p.cpus, p.result.per_second, p.result.p50, p.result.p99, p.result.worst, p.result.measured, p.result.rmw,
        p.result.attempts, p.result.doorbells, p.result.busiest_line, p.result.preemptions,
        p.result.failure == nullptr ? "" : p.result.failure));
  return absl::StrFormat(
      "{\n\"kind\": \"shootdown_scale\", \"seed\": %d, \"quick\": %s,\n"
      "\"parameters\": {\"oldest_first\": %d, \"distance\": %d, \"crowding\": %d, \"work_ns\": %d},\n"
      "\"published\": [%s], \"published_attempts\": %.0f,\n"
      "\"fitted\": {\"cas\": %s, \"attempts\": %.3f, \"misfit\": %.5f},\n\"predicted\": {\"add\": %s},\n"
      "\"unfitted\": {\"cpus\": %d, \"cas\": %.1f, \"add\": %.1f, \"cas_predicted\": %.3f, \"add_predicted\": %.3f},\n"
      "\"fifo\": {\"cas\": %s, \"attempts\": %.3f},\n\"queueing\": [\n%s],\n\"hardware\": [\n%s],\n\"strategies\": [%s],\n\"points\": "
      "[\n%s]\n}\n",
      f.seed, f.quick ? "true" : "false", committed.arbitration.oldest_first, committed.arbitration.distance,
      committed.arbitration.crowding, committed.work, absl::StrJoin(rows, ", "), published_attempts, numbers(f.cas.kilo_per_cpu),
      f.cas.attempts, misfit(f.cas), numbers(f.add.kilo_per_cpu), unfitted.cpus, unfitted.cas, unfitted.add, f.cas_unfitted, f.add_unfitted,
      numbers(f.cas_fifo.kilo_per_cpu), f.cas_fifo.attempts, absl::StrJoin(queueing, ",\n"), absl::StrJoin(kinds, ",\n"),
      absl::StrJoin(names, ", "), absl::StrJoin(points, ",\n"));
}

}  // namespace shootdown::bench
