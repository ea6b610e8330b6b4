// SPDX-License-Identifier: MIT
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <shootdown/invs/array.hpp>
#include <shootdown/invs/entry.hpp>

#include "invs/single_env.hpp"
#include "support/recording_port.hpp"

namespace invs_test {

using namespace shootdown;
using test_support::recorded_list;
using test_support::recording_port;
using env = single_env;
using array_t = entry_array<env, recording_port>;
using entry_t = entry<env, recording_port>;
using spec_t = entry_spec<recording_port>;

/// Resets the environment, and demands at the end that nothing leaked and no contract was violated.
class fixture : public ::testing::Test {
 protected:
  void SetUp() override { state() = env_state{}; }
  void TearDown() override {
    env::rcu::drain();
    EXPECT_EQ(state().live_blocks, 0u);
    EXPECT_EQ(state().guards, 0u);
    EXPECT_EQ(state().failures, expected_failures);
  }
  std::vector<std::string> expected_failures;
};

/// A right side: entries built in place (they do not move).
class right_side {
 public:
  right_side() = default;
  explicit right_side(const std::vector<spec_t>& specs) : entries_{std::make_unique<entry_t[]>(specs.size())}, n_{specs.size()} {
    for (std::size_t i = 0; i != n_; ++i) entries_[i].spec = specs[i];
  }
  operator std::span<entry_t>() { return {entries_.get(), n_}; }
  std::span<const entry_t> view() const { return {entries_.get(), n_}; }
  std::vector<std::uint32_t> users() const {
    std::vector<std::uint32_t> v;
    for (std::size_t i = 0; i != n_; ++i) v.push_back(entries_[i].users());
    return v;
  }

 private:
  std::unique_ptr<entry_t[]> entries_;
  std::size_t n_{};
};

inline spec_t s1(recording_port& p, unsigned as) { return *spec_t::stage1(p, asid{static_cast<std::uint16_t>(as)}, granule::k4); }
inline spec_t s2(recording_port& p, unsigned vm, entry_type t = entry_type::s2_vmid) {
  return *spec_t::stage2(p, t, vmid{static_cast<std::uint16_t>(vm)}, granule::k4);
}
inline spec_t clear_s1(recording_port& p, unsigned vm) { return s2(p, vm, entry_type::s2_vmid_s1_clear); }
inline spec_t ats(recording_port& p, unsigned sid, unsigned pasid = 0, entry_type t = entry_type::ats, unsigned stu = 0) {
  return *spec_t::device(p, t, stream_id{sid}, substream_id{pasid}, static_cast<std::uint8_t>(stu));
}

struct row {
  std::vector<std::uint32_t> ids, users, pasids;
  std::uint32_t count, trash;
  friend bool operator==(const row&, const row&) = default;
};
inline row look(const array_t& a) {
  row r{{}, {}, {}, a.count(), a.trash()};
  for (std::uint32_t i = 0; i != a.count(); ++i) {
    r.ids.push_back(a[i].spec.id());
    r.users.push_back(a[i].users());
    r.pasids.push_back(raw(a[i].spec.pasid()));
  }
  return r;
}
inline void PrintTo(const row& r, std::ostream* out) {
  *out << ::testing::PrintToString(r.ids) << " users " << ::testing::PrintToString(r.users) << " pasids "
       << ::testing::PrintToString(r.pasids) << " count " << r.count << " trash " << r.trash;
}

}  // namespace invs_test
