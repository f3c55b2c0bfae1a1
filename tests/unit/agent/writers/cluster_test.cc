// Proves the rules C1 to C3 (HV-36 to HV-38) through the door that a runner uses: on a simulated cluster that fails a
// virtual machine over when it is stopped or deleted behind its back, with simulated hypervisors and real files.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/cluster/simulated/simulated_cluster.h"
#include "agent/hypervisor/simulated/simulated_hypervisor.h"
#include "agent/writers/clustered_capture.h"
#include "agent/writers/vss_host.h"
#include "storage/base/status.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/agent/writers/recording_hypervisor.h"

namespace umbra::writers {
namespace {

using base::ReasonOf;
using hypervisor::VmState;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class ClusterTest : public ::testing::Test {
 protected:
  ClusterTest() { Restart(&cluster_); }

  // As a new agent process; without a cluster when `cluster` is null.
  void Restart(cluster::ClusterService* cluster) {
    host_.reset();
    VssHostOptions options;
    options.scratch_folder = dir_.File("s");
    options.journal_folder = dir_.File("journal");
    options.cluster = cluster;
    options.cluster_journal_folder = dir_.File("deeds");
    auto host = VssHost::Create(here_, files_, clock_, random_, options);
    ASSERT_TRUE(host.ok()) << host.status();
    host_ = *std::move(host);
  }

  // Of a stored backup, whose guest wrote "old" before and "new" after it.
  VmRestoreOptions Stored() {
    Write("old");
    VmBackupOptions backup_options;
    backup_options.vm_uuids = {vm_};
    backup_options.owner_tag = "job-1-1";
    auto backup = host_->NewBackup(backup_options);
    EXPECT_TRUE(backup->Prepare().ok());
    auto snapshots = backup->Snapshot();
    EXPECT_TRUE(snapshots.ok()) << snapshots.status();
    EXPECT_TRUE(backup->SetSucceeded(vm_, true).ok());
    VmRestoreOptions options;
    options.documents = *backup->Documents();
    options.configuration = snapshots->front().configuration;
    options.vm_uuid = vm_;
    options.vm_name = "mail01";
    options.disk_paths = {{"vda", snapshots->front().disks[0].path}};
    EXPECT_TRUE(backup->Complete().ok());
    Write("new");
    return options;
  }
  void Write(const std::string& text) { ASSERT_TRUE(here_.GuestWrite(vm_, "vda", 0, base::AsBytes(text)).ok()); }
  bool Runs(hypervisor::Hypervisor& node) {
    const auto vm = node.GetVm(vm_);
    return vm.ok() && vm->state == VmState::kRunning;
  }
  // Everything is as if no restore had been tried.
  void ExpectUntouched() {
    cluster_.Monitor();
    EXPECT_TRUE(Runs(here_));
    EXPECT_FALSE(Runs(there_));
    EXPECT_EQ(cluster_.Failovers(resource_), 0);
    EXPECT_FALSE(cluster_.InMaintenance(resource_));
    EXPECT_EQ(here_.GuestRead(vm_, "vda", 0, 3).value_or("unreadable"), "new");
    EXPECT_THAT(*files_.List(dir_.File("deeds")), IsEmpty());
  }

  umbra::testing::TempDir dir_;
  base::PosixFilesystem files_;
  base::SystemClock clock_;
  base::SeededRandom random_{1};
  hypervisor::SimulatedHypervisor here_{dir_.File("here"), files_, clock_, random_};
  hypervisor::SimulatedHypervisor there_{dir_.File("there"), files_, clock_, random_};
  const std::string vm_ = here_.CreateVm({.name = "mail01", .disks = {{"vda", base::kMiB}}}).value();
  cluster::SimulatedCluster cluster_{{{"here", here_}, {"there", there_}}, clock_};
  const std::string resource_ = cluster_.AddVm(vm_, "here").value();
  std::unique_ptr<VssHost> host_;
};

// The writer by itself knows nothing of clusters: a restore that isn't announced ends with two machines on one disk.
TEST_F(ClusterTest, C1_HV36_ADeleteBehindTheClustersBackFailsTheVirtualMachineOver) {
  const VmRestoreOptions options = Stored();
  Restart(nullptr);
  auto restore = host_->NewRestore(options);
  ASSERT_TRUE(restore->PreRestore().ok());
  cluster_.Monitor();
  EXPECT_EQ(cluster_.Failovers(resource_), 1);
  EXPECT_TRUE(Runs(there_));
}

TEST_F(ClusterTest, C3_HV38_ARestoreIsRefusedWhileTheResourceIsOnline) {
  auto restore = host_->NewRestore(Stored());
  const absl::Status refused = restore->PreRestore();
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ReasonOf(refused), "CLUSTER_RESOURCE_ONLINE");
  EXPECT_THAT(base::MessageOf(refused), HasSubstr("resource vm-mail01, which is online on here"));
  EXPECT_THAT(base::MessageOf(refused), HasSubstr("--take-cluster-offline"));
  restore.reset();
  ExpectUntouched();
}

TEST_F(ClusterTest, C3_ARestoreIsRefusedWhileTheClusterDoesntAnswer) {
  VmRestoreOptions options = Stored();
  options.take_cluster_offline = true;
  cluster_.SetAvailable(false);
  EXPECT_EQ(ReasonOf(host_->NewRestore(options)->PreRestore()), "CLUSTER_UNAVAILABLE");
  cluster_.SetAvailable(true);
  ExpectUntouched();
}

TEST_F(ClusterTest, C3_HV38_OnRequestTheResourceIsTakenOfflineAndBroughtBack) {
  VmRestoreOptions options = Stored();
  options.take_cluster_offline = true;
  auto restore = host_->NewRestore(options);
  ASSERT_TRUE(restore->PreRestore().ok());
  EXPECT_TRUE(absl::IsNotFound(here_.GetVm(vm_).status()));
  cluster_.Monitor();  // it sees nothing wrong
  EXPECT_FALSE(Runs(there_));
  ASSERT_TRUE(restore->SetFilesRestored(vss::FileRestoreStatus::kAll).ok());
  ASSERT_TRUE(restore->PostRestore().ok());
  ASSERT_TRUE(restore->cluster_outcome().has_value());
  EXPECT_EQ(restore->cluster_outcome()->resource, resource_);
  EXPECT_TRUE(restore->cluster_outcome()->taken_offline);
  EXPECT_TRUE(restore->cluster_outcome()->online);
  EXPECT_TRUE(restore->cluster_outcome()->brought_back.ok());
  ExpectUntouched();
}

TEST_F(ClusterTest, C3_WhatAnAdministratorTookOfflineIsRestoredAndStaysOffline) {
  const VmRestoreOptions options = Stored();
  ASSERT_TRUE(cluster_.SetTarget(resource_, false).ok());
  auto restore = host_->NewRestore(options);
  ASSERT_TRUE(restore->PreRestore().ok());
  ASSERT_TRUE(restore->SetFilesRestored(vss::FileRestoreStatus::kAll).ok());
  ASSERT_TRUE(restore->PostRestore().ok());
  EXPECT_FALSE(restore->cluster_outcome()->taken_offline);
  EXPECT_FALSE(restore->cluster_outcome()->online);
  cluster_.Monitor();
  EXPECT_EQ(here_.GetVm(vm_)->state, VmState::kOff);
  EXPECT_FALSE(Runs(there_));
}

TEST_F(ClusterTest, C3_AResourceThatDoesntStopIsBroughtBackAndNothingIsDeleted) {
  VmRestoreOptions options = Stored();
  options.take_cluster_offline = true;
  cluster_.SetStopFails(true);
  EXPECT_EQ(ReasonOf(host_->NewRestore(options)->PreRestore()), "CLUSTER_TIMEOUT");
  cluster_.SetStopFails(false);
  ExpectUntouched();
}

// Half a disk must not be started. The next restore that works brings the resource back.
TEST_F(ClusterTest, C3_AfterARestoreThatFailedTheResourceStaysOfflineUntilOneWorks) {
  VmRestoreOptions options = Stored();
  options.take_cluster_offline = true;
  {
    auto restore = host_->NewRestore(options);
    ASSERT_TRUE(restore->PreRestore().ok());
    ASSERT_TRUE(restore->SetFilesRestored(vss::FileRestoreStatus::kFailed).ok());
    EXPECT_EQ(ReasonOf(restore->PostRestore().status()), "VSS_RESTORE_INCOMPLETE");
    EXPECT_EQ(ReasonOf(restore->cluster_outcome()->brought_back), "CLUSTER_RESOURCE_OFFLINE");
    EXPECT_FALSE(restore->cluster_outcome()->online);
  }
  Restart(&cluster_);
  ASSERT_TRUE(host_->Heal().ok());
  cluster_.Monitor();
  EXPECT_FALSE(Runs(here_) || Runs(there_));

  options.take_cluster_offline = false;  // it is offline
  auto restore = host_->NewRestore(options);
  ASSERT_TRUE(restore->PreRestore().ok());
  ASSERT_TRUE(restore->SetFilesRestored(vss::FileRestoreStatus::kAll).ok());
  ASSERT_TRUE(restore->PostRestore().ok());
  EXPECT_TRUE(restore->cluster_outcome()->online);
  ExpectUntouched();
}

TEST_F(ClusterTest, C3_GivingUpARestoreLeavesTheResourceOffline) {
  VmRestoreOptions options = Stored();
  options.take_cluster_offline = true;
  auto restore = host_->NewRestore(options);
  ASSERT_TRUE(restore->PreRestore().ok());
  restore.reset();
  cluster_.Monitor();
  EXPECT_FALSE(Runs(here_) || Runs(there_));
  EXPECT_EQ(cluster_.Failovers(resource_), 0);
}

TEST_F(ClusterTest, ANewVirtualMachineTouchesNoResourceAndTakesNoClusteredName) {
  VmRestoreOptions options = Stored();
  options.disk_paths = {{"vda", dir_.File("copy.raw")}};
  options.new_name = "mail01-test";
  EXPECT_TRUE(host_->NewRestore(options)->PreRestore().ok());
  ExpectUntouched();
  // One that the cluster has on another node, unknown to this hypervisor.
  const std::string other = there_.CreateVm({.name = "mail02", .disks = {{"vda", base::kMiB}}}).value();
  ASSERT_TRUE(cluster_.AddVm(other, "there").ok());
  options.new_name = "mail02";
  EXPECT_EQ(ReasonOf(host_->NewRestore(options)->PreRestore()), "VM_EXISTS");
  cluster_.SetAvailable(false);
  options.new_name = "mail01-again";
  EXPECT_TRUE(host_->NewRestore(options)->PreRestore().ok());
}

// --- C2 ---

// Stops the virtual machine as a saved state does.
class StoppingCapture final : public VmCapture {
 public:
  StoppingCapture(hypervisor::Hypervisor& hypervisor, std::string vm, bool comes_back = true)
      : hypervisor_(hypervisor), vm_(std::move(vm)), comes_back_(comes_back) {}
  ~StoppingCapture() override {
    if (stopped_ && comes_back_) hypervisor_.Start(vm_).IgnoreError();
  }
  absl::Status Prepare(const vss::Guid&) override { return absl::OkStatus(); }
  absl::Status Capture() override {
    stopped_ = true;
    return hypervisor_.PowerOff(vm_);
  }
  absl::Status AfterSnapshot() override {
    stopped_ = false;
    return hypervisor_.Start(vm_);
  }
  CaptureFigures figures() const override { return {}; }

