// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include <shootdown/arch/event.hpp>
#include <shootdown/arch/queue_word.hpp>
#include <shootdown/arch/registers.hpp>
#include <shootdown/env/backend.hpp>
#include <shootdown/status.hpp>

SHOOTDOWN_BEGIN
namespace device {

/// What one pass over the event queue found.
struct event_report {
  std::uint32_t records{};  ///< handed to the callback
  bool overflowed{};        ///< the SMMU dropped records since the last pass; acknowledged
};

/// Consumer side of the event queue: reads records in order, hands them out decoded, gives the slots back, acknowledges an
/// overflow (OVFLG copied to OVACKFLG). IHI 0070 3.5.4, 7.
/// Context: one caller at a time (the event interrupt or a poller). A pass is bounded by the ring size, so a fault storm
/// cannot hold the caller; a PROD beyond the ring (a device that fell off the bus reads as ones) is not believed.
/// Cost: two MMIO accesses a pass with records, one without.
///
/// Sites: D1 relaxed load of a record word, behind the acquire read of EVENTQ_PROD by the backend
template <environment Env, backend<Env> Backend>
class event_queue {
 public:
  static constexpr unsigned record_words = 4;
  static constexpr unsigned min_log2 = 1;

  explicit event_queue(Backend& b) noexcept : backend_{b} {}
  event_queue(const event_queue&) = delete;
  event_queue& operator=(const event_queue&) = delete;

  /// Takes 2^log2size records of memory and programs the registers. Only while CR0.EVENTQEN = 0.
  /// out_of_range: log2size outside 1..max; no_memory. On failure nothing is programmed.
  [[nodiscard]] status open(unsigned log2size, unsigned log2_max) noexcept {
    if (log2size < min_log2 || log2size > log2_max) return errc::out_of_range;
    close();
    const std::size_t bytes = std::size_t{record_words * 8} << log2size;
    ring_ = backend_.allocate_dma(bytes, bytes);
    if (!ring_) return errc::no_memory;
    geometry_ = queue_geometry{log2size};
    consumed_ = 0;
    acknowledged_ = false;
    using namespace reg;
    backend_.write64(eventq_base::offset,
                     eventq_base::allocate_hint::put(true) | eventq_base::addr::put(ring_.bus) | eventq_base::log2size::put(log2size));
    backend_.write32(eventq_prod::offset, 0);
    backend_.write32(eventq_cons::offset, 0);
    return {};
  }

  /// Gives the memory back. Only while CR0.EVENTQEN = 0. `release` false: the SMMU may still write it, so it is dropped.
  void close(bool release = true) noexcept {
    if (ring_ && release) backend_.release_dma(ring_);
    ring_ = {};
  }

  /// Calls `on_event(const event_record&)` for every record that is there now.
  template <class F>
  event_report service(F&& on_event) noexcept {
    event_report report;
    if (!ring_) return report;
    const std::uint32_t prod = backend_.read32(reg::eventq_prod::offset);
    const std::uint64_t end = geometry_.extend(consumed_, prod);
    if (end - consumed_ > geometry_.slots()) return report;
    const auto overflow = reg::eventq_prod::ovflg::get(prod);
    report.overflowed = overflow != acknowledged_;
    if (end == consumed_ && !report.overflowed) return report;
    for (; consumed_ != end; ++consumed_) {
      typename Env::dma_word* slot = ring_.cpu + std::size_t{geometry_.index(consumed_)} * record_words;
      Env::dma_observe(slot, record_words * sizeof(std::uint64_t));
      event_record record;
      for (unsigned w = 0; w != record_words; ++w) {
        record.w[w] = slot[w].load(std::memory_order_relaxed);  // D1 relaxed: the PROD read (acquire) ordered the record before this
      }
      on_event(static_cast<const event_record&>(record));
      ++report.records;
    }
    acknowledged_ = overflow;
    backend_.write32(reg::eventq_cons::offset,
                     static_cast<std::uint32_t>(geometry_.word(consumed_) | reg::eventq_cons::ovackflg::put(acknowledged_)));
    return report;
  }

  [[nodiscard]] bool check_invariants() const noexcept { return !ring_ || ring_.words == std::size_t{record_words} << geometry_.log2size; }

 private:
  Backend& backend_;
  dma_span<Env> ring_{};
  queue_geometry geometry_{};
  std::uint64_t consumed_{};  ///< records handed out since open()
  bool acknowledged_{};       ///< OVACKFLG as last written
};

}  // namespace device
SHOOTDOWN_END
