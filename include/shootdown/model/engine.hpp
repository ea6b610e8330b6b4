// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include <shootdown/arch/command.hpp>
#include <shootdown/arch/event.hpp>
#include <shootdown/arch/types.hpp>
#include <shootdown/env/environment.hpp>
#include <shootdown/env/time.hpp>
#include <shootdown/model/agent.hpp>
#include <shootdown/model/coverage.hpp>
#include <shootdown/model/memory.hpp>
#include <shootdown/model/oracle.hpp>
#include <shootdown/model/random.hpp>
#include <shootdown/model/transaction_table.hpp>
#include <shootdown/model/walker.hpp>
#include <shootdown/status.hpp>

SHOOTDOWN_BEGIN
namespace model {

/// What a SYNC does about outstanding transactions that rest on removed entries.
enum class landing_policy : std::uint8_t {
  held,    ///< waits until the test has landed them
  forced,  ///< lands them itself right before it completes: the last moment at which they are legal
};

struct engine_options {
  std::uint64_t seed{1};
  bool lazy{true};           ///< TLBI and CFGI take effect at the next SYNC, in random order; false: at once
  unsigned early_percent{};  ///< of lazy effects that come at once all the same: finds page table writes that are too late
  landing_policy landing{landing_policy::forced};
  nanoseconds sync_latency{};
  nanoseconds command_latency{};
  bool fence_after_ste{};      ///< walk_setup::fence_after_ste
  bool contiguous_runs{true};  ///< walk_setup::contiguous_runs
  std::uint32_t max_transactions{256};
  std::uint32_t agent_transactions{8};  ///< that agents keep between translation and landing
  std::uint32_t max_pending{4096};      ///< lazy effects; beyond it one is applied early, as hardware may at any time
};

/// What the device did. Exact; read under the device's lock.
struct engine_counters {
  std::uint64_t commands{};  ///< executed, SYNCs included
  std::uint64_t syncs{};
  std::uint64_t tlbis{};
  std::uint64_t whole_tag_tlbis{};  ///< of these, not by address
  std::uint64_t cfgis{};
  std::uint64_t other{};          ///< neither SYNC, TLBI nor CFGI
  std::uint64_t covered_pages{};  ///< see coverage
  std::uint64_t unpredictable{};  ///< TLBIs that break an alignment rule: a bug of the driver
  std::uint64_t removed_entries{};
  std::uint64_t dmas{};  ///< translations asked for
  std::uint64_t faults{};
  std::uint64_t events{};  ///< faults that were recorded
  std::uint64_t landings{};
  std::uint64_t forced_landings{};  ///< of these, by a SYNC
  std::uint64_t bus_errors{};       ///< landings where nothing answers
  walk_counters walk{};
};

/// Everything of one SMMU below its registers: executes commands, translates, lands, runs agents.
///
/// Contract. A TLBI or CFGI executed is only noted; its effect comes at the next SYNC (lazy), in random order among its
///   kind, which the architecture permits and which catches a missing SYNC. A SYNC completes after the landings of all
///   transactions that rest on anything removed before it (TLB entry, table pointer, STE, CD).
/// A DMA is two steps: translate() and land(). In between anything may happen.
/// Context: the device's lock (smmu). Time is the caller's. No thread, no clock; no allocation once warm.
template <environment Env>
class engine {
 public:
  engine(memory<Env>& m, oracle<Env>& o, const engine_options& options)
      : options_{options},
        memory_{m},
        oracle_{o},
        caches_{pool_},
        walker_{m, o, caches_},
        explicit_{options.max_transactions},
        by_agents_{options.agent_transactions + 1},
        chance_{options.seed} {
    pending_.reserve(options.max_pending + 1);
  }

  // Commands.

  void execute(command c) {
    ++counters_.commands;
    const unsigned op = static_cast<unsigned>(opcode_of(c));
    if (op >= 0x03 && op <= 0x07) {
      ++counters_.cfgis;
      note({scope{}, c});
    } else if (op >= 0x10 && op <= 0x30) {
      ++counters_.tlbis;
      const scope s = decode_scope(c, facts_);
      counters_.unpredictable += s.unpredictable;
      if (s.what == scope::extent::nothing) return;
      counters_.whole_tag_tlbis += s.what != scope::extent::addresses;
      coverage_.add(s);
      note({s, c});
    } else {
      ++counters_.other;
    }
  }

