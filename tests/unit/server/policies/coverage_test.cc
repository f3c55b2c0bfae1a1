// Proves who counts as unprotected, whose promise is missed, and that pages of them neither repeat nor leave out any.
#include "server/policies/coverage.h"

#include <map>

#include "tests/unit/server/policies/fixture.h"

namespace umbra::policies {
namespace {

class CoverageTest : public PoliciesTest {
 protected:
  std::map<std::string, CoverageEntry> List(CoverageFilter filter, int page_size = 100) {
    const PolicySet set = *PolicySet::Load(*catalog_);
    std::map<std::string, CoverageEntry> found;
    catalog::ListOptions<catalog::VmKey> options{.page_size = page_size};
    while (true) {
      const auto page = ListCoverage(*catalog_, set, filter, clock_.Now(), options);
      EXPECT_TRUE(page.ok()) << page.status();
      EXPECT_LE(page->items.size(), static_cast<size_t>(page_size));
      for (const CoverageEntry& entry : page->items) {
        EXPECT_TRUE(found.emplace(entry.subject.display_name, entry).second) << "twice";
      }
      if (!page->next_key) return found;
      options.after_key = page->next_key;
    }
  }
};

TEST_F(CoverageTest, WhoIsAtRiskIsTold) {
  AddHost("h1", {"web1", "web2", "db1"});
  Write([&](catalog::Stores& s) {
    catalog::Vm vm;
    vm.key = {catalog::HostId("h1"), "u1"};
    vm.display_name = "good";
    vm.disks = {{"vda", "/x", "qcow2", 1, 1}};
    catalog::Vm other = vm;
    other.key.uuid = "u2";
    other.display_name = "web2";
    catalog::Vm loose = vm;
    loose.key.uuid = "u3";
    loose.display_name = "loose";
    catalog::Vm diskless = vm;
    diskless.key.uuid = "u4";
    diskless.display_name = "diskless";
    diskless.disks = {};
    return s.vms.ReplaceInventory(catalog::HostId("h1"), {vm, other, loose, diskless}, {});
  });
  catalog::Policy strict = MakePolicy("strict", "name=good or name=web*");
  strict.rpo = absl::Hours(2);
  Insert(strict);
  catalog::Policy lax = MakePolicy("lax", "name=good");
  lax.rpo = absl::Hours(48);
  Insert(lax);
  AddPoint("p1", clock_.Now() - absl::Hours(1), "good");

  auto all = List(CoverageFilter::kAll);
  ASSERT_EQ(all.size(), 3u) << "what has no disk needs no backup";
  EXPECT_EQ(all["good"].policies.size(), 2u);
  EXPECT_EQ(all["good"].rpo, absl::Hours(2)) << "the shortest";
  EXPECT_EQ(all["good"].last_good, clock_.Now() - absl::Hours(1));
  EXPECT_FALSE(all["good"].rpo_missed);
  EXPECT_TRUE(all["web2"].rpo_missed) << "no point at all";
  EXPECT_TRUE(all["loose"].policies.empty());
  EXPECT_FALSE(all["loose"].rpo_missed) << "nothing was promised";
  EXPECT_EQ(List(CoverageFilter::kUnprotected).size(), 1u);
  EXPECT_EQ(List(CoverageFilter::kRpoMissed).size(), 1u);
  EXPECT_EQ(List(CoverageFilter::kAtRisk).size(), 2u);

  clock_.Advance(absl::Hours(2));
  EXPECT_EQ(List(CoverageFilter::kRpoMissed).size(), 2u);
}

TEST_F(CoverageTest, ADamagedPointIsNoGoodOne) {
  AddHost("h1", {});
  Write([&](catalog::Stores& s) {
    catalog::Vm vm;
    vm.key = {catalog::HostId("h1"), "u1"};
    vm.display_name = "vm";
    vm.disks = {{"vda", "/x", "qcow2", 1, 1}};
    return s.vms.ReplaceInventory(catalog::HostId("h1"), {vm}, {});
  });
  AddPoint("p1", clock_.Now() - absl::Hours(3));
  AddPoint("p2", clock_.Now() - absl::Hours(1));
  Write([&](catalog::Stores& s) {
    return s.verify.AddDamage({.repository = catalog::RepositoryId("main"),
                               .recovery_point = catalog::RecoveryPointId("p2"),
                               .disk = "vda",
                               .chunk_id = "c",
                               .reason = "X",
                               .message = "x",
                               .found_time = clock_.Now()});
  });
  EXPECT_EQ(List(CoverageFilter::kAll)["vm"].last_good, clock_.Now() - absl::Hours(3));
}

TEST_F(CoverageTest, InSumsEachMachineCountsOnce) {
  AddHost("h1", {"u1", "good", "late", "never", "loose", "failing", "failing-loose"});
  AddHost("h2", {"other"});
  catalog::Policy policy = MakePolicy("p", "not name=*loose");
  policy.rpo = absl::Hours(2);
  Insert(policy);
  const auto point = [&](const std::string& id, const std::string& name, absl::Duration age) {
    catalog::RecoveryPoint made{.id = catalog::RecoveryPointId(id),
                                .vm = Key("h1", name),
                                .vm_display_name = name,
                                .repository = catalog::RepositoryId("main"),
                                .point_time = clock_.Now() - age,
                                .create_time = clock_.Now()};
    Write([&](catalog::Stores& s) { return s.recovery_points.Insert(made).status(); });
  };
  point("p1", "good", absl::Hours(1));
  point("p2", "late", absl::Hours(3));
  point("p3", "failing", absl::Hours(1));
  engine_->SetHost(catalog::HostId("h1"), "");
  std::vector<catalog::JobId> failed;
  for (const char* name : {"failing-loose", "failing"}) {
    failed.push_back(engine_->Submit(catalog::BackupSpec{{Key("h1", name)}, catalog::RepositoryId("main")})->id);
    Start(failed.back());
    clock_.Advance(absl::Seconds(1));
    Fail(failed.back());
  }
  const auto sums = SummarizeCoverage(*catalog_, *PolicySet::Load(*catalog_), clock_.Now());
  ASSERT_TRUE(sums.ok()) << sums.status();
  EXPECT_EQ(sums->total, 8);
  EXPECT_EQ(sums->failing, 2);
  EXPECT_EQ(sums->unprotected, 1);
  EXPECT_EQ(sums->never, 3) << "u1, never, other";
  EXPECT_EQ(sums->late, 1);
  EXPECT_EQ(sums->protected_count, 1);
  ASSERT_EQ(sums->newest_failing.size(), 2u);
  EXPECT_EQ(sums->newest_failing[0].display_name, "failing");
  EXPECT_EQ(sums->newest_failing[0].job, failed[1]);
  EXPECT_EQ(sums->newest_failing[0].error, (catalog::JobMessage{"X", "x"}));
  EXPECT_EQ(sums->newest_failing[1].display_name, "failing-loose");
}

TEST_F(CoverageTest, TheNewestTwentyOfManyThatFailAreTold) {
  std::vector<std::string> names;
  for (int i = 0; i < 30; ++i) names.push_back(fmt::format("vm{:02}", i));
  AddHost("h1", names);
  engine_->SetHost(catalog::HostId("h1"), "");
  engine_->SetLimits({.per_host_max = 0});
  for (int i = 0; i < 30; ++i) {
    const std::string name = fmt::format("vm{:02}", i * 7 % 30);
    const auto id = engine_->Submit(catalog::BackupSpec{{Key("h1", name)}, catalog::RepositoryId("main")})->id;
    Start(id);
    clock_.Advance(absl::Seconds(1));
    Fail(id);
  }
  const auto sums = SummarizeCoverage(*catalog_, *PolicySet::Load(*catalog_), clock_.Now());
  ASSERT_TRUE(sums.ok()) << sums.status();
  EXPECT_EQ(sums->failing, 30);
  ASSERT_EQ(sums->newest_failing.size(), kFailingTold);
  for (int i = 0; i < 20; ++i)
    EXPECT_EQ(sums->newest_failing[i].display_name, fmt::format("vm{:02}", (29 - i) * 7 % 30));
}

TEST_F(CoverageTest, PagesNeitherRepeatNorLeaveOut) {
  for (int host = 0; host < 3; ++host) {
    std::vector<std::string> names;
    for (int i = 0; i < 1000; ++i) names.push_back("vm" + std::to_string(host) + "-" + std::to_string(i));
    AddHost("h" + std::to_string(host), names);
  }
  Insert(MakePolicy("p", "name=*-*1"));
  EXPECT_EQ(List(CoverageFilter::kAll, 1000).size(), 3000u);
  EXPECT_EQ(List(CoverageFilter::kUnprotected, 7).size(), 2700u);
  EXPECT_EQ(List(CoverageFilter::kUnprotected, 1000).size(), 2700u);
}

}  // namespace
}  // namespace umbra::policies
