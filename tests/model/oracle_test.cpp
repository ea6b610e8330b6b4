// SPDX-License-Identifier: MIT
#include <shootdown/model/oracle.hpp>

#include <array>
#include <atomic>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "test_env.hpp"

namespace {
using namespace shootdown;
using namespace shootdown::model;
using model_test::test_env;

constexpr bus_addr data{0x1'0000'0000};
constexpr bus_addr arena{0x8000'0000};
constexpr space_id a{1};
constexpr space_id b{2};
constexpr stream_id dev{5};

struct oracle_fixture : testing::Test {
  oracle<test_env> o{oracle_config{data, 64, arena, 16, 8}};
  static bus_addr frame(unsigned n, unsigned offset = 0) { return bus_addr{raw(data) + n * 4096u + offset}; }
};
using oracle_of_frames = oracle_fixture;

TEST_F(oracle_of_frames, the_owners_own_landing_is_silent) {
  ASSERT_TRUE(o.bind(dev, a).ok());
  ASSERT_TRUE(o.claim(frame(3), 2, a, iova{0x7000}).ok());
  EXPECT_TRUE(o.landing(dev, iova{0x7123}, frame(3, 0x123), instant{1}));
  EXPECT_TRUE(o.landing(dev, iova{0x8fff}, frame(4, 0xfff), instant{1}));
  EXPECT_EQ(o.leaks(), 0u);
}

TEST_F(oracle_of_frames, a_landing_in_a_released_frame_is_a_leak) {
  ASSERT_TRUE(o.bind(dev, a).ok());
  ASSERT_TRUE(o.claim(frame(3), 1, a, iova{0x7000}).ok());
  ASSERT_TRUE(o.release(frame(3), 1, a, iova{0x7000}).ok());
  EXPECT_FALSE(o.landing(dev, iova{0x7000}, frame(3), instant{9}));
  std::array<leak_record, 2> r{};
  ASSERT_EQ(o.records(r), 1u);
  EXPECT_EQ(r[0].kind, leak_kind::free_frame);
  EXPECT_EQ(r[0].sid, dev);
  EXPECT_EQ(r[0].found, owner_token::free);
  EXPECT_EQ(r[0].expected, make_owner(a, iova{0x7000}));
  EXPECT_EQ(r[0].time, instant{9});
}

TEST_F(oracle_of_frames, a_frame_that_was_reused_by_another_space_or_page_is_a_leak) {
  ASSERT_TRUE(o.bind(dev, a).ok());
  ASSERT_TRUE(o.claim(frame(3), 1, b, iova{0x7000}).ok());  // same page, other space
  ASSERT_TRUE(o.claim(frame(4), 1, a, iova{0x9000}).ok());  // same space, other page
  EXPECT_FALSE(o.landing(dev, iova{0x7000}, frame(3), instant{}));
  EXPECT_FALSE(o.landing(dev, iova{0x7000}, frame(4), instant{}));
  EXPECT_EQ(o.leaks(), 2u);
  std::array<leak_record, 2> r{};
  ASSERT_EQ(o.records(r), 2u);
  EXPECT_EQ(r[0].kind, leak_kind::foreign_frame);
  EXPECT_EQ(r[1].kind, leak_kind::foreign_frame);
}

TEST_F(oracle_of_frames, while_a_stream_moves_both_spaces_are_legal_and_afterwards_only_the_new_one) {
  ASSERT_TRUE(o.claim(frame(0), 1, a, iova{0x1000}).ok());
  ASSERT_TRUE(o.claim(frame(1), 1, b, iova{0x1000}).ok());
  ASSERT_TRUE(o.bind(dev, a, b).ok());
  EXPECT_TRUE(o.landing(dev, iova{0x1000}, frame(0), instant{}));
  EXPECT_TRUE(o.landing(dev, iova{0x1000}, frame(1), instant{}));
  ASSERT_TRUE(o.bind(dev, b).ok());
  EXPECT_TRUE(o.landing(dev, iova{0x1000}, frame(1), instant{}));
  EXPECT_FALSE(o.landing(dev, iova{0x1000}, frame(0), instant{}));
}

TEST_F(oracle_of_frames, a_stream_without_a_space_may_land_nowhere) {
  ASSERT_TRUE(o.claim(frame(0), 1, a, iova{0x1000}).ok());
  EXPECT_FALSE(o.landing(dev, iova{0x1000}, frame(0), instant{}));
  EXPECT_FALSE(o.landing(stream_id{1000}, iova{0x1000}, frame(0), instant{}));
}

TEST_F(oracle_of_frames, claims_and_releases_by_the_wrong_party_are_refused_and_change_nothing) {
  ASSERT_TRUE(o.claim(frame(2), 2, a, iova{0x1000}).ok());
  EXPECT_EQ(o.claim(frame(1), 2, b, iova{0x5000}).code(), errc::already_present);
  EXPECT_EQ(o.owner(frame(1)), owner_token::free);
  EXPECT_EQ(o.release(frame(2), 2, b, iova{0x1000}).code(), errc::not_present);
  EXPECT_EQ(o.release(frame(2), 2, a, iova{0x2000}).code(), errc::not_present);
  EXPECT_EQ(o.owner(frame(2)), make_owner(a, iova{0x1000}));
  EXPECT_EQ(o.claim(frame(5), 0, a, iova{0}).code(), errc::empty_range);
  EXPECT_EQ(o.claim(frame(5, 8), 1, a, iova{0}).code(), errc::misaligned);
  EXPECT_EQ(o.claim(frame(63), 2, a, iova{0}).code(), errc::out_of_range);
  EXPECT_EQ(o.claim(frame(5), 1, space_id::none, iova{0}).code(), errc::invalid_argument);
  EXPECT_EQ(o.bind(stream_id{256}, a).code(), errc::out_of_range);
  EXPECT_EQ(o.owned_frames(), 2u);
  EXPECT_TRUE(o.check_invariants());
}

TEST_F(oracle_of_frames, reading_a_live_table_is_silent_and_reading_a_freed_one_is_a_leak) {
  const bus_addr t{raw(arena) + 0x3000};
  o.table_allocated(t);
  EXPECT_TRUE(o.descriptor_read(dev, iova{0x1000}, bus_addr{raw(t) + 8}, instant{}));
  EXPECT_EQ(o.leaks(), 0u);
  EXPECT_EQ(o.live_tables(), 1u);
  o.table_freed(t);
  EXPECT_FALSE(o.descriptor_read(dev, iova{0x1000}, bus_addr{raw(t) + 8}, instant{}));
  std::array<leak_record, 1> r{};
  ASSERT_EQ(o.records(r), 1u);
  EXPECT_EQ(r[0].kind, leak_kind::freed_table);
  EXPECT_EQ(r[0].bus, bus_addr{raw(t) + 8});
}

TEST_F(oracle_of_frames, a_walk_outside_the_table_room_is_a_leak) {
  EXPECT_FALSE(o.descriptor_read(dev, iova{0x1000}, frame(0), instant{}));
  EXPECT_EQ(o.leaks(), 1u);
}

TEST_F(oracle_of_frames, a_landing_in_a_page_table_is_a_leak_and_elsewhere_in_memory_is_not_judged) {
  const bus_addr t{raw(arena) + 0x3000};
  EXPECT_TRUE(o.landing(dev, iova{0x1000}, t, instant{}));
  o.table_allocated(t);
  EXPECT_FALSE(o.landing(dev, iova{0x1000}, t, instant{}));
  std::array<leak_record, 1> r{};
  ASSERT_EQ(o.records(r), 1u);
  EXPECT_EQ(r[0].kind, leak_kind::table_write);
}

TEST_F(oracle_of_frames, the_count_is_exact_when_the_record_list_is_full) {
  for (unsigned i = 0; i != 1000; ++i) EXPECT_FALSE(o.landing(dev, iova{i}, frame(0), instant{i}));
  EXPECT_EQ(o.leaks(), 1000u);
  std::vector<leak_record> r(2000);
  EXPECT_EQ(o.records(r), oracle<test_env>::max_records);
  EXPECT_EQ(r[0].time, instant{0});
  EXPECT_TRUE(o.check_invariants());
  o.forget_leaks();
  EXPECT_EQ(o.leaks(), 0u);
  EXPECT_EQ(o.records(r), 0u);
}

TEST_F(oracle_of_frames, owners_are_packed_without_loss) {
  const owner_token t = make_owner(space_id{0xffff}, iova{0x000f'ffff'ffff'f123});
  EXPECT_EQ(owner_space(t), space_id{0xffff});
  EXPECT_EQ(owner_page(t), iova{0x000f'ffff'ffff'f000});
  EXPECT_NE(make_owner(a, iova{0}), owner_token::free);
}

TEST(leak_record, is_formatted_on_one_line_and_cut_at_the_span) {
  const leak_record r{leak_kind::foreign_frame,    stream_id{8},           iova{0x7123}, bus_addr{0x100003000},
                      make_owner(a, iova{0x7123}), make_owner(b, iova{0}), instant{42}};
  std::array<char, 200> text{};
  const std::size_t n = format(r, text);
  EXPECT_EQ(std::string(text.data(), n), "foreign_frame sid=0x8 iova=0x7123 bus=0x100003000 expected=1:0x7000 found=2:0x0 t=42");
  std::array<char, 10> small{};
  EXPECT_EQ(format(r, small), 9u);
  EXPECT_EQ(std::strlen(small.data()), 9u);
  EXPECT_EQ(format(r, {}), 0u);
}

TEST(oracle_threads, leaks_reported_by_several_devices_are_all_counted) {
  oracle<host::env> o{oracle_config{data, 64, arena, 16, 8}};
  std::vector<std::thread> devices;
  for (unsigned d = 0; d != 3; ++d)
    devices.emplace_back([&o, d] {
      for (unsigned i = 0; i != 500; ++i) (void)o.landing(stream_id{d}, iova{i * 4096u}, data, instant{i});
    });
  std::thread owner([&o] {
    for (unsigned i = 0; i != 500; ++i) {
      EXPECT_TRUE(o.claim(bus_addr{raw(data) + 4096}, 4, a, iova{0}).ok());
      EXPECT_TRUE(o.release(bus_addr{raw(data) + 4096}, 4, a, iova{0}).ok());
    }
  });
  for (auto& t : devices) t.join();
  owner.join();
  EXPECT_EQ(o.leaks(), 1500u);
  EXPECT_TRUE(o.check_invariants());
}

}  // namespace
