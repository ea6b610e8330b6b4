// SPDX-License-Identifier: MIT
#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include <gtest/gtest.h>

#include "device/rig.hpp"

// What the library tells its callers about each fault of the device: the rows of docs/faults.md, one test a row, through the
// real SMMU driver and domains over the model. Whatever the answer, memory that it calls free must be free.
namespace {
using namespace device_test;
namespace reg = shootdown::reg;
using model::endpoint_state;

template <class Strategy>
struct faults : strategy_test<Strategy> {};
TYPED_TEST_SUITE(faults, strategies, strategy_name);

constexpr std::uint64_t at = 0x4000'0000;
constexpr std::uint64_t patience = 3000;
const status ok{};

struct ats_switch {
  model::smmu<test_env>* smmu{};
  stream_id sid{};
  unsigned off{};
  status ats(bool on) noexcept {
    off += !on;
    return smmu->enable_ats(sid, on);
  }
};

/// Two address spaces with a device each, a page of each cached by the SMMU; a third device that is attached when a test says.
template <class Strategy>
struct scene : world<Strategy> {
  using base = world<Strategy>;
  using env = test_env;

  static world_options options_of(bool msi, bool ats) {
    world_options o = small_world();
    o.machine.backend.posted_writes = true;
    o.smmu.allow_msi = msi;
    o.smmu.allow_sev = false;
    if (ats) o.machine.smmu.id.idr0 = static_cast<std::uint32_t>(reg::idr0::ats::set(o.machine.smmu.id.idr0, true));
    return o;
  }
  explicit scene(bool msi = true, bool ats = false) : base{options_of(msi, ats)} {
    EXPECT_EQ(this->start(), ok);
    a = &this->add_space();
    b = &this->add_space();
    first = &this->add_device(1, a);
    second = &this->add_device(2, b);
    third = &this->add_device(3);
    EXPECT_TRUE(this->machine.oracle().bind(stream_id{3}, a->id).ok());
    this->map(*a, at, 1, 1);
    this->map(*b, at, 2, 1);
    EXPECT_EQ(this->write(1, at), ok);
    EXPECT_EQ(this->write(2, at), ok);
  }
  ~scene() {
    if (!broken) return;
    // Nothing can be trusted any more: power it off and on, then let go.
    for (auto& d : this->devices) {
      if (d->attachment.attached()) static_cast<void>(detach(*d));
    }
    hw().vanish(false);
    hw().reset({}, env::now());
    for (auto& s : this->spaces) static_cast<void>(s->domain.forget(this->port));
    if (this->smmu.started()) {
      EXPECT_EQ(this->smmu.stop(), ok);
    }
  }
  model::smmu<test_env>& hw() { return this->machine.smmu(); }
  status attach() {
    third->at = a;
    return a->domain.attach(third->attachment, {this->port, {&third->sid, 1}}, third->stream.writer(a->translation()), in_turns(patience));
  }
  status detach(typename base::device_type& d) {
    auto& from = (&d == second ? b : a)->domain;
    return from.detach(d.attachment, d.stream.writer(), in_turns(patience));
  }
  command flush() { return cmd::tlbi_nh_asid{asid{9}, vmid{0}}.encode(); }

