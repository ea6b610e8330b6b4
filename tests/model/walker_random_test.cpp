// SPDX-License-Identifier: MIT
#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <shootdown/model/random.hpp>

#include "hand_formats.hpp"
#include "reference_walker.hpp"

// Random tables of random formats: the walker, cold and warm, against the cache-less reference.
namespace {
using namespace shootdown;
using namespace shootdown::model;
using namespace model_test;
using rig_type = format_rig<test_env>;
using tree = hand_tree<test_env>;
using nested = nested_space<test_env>;

struct random_world {
  prng chance;
  rig_type r;
  unsigned config;
  std::unique_ptr<nested> both;
  std::unique_ptr<tree> one;  // config 5, or 6
  tree* s1{};
  tree* s2{};
  unsigned bits1{};
  unsigned bits2{};
  bool upper{};
  std::uint64_t cd{};
  std::array<std::uint64_t, 8> ste{};
  std::vector<std::uint64_t> inputs;

  random_world(std::uint64_t seed, unsigned kind) : chance{seed}, config{kind} {
    r.setup.contiguous_runs = false;  // runs whose leaves differ have no single answer
    const unsigned g1 = pick({12u, 14u, 16u});
    bits1 = 25 + static_cast<unsigned>(chance.below(24));
    const unsigned g2 = pick({12u, 14u, 16u});
    // Start levels and widths of stage 2 that fit one another and hold the lifted tables (below 2^32).
    const auto [start2, low, high] = g2 == 12   ? (chance.below(2) != 0 ? shape{1, 33, 43} : shape{0, 43, 48})
                                     : g2 == 14 ? (chance.below(2) != 0 ? shape{2, 33, 40} : shape{1, 41, 48})
                                                : (chance.below(2) != 0 ? shape{2, 33, 46} : shape{1, 43, 48});
    bits2 = low + static_cast<unsigned>(chance.below(high - low + 1));
    const bool big1 = chance.below(4) == 0;
    const bool big2 = chance.below(4) == 0;
    const std::uint16_t vm = 7;
    if (config == 7) {
      both = std::make_unique<nested>(r, g1, bits1, g2, bits2, start2, vm, big1, big2);
      s1 = &both->s1;
      s2 = &both->s2;
      both->cd_f.ips = static_cast<unsigned>(3 + chance.below(3));
      both->ste_f.s2_ps = static_cast<unsigned>(3 + chance.below(3));
      both->ste_f.s2_protect = chance.below(2) != 0;
      r.write_entry(both->cd, cd_words(both->cd_f));
      ste = ste_words(both->ste_f);
    } else if (config == 6) {
      one = std::make_unique<tree>(r, g2, bits2, start2, 0, std::function<void(std::uint64_t, std::uint64_t)>{}, big2);
      s2 = one.get();
      ste = ste_words(
          {.config = 6, .vm = vm, .s2_root = one->root(), .s2_bits = bits2, .s2_g = g2, .s2_start = start2, .s2_ps = 4, .s2_big = big2});
    } else {
      upper = chance.below(2) != 0;
      one = std::make_unique<tree>(r, g1, bits1, first_level(g1, bits1), 0, std::function<void(std::uint64_t, std::uint64_t)>{}, big1);
      s1 = one.get();
      cd = r.take(64, 64);
      cd_fields f{.half0 = !upper, .half1 = upper, .big = big1, .ips = 4};
      (upper ? f.ttb1 : f.ttb0) = one->root();
      (upper ? f.bits1 : f.bits0) = bits1;
      (upper ? f.g1 : f.g0) = g1;
      r.write_entry(cd, cd_words(f));
      ste = ste_words({.contexts = cd, .vm = vm});
    }
    r.set_ste(8, ste);
    const unsigned bits = config == 6 ? bits2 : bits1;
    for (unsigned i = 0; i != 12; ++i) inputs.push_back(chance.next() >> (64 - bits) & ~std::uint64_t{7});
  }
  struct shape {
    unsigned start, low, high;
  };
  unsigned pick(std::initializer_list<unsigned> l) { return l.begin()[chance.below(l.size())]; }
  bool rare() { return chance.below(6) == 0; }

