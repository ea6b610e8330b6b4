// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include <shootdown/arch/event.hpp>
#include <shootdown/arch/registers.hpp>
#include <shootdown/emu/command_consumer.hpp>
#include <shootdown/emu/concepts.hpp>
#include <shootdown/emu/event_writer.hpp>
#include <shootdown/emu/front_end_counters.hpp>
#include <shootdown/emu/id_registers.hpp>
#include <shootdown/emu/register_file.hpp>
#include <shootdown/emu/signals.hpp>
#include <shootdown/env/environment.hpp>

SHOOTDOWN_BEGIN
namespace emu {

/// The device side of one SMMU: register file, handshakes, command queue, event queue. IHI 0070 3.5, 6.3, 7.
///
/// Purpose: everything an emulated SMMU shows to a driver except translation. The model, a vSMMU and a C shim put their own
/// Executor (what an invalidation does) and Bus (where memory is) behind it.
/// Contract: read32/read64/write32/write64 from any thread at any time; they only touch register cells. Everything else is
/// the device side: the caller serialises step, run, raise_event, options, counters and check_invariants. Owns no thread,
/// no clock and no heap; time is the argument of step.
/// Progress: a step does at most one unit of work, in this order: CR0 to CR0ACK, IRQ_CTRL, GBPA, GERRORN, one command.
/// Cost: an idle step reads six cells. Not for: secure queues, ECMDQs, page requests (their registers only store).
template <class Env, bus Bus, executor Executor>
class front_end {
 public:
  front_end(Bus& memory, Executor& executor, const id_registers& id) noexcept
      : id_{id},
        executor_{executor},
        regs_{id_},
        lines_{regs_, memory, id_, counters_},
        commands_{regs_, memory, executor, id_, lines_, options_, counters_},
        events_{regs_, memory, id_, lines_, counters_} {
    if (!id_.validate().ok()) Env::fail("emu::front_end: identification registers that contradict themselves");
  }
  front_end(const front_end&) = delete;
  front_end& operator=(const front_end&) = delete;

  // CPU side, any thread

  [[nodiscard]] std::uint32_t read32(std::uint32_t offset) const noexcept { return regs_.read32(offset); }
  [[nodiscard]] std::uint64_t read64(std::uint32_t offset) const noexcept { return regs_.read64(offset); }
  void write32(std::uint32_t offset, std::uint32_t v) noexcept { regs_.write32(offset, v); }
  void write64(std::uint32_t offset, std::uint64_t v) noexcept { regs_.write64(offset, v); }

  // Device side, serialised by the caller

  /// One unit of work; false if there is none now. A CMD_SYNC that still waits is none.
  bool step(instant now) noexcept { return step_cr0(now) || step_irq_ctrl(now) || step_gbpa(now) || step_gerrorn() || commands_.step(now); }
  /// The same without the registers that software writes at bring-up only: an acknowledged error, or one command.
  bool step_commands(instant now) noexcept { return (lines_.active(reg::gerror_fields::mask) && step_gerrorn()) || commands_.step(now); }
  /// Steps until idle or `max_steps`; returns the units of work done.
  unsigned run(instant now, unsigned max_steps) noexcept {
    unsigned done = 0;
    while (done != max_steps && step(now)) ++done;
    return done;
  }
  /// Records a fault; see event_writer::write for what a failure means.
  status raise_event(const event_record& r) noexcept { return events_.write(r); }

  /// Makes these GERROR bits active, whatever the reason: fault injection, or an executor that gave up (SFM_ERR).
  void raise_errors(std::uint32_t mask) noexcept {
    if ((mask & reg::gerror::cmdq_err::mask) != 0) commands_.interrupted();
    lines_.raise(mask & reg::gerror_fields::mask);
  }
  /// Power-on: everything off, every register but the identification at 0, no error active. Memory is not touched.
  void reset() noexcept {
    if (smmu_enabled()) executor_.smmu_enabled(false);
    commands_.smmu_enabled(false);
    commands_.stop();
    events_.stop();
    regs_.reset();
    lines_.reset();
    acknowledged_ = 0;
    gbpa_ = 0;
    cr0_ = irq_ = gbpa_update_ = {};
  }

  /// GBPA.ABORT as the platform may preset it. Only behind reset().
  void preset_abort() noexcept {
    gbpa_ = reg::gbpa::abort::put(true);
    regs_.template set<reg::gbpa>(gbpa_);
  }

