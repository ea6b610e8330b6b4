// SPDX-License-Identifier: MIT
#include "unmap.hpp"

#include <benchmark/benchmark.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <shootdown/host/lab.hpp>
#include <shootdown/queue/locked.hpp>
#include <shootdown/queue/owner_cas.hpp>

namespace shootdown::bench {
namespace {

constexpr std::uint64_t page_bytes = 4096;
constexpr std::uint64_t block_pages = 512;

/// The library's atomics count their read-modify-writes; the model's own lock and registers do not (they stand for hardware).
template <class Strategy, class Format, class Rcu>
using lab_type = host::lab<host::counted_env_with<Rcu>, Strategy, host::env, Format>;

/// The default SMMU, with stage 2 and ATS where the case wants them.
emu::id_registers registers_for(const hardware& on) {
  emu::id_registers id = emu::id_registers::model_default();
  if (on.format == format_kind::stage2_4k) id.idr0 |= static_cast<std::uint32_t>(reg::idr0::s2p::put(true));
  if (on.ats) id.idr0 |= static_cast<std::uint32_t>(reg::idr0::ats::put(true));
  return id;
}

cover_policy library_policy(policy_kind p) {
  switch (p) {
    case policy_kind::exact: return cover_policy::exact;
    case policy_kind::disjoint: return cover_policy::disjoint;
    case policy_kind::bounded: return cover_policy::bounded;
  }
  return cover_policy::exact;
}

/// One thread's part: an address slice, a stretch of data frames, and what it measured.
struct worker {
  unsigned index{};
  std::uint64_t slice{};         // added to every IOVA
  std::uint64_t first_frame{};   // of its frames
  std::uint64_t frame_count{};
  std::uint64_t next_frame{};
  std::uint64_t unmaps{};
  std::uint64_t requested_pages{};
  instant begin{}, end{};        // of its first and last unmap
  host::tally cost{};            // of the invalidations
  host::tally large_cost{};      // of those of large_unmap_pages or more
  host::tally map_cost{};        // of mapping
  std::vector<std::uint32_t> latency;  // ns

  /// Frames for `pages` pages at `iova`; congruent to it modulo a block if `huge`.
  std::uint64_t take_frames(std::uint64_t iova, std::uint64_t pages, bool huge) {
    std::uint64_t at = next_frame;
    if (huge && pages >= block_pages) {
      const std::uint64_t want = (iova / page_bytes) % block_pages;
      at += (want + block_pages - (first_frame + at) % block_pages) % block_pages;
    }
    if (at + pages > frame_count) {
      at = 0;
      if (huge && pages >= block_pages) at = ((iova / page_bytes) % block_pages + block_pages - first_frame % block_pages) % block_pages;
    }
    next_frame = at + pages;
    return first_frame + at;
  }
};

/// The machine of one repetition.
template <class Strategy, class Format, class Rcu>
struct world {
  using env = host::counted_env_with<Rcu>;
  using lab_t = lab_type<Strategy, Format, Rcu>;
  static constexpr std::uint64_t frames_per_page = lab_t::page_size / page_bytes;

  explicit world(const bench_case& c) : lab{options(c)}, ats{c.work.on.ats} {
    const std::uint64_t each = frames_each(c);
    for (unsigned t = 0; t != c.threads; ++t) {
      worker w;
      w.index = t;
      w.slice = std::uint64_t{t} << trace_address_bits;
      w.first_frame = t * each;
      w.frame_count = each;
      w.latency.reserve(c.work.unmaps->size());
      workers.push_back(std::move(w));
    }
  }

  /// Room for the largest unmap twice over (alignment included), and at least 1024 frames that are soon reused.
  static std::uint64_t frames_each(const bench_case& c) {
    const std::uint64_t need = (2 * c.work.largest + 2 * block_pages) * frames_per_page;
    return std::max<std::uint64_t>(1024, need) / block_pages * block_pages;
  }
  static typename lab_t::options_type options(const bench_case& c) {
    typename lab_t::options_type o;
    o.ats = c.work.on.ats;
    o.nesting_parent = c.work.on.nesting;
    o.machine.smmu.id = registers_for(c.work.on);
    o.table.input_bits = 48;
    o.spaces = c.domains == sharing::shared_domain ? 1 : c.threads;
    o.policy = library_policy(c.policy);
    if constexpr (requires { o.table.blocks_2m; }) o.table.blocks_2m = o.table.blocks_1g = c.work.huge_pages;
    o.table_pages = c.threads * (c.work.largest / block_pages + 64);
    o.machine.memory_bytes = o.table_pages * lab_t::page_size + 16 * lab_t::page_size + (std::size_t{2} << 20);
    o.machine.data_frames = static_cast<std::size_t>(c.threads * frames_each(c));
    o.machine.backend.posted_writes = true;  // a doorbell starts work that a wait then has to see the end of
    return o;
  }

