// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <shootdown/device/smmu.hpp>
#include <shootdown/device/stage1_stream.hpp>
#include <shootdown/host/env.hpp>
#include <shootdown/host/fault_env.hpp>
#include <shootdown/invs/domain.hpp>
#include <shootdown/model/machine.hpp>
#include <shootdown/queue/locked.hpp>
#include <shootdown/queue/owner_cas.hpp>
#include <shootdown/range/gather.hpp>
#include <shootdown/table/page_pool.hpp>
#include <shootdown/table/stage1_4k.hpp>

// What the tests of devices and leaks share: one thread with a clock that only its own waiting moves, a backend that logs
// and disturbs, a port that changes commands on their way, and a machine put together from the real parts.
namespace device_test {
using namespace shootdown;

/// One thread. Every pause takes a nanosecond, so a deadline is a number of turns. Contract violations are counted.
struct test_env : host::fault_env<host::env, struct device_test_tag> {
  static inline std::uint64_t clock = 0;
  static instant now() noexcept { return instant{clock}; }
  static void relax() noexcept { ++clock; }
  static void wait_event(deadline) noexcept { ++clock; }
};
static_assert(environment<test_env>);

inline deadline in_turns(std::uint64_t n) { return deadline::in(test_env::now(), nanoseconds{n}); }

/// One access of the driver to a register.
struct register_access {
  bool write{};
  std::uint32_t offset{};
  std::uint64_t value{};
};

/// A model SMMU's backend that logs register accesses, calls the test before each, answers reads with other values and
/// lets allocations fail.
template <class Env>
class recording_backend {
 public:
  explicit recording_backend(model::backend<Env>& b) : inner_{b} {}

  std::uint32_t read32(std::uint32_t o) noexcept {
    enter();
    std::uint32_t v = inner_.read32(o);
    if (const auto it = answers.find(o); it != answers.end()) v = it->second;
    if (const auto it = flips.find(o); it != flips.end()) v ^= it->second;
    note({false, o, v});
    return v;
  }
  std::uint64_t read64(std::uint32_t o) noexcept {
    enter();
    const std::uint64_t v = inner_.read64(o);
    note({false, o, v});
    return v;
  }
  void write32(std::uint32_t o, std::uint32_t v) noexcept {
    enter();
    note({true, o, v});
    inner_.write32(o, v);
  }
  void write64(std::uint32_t o, std::uint64_t v) noexcept {
    enter();
    note({true, o, v});
    inner_.write64(o, v);
  }
  void idle(deadline d) noexcept {
    ++idles;
    inner_.idle(d);
  }
  dma_span<Env> allocate_dma(std::size_t bytes, std::size_t align) noexcept {
    ++allocations;
    if (allocations_left == 0) return {};
    if (allocations_left > 0) --allocations_left;
    const dma_span<Env> s = inner_.allocate_dma(bytes, align);
    if (s) live[raw(s.bus)] = s.words;
    return s;
  }
  void release_dma(dma_span<Env> s) noexcept {
    EXPECT_EQ(live.erase(raw(s.bus)), 1u) << "given back what was not taken";
    inner_.release_dma(s);
  }

  /// Called before every register access; the access itself has not happened yet. Not called again from within.
  std::function<void()> before{};
  std::map<std::uint32_t, std::uint32_t> answers{};  ///< read32 of this offset yields this
  std::map<std::uint32_t, std::uint32_t> flips{};    ///< read32 of this offset yields the register with these bits toggled
  int allocations_left{-1};                          ///< negative: no limit
  unsigned allocations{};
  std::map<std::uint64_t, std::size_t> live{};  ///< bus address -> words
  std::vector<register_access> log{};
  bool logging{true};
  std::uint64_t accesses{};
  std::uint64_t idles{};

  [[nodiscard]] bool wrote_anything() const {
    for (const register_access& a : log) {
      if (a.write) return true;
    }
    return false;
  }
  [[nodiscard]] std::vector<register_access> writes_to(std::uint32_t offset) const {
    std::vector<register_access> found;
    for (const register_access& a : log) {
      if (a.write && a.offset == offset) found.push_back(a);
    }
    return found;
  }

 private:
  void enter() noexcept {
    ++accesses;
    if (!before || inside_) return;
    inside_ = true;
    before();
    inside_ = false;
  }
  void note(const register_access& a) noexcept {
    if (logging) log.push_back(a);
  }
  model::backend<Env>& inner_;
  bool inside_{};
};

/// A list whose commands the test changes on their way into the ring.
template <class List>
class tampered_list {
 public:
  tampered_list(const List& l, const std::function<command(command)>& f) noexcept : list_{&l}, change_{&f} {}
  [[nodiscard]] std::uint32_t size() const noexcept { return list_->size(); }
  [[nodiscard]] completion closing() const noexcept { return list_->closing(); }
  template <class Sink>
  void emit(std::uint32_t first, std::uint32_t n, Sink&& sink) const noexcept {
    const auto pass = [&](command c) noexcept { sink(*change_ ? (*change_)(c) : c); };
    list_->emit(first, n, pass);
  }

