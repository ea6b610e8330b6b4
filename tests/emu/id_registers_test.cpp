// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>

#include <cstdint>

#include <shootdown/emu/id_registers.hpp>

namespace {
using namespace shootdown;
using emu::id_registers;

template <class Field>
void put(std::uint32_t& word, typename Field::value_type v) {
  word = static_cast<std::uint32_t>(Field::set(word, v));
}

TEST(id_registers, presets_say_what_they_promise) {
  const id_registers q = id_registers::qemu_7_2();
  EXPECT_TRUE(q.stage1() && !q.stage2() && !q.msi() && !q.sev() && !q.ats() && !q.hyp() && !q.pri());
  EXPECT_TRUE(q.range_invalidation());
  EXPECT_EQ(q.asid_bits(), 16u);
  EXPECT_EQ(q.vmid_bits(), 8u);
  EXPECT_EQ(q.stream_bits(), 16u);
  EXPECT_EQ(q.output_bits(), 44u);
  EXPECT_FALSE(q.stalls());

  const id_registers m = id_registers::model_default();
  EXPECT_TRUE(m.stage1() && !m.stage2() && m.msi() && m.sev() && !m.ats());
  EXPECT_TRUE(reg::idr0::cohacc::get(m.idr0));
  EXPECT_EQ(m.vmid_bits(), 16u);
  EXPECT_EQ(m.output_bits(), 48u);
  EXPECT_EQ(m.substream_bits(), 0u);
  EXPECT_EQ(reg::idr1::cmdqs::get(m.idr1), 19u);
  for (const granule g : {granule::k4, granule::k16, granule::k64}) EXPECT_TRUE(m.supports(g) && q.supports(g));

  const id_registers f = id_registers::model_full();
  EXPECT_TRUE(f.stage1() && f.stage2() && f.hyp() && f.ats() && f.msi() && f.sev() && !f.pri() && !f.stalls());
  EXPECT_TRUE(reg::idr0::cd2l::get(f.idr0));
  EXPECT_EQ(reg::idr0::st_level::get(f.idr0), 1);
  EXPECT_EQ(reg::idr0::ttendian::get(f.idr0), 0);
  EXPECT_EQ(f.substream_bits(), 20u);
  EXPECT_EQ(f.stream_bits(), m.stream_bits());
}

TEST(id_registers, sets_that_contradict_themselves_are_refused) {
  const auto with = [](auto change) {
    id_registers r = id_registers::model_default();
    change(r);
    return r.validate().code();
  };
  EXPECT_EQ(with([](id_registers&) {}), errc::ok);
  EXPECT_EQ(with([](id_registers& r) { put<reg::idr0::s1p>(r.idr0, false); }), errc::invalid_argument);
  EXPECT_EQ(with([](id_registers& r) { put<reg::idr0::ttf>(r.idr0, 0); }), errc::invalid_argument);
  EXPECT_EQ(with([](id_registers& r) { put<reg::idr0::stall>(r.idr0, reg::stall_model{3}); }), errc::invalid_argument);
  EXPECT_EQ(with([](id_registers& r) { put<reg::idr0::st_level>(r.idr0, 2); }), errc::invalid_argument);
  EXPECT_EQ(with([](id_registers& r) { put<reg::idr0::ttendian>(r.idr0, 1); }), errc::invalid_argument);
  EXPECT_EQ(with([](id_registers& r) { put<reg::idr0::pri>(r.idr0, true); }), errc::invalid_argument) << "PRI without ATS";
  EXPECT_EQ(with([](id_registers& r) {
              put<reg::idr0::pri>(r.idr0, true);
              put<reg::idr0::ats>(r.idr0, true);
            }),
            errc::ok);
  EXPECT_EQ(with([](id_registers& r) {
              put<reg::idr0::s1p>(r.idr0, false);
              put<reg::idr0::s2p>(r.idr0, true);
              put<reg::idr0::hyp>(r.idr0, true);
            }),
            errc::invalid_argument)
      << "HYP without stage 1";
  EXPECT_EQ(with([](id_registers& r) { put<reg::idr1::sidsize>(r.idr1, 33); }), errc::out_of_range);
  EXPECT_EQ(with([](id_registers& r) { put<reg::idr1::ssidsize>(r.idr1, 21); }), errc::out_of_range);
  EXPECT_EQ(with([](id_registers& r) { put<reg::idr1::cmdqs>(r.idr1, 20); }), errc::out_of_range);
  EXPECT_EQ(with([](id_registers& r) { put<reg::idr1::eventqs>(r.idr1, 20); }), errc::out_of_range);
  EXPECT_EQ(with([](id_registers& r) { put<reg::idr1::queues_preset>(r.idr1, true); }), errc::unsupported);
  EXPECT_EQ(with([](id_registers& r) { put<reg::idr1::tables_preset>(r.idr1, true); }), errc::unsupported);
  EXPECT_EQ(with([](id_registers& r) { put<reg::idr5::d128>(r.idr5, true); }), errc::unsupported);
  EXPECT_EQ(with([](id_registers& r) { r.idr5 &= ~0x70u; }), errc::invalid_argument) << "no granule";
  EXPECT_EQ(with([](id_registers& r) {
              put<reg::idr5::ds>(r.idr5, true);
              put<reg::idr3::ril>(r.idr3, false);
            }),
            errc::invalid_argument)
      << "6-bit SCALE without range invalidation";
  EXPECT_EQ(id_registers{}.validate().code(), errc::invalid_argument);
}

}  // namespace
