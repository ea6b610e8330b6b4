// SPDX-License-Identifier: MIT
// A driver that has lost its mind against model::smmu: any register access of any width, any word of the memory that the
// device reads, commands, DMAs, ATS traffic, faults to order and time. Nothing may crash, hang, leave its memory or break an
// invariant, registers and counters must tell one story, and a device that is left alone comes to rest.
//
// Input: tag, id registers (1 byte: 0 full, 1 default, 2 QEMU, 3 five words follow), engine flags and seed (2 bytes, see
// choose_engine), set-up flags (1 byte: 1 memory filled, 2 brought up, 4 two-level stream table, 8 endpoints, 16 an agent,
// 32 an agent with ATS, 64 agents act in each turn), then steps. A step is one byte, modulo the number of kinds, and its
// operands; see `driver`. At most 300 steps.
//
// Under test: model/ emu/
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include <shootdown/arch/command.hpp>

#include "device.hpp"
#include "input.hpp"

extern "C" const std::uint8_t fuzz_format_tag = 'r';

namespace {
using namespace fuzz;

class driver {
 public:
  driver(input& in, device& d) : in_{in}, device_{d}, smmu_{d.smmu()} {}

  void add_traffic(std::uint8_t flags) {
    if ((flags & 8) != 0) {
      for (unsigned sid = stage1_only; sid != stream_kinds; ++sid) {
        model::endpoint_options o{};
        o.stu = sid == substreams ? 2 : 0;
        o.refills = sid != nested;
        o.while_disabled = sid == with_ats ? model::disabled_answer::none : model::disabled_answer::unsupported_request;
        smmu_.add_endpoint(stream_id{sid}, o);
      }
    }
    model::agent_options a{};
    if ((flags & 16) != 0) agents_[0] = &smmu_.add_agent(stream_id{stage1_only}, a);
    a.ats_percent = 60;
    if ((flags & 32) != 0) agents_[1] = &smmu_.add_agent(stream_id{with_ats}, a);
  }

  void step() {
    switch (in_.below(23)) {
      case 0: return write32_anywhere();
      case 1: return write64_anywhere();
      case 2: return read(offset());
      case 3: return write_register();
      case 4: return write_base();
      case 5: return write_memory();
      case 6: return write_descriptor();
      case 7: return change_field();
      case 8: return put({in_.u64(), in_.u64()});
      case 9:
      case 10: return put_command();
      case 11: return ring();
      case 12: return access(false);
      case 13: return access(true);
      case 14: return land();
      case 15: return ats();
      case 16: return run(false);
      case 17: return run(true);
      case 18: return inject();
      case 19: return judge();
      case 20: return tell();
      case 21: return acknowledge();
      default: return look();
    }
  }

  /// Left alone, with every fault taken away that holds it back, the device finds nothing to do after a bounded number of steps.
  void come_to_rest() {
    smmu_.stick(false);
    smmu_.storm(0, 0);
    for (unsigned i = 0; i != 8; ++i) {
      device_env::clock += 100'000;
      // A ring can name every word of the memory, and each command may take one turn.
      for (unsigned turns = 0; smmu_.advance(device_env::now(), 1024); ++turns) require(turns != 64, "the device never comes to rest");
    }
    look();
  }

