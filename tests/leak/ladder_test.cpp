// SPDX-License-Identifier: MIT
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "device/rig.hpp"

// Does the proof have teeth? For each step of an unmap, a detach and a reuse: the flow without that step, through the real
// parts, must be seen to leak, and with the kind that belongs to it; the same flow with the step must not leak. Nothing here
// depends on time: the device acts when the test says so.
namespace {
using namespace device_test;
using model::leak_kind;

template <class Strategy>
struct ladder : strategy_test<Strategy> {};
TYPED_TEST_SUITE(ladder, strategies, strategy_name);

constexpr std::uint64_t page = 4096;
constexpr std::uint64_t at = 0x4000'0000;  // 2 MiB and 1 GiB aligned
constexpr std::uint32_t sid = 1;

/// A register write does not run the device, so what a driver does not wait for has not happened.
world_options lazy_device() {
  world_options o = small_world();
  o.machine.backend.posted_writes = true;
  return o;
}
/// One space, one device in it, a machine that runs.
template <class Strategy>
struct scene : world<Strategy> {
  explicit scene(const world_options& o = lazy_device(), const table::stage1_config& c = {}) : world<Strategy>{o} {
    EXPECT_EQ(this->start(), status{});
    s = &this->add_space(c);
    d = &this->add_device(sid, s);
  }
  /// The device has used every page: it caches what it can.
  void use(std::uint64_t x, std::uint64_t pages) {
    for (std::uint64_t i = 0; i != pages; ++i) EXPECT_EQ(this->write(sid, x + i * page), status{});
    EXPECT_EQ(this->leaks(), 0u);
  }
  typename world<Strategy>::space* s{};
  typename world<Strategy>::device_type* d{};
};

/// Changes only the commands of one opcode.
std::function<command(command)> on(opcode op, std::function<command(command)> change) {
  return [=](command c) { return opcode_of(c) == op ? change(c) : c; };
}
std::function<command(command)> drop(opcode op) {
  return on(op, [](command) { return cmd::sync::silent().encode(); });
}

#define EXPECT_ONLY(world_, kind_)                                                          \
  do {                                                                                      \
    EXPECT_GT((world_).leaks(), 0u) << "the oracle did not see it";                         \
    for (const leak_kind k : (world_).kinds()) EXPECT_EQ(model::name(k), std::string{model::name(kind_)}); \
  } while (false)

}  // namespace

TYPED_TEST(ladder, the_invalidation_left_out) {
  for (const bool right : {false, true}) {
    scene<TypeParam> m;
    m.map(*m.s, at, 1, 4);
    m.use(at, 4);
    gather<> g;
    m.clear(*m.s, at, 4, g);
    if (right) {
      EXPECT_EQ(m.s->domain.invalidate(g, deadline::never()), status{});
    }
    m.s->table.release(g);
    m.release_frames(*m.s, at, 1, 4);
    for (std::uint64_t i = 0; i != 4; ++i) EXPECT_EQ(m.write(sid, at + i * page).ok(), !right);
    if (right)
      EXPECT_EQ(m.leaks(), 0u);
    else
      EXPECT_ONLY(m, leak_kind::free_frame);
  }
}

TYPED_TEST(ladder, the_invalidation_left_out_and_the_frame_given_to_another_space) {
  for (const bool right : {false, true}) {
    scene<TypeParam> m;
    auto& other = m.add_space();
    m.map(*m.s, at, 1, 1);
    m.use(at, 1);
    gather<> g;
    m.clear(*m.s, at, 1, g);
    if (right) {
      EXPECT_EQ(m.s->domain.invalidate(g, deadline::never()), status{});
    }
    m.s->table.release(g);
    m.release_frames(*m.s, at, 1, 1);
    m.map(other, at, 1, 1);
    (void)m.write(sid, at);
    if (right)
      EXPECT_EQ(m.leaks(), 0u);
    else
      EXPECT_ONLY(m, leak_kind::foreign_frame);
  }
}

