// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>  // std::memory_order only
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include <shootdown/arch/cd.hpp>
#include <shootdown/arch/ste.hpp>
#include <shootdown/config.hpp>
#include <shootdown/env/environment.hpp>
#include <shootdown/status.hpp>

SHOOTDOWN_BEGIN
namespace table {

/// What the writer has to know about a kind of entry: its valid bit (in word 0), and which bits the SMMU looks at.
struct ste_rules {
  static constexpr std::uint64_t valid = ste::v_f::mask;
  [[nodiscard]] static constexpr entry_words used(const entry_words& w) noexcept { return ste_used(w); }
};
struct cd_rules {
  static constexpr std::uint64_t valid = cd::v_f::mask;
  [[nodiscard]] static constexpr entry_words used(const entry_words& w) noexcept { return cd_used(w); }
};

/// How an entry got from its old value to the new one.
enum class entry_change : std::uint8_t {
  none,      ///< it had that value
  hitless,   ///< at every moment the old or the new configuration was in force
  breaking,  ///< in between the entry was invalid and transactions aborted
};

/// How to change `from` into `to`, as a plain value. IHI 0070 3.21.3; registers.md section 5.
///
/// `prepared` is `from` with every bit that its configuration ignores already as in `to`. Where `prepared` and `to` still
/// differ in a bit that the *new* configuration looks at, a word is critical. With at most one such word the switch is one
/// 64-bit store, and the SMMU reads each word in one piece.
template <class Rules>
struct entry_plan {
  static constexpr unsigned no_word = 8;
  entry_words prepared{};
  unsigned critical{no_word};  ///< the word that switches, or none
  bool breaking{};

  [[nodiscard]] static constexpr entry_plan make(const entry_words& from, const entry_words& to) noexcept {
    const entry_words before = Rules::used(from);
    const entry_words after = Rules::used(to);
    entry_plan plan;
    for (unsigned i = 0; i < 8; ++i) {
      plan.prepared[i] = (from[i] & before[i]) | (to[i] & ~before[i]);
      if (((plan.prepared[i] ^ to[i]) & after[i]) == 0) continue;
      plan.breaking = plan.breaking || plan.critical != no_word;
      plan.critical = i;
    }
    // The critical word goes in one store, its ignored bits included.
    if (plan.critical != no_word) plan.prepared[plan.critical] = from[plan.critical];
    return plan;
  }
};

/// Changes one STE or CD that the SMMU may be using.
///
/// write(target, sync): `sync() -> status` makes the SMMU forget its copy (CFGI_STE or CFGI_CD with leaf, CMD_SYNC, wait).
/// It is called after each step that changed a word, because the SMMU fetches the words one by one: only the SYNC says that
/// no fetch is half way through. Hitless: ignored bits, sync; critical word, sync; leftovers, sync. Breaking: valid bit off,
/// sync; words 1..7, sync; word 0, sync. The entry equals `target` at the end.
/// Begins with a full fence: the attach side of the ordering between publishing an invalidation array and the configuration
/// that makes it necessary (invs-array.md section 6, variant i). Without it, an unmap could miss the new array while the
/// SMMU, by the new entry, reads the old descriptor.
/// When sync fails: its error, and no further step. Before the switch the entry is still the old one; from the switch on,
/// its valid bit is cleared once more, so that it aborts instead of being half known. Never a mixture, never silently new.
/// Context: that of sync (may sleep). Writers of one entry are serialised by the caller. Cost: at most three syncs.
///
/// Sites: D1 entry words -> the SMMU's fetch, D2 own words, D3 abort -> the SMMU's fetch
template <environment Env, class Rules>
class entry_writer {
 public:
  /// `live`: the eight words of the entry.
  explicit entry_writer(typename Env::dma_word* live) noexcept : live_{live} {}

  template <class Sync>
    requires std::same_as<std::invoke_result_t<Sync&>, status>
  [[nodiscard]] status write(const entry_words& target, Sync&& sync) noexcept {
    Env::full_fence();
    steps_ = 0;
    change_ = entry_change::none;
    const entry_words from = read(live_);
    if (from == target) return {};
    const entry_plan<Rules> plan = entry_plan<Rules>::make(from, target);
    change_ = plan.breaking ? entry_change::breaking : entry_change::hitless;
    return plan.breaking ? write_breaking(from, target, sync) : write_hitless(plan, target, sync);
  }

  [[nodiscard]] entry_change change() const noexcept { return change_; }  ///< of the last write
  [[nodiscard]] unsigned steps() const noexcept { return steps_; }        ///< its steps, each with a sync

  /// The eight words as they lie in memory.
  [[nodiscard]] static entry_words read(const typename Env::dma_word* live) noexcept {
    entry_words w{};
    for (unsigned i = 0; i < 8; ++i) w[i] = live[i].load(std::memory_order_relaxed);  // D2 relaxed: only serialised writers change them
    return w;
  }

 private:
  template <class Sync>
  [[nodiscard]] status write_hitless(const entry_plan<Rules>& plan, const entry_words& target, Sync& sync) noexcept {
    if (const status s = step(plan.prepared, 0, 8, sync); !s.ok()) return s;
    if (plan.critical != plan.no_word) {
      if (const status s = step(target, plan.critical, plan.critical + 1, sync); !s.ok()) return give_up(s);
    }
    const status s = step(target, 0, 8, sync);
    return s.ok() ? s : give_up(s);
  }

  template <class Sync>
  [[nodiscard]] status write_breaking(const entry_words& from, const entry_words& target, Sync& sync) noexcept {
    entry_words invalid = target;
    invalid[0] = from[0] & ~Rules::valid;
    if (const status s = step(invalid, 0, 1, sync); !s.ok()) return s;
    if (const status s = step(invalid, 1, 8, sync); !s.ok()) return s;
    const status s = step(target, 0, 1, sync);
    return s.ok() ? s : give_up(s);
  }

  // Makes words [first, end) those of `to`; a sync if any was different.
  template <class Sync>
  [[nodiscard]] status step(const entry_words& to, unsigned first, unsigned end, Sync& sync) noexcept {
    bool changed = false;
    const entry_words now = read(live_);
    for (unsigned i = first; i < end; ++i) {
      if (now[i] == to[i]) continue;
      live_[i].store(to[i], std::memory_order_release);  // D1 release: the tables that the entry leads to, first
      changed = true;
    }
    if (!changed) return {};
    Env::dma_publish(live_ + first, std::size_t{end - first} * 8);
    ++steps_;
    return sync();
  }

  [[nodiscard]] status give_up(status why) noexcept {
    const entry_words now = read(live_);
    live_[0].store(now[0] & ~Rules::valid, std::memory_order_relaxed);  // D3 relaxed: a fetch of it aborts and leads nowhere
    Env::dma_publish(live_, 8);
    return why;
  }

  typename Env::dma_word* live_;
  entry_change change_{entry_change::none};
  unsigned steps_{};
};

}  // namespace table
SHOOTDOWN_END
