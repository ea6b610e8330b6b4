// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include <shootdown/arch/command.hpp>
#include <shootdown/port/command_port.hpp>

namespace test_support {

/// One list as the port received it.
struct recorded_list {
  std::vector<shootdown::command> commands;
  shootdown::completion closing{};
  std::uint64_t order{};  // position among all lists of all ports of one test (see recording_port::clock)
  friend bool operator==(const recorded_list& a, const recorded_list& b) { return a.commands == b.commands && a.closing == b.closing; }
};

/// The tag space of a recording port, and its judge. A tag is dirty from the moment a translation is installed with it (the
/// test's ops say so) until a whole-tag flush and the SYNC behind it were seen. Releasing a dirty tag, or one not in use, is a
/// violation.
class recording_tags {
 public:
  shootdown::result<shootdown::tag> acquire(shootdown::tag_kind kind) noexcept {
    const std::scoped_lock hold{mutex_};
    if (fail_acquire_) return shootdown::errc::exhausted;
    for (std::uint32_t id = 1; id <= limit_; ++id) {
      auto& t = tags_[key(kind, static_cast<std::uint16_t>(id))];
      if (t.in_use || t.retired) continue;
      if (t.dirty) violations_.push_back("tag " + std::to_string(id) + " handed out dirty");
      t.in_use = true;
      return shootdown::tag{kind, static_cast<std::uint16_t>(id)};
    }
    return shootdown::errc::exhausted;
  }
  void release(shootdown::tag g) noexcept {
    const std::scoped_lock hold{mutex_};
    auto& t = tags_[key(g.kind, g.id)];
    if (!t.in_use) violations_.push_back("tag " + std::to_string(g.id) + " released twice");
    if (t.dirty) violations_.push_back("tag " + std::to_string(g.id) + " released without a completed flush");
    t.in_use = false;
  }
  void retire(shootdown::tag g) noexcept {
    const std::scoped_lock hold{mutex_};
    auto& t = tags_[key(g.kind, g.id)];
    if (!t.in_use) violations_.push_back("tag " + std::to_string(g.id) + " retired but not in use");
    t.in_use = false;
    t.retired = true;
  }

  void set_limit(std::uint32_t n) { limit_ = n; }
  void forget_violations() { violations_.clear(); }
  void fail_acquire(bool on) { fail_acquire_ = on; }
  void installed(shootdown::tag g) {
    const std::scoped_lock hold{mutex_};
    auto& t = tags_[key(g.kind, g.id)];
    if (!t.in_use) violations_.push_back("tag " + std::to_string(g.id) + " installed but not in use");
    t.dirty = true;
  }
  void flushed(shootdown::tag g) {
    const std::scoped_lock hold{mutex_};
    tags_[key(g.kind, g.id)].dirty = false;
  }
  bool in_use(shootdown::tag g) {
    const std::scoped_lock hold{mutex_};
    return tags_[key(g.kind, g.id)].in_use;
  }
  bool retired(shootdown::tag g) {
    const std::scoped_lock hold{mutex_};
    return tags_[key(g.kind, g.id)].retired;
  }
  std::size_t used() {
    const std::scoped_lock hold{mutex_};
    std::size_t n = 0;
    for (const auto& [k, t] : tags_) n += t.in_use ? 1u : 0u;
    return n;
  }
  std::vector<std::string> violations() {
    const std::scoped_lock hold{mutex_};
    return violations_;
  }

