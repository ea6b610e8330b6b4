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
sd::status instantiate_unmap(sd::table::stage1_4k<env>& t, sd::gather<8>& g) {
  sd::status s = t.unmap(sd::iova{0x1000}, 0x1000, g);
  t.release(g);
  return s;
}
