// SPDX-License-Identifier: MIT
// The whole freestanding core, instantiated for a board without an operating system. check_symbols.py compiles it for both
// architectures with both compilers and lists what it still needs from outside. Each new class template of the core gets an
// explicit instantiation here, each function template a call.
#include <shootdown/shootdown.hpp>

namespace sd = shootdown;

namespace board_image {

/// The smallest board that bare_env accepts.
struct board {
  static std::uint64_t now_ns() noexcept { return ++ticks; }
  static unsigned irq_save() noexcept { return 0; }
  static void irq_restore(unsigned) noexcept {}
  static inline constinit std::uint64_t ticks = 0;
};
using env = sd::bare_env<board>;
static_assert(sd::environment<env>);

/// Registers behind a pointer, DMA memory from nowhere: a real backend's shape.
class window {
 public:
  explicit window(volatile void* base) noexcept : base_{static_cast<volatile unsigned char*>(base)} {}
  std::uint32_t read32(std::uint32_t offset) noexcept { return *at<std::uint32_t>(offset); }
  std::uint64_t read64(std::uint32_t offset) noexcept { return *at<std::uint64_t>(offset); }
  void write32(std::uint32_t offset, std::uint32_t v) noexcept { *at<std::uint32_t>(offset) = v; }
  void write64(std::uint32_t offset, std::uint64_t v) noexcept { *at<std::uint64_t>(offset) = v; }
  void idle(sd::deadline) noexcept { env::relax(); }
  sd::dma_span<env> allocate_dma(std::size_t, std::size_t) noexcept { return {}; }
  void release_dma(sd::dma_span<env>) noexcept {}

 private:
  template <class T>
  volatile T* at(std::uint32_t offset) noexcept {
    return reinterpret_cast<volatile T*>(base_ + offset);
  }
  volatile unsigned char* base_;
};
static_assert(sd::backend<window, env>);

}  // namespace board_image
using board_image::env;

// arch, port
template class sd::sub_list<sd::array_list>;
unsigned instantiate_visit(sd::command c) {
  return sd::visit(c, [](auto decoded) { return static_cast<unsigned>(decoded.encode().dw0); });
}
std::size_t instantiate_format(sd::command c, std::span<char> out) { return sd::format(c, out); }

// env
template class sd::spinlock<env>;

// range
template class sd::gather<8>;
template class sd::atc_cover<4>;
sd::result<sd::cover> instantiate_cover(const sd::range_piece& p, const sd::cover_rules& r) { return sd::cover::make(p, r); }

// table
template class sd::table::page_pool<env>;
template class sd::table::stage1_4k<env>;
template class sd::table::editor<env, sd::table::page_pool<env>, sd::table::stage1_k4>;
template class sd::table::page_pool<env, sd::table::null_observer, 65536>;
template class sd::table::editor<env, sd::table::page_pool<env, sd::table::null_observer, 65536>, sd::table::stage2_k64>;
template class sd::table::two_level_stream_table<env>;
template class sd::table::two_level_context_table<env>;
sd::status instantiate_two_level(sd::table::two_level_stream_table<env>& streams, sd::table::two_level_context_table<env>& contexts) {
  const auto source = [](std::size_t, std::size_t) { return sd::dma_span<env>{}; };
  const auto sync = [](sd::table::config_scope) { return sd::status{}; };
  streams.take_back([](sd::dma_span<env>) {});
  sd::status s = streams.write(sd::stream_id{1}, sd::ste::abort(), source, sync);
  s.merge(contexts.write(sd::substream_id{1}, sd::cd{}, source, sync));
  s.merge(contexts.clear(sd::substream_id{1}, sync));
  return s;
}

// queue
template class sd::queue::command_queue<env, board_image::window, sd::queue::locked>;
template class sd::queue::command_queue<env, board_image::window, sd::queue::owner_cas>;

// device
using smmu = sd::device::smmu<env, board_image::window, sd::queue::owner_cas>;
using plain_smmu = sd::device::smmu<env, board_image::window, sd::queue::locked>;
template class sd::device::smmu<env, board_image::window, sd::queue::owner_cas>;
template class sd::device::smmu<env, board_image::window, sd::queue::locked>;
template class sd::device::stage1_stream<smmu>;
template class sd::device::stage2_stream<smmu>;
sd::device::event_report instantiate_events(smmu& s) {
  return s.service_events([](const auto&) noexcept {});
}

// invs
template class sd::domain<env, smmu>;
template class sd::domain<env, plain_smmu>;

/// A master's whole life: every function template of the control path and of the hot path.
sd::status instantiate_life(sd::domain<env, smmu>& d, smmu& s, sd::table::stage1_4k<env>& t, const sd::master<smmu>& m, sd::deadline until) {
  sd::device::stage1_stream<smmu> stream{s, sd::stream_id{8}};
  sd::attachment<env, smmu> joined;
  sd::status worst = stream.open();
  worst.merge(d.attach(joined, m, stream.writer({.root = t.root()}), until));
  sd::gather<8> pieces;
  worst.merge(t.map(sd::iova{0x1000}, sd::bus_addr{0x2000}, 0x1000, {}));
  worst.merge(t.unmap(sd::iova{0x1000}, 0x1000, pieces));
  worst.merge(d.invalidate(pieces, until));
  t.release(pieces);
  worst.merge(d.detach(joined, stream.writer({}), until));
  stream.close();
  return worst;
}

// emu
namespace board_image {
struct no_memory {
  sd::result<std::uint64_t> load64(sd::bus_addr) noexcept { return sd::errc::out_of_range; }
  sd::status store64(sd::bus_addr, std::uint64_t) noexcept { return sd::errc::out_of_range; }
  sd::status store_low32(sd::bus_addr, std::uint32_t) noexcept { return sd::errc::out_of_range; }
};
struct no_cache {
  void execute(const sd::command&) noexcept {}
  sd::emu::sync_verdict sync(sd::instant) noexcept { return sd::emu::sync_verdict::done; }
  void smmu_enabled(bool) noexcept {}
  void commands_rejected(const sd::command&, sd::errc) noexcept {}
};
}  // namespace board_image
template class sd::emu::front_end<env, board_image::no_memory, board_image::no_cache>;