 private:
  struct info {
    bool in_use{}, retired{}, dirty{};
  };
  static std::uint32_t key(shootdown::tag_kind k, std::uint16_t id) { return (static_cast<std::uint32_t>(k) << 16) | id; }
  std::mutex mutex_;
  std::map<std::uint32_t, info> tags_;
  std::vector<std::string> violations_;
  std::uint32_t limit_{65535};
  bool fail_acquire_{};
};

/// A command_port that executes nothing and remembers everything: each list with its commands and its closing. It can be
/// full, slow, failing, or deaf to one opcode. Thread-safe (one mutex), so that a domain can be hammered under
/// ThreadSanitizer; the knobs are set while no other thread runs.
class recording_port {
 public:
  struct knobs {
    std::size_t full_tries{};                                        // the next n reservations find no room (each idle turn frees one)
    bool tries_make_room{};                                          // each failed try frees one as well
    bool always_full{};                                              // no reservation ever finds room
    std::size_t polls_to_complete{};                                 // a list completes after n polls of its ticket
    bool never_complete{};                                           // no list completes
    shootdown::errc submit_error{};                                  // submissions fail with this
    shootdown::errc outcome{};                                       // lists settle with this
    std::size_t fail_list{std::numeric_limits<std::size_t>::max()};  // only the list with this index settles with `outcome`
    shootdown::opcode deaf_to{};                                     // commands with this opcode are lost before the device sees them
  };

  explicit recording_port(std::uint16_t instance, shootdown::port_features f = default_features()) noexcept
      : instance_{instance}, features_{f} {}
  recording_port(const recording_port&) = delete;
  recording_port& operator=(const recording_port&) = delete;

  static shootdown::port_features default_features() noexcept {
    shootdown::port_features f;
    f.stage1 = f.stage2 = f.range_invalidation = f.ats = f.coherent = true;
    f.asid_bits = f.vmid_bits = 16;
    f.stream_bits = 32;
    f.substream_bits = 20;
    f.address_bits = 48;
    f.granules = 0b1110;
    return f;
  }

  template <shootdown::command_list L>
  shootdown::result<shootdown::ticket> submit(const L& list, shootdown::deadline) noexcept {
    {
      const std::scoped_lock hold{mutex_};
      ++blocking_submits_;
      if (knobs_.always_full) return shootdown::errc::timed_out;
      knobs_.full_tries = 0;  // waited for room
    }
    return accept(list);
  }
  template <shootdown::command_list L>
  shootdown::result<shootdown::ticket> try_submit(const L& list) noexcept {
    {
      const std::scoped_lock hold{mutex_};
      ++tries_;
      if (knobs_.always_full) return shootdown::errc::would_block;
      if (knobs_.full_tries != 0) {
        if (knobs_.tries_make_room) --knobs_.full_tries;
        return shootdown::errc::would_block;
      }
    }
    return accept(list);
  }
  shootdown::status poll(shootdown::ticket& t) noexcept {
    const std::scoped_lock hold{mutex_};
    ++polls_;
    return settle(t);
  }
  shootdown::status wait(shootdown::ticket& t, shootdown::deadline) noexcept {
    const std::scoped_lock hold{mutex_};
    ++waits_;
    if (knobs_.never_complete && !t.settled) return shootdown::errc::timed_out;
    for (;;) {
      const shootdown::status s = settle(t);
      if (s.code() != shootdown::errc::pending) return s;
    }
  }
  void abandon(shootdown::ticket& t) noexcept {
    const std::scoped_lock hold{mutex_};
    if (t.settled) return;
    t.settled = true;
    t.outcome = static_cast<std::uint8_t>(shootdown::errc::timed_out);
    ++abandoned_;
  }
  void idle(shootdown::deadline) noexcept {
    {
      const std::scoped_lock hold{mutex_};
      ++idles_;
      if (knobs_.full_tries != 0) --knobs_.full_tries;
    }
    if (on_idle) on_idle();  // may switch fibers: not under the mutex
  }
  [[nodiscard]] const shootdown::port_features& features() const noexcept { return features_; }
  [[nodiscard]] shootdown::instance_id instance() const noexcept { return shootdown::instance_id{instance_}; }
  [[nodiscard]] std::uint32_t max_list() const noexcept { return max_list_; }
  [[nodiscard]] recording_tags& tags() noexcept { return tags_; }
  [[nodiscard]] unsigned abandoned() const noexcept { return abandoned_; }
  [[nodiscard]] unsigned waits() const noexcept { return waits_; }
  [[nodiscard]] unsigned polls() const noexcept { return polls_; }

