// SPDX-License-Identifier: MIT
// A stream refuses the tag of the other stage, and a stage-2 stream survives a replace that fails half way.
#include <gtest/gtest.h>

#include <shootdown/host/lab.hpp>

using namespace shootdown;

namespace {

template <class Format>
using lab_of = host::lab<host::env, queue::owner_cas, host::env, Format>;

template <class Lab>
typename Lab::options_type with_stage2(unsigned spaces) {
  typename Lab::options_type o;
  o.spaces = spaces;
  o.machine.smmu.id.idr0 |= static_cast<std::uint32_t>(reg::idr0::s2p::put(true));
  o.machine.memory_bytes = std::size_t{8} << 20;
  o.machine.data_frames = 256;
  return o;
}

}  // namespace

TEST(streams, refuse_a_tag_of_the_other_stage_and_nothing_changes) {
  const host::thread_scope registered;
  lab_of<table::stage1_k4> first{with_stage2<lab_of<table::stage1_k4>>(1)};
  ASSERT_TRUE(first.open().ok());
  install request;
  request.what = install::action::translate;
  request.vmid_tag = tag{tag_kind::vmid, 5};
  auto& one = first.at(0);
  EXPECT_EQ(one.stream().writer(one.translation()).write_entry(request).code(), errc::invalid_argument);
  EXPECT_EQ(first.smmu().streams().read(one.sid())->config(), ste_config::stage1);

  lab_of<table::stage2_k4> second{with_stage2<lab_of<table::stage2_k4>>(1)};
  ASSERT_TRUE(second.open().ok());
  auto& two = second.at(0);
  request.vmid_tag = {};
  request.asid_tag = tag{tag_kind::asid, 5};
  EXPECT_EQ(two.stream().writer(two.translation()).write_entry(request).code(), errc::invalid_argument);
  EXPECT_EQ(second.smmu().streams().read(two.sid())->config(), ste_config::stage2);
}

TEST(stage2_stream, moves_between_domains_and_the_device_follows) {
  const host::thread_scope registered;
  using lab_type = lab_of<table::stage2_k4>;
  lab_type lab{with_stage2<lab_type>(2)};
  ASSERT_TRUE(lab.open().ok());
  auto& from = lab.at(0);
  auto& to = lab.at(1);
  const host::mapping here{iova{0x10000}, lab.frame(1), 4096}, there{iova{0x20000}, lab.frame(2), 4096};
  ASSERT_TRUE(from.map(here).ok());
  ASSERT_TRUE(to.map(there).ok());
  ASSERT_TRUE(from.write(here.at).ok());
  ASSERT_TRUE(lab.machine().oracle().bind(from.sid(), from.id(), to.id()).ok());
  ASSERT_TRUE(from.domain().replace(from.attachment(), to.domain(), from.stream().writer(to.translation()), deadline::never()).ok());
  EXPECT_FALSE(from.write(here.at).ok());
  EXPECT_TRUE(from.write(there.at).ok());
  EXPECT_EQ(lab.smmu().streams().read(from.sid())->vm(), lab.smmu().streams().read(to.sid())->vm()) << "one VMID per domain and instance";
  EXPECT_EQ(
      from.stream().writer(to.translation()).write_entry(install{.what = install::action::translate, .pasid = substream_id{3}}).code(),
      errc::unsupported);
  ASSERT_TRUE(to.domain().detach(from.attachment(), from.stream().writer({}), deadline::never()).ok());
  EXPECT_FALSE(from.write(there.at).ok());
  EXPECT_TRUE(to.write(there.at).ok());
  EXPECT_EQ(lab.leaks(), 0u);
}
