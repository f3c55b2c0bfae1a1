// Proves the services that show what there is (hosts, machines, writers, recovery points, repositories, events): what
// they tell, their pages, and their errors, through a real socket from a real catalog.
#include <atomic>
#include <memory>

#include "server/api/labels.h"
#include "server/maintenance/rebuild.h"
#include "tests/unit/server/api/fixture.h"

namespace umbra::api {
namespace {

using ::testing::ElementsAre;

class ResourcesTest : public ApiTest {};

TEST_F(ResourcesTest, HostsAreListedWithTheirLink) {
  AddHost("h2");
  AddOneVm();
  v1::ListHostsResponse hosts;
  ASSERT_EQ(Outcome(Call(hosts_, &v1::HostService::Stub::ListHosts, {}, &hosts)), "OK");
  ASSERT_EQ(hosts.hosts_size(), 2);
  EXPECT_EQ(hosts.hosts(0).name(), "hosts/h1");
  EXPECT_EQ(hosts.hosts(0).virtual_machine_count(), 1);
  EXPECT_EQ(hosts.hosts(0).state(), v1::Host::STATE_OFFLINE);
  EXPECT_EQ(hosts.hosts(1).name(), "hosts/h2");

  agents_.SetOnline(catalog::HostId("h1"), nullptr, {});
  v1::GetHostRequest get;
  get.set_name("hosts/h1");
  v1::Host host;
  ASSERT_EQ(Outcome(Call(hosts_, &v1::HostService::Stub::GetHost, get, &host)), "OK");
  EXPECT_EQ(host.state(), v1::Host::STATE_ONLINE);
  EXPECT_EQ(host.display_name(), "name of h1");
}

// Hears what an agent is told.
class HeardSession final : public dispatch::AgentSession {
 public:
  const dispatch::Peer& peer() const override { return peer_; }
  void Send(agent::v1::DaemonMessage message) override {
    if (message.has_refresh_inventory()) ++refreshes;
  }
  void ReadNext() override {}
  void Close(absl::Status) override {}

  std::atomic<int> refreshes = 0;

