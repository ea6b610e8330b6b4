// SPDX-License-Identifier: MIT
#include <cstdint>
#include <vector>

#include <gtest/gtest.h>

#include "device/rig.hpp"

// A stream joins, leaves and moves between domains while its device never stops.
namespace {
using namespace device_test;

template <class Strategy>
struct stage1_stream : strategy_test<Strategy> {};
TYPED_TEST_SUITE(stage1_stream, strategies, strategy_name);

constexpr std::uint64_t at = 0x10000;
constexpr std::uint64_t page = 4096;
constexpr std::uint32_t sid = 1;

/// Two spaces that map the same pages to frames of their own, and one stream.
template <class Strategy>
struct two_spaces : world<Strategy> {
  explicit two_spaces(const world_options& o = small_world()) : world<Strategy>{o} {
    EXPECT_EQ(this->start(), status{});
    a = &this->add_space();
    b = &this->add_space();
    for (std::uint64_t i = 0; i != 4; ++i) {
      this->map(*a, at + i * page, 1 + i, 1);
      this->map(*b, at + i * page, 11 + i, 1);
    }
    d = &this->add_device(sid);
  }
  [[nodiscard]] bus_addr cd_table() { return this->smmu.streams().read(stream_id{sid})->cd_table(); }
  [[nodiscard]] static std::size_t entries(typename world<Strategy>::space& s) {
    std::size_t n = 0;
    s.domain.each_entry([&](const auto&, std::uint32_t) { ++n; });
    return n;
  }
  /// Nothing of a refused attach stays.
  void expect_untouched(typename world<Strategy>::space& s) {
    EXPECT_FALSE(d->attachment.attached());
    EXPECT_EQ(this->smmu.tags().in_use(tag_kind::asid), 0u);
    EXPECT_EQ(this->smmu.tags().retired(tag_kind::asid), 0u);
    EXPECT_EQ(entries(s), 0u);
    EXPECT_TRUE(s.domain.check_invariants());
  }
  typename world<Strategy>::space* a{};
  typename world<Strategy>::space* b{};
  typename world<Strategy>::device_type* d{};
};

}  // namespace

TYPED_TEST(stage1_stream, attach_translates_and_detach_aborts) {
  two_spaces<TypeParam> m;
  EXPECT_FALSE(m.write(sid, at).ok());
  for (int i = 0; i != 3; ++i) {
    ASSERT_EQ(m.d->attach(*m.a), status{});
    EXPECT_EQ(m.write(sid, at), status{});
    EXPECT_FALSE(m.write(sid, at + 9 * page).ok());
    ASSERT_EQ(m.d->detach(), status{});
    EXPECT_FALSE(m.write(sid, at).ok());
    EXPECT_EQ(m.smmu.tags().in_use(tag_kind::asid), 0u);
  }
  EXPECT_EQ(m.leaks(), 0u);
}

TYPED_TEST(stage1_stream, replace_never_blocks_the_device_and_never_mixes_old_and_new) {
  for (const bool posted : {false, true}) {
    for (const bool lazy : {false, true}) {
      for (std::uint64_t seed = 1; seed != 6; ++seed) {
        world_options o = small_world();
        o.machine.backend.posted_writes = posted;
        o.machine.smmu.engine.lazy = lazy;
        o.machine.smmu.engine.seed = seed;
        o.smmu.allow_msi = o.smmu.allow_sev = false;  // waiters read CONS, so the device gets more turns
        two_spaces<TypeParam> m{o};
        ASSERT_EQ(m.d->attach(*m.a), status{});
        std::uint64_t writes = 0, refused = 0;
        m.regs.before = [&] {
          for (std::uint64_t i = 0; i != 4; ++i) {
            ++writes;
            refused += !m.write(sid, at + i * page).ok();
          }
        };
        for (int i = 0; i != 4; ++i) {
          auto& to = i % 2 == 0 ? *m.b : *m.a;
          ASSERT_EQ(m.d->replace(to), status{});
          for (std::uint64_t k = 0; k != 4; ++k) EXPECT_EQ(m.write(sid, at + k * page), status{});  // judged by the new space alone
        }
        m.regs.before = nullptr;
        EXPECT_GE(writes, 48u);
        EXPECT_EQ(refused, 0u);
        EXPECT_EQ(m.leaks(), 0u);
        EXPECT_EQ(m.smmu.service_events([](const event_record&) { ADD_FAILURE(); }).records, 0u);
        EXPECT_EQ(m.smmu.tags().in_use(tag_kind::asid), 1u);
      }
    }
  }
}

