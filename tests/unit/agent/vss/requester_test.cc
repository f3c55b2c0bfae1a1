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

// --- which writers and components take part ---

TEST_F(RequesterTest, DisabledAndNotEnabledWritersAreNotEvenAsked) {
  for (const BackupSettings& settings :
       {BackupSettings{.enabled_classes = {kOne}}, BackupSettings{.disabled_classes = {kTwo}},
        BackupSettings{.disabled_instances = {kTwo}}}) {
    record_.Take();
    BackupRequester backup(coordinator_.NewSession(), settings);
    const auto metadata = backup.Gather();
    ASSERT_TRUE(metadata.ok());
    ASSERT_EQ(metadata->size(), 1u);
    EXPECT_EQ((*metadata)[0].writer_id, kOne);
    EXPECT_THAT(record_.Take(), ElementsAre("one.Identify"));
  }
}

TEST_F(RequesterTest, InstancesOfOneClassHaveTheirOwnComponents) {
  Coordinator coordinator(clock_, random_);
  ScriptedWriter second("second", kOne, record_);
  second.identity_.instance_id = second.metadata.instance_id = kTwo;
  second.AddComponent("Z", "/z/");
  coordinator.AddWriter(one_);
  coordinator.AddWriter(second);
  coordinator.AddProvider(provider_);
  second.on["PrepareBackup"] = [](EventContext& context) {
    EXPECT_EQ(context.components.size(), 1u);
    EXPECT_EQ(context.components[0].name, "Z");
    context.components[0].backup_metadata = "of second";
    return absl::OkStatus();
  };
  BackupRequester backup(coordinator.NewSession(), {});
  ASSERT_TRUE(backup.Gather().ok());
  ASSERT_TRUE(backup.Select({{{kOne, "", "Z"}, ""}}).ok());
  record_.Take();
  ASSERT_TRUE(backup.Prepare().ok());
  EXPECT_THAT(record_.Take(), ElementsAre("p.BeginPrepare(/z/)", "second.PrepareBackup"));
  ASSERT_TRUE(backup.Snapshot().ok());
  auto document = ParseBackupComponents(backup.Documents()->backup_components);
  EXPECT_EQ(document->Find({kOne, "", "Z"})->backup_metadata, "of second");
}

TEST_F(RequesterTest, VolumesOfWhatComesAlongAreInTheSetAndIllegalSelectionsAreRefused) {
  Component set, part, must;
  set.name = "set";
  part.logical_path = "set";
  part.name = "part";
  part.selectable = false;
  part.volumes = {"/part/"};
  one_.metadata.components = {set, part};
  auto backup = Backup();
  ASSERT_TRUE(backup.Gather().ok());
  ASSERT_TRUE(backup.Select({{{kOne, "", "set"}, ""}}).ok());
  record_.Take();
  ASSERT_TRUE(backup.Prepare().ok());
  EXPECT_THAT(record_.Take(), Contains("p.BeginPrepare(/part/)"));
  ASSERT_TRUE(backup.Abort().ok());

  auto implicit = Backup();
  ASSERT_TRUE(implicit.Gather().ok());
  EXPECT_EQ(base::ReasonOf(implicit.Select({{{kOne, "set", "part"}, ""}})), "INVALID_REQUEST");

  must.name = "must";
  must.selectable = false;
  one_.metadata.components.push_back(must);
  auto without = Backup();
  ASSERT_TRUE(without.Gather().ok());
  EXPECT_EQ(base::ReasonOf(without.Select({{{kOne, "", "set"}, ""}})), "INVALID_REQUEST");
  auto with = Backup();
  ASSERT_TRUE(with.Gather().ok());
  EXPECT_TRUE(with.Select({{{kOne, "", "set"}, ""}, {{kOne, "", "must"}, ""}}).ok());
}

TEST_F(RequesterTest, VolumesWithoutComponentsAreCopiedWithoutWriters) {
  BackupRequester backup(coordinator_.NewSession(), {.context = kContextFileShareBackup, .volumes = {"/x/", "/y/"}});
  ASSERT_TRUE(backup.Gather().ok());
  ASSERT_TRUE(backup.Select({}).ok());
  ASSERT_TRUE(backup.Prepare().ok());
  record_.Take();
  const auto set = backup.Snapshot();
  ASSERT_TRUE(set.ok()) << set.status();
  EXPECT_EQ(set->snapshots.size(), 2u);
  EXPECT_TRUE(backup.Complete().ok());
  for (const std::string& event : record_.Take()) EXPECT_TRUE(event.starts_with("p.")) << event;
}

