// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>

#include <shootdown/arch/commands.hpp>
#include <shootdown/arch/registers.hpp>
#include <shootdown/arch/ste.hpp>
#include <shootdown/device/bring_up.hpp>
#include <shootdown/device/event_queue.hpp>
#include <shootdown/device/probe.hpp>
#include <shootdown/device/tag_space.hpp>
#include <shootdown/env/backend.hpp>
#include <shootdown/port/command_port.hpp>
#include <shootdown/queue/command_queue.hpp>
#include <shootdown/table/stream_table.hpp>

SHOOTDOWN_BEGIN
namespace device {

/// What the owner of an SMMU decides; the rest is probed.
struct smmu_config {
  instance_id instance{};            ///< unique among the SMMUs that a domain may span
  unsigned cmdq_log2{8};             ///< log2 of command queue entries, at most IDR1.CMDQS
  unsigned eventq_log2{7};           ///< log2 of event queue entries, at most IDR1.EVENTQS
  unsigned stream_log2{8};           ///< StreamIDs 0 .. 2^n - 1 get an entry; at most IDR1.SIDSIZE
  bool allow_msi{true};              ///< false: poll CONS although the SMMU could write a completion word
  bool allow_sev{true};              ///< false: never sleep in WFE (errata)
  std::uint32_t irq_ctrl{};          ///< IRQ_CTRL bits to enable; 0 for a driver that polls
  nanoseconds limit{1'000'000'000};  ///< for each handshake and each configuration command of this class
};

/// What service_gerror() found. `queue`: ok, or what the command queue was recovered from.
struct gerror_report {
  status queue{};
  bool service_failure{};  ///< SFM_ERR: the SMMU stopped; its queue is failed and stays so until restarted
  std::uint32_t others{};  ///< the other GERROR bits that were active; acknowledged
};

/// One SMMU instance from probe to shutdown, and the command port that domains send to. The same code drives the in-memory
/// model, QEMU's SMMUv3 and silicon: everything goes through the backend's registers and DMA memory.
///
/// Life: start() once, use, stop(). Between a start() that failed and the next one nothing is held. Before stop(), every
/// domain has detached the instance's masters and Env::rcu::synchronize() has returned, so that nobody submits any more.
/// Traffic aborts (GBPA.ABORT) whenever translation is off.
/// Context: start, stop and write_stream are control paths (may sleep); the port's calls follow command_port.hpp;
/// service_gerror any, service_events one caller at a time.
/// Cost in memory: 16 bytes per command, 32 per event, 64 per StreamID, 32 KiB of tag bitmaps.
template <environment Env, class Backend, class Strategy>
  requires backend<Backend, Env>
class smmu {
 public:
  using environment_type = Env;

  explicit smmu(Backend& b) noexcept : backend_{b}, sequence_{b}, queue_{b}, events_{b} {}
  ~smmu() {
    if (started_) Env::fail("device::smmu destroyed without stop()");
  }
  smmu(const smmu&) = delete;
  smmu& operator=(const smmu&) = delete;

  /// Probes, allocates, resets and enables. Refused before any register is written: unsupported (an ID register set the
  /// library cannot drive), out_of_range (a size beyond what the hardware or the strategy takes), invalid_argument (irq_ctrl),
  /// already_present (started). Later: no_memory; timed_out (a handshake or the first commands did not complete). Then the
  /// SMMU aborts all traffic and nothing is held, but for the memory of an SMMU that cannot even be switched off: that is
  /// dropped, never given back.
  [[nodiscard]] status start(const smmu_config& c) noexcept {
    if (started_) return errc::already_present;
    const result<identity> id = probe<Env>(backend_);
    if (!id.ok()) return id.state();
    if (c.stream_log2 > id->features.stream_bits || c.stream_log2 > max_stream_log2) return errc::out_of_range;
    if (c.cmdq_log2 < engine::min_log2size || c.cmdq_log2 > id->cmdq_log2_max) return errc::out_of_range;
    if (c.eventq_log2 < events::min_log2 || c.eventq_log2 > id->eventq_log2_max) return errc::out_of_range;
    if ((c.irq_ctrl & ~reg::irq_ctrl::mask) != 0) return errc::invalid_argument;  // would never be acknowledged
    config_ = c;
    identity_ = *id;
    const status s = start_parts();
    if (!s.ok()) {
      queue_.fail();
      release_all(sequence_.quiesce(limit()).ok());
    }
    started_ = s.ok();
    return s;
  }

