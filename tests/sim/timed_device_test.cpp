// SPDX-License-Identifier: MIT
// The SMMU of virtual time: what its registers and commands cost, and what it does not accept.
#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <shootdown/arch/cmd_device.hpp>
#include <shootdown/arch/cmd_sync.hpp>
#include <shootdown/arch/cmd_tlbi.hpp>
#include <shootdown/sim/timed_device.hpp>

namespace {

using namespace shootdown;
using env = sim::timed_env;
using machine = sim::reference_machine;
using device_type = sim::timed_device;
using sim::timed_options;
using sim::timed_report;
using sim::timed_run;
constexpr auto relaxed = std::memory_order_relaxed;
constexpr auto acquire = std::memory_order_acquire;

std::uint64_t now() { return since_epoch(env::now()); }

/// A device with a ring of 8 slots and a word for messages.
struct bench {
  static constexpr unsigned log2size = 3;
  explicit bench(sim::timed_device_options o = {}) : device{o} {
    ring = device.allocate_dma(std::size_t{command_bytes} << log2size, 128);
    message = device.allocate_dma(256, 64);  // four lines
    message.cpu->store(99, relaxed);
    device.attach(ring, log2size);
  }
  void put(std::uint32_t slot, command c) {
    ring.cpu[slot * 2].store(c.dw0, relaxed);
    ring.cpu[slot * 2 + 1].store(c.dw1, relaxed);
  }
  void bell(std::uint32_t prod) { device.write32(device_type::prod_offset, prod); }
  std::uint32_t cons() { return device.read32(device_type::cons_offset); }
  /// A CMD_SYNC whose message goes to the n-th line of the message memory.
  command signalled(std::uint32_t data, unsigned n = 0) const {
    return cmd::sync::message(bus_addr{raw(message.bus) + n * cache_line}, data).encode();
  }
  /// Polls that line's word; when it was seen.
  std::uint64_t seen(std::uint32_t data, unsigned n = 0) {
    while (static_cast<std::uint32_t>(message.cpu[n * cache_line / 8].load(acquire)) != data) device.idle(deadline::never());
    return now();
  }
  timed_report run(std::vector<timed_run::task> tasks, timed_options o = {}) {
    o.arbitration = {};
    timed_run r{o};
    r.watch(device.watcher());
    return r(std::move(tasks));
  }

