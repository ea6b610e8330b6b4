// SPDX-License-Identifier: MIT
#pragma once

#include <initializer_list>
#include <string>
#include <vector>

#include "scenarios/machine_world.hpp"
#include "scenarios/scenario.hpp"

// The promise of the library, whole stack: devices go on using every page they ever saw while CPUs unmap, attach, detach and
// replace. Judged by the DMA oracle at every landing and every descriptor that a walk reads.
namespace scenarios {

using shootdown::nanoseconds;

/// A device that uses these pages again and again, mapped or not.
template <class World>
void device(World& w, unsigned stream, std::initializer_list<unsigned> pages, unsigned times = 1) {
  w.t.cpu("device" + std::to_string(stream), [&w, stream, list = std::vector<unsigned>{pages}, times] {
    for (unsigned i = 0; i != times; ++i)
      for (const unsigned page : list) w.access(stream, page);
  });
}

/// Two CPUs unmap pages of one space, one of them the last one of its table; the frames go to the other space at once.
template <class Env, machine_omissions Out = machine_omissions{}, class Strategy = shootdown::queue::owner_cas>
void machine_unmaps(trial& t) {
  using world = machine_world<Env, Out, Strategy>;
  auto& w = t.make<world>(t, machine_setup{.cmdq_log2 = 6, .by_message = t.choose(2) != 0});
  for (unsigned n = 0; n != 2; ++n) w.attach(n, n);
  w.map(0, 0, 0);
  w.map(0, 1, 1);
  w.map(0, world::far, 2);
  w.access(0, 1);
  w.access(0, world::far);
  t.cpu("unmap", [&] {
    static_cast<void>(w.unmap(0, 1));
    w.map(1, 3, 1);
  });
  t.cpu("unmap far", [&] { static_cast<void>(w.unmap(0, world::far)); });
  device(w, 0, {1, world::far});
  w.run_smmu();
  t.go();
  w.access(1, 3);
  w.finish();
}
/// The same in a ring of eight slots, three CPUs: it wraps and is full.
template <class Env, machine_omissions Out = machine_omissions{}>
void machine_small_ring(trial& t) {
  using world = machine_world<Env, Out, shootdown::queue::locked>;
  auto& w = t.make<world>(t, machine_setup{.cmdq_log2 = 3, .by_message = t.choose(2) != 0});
  w.attach(0, 0);
  for (unsigned p = 0; p != 5; ++p) w.map(0, p, p);
  for (unsigned p = 1; p != 5; ++p) w.access(0, p);
  for (unsigned c = 0; c != 2; ++c)
    t.cpu("unmap", [&, c] {
      for (unsigned i = 0; i != 2; ++i) static_cast<void>(w.unmap(0, 1 + 2 * c + i));
    });
  device(w, 0, {1, 2, 3, 4});
  w.run_smmu();
  t.go();
  w.finish();
}
/// The first stream of a space comes while pages of it are unmapped: the fences of both sides, over STE, CD and tables.
template <class Env, machine_omissions Out = machine_omissions{}>
void machine_attach(trial& t) {
  auto& w = t.make<machine_world<Env, Out>>(t);
  w.map(0, 0, 0);
  w.map(0, 1, 1);
  t.cpu("unmap", [&] {
    static_cast<void>(w.unmap(0, 1));
    w.access(0, 1);
  });
  t.cpu("attach", [&] {
    w.attach(0, 0);
    w.access(0, 1);
  });
  device(w, 0, {1});
  w.run_smmu();
  t.go();
  w.finish();
}
/// A second stream comes and goes while a page is unmapped.
template <class Env, machine_omissions Out = machine_omissions{}>
void machine_second_stream(trial& t) {
  auto& w = t.make<machine_world<Env, Out>>(t);
  w.attach(0, 0);
  w.map(0, 0, 0);
  w.map(0, 1, 1);
  w.access(0, 1);
  t.cpu("unmap", [&] { static_cast<void>(w.unmap(0, 1)); });
  t.cpu("control", [&] {
    w.attach(1, 0);
    w.access(1, 1);
    w.detach(1);
  });
  device(w, 1, {0, 1}, 2);
  w.run_smmu();
  t.go();
  w.finish();
}
/// The last stream of a space leaves while a page is unmapped; its tag goes to the other space, which maps another frame there.
template <class Env, machine_omissions Out = machine_omissions{}>
void machine_tag_reuse(trial& t) {
  auto& w = t.make<machine_world<Env, Out>>(t);
  w.attach(0, 0);
  w.map(0, 1, 0);
  w.map(1, 1, 1);
  w.access(0, 1);
  t.cpu("unmap", [&] { static_cast<void>(w.unmap(0, 1)); });
  t.cpu("control", [&] {
    w.detach(0);
    w.attach(1, 1);
    w.access(1, 1);
  });
  device(w, 0, {1});
  w.run_smmu();
  t.go();
  w.finish();
}
/// A stream moves to the other space and back, pages of both are unmapped.
template <class Env, machine_omissions Out = machine_omissions{}>
void machine_replace(trial& t) {
  auto& w = t.make<machine_world<Env, Out>>(t);
  w.attach(0, 0);
  w.attach(1, 1);
  w.map(0, 1, 0);
  w.map(1, 1, 1);
  w.access(0, 1);
  t.cpu("unmap", [&] {
    static_cast<void>(w.unmap(0, 1));
    static_cast<void>(w.unmap(1, 1));
  });
  t.cpu("control", [&] {
    w.replace(0, 1);
    w.access(0, 1);
    w.replace(0, 0);
  });
  device(w, 0, {1, 1});
  w.run_smmu();
  t.go();
  w.finish();
}
/// A device with a cache joins a space in use while pages are unmapped: what it gets from the TLB must not be older than it.
template <class Env, machine_omissions Out = machine_omissions{}>
void machine_ats(trial& t) {
  auto& w = t.make<machine_world<Env, Out>>(t, machine_setup{.ats = true});
  w.attach(0, 0);
  for (unsigned p = 0; p != 4; ++p) w.map(0, p, p);
  for (unsigned p = 1; p != 4; ++p) w.access(0, p);
  t.cpu("unmap", [&] {
    for (unsigned p = 1; p != 4; ++p) static_cast<void>(w.unmap(0, p));
  });
  t.cpu("attach", [&] {
    w.attach(1, 0, true);
    for (unsigned p = 1; p != 4; ++p) w.access(1, p);
  });
  w.run_smmu();
  t.go();
  w.finish();
}
/// A device with a cache leaves while two CPUs unmap; first another stream comes, so that they may hold an array from before.
template <class Env, machine_omissions Out = machine_omissions{}>
void machine_ats_leaves(trial& t) {
  auto& w = t.make<machine_world<Env, Out>>(t, machine_setup{.ats = true});
  w.attach(0, 0);
  w.attach(1, 0, true);
  for (unsigned p = 0; p != 3; ++p) w.map(0, p, p);
  w.access(1, 1);
  w.access(1, 2);
  for (unsigned p = 1; p != 3; ++p) t.cpu("unmap", [&, p] { static_cast<void>(w.unmap(0, p)); });
  t.cpu("control", [&] {
    w.attach(2, 0);
    w.detach(1);
  });
  device(w, 1, {1, 2});
  w.run_smmu();
  t.go();
  w.finish();
}
/// A device switches its cache off and on while pages are unmapped.
template <class Env, machine_omissions Out = machine_omissions{}>
void machine_reattach(trial& t) {
  auto& w = t.make<machine_world<Env, Out>>(t, machine_setup{.ats = true});
  w.attach(0, 0);
  w.attach(1, 0, true);
  w.map(0, 0, 0);
  w.map(0, 1, 1);
  w.map(0, 2, 2);
  w.access(1, 1);
  w.access(1, 2);
  t.cpu("unmap", [&] {
    static_cast<void>(w.unmap(0, 1));
    static_cast<void>(w.unmap(0, 2));
  });
  t.cpu("control", [&] {
    w.reattach(1, false);
    w.reattach(1, true);
  });
  device(w, 1, {1, 2});
  w.run_smmu();
  t.go();
  w.finish();
}
/// An interrupt handler unmaps a page on the CPU that is unmapping another one.
template <class Env, machine_omissions Out = machine_omissions{}, class Strategy = shootdown::queue::owner_cas>
void machine_handler(trial& t) {
  auto& w = t.make<machine_world<Env, Out, Strategy>>(t);
  w.attach(0, 0);
  for (unsigned p = 0; p != 3; ++p) w.map(0, p, p);
  w.access(0, 1);
  w.access(0, 2);
  t.cpu("unmap", [&] { static_cast<void>(w.unmap(0, 1)); });
  t.interrupt(0, [&] { static_cast<void>(w.unmap(0, 2)); });
  device(w, 0, {2, 1});
  w.run_smmu();
  t.go();
  w.finish();
}
/// The SMMU stops answering, or answers late: an unmap times out and keeps its frames and tables; a later invalidation of the
/// same pieces succeeds, and then they go back.
template <class Env, machine_omissions Out = machine_omissions{}>
void machine_timeout(trial& t) {
  using namespace shootdown;
  using world = machine_world<Env, Out>;
  auto& w = t.make<world>(t);
  w.attach(0, 0);
  w.map(0, 0, 0);
  w.map(0, 1, 1);
  w.map(0, world::far, 2);
  w.access(0, 1);
  w.access(0, world::far);
  const bool slow = t.choose(2) != 0;
  if (slow)
    w.machine.smmu().slow_syncs(nanoseconds{1'000'000});
  else
    w.machine.smmu().stick(true);
  t.cpu("unmap", [&, slow] {
    typename world::gather_type g;
    w.remove(0, world::far, g);
    if (w.ask(0, world::far, g, deadline::in(Env::now(), nanoseconds{100'000}))) return;
    if (!slow) w.machine.smmu().stick(false);
    t.require(w.ask(0, world::far, g, deadline::never()), "an invalidation timed out for ever");
  });
  t.cpu("other", [&] { static_cast<void>(w.unmap(0, 1)); });
  t.cpu("device", [&, slow] {
    for (unsigned i = 0; i != 2; ++i) {
      w.access(0, world::far);
      w.access(0, 1);
      const deadline later = deadline::in(Env::now(), nanoseconds{200'000});
      while (!later.passed(Env::now())) Env::wait_event(later);
    }
    if (!slow) w.machine.smmu().stick(false);  // of a twin that does not ask again
  });
  w.run_smmu();
  t.go();
  if (slow) w.machine.smmu().slow_syncs(nanoseconds{0});
  w.finish();
}

inline void add_machine(collection& all) {
  using shootdown::opcode;
  const auto right = [&](const char* name, const char* about, void (*body)(trial&), unsigned interrupts = 0) {
    all.push_back({{name, about, body}, {}, false, false, interrupts});
  };
  const auto broken = [&](const char* name, const char* of, const char* about, void (*body)(trial&), bool weak_only = false,
                          unsigned interrupts = 0) { all.push_back({{name, about, body}, of, weak_only, false, interrupts}); };
  constexpr bool weak = true;
  using out = machine_omissions;
  constexpr out no_wait{.wait = true}, silent{.invalidation = true}, leaf{.table_levels = true}, careless{.outcome = true},
      no_config{.config = true}, early{.entry_first = true}, impatient{.impatient = true}, no_va{.command = opcode::tlbi_nh_va},
      no_flush{.command = opcode::tlbi_nh_asid}, no_atc{.command = opcode::atc_inv};

  right("machine_unmap", "two CPUs unmap, one of them a whole table, and another space gets the frames", machine_unmaps<env>);
  broken("machine_unmap.no_wait", "machine_unmap", "frames and tables go back before the SYNC", machine_unmaps<env, no_wait>);
  broken("machine_unmap.silent", "machine_unmap", "the unmap asks nobody", machine_unmaps<env, silent>);
  broken("machine_unmap.leaf", "machine_unmap", "LEAF = 1 although a table was unlinked", machine_unmaps<env, leaf>);
  broken("machine_unmap.no_va", "machine_unmap", "invalidations by address are lost", machine_unmaps<env, no_va>);
  broken("machine_unmap.no_release", "machine_unmap", "no operation releases", machine_unmaps<env_without_release>, weak);
  right("machine_small_ring", "a ring of eight slots that is full and wraps", machine_small_ring<env>);
  broken("machine_small_ring.no_wait", "machine_small_ring", "frames go back before the SYNC", machine_small_ring<env, no_wait>);
  right("machine_attach", "the first stream of a space comes while a page is unmapped", machine_attach<env>);
  broken("machine_attach.no_fences", "machine_attach", "neither side has its full fence", machine_attach<env_without_fences>, weak);
  broken("machine_attach.entry_first", "machine_attach", "the STE is written before the array is published", machine_attach<env, early>);
  right("machine_second_stream", "another stream comes and goes while a page is unmapped", machine_second_stream<env>);
  broken("machine_second_stream.no_config", "machine_second_stream", "CFGI is left out", machine_second_stream<env, no_config>);
  broken("machine_second_stream.impatient", "machine_second_stream", "the stream counts as gone too early",
         machine_second_stream<env, impatient>);
  right("machine_tag_reuse", "the last stream leaves, its tag goes to the other space", machine_tag_reuse<env>);
  broken("machine_tag_reuse.no_flush", "machine_tag_reuse", "the flush of the tag is lost", machine_tag_reuse<env, no_flush>);
  broken("machine_tag_reuse.no_config", "machine_tag_reuse", "CFGI is left out", machine_tag_reuse<env, no_config>);
  right("machine_replace", "a stream moves to the other space and back", machine_replace<env>);
  broken("machine_replace.no_config", "machine_replace", "CFGI is left out", machine_replace<env, no_config>);
  broken("machine_replace.no_va", "machine_replace", "invalidations by address are lost", machine_replace<env, no_va>);
  right("machine_ats", "a device with a cache joins a space in use", machine_ats<env>);
  broken("machine_ats.no_flush", "machine_ats", "the TLB keeps what is older than the newcomer", machine_ats<env, no_flush>);
  right("machine_ats_leaves", "a device with a cache leaves while two CPUs unmap", machine_ats_leaves<env>);
  broken("machine_ats_leaves.no_fences", "machine_ats_leaves", "neither side has its full fence", machine_ats_leaves<env_without_fences>,
         weak);
  broken("machine_ats_leaves.no_atc", "machine_ats_leaves", "invalidations of the device cache are lost", machine_ats_leaves<env, no_atc>);
  right("machine_reattach", "a device switches its cache off and on", machine_reattach<env>);
  broken("machine_reattach.no_atc", "machine_reattach", "invalidations of the device cache are lost", machine_reattach<env, no_atc>);
  right("machine_handler", "a handler unmaps on the CPU that unmaps", machine_handler<env>, 1);
  right("machine_handler_locked", "the same with the locked queue", machine_handler<env, out{}, shootdown::queue::locked>, 1);
  broken("machine_handler.interrupts_on", "machine_handler", "interrupts are never off", machine_handler<env_without_irq_guard>, false, 1);
  broken("machine_handler.no_wait", "machine_handler", "frames go back before the SYNC", machine_handler<env, no_wait>, false, 1);
  right("machine_timeout", "an unmap times out, keeps everything, and is asked again", machine_timeout<env>);
  broken("machine_timeout.careless", "machine_timeout", "what timed out is given back", machine_timeout<env, careless>);
}

}  // namespace scenarios
