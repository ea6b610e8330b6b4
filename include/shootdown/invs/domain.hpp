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
#include <shootdown/invs/attachment.hpp>
#include <shootdown/invs/entry.hpp>
#include <shootdown/invs/invalidation.hpp>
#include <shootdown/invs/plan.hpp>
#include <shootdown/port/command_list.hpp>
#include <shootdown/port/command_port.hpp>
#include <shootdown/port/tag.hpp>
#include <shootdown/range/piece.hpp>
#include <shootdown/status.hpp>

SHOOTDOWN_BEGIN

/// Which translation a domain holds.
enum class translation_stage : std::uint8_t { one, two };

/// What a domain is, fixed for its life.
struct domain_options {
  translation_stage stage{translation_stage::one};
  bool nesting_parent{};          ///< stage 2 below a guest's stage 1
  granule page{granule::k4};      ///< granule of its tables
  std::uint8_t address_bits{48};  ///< input address width
  cover_policy policy{cover_policy::exact};
  std::uint32_t entry_limit{};    ///< see plan_rules
  std::uint32_t command_limit{};  ///< see plan_rules
  std::uint8_t atc_spans{1};      ///< see plan_rules
  std::uint32_t number{};         ///< of this domain, unique among domains between which replace() moves masters
};

/// A set of translations shared by masters on any number of SMMU instances, and the one place from which they are
/// invalidated.
///
/// Promise: when invalidate() returns ok, no transaction that an attached master starts afterwards, and none in flight, uses a
/// translation that the caller removed before the call. When detach() returns ok no invalidation that begins later is sent for
/// that master.
///
/// Two sides. Invalidation (begin, finish, poll, invalidate) takes no lock and never allocates: an RCU read section over a
/// published array; any context but NMI and signal handlers; waits only for room in rings and for SYNCs; a control
/// operation never blocks it and it never blocks one. Control (attach, detach, replace, purge, forget) may sleep, is
/// serialised by this domain's mutex, and calls the caller's ops under it.
///
/// Locks. A domain spans several instances, so the lock is the domain's and not one of a tag space; each tag space locks
/// itself, innermost and never while it waits for anything. The array needs the exclusion; what it protects across domains is
/// only the tag, and a tag of (domain, instance) is acquired and released under this mutex. Order: the domain mutexes in
/// ascending `number`, at most two (replace), then a tag space. Each is acquired only when all held ones come earlier in that
/// order, so no cycle of waiters can form.
///
/// Tags. One ASID per (domain, instance): from port.tags() with the first master of the instance, found in the array by the
/// next ones; when the last leaves it is flushed (whole tag + SYNC) and released, or retired if the flush failed. So a tag that
/// is in no array has no TLB entries.
///
/// Faults of write_entry. If a translation cannot be installed, the entry is made to block and all is undone. If blocking
/// fails as well, the SMMU may still use the tag: the entry stays in the array (pinned: invalidations keep covering
/// it) and its tag is not reused, until the instance was reset and forget() is called, or the domain goes (then it is retired).
///
/// Removal of an instance: detach its masters, forget() it if a fault pinned something, then synchronize(): readers that hold
/// an array from before may still submit to it. Only then may the port go.
///
/// This version serves stage 1 without ATS; other requests are refused (unsupported) and change nothing.
/// Tables must map pages non-global: no whole-tag opcode of an ASID drops global entries.
/// Cost: one unmap reads one 64-byte header and 32 bytes per entry. design.md 3; invs-array.md 5, 6, 8.
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
      if ((*a)[i].live()) (*a)[i].spec.port->tags().retire(tag_of((*a)[i].spec));
    }
    array_t::destroy(a);
  }

  [[nodiscard]] const domain_options& options() const noexcept { return options_; }

  // ---- control: may sleep, serialised by the domain's mutex ----

  /// The master translates through this domain afterwards. On any failure nothing has changed, except for a fault of both
  /// write_entry calls (see above); the attachment is then free again in each case.
  ///   invalid_argument  no stream, streams not strictly ascending, or another port object with the same instance number
  ///   out_of_range      a StreamID or PASID wider than the instance knows
  ///   unsupported       stage, granule or ATS
  ///   already_present   the attachment, or one of the streams with that PASID, is attached already
  ///   no_memory, exhausted, or what write_entry reported
  template <attach_ops Ops>
  [[nodiscard]] status attach(attachment_t& a, const master_t& m, Ops&& ops, deadline d) noexcept {
    const holder hold{mutex_};
    if (a.owner_ != nullptr) return errc::already_present;
    entry_t right;
    if (const status s = enter(m, right); !s.ok()) return s;
    status s = ops.write_entry(install_of(m, right.spec));
    if (s.ok()) {
      link(a, m, right.spec);
      return s;
    }
    s.merge(leave(right, ops.write_entry(install_of(m)), d));  // s failed already: it stays the answer
    return s;
  }

  /// The master's transactions abort afterwards. The software side always completes: the attachment is free whatever is
  /// returned. Not ok: the hardware may still translate (write_entry's status; entry pinned), or the tag's flush failed (tag
  /// retired). not_present: the attachment is not one of this domain; nothing done.
  template <attach_ops Ops>
  [[nodiscard]] status detach(attachment_t& a, Ops&& ops, deadline d) noexcept {
    const holder hold{mutex_};
    if (a.owner_ != this) return errc::not_present;
    entry_t right{a.spec_};
    install block;
    block.pasid = a.pasid_;
    const status blocked = ops.write_entry(block);
    unlink(a);
    return leave(right, blocked, d);
  }

  /// Moves an attached master to another domain without a blocked time between. Both domains invalidate for it while the entry
  /// is written. Fails like attach: then the master is where it was. If write_entry failed, the old configuration is written
  /// again; if that fails too the master is blocked and detached from both (attached() tells). A failed flush of the old
  /// domain's tag is reported although the master has moved. invalid_argument: both domains have the same number.
  template <attach_ops Ops>
  [[nodiscard]] status replace(attachment_t& a, domain& to, Ops&& ops, deadline d) noexcept {
    if (&to == this) return errc::already_present;
    if (to.options_.number == options_.number) return errc::invalid_argument;
    const bool ascending = options_.number < to.options_.number;
    const holder low{ascending ? mutex_ : to.mutex_};
    const holder high{ascending ? to.mutex_ : mutex_};
    if (a.owner_ != this) return errc::not_present;
    const master_t m{*a.spec_.port, a.streams_, a.pasid_};
    entry_t old{a.spec_};
    entry_t right;
    if (const status s = to.enter(m, right); !s.ok()) return s;
    status s = ops.write_entry(install_of(m, right.spec));
    if (s.ok()) {
      unlink(a);
      to.link(a, m, right.spec);
      return leave(old, s, d);
    }
    const status restored = ops.write_entry(install_of(m, old.spec));
    if (restored.ok()) {
      s.merge(to.leave(right, restored, d));
      return s;
    }
    const status blocked = ops.write_entry(install_of(m));
    unlink(a);
    s.merge(to.leave(right, blocked, d));
    s.merge(leave(old, blocked, d));
    return s;
  }

  /// Drops trash from the array if memory allows; true if it did. Never needed: attach drops it too.
  bool purge() noexcept {
    const holder hold{mutex_};
    array_t* const next = array_t::purge(current());
    if (next == nullptr) return false;
    publish(next);
    return true;
  }

  /// Gives up what faults pinned on an instance that has been reset since (nothing of it is cached any more). busy: masters of
  /// it are attached; not_present: nothing of it is here. Its tag is retired.
  [[nodiscard]] status forget(const Port& port) noexcept {
    const holder hold{mutex_};
    for (const attachment_t* a = first_; a != nullptr; a = a->next_) {
      if (a->spec_.port == &port) return errc::busy;
    }
    const entry_t* const e = find(port.instance());
    if (e == nullptr || e->spec.port != &port) return errc::not_present;
    const tag t = tag_of(e->spec);
    Port& owner = *e->spec.port;
    entry_t right[1];
    right[0].spec = e->spec;
    do {
      if (!current()->unref(right).ok()) return errc::not_present;
      --pinned_;
    } while (right[0].live());
    owner.tags().retire(t);
    return {};
  }

  /// After it, no invalidation that began before still uses an earlier array: a port whose masters are detached may go.
  /// May sleep; not inside an invalidation of the same thread.
  static void synchronize() noexcept { Env::rcu::synchronize(); }

  /// The array's invariants, and its users are those of the attachments and faults. Control side.
  [[nodiscard]] bool check_invariants() noexcept {
    const holder hold{mutex_};
    const array_t* const a = current();
    std::uint64_t users = 0;
    if (a != nullptr && !a->check_invariants()) return false;
    for (std::uint32_t i = 0; a != nullptr && i != a->count(); ++i) users += (*a)[i].users();
    std::uint64_t members = 0;
    for (const attachment_t* m = first_; m != nullptr; m = m->next_) {
      const entry_t* const e = find(m->spec_.instance);
      if (m->owner_ != this || e == nullptr || e->spec.key() != m->spec_.key()) return false;
      ++members;
    }
    return users == members + pinned_;
  }

  // ---- invalidation: any context but NMI and signal handlers, no lock, no allocation ----

  /// Submits what removes these pieces from every attached master's reach; finish() or poll() tells when it is done. At most
  /// L.pieces of them (too_large). The deadline bounds the wait for room; lists that found none go out in finish() or poll().
  /// Bad pieces (misaligned, empty, out of range, another granule): the error is the outcome, nothing is sent.
  [[nodiscard]] invalidation_t begin(std::span<const range_piece> pieces, deadline d) noexcept {
    if (pieces.empty()) return invalidation_t{status{errc::empty_range}};
    return invalidation_t{slot_, pieces, rules(), d};
  }
  /// Everything under the domain's tags.
  [[nodiscard]] invalidation_t begin_all(deadline d) noexcept { return invalidation_t{slot_, {}, rules(), d}; }

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
    return {options_.page, options_.address_bits, options_.policy, options_.entry_limit, options_.command_limit, options_.atc_spans};
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
  [[nodiscard]] const entry_t* find(instance_id i) const noexcept {
    const array_t* const a = current();
    return a == nullptr ? nullptr : a->find(i, entry_type::s1_asid);
  }
  [[nodiscard]] static tag tag_of(const entry_spec<Port>& s) noexcept { return {tag_kind::asid, static_cast<std::uint16_t>(s.id())}; }
  [[nodiscard]] static install install_of(const master_t& m) noexcept { return {install::action::block, {}, m.pasid, false}; }
  [[nodiscard]] static install install_of(const master_t& m, const entry_spec<Port>& s) noexcept {
    return {install::action::translate, tag_of(s), m.pasid, false};
  }

  [[nodiscard]] status admit(const master_t& m) const noexcept {
    const port_features& f = m.port.features();
    if (options_.stage != translation_stage::one || options_.nesting_parent || m.ats) return errc::unsupported;
    if (!f.stage1 || !f.supports(options_.page)) return errc::unsupported;
    if (m.streams.empty()) return errc::invalid_argument;
    for (std::size_t i = 0; i != m.streams.size(); ++i) {
      if (i != 0 && raw(m.streams[i]) <= raw(m.streams[i - 1])) return errc::invalid_argument;
      if (f.stream_bits < 32 && (raw(m.streams[i]) >> f.stream_bits) != 0) return errc::out_of_range;
    }
    if (f.substream_bits < 32 && (raw(m.pasid) >> f.substream_bits) != 0) return errc::out_of_range;
    for (const attachment_t* a = first_; a != nullptr; a = a->next_) {
      if (a->spec_.port == &m.port && a->pasid_ == m.pasid && overlap(a->streams_, m.streams)) return errc::already_present;
    }
    return {};
  }
  [[nodiscard]] static bool overlap(std::span<const stream_id> a, std::span<const stream_id> b) noexcept {
    for (std::size_t i = 0, j = 0; i != a.size() && j != b.size();) {
      if (a[i] == b[j]) return true;
      if (raw(a[i]) < raw(b[j]))
        ++i;
      else
        ++j;
    }
    return false;
  }

  /// Checks, finds or acquires the tag, and publishes an array that has it: from S3 on an STE may use it.
  [[nodiscard]] status enter(const master_t& m, entry_t& right) noexcept {
    if (const status s = admit(m); !s.ok()) return s;
    const entry_t* const present = find(m.port.instance());
    if (present != nullptr) {
      if (present->spec.port != &m.port) return errc::invalid_argument;
      right.spec = present->spec;
      return insert(right);
    }
    const result<tag> t = m.port.tags().acquire(tag_kind::asid);
    if (!t.ok()) return t.state();
    const auto made = entry_spec<Port>::stage1(m.port, asid{t->id}, options_.page);
    right.spec = *made;
    status s = made.state();
    if (s.ok()) s = insert(right);
    if (!s.ok()) m.port.tags().release(*t);  // no STE has had it, so nothing is cached under it
    return s;
  }
  [[nodiscard]] status insert(const entry_t& right) noexcept {
    const result<array_t*> next = array_t::merge(current(), {&right, 1});
    if (!next.ok()) return next.state();
    publish(*next);
    // Either an invalidation reads the array published here, or its page-table stores are visible to every walk that starts
    // from the STE written after this point.
    Env::full_fence();  // S3 full fence: pairs with invalidation's S1 (store-load)
    Env::trace::event(trace_point::attach, raw(right.spec.instance), right.spec.id());
    return {};
  }

  /// Takes one user of an entry away, after its STE was asked to stop using it, with the answer `stopped`.
  [[nodiscard]] status leave(entry_t& right, status stopped, deadline d) noexcept {
    if (!stopped.ok()) {
      ++pinned_;  // the tag may still be in use: it stays covered and is not handed out
      return stopped;
    }
    Env::trace::event(trace_point::detach, raw(right.spec.instance), right.spec.id());
    if (const status s = current()->unref({&right, 1}); !s.ok()) {
      Env::fail("a domain's array lost an entry of an attached master");
      return s;
    }
    if (right.live()) return {};
    const status flushed = flush(right.spec, d);
    if (flushed.ok())
      right.spec.port->tags().release(tag_of(right.spec));
    else
      right.spec.port->tags().retire(tag_of(right.spec));
    return flushed;
  }
  /// Readers skip the tag from now on, so what is cached under it must go before it may name something else.
  [[nodiscard]] static status flush(const entry_spec<Port>& s, deadline d) noexcept {
    const command all{s.whole_word(), 0};
    const array_list list{&all, 1};
    result<ticket> t = s.port->submit(list, d);
    return t.ok() ? s.port->wait(*t, d) : t.state();
  }

  void link(attachment_t& a, const master_t& m, const entry_spec<Port>& s) noexcept {
    a.owner_ = this;
    a.streams_ = m.streams;
    a.pasid_ = m.pasid;
    a.spec_ = s;
    a.previous_ = nullptr;
    a.next_ = first_;
    if (first_ != nullptr) first_->previous_ = &a;
    first_ = &a;
  }
  void unlink(attachment_t& a) noexcept {
    (a.previous_ != nullptr ? a.previous_->next_ : first_) = a.next_;
    if (a.next_ != nullptr) a.next_->previous_ = a.previous_;
    a.owner_ = nullptr;
    a.next_ = a.previous_ = nullptr;
  }

  const domain_options options_;
  typename Env::mutex mutex_;
  typename invalidation_t::slot_t slot_;
  attachment_t* first_{};   // under mutex_
  std::uint64_t pinned_{};  // under mutex_: users that faults left behind
};

SHOOTDOWN_END
