// Proves that a VERIFY job is done by the daemon itself: progress, success, damage with places and events, failure,
// cancel, a stop in the middle; and, over a real repository, that one flipped bit is named by chunk, disk and offset.
#include "server/maintenance/verify_runner.h"

#include <atomic>
#include <filesystem>
#include <fstream>
#include <thread>

#include "tests/support/repository_key.h"
#include "tests/unit/server/maintenance/fixture.h"

namespace umbra::maintenance {
namespace {

using catalog::JobState;

class VerifyRunnerTest : public MaintenanceTest {
 protected:
  catalog::JobId Submit(const std::string& point = "") {
    const auto job =
        engine_->Submit(catalog::VerifySpec{catalog::RepositoryId("main"), catalog::RecoveryPointId(point)});
    EXPECT_TRUE(job.ok());
    return job->id;
  }

  void Start() { runner_ = std::make_unique<VerifyRunner>(*catalog_, *engine_, *events_, *repositories_, clock_); }

  std::unique_ptr<VerifyRunner> runner_;
};

repo::ChunkDamage Damage(const std::string& point, uint64_t offset) {
  return {.chunk_id = "abcd",
          .recovery_point_id = point,
          .vm_display_name = "vm",
          .disk = "vda",
          .offset_bytes = offset,
          .length_bytes = 131072,
          .reason = "CHUNK_DAMAGED",
          .message = "chunk abcd of " + point};
}

TEST_F(VerifyRunnerTest, SoundRepositorySucceedsWithProgress) {
  std::string scope;
  repository_->verifier = [&](const repo::VerifyScope& asked, const auto& progress,
                              std::stop_token) -> absl::StatusOr<repo::VerifyReport> {
    scope = asked.recovery_point_id;
    progress({.done_bytes = 50, .total_bytes = 100});
    progress({.done_bytes = 100, .total_bytes = 100});
    return repo::VerifyReport{};
  };
  Start();
  const catalog::Job job = Await(Submit("p7"), JobState::kSucceeded);
  EXPECT_EQ(scope, "p7");
  EXPECT_EQ(job.progress.done_bytes, 100);
  EXPECT_EQ(job.progress.total_bytes, 100);
  EXPECT_TRUE(job.damage.empty());
}

TEST_F(VerifyRunnerTest, JobsThatWaitAreDoneOneAfterTheOther) {
  std::atomic<int> at_once = 0, most = 0, done = 0;
  repository_->verifier = [&](const auto&, const auto&, std::stop_token) -> absl::StatusOr<repo::VerifyReport> {
    most = std::max(most.load(), ++at_once);
    clock_.Sleep(absl::Milliseconds(20));
    --at_once;
    ++done;
    return repo::VerifyReport{};
  };
  const catalog::JobId first = Submit(), second = Submit(), third = Submit();
  Start();
  Await(third, JobState::kSucceeded);
  EXPECT_EQ(engine_->Get(first)->state, JobState::kSucceeded);
  EXPECT_EQ(engine_->Get(second)->state, JobState::kSucceeded);
  EXPECT_EQ(done, 3);
  EXPECT_EQ(most, 1);
}

TEST_F(VerifyRunnerTest, DamageFailsTheJobAndNamesItsPlaces) {
  repository_->verifier = [](const auto&, const auto&, std::stop_token) -> absl::StatusOr<repo::VerifyReport> {
    repo::VerifyReport report;
    report.damaged = {Damage("p1", 0), Damage("p1", 131072), Damage("p2", 0)};
    report.damaged_count = 3;
    report.problems = {"packs/1: torn"};
    return report;
  };
  Start();
  const catalog::Job job = Await(Submit(), JobState::kFailed);
  EXPECT_EQ(job.error.reason, "CHUNK_DAMAGED");
  EXPECT_NE(job.error.message.find("3 damaged places"), std::string::npos) << job.error.message;
  ASSERT_EQ(job.damage.size(), 3u);
  EXPECT_EQ(job.damage[1].disk, "vda");
  EXPECT_EQ(job.damage[1].offset_bytes, 131072);
  EXPECT_EQ(job.damage[1].recovery_point.value, "p1");
  ASSERT_EQ(job.warnings.size(), 1u);
  EXPECT_EQ(job.warnings[0].message, "packs/1: torn");
  runner_.reset();  // its events are written after the job
  const auto events = EventsOf("CHUNK_DAMAGED");
  ASSERT_EQ(events.size(), 2u) << "one for each recovery point";
  EXPECT_EQ(events[0].resource, "recoveryPoints/p1");
  EXPECT_EQ(events[0].severity, catalog::Severity::kError);
}

TEST_F(VerifyRunnerTest, DamagedFilesWithoutAPlaceFailTheJobToo) {
  repository_->verifier = [](const auto&, const auto&, std::stop_token) -> absl::StatusOr<repo::VerifyReport> {
    repo::VerifyReport report;
    report.problems = {"points/p1: damaged"};
    return report;
  };
  Start();
  const catalog::Job job = Await(Submit(), JobState::kFailed);
  EXPECT_EQ(job.error.reason, "MANIFEST_DAMAGED");
}

TEST_F(VerifyRunnerTest, ErrorsAreReportedAndTheNextJobIsDone) {
  int calls = 0;
  repository_->verifier = [&](const auto&, const auto&, std::stop_token) -> absl::StatusOr<repo::VerifyReport> {
    if (++calls == 1) return base::Error(absl::StatusCode::kUnavailable, "IO_ERROR", "disk gone");
    return repo::VerifyReport{};
  };
  Start();
  const catalog::Job failed = Await(Submit(), JobState::kFailed);
  EXPECT_EQ(failed.error.reason, "IO_ERROR");
  Await(Submit(), JobState::kSucceeded);
}

TEST_F(VerifyRunnerTest, RepositoryThatIsNotConfiguredAnyMore) {
  Start();
  const auto job = engine_->Submit(catalog::VerifySpec{catalog::RepositoryId("gone"), {}});
  EXPECT_EQ(Await(job->id, JobState::kFailed).error.reason, "REPOSITORY_NOT_FOUND");
}

FakeRepository::Verifier UntilStopped() {
  return [](const auto&, const auto& progress, std::stop_token stop) -> absl::StatusOr<repo::VerifyReport> {
    base::SystemClock clock;
    for (uint64_t done = 0; !stop.stop_requested(); ++done) {
      progress({.done_bytes = done, .total_bytes = 1 << 30});
      clock.Sleep(absl::Milliseconds(2));
    }
    return base::Error(absl::StatusCode::kCancelled, "CANCELLED", "stopped");
  };
}

TEST_F(VerifyRunnerTest, CancelStopsIt) {
  repository_->verifier = UntilStopped();
  Start();
  const catalog::JobId id = Submit();
  Await(id, JobState::kRunning);
  ASSERT_TRUE(engine_->Cancel(id).ok());
  Await(id, JobState::kCancelled);
}

TEST_F(VerifyRunnerTest, StopInTheMiddleLeavesTheJobToTheNextStart) {
  repository_->verifier = UntilStopped();
  Start();
  const catalog::JobId id = Submit();
  Await(id, JobState::kRunning);
  const absl::Duration start = clock_.Monotonic();
  runner_.reset();
  EXPECT_LT(clock_.Monotonic() - start, absl::Seconds(5));
  EXPECT_EQ(engine_->Get(id)->state, JobState::kRunning);
}

// ---- A real repository ----

class RealRepositoryTest : public ::testing::Test {
 protected:
  static constexpr size_t kChunkSize = repo::kDefaultChunkSizeBytes;