  device_type device;
  dma_span<env> ring;
  dma_span<env> message;
};

command tlbi() { return cmd::tlbi_nh_va{}.encode(); }
command silent() { return cmd::sync::silent().encode(); }

/// What was wrong in a run that must not be clean.
std::string complaint(const timed_report& r) { return r.first_failure == nullptr ? "" : r.first_failure; }

TEST(timed_device, a_doorbell_is_posted_and_arrives_150_ns_later) {
  bench b;
  std::uint64_t cost = 0, arrived = 0;
  EXPECT_TRUE(b.run({[&] {
                 b.put(0, tlbi());  // 61 + 1
                 const std::uint64_t before = now();
                 b.bell(1);
                 cost = now() - before;
                 // TLBI: consumed at 62 + 150 + 15 = 227; a read that samples at 227 sees it, one at 226 does not.
                 timed_run::spend(226 - 150 - now());
                 EXPECT_EQ(b.cons(), 0u);
                 arrived = now();
               }}).ok());
  EXPECT_EQ(cost, 1u);
  EXPECT_EQ(arrived, 226u + 150);
  EXPECT_EQ(b.device.completed(), 1u);
}

TEST(timed_device, a_register_read_takes_300_ns_and_sees_the_device_half_way) {
  bench b;
  std::uint64_t cost = 0;
  EXPECT_TRUE(b.run({[&] {
                 b.put(0, tlbi());
                 b.bell(1);
                 timed_run::spend(227 - 150 - now());
                 const std::uint64_t before = now();
                 EXPECT_EQ(b.cons(), 1u);
                 cost = now() - before;
               }}).ok());
  EXPECT_EQ(cost, 300u);
}

TEST(timed_device, a_register_read_does_not_overtake_the_doorbell_of_its_cpu) {
  bench b;
  std::uint64_t read = 0;
  EXPECT_TRUE(b.run({[&] {
                 b.put(0, tlbi());
                 b.bell(1);  // at 62
                 EXPECT_EQ(b.device.read32(device_type::prod_offset), 1u);
                 read = now();
               }}).ok());
  EXPECT_EQ(read, 62u + 150 + 1 + 150) << "there behind the doorbell or 150 ns after the CPU issued it, the later; and back";
}

TEST(timed_device, the_port_takes_one_doorbell_at_a_time) {
  bench b;
  std::vector<std::uint64_t> taken;
  const auto ring_at_1000 = [&](std::uint32_t slot) {
    return [&, slot] {
      b.put(slot, tlbi());
      timed_run::spend(1000 + slot - now());
      b.bell(slot + 1);
      taken.push_back(now());
    };
  };
  // Slots of different lines, so that both CPUs are ready in time.
  EXPECT_TRUE(b.run({ring_at_1000(0),
                     [&] {
                       timed_run::spend(200);
                       ring_at_1000(1)();
                     }})
                  .ok());
  EXPECT_EQ(taken, (std::vector<std::uint64_t>{1001, 1000 + 150 + 1}));
}

TEST(timed_device, commands_cost_what_the_reference_machine_says) {
  struct expectation {
    std::uint64_t sync;
    bool atc;
    std::uint64_t device_time;
  };
  for (const expectation e : {expectation{machine::sync_short, false, 15 + 30}, expectation{machine::sync_middle, false, 15 + 200},
                              expectation{machine::sync_long, false, 15 + 800}, expectation{machine::sync_middle, true, 1000 + 200}}) {
    bench b{{e.sync, true}};
    std::uint64_t rung = 0, seen = 0;
    EXPECT_TRUE(b.run({[&] {
                   b.put(0, e.atc ? cmd::atc_inv{}.encode() : tlbi());
                   b.put(1, b.signalled(7));
                   rung = now();
                   b.bell(2);
                   seen = b.seen(7);
                 }}).ok());
    // Doorbell, commands; the waiter sleeps on its copy, loses it, looks again and fetches the line.
    EXPECT_EQ(seen - rung, 150 + e.device_time + machine::pause + machine::line_transfer + machine::hit);
  }
}

TEST(timed_device, commands_behind_a_sync_wait_for_it_unless_the_hardware_does_not_stall) {
  for (const bool stalls : {true, false}) {
    bench b{{200, stalls}};
    std::uint64_t rung = 0;
    std::array<std::uint64_t, 2> seen{};
    EXPECT_TRUE(b.run({[&] {
                         b.put(0, b.signalled(1, 0));
                         b.put(1, tlbi());
                         b.put(2, b.signalled(1, 1));
                         rung = now();
                         b.bell(3);
                         seen[0] = b.seen(1, 0);
                       },
                       [&] { seen[1] = b.seen(1, 1); }})
                    .ok());
    const std::uint64_t first = 150 + 200 + machine::pause + machine::line_transfer + machine::hit;
    EXPECT_EQ(seen[0] - rung, first);
    EXPECT_EQ(seen[1] - rung, first + (stalls ? 15 + 200 : 15 + 15)) << "completion stays in order";
  }
}

TEST(timed_device, a_short_sync_does_not_complete_before_the_long_command_ahead_of_it) {
  bench b{{30, false}};
  std::uint64_t rung = 0, seen = 0;
  EXPECT_TRUE(b.run({[&] {
                 b.put(0, cmd::atc_inv{}.encode());
                 b.put(1, b.signalled(1));
                 rung = now();
                 b.bell(2);
                 seen = b.seen(1);
               }}).ok());
  EXPECT_EQ(seen - rung, 150 + 1000 + 30 + machine::pause + machine::line_transfer + machine::hit);
}

TEST(timed_device, a_cpu_in_wait_event_is_woken_by_a_sync_with_sev) {
  bench b;
  std::uint64_t rung = 0, woke = 0;
  const timed_report r = b.run({[&] {
    b.put(0, cmd::sync::event().encode());
    rung = now();
    b.bell(1);
    env::wait_event(deadline::never());
    woke = now();
  }});
  EXPECT_TRUE(r.ok());
  EXPECT_EQ(woke - rung, 150 + 200 + machine::pause);
}

TEST(timed_device, a_closed_loop_has_the_throughput_that_follows_from_its_costs) {
  // 4 slots to a line, all of them the CPU's after the first lap: per turn 4 stores, doorbell, TLBI, SYNC, the waiter's way
  // back (pause, transfer, load), 100 ns of thinking. The load that finds the word unchanged first falls into the doorbell's time.
  bench b;
  std::uint64_t began = 0;
  constexpr unsigned turns = 100;
  const timed_report r = b.run({[&] {
    static_cast<void>(b.message.cpu->load(relaxed));
    for (unsigned turn = 0; turn != turns + 4; ++turn) {
      if (turn == 4) began = now();
      const std::uint32_t slot = turn * 2 % 8;
      b.put(slot, tlbi());
      b.put(slot + 1, b.signalled(turn));
      b.bell((turn * 2 + 2) % 16);
      static_cast<void>(b.seen(turn));
      timed_run::spend(100);
    }
  }});
  EXPECT_TRUE(r.ok()) << complaint(r);
  const std::uint64_t turn = 4 * machine::hit + 150 + 15 + 200 + machine::pause + machine::line_transfer + machine::hit + 100;
  EXPECT_EQ(since_epoch(r.end) - began, turns * turn);
  EXPECT_EQ(b.device.syncs(), turns + 4);
}

TEST(timed_device, a_slot_that_nobody_wrote_is_not_executed_silently) {
  bench b;
  timed_report r = b.run({[&] {
    b.put(0, tlbi());
    b.bell(2);
  }});
  EXPECT_EQ(complaint(r), "device: a doorbell for a slot that nobody has written");
  EXPECT_FALSE(r.ok());

  bench half;
  r = half.run({[&] {
    half.ring.cpu[0].store(tlbi().dw0, relaxed);
    half.bell(1);
  }});
  EXPECT_EQ(complaint(r), "device: a doorbell for a slot that nobody has written") << "one word of two";

  bench stale;
  r = stale.run({[&] {
    for (std::uint32_t slot = 0; slot != 8; ++slot) stale.put(slot, tlbi());
    stale.bell(8);
    while (stale.cons() != 8) {
    }
    stale.bell(9);  // last lap's command is still there, but it is not this lap's
  }});
  EXPECT_EQ(complaint(r), "device: a doorbell for a slot that nobody has written");
}

TEST(timed_device, prod_may_not_go_backwards_or_beyond_the_ring) {
  bench b;
  timed_report r = b.run({[&] {
    b.put(0, tlbi());
    b.put(1, tlbi());
    b.bell(2);
    b.bell(1);
  }});
  EXPECT_EQ(complaint(r), "device: PROD goes backwards or claims more than the ring holds");

  bench full;
  r = full.run({[&] {
    for (std::uint32_t slot = 0; slot != 8; ++slot) full.put(slot, tlbi());
    full.bell(9);
  }});
  EXPECT_EQ(complaint(r), "device: PROD goes backwards or claims more than the ring holds");
}

TEST(timed_device, a_published_slot_belongs_to_the_device_until_it_is_consumed) {
  bench b;
  timed_report r = b.run({[&] {
    b.put(0, tlbi());
    b.bell(1);
    b.put(0, silent());
  }});
  EXPECT_EQ(complaint(r), "device: a store to a slot that the device may be reading");

  bench later;
  r = later.run({[&] {
    later.put(0, tlbi());
    later.bell(1);
    timed_run::spend(1000);
    later.put(0, silent());
  }});
  EXPECT_TRUE(r.ok()) << complaint(r);
}

TEST(timed_device, a_reserved_command_and_an_msi_to_strange_memory_are_reported) {
  bench b;
  timed_report r = b.run({[&] {
    b.put(0, command{0x7f, 0});
    b.bell(1);
    timed_run::spend(1000);
    EXPECT_EQ(b.cons(), 1u);
  }});
  EXPECT_EQ(complaint(r), "device: a command with a reserved opcode or operand");

  bench msi;
  std::uint64_t elsewhere = 5;
  r = msi.run({[&] {
    msi.put(0, cmd::sync::message(bus_addr{reinterpret_cast<std::uintptr_t>(&elsewhere)}, 1).encode());
    msi.bell(1);
    timed_run::spend(1000);
    EXPECT_EQ(msi.cons(), 1u);
  }});
  EXPECT_EQ(complaint(r), "device: an MSI outside of its memory");
  EXPECT_EQ(elsewhere, 5u);
  EXPECT_EQ(msi.device.violations(), 1u);
}

}  // namespace
