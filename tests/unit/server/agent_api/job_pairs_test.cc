// Proves the pairs of docs/locking.md with whole jobs: what may run beside what, in one real repository, loses nothing;
// and what must not doesn't.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/maintenance/prune_runner.h"
#include "server/maintenance/verify_runner.h"
#include "storage/base/status.h"
#include "tests/unit/server/agent_api/agent_port.h"

namespace umbra::api {
namespace {

using agent::v1::AssignmentResult;
using agent::v1::DaemonMessage;
using catalog::JobState;

constexpr size_t kChunks = 80;
// Compressed some 8 MiB: more than stream and connection hold while nobody reads.
constexpr size_t kLargeDiskChunks = 640;

grpc::ChannelArguments LittleReadAhead() {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  arguments.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 64 * 1024);
  return arguments;
}

class JobPairsTest : public ::testing::Test {
 protected:
  JobPairsTest() {
    link_->SayHello();
    link_->Await(DaemonMessage::kWelcome);
  }

  void Begin(const std::vector<int>& vms = {1}) {
    job_ = daemon_.SubmitBackup(host_, vms);
    key_ = link_->AcceptAssignment();
    ASSERT_TRUE(daemon_.Reaches(job_, JobState::kRunning));
    ASSERT_TRUE(data_.Open(key_, &session_).ok());
  }
  void Upload(const Disk& disk, size_t from, size_t count) {
    const auto first = disk.chunks.begin() + static_cast<std::ptrdiff_t>(std::min(from, disk.chunks.size()));
    const auto last = disk.chunks.begin() + static_cast<std::ptrdiff_t>(std::min(from + count, disk.chunks.size()));
    const grpc::Status uploaded = data_.Upload(session_.session_id(), {first, last}, 4);
    ASSERT_TRUE(uploaded.ok()) << uploaded.error_message();
  }
  // Ends the backup that was begun; the point.
  std::string Finish(const Disk& disk, int vm = 1) {
    const grpc::Status mapped = data_.PutMap(session_.session_id(), vm, disk);
    EXPECT_TRUE(mapped.ok()) << mapped.error_message();
    store::v1::CommitResponse committed;
    EXPECT_TRUE(data_.Commit(session_.session_id(), {vm}, disk, &committed).ok());
    EndWork(key_);
    EXPECT_EQ(daemon_.Get(job_).state, JobState::kSucceeded);
    return committed.recovery_point_ids_size() == 1 ? committed.recovery_point_ids(0) : "";
  }
  std::string Backup(uint64_t seed, Disk* disk, int vm = 1, size_t chunks = kChunks) {
    Begin({vm});
    *disk = MakeDisk(session_, chunks, seed);
    Upload(*disk, 0, disk->chunks.size());
    return Finish(*disk, vm);
  }
  void EndWork(const dispatch::AssignmentKey& key) {
    link_->SayResult(key, AssignmentResult::OUTCOME_SUCCEEDED);
    link_->Await(DaemonMessage::kResultAcknowledged);
  }

  // A restore job of `point` that gets `disk`, with `meanwhile` in the middle of it.
  void Restore(const std::string& point, const Disk& disk, const std::function<void()>& meanwhile = nullptr) {
    const catalog::JobId job = daemon_.SubmitRestore(host_, point);
    const dispatch::AssignmentKey key = link_->AcceptAssignment();
    std::string content;
    const grpc::Status read = data_.Read(key, point, 0, &content, meanwhile);
    ASSERT_TRUE(read.ok()) << read.error_message();
    EXPECT_TRUE(content == disk.content);
    EndWork(key);
    EXPECT_EQ(daemon_.Get(job).state, JobState::kSucceeded);
  }

  repo::Repository& repository() { return *daemon_.repositories->Default().repository; }
  void Remove(const std::string& point) {
    ASSERT_TRUE(repository().RemoveRecoveryPoint(point, {"test", absl::ZeroDuration()}).ok());
    daemon_.clock.Advance(absl::Seconds(1));  // far from the end of a lease
  }
  catalog::JobId SubmitPrune() {
    return daemon_.engine->Submit(catalog::PruneSpec{.repository = catalog::RepositoryId("main")})->id;
  }
  catalog::JobId SubmitVerify() {
    return daemon_.engine
        ->Submit(
            catalog::VerifySpec{.repository = catalog::RepositoryId("main"), .level = catalog::VerifyLevel::kDisks})
        ->id;
  }
  // Runs to its end, whatever else runs.
  catalog::PruneResult Prune() {
    const catalog::Job job = Succeeds(SubmitPrune());
    return job.prune_result.value_or(catalog::PruneResult());
  }
  void Verify() { Succeeds(SubmitVerify()); }
  catalog::Job Succeeds(const catalog::JobId& id) {
    EXPECT_TRUE(daemon_.Reaches(id, JobState::kSucceeded)) << daemon_.Get(id).error.message;
    return daemon_.Get(id);
  }

