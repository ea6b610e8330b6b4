// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <new>
#include <span>

#include <shootdown/config.hpp>

SHOOTDOWN_BEGIN

/// First-fit allocator over memory of the caller's, for systems without a heap.
///
/// Contract: allocate may fail (null); deallocate takes exactly what allocate gave, with the same size and alignment. Blocks
/// need no header: the caller knows its sizes, so `bytes` of one call never mixes with another's. Free neighbours merge.
/// Context: the caller serialises (bare_env does it with interrupts off). Cost: linear in the number of holes; attach and
/// bring-up only. Not for: hot paths, memory that a device reads before it is zeroed (nothing is zeroed here).
class arena {
 public:
  constexpr arena() noexcept = default;
  arena(const arena&) = delete;
  arena& operator=(const arena&) = delete;

  /// Hands `memory` over for good. What alignment cuts off at its ends is lost.
  void add(std::span<std::byte> memory) noexcept {
    const auto begin = address(memory.data());
    const std::uintptr_t first = up(begin, unit);
    const std::uintptr_t end = (begin + memory.size()) & ~(unit - 1);
    if (memory.empty() || first >= end) return;
    total_ += end - first;
    insert(first, end - first);
  }

  /// Null when no hole fits, or when `align` is not a power of two. Zero bytes take one unit, so every result is distinct.
  [[nodiscard]] void* allocate(std::size_t bytes, std::size_t align) noexcept {
    if (align == 0 || (align & (align - 1)) != 0 || bytes > total_) return nullptr;
    const std::size_t size = rounded(bytes);
    const std::uintptr_t alignment = align < unit ? unit : align;
    for (hole** link = &first_; *link != nullptr; link = &(*link)->next) {
      const std::uintptr_t begin = address(*link);
      const std::uintptr_t end = begin + (*link)->size;
      const std::uintptr_t at = up(begin, alignment);
      if (at < begin || at > end || end - at < size) continue;
      *link = (*link)->next;
      if (at != begin) insert(begin, at - begin);
      if (at + size != end) insert(at + size, end - at - size);
      return reinterpret_cast<void*>(at);
    }
    return nullptr;
  }
  void deallocate(void* p, std::size_t bytes) noexcept {
    if (p != nullptr) insert(address(p), rounded(bytes));
  }

  [[nodiscard]] std::size_t capacity() const noexcept { return total_; }
  [[nodiscard]] std::size_t available() const noexcept {
    std::size_t sum = 0;
    for (const hole* h = first_; h != nullptr; h = h->next) sum += h->size;
    return sum;
  }
  /// Holes are in address order, apart from each other, whole units, and no more than was added.
  [[nodiscard]] bool check_invariants() const noexcept {
    for (const hole* h = first_; h != nullptr; h = h->next) {
      if (h->size == 0 || h->size % unit != 0 || address(h) % unit != 0) return false;
      if (h->next != nullptr && address(h) + h->size >= address(h->next)) return false;
    }
    return available() <= total_;
  }

 private:
  struct hole {
    hole* next{};
    std::size_t size{};  // bytes, this header included
  };
  static constexpr std::uintptr_t unit = 16;
  static_assert(sizeof(hole) <= unit);

  [[nodiscard]] static std::uintptr_t address(const void* p) noexcept { return reinterpret_cast<std::uintptr_t>(p); }
  [[nodiscard]] static constexpr std::uintptr_t up(std::uintptr_t v, std::uintptr_t a) noexcept { return (v + a - 1) & ~(a - 1); }
  [[nodiscard]] static constexpr std::size_t rounded(std::size_t bytes) noexcept { return bytes == 0 ? unit : up(bytes, unit); }

  void insert(std::uintptr_t at, std::size_t size) noexcept {
    hole* before = nullptr;
    hole* after = first_;
    while (after != nullptr && address(after) < at) {
      before = after;
      after = after->next;
    }
    if (after != nullptr && at + size == address(after)) {  // merge with the hole behind
      size += after->size;
      after = after->next;
    }
    if (before != nullptr && address(before) + before->size == at) {  // and with the one in front
      before->size += size;
      before->next = after;
      return;
    }
    hole* const h = ::new (reinterpret_cast<void*>(at)) hole{after, size};
    (before == nullptr ? first_ : before->next) = h;
  }

  hole* first_{};
  std::size_t total_{};
};

SHOOTDOWN_END
