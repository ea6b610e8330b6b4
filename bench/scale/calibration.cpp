// SPDX-License-Identifier: MIT
#include "calibration.hpp"

#include <cmath>
#include <map>
#include <tuple>
#include <utility>

#include <shootdown/queue/owner_cas.hpp>

#include "closed_loop.hpp"
#include "owner_add.hpp"

namespace shootdown::bench {
namespace {

/// Thousands per CPU, and attempts per reservation.
template <class Strategy>
std::pair<double, double> measure_row(const calibration& c, unsigned cpus) {
  constexpr std::uint64_t seeds = 2;
  loop_case run{};
  run.cpus = cpus;
  run.think = c.work;
  run.think_spread = c.work / 2;
  run.arbitration = c.arbitration;
  run.operations = 4000;
  double per_second = 0, attempts = 0;
  for (run.seed = 1; run.seed <= seeds; ++run.seed) {
    const loop_result r = closed_loop<Strategy>(run);
    per_second += r.per_second / seeds;  // 0 after a failure: the row cannot be overlooked
    attempts += r.attempts / seeds;
  }
  return {per_second / cpus / 1e3, attempts};
}

template <class Strategy>
column measure(const calibration& c) {
  column out{};
  for (std::size_t i = 0; i != published.size(); ++i)
    std::tie(out.kilo_per_cpu[i], out.attempts) = measure_row<Strategy>(c, published[i].cpus);
  return out;
}

double square(double x) { return x * x; }

}  // namespace

column measure_cas(const calibration& c) { return measure<queue::owner_cas>(c); }
column measure_add(const calibration& c) { return measure<owner_add>(c); }

double measure_cas(const calibration& c, unsigned cpus) { return measure_row<queue::owner_cas>(c, cpus).first; }
double measure_add(const calibration& c, unsigned cpus) { return measure_row<owner_add>(c, cpus).first; }

double misfit(const column& cas) {
  double sum = square(std::log(cas.attempts / published_attempts));
  for (std::size_t i = 0; i != published.size(); ++i) sum += square(std::log(cas.kilo_per_cpu[i] / published[i].cas));
  return sum;
}

fit_result fit(growth by, const std::function<void(const fit_result&)>& progress) {
  using point = std::array<std::int64_t, 3>;  // oldest_first, the growth, work
  constexpr point unit{25, 1, 100}, least{0, 0, 100}, most{1000, 200, 20'000};
  const auto at = [by](const point& p) {
    calibration c{{static_cast<std::uint32_t>(p[0]), 0, 0}, static_cast<std::uint64_t>(p[2])};
    (by == growth::distance ? c.arbitration.distance : c.arbitration.crowding) = static_cast<std::uint32_t>(p[1]);
    return c;
  };
  std::map<point, double> known;
  const auto judge = [&](const point& p) {
    const auto [found, fresh] = known.try_emplace(p, 0.0);
    if (fresh) found->second = misfit(measure_cas(at(p)));
    return found->second;
  };

  point best{500, 0, 1000};
  double least_misfit = judge(best);
  for (std::int64_t width = 8; width != 0; width /= 2) {
    for (bool better = true; better;) {
      better = false;
      const point centre = best;
      for (int corner = 0; corner != 27; ++corner) {
        const point way{corner % 3 - 1, corner / 3 % 3 - 1, corner / 9 - 1};
        point p = centre;
        bool inside = true;
        for (std::size_t axis = 0; axis != p.size(); ++axis) {
          p[axis] += way[axis] * width * unit[axis];
          inside = inside && p[axis] >= least[axis] && p[axis] <= most[axis];
        }
        if (!inside) continue;
        const double m = judge(p);
        if (!(m < least_misfit)) continue;
        best = p;
        least_misfit = m;
        better = true;
      }
      progress({at(best), least_misfit, static_cast<unsigned>(known.size())});
    }
  }
  return {at(best), least_misfit, static_cast<unsigned>(known.size())};
}

}  // namespace shootdown::bench