  /// Two unmaps under way when the fault strikes: what each is told. What is told ok is given back and used by the device.
  struct told {
    status mine{}, other{};
  };
  template <class F>
  told unmap_both(F&& strike, std::uint64_t turns = patience) {
    gather<> ga, gb;
    this->clear(*a, at, 1, ga);
    this->clear(*b, at, 1, gb);
    auto ia = a->domain.begin(ga.pieces(), in_turns(turns));
    auto ib = b->domain.begin(gb.pieces(), in_turns(turns));
    strike();
    told t;
    t.mine = a->domain.finish(ia, in_turns(turns));
    t.other = b->domain.finish(ib, in_turns(turns));
    if (!ia.finished()) ia.abandon();
    if (!ib.finished()) ib.abandon();
    settle(*a, 1, 1, ga, t.mine);
    settle(*b, 2, 2, gb, t.other);
    return t;
  }
  /// An unmap of the first space's page that is asked for now.
  status unmap_now(std::uint64_t turns = patience) {
    gather<> g;
    this->clear(*a, at, 1, g);
    const status s = a->domain.invalidate(g, in_turns(turns));
    settle(*a, 1, 1, g, s);
    return s;
  }
  void settle(typename base::space& s, std::uint32_t sid, std::uint64_t frame, gather<>& g, status answer) {
    if (answer.ok()) {
      s.table.release(g);
      this->release_frames(s, at, frame, 1);
    } else {
      kept.push_back({&s, frame});
    }
    (void)this->write(sid, at);
    EXPECT_EQ(this->leaks(), 0u) << "told " << name(answer.code()) << " for space " << raw(s.id);
  }
  /// Unmaps that failed are asked for again, and then it is over.
  void again() {
    for (const auto& [s, frame] : kept) {
      EXPECT_EQ(s->domain.invalidate_all(in_turns(patience)), ok);
      this->release_frames(*s, at, frame, 1);
      (void)this->write(static_cast<std::uint32_t>(frame), at);
      EXPECT_EQ(this->leaks(), 0u);
    }
    kept.clear();
  }
  struct held {
    typename base::space* s;
    std::uint64_t frame;
  };

  typename base::space *a{}, *b{};
  typename base::device_type *first{}, *second{}, *third{};
  std::vector<held> kept;
  bool broken{};
};

#define EXPECT_TOLD(t_, mine_, other_)                        \
  do {                                                        \
    const auto told_ = (t_);                                  \
    EXPECT_STREQ(name(told_.mine.code()), name(errc::mine_)); \
    EXPECT_STREQ(name(told_.other.code()), name(errc::other_)); \
  } while (false)

}  // namespace

TYPED_TEST(faults, cerror_ill_is_told_to_the_owner_of_the_command) {
  for (const bool msi : {true, false}) {
    for (const std::uint64_t n : {0u, 1u}) {  // the TLBI, the SYNC
      scene<TypeParam> m{msi};
      EXPECT_TOLD(m.unmap_both([&] { m.hw().fail_fetch(model::fetch_fault::garbled, n); }), illegal_command, ok);
      EXPECT_EQ(m.smmu.service_gerror().queue, ok) << "the waiter recovered it";
      m.again();
    }
    scene<TypeParam> m{msi};
    EXPECT_TOLD(m.unmap_both([&] {
      m.hw().fail_fetch(model::fetch_fault::garbled, 0);
      for (int i = 0; i != 8; ++i) m.smmu.idle({});
      EXPECT_EQ(m.smmu.service_gerror().queue, status{errc::illegal_command}) << "the service comes first";
    }), illegal_command, ok);
    m.again();
  }
}
TYPED_TEST(faults, cerror_ill_in_an_attach_leaves_nothing_attached_and_in_a_detach_keeps_it_covered) {
  unsigned attaches = 0, detaches = 0;
  for (std::uint64_t n = 0;; ++n) {
    scene<TypeParam> m;
    m.hw().fail_fetch(model::fetch_fault::garbled, n);
    const status s = m.attach();
    m.hw().fail_fetch(model::fetch_fault::none, 0, 0);
    EXPECT_EQ(m.third->attachment.attached(), s.ok());
    EXPECT_TRUE(m.a->domain.check_invariants());
    EXPECT_EQ(m.unmap_now(), ok);
    if (s.ok()) break;
    EXPECT_EQ(s, status{errc::illegal_command}) << n;
    ++attaches;
    EXPECT_EQ(m.attach(), ok);
  }
  for (std::uint64_t n = 0;; ++n) {
    scene<TypeParam> m;
    m.hw().fail_fetch(model::fetch_fault::garbled, n);
    const status s = m.detach(*m.first);
    m.hw().fail_fetch(model::fetch_fault::none, 0, 0);
    EXPECT_FALSE(m.first->attachment.attached());
    EXPECT_TRUE(m.a->domain.check_invariants());
    EXPECT_EQ(m.unmap_now(), ok) << "the SMMU may still translate for it, so it is still invalidated for";
    m.broken = !s.ok();
    if (s.ok()) break;
    EXPECT_EQ(s, status{errc::illegal_command}) << n;
    ++detaches;
  }
  EXPECT_GE(attaches, 2u);
  EXPECT_GE(detaches, 2u);
}

