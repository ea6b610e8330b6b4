// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <vector>

#include <gtest/gtest.h>

#include <shootdown/arch/cd.hpp>
#include <shootdown/arch/descriptor.hpp>
#include <shootdown/arch/ste.hpp>
#include <shootdown/model/memory.hpp>
#include <shootdown/model/oracle.hpp>

namespace model_test {
using namespace shootdown;

/// A stream table of 2^6 STEs, and one 4 KiB stage-1 table per address space (39 bits of IOVA, walks start at level 1),
/// written by hand: just what a test needs to put the device into a known state. No invalidation of any kind.
template <class Env>
class hand_tables {
 public:
  static constexpr unsigned input_bits = 39;
  static constexpr unsigned stream_log2 = 6;

  hand_tables(model::memory<Env>& m, model::oracle<Env>& o) : memory_{m}, oracle_{o}, streams_{m.allocate_dma(64u << stream_log2, 4096)} {}

  struct space {
    asid as{};
    dma_span<Env> cd_memory{};
    bus_addr root{};
  };

  [[nodiscard]] bus_addr stream_table() const { return streams_.bus; }
  void write(bus_addr at, std::uint64_t w) { memory_.cpu(at)->store(w, std::memory_order_release); }
  [[nodiscard]] std::uint64_t read(bus_addr at) { return memory_.cpu(at)->load(std::memory_order_acquire); }
  void write_entry(bus_addr at, const entry_words& w) {
    for (unsigned i = 8; i-- != 0;) write(bus_addr{raw(at) + i * 8}, w[i]);
  }
  void set_ste(std::uint32_t sid, const ste& e) { write_entry(bus_addr{raw(streams_.bus) + sid * 64}, e.w); }

  bus_addr new_table() {
    const auto s = memory_.allocate_dma(4096, 4096);
    EXPECT_TRUE(s);
    oracle_.table_allocated(s.bus);
    return s.bus;
  }
  void free_table(bus_addr at) {
    oracle_.table_freed(at);
    memory_.release({memory_.cpu(at), 512, at});
  }

  space new_space(std::uint16_t as) {
    space s{asid{as}, memory_.allocate_dma(64, 64), new_table()};
    cd_stage1 c{};
    c.table = s.root;
    c.input_bits = input_bits;
    c.as = s.as;
    const auto words = cd::stage1(c);
    EXPECT_TRUE(words.ok());
    write_entry(s.cd_memory.bus, words->w);
    return s;
  }
  [[nodiscard]] ste ste_of(const space& s) {
    ste_stage1 c{};
    c.cd_table = s.cd_memory.bus;
    const auto e = ste::stage1(c);
    EXPECT_TRUE(e.ok());
    return e.value();
  }

  /// Where the descriptor of `level` for x lies; missing tables on the way are made.
  bus_addr slot(const space& s, std::uint64_t x, unsigned level) {
    bus_addr table = s.root;
    for (unsigned l = 1; l != level; ++l) {
      const bus_addr at{raw(table) + descriptor::index(granule::k4, l, x) * 8u};
      if (!descriptor{read(at)}.is_table(granule::k4, l)) write(at, descriptor::table(granule::k4, new_table())->w);
      table = descriptor{read(at)}.next_table(granule::k4);
    }
    return bus_addr{raw(table) + descriptor::index(granule::k4, level, x) * 8u};
  }
  void map(const space& s, std::uint64_t x, bus_addr to, unsigned level = 3, const leaf_attributes& a = {}) {
    write(slot(s, x, level), descriptor::leaf(granule::k4, level, to, a)->w);
  }
  void unmap(const space& s, std::uint64_t x, unsigned level = 3) { write(slot(s, x, level), 0); }

 private:
  model::memory<Env>& memory_;
  model::oracle<Env>& oracle_;
  dma_span<Env> streams_;
};

}  // namespace model_test
