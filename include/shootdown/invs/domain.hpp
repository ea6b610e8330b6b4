// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>  // std::memory_order only
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>

#include <shootdown/arch/types.hpp>
#include <shootdown/env/environment.hpp>
#include <shootdown/env/time.hpp>
#include <shootdown/invs/array.hpp>
#include <shootdown/invs/ats_section.hpp>
#include <shootdown/invs/attachment.hpp>
#include <shootdown/invs/domain_options.hpp>
#include <shootdown/invs/domain_rules.hpp>
#include <shootdown/invs/entry.hpp>
#include <shootdown/invs/invalidation.hpp>
#include <shootdown/invs/master_entries.hpp>
#include <shootdown/invs/plan.hpp>
#include <shootdown/port/command_list.hpp>
#include <shootdown/port/command_port.hpp>
#include <shootdown/port/tag.hpp>
#include <shootdown/range/piece.hpp>
#include <shootdown/status.hpp>

SHOOTDOWN_BEGIN

/// A set of translations shared by masters on any number of SMMU instances, and the one place from which they are
/// invalidated.
///
/// Promise: when invalidate() returns ok, no transaction that an attached master starts afterwards, and none in flight, uses a
/// translation that the caller removed before the call. When detach() returns ok no invalidation that begins later is sent for
/// that master, and none at all to its device cache.
///
/// Two sides. Invalidation (begin, finish, poll, invalidate) takes no lock and never allocates: an RCU read section over a
/// published array, with device caches in it also the domain's ATS section; any context but NMI and signal handlers; waits
/// only for room in rings and for SYNCs; a control operation never blocks it. Control (attach, detach, replace, reattach,
/// purge, forget) may sleep, is serialised by this domain's mutex, and calls the caller's ops under it. It waits for
/// invalidations in one case: a device cache leaves the array.
///
/// Locks. A domain spans several instances, so the lock is the domain's and not one of a tag space; each tag space locks
/// itself, innermost and never while it waits for anything. The array needs the exclusion; what it protects across domains is
/// only the tag, and a tag of (domain, instance) is acquired and released under this mutex. Order: the domain mutexes in
/// ascending `number`, at most two (replace), then a tag space. Each is acquired only when all held ones come earlier in that
/// order, so no cycle of waiters can form. Readers of the ATS section hold none of them and take none.
///
/// Tags. One ASID (stage 1) or VMID (stage 2) per (domain, instance): from port.tags() with the first master of the instance,
/// found in the array by the next ones; when the last leaves it is flushed (whole tag + SYNC) and released, or retired if the
/// flush failed. So a tag that is in no array has no TLB entries. The flush of a VMID takes its stage-1 entries along.
///
/// ATS. Switched on: entries published, TLB flushed if the tag was in use, entry written with EATS, ops.ats(true), device cache
/// wiped. Switched off: entry written with EATS = 0 or blocked (translated requests abort from here), cache wiped, users
/// taken away, fence behind the readers that may have seen them, ops.ats(false). Kept while the translation changes: as
/// on and off without the switch. memory-model.md section 5.
///
/// Faults of write_entry. If a translation cannot be installed, the entry is made to block and all is undone. If blocking
/// fails as well, the SMMU may still use the tag: the entries stay in the array (pinned: invalidations keep covering
/// them) and the tag is not reused, until the instance was reset and forget() is called, or the domain goes (then it is retired).
/// The device's ATS stays as it is. Faults of the wipe: where EATS = 0 stops the device anyway the operation goes on and
/// reports it; a PASID shares EATS with its siblings, so its device entries are pinned. A fence that meets the deadline is
/// reported as timed_out; the device's ATS then stays on, as invalidations may still come: fence() again, then switch it off.
///
/// Removal of an instance: detach its masters, forget() it if a fault pinned something, then synchronize(): readers that hold
/// an array from before may still submit to it. Only then may the port go.
///
/// Tables must map pages non-global: no whole-tag opcode of an ASID drops global entries.
/// Cost: one unmap reads one 64-byte header and 32 bytes per entry; with device caches two RMWs and a fence more.
/// design.md 3; invs-array.md 4, 5, 6, 8.
///
/// Sites: S1 relaxed (own writes, mutex) S2 release -> invalidation S2 acquire, S4 acquire; S3 fence, pairs with
/// invalidation S1.
template <environment Env, command_port Port, invalidation_limits L = invalidation_limits{}>
class domain {
 public:
  using attachment_t = attachment<Env, Port>;
  using master_t = master<Port>;
  using invalidation_t = invalidation<Env, Port, L>;
  using array_t = entry_array<Env, Port>;
  using entry_t = entry<Env, Port>;
  using entries_t = master_entries<Env, Port>;

