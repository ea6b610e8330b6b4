// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <array>
#include <atomic>  // std::memory_order only
#include <cstdint>
#include <deque>
#include <map>
#include <span>
#include <vector>

#include <shootdown/arch/commands.hpp>
#include <shootdown/device/tag_space.hpp>
#include <shootdown/env/sanitizer.hpp>
#include <shootdown/invs/domain.hpp>
#include <shootdown/model/device_side.hpp>
#include <shootdown/port/command_port.hpp>

#include "scenarios/scenario.hpp"

namespace scenarios {

/// Address spaces of one page each. A translation is the number of its unmaps so far; what is older than `promised` must not be
/// used any more.
template <class Env>
struct tiny_page {
  typename Env::dma_word pte{};
  std::uint64_t promised{};
};

/// The smallest SMMU that can break the promise of a domain, as a command_port: streams whose entries name a page and a tag, a
/// TLB that keeps everything until it is told otherwise, and device caches behind it that fill from the TLB, answer what
/// they have lost with a refill, and are used without asking.
///
/// Command lists go through a queue of whole lists: PROD and CONS are cells of the simulator, the commands between them plain
/// (queues have scenarios of their own). The consumer is an agent; walks are made by whatever flow calls access(). Both have
/// views of their own (model::device_side). What a list does happens at its SYNCs.
template <class Env>
class tiny_smmu {
 public:
  static constexpr unsigned streams = 2, pasids = 2, pages = 2;

  tiny_smmu(trial& t, std::uint16_t instance, std::array<tiny_page<Env>, pages>& pages_of_all)
      : trial_{t}, instance_{instance}, pages_{pages_of_all} {
    features_.stage1 = features_.range_invalidation = features_.ats = features_.coherent = true;
    features_.asid_bits = features_.vmid_bits = 8;
    features_.stream_bits = 8;
    features_.substream_bits = 8;
    features_.address_bits = 48;
    features_.granules = 0b1110;
    t.require(tags_.configure(8, 8).ok(), "tags");
    t.name(&entries_, sizeof entries_, "ste");
    t.name(&prod_, sizeof prod_, "PROD");
    t.name(&cons_, sizeof cons_, "CONS");
  }

  // Knobs of twins, before the run.
  shootdown::opcode deaf_to{};  ///< commands of this kind are lost
  bool hasty{};                 ///< wait() does not wait
  bool late_flush{};            ///< the TLB is flushed when a device's ATS has been switched on

  /// No flow of its own: whoever waits runs it. Then nobody else can go on meanwhile, and depth first gets far.
  bool run_by_waiters{};

  // A command_port.
  template <shootdown::command_list L>
  shootdown::result<shootdown::ticket> submit(const L& list, shootdown::deadline) noexcept {
    return try_submit(list);
  }
  template <shootdown::command_list L>
  shootdown::result<shootdown::ticket> try_submit(const L& list) noexcept {
    using namespace shootdown;
    if (removed()) trial_.fail("commands were sent to an SMMU that had been removed");
    std::vector<command> commands;
    list.emit(0, list.size(), [&](command c) { commands.push_back(c); });
    commands.push_back(cmd::sync::silent().encode());
    // A release sequence: the device that sees n lists knows all n submitters. The list is there before anybody else runs.
    const std::uint64_t n = prod_.fetch_add(1, std::memory_order_acq_rel) + 1;
    {
      const tsan_ignore the_ring;
      lists_.push_back(std::move(commands));
    }
    ticket t{};
    t.first = seq64{n - 1};
    t.end = seq64{n};
    t.generation = 1;
    t.awaits = true;
    return t;
  }
  shootdown::status poll(shootdown::ticket& t) noexcept {
    using namespace shootdown;
    while (run_by_waiters && Env::device_runs_alone() && turn()) {
    }
    if (!t.settled && (hasty || cons_.load(std::memory_order_acquire) >= value(t.end))) t.settled = true;
    return t.settled ? errc::ok : errc::pending;
  }
  shootdown::status wait(shootdown::ticket& t, shootdown::deadline d) noexcept {
    using namespace shootdown;
    while (poll(t).code() == errc::pending) {
      if (d.passed(Env::now())) return errc::timed_out;
      idle(d);
    }
    return {};
  }
  void abandon(shootdown::ticket& t) noexcept {
    t.settled = true;
    t.outcome = static_cast<std::uint8_t>(shootdown::errc::timed_out);
  }
  void idle(shootdown::deadline) noexcept {
    if (Env::device_runs_alone() || !turn()) Env::relax();
  }
  [[nodiscard]] const shootdown::port_features& features() const noexcept { return features_; }
  [[nodiscard]] shootdown::instance_id instance() const noexcept { return shootdown::instance_id{instance_}; }
  [[nodiscard]] std::uint32_t max_list() const noexcept { return 64; }
  [[nodiscard]] shootdown::device::tag_space<Env>& tags() noexcept { return tags_; }
  shootdown::status issue(const shootdown::command& c) noexcept {
    auto t = submit(shootdown::array_list{&c, 1}, shootdown::deadline::never());
    return wait(*t, shootdown::deadline::never());
  }

