// Proves that whatever goes wrong, guests and applications are thawed, nothing is left behind, and what was captured is
// what was there: thousands of runs of the real engine, writer and healing, each under one seed.
//
// UMBRA_SIM_SEED and UMBRA_SIM_RUNS choose other seeds than the ones below.
#include <gtest/gtest.h>

#include <cstdlib>

#include "storage/base/log.h"
#include "tests/sim/campaign.h"

namespace umbra::sim {
namespace {

constexpr int64_t kRunCount = 6000;

int64_t Setting(const char* name, int64_t otherwise) {
  const char* value = std::getenv(name);
  return value == nullptr ? otherwise : std::atoll(value);
}

class Simulation : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { base::SetUpLogging({.level = "off"}); }
};

TEST_F(Simulation, OneSeedIsOneRun) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    const RunResult once = RunSeed(seed), again = RunSeed(seed);
    EXPECT_EQ(once.fingerprint, again.fingerprint) << "seed " << seed;
    EXPECT_EQ(once.step_count, again.step_count) << "seed " << seed;
  }
}

TEST_F(Simulation, SeedsOfFixedBugsStayFixed) {
  for (const uint64_t seed : ReadSeeds(UMBRA_SIM_SEEDS)) {
    const RunResult result = RunSeed(seed);
    EXPECT_TRUE(result.violations.empty()) << Report(result);
  }
}

TEST_F(Simulation, WhatMustHoldHoldsAndRarePathsAreReached) {
  const auto first = static_cast<uint64_t>(Setting("UMBRA_SIM_SEED", 1));
  const int64_t count = Setting("UMBRA_SIM_RUNS", kRunCount);
  std::printf("first seed %llu, %lld runs\n", static_cast<unsigned long long>(first), static_cast<long long>(count));
  Campaign campaign;
  RunSeeds(first, count, false, &campaign);
  for (const RunResult& result : campaign.failed) ADD_FAILURE() << Report(result);
  if (!campaign.failed.empty() || count < kRunCount) return;
  for (const std::string& probe : campaign.probes.Unreached()) ADD_FAILURE() << "never reached: " << probe;
}

}  // namespace
}  // namespace umbra::sim
