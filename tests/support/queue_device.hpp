// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <shootdown/arch/cmd_sync.hpp>
#include <shootdown/arch/command.hpp>
#include <shootdown/arch/queue_word.hpp>
#include <shootdown/env/backend.hpp>
#include <shootdown/host/env.hpp>

namespace shootdown::test {

/// The host environment with what queue tests look at: a clock that moves by itself a little at every reading (deadlines
/// then count turns, not time), the depth of interrupt guards, and what fail() was told.
struct queue_env : host::basic_env<host::thread_stats> {
  static inline std::atomic<bool> clock_is_virtual{true};
  static inline std::atomic<std::uint64_t> clock{0};
  static inline std::atomic<int> failures{0};
  static inline std::function<void()> event_turn;  ///< what a turn of wait_event lets happen; set before threads start

  static instant now() noexcept {
    if (!clock_is_virtual.load(std::memory_order_relaxed)) return host::basic_env<host::thread_stats>::now();
    return instant{clock.fetch_add(1000, std::memory_order_relaxed)};
  }
  static void wait_event(deadline) noexcept {
    if (event_turn)
      event_turn();
    else
      std::this_thread::yield();
  }
  struct irq_guard {
    irq_guard() noexcept { ++depth(); }
    ~irq_guard() noexcept { --depth(); }
    irq_guard(const irq_guard&) = delete;
    irq_guard& operator=(const irq_guard&) = delete;
  };
  static int& depth() noexcept {
    static thread_local int d = 0;
    return d;
  }
  /// Counts this thread's pauses if set: how a test sees that another thread is waiting for a third.
  static inline thread_local std::atomic<std::uint32_t>* pauses = nullptr;
  static void relax() noexcept {
    if (pauses != nullptr) pauses->fetch_add(1, std::memory_order_relaxed);
    host::basic_env<host::thread_stats>::relax();
  }
  static void fail(const char*) noexcept { failures.fetch_add(1, std::memory_order_relaxed); }
};

/// A command queue's device, scripted: consumes the ring in order, one command per step, keeps what it consumed, and notes
/// every breach of the queue contract instead of stopping.
///
/// Where it runs: in step() by the test; in every idle() and register read of a waiter (turn(), under a try-lock) unless
/// `runs_in_waits` is false; or in a thread of its own between start_thread() and stop_thread(). Only the last leaves all
/// ordering to the registers and the ring: the try-lock orders more than hardware does, so races are hunted there.
template <class Env>
class queue_device {
 public:
  static constexpr std::uint32_t prod_offset = 0x98, cons_offset = 0x9c, gerror_offset = 0x60, gerrorn_offset = 0x64;
  static constexpr std::uint8_t poison = 0xff;  ///< opcode of a slot that nobody has written since the device consumed it

  enum class fault : std::uint8_t { none, illegal, fetch_abort, atc_timeout };

  explicit queue_device(std::size_t words = 8192) : memory_{std::make_unique<typename Env::dma_word[]>(words)}, words_{words} {}
  ~queue_device() { stop_thread(); }

  // The backend.
  std::uint32_t read32(std::uint32_t offset) noexcept {
    if (runs_in_waits) turn();
    switch (offset) {
      case prod_offset: return prod_.load(std::memory_order_acquire);
      case cons_offset: return cons_.load(std::memory_order_acquire);
      case gerror_offset: return gerror_.load(std::memory_order_acquire);
      case gerrorn_offset: return gerrorn_.load(std::memory_order_acquire);
      default: return 0;
    }
  }
  std::uint64_t read64(std::uint32_t) noexcept { return 0; }
  void write32(std::uint32_t offset, std::uint32_t v) noexcept {
    switch (offset) {
      case prod_offset: write_prod(v); break;
      case cons_offset:
        if (enabled_.load(std::memory_order_acquire)) note("CONS written while the queue is enabled");
        cons_.store(v, std::memory_order_release);
        break;
      case gerrorn_offset: gerrorn_.store(v, std::memory_order_release); break;
      default: break;
    }
  }
  void write64(std::uint32_t, std::uint64_t) noexcept {}
  void idle(deadline) noexcept {
    if (Env::depth() != 0) note("a wait with interrupts off");
    idles_.fetch_add(1, std::memory_order_relaxed);
    if (runs_in_waits || runs_in_idle)
      turn();
    else
      std::this_thread::yield();
  }
  dma_span<Env> allocate_dma(std::size_t bytes, std::size_t align) noexcept {
    const std::size_t n = bytes / 8, step = align < 8 ? 1 : align / 8;
    const std::size_t at = (used_ + step - 1) / step * step;
    if (at + n > words_) return {};
    used_ = at + n;
    return {memory_.get() + at, n, bus_addr{bus_base + at * 8}};
  }
  void release_dma(dma_span<Env>) noexcept {}

