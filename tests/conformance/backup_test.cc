// Proves the rules of a backup: B1 to B10, HV-09 to HV-25, HV-39 and HV-40.
#include "agent/vss/backup_components.h"
#include "agent/writers/component_options.h"
#include "tests/conformance/world.h"

namespace umbra::conformance {
namespace {

using base::ReasonOf;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using vss::EventContext;
using vss::WriterEvent;
using writers::BackupMechanism;
using writers::ComponentIdOf;

// What a hypervisor is asked for one guest that makes its own snapshot.
std::vector<std::string> CallsOfAChildSnapshot(const std::string& name) {
  std::vector<std::string> calls;
  for (const char* call : {"Configuration", "CheckNoJob", "Prepare", "Freeze", "Begin", "Thaw"}) {
    calls.push_back(std::string(call) + " " + name);
  }
  return calls;
}

TEST_F(Conformance, HV_09_TheProcedureIsThatOfEveryVssBackup) {
  const std::string vm = Bank("mail01");
  auto backup = engine().Select({vm});
  EXPECT_THAT(engine().record.Take(), ElementsAre("neighbour.Identify"));
  ASSERT_TRUE(backup->Prepare().ok());
  EXPECT_THAT(engine().record.Take(), ElementsAre("neighbour.PrepareBackup"));
  EXPECT_THAT(hypervisor_.Take(), IsEmpty()) << "the writer's work begins in PrepareSnapshot";
  // And it ends in PostSnapshot: before it the copy has no content.
  engine().neighbour.on["Thaw"] = [&](EventContext& context) {
    EXPECT_EQ(hypervisor_.Take(), CallsOfAChildSnapshot("mail01"));
    EXPECT_FALSE(engine().provider.OpenDisk(context.snapshot_set_id, vm, "vda").ok());
    return absl::OkStatus();
  };
  const auto set = backup->Snapshot();
  ASSERT_TRUE(set.ok()) << set.status();
  EXPECT_THAT(engine().record.Take(),
              ElementsAre("neighbour.PrepareSnapshot", "neighbour.Freeze", "neighbour.Thaw", "neighbour.PostSnapshot"));
  EXPECT_TRUE(engine().provider.OpenDisk(set->set_id, vm, "vda").ok());
  ASSERT_TRUE(backup->SetBackupSucceeded(ComponentIdOf(vm), true).ok());
  ASSERT_TRUE(backup->SetBackupSucceeded({kNeighbourId, "", "neighbour"}, true).ok());
  const auto documents = backup->Documents();
  ASSERT_TRUE(documents.ok()) << documents.status();
  EXPECT_NE(vss::ParseBackupComponents(documents->backup_components)->Find(ComponentIdOf(vm)), nullptr);
  ASSERT_TRUE(backup->Complete().ok());
  EXPECT_THAT(engine().record.Take(), ElementsAre("neighbour.BackupComplete", "neighbour.BackupShutdown"));
  EXPECT_FALSE(engine().provider.OpenDisk(set->set_id, vm, "vda").ok()) << "the copy dies with the backup";
  ExpectAsBefore({vm});
}

TEST_F(Conformance, HV_11_EveryEventOfTheGuestIsInsideTheHostsPrepareSnapshot) {
  const std::string one = Bank("one"), two = Bank("two");
  auto backup = engine().Select({one, two});
  ASSERT_TRUE(backup->Prepare().ok());
  for (const std::string& vm : {one, two}) EXPECT_THAT(ledger(vm).TakeEvents(), IsEmpty());
  std::vector<std::string> of_one, of_two;
  engine().neighbour.on["Freeze"] = [&](EventContext&) {
    of_one = ledger(one).TakeEvents();
    of_two = ledger(two).TakeEvents();
    return absl::OkStatus();
  };
  ASSERT_TRUE(backup->Snapshot().ok());
  EXPECT_THAT(of_one, ElementsAre("Identify", "PrepareBackup", "PrepareSnapshot", "Freeze", "Thaw", "PostSnapshot"));
  EXPECT_EQ(of_two, of_one);
  for (const std::string& vm : {one, two}) EXPECT_THAT(ledger(vm).TakeEvents(), IsEmpty());
}

// A transfer is half done when the backup begins. Only the application itself can bring its data to rest.
TEST_F(Conformance, HV_12_TheGuestsWritersTakePart) {
  const std::string vm = Bank("mail01");
  ASSERT_TRUE(ledger(vm).Transfer().ok());
  ASSERT_TRUE(ledger(vm).Transfer(/*writes=*/2).ok());
  auto backup = engine().Select({vm});
  ASSERT_TRUE(backup->Prepare().ok());
  const auto set = backup->Snapshot();
  ASSERT_TRUE(set.ok()) << set.status();
  ExpectTransfers(set->set_id, vm, 2);
}

TEST_F(Conformance, HV_14_FreezeAndThawDoNothing) {
  const std::string vm = Bank("mail01");
  auto backup = engine().Select({vm});
  ASSERT_TRUE(backup->Prepare().ok());
  // The Hyper-V writer has answered Freeze when the neighbour is asked, which is frozen after it. Asked again in the
  // middle of the session, it still touches nothing.
  engine().neighbour.on["Freeze"] = [&](EventContext& context) {
    EXPECT_EQ(hypervisor_.Take(), CallsOfAChildSnapshot("mail01"));
    EXPECT_FALSE(simulated_.IsFrozen(vm));
    ledger(vm).TakeEvents();
    EXPECT_TRUE(engine().writer.OnFreeze(context).ok());
    EXPECT_TRUE(engine().writer.OnThaw(context).ok());
    return absl::OkStatus();
  };
  ASSERT_TRUE(backup->Snapshot().ok());
  EXPECT_THAT(hypervisor_.Take(), IsEmpty());
  EXPECT_THAT(ledger(vm).TakeEvents(), IsEmpty());
}

// The guest goes on between its own snapshot and the host's; the copy has what was before.
TEST_F(Conformance, HV_16_TheCopyIsRolledBackToTheGuestsSnapshot) {
  const std::string vm = Bank("mail01");
  ASSERT_TRUE(ledger(vm).Transfer().ok());
  auto backup = engine().Select({vm});
  ASSERT_TRUE(backup->Prepare().ok());
  engine().neighbour.on["Freeze"] = [&](EventContext&) {
    RETURN_IF_ERROR(ledger(vm).Transfer());
    return ledger(vm).Transfer(/*writes=*/3);
  };
  const auto set = backup->Snapshot();
  ASSERT_TRUE(set.ok()) << set.status();
  ExpectTransfers(set->set_id, vm, 1);
}

TEST_F(Conformance, HV_17_TheRollBackAsksNobodyInTheGuestAndIsNotSeenThere) {
  const std::string vm = Bank("mail01");
  auto backup = engine().Select({vm});
  ASSERT_TRUE(backup->Prepare().ok());
  std::string at_thaw;
  engine().neighbour.on["Thaw"] = [&](EventContext&) {
    EXPECT_TRUE(ledger(vm).Transfer().ok());
    at_thaw = Read(vm, kDiskBytes);
    ledger(vm).TakeEvents();
    hypervisor_.Take();
    return absl::OkStatus();
  };
  ASSERT_TRUE(backup->Snapshot().ok());
  EXPECT_THAT(ledger(vm).TakeEvents(), IsEmpty());
  EXPECT_THAT(hypervisor_.Take(), IsEmpty());
  EXPECT_EQ(Read(vm, kDiskBytes), at_thaw) << "the guest's own disk was rolled back";
  EXPECT_EQ(StateOf(vm), hypervisor::VmState::kRunning);
}

TEST_F(Conformance, HV_18_TheCopyMustBeAutoRecoverable) {
  static_assert(vss::kAttrNoAutoRecovery == 0x2);
  const std::string vm = Bank("mail01");
  EXPECT_EQ(ReasonOf(engine().Select({vm}, vss::kAttrNoAutoRecovery)->Prepare()), "VSS_NO_AUTORECOVERY");
  EXPECT_TRUE(engine().Select({vm}, vss::kContextBackup)->Prepare().ok());
}

// The one that needs auto-recovery comes last in the set.
TEST_F(Conformance, HV_19_ThatContextIsRefusedBeforeAnythingIsTouched) {
  const std::string other = Bank("other"), vm = Bank("mail01");
  auto backup = engine().Select({other, vm}, vss::kAttrNoAutoRecovery);
  const absl::Status refused = backup->Prepare();
  EXPECT_EQ(ReasonOf(refused), "VSS_NO_AUTORECOVERY");
  EXPECT_EQ(static_cast<uint32_t>(vss::CodeOf(refused)), 0x800423F4u);
  EXPECT_EQ(static_cast<int>(engine().Status().state), 7);  // FAILED_AT_PREPARE_BACKUP
  EXPECT_THAT(hypervisor_.Take(), IsEmpty());
  for (const std::string& guest : {other, vm}) EXPECT_THAT(ledger(guest).TakeEvents(), IsEmpty());
  EXPECT_THAT(engine().journal.List()->intents, IsEmpty());
  EXPECT_FALSE(files_.Exists(options_.scratch_folder).value());
}

std::vector<Trouble> Troubles() {
  return {
      {"GUEST_FREEZE_TIMEOUT", {.freeze_delay = absl::Milliseconds(200)}, {}},
      {"GUEST_FREEZE_FAILED", {.freeze_fails = true}, {}},
      {"VM_HAS_FOREIGN_JOB", {.foreign_job = true}, {}},
      {"HYPERVISOR_ERROR", {.begin_fails = true}, {}},
      {"VSS_WRITER_FAILED", {}, {.veto = WriterEvent::kPrepareSnapshot}},
      {"VSS_WRITER_FAILED", {}, {.veto = WriterEvent::kPostSnapshot}},
  };
}

TEST_F(Conformance, HV_20_WhenOneCanNotBeCapturedNoneIsBackedUp) {
  const std::vector<std::string> vms = {Bank("a"), Bank("b"), Bank("c")};
  FailInTurn(vms, Troubles(), [&](writers::VmBackup& backup) {
    for (const std::string& vm : vms) {
      EXPECT_FALSE(backup.OpenDisk(vm, "vda").ok());
      EXPECT_FALSE(backup.SetSucceeded(vm, true).ok());
    }
    EXPECT_FALSE(backup.Documents().ok());
    EXPECT_EQ(ReasonOf(backup.Complete()), "VSS_BAD_STATE");
  });
}

TEST_F(Conformance, HV_21_ThoseThatWereCapturedAlreadyGoBackToWhatTheyWere) {
  const std::vector<std::string> vms = {Bank("a"), Bank("b"), Bank("c")};
  FailInTurn(vms, Troubles(), [&](writers::VmBackup&) { ExpectAsBefore(vms); });
  EXPECT_EQ(RefusalOf(*Backup(vms)), "");
}

TEST_F(Conformance, HV_22_PassThroughDisksAreNotBackedUp) {
  const std::string vm =
      Vm("mail01", {.disks = {{"vda", kDiskBytes}, {"sdb", 0, hypervisor::DiskExclusion::kPassThrough}}});
  auto backup = Backup({vm});
  ASSERT_TRUE(backup->Prepare().ok());
  const auto snapshots = backup->Snapshot();
  ASSERT_TRUE(snapshots.ok()) << snapshots.status();
  ASSERT_THAT(snapshots->front().disks, SizeIs(1));
  EXPECT_EQ(snapshots->front().disks[0].name, "vda");
  EXPECT_TRUE(backup->OpenDisk(vm, "vda").ok());
  EXPECT_FALSE(backup->OpenDisk(vm, "sdb").ok());
  const vss::WriterMetadata metadata = engine().writer.OnIdentify({}).value();
  const vss::Component* component = metadata.Find("", ComponentIdOf(vm).name);
  ASSERT_THAT(component->files, SizeIs(1));
  EXPECT_EQ(component->files[0].filespec, "vda.raw");
}

// The guest's own initiator brought it: the hypervisor knows nothing of it, the guest's agent does.
TEST_F(Conformance, HV_23_DisksThatTheGuestAttachesByIscsiAreListedAndNotBackedUp) {
  const std::string vm = Vm("mail01");
  hypervisor_.OnAgent([](hypervisor::GuestAgentInfo& agent) {
    agent.filesystems.push_back({"/srv/iscsi", "ext4", {"sdx"}, true});
  });
  auto backup = Backup({vm});
  ASSERT_TRUE(backup->Prepare().ok());
  const auto snapshots = backup->Snapshot();
  ASSERT_TRUE(snapshots.ok()) << snapshots.status();
  EXPECT_EQ(snapshots->front().mechanism, BackupMechanism::kChildSnapshot) << "it stands in nobody's way";
  ASSERT_THAT(snapshots->front().disks, SizeIs(1));
  EXPECT_EQ(snapshots->front().disks[0].name, "vda");
  EXPECT_FALSE(backup->OpenDisk(vm, "sdx").ok());
  for (const auto& excluded : {Described(vm).excluded_disks, snapshots->front().excluded_disks}) {
    ASSERT_THAT(excluded, SizeIs(1));
    EXPECT_EQ(excluded[0].name, "sdx");
    EXPECT_EQ(excluded[0].reason, "DISK_NETWORK");
    EXPECT_THAT(excluded[0].message, HasSubstr("/srv/iscsi"));
  }
  // One without a file system on it too.
  simulated_.SetGuestDisks(vm, {{"/dev/sdb", "iscsi"}});
  const std::vector<writers::ExcludedDisk> bare = Described(vm).excluded_disks;
  ASSERT_THAT(bare, SizeIs(2));
  EXPECT_EQ(bare[1].name, "/dev/sdb");
  EXPECT_EQ(bare[1].reason, "DISK_NETWORK");
  EXPECT_THAT(bare[1].message, HasSubstr("iscsi"));
}

TEST_F(Conformance, HV_24_ExcludedDisksAreListedWithTheReason) {
  const std::pair<hypervisor::DiskExclusion, std::string> exclusions[] = {
      {hypervisor::DiskExclusion::kPassThrough, "DISK_PASS_THROUGH"},
      {hypervisor::DiskExclusion::kNetwork, "DISK_NETWORK"},
      {hypervisor::DiskExclusion::kRemovable, "DISK_REMOVABLE"},
      {hypervisor::DiskExclusion::kShared, "DISK_SHARED"},
      {hypervisor::DiskExclusion::kFormatUnsupported, "DISK_FORMAT_UNSUPPORTED"},
  };
  for (const auto& [exclusion, reason] : exclusions) {
    const std::string vm = Vm("with-" + reason, {.disks = {{"vda", kDiskBytes}, {"sdb", 0, exclusion}}});
    auto backup = Backup({vm});
    ASSERT_TRUE(backup->Prepare().ok());
    const auto snapshots = backup->Snapshot();
    ASSERT_TRUE(snapshots.ok()) << snapshots.status();
    for (const auto& excluded : {Described(vm).excluded_disks, snapshots->front().excluded_disks}) {
      ASSERT_THAT(excluded, SizeIs(1));
      EXPECT_EQ(excluded[0].name, "sdb");
      EXPECT_EQ(excluded[0].reason, reason);
      EXPECT_NE(excluded[0].message, "");
    }
    const std::string nothing = Vm("only-" + reason, {.disks = {{"sdb", 0, exclusion}}});
    EXPECT_EQ(RefusalOf(*Backup({nothing})), "NO_DISKS");
  }
}

// docs/adr/0030.
TEST_F(Conformance, HV_25_ABackupIsAboutWhatWasSelectedOrHasItsFilesInTheSet) {
  const std::string vm = Bank("mail01"), other = Bank("other");
  const auto expect_only_vm = [&](const vss::Guid& session_id) {
    const std::vector<writers::CapturedVm> captured = engine().writer.Captured(session_id).value();
    ASSERT_THAT(captured, SizeIs(1));
    EXPECT_EQ(captured[0].vm.uuid, vm);
    EXPECT_EQ(hypervisor_.Take(), CallsOfAChildSnapshot("mail01"));
    EXPECT_THAT(ledger(other).TakeEvents(), IsEmpty());
    EXPECT_THAT(ledger(vm).TakeEvents(), ::testing::Contains("Freeze"));
  };
  {  // component mode
    auto backup = engine().Select({vm});
    ASSERT_TRUE(backup->Prepare().ok());
    ASSERT_TRUE(backup->Snapshot().ok());
    expect_only_vm(backup->session_id());
  }
  ledger(vm).TakeEvents();
  hypervisor_.Take();
  {  // volume mode: nobody names a component
    auto session = engine().coordinator.NewSession();
    ASSERT_TRUE(session->InitializeForBackup().ok());
    ASSERT_TRUE(session->SetBackupState({.select_components = false}).ok());
    ASSERT_TRUE(session->GatherWriterMetadata().ok());
    const vss::Guid set_id = session->StartSnapshotSet().value();
    ASSERT_TRUE(session->AddToSnapshotSet(providers::CheckpointProvider::VolumeOf(vm), {}).ok());
    ASSERT_TRUE(session->PrepareForBackup().ok());
    ASSERT_TRUE(session->DoSnapshotSet().ok());
    EXPECT_TRUE(engine().Status().failure.ok()) << engine().Status().failure;
    expect_only_vm(session->id());
    ExpectTransfers(set_id, vm, 0);
  }
  ExpectAsBefore({vm, other});
}

// A set without the volume of a virtual machine that shall be backed up. VSS makes it all the same; the writer tells.
TEST_F(Conformance, HV_39_ASetThatLacksAVolumeOfTheVirtualMachineIsInconsistent) {
  const std::string vm = Bank("mail01"), other = Bank("other");
  auto session = engine().coordinator.NewSession();
  ASSERT_TRUE(session->InitializeForBackup().ok());
  ASSERT_TRUE(session->SetBackupState({}).ok());
  ASSERT_TRUE(session->GatherWriterMetadata().ok());
  for (const std::string& chosen : {other, vm}) ASSERT_TRUE(session->AddComponent(ComponentIdOf(chosen)).ok());
  ASSERT_TRUE(session->StartSnapshotSet().ok());
  ASSERT_TRUE(session->AddToSnapshotSet(providers::CheckpointProvider::VolumeOf(other), {}).ok());
  ASSERT_TRUE(session->PrepareForBackup().ok());
  session->DoSnapshotSet().IgnoreError();
  const vss::WriterStatus status = session->GatherWriterStatus()->front();
  EXPECT_EQ(static_cast<int>(status.state), 8);  // FAILED_AT_PREPARE_SNAPSHOT
  EXPECT_EQ(static_cast<uint32_t>(vss::CodeOf(status.failure)), 0x800423F0u);
  EXPECT_THAT(base::MessageOf(status.failure), AllOf(HasSubstr("mail01"), HasSubstr(vm)));
  for (const std::string& guest : {other, vm}) EXPECT_THAT(ledger(guest).TakeEvents(), IsEmpty());
  session.reset();
  ExpectAsBefore({vm, other});
}

TEST_F(Conformance, HV_40_AFailureInTheGuestIsARetryableOrANonRetryableWriterError) {
  const std::string vm = Bank("mail01");
  const std::pair<vss::Code, uint32_t> codes[] = {
      {vss::Code::kWriterErrorTimeout, 0x800423F3u},
      {vss::Code::kWriterErrorOutOfResources, 0x800423F3u},
      {vss::Code::kWriterErrorRetryable, 0x800423F3u},
      {vss::Code::kWriterErrorNonRetryable, 0x800423F4u},
  };
  for (const auto& [in_the_guest, at_the_host] : codes) {
    ledger(vm).SetFaults({.veto = WriterEvent::kFreeze, .veto_code = in_the_guest});
    auto backup = engine().Select({vm});
    ASSERT_TRUE(backup->Prepare().ok());
    const absl::Status failed = backup->Snapshot().status();
    EXPECT_EQ(static_cast<uint32_t>(vss::CodeOf(failed)), at_the_host);
    EXPECT_EQ(vss::IsRetryable(failed), at_the_host == 0x800423F3u);
    EXPECT_EQ(static_cast<int>(engine().Status().state), 8);
    EXPECT_EQ(static_cast<uint32_t>(vss::CodeOf(engine().Status().failure)), at_the_host);
    EXPECT_THAT(base::MessageOf(failed), AllOf(HasSubstr("mail01"), HasSubstr(testing::kLedgerName)));
    ledger(vm).SetFaults({});
    ExpectAsBefore({vm});
  }
}

}  // namespace
}  // namespace umbra::conformance
