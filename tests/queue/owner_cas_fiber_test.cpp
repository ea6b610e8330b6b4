// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <shootdown/arch/cmd_sync.hpp>
#include <shootdown/arch/command.hpp>
#include <shootdown/arch/queue_word.hpp>
#include <shootdown/env/sanitizer.hpp>
#include <shootdown/queue/command_queue.hpp>
#include <shootdown/queue/error_log.hpp>
#include <shootdown/queue/locked.hpp>
#include <shootdown/queue/owner_cas.hpp>
#include <shootdown/sim/round_robin_env.hpp>

// Reservation, publication and completion with a switch before every access: submitters and the device as fibers, many seeds.
namespace {

using namespace shootdown;

/// Now and then a fiber sleeps for many hundred turns of the others right before an access, as a CPU that is taken away there does.
/// The scheduler alone gives every fiber its turn in each round.
struct naps {
  static inline std::uint64_t random = 1;
  static std::uint64_t draw() noexcept {
    random = random * 6364136223846793005u + 1442695040888963407u;
    return random >> 33;
  }
  static void maybe() noexcept {
    if (draw() % 16 == 0)
      for (std::uint64_t turns = draw() % 2000; turns != 0; --turns) sim::round_robin_env::relax();
  }
};
template <class T>
struct napping_atomic : sim::round_robin_atomic<T> {
  using base = sim::round_robin_atomic<T>;
  using base::base;
  void store(T v, std::memory_order o) noexcept { naps::maybe(), base::store(v, o); }
  T fetch_add(T v, std::memory_order o) noexcept { return naps::maybe(), base::fetch_add(v, o); }
  T fetch_sub(T v, std::memory_order o) noexcept { return naps::maybe(), base::fetch_sub(v, o); }
  T fetch_and(T v, std::memory_order o) noexcept { return naps::maybe(), base::fetch_and(v, o); }
  T fetch_xor(T v, std::memory_order o) noexcept { return naps::maybe(), base::fetch_xor(v, o); }
  bool compare_exchange_weak(T& e, T v, std::memory_order ok, std::memory_order failed) noexcept {
    return naps::maybe(), base::compare_exchange_weak(e, v, ok, failed);
  }
};
template <>
struct napping_atomic<int*> : sim::round_robin_atomic<int*> {  // no arithmetic; the queue has none of these
  using sim::round_robin_atomic<int*>::round_robin_atomic;
};
struct env : sim::round_robin_env {
  template <class T>
  using atomic = napping_atomic<T>;
};

/// The device as a fiber: fetches with a switch before each word, notes what breaks the contract.
class fiber_device {
 public:
  static constexpr unsigned log2size = 6;
  static constexpr std::uint32_t prod_offset = 0x98, cons_offset = 0x9c;
  static constexpr std::uint64_t poison = 0xff, bus_base = 0x10'0000;

  std::uint32_t read32(std::uint32_t offset) noexcept {
    return offset == cons_offset   ? cons_.load(std::memory_order_acquire)
           : offset == prod_offset ? prod_.load(std::memory_order_acquire)
                                   : 0;
  }
  void write32(std::uint32_t offset, std::uint32_t v) noexcept {
    if (offset != prod_offset) return;
    const std::uint32_t used = geometry_.used(v, prod_.load(std::memory_order_relaxed));
    if (used > geometry_.slots()) note("PROD went backwards");
    prod_.store(v, std::memory_order_release);
  }
  std::uint64_t read64(std::uint32_t) noexcept { return 0; }
  void write64(std::uint32_t, std::uint64_t) noexcept {}
  dma_span<env> allocate_dma(std::size_t, std::size_t) noexcept { return {}; }
  void release_dma(dma_span<env>) noexcept {}
  void idle(deadline) noexcept { env::relax(); }

