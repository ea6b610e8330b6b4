// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>

#include <shootdown/arch/types.hpp>
#include <shootdown/config.hpp>
#include <shootdown/model/atc.hpp>

SHOOTDOWN_BEGIN
namespace model {

/// How an endpoint is.
enum class endpoint_state : std::uint8_t {
  alive,
  hung,  ///< uses what it has cached and asks for more, but answers no invalidation
  off,   ///< no power: nothing cached, no traffic, no answer
};

/// What an endpoint does with an invalidation while its ATS is off.
enum class disabled_answer : std::uint8_t {
  unsupported_request,  ///< PCIe's answer; for the SMMU the invalidation is complete
  none,                 ///< a device in reset, or one that ignores it: the invalidation times out
};

struct endpoint_options {
  std::uint8_t stu{};  ///< smallest translation unit, 4 KiB << stu: an invalidation below it is answered Unsupported Request
  bool refills{true};  ///< asks again for what an invalidation took away, before it answers
  bool enabled{true};  ///< its own ATS enable, at first
  disabled_answer while_disabled{};
};

/// Exact; under the device's lock.
struct endpoint_counters {
  std::uint64_t requests{};       ///< translation requests
  std::uint64_t translations{};   ///< of these, answered with a translation
  std::uint64_t refused{};        ///< of these, refused: bad configuration, ATS not permitted, translation off
  std::uint64_t translated{};     ///< translated transactions
  std::uint64_t forbidden{};      ///< of these, aborted by the SMMU
  std::uint64_t invalidations{};  ///< that reached it
  std::uint64_t unsupported{};    ///< of these, answered Unsupported Request: nothing was dropped
  std::uint64_t unanswered{};     ///< of these, never answered
  std::uint64_t dropped{};        ///< entries
  std::uint64_t refills{};        ///< entries that came back at once
  std::uint64_t late_atc_invs{};  ///< that came after ATS was switched off for good: the driver broke its promise
};

/// A PCIe function with an address translation cache, bound to one StreamID. The engine drives it.
///
/// ATS is switched off by software after its detach returned: an invalidation that comes later may meet a device without
/// power, so it is counted as late. admit() says that the next attach has begun and invalidations are expected again.
/// Context: the device's lock.
class endpoint {
 public:
  endpoint(stream_id sid, const endpoint_options& o, node_pool& pool) : sid_{sid}, options_{o}, cache_{pool}, enabled_{o.enabled} {}
  endpoint(const endpoint&) = delete;
  endpoint& operator=(const endpoint&) = delete;

  [[nodiscard]] stream_id sid() const noexcept { return sid_; }
  [[nodiscard]] const endpoint_options& options() const noexcept { return options_; }
  [[nodiscard]] endpoint_state state() const noexcept { return state_; }
  [[nodiscard]] bool ats_enabled() const noexcept { return enabled_; }
  [[nodiscard]] bool active() const noexcept { return enabled_ && state_ != endpoint_state::off; }

  /// The function's ATS enable. Switching it on empties the cache, as PCIe demands; switching it off keeps it, unused.
  template <class F>
  void enable_ats(bool on, F&& removed) {
    if (on && !enabled_) clear(removed);
    if (on) left_ = false;
    left_ = left_ || (enabled_ && !on);
    enabled_ = on;
  }
  /// Software has begun to attach it again: invalidations may come from now on, although ATS is still off.
  void admit() noexcept { left_ = false; }
  template <class F>
  void set_state(endpoint_state s, F&& removed) {
    if (s == endpoint_state::off) {
      clear(removed);
      enabled_ = false;
    }
    state_ = s;
  }

  /// What becomes of an invalidation request that has arrived now.
  enum class answer : std::uint8_t { complete, unsupported, never };
  [[nodiscard]] answer arrives(const atc_scope& s) noexcept {
    ++counters_.invalidations;
    if (state_ != endpoint_state::alive || (!enabled_ && options_.while_disabled == disabled_answer::none)) {
      ++counters_.unanswered;
      return answer::never;
    }
    if (!enabled_ || s.size < options_.stu) {
      ++counters_.unsupported;
      return answer::unsupported;
    }
    return answer::complete;
  }
  void judge_arrival() noexcept { counters_.late_atc_invs += left_; }

  [[nodiscard]] atc& cache() noexcept { return cache_; }
  [[nodiscard]] const atc& cache() const noexcept { return cache_; }
  [[nodiscard]] endpoint_counters& counters() noexcept { return counters_; }
  [[nodiscard]] const endpoint_counters& counters() const noexcept { return counters_; }
  [[nodiscard]] bool check_invariants() const {
    return cache_.check_invariants() && counters_.translations + counters_.refused <= counters_.requests &&
           counters_.unsupported + counters_.unanswered <= counters_.invalidations;
  }

 private:
  template <class F>
  void clear(F& removed) {
    atc_scope all{};
    all.last = ~std::uint64_t{0};
    counters_.dropped += cache_.remove(all, removed);
  }

  stream_id sid_;
  endpoint_options options_;
  atc cache_;
  endpoint_counters counters_{};
  endpoint_state state_{};
  bool enabled_{};
  bool left_{};  // ATS was switched off, and no attach has begun since
};

}  // namespace model
SHOOTDOWN_END