TYPED_TEST(ladder, the_wait_for_the_sync_left_out) {
  for (const bool right : {false, true}) {
    scene<TypeParam> m;
    m.map(*m.s, at, 1, 1);
    m.use(at, 1);
    gather<> g;
    m.clear(*m.s, at, 1, g);
    auto i = m.s->domain.begin(g.pieces(), deadline::never());
    if (right) {
      EXPECT_EQ(m.s->domain.finish(i, deadline::never()), status{});
    }
    m.release_frames(*m.s, at, 1, 1);
    (void)m.write(sid, at);
    EXPECT_EQ(m.s->domain.finish(i, deadline::never()), status{});
    m.s->table.release(g);
    if (right)
      EXPECT_EQ(m.leaks(), 0u);
    else
      EXPECT_ONLY(m, leak_kind::free_frame);
  }
}

TYPED_TEST(ladder, the_commands_consumed_but_the_sync_not_complete) {
  for (const bool right : {false, true}) {
    world_options o = small_world();  // the doorbell runs the device at once ...
    o.machine.smmu.engine.sync_latency = nanoseconds{50};  // ... but a SYNC takes its time
    scene<TypeParam> m{o};
    m.map(*m.s, at, 1, 1);
    m.use(at, 1);
    gather<> g;
    m.clear(*m.s, at, 1, g);
    const auto tlbis = m.machine.smmu().counters().engine.tlbis;
    auto i = m.s->domain.begin(g.pieces(), deadline::never());
    EXPECT_GT(m.machine.smmu().counters().engine.tlbis, tlbis) << "the invalidation was executed, and may still be without effect";
    if (right) {
      EXPECT_EQ(m.s->domain.finish(i, deadline::never()), status{});
    } else {
      EXPECT_EQ(m.s->domain.poll(i), status{errc::pending});
    }
    m.release_frames(*m.s, at, 1, 1);
    (void)m.write(sid, at);
    EXPECT_EQ(m.s->domain.finish(i, deadline::never()), status{});
    m.s->table.release(g);
    if (right)
      EXPECT_EQ(m.leaks(), 0u);
    else
      EXPECT_ONLY(m, leak_kind::free_frame);
  }
}

TYPED_TEST(ladder, a_transaction_in_flight_lands_before_the_sync_or_in_a_freed_frame) {
  for (const bool right : {false, true}) {
    scene<TypeParam> m;
    m.map(*m.s, at, 1, 1);
    const auto flying = m.machine.smmu().translate(stream_id{sid}, iova{at}, model::request::store(), test_env::now());
    ASSERT_TRUE(flying.ok() && flying->t.what == model::outcome::granted);
    gather<> g;
    m.clear(*m.s, at, 1, g);
    auto i = m.s->domain.begin(g.pieces(), deadline::never());
    if (right) {
      EXPECT_EQ(m.s->domain.finish(i, deadline::never()), status{});
    }
    m.release_frames(*m.s, at, 1, 1);
    EXPECT_EQ(m.machine.smmu().land(flying->id, 0, test_env::now()).ok(), !right) << "the SYNC waited for it";
    EXPECT_EQ(m.s->domain.finish(i, deadline::never()), status{});
    m.s->table.release(g);
    if (right)
      EXPECT_EQ(m.leaks(), 0u);
    else
      EXPECT_ONLY(m, leak_kind::free_frame);
  }
}

TYPED_TEST(ladder, leaf_set_where_a_table_was_freed) {
  for (const bool right : {false, true}) {
    scene<TypeParam> m;
    m.map(*m.s, at, 1, 2);
    m.use(at, 2);
    if (!right) {
      m.port.tamper = on(opcode::tlbi_nh_va, [](command c) {
        return command{c.dw0, c.dw1 | 1};  // LEAF
      });
    }
    gather<> g;
    m.clear(*m.s, at, 2, g);
    ASSERT_TRUE(g.holds_frames()) << "the table is empty now, and unlinked";
    EXPECT_EQ(m.s->domain.invalidate(g, deadline::never()), status{});
    m.s->table.release(g);
    m.release_frames(*m.s, at, 1, 2);
    EXPECT_FALSE(m.write(sid, at).ok()) << "the leaf is gone either way";
    if (right)
      EXPECT_EQ(m.leaks(), 0u);
    else
      EXPECT_ONLY(m, leak_kind::freed_table);
  }
}

