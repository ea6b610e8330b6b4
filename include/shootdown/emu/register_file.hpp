// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <atomic>  // std::memory_order only
#include <cstddef>
#include <cstdint>

#include <shootdown/arch/queue_word.hpp>
#include <shootdown/arch/registers.hpp>
#include <shootdown/emu/id_registers.hpp>
#include <shootdown/env/bystander.hpp>
#include <shootdown/env/environment.hpp>

SHOOTDOWN_BEGIN
namespace emu {

namespace detail {

/// reg::map turned round: the map's line of each 32-bit word, page 0 then page 1.
struct register_index {
  static constexpr std::uint8_t none = 0xff;
  static constexpr std::uint32_t covered = 0x200;  // bytes of each page that hold registers of reg::map
  std::array<std::uint8_t, 2 * covered / 4> line{};

  constexpr register_index() noexcept {
    for (std::uint8_t& l : line) l = none;
    for (std::size_t i = 0; i != reg::map.size(); ++i) {
      const std::uint32_t word = word_of(reg::map[i].offset);
      line[word] = static_cast<std::uint8_t>(i);
      if (reg::map[i].bits == 64) line[word + 1] = static_cast<std::uint8_t>(i);
    }
  }
  [[nodiscard]] static constexpr std::uint32_t word_of(std::uint32_t offset) noexcept {
    return (offset % reg::page_bytes + offset / reg::page_bytes * covered) / 4;
  }
  /// `none` for an offset that names no register.
  [[nodiscard]] constexpr std::uint8_t at(std::uint32_t offset) const noexcept {
    return offset < reg::file_bytes && offset % reg::page_bytes < covered ? line[word_of(offset)] : none;
  }
};
inline constexpr register_index index_of_registers{};

}  // namespace detail

/// The registers of one SMMU: what CPUs read and write, and where the device side leaves its answers.
///
/// Purpose: the seam between any number of CPUs and one device side. A CPU access only reads or stores cells; every
/// reaction happens in a later step of the device side, so nothing here calls out.
/// Contract: read/write from any thread at any time; get/set by the device side only, one at a time. Unknown offsets,
/// misaligned accesses and wrong widths read as 0 and ignore writes; either half of a 64-bit register may be accessed with
/// 32 bits. Read-only registers ignore writes, and so does a register while the enable that guards it is 1 (CMDQ_BASE,
/// CMDQ_CONS with CMDQEN and so on), which the architecture leaves unpredictable. IHI 0070 6.
/// Context: any. Progress: wait-free, except 32-bit writes to a 64-bit register (lock-free). Cost: a table look-up and one
/// atomic access; a CMDQ_PROD write makes two read-modify-writes to count doorbells.
///
/// Sites: S1 write release -> S2 get acquire (a CPU's writes before a doorbell are visible to the device side that sees it);
///        S3 set release -> S4 read acquire (effects and messages before CONS, ACK and GERROR are visible to a CPU that
///        reads them); S5 PROD store release -> S2; S6 half write release -> S2; S7 count; S8 count; S9 count; S10 size of
///        the ring, for S9; S11 set
template <class Env>
class register_file {
 public:
  explicit register_file(const id_registers& id) noexcept {
    set<reg::idr0>(id.idr0);
    set<reg::idr1>(id.idr1);
    set<reg::idr2>(id.idr2);
    set<reg::idr3>(id.idr3);
    set<reg::idr4>(id.idr4);
    set<reg::idr5>(id.idr5);
    set<reg::idr6>(id.idr6);
    set<reg::iidr>(id.iidr);
    set<reg::aidr>(id.aidr);
  }
  register_file(const register_file&) = delete;
  register_file& operator=(const register_file&) = delete;

  // CPU side

  [[nodiscard]] std::uint32_t read32(std::uint32_t offset) const noexcept {
    const place p = find(offset, 4);
    return p.found() ? static_cast<std::uint32_t>(read(p.slot) >> p.shift) : 0;
  }
  [[nodiscard]] std::uint64_t read64(std::uint32_t offset) const noexcept {
    const place p = find(offset, 8);
    return p.found() ? read(p.slot) : 0;
  }
  void write32(std::uint32_t offset, std::uint32_t v) noexcept {
    const place p = find(offset, 4);
    if (!p.found() || !writable(p.slot, v)) return;
    if (reg::map[p.slot].bits == 64) return write_half(p, v);
    if (offset == reg::cmdq_prod::offset) return write_prod(v);
    if (offset == reg::cr0::offset && reg::cr0::cmdqen::get(v)) watch_prod();
    cells_[p.slot].value.store(v, std::memory_order_release);  // S1 -> S2
  }
  void write64(std::uint32_t offset, std::uint64_t v) noexcept {
    const place p = find(offset, 8);
    if (!p.found() || !writable(p.slot, v)) return;
    cells_[p.slot].value.store(v, std::memory_order_release);  // S1 -> S2
  }

