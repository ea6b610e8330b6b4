// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include <shootdown/arch/commands.hpp>
#include <shootdown/device/smmu.hpp>
#include <shootdown/device/stage1_stream.hpp>
#include <shootdown/env/sanitizer.hpp>
#include <shootdown/env/spinlock.hpp>
#include <shootdown/invs/domain.hpp>
#include <shootdown/model/machine.hpp>
#include <shootdown/queue/locked.hpp>
#include <shootdown/queue/owner_cas.hpp>
#include <shootdown/range/gather.hpp>
#include <shootdown/table/editor.hpp>
#include <shootdown/table/format.hpp>
#include <shootdown/table/page_pool.hpp>

#include "scenarios/scenario.hpp"

// The whole stack in a trial: tables, domains, streams, tags, queues and the device class of the library over the model SMMU,
// which is an agent of the trial, with devices that use what they were once given, and the DMA oracle as the judge.
namespace scenarios {

/// What a twin of a machine scenario leaves out.
struct machine_omissions {
  bool wait{};                  ///< frames and tables go back before the invalidation has completed
  bool invalidation{};          ///< an unmap asks nobody
  bool table_levels{};          ///< the pieces do not say that a table was unlinked: LEAF = 1
  bool outcome{};               ///< frames and tables go back although the invalidation timed out
  bool config{};                ///< the SMMU is not told of a changed STE or CD
  bool entry_first{};           ///< the entry is written before the domain is asked
  bool impatient{};             ///< a stream counts as detached before its detach has returned
  shootdown::opcode command{};  ///< commands of this kind are lost
};

/// The device class as a command_port whose callers may be delayed, and that can lose a kind of command, or forget to say that an
/// entry has changed.
template <class Env, class Strategy, machine_omissions Out>
class machine_port : public shootdown::device::smmu<Env, typename shootdown::model::machine<Env>::backend_type, Strategy> {
  using base = shootdown::device::smmu<Env, typename shootdown::model::machine<Env>::backend_type, Strategy>;
  static constexpr bool loses = Out.command != shootdown::opcode{};

  /// The list with a harmless command for each lost one.
  template <shootdown::command_list L>
  struct lossy {
    const L& list;
    [[nodiscard]] std::uint32_t size() const noexcept { return list.size(); }
    [[nodiscard]] shootdown::completion closing() const noexcept { return list.closing(); }
    template <class Sink>
    void emit(std::uint32_t first, std::uint32_t n, Sink&& sink) const noexcept {
      list.emit(first, n, [&](shootdown::command c) {
        sink(shootdown::opcode_of(c) == Out.command ? shootdown::cmd::prefetch_config{}.encode() : c);
      });
    }
  };

 public:
  using base::base;
  template <shootdown::command_list L>
  [[nodiscard]] shootdown::result<shootdown::ticket> submit(const L& list, shootdown::deadline d) noexcept {
    nap();
    if constexpr (loses) return base::submit(lossy<L>{list}, d);
    return base::submit(list, d);
  }
  template <shootdown::command_list L>
  [[nodiscard]] shootdown::result<shootdown::ticket> try_submit(const L& list) noexcept {
    nap();
    if constexpr (loses) return base::try_submit(lossy<L>{list});
    return base::try_submit(list);
  }
  [[nodiscard]] shootdown::status write_stream(shootdown::stream_id sid, const shootdown::ste& e) noexcept {
    if constexpr (Out.config) return this->streams().write(sid, e, []() noexcept { return shootdown::status{}; });
    return base::write_stream(sid, e);
  }
  [[nodiscard]] shootdown::status invalidate_context(shootdown::stream_id sid, shootdown::substream_id ssid) noexcept {
    if constexpr (Out.config) return {};
    return base::invalidate_context(sid, ssid);
  }

