// SPDX-License-Identifier: MIT
#include "trace.hpp"

#include <zlib.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"

namespace shootdown::bench {
namespace {

constexpr std::uint64_t page_bytes = 4096;
constexpr std::uint64_t block_bytes = std::uint64_t{2} << 20;

/// `key=value` of one bracket; value decimal or 0x-hex. Empty when the key is absent.
std::optional<std::uint64_t> value_of(absl::string_view bracket, absl::string_view key) {
  for (absl::string_view word : absl::StrSplit(bracket, ' ', absl::SkipEmpty())) {
    const std::pair<absl::string_view, absl::string_view> kv = absl::StrSplit(word, absl::MaxSplits('=', 1));
    if (kv.first != key) continue;
    std::uint64_t v = 0;
    if (absl::SimpleAtoi(kv.second, &v) || absl::SimpleHexAtoi(kv.second, &v)) return v;
  }
  return std::nullopt;
}

/// 2 MiB blocks, as runs of block numbers: a single command of a recording may claim to name 2^35 of them.
class block_set {
 public:
  /// The blocks of [address, address + bytes), the last one only if it is whole.
  void add(std::uint64_t address, std::uint64_t bytes) {
    const std::uint64_t end =
        bytes > std::numeric_limits<std::uint64_t>::max() - address ? std::numeric_limits<std::uint64_t>::max() : address + bytes;
    if (address / block_bytes < end / block_bytes) runs_.emplace_back(address / block_bytes, end / block_bytes);
  }
  /// Behind the last add(): lets contains() answer.
  void seal() {
    std::sort(runs_.begin(), runs_.end());
    std::uint64_t furthest = 0;
    for (auto& [first, end] : runs_) furthest = end = std::max(end, furthest);
  }
  [[nodiscard]] bool contains(std::uint64_t block) const {
    const auto behind = std::upper_bound(runs_.begin(), runs_.end(), std::pair{block, std::numeric_limits<std::uint64_t>::max()});
    return behind != runs_.begin() && block < (behind - 1)->second;
  }