  // Device side

  /// The register R as the CPUs left it.
  template <class R>
  [[nodiscard]] std::uint64_t get() const noexcept {
    return cells_[slot_of<R>()].value.load(std::memory_order_acquire);  // S2: pairs with S1, S5 and S6
  }
  template <class R>
  [[nodiscard]] std::uint32_t get32() const noexcept {
    return static_cast<std::uint32_t>(get<R>());
  }
  /// Lets CPUs see `v` in R, and with it everything the device side did before.
  template <class R>
  void set(std::uint64_t v) noexcept {
    if constexpr (R::offset == reg::cr0ack::offset) {
      if (!reg::cr0::cmdqen::get(v | get<reg::cr0>())) watched_log2_.store(not_watched, std::memory_order_relaxed);  // S11 relaxed: as S10
    }
    cells_[slot_of<R>()].value.store(v, std::memory_order_release);  // S3 -> S4
  }
  /// Power-on: 0 in every register that is not an identification register. A CPU's write at the same time may survive.
  void reset() noexcept {
    watched_log2_.store(not_watched, std::memory_order_relaxed);  // S11 relaxed: as S10
    for (std::size_t i = 0; i != reg::map.size(); ++i) {
      const std::uint32_t at = reg::map[i].offset;
      if (at < reg::cr0::offset || at == reg::idr6::offset) continue;
      cells_[i].value.store(0, std::memory_order_release);  // S3 -> S4
    }
  }

  /// Any thread; exact once the writers are quiet.
  [[nodiscard]] std::uint64_t doorbells() const noexcept {
    return doorbells_.load(std::memory_order_relaxed);  // S8 relaxed: a statistic, orders nothing
  }
  [[nodiscard]] std::uint64_t prod_regressions() const noexcept {
    return regressions_.load(std::memory_order_relaxed);  // S8 relaxed: a statistic, orders nothing
  }

 private:
  using aside = bystander<Env>;
  static constexpr std::uint32_t not_watched = ~std::uint32_t{0};
  struct alignas(cache_line) cell {
    typename Env::template atomic<std::uint64_t> value{0};
  };
  static constexpr std::uint8_t none = detail::register_index::none;
  struct place {
    std::uint8_t slot{none};
    std::uint8_t shift{};  // 32 for the upper half of a 64-bit register
    [[nodiscard]] constexpr bool found() const noexcept { return slot != none; }
  };
  template <class R>
  [[nodiscard]] static constexpr std::size_t slot_of() noexcept {
    constexpr std::uint8_t slot = detail::index_of_registers.at(R::offset);
    static_assert(slot != none && reg::map[slot].offset == R::offset, "the register is not in reg::map");
    return slot;
  }
  [[nodiscard]] static constexpr place find(std::uint32_t offset, std::uint32_t width) noexcept {
    if (offset % width != 0) return {};
    const std::uint8_t slot = detail::index_of_registers.at(offset);
    if (slot == none || (width == 8 && reg::map[slot].bits != 64)) return {};
    return {slot, static_cast<std::uint8_t>(reg::map[slot].offset == offset ? 0 : 32)};
  }

  [[nodiscard]] std::uint64_t read(std::size_t slot) const noexcept {
    return cells_[slot].value.load(std::memory_order_acquire);  // S4: pairs with S3
  }

