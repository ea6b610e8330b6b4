// SPDX-License-Identifier: MIT
// All that the program has below it: an entry, an exit, and the four functions a compiler may call by itself.
#include <cstddef>

extern "C" {

// Not compiled into calls of themselves.
#if defined(__clang__)
#define NO_IDIOM __attribute__((no_builtin("memcpy", "memmove", "memset", "memcmp")))
#else
#define NO_IDIOM __attribute__((optimize("no-tree-loop-distribute-patterns")))
#endif

NO_IDIOM void* memcpy(void* to, const void* from, std::size_t n) {
  for (std::size_t i = 0; i != n; ++i) static_cast<char*>(to)[i] = static_cast<const char*>(from)[i];
  return to;
}
NO_IDIOM void* memmove(void* to, const void* from, std::size_t n) {
  if (to < from) return memcpy(to, from, n);
  while (n-- != 0) static_cast<char*>(to)[n] = static_cast<const char*>(from)[n];
  return to;
}
NO_IDIOM void* memset(void* to, int value, std::size_t n) {
  for (std::size_t i = 0; i != n; ++i) static_cast<char*>(to)[i] = static_cast<char>(value);
  return to;
}
NO_IDIOM int memcmp(const void* a, const void* b, std::size_t n) {
  for (std::size_t i = 0; i != n; ++i) {
    const int d = static_cast<const unsigned char*>(a)[i] - static_cast<const unsigned char*>(b)[i];
    if (d != 0) return d;
  }
  return 0;
}

int image_main();

[[noreturn]] __attribute__((used)) void image_start() {
  const long code = image_main();
#if defined(__x86_64__)
  asm volatile("syscall" : : "a"(60L), "D"(code) : "rcx", "r11", "memory");
#elif defined(__aarch64__)
  register long number asm("x8") = 93;
  register long first asm("x0") = code;
  asm volatile("svc #0" : : "r"(number), "r"(first) : "memory");
#else
#error "no exit for this CPU"
#endif
  __builtin_unreachable();
}
}

// The stack is 16-byte aligned at entry, and a call makes it what a function expects.
asm(".globl _start\n_start:\n"
#if defined(__x86_64__)
    "  call image_start\n"
#else
    "  bl image_start\n"
#endif
);