  std::uint64_t spoil(std::uint64_t w) {
    if (rare()) w ^= word::access_flag;
    if (rare()) w ^= std::uint64_t{1} << 6;
    if (rare()) w ^= std::uint64_t{1} << 7;
    if (rare()) w &= ~std::uint64_t{1};
    if (rare()) w ^= 2;
    if (rare()) w |= word::contiguous;
    if (rare()) w |= std::uint64_t{1} << (40 + chance.below(8));
    if (rare()) w &= ~word::normal | (std::uint64_t{3} << 2);
    return w;
  }
  unsigned leaf_level(tree& t, std::uint64_t x) {
    // Where the lifted tables are only pages change, lest hardly any walk gets beyond them.
    if (config == 7 && &t == s2 && x >> 30 == (rig_type::base + nested::lift) >> 30) return 3;
    const unsigned g = t.page_log2();
    const unsigned top = std::max(t.start(), g == 12 ? 1u : 2u);
    return std::max(top, 3 - static_cast<unsigned>(chance.below(3)));
  }
  void map(tree& t, std::uint64_t x, std::uint64_t out, std::uint64_t attributes) {
    const unsigned level = leaf_level(t, x);
    const std::uint64_t mask = (std::uint64_t{1} << leaf_log2(t.page_log2(), level)) - 1;
    const std::uint64_t w = word::leaf(out & ~mask, level, attributes);
    t.map(x, level, chance.below(3) == 0 ? spoil(w) : w);
    if (chance.below(config == 7 ? 24 : 8) == 0 && t.start() < level) {  // a pointer on the way restricts, or leads nowhere
      const unsigned above = t.start() + static_cast<unsigned>(chance.below(level - t.start()));
      const std::uint64_t at = t.slot(x, above);
      r.write(at, r.read(at) ^ (chance.below(3) == 0 ? std::uint64_t{1} << 47 : std::uint64_t{1} << (61 + chance.below(2))));
    }
  }
  void change() {
    const std::uint64_t x = inputs[chance.below(inputs.size())];
    if (config == 6) return map(*s2, x, chance.next() >> 17, word::s2);
    const std::uint64_t to = config == 7 ? chance.next() >> (64 - std::min(bits2, 42u)) : chance.next() >> 17;
    map(*s1, x, to, word::s1 ^ (chance.below(3) == 0 ? word::not_global : 0));
    if (config == 7) {
      // Where stage 1 now sends x, whatever it is, or any page of stage 2: a table of stage 1 among them.
      const bool lifted = chance.below(12) == 0;
      const std::uint64_t ipa = lifted ? rig_type::base + nested::lift + chance.below(1u << 19) : to | (x & 0x1fff'ffff);
      if ((ipa >> bits2) == 0) map(*s2, ipa, lifted && chance.below(4) != 0 ? ipa - nested::lift : chance.next() >> 17, word::s2);
      if (chance.below(8) != 0) both->lift_up(both->cd, 64);
      if (chance.below(3) != 0 && (to >> bits2) == 0) map(*s2, to, chance.next() >> 17, word::s2);
    }
  }
  reference_walker::answer expected(std::uint64_t x, const request& a) {
    reference_walker w{[this](std::uint64_t at) -> std::optional<std::uint64_t> {
                         const auto v = r.m.load64(bus_addr{at});
                         return v.ok() ? std::optional{*v} : std::nullopt;
                       },
                       ste.data()};
    return w.translate(x, {a.write, a.privileged});
  }
  std::uint64_t input() {
    std::uint64_t x = inputs[chance.below(inputs.size())];
    if (chance.below(4) == 0) x ^= std::uint64_t{8} << chance.below(22);
    if (upper) x |= ~std::uint64_t{0} << bits1;
    if (chance.below(16) == 0) x ^= std::uint64_t{1} << (bits1 - 1 + chance.below(64 - bits1 + 1));
    return x;
  }
};

struct model_walker_random : testing::TestWithParam<unsigned> {};

TEST_P(model_walker_random, answers_as_the_reference_does_cold_and_warm) {
  std::map<std::string, unsigned> seen;
  for (std::uint64_t seed = 1; seed != 41; ++seed) {
    random_world w{seed * 977, GetParam()};
    for (unsigned round = 0; round != 4; ++round) {
      for (unsigned i = 0; i != 12; ++i) w.change();
      w.r.forget_everything();
      for (unsigned i = 0; i != 60; ++i) {
        const std::uint64_t x = w.input();
        request a = w.chance.below(2) != 0 ? request::store() : request::load();
        a.privileged = w.chance.below(3) == 0;
        const translation t = w.r.go(x, a);
        const reference_walker::answer e = w.expected(x, a);
        SCOPED_TRACE("seed " + std::to_string(seed) + " round " + std::to_string(round) + " query " + std::to_string(i));
        ASSERT_EQ(t.what == outcome::granted, e.granted) << name(t.event) << " for " << name(e.event);
        if (e.granted) {
          ASSERT_EQ(t.output, e.output);
          ++seen[t.from_tlb ? "warm" : "cold"];
          continue;
        }
        ASSERT_EQ(t.what, outcome::faulted);
        ASSERT_EQ(t.event, e.event) << name(t.event) << " for " << name(e.event);
        ASSERT_EQ(t.stage2, e.stage2);
        ASSERT_EQ(t.cls, e.cls);
        ASSERT_EQ(t.fetch, e.at);
        ++seen[std::string(name(t.event)) + (t.stage2 ? "_2_" : "_1_") + std::to_string(raw(t.cls))];
      }
    }
  }
  // The draw has met every outcome that the configuration can have.
  std::vector<std::string> must{"warm", "cold"};
  if (GetParam() != 6)
    for (const char* const f : {"F_TRANSLATION_1_2", "F_ADDR_SIZE_1_2", "F_ACCESS_1_2", "F_PERMISSION_1_2"}) must.emplace_back(f);
  if (GetParam() == 5) must.emplace_back("F_WALK_EABT_1_1");
  if (GetParam() != 5)
    for (const char* const f : {"F_TRANSLATION_2_2", "F_ADDR_SIZE_2_2", "F_ACCESS_2_2", "F_PERMISSION_2_2"}) must.emplace_back(f);
  if (GetParam() == 7) must.insert(must.end(), {"F_TRANSLATION_2_1", "F_PERMISSION_2_1", "F_WALK_EABT_2_2"});
  std::string all;
  for (const auto& [k, n] : seen) all += k + " " + std::to_string(n) + "\n";
  for (const std::string& k : must) EXPECT_GT(seen[k], 0u) << k << " of\n" << all;
}
INSTANTIATE_TEST_SUITE_P(config, model_walker_random, testing::Values(5u, 6u, 7u), [](const auto& i) {
  return std::string(i.param == 5 ? "stage_1" : i.param == 6 ? "stage_2" : "both_stages");
});

}  // namespace
