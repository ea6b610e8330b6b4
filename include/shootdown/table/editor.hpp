// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <atomic>  // std::memory_order only
#include <cstddef>
#include <cstdint>
#include <utility>

#include <shootdown/arch/types.hpp>
#include <shootdown/config.hpp>
#include <shootdown/env/environment.hpp>
#include <shootdown/range/gather.hpp>
#include <shootdown/range/piece.hpp>
#include <shootdown/status.hpp>
#include <shootdown/table/audit.hpp>
#include <shootdown/table/edit_types.hpp>
#include <shootdown/table/format.hpp>
#include <shootdown/table/page_pool.hpp>
#include <shootdown/table/walk_geometry.hpp>
#include <shootdown/table/word.hpp>

SHOOTDOWN_BEGIN
namespace table {

/// Editor of one VMSAv8-64 table: of either stage, granule and half, as Format says (format.hpp). An address space with both
/// halves has two of them under one ASID (cd::stage1_both).
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
/// Contiguous runs. With run_hint::contiguous, map marks every run (walk_steps::run_of) of leaves whose input and output
/// addresses are aligned to it and which it fills alone: pages, and blocks of level 2. A marked run comes and goes as a whole:
/// unmap of a part is misaligned, as for a part of a block, because the TLB may hold the run as one entry, and clearing the
/// mark of leaves in use takes a break-before-make that a device would see. A piece reports the level of the leaves.
///
/// All tables a map needs are taken from the pool before the first is linked, so a map that fails for want of memory was
/// never visible to a device. Context: any that the caller's lock allows. Progress: never waits (but the pool's short lock).
/// Cost: one descent per call, O(1) per leaf touched. Not for tables the SMMU writes (HTTU): it would race with map and unmap.
/// Pool: a page_pool of the granule's size, or something with its allocate, allocate_run (stage 2), free(meta), at, page_number,
/// number_of, owns and page_size.
///
/// Sites: D1 own words, D2 page -> walk, D3 block -> walk, D4 link -> walk, D5 page off, D6 block off, D7 park, D8 forget
template <class Env, class Pool, table_format Format>
class editor {
  static_assert(environment<Env>, "editor: Env does not satisfy shootdown::environment");
  static_assert(Pool::page_size == walk_steps<Format::tg>::table_bytes, "editor: the pool's pages are not of the format's granule");

 public:
  using format = Format;
  using input = typename Format::input_type;
  using access_type = typename Format::prot_type;
  using config_type = typename Format::config_type;

  explicit editor(Pool& pool) noexcept : pool_{pool} {}
  editor(const editor&) = delete;
  editor& operator=(const editor&) = delete;
  /// A table that was not destroyed keeps its pages out of the pool: a device might still walk them.
  ~editor() = default;

  /// Takes the root page or pages. already_present, unsupported (a width this format does not have), no_memory (for
  /// concatenated tables: no run of neighbouring pages).
  [[nodiscard]] status create(config_type config = {}) noexcept {
    if (root_) return errc::already_present;
    const result<walk_geometry> shape = Format::geometry(config);
    if (!shape.ok()) return shape.state();
    const page root = take_roots(shape->start_tables);
    if (!root) return errc::no_memory;
    geometry_ = *shape;
    root_ = root;
    for (unsigned i = 0; i < geometry_.start_tables; ++i) {
      adopt(root_at(i), page{}, 0, geometry_.start_level);
      root_at(i).meta->linked = true;
    }
    return {};
  }

  /// Every table back to the pool. The caller has taken the root out of every CD and flushed the tag. busy, with nothing
  /// changed, while gathers still hold tables of this editor; `take_back` frees those too, for a caller whose invalidation
  /// failed for good (the SMMU was reset since) and who promises that none of these gathers will be released.
  [[nodiscard]] status destroy(held_tables what = held_tables::refuse) noexcept {
    if (!root_) return {};
    if (held_ != 0 && what == held_tables::refuse) return errc::busy;
    for (unsigned i = 0; i < geometry_.start_tables; ++i) {
      const page t = root_at(i);
      free_below(t, geometry_.start_level);
      pool_.free(*t.meta);
    }
    root_ = page{};
    tables_ = held_ = leftovers_ = 0;
    return {};
  }

