// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>
#include <vector>

#include <shootdown/arch/commands.hpp>
#include <shootdown/invs/domain.hpp>

#include "invs/mini_smmu.hpp"
#include "support/recording_port.hpp"

namespace invs_test {

/// mini_smmu's bigger sister: its streams have a device cache each, which is filled from the TLB while EATS = 1 and the
/// endpoint's ATS is on, keeps everything until it is told otherwise, and whose translated requests pass while EATS = 1. It
/// counts the invalidations that are sent for a device whose detach has returned.
template <class Env>
class ats_smmu {
 public:
  ats_smmu(std::uint16_t instance, one_page& page) : port{instance}, page_{&page} {
    port.keep_lists(false);
    port.on_settled = [this](const std::vector<shootdown::command>& c) { execute(c); };
    port.on_list = [this](const test_support::recorded_list& l) { look(l); };
    port.on_idle = [] { Env::relax(); };
  }
  static constexpr unsigned streams = 4;

  /// One transaction of a device.
  void access(unsigned n) {
    stream& s = streams_[n];
    const std::uint64_t promised = page_->promised.load();
    const std::uint32_t entry = s.entry.load();
    Env::relax();
    std::uint64_t used = 0;
    {
      const std::scoped_lock hold{mutex_};
      if (s.entry.load() != entry || (entry & tag_mask) == 0) return;  // changed: that change drained this transaction; or abort
      const bool ats = (entry & eats) != 0;
      if (s.on && s.cached != 0) {
        if (!ats) return;  // a translated request aborts
        used = s.cached;
        ++hits;
      } else {
        auto& line = tlb_[static_cast<std::uint16_t>(entry & tag_mask)];
        if (line == 0) line = page_->pte.load();
        used = line;
        if (s.on && ats) s.cached = used;
      }
    }
    ++page_->uses;
    if (used < promised) ++page_->leaks;
  }

  struct ops {
    ats_smmu& smmu;
    unsigned n;
    shootdown::status write_entry(const shootdown::install& i) {
      const bool on = i.what == shootdown::install::action::translate;
      Env::relax();
      if (on) smmu.port.tags().installed(i.in_use());
      {
        const std::scoped_lock hold{smmu.mutex_};
        smmu.streams_[n].entry = (on ? i.in_use().id : 0u) | (i.ats ? eats : 0u);
      }
      Env::relax();
      return {};
    }
    shootdown::status ats(bool on) {
      Env::relax();
      const std::scoped_lock hold{smmu.mutex_};
      smmu.streams_[n].on = on;  // the cache keeps what it has: it may remember another life
      return {};
    }
  };
  ops of(unsigned n) { return {*this, n}; }
  /// The device's detach has returned (or its attach is about to begin).
  void gone(unsigned n, bool yes) { streams_[n].gone = yes; }

  test_support::recording_port port;
  std::atomic<std::uint64_t> late{};  // ATC_INVs for a device that is gone
  std::atomic<std::uint64_t> hits{};  // translated requests
  std::atomic<std::uint64_t> asked{};

 private:
  static constexpr std::uint32_t tag_mask = 0xffff, eats = 0x10000;
  struct stream {
    std::atomic<std::uint32_t> entry{};
    std::atomic<bool> gone{};
    bool on{};
    std::uint64_t cached{};
  };
  void look(const test_support::recorded_list& l) {
    for (const auto& c : l.commands) {
      if (shootdown::opcode_of(c) != shootdown::opcode::atc_inv) continue;
      ++asked;
      if (streams_[shootdown::raw(shootdown::cmd::atc_inv::decode(c).sid)].gone) ++late;
    }
  }
  void execute(const std::vector<shootdown::command>& list) {
    const std::scoped_lock hold{mutex_};
    for (const auto& c : list) {
      switch (shootdown::opcode_of(c)) {
        case shootdown::opcode::tlbi_nh_va:
        case shootdown::opcode::tlbi_nh_asid: tlb_[static_cast<std::uint16_t>(c.dw0 >> 48)] = 0; break;
        case shootdown::opcode::tlbi_s2_ipa:
        case shootdown::opcode::tlbi_s12_vmall: tlb_[static_cast<std::uint16_t>(c.dw0 >> 32)] = 0; break;
        case shootdown::opcode::atc_inv: streams_[shootdown::raw(shootdown::cmd::atc_inv::decode(c).sid)].cached = 0; break;
        default: break;
      }
    }
  }
  std::mutex mutex_;  // never held where others may run
  std::map<std::uint16_t, std::uint64_t> tlb_;
  stream streams_[streams];
  one_page* page_;
};

}  // namespace invs_test
