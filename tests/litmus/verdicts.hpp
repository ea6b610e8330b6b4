// SPDX-License-Identifier: MIT
#pragma once

#include <span>
#include <string_view>

namespace litmus {

/// A verdict that is known from the standard and the literature, worked out by hand: the yardstick of the axioms.
struct known {
  std::string_view text;
  std::string_view outcome;
  bool cxx20;  // allowed by the standard
  bool no_lb;  // and without load buffering
  std::string_view why;
};

inline constexpr known message_passing[] = {
    {"Wx1 Wy1 || Ry Rx", "r0=1 r1=0", true, true, "nothing orders anything"},
    {"Wx1 Wy1.rel || Ry.acq Rx", "r0=1 r1=0", false, false, "release synchronizes with acquire"},
    {"Wx1 Wy1.rel || Ry.acq Rx", "r0=0 r1=0", true, true, "the flag is not there yet"},
    {"Wx1 Wy1.rel || Ry.acq Rx", "r0=0 r1=1", true, true, "the message came early"},
    {"Wx1 Wy1.rel || Ry.acq Rx", "r0=1 r1=1", true, true, "flag and message"},
    {"Wx1 Wy1.rel || Ry Rx", "r0=1 r1=0", true, true, "nobody acquires"},
    {"Wx1 Wy1 || Ry.acq Rx", "r0=1 r1=0", true, true, "nobody releases"},
    {"Wx1.rel Wy1 || Ry.acq Rx.acq", "r0=1 r1=0", true, true, "the release is on the wrong store"},
    {"Wx1 F.rel Wy1 || Ry F.acq Rx", "r0=1 r1=0", false, false, "release fence, acquire fence"},
    {"Wx1 F.rel Wy1 || Ry.acq Rx", "r0=1 r1=0", false, false, "release fence, acquire load"},
    {"Wx1 Wy1.rel || Ry F.acq Rx", "r0=1 r1=0", false, false, "release store, acquire fence"},
    {"Wx1 F.ar Wy1 || Ry F.ar Rx", "r0=1 r1=0", false, false, "both fences are both"},
    {"Wx1 F.sc Wy1 || Ry F.sc Rx", "r0=1 r1=0", false, false, "seq_cst fences are both, too"},
    {"Wx1 F.acq Wy1 || Ry F.acq Rx", "r0=1 r1=0", true, true, "an acquire fence does not release"},
    {"Wx1 F.rel Wy1 || Ry F.rel Rx", "r0=1 r1=0", true, true, "a release fence does not acquire"},
    {"F.rel Wx1 Wy1 || Ry F.acq Rx", "r0=1 r1=0", true, true, "the fence stands before the message"},
    {"Wx1 Wy1.sc || Ry.sc Rx", "r0=1 r1=0", false, false, "seq_cst includes release and acquire"},
    {"Wx1.sc Wy1 || Ry F.sc Rx", "r0=1 r1=0", true, true, "S may contradict the relaxed chain"},
    {"Wx1 Xy1.ar || Ay1.ar Rx", "r1=1 r2=0", false, false, "read-modify-writes as store and load"},
    {"Wx1 Xy1.acq || Ay1.rel Rx", "r1=1 r2=0", true, true, "the orders the wrong way round"},
    {"Wx1 Wy1.rel || Cy12.acq/rlx Rx", "r0=1 r1=0", false, false, "a success acquires"},
    {"Wx1 Wy1.rel || Cy02.acq/rlx Rx", "r0=1 r1=0", true, true, "a failure has the other order"},
    {"Wx1 Wy1.rel || Cy02.rlx/acq Rx", "r0=1 r1=0", false, false, "a failure that acquires"},
};
inline constexpr known store_buffering[] = {
    {"Wx1 Ry || Wy1 Rx", "r0=0 r1=0", true, true, ""},
    {"Wx1.rel Ry.acq || Wy1.rel Rx.acq", "r0=0 r1=0", true, true, "release and acquire do not order a store before a load"},
    {"Wx1.sc Ry.sc || Wy1.sc Rx.sc", "r0=0 r1=0", false, false, "what seq_cst is for"},
    {"Wx1.sc Ry.sc || Wy1.sc Rx", "r0=0 r1=0", true, true, "the relaxed load is not in S"},
    {"Wx1.sc Ry || Wy1.sc Rx", "r0=0 r1=0", true, true, "neither load is in S"},
    {"Wx1 Ry.sc || Wy1 Rx.sc", "r0=0 r1=0", true, true, "neither store is in S"},
    {"Wx1 F.sc Ry || Wy1 F.sc Rx", "r0=0 r1=0", false, false, "two seq_cst fences"},
    {"Wx1 F.sc Ry || Wy1 F.ar Rx", "r0=0 r1=0", true, true, "one is not enough"},
    {"Wx1 F.sc Ry || Wy1.sc Rx.sc", "r0=0 r1=0", false, false, "C++20: a fence against seq_cst accesses"},
    {"Wx1 F.sc Ry || Wy1.sc Rx", "r0=0 r1=0", true, true, "the last load is in no order"},
    {"Wx1 F.sc Ry || Wy1 Rx.sc", "r0=0 r1=0", true, true, "the last store is in no order"},
    {"Xx1.sc Ry.sc || Xy1.sc Rx.sc", "r1=0 r3=0", false, false, "Dekker with seq_cst exchanges"},
    {"Xx1.ar Ry.acq || Xy1.ar Rx.acq", "r1=0 r3=0", true, true, "acq_rel exchanges are no barrier"},
    {"Wx1 Ay0.ar || Wy1 Ax0.ar", "r0=0 r1=0", true, true, "the stores that overwrite the additions of 0 do not read them"},
    {"Xx1.ar Ay0.ar || Xy1.ar Ax0.ar", "r1=0 r3=0", false, false, "exchanges do, and so acquire"},
    {"Wx1 Az1.ar Ry || Wy1 Az1.ar Rx", "r1=0 r3=0", false, false, "acq_rel RMWs of one word are ordered by modification order"},
    {"Wx1 Az1 Ry || Wy1 Az1 Rx", "r1=0 r3=0", true, true, "relaxed ones order nothing"},
    {"Wx1 F.sc Ry || Wy1 F.sc Rz || Wz1 F.sc Rx", "r0=0 r1=0 r2=0", false, false, "a ring of three"},
    {"Wx1 F.sc Ry || Wy1 F.sc Rz || Wz1 F.ar Rx", "r0=0 r1=0 r2=0", true, true, "with one link missing"},
};
inline constexpr known load_buffering[] = {
    {"Rx Wy1 || Ry Wx1", "r0=1 r1=1", true, false, "C++20 allows it; the explorer leaves it out"},
    {"Rx.acq Wy1 || Ry.acq Wx1", "r0=1 r1=1", true, false, "acquire alone does not help: nobody releases"},
    {"Rx Wy1.rel || Ry.acq Wx1", "r0=1 r1=1", false, false, "one pair: a load would see what happens after it"},
    {"Rx.acq Wy1.rel || Ry.acq Wx1.rel", "r0=1 r1=1", false, false, ""},
    {"Rx F.ar Wy1 || Ry F.ar Wx1", "r0=1 r1=1", false, false, "the fences synchronize both ways"},
    {"Rx F.sc Wy1 || Ry Wx1", "r0=1 r1=1", true, false, ""},
    {"Rx Wy1 || Ry Wz1 || Rz Wx1", "r0=1 r1=1 r2=1", true, false, "in a ring"},
};
inline constexpr known two_locations[] = {
    {"Wx1 Wy1 || Ry Wx2", "r0=1 x=1", true, true, "S"},
    {"Wx1 Wy1.rel || Ry.acq Wx2", "r0=1 x=1", false, false, "S: happens-before orders the stores"},
    {"Wx1 Wy1 || Wy2 Rx", "r0=0 y=2", true, true, "R"},
    {"Wx1.rel Wy1.rel || Wy2.rel Rx.acq", "r0=0 y=2", true, true, "R: a store before a load again"},
    {"Wx1.sc Wy1.sc || Wy2.sc Rx.sc", "r0=0 y=2", false, false, "R"},
    {"Wx1 F.sc Wy1 || Wy2 F.sc Rx", "r0=0 y=2", false, false, "R"},
    {"Wx1 F.rel Wy1 || Wy2 F.sc Rx", "r0=0 y=2", true, true, "R with one seq_cst fence"},
    {"Wx1.rel Wy2.rel || Wy1.rel Wx2.rel", "x=1 y=1", true, true, "2+2W: release orders no modification orders"},
    {"Wx1.sc Wy2.sc || Wy1.sc Wx2.sc", "x=1 y=1", false, false, "2+2W"},
    {"Wx1 F.sc Wy2 || Wy1 F.sc Wx2", "x=1 y=1", false, false, "2+2W"},
    {"Wx1 F.ar Wy2 || Wy1 F.ar Wx2", "x=1 y=1", true, true, "2+2W"},
    {"Xx1.ar Xy2.ar || Xy1.ar Xx2.ar", "x=1 y=1", false, false, "2+2W: each exchange has read the other's, so they synchronize"},
};
inline constexpr known coherence[] = {
    {"Wx1 || Rx Rx", "r0=1 r1=0", false, false, "CoRR"},
    {"Wx1 Wx2", "x=1", false, false, "CoWW"},
    {"Wx1 Rx || Wx2", "r0=0", false, false, "CoWR"},
    {"Wx1 Rx || Wx2", "r0=2 x=1", false, false, "CoWR: its own store is older than what it reads"},
    {"Rx Wx1", "r0=1", false, false, "CoRW"},
    {"Rx Wx1 || Wx2", "r0=2 x=2", false, false, "CoRW"},
    {"Wx1 || Wx2 || Rx Rx || Rx Rx", "r0=1 r1=2 r2=2 r3=1", false, false, "one modification order for all"},
    {"Wx1 || Wx2", "x=1", true, true, ""},
    {"Ax1 || Ax1", "x=1", false, false, "no update is lost"},
    {"Ax1 || Ax1 || Ax1", "r0=1 r1=1", false, false, "each value is returned once"},
    {"Ax1 || Wx2", "r0=0 x=2", true, true, ""},
    {"Ax1 || Wx2", "r0=0 x=1", false, false, "nothing comes between an RMW and what it read"},
    {"Cx01 || Cx02", "r0=0 r1=0", false, false, "one winner"},
    {"Cx01 || Cx02", "r0=0 r1=1 x=1", true, true, ""},
    {"Cx12 || Wx1", "r0=0 x=1", true, true, "a failure is only a load"},
    {"Cx12 || Wx1", "r0=1 x=2", true, true, ""},
    {"Cx12 || Wx1", "r0=1 x=1", false, false, "a success writes"},
    {"Wx1.rel Ax1.rel Ax1.rel || Rx.acq Rx.acq", "r2=3 r3=2", false, false, ""},
};
inline constexpr known three_and_four[] = {
    {"Wx1 || Rx Wy1 || Ry Rx", "r0=1 r1=1 r2=0", true, true, "WRC"},
    {"Wx1 || Rx Wy1.rel || Ry.acq Rx", "r0=1 r1=1 r2=0", false, false, "WRC: coherence of x over happens-before"},
    {"Wx1.rel || Rx.acq Wy1.rel || Ry.acq Rx", "r0=1 r1=1 r2=0", false, false, "WRC"},
    {"Wx1 Wy1.rel || Ry.acq Wz1.rel || Rz.acq Rx", "r0=1 r1=1 r2=0", false, false, "ISA2"},
    {"Wx1 Wy1.rel || Ry Wz1.rel || Rz.acq Rx", "r0=1 r1=1 r2=0", true, true, "ISA2: the second does not acquire"},
    {"Wx1 F.sc Wy1 || Ry Wz1 || Rz F.sc Rx", "r0=1 r1=1 r2=0", true, true, "fences order nothing over a relaxed relay"},
    {"Wx1 || Rx.acq Ry.acq || Wy1.rel Rx.acq", "r0=1 r1=0 r2=0", true, true, "RWC"},
    {"Wx1 || Rx.acq F.sc Ry || Wy1 F.sc Rx", "r0=1 r1=0 r2=0", false, false, "RWC needs seq_cst fences"},
    {"Wx1 || Rx.acq F.sc Ry || Wy1 F.ar Rx", "r0=1 r1=0 r2=0", true, true, "RWC: on both sides"},
    {"Wx1.sc || Rx.sc Ry.sc || Wy1.sc Rx.sc", "r0=1 r1=0 r2=0", false, false, "RWC"},
    {"Wx1 Wy1.rel || Ry.acq Rz || Wz1 F.sc Rx", "r0=1 r1=0 r2=0", true, true, "W+RWC"},
    {"Wx1 Wy1.rel || Ry.acq F.sc Rz || Wz1 F.sc Rx", "r0=1 r1=0 r2=0", false, false, "W+RWC"},
    {"Wx1 || Wy1 || Rx.acq Ry.acq || Ry.acq Rx.acq", "r0=1 r1=0 r2=1 r3=0", true, true, "IRIW"},
    {"Wx1.rel || Wy1.rel || Rx.acq Ry.acq || Ry.acq Rx.acq", "r0=1 r1=0 r2=1 r3=0", true, true, "IRIW"},
    {"Wx1.sc || Wy1.sc || Rx.sc Ry.sc || Ry.sc Rx.sc", "r0=1 r1=0 r2=1 r3=0", false, false, "IRIW"},
    {"Wx1.sc || Wy1.sc || Rx.acq Ry.sc || Ry.acq Rx.sc", "r0=1 r1=0 r2=1 r3=0", true, true,
     "IRIW: the repair of C++20 (leading fences on Power)"},
    {"Wx1 || Wy1 || Rx F.sc Ry || Ry F.sc Rx", "r0=1 r1=0 r2=1 r3=0", false, false, "IRIW: C++20 gives fences their strength"},
    {"Wx1 || Wy1 || Rx.sc Ry.sc || Ry.sc Rx.sc", "r0=1 r1=0 r2=1 r3=0", false, false, "IRIW: seq_cst loads of relaxed stores"},
};
inline constexpr known release_sequences[] = {
    {"Wx1 Wy1.rel || Ay1 || Ry.acq Rx", "r0=1 r1=2 r2=0", false, false, "through a relaxed read-modify-write of another thread"},
    {"Wx1 Wy1.rel || Ay1 || Cy23 || Ry.acq Rx", "r0=1 r1=2 r2=3 r3=0", false, false, "through two"},
    {"Wx1 Wy1.rel || Ay1 || Ry F.acq Rx", "r0=1 r1=2 r2=0", false, false, "to a fence"},
    {"Wx1 F.rel Wy1 || Ay1 || Ry.acq Rx", "r0=1 r1=2 r2=0", false, false, "the hypothetical one of a release fence"},
    {"Wx1 Wy1 || Ay1 || Ry.acq Rx", "r0=1 r1=2 r2=0", true, true, "nobody released"},
    {"Wx1 Wy1.rel Wy2 || Ry.acq Rx", "r0=2 r1=0", true, true, "C++20: a plain store of the same thread does not belong to it"},
    {"Wx1 Wy1.rel || Wy2 || Ry.acq Rx", "r0=2 r1=0", true, true, "nor one of another thread"},
    {"Wx1 Wy1.rel Ay1 || Ry.acq Rx", "r1=2 r2=0", false, false, "a read-modify-write of the same thread does"},
    {"Wx1 F.rel Wy1 Wy2 || Ry.acq Rx", "r0=2 r1=0", false, false, "a fence covers all later stores"},
};
// x is the PTE, y the array pointer, z the STE (acquired by the SMMU, which has no fence before its walk).
inline constexpr known unmap_and_attach[] = {
    {"Wx1 F.sc Ry || Wy1 F.sc Wz1.rel || Rz.acq Rx", "r0=0 r1=1 r2=0", false, false, "fences on both CPUs: what the library does"},
    {"Wx1 F.sc Ry.acq || Wy1.rel Wz1.rel || Rz.acq Rx", "r0=0 r1=1 r2=0", true, true, "no fence in attach"},
    {"Wx1 Ry.acq || Wy1.rel F.sc Wz1.rel || Rz.acq Rx", "r0=0 r1=1 r2=0", true, true, "no fence in unmap"},
    {"Wx1 F.sc Ry || Wy1.rel Wz1.rel || Rz.acq F.sc Rx", "r0=0 r1=1 r2=0", false, false, "a fence in the SMMU instead of attach"},
    {"Wx1 F.sc Ry || Wy1 F.sc Wz1 || Rz Rx", "r0=0 r1=1 r2=0", true, true, "an SMMU that does not acquire the STE"},
    {"Wx1 F.sc Ry || Wy1 F.ar Wz1.rel || Rz.acq Rx", "r0=0 r1=1 r2=0", true, true, "a weaker fence in attach"},
    {"Wx1.sc Ry.sc || Wy1.sc Wz1.sc || Rz.sc Rx.sc", "r0=0 r1=1 r2=0", false, false, "all seq_cst, as for ThreadSanitizer"},
    {"Wx1.sc Ry.sc || Wy1.sc Wz1.rel || Rz.acq Rx.sc", "r0=0 r1=1 r2=0", false, false, "sb;hb;sb: the STE need not be seq_cst"},
    {"Wx1.sc Ry.sc || Wy1.sc Wz1.rel || Rz.acq Rx", "r0=0 r1=1 r2=0", true, true, "but the walk must be"},
};
inline constexpr known repairs[] = {
    {"Wx1.sc Wy1.rel || Ay1.sc Ry || Wy3.sc Rx.sc", "r0=1 r1=3 r2=0", true, true, "Z6.U: forbidden by C++11, allowed since P0668R5"},
    {"Wx1.sc Wy1.sc || Ay1.sc Ry || Wy3.sc Rx.sc", "r0=1 r1=3 r2=0", false, false, "Z6.U with all seq_cst"},
    {"Wx1.sc || Rx.acq Wy1.rel || Ay1.sc || Wy3.sc Rx.sc", "r0=1 r1=1 y=3 r2=0", true, true, "happens-before and S disagree"},
};

struct known_group {
  std::string_view name;
  std::span<const known> verdicts;
};
inline constexpr known_group known_verdicts[] = {
    {"message passing", message_passing},
    {"store buffering", store_buffering},
    {"load buffering", load_buffering},
    {"two locations", two_locations},
    {"coherence", coherence},
    {"three and four", three_and_four},
    {"release sequences", release_sequences},
    {"unmap and attach", unmap_and_attach},
    {"repairs", repairs},
};

}  // namespace litmus
