// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <array>
#include <atomic>  // std::memory_order only
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <utility>
#include <vector>

#include <absl/container/flat_hash_map.h>

#include <shootdown/env/sanitizer.hpp>
#include <shootdown/sim/cell.hpp>
#include <shootdown/sim/clock.hpp>

SHOOTDOWN_BEGIN
namespace sim {

[[nodiscard]] constexpr bool acquires(std::memory_order o) noexcept {
  return o == std::memory_order_acquire || o == std::memory_order_consume || o == std::memory_order_acq_rel ||
         o == std::memory_order_seq_cst;
}
[[nodiscard]] constexpr bool releases(std::memory_order o) noexcept {
  return o == std::memory_order_release || o == std::memory_order_acq_rel || o == std::memory_order_seq_cst;
}

/// Bounds and switches of the weak memory.
struct history_options {
  unsigned staleness{2};  ///< a load may return up to so many stores older than the newest it may see
  bool placement{};       ///< stores may enter the modification order before stores that were executed earlier
  bool coherent{true};  ///< false: a device sees CPU stores to dma words only from dma_publish on, a CPU device stores from dma_observe on
};

/// Weak memory: for each cell the stores that were made to it, and for each observer what it can no longer overlook.
///
/// The model. C++20 without load buffering: a load returns any store to its cell that coherence and happens-before allow and
/// that has been executed. Release and acquire, fences of all orders, and release sequences (read-modify-writes only) make
/// happens-before. seq_cst: the total order S is the order of execution; accesses and fences are bound to it as
/// [atomics.order] demands. Read-modify-writes read what stands directly before them in modification order.
/// Not covered: load buffering; an S that differs from the order of execution (there are outcomes that only such an S
/// explains); more than `longest` stores of one cell (older ones are forgotten, which makes the memory stronger, and counted).
/// tests/litmus compares all this with the axioms, outcome by outcome.
/// Plain accesses are not its business: ThreadSanitizer sees the synchronisation that really took place in the trial.
///
/// Questions (which store, where to place one) go to `Ask`: (kind is value or placement, options) -> answer, 0 the default.
/// Sites: none of its own: memory orders are data here.
class history {
 public:
  static constexpr std::size_t longest = 32;

  struct stored {
    std::uint64_t value{};
    std::uint32_t access{};  ///< its number among those of `by`
    std::uint32_t place{};   ///< in modification order
    observer by{};
    bool initial{};   ///< was there before the run
    bool modifies{};  ///< a read-modify-write: nothing comes between it and the store before
    vector_clock released{};
  };

  explicit history(const history_options& o = {}) noexcept : options_{o} {}

  void start(const history_options& o) {
    options_ = o;
    map_.clear();
    used_ = 0;
    stores_used_ = 0;
    s_ = 0;
    forgotten_ = 0;
    fences_ = {};
    for (view& v : views_) v = {};
  }

  [[nodiscard]] vector_clock& clock_of(observer who) noexcept { return views_[who].now; }
  [[nodiscard]] std::uint64_t forgotten() const noexcept { return forgotten_; }
  void is_device(observer who) noexcept { views_[who].device = true; }

  /// The object at this address is new: what was known of the old one does not count.
  void born(const cell& c) { map_.erase(c.at); }

  template <class Ask>
  [[nodiscard]] std::uint64_t load(observer who, const cell& c, std::memory_order o, Ask&& ask, std::uint32_t& stale) {
    location& l = at(c);
    view& v = views_[who];
    ++v.now.at[who];
    const stored& s = *l.order[pick(l, who, o == std::memory_order_seq_cst, false, ask, stale)];
    read(l, who, s, o);
    if (o == std::memory_order_seq_cst) enter_s(l, s);
    return s.value;
  }