  /// An enable counts as set from the CPU's write until the device side acknowledged its clearing.
  [[nodiscard]] bool enabled(std::uint64_t mask) const noexcept { return ((get<reg::cr0>() | get<reg::cr0ack>()) & mask) != 0; }
  [[nodiscard]] bool irq_enabled(std::uint64_t mask) const noexcept {
    return ((get<reg::irq_ctrl>() | get<reg::irq_ctrlack>()) & mask) != 0;
  }
  [[nodiscard]] bool writable(std::size_t slot, std::uint64_t v) const noexcept {
    if (reg::map[slot].mode == reg::access::ro) return false;
    constexpr std::uint64_t queues = reg::cr0::cmdqen::mask | reg::cr0::eventqen::mask | reg::cr0::priqen::mask;
    switch (reg::map[slot].offset) {
      case reg::cr1::offset: return !enabled(queues | reg::cr0::smmuen::mask);
      case reg::cr2::offset:
      case reg::strtab_base::offset:
      case reg::strtab_base_cfg::offset: return !enabled(reg::cr0::smmuen::mask);
      case reg::cmdq_base::offset:
      case reg::cmdq_cons::offset: return !enabled(reg::cr0::cmdqen::mask);
      case reg::eventq_base::offset:
      case reg::eventq_prod::offset: return !enabled(reg::cr0::eventqen::mask);
      case reg::priq_base::offset:
      case reg::priq_prod::offset: return !enabled(reg::cr0::priqen::mask);
      case reg::gerror_irq_cfg0::offset:
      case reg::gerror_irq_cfg1::offset:
      case reg::gerror_irq_cfg2::offset: return !irq_enabled(reg::irq_ctrl::gerror_irqen::mask);
      case reg::eventq_irq_cfg0::offset:
      case reg::eventq_irq_cfg1::offset:
      case reg::eventq_irq_cfg2::offset: return !irq_enabled(reg::irq_ctrl::eventq_irqen::mask);
      case reg::priq_irq_cfg0::offset:
      case reg::priq_irq_cfg1::offset:
      case reg::priq_irq_cfg2::offset: return !irq_enabled(reg::irq_ctrl::priq_irqen::mask);
      case reg::gbpa::offset: return reg::gbpa::update::get(v) && !reg::gbpa::update::get(get<reg::gbpa>());
      default: return true;
    }
  }

  void write_half(place p, std::uint32_t v) noexcept {
    typename Env::template atomic<std::uint64_t>& whole = cells_[p.slot].value;
    std::uint64_t old = read(p.slot);
    std::uint64_t wanted = 0;
    do {
      wanted = (old & (std::uint64_t{0xffffffff} << (32 - p.shift))) | (std::uint64_t{v} << p.shift);
    } while (!whole.compare_exchange_weak(old, wanted, std::memory_order_release,
                                          std::memory_order_relaxed));  // S6 -> S2; relaxed on failure: only retried
  }

  /// From the CPU's enable until the device side acknowledged its clearing, PROD must not go back in a ring of this size.
  void watch_prod() noexcept {
    const unsigned asked = reg::cmdq_base::log2size::get(get<reg::cmdq_base>());
    const unsigned most = reg::idr1::cmdqs::get(get<reg::idr1>());
    watched_log2_.store(asked < most ? asked : most, std::memory_order_relaxed);  // S11 relaxed: as S10
  }
  /// The PROD that a step sees may be several writes old, so going back is noticed here, where every write passes.
  void write_prod(std::uint32_t v) noexcept {
    const std::uint32_t old = last_prod_.exchange(v, std::memory_order_relaxed);   // S9 relaxed: for a statistic, orders nothing
    cells_[slot_of<reg::cmdq_prod>()].value.store(v, std::memory_order_release);   // S5 -> S2; a store, as on a bus: no release sequence
    doorbells_.fetch_add(1, std::memory_order_relaxed);                            // S7 relaxed: a statistic, orders nothing
    const std::uint32_t log2size = watched_log2_.load(std::memory_order_relaxed);  // S10 relaxed: for a statistic
    if (log2size == not_watched) return;
    const queue_geometry ring{log2size};
    if (ring.ahead(old, v) > ring.slots()) {
      regressions_.fetch_add(1, std::memory_order_relaxed);  // S9 relaxed: a statistic, orders nothing
    }
  }

  std::array<cell, reg::map.size()> cells_{};
  alignas(cache_line) typename aside::template atomic<std::uint64_t> doorbells_{0};
  typename aside::template atomic<std::uint64_t> regressions_{0};
  typename aside::template atomic<std::uint32_t> last_prod_{0};
  typename aside::template atomic<std::uint32_t> watched_log2_{not_watched};
};

}  // namespace emu
SHOOTDOWN_END