  explicit domain(const domain_options& o) noexcept : options_{o} { slot_init(); }
  domain(const domain&) = delete;
  domain& operator=(const domain&) = delete;
  /// No master is attached and nobody uses the domain any more. Tags that a fault pinned are retired.
  ~domain() {
#if SHOOTDOWN_CHECK
    if (first_ != nullptr) Env::fail("a domain was destroyed with masters attached");
#endif
    array_t* const a = current();
    for (std::uint32_t i = 0; a != nullptr && i != a->count(); ++i) {
      if ((*a)[i].live() && phase_of((*a)[i].spec.type) == phase::tlb) (*a)[i].spec.port->tags().retire(tag_of((*a)[i].spec));
    }
    array_t::destroy(a);
  }

  [[nodiscard]] const domain_options& options() const noexcept { return options_; }

  // ---- control: may sleep, serialised by the domain's mutex ----

  /// The master translates through this domain afterwards. On any failure nothing has changed, except for a fault of both
  /// write_entry calls (see above); the attachment is then free again in each case.
  ///   invalid_argument, unsupported, out_of_range  see admissible(); invalid_argument also for another port object with the
  ///                                                same instance number
  ///   already_present   the attachment, or one of the streams with that PASID, is attached already
  ///   no_memory, exhausted, what write_entry or ats reported, or a device cache that could not be wiped
  template <attach_ops Ops>
  [[nodiscard]] status attach(attachment_t& a, const master_t& m, Ops&& ops, deadline d) noexcept {
    const holder hold{mutex_};
    if (a.owner_ != nullptr) return errc::already_present;
    entries_t right;
    if (const status s = enter(m, right, nullptr, d); !s.ok()) return s;
    status s = ops.write_entry(install_of(right.tag_spec(), m.pasid, m.ats));
    const bool switched = s.ok() && m.ats;
    if (switched) s = ops.ats(true);
    if (switched && s.ok()) s = wipe(right, d);
    if (s.ok()) {
      link(a, m, right);
      return s;
    }
    const status blocked = ops.write_entry(block_of(m.pasid));
    s.merge(depart(right, m.pasid, blocked, switched, ops, d));  // s failed already: it stays the answer
    return s;
  }

  /// The master's transactions abort afterwards. The software side always completes: the attachment is free whatever is
  /// returned. Not ok: the hardware may still translate (write_entry's status; entries pinned), the tag's flush failed (tag
  /// retired), the device did not answer, or an invalidation that may still reach it had not finished by the deadline (see
  /// ATS above). not_present: the attachment is not one of this domain; nothing done.
  template <attach_ops Ops>
  [[nodiscard]] status detach(attachment_t& a, Ops&& ops, deadline d) noexcept {
    const holder hold{mutex_};
    if (a.owner_ != this) return errc::not_present;
    const status blocked = ops.write_entry(block_of(a.pasid_));
    entries_t right;
    unlink(a, right);
    return depart(right, a.pasid_, blocked, true, ops, d);
  }

  /// Moves an attached master to another domain without a blocked time between. Both domains invalidate for it while the entry
  /// is written. Fails like attach: then the master is where it was. If the change failed half way, the old configuration is
  /// written again (and the device cache wiped); if that fails too the master is blocked and detached from both (attached()
  /// tells). A failed flush of the old domain's tag, or fence, is reported although the master has moved. invalid_argument:
  /// both domains have the same number.
  template <attach_ops Ops>
  [[nodiscard]] status replace(attachment_t& a, domain& to, Ops&& ops, deadline d) noexcept {
    return change(a, to, nullptr, ops, d);
  }
  /// The same, with another ATS state: `m` is the attached master but for `ats` and `stu`. invalid_argument: other port, streams
  /// or PASID, or another unit while ATS stays on.
  template <attach_ops Ops>
  [[nodiscard]] status replace(attachment_t& a, domain& to, const master_t& m, Ops&& ops, deadline d) noexcept {
    return change(a, to, &m, ops, d);
  }