TEST_F(RequesterTest, SetIsLeftOutWhenNoFileMustComeFromIt) {
  FileSet live;
  live.path = "/a";
  live.filespec = "*";
  live.backup_type_mask = kFileSpecFullBackupRequired;
  one_.metadata.components[0].files = {live};
  BackupRequester backup(coordinator_.NewSession(), {.skip_needless_snapshot = true});
  ASSERT_TRUE(backup.Gather().ok());
  ASSERT_TRUE(backup.Select({{kA, ""}}).ok());
  record_.Take();
  ASSERT_TRUE(backup.Prepare().ok());
  const auto set = backup.Snapshot();
  ASSERT_TRUE(set.ok()) << set.status();
  EXPECT_TRUE(set->snapshots.empty());
  ASSERT_TRUE(backup.SetBackupSucceeded(kA, true).ok());
  ASSERT_TRUE(backup.Documents().ok());
  ASSERT_TRUE(backup.Complete().ok());
  EXPECT_THAT(record_.Take(), ElementsAre("one.PrepareBackup", "one.BackupComplete", "one.BackupShutdown"));
  // The creation lock is free again.
  auto next = Backup();
  ASSERT_TRUE(next.Gather().ok());
  ASSERT_TRUE(next.Select({{kA, ""}}).ok());
  EXPECT_TRUE(next.Prepare().ok());
}

TEST_F(RequesterTest, SetThatIsNeededCanNotBeLeftOut) {
  BackupRequester backup(coordinator_.NewSession(), {.skip_needless_snapshot = true});
  ASSERT_TRUE(backup.Gather().ok());
  ASSERT_TRUE(backup.Select({{kA, ""}}).ok());
  ASSERT_TRUE(backup.Prepare().ok());
  EXPECT_EQ(backup.Snapshot()->snapshots.size(), 1u);
  auto session = coordinator_.NewSession();
  ASSERT_TRUE(session->InitializeForBackup().ok());
  ASSERT_TRUE(session->SetBackupState({}).ok());
  ASSERT_TRUE(session->GatherWriterMetadata().ok());
  ASSERT_TRUE(session->AddComponent(kA).ok());
  ASSERT_TRUE(session->StartSnapshotSet().ok());
  ASSERT_TRUE(session->PrepareForBackup().ok());
  EXPECT_EQ(CodeOf(session->BackupComplete()), Code::kBadState);
  EXPECT_EQ(CodeOf(session->SetBackupSucceeded(kA, true)), Code::kBadState);
  EXPECT_EQ(CodeOf(session->SaveAsXml().status()), Code::kBadState);
}

TEST_F(RequesterTest, CopiesOfAPersistentContextGoWithABackupThatIsGivenUp) {
  BackupRequester backup(coordinator_.NewSession(), {.context = kContextAppRollback});
  ASSERT_TRUE(backup.Gather().ok());
  ASSERT_TRUE(backup.Select({{kA, ""}}).ok());
  ASSERT_TRUE(backup.Prepare().ok());
  ASSERT_TRUE(backup.Snapshot().ok());
  ASSERT_TRUE(backup.Abort().ok());
  EXPECT_THAT(record_.Take(), Contains("p.DeleteSnapshots"));
}

TEST_F(RequesterTest, StampOfOneBackupIsToldToTheNext) {
  one_.on["PostSnapshot"] = [](EventContext& context) {
    context.components[0].backup_stamp = context.components[0].previous_backup_stamp + "+1";
    return absl::OkStatus();
  };
  std::string stamp;
  for (const std::string expected : {"+1", "+1+1", "+1+1+1"}) {
    auto backup = Backup();
    ASSERT_TRUE(backup.Gather().ok());
    ASSERT_TRUE(backup.Select({{kA, "", stamp}}).ok());
    ASSERT_TRUE(backup.Prepare().ok());
    ASSERT_TRUE(backup.Snapshot().ok());
    auto document = ParseBackupComponents(backup.Documents()->backup_components);
    stamp = document->Find(kA)->backup_stamp;
    EXPECT_EQ(stamp, expected);
  }
}

// --- partial failure ---