  void look() {
    require(device_.machine().check_invariants(), "check_invariants");
    const model::smmu_counters c = smmu_.counters();
    const model::engine_counters& e = c.engine;
    require(e.commands == e.syncs + e.tlbis + e.cfgis + e.other, "engine: commands by kind");
    require(c.front.commands == e.commands + c.front.ignored, "front end and engine: commands");
    require(c.front.syncs == e.syncs, "front end and engine: SYNCs");
    require(c.front.doorbells == doorbells_, "doorbells");
    require(c.front.prod_regressions <= c.front.doorbells, "prod_regressions");
    require(c.front.messages + c.front.events_to_cpus <= c.front.syncs, "messages");
    require(c.front.events + c.front.events_lost == e.events + floods_, "event records");
    require(e.events <= e.faults && e.faults <= e.dmas + e.ats.requests, "faults");
    require(e.landings + smmu_.outstanding() <= e.dmas, "landings");
    require(e.forced_landings <= e.landings && e.bus_errors <= e.landings, "kinds of landings");
    require(e.atc_invs <= e.other && e.whole_tag_tlbis <= e.tlbis && e.unpredictable <= e.tlbis, "kinds of commands");
    require(c.front.commands >= seen_.front.commands && e.dmas >= seen_.engine.dmas && e.landings >= seen_.engine.landings &&
                e.removed_entries >= seen_.engine.removed_entries && c.front.events >= seen_.front.events,
            "a counter went back");
    require(smmu_.outstanding() <= 8 + 3, "too many outstanding transactions");
    seen_ = c;
    std::array<model::leak_record, 2> leaks{};
    const std::size_t kept = device_.machine().oracle().records(leaks);
    require(kept == std::min<std::uint64_t>(leaks.size(), device_.machine().leaks()), "records of leaks");
    std::array<char, 64> text{};
    for (std::size_t i = 0; i != kept; ++i) require(model::format(leaks[i], text) < text.size(), "text of a leak");
    if (gone_) return;
    const emu::id_registers& id = smmu_.id();
    require(smmu_.read32(reg::idr0::offset) == id.idr0 && smmu_.read32(reg::idr1::offset) == id.idr1 &&
                smmu_.read32(reg::idr5::offset) == id.idr5,
            "identification registers change");
    require((smmu_.read32(reg::gerror::offset) & ~reg::gerror_fields::mask) == 0, "GERROR has stray bits");
  }

