// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include <shootdown/queue/command_queue.hpp>
#include <shootdown/queue/locked.hpp>
#include <shootdown/queue/owner_cas.hpp>

#include "scenarios/ring_device.hpp"
#include "scenarios/scenario.hpp"

// Command queues against a device of their own: rings that wrap and fill, handlers that submit, timeouts, errors.
namespace scenarios {

using shootdown::queue::completion_mode;

/// A queue and its device. Lists are numbered; work() is what a caller of the library does with one.
template <class Env, class Strategy>
struct queue_world {
  using device_type = ring_device<Env>;

  explicit queue_world(trial& owner, unsigned log2size, completion_mode mode) : t{owner}, device{owner}, queue{device} {
    using namespace shootdown;
    config.log2size = log2size;
    config.ring = device.allocate_dma(std::size_t{16} << log2size, std::size_t{16} << log2size);
    config.msi_word = device.allocate_dma(8, 8);
    config.prod_offset = device_type::prod_offset;
    config.cons_offset = device_type::cons_offset;
    config.gerror_offset = device_type::gerror_offset;
    config.gerrorn_offset = device_type::gerrorn_offset;
    const bool coherent = !t.weak() || t.options().weak.coherent;
    config.completion = coherent ? mode : completion_mode::cons_poll;  // a message needs a coherent SMMU
    t.require(queue.configure(config).ok(), "the queue could not be configured");
    device.attach(config.ring, log2size);
    t.name(config.msi_word.cpu, 8, "msi");
  }
  void run_device() {
    t.agent("device", [this] { return device.turn(); });
  }
  /// Everything that happened to this list is as promised.
  void expect_done(std::uint32_t id) {
    t.require(device.executed[id].load(std::memory_order_relaxed) == 1, "completion was reported before the commands were executed");
  }
  [[nodiscard]] shootdown::ticket submit(std::uint32_t id, std::uint32_t size, shootdown::completion c = shootdown::completion::sync) {
    device.written[id].store(1, std::memory_order_relaxed);
    const auto r = queue.submit(numbered_list{id, size, c}, shootdown::deadline::never());
    t.require(r.ok(), "a list was refused");
    return *r;
  }
  void work(std::uint32_t id, std::uint32_t size) {
    shootdown::ticket k = submit(id, size);
    t.require(queue.wait(k, shootdown::deadline::never()).ok(), "a list failed");
    expect_done(id);
  }
  void expect_order() { t.require(queue.check_invariants(), "the queue's invariants do not hold"); }

