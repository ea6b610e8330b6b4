// SPDX-License-Identifier: MIT
// Under ThreadSanitizer a reported race fails the trial in which it happened. Each run of a race is reported anew, because a
// mutant may have the race that another one had.
#include <shootdown/env/sanitizer.hpp>
#include <shootdown/sim/explore.hpp>

#if SHOOTDOWN_TSAN
extern "C" {  // NOLINTBEGIN(bugprone-reserved-identifier): the run-time's own names
__attribute__((no_sanitize("thread"))) void __tsan_on_report(void*);
const char* __tsan_default_options();

void __tsan_on_report(void*) { ++shootdown::sim::races_reported(); }
const char* __tsan_default_options() { return "suppress_equal_stacks=0:suppress_equal_addresses=0:exitcode=0"; }
}  // NOLINTEND(bugprone-reserved-identifier)
#endif
