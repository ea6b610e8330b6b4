// SPDX-License-Identifier: MIT
// entry_array: merge, unref and purge in any order, with duplicates, trash and failing allocations, against two oracles that
// know nothing of the array's algorithm:
//   algebra   per key the users of its live copies, in order: says what each single operation must answer
//   holders   the multiset of attachments; valid as long as the history is one that a domain could make. From it follow the
//             users of each copy: copy n of a key is used by all that hold at least n of it
// Superseded arrays are retired and stay readable until their readers leave. For what is left at each look the commands of
// an invalidation are made from a plan and compared with those that the entries ask for, one by one.
//
// Input: tag, features of the two ports (1 byte), then steps: one byte (operation modulo 10, in bits 4 to 7 its variant) and
// its operands. A set of entries is a count (1 byte, modulo 7) and that many two-byte entries: type and instance, id and PASID.
//
// Under test: invs/entry.hpp invs/array.hpp invs/master_entries.hpp invs/plan.hpp invs/instance_list.hpp
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <vector>

#include <shootdown/invs/array.hpp>
#include <shootdown/invs/instance_list.hpp>
#include <shootdown/invs/master_entries.hpp>
#include <shootdown/invs/plan.hpp>

#include <invs/single_env.hpp>
#include <support/recording_port.hpp>

#include "input.hpp"

extern "C" const std::uint8_t fuzz_format_tag = 'a';

namespace {
using namespace shootdown;
using fuzz::require;
using env = invs_test::single_env;
using test_support::recording_port;
using array_t = entry_array<env, recording_port>;
using entry_t = entry<env, recording_port>;
using spec_t = entry_spec<recording_port>;
using plan_t = invalidation_plan<4>;
using list_t = instance_list<env, recording_port, 4>;
using sets = std::vector<spec_t>;

invs_test::env_state& world() { return invs_test::state(); }

/// One copy of a key that somebody uses.
struct copy {
  std::uint32_t users;
  std::uint8_t stu;
};
using algebra = std::map<entry_key, std::vector<copy>>;

struct snapshot {
  struct line {
    entry_key key;
    std::uint32_t users;
    std::uint8_t stu;
    friend bool operator==(const line&, const line&) = default;
  };
  std::vector<line> lines;
  bool has_ats{};
  friend bool operator==(const snapshot&, const snapshot&) = default;

  explicit snapshot(const array_t* a) {
    if (a == nullptr) return;
    for (std::uint32_t i = 0; i != a->count(); ++i) lines.push_back({(*a)[i].spec.key(), (*a)[i].users(), (*a)[i].spec.stu});
    has_ats = a->has_ats();
  }
};

class history {
 public:
  history(fuzz::input& in, std::uint8_t features) : in_{in} {
    for (unsigned i = 0; i != 2; ++i) {
      port_features f = recording_port::default_features();
      f.range_invalidation = (features >> (2 * i) & 1) == 0;
      f.wide_scale = (features >> (2 * i) & 2) != 0 && f.range_invalidation;
      ports_[i].emplace(static_cast<std::uint16_t>(i * 7), f);
    }
  }
  ~history() {
    readers_.clear();
    array_t::destroy(array_);
    env::rcu::drain();
    require(world().live_blocks == 0, "memory is lost");
    require(world().failures.empty(), "a contract violation");
  }

  void step() {
    const std::uint8_t what = in_.u8();
    const unsigned variant = what >> 4;
    switch (what % 10) {
      case 0:
      case 1:
      case 2: attach(choose(), variant); break;
      case 3:
      case 4: detach(variant); break;
      case 5: take_away(choose()); break;
      case 6: purge(variant); break;
      case 7: merge_disorder(choose()); break;
      case 8: readers(variant); break;
      default: plan(); break;
    }
    look();
  }