TYPED_TEST(ladder, leaf_set_and_the_freed_table_used_again_for_another_space) {
  for (const bool right : {false, true}) {
    scene<TypeParam> m;
    auto& other = m.add_space();
    m.map(*m.s, at + 512 * page, 10, 1);  // both keep the tables above
    m.map(other, at + 512 * page, 11, 1);
    m.map(*m.s, at, 1, 1);
    m.use(at, 1);
    if (!right) {
      m.port.tamper = on(opcode::tlbi_nh_va, [](command c) { return command{c.dw0, c.dw1 | 1}; });
    }
    m.unmap(*m.s, at, 1, 1);
    m.map(other, at, 2, 1);  // its last-level table is the page that came back last
    EXPECT_EQ(m.write(sid, at).ok(), !right) << "the old pointer leads into the other space's table";
    if (right)
      EXPECT_EQ(m.leaks(), 0u);
    else
      EXPECT_ONLY(m, leak_kind::foreign_frame);
  }
}

TYPED_TEST(ladder, a_table_given_back_before_the_sync) {
  for (const bool right : {false, true}) {
    scene<TypeParam> m;
    m.map(*m.s, at, 1, 1);
    m.use(at, 1);
    gather<> g;
    m.clear(*m.s, at, 1, g);
    ASSERT_TRUE(g.holds_frames());
    const std::vector<range_piece> pieces{g.pieces().begin(), g.pieces().end()};
    if (!right) m.s->table.release(g);
    (void)m.write(sid, at + page);  // no leaf is cached for this page, so the device walks from the pointer that it has
    EXPECT_EQ(m.s->domain.invalidate(pieces, deadline::never()), status{});
    if (right) m.s->table.release(g);
    m.release_frames(*m.s, at, 1, 1);
    EXPECT_FALSE(m.write(sid, at).ok());
    EXPECT_FALSE(m.write(sid, at + page).ok());
    if (right)
      EXPECT_EQ(m.leaks(), 0u);
    else
      EXPECT_ONLY(m, leak_kind::freed_table);
  }
}

TYPED_TEST(ladder, the_wrong_asid) {
  for (const bool right : {false, true}) {
    scene<TypeParam> m;
    m.map(*m.s, at, 1, 1);
    m.use(at, 1);
    if (!right) {
      m.port.tamper = on(opcode::tlbi_nh_va, [](command c) {
        return command{cmd::asid_f::set(c.dw0, asid{static_cast<std::uint16_t>(raw(cmd::asid_f::get(c.dw0)) + 1)}), c.dw1};
      });
    }
    gather<> g;
    m.clear(*m.s, at, 1, g);
    EXPECT_EQ(m.s->domain.invalidate(g, deadline::never()), status{});
    m.release_frames(*m.s, at, 1, 1);
    EXPECT_EQ(m.write(sid, at).ok(), !right);
    m.s->table.release(g);
    if (right)
      EXPECT_EQ(m.leaks(), 0u);
    else
      EXPECT_ONLY(m, leak_kind::free_frame);
  }
}