  Daemon daemon_;
  // Nothing waits for a grace period: what keeps data is what must.
  maintenance::PruneRunner prunes_{
      *daemon_.catalog, *daemon_.engine,
      *daemon_.events,  *daemon_.repositories,
      daemon_.clock,    {.young_pack_grace = absl::ZeroDuration(), .condemned_grace = absl::ZeroDuration()}};
  maintenance::VerifyRunner verifications_{*daemon_.catalog, *daemon_.engine, *daemon_.events, *daemon_.repositories,
                                           daemon_.clock};
  const Identity host_ = daemon_.Enrol("h1");
  std::unique_ptr<Link> link_ = std::make_unique<Link>(daemon_.Connect(host_));
  Data data_{daemon_.Connect(host_, LittleReadAhead())};
  catalog::JobId job_;
  dispatch::AssignmentKey key_;
  store::v1::OpenSessionResponse session_;
};

TEST_F(JobPairsTest, APruneBesideABackupThatReliesOnARemovedPointsChunks) {
  Disk disk, other;
  const std::string old = Backup(1, &disk);
  Backup(2, &other, 2);
  Begin();
  store::v1::NegotiateResponse wanted;
  ASSERT_TRUE(data_.Negotiate(session_.session_id(), disk.map(), &wanted).ok());
  ASSERT_EQ(wanted.wanted().find('\1'), std::string::npos) << "the repository has all of it";
  Remove(old);
  const catalog::PruneResult pruned = Prune();
  EXPECT_EQ(pruned.deleted_points, 1);
  EXPECT_EQ(daemon_.Get(job_).state, JobState::kRunning);
  const std::string point = Finish(disk);
  Prune();
  Restore(point, disk);
  Verify();
}

TEST_F(JobPairsTest, APruneBetweenTheHalvesOfAnUpload) {
  Begin();
  const Disk disk = MakeDisk(session_, kChunks, 1);
  Upload(disk, 0, 40);
  Prune();
  Upload(disk, 40, disk.chunks.size());
  Prune();
  const std::string point = Finish(disk);
  EXPECT_EQ(Prune().deleted_points, 0);
  Restore(point, disk);
  Verify();
}

TEST_F(JobPairsTest, AVerificationBesideABackup) {
  Disk before;
  const std::string old = Backup(1, &before);
  Begin({2});
  const Disk disk = MakeDisk(session_, kChunks, 2);
  Upload(disk, 0, 40);
  Verify();
  EXPECT_EQ(daemon_.Get(job_).state, JobState::kRunning);
  Upload(disk, 40, disk.chunks.size());
  Verify();
  const std::string point = Finish(disk, 2);
  Verify();
  Restore(old, before);
  Restore(point, disk);
}

TEST_F(JobPairsTest, APruneBesideARestoreOfAPointThatIsRemoved) {
  Disk disk;
  const std::string point = Backup(1, &disk, 1, kLargeDiskChunks);
  Restore(point, disk, [&] {
    Remove(point);
    EXPECT_EQ(Prune().deleted_points, 0) << "it is being read";
  });
  EXPECT_EQ(Prune().deleted_points, 1);
  EXPECT_EQ(daemon_.PointsInRepository(), 0u);
}

TEST_F(JobPairsTest, APruneThatMovesChunksBesideARestore) {
  Disk kept, removed;
  const std::string gone = Backup(1, &removed, 1, kLargeDiskChunks);
  // Half of the chunks are those of the first disk: its packs are half needed, and copied.
  Begin({2});
  kept = MakeDisk(session_, kLargeDiskChunks, 2);
  Disk mixed = kept;
  for (size_t i = 0; i < kLargeDiskChunks / 2; ++i) {
    const size_t size = static_cast<size_t>(session_.chunk_size_bytes());
    mixed.ids[i] = removed.ids[i];
    mixed.content.replace(i * size, size, removed.content, i * size, size);
  }
  Upload(kept, 0, kept.chunks.size());
  const std::string point = Finish(mixed, 2);
  Remove(gone);
  Restore(point, mixed, [&] { EXPECT_EQ(Prune().deleted_points, 1); });
  Restore(point, mixed);
  Verify();
}

TEST_F(JobPairsTest, AVerificationBesideARestore) {
  Disk disk;
  const std::string point = Backup(1, &disk, 1, kLargeDiskChunks);
  Restore(point, disk, [&] { Verify(); });
}

// A verification that reads a removed point keeps it until a later prune.
TEST_F(JobPairsTest, PrunesAndVerificationsAtTheSameTime) {
  Disk kept;
  const std::string point = Backup(1, &kept);
  constexpr int kRounds = 5;
  int64_t deleted = 0;
  for (uint64_t round = 0; round < kRounds; ++round) {
    Disk disk;
    const std::string gone = Backup(10 + round, &disk, 2);
    Remove(gone);
    const catalog::JobId verify = SubmitVerify(), prune = SubmitPrune(), again = SubmitVerify();
    deleted += Succeeds(prune).prune_result->deleted_points;
    Succeeds(verify);
    Succeeds(again);
  }
  deleted += Prune().deleted_points;
  EXPECT_EQ(deleted, kRounds);
  Restore(point, kept);
}

// ---- What must not ----

TEST_F(JobPairsTest, BackupAndRestoreInPlaceOfOneMachineExcludeEachOther) {
  Disk disk;
  const std::string point = Backup(1, &disk);
  const auto in_place = [&] {
    catalog::RestoreSpec spec{.recovery_point = catalog::RecoveryPointId(point),
                              .repository = catalog::RepositoryId("main"),
                              .mode = catalog::RestoreMode::kInPlace,
                              .target_host = catalog::HostId(host_.host_id),
                              .replaced_vm = {catalog::HostId(host_.host_id), VmUuid(1)}};
    return daemon_.engine->Submit(spec)->id;
  };
  Begin();
  const catalog::JobId restore = in_place();
  const catalog::JobId beside = daemon_.SubmitBackup(host_, {2});
  // A job of another machine gets by; once it works, the queue has passed over the restore.
  const dispatch::AssignmentKey other = link_->AcceptAssignment();
  EXPECT_EQ(other.job, beside);
  EXPECT_EQ(daemon_.Get(restore).state, JobState::kQueued);
  EXPECT_EQ(daemon_.Get(restore).wait_reason, "VM_BUSY");
  link_->SayResult(other, AssignmentResult::OUTCOME_FAILED, "GUEST_STOPPED");
  link_->Await(DaemonMessage::kResultAcknowledged);
  Finish(disk);
  const dispatch::AssignmentKey restoring = link_->AcceptAssignment();
  EXPECT_EQ(restoring.job, restore);

  // And the other way round.
  const catalog::JobId backup = daemon_.SubmitBackup(host_, {1});
  const catalog::JobId second = in_place();
  ASSERT_TRUE(Eventually([&] { return daemon_.Get(second).wait_reason == "VM_BUSY"; }));
  EXPECT_EQ(daemon_.Get(backup).wait_reason, "VM_BUSY");
  EndWork(restoring);
  const dispatch::AssignmentKey next = link_->AcceptAssignment();
  EXPECT_EQ(next.job, backup) << "in the order of their coming";
  EXPECT_EQ(daemon_.Get(second).state, JobState::kQueued);
}

TEST_F(JobPairsTest, AMachineIsNeverInTwoJobs) {
  Begin({1, 2});
  const catalog::JobId shares = daemon_.SubmitBackup(host_, {2, 3});
  const catalog::JobId free = daemon_.SubmitBackup(host_, {4});
  const dispatch::AssignmentKey other = link_->AcceptAssignment();
  EXPECT_EQ(other.job, free);
  EXPECT_EQ(daemon_.Get(shares).wait_reason, "VM_BUSY");
  // Not even when somebody asks for just this job.
  const auto forced = daemon_.engine->Apply(shares, jobs::kCurrentAttempt, jobs::JobEvent::kAssign);
  EXPECT_EQ(base::ReasonOf(forced.status()), "VM_BUSY");
  link_->SayResult(key_, AssignmentResult::OUTCOME_FAILED, "GUEST_STOPPED");
  link_->Await(DaemonMessage::kResultAcknowledged);
  EXPECT_EQ(link_->AcceptAssignment().job, shares);
}

}  // namespace
}  // namespace umbra::api