TYPED_TEST(faults, cerror_abt_is_repeated_and_nobody_is_told_unless_it_stays) {
  for (const bool msi : {true, false}) {
    for (const std::uint64_t times : {1u, 7u}) {
      scene<TypeParam> m{msi};
      EXPECT_TOLD(m.unmap_both([&] { m.hw().fail_fetch(model::fetch_fault::aborted, 1, times); }), ok, ok);
    }
    scene<TypeParam> m{msi};
    m.regs.before = [] { ++test_env::clock; };  // a device that is busy failing lets time pass too
    EXPECT_TOLD(m.unmap_both([&] { m.hw().fail_fetch(model::fetch_fault::aborted, 0, ~std::uint64_t{0}); }, 200), timed_out, timed_out);
    EXPECT_EQ(m.attach(), status{errc::timed_out});
    EXPECT_EQ(m.detach(*m.second), status{errc::timed_out});
    EXPECT_EQ(m.smmu.service_gerror().queue, status{errc::fetch_aborted});
    m.hw().fail_fetch(model::fetch_fault::none, 0, 0);
    static_cast<void>(m.smmu.service_gerror());
    m.again();
    m.broken = true;
  }
}

TYPED_TEST(faults, a_dropped_message_is_found_through_cons) {
  scene<TypeParam> m;
  m.hw().set_front_options({.drop_message = true});
  EXPECT_TOLD(m.unmap_both([] {}), ok, ok);
  EXPECT_EQ(m.attach(), ok);
  EXPECT_EQ(m.detach(*m.third), ok);
  EXPECT_EQ(m.smmu.service_gerror().others, static_cast<std::uint32_t>(reg::gerror::msi_cmdq_abt_err::mask));
}

TYPED_TEST(faults, a_message_of_64_bits_does_no_harm) {
  scene<TypeParam> m;
  m.hw().set_front_options({.wide_message = true});
  EXPECT_TOLD(m.unmap_both([] {}), ok, ok);
  for (unsigned i = 0; i != 200; ++i) ASSERT_EQ(m.smmu.issue(m.flush()), ok) << "slots and words are reused";
  EXPECT_EQ(m.attach(), ok);
  EXPECT_EQ(m.smmu.service_gerror().others, 0u);
}

TYPED_TEST(faults, a_stuck_cons_times_out_where_nothing_else_tells) {
  {
    scene<TypeParam> m{false};
    m.hw().freeze_cons(true);
    EXPECT_TOLD(m.unmap_both([] {}, 300), timed_out, timed_out);
    EXPECT_EQ(m.attach(), status{errc::timed_out});
    EXPECT_EQ(m.detach(*m.second), status{errc::timed_out});
    std::vector<ticket> sent;
    const command c = m.flush();
    status s;
    while (s.ok() && sent.size() != 100) {
      auto t = m.smmu.submit(array_list{&c, 1}, in_turns(300));
      s = t.state();
      if (t.ok()) sent.push_back(*t);
    }
    EXPECT_EQ(s, status{errc::timed_out}) << "no room";
    m.hw().freeze_cons(false);
    for (ticket& t : sent) EXPECT_EQ(m.smmu.wait(t, in_turns(300)), ok);
    m.again();
    m.broken = true;  // the attach that failed left its stream in doubt
  }
  scene<TypeParam> m{true};
  m.hw().freeze_cons(true);
  EXPECT_TOLD(m.unmap_both([] {}), ok, ok);
  m.hw().freeze_cons(false);
  EXPECT_EQ(m.smmu.issue(m.flush()), ok);
}