  [[nodiscard]] front_end_options& options() noexcept { return options_; }
  [[nodiscard]] const id_registers& id() const noexcept { return id_; }
  [[nodiscard]] front_end_counters counters() const noexcept {
    front_end_counters c = counters_;
    c.doorbells = regs_.doorbells();
    c.prod_regressions = regs_.prod_regressions();
    return c;
  }
  /// The register R as software left it: STRTAB_BASE, CR1, CR2 and so on, for the executor.
  template <class R>
  [[nodiscard]] std::uint64_t value() const noexcept {
    return regs_.template get<R>();
  }
  /// CR0ACK: what is on as far as the device side is concerned.
  [[nodiscard]] bool smmu_enabled() const noexcept { return reg::cr0::smmuen::get(acknowledged_); }
  /// GBPA.ABORT: transactions abort while translation is off.
  [[nodiscard]] bool aborts_while_disabled() const noexcept { return reg::gbpa::abort::get(gbpa_); }

  [[nodiscard]] bool check_invariants() const noexcept {
    return (acknowledged_ & ~implemented_) == 0 && regs_.template get32<reg::cr0ack>() == acknowledged_ && lines_.check_invariants() &&
           commands_.check_invariants() && events_.check_invariants();
  }

 private:
  /// A handshake that answers `delay` after the device side first saw the request.
  struct handshake {
    bool pending{};
    instant since{};
    [[nodiscard]] bool due(bool requested, instant now, nanoseconds delay) noexcept {
      if (requested && !pending) since = now;
      pending = requested;
      return requested && since_epoch(now) - since_epoch(since) >= count(delay);
    }
  };

  [[nodiscard]] static constexpr std::uint32_t implemented_bits(const id_registers& id) noexcept {
    using namespace reg;
    std::uint64_t bits = cr0::smmuen::mask | cr0::cmdqen::mask | cr0::eventqen::mask;
    if (id.pri()) bits |= cr0::priqen::mask;
    if (id.ats()) bits |= cr0::atschk::mask;
    if (idr0::vmw::get(id.idr0)) bits |= cr0::vmw::mask;
    if (idr3::dpt::get(id.idr3)) bits |= cr0::dpt_walk_en::mask;
    return static_cast<std::uint32_t>(bits);
  }

  /// Acts first, acknowledges then: a CPU that sees CR0ACK.CMDQEN = 0 knows that the queue memory is not read any more.
  bool step_cr0(instant now) noexcept {
    const std::uint32_t wanted = regs_.template get32<reg::cr0>() & implemented_;
    const std::uint32_t changed = wanted ^ acknowledged_;
    if (!cr0_.due(changed != 0, now, options_.ack_delay)) return false;
    if ((changed & reg::cr0::smmuen::mask) != 0) {
      const bool on = reg::cr0::smmuen::get(wanted);
      commands_.smmu_enabled(on);
      executor_.smmu_enabled(on);
    }
    if ((changed & reg::cr0::cmdqen::mask) != 0) reg::cr0::cmdqen::get(wanted) ? commands_.start() : commands_.stop();
    if ((changed & reg::cr0::eventqen::mask) != 0) reg::cr0::eventqen::get(wanted) ? events_.start() : events_.stop();
    acknowledged_ = wanted;
    cr0_.pending = false;
    regs_.template set<reg::cr0ack>(wanted);
    return true;
  }
  bool step_irq_ctrl(instant now) noexcept {
    const std::uint32_t wanted = regs_.template get32<reg::irq_ctrl>() & reg::irq_ctrl_fields::mask;
    if (!irq_.due(wanted != regs_.template get32<reg::irq_ctrlack>(), now, options_.ack_delay)) return false;
    irq_.pending = false;
    regs_.template set<reg::irq_ctrlack>(wanted);
    return true;
  }
  bool step_gbpa(instant now) noexcept {
    const std::uint64_t written = regs_.template get<reg::gbpa>();
    if (!gbpa_update_.due(reg::gbpa::update::get(written), now, options_.ack_delay)) return false;
    gbpa_update_.pending = false;
    gbpa_ = reg::gbpa::update::set(written, false);
    regs_.template set<reg::gbpa>(gbpa_);
    return true;
  }
  /// Software can make an error active too, by toggling a bit that was not. Then a SYNC that waits is read again, as after any error.
  bool step_gerrorn() noexcept {
    if (!lines_.poll()) return false;
    if (lines_.active(reg::gerror::cmdq_err::mask)) commands_.interrupted();
    return true;
  }

  const id_registers id_;
  Executor& executor_;
  front_end_options options_{};
  front_end_counters counters_{};
  register_file<Env> regs_;
  signals<Env, Bus> lines_;
  command_consumer<Env, Bus, Executor> commands_;
  event_writer<Env, Bus> events_;
  const std::uint32_t implemented_{implemented_bits(id_)};
  std::uint32_t acknowledged_{};
  std::uint64_t gbpa_{};
  handshake cr0_{};
  handshake irq_{};
  handshake gbpa_update_{};
};

}  // namespace emu
SHOOTDOWN_END
