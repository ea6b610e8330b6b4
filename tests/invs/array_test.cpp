// SPDX-License-Identifier: MIT
#include <algorithm>
#include <map>
#include <random>
#include <tuple>

#include <gtest/gtest.h>

#include "invs/fixture.hpp"

namespace {
using namespace invs_test;

class array_test : public fixture {
 protected:
  ~array_test() override { array_t::destroy(a); }
  void TearDown() override {
    array_t::destroy(std::exchange(a, nullptr));
    fixture::TearDown();
  }
  void merge(right_side& r) { replace(array_t::merge(a, r.view())); }
  void replace(result<array_t*> next) {
    ASSERT_TRUE(next.ok());
    array_t::destroy(std::exchange(a, *next));
    ASSERT_TRUE(a->check_invariants());
  }
  void unref(right_side& r) {
    ASSERT_TRUE(a->unref(r).ok());
    ASSERT_TRUE(a->check_invariants());
  }
  void purge() {
    array_t* const next = array_t::purge(a);
    ASSERT_NE(next, nullptr);
    replace(next);
  }
  recording_port p{0};
  array_t* a{};
};

using counts = std::vector<std::uint32_t>;

TEST_F(array_test, published_vectors) {
  right_side invs1{{s2(p, 1), clear_s1(p, 1), ats(p, 3)}};
  right_side invs2{{s2(p, 1), ats(p, 4), ats(p, 5)}};
  right_side invs3{{s2(p, 1), ats(p, 5), ats(p, 6)}};
  right_side invs4{{ats(p, 10, 1), ats(p, 10, 3), ats(p, 12, 1)}};
  right_side invs5{{ats(p, 10, 2), ats(p, 10, 3), ats(p, 12, 2)}};

  replace(array_t::merge(nullptr, {}));
  EXPECT_EQ(look(*a), (row{{}, {}, {}, 0, 0})) << "test 0";
  merge(invs1);
  EXPECT_EQ(look(*a), (row{{1, 1, 3}, {1, 1, 1}, {0, 0, 0}, 3, 0})) << "test 1";
  merge(invs2);
  EXPECT_EQ(look(*a), (row{{1, 1, 3, 4, 5}, {2, 1, 1, 1, 1}, {0, 0, 0, 0, 0}, 5, 0})) << "test 2";
  unref(invs2);
  EXPECT_EQ(look(*a), (row{{1, 1, 3}, {1, 1, 1}, {0, 0, 0}, 3, 0})) << "test 3";
  EXPECT_EQ(invs2.users(), (counts{1, 0, 0})) << "test 3";
  merge(invs3);
  EXPECT_EQ(look(*a), (row{{1, 1, 3, 5, 6}, {2, 1, 1, 1, 1}, {0, 0, 0, 0, 0}, 5, 0})) << "test 4";
  unref(invs1);
  EXPECT_EQ(look(*a), (row{{1, 1, 3, 5, 6}, {1, 0, 0, 1, 1}, {0, 0, 0, 0, 0}, 5, 2})) << "test 5";
  EXPECT_EQ(invs1.users(), (counts{1, 0, 0})) << "test 5";
  purge();
  EXPECT_EQ(look(*a), (row{{1, 5, 6}, {1, 1, 1}, {0, 0, 0}, 3, 0})) << "test 6";
  unref(invs3);
  EXPECT_EQ(look(*a), (row{{}, {}, {}, 0, 0})) << "test 7";
  EXPECT_EQ(invs3.users(), (counts{0, 0, 0})) << "test 7";
  merge(invs4);
  EXPECT_EQ(look(*a), (row{{10, 10, 12}, {1, 1, 1}, {1, 3, 1}, 3, 0})) << "test 8";
  merge(invs5);
  EXPECT_EQ(look(*a), (row{{10, 10, 10, 12, 12}, {1, 1, 2, 1, 1}, {1, 2, 3, 1, 2}, 5, 0})) << "test 9";
  unref(invs5);
  EXPECT_EQ(look(*a), (row{{10, 10, 10, 12}, {1, 0, 1, 1}, {1, 2, 3, 1}, 4, 1})) << "test 10";
  EXPECT_EQ(invs5.users(), (counts{0, 1, 0})) << "test 10";
  purge();
  EXPECT_EQ(look(*a), (row{{10, 10, 12}, {1, 1, 1}, {1, 3, 1}, 3, 0})) << "test 11";
}

TEST_F(array_test, merge_recovers_a_key_from_trash) {
  right_side first{{ats(p, 1)}}, second{{ats(p, 2)}};
  merge(first);
  merge(second);
  unref(first);
  EXPECT_EQ(look(*a), (row{{1, 2}, {0, 1}, {0, 0}, 2, 1}));
  merge(first);
  EXPECT_EQ(look(*a), (row{{1, 2}, {1, 1}, {0, 0}, 2, 0}));
}

TEST_F(array_test, a_device_listed_twice_pairs_one_to_one) {
  right_side twice{{ats(p, 7), ats(p, 7)}};
  merge(twice);
  merge(twice);
  EXPECT_EQ(look(*a), (row{{7, 7}, {2, 2}, {0, 0}, 2, 0}));
  unref(twice);
  EXPECT_EQ(look(*a), (row{{7, 7}, {1, 1}, {0, 0}, 2, 0}));
  unref(twice);
  EXPECT_EQ(look(*a), (row{{}, {}, {}, 0, 0}));
}

TEST_F(array_test, instances_come_before_types) {
  recording_port q{1};
  right_side of_q{{s1(q, 1), ats(q, 5)}}, of_p{{s1(p, 9), ats(p, 8)}};
  merge(of_q);
  merge(of_p);
  EXPECT_EQ(look(*a), (row{{9, 8, 1, 5}, {1, 1, 1, 1}, {0, 0, 0, 0}, 4, 0}));
  EXPECT_EQ((*a)[0].spec.port, &p);
  EXPECT_EQ((*a)[2].spec.port, &q);
}

TEST_F(array_test, unref_of_an_absent_key_changes_nothing) {
  right_side some{{s2(p, 1), ats(p, 3), ats(p, 5)}}, mixed{{s2(p, 1), ats(p, 4)}}, dead{{ats(p, 3)}}, twice{{ats(p, 5), ats(p, 5)}};
  merge(some);
  EXPECT_EQ(a->unref(mixed).code(), errc::not_present);
  EXPECT_EQ(a->unref(twice).code(), errc::not_present) << "each user counts once";
  EXPECT_EQ(look(*a), (row{{1, 3, 5}, {1, 1, 1}, {0, 0, 0}, 3, 0}));
  unref(dead);
  const auto before = look(*a);
  EXPECT_EQ(a->unref(dead).code(), errc::not_present) << "trash is absent";
  EXPECT_EQ(look(*a), before);
}

TEST_F(array_test, merge_without_memory_leaves_the_old_array) {
  right_side one{{s1(p, 1)}}, two{{s1(p, 2)}};
  merge(one);
  state().fail_allocations = 1;
  EXPECT_EQ(array_t::merge(a, two.view()).code(), errc::no_memory);
  EXPECT_EQ(look(*a), (row{{1}, {1}, {0}, 1, 0}));
}

TEST_F(array_test, merge_refuses_an_unsorted_right_side) {
  right_side wrong{{ats(p, 2), ats(p, 1)}};
  EXPECT_EQ(array_t::merge(a, wrong.view()).code(), errc::invalid_argument);
  EXPECT_EQ(state().allocations, 0u);
}

TEST_F(array_test, purge_without_memory_leaves_trash_that_a_merge_drops) {
  right_side one{{s1(p, 1)}}, two{{s1(p, 2)}}, three{{s1(p, 3)}};
  merge(one);
  merge(two);
  unref(one);
  state().fail_allocations = 1;
  EXPECT_EQ(array_t::purge(a), nullptr);
  EXPECT_EQ(look(*a), (row{{1, 2}, {0, 1}, {0, 0}, 2, 1}));
  merge(three);
  EXPECT_EQ(look(*a), (row{{2, 3}, {1, 1}, {0, 0}, 2, 0}));
}

TEST_F(array_test, purge_of_a_clean_or_empty_array_is_null) {
  right_side one{{s1(p, 1)}};
  EXPECT_EQ(array_t::purge(nullptr), nullptr);
  merge(one);
  EXPECT_EQ(array_t::purge(a), nullptr);
  unref(one);
  EXPECT_EQ(array_t::purge(a), nullptr);
}

TEST_F(array_test, has_ats_turns_false_only_by_a_copy) {
  right_side tlb{{s1(p, 1)}}, device{{ats(p, 1)}};
  merge(device);
  merge(tlb);
  EXPECT_TRUE(a->has_ats());
  unref(device);
  EXPECT_TRUE(a->has_ats());
  right_side other{{s1(p, 2)}};
  merge(other);
  EXPECT_FALSE(a->has_ats());
}

TEST_F(array_test, purge_drops_a_mark_that_holds_no_longer_without_any_trash) {
  right_side tlb{{s1(p, 1)}}, device{{ats(p, 1)}};
  merge(tlb);
  merge(device);
  unref(device);
  ASSERT_EQ(a->trash(), 0u) << "the device's entry was the last: cut off";
  ASSERT_TRUE(a->has_ats());
  purge();
  EXPECT_FALSE(a->has_ats());
  EXPECT_EQ(look(*a), (row{{1}, {1}, {0}, 1, 0}));
  EXPECT_EQ(array_t::purge(a), nullptr);
}

TEST_F(array_test, of_two_units_of_one_device_the_larger_serves_both) {
  right_side fine{{ats(p, 7, 0, entry_type::ats, 0)}}, coarse{{ats(p, 7, 0, entry_type::ats, 4)}};
  merge(fine);
  merge(coarse);
  ASSERT_EQ(a->count(), 1u);
  EXPECT_EQ((*a)[0].spec.stu, 4u);
  merge(fine);
  EXPECT_EQ((*a)[0].spec.stu, 4u);
  EXPECT_EQ((*a)[0].users(), 3u);
}

TEST_F(array_test, retire_frees_only_after_the_readers) {
  right_side one{{s1(p, 1)}};
  merge(one);
  {
    const env::rcu::guard reader;
    array_t* const old = std::exchange(a, nullptr);
    array_t::retire(old);
    EXPECT_EQ(state().live_blocks, 1u);
    EXPECT_EQ(old->count(), 1u);
  }
  env::rcu::drain();
  EXPECT_EQ(state().live_blocks, 0u);
}

TEST_F(array_test, invariants_notice_disorder_and_uncounted_trash) {
  right_side pair{{s1(p, 1), s1(p, 2)}};
  merge(pair);
  auto& first = const_cast<entry_t&>((*a)[0]);
  first.set_users(0);
  EXPECT_FALSE(a->check_invariants()) << "trash that nobody counted";
  first.set_users(1);
  first.spec = s1(p, 3);
  EXPECT_FALSE(a->check_invariants()) << "not sorted";
  first.spec = s1(p, 1);
  EXPECT_TRUE(a->check_invariants());
  const_cast<entry_t&>((*a)[1]).set_users(0);
  EXPECT_FALSE(a->check_invariants()) << "trash at the end";
  const_cast<entry_t&>((*a)[1]).set_users(1);
}

// Random histories against a multiset of keys: users are the number of attachments that hold the n-th copy of a key.
TEST_F(array_test, random_histories_match_a_multiset) {
  recording_port q{1};
  std::mt19937 random{20240607};
  const auto below = [&](unsigned n) { return static_cast<unsigned>(random() % n); };
  for (int round = 0; round != 60; ++round) {
    std::vector<std::vector<spec_t>> held;
    for (int step = 0; step != 60; ++step) {
      if (held.empty() || below(3) != 0) {
        std::vector<spec_t> specs;
        for (unsigned i = 0, n = 1 + below(4); i != n; ++i) {
          recording_port& port = below(2) != 0 ? p : q;
          switch (below(4)) {
            case 0: specs.push_back(s1(port, 1 + below(3))); break;
            case 1: specs.push_back(s2(port, 1 + below(3))); break;
            case 2: specs.push_back(clear_s1(port, 1 + below(3))); break;
            default: specs.push_back(ats(port, below(3), below(2))); break;
          }
        }
        std::sort(specs.begin(), specs.end(), [](const spec_t& x, const spec_t& y) { return x.key() < y.key(); });
        right_side r{specs};
        if (below(8) == 0) {
          state().fail_allocations = 1;
          const row before = a == nullptr ? row{} : look(*a);
          EXPECT_EQ(array_t::merge(a, r.view()).code(), errc::no_memory);
          EXPECT_EQ(a == nullptr ? row{} : look(*a), before);
        }
        merge(r);
        held.push_back(specs);
      } else {
        const unsigned k = below(static_cast<unsigned>(held.size()));
        right_side r{held[k]};
        unref(r);
        held.erase(held.begin() + k);
        std::map<entry_key, std::vector<std::uint32_t>> left;  // per key: users of its copies, in array order
        for (std::uint32_t i = 0; i != a->count(); ++i) left[(*a)[i].spec.key()].push_back((*a)[i].users());
        std::size_t i = 0;
        for (const auto answer : r.users()) {
          const auto& copies = left[r.view()[i++].spec.key()];
          if (answer != 0) {
            EXPECT_TRUE(std::any_of(copies.begin(), copies.end(), [](auto u) { return u != 0; }));
          }
        }
      }
      if (below(5) == 0) {
        if (array_t* const next = array_t::purge(a)) replace(next);
      }
      // The oracle: for each key, how many users in all, and at least as many copies as the longest repetition of a holder.
      std::map<entry_key, std::uint32_t> expected, actual;
      std::map<entry_key, std::uint32_t> copies_needed, copies;
      for (const auto& h : held) {
        std::map<entry_key, std::uint32_t> here;
        for (const auto& s : h) {
          ++expected[s.key()];
          copies_needed[s.key()] = std::max(copies_needed[s.key()], ++here[s.key()]);
        }
      }
      for (std::uint32_t i = 0; i != a->count(); ++i) {
        if ((*a)[i].live()) {
          actual[(*a)[i].spec.key()] += (*a)[i].users();
          ++copies[(*a)[i].spec.key()];
        }
      }
      ASSERT_EQ(actual, expected) << "round " << round << " step " << step;
      ASSERT_EQ(copies, copies_needed) << "round " << round << " step " << step;
    }
    array_t::destroy(std::exchange(a, nullptr));
  }
}

}  // namespace
