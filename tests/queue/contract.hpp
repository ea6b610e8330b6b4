// SPDX-License-Identifier: MIT
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include <shootdown/queue/command_queue.hpp>
#include <shootdown/queue/locked.hpp>
#include <shootdown/queue/owner_cas.hpp>
#include <support/queue_device.hpp>

// What the queue tests share: numbered lists, the checker of the stream a device consumed, and a device with a queue on it.
namespace shootdown::test {

/// Commands that name their list: the checker can tell from the stream alone what was torn, lost or reordered.
/// dw0: opcode, bit 8 = "a SYNC follows the list", [63:32] list number. dw1: [15:0] index, [31:16] size, [47:32] thread.
struct numbered_list {
  std::uint32_t id{};
  std::uint32_t commands{};
  completion closing_{completion::sync};
  std::uint16_t thread{};

  [[nodiscard]] std::uint32_t size() const noexcept { return commands; }
  [[nodiscard]] completion closing() const noexcept { return closing_; }
  template <class Sink>
  void emit(std::uint32_t first, std::uint32_t n, Sink&& sink) const noexcept {
    for (std::uint32_t i = first; i != first + n; ++i) sink(at(i));
  }
  [[nodiscard]] command at(std::uint32_t i) const noexcept {
    return {static_cast<std::uint64_t>(opcode::tlbi_nh_va) | (closing_ == completion::sync ? 0x100u : 0u) | std::uint64_t{id} << 32,
            std::uint64_t{i} | std::uint64_t{commands} << 16 | std::uint64_t{thread} << 32};
  }
};
static_assert(command_list<numbered_list>);

[[nodiscard]] inline std::uint32_t list_of(command c) { return static_cast<std::uint32_t>(c.dw0 >> 32); }
[[nodiscard]] inline bool is_sync(command c) { return opcode_of(c) == opcode::sync; }

/// Is the stream made of whole lists, each contiguous and followed by its SYNC, and are each thread's lists in the order it
/// submitted them (ids grow)? Empty if so, else what is wrong. Only for streams of non-empty numbered lists.
[[nodiscard]] inline std::string check_stream(const std::vector<command>& stream) {
  std::map<std::uint16_t, std::uint32_t> last;
  for (std::size_t i = 0; i != stream.size();) {
    const std::string where = " at command " + std::to_string(i);
    if (is_sync(stream[i])) return "a SYNC without a list" + where;
    const auto size = static_cast<std::uint32_t>(stream[i].dw1 >> 16 & 0xffff);
    const auto thread = static_cast<std::uint16_t>(stream[i].dw1 >> 32);
    const bool closed = (stream[i].dw0 & 0x100) != 0;
    const std::uint32_t id = list_of(stream[i]);
    for (std::uint32_t k = 0; k != size; ++k) {
      if (i + k >= stream.size()) return "a list is cut off" + where;
      if (stream[i + k].dw0 != stream[i].dw0 || (stream[i + k].dw1 & 0xffff) != k) return "a list is torn" + where;
    }
    i += size;
    if (closed && (i == stream.size() || !is_sync(stream[i]))) return "a list without its SYNC" + where;
    i += closed ? 1 : 0;
    if (const auto it = last.find(thread); it != last.end() && it->second >= id) return "a thread's lists changed order" + where;
    last[thread] = id;
  }
  return {};
}

/// A device and a queue of `Strategy` on it.
template <class Strategy>
struct rig {
  using env = queue_env;
  using device_type = queue_device<env>;
  using queue_type = queue::command_queue<env, device_type, Strategy>;

  device_type device;
  queue_type queue{device};
  queue::queue_config<env> config;
  nanoseconds publish_limit{config.publish_limit};

  rig() {
    env::failures = 0;
    env::clock_is_virtual = true;
    env::event_turn = [this] { device.idle(deadline::never()); };
  }
  ~rig() {
    device.stop_thread();
    env::event_turn = nullptr;
  }

