// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <deque>
#include <string_view>

#include <shootdown/env/sanitizer.hpp>
#include <shootdown/env/spinlock.hpp>
#include <shootdown/invs/domain.hpp>

#include "scenarios/scenario.hpp"
#include "scenarios/tiny_smmu.hpp"

// Domains over the smallest SMMU: unmaps against everything that control operations do, judged at every access of a device.
namespace scenarios {

/// What a twin of a domain scenario leaves out.
struct omissions {
  bool wait{};                  ///< nobody waits for a SYNC
  shootdown::opcode command{};  ///< commands of this kind are lost
  bool entry_first{};           ///< the entry is written before the domain is asked
  bool invalidation{};          ///< an unmap promises without asking anybody
  bool impatient{};             ///< a device is called gone before its detach has returned
  bool late_flush{};            ///< the TLB is flushed behind a new device's ATS and not before it may ask
  bool grace_period{};          ///< an SMMU is removed without waiting for readers
};

/// Two domains of one page each, some SMMUs, and what their users do.
template <class Env, omissions Out = omissions{}>
struct domain_world {
  using smmu_type = tiny_smmu<Env>;
  using domain_type = shootdown::domain<Env, smmu_type>;
  using attachment_type = typename domain_type::attachment_t;
  using ops_type = typename smmu_type::ops;

  explicit domain_world(trial& owner, unsigned smmus = 1) : t{owner} {
    for (unsigned i = 0; i != smmus; ++i) {
      hw.emplace_back(t, static_cast<std::uint16_t>(i), pages);
      hw.back().hasty = Out.wait;
      hw.back().deaf_to = Out.late_flush ? shootdown::opcode::tlbi_nh_asid : Out.command;
      hw.back().late_flush = Out.late_flush;
    }
    t.name(&pages[0].pte, 8, "pte0");
    t.name(&pages[1].pte, 8, "pte1");
  }
  static constexpr shootdown::domain_options options(unsigned n) {
    shootdown::domain_options o;
    o.number = n + 1;
    return o;
  }

