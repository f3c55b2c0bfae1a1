// Proves that recovery points come back as they were stored, are entered once however often they are offered, and are
// listed newest first, filtered and paged.
#include "tests/unit/storage/catalog/fixture.h"

namespace umbra::catalog {
namespace {

class RecoveryPointStoreTest : public CatalogTest {
 protected:
  bool Insert(const RecoveryPoint& point) {
    return *catalog_->Write([&](Stores& s) { return s.recovery_points.Insert(point); });
  }
  std::vector<std::string> List(const RecoveryPointStore::Filter& filter, int page_size = 2) {
    std::vector<std::string> ids;
    ListOptions<RecoveryPointKey> options{.page_size = page_size};
    do {
      const auto page = catalog_->Read([&](const Stores& s) { return s.recovery_points.List(filter, options); });
      for (const RecoveryPoint& point : page->items) ids.push_back(point.id.value);
      options.after_key = page->next_key;
    } while (options.after_key.has_value());
    return ids;
  }
};

TEST_F(RecoveryPointStoreTest, APointRoundTrips) {
  ASSERT_TRUE(Insert(MakePoint("p1", 10)));
  const auto point = catalog_->Read([](const Stores& s) { return s.recovery_points.Get(RecoveryPointId("p1")); });
  ASSERT_TRUE(point.ok());
  EXPECT_EQ(point->vm, (VmKey{HostId("h1"), "vm1"}));
  EXPECT_EQ(point->vm_display_name, "mail");
  EXPECT_EQ(point->repository.value, "main");
  EXPECT_EQ(point->job.value, "j1");
  EXPECT_EQ(point->point_time, At(10));
  EXPECT_EQ(point->create_time, At(11));
  EXPECT_EQ(point->mechanism, BackupMechanism::kChildSnapshot);
  EXPECT_EQ(point->freeze_duration, absl::Milliseconds(134));
  EXPECT_EQ(point->downtime, absl::Milliseconds(412));
  EXPECT_EQ(point->obstacles, MakePoint("p1", 0).obstacles);
  EXPECT_EQ(point->state_bytes, 7777);
  EXPECT_EQ(point->state_data_bytes, 5555);
  ASSERT_EQ(point->disks.size(), 2u);
  EXPECT_EQ(point->disks[0].data_bytes, 1 << 19);
  EXPECT_EQ(point->disks[1].path, "/disks/b");
  ASSERT_EQ(point->excluded_disks.size(), 1u);
  EXPECT_EQ(point->excluded_disks[0].message, "a CD");
  EXPECT_EQ(point->read_bytes, 1000);
  EXPECT_EQ(point->stored_bytes, 400);
  EXPECT_EQ(point->configuration, "<domain/>");
  ASSERT_EQ(point->documents.size(), 2u);
  EXPECT_EQ(point->documents[1].kind, "second");
}

TEST_F(RecoveryPointStoreTest, ListsLeaveTheDocumentsOut) {
  Insert(MakePoint("p1", 10));
  const RecoveryPoint point =
      catalog_->Read([](const Stores& s) { return s.recovery_points.List({}, {}); })->items.at(0);
  EXPECT_EQ(point.disks.size(), 2u);
  EXPECT_EQ(point.configuration, "");
  EXPECT_TRUE(point.documents.empty());
}

TEST_F(RecoveryPointStoreTest, ASecondInsertChangesNothing) {
  EXPECT_TRUE(Insert(MakePoint("p1", 10)));
  EXPECT_FALSE(Insert(MakePoint("p1", 99)));
  const auto point = catalog_->Read([](const Stores& s) { return s.recovery_points.Get(RecoveryPointId("p1")); });
  EXPECT_EQ(point->point_time, At(10));
  EXPECT_EQ(point->disks.size(), 2u);
}

TEST_F(RecoveryPointStoreTest, ListsNewestFirst) {
  // Three share a time: the id decides, and a page may end between them.
  for (const auto& [id, time] :
       std::vector<std::pair<std::string, int>>{{"a", 10}, {"b", 30}, {"c", 20}, {"d", 20}, {"e", 20}, {"f", 5}}) {
    Insert(MakePoint(id, time, id == "c" ? "vm2" : "vm1"));
  }
  EXPECT_THAT(List({}), ::testing::ElementsAre("b", "e", "d", "c", "a", "f"));
  EXPECT_THAT(List({.vm = VmKey{HostId("h1"), "vm1"}}), ::testing::ElementsAre("b", "e", "d", "a", "f"));
  EXPECT_THAT(List({.vm = VmKey{HostId("h1"), "vm2"}, .repository = RepositoryId("main")}),
              ::testing::ElementsAre("c"));
  EXPECT_THAT(List({.repository = RepositoryId("other")}), ::testing::IsEmpty());
}

TEST_F(RecoveryPointStoreTest, ListsThoseThatAreRemovedHeldOrLocked) {
  using Kind = RecoveryPointStore::Kind;
  const auto insert = [&](const std::string& id, int time, const RecoveryPointProtection& protection,
                          const std::string& repository = "main", const std::string& vm = "vm1") {
    RecoveryPoint point = MakePoint(id, time, vm);
    point.repository = RepositoryId(repository);
    point.protection = protection;
    Insert(point);
  };
  const RecoveryPointProtection removed{.remove_time = At(50), .delete_time = At(90)};
  for (int i = 0; i < 10; ++i) insert("plain" + std::to_string(i), 10 + i, {});
  for (int i = 0; i < 5; ++i) insert("gone" + std::to_string(i), 12 + i, removed);
  insert("elsewhere", 30, removed, "second");
  insert("of_vm2", 31, removed, "main", "vm2");
  insert("held", 11, {.held = true});
  insert("locked", 40, {.lock_until = At(100)});
  insert("passed", 41, {.lock_until = At(60)});
  insert("held_and_gone", 9, {.remove_time = At(50), .held = true});
  EXPECT_THAT(List({.kind = Kind::kRemoved}), ::testing::ElementsAre("of_vm2", "elsewhere", "gone4", "gone3", "gone2",
                                                                     "gone1", "gone0", "held_and_gone"))
      << "in pages of two";
  EXPECT_THAT(List({.repository = RepositoryId("second"), .kind = Kind::kRemoved}),
              ::testing::ElementsAre("elsewhere"));
  EXPECT_THAT(List({.vm = VmKey{HostId("h1"), "vm2"}, .kind = Kind::kRemoved}), ::testing::ElementsAre("of_vm2"));
  EXPECT_THAT(List({.kind = Kind::kHeld}), ::testing::ElementsAre("held"));
  EXPECT_THAT(List({.show_removed = true, .kind = Kind::kHeld}), ::testing::ElementsAre("held", "held_and_gone"));
  EXPECT_THAT(List({.vm = VmKey{HostId("h1"), "vm1"}, .kind = Kind::kHeld}), ::testing::ElementsAre("held"));
  EXPECT_THAT(List({.kind = Kind::kLocked, .now = At(80)}), ::testing::ElementsAre("locked"));
  EXPECT_THAT(List({.kind = Kind::kLocked, .now = At(60)}), ::testing::ElementsAre("locked"))
      << "a lock ends at its time";
  EXPECT_THAT(List({.vm = VmKey{HostId("h1"), "vm1"}, .kind = Kind::kLocked, .now = At(59)}),
              ::testing::ElementsAre("passed", "locked"));
}

TEST_F(RecoveryPointStoreTest, DeleteTakesEverythingOfIt) {
  Insert(MakePoint("p1", 10));
  const auto remove = [&] {
    return catalog_->Write([](Stores& s) { return s.recovery_points.Delete(RecoveryPointId("p1")); });
  };
  EXPECT_TRUE(remove().ok());
  EXPECT_EQ(base::ReasonOf(remove()), "RECOVERY_POINT_NOT_FOUND");
  EXPECT_TRUE(Insert(MakePoint("p1", 20)));  // no child row is left over
}

TEST_F(RecoveryPointStoreTest, IdsByRepositoryAndByJob) {
  Insert(MakePoint("b", 1));
  Insert(MakePoint("a", 2));
  RecoveryPoint other = MakePoint("c", 3);
  other.repository = RepositoryId("second");
  other.job = JobId("j2");
  Insert(other);
  const auto ids = catalog_->Read([](const Stores& s) { return s.recovery_points.Ids(RepositoryId("main")); });
  EXPECT_THAT(*ids, ::testing::ElementsAre(RecoveryPointId("a"), RecoveryPointId("b")));
  const auto of_job = catalog_->Read([](const Stores& s) { return s.recovery_points.IdsOfJob(JobId("j2")); });
  EXPECT_THAT(*of_job, ::testing::ElementsAre(RecoveryPointId("c")));
}

}  // namespace
}  // namespace umbra::catalog
