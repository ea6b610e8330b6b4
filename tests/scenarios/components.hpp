// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include <shootdown/arch/ste.hpp>
#include <shootdown/env/sanitizer.hpp>
#include <shootdown/env/spinlock.hpp>
#include <shootdown/invs/ats_section.hpp>
#include <shootdown/queue/error_log.hpp>
#include <shootdown/queue/valid_map.hpp>
#include <shootdown/queue/waiter_lock.hpp>
#include <shootdown/table/entry_writer.hpp>

#include "scenarios/scenario.hpp"

// Single parts of the library, each in a world of its own: a few dozen steps, so that depth first reaches far.
namespace scenarios {

/// Two CPUs count under a spinlock.
template <class Env>
void spinlock_excludes(trial& t) {
  struct world {
    shootdown::spinlock<Env> lock{};
    shared_counter<Env> n{};
  };
  auto& w = t.make<world>();
  t.name(&w.lock, sizeof w.lock, "lock");
  t.name(&w.n, sizeof w.n, "counter");
  for (unsigned c = 0; c != 2; ++c)
    t.cpu("cpu", [&] {
      for (unsigned i = 0; i != 2; ++i) {
        const shootdown::lock_guard hold{w.lock};
        w.n.bump();
      }
    });
  t.go();
  t.require(w.n.get() == 4, "the lock let two in, or did not hand on what the last holder wrote");
  t.require(w.lock.check_invariants() && w.lock.try_lock(), "the lock was left taken");
}

/// A handler takes the lock that the interrupted flow may hold.
template <class Env>
void spinlock_in_interrupts(trial& t) {
  struct world {
    shootdown::spinlock<Env> lock{};
    shared_counter<Env> n{};
  };
  auto& w = t.make<world>();
  const auto count = [&w] {
    const typename Env::irq_guard irqs_off{};
    const shootdown::lock_guard hold{w.lock};
    w.n.bump();
  };
  bool came = false;
  t.cpu("cpu", [&] {
    static_cast<void>(w.n.get());  // so that there is a moment before
    count();
    static_cast<void>(w.n.get());
  });
  t.interrupt(0, [&] {
    count();
    came = true;
  });
  t.go();
  t.require(w.n.get() == 1u + came, "the lock let two in");
}

/// The shared/exclusive lock of the waiters: whoever moves the shadow CONS, as the exclusive holder or as the last one out,
/// is alone, and knows what the one before it did.
template <class Env, bool Last = true>
void waiter_lock_hands_over(trial& t) {
  struct world {
    shootdown::queue::waiter_lock<Env> lock{};
    shared_counter<Env> shadow{};
    unsigned moves{};
    unsigned inside{};
    void count(unsigned& what, int by) noexcept {
      const shootdown::tsan_ignore notes;
      what += static_cast<unsigned>(by);
    }
    [[nodiscard]] bool empty() const noexcept {
      const shootdown::tsan_ignore notes;
      return inside == 0;
    }
  };
  auto& w = t.make<world>();
  t.name(&w.lock, sizeof w.lock, "lock");
  t.name(&w.shadow, sizeof w.shadow, "shadow");
  const auto move = [&w] {
    w.shadow.bump();
    w.count(w.moves, 1);
  };
  for (unsigned c = 0; c != 2; ++c)
    t.cpu("waiter", [&, move] {
      t.require(w.lock.lock_shared([] { return false; }), "a share was refused");
      w.count(w.inside, 1);
      if (Last && w.lock.try_unlock_shared()) {
        w.count(w.inside, -1);
        return;
      }
      w.count(w.inside, -1);
      move();
      w.lock.unlock_shared();
    });
  t.cpu("refresher", [&, move] {
    for (unsigned i = 0; i != 2; ++i) {
      if (!w.lock.try_lock_exclusive()) continue;
      t.require(w.empty(), "exclusive while a waiter was inside");
      move();
      t.require(w.empty(), "a waiter came in while the lock was exclusive");
      w.lock.unlock_exclusive();
    }
  });
  t.go();
  t.require(w.shadow.get() == w.moves, "two moved the shadow CONS at the same time, or one did not know of the other");
  t.require(w.lock.shares() == 0 && w.lock.check_invariants(), "a share was left behind");
}

/// Two writers of one word of the valid map, a reader that uses what they wrote once it is valid, over the end of a lap.
template <class Env, bool Marked = true>
void valid_map_publishes(trial& t) {
  struct world {
    shootdown::queue::valid_map<Env> map{};
    typename Env::template atomic<std::uint32_t> slots[4]{};
  };
  auto& w = t.make<world>();
  t.require(w.map.allocate(6), "no memory");
  w.map.reset();
  w.map.mark(shootdown::seq64{0}, 62);  // the lap before, but for its last two
  t.name(&w.slots, sizeof w.slots, "slots");
  constexpr std::uint64_t first = 62;
  for (unsigned c = 0; c != 2; ++c)
    t.cpu("writer", [&, c] {
      for (unsigned i = 2 * c; i != 2 * c + 2; ++i) w.slots[i].store(i + 1, std::memory_order_relaxed);
      if (Marked || c == 0) w.map.mark(shootdown::seq64{first + 2 * c}, 2);
    });
  t.cpu("owner", [&] {
    const std::uint64_t n = Marked ? 4 : 2;  // the twin looks at half of what it publishes
    while (!w.map.valid(shootdown::seq64{first}, n)) Env::relax();
    for (unsigned i = 0; i != 4; ++i)
      t.require(w.slots[i].load(std::memory_order_relaxed) == i + 1, "a slot was valid before it was written");
  });
  t.go();
}

/// A reader that may name a device against a fence behind that device's removal. The reader looks again behind enter().
template <class Env, bool Fenced = true>
void ats_section_fences(trial& t) {
  struct world {
    shootdown::ats_section<Env, 1> section{};
    typename Env::template atomic<std::uint32_t> users{1};
    typename Env::template atomic<std::uint32_t> sent{0};
    bool gone{};
  };
  auto& w = t.make<world>();
  t.name(&w.users, sizeof w.users, "users");
  for (unsigned c = 0; c != 2; ++c)
    t.cpu("reader", [&] {
      const auto place = w.section.enter();
      if (w.users.load(std::memory_order_relaxed) != 0) {
        w.sent.store(1, std::memory_order_relaxed);
        t.require(!w.gone, "asked a device that has gone");
      }
      w.section.leave(place);
    });
  t.cpu("detach", [&] {
    w.users.store(0, std::memory_order_relaxed);
    if (Fenced) t.require(w.section.fence(shootdown::deadline::never()).ok(), "the fence failed");
    w.gone = true;
  });
  t.go();
  t.require(w.section.inside() == 0, "somebody is inside for good");
}
/// The same where the phase has been turned before and a second fence comes: a reader may sit in the cell of the other phase.
/// What a reader sent is seen behind the fence.
template <class Env, bool Whole = true>
void ats_section_fences_twice(trial& t) {
  struct world {
    shootdown::ats_section<Env, 1> section{};
    typename Env::template atomic<std::uint32_t> users[2]{};
    typename Env::template atomic<std::uint32_t> sent[2]{};
    bool asking[2]{};
    bool gone[2]{};
  };
  auto& w = t.make<world>();
  for (auto& u : w.users) u.store(1, std::memory_order_relaxed);
  t.name(&w.users, sizeof w.users, "users");
  t.name(&w.sent, sizeof w.sent, "sent");
  for (unsigned c = 0; c != 2; ++c)
    t.cpu("reader", [&, c] {
      const auto place = w.section.enter();
      if (w.users[c].load(std::memory_order_relaxed) != 0) {
        w.asking[c] = true;
        t.require(!w.gone[c], "asked a device that has gone");
        w.sent[c].store(1, std::memory_order_relaxed);
        w.asking[c] = !Whole;
      }
      w.section.leave(place);
    });
  t.cpu("detach", [&] {
    for (unsigned i = 0; i != 2; ++i) {
      w.users[i].store(0, std::memory_order_relaxed);
      t.require(w.section.fence(shootdown::deadline::never()).ok(), "the fence failed");
      t.require(!w.asking[i], "a reader was still asking behind the fence");
      const bool sent = w.sent[i].load(std::memory_order_relaxed) != 0;
      w.gone[i] = true;
      t.note(sent ? "sent before the fence" : "not sent");
    }
  });
  t.go();
}

/// An SMMU fetches an STE word by word while it is changed: from one table to none, and on to another table. Whatever it
/// fetches must be one of the three, as far as its configuration is looked at, and lead to a table that is there.
template <class Env, bool Synced = true>
void entry_writer_is_hitless(trial& t) {
  using namespace shootdown;
  struct world {
    typename Env::dma_word ste[8]{};
    typename Env::dma_word table[2]{};
    typename Env::template atomic<std::uint32_t> asked{0}, answered{0};
    std::uint64_t cached[2]{};
    bool has_cached{};
  };
  auto& w = t.make<world>();
  t.name(&w.ste, sizeof w.ste, "ste");
  t.name(&w.table, sizeof w.table, "table");
  constexpr std::uint64_t eats = std::uint64_t{1} << 28, stage1 = 0b1011, tables = 0x1000;
  const auto with_table = [](std::uint64_t n) { return entry_words{stage1 | (n + 1) * tables, eats}; };
  for (unsigned i = 0; i != 2; ++i) w.ste[i].store(with_table(0)[i], std::memory_order_relaxed);
  w.table[0].store(1, std::memory_order_relaxed);
  t.cpu("writer", [&, with_table] {
    const auto change = [&](const entry_words& to) {
      table::entry_writer<Env, table::ste_rules> writer{w.ste};
      const status s = writer.write(to, [&]() noexcept -> status {
        const std::uint32_t n = w.asked.load(std::memory_order_relaxed) + 1;
        w.asked.store(n, std::memory_order_release);
        while (Synced && w.answered.load(std::memory_order_acquire) != n) Env::relax();
        return {};
      });
      t.require(s.ok() && writer.change() == table::entry_change::hitless, "the change was not hitless");
    };
    change(ste::abort().w);
    w.table[0].store(0, std::memory_order_relaxed);  // nobody walks it any more
    w.table[1].store(1, std::memory_order_relaxed);
    change(with_table(1));
  });
  t.agent("smmu", [&] {
    bool worked = false;
    if (const std::uint32_t n = w.asked.load(std::memory_order_acquire); n != w.answered.load(std::memory_order_relaxed)) {
      w.has_cached = false;
      w.answered.store(n, std::memory_order_release);
      worked = true;
    }
    if (w.has_cached) return worked;
    for (unsigned i = 0; i != 2; ++i) w.cached[i] = w.ste[i].load(std::memory_order_acquire);
    w.has_cached = true;
    if ((w.cached[0] & 0b1111) != stage1) return true;
    t.require(w.cached[1] == eats, "the SMMU found a mixture");
    const std::uint64_t n = w.cached[0] / tables - 1;
    t.require(n < 2 && w.table[n].load(std::memory_order_relaxed) == 1, "the entry led to a table that was not there");
    return true;
  });
  t.go();
}

/// The attach side without a domain: an entry is written for tables of which others are told by a flag. Either the unmapping CPU
/// sees the flag, or the SMMU, coming by the new entry, sees the unmapped page. invs-array.md 6, variant i.
template <class Env>
void entry_writer_fences(trial& t) {
  using namespace shootdown;
  struct world {
    typename Env::dma_word ste[8]{};
    typename Env::dma_word pte{};
    typename Env::template atomic<std::uint32_t> told{0};
    bool missed{};  // the unmap did not see the flag
    bool stale{};   // the SMMU read the old page
  };
  auto& w = t.make<world>();
  t.name(&w.ste, sizeof w.ste, "ste");
  t.name(&w.pte, sizeof w.pte, "pte");
  t.name(&w.told, sizeof w.told, "told");
  w.pte.store(1, std::memory_order_relaxed);
  t.cpu("unmap", [&] {
    w.pte.store(0, std::memory_order_relaxed);
    Env::full_fence();
    w.missed = w.told.load(std::memory_order_acquire) == 0;
  });
  t.cpu("attach", [&] {
    w.told.store(1, std::memory_order_release);
    table::entry_writer<Env, table::ste_rules> writer{w.ste};
    t.require(writer.write(entry_words{0b1011 | std::uint64_t{0x1000}}, []() noexcept -> status { return {}; }).ok(),
              "the entry was not written");
  });
  t.cpu("smmu", [&] {
    if (w.ste[0].load(std::memory_order_acquire) != 0) w.stale = w.pte.load(std::memory_order_relaxed) != 0;
  });
  t.go();
  t.require(!(w.missed && w.stale), "the SMMU keeps a page of whose unmap nobody will tell it");
}

/// Whoever sees that the queue has passed a position finds the record of what went wrong there. Records are written by one,
/// read by two, and pushed out by newer ones.
template <class Env, bool Recorded = true, unsigned Before = 1>
void error_log_tells(trial& t) {
  using namespace shootdown;
  struct world {
    queue::error_log<Env> log{};
    typename Env::template atomic<std::uint32_t> passed{0};
  };
  auto& w = t.make<world>();
  for (std::uint64_t i = 0; i != Before; ++i) w.log.record({seq64{i}, seq64{i}, errc::illegal_command, {}});
  t.cpu("recovery", [&] {
    for (std::uint32_t i = 0; i != 2; ++i) {
      const std::uint64_t at = 20 + 10 * i;
      if (!Recorded && i == 1) w.passed.store(i + 1, std::memory_order_release);
      w.log.record({seq64{at}, seq64{at}, i == 0 ? errc::illegal_command : errc::atc_timed_out, {}});
      w.passed.store(i + 1, std::memory_order_release);
    }
  });
  for (unsigned c = 0; c != 2; ++c)
    t.cpu("waiter", [&, c] {
      while (w.passed.load(std::memory_order_acquire) <= c) Env::relax();
      errc e = errc::pending;
      while ((e = w.log.outcome(seq64{20 + 10 * c}, seq64{22 + 10 * c})) == errc::pending) Env::relax();
      t.require(e == (c == 0 ? errc::illegal_command : errc::atc_timed_out), "a waiter was not told what happened to its commands");
      while ((e = w.log.outcome(seq64{16}, seq64{18})) == errc::pending) Env::relax();
      t.require(e == errc::ok, "a waiter was told of an error that was not its own");
    });
  t.go();
  t.require(w.log.check_invariants() && w.log.total() == Before + 2, "the log is out of order");
}

/// A reader of a published object against its replacement and reclamation.
template <class Env, bool Guarded = true>
void objects_are_reclaimed(trial& t) {
  struct object : Env::rcu::head {
    typename Env::template atomic<std::uint32_t> value{0};
    bool gone{};
  };
  struct world {
    object objects[3]{};
    typename Env::template atomic<object*> slot{nullptr};
  };
  auto& w = t.make<world>();
  for (std::uint32_t i = 0; i != 3; ++i) w.objects[i].value.store(i + 1, std::memory_order_relaxed);
  Env::rcu::publish(w.slot, &w.objects[0]);
  for (unsigned c = 0; c != 2; ++c)
    t.cpu("reader", [&] {
      const auto read = [&] {
        const object* const o = Env::rcu::dereference(w.slot);
        t.require(o->value.load(std::memory_order_relaxed) != 0, "an object was seen before it was complete");
        t.require(!o->gone, "an object was used after it had been reclaimed");
      };
      if constexpr (Guarded) {
        const typename Env::rcu::guard inside{};
        read();
      } else {
        read();
      }
    });
  t.cpu("writer", [&] {
    for (unsigned i = 0; i != 2; ++i) {
      Env::rcu::publish(w.slot, &w.objects[i + 1]);
      Env::rcu::retire(w.objects[i], [](typename Env::rcu::head* h) noexcept { static_cast<object*>(h)->gone = true; });
    }
  });
  t.go();
  t.require(w.objects[0].gone && w.objects[1].gone && !w.objects[2].gone, "not what was retired was reclaimed");
}

inline void add_components(collection& all) {
  const auto right = [&](const char* name, const char* about, void (*body)(trial&), unsigned interrupts = 0) {
    all.push_back({{name, about, body}, {}, false, true, interrupts});
  };
  const auto broken = [&](const char* name, const char* of, const char* about, void (*body)(trial&), bool weak_only,
                          unsigned interrupts = 0) { all.push_back({{name, about, body}, of, weak_only, true, interrupts}); };
  constexpr bool weak = true, any = false;

  right("spinlock", "two CPUs count under a spinlock", spinlock_excludes<env>);
  broken("spinlock.no_acquire", "spinlock", "taking the lock does not acquire", spinlock_excludes<env_without_acquire>, weak);
  broken("spinlock.no_release", "spinlock", "giving it back does not release", spinlock_excludes<env_without_release>, weak);
  right("spinlock_irq", "a handler takes the lock of the flow it interrupts", spinlock_in_interrupts<env>, 1);
  broken("spinlock_irq.interrupts_on", "spinlock_irq", "interrupts are on while the lock is held",
         spinlock_in_interrupts<env_without_irq_guard>, any, 1);

  right("waiter_lock", "waiters leave, the last one moves the shadow CONS; a refresher tries to", waiter_lock_hands_over<env>);
  broken("waiter_lock.all_are_last", "waiter_lock", "everybody takes himself for the last one", waiter_lock_hands_over<env, false>, any);
  broken("waiter_lock.no_acquire", "waiter_lock", "no operation acquires", waiter_lock_hands_over<env_without_acquire>, weak);
  broken("waiter_lock.no_release", "waiter_lock", "no operation releases", waiter_lock_hands_over<env_without_release>, weak);

  right("valid_map", "two writers share a word of the map over the end of a lap", valid_map_publishes<env>);
  broken("valid_map.half", "valid_map", "the owner looks at half of what it publishes", valid_map_publishes<env, false>, any);
  broken("valid_map.no_acquire", "valid_map", "looking at the bits does not acquire", valid_map_publishes<env_without_acquire>, weak);
  broken("valid_map.no_release", "valid_map", "setting the bits does not release", valid_map_publishes<env_without_release>, weak);

  right("ats_section", "readers against one removal and its fence", ats_section_fences<env>);
  broken("ats_section.no_wait", "ats_section", "the removal does not wait for readers", ats_section_fences<env, false>, any);
  broken("ats_section.no_fences", "ats_section", "neither side has its full fence", ats_section_fences<env_without_fences>, weak);
  right("ats_section_twice", "the same over two fences: both phases are waited for", ats_section_fences_twice<env>);
  broken("ats_section_twice.no_fences", "ats_section_twice", "neither side has its full fence",
         ats_section_fences_twice<env_without_fences>, weak);
  broken("ats_section_twice.asking", "ats_section_twice", "a reader goes on asking after it left", ats_section_fences_twice<env, false>,
         any);

  right("entry_writer", "an SMMU fetches an STE while it is changed", entry_writer_is_hitless<env>);
  broken("entry_writer.no_sync", "entry_writer", "nobody waits for the SMMU to forget its copy", entry_writer_is_hitless<env, false>, any);

  right("entry_writer_fence", "an entry is written while a page of its tables is unmapped", entry_writer_fences<env>);
  broken("entry_writer_fence.no_fences", "entry_writer_fence", "neither side has its full fence", entry_writer_fences<env_without_fences>,
         weak);

  right("error_log", "a waiter behind an error finds its record", error_log_tells<env>);
  all.push_back({{"error_log_full", "the same where old records are pushed out", error_log_tells<env, true, 15>}});
  broken("error_log_full.late", "error_log_full", "the queue goes on before the error is recorded", error_log_tells<env, false, 15>, any);
  broken("error_log.late", "error_log", "the queue goes on before the error is recorded", error_log_tells<env, false>, any);
  broken("error_log.no_acquire", "error_log", "no operation acquires", error_log_tells<env_without_acquire>, weak);

  right("reclamation", "published objects are replaced and reclaimed under readers", objects_are_reclaimed<env>);
  broken("reclamation.unguarded", "reclamation", "readers have no guard", objects_are_reclaimed<env, false>, any);
}

}  // namespace scenarios
