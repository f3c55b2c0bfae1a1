// Proves crash safety: the N-th filesystem call fails, for every N, once or for good, with a full disk, an I/O error or a
// power cut; after each, every point whose commit said OK reads back byte-equal and no other point is half there.
#include <gtest/gtest.h>

#include "tests/support/fault_filesystem.h"
#include "tests/unit/storage/repo/model.h"

namespace umbra::repo {
namespace {

using testing::Fault;
using testing::FaultFilesystem;
using testing::MemoryFilesystem;

constexpr char kPath[] = "/repository";

// What the scenario was told.
struct Outcome {
  std::map<std::string, ModelVm> committed;  // by point id
  std::map<std::string, ModelVm> attempted;  // commits that returned an error: all of the point, or nothing
};

struct Scenario {
  base::SystemClock clock;
  base::SeededRandom random{42};
  Outcome outcome;

  // Points get their ids here, so that it is known afterwards whose data a point that shows up must have.
  void Commit(Repository& repository, const std::vector<std::pair<std::string, ModelVm>>& vms) {
    auto session = repository.BeginSession();
    std::vector<Manifest> manifests;
    for (const auto& [uuid, vm] : vms) {
      for (const auto& [name, disk] : vm) {
        if (!UploadDisk(repository, *session, uuid, name, disk).ok()) return;
      }
      manifests.push_back(ManifestOf(uuid, vm));
      manifests.back().set_recovery_point_id(random.Uuid());
      outcome.attempted[manifests.back().recovery_point_id()] = vm;
    }
    const auto committed = session->Commit(manifests);
    if (!committed.ok()) return;
    for (const Manifest& manifest : *committed) {
      outcome.committed.insert(outcome.attempted.extract(manifest.recovery_point_id()));
    }
  }