  /// Translation and queues off, memory given back. timed_out: the SMMU did not acknowledge, so it may still read its
  /// memory: nothing is given back and stop() may be called again. not_present: not started.
  [[nodiscard]] status stop() noexcept {
    if (!started_) return errc::not_present;
    queue_.fail();
    if (const status s = sequence_.quiesce(limit()); !s.ok()) return s;
    release_all(true);
    started_ = false;
    return {};
  }
  [[nodiscard]] bool started() const noexcept { return started_; }

  // --- command_port ---------------------------------------------------------------------------------------------------
  template <command_list List>
  [[nodiscard]] result<ticket> submit(const List& list, deadline d) noexcept {
    return queue_.submit(list, d);
  }
  template <command_list List>
  [[nodiscard]] result<ticket> try_submit(const List& list) noexcept {
    return queue_.try_submit(list);
  }
  [[nodiscard]] status poll(ticket& t) noexcept { return queue_.poll(t); }
  [[nodiscard]] status wait(ticket& t, deadline d) noexcept { return queue_.wait(t, d); }
  void abandon(ticket& t) noexcept { queue_.abandon(t); }
  void idle(deadline d) noexcept { queue_.idle(d); }
  [[nodiscard]] const port_features& features() const noexcept { return identity_.features; }
  [[nodiscard]] instance_id instance() const noexcept { return config_.instance; }
  [[nodiscard]] std::uint32_t max_list() const noexcept { return queue_.max_list(); }
  [[nodiscard]] tag_space<Env>& tags() noexcept { return tags_; }

  // --- configuration --------------------------------------------------------------------------------------------------
  /// Makes `e` the entry of `sid`, in steps that the SMMU never sees half-done, each followed by CFGI_STE and a SYNC.
  /// out_of_range: no such stream, or not started. Other failures: the stream has its old entry, or aborts (entry_writer.hpp).
  [[nodiscard]] status write_stream(stream_id sid, const ste& e) noexcept {
    if (!has_stream(sid)) return errc::out_of_range;
    return streams_.write(sid, e, [&]() noexcept { return invalidate_stream(sid); });
  }
  /// Has `sid` an entry now? Without one its transactions abort.
  [[nodiscard]] bool has_stream(stream_id sid) const noexcept { return started_ && streams_.contains(sid); }
  /// CFGI_STE (leaf) and SYNC.
  [[nodiscard]] status invalidate_stream(stream_id sid) noexcept { return issue(cmd::cfgi_ste{.sid = sid, .leaf = true}.encode()); }
  /// CFGI_CD (leaf) and SYNC: after a CD that the SMMU may have cached was changed.
  [[nodiscard]] status invalidate_context(stream_id sid, substream_id ssid) noexcept {
    return issue(cmd::cfgi_cd{.sid = sid, .ssid = ssid, .leaf = true}.encode());
  }
  /// One command and a SYNC, waited for.
  [[nodiscard]] status issue(const command& c) noexcept { return issue(array_list{&c, 1}, limit()); }
  /// A list, waited for. After timed_out the commands may still execute.
  template <command_list List>
  [[nodiscard]] status issue(const List& list, deadline d) noexcept {
    result<ticket> t = queue_.submit(list, d);
    if (!t.ok()) return t.state();
    const status s = queue_.wait(*t, d);
    if (s.code() == errc::timed_out) queue_.abandon(*t);
    return s;
  }

  // --- services -------------------------------------------------------------------------------------------------------
  /// What the global error interrupt asks for: recovers the command queue, acknowledges the rest, fails the queue on SFM.
  gerror_report service_gerror() noexcept {
    gerror_report report;
    report.queue = queue_.recover();
    constexpr auto all = static_cast<std::uint32_t>(reg::gerror::mask);
    const std::uint32_t active = queue_.acknowledge(all);
    constexpr auto sfm = static_cast<std::uint32_t>(reg::gerror::sfm_err::mask);
    report.service_failure = (active & sfm) != 0;
    report.others = active & ~sfm;
    if (report.service_failure) queue_.fail();
    return report;
  }
  /// Hands every waiting event record to `on_event(const event_record&)`.
  template <class F>
  event_report service_events(F&& on_event) noexcept {
    return events_.service(static_cast<F&&>(on_event));
  }

