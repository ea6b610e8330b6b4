// SPDX-License-Identifier: MIT
#include "sweep.hpp"

#include <cmath>

#include "owner_add.hpp"
#include "strategies.hpp"

namespace shootdown::bench {
namespace {

std::vector<unsigned> cpu_counts(bool quick) {
  if (quick) return {1, 4, 16, 64};
  return {1, 2, 4, 8, 16, 32, 64, 128, 256};
}

}  // namespace

std::string findings::failure() const {
  const auto told = [](const loop_result& r, const std::string& where) {
    return r.failure == nullptr ? std::string{} : where + ": " + r.failure;
  };
  for (const point& p : points) {
    std::string text = told(p.result, std::string{p.strategy} + " on " + std::string{p.hardware} + ", " + std::to_string(p.cpus) + " CPUs");
    if (!text.empty()) return text;
  }
  for (const queueing_point& q : queueing) {
    std::string text = told(q.result, "queueing model's case, " + std::to_string(q.model.cpus) + " CPUs");
    if (!text.empty()) return text;
  }
  for (const column* c : {&cas, &add, &cas_fifo})
    for (const double k : c->kilo_per_cpu)
      if (!(k > 0)) return "the calibration's experiment failed";
  if (!(cas_unfitted > 0) || !(add_unfitted > 0)) return "the calibration's experiment failed";
  return {};
}

const loop_result* findings::find(std::string_view hardware, std::string_view strategy, unsigned cpus) const {
  for (const point& p : points)
    if (p.hardware == hardware && p.strategy == strategy && p.cpus == cpus) return &p.result;
  return nullptr;
}

findings sweep(const sweep_options& o) {
  findings f{};
  f.seed = o.seed;
  f.quick = o.quick;
  f.cas = measure_cas(committed);
  f.add = measure_add(committed);
  f.cas_fifo = measure_cas({{1000, 0, 0}, committed.work});
  f.cas_unfitted = measure_cas(committed, unfitted.cpus);
  f.add_unfitted = measure_add(committed, unfitted.cpus);
  for (const queueing_row& row : queueing_model) {
    loop_case c{};
    c.cpus = row.cpus;
    c.sync = row.sync;
    c.arbitration = {};
    c.seed = o.seed;
    f.queueing.push_back({row, closed_loop<owner_add>(c)});
  }

  std::size_t all = 0;
  for (const strategy& s : strategies()) all += o.wanted(s.name) ? std::size(all_hardware) * cpu_counts(o.quick).size() : 0;
  for (const hardware& h : all_hardware) {
    for (const unsigned cpus : cpu_counts(o.quick)) {
      for (const strategy& s : strategies()) {
        if (!o.wanted(s.name)) continue;
        loop_case c{};
        c.cpus = cpus;
        c.sync = h.sync;
        c.sync_stalls = h.sync_stalls;
        c.preempted_in_1000 = h.preempted_in_1000;
        c.seed = o.seed;
        c.operations = (o.quick ? 1500u : 6000u) * (h.preempted_in_1000 != 0 ? 5u : 1u);
        c.event_budget = o.quick ? 1'000'000 : 4'000'000;
        f.points.push_back({h.name, s.name, cpus, s.run(c)});
        o.progress(f.points.size(), all, h.name);
      }
    }
  }
  return f;
}

}  // namespace shootdown::bench
