// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <atomic>  // std::memory_order only
#include <cstddef>
#include <cstdint>
#include <string>

#include <shootdown/arch/cmd_sync.hpp>
#include <shootdown/arch/command.hpp>
#include <shootdown/arch/queue_word.hpp>
#include <shootdown/env/backend.hpp>
#include <shootdown/model/device_side.hpp>
#include <shootdown/port/command_list.hpp>

#include "scenarios/scenario.hpp"

namespace scenarios {

/// A list of `size` commands that carry their list's number, their place in it and its length.
class numbered_list {
 public:
  numbered_list(std::uint32_t id, std::uint32_t size, shootdown::completion c = shootdown::completion::sync) noexcept
      : id_{id}, size_{size}, closing_{c} {}
  [[nodiscard]] std::uint32_t size() const noexcept { return size_; }
  [[nodiscard]] shootdown::completion closing() const noexcept { return closing_; }
  template <class Sink>
  void emit(std::uint32_t first, std::uint32_t n, Sink&& sink) const noexcept {
    for (std::uint32_t i = first; i != first + n; ++i) sink(make(i));
  }
  [[nodiscard]] shootdown::command make(std::uint32_t i) const noexcept {
    return {static_cast<std::uint64_t>(shootdown::opcode::tlbi_nh_asid) | std::uint64_t{id_} << 48,
            std::uint64_t{id_} << 48 | std::uint64_t{size_} << 24 | i << 12};
  }

 private:
  std::uint32_t id_;
  std::uint32_t size_;
  shootdown::completion closing_;
};

/// The least device behind a command queue, as a flow of its own: registers and ring are cells of the simulator, and it
/// judges what it executes. Every command must be the next one of the order in which lists went out, complete and only once,
/// and see what its submitter wrote before.
template <class Env>
class ring_device {
 public:
  static constexpr std::uint32_t prod_offset = 0x98, cons_offset = 0x9c, gerror_offset = 0x60, gerrorn_offset = 0x64;
  static constexpr unsigned lists = 64;
  using cell = typename Env::template atomic<std::uint32_t>;

  explicit ring_device(trial& t) : trial_{t} {}

  // What the CPUs and the device tell each other beside the queue.
  std::array<cell, lists> written{};   ///< before the submission: what the command is about
  std::array<cell, lists> executed{};  ///< the command's effect
  cell stuck{0};                       ///< consumes nothing

  std::uint32_t refuses{~0u};  ///< the first command of this list is illegal
  bool careless_cons{};        ///< broken: CONS moves before the command was read
  unsigned consumed{};         ///< commands

  // The backend.
  std::uint32_t read32(std::uint32_t offset) noexcept { return reg(offset).load(std::memory_order_acquire); }
  std::uint64_t read64(std::uint32_t) noexcept { return 0; }
  void write32(std::uint32_t offset, std::uint32_t v) noexcept { reg(offset).store(v, std::memory_order_release); }
  void write64(std::uint32_t, std::uint64_t) noexcept {}
  void idle(shootdown::deadline) noexcept {
    if (Env::device_runs_alone() || !turn()) Env::relax();
  }
  shootdown::dma_span<Env> allocate_dma(std::size_t bytes, std::size_t align) noexcept {
    const std::size_t at = (used_ * 8 + align - 1) / align * align / 8;
    if (at + bytes / 8 > memory_.size()) return {};
    used_ = at + bytes / 8;
    return {memory_.data() + at, bytes / 8, shootdown::bus_addr{base + at * 8}};
  }
  void release_dma(shootdown::dma_span<Env>) noexcept {}

  void attach(shootdown::dma_span<Env> ring, unsigned log2size) {
    ring_ = ring;
    geometry_ = shootdown::queue_geometry{log2size};
    trial_.name(&prod_, sizeof prod_, "PROD");
    trial_.name(&cons_, sizeof cons_, "CONS");
    trial_.name(&gerror_, sizeof gerror_, "GERROR");
    trial_.name(&gerrorn_, sizeof gerrorn_, "GERRORN");
    trial_.name(ring.cpu, ring.words * 8, "ring");
    trial_.name(&written, sizeof written, "written");
    trial_.name(&executed, sizeof executed, "executed");
  }