  template <class Ask>
  void store(observer who, const cell& c, std::uint64_t value, std::memory_order o, Ask&& ask) {
    location& l = at(c);
    view& v = views_[who];
    ++v.now.at[who];
    std::size_t place = l.order.size();
    if (options_.placement) {
      const std::size_t lowest = bound(l, who, o == std::memory_order_seq_cst) + 1;
      places_.clear();
      for (std::size_t p = l.order.size(); p >= lowest; --p)
        if (p == l.order.size() || !l.order[p]->modifies) places_.push_back(p);
      if (places_.size() > 1) place = places_[ask(true, static_cast<std::uint32_t>(places_.size()))];
    }
    insert(l, who, place, value, o, false);
    c.put(l.order.back()->value);
  }

  template <class Ask>
  [[nodiscard]] std::uint64_t modify(observer who, const cell& c, modification m, std::uint64_t operand, std::memory_order o, Ask&& ask,
                                     std::uint32_t& stale) {
    location& l = at(c);
    ++views_[who].now.at[who];
    const std::size_t from = pick(l, who, o == std::memory_order_seq_cst, true, ask, stale);
    const std::uint64_t old = l.order[from]->value;
    read(l, who, *l.order[from], o);
    insert(l, who, from + 1, modified(m, old, operand, c.size), o, true);
    c.put(l.order.back()->value);
    return old;
  }

  /// A success reads what it may modify; a failure is a load of any other value.
  template <class Ask>
  [[nodiscard]] bool compare_exchange(observer who, const cell& c, std::uint64_t& expected, std::uint64_t desired, std::memory_order ok,
                                      std::memory_order failed, Ask&& ask, std::uint32_t& stale) {
    location& l = at(c);
    ++views_[who].now.at[who];
    const std::size_t lowest_ok = bound(l, who, ok == std::memory_order_seq_cst);
    const std::size_t lowest_failed = bound(l, who, failed == std::memory_order_seq_cst);
    places_.clear();
    for (std::size_t p = l.order.size(); p-- > 0 && places_.size() <= options_.staleness;)
      if (l.order[p]->value == expected ? p >= lowest_ok && may_follow(l, p) : p >= lowest_failed) places_.push_back(p);
    std::uint32_t answer = 0;
    if (places_.size() > 1) answer = ask(false, static_cast<std::uint32_t>(places_.size()));
    const std::size_t from = places_[answer];
    stale = static_cast<std::uint32_t>(l.order.size() - 1 - from);
    const stored& s = *l.order[from];
    if (s.value != expected) {
      expected = s.value;
      read(l, who, s, failed);
      if (failed == std::memory_order_seq_cst) enter_s(l, s);
      if (stale != 0) views_[who].overlooked.push_back(&l);
      return false;
    }
    read(l, who, s, ok);
    insert(l, who, from + 1, desired, ok, true);
    c.put(l.order.back()->value);
    return true;
  }

  void fence(observer who, std::memory_order o) {
    view& v = views_[who];
    if (acquires(o)) v.now.join(v.to_acquire);
    if (o == std::memory_order_seq_cst) {
      v.now.join(fences_);
      v.now.fence = ++s_;
      fences_.join(v.now);
    }
    if (releases(o)) v.at_release = v.now;
  }

  /// What one knows the other knows from now on: a mutex, a grace period, a device that synchronises its parts.
  void join(observer who, const vector_clock& c) noexcept { views_[who].now.join(c); }

  /// The observer's polling loop goes round: whatever it has seen once, and has been overwritten since, it does not see again.
  /// Stores become visible in finite time; without this, a loop could read the same old value for ever.
  bool refresh(observer who) {
    view& v = views_[who];
    bool was_stale = false;
    for (location* l : v.overlooked) {
      was_stale = true;
      seen(*l, who, *l->order.back());
    }
    v.overlooked.clear();
    return was_stale;
  }