  /// Gives a master that stays in this domain another ATS state. Fails as replace does; already_present: nothing would change.
  template <attach_ops Ops>
  [[nodiscard]] status reattach(attachment_t& a, const master_t& m, Ops&& ops, deadline d) noexcept {
    const holder hold{mutex_};
    if (a.owner_ != this) return errc::not_present;
    if (const status s = same_master(master_of(a), m); !s.ok()) return s;
    if (a.ats_ == m.ats) return errc::already_present;
    return move(a, *this, m, ops, d);
  }

  /// Waits for the invalidations that had begun while a device cache was in the array and are not finished: for a device whose
  /// detach timed out here, before its ATS is switched off. timed_out: some are not.
  [[nodiscard]] status fence(deadline d) noexcept {
    const holder hold{mutex_};
    return section_.fence(d);
  }

  /// Drops trash and a mark of device caches that holds no longer, if memory allows; true if it did. attach does it too.
  bool purge() noexcept {
    const holder hold{mutex_};
    array_t* const next = array_t::purge(current());
    if (next == nullptr) return false;
    publish(next);
    return true;
  }

  /// Gives up what faults pinned on an instance that has been reset since (nothing of it is cached any more). busy: masters of
  /// it are attached; not_present: nothing of it is here. Its tag is retired. timed_out: done, but an invalidation that may
  /// still reach a device of it was not finished by the deadline.
  [[nodiscard]] status forget(const Port& port, deadline d = deadline::never()) noexcept {
    const holder hold{mutex_};
    for (const attachment_t* a = first_; a != nullptr; a = a->next_) {
      if (a->port() == &port) return errc::busy;
    }
    bool found = false, devices = false;
    while (const entry_t* const e = any_of(port)) {
      found = true;
      devices = devices || phase_of(e->spec.type) == phase::atc;
      entry_t right[1];
      right[0].spec = e->spec;
      static_cast<void>(current()->unref(right).ok());  // it is there: just found
      --pinned_;
      if (phase_of(right[0].spec.type) == phase::tlb && !right[0].live()) right[0].spec.port->tags().retire(tag_of(right[0].spec));
    }
    if (!found) return errc::not_present;
    return devices ? section_.fence(d) : status{};
  }

  /// After it, no invalidation that began before still uses an earlier array: a port whose masters are detached may go.
  /// May sleep; not inside an invalidation of the same thread.
  static void synchronize() noexcept { Env::rcu::synchronize(); }

  /// The array's invariants; its entries are of this domain's kind, one tag per instance, the stage-1 clear of a nesting parent
  /// with it; its users are those of the attachments and faults. Control side.
  [[nodiscard]] bool check_invariants() noexcept {
    const holder hold{mutex_};
    const array_t* const a = current();
    if (a != nullptr && (!a->check_invariants() || !kinds_fit(*a, options_))) return false;
    std::uint64_t users = 0;
    for (std::uint32_t i = 0; a != nullptr && i != a->count(); ++i) users += (*a)[i].users();
    std::uint64_t members = 0;
    for (const attachment_t* m = first_; m != nullptr; m = m->next_) {
      if (m->owner_ != this || a == nullptr || m->ats_ != m->entries_.caches()) return false;
      for (const entry_t& e : m->entries_.all()) {
        if (!a->contains(e.spec.key())) return false;
        ++members;
      }
    }
    return users == members + pinned_;
  }

  // ---- invalidation: any context but NMI and signal handlers, no lock, no allocation ----

  /// Submits what removes these pieces from every attached master's reach; finish() or poll() tells when it is done. At most
  /// L.pieces of them (too_large). The deadline bounds the wait for room; lists that found none go out in finish() or poll().
  /// Bad pieces (misaligned, empty, out of range, another granule): the error is the outcome, nothing is sent.
  [[nodiscard]] invalidation_t begin(std::span<const range_piece> pieces, deadline d) noexcept {
    if (pieces.empty()) return invalidation_t{status{errc::empty_range}};
    return invalidation_t{slot_, section_, pieces, rules(), d};
  }
  /// Everything under the domain's tags.
  [[nodiscard]] invalidation_t begin_all(deadline d) noexcept { return invalidation_t{slot_, section_, {}, rules(), d}; }