  /// One attempt to complete a CMD_SYNC at `now`. False: not yet, ask again. Agents may act between two effects.
  template <class Raise>
  [[nodiscard]] bool sync(instant now, Raise&& raise) {
    if (!syncing_) {
      syncing_ = true;
      sync_since_ = now;
    }
    if (!deadline::in(sync_since_, options_.sync_latency).passed(now)) return false;
    apply_all(now, raise);
    land_bound(by_agents_, now);
    if (options_.landing == landing_policy::forced) land_bound(explicit_, now);
    if (explicit_.must_land() != 0) return false;
    counters_.covered_pages += coverage_.flush();
    ++counters_.commands;
    ++counters_.syncs;
    syncing_ = false;
    return true;
  }

  // Transactions.

  struct grant {
    translation t{};
    transaction_id id{};
  };
  /// The first step of a DMA. `raise(event_record)` is called for a fault that is to be recorded. exhausted: too many
  /// outstanding transactions.
  template <class Raise>
  [[nodiscard]] result<grant> translate(stream_id sid, iova x, const request& r, instant now, Raise&& raise) {
    if (explicit_.full()) return errc::exhausted;
    return begin(explicit_, sid, x, r, now, raise);
  }

  struct landed {
    bool legal{};           ///< the oracle's judgement
    bool answered{};        ///< something was there: a data frame or memory
    std::uint64_t value{};  ///< what a read returned
  };
  /// The second step: the access reaches the bus. not_present: landed already (a SYNC forced it).
  [[nodiscard]] result<landed> land(transaction_id id, std::uint64_t value, instant now) {
    if (explicit_.find(id) == nullptr) return errc::not_present;
    return finish(explicit_.take(id), value, now);
  }
  [[nodiscard]] std::size_t outstanding() const noexcept { return explicit_.size() + by_agents_.size(); }

  // Set-up.

  /// SMMUEN changed. Enabling latches the registers; disabling lands what is still on its way.
  void enable(const walk_setup& s) noexcept {
    setup_ = s;
    setup_.fence_after_ste = options_.fence_after_ste;
    setup_.contiguous_runs = options_.contiguous_runs;
    enabled_ = true;
  }
  void disable(instant now) {
    enabled_ = false;
    land_everything(by_agents_, now);
    if (options_.landing == landing_policy::forced) land_everything(explicit_, now);
  }
  void abort_while_disabled(bool abort) noexcept { abort_while_disabled_ = abort; }
  void facts(const tlbi_facts& f) noexcept { facts_ = f; }

  agent<Env>& add_agent(stream_id sid, const agent_options& o) {
    agents_.push_back(std::make_unique<agent<Env>>(sid, o));
    return *agents_.back();
  }
  [[nodiscard]] bool has_agents() const noexcept { return !agents_.empty(); }

  /// One device step of every agent.
  template <class Raise>
  void run_agents(instant now, Raise&& raise) {
    for (const auto& a : agents_) {
      if (a->told() == 0) continue;
      for (unsigned i = 0; i != a->options().accesses; ++i) {
        const auto next = a->next();
        (void)begin(by_agents_, a->sid(), next.address, next.want, now, raise);
        while (by_agents_.size() > options_.agent_transactions || (by_agents_.size() != 0 && a->chance().below(2) == 0))
          (void)finish(by_agents_.take(by_agents_.nth(a->chance().below(by_agents_.size())).id), a->chance().next(), now);
      }
    }
  }

  // Looking.

  [[nodiscard]] engine_counters counters() const noexcept {
    engine_counters c = counters_;
    c.walk = walker_.counters();
    return c;
  }
  [[nodiscard]] const caches& cached() const noexcept { return caches_; }
  [[nodiscard]] std::size_t pending() const noexcept { return pending_.size(); }
  [[nodiscard]] const engine_options& options() const noexcept { return options_; }
  [[nodiscard]] std::size_t chunks() const noexcept { return pool_.chunks(); }
  [[nodiscard]] bool check_invariants() const {
    return caches_.leaves.check_invariants() && caches_.tables.check_invariants() && explicit_.check_invariants() &&
           by_agents_.check_invariants() && counters_.commands >= counters_.syncs + counters_.tlbis + counters_.cfgis + counters_.other &&
           (options_.lazy || pending_.empty());
  }

 private:
  struct effect {
    scope tlbi{};
    command raw{};
  };

