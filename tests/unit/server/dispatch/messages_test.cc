// Proves what becomes of an agent's words: unknown values, impossible numbers, overlong texts and unusable machines do no harm.
#include "server/dispatch/messages.h"

#include <gtest/gtest.h>

namespace umbra::dispatch {
namespace {

using catalog::HostId;

constexpr char kUuid[] = "11111111-2222-3333-4444-555555555555";

TEST(MessagesTest, InventoryKeepsOnlyUsableMachinesAndWriters) {
  agent::v1::Inventory inventory;
  auto& vm = *inventory.add_virtual_machines();
  vm.set_name(kUuid);
  vm.set_display_name("db");
  vm.set_state(static_cast<umbra::v1::VirtualMachineState>(77));
  vm.set_memory_bytes(-5);
  vm.mutable_cluster_resource()->set_resource("vm-db");
  vm.mutable_cluster_resource()->set_state("online");
  vm.mutable_cluster_resource()->set_node("node1");
  vm.set_mechanism(umbra::v1::BACKUP_MECHANISM_CHILD_SNAPSHOT);
  for (const char* name : {"vda", "vda", "vdb"}) vm.add_disks()->set_name(name);
  inventory.add_virtual_machines()->set_name(kUuid);            // again
  inventory.add_virtual_machines()->set_name("../../etc/hosts");  // no uuid
  inventory.add_writers()->set_name("w1");
  inventory.add_writers()->set_name("w1");
  inventory.add_writers();

  const InventoryRecords records = FromInventory(HostId("h1"), inventory, absl::UnixEpoch());
  ASSERT_EQ(records.vms.size(), 1u);
  EXPECT_EQ(records.dropped, 2);
  EXPECT_EQ(records.vms[0].key, (catalog::VmKey{HostId("h1"), kUuid}));
  EXPECT_EQ(records.vms[0].state, catalog::VmState::kUnspecified);
  EXPECT_EQ(records.vms[0].memory_bytes, 0);
  EXPECT_EQ(records.vms[0].cluster, (catalog::ClusterResource{"vm-db", "online", "node1"}));
  EXPECT_EQ(records.vms[0].mechanism, catalog::BackupMechanism::kChildSnapshot);
  EXPECT_EQ(records.vms[0].disks.size(), 2u);
  ASSERT_EQ(records.writers.size(), 1u);
  EXPECT_EQ(records.writers[0].writer_id, "w1");
}

TEST(MessagesTest, AnInventoryWithAnErrorHasNoLists) {
  agent::v1::Inventory inventory;
  inventory.set_error("the hypervisor can't be reached");
  inventory.add_virtual_machines()->set_name(kUuid);
  const InventoryRecords records = FromInventory(HostId("h1"), inventory, absl::UnixEpoch());
  EXPECT_EQ(records.error, "the hypervisor can't be reached");
  EXPECT_TRUE(records.vms.empty());
}

TEST(MessagesTest, OverlongTextIsCutBetweenCharacters) {
  umbra::v1::JobMessage message;
  std::string text(4095, 'a');
  text += "\xc3\xa4 and more";  // the two bytes of one letter lie across the limit
  message.set_message(text);
  EXPECT_EQ(FromMessage(message).message, std::string(4095, 'a'));
}

TEST(MessagesTest, AnAssignmentSaysWhatTheRequestAllows) {
  catalog::Job job;
  job.spec = catalog::BackupSpec{
      .vms = {{HostId("h1"), kUuid}}, .child_snapshot_only = true, .forbid_saved_state = true, .full_read = true,
      .hooks = {"before", "after", true}};
  const auto backup = ToAssignmentMessage(job, std::nullopt).assignment().backup();
  EXPECT_TRUE(backup.child_snapshot_only());
  EXPECT_TRUE(backup.forbid_saved_state());
  EXPECT_TRUE(backup.full_read());
  EXPECT_EQ(backup.hooks().pre(), "before");
  EXPECT_EQ(backup.hooks().post(), "after");
  EXPECT_TRUE(backup.hooks().ignore_pre_failure());
  job.spec = catalog::RestoreSpec{.mode = catalog::RestoreMode::kInPlace, .resume_state = true, .take_cluster_offline = true};
  catalog::RecoveryPoint point;
  point.state_bytes = 7;
  const auto restore = ToAssignmentMessage(job, point).assignment().restore();
  EXPECT_TRUE(restore.resume_state());
  EXPECT_TRUE(restore.take_cluster_offline());
  EXPECT_EQ(restore.recovery_point().memory().size_bytes(), 7);
}

TEST(MessagesTest, FileSetsTravelByName) {
  catalog::Job job;
  job.spec = catalog::BackupSpec{.vms = {{HostId("h1"), kUuid}, {HostId("h1"), "fileset:shop"}}};
  const auto backup = ToAssignmentMessage(job, std::nullopt).assignment().backup();
  ASSERT_EQ(backup.virtual_machines_size(), 1);
  ASSERT_EQ(backup.file_sets_size(), 1);
  EXPECT_EQ(backup.file_sets(0), "shop");

  job.spec = catalog::RestoreSpec{.mode = catalog::RestoreMode::kNew, .target_folder = "/t", .path = "/p", .overwrite = true};
  catalog::RecoveryPoint point;
  point.vm = {HostId("h1"), "fileset:shop"};
  point.disks.push_back({"files.tree", 70, 60, "umbra-file-tree", "/srv"});
  const auto restore = ToAssignmentMessage(job, point).assignment().restore();
  EXPECT_EQ(restore.path(), "/p");
  EXPECT_TRUE(restore.overwrite());
  EXPECT_EQ(restore.recovery_point().file_set(), "hosts/h1/fileSets/shop");
  EXPECT_EQ(restore.recovery_point().virtual_machine(), "");
  EXPECT_EQ(restore.recovery_point().files().size_bytes(), 70);
}

TEST(MessagesTest, AnInventoryOfFileSetsIsTakenWithinBounds) {
  agent::v1::Inventory inventory;
  for (const char* name : {"shop", "shop", "Not a name", "", "../x"}) {
    auto* set = inventory.add_file_sets();
    set->set_name(name);
    set->add_folders()->set_path("/srv");
    for (int i = 0; i < 20'000; ++i) set->mutable_folders(0)->add_excludes("x");
  }
  const InventoryRecords records = FromInventory(HostId("h1"), inventory, absl::UnixEpoch());
  ASSERT_EQ(records.file_sets.size(), 1u);
  EXPECT_EQ(records.file_sets[0].key, (catalog::VmKey{HostId("h1"), "fileset:shop"}));
  EXPECT_LE(records.file_sets[0].folders[0].excludes.size(), 10'000u);
  EXPECT_EQ(records.dropped, 4);
}

TEST(MessagesTest, TheWritersOfAResultAreTakenWithinBounds) {
  agent::v1::AssignmentResult result;
  result.add_writers()->set_display_name("without a time");
  v1::JobWriter* const writer = result.add_writers();
  writer->set_display_name("File systems");
  writer->set_virtual_machine("u1");
  writer->mutable_freeze_time()->set_seconds(1'800'000'000);
  writer->mutable_thawed_time()->set_seconds(1'800'000'000);
  writer->mutable_thawed_time()->set_nanos(143'000'000);
  writer->mutable_error()->set_reason("GUEST_FREEZE_TIMEOUT");
  std::vector<catalog::JobWriter> writers = FromResult(HostId("h1"), result).facts.writers;
  ASSERT_EQ(writers.size(), 1u);
  EXPECT_EQ(writers[0].display_name, "File systems");
  EXPECT_EQ(writers[0].vm, (catalog::VmKey{HostId("h1"), "u1"}));
  EXPECT_EQ(writers[0].freeze_time, absl::FromUnixSeconds(1'800'000'000));
  EXPECT_EQ(writers[0].thawed_time, absl::FromUnixSeconds(1'800'000'000) + absl::Milliseconds(143));
  EXPECT_EQ(writers[0].frozen_time, std::nullopt);
  EXPECT_EQ(writers[0].error.reason, "GUEST_FREEZE_TIMEOUT");
  for (size_t i = 0; i < catalog::kJobWritersMax; ++i) *result.add_writers() = result.writers(1);
  EXPECT_EQ(FromResult(HostId("h1"), result).facts.writers.size(), catalog::kJobWritersMax);
}

TEST(MessagesTest, ResultsMeanEvents) {
  agent::v1::AssignmentResult result;
  result.set_outcome(agent::v1::AssignmentResult::OUTCOME_SUCCEEDED);
  result.mutable_freeze_duration()->set_nanos(134'000'000);
  result.mutable_downtime()->set_nanos(412'000'000);
  result.mutable_progress()->set_done_bytes(10);
  Outcome outcome = FromResult(HostId("h1"), result);
  EXPECT_EQ(outcome.event, jobs::JobEvent::kAgentDone);
  EXPECT_EQ(outcome.facts.freeze_duration, absl::Milliseconds(134));
  EXPECT_EQ(outcome.facts.downtime, absl::Milliseconds(412));
  EXPECT_EQ(outcome.facts.progress->done_bytes, 10);

  result.set_outcome(agent::v1::AssignmentResult::OUTCOME_CANCELLED);
  EXPECT_EQ(FromResult(HostId("h1"), result).event, jobs::JobEvent::kAgentCancelled);

  result.set_outcome(agent::v1::AssignmentResult::OUTCOME_UNSPECIFIED);
  outcome = FromResult(HostId("h1"), result);
  EXPECT_EQ(outcome.event, jobs::JobEvent::kAgentFailed);
  EXPECT_EQ(outcome.facts.error.reason, "INTERNAL");
  EXPECT_FALSE(outcome.facts.error_stays);
  result.set_error_stays(true);
  EXPECT_TRUE(FromResult(HostId("h1"), result).facts.error_stays);
}

}  // namespace
}  // namespace umbra::dispatch
