// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>  // std::memory_order only
#include <cstddef>
#include <cstdint>

#include <shootdown/env/sanitizer.hpp>
#include <shootdown/sim/cell.hpp>
#include <shootdown/sim/site_change.hpp>
#include <shootdown/sim/trial.hpp>

SHOOTDOWN_BEGIN
namespace sim {

/// The world of trials: before every operation another flow may go on; what a load returns is the newest value, or in weak
/// memory what the history allows. Outside of a trial's go() the operations are plain ones of a single flow.
/// Sites: none of its own: memory orders are data here.
struct explored {
  static void born(cell c) noexcept {
    trial* const t = trial::current();
    if (t == nullptr || !t->weak()) return;
    const tsan_ignore quiet;
    t->memory().born(c);
  }

  [[nodiscard]] static std::uint64_t load(cell c, std::memory_order o, const where& w) noexcept {
    trial* const t = trial::current();
    if (t == nullptr) return c.get();
    t->step();
    const tsan_ignore quiet;
    o = sites().order(w, site::what::load, o);
    std::uint32_t stale = 0;
    std::uint64_t v = 0;
    if (t->weak()) {
      v = t->memory().load(t->self().view, c, o, asker{t}, stale);
    } else {
      v = c.get();
      if (acquires(o)) tsan_acquire(c.at);
    }
    note(t, "load", c, v, o, stale, w);
    return v;
  }

  static void store(cell c, std::uint64_t v, std::memory_order o, const where& w) noexcept {
    trial* const t = trial::current();
    if (t == nullptr) return c.put(v);
    t->step();
    const tsan_ignore quiet;
    o = sites().order(w, site::what::store, o);
    const bool differs = c.get() != v;
    if (t->weak()) {
      t->memory().store(t->self().view, c, v, o, asker{t});
    } else {
      if (releases(o)) tsan_release(c.at);
      c.put(v);
    }
    note(t, "store", c, v, o, 0, w);
    if (differs) t->changed();
  }

  [[nodiscard]] static std::uint64_t modify(cell c, modification m, std::uint64_t operand, std::memory_order o, const where& w) noexcept {
    trial* const t = trial::current();
    if (t == nullptr) {
      const std::uint64_t old = c.get();
      c.put(modified(m, old, operand, c.size));
      return old;
    }
    t->step();
    const tsan_ignore quiet;
    o = sites().order(w, site::what::modify, o);
    const std::uint64_t newest = c.get();
    std::uint64_t old = newest;
    std::uint32_t stale = 0;
    if (t->weak()) {
      old = t->memory().modify(t->self().view, c, m, operand, o, asker{t}, stale);
    } else {
      if (acquires(o)) tsan_acquire(c.at);
      if (releases(o)) tsan_release(c.at);
      c.put(modified(m, old, operand, c.size));
    }
    note(t, names[static_cast<unsigned>(m)], c, modified(m, old, operand, c.size), o, stale, w);
    if (c.get() != newest) t->changed();
    return old;
  }

  [[nodiscard]] static bool compare_exchange(cell c, std::uint64_t& expected, std::uint64_t desired, std::memory_order ok,
                                             std::memory_order failed, bool weak, const where& w) noexcept {
    trial* const t = trial::current();
    if (t == nullptr) return plain_exchange(c, expected, desired);
    t->step();
    const tsan_ignore quiet;
    ok = sites().order(w, site::what::exchange_ok, ok);
    failed = sites().order(w, site::what::exchange_failed, failed);
    const std::uint64_t newest = c.get();
    std::uint32_t stale = 0;
    bool done = false;
    if (weak && t->options().spurious_failures && newest == expected && t->ask(decision_kind::fault, 2) != 0) {
      done = false;  // a reservation was lost; the value is the expected one
    } else if (t->weak()) {
      done = t->memory().compare_exchange(t->self().view, c, expected, desired, ok, failed, asker{t}, stale);
    } else {
      done = plain_exchange(c, expected, desired);
      if (acquires(done ? ok : failed)) tsan_acquire(c.at);
      if (done && releases(ok)) tsan_release(c.at);
    }
    note(t, done ? "cas" : "cas-fail", c, done ? desired : expected, done ? ok : failed, stale, w);
    if (c.get() != newest) t->changed();
    return done;
  }

  /// std::atomic_thread_fence.
  static void fence(std::memory_order o, const where& w) noexcept {
    trial* const t = trial::current();
    if (t == nullptr) return;
    t->step();
    const tsan_ignore quiet;
    if (!sites().present(w, site::what::fence)) return;
    if (t->weak()) t->memory().fence(t->self().view, o);
    if (t->log() != nullptr) t->log()->fence(t->steps(), t->self().name, o, w);
  }
  static void publish(const void* first, std::size_t bytes, const where& w) noexcept {
    trial* const t = trial::current();
    if (t == nullptr) return;
    const tsan_ignore quiet;
    if (sites().present(w, site::what::publish) && t->weak()) t->memory().publish(t->self().view, first, bytes);
  }
  static void observe(const void* first, std::size_t bytes, const where& w) noexcept {
    trial* const t = trial::current();
    if (t == nullptr) return;
    const tsan_ignore quiet;
    if (sites().present(w, site::what::observe) && t->weak()) t->memory().observe(t->self().view, first, bytes);
  }

 private:
  static constexpr const char* names[]{"exchange", "add", "sub", "and", "or", "xor", "low"};

  struct asker {
    trial* t;
    [[nodiscard]] std::uint32_t operator()(bool placement, std::uint32_t n) const {
      return t->ask(placement ? decision_kind::placement : decision_kind::value, n);
    }
  };
  [[nodiscard]] static bool plain_exchange(const cell& c, std::uint64_t& expected, std::uint64_t desired) noexcept {
    const std::uint64_t v = c.get();
    if (v != expected) {
      expected = v;
      return false;
    }
    c.put(desired);
    return true;
  }
  static void note(trial* t, const char* what, const cell& c, std::uint64_t v, std::memory_order o, std::uint32_t stale, const where& w) {
    if (t->log() != nullptr) t->log()->operation(t->steps(), t->self().name, what, c, v, o, stale, w);
  }
};
static_assert(world<explored>);

}  // namespace sim
SHOOTDOWN_END