  [[nodiscard]] const identity& id() const noexcept { return identity_; }
  [[nodiscard]] queue::command_queue<Env, Backend, Strategy>& commands() noexcept { return queue_; }
  [[nodiscard]] table::stream_table<Env>& streams() noexcept { return streams_; }
  [[nodiscard]] Backend& device() noexcept { return backend_; }
  [[nodiscard]] bool check_invariants() noexcept {
    return queue_.check_invariants() && events_.check_invariants() && tags_.check_invariants();
  }

 private:
  using engine = typename Strategy::template engine<Env, Backend>;
  using events = event_queue<Env, Backend>;
  static constexpr unsigned max_stream_log2 = 20;  // a linear table beyond 64 MiB wants two levels
  static constexpr std::size_t msi_bytes = 64;     // a line of its own

  [[nodiscard]] deadline limit() const noexcept { return deadline::in(Env::now(), config_.limit); }

  [[nodiscard]] status start_parts() noexcept {
    if (const status s = sequence_.quiesce(limit()); !s.ok()) return s;
    if (const status s = tags_.configure(identity_.features.asid_bits, identity_.features.vmid_bits); !s.ok()) return s;
    if (const status s = open_streams(); !s.ok()) return s;
    if (const status s = open_commands(); !s.ok()) return s;
    if (const status s = events_.open(config_.eventq_log2, identity_.eventq_log2_max); !s.ok()) return s;
    if (const status s = sequence_.enable_commands(ring_.bus, config_.cmdq_log2, limit()); !s.ok()) return s;
    const auto send = [this](const array_list& list, deadline d) noexcept { return issue(list, d); };
    if (const status s = bring_up<Env, Backend>::invalidate_everything(identity_.hyp, send, limit()); !s.ok()) return s;
    if (const status s = sequence_.enable_events(limit()); !s.ok()) return s;
    if (const status s = sequence_.set_interrupts(config_.irq_ctrl, limit()); !s.ok()) return s;
    return sequence_.enable_translation(identity_.features.ats, limit());
  }

  [[nodiscard]] status open_streams() noexcept {
    const std::size_t bytes = std::size_t{ste::bytes} << config_.stream_log2;
    stream_memory_ = backend_.allocate_dma(bytes, bytes);
    if (!stream_memory_) return errc::no_memory;
    if (const status s = streams_.configure(stream_memory_, config_.stream_log2); !s.ok()) return s;
    sequence_.set_stream_table(stream_memory_.bus, config_.stream_log2);
    return {};
  }

  [[nodiscard]] status open_commands() noexcept {
    const std::size_t bytes = std::size_t{command_bytes} << config_.cmdq_log2;
    ring_ = backend_.allocate_dma(bytes, bytes < 32 ? 32 : bytes);
    if (!ring_) return errc::no_memory;
    queue::queue_config<Env> q{};
    q.ring = ring_;
    q.log2size = config_.cmdq_log2;
    q.hardware_log2size = identity_.cmdq_log2_max;
    q.prod_offset = reg::cmdq_prod::offset;
    q.cons_offset = reg::cmdq_cons::offset;
    q.gerror_offset = reg::gerror::offset;
    q.gerrorn_offset = reg::gerrorn::offset;
    q.completion = queue::completion_mode::cons_poll;
    if (identity_.sev && config_.allow_sev) q.completion = queue::completion_mode::cons_sev;
    if (identity_.msi && identity_.features.coherent && config_.allow_msi) {
      msi_ = backend_.allocate_dma(msi_bytes, msi_bytes);
      if (!msi_) return errc::no_memory;
      q.msi_word = dma_span<Env>{msi_.cpu, 1, msi_.bus};
      q.completion = queue::completion_mode::msi;
    }
    return queue_.configure(q);
  }

  /// `quiet`: the SMMU acknowledged CR0 = 0. If not it may still read its memory, which is then dropped, not reused.
  void release_all(bool quiet) noexcept {
    events_.close(quiet);
    for (dma_span<Env>* span : {&ring_, &msi_, &stream_memory_}) {
      if (*span && quiet) backend_.release_dma(*span);
      *span = {};
    }
  }

  Backend& backend_;
  smmu_config config_{};
  identity identity_{};
  bring_up<Env, Backend> sequence_;
  queue::command_queue<Env, Backend, Strategy> queue_;
  events events_;
  table::stream_table<Env> streams_{};
  tag_space<Env> tags_{};
  dma_span<Env> ring_{};
  dma_span<Env> msi_{};
  dma_span<Env> stream_memory_{};
  bool started_{};
};

}  // namespace device
SHOOTDOWN_END