TYPED_TEST(ladder, one_page_short_at_either_end) {
  for (const cover_policy policy : {cover_policy::exact, cover_policy::disjoint}) {
    for (const std::uint64_t pages : {std::uint64_t{2}, std::uint64_t{7}, std::uint64_t{33}, std::uint64_t{300}}) {
      for (const int missing : {0, 1, 2}) {  // nothing, the first page, the last page
        scene<TypeParam> m;
        auto& s = m.add_space({.blocks_2m = false}, policy);
        auto& d = m.add_device(2, &s);
        m.map(s, at, 1, pages);
        m.map(s, at + 400 * page, 400, 1);  // the table stays
        for (std::uint64_t i = 0; i != pages; ++i) EXPECT_EQ(m.write(raw(d.sid), at + i * page), status{});
        gather<> g;
        m.clear(s, at, pages, g);
        ASSERT_EQ(g.pieces().size(), 1u);
        range_piece p = g.pieces()[0];
        if (missing == 1) p.address += page;
        if (missing != 0) p.bytes -= page;
        if (p.bytes == page) p.leaf_levels = 1 << 3;  // a hint, or a single page is widened to two
        EXPECT_EQ(s.domain.invalidate(std::span{&p, 1}, deadline::never()), status{});
        m.s->table.release(g);
        m.release_frames(s, at, 1, pages);
        for (std::uint64_t i = 0; i != pages; ++i) {
          const bool stale = (missing == 1 && i == 0) || (missing == 2 && i == pages - 1);
          EXPECT_EQ(m.write(raw(d.sid), at + i * page).ok(), stale) << i << " of " << pages << ", policy " << static_cast<int>(policy);
        }
        EXPECT_EQ(m.leaks(), missing == 0 ? 0u : 1u);
        for (const leak_kind k : m.kinds()) EXPECT_EQ(k, leak_kind::free_frame);
      }
    }
  }
}

TYPED_TEST(ladder, a_hint_of_the_wrong_level) {
  // Pages: the hint says blocks. Blocks: the hint says pages. A table beside them stays, so that LEAF = 1 is right.
  for (const unsigned level : {3u, 2u}) {
    for (const bool right : {false, true}) {
      world_options o = lazy_device();
      o.machine.data_frames = 4096;
      scene<TypeParam> m{o, {.blocks_2m = level == 2}};
      const std::uint64_t pages = 1024;
      m.map(*m.s, at, level == 2 ? 512 : 1, pages);
      m.map(*m.s, at + 2048 * page, level == 2 ? 2048 : 2049, 1);
      m.use(at, pages);
      unsigned hinted = 0;
      m.port.tamper = on(opcode::tlbi_nh_va, [&](command c) {
        const auto op = tlbi_operand::from_wire(c).value();
        hinted += op.ttl() == level;
        if (right) return c;
        const auto wrong = tlbi_operand::range(granule::k4, op.address(), op.num(), op.scale(), level == 3 ? 2 : 3, op.leaf());
        EXPECT_TRUE(wrong.ok());
        return stamp(c.dw0 & ~tlbi_operand::dw0_mask, *wrong);
      });
      gather<> g;
      m.clear(*m.s, at, pages, g);
      EXPECT_EQ(m.s->domain.invalidate(g, deadline::never()), status{});
      EXPECT_GT(hinted, 0u) << "the library gives the hint";
      m.port.tamper = nullptr;
      m.release_frames(*m.s, at, level == 2 ? 512 : 1, pages);
      for (std::uint64_t i = 0; i < pages; i += 37) EXPECT_EQ(m.write(sid, at + i * page).ok(), !right) << level;
      m.s->table.release(g);
      if (right)
        EXPECT_EQ(m.leaks(), 0u);
      else
        EXPECT_ONLY(m, leak_kind::free_frame);
      EXPECT_EQ(m.machine.smmu().counters().engine.unpredictable, 0u);
    }
  }
}

namespace {
/// A detach that changes the STE in memory and does not tell the SMMU.
template <class World>
struct careless_ops {
  World& w;
  stream_id sid;
  [[nodiscard]] status write_entry(const install&) const {
    return w.smmu.streams().write(sid, ste::abort(), [] { return status{}; });
  }
  [[nodiscard]] status ats(bool) const { return {}; }
};
}  // namespace