  // For the tests.
  knobs& control() { return knobs_; }
  void set_max_list(std::uint32_t n) { max_list_ = n; }
  /// After n more accepted lists: the ring is full for `tries` tries / the queue is reset / submissions fail with `e`.
  void fill_after(std::uint64_t n, std::size_t tries) {
    at_accept(n, [this, tries] { knobs_.full_tries = tries; });
  }
  void reset_after(std::uint64_t n) {
    at_accept(n, [this] { ++generation_; });
  }
  void refuse_after(std::uint64_t n, shootdown::errc e) {
    at_accept(n, [this, e] { knobs_.submit_error = e; });
  }
  /// Tickets in the order in which they were settled, as the caller presented them.
  std::vector<shootdown::ticket> settled() {
    const std::scoped_lock hold{mutex_};
    return settled_;
  }
  /// The queue finishes everything; abandoned tickets no longer count as unsettled.
  void settle_all() {
    const std::scoped_lock hold{mutex_};
    submitted_at_.clear();
    unsettled_ = 0;
  }
  void keep_lists(bool on) { keep_ = on; }  // off: only counts, for long stress runs
  void share_clock(std::uint64_t* clock) { clock_ = clock; }
  std::vector<recorded_list> lists() {
    const std::scoped_lock hold{mutex_};
    return lists_;
  }
  void clear() {
    const std::scoped_lock hold{mutex_};
    lists_.clear();
  }
  std::uint64_t accepted() {
    const std::scoped_lock hold{mutex_};
    return accepted_;
  }
  std::size_t unsettled() {
    const std::scoped_lock hold{mutex_};
    return unsettled_;
  }
  std::size_t tries() const { return tries_; }
  std::size_t blocking_submits() const { return blocking_submits_; }
  std::size_t idles() const { return idles_; }
  std::function<void(const recorded_list&)> on_list;  // each accepted list, under the port's mutex
  std::function<void()> on_idle;
  std::function<void(const std::vector<shootdown::command>&)> on_settled;  // commands of a list that completed with ok

