// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <utility>

#include <shootdown/arch/registers.hpp>
#include <shootdown/emu/front_end.hpp>
#include <shootdown/env/environment.hpp>
#include <shootdown/model/engine.hpp>
#include <shootdown/model/fault_bus.hpp>
#include <shootdown/model/memory.hpp>
#include <shootdown/model/oracle.hpp>
#include <shootdown/status.hpp>

SHOOTDOWN_BEGIN
namespace model {

struct smmu_options {
  emu::id_registers id{emu::id_registers::model_default()};
  engine_options engine{};
  emu::front_end_options front{};
  unsigned agent_period{1};  ///< agents act in every n-th turn of the device
};

struct smmu_counters {
  engine_counters engine{};
  emu::front_end_counters front{};
};

/// One SMMU of the model: the emulation's front end over the adversary engine, behind one lock.
///
/// Contract. Registers from any thread. Everything else is the device side and runs under a lock of its own: advance() only
///   tries it, so that it never waits (whoever gets it runs the device for a bounded number of steps, the others return);
///   translate, land, counters and the knobs wait for it. Time is the caller's; no thread, no clock.
/// Progress: registers wait-free; advance never blocks; a thread that lost its CPU inside it delays the device, not others'
///   register accesses. Cost: an advance with nothing to do about 10 ns, a TLBI and its SYNC about 100, an agent's access 75.
/// Env: memory and oracle. Device: lock and register cells; give an uncounted environment where Env counts its atomics, so
///   that the device's own are not taken for the library's.
/// Sites: S1 lock exchange (acquire) <-> S2 unlock (release); S3 lock peek (relaxed); S4 stuck flag store -> S5 load.
template <environment Env, environment Device = Env>
class smmu {
 public:
  smmu(memory<Env>& m, oracle<Env>& o, const smmu_options& options)
      : options_{options}, bus_{m}, engine_{m, o, options.engine}, executor_{*this}, front_{bus_, executor_, options_.id} {
    front_.options() = options.front;
    engine_.facts(facts());
  }
  smmu(const smmu&) = delete;
  smmu& operator=(const smmu&) = delete;

  // Registers: any thread.

  [[nodiscard]] std::uint32_t read32(std::uint32_t offset) const noexcept { return front_.read32(offset); }
  [[nodiscard]] std::uint64_t read64(std::uint32_t offset) const noexcept { return front_.read64(offset); }
  void write32(std::uint32_t offset, std::uint32_t v) noexcept { front_.write32(offset, v); }
  void write64(std::uint32_t offset, std::uint64_t v) noexcept { front_.write64(offset, v); }

  /// Runs the device up to `now`, at most `max_steps` units of work, unless another thread is at it. True: work was done.
  bool advance(instant now, unsigned max_steps) noexcept {
    if (!try_lock()) return false;
    bool worked = false;
    turn(now);
    if (stuck_.load(std::memory_order_acquire) == 0) {  // S5 acquire: pairs with S4
      for (unsigned i = 0; i != max_steps && step(now); ++i) {
        worked = true;
        turn(now);
      }
    }
    unlock();
    return worked;
  }

  // DMA: any thread; waits for the lock.

  /// First step of a DMA. exhausted: too many outstanding.
  [[nodiscard]] result<typename engine<Env>::grant> translate(stream_id sid, iova x, const request& r, instant now) noexcept {
    const guard g{*this};
    refresh();
    return engine_.translate(sid, x, r, now, raiser());
  }
  /// Second step. not_present: it has landed already.
  [[nodiscard]] result<typename engine<Env>::landed> land(transaction_id id, std::uint64_t value, instant now) noexcept {
    const guard g{*this};
    return engine_.land(id, value, now);
  }
  /// Both steps at once.
  [[nodiscard]] result<typename engine<Env>::landed> dma(stream_id sid, iova x, const request& r, std::uint64_t value,
                                                         instant now) noexcept {
    const guard g{*this};
    refresh();
    const auto t = engine_.translate(sid, x, r, now, raiser());
    if (!t.ok()) return t.state();
    if (t->t.what != outcome::granted) return errc::not_present;
    return engine_.land(t->id, value, now);
  }
  /// The agent lives as long as the SMMU and acts in every turn of the device.
  agent<Env>& add_agent(stream_id sid, const agent_options& o) {
    const guard g{*this};
    return engine_.add_agent(sid, o);
  }

