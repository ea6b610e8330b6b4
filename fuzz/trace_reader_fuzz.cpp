// SPDX-License-Identifier: MIT
// The reader of recordings (bench/trace.hpp) on any bytes, plain or compressed: an error that names the file and the line, or
// unmaps that keep every promise of the format and agree with the lines one by one. Memory stays within a bound that does not
// depend on what the numbers in the text say.
//
// Input: tag, how the rest becomes a file (1 byte: 0 as it is; 1 packed by gzip; 2 packed, then cut short by the next byte;
// 3 packed, then one byte changed: position (2 bytes), value (1 byte)), then the rest.
//
// Under test: bench/trace.cpp
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include <sys/mman.h>
#include <unistd.h>
#include <zlib.h>

#include "input.hpp"
#include "trace.hpp"

extern "C" const std::uint8_t fuzz_format_tag = 't';

namespace {
using namespace shootdown;
using fuzz::require;

std::string pack(std::string_view text) {
  z_stream z{};
  require(deflateInit2(&z, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK, "deflateInit2");
  std::string out(deflateBound(&z, static_cast<uLong>(text.size())) + 32, '\0');
  std::string in{text};
  z.next_in = reinterpret_cast<Bytef*>(in.data());
  z.avail_in = static_cast<uInt>(in.size());
  z.next_out = reinterpret_cast<Bytef*>(out.data());
  z.avail_out = static_cast<uInt>(out.size());
  require(deflate(&z, Z_FINISH) == Z_STREAM_END, "deflate");
  out.resize(z.total_out);
  deflateEnd(&z);
  return out;
}

/// A file in memory, and a name to open it by.
class memory_file {
 public:
  explicit memory_file(std::string_view content) : fd_{::memfd_create("trace", 0)} {
    require(fd_ >= 0, "memfd_create");
    path_ = "/proc/self/fd/" + std::to_string(fd_);
    for (std::size_t done = 0; done != content.size();) {
      const ssize_t n = ::write(fd_, content.data() + done, content.size() - done);
      require(n > 0, "write");
      done += static_cast<std::size_t>(n);
    }
  }
  memory_file(const memory_file&) = delete;
  memory_file& operator=(const memory_file&) = delete;
  ~memory_file() { ::close(fd_); }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  int fd_;
  std::string path_;
};

std::string_view trimmed(std::string_view s) {
  while (!s.empty() && std::string_view{" \t\n\v\f\r"}.find(s.back()) != std::string_view::npos) s.remove_suffix(1);
  return s;
}

bool same(const bench::trace_unmap& a, const bench::trace_unmap& b) {
  return a.iova == b.iova && a.pages == b.pages && a.recorded_tlbi == b.recorded_tlbi && a.recorded_sync == b.recorded_sync &&
         a.recorded_map_time == b.recorded_map_time;
}

/// Reads `text` line by line and compares with what the reader made of the whole.
void judge(std::string_view text, const absl::StatusOr<std::vector<bench::trace_unmap>>& read, const std::string& path) {
  std::vector<bench::trace_unmap> expected;
  std::size_t line = 0;
  std::string refusal;
  for (std::string_view rest = text; refusal.empty();) {
    ++line;
    const std::size_t end = rest.find('\n');
    const std::string_view one = trimmed(rest.substr(0, end));
    if (!one.empty() && one.front() != '#') {
      const auto u = bench::parse_pairs_line(one);
      if (u.ok()) {
        require(u->iova % 4096 == 0 && u->pages != 0 && u->pages <= (std::uint64_t{1} << (bench::trace_address_bits - 12)) &&
                    u->iova / 4096 + u->pages <= (std::uint64_t{1} << (bench::trace_address_bits - 12)),
                "an unmap that breaks a promise of the format");
        require(u->recorded_tlbi + u->recorded_sync <= one.size() && u->recorded_map_time <= u->recorded_tlbi, "more commands than text");
        expected.push_back(*u);
      } else {
        refusal = std::string(u.status().message());
        require(!refusal.empty(), "an error without a reason");
      }
    }
    if (end == std::string_view::npos) break;
    rest.remove_prefix(end + 1);
  }
  if (refusal.empty() && expected.empty()) refusal = "no unmap in this file";
  if (!refusal.empty()) {
    require(read.status().code() == absl::StatusCode::kInvalidArgument, "a bad line is accepted");
    require(std::string(read.status().message()) == path + ":" + std::to_string(line) + ": " + refusal, "an error with another position");
    return;
  }
  require(read.ok(), "a good file is refused");
  require(read->size() == expected.size(), "another number of unmaps");
  for (std::size_t i = 0; i != expected.size(); ++i) require(same((*read)[i], expected[i]), "another unmap");
  for (const std::uint64_t least : {std::uint64_t{0}, bench::large_unmap_pages}) {
    bench::recorded_totals sum{};
    for (const bench::trace_unmap& u : expected) {
      if (u.pages < least) continue;
      ++sum.unmaps;
      sum.pages += u.pages;
      sum.tlbi += u.recorded_tlbi;
    }
    const bench::recorded_totals t = bench::sum_recorded(*read, least);
    require(t.unmaps == sum.unmaps && t.pages == sum.pages && t.tlbi == sum.tlbi, "totals");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::input in{data, size};
  if (!in.tagged()) return -1;
  const unsigned how = in.below(4);
  const std::size_t first = how >= 2 ? in.u8() : 0u, second = how == 3 ? in.u8() : 0u;
  const std::uint8_t value = how == 3 ? in.u8() : std::uint8_t{0};
  const std::string_view text{reinterpret_cast<const char*>(in.rest()), in.left()};
  std::string content = how == 0 ? std::string{text} : pack(text);
  if (how == 2) content.resize(content.size() - first % content.size());
  if (how == 3) content[(first | second << 8) % content.size()] = static_cast<char>(value);

  const memory_file file{content};
  const auto read = bench::read_pairs(file.path());
  if (!read.ok()) {
    require(std::string(read.status().message()).starts_with(file.path() + ":"), "an error that does not name its file");
    require(read.status().code() == absl::StatusCode::kInvalidArgument || read.status().code() == absl::StatusCode::kDataLoss,
            "an error of another kind");
  }
  const bool gzip = content.size() >= 2 && content[0] == '\x1f' && content[1] == '\x8b';
  if (how == 1 || (how == 0 && !gzip)) judge(text, read, file.path());
  require(!bench::read_pairs(file.path() + "/none").ok(), "a file that is not there can be read");
  return 0;
}