  void look() const {
    if (array_ == nullptr) return require(truth_.empty(), "no array although there are users");
    const array_t& a = *array_;
    require(a.check_invariants(), "check_invariants");
    std::uint32_t i = 0, trash = 0;
    const auto skip = [&] {
      for (; i != a.count() && !a[i].live(); ++i) ++trash;
    };
    for (const auto& [key, copies] : truth_) {
      for (const copy& c : copies) {
        skip();
        require(i != a.count(), "an entry is missing");
        require(a[i].spec.key() == key, "key of an entry");
        require(a[i].users() == c.users, "users of an entry");
        require(a[i].spec.stu == c.stu, "translation unit of an entry");
        ++i;
      }
      const auto [instance, type, id, pasid] = key;
      require(a.contains(key), "contains()");
      const entry_t* const first = a.find(instance_id{instance}, type);
      require(first != nullptr && first->live() && first->spec.key() <= key, "find()");
    }
    skip();
    require(i == a.count() && trash == a.trash(), "more entries than users, or trash miscounted");
    require(!a.contains({3, entry_type::ats, 1, 0}), "contains() something that never was");
    require(a.find(instance_id{3}, entry_type::ats) == nullptr, "find() something that never was");
    if (proper_) require(truth_users() == holder_users(), "users do not follow from the attachments");
  }

  void finish() {
    purge(0);
    look();
  }

 private:
  using users_of = std::map<entry_key, std::vector<std::uint32_t>>;

  spec_t choose_entry() {
    const std::uint8_t what = in_.u8(), which = in_.u8();
    judge_factories(what, which);
    recording_port& p = *ports_[what & 1];
    const unsigned id = 1 + (which & 3);
    const granule g = granule::k4;
    const auto type = static_cast<entry_type>((what >> 1) % 6);
    const auto made = [&] {
      switch (type) {
        case entry_type::s1_asid: return spec_t::stage1(p, asid{static_cast<std::uint16_t>(id)}, g);
        case entry_type::s2_vmid:
        case entry_type::s2_vmid_vsmmu:
        case entry_type::s2_vmid_s1_clear: return spec_t::stage2(p, type, vmid{static_cast<std::uint16_t>(id)}, g);
        default: return spec_t::device(p, type, stream_id{id}, substream_id{which >> 2 & 3u}, static_cast<std::uint8_t>(which >> 4 & 7));
      }
    }();
    require(made.ok(), "a factory refuses what its port can do");
    require(made->check_invariants(), "a factory makes a broken entry");
    return *made;
  }
  /// What the factories refuse, on a port that can do little: 8-bit tags, 16 streams, 4 PASIDs, maybe one stage or no ATS.
  void judge_factories(std::uint8_t what, std::uint8_t which) const {
    port_features f = recording_port::default_features();
    f.asid_bits = f.vmid_bits = 8;
    f.stream_bits = 4;
    f.substream_bits = 2;
    f.stage1 = (which & 1) != 0;
    f.stage2 = (which & 2) != 0;
    f.ats = (which & 4) != 0;
    f.granules = 0b0010;
    recording_port p{1, f};
    const granule g{static_cast<std::uint8_t>(1 + (what >> 5) % 2)};
    const std::uint16_t tag = static_cast<std::uint16_t>((which >> 3) * 11u);
    const auto refusal = [&](bool able) {
      return !able || g != granule::k4 ? errc::unsupported : tag == 0 ? errc::invalid_argument : tag > 255 ? errc::out_of_range : errc::ok;
    };
    require(spec_t::stage1(p, asid{tag}, g).code() == refusal(f.stage1), "stage1()");
    const auto type = static_cast<entry_type>((what >> 1) % 6);
    const bool clear = type == entry_type::s2_vmid_s1_clear, caches = phase_of(type) == phase::atc;
    const errc by_vmid = type == entry_type::s1_asid || caches ? errc::invalid_argument : refusal(f.stage2 && (!clear || f.stage1));
    require(spec_t::stage2(p, type, vmid{tag}, g).code() == by_vmid, "stage2()");
    const unsigned sid = which >> 3, pasid = what >> 5, unit = which >> 2;
    const errc device = !caches                 ? errc::invalid_argument
                        : !f.ats                ? errc::unsupported
                        : unit > 31             ? errc::invalid_argument
                        : sid > 15 || pasid > 3 ? errc::out_of_range
                                                : errc::ok;
    const auto made = spec_t::device(p, type, stream_id{sid}, substream_id{pasid}, static_cast<std::uint8_t>(unit));
    require(made.code() == device, "device()");
    if (made.ok()) require(made->check_invariants() && made->id() == sid && raw(made->pasid()) == pasid, "what device() made");
  }
  sets choose() {
    sets s;
    for (unsigned n = in_.below(7); n != 0; --n) s.push_back(choose_entry());
    std::sort(s.begin(), s.end(), [](const spec_t& a, const spec_t& b) { return a.key() < b.key(); });
    return s;
  }
  static std::unique_ptr<entry_t[]> right_side(const sets& s) {
    auto r = std::make_unique<entry_t[]>(s.size());
    for (std::size_t i = 0; i != s.size(); ++i) {
      r[i].spec = s[i];
      r[i].set_users(77);  // must not matter
    }
    return r;
  }

