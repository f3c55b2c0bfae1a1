// Proves the flow as a requester sees it: order, the documents, that a failing writer ends a backup cleanly at every
// event, and that a restore writes no file before every writer is ready.
#include "agent/vss/requester.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/vss/coordinator.h"
#include "storage/base/status.h"
#include "tests/unit/agent/vss/scripted.h"

namespace umbra::vss {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::Record;
using testing::ScriptedProvider;
using testing::ScriptedWriter;
using ::testing::UnorderedElementsAre;

constexpr Guid kOne = Guid::Literal("00000000-0000-4000-8000-000000000001");
constexpr Guid kTwo = Guid::Literal("00000000-0000-4000-8000-000000000002");
constexpr Guid kProvider = Guid::Literal("00000000-0000-4000-8000-000000000009");
const ComponentId kA{kOne, "", "A"};
const ComponentId kB{kTwo, "", "B"};

class RequesterTest : public ::testing::Test {
 protected:
  RequesterTest()
      : one_("one", kOne, record_),
        two_("two", kTwo, record_),
        provider_("p", kProvider, record_),
        coordinator_(clock_, random_) {
    one_.AddComponent("A", "/a/");
    two_.AddComponent("B", "/b/");
    coordinator_.AddWriter(one_);
    coordinator_.AddWriter(two_);
    coordinator_.AddProvider(provider_);
  }

  BackupRequester Backup() { return BackupRequester(coordinator_.NewSession(), {}); }

  // Everything up to the documents, of both components.
  BackupDocuments Done() {
    BackupRequester backup(coordinator_.NewSession(), {});
    EXPECT_TRUE(backup.Gather().ok());
    EXPECT_TRUE(backup.Select({{kA, "option"}, {kB, ""}}).ok());
    EXPECT_TRUE(backup.Prepare().ok());
    EXPECT_TRUE(backup.Snapshot().ok());
    EXPECT_TRUE(backup.SetBackupSucceeded(kA, true).ok());
    EXPECT_TRUE(backup.SetBackupSucceeded(kB, false).ok());
    auto documents = backup.Documents();
    EXPECT_TRUE(documents.ok());
    EXPECT_TRUE(backup.Complete().ok());
    record_.Take();
    return *documents;
  }

