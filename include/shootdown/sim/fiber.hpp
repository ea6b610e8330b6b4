// SPDX-License-Identifier: MIT
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>

#include <shootdown/env/sanitizer.hpp>

#if !defined(__x86_64__) && !defined(__aarch64__)
#error "sim/fiber.hpp: no stack switch for this CPU; x86-64 and AArch64 have one"
#endif

#if SHOOTDOWN_ASAN
extern "C" {  // NOLINTBEGIN(bugprone-reserved-identifier): the run-time's own names
void __sanitizer_start_switch_fiber(void** fake_stack_save, const void* bottom, std::size_t size);
void __sanitizer_finish_switch_fiber(void* fake_stack_save, const void** bottom_old, std::size_t* size_old);
void __asan_unpoison_memory_region(void const volatile* address, std::size_t size);
}  // NOLINTEND(bugprone-reserved-identifier)
#endif
#if SHOOTDOWN_TSAN
extern "C" {  // NOLINTBEGIN(bugprone-reserved-identifier)
void* __tsan_get_current_fiber(void);
void* __tsan_create_fiber(unsigned flags);
void __tsan_destroy_fiber(void* fiber);
void __tsan_switch_to_fiber(void* fiber, unsigned flags);
}  // NOLINTEND(bugprone-reserved-identifier)
#endif

// The two functions that change stacks: nothing may be moved into them or assumed about their registers (noipa), and their
// own few words are one thread's in the machine although ThreadSanitizer takes each fiber for a thread.
#if defined(__clang__)
#define SHOOTDOWN_FIBER_SWITCH __attribute__((noinline, no_sanitize("thread", "address")))
#else
#define SHOOTDOWN_FIBER_SWITCH __attribute__((noipa, no_sanitize("thread", "address")))
#endif

SHOOTDOWN_BEGIN
namespace sim {

namespace detail {
/// Parks the running flow: its registers on its stack, its stack pointer in *save; continues the flow parked at `to`.
/// The callee-saved registers the compiler cannot be told about are stored by hand, the rest are clobbers. Floating-point
/// modes are not switched: they belong to the thread.
SHOOTDOWN_FIBER_SWITCH inline void switch_stack(void** save, void* to) noexcept {
#if defined(__x86_64__)
  asm volatile(
      "subq $128, %%rsp\n\t"  // the red zone is somebody's locals
      "pushq %%rbp\n\t"
      "pushq %%rbx\n\t"
      "leaq 1f(%%rip), %%rax\n\t"
      "pushq %%rax\n\t"
      "movq %%rsp, (%0)\n\t"
      "movq %1, %%rsp\n\t"
      "popq %%rax\n\t"
      "jmpq *%%rax\n"
      "1:\n\t"
      "popq %%rbx\n\t"
      "popq %%rbp\n\t"
      "addq $128, %%rsp"
      : "+D"(save), "+S"(to)
      :
      : "rax", "rcx", "rdx", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6",
        "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "memory", "cc");
#else
  asm volatile(
      "sub sp, sp, #32\n\t"
      "stp x29, x30, [sp]\n\t"
      "str x19, [sp, #16]\n\t"
      "adr x9, 1f\n\t"
      "str x9, [sp, #24]\n\t"
      "mov x9, sp\n\t"
      "str x9, [%0]\n\t"
      "mov sp, %1\n\t"
      "ldr x9, [sp, #24]\n\t"
      "br x9\n"
      "1:\n\t"
      "ldp x29, x30, [sp]\n\t"
      "ldr x19, [sp, #16]\n\t"
      "add sp, sp, #32"
      : "+r"(save), "+r"(to)
      :
      : "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14", "x15", "x16", "x17", "x20", "x21", "x22", "x23",
        "x24", "x25", "x26", "x27", "x28", "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12", "v13", "v14",
        "v15", "v16", "v17", "v18", "v19", "v20", "v21", "v22", "v23", "v24", "v25", "v26", "v27", "v28", "v29", "v30", "v31", "memory",
        "cc");
#endif
}
}  // namespace detail

/// A flow of control with a stack of its own. resume() runs it until it suspends or ends; suspend() returns to whoever
/// resumed it. Nobody runs beside it: a fiber stays on the thread that created it.
///
/// Contract: the entry function must not let an exception out, and no fiber may suspend while it handles one (the run-time
/// keeps its list of them per thread). A fiber destroyed before it ended is abandoned: its stack disappears, destructors of
/// the objects on it do not run. A stack that overflows hits an inaccessible page.
/// Sanitizers: every switch is announced. To ThreadSanitizer a fiber is a thread. Whether a switch orders what both sides do
/// is a choice: `orders` for coroutines that hand work to each other; `orders_nothing` for fibers that stand for threads, so
/// that ThreadSanitizer finds their races although they never run at the same time.
/// Cost: a few nanoseconds per switch; creation maps memory. Not for: hundreds of thousands of fibers.
class fiber {
 public:
  using entry = void (*)(void*) noexcept;
  enum class switching : unsigned { orders = 0, orders_nothing = 1 };  // values: the flags of __tsan_switch_to_fiber

