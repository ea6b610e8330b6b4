// SPDX-License-Identifier: MIT
#include "explore/weaken.hpp"

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include <shootdown/env/sanitizer.hpp>
#include <shootdown/sim/site_change.hpp>

namespace explore {
namespace {

using shootdown::sim::site;
using shootdown::sim::site_change;
using shootdown::sim::sites;

struct mutant {
  site_change change;
  std::string kind, from, to;
};

std::optional<std::memory_order> order_named(const std::string& name) {
  for (const auto o : {std::memory_order_relaxed, std::memory_order_acquire, std::memory_order_release, std::memory_order_acq_rel,
                       std::memory_order_seq_cst})
    if (name == shootdown::sim::name_of(o)) return o;
  return std::nullopt;
}

/// Empty and a message on a malformed line.
std::optional<std::vector<mutant>> read(const std::string& file) {
  std::ifstream in{file};
  if (!in) {
    std::fprintf(stderr, "cannot read %s\n", file.c_str());
    return std::nullopt;
  }
  std::vector<mutant> all;
  std::string line;
  for (unsigned number = 1; std::getline(in, line); ++number) {
    if (line.empty()) continue;
    std::istringstream words{line};
    mutant m;
    words >> m.change.file >> m.change.line >> m.change.last_line >> m.kind >> m.from >> m.to;
    const auto from = order_named(m.from), to = order_named(m.to);
    const bool removed = m.to == "absent";
    if (!words || (!removed && (!from || !to))) {
      std::fprintf(stderr, "%s:%u: `file line last_line kind from to` expected\n", file.c_str(), number);
      return std::nullopt;
    }
    m.change.removed = removed;
    if (!removed) {
      m.change.from = *from;
      m.change.to = *to;
    }
    all.push_back(std::move(m));
  }
  return all;
}

/// Which scenarios execute what: a short look at each. One that fails as it is would kill every mutant, and is left out.
std::vector<std::pair<const scenarios::entry*, std::vector<site>>> survey(const std::vector<const scenarios::entry*>& list,
                                                                          std::uint64_t seed) {
  std::vector<std::pair<const scenarios::entry*, std::vector<site>>> found;
  for (const scenarios::entry* e : list) {
    sites().clear();
    sites().record(true);
    bool holds = true;
    for (const way& w : {by_chance(memory_model::weak), by_priority(memory_model::weak, 3)}) {
      const auto driver = w.driver(seed);
      holds = shootdown::sim::explore(e->play, *driver, options_of(*e, w), {.trials = 50}).ok() && holds;
    }
    sites().record(false);
    if (holds)
      found.emplace_back(e, sites().recorded());
    else
      std::fprintf(stderr, "%s fails without a mutant, and judges none\n", std::string{e->play.name}.c_str());
  }
  return found;
}

bool touches(const std::vector<site>& executed, const site_change& c) {
  return std::any_of(executed.begin(), executed.end(), [&](const site& s) {
    if (s.file != c.file || s.line < c.line || s.line > std::max(c.line, c.last_line)) return false;
    return c.removed ? s.kind >= site::what::fence : s.order == c.from;
  });
}

}  // namespace

int weaken(const std::string& file, const std::vector<const scenarios::entry*>& list, std::uint64_t trials, std::uint64_t seed) {
  const auto mutants = read(file);
  if (!mutants) return 2;
  const auto executed = survey(list, seed);
  unsigned killed = 0, survived = 0, unreached = 0;
  for (const mutant& m : *mutants) {
    std::string by;
    bool reached = false;
    for (const way& w : ways()) {
      for (const auto& [e, where] : executed) {
        if (!touches(where, m.change)) continue;
        reached = true;
        const auto driver = w.driver(seed);
        sites().change(m.change);
        const auto sum = shootdown::sim::explore(e->play, *driver, options_of(*e, w), {.trials = e->small ? trials * 20 : trials});
        sites().restore();
        if (sum.ok()) continue;
        by = std::string{e->play.name} + " (" + w.name + ", " + std::to_string(sum.trials) + " schedules): " + sum.failure->what;
        break;
      }
      if (!by.empty()) break;
    }
    const char* const status = !by.empty() ? "killed" : reached ? "survived" : "unreached";
    ++(!by.empty() ? killed : reached ? survived : unreached);
    std::printf("%s\t%s\t%u\t%s\t%s\t%s\t%s\n", status, m.change.file.c_str(), m.change.line, m.kind.c_str(), m.from.c_str(), m.to.c_str(),
                by.c_str());
    std::fflush(stdout);
  }
  std::fprintf(stderr, "%zu mutants: %u killed, %u survived, %u unreached\n", mutants->size(), killed, survived, unreached);
  return survived + unreached == 0 ? 0 : 1;
}

}  // namespace explore
