// SPDX-License-Identifier: MIT
// The freestanding core in a program without any library: exit status 0 when the command is the golden one.
#include <shootdown/shootdown.hpp>

namespace sd = shootdown;

namespace {
struct capture {
  sd::command last{};
  std::uint32_t count{};
  void operator()(sd::command c) noexcept {
    last = c;
    ++count;
  }
};
volatile std::uint64_t address = 0xffff8000;  // read at run time, so that nothing is folded away
}  // namespace

extern "C" int image_main() {
  const auto page = sd::tlbi_operand::range(sd::granule::k4, address, 0, 0, 3, true);
  if (!page.ok()) return 1;
  const sd::command commands[] = {sd::stamp(sd::cmd::tlbi_nh_va::tag_word(sd::asid{1}, sd::vmid{0}), *page)};
  const sd::array_list list{commands, 1};
  capture sink;
  list.emit(0, list.size(), sink);
  if (sink.count != 1 || sd::opcode_of(sink.last) != sd::opcode::tlbi_nh_va) return 2;
  return sink.last == sd::command{0x0001000000000012, 0x00000000ffff8701} ? 0 : 3;
}