TYPED_TEST(stage1_stream, the_oracle_of_the_replace_test_sees_a_device_that_stays_behind) {
  two_spaces<TypeParam> m;
  ASSERT_EQ(m.d->attach(*m.a), status{});
  ASSERT_EQ(m.machine.oracle().bind(stream_id{sid}, m.b->id), status{});
  EXPECT_EQ(m.write(sid, at), status{});
  EXPECT_EQ(m.leaks(), 1u);
}

TYPED_TEST(stage1_stream, the_two_descriptors_alternate_and_the_live_one_is_never_written) {
  two_spaces<TypeParam> m;
  ASSERT_EQ(m.d->attach(*m.a), status{});
  bus_addr live = m.cd_table();
  for (int i = 0; i != 6; ++i) {
    const auto* const words = m.machine.memory().cpu(live);
    std::vector<std::uint64_t> before(8);
    for (unsigned w = 0; w != 8; ++w) before[w] = words[w].load(std::memory_order_acquire);
    ASSERT_EQ(m.d->replace(i % 2 == 0 ? *m.b : *m.a), status{});
    for (unsigned w = 0; w != 8; ++w) EXPECT_EQ(words[w].load(std::memory_order_acquire), before[w]);
    const bus_addr next = m.cd_table();
    EXPECT_EQ(raw(next) ^ raw(live), cd::bytes) << "the other of the two";
    live = next;
  }
}

TYPED_TEST(stage1_stream, a_replaced_context_is_not_in_any_cache) {
  two_spaces<TypeParam> m;
  ASSERT_EQ(m.d->attach(*m.a), status{});
  EXPECT_EQ(m.write(sid, at), status{});
  ASSERT_EQ(m.d->replace(*m.b), status{});
  for (std::uint64_t i = 0; i != 4; ++i) m.unmap(*m.a, at + i * page, 1 + i, 1);  // space a has no device any more
  for (std::uint64_t i = 0; i != 4; ++i) EXPECT_EQ(m.write(sid, at + i * page), status{});
  EXPECT_EQ(m.leaks(), 0u);
}

// A transaction at any moment of the change lets the SMMU fetch what the stream's entry names then.
TYPED_TEST(stage1_stream, a_context_fetched_again_during_the_replace_is_in_no_cache_afterwards) {
  two_spaces<TypeParam> m;
  ASSERT_EQ(m.d->attach(*m.a), status{});
  unsigned fetches = 0;
  m.regs.before = [&] { fetches += m.write(sid, at).ok() ? 1u : 0u; };
  ASSERT_EQ(m.d->replace(*m.b), status{});
  m.regs.before = nullptr;
  EXPECT_GE(fetches, 3u);
  for (std::uint64_t i = 0; i != 4; ++i) m.unmap(*m.a, at + i * page, 1 + i, 1);
  for (std::uint64_t i = 0; i != 4; ++i) EXPECT_EQ(m.write(sid, at + i * page), status{});
  EXPECT_EQ(m.leaks(), 0u);
}