  /// dma_publish of a CPU: what it knows of these words reaches every device that learns of this.
  void publish(observer who, const void* first, std::size_t bytes) {
    if (options_.coherent) return;
    ++views_[who].now.at[who];
    each_word(first, bytes, [&](location& l) {
      l.published.push_back({who, views_[who].now.at[who], l.order[bound_of(l, who, views_[who].now, false)]});
    });
  }
  /// dma_observe of a CPU: from now on it sees what devices wrote there and it knows of.
  void observe(observer who, const void* first, std::size_t bytes) {
    if (options_.coherent) return;
    each_word(first, bytes, [&](location& l) { seen(l, who, *l.order[bound_of(l, who, views_[who].now, false)]); });
  }

 private:
  struct sighting {
    std::uint32_t access{};
    const stored* what{};
  };
  struct publication {
    observer by{};
    std::uint32_t access{};
    const stored* what{};
  };
  struct step_of_s {
    std::uint32_t step{};
    const stored* what{};
  };
  struct location {
    void* at{};
    bool device_word{};
    std::vector<stored*> order;  // modification order
    std::array<std::vector<sighting>, max_observers> sightings;
    std::vector<publication> published;
    std::vector<step_of_s> sc;  // what seq_cst accesses stored or loaded; never goes back in modification order
  };
  struct view {
    vector_clock now{};
    vector_clock to_acquire{};  // what relaxed loads have read, for a fence
    vector_clock at_release{};  // of the last release fence
    bool device{};
    std::vector<location*> overlooked;  // read stale since the last refresh
  };

  [[nodiscard]] location& at(const cell& c) {
    const auto [it, fresh] = map_.try_emplace(c.at, nullptr);
    if (!fresh) return *it->second;
    if (used_ == locations_.size()) locations_.push_back(std::make_unique<location>());
    location& l = *locations_[used_++];
    it->second = &l;
    l.at = c.at;
    l.device_word = c.device_word;
    l.order.clear();
    for (auto& s : l.sightings) s.clear();
    l.published.clear();
    l.sc.clear();
    stored& s = fresh_store();
    s.value = c.get();
    s.initial = true;
    l.order.push_back(&s);
    return l;
  }
  [[nodiscard]] stored& fresh_store() {
    if (stores_used_ == stores_.size()) stores_.emplace_back();
    stored& s = stores_[stores_used_++];
    s = {};
    return s;
  }

  [[nodiscard]] bool may_follow(const location& l, std::size_t p) const noexcept {
    return p + 1 == l.order.size() || (options_.placement && !l.order[p + 1]->modifies);
  }

  /// The place of the oldest store that `who` may still read.
  [[nodiscard]] std::size_t bound(const location& l, observer who, bool seq_cst) const noexcept {
    if (!seq_cst) return bound_of(l, who, views_[who].now, true);
    vector_clock c = views_[who].now;
    c.join(fences_);
    const std::size_t p = bound_of(l, who, c, true);
    return l.sc.empty() ? p : std::max<std::size_t>(p, l.sc.back().what->place);
  }
  [[nodiscard]] std::size_t bound_of(const location& l, observer who, const vector_clock& c, bool apart) const noexcept {
    const bool divided = apart && !options_.coherent && l.device_word;
    const bool device = views_[who].device;
    std::size_t p = l.order.size() - 1;
    for (; p != 0; --p) {
      const stored& s = *l.order[p];
      if (s.initial) break;
      if (c.knows(s.by, s.access) && (!divided || views_[s.by].device == device)) break;
    }
    for (unsigned u = 0; u != max_observers; ++u) {
      if (divided && u != who && views_[u].device != device) continue;
      const auto& list = l.sightings[u];
      for (std::size_t i = list.size(); i-- != 0;) {
        if (list[i].access > c.at[u]) continue;
        p = std::max<std::size_t>(p, list[i].what->place);
        break;
      }
    }
    for (std::size_t i = l.sc.size(); i-- != 0;) {
      if (l.sc[i].step > c.fence) continue;
      p = std::max<std::size_t>(p, l.sc[i].what->place);
      break;
    }
    if (divided && device)
      for (const publication& b : l.published)
        if (c.knows(b.by, b.access)) p = std::max<std::size_t>(p, b.what->place);
    return p;
  }