  queue::queue_config<env> make_config(unsigned log2size, queue::completion_mode mode) {
    queue::queue_config<env> c;
    c.log2size = log2size;
    const std::size_t bytes = std::size_t{16} << log2size;
    c.ring = device.allocate_dma(bytes, bytes < 32 ? 32 : bytes);
    c.prod_offset = device_type::prod_offset;
    c.cons_offset = device_type::cons_offset;
    c.gerror_offset = device_type::gerror_offset;
    c.gerrorn_offset = device_type::gerrorn_offset;
    c.completion = mode;
    c.msi_word = device.allocate_dma(8, 8);
    c.publish_limit = publish_limit;
    return c;
  }
  void bring_up(unsigned log2size, queue::completion_mode mode) {
    config = make_config(log2size, mode);
    device.enable(false);
    ASSERT_TRUE(queue.configure(config).ok());
    device.attach(config.ring, log2size);
    device.enable(true);
  }
  /// The same queue on another ring.
  [[nodiscard]] status restart_with(unsigned log2size) {
    const auto mode = config.completion;
    config = make_config(log2size, mode);
    device.enable(false);
    const status s = queue.configure(config);
    device.attach(config.ring, log2size);
    device.enable(true);
    return s;
  }
  [[nodiscard]] status restart(seq64 not_before = seq64{}) {
    device.enable(false);
    const status s = queue.reset(not_before);
    device.attach(config.ring, config.log2size);
    device.enable(true);
    return s;
  }
  /// What must hold whenever nothing is under way.
  [[nodiscard]] std::string complaints() {
    std::string s = device.breaches();
    if (!queue.check_invariants()) s += " invariants";
    if (env::failures.load() != 0) s += " Env::fail";
    return s;
  }
  [[nodiscard]] static deadline in_turns(std::uint64_t turns) { return deadline::in(env::now(), nanoseconds{turns * 1000}); }
};

template <class Strategy, queue::completion_mode Mode, unsigned SmallestLog2Size>
struct variant {
  using strategy = Strategy;
  static constexpr queue::completion_mode mode = Mode;
  static constexpr unsigned smallest = SmallestLog2Size;
};
using queue::completion_mode;
using all_variants =
    testing::Types<variant<queue::locked, completion_mode::cons_poll, 2>, variant<queue::locked, completion_mode::cons_sev, 2>,
                   variant<queue::locked, completion_mode::msi, 2>, variant<queue::owner_cas, completion_mode::cons_poll, 6>,
                   variant<queue::owner_cas, completion_mode::cons_sev, 6>, variant<queue::owner_cas, completion_mode::msi, 6>>;
using message_variants =
    testing::Types<variant<queue::locked, completion_mode::msi, 2>, variant<queue::owner_cas, completion_mode::msi, 6>>;
struct variant_name {
  template <class V>
  static std::string GetName(int) {
    static constexpr const char* modes[] = {"cons_poll", "cons_sev", "msi"};
    return std::string{V::strategy::name} + "_" + modes[static_cast<int>(V::mode)];
  }
};

/// A rig of one variant's smallest ring; nothing may be amiss at the end of a case.
template <class V>
struct queue_fixture : testing::Test, rig<typename V::strategy> {
  using base = rig<typename V::strategy>;
  using base::device;
  using base::queue;
  static constexpr unsigned smallest = V::smallest;

  void SetUp() override { base::bring_up(smallest, V::mode); }
  void TearDown() override { EXPECT_EQ(base::complaints(), ""); }

  [[nodiscard]] std::uint32_t slots() const { return 1u << base::config.log2size; }
  ticket must_submit(const auto& list) {
    const result<ticket> r = queue.submit(list, base::in_turns(100'000));
    EXPECT_EQ(r.code(), errc::ok);
    return *r;
  }
  errc finish(ticket& t) { return queue.wait(t, base::in_turns(100'000)).code(); }
  /// Fills the ring but for `left` slots with lists that nobody waits for; the device does not run.
  void fill(std::uint32_t left) {
    device.stuck = true;
    for (std::uint32_t n = slots() - left, id = 1000; n != 0; ++id) {
      const std::uint32_t k = n < 5 ? n : 5;
      EXPECT_TRUE(queue.try_submit(numbered_list{id, k, completion::none}).ok());
      n -= k;
    }
  }
};
}  // namespace shootdown::test
