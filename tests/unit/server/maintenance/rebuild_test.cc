// Proves that the catalog ends up with exactly the points that the repository holds: missing rows come, stale rows go
// (only when a person asked), a damaged manifest forgets nothing, and points of a job at work are left to it.
#include "server/maintenance/rebuild.h"

#include "tests/unit/server/maintenance/fixture.h"

namespace umbra::maintenance {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class RebuildTest : public MaintenanceTest {
 protected:
  RebuildReport Rebuild(RebuildMode mode) {
    const auto report = RebuildCatalog(*catalog_, repositories_->Default(), clock_, mode);
    EXPECT_TRUE(report.ok()) << base::Describe(report.status());
    return *report;
  }
};

TEST_F(RebuildTest, EverythingComesBackFromTheRepositoryAlone) {
  repository_->Add("p1");
  repository_->Add("p2");
  const RebuildReport report = Rebuild(RebuildMode::kAddOnly);
  EXPECT_EQ(report.found_count, 2);
  EXPECT_EQ(report.added_count, 2);
  EXPECT_THAT(Rows(), ElementsAre("p1", "p2"));
  const auto point =
      catalog_->Read([](const catalog::Stores& s) { return s.recovery_points.Get(catalog::RecoveryPointId("p1")); });
  ASSERT_TRUE(point.ok());
  EXPECT_EQ(point->vm.host.value, "h1");
  EXPECT_EQ(point->mechanism, catalog::BackupMechanism::kChildSnapshot);
  EXPECT_EQ(point->point_time, absl::FromUnixSeconds(1'800'000'000));
  EXPECT_EQ(point->configuration, "<domain/>");
  ASSERT_EQ(point->documents.size(), 1u);
  EXPECT_EQ(point->documents[0].kind, "vss.backup-components");
  EXPECT_EQ(EventsOf("CATALOG_REBUILT").size(), 1u);
}

TEST_F(RebuildTest, SecondTimeChangesAndTellsNothing) {
  repository_->Add("p1");
  Rebuild(RebuildMode::kFull);
  const RebuildReport again = Rebuild(RebuildMode::kFull);
  EXPECT_EQ(again.found_count, 1);
  EXPECT_EQ(again.added_count, 0);
  EXPECT_EQ(again.removed_count, 0);
  EXPECT_EQ(EventsOf("CATALOG_REBUILT").size(), 1u);
}

TEST_F(RebuildTest, StaleRowsGoOnlyWhenAPersonAsked) {
  repository_->Add("p1");
  repository_->Add("p2");
  Rebuild(RebuildMode::kFull);
  repository_->points.erase("p1");
  EXPECT_EQ(Rebuild(RebuildMode::kAddOnly).removed_count, 0);
  EXPECT_THAT(Rows(), ElementsAre("p1", "p2"));
  EXPECT_EQ(Rebuild(RebuildMode::kFull).removed_count, 1);
  EXPECT_THAT(Rows(), ElementsAre("p2"));
}

TEST_F(RebuildTest, DamagedManifestKeepsItsRow) {
  repository_->Add("p1");
  Rebuild(RebuildMode::kFull);
  repository_->damaged["p1"] = true;
  const RebuildReport report = Rebuild(RebuildMode::kFull);
  EXPECT_THAT(report.problems, ElementsAre("points/p1: damaged"));
  EXPECT_EQ(report.removed_count, 0);
  EXPECT_THAT(Rows(), ElementsAre("p1"));
  EXPECT_EQ(EventsOf("CATALOG_REBUILT").back().severity, catalog::Severity::kWarning);
}

TEST_F(RebuildTest, RemovalHoldsAndLocksComeBackFromTheRepositoryToo) {
  const auto protection_of = [&](const std::string& id) {
    return catalog_
        ->Read([&](const catalog::Stores& s) { return s.recovery_points.Get(catalog::RecoveryPointId(id)); })
        ->protection;
  };
  repository_->Add("p1");
  repository_->Add("p2");
  repository_->Add("p3");
  Rebuild(RebuildMode::kFull);
  const absl::Time until = absl::FromUnixSeconds(1'900'000'000);
  ASSERT_TRUE(repository_->RemoveRecoveryPoint("p1", {.who = "anna"}).ok());
  ASSERT_TRUE(repository_->HoldRecoveryPoint("p2", "bert", "why").ok());
  ASSERT_TRUE(repository_->LockRecoveryPoint("p3", until, "anna").ok());
  const RebuildReport report = Rebuild(RebuildMode::kAddOnly);
  EXPECT_EQ(report.found_count, 3);
  EXPECT_EQ(report.changed_count, 3);
  EXPECT_EQ(report.removed_count, 0);
  EXPECT_TRUE(protection_of("p1").remove_time.has_value());
  EXPECT_EQ(protection_of("p1").removed_by, "anna");
  EXPECT_TRUE(protection_of("p2").held);
  EXPECT_EQ(protection_of("p2").hold_note, "why");
  EXPECT_EQ(protection_of("p3").lock_until, until);
  EXPECT_EQ(Rebuild(RebuildMode::kFull).changed_count, 0);
  // A prune deleted it, and the daemon died before the row went: also the careful mode knows that it is gone.
  repository_->points.erase("p1");
  repository_->protections.erase("p1");
  EXPECT_EQ(Rebuild(RebuildMode::kAddOnly).removed_count, 1);
  EXPECT_THAT(Rows(), ElementsAre("p2", "p3"));
}

TEST_F(RebuildTest, PointsOfAJobAtWorkAreLeftToIt) {
  const auto job = engine_->Submit(
      catalog::BackupSpec{{{catalog::HostId("h1"), "u1"}}, catalog::RepositoryId("main"), false, absl::Seconds(10)});
  ASSERT_TRUE(job.ok());
  repository_->Add("p1", job->id.value);
  EXPECT_EQ(Rebuild(RebuildMode::kFull).added_count, 0);
  EXPECT_THAT(Rows(), IsEmpty());
  ASSERT_TRUE(engine_->Cancel(job->id).ok());
  EXPECT_EQ(Rebuild(RebuildMode::kFull).added_count, 1);
}

TEST_F(RebuildTest, MechanismOfANewerVersionIsUnspecified) {
  repository_->Add("p1");
  repository_->points["p1"].set_mechanism(99);
  Rebuild(RebuildMode::kFull);
  const auto point =
      catalog_->Read([](const catalog::Stores& s) { return s.recovery_points.Get(catalog::RecoveryPointId("p1")); });
  ASSERT_TRUE(point.ok());
  EXPECT_EQ(point->mechanism, catalog::BackupMechanism::kUnspecified);
}

TEST_F(RebuildTest, SavedMemoryIsNoDiskOfTheMachine) {
  repository_->Add("p1");
  repo::Manifest& manifest = repository_->points["p1"];
  manifest.clear_disks();
  manifest.add_disks()->set_name("vda");
  store::v1::ManifestDisk& memory = *manifest.add_disks();
  memory.set_name("memory.state");
  memory.set_kind(store::v1::ManifestDisk::KIND_MEMORY_STATE);
  memory.set_capacity_bytes(7777);
  memory.set_data_bytes(5555);
  manifest.mutable_downtime()->set_nanos(412'000'000);
  manifest.add_obstacles()->set_reason("GUEST_AGENT_NOT_RUNNING");
  const catalog::RecoveryPoint point = ToRecord(manifest, catalog::RepositoryId("main"));
  ASSERT_EQ(point.disks.size(), 1u);
  EXPECT_EQ(point.disks[0].name, "vda");
  EXPECT_EQ(point.state_bytes, 7777);
  EXPECT_EQ(point.state_data_bytes, 5555);
  EXPECT_EQ(point.downtime, absl::Milliseconds(412));
  ASSERT_EQ(point.obstacles.size(), 1u);
  EXPECT_EQ(point.obstacles[0].reason, "GUEST_AGENT_NOT_RUNNING");
}

TEST_F(RebuildTest, AFileTreeIsKeptWithItsFolders) {
  repo::Manifest manifest;
  manifest.set_vm_uuid("fileset:shop");
  auto* tree = manifest.add_disks();
  tree->set_name("files.tree");
  tree->set_kind(store::v1::ManifestDisk::KIND_FILE_TREE);
  tree->set_capacity_bytes(70);
  tree->set_path("/srv/a\n/srv/b");
  const catalog::RecoveryPoint point = ToRecord(manifest, catalog::RepositoryId("main"));
  EXPECT_EQ(point.vm.uuid, "fileset:shop");
  ASSERT_EQ(point.disks.size(), 1u);
  EXPECT_EQ(point.disks[0].capacity_bytes, 70);
  EXPECT_EQ(point.disks[0].path, "/srv/a\n/srv/b");
}

TEST_F(RebuildTest, PointsOfAJobForRecovery) {
  repository_->Add("p1", "j1");
  repository_->Add("p2", "j2");
  catalog::Job job;
  job.id = catalog::JobId("j1");
  job.spec =
      catalog::BackupSpec{{{catalog::HostId("h1"), "u1"}}, catalog::RepositoryId("main"), false, absl::Seconds(10)};
  PointsOfJobs points_of(*repositories_);
  auto points = points_of.Of(job);
  ASSERT_TRUE(points.ok());
  ASSERT_EQ(points->size(), 1u);
  EXPECT_EQ((*points)[0].id.value, "p1");
  // The repository is read once, however many jobs are asked about.
  repository_->Add("p3", "j3");
  job.id = catalog::JobId("j2");
  EXPECT_EQ(points_of.Of(job)->at(0).id.value, "p2");
  job.id = catalog::JobId("j3");
  EXPECT_THAT(*points_of.Of(job), IsEmpty());
  std::get<catalog::BackupSpec>(job.spec).repository = catalog::RepositoryId("gone");
  EXPECT_THAT(*points_of.Of(job), IsEmpty());
}

TEST_F(RebuildTest, SetFindsDefaultAndSaysWhatIsUnknown) {
  EXPECT_EQ(repositories_->Default().id.value, "main");
  EXPECT_EQ((*repositories_->Find(catalog::RepositoryId()))->id.value, "main");
  EXPECT_EQ((*repositories_->Find(catalog::RepositoryId("archive")))->id.value, "archive");
  EXPECT_EQ(base::ReasonOf(repositories_->Find(catalog::RepositoryId("x")).status()), "REPOSITORY_NOT_FOUND");
  EXPECT_EQ(repositories_->All()[0].id.value, "archive");
}

}  // namespace
}  // namespace umbra::maintenance
