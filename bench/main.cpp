// SPDX-License-Identifier: MIT
// The main job: threads map, do DMA, unmap and reuse frames concurrently on the in-memory SMMU, under every strategy and
// range policy, while an oracle looks for accesses through stale translations.
#include <absl/flags/flag.h>
#include <absl/flags/parse.h>
#include <absl/flags/usage.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_format.h>
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <memory>
#include <regex>
#include <string>
#include <vector>

#include "cases.hpp"
#include "rcu_flavours.hpp"
#include "summary.hpp"
#include "trace.hpp"
#include "unmap.hpp"

ABSL_FLAG(std::string, trace, SHOOTDOWN_TRACE_DIR "/linux-6.1.192-strict-smp1.pairs.txt.gz",
          "recording in the pairs format, plain or gzip");
ABSL_FLAG(unsigned, threads, 2, "threads that unmap, 1 to 16");
ABSL_FLAG(std::string, filter, ".*", "run the cases whose name matches this regular expression; BM_rcu/... only if it contains \"rcu\"");
ABSL_FLAG(bool, quick, false, "fewer repetitions and shorter synthetic workloads; the whole trace all the same");
ABSL_FLAG(std::string, report, SHOOTDOWN_BENCH_REPORT, "where the JSON report goes");

namespace sb = shootdown::bench;

