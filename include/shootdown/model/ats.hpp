// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include <shootdown/arch/command.hpp>
#include <shootdown/arch/types.hpp>
#include <shootdown/env/time.hpp>
#include <shootdown/model/endpoint.hpp>

SHOOTDOWN_BEGIN
namespace model {

/// The PCIe side of one SMMU: its endpoints, and the invalidation requests between the SMMU and them.
///
/// Contract. An invalidation is under way from the command's execution until the endpoint answers; the endpoint acts on it as
///   late as allowed, when it answers. One that is never answered is lost; the SMMU finds out by its timeout and forgets it.
///   An invalidation to a StreamID that has no endpoint is complete at once (PCIe: the root answers for nobody).
/// Context: the device's lock. Cost: O(endpoints) to find one, O(under way) to deliver.
class ats_link {
 public:
  explicit ats_link(node_pool& pool) : pool_{pool} {}

  /// A second endpoint for a StreamID replaces nothing: the first one keeps it.
  endpoint& add(stream_id sid, const endpoint_options& o) {
    if (endpoint* const there = find(sid)) return *there;
    endpoints_.push_back(std::make_unique<endpoint>(sid, o, pool_));
    return *endpoints_.back();
  }
  [[nodiscard]] endpoint* find(stream_id sid) const noexcept {
    for (const auto& e : endpoints_)
      if (e->sid() == sid) return e.get();
    return nullptr;
  }
  [[nodiscard]] bool empty() const noexcept { return endpoints_.empty(); }
  [[nodiscard]] std::size_t under_way() const noexcept { return under_way_.size(); }

  /// A CMD_ATC_INV was executed.
  void send(command c, instant now, nanoseconds round_trip) {
    const atc_scope what = decode_atc_scope(c);
    endpoint* const to = find(stream_id{what.sid});
    if (to == nullptr) return;
    to->judge_arrival();
    under_way_.push_back({to, what, instant{since_epoch(now) + count(round_trip)}, false});
  }

  /// Lets endpoints answer what is due. dropped(entry) is told each entry that goes, then refill(endpoint, entry) each again.
  template <class Dropped, class Refill>
  void deliver(instant now, Dropped&& dropped, Refill&& refill) {
    std::size_t kept = 0;
    for (std::size_t i = 0; i != under_way_.size(); ++i) {
      message m = under_way_[i];
      if (!m.lost && since_epoch(m.due) <= since_epoch(now)) {
        const endpoint::answer a = m.to->arrives(m.what);
        if (a == endpoint::answer::complete) drop(m, dropped, refill);
        if (a != endpoint::answer::never) continue;
        m.lost = true;
      }
      under_way_[kept++] = m;
    }
    under_way_.resize(kept);
  }
  /// One of those under way will never be answered, and the SMMU has waited `patience` beyond its round trip.
  [[nodiscard]] bool timed_out(instant now, nanoseconds patience) const noexcept {
    for (const message& m : under_way_)
      if (m.lost && since_epoch(m.due) + count(patience) <= since_epoch(now)) return true;
    return false;
  }
  /// The SMMU has reported the timeout: what is lost is over; with `all`, what is under way to others is lost with it.
  void give_up(bool all) {
    std::size_t kept = 0;
    for (const message& m : under_way_)
      if (!m.lost && !all) under_way_[kept++] = m;
    under_way_.resize(kept);
  }

  [[nodiscard]] endpoint_counters counters() const noexcept {
    endpoint_counters sum{};
    for (const auto& e : endpoints_) {
      const endpoint_counters& c = e->counters();
      sum.requests += c.requests;
      sum.translations += c.translations;
      sum.refused += c.refused;
      sum.translated += c.translated;
      sum.forbidden += c.forbidden;
      sum.invalidations += c.invalidations;
      sum.unsupported += c.unsupported;
      sum.unanswered += c.unanswered;
      sum.dropped += c.dropped;
      sum.refills += c.refills;
      sum.late_atc_invs += c.late_atc_invs;
    }
    return sum;
  }
  [[nodiscard]] bool check_invariants() const {
    for (const auto& e : endpoints_)
      if (!e->check_invariants()) return false;
    return true;
  }

 private:
  struct message {
    endpoint* to;
    atc_scope what;
    instant due;
    bool lost;
  };

  template <class Dropped, class Refill>
  void drop(const message& m, Dropped& dropped, Refill& refill) {
    gone_.clear();
    m.to->counters().dropped += m.to->cache().remove(m.what, [&](const atc_entry& e) {
      dropped(e);
      if (m.to->options().refills) gone_.push_back(e);
    });
    for (const atc_entry& e : gone_) m.to->counters().refills += refill(*m.to, e);
  }

  node_pool& pool_;
  std::vector<std::unique_ptr<endpoint>> endpoints_;
  std::vector<message> under_way_;
  std::vector<atc_entry> gone_;  // scratch of drop()
};

}  // namespace model
SHOOTDOWN_END
