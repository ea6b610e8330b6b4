// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <shootdown/host/env.hpp>

namespace model_test {

/// One thread and a clock that the test sets; contract violations are recorded instead of ending the process.
struct test_env : shootdown::host::basic_env<> {
  inline static std::uint64_t clock = 0;
  inline static std::vector<std::string> failures;
  inline static std::uint64_t fences = 0;
  static shootdown::instant now() noexcept { return shootdown::instant{clock}; }
  static void relax() noexcept { ++clock; }
  static void full_fence() noexcept { ++fences; }
  static void fail(const char* text) noexcept { failures.emplace_back(text); }
};
static_assert(shootdown::environment<test_env>);

}  // namespace model_test
