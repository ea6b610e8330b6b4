// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <utility>

#include <gtest/gtest.h>

#include <shootdown/arch/commands.hpp>
#include <shootdown/model/memory.hpp>
#include <shootdown/model/oracle.hpp>
#include <shootdown/model/walker.hpp>

#include "test_env.hpp"

// Tables of every format, written word by word: granules and levels as plain shifts, STEs and CDs by bit position. Nothing of
// the library's own encoders is used, so that the walker is not tested against itself.
namespace model_test {
using namespace shootdown;

/// log2 of what a leaf of `level` maps with pages of 2^g bytes.
inline unsigned leaf_log2(unsigned g, unsigned level) { return g + (3 - level) * (g - 3); }
/// First level of a stage-1 walk: as many levels as it takes to cover `bits`.
inline unsigned first_level(unsigned g, unsigned bits) {
  unsigned level = 3;
  while (leaf_log2(g, level) + (g - 3) < bits) --level;
  return level;
}
inline granule granule_of(unsigned g) { return g == 12 ? granule::k4 : g == 14 ? granule::k16 : granule::k64; }

namespace word {
inline constexpr std::uint64_t access_flag = 1u << 10, not_global = 1u << 11, unprivileged = 1u << 6, read_only = 1u << 7;
inline constexpr std::uint64_t stage2_read = 1u << 6, stage2_write = 1u << 7, normal = 0xfu << 2, contiguous = std::uint64_t{1} << 52;
inline constexpr std::uint64_t s1 = access_flag | not_global | unprivileged;
inline constexpr std::uint64_t s2 = access_flag | stage2_read | stage2_write | normal;
inline std::uint64_t leaf(std::uint64_t out, unsigned level, std::uint64_t attributes) { return out | attributes | (level == 3 ? 3 : 1); }
inline std::uint64_t swapped(std::uint64_t w) { return __builtin_bswap64(w); }
}  // namespace word

/// One SMMU's walker over memory with a linear stream table of 64 entries, and the words of its tables.
template <class Env>
struct format_rig {
  static constexpr std::uint64_t base = 0x8000'0000;
  static constexpr std::uint64_t data = std::uint64_t{1} << 40;
  model::memory<Env> m{bus_addr{base}, std::size_t{8} << 20};
  model::oracle<Env> o{model::oracle_config{bus_addr{data}, 1024, bus_addr{base}, 2048, 8}};
  model::node_pool pool;
  model::caches c{pool};
  model::walker<Env> w{m, o, c};
  model::walk_setup setup{};
  std::uint64_t streams = take(64 * 64, 4096);

  format_rig() {
    setup.strtab_base = streams;
    setup.strtab_cfg = 6;
    setup.stage2 = true;
    setup.granules = 0b1110;
    setup.substream_bits = 20;
    setup.two_level_streams = setup.two_level_contexts = true;
    setup.endians = 0b11;
  }
  std::uint64_t take(std::uint64_t bytes, std::uint64_t align) {
    const auto s = m.allocate_dma(bytes, align);
    EXPECT_TRUE(s);
    return raw(s.bus);
  }
  std::uint64_t take_table(std::uint64_t bytes) {
    const std::uint64_t size = bytes < 4096 ? 4096 : bytes;
    const std::uint64_t at = take(size, size);
    for (std::uint64_t i = 0; i != size; i += 4096) o.table_allocated(bus_addr{at + i});
    return at;
  }
  void write(std::uint64_t at, std::uint64_t v) { m.cpu(bus_addr{at})->store(v, std::memory_order_release); }
  [[nodiscard]] std::uint64_t read(std::uint64_t at) { return m.cpu(bus_addr{at})->load(std::memory_order_acquire); }
  void write_entry(std::uint64_t at, const std::array<std::uint64_t, 8>& e) {
    for (unsigned i = 8; i-- != 0;) write(at + i * 8, e[i]);
  }
  void set_ste(std::uint32_t sid, const std::array<std::uint64_t, 8>& e) { write_entry(streams + sid * 64, e); }

