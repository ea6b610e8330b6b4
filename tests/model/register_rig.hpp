// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>

#include <gtest/gtest.h>

#include <shootdown/arch/commands.hpp>
#include <shootdown/arch/event.hpp>
#include <shootdown/arch/queue_word.hpp>
#include <shootdown/arch/registers.hpp>
#include <shootdown/model/machine.hpp>

#include "hand_tables.hpp"

namespace model_test {
using namespace shootdown;

/// The smallest driver: brings one model SMMU up with bare register writes, puts commands into its ring and looks at CONS,
/// GERROR and the event queue. No library code stands between the test and the device.
template <class Env>
struct register_rig {
  model::machine<Env> machine;
  hand_tables<Env> tables{machine.memory(), machine.oracle()};
  model::backend<Env>& regs = machine.backend();
  queue_geometry ring;
  queue_geometry event_ring;
  dma_span<Env> commands = regs.allocate_dma(std::size_t{16} << ring.log2size, std::size_t{16} << ring.log2size);
  dma_span<Env> records = regs.allocate_dma(std::size_t{32} << event_ring.log2size, std::size_t{32} << event_ring.log2size);
  std::uint32_t prod{};
  std::uint32_t event_cons{};

  explicit register_rig(const model::machine_options& o = {}, unsigned log2size = 6, unsigned event_log2 = 5)
      : machine{o}, ring{log2size}, event_ring{event_log2} {
    write64<reg::strtab_base>(raw(tables.stream_table()));
    write32<reg::strtab_base_cfg>(tables.stream_log2);
    write32<reg::cr2>(static_cast<std::uint32_t>(reg::cr2::recinvsid::mask | reg::cr2::ptm::mask));
    write64<reg::cmdq_base>(raw(commands.bus) | log2size);
    write64<reg::eventq_base>(raw(records.bus) | event_log2);
  }
  void enable(bool translate = true) {
    cr0(reg::cr0::cmdqen::mask);
    cr0(reg::cr0::cmdqen::mask | reg::cr0::eventqen::mask);
    if (translate) cr0(reg::cr0::cmdqen::mask | reg::cr0::eventqen::mask | reg::cr0::smmuen::mask);
  }
  void cr0(std::uint64_t v) {
    write32<reg::cr0>(static_cast<std::uint32_t>(v));
    for (unsigned turn = 0; turn != 1000 && read32<reg::cr0ack>() != v; ++turn) regs.idle({});
    EXPECT_EQ(read32<reg::cr0ack>(), v);
  }

  template <class R>
  [[nodiscard]] std::uint32_t read32() {
    return regs.read32(R::offset);
  }
  template <class R>
  void write32(std::uint32_t v) {
    regs.write32(R::offset, v);
  }
  template <class R>
  void write64(std::uint64_t v) {
    regs.write64(R::offset, v);
  }

  /// Writes commands into the ring; the device does not know yet.
  void put(std::initializer_list<command> list) {
    for (const command& c : list) {
      commands.cpu[2 * ring.index(prod)].store(c.dw0, std::memory_order_relaxed);
      commands.cpu[2 * ring.index(prod) + 1].store(c.dw1, std::memory_order_relaxed);
      prod = ring.add(prod, 1);
    }
  }
  void doorbell() { write32<reg::cmdq_prod>(prod); }
  void send(std::initializer_list<command> list) {
    put(list);
    doorbell();
  }
  [[nodiscard]] std::uint32_t cons() { return ring.word(read32<reg::cmdq_cons>()); }
  [[nodiscard]] bool drained() { return cons() == prod; }
  /// Puts a SYNC behind the list and waits for it. False: not complete within that many turns.
  bool complete(std::initializer_list<command> list, std::uint64_t turns = 1000) {
    put(list);
    send({cmd::sync::silent().encode()});
    for (std::uint64_t turn = 0; turn != turns; ++turn) {
      if (drained()) return true;
      regs.idle({});
    }
    return false;
  }

  [[nodiscard]] bool command_error() { return ((read32<reg::gerror>() ^ read32<reg::gerrorn>()) & 1) != 0; }
  [[nodiscard]] unsigned error_code() { return read32<reg::cmdq_cons>() >> 24 & 0x7f; }
  void acknowledge() { write32<reg::gerrorn>(read32<reg::gerror>()); }

  /// The next event record, if there is one.
  [[nodiscard]] std::optional<event> next_event() {
    const std::uint32_t p = read32<reg::eventq_prod>();
    if (event_ring.word(p) == event_cons) return std::nullopt;
    event_record r{};
    for (unsigned i = 0; i != 4; ++i) r.w[i] = records.cpu[4 * event_ring.index(event_cons) + i].load(std::memory_order_acquire);
    event_cons = event_ring.add(event_cons, 1);
    write32<reg::eventq_cons>(event_cons | (p & 0x8000'0000u));
    return r.decode();
  }

  static command va(std::uint16_t as, std::uint64_t x, bool leaf = true) {
    return cmd::tlbi_nh_va{asid{as}, vmid{0}, tlbi_operand::address(x, leaf)}.encode();
  }
  static command range(std::uint16_t as, granule g, std::uint64_t x, unsigned num, unsigned scale, unsigned ttl, bool leaf = true) {
    return cmd::tlbi_nh_va{asid{as}, vmid{0}, tlbi_operand::range(g, x, num, scale, ttl, leaf).value()}.encode();
  }
};

}  // namespace model_test
