// SPDX-License-Identifier: MIT
// Name spaces are types: an address space tag is no StreamID.
// EXPECT: cannot convert | cannot initialize
// EXPECT: stream_id
#include <shootdown/arch/commands.hpp>

shootdown::stream_id of_device() {
  [[maybe_unused]] const shootdown::asid tag{7};
  [[maybe_unused]] const shootdown::stream_id device{7};
#ifndef CONTROL
  const shootdown::cmd::cfgi_ste c{tag, true};
#else
  const shootdown::cmd::cfgi_ste c{device, true};
#endif
  return c.sid;
}