  void publish(array_t* next) {
    array_t* const old = std::exchange(array_, next);
    if (!readers_.empty()) old_.emplace_back(old, snapshot{old});
    array_t::retire(old);
    if (readers_.empty()) env::rcu::drain();
  }

  void attach(const sets& s, unsigned variant) {
    const auto right = right_side(s);
    const snapshot before{array_};
    const std::size_t blocks = world().live_blocks;
    if ((variant & 3) == 3) {
      world().fail_allocations = 1;
      require(array_t::merge(array_, {right.get(), s.size()}).code() == errc::no_memory, "merge without memory");
      require(snapshot{array_} == before && world().live_blocks == blocks, "a merge that failed left something behind");
      if ((variant & 4) != 0) return;
    }
    // Through master_entries now and then: the domain keeps its right sides there.
    master_entries<env, recording_port> kept;
    if ((variant & 8) != 0) {
      master_entries<env, recording_port> made;
      require(made.reserve(s.size()).ok(), "reserve");
      for (const spec_t& e : s) made.push(e);
      kept.take(made);
      require(made.all().empty() && kept.all().size() == s.size() && kept.tags().size() + kept.devices().size() == s.size(), "take()");
    }
    const auto next =
        array_t::merge(array_, (variant & 8) != 0 ? std::span<const entry_t>{kept.all()} : std::span<const entry_t>{right.get(), s.size()});
    require(next.ok(), "merge of sorted entries");
    require(snapshot{array_} == before, "merge changed the array it read");
    std::map<entry_key, std::size_t> nth;
    for (const spec_t& e : s) {
      auto& copies = truth_[e.key()];
      const std::size_t n = nth[e.key()]++;
      if (n == copies.size()) {
        copies.push_back({1, e.stu});
      } else {
        ++copies[n].users;
        copies[n].stu = std::max(copies[n].stu, e.stu);
      }
    }
    publish(*next);
    built();
    held_.push_back(s);
  }
  /// After an array was made anew: no trash, no room to spare, and the mark for device caches is exact.
  void built() const {
    bool caches = false;
    for (const auto& [key, copies] : truth_) caches = caches || phase_of(key.type) == phase::atc;
    require(array_->trash() == 0 && array_->capacity() == array_->count() && array_->has_ats() == caches, "a new array is not lean");
  }

  void detach(unsigned variant) {
    if (held_.empty()) return;
    const std::size_t i = variant % held_.size();
    const sets s = held_[i];
    held_.erase(held_.begin() + static_cast<std::ptrdiff_t>(i));
    require(unref(s) || !proper_, "a holder cannot leave");
  }
  void take_away(const sets& s) {
    if (unref(s)) proper_ = proper_ && s.empty();  // nobody who attached these asked for it
  }
  /// True if it was done.
  bool unref(const sets& s) {
    if (array_ == nullptr) return false;
    const snapshot before{array_};
    const std::uint32_t capacity = array_->capacity();
    const auto right = right_side(s);
    std::map<entry_key, std::size_t> wanted;
    bool there = true;
    for (const spec_t& e : s) {
      const auto it = truth_.find(e.key());
      there = there && it != truth_.end() && ++wanted[e.key()] <= it->second.size();
    }
    const std::size_t allocations = world().allocations;
    const status done = array_->unref({right.get(), s.size()});
    require(world().allocations == allocations, "unref allocates");
    require(array_->capacity() == capacity, "unref resizes");
    if (!there) {
      require(done.code() == errc::not_present && snapshot{array_} == before, "unref of what is not there");
      return false;
    }
    require(done.ok(), "unref of what is there");
    std::map<entry_key, std::size_t> nth;
    for (std::size_t i = 0; i != s.size(); ++i) {
      copy& c = truth_[s[i].key()][nth[s[i].key()]++];
      --c.users;
      require(right[i].users() == (c.users != 0 ? 1u : 0u), "unref: answer");
    }
    for (auto& [key, n] : nth) std::erase_if(truth_[key], [](const copy& c) { return c.users == 0; });
    std::erase_if(truth_, [](const auto& k) { return k.second.empty(); });
    require(array_->has_ats() == before.has_ats, "unref changes the mark for device caches");
    return true;
  }

