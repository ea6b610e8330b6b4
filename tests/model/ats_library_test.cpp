// SPDX-License-Identifier: MIT
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "device/rig.hpp"

// Device caches through the real library: an unmap and a detach in which one step is left out must be seen to leak, and the
// same without the mistake must not.
namespace {
using namespace device_test;
namespace reg = shootdown::reg;

template <class Strategy>
struct device_caches : strategy_test<Strategy> {};
TYPED_TEST_SUITE(device_caches, strategies, strategy_name);

constexpr std::uint64_t at = 0x4000'0000;
const status ok{};

/// Switches the endpoint's ATS, and may be told to do it wrongly.
struct ats_switch {
  model::smmu<test_env>* smmu{};
  stream_id sid{};
  std::function<void(bool)> before{};
  status ats(bool on) noexcept {
    if (before) before(on);
    return smmu->enable_ats(sid, on);
  }
};

/// One space, one device with an ATC that is not yet attached.
template <class Strategy>
struct scene : world<Strategy> {
  static world_options options_of() {
    world_options o = small_world();
    o.machine.smmu.id.idr0 = static_cast<std::uint32_t>(reg::idr0::ats::set(o.machine.smmu.id.idr0, true));
    return o;
  }
  explicit scene(model::endpoint_options e = {.enabled = false}) : world<Strategy>{options_of()} {
    EXPECT_EQ(this->start(), ok);
    hw().add_endpoint(sid, e);
    toggle.smmu = &hw();
    s = &this->add_space();
    d = &this->add_device(1);
    EXPECT_TRUE(this->machine.oracle().bind(sid, s->id).ok());
  }
  ~scene() {
    this->port.tamper = nullptr;
    toggle.before = nullptr;
    if (member.attached()) {
      EXPECT_EQ(detach(), ok);
    }
  }
  model::smmu<test_env>& hw() { return this->machine.smmu(); }
  status attach(std::uint8_t stu = 0) {
    static_cast<void>(hw().admit(sid));
    return s->domain.attach(member, {this->port, {&sid, 1}, {}, true, stu}, d->stream.writer(s->translation(), toggle), deadline::never());
  }
  status detach() { return s->domain.detach(member, d->stream.writer(s->translation(), toggle), deadline::never()); }
  bool use(std::uint64_t x = at) { return hw().ats_dma(sid, iova{x}, model::request::store(), 0, test_env::now()).ok(); }
  model::endpoint_counters counters() { return hw().counters_of(sid); }
  /// Maps a page, lets the device cache it, unmaps it, and lets the device try again.
  void unmap_behind_the_device() {
    this->map(*s, at, 1, 1);
    EXPECT_TRUE(use());
    EXPECT_GT(hw().cached_by(sid), 0u);
    this->unmap(*s, at, 1, 1);
    (void)use();
  }
  stream_id sid{1};
  ats_switch toggle{nullptr, stream_id{1}};
  typename world<Strategy>::space* s{};
  typename world<Strategy>::device_type* d{};
  typename world<Strategy>::domain_type::attachment_t member{};
};

/// Turns commands of one opcode into a prefetch hint, which does nothing: all of them, or the n-th of each list (from 1).
std::function<command(command)> without(opcode op, unsigned* seen = nullptr, unsigned n = 0) {
  return [=](command c) {
    if (opcode_of(c) != op) return c;
    if (seen != nullptr && ++*seen != n) return c;
    return cmd::prefetch_config{.sid = stream_id{1}}.encode();
  };
}
}  // namespace

