// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>  // std::memory_order only
#include <cstdint>
#include <type_traits>

#include <shootdown/sim/explored.hpp>

SHOOTDOWN_BEGIN
namespace sim {

/// Exact deferred reclamation: a callback runs as soon as the guards that existed at its retirement are gone, on a flow of its
/// own (the reclaimer), so never inside retire() and at the earliest moment the contract allows. Grace periods order memory as
/// every implementation must, and no more: a guard entered after one began sees what its initiator had seen, and who ends it
/// knows what the guards it waited for had seen.
/// Sites: S1 publish (release) -> S2 dereference (acquire)
struct rcu {
  using head = retired;

  class [[nodiscard]] guard {
   public:
    guard() noexcept {
      const tsan_ignore quiet;
      if (trial* const t = trial::current())
        t->enter_guard();
      else
        ++outside().guards;
      tsan_acquire(&trial::grace_began);
    }
    ~guard() {
      const tsan_ignore quiet;
      tsan_release(&trial::grace_ended);
      if (trial* const t = trial::current()) {
        t->leave_guard();
      } else {
        --outside().guards;
        call_outside();
      }
    }
    guard(const guard&) = delete;
    guard& operator=(const guard&) = delete;
  };

  static void retire(head& h, void (*fn)(head*) noexcept) noexcept {
    const tsan_ignore quiet;
    tsan_release(&h);
    if (trial* const t = trial::current()) return t->retire(h, fn);
    h = {outside().first, fn};
    outside().first = &h;
    call_outside();
  }
  static void synchronize() noexcept {
    tsan_release(&trial::grace_began);
    if (trial* const t = trial::current()) t->synchronize();
    tsan_acquire(&trial::grace_ended);
  }
  static void drain() noexcept {
    if (trial* const t = trial::current()) t->drain();
  }
  static void quiescent() noexcept {}

  template <class T>
  static void publish(atomic_of<T*, explored>& slot, std::type_identity_t<T*> p, const where& w = where::current()) noexcept {
    slot.store(p, std::memory_order_release, w);  // S1 release -> S2: *p is complete before the pointer is seen
  }
  template <class T>
  [[nodiscard]] static T* dereference(const atomic_of<T*, explored>& slot, const where& w = where::current()) noexcept {
    return slot.load(std::memory_order_acquire, w);  // S2 acquire: pairs with S1
  }

 private:
  struct single_flow {
    unsigned guards{};
    head* first{};
  };
  [[nodiscard]] static single_flow& outside() noexcept {
    static thread_local constinit single_flow f;
    return f;
  }
  static void call_outside() noexcept {
    while (outside().guards == 0 && outside().first != nullptr) {
      head* const h = outside().first;
      outside().first = h->next;
      h->callback(h);
    }
  }
};

}  // namespace sim
SHOOTDOWN_END
