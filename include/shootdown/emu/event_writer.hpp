// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include <shootdown/arch/event.hpp>
#include <shootdown/arch/queue_word.hpp>
#include <shootdown/arch/registers.hpp>
#include <shootdown/emu/concepts.hpp>
#include <shootdown/emu/front_end_counters.hpp>
#include <shootdown/emu/register_file.hpp>
#include <shootdown/emu/signals.hpp>

SHOOTDOWN_BEGIN
namespace emu {

/// The producing end of the event queue. IHI 0070 3.5.2, 3.5.3 and 7.2.
///
/// Purpose: write event records; keep OVFLG, which differs from software's OVACKFLG from a lost record until software
/// acknowledges it. Contract: device side only. PROD moves after the record (register_file S3). Never waits: a full queue
/// loses the record.
template <class Env, bus Bus>
class event_writer {
 public:
  event_writer(register_file<Env>& regs, Bus& memory, const id_registers& id, signals<Env, Bus>& lines,
               front_end_counters& counters) noexcept
      : regs_{regs}, bus_{memory}, id_{id}, lines_{lines}, counters_{counters} {}

  /// EVENTQEN became 1: take over base, size and PROD.
  void start() noexcept {
    const std::uint64_t base = regs_.template get<reg::eventq_base>();
    const unsigned asked = reg::eventq_base::log2size::get(base);
    const unsigned most = reg::idr1::eventqs::get(id_.idr1);
    ring_ = queue_geometry{asked < most ? asked : most};
    const std::uint64_t bytes = std::uint64_t{ring_.slots()} * event_record::bytes;
    const std::uint64_t address = raw(reg::eventq_base::addr::get(base));
    if ((address & (bytes - 1)) != 0) ++counters_.software_errors;
    base_ = address & ~(bytes - 1);
    const std::uint64_t prod = regs_.template get<reg::eventq_prod>();
    prod_ = ring_.word(prod);
    overflow_ = reg::eventq_prod::ovflg::get(prod);
    publish();  // what was written into PROD beyond the queue's width is not part of it
    on_ = true;
  }
  void stop() noexcept { on_ = false; }

  ///   not_present  the queue is off; the record is lost
  ///   would_block  the queue is full; the record is lost and OVFLG says so
  ///   other        the bus refused the write; the record is lost and GERROR.EVENTQ_ABT_ERR says so
  status write(const event_record& r) noexcept {
    if (!on_) return lose(errc::not_present);
    const std::uint64_t cons = regs_.template get<reg::eventq_cons>();
    const std::uint32_t used = ring_.used(prod_, ring_.word(cons));
    if (used > ring_.slots()) ++counters_.software_errors;
    if (used >= ring_.slots()) {
      if (overflow_ == reg::eventq_cons::ovackflg::get(cons)) {
        overflow_ = !overflow_;
        publish();
      }
      return lose(errc::would_block);
    }
    const std::uint64_t slot = base_ + std::uint64_t{ring_.index(prod_)} * event_record::bytes;
    for (unsigned i = 0; i != event_record::words; ++i) {
      if (const status s = bus_.store64(bus_addr{slot + 8 * i}, r.w[i]); !s.ok()) {
        lines_.raise(reg::gerror::eventq_abt_err::mask);
        return lose(s.code());
      }
    }
    prod_ = ring_.add(prod_, 1);
    ++counters_.events;
    publish();
    if (used == 0) lines_.event_queue_not_empty();
    return {};
  }

  [[nodiscard]] bool check_invariants() const noexcept {
    return !on_ || (ring_.log2size <= reg::idr1::eventqs::get(id_.idr1) && regs_.template get32<reg::eventq_prod>() == prod_word());
  }

 private:
  [[nodiscard]] std::uint32_t prod_word() const noexcept {
    return prod_ | static_cast<std::uint32_t>(reg::eventq_prod::ovflg::put(overflow_));
  }
  void publish() noexcept { regs_.template set<reg::eventq_prod>(prod_word()); }
  [[nodiscard]] status lose(errc why) noexcept {
    ++counters_.events_lost;
    return why;
  }

  register_file<Env>& regs_;
  Bus& bus_;
  const id_registers& id_;
  signals<Env, Bus>& lines_;
  front_end_counters& counters_;
  queue_geometry ring_{};
  std::uint64_t base_{};
  std::uint32_t prod_{};
  bool overflow_{};
  bool on_{};
};

}  // namespace emu
SHOOTDOWN_END
