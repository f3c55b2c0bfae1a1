#include "tests/conformance/world.h"

#include <utility>

#include "agent/writers/component_options.h"

namespace umbra::conformance {

using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::StartsWith;
using writers::ComponentIdOf;

Engine::Engine(hypervisor::Hypervisor& hypervisor, base::Filesystem& files, base::Clock& clock, base::Random& random,
               const writers::VssHostOptions& options)
    : journal(files, options.journal_folder),
      provider({hypervisor, journal, clock}),
      writer({hypervisor, journal, clock}, provider, files, random,
             {vss::Guid::Literal("00000000-0000-4000-8000-000000000001"), options.scratch_folder, options.freeze,
              options.guest_agent_timeout, options.guest_writers}),
      neighbour("neighbour", kNeighbourId, record),
      coordinator(clock, random) {
  UMBRA_CHECK(journal.Open().ok());
  neighbour.identity_.level = vss::ApplicationLevel::kBackEnd;
  neighbour.metadata.components.emplace_back().name = "neighbour";
  coordinator.AddWriter(writer);
  coordinator.AddWriter(neighbour);
  coordinator.AddProvider(provider);
}

std::unique_ptr<vss::BackupRequester> Engine::Select(const std::vector<std::string>& vms, uint32_t context) {
  writers::BackupOptions told;
  told.owner_tag = "job-1-1";
  std::vector<vss::ComponentChoice> choices = {{{kNeighbourId, "", "neighbour"}, ""}};
  for (const std::string& vm : vms) choices.push_back({ComponentIdOf(vm), Print(told)});
  auto requester = std::make_unique<vss::BackupRequester>(coordinator.NewSession(), vss::BackupSettings{context, {}});
  EXPECT_TRUE(requester->Gather().ok());
  EXPECT_TRUE(requester->Select(choices).ok());
  return requester;
}

Conformance::Conformance() : simulated_(dir_.File("vms"), files_, clock_, random_) {
  options_.scratch_folder = dir_.File("s");
  options_.journal_folder = dir_.File("journal");
  options_.freeze = {.freeze_timeout = absl::Milliseconds(100),
                     .thaw_timeout = absl::Milliseconds(50),
                     .first_wait = absl::Milliseconds(1),
                     .longest_wait = absl::Milliseconds(5),
                     .patience = absl::Seconds(1)};
  options_.guest_writers = &ledgers_;
}

std::string Conformance::Vm(const std::string& name, hypervisor::SimulatedVmSpec spec) {
  spec.name = name;
  if (spec.disks.empty()) spec.disks.push_back({"vda", kDiskBytes, hypervisor::DiskExclusion::kNone});
  return simulated_.CreateVm(spec).value();
}

std::string Conformance::Bank(const std::string& name) {
  const std::string vm = Vm(name);
  applications_[vm] = std::make_unique<testing::GuestLedger>(simulated_, clock_, vm);
  ledgers_.Add(vm, *applications_[vm]);
  return vm;
}

writers::VssHost& Conformance::host() {
  if (host_ == nullptr) host_ = writers::VssHost::Create(hypervisor_, files_, clock_, random_, options_).value();
  return *host_;
}

Engine& Conformance::engine() {
  if (engine_ == nullptr) engine_ = std::make_unique<Engine>(hypervisor_, files_, clock_, random_, options_);
  return *engine_;
}

TwoNodes& Conformance::Cluster(const std::string& vm, Host host) {
  nodes_ = std::make_unique<TwoNodes>(simulated_, vm, dir_.File("there"), files_, clock_, random_);
  if (host == Host::kKnows) {
    options_.cluster = &nodes_->cluster;
    options_.cluster_journal_folder = dir_.File("deeds");
  }
  return *nodes_;
}

writers::VmDescription Conformance::Described(const std::string& vm) {
  std::vector<writers::VmDescription> all = host().DescribeVms().value();
  for (writers::VmDescription& description : all) {
    if (description.vm.uuid == vm) return std::move(description);
  }
  ADD_FAILURE() << vm << " is not in the inventory";
  return {};
}

std::string Conformance::CaptionOf(const std::string& vm) {
  const vss::WriterMetadata metadata = engine().writer.OnIdentify({}).value();
  return metadata.Find("", ComponentIdOf(vm).name)->caption;
}

void Conformance::ExpectChild(const std::string& vm) {
  const writers::MechanismChoice choice = Described(vm).choice;
  EXPECT_EQ(choice.mechanism, writers::BackupMechanism::kChildSnapshot) << choice.message();
  EXPECT_EQ(choice.reason(), "");
  EXPECT_THAT(CaptionOf(vm), StartsWith("Backup Using Child Partition Snapshot\\"));
}

void Conformance::ExpectSaved(const std::string& vm, const std::string& reason) {
  const writers::MechanismChoice choice = Described(vm).choice;
  EXPECT_EQ(choice.mechanism, writers::BackupMechanism::kSavedState);
  EXPECT_THAT(choice.obstacles, SizeIs(1)) << choice.message();
  EXPECT_EQ(choice.reason(), reason);
  EXPECT_THAT(CaptionOf(vm), StartsWith("Backup Using Saved State\\"));
}

void Conformance::ChangeGuest(const std::function<void(hypervisor::GuestFilesystem&)>& change) {
  hypervisor_.OnAgent([change](hypervisor::GuestAgentInfo& agent) {
    if (!agent.filesystems.empty()) change(agent.filesystems.front());
  });
}

void Conformance::SnapshotsGoTo(const std::string& folder) {
  hypervisor_.OnDescribe([folder](hypervisor::VmInfo& vm) { vm.snapshot_folder = folder; });
}

std::unique_ptr<writers::VmBackup> Conformance::Backup(std::vector<std::string> vms) {
  writers::VmBackupOptions options;
  options.vm_uuids = std::move(vms);
  options.owner_tag = fmt::format("job-{}-1", ++tags_);
  return host().NewBackup(options);
}

std::string Conformance::RefusalOf(writers::VmBackup& backup) {
  absl::Status made = backup.Prepare();
  if (made.ok()) made = backup.Snapshot().status();
  return base::ReasonOf(made);
}

StoredPoint Conformance::Store(const std::string& vm) {
  StoredPoint point;
  auto backup = Backup({vm});
  EXPECT_EQ(RefusalOf(*backup), "");
  const hypervisor::VmInfo info = simulated_.GetVm(vm).value();
  for (const hypervisor::Disk& disk : writers::IncludedDisks(info)) {
    std::string& content = point.disks[disk.name];
    content.resize(disk.capacity_bytes);
    const auto reader = backup->OpenDisk(vm, disk.name).value();
    EXPECT_TRUE(reader->ReadAt(0, std::as_writable_bytes(std::span(content))).ok());
    point.options.disk_paths.emplace_back(disk.name, disk.path);
  }
  EXPECT_TRUE(backup->SetSucceeded(vm, true).ok());
  point.options.documents = backup->Documents().value();
  point.options.configuration = simulated_.Configuration(vm).value();
  point.options.vm_uuid = vm;
  point.options.vm_name = info.name;
  EXPECT_TRUE(backup->Complete().ok());
  return point;
}

void Conformance::WriteFiles(const StoredPoint& point, const writers::VmRestoreOptions& options) {
  for (const auto& [disk, path] : options.disk_paths) {
    const std::string& content = point.disks.at(disk);
    if (files_.Exists(path).value()) {
      ASSERT_TRUE(files_.Remove(path).ok());
    }
    ASSERT_TRUE(files_.MakeDirectories(base::DirectoryOf(path)).ok());
    const auto file = simulated_.CreateDisk({path, "raw", content.size()}).value();
    ASSERT_TRUE(file->WriteAt(0, base::AsBytes(content)).ok());
    ASSERT_TRUE(file->Finish().ok());
  }
}

absl::StatusOr<hypervisor::DefinedVm> Conformance::Restore(const StoredPoint& point,
                                                           const writers::VmRestoreOptions& options) {
  auto restore = host().NewRestore(options);
  RETURN_IF_ERROR(restore->PreRestore());
  WriteFiles(point, options);
  RETURN_IF_ERROR(restore->SetFilesRestored(vss::FileRestoreStatus::kAll));
  return restore->PostRestore();
}

void Conformance::Write(const std::string& vm, const std::string& text) {
  ASSERT_TRUE(simulated_.GuestWrite(vm, "vda", 0, base::AsBytes(text)).ok());
}

std::string Conformance::Read(const std::string& vm, size_t length) {
  return simulated_.GuestRead(vm, "vda", 0, length).value_or("unreadable");
}

void Conformance::ExpectTransfers(const vss::Guid& set_id, const std::string& vm, int64_t count) {
  const auto reader = engine().provider.OpenDisk(set_id, vm, "vda");
  ASSERT_TRUE(reader.ok()) << reader.status();
  const auto transfers =
      testing::GuestLedger::Verify([&](uint64_t offset, uint64_t length) -> absl::StatusOr<std::string> {
        std::string text(length, '\0');
        RETURN_IF_ERROR((*reader)->ReadAt(offset, std::as_writable_bytes(std::span(text))));
        return text;
      });
  ASSERT_TRUE(transfers.ok()) << transfers.status();
  EXPECT_EQ(*transfers, count);
}

void Conformance::FailInTurn(const std::vector<std::string>& vms, const std::vector<Trouble>& troubles,
                             const std::function<void(writers::VmBackup&)>& look) {
  for (const Trouble& trouble : troubles) {
    for (const std::string& failing : vms) {
      SCOPED_TRACE(trouble.reason + " in " + simulated_.GetVm(failing)->name);
      const auto application = applications_.find(failing);
      simulated_.SetFaults(failing, trouble.faults);
      if (application != applications_.end()) application->second->SetFaults(trouble.application);
      auto backup = Backup(vms);
      EXPECT_EQ(RefusalOf(*backup), trouble.reason);
      simulated_.SetFaults(failing, {});
      if (application != applications_.end()) application->second->SetFaults({});
      look(*backup);
    }
  }
}

void Conformance::ExpectAsBefore(const std::vector<std::string>& vms) {
  for (const std::string& vm : vms) {
    EXPECT_EQ(StateOf(vm), hypervisor::VmState::kRunning);
    EXPECT_TRUE(simulated_.CheckNoJob(vm).ok());
    if (const auto application = applications_.find(vm); application != applications_.end()) {
      EXPECT_TRUE(application->second->Transfer().ok()) << "the guest or its application is still frozen";
    } else {
      EXPECT_FALSE(simulated_.IsFrozen(vm));
    }
  }
  for (const std::string& folder : {options_.scratch_folder, options_.journal_folder}) {
    if (files_.Exists(folder).value()) {
      EXPECT_THAT(files_.List(folder).value(), IsEmpty()) << folder;
    }
  }
}

}  // namespace umbra::conformance
