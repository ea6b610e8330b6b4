// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include <shootdown/arch/cmd_sync.hpp>
#include <shootdown/env/spinlock.hpp>
#include <shootdown/queue/error_log.hpp>
#include <shootdown/queue/ring.hpp>

SHOOTDOWN_BEGIN
namespace queue {

/// CMDQ_CONS.ERR. IHI 0070 7.1. Values not listed are treated as `illegal`.
enum class cerror : std::uint8_t { none = 0, illegal = 1, fetch_abort = 2, atc_inv_sync = 3 };

/// Gets a command queue going again after a CERROR, and the one owner of the GERRORN register.
///
/// Anyone may call recover(): the GERROR interrupt's service, or a waiter that saw the error in its own wait. The latter is
/// what makes progress possible when the interrupt is routed to the very CPU that spins for its CMD_SYNC.
///   illegal command    recorded; the slot becomes a CMD_SYNC without signal, so its invalidation is lost: the ticket it
///                      belongs to must fail. Nothing else is touched, others may be inserting
///   fetch abort        acknowledged, the device fetches again; a persistent one ends in the waiters' timeouts
///   ATC SYNC timeout   recorded for all commands that no successful SYNC covers yet; acknowledged, the SYNC executes again
/// The record is written before the acknowledgement, so whoever sees the queue move on sees the record.
/// GERRORN is read, changed by one bit and written back, which two CPUs must not do at once: every acknowledgement, also of
/// the other GERROR bits, goes through this object.
///
/// Context: any, interrupts off inside. Progress: recover is wait-free (a second caller gets `busy`); acknowledge waits for
/// a recovery in progress (a few register accesses). Spec: IHI 0070 7.1, 7.5; commands.md section 7.
template <class Env, class Backend>
class recovery {
 public:
  static constexpr std::uint32_t cmdq_err = 1;  ///< GERROR.CMDQ_ERR

  recovery(ring<Env, Backend>& r, error_log<Env>& log) noexcept : ring_{&r}, log_{&log} {}

  /// Does the device wait for recover()? Two register reads.
  [[nodiscard]] bool active() noexcept {
    Backend& device = ring_->device();
    return ((device.read32(ring_->config().gerror_offset) ^ device.read32(ring_->config().gerrorn_offset)) & cmdq_err) != 0;
  }

  /// `engine` says how far the device is known to have come (reached()) and which commands an ATC timeout at a position
  /// puts in doubt (in_doubt_from()). Returns ok when no error was active, busy when another CPU is at it, else what was
  /// recovered from.
  template <class Engine>
  [[nodiscard]] status recover(const Engine& engine, std::uint32_t gerror_offset, std::uint32_t gerrorn_offset) noexcept {
    typename Env::irq_guard irqs_off;
    if (!lock_.try_lock()) return errc::busy;
    const status done = recover_locked(engine, gerror_offset, gerrorn_offset);
    lock_.unlock();
    return done;
  }

  /// Acknowledges the active errors among `mask`, CMDQ_ERR excepted (that is recover's). Returns those that were active.
  std::uint32_t acknowledge(std::uint32_t mask) noexcept {
    typename Env::irq_guard irqs_off;
    const lock_guard hold{lock_};
    Backend& device = ring_->device();
    const std::uint32_t acknowledged = device.read32(ring_->config().gerrorn_offset);
    const std::uint32_t act = (device.read32(ring_->config().gerror_offset) ^ acknowledged) & mask & ~cmdq_err;
    if (act != 0) device.write32(ring_->config().gerrorn_offset, acknowledged ^ act);
    return act;
  }

 private:
  template <class Engine>
  [[nodiscard]] status recover_locked(const Engine& engine, std::uint32_t gerror_offset, std::uint32_t gerrorn_offset) noexcept {
    Backend& device = ring_->device();
    const std::uint32_t acknowledged = device.read32(gerrorn_offset);
    if (((device.read32(gerror_offset) ^ acknowledged) & cmdq_err) == 0) return errc::ok;
    const seq64 reached = engine.reached();  // before CONS: position() extends from a place the device had reached
    const std::uint32_t cons = ring_->read_cons();
    const seq64 at = ring_->position(reached, cons);
    if (distance(engine.tail(), at) < 0) return errc::unknown_error;  // registers that cannot be: nothing there to repair
    errc kind{};
    switch (static_cast<cerror>(ring<Env, Backend>::err_f::get(cons))) {
      case cerror::none: kind = errc::unknown_error; break;
      case cerror::fetch_abort: kind = errc::fetch_aborted; break;
      case cerror::atc_inv_sync:
        kind = errc::atc_timed_out;
        log_->record({engine.in_doubt_from(at), at, kind, ring_->get(at)});
        break;
      case cerror::illegal:
      default:
        kind = errc::illegal_command;
        log_->record({at, at, kind, ring_->get(at)});
        ring_->put(at, cmd::sync::silent().encode());  // no MSI address: the word may be watched by nobody, or by another
        ring_->publish(at, 1);
        break;
    }
    Env::trace::event(trace_point::error, value(at), static_cast<std::uint64_t>(kind));
    device.write32(gerrorn_offset, acknowledged ^ cmdq_err);  // release (the backend's contract): record and slot before the device goes on
    return kind;
  }

  ring<Env, Backend>* ring_;
  error_log<Env>* log_;
  spinlock<Env> lock_{};
};

}  // namespace queue
SHOOTDOWN_END
