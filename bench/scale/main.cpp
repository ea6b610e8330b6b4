// SPDX-License-Identifier: MIT
// Scaling in virtual time: every strategy on the reference machine with 1 to 256 CPUs, the calibration of its line model
// beside the published numbers, and where a strategy is behind the baseline. docs/measuring.md says what this can show.
#include <absl/flags/flag.h>
#include <absl/flags/parse.h>
#include <absl/flags/usage.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_format.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <regex>
#include <string>
#include <vector>

#include "strategies.hpp"
#include "sweep.hpp"

ABSL_FLAG(bool, quick, false, "4 CPU counts and fewer operations");
ABSL_FLAG(bool, fit, false, "fit the line model to the published compare-exchange column again, and compare with the committed one");
ABSL_FLAG(std::string, filter, ".*", "run the strategies whose name matches this regular expression");
ABSL_FLAG(std::uint64_t, seed, 1, "of think times, arbitration and preemption; the same seed gives the same numbers");
ABSL_FLAG(std::string, report, SHOOTDOWN_SCALE_REPORT, "where the JSON report goes");

namespace sb = shootdown::bench;

namespace {

int usage_error(const std::string& text) {
  std::fprintf(stderr, "shootdown_scale: %s\n", text.c_str());
  return 2;
}

void print(const std::string& text) { std::fputs(text.c_str(), stdout); }

std::string parameters(const sb::fit_result& r) {
  return absl::StrFormat("oldest_first %d, distance %d, crowding %d, work %d ns: misfit %.4f after %d evaluations",
                         r.best.arbitration.oldest_first, r.best.arbitration.distance, r.best.arbitration.crowding, r.best.work, r.misfit,
                         r.evaluations);
}

/// Both ways in which transfers can become longer; the one with the smaller misfit is what is committed.
int fit_again() {
  const auto progress = [](const sb::fit_result& r) {
    print(absl::StrCat("  ", parameters(r), "\n"));
    std::fflush(stdout);
  };
  print("By the CPUs of the machine:\n");
  const sb::fit_result distance = sb::fit(sb::growth::distance, progress);
  print("By the CPUs that wait for the line or hold it:\n");
  const sb::fit_result crowding = sb::fit(sb::growth::crowding, progress);
  const sb::fit_result& best = crowding.misfit < distance.misfit ? crowding : distance;
  print(absl::StrCat("Best: ", parameters(best), "\n"));
  const bool same = best.best.arbitration == sb::committed.arbitration && best.best.work == sb::committed.work;
  print(same ? "These are the committed parameters.\n" : "NOT the committed parameters (sim/line_arbitration.hpp).\n");
  return same ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage("scaling of the reservation strategies in virtual time; see docs/measuring.md");
  const std::vector<char*> rest = absl::ParseCommandLine(argc, argv);
  if (rest.size() > 1) return usage_error(absl::StrCat("unexpected argument '", rest[1], "'"));
  if (absl::GetFlag(FLAGS_fit)) return fit_again();

  std::regex filter;
  try {
    filter = std::regex(absl::GetFlag(FLAGS_filter));
  } catch (const std::regex_error& e) {
    return usage_error(absl::StrCat("--filter: ", e.what()));
  }
  sb::sweep_options o{};
  o.quick = absl::GetFlag(FLAGS_quick);
  o.seed = absl::GetFlag(FLAGS_seed);
  o.wanted = [&filter](std::string_view name) { return std::regex_search(name.begin(), name.end(), filter); };
  bool any = false;
  for (const sb::strategy& s : sb::strategies()) any = any || o.wanted(s.name);
  if (!any) return usage_error("--filter matches no strategy");
  const bool terminal = ::isatty(STDERR_FILENO) != 0;
  o.progress = [terminal](std::size_t done, std::size_t all, std::string_view what) {
    if (terminal) std::fprintf(stderr, "\r%zu of %zu runs, %-12s%s", done, all, std::string{what}.c_str(), done == all ? "\n" : "");
  };

  const std::string report = absl::GetFlag(FLAGS_report);
  std::error_code made;
  if (const auto folder = std::filesystem::path(report).parent_path(); !folder.empty()) std::filesystem::create_directories(folder, made);
  if (made) return usage_error(absl::StrCat(report, ": ", made.message()));

  const sb::findings f = sb::sweep(o);
  print(absl::StrCat(sb::calibration_text(f), "\n", sb::queueing_text(f), "\n", sb::sweep_text(f), sb::losses_text(f)));
  std::ofstream file{report, std::ios::binary};
  file << sb::json(f);
  file.close();
  if (!file) return usage_error(absl::StrCat(report, ": cannot be written"));
  print(absl::StrCat("Report: ", report, "\n"));
  if (const std::string failure = f.failure(); !failure.empty()) {
    print(absl::StrCat("FAILED: ", failure, "\n"));
    return 1;
  }
  return 0;
}