  // Knobs and looks: any thread; wait for the lock unless noted.

  /// A stuck SMMU consumes nothing and acknowledges nothing; DMA and agents go on. Wait-free.
  void stick(bool stuck) noexcept { stuck_.store(stuck ? 1 : 0, std::memory_order_release); }  // S4 release -> S5
  /// The command fetched after `countdown` good ones fails so, once. The command queue must be set up.
  void fail_fetch(fetch_fault f, std::uint64_t countdown) noexcept {
    const guard g{*this};
    const std::uint64_t base = front_.template value<reg::cmdq_base>();
    bus_.arm(f, countdown, reg::cmdq_base::addr::get(base), std::uint64_t{16} << reg::cmdq_base::log2size::get(base));
  }
  /// The next n CMD_SYNCs end in CERROR_ATC_INV_SYNC.
  void fail_syncs(unsigned n) noexcept {
    const guard g{*this};
    failing_syncs_ = n;
  }
  void set_front_options(const emu::front_end_options& o) noexcept {
    const guard g{*this};
    front_.options() = o;
  }
  [[nodiscard]] smmu_counters counters() noexcept {
    const guard g{*this};
    return {engine_.counters(), front_.counters()};
  }
  /// Entries cached now: leaves, table pointers, configurations.
  [[nodiscard]] std::size_t cached() noexcept {
    const guard g{*this};
    return engine_.cached().leaves.size() + engine_.cached().tables.size() + engine_.cached().configs.size();
  }
  [[nodiscard]] std::size_t outstanding() noexcept {
    const guard g{*this};
    return engine_.outstanding();
  }
  [[nodiscard]] const emu::id_registers& id() const noexcept { return options_.id; }
  /// Does anything depend on the clock? If not, advance() may be given any time.
  [[nodiscard]] bool timed() const noexcept {
    return count(options_.engine.sync_latency) != 0 || count(options_.engine.command_latency) != 0 || count(options_.front.ack_delay) != 0;
  }
  [[nodiscard]] bool check_invariants() noexcept {
    const guard g{*this};
    return engine_.check_invariants() && front_.check_invariants();
  }

 private:
  struct executor {
    smmu& self;
    void execute(const command& c) noexcept { self.engine_.execute(c); }
    emu::sync_verdict sync(instant now) noexcept {
      if (self.failing_syncs_ != 0) {
        --self.failing_syncs_;
        return emu::sync_verdict::atc_timeout;
      }
      return self.engine_.sync(now, self.raiser()) ? emu::sync_verdict::done : emu::sync_verdict::not_yet;
    }
    void smmu_enabled(bool on) noexcept {
      if (on)
        self.engine_.enable(self.setup());
      else
        self.engine_.disable(self.now_);
    }
    void commands_rejected(const command&, errc) noexcept {}
  };
  class guard {
   public:
    explicit guard(smmu& s) noexcept : smmu_{s} {
      while (!smmu_.try_lock()) Device::relax();
    }
    ~guard() { smmu_.unlock(); }
    guard(const guard&) = delete;
    guard& operator=(const guard&) = delete;

   private:
    smmu& smmu_;
  };

  [[nodiscard]] bool try_lock() noexcept {
    if (lock_.load(std::memory_order_relaxed) != 0) return false;  // S3 relaxed: only spares the exchange, decides nothing
    return lock_.exchange(1, std::memory_order_acquire) == 0;      // S1 acquire: pairs with S2 of the last device side
  }
  void unlock() noexcept { lock_.store(0, std::memory_order_release); }  // S2 release -> S1

