// Proves the order of events and calls, the time limits, and who is told about whose failure, with writers and
// providers that record what they are asked. A hang is a handler that moves the clock beyond its limit and then waits.
#include "agent/vss/coordinator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "storage/base/status.h"
#include "tests/unit/agent/vss/two_writers.h"

namespace umbra::vss {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::Record;
using testing::ScriptedProvider;
using testing::ScriptedWriter;

using testing::kFront;
using testing::kProvider;
using testing::kSystem;

class CoordinatorTest : public testing::TwoWritersTest {
 protected:
  std::unique_ptr<Session> Prepared() { return TwoWritersTest::Prepared({"/a/", "/b/"}); }

  // What is only recorded in one order because writers of one level run side by side.
  std::vector<std::string> Of(const std::string& who) {
    std::vector<std::string> mine;
    for (const std::string& event : taken_) {
      if (event.starts_with(who + ".")) mine.push_back(event.substr(who.size() + 1));
    }
    return mine;
  }

  // A handler that takes longer than `limit` and returns only when the test ends.
  std::function<absl::Status()> Hang(absl::Duration limit) {
    return [this, limit] { return TwoWritersTest::Hang(limit + absl::Seconds(1)); };
  }

  std::vector<std::string> taken_;
};

TEST_F(CoordinatorTest, BackupRunsInTheDocumentedOrder) {
  auto session = coordinator_->NewSession();
  ASSERT_TRUE(session->InitializeForBackup().ok());
  ASSERT_TRUE(session->SetBackupState({}).ok());
  ASSERT_TRUE(session->GatherWriterMetadata().ok());
  ASSERT_TRUE(session->AddComponent({kFront, "", "A"}).ok());
  ASSERT_TRUE(session->StartSnapshotSet().ok());
  ASSERT_TRUE(session->AddToSnapshotSet("/a/", Guid()).ok());
  EXPECT_THAT(record_.Take(),
              ::testing::UnorderedElementsAre("front.Identify", "system.Identify", "p.BeginPrepare(/a/)"));
  ASSERT_TRUE(session->PrepareForBackup().ok());
  ASSERT_TRUE(session->DoSnapshotSet().ok());
  ASSERT_TRUE(session->SetBackupSucceeded({kFront, "", "A"}, true).ok());
  ASSERT_TRUE(session->BackupComplete().ok());
  ASSERT_TRUE(session->Release().ok());
  // The other writer has no component: no event after Identify.
  EXPECT_THAT(record_.Take(),
              ElementsAre("front.PrepareBackup", "front.PrepareSnapshot", "p.EndPrepare", "front.Freeze", "p.PreCommit",
                          "p.Commit", "p.PostCommit", "front.Thaw", "p.PreFinalCommit", "front.PostSnapshot",
                          "p.PostFinalCommit", "front.BackupComplete", "p.DeleteSnapshots", "front.BackupShutdown"));
}

TEST_F(CoordinatorTest, FreezesTheFrontEndFirstAndThawsItLast) {
  auto session = Prepared();
  ASSERT_TRUE(session->DoSnapshotSet().ok());
  auto events = record_.Take();
  std::erase_if(events, [](const auto& e) { return !e.ends_with("Freeze") && !e.ends_with("Thaw"); });
  EXPECT_THAT(events, ElementsAre("front.Freeze", "system.Freeze", "system.Thaw", "front.Thaw"));
}

TEST_F(CoordinatorTest, WritersOfOneLevelRunAtTheSameTime) {
  system_.identity_.level = ApplicationLevel::kFrontEnd;
  absl::Notification first, second;
  // Each waits for the other: one after another would hang.
  front_.on["PrepareSnapshot"] = [&](EventContext&) {
    return first.Notify(), second.WaitForNotification(), absl::OkStatus();
  };
  system_.on["PrepareSnapshot"] = [&](EventContext&) {
    return second.Notify(), first.WaitForNotification(), absl::OkStatus();
  };
  auto session = Prepared();
  EXPECT_TRUE(session->DoSnapshotSet().ok());
}

TEST_F(CoordinatorTest, SetIsMadeAlthoughAWriterFailedAtPrepareSnapshotWhichGetsNoAbort) {
  front_.on["PrepareSnapshot"] = [](EventContext&) { return absl::UnavailableError("busy"); };
  auto session = Prepared();
  EXPECT_TRUE(session->DoSnapshotSet().ok());
  taken_ = record_.Take();
  EXPECT_THAT(Of("front"), ElementsAre("PrepareSnapshot"));
  EXPECT_THAT(Of("system"), ElementsAre("PrepareSnapshot", "Freeze", "Thaw", "PostSnapshot"));
  EXPECT_EQ(StatusOf(*session, kFront).state, WriterState::kFailedAtPrepareSnapshot);
  EXPECT_EQ(CodeOf(StatusOf(*session, kFront).failure), Code::kWriterErrorRetryable);
  EXPECT_EQ(StatusOf(*session, kSystem).state, WriterState::kWaitingForBackupComplete);
  // Whoever failed there may wait for the Abort of the requester, or for the shutdown.
  ASSERT_TRUE(session->AbortBackup().ok());
  ASSERT_TRUE(session->Release().ok());
  taken_ = record_.Take();
  EXPECT_THAT(Of("front"), ElementsAre("Abort", "BackupShutdown"));
  EXPECT_THAT(Of("system"), ElementsAre("BackupShutdown"));  // never after PostSnapshot
  EXPECT_THAT(Of("p"), ElementsAre("DeleteSnapshots"));
}

TEST_F(CoordinatorTest, WriterThatFailsAtPostSnapshotGetsNoAbort) {
  front_.on["PostSnapshot"] = [](EventContext&) { return absl::InternalError("no"); };
  auto session = Prepared();
  EXPECT_TRUE(session->DoSnapshotSet().ok());
  EXPECT_EQ(StatusOf(*session, kFront).state, WriterState::kFailedAtPostSnapshot);
  ASSERT_TRUE(session->AbortBackup().ok());
  EXPECT_THAT(record_.Take(), Not(Contains(HasSubstr("Abort"))));
}

TEST_F(CoordinatorTest, VetoAtFreezeAbortsThatWriterAlone) {
  front_.on["Freeze"] = [](EventContext&) { return absl::FailedPreconditionError("not now"); };
  auto session = Prepared();
  EXPECT_TRUE(session->DoSnapshotSet().ok());
  taken_ = record_.Take();
  EXPECT_THAT(Of("front"), ElementsAre("PrepareSnapshot", "Freeze", "Abort"));
  EXPECT_THAT(Of("system"), ElementsAre("PrepareSnapshot", "Freeze", "Thaw", "PostSnapshot"));
  EXPECT_EQ(StatusOf(*session, kFront).state, WriterState::kFailedAtFreeze);
  EXPECT_EQ(CodeOf(StatusOf(*session, kFront).failure), Code::kWriterErrorNonRetryable);
}

TEST_F(CoordinatorTest, StatusTellsWhenAWriterWasFrozen) {
  const auto takes = [this](int ms) {
    return [this, ms](EventContext&) { return clock_.AdvanceWhileAwaited(absl::Milliseconds(ms)), absl::OkStatus(); };
  };
  front_.on["Freeze"] = takes(30);
  system_.on["Freeze"] = takes(5);
  system_.on["Thaw"] = takes(7);
  auto session = Prepared();
  EXPECT_FALSE(StatusOf(*session, kFront).freeze.has_value());
  const absl::Time start = clock_.Now();
  EXPECT_TRUE(session->DoSnapshotSet().ok());
  const auto front = StatusOf(*session, kFront).freeze, system = StatusOf(*session, kSystem).freeze;
  ASSERT_TRUE(front.has_value() && system.has_value());
  EXPECT_EQ(front->freeze, start);
  EXPECT_EQ(front->frozen, start + absl::Milliseconds(30));
  EXPECT_EQ(system->freeze, start + absl::Milliseconds(30)) << "the front end first";
  EXPECT_EQ(system->frozen, start + absl::Milliseconds(35));
  EXPECT_EQ(system->thaw, start + absl::Milliseconds(35));
  EXPECT_EQ(system->thawed, start + absl::Milliseconds(42));
  EXPECT_EQ(front->thaw, start + absl::Milliseconds(42)) << "and thawed last";
  EXPECT_EQ(front->thawed, start + absl::Milliseconds(42));
  EXPECT_TRUE(session->Release().ok());
  EXPECT_EQ(StatusOf(*session, kFront).freeze->thawed, front->thawed) << "also after its end";
}

TEST_F(CoordinatorTest, WriterThatVetoesTheFreezeWasNeverFrozenAndIsLetGo) {
  front_.on["Freeze"] = [](EventContext&) { return absl::FailedPreconditionError("not now"); };
  auto session = Prepared();
  EXPECT_TRUE(session->DoSnapshotSet().ok());
  const auto front = StatusOf(*session, kFront).freeze;
  ASSERT_TRUE(front.has_value());
  EXPECT_FALSE(front->frozen.has_value());
  EXPECT_TRUE(front->thaw.has_value() && front->thawed.has_value()) << "by its Abort";
}

TEST_F(CoordinatorTest, ThrowingWriterHasFailed) {
  front_.on["Thaw"] = [](EventContext&) -> absl::Status { throw std::runtime_error("oops"); };
  auto session = Prepared();
  EXPECT_TRUE(session->DoSnapshotSet().ok());
  taken_ = record_.Take();
  EXPECT_THAT(Of("front"), ElementsAre("PrepareSnapshot", "Freeze", "Thaw", "Abort"));
  EXPECT_EQ(StatusOf(*session, kFront).state, WriterState::kFailedAtThaw);
}

// A frozen writer gets Thaw or Abort, whatever the provider does, and the set fails.
TEST_F(CoordinatorTest, ProviderFailureAnywhereFailsTheSetAndThawsEverybody) {
  struct Case {
    std::string call;
    bool aborts_writers;  // false: they have had PostSnapshot
  };
  for (const Case& c : {Case{"EndPrepare", true}, Case{"PreCommit", true}, Case{"Commit", true},
                        Case{"PostCommit", true}, Case{"PreFinalCommit", true}, Case{"PostFinalCommit", false}}) {
    SCOPED_TRACE(c.call);
    provider_.on.clear();
    provider_.on[c.call] = [] { return base::MakeError(absl::StatusCode::kUnavailable, "CAUSE", "broken"); };
    auto session = Prepared();
    const absl::Status made = session->DoSnapshotSet();
    EXPECT_EQ(CodeOf(made), Code::kUnexpectedProviderError);
    EXPECT_EQ(base::ReasonOf(made), "CAUSE");
    taken_ = record_.Take();
    for (const std::string writer : {"front", "system"}) {
      const auto events = Of(writer);
      EXPECT_EQ(events.back(), c.aborts_writers ? "Abort" : "PostSnapshot");
      if (c.call == "EndPrepare") {
        EXPECT_THAT(events, Not(Contains("Freeze")));
      }
    }
    EXPECT_EQ(taken_.back(), "p.AbortSnapshots");  // when the writers run again
    // After that BackupComplete is forbidden, abort changes nothing, and nothing is left to delete.
    EXPECT_EQ(CodeOf(session->BackupComplete()), Code::kBadState);
    EXPECT_TRUE(session->AbortBackup().ok());
    EXPECT_TRUE(session->Release().ok());
    taken_ = record_.Take();
    EXPECT_THAT(taken_, ::testing::UnorderedElementsAre("front.BackupShutdown", "system.BackupShutdown"));
  }
}

TEST_F(CoordinatorTest, HoldEndsAfterTenSeconds) {
  provider_.on["Commit"] = Hang(absl::Seconds(10));
  auto session = Prepared();
  const absl::Status made = session->DoSnapshotSet();
  EXPECT_EQ(CodeOf(made), Code::kHoldWritesTimeout);
  EXPECT_EQ(base::ReasonOf(made), "VSS_TIMEOUT");
  EXPECT_TRUE(IsRetryable(made));
  taken_ = record_.Take();
  EXPECT_EQ(Of("front").back(), "Abort");
  EXPECT_EQ(Of("system").back(), "Abort");
  release_.Notify();  // the late provider still gets its AbortSnapshots
  session.reset();
  coordinator_.reset();
  taken_ = record_.Take();
  EXPECT_THAT(Of("p"), ElementsAre("AbortSnapshots"));
}

TEST_F(CoordinatorTest, NoProviderIsWaitedForBeyondTheFirstWritersFreezeLimit) {
  system_.limits_.freeze = absl::Seconds(2);
  provider_.on["PreCommit"] = Hang(absl::Seconds(2));
  auto session = Prepared();
  EXPECT_EQ(CodeOf(session->DoSnapshotSet()), Code::kUnexpectedProviderError);
  taken_ = record_.Take();
  EXPECT_EQ(Of("front").back(), "Abort");
  EXPECT_EQ(Of("system").back(), "Abort");
  EXPECT_LT(clock_.Monotonic(), absl::Seconds(5));
}

TEST_F(CoordinatorTest, ThawThatComesTooLateIsAFailureAtFreeze) {
  system_.on["Thaw"] = [&](EventContext&) { return clock_.AdvanceWhileAwaited(absl::Seconds(61)), absl::OkStatus(); };
  auto session = Prepared();
  EXPECT_TRUE(session->DoSnapshotSet().ok());
  EXPECT_EQ(StatusOf(*session, kSystem).state, WriterState::kFailedAtFreeze);
  EXPECT_EQ(CodeOf(StatusOf(*session, kSystem).failure), Code::kWriterErrorTimeout);
}

TEST_F(CoordinatorTest, WriterThatHangsInFreezeIsLeftBehindAndAbortedWhenItReturns) {
  front_.on["Freeze"] = [this](EventContext&) { return Hang(absl::Seconds(60))(); };
  system_.limits_.freeze = absl::Minutes(5);
  auto session = Prepared();
  EXPECT_TRUE(session->DoSnapshotSet().ok());
  EXPECT_EQ(StatusOf(*session, kFront).state, WriterState::kFailedAtFreeze);
  EXPECT_EQ(CodeOf(StatusOf(*session, kFront).failure), Code::kWriterErrorTimeout);
  EXPECT_EQ(StatusOf(*session, kSystem).state, WriterState::kWaitingForBackupComplete);
  session.reset();  // doesn't wait for the hung one
  taken_ = record_.Take();
  EXPECT_THAT(Of("front"), Not(Contains("Abort")));
  release_.Notify();
  coordinator_.reset();
  taken_ = record_.Take();
  EXPECT_THAT(Of("front"), ElementsAre("Abort", "BackupShutdown"));
}

TEST_F(CoordinatorTest, WriterThatDoesNotAnswerHasFailedThere) {
  front_.on["PrepareSnapshot"] = [this](EventContext&) { return Hang(absl::Minutes(10))(); };
  system_.limits_.prepare_snapshot = absl::Hours(1);
  auto session = Prepared();
  EXPECT_TRUE(session->DoSnapshotSet().ok());
  EXPECT_EQ(StatusOf(*session, kFront).state, WriterState::kFailedAtPrepareSnapshot);
  EXPECT_EQ(CodeOf(StatusOf(*session, kFront).failure), Code::kWriterNotResponding);
  EXPECT_THAT(base::MessageOf(StatusOf(*session, kFront).failure), HasSubstr("10m"));
}

TEST_F(CoordinatorTest, WriterThatFailsAtIdentifyIsAbsent) {
  front_.on["Identify"] = [](EventContext&) { return absl::InternalError("no"); };
  auto session = coordinator_->NewSession();
  ASSERT_TRUE(session->InitializeForBackup().ok());
  ASSERT_TRUE(session->GatherWriterMetadata().ok());
  EXPECT_EQ(session->writer_metadata().size(), 1u);
  EXPECT_EQ(CodeOf(session->AddComponent({kFront, "", "A"})), Code::kObjectNotFound);
  EXPECT_EQ(coordinator_->LastWriterStatus()[0].state, WriterState::kFailedAtIdentify);
}

TEST_F(CoordinatorTest, OneSetIsMadeAtATime) {
  auto first = Prepared();
  auto second = coordinator_->NewSession();
  ASSERT_TRUE(second->InitializeForBackup().ok());
  ASSERT_TRUE(second->GatherWriterMetadata().ok());
  EXPECT_EQ(CodeOf(second->StartSnapshotSet().status()), Code::kSnapshotSetInProgress);
  ASSERT_TRUE(first->DoSnapshotSet().ok());
  EXPECT_TRUE(second->StartSnapshotSet().ok());  // the first one's copies still exist
  auto third = coordinator_->NewSession();
  ASSERT_TRUE(third->InitializeForBackup().ok());
  ASSERT_TRUE(third->GatherWriterMetadata().ok());
  EXPECT_EQ(CodeOf(third->StartSnapshotSet().status()), Code::kSnapshotSetInProgress);
  second.reset();  // given up: the lock goes with it
  EXPECT_TRUE(third->StartSnapshotSet().ok());
}

TEST_F(CoordinatorTest, SetHoldsAtMost64Volumes) {
  auto session = coordinator_->NewSession();
  ASSERT_TRUE(session->InitializeForBackup().ok());
  ASSERT_TRUE(session->GatherWriterMetadata().ok());
  ASSERT_TRUE(session->StartSnapshotSet().ok());
  for (int i = 0; i < 64; ++i) ASSERT_TRUE(session->AddToSnapshotSet("/" + std::to_string(i) + "/", Guid()).ok());
  EXPECT_EQ(CodeOf(session->AddToSnapshotSet("/64/", Guid()).status()), Code::kMaximumNumberOfVolumesReached);
}

TEST_F(CoordinatorTest, VolumesAreAskedForAndAddedOnce) {
  provider_.prefix = "/a";
  auto session = coordinator_->NewSession();
  ASSERT_TRUE(session->InitializeForBackup().ok());
  ASSERT_TRUE(session->GatherWriterMetadata().ok());
  ASSERT_TRUE(session->StartSnapshotSet().ok());
  EXPECT_TRUE(session->AddToSnapshotSet("/a/", Guid()).ok());
  EXPECT_EQ(CodeOf(session->AddToSnapshotSet("/a/", Guid()).status()), Code::kObjectAlreadyExists);
  EXPECT_EQ(CodeOf(session->AddToSnapshotSet("/b/", Guid()).status()), Code::kVolumeNotSupported);
  EXPECT_EQ(CodeOf(session->AddToSnapshotSet("/b/", kProvider).status()), Code::kVolumeNotSupportedByProvider);
  EXPECT_EQ(CodeOf(session->AddToSnapshotSet("/b/", kFront).status()), Code::kProviderNotRegistered);
}

TEST_F(CoordinatorTest, ManyVolumesGoToTheFirstProviderThatSupportsEach) {
  ScriptedProvider hardware("hw", kSystem, record_);
  hardware.identity_.type = ProviderType::kHardware;
  hardware.prefix = "/b";
  coordinator_->AddProvider(hardware);
  auto session = coordinator_->NewSession();
  ASSERT_TRUE(session->InitializeForBackup().ok());
  ASSERT_TRUE(session->SetBackupState({}).ok());
  ASSERT_TRUE(session->GatherWriterMetadata().ok());
  ASSERT_TRUE(session->StartSnapshotSet().ok());
  record_.Take();
  const auto ids = session->AddVolumesToSnapshotSet({"/a/", "/b/", "/c/"});
  ASSERT_TRUE(ids.ok()) << ids.status();
  EXPECT_EQ(ids->size(), 3u);
  EXPECT_THAT(record_.Take(), ElementsAre("hw.BeginPrepare(/b/)", "p.BeginPrepare(/a/)", "p.BeginPrepare(/c/)"));
  EXPECT_EQ(session->components().snapshots[1].provider_id, kSystem);
  EXPECT_EQ(session->components().snapshots[2].snapshot_id, (*ids)[2]);
  EXPECT_EQ(CodeOf(session->AddVolumesToSnapshotSet({"/d/", "/d/"}).status()), Code::kObjectAlreadyExists);
  EXPECT_EQ(CodeOf(session->AddVolumesToSnapshotSet({"/c/"}).status()), Code::kObjectAlreadyExists);
  EXPECT_EQ(CodeOf(session->AddVolumesToSnapshotSet({"nowhere"}).status()), Code::kVolumeNotSupported);
  EXPECT_EQ(CodeOf(session->AddVolumesToSnapshotSet(std::vector<std::string>(62, "/x/")).status()),
            Code::kMaximumNumberOfVolumesReached);
  // Both are called in every phase.
  ASSERT_TRUE(session->PrepareForBackup().ok());
  ASSERT_TRUE(session->DoSnapshotSet().ok());
  EXPECT_THAT(record_.Take(), ::testing::IsSupersetOf({"p.Commit", "hw.Commit", "p.EndPrepare", "hw.EndPrepare"}));
}

TEST_F(CoordinatorTest, RefusesCallsInTheWrongPlace) {
  auto session = coordinator_->NewSession();
  EXPECT_EQ(CodeOf(session->GatherWriterMetadata()), Code::kBadState);
  ASSERT_TRUE(session->InitializeForBackup().ok());
  EXPECT_EQ(CodeOf(session->InitializeForRestore("")), Code::kBadState);
  EXPECT_EQ(CodeOf(session->SetContext(kAttrImported)), Code::kUnsupportedContext);
  EXPECT_EQ(CodeOf(session->StartSnapshotSet().status()), Code::kBadState);
  ASSERT_TRUE(session->GatherWriterMetadata().ok());
  EXPECT_EQ(CodeOf(session->GatherWriterMetadata()), Code::kBadState);  // once per session
  EXPECT_EQ(CodeOf(session->PrepareForBackup()), Code::kBadState);
  EXPECT_EQ(CodeOf(session->DoSnapshotSet()), Code::kBadState);
  EXPECT_EQ(CodeOf(session->SaveAsXml().status()), Code::kBadState);
  EXPECT_EQ(CodeOf(session->PreRestore()), Code::kBadState);
  EXPECT_TRUE(session->AbortBackup().ok());  // nothing under way: ignored
}

TEST_F(CoordinatorTest, WriterSeesTheSetAndItsMetadataGoesIntoTheDocument) {
  front_.on["PrepareSnapshot"] = [](EventContext& context) {
    EXPECT_THAT(context.volumes, ElementsAre("/a/", "/b/"));
    EXPECT_FALSE(context.snapshot_set_id.is_null());
    EXPECT_EQ(context.components.size(), 1u);  // not the other writer's
    context.components[0].backup_metadata = std::string("\0fact", 5);
    context.components[0].succeeded = true;  // isn't the writer's to say
    return absl::OkStatus();
  };
  front_.on["BackupComplete"] = [](EventContext& context) {
    context.components[0].backup_metadata = "too late";
    return absl::OkStatus();
  };
  auto session = Prepared();
  ASSERT_TRUE(session->DoSnapshotSet().ok());
  ASSERT_TRUE(session->BackupComplete().ok());
  auto document = ParseBackupComponents(*session->SaveAsXml());
  ASSERT_TRUE(document.ok()) << document.status();
  BackupComponent* component = document->Find({kFront, "", "A"});
  ASSERT_NE(component, nullptr);
  EXPECT_EQ(component->backup_metadata, std::string("\0fact", 5));
  EXPECT_FALSE(component->succeeded.has_value());
  EXPECT_EQ(document->snapshots.size(), 2u);
}

TEST_F(CoordinatorTest, ContextWithoutWritersAsksNone) {
  auto session = coordinator_->NewSession();
  ASSERT_TRUE(session->InitializeForBackup().ok());
  ASSERT_TRUE(session->SetContext(kContextFileShareBackup).ok());
  ASSERT_TRUE(session->GatherWriterMetadata().ok());
  EXPECT_FALSE(session->AddComponent({kFront, "", "A"}).ok());
  ASSERT_TRUE(session->StartSnapshotSet().ok());
  ASSERT_TRUE(session->AddToSnapshotSet("/a/", Guid()).ok());
  EXPECT_FALSE(session->PrepareForBackup().ok());
  record_.Take();
  EXPECT_TRUE(session->DoSnapshotSet().ok());
  for (const std::string& event : record_.Take()) EXPECT_TRUE(event.starts_with("p.")) << event;
}

TEST_F(CoordinatorTest, PersistentSnapshotsOutliveTheSession) {
  auto session = coordinator_->NewSession();
  ASSERT_TRUE(session->InitializeForBackup().ok());
  ASSERT_TRUE(session->SetContext(kContextAppRollback).ok());
  ASSERT_TRUE(session->SetBackupState({}).ok());
  ASSERT_TRUE(session->GatherWriterMetadata().ok());
  ASSERT_TRUE(session->AddComponent({kFront, "", "A"}).ok());
  ASSERT_TRUE(session->StartSnapshotSet().ok());
  ASSERT_TRUE(session->AddToSnapshotSet("/a/", Guid()).ok());
  ASSERT_TRUE(session->PrepareForBackup().ok());
  ASSERT_TRUE(session->DoSnapshotSet().ok());
  session.reset();
  EXPECT_THAT(record_.Take(), Not(Contains("p.DeleteSnapshots")));
}

}  // namespace
}  // namespace umbra::vss
