// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>  // std::memory_order only
#include <cstdint>

#include <shootdown/arch/descriptor.hpp>
#include <shootdown/arch/types.hpp>
#include <shootdown/config.hpp>
#include <shootdown/table/page_pool.hpp>
#include <shootdown/table/walk_geometry.hpp>
#include <shootdown/table/word.hpp>

SHOOTDOWN_BEGIN
namespace table {

/// Recomputes, from the words in memory alone, what an editor believes about its tables. The editor's check_invariants().
///
/// visit(t, level) is false when a count, a state, a link or a word is wrong in `t` or below it; the sums are then meaningless.
/// Context: that of the editor's lock. Cost: one read a word (two in contiguous runs), parked tables included; recursion as
/// deep as the walk. Not for an editor that another thread is changing.
///
/// Sites: D1 own words
template <class Pool, granule G>
class audit {
 public:
  using page = typename Pool::page;
  using steps = walk_steps<G>;

  audit(const Pool& pool, std::uint32_t root, unsigned start_level) noexcept : pool_{pool}, root_{root}, start_level_{start_level} {}

  [[nodiscard]] bool visit(const page& t, unsigned level) noexcept {
    const page_meta& m = *t.meta;
    if (m.level != level || m.state != page_state::used || m.root != root_) return false;
    ++tables;
    held += m.held ? 1u : 0u;
    leftovers += m.linked && m.live == 0 && level != start_level_ ? 1u : 0u;
    unsigned live = 0;
    unsigned parked = 0;
    for (unsigned slot = 0; slot < steps::entries; ++slot) {
      const std::uint64_t word = read(t, slot);
      const word_kind kind = kind_of(word, level);
      if (kind == word_kind::empty) continue;
      (kind == word_kind::parked ? parked : live) += 1;
      if (kind == word_kind::leaf ? !good_leaf(t, slot, level, word) : !good_child(m, slot, level, word, kind == word_kind::table)) {
        return false;
      }
    }
    return live == m.live && parked == m.parked;
  }

  std::uint64_t tables{};
  std::uint64_t held{};
  std::uint64_t leftovers{};

 private:
  [[nodiscard]] static std::uint64_t read(const page& t, unsigned slot) noexcept {
    return t.cpu[slot].load(std::memory_order_relaxed);  // D1 relaxed: nobody changes the words meanwhile, by contract
  }

  // A contiguous run is whole: each of its words is the first one's, its own number of leaves further on. The first word
  // answers for the run; the others only have to have a first one.
  [[nodiscard]] static bool good_leaf(const page& t, unsigned slot, unsigned level, std::uint64_t word) noexcept {
    const std::uint64_t span = steps::span_of(level);
    if (!descriptor{word}.is_leaf(G, level) || raw(address_of(word, G)) % span != 0) return false;
    if (!descriptor{word}.contiguous()) return true;
    const unsigned run = steps::run_of(level);
    if (run == 1) return false;
    if (slot % run != 0) return descriptor{read(t, slot - slot % run)}.contiguous();
    if (raw(address_of(word, G)) % (run * span) != 0) return false;
    for (unsigned i = 1; i < run; ++i) {
      if (read(t, slot + i) != word + i * span) return false;
    }
    return true;
  }

  [[nodiscard]] bool good_child(const page_meta& parent, unsigned slot, unsigned level, std::uint64_t word, bool linked) noexcept {
    const page child = level < descriptor::last_level ? pool_.at(address_of(word, G)) : page{};
    if (!child || child.meta->parent != pool_.number_of(parent) || child.meta->slot != slot) return false;
    const page_meta& c = *child.meta;
    if (c.linked != linked || (!linked && (c.live != 0 || (!c.held && c.parked == 0)))) return false;
    return visit(child, level + 1);
  }

  const Pool& pool_;
  std::uint32_t root_;
  unsigned start_level_;
};

}  // namespace table
SHOOTDOWN_END
