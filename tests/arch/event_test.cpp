// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <random>

#include <shootdown/arch/event.hpp>

namespace {
using namespace shootdown;

TEST(event_record, a_translation_fault_of_a_write_has_these_words) {
  const event e{.id = event_id::f_translation, .sid = stream_id{0x18}, .where = event_class::input, .address = 0xffff8000};
  const event_record r = event_record::encode(e);
  EXPECT_EQ(r.w[0], 0x0000'0018'0000'0010u);
  EXPECT_EQ(r.w[1], 0x0000'0200'0000'0000u);
  EXPECT_EQ(r.w[2], 0xffff8000u);
  EXPECT_EQ(r.w[3], 0u);
}

TEST(event_record, every_field_survives_encode_and_decode) {
  std::mt19937_64 random{9};
  for (unsigned turn = 0; turn != 20'000; ++turn) {
    const auto flag = [&] { return (random() & 1) != 0; };
    const event e{.id = event_id{static_cast<std::uint8_t>(random())},
                  .sid = stream_id{static_cast<std::uint32_t>(random())},
                  .ssid = substream_id{static_cast<std::uint32_t>(random() & 0xfffff)},
                  .ssv = flag(),
                  .stag = static_cast<std::uint16_t>(random()),
                  .stall = flag(),
                  .privileged = flag(),
                  .instruction = flag(),
                  .read = flag(),
                  .stage2 = flag(),
                  .where = event_class{static_cast<std::uint8_t>(random() & 3)},
                  .table_read = flag(),
                  .address = random(),
                  .fetch = random() & 0x000ffffffffffff8};
    ASSERT_EQ(event_record::encode(e).decode(), e);
  }
}

TEST(event_record, one_field_moves_only_its_own_bits) {
  const event_record none = event_record::encode({.where = event_class::cd});
  EXPECT_EQ(none, event_record{});
  EXPECT_EQ(event_record::encode({.stall = true, .where = event_class::cd}).w[1], std::uint64_t{1} << 31);
  EXPECT_EQ(event_record::encode({.read = true, .where = event_class::cd}).w[1], std::uint64_t{1} << 35);
  EXPECT_EQ(event_record::encode({.stage2 = true, .where = event_class::cd}).w[1], std::uint64_t{1} << 39);
}

TEST(event_record, ids_have_their_specification_names) {
  EXPECT_STREQ(name(event_id::f_tlb_conflict), "F_TLB_CONFLICT");
  EXPECT_STREQ(name(event_id{0xff}), "?");
  unsigned named = 0;
  for (unsigned id = 0; id != 256; ++id) named += std::strcmp(name(event_id{static_cast<std::uint8_t>(id)}), "?") != 0 ? 1u : 0u;
  EXPECT_EQ(named, 19u);
}

TEST(page_request_record, fields_fill_the_first_word) {
  using r = page_request_record;
  EXPECT_EQ(r::sid_f::mask | r::ssid_f::mask | r::priv_f::mask | r::exec_f::mask | r::read_f::mask | r::write_f::mask | r::last_f::mask |
                r::ssv_f::mask,
            ~(std::uint64_t{0x3f} << 52));
}

}  // namespace