 private:
  /// Half of the accesses go where registers are, the others anywhere.
  std::uint32_t offset() {
    const std::uint8_t kind = in_.u8();
    if (kind < 128) return reg::map[kind % reg::map.size()].offset + (kind >> 6) * 4u;
    return kind < 250 ? (kind & 1u) * 0x1'0000u + in_.u8() * 4u : in_.u32();
  }
  void write32(std::uint32_t at, std::uint32_t v) {
    if (at == reg::cmdq_prod::offset && !gone_) ++doorbells_;
    smmu_.write32(at, v);
  }
  void write64(std::uint32_t at, std::uint64_t v) { smmu_.write64(at, v); }
  // The order in which arguments are evaluated is the compiler's: what is read from the input is read in statements of its own.
  void write32_anywhere() {
    const std::uint32_t at = offset();
    write32(at, in_.u32());
  }
  void write64_anywhere() {
    const std::uint32_t at = offset();
    write64(at, in_.u64());
  }
  void write_register() {
    const unsigned line = in_.below(static_cast<unsigned>(reg::map.size()));
    const std::uint32_t v = in_.u32();
    if (reg::map[line].bits == 64) return write64(reg::map[line].offset, std::uint64_t{v} << 4);
    write32(reg::map[line].offset, v);
  }
  void write_memory() {
    const std::uint64_t at = place::memory + (in_.u16() * std::uint64_t{8}) % place::memory_bytes;
    device_.word(at, in_.u64());
  }
  void read(std::uint32_t at) {
    const std::uint64_t whole = smmu_.read64(at);
    const std::uint64_t low = smmu_.read32(at), high = smmu_.read32(at + 4);
    if (gone_) return require(whole == ~std::uint64_t{0} && low == 0xffff'ffff, "a vanished SMMU answers");
    if (whole != 0) require(whole == (low | high << 32), "the halves of a register");
    if (at % 4 != 0 || at >= reg::file_bytes) require(low == 0 && whole == 0, "a register where there is none");
  }
  /// A base register that points into the memory.
  void write_base() {
    const std::uint8_t what = in_.u8();
    const std::uint64_t at = place::memory + in_.u8() * 0x100u;
    const unsigned size = what >> 3;
    switch (what & 7) {
      case 0: return write64(reg::cmdq_base::offset, at | (size & 31));
      case 1: return write64(reg::eventq_base::offset, at | (size & 31));
      case 2: return write64(reg::strtab_base::offset, at);
      case 3: return write32(reg::strtab_base_cfg::offset, size | ((what & 64u) << 10) | (std::uint32_t{in_.u8()} << 6));
      case 4: return write64(reg::gerror_irq_cfg0::offset, at);
      case 5: return write64(reg::eventq_irq_cfg0::offset, at);
      case 6: return write32(reg::cr0::offset, in_.u8());
      default: return write32(reg::gbpa::offset, 0x8000'0000u | (size & 1u) << 20);
    }
  }
  void write_descriptor() {
    const unsigned table = in_.u8(), index = in_.u8(), kind = in_.u8();
    const std::uint64_t flags = bit(10) | bit(11) | std::uint64_t{in_.u8()} << 4 | (kind & 64u ? bit(52) : 0) | (kind & 128u ? bit(61) : 0);
    const std::uint64_t n = in_.u8();
    const std::uint64_t w = kind % 5 == 0   ? 0
                            : kind % 5 == 1 ? table_at(static_cast<unsigned>(n)) | 3
                            : kind % 5 == 2 ? (place::data + n % place::data_frames * 0x1000) | flags | 3
                            : kind % 5 == 3 ? buffer_at(static_cast<unsigned>(n)) | flags | 3
                                            : n << 21 | flags | 1;
    device_.word(table_at(table) + index * 8u, w);
  }
  /// One bit or byte of an STE, of a CD or of a level-1 descriptor.
  void change_field() {
    constexpr std::array<std::uint64_t, 5> where{place::streams, place::contexts, place::l1_streams, place::l2_streams, place::l1_contexts};
    const std::uint64_t table = where[in_.below(5)];
    const std::uint64_t at = table + in_.u8() % 72u * 8u;
    const std::uint8_t what = in_.u8();
    const std::uint64_t old = device_.machine().memory().cpu(bus_addr{at})->load(std::memory_order_acquire);
    if (what < 192) return device_.word(at, old ^ bit(what % 64));
    const unsigned shift = what % 8 * 8;
    device_.word(at, (old & ~(std::uint64_t{0xff} << shift)) | std::uint64_t{in_.u8()} << shift);
  }

  void put(command c) {
    const std::uint64_t at = place::commands + prod_ % (1u << place::command_log2) * 16;
    device_.word(at, c.dw0);
    device_.word(at + 8, c.dw1);
    prod_ = (prod_ + 1) % (2u << place::command_log2);
  }
  void put_command() {
    constexpr std::array<std::uint8_t, 24> opcodes{0x01, 0x02, 0x03, 0x04, 0x04, 0x05, 0x06, 0x10, 0x11, 0x12, 0x13, 0x20,
                                                   0x21, 0x22, 0x23, 0x28, 0x2a, 0x30, 0x40, 0x40, 0x41, 0x44, 0x46, 0x46};
    const std::uint64_t op = opcodes[in_.below(24)];
    const std::uint64_t who = in_.u8(), how = in_.u8(), range = in_.u8();
    command c{op, 0};
    if (op < 0x10 || op == 0x40 || op == 0x41 || op == 0x44) {
      c.dw0 |= (who & 15) << 32 | (who >> 4 & 7) << 12 | (who >> 7) << 11 | (how & 1) << 9;
      c.dw1 = op < 0x10 ? how & 31 : op == 0x40 ? (how >> 2) | range << 12 : how & 3;
    } else if (op == 0x46) {
      c.dw0 |= (how & 3) << 12 | std::uint64_t{range} << 32;
      c.dw1 = (how & 4) != 0 ? place::message + (who & 63) * 4 : (how & 8) != 0 ? who << 20 : 0;
    } else {
      c.dw0 |= (who & 15) << 48 | (who >> 4) << 32 | (how & 31) << 12 | (range & 63) << 20;
      c.dw1 = address() & ~std::uint64_t{0xfff};
      c.dw1 |= (how >> 5 & 1) | (how >> 6) << 8 | std::uint64_t{in_.u8() & 3u} << 10;
    }
    put(c);
  }
  void ring() {
    const std::uint8_t how = in_.u8();
    write32(reg::cmdq_prod::offset, how < 240 ? prod_ : in_.u32());
    if (how < 128) static_cast<void>(smmu_.advance(device_env::now(), 64));
  }

  std::uint64_t address() {
    const std::uint8_t kind = in_.u8();
    const std::uint64_t n = in_.u8();
    switch (kind & 7) {
      case 0: return in_.u64();
      case 1: return (std::uint64_t{kind} << 27) | n << 12;
      case 2: return ~std::uint64_t{0} << 40 | n << 12;
      case 3: return 0x20'0000 + (n << 12);
      default: return (n & 63) << 12 | (kind & 0xf8u);
    }
  }
  void access(bool held) {
    const std::uint8_t how = in_.u8();
    const stream_id sid{how % 72u};
    const iova x{address()};
    const std::uint8_t flags = in_.u8();
    const model::request r{(flags & 1) != 0, (flags & 2) != 0, (flags & 4) != 0, substream_id{static_cast<std::uint32_t>(flags >> 4)}};
    const bool by_ats = (flags & 8) != 0;
    if (!held) {
      const auto landed = by_ats ? smmu_.ats_dma(sid, x, r, 0x1234, device_env::now()) : smmu_.dma(sid, x, r, 0x1234, device_env::now());
      return require(landed.ok() || landed.code() == errc::not_present || landed.code() == errc::exhausted, "dma");
    }
    const auto t = by_ats ? smmu_.ats_translate(sid, x, r, device_env::now()) : smmu_.translate(sid, x, r, device_env::now());
    if (!t.ok()) return require(t.code() == errc::exhausted || (by_ats && t.code() == errc::not_present), "translate");
    if (t->t.what == model::outcome::granted) {
      require(t->t.extent >= 12 && t->t.extent < 48, "extent of a translation");
      held_[next_++ % held_.size()] = t->id;
    }
  }
  void land() {
    const model::transaction_id id = held_[in_.below(static_cast<unsigned>(held_.size()))];
    const std::size_t before = smmu_.outstanding();
    const auto landed = smmu_.land(id, in_.u8(), device_env::now());
    require(landed.ok() || landed.code() == errc::not_present, "land");
    require(smmu_.outstanding() == before - (landed.ok() ? 1u : 0u), "land takes one transaction");
    if (landed.ok()) require(smmu_.land(id, 0, device_env::now()).code() == errc::not_present, "a transaction lands twice");
  }
  void ats() {
    const std::uint8_t how = in_.u8();
    const stream_id sid{how % 9u};
    switch (in_.below(5)) {
      case 0: {
        const model::request r{(how & 64) != 0, (how & 128) != 0, (how & 32) != 0, substream_id{how % 5u}};
        return static_cast<void>(smmu_.request_translation(sid, iova{address()}, r, device_env::now()));
      }
      case 1: return static_cast<void>(smmu_.enable_ats(sid, (how & 64) != 0));
      case 2: return static_cast<void>(smmu_.admit(sid));
      case 3: return static_cast<void>(smmu_.set_endpoint_state(sid, static_cast<model::endpoint_state>((how >> 4) % 3)));
      default:
        require(smmu_.counters_of(sid).refills <= smmu_.counters_of(sid).dropped, "refills");
        static_cast<void>(smmu_.cached_by(sid));
    }
  }

  void run(bool commands_only) {
    device_env::clock += std::uint64_t{in_.u8()} << 2;
    const unsigned steps = in_.u8();
    static_cast<void>(commands_only ? smmu_.advance_commands(device_env::now(), steps) : smmu_.advance(device_env::now(), steps));
  }
  void inject() {
    const std::uint8_t what = in_.u8(), n = in_.u8();
    switch (what % 16) {
      case 0: return smmu_.stick((n & 1) != 0);
      case 1: return smmu_.fail_fetch(static_cast<model::fetch_fault>(n % 3), n >> 4, n >> 2 & 3);
      case 2: return smmu_.fail_syncs(n & 3);
      case 3: return smmu_.freeze_cons((n & 1) != 0);
      case 4: return smmu_.vanish((n & 1) != 0), static_cast<void>(gone_ = (n & 1) != 0);
      case 5: return smmu_.slow_syncs(nanoseconds{n});
      case 6: floods_ += n & 15; return smmu_.flood_events(n & 15);
      case 7: return smmu_.raise_errors(n | n * 4u);
      case 8: return smmu_.storm(n, n & 7);
      case 9: return smmu_.fail_service();
      case 10: return smmu_.reset({(n & 1) != 0, (n & 2) != 0}, device_env::now());
      case 11: {
        emu::front_end_options o{};
        o.reserved = (n & 1) != 0 ? emu::reserved_bits_rule::ignored : emu::reserved_bits_rule::illegal;
        o.ack_delay = nanoseconds{(n & 2) != 0 ? 64u : 0u};
        o.wide_message = (n & 4) != 0;
        o.drop_message = (n & 8) != 0;
        return smmu_.set_front_options(o);
      }
      case 12: return device_.machine().memory().abort_window(bus_addr{place::memory + n * 0x100u}, std::uint64_t{what} << 4);
      default: return device_.bring_up((n & 1) != 0);
    }
  }
  /// Frames and tables change hands.
  void judge() {
    auto& o = device_.machine().oracle();
    const std::uint8_t n = in_.u8(), how = in_.u8();
    const model::space_id space{static_cast<std::uint16_t>(how >> 4)};
    const bus_addr frame{place::data + (n % 72u) * 0x1000u};
    switch (how % 6) {
      case 0: return static_cast<void>(o.claim(frame, how >> 5, space, iova{n * 0x1000u}));
      case 1: return static_cast<void>(o.release(frame, how >> 5, space, iova{n * 0x1000u}));
      case 2: return static_cast<void>(o.bind(stream_id{n}, space, model::space_id{static_cast<std::uint16_t>(how & 7)}));
      case 3: return o.table_allocated(bus_addr{table_at(n)});
      case 4: return o.table_freed(bus_addr{table_at(n)});
      default: return o.forget_leaks();
    }
  }
  void tell() {
    model::agent<device_env>* const a = agents_[in_.below(2)];
    const std::uint64_t x = address();
    if (a != nullptr) a->tell(iova{x}, std::uint64_t{in_.u8()} << 10);
  }
  /// What an interrupt handler does: acknowledge errors, take events, go on.
  void acknowledge() {
    const std::uint8_t how = in_.u8();
    if ((how & 1) != 0) write32(reg::gerrorn::offset, smmu_.read32(reg::gerror::offset));
    if ((how & 2) != 0) write32(reg::eventq_cons::offset, smmu_.read32(reg::eventq_prod::offset));
    if ((how & 4) != 0) prod_ = smmu_.read32(reg::cmdq_cons::offset) % (2u << place::command_log2);
    if ((how & 8) != 0) write32(reg::cr0::offset, 0xd);
    if ((how & 16) != 0) device_.word(place::commands + (smmu_.read32(reg::cmdq_cons::offset) & 31u) * 16, 0x46);
  }

  input& in_;
  device& device_;
  device::machine_type::smmu_type& smmu_;
  std::array<model::agent<device_env>*, 2> agents_{};
  std::array<model::transaction_id, 4> held_{};
  unsigned next_{};
  std::uint32_t prod_{};
  std::uint64_t doorbells_{};
  std::uint64_t floods_{};
  bool gone_{};
  model::smmu_counters seen_{};
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  input in{data, size};
  if (!in.tagged()) return -1;
  device_env::clock = 0;
  const emu::id_registers id = choose_id(in);
  const model::engine_options engine = choose_engine(in);
  const std::uint8_t flags = in.u8();
  device d{id, engine, (flags & 64) != 0 ? 1u : 3u};
  if ((flags & 1) != 0) d.fill();
  if ((flags & 2) != 0) d.bring_up((flags & 4) != 0);
  driver wild{in, d};
  wild.add_traffic(flags);
  wild.look();
  for (unsigned steps = 0; steps != 300 && !in.empty(); ++steps) {
    wild.step();
    if (steps % 16 == 15) wild.look();
  }
  wild.look();
  wild.come_to_rest();
  return 0;
}