 private:
  template <shootdown::command_list L>
  shootdown::result<shootdown::ticket> accept(const L& list) noexcept {
    const std::scoped_lock hold{mutex_};
    if (knobs_.submit_error != shootdown::errc::ok) return knobs_.submit_error;
    if (list.size() == 0) return shootdown::errc::empty_range;
    recorded_list r;
    r.closing = list.closing();
    r.order = (*clock_)++;
    list.emit(0, list.size(), [&](shootdown::command c) { r.commands.push_back(c); });
    if (r.commands.size() != list.size()) list_violation("list size disagrees with its walk");
    // A list must repeat itself whatever happens meanwhile, and from any position.
    std::vector<shootdown::command> again;
    for (std::uint32_t i = 0; i != list.size(); ++i) list.emit(i, 1, [&](shootdown::command c) { again.push_back(c); });
    if (again != r.commands) list_violation("list walked one by one differs from the whole walk");
    const std::uint64_t n = list.size() + (r.closing == shootdown::completion::sync ? 1u : 0u);
    shootdown::ticket t;
    t.first = shootdown::seq64{next_};
    next_ += n;
    t.end = shootdown::seq64{next_};
    t.awaits = r.closing == shootdown::completion::sync;
    if (t.awaits) ++unsettled_;
    submitted_at_[shootdown::value(t.end)] = {knobs_.polls_to_complete, accepted_, pending_flushes(r), heard(r)};
    t.generation = generation_;
    ++accepted_;
    if (const auto it = at_accept_.find(accepted_); it != at_accept_.end()) it->second();
    if (on_list) on_list(r);
    if (keep_) lists_.push_back(std::move(r));
    return t;
  }
  std::vector<shootdown::command> heard(const recorded_list& r) const {
    std::vector<shootdown::command> c;
    if (!on_settled) return c;
    for (const auto& x : r.commands) {
      if (shootdown::opcode_of(x) != knobs_.deaf_to) c.push_back(x);
    }
    return c;
  }
  void at_accept(std::uint64_t n, std::function<void()> f) { at_accept_[accepted_ + n] = std::move(f); }
  std::vector<shootdown::tag> pending_flushes(const recorded_list& r) {
    std::vector<shootdown::tag> out = std::move(carried_);
    carried_.clear();
    for (const auto& c : r.commands) {
      const auto op = shootdown::opcode_of(c);
      if (op == knobs_.deaf_to) continue;
      if (op == shootdown::opcode::tlbi_nh_asid || op == shootdown::opcode::tlbi_el2_asid) {
        out.push_back({shootdown::tag_kind::asid, static_cast<std::uint16_t>(c.dw0 >> 48)});
      }
      if (op == shootdown::opcode::tlbi_s12_vmall) {
        out.push_back({shootdown::tag_kind::vmid, static_cast<std::uint16_t>((c.dw0 >> 32) & 0xffff)});
      }
    }
    if (r.closing == shootdown::completion::none) {
      carried_ = std::move(out);
      out.clear();
    }
    return out;
  }
  shootdown::status settle(shootdown::ticket& t) noexcept {
    if (t.settled) return static_cast<shootdown::errc>(t.outcome);
    if (!t.awaits) return {};
    auto& p = submitted_at_.at(shootdown::value(t.end));
    if (knobs_.never_complete) return shootdown::errc::pending;
    if (p.polls_left != 0) {
      --p.polls_left;
      return shootdown::errc::pending;
    }
    const bool hit = knobs_.fail_list == std::numeric_limits<std::size_t>::max() || knobs_.fail_list == p.index;
    const shootdown::errc e = hit ? knobs_.outcome : shootdown::errc::ok;
    t.settled = true;
    t.outcome = static_cast<std::uint8_t>(e);
    --unsettled_;
    if (keep_) settled_.push_back(t);
    if (e == shootdown::errc::ok) {
      for (const auto& g : p.flushes) tags_.flushed(g);
      if (on_settled) on_settled(p.commands);
    }
    submitted_at_.erase(shootdown::value(t.end));
    return e;
  }
  void list_violation(const char* text) { list_violations_.emplace_back(text); }

 public:
  std::vector<std::string> violations() {
    auto all = tags_.violations();
    const std::scoped_lock hold{mutex_};
    all.insert(all.end(), list_violations_.begin(), list_violations_.end());
    return all;
  }

 private:
  struct pending {
    std::size_t polls_left{};
    std::uint64_t index{};
    std::vector<shootdown::tag> flushes;
    std::vector<shootdown::command> commands;  // what the device will have seen; only for on_settled
  };
  std::mutex mutex_;
  std::uint16_t instance_;
  shootdown::port_features features_;
  recording_tags tags_;
  knobs knobs_;
  std::uint32_t max_list_{128};
  bool keep_{true};
  std::uint64_t own_clock_{};
  std::uint64_t* clock_{&own_clock_};
  std::uint64_t next_{};
  std::uint64_t accepted_{};
  std::size_t unsettled_{};
  std::size_t tries_{}, blocking_submits_{}, idles_{};
  unsigned abandoned_{};
  unsigned waits_{};
  unsigned polls_{};
  std::map<std::uint64_t, pending> submitted_at_;
  std::vector<shootdown::tag> carried_;
  std::map<std::uint64_t, std::function<void()>> at_accept_;
  std::vector<shootdown::ticket> settled_;
  std::uint32_t generation_{};
  std::vector<std::string> list_violations_;
  std::vector<recorded_list> lists_;
};
static_assert(shootdown::command_port<recording_port>);

}  // namespace test_support
