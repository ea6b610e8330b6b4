// SPDX-License-Identifier: MIT
// Attach/detach races: what some CPUs do and in which order their steps come, both from the input. Two address spaces, up to
// four streams, devices that use every page they ever saw. Two worlds: `tiny` (domains alone over two ports that keep all they may,
// one of which can be removed; tests/scenarios/domains.hpp), and `machine` (the whole stack over the model SMMU with the DMA oracle,
// machine_world.hpp).
//
// Input: tag; world and memory (1 byte: bit 0 machine, bit 1 weak, bit 2 late stores, bit 3 no snooping, bits 4 and 5 interrupts,
// bit 6 an allocation may fail, bit 7 compare-exchanges may fail); five programs: before the run, CPU 0, 1, 2, and the handler
// of CPU 0, each a count (1 byte, modulo 6) and that many operations of a byte; the rest is the schedule (sim::byte_driver).
// An operation: bits 0 to 2 what (map, unmap, attach, detach, replace, reattach, use, impatient unmap), bit 3 the space, bits 4
// and 5 the page or the stream, bits 6 and 7 with or without ATS, or the page used; detach with bit 6 removes the whole SMMU.
//
// Compiled with SHOOTDOWN_RACES_WITHOUT=1 no full fence is there, with 2 the flush of a tag is lost, with 3 no operation
// acquires: to see that, and how soon, this target finds it.
//
// Under test: invs/domain.hpp invs/array.hpp invs/ats_section.hpp invs/invalidation.hpp device/stage1_stream.hpp table/entry_writer.hpp
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <shootdown/env/sanitizer.hpp>
#include <shootdown/env/spinlock.hpp>
#include <shootdown/sim/drivers.hpp>
#include <shootdown/sim/explore.hpp>

#include "scenarios/domains.hpp"
#include "scenarios/machine_world.hpp"

#include "input.hpp"

#ifndef SHOOTDOWN_RACES_WITHOUT
#define SHOOTDOWN_RACES_WITHOUT 0
#endif

extern "C" const std::uint8_t fuzz_format_tag = 'X';

namespace {
using namespace shootdown;
using sim::trial;

#if SHOOTDOWN_RACES_WITHOUT == 1
using env = scenarios::env_without_fences;
#elif SHOOTDOWN_RACES_WITHOUT == 3
using env = scenarios::env_without_acquire;
#else
using env = scenarios::env;
#endif
constexpr opcode lost = SHOOTDOWN_RACES_WITHOUT == 2 ? opcode::tlbi_nh_asid : opcode{};
using machine = scenarios::machine_world<env, scenarios::machine_omissions{.command = lost}>;
using tiny = scenarios::domain_world<env, scenarios::omissions{.command = lost}>;

struct operation {
  std::uint8_t code{};
  enum class what : std::uint8_t { map, unmap, attach, detach, replace, reattach, use, unmap_impatiently };
  [[nodiscard]] what kind() const { return static_cast<what>(code & 7); }
  [[nodiscard]] unsigned space() const { return code >> 3 & 1; }
  [[nodiscard]] unsigned page() const { return code >> 4 & 3; }
  [[nodiscard]] unsigned stream(unsigned n) const { return (code >> 4 & 3) % n; }
  [[nodiscard]] bool ats() const { return (code >> 6 & 1) != 0; }
  [[nodiscard]] unsigned used_page() const { return code >> 6; }
  [[nodiscard]] std::string text(unsigned streams) const {
    static constexpr const char* names[]{"map", "unmap", "attach", "detach", "replace", "reattach", "use", "unmap_impatiently"};
    std::string s = names[code & 7];
    switch (kind()) {
      case what::map:
      case what::unmap:
      case what::unmap_impatiently: return s + " space " + std::to_string(space()) + " page " + std::to_string(page());
      case what::use: return s + " stream " + std::to_string(stream(streams)) + " page " + std::to_string(used_page());
      case what::attach:
        return s + " stream " + std::to_string(stream(streams)) + " space " + std::to_string(space()) + (ats() ? " ats" : "");
      default: return s + " stream " + std::to_string(stream(streams));
    }
  }
};
struct programs {
  static constexpr unsigned cpus = 3;
  std::vector<operation> before, cpu[cpus], handler;
};

/// Control operations of one stream come one after another.
struct holder {
  explicit holder(env::mutex& m) : mutex{m} { mutex.lock(); }
  ~holder() { mutex.unlock(); }
  holder(const holder&) = delete;
  holder& operator=(const holder&) = delete;
  env::mutex& mutex;
};

/// Operations on the whole stack. A page is unmapped by one flow at a time, and a stream controlled by one; what does not fit
/// the state is left out.
class on_machine {
 public:
  static constexpr unsigned streams = machine::streams;
  explicit on_machine(trial& t, bool ats)
      : w_{t, scenarios::machine_setup{.cmdq_log2 = 6, .by_message = t.choose(2) != 0, .ats = ats}}, ats_{ats} {}
  void run_devices() { w_.run_smmu(); }
  void finish() { w_.finish(); }