  /// The ring it fetches from; every slot is poisoned.
  void attach(dma_span<Env> ring, unsigned log2size) {
    ring_ = ring;
    geometry_ = queue_geometry{log2size};
    for (std::size_t i = 0; i != ring.words; i += 2) ring.cpu[i].store(poison, std::memory_order_relaxed);
  }

  /// CR0.CMDQEN. Registers may be set up only while it is off.
  void enable(bool on) { enabled_.store(on, std::memory_order_release); }

  /// Another error of GERROR becomes active.
  void raise(std::uint32_t bits) { gerror_.fetch_xor(bits, std::memory_order_release); }

  /// Consumes up to n commands; returns how many. Only one caller at a time (turn() and the thread see to it themselves).
  unsigned step(unsigned n) {
    unsigned done = 0;
    while (done != n && step_one()) ++done;
    return done;
  }
  /// One turn of a wait: `burst` commands, if nobody else runs the device now.
  void turn() noexcept {
    if (thread_.joinable() || running_.exchange(true, std::memory_order_acquire)) return;
    step(burst);
    running_.store(false, std::memory_order_release);
  }
  void start_thread() {
    stop_.store(false, std::memory_order_relaxed);
    runs_in_waits = runs_in_idle = false;
    thread_ = std::thread{[this] {
      while (!stop_.load(std::memory_order_acquire))
        if (step(burst) == 0) std::this_thread::yield();
    }};
  }
  void stop_thread() {
    stop_.store(true, std::memory_order_release);
    if (thread_.joinable()) thread_.join();
  }

  // What the test sets, while nobody runs the device.
  bool runs_in_waits{true};                             ///< idle and register reads run it
  bool runs_in_idle{false};                             ///< idle alone runs it
  unsigned burst{1};                                    ///< commands per turn
  unsigned sync_delay{0};                               ///< turns that a CMD_SYNC takes
  bool drops_msi{false};                                ///< MSI writes abort (GERROR bit 4)
  bool keeps_log{true};                                 ///< consumed() is filled
  std::atomic<bool> stuck{false};                       ///< consumes nothing; may be changed at any time
  std::function<fault(command)> fault_of;               ///< asked before each command executes
  std::function<void(command)> on_command;              ///< the command's effect
  std::function<void()> before_cons;                    ///< called when a SYNC has signalled and CONS has not moved yet
  std::function<void(std::uint32_t used)> on_doorbell;  ///< called in write32(PROD) with the slots then in use

