// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>

#include <shootdown/arch/commands.hpp>

#include "invs/fixture.hpp"

namespace {
using namespace invs_test;

static_assert(sizeof(void*) != 8 || sizeof(entry_t) <= 32);

TEST(entry, tag_words_are_those_of_the_commands) {
  recording_port p{3};
  EXPECT_EQ(s1(p, 0x42).tag_word, (cmd::tlbi_nh_va{.as = asid{0x42}}.encode().dw0));
  EXPECT_EQ(s1(p, 0x42).whole_word(), 0x0042000000000011u);
  EXPECT_EQ(s2(p, 5).tag_word, 0x000000050000002au);
  EXPECT_EQ(s2(p, 5).whole_word(), 0x0000000500000028u);
  EXPECT_EQ(s2(p, 5, entry_type::s2_vmid_vsmmu).whole_word(), 0x0000000500000028u);
  EXPECT_EQ(clear_s1(p, 5).tag_word, 0x0000000500000010u);
  EXPECT_EQ(clear_s1(p, 5).whole_word(), 0x0000000500000010u);
  EXPECT_EQ(ats(p, 0x1234).tag_word, 0x0000123400000040u);
  EXPECT_EQ(ats(p, 0x1234, 9).tag_word, 0x0000123400009840u);
  EXPECT_EQ(ats(p, 0x1234, 9).whole_word(), 0x0000123400009840u);
  EXPECT_EQ(ats(p, 0x1234, 9, entry_type::ats_full).whole_word(), 0x0000123400000040u) << "a full wipe names no PASID";
}

TEST(entry, e2h_instances_use_el2_commands) {
  auto f = recording_port::default_features();
  f.e2h = true;
  recording_port p{3, f};
  EXPECT_EQ(s1(p, 0x42).tag_word, 0x0042000000000022u);
  EXPECT_EQ(s1(p, 0x42).whole_word(), 0x0042000000000021u);
  EXPECT_TRUE(s1(p, 0x42).check_invariants());
}

TEST(entry, key_orders_by_instance_type_id_and_pasid_and_never_by_address) {
  recording_port low{1}, high{2};
  EXPECT_LT(ats(low, 0xffffffff, 0xfffff).key(), s1(high, 1).key());
  EXPECT_LT(s1(low, 0xffff).key(), s2(low, 1).key());
  EXPECT_LT(s2(low, 9).key(), s2(low, 1, entry_type::s2_vmid_vsmmu).key());
  EXPECT_LT(s2(low, 9, entry_type::s2_vmid_vsmmu).key(), clear_s1(low, 1).key());
  EXPECT_LT(clear_s1(low, 9).key(), ats(low, 1).key());
  EXPECT_LT(ats(low, 9).key(), ats(low, 1, 0, entry_type::ats_full).key());
  EXPECT_LT(ats(low, 9, 1).key(), ats(low, 9, 2).key());
  EXPECT_LT(ats(low, 9, 2).key(), ats(low, 10, 1).key());
  recording_port same_number{1};
  EXPECT_EQ(s1(low, 7).key(), s1(same_number, 7).key());
  EXPECT_EQ(ats(low, 7, 3, entry_type::ats, 1).key(), ats(low, 7, 3, entry_type::ats, 2).key()) << "the unit is no part of the key";
}

TEST(entry, refuses_what_the_port_lacks) {
  auto f = recording_port::default_features();
  f.stage1 = false;
  f.ats = false;
  f.granules = 0b0010;
  recording_port p{0, f};
  EXPECT_EQ(spec_t::stage1(p, asid{1}, granule::k4).code(), errc::unsupported);
  EXPECT_EQ(spec_t::stage2(p, entry_type::s2_vmid_s1_clear, vmid{1}, granule::k4).code(), errc::unsupported);
  EXPECT_EQ(spec_t::stage2(p, entry_type::s2_vmid, vmid{1}, granule::k64).code(), errc::unsupported);
  EXPECT_TRUE(spec_t::stage2(p, entry_type::s2_vmid, vmid{1}, granule::k4).ok());
  EXPECT_EQ(spec_t::device(p, entry_type::ats, stream_id{1}, substream_id{}, 0).code(), errc::unsupported);
  f = recording_port::default_features();
  f.stage2 = false;
  recording_port q{0, f};
  EXPECT_EQ(spec_t::stage2(q, entry_type::s2_vmid, vmid{1}, granule::k4).code(), errc::unsupported);
}

TEST(entry, refuses_ids_that_are_too_wide_or_reserved) {
  auto f = recording_port::default_features();
  f.asid_bits = f.vmid_bits = 8;
  f.stream_bits = 10;
  f.substream_bits = 4;
  recording_port p{0, f};
  EXPECT_EQ(spec_t::stage1(p, asid{0x100}, granule::k4).code(), errc::out_of_range);
  EXPECT_TRUE(spec_t::stage1(p, asid{0xff}, granule::k4).ok());
  EXPECT_EQ(spec_t::stage1(p, asid{0}, granule::k4).code(), errc::invalid_argument);
  EXPECT_EQ(spec_t::stage2(p, entry_type::s2_vmid, vmid{0x100}, granule::k4).code(), errc::out_of_range);
  EXPECT_EQ(spec_t::stage2(p, entry_type::s2_vmid, vmid{0}, granule::k4).code(), errc::invalid_argument);
  EXPECT_EQ(spec_t::stage2(p, entry_type::ats, vmid{1}, granule::k4).code(), errc::invalid_argument);
  EXPECT_EQ(spec_t::device(p, entry_type::ats, stream_id{1024}, substream_id{}, 0).code(), errc::out_of_range);
  EXPECT_EQ(spec_t::device(p, entry_type::ats, stream_id{1023}, substream_id{16}, 0).code(), errc::out_of_range);
  EXPECT_TRUE(spec_t::device(p, entry_type::ats, stream_id{1023}, substream_id{15}, 0).ok());
  EXPECT_EQ(spec_t::device(p, entry_type::s1_asid, stream_id{1}, substream_id{}, 0).code(), errc::invalid_argument);
  EXPECT_EQ(spec_t::device(p, entry_type::ats, stream_id{1}, substream_id{}, 32).code(), errc::invalid_argument);
}

TEST(entry, invariants_notice_a_foreign_opcode) {
  recording_port p{3};
  auto e = s1(p, 7);
  EXPECT_TRUE(e.check_invariants());
  e.tag_word = opcode_f::set(e.tag_word, opcode::tlbi_s2_ipa);
  EXPECT_FALSE(e.check_invariants());
  e = s1(p, 7);
  e.instance = instance_id{4};
  EXPECT_FALSE(e.check_invariants());
}

}  // namespace
