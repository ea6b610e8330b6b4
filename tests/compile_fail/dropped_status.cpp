// SPDX-License-Identifier: MIT
// An invalidation whose outcome is dropped would hand memory to a device.
// EXPECT: nodiscard
// EXPECT: status
#include <shootdown/status.hpp>

shootdown::status invalidate() noexcept;

void unmap() {
#ifndef CONTROL
  invalidate();
#else
  if (!invalidate().ok()) return;
#endif
}
