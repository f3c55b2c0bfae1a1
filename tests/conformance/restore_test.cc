// Proves the rules of a restore and of failover clusters: R1 to R8, C1 to C3, HV-26 to HV-36 and HV-38.
#include <unistd.h>

#include "agent/writers/component_options.h"
#include "tests/conformance/world.h"

namespace umbra::conformance {
namespace {

using base::ReasonOf;
using hypervisor::CheckpointKind;
using hypervisor::VmState;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using vss::EventContext;
using writers::ComponentIdOf;
using writers::VmRestoreOptions;

// Empty when there is none.
std::string LinkTarget(const std::string& path) {
  std::string target(4096, '\0');
  const ssize_t length = readlink(path.c_str(), target.data(), target.size());
  target.resize(length < 0 ? 0 : static_cast<size_t>(length));
  return target;
}

TEST_F(Conformance, HV_26_ARestoreIsTheHostsAlone) {
  const std::string vm = Bank("mail01"), other = Bank("other");
  const StoredPoint point = Store(vm);
  ASSERT_TRUE(ledger(vm).Transfer().ok());
  for (const std::string& guest : {vm, other}) ledger(guest).TakeEvents();
  hypervisor_.Take();
  ASSERT_TRUE(Restore(point, point.options).ok());
  for (const std::string& guest : {vm, other}) EXPECT_THAT(ledger(guest).TakeEvents(), IsEmpty());
  for (const std::string& call : hypervisor_.Take()) {
    EXPECT_THAT(call, ::testing::Not(::testing::AnyOf(HasSubstr("Freeze"), HasSubstr("Thaw"), HasSubstr("other"))));
  }
}

TEST_F(Conformance, HV_27_PreRestoreTurnsOffAndDeletesTheVirtualMachineThatIsRestored) {
  const std::string vm = Vm("mail01"), other = Vm("other");
  const StoredPoint point = Store(vm);
  auto restore = host().NewRestore(point.options);
  EXPECT_EQ(StateOf(vm), VmState::kRunning);
  ASSERT_TRUE(restore->PreRestore().ok());
  EXPECT_TRUE(absl::IsNotFound(simulated_.GetVm(vm).status()));
  EXPECT_FALSE(simulated_.GuestRead(vm, "vda", 0, 1).ok()) << "it still runs";
  EXPECT_EQ(StateOf(other), VmState::kRunning);
  // One that gets another name is not the one that is restored.
  VmRestoreOptions as_new = Store(other).options;
  as_new.new_name = "copy";
  ASSERT_TRUE(host().NewRestore(as_new)->PreRestore().ok());
  EXPECT_EQ(StateOf(other), VmState::kRunning);
}

// Through the requester, so that another writer takes part in the restore; it is slow.
TEST_F(Conformance, HV_28_FilesComeOnlyAfterThePreRestoreOfAllWriters) {
  const std::string vm = Vm("mail01");
  auto backup = engine().Select({vm});
  ASSERT_TRUE(backup->Prepare().ok());
  ASSERT_TRUE(backup->Snapshot().ok());
  for (const vss::ComponentId& id : {ComponentIdOf(vm), vss::ComponentId{kNeighbourId, "", "neighbour"}}) {
    ASSERT_TRUE(backup->SetBackupSucceeded(id, true).ok());
  }
  const vss::BackupDocuments documents = backup->Documents().value();
  ASSERT_TRUE(backup->Complete().ok());
  writers::RestoreOptions told;
  told.configuration = simulated_.Configuration(vm).value();
  told.disk_paths = {{"vda", simulated_.GetVm(vm)->disks[0].path}};
  const auto selected = [&] {
    auto restore = std::make_unique<vss::RestoreRequester>(engine().coordinator.NewSession(), documents);
    EXPECT_TRUE(restore->Gather().ok());
    EXPECT_TRUE(
        restore->Select({{ComponentIdOf(vm), Print(told), {}}, {{kNeighbourId, "", "neighbour"}, "", {}}}).ok());
    return restore;
  };

  // While one writer is not done, nobody may write: the step isn't over, and the files' status is refused.
  bool done = false;
  engine().neighbour.on["PreRestore"] = [&](EventContext&) {
    clock_.Sleep(absl::Milliseconds(50));
    done = true;
    return absl::OkStatus();
  };
  auto restore = selected();
  EXPECT_EQ(ReasonOf(restore->SetFileRestoreStatus(ComponentIdOf(vm), vss::FileRestoreStatus::kAll)), "VSS_BAD_STATE");
  ASSERT_TRUE(restore->PreRestore().ok());
  EXPECT_TRUE(done);
  EXPECT_TRUE(absl::IsNotFound(simulated_.GetVm(vm).status()));
  EXPECT_TRUE(restore->SetFileRestoreStatus(ComponentIdOf(vm), vss::FileRestoreStatus::kAll).ok());
  EXPECT_TRUE(restore->SetFileRestoreStatus({kNeighbourId, "", "neighbour"}, vss::FileRestoreStatus::kAll).ok());
  ASSERT_TRUE(restore->PostRestore().ok());

  // When one writer fails, nobody may write at all.
  engine().neighbour.on["PreRestore"] = [](EventContext&) { return absl::AbortedError("not now"); };
  restore = selected();
  EXPECT_FALSE(restore->PreRestore().ok());
  EXPECT_EQ(ReasonOf(restore->SetFileRestoreStatus(ComponentIdOf(vm), vss::FileRestoreStatus::kAll)), "VSS_BAD_STATE");
}

TEST_F(Conformance, HV_29_PostRestoreFailsUnlessAllFilesWereRestored) {
  for (const auto status :
       {vss::FileRestoreStatus::kNone, vss::FileRestoreStatus::kFailed, vss::FileRestoreStatus::kUndefined}) {
    const std::string vm = Vm(std::string(NameOf(status)));
    const StoredPoint point = Store(vm);
    auto restore = host().NewRestore(point.options);
    ASSERT_TRUE(restore->PreRestore().ok());
    WriteFiles(point, point.options);
    ASSERT_TRUE(restore->SetFilesRestored(status).ok());
    const absl::Status failed = restore->PostRestore().status();
    EXPECT_EQ(ReasonOf(failed), "VSS_RESTORE_INCOMPLETE");
    EXPECT_THAT(base::MessageOf(failed), HasSubstr(std::string(NameOf(status))));
    EXPECT_TRUE(absl::IsNotFound(simulated_.GetVm(vm).status())) << "registered with files that aren't whole";
    EXPECT_TRUE(Restore(point, point.options).ok()) << "with whole files it is registered";
  }
}

TEST_F(Conformance, HV_30_TheCodeIsNonRetryableAndTheStateFailedAtPostRestore) {
  const std::string vm = Vm("mail01");
  const StoredPoint point = Store(vm);
  for (const auto status : {vss::FileRestoreStatus::kNone, vss::FileRestoreStatus::kFailed}) {
    auto restore = host().NewRestore(point.options);
    ASSERT_TRUE(restore->PreRestore().ok());
    ASSERT_TRUE(restore->SetFilesRestored(status).ok());
    const absl::Status failed = restore->PostRestore().status();
    EXPECT_EQ(static_cast<uint32_t>(vss::CodeOf(failed)), 0x800423F4u);
    EXPECT_FALSE(vss::IsRetryable(failed));
    EXPECT_EQ(static_cast<int>(host().Writers().at(0).state), 14);
    EXPECT_EQ(static_cast<uint32_t>(vss::CodeOf(host().Writers().at(0).failure)), 0x800423F4u);
  }
}

TEST_F(Conformance, HV_31_ARestoredVirtualMachineIsRegisteredAndWorks) {
  const std::string vm = Vm("mail01");
  Write(vm, "former");
  const StoredPoint point = Store(vm);
  Write(vm, "latter");
  const auto defined = Restore(point, point.options);
  ASSERT_TRUE(defined.ok()) << defined.status();
  EXPECT_EQ(defined->uuid, vm);
  EXPECT_EQ(simulated_.GetVm(vm)->name, "mail01");
  EXPECT_EQ(StateOf(vm), VmState::kOff);
  ASSERT_TRUE(simulated_.Start(vm).ok());
  EXPECT_EQ(Read(vm, 6), "former");
}

TEST_F(Conformance, HV_32_RestoredElsewhereThereIsALinkInTheDefaultFolder) {
  const std::string vm = Vm("mail01");
  const StoredPoint point = Store(vm);
  const std::string link = simulated_.DefaultFolder() + "/" + vm;
  ASSERT_TRUE(Restore(point, point.options).ok());
  EXPECT_EQ(LinkTarget(link), "") << "it is in the default folder";
  VmRestoreOptions options = point.options;
  options.disk_paths = {{"vda", dir_.File("elsewhere/vda.raw")}};
  ASSERT_TRUE(Restore(point, options).ok());
  EXPECT_EQ(LinkTarget(link), dir_.File("elsewhere"));
  // Back in the default folder, the link would lead to files that are its own no more.
  ASSERT_TRUE(Restore(point, point.options).ok());
  EXPECT_EQ(LinkTarget(link), "");
  EXPECT_FALSE(files_.Exists(link).value());
  // What is no link there is somebody else's.
  ASSERT_TRUE(files_.MakeDirectories(link).ok());
  ASSERT_TRUE(Restore(point, point.options).ok());
  EXPECT_TRUE(files_.Exists(link).value());
}

TEST_F(Conformance, HV_33_TheConfigurationNamesThePlaceOfEveryRestoredDisk) {
  const std::string vm = Vm("mail01", {.disks = {{"vda", kDiskBytes}, {"vdb", kDiskBytes}}});
  Write(vm, "former");
  const StoredPoint point = Store(vm);
  VmRestoreOptions options = point.options;  // one moves, the other stays
  const std::string stays = options.disk_paths[1].second;
  options.disk_paths[0].second = dir_.File("elsewhere/moved.raw");
  ASSERT_TRUE(Restore(point, options).ok());
  EXPECT_THAT(simulated_.Configuration(vm).value(), HasSubstr(dir_.File("elsewhere/moved.raw")));
  const hypervisor::VmInfo restored = simulated_.GetVm(vm).value();
  ASSERT_THAT(restored.disks, SizeIs(2));
  EXPECT_EQ(restored.disks[0].path, dir_.File("elsewhere/moved.raw"));
  EXPECT_EQ(restored.disks[1].path, stays);
  ASSERT_TRUE(simulated_.Start(vm).ok());
  EXPECT_EQ(Read(vm, 6), "former");
}

TEST_F(Conformance, HV_34_ANetworkThatIsThereIsConnectedAgain) {
  const std::string vm = Vm("mail01", {.adapters = {{"52:54:00:00:00:01", "switch0"}}});
  const StoredPoint point = Store(vm);
  const auto defined = Restore(point, point.options);
  ASSERT_TRUE(defined.ok()) << defined.status();
  ASSERT_THAT(simulated_.GetVm(vm)->adapters, SizeIs(1));
  EXPECT_EQ(simulated_.GetVm(vm)->adapters[0].network, "switch0");
  EXPECT_THAT(defined->warnings, IsEmpty());
}

TEST_F(Conformance, HV_35_ANetworkThatIsGoneLeavesTheAdapterDisconnectedAndIsTold) {
  simulated_.AddNetwork("switch1");
  const std::string vm =
      Vm("mail01", {.adapters = {{"52:54:00:00:00:01", "switch0"}, {"52:54:00:00:00:02", "switch1"}}});
  const StoredPoint point = Store(vm);
  simulated_.RemoveNetwork("switch1");
  const auto defined = Restore(point, point.options);
  ASSERT_TRUE(defined.ok()) << defined.status();
  ASSERT_THAT(simulated_.GetVm(vm)->adapters, SizeIs(2));
  EXPECT_EQ(simulated_.GetVm(vm)->adapters[0].network, "switch0");
  EXPECT_EQ(simulated_.GetVm(vm)->adapters[1].network, "");
  ASSERT_THAT(defined->warnings, SizeIs(1));
  EXPECT_EQ(defined->warnings[0].reason, "ADAPTER_DISCONNECTED");
  EXPECT_THAT(defined->warnings[0].message, HasSubstr("switch1"));
}

// --- checkpoints ---

// "name<parent", and " current" for the one that the disks go on from.
std::vector<std::string> TreeOf(const std::vector<hypervisor::OwnCheckpoint>& checkpoints) {
  std::vector<std::string> tree;
  for (const auto& c : checkpoints) tree.push_back(fmt::format("{}<{}{}", c.name, c.parent, c.current ? " current" : ""));
  return tree;
}

const std::vector<std::string> kTree = {"before-update<", "in-between<before-update", "after-update<in-between current"};

void KeepTree(hypervisor::SimulatedHypervisor& hypervisor, const std::string& vm) {
  ASSERT_TRUE(hypervisor.KeepCheckpoint(vm, "before-update", CheckpointKind::kExternal).ok());
  ASSERT_TRUE(hypervisor.KeepCheckpoint(vm, "in-between", CheckpointKind::kInternal).ok());
  ASSERT_TRUE(hypervisor.KeepCheckpoint(vm, "after-update", CheckpointKind::kExternal).ok());
}

// Listed before any backup, and in the component that a recovery point keeps.
TEST_F(Conformance, HV_41_TheTreeIsListedAndInTheComponent) {
  const std::string vm = Vm("mail01");
  KeepTree(simulated_, vm);
  EXPECT_EQ(TreeOf(Described(vm).vm.checkpoints), kTree);
  const StoredPoint point = Store(vm);
  vss::BackupComponents document = vss::ParseBackupComponents(point.options.documents.backup_components).value();
  const vss::BackupComponent* component = document.Find(ComponentIdOf(vm));
  ASSERT_NE(component, nullptr);
  const writers::BackupFacts facts = writers::ParseBackupFacts(component->backup_metadata).value();
  EXPECT_EQ(facts.checkpoints, simulated_.GetVm(vm)->checkpoints);
}

// In place those stay whose content is in files of their own; of the others the restore says so.
TEST_F(Conformance, HV_41_ARestoreInPlaceKeepsWhatItCanAndNamesTheRest) {
  const std::string vm = Vm("mail01");
  KeepTree(simulated_, vm);
  const StoredPoint point = Store(vm);
  ASSERT_TRUE(simulated_.KeepCheckpoint(vm, "since-the-backup", CheckpointKind::kExternal).ok());
  const auto defined = Restore(point, point.options);
  ASSERT_TRUE(defined.ok()) << defined.status();
  EXPECT_THAT(TreeOf(simulated_.GetVm(vm)->checkpoints),
              ElementsAre("before-update<", "after-update<before-update current"));
  ASSERT_THAT(defined->warnings, SizeIs(1));
  EXPECT_EQ(defined->warnings[0].reason, "CHECKPOINTS_NOT_KEPT");
  EXPECT_THAT(defined->warnings[0].message, HasSubstr("in-between, since-the-backup;"));
}

TEST_F(Conformance, HV_41_ANewVirtualMachineHasNoneAndIsToldSo) {
  const std::string vm = Vm("mail01");
  KeepTree(simulated_, vm);
  StoredPoint point = Store(vm);
  point.options.new_name = "copy";
  point.options.disk_paths = {{"vda", dir_.File("copy/vda.raw")}};
  const auto defined = Restore(point, point.options);
  ASSERT_TRUE(defined.ok()) << defined.status();
  EXPECT_THAT(simulated_.GetVm(defined->uuid)->checkpoints, IsEmpty());
  EXPECT_EQ(TreeOf(simulated_.GetVm(vm)->checkpoints), kTree) << "the original has them still";
  const auto warned = std::find_if(defined->warnings.begin(), defined->warnings.end(),
                                   [](const auto& w) { return w.reason == "CHECKPOINTS_NOT_KEPT"; });
  ASSERT_NE(warned, defined->warnings.end());
  EXPECT_THAT(warned->message, HasSubstr("after-update, before-update, in-between"));
}

// --- failover clusters ---

// The writer alone, on a host that doesn't know of its cluster.
TEST_F(Conformance, HV_36_ToTheClusterADeletedVirtualMachineHasFailed) {
  const std::string vm = Vm("mail01");
  TwoNodes& nodes = Cluster(vm, Host::kKnowsNot);
  const StoredPoint point = Store(vm);
  EXPECT_FALSE(nodes.FailedOver());
  auto restore = host().NewRestore(point.options);
  ASSERT_TRUE(restore->PreRestore().ok());
  EXPECT_TRUE(nodes.FailedOver());
}

TEST_F(Conformance, HV_38_ARestoreNeedsTheClustersResourceOffline) {
  const std::string vm = Vm("mail01");
  TwoNodes& nodes = Cluster(vm, Host::kKnows);
  StoredPoint point = Store(vm);
  hypervisor_.Take();

  // Online: refused before anything is touched.
  const absl::Status refused = Restore(point, point.options).status();
  EXPECT_EQ(ReasonOf(refused), "CLUSTER_RESOURCE_ONLINE");
  EXPECT_THAT(base::MessageOf(refused), HasSubstr(nodes.resource));
  EXPECT_THAT(hypervisor_.Take(), IsEmpty());
  EXPECT_EQ(StateOf(vm), VmState::kRunning);
  EXPECT_FALSE(nodes.FailedOver());

  // On request it is taken offline by the cluster and brought back.
  point.options.take_cluster_offline = true;
  {
    auto restore = host().NewRestore(point.options);
    ASSERT_TRUE(restore->PreRestore().ok());
    EXPECT_FALSE(nodes.FailedOver());
    WriteFiles(point, point.options);
    ASSERT_TRUE(restore->SetFilesRestored(vss::FileRestoreStatus::kAll).ok());
    ASSERT_TRUE(restore->PostRestore().ok());
  }
  EXPECT_FALSE(nodes.FailedOver());
  EXPECT_EQ(StateOf(vm), VmState::kRunning);

  // Offline already, by an administrator: restored, and left so.
  point.options.take_cluster_offline = false;
  ASSERT_TRUE(nodes.cluster.SetTarget(nodes.resource, false).ok());
  ASSERT_TRUE(Restore(point, point.options).ok());
  EXPECT_FALSE(nodes.FailedOver());
  EXPECT_EQ(StateOf(vm), VmState::kOff);
}

}  // namespace
}  // namespace umbra::conformance