TYPED_TEST(ladder, cfgi_left_out_of_a_detach) {
  for (const bool right : {false, true}) {
    scene<TypeParam> m;
    m.map(*m.s, at, 1, 1);
    m.use(at, 1);
    const careless_ops<world<TypeParam>> careless{m, stream_id{sid}};
    EXPECT_EQ(right ? m.d->detach() : m.s->domain.detach(m.d->attachment, careless, deadline::never()), status{});
    EXPECT_EQ(m.write(sid, at).ok(), !right) << "with its cached STE the device goes on, and fills the TLB again";
    EXPECT_EQ(m.leaks(), 0u) << "the frame is still its own";
    m.unmap(*m.s, at, 1, 1);  // the domain has no device any more and sends nothing
    EXPECT_EQ(m.write(sid, at).ok(), !right);
    if (right)
      EXPECT_EQ(m.leaks(), 0u);
    else
      EXPECT_ONLY(m, leak_kind::free_frame);
  }
}

TYPED_TEST(ladder, a_tag_used_again_without_its_flush) {
  for (const bool right : {false, true}) {
    scene<TypeParam> m;
    auto& other = m.add_space();
    m.map(*m.s, at, 1, 1);
    m.use(at, 1);
    const tag before = m.d->attachment.current_tag();
    if (!right) m.port.tamper = drop(opcode::tlbi_nh_asid);
    EXPECT_EQ(m.d->detach(), status{});
    m.port.tamper = nullptr;
    auto& second = m.add_device(2, &other);
    EXPECT_EQ(second.attachment.current_tag(), before) << "the lowest free tag goes out first";
    EXPECT_EQ(m.write(2, at).ok(), !right) << "nothing is mapped there in its own space";
    if (right)
      EXPECT_EQ(m.leaks(), 0u);
    else
      EXPECT_ONLY(m, leak_kind::foreign_frame);
  }
}

TYPED_TEST(ladder, frames_released_before_invalidate_returned) {
  for (const bool right : {false, true}) {
    scene<TypeParam> m;
    m.map(*m.s, at, 1, 1);
    m.use(at, 1);
    std::uint64_t writes = 0;
    m.regs.before = [&] { writes += m.write(sid, at).ok(); };  // the device does not wait for the driver
    gather<> g;
    m.clear(*m.s, at, 1, g);
    if (!right) m.release_frames(*m.s, at, 1, 1);
    EXPECT_EQ(m.s->domain.invalidate(g, deadline::never()), status{});
    if (right) m.release_frames(*m.s, at, 1, 1);
    m.s->table.release(g);
    EXPECT_FALSE(m.write(sid, at).ok());
    EXPECT_GT(writes, 0u);
    if (right)
      EXPECT_EQ(m.leaks(), 0u);
    else
      EXPECT_ONLY(m, leak_kind::free_frame);
  }
}

TYPED_TEST(ladder, a_context_descriptor_changed_in_place_without_cfgi_cd) {
  for (const bool right : {false, true}) {
    scene<TypeParam> m;
    auto& other = m.add_space();
    m.map(*m.s, at, 1, 1);
    m.map(other, at, 2, 1);
    m.use(at, 1);
    // Points the live descriptor at the other space's tables, word by word, under the same tag.
    const auto live = m.smmu.streams().read(stream_id{sid});
    ASSERT_TRUE(live.ok());
    auto* const words = m.machine.memory().cpu(live->cd_table());
    words[1].store(raw(other.table.root()), std::memory_order_release);
    if (right) {
      EXPECT_EQ(m.smmu.invalidate_context(stream_id{sid}, substream_id{0}), status{});
    }
    EXPECT_EQ(m.smmu.issue(cmd::tlbi_nh_asid{asid{m.d->attachment.current_tag().id}, vmid{0}}.encode()), status{});
    EXPECT_EQ(m.machine.oracle().bind(stream_id{sid}, other.id), status{});
    EXPECT_EQ(m.write(sid, at), status{});
    if (right)
      EXPECT_EQ(m.leaks(), 0u);
    else
      EXPECT_ONLY(m, leak_kind::foreign_frame);
    EXPECT_EQ(m.smmu.invalidate_context(stream_id{sid}, substream_id{0}), status{});
  }
}
