// Repeats runs of the simulation, or looks for seeds that break it.
#include <CLI/CLI.hpp>
#include <cstdio>

#include "absl/time/clock.h"
#include "storage/base/log.h"
#include "tests/sim/campaign.h"

namespace umbra::sim {
namespace {

int Main(int argc, char** argv) {
  uint64_t seed = 1;
  int64_t runs = 1;
  bool verbose = false, probes = false;
  CLI::App app("Simulates backups under one seed on a simulated clock.", "tests/sim/run");
  app.add_option("--seed", seed, "First seed (default 1)");
  app.add_option("--runs", runs, "How many seeds (default 1)");
  app.add_flag("-v,--verbose", verbose, "Print everything that happens");
  app.add_flag("--probes", probes, "Print how often rare paths were reached");
  CLI11_PARSE(app, argc, argv);
  base::SetUpLogging({.level = verbose ? "info" : "off"});
  Campaign campaign;
  const absl::Time start = absl::Now();
  RunSeeds(seed, runs, verbose, &campaign);
  for (const RunResult& result : campaign.failed) std::fputs(Report(result).c_str(), stdout);
  if (probes) {
    for (const auto& [name, count] : campaign.probes.counts())
      std::printf("%9lld  %s\n", static_cast<long long>(count), name.c_str());
  }
  std::printf("simulation: %lld runs from seed %llu, %lld steps, %.1f s, %zu failed\n",
              static_cast<long long>(campaign.run_count), static_cast<unsigned long long>(seed),
              static_cast<long long>(campaign.step_count), absl::ToDoubleSeconds(absl::Now() - start),
              campaign.failed.size());
  return campaign.failed.empty() ? 0 : 1;
}

}  // namespace
}  // namespace umbra::sim

int main(int argc, char** argv) {
  return umbra::sim::Main(argc, argv);
}