  /// Waits for all instances. timed_out: not finished, may be called again; nothing may be reused. Otherwise the first failure
  /// in the order of the instances, or ok.
  [[nodiscard]] status finish(invalidation_t& i, deadline d) noexcept { return i.finish(d); }
  /// One step, without waiting: pending, or the outcome.
  [[nodiscard]] status poll(invalidation_t& i) noexcept { return i.poll(); }

  /// begin and finish, for any number of pieces. After timed_out the invalidation cannot be asked again: what it named must not
  /// be reused until the instances were reset or a later invalidation of the same pieces succeeded.
  [[nodiscard]] status invalidate(std::span<const range_piece> pieces, deadline d) noexcept {
    if (const status s = invalidation_t::plan_t::check(pieces, rules()); !s.ok()) return s;
    status worst;
    while (!pieces.empty()) {
      const std::size_t n = pieces.size() < L.pieces ? pieces.size() : L.pieces;
      invalidation_t i = begin(pieces.first(n), d);
      const status s = complete(i, d);
      worst.merge(s);
      if (s.code() == errc::timed_out) break;  // the caller has to ask again anyway
      pieces = pieces.subspan(n);
    }
    return worst;
  }
  template <class Gather>
    requires requires(const Gather& g) {
      { g.pieces() } noexcept -> std::same_as<std::span<const range_piece>>;
    }
  [[nodiscard]] status invalidate(const Gather& g, deadline d) noexcept {
    return invalidate(g.pieces(), d);
  }
  [[nodiscard]] status invalidate_all(deadline d) noexcept {
    invalidation_t i = begin_all(d);
    return complete(i, d);
  }

  /// f(entry_spec, users) for each live entry of the array published now. Any context, like begin.
  template <class F>
  void each_entry(F&& f) const noexcept {
    const typename Env::rcu::guard guard{};
    const array_t* const a = Env::rcu::dereference(slot_);  // S4 acquire: pairs with S2; entries before pointer
    for (std::uint32_t i = 0, n = a == nullptr ? 0 : a->count(); i != n; ++i) {
      if ((*a)[i].live()) f((*a)[i].spec, (*a)[i].users());
    }
  }

 private:
  class holder {
   public:
    explicit holder(typename Env::mutex& m) noexcept : mutex_{m} { mutex_.lock(); }
    ~holder() { mutex_.unlock(); }
    holder(const holder&) = delete;
    holder& operator=(const holder&) = delete;

   private:
    typename Env::mutex& mutex_;
  };

  [[nodiscard]] plan_rules rules() const noexcept {
    return {options_.page,
            options_.address_bits,
            options_.policy,
            options_.entry_limit,
            options_.command_limit,
            options_.atc_spans,
            options_.stage == translation_stage::two};
  }
  [[nodiscard]] status complete(invalidation_t& i, deadline d) noexcept {
    const status s = finish(i, d);
    if (!i.finished()) i.abandon();
    return s;
  }

