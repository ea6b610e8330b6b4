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
#include <shootdown/model/ats.hpp>
#include <shootdown/model/coverage.hpp>
#include <shootdown/model/engine_options.hpp>
#include <shootdown/model/memory.hpp>
#include <shootdown/model/oracle.hpp>
#include <shootdown/model/random.hpp>
#include <shootdown/model/transaction_table.hpp>
#include <shootdown/model/walker.hpp>
#include <shootdown/status.hpp>

SHOOTDOWN_BEGIN
namespace model {

/// Everything of one SMMU below its registers: executes commands, translates, lands, runs agents.
///
/// Contract. A TLBI or CFGI executed is only noted; its effect comes at the next SYNC (lazy), in random order among its
///   kind, which the architecture permits and which catches a missing SYNC. A SYNC completes after the landings of all
///   transactions that rest on anything removed before it (TLB entry, table pointer, STE, CD, ATC entry).
/// A DMA is two steps: translate() and land(). In between anything may happen.
/// ATS. A SYNC completes when every ATC_INV before it was answered. The endpoint acts on it then, before the TLBIs of the same
///   SYNC take effect, and asks again for what it lost: a stale TLB entry comes back for good unless a SYNC separates the two.
///   Translated transactions use nothing but the endpoint's cache, and with CR0.ATSCHK the cached STE. Split-stage ATS (EATS
///   = 2) is refused as if EATS were 0.
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
        link_{pool_},
        explicit_{options.max_transactions},
        by_agents_{options.agent_transactions + 1},
        chance_{options.seed} {
    pending_.reserve(options.max_pending + 1);
  }

  // Commands.

