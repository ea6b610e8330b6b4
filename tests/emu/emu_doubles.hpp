// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include <shootdown/arch/command.hpp>
#include <shootdown/arch/types.hpp>
#include <shootdown/emu/concepts.hpp>
#include <shootdown/status.hpp>

namespace shootdown::test {

/// Memory of single words; logs writes in order; aborts at chosen addresses.
struct scripted_bus {
  std::map<std::uint64_t, std::uint64_t> words;
  std::set<std::uint64_t> broken;
  std::vector<std::pair<std::uint64_t, std::uint64_t>> writes;

  result<std::uint64_t> load64(bus_addr a) noexcept {
    if (broken.contains(raw(a)) || raw(a) % 8 != 0) return errc::fetch_aborted;
    return words[raw(a)];
  }
  status store64(bus_addr a, std::uint64_t v) noexcept {
    if (broken.contains(raw(a)) || raw(a) % 8 != 0) return errc::fetch_aborted;
    writes.emplace_back(raw(a), v);
    words[raw(a)] = v;
    return {};
  }
  status store_low32(bus_addr a, std::uint32_t v) noexcept {
    if (broken.contains(raw(a)) || raw(a) % 4 != 0) return errc::fetch_aborted;
    writes.emplace_back(raw(a), v);
    std::uint64_t& word = words[raw(a) & ~std::uint64_t{7}];
    const unsigned shift = raw(a) % 8 == 0 ? 0 : 32;
    word = (word & ~(std::uint64_t{0xffffffff} << shift)) | (std::uint64_t{v} << shift);
    return {};
  }
  void put_command(std::uint64_t base, unsigned slot, command c) {
    words[base + slot * 16] = c.dw0;
    words[base + slot * 16 + 8] = c.dw1;
  }
};

/// Records what it is told; answers SYNCs from a script, `done` when the script is empty.
struct scripted_executor {
  std::vector<command> executed;
  std::vector<std::pair<command, errc>> rejected;
  std::vector<bool> enables;
  std::deque<emu::sync_verdict> answers;
  unsigned sync_polls{};

  void execute(const command& c) noexcept { executed.push_back(c); }
  emu::sync_verdict sync(instant) noexcept {
    ++sync_polls;
    if (answers.empty()) return emu::sync_verdict::done;
    const emu::sync_verdict v = answers.front();
    answers.pop_front();
    return v;
  }
  void smmu_enabled(bool on) noexcept { enables.push_back(on); }
  void commands_rejected(const command& c, errc e) noexcept { rejected.emplace_back(c, e); }
};

static_assert(emu::bus<scripted_bus> && emu::executor<scripted_executor>);

}  // namespace shootdown::test