  void purge(unsigned variant) {
    const snapshot before{array_};
    if ((variant & 3) == 3) world().fail_allocations = 1;
    const bool starved = (variant & 3) == 3;
    bool marked_in_vain = false;
    if (array_ != nullptr) {
      bool caches = false;
      for (const auto& [key, copies] : truth_) caches = caches || phase_of(key.type) == phase::atc;
      marked_in_vain = array_->has_ats() && !caches;
    }
    const bool due = array_ != nullptr && array_->count() != 0 && (array_->trash() != 0 || marked_in_vain);
    array_t* const next = array_t::purge(array_);
    world().fail_allocations = 0;
    require((next != nullptr) == (due && !starved), "purge: when");
    require(snapshot{array_} == before, "purge changed the array it read");
    if (next == nullptr) return;
    publish(next);
    built();
  }

  void merge_disorder(sets s) {
    std::reverse(s.begin(), s.end());
    const bool sorted = std::is_sorted(s.begin(), s.end(), [](const spec_t& a, const spec_t& b) { return a.key() < b.key(); });
    if (sorted) return;
    const auto right = right_side(s);
    const std::size_t allocations = world().allocations;
    require(array_t::merge(array_, {right.get(), s.size()}).code() == errc::invalid_argument, "merge of disorder");
    require(world().allocations == allocations, "a refused merge allocates");
  }

  /// Readers come and go. What they might still look at is as it was, but for entries that lost users in place.
  void readers(unsigned variant) {
    if ((variant & 1) == 0) {
      if (readers_.size() < 3) readers_.push_back(std::make_unique<env::rcu::guard>());
      return;
    }
    if (readers_.empty()) return;
    readers_.pop_back();
    if (!readers_.empty()) return;
    for (const auto& [a, then] : old_) require(snapshot{a} == then, "a superseded array changed under its readers");
    old_.clear();
    env::rcu::drain();
    require(world().live_blocks == (array_ != nullptr ? 1u : 0u), "superseded arrays are not freed");
  }

  range_piece choose_piece() {
    const std::uint8_t shape = in_.u8();
    range_piece p;
    p.address = (std::uint64_t{in_.u8()} << 12 << (shape & 15)) | ((shape & 16) != 0 ? ~std::uint64_t{0} << 47 : 0);
    p.bytes = (std::uint64_t{in_.u8() & 63u} + ((shape & 32) != 0 ? 0 : 1)) << 12 << (shape >> 6 << 2);
    const std::uint8_t levels = in_.u8();
    p.leaf_levels = levels & 15;
    p.freed_levels = (levels >> 4) & 7;
    return p;
  }

