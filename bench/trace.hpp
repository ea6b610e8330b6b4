// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace shootdown::bench {

/// One unmap of a recording, and what the recorded driver issued for it.
struct trace_unmap {
  std::uint64_t iova{};   ///< bytes, 4 KiB aligned
  std::uint64_t pages{};  ///< 4 KiB pages, at least 1
  std::uint32_t recorded_tlbi{};
  std::uint32_t recorded_sync{};
  /// Of these, how many pairs of TLBI and SYNC were sent earlier, when a block replaced an empty leftover table at map time,
  /// and are booked here: a table flush (LEAF = 0) of a 2 MiB region that this very unmap takes out as a block (TTL = 2).
  std::uint32_t recorded_map_time{};
};

/// What a set of unmaps cost the recorded driver.
struct recorded_totals {
  std::uint64_t unmaps{};
  std::uint64_t pages{};
  std::uint64_t tlbi{};
  std::uint64_t sync{};
  std::uint64_t map_time{};  ///< pairs included in tlbi and sync
};

/// Unmaps of this many pages or more are counted apart: they free tables.
inline constexpr std::uint64_t large_unmap_pages = 512;

/// Largest input address a recording may name: the replay gives every thread a 2^41-byte slice of a 48-bit space.
inline constexpr unsigned trace_address_bits = 41;

/// Largest recording that is read: the longest one here has 1.1 MB.
inline constexpr std::size_t trace_text_limit = std::size_t{256} << 20;

/// Parses one line of the `pairs` format: `unmap 0xIOVA+PAGES events=N : [command] [SYNC] ...`. Everything behind
/// IOVA+PAGES is optional. The error says what is wrong, without the line number.
absl::StatusOr<trace_unmap> parse_pairs_line(std::string_view line);

/// Reads a whole recording, plain or gzip (told apart by content). Blank lines and lines starting with '#' are skipped.
/// Errors: NotFound (cannot open), DataLoss (damaged gzip), ResourceExhausted (more than `limit` bytes of text: a packed file
/// can hold a thousand times its size), InvalidArgument "FILE:LINE: reason", also for a file without any unmap.
/// Memory: O(limit), whatever the numbers in the text say.
absl::StatusOr<std::vector<trace_unmap>> read_pairs(const std::string& path, std::size_t limit = trace_text_limit);

/// Sums over the unmaps of at least `min_pages` pages.
recorded_totals sum_recorded(const std::vector<trace_unmap>& unmaps, std::uint64_t min_pages);

}  // namespace shootdown::bench
