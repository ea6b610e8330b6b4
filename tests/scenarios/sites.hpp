// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <atomic>  // std::memory_order only
#include <cstddef>
#include <cstdint>

#include <shootdown/arch/registers.hpp>
#include <shootdown/device/event_queue.hpp>
#include <shootdown/env/spinlock.hpp>
#include <shootdown/invs/ats_section.hpp>
#include <shootdown/model/device_side.hpp>
#include <shootdown/queue/core.hpp>
#include <shootdown/queue/error_log.hpp>
#include <shootdown/queue/waiter_lock.hpp>
#include <shootdown/table/context_table.hpp>
#include <shootdown/table/entry_writer.hpp>
#include <shootdown/table/stage1_4k.hpp>
#include <shootdown/table/stream_table.hpp>
#include <shootdown/table/two_level.hpp>

#include "scenarios/domains.hpp"
#include "scenarios/queues.hpp"
#include "scenarios/scenario.hpp"

// Single edges: one flow writes something, an order of the library hands it over, another flow must find it. For orders that the
// larger scenarios pass by without anybody looking at what they order.
namespace scenarios {

/// Words shared with a device are stored without release.
struct env_without_dma_release : env {
  struct dma_word : shootdown::sim::dma_word_of<shootdown::sim::explored> {
    using where = shootdown::sim::where;
    void store(std::uint64_t v, std::memory_order, const where& w = where::current()) noexcept {
      shootdown::sim::dma_word_of<shootdown::sim::explored>::store(v, std::memory_order_relaxed, w);
    }
  };
};

/// What a reader sent inside the section is known to the detaching side behind its fence.
template <class Env, bool Fenced = true>
void ats_section_hands_over(trial& t) {
  struct world {
    shootdown::ats_section<Env, 1> section{};
    typename Env::template atomic<std::uint32_t> users{1}, sent{0};
    bool told{};
  };
  auto& w = t.make<world>();
  t.name(&w.users, sizeof w.users, "users");
  t.name(&w.sent, sizeof w.sent, "sent");
  t.cpu("reader", [&] {
    const auto place = w.section.enter();
    if (w.users.load(std::memory_order_relaxed) != 0) {
      w.sent.store(1, std::memory_order_relaxed);
      w.told = true;
    }
    w.section.leave(place);
  });
  t.cpu("detach", [&] {
    w.users.store(0, std::memory_order_relaxed);
    if (Fenced) t.require(w.section.fence(shootdown::deadline::never()).ok(), "the fence failed");
    const bool told = w.told;
    t.require(!told || w.sent.load(std::memory_order_relaxed) == 1, "the fence is over, and what a reader sent is not known");
  });
  t.go();
}

/// Two waiters, each of whom may be the last one out and moves the shadow CONS then.
template <class Env, bool Last = true>
void last_waiters_hand_over(trial& t) {
  struct world {
    shootdown::queue::waiter_lock<Env> lock{};
    shared_counter<Env> shadow{};
    unsigned moves{};
  };
  auto& w = t.make<world>();
  t.name(&w.lock, sizeof w.lock, "lock");
  t.name(&w.shadow, sizeof w.shadow, "shadow");
  for (unsigned c = 0; c != 2; ++c)
    t.cpu("waiter", [&] {
      t.require(w.lock.lock_shared([] { return false; }), "a share was refused");
      if (Last && w.lock.try_unlock_shared()) return;
      w.shadow.bump();
      ++w.moves;
      w.lock.unlock_shared();
    });
  t.go();
  t.require(w.shadow.get() == w.moves, "one of the last did not know what the one before it did");
}
/// Who gets a share knows what exclusive holders did before, whether it had to wait for them or not.
template <class Env, bool Exclusive = true>
void shares_see_the_shadow(trial& t) {
  struct world {
    shootdown::queue::waiter_lock<Env> lock{};
    shared_counter<Env> shadow{};
    unsigned moves{};
  };
  auto& w = t.make<world>();
  t.name(&w.lock, sizeof w.lock, "lock");
  t.name(&w.shadow, sizeof w.shadow, "shadow");
  t.cpu("refresher", [&] {
    if (Exclusive && !w.lock.try_lock_exclusive()) return;
    w.shadow.bump();
    ++w.moves;
    if (Exclusive) w.lock.unlock_exclusive();
  });
  t.cpu("waiter", [&] {
    t.require(w.lock.lock_shared([] { return false; }), "a share was refused");
    const unsigned known = w.moves;
    t.require(w.shadow.get() == known, "a waiter inside does not know where the shadow CONS is");
    w.lock.unlock_shared();
  });
  t.go();
}

/// A flow that sees the queue work finds what its start prepared.
template <class Env, bool Seen = true>
void start_hands_over(trial& t) {
  struct world {
    explicit world(trial& owner) : device{owner}, core{device} {}
    ring_device<Env> device;
    shootdown::queue::queue_core<Env, ring_device<Env>> core;
    typename Env::template atomic<std::uint32_t> fresh{0};
  };
  auto& w = t.make<world>(t);
  t.name(&w.fresh, sizeof w.fresh, "fresh");
  t.cpu("control", [&] {
    w.fresh.store(1, std::memory_order_relaxed);
    w.core.start();
  });
  t.cpu("user", [&] {
    while (Seen && w.core.failed()) Env::relax();
    t.require(w.fresh.load(std::memory_order_relaxed) == 1, "the queue works with the state of the generation before");
  });
  t.go();
}

/// Error number n of a log: at 10 n, and everything else follows from n.
[[nodiscard]] constexpr shootdown::queue::error_record error_number(std::uint64_t n) noexcept {
  using namespace shootdown;
  return {seq64{10 * n}, seq64{10 * n}, n < 16 ? errc::illegal_command : errc::atc_timed_out, {n, ~n}};
}
enum class question : std::uint8_t { hit, missed, whole, first };

/// Somebody reads the oldest record of a full log while the next one takes its place: the old one, the new one, "ask again", and
/// never something of both.
template <class Env, question What, bool Believed = false>
void error_log_is_whole(trial& t) {
  using namespace shootdown;
  struct world {
    queue::error_log<Env> log{};
  };
  auto& w = t.make<world>();
  t.name(&w.log, sizeof w.log, "log");
  for (std::uint64_t n = 0; n != 16; ++n) w.log.record(error_number(n));
  t.cpu("recovery", [&] { w.log.record(error_number(16)); });
  t.cpu("waiter", [&] {
    if (What == question::whole || What == question::first) {
      std::array<queue::error_record, What == question::first ? 1 : 16> kept{};
      const std::size_t found = w.log.snapshot(kept);
      for (std::size_t i = 0; i != found; ++i) {
        t.require(kept[i] == error_number(kept[i].what.dw0), "a record is made of two");
        t.require(i == 0 || kept[i].what.dw0 == kept[i - 1].what.dw0 + 1, "records are missing or out of order");
      }
      t.require(!Believed || found != 0, "a log that is written has no records");
      return;
    }
    const std::uint64_t at = What == question::hit ? 0 : 55;
    const errc e = w.log.outcome(seq64{at}, seq64{at + 1});
    if (What == question::hit)
      t.require(e == errc::illegal_command || (!Believed && (e == errc::pending || e == errc::unknown_error)), "an error was not told");
    else
      t.require(e == errc::ok || (!Believed && e == errc::pending), "an error was told of a command that had none");
  });
  t.go();
  t.require(w.log.check_invariants() && w.log.total() == 17, "the log is out of order");
}

/// A whole lap of slots: who writes a slot again writes it behind the one before it, for whom somebody else has waited.
template <class Env, bool Waits = true>
void slots_are_written_again(trial& t) {
  using namespace shootdown;
  auto& w = t.make<queue_world<Env, queue::owner_cas>>(t, 6, completion_mode::cons_poll);
  t.cpu("first lap", [&] {
    if (Waits) return w.work(0, 63);
    static_cast<void>(w.submit(0, 63));
    w.expect_done(0);
  });
  t.cpu("second lap", [&] { w.work(1, 1); });
  w.run_device();
  t.go();
  w.expect_order();
}
/// The invariants of a queue in use hold for whoever looks.
template <class Env>
void queue_is_checked_in_use(trial& t) {
  using namespace shootdown;
  auto& w = t.make<queue_world<Env, queue::owner_cas>>(t, 6, completion_mode::cons_poll);
  t.cpu("cpu", [&] { w.work(0, 1); });
  t.cpu("checker", [&] {
    for (unsigned i = 0; i != 2; ++i) w.expect_order();
  });
  w.run_device();
  t.go();
}

/// Memory that an SMMU walks, with the remains of an earlier life in it.
template <class Env, std::size_t Words>
struct walked_memory {
  static constexpr std::uint64_t base = 0x10'0000, junk = 0xdead'0000'0000'0003;
  walked_memory() {
    for (auto& c : words) c.store(junk, std::memory_order_relaxed);
  }
  [[nodiscard]] shootdown::dma_span<Env> span(std::size_t first, std::size_t n) noexcept {
    return {words.data() + first, n, shootdown::bus_addr{base + first * 8}};
  }
  /// What a walk finds; that it comes by an address read before is the acquire.
  [[nodiscard]] std::uint64_t walk(std::size_t word) const noexcept { return words[word].load(std::memory_order_acquire); }
  std::array<typename Env::dma_word, Words> words{};
};

enum class mapping : std::uint8_t { page, block, table };

/// A device walks while a page (in a table that is there), a block, or a page in a new table is mapped: what it finds mapped has the
/// contents that it was mapped with, and a table has nothing in it but what the editor put there.
template <class Env, mapping What, bool Filled = true>
void map_hands_over(trial& t) {
  using namespace shootdown;
  constexpr std::size_t entries = table::page_words;
  struct world {
    walked_memory<Env, 2 * entries> memory{};  // the start table, and one below it
    std::array<table::page_meta, 2> meta{};
    table::page_pool<Env> pool{memory.span(0, 2 * entries), meta};
    table::stage1_4k<Env> editor{pool};
    typename Env::dma_word frame{};
    model::device_side<Env> side{};
  };
  auto& w = t.make<world>();
  t.name(&w.memory, sizeof w.memory, "table");
  t.name(&w.frame, sizeof w.frame, "frame");
  t.require(w.editor.create({.input_bits = 30}).ok() && w.editor.start_level() == 2, "no table");
  constexpr std::uint64_t page = table::page_bytes, block = page * entries, frames = 0x4000'0000;
  if (What == mapping::page) t.require(w.editor.map(iova{0}, bus_addr{frames}, page, table::prot{}).ok(), "not mapped");
  t.cpu("map", [&] {
    if (Filled) w.frame.store(1, std::memory_order_relaxed);
    Env::dma_publish(&w.frame, sizeof w.frame);
    const status s = What == mapping::block ? w.editor.map(iova{0}, bus_addr{frames}, block, table::prot{})
                                            : w.editor.map(iova{page}, bus_addr{frames + page}, page, table::prot{});
    t.require(s.ok(), "not mapped");
  });
  t.cpu("device", [&] {
    w.side.lock(model::device_role::walker);
    const std::uint64_t start = w.memory.walk(0);
    bool found = (start & 1) != 0;
    if (found && What != mapping::block) {
      t.require((start & ~std::uint64_t{0xfff}) == w.memory.base + page, "the start table leads astray");
      const std::uint64_t leaf = w.memory.walk(entries + 1);
      found = leaf != 0;
      t.require(What == mapping::page || found, "a table was linked before it was filled");
      t.require(!found || (leaf & 0x0000'ffff'ffff'f000) == frames + page, "the walk found what the table's last owner left");
      t.require(w.memory.walk(entries + 2) == 0, "the walk found what the table's last owner left");
    }
    if (found) t.require(w.frame.load(std::memory_order_relaxed) == 1, "a frame was mapped before its contents");
    w.side.unlock();
  });
  t.go();
  t.require(w.editor.check_invariants(), "the table is out of order");
}

/// A second level of eight words.
struct tiny_format {
  [[nodiscard]] static constexpr std::size_t bytes() noexcept { return 64; }
  [[nodiscard]] static constexpr shootdown::entry_words first_entry() noexcept { return shootdown::ste::abort().w; }
  struct word {
    std::uint64_t w{};
  };
  [[nodiscard]] static constexpr shootdown::result<word> link(shootdown::bus_addr to) noexcept { return word{raw(to) | 1}; }
};

/// Configuration tables over memory with junk in it: an SMMU that is switched on finds entries that abort, one that walks meanwhile
/// finds a second level filled, and after a SYNC it finds it at all.
template <class Env, bool Announced = true>
void tables_are_filled(trial& t) {
  using namespace shootdown;
  struct world {
    walked_memory<Env, 32> memory{};
    table::two_level<Env, tiny_format> levels{};
    table::stream_table<Env> streams{};
    table::context_table<Env> contexts{};
    std::array<table::second_level<Env>, 1> below{};
    typename Env::template atomic<std::uint32_t> enabled{0}, asked{0}, answered{0};
    model::device_side<Env> side{};
    bool looked{};
  };
  auto& w = t.make<world>();
  t.name(&w.memory, sizeof w.memory, "tables");
  constexpr std::size_t first = 0, streams = 8, contexts = 16, second = 24;
  t.cpu("control", [&] {
    t.require(w.streams.configure(w.memory.span(streams, 8), 0).ok(), "no stream table");
    t.require(w.contexts.configure(w.memory.span(contexts, 8), 0).ok(), "no context table");
    t.require(w.levels.configure(w.memory.span(first, 8), w.below, 1).ok(), "no first level");
    w.enabled.store(1, std::memory_order_release);
    const auto memory = [&](std::size_t, std::size_t) { return w.memory.span(second, 8); };
    const auto sync = [&](table::config_scope) -> status {
      w.asked.store(1, std::memory_order_release);
      while (w.answered.load(std::memory_order_acquire) != 1) Env::relax();
      return {};
    };
    t.require(w.levels.use(0, tiny_format{}, memory, sync).ok(), "no second level");
  });
  t.agent("smmu", [&] {
    if (w.answered.load(std::memory_order_relaxed) != 0) return false;
    w.side.lock(model::device_role::walker);
    const bool asked = w.asked.load(std::memory_order_acquire) != 0;
    const bool look = !w.looked && w.enabled.load(std::memory_order_acquire) != 0;
    if (look || asked) {
      const entry_words none = ste::abort().w;
      for (unsigned i = 0; look && i != 8; ++i)
        t.require(w.memory.walk(streams + i) == none[i] && w.memory.walk(contexts + i) == 0, "a new table has entries");
      const std::uint64_t link = w.memory.walk(first);
      t.require(link == 0 || link == w.memory.base + second * 8 + 1, "the first level has an entry of its own");
      t.require(link != 0 || !asked, "the SMMU was told of a second level that is not there");
      for (unsigned i = 0; link != 0 && i != 8; ++i)
        t.require(w.memory.walk(second + i) == none[i], "a second level was linked before it was filled");
      w.looked = true;
      if (asked) w.answered.store(1, std::memory_order_release);
    }
    w.side.unlock();
    return look || asked;
  });
  t.go();
}

/// An entry leads to memory that is not shared otherwise: what was written there before comes with the entry. A change whose SYNC
/// fails leaves an entry that aborts.
template <class Env, bool Told = true>
void entry_hands_over(trial& t) {
  using namespace shootdown;
  struct world {
    typename Env::dma_word ste[8]{};
    std::uint64_t table{};  // plain: ThreadSanitizer's business
    typename Env::template atomic<std::uint32_t> given_up{0};
    model::device_side<Env> side{};
  };
  auto& w = t.make<world>();
  t.name(&w.ste, sizeof w.ste, "ste");
  constexpr std::uint64_t leads = 0b1011 | std::uint64_t{0x1000};
  t.cpu("writer", [&] {
    w.table = 1;
    table::entry_writer<Env, table::ste_rules> writer{w.ste};
    t.require(writer.write(entry_words{leads}, []() noexcept -> status { return errc::timed_out; }).code() == errc::timed_out,
              "a failed SYNC was not told");
    w.given_up.store(1, std::memory_order_release);
  });
  t.cpu("smmu", [&] {
    w.side.lock(model::device_role::walker);
    const bool over = w.given_up.load(std::memory_order_acquire) != 0 || !Told;
    const std::uint64_t word = w.ste[0].load(std::memory_order_acquire);
    t.require(!over || (word & 1) == 0, "an entry was given up and goes on translating");
    if ((word & 1) != 0) t.require(w.table == 1, "the entry came before its table");
    w.side.unlock();
  });
  t.go();
}

/// Somebody lists the users of a domain while the first one comes: the entries are whole.
template <class Env, bool Broken = false>
void entries_are_listed(trial& t) {
  auto& w = t.make<domain_world<Env>>(t);
  t.cpu("attach", [&] { w.attach(w.at[0][0], 0, 0, 0); });
  t.cpu("reader", [&] {
    unsigned n = 0;
    w.domains[0].each_entry([&](const auto& spec, std::uint32_t users) {
      ++n;
      t.require(spec.port == &w.hw[0] && users == 1, "an entry was listed before it was filled");
    });
    t.require(n == 1 || (!Broken && n == 0), "an entry is listed twice");
  });
  w.run_devices();
  t.go();
  w.finish();
}

/// The registers and the memory of an event queue of two records.
template <class Env>
struct event_device {
  using cell = typename Env::template atomic<std::uint32_t>;
  std::uint32_t read32(std::uint32_t) noexcept { return prod.load(std::memory_order_acquire); }
  std::uint64_t read64(std::uint32_t) noexcept { return 0; }
  void write32(std::uint32_t offset, std::uint32_t v) noexcept {
    if (offset == shootdown::reg::eventq_cons::offset) cons.store(v, std::memory_order_release);
  }
  void write64(std::uint32_t, std::uint64_t) noexcept {}
  void idle(shootdown::deadline) noexcept { Env::relax(); }
  shootdown::dma_span<Env> allocate_dma(std::size_t, std::size_t) noexcept {
    return {words.data(), words.size(), shootdown::bus_addr{0x10'0000}};
  }
  void release_dma(shootdown::dma_span<Env>) noexcept {}

  std::array<typename Env::dma_word, 8> words{};
  cell prod{0}, cons{0};
};

/// The SMMU records three events in a ring of two: each is read whole, and none of the lap before.
template <class Env, bool Early = false>
void events_are_read_whole(trial& t) {
  using namespace shootdown;
  struct world {
    event_device<Env> device{};
    device::event_queue<Env, event_device<Env>> queue{device};
    model::device_side<Env> side{};
    std::uint32_t recorded{};
    std::uint64_t seen{};
  };
  auto& w = t.make<world>();
  t.name(&w.device.words, sizeof w.device.words, "records");
  t.name(&w.device.prod, sizeof w.device.prod, "PROD");
  t.name(&w.device.cons, sizeof w.device.cons, "CONS");
  t.require(w.queue.open(1, 8).ok(), "no event queue");
  t.cpu("service", [&] {
    while (w.seen != 3) {
      const auto report = w.queue.service([&](const event_record& r) {
        ++w.seen;
        for (unsigned i = 0; i != 4; ++i) t.require(r.w[i] == 10 * w.seen + i, "a record was read before it was written");
      });
      if (report.records == 0) Env::relax();
    }
  });
  t.agent("smmu", [&] {
    if (w.recorded == 3) return false;
    w.side.lock(model::device_role::consumer);
    const std::uint32_t used = (w.recorded - w.device.cons.load(std::memory_order_acquire)) & 3;
    if (used != 2) {
      const std::uint32_t n = ++w.recorded;
      if (Early) w.device.prod.store(n, std::memory_order_release);
      for (unsigned i = 0; i != 4; ++i) w.device.words[(n - 1) % 2 * 4 + i].store(10 * n + i, std::memory_order_relaxed);
      if (!Early) w.device.prod.store(n, std::memory_order_release);
    }
    w.side.unlock();
    return used != 2;
  });
  t.go();
}

inline void add_sites(collection& all) {
  const auto right = [&](const char* name, const char* about, void (*body)(trial&)) {
    all.push_back({{name, about, body}, {}, false, true, 0});
  };
  const auto broken = [&](const char* name, const char* of, const char* about, void (*body)(trial&), bool weak_only) {
    all.push_back({{name, about, body}, of, weak_only, true, 0});
  };
  constexpr bool weak = true, any = false;

  right("ats_section_sent", "what a reader sent is known behind the fence", ats_section_hands_over<env>);
  broken("ats_section_sent.no_fence", "ats_section_sent", "the removal has no fence", ats_section_hands_over<env, false>, weak);
  broken("ats_section_sent.no_acquire", "ats_section_sent", "no operation acquires", ats_section_hands_over<env_without_acquire>, weak);

  right("waiter_lock_last", "the last one out moves the shadow CONS, and the next last one", last_waiters_hand_over<env>);
  broken("waiter_lock_last.all_are_last", "waiter_lock_last", "everybody takes himself for the last one",
         last_waiters_hand_over<env, false>, any);
  broken("waiter_lock_last.no_acquire", "waiter_lock_last", "no operation acquires", last_waiters_hand_over<env_without_acquire>, weak);
  right("waiter_lock_share", "a share comes with what exclusive holders did", shares_see_the_shadow<env>);
  broken("waiter_lock_share.no_lock", "waiter_lock_share", "the shadow moves without the lock", shares_see_the_shadow<env, false>, any);
  broken("waiter_lock_share.no_release", "waiter_lock_share", "no operation releases", shares_see_the_shadow<env_without_release>, weak);

  right("queue_start", "a queue that works has the state of its new generation", start_hands_over<env>);
  broken("queue_start.unseen", "queue_start", "the user does not look whether the queue works", start_hands_over<env, false>, any);
  broken("queue_start.no_release", "queue_start", "no operation releases", start_hands_over<env_without_release>, weak);

  right("error_log_hit", "the oldest record is asked for while it is replaced", error_log_is_whole<env, question::hit>);
  broken("error_log_hit.at_once", "error_log_hit", "nobody asks again", error_log_is_whole<env, question::hit, true>, any);
  broken("error_log_hit.no_acquire", "error_log_hit", "no operation acquires", error_log_is_whole<env_without_acquire, question::hit>,
         weak);
  right("error_log_missed", "another command's outcome meanwhile", error_log_is_whole<env, question::missed>);
  broken("error_log_missed.no_release", "error_log_missed", "no operation releases",
         error_log_is_whole<env_without_release, question::missed>, weak);
  right("error_log_copy", "all records are copied meanwhile", error_log_is_whole<env, question::whole>);
  broken("error_log_copy.no_acquire", "error_log_copy", "no operation acquires", error_log_is_whole<env_without_acquire, question::whole>,
         weak);

  right("error_log_first", "the oldest record is copied meanwhile", error_log_is_whole<env, question::first>);
  broken("error_log_first.no_acquire", "error_log_first", "no operation acquires", error_log_is_whole<env_without_acquire, question::first>,
         weak);

  all.push_back({{"slots_again", "a whole lap in one list, and who writes behind it", slots_are_written_again<env>}});
  all.push_back({{"slots_again.no_wait", "nobody waits for the SYNC", slots_are_written_again<env, false>}, "slots_again"});
  right("queue_checked", "the invariants of a queue in use", queue_is_checked_in_use<env>);
  broken("queue_checked.no_acquire", "queue_checked", "no operation acquires", queue_is_checked_in_use<env_without_acquire>, weak);

  right("map_page", "a page is mapped in a table that is walked", map_hands_over<env, mapping::page>);
  broken("map_page.no_release", "map_page", "no operation releases", map_hands_over<env_without_dma_release, mapping::page>, weak);
  broken("map_page.unfilled", "map_page", "the frame has no contents", map_hands_over<env, mapping::page, false>, any);
  right("map_block", "a block is mapped in a table that is walked", map_hands_over<env, mapping::block>);
  broken("map_block.no_release", "map_block", "no operation releases", map_hands_over<env_without_dma_release, mapping::block>, weak);
  all.push_back({{"map_table", "a page is mapped in a new table", map_hands_over<env, mapping::table>}});
  all.push_back(
      {{"map_table.no_release", "no operation releases", map_hands_over<env_without_dma_release, mapping::table>}, "map_table", weak});

  right("config_tables", "configuration tables over memory with junk in it", tables_are_filled<env>);
  broken("config_tables.no_release", "config_tables", "no operation releases", tables_are_filled<env_without_release>, weak);
  right("entry_given_up", "an entry comes with its table, and goes when its SYNC fails", entry_hands_over<env>);
  broken("entry_given_up.early", "entry_given_up", "the SMMU is expected to know before it is told", entry_hands_over<env, false>, any);

  right("events_read", "events are recorded while others are read", events_are_read_whole<env>);
  broken("events_read.early", "events_read", "PROD moves before the record is written", events_are_read_whole<env, true>, any);

  right("entries_listed", "the users of a domain are listed while the first one comes", entries_are_listed<env>);
  broken("entries_listed.late", "entries_listed", "the entry is expected before it is there", entries_are_listed<env, true>, any);
}

}  // namespace scenarios
