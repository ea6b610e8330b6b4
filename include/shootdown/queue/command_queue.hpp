// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <cstdint>

#include <shootdown/env/backend.hpp>
#include <shootdown/port/command_list.hpp>
#include <shootdown/port/ticket.hpp>
#include <shootdown/queue/core.hpp>
#include <shootdown/status.hpp>

SHOOTDOWN_BEGIN
namespace queue {

/// One command queue of one SMMU: many CPUs submit lists, each waits for its own.
///
/// It promises what cmdq-algorithm.md section 2 asks for:
///   1. all memory the caller wrote before submit() is visible to the SMMU before it executes the commands
///   2. after a wait() that answered ok, later writes of the caller are ordered after the completion
///   3. a list is contiguous in the ring, and all lists of a queue have one order
/// and: every wait ends by its deadline; a full ring is waited for exactly as long as the list does not fit; a command that
/// the device refused is reported to the ticket it belonged to and to no other.
///
/// Life: configure() while the device's queue is disabled, then use; reset() (again disabled) starts a new generation and
/// fails all older tickets. configure, reset and destruction need that no other call is in progress: fail() makes those
/// return soon. Positions never restart: reset() goes on at the next multiple of two laps, where PROD = CONS = 0.
/// Context: submit, try_submit, poll, wait: any but NMI and signal handlers; interrupts are off from reservation to
/// publication only. Progress and cost: see the strategy (locked.hpp, owner_cas.hpp).
///
/// Strategy supplies `engine<Env, Backend>`: check, prepare, start, submit, look, settle, abandon, reached,
/// in_doubt_from, tail, check_invariants. See locked_engine, the plainest.
///
/// Sites: S1 polls_ (relaxed)
template <environment Env, class Backend, class Strategy>
  requires backend<Backend, Env>
class command_queue {
 public:
  using config_type = queue_config<Env>;

  explicit command_queue(Backend& device) noexcept : core_{device}, engine_{core_} {}
  command_queue(const command_queue&) = delete;
  command_queue& operator=(const command_queue&) = delete;

  /// Takes over `c`, sets PROD and CONS to 0 and starts a generation. On failure nothing was changed. See queue::check for
  /// the refusals; no_memory also when the strategy's own memory cannot be had.
  [[nodiscard]] status configure(const config_type& c) noexcept {
    if (const status s = engine_.check(c); !s.ok()) return s;
    if (const status s = engine_.prepare(c); !s.ok()) return s;
    const seq64 base = next_base(c.log2size, seq64{});
    core_.slots.configure(c);
    begin(base);
    configured_ = true;
    return {};
  }

  /// A new generation on the same memory; tickets of older ones answer queue_failed. queue_failed if never configured.
  /// `not_before` lets a test begin shortly before a wrap of 31 or 32 bits.
  [[nodiscard]] status reset(seq64 not_before = seq64{}) noexcept {
    if (!configured_) return errc::queue_failed;
    begin(next_base(config().log2size, not_before));
    return {};
  }

  /// Marks the queue failed: the device is gone or does not answer. Any context.
  void fail() noexcept { core_.fail(); }
  [[nodiscard]] bool failed() const noexcept { return core_.failed(); }
  [[nodiscard]] std::uint32_t generation() const noexcept { return core_.generation(); }
  [[nodiscard]] const config_type& config() const noexcept { return core_.slots.config(); }

  /// The most commands, closing SYNC included, that one reservation takes without waiting for more than half the ring.
  [[nodiscard]] std::uint32_t max_list() const noexcept { return static_cast<std::uint32_t>(core_.slots.slots() / 2); }

  /// Reserves, writes and publishes `list`, waiting for room until `d`. empty_range: nothing to send; too_large: more than
  /// the ring holds; timed_out: no room came, nothing was sent; queue_failed.
  template <command_list List>
  [[nodiscard]] result<ticket> submit(const List& list, deadline d) noexcept {
    return submit_until(list, &d);
  }
  /// The same without waiting for room: would_block.
  template <command_list List>
  [[nodiscard]] result<ticket> try_submit(const List& list) noexcept {
    return submit_until(list, nullptr);
  }

  /// One look: pending, or the outcome. Never waits.
  [[nodiscard]] status poll(ticket& t) noexcept {
    const std::uint32_t n = polls_.load(std::memory_order_relaxed) + 1;  // S1 relaxed: paces the thorough looks; lost counts do no harm
    polls_.store(n, std::memory_order_relaxed);                          // S1 relaxed: as above
    Env::stats::add(counter::completion_polls);
    return look(t, n % core_.thorough_period == 0);
  }

