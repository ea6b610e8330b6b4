// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>

#include <shootdown/version.hpp>

// The few macros of the library. Everything else is a type, a constant or a template parameter.
//
// SHOOTDOWN_CHECK  0: contract violations are undefined, 1 (default): cheap ones are reported through Env::fail.
#ifndef SHOOTDOWN_CHECK
#define SHOOTDOWN_CHECK 1
#endif

#define SHOOTDOWN_BEGIN \
  namespace shootdown { \
  inline namespace v0 {
#define SHOOTDOWN_END \
  }                   \
  }

SHOOTDOWN_BEGIN

/// Bytes that two CPUs must not share by accident. A constant, not std::hardware_destructive_interference_size:
/// that one changes with -mtune and would change the layout of public types.
inline constexpr std::size_t cache_line = 64;

SHOOTDOWN_END
