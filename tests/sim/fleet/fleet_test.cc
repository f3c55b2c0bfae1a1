// Proves that a fleet keeps its promises whatever goes wrong: whole runs of the server's and the agents' rooms under
// one seed, and that breaking a rule on purpose is noticed.
//
// UMBRA_FLEET_SEED and UMBRA_FLEET_RUNS choose other seeds than the ones below.
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>

#include "storage/base/log.h"
#include "tests/sim/campaign.h"
#include "tests/sim/fleet/world.h"

namespace umbra::sim::fleet {
namespace {

constexpr int64_t kRunCount = 60;
// A rule that is broken is noticed by one of so many seeds.
constexpr uint64_t kFlawSeeds = 60;

int64_t Setting(const char* name, int64_t otherwise) {
  const char* value = std::getenv(name);
  return value == nullptr ? otherwise : std::atoll(value);
}

class Fleet : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { base::SetUpLogging({.level = "off"}); }
};

TEST_F(Fleet, OneSeedIsOneRun) {
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    const FleetResult once = RunFleet(seed), again = RunFleet(seed);
    EXPECT_EQ(once.fingerprint, again.fingerprint) << "seed " << seed;
    EXPECT_EQ(once.step_count, again.step_count) << "seed " << seed;
  }
}

TEST_F(Fleet, SeedsOfFixedBugsStayFixed) {
  for (const uint64_t seed : ReadSeeds(UMBRA_FLEET_SEEDS)) {
    const FleetResult result = RunFleet(seed);
    EXPECT_TRUE(result.violations.empty()) << Report(result);
  }
}

TEST_F(Fleet, WhatMustHoldHolds) {
  const auto first = static_cast<uint64_t>(Setting("UMBRA_FLEET_SEED", 1));
  const int64_t count = Setting("UMBRA_FLEET_RUNS", kRunCount);
  std::printf("first seed %llu, %lld runs\n", static_cast<unsigned long long>(first), static_cast<long long>(count));
  std::map<std::string, int64_t> reached;
  for (int64_t i = 0; i < count; ++i) {
    const FleetResult result = RunFleet(first + static_cast<uint64_t>(i));
    EXPECT_TRUE(result.violations.empty()) << Report(result);
    for (const auto& [name, times] : result.reached) reached[name] += times;
    if (::testing::Test::HasFailure()) return;  // one is enough to begin with
  }
  if (count < kRunCount) return;
  for (const std::string& path : RarePaths()) EXPECT_GT(reached[path], 0) << "never reached: " << path;
}

class FleetFlaw : public Fleet, public ::testing::WithParamInterface<Flaw> {};

TEST_P(FleetFlaw, IsNoticed) {
  for (uint64_t seed = 1; seed <= kFlawSeeds; ++seed) {
    if (!RunFleet(seed, false, GetParam()).violations.empty()) return;
  }
  ADD_FAILURE() << "a broken rule that nobody notices";
}

INSTANTIATE_TEST_SUITE_P(All, FleetFlaw, ::testing::ValuesIn(kFlaws), [](const auto& info) {
  std::string name(NameOf(info.param));
  std::erase(name, '-');
  return name;
});

}  // namespace
}  // namespace umbra::sim::fleet