  /// Until `t` is settled. timed_out when `d` passes first: the ticket stays unsettled and may be waited for again.
  [[nodiscard]] status wait(ticket& t, deadline d) noexcept {
    if (t.settled) return static_cast<errc>(t.outcome);
    Env::trace::event(trace_point::wait_begin, value(t.end));
    status s = errc::pending;
    for (unsigned turn = 1;; ++turn) {
      Env::stats::add(counter::completion_polls);
      s = look(t, turn % core_.thorough_period == 0);
      if (s != status{errc::pending}) break;
      if (d.passed(Env::now())) {
        s = look(t, true);  // a lost message must not look like a timeout
        if (s == status{errc::pending}) s = errc::timed_out;
        break;
      }
      core_.slots.pause(d);
    }
    Env::trace::event(trace_point::wait_end, value(t.end), static_cast<std::uint64_t>(s.code()));
    return s;
  }

  /// Gives up on a ticket that wait() or poll() left unsettled: nobody will ask about it again, and it answers timed_out from
  /// now on. Its commands stay in the ring and may still execute, so what they name must not be reused. Without it a ticket
  /// that is dropped would keep what the strategy holds for it until the next reset.
  void abandon(ticket& t) noexcept {
    if (t.settled) return;
    if (t.generation != 0 && t.generation == core_.generation() && !core_.failed()) engine_.abandon();
    static_cast<void>(settle(t, errc::timed_out));
  }

  /// One turn of a wait, for loops that poll several queues.
  void idle(deadline d) noexcept { core_.slots.pause(d); }

  /// Recovers from a command queue error if one is active: what the GERROR interrupt's service calls. Waiters do the same by
  /// themselves. ok: none was active; busy: another CPU is at it; else what was recovered from.
  [[nodiscard]] status recover() noexcept { return recover(config().gerror_offset, config().gerrorn_offset); }
  [[nodiscard]] status recover(std::uint32_t gerror_offset, std::uint32_t gerrorn_offset) noexcept {
    if (!configured_) return errc::queue_failed;
    return core_.repair.recover(engine_, gerror_offset, gerrorn_offset);
  }
  /// Acknowledges the active GERROR bits among `mask`, except CMDQ_ERR; returns them. GERRORN has no other writer.
  std::uint32_t acknowledge(std::uint32_t mask) noexcept { return core_.repair.acknowledge(mask); }

  [[nodiscard]] const error_log<Env>& errors() const noexcept { return core_.errors; }

  /// Exact while no other call is in progress; during others it checks what holds at every moment.
  [[nodiscard]] bool check_invariants() const noexcept {
    return core_.errors.check_invariants() && (!configured_ || engine_.check_invariants());
  }

 private:
  /// Where the next generation begins: behind every position used so far, at a multiple of two laps (PROD = CONS = 0).
  [[nodiscard]] seq64 next_base(unsigned log2size, seq64 not_before) const noexcept {
    const seq64 used = configured_ ? engine_.tail() : seq64{};
    const std::uint64_t from = value(distance(used, not_before) < 0 ? not_before : used);
    const std::uint64_t two_laps = std::uint64_t{2} << log2size;
    return seq64{(from + two_laps - 1) & ~(two_laps - 1)};
  }

  void begin(seq64 base) noexcept {
    core_.slots.restart(base);
    engine_.start(base);
    core_.start();
  }

  template <command_list List>
  [[nodiscard]] result<ticket> submit_until(const List& list, const deadline* until) noexcept {
    if (core_.failed()) return errc::queue_failed;
    const std::uint32_t size = list.size();
    const bool closing = list.closing() == completion::sync;
    const std::uint64_t need = std::uint64_t{size} + (closing ? 1 : 0);
    if (need == 0) return errc::empty_range;
    if (need > core_.slots.slots()) return errc::too_large;
    ticket t{};
    t.generation = core_.generation();
    t.awaits = closing;
    t.settled = !closing;
    if (const status s = engine_.submit(list, size, closing, until, t); !s.ok()) return s;
    Env::trace::event(trace_point::publish, value(t.end), need);
    return t;
  }

  [[nodiscard]] status look(ticket& t, bool thorough) noexcept {
    if (t.settled) return static_cast<errc>(t.outcome);
    if (t.generation == 0 || t.generation != core_.generation()) return settle(t, errc::queue_failed);  // 0: a ticket of no queue
    const sight seen = engine_.look(t, thorough);
    if (!seen.complete) {
      if (core_.failed()) return settle(t, errc::queue_failed);
      core_.service(engine_, seen.suspicious || thorough);
      return errc::pending;
    }
    const errc found = core_.errors.outcome(t.first, t.end);
    if (found == errc::pending) return errc::pending;  // a record is being written this moment
    engine_.settle(seen);
    return settle(t, found);
  }

  static status settle(ticket& t, errc outcome) noexcept {
    t.settled = true;
    t.outcome = static_cast<std::uint8_t>(outcome);
    return outcome;
  }

  queue_core<Env, Backend> core_;
  typename Strategy::template engine<Env, Backend> engine_;
  typename Env::template atomic<std::uint32_t> polls_{};
  bool configured_{};
};

}  // namespace queue
SHOOTDOWN_END
