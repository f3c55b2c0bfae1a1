// Proves the rules of the saved state: M1, M2, B2, B4, B6, B9, C1 and C2, HV-01, HV-08, HV-10, HV-13, HV-15, HV-20,
// HV-21, HV-36 and HV-37.
#include "agent/vss/backup_components.h"
#include "agent/writers/component_options.h"
#include "tests/conformance/world.h"

namespace umbra::conformance {
namespace {

using base::ReasonOf;
using hypervisor::VmState;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;
using vss::EventContext;
using writers::BackupMechanism;
using writers::ComponentIdOf;

// Nobody in its guest could make a snapshot.
constexpr bool kNoAgent = false;

TEST_F(Conformance, HV_01_ABackupOfWhatCanNotSnapshotItselfIsBySavedState) {
  const std::string vm = Bank("with"), without = Vm("without", {.guest_agent = kNoAgent});
  auto backup = Backup({vm, without});
  ASSERT_TRUE(backup->Prepare().ok());
  const auto snapshots = backup->Snapshot();
  ASSERT_TRUE(snapshots.ok()) << snapshots.status();
  EXPECT_EQ((*snapshots)[0].mechanism, BackupMechanism::kChildSnapshot);
  EXPECT_EQ((*snapshots)[1].mechanism, BackupMechanism::kSavedState);
  EXPECT_FALSE(backup->OpenState(vm).ok());
  EXPECT_TRUE(backup->OpenState(without).ok());
}

TEST_F(Conformance, HV_08_EveryConditionThatFailedIsStoredWithTheRecoveryPoint) {
  const std::string vm = Vm("mail01", {.guest_agent = kNoAgent});
  SnapshotsGoTo("/proc/self");
  const std::vector<writers::Obstacle> shown = Described(vm).choice.obstacles;
  ASSERT_THAT(shown, SizeIs(2));
  vss::BackupComponents stored = vss::ParseBackupComponents(Store(vm).options.documents.backup_components).value();
  const auto facts = writers::ParseBackupFacts(stored.Find(ComponentIdOf(vm))->backup_metadata);
  ASSERT_TRUE(facts.ok()) << facts.status();
  EXPECT_EQ(facts->mechanism, "saved_state");
  EXPECT_EQ(facts->mechanism_reason, "GUEST_AGENT_NOT_CONFIGURED");
  EXPECT_EQ(facts->obstacles, shown);
}

TEST_F(Conformance, HV_10_PrepareSnapshotSavesMemoryAndDisksOfOneInstant) {
  const std::string vm = Vm("mail01", {.guest_agent = kNoAgent});
  auto backup = engine().Select({vm});
  ASSERT_TRUE(backup->Prepare().ok());
  EXPECT_THAT(hypervisor_.Take(), Not(Contains("Save mail01"))) << "before PrepareSnapshot";
  EXPECT_EQ(StateOf(vm), VmState::kRunning);
  Write(vm, "former");
  ASSERT_TRUE(simulated_.GuestRemember(vm, "of the same instant").ok());
  engine().neighbour.on["Freeze"] = [&](EventContext&) {
    EXPECT_THAT(hypervisor_.Take(), Contains("Save mail01"));
    EXPECT_EQ(StateOf(vm), VmState::kPaused);
    EXPECT_FALSE(simulated_.GuestWrite(vm, "vda", 0, base::AsBytes("latter")).ok()) << "its disks don't stand still";
    return absl::OkStatus();
  };
  const auto set = backup->Snapshot();
  ASSERT_TRUE(set.ok()) << set.status();
  Write(vm, "latter");
  ASSERT_TRUE(simulated_.GuestRemember(vm, "of a later one").ok());
  std::string disk(6, '\0');
  const auto reader = engine().provider.OpenDisk(set->set_id, vm, "vda").value();
  ASSERT_TRUE(reader->ReadAt(0, std::as_writable_bytes(std::span(disk))).ok());
  EXPECT_EQ(disk, "former");
  const std::vector<writers::CapturedVm> captured = engine().writer.Captured(backup->session_id()).value();
  ASSERT_THAT(captured, SizeIs(1));
  EXPECT_THAT(files_.ReadFile(captured[0].state.path).value(), HasSubstr("of the same instant"));
}

// Slow ones of both kinds, and one that somebody had paused.
TEST_F(Conformance, HV_13_PrepareSnapshotEndsWhenAllAreSavedOrSnapshotted) {
  const std::string child = Bank("child"), saved = Vm("saved", {.guest_agent = kNoAgent}), paused = Vm("paused");
  ASSERT_TRUE(simulated_.Pause(paused).ok());
  simulated_.SetFaults(child, {.freeze_delay = absl::Milliseconds(30)});
  simulated_.SetFaults(saved, {.save_takes = absl::Milliseconds(30)});
  simulated_.SetFaults(paused, {.save_takes = absl::Milliseconds(30)});
  auto backup = engine().Select({saved, child, paused});
  ASSERT_TRUE(backup->Prepare().ok());
  bool looked = false;
  engine().neighbour.on["Freeze"] = [&](EventContext&) {
    looked = true;
    EXPECT_THAT(hypervisor_.Take(), AllOf(Contains("Begin child"), Contains("Thaw child"), Contains("Save saved"),
                                          Contains("Save paused")));
    EXPECT_EQ(StateOf(saved), VmState::kPaused);
    EXPECT_EQ(StateOf(paused), VmState::kPaused);
    EXPECT_FALSE(simulated_.IsFrozen(child));
    EXPECT_FALSE(files_.List(options_.scratch_folder)->empty()) << "the memory is on disk";
    return absl::OkStatus();
  };
  ASSERT_TRUE(backup->Snapshot().ok());
  EXPECT_TRUE(looked);
}

TEST_F(Conformance, HV_15_PostSnapshotBringsBackExactlyWhatThisWriterSaved) {
  const std::string running = Vm("running", {.guest_agent = kNoAgent}), paused = Vm("paused"), off = Vm("off"),
                    saved = Vm("saved");
  ASSERT_TRUE(simulated_.GuestRemember(running, "kept").ok());
  ASSERT_TRUE(simulated_.Pause(paused).ok());
  ASSERT_TRUE(simulated_.PowerOff(off).ok());
  ASSERT_TRUE(simulated_.SaveByHand(saved).ok());
  auto backup = engine().Select({running, paused, off, saved});
  ASSERT_TRUE(backup->Prepare().ok());
  engine().neighbour.on["Thaw"] = [&](EventContext&) {
    EXPECT_EQ(StateOf(running), VmState::kPaused) << "before PostSnapshot";
    hypervisor_.Take();
    return absl::OkStatus();
  };
  const auto set = backup->Snapshot();
  ASSERT_TRUE(set.ok()) << set.status();
  EXPECT_THAT(hypervisor_.Take(), ElementsAre("Resume running"));
  EXPECT_EQ(StateOf(running), VmState::kRunning);
  EXPECT_EQ(StateOf(paused), VmState::kPaused);
  EXPECT_EQ(StateOf(off), VmState::kOff);
  EXPECT_EQ(StateOf(saved), VmState::kSaved);
  EXPECT_EQ(simulated_.GuestMemory(running).value(), "kept");
  EXPECT_EQ(simulated_.Boots(running), 1) << "it was booted instead of going on";
}

std::vector<Trouble> Troubles() {
  return {{"VM_HAS_FOREIGN_JOB", {.foreign_job = true}, {}},
          {"HYPERVISOR_ERROR", {.save_fails = true}, {}},
          {"HYPERVISOR_ERROR", {.begin_fails = true}, {}}};  // in the provider's commit, while they stand still
}

TEST_F(Conformance, HV_20_WhenASavedOneFailsNoneIsBackedUp) {
  const std::vector<std::string> vms = {Vm("saved", {.guest_agent = kNoAgent}),
                                        Vm("paused", {.guest_agent = kNoAgent})};
  ASSERT_TRUE(simulated_.Pause(vms[1]).ok());
  FailInTurn(vms, Troubles(), [&](writers::VmBackup& backup) {
    for (const std::string& vm : vms) EXPECT_FALSE(backup.OpenDisk(vm, "vda").ok() || backup.OpenState(vm).ok());
    EXPECT_FALSE(backup.Documents().ok());
    EXPECT_EQ(ReasonOf(backup.Complete()), "VSS_BAD_STATE");
  });
}

TEST_F(Conformance, HV_21_SavedOnesGoBackToWhatTheyWere) {
  const std::string paused = Vm("paused"), saved = Vm("saved", {.guest_agent = kNoAgent}),
                    last = Vm("last", {.guest_agent = kNoAgent});
  ASSERT_TRUE(simulated_.Pause(paused).ok());
  FailInTurn({saved, paused, last}, Troubles(), [&](writers::VmBackup&) {
    EXPECT_EQ(StateOf(paused), VmState::kPaused);
    EXPECT_TRUE(simulated_.CheckNoJob(paused).ok());
    EXPECT_EQ(simulated_.Boots(saved), 1) << "it was booted instead of going on";
    ExpectAsBefore({saved, last});
  });
}

// The writer alone, on a host that doesn't know of its cluster.
TEST_F(Conformance, HV_36_ToTheClusterASavedVirtualMachineHasFailed) {
  const std::string vm = Vm("mail01", {.guest_agent = kNoAgent});
  TwoNodes& nodes = Cluster(vm, Host::kKnowsNot);
  auto backup = engine().Select({vm});
  ASSERT_TRUE(backup->Prepare().ok());
  EXPECT_FALSE(nodes.FailedOver());
  engine().neighbour.on["Freeze"] = [&](EventContext&) {
    EXPECT_TRUE(nodes.FailedOver());
    return absl::OkStatus();
  };
  backup->Snapshot().IgnoreError();
}

TEST_F(Conformance, HV_37_AClusteredVirtualMachineIsSavedThroughItsCluster) {
  const std::string vm = Vm("mail01", {.guest_agent = kNoAgent});
  TwoNodes& nodes = Cluster(vm, Host::kKnows);
  bool looked = false;
  hypervisor_.OnCall([&](const std::string& call) {
    if (call != "Begin mail01") return absl::OkStatus();
    looked = true;  // it stands still, and the cluster looks
    EXPECT_EQ(StateOf(vm), VmState::kPaused);
    EXPECT_FALSE(nodes.FailedOver());
    return absl::OkStatus();
  });
  auto backup = Backup({vm});
  EXPECT_EQ(RefusalOf(*backup), "");
  EXPECT_TRUE(looked);
  EXPECT_EQ(StateOf(vm), VmState::kRunning);
  EXPECT_FALSE(nodes.FailedOver());
  EXPECT_FALSE(nodes.cluster.InMaintenance(nodes.resource)) << "the cluster watches it again";
  backup.reset();
  // A cluster that can't be told is a reason not to save.
  nodes.cluster.SetAvailable(false);
  hypervisor_.Take();
  EXPECT_EQ(RefusalOf(*Backup({vm})), "CLUSTER_UNAVAILABLE");
  EXPECT_THAT(hypervisor_.Take(), Not(Contains("Save mail01")));
  nodes.cluster.SetAvailable(true);
  ExpectAsBefore({vm});
}

}  // namespace
}  // namespace umbra::conformance
