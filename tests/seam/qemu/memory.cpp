// SPDX-License-Identifier: MIT
#include <cstddef>

// The four functions that a freestanding compiler may call and every embedding has. The empty asm keeps the compiler from
// recognising the loops and replacing each by a call of itself.
extern "C" {

void* memset(void* to, int value, std::size_t n) noexcept {
  auto* p = static_cast<unsigned char*>(to);
  for (std::size_t i = 0; i != n; ++i) {
    p[i] = static_cast<unsigned char>(value);
    asm volatile("" ::: "memory");
  }
  return to;
}
void* memmove(void* to, const void* from, std::size_t n) noexcept {
  auto* p = static_cast<unsigned char*>(to);
  const auto* q = static_cast<const unsigned char*>(from);
  const bool upwards = p < q;
  for (std::size_t i = 0; i != n; ++i) {
    const std::size_t at = upwards ? i : n - 1 - i;
    p[at] = q[at];
    asm volatile("" ::: "memory");
  }
  return to;
}
void* memcpy(void* to, const void* from, std::size_t n) noexcept { return memmove(to, from, n); }
int memcmp(const void* a, const void* b, std::size_t n) noexcept {
  const auto* p = static_cast<const unsigned char*>(a);
  const auto* q = static_cast<const unsigned char*>(b);
  for (std::size_t i = 0; i != n; ++i) {
    asm volatile("" ::: "memory");
    if (p[i] != q[i]) return p[i] < q[i] ? -1 : 1;
  }
  return 0;
}

}  // extern "C"
