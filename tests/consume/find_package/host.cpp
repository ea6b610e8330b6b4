// SPDX-License-Identifier: MIT
// A user of the host part: threads and liburcu as the environment.
#include <shootdown/host/env.hpp>

int main() {
  static_assert(shootdown::environment<shootdown::host::env>);
  const shootdown::host::thread_scope registered;
  const shootdown::host::env::rcu::guard reading;
  return 0;
}