TEST_F(RequesterTest, PartialFailureEndsTheBackupUnlessItIsAccepted) {
  one_.AddComponent("A2", "/a/");
  one_.on["PostSnapshot"] = [](EventContext& context) {
    context.components[0].failure = {Code::kWriterErrorNonRetryable, 7, "corrupt"};
    context.failure = Error(Code::kWriterErrorPartialFailure, "one of two");
    return absl::OkStatus();
  };
  const ComponentId a2{kOne, "", "A2"};
  {
    auto backup = Backup();
    ASSERT_TRUE(backup.Gather().ok());
    ASSERT_TRUE(backup.Select({{kA, ""}, {a2, ""}}).ok());
    ASSERT_TRUE(backup.Prepare().ok());
    EXPECT_EQ(CodeOf(backup.Snapshot().status()), Code::kWriterErrorPartialFailure);
  }
  BackupRequester backup(coordinator_.NewSession(), {.accept_partial_failure = true});
  ASSERT_TRUE(backup.Gather().ok());
  ASSERT_TRUE(backup.Select({{kA, ""}, {a2, ""}}).ok());
  ASSERT_TRUE(backup.Prepare().ok());
  const auto set = backup.Snapshot();
  ASSERT_TRUE(set.ok()) << set.status();
  ASSERT_EQ(set->failed_components.size(), 1u);
  EXPECT_EQ(set->failed_components[0].id, kA);
  EXPECT_EQ(set->failed_components[0].failure.code, Code::kWriterErrorNonRetryable);
  EXPECT_EQ(set->failed_components[0].failure.message, "corrupt");
  ASSERT_TRUE(backup.SetBackupSucceeded(a2, true).ok());  // the other one is marked already
  const auto documents = backup.Documents();
  auto components = ParseBackupComponents(documents->backup_components);
  EXPECT_EQ(components->Find(kA)->succeeded, false);
  EXPECT_EQ(components->Find(a2)->succeeded, true);
  record_.Take();
  EXPECT_TRUE(backup.Complete().ok());
  EXPECT_THAT(record_.Take(), Contains("one.BackupComplete"));  // it still took part
}

TEST_F(RequesterTest, PartialFailureThatEndedTheWritersPartIsAFailure) {
  one_.on["Freeze"] = [](EventContext&) { return Error(Code::kWriterErrorPartialFailure, "x"); };
  BackupRequester backup(coordinator_.NewSession(), {.accept_partial_failure = true});
  ASSERT_TRUE(backup.Gather().ok());
  ASSERT_TRUE(backup.Select({{kA, ""}}).ok());
  ASSERT_TRUE(backup.Prepare().ok());
  EXPECT_FALSE(backup.Snapshot().ok());
}

// --- restore ---

TEST_F(RequesterTest, RestoreOfASubcomponentFollowsTheSavedMetadata) {
  Component set, alone, never;
  set.name = "set";
  set.volumes = {"/a/"};
  alone.logical_path = never.logical_path = "set";
  alone.name = "alone";
  never.name = "never";
  alone.selectable = never.selectable = false;
  alone.selectable_for_restore = true;
  one_.metadata.components = {set, alone, never};
  const ComponentId id{kOne, "", "set"};
  BackupDocuments documents;
  {
    auto backup = Backup();
    ASSERT_TRUE(backup.Gather().ok());
    ASSERT_TRUE(backup.Select({{id, ""}}).ok());
    ASSERT_TRUE(backup.Prepare().ok());
    ASSERT_TRUE(backup.Snapshot().ok());
    documents = *backup.Documents();
  }
  one_.metadata.components.clear();  // what it says now doesn't matter
  one_.on["PreRestore"] = [](EventContext& context) {
    EXPECT_THAT(context.components[0].restore_subcomponents, ElementsAre("set\\alone"));
    EXPECT_EQ(context.restore_type, RestoreType::kByCopy);
    return absl::OkStatus();
  };
  const auto select = [&](std::string subcomponent) {
    RestoreRequester restore(coordinator_.NewSession(), documents);
    EXPECT_TRUE(restore.Gather().ok());
    absl::Status status = restore.Select({RestoreChoice{.id = id, .subcomponents = {std::move(subcomponent)}}});
    if (status.ok()) status = restore.PreRestore();
    return base::ReasonOf(status);
  };
  EXPECT_EQ(select("set\\alone"), "");
  EXPECT_EQ(select("set\\never"), "INVALID_REQUEST");
  EXPECT_EQ(select("set\\gone"), "VSS_OBJECT_NOT_FOUND");
}

