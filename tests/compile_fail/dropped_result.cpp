// SPDX-License-Identifier: MIT
// A ticket that is dropped is never waited for.
// EXPECT: nodiscard
// EXPECT: result
#include <shootdown/port/ticket.hpp>
#include <shootdown/status.hpp>

shootdown::result<shootdown::ticket> submit() noexcept;

void unmap() {
#ifndef CONTROL
  submit();
#else
  if (!submit().ok()) return;
#endif
}
