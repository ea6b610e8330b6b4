// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <new>
#include <span>

#include <shootdown/arch/cmd_device.hpp>
#include <shootdown/arch/command.hpp>
#include <shootdown/env/environment.hpp>
#include <shootdown/env/time.hpp>
#include <shootdown/invs/entry.hpp>
#include <shootdown/port/command_list.hpp>
#include <shootdown/port/command_port.hpp>
#include <shootdown/port/ticket.hpp>
#include <shootdown/status.hpp>

SHOOTDOWN_BEGIN

/// The entries of one master in one domain, sorted: its TLB tag, the stage-1 clear of a nesting parent, one device cache per
/// stream. This is the "right side" of entry_array's operations, made at attach and kept until detach, so that detach
/// allocates nothing.
///
/// Contract: reserve() once, then push() in key order. Two entries lie inside the object; more take one allocation.
/// Context: control path. Cost: reserve() O(n), one allocation for n > 2.
template <environment Env, command_port Port>
class master_entries {
 public:
  using entry_t = entry<Env, Port>;

  master_entries() noexcept = default;
  master_entries(const master_entries&) = delete;
  master_entries& operator=(const master_entries&) = delete;
  ~master_entries() { clear(); }

  /// Room for n entries in an object without any. no_memory.
  [[nodiscard]] status reserve(std::size_t n) noexcept {
    clear();
    if (n <= near) return {};
    void* const memory = Env::allocate(n * sizeof(entry_t), alignof(entry_t));
    if (memory == nullptr) return errc::no_memory;
    far_ = static_cast<entry_t*>(memory);
    room_ = n;
    for (std::size_t i = 0; i != n; ++i) ::new (static_cast<void*>(far_ + i)) entry_t{};
    return {};
  }
  void push(const entry_spec<Port>& s) noexcept {
    begin()[count_++].spec = s;
    if (phase_of(s.type) != phase::atc) ++tags_;
  }
  /// Takes over what `from` has; `from` is empty afterwards.
  void take(master_entries& from) noexcept {
    clear();
    far_ = from.far_;
    room_ = from.room_;
    count_ = from.count_;
    tags_ = from.tags_;
    from.far_ = nullptr;
    if (far_ == nullptr) {
      for (std::size_t i = 0; i != count_; ++i) near_[i].spec = from.near_[i].spec;
    }
    from.clear();
  }
  void clear() noexcept {
    if (far_ != nullptr) {
      for (std::size_t i = 0; i != room_; ++i) far_[i].~entry_t();
      Env::deallocate(far_, room_ * sizeof(entry_t), alignof(entry_t));
    }
    far_ = nullptr;
    room_ = count_ = tags_ = 0;
  }

  [[nodiscard]] std::span<entry_t> all() noexcept { return {begin(), count_}; }
  /// The TLB tag and, behind it, the stage-1 clear.
  [[nodiscard]] std::span<entry_t> tags() noexcept { return {begin(), tags_}; }
  [[nodiscard]] std::span<entry_t> devices() noexcept { return {begin() + tags_, count_ - tags_}; }
  [[nodiscard]] std::span<const entry_t> all() const noexcept { return {begin(), count_}; }
  [[nodiscard]] bool caches() const noexcept { return count_ != tags_; }
  /// The tag's entry: the first of any master that is attached.
  [[nodiscard]] const entry_spec<Port>& tag_spec() const noexcept { return begin()->spec; }

 private:
  static constexpr std::size_t near = 2;
  [[nodiscard]] entry_t* begin() noexcept { return far_ != nullptr ? far_ : near_; }
  [[nodiscard]] const entry_t* begin() const noexcept { return far_ != nullptr ? far_ : near_; }

  entry_t near_[near];
  entry_t* far_{};
  std::size_t room_{};
  std::size_t count_{};
  std::size_t tags_{};
};

/// "Drop everything" for each of some device caches of one instance: a command_list. Refers to the entries.
template <environment Env, command_port Port>
class wipe_list {
 public:
  using entry_t = entry<Env, Port>;
  constexpr wipe_list(const entry_t* entries, std::uint32_t n) noexcept : entries_{entries}, count_{n} {}
  [[nodiscard]] constexpr std::uint32_t size() const noexcept { return count_; }
  [[nodiscard]] constexpr completion closing() const noexcept { return completion::sync; }
  template <class Sink>
  void emit(std::uint32_t first, std::uint32_t n, Sink&& sink) const noexcept {
    constexpr std::uint64_t everything = cmd::atc_inv::span_word(0, cmd::atc_inv::all);
    for (std::uint32_t i = first; i != first + n; ++i) sink(command{entries_[i].spec.whole_word(), everything});
  }

 private:
  const entry_t* entries_;
  std::uint32_t count_;
};

/// Submits a list and waits for it. The list may go away afterwards: nobody asks again after a timeout.
template <command_port Port, command_list List>
[[nodiscard]] status carry_out(Port& port, const List& list, deadline d) noexcept {
  result<ticket> t = port.submit(list, d);
  if (!t.ok()) return t.state();
  const status s = port.wait(*t, d);
  if (s.code() == errc::timed_out) port.abandon(*t);
  return s;
}

/// Empties these device caches (all of one instance) and waits for it, in lists that the port takes; each ends in its own SYNC.
/// The first failure ends it. Context: as the port's submit and wait. commands.md 5, 6.
template <environment Env, command_port Port>
[[nodiscard]] status wipe(std::span<const entry<Env, Port>> devices, deadline d) noexcept {
  while (!devices.empty()) {
    Port& port = *devices[0].spec.port;
    const std::size_t n = std::min<std::size_t>(devices.size(), std::max(port.max_list(), 2u) - 1);
    const wipe_list<Env, Port> list{devices.data(), static_cast<std::uint32_t>(n)};
    if (const status s = carry_out(port, list, d); !s.ok()) return s;
    devices = devices.subspan(n);
  }
  return {};
}

/// Drops everything under the tag of a TLB entry and waits for it. Readers that skip the entry cover it no more, so it must be gone
/// before the tag may name something else.
template <command_port Port>
[[nodiscard]] status flush_tag(const entry_spec<Port>& s, deadline d) noexcept {
  const command all{s.whole_word(), 0};
  const array_list list{&all, 1};
  return carry_out(*s.port, list, d);
}

template <environment Env, command_port Port>
[[nodiscard]] status wipe(master_entries<Env, Port>& m, deadline d) noexcept {
  return wipe<Env, Port>(std::span<const entry<Env, Port>>{m.devices()}, d);
}

SHOOTDOWN_END