  void map(unsigned s, unsigned page) {
    unsigned frame = machine::frames;
    {
      const tsan_ignore notes;
      if (state_[s][page] != page_is::absent) return;
      for (unsigned f = machine::frames; f-- != 0;)
        if (w_.is_free(f)) frame = f;
      if (frame == machine::frames) return;
      state_[s][page] = page_is::busy;
    }
    w_.map(s, number(page), frame);
    becomes(s, page, page_is::mapped);
  }
  void unmap(unsigned s, unsigned page, bool impatient) {
    {
      const tsan_ignore notes;
      if (state_[s][page] != page_is::mapped) return;
      state_[s][page] = page_is::busy;
    }
    machine::gather_type g;
    w_.remove(s, number(page), g);
    if (!impatient || !w_.ask(s, number(page), g, deadline::in(env::now(), nanoseconds{100})))
      w_.t.require(w_.ask(s, number(page), g, deadline::never()), "an invalidation timed out without a deadline");
    becomes(s, page, page_is::absent);
  }
  void attach(unsigned n, unsigned s, bool ats) {
    const holder one{lock_[n]};
    if (w_.stream_list[n].of == machine::none) static_cast<void>(w_.attach(n, s, ats && ats_));
  }
  void detach(unsigned n) {
    const holder one{lock_[n]};
    if (w_.stream_list[n].of != machine::none) w_.detach(n);
  }
  void remove(unsigned n) { detach(n); }  // there is one SMMU only
  void replace(unsigned n) {
    const holder one{lock_[n]};
    if (w_.stream_list[n].of != machine::none) static_cast<void>(w_.replace(n, 1 - w_.stream_list[n].of));
  }
  void reattach(unsigned n) {
    const holder one{lock_[n]};
    auto& it = w_.stream_list[n];
    if (it.of != machine::none && ats_) static_cast<void>(w_.reattach(n, !it.device.is_on()));
  }
  void use(unsigned n, unsigned page) { w_.access(n, number(page)); }

 private:
  enum class page_is : std::uint8_t { absent, busy, mapped };
  /// Page 3 lies in a table of its own.
  [[nodiscard]] static unsigned number(unsigned page) { return page == 3 ? machine::far : page; }
  void becomes(unsigned s, unsigned page, page_is p) {
    const tsan_ignore notes;
    state_[s][page] = p;
  }

  machine w_;
  bool ats_;
  std::array<std::array<page_is, 4>, machine::spaces> state_{};
  std::array<env::mutex, streams> lock_{};
};

/// The same on domains alone: a space is one page, which is always mapped. Streams 0 and 1 are behind one SMMU, 2 and 3 behind another.
class on_tiny {
 public:
  static constexpr unsigned smmus = 2, streams = smmus * tiny::smmu_type::streams;
  explicit on_tiny(trial& t, bool) : w_{t, smmus} { w_.several_unmap = true; }
  void run_devices() { w_.run_devices(); }
  void finish() {
    for (unsigned n = 0; n != streams; ++n) use(n, 0);
    for (unsigned n = 0; n != streams; ++n) detach(n);
    w_.finish();
  }

