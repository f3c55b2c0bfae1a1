// Proves that file sets come back as they were stored, are replaced as a whole and go with their host, and that a restore of
// files is kept with its path.
#include "storage/catalog/file_set_store.h"

#include "tests/unit/storage/catalog/fixture.h"

namespace umbra::catalog {
namespace {

FileSet MakeSet(const std::string& host, const std::string& name) {
  return {.key = {HostId(host), "fileset:" + name},
          .display_name = "the " + name,
          .folders = {{"/srv/a", "*", true, {"x", "y/z"}}, {"/srv/b", "*.db", false, {}}},
          .has_freeze_hook = true,
          .update_time = At(3)};
}

class FileSetStoreTest : public CatalogTest {
 protected:
  void Replace(const std::string& host, const std::vector<FileSet>& sets) {
    ASSERT_TRUE(catalog_->Write([&](Stores& s) { return s.file_sets.Replace(HostId(host), sets); }).ok());
  }
  absl::StatusOr<FileSet> Get(const std::string& host, const std::string& uuid) {
    return catalog_->Read([&](const Stores& s) { return s.file_sets.Get({HostId(host), uuid}); });
  }
};

TEST_F(FileSetStoreTest, ComeBackAndAreReplacedAsAWhole) {
  AddHost("h1");
  AddHost("h2");
  Replace("h1", {MakeSet("h1", "shop"), MakeSet("h1", "logs")});
  Replace("h2", {MakeSet("h2", "shop")});
  const auto shop = Get("h1", "fileset:shop");
  ASSERT_TRUE(shop.ok());
  EXPECT_EQ(shop->display_name, "the shop");
  EXPECT_EQ(shop->folders, MakeSet("h1", "shop").folders);
  EXPECT_TRUE(shop->has_freeze_hook);
  EXPECT_EQ(shop->update_time, At(3));
  EXPECT_TRUE(shop->last_recovery_point.empty());
  Replace("h1", {MakeSet("h1", "other")});
  EXPECT_EQ(base::ReasonOf(Get("h1", "fileset:shop").status()), "FILE_SET_NOT_FOUND");
  EXPECT_EQ(base::ReasonOf(Get("h1", "uuid-of-a-machine").status()), "FILE_SET_NOT_FOUND");
  EXPECT_TRUE(Get("h2", "fileset:shop").ok());
  ASSERT_TRUE(catalog_->Write([&](Stores& s) { return s.hosts.Revoke(HostId("h2")); }).ok());
  EXPECT_FALSE(Get("h2", "fileset:shop").ok());
}

TEST_F(FileSetStoreTest, AReportOfTheSameChangesTheTimesAlone) {
  AddHost("h1");
  Replace("h1", {MakeSet("h1", "shop"), MakeSet("h1", "logs")});
  FileSet shop = MakeSet("h1", "shop"), logs = MakeSet("h1", "logs");
  shop.update_time = logs.update_time = At(4);
  Replace("h1", {shop, logs});
  EXPECT_EQ(*Get("h1", "fileset:shop"), shop);
  EXPECT_EQ(*Get("h1", "fileset:logs"), logs);
  shop.folders[0].excludes.pop_back();
  Replace("h1", {shop, logs});
  EXPECT_EQ(*Get("h1", "fileset:shop"), shop);
}

TEST_F(FileSetStoreTest, TheLastPointIsOneThatIsNotRemoved) {
  AddHost("h1");
  Replace("h1", {MakeSet("h1", "shop")});
  for (int i = 1; i <= 3; ++i) {
    RecoveryPoint point;
    point.id = RecoveryPointId("p" + std::to_string(i));
    point.vm = {HostId("h1"), i == 3 ? "fileset:other" : "fileset:shop"};
    point.repository = RepositoryId("main");
    point.point_time = point.create_time = At(i);
    ASSERT_TRUE(catalog_->Write([&](Stores& s) { return s.recovery_points.Insert(point).status(); }).ok());
  }
  EXPECT_EQ(Get("h1", "fileset:shop")->last_recovery_point.value, "p2");
  RecoveryPointProtection removed;
  removed.remove_time = removed.delete_time = At(9);
  ASSERT_TRUE(catalog_->Write([&](Stores& s) { return s.recovery_points.SetProtection(RecoveryPointId("p2"), removed); }).ok());
  EXPECT_EQ(Get("h1", "fileset:shop")->last_recovery_point.value, "p1");
}

TEST_F(FileSetStoreTest, PagesGoByHostAndName) {
  AddHost("h1");
  AddHost("h2");
  Replace("h1", {MakeSet("h1", "b"), MakeSet("h1", "a")});
  Replace("h2", {MakeSet("h2", "a")});
  std::vector<std::string> seen;
  ListOptions<VmKey> options{.page_size = 1};
  do {
    const auto page = catalog_->Read([&](const Stores& s) { return s.file_sets.List(std::nullopt, options); });
    ASSERT_TRUE(page.ok());
    for (const FileSet& set : page->items) seen.push_back(set.key.host.value + set.key.uuid);
    options.after_key = page->next_key;
  } while (options.after_key.has_value());
  EXPECT_EQ(seen, (std::vector<std::string>{"h1fileset:a", "h1fileset:b", "h2fileset:a"}));
}

TEST_F(FileSetStoreTest, ARestoreOfFilesKeepsItsPath) {
  Job job;
  job.id = JobId("j1");
  job.spec = RestoreSpec{.recovery_point = RecoveryPointId("p"),
                         .repository = RepositoryId("main"),
                         .mode = RestoreMode::kNew,
                         .target_host = HostId("h1"),
                         .target_folder = "/back",
                         .path = "/srv/x",
                         .overwrite = true};
  job.create_time = At(1);
  ASSERT_TRUE(catalog_->Write([&](Stores& s) { return s.jobs.Insert(job).status(); }).ok());
  const auto read = catalog_->Read([&](const Stores& s) { return s.jobs.Get(job.id); });
  ASSERT_TRUE(read.ok());
  EXPECT_EQ(read->spec, job.spec);
}

}  // namespace
}  // namespace umbra::catalog