  void slot_init() noexcept { Env::rcu::publish(slot_, static_cast<array_t*>(nullptr)); }  // S2 release: nobody reads yet
  [[nodiscard]] array_t* current() const noexcept {
    return slot_.load(std::memory_order_relaxed);  // S1 relaxed: written under the same mutex only
  }
  void publish(array_t* next) noexcept {
    array_t* const old = current();
    Env::rcu::publish(slot_, next);  // S2 release -> invalidation S2: the entries are filled before a reader sees them
    array_t::retire(old);
  }
  [[nodiscard]] entry_type tag_type() const noexcept {
    return options_.stage == translation_stage::one ? entry_type::s1_asid : entry_type::s2_vmid;
  }
  [[nodiscard]] const entry_t* find(instance_id i) const noexcept {
    const array_t* const a = current();
    return a == nullptr ? nullptr : a->find(i, tag_type());
  }
  [[nodiscard]] const entry_t* any_of(const Port& port) const noexcept {
    const array_t* const a = current();
    for (std::uint32_t i = 0; a != nullptr && i != a->count(); ++i) {
      if ((*a)[i].live() && (*a)[i].spec.port == &port) return &(*a)[i];
    }
    return nullptr;
  }
  [[nodiscard]] static master_t master_of(const attachment_t& a) noexcept { return {*a.port(), a.streams_, a.pasid_, a.ats_, a.stu_}; }
  /// `self` is an attachment of the same master that is about to be changed.
  [[nodiscard]] status admit(const master_t& m, const attachment_t* self) const noexcept {
    if (const status s = admissible(options_, m); !s.ok()) return s;
    for (const attachment_t* a = first_; a != nullptr; a = a->next_) {
      if (a != self && a->port() == &m.port && a->pasid_ == m.pasid && overlap(a->streams_, m.streams)) return errc::already_present;
    }
    return {};
  }
  /// Checks, finds or acquires the tag, and publishes an array that has the master's entries: from S3 on an STE may use them.
  /// Device caches under a tag that was in use find it flushed: memory-model.md 5.
  [[nodiscard]] status enter(const master_t& m, entries_t& right, const attachment_t* self, deadline d) noexcept {
    if (const status s = admit(m, self); !s.ok()) return s;
    if (const entry_t* const present = find(m.port.instance()); present != nullptr) {
      if (present->spec.port != &m.port) return errc::invalid_argument;
      status s = make_entries(options_, m, tag_of(present->spec), right);
      if (s.ok()) s = insert(right);
      if (!s.ok() || !m.ats || (s = flush_tag(right.tag_spec(), d)).ok()) return s;
      s.merge(leave(right, false, d).fenced);
      return s;
    }
    const result<tag> t = m.port.tags().acquire(tag_type() == entry_type::s1_asid ? tag_kind::asid : tag_kind::vmid);
    if (!t.ok()) return t.state();
    status s = make_entries(options_, m, *t, right);
    if (s.ok()) s = insert(right);
    if (!s.ok()) m.port.tags().release(*t);  // no STE has had it, so nothing is cached under it
    return s;
  }
  [[nodiscard]] status insert(const entries_t& right) noexcept {
    const result<array_t*> next = array_t::merge(current(), right.all());
    if (!next.ok()) return next.state();
    publish(*next);
    // Either an invalidation reads the array published here, or its page-table stores are visible to every walk that starts
    // from the STE written after this point.
    Env::full_fence();  // S3 full fence: pairs with invalidation's S1 (store-load)
    Env::trace::event(trace_point::attach, raw(right.tag_spec().instance), right.tag_spec().id());
    return {};
  }

  /// What came of leaving: no reader can reach the devices any more; nothing is cached under the tag any more.
  struct left {
    status fenced{};
    status flushed{};
  };
  /// Takes one user of each entry away that the hardware does not use any more. Device entries stay pinned if it still may.
  [[nodiscard]] left leave(entries_t& right, bool devices_stay, deadline d) noexcept {
    const entry_spec<Port>& s = right.tag_spec();
    Env::trace::event(trace_point::detach, raw(s.instance), s.id());
    left out;
    if (!current()->unref(devices_stay ? right.tags() : right.all()).ok()) {
      Env::fail("a domain's array lost an entry of an attached master");
      return {errc::not_present, errc::not_present};
    }
    const bool fenced = right.caches() && !devices_stay;
    if (devices_stay) pinned_ += right.devices().size();
    if (fenced) out.fenced = section_.fence(d);
    const bool last = !right.tags()[0].live();
    // Commands that a reader gave up on may lie in the queue still; any SYNC behind them shows that they are gone.
    if (last || (fenced && section_.unfinished())) out.flushed = flush_tag(s, d);
    if (last && out.flushed.ok()) s.port->tags().release(tag_of(s));
    if (last && !out.flushed.ok()) s.port->tags().retire(tag_of(s));
    return out;
  }
  /// The master leaves this domain after its entry was asked to stop caching and translating for it, with the answer `stopped`.
  /// `on`: the device's ATS was switched on.
  template <class Ops>
  [[nodiscard]] status depart(entries_t& right, substream_id pasid, status stopped, bool on, Ops&& ops, deadline d) noexcept {
    if (!stopped.ok()) {
      pin(right);
      return stopped;
    }
    status s = wipe(right, d);
    const bool stays = !s.ok() && raw(pasid) != 0;
    const left l = leave(right, stays, d);
    s.merge(l.fenced);
    if (right.caches() && on && !stays && l.fenced.ok()) s.merge(ops.ats(false));
    s.merge(l.flushed);
    return s;
  }
  /// The SMMU may still use them: they stay covered, and the tag is not handed out.
  void pin(const entries_t& right) noexcept { pinned_ += right.all().size(); }