namespace {

constexpr unsigned max_threads = 16;

sb::workload recorded(std::vector<sb::trace_unmap> unmaps) {
  sb::workload w;
  w.name = "trace";
  for (const sb::trace_unmap& u : unmaps) w.largest = std::max(w.largest, u.pages);
  w.unmaps = std::make_shared<const std::vector<sb::trace_unmap>>(std::move(unmaps));
  w.huge_pages = true;
  w.recorded = true;
  return w;
}

/// `count` unmaps of `pages` pages each, walking through a window of IOVAs so that neighbours share tables. The
/// stride is one page more than the size, so that ranges are not aligned by accident.
sb::workload synthetic(std::uint64_t pages, unsigned count) {
  constexpr std::uint64_t page_bytes = 4096, window = 64;
  std::vector<sb::trace_unmap> unmaps(count);
  for (unsigned i = 0; i != count; ++i) {
    const std::uint64_t slot = pages >= 262144 ? 0 : i * 7 % window;
    unmaps[i].iova = (std::uint64_t{1} << 32) + slot * (pages + 1) * page_bytes;
    unmaps[i].pages = pages;
  }
  sb::workload w;
  w.name = absl::StrCat("pages:", pages);
  w.unmaps = std::make_shared<const std::vector<sb::trace_unmap>>(std::move(unmaps));
  w.largest = pages;
  return w;
}

/// 16 pages on everything else that the library drives: other granules, stage 2, ATS, a nesting parent, liburcu's
/// other flavours.
std::vector<sb::workload> other_hardware(unsigned count) {
  using sb::flavour_kind;
  using sb::format_kind;
  const std::pair<const char*, sb::hardware> kinds[] = {
      {"16K", {format_kind::stage1_16k, false, false}},
      {"64K", {format_kind::stage1_64k, false, false}},
      {"ATS", {format_kind::stage1_4k, true, false}},
      {"stage2", {format_kind::stage2_4k, false, false}},
      {"nesting", {format_kind::stage2_4k, false, true}},
      {"nesting_ATS", {format_kind::stage2_4k, true, true}},
      {"mb", {.flavour = flavour_kind::mb}},
      {"bp", {.flavour = flavour_kind::bp}},
      {"qsbr", {.flavour = flavour_kind::qsbr}},
  };
  std::vector<sb::workload> all;
  for (const auto& [name, on] : kinds) {
    sb::workload w = synthetic(16, count);
    w.name = absl::StrCat("pages:16_", name);
    w.on = on;
    all.push_back(std::move(w));
  }
  return all;
}

int usage_error(const std::string& text) {
  std::fprintf(stderr, "shootdown_bench: %s\n", text.c_str());
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage("concurrent unmap on the in-memory SMMU; see docs/measuring.md");
  const std::vector<char*> rest = absl::ParseCommandLine(argc, argv);
  if (rest.size() > 1) return usage_error(absl::StrCat("unexpected argument '", rest[1], "'"));
  const unsigned threads = absl::GetFlag(FLAGS_threads);
  if (threads < 1 || threads > max_threads) return usage_error(absl::StrCat("--threads must be 1 to ", max_threads));
  std::regex filter;
  try {
    filter = std::regex(absl::GetFlag(FLAGS_filter));
  } catch (const std::regex_error& e) {
    return usage_error(absl::StrCat("--filter: ", e.what()));
  }
  absl::StatusOr<std::vector<sb::trace_unmap>> unmaps = sb::read_pairs(absl::GetFlag(FLAGS_trace));
  if (!unmaps.ok()) return usage_error(std::string(unmaps.status().message()));
  const std::string report = absl::GetFlag(FLAGS_report);
  std::error_code made;
  if (const auto folder = std::filesystem::path(report).parent_path(); !folder.empty()) std::filesystem::create_directories(folder, made);
  if (made) return usage_error(absl::StrCat(report, ": ", made.message()));

  const bool quick = absl::GetFlag(FLAGS_quick);
  const unsigned repetitions = quick ? 1 : 10;
  std::cout << absl::StrFormat("trace: %d unmaps, %s\n", unmaps->size(), absl::GetFlag(FLAGS_trace));
  std::vector<sb::workload> workloads{recorded(*std::move(unmaps)), synthetic(1, quick ? 2000 : 8000), synthetic(16, quick ? 2000 : 8000),
                                      synthetic(512, quick ? 200 : 600), synthetic(262144, quick ? 1 : 2)};

  for (sb::workload& w : other_hardware(quick ? 1000 : 3000)) workloads.push_back(std::move(w));

  std::vector<sb::bench_case> cases;
  for (const sb::workload& w : workloads)
    for (const sb::policy_kind p : sb::all_policies)
      for (const sb::strategy_kind s : sb::all_strategies)
        for (const sb::sharing d : sb::all_sharings) {
          sb::bench_case c{w, s, p, d, threads};
          if (!w.plain() && (p != sb::policy_kind::exact || s != sb::strategy_kind::owner_cas)) continue;
          if (std::regex_search(c.label(), filter)) cases.push_back(std::move(c));
        }
  const std::size_t rcu_cases = sb::register_rcu_flavours(absl::GetFlag(FLAGS_filter), quick);
  if (cases.empty() && rcu_cases == 0) return usage_error("--filter matches no case");

  std::vector<std::string> words{argv[0], absl::StrCat("--benchmark_out=", report), "--benchmark_out_format=json",
                                 absl::StrCat("--benchmark_repetitions=", repetitions)};
  if (repetitions > 1)
    words.emplace_back("--benchmark_enable_random_interleaving=true");  // baselines alternate with what is compared to them
  std::vector<char*> bench_argv;
  for (std::string& w : words) bench_argv.push_back(w.data());
  int bench_argc = static_cast<int>(bench_argv.size());
  benchmark::Initialize(&bench_argc, bench_argv.data());
  sb::progress_meter meter{cases.size() * repetitions};
  for (const sb::bench_case& c : cases) sb::register_unmap(c, meter);

  sb::rcu_summary_reporter table{repetitions};
  benchmark::RunSpecifiedBenchmarks(&table);
  benchmark::Shutdown();
  meter.finish();
  if (!cases.empty()) table.print(workloads);
  table.print_rcu();
  std::cout << absl::StrFormat("leaks: %.0f. Report: %s\n", table.leaks(), report);
  return table.failed() || table.leaks() != 0 ? 1 : 0;
}
