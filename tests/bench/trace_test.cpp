// SPDX-License-Identifier: MIT
#include "../../bench/trace.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>

#ifndef SHOOTDOWN_TRACE_DIR
#define SHOOTDOWN_TRACE_DIR "bench/traces"
#endif

namespace sb = shootdown::bench;
using ::testing::HasSubstr;

namespace {

const std::string recording = SHOOTDOWN_TRACE_DIR "/linux-6.1.192-strict-smp1.pairs.txt.gz";

/// A file that goes away with the test.
class scratch_file {
 public:
  explicit scratch_file(const std::string& content) {
    char name[] = "/tmp/shootdown_trace_XXXXXX";
    const int fd = mkstemp(name);
    if (fd >= 0) close(fd);
    path_ = name;
    std::ofstream(path_, std::ios::binary) << content;
  }
  ~scratch_file() { std::filesystem::remove(path_); }
  scratch_file(const scratch_file&) = delete;
  scratch_file& operator=(const scratch_file&) = delete;
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_;
};

std::string error_of(const std::string& line) { return std::string(sb::parse_pairs_line(line).status().message()); }

}  // namespace

TEST(trace_reader, reads_every_unmap_of_the_recording) {
  const auto unmaps = sb::read_pairs(recording);
  ASSERT_TRUE(unmaps.ok()) << unmaps.status().ToString();
  const sb::recorded_totals all = sb::sum_recorded(*unmaps, 1);
  EXPECT_EQ(all.unmaps, 11178u);
  EXPECT_EQ(all.tlbi, 11795u);
  EXPECT_EQ(all.sync, 11639u);
  EXPECT_EQ(all.map_time, 27u);
  const sb::recorded_totals large = sb::sum_recorded(*unmaps, sb::large_unmap_pages);
  EXPECT_EQ(large.unmaps, 70u);
  EXPECT_EQ(large.tlbi, 625u);
  EXPECT_EQ(large.sync, 524u);
  EXPECT_EQ(large.map_time, 27u);
}

TEST(trace_reader, plain_and_gzip_give_the_same) {
  scratch_file plain(
      "unmap 0x1000+1 events=1 : [num=0 scale=0 asid=2 leaf=1 ttl=3 tg=1 addr=0x1000] [SYNC]\n\n# note\nunmap 0x200000+512\n");
  const std::string packed = plain.path() + ".gz";
  ASSERT_EQ(std::system(("gzip -k " + plain.path()).c_str()), 0);
  const auto a = sb::read_pairs(plain.path());
  const auto b = sb::read_pairs(packed);
  std::filesystem::remove(packed);
  ASSERT_TRUE(a.ok() && b.ok());
  ASSERT_EQ(a->size(), 2u);
  ASSERT_EQ(b->size(), 2u);
  for (std::size_t i = 0; i != 2; ++i) {
    EXPECT_EQ((*a)[i].iova, (*b)[i].iova);
    EXPECT_EQ((*a)[i].pages, (*b)[i].pages);
  }
  EXPECT_EQ((*a)[0].recorded_tlbi, 1u);
  EXPECT_EQ((*a)[0].recorded_sync, 1u);
}

TEST(trace_reader, map_time_flush_is_a_table_flush_of_a_region_taken_out_as_a_block) {
  const auto u = sb::parse_pairs_line(
      "unmap 0x200000+1024 events=2 : [num=0 scale=9 asid=1 leaf=0 ttl=0 tg=1 addr=0x200000] [SYNC] "
      "[num=0 scale=9 asid=1 leaf=0 ttl=0 tg=1 addr=0x400000] [SYNC] [num=0 scale=9 asid=1 leaf=1 ttl=2 tg=1 addr=0x200000] [SYNC]");
  ASSERT_TRUE(u.ok());
  EXPECT_EQ(u->recorded_tlbi, 3u);
  EXPECT_EQ(u->recorded_sync, 3u);
  EXPECT_EQ(u->recorded_map_time, 1u);
}

