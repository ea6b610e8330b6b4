// SPDX-License-Identifier: MIT
// A guest's stage 1 over a host's stage 2: the host takes memory away from the guest, and the device behind both stages must
// lose it. The SMMU caches the two stages as one; invalidating the intermediate address alone does not reach such entries.
#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include <shootdown/device/smmu.hpp>
#include <shootdown/host/env.hpp>
#include <shootdown/invs/domain.hpp>
#include <shootdown/model/machine.hpp>
#include <shootdown/queue/owner_cas.hpp>
#include <shootdown/table/editor.hpp>
#include <shootdown/table/format.hpp>
#include <shootdown/table/page_pool.hpp>

using namespace shootdown;

namespace {

using env = host::env;
using machine_type = model::machine<env>;
using smmu_type = device::smmu<env, machine_type::backend_type, queue::owner_cas>;
using pool_type = table::page_pool<env, model::table_hooks<env>>;
constexpr std::uint64_t page = 4096;

model::machine_options options() {
  model::machine_options o;
  o.smmu.id = emu::id_registers::model_default();
  o.smmu.id.idr0 |= static_cast<std::uint32_t>(reg::idr0::s2p::put(true));
  o.memory_bytes = std::size_t{4} << 20;
  o.data_frames = 256;
  o.backend.posted_writes = true;
  return o;
}

/// The STE of a guest: its own context descriptor (an intermediate address), the host's stage 2 below it.
struct nested_entry {
  smmu_type& smmu;
  stream_id sid;
  bus_addr cd_ipa;
  bus_addr stage2_root;
  unsigned ipa_bits;
  status write_entry(const install& i) {
    if (i.what != install::action::translate) return smmu.write_stream(sid, ste::abort());
    ste_stage1 first;
    first.cd_table = cd_ipa;
    first.no_stall = smmu.id().can_stall;
    ste_stage2 second;
    second.table = stage2_root;
    second.walk.input_bits = ipa_bits;
    second.vm = vmid{i.vmid_tag.id};
    const result<ste> e = ste::nested(first, second);
    return e.ok() ? smmu.write_stream(sid, *e) : e.state();
  }
  status ats(bool on) { return on ? status{errc::unsupported} : status{}; }
};

struct nesting : ::testing::Test {
  nesting() : table_memory{machine.backend().allocate_dma(64 * page, page * 16)}, cd_memory{machine.backend().allocate_dma(page, page)} {}

  void SetUp() override {
    ASSERT_TRUE(smmu.start({}).ok());
    ASSERT_TRUE(host_table.create({.input_bits = ipa_bits, .output_bits = 48}).ok());
    ASSERT_TRUE(guest_table.create({.input_bits = 39, .output_bits = ipa_bits}).ok());
    ASSERT_TRUE(machine.oracle().bind(sid, space).ok());
    // The guest's tables and context descriptor lie where the guest believes them to be: IPA = bus address.
    ASSERT_TRUE(host_table.map(ipa{raw(table_memory.bus)}, table_memory.bus, 64 * page, {.write = true}).ok());
    ASSERT_TRUE(host_table.map(ipa{raw(cd_memory.bus)}, cd_memory.bus, page, {.write = true}).ok());
    // One page of guest memory, at another intermediate address than its frame.
    ASSERT_TRUE(machine.oracle().claim(frame, 1, space, va).ok());
    ASSERT_TRUE(host_table.map(memory, frame, page, {.write = true}).ok());
    ASSERT_TRUE(guest_table.map(va, bus_addr{raw(memory)}, page, {.write = true}).ok());
    cd_stage1 want;
    want.table = guest_table.root();
    want.input_bits = 39;
    want.as = asid{7};
    const result<cd> made = cd::stage1(want);
    ASSERT_TRUE(made.ok());
    for (unsigned w = 0; w != 8; ++w) cd_memory.cpu[w].store(made->w[w], std::memory_order_release);
    entry.stage2_root = host_table.root();
    ASSERT_TRUE(parent.attach(attachment, {smmu, {&sid, 1}}, entry, deadline::never()).ok());
  }
  void TearDown() override {
    EXPECT_TRUE(parent.detach(attachment, entry, deadline::never()).ok());
    env::rcu::synchronize();
    EXPECT_TRUE(smmu.stop().ok());
    env::rcu::drain();
    EXPECT_TRUE(machine.check_invariants());
  }
  bool device_writes() { return machine.smmu().dma(sid, va, model::request::store(), 1, instant{}).ok(); }

  static constexpr unsigned ipa_bits = 40;
  static constexpr iova va{0x1234'5000};
  static constexpr ipa memory{0x70'0000'0000};
  static constexpr model::space_id space{3};
  const stream_id sid{9};

  host::thread_scope registered;
  machine_type machine{options()};
  smmu_type smmu{machine.backend()};
  dma_span<env> table_memory;
  dma_span<env> cd_memory;
  std::vector<table::page_meta> meta = std::vector<table::page_meta>(64);
  pool_type pool{table_memory, std::span{meta}, machine.hooks()};
  table::editor<env, pool_type, table::stage2_k4> host_table{pool};
  table::editor<env, pool_type, table::stage1_k4> guest_table{pool};
  const bus_addr frame{raw(options().data_base) + 5 * page};
  domain<env, smmu_type> parent{
      domain_options{.stage = translation_stage::two, .nesting_parent = true, .address_bits = ipa_bits, .number = 1}};
  domain<env, smmu_type>::attachment_t attachment;
  nested_entry entry{smmu, sid, cd_memory.bus, {}, ipa_bits};
};

}  // namespace

TEST_F(nesting, memory_that_the_host_takes_is_lost_through_both_stages) {
  ASSERT_TRUE(device_writes());
  gather<> g;
  ASSERT_TRUE(host_table.unmap(memory, page, g).ok());
  EXPECT_TRUE(device_writes()) << "the combined translation is cached, or nothing is proven";
  ASSERT_TRUE(parent.invalidate(g, deadline::never()).ok());
  EXPECT_FALSE(device_writes());
  host_table.release(g);
  ASSERT_TRUE(machine.oracle().release(frame, 1, space, va).ok());
  EXPECT_FALSE(device_writes());
  EXPECT_EQ(machine.leaks(), 0u);
  EXPECT_TRUE(host_table.check_invariants() && guest_table.check_invariants() && parent.check_invariants());
}

TEST_F(nesting, invalidating_the_intermediate_address_alone_leaks) {
  ASSERT_TRUE(device_writes());
  gather<> g;
  ASSERT_TRUE(host_table.unmap(memory, page, g).ok());
  // What the parent domain sends, without the NH_ALL that follows: S2_IPA of exactly that page, and a SYNC.
  const auto operand = tlbi_operand::range(granule::k4, raw(memory), 0, 0, 3, false);
  ASSERT_TRUE(operand.ok());
  ASSERT_TRUE(smmu.issue(stamp(cmd::tlbi_s2_ipa::tag_word(vmid{attachment.current_tag().id}), *operand)).ok());
  host_table.release(g);
  ASSERT_TRUE(machine.oracle().release(frame, 1, space, va).ok());
  EXPECT_TRUE(device_writes()) << "the adversary keeps combined entries, as the architecture lets it";
  EXPECT_EQ(machine.leaks(), 1u);
}