 private:
  const List* list_;
  const std::function<command(command)>* change_;
};

/// The port of an SMMU, with somebody on the line. Only what a domain sends goes through here; the SMMU's own commands do not.
template <class Smmu>
class meddling_port {
 public:
  explicit meddling_port(Smmu& s) noexcept : inner_{s} {}
  template <command_list List>
  [[nodiscard]] result<ticket> submit(const List& l, deadline d) noexcept {
    return inner_.submit(tampered_list<List>{l, tamper}, d);
  }
  template <command_list List>
  [[nodiscard]] result<ticket> try_submit(const List& l) noexcept {
    return inner_.try_submit(tampered_list<List>{l, tamper});
  }
  [[nodiscard]] status poll(ticket& t) noexcept { return inner_.poll(t); }
  [[nodiscard]] status wait(ticket& t, deadline d) noexcept { return inner_.wait(t, d); }
  void abandon(ticket& t) noexcept { inner_.abandon(t); }
  void idle(deadline d) noexcept { inner_.idle(d); }
  [[nodiscard]] const port_features& features() const noexcept { return inner_.features(); }
  [[nodiscard]] instance_id instance() const noexcept { return inner_.instance(); }
  [[nodiscard]] std::uint32_t max_list() const noexcept { return inner_.max_list(); }
  [[nodiscard]] device::tag_space<test_env>& tags() noexcept { return inner_.tags(); }

  std::function<command(command)> tamper{};

 private:
  Smmu& inner_;
};

struct world_options {
  model::machine_options machine{};
  device::smmu_config smmu{.instance = {}, .limit = nanoseconds{5000}};
  std::size_t table_pages{64};
};

/// Small and quick to make: 1 MiB of memory, 1024 data frames.
inline world_options small_world() {
  world_options o;
  o.machine.memory_bytes = std::size_t{1} << 20;
  o.machine.data_frames = 1024;
  o.smmu.cmdq_log2 = 6;
  o.smmu.eventq_log2 = 4;
  o.smmu.stream_log2 = 5;
  return o;
}

/// A machine, an SMMU driven through the recording backend, address spaces and devices, all from the real parts.
template <class Strategy>
class world {
 public:
  using env = test_env;
  using backend_type = recording_backend<env>;
  using smmu_type = device::smmu<env, backend_type, Strategy>;
  using port_type = meddling_port<smmu_type>;
  static_assert(command_port<smmu_type> && command_port<port_type>);
  using domain_type = domain<env, port_type>;
  using pool_type = table::page_pool<env, model::table_hooks<env>>;
  using table_type = table::stage1_4k<env, pool_type>;

  struct space {
    space(world& w, model::space_id n, const table::stage1_config& c, cover_policy policy)
        : id{n}, domain{options_of(n, c, policy)}, table{*w.pool} {
      EXPECT_TRUE(table.create(c).ok());
    }
    static domain_options options_of(model::space_id n, const table::stage1_config& c, cover_policy policy) {
      domain_options o;
      o.number = raw(n);
      o.address_bits = c.input_bits;
      o.policy = policy;
      return o;
    }
    [[nodiscard]] device::stage1_space translation() const {
      device::stage1_space s;
      s.root = table.root();
      s.input_bits = table.address_bits();
      return s;
    }
    model::space_id id;
    domain_type domain;
    table_type table;
  };
  /// A stream and its membership.
  struct device_type {
    device_type(world& w, std::uint32_t n) : owner{w}, sid{n}, stream{w.smmu, sid} {}
    [[nodiscard]] status attach(space& s) {
      EXPECT_TRUE(owner.machine.oracle().bind(sid, s.id).ok());
      at = &s;
      return s.domain.attach(attachment, {owner.port, {&sid, 1}}, stream.writer(s.translation()), deadline::never());
    }
    [[nodiscard]] status detach() { return at->domain.detach(attachment, stream.writer(), deadline::never()); }
    [[nodiscard]] status replace(space& to) {
      EXPECT_TRUE(owner.machine.oracle().bind(sid, at->id, to.id).ok());
      const status s = at->domain.replace(attachment, to.domain, stream.writer(to.translation()), deadline::never());
      if (s.ok()) at = &to;
      EXPECT_TRUE(owner.machine.oracle().bind(sid, at->id).ok());
      return s;
    }
    world& owner;
    stream_id sid;
    device::stage1_stream<smmu_type> stream;
    typename domain_type::attachment_t attachment{};
    space* at{};
  };

