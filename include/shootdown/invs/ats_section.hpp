// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>  // std::memory_order only
#include <cstdint>

#include <shootdown/env/environment.hpp>
#include <shootdown/env/time.hpp>
#include <shootdown/status.hpp>

SHOOTDOWN_BEGIN

/// The section of a domain in which invalidations that may send ATC_INV run, and the fence that a detaching side puts behind
/// them. It belongs to the domain and not to an array: a reader that came in through an array which has been superseded
/// since is inside the same section, so the fence waits for it too.
///
/// Two counters per stripe, as in SRCU. A reader adds itself under the phase it reads, then full fence, then loads the array
/// (again): see enter(). A fence waits until the idle phase is empty, turns the phase over, and waits until the other
/// is empty.
///
/// Why the fence misses no reader. Its S5 and the reader's S3 are seq_cst fences. If S3 comes first, the fence's loads see
/// the reader in its cell, and both cells of every stripe are waited for; a cell that reads 0 holds no such reader any
/// more, as each leaves through the cell it entered by. If S5 comes first, the reader's loads behind S3 see what was done
/// before the fence: entries without users, or a newer array. That the phase was stale when the reader looked plays no part:
/// with one phase waited for, a reader delayed between S1 and S2 would sit in the phase that the next fence does not wait for.
///
/// Why it ends. Whoever reads the phase after it was turned does not enter the cell that is waited for. The cell of the idle
/// phase gets only readers that looked before the last turn: at most one per thread. So a steady stream of readers delays a
/// fence no longer than the readers that had begun to enter when it began take to leave.
///
/// Context: enter and leave any but NMI and signal handlers; fence may sleep, one at a time (the domain's mutex), never by a
/// thread that is inside. Progress: enter and leave wait-free (one RMW each); a fence waits for readers, they never for it.
/// Cost: 64 bytes a stripe; a fence reads two words a stripe. design.md 4.2; invs-array.md 6.
///
/// Sites: S1, S8 relaxed (phase: a hint); S2 relaxed + S3 full fence <-> S5 full fence + S6 (store-load race of entering and
/// unref); S4 release -> S6 acquire; S7 relaxed, S9 relaxed (the mark of unfinished work travels with S4);
/// S10 relaxed (a number for checks).
template <environment Env, unsigned Stripes = 8>
class ats_section {
  static_assert(Stripes >= 1);

 public:
  /// Where a reader entered, and has to leave.
  struct place {
    unsigned stripe{};
    unsigned phase{};
  };

  ats_section() noexcept = default;
  ats_section(const ats_section&) = delete;
  ats_section& operator=(const ats_section&) = delete;

  /// The array has to be loaded, or loaded again, behind it.
  [[nodiscard]] place enter() noexcept {
    const unsigned phase = phase_.load(std::memory_order_relaxed) & 1u;  // S1 relaxed: either phase is right, see above
    const place p{Env::cpu() % Stripes, phase};
    cells_[p.stripe].inside[phase].fetch_add(1, std::memory_order_relaxed);  // S2 relaxed: S3 orders it
    Env::full_fence();  // S3 full fence: pairs with S5; here: entered, then array loaded
    return p;
  }
  /// `unfinished`: commands that were sent inside may still lie in their queues.
  void leave(place p, bool unfinished = false) noexcept {
    if (unfinished) unfinished_.store(1, std::memory_order_relaxed);           // S7 relaxed: read behind S6, which S4 pairs with
    cells_[p.stripe].inside[p.phase].fetch_sub(1, std::memory_order_release);  // S4 release -> S6: what was sent comes before
  }

  /// Waits for the readers that are inside; timed_out when the deadline passed first (then some may be inside still).
  [[nodiscard]] status fence(deadline d) noexcept {
    Env::full_fence();  // S5 full fence: pairs with S3; here: users taken away, then cells read
    const std::uint32_t now = phase_.load(std::memory_order_relaxed) & 1u;  // S1 relaxed: only fences write it, one at a time
    if (const status s = drain(now ^ 1u, d); !s.ok()) return s;
    phase_.store(now ^ 1u, std::memory_order_relaxed);  // S8 relaxed: nothing is read through the phase; a late sight costs a turn
    return drain(now, d);
  }

  /// Some reader ever left unfinished work behind. Behind a fence.
  [[nodiscard]] bool unfinished() const noexcept {
    return unfinished_.load(std::memory_order_relaxed) != 0;  // S9 relaxed: set before S4 of a reader that S6 saw leave
  }
  /// Readers inside. Exact only while none comes or goes.
  [[nodiscard]] std::uint32_t inside() const noexcept { return sum(0) + sum(1); }

 private:
  struct alignas(64) cell {
    typename Env::template atomic<std::uint32_t> inside[2];
  };

  [[nodiscard]] std::uint32_t sum(unsigned phase) const noexcept {
    std::uint32_t n = 0;
    for (const cell& c : cells_) n += c.inside[phase].load(std::memory_order_relaxed);  // S10 relaxed: a number by itself
    return n;
  }
  [[nodiscard]] status drain(unsigned phase, deadline d) noexcept {
    for (const cell& c : cells_) {
      // S6 acquire: pairs with S4: what the reader sent was sent before
      while (c.inside[phase].load(std::memory_order_acquire) != 0) {  // S6 acquire
        if (d.passed(Env::now())) return errc::timed_out;
        Env::relax();
      }
    }
    return {};
  }

  cell cells_[Stripes];
  typename Env::template atomic<std::uint32_t> phase_{0};
  typename Env::template atomic<std::uint32_t> unfinished_{0};
};

SHOOTDOWN_END
