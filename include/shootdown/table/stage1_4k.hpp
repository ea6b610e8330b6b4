// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <atomic>  // std::memory_order only
#include <cstdint>
#include <utility>

#include <shootdown/arch/types.hpp>
#include <shootdown/config.hpp>
#include <shootdown/range/gather.hpp>
#include <shootdown/range/piece.hpp>
#include <shootdown/status.hpp>
#include <shootdown/table/page_pool.hpp>
#include <shootdown/table/stage1_word.hpp>

SHOOTDOWN_BEGIN
namespace table {

/// What a table translates, and with which leaves.
struct stage1_config {
  std::uint8_t input_bits{48};   ///< 16 .. 48; T0SZ = 64 - input_bits. Below 25 the SMMU needs small tables (IDR3.STT)
  std::uint8_t output_bits{48};  ///< 32 .. 48: bus addresses (IPS, at most IDR5.OAS)
  bool blocks_2m{true};
  bool blocks_1g{true};
};

/// What destroy() does with tables that gathers hold.
enum class held_tables : std::uint8_t { refuse, take_back };

/// Where an input address leads.
struct translation {
  bus_addr address{};
  unsigned level{};  ///< of the leaf: 1, 2 or 3
};

/// Editor of one VMSAv8-64 stage-1 table: 4 KiB granule, lower half (TTB0).
///
/// Contract: map, unmap, trim, release, destroy and lookup of one editor are serialised by the caller's lock; devices walk
/// the table meanwhile. Every call either does all it was asked or changes nothing and says why. Between unmap and the end
/// of its invalidation the caller does not map the same input addresses again (its allocator's business); every *other*
/// address may be mapped and unmapped at any time, neighbours in the same table included.
///
/// Life of an unmap: `unmap(range, g)` clears the leaves and unlinks every table that became empty; `g` then has one piece
/// and holds those tables. The caller invalidates what g.pieces() says, and only when the closing SYNC has completed calls
/// `release(g)`: the tables go back to the pool. If the invalidation failed, keep g and try again; never release it.
///
/// Why unlinked tables stay findable. Until the invalidation is complete the device may hold a cached pointer to the
/// unlinked table T. Were T's region given a new table now, such a device would walk T, find nothing there and fault on a
/// mapping that is valid. So unlinking only clears the valid bit and keeps T's address in the ignored bits ("parked"), and
/// a map that comes this way links T again ("revived"): both pointers lead to the same words. For the same reason map puts
/// pages, not a block, where a parked or empty table is: nothing ever needs an invalidation at map time.
///   - release frees the tables that are still parked and clears the parked descriptors; revived ones become normal.
///   - A revived table that empties again while still held stays linked as a leftover: it can be in one gather's chain only,
///     and that gather's invalidation is too early for the second emptying. A later map fills it, trim() collects it.
///   - A table that empties with parked tables inside is unlinked as usual; it is freed when its own hold and the last of
///     those inside are over, whichever comes last, so their parked descriptors stay reachable for revival until then.
///
/// All tables a map needs are taken from the pool before the first is linked, so a map that fails for want of memory was
/// never visible to a device. Context: any that the caller's lock allows. Progress: never waits (but the pool's short lock).
/// Cost: one descent per call, O(1) per leaf touched. Not for tables the SMMU writes (HTTU): it would race with map and unmap.
/// Pool: page_pool<Env>, or something with its allocate, free(meta), at, page_number, number_of, owns.
///
/// Sites: D1 own words, D2 page -> walk, D3 block -> walk, D4 link -> walk, D5 page off, D6 block off, D7 park, D8 forget
template <class Env, class Pool = page_pool<Env>>
class stage1_4k {
  static_assert(environment<Env>, "stage1_4k: Env does not satisfy shootdown::environment");

 public:
  explicit stage1_4k(Pool& pool) noexcept : pool_{pool} {}
  stage1_4k(const stage1_4k&) = delete;
  stage1_4k& operator=(const stage1_4k&) = delete;
  /// A table that was not destroyed keeps its pages out of the pool: a device might still walk them.
  ~stage1_4k() = default;

  /// Takes the root page. already_present, unsupported (a width this format does not have), no_memory.
  [[nodiscard]] status create(stage1_config config = {}) noexcept {
    if (root_) return errc::already_present;
    if (config.input_bits < 16 || config.input_bits > 48) return errc::unsupported;
    if (config.output_bits < 32 || config.output_bits > 48) return errc::unsupported;
    const page root = pool_.allocate();
    if (!root) return errc::no_memory;
    config_ = config;
    start_level_ = 4u - (config.input_bits - 4u) / 9u;
    root_ = root;
    adopt(root, page{}, 0, start_level_);
    root.meta->linked = true;
    return {};
  }

