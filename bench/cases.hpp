// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "trace.hpp"

namespace shootdown::bench {

enum class strategy_kind { locked, owner_cas };
enum class policy_kind { exact, disjoint, bounded };
enum class sharing { shared_domain, private_domains };

inline constexpr strategy_kind all_strategies[] = {strategy_kind::owner_cas, strategy_kind::locked};
inline constexpr policy_kind all_policies[] = {policy_kind::exact, policy_kind::disjoint, policy_kind::bounded};
inline constexpr sharing all_sharings[] = {sharing::private_domains, sharing::shared_domain};

[[nodiscard]] constexpr const char* name(strategy_kind s) { return s == strategy_kind::locked ? "locked" : "owner_cas"; }
[[nodiscard]] constexpr const char* name(policy_kind p) {
  return p == policy_kind::exact ? "exact" : p == policy_kind::disjoint ? "disjoint" : "bounded";
}
[[nodiscard]] constexpr const char* name(sharing s) { return s == sharing::shared_domain ? "shared" : "private"; }

/// What translates: the table format, and what hangs on it.
enum class flavour_kind { memb, mb, bp, qsbr };
enum class format_kind { stage1_4k, stage1_16k, stage1_64k, stage2_4k };
struct hardware {
  format_kind format{format_kind::stage1_4k};
  bool ats{};                                ///< the devices cache translations: every unmap has an ATC phase
  bool nesting{};                            ///< stage 2 only: the domain is the parent of guests' tables
  flavour_kind flavour{flavour_kind::memb};  ///< of liburcu
};

/// What the threads unmap: one entry per unmap of a pass (in pages of the format's granule), and how their memory
/// is laid out.
struct workload {
  std::string name;
  std::shared_ptr<const std::vector<trace_unmap>> unmaps;
  std::uint64_t largest{};  ///< pages of the largest unmap
  bool huge_pages{};        ///< memory is laid out so that blocks can be used (else 4 KiB pages only)
  hardware on{};
  bool recorded{};  ///< the unmaps carry what the recorded driver issued

  [[nodiscard]] bool plain() const { return on.format == format_kind::stage1_4k && !on.ats && on.flavour == flavour_kind::memb; }
};

/// One row of the table.
struct bench_case {
  workload work;
  strategy_kind strategy{};
  policy_kind policy{};
  sharing domains{};
  unsigned threads{};

  [[nodiscard]] std::string label() const {
    return "BM_unmap/" + work.name + "/" + bench::name(strategy) + "/" + bench::name(policy) + "/" + bench::name(domains);
  }
};

}  // namespace shootdown::bench
