// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <new>
#include <vector>

#include <shootdown/config.hpp>

SHOOTDOWN_BEGIN
namespace model {

/// Recycles the nodes of the model's containers: a cache that breathes (fills and is invalidated, a million times) takes
/// no memory from the system after warming up. Freed nodes are kept by size; nothing is returned before destruction.
/// Context: the owner's lock. Cost: a list push or pop.
class node_pool {
 public:
  node_pool() = default;
  node_pool(const node_pool&) = delete;
  node_pool& operator=(const node_pool&) = delete;

  [[nodiscard]] void* take(std::size_t bytes) {
    const std::size_t list = (bytes + unit - 1) / unit;
    if (list >= lists) return ::operator new(bytes);
    if (free_[list] != nullptr) {
      node* const n = free_[list];
      free_[list] = n->next;
      return n;
    }
    const std::size_t need = list * unit;
    if (left_ < need) {
      chunks_.push_back(std::make_unique<chunk>());
      at_ = chunks_.back()->bytes.data();
      left_ = chunk_bytes;
    }
    void* const p = at_;
    at_ += need;
    left_ -= need;
    return p;
  }

  void give(void* p, std::size_t bytes) noexcept {
    const std::size_t list = (bytes + unit - 1) / unit;
    if (list >= lists) {
      ::operator delete(p);
      return;
    }
    free_[list] = ::new (p) node{free_[list]};
  }

  /// Chunks taken from the system so far: constant once the working set has been seen.
  [[nodiscard]] std::size_t chunks() const noexcept { return chunks_.size(); }

 private:
  static constexpr std::size_t unit = 16;
  static constexpr std::size_t lists = 65;  // nodes of up to 1 KiB; larger ones are rare and go to the system
  static constexpr std::size_t chunk_bytes = std::size_t{64} * 1024;
  struct node {
    node* next;
  };
  struct chunk {
    alignas(unit) std::array<std::byte, chunk_bytes> bytes;
  };
  std::array<node*, lists> free_{};
  std::vector<std::unique_ptr<chunk>> chunks_;
  std::byte* at_{};
  std::size_t left_{};
};

/// The standard allocator interface over a node_pool. The pool must outlive the container.
template <class T>
class pool_allocator {
 public:
  using value_type = T;
  static_assert(alignof(T) <= 16);
  explicit pool_allocator(node_pool& pool) noexcept : pool_{&pool} {}
  template <class U>
  pool_allocator(const pool_allocator<U>& o) noexcept : pool_{o.pool()} {}  // NOLINT(google-explicit-constructor)
  [[nodiscard]] T* allocate(std::size_t n) { return static_cast<T*>(pool_->take(n * sizeof(T))); }
  void deallocate(T* p, std::size_t n) noexcept { pool_->give(p, n * sizeof(T)); }
  [[nodiscard]] node_pool* pool() const noexcept { return pool_; }
  template <class U>
  [[nodiscard]] bool operator==(const pool_allocator<U>& o) const noexcept {
    return pool_ == o.pool();
  }

 private:
  node_pool* pool_;
};

}  // namespace model
SHOOTDOWN_END