  /// Every table back to the pool. The caller has taken the root out of every CD and flushed the tag. busy, with nothing
  /// changed, while gathers still hold tables of this editor; `take_back` frees those too, for a caller whose invalidation
  /// failed for good (the SMMU was reset since) and who promises that none of these gathers will be released.
  [[nodiscard]] status destroy(held_tables what = held_tables::refuse) noexcept {
    if (!root_) return {};
    if (held_ != 0 && what == held_tables::refuse) return errc::busy;
    free_below(root_, start_level_);
    pool_.free(*std::exchange(root_, page{}).meta);
    tables_ = held_ = leftovers_ = 0;
    return {};
  }

  /// Translates [at, at + bytes) to the same stretch from `to`. empty_range, misaligned (4 KiB), out_of_range (input or
  /// output width), invalid_argument (prot), already_present (any part), no_memory, not_present (no create()).
  [[nodiscard]] status map(iova at, bus_addr to, std::uint64_t bytes, prot access) noexcept {
    const std::uint64_t va = raw(at);
    const std::uint64_t pa = raw(to);
    if (const status s = check_range(va, bytes); !s.ok()) return s;
    if (pa % page_bytes != 0) return errc::misaligned;
    const std::uint64_t limit = std::uint64_t{1} << config_.output_bits;
    if (pa >= limit || limit - pa < bytes) return errc::out_of_range;
    if (!valid(access)) return errc::invalid_argument;
    std::uint64_t wanted = 0;
    if (const status s = survey(root_, start_level_, va, va + bytes, pa, wanted); !s.ok()) return s;
    supply spare{nullptr, leaf_bits(access)};
    for (; wanted != 0; --wanted) {
      const page fresh = pool_.allocate();
      if (!fresh) {
        while (spare.pages != nullptr) pool_.free(spare.take());  // never linked: no device knows them
        return errc::no_memory;
      }
      spare.put(*fresh.meta);
    }
    fill(root_, start_level_, va, va + bytes, pa, spare);
    return {};
  }

  /// Removes the translations of [at, at + bytes) and reports them to `g` (see above). Whole leaves only.
  /// empty_range, misaligned (4 KiB, or part of a block), out_of_range, not_present (a hole), too_large (no room in g).
  template <class Gather>
  [[nodiscard]] status unmap(iova at, std::uint64_t bytes, Gather& g) noexcept {
    const std::uint64_t va = raw(at);
    if (const status s = check_range(va, bytes); !s.ok()) return s;
    range_piece piece{va, bytes, granule::k4, 0, 0};
    if (const status s = inspect(root_, start_level_, va, va + bytes, piece.leaf_levels); !s.ok()) return s;
    if (!g.room_for(piece)) return errc::too_large;
    clear(root_, start_level_, va, va + bytes, g, piece.freed_levels);
    if (!g.add(piece).ok()) Env::fail("stage1_4k: a gather refused a piece it had room for");
    return {};
  }

  /// Unlinks empty leftovers, one piece of one page each, as unmap would have. too_large when g had no room for all of them.
  template <class Gather>
  [[nodiscard]] status trim(Gather& g) noexcept {
    if (!root_ || leftovers_ == 0) return {};
    return trim_below(root_, start_level_, 0, g);
  }

  /// Ends the hold of g's tables and forgets its pieces: call it when the invalidation of every piece has completed.
  template <class Gather>
  void release(Gather& g) noexcept {
    for (held_frame* f = g.take_held(); f != nullptr;) {
      auto& meta = *static_cast<page_meta*>(std::exchange(f, f->next));
      if (!pool_.owns(meta) || !meta.held || !root_ || meta.root != pool_.number_of(*root_.meta)) {
        Env::fail("stage1_4k: released a frame that this table does not hold");
        continue;
      }
      meta.held = false;  // only now: until its own turn a table cannot be freed through one that is inside it
      --held_;
      retire(meta);
    }
    g.clear_pieces();
  }

  /// Where `at` leads now; not_present or out_of_range.
  [[nodiscard]] result<translation> lookup(iova at) const noexcept {
    if (!root_) return errc::not_present;
    if ((raw(at) >> config_.input_bits) != 0) return errc::out_of_range;
    page t = root_;
    for (unsigned level = start_level_;; ++level) {
      const std::uint64_t word = read(t, slot_of(raw(at), level));
      switch (kind_of(word, level)) {
        case word_kind::leaf: return translation{bus_addr{raw(address_of(word)) + raw(at) % span_of(level)}, level};
        case word_kind::table: t = pool_.at(address_of(word)); break;
        default: return errc::not_present;
      }
    }
  }

