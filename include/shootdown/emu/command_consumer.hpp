// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include <shootdown/arch/commands.hpp>
#include <shootdown/arch/queue_word.hpp>
#include <shootdown/arch/registers.hpp>
#include <shootdown/emu/concepts.hpp>
#include <shootdown/emu/decoder.hpp>
#include <shootdown/emu/front_end_counters.hpp>
#include <shootdown/emu/register_file.hpp>
#include <shootdown/emu/signals.hpp>

SHOOTDOWN_BEGIN
namespace emu {

/// The consuming end of the command queue. IHI 0070 3.5 and 4.7, errors 7.1.
///
/// Purpose: fetch, judge and hand out commands in order; hold the queue at a CMD_SYNC until the executor says it is
/// complete; stop at an error until software acknowledges it.
/// Contract: device side only. CONS moves past a command after its effect, and past a CMD_SYNC after its message: the
/// release of CONS (register_file S3) makes both visible to a CPU that reads it. A command is read once; after an error
/// it is read again, for software may have replaced it. CMDQ_CONS.ERR keeps its last value after recovery, as real SMMUs
/// do, so that a driver that does not mask it is found out.
/// Cost: two bus loads and one executor call per command.
template <class Env, bus Bus, executor Executor>
class command_consumer {
 public:
  command_consumer(register_file<Env>& regs, Bus& memory, Executor& executor, const id_registers& id, signals<Env, Bus>& lines,
                   const front_end_options& options, front_end_counters& counters) noexcept
      : regs_{regs}, bus_{memory}, executor_{executor}, id_{id}, lines_{lines}, options_{options}, counters_{counters} {}

  /// CMDQEN became 1: take over base, size and CONS.
  void start() noexcept {
    const std::uint64_t base = regs_.template get<reg::cmdq_base>();
    const unsigned asked = reg::cmdq_base::log2size::get(base);
    const unsigned most = reg::idr1::cmdqs::get(id_.idr1);
    ring_ = queue_geometry{asked < most ? asked : most};
    const std::uint64_t bytes = std::uint64_t{ring_.slots()} * command_bytes;
    const std::uint64_t address = raw(reg::cmdq_base::addr::get(base));
    if ((address & (bytes - 1)) != 0) ++counters_.software_errors;
    base_ = address & ~(bytes - 1);
    cons_ = ring_.word(regs_.template get<reg::cmdq_cons>());
    error_ = command_error::none;
    publish();
    fetched_ = false;
    implausible_ = false;
    on_ = true;
  }
  /// CMDQEN became 0: between two commands, or while a CMD_SYNC waits, which then starts again later.
  void stop() noexcept {
    on_ = false;
    fetched_ = false;
  }

  /// An error becomes active from outside: the head is read again once it is acknowledged.
  void interrupted() noexcept { fetched_ = false; }

  void smmu_enabled(bool on) noexcept { translating_ = on; }

  /// At most one command. True if something happened; a CMD_SYNC that still waits is nothing.
  bool step(instant now) noexcept {
    if (!on_ || lines_.active(reg::gerror::cmdq_err::mask)) return false;
    if (!fetched_) {
      if (!available()) return false;
      if (!fetch()) return true;
    }
    if (opcode_of(head_) != opcode::sync) {
      run(head_);
    } else {
      switch (executor_.sync(now)) {
        case sync_verdict::not_yet: return false;
        case sync_verdict::atc_timeout: halt(command_error::atc_inv_sync, head_, errc::atc_timed_out); return true;
        case sync_verdict::done: signal(cmd::sync::decode(head_)); break;
      }
      ++counters_.syncs;
    }
    fetched_ = false;
    cons_ = ring_.add(cons_, 1);
    ++counters_.commands;
    publish();
    return true;
  }

