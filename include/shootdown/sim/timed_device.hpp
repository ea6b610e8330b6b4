// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <new>
#include <vector>

#include <shootdown/arch/commands.hpp>
#include <shootdown/arch/queue_word.hpp>
#include <shootdown/env/backend.hpp>
#include <shootdown/sim/timed_env.hpp>

SHOOTDOWN_BEGIN
namespace sim {

struct timed_device_options {
  std::uint64_t sync{reference_machine::sync_middle};  ///< what a CMD_SYNC takes
  /// True: nothing behind a CMD_SYNC starts before it completes. False: hardware that only completes in order: the SYNC takes
  /// the consumer as long as any command, and completes `sync` later, and not before the SYNC ahead of it.
  bool sync_stalls{true};
};

/// An SMMU's command queue on the reference machine, and the backend through which the library's queue drives it. It consumes
/// the ring in order; CONS, an MSI or an event tells. Bring-up: attach(), then command_queue::configure, then a run that
/// watches it: `run.watch(device.watcher())`.
///
/// It does not take anything on trust. Violations end up in the run's report, and in violations():
///   a doorbell for a slot that nobody has written since it was consumed, in full; one that claims more than the ring holds or
///   goes backwards; a store to a slot that the device may be reading; a command that is none; an MSI to strange memory.
/// Doorbells are posted: the CPU goes on when the port has taken its write, 150 ns before the SMMU sees it; the port takes one
/// at a time. A register read takes 300 ns and sees the device half-way; it does not overtake the same CPU's doorbell.
///
/// Context: the thread of the run; registers from virtual CPUs, or between runs (then at once, for bring-up).
/// Sites: D1 CONS and D2 MSI: the device is one event at a time, so everything before them happened before
class timed_device {
 public:
  static constexpr std::uint32_t prod_offset = 0x98;
  static constexpr std::uint32_t cons_offset = 0x9c;

  explicit timed_device(const timed_device_options& o = {}) noexcept : options_{o} {}
  timed_device(const timed_device&) = delete;
  timed_device& operator=(const timed_device&) = delete;
  ~timed_device() noexcept {
    while (!spans_.empty()) release_dma(spans_.back());
  }

  /// CMDQ_BASE: consumes from `ring` from position 0 on. Between runs.
  void attach(dma_span<timed_env> ring, unsigned log2size) {
    ring_ = ring;
    geometry_ = queue_geometry{log2size};
    written_.assign(geometry_.slots(), 0);
    restart();
  }
  [[nodiscard]] timed_watcher watcher() noexcept {
    return {[](void* self, const void* address) noexcept { static_cast<timed_device*>(self)->stored(address); }, this};
  }

  /// Commands consumed, in order: everything before this position is complete.
  [[nodiscard]] std::uint64_t completed() noexcept {
    retire(now());
    return retired_;
  }
  [[nodiscard]] std::uint64_t syncs() const noexcept { return syncs_; }
  [[nodiscard]] std::uint64_t doorbells() const noexcept { return doorbells_; }
  [[nodiscard]] unsigned violations() const noexcept { return violations_; }

  // The backend.