// Until the switch is complete the SMMU may fetch the old descriptor again, so its own invalidation comes behind it.
TYPED_TEST(stage1_stream, a_replace_invalidates_the_entry_and_then_the_context) {
  world_options o = small_world();
  o.smmu.allow_msi = false;
  two_spaces<TypeParam> m{o};
  ASSERT_EQ(m.d->attach(*m.a), status{});
  const std::uint32_t begin = m.machine.smmu().read32(reg::cmdq_prod::offset);
  ASSERT_EQ(m.d->replace(*m.b), status{});
  const std::uint32_t end = m.machine.smmu().read32(reg::cmdq_prod::offset);
  std::vector<opcode> sent;
  for (std::uint32_t i = begin; i != end && sent.size() != 64; i = (i + 1) % 128) {
    const opcode op = opcode_of({m.smmu.commands().config().ring.cpu[2 * (i % 64)].load(std::memory_order_relaxed), 0});
    if (op != opcode::sync) sent.push_back(op);
  }
  EXPECT_EQ(sent, (std::vector<opcode>{opcode::cfgi_ste, opcode::cfgi_cd, opcode::tlbi_nh_asid})) << "and the flush of the tag it left";
}

TYPED_TEST(stage1_stream, a_replace_that_fails_leaves_the_master_where_it_was) {
  // The k-th doorbell's SYNC fails, for every k that a replace has.
  unsigned failures = 0;
  for (int k = 1; k != 10; ++k) {
    world_options o = small_world();
    o.machine.backend.posted_writes = true;
    two_spaces<TypeParam> m{o};
    ASSERT_EQ(m.d->attach(*m.a), status{});
    const tag before = m.d->attachment.current_tag();
    m.regs.logging = true;
    bool armed = false;
    m.regs.before = [&] {
      if (armed || static_cast<int>(m.regs.writes_to(reg::cmdq_prod::offset).size()) != k - 1) return;
      armed = true;
      m.machine.smmu().fail_syncs(1);
    };
    m.regs.log.clear();
    const status s = m.d->replace(*m.b);
    m.regs.before = nullptr;
    m.regs.logging = false;
    m.machine.smmu().fail_syncs(0);
    EXPECT_TRUE(m.a->domain.check_invariants() && m.b->domain.check_invariants());
    ASSERT_TRUE(m.d->attachment.attached());
    const bool moved = m.d->attachment.current_tag() != before;
    failures += !s.ok();
    EXPECT_TRUE(s.ok() ? moved : true) << k;
    auto& home = moved ? *m.b : *m.a;
    m.d->at = &home;
    ASSERT_EQ(m.machine.oracle().bind(stream_id{sid}, home.id), status{});
    for (std::uint64_t i = 0; i != 4; ++i) EXPECT_EQ(m.write(sid, at + i * page), status{}) << k;
    EXPECT_EQ(m.leaks(), 0u) << "it walks the tables of one space under the tag of that space: " << k;
    m.unmap(home, at, moved ? 11 : 1, 1);
    EXPECT_FALSE(m.write(sid, at).ok()) << k;
    EXPECT_EQ(m.leaks(), 0u) << k;
  }
  EXPECT_GE(failures, 3u);
}

TYPED_TEST(stage1_stream, an_smmu_that_sticks_during_replace_keeps_the_descriptors) {
  world_options o = small_world();
  o.smmu.limit = nanoseconds{100};
  two_spaces<TypeParam> m{o};
  ASSERT_EQ(m.d->attach(*m.a), status{});
  const bus_addr memory = bus_addr{raw(m.cd_table()) & ~std::uint64_t{127}};
  m.machine.smmu().stick(true);
  EXPECT_EQ(m.d->replace(*m.b), status{errc::timed_out});
  EXPECT_FALSE(m.d->attachment.attached()) << "blocked as far as anybody can tell, and no member of either";
  EXPECT_EQ(two_spaces<TypeParam>::entries(*m.a), 1u) << "both tags stay covered";
  EXPECT_EQ(two_spaces<TypeParam>::entries(*m.b), 1u);
  m.d->stream.close();
  EXPECT_EQ(m.regs.live.count(raw(memory)), 1u) << "the SMMU may still read them";
  m.machine.smmu().stick(false);
}

TYPED_TEST(stage1_stream, descriptors_in_doubt_go_back_once_the_smmu_has_stopped) {
  world_options o = small_world();
  o.smmu.limit = nanoseconds{100};
  two_spaces<TypeParam> m{o};
  ASSERT_EQ(m.d->attach(*m.a), status{});
  m.machine.smmu().stick(true);
  EXPECT_EQ(m.d->detach(), status{errc::timed_out});
  EXPECT_FALSE(m.d->attachment.attached());
  m.machine.smmu().stick(false);
  ASSERT_EQ(m.smmu.stop(), status{});
  m.d->stream.close();
  EXPECT_TRUE(m.regs.live.empty());
}