  auto raiser() noexcept {
    return [this](const event_record& r) noexcept { (void)front_.raise_event(r); };  // a full or disabled queue loses it, as counted there
  }
  void refresh() noexcept {
    if (!front_.smmu_enabled()) engine_.abort_while_disabled(front_.aborts_while_disabled());
  }
  void turn(instant now) noexcept {
    if (!engine_.has_agents() || ++turns_ < options_.agent_period) return;
    turns_ = 0;
    refresh();
    engine_.run_agents(now, raiser());
  }
  /// One unit of work, unless the last command still takes its time. A command that arrived while the device was idle
  /// starts now, one that was waiting started when its predecessor ended.
  bool step(instant now) noexcept {
    now_ = now;
    const std::uint64_t cost = count(options_.engine.command_latency);
    if (cost == 0) return front_.step(now);
    if (since_epoch(busy_until_) > since_epoch(now)) return false;
    const std::uint64_t before = front_.counters().commands;
    const bool worked = front_.step(now);
    if (front_.counters().commands != before) busy_until_ = instant{since_epoch(idle_ ? now : busy_until_) + cost};
    idle_ = !worked;
    return worked;
  }

  [[nodiscard]] tlbi_facts facts() const noexcept {
    tlbi_facts f{};
    f.stage2 = options_.id.stage2();
    f.range = options_.id.range_invalidation();
    f.wide_scale = options_.id.wide_scale();
    f.e2h = reg::cr2::e2h::get(front_.template value<reg::cr2>());
    f.asid_bits = static_cast<std::uint8_t>(options_.id.asid_bits());
    f.vmid_bits = static_cast<std::uint8_t>(options_.id.vmid_bits());
    return f;
  }
  [[nodiscard]] walk_setup setup() noexcept {
    engine_.facts(facts());
    walk_setup s{};
    s.strtab_base = front_.template value<reg::strtab_base>();
    s.strtab_cfg = static_cast<std::uint32_t>(front_.template value<reg::strtab_base_cfg>());
    const std::uint64_t cr2 = front_.template value<reg::cr2>();
    s.stage1 = options_.id.stage1();
    s.stage2 = options_.id.stage2();
    s.hyp = options_.id.hyp();
    s.e2h = reg::cr2::e2h::get(cr2);
    s.record_bad_streamid = reg::cr2::recinvsid::get(cr2);
    s.stream_bits = static_cast<std::uint8_t>(options_.id.stream_bits());
    s.substream_bits = static_cast<std::uint8_t>(options_.id.substream_bits());
    s.output_bits = static_cast<std::uint8_t>(options_.id.output_bits());
    s.granules = static_cast<std::uint8_t>(options_.id.granules());
    s.two_level_streams = reg::idr0::st_level::get(options_.id.idr0) == 1;
    s.two_level_contexts = reg::idr0::cd2l::get(options_.id.idr0);
    constexpr std::uint8_t endians[4]{0b11, 0, 0b01, 0b10};  // mixed, reserved, little, big
    s.endians = endians[reg::idr0::ttendian::get(options_.id.idr0)];
    s.asid_bits = static_cast<std::uint8_t>(options_.id.asid_bits());
    s.vmid_bits = static_cast<std::uint8_t>(options_.id.vmid_bits());
    return s;
  }

  smmu_options options_;
  fault_bus<Env> bus_;
  engine<Env> engine_;
  executor executor_;
  emu::front_end<Device, fault_bus<Env>, executor> front_;
  unsigned failing_syncs_{};
  unsigned turns_{};
  instant now_{};
  instant busy_until_{};
  bool idle_{true};
  alignas(cache_line) typename Device::template atomic<std::uint32_t> lock_{};
  typename Device::template atomic<std::uint32_t> stuck_{};
};

}  // namespace model
SHOOTDOWN_END
