// A host with simulated virtual machines, the whole VSS engine, and a daemon's data service in memory, around a JobRunner.
#ifndef UMBRA_TESTS_UNIT_AGENT_RUNNER_FIXTURE_H_
#define UMBRA_TESTS_UNIT_AGENT_RUNNER_FIXTURE_H_

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "agent/hypervisor/simulated/simulated_hypervisor.h"
#include "agent/runner/job_runner.h"
#include "tests/support/memory_chunk_store.h"
#include "tests/support/memory_disk.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/agent/runner/synced_folders.h"

namespace umbra::runner {

// Lets several assignments use one store.
class SharedStore final : public transfer::ChunkStoreClient {
 public:
  explicit SharedStore(transfer::ChunkStoreClient& inner) : inner_(inner) {}
  absl::StatusOr<store::v1::OpenSessionResponse> OpenSession(const store::v1::OpenSessionRequest& r) override {
    return inner_.OpenSession(r);
  }
  absl::StatusOr<store::v1::CheckBaseResponse> CheckBase(const store::v1::CheckBaseRequest& r) override {
    return inner_.CheckBase(r);
  }
  absl::StatusOr<store::v1::PutDiskMapResponse> PutChangedMap(const transfer::DiskMapTarget& t, const std::string& base,
                                                              std::span<const transfer::ChangedIds> changes) override {
    return inner_.PutChangedMap(t, base, changes);
  }
  absl::StatusOr<store::v1::NegotiateResponse> Negotiate(const store::v1::NegotiateRequest& r) override {
    return inner_.Negotiate(r);
  }
  absl::StatusOr<store::v1::UploadResponse> Upload(const store::v1::UploadRequest& r) override { return inner_.Upload(r); }
  absl::StatusOr<store::v1::PutDiskMapResponse> PutDiskMap(const transfer::DiskMapTarget& t, base::Bytes ids) override {
    return inner_.PutDiskMap(t, ids);
  }
  absl::StatusOr<store::v1::CommitResponse> Commit(const store::v1::CommitRequest& r) override { return inner_.Commit(r); }
  absl::Status AbortSession(const store::v1::AbortSessionRequest& r) override { return inner_.AbortSession(r); }
  absl::StatusOr<std::unique_ptr<transfer::DiskStream>> ReadDisk(const store::v1::ReadDiskRequest& r) override {
    return inner_.ReadDisk(r);
  }

 private:
  transfer::ChunkStoreClient& inner_;
};

class RunnerTest : public ::testing::Test {
 protected:
  static constexpr uint64_t kDiskBytes = 6 * base::kMiB;
  static constexpr size_t kChunk = testing::MemoryChunkStore::kChunkSize;

  void SetUp() override {
    ASSERT_TRUE(files_.MakeDirectories(Scratch()).ok());
    auto host = writers::VssHost::Create(hypervisor_, files_, clock_, random_,
                                         {.scratch_folder = Scratch(),
                                          .journal_folder = folder_.File("intents"),
                                          .cluster = cluster_,
                                          .cluster_journal_folder = folder_.File("deeds"),
                                          .file_sets = file_sets_});
    ASSERT_TRUE(host.ok());
    host_ = *std::move(host);
    inventory_ = std::make_unique<InventoryReporter>(*host_, outbox_, clock_, InventoryReporter::Options{});
    RunnerSettings settings;
    settings.backup.memory_bytes = base::kMiB;
    settings.backup.upload_batch_bytes = 256 * base::kKiB;
    settings.retry.grace = absl::Milliseconds(200);
    settings.retry.backoff = {absl::Milliseconds(1), absl::Milliseconds(20)};
    settings.restore.link_grace = absl::Milliseconds(200);
    settings.restore.backoff = settings.retry.backoff;
    ASSERT_TRUE(ledgers_.Open().ok());
    runner_ = std::make_unique<JobRunner>(
        RunnerContext{.hypervisor = hypervisor_,
                      .host = *host_,
                      .files = files_,
                      .clock = clock_,
                      .random = random_,
                      .outbox = outbox_,
                      .ledgers = ledgers_,
                      .make_store = [this](transfer::Cancellation&) { return std::make_unique<SharedStore>(store_); },
                      .settings = settings},
        *inventory_);
  }

  std::string Scratch() const { return folder_.File("s"); }

  // A running machine whose disk holds `content` (at most kDiskBytes).
  std::string AddVm(const std::string& name, const std::string& content, bool guest_agent = true) {
    const std::string uuid = hypervisor_
                                 .CreateVm({.name = name,
                                            .disks = {{"vda", kDiskBytes}, {"sda", 0, hypervisor::DiskExclusion::kPassThrough}},
                                            .adapters = {{"52:54:00:00:00:01", "switch0"}},
                                            .guest_agent = guest_agent})
                                 .value();
    EXPECT_TRUE(hypervisor_.GuestWrite(uuid, "vda", 0, base::AsBytes(content)).ok());
    return uuid;
  }

  static std::string Content(uint64_t seed) { return testing::MakeDiskContent(seed, 60, kChunk, 0); }
  static std::string OnDisk(std::string content) {
    content.resize(kDiskBytes, '\0');
    return content;
  }
  std::string GuestDisk(const std::string& uuid) { return hypervisor_.GuestRead(uuid, "vda", 0, kDiskBytes).value_or("unreadable"); }

