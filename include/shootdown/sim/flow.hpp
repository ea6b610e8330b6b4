// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <shootdown/env/time.hpp>
#include <shootdown/sim/clock.hpp>
#include <shootdown/sim/crew.hpp>

SHOOTDOWN_BEGIN
namespace sim {

/// One flow of a trial: a virtual CPU, an agent of the device side, or the reclaimer. Its fields are the trial's business.
struct flow {
  enum class kind : std::uint8_t { cpu, agent, reclaimer };
  enum class state : std::uint8_t {
    ready,
    waiting,  ///< for anybody to change a value, or for `wake`
    blocked,  ///< until ready()
    ended,
  };
  kind what{};
  state now{state::ready};
  std::uint8_t index{};
  observer view{};                 ///< whose view of memory its accesses have
  observer inside{max_observers};  ///< the device's view that its polling loop reads with; max_observers: it has none
  bool in_interrupt{};
  bool chosen{};        ///< was resumed just now: asking again who is next would be the same question
  unsigned irqs_off{};  ///< nested irq_guards
  std::string name;
  std::function<void()> work;
  std::function<void()> handler;  ///< of interrupts
  std::unique_ptr<crew::worker> worker;
  bool (*ready)(void*){};
  void* argument{};
  instant wake{};
  std::uint64_t own_changes{};
  std::uint64_t seen_changes{};  ///< of others
  unsigned guards{};             ///< nested read sections
  std::uint64_t guard_number{};  ///< of the outermost
  vector_clock left{};           ///< known when its last read section ended

  [[nodiscard]] std::uint32_t bit() const noexcept { return std::uint32_t{1} << index; }
};
using flow_list = std::vector<std::unique_ptr<flow>>;
inline constexpr unsigned max_flows = 32;

}  // namespace sim
SHOOTDOWN_END