  [[nodiscard]] queue::queue_config<env> config(queue::completion_mode mode) noexcept {
    for (std::size_t i = 0; i != ring_.size(); i += 2) ring_[i].store(poison, std::memory_order_relaxed);
    queue::queue_config<env> c;
    c.ring = {ring_.data(), ring_.size(), bus_addr{bus_base}};
    c.log2size = log2size;
    c.prod_offset = prod_offset;
    c.cons_offset = cons_offset;
    c.completion = mode;
    c.msi_word = {&msi_, 1, bus_addr{bus_base + 0x1000}};
    return c;
  }
  /// Consumes until `done()`; `executed(command)` is the effect.
  void run(const std::function<bool()>& done, const std::function<void(command)>& executed) {
    while (!done()) {
      const std::uint32_t at = cons_.load(std::memory_order_relaxed);
      const std::uint32_t prod = prod_.load(std::memory_order_acquire);
      if (geometry_.empty(prod, at)) {
        env::relax();
        continue;
      }
      if (!geometry_.plausible(prod, at)) return note("PROD claims more than the ring holds");
      auto* const slot = &ring_[std::size_t{geometry_.index(at)} * 2];
      const command c{slot[0].load(std::memory_order_relaxed), slot[1].load(std::memory_order_relaxed)};
      if (static_cast<std::uint32_t>(c.dw0) == poison || static_cast<std::uint32_t>(c.dw0) == 0)
        note("a slot was published before it was written");
      executed(c);
      const auto s = opcode_of(c) == opcode::sync ? cmd::sync::decode(c) : cmd::sync{};
      auto* const target = s.cs != cmd::sync_signal::irq ? nullptr : raw(s.msiaddr) == bus_base + 0x1000 ? &msi_ : slot;
      if (target != slot) slot[0].store(poison, std::memory_order_relaxed);
      if (target != nullptr) target->store_low(s.msidata, std::memory_order_release);
      cons_.store(geometry_.add(at, 1), std::memory_order_release);
    }
  }
  [[nodiscard]] const std::string& breach() const noexcept { return breach_; }

