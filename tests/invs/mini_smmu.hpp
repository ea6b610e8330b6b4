// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>
#include <vector>

#include <shootdown/arch/commands.hpp>
#include <shootdown/invs/domain.hpp>

#include "support/recording_port.hpp"

namespace invs_test {

/// A page table of one entry whose value counts its unmaps, and what was promised about it.
struct one_page {
  std::atomic<std::uint64_t> pte{1};       // the current translation
  std::atomic<std::uint64_t> promised{1};  // translations older than this must not be used any more
  std::atomic<std::uint64_t> leaks{};
  std::atomic<std::uint64_t> uses{};
};

/// The smallest SMMU that can break the promise: one page, a TLB that keeps every entry until it is told otherwise, and stream
/// table entries that hold a tag (0: abort). Behind a recording port whose commands take effect as late as allowed, when
/// their SYNC completes. Env::relax() is where others may run: it switches fibers and lets threads in.
template <class Env>
class mini_smmu {
 public:
  mini_smmu(std::uint16_t instance, one_page& page) : port{instance}, page_{&page} {
    port.keep_lists(false);
    port.on_settled = [this](const std::vector<shootdown::command>& c) { execute(c); };
    port.on_idle = [] { Env::relax(); };
  }
  static constexpr unsigned streams = 4;

  /// One transaction of a device: translates through the STE, from the TLB or by a walk.
  void access(unsigned stream) {
    const std::uint64_t promised = page_->promised.load();
    const std::uint16_t t = entries_[stream].load();
    Env::relax();
    if (t == 0) return;
    std::uint64_t used = 0;
    {
      const std::scoped_lock hold{mutex_};
      if (entries_[stream].load() != t) return;  // the change was synchronised: this transaction had not started
      auto& cached = tlb_[t];
      if (cached == 0) cached = page_->pte.load();
      used = cached;
    }
    ++page_->uses;
    if (used < promised) ++page_->leaks;
  }

  /// The caller's side of attach and detach for one stream.
  struct ops {
    mini_smmu& smmu;
    unsigned stream;
    shootdown::status write_entry(const shootdown::install& i) {
      const bool on = i.what == shootdown::install::action::translate;
      Env::relax();
      if (on) smmu.port.tags().installed(i.asid_tag);
      {
        const std::scoped_lock hold{smmu.mutex_};
        smmu.entries_[stream].store(on ? i.asid_tag.id : std::uint16_t{0});
      }
      Env::relax();
      return {};
    }
    shootdown::status ats(bool) { return {}; }
  };
  ops of(unsigned stream) { return {*this, stream}; }
  void install_early(unsigned stream, std::uint16_t t) {
    const std::scoped_lock hold{mutex_};
    entries_[stream].store(t);
  }

  test_support::recording_port port;

 private:
  void execute(const std::vector<shootdown::command>& list) {
    const std::scoped_lock hold{mutex_};
    for (const auto& c : list) {
      const auto op = shootdown::opcode_of(c);
      if (op == shootdown::opcode::tlbi_nh_va || op == shootdown::opcode::tlbi_nh_asid) tlb_[static_cast<std::uint16_t>(c.dw0 >> 48)] = 0;
    }
  }
  std::mutex mutex_;  // never held where others may run
  std::map<std::uint16_t, std::uint64_t> tlb_;
  std::atomic<std::uint16_t> entries_[streams]{};
  one_page* page_;
};

/// Changes the page's translation and invalidates, as an unmap does; keeps its promise in the page.
template <class Domain>
shootdown::status unmap(one_page& page, Domain& d, shootdown::deadline until) {
  const shootdown::range_piece piece{0x1000, 0x1000, shootdown::granule::k4, 8, 0};
  const std::uint64_t now = page.pte.fetch_add(1) + 1;
  const shootdown::status s = d.invalidate({&piece, 1}, until);
  if (s.ok()) {
    std::uint64_t seen = page.promised.load();
    while (seen < now && !page.promised.compare_exchange_weak(seen, now)) {
    }
  }
  return s;
}

}  // namespace invs_test