  explicit world(const world_options& o = small_world()) : options{o}, machine{o.machine}, regs{machine.backend()} {
    regs.logging = false;
    table_memory = machine.backend().allocate_dma(o.table_pages * 4096, 4096);
    pool = std::make_unique<pool_type>(table_memory, std::span{meta}, machine.hooks());
  }
  ~world() {
    regs.before = nullptr;
    port.tamper = nullptr;
    for (auto& d : devices) {
      if (d->attachment.attached()) {
        EXPECT_EQ(d->detach(), status{});
      }
    }
    env::rcu::drain();
    if (smmu.started()) {
      EXPECT_EQ(smmu.stop(), status{});
    }
    for (auto& d : devices) d->stream.close();
    devices.clear();
    spaces.clear();
    EXPECT_TRUE(machine.check_invariants());
    EXPECT_TRUE(smmu.check_invariants());
  }
  world(const world&) = delete;
  world& operator=(const world&) = delete;

  [[nodiscard]] status start() { return smmu.start(options.smmu); }

  space& add_space(const table::stage1_config& c = {}, cover_policy policy = cover_policy::exact) {
    spaces.push_back(std::make_unique<space>(*this, model::space_id{static_cast<std::uint16_t>(spaces.size() + 1)}, c, policy));
    return *spaces.back();
  }
  device_type& add_device(std::uint32_t sid, space* s = nullptr) {
    devices.push_back(std::make_unique<device_type>(*this, sid));
    EXPECT_EQ(devices.back()->stream.open(), status{});
    if (s != nullptr) {
      EXPECT_EQ(devices.back()->attach(*s), status{});
    }
    return *devices.back();
  }

  [[nodiscard]] bus_addr frame(std::uint64_t n) const { return bus_addr{raw(options.machine.data_base) + n * 4096}; }
  void map(space& s, std::uint64_t x, std::uint64_t first_frame, std::uint64_t pages) {
    EXPECT_EQ(machine.oracle().claim(frame(first_frame), pages, s.id, iova{x}), status{});
    EXPECT_EQ(s.table.map(iova{x}, frame(first_frame), pages * 4096, {.write = true}), status{});
  }
  /// Table edit only.
  void clear(space& s, std::uint64_t x, std::uint64_t pages, gather<>& g) { EXPECT_EQ(s.table.unmap(iova{x}, pages * 4096, g), status{}); }
  void release_frames(space& s, std::uint64_t x, std::uint64_t first_frame, std::uint64_t pages) {
    EXPECT_EQ(machine.oracle().release(frame(first_frame), pages, s.id, iova{x}), status{});
  }
  /// The whole life of an unmap, in the right order.
  void unmap(space& s, std::uint64_t x, std::uint64_t first_frame, std::uint64_t pages) {
    gather<> g;
    clear(s, x, pages, g);
    EXPECT_EQ(s.domain.invalidate(g, deadline::never()), status{});
    s.table.release(g);
    release_frames(s, x, first_frame, pages);
  }

  /// The device writes now. ok: it reached something, legal or not; not_present: refused.
  [[nodiscard]] status write(std::uint32_t sid, std::uint64_t x) {
    const auto done = machine.smmu().dma(stream_id{sid}, iova{x}, model::request::store(), 0, env::now());
    return done.ok() ? status{} : done.state();
  }
  [[nodiscard]] std::uint64_t leaks() const { return machine.leaks(); }
  [[nodiscard]] std::vector<model::leak_kind> kinds() {
    std::vector<model::leak_record> r(model::oracle<env>::max_records);
    r.resize(machine.oracle().records(r));
    std::vector<model::leak_kind> k;
    for (const auto& one : r) k.push_back(one.kind);
    return k;
  }
  [[nodiscard]] std::size_t free_bytes() { return machine.memory().free_bytes(); }

  world_options options;
  model::machine<env> machine;
  backend_type regs;
  smmu_type smmu{regs};
  port_type port{smmu};
  dma_span<env> table_memory{};
  std::vector<table::page_meta> meta = std::vector<table::page_meta>(options.table_pages);
  std::unique_ptr<pool_type> pool;
  std::vector<std::unique_ptr<space>> spaces;
  std::vector<std::unique_ptr<device_type>> devices;
};

/// Clock at zero, one registered thread, and no contract violation at the end.
class rig_test : public ::testing::Test {
 protected:
  void SetUp() override {
    test_env::clock = 0;
    test_env::reset();
  }
  void TearDown() override {
    test_env::rcu::drain();
    EXPECT_EQ(test_env::failures(), 0u) << test_env::first_failure();
    EXPECT_EQ(test_env::live(), 0) << "memory of the environment was not given back";
  }
  host::thread_scope thread_{};
};

template <class Strategy>
class strategy_test : public rig_test {};
using strategies = ::testing::Types<queue::locked, queue::owner_cas>;
struct strategy_name {
  template <class S>
  static std::string GetName(int) {
    return S::name;
  }
};

}  // namespace device_test
