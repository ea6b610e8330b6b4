// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <cstdint>

#include <shootdown/arch/event.hpp>
#include <shootdown/arch/types.hpp>
#include <shootdown/model/tag_map.hpp>

SHOOTDOWN_BEGIN
namespace model {

/// What a transaction wants.
struct request {
  bool write{};
  bool privileged{};
  bool has_ssid{};
  substream_id ssid{};
  [[nodiscard]] static constexpr request load() noexcept { return {}; }
  [[nodiscard]] static constexpr request store() noexcept { return {true, false, false, substream_id{0}}; }
};

enum class outcome : std::uint8_t {
  granted,  ///< `output` is where the transaction may land
  aborted,  ///< abort without a record (STE or GBPA says so)
  faulted,  ///< abort; `event` says why
};

/// The answer to one transaction.
struct translation {
  outcome what{outcome::aborted};
  event_id event{};
  event_class cls{event_class::input};
  bool recorded{};  ///< the configuration wants a record of this fault
  bool bypass{};    ///< granted without translation
  bool from_tlb{};
  bool walked{};
  bool stage2{};                   ///< of a fault: stage 2 found it
  bool readable{};                 ///< granted: what the entry allows, whatever was asked for
  bool writable{};                 ///< as above
  std::uint8_t level{};            ///< of the leaf, or where the walk ended
  std::uint8_t extent{12};         ///< granted: log2 of the aligned bytes around the address that translate alike
  std::uint64_t output{};          ///< bus address
  std::uint64_t fetch{};           ///< address of the structure whose fetch failed; a fault of stage 2: the page's IPA
  std::array<entry_id, 6> used{};  ///< STE, CD, table pointers, leaf: what this translation rests on
  std::uint8_t used_count{};

  void rests_on(entry_id id) noexcept {
    if (id != entry_id::none && used_count < used.size()) used[used_count++] = id;
  }
  /// Makes it a fault. False, so that a step of a translation can return it.
  bool fault(event_id id, event_class c, bool record, std::uint64_t at = 0) noexcept {
    what = outcome::faulted;
    event = id;
    cls = c;
    recorded = record;
    fetch = at;
    return false;
  }
  /// The same for a fault that stage 2 finds while it translates `ipa`.
  bool fault_of_stage2(event_id id, event_class c, bool record, std::uint64_t ipa) noexcept {
    stage2 = true;
    return fault(id, c, record, ipa & ~std::uint64_t{0xfff});
  }
};

}  // namespace model
SHOOTDOWN_END
