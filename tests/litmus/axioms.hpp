// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>

#include "litmus/relation.hpp"

// The memory model of C++20 as axioms over one candidate execution: [intro.races], [atomics.order] and [atomics.fences] of the
// standard (as repaired by P0668R5 and P0982R1), written as relations. Nothing here knows of clocks, histories or steps.
namespace litmus {

/// One candidate execution: events, who reads from whom and the modification orders. Events 0..locations-1 are the initial
/// stores; an RMW, or a compare_exchange that succeeded, is one event that reads and writes.
struct execution {
  explicit execution(std::size_t count) : sb{count}, rf{count}, mo{count}, same_location{count} {}

  relation sb;             ///< sequenced before
  relation rf;             ///< write -> read that takes its value
  relation mo;             ///< modification order, transitive
  relation same_location;  ///< accesses of one location, both ways
  events initial{}, reads{}, writes{}, fences{};
  events acquire{}, release{}, seq_cst{};  ///< by order, accesses and fences

  [[nodiscard]] events accesses() const { return reads | writes; }
};

/// What is derived from an execution, in the words of the standard.
struct derived {
  relation fr;         ///< a reads a value that b overwrites later
  relation coherence;  ///< coherence-ordered before: (rf | mo | fr)+
  relation sw;         ///< synchronizes with
  relation hb;         ///< happens before (there is no consume here, so it is also "simply happens before")
};

[[nodiscard]] inline derived derive(const execution& x) {
  const relation fr = x.rf.inverse().then(x.mo).without_same();
  const relation coherence = (x.rf | x.mo | fr).closure();
  // Release sequence (C++20): its head, then the RMWs that follow without a gap, each of which reads from its predecessor.
  // [atomics.fences]: a store after a release fence heads a hypothetical one.
  const relation rmw_chain = x.rf.between(x.writes, x.reads & x.writes).closure().or_same();
  const relation heads = relation{x.sb.count()}.or_same().between(x.release & x.writes, x.writes) |  //
                         x.sb.between(x.release & x.fences, x.writes);
  const relation tails = relation{x.sb.count()}.or_same().between(x.acquire & x.reads, x.reads) |  //
                         x.sb.between(x.reads, x.acquire & x.fences);
  const relation sw = heads.then(rmw_chain).then(x.rf).then(tails);
  relation started{x.sb.count()};  // the initial stores happen before every thread
  for (std::size_t a = 0; a != x.sb.count(); ++a)
    if ((x.initial >> a & 1u) != 0) started.add(a, (x.accesses() | x.fences) & ~x.initial);
  return {fr, coherence, sw, (x.sb | sw | started).closure()};
}

/// [intro.races] 14-18: the four coherence rules in one: nothing happens before what it is coherence-ordered after; and
/// [atomics.order] 10: an RMW reads the last value before its own in modification order.
[[nodiscard]] inline bool coherent(const execution& x, const derived& d) {
  if (!d.hb.irreflexive() || !d.coherence.irreflexive()) return false;
  if (!d.hb.then(d.coherence).irreflexive()) return false;
  return d.fr.then(x.mo).irreflexive();  // only an RMW both reads and stands in mo
}

/// [atomics.order] 4: what the single total order S of all seq_cst operations must contain. S exists if this is acyclic.
[[nodiscard]] inline relation required_in_s(const execution& x, const derived& d) {
  const events sc_access = x.seq_cst & x.accesses();
  const events sc_fence = x.seq_cst & x.fences;
  // Strongly happens before: sb; sw between seq_cst operations; sb;hb;sb; and what follows by transitivity.
  const relation strongly = (x.sb | d.sw.between(x.seq_cst, x.seq_cst) | x.sb.then(d.hb).then(x.sb)).closure();
  const relation to_fence = d.hb.between(x.accesses(), sc_fence);
  const relation from_fence = d.hb.between(sc_fence, x.accesses());
  return strongly.between(x.seq_cst, x.seq_cst) |                         //
         d.coherence.between(sc_access, sc_access) |                      // A and B are seq_cst
         d.coherence.between(sc_access, x.accesses()).then(to_fence) |    // A is, B happens before a seq_cst fence
         from_fence.then(d.coherence.between(x.accesses(), sc_access)) |  // B is, a seq_cst fence happens before A
         from_fence.then(d.coherence).then(to_fence);                     // A and B lie between fences
}

/// RC11's form of the same (Lahav et al., PLDI 2017), kept as a second opinion: psc must be acyclic. It is weaker in one
/// place: sb;hb;sb counts only when both sb change the location.
[[nodiscard]] inline relation rc11_psc(const execution& x, const derived& d) {
  const std::size_t n = x.sb.count();
  const relation same = relation{n}.or_same();
  const relation sb_other = x.sb.without(x.same_location);
  const relation scb = x.sb | sb_other.then(d.hb).then(sb_other) | (d.hb & x.same_location) | x.mo | d.fr;
  const events sc_access = x.seq_cst & x.accesses();
  const events sc_fence = x.seq_cst & x.fences;
  const events all = ~events{0};
  const relation in = same.between(sc_access, all) | d.hb.or_same().between(sc_fence, all);
  const relation out = same.between(all, sc_access) | d.hb.or_same().between(all, sc_fence);
  const relation base = in.then(scb).then(out);
  const relation between_fences = (d.hb | d.hb.then(d.coherence).then(d.hb)).between(sc_fence, sc_fence);
  return base | between_fences;
}

/// The verdicts on one candidate.
struct verdict {
  bool cxx20{};     ///< the standard, load buffering and all
  bool rc11{};      ///< RC11: psc instead of S, and sb | rf acyclic
  bool no_lb{};     ///< cxx20, and sb | rf acyclic: nobody reads a value before it was written (no load buffering)
  bool stepwise{};  ///< no_lb, and one order of steps fits sb, rf and S together: see docs, "S along the execution"
};

[[nodiscard]] inline verdict judge(const execution& x) {
  verdict v;
  const derived d = derive(x);
  if (!coherent(x, d)) return v;
  const relation s = required_in_s(x, d);
  const bool acyclic_sb_rf = (x.sb | x.rf).acyclic();
  v.cxx20 = s.acyclic();
  v.rc11 = acyclic_sb_rf && rc11_psc(x, d).acyclic();
  v.no_lb = v.cxx20 && acyclic_sb_rf;
  v.stepwise = v.no_lb && (x.sb | x.rf | s).acyclic();
  return v;
}

}  // namespace litmus