  /// One command. False: there is none.
  bool turn() {
    if (!side_.try_lock(shootdown::model::device_role::consumer)) return false;
    const bool worked = step();
    side_.unlock();
    return worked;
  }

 private:
  static constexpr std::uint64_t base = 0x8000'0000;

  bool step() {
    using namespace shootdown;
    if (stuck.load(std::memory_order_relaxed) != 0) return false;
    if (failed_) {
      if (gerrorn_.load(std::memory_order_acquire) != gerror_value_) return false;
      failed_ = false;
    }
    const std::uint32_t prod = prod_.load(std::memory_order_acquire);
    trial_.require(geometry_.plausible(prod, at_), "PROD claims more than the ring has");
    trial_.require(geometry_.ahead(seen_, prod) <= geometry_.slots(), "PROD went backwards");
    seen_ = prod;
    if (geometry_.empty(prod, at_)) return false;
    typename Env::dma_word* const slot = ring_.cpu + std::size_t{geometry_.index(at_)} * 2;
    if (careless_cons) cons_.store(geometry_.add(at_, 1), std::memory_order_release);
    const command c{slot[0].load(std::memory_order_relaxed), slot[1].load(std::memory_order_relaxed)};
    if (opcode_of(c) == opcode::sync)
      sync(cmd::sync::decode(c));
    else if (!execute(c))
      return true;
    at_ = geometry_.add(at_, 1);
    ++consumed;
    if (!careless_cons) cons_.store(at_, std::memory_order_release);
    return true;
  }

  cell& reg(std::uint32_t offset) noexcept {
    switch (offset) {
      case prod_offset: return prod_;
      case cons_offset: return cons_;
      case gerror_offset: return gerror_;
      default: return gerrorn_;
    }
  }
  bool execute(const shootdown::command& c) {
    using namespace shootdown;
    const auto id = static_cast<std::uint32_t>(c.dw0 >> 48), place = static_cast<std::uint32_t>(c.dw1 >> 12 & 0xfff);
    const auto size = static_cast<std::uint32_t>(c.dw1 >> 24 & 0xffffff);
    trial_.require(opcode_of(c) == opcode::tlbi_nh_asid && c.dw1 >> 48 == id && id < lists && place < size,
                   "a slot was not written when the device read it");
    trial_.require(place == next_place_ && (place == 0 || id == current_), "a list was torn, or a slot of the lap before was executed");
    if (id == refuses && !told_) {
      told_ = failed_ = true;
      cons_.store(at_ | 1u << 24, std::memory_order_release);  // CERROR_ILL
      gerror_value_ ^= 1;
      gerror_.store(gerror_value_, std::memory_order_release);
      return false;
    }
    current_ = id;
    next_place_ = place + 1 == size ? 0 : place + 1;
    trial_.require(written[id].load(std::memory_order_relaxed) == 1, "a command was executed without what was written before it");
    if (place + 1 != size) return true;
    trial_.require(executed[id].load(std::memory_order_relaxed) == 0, "a list was executed twice");
    executed[id].store(1, std::memory_order_relaxed);
    return true;
  }
  void sync(const shootdown::cmd::sync& s) {
    using namespace shootdown;
    trial_.require(next_place_ == 0, "a list was torn");
    if (s.cs != cmd::sync_signal::irq || raw(s.msiaddr) == 0) return;
    const std::uint64_t word = (raw(s.msiaddr) - base) / 8;
    trial_.require(word < used_, "a slot was not written when the device read it");
    memory_[word].store_low(s.msidata, std::memory_order_release);
  }

  trial& trial_;
  shootdown::model::device_side<Env> side_{};  // its view of memory is a device's
  std::array<typename Env::dma_word, 512> memory_{};
  std::size_t used_{};
  shootdown::dma_span<Env> ring_{};
  shootdown::queue_geometry geometry_{};
  cell prod_{0}, cons_{0}, gerror_{0}, gerrorn_{0};
  std::uint32_t at_{}, seen_{}, gerror_value_{};
  std::uint32_t current_{}, next_place_{};
  bool failed_{}, told_{};
};

}  // namespace scenarios
