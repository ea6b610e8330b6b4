// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <stdexcept>

#include "litmus/axioms.hpp"
#include "litmus/relation.hpp"

// The same candidate executions judged as Arm code: the axioms of the Armv8 memory model (Arm ARM, "external visibility";
// the published aarch64.cat) for straight-line code without dependencies, under the usual mapping:
//   load acquire, seq_cst   LDAR              store release, seq_cst     STLR
//   RMW                     LSE atomic with A and L as its order asks for
//   acquire fence           DMB ISHLD         every other fence          DMB ISH
// A second yardstick that shares nothing with C++'s rules: whatever Arm does, the standard must allow.
namespace litmus {

struct arm_verdict {
  bool allowed{};
  bool in_order{};  ///< allowed, even if no store may overtake an earlier load of its thread
};

namespace detail {
/// An RMW is two events on Arm: the read keeps the event's number, the write gets a new one.
class arm_execution {
 public:
  explicit arm_execution(const execution& x) : x_{x}, n_{x.sb.count() + static_cast<std::size_t>(std::popcount(x.reads & x.writes))} {
    if (n_ > event_limit) throw std::out_of_range("litmus: too many events");
    std::size_t extra = x.sb.count();
    for (std::size_t e = 0; e != x.sb.count(); ++e) write_[e] = (x.reads & x.writes) >> e & 1u ? extra++ : e;
    for (std::size_t e = 0; e != x.sb.count(); ++e) {
      const bool rmw = write_[e] != e;
      if (rmw) rmw_.add(e, write_[e]), po_.add(e, write_[e]);
      if ((x.writes >> e & 1u) != 0) writes_ |= events{1} << write_[e];
      for (std::size_t f = 0; f != x.sb.count(); ++f) {
        if (x.sb.has(e, f)) both(po_, e, f);
        if (x.same_location.has(e, f)) both(same_location_, e, f);
        if (x.rf.has(e, f)) rf_.add(write_[e], f);
        if (x.mo.has(e, f)) co_.add(write_[e], write_[f]);
      }
      if (rmw) same_location_.add(e, write_[e]), same_location_.add(write_[e], e);
    }
  }

  [[nodiscard]] arm_verdict judge() const {
    const relation fr = rf_.inverse().then(co_);
    const relation po_loc = po_ & same_location_;
    if (!(po_loc | rf_ | co_ | fr).acyclic()) return {};
    const relation inside = po_ | po_.inverse();
    const relation fre = fr.without(inside), coe = co_.without(inside), rfe = rf_.without(inside);
    if (!(fre.then(coe) & rmw_).then(relation{n_}.or_same()).inside(relation{n_})) return {};

    const events accesses = x_.reads | writes_;
    const events acquire = x_.acquire & x_.reads;
    events release = 0;
    for (std::size_t e = 0; e != x_.sb.count(); ++e)
      if ((x_.release & x_.writes) >> e & 1u) release |= events{1} << write_[e];
    events both_ways = 0;
    for (std::size_t e = 0; e != x_.sb.count(); ++e)
      if (write_[e] != e && (acquire & x_.release) >> e & 1u) both_ways |= events{1} << write_[e];
    const events full = x_.fences & x_.release;  // release, acq_rel and seq_cst
    const events loads_only = x_.fences & x_.acquire & ~full;
    const relation same = relation{n_}.or_same();
    const events all = ~events{0};
    const relation bob = po_.then(same.between(full, full)).then(po_) |  //
                         po_.between(both_ways, all) |                   // after the write of an RMW with A and L
                         po_.between(release, acquire) |                 //
                         po_.between(x_.reads, loads_only).then(po_) |   //
                         po_.between(acquire, all) |                     //
                         po_.between(all, release);
    // An acquire load that takes the value of an RMW of its own thread comes after that RMW.
    const relation aob = rmw_ | (rf_ & inside).between(rmw_writes(), acquire);
    const relation lws = po_loc.between(accesses, writes_);
    const relation ob = (rfe | fre | coe | lws | aob | bob).closure();
    const relation no_overtaking = po_.between(x_.reads, writes_);
    return {ob.irreflexive(), (ob | no_overtaking).acyclic()};
  }

 private:
  void both(relation& r, std::size_t e, std::size_t f) const {
    for (const std::size_t a : {e, write_[e]})
      for (const std::size_t b : {f, write_[f]}) r.add(a, b);
  }
  [[nodiscard]] events rmw_writes() const {
    events w = 0;
    for (std::size_t e = 0; e != x_.sb.count(); ++e)
      if (write_[e] != e) w |= events{1} << write_[e];
    return w;
  }

  const execution& x_;
  std::size_t n_;
  std::array<std::size_t, event_limit> write_{};
  events writes_{};
  relation po_{n_}, rmw_{n_}, rf_{n_}, co_{n_}, same_location_{n_};
};
}  // namespace detail

[[nodiscard]] inline arm_verdict judge_as_arm(const execution& x) { return detail::arm_execution{x}.judge(); }

}  // namespace litmus