  fiber(std::size_t stack_bytes, entry function, void* argument, [[maybe_unused]] switching s = switching::orders) noexcept
      : function_{function}, argument_{argument} {
    const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    bytes_ = (stack_bytes + page - 1) / page * page;
    mapped_ = bytes_ + page;
    void* const p = ::mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (p == MAP_FAILED) return;
    memory_ = static_cast<std::byte*>(p);
    ::mprotect(memory_, page, PROT_NONE);  // overflow faults instead of running into a neighbour
    bottom_ = memory_ + page;
    // The frame that switch_stack takes up: the address to go to, above it what begin() sees as its (absent) caller.
    auto* const top = reinterpret_cast<void**>(bottom_ + bytes_);
#if defined(__x86_64__)
    top[-1] = nullptr;
    top[-2] = reinterpret_cast<void*>(&begin);
    sp_ = top - 2;
#else
    top[-1] = reinterpret_cast<void*>(&begin);
    sp_ = top - 4;
#endif
#if SHOOTDOWN_TSAN
    tsan_self_ = __tsan_create_fiber(0);
    tsan_flags_ = static_cast<unsigned>(s);
#endif
  }
  ~fiber() noexcept {
    if (memory_ == nullptr) return;
#if SHOOTDOWN_ASAN
    __asan_unpoison_memory_region(bottom_, bytes_);  // an abandoned stack has red zones; the next user of the addresses has none
#endif
#if SHOOTDOWN_TSAN
    void* const self = __tsan_get_current_fiber();  // whoever destroys it comes after all it did, ended or abandoned
    __tsan_switch_to_fiber(tsan_self_, static_cast<unsigned>(switching::orders_nothing));
    __tsan_switch_to_fiber(self, static_cast<unsigned>(switching::orders));
    __tsan_destroy_fiber(tsan_self_);
#endif
    ::munmap(memory_, mapped_);
  }
  fiber(const fiber&) = delete;
  fiber& operator=(const fiber&) = delete;

  /// False when there was no memory for the stack; such a fiber cannot be resumed.
  [[nodiscard]] bool valid() const noexcept { return memory_ != nullptr; }
  [[nodiscard]] bool done() const noexcept { return done_; }
  /// The fiber that runs on this thread now, null outside of all.
  [[nodiscard]] static fiber* running() noexcept { return running_; }

  /// Runs the fiber up to its next suspend() or its end. Not on a running or ended one.
  SHOOTDOWN_FIBER_SWITCH void resume() noexcept {
    outer_ = running_;
    running_ = this;
#if SHOOTDOWN_ASAN
    void* fake = nullptr;
    __sanitizer_start_switch_fiber(&fake, bottom_, bytes_);
#endif
#if SHOOTDOWN_TSAN
    tsan_owner_ = __tsan_get_current_fiber();
    __tsan_switch_to_fiber(tsan_self_, tsan_flags_);
#endif
    detail::switch_stack(&owner_sp_, sp_);
#if SHOOTDOWN_ASAN
    __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
#endif
    running_ = outer_;
  }
  /// Back to the resumer. Only from inside this fiber.
  SHOOTDOWN_FIBER_SWITCH void suspend() noexcept {
#if SHOOTDOWN_ASAN
    void* fake = nullptr;
    __sanitizer_start_switch_fiber(done_ ? nullptr : &fake, owner_bottom_, owner_bytes_);  // null: the fake stack can go
#endif
#if SHOOTDOWN_TSAN
    __tsan_switch_to_fiber(tsan_owner_, tsan_flags_);
#endif
    detail::switch_stack(&sp_, owner_sp_);
#if SHOOTDOWN_ASAN
    __sanitizer_finish_switch_fiber(fake, &owner_bottom_, &owner_bytes_);
#endif
  }

 private:
  [[noreturn]] SHOOTDOWN_FIBER_SWITCH static void begin() noexcept {
    fiber* const self = running_;
#if SHOOTDOWN_ASAN
    __sanitizer_finish_switch_fiber(nullptr, &self->owner_bottom_, &self->owner_bytes_);
#endif
    self->function_(self->argument_);
    self->done_ = true;
    self->suspend();
    __builtin_trap();  // an ended fiber was resumed
  }

  static inline thread_local constinit fiber* running_ = nullptr;

  entry function_;
  void* argument_;
  std::byte* memory_{};  // guard page, then the stack
  std::size_t mapped_{};
  std::byte* bottom_{};
  std::size_t bytes_{};
  void* sp_{};        // of the fiber while it is suspended
  void* owner_sp_{};  // of the resumer while the fiber runs
  fiber* outer_{};
  bool done_{};
#if SHOOTDOWN_ASAN
  const void* owner_bottom_{};
  std::size_t owner_bytes_{};
#endif
#if SHOOTDOWN_TSAN
  unsigned tsan_flags_{};
  void* tsan_self_{};
  void* tsan_owner_{};
#endif
};

}  // namespace sim
SHOOTDOWN_END

#undef SHOOTDOWN_FIBER_SWITCH