  [[nodiscard]] bus_addr root() const noexcept { return root_.bus; }
  [[nodiscard]] unsigned address_bits() const noexcept { return config_.input_bits; }
  [[nodiscard]] unsigned output_bits() const noexcept { return config_.output_bits; }
  [[nodiscard]] unsigned start_level() const noexcept { return start_level_; }
  /// Pages taken from the pool, the root and those held by gathers included.
  [[nodiscard]] std::uint64_t tables() const noexcept { return tables_; }
  [[nodiscard]] std::uint64_t held() const noexcept { return held_; }            ///< of these, held by gathers
  [[nodiscard]] std::uint64_t leftovers() const noexcept { return leftovers_; }  ///< of these, linked and empty

  /// Recomputes every count and state by walking the table, parked tables included. O(tables * 512).
  [[nodiscard]] bool check_invariants() const noexcept {
    if (!root_) return tables_ == 0 && held_ == 0 && leftovers_ == 0;
    census sum{};
    return root_.meta->linked && !root_.meta->held && verify(root_, start_level_, sum) && sum.tables == tables_ && sum.held == held_ &&
           sum.leftovers == leftovers_;
  }

 private:
  using page = typename Pool::page;

  struct supply {
    held_frame* pages{};
    std::uint64_t leaf{};  // attributes of the leaves
    void put(page_meta& meta) noexcept { meta.next = std::exchange(pages, &meta); }
    page_meta& take() noexcept { return *static_cast<page_meta*>(std::exchange(pages, pages->next)); }
  };
  struct census {
    std::uint64_t tables{};
    std::uint64_t held{};
    std::uint64_t leftovers{};
  };

  [[nodiscard]] static constexpr std::uint64_t span_of(unsigned level) noexcept {
    return std::uint64_t{1} << level_shift(granule::k4, level);
  }
  [[nodiscard]] static constexpr unsigned slot_of(std::uint64_t va, unsigned level) noexcept {
    return static_cast<unsigned>(va >> level_shift(granule::k4, level)) % page_words;
  }
  [[nodiscard]] static constexpr std::uint64_t end_of(std::uint64_t va, std::uint64_t end, unsigned level) noexcept {
    return std::min(end, (va | (span_of(level) - 1)) + 1);
  }
  [[nodiscard]] static std::uint64_t read(const page& t, unsigned slot) noexcept {
    return t.cpu[slot].load(std::memory_order_relaxed);  // D1 relaxed: only editors write these words, ordered by the caller's lock
  }
  [[nodiscard]] bool leaf_fits(unsigned level, std::uint64_t bytes, std::uint64_t pa) const noexcept {
    const bool allowed = level == 3 || (level == 2 && config_.blocks_2m) || (level == 1 && config_.blocks_1g);
    return allowed && bytes == span_of(level) && pa % span_of(level) == 0;
  }
  [[nodiscard]] status check_range(std::uint64_t va, std::uint64_t bytes) const noexcept {
    if (!root_) return errc::not_present;
    if (bytes == 0) return errc::empty_range;
    if ((va | bytes) % page_bytes != 0) return errc::misaligned;
    const std::uint64_t limit = std::uint64_t{1} << config_.input_bits;
    if (va >= limit || limit - va < bytes) return errc::out_of_range;
    return {};
  }

  void adopt(const page& t, const page& parent, unsigned slot, unsigned level) noexcept {
    page_meta& m = *t.meta;
    m.next = nullptr;
    m.parent = parent ? pool_.number_of(*parent.meta) : 0;
    m.root = pool_.number_of(*root_.meta);
    m.slot = static_cast<std::uint16_t>(slot);
    m.level = static_cast<std::uint8_t>(level);
    ++tables_;
  }

  // Is [va, end) free, and how many new tables would it take? An empty `t` stands for a table that does not exist yet.
  [[nodiscard]] status survey(const page& t, unsigned level, std::uint64_t va, std::uint64_t end, std::uint64_t pa,
                              std::uint64_t& wanted) const noexcept {
    if (level == 3 && (!t || t.meta->live == 0)) return {};
    for (std::uint64_t next = 0; va != end; pa += next - va, va = next) {
      next = end_of(va, end, level);
      const std::uint64_t word = t ? read(t, slot_of(va, level)) : 0;
      status below{};
      switch (kind_of(word, level)) {
        case word_kind::leaf: return errc::already_present;
        case word_kind::table:
        case word_kind::parked: below = survey(pool_.at(address_of(word)), level + 1, va, next, pa, wanted); break;
        case word_kind::empty:
          if (leaf_fits(level, next - va, pa)) break;
          ++wanted;
          below = survey(page{}, level + 1, va, next, pa, wanted);
      }
      if (!below.ok()) return below;
    }
    return {};
  }