 private:
  /// A CPU may lose its processor for long between reading the array and asking for room: one answer instead of many.
  static void nap() noexcept {
    trial* const t = trial::current();
    if (t == nullptr || t->choose(2) == 0) return;
    t->note("-- naps");
    const auto end = shootdown::deadline::in(Env::now(), shootdown::nanoseconds{20'000});
    while (!end.passed(Env::now())) Env::wait_event(end);
  }
};

struct machine_setup {
  unsigned cmdq_log2{6};
  bool by_message{};  ///< completion by MSI, where the world is coherent
  bool ats{};         ///< the SMMU and all devices can
};

/// Two address spaces, three devices, one SMMU, in 64 KiB. A page is an IOVA page number; a page beyond 512 lies in a table of its own.
template <class Env, machine_omissions Out = machine_omissions{}, class Strategy = shootdown::queue::owner_cas>
struct machine_world {
  static constexpr unsigned spaces = 2, streams = 3, frames = 16, table_pages = 12;
  static constexpr unsigned none = ~0u;
  static constexpr unsigned far = 512;  ///< the first page of a second last-level table

  using machine_type = shootdown::model::machine<Env>;
  using port_type = machine_port<Env, Strategy, Out>;
  using domain_type = shootdown::domain<Env, port_type>;
  using pool_type = shootdown::table::page_pool<Env, shootdown::model::table_hooks<Env>>;
  using editor_type = shootdown::table::editor<Env, pool_type, shootdown::table::stage1_k4>;
  using stream_type = shootdown::device::stage1_stream<port_type>;
  using gather_type = shootdown::gather<4>;

  struct space {
    explicit space(pool_type& p, unsigned n) : table{p}, domain{options(n)} {}
    editor_type table;
    domain_type domain;
    shootdown::spinlock<Env> lock{};      // table edits; a handler edits, too
    std::map<unsigned, unsigned> mapped;  // page -> frame, as the owner knows it
    static constexpr shootdown::domain_options options(unsigned n) {
      shootdown::domain_options o;
      o.number = n + 1;
      o.address_bits = 30;
      return o;
    }
  };
  /// The ATS enable of a device.
  struct endpoint {
    machine_world& world;
    shootdown::stream_id sid;
    bool on{};
    [[nodiscard]] bool is_on() const noexcept {
      const shootdown::tsan_ignore device_side;
      return on;
    }
    [[nodiscard]] shootdown::status ats(bool wanted) noexcept {
      {
        const shootdown::tsan_ignore device_side;
        on = wanted;
      }
      const shootdown::status s = world.machine.smmu().enable_ats(sid, wanted);
      return wanted ? s : shootdown::status{};
    }
  };
  struct stream {
    stream(machine_world& w, unsigned n) : sid{n}, entry{w.port, sid}, device{w, sid} {}
    shootdown::stream_id sid;
    stream_type entry;
    endpoint device;
    typename domain_type::attachment_t at{};
    unsigned of{none};  // space
  };

  explicit machine_world(trial& owner, const machine_setup& s = {})
      : t{owner}, setup{s}, machine{options(owner, s)}, port{machine.backend()} {
    using namespace shootdown;
    table_memory = machine.backend().allocate_dma(std::size_t{table_pages} * 4096, 4096);
    pool.emplace_back(table_memory, std::span{meta}, machine.hooks());
    device::smmu_config c;
    c.cmdq_log2 = s.cmdq_log2;
    c.eventq_log2 = 2;
    c.stream_log2 = 2;
    c.allow_msi = s.by_message;
    c.allow_sev = false;
    check(port.start(c), "the SMMU did not start");
    for (unsigned i = 0; i != spaces; ++i) {
      auto& it = space_list.emplace_back(pool[0], i);
      check(it.table.create({.input_bits = 30, .output_bits = 48, .blocks_2m = false, .blocks_1g = false}), "no table");
    }
    for (unsigned i = 0; i != streams; ++i) {
      auto& it = stream_list.emplace_back(*this, i);
      check(it.entry.open(), "no context descriptors");
      if (s.ats) machine.smmu().add_endpoint(it.sid, {.enabled = false});
    }
    t.name(table_memory.cpu, std::size_t{table_pages} * 4096, "pt");
    t.name(machine.memory().cpu(machine.memory().base()), machine.memory().bytes(), "mem");
  }

  void run_smmu() {
    t.agent("smmu", [this] { return machine.smmu().advance_commands(Env::now(), 1); });
  }

  // What CPUs do.

  void map(unsigned s, unsigned page, unsigned frame) {
    check(machine.oracle().claim(bus(frame), 1, id(s), at(page)), "a frame that has an owner was mapped");
    {
      const shootdown::tsan_ignore notes;
      space_list[s].mapped[page] = frame;
      seen.insert(page);
    }
    const section edit{space_list[s]};
    check(space_list[s].table.map(at(page), bus(frame), 4096, {.write = true}), "a map failed");
  }
  /// The whole life of an unmap. False: it timed out, and nothing was given back; again() ends it.
  bool unmap(unsigned s, unsigned page, shootdown::deadline d = shootdown::deadline::never()) {
    gather_type g;
    remove(s, page, g);
    if constexpr (Out.wait) {
      auto i = space_list[s].domain.begin(g.pieces(), d);
      give_back(s, page, g);
      check(space_list[s].domain.finish(i, d), "an invalidation failed");
      return true;
    }
    return ask(s, page, g, d);
  }
  void remove(unsigned s, unsigned page, gather_type& g) {
    const section edit{space_list[s]};
    check(space_list[s].table.unmap(at(page), 4096, g), "an unmap failed");
  }
  bool ask(unsigned s, unsigned page, gather_type& g, shootdown::deadline d) {
    using namespace shootdown;
    if constexpr (!Out.invalidation) {
      std::array<range_piece, 4> pieces{};
      std::size_t n = 0;
      for (const range_piece& p : g.pieces()) {
        pieces[n] = p;
        if (Out.table_levels) pieces[n].freed_levels = 0;
        ++n;
      }
      const status done = space_list[s].domain.invalidate(std::span{pieces}.first(n), d);
      if (done.code() == errc::timed_out && !Out.outcome) return false;
      t.require(done.ok() || Out.outcome, "an invalidation failed");
    }
    give_back(s, page, g);
    return true;
  }
  void give_back(unsigned s, unsigned page, gather_type& g) {
    const section edit{space_list[s]};
    space_list[s].table.release(g);
    const shootdown::tsan_ignore notes;
    const unsigned frame = space_list[s].mapped[page];
    space_list[s].mapped.erase(page);
    check(machine.oracle().release(bus(frame), 1, id(s), at(page)), "a frame was released that was not claimed so");
  }

  // Control operations. False: no memory, in a trial in which allocations fail; then nothing has changed.

  bool attach(unsigned n, unsigned s, bool ats = false) {
    stream& it = stream_list[n];
    if (ats) static_cast<void>(machine.smmu().admit(it.sid));
    check(machine.oracle().bind(it.sid, id(s)), "no such stream");
    if constexpr (Out.entry_first) {  // under the tag that the domain is about to get
      const shootdown::install early{
          shootdown::install::action::translate, {shootdown::tag_kind::asid, 1}, shootdown::substream_id{0}, ats, {}};
      check(it.entry.writer(translation(s), it.device).write_entry(early), "an entry could not be written");
    }
    const bool done = settled(space_list[s].domain.attach(it.at, member(n, ats), it.entry.writer(translation(s), it.device), never()),
                              "an attach failed");
    if (!done) check(machine.oracle().bind(it.sid, shootdown::model::space_id::none), "no such stream");
    if (done) it.of = s;
    return done;
  }
  void detach(unsigned n) {
    stream& it = stream_list[n];
    if (Out.impatient) check(machine.oracle().bind(it.sid, shootdown::model::space_id::none), "no such stream");
    check(space_list[it.of].domain.detach(it.at, it.entry.writer({}, it.device), never()), "a detach failed");
    check(machine.oracle().bind(it.sid, shootdown::model::space_id::none), "no such stream");
    it.of = none;
  }
  /// To the other space; both are right while it moves.
  bool replace(unsigned n, unsigned to) {
    stream& it = stream_list[n];
    check(machine.oracle().bind(it.sid, id(it.of), id(to)), "no such stream");
    const bool done =
        settled(space_list[it.of].domain.replace(it.at, space_list[to].domain, it.entry.writer(translation(to), it.device), never()),
                "a replace failed");
    if (done) it.of = to;
    check(machine.oracle().bind(it.sid, id(it.of)), "no such stream");
    return done;
  }
  bool reattach(unsigned n, bool ats) {
    stream& it = stream_list[n];
    if (ats) static_cast<void>(machine.smmu().admit(it.sid));
    return settled(space_list[it.of].domain.reattach(it.at, member(n, ats), it.entry.writer(translation(it.of), it.device), never()),
                   "a reattach failed");
  }

  // What devices do.

  /// One transaction: translation, and in a step of its own the access. It knows nothing of what CPUs do, and no interrupt of the
  /// CPU that lends its flow comes while the device is at it.
  void access(unsigned n, unsigned page) {
    using namespace shootdown;
    const typename Env::irq_guard not_a_cpu{};
    stream& it = stream_list[n];
    auto& hw = machine.smmu();
    const iova x{raw(at(page)) + 8};
    const auto r = model::request::store();
    const auto g = it.device.is_on() ? hw.ats_translate(it.sid, x, r, Env::now()) : hw.translate(it.sid, x, r, Env::now());
    if (!g.ok() || g->t.what != model::outcome::granted) return;
    note_use();
    static_cast<void>(hw.land(g->id, 0, Env::now()));
    expect_no_leak();
  }
  void note_use() noexcept {
    const shootdown::tsan_ignore notes;
    ++granted;
  }
  /// Every device uses every page that anybody ever had.
  void use_everything() {
    for (unsigned n = 0; n != streams; ++n)
      for (const unsigned page : seen) access(n, page);
    expect_no_leak();
  }
  void expect_no_leak() {
    if (machine.leaks() == 0) return;
    std::array<model_record, 1> first{};
    std::array<char, 160> text{};
    static_cast<void>(machine.oracle().records(first));
    static_cast<void>(shootdown::model::format(first[0], text));
    t.fail(std::string_view{text.data()});
  }

  /// After the run: nothing leaked, everything is in order, and whatever is left can be taken down to the last frame.
  void finish() {
    use_everything();
    expect_order();
    for (unsigned n = 0; n != streams; ++n)
      if (stream_list[n].of != none) detach(n);
    for (unsigned s = 0; s != spaces; ++s)
      while (!space_list[s].mapped.empty()) static_cast<void>(unmap(s, space_list[s].mapped.begin()->first));
    use_everything();
    expect_order();
    t.require(machine.oracle().owned_frames() == 0, "frames are owned at the end");
    for (auto& s : space_list) check(s.table.destroy(), "a table could not be taken down");
    t.require(machine.oracle().live_tables() == 0 && pool[0].available() == table_pages, "tables were lost");
    for (auto& s : stream_list) s.entry.close();
    check(port.stop(), "the SMMU did not stop");
    const auto c = machine.smmu().counters();
    t.require(c.front.rejected == 0 && c.front.software_errors == 0 && c.front.prod_regressions == 0, "the SMMU was given nonsense");
    t.require(c.engine.unpredictable == 0, "an invalidation was unpredictable");
    t.require(c.engine.ats.late_atc_invs == 0, "a device that has left was asked to invalidate");
  }

  [[nodiscard]] static constexpr shootdown::iova at(unsigned page) noexcept { return shootdown::iova{std::uint64_t{page} << 12}; }
  void check(shootdown::status s, std::string_view what) {
    if (!s.ok()) t.fail(std::string{what} + ": " + shootdown::name(s.code()));
  }
  [[nodiscard]] bool settled(shootdown::status s, std::string_view what) {
    if (s.code() == shootdown::errc::no_memory && t.options().allocation_failures != 0) return false;
    check(s, what);
    return true;
  }
  [[nodiscard]] bool is_free(unsigned frame) noexcept { return machine.oracle().owner(bus(frame)) == shootdown::model::owner_token::free; }

  trial& t;
  machine_setup setup;
  machine_type machine;
  port_type port;
  shootdown::dma_span<Env> table_memory{};
  std::array<shootdown::table::page_meta, table_pages> meta{};
  std::deque<pool_type> pool;  // one
  std::deque<space> space_list;
  std::deque<stream> stream_list;
  std::set<unsigned> seen;  // pages
  unsigned granted{};

 private:
  using model_record = shootdown::model::leak_record;

  /// Edits of one table are serialised; handlers of this CPU stay away.
  struct section {
    explicit section(space& s) : it{s} { it.lock.lock(); }
    ~section() { it.lock.unlock(); }
    section(const section&) = delete;
    section& operator=(const section&) = delete;
    typename Env::irq_guard irqs_off{};
    space& it;
  };

  static shootdown::deadline never() noexcept { return shootdown::deadline::never(); }
  static shootdown::bus_addr bus(unsigned frame) noexcept { return shootdown::bus_addr{(std::uint64_t{1} << 40) + frame * 4096u}; }
  static shootdown::model::space_id id(unsigned s) noexcept { return shootdown::model::space_id{static_cast<std::uint16_t>(s + 1)}; }
  [[nodiscard]] shootdown::device::stage1_space translation(unsigned s) const noexcept {
    return {space_list[s].table.root(), space_list[s].table.address_bits()};
  }
  [[nodiscard]] shootdown::master<port_type> member(unsigned n, bool ats) noexcept {
    return {port, {&stream_list[n].sid, 1}, shootdown::substream_id{0}, ats, 0};
  }
  void expect_order() {
    t.require(machine.check_invariants(), "the model is out of order");
    t.require(port.check_invariants(), "the port is out of order");
    t.require(pool[0].check_invariants(), "the page pool is out of order");
    for (auto& s : space_list) {
      t.require(s.table.check_invariants(), "a table is out of order");
      t.require(s.domain.check_invariants(), "a domain is out of order");
    }
  }
  static shootdown::model::machine_options options(trial& t, const machine_setup& s) {
    using namespace shootdown;
    model::machine_options o{};
    o.memory_bytes = 64 * 1024;
    o.data_frames = frames;
    o.smmu.id = s.ats ? emu::id_registers::model_full() : emu::id_registers::model_default();
    o.smmu.id.idr1 = (o.smmu.id.idr1 & ~0x3fu) | 2u;  // SIDSIZE
    if (t.weak() && !t.options().weak.coherent) o.smmu.id.idr0 &= ~static_cast<std::uint32_t>(reg::idr0::cohacc::mask);
    o.smmu.engine.max_transactions = 16;
    o.smmu.engine.max_pending = 64;
    o.smmu.engine.early_percent = t.choose(2) != 0 ? 50 : 0;  // hardware may act on an invalidation before its SYNC
    return o;
  }
};

}  // namespace scenarios
