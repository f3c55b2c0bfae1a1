// Proves crash safety by a workload during which the N-th filesystem call fails, for every N: a full disk or an I/O
// error, once or for good, the death of the process, or a power cut with much luck, little and none. Whatever was
// reported as committed is there and reads back byte-equal, nothing is half there, nothing is left over, and the
// repository works on.
//
// UMBRA_FAULT_SEED is the first seed of the power cuts (printed), UMBRA_FAULT_SEEDS how many each call gets,
// UMBRA_FAULT_DEATHS how many deaths while what a cut left is being opened.
#include <gtest/gtest.h>

#include <cstdlib>
#include <random>
#include <set>

#include "storage/repo/format.h"
#include "tests/support/fault_filesystem.h"
#include "tests/support/sanitized.h"
#include "tests/unit/storage/repo/model.h"

namespace umbra::repo {
namespace {

using testing::Fault;
using testing::FaultFilesystem;
using testing::MemoryFilesystem;

constexpr char kPath[] = "/repository";

uint64_t Setting(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

// Points that were to become visible together.
struct Attempt {
  std::map<std::string, ModelVm> points;  // by id
  bool committed = false;                 // OK was returned
};

// What the workload was told.
struct Outcome {
  std::vector<Attempt> attempts;
  std::set<std::string> removed;          // OK was returned
  std::set<std::string> perhaps_removed;  // an error was
};

using Machines = std::vector<std::pair<std::string, ModelVm>>;

class Workload {
 public:
  Outcome outcome;

  void Run(base::Filesystem& fs) {
    // Small packs first; then one that is written in several pieces before it is sealed.
    for (const uint64_t pack_size : {4 * uint64_t{kTestChunkSize}, 20 * uint64_t{kTestChunkSize}}) {
      RepositoryOptions options = SmallOptions();
      options.pack_size_bytes = pack_size;
      options.unindexed_chunks_max = 6;
      auto repository = Repository::OpenOrCreate(fs, clock_, random_, kPath, options);
      if (!repository.ok()) continue;
      Use(**repository, pack_size > 4 * uint64_t{kTestChunkSize});
    }
  }

 private:
  void Use(Repository& repository, bool second) {
    if (!second) {
      Commit(repository, {{"vm1", Vm({1, 2, 3, 0, 5, 7})}});
      // Somebody gives up whose chunks the next one relies on.
      {
        auto given_up = repository.BeginSession();
        (void)UploadDisk(repository, *given_up, "vm3", "vda", ModelDisk::OfChunks({21, 2, 23}));
        Commit(repository, {{"vm2", Vm({23, 21, 25})}});
      }
      Commit(repository, {{"vm1", Vm({1, 9, 3, 0, 5, 11})}, {"vm2", Vm({13, 2})}});
      (void)repository.Verify({}, {}, {});
      RemoveFirst(repository);
    } else {
      std::vector<uint32_t> seeds;
      for (uint32_t seed = 101; seed < 147; seed += 2) seeds.push_back(seed);
      Commit(repository, {{"vm4", Vm(seeds)}});
      RemoveFirst(repository);
    }
    Increment(repository, second ? 41 : 43);
    (void)repository.AddKey({KeyKind::kKeyFile, std::string(kKeyFileSecretSize, second ? 'x' : 'y')}, "another");
    (void)repository.RotateKeys();
    // Enough runs of like size that some are merged.
    Commit(repository, {{"vm1", Vm({1, 9, second ? 31u : 33u})}});
    Commit(repository, {{"vm1", Vm({1, 9, second ? 35u : 37u})}, {"vm2", Vm({13, 2, 4})}, {"vm3", Vm({0, 0})}});
  }

  static ModelVm Vm(std::vector<uint32_t> seeds) { return {{"vda", ModelDisk::OfChunks(std::move(seeds))}}; }

  // Points get their ids here, so that it is known afterwards whose data a point that shows up must have.
  void Commit(Repository& repository, const Machines& vms) {
    auto session = repository.BeginSession();
    Attempt attempt;
    std::vector<Manifest> manifests;
    for (const auto& [uuid, vm] : vms) {
      for (const auto& [name, disk] : vm) {
        if (!UploadDisk(repository, *session, uuid, name, disk).ok()) return;
      }
      manifests.push_back(ManifestOf(uuid, vm));
      manifests.back().set_recovery_point_id(random_.Uuid());
      attempt.points[manifests.back().recovery_point_id()] = vm;
    }
    attempt.committed = session->Commit(manifests).ok();
    if (attempt.committed && vms.front().first == "vm1") {
      base_ = {manifests.front().recovery_point_id(), vms.front().second.at("vda")};
    }
    outcome.attempts.push_back(std::move(attempt));
  }

  // vm1 with its second chunk changed, on the map of its newest point.
  void Increment(Repository& repository, uint32_t seed) {
    if (base_.first.empty()) return;
    ModelDisk disk = base_.second;
    disk.seeds[1] = seed;
    const std::string content = disk.Content(1);
    const ChunkId id = repository.hasher().Id(base::AsBytes(content));
    auto session = repository.BeginSession();
    if (!session->Put({id, static_cast<uint32_t>(content.size()), Codec::kRaw, base::AsBytes(content)}).ok()) return;
    auto map = session->AddDiskMapOn({base_.first, "vm1", "vda", disk.capacity_bytes});
    if (!map.ok() || !(*map)->AppendBase(1).ok() || !(*map)->Append({&id, 1}).ok() ||
        !(*map)->AppendBase(disk.seeds.size() - 2).ok() || !(*map)->Finish().ok()) {
      return;
    }
    Manifest manifest = ManifestOf("vm1", {{"vda", disk}});
    manifest.set_recovery_point_id(random_.Uuid());
    Attempt attempt{{{manifest.recovery_point_id(), {{"vda", disk}}}}, false};
    attempt.committed = session->Commit({manifest}).ok();
    outcome.attempts.push_back(std::move(attempt));
  }

  // The oldest committed point.
  void RemoveFirst(Repository& repository) {
    for (const Attempt& attempt : outcome.attempts) {
      const std::string& id = attempt.points.begin()->first;
      if (!attempt.committed || outcome.removed.contains(id)) continue;
      const absl::Status removed = repository.RemoveRecoveryPoint(id, {}).status();
      (removed.ok() ? outcome.removed : outcome.perhaps_removed).insert(id);
      return;
    }
  }

  base::SystemClock clock_;
  base::SeededRandom random_{42};
  std::pair<std::string, ModelDisk> base_;  // the newest point of vm1 that was committed, and its disk
};

// Checks what a repository shows against what the workload was told.
class Judge {
 public:
  Judge(base::Filesystem& fs, const Outcome& outcome) : fs_(fs), outcome_(outcome) {}

  // Opens and looks, and adds nothing.
  absl::Status Look() {
    RETURN_IF_ERROR(Open());
    return EverythingIsWhole();
  }

  // OK, or the first promise that was broken.
  absl::Status Judgement() {
    RETURN_IF_ERROR(Open());
    RETURN_IF_ERROR(base::Annotate(EverythingIsWhole(), "after opening"));
    RETURN_IF_ERROR(base::Annotate(NothingIsLeft(), "after opening"));
    const ModelVm vm = {{"vda", ModelDisk::OfChunks({1, 2, 17})}};
    ASSIGN_OR_RETURN(const Manifest next, Backup(*repository_, "vm9", vm));
    RETURN_IF_ERROR(base::Annotate(CompareVm(*repository_, next.recovery_point_id(), vm), "the next backup"));
    RETURN_IF_ERROR(repository_->RemoveRecoveryPoint(next.recovery_point_id(), {}).status());
    RETURN_IF_ERROR(Open());
    return base::Annotate(EverythingIsWhole(), "after opening again");
  }

 private:
  absl::Status Broken(std::string promise) { return absl::InternalError(promise); }

  absl::Status Open() {
    repository_.reset();
    auto opened = Repository::OpenOrCreate(fs_, clock_, random_, kPath, SmallOptions());
    RETURN_IF_ERROR(base::Annotate(opened.status(), "open"));
    repository_ = *std::move(opened);
    return absl::OkStatus();
  }

  absl::Status EverythingIsWhole() {
    ASSIGN_OR_RETURN(const RecoveryPointList list, repository_->ListRecoveryPoints());
    if (!list.problems.empty()) return Broken(list.problems[0]);
    std::set<std::string> shown;
    for (const Manifest& point : list.points) shown.insert(point.recovery_point_id());
    for (const Attempt& attempt : outcome_.attempts) RETURN_IF_ERROR(IsWhole(attempt, shown));
    if (!shown.empty()) return Broken("a point that nobody made: " + *shown.begin());
    ASSIGN_OR_RETURN(const VerifyReport report, repository_->Verify({}, {}, {}));
    if (report.ok()) return absl::OkStatus();
    return Broken(report.problems.empty() ? report.damaged.at(0).message : report.problems[0]);
  }

  // Takes the attempt's points out of `shown`.
  absl::Status IsWhole(const Attempt& attempt, std::set<std::string>& shown) {
    size_t visible = 0, may_be_gone = 0;
    for (const auto& [id, vm] : attempt.points) {
      const bool there = shown.erase(id) > 0;
      visible += there ? 1 : 0;
      if (there && outcome_.removed.contains(id)) return Broken("a removed point is back");
      if (outcome_.removed.contains(id) || outcome_.perhaps_removed.contains(id)) {
        may_be_gone += there ? 0 : 1;
      } else if (!there && attempt.committed) {
        return Broken("a committed point is gone");
      }
      if (there) RETURN_IF_ERROR(CompareVm(*repository_, id, vm));
    }
    // A commit that failed after its last step may show; then it does as a whole.
    if (visible != 0 && visible + may_be_gone != attempt.points.size())
      return Broken("only a part of a commit is there");
    return absl::OkStatus();
  }

  absl::Status NothingIsLeft() {
    for (const char* folder : {"/tmp", "/commits"}) {
      const auto names = fs_.List(std::string(kPath) + folder);
      if (absl::IsNotFound(names.status())) continue;
      RETURN_IF_ERROR(names.status());
      if (!names->empty()) return Broken(fmt::format("{} isn't empty", folder));
    }
    return absl::OkStatus();
  }

  base::Filesystem& fs_;
  const Outcome& outcome_;
  base::SystemClock clock_;
  base::SeededRandom random_{1};
  std::unique_ptr<Repository> repository_;
};

struct FaultCase {
  const char* name;
  Fault fault;
  bool for_good;
};

// Of so many calls one is tried.
constexpr uint64_t kStride = testing::kSanitized ? 11 : 1;

// Runs the workload with `fault` at its first call, its second ... and once untouched. `after` gets the file system.
void ForEveryCall(const FaultCase& fault,
                  const std::function<void(MemoryFilesystem&, const Outcome&, uint64_t call)>& after) {
  size_t most_committed = 0, failed_commits = 0;
  uint64_t call = 1;
  for (bool struck = true; struck; call += kStride) {
    MemoryFilesystem real;
    FaultFilesystem fs(real);
    fs.FailAt(call, fault.fault, fault.for_good);
    Workload workload;
    workload.Run(fs);
    struck = fs.struck();
    size_t committed = 0;
    for (const Attempt& attempt : workload.outcome.attempts) ++(attempt.committed ? committed : failed_commits);
    most_committed = std::max(most_committed, committed);
    after(real, workload.outcome, call);
    if (::testing::Test::HasFailure()) return;
  }
  // The loop really went through the workload: the last round met no fault, and faults hit commits as well.
  EXPECT_EQ(most_committed, 10u);
  EXPECT_GT(call, 200u);
  EXPECT_GT(failed_commits, 20 / kStride);
  std::printf("%s: %llu calls\n", fault.name, static_cast<unsigned long long>(call - kStride));
}

class EveryCall : public ::testing::TestWithParam<FaultCase> {};

// An I/O error for good is also what a dead process leaves: nothing that it does afterwards, taking back included, has
// any effect.
INSTANTIATE_TEST_SUITE_P(Faults, EveryCall,
                         ::testing::Values(FaultCase{"FullDiskOnce", Fault::kNoSpace, false},
                                           FaultCase{"FullDiskForGood", Fault::kNoSpace, true},
                                           FaultCase{"IoErrorOnce", Fault::kIoError, false},
                                           FaultCase{"Death", Fault::kIoError, true}),
                         [](const auto& info) { return std::string(info.param.name); });

TEST_P(EveryCall, LeavesCommittedPointsWholeAndNoOthers) {
  ForEveryCall(GetParam(), [&](MemoryFilesystem& real, const Outcome& outcome, uint64_t call) {
    EXPECT_EQ(Judge(real, outcome).Judgement(), absl::OkStatus()) << GetParam().name << " at call " << call;
  });
}

// A disk that is bad now and then, also while what failed is being taken back.
TEST(BadDisk, LeavesCommittedPointsWholeAndNoOthers) {
  const uint64_t first_seed = Setting("UMBRA_FAULT_SEED", std::random_device()());
  // So many that luck alone never brings too few of either (18 did, one run in 200).
  const uint64_t seeds = (testing::kSanitized ? 40 : 100) * Setting("UMBRA_FAULT_SEEDS", 2);
  std::printf("UMBRA_FAULT_SEED=%llu\n", static_cast<unsigned long long>(first_seed));
  size_t committed = 0, failed = 0;
  for (uint64_t i = 0; i < seeds && !::testing::Test::HasFailure(); ++i) {
    const uint64_t seed = first_seed + i;
    base::SeededRandom luck(seed);
    MemoryFilesystem real;
    FaultFilesystem fs(real);
    // From hardly ever to often, one after the other.
    const double odds = 0.05 * (static_cast<double>(i) + luck.Fraction()) / static_cast<double>(seeds);
    fs.FailOften(luck, odds, i % 2 == 0 ? Fault::kNoSpace : Fault::kIoError);
    Workload workload;
    workload.Run(fs);
    for (const Attempt& attempt : workload.outcome.attempts) ++(attempt.committed ? committed : failed);
    EXPECT_EQ(Judge(real, workload.outcome).Judgement(), absl::OkStatus()) << "seed " << seed << ", odds " << odds;
  }
  std::printf("of %llu workloads: %zu commits, %zu that failed\n", static_cast<unsigned long long>(seeds), committed,
              failed);
  EXPECT_GT(committed, seeds / 2);
  EXPECT_GT(failed, seeds / 2);
}

// The machine loses power at every call, and now and then again while the repository is opened afterwards.
TEST(PowerLoss, LeavesCommittedPointsWholeAndNoOthers) {
  const uint64_t first_seed = Setting("UMBRA_FAULT_SEED", std::random_device()());
  const uint64_t seeds = Setting("UMBRA_FAULT_SEEDS", 2);
  const uint64_t deaths = Setting("UMBRA_FAULT_DEATHS", 1);
  std::printf("UMBRA_FAULT_SEED=%llu\n", static_cast<unsigned long long>(first_seed));
  ForEveryCall({"PowerLoss", Fault::kIoError, true}, [&](MemoryFilesystem& real, const Outcome& outcome,
                                                         uint64_t call) {
    EXPECT_EQ(Judge(*real.AfterPowerCut(), outcome).Judgement(), absl::OkStatus())
        << "all unsynced lost, call " << call;
    for (uint64_t i = 0; i < seeds && !::testing::Test::HasFailure(); ++i) {
      base::SeededRandom luck((first_seed + i) * 1'000'003 + call);
      const auto cut = real.AfterPowerCut(&luck);
      for (uint64_t death = 0; death < deaths; ++death) {
        FaultFilesystem fs(*cut);
        fs.FailAt(1 + static_cast<uint64_t>(luck.Fraction() * 80), Fault::kIoError, true);
        (void)Judge(fs, outcome).Look();
        cut->CutPower(&luck);
      }
      EXPECT_EQ(Judge(*cut, outcome).Judgement(), absl::OkStatus()) << "seed " << first_seed + i << ", call " << call;
    }
  });
}

// A repository on a full disk can still be opened and read.
TEST(FullDisk, OpensAndRestoresWithoutASingleByteFree) {
  MemoryFilesystem real;
  Workload workload;
  workload.Run(real);
  for (const std::string& run : real.AllFiles("/repository/index")) ASSERT_TRUE(real.Remove(run).ok());
  // The lock, the folders and a look into them need no space: they exist.
  FaultFilesystem fs(real);
  base::SystemClock clock;
  base::SeededRandom random(1);
  auto repository = Repository::Open(fs, clock, random, kPath, SmallOptions());
  ASSERT_TRUE(repository.ok());
  fs.FailAt(1, Fault::kNoSpace, true);
  size_t read = 0;
  for (const Attempt& attempt : workload.outcome.attempts) {
    for (const auto& [id, vm] : attempt.points) {
      if (workload.outcome.removed.contains(id)) continue;
      EXPECT_EQ(CompareVm(**repository, id, vm), absl::OkStatus());
      ++read;
    }
  }
  EXPECT_GT(read, 8u);
  EXPECT_TRUE((*repository)->Verify({}, {}, {})->ok());
  const ModelDisk disk = ModelDisk::OfChunks({201, 203, 205, 207, 209});
  auto session = (*repository)->BeginSession();
  absl::Status status = UploadDisk(**repository, *session, "vm9", "vda", disk);
  if (status.ok()) status = session->Commit({ManifestOf("vm9", {{"vda", disk}})}).status();
  EXPECT_EQ(base::ReasonOf(status), "STORAGE_FULL");
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace umbra::repo
