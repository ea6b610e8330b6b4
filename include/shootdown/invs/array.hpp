// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <atomic>  // std::memory_order only
#include <cstddef>
#include <cstdint>
#include <new>
#include <span>

#include <shootdown/env/environment.hpp>
#include <shootdown/invs/entry.hpp>
#include <shootdown/port/command_port.hpp>
#include <shootdown/status.hpp>

SHOOTDOWN_BEGIN

/// All that a domain's invalidation must reach, sorted by (instance, type, id, PASID): the walk is linear, the commands of
/// one instance are adjacent, and the order of the entries is the order of issue.
///
/// Readers (every unmap) load the domain's pointer to it inside an RCU read section, read count() once and walk, skipping
/// entries without users. Control operations (attach, detach; serialised by the caller) compute:
///   merge(left, right)  a new array: left's live entries plus right's; users + 1 where both have the key. Old untouched
///   unref(right)        in place, cannot fail for lack of memory: users - 1; afterwards right[i].users() is 1 if the key
///                       still has users and 0 if this was the last (then the tag must be flushed). Trailing trash is cut
///   purge(left)         a copy without trash and with has_ats() recomputed, or null when neither would change, nothing is
///                       left, or no memory (trash is harmless, and so is a mark that holds no longer)
/// "right" is the sorted list of one master's entries; its users are not read. Both sides are multisets: a device listed
/// twice appears twice and is paired one to one.
///
/// Reclamation is never waited for: retire() hands the array to Env::rcu. Arrays are pinned where they are (not copyable).
/// Context: readers any; control operations as Env::allocate allows. Progress: readers wait-free, never blocked by and
/// never blocking a control operation. Cost: merge O(n + m), one allocation of 64 + 32 k bytes; unref O(n + m), none;
/// purge O(n), one. Not for lookups by key on a hot path: there is no index. invs-array.md 3.
///
/// Sites: S1 relaxed S2 relaxed (the length only falls while readers look; what is cut off is trash).
template <environment Env, command_port Port>
class entry_array : public Env::rcu::head {
 public:
  using entry_t = entry<Env, Port>;

  entry_array(const entry_array&) = delete;
  entry_array& operator=(const entry_array&) = delete;

  /// Frees it now: for an array that no reader can hold. Null is allowed.
  static void destroy(entry_array* a) noexcept {
    if (a == nullptr) return;
    const std::uint32_t n = a->capacity_;
    for (std::uint32_t i = 0; i != n; ++i) a->entries_[i].~entry_t();
    a->~entry_array();
    Env::deallocate(a, bytes(n), alignof(entry_array));
  }
  /// Frees it after every reader that may hold it has left; returns at once. Null is allowed.
  static void retire(entry_array* a) noexcept {
    if (a != nullptr) Env::rcu::retire(*a, [](typename Env::rcu::head* h) noexcept { destroy(static_cast<entry_array*>(h)); });
  }

  [[nodiscard]] std::uint32_t capacity() const noexcept { return capacity_; }
  /// Entries to look at. Readers take it once: it can fall while they walk.
  [[nodiscard]] std::uint32_t count() const noexcept {
    return count_.load(std::memory_order_relaxed);  // S1 relaxed: old or new length are both right, the difference is trash
  }
  /// Entries without users among the first count(). Control side.
  [[nodiscard]] std::uint32_t trash() const noexcept { return trash_; }
  /// Some device-cache entry had users when this array was built; never recomputed in place.
  [[nodiscard]] bool has_ats() const noexcept { return has_ats_; }
  [[nodiscard]] const entry_t& operator[](std::uint32_t i) const noexcept { return entries_[i]; }

  /// The first entry with users of that instance and type, or null.
  [[nodiscard]] const entry_t* find(instance_id instance, entry_type type) const noexcept {
    for (std::uint32_t i = 0, n = count(); i != n; ++i) {
      const entry_t& e = entries_[i];
      if (e.spec.instance == instance && e.spec.type == type && e.live()) return &e;
    }
    return nullptr;
  }

  /// Is there an entry with users under this key?
  [[nodiscard]] bool contains(const entry_key& k) const noexcept {
    for (std::uint32_t i = 0, n = count(); i != n; ++i) {
      if (entries_[i].live() && entries_[i].spec.key() == k) return true;
    }
    return false;
  }

  /// left (null: empty) + right. no_memory, or invalid_argument for an unsorted right side; left is unchanged in any case.
  [[nodiscard]] static result<entry_array*> merge(const entry_array* left, std::span<const entry_t> right) noexcept {
    for (std::size_t i = 1; i < right.size(); ++i) {
      if (right[i].spec.key() < right[i - 1].spec.key()) return errc::invalid_argument;
    }
    std::uint32_t n = 0;
    join(left, right, [&](const entry_t*, const entry_t*) noexcept { ++n; });
    entry_array* const out = create(n);
    if (out == nullptr) return errc::no_memory;
    n = 0;
    join(left, right, [&](const entry_t* l, const entry_t* r) noexcept {
      entry_t& made = out->fill(n++, l != nullptr ? *l : *r, l == nullptr ? 1u : l->users() + (r != nullptr ? 1u : 0u));
      if (r != nullptr) made.spec.stu = std::max(made.spec.stu, r->spec.stu);  // not of the key; the larger unit serves both
    });
    return out;
  }