  template <class Ops>
  [[nodiscard]] status change(attachment_t& a, domain& to, const master_t* wanted, Ops&& ops, deadline d) noexcept {
    if (&to == this) return errc::already_present;
    if (to.options_.number == options_.number) return errc::invalid_argument;
    const bool ascending = options_.number < to.options_.number;
    const holder low{ascending ? mutex_ : to.mutex_};
    const holder high{ascending ? to.mutex_ : mutex_};
    if (a.owner_ != this) return errc::not_present;
    if (wanted != nullptr) {
      if (const status s = same_master(master_of(a), *wanted); !s.ok()) return s;
    }
    return move(a, to, wanted != nullptr ? *wanted : master_of(a), ops, d);
  }
  /// Under the mutexes of both (one, if `to` is this domain). `m` is the attached master with the ATS state it is to have.
  template <class Ops>
  [[nodiscard]] status move(attachment_t& a, domain& to, const master_t& m, Ops&& ops, deadline d) noexcept {
    const bool was = a.ats_, will = m.ats;
    entries_t right, old;
    if (const status s = to.enter(m, right, &to == this ? &a : nullptr, d); !s.ok()) return s;
    status s = ops.write_entry(install_of(right.tag_spec(), m.pasid, will));
    const bool switched = s.ok() && will && !was;
    if (switched) s = ops.ats(true);
    if (s.ok() && will) s = wipe(right, d);
    if (s.ok()) {
      unlink(a, old);
      to.link(a, m, right);
      if (was && !will) return depart(old, m.pasid, s, true, ops, d);
      const left l = leave(old, false, d);
      s.merge(l.fenced);
      s.merge(l.flushed);
      return s;
    }
    status restored = ops.write_entry(install_of(a.entries_.tag_spec(), m.pasid, was));
    if (restored.ok() && was) restored = wipe(a.entries_, d);  // it may have cached the new translation
    if (restored.ok() && !was) {
      s.merge(to.depart(right, m.pasid, restored, switched, ops, d));
      return s;
    }
    if (restored.ok()) {
      s.merge(to.leave(right, false, d).fenced);
      return s;
    }
    const status blocked = ops.write_entry(block_of(m.pasid));
    unlink(a, old);
    if (!blocked.ok()) {
      pin(old);
      to.pin(right);
      return s;
    }
    const bool stays = !wipe(was ? old : right, d).ok() && raw(m.pasid) != 0;
    const left there = to.leave(right, stays, d);
    const left here = leave(old, stays, d);
    if ((was || switched) && !stays && there.fenced.ok() && here.fenced.ok()) s.merge(ops.ats(false));
    return s;
  }

  void link(attachment_t& a, const master_t& m, entries_t& right) noexcept {
    a.owner_ = this;
    a.streams_ = m.streams;
    a.pasid_ = m.pasid;
    a.ats_ = m.ats;
    a.stu_ = m.stu;
    a.entries_.take(right);
    a.previous_ = nullptr;
    a.next_ = first_;
    if (first_ != nullptr) first_->previous_ = &a;
    first_ = &a;
  }
  void unlink(attachment_t& a, entries_t& right) noexcept {
    (a.previous_ != nullptr ? a.previous_->next_ : first_) = a.next_;
    if (a.next_ != nullptr) a.next_->previous_ = a.previous_;
    a.owner_ = nullptr;
    a.next_ = a.previous_ = nullptr;
    right.take(a.entries_);
  }

  const domain_options options_;
  typename Env::mutex mutex_;
  typename invalidation_t::slot_t slot_;
  typename invalidation_t::section_t section_;
  attachment_t* first_{};   // under mutex_
  std::uint64_t pinned_{};  // under mutex_: users that faults left behind
};

SHOOTDOWN_END