  void run_devices(bool by_waiters = false) {
    for (auto& s : hw) {
      s.run_by_waiters = by_waiters;
      if (!by_waiters) s.run_device();
    }
  }
  /// A whole unmap of a domain's page: afterwards nobody may use what was there before.
  void unmap(unsigned d) {
    using namespace shootdown;
    std::uint64_t now = 0;
    {
      const typename Env::irq_guard irqs_off{};
      if (several_unmap) table.lock();
      {
        const shootdown::tsan_ignore notes;
        now = ++versions[d];
      }
      pages[d].pte.store(now, std::memory_order_relaxed);
      Env::dma_publish(&pages[d].pte, sizeof pages[d].pte);
      if (several_unmap) table.unlock();
    }
    const range_piece piece{0x1000, 0x1000, granule::k4, 8, 0};
    if (!Out.invalidation) t.require(domains[d].invalidate({&piece, 1}, deadline::never()).ok(), "an unmap failed");
    const shootdown::tsan_ignore notes;
    pages[d].promised = std::max(pages[d].promised, now);
  }
  /// A device uses its stream so many times.
  void device(unsigned smmu, unsigned stream, unsigned times, unsigned pasid = 0) {
    t.cpu("device", [this, smmu, stream, times, pasid] {
      for (unsigned i = 0; i != times; ++i) hw[smmu].access(stream, pasid);
    });
  }
  [[nodiscard]] ops_type ops(unsigned smmu, unsigned stream, unsigned d) { return {hw[smmu], stream, d}; }
  [[nodiscard]] shootdown::master<smmu_type> member(unsigned smmu, unsigned stream, bool ats, unsigned pasid = 0) {
    return {hw[smmu], {&sids[stream], 1}, shootdown::substream_id{pasid}, ats, 0};
  }
  void attach(attachment_type& a, unsigned d, unsigned smmu, unsigned stream, bool ats = false, unsigned pasid = 0) {
    hw[smmu].gone(stream, false);
    hw[smmu].allow(stream, pasid, 1u << d);
    if (Out.entry_first) {  // under the tag that the domain is about to get
      shootdown::install early{
          shootdown::install::action::translate, {shootdown::tag_kind::asid, 1}, shootdown::substream_id{pasid}, ats, {}};
      t.require(ops(smmu, stream, d).write_entry(early).ok(), "the entry could not be written");
    }
    t.require(domains[d].attach(a, member(smmu, stream, ats, pasid), ops(smmu, stream, d), shootdown::deadline::never()).ok(),
              "an attach failed");
  }
  void detach(attachment_type& a, unsigned d, unsigned smmu, unsigned stream) {
    if (Out.impatient) hw[smmu].gone(stream, true);
    t.require(domains[d].detach(a, ops(smmu, stream, d), shootdown::deadline::never()).ok(), "a detach failed");
    hw[smmu].gone(stream, true);
    hw[smmu].allow(stream, 0, 0);
  }
  /// From one domain to the other: while it moves, both are right.
  void replace(attachment_type& a, unsigned from, unsigned to, unsigned smmu, unsigned stream) {
    hw[smmu].allow(stream, 0, 3);
    t.require(domains[from].replace(a, domains[to], ops(smmu, stream, to), shootdown::deadline::never()).ok(), "a replace failed");
    hw[smmu].allow(stream, 0, 1u << to);
  }
  void finish() {
    for (auto& d : domains) t.require(d.check_invariants(), "a domain's invariants do not hold");
    for (unsigned d = 0; d != 2; ++d)  // replace() has moved some of the first domain's; the order does not matter any more
      for (auto& a : at)
        for (auto& k : a)
          if (k.attached()) static_cast<void>(domains[d].detach(k, ops(0, 0, d), shootdown::deadline::never()));
    for (auto& s : hw) t.require(s.tags().check_invariants(), "a tag space's invariants do not hold");
  }
  trial& t;
  bool several_unmap{};  ///< a page is unmapped by more than one flow: table edits take a lock
  shootdown::spinlock<Env> table{};
  std::array<tiny_page<Env>, 2> pages{};
  std::array<std::uint64_t, 2> versions{};
  std::deque<smmu_type> hw;
  std::array<shootdown::stream_id, 2> sids{shootdown::stream_id{0}, shootdown::stream_id{1}};
  std::array<domain_type, 2> domains{domain_type{options(0)}, domain_type{options(1)}};
  attachment_type at[2][4];  // of domain 0 and 1; freed by the destructor
};

/// The first master of a domain comes while its page is unmapped.
template <class Env, bool Small, omissions Out = omissions{}>
void unmap_against_attach(trial& t) {
  auto& w = t.make<domain_world<Env, Out>>(t);
  t.cpu("unmap", [&] {
    w.unmap(0);
    w.hw[0].access(0);
  });
  t.cpu("attach", [&] {
    w.attach(w.at[0][0], 0, 0, 0);
    if (Small) w.hw[0].access(0);
  });
  if (!Small) w.device(0, 0, 1);
  w.run_devices(Small);
  t.go();
  w.finish();
}
/// A second master comes to a tag in use; with device caches on both sides if `Ats`.
template <class Env, bool Small, bool Ats, omissions Out = omissions{}>
void unmap_against_second_attach(trial& t) {
  auto& w = t.make<domain_world<Env, Out>>(t);
  w.attach(w.at[0][0], 0, 0, 0);
  w.hw[0].access(0);  // its translation is in the TLB
  t.cpu("unmap", [&] {
    w.unmap(0);
    w.hw[0].access(1);
  });
  t.cpu("attach", [&] {
    w.attach(w.at[0][1], 0, 0, 1, Ats);
    w.hw[0].access(1);
  });
  t.cpu("device", [&] { w.hw[0].access(1); });
  w.run_devices(Small);
  t.go();
  w.finish();
}
/// The last master leaves while the page is unmapped; its tag goes to another domain's master.
template <class Env, omissions Out = omissions{}>
void tag_is_reused(trial& t) {
  auto& w = t.make<domain_world<Env, Out>>(t);
  w.attach(w.at[0][0], 0, 0, 0);
  w.hw[0].access(0);
  t.cpu("unmap", [&] {
    w.unmap(0);
    w.hw[0].access(0);
    w.unmap(1);
    w.hw[0].access(1);
  });
  t.cpu("control", [&] {
    w.detach(w.at[0][0], 0, 0, 0);
    w.attach(w.at[1][0], 1, 0, 1);
    w.hw[0].access(1);
    w.attach(w.at[0][0], 0, 0, 0);
  });
  w.device(0, 0, 1);
  w.device(0, 1, 1);
  w.run_devices();
  t.go();
  w.finish();
}
/// A master moves to the other domain and back, both of whose pages are unmapped.
template <class Env, bool Ats, omissions Out = omissions{}>
void unmap_against_replace(trial& t) {
  using namespace shootdown;
  auto& w = t.make<domain_world<Env, Out>>(t);
  w.attach(w.at[0][0], 0, 0, 0, Ats);
  w.hw[0].access(0);
  t.cpu("unmap", [&] {
    w.unmap(1);
    w.hw[0].access(0);
    w.unmap(0);
    w.hw[0].access(0);
  });
  t.cpu("replace", [&] {
    w.replace(w.at[0][0], 0, 1, 0, 0);
    w.hw[0].access(0);
    w.replace(w.at[0][0], 1, 0, 0, 0);
    w.hw[0].access(0);
  });
  w.device(0, 0, 1);
  w.run_devices();
  t.go();
  w.finish();
}
/// A device switches its cache on and off and leaves, while its page is unmapped twice. Nobody asks it after it has left.
template <class Env, omissions Out = omissions{}>
void unmap_against_ats(trial& t) {
  using namespace shootdown;
  auto& w = t.make<domain_world<Env, Out>>(t);
  w.attach(w.at[0][1], 0, 0, 1);  // so that the tag lives on
  w.attach(w.at[0][0], 0, 0, 0, true);
  w.hw[0].access(0);
  const auto switch_to = [&](bool ats) {
    t.require(w.domains[0].reattach(w.at[0][0], w.member(0, 0, ats), w.ops(0, 0, 0), deadline::never()).ok(), "a reattach failed");
    w.hw[0].access(0);
  };
  t.cpu("unmap", [&] {
    for (unsigned i = 0; i != 2; ++i) {
      w.unmap(0);
      w.hw[0].access(0);
    }
  });
  t.cpu("control", [&, switch_to] {
    switch_to(false);
    switch_to(true);
    w.detach(w.at[0][0], 0, 0, 0);
  });
  w.run_devices();
  t.go();
  w.finish();
}
/// A device with a cache leaves while readers are on the array that lists it, and on older ones: another master comes and goes
/// first, so that the array the first reader holds has been superseded. invs-array.md 6.
template <class Env, bool Small, unsigned Readers, omissions Out = omissions{}>
void detach_against_superseded(trial& t) {
  auto& w = t.make<domain_world<Env, Out>>(t);
  w.attach(w.at[0][0], 0, 0, 0, true);
  w.hw[0].access(0);
  w.several_unmap = Readers > 1;
  for (unsigned r = 0; r != Readers; ++r) t.cpu("unmap", [&] { w.unmap(0); });
  t.cpu("control", [&] {
    w.attach(w.at[0][1], 0, 0, 1);  // unrelated: publishes another array
    w.detach(w.at[0][0], 0, 0, 0);
  });
  w.run_devices(Small);
  t.go();
  w.finish();
}
/// A domain on two SMMUs, one of which is removed while unmaps are under way: detach, grace period, gone.
template <class Env, omissions Out = omissions{}>
void smmu_is_removed(trial& t) {
  auto& w = t.make<domain_world<Env, Out>>(t, 2);
  w.attach(w.at[0][0], 0, 0, 0);
  w.attach(w.at[0][1], 0, 1, 0);
  w.hw[0].access(0);
  w.hw[1].access(0);
  t.cpu("unmap", [&] { w.unmap(0); });
  t.cpu("remove", [&] {
    w.detach(w.at[0][1], 0, 1, 0);
    if (!Out.grace_period) shootdown::domain<Env, tiny_smmu<Env>>::synchronize();
    w.hw[1].remove();
  });
  w.device(0, 0, 2);
  w.run_devices();
  t.go();
  w.finish();
}
/// Two domains share one device by its PASIDs; one of them is detached while both pages are unmapped.
template <class Env, bool Ats, omissions Out = omissions{}>
void pasids_are_shared(trial& t) {
  auto& w = t.make<domain_world<Env, Out>>(t);
  w.attach(w.at[0][0], 0, 0, 0, Ats, 0);
  w.attach(w.at[1][0], 1, 0, 0, Ats, 1);
  w.hw[0].access(0, 0);
  w.hw[0].access(0, 1);
  t.cpu("unmap0", [&] { w.unmap(0); });
  t.cpu("unmap1", [&] { w.unmap(1); });
  t.cpu("control", [&] {
    // The endpoint's ATS belongs to both: it stays on.
    struct keep : tiny_smmu<Env>::ops {
      shootdown::status ats(bool) noexcept { return {}; }
    };
    keep k{w.ops(0, 0, 1)};
    t.require(w.domains[1].detach(w.at[1][0], k, shootdown::deadline::never()).ok(), "a detach failed");
  });
  w.device(0, 0, 2, 0);
  w.device(0, 0, 2, 1);
  w.run_devices();
  t.go();
  w.finish();
}
/// An interrupt handler unmaps on the CPU that is unmapping, attaching or detaching.
template <class Env, bool Ats, omissions Out = omissions{}>
void handler_unmaps(trial& t) {
  auto& w = t.make<domain_world<Env, Out>>(t);
  w.attach(w.at[0][1], 0, 0, 1, Ats);
  w.hw[0].access(1);
  w.several_unmap = true;
  t.cpu("unmap", [&] {
    w.unmap(0);
    w.hw[0].access(1);
  });
  t.cpu("control", [&] {
    w.attach(w.at[0][0], 0, 0, 0);
    w.detach(w.at[0][0], 0, 0, 0);
  });
  t.interrupt(0, [&] {
    w.unmap(0);
    w.hw[0].access(1);
  });
  w.device(0, 1, 1);
  w.run_devices();
  t.go();
  w.finish();
}
/// Arrays are replaced and reclaimed under readers.
template <class Env, omissions Out = omissions{}>
void arrays_are_reclaimed(trial& t) {
  auto& w = t.make<domain_world<Env, Out>>(t);
  w.attach(w.at[0][0], 0, 0, 0);
  w.hw[0].access(0);
  w.several_unmap = true;
  for (unsigned c = 0; c != 2; ++c)
    t.cpu("unmap", [&] {
      w.unmap(0);
      w.hw[0].access(0);
    });
  t.cpu("control", [&] {
    w.attach(w.at[0][1], 0, 0, 1);
    w.detach(w.at[0][1], 0, 0, 1);
    static_cast<void>(w.domains[0].purge());
  });
  w.run_devices();
  t.go();
  w.finish();
}

inline void add_domains(collection& all) {
  using shootdown::opcode;
  const auto right = [&](const char* name, const char* about, void (*body)(trial&), bool small = true, unsigned interrupts = 0) {
    all.push_back({{name, about, body}, {}, false, small, interrupts});
  };
  const auto broken = [&](const char* name, const char* of, const char* about, void (*body)(trial&), bool weak_only = false,
                          unsigned interrupts = 0) { all.push_back({{name, about, body}, of, weak_only, false, interrupts}); };
  constexpr bool weak = true;
  constexpr omissions no_wait{.wait = true}, no_va{.command = opcode::tlbi_nh_va}, no_flush{.command = opcode::tlbi_nh_asid},
      no_atc{.command = opcode::atc_inv}, no_cfgi{.command = opcode::cfgi_ste}, early{.entry_first = true}, silent{.invalidation = true},
      impatient{.impatient = true}, no_grace{.grace_period = true}, late{.late_flush = true};

  right("attach", "the first master comes while the page is unmapped", unmap_against_attach<env, false>);
  broken("attach.no_fences", "attach", "neither side has its full fence", unmap_against_attach<env_without_fences, false>, weak);
  broken("attach.entry_first", "attach", "the entry is written before the array is published", unmap_against_attach<env, false, early>);
  broken("attach.silent", "attach", "the unmap asks nobody", unmap_against_attach<env, false, silent>);
  right("attach_small", "the same, and whoever waits runs the SMMU", unmap_against_attach<env, true>);
  broken("attach_small.no_fences", "attach_small", "neither side has its full fence", unmap_against_attach<env_without_fences, true>, weak);
  right("attach_second", "a second master comes to a tag in use", unmap_against_second_attach<env, false, false>);
  broken("attach_second.no_wait", "attach_second", "nobody waits for a SYNC", unmap_against_second_attach<env, false, false, no_wait>);
  broken("attach_second.no_va", "attach_second", "invalidations by address are lost",
         unmap_against_second_attach<env, false, false, no_va>);
  right("attach_second_ats", "the same, and the newcomer caches translations", unmap_against_second_attach<env, false, true>);
  broken("attach_second_ats.no_atc", "attach_second_ats", "invalidations of the device cache are lost",
         unmap_against_second_attach<env, false, true, no_atc>);
  right("attach_second_ats_small", "the same, and whoever waits runs the SMMU", unmap_against_second_attach<env, true, true>);
  broken("attach_second_ats_small.no_flush", "attach_second_ats_small", "the TLB keeps what is older than the newcomer",
         unmap_against_second_attach<env, true, true, no_flush>);
  broken("attach_second_ats_small.late_flush", "attach_second_ats_small", "the TLB is flushed when the newcomer may have asked already",
         unmap_against_second_attach<env, true, true, late>);
  right("tag_reuse", "the last user of a tag leaves and the tag goes to another domain", tag_is_reused<env>, false);
  broken("tag_reuse.no_flush", "tag_reuse", "the flush of the tag is lost", tag_is_reused<env, no_flush>);
  broken("tag_reuse.no_cfgi", "tag_reuse", "the SMMU keeps its copy of the entry", tag_is_reused<env, no_cfgi>);

  right("replace", "a master moves to another domain and back", unmap_against_replace<env, false>, false);
  right("replace_ats", "the same with a device cache", unmap_against_replace<env, true>, false);
  broken("replace.no_va", "replace", "invalidations by address are lost", unmap_against_replace<env, false, no_va>);
  broken("replace_ats.no_atc", "replace_ats", "invalidations of the device cache are lost", unmap_against_replace<env, true, no_atc>);

  right("reattach", "a device switches its cache on and off, and leaves", unmap_against_ats<env>, false);
  broken("reattach.no_atc", "reattach", "invalidations of the device cache are lost", unmap_against_ats<env, no_atc>);
  broken("reattach.impatient", "reattach", "the device is gone before its detach has returned", unmap_against_ats<env, impatient>);

  right("superseded", "a device with a cache leaves, a reader on an older array", detach_against_superseded<env, false, 1>);
  right("superseded_small", "the same, and whoever waits runs the SMMU", detach_against_superseded<env, true, 1>);
  broken("superseded_small.no_fences", "superseded_small", "neither side has its full fence",
         detach_against_superseded<env_without_fences, true, 1>, weak);
  right("superseded_two", "the same with two readers", detach_against_superseded<env, false, 2>, false);
  broken("superseded.no_fences", "superseded", "neither side has its full fence", detach_against_superseded<env_without_fences, false, 1>,
         weak);
  broken("superseded.impatient", "superseded", "the device is gone before its detach has returned",
         detach_against_superseded<env, false, 1, impatient>);

  right("removal", "one of two SMMUs is removed", smmu_is_removed<env>, false);
  broken("removal.no_grace_period", "removal", "nobody waits for readers", smmu_is_removed<env, no_grace>);
  broken("removal.no_wait", "removal", "nobody waits for a SYNC", smmu_is_removed<env, no_wait>);

  right("pasids", "two domains share a device", pasids_are_shared<env, false>, false);
  right("pasids_ats", "the same with a device cache", pasids_are_shared<env, true>, false);
  broken("pasids.no_va", "pasids", "invalidations by address are lost", pasids_are_shared<env, false, no_va>);
  broken("pasids_ats.no_atc", "pasids_ats", "invalidations of the device cache are lost", pasids_are_shared<env, true, no_atc>);

  right("handler", "a handler unmaps on the CPU that unmaps", handler_unmaps<env, false>, false, 2);
  right("handler_ats", "the same with a device cache", handler_unmaps<env, true>, false, 2);
  broken("handler.no_va", "handler", "invalidations by address are lost", handler_unmaps<env, false, no_va>, false, 2);
  broken("handler_ats.no_wait", "handler_ats", "nobody waits for a SYNC", handler_unmaps<env, true, no_wait>, false, 2);

  right("reclaim", "arrays are replaced and reclaimed under readers", arrays_are_reclaimed<env>);
  broken("reclaim.no_va", "reclaim", "invalidations by address are lost", arrays_are_reclaimed<env, no_va>);
  broken("superseded_two.impatient", "superseded_two", "the device is gone before its detach has returned",
         detach_against_superseded<env, false, 2, impatient>);
}

}  // namespace scenarios