  /// Translates [at, at + bytes) to the same stretch from `to`. empty_range, misaligned (granule), out_of_range (input or
  /// output width, the other half), invalid_argument (access), already_present (any part), no_memory, not_present (no create()).
  [[nodiscard]] status map(input at, bus_addr to, std::uint64_t bytes, access_type access, run_hint runs = run_hint::none) noexcept {
    const std::uint64_t pa = raw(to);
    if (const status s = check_range(raw(at), bytes); !s.ok()) return s;
    if (pa % steps::table_bytes != 0) return errc::misaligned;
    if (!geometry_.emits(pa, bytes)) return errc::out_of_range;
    if (!valid(access)) return errc::invalid_argument;
    const std::uint64_t first = geometry_.offset_of(raw(at));
    std::uint64_t wanted = 0;
    const status free = each_root(first, first + bytes, [&](const page& t, std::uint64_t va, std::uint64_t end) {
      return survey(t, geometry_.start_level, va, end, pa + (va - first), wanted);
    });
    if (!free.ok()) return free;
    page_supply spare{nullptr, leaf_bits(access), runs == run_hint::contiguous};
    for (; wanted != 0; --wanted) {
      const page fresh = pool_.allocate();
      if (!fresh) {
        while (spare.pages != nullptr) pool_.free(spare.take());  // never linked: no device knows them
        return errc::no_memory;
      }
      spare.put(*fresh.meta);
    }
    return each_root(first, first + bytes, [&](const page& t, std::uint64_t va, std::uint64_t end) {
      fill(t, geometry_.start_level, va, end, pa + (va - first), spare);
      return status{};
    });
  }

  /// Removes the translations of [at, at + bytes) and reports them to `g` (see above). Whole leaves and whole runs only.
  /// empty_range, misaligned (granule, or part of a block or run), out_of_range, not_present (a hole), too_large (no room in g).
  template <class Gather>
  [[nodiscard]] status unmap(input at, std::uint64_t bytes, Gather& g) noexcept {
    if (const status s = check_range(raw(at), bytes); !s.ok()) return s;
    range_piece piece{raw(at), bytes, Format::tg, 0, 0};
    const std::uint64_t first = geometry_.offset_of(raw(at));
    const status whole = each_root(first, first + bytes, [&](const page& t, std::uint64_t va, std::uint64_t end) {
      return inspect(t, geometry_.start_level, va, end, piece.leaf_levels);
    });
    if (!whole.ok()) return whole;
    if (!g.room_for(piece)) return errc::too_large;
    static_cast<void>(each_root(first, first + bytes, [&](const page& t, std::uint64_t va, std::uint64_t end) {
      clear(t, geometry_.start_level, va, end, g, piece.freed_levels);
      return status{};
    }));
    if (!g.add(piece).ok()) Env::fail("table::editor: a gather refused a piece it had room for");
    return {};
  }

  /// Unlinks empty leftovers, one piece of one page each, as unmap would have. too_large when g had no room for all of them.
  template <class Gather>
  [[nodiscard]] status trim(Gather& g) noexcept {
    if (!root_ || leftovers_ == 0) return {};
    status worst{};
    for (unsigned i = 0; i < geometry_.start_tables; ++i) {
      worst.merge(trim_below(root_at(i), geometry_.start_level, i * root_span(), g));
    }
    return worst;
  }

  /// Ends the hold of g's tables and forgets its pieces: call it when the invalidation of every piece has completed.
  template <class Gather>
  void release(Gather& g) noexcept {
    for (held_frame* f = g.take_held(); f != nullptr;) {
      auto& meta = *static_cast<page_meta*>(std::exchange(f, f->next));
      if (!pool_.owns(meta) || !meta.held || !root_ || meta.root != pool_.number_of(*root_.meta)) {
        Env::fail("table::editor: released a frame that this table does not hold");
        continue;
      }
      meta.held = false;  // only now: until its own turn a table cannot be freed through one that is inside it
      --held_;
      retire(meta);
    }
    g.clear_pieces();
  }

  /// Where `at` leads now; not_present or out_of_range.
  [[nodiscard]] result<translation> lookup(input at) const noexcept {
    if (!root_) return errc::not_present;
    if (!geometry_.contains(raw(at), 1)) return errc::out_of_range;
    const std::uint64_t va = geometry_.offset_of(raw(at));
    page t = root_at(static_cast<unsigned>(va / root_span()));
    for (unsigned level = geometry_.start_level;; ++level) {
      const std::uint64_t word = read(t, steps::slot_of(va, level));
      switch (kind_of(word, level)) {
        case word_kind::leaf:
          return translation{bus_addr{raw(address_of(word, Format::tg)) + va % steps::span_of(level)}, level,
                             descriptor{word}.contiguous()};
        case word_kind::table: t = pool_.at(address_of(word, Format::tg)); break;
        default: return errc::not_present;
      }
    }
  }

