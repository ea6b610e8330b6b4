// SPDX-License-Identifier: MIT
// Map, let a device write, unmap: after unmap() returned ok the device cannot reach the memory any more.
#include <shootdown/host/lab.hpp>

#include <cstdio>

using namespace shootdown;

int main() {
  host::thread_scope thread;  // liburcu wants to know its readers
  host::lab<> lab;            // an SMMUv3 in memory, one address space, one device
  if (!lab.open().ok()) return 1;
  auto& space = lab.at(0);
  const host::mapping buffer{iova{0x10000}, lab.frame(7), 0x4000};

  if (!space.map(buffer).ok()) return 1;
  std::printf("mapped:   write %s\n", name(space.write(iova{0x10000}).code()));
  if (!space.unmap(buffer).ok()) return 1;
  std::printf("unmapped: write %s\n", name(space.write(iova{0x10000}).code()));
  std::printf("leaks: %llu\n", static_cast<unsigned long long>(lab.leaks()));
  return lab.leaks() == 0 ? 0 : 1;
}
