// Proves, for random histories of several machines: every point reads back as the disks were, also after the index was
// deleted, after removals and after reopening. The seed is printed with every failure.
#include <gtest/gtest.h>

#include <random>

#include "tests/unit/storage/repo/model.h"

namespace umbra::repo {
namespace {

class History : public ::testing::TestWithParam<uint32_t> {
 protected:
  uint32_t Below(uint32_t limit) { return static_cast<uint32_t>(engine_() % limit); }

  // Few different contents, so that chunks repeat within and between disks; a third of a disk is zero.
  uint32_t Seed() { return Below(3) == 0 ? 0 : 1 + Below(60); }

  ModelDisk RandomDisk() {
    // Now and then more than one map page, mostly empty.
    std::vector<uint32_t> seeds(Below(5) == 0 ? 1000 + Below(1200) : 1 + Below(12), 0);
    for (uint32_t i = 0; i < 10; ++i) seeds[Below(static_cast<uint32_t>(seeds.size()))] = Seed();
    return ModelDisk::OfChunks(std::move(seeds), Below(2) == 0 ? 0 : Below(kTestChunkSize));
  }

  void Mutate(ModelVm& vm) {
    if (vm.empty() || (vm.size() < 3 && Below(4) == 0)) vm["vd" + std::to_string(Below(5))] = RandomDisk();
    if (vm.size() > 1 && Below(6) == 0) vm.erase(vm.begin());
    for (auto& [name, disk] : vm) {
      if (Below(8) == 0) disk = RandomDisk();
      for (uint32_t i = Below(4); i > 0; --i) disk.seeds[Below(static_cast<uint32_t>(disk.seeds.size()))] = Seed();
    }
  }

  void Open() {
    repository_.reset();
    RepositoryOptions options = SmallOptions();
    options.unindexed_chunks_max = 1 + Below(20);
    auto opened = Repository::OpenOrCreate(fs_, clock_, random_, "/repository", options);
    ASSERT_TRUE(opened.ok()) << opened.status();
    repository_ = *std::move(opened);
  }

  void DeleteIndex() {
    repository_.reset();
    for (const std::string& run : fs_.AllFiles("/repository/index")) ASSERT_TRUE(fs_.Remove(run).ok());
    Open();
  }

  void RemoveOne() {
    if (points_.empty()) return;
    auto victim = std::next(points_.begin(), Below(static_cast<uint32_t>(points_.size())));
    ASSERT_TRUE(repository_->RemoveRecoveryPoint(victim->first, {}).ok());
    points_.erase(victim);
  }

  void BackupOne() {
    const std::string uuid = "vm" + std::to_string(Below(3));
    Mutate(vms_[uuid]);
    const auto point = Backup(*repository_, uuid, vms_[uuid]);
    ASSERT_TRUE(point.ok()) << point.status();
    points_[point->recovery_point_id()] = vms_[uuid];
  }

  void ExpectAllWhole() {
    const auto list = repository_->ListRecoveryPoints();
    ASSERT_TRUE(list.ok());
    EXPECT_TRUE(list->problems.empty());
    EXPECT_EQ(list->points.size(), points_.size());
    for (const auto& [id, vm] : points_) EXPECT_EQ(CompareVm(*repository_, id, vm), absl::OkStatus()) << id;
    const auto report = repository_->Verify({}, {}, {});
    ASSERT_TRUE(report.ok()) << report.status();
    EXPECT_TRUE(report->ok());
  }

  std::mt19937 engine_{GetParam()};
  testing::MemoryFilesystem fs_;
  base::SystemClock clock_;
  base::SeededRandom random_{GetParam()};
  std::unique_ptr<Repository> repository_;
  std::map<std::string, ModelVm> vms_;
  std::map<std::string, ModelVm> points_;
};

INSTANTIATE_TEST_SUITE_P(Seeds, History, ::testing::Range(1u, 9u));

TEST_P(History, EveryPointReadsBack) {
  Open();
  for (int step = 0; step < 25 && !HasFatalFailure(); ++step) {
    const uint32_t what = Below(10);
    if (what == 0) Open();
    if (what == 1) DeleteIndex();
    if (what == 2) RemoveOne();
    if (what > 2) BackupOne();
  }
  ExpectAllWhole();
  DeleteIndex();
  ExpectAllWhole();
}

}  // namespace
}  // namespace umbra::repo