  trial& t;
  device_type device;
  shootdown::queue::command_queue<Env, device_type, Strategy> queue;
  shootdown::queue::queue_config<Env> config{};
};

/// Some CPUs, each with some lists, in a ring that wraps and is too small for all of them.
template <class Env, class Strategy, completion_mode Mode, unsigned Log2, unsigned Lists, bool Waits = true, bool Careless = false>
void ring_wraps(trial& t) {
  auto& w = t.make<queue_world<Env, Strategy>>(t, Log2, Mode);
  std::uint32_t next = 0;
  while (next * 4 + 4 < (1u << Log2)) w.work(next++, 3);  // up to a few slots before the end of the first lap
  for (unsigned c = 0; c != 2; ++c)
    t.cpu("cpu", [&, c, next] {
      for (unsigned i = 0; i != Lists; ++i) {
        const std::uint32_t id = next + c * Lists + i;
        if (Waits) {
          w.work(id, 1 + (c + i) % 2);
        } else {
          static_cast<void>(w.submit(id, 1));
          w.expect_done(id);
        }
      }
    });
  w.device.careless_cons = Careless;
  w.run_device();
  t.go();
  w.expect_order();
}

/// Some CPUs at once: with the owner strategy one may gather for the others, and owners follow one another.
template <class Env, class Strategy, completion_mode Mode, unsigned Log2, unsigned Cpus = 3>
void owners_gather(trial& t) {
  auto& w = t.make<queue_world<Env, Strategy>>(t, Log2, Mode);
  for (unsigned c = 0; c != Cpus; ++c) t.cpu("cpu", [&, c] { w.work(c, 1); });
  w.run_device();
  t.go();
  w.expect_order();
}

/// A handler on the CPU that is submitting or waiting submits and waits, too.
template <class Env, class Strategy, completion_mode Mode, unsigned Log2>
void handler_submits(trial& t) {
  auto& w = t.make<queue_world<Env, Strategy>>(t, Log2, Mode);
  t.cpu("cpu", [&] { w.work(0, 1); });
  t.cpu("other", [&] { w.work(1, 1); });
  t.interrupt(0, [&w, id = std::uint32_t{2}]() mutable { w.work(id++, 1); });
  w.run_device();
  t.go();
  w.expect_order();
}

/// The ring is full of lists that nobody waits for; two CPUs want room for different amounts.
template <class Env, class Strategy, completion_mode Mode, unsigned Log2, bool Waits = true>
void ring_is_full(trial& t) {
  using namespace shootdown;
  auto& w = t.make<queue_world<Env, Strategy>>(t, Log2, Mode);
  w.device.stuck.store(1, std::memory_order_relaxed);
  constexpr std::uint32_t slots = 1u << Log2;
  for (std::uint32_t i = 0; i != 4; ++i) static_cast<void>(w.submit(i, slots / 4, completion::none));
  t.require(w.queue.try_submit(numbered_list{9, 1}).code() == errc::would_block, "there was room in a full ring");
  w.device.stuck.store(0, std::memory_order_relaxed);
  t.cpu("large", [&] { w.work(4, slots / 4 + 1); });
  t.cpu("small", [&] {
    if (Waits) return w.work(5, 1);
    ticket k = w.submit(5, 1);
    t.require(w.queue.wait(k, deadline::in(Env::now(), nanoseconds{1})).ok() || true, "");
    w.expect_done(5);
  });
  w.run_device();
  t.go();
  w.expect_order();
  t.require(w.device.consumed == slots + slots / 4 + 1 + 1 + 2, "commands were lost");
}

/// The device stops for a while. Whoever meets his deadline must be told, and may ask again.
template <class Env, class Strategy, completion_mode Mode, unsigned Log2, bool Believes = false>
void sync_times_out(trial& t) {
  using namespace shootdown;
  auto& w = t.make<queue_world<Env, Strategy>>(t, Log2, Mode);
  w.device.stuck.store(1, std::memory_order_relaxed);
  t.cpu("impatient", [&] {
    ticket k = w.submit(0, 1);
    const status s = w.queue.wait(k, deadline::in(Env::now(), nanoseconds{10}));
    t.require(s.ok() || s.code() == errc::timed_out, "neither done nor timed out");
    if (s.ok() || Believes) w.expect_done(0);
    if (!s.ok() && t.choose(2) == 0) {
      t.require(w.queue.wait(k, deadline::never()).ok(), "a list failed after its timeout");
      w.expect_done(0);
    } else if (!s.ok()) {
      w.queue.abandon(k);
      t.require(w.queue.poll(k).code() == errc::timed_out, "an abandoned ticket says something else");
    }
  });
  t.cpu("patient", [&] {
    w.device.stuck.store(0, std::memory_order_relaxed);
    w.work(1, 1);
  });
  w.run_device();
  t.go();
  w.expect_order();
}

/// The device refuses a command of one list while others insert; a service routine may recover, or a waiter.
template <class Env, class Strategy, completion_mode Mode, unsigned Log2, bool Believes = false>
void error_is_recovered(trial& t) {
  using namespace shootdown;
  auto& w = t.make<queue_world<Env, Strategy>>(t, Log2, Mode);
  w.device.refuses = 0;
  t.cpu("culprit", [&] {
    ticket k = w.submit(0, 1);
    const status s = w.queue.wait(k, deadline::never());
    if (Believes)
      w.expect_done(0);
    else
      t.require(s.code() == errc::illegal_command, "the culprit was not told");
  });
  t.cpu("bystander", [&] { w.work(1, 2); });
  t.cpu("service", [&] {
    const status s = w.queue.recover();
    t.require(s.ok() || s.code() == errc::busy || s.code() == errc::illegal_command, "the service found something else");
  });
  w.run_device();
  t.go();
  w.expect_order();
  t.require(w.queue.errors().total() == 1, "the error was recorded more than once, or not at all");
}

inline void add_queues(collection& all) {
  using shootdown::queue::locked;
  using shootdown::queue::owner_cas;
  constexpr auto poll = completion_mode::cons_poll, msi = completion_mode::msi;
  const auto right = [&](const char* name, const char* about, void (*body)(trial&), unsigned interrupts = 0) {
    all.push_back({{name, about, body}, {}, false, false, interrupts});
  };
  const auto broken = [&](const char* name, const char* of, const char* about, void (*body)(trial&), bool weak_only,
                          unsigned interrupts = 0) { all.push_back({{name, about, body}, of, weak_only, false, interrupts}); };
  constexpr bool weak = true, any = false;

  right("wrap_locked_4", "4 slots, two CPUs, two laps, CONS polled", ring_wraps<env, locked, poll, 2, 2>);
  right("wrap_locked_8", "8 slots, two CPUs, by message", ring_wraps<env, locked, msi, 3, 3>);
  right("wrap_owner_cas", "64 slots, near the end of a lap, CONS polled", ring_wraps<env, owner_cas, poll, 6, 2>);
  right("wrap_owner_cas_msi", "64 slots, near the end of a lap, by message", ring_wraps<env, owner_cas, msi, 6, 2>);
  broken("wrap_locked_4.no_wait", "wrap_locked_4", "nobody waits for the SYNC", ring_wraps<env, locked, poll, 2, 2, false>, any);
  broken("wrap_locked_4.early_cons", "wrap_locked_4", "CONS moves before the command was read",
         ring_wraps<env, locked, poll, 2, 2, true, true>, any);
  broken("wrap_locked_8.no_acquire", "wrap_locked_8", "no operation acquires", ring_wraps<env_without_acquire, locked, msi, 3, 3>, weak);
  broken("wrap_owner_cas.no_release", "wrap_owner_cas", "no operation releases", ring_wraps<env_without_release, owner_cas, poll, 6, 2>,
         weak);
  broken("wrap_owner_cas_msi.no_wait", "wrap_owner_cas_msi", "nobody waits for the SYNC", ring_wraps<env, owner_cas, msi, 6, 2, false>,
         any);

  all.push_back({{"pair_locked", "two CPUs at once", owners_gather<env, locked, poll, 2, 2>}, {}, false, true});
  all.push_back({{"pair_owner_cas", "two CPUs at once", owners_gather<env, owner_cas, msi, 6, 2>}, {}, false, true});
  broken("pair_locked.no_release", "pair_locked", "no operation releases", owners_gather<env_without_release, locked, poll, 2, 2>, weak);
  broken("pair_owner_cas.no_acquire", "pair_owner_cas", "no operation acquires", owners_gather<env_without_acquire, owner_cas, msi, 6, 2>,
         weak);
  right("gather_locked", "three CPUs at once", owners_gather<env, locked, msi, 2>);
  right("gather_owner_cas", "three CPUs at once: owners gather and follow one another", owners_gather<env, owner_cas, poll, 6>);
  right("gather_owner_cas_msi", "the same by message", owners_gather<env, owner_cas, msi, 6>);
  broken("gather_locked.no_acquire", "gather_locked", "no operation acquires", owners_gather<env_without_acquire, locked, msi, 2>, weak);
  broken("gather_owner_cas.no_acquire", "gather_owner_cas", "no operation acquires", owners_gather<env_without_acquire, owner_cas, poll, 6>,
         weak);
  broken("gather_owner_cas_msi.no_release", "gather_owner_cas_msi", "no operation releases",
         owners_gather<env_without_release, owner_cas, msi, 6>, weak);

  right("handler_locked", "a handler submits on the CPU that does", handler_submits<env, locked, poll, 3>, 2);
  right("handler_owner_cas", "a handler submits on the CPU that does", handler_submits<env, owner_cas, poll, 6>, 2);
  right("handler_owner_cas_msi", "the same by message", handler_submits<env, owner_cas, msi, 6>, 2);
  broken("handler_locked.interrupts_on", "handler_locked", "interrupts are on under the lock",
         handler_submits<env_without_irq_guard, locked, poll, 3>, any, 2);
  broken("handler_owner_cas.interrupts_on", "handler_owner_cas", "interrupts are on from reservation to publication",
         handler_submits<env_without_irq_guard, owner_cas, poll, 6>, any, 2);

  broken("handler_owner_cas_msi.interrupts_on", "handler_owner_cas_msi", "interrupts are on from reservation to publication",
         handler_submits<env_without_irq_guard, owner_cas, msi, 6>, any, 2);
  right("full_locked_4", "4 slots, all taken", ring_is_full<env, locked, poll, 2>);
  right("full_locked_8", "8 slots, all taken, by message", ring_is_full<env, locked, msi, 3>);
  right("full_owner_cas", "64 slots, all taken", ring_is_full<env, owner_cas, poll, 6>);
  broken("full_locked_4.no_wait", "full_locked_4", "the SYNC is not waited for", ring_is_full<env, locked, poll, 2, false>, any);
  broken("full_owner_cas.no_wait", "full_owner_cas", "the SYNC is not waited for", ring_is_full<env, owner_cas, poll, 6, false>, any);

  broken("full_locked_8.no_wait", "full_locked_8", "the SYNC is not waited for", ring_is_full<env, locked, msi, 3, false>, any);
  right("timeout_locked", "the device stops; a deadline passes", sync_times_out<env, locked, poll, 3>);
  right("timeout_owner_cas", "the device stops; a deadline passes", sync_times_out<env, owner_cas, msi, 6>);
  broken("timeout_locked.believed", "timeout_locked", "a timeout is taken for completion", sync_times_out<env, locked, poll, 3, true>, any);
  broken("timeout_owner_cas.believed", "timeout_owner_cas", "a timeout is taken for completion",
         sync_times_out<env, owner_cas, msi, 6, true>, any);

  right("error_locked", "an illegal command while others insert", error_is_recovered<env, locked, poll, 3>);
  right("error_owner_cas", "an illegal command while others insert", error_is_recovered<env, owner_cas, poll, 6>);
  broken("error_locked.ignored", "error_locked", "the culprit believes in completion", error_is_recovered<env, locked, poll, 3, true>, any);
  broken("error_locked.no_acquire", "error_locked", "no operation acquires", error_is_recovered<env_without_acquire, locked, poll, 3>,
         weak);
  broken("error_owner_cas.no_release", "error_owner_cas", "no operation releases",
         error_is_recovered<env_without_release, owner_cas, poll, 6>, weak);
}

}  // namespace scenarios
