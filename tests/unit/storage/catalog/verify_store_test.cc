// Proves that results of verification and known damage are kept, healed and forgotten as told, and that figures add up.
#include "storage/catalog/verify_store.h"

#include <gtest/gtest.h>

#include "storage/base/status.h"
#include "storage/catalog/catalog.h"
#include "tests/support/temp_dir.h"

namespace umbra::catalog {
namespace {

class VerifyStoreTest : public ::testing::Test {
 protected:
  void SetUp() override { catalog_ = *Catalog::Open(files_, dir_.File("catalog.db")); }
  void Reopen() {
    catalog_.reset();
    SetUp();
  }
  template <typename Work>
  void Write(Work&& work) {
    const absl::Status written = catalog_->Write(std::forward<Work>(work));
    ASSERT_TRUE(written.ok()) << written;
  }
  absl::Time At(int64_t seconds) { return absl::FromUnixSeconds(seconds); }
  Damage Place(const std::string& point, int64_t offset, const std::string& chunk) {
    return {.repository = main_,
            .recovery_point = RecoveryPointId(point),
            .disk = "vda",
            .offset_bytes = offset,
            .chunk_id = chunk,
            .length_bytes = 4096,
            .reason = "CHUNK_DAMAGED",
            .message = "wrong",
            .found_time = At(100),
            .healed_time = std::nullopt};
  }
  void InsertPoint(const std::string& id, int64_t data, int64_t fresh, int64_t stored) {
    RecoveryPoint point;
    point.id = RecoveryPointId(id);
    point.vm = {HostId("h"), "vm"};
    point.repository = main_;
    point.point_time = point.create_time = At(1);
    point.disks = {{"vda", 100, data, "raw", "/a"}, {"vdb", 100, data, "raw", "/b"}};
    point.state_data_bytes = 1;
    point.new_bytes = fresh;
    point.stored_bytes = stored;
    Write([&](Stores& s) { return s.recovery_points.Insert(point).status(); });
  }