 private:
  std::vector<std::pair<std::uint64_t, std::uint64_t>> runs_;  // first, end; sealed: each end the furthest so far
};

/// Adds up the recorded answer: brackets are commands without their names, `[SYNC]` among them.
absl::Status count_answer(absl::string_view answer, trace_unmap& out) {
  block_set blocks;
  std::vector<std::uint64_t> table_flushes;
  while (true) {
    answer = absl::StripLeadingAsciiWhitespace(answer);
    if (answer.empty()) break;
    const std::size_t close = answer.find(']');
    if (answer.front() != '[' || close == absl::string_view::npos) return absl::InvalidArgumentError("expected [command] after ':'");
    const absl::string_view bracket = answer.substr(1, close - 1);
    answer.remove_prefix(close + 1);
    if (bracket == "SYNC") {
      ++out.recorded_sync;
      continue;
    }
    const auto addr = value_of(bracket, "addr");
    if (!addr) continue;  // a configuration command
    ++out.recorded_tlbi;
    const std::uint64_t num = value_of(bracket, "num").value_or(0);
    const std::uint64_t scale = value_of(bracket, "scale").value_or(0);
    if (num > 31 || scale > 39) return absl::InvalidArgumentError("num or scale of a recorded command out of range");
    const std::uint64_t bytes = ((num + 1) << scale) * page_bytes;
    if (value_of(bracket, "leaf") == 1u && value_of(bracket, "ttl") == 2u) {
      blocks.add(*addr, bytes);
    } else if (value_of(bracket, "leaf") == 0u) {
      table_flushes.push_back(*addr / block_bytes);
    }
  }
  blocks.seal();
  for (const std::uint64_t region : table_flushes) out.recorded_map_time += blocks.contains(region) ? 1u : 0u;
  return absl::OkStatus();
}

struct gz_close {
  void operator()(gzFile f) const { gzclose(f); }
};
using gz_handle = std::unique_ptr<std::remove_pointer_t<gzFile>, gz_close>;

/// The whole file, unpacked when it is gzip (zlib passes plain files through); at most `limit` bytes of text.
absl::StatusOr<std::string> slurp(const std::string& path, std::size_t limit) {
  gz_handle file{gzopen(path.c_str(), "rb")};
  if (!file) return absl::NotFoundError(absl::StrCat(path, ": cannot be opened"));
  std::string text;
  char buffer[1 << 16];
  int got = 0;
  while ((got = gzread(file.get(), buffer, sizeof buffer)) > 0) {
    text.append(buffer, static_cast<std::size_t>(got));
    if (text.size() > limit) return absl::ResourceExhaustedError(absl::StrCat(path, ": more than ", limit, " bytes of text"));
  }
  int code = Z_OK;
  const char* reason = gzerror(file.get(), &code);
  if (got < 0 || (code != Z_OK && code != Z_STREAM_END)) {
    return absl::DataLossError(absl::StrCat(path, ": damaged gzip data behind byte ", text.size(), " of the text: ", reason));
  }
  return text;
}

}  // namespace

absl::StatusOr<trace_unmap> parse_pairs_line(std::string_view std_line) {
  absl::string_view line(std_line.data(), std_line.size());
  line = absl::StripTrailingAsciiWhitespace(line);
  if (!absl::ConsumePrefix(&line, "unmap ")) return absl::InvalidArgumentError("expected 'unmap 0xIOVA+PAGES'");
  const std::size_t end = line.find(' ');
  const absl::string_view range = line.substr(0, end);
  const std::pair<absl::string_view, absl::string_view> parts = absl::StrSplit(range, absl::MaxSplits('+', 1));
  trace_unmap out;
  absl::string_view hex = parts.first;
  if (!absl::ConsumePrefix(&hex, "0x") || hex.empty() || !absl::SimpleHexAtoi(hex, &out.iova)) {
    return absl::InvalidArgumentError(absl::StrCat("IOVA '", parts.first, "' is not a hexadecimal number with 0x"));
  }
  if (!absl::SimpleAtoi(parts.second, &out.pages)) {
    return absl::InvalidArgumentError(absl::StrCat("page count '", parts.second, "' is not a decimal number"));
  }
  if (out.iova % page_bytes != 0) return absl::InvalidArgumentError("IOVA is not 4 KiB aligned");
  if (out.pages == 0) return absl::InvalidArgumentError("page count is 0");
  constexpr std::uint64_t limit = (std::uint64_t{1} << trace_address_bits) / page_bytes;
  if (out.iova / page_bytes >= limit || out.pages > limit - out.iova / page_bytes) {
    return absl::InvalidArgumentError(absl::StrCat("range ends beyond ", trace_address_bits, " address bits"));
  }
  if (end != absl::string_view::npos) {
    const absl::string_view rest = line.substr(end + 1);
    const std::size_t colon = rest.find(':');
    if (colon == absl::string_view::npos) return absl::InvalidArgumentError("expected ':' before the recorded commands");
    if (absl::Status s = count_answer(rest.substr(colon + 1), out); !s.ok()) return s;
  }
  return out;
}

absl::StatusOr<std::vector<trace_unmap>> read_pairs(const std::string& path, std::size_t limit) {
  absl::StatusOr<std::string> text = slurp(path, limit);
  if (!text.ok()) return text.status();
  std::vector<trace_unmap> unmaps;
  std::size_t number = 0;
  for (absl::string_view line : absl::StrSplit(*text, '\n')) {
    ++number;
    line = absl::StripTrailingAsciiWhitespace(line);
    if (line.empty() || line.front() == '#') continue;
    absl::StatusOr<trace_unmap> u = parse_pairs_line({line.data(), line.size()});
    if (!u.ok()) return absl::InvalidArgumentError(absl::StrCat(path, ":", number, ": ", u.status().message()));
    unmaps.push_back(*u);
  }
  if (unmaps.empty()) return absl::InvalidArgumentError(absl::StrCat(path, ":", number, ": no unmap in this file"));
  return unmaps;
}

recorded_totals sum_recorded(const std::vector<trace_unmap>& unmaps, std::uint64_t min_pages) {
  recorded_totals t;
  for (const trace_unmap& u : unmaps) {
    if (u.pages < min_pages) continue;
    ++t.unmaps;
    t.pages += u.pages;
    t.tlbi += u.recorded_tlbi;
    t.sync += u.recorded_sync;
    t.map_time += u.recorded_map_time;
  }
  return t;
}

}  // namespace shootdown::bench
