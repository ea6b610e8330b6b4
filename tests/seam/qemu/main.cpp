// SPDX-License-Identifier: MIT
// World (d): the library on bare metal, against an SMMU and a DMA-capable device that nobody here wrote. Passes if the
// exit status is 0; the console says how far it came.
#include <cstddef>
#include <cstdint>
#include <span>

#include <shootdown/device/smmu.hpp>
#include <shootdown/device/stage1_stream.hpp>
#include <shootdown/env/bare.hpp>
#include <shootdown/invs/domain.hpp>
#include <shootdown/queue/owner_cas.hpp>
#include <shootdown/table/page_pool.hpp>
#include <shootdown/table/stage1_4k.hpp>

#include "../scenario.hpp"
#include "platform.hpp"

extern "C" std::byte image_end[];

namespace {

using namespace shootdown;

struct board {
  static std::uint64_t now_ns() noexcept { return platform::now_ns(); }
  static std::uint64_t irq_save() noexcept {
    std::uint64_t saved = 0;
    asm volatile("mrs %0, daif\n msr daifset, #2" : "=r"(saved)::"memory");
    return saved;
  }
  static void irq_restore(std::uint64_t saved) noexcept { asm volatile("msr daif, %0" ::"r"(saved) : "memory"); }
  static void fail(const char* text) noexcept {
    platform::print("contract violation: ");
    platform::print(text);
    platform::print("\n");
    platform::exit(4);
  }
  static std::span<std::byte> memory() noexcept {
    alignas(16) static constinit std::byte heap[65536]{};
    return heap;
  }
};
using env = bare_env<board>;

/// The SMMU's registers, and DMA memory cut off the RAM behind the image. RAM is mapped one to one, so bus = CPU address.
class backend_on_qemu {
 public:
  std::uint32_t read32(std::uint32_t offset) noexcept {
    const std::uint32_t v = platform::read32(platform::smmu + offset);
    asm volatile("dsb ld" ::: "memory");
    return v;
  }
  std::uint64_t read64(std::uint32_t offset) noexcept {
    const std::uint64_t v = platform::read64(platform::smmu + offset);
    asm volatile("dsb ld" ::: "memory");
    return v;
  }
  void write32(std::uint32_t offset, std::uint32_t v) noexcept {
    asm volatile("dsb st" ::: "memory");
    platform::write32(platform::smmu + offset, v);
  }
  void write64(std::uint32_t offset, std::uint64_t v) noexcept {
    asm volatile("dsb st" ::: "memory");
    platform::write64(platform::smmu + offset, v);
  }
  void idle(deadline) noexcept { env::relax(); }
  dma_span<env> allocate_dma(std::size_t bytes, std::size_t align) noexcept {
    const std::uintptr_t at = (next_ + align - 1) & ~(std::uintptr_t{align} - 1);
    if (at + bytes > end) return {};
    next_ = at + bytes;
    auto* const words = reinterpret_cast<env::dma_word*>(at);
    for (std::size_t i = 0; i != bytes / 8; ++i) words[i].store(0, std::memory_order_relaxed);  // S1 relaxed: nobody else knows it yet
    return {words, bytes / 8, bus_addr{at}};
  }
  void release_dma(dma_span<env>) noexcept {}  // the image ends soon

