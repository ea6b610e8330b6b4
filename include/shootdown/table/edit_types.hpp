// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <utility>

#include <shootdown/arch/types.hpp>
#include <shootdown/config.hpp>
#include <shootdown/range/gather.hpp>
#include <shootdown/table/page_pool.hpp>

SHOOTDOWN_BEGIN
namespace table {

/// What destroy() does with tables that gathers hold.
enum class held_tables : std::uint8_t { refuse, take_back };

/// May a map mark runs of neighbouring leaves as contiguous, so that the TLB can keep each run as one entry?
enum class run_hint : std::uint8_t { none, contiguous };

/// Where an input address leads.
struct translation {
  bus_addr address{};
  unsigned level{};   ///< of the leaf: 1, 2 or 3
  bool contiguous{};  ///< the leaf belongs to a contiguous run
};

/// What a map brings along: pages that no device knows yet, and what its leaves look like. Chained through the pages' own
/// bookkeeping, so it takes no memory. For the editor only.
struct page_supply {
  held_frame* pages{};
  std::uint64_t leaf{};  ///< attribute bits of the leaves
  bool runs{};           ///< mark contiguous runs
  constexpr void put(page_meta& meta) noexcept { meta.next = std::exchange(pages, &meta); }
  [[nodiscard]] constexpr page_meta& take() noexcept { return *static_cast<page_meta*>(std::exchange(pages, pages->next)); }
};

}  // namespace table
SHOOTDOWN_END
