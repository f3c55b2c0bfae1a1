// A catalog with hosts and machines, an engine, repositories that a test decides about, and a clock that it moves.
#ifndef UMBRA_TESTS_UNIT_SERVER_POLICIES_FIXTURE_H_
#define UMBRA_TESTS_UNIT_SERVER_POLICIES_FIXTURE_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "server/jobs/event_hub.h"
#include "server/jobs/job_engine.h"
#include "server/maintenance/repository_set.h"
#include "server/policies/policy_set.h"
#include "storage/base/filesystem.h"
#include "storage/base/status.h"
#include "tests/support/stepping_clock.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/server/maintenance/fake_repository.h"

namespace umbra::policies {

class PoliciesTest : public ::testing::Test {
 protected:
  PoliciesTest() {
    catalog_ = *catalog::Catalog::Open(files_, dir_.File("catalog.db"));
    events_ = std::make_unique<jobs::EventHub>(*catalog_, clock_);
    engine_ = std::make_unique<jobs::JobEngine>(*catalog_, clock_, random_);
    auto fake = std::make_unique<maintenance::FakeRepository>();
    repository_ = fake.get();
    std::vector<maintenance::OpenRepository> all;
    all.push_back({catalog::RepositoryId("main"), "/r", std::move(fake)});
    repositories_ = std::make_unique<maintenance::RepositorySet>(std::move(all));
  }

  template <typename Work>
  void Write(Work work) {
    const absl::Status written = catalog_->Write([&](catalog::Stores& s) -> absl::Status { return work(s); });
    ASSERT_TRUE(written.ok()) << written;
  }

  // A host with these machines, by their names; their uuids are "u-NAME".
  void AddHost(const std::string& id, const std::vector<std::string>& vms) {
    catalog::Host host;
    host.id = catalog::HostId(id);
    host.display_name = "name of " + id;
    host.certificate_fingerprint = "fingerprint of " + id;
    host.create_time = host.last_seen_time = clock_.Now();
    Write([&](catalog::Stores& s) { return s.hosts.Insert(host); });
    SetVms(id, vms);
  }
  void SetVms(const std::string& host, const std::vector<std::string>& vms) {
    std::vector<catalog::Vm> inventory;
    for (const std::string& name : vms) {
      catalog::Vm vm;
      vm.key = Key(host, name);
      vm.display_name = name;
      vm.disks = {{"vda", "/x", "qcow2", 1, 1}};
      vm.update_time = clock_.Now();
      inventory.push_back(vm);
    }
    Write([&](catalog::Stores& s) { return s.vms.ReplaceInventory(catalog::HostId(host), inventory, {}); });
  }
  static catalog::VmKey Key(const std::string& host, const std::string& name) {
    return {catalog::HostId(host), "u-" + name};
  }

  catalog::Policy MakePolicy(const std::string& id, const std::string& expression,
                             std::vector<std::string> schedules = {}) {
    catalog::Policy policy;
    policy.id = catalog::PolicyId(id);
    policy.selection.expression = expression;
    policy.schedules = std::move(schedules);
    policy.repository = catalog::RepositoryId("main");
    policy.freeze_timeout = absl::Seconds(10);
    policy.retry_backoff = absl::Minutes(10);
    policy.create_time = policy.update_time = policy.done_time = clock_.Now();
    return policy;
  }
  void Insert(const catalog::Policy& policy) {
    Write([&](catalog::Stores& s) { return s.policies.Insert(policy); });
  }
  catalog::Policy Get(const std::string& id) {
    return *catalog_->Read([&](const catalog::Stores& s) { return s.policies.Get(catalog::PolicyId(id)); });
  }

  // Oldest first.
  std::vector<catalog::Job> Jobs() {
    auto page = catalog_->Read([](const catalog::Stores& s) { return s.jobs.List({}, {.page_size = 10'000}); });
    std::reverse(page->items.begin(), page->items.end());
    return page->items;
  }
  void Start(const catalog::JobId& id) {
    ASSERT_TRUE(engine_->Apply(id, jobs::kCurrentAttempt, jobs::JobEvent::kAssign).ok());
    ASSERT_TRUE(engine_->Apply(id, jobs::kCurrentAttempt, jobs::JobEvent::kAccept).ok());
  }
  void Fail(const catalog::JobId& id) {
    jobs::EventFacts facts;
    facts.error = {"X", "x"};
    ASSERT_TRUE(engine_->Apply(id, jobs::kCurrentAttempt, jobs::JobEvent::kAgentFailed, facts).ok());
  }
  std::vector<std::string> EventsOf(const std::string& type) {
    std::vector<std::string> found;
    const auto page =
        catalog_->Read([](const catalog::Stores& s) { return s.events.List("", {.page_size = 100'000}); });
    for (const catalog::Event& event : page->items) {
      if (event.type == type) found.push_back(event.message);
    }
    return found;
  }

  // A point of "u1" of host "h1" (what the fake repository's points are of).
  void AddPoint(const std::string& id, absl::Time time, const std::string& name = "vm") {
    repository_->Add(id);
    catalog::RecoveryPoint point{.id = catalog::RecoveryPointId(id),
                                 .vm = {catalog::HostId("h1"), "u1"},
                                 .vm_display_name = name,
                                 .repository = catalog::RepositoryId("main"),
                                 .job = catalog::JobId("j0"),
                                 .point_time = time,
                                 .create_time = time};
    Write([&](catalog::Stores& s) { return s.recovery_points.Insert(point).status(); });
    Write([&](catalog::Stores& s) {
      return s.events.Append({.time = time, .type = "RECOVERY_POINT_CREATED", .resource = "recoveryPoints/" + id})
          .status();
    });
  }

  testing::TempDir dir_;
  base::PosixFilesystem files_;
  testing::SteppingClock clock_;
  base::SeededRandom random_{1};
  std::unique_ptr<catalog::Catalog> catalog_;
  std::unique_ptr<jobs::EventHub> events_;
  std::unique_ptr<jobs::JobEngine> engine_;
  std::unique_ptr<maintenance::RepositorySet> repositories_;
  maintenance::FakeRepository* repository_;  // owned by repositories_
};

}  // namespace umbra::policies

#endif  // UMBRA_TESTS_UNIT_SERVER_POLICIES_FIXTURE_H_
