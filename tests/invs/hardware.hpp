// SPDX-License-Identifier: MIT
#pragma once

#include <deque>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <shootdown/invs/domain.hpp>

#include "invs/fixture.hpp"

namespace invs_test {

using domain_t = domain<env, recording_port>;
using attachment_t = domain_t::attachment_t;
using master_t = domain_t::master_t;

inline const deadline soon{instant{1000}};

/// What the stream table entries of a test may hold, and the judge of the protocol: every tag that an SMMU may be using must be
/// in the published array of some watched domain, at every moment at which anything is looked at.
class hardware {
 public:
  void watch(domain_t& d) { domains_.push_back(&d); }
  void watch(recording_port& p) {
    p.on_list = [this, &p](const recorded_list& l) {
      log.push_back((opcode_of(l.commands[0]) == opcode::tlbi_nh_asid ? "flush " : "list ") + std::to_string(raw(p.instance())));
      judge("list");
    };
    p.on_idle = [] { ++state().now; };
  }
  /// A stream of an instance may now be translated under exactly these tags.
  std::map<std::pair<unsigned, unsigned>, std::set<unsigned>> entries;
  std::vector<std::string> log;
  std::vector<std::string> violations;

  void judge(const char* when) {
    for (const auto& [where, tags] : entries) {
      for (const unsigned t : tags) {
        bool covered = false;
        for (const domain_t* d : domains_) {
          d->each_entry([&](const spec_t& s, std::uint32_t) { covered = covered || (raw(s.instance) == where.first && s.id() == t); });
        }
        if (!covered) violations.push_back("tag " + std::to_string(t) + " in use but in no array at " + when);
      }
    }
  }

 private:
  std::vector<domain_t*> domains_;
};

/// The caller's callables: write the hardware above, with scripted outcomes (all ok when the script is empty).
struct test_ops {
  hardware& hw;
  recording_port& port;
  std::vector<stream_id> streams;
  std::deque<errc> script;
  std::vector<install> seen;

  status write_entry(const install& i) {
    seen.push_back(i);
    hw.log.push_back(i.what == install::action::translate ? "translate" : "block");
    const errc outcome = script.empty() ? errc::ok : script.front();
    if (!script.empty()) script.pop_front();
    hw.judge("before write_entry");
    for (const stream_id s : streams) {
      auto& may = hw.entries[{raw(port.instance()), raw(s)}];
      if (i.what == install::action::translate) {
        if (outcome == errc::ok) may.clear();
        may.insert(i.asid_tag.id);
        port.tags().installed(i.asid_tag);
      } else if (outcome == errc::ok) {
        may.clear();
      }
    }
    hw.judge("after write_entry");
    return outcome;
  }
  status ats(bool) {
    hw.log.push_back("ats");
    return {};
  }
};

}  // namespace invs_test
