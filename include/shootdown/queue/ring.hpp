// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <cstdint>

#include <shootdown/arch/cmd_sync.hpp>
#include <shootdown/arch/command.hpp>
#include <shootdown/arch/field.hpp>
#include <shootdown/arch/queue_word.hpp>
#include <shootdown/env/backend.hpp>
#include <shootdown/port/command_list.hpp>
#include <shootdown/port/ticket.hpp>
#include <shootdown/queue/config.hpp>

SHOOTDOWN_BEGIN
namespace queue {

/// The hardware side of one command queue: the slots in shared memory and the PROD and CONS registers, by 64-bit position.
/// It knows nothing of who may write which slot when; that is the strategy's business.
///
/// Contract: a slot is written only by the one who reserved it and only while the device cannot read it; doorbell() goes
/// forward only. Context: any. Progress: wait-free. IHI 0070 3.5 (queues), 4.1 (commands).
///
/// Sites: D1 slot words (relaxed, ordered by D2) -> D2 doorbell: the backend's releasing MMIO store
///        D3 CONS: the backend's acquiring MMIO load, pairs with the device's CONS update
///        D4 slot word read back (acquire), pairs with the device's MSI write (D5 of completion.hpp)
///        D5 a command read back (relaxed): its writer published it, the device fetched it, and CONS (D3) came after that
template <class Env, class Backend>
class ring {
 public:
  using err_f = field<30, 24, std::uint8_t>;  ///< CONS.ERR: valid only while GERROR.CMDQ_ERR is active

  explicit ring(Backend& device) noexcept : device_{&device} {}

  void configure(const queue_config<Env>& c) noexcept {
    config_ = c;
    geometry_ = queue_geometry{c.log2size};
  }

  [[nodiscard]] const queue_config<Env>& config() const noexcept { return config_; }
  [[nodiscard]] Backend& device() const noexcept { return *device_; }
  [[nodiscard]] std::uint64_t slots() const noexcept { return std::uint64_t{1} << config_.log2size; }

  /// Both registers to the start of `base`'s lap. The device must not be consuming (CMDQEN = 0).
  void restart(seq64 base) noexcept {
    device_->write32(config_.prod_offset, geometry_.word(value(base)));
    device_->write32(config_.cons_offset, geometry_.word(value(base)));
  }

  /// Writes the command of position `at`.
  void put(seq64 at, command c) noexcept {
    typename Env::dma_word* const slot = words(at);
    // The device looks only after D2, which releases; a CPU that rings for us has acquired our publication.
    slot[0].store(c.dw0, std::memory_order_relaxed);  // D1 relaxed: D2 orders it
    slot[1].store(c.dw1, std::memory_order_relaxed);  // D1 relaxed: as above
  }

  /// The command of position `at`, at which the device was seen to stand by CONS.
  [[nodiscard]] command get(seq64 at) const noexcept {
    const typename Env::dma_word* const slot = words(at);
    const std::uint64_t dw0 = slot[0].load(std::memory_order_relaxed);  // D5 relaxed: D3 is behind all that was written there
    return {dw0, slot[1].load(std::memory_order_relaxed)};              // D5 relaxed: as above
  }

  /// The first word of position `at`, for a waiter that watches its own CMD_SYNC.
  [[nodiscard]] std::uint64_t first_word(seq64 at) const noexcept {
    return words(at)[0].load(std::memory_order_acquire);  // D4 acquire: pairs with the device's MSI write
  }

  [[nodiscard]] bus_addr slot_address(seq64 at) const noexcept {
    return bus_addr{raw(config_.ring.bus) + geometry_.index(value(at)) * command_bytes};
  }

  /// Slots [first, first + n) are written: towards a non-coherent device before the doorbell.
  void publish(seq64 first, std::uint64_t n) noexcept {
    const std::uint64_t begin = geometry_.index(value(first));
    const std::uint64_t head = n < slots() - begin ? n : slots() - begin;
    Env::dma_publish(config_.ring.cpu + begin * slot_words, head * command_bytes);
    if (head != n) Env::dma_publish(config_.ring.cpu, (n - head) * command_bytes);
  }

  /// PROD = `end`: the device may consume everything before it.
  void doorbell(seq64 end) noexcept {
    device_->write32(config_.prod_offset, geometry_.word(value(end)));  // D2 release (the backend's contract): the slots' D1 stores
    Env::stats::add(counter::doorbells);
    Env::trace::event(trace_point::doorbell, value(end));
  }

  /// The CONS register as read: index and wrap bit, and the error code.
  [[nodiscard]] std::uint32_t read_cons() noexcept {
    return device_->read32(config_.cons_offset);  // D3 acquire (the backend's contract): everything the consumed commands did
  }

  /// The position that a CONS value means, given one the device had reached before the register was read.
  [[nodiscard]] seq64 position(seq64 reached, std::uint32_t cons) const noexcept {
    return seq64{geometry_.extend(value(reached), cons & ~static_cast<std::uint32_t>(err_f::mask))};
  }

  /// One turn of a wait that only the device can end. Exactly one of idle and wait_event.
  void pause(deadline d) noexcept {
    if (config_.completion == completion_mode::cons_sev)
      Env::wait_event(d);
    else
      device_->idle(d);
  }

 private:
  [[nodiscard]] typename Env::dma_word* words(seq64 at) const noexcept {
    return config_.ring.cpu + geometry_.index(value(at)) * slot_words;
  }

  Backend* device_;
  queue_config<Env> config_{};
  queue_geometry geometry_{};
};

/// The sink that a list writes through: straight into the ring, never past the list's own slots.
/// A list that emits more or fewer commands than it said breaks its contract; the ring stays well formed all the same.
template <class Env, class Backend>
class ring_sink {
 public:
  ring_sink(ring<Env, Backend>& r, seq64 first, std::uint32_t n) noexcept : ring_{&r}, next_{first}, end_{advance(first, n)} {}

  void operator()(command c) noexcept {
    if (next_ == end_) {
      excess_ = true;
      return;
    }
    ring_->put(next_, c);
    next_ = advance(next_, 1);
    syncs_ += opcode_of(c) == opcode::sync ? 1u : 0u;
  }

  /// Fills what the list left out, so that the device never meets an old command there.
  void finish() noexcept {
    if (next_ == end_ && !excess_) return;
    Env::fail("command_list: emit() did not produce size() commands");
    while (next_ != end_) (*this)(cmd::sync::silent().encode());
  }

  [[nodiscard]] std::uint32_t syncs() const noexcept { return syncs_; }

 private:
  ring<Env, Backend>* ring_;
  seq64 next_;
  seq64 end_;
  std::uint32_t syncs_{};
  bool excess_{};
};

/// Writes `list` and, if `closing` is given, that command behind it, at `first`; counts it.
template <class Env, class Backend, command_list List>
void write_list(ring<Env, Backend>& r, seq64 first, const List& list, std::uint32_t size, const command* closing) noexcept {
  ring_sink<Env, Backend> sink{r, first, size};
  if (size != 0) list.emit(0, size, sink);
  sink.finish();
  if (closing != nullptr) r.put(advance(first, size), *closing);
  const std::uint32_t n = size + (closing != nullptr ? 1u : 0u);
  r.publish(first, n);
  Env::stats::add(counter::submissions);
  Env::stats::add(counter::commands, n);
  Env::stats::add(counter::syncs, sink.syncs() + (closing != nullptr ? 1u : 0u));
  Env::stats::add(counter::bytes, std::uint64_t{n} * command_bytes);
}

}  // namespace queue
SHOOTDOWN_END
