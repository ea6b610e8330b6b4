// SPDX-License-Identifier: MIT
#include <shootdown/model/config_cache.hpp>

#include <cstdint>
#include <set>

#include <gtest/gtest.h>

#include <shootdown/arch/commands.hpp>

namespace {
using namespace shootdown;
using namespace shootdown::model;

struct adversary_config_cache : testing::Test {
  node_pool pool;
  config_cache c{pool};
  using ids = std::set<std::uint64_t>;

  adversary_config_cache() {
    for (std::uint32_t sid : {4u, 5u, 8u}) {
      c.insert_ste(stream_id{sid}, {entry_id{sid}, {}});
      for (std::uint32_t ssid : {0u, 3u}) c.insert_cd(stream_id{sid}, substream_id{ssid}, {entry_id{sid * 100 + ssid}, {}});
    }
  }
  ids send(command k) {
    ids gone;
    const std::size_t n = c.remove(k, [&](entry_id id) { gone.insert(raw(id)); });
    EXPECT_EQ(n, gone.size());
    return gone;
  }
};

TEST_F(adversary_config_cache, keeps_everything_until_a_configuration_command_names_it) {
  EXPECT_TRUE(send(cmd::tlbi_nsnh_all{}.encode()).empty());
  EXPECT_TRUE(send(cmd::cfgi_ste{stream_id{6}, true}.encode()).empty());
  EXPECT_TRUE(send(cmd::cfgi_cd{stream_id{4}, substream_id{1}, true}.encode()).empty());
  EXPECT_EQ(c.size(), 9u);
}

TEST_F(adversary_config_cache, an_ste_goes_with_the_cds_reached_through_it) {
  EXPECT_EQ(send(cmd::cfgi_ste{stream_id{4}, true}.encode()), (ids{4, 400, 403}));
  EXPECT_EQ(c.ste(stream_id{4}), nullptr);
  EXPECT_NE(c.ste(stream_id{5}), nullptr);
}

TEST_F(adversary_config_cache, a_range_is_aligned_down_to_its_size) {
  EXPECT_EQ(send(cmd::cfgi_ste_range{stream_id{5}, 0}.encode()), (ids{4, 5, 400, 403, 500, 503}));  // 2 streams: 4 and 5
}

TEST_F(adversary_config_cache, cfgi_all_removes_everything) { EXPECT_EQ(send(cmd::cfgi_all().encode()).size(), 9u); }

TEST_F(adversary_config_cache, cd_commands_leave_the_ste) {
  EXPECT_EQ(send(cmd::cfgi_cd{stream_id{5}, substream_id{3}, true}.encode()), (ids{503}));
  EXPECT_EQ(send(cmd::cfgi_cd_all{stream_id{8}}.encode()), (ids{800, 803}));
  EXPECT_NE(c.ste(stream_id{8}), nullptr);
  EXPECT_NE(c.cd(stream_id{5}, substream_id{0}), nullptr);
}

}  // namespace
