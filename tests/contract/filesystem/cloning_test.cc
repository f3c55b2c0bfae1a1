// Proves that a clone has the content of its original, takes no space, is its own from then on, and that nothing is
// made where that can't be had: on the real file system (what /tmp is, and XFS), and on those of the tests.
#include "storage/base/cloning.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "storage/base/status.h"
#include "tests/contract/filesystem/places.h"
#include "tests/support/xfs_mount.h"

namespace umbra::base {
namespace {

struct Xfs final : Place {
  testing::XfsMount mount;
  PosixFilesystem posix;
  Filesystem& fs() override { return posix; }
  std::string folder() const override { return mount.folder(); }
  std::string missing() const override { return mount.missing(); }
};

class CloningContract : public PlaceTest {
 protected:
  void SetUp() override {
    if (!place_->missing().empty()) GTEST_SKIP() << place_->missing();
    cloning_ = CloningOf(fs_);
    ASSERT_NE(cloning_, nullptr);
  }

  // Durable, so that what it takes on the disk can be told.
  void Write(const std::string& name, std::string_view content) {
    PlaceTest::Write(name, content);
    auto file = fs_.Open(In(name), OpenMode::kReadWrite);
    ASSERT_TRUE(file.ok()) << file.status();
    ASSERT_TRUE((*file)->Sync().ok());
  }

  Cloning* cloning_ = nullptr;
};

INSTANTIATE_TEST_SUITE_P(All, CloningContract,
                         ::testing::Values(Implementation{"Temporary", [] { return std::make_unique<Temporary>(); }},
                                           Implementation{"Xfs", [] { return std::make_unique<Xfs>(); }},
                                           Implementation{"Memory", [] { return std::make_unique<Memory>(); }},
                                           Implementation{"Faults", [] { return std::make_unique<Faults>(); }}),
                         [](const auto& info) { return std::string(info.param.name); });

TEST_P(CloningContract, AClonesContentIsItsOwn) {
  const std::string content(100'000, 'o');
  Write("a", content);
  const auto cloned = cloning_->Clone(In("a"), In("b"));
  ASSERT_TRUE(cloned.ok()) << cloned.status();
  if (place_->shares()) {
    EXPECT_TRUE(*cloned);
  }
  ASSERT_EQ(*fs_.Exists(In("b")), *cloned) << "nothing is made where it can't be had";
  if (!*cloned) return;
  EXPECT_TRUE(Read("b") == content);
  auto original = *fs_.Open(In("a"), OpenMode::kReadWrite);
  auto clone = *fs_.Open(In("b"), OpenMode::kReadWrite);
  ASSERT_TRUE(clone->WriteAt(10, AsBytes("clone")).ok());
  ASSERT_TRUE(original->WriteAt(50'000, AsBytes("original")).ok());
  ASSERT_TRUE(cloning_->MakeHole(In("b"), 70'000, 9000).ok());
  ASSERT_TRUE(clone->Sync().ok());
  EXPECT_TRUE(Read("a") == std::string(content).replace(50'000, 8, "original"));
  EXPECT_TRUE(Read("b") == std::string(content).replace(10, 5, "clone").replace(70'000, 9000, 9000, '\0'));
}

TEST_P(CloningContract, NothingIsMadeOfNothingOverSomethingOrOfAFolder) {
  Write("a", "content");
  Write("there", "x");
  ASSERT_TRUE(fs_.MakeDirectories(In("folder")).ok());
  EXPECT_EQ(ReasonOf(cloning_->Clone(In("a"), In("there")).status()), "FILE_EXISTS");
  EXPECT_EQ(Read("there"), "x");
  EXPECT_EQ(ReasonOf(cloning_->Clone(In("none"), In("c")).status()), "FILE_NOT_FOUND");
  EXPECT_FALSE(cloning_->Clone(In("folder"), In("c")).value_or(false));
  EXPECT_FALSE(*fs_.Exists(In("c")));
}

TEST_P(CloningContract, AHoleKeepsTheSizeAndWhatLiesBeside) {
  std::string content(300'000, 'x');
  Write("a", content);
  struct {
    uint64_t offset, length;
  } const holes[] = {{5, 0}, {100, 7}, {4000, 200'000}, {299'999, 1}};
  for (const auto& hole : holes) {
    ASSERT_TRUE(cloning_->MakeHole(In("a"), hole.offset, hole.length).ok());
    content.replace(hole.offset, hole.length, hole.length, '\0');
  }
  EXPECT_TRUE(Read("a") == content);
  EXPECT_EQ(ReasonOf(cloning_->MakeHole(In("none"), 0, 1)), "FILE_NOT_FOUND");
}

TEST(XfsTest, ACloneTakesNoSpace) {
  Xfs xfs;
  if (!xfs.missing().empty()) GTEST_SKIP() << xfs.missing();
  constexpr uint64_t kBytes = 32 * kMiB;
  const std::string from = xfs.folder() + "/a", to = xfs.folder() + "/b";
  {
    auto file = *xfs.fs().Open(from, OpenMode::kCreate);
    const std::string content(kBytes, 'x');
    ASSERT_TRUE(file->WriteAt(0, AsBytes(content)).ok());
    ASSERT_TRUE(file->Sync().ok());
  }
  const uint64_t before = *xfs.fs().FreeSpace(xfs.folder());
  ASSERT_TRUE(*CloningOf(xfs.fs())->Clone(from, to));
  ASSERT_TRUE((*xfs.fs().Open(to, OpenMode::kReadWrite))->Sync().ok());
  EXPECT_LT(before - std::min(before, *xfs.fs().FreeSpace(xfs.folder())), kBytes / 8);
}

}  // namespace
}  // namespace umbra::base
