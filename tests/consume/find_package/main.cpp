// SPDX-License-Identifier: MIT
// A user of the core: one page of one address space, as the two words that go into a command queue.
#include <cstdio>

#include <shootdown/shootdown.hpp>

int main() {
  namespace sd = shootdown;
  const auto page = sd::tlbi_operand::range(sd::granule::k4, 0xffff8000, 0, 0, 3, true);
  if (!page.ok()) return 1;
  const sd::command commands[] = {sd::stamp(sd::cmd::tlbi_nh_va::tag_word(sd::asid{1}, sd::vmid{0}), *page)};
  const sd::array_list list{commands, 1};
  int seen = 0;
  list.emit(0, list.size(), [&](sd::command c) {
    std::printf("%016llx %016llx\n", static_cast<unsigned long long>(c.dw0), static_cast<unsigned long long>(c.dw1));
    seen += sd::opcode_of(c) == sd::opcode::tlbi_nh_va;
  });
  return seen == 1 && SHOOTDOWN_VERSION_MAJOR == 0 ? 0 : 1;
}
