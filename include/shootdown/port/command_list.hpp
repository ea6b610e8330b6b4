// SPDX-License-Identifier: MIT
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>

#include <shootdown/arch/command.hpp>

SHOOTDOWN_BEGIN

/// Does a submission end in a CMD_SYNC that the queue appends and the caller waits for? RESUME and PRI_RESP lists do not.
enum class completion : std::uint8_t { none, sync };

/// The archetype of a sink: what a list writes its commands into. Never virtual, never allocates.
struct null_sink {
  constexpr void operator()(command) noexcept {}
};

/// A list of commands that go into one queue as one contiguous run. A list is a generator, not a container: it can be
/// walked again (the repeat-invalidation erratum, blame after an ATC timeout), from any position (chunking), and must
/// outlive its ticket.
///   size()                  number of commands, interior SYNCs included, the closing SYNC not (the queue appends that one)
///   emit(first, n, sink)    calls sink(command) for commands [first, first + n), in order; first + n <= size()
///   closing()               whether the queue appends a signalled CMD_SYNC
/// Interior SYNCs are plain cmd::sync commands with CS = SIG_NONE.
template <class L>
concept command_list = requires(const L& l, std::uint32_t first, std::uint32_t n, null_sink& sink) {
  { l.size() } noexcept -> std::same_as<std::uint32_t>;
  { l.closing() } noexcept -> std::same_as<completion>;
  { l.emit(first, n, sink) } noexcept;
};

/// A list over commands that lie in an array of the caller's.
class array_list {
 public:
  constexpr array_list(const command* commands, std::uint32_t count, completion c = completion::sync) noexcept
      : commands_{commands}, count_{count}, closing_{c} {}
  [[nodiscard]] constexpr std::uint32_t size() const noexcept { return count_; }
  [[nodiscard]] constexpr completion closing() const noexcept { return closing_; }
  template <class Sink>
  constexpr void emit(std::uint32_t first, std::uint32_t n, Sink&& sink) const noexcept {
    for (std::uint32_t i = first; i != first + n; ++i) sink(commands_[i]);
  }

 private:
  const command* commands_;
  std::uint32_t count_;
  completion closing_;
};
static_assert(command_list<array_list>);

/// The part [first, first + count) of another list, with its own closing: how a domain splits a list over its port's limit.
template <command_list L>
class sub_list {
 public:
  constexpr sub_list(const L& whole, std::uint32_t first, std::uint32_t count, completion c) noexcept
      : whole_{&whole}, first_{first}, count_{count}, closing_{c} {}
  [[nodiscard]] constexpr std::uint32_t size() const noexcept { return count_; }
  [[nodiscard]] constexpr completion closing() const noexcept { return closing_; }
  template <class Sink>
  constexpr void emit(std::uint32_t first, std::uint32_t n, Sink&& sink) const noexcept {
    whole_->emit(first_ + first, n, sink);
  }

 private:
  const L* whole_;
  std::uint32_t first_;
  std::uint32_t count_;
  completion closing_;
};
static_assert(command_list<sub_list<array_list>>);

SHOOTDOWN_END