  [[nodiscard]] const std::vector<command>& consumed() const { return consumed_; }
  void forget() { consumed_.clear(); }
  [[nodiscard]] std::uint32_t prod() const { return prod_.load(std::memory_order_acquire); }
  [[nodiscard]] std::uint32_t cons() const { return cons_.load(std::memory_order_acquire); }
  [[nodiscard]] bool error_active() const {
    return ((gerror_.load(std::memory_order_acquire) ^ gerrorn_.load(std::memory_order_acquire)) & 1u) != 0;
  }
  [[nodiscard]] std::uint32_t doorbells() const { return doorbells_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t idles() const { return idles_.load(std::memory_order_relaxed); }
  /// Breaches of the contract, in words; empty = none. Read it when the threads have ended.
  [[nodiscard]] std::string breaches() const {
    const char* const text = breach_.load(std::memory_order_acquire);
    return text == nullptr ? "" : text;
  }

 private:
  static constexpr std::uint64_t bus_base = 0x8000'0000;
  static constexpr std::uint32_t err_shift = 24;

  void note(const char* text) noexcept {
    const char* expected = nullptr;
    breach_.compare_exchange_strong(expected, text, std::memory_order_acq_rel, std::memory_order_relaxed);
  }

  void write_prod(std::uint32_t v) noexcept {
    if (!enabled_.load(std::memory_order_acquire)) {
      prod_.store(v, std::memory_order_release);
      return;
    }
    const std::uint32_t old = prod_.load(std::memory_order_relaxed);
    if (geometry_.ahead(old, v) > geometry_.slots()) note("PROD went backwards");
    if (!ring_) note("PROD written without a ring");
    if (Env::depth() == 0) note("PROD written with interrupts on");
    prod_.store(v, std::memory_order_release);
    doorbells_.fetch_add(1, std::memory_order_relaxed);
    if (on_doorbell) on_doorbell(geometry_.used(v, cons_.load(std::memory_order_acquire)));
  }

  bool step_one() {
    if (!enabled_.load(std::memory_order_acquire) || stuck.load(std::memory_order_acquire) || error_active()) return false;
    const std::uint32_t prod = prod_.load(std::memory_order_acquire);
    const std::uint32_t cons = geometry_.word(cons_.load(std::memory_order_relaxed));
    if (geometry_.empty(prod, cons)) return false;
    if (!geometry_.plausible(prod, cons)) {
      note("PROD claims more than the ring holds");
      return false;
    }
    typename Env::dma_word* const slot = ring_.cpu + geometry_.index(cons) * 2;
    const command c{slot[0].load(std::memory_order_relaxed), slot[1].load(std::memory_order_relaxed)};
    if (static_cast<std::uint8_t>(c.dw0) == poison || static_cast<std::uint32_t>(c.dw0) == 0)
      note("a slot was published before it was written");
    const bool sync = opcode_of(c) == opcode::sync;
    if (sync && delayed_ < sync_delay) {
      ++delayed_;
      return false;
    }
    delayed_ = 0;
    if (const fault f = fault_of ? fault_of(c) : fault::none; f != fault::none) {
      cons_.store(cons | static_cast<std::uint32_t>(f) << err_shift, std::memory_order_release);
      gerror_.store(gerror_.load(std::memory_order_relaxed) ^ 1u, std::memory_order_release);
      return false;
    }
    if (keeps_log) consumed_.push_back(c);
    if (on_command) on_command(c);
    if (sync)
      signal(cmd::sync::decode(c), slot);
    else
      slot[0].store(poison, std::memory_order_relaxed);
    if (sync && before_cons) before_cons();
    cons_.store(geometry_.add(cons, 1), std::memory_order_release);
    return true;
  }

  void signal(cmd::sync s, typename Env::dma_word* slot) {
    const bool message = s.cs == cmd::sync_signal::irq && raw(s.msiaddr) != 0;
    typename Env::dma_word* const target = message ? memory_.get() + (raw(s.msiaddr) - bus_base) / 8 : nullptr;
    if (target != slot) slot[0].store(poison, std::memory_order_relaxed);
    if (!message) return;
    if (drops_msi)
      gerror_.fetch_xor(((gerror_.load(std::memory_order_relaxed) ^ gerrorn_.load(std::memory_order_relaxed)) & 16u) ^ 16u,
                        std::memory_order_release);
    else
      target->store_low(s.msidata, std::memory_order_release);
  }

  std::unique_ptr<typename Env::dma_word[]> memory_;
  std::size_t words_;
  std::size_t used_{};
  dma_span<Env> ring_{};
  queue_geometry geometry_{};
  std::atomic<std::uint32_t> prod_{}, cons_{}, gerror_{}, gerrorn_{};
  std::atomic<bool> enabled_{false}, running_{false}, stop_{false};
  std::atomic<const char*> breach_{nullptr};
  std::atomic<std::uint32_t> doorbells_{};
  std::atomic<std::uint64_t> idles_{};
  std::vector<command> consumed_;
  unsigned delayed_{};
  std::thread thread_;
};

}  // namespace shootdown::test
