// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>  // std::memory_order only
#include <cstddef>
#include <cstdint>
#include <new>
#include <span>

#include <shootdown/env/environment.hpp>
#include <shootdown/env/time.hpp>
#include <shootdown/invs/array.hpp>
#include <shootdown/invs/ats_section.hpp>
#include <shootdown/invs/fan_out.hpp>
#include <shootdown/invs/plan.hpp>
#include <shootdown/port/command_port.hpp>
#include <shootdown/status.hpp>

SHOOTDOWN_BEGIN

/// One invalidation under way: made by domain::begin, driven by domain::finish or domain::poll. Owns the plan, the lists
/// and the tickets, and an RCU read section from begin until it is finished; with device caches in the array also a place in
/// the domain's ATS section, for as long.
///
/// Contract: stays where it is made (neither copied nor moved), is finished on the thread that began it (the read section is
/// that thread's), and before that thread sleeps in another read-side of the same RCU flavour that forbids it. Dropping
/// one that is not finished is a contract violation, unless abandon() said that nobody will ask again; the memory behind it
/// must then stay out of use for good, or until the instances were reset. While one is not finished its thread calls no
/// control operation of the domain: a detach could wait for it.
/// Context: as domain::begin. Cost: about 2.5 KiB of stack with the default limits, mostly untouched.
///
/// Sites: S1 orders the caller's page-table stores before S2; S2 acquire is the array pointer's load, its release partner
/// is the publication in domain (S2 there).
template <environment Env, command_port Port, invalidation_limits L = invalidation_limits{}>
class invalidation {
 public:
  using array_t = entry_array<Env, Port>;
  using slot_t = typename Env::template atomic<array_t*>;
  using plan_t = invalidation_plan<L.pieces>;
  using section_t = ats_section<Env, L.stripes>;

  invalidation(const invalidation&) = delete;
  invalidation& operator=(const invalidation&) = delete;
  ~invalidation() {
    if (guarded_) {
#if SHOOTDOWN_CHECK
      if (!abandoned_) Env::fail("an invalidation was dropped before it was finished");
#endif
      leave();
    }
  }

  /// The outcome is final.
  [[nodiscard]] bool finished() const noexcept { return !guarded_; }
  /// pending, or the outcome.
  [[nodiscard]] status outcome() const noexcept { return finished() ? outcome_ : status{errc::pending}; }
  /// Gives up on one that is not finished: it may be dropped now, and is not asked again. Its commands stay in their queues;
  /// their tickets are abandoned.
  void abandon() noexcept {
    if (guarded_ && !abandoned_) lanes_.abandon();
    abandoned_ = true;
  }

 private:
  template <environment E, command_port P, invalidation_limits M>
  friend class domain;

  /// Refused before anything was sent.
  explicit invalidation(status refused) noexcept : outcome_{refused} {}
  /// pieces empty: everything.
  invalidation(const slot_t& slot, section_t& section, std::span<const range_piece> pieces, const plan_rules& rules, deadline d) noexcept
      : section_{&section} {
    if (pieces.empty()) {
      plan_.prepare_everything();
    } else if (const status s = plan_.prepare(pieces, rules); !s.ok()) {
      outcome_ = s;
      return;
    }
    // Closes the store-load race "page table changed here, array pointer read here" against "array published, STE written" in
    // domain. Without it this thread could read the array from before an attach while the SMMU, already using the new STE,
    // still reads and keeps the old page-table entry, which nobody would then invalidate.
    Env::full_fence();  // S1 full fence: pairs with domain's S3
    ::new (static_cast<void*>(guard_)) guard_t{};
    guarded_ = true;
    array_ = Env::rcu::dereference(slot);  // S2 acquire: pairs with the release store of domain's S2; entries before pointer
    if (array_ != nullptr && array_->has_ats()) {
      place_ = section_->enter();  // its fence lies between here and the load below
      inside_ = true;
      // The array that was loaded first may have been superseded before this thread was inside, and a fence not have waited for
      // it; in the one loaded now, everything that such a fence took away has no users.
      array_ = Env::rcu::dereference(slot);  // S2 acquire: as above
      if (array_ == nullptr || !array_->has_ats()) leave_section(false);
    }
    if (array_ != nullptr) count_ = array_->count();
    if (refill())
      lanes_.send(d);
    else
      leave();
  }

  /// Next window of lists. False when no list is left.
  [[nodiscard]] bool refill() noexcept {
    while (next_ != count_ && !lanes_.full()) {
      const auto l = decltype(lanes_)::list_t::take(*array_, next_, count_, plan_, next_);
      if (l.size() != 0) lanes_.add(l);
    }
    return lanes_.active() != 0;
  }
  void leave_section(bool unfinished) noexcept {
    if (inside_) section_->leave(place_, unfinished);
    inside_ = false;
  }
  void leave() noexcept {
    leave_section(lanes_.active() != 0);
    std::launder(reinterpret_cast<guard_t*>(guard_))->~guard_t();
    guarded_ = false;
  }
  status finish(deadline d) noexcept {
    while (guarded_) {
      if (!lanes_.settle(d)) return errc::timed_out;
      lanes_.collect(outcome_);
      if (!refill())
        leave();
      else
        lanes_.send(d);
    }
    return outcome_;
  }
  status poll() noexcept {
    while (guarded_) {
      if (!lanes_.step()) return errc::pending;
      lanes_.collect(outcome_);
      if (!refill()) leave();
    }
    return outcome_;
  }

  using guard_t = typename Env::rcu::guard;
  plan_t plan_;
  fan_out<Env, Port, L.pieces, L.lanes> lanes_;
  section_t* section_{};
  typename section_t::place place_{};
  const array_t* array_{};
  std::uint32_t count_{};
  std::uint32_t next_{};
  status outcome_{};
  bool guarded_{};
  bool inside_{};
  bool abandoned_{};
  alignas(guard_t) std::byte guard_[sizeof(guard_t)];
};

SHOOTDOWN_END