  // A disk of `count` different chunks as recovery point; returns its id.
  std::string Store(repo::Repository& repository, int count) {
    auto session = repository.BeginSession();
    std::vector<repo::ChunkId> ids;
    for (int i = 0; i < count; ++i) {
      std::string plain(kChunkSize, '\0');
      random_.Fill(std::as_writable_bytes(std::span(plain.data(), plain.size())));
      repo::ChunkView chunk;
      chunk.id = repository.hasher().Id(base::AsBytes(plain));
      chunk.plain_length = kChunkSize;
      chunk.data = base::AsBytes(plain);
      EXPECT_TRUE(session->Put(chunk).ok());
      ids.push_back(chunk.id);
    }
    {
      auto map = session->AddDiskMap("u1", "vda", count * kChunkSize);
      EXPECT_TRUE((*map)->Append(ids).ok());
      EXPECT_TRUE((*map)->Finish().ok());
    }
    repo::Manifest manifest;
    manifest.set_host_id("h1");
    manifest.set_vm_uuid("u1");
    manifest.set_vm_display_name("vm");
    auto* disk = manifest.add_disks();
    disk->set_name("vda");
    disk->set_capacity_bytes(static_cast<int64_t>(count * kChunkSize));
    const auto committed = session->Commit({manifest});
    EXPECT_TRUE(committed.ok()) << base::Describe(committed.status());
    return (*committed)[0].recovery_point_id();
  }

  // Flips one bit in the middle of the largest file.
  static void FlipABit(const std::string& folder) {
    std::filesystem::path largest;
    uintmax_t size = 0;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
      if (!entry.is_regular_file() || entry.file_size() <= size) continue;
      largest = entry.path();
      size = entry.file_size();
    }
    std::fstream file(largest, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(static_cast<std::streamoff>(size / 2));
    const char byte = static_cast<char>(file.get() ^ 1);
    file.seekp(static_cast<std::streamoff>(size / 2));
    file.put(byte);
  }

  testing::TempDir dir_;
  base::PosixFilesystem files_;
  base::SystemClock clock_;
  base::SeededRandom random_{1};
};

TEST_F(RealRepositoryTest, FlippedBitIsNamedByChunkDiskAndOffset) {
  auto catalog = *catalog::Catalog::Open(files_, dir_.File("catalog.db"));
  jobs::EventHub events(*catalog, clock_);
  jobs::JobEngine engine(*catalog, clock_, random_);
  std::vector<OpenRepository> all;
  all.push_back({catalog::RepositoryId("main"), dir_.File("r"),
                 *repo::Repository::OpenOrCreate(files_, clock_, random_, dir_.File("r"), testing::WithTestKey())});
  const RepositorySet repositories(std::move(all));
  const std::string point = Store(*repositories.Default().repository, 5);
  FlipABit(dir_.File("r"));

  const VerifyRunner runner(*catalog, engine, events, repositories, clock_);
  catalog::Job job = *engine.Submit(catalog::VerifySpec{catalog::RepositoryId("main"), {}});
  while (!catalog::IsTerminal(job.state)) job = *engine.WaitForChange(job.id, job.revision, absl::Seconds(10));
  EXPECT_EQ(job.state, JobState::kFailed);
  EXPECT_EQ(job.error.reason, "CHUNK_DAMAGED");
  ASSERT_EQ(job.damage.size(), 1u);
  EXPECT_EQ(job.damage[0].chunk_id.size(), 64u);
  EXPECT_EQ(job.damage[0].disk, "vda");
  EXPECT_EQ(job.damage[0].recovery_point.value, point);
  EXPECT_EQ(job.damage[0].offset_bytes % static_cast<int64_t>(kChunkSize), 0);
}

}  // namespace
}  // namespace umbra::maintenance