  void note(const effect& e) {
    if (!options_.lazy || (options_.early_percent != 0 && chance_.below(100) < options_.early_percent)) return apply(e);
    pending_.push_back(e);
    if (pending_.size() > options_.max_pending) {
      std::swap(pending_[chance_.below(pending_.size())], pending_.back());
      apply(pending_.back());
      pending_.pop_back();
    }
  }
  void apply(const effect& e) {
    const auto removed = [this](entry_id id) {
      ++counters_.removed_entries;
      if (explicit_.size() != 0) explicit_.removed(id);
      if (by_agents_.size() != 0) by_agents_.removed(id);
    };
    if (e.tlbi.what == scope::extent::nothing) {
      caches_.configs.remove(e.raw, removed);
    } else {
      caches_.leaves.remove(e.tlbi, removed);
      caches_.tables.remove(e.tlbi, removed);
    }
  }
  template <class Raise>
  void apply_all(instant now, Raise& raise) {
    for (std::size_t n = pending_.size(); n != 0; --n) {  // a random permutation, drawn from the back
      if (n > 1) std::swap(pending_[chance_.below(n)], pending_[n - 1]);
      apply(pending_[n - 1]);
      if (n > 1 && chance_.below(4) == 0) run_agents(now, raise);  // traffic between two effects of one SYNC
    }
    pending_.clear();
  }

  template <class Raise>
  result<grant> begin(transaction_table& table, stream_id sid, iova x, const request& r, instant now, Raise& raise) {
    ++counters_.dmas;
    grant g{};
    if (enabled_) {
      g.t = walker_.translate(setup_, sid, x, r, now);
    } else if (!abort_while_disabled_) {
      g.t.what = outcome::granted;
      g.t.bypass = true;
      g.t.output = raw(x);
    }
    if (g.t.what == outcome::granted) {
      g.id = table.add(sid, x, r, g.t);
    } else if (g.t.what == outcome::faulted) {
      ++counters_.faults;
      if (g.t.recorded) {
        ++counters_.events;
        raise(record_of(sid, x, r, g.t));
      }
    }
    return g;
  }
  static event_record record_of(stream_id sid, iova x, const request& r, const translation& t) noexcept {
    event e{};
    e.id = t.event;
    e.sid = sid;
    e.ssid = r.has_ssid ? r.ssid : substream_id{0};
    e.ssv = r.has_ssid;
    e.privileged = r.privileged;
    e.read = !r.write;
    e.where = t.cls;
    e.stage2 = t.stage2;
    e.table_read = t.cls == event_class::table_descriptor;
    e.address = raw(x);
    e.fetch = t.fetch;
    return event_record::encode(e);
  }

  landed finish(const transaction& t, std::uint64_t value, instant now) {
    ++counters_.landings;
    landed l{};
    l.legal = oracle_.landing(t.sid, t.address, t.output, now);
    l.answered = oracle_.is_data(t.output);
    if (!l.answered && l.legal) {  // a leak is recorded, and then does no further damage
      const bus_addr word{raw(t.output) & ~std::uint64_t{7}};
      if (t.want.write) {
        l.answered = memory_.store64(word, value).ok();
      } else {
        const result<std::uint64_t> r = memory_.load64(word);
        l.answered = r.ok();
        l.value = r.value();
      }
      counters_.bus_errors += !l.answered;
    }
    return l;
  }
  void land_bound(transaction_table& table, instant now) {
    for (std::size_t i = table.size(); i-- != 0 && table.must_land() != 0;) {
      if (!table.nth(i).must_land) continue;
      ++counters_.forced_landings;
      (void)finish(table.take(table.nth(i).id), memory_poison, now);
    }
  }
  void land_everything(transaction_table& table, instant now) {
    while (table.size() != 0) (void)finish(table.take(table.nth(0).id), memory_poison, now);
  }

  engine_options options_;
  memory<Env>& memory_;
  oracle<Env>& oracle_;
  node_pool pool_;
  caches caches_;
  walker<Env> walker_;
  transaction_table explicit_;
  transaction_table by_agents_;
  coverage coverage_;
  std::vector<effect> pending_;
  std::vector<std::unique_ptr<agent<Env>>> agents_;
  engine_counters counters_{};
  tlbi_facts facts_{};
  walk_setup setup_{};
  prng chance_;
  instant sync_since_{};
  bool syncing_{};
  bool enabled_{};
  bool abort_while_disabled_{};
};

}  // namespace model
SHOOTDOWN_END