  // Makes a repository; two backups, the second of two machines; opens it again; a third.
  void Run(base::Filesystem& fs) {
    RepositoryOptions options = SmallOptions();
    options.unindexed_chunks_max = 6;
    for (int opening = 0; opening < 2; ++opening) {
      auto repository = Repository::OpenOrCreate(fs, clock, random, kPath, options);
      if (!repository.ok()) continue;
      if (opening == 0) Commit(**repository, {{"vm1", {{"vda", ModelDisk::OfChunks({1, 2, 3, 0, 5, 7})}}}});
      Commit(**repository, {{"vm1", {{"vda", ModelDisk::OfChunks({1, 9, 3, 0, 5, 11})}}},
                            {"vm2", {{"vda", ModelDisk::OfChunks({13, 2})}}}});
    }
  }
};

void ExpectWhole(base::Filesystem& fs, const Outcome& outcome, const std::string& when) {
  base::SystemClock clock;
  base::SeededRandom random(1);
  auto opened = Repository::OpenOrCreate(fs, clock, random, kPath, SmallOptions());
  ASSERT_TRUE(opened.ok()) << when << ": " << opened.status();
  Repository& repository = **opened;
  const auto list = repository.ListRecoveryPoints();
  ASSERT_TRUE(list.ok()) << when;
  EXPECT_TRUE(list->problems.empty()) << when;
  size_t found = 0;
  for (const Manifest& point : list->points) {
    const std::string& id = point.recovery_point_id();
    const bool committed = outcome.committed.contains(id);
    found += committed ? 1 : 0;
    ASSERT_TRUE(committed || outcome.attempted.contains(id)) << when;
    // A commit that failed after its last step may show; then it is whole.
    const ModelVm& vm = committed ? outcome.committed.at(id) : outcome.attempted.at(id);
    EXPECT_EQ(CompareVm(repository, id, vm), absl::OkStatus()) << when;
  }
  EXPECT_EQ(found, outcome.committed.size()) << when << ": a committed point is gone";
  const auto report = repository.Verify({}, {}, {});
  ASSERT_TRUE(report.ok()) << when;
  EXPECT_TRUE(report->ok()) << when << ": " << (report->problems.empty() ? "damage" : report->problems[0]);
  // And it works on.
  const ModelVm vm = {{"vda", ModelDisk::OfChunks({1, 2, 17})}};
  const auto next = Backup(repository, "vm3", vm);
  ASSERT_TRUE(next.ok()) << when << ": " << next.status();
  EXPECT_EQ(CompareVm(repository, next->recovery_point_id(), vm), absl::OkStatus()) << when;
}

struct FaultCase {
  const char* name;
  Fault fault;
  bool for_good;
  bool cut_power;
};

class EveryCall : public ::testing::TestWithParam<FaultCase> {};

INSTANTIATE_TEST_SUITE_P(Faults, EveryCall,
                         ::testing::Values(FaultCase{"FullDiskOnce", Fault::kNoSpace, false, false},
                                           FaultCase{"FullDiskForGood", Fault::kNoSpace, true, false},
                                           FaultCase{"IoErrorOnce", Fault::kIoError, false, false},
                                           FaultCase{"IoErrorForGood", Fault::kIoError, true, false},
                                           FaultCase{"PowerCut", Fault::kIoError, true, true}),
                         [](const auto& info) { return std::string(info.param.name); });

TEST_P(EveryCall, LeavesCommittedPointsWholeAndNoOthers) {
  const FaultCase& fault = GetParam();
  base::SeededRandom luck(3);
  uint64_t call = 1;
  size_t most_committed = 0, failed_commits = 0;
  for (bool struck = true; struck; ++call) {
    MemoryFilesystem real;
    FaultFilesystem fs(real);
    fs.FailAt(call, fault.fault, fault.for_good);
    Scenario scenario;
    scenario.Run(fs);
    struck = fs.struck();
    // Power cuts by turns at their worst and with some of the unsynced writes on disk.
    if (fault.cut_power) real.CutPower(call % 2 == 0 ? &luck : nullptr);
    most_committed = std::max(most_committed, scenario.outcome.committed.size());
    failed_commits += scenario.outcome.attempted.size();
    ExpectWhole(real, scenario.outcome, fmt::format("{} at call {}", fault.name, call));
    if (HasFatalFailure()) return;
  }
  // The loop really went through the scenario: the last round met no fault, and faults hit commits as well.
  EXPECT_EQ(most_committed, 5u);
  EXPECT_GT(call, 80u);
  EXPECT_GT(failed_commits, 5u);
}

// A repository on a full disk can still be opened and read.
TEST(FullDisk, OpensAndRestoresWithoutASingleByteFree) {
  MemoryFilesystem real;
  Scenario scenario;
  scenario.Run(real);
  ASSERT_EQ(scenario.outcome.committed.size(), 5u);
  for (const std::string& run : real.AllFiles("/repository/index")) ASSERT_TRUE(real.Remove(run).ok());
  // The lock, the folders and a look into them need no space: they exist.
  FaultFilesystem fs(real);
  base::SystemClock clock;
  base::SeededRandom random(1);
  auto repository = Repository::Open(fs, clock, random, kPath);
  ASSERT_TRUE(repository.ok());
  fs.FailAt(1, Fault::kNoSpace, true);
  for (const auto& [id, vm] : scenario.outcome.committed) {
    EXPECT_EQ(CompareVm(**repository, id, vm), absl::OkStatus());
    EXPECT_TRUE((*repository)->Verify({}, {}, {})->ok());
  }
  auto session = (*repository)->BeginSession();
  absl::Status status = UploadDisk(**repository, *session, "vm9", "vda", ModelDisk::OfChunks({101, 103, 105, 107, 109}));
  if (status.ok()) status = session->Commit({ManifestOf("vm9", {{"vda", ModelDisk::OfChunks({101, 103, 105, 107, 109})}})}).status();
  EXPECT_EQ(base::ReasonOf(status), "STORAGE_FULL");
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace umbra::repo
