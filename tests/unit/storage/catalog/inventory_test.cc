// Proves that hosts, virtual machines and writers come back as they were stored, that an inventory is replaced as a
// whole, and that pages neither repeat nor lose items while others are added.
#include <set>

#include "storage/base/random.h"
#include "tests/unit/storage/catalog/fixture.h"

namespace umbra::catalog {
namespace {

Vm MakeVm(const std::string& host, const std::string& uuid) {
  return {.key = {HostId(host), uuid},
          .display_name = "mail",
          .state = VmState::kRunning,
          .memory_bytes = 1 << 30,
          .guest_agent_state = GuestAgentState::kNotResponding,
          .guest_agent_version = "7.2",
          .mechanism = BackupMechanism::kCrashConsistent,
          .mechanism_reason = "GUEST_AGENT_NOT_RUNNING",
          .mechanism_message = "the guest agent doesn't answer",
          .disks = {{"vda", "/a", "qcow2", 100, 50}, {"vdb", "/b", "raw", 200, 200}},
          .excluded_disks = {{"sdc", "DISK_REMOVABLE", "a CD"}},
          .obstacles = {{"GUEST_AGENT_NOT_RUNNING", "silent"}, {"SNAPSHOT_FOLDER_ON_OTHER_VOLUME", "/snap"}},
          .checkpoints = {{"before", "", CheckpointKind::kInternal, true, false, At(2)},
                          {"after", "before", CheckpointKind::kExternal, false, true, At(3)}},
          .cluster = {"vm-mail01", "online", "node1"},
          .update_time = At(5)};
}

class InventoryTest : public CatalogTest {
 protected:
  absl::Status Replace(const std::string& host, const std::vector<Vm>& vms, const std::vector<Writer>& writers = {}) {
    return catalog_->Write([&](Stores& s) { return s.vms.ReplaceInventory(HostId(host), vms, writers); });
  }
  absl::StatusOr<Vm> GetVm(const std::string& host, const std::string& uuid) {
    return catalog_->Read([&](const Stores& s) { return s.vms.Get({HostId(host), uuid}); });
  }
  absl::StatusOr<Host> GetHost(const std::string& id) {
    return catalog_->Read([&](const Stores& s) { return s.hosts.Get(HostId(id)); });
  }
};

TEST_F(InventoryTest, AHostChangesItsRevision) {
  AddHost("h1");
  Host host = *GetHost("h1");
  EXPECT_EQ(host.revision, 1);
  host.agent_version = "0.2.0";
  host.hypervisor_error = "down";
  ASSERT_TRUE(catalog_->Write([&](Stores& s) { return s.hosts.Update(host); }).ok());
  ASSERT_TRUE(catalog_->Write([&](Stores& s) { return s.hosts.SetLastSeen(host.id, At(9)); }).ok());
  const Host after = *GetHost("h1");
  EXPECT_EQ(after.agent_version, "0.2.0");
  EXPECT_EQ(after.hypervisor_error, "down");
  EXPECT_EQ(after.last_seen_time, At(9));
  EXPECT_EQ(after.create_time, At(0));
  EXPECT_EQ(after.revision, 2);
}

TEST_F(InventoryTest, LabelsOutliveInventoriesAndGoWithTheirHost) {
  AddHost("h1");
  AddHost("h2");
  const VmKey vm{HostId("h1"), "vm1"};
  ASSERT_TRUE(Replace("h1", {MakeVm("h1", "vm1")}).ok());
  ASSERT_TRUE(Replace("h2", {MakeVm("h2", "vm1")}).ok());
  const auto set = [&](const VmKey& key, const Labels& labels) {
    ASSERT_TRUE(catalog_->Write([&](Stores& s) { return s.labels.Set(key, labels); }).ok());
  };
  set(vm, {{"env", "prod"}, {"tier", "1"}});
  set({vm.host, ""}, {{"env", "test"}, {"site", "north"}});
  EXPECT_EQ(GetVm("h1", "vm1")->labels, (Labels{{"env", "prod"}, {"tier", "1"}}));
  EXPECT_EQ(GetHost("h1")->labels, (Labels{{"env", "test"}, {"site", "north"}}));
  EXPECT_TRUE(GetVm("h2", "vm1")->labels.empty());

  ASSERT_TRUE(Replace("h1", {}).ok());
  ASSERT_TRUE(Replace("h1", {MakeVm("h1", "vm0"), MakeVm("h1", "vm1")}).ok());
  EXPECT_EQ(GetVm("h1", "vm1")->labels.size(), 2u);
  // What policies see: its own, and those of its host beside them.
  const auto subjects = catalog_->Read([](const Stores& s) { return s.policies.Vms({}); });
  ASSERT_TRUE(subjects.ok()) << subjects.status();
  ASSERT_EQ(subjects->items.size(), 3u);
  EXPECT_EQ(subjects->items[0].labels, (Labels{{"env", "test"}, {"site", "north"}}));
  EXPECT_EQ(subjects->items[1].labels, (Labels{{"env", "prod"}, {"site", "north"}, {"tier", "1"}}));
  EXPECT_TRUE(subjects->items[2].labels.empty());

  set(vm, {{"tier", "2"}});
  EXPECT_EQ(GetVm("h1", "vm1")->labels, (Labels{{"tier", "2"}}));
  ASSERT_TRUE(catalog_->Write([&](Stores& s) { return s.hosts.Revoke(vm.host); }).ok());
  for (const std::string uuid : {"", "vm1"}) {
    EXPECT_TRUE(catalog_->Read([&](const Stores& s) { return s.labels.Get({vm.host, uuid}); })->empty()) << uuid;
  }
}

TEST_F(InventoryTest, ACertificateBelongsToOneHost) {
  AddHost("h1");
  Host copy = MakeHost("h2");
  copy.certificate_fingerprint = "fingerprint-h1";
  EXPECT_TRUE(absl::IsAlreadyExists(catalog_->Write([&](Stores& s) { return s.hosts.Insert(copy); })));
}

TEST_F(InventoryTest, ANextCertificateIsGoodBesideTheOwnUntilItsFirstUse) {
  AddHost("h1");
  AddHost("h2");
  const auto next = [&](const std::string& host, const std::string& fingerprint) {
    return catalog_->Write(
        [&](Stores& s) { return s.hosts.SetNextCertificate(HostId(host), "serial of " + fingerprint, fingerprint); });
  };
  const auto use = [&](const std::string& host, const std::string& fingerprint) {
    bool used = false;
    EXPECT_TRUE(catalog_
                    ->Write([&](Stores& s) -> absl::Status {
                      ASSIGN_OR_RETURN(used, s.hosts.UseNextCertificate(HostId(host), fingerprint));
                      return absl::OkStatus();
                    })
                    .ok());
    return used;
  };
  const auto host_of = [&](const std::string& fingerprint) {
    const auto found = catalog_->Read([&](const Stores& s) { return s.hosts.FindByFingerprint(fingerprint); });
    return found.ok() ? found->id.value : base::ReasonOf(found.status());
  };
  ASSERT_TRUE(next("h1", "n1").ok());
  ASSERT_TRUE(next("h1", "n2").ok());
  EXPECT_EQ(host_of("n1"), "HOST_NOT_FOUND") << "it was never used, and another one took its place";
  EXPECT_EQ(host_of("n2"), "h1");
  EXPECT_EQ(host_of("fingerprint-h1"), "h1");
  EXPECT_EQ(GetHost("h1")->next_certificate_fingerprint, "n2");
  EXPECT_TRUE(absl::IsAlreadyExists(next("h2", "n2")));
  EXPECT_EQ(GetHost("h2")->next_certificate_fingerprint, "");

  Reopen();
  EXPECT_FALSE(use("h1", "n1"));
  EXPECT_FALSE(use("h2", "n2"));
  const int64_t revision = GetHost("h1")->revision;
  EXPECT_TRUE(use("h1", "n2"));
  EXPECT_FALSE(use("h1", "n2")) << "somebody else was first";
  EXPECT_EQ(host_of("fingerprint-h1"), "HOST_NOT_FOUND");
  EXPECT_EQ(host_of("n2"), "h1");
  EXPECT_EQ(GetHost("h1")->certificate_serial, "serial of n2");
  EXPECT_EQ(GetHost("h1")->next_certificate_fingerprint, "");
  EXPECT_EQ(GetHost("h1")->revision, revision + 1);

  ASSERT_TRUE(next("h1", "n3").ok());
  ASSERT_TRUE(catalog_->Write([](Stores& s) { return s.hosts.Revoke(HostId("h1")); }).ok());
  EXPECT_EQ(host_of("n3"), "HOST_NOT_FOUND");
  EXPECT_EQ(host_of("n2"), "h1") << "known as refused";
  EXPECT_EQ(base::ReasonOf(next("h1", "n4")), "HOST_NOT_FOUND");
}

TEST_F(InventoryTest, ARevokedHostIsOnlyFoundByItsCertificate) {
  AddHost("h1");
  ASSERT_TRUE(Replace("h1", {MakeVm("h1", "u1")}).ok());
  const auto revoke = [&] { return catalog_->Write([](Stores& s) { return s.hosts.Revoke(HostId("h1")); }); };
  ASSERT_TRUE(revoke().ok());
  EXPECT_EQ(base::ReasonOf(GetHost("h1").status()), "HOST_NOT_FOUND");
  EXPECT_EQ(base::ReasonOf(GetVm("h1", "u1").status()), "VM_NOT_FOUND");
  EXPECT_EQ(base::ReasonOf(revoke()), "HOST_NOT_FOUND");
  EXPECT_EQ(base::ReasonOf(Replace("h1", {})), "HOST_NOT_FOUND");
  const auto found = catalog_->Read([](const Stores& s) { return s.hosts.FindByFingerprint("fingerprint-h1"); });
  ASSERT_TRUE(found.ok());
  EXPECT_TRUE(found->revoked);
}

TEST_F(InventoryTest, AVmRoundTrips) {
  AddHost("h1");
  ASSERT_TRUE(Replace("h1", {MakeVm("h1", "u1")}).ok());
  const Vm vm = *GetVm("h1", "u1");
  EXPECT_EQ(vm.display_name, "mail");
  EXPECT_EQ(vm.state, VmState::kRunning);
  EXPECT_EQ(vm.memory_bytes, 1 << 30);
  EXPECT_EQ(vm.guest_agent_state, GuestAgentState::kNotResponding);
  EXPECT_EQ(vm.guest_agent_version, "7.2");
  EXPECT_EQ(vm.mechanism, BackupMechanism::kCrashConsistent);
  EXPECT_EQ(vm.mechanism_reason, "GUEST_AGENT_NOT_RUNNING");
  EXPECT_EQ(vm.mechanism_message, "the guest agent doesn't answer");
  EXPECT_EQ(vm.cluster, (ClusterResource{"vm-mail01", "online", "node1"}));
  EXPECT_EQ(vm.update_time, At(5));
  EXPECT_EQ(vm.checkpoints, MakeVm("h1", "u1").checkpoints);
  ASSERT_EQ(vm.obstacles.size(), 2u);
  EXPECT_EQ(vm.obstacles[1].reason, "SNAPSHOT_FOLDER_ON_OTHER_VOLUME");
  ASSERT_EQ(vm.disks.size(), 2u);
  EXPECT_EQ(vm.disks[1].name, "vdb");
  EXPECT_EQ(vm.disks[1].allocated_bytes, 200);
  ASSERT_EQ(vm.excluded_disks.size(), 1u);
  EXPECT_EQ(vm.excluded_disks[0].reason, "DISK_REMOVABLE");
  EXPECT_TRUE(vm.last_recovery_point.empty());
}

TEST_F(InventoryTest, AVmKnowsItsNewestRecoveryPoint) {
  AddHost("h1");
  ASSERT_TRUE(Replace("h1", {MakeVm("h1", "vm1")}).ok());
  for (const RecoveryPoint& p : {MakePoint("new", 20), MakePoint("old", 10), MakePoint("other", 30, "vm2")}) {
    ASSERT_TRUE(catalog_->Write([&](Stores& s) { return s.recovery_points.Insert(p); }).ok());
  }
  EXPECT_EQ(GetVm("h1", "vm1")->last_recovery_point.value, "new");
}

TEST_F(InventoryTest, AnInventoryReplacesTheOneBeforeAndNoOther) {
  AddHost("h1");
  AddHost("h2");
  ASSERT_TRUE(Replace("h1", {MakeVm("h1", "u1"), MakeVm("h1", "u2")}, {{.writer_id = "w1"}}).ok());
  ASSERT_TRUE(Replace("h2", {MakeVm("h2", "u1")}).ok());
  const Writer writer{.writer_id = "w2",
                      .instance_id = "i",
                      .display_name = "Writer",
                      .state = "STABLE",
                      .last_failure_code = 0x800423f4,
                      .last_failure = "not retryable",
                      .component_count = 3};
  ASSERT_TRUE(Replace("h1", {MakeVm("h1", "u3")}, {writer}).ok());
  const auto all = catalog_->Read([](const Stores& s) { return s.vms.List(std::nullopt, {}); });
  ASSERT_EQ(all->items.size(), 2u);
  EXPECT_EQ(all->items[0].key.uuid, "u3");
  EXPECT_EQ(all->items[0].disks.size(), 2u);
  EXPECT_EQ(all->items[1].key.host.value, "h2");
  const auto writers = catalog_->Read([](const Stores& s) { return s.vms.ListWriters(HostId("h1"), {}); });
  ASSERT_EQ(writers->items.size(), 1u);
  EXPECT_EQ(writers->items[0].last_failure_code, 0x800423f4);
  EXPECT_EQ(writers->items[0].component_count, 3);
  EXPECT_EQ(GetHost("h1")->vm_count, 1);
}

TEST_F(InventoryTest, ABrokenInventoryLeavesTheOneBefore) {
  AddHost("h1");
  ASSERT_TRUE(Replace("h1", {MakeVm("h1", "u1")}).ok());
  EXPECT_TRUE(absl::IsAlreadyExists(Replace("h1", {MakeVm("h1", "u2"), MakeVm("h1", "u2")})));
  EXPECT_TRUE(GetVm("h1", "u1").ok());
  EXPECT_EQ(base::ReasonOf(Replace("h9", {})), "HOST_NOT_FOUND");
}

// Most of a report is what was there before: what is the same stays as it is, but for the time.
TEST_F(InventoryTest, AReportOfTheSameChangesTheTimesAlone) {
  AddHost("h1");
  const Writer writer{.writer_id = "w1", .state = "STABLE"};
  const auto at = [](Vm vm, int seconds) {
    vm.update_time = At(seconds);
    return vm;
  };
  ASSERT_TRUE(Replace("h1", {MakeVm("h1", "u1"), MakeVm("h1", "u2"), MakeVm("h1", "u3")}, {writer}).ok());
  const int64_t revision = GetHost("h1")->revision;
  ASSERT_TRUE(Replace("h1", {at(MakeVm("h1", "u3"), 7), at(MakeVm("h1", "u1"), 7), at(MakeVm("h1", "u2"), 7)}, {writer}).ok());
  EXPECT_EQ(GetHost("h1")->revision, revision);
  EXPECT_EQ(*GetVm("h1", "u1"), at(MakeVm("h1", "u1"), 7));

  const auto changed = [&](auto change) {
    Vm vm = at(MakeVm("h1", "u1"), 8);
    change(vm);
    const int64_t before = GetHost("h1")->revision;
    EXPECT_TRUE(Replace("h1", {vm, at(MakeVm("h1", "u2"), 8)}, {writer}).ok());
    EXPECT_EQ(*GetVm("h1", "u1"), vm);
    EXPECT_EQ(*GetVm("h1", "u2"), at(MakeVm("h1", "u2"), 8));
    EXPECT_FALSE(GetVm("h1", "u3").ok());
    EXPECT_GT(GetHost("h1")->revision, before);
  };
  changed([](Vm& vm) { vm.display_name = "post"; });
  changed([](Vm& vm) { vm.disks[1].allocated_bytes = 150; });
  changed([](Vm& vm) { vm.disks.pop_back(); });
  changed([](Vm& vm) { vm.checkpoints[0].current = true; });
  changed([](Vm& vm) { vm.cluster.node = "node2"; });
  changed([](Vm& vm) { vm.excluded_disks.clear(); });
  changed([](Vm& vm) { vm.obstacles.pop_back(); });

  const int64_t before = GetHost("h1")->revision;
  ASSERT_TRUE(Replace("h1", {}, {{.writer_id = "w1", .state = "FAILED"}}).ok());
  EXPECT_GT(GetHost("h1")->revision, before);
  EXPECT_EQ(catalog_->Read([](const Stores& s) { return s.vms.ListWriters(HostId("h1"), {}); })->items[0].state, "FAILED");
  EXPECT_EQ(GetHost("h1")->vm_count, 0);
}

// Walks all pages while items are added at random places: whatever was there from the start is seen exactly once.
TEST_F(InventoryTest, PagesAreStableUnderInserts) {
  base::SeededRandom random(7);
  std::set<std::string> initial;
  for (int i = 0; i < 40; ++i) initial.insert(random.Uuid());
  for (const std::string& id : initial) AddHost(id);
  std::vector<std::string> seen;
  ListOptions<HostId> options{.page_size = 3};
  do {
    const auto page = catalog_->Read([&](const Stores& s) { return s.hosts.List(options); });
    ASSERT_TRUE(page.ok());
    ASSERT_LE(page->items.size(), 3u);
    for (const Host& host : page->items) seen.push_back(host.id.value);
    options.after_key = page->next_key;
    AddHost(random.Uuid());
  } while (options.after_key.has_value());
  EXPECT_TRUE(std::is_sorted(seen.begin(), seen.end()));
  EXPECT_EQ(std::set(seen.begin(), seen.end()).size(), seen.size());
  EXPECT_TRUE(std::includes(seen.begin(), seen.end(), initial.begin(), initial.end()));
}

TEST_F(InventoryTest, TheLastPageSaysSoAlsoWhenItIsFull) {
  for (const char* id : {"h1", "h2", "h3", "h4"}) AddHost(id);
  const auto page = [&](std::optional<HostId> after) {
    return *catalog_->Read([&](const Stores& s) { return s.hosts.List({.page_size = 2, .after_key = after}); });
  };
  EXPECT_EQ(page(std::nullopt).next_key, HostId("h2"));
  EXPECT_EQ(page(HostId("h2")).items.size(), 2u);
  EXPECT_EQ(page(HostId("h2")).next_key, std::nullopt);
}

}  // namespace
}  // namespace umbra::catalog