  void map(unsigned, unsigned) {}
  void unmap(unsigned s, unsigned, bool) { w_.unmap(s); }
  void attach(unsigned n, unsigned s, bool ats) {
    const holder one{lock_[n]};
    if (of_[n] != none || (smmu_of(n) != 0 && removed_)) return;  // removed_: under the locks of the second SMMU's streams
    hw(n).gone(local(n), false);
    hw(n).allow(local(n), 0, 1u << s);
    if (done(w_.domains[s].attach(at_[n], member(n, ats), ops(n, s), deadline::never()))) {
      of_[n] = s;
      ats_[n] = ats;
    }
  }
  void detach(unsigned n) {
    const holder one{lock_[n]};
    leave(n);
  }
  /// The second SMMU goes, once and for all. Its streams are detached, then those who hold an array from before are waited for.
  void remove(unsigned n) {
    if (smmu_of(n) == 0) return detach(n);
    const holder first{lock_[2]};
    const holder second{lock_[3]};
    leave(2);
    leave(3);
    if (removed_) return;
    tiny::domain_type::synchronize();
    w_.hw[1].remove();
    removed_ = true;
  }
  void replace(unsigned n) {
    const holder one{lock_[n]};
    if (of_[n] == none) return;
    const unsigned to = 1 - of_[n];
    hw(n).allow(local(n), 0, 3);
    if (done(w_.domains[of_[n]].replace(at_[n], w_.domains[to], ops(n, to), deadline::never()))) of_[n] = to;
    hw(n).allow(local(n), 0, 1u << of_[n]);
  }
  void reattach(unsigned n) {
    const holder one{lock_[n]};
    if (of_[n] == none) return;
    if (done(w_.domains[of_[n]].reattach(at_[n], member(n, !ats_[n]), ops(n, of_[n]), deadline::never()))) ats_[n] = !ats_[n];
  }
  void use(unsigned n, unsigned) { hw(n).access(local(n)); }

 private:
  static constexpr unsigned none = ~0u;
  static unsigned smmu_of(unsigned n) { return n / tiny::smmu_type::streams; }
  static unsigned local(unsigned n) { return n % tiny::smmu_type::streams; }
  [[nodiscard]] tiny::smmu_type& hw(unsigned n) { return w_.hw[smmu_of(n)]; }
  [[nodiscard]] tiny::ops_type ops(unsigned n, unsigned s) { return w_.ops(smmu_of(n), local(n), s); }
  [[nodiscard]] master<tiny::smmu_type> member(unsigned n, bool ats) { return w_.member(smmu_of(n), local(n), ats); }
  void leave(unsigned n) {
    if (of_[n] == none) return;
    w_.detach(at_[n], of_[n], smmu_of(n), local(n));
    of_[n] = none;
  }
  [[nodiscard]] bool done(status s) {
    if (s.code() == errc::no_memory && w_.t.options().allocation_failures != 0) return false;
    if (!s.ok()) w_.t.fail(std::string{"a control operation failed: "} + name(s.code()));
    return true;
  }