  /// Takes right's users away. not_present when a key of right has no users here: reported, nothing changed.
  [[nodiscard]] status unref(std::span<entry_t> right) noexcept {
    bool absent = false;
    join(this, right, [&](const entry_t* l, const entry_t*) noexcept { absent = absent || l == nullptr; });
    if (absent) return errc::not_present;
    std::uint32_t kept = 0;
    join(this, right, [&](entry_t* l, entry_t* r) noexcept {
      if (r != nullptr) {
        const std::uint32_t users = l->users() - 1;
        l->set_users(users);
        r->set_users(users != 0 ? 1 : 0);
        if (users == 0) ++trash_;
      }
      if (l->live()) kept = static_cast<std::uint32_t>(l - entries_) + 1;
    });
    trash_ -= count() - kept;                       // all behind the last live entry is trash, counted when it died
    count_.store(kept, std::memory_order_relaxed);  // S2 relaxed: a reader with the old length meets trash and skips it
    return {};
  }

  [[nodiscard]] static entry_array* purge(const entry_array* left) noexcept {
    if (left == nullptr || left->count() == 0 || (left->trash() == 0 && !left->marked_in_vain())) return nullptr;
    const auto made = merge(left, {});
    return made.ok() ? *made : nullptr;
  }

  /// Sorted, within capacity, trash counted, no trash at the end, no live device entry behind has_ats = false. Control side.
  [[nodiscard]] bool check_invariants() const noexcept {
    const std::uint32_t n = count();
    if (n > capacity_ || trash_ > n) return false;
    std::uint32_t dead = 0;
    for (std::uint32_t i = 0; i != n; ++i) {
      const entry_t& e = entries_[i];
      if (!e.spec.check_invariants()) return false;
      if (i != 0 && e.spec.key() < entries_[i - 1].spec.key()) return false;
      if (!e.live()) {
        ++dead;
      } else if (phase_of(e.spec.type) == phase::atc && !has_ats_) {
        return false;
      }
    }
    return dead == trash_ && (n == 0 || entries_[n - 1].live());
  }

 private:
  /// has_ats() holds no longer.
  [[nodiscard]] bool marked_in_vain() const noexcept {
    for (std::uint32_t i = 0; i != count(); ++i) {
      if (entries_[i].live() && phase_of(entries_[i].spec.type) == phase::atc) return false;
    }
    return has_ats_;
  }
  /// An array of `n` blank entries without users; null when there is no memory.
  [[nodiscard]] static entry_array* create(std::uint32_t n) noexcept {
    static_assert(sizeof(void*) != 8 || (sizeof(entry_array) <= 64 && sizeof(entry_t) <= 32), "header and entry sizes");
    static_assert(alignof(entry_t) <= alignof(entry_array) || sizeof(entry_array) % alignof(entry_t) == 0);
    void* const memory = Env::allocate(bytes(n), alignof(entry_array));
    if (memory == nullptr) return nullptr;
    return ::new (memory) entry_array{n};
  }
  explicit entry_array(std::uint32_t n) noexcept : entries_{reinterpret_cast<entry_t*>(this + 1)}, capacity_{n} {
    for (std::uint32_t i = 0; i != n; ++i) ::new (static_cast<void*>(entries_ + i)) entry_t{};
    count_.store(n, std::memory_order_relaxed);  // S2 relaxed: not published yet
  }
  ~entry_array() = default;

  [[nodiscard]] static constexpr std::size_t bytes(std::uint32_t n) noexcept {
    return sizeof(entry_array) + std::size_t{n} * sizeof(entry_t);
  }
  entry_t& fill(std::uint32_t i, const entry_t& from, std::uint32_t users) noexcept {
    entries_[i].spec = from.spec;
    entries_[i].set_users(users);
    has_ats_ = has_ats_ || phase_of(from.spec.type) == phase::atc;
    return entries_[i];
  }

  /// Walks left's live entries and all of right in key order: f(l, r), l or r null where only the other has the key.
  /// The cursor moves past an entry before f may kill it.
  template <class Left, class Right, class F>
  static void join(Left* left, std::span<Right> right, F&& f) noexcept {
    const std::uint32_t n = left == nullptr ? 0 : left->count();
    std::uint32_t i = 0;
    std::size_t j = 0;
    for (;;) {
      while (i != n && !left->entries_[i].live()) ++i;
      if (i == n && j == right.size()) return;
      auto* const l = i == n ? nullptr : &left->entries_[i];
      auto* const r = j == right.size() ? nullptr : &right[j];
      const bool take_left = r == nullptr || (l != nullptr && l->spec.key() <= r->spec.key());
      const bool take_right = l == nullptr || (r != nullptr && r->spec.key() <= l->spec.key());
      if (take_left) ++i;
      if (take_right) ++j;
      f(take_left ? l : nullptr, take_right ? r : nullptr);
    }
  }

  entry_t* entries_;
  std::uint32_t capacity_;
  typename Env::template atomic<std::uint32_t> count_;
  std::uint32_t trash_{};
  bool has_ats_{};
};

SHOOTDOWN_END