  // Writes the leaves; the survey has shown that all of this will succeed. A new or parked table is filled before it is linked.
  void fill(const page& t, unsigned level, std::uint64_t va, std::uint64_t end, std::uint64_t pa, supply& spare) noexcept {
    page_meta& m = *t.meta;
    const unsigned first = slot_of(va, level);
    const unsigned last = slot_of(end - 1, level);
    if (is_leftover(m)) --leftovers_;
    for (unsigned slot = first; level == 3 && slot <= last; ++slot, pa += page_bytes) {
      t.cpu[slot].store(make_leaf(bus_addr{pa}, 3, spare.leaf), std::memory_order_release);  // D2 release: the frame's contents first
    }
    if (level == 3) {
      m.live = static_cast<std::uint16_t>(m.live + (last - first + 1));
      return publish(t, first, last);
    }
    for (std::uint64_t next = 0; va != end; pa += next - va, va = next) {
      next = end_of(va, end, level);
      const unsigned slot = slot_of(va, level);
      const std::uint64_t word = read(t, slot);
      const word_kind kind = kind_of(word, level);
      if (kind == word_kind::table) {
        fill(pool_.at(address_of(word)), level + 1, va, next, pa, spare);
        continue;
      }
      ++m.live;
      if (kind == word_kind::empty && leaf_fits(level, next - va, pa)) {
        t.cpu[slot].store(make_leaf(bus_addr{pa}, level, spare.leaf), std::memory_order_release);  // D3 release: as D2
        continue;
      }
      page child{};
      if (kind == word_kind::parked) {
        child = pool_.at(address_of(word));
        --m.parked;
      } else {
        child = pool_.at(spare.take());
        adopt(child, t, slot, level + 1);
      }
      fill(child, level + 1, va, next, pa, spare);
      child.meta->linked = true;
      t.cpu[slot].store(make_table(child.bus), std::memory_order_release);  // D4 release: the device finds the child's words behind it
    }
    publish(t, first, last);
  }

  // Is [va, end) mapped, whole leaves only? Collects their levels.
  [[nodiscard]] status inspect(const page& t, unsigned level, std::uint64_t va, std::uint64_t end, std::uint8_t& levels) const noexcept {
    levels = static_cast<std::uint8_t>(levels | (level == 3 ? 1u << 3 : 0u));
    if (level == 3 && t.meta->live == page_words) return {};
    for (std::uint64_t next = 0; va != end; va = next) {
      next = end_of(va, end, level);
      const std::uint64_t word = read(t, slot_of(va, level));
      switch (kind_of(word, level)) {
        case word_kind::leaf:
          if (next - va != span_of(level)) return errc::misaligned;
          levels = static_cast<std::uint8_t>(levels | 1u << level);
          break;
        case word_kind::table:
          if (const status s = inspect(pool_.at(address_of(word)), level + 1, va, next, levels); !s.ok()) return s;
          break;
        default: return errc::not_present;
      }
    }
    return {};
  }

  // Clears the leaves of [va, end), which inspect has seen, and unlinks what became empty.
  template <class Gather>
  void clear(const page& t, unsigned level, std::uint64_t va, std::uint64_t end, Gather& g, std::uint8_t& freed) noexcept {
    page_meta& m = *t.meta;
    const unsigned first = slot_of(va, level);
    const unsigned last = slot_of(end - 1, level);
    for (unsigned slot = first; level == 3 && slot <= last; ++slot) {
      t.cpu[slot].store(0, std::memory_order_relaxed);  // D5 relaxed: either value is right until the invalidation, which fences
    }
    if (level == 3) {
      m.live = static_cast<std::uint16_t>(m.live - (last - first + 1));
      return publish(t, first, last);
    }
    for (std::uint64_t next = 0; va != end; va = next) {
      next = end_of(va, end, level);
      const unsigned slot = slot_of(va, level);
      if (const std::uint64_t word = read(t, slot); kind_of(word, level) == word_kind::table) {
        const page child = pool_.at(address_of(word));
        clear(child, level + 1, va, next, g, freed);
        if (child.meta->live != 0) continue;
        if (child.meta->held) {
          ++leftovers_;
        } else {
          unlink(t, slot, child, g);
          freed = static_cast<std::uint8_t>(freed | 1u << (level + 1));
        }
      } else {
        t.cpu[slot].store(0, std::memory_order_relaxed);  // D6 relaxed: as D5
        --m.live;
      }
    }
    publish(t, first, last);
  }