  /// What a domain asks its caller to do, for one stream and a domain whose tables are those of `page`.
  struct ops {
    tiny_smmu& smmu;
    unsigned stream{};
    unsigned page{};
    shootdown::status write_entry(const shootdown::install& i) noexcept {
      const bool on = i.what == shootdown::install::action::translate;
      const std::uint64_t word = on ? valid | std::uint64_t{page} << page_shift | std::uint64_t{i.asid_tag.id} | (i.ats ? eats : 0u) : 0u;
      auto& live = smmu.entries_[stream][raw(i.pasid)];
      live.store(word, std::memory_order_release);
      Env::dma_publish(&live, sizeof live);
      return smmu.issue(shootdown::cmd::cfgi_ste{.sid = shootdown::stream_id{stream}, .leaf = true}.encode());
    }
    shootdown::status ats(bool on) noexcept {
      {
        const shootdown::tsan_ignore device_side;
        smmu.switch_ats(stream, on);
      }
      if (on && smmu.late_flush) return smmu.issue(shootdown::command{static_cast<std::uint64_t>(shootdown::opcode::tlbi_nh_all), 0});
      return {};
    }
  };
  /// The device's detach has returned, or its attach is about to begin.
  void gone(unsigned stream, bool yes) noexcept {
    const shootdown::tsan_ignore notes;
    gone_[stream] = yes;
  }
  /// Bit n: transactions may use translations of page n.
  void allow(unsigned stream, unsigned pasid, unsigned mask) noexcept {
    const shootdown::tsan_ignore notes;
    allowed_[stream][pasid] = mask;
  }

  void run_device() {
    trial_.agent("smmu", [this] { return turn(); });
  }
  /// One list. False: there is none.
  bool turn() {
    const bool work = consume();
    tell();
    return work;
  }

  /// One transaction of a device: translation, and a moment later the access.
  void access(unsigned stream, unsigned pasid = 0) {
    const std::size_t t = begin(stream, pasid);
    tell();
    if (t == none) return;
    land(t);
    tell();
  }

  /// It is off the bus: a list that comes now is a mistake.
  void remove() noexcept {
    const shootdown::tsan_ignore notes;
    removed_ = true;
  }

  [[nodiscard]] unsigned hits() const noexcept { return hits_; }
  [[nodiscard]] unsigned uses() const noexcept { return uses_; }

 private:
  using role = shootdown::model::device_role;
  static constexpr std::uint64_t valid = std::uint64_t{1} << 63, eats = std::uint64_t{1} << 32, tag_mask = 0xffff;
  static constexpr unsigned page_shift = 40;
  static constexpr std::size_t none = ~std::size_t{0};

  struct translation {
    unsigned page{};
    std::uint64_t version{};
  };
  struct transaction {
    unsigned stream{}, pasid{};
    translation used{};
    bool landed{};
  };

  bool consume() {
    enter(shootdown::model::device_role::consumer);
    const std::uint64_t n = prod_.load(std::memory_order_acquire);
    const bool work = at_ != n;
    if (work) {
      const std::vector<shootdown::command>* list = nullptr;
      {
        const shootdown::tsan_ignore the_ring;
        list = &lists_[at_];
      }
      for (const shootdown::command& c : *list) execute(c);
      cons_.store(++at_, std::memory_order_release);
    }
    side_.unlock();
    return work;
  }
  /// A failed trial never comes back, so it fails where ThreadSanitizer ignores nothing.
  void check(bool good, const char* what) noexcept {
    if (!good && complaint_ == nullptr) complaint_ = what;
  }
  void tell() {
    const char* what = nullptr;
    {
      const shootdown::tsan_ignore notes;
      what = complaint_;
    }
    if (what != nullptr) trial_.fail(what);
  }
  [[nodiscard]] bool removed() const noexcept {
    const shootdown::tsan_ignore notes;
    return removed_;
  }
  void enter(role r) {
    if (Env::device_runs_alone())
      side_.lock(r);
    else
      static_cast<void>(side_.try_lock(r));
  }
  // A CPU's flow may stand for a device's; its interrupts do not come in the middle of the device.
  std::size_t begin(unsigned stream, unsigned pasid) {
    const typename Env::irq_guard irqs_off{};
    enter(role::walker);
    const std::size_t t = translate(stream, pasid);
    side_.unlock();
    return t;
  }
  void land(std::size_t t) {
    const typename Env::irq_guard irqs_off{};
    enter(role::walker);
    judge(transactions_[t]);
    side_.unlock();
  }