  model::translation go(std::uint64_t x, model::request a = model::request::load(), std::uint32_t sid = 8) {
    return w.translate(setup, stream_id{sid}, iova{x}, a, instant{});
  }
  model::translation store(std::uint64_t x) { return go(x, model::request::store()); }
  model::translation on(std::uint32_t ssid, std::uint64_t x) { return go(x, {false, false, true, substream_id{ssid}}); }
  /// Returns how many entries went.
  std::size_t send(command k) {
    std::size_t n = c.configs.remove(k, [](model::entry_id) {});
    model::tlbi_facts f{};
    f.stage2 = setup.stage2;
    const model::scope s = model::decode_scope(k, f);
    n += c.leaves.remove(s, [](model::entry_id) {});
    n += c.tables.remove(s, [](model::entry_id) {});
    EXPECT_TRUE(c.leaves.check_invariants());
    EXPECT_TRUE(c.tables.check_invariants());
    return n;
  }
  void forget_everything() {
    send(cmd::cfgi_all().encode());
    send(cmd::tlbi_nsnh_all{}.encode());
  }
};

/// The tables of one stage. `offset` is what is added to a bus address where a pointer to a table is written: not 0 for stage-1
/// tables that the walker finds through stage 2. `made(bus address, bytes)` is told every table.
template <class Env>
class hand_tree {
 public:
  hand_tree(format_rig<Env>& r, unsigned g, unsigned bits, unsigned start, std::uint64_t offset = 0,
            std::function<void(std::uint64_t, std::uint64_t)> made = {}, bool big = false)
      : rig_{r}, g_{g}, bits_{bits}, start_{start}, offset_{offset}, made_{std::move(made)}, big_{big} {
    root_ = make(std::uint64_t{8} << (bits - leaf_log2(g, start)));
  }
  [[nodiscard]] std::uint64_t root() const { return root_ + offset_; }
  [[nodiscard]] unsigned start() const { return start_; }
  [[nodiscard]] unsigned page_log2() const { return g_; }

  /// Bus address of the descriptor of `level` for x; tables on the way are made.
  std::uint64_t slot(std::uint64_t x, unsigned level) {
    std::uint64_t table = root_;
    for (unsigned l = start_;; ++l) {
      const unsigned from = leaf_log2(g_, l);
      const unsigned width = l == start_ ? bits_ - from : g_ - 3;
      const std::uint64_t at = table + (x >> from) % (std::uint64_t{1} << width) * 8;
      if (l == level) return at;
      std::uint64_t& next = tables_[{l, (x << (64 - bits_) >> (64 - bits_)) >> from}];
      if (next == 0) {
        next = make(std::uint64_t{1} << g_);
        put(at, (next + offset_) | 3);
      }
      table = next;
    }
  }
  void put(std::uint64_t at, std::uint64_t w) { rig_.write(at, big_ ? word::swapped(w) : w); }
  void map(std::uint64_t x, unsigned level, std::uint64_t w) { put(slot(x, level), w); }