  [[nodiscard]] bus_addr root() const noexcept { return root_.bus; }
  [[nodiscard]] unsigned address_bits() const noexcept { return geometry_.input_bits; }
  [[nodiscard]] unsigned output_bits() const noexcept { return geometry_.output_bits; }
  [[nodiscard]] unsigned start_level() const noexcept { return geometry_.start_level; }
  [[nodiscard]] unsigned start_tables() const noexcept { return geometry_.start_tables; }  ///< concatenated: 1 .. 16
  [[nodiscard]] std::uint64_t first_address() const noexcept { return geometry_.base; }    ///< 0, or that of the upper half
  /// Pages taken from the pool, the root and those held by gathers included.
  [[nodiscard]] std::uint64_t tables() const noexcept { return tables_; }
  [[nodiscard]] std::uint64_t held() const noexcept { return held_; }            ///< of these, held by gathers
  [[nodiscard]] std::uint64_t leftovers() const noexcept { return leftovers_; }  ///< of these, linked and empty

  /// Recomputes every count and state by walking the table, parked tables included. O(tables * entries).
  [[nodiscard]] bool check_invariants() const noexcept {
    if (!root_) return tables_ == 0 && held_ == 0 && leftovers_ == 0;
    audit<Pool, Format::tg> sum{pool_, pool_.number_of(*root_.meta), geometry_.start_level};
    for (unsigned i = 0; i < geometry_.start_tables; ++i) {
      const page t = root_at(i);
      if (!t.meta->linked || t.meta->held || !sum.visit(t, geometry_.start_level)) return false;
    }
    return sum.tables == tables_ && sum.held == held_ && sum.leftovers == leftovers_;
  }

 private:
  using page = typename Pool::page;
  using steps = walk_steps<Format::tg>;
  static constexpr unsigned last = descriptor::last_level;

  [[nodiscard]] page take_roots(unsigned n) noexcept {
    if constexpr (requires { pool_.allocate_run(std::size_t{}); }) return pool_.allocate_run(n);
    return n == 1 ? pool_.allocate() : page{};
  }
  [[nodiscard]] page root_at(unsigned i) const noexcept { return i == 0 ? root_ : pool_.page_number(pool_.number_of(*root_.meta) + i); }
  /// Input addresses below one table of the start level, were it full.
  [[nodiscard]] std::uint64_t root_span() const noexcept { return steps::span_of(geometry_.start_level) * steps::entries; }
  /// F(start table, its part of [va, end)) for one after the other, until one fails.
  template <class F>
  [[nodiscard]] status each_root(std::uint64_t va, std::uint64_t end, F f) const noexcept {
    for (std::uint64_t next = 0; va != end; va = next) {
      next = std::min(end, (va | (root_span() - 1)) + 1);
      if (const status s = f(root_at(static_cast<unsigned>(va / root_span())), va, next); !s.ok()) return s;
    }
    return {};
  }
  [[nodiscard]] static std::uint64_t read(const page& t, unsigned slot) noexcept {
    return t.cpu[slot].load(std::memory_order_relaxed);  // D1 relaxed: only editors write these words, ordered by the caller's lock
  }
  [[nodiscard]] bool leaf_fits(unsigned level, std::uint64_t bytes, std::uint64_t pa) const noexcept {
    return geometry_.leaves_at(level) && bytes == steps::span_of(level) && pa % steps::span_of(level) == 0;
  }
  /// Does a range that begins (edge 0) or ends (edge run - 1) at `slot` cut a contiguous run in two?
  [[nodiscard]] static bool cuts_run(const page& t, unsigned slot, unsigned level, unsigned edge) noexcept {
    if (slot % steps::run_of(level) == edge) return false;
    const std::uint64_t word = read(t, slot);
    return kind_of(word, level) == word_kind::leaf && descriptor{word}.contiguous();
  }
  [[nodiscard]] status check_range(std::uint64_t va, std::uint64_t bytes) const noexcept {
    if (!root_) return errc::not_present;
    if (bytes == 0) return errc::empty_range;
    if ((va | bytes) % steps::table_bytes != 0) return errc::misaligned;
    return geometry_.contains(va, bytes) ? errc::ok : errc::out_of_range;
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
    if (level == last && (!t || t.meta->live == 0)) return {};
    for (std::uint64_t next = 0; va != end; pa += next - va, va = next) {
      next = steps::end_of(va, end, level);
      const std::uint64_t word = t ? read(t, steps::slot_of(va, level)) : 0;
      status below{};
      switch (kind_of(word, level)) {
        case word_kind::leaf: return errc::already_present;
        case word_kind::table:
        case word_kind::parked: below = survey(pool_.at(address_of(word, Format::tg)), level + 1, va, next, pa, wanted); break;
        case word_kind::empty:
          if (leaf_fits(level, next - va, pa)) break;
          ++wanted;
          below = survey(page{}, level + 1, va, next, pa, wanted);
      }
      if (!below.ok()) return below;
    }
    return {};
  }

