// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <utility>

#include <shootdown/arch/registers.hpp>
#include <shootdown/emu/front_end.hpp>
#include <shootdown/env/bystander.hpp>
#include <shootdown/env/environment.hpp>
#include <shootdown/model/device_side.hpp>
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

/// What a reset leaves behind.
struct reset_options {
  bool keep_caches{};  ///< TLB, walk and configuration caches survive, as hardware may let them
  bool abort{true};    ///< GBPA.ABORT afterwards; false: transactions bypass
};

struct smmu_counters {
  engine_counters engine{};
  emu::front_end_counters front{};
};

/// One SMMU of the model: the emulation's front end over the adversary engine, behind one lock (device_side).
///
/// Contract. Registers from any thread. Everything else is the device side and runs under a lock of its own: advance() only
///   tries it, so that it never waits (whoever gets it runs the device for a bounded number of steps, the others return; where
///   the device is a flow of its own that flow waits its turn);
///   translate, land, counters and the knobs wait for it. Time is the caller's; no thread, no clock.
///   A walk is one step among the device's steps; what the CPUs do meanwhile, it may see or not. Where an environment keeps the
///   views of consumer and walks apart, they meet when invalidations take effect; agents of add_agent() would walk with the
///   consumer's view, so there they are refused (use flows that call translate() and land()), and an endpoint that refills its
///   cache in a SYNC walks with the consumer's.
/// Progress: registers wait-free; advance never blocks; a thread that lost its CPU inside it delays the device, not others'
///   register accesses. Cost: an advance with nothing to do about 10 ns, a TLBI and its SYNC about 100, an agent's access 75.
/// Env: memory and oracle. Device: lock and register cells; give an uncounted environment where Env counts its atomics, so
///   that the device's own are not taken for the library's.
/// Sites: S4 stuck flag store -> S5 load; S6 view store -> S7 load; S8 slow flag store -> S9 load.
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

  [[nodiscard]] std::uint32_t read32(std::uint32_t offset) const noexcept {
    const std::uint64_t view = view_.load(std::memory_order_acquire);  // S7 acquire: pairs with S6
    if (view == view_gone) return ~std::uint32_t{0};
    if (offset == reg::cmdq_cons::offset && (view & view_frozen) != 0) return static_cast<std::uint32_t>(view);
    return front_.read32(offset);
  }
  [[nodiscard]] std::uint64_t read64(std::uint32_t offset) const noexcept { return gone() ? ~std::uint64_t{0} : front_.read64(offset); }
  void write32(std::uint32_t offset, std::uint32_t v) noexcept {
    if (!gone()) front_.write32(offset, v);
  }
  void write64(std::uint32_t offset, std::uint64_t v) noexcept {
    if (!gone()) front_.write64(offset, v);
  }

  /// Runs the device up to `now`, at most `max_steps` units of work, unless another thread is at it. True: work was done.
  bool advance(instant now, unsigned max_steps) noexcept {
    return run(now, max_steps, [this](instant t) noexcept { return front_.step(t); });
  }
  /// The same while nobody writes CR0, IRQ_CTRL and GBPA, which are not looked at: an idle turn is one read, of CMDQ_PROD. For
  /// simulators, where reads cost schedules.
  bool advance_commands(instant now, unsigned max_steps) noexcept {
    return run(now, max_steps, [this](instant t) noexcept { return front_.step_commands(t); });
  }

  // DMA: any thread; waits for the lock.

  /// First step of a DMA. exhausted: too many outstanding.
  [[nodiscard]] result<typename engine<Env>::grant> translate(stream_id sid, iova x, const request& r, instant now) noexcept {
    const guard g{*this, device_role::walker};
    refresh();
    return engine_.translate(sid, x, r, now, raiser());
  }
  /// Second step. not_present: it has landed already.
  [[nodiscard]] result<typename engine<Env>::landed> land(transaction_id id, std::uint64_t value, instant now) noexcept {
    const guard g{*this, device_role::walker};
    return engine_.land(id, value, now);
  }
  /// Both steps at once.
  [[nodiscard]] result<typename engine<Env>::landed> dma(stream_id sid, iova x, const request& r, std::uint64_t value,
                                                         instant now) noexcept {
    const guard g{*this, device_role::walker};
    refresh();
    const auto t = engine_.translate(sid, x, r, now, raiser());
    if (!t.ok()) return t.state();
    if (t->t.what != outcome::granted) return errc::not_present;
    return engine_.land(t->id, value, now);
  }
  /// A PCIe function with an ATC behind `sid`; lives as long as the SMMU. IDR0.ATS is for the driver; the model always can.
  void add_endpoint(stream_id sid, const endpoint_options& o = {}) {
    const guard g{*this, device_role::looker};
    static_cast<void>(engine_.add_endpoint(sid, o));
  }
  /// The endpoint asks for a translation and keeps what it gets. ok: it may now do this; not_present: it may not, or there is none.
  status request_translation(stream_id sid, iova x, const request& r, instant now) noexcept {
    const guard g{*this, device_role::walker};
    refresh();
    endpoint* const e = engine_.find_endpoint(sid);
    return e != nullptr && engine_.request_translation(*e, x, r, now, raiser()) ? status{} : status{errc::not_present};
  }
  /// As translate() and dma(), but by the endpoint's own cache: asks if it has nothing, then sends a translated transaction.
  [[nodiscard]] result<typename engine<Env>::grant> ats_translate(stream_id sid, iova x, const request& r, instant now) noexcept {
    const guard g{*this, device_role::walker};
    refresh();
    endpoint* const e = engine_.find_endpoint(sid);
    if (e == nullptr) return errc::not_present;
    return engine_.translate(*e, x, r, now, raiser());
  }
  [[nodiscard]] result<typename engine<Env>::landed> ats_dma(stream_id sid, iova x, const request& r, std::uint64_t value,
                                                             instant now) noexcept {
    // Over both steps: a SYNC in between would land it, and land() could not tell that from a refusal.
    const guard g{*this, device_role::walker};
    refresh();
    endpoint* const e = engine_.find_endpoint(sid);
    if (e == nullptr) return errc::not_present;
    const auto t = engine_.translate(*e, x, r, now, raiser());
    if (!t.ok()) return t.state();
    if (t->t.what != outcome::granted) return errc::not_present;
    return engine_.land(t->id, value, now);
  }
  /// The function's own ATS enable. not_present: no endpoint.
  status enable_ats(stream_id sid, bool on) noexcept {
    return with(sid, [&](endpoint& e) { engine_.enable_ats(e, on); });
  }
  /// An attach with ATS begins: invalidations are no protocol violation any more. not_present: no endpoint.
  status admit(stream_id sid) noexcept {
    return with(sid, [](endpoint& e) { e.admit(); });
  }
  status set_endpoint_state(stream_id sid, endpoint_state state) noexcept {
    return with(sid, [&](endpoint& e) { engine_.set_state(e, state); });
  }
  /// All zero without an endpoint.
  [[nodiscard]] endpoint_counters counters_of(stream_id sid) noexcept {
    endpoint_counters c{};
    static_cast<void>(with(sid, [&](endpoint& e) { c = e.counters(); }));
    return c;
  }
  /// Translations that the endpoint holds.
  [[nodiscard]] std::size_t cached_by(stream_id sid) noexcept {
    std::size_t n = 0;
    static_cast<void>(with(sid, [&](endpoint& e) { n = e.cache().size(); }));
    return n;
  }
  /// The agent lives as long as the SMMU and acts in every turn of the device.
  agent<Env>& add_agent(stream_id sid, const agent_options& o) {
    if constexpr (device_may_run_alone<Device>) Env::fail("model::smmu: an agent of the device would see what its command queue sees");
    const guard g{*this, device_role::looker};
    return engine_.add_agent(sid, o);
  }

  // Knobs and looks: any thread; wait for the lock unless noted.

  /// A stuck SMMU consumes nothing and acknowledges nothing; DMA and agents go on. Wait-free.
  void stick(bool stuck) noexcept { stuck_.store(stuck ? 1 : 0, std::memory_order_release); }  // S4 release -> S5
  /// The commands fetched after `countdown` good ones fail so, `times` times. The command queue must be set up.
  void fail_fetch(fetch_fault f, std::uint64_t countdown, std::uint64_t times = 1) noexcept {
    const guard g{*this, device_role::looker};
    const std::uint64_t base = front_.template value<reg::cmdq_base>();
    bus_.arm(f, countdown, reg::cmdq_base::addr::get(base), std::uint64_t{16} << reg::cmdq_base::log2size::get(base), times);
  }
  /// The next n CMD_SYNCs end in CERROR_ATC_INV_SYNC.
  void fail_syncs(unsigned n) noexcept {
    const guard g{*this, device_role::looker};
    failing_syncs_ = n;
  }
  /// The SMMU goes on consuming, but CMDQ_CONS shows the value of this moment until it is thawed. Wait-free. Off the bus: nothing.
  void freeze_cons(bool frozen) noexcept {
    if (gone()) return;
    const std::uint64_t seen = front_.read32(reg::cmdq_cons::offset);
    view_.store(frozen ? seen | view_frozen : 0, std::memory_order_release);  // S6 release -> S7
  }
  /// The SMMU is off the bus: every register reads as ones, writes go nowhere, nothing is consumed, every transaction aborts.
  void vanish(bool away) noexcept {
    const guard g{*this, device_role::looker};
    view_.store(away ? view_gone : 0, std::memory_order_release);  // S6 release -> S7
    failed_ = away;
    engine_.break_down(away);
  }
  /// Every SYNC takes this long from now on.
  void slow_syncs(nanoseconds latency) noexcept {
    const guard g{*this, device_role::looker};
    engine_.sync_latency(latency);
    if (count(latency) != 0) slow_.store(1, std::memory_order_release);  // S8 release -> S9: once there was a clock it stays
  }
  /// So many records that no transaction stands behind: F_TRANSLATION of StreamID 0.
  void flood_events(unsigned n) noexcept {
    const guard g{*this, device_role::looker};
    event e{};
    e.id = event_id::f_translation;
    for (unsigned i = 0; i != n; ++i) static_cast<void>(front_.raise_event(event_record::encode(e)));
  }
  /// These GERROR bits become active, although nothing happened.
  void raise_errors(std::uint32_t mask) noexcept {
    const guard g{*this, device_role::looker};
    front_.raise_errors(mask);
  }
  /// The same in every `period`-th turn of the device, until period is 0.
  void storm(std::uint32_t mask, unsigned period) noexcept {
    const guard g{*this, device_role::looker};
    storm_mask_ = mask;
    storm_period_ = period;
    storm_turns_ = 0;
  }
  /// Service failure mode: SFM_ERR; from now on nothing is consumed or acknowledged and every transaction aborts, until a reset.
  void fail_service() noexcept {
    const guard g{*this, device_role::looker};
    front_.raise_errors(static_cast<std::uint32_t>(reg::gerror::sfm_err::mask));
    engine_.break_down(true);
    failed_ = true;
  }
  /// The SMMU loses its power and gets it back: registers at their reset values, work in progress lost, service failure over.
  void reset(const reset_options& o, instant now) noexcept {
    const guard g{*this, device_role::looker};
    now_ = now;
    front_.reset();
    engine_.reset(now, o.keep_caches);
    if (o.abort) front_.preset_abort();
    failing_syncs_ = 0;
    failed_ = false;
  }
  void set_front_options(const emu::front_end_options& o) noexcept {
    const guard g{*this, device_role::looker};
    front_.options() = o;
  }
  [[nodiscard]] smmu_counters counters() noexcept {
    const guard g{*this, device_role::looker};
    return {engine_.counters(), front_.counters()};
  }
  /// Entries cached now: leaves, table pointers, configurations.
  [[nodiscard]] std::size_t cached() noexcept {
    const guard g{*this, device_role::looker};
    return engine_.cached().leaves.size() + engine_.cached().tables.size() + engine_.cached().configs.size();
  }
  [[nodiscard]] std::size_t outstanding() noexcept {
    const guard g{*this, device_role::looker};
    return engine_.outstanding();
  }
  [[nodiscard]] const emu::id_registers& id() const noexcept { return options_.id; }
  /// Does anything depend on the clock? If not, advance() may be given any time.
  [[nodiscard]] bool timed() const noexcept {
    return count(options_.engine.sync_latency) != 0 || count(options_.engine.command_latency) != 0 ||
           count(options_.front.ack_delay) != 0 || count(options_.engine.atc_round_trip) != 0 || count(options_.engine.atc_timeout) != 0 ||
           slow_.load(std::memory_order_acquire) != 0;  // S9 acquire: pairs with S8
  }
  [[nodiscard]] bool check_invariants() noexcept {
    const guard g{*this, device_role::looker};
    return engine_.check_invariants() && front_.check_invariants();
  }

 private:
  using side_type = device_side<Device>;
  using knob = bystander<Device>;

  struct executor {
    smmu& self;
    void execute(const command& c) noexcept {
      if (self.engine_.may_act_early()) self.side_.synchronised();
      self.engine_.execute(c, self.now_, self.raiser());
    }
    emu::sync_verdict sync(instant now) noexcept {
      if (self.failing_syncs_ != 0) {
        --self.failing_syncs_;
        return emu::sync_verdict::atc_timeout;
      }
      if (self.engine_.sync(now, self.raiser(), [this]() noexcept { self.side_.synchronised(); })) return emu::sync_verdict::done;
      return self.engine_.atc_timed_out() ? emu::sync_verdict::atc_timeout : emu::sync_verdict::not_yet;
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
    guard(smmu& s, device_role r) noexcept : side_{s.side_} { side_.lock(r); }
    ~guard() { side_.unlock(); }
    guard(const guard&) = delete;
    guard& operator=(const guard&) = delete;

   private:
    side_type& side_;
  };

  auto raiser() noexcept {
    return [this](const event_record& r) noexcept { (void)front_.raise_event(r); };  // a full or disabled queue loses it, as counted there
  }
  void refresh() noexcept {
    if (!front_.smmu_enabled()) engine_.abort_while_disabled(front_.aborts_while_disabled());
    if (!engine_.has_endpoints()) return;
    engine_.ats_rules(reg::cr0::atschk::get(front_.template value<reg::cr0ack>()),
                      reg::idr0::atsrecerr::get(options_.id.idr0) && reg::cr2::rec_cfg_ats::get(front_.template value<reg::cr2>()));
  }
  template <class F>
  [[nodiscard]] status with(stream_id sid, F&& f) noexcept {
    const guard g{*this, device_role::looker};
    endpoint* const e = engine_.find_endpoint(sid);
    if (e == nullptr) return errc::not_present;
    f(*e);
    return {};
  }
  [[nodiscard]] bool gone() const noexcept { return view_.load(std::memory_order_acquire) == view_gone; }  // S7 acquire: pairs with S6
  void turn(instant now) noexcept {
    if (storm_period_ != 0 && ++storm_turns_ >= storm_period_) {
      storm_turns_ = 0;
      front_.raise_errors(storm_mask_);
    }
    refresh();
    if (!engine_.has_agents() || ++turns_ < options_.agent_period) return;
    turns_ = 0;
    engine_.run_agents(now, raiser());
  }
  template <class Step>
  bool run(instant now, unsigned max_steps, Step&& front_step) noexcept {
    if (device_runs_alone<Device>())
      side_.lock(device_role::consumer);
    else if (!side_.try_lock(device_role::consumer))
      return false;
    bool worked = false;
    turn(now);
    if (stuck_.load(std::memory_order_acquire) == 0 && !failed_) {  // S5 acquire: pairs with S4
      for (unsigned i = 0; i != max_steps && step(now, front_step); ++i) {
        worked = true;
        turn(now);
      }
    }
    side_.unlock();
    return worked;
  }
  /// One unit of work, unless the last command still takes its time. A command that arrived while the device was idle
  /// starts now, one that was waiting started when its predecessor ended.
  template <class Step>
  bool step(instant now, Step& front_step) noexcept {
    now_ = now;
    const std::uint64_t cost = count(options_.engine.command_latency);
    if (cost == 0) return front_step(now);
    if (since_epoch(busy_until_) > since_epoch(now)) return false;
    const std::uint64_t before = front_.counters().commands;
    const bool worked = front_step(now);
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
  static constexpr std::uint64_t view_frozen = std::uint64_t{1} << 32;
  static constexpr std::uint64_t view_gone = ~std::uint64_t{0};

  unsigned failing_syncs_{};
  std::uint32_t storm_mask_{};
  unsigned storm_period_{};
  unsigned storm_turns_{};
  bool failed_{};  // service failure, or off the bus
  unsigned turns_{};
  instant now_{};
  instant busy_until_{};
  bool idle_{true};
  alignas(cache_line) side_type side_{};
  typename knob::template atomic<std::uint32_t> stuck_{};
  typename knob::template atomic<std::uint32_t> slow_{};
  typename knob::template atomic<std::uint64_t> view_{};  // what CPUs see: 0 as it is, frozen bit | CONS, or gone
};

}  // namespace model
SHOOTDOWN_END