 private:
  static constexpr std::uintptr_t end = 0x4f000000;
  std::uintptr_t next_{reinterpret_cast<std::uintptr_t>(image_end)};
};

using smmu_type = device::smmu<env, backend_on_qemu, queue::owner_cas>;
using pool_type = table::page_pool<env>;

constinit table::page_meta page_meta[64];

int failed(const char* what, errc code = errc::ok) {
  platform::print("FAILED: ");
  platform::print(what);
  if (code != errc::ok) {
    platform::print(": ");
    platform::print(name(code));
  }
  platform::print("\n");
  return 1;
}

/// A write of the NIC at an IOVA; did it land in `page`?
struct nic_writer {
  platform::loopback_nic& nic;
  volatile std::uint8_t* page;
  std::uint8_t fill{};
  bool operator()(iova at) noexcept {
    ++fill;
    const std::uint8_t before = page[platform::loopback_nic::packet_bytes - 1];
    nic.dma_write(raw(at), fill);
    return page[0] == fill && page[platform::loopback_nic::packet_bytes - 1] == fill && before != fill;
  }
};

int scenario(backend_on_qemu& hardware, smmu_type& smmu) {
  device::smmu_config config;
  config.cmdq_log2 = 8;
  config.stream_log2 = 8;
  if (const status s = smmu.start(config); !s.ok()) return failed("start", s.code());
  platform::print("SMMU started, IDR0 ");
  platform::print_hex(hardware.read32(0));
  platform::print(smmu.features().range_invalidation ? ", range invalidation\n" : "\n");

  const dma_span<env> tables = hardware.allocate_dma(sizeof page_meta / sizeof page_meta[0] * 4096, 4096);
  const dma_span<env> rings = hardware.allocate_dma(4096, 4096);
  const dma_span<env> target = hardware.allocate_dma(4096, 4096);
  if (!tables || !rings || !target) return failed("memory");
  pool_type pool{tables, page_meta};
  table::stage1_4k<env> space{pool};
  table::stage1_config shape;
  shape.input_bits = 39;
  shape.output_bits = 40;
  if (const status s = space.create(shape); !s.ok()) return failed("table", s.code());

  domain_options options;
  options.address_bits = shape.input_bits;
  options.number = 1;
  domain<env, smmu_type> dom{options};
  domain<env, smmu_type>::attachment_t attachment;
  const stream_id sid{platform::loopback_nic::stream};
  device::stage1_stream<smmu_type> stream{smmu, sid};
  if (const status s = stream.open(); !s.ok()) return failed("stream", s.code());
  device::stage1_space walk;
  walk.root = space.root();
  walk.input_bits = shape.input_bits;
  walk.output = address_size::bits40;
  const auto limit = [] { return deadline::in(env::now(), nanoseconds{1'000'000'000}); };
  if (const status s = dom.attach(attachment, {smmu, {&sid, 1}}, stream.writer(walk), limit()); !s.ok()) return failed("attach", s.code());

  constexpr iova rings_at{0x10'0000};
  if (const status s = space.map(rings_at, rings.bus, 4096, {.write = true}); !s.ok()) return failed("map of the rings", s.code());
  static constinit platform::loopback_nic nic;
  if (!nic.start(reinterpret_cast<volatile std::uint64_t*>(rings.cpu), raw(rings_at))) return failed("no e1000 at 00:01.0");
  platform::print("device started\n");

  const iova at{0x7654'3000};
  nic_writer writes{nic, reinterpret_cast<volatile std::uint8_t*>(target.cpu)};
  if (const char* wrong = seam::one_unmap(dom, space, writes, at, target.bus, limit()); wrong != nullptr) return failed(wrong);
  platform::print("one unmap: landed while mapped, landed stale, refused after the invalidation\n");

  unsigned faults = 0;
  bool as_expected = true;
  const device::event_report report = smmu.service_events([&](const event_record& r) {
    const event e = r.decode();
    ++faults;
    as_expected = as_expected && e.id == event_id::f_translation && e.sid == sid && (e.address & ~std::uint64_t{4095}) == raw(at);
  });
  if (faults == 0 || report.overflowed || !as_expected)
    return failed("the faults were not recorded as F_TRANSLATION of this stream and page");
  platform::print("faults recorded: ");
  platform::print_hex(faults);
  platform::print("\n");

  if (const status s = dom.detach(attachment, stream.writer(), limit()); !s.ok()) return failed("detach", s.code());
  if (!smmu.check_invariants() || !dom.check_invariants() || !space.check_invariants() || !pool.check_invariants())
    return failed("invariants");
  if (const status s = smmu.stop(); !s.ok()) return failed("stop", s.code());
  return 0;
}

}  // namespace

extern "C" {

[[noreturn]] void unexpected_exception(std::uint64_t syndrome, std::uint64_t where, std::uint64_t address) {
  platform::print("FAILED: exception ");
  platform::print_hex(syndrome);
  platform::print(" at ");
  platform::print_hex(where);
  platform::print(" address ");
  platform::print_hex(address);
  platform::print("\n");
  platform::exit(3);
}

[[noreturn]] void platform_exit(std::uint64_t code) { platform::exit(code); }

int image_main() {
  platform::write32(platform::uart + 0x30, 0x301);
  static constinit backend_on_qemu* hardware = nullptr;
  backend_on_qemu here;
  hardware = &here;
  alignas(smmu_type) static std::byte room[sizeof(smmu_type)];  // 32 KiB of tag bitmaps are too much for the stack
  auto* const smmu = new (room) smmu_type{*hardware};
  const int result = scenario(*hardware, *smmu);
  platform::print(result == 0 ? "PASSED\n" : "");
  return result;
}

}  // extern "C"
