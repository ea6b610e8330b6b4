// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <shootdown/arch/commands.hpp>
#include <shootdown/invs/domain.hpp>

#include "invs/fixture.hpp"
#include "invs/hardware.hpp"

namespace invs_test {

/// Stream table, endpoints and their caches as far as the ATS protocol concerns them, with a trace of everything that happens
/// and a judge that looks at every event. What it demands:
///   covered   a tag that a stream may translate under, and a device that may fill its cache, is in a published array
///   on        an endpoint's ATS goes on only when its entry has EATS = 1
///   off       it goes off only when EATS = 0, no array lists the device, and a fence came after the array had lost it
///   wiped     a device leaves the arrays, and an operation ends, only when its cache holds nothing of another translation
///   silence   no ATC_INV is sent for a device whose detach has returned ok
class ats_world {
 public:
  void watch(const char* name, domain_t& d) { domains_.emplace_back(name, &d); }
  void watch(recording_port& p) {
    const unsigned n = raw(p.instance());
    p.on_list = [this, &p, n](const recorded_list& l) { listed(p, n, l); };
    p.on_settled = [this, n](const std::vector<command>& c) { settled(n, c); };
    p.on_idle = [] { ++state().now; };
  }
  void fence() {
    log.push_back("fence" + arrays());
    for (auto& [k, s] : streams_) {
      const bool listed_now = lists(k);
      if (listed_now) continue;
      // A device that did not answer may leave all the same where EATS = 0 stops it.
      if (s.listed && s.dirty && s.on && (s.eats || !s.asked)) violation(k, "left the array before its cache was wiped");
      s.fenced = true;
      s.listed = false;
    }
    judge("fence");
  }

  /// Steps that can fail: write_entry, ats(true), and lists. The next one fails with `with` when `fail_in` reaches 0, and so
  /// do all later ones if `for_good`.
  int fail_in{-1};
  bool for_good{};
  unsigned steps{};
  [[nodiscard]] bool fails() {
    ++steps;
    if (fail_in < 0) return false;
    if (fail_in != 0) return --fail_in, false;
    if (!for_good) fail_in = -1;
    return true;
  }

  struct ops {
    ats_world& w;
    recording_port& port;
    std::vector<stream_id> sids;
    std::deque<errc> script{};      // outcomes of write_entry; ok when empty
    std::deque<errc> ats_script{};  // of ats

    status write_entry(const install& i) {
      errc e = w.fails() ? errc::queue_failed : errc::ok;
      if (!script.empty()) {
        e = script.front();
        script.pop_front();
      }
      const bool on = i.what == install::action::translate;
      w.log.push_back(on ? "translate " + spell(i.in_use()) + (raw(i.pasid) != 0 ? "/" + std::to_string(raw(i.pasid)) : "") +
                               (i.ats ? " ats" : "")
                         : "block" + (raw(i.pasid) != 0 ? "/" + std::to_string(raw(i.pasid)) : std::string{}));
      if (!on && i.ats) w.violations.push_back("a blocked entry with ATS");
      if (on) port.tags().installed(i.in_use());
      for (const stream_id sid : sids) {
        stream& s = w.streams_[{raw(port.instance()), raw(sid), raw(i.pasid)}];
        if (s.on && e == errc::ok && !on && !s.tags.empty()) s.dirty = true;  // it keeps what it has until it is wiped
        if (e == errc::ok) s.tags.clear();
        if (on) s.tags.insert(spell(i.in_use()));
        s.eats = i.ats || (e != errc::ok && s.eats);
        if (s.on) s.asked = false;
        if (s.on && on) s.dirty = true;  // it cached the translation before, or caches this one
        s.gone = false;
        if (i.ats) s.fenced = false;
      }
      w.judge("after write_entry");
      return e;
    }
    status ats(bool on) {
      w.log.push_back(on ? "ats on" : "ats off");
      errc e = on && w.fails() ? errc::timed_out : errc::ok;
      if (!ats_script.empty()) {
        e = ats_script.front();
        ats_script.pop_front();
      }
      for (auto& [k, s] : w.streams_) {
        if (!concerns(k)) continue;
        if (on) {
          if (!s.eats) w.violation(k, "switched on before its entry has EATS");
          if (!s.on) s.on = s.dirty = true;  // it may remember another life
        } else {
          if (s.eats) w.violation(k, "switched off while its entry has EATS");
          if (w.lists(k)) w.violation(k, "switched off while an array lists it");
          if (!s.fenced) w.violation(k, "switched off before a fence");
          s.on = false;
        }
      }
      w.judge("after ats");
      return e;
    }
    template <class K>
    bool concerns(const K& k) const {
      for (const stream_id sid : sids) {
        if (k.instance == raw(port.instance()) && k.sid == raw(sid)) return true;
      }
      return false;
    }
  };

  /// An operation on these streams ended with `s`; `attached` says what became of them.
  void ended(const ops& o, status s, bool attached) {
    if (!s.ok() && !attached) return;
    for (auto& [k, x] : streams_) {
      if (!o.concerns(k)) continue;
      if (x.dirty && x.on) violation(k, "may use what it cached of another translation when an operation ends");
      if (!attached) {
        if (x.on && x.tags.empty() && !has_siblings(k)) violation(k, "is detached with its ATS on");
        x.gone = true;
      }
    }
  }
  /// The instance is reset and its devices with it.
  void reset() { streams_.clear(); }

  std::vector<std::string> log, violations;
  std::vector<std::string> take_log() { return std::exchange(log, {}); }

