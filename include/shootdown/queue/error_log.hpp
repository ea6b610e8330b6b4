// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

#include <shootdown/arch/command.hpp>
#include <shootdown/env/environment.hpp>
#include <shootdown/port/ticket.hpp>
#include <shootdown/status.hpp>

SHOOTDOWN_BEGIN
namespace queue {

/// One command queue error: what the device stopped at, and which commands lost their effect or may have.
struct error_record {
  seq64 first{};   ///< commands [first, at] are in doubt; first == at when the device named one
  seq64 at{};      ///< position of `what`
  errc kind{};     ///< illegal_command or atc_timed_out
  command what{};  ///< the 16 bytes at `at` when the device stopped
  friend constexpr bool operator==(const error_record&, const error_record&) noexcept = default;
};

/// The last errors of one queue, by position, so that every waiter can tell whether its own commands were hit.
///
/// Bounded: the newest `capacity` records are kept. When one is pushed out, every ticket that begins at or before it can no
/// longer be told for certain and gets unknown_error; tickets that begin later are judged exactly.
/// Contract: record() by one writer at a time (recovery.hpp holds a lock), positions never go back, and before the error is
/// acknowledged: whoever sees the queue pass the position then also sees the record.
/// Context: any. Progress: record wait-free; outcome and snapshot wait-free, they answer `pending` (nothing) while a record
/// is being written and are asked again in the next turn of the caller's wait.
/// Cost: outcome is one load while there never was an error.
///
/// Sites: S1 version odd (relaxed), S2 record words (release) -> S3 (acquire), S4 version even (release) -> S5 (acquire),
///        S6 version again (relaxed), S7 lost (relaxed), S8 total (relaxed)
template <class Env>
class error_log {
 public:
  static constexpr std::uint32_t capacity = 16;

  /// A device that reports the same command again (a dead endpoint fails its SYNC each time) adds nothing.
  void record(const error_record& r) noexcept {
    const std::uint64_t v = version_.load(std::memory_order_relaxed);  // S6 relaxed: the only writer reads its own last store
    const std::uint64_t n = v / 2;
    if (n != 0) {
      const error_record last = read((n - 1) % capacity);
      if (last.at == r.at && last.kind == r.kind) return;
    }
    version_.store(v + 1, std::memory_order_relaxed);  // S1 relaxed: a reader that sees any word of S2 acquires this too
    if (n >= capacity) {
      const std::uint64_t past = value(read(n % capacity).at) + 1;
      lost_.store(past, std::memory_order_relaxed);  // S7 relaxed: S4 publishes it; who sees it earlier only promises less
    }
    words& w = records_[n % capacity];
    w.first.store(value(r.first), std::memory_order_release);                     // S2 -> S3: after the odd version
    w.at.store(value(r.at), std::memory_order_release);                           // S2 -> S3: as above
    w.kind.store(static_cast<std::uint64_t>(r.kind), std::memory_order_release);  // S2 -> S3: as above
    w.dw0.store(r.what.dw0, std::memory_order_release);                           // S2 -> S3: as above
    w.dw1.store(r.what.dw1, std::memory_order_release);                           // S2 -> S3: as above
    version_.store(v + 2, std::memory_order_release);                             // S4 -> S5: the words before the version that admits them
  }

  /// What became of the commands [first, end), all of them passed by the device: ok, the kind of an error that hit them,
  /// unknown_error, or pending (ask again).
  [[nodiscard]] errc outcome(seq64 first, seq64 end) const noexcept {
    const std::uint64_t v = version_.load(std::memory_order_acquire);  // S5 acquire: pairs with S4
    if (v == 0) return errc::ok;
    if ((v & 1) != 0) return errc::pending;
    const std::uint64_t n = v / 2;
    errc found = errc::ok;
    for (std::uint64_t i = n > capacity ? n - capacity : 0; i != n && found == errc::ok; ++i) {
      const error_record r = read(i % capacity);
      if (distance(end, r.first) > 0 && distance(r.at, first) >= 0) found = r.kind;
    }
    if (found == errc::ok && n > capacity) {
      const seq64 past{lost_.load(std::memory_order_relaxed)};  // S7 relaxed: at least that of the version S5 has acquired
      if (distance(past, first) > 0) found = errc::unknown_error;
    }
    return version_.load(std::memory_order_relaxed) == v ? found : errc::pending;  // S6 relaxed: the acquiring loads S3 stay before it
  }

  /// Copies the kept records, oldest first, as many as fit; returns how many. 0 also while a record is being written.
  [[nodiscard]] std::size_t snapshot(std::span<error_record> out) const noexcept {
    const std::uint64_t v = version_.load(std::memory_order_acquire);  // S5 acquire: pairs with S4
    if ((v & 1) != 0) return 0;
    const std::uint64_t n = v / 2;
    std::size_t k = 0;
    for (std::uint64_t i = n > capacity ? n - capacity : 0; i != n && k != out.size(); ++i) out[k++] = read(i % capacity);
    return version_.load(std::memory_order_relaxed) == v ? k : 0;  // S6 relaxed: the acquiring loads S3 stay before it
  }

  /// Errors recorded since the queue was made, the dropped ones included.
  [[nodiscard]] std::uint64_t total() const noexcept {
    return version_.load(std::memory_order_relaxed) / 2;  // S8 relaxed: a number by itself
  }

  /// Positions never go back and every window ends at its own error. True while a record is being written.
  [[nodiscard]] bool check_invariants() const noexcept {
    std::array<error_record, capacity> kept{};
    const std::size_t n = snapshot(kept);
    for (std::size_t i = 0; i != n; ++i) {
      if (distance(kept[i].at, kept[i].first) < 0 || kept[i].kind == errc::ok) return false;
      if (i != 0 && distance(kept[i].at, kept[i - 1].at) < 0) return false;
    }
    return true;
  }

 private:
  using cell = typename Env::template atomic<std::uint64_t>;
  struct words {
    cell first{}, at{}, kind{}, dw0{}, dw1{};
  };

  [[nodiscard]] error_record read(std::uint64_t i) const noexcept {
    const words& w = records_[i];
    return {seq64{w.first.load(std::memory_order_acquire)},             // S3 acquire: pairs with S2, keeps S6 behind it
            seq64{w.at.load(std::memory_order_acquire)},                // S3 acquire: as above
            static_cast<errc>(w.kind.load(std::memory_order_acquire)),  // S3 acquire: as above
            {w.dw0.load(std::memory_order_acquire),                     // S3 acquire: as above
             w.dw1.load(std::memory_order_acquire)}};                   // S3 acquire: as above
  }

  cell version_{};  // 2 * records written; odd while one is being written
  cell lost_{};     // one past the newest record pushed out
  std::array<words, capacity> records_{};
};

}  // namespace queue
SHOOTDOWN_END