  // The leaves of a run that may begin at `slot`, a block level: 1, or a whole run that is wanted, aligned and free.
  [[nodiscard]] unsigned run_at(const page& t, unsigned slot, unsigned level, std::uint64_t bytes, std::uint64_t pa,
                                bool wanted) const noexcept {
    const unsigned run = steps::run_of(level);
    const std::uint64_t span = run * steps::span_of(level);
    if (!wanted || slot % run != 0 || bytes < span || pa % span != 0) return 1;
    for (unsigned i = 0; i < run; ++i) {
      if (read(t, slot + i) != 0) return 1;
    }
    return run;
  }

  // Level 3 of fill(): pages only, all free.
  void fill_pages(const page& t, unsigned first, unsigned final, std::uint64_t pa, const page_supply& spare) noexcept {
    constexpr unsigned run = steps::run_of(last);
    const bool aligned = spare.runs && (first * steps::table_bytes - pa) % (run * steps::table_bytes) == 0;
    const unsigned run_first = aligned ? (first + run - 1) / run * run : final + 1;
    const unsigned run_end = aligned ? (final + 1) / run * run : 0;
    for (unsigned slot = first; slot <= final; ++slot, pa += steps::table_bytes) {
      const std::uint64_t mark = slot >= run_first && slot < run_end ? descriptor::contiguous_f::mask : 0;
      t.cpu[slot].store(make_leaf(bus_addr{pa}, last, spare.leaf | mark),
                        std::memory_order_release);  // D2 release: the frame's contents first
    }
    t.meta->live = static_cast<std::uint16_t>(t.meta->live + (final - first + 1));
    publish(t, first, final);
  }

  // Writes the leaves; the survey has shown that all of this will succeed. A new or parked table is filled before it is linked.
  void fill(const page& t, unsigned level, std::uint64_t va, std::uint64_t end, std::uint64_t pa, page_supply& spare) noexcept {
    page_meta& m = *t.meta;
    const unsigned first = steps::slot_of(va, level);
    const unsigned final = steps::slot_of(end - 1, level);
    if (is_leftover(m)) --leftovers_;
    if (level == last) return fill_pages(t, first, final, pa, spare);
    for (std::uint64_t next = 0; va != end; pa += next - va, va = next) {
      next = steps::end_of(va, end, level);
      const unsigned slot = steps::slot_of(va, level);
      const std::uint64_t word = read(t, slot);
      const word_kind kind = kind_of(word, level);
      if (kind == word_kind::table) {
        fill(pool_.at(address_of(word, Format::tg)), level + 1, va, next, pa, spare);
        continue;
      }
      if (kind == word_kind::empty && leaf_fits(level, next - va, pa)) {
        const unsigned run = run_at(t, slot, level, end - va, pa, spare.runs);
        const std::uint64_t bits = spare.leaf | (run > 1 ? descriptor::contiguous_f::mask : 0);
        for (unsigned i = 0; i < run; ++i) {
          const bus_addr to{pa + i * steps::span_of(level)};
          t.cpu[slot + i].store(make_leaf(to, level, bits), std::memory_order_release);  // D3 release: as D2
        }
        m.live = static_cast<std::uint16_t>(m.live + run);
        next = va + run * steps::span_of(level);
        continue;
      }
      ++m.live;
      page child{};
      if (kind == word_kind::parked) {
        child = pool_.at(address_of(word, Format::tg));
        --m.parked;
      } else {
        child = pool_.at(spare.take());
        adopt(child, t, slot, level + 1);
      }
      fill(child, level + 1, va, next, pa, spare);
      child.meta->linked = true;
      t.cpu[slot].store(make_table(child.bus), std::memory_order_release);  // D4 release: the device finds the child's words behind it
    }
    publish(t, first, final);
  }

