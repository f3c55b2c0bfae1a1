// Repeats runs of a fleet, or looks for seeds that break it.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <map>
#include <string>

#include "absl/time/clock.h"
#include "storage/base/log.h"
#include "tests/sim/fleet/world.h"

namespace umbra::sim::fleet {
namespace {

Flaw FlawOf(const std::string& name) {
  for (const Flaw flaw : kFlaws) {
    if (NameOf(flaw) == name) return flaw;
  }
  return Flaw::kNone;
}

int Main(int argc, char** argv) {
  uint64_t seed = 1;
  int64_t runs = 1;
  bool verbose = false, probes = false;
  std::string flaw, level;
  CLI::App app("Simulates a fleet under one seed on a simulated clock, network and disk.", "tests/sim/run --fleet");
  app.add_option("--seed", seed, "First seed (default 1)");
  app.add_option("--runs", runs, "How many seeds (default 1)");
  app.add_option("--flaw", flaw,
                 "Break this rule: unfenced, due-before-submit, no-job-recovery, no-healing, no-sync, "
                 "lost-changes, event-lost");
  app.add_flag("-v,--verbose", verbose, "Print everything that happens");
  app.add_flag("--probes", probes, "Print how often rare paths were reached");
  CLI11_PARSE(app, argc, argv);
  base::SetUpLogging({.level = verbose ? "info" : "off"});
  std::map<std::string, int64_t> reached;
  int64_t done = 0, failed = 0, steps = 0;
  const absl::Time start = absl::Now();
  for (; done < runs && failed < 5; ++done) {
    const FleetResult result = RunFleet(seed + static_cast<uint64_t>(done), verbose, FlawOf(flaw));
    steps += result.step_count;
    for (const auto& [name, count] : result.reached) reached[name] += count;
    if (runs == 1) std::printf("fingerprint %016llx\n", static_cast<unsigned long long>(result.fingerprint));
    if (result.violations.empty()) continue;
    ++failed;
    std::fputs(Report(result).c_str(), stdout);
  }
  if (probes) {
    for (const auto& [name, count] : reached) std::printf("%9lld  %s\n", static_cast<long long>(count), name.c_str());
  }
  std::printf("fleets: %lld runs from seed %llu, %lld steps, %.1f s, %lld failed\n", static_cast<long long>(done),
              static_cast<unsigned long long>(seed), static_cast<long long>(steps),
              absl::ToDoubleSeconds(absl::Now() - start), static_cast<long long>(failed));
  return failed == 0 ? 0 : 1;
}

}  // namespace
}  // namespace umbra::sim::fleet

int main(int argc, char** argv) {
  return umbra::sim::fleet::Main(argc, argv);
}
