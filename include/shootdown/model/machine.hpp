// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include <shootdown/env/environment.hpp>
#include <shootdown/model/backend.hpp>
#include <shootdown/model/memory.hpp>
#include <shootdown/model/oracle.hpp>
#include <shootdown/model/smmu.hpp>

SHOOTDOWN_BEGIN
namespace model {

/// Sizes and places. Both rooms lie below 2^OAS of the SMMU's ID registers and do not overlap (a contract violation else).
struct machine_options {
  bus_addr memory_base{bus_addr{0x8000'0000}};
  std::size_t memory_bytes{std::size_t{16} << 20};
  bus_addr data_base{bus_addr{std::uint64_t{1} << 40}};
  std::size_t data_frames{std::size_t{1} << 16};
  unsigned smmus{1};
  smmu_options smmu{};
  backend_options backend{};
};

/// Tells a machine's oracle which frames are page tables: the Observer of a table page pool.
template <environment Env>
struct table_hooks {
  oracle<Env>* judge{};
  void allocated(bus_addr a) noexcept {
    if (judge != nullptr) judge->table_allocated(a);
  }
  void freed(bus_addr a) noexcept {
    if (judge != nullptr) judge->table_freed(a);
  }
};

/// A whole computer: memory, the DMA oracle, one or more SMMUs and a backend for each. Every SMMU gets the same options,
/// its engine and agents a seed of its own.
template <environment Env, environment Device = Env>
class machine {
 public:
  using backend_type = model::backend<Env, Device>;
  using smmu_type = model::smmu<Env, Device>;

  explicit machine(const machine_options& o = {})
      : memory_{o.memory_base, o.memory_bytes},
        oracle_{oracle_config{o.data_base, o.data_frames, o.memory_base, memory_.bytes() >> 12, o.smmu.id.stream_bits()}} {
    const std::uint64_t memory_end = raw(o.memory_base) + memory_.bytes();
    const std::uint64_t data_end = raw(o.data_base) + std::uint64_t{o.data_frames} * 4096;
    const unsigned width = o.smmu.id.output_bits();
    if ((memory_end - 1) >> width != 0 || (data_end - 1) >> width != 0) Env::fail("machine: memory beyond the output width of the SMMU");
    if (raw(o.memory_base) < data_end && raw(o.data_base) < memory_end) Env::fail("machine: memory and data frames overlap");
    for (unsigned i = 0; i != o.smmus; ++i) {
      smmu_options s = o.smmu;
      s.engine.seed += i;
      smmus_.push_back(std::make_unique<smmu_type>(memory_, oracle_, s));
      backends_.push_back(std::make_unique<backend_type>(memory_, *smmus_.back(), o.backend));
    }
  }

  [[nodiscard]] model::memory<Env>& memory() noexcept { return memory_; }
  [[nodiscard]] model::oracle<Env>& oracle() noexcept { return oracle_; }
  [[nodiscard]] smmu_type& smmu(unsigned i = 0) noexcept { return *smmus_[i]; }
  [[nodiscard]] backend_type& backend(unsigned i = 0) noexcept { return *backends_[i]; }
  [[nodiscard]] unsigned smmus() const noexcept { return static_cast<unsigned>(smmus_.size()); }
  [[nodiscard]] table_hooks<Env> hooks() noexcept { return {&oracle_}; }
  [[nodiscard]] std::uint64_t leaks() const noexcept { return oracle_.leaks(); }

  /// Runs every SMMU up to `now`. True: something was done.
  bool advance(instant now, unsigned max_steps) noexcept {
    bool worked = false;
    for (const auto& s : smmus_) worked = s->advance(now, max_steps) || worked;
    return worked;
  }
  [[nodiscard]] bool check_invariants() noexcept {
    bool good = memory_.check_invariants() && oracle_.check_invariants();
    for (const auto& s : smmus_) good = s->check_invariants() && good;
    return good;
  }

 private:
  model::memory<Env> memory_;
  model::oracle<Env> oracle_;
  std::vector<std::unique_ptr<smmu_type>> smmus_;
  std::vector<std::unique_ptr<backend_type>> backends_;
};

}  // namespace model
SHOOTDOWN_END