  tiny w_;
  std::array<tiny::attachment_type, streams> at_{};
  std::array<unsigned, streams> of_{none, none, none, none};
  std::array<bool, streams> ats_{};
  std::array<env::mutex, streams> lock_{};
  bool removed_{};
};

template <class World>
void perform(World& w, operation o) {
  using what = operation::what;
  switch (o.kind()) {
    case what::map: return w.map(o.space(), o.page());
    case what::unmap: return w.unmap(o.space(), o.page(), false);
    case what::unmap_impatiently: return w.unmap(o.space(), o.page(), true);
    case what::attach: return w.attach(o.stream(World::streams), o.space(), o.ats());
    case what::detach: return o.ats() ? w.remove(o.stream(World::streams)) : w.detach(o.stream(World::streams));
    case what::replace: return w.replace(o.stream(World::streams));
    case what::reattach: return w.reattach(o.stream(World::streams));
    case what::use: return w.use(o.stream(World::streams), o.used_page());
  }
}
/// A handler may unmap and nothing else: control operations sleep.
template <class World>
void perform_in_handler(World& w, operation o) {
  w.unmap(o.space(), o.page(), false);
}

template <class World>
void play(trial& t, const programs& p) {
  bool ats = false;  // an SMMU without ATS has fewer steps
  for (const auto* list : {&p.before, &p.cpu[0], &p.cpu[1], &p.cpu[2]})
    for (const operation o : *list) ats = ats || o.kind() == operation::what::reattach || (o.kind() == operation::what::attach && o.ats());
  auto& w = t.make<World>(t, ats);
  for (const operation o : p.before) perform(w, o);
  for (unsigned c = 0; c != programs::cpus; ++c)
    if (c == 0 || !p.cpu[c].empty())
      t.cpu("cpu" + std::to_string(c), [&w, &t, &p, c] {
        for (const operation o : p.cpu[c]) {
          t.note("-- " + o.text(World::streams));
          perform(w, o);
        }
      });
  if (!p.handler.empty())
    t.interrupt(0, [&w, &p] {
      for (const operation o : p.handler) perform_in_handler(w, o);
    });
  w.run_devices();
  t.go();
  w.finish();
}

void print(const char* name, const std::vector<operation>& list, unsigned streams) {
  if (list.empty()) return;
  std::fprintf(stderr, "%s:", name);
  for (const operation o : list) std::fprintf(stderr, " %s;", o.text(streams).c_str());
  std::fprintf(stderr, "\n");
}
[[noreturn]] void report(const sim::scenario& s, const sim::failure& f, const programs& p, unsigned streams) {
  print("before", p.before, streams);
  for (unsigned c = 0; c != programs::cpus; ++c) print(("cpu" + std::to_string(c)).c_str(), p.cpu[c], streams);
  print("handler", p.handler, streams);
  std::fprintf(stderr, "schedule: %s\n", f.schedule.c_str());
  const auto parsed = sim::parse_schedule(f.schedule);
  const auto again = parsed.ok() ? sim::replay(s, *parsed) : parsed.status();
  if (again.ok() && again->has_value()) {
    const auto& steps = (*again)->steps;
    const std::size_t shown = std::getenv("SHOOTDOWN_RACES_STEPS") != nullptr ? ~std::size_t{0} : 300;
    for (std::size_t i = steps.size() > shown ? steps.size() - shown : 0; i != steps.size(); ++i)
      std::fprintf(stderr, "%s\n", steps[i].c_str());
    if ((*again)->what != f.what) std::fprintf(stderr, "the schedule did not repeat the failure, but: %s\n", (*again)->what.c_str());
  } else {
    std::fprintf(stderr, "the schedule did not repeat the failure\n");
  }
  fuzz::broken(f.what.c_str());
}

std::vector<operation> read_program(fuzz::input& in) {
  std::vector<operation> list(in.below(6));
  for (operation& o : list) o.code = in.u8();
  return list;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::input in{data, size};
  if (!in.tagged()) return -1;
  const std::uint8_t head = in.u8();
  programs p;
  p.before = read_program(in);
  for (auto& c : p.cpu) c = read_program(in);
  p.handler = read_program(in);

  sim::trial_options o;
  o.memory = (head & 2) != 0 ? sim::memory_model::weak : sim::memory_model::sequential;
  o.weak.placement = (head & 4) != 0;
  o.weak.coherent = (head & 8) == 0;
  o.interrupts = p.handler.empty() ? 0 : head >> 4 & 3;
  o.allocation_failures = head >> 6 & 1;
  o.spurious_failures = (head & 128) != 0;

  const bool whole = (head & 1) != 0;
  const sim::scenario s{"races", "", [&p, whole](trial& t) { whole ? play<on_machine>(t, p) : play<on_tiny>(t, p); }};
  sim::byte_driver driver{{in.rest(), in.left()}};
  sim::exploration sum;
  const auto failed = sim::detail::run_trial(s, driver, o, nullptr, sum);
  fuzz::position() = size - in.left() + driver.used();
  if (failed) report(s, *failed, p, whole ? on_machine::streams : on_tiny::streams);
  return 0;
}
