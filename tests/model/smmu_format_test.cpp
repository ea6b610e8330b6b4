// SPDX-License-Identifier: MIT
#include <array>
#include <cstdint>
#include <initializer_list>
#include <optional>

#include <gtest/gtest.h>

#include "hand_formats.hpp"
#include "register_rig.hpp"

// Stage 2, both stages and two-level tables end to end: registers, command queue, DMA, event queue. The cases are those that
// were measured on an emulated SMMU with stage 2 and a real DMA device.
namespace {
using namespace shootdown;
using namespace shootdown::model;
using namespace model_test;
using rig_type = register_rig<test_env>;

constexpr stream_id dev{8};
constexpr std::uint64_t x = 0x40'5000;
constexpr std::uint64_t via = 0x80'7000;

struct model_smmu_formats : testing::Test {
  std::optional<rig_type> held;
  rig_type* r{};
  dma_span<test_env> page;

  model_smmu_formats() {
    test_env::failures.clear();
    test_env::clock = 0;
  }
  ~model_smmu_formats() override {
    if (r != nullptr) {
      EXPECT_TRUE(r->machine.check_invariants());
    }
    EXPECT_TRUE(test_env::failures.empty());
  }
  void build(const emu::id_registers& id = emu::id_registers::model_full()) {
    machine_options o{};
    o.memory_bytes = std::size_t{4} << 20;
    o.data_frames = 1024;
    o.smmu.id = id;
    r = &held.emplace(o);
    page = r->regs.allocate_dma(4096, 4096);
  }
  void write(std::uint64_t at, std::uint64_t w) { r->tables.write(bus_addr{at}, w); }
  void write_entry(std::uint64_t at, const std::array<std::uint64_t, 8>& e) {
    for (unsigned i = 8; i-- != 0;) write(at + i * 8, e[i]);
  }
  std::uint64_t table() { return raw(r->tables.new_table()); }
  std::uint64_t ste_at() { return raw(r->tables.stream_table()) + raw(dev) * 64; }
  /// Three levels of 4 KiB tables for [0, 512 GiB).
  struct tables {
    std::uint64_t root, middle, last;
    [[nodiscard]] std::uint64_t slot(std::uint64_t at) const { return last + (at >> 12) % 512 * 8; }
  };
  template <class Address>
  tables three(Address&& address_of) {  // every 2 MiB of the first GiB shares one last table
    const tables t{table(), table(), table()};
    write(t.root, address_of(t.middle) | 3);
    for (unsigned i = 0; i != 512; ++i) write(t.middle + i * 8, address_of(t.last) | 3);
    return t;
  }
  tables three() {
    return three([](std::uint64_t at) { return at; });
  }
  bool store(std::uint64_t at, std::uint64_t v) { return r->machine.smmu().dma(dev, iova{at}, request::store(), v, instant{}).ok(); }
  bool landed(std::uint64_t at, std::uint64_t v) { return store(at, v) && page.cpu[0].load(std::memory_order_acquire) == v; }
  void expect_event(event_id id, std::uint64_t address, std::uint64_t ipa, event_class cls = event_class::input) {
    const auto e = r->next_event();
    ASSERT_TRUE(e.has_value());
    EXPECT_EQ(e->id, id) << name(e->id);
    EXPECT_EQ(e->sid, dev);
    EXPECT_EQ(e->address, address);
    EXPECT_TRUE(e->stage2);
    EXPECT_EQ(e->where, cls);
    EXPECT_EQ(e->fetch, ipa);
    EXPECT_FALSE(e->read);
  }
};

TEST_F(model_smmu_formats, a_stage_2_only_stream_is_invalidated_by_ipa_and_not_by_nh_all) {
  build();
  const tables t = three();
  write_entry(ste_at(), ste_words({.config = 6, .vm = 3, .s2_root = t.root, .s2_bits = 39, .s2_start = 1}));
  r->enable();
  write(t.slot(x), word::leaf(raw(page.bus), 3, word::s2));
  EXPECT_TRUE(landed(x, 1));
  write(t.slot(x), 0);
  std::uint64_t v = 2;
  const auto ipa = [](std::uint16_t vm, std::uint64_t at) { return cmd::tlbi_s2_ipa{vmid{vm}, tlbi_operand::address(at, true)}.encode(); };
  for (const command& k : {cmd::tlbi_nh_all{vmid{3}}.encode(), ipa(4, x), ipa(3, x + 0x1000)}) {
    EXPECT_TRUE(r->complete({k}));
    EXPECT_TRUE(landed(x, v));
    ++v;
  }
  EXPECT_TRUE(r->complete({ipa(3, x)}));
  EXPECT_FALSE(store(x, v));
  expect_event(event_id::f_translation, x, x);
  EXPECT_FALSE(r->next_event());
}

TEST_F(model_smmu_formats, with_both_stages_s2_ipa_leaves_the_combined_entry_and_nh_all_removes_it) {
  build();
  // All of memory is mapped from `lift` on by stage-2 blocks: where the CD and the stage-1 tables are found.
  constexpr std::uint64_t lift = 0x10'0000'0000;
  const std::uint64_t memory = raw(machine_options{}.memory_base);
  const auto up = [&](std::uint64_t at) { return at - memory + lift; };
  const tables s2 = three();
  const std::uint64_t lifted = table();
  write(s2.root + (lift >> 30) * 8, lifted | 3);
  for (unsigned i = 0; i != 2; ++i) write(lifted + i * 8, word::leaf(memory + i * 0x20'0000, 2, word::s2));
  const tables s1 = three(up);
  const auto cd = r->regs.allocate_dma(64, 4096);
  write_entry(raw(cd.bus), cd_words({.as = 9, .ttb0 = up(s1.root), .bits0 = 39}));
  write_entry(ste_at(), ste_words({.config = 7, .contexts = up(raw(cd.bus)), .vm = 3, .s2_root = s2.root, .s2_bits = 39, .s2_start = 1}));
  r->enable();
  write(s1.slot(x), word::leaf(via, 3, word::s1));
  write(s2.slot(via), word::leaf(raw(page.bus), 3, word::s2));
  EXPECT_TRUE(landed(x, 1));
  const auto g = r->machine.smmu().translate(dev, iova{x}, request::store(), instant{});
  ASSERT_TRUE(g.ok());
  write(s2.slot(via), 0);
  EXPECT_TRUE(r->complete({cmd::tlbi_s2_ipa{vmid{3}, tlbi_operand::address(via, true)}.encode()}));
  EXPECT_EQ(r->machine.smmu().counters().engine.forced_landings, 0u);  // nothing that it rests on was removed
  EXPECT_TRUE(landed(x, 2));
  EXPECT_TRUE(r->complete({cmd::tlbi_nh_va{asid{9}, vmid{4}, tlbi_operand::address(x, true)}.encode()}));  // another VMID
  EXPECT_TRUE(landed(x, 3));
  EXPECT_TRUE(r->complete({cmd::tlbi_nh_all{vmid{3}}.encode()}));
  EXPECT_EQ(r->machine.smmu().counters().engine.forced_landings, 1u);
  EXPECT_FALSE(store(x, 4));
  expect_event(event_id::f_translation, x, via);
  write(lifted, 0);
  write(lifted + 8, 0);
  EXPECT_TRUE(r->complete({cmd::tlbi_s12_vmall{vmid{3}}.encode()}));
  EXPECT_FALSE(store(x, 5));
  const auto e = r->next_event();
  ASSERT_TRUE(e.has_value());
  EXPECT_TRUE(e->stage2);
  EXPECT_EQ(e->where, event_class::table_descriptor);
  EXPECT_EQ(e->fetch, up(s1.root) & ~0xfffull);
}

TEST_F(model_smmu_formats, an_outstanding_transaction_lands_before_the_s2_ipa_that_removed_its_entry_is_complete) {
  build();
  const tables t = three();
  write_entry(ste_at(), ste_words({.config = 6, .vm = 3, .s2_root = t.root, .s2_bits = 39, .s2_start = 1}));
  r->enable();
  write(t.slot(x), word::leaf(raw(page.bus), 3, word::s2));
  const auto g = r->machine.smmu().translate(dev, iova{x}, request::store(), instant{});
  ASSERT_TRUE(g.ok());
  EXPECT_EQ(r->machine.smmu().counters().engine.forced_landings, 0u);
  EXPECT_TRUE(r->complete({cmd::tlbi_s2_ipa{vmid{3}, tlbi_operand::address(x, true)}.encode()}));
  EXPECT_EQ(r->machine.smmu().counters().engine.forced_landings, 1u);
  EXPECT_EQ(r->machine.smmu().land(g->id, 0, instant{}).code(), errc::not_present);
}

TEST_F(model_smmu_formats, a_two_level_stream_table_is_used_as_the_registers_say) {
  build();
  const auto l1 = r->regs.allocate_dma(4096, 4096);
  const auto l2 = r->regs.allocate_dma(64u << 8, 64u << 8);
  write(raw(l1.bus) + 3 * 8, raw(l2.bus) | 9);
  write_entry(raw(l2.bus) + 5 * 64, ste_words({.config = 4}));
  r->write64<reg::strtab_base>(raw(l1.bus));
  r->write32<reg::strtab_base_cfg>(1u << 16 | 8u << 6 | 12u);
  r->enable();
  const auto ask = [&](std::uint32_t sid) {
    return r->machine.smmu().translate(stream_id{sid}, iova{raw(page.bus)}, request::load(), instant{})->t;
  };
  EXPECT_EQ(ask(3 * 256 + 5).what, outcome::granted);
  EXPECT_EQ(ask(2 * 256 + 5).event, event_id::c_bad_streamid);
  write(raw(l1.bus) + 2 * 8, raw(l2.bus) | 9);
  EXPECT_TRUE(r->complete({cmd::cfgi_ste{stream_id{2 * 256}, true}.encode()}));
  EXPECT_EQ(ask(2 * 256 + 5).event, event_id::c_bad_streamid);
  EXPECT_TRUE(r->complete({cmd::cfgi_ste{stream_id{2 * 256}, false}.encode()}));
  EXPECT_EQ(ask(2 * 256 + 5).what, outcome::granted);
}

TEST_F(model_smmu_formats, what_the_id_registers_do_not_announce_is_refused) {
  build(emu::id_registers::model_default());
  const tables t = three();
  write_entry(ste_at(), ste_words({.config = 6, .vm = 3, .s2_root = t.root, .s2_bits = 39, .s2_start = 1}));
  r->enable();
  EXPECT_FALSE(store(x, 1));
  const auto e = r->next_event();
  ASSERT_TRUE(e.has_value());
  EXPECT_EQ(e->id, event_id::c_bad_ste);
  r->send({cmd::tlbi_s2_ipa{vmid{3}, tlbi_operand::address(x, true)}.encode()});
  EXPECT_TRUE(r->command_error());
}

TEST_F(model_smmu_formats, whether_runs_are_cached_as_one_entry_is_an_option_of_the_device) {
  for (const bool runs : {true, false}) {
    machine_options o{};
    o.memory_bytes = std::size_t{4} << 20;
    o.data_frames = 1024;
    o.smmu.id = emu::id_registers::model_full();
    o.smmu.engine.contiguous_runs = runs;
    r = &held.emplace(o);
    const tables t = three();
    const auto pages = r->regs.allocate_dma(65536, 65536);
    write_entry(ste_at(), ste_words({.config = 6, .vm = 3, .s2_root = t.root, .s2_bits = 39, .s2_start = 1}));
    r->enable();
    const std::uint64_t run = 0x40'0000;
    for (unsigned i = 0; i != 16; ++i)
      write(t.slot(run + i * 0x1000u), word::leaf(raw(pages.bus) + i * 0x1000u, 3, word::s2 | word::contiguous));
    EXPECT_TRUE(store(run, 1));
    write(t.slot(run + 0x3000), 0);  // one leaf of the run goes, and only it is invalidated
    EXPECT_TRUE(r->complete({cmd::tlbi_s2_ipa{vmid{3}, tlbi_operand::address(run + 0x3000, true)}.encode()}));
    EXPECT_TRUE(store(run, 2));  // a neighbour brings the run back
    EXPECT_EQ(store(run + 0x3000, 3), runs);
  }
}

}  // namespace