 private:
  void note(const char* what) {
    if (breach_.empty()) breach_ = what;
  }
  std::array<env::dma_word, std::size_t{2} << log2size> ring_{};
  env::dma_word msi_{};
  env::atomic<std::uint32_t> prod_{}, cons_{};
  queue_geometry geometry_{log2size};
  std::string breach_;
};

/// `n` commands that carry the list's number.
struct marked_list {
  std::uint32_t id, n;
  [[nodiscard]] std::uint32_t size() const noexcept { return n; }
  [[nodiscard]] completion closing() const noexcept { return completion::sync; }
  template <class Sink>
  void emit(std::uint32_t first, std::uint32_t count, Sink&& sink) const noexcept {
    for (std::uint32_t i = first; i != first + count; ++i) {
      if (i % 8 == 0) naps::maybe();
      sink(command{static_cast<std::uint64_t>(opcode::tlbi_nh_va) | std::uint64_t{id} << 32, i});
    }
  }
};

/// What went wrong under one seed; empty: nothing.
template <class Strategy>
std::string submit_from_fibers(std::uint64_t seed, queue::completion_mode mode) {
  constexpr unsigned cpus = 3, lists = 10;
  fiber_device device;
  queue::command_queue<env, fiber_device, Strategy> queue{device};
  if (!queue.configure(device.config(mode)).ok()) return "configure";
  std::array<std::uint32_t, cpus * lists> executed{};
  std::string wrong;
  unsigned running = cpus;
  naps::random = seed + 1;
  std::vector<sim::round_robin::task> tasks;
  for (unsigned cpu = 0; cpu != cpus; ++cpu) {
    tasks.emplace_back([&, cpu] {
      for (unsigned i = 0; i != lists; ++i) {
        const auto n = static_cast<std::uint32_t>((seed * 7 + cpu * 5 + i * 11) % 30);
        const marked_list list{cpu * lists + i, n % 3 == 0 ? 1 + n : 1};
        result<ticket> t = queue.submit(list, deadline::never());
        const errc done = t.ok() ? queue.wait(*t, deadline::never()).code() : t.code();
        if (done != errc::ok) wrong = "a list was not ok";
        if (executed[list.id] != list.n) wrong = "complete before it was executed";
      }
      --running;
    });
  }
  tasks.emplace_back([&] {
    device.run([&] { return running == 0; },
               [&](command c) {
                 if (opcode_of(c) != opcode::sync) ++executed[c.dw0 >> 32];
               });
  });
  const auto report = sim::round_robin::run(
      std::move(tasks), {.seed = seed, .burst = 1 + static_cast<unsigned>(seed % 12), .step_limit = 400'000, .switches_order = true});
  if (report.failures != 0) return report.first_failure;
  if (!report.ok()) return "never ends";
  if (!device.breach().empty()) return device.breach();
  if (!queue.check_invariants()) return "invariants";
  return wrong;
}

template <class Strategy>
void under_many_schedules(queue::completion_mode mode, std::uint64_t seeds) {
  for (std::uint64_t seed = 0; seed != (SHOOTDOWN_TSAN ? 4 : seeds); ++seed)
    ASSERT_EQ(submit_from_fibers<Strategy>(seed, mode), "") << "seed " << seed;
}
TEST(owner_cas_fibers, lists_are_whole_and_complete_when_they_say_so) {
  under_many_schedules<queue::owner_cas>(queue::completion_mode::cons_poll, 80);
}
TEST(owner_cas_fibers, lists_are_whole_and_complete_when_they_say_so_by_message) {
  under_many_schedules<queue::owner_cas>(queue::completion_mode::msi, 80);
}
TEST(locked_fibers, lists_are_whole_and_complete_when_they_say_so) {
  under_many_schedules<queue::locked>(queue::completion_mode::cons_poll, 20);
  under_many_schedules<queue::locked>(queue::completion_mode::msi, 20);
}

// Every tenth position fails. While the log is overwritten lap after lap, a reader asks for a position that failed (its kind, or
// that nothing is known any more) and for a range between two (ok, or that nothing is known).
TEST(error_log_fibers, a_reader_beside_the_writer_sees_whole_records_or_is_told_to_ask_again) {
  unsigned judged = 0;
  for (std::uint64_t seed = 0; seed != (SHOOTDOWN_TSAN ? 4 : 25); ++seed) {
    queue::error_log<env> log;
    naps::random = seed + 1;
    std::uint64_t written = 0;
    std::string wrong;
    const auto kind_of = [](std::uint64_t n) { return n % 3 == 0 ? errc::atc_timed_out : errc::illegal_command; };
    std::vector<sim::round_robin::task> tasks;
    tasks.emplace_back([&] {
      for (std::uint64_t n = 0; n != 80; ++n) {
        log.record({seq64{n * 10 + 3}, seq64{n * 10 + 4}, kind_of(n), {n, ~n}});
        written = n + 1;
        for (std::uint64_t pause = n * seed % 200; pause != 0; --pause) env::relax();
      }
    });
    tasks.emplace_back([&] {
      std::uint64_t turn = 0;
      while (written != 80) {
        ++turn;
        if (written == 0) {
          env::relax();
          continue;
        }
        const std::uint64_t n = written - 1 - turn % 3 * 7 % written;
        const errc hit = log.outcome(seq64{n * 10 + 2}, seq64{n * 10 + 6});
        if (hit != kind_of(n) && hit != errc::unknown_error && hit != errc::pending) wrong = "an error was missed";
        const errc missed = log.outcome(seq64{n * 10 + 5}, seq64{n * 10 + 10});
        if (missed != errc::ok && missed != errc::unknown_error && missed != errc::pending) wrong = "a stranger was blamed";
        judged += hit != errc::pending ? 1u : 0u;
        std::array<queue::error_record, 16> kept{};
        const std::size_t copied = log.snapshot(kept);
        for (std::size_t i = 0; i != copied; ++i) {
          const std::uint64_t k = value(kept[i].first) / 10;
          if (kept[i] != queue::error_record{seq64{k * 10 + 3}, seq64{k * 10 + 4}, kind_of(k), {k, ~k}}) wrong = "a torn record";
        }
      }
    });
    const auto report = sim::round_robin::run(
        std::move(tasks), {.seed = seed, .burst = 1 + static_cast<unsigned>(seed % 40), .step_limit = 4'000'000, .switches_order = true});
    ASSERT_TRUE(report.ok()) << "seed " << seed;
    ASSERT_EQ(wrong, "") << "seed " << seed;
  }
  EXPECT_GT(judged, SHOOTDOWN_TSAN ? 50u : 500u) << "the reader has to get answers, not only be put off";
}

}  // namespace