  [[nodiscard]] const queue_geometry& ring() const noexcept { return ring_; }
  [[nodiscard]] bool check_invariants() const noexcept {
    if (!on_) return !fetched_;
    if (ring_.log2size > reg::idr1::cmdqs::get(id_.idr1) || cons_ != ring_.word(cons_)) return false;
    if (regs_.template get32<reg::cmdq_cons>() != cons_word()) return false;
    return !lines_.active(reg::gerror::cmdq_err::mask) || !fetched_;
  }

 private:
  [[nodiscard]] std::uint32_t cons_word() const noexcept { return cons_ | static_cast<std::uint32_t>(reg::cmdq_cons::err::put(error_)); }
  void publish() noexcept { regs_.template set<reg::cmdq_cons>(cons_word()); }

  /// Is there a command between CONS and PROD? A PROD that claims more than the ring is counted once and not believed.
  [[nodiscard]] bool available() noexcept {
    const std::uint32_t prod = ring_.word(regs_.template get<reg::cmdq_prod>());
    if (ring_.plausible(prod, cons_)) {
      implausible_ = false;
      return !ring_.empty(prod, cons_);
    }
    if (!implausible_) ++counters_.software_errors;
    implausible_ = true;
    return false;
  }

  /// Reads and judges the command at CONS. False if that stopped the queue.
  [[nodiscard]] bool fetch() noexcept {
    const std::uint64_t slot = base_ + std::uint64_t{ring_.index(cons_)} * command_bytes;
    const result<std::uint64_t> dw0 = bus_.load64(bus_addr{slot});
    const result<std::uint64_t> dw1 = bus_.load64(bus_addr{slot + 8});
    if (!dw0.ok() || !dw1.ok()) {
      halt(command_error::abt, command{}, errc::fetch_aborted);
      return false;
    }
    const command read{*dw0, *dw1};
    const verdict v = decode(read, id_, options_.reserved);
    if (!v.ok()) {
      halt(command_error::ill, read, errc::illegal_command);
      return false;
    }
    if (v.unpredictable) ++counters_.unpredictable;
    head_ = v.effective;
    fetched_ = true;
    return true;
  }

  void run(const command& c) noexcept {
    const opcode op = opcode_of(c);
    if (!translating_ && (op == opcode::atc_inv || op == opcode::pri_resp)) {
      ++counters_.ignored;
      return;
    }
    executor_.execute(c);
  }

  /// ERR before GERROR: a CPU that sees the error active finds its code and the position.
  void halt(command_error why, const command& c, errc code) noexcept {
    fetched_ = false;
    error_ = why;
    ++counters_.rejected;
    publish();
    executor_.commands_rejected(c, code);
    lines_.raise(reg::gerror::cmdq_err::mask);
  }

  /// The completion signal, after every effect and before CONS.
  void signal(const cmd::sync& c) noexcept {
    switch (c.cs) {
      case cmd::sync_signal::none: return;
      case cmd::sync_signal::sev:
        if (id_.sev()) ++counters_.events_to_cpus;
        return;
      case cmd::sync_signal::irq: break;
    }
    if (!id_.msi() || raw(c.msiaddr) == 0) {
      ++counters_.wired_interrupts;
      return;
    }
    const bus_addr address{raw(c.msiaddr) & ((std::uint64_t{1} << id_.output_bits()) - 1)};
    status sent = errc::fetch_aborted;
    if (!options_.drop_message) {
      sent = options_.wide_message ? bus_.store64(address, c.msidata) : bus_.store_low32(address, c.msidata);
    }
    if (sent.ok()) {
      ++counters_.messages;
    } else {
      lines_.raise(reg::gerror::msi_cmdq_abt_err::mask);
    }
  }

  register_file<Env>& regs_;
  Bus& bus_;
  Executor& executor_;
  const id_registers& id_;
  signals<Env, Bus>& lines_;
  const front_end_options& options_;
  front_end_counters& counters_;
  queue_geometry ring_{};
  std::uint64_t base_{};
  std::uint32_t cons_{};
  command_error error_{};
  command head_{};
  bool on_{};
  bool fetched_{};
  bool implausible_{};
  bool translating_{};
};

}  // namespace emu
SHOOTDOWN_END