TYPED_TEST(device_caches, an_unmap_reaches_them) {
  scene<TypeParam> m;
  ASSERT_EQ(m.attach(), ok);
  for (unsigned i = 0; i != 20; ++i) m.unmap_behind_the_device();
  EXPECT_EQ(m.leaks(), 0u);
  EXPECT_GE(m.counters().dropped, 20u);
  EXPECT_EQ(m.counters().refills, 0u);
  EXPECT_EQ(m.counters().late_atc_invs, 0u);
}
TYPED_TEST(device_caches, the_atc_invalidation_left_out_leaks) {
  scene<TypeParam> m;
  ASSERT_EQ(m.attach(), ok);
  m.port.tamper = without(opcode::atc_inv);
  m.unmap_behind_the_device();
  EXPECT_GT(m.leaks(), 0u);
}
TYPED_TEST(device_caches, the_sync_between_left_out_leaks_through_a_refill) {
  scene<TypeParam> m;
  ASSERT_EQ(m.attach(), ok);
  unsigned syncs = 0;
  m.port.tamper = without(opcode::sync, &syncs, 1);  // the one inside the list; the closing one is not the list's
  m.unmap_behind_the_device();
  EXPECT_EQ(syncs, 1u);
  EXPECT_EQ(m.counters().refills, 1u);
  EXPECT_GT(m.leaks(), 0u);
}
TYPED_TEST(device_caches, the_tlb_invalidation_left_out_leaks_through_a_refill) {
  scene<TypeParam> m;
  ASSERT_EQ(m.attach(), ok);
  m.port.tamper = without(opcode::tlbi_nh_va);
  m.unmap_behind_the_device();
  EXPECT_GT(m.leaks(), 0u);
}
TYPED_TEST(device_caches, a_unit_that_the_domain_does_not_know_of_leaks) {
  for (const std::uint8_t told : {std::uint8_t{0}, std::uint8_t{2}}) {
    scene<TypeParam> m{{.stu = 2, .enabled = false}};
    ASSERT_EQ(m.attach(told), ok);
    m.unmap_behind_the_device();
    EXPECT_EQ(m.leaks() == 0, told == 2);
    EXPECT_EQ(m.counters().unsupported == 0, told == 2);
  }
}
TYPED_TEST(device_caches, a_detach_wipes_them) {
  for (const bool right : {true, false}) {
    scene<TypeParam> m;
    ASSERT_EQ(m.attach(), ok);
    m.map(*m.s, at, 1, 1);
    EXPECT_TRUE(m.use());
    if (!right) m.port.tamper = without(opcode::atc_inv);
    EXPECT_EQ(m.detach(), ok);
    EXPECT_EQ(m.hw().cached_by(m.sid), right ? 0u : 1u);
    EXPECT_FALSE(m.use()) << "its ATS is off";
    m.port.tamper = nullptr;
    m.unmap(*m.s, at, 1, 1);
    EXPECT_EQ(m.attach(), ok);
    EXPECT_FALSE(m.use());
    EXPECT_EQ(m.leaks(), 0u);
    EXPECT_EQ(m.counters().late_atc_invs, 0u);
  }
}
TYPED_TEST(device_caches, a_detached_device_that_ignores_it_is_stopped_by_its_ste) {
  for (const bool checked : {true, false}) {
    scene<TypeParam> m;
    if (!checked) {  // as if bring-up had forgotten CR0.ATSCHK
      m.regs.write32(reg::cr0::offset, m.regs.read32(reg::cr0::offset) & ~static_cast<std::uint32_t>(reg::cr0::atschk::mask));
      m.smmu.idle({});
    }
    ASSERT_EQ(m.attach(), ok);
    m.map(*m.s, at, 1, 1);
    EXPECT_TRUE(m.use());
    m.port.tamper = without(opcode::atc_inv);  // and the wipe does not reach it
    bool reached = true;
    m.toggle.before = [&](bool on) {
      if (!on) reached = m.use();  // the last moment before its ATS goes off
    };
    EXPECT_EQ(m.detach(), ok);
    EXPECT_EQ(reached, !checked);
    m.port.tamper = nullptr;
    m.unmap(*m.s, at, 1, 1);
    EXPECT_EQ(m.leaks(), 0u) << "it was mapped still";
  }
}
TYPED_TEST(device_caches, ats_switched_off_ahead_of_the_detach_meets_late_invalidations) {
  for (const bool right : {true, false}) {
    scene<TypeParam> m;
    ASSERT_EQ(m.attach(), ok);
    m.map(*m.s, at, 1, 1);
    EXPECT_TRUE(m.use());
    if (!right) {
      EXPECT_EQ(m.hw().enable_ats(m.sid, false), ok);
    }
    m.unmap(*m.s, at, 1, 1);
    EXPECT_EQ(m.detach(), ok);
    m.map(*m.s, at, 1, 1);
    m.unmap(*m.s, at, 1, 1);
    EXPECT_EQ(m.counters().late_atc_invs == 0, right);
    EXPECT_EQ(m.leaks(), 0u);
  }
}
TYPED_TEST(device_caches, an_asynchronous_unmap_that_is_not_finished_has_not_freed_anything) {
  for (const bool right : {true, false}) {
    scene<TypeParam> m;
    ASSERT_EQ(m.attach(), ok);
    m.map(*m.s, at, 1, 1);
    EXPECT_TRUE(m.use());
    gather<> g;
    m.clear(*m.s, at, 1, g);
    m.hw().slow_syncs(nanoseconds{50});
    auto i = m.s->domain.begin(g.pieces(), deadline::never());
    if (right) {
      EXPECT_EQ(m.s->domain.finish(i, deadline::never()), ok);
    }
    m.release_frames(*m.s, at, 1, 1);
    (void)m.use();
    EXPECT_EQ(m.s->domain.finish(i, deadline::never()), ok);
    m.s->table.release(g);
    m.hw().slow_syncs(nanoseconds{0});
    EXPECT_EQ(m.leaks() == 0, right);
  }
}