TYPED_TEST(faults, a_slow_sync_times_out_and_can_be_waited_for_again) {
  for (const bool msi : {true, false}) {
    scene<TypeParam> m{msi};
    m.hw().slow_syncs(nanoseconds{1000});
    EXPECT_TOLD(m.unmap_both([] {}), ok, ok);
    EXPECT_EQ(m.attach(), ok);
    m.hw().slow_syncs(nanoseconds{20'000});
    const command c = m.flush();
    auto t = m.smmu.submit(array_list{&c, 1}, in_turns(100));
    ASSERT_TRUE(t.ok());
    EXPECT_EQ(m.smmu.wait(*t, in_turns(100)), status{errc::timed_out});
    EXPECT_EQ(m.smmu.wait(*t, in_turns(30'000)), ok);
    EXPECT_EQ(m.detach(*m.third), status{errc::timed_out}) << "the limit for configuration commands is below it";
    EXPECT_FALSE(m.third->attachment.attached());
    EXPECT_EQ(m.attach(), status{errc::timed_out});
    EXPECT_FALSE(m.third->attachment.attached());
    m.hw().slow_syncs(nanoseconds{0});
    EXPECT_EQ(m.smmu.issue(m.flush()), ok);
    m.broken = true;
  }
}

TYPED_TEST(faults, an_event_overflow_is_reported_once_and_stops_nobody) {
  scene<TypeParam> m;
  m.hw().flood_events(40);
  EXPECT_TOLD(m.unmap_both([&] { m.hw().flood_events(40); }), ok, ok);
  unsigned seen = 0;
  const device::event_report r = m.smmu.service_events([&](const event_record& e) { seen += e.id() == event_id::f_translation; });
  EXPECT_EQ(seen, 16u);
  EXPECT_TRUE(r.overflowed);
  EXPECT_FALSE(m.smmu.service_events([](const event_record&) {}).overflowed);
  m.hw().flood_events(1);
  EXPECT_EQ(m.smmu.service_events([](const event_record&) {}).records, 1u);
}

TYPED_TEST(faults, a_gerror_storm_stops_nobody) {
  constexpr auto harmless = static_cast<std::uint32_t>(reg::gerror::mask & ~reg::gerror::sfm_err::mask);
  for (const bool msi : {true, false}) {
    scene<TypeParam> m{msi};
    m.hw().storm(harmless, 5);
    for (unsigned i = 0; i != 8; ++i) m.smmu.idle({});
    const device::gerror_report r = m.smmu.service_gerror();
    EXPECT_EQ(r.queue, status{errc::unknown_error}) << "an error without a code";
    EXPECT_EQ(r.others, harmless & ~std::uint32_t{1});
    EXPECT_FALSE(r.service_failure);
    EXPECT_TOLD(m.unmap_both([] {}), ok, ok);
    EXPECT_EQ(m.attach(), ok);
    EXPECT_EQ(m.detach(*m.third), ok);
    EXPECT_EQ(m.smmu.commands().errors().total(), 0u) << "no command is blamed";
    m.hw().storm(0, 0);
    static_cast<void>(m.smmu.service_gerror());
    EXPECT_EQ(m.hw().counters().front.software_errors, 0u) << "only active bits were acknowledged";
  }
}

TYPED_TEST(faults, a_service_failure_fails_everybody_until_a_reset) {
  for (const bool msi : {true, false}) {
    scene<TypeParam> m{msi};
    m.broken = true;
    EXPECT_TOLD(m.unmap_both([&] {
      m.hw().fail_service();
      EXPECT_TRUE(m.smmu.service_gerror().service_failure);
    }), queue_failed, queue_failed);
    EXPECT_EQ(m.a->domain.invalidate_all(in_turns(patience)), status{errc::queue_failed}) << "submitters too";
    EXPECT_EQ(m.attach(), status{errc::queue_failed});
    EXPECT_EQ(m.detach(*m.first), status{errc::queue_failed});
    EXPECT_EQ(m.smmu.stop(), status{errc::timed_out}) << "it may still read its memory";
  }
  scene<TypeParam> m;
  m.broken = true;
  m.hw().fail_service();
  EXPECT_TOLD(m.unmap_both([] {}, 200), timed_out, timed_out);
}

TYPED_TEST(faults, a_reset_behind_the_drivers_back_is_never_taken_for_completion) {
  for (const bool msi : {true, false}) {
    for (const bool keep : {true, false}) {
      for (unsigned before = 0; before != 130; before += 13) {  // wherever in the ring's two laps
        scene<TypeParam> m{msi};
        for (unsigned i = 0; i != before; ++i) ASSERT_EQ(m.smmu.issue(m.flush()), ok);
        m.broken = true;
        const auto t = m.unmap_both([&] { m.hw().reset({.keep_caches = keep}, test_env::now()); }, 300);
        EXPECT_FALSE(t.mine.ok()) << "msi " << msi << " keep " << keep << " before " << before;
        EXPECT_FALSE(t.other.ok()) << "msi " << msi << " keep " << keep << " before " << before;
        EXPECT_FALSE(m.attach().ok());
        static_cast<void>(m.smmu.service_gerror());
      }
    }
  }
}

TYPED_TEST(faults, an_smmu_off_the_bus_is_never_taken_for_completion) {
  for (const bool msi : {true, false}) {
    for (unsigned before = 0; before != 130; before += 13) {
      scene<TypeParam> m{msi};
      for (unsigned i = 0; i != before; ++i) ASSERT_EQ(m.smmu.issue(m.flush()), ok);
      m.broken = true;
      const auto t = m.unmap_both([&] { m.hw().vanish(true); }, 300);
      EXPECT_FALSE(t.mine.ok()) << "msi " << msi << " before " << before;
      EXPECT_FALSE(t.other.ok()) << "msi " << msi << " before " << before;
      EXPECT_FALSE(m.attach().ok());
      EXPECT_FALSE(m.detach(*m.first).ok());
      static_cast<void>(m.smmu.service_gerror());
      EXPECT_EQ(m.smmu.service_events([](const event_record&) {}).records, 0u);
    }
  }
}

namespace {
/// The third device with an ATC, attached to the first space.
template <class Strategy>
struct ats_scene : scene<Strategy> {
  using base = scene<Strategy>;
  explicit ats_scene(bool msi = true) : base{msi, true} { this->hw().add_endpoint(stream_id{3}, {.enabled = false}); }
  ~ats_scene() {
    static_cast<void>(this->hw().set_endpoint_state(stream_id{3}, endpoint_state::alive));
    if (member.attached()) {
      EXPECT_EQ(detach(), ok);
    }
  }
  status attach() {
    static_cast<void>(this->hw().admit(stream_id{3}));
    return this->a->domain.attach(member, {this->port, {&sid, 1}, {}, true}, this->third->stream.writer(this->a->translation(), toggle),
                                  in_turns(patience));
  }
  status detach() {
    return this->a->domain.detach(member, this->third->stream.writer(this->a->translation(), toggle), in_turns(patience));
  }
  bool use() { return this->hw().ats_dma(sid, iova{at}, model::request::store(), 0, test_env::now()).ok(); }
  void hang() { EXPECT_TRUE(this->hw().set_endpoint_state(sid, endpoint_state::hung).ok()); }
  void wake() { EXPECT_TRUE(this->hw().set_endpoint_state(sid, endpoint_state::alive).ok()); }
  model::endpoint_counters counters() { return this->hw().counters_of(sid); }

  stream_id sid{3};
  ats_switch toggle{&this->hw(), sid};
  typename base::domain_type::attachment_t member{};
};
}  // namespace

TYPED_TEST(faults, a_device_that_answers_no_invalidation_fails_the_unmaps_it_takes_part_in) {
  for (const bool msi : {true, false}) {
    ats_scene<TypeParam> m{msi};
    ASSERT_EQ(m.attach(), ok);
    EXPECT_TRUE(m.use());
    m.hang();
    EXPECT_TOLD(m.unmap_both([] {}), atc_timed_out, ok);
    EXPECT_TRUE(m.use()) << "it still has its translation: the frame stays owned";
    EXPECT_EQ(m.a->domain.invalidate_all(in_turns(patience)), status{errc::atc_timed_out}) << "each time";
    EXPECT_EQ(m.smmu.service_gerror().queue, ok);
    m.wake();
    m.again();
    EXPECT_FALSE(m.use());
    EXPECT_EQ(m.leaks(), 0u);
  }
}
TYPED_TEST(faults, a_device_that_answers_no_invalidation_cannot_be_attached) {
  ats_scene<TypeParam> m;
  m.hang();
  EXPECT_EQ(m.attach(), status{errc::atc_timed_out});
  EXPECT_FALSE(m.member.attached());
  EXPECT_EQ(m.unmap_now(), ok) << "nothing is left of it";
  EXPECT_FALSE(m.use());
  EXPECT_TRUE(m.a->domain.check_invariants());
  EXPECT_EQ(m.counters().late_atc_invs, 0u);
  EXPECT_EQ(m.leaks(), 0u);
}
TYPED_TEST(faults, a_device_that_answers_no_invalidation_is_cut_off_by_its_detach) {
  ats_scene<TypeParam> m;
  ASSERT_EQ(m.attach(), ok);
  EXPECT_TRUE(m.use());
  m.hang();
  EXPECT_EQ(m.detach(), status{errc::atc_timed_out}) << "the hardware did not follow";
  EXPECT_FALSE(m.member.attached());
  EXPECT_FALSE(m.use()) << "translated requests abort";
  EXPECT_EQ(m.unmap_now(), ok) << "and it takes part in no unmap any more";
  EXPECT_FALSE(m.use());
  EXPECT_EQ(m.leaks(), 0u);
  EXPECT_EQ(m.counters().late_atc_invs, 0u);
}
TYPED_TEST(faults, a_device_without_power_fails_unmaps_until_it_is_detached) {
  ats_scene<TypeParam> m;
  ASSERT_EQ(m.attach(), ok);
  EXPECT_TRUE(m.use());
  EXPECT_TRUE(m.hw().set_endpoint_state(m.sid, endpoint_state::off).ok());
  EXPECT_TOLD(m.unmap_both([] {}), atc_timed_out, ok);
  EXPECT_EQ(m.detach(), status{errc::atc_timed_out});
  m.again();
}
TYPED_TEST(faults, an_atc_timeout_in_the_sync_of_another_loses_nothing) {
  for (const bool msi : {true, false}) {
    {
      scene<TypeParam> m{msi};
      EXPECT_TOLD(m.unmap_both([&] { m.hw().fail_syncs(1); }), atc_timed_out, ok);
      m.again();
      m.hw().fail_syncs(1);
      EXPECT_EQ(m.attach(), status{errc::atc_timed_out});
      EXPECT_FALSE(m.third->attachment.attached());
      EXPECT_EQ(m.attach(), ok);
    }
    scene<TypeParam> m{msi};
    m.hw().fail_syncs(1);
    EXPECT_EQ(m.detach(*m.first), status{errc::atc_timed_out});
    EXPECT_EQ(m.unmap_now(), ok) << "still invalidated for";
    m.broken = true;
  }
}

TYPED_TEST(faults, a_stuck_smmu_times_out_everybody) {
  for (const bool msi : {true, false}) {
    scene<TypeParam> m{msi};
    m.hw().stick(true);
    EXPECT_TOLD(m.unmap_both([] {}, 200), timed_out, timed_out);
    EXPECT_EQ(m.attach(), status{errc::timed_out});
    EXPECT_FALSE(m.third->attachment.attached());
    EXPECT_EQ(m.detach(*m.second), status{errc::timed_out});
    EXPECT_EQ(m.smmu.service_gerror().queue, ok);
    m.hw().stick(false);
    m.again();
    m.broken = true;
  }
}