  agent::v1::Assignment BackupOf(const std::vector<std::string>& uuids) {
    agent::v1::Assignment assignment;
    assignment.mutable_id()->set_job_id("job" + std::to_string(++jobs_));
    assignment.mutable_id()->set_attempt(1);
    for (const std::string& uuid : uuids) assignment.mutable_backup()->add_virtual_machines(uuid);
    assignment.mutable_backup()->set_repository("main");
    return assignment;
  }

  // As the daemon makes it of the newest recovery point.
  agent::v1::Assignment RestoreOf(v1::RestoreSpec::Mode mode) {
    const store::v1::Manifest manifest = store_.committed().back();
    agent::v1::Assignment assignment;
    assignment.mutable_id()->set_job_id("job" + std::to_string(++jobs_));
    assignment.mutable_id()->set_attempt(1);
    agent::v1::RestoreAssignment& work = *assignment.mutable_restore();
    work.set_mode(mode);
    work.set_recovery_point_id("point");
    v1::RecoveryPoint& point = *work.mutable_recovery_point();
    point.set_virtual_machine("hosts/h/virtualMachines/" + manifest.vm_uuid());
    point.set_virtual_machine_display_name(manifest.vm_display_name());
    for (const auto& disk : manifest.disks()) {
      if (disk.kind() == store::v1::ManifestDisk::KIND_FILE_TREE) {
        point.clear_virtual_machine();
        point.set_file_set("hosts/h/fileSets/" + manifest.vm_display_name());
        point.mutable_files()->set_size_bytes(disk.capacity_bytes());
        point.mutable_files()->set_data_bytes(disk.capacity_bytes());
        continue;
      }
      if (disk.kind() == store::v1::ManifestDisk::KIND_MEMORY_STATE) {
        point.mutable_memory()->set_size_bytes(disk.capacity_bytes());
        point.mutable_memory()->set_data_bytes(disk.capacity_bytes());
        continue;
      }
      v1::RecoveryPointDisk& d = *point.add_disks();
      d.set_name(disk.name());
      d.set_capacity_bytes(disk.capacity_bytes());
      d.set_data_bytes(disk.capacity_bytes() / 2);
      d.set_format(disk.format());
      d.set_path(disk.path());
    }
    for (const auto& document : manifest.documents()) {
      if (document.kind() == "vm.configuration") {
        point.set_configuration(document.content());
        continue;
      }
      work.add_documents()->set_kind(document.kind());
      work.mutable_documents(work.documents_size() - 1)->set_content(document.content());
    }
    return assignment;
  }

  // Runs it and gives its result; what else was said is in `said_`.
  agent::v1::AssignmentResult Run(const agent::v1::Assignment& assignment) {
    runner_->OnAssignment(assignment);
    return AwaitResult();
  }

  agent::v1::AssignmentResult AwaitResult() {
    said_.clear();
    const absl::Duration give_up = clock_.Monotonic() + absl::Seconds(30);
    while (clock_.Monotonic() < give_up) {
      std::optional<agent::v1::AgentMessage> message = outbox_.Next(absl::Seconds(1));
      if (!message) continue;
      if (message->has_result()) {
        outbox_.Acknowledge(message->result().id());
        return message->result();
      }
      said_.push_back(*std::move(message));
    }
    ADD_FAILURE() << "no result";
    return {};
  }

  std::vector<std::string> Warnings() const {
    std::vector<std::string> reasons;
    for (const auto& message : said_) {
      if (message.has_warning()) reasons.push_back(message.warning().warning().reason());
    }
    return reasons;
  }

  // Nothing of a job is left: no frozen guest, view, scratch file, intent, session or half-made recovery point.
  void ExpectClean(const std::string& uuid) {
    EXPECT_FALSE(hypervisor_.IsFrozen(uuid));
    EXPECT_TRUE(files_.List(Scratch())->empty());
    EXPECT_TRUE(files_.List(folder_.File("intents"))->empty());
    EXPECT_EQ(store_.session_count(), 0u);
    if (files_.Exists(folder_.File("restores")).value()) {
      EXPECT_TRUE(files_.List(folder_.File("restores"))->empty());
    }
  }

  testing::TempDir folder_;
  SyncedFolders files_;
  base::SystemClock clock_;
  base::SeededRandom random_{17};
  hypervisor::SimulatedHypervisor hypervisor_{folder_.File("vms"), files_, clock_, random_};
  cluster::ClusterService* cluster_ = nullptr;    // set these before SetUp
  writers::VssHostOptions::FileSets file_sets_;
  testing::MemoryChunkStore store_;
  link::Outbox outbox_{clock_};
  RestoreLedgers ledgers_{files_, folder_.path()};
  std::unique_ptr<writers::VssHost> host_;
  std::unique_ptr<InventoryReporter> inventory_;
  std::unique_ptr<JobRunner> runner_;
  std::vector<agent::v1::AgentMessage> said_;
  int jobs_ = 0;
};

}  // namespace umbra::runner

#endif  // UMBRA_TESTS_UNIT_AGENT_RUNNER_FIXTURE_H_
