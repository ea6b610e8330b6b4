// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include <shootdown/arch/types.hpp>
#include <shootdown/env/time.hpp>
#include <shootdown/range/gather.hpp>
#include <shootdown/status.hpp>
#include <shootdown/table/stage1_word.hpp>

// What all four worlds run: the same table, domain and queue source, told apart only by Env and backend. Freestanding.
namespace seam {

/// One unmap, looked at from the device at every step. `device_writes(iova) -> bool` says whether a write landed.
/// Null, or what went wrong.
template <class Domain, class Table, class Device>
const char* one_unmap(Domain& domain, Table& table, Device&& device_writes, shootdown::iova at, shootdown::bus_addr frame,
                      shootdown::deadline limit) {
  constexpr std::uint64_t page = 4096;
  if (device_writes(at)) return "a write landed before anything was mapped";
  if (!table.map(at, frame, page, {.write = true}).ok()) return "map failed";
  if (!device_writes(at)) return "a write to mapped memory was refused";

  shootdown::gather<> g;
  if (!table.unmap(at, page, g).ok()) return "unmap failed";
  // The device has the translation in its TLB: the table alone no longer decides. If this write were refused, the rest of
  // the scenario would prove nothing.
  if (!device_writes(at)) return "the device forgot a translation by itself";

  if (!domain.invalidate(g, limit).ok()) return "the invalidation failed";
  if (device_writes(at)) return "a write landed after the invalidation had completed";
  table.release(g);
  if (device_writes(at)) return "a write landed after the table was released";

  if (!table.map(at, frame, page, {.write = true}).ok()) return "mapping again failed";
  if (!device_writes(at)) return "a write to memory mapped again was refused";
  if (!table.unmap(at, page, g).ok()) return "the second unmap failed";
  if (!domain.invalidate(g, limit).ok()) return "the second invalidation failed";
  table.release(g);
  return device_writes(at) ? "a write landed after the second invalidation" : nullptr;
}

}  // namespace seam
