#include "tests/sim/campaign.h"

#include <fmt/format.h>

#include "storage/base/filesystem.h"
#include "storage/base/status.h"

namespace umbra::sim {

void RunSeeds(uint64_t first, int64_t count, bool verbose, Campaign* campaign) {
  for (int64_t i = 0; i < count && campaign->failed.size() < kFailuresMax; ++i) {
    RunResult result = RunSeed(first + i, verbose);
    ++campaign->run_count;
    campaign->step_count += result.step_count;
    campaign->probes.Add(result.probes);
    if (!result.violations.empty()) campaign->failed.push_back(std::move(result));
  }
}

std::vector<uint64_t> ReadSeeds(const std::string& path) {
  base::PosixFilesystem files;
  const auto text = files.ReadFile(path);
  UMBRA_CHECK(text.ok());
  std::vector<uint64_t> seeds;
  for (size_t at = 0; at < text->size();) {
    const size_t end = std::min(text->find('\n', at), text->size());
    const std::string line = text->substr(at, end - at);
    if (!line.empty() && line[0] != '#') seeds.push_back(std::stoull(line));
    at = end + 1;
  }
  return seeds;
}

std::string Report(const RunResult& result) {
  std::string text = fmt::format("seed {} ({})\n", result.seed, result.plan);
  for (const std::string& violation : result.violations) text += fmt::format("  {}\n", violation);
  return text + fmt::format("  again: tests/sim/run --seed {} -v\n", result.seed);
}

}  // namespace umbra::sim