  [[nodiscard]] std::uint32_t read32(std::uint32_t offset) noexcept {
    if (auto* const m = detail::timed_running()) {
      m->scheduler.order();
      timed_cpu& c = *m->scheduler.current();
      c.clock = std::max(c.clock + reference_machine::mmio_read / 2, c.device_order);
      m->scheduler.order();  // what the device does until it answers
      const std::uint32_t v = look(offset);
      c.clock += reference_machine::mmio_read - reference_machine::mmio_read / 2;
      c.watches_more = true;  // a waiter that looks at a register comes back by itself
      return v;
    }
    return look(offset);
  }
  void write32(std::uint32_t offset, std::uint32_t v) noexcept {
    auto* const m = detail::timed_running();
    if (m == nullptr) {
      if (offset == prod_offset || offset == cons_offset)
        restart();
      else
        registers_[offset] = v;
      return;
    }
    m->scheduler.order();
    timed_cpu& c = *m->scheduler.current();
    const std::uint64_t taken = std::max(c.clock, port_free_);
    const std::uint64_t arrival = taken + reference_machine::doorbell;
    port_free_ = arrival;
    c.clock = taken + reference_machine::hit;
    c.device_order = arrival;
    if (offset != prod_offset) {
      registers_[offset] = v;
    } else if (ring_bell(v)) {
      arriving_.push_back(issued_);
      m->scheduler.at(arrival, [](void* self, std::uint64_t at) noexcept { static_cast<timed_device*>(self)->doorbell(at); }, this);
    }
  }
  [[nodiscard]] std::uint64_t read64(std::uint32_t offset) noexcept {
    const std::uint64_t low = read32(offset);
    return low | std::uint64_t{read32(offset + 4)} << 32;
  }
  void write64(std::uint32_t offset, std::uint64_t v) noexcept {
    write32(offset, static_cast<std::uint32_t>(v));
    write32(offset + 4, static_cast<std::uint32_t>(v >> 32));
  }
  void idle(deadline d) noexcept {
    if (auto* const m = detail::timed_running()) m->lines.pause(since_epoch(d.at));
  }
  /// Bus addresses are the process's own.
  [[nodiscard]] dma_span<timed_env> allocate_dma(std::size_t bytes, std::size_t align) noexcept {
    const std::size_t words = bytes / sizeof(timed_env::dma_word);
    void* const p = timed_env::allocate(bytes, align);
    if (p == nullptr) return {};
    auto* const first = static_cast<timed_env::dma_word*>(p);
    for (std::size_t i = 0; i != words; ++i) ::new (static_cast<void*>(first + i)) timed_env::dma_word{};
    spans_.push_back({first, words, bus_addr{reinterpret_cast<std::uintptr_t>(p)}, align});
    return spans_.back().span();
  }
  void release_dma(dma_span<timed_env> s) noexcept {
    const auto at = std::find_if(spans_.begin(), spans_.end(), [&s](const owned& o) { return o.cpu == s.cpu; });
    if (at == spans_.end()) return;
    timed_env::deallocate(at->cpu, at->words * sizeof(timed_env::dma_word), at->align);
    spans_.erase(at);
  }

 private:
  struct owned {
    timed_env::dma_word* cpu;
    std::size_t words;
    bus_addr bus;
    std::size_t align;
    [[nodiscard]] dma_span<timed_env> span() const noexcept { return {cpu, words, bus}; }
    operator dma_span<timed_env>() const noexcept { return span(); }  // NOLINT(google-explicit-constructor)
  };
  /// A command that has been executed and counts as consumed from `at` on.
  struct finished {
    std::uint64_t at;
    cmd::sync sync;  // none: nothing to tell
    bool is_sync;
  };
  static constexpr std::uint8_t both_words = 3;

  [[nodiscard]] static std::uint64_t now() noexcept {
    auto* const m = detail::timed_now;
    return m == nullptr ? ~std::uint64_t{0} : m->scheduler.now();
  }

  void restart() noexcept {
    issued_ = visible_ = retired_ = 0;
    front_free_ = last_finish_ = port_free_ = 0;
    arriving_.clear();
    pipeline_.clear();
    std::fill(written_.begin(), written_.end(), std::uint8_t{0});
  }

  [[nodiscard]] std::uint32_t look(std::uint32_t offset) noexcept {
    if (offset == cons_offset) {
      retire(now());
      return geometry_.word(retired_);  // D1 everything consumed so far is complete
    }
    if (offset == prod_offset) return geometry_.word(visible_);
    const auto at = registers_.find(offset);
    return at == registers_.end() ? 0 : at->second;
  }

  /// A CPU writes PROD: may it?
  [[nodiscard]] bool ring_bell(std::uint32_t v) noexcept {
    ++doorbells_;
    retire(now());
    const std::uint64_t end = geometry_.extend(issued_, v);
    if (end - retired_ > geometry_.slots()) {
      violate("device: PROD goes backwards or claims more than the ring holds");
      return false;
    }
    for (std::uint64_t at = issued_; at != end; ++at)
      if (written_[geometry_.index(at)] != both_words) violate("device: a doorbell for a slot that nobody has written");
    issued_ = end;
    return true;
  }