 private:
  const dispatch::Peer peer_{catalog::HostId("h1"), "test"};
};

TEST_F(ResourcesTest, AVirtualMachineThatIsNotKnownMayBeNewSoItsHostIsAsked) {
  AddOneVm();
  const auto session = std::make_shared<HeardSession>();
  agents_.SetOnline(catalog::HostId("h1"), session, {});
  const auto get = [&](const std::string& name) {
    v1::GetVirtualMachineRequest request;
    request.set_name(name);
    v1::VirtualMachine response;
    return Outcome(Call(vms_, &v1::VirtualMachineService::Stub::GetVirtualMachine, request, &response));
  };
  EXPECT_EQ(get("hosts/h1/virtualMachines/u1"), "OK");
  EXPECT_EQ(session->refreshes, 0);
  EXPECT_EQ(get("hosts/h1/virtualMachines/u9"), "NOT_FOUND VM_NOT_FOUND");
  EXPECT_EQ(session->refreshes, 1);
  EXPECT_EQ(get("hosts/h9/virtualMachines/u9"), "NOT_FOUND VM_NOT_FOUND");
  EXPECT_EQ(session->refreshes, 1);
}

TEST_F(ResourcesTest, UnknownAndMalformedNamesHaveTheirReasons) {
  AddOneVm();
  const auto host = [&](const std::string& name) {
    v1::GetHostRequest request;
    request.set_name(name);
    v1::Host response;
    return Outcome(Call(hosts_, &v1::HostService::Stub::GetHost, request, &response));
  };
  EXPECT_EQ(host("hosts/h9"), "NOT_FOUND HOST_NOT_FOUND");
  EXPECT_EQ(host("h1"), "INVALID_ARGUMENT INVALID_REQUEST");
  const auto vm = [&](const std::string& name) {
    v1::GetVirtualMachineRequest request;
    request.set_name(name);
    v1::VirtualMachine response;
    return Outcome(Call(vms_, &v1::VirtualMachineService::Stub::GetVirtualMachine, request, &response));
  };
  EXPECT_EQ(vm("hosts/h1/virtualMachines/u1"), "OK");
  EXPECT_EQ(vm("hosts/h1/virtualMachines/u9"), "NOT_FOUND VM_NOT_FOUND");
  EXPECT_EQ(vm("hosts/h9/virtualMachines/u1"), "NOT_FOUND VM_NOT_FOUND");
  EXPECT_EQ(vm("virtualMachines/u1"), "INVALID_ARGUMENT INVALID_REQUEST");
  const auto point = [&](const std::string& name) {
    v1::GetRecoveryPointRequest request;
    request.set_name(name);
    v1::RecoveryPoint response;
    return Outcome(Call(points_, &v1::RecoveryPointService::Stub::GetRecoveryPoint, request, &response));
  };
  EXPECT_EQ(point("recoveryPoints/p9"), "NOT_FOUND RECOVERY_POINT_NOT_FOUND");
  EXPECT_EQ(point("p9"), "INVALID_ARGUMENT INVALID_REQUEST");
  const auto repository = [&](const std::string& name) {
    v1::GetRepositoryRequest request;
    request.set_name(name);
    v1::Repository response;
    return Outcome(Call(repos_, &v1::RepositoryService::Stub::GetRepository, request, &response));
  };
  EXPECT_EQ(repository("repositories/main"), "OK");
  EXPECT_EQ(repository("repositories/other"), "NOT_FOUND REPOSITORY_NOT_FOUND");
  EXPECT_EQ(repository("main"), "INVALID_ARGUMENT INVALID_REQUEST");
  v1::ListWritersRequest writers;
  writers.set_parent("hosts/h9");
  v1::ListWritersResponse none;
  EXPECT_EQ(Outcome(Call(writers_, &v1::WriterService::Stub::ListWriters, writers, &none)), "NOT_FOUND HOST_NOT_FOUND");
}

TEST_F(ResourcesTest, MachinesOfOneHostAndOfAllInPages) {
  for (const char* id : {"h1", "h2"}) {
    const catalog::HostId host = AddHost(id);
    SetInventory(host, {MakeVm(host, "u1"), MakeVm(host, "u2"), MakeVm(host, "u3")});
  }
  v1::ListVirtualMachinesRequest request;
  request.set_parent("hosts/-");
  request.set_page_size(4);
  std::vector<std::string> names;
  int pages = 0;
  do {
    v1::ListVirtualMachinesResponse response;
    ASSERT_EQ(Outcome(Call(vms_, &v1::VirtualMachineService::Stub::ListVirtualMachines, request, &response)), "OK");
    for (const auto& vm : response.virtual_machines()) names.push_back(vm.name());
    request.set_page_token(response.next_page_token());
    ++pages;
  } while (!request.page_token().empty());
  EXPECT_EQ(pages, 2);
  EXPECT_THAT(names,
              ElementsAre("hosts/h1/virtualMachines/u1", "hosts/h1/virtualMachines/u2", "hosts/h1/virtualMachines/u3",
                          "hosts/h2/virtualMachines/u1", "hosts/h2/virtualMachines/u2", "hosts/h2/virtualMachines/u3"));

  v1::ListVirtualMachinesResponse response;
  request.set_parent("hosts/h2");
  ASSERT_EQ(Outcome(Call(vms_, &v1::VirtualMachineService::Stub::ListVirtualMachines, request, &response)), "OK");
  ASSERT_EQ(response.virtual_machines_size(), 3);
  EXPECT_EQ(response.virtual_machines(0).mechanism(), v1::BACKUP_MECHANISM_CRASH_CONSISTENT);
  EXPECT_EQ(response.virtual_machines(0).mechanism_reason(), "GUEST_AGENT_NOT_CONFIGURED");
  request.set_parent("hosts/h9");
  EXPECT_EQ(Outcome(Call(vms_, &v1::VirtualMachineService::Stub::ListVirtualMachines, request, &response)),
            "NOT_FOUND HOST_NOT_FOUND");
}

TEST_F(ResourcesTest, LabelsAreSetRemovedAndListedBy) {
  const catalog::HostId h1 = AddHost("h1"), h2 = AddHost("h2");
  SetInventory(h1, {MakeVm(h1, "u1"), MakeVm(h1, "u2")});
  SetInventory(h2, {MakeVm(h2, "u3", 0)});
  const auto label_host = [&](const std::string& name, std::map<std::string, std::string> set,
                              const std::vector<std::string>& remove, v1::Host* host) {
    v1::SetHostLabelsRequest request;
    request.set_name(name);
    request.mutable_set()->insert(set.begin(), set.end());
    for (const std::string& key : remove) request.add_remove(key);
    return Outcome(Call(hosts_, &v1::HostService::Stub::SetHostLabels, request, host));
  };
  v1::Host before, host;
  ASSERT_EQ(label_host("hosts/h1", {}, {}, &before), "OK");
  ASSERT_EQ(label_host("hosts/h1", {{"site", "north"}, {"env", "prod"}}, {"gone"}, &host), "OK");
  EXPECT_EQ(host.labels_size(), 2);
  EXPECT_NE(host.etag(), before.etag());
  ASSERT_EQ(label_host("hosts/h1", {{"env", "test"}}, {"site"}, &host), "OK");
  ASSERT_EQ(host.labels_size(), 1);
  EXPECT_EQ(host.labels().at("env"), "test");
  EXPECT_EQ(label_host("hosts/h9", {{"a", "b"}}, {}, &host), "NOT_FOUND HOST_NOT_FOUND");

  v1::SetVirtualMachineLabelsRequest request;
  request.set_name("hosts/h1/virtualMachines/u2");
  (*request.mutable_set())["env"] = "prod";
  v1::VirtualMachine vm;
  ASSERT_EQ(Outcome(Call(vms_, &v1::VirtualMachineService::Stub::SetVirtualMachineLabels, request, &vm)), "OK");
  EXPECT_EQ(vm.labels().at("env"), "prod");
  EXPECT_EQ(vm.display_name(), "vm u2");
  request.set_name("hosts/h1/virtualMachines/u9");
  EXPECT_EQ(Outcome(Call(vms_, &v1::VirtualMachineService::Stub::SetVirtualMachineLabels, request, &vm)),
            "NOT_FOUND VM_NOT_FOUND");

  const auto vms = [&](const std::string& filter) {
    v1::ListVirtualMachinesRequest list;
    list.set_parent("hosts/-");
    list.set_filter(filter);
    v1::ListVirtualMachinesResponse found;
    std::string names = Outcome(Call(vms_, &v1::VirtualMachineService::Stub::ListVirtualMachines, list, &found));
    for (const auto& one : found.virtual_machines()) names += " " + one.uuid();
    return names;
  };
  EXPECT_EQ(vms(""), "OK u1 u2 u3");
  EXPECT_EQ(vms("label.env=prod"), "OK u2");
  EXPECT_EQ(vms("label.env=test"), "OK u1") << "by its host";
  EXPECT_EQ(vms("not label.env=*"), "OK u3") << "a machine without a disk, too";
  EXPECT_EQ(vms("host=\"name of h1\" and name=*2"), "OK u2");
  EXPECT_EQ(vms("color=red"), "INVALID_ARGUMENT INVALID_SELECTION");
  v1::ListHostsRequest hosts;
  hosts.set_filter("label.env=*");
  v1::ListHostsResponse found;
  ASSERT_EQ(Outcome(Call(hosts_, &v1::HostService::Stub::ListHosts, hosts, &found)), "OK");
  ASSERT_EQ(found.hosts_size(), 1);
  EXPECT_EQ(found.hosts(0).name(), "hosts/h1");

  v1::ListEventsResponse events;
  ASSERT_EQ(Outcome(Call(log_, &v1::EventService::Stub::ListEvents, {}, &events)), "OK");
  int told = 0;
  for (const v1::Event& event : events.events()) told += event.type() == "LABELS_CHANGED" ? 1 : 0;
  EXPECT_EQ(told, 3) << "what changed nothing is not told";
}

TEST_F(ResourcesTest, WhatIsNoLabelIsRefused) {
  AddOneVm();
  const auto outcome = [&](const std::map<std::string, std::string>& set, const std::string& remove = "") {
    v1::SetHostLabelsRequest request;
    request.set_name("hosts/h1");
    request.mutable_set()->insert(set.begin(), set.end());
    if (!remove.empty()) request.add_remove(remove);
    v1::Host host;
    return Outcome(Call(hosts_, &v1::HostService::Stub::SetHostLabels, request, &host));
  };
  const std::string refused = "INVALID_ARGUMENT INVALID_REQUEST";
  for (const std::string& key : {std::string(), std::string("Env"), std::string("a b"), std::string("-a"),
                                 std::string("a-"), std::string("a=b"), std::string("\u00e4"), std::string(64, 'a')}) {
    EXPECT_EQ(outcome({{key, "x"}}), refused) << key;
  }
  for (const std::string& value : {std::string(256, 'x'), std::string("a\nb"), std::string("a\"b")}) {
    EXPECT_EQ(outcome({{"k", value}}), refused) << value;
  }
  EXPECT_EQ(outcome({{"k", "x"}}, "k"), refused);
  std::map<std::string, std::string> many;
  for (size_t i = 0; i < kLabelsMax; ++i) many["k" + std::to_string(i)] = std::string(255, 'x');
  many[std::string(63, 'k')] = "one too many";
  EXPECT_EQ(outcome(many), refused);
  many.erase("k0");
  EXPECT_EQ(outcome(many), "OK");
  EXPECT_EQ(outcome({{"more", ""}}), refused);
  EXPECT_EQ(outcome({{"more", ""}}, "k1"), "OK");
}

TEST_F(ResourcesTest, WritersAreShown) {
  AddOneVm();
  v1::ListWritersRequest request;
  request.set_parent("hosts/h1");
  v1::ListWritersResponse response;
  ASSERT_EQ(Outcome(Call(writers_, &v1::WriterService::Stub::ListWriters, request, &response)), "OK");
  ASSERT_EQ(response.writers_size(), 1);
  EXPECT_EQ(response.writers(0).name(), "hosts/h1/writers/66841cd4-6ded-4f4b-8f17-fd23f8ddc3de");
  EXPECT_EQ(response.writers(0).state(), "STABLE");
}

TEST_F(ResourcesTest, RecoveryPointsNewestFirstWithDocumentsOnlyWhenAskedForOne) {
  AddPoint("p1", "h1", "main", absl::FromUnixSeconds(1'800'000'001));
  AddPoint("p2", "h1", "main", absl::FromUnixSeconds(1'800'000'003));
  AddPoint("p3", "h2", "main", absl::FromUnixSeconds(1'800'000'002));
  v1::ListRecoveryPointsRequest request;
  request.set_page_size(2);
  v1::ListRecoveryPointsResponse first;
  ASSERT_EQ(Outcome(Call(points_, &v1::RecoveryPointService::Stub::ListRecoveryPoints, request, &first)), "OK");
  ASSERT_EQ(first.recovery_points_size(), 2);
  EXPECT_EQ(first.recovery_points(0).name(), "recoveryPoints/p2");
  EXPECT_EQ(first.recovery_points(1).name(), "recoveryPoints/p3");
  EXPECT_EQ(first.recovery_points(0).configuration(), "");
  request.set_page_token(first.next_page_token());
  v1::ListRecoveryPointsResponse second;
  ASSERT_EQ(Outcome(Call(points_, &v1::RecoveryPointService::Stub::ListRecoveryPoints, request, &second)), "OK");
  ASSERT_EQ(second.recovery_points_size(), 1);
  EXPECT_EQ(second.recovery_points(0).name(), "recoveryPoints/p1");
  EXPECT_EQ(second.next_page_token(), "");

  // The same token with another filter is another list.
  request.set_virtual_machine("hosts/h1/virtualMachines/u1");
  EXPECT_EQ(Outcome(Call(points_, &v1::RecoveryPointService::Stub::ListRecoveryPoints, request, &second)),
            "INVALID_ARGUMENT INVALID_PAGE_TOKEN");

  v1::GetRecoveryPointRequest get;
  get.set_name("recoveryPoints/p1");
  v1::RecoveryPoint point;
  ASSERT_EQ(Outcome(Call(points_, &v1::RecoveryPointService::Stub::GetRecoveryPoint, get, &point)), "OK");
  EXPECT_EQ(point.configuration(), "<domain/>");
  EXPECT_THAT(point.vss_documents(), ElementsAre("<components/>"));
  EXPECT_EQ(point.virtual_machine(), "hosts/h1/virtualMachines/u1");
}

TEST_F(ResourcesTest, RepositoriesWithFiguresInPages) {
  v1::ListRepositoriesRequest request;
  request.set_page_size(1);
  std::vector<std::string> names;
  do {
    v1::ListRepositoriesResponse response;
    ASSERT_EQ(Outcome(Call(repos_, &v1::RepositoryService::Stub::ListRepositories, request, &response)), "OK");
    ASSERT_EQ(response.repositories_size(), 1);
    names.push_back(response.repositories(0).name());
    EXPECT_GT(response.repositories(0).chunk_size_bytes(), 0);
    EXPECT_GT(response.repositories(0).free_bytes(), 0);
    EXPECT_EQ(response.repositories(0).uuid().size(), 36u);
    request.set_page_token(response.next_page_token());
  } while (!request.page_token().empty());
  EXPECT_THAT(names, ElementsAre("repositories/archive", "repositories/main"));
}

TEST_F(ResourcesTest, DamageGrowthAndFiguresAreShown) {
  AddOneVm();
  AddPoint("p1");
  AddPoint("p2", "h1", "main", absl::FromUnixSeconds(1'800'001'000));
  const catalog::RepositoryId main("main");
  const auto damage = [&](const std::string& point, int64_t offset, std::optional<absl::Time> healed) {
    return catalog::Damage{main,  catalog::RecoveryPointId(point), "vda", offset, "c1", 4096, "CHUNK_DAMAGED", "wrong",
                           clock_.Now(), healed};
  };
  UMBRA_CHECK(catalog_
                  ->Write([&](catalog::Stores& s) -> absl::Status {
                    RETURN_IF_ERROR(s.verify.AddDamage(damage("p1", 0, std::nullopt)));
                    RETURN_IF_ERROR(s.verify.Heal(main, "c1", clock_.Now()));
                    RETURN_IF_ERROR(s.verify.AddDamage(damage("p2", 8192, std::nullopt)));
                    RETURN_IF_ERROR(s.verify.SetPointCheck({main, catalog::RecoveryPointId("p2"), clock_.Now(), false}));
                    RETURN_IF_ERROR(s.figures.SetDay({main, 20000, {1, 10, 10, 100}}));
                    return s.figures.SetDay({main, 20001, {2, 20, 20, 130}});
                  })
                  .ok());
  const auto point = [&](const std::string& id) {
    v1::GetRecoveryPointRequest request;
    request.set_name("recoveryPoints/" + id);
    v1::RecoveryPoint response;
    EXPECT_EQ(Outcome(Call(points_, &v1::RecoveryPointService::Stub::GetRecoveryPoint, request, &response)), "OK");
    return response;
  };
  const v1::RecoveryPoint healed = point("p1");
  EXPECT_EQ(healed.health(), v1::RecoveryPoint::HEALTH_HEALED);
  EXPECT_TRUE(healed.damage(0).has_healed_time());
  EXPECT_FALSE(healed.has_verify_time());
  EXPECT_EQ(healed.figures().logical_bytes(), 1 << 18);
  const v1::RecoveryPoint damaged = point("p2");
  EXPECT_EQ(damaged.health(), v1::RecoveryPoint::HEALTH_DAMAGED);
  ASSERT_EQ(damaged.damage_size(), 1);
  EXPECT_EQ(damaged.damage(0).offset_bytes(), 8192);
  EXPECT_EQ(damaged.damage(0).length_bytes(), 4096);
  EXPECT_TRUE(damaged.has_verify_time());

  v1::GetRepositoryRequest get;
  get.set_name("repositories/main");
  v1::Repository repository;
  ASSERT_EQ(Outcome(Call(repos_, &v1::RepositoryService::Stub::GetRepository, get, &repository)), "OK");
  EXPECT_EQ(repository.verification().damaged_place_count(), 1);
  EXPECT_THAT(repository.verification().damaged_recovery_points(), ElementsAre("recoveryPoints/p2"));
  ASSERT_EQ(repository.days_size(), 2);
  EXPECT_EQ(repository.days(0).date(), "2024-10-04");
  EXPECT_FALSE(repository.days(0).has_growth_bytes());
  EXPECT_EQ(repository.days(1).growth_bytes(), 30);

  v1::GetVirtualMachineRequest of_vm;
  of_vm.set_name("hosts/h1/virtualMachines/u1");
  v1::VirtualMachine vm;
  ASSERT_EQ(Outcome(Call(vms_, &v1::VirtualMachineService::Stub::GetVirtualMachine, of_vm, &vm)), "OK");
  EXPECT_EQ(vm.figures().recovery_point_count(), 2);
  EXPECT_EQ(vm.figures().logical_bytes(), 2 << 18);
}

TEST_F(ResourcesTest, VerificationsHaveALevelAndABudget) {
  AddOneVm();
  AddPoint("p1");
  const auto ask = [&](const v1::VerifySpec& spec, v1::Job* job) {
    v1::CreateJobRequest request;
    *request.mutable_job()->mutable_verify() = spec;
    return Outcome(Call(jobs_, &v1::JobService::Stub::CreateJob, request, job));
  };
  v1::VerifySpec spec;
  v1::Job job;
  ASSERT_EQ(ask(spec, &job), "OK");
  EXPECT_EQ(job.verify().level(), v1::VerifySpec::LEVEL_FULL);
  spec.set_level(v1::VerifySpec::LEVEL_STORED);
  spec.mutable_time_budget()->set_seconds(600);
  spec.set_byte_budget(1000);
  ASSERT_EQ(ask(spec, &job), "OK");
  EXPECT_EQ(job.verify().level(), v1::VerifySpec::LEVEL_STORED);
  EXPECT_EQ(job.verify().time_budget().seconds(), 600);
  EXPECT_EQ(job.verify().byte_budget(), 1000);
  spec.set_recovery_point("recoveryPoints/p1");
  EXPECT_EQ(ask(spec, &job), "INVALID_ARGUMENT INVALID_REQUEST");
  spec.clear_level();
  ASSERT_EQ(ask(spec, &job), "OK");
  EXPECT_EQ(job.verify().level(), v1::VerifySpec::LEVEL_DISKS);
  spec.set_byte_budget(-1);
  EXPECT_EQ(ask(spec, &job), "INVALID_ARGUMENT INVALID_REQUEST");
}

TEST_F(ResourcesTest, RebuildRemovesRowsWithoutAPoint) {
  AddPoint("gone");
  v1::RebuildCatalogRequest request;
  request.set_name("repositories/main");
  v1::RebuildCatalogResponse response;
  ASSERT_EQ(Outcome(Call(repos_, &v1::RepositoryService::Stub::RebuildCatalog, request, &response)), "OK");
  EXPECT_EQ(response.found_count(), 0);
  EXPECT_EQ(response.added_count(), 0);
  EXPECT_EQ(response.removed_count(), 1);
  EXPECT_EQ(response.problems_size(), 0);
  v1::ListRecoveryPointsResponse points;
  ASSERT_EQ(Outcome(Call(points_, &v1::RecoveryPointService::Stub::ListRecoveryPoints, {}, &points)), "OK");
  EXPECT_EQ(points.recovery_points_size(), 0);
}

TEST_F(ResourcesTest, TokenIsShownWithItsAddress) {
  v1::CreateEnrolmentTokenRequest request;
  v1::EnrolmentToken token;
  ASSERT_EQ(Outcome(Call(hosts_, &v1::HostService::Stub::CreateEnrolmentToken, request, &token)), "OK");
  EXPECT_EQ(token.token().size(), 129u);
  EXPECT_EQ(token.enrolment_address(), "backup.example:7441");
  request.mutable_ttl()->set_seconds(8 * 24 * 3600);
  EXPECT_EQ(Outcome(Call(hosts_, &v1::HostService::Stub::CreateEnrolmentToken, request, &token)),
            "INVALID_ARGUMENT INVALID_REQUEST");
}

TEST_F(ResourcesTest, RemovedHostIsRevokedAndItsJobsCancelled) {
  AddOneVm();
  const catalog::JobId job = Submit();
  v1::DeleteHostRequest request;
  request.set_name("hosts/h1");
  google::protobuf::Empty nothing;
  ASSERT_EQ(Outcome(Call(hosts_, &v1::HostService::Stub::DeleteHost, request, &nothing)), "OK");
  EXPECT_EQ(Outcome(Call(hosts_, &v1::HostService::Stub::DeleteHost, request, &nothing)), "NOT_FOUND HOST_NOT_FOUND");
  EXPECT_EQ(engine_->Get(job)->state, catalog::JobState::kCancelled);
  const auto host =
      catalog_->Read([](const catalog::Stores& s) { return s.hosts.FindByFingerprint("fingerprint of h1"); });
  ASSERT_TRUE(host.ok());
  EXPECT_TRUE(host->revoked);
}

TEST_F(ResourcesTest, AHostWithWorkIsRemovedOnlyByForce) {
  AddOneVm();
  const catalog::JobId job = Submit();
  ASSERT_TRUE(engine_->Apply(job, jobs::kCurrentAttempt, jobs::JobEvent::kAssign).ok());
  v1::GetHostRequest get;
  get.set_name("hosts/h1");
  v1::Host host;
  ASSERT_EQ(Outcome(Call(hosts_, &v1::HostService::Stub::GetHost, get, &host)), "OK");
  EXPECT_EQ(host.working_job_count(), 1);
  v1::DeleteHostRequest request;
  request.set_name("hosts/h1");
  google::protobuf::Empty nothing;
  EXPECT_EQ(Outcome(Call(hosts_, &v1::HostService::Stub::DeleteHost, request, &nothing)),
            "FAILED_PRECONDITION HOST_HAS_WORK");
  request.set_force(true);
  EXPECT_EQ(Outcome(Call(hosts_, &v1::HostService::Stub::DeleteHost, request, &nothing)), "OK");
  EXPECT_EQ(engine_->Get(job)->state, catalog::JobState::kCancelling);
}

TEST_F(ResourcesTest, AHostIsDrainedAndUndrained) {
  AddOneVm();
  engine_->SetHost(catalog::HostId("h1"), "");
  v1::DrainHostRequest drain;
  drain.set_name("hosts/h1");
  drain.set_note("new memory");
  v1::Host host;
  for (int i = 0; i < 2; ++i) {  // twice is as good as once
    ASSERT_EQ(Outcome(Call(hosts_, &v1::HostService::Stub::DrainHost, drain, &host)), "OK");
    EXPECT_TRUE(host.drained());
    EXPECT_EQ(host.drain_note(), "new memory");
  }
  const catalog::JobId job = Submit();
  EXPECT_TRUE(engine_->AssignNext(9)->empty());
  EXPECT_EQ(engine_->Get(job)->wait_reason, "HOST_DRAINED");
  v1::UndrainHostRequest undrain;
  undrain.set_name("hosts/h1");
  ASSERT_EQ(Outcome(Call(hosts_, &v1::HostService::Stub::UndrainHost, undrain, &host)), "OK");
  EXPECT_FALSE(host.drained());
  EXPECT_EQ(host.drain_note(), "");
  EXPECT_EQ(engine_->AssignNext(9)->size(), 1u);
  v1::ListEventsRequest events;
  events.set_resource("hosts/h1");
  v1::ListEventsResponse log;
  ASSERT_EQ(Outcome(Call(log_, &v1::EventService::Stub::ListEvents, events, &log)), "OK");
  ASSERT_EQ(log.events_size(), 2);
  EXPECT_EQ(log.events(0).type(), "HOST_DRAINED");
  EXPECT_EQ(log.events(1).type(), "HOST_UNDRAINED");
  drain.set_name("hosts/none");
  EXPECT_EQ(Outcome(Call(hosts_, &v1::HostService::Stub::DrainHost, drain, &host)), "NOT_FOUND HOST_NOT_FOUND");
  drain.set_name("hosts/h1");
  drain.set_note(std::string(257, 'x'));
  EXPECT_EQ(Outcome(Call(hosts_, &v1::HostService::Stub::DrainHost, drain, &host)), "INVALID_ARGUMENT INVALID_REQUEST");
}

TEST_F(ResourcesTest, EventsInPagesAndByResource) {
  for (int i = 0; i < 5; ++i) {
    catalog::Event event;
    event.type = "HOST_OFFLINE";
    event.resource = i % 2 == 0 ? "hosts/h1" : "hosts/h2";
    event.severity = catalog::Severity::kWarning;
    ASSERT_TRUE(events_->Append(event).ok());
  }
  v1::ListEventsRequest request;
  request.set_resource("hosts/h1");
  request.set_page_size(2);
  v1::ListEventsResponse first;
  ASSERT_EQ(Outcome(Call(log_, &v1::EventService::Stub::ListEvents, request, &first)), "OK");
  ASSERT_EQ(first.events_size(), 2);
  EXPECT_EQ(first.events(1).sequence(), 3);
  EXPECT_EQ(first.events(1).severity(), v1::Event::SEVERITY_WARNING);
  request.set_page_token(first.next_page_token());
  v1::ListEventsResponse second;
  ASSERT_EQ(Outcome(Call(log_, &v1::EventService::Stub::ListEvents, request, &second)), "OK");
  ASSERT_EQ(second.events_size(), 1);
  EXPECT_EQ(second.events(0).sequence(), 5);
  EXPECT_EQ(second.next_page_token(), "");
}

// The repository, the catalog's copy and the answer agree, whatever is done with a point.
TEST_F(ResourcesTest, RecoveryPointsAreRemovedUndeletedHeldAndLocked) {
  repo::Repository& repository = *repositories_->Default().repository;
  const std::string content(65536, 'x');
  const repo::ChunkId id = repository.hasher().Id(base::AsBytes(content));
  auto session = repository.BeginSession();
  ASSERT_TRUE(session->Put({id, 65536, repo::Codec::kRaw, base::AsBytes(content)}).ok());
  auto map = session->AddDiskMap("u1", "vda", 65536);
  ASSERT_TRUE(map.ok() && (*map)->Append({&id, 1}).ok() && (*map)->Finish().ok());
  repo::Manifest manifest;
  manifest.set_vm_uuid("u1");
  manifest.set_host_id("h1");
  manifest.add_disks()->set_name("vda");
  manifest.mutable_disks(0)->set_capacity_bytes(65536);
  const auto stored = session->Commit({manifest});
  ASSERT_TRUE(stored.ok()) << stored.status();
  ASSERT_TRUE(maintenance::RebuildCatalog(*catalog_, repositories_->Default(), clock_, maintenance::RebuildMode::kFull).ok());
  const std::string name = "recoveryPoints/" + stored->at(0).recovery_point_id();
  using Stub = v1::RecoveryPointService::Stub;
  v1::RecoveryPoint point;
  const auto listed = [&](bool deleted) {
    v1::ListRecoveryPointsRequest request;
    request.set_show_deleted(deleted);
    v1::ListRecoveryPointsResponse response;
    EXPECT_EQ(Outcome(Call(points_, &Stub::ListRecoveryPoints, request, &response)), "OK");
    return response.recovery_points_size();
  };

  const auto are = [&](v1::ListRecoveryPointsRequest::Filter filter, const std::string& repository = "") {
    v1::ListRecoveryPointsRequest request;
    request.set_filter(filter);
    request.set_repository(repository);
    v1::ListRecoveryPointsResponse response;
    EXPECT_EQ(Outcome(Call(points_, &Stub::ListRecoveryPoints, request, &response)), "OK");
    return response.recovery_points_size();
  };
  using List = v1::ListRecoveryPointsRequest;
  EXPECT_EQ(are(List::FILTER_UNSPECIFIED, "repositories/main"), 1);
  EXPECT_EQ(are(List::FILTER_UNSPECIFIED, "repositories/elsewhere"), 0);
  EXPECT_EQ(are(List::FILTER_HELD) + are(List::FILTER_REMOVED) + are(List::FILTER_LOCKED), 0);

  v1::HoldRecoveryPointRequest hold;
  hold.set_name(name);
  hold.set_requester("anna");
  hold.set_note("case 17");
  ASSERT_EQ(Outcome(Call(points_, &Stub::HoldRecoveryPoint, hold, &point)), "OK");
  EXPECT_TRUE(point.held());
  EXPECT_EQ(point.hold_note(), "case 17");
  EXPECT_EQ(are(List::FILTER_HELD), 1);
  v1::DeleteRecoveryPointRequest remove;
  remove.set_name(name);
  remove.set_requester("bert");
  EXPECT_EQ(Outcome(Call(points_, &Stub::DeleteRecoveryPoint, remove, &point)), "FAILED_PRECONDITION RECOVERY_POINT_HELD");
  v1::ReleaseRecoveryPointRequest release;
  release.set_name(name);
  ASSERT_EQ(Outcome(Call(points_, &Stub::ReleaseRecoveryPoint, release, &point)), "OK");
  EXPECT_FALSE(point.held());

  ASSERT_EQ(Outcome(Call(points_, &Stub::DeleteRecoveryPoint, remove, &point)), "OK");
  EXPECT_EQ(point.deleted_by(), "bert");
  EXPECT_EQ(point.purge_time().seconds() - point.delete_time().seconds(), 48 * 3600);
  EXPECT_EQ(listed(false), 0);
  EXPECT_EQ(listed(true), 1);
  EXPECT_EQ(are(List::FILTER_REMOVED), 1);
  EXPECT_EQ(are(List::FILTER_REMOVED, "repositories/elsewhere"), 0);
  v1::CreateJobRequest restore;
  restore.mutable_job()->mutable_verify()->set_recovery_point(name);
  v1::Job job;
  EXPECT_EQ(Outcome(Call(jobs_, &v1::JobService::Stub::CreateJob, restore, &job)), "NOT_FOUND RECOVERY_POINT_NOT_FOUND");
  v1::UndeleteRecoveryPointRequest undelete;
  undelete.set_name(name);
  ASSERT_EQ(Outcome(Call(points_, &Stub::UndeleteRecoveryPoint, undelete, &point)), "OK");
  EXPECT_FALSE(point.has_delete_time());
  EXPECT_EQ(listed(false), 1);

  v1::LockRecoveryPointRequest lock;
  lock.set_name(name);
  EXPECT_EQ(Outcome(Call(points_, &Stub::LockRecoveryPoint, lock, &point)), "INVALID_ARGUMENT INVALID_REQUEST");
  lock.mutable_until_time()->set_seconds(absl::ToUnixSeconds(clock_.Now()) + 3600);
  ASSERT_EQ(Outcome(Call(points_, &Stub::LockRecoveryPoint, lock, &point)), "OK");
  EXPECT_EQ(point.lock_until_time().seconds(), lock.until_time().seconds());
  EXPECT_EQ(are(List::FILTER_LOCKED), 1);
  EXPECT_EQ(are(List::FILTER_HELD), 0);
  EXPECT_EQ(Outcome(Call(points_, &Stub::DeleteRecoveryPoint, remove, &point)),
            "FAILED_PRECONDITION RECOVERY_POINT_LOCKED");
  EXPECT_EQ(Outcome(Call(points_, &Stub::LockRecoveryPoint, lock, &point)), "INVALID_ARGUMENT INVALID_REQUEST");

  remove.set_name("recoveryPoints/none");
  EXPECT_EQ(Outcome(Call(points_, &Stub::DeleteRecoveryPoint, remove, &point)), "NOT_FOUND RECOVERY_POINT_NOT_FOUND");
  v1::ConfirmClockRequest confirm;
  confirm.set_name("repositories/main");
  v1::Repository answer;
  EXPECT_EQ(Outcome(Call(repos_, &v1::RepositoryService::Stub::ConfirmClock, confirm, &answer)), "OK");
  EXPECT_FALSE(answer.has_clock_ahead());
}

TEST_F(ResourcesTest, PrunesAreJobs) {
  v1::CreateJobRequest request;
  request.mutable_job()->mutable_prune()->set_dry_run(true);
  v1::Job job;
  ASSERT_EQ(Outcome(Call(jobs_, &v1::JobService::Stub::CreateJob, request, &job)), "OK");
  EXPECT_EQ(job.prune().repository(), "repositories/main");
  EXPECT_TRUE(job.prune().dry_run());
  v1::ListJobsRequest list;
  list.set_kind("prune");
  v1::ListJobsResponse jobs;
  ASSERT_EQ(Outcome(Call(jobs_, &v1::JobService::Stub::ListJobs, list, &jobs)), "OK");
  ASSERT_EQ(jobs.jobs_size(), 1);
  list.set_kind("verify");
  jobs.Clear();
  ASSERT_EQ(Outcome(Call(jobs_, &v1::JobService::Stub::ListJobs, list, &jobs)), "OK");
  EXPECT_EQ(jobs.jobs_size(), 0);
  request.mutable_job()->mutable_prune()->set_repository("repositories/none");
  EXPECT_EQ(Outcome(Call(jobs_, &v1::JobService::Stub::CreateJob, request, &job)), "NOT_FOUND REPOSITORY_NOT_FOUND");
}

}  // namespace
}  // namespace umbra::api