// Options in the common form mean what the calls of the same names mean; the text reaches the writer as it is.
TEST_F(RequesterTest, RestoreOptionsOfTheCommonFormAreRead) {
  one_.metadata.backup_schema = kSchemaRestoreRename | kSchemaAuthoritativeRestore | kSchemaRollForwardRestore;
  Component part;
  part.logical_path = "A";
  part.name = "part";
  part.selectable = false;
  one_.metadata.components.push_back(part);
  const BackupDocuments documents = Done();
  BackupComponent seen;
  one_.on["PreRestore"] = [&](EventContext& context) {
    seen = context.components[0];
    return absl::OkStatus();
  };
  const auto restore_with = [&](std::string options) {
    RestoreRequester restore(coordinator_.NewSession(), documents);
    EXPECT_TRUE(restore.Gather().ok());
    absl::Status status = restore.Select({RestoreChoice{.id = kA, .options = std::move(options)}});
    if (status.ok()) status = restore.PreRestore();
    return base::ReasonOf(status);
  };
  const std::string text =
      R"("A":"Authoritative"="true","Roll Forward"="noon","New Component Name"="B","A\part":"own"="x")";
  EXPECT_EQ(restore_with(text), "");
  EXPECT_EQ(seen.restore_options, text);
  EXPECT_TRUE(seen.authoritative);
  EXPECT_EQ(seen.roll_forward, (RollForward{RollForwardType::kPartial, "noon"}));
  EXPECT_EQ(seen.restore_name, "B");
  EXPECT_EQ(restore_with(R"("Roll Forward"="All")"), "");
  EXPECT_EQ(seen.roll_forward, (RollForward{RollForwardType::kAll, ""}));
  EXPECT_EQ(restore_with("Authoritative=true"), "") << "the writer's own form";
  EXPECT_FALSE(seen.authoritative);
  EXPECT_EQ(restore_with(R"("Authoritative"="perhaps")"), "INVALID_REQUEST");
  EXPECT_EQ(restore_with(R"("Authoritative"="true)"), "INVALID_REQUEST");
  EXPECT_EQ(restore_with(R"("B":"Authoritative"="true")"), "VSS_OBJECT_NOT_FOUND");
}

// Together, and in no order: each may depend on the other, and all writers are asked before the first file is written.
TEST_F(RequesterTest, DependenciesMakeNoOrder) {
  one_.metadata.components[0].dependencies = {{kTwo, "", "B"}};
  two_.metadata.components[0].dependencies = {{kOne, "", "A"}};
  const BackupDocuments documents = Done();
  for (const bool a_first : {true, false}) {
    RestoreRequester restore(coordinator_.NewSession(), documents);
    ASSERT_TRUE(restore.Gather().ok());
    std::vector<RestoreChoice> choices = {{.id = kA}, {.id = kB}};
    if (!a_first) std::swap(choices[0], choices[1]);
    ASSERT_TRUE(restore.Select(choices).ok());
    record_.Take();
    ASSERT_TRUE(restore.PreRestore().ok());
    EXPECT_THAT(record_.Take(), ::testing::UnorderedElementsAre("one.PreRestore", "two.PreRestore"));
    for (const ComponentId& id : {kA, kB}) ASSERT_TRUE(restore.SetFileRestoreStatus(id, FileRestoreStatus::kAll).ok());
    ASSERT_TRUE(restore.PostRestore().ok());
    EXPECT_THAT(record_.Take(), ::testing::IsSupersetOf({"one.PostRestore", "two.PostRestore"}));
  }
}

// A component and the one that it depends on take part both, or neither.
TEST_F(RequesterTest, BothEndsOfADependencyTakePart) {
  one_.metadata.components[0].dependencies = {{kTwo, "", "B"}, {kTwo, "", "\\\\other-machine\\C"}};
  const auto select = [&](std::vector<ComponentChoice> choices) {
    auto backup = Backup();
    EXPECT_TRUE(backup.Gather().ok());
    const absl::Status selected = backup.Select(choices);
    if (!selected.ok()) {
      EXPECT_THAT(base::MessageOf(selected), ::testing::HasSubstr("A depends on component B"));
    }
    return base::ReasonOf(selected);
  };
  EXPECT_EQ(select({{kA, ""}}), "INVALID_REQUEST");
  EXPECT_EQ(select({{kB, ""}}), "") << "the other way round it isn't needed";
  EXPECT_EQ(select({{kA, ""}, {kB, ""}}), "");

  const BackupDocuments documents = Done();
  const auto restore_of = [&](const BackupDocuments& of, std::vector<RestoreChoice> choices) {
    RestoreRequester restore(coordinator_.NewSession(), of);
    EXPECT_TRUE(restore.Gather().ok());
    return base::ReasonOf(restore.Select(choices));
  };
  EXPECT_EQ(restore_of(documents, {{.id = kA}}), "INVALID_REQUEST");
  EXPECT_EQ(restore_of(documents, {{.id = kB}}), "");
  EXPECT_EQ(restore_of(documents, {{.id = kA}, {.id = kB}}), "");
  // A backup without the other end was made before this was asked for: it can be restored all the same.
  BackupDocuments without = documents;
  std::erase_if(without.writer_metadata,
                [](const std::string& xml) { return ParseWriterMetadata(xml)->writer_id == kTwo; });
  EXPECT_EQ(restore_of(without, {{.id = kA}}), "");
}

TEST_F(RequesterTest, WhatTheSchemaDoesNotAllowIsRefused) {
  const auto reason = [&](uint32_t schema, RestoreChoice choice) {
    one_.metadata.backup_schema = schema;
    const BackupDocuments documents = Done();
    RestoreRequester restore(coordinator_.NewSession(), documents);
    EXPECT_TRUE(restore.Gather().ok());
    choice.id = kA;
    return base::ReasonOf(restore.Select({choice}));
  };
  struct Case {
    uint32_t bit;
    RestoreChoice choice;
  };
  const Case cases[] = {
      {kSchemaNewTarget, {.new_targets = {{"/old", "*", false, "/new"}}}},
      {kSchemaRestoreRename, {.restore_name = "other"}},
      {kSchemaAuthoritativeRestore, {.authoritative = true}},
      {kSchemaRollForwardRestore, {.roll_forward = {RollForwardType::kAll, ""}}},
      {kSchemaRestoreWithMove, {.target_instance = kOne}},
  };
  for (const Case& c : cases) {
    EXPECT_EQ(reason(c.bit, c.choice), "") << c.bit;
    EXPECT_EQ(reason(~c.bit, c.choice), "VSS_NOT_SUPPORTED") << c.bit;
  }
  EXPECT_EQ(reason(kSchemaRestoreWithMove, {.target_instance = kTwo}), "VSS_OBJECT_NOT_FOUND");
}

TEST_F(RequesterTest, WriterSetsTargetsInPreRestoreAndReadsInPostRestoreWhatWasDone) {
  one_.on["PrepareSnapshot"] = [](EventContext& context) {
    context.components[0].partial_files = {{"/a", "x", "0:1", ""}};
    context.components[0].restore_target = RestoreTarget::kDirected;  // isn't its to say here
    return absl::OkStatus();
  };
  const BackupDocuments documents = Done();
  one_.on["PreRestore"] = [](EventContext& context) {
    EXPECT_EQ(context.components[0].restore_target, RestoreTarget::kUndefined);
    context.components[0].restore_target = RestoreTarget::kAlternate;
    context.components[0].directed_targets = {{"/a", "x", "0:1", "/b", "y", "2:1"}};
    context.components[0].backup_stamp = "no more";
    return absl::OkStatus();
  };
  one_.on["PostRestore"] = [](EventContext& context) {
    EXPECT_THAT(context.components[0].used_mappings, ElementsAre(FileMapping{"/a", "*", false, "/b"}));
    EXPECT_EQ(context.components[0].partial_files[0].ranges, "File=/r");
    EXPECT_EQ(context.components[0].backup_stamp, "");
    return absl::OkStatus();
  };
  RestoreRequester restore(coordinator_.NewSession(), documents);
  ASSERT_TRUE(restore.Gather().ok());
  EXPECT_EQ(restore.saved_metadata().size(), 2u);
  ASSERT_TRUE(restore.Select({{kA, "", {}}}).ok());
  EXPECT_FALSE(restore.AddAlternativeLocationMapping(kA, {}).ok());
  ASSERT_TRUE(restore.PreRestore().ok());
  EXPECT_EQ(restore.components().writers[0].components[0].restore_target, RestoreTarget::kAlternate);
  ASSERT_TRUE(restore.AddAlternativeLocationMapping(kA, {"/a", "*", false, "/b"}).ok());
  ASSERT_TRUE(restore.SetRangesFilePath(kA, 0, "/r").ok());
  EXPECT_EQ(base::ReasonOf(restore.SetRangesFilePath(kA, 1, "/r")), "VSS_OBJECT_NOT_FOUND");
  ASSERT_TRUE(restore.SetFileRestoreStatus(kA, FileRestoreStatus::kAll).ok());
  record_.Take();
  EXPECT_TRUE(restore.PostRestore().ok());
  EXPECT_THAT(record_.Take(), ElementsAre("one.PostRestore"));
}

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
  one_.metadata.backup_schema = kSchemaNewTarget;
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