  /// The lists of one request, against the commands that each live entry asks for.
  void plan() {
    const std::uint8_t how = in_.u8();
    plan_rules rules{};
    rules.policy = static_cast<cover_policy>(how % 3);
    rules.atc_spans = static_cast<std::uint8_t>(1 + (how >> 2 & 3));
    rules.command_limit = (how & 16) != 0 ? 3 : 0;
    rules.entry_limit = (how & 32) != 0 ? 8 : 0;
    rules.lower_half_only = (how & 64) != 0;
    std::vector<range_piece> pieces;
    for (unsigned n = in_.below(6); n != 0; --n) pieces.push_back(choose_piece());
    plan_t made;
    const status ready = made.prepare(pieces, rules);
    const status allowed = plan_t::check(pieces, rules);
    require(ready.ok() == (allowed.ok() && pieces.size() <= 4) && (allowed.ok() || ready.code() == allowed.code()),
            "plan: check and prepare");
    if (!ready.ok()) {
      if (!pieces.empty()) return;
      made.prepare_everything();
      pieces.clear();
    }
    require(made.pieces().size() == pieces.size() && made.everything() == pieces.empty(), "plan: pieces");
    if (array_ == nullptr) return;
    for (std::uint32_t next = 0, n = array_->count(); next != n;) {
      const std::uint32_t first = next;
      const list_t list = list_t::take(*array_, first, n, made, next);
      require(next > first && next <= n, "a list takes nothing");
      judge(list, first, next, pieces, rules);
    }
  }
  void judge(const list_t& list, std::uint32_t first, std::uint32_t end, const std::vector<range_piece>& pieces, const plan_rules& rules) {
    const spec_t& head = (*array_)[first].spec;
    std::vector<cover> covers;
    bool whole = pieces.empty();
    std::uint64_t total = 0;
    for (const range_piece& p : pieces) {
      covers.push_back(*cover::make(p, {head.range_invalidation, head.wide_scale, rules.policy, rules.address_bits, rules.entry_limit}));
      whole = whole || covers.back().whole_tag();
      total += covers.back().count();
    }
    whole = whole || total > (rules.command_limit != 0 ? rules.command_limit : 1u << 24);

    unsigned unit = 0;
    for (std::uint32_t i = first; i != end; ++i)
      if ((*array_)[i].live() && (*array_)[i].spec.type == entry_type::ats) unit = std::max<unsigned>(unit, (*array_)[i].spec.stu);
    std::array<std::vector<command>, 3> phases;
    std::set<std::array<std::uint64_t, 3>> said;
    for (std::uint32_t i = first; i != end; ++i) {
      const spec_t& e = (*array_)[i].spec;
      require(e.instance == head.instance, "a list of two instances");
      if (!(*array_)[i].live()) continue;
      const bool full = e.type == entry_type::ats_full;
      if (!said.insert({static_cast<std::uint64_t>(e.type), full ? e.whole_word() : e.tag_word, 0}).second) continue;
      auto& out = phases[static_cast<unsigned>(phase_of(e.type))];
      if (phase_of(e.type) == phase::tlb) {
        if (whole) out.push_back({e.whole_word(), 0});
        for (const cover& c : covers)
          for (std::uint32_t k = 0; !whole && k != c.count(); ++k) out.push_back({e.tag_word | c.operand(k).dw0(), c.operand(k).dw1()});
      } else if (e.type == entry_type::s2_vmid_s1_clear) {
        if (!whole) out.push_back({e.whole_word(), 0});
      } else if (full || pieces.empty()) {
        out.push_back({e.whole_word(), 52});
      } else {
        for (const range_piece& p : pieces) {
          const auto spans = *atc_cover<4>::make(p.address, p.bytes, 12 + unit, rules.atc_spans);
          for (const atc_span& a : spans.spans()) out.push_back({e.tag_word, a.address | a.size});
        }
      }
    }
    std::vector<command> expected;
    for (const auto& part : phases) {
      if (!expected.empty() && !part.empty()) expected.push_back({0x46, 0});
      expected.insert(expected.end(), part.begin(), part.end());
    }
    if (expected.size() > 20'000) return;  // without range invalidation; the shape is the same
    require(list.size() == expected.size(), "a list of another length");
    std::vector<command> walked;
    list.emit(0, list.size(), [&](command c) { walked.push_back(c); });
    require(walked == expected, "a list of other commands");
    // And any part of it.
    const std::uint32_t from = expected.empty() ? 0 : in_.u8() % list.size();
    const std::uint32_t count = expected.empty() ? 0 : in_.u8() % (list.size() - from + 1);
    std::vector<command> some;
    list.emit(from, count, [&](command c) { some.push_back(c); });
    require(std::equal(some.begin(), some.end(), expected.begin() + from, expected.begin() + from + count), "part of a list");
  }

  users_of truth_users() const {
    users_of all;
    for (const auto& [key, copies] : truth_)
      for (const copy& c : copies) all[key].push_back(c.users);
    return all;
  }
  users_of holder_users() const {
    users_of all;
    for (const sets& s : held_) {
      std::map<entry_key, std::size_t> nth;
      for (const spec_t& e : s) {
        auto& users = all[e.key()];
        const std::size_t n = nth[e.key()]++;
        if (n == users.size()) users.push_back(0);
        ++users[n];
      }
    }
    return all;
  }

  fuzz::input& in_;
  std::array<std::optional<recording_port>, 2> ports_;
  array_t* array_{};
  algebra truth_;
  std::vector<sets> held_;
  bool proper_{true};
  std::vector<std::unique_ptr<env::rcu::guard>> readers_;
  std::vector<std::pair<array_t*, snapshot>> old_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::input in{data, size};
  if (!in.tagged()) return -1;
  world() = invs_test::env_state{};
  history h{in, in.u8()};
  for (unsigned steps = 0; steps != 200 && !in.empty(); ++steps) h.step();
  h.finish();
  return 0;
}
