// SPDX-License-Identifier: MIT
// shootdown_explore: tries schedules of the scenarios until the time is up, repeats one, or weakens memory orders and looks
// which scenario notices.
#include <regex.h>

#include <absl/flags/flag.h>
#include <absl/flags/parse.h>
#include <absl/flags/usage.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_format.h>

#include <chrono>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include <shootdown/env/sanitizer.hpp>

#include "explore/plan.hpp"
#include "explore/weaken.hpp"

ABSL_FLAG(std::string, scenario, ".*", "explore, weaken: scenarios whose name matches this regular expression");
ABSL_FLAG(double, seconds, 60, "explore: time budget for all of them together");
ABSL_FLAG(std::uint64_t, seed, 1, "of the random drivers");
ABSL_FLAG(std::uint64_t, trials, 2000, "weaken: trials of each scenario under each driver before a mutant counts as survivor");
ABSL_FLAG(unsigned, steps, 200, "replay, explore: steps of a failure that are printed, counted from its end; 0: all");

namespace {
using shootdown::sim::exploration;
using shootdown::sim::failure;

void print(const failure& f) {
  std::printf("FAILED: %s\nschedule: %s\n", f.what.c_str(), f.schedule.c_str());
  if (!f.repeats) std::printf("the schedule did not repeat the failure: the scenario has a state of its own, or reads what nobody wrote\n");
  const std::size_t most = absl::GetFlag(FLAGS_steps);
  const std::size_t first = most != 0 && f.steps.size() > most ? f.steps.size() - most : 0;
  if (first != 0) std::printf("  ... %zu steps before\n", first);
  for (std::size_t i = first; i != f.steps.size(); ++i) std::printf("%s\n", f.steps[i].c_str());
  std::fflush(stdout);
}

/// POSIX extended regular expressions: g++-12 takes std::regex under a sanitizer for uninitialised memory.
class pattern {
 public:
  explicit pattern(const std::string& text) : valid_{::regcomp(&compiled_, ("^(" + text + ")$").c_str(), REG_EXTENDED | REG_NOSUB) == 0} {}
  ~pattern() {
    if (valid_) ::regfree(&compiled_);
  }
  pattern(const pattern&) = delete;
  pattern& operator=(const pattern&) = delete;
  [[nodiscard]] bool matches(std::string_view name) const {
    return valid_ && ::regexec(&compiled_, std::string{name}.c_str(), 0, nullptr, 0) == 0;
  }