 private:
  std::uint64_t make(std::uint64_t bytes) {
    const std::uint64_t at = rig_.take_table(bytes);
    if (made_) made_(at, bytes < 4096 ? 4096 : bytes);
    return at;
  }
  format_rig<Env>& rig_;
  unsigned g_;
  unsigned bits_;
  unsigned start_;
  std::uint64_t offset_;
  std::function<void(std::uint64_t, std::uint64_t)> made_;
  bool big_;
  std::uint64_t root_{};
  std::map<std::pair<unsigned, std::uint64_t>, std::uint64_t> tables_;
};

// STE and CD by position.

struct cd_fields {
  std::uint16_t as{1};
  std::uint64_t ttb0{}, ttb1{};
  unsigned bits0{48}, g0{12}, bits1{48}, g1{12};
  bool half0{true}, half1{false}, big{false}, tbi0{false}, tbi1{false};
  unsigned ips{5};
};
inline std::array<std::uint64_t, 8> cd_words(const cd_fields& f) {
  const std::uint64_t tg0 = f.g0 == 12 ? 0 : f.g0 == 16 ? 1 : 2;
  const std::uint64_t tg1 = f.g1 == 14 ? 1 : f.g1 == 12 ? 2 : 3;
  std::uint64_t w = std::uint64_t{64 - f.bits0} | tg0 << 6 | std::uint64_t{64 - f.bits1} << 16 | tg1 << 22 | std::uint64_t{f.ips} << 32;
  w |= std::uint64_t{1} << 31 | std::uint64_t{1} << 41 | std::uint64_t{1} << 45 | std::uint64_t{1} << 46 | std::uint64_t{f.as} << 48;
  if (!f.half0) w |= 1u << 14;
  if (!f.half1) w |= 1u << 30;
  if (f.big) w |= 1u << 15;
  if (f.tbi0) w |= std::uint64_t{1} << 38;
  if (f.tbi1) w |= std::uint64_t{1} << 39;
  return {w, f.ttb0, f.ttb1, 0xff, 0, 0, 0, 0};
}

struct ste_fields {
  unsigned config{5};
  std::uint64_t contexts{};
  unsigned cd_log2{}, format{}, without_ssid{2}, world{};
  std::uint16_t vm{};
  std::uint64_t s2_root{};
  unsigned s2_bits{48}, s2_g{12}, s2_start{0}, s2_ps{5};
  bool s2_big{false}, s2_protect{false};
};
inline std::array<std::uint64_t, 8> ste_words(const ste_fields& f) {
  const std::uint64_t w0 = 1 | std::uint64_t{f.config} << 1 | std::uint64_t{f.format} << 4 | f.contexts | std::uint64_t{f.cd_log2} << 59;
  const std::uint64_t w1 = f.without_ssid | std::uint64_t{f.world} << 30 | std::uint64_t{1} << 27;
  std::uint64_t w2 = f.vm;
  if (f.config >= 6) {
    const std::uint64_t tg = f.s2_g == 12 ? 0 : f.s2_g == 16 ? 1 : 2;
    const std::uint64_t sl0 = (f.s2_g == 12 ? 2 : 3) - f.s2_start;
    w2 |= std::uint64_t{64 - f.s2_bits} << 32 | sl0 << 38 | tg << 46 | std::uint64_t{f.s2_ps} << 48;
    w2 |= std::uint64_t{1} << 51 | std::uint64_t{1} << 58;
    if (f.s2_big) w2 |= std::uint64_t{1} << 52;
    if (f.s2_protect) w2 |= std::uint64_t{1} << 54;
  }
  return {w0, w1, w2, f.s2_root, 0, 0, 0, 0};
}

inline void expect_fault(const model::translation& t, event_id id, bool stage2 = false, event_class cls = event_class::input,
                         std::uint64_t at = 0) {
  EXPECT_EQ(t.what, model::outcome::faulted);
  EXPECT_EQ(t.event, id) << name(t.event);
  EXPECT_EQ(t.cls, cls);
  EXPECT_EQ(t.stage2, stage2);
  EXPECT_EQ(t.fetch, at);
}
inline void expect_output(const model::translation& t, std::uint64_t out) {
  EXPECT_EQ(t.what, model::outcome::granted) << name(t.event) << (t.stage2 ? " stage 2" : "");
  EXPECT_EQ(t.output, out);
}

/// A stream with both stages. Stage-1 tables and CDs lie at intermediate addresses `lift` above their bus addresses, mapped by
/// stage-2 pages as they are made.
template <class Env>
struct nested_space {
  static constexpr std::uint64_t lift = 0x4000'0000;
  format_rig<Env>& r;
  unsigned g2;
  hand_tree<Env> s2;
  hand_tree<Env> s1;
  std::uint64_t cd;
  cd_fields cd_f{};
  ste_fields ste_f{};

  nested_space(format_rig<Env>& rig, unsigned g1, unsigned bits1, unsigned page2, unsigned bits2, unsigned start2, std::uint16_t vm = 3,
               bool big1 = false, bool big2 = false)
      : r{rig},
        g2{page2},
        s2{rig, page2, bits2, start2, 0, {}, big2},
        s1{rig, g1, bits1, first_level(g1, bits1), lift, [this](std::uint64_t at, std::uint64_t bytes) { lift_up(at, bytes); }, big1},
        cd{rig.take(64, 64)} {
    lift_up(cd, 64);
    cd_f.ttb0 = s1.root();
    cd_f.bits0 = bits1;
    cd_f.g0 = g1;
    cd_f.big = big1;
    ste_f = {.config = 7, .contexts = cd + lift, .vm = vm, .s2_root = s2.root(), .s2_bits = bits2, .s2_g = page2, .s2_start = start2};
    ste_f.s2_big = big2;
    r.write_entry(cd, cd_words(cd_f));
    r.set_ste(8, ste_words(ste_f));
  }
  void lift_up(std::uint64_t at, std::uint64_t bytes) {
    const std::uint64_t page = std::uint64_t{1} << g2;
    for (std::uint64_t p = at & ~(page - 1); p < at + bytes; p += page) s2.map(p + lift, 3, word::leaf(p, 3, word::s2));
  }
};

}  // namespace model_test