TYPED_TEST(stage1_stream, after_a_failed_detach_the_stream_can_be_attached_again) {
  world_options o = small_world();
  o.smmu.limit = nanoseconds{100};
  two_spaces<TypeParam> m{o};
  ASSERT_EQ(m.d->attach(*m.a), status{});
  EXPECT_EQ(m.write(sid, at), status{});
  m.machine.smmu().stick(true);
  EXPECT_EQ(m.d->detach(), status{errc::timed_out});
  m.machine.smmu().stick(false);
  ASSERT_EQ(m.d->attach(*m.b), status{});
  EXPECT_EQ(m.write(sid, at), status{});
  EXPECT_EQ(m.leaks(), 0u) << "it is the new space's frame that it reached";
  m.unmap(*m.a, at, 1, 1);
  EXPECT_EQ(m.leaks(), 0u);
}

TYPED_TEST(stage1_stream, without_memory_nothing_happens) {
  two_spaces<TypeParam> m;
  m.d->stream.close();
  m.regs.allocations_left = 0;
  EXPECT_EQ(m.d->stream.open(), status{errc::no_memory});
  EXPECT_EQ(m.d->attach(*m.a), status{errc::no_memory});
  m.expect_untouched(*m.a);
  m.regs.allocations_left = -1;
  EXPECT_EQ(m.d->stream.open(), status{});
  EXPECT_EQ(m.d->stream.open(), status{errc::already_present});
  EXPECT_EQ(m.d->attach(*m.a), status{});
}

TYPED_TEST(stage1_stream, a_pasid_is_refused_and_pins_nothing) {
  world_options o = small_world();
  o.machine.smmu.id.idr1 |= static_cast<std::uint32_t>(reg::idr1::ssidsize::put(8));
  two_spaces<TypeParam> m{o};
  const auto ops = m.d->stream.writer(m.a->translation());
  const status s = m.a->domain.attach(m.d->attachment, {m.port, {&m.d->sid, 1}, substream_id{5}}, ops, deadline::never());
  EXPECT_EQ(s, status{errc::unsupported});
  m.expect_untouched(*m.a);
  EXPECT_EQ(m.d->attach(*m.a), status{});
  EXPECT_EQ(m.write(sid, at), status{});
}

TYPED_TEST(stage1_stream, a_stream_without_an_entry_is_refused_and_pins_nothing) {
  two_spaces<TypeParam> m;
  auto& far = m.add_device(200);  // the table has 32 entries, the SMMU 16 bits of StreamID
  EXPECT_EQ(far.attach(*m.a), status{errc::out_of_range});
  EXPECT_FALSE(far.attachment.attached());
  m.expect_untouched(*m.a);
}

TYPED_TEST(stage1_stream, a_space_that_no_descriptor_can_name_is_refused_and_pins_nothing) {
  two_spaces<TypeParam> m;
  for (const auto& [change, expected] : std::vector<std::pair<void (*)(device::stage1_space&), errc>>{
           {[](device::stage1_space& s) { s.root = bus_addr{raw(s.root) + 64}; }, errc::misaligned},
           {[](device::stage1_space& s) { s.input_bits = 49; }, errc::out_of_range},
           {[](device::stage1_space& s) { s.input_bits = 20; }, errc::out_of_range},
           {[](device::stage1_space& s) { s.root = bus_addr{std::uint64_t{1} << 50}; }, errc::out_of_range},
           {[](device::stage1_space& s) { s.page = granule{0}; }, errc::invalid_argument}}) {
    device::stage1_space s = m.a->translation();
    change(s);
    EXPECT_EQ(m.a->domain.attach(m.d->attachment, {m.port, {&m.d->sid, 1}}, m.d->stream.writer(s), deadline::never()), status{expected});
    m.expect_untouched(*m.a);
  }
}