 private:
  ::regex_t compiled_{};
  bool valid_;
};

std::vector<const scenarios::entry*> chosen(bool with_broken) {
  const pattern wanted{absl::GetFlag(FLAGS_scenario)};
  std::vector<const scenarios::entry*> list;
  for (const scenarios::entry& e : scenarios::all())
    if ((with_broken || !e.broken()) && wanted.matches(e.play.name)) list.push_back(&e);
  return list;
}

int list() {
  for (const scenarios::entry* e : chosen(true))
    std::printf("%-44s %s%s\n", std::string{e->play.name}.c_str(), e->broken() ? "[broken] " : "", std::string{e->play.about}.c_str());
  return 0;
}

/// One line of the table: a scenario in one memory model.
struct row {
  exploration sum;
  unsigned exhausted{};  ///< the largest number of interferences up to which all schedules were tried
  double seconds{};
};
void print(const scenarios::entry& e, const std::string& world, const row& r) {
  const std::string all =
      r.exhausted == 0 ? "" : absl::StrFormat("all with %s", r.exhausted == 1 ? "one interference" : "two interferences");
  std::printf("%-24s %-20s %10lu %12lu %8lu %9.2f  %s\n", std::string{e.play.name}.c_str(), world.c_str(), r.sum.trials, r.sum.steps,
              r.sum.longest, static_cast<double>(r.sum.steps) / 1e6 / std::max(r.seconds, 1e-9), all.c_str());
  std::fflush(stdout);
}

/// Every scenario gets an equal share of the time for each way; a share that a driver did not need goes to those after it.
int explore_all() {
  const auto list = chosen(false);
  const auto ways = explore::ways();
  if (list.empty()) {
    std::fprintf(stderr, "no scenario matches %s; `shootdown_explore list` shows them\n", absl::GetFlag(FLAGS_scenario).c_str());
    return 2;
  }
  const auto begin = std::chrono::steady_clock::now();
  const auto passed = [&] { return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count(); };
  const double budget = absl::GetFlag(FLAGS_seconds);
  std::size_t shares = list.size() * ways.size();
  exploration total;
  std::printf("%-24s %-20s %10s %12s %8s %9s\n", "scenario", "memory", "schedules", "steps", "longest", "M steps/s");
  for (const scenarios::entry* e : list) {
    row r;
    for (std::size_t i = 0; i != ways.size(); ++i) {
      const explore::way& w = ways[i];
      const double share = std::max(0.005, (budget - passed()) / static_cast<double>(shares--));
      const auto driver = w.driver(absl::GetFlag(FLAGS_seed));
      const double from = passed();
      const auto sum =
          shootdown::sim::explore(e->play, *driver, explore::options_of(*e, w), {.milliseconds = static_cast<std::uint64_t>(share * 1000)});
      total += sum;
      r.sum += sum;
      r.seconds += passed() - from;
      if (w.bound != 0 && sum.exhausted) r.exhausted = std::max(r.exhausted, w.bound);
      if (!sum.ok()) {
        print(*e, w.name, r);
        print(*sum.failure);
        return 1;
      }
      if (i + 1 != ways.size() && ways[i + 1].world == w.world) continue;
      print(*e, w.world, r);
      r = {};
    }
  }
  std::printf("%zu scenarios, %lu schedules, %lu steps, longest %lu decisions, %lu stores forgotten, %.1f s: nothing found\n", list.size(),
              total.trials, total.steps, total.longest, total.forgotten, passed());
  return 0;
}

int replay(const std::string& text) {
  const auto schedule = shootdown::sim::parse_schedule(text);
  if (!schedule.ok()) {
    std::fprintf(stderr, "%s\n", std::string{schedule.status().message()}.c_str());
    return 2;
  }
  const scenarios::entry* const e = scenarios::find(schedule->scenario);
  if (e == nullptr) {
    std::fprintf(stderr, "no scenario is called %s; `shootdown_explore list` shows them\n", schedule->scenario.c_str());
    return 2;
  }
  const auto f = shootdown::sim::replay(e->play, *schedule);
  if (!f.ok()) {
    std::fprintf(stderr, "%s\n", std::string{f.status().message()}.c_str());
    return 2;
  }
  if (!f->has_value()) {
    std::printf("the trial ended well\n");
    return 0;
  }
  print(**f);
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage(
      "explore | list | replay SCHEDULE | weaken FILE\n"
      "  explore   tries schedules of every scenario; the first failure ends it with its schedule and steps\n"
      "  replay    repeats one trial and prints its steps\n"
      "  weaken    FILE: lines of `file line last_line kind from to`, as tests/mutants/sweep.py writes them");
  const std::vector<char*> words = absl::ParseCommandLine(argc, argv);
  const std::string command = words.size() > 1 ? words[1] : "explore";
  if (command == "explore" && words.size() <= 2) return explore_all();
  if (command == "list" && words.size() == 2) return list();
  if (command == "replay" && words.size() == 3) return replay(words[2]);
  if (command == "weaken" && words.size() == 3)
    return explore::weaken(words[2], chosen(false), absl::GetFlag(FLAGS_trials), absl::GetFlag(FLAGS_seed));
  std::fprintf(stderr, "usage: shootdown_explore %s\n", std::string{absl::ProgramUsageMessage()}.c_str());
  return 2;
}