TEST(trace_reader, malformed_lines_are_named_with_their_reason) {
  EXPECT_THAT(error_of("map 0x1000+1"), HasSubstr("expected 'unmap"));
  EXPECT_THAT(error_of("unmap 1000+1"), HasSubstr("hexadecimal"));
  EXPECT_THAT(error_of("unmap 0x+1"), HasSubstr("hexadecimal"));
  EXPECT_THAT(error_of("unmap 0xzz+1"), HasSubstr("hexadecimal"));
  EXPECT_THAT(error_of("unmap 0x1000"), HasSubstr("page count"));
  EXPECT_THAT(error_of("unmap 0x1000+x"), HasSubstr("page count"));
  EXPECT_THAT(error_of("unmap 0x1000+-1"), HasSubstr("page count"));
  EXPECT_THAT(error_of("unmap 0x1000+0"), HasSubstr("page count is 0"));
  EXPECT_THAT(error_of("unmap 0x1001+1"), HasSubstr("aligned"));
  EXPECT_THAT(error_of("unmap 0xfffffffffffff000+1"), HasSubstr("address bits"));
  EXPECT_THAT(error_of("unmap 0x1000+18446744073709551615"), HasSubstr("address bits"));
  EXPECT_THAT(error_of("unmap 0x1000+1 events=1"), HasSubstr("':'"));
  EXPECT_THAT(error_of("unmap 0x1000+1 events=1 : num=0"), HasSubstr("[command]"));
  EXPECT_THAT(error_of("unmap 0x1000+1 events=1 : [SYNC"), HasSubstr("[command]"));
}

TEST(trace_reader, a_malformed_file_gives_line_number_and_reason) {
  scratch_file bad("unmap 0x1000+1\n# fine\nunmap 0x2000+1\nunmap 0x2004+1\n");
  const auto u = sb::read_pairs(bad.path());
  ASSERT_FALSE(u.ok());
  EXPECT_THAT(std::string(u.status().message()), HasSubstr(bad.path() + ":4: IOVA is not 4 KiB aligned"));
}

TEST(trace_reader, empty_missing_and_damaged_files_are_errors) {
  EXPECT_EQ(sb::read_pairs("/nonexistent/file").status().code(), absl::StatusCode::kNotFound);
  scratch_file empty("");
  EXPECT_THAT(std::string(sb::read_pairs(empty.path()).status().message()), HasSubstr("no unmap"));
  std::ifstream in(recording, std::ios::binary);
  std::string bytes((std::istreambuf_iterator<char>(in)), {});
  ASSERT_GT(bytes.size(), 1000u);
  scratch_file cut(bytes.substr(0, bytes.size() / 2));
  EXPECT_FALSE(sb::read_pairs(cut.path()).ok());
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 0x55);
  scratch_file flipped(bytes);
  EXPECT_FALSE(sb::read_pairs(flipped.path()).ok());
}

TEST(trace_reader, a_command_that_claims_to_name_everything_costs_no_more_than_another) {
  const auto u = sb::parse_pairs_line(
      "unmap 0x200000+512 events=3 : [num=31 scale=39 leaf=1 ttl=2 addr=0x200000] [num=31 scale=39 leaf=1 ttl=2 addr=0xffffffffffe00000] "
      "[leaf=0 addr=0x200000] [leaf=0 addr=0xfffffe00000] [leaf=0 addr=0x1ff000]");
  ASSERT_TRUE(u.ok()) << u.status().ToString();
  EXPECT_EQ(u->recorded_tlbi, 5u);
  EXPECT_EQ(u->recorded_map_time, 2u) << "the block before the first is not named";
}

TEST(trace_reader, blocks_of_several_commands_are_found_wherever_they_begin) {
  const auto u = sb::parse_pairs_line(
      "unmap 0x200000+512 events=3 : [num=0 scale=9 leaf=1 ttl=2 addr=0x800000] [num=7 scale=9 leaf=1 ttl=2 addr=0x200000] "
      "[num=0 scale=9 leaf=1 ttl=2 addr=0x400000] [num=0 scale=0 leaf=1 ttl=2 addr=0x2000000] "
      "[leaf=0 addr=0x200000] [leaf=0 addr=0x11ff000] [leaf=0 addr=0x1200000] [leaf=0 addr=0x2000000]");
  ASSERT_TRUE(u.ok()) << u.status().ToString();
  EXPECT_EQ(u->recorded_map_time, 2u) << "eight blocks from 2 MiB on, and no part of a block";
}

TEST(trace_reader, a_text_beyond_the_limit_is_an_error) {
  const scratch_file file{"unmap 0x1000+1\nunmap 0x2000+1\n"};
  EXPECT_TRUE(sb::read_pairs(file.path(), 30).ok());
  const auto u = sb::read_pairs(file.path(), 29);
  EXPECT_EQ(u.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(u.status().message()), HasSubstr(file.path() + ": more than 29 bytes"));
}