 private:
  hypervisor::Hypervisor& hypervisor_;
  const std::string vm_;
  const bool comes_back_;
  bool stopped_ = false;
};

class ClusteredCaptureTest : public ClusterTest {
 protected:
  void SetUp() override { ASSERT_TRUE(deeds_.Open().ok()); }
  std::unique_ptr<VmCapture> NewCapture() {
    return std::make_unique<ClusteredCapture>(tools_, vm_, "mail01", "job-1-1",
                                              std::make_unique<StoppingCapture>(here_, vm_));
  }
  void ExpectNoFailover() {
    cluster_.Monitor();
    EXPECT_TRUE(Runs(here_));
    EXPECT_EQ(cluster_.Failovers(resource_), 0);
    EXPECT_FALSE(cluster_.InMaintenance(resource_));
    EXPECT_THAT(*files_.List(dir_.File("deeds")), IsEmpty());
  }

  cluster::DeedJournal deeds_{files_, dir_.File("deeds")};
  const cluster::ClusterTools tools_{cluster_, deeds_, here_};
};

TEST_F(ClusteredCaptureTest, C1_HV36_AStopBehindTheClustersBackFailsTheVirtualMachineOver) {
  StoppingCapture capture(here_, vm_);
  ASSERT_TRUE(capture.Capture().ok());
  cluster_.Monitor();
  ASSERT_TRUE(capture.AfterSnapshot().ok());
  EXPECT_EQ(cluster_.Failovers(resource_), 1);
  EXPECT_TRUE(Runs(here_) && Runs(there_));  // the worst there is
}

TEST_F(ClusteredCaptureTest, C2_HV37_TheClusterIsToldOfAStop) {
  auto capture = NewCapture();
  ASSERT_TRUE(capture->Prepare({}).ok());
  ASSERT_TRUE(capture->Capture().ok());
  cluster_.Monitor();
  ASSERT_TRUE(capture->AfterSnapshot().ok());
  ExpectNoFailover();  // before the capture is gone: not longer than needed
}

TEST_F(ClusteredCaptureTest, C2_TheClusterLooksAgainOnlyWhenTheVirtualMachineIsBack) {
  auto capture = NewCapture();
  ASSERT_TRUE(capture->Prepare({}).ok());
  ASSERT_TRUE(capture->Capture().ok());
  cluster_.Monitor();
  capture.reset();  // a failure elsewhere in the set
  ExpectNoFailover();
}

TEST_F(ClusteredCaptureTest, C2_WithoutTheClustersAnswerNothingIsStopped) {
  cluster_.SetAvailable(false);
  auto capture = NewCapture();
  EXPECT_EQ(ReasonOf(capture->Prepare({})), "CLUSTER_UNAVAILABLE");
  capture.reset();
  cluster_.SetAvailable(true);
  ExpectNoFailover();
}

// The whole way: a backup by saved state, with a monitor that looks while the virtual machine stands still.
TEST_F(ClusteredCaptureTest, C2_HV37_ABackupBySavedStateIsNoFailure) {
  const std::string mute =
      here_.CreateVm({.name = "mute", .disks = {{"vda", base::kMiB}}, .guest_agent = false}).value();
  const std::string resource = cluster_.AddVm(mute, "here").value();
  for (const bool told : {true, false}) {
    RecordingHypervisor watched(here_);
    int looks = 0;
    watched.OnCall([&](const std::string& call) {
      if (call != "Resume mute") return absl::OkStatus();
      cluster_.Monitor();
      ++looks;
      return absl::OkStatus();
    });
    VssHostOptions options{.scratch_folder = dir_.File("s"), .journal_folder = dir_.File("journal")};
    options.cluster = told ? &cluster_ : nullptr;
    options.cluster_journal_folder = dir_.File("deeds");
    const auto host = VssHost::Create(watched, files_, clock_, random_, options).value();
    auto backup = host->NewBackup({.vm_uuids = {mute}, .owner_tag = "job-1-1"});
    ASSERT_TRUE(backup->Prepare().ok());
    const auto snapshots = backup->Snapshot();
    EXPECT_EQ(looks, 1);
    EXPECT_EQ(cluster_.Failovers(resource), told ? 0 : 1);
    if (!told) break;  // C1: it runs elsewhere now
    ASSERT_TRUE(snapshots.ok()) << snapshots.status();
    EXPECT_EQ(snapshots->front().mechanism, BackupMechanism::kSavedState);
    EXPECT_FALSE(cluster_.InMaintenance(resource));
    EXPECT_EQ(here_.GetVm(mute)->state, VmState::kRunning);
    EXPECT_TRUE(backup->SetSucceeded(mute, true).ok());
    EXPECT_TRUE(backup->Complete().ok());
  }
}

// A virtual machine that still stands still is shown to the cluster only when healing has put it back.
TEST_F(ClusteredCaptureTest, C2_TheClusterIsLeftToHealingWithItsVirtualMachine) {
  {
    auto capture = std::make_unique<ClusteredCapture>(
        tools_, vm_, "mail01", "job-1-1", std::make_unique<StoppingCapture>(here_, vm_, /*comes_back=*/false));
    ASSERT_TRUE(capture->Prepare({}).ok());
    ASSERT_TRUE(capture->Capture().ok());
  }
  cluster_.Monitor();
  EXPECT_EQ(cluster_.Failovers(resource_), 0);
  EXPECT_THAT(deeds_.ListLeft()->entries, ::testing::SizeIs(1));
  ASSERT_TRUE(here_.Start(vm_).ok());
  ASSERT_TRUE(host_->Heal().ok());
  ExpectNoFailover();
}

TEST_F(ClusteredCaptureTest, AVirtualMachineThatIsNoResourceIsCapturedAsEver) {
  const std::string other = here_.CreateVm({.name = "other", .disks = {{"vda", base::kMiB}}}).value();
  ClusteredCapture capture(tools_, other, "other", "job-1-1", std::make_unique<StoppingCapture>(here_, other));
  ASSERT_TRUE(capture.Prepare({}).ok());
  EXPECT_THAT(deeds_.List()->entries, IsEmpty());
  ASSERT_TRUE(capture.Capture().ok());
  ASSERT_TRUE(capture.AfterSnapshot().ok());
  EXPECT_EQ(here_.GetVm(other)->state, VmState::kRunning);
}

}  // namespace
}  // namespace umbra::writers