  template <class Gather>
  void unlink(const page& parent, unsigned slot, const page& child, Gather& g) noexcept {
    parent.cpu[slot].store(park(make_table(child.bus)), std::memory_order_relaxed);  // D7 relaxed: as D5; the child's words stay walkable
    --parent.meta->live;
    ++parent.meta->parked;
    child.meta->linked = false;
    child.meta->held = true;
    ++held_;
    g.hold(*child.meta);
  }

  template <class Gather>
  [[nodiscard]] status trim_below(const page& t, unsigned level, std::uint64_t va, Gather& g) noexcept {
    status worst{};
    for (unsigned slot = 0; level != 3 && slot < page_words; ++slot, va += span_of(level)) {
      const std::uint64_t word = read(t, slot);
      if (kind_of(word, level) != word_kind::table) continue;
      const page child = pool_.at(address_of(word));
      worst.merge(trim_below(child, level + 1, va, g));
      if (!is_leftover(*child.meta) || child.meta->held) continue;
      const range_piece piece{va, page_bytes, granule::k4, 0, static_cast<std::uint8_t>(1u << (level + 1))};
      if (!g.room_for(piece)) {
        worst.merge(errc::too_large);
        continue;
      }
      unlink(t, slot, child, g);
      publish(t, slot, slot);
      --leftovers_;
      if (is_leftover(*t.meta)) ++leftovers_;
      if (!g.add(piece).ok()) Env::fail("stage1_4k: a gather refused a piece it had room for");
    }
    return worst;
  }

  // Frees `first` if nothing keeps it, and then the tables above that waited only for it.
  void retire(page_meta& first) noexcept {
    for (page_meta* m = &first; m != root_.meta && !m->linked && !m->held && m->parked == 0;) {
      const page parent = pool_.page_number(m->parent);
      parent.cpu[m->slot].store(0, std::memory_order_relaxed);  // D8 relaxed: invalid before and after, the hardware sees no change
      publish(parent, m->slot, m->slot);
      --parent.meta->parked;
      --tables_;
      pool_.free(*std::exchange(m, parent.meta));
    }
  }

  void free_below(const page& t, unsigned level) noexcept {
    for (unsigned slot = 0; level != 3 && slot < page_words; ++slot) {
      const std::uint64_t word = read(t, slot);
      if (const word_kind kind = kind_of(word, level); kind != word_kind::table && kind != word_kind::parked) continue;
      const page child = pool_.at(address_of(word));
      free_below(child, level + 1);
      pool_.free(*child.meta);
    }
  }

  [[nodiscard]] bool is_leftover(const page_meta& m) const noexcept { return m.linked && m.live == 0 && &m != root_.meta; }

  [[nodiscard]] bool verify(const page& t, unsigned level, census& sum) const noexcept {
    const page_meta& m = *t.meta;
    if (m.level != level || m.state != page_state::used || m.root != pool_.number_of(*root_.meta)) return false;
    ++sum.tables;
    sum.held += m.held ? 1u : 0u;
    sum.leftovers += is_leftover(m) ? 1u : 0u;
    unsigned live = 0;
    unsigned parked = 0;
    for (unsigned slot = 0; slot < page_words; ++slot) {
      const std::uint64_t word = read(t, slot);
      const word_kind kind = kind_of(word, level);
      if (kind == word_kind::empty) continue;
      (kind == word_kind::parked ? parked : live) += 1;
      if (kind == word_kind::leaf) {
        if (!descriptor{word}.is_leaf(granule::k4, level) || raw(address_of(word)) % span_of(level) != 0) return false;
        continue;
      }
      const page child = level < 3 ? pool_.at(address_of(word)) : page{};
      if (!child || child.meta->parent != pool_.number_of(m) || child.meta->slot != slot) return false;
      const page_meta& c = *child.meta;
      const bool linked = kind == word_kind::table;
      if (c.linked != linked || (!linked && (c.live != 0 || (!c.held && c.parked == 0)))) return false;
      if (!verify(child, level + 1, sum)) return false;
    }
    return live == m.live && parked == m.parked;
  }

  static void publish(const page& t, unsigned first, unsigned last) noexcept {
    Env::dma_publish(t.cpu + first, (std::size_t{last} - first + 1) * 8);
  }

  Pool& pool_;
  stage1_config config_{};
  page root_{};
  unsigned start_level_{};
  std::uint64_t tables_{};
  std::uint64_t held_{};
  std::uint64_t leftovers_{};
};

}  // namespace table
SHOOTDOWN_END