  template <class Ask>
  [[nodiscard]] std::size_t pick(location& l, observer who, bool seq_cst, bool to_modify, Ask& ask, std::uint32_t& stale) {
    const std::size_t last = l.order.size() - 1;
    stale = 0;
    if (to_modify && !options_.placement) return last;
    const std::size_t lowest = bound(l, who, seq_cst);
    if (lowest == last) return last;
    places_.clear();
    for (std::size_t p = last + 1; p-- > lowest && places_.size() <= options_.staleness;)
      if (!to_modify || may_follow(l, p)) places_.push_back(p);
    const std::size_t p = places_.size() > 1 ? places_[ask(false, static_cast<std::uint32_t>(places_.size()))] : places_[0];
    stale = static_cast<std::uint32_t>(last - p);
    if (stale != 0 && !to_modify) views_[who].overlooked.push_back(&l);
    return p;
  }

  void read(location& l, observer who, const stored& s, std::memory_order o) {
    view& v = views_[who];
    seen(l, who, s);
    if (acquires(o)) {
      v.now.join(s.released);
#if SHOOTDOWN_TSAN
      for (std::size_t p = s.place;; --p) {  // the release sequence that it is part of
        tsan_acquire(l.order[p]);
        if (p == 0 || !l.order[p]->modifies) break;
      }
#endif
    } else {
      v.to_acquire.join(s.released);
    }
  }
  /// A seq_cst access: later ones, and whatever follows a later seq_cst fence, do not go behind the store that it made or saw.
  void enter_s(location& l, const stored& s) {
    ++s_;
    if (l.sc.empty() || l.sc.back().what != &s) l.sc.push_back({s_, &s});
  }
  void seen(location& l, observer who, const stored& s) {
    auto& list = l.sightings[who];
    if (!list.empty() && list.back().what->place >= s.place) return;
    list.push_back({views_[who].now.at[who], &s});
  }

  void insert(location& l, observer who, std::size_t place, std::uint64_t value, std::memory_order o, bool modifies) {
    view& v = views_[who];
    stored& s = fresh_store();
    s.value = value;
    s.access = v.now.at[who];
    s.by = who;
    s.modifies = modifies;
    s.released = releases(o) ? v.now : v.at_release;
    if (modifies) s.released.join(l.order[place - 1]->released);
    if (o == std::memory_order_seq_cst) enter_s(l, s);
    if (releases(o)) tsan_release(&s);
    l.order.insert(l.order.begin() + static_cast<std::ptrdiff_t>(place), &s);
    for (std::size_t p = place; p != l.order.size(); ++p) l.order[p]->place = static_cast<std::uint32_t>(p);
    seen(l, who, s);
    if (l.order.size() <= longest) return;
    ++forgotten_;
    l.order.erase(l.order.begin());
    for (std::size_t p = 0; p != l.order.size(); ++p) l.order[p]->place = static_cast<std::uint32_t>(p);
    l.order[0]->initial = true;
  }

  template <class F>
  void each_word(const void* first, std::size_t bytes, F&& f) {
    auto* const words = static_cast<std::byte*>(const_cast<void*>(first));
    for (std::size_t i = 0; i + 8 <= bytes; i += 8)
      if (const auto it = map_.find(words + i); it != map_.end()) f(*it->second);
  }

  history_options options_;
  absl::flat_hash_map<void*, location*> map_;
  std::vector<std::unique_ptr<location>> locations_;
  std::size_t used_{};
  std::deque<stored> stores_;
  std::size_t stores_used_{};
  std::array<view, max_observers> views_{};
  vector_clock fences_{};  // what is known to the last seq_cst fence
  std::uint32_t s_{};      // steps of S
  std::uint64_t forgotten_{};
  std::vector<std::size_t> places_;
};

}  // namespace sim
SHOOTDOWN_END
