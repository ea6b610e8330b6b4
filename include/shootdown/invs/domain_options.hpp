// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include <shootdown/arch/types.hpp>
#include <shootdown/config.hpp>
#include <shootdown/range/cover.hpp>

SHOOTDOWN_BEGIN

/// Which translation a domain holds.
enum class translation_stage : std::uint8_t { one, two };

/// What a domain is, fixed for its life.
struct domain_options {
  translation_stage stage{translation_stage::one};
  bool nesting_parent{};          ///< stage 2 below a guest's stage 1
  granule page{granule::k4};      ///< granule of its tables
  std::uint8_t address_bits{48};  ///< input address width; stage 2: of the IPA, which has no upper half
  cover_policy policy{cover_policy::exact};
  std::uint32_t entry_limit{};    ///< see plan_rules
  std::uint32_t command_limit{};  ///< see plan_rules
  std::uint8_t atc_spans{1};      ///< see plan_rules
  std::uint32_t number{};         ///< of this domain, unique among domains between which replace() moves masters
};

SHOOTDOWN_END