  testing::TempDir dir_;
  base::PosixFilesystem files_;
  const RepositoryId main_{"main"};
  std::unique_ptr<Catalog> catalog_;
};

TEST_F(VerifyStoreTest, ACheckOfStoredBytesKeepsTheTimeOfTheLastFullOne) {
  PackCheck check{.repository = main_,
                  .pack = "aa",
                  .size_bytes = 5,
                  .stored_time = At(10),
                  .full_time = At(10),
                  .whole_damaged = false,
                  .damaged_chunks = 0};
  Write([&](Stores& s) { return s.verify.SetPackCheck(check); });
  check.stored_time = At(20);
  check.full_time.reset();
  check.whole_damaged = true;
  check.damaged_chunks = 3;
  Write([&](Stores& s) { return s.verify.SetPackCheck(check); });
  Reopen();
  const auto checks = *catalog_->Read([&](const Stores& s) { return s.verify.PackChecks(main_); });
  ASSERT_EQ(checks.size(), 1u);
  check.full_time = At(10);
  EXPECT_EQ(checks[0], check);
  Write([&](Stores& s) { return s.verify.DeletePackCheck(main_, "aa"); });
  EXPECT_TRUE(catalog_->Read([&](const Stores& s) { return s.verify.PackChecks(main_); })->empty());
}

TEST_F(VerifyStoreTest, DamageStaysOpenUntilItIsHealedAndOpensAgain) {
  Write([&](Stores& s) -> absl::Status {
    RETURN_IF_ERROR(s.verify.AddDamage(Place("p1", 0, "c1")));
    RETURN_IF_ERROR(s.verify.AddDamage(Place("p2", 8192, "c1")));
    return s.verify.AddDamage(Place("p2", 0, "c2"));
  });
  const auto open = [&] { return *catalog_->Read([&](const Stores& s) { return s.verify.OpenDamage(main_); }); };
  EXPECT_EQ(open().size(), 3u);
  Damage again = Place("p1", 0, "c1");
  again.found_time = At(500);
  Write([&](Stores& s) { return s.verify.AddDamage(again); });
  EXPECT_EQ(open()[0].found_time, At(100)) << "found once";
  Write([&](Stores& s) { return s.verify.Heal(main_, "c1", At(600)); });
  ASSERT_EQ(open().size(), 1u);
  EXPECT_EQ(open()[0].chunk_id, "c2");
  const auto of_p2 =
      *catalog_->Read([&](const Stores& s) { return s.verify.DamageOf(RecoveryPointId("p2")); });
  ASSERT_EQ(of_p2.size(), 2u);
  EXPECT_FALSE(of_p2[0].healed_time.has_value());
  EXPECT_EQ(of_p2[1].healed_time, At(600));
  again.found_time = At(700);
  Write([&](Stores& s) { return s.verify.AddDamage(again); });
  EXPECT_EQ(open().size(), 2u);
  EXPECT_EQ(open()[0].found_time, At(700));
}

TEST_F(VerifyStoreTest, ForgetsWhatWasHealedLongAgoAndWhatBelongsToNoPoint) {
  InsertPoint("p1", 10, 1, 1);
  Write([&](Stores& s) -> absl::Status {
    RETURN_IF_ERROR(s.verify.AddDamage(Place("p1", 0, "c1")));
    RETURN_IF_ERROR(s.verify.AddDamage(Place("p1", 4096, "c2")));
    RETURN_IF_ERROR(s.verify.AddDamage(Place("gone", 0, "c3")));
    RETURN_IF_ERROR(s.verify.SetPointCheck({main_, RecoveryPointId("gone"), At(1), true}));
    RETURN_IF_ERROR(s.verify.SetPointCheck({main_, RecoveryPointId("p1"), At(1), true}));
    return s.verify.Heal(main_, "c1", At(200));
  });
  Write([&](Stores& s) { return s.verify.Prune(At(201)); });
  const auto left = *catalog_->Read([&](const Stores& s) { return s.verify.DamageOf(RecoveryPointId("p1")); });
  ASSERT_EQ(left.size(), 1u);
  EXPECT_EQ(left[0].chunk_id, "c2");
  EXPECT_TRUE(catalog_->Read([&](const Stores& s) { return s.verify.DamageOf(RecoveryPointId("gone")); })->empty());
  const auto times = *catalog_->Read([&](const Stores& s) { return s.verify.PointCheckTimes(main_); });
  EXPECT_EQ(times.size(), 1u);
  EXPECT_EQ(times.at("p1"), At(1));
}

TEST_F(VerifyStoreTest, ADiskThatIsWrongAsAWholeIsHealedByASoundCheck) {
  Write([&](Stores& s) { return s.verify.AddDamage(Place("p1", 0, "")); });
  Write([&](Stores& s) { return s.verify.HealDisks(RecoveryPointId("p1"), At(300)); });
  EXPECT_TRUE(catalog_->Read([&](const Stores& s) { return s.verify.OpenDamage(main_); })->empty());
}

TEST_F(VerifyStoreTest, FiguresOfAVirtualMachineAddUp) {
  InsertPoint("p1", 10, 15, 7);
  InsertPoint("p2", 20, 4, 2);
  const auto figures = *catalog_->Read([&](const Stores& s) { return s.figures.OfVm({HostId("h"), "vm"}); });
  EXPECT_EQ(figures, (BackupFigures{2, 2 * 10 + 1 + 2 * 20 + 1, 19, 9}));
  EXPECT_EQ(*catalog_->Read([&](const Stores& s) { return s.figures.OfVm({HostId("h"), "other"}); }), BackupFigures());
}

TEST_F(VerifyStoreTest, ADayHasItsLastFiguresAndTheNewestDaysAreListedOldestFirst) {
  for (int64_t day = 1; day <= 5; ++day) {
    Write([&](Stores& s) { return s.figures.SetDay({main_, day, {1, 2, 3, day}}); });
  }
  Write([&](Stores& s) { return s.figures.SetDay({main_, 5, {9, 9, 9, 50}}); });
  const auto days = *catalog_->Read([&](const Stores& s) { return s.figures.Days(main_, 3); });
  ASSERT_EQ(days.size(), 3u);
  EXPECT_EQ(days[0].day, 3);
  EXPECT_EQ(days[2].figures, (BackupFigures{9, 9, 9, 50}));
}

}  // namespace
}  // namespace umbra::catalog
