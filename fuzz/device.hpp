// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include <shootdown/arch/registers.hpp>
#include <shootdown/emu/id_registers.hpp>
#include <shootdown/host/env.hpp>
#include <shootdown/model/machine.hpp>

#include "input.hpp"

// The machine that registers_fuzz plays with: 64 KiB of memory with stream tables, CDs, queues and tables of both stages in
// fixed places, all of them written word by word and brought up by bare register writes.
namespace fuzz {
using namespace shootdown;

/// One thread, a clock that the input moves. A contract violation, or a wait for a lock that nobody else can hold, ends it.
struct device_env : host::basic_env<> {
  inline static std::uint64_t clock = 0;
  static instant now() noexcept { return instant{clock}; }
  static void relax() noexcept { broken("the device waits for its own lock"); }
  static void fail(const char* text) noexcept { broken(text); }
};

/// Bus addresses and sizes.
namespace place {
inline constexpr std::uint64_t memory = 0x1'0000, memory_bytes = 0x1'0000;
inline constexpr std::uint64_t streams = memory, l2_streams = memory + 0x1000, l1_streams = memory + 0x2000;
inline constexpr std::uint64_t contexts = memory + 0x3000, l1_contexts = memory + 0x2800;
inline constexpr std::uint64_t commands = memory + 0x4000, events = memory + 0x4400, message = memory + 0x4800;
inline constexpr std::uint64_t tables = memory + 0x5000;  // three of stage 1, three of stage 2, two spare
inline constexpr std::uint64_t buffers = memory + 0xd000;
inline constexpr std::uint64_t data = 0x40'0000;
inline constexpr unsigned table_pages = 8, buffer_pages = 3, data_frames = 64;
inline constexpr unsigned stream_log2 = 6, command_log2 = 5, event_log2 = 3;
}  // namespace place

inline constexpr std::uint64_t bit(unsigned n) { return std::uint64_t{1} << n; }
inline constexpr std::uint64_t table_at(unsigned n) { return place::tables + n % place::table_pages * 0x1000u; }
inline constexpr std::uint64_t buffer_at(unsigned n) { return place::buffers + n % place::buffer_pages * 0x1000u; }

/// The streams that setting up makes.
enum stream : unsigned { unset, stage1_only, stage2_only, nested, bypassed, substreams, with_ats, two_level_substreams, stream_kinds };

inline emu::id_registers choose_id(input& in) {
  const unsigned kind = in.below(4);
  emu::id_registers id = kind == 1   ? emu::id_registers::model_default()
                         : kind == 2 ? emu::id_registers::qemu_7_2()
                                     : emu::id_registers::model_full();
  if (kind == 3) {
    emu::id_registers wild{};
    for (std::uint32_t* const word : {&wild.idr0, &wild.idr1, &wild.idr3, &wild.idr5, &wild.iidr}) *word = in.u32();
    if (wild.validate().ok()) id = wild;
  }
  id.idr1 = (id.idr1 & ~std::uint32_t{0x3f}) | place::stream_log2;  // the oracle keeps a binding for each stream
  return id;
}

inline model::engine_options choose_engine(input& in) {
  model::engine_options e{};
  const std::uint8_t flags = in.u8();
  e.seed = in.u8();
  e.lazy = (flags & 1) == 0;
  e.early_percent = (flags & 2) != 0 ? 30 : 0;
  e.landing = (flags & 4) != 0 ? model::landing_policy::held : model::landing_policy::forced;
  e.sync_latency = nanoseconds{(flags & 8) != 0 ? 100u : 0u};
  e.command_latency = nanoseconds{(flags & 16) != 0 ? 7u : 0u};
  e.contiguous_runs = (flags & 32) == 0;
  e.fence_after_ste = (flags & 64) != 0;
  if ((flags & 128) != 0) {
    e.atc_round_trip = nanoseconds{50};
    e.atc_timeout = nanoseconds{500};
    e.atc_timeout_takes_all = e.seed % 2 != 0;
  }
  e.max_transactions = 8;
  e.agent_transactions = 2;
  e.max_pending = 6;
  return e;
}

/// A machine with one SMMU, and its memory as a driver of long ago left it.
class device {
 public:
  using machine_type = model::machine<device_env>;

  explicit device(const emu::id_registers& id, const model::engine_options& e, unsigned agent_period)
      : machine_{options(id, e, agent_period)} {
    for (unsigned i = 0; i != place::table_pages; ++i) machine_.oracle().table_allocated(bus_addr{table_at(i)});
  }
  [[nodiscard]] machine_type& machine() { return machine_; }
  [[nodiscard]] machine_type::smmu_type& smmu() { return machine_.smmu(); }

  void word(std::uint64_t at, std::uint64_t w) {
    if (auto* const cell = machine_.memory().cpu(bus_addr{at & ~std::uint64_t{7}})) cell->store(w, std::memory_order_release);
  }
  void entry(std::uint64_t at, const std::array<std::uint64_t, 8>& w) {
    for (unsigned i = 8; i-- != 0;) word(at + i * 8, w[i]);
  }