  testing::StillClock clock_;
  base::SeededRandom random_{1};
  Record record_;
  ScriptedWriter one_, two_;
  ScriptedProvider provider_;
  Coordinator coordinator_;
};

TEST_F(RequesterTest, BackupGivesDocumentsThatCanBeReadAgain) {
  const BackupDocuments documents = Done();
  ASSERT_EQ(documents.writer_metadata.size(), 2u);
  const auto metadata = ParseWriterMetadata(documents.writer_metadata[0]);
  ASSERT_TRUE(metadata.ok());
  EXPECT_EQ(metadata->writer_name, "one");
  auto components = ParseBackupComponents(documents.backup_components);
  ASSERT_TRUE(components.ok());
  EXPECT_EQ(components->Find(kA)->succeeded, true);
  EXPECT_EQ(components->Find(kA)->backup_options, "option");
  EXPECT_EQ(components->Find(kB)->succeeded, false);
}

TEST_F(RequesterTest, RefusesStepsOutOfOrderAndGoesOnAfterwards) {
  auto backup = Backup();
  EXPECT_EQ(base::ReasonOf(backup.Prepare()), "VSS_BAD_STATE");
  EXPECT_EQ(base::ReasonOf(backup.Snapshot().status()), "VSS_BAD_STATE");
  EXPECT_EQ(base::ReasonOf(backup.Complete()), "VSS_BAD_STATE");
  EXPECT_EQ(base::ReasonOf(backup.SetBackupSucceeded(kA, true)), "VSS_BAD_STATE");
  ASSERT_TRUE(backup.Gather().ok());
  EXPECT_EQ(base::ReasonOf(backup.Gather().status()), "VSS_BAD_STATE");
  ASSERT_TRUE(backup.Select({{kA, ""}}).ok());
  ASSERT_TRUE(backup.Prepare().ok());
  EXPECT_EQ(base::ReasonOf(backup.Documents().status()), "VSS_BAD_STATE");
  ASSERT_TRUE(backup.Snapshot().ok());
  EXPECT_EQ(base::ReasonOf(backup.Complete()), "VSS_BAD_STATE");  // not marked yet
  ASSERT_TRUE(backup.SetBackupSucceeded(kA, true).ok());
  EXPECT_TRUE(backup.Complete().ok());
  EXPECT_EQ(base::ReasonOf(backup.Complete()), "VSS_BAD_STATE");
  EXPECT_TRUE(backup.Abort().ok());  // nothing left to abort
}

TEST_F(RequesterTest, UnknownComponentEndsTheBackup) {
  auto backup = Backup();
  ASSERT_TRUE(backup.Gather().ok());
  EXPECT_EQ(base::ReasonOf(backup.Select({{{kOne, "", "nobody"}, ""}})), "VSS_OBJECT_NOT_FOUND");
  EXPECT_EQ(base::ReasonOf(backup.Prepare()), "VSS_BAD_STATE");
}

TEST_F(RequesterTest, OfTwoBackupsTheSecondWaitsForTheFirstOnesSet) {
  auto first = Backup();
  auto second = Backup();
  for (BackupRequester* backup : {&first, &second}) {
    ASSERT_TRUE(backup->Gather().ok());
    ASSERT_TRUE(backup->Select({{kA, ""}}).ok());
  }
  ASSERT_TRUE(first.Prepare().ok());
  EXPECT_EQ(base::ReasonOf(second.Prepare()), "VSS_SNAPSHOT_SET_IN_PROGRESS");
  ASSERT_TRUE(first.Snapshot().ok());
  EXPECT_TRUE(second.Prepare().ok());  // the step may be tried again
}

// A writer that takes part and fails ends the backup, wherever it fails; nothing stays frozen, no copy stays.
TEST_F(RequesterTest, FailingWriterEndsTheBackupWithItsOwnReason) {
  for (const std::string event : {"PrepareBackup", "PrepareSnapshot", "Freeze", "Thaw", "PostSnapshot"}) {
    SCOPED_TRACE(event);
    one_.on.clear();
    one_.on[event] = [](EventContext&) { return base::MakeError(absl::StatusCode::kAborted, "CAUSE", "because"); };
    record_.Take();
    auto backup = Backup();
    ASSERT_TRUE(backup.Gather().ok());
    ASSERT_TRUE(backup.Select({{kA, ""}, {kB, ""}}).ok());
    absl::Status result = backup.Prepare();
    if (result.ok()) result = backup.Snapshot().status();
    EXPECT_EQ(base::ReasonOf(result), "CAUSE");
    EXPECT_EQ(CodeOf(result), Code::kWriterErrorRetryable);
    EXPECT_THAT(base::MessageOf(result), HasSubstr("writer \"one\" failed at " + event));
    const auto events = record_.Take();
    EXPECT_THAT(events, Contains("one.BackupShutdown"));
    EXPECT_THAT(events, Contains("two.BackupShutdown"));
    // Frozen writers are thawed or aborted.
    const auto count = [&](const std::string& e) { return std::count(events.begin(), events.end(), e); };
    EXPECT_LE(count("two.Freeze"), count("two.Thaw") + count("two.Abort"));
    EXPECT_EQ(count("p.PostFinalCommit"), count("p.DeleteSnapshots"));
    EXPECT_EQ(base::ReasonOf(backup.Complete()), "VSS_BAD_STATE");
    EXPECT_TRUE(backup.Abort().ok());
  }
}

TEST_F(RequesterTest, WritersFailureIsToldBeforeTheProvidersThatFollowsFromIt) {
  one_.on["PrepareSnapshot"] = [](EventContext&) { return base::MakeError(absl::StatusCode::kAborted, "CAUSE", "x"); };
  provider_.on["PostFinalCommit"] = [] { return Error(Code::kObjectNotFound, "empty copy"); };
  auto backup = Backup();
  ASSERT_TRUE(backup.Gather().ok());
  ASSERT_TRUE(backup.Select({{kA, ""}}).ok());
  ASSERT_TRUE(backup.Prepare().ok());
  EXPECT_EQ(base::ReasonOf(backup.Snapshot().status()), "CAUSE");
}

TEST_F(RequesterTest, AbortAfterEveryStepEndsClean) {
  for (int steps = 0; steps <= 4; ++steps) {
    SCOPED_TRACE(steps);
    record_.Take();
    auto backup = Backup();
    if (steps > 0) {
      ASSERT_TRUE(backup.Gather().ok());
    }
    if (steps > 1) {
      ASSERT_TRUE(backup.Select({{kA, ""}}).ok());
    }
    if (steps > 2) {
      ASSERT_TRUE(backup.Prepare().ok());
    }
    if (steps > 3) {
      ASSERT_TRUE(backup.Snapshot().ok());
    }
    EXPECT_TRUE(backup.Abort().ok());
    EXPECT_TRUE(backup.Abort().ok());
    const auto events = record_.Take();
    if (steps == 3) {
      EXPECT_THAT(events, Contains("one.Abort"));
    }
    if (steps == 4) {
      EXPECT_THAT(events, Not(Contains("one.Abort")));  // has had PostSnapshot
    }
    if (steps == 4) {
      EXPECT_THAT(events, Contains("p.DeleteSnapshots"));
    }
    if (steps >= 3) {
      EXPECT_EQ(events.back(), "one.BackupShutdown");
    }
    // The lock is free again.
    auto next = Backup();
    ASSERT_TRUE(next.Gather().ok());
    ASSERT_TRUE(next.Select({{kA, ""}}).ok());
    EXPECT_TRUE(next.Prepare().ok());
  }
}

TEST_F(RequesterTest, ErrorAtCompleteIsTheWritersNotTheBackups) {
  one_.on["BackupComplete"] = [](EventContext&) { return absl::InternalError("logs not truncated"); };
  auto backup = Backup();
  ASSERT_TRUE(backup.Gather().ok());
  ASSERT_TRUE(backup.Select({{kA, ""}}).ok());
  ASSERT_TRUE(backup.Prepare().ok());
  ASSERT_TRUE(backup.Snapshot().ok());
  ASSERT_TRUE(backup.SetBackupSucceeded(kA, true).ok());
  EXPECT_FALSE(backup.Complete().ok());
  EXPECT_THAT(record_.Take(), Contains("p.DeleteSnapshots"));
}

// --- restore ---

TEST_F(RequesterTest, RestoreAsksOnlySelectedWritersAndTellsThemTheFileStatus) {
  const BackupDocuments documents = Done();
  one_.on["PreRestore"] = [](EventContext& context) {
    EXPECT_EQ(context.components[0].restore_options, "how");
    context.components[0].restore_metadata = "remember";
    return absl::OkStatus();
  };
  one_.on["PostRestore"] = [](EventContext& context) {
    EXPECT_EQ(context.components[0].file_restore_status, FileRestoreStatus::kAll);
    EXPECT_EQ(context.components[0].restore_metadata, "remember");
    return absl::OkStatus();
  };
  RestoreRequester restore(coordinator_.NewSession(), documents);
  ASSERT_TRUE(restore.Gather().ok());
  ASSERT_TRUE(restore.Select({{kA, "how", {}}}).ok());
  record_.Take();
  ASSERT_TRUE(restore.PreRestore().ok());
  ASSERT_TRUE(restore.SetFileRestoreStatus(kA, FileRestoreStatus::kAll).ok());
  EXPECT_TRUE(restore.PostRestore().ok());
  EXPECT_THAT(record_.Take(), ElementsAre("one.PreRestore", "one.PostRestore"));
}

TEST_F(RequesterTest, WhatTheSessionIsToldForARestoreReachesTheWriter) {
  const BackupDocuments documents = Done();
  one_.on["PreRestore"] = [](EventContext& context) {
    const BackupComponent& c = context.components[0];
    EXPECT_THAT(c.restore_subcomponents, ElementsAre("A\\part"));
    EXPECT_TRUE(c.additional_restores);
    EXPECT_THAT(c.new_targets, ElementsAre(NewTarget{"/old", "*", false, "/new"}));
    return absl::OkStatus();
  };
  auto session = coordinator_.NewSession();
  ASSERT_TRUE(session->InitializeForRestore(documents.backup_components).ok());
  ASSERT_TRUE(session->GatherWriterMetadata().ok());
  ASSERT_TRUE(session->SetSelectedForRestore(kA).ok());
  ASSERT_TRUE(session->AddRestoreSubcomponent(kA, "A\\part").ok());
  ASSERT_TRUE(session->SetAdditionalRestores(kA, true).ok());
  ASSERT_TRUE(session->AddNewTarget(kA, {"/old", "*", false, "/new"}).ok());
  ASSERT_TRUE(session->PreRestore().ok());
  EXPECT_THAT(record_.Take(), Contains("one.PreRestore"));
  EXPECT_EQ(CodeOf(session->AddNewTarget(kA, {"/old", "*", false, "/late"})), Code::kBadState);
}

// R3: PreRestore returns when ALL writers are done, also the slow one.
TEST_F(RequesterTest, R3PreRestoreWaitsForAllWriters) {
  const BackupDocuments documents = Done();
  std::atomic<bool> slow_done = false;
  two_.on["PreRestore"] = [&](EventContext&) {
    base::SystemClock().Sleep(absl::Milliseconds(30));
    slow_done = true;
    return absl::OkStatus();
  };
  RestoreRequester restore(coordinator_.NewSession(), documents);
  ASSERT_TRUE(restore.Gather().ok());
  ASSERT_TRUE(restore.Select({{kA, "", {}}, {kB, "", {}}}).ok());
  ASSERT_TRUE(restore.PreRestore().ok());
  EXPECT_TRUE(slow_done);
}

TEST_F(RequesterTest, FailedPreRestoreStopsTheRestoreAndTheOthersCleanUp) {
  const BackupDocuments documents = Done();
  one_.on["PreRestore"] = [](EventContext&) { return base::MakeError(absl::StatusCode::kAborted, "CAUSE", "x"); };
  two_.on["PostRestore"] = [](EventContext& context) {
    EXPECT_EQ(context.components[0].file_restore_status, FileRestoreStatus::kFailed);
    return absl::OkStatus();
  };
  RestoreRequester restore(coordinator_.NewSession(), documents);
  ASSERT_TRUE(restore.Gather().ok());
  ASSERT_TRUE(restore.Select({{kA, "", {}}, {kB, "", {}}}).ok());
  record_.Take();
  EXPECT_EQ(base::ReasonOf(restore.PreRestore()), "CAUSE");
  EXPECT_THAT(record_.Take(), UnorderedElementsAre("one.PreRestore", "two.PreRestore", "two.PostRestore"));
  EXPECT_EQ(base::ReasonOf(restore.SetFileRestoreStatus(kA, FileRestoreStatus::kAll)), "VSS_BAD_STATE");
}

TEST_F(RequesterTest, GivingUpARestoreStillCallsPostRestore) {
  const BackupDocuments documents = Done();
  one_.on["PostRestore"] = [](EventContext& context) {
    EXPECT_EQ(context.components[0].file_restore_status, FileRestoreStatus::kFailed);
    return absl::OkStatus();
  };
  {
    RestoreRequester restore(coordinator_.NewSession(), documents);
    ASSERT_TRUE(restore.Gather().ok());
    ASSERT_TRUE(restore.Select({{kA, "", {}}}).ok());
    ASSERT_TRUE(restore.PreRestore().ok());
  }
  EXPECT_THAT(record_.Take(), Contains("one.PostRestore"));
}

TEST_F(RequesterTest, RestoreRefusesDamagedDocumentsAndMissingWriters) {
  BackupDocuments documents = Done();
  {
    RestoreRequester restore(coordinator_.NewSession(), {documents.writer_metadata, "<oops"});
    EXPECT_EQ(base::ReasonOf(restore.Gather()), "VSS_DOCUMENT_INVALID");
  }
  one_.on["Identify"] = [](EventContext&) { return absl::InternalError("gone"); };
  RestoreRequester restore(coordinator_.NewSession(), documents);
  ASSERT_TRUE(restore.Gather().ok());
  EXPECT_EQ(base::ReasonOf(restore.Select({{kA, "", {}}})), "VSS_OBJECT_NOT_FOUND");
}

}  // namespace
}  // namespace umbra::vss