  /// Opens the lab and sets the devices going. Empty if all is well.
  std::string start() {
    if (const status s = lab.open(); !s.ok()) return std::string("lab: ") + name(s.code());
    for (unsigned i = 0; i != lab.spaces(); ++i) {
      agents.push_back(&lab.machine().smmu().add_agent(lab.at(i).sid(), {.seed = i + 1u, .accesses = 1, .ats_percent = ats ? 50u : 0u}));
    }
    before = lab.machine().smmu().counters();
    return {};
  }

  lab_t lab;
  bool ats{};
  std::vector<model::agent<env>*> agents;
  std::vector<worker> workers;
  model::smmu_counters before{};
};

/// Map, DMA, unmap, reuse: one iteration of one thread. Empty if all is well.
template <class Strategy, class Format, class Rcu>
const char* cycle(world<Strategy, Format, Rcu>& w, worker& me, const trace_unmap& u, bool huge) {
  using env = typename world<Strategy, Format, Rcu>::env;
  const unsigned home = w.lab.spaces() == 1 ? 0 : me.index;
  auto& space = w.lab.at(home);
  constexpr std::uint64_t scale = world<Strategy, Format, Rcu>::frames_per_page;  // a workload counts pages of its own granule
  const std::uint64_t frames = u.pages * scale;
  const host::mapping m{iova{u.iova * scale + me.slice}, w.lab.frame(me.take_frames(u.iova, frames, huge)), frames * page_bytes};

  const host::tally idle = host::thread_stats::mine();
  if (!space.map(m).ok()) return "map failed";
  const host::tally mapped = host::thread_stats::mine();
  me.map_cost += mapped - idle;
  w.agents[home]->tell(m.at, m.bytes);
  if (!space.write(m.at).ok()) return "the device could not reach mapped memory";
  if (u.pages > 1 && !space.read(iova{raw(m.at) + m.bytes - page_bytes}).ok()) return "the device could not reach mapped memory";

  const instant begin = env::now();
  if (me.unmaps == 0) me.begin = begin;
  typename world<Strategy, Format, Rcu>::lab_t::gather_type g;
  if (!space.remove(m, g).ok()) return "unmap failed";
  const host::tally cleared = host::thread_stats::mine();
  if (!space.domain().invalidate(g, deadline::in(begin, nanoseconds{30'000'000'000})).ok()) return "invalidation failed";
  const host::tally done = host::thread_stats::mine();
  space.give_back_tables(g);
  const instant end = env::now();
  space.release_frames(m);

  me.latency.push_back(static_cast<std::uint32_t>(std::min<std::uint64_t>(since_epoch(end) - since_epoch(begin), UINT32_MAX)));
  me.cost += done - cleared;
  if (u.pages >= large_unmap_pages) me.large_cost += done - cleared;
  me.requested_pages += frames;
  ++me.unmaps;
  me.end = end;
  Rcu::quiescent();  // between two operations: qsbr needs to be told
  return nullptr;
}

double percentile(std::vector<std::uint32_t>& sorted, double p) {
  if (sorted.empty()) return 0;
  const auto at = static_cast<std::size_t>(p * static_cast<double>(sorted.size() - 1));
  return sorted[at];
}

struct percentile_counter {
  const char* key;
  double p;
};
/// Enough of the distribution to draw it. A report leaves out those that too few unmaps stand behind.
constexpr percentile_counter percentile_counters[] = {{"p10_ns", 0.10}, {"p25_ns", 0.25}, {"p50_ns", 0.50},   {"p75_ns", 0.75},
                                                      {"p90_ns", 0.90}, {"p99_ns", 0.99}, {"p999_ns", 0.999}, {"p100_ns", 1.0}};

/// What a pass consists of, and what it cost the recorded driver where the recording says so: the counts to compare
/// pass_tlbi and pass_sync with. The map_time pairs are included in the other two.
void publish_pass(const workload& work, benchmark::State& state) {
  const recorded_totals all = sum_recorded(*work.unmaps, 1);
  const recorded_totals large = sum_recorded(*work.unmaps, large_unmap_pages);
  const auto set = [&](const char* key, std::uint64_t v) { state.counters[key] = static_cast<double>(v); };
  set("pass_unmaps", all.unmaps);
  set("pass_large_unmaps", large.unmaps);
  if (all.tlbi == 0) return;
  set("recorded_tlbi", all.tlbi);
  set("recorded_sync", all.sync);
  set("recorded_map_time", all.map_time);
  set("recorded_large_tlbi", large.tlbi);
  set("recorded_large_sync", large.sync);
  set("recorded_large_map_time", large.map_time);
}

/// Adds the threads up and publishes the counters. Empty if the device agrees with what the library says it sent.
template <class Strategy, class Format, class Rcu>
std::string publish(world<Strategy, Format, Rcu>& w, benchmark::State& state) {
  host::tally cost, large, mapping;
  std::vector<std::uint32_t> latency;
  double unmaps = 0, requested = 0;
  std::uint64_t begin = UINT64_MAX, end = 0;
  for (const worker& me : w.workers) {
    begin = std::min(begin, since_epoch(me.begin));
    end = std::max(end, since_epoch(me.end));
    cost += me.cost;
    large += me.large_cost;
    mapping += me.map_cost;
    unmaps += static_cast<double>(me.unmaps);
    requested += static_cast<double>(me.requested_pages);
    latency.insert(latency.end(), me.latency.begin(), me.latency.end());
  }
  std::sort(latency.begin(), latency.end());
  const model::smmu_counters after = w.lab.machine().smmu().counters();
  const auto device = [&](auto member) {
    return static_cast<double>(after.engine.*member) - static_cast<double>(w.before.engine.*member);
  };
  const auto sent = [](const host::tally& t, counter c) { return static_cast<double>(t[c]); };
  if (device(&model::engine_counters::commands) != sent(cost, counter::commands) + sent(mapping, counter::commands)) {
    return "the device executed another number of commands than the library counted";
  }
  if (device(&model::engine_counters::syncs) != sent(cost, counter::syncs) + sent(mapping, counter::syncs)) {
    return "the device executed another number of SYNCs than the library counted";
  }
  if (after.engine.unpredictable != 0) return "the device met a TLBI that breaks an alignment rule";

  const double threads = static_cast<double>(w.workers.size());
  const auto each = [&](counter c) { return sent(cost, c) / unmaps; };
  state.counters["unmaps_per_second"] = end > begin ? unmaps * 1e9 / static_cast<double>(end - begin) : 0;
  for (const percentile_counter& c : percentile_counters) state.counters[c.key] = percentile(latency, c.p);
  state.counters["commands"] = each(counter::commands);
  state.counters["syncs"] = each(counter::syncs);
  state.counters["doorbells"] = each(counter::doorbells);
  state.counters["bytes"] = each(counter::bytes);
  // What C++ needs where the published algorithm has a plain store is shown apart and not charged to it.
  state.counters["shared_rmw"] = each(counter::shared_rmw) - each(counter::emulated_rmw);
  state.counters["emulated_rmw"] = each(counter::emulated_rmw);
  state.counters["failed_cas"] = each(counter::failed_cas);
  state.counters["requested_pages"] = requested / unmaps;
  state.counters["over_pages"] = (device(&model::engine_counters::covered_pages) - requested) / unmaps;
  state.counters["map_flushes"] = (sent(mapping, counter::commands) - sent(mapping, counter::syncs)) / unmaps;
  state.counters["dmas"] = device(&model::engine_counters::dmas) / unmaps;
  state.counters["leaks"] = static_cast<double>(w.lab.leaks());
  state.counters["pass_tlbi"] = (sent(cost, counter::commands) - sent(cost, counter::syncs)) / threads;
  state.counters["pass_sync"] = sent(cost, counter::syncs) / threads;
  state.counters["pass_large_tlbi"] = (sent(large, counter::commands) - sent(large, counter::syncs)) / threads;
  state.counters["pass_large_sync"] = sent(large, counter::syncs) / threads;
  return {};
}

/// Google Benchmark runs this on every thread. Thread 0 builds the machine before the start barrier of the loop, and takes it
/// down behind the barrier at its end.
template <class Strategy, class Format, class Rcu>
void run(benchmark::State& state, const bench_case& c, progress_meter& meter, std::unique_ptr<world<Strategy, Format, Rcu>>& shared) {
  const typename Rcu::thread_scope registered;
  const auto me = static_cast<std::size_t>(state.thread_index());
  std::string error;
  if (me == 0) {
    meter.step(c.label());
    shared = std::make_unique<world<Strategy, Format, Rcu>>(c);
    error = shared->start();
  }
  std::size_t next = 0;
  const std::vector<trace_unmap>& unmaps = *c.work.unmaps;
  for (auto _ : state) {
    if (error.empty() && shared->agents.empty()) error = "the machine did not start";
    if (!error.empty()) continue;  // the loop runs to its end, where all threads meet
    if (const char* wrong = cycle(*shared, shared->workers[me], unmaps[next++], c.work.huge_pages); wrong != nullptr) error = wrong;
  }
  if (me == 0) {
    if (error.empty()) error = publish(*shared, state);
    if (error.empty()) publish_pass(c.work, state);
    shared.reset();
  }
  if (!error.empty()) state.SkipWithError(error.c_str());
}

template <class Strategy, class Format = table::stage1_k4, class Rcu = host::memb_rcu>
void register_with(const bench_case& c, progress_meter& meter) {
  auto shared = std::make_shared<std::unique_ptr<world<Strategy, Format, Rcu>>>();
  benchmark::RegisterBenchmark(c.label().c_str(), [c, &meter, shared](benchmark::State& state) { run<Strategy, Format, Rcu>(state, c, meter, *shared); })
      ->Iterations(static_cast<benchmark::IterationCount>(c.work.unmaps->size()))
      ->Threads(static_cast<int>(c.threads))
      ->UseRealTime()
      ->Unit(benchmark::kMicrosecond);
}

}  // namespace

void progress_meter::step(const std::string& what) {
  ++done_;
  const bool terminal = isatty(STDERR_FILENO) != 0;
  if (terminal) {
    std::fprintf(stderr, "\r\033[K[%zu/%zu] %s", done_, total_, what.c_str());
  } else if (done_ == 1 || done_ * 10 / total_ != (done_ - 1) * 10 / total_) {
    std::fprintf(stderr, "[%zu/%zu] %s\n", done_, total_, what.c_str());
  }
  std::fflush(stderr);
}

void progress_meter::finish() {
  if (isatty(STDERR_FILENO) != 0) std::fprintf(stderr, "\r\033[K");
}

void register_unmap(const bench_case& c, progress_meter& meter) {
  switch (c.work.on.flavour) {
    case flavour_kind::memb: break;
    case flavour_kind::mb: return register_with<queue::owner_cas, table::stage1_k4, host::mb_rcu>(c, meter);
    case flavour_kind::bp: return register_with<queue::owner_cas, table::stage1_k4, host::bp_rcu>(c, meter);
    case flavour_kind::qsbr: return register_with<queue::owner_cas, table::stage1_k4, host::qsbr_rcu>(c, meter);
  }
  // The other formats run on the baseline strategy only: what they add is commands, not contention.
  switch (c.work.on.format) {
    case format_kind::stage1_4k: break;
    case format_kind::stage1_16k: return register_with<queue::owner_cas, table::stage1_k16>(c, meter);
    case format_kind::stage1_64k: return register_with<queue::owner_cas, table::stage1_k64>(c, meter);
    case format_kind::stage2_4k: return register_with<queue::owner_cas, table::stage2_k4>(c, meter);
  }
  switch (c.strategy) {
    case strategy_kind::locked: return register_with<queue::locked>(c, meter);
    case strategy_kind::owner_cas: return register_with<queue::owner_cas>(c, meter);
  }
}

}  // namespace shootdown::bench