  /// Writes every structure: a stream of each kind, and tables that map memory, data frames, blocks and a contiguous run.
  void fill() {
    using namespace place;
    constexpr std::uint64_t s1_leaf = bit(10) | bit(11) | bit(6) | 3, s2_leaf = bit(10) | bit(7) | bit(6) | 0x3c | 3;
    word(table_at(0), table_at(1) | 3);  // stage 1, levels 1 to 3
    word(table_at(0) + 8, s1_leaf - 2);  // a block of 1 GiB
    word(table_at(1), table_at(2) | 3);
    word(table_at(1) + 8, data | (s1_leaf - 2));  // a block of 2 MiB
    for (unsigned i = 0; i != 16; ++i) word(table_at(2) + i * 8, (data + i * 0x1000) | s1_leaf);
    for (unsigned i = 16; i != 32; ++i) word(table_at(2) + i * 8, buffer_at(i) | s1_leaf | bit(52));
    for (unsigned i = 32; i != 40; ++i) word(table_at(2) + i * 8, buffer_at(i) | s1_leaf | bit(7));
    word(table_at(3), table_at(4) | 3);  // stage 2 maps each address to itself: blocks, and pages from 2 MiB on
    word(table_at(4), s2_leaf - 2);
    word(table_at(4) + 8, table_at(5) | 3);
    word(table_at(4) + 16, data | (s2_leaf - 2));
    for (unsigned i = 0; i != 32; ++i) word(table_at(5) + i * 8, buffer_at(i) | s2_leaf);

    constexpr std::uint64_t contexts_of_one = 25 | bit(30) | bit(31) | bit(41) | bit(45) | std::uint64_t{5} << 32;
    for (unsigned i = 0; i != 8; ++i) {
      entry(contexts + i * 64, {contexts_of_one | std::uint64_t{i + 1} << 48, table_at(0), 0, 0xff, 0, 0, 0, 0});
      word(l1_contexts + i * 8, contexts | 1);
    }
    constexpr std::uint64_t second = std::uint64_t{25} << 32 | bit(38) | std::uint64_t{5} << 48 | bit(51) | bit(58);
    const auto ste = [&](unsigned config, std::uint64_t w0, std::uint64_t w1, std::uint16_t vm) {
      return std::array<std::uint64_t, 8>{
          1 | std::uint64_t{config} << 1 | w0, w1, vm | (config >= 6 ? second : 0), table_at(3), 0, 0, 0, 0};
    };
    const std::array<std::array<std::uint64_t, 8>, stream_kinds> stes{std::array<std::uint64_t, 8>{},
                                                                      ste(5, contexts, 2, 0),
                                                                      ste(6, 0, 0, 3),
                                                                      ste(7, contexts + 64, 2, 4),
                                                                      ste(4, 0, 0, 0),
                                                                      ste(5, contexts | std::uint64_t{3} << 59, 1, 0),
                                                                      ste(5, contexts + 128, 2 | bit(28), 0),
                                                                      ste(5, l1_contexts | 1u << 4 | std::uint64_t{8} << 59, 2, 0)};
    for (unsigned i = 0; i != 64; ++i) {
      entry(streams + i * 64, stes[i % stream_kinds]);
      entry(l2_streams + i * 64, stes[i % stream_kinds]);
    }
    for (unsigned i = 0; i != 4; ++i) word(l1_streams + i * 8, l2_streams | (4 + i));
    auto& judge = machine_.oracle();
    for (unsigned i = 0; i != 8; ++i) {
      static_cast<void>(judge.bind(stream_id{i}, model::space_id{static_cast<std::uint16_t>(1 + i % 2)}));
      static_cast<void>(
          judge.claim(bus_addr{data + i * 0x1000}, 1, model::space_id{static_cast<std::uint16_t>(1 + i % 2)}, iova{i * 0x1000}));
    }
  }

  /// Queues, table and enables, as a driver sets them. `two_level`: the stream table.
  void bring_up(bool two_level) {
    auto& s = smmu();
    s.write64(reg::strtab_base::offset, two_level ? place::l1_streams : place::streams);
    s.write32(reg::strtab_base_cfg::offset, place::stream_log2 | (two_level ? 1u << 16 | 6u << 6 : 0u));
    s.write32(reg::cr2::offset, 0xe);
    s.write64(reg::cmdq_base::offset, place::commands | place::command_log2);
    s.write64(reg::eventq_base::offset, place::events | place::event_log2);
    s.write32(reg::irq_ctrl::offset, 7);
    for (const std::uint32_t on : {0x8u, 0xcu, 0xdu}) {
      s.write32(reg::cr0::offset, on);
      static_cast<void>(s.advance(device_env::now(), 4));
    }
  }

 private:
  static model::machine_options options(const emu::id_registers& id, const model::engine_options& e, unsigned agent_period) {
    model::machine_options o{};
    o.memory_base = bus_addr{place::memory};
    o.memory_bytes = place::memory_bytes;
    o.data_base = bus_addr{place::data};
    o.data_frames = place::data_frames;
    o.smmu.id = id;
    o.smmu.engine = e;
    o.smmu.agent_period = agent_period;
    return o;
  }

  machine_type machine_;
};

}  // namespace fuzz
