// SPDX-License-Identifier: MIT
// A bare number is no tag: the caller says which name space it means.
// EXPECT: cannot convert | could not convert | no viable conversion | cannot initialize
// EXPECT: asid
#include <shootdown/arch/commands.hpp>

std::uint64_t word() {
#ifndef CONTROL
  return shootdown::cmd::tlbi_nh_va::tag_word(1, shootdown::vmid{0});
#else
  return shootdown::cmd::tlbi_nh_va::tag_word(shootdown::asid{1}, shootdown::vmid{0});
#endif
}