  static std::string spell(tag t) { return (t.kind == tag_kind::asid ? "asid" : "vmid") + std::to_string(t.id); }
  static std::string spell(const spec_t& s) {
    std::string id = std::to_string(s.id()) + (raw(s.pasid()) != 0 ? "/" + std::to_string(raw(s.pasid())) : "");
    switch (s.type) {
      case entry_type::s1_asid: return "asid" + id;
      case entry_type::s2_vmid:
      case entry_type::s2_vmid_vsmmu: return "vmid" + id;
      case entry_type::s2_vmid_s1_clear: return "clear" + id;
      case entry_type::ats: return "ats" + id;
      case entry_type::ats_full: return "full" + id;
    }
    return "?";
  }
  static std::string spell(command c) {
    switch (opcode_of(c)) {
      case opcode::tlbi_nh_asid: return "NH_ASID " + std::to_string(c.dw0 >> 48);
      case opcode::tlbi_el2_asid: return "EL2_ASID " + std::to_string(c.dw0 >> 48);
      case opcode::tlbi_nh_va: return "NH_VA " + std::to_string(c.dw0 >> 48);
      case opcode::tlbi_el2_va: return "EL2_VA " + std::to_string(c.dw0 >> 48);
      case opcode::tlbi_s2_ipa: return "S2_IPA " + std::to_string((c.dw0 >> 32) & 0xffff);
      case opcode::tlbi_nh_all: return "NH_ALL " + std::to_string((c.dw0 >> 32) & 0xffff);
      case opcode::tlbi_s12_vmall: return "S12_VMALL " + std::to_string((c.dw0 >> 32) & 0xffff);
      case opcode::sync: return "SYNC";
      case opcode::atc_inv: {
        const auto a = cmd::atc_inv::decode(c);
        return "ATC_INV " + std::to_string(raw(a.sid)) + (a.ssv ? "/" + std::to_string(raw(a.ssid)) : "") +
               (a.size == cmd::atc_inv::all ? " all" : "");
      }
      default: return "?";
    }
  }

 private:
  struct key {
    unsigned instance, sid, pasid;
    friend auto operator<=>(const key&, const key&) = default;
  };
  struct stream {
    std::set<std::string> tags;  // it may be translated under exactly these
    bool eats{};                 // translated requests and ATS requests may pass
    bool on{};                   // the endpoint's enable
    bool dirty{};                // its cache may hold something of another translation
    bool asked{};                // a wipe was sent since and not answered
    bool fenced{};               // a fence came after the arrays lost it
    bool listed{};
    bool gone{};
  };

  void listed(recording_port& p, unsigned n, const recorded_list& l) {
    std::string text = std::to_string(n) + ":";
    const bool lost = fails() || p.control().never_complete;
    for (const command c : l.commands) {
      text += " " + spell(c);
      if (opcode_of(c) != opcode::atc_inv) continue;
      const auto a = cmd::atc_inv::decode(c);
      for (auto& [k, s] : streams_) {
        if (k.instance != n || k.sid != raw(a.sid)) continue;
        if (k.pasid == raw(a.ssid) && s.gone) violation(k, "is asked although detached");
        if ((!a.ssv || k.pasid == raw(a.ssid)) && a.size == cmd::atc_inv::all && lost) s.asked = true;
      }
    }
    log.push_back(text);
    p.control().outcome = lost ? errc::atc_timed_out : errc::ok;
    judge("list");
  }
  void settled(unsigned n, const std::vector<command>& commands) {
    for (const command c : commands) {
      if (opcode_of(c) != opcode::atc_inv) continue;
      const auto a = cmd::atc_inv::decode(c);
      if (a.size != cmd::atc_inv::all) continue;
      for (auto& [k, s] : streams_) {
        if (k.instance == n && k.sid == raw(a.sid) && (!a.ssv || k.pasid == raw(a.ssid)) && s.tags.size() <= 1) s.dirty = false;
      }
    }
  }
  bool has_siblings(const key& k) const {
    for (const auto& [o, s] : streams_) {
      if (o.instance == k.instance && o.sid == k.sid && o.pasid != k.pasid && s.eats) return true;
    }
    return false;
  }
  bool lists(const key& k) const {
    bool found = false;
    for (const auto& [name, d] : domains_) {
      d->each_entry([&](const spec_t& s, std::uint32_t) {
        found = found || (phase_of(s.type) == phase::atc && raw(s.instance) == k.instance && s.id() == k.sid && raw(s.pasid()) == k.pasid);
      });
    }
    return found;
  }
  std::string arrays() const {
    std::string all;
    for (const auto& [name, d] : domains_) {
      std::string one;
      d->each_entry([&](const spec_t& s, std::uint32_t users) {
        one += (one.empty() ? "" : " ") + (raw(s.instance) != 0 ? std::to_string(raw(s.instance)) + ":" : "") + spell(s) + "*" +
               std::to_string(users);
      });
      if (!one.empty()) all += " " + (name + ("[" + one + "]"));
    }
    return all;
  }
  void judge(const char* when) {
    for (auto& [k, s] : streams_) {
      const bool now = lists(k);
      if (now) s.listed = true;
      if (s.eats && s.on && !now) violation(k, std::string{"may cache but is in no array: "} + when);
      for (const std::string& t : s.tags) {
        bool covered = false;
        for (const auto& [name, d] : domains_) {
          d->each_entry([&](const spec_t& e, std::uint32_t) { covered = covered || (raw(e.instance) == k.instance && spell(e) == t); });
        }
        if (!covered) violation(k, t + " in use but in no array: " + when);
      }
    }
  }
  void violation(const key& k, const std::string& text) {
    violations.push_back(std::to_string(k.instance) + ":" + std::to_string(k.sid) + "/" + std::to_string(k.pasid) + " " + text);
  }

  std::map<key, stream> streams_;
  std::vector<std::pair<std::string, domain_t*>> domains_;
};

}  // namespace invs_test