  template <class Raise = ignore_events>
  void execute(command c, instant now = {}, Raise&& raise = {}) {
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
      if (opcode_of(c) != opcode::atc_inv) return;
      ++counters_.atc_invs;
      link_.send(c, now, options_.atc_round_trip);
      if (comes_early()) deliver_atc(now, raise);
    }
  }

  /// Could the next command take effect before its SYNC?
  [[nodiscard]] bool may_act_early() const noexcept {
    return !options_.lazy || options_.early_percent != 0 || pending_.size() >= options_.max_pending;
  }

  /// One attempt to complete a CMD_SYNC at `now`. False: not yet, ask again. Agents may act between two effects.
  /// `about_to_act()` is called right before the first effect.
  template <class Raise>
  [[nodiscard]] bool sync(instant now, Raise&& raise) {
    return sync(now, raise, [] {});
  }
  template <class Raise, class Before>
  [[nodiscard]] bool sync(instant now, Raise&& raise, Before&& about_to_act) {
    if (!syncing_) {
      syncing_ = true;
      sync_since_ = now;
    }
    if (!deadline::in(sync_since_, options_.sync_latency).passed(now) || !atc_answered(now, raise)) return false;
    about_to_act();
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

  /// Did the last attempt find an ATC_INV that is never answered? Asking clears it. The SYNC is then tried again from its start.
  [[nodiscard]] bool atc_timed_out() noexcept { return std::exchange(atc_timed_out_, false); }

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

  /// A translation request of an endpoint. True: what it holds now permits `r`. IHI 0070 3.9.1: a translation fault is
  /// answered without an entry and without a record; ATS that the STE does not permit is recorded as F_BAD_ATS_TREQ.
  template <class Raise>
  bool request_translation(endpoint& e, iova x, const request& r, instant now, Raise&& raise) {
    if (!e.active() || broken_) return false;
    ++e.counters().requests;
    translation t{};
    const bool asked = enabled_ && may_ask(e.sid(), x, r, t, raise);
    if (asked) {
      request w = r;
      w.write = true;
      t = walker_.translate(setup_, e.sid(), x, w, now);
      w.write = false;
      const bool writable = t.what == outcome::granted;
      if (t.what == outcome::faulted && t.event == event_id::f_permission) t = walker_.translate(setup_, e.sid(), x, w, now);
      if (t.what == outcome::granted && !t.bypass) {
        ++e.counters().translations;
        const std::uint64_t within = (std::uint64_t{1} << t.extent) - 1;
        e.cache().insert({caches_.fresh(), raw(x) & ~within, t.output & ~within, t.extent, writable, w});
        return writable || !r.write;
      }
      if (t.what == outcome::faulted && static_cast<unsigned>(t.event) >= static_cast<unsigned>(event_id::f_translation)) return false;
    }
    ++e.counters().refused;
    return false;
  }

  /// The first step of a DMA of an endpoint: a translated transaction, after a translation request if its cache permits it not.
  /// `aborted` without an id: it has no translation, so it sends nothing.
  template <class Raise>
  [[nodiscard]] result<grant> translate(endpoint& e, iova x, const request& r, instant now, Raise&& raise) {
    if (explicit_.full()) return errc::exhausted;
    return begin(explicit_, e, x, r, now, raise);
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
  /// CR0.ATSCHK, and CR2.REC_CFG_ATS where IDR0.ATSRECERR has it.
  void ats_rules(bool check_translated, bool record_configuration) noexcept {
    check_translated_ = check_translated;
    record_ats_ = record_configuration;
  }
  void sync_latency(nanoseconds n) noexcept { options_.sync_latency = n; }
  /// Every transaction and request aborts, without a record.
  void break_down(bool broken) noexcept { broken_ = broken; }
  /// Power-on: what was executed and not completed is lost, requests to endpoints included. Caches may survive.
  void reset(instant now, bool keep_caches) {
    disable(now);
    pending_.clear();
    link_.give_up(true);
    if (!keep_caches)
      for (const opcode op : {opcode::cfgi_ste_range, opcode::tlbi_nsnh_all, opcode::tlbi_el2_all}) {
        const command all{static_cast<std::uint64_t>(op), op == opcode::cfgi_ste_range ? 31u : 0u};
        apply({decode_scope(all, facts_), all});
      }
    static_cast<void>(coverage_.flush());
    syncing_ = atc_timed_out_ = check_translated_ = record_ats_ = broken_ = abort_while_disabled_ = false;
  }

  agent<Env>& add_agent(stream_id sid, const agent_options& o) {
    agents_.push_back(std::make_unique<agent<Env>>(sid, o));
    if (o.ats_percent != 0) link_.add(sid, {});
    return *agents_.back();
  }
  endpoint& add_endpoint(stream_id sid, const endpoint_options& o) { return link_.add(sid, o); }
  [[nodiscard]] endpoint* find_endpoint(stream_id sid) noexcept { return link_.find(sid); }
  [[nodiscard]] bool has_endpoints() const noexcept { return !link_.empty(); }
  void enable_ats(endpoint& e, bool on) { e.enable_ats(on, dropped()); }
  void set_state(endpoint& e, endpoint_state s) { e.set_state(s, dropped()); }
  [[nodiscard]] bool has_agents() const noexcept { return !agents_.empty(); }

  /// One device step of every agent.
  template <class Raise>
  void run_agents(instant now, Raise&& raise) {
    for (const auto& a : agents_) {
      if (a->told() == 0) continue;
      for (unsigned i = 0; i != a->options().accesses; ++i) {
        const auto next = a->next();
        endpoint* const e = next.by_ats ? link_.find(a->sid()) : nullptr;
        (void)(e != nullptr ? begin(by_agents_, *e, next.address, next.want, now, raise)
                            : begin(by_agents_, a->sid(), next.address, next.want, now, raise));
        while (by_agents_.size() > options_.agent_transactions || (by_agents_.size() != 0 && a->chance().below(2) == 0))
          (void)finish(by_agents_.take(by_agents_.nth(a->chance().below(by_agents_.size())).id), a->chance().next(), now);
      }
    }
  }

  // Looking.

  [[nodiscard]] engine_counters counters() const noexcept {
    engine_counters c = counters_;
    c.walk = walker_.counters();
    c.ats = link_.counters();
    return c;
  }
  [[nodiscard]] const caches& cached() const noexcept { return caches_; }
  [[nodiscard]] std::size_t pending() const noexcept { return pending_.size(); }
  [[nodiscard]] const engine_options& options() const noexcept { return options_; }
  [[nodiscard]] std::size_t chunks() const noexcept { return pool_.chunks(); }
  [[nodiscard]] bool check_invariants() const {
    return caches_.leaves.check_invariants() && caches_.tables.check_invariants() && explicit_.check_invariants() &&
           by_agents_.check_invariants() && link_.check_invariants() &&
           counters_.commands >= counters_.syncs + counters_.tlbis + counters_.cfgis + counters_.other &&
           (options_.lazy || pending_.empty());
  }

 private:
  struct effect {
    scope tlbi{};
    command raw{};
  };

  [[nodiscard]] bool comes_early() noexcept {
    return !options_.lazy || (options_.early_percent != 0 && chance_.below(100) < options_.early_percent);
  }
  void note(const effect& e) {
    if (comes_early()) return apply(e);
    pending_.push_back(e);
    if (pending_.size() > options_.max_pending) {
      std::swap(pending_[chance_.below(pending_.size())], pending_.back());
      apply(pending_.back());
      pending_.pop_back();
    }
  }
  void bind(entry_id id) noexcept {
    if (explicit_.size() != 0) explicit_.removed(id);
    if (by_agents_.size() != 0) by_agents_.removed(id);
  }
  [[nodiscard]] auto dropped() noexcept {
    return [this](const atc_entry& e) { bind(e.id); };
  }
  template <class Raise>
  void deliver_atc(instant now, Raise& raise) {
    link_.deliver(now, dropped(), [&](endpoint& e, const atc_entry& was) {
      request r = was.asked;
      r.write = was.writable;
      return request_translation(e, iova{was.first}, r, now, raise) ? 1u : 0u;
    });
  }
  template <class Raise>
  [[nodiscard]] bool atc_answered(instant now, Raise& raise) {
    if (link_.under_way() == 0) return true;
    deliver_atc(now, raise);
    if (link_.timed_out(now, options_.atc_timeout)) {
      ++counters_.atc_timeouts;
      link_.give_up(options_.atc_timeout_takes_all);
      atc_timed_out_ = true;
      syncing_ = false;
      return false;
    }
    return link_.under_way() == 0;
  }
  void apply(const effect& e) {
    const auto removed = [this](entry_id id) {
      ++counters_.removed_entries;
      bind(id);
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
    if (broken_) {
      g.t.what = outcome::aborted;
    } else if (enabled_) {
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
  template <class Raise>
  result<grant> begin(transaction_table& table, endpoint& e, iova x, const request& r, instant now, Raise& raise) {
    grant g{};
    const atc_entry* c = e.active() ? e.cache().find(raw(x), r) : nullptr;
    if (e.active() && (c == nullptr || (r.write && !c->writable))) {
      if (!request_translation(e, x, r, now, raise)) return g;
      c = e.cache().find(raw(x), r);
    }
    if (c == nullptr || (r.write && !c->writable)) return g;
    ++counters_.dmas;
    ++e.counters().translated;
    g.t.output = c->output | (raw(x) & ((std::uint64_t{1} << c->extent) - 1));
    g.t.rests_on(c->id);
    if (!enabled_ || broken_ || !may_use(e.sid(), x, r, g.t, raise)) {
      ++e.counters().forbidden;
      return g;
    }
    g.t.what = outcome::granted;
    g.id = table.add(e.sid(), x, r, g.t);
    return g;
  }
  template <class Raise>
  void record(stream_id sid, iova x, const request& r, translation& t, event_id id, Raise& raise) {
    t.what = outcome::faulted;
    t.event = id;
    t.cls = event_class::input;
    ++counters_.faults;
    ++counters_.events;
    raise(record_of(sid, x, r, t));
  }
  static bool ats_on(const config_entry& e) noexcept { return (e.w[0] >> 3 & 1) != 0 && (e.w[0] >> 1 & 3) != 0 && (e.w[1] >> 28 & 3) == 1; }
  static bool aborts(const config_entry& e) noexcept { return (e.w[0] >> 1 & 7) == 0; }
  /// The checks of a translation request before it is translated. An aborting stream is refused without a record.
  template <class Raise>
  [[nodiscard]] bool may_ask(stream_id sid, iova x, const request& r, translation& t, Raise& raise) {
    const config_entry* const e = walker_.configuration(setup_, sid, t);
    if (e == nullptr || (e->w[0] & 1) == 0) {
      if (record_ats_) record(sid, x, r, t, e == nullptr ? t.event : event_id::c_bad_ste, raise);
      return false;
    }
    if (aborts(*e)) return false;
    if (!ats_on(*e)) record(sid, x, r, t, event_id::f_bad_ats_treq, raise);
    return ats_on(*e);
  }
  /// May a translated transaction of this stream pass? Without CR0.ATSCHK nobody looks.
  template <class Raise>
  [[nodiscard]] bool may_use(stream_id sid, iova x, const request& r, translation& t, Raise& raise) {
    if (!check_translated_) return true;
    const config_entry* const e = walker_.configuration(setup_, sid, t);
    if (e == nullptr) {
      if (t.recorded) record(sid, x, r, t, t.event, raise);
      return false;
    }
    t.rests_on(e->id);
    if ((e->w[0] & 1) == 0 || !ats_on(*e)) {
      record(sid, x, r, t, (e->w[0] & 1) == 0 ? event_id::c_bad_ste : event_id::f_transl_forbidden, raise);
      return false;
    }
    return true;
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
  ats_link link_;
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
  bool check_translated_{};
  bool record_ats_{};
  bool atc_timed_out_{};
  bool broken_{};
};

}  // namespace model
SHOOTDOWN_END