  /// The endpoint's own register. PCIe: being enabled empties the cache.
  void switch_ats(unsigned stream, bool on) {
    if (on && !ats_on_[stream])
      for (unsigned p = 0; p != pasids; ++p) atc_.erase({stream, p});
    ats_on_[stream] = on;
  }
  std::uint64_t entry(unsigned stream, unsigned pasid) {
    const auto [it, fresh] = configs_.try_emplace({stream, pasid}, 0);
    if (fresh) it->second = entries_[stream][pasid].load(std::memory_order_acquire);  // the STE; no fence before the walk
    return it->second;
  }
  translation from_tlb(std::uint64_t e) {
    const auto tag = static_cast<std::uint16_t>(e & tag_mask);
    if (const auto it = tlb_.find(tag); it != tlb_.end()) {
      ++hits_;
      return it->second;
    }
    const auto page = static_cast<unsigned>(e >> page_shift & 0xff);
    return tlb_[tag] = {page, pages_[page].pte.load(std::memory_order_relaxed)};
  }
  std::size_t translate(unsigned stream, unsigned pasid) {
    const std::uint64_t e = entry(stream, pasid);
    if ((e & valid) == 0) return none;
    translation used{};
    if (ats_on_[stream]) {
      if ((e & eats) == 0) return none;
      auto it = atc_.find({stream, pasid});
      if (it == atc_.end()) it = atc_.emplace(std::pair{stream, pasid}, from_tlb(e)).first;
      used = it->second;
    } else {
      used = from_tlb(e);
    }
    transactions_.push_back({stream, pasid, used, false});
    return transactions_.size() - 1;
  }
  void judge(transaction& x) {
    const shootdown::tsan_ignore notes;
    if (x.landed) return;
    x.landed = true;
    ++uses_;
    check((allowed_[x.stream][x.pasid] >> x.used.page & 1u) != 0, "a transaction used the translation of another domain");
    check(x.used.version >= pages_[x.used.page].promised, "a transaction used a translation that was promised gone");
  }

  void execute(const shootdown::command& c) {
    using namespace shootdown;
    const opcode op = opcode_of(c);
    if (op == opcode::sync) return complete();
    if (op == deaf_to) return;
    if (op == opcode::atc_inv) {
      const tsan_ignore notes;
      check(!gone_[raw(cmd::atc_inv::decode(c).sid) % streams], "a device that has left was asked to invalidate");
    }
    pending_.push_back(c);
  }
  /// As late as allowed: everything since the last SYNC takes effect, device caches first, then what was under way lands.
  void complete() {
    using namespace shootdown;
    side_.synchronised();
    for (const command& c : pending_) {
      if (opcode_of(c) != opcode::atc_inv) continue;
      const auto a = cmd::atc_inv::decode(c);
      const unsigned stream = raw(a.sid) % streams;
      for (unsigned p = 0; p != pasids; ++p) {
        if (a.ssv && raw(a.ssid) != p) continue;
        if (atc_.erase({stream, p}) == 0 || !ats_on_[stream]) continue;
        const std::uint64_t e = entry(stream, p);  // it asks again for what it lost
        if ((e & valid) != 0 && (e & eats) != 0) atc_[{stream, p}] = from_tlb(e);
      }
    }
    for (const command& c : pending_) {
      switch (opcode_of(c)) {
        case opcode::tlbi_nh_va:
        case opcode::tlbi_nh_asid: tlb_.erase(static_cast<std::uint16_t>(c.dw0 >> 48)); break;
        case opcode::tlbi_nh_all: tlb_.clear(); break;
        case opcode::cfgi_ste:
          for (unsigned p = 0; p != pasids; ++p) configs_.erase({raw(cmd::cfgi_ste::decode(c).sid) % streams, p});
          break;
        default: break;
      }
    }
    if (!pending_.empty())
      for (transaction& x : transactions_) judge(x);
    pending_.clear();
  }

  trial& trial_;
  std::uint16_t instance_;
  std::array<tiny_page<Env>, pages>& pages_;
  shootdown::port_features features_{};
  shootdown::device::tag_space<Env> tags_{};
  typename Env::template atomic<std::uint64_t> prod_{0}, cons_{0};
  typename Env::dma_word entries_[streams][pasids]{};
  bool ats_on_[streams]{};
  bool gone_[streams]{};
  bool removed_{};
  unsigned allowed_[streams][pasids]{};

  shootdown::model::device_side<Env> side_{};
  std::deque<std::vector<shootdown::command>> lists_;
  std::uint64_t at_{};
  std::vector<shootdown::command> pending_;
  std::map<std::pair<unsigned, unsigned>, std::uint64_t> configs_;
  std::map<std::uint16_t, translation> tlb_;
  std::map<std::pair<unsigned, unsigned>, translation> atc_;
  std::deque<transaction> transactions_;
  unsigned hits_{}, uses_{};
  const char* complaint_{};
};

}  // namespace scenarios