  /// The doorbell is here: everything up to it is executed, and the end of each command computed at once, since nobody may
  /// touch those slots any more.
  void doorbell(std::uint64_t at) noexcept {
    const std::uint64_t end = arriving_.front();
    arriving_.pop_front();
    for (; visible_ != end; ++visible_) execute(std::max(at, front_free_));
  }
  void execute(std::uint64_t begin) noexcept {
    const std::uint32_t slot = geometry_.index(visible_);
    const command c{raw_word(slot * 2), raw_word(slot * 2 + 1)};
    finished f{begin + reference_machine::tlbi, {}, false};
    if (visit(c, [](const auto& typed) { return std::is_same_v<std::remove_cvref_t<decltype(typed)>, cmd::reserved>; }))
      violate("device: a command with a reserved opcode or operand");
    switch (opcode_of(c)) {
      case opcode::atc_inv: f.at = begin + reference_machine::atc_inv; break;
      case opcode::sync:
        f = {begin + options_.sync, cmd::sync::decode(c), true};
        ++syncs_;
        break;
      default: break;
    }
    front_free_ = f.is_sync && !options_.sync_stalls ? begin + reference_machine::tlbi : f.at;
    f.at = last_finish_ = std::max(f.at, last_finish_);
    pipeline_.push_back(f);
    if (f.is_sync && f.sync.cs != cmd::sync_signal::none)
      detail::timed_now->scheduler.at(
          f.at, [](void* self, std::uint64_t t) noexcept { static_cast<timed_device*>(self)->retire(t); }, this);
  }
  [[nodiscard]] std::uint64_t raw_word(std::uint32_t word) const noexcept {
    return cell{ring_.cpu + word, 8, true}.get();  // the interconnect answers from whoever has it; no CPU loses its copy
  }

  /// Moves CONS to where it is at `time`, and tells who is to be told.
  void retire(std::uint64_t time) noexcept {
    while (!pipeline_.empty() && pipeline_.front().at <= time) {
      const finished f = pipeline_.front();
      pipeline_.pop_front();
      written_[geometry_.index(retired_)] = 0;
      ++retired_;
      if (f.is_sync) signal(f.sync);
    }
  }
  void signal(const cmd::sync& s) noexcept {
    if (detail::timed_now == nullptr) return;  // the run is over, nobody listens
    if (s.cs == cmd::sync_signal::sev) detail::timed_now->lines.send_event();
    if (s.cs != cmd::sync_signal::irq || raw(s.msiaddr) == 0) return;
    const auto within = [&s](const owned& o) {
      return raw(s.msiaddr) >= raw(o.bus) && raw(s.msiaddr) - raw(o.bus) < o.words * sizeof(timed_env::dma_word);
    };
    if (std::none_of(spans_.begin(), spans_.end(), within)) return violate("device: an MSI outside of its memory");
    void* const target = reinterpret_cast<void*>(static_cast<std::uintptr_t>(raw(s.msiaddr)));
    cell{target, 4, true}.put(s.msidata);  // D2 the commands before the SYNC are complete
    detail::timed_now->lines.device_write(target);
  }

  /// A CPU has stored to a device word.
  void stored(const void* address) noexcept {
    const auto* const first = reinterpret_cast<const std::byte*>(ring_.cpu);
    const auto* const at = static_cast<const std::byte*>(address);
    if (at < first || at >= first + geometry_.slots() * std::size_t{command_bytes}) return;
    retire(now());
    const auto word = static_cast<std::size_t>(at - first) / sizeof(timed_env::dma_word);
    const auto slot = static_cast<std::uint32_t>(word / 2);
    if (((slot - geometry_.index(retired_)) & geometry_.index_mask()) < issued_ - retired_)
      violate("device: a store to a slot that the device may be reading");
    written_[slot] = static_cast<std::uint8_t>(written_[slot] | 1u << (word % 2));
  }

  void violate(const char* text) noexcept {
    ++violations_;
    if (detail::timed_now != nullptr) detail::timed_now->fail(text);
  }

  timed_device_options options_;
  dma_span<timed_env> ring_{};
  queue_geometry geometry_{};
  std::vector<owned> spans_;
  std::map<std::uint32_t, std::uint32_t> registers_;
  std::vector<std::uint8_t> written_;   // per slot: which words, since it was consumed
  std::uint64_t issued_{};              // positions: PROD as CPUs have written it
  std::uint64_t visible_{};             // as the device has seen it, and executed
  std::uint64_t retired_{};             // CONS
  std::deque<std::uint64_t> arriving_;  // doorbells under way
  std::deque<finished> pipeline_;       // executed, not yet consumed
  std::uint64_t port_free_{};
  std::uint64_t front_free_{};  // the next command can start
  std::uint64_t last_finish_{};
  std::uint64_t syncs_{};
  std::uint64_t doorbells_{};
  unsigned violations_{};
};
static_assert(backend<timed_device, timed_env>);

}  // namespace sim
SHOOTDOWN_END