  // Is [va, end) mapped, whole leaves and runs only? Collects their levels. The first obstacle in address order decides.
  [[nodiscard]] status inspect(const page& t, unsigned level, std::uint64_t va, std::uint64_t end, std::uint8_t& levels) const noexcept {
    const unsigned final = steps::slot_of(end - 1, level);
    const unsigned run = steps::run_of(level);
    if (cuts_run(t, steps::slot_of(va, level), level, 0)) return errc::misaligned;
    levels = static_cast<std::uint8_t>(levels | (level == last ? 1u << last : 0u));
    if (level == last && t.meta->live == steps::entries) return cuts_run(t, final, level, run - 1) ? errc::misaligned : errc::ok;
    for (std::uint64_t next = 0; va != end; va = next) {
      next = steps::end_of(va, end, level);
      const std::uint64_t word = read(t, steps::slot_of(va, level));
      switch (kind_of(word, level)) {
        case word_kind::leaf:
          if (next - va != steps::span_of(level)) return errc::misaligned;
          levels = static_cast<std::uint8_t>(levels | 1u << level);
          break;
        case word_kind::table:
          if (const status s = inspect(pool_.at(address_of(word, Format::tg)), level + 1, va, next, levels); !s.ok()) return s;
          break;
        default: return errc::not_present;
      }
    }
    return cuts_run(t, final, level, run - 1) ? errc::misaligned : errc::ok;
  }

  // Clears the leaves of [va, end), which inspect has seen, and unlinks what became empty.
  template <class Gather>
  void clear(const page& t, unsigned level, std::uint64_t va, std::uint64_t end, Gather& g, std::uint8_t& freed) noexcept {
    page_meta& m = *t.meta;
    const unsigned first = steps::slot_of(va, level);
    const unsigned final = steps::slot_of(end - 1, level);
    for (unsigned slot = first; level == last && slot <= final; ++slot) {
      t.cpu[slot].store(0, std::memory_order_relaxed);  // D5 relaxed: either value is right until the invalidation, which fences
    }
    if (level == last) {
      m.live = static_cast<std::uint16_t>(m.live - (final - first + 1));
      return publish(t, first, final);
    }
    for (std::uint64_t next = 0; va != end; va = next) {
      next = steps::end_of(va, end, level);
      const unsigned slot = steps::slot_of(va, level);
      if (const std::uint64_t word = read(t, slot); kind_of(word, level) == word_kind::table) {
        const page child = pool_.at(address_of(word, Format::tg));
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
    publish(t, first, final);
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
    for (unsigned slot = 0; level != last && slot < steps::entries; ++slot, va += steps::span_of(level)) {
      const std::uint64_t word = read(t, slot);
      if (kind_of(word, level) != word_kind::table) continue;
      const page child = pool_.at(address_of(word, Format::tg));
      worst.merge(trim_below(child, level + 1, va, g));
      if (!is_leftover(*child.meta) || child.meta->held) continue;
      const range_piece piece{geometry_.base | va, steps::table_bytes, Format::tg, 0, static_cast<std::uint8_t>(1u << (level + 1))};
      if (!g.room_for(piece)) {
        worst.merge(errc::too_large);
        continue;
      }
      unlink(t, slot, child, g);
      publish(t, slot, slot);
      --leftovers_;
      if (is_leftover(*t.meta)) ++leftovers_;
      if (!g.add(piece).ok()) Env::fail("table::editor: a gather refused a piece it had room for");
    }
    return worst;
  }

  // Frees `first` if nothing keeps it, and then the tables above that waited only for it.
  void retire(page_meta& first) noexcept {
    for (page_meta* m = &first; m->level != geometry_.start_level && !m->linked && !m->held && m->parked == 0;) {
      const page parent = pool_.page_number(m->parent);
      parent.cpu[m->slot].store(0, std::memory_order_relaxed);  // D8 relaxed: invalid before and after, the hardware sees no change
      publish(parent, m->slot, m->slot);
      --parent.meta->parked;
      --tables_;
      pool_.free(*std::exchange(m, parent.meta));
    }
  }

  void free_below(const page& t, unsigned level) noexcept {
    for (unsigned slot = 0; level != last && slot < steps::entries; ++slot) {
      const std::uint64_t word = read(t, slot);
      if (const word_kind kind = kind_of(word, level); kind != word_kind::table && kind != word_kind::parked) continue;
      const page child = pool_.at(address_of(word, Format::tg));
      free_below(child, level + 1);
      pool_.free(*child.meta);
    }
  }

  [[nodiscard]] bool is_leftover(const page_meta& m) const noexcept { return m.linked && m.live == 0 && m.level != geometry_.start_level; }

  static void publish(const page& t, unsigned first, unsigned final) noexcept {
    Env::dma_publish(t.cpu + first, (std::size_t{final} - first + 1) * 8);
  }

  Pool& pool_;
  walk_geometry geometry_{};
  page root_{};  // the first, if there are several
  std::uint64_t tables_{};
  std::uint64_t held_{};
  std::uint64_t leftovers_{};
};

}  // namespace table
SHOOTDOWN_END
