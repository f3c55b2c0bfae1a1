// Proves that a folder's copy has what was selected, as it was, keeps within its limits, and is never led astray by
// links.
#include "storage/base/folder_copy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <set>

#include "storage/base/status.h"
#include "tests/support/stepping_clock.h"
#include "tests/support/temp_dir.h"

namespace umbra::base {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class FolderCopyTest : public ::testing::Test {
 protected:
  FolderCopyTest() : from_(dir_.File("from")), to_(dir_.File("to")) { fs::create_directories(from_); }

  void Write(const std::string& name, const std::string& text) {
    fs::create_directories(fs::path(from_ + "/" + name).parent_path());
    std::ofstream(from_ + "/" + name) << text;
  }
  std::string Read(const std::string& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  // Everything below `to_`, folders with a '/'.
  std::set<std::string> Copied() {
    std::set<std::string> names;
    for (const auto& entry : fs::recursive_directory_iterator(to_)) {
      const std::string name = entry.path().string().substr(to_.size() + 1);
      names.insert(entry.is_directory() && !entry.is_symlink() ? name + "/" : name);
    }
    return names;
  }

  testing::TempDir dir_;
  const std::string from_, to_;
  SystemClock clock_;
  SystemFolderCopier copier_{clock_};
};

TEST_F(FolderCopyTest, KeepsHardLinksAttributesAndTheTimesOfLinks) {
  Write("one", "1");
  fs::create_directories(from_ + "/sub");
  fs::create_hard_link(from_ + "/one", from_ + "/sub/again");
  fs::create_symlink("one", from_ + "/link");
  const struct timespec times[2] = {{1, 0}, {1'500'000'000, 7}};
  ASSERT_EQ(utimensat(AT_FDCWD, (from_ + "/link").c_str(), times, AT_SYMLINK_NOFOLLOW), 0);
  const bool attributes = setxattr((from_ + "/one").c_str(), "user.note", "n", 1, 0) == 0 &&
                          setxattr((from_ + "/sub").c_str(), "user.note", "f", 1, 0) == 0;
  const auto report = copier_.Copy({from_}, to_, {});
  ASSERT_TRUE(report.ok()) << Describe(report.status());
  EXPECT_EQ(report->entries_changed, 0u);
  EXPECT_TRUE(fs::equivalent(to_ + "/one", to_ + "/sub/again"));
  struct stat info {};
  ASSERT_EQ(lstat((to_ + "/link").c_str(), &info), 0);
  EXPECT_EQ(info.st_mtim.tv_sec, 1'500'000'000);
  EXPECT_EQ(info.st_mtim.tv_nsec, 7);
  if (!attributes) return;
  char value[4];
  EXPECT_EQ(getxattr((to_ + "/one").c_str(), "user.note", value, sizeof value), 1);
  EXPECT_EQ(getxattr((to_ + "/sub").c_str(), "user.note", value, sizeof value), 1);
  EXPECT_EQ(value[0], 'f');
}

TEST_F(FolderCopyTest, KeepsContentModesTimesLinksAndHoles) {
  Write("a/one", "1");
  Write("two", std::string(100000, 'x'));
  fs::permissions(from_ + "/two", fs::perms(0640));
  fs::permissions(from_ + "/a", fs::perms(0711));
  fs::create_symlink("/etc", from_ + "/link");
  ASSERT_EQ(mkfifo((from_ + "/pipe").c_str(), 0600), 0);  // left out
  Write("sparse", "");
  fs::resize_file(from_ + "/sparse", 64 * kMiB);
  const auto time = fs::last_write_time(from_ + "/two");
  const auto report = copier_.Copy({from_}, to_, {.bytes_max = kMiB});
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_THAT(Copied(), ElementsAre("a/", "a/one", "link", "sparse", "two"));
  EXPECT_EQ(report->entry_count, 6u);  // with the folder itself
  EXPECT_EQ(Read(to_ + "/a/one"), "1");
  EXPECT_EQ(Read(to_ + "/two"), std::string(100000, 'x'));
  EXPECT_EQ(fs::status(to_ + "/two").permissions(), fs::perms(0640));
  EXPECT_EQ(fs::status(to_ + "/a").permissions(), fs::perms(0711));
  EXPECT_EQ(fs::last_write_time(to_ + "/two"), time);
  EXPECT_EQ(fs::read_symlink(to_ + "/link"), "/etc");
  EXPECT_EQ(fs::file_size(to_ + "/sparse"), 64 * kMiB);
  struct stat info {};
  ASSERT_EQ(stat((to_ + "/sparse").c_str(), &info), 0);
  EXPECT_LT(info.st_blocks * 512, static_cast<int64_t>(kMiB));
}

TEST_F(FolderCopyTest, TakesWhatIsSelected) {
  Write("a.db", "a");
  Write("a.log", "a");
  Write(".hidden.db", "a");
  Write("sub/b.db", "a");
  Write("sub/skip/c.db", "a");
  Write("tmp/d.db", "a");
  ASSERT_TRUE(copier_.Copy({from_, "*.db", true, {"tmp", "sub/skip"}}, to_, {}).ok());
  EXPECT_THAT(Copied(), ElementsAre(".hidden.db", "a.db", "sub/", "sub/b.db"));
  ASSERT_TRUE(copier_.RemoveTree(to_).ok());
  ASSERT_TRUE(copier_.Copy({from_, "*", false, {"*.log"}}, to_, {}).ok());
  EXPECT_THAT(Copied(), ElementsAre(".hidden.db", "a.db"));
  ASSERT_TRUE(copier_.RemoveTree(to_).ok());
  EXPECT_TRUE(copier_.RemoveTree(to_).ok());  // it is gone
}

TEST_F(FolderCopyTest, StopsAtItsLimits) {
  Write("a", std::string(300000, 'x'));
  Write("b", std::string(300000, 'x'));
  const auto size = copier_.Measure({from_}, to_, {});
  ASSERT_TRUE(size.ok()) << size.status();
  EXPECT_EQ(size->entry_count, 3u);
  EXPECT_GE(size->bytes, 600000u);
  EXPECT_TRUE(fs::is_empty(to_));  // the probe is gone
  const auto reason = [&](const FolderCopyLimits& limits, FolderCopier& copier) {
    copier.RemoveTree(to_).IgnoreError();
    return ReasonOf(copier.Copy({from_}, to_, limits).status());
  };
  if (!size->can_share) {
    EXPECT_EQ(reason({.bytes_max = 500000}, copier_), "FILE_SET_TOO_LARGE");
  }
  EXPECT_EQ(reason({.entries_max = 2}, copier_), "FILE_SET_TOO_LARGE");
  EXPECT_EQ(reason({.time_max = absl::Nanoseconds(1)}, copier_), "FILE_SET_TOO_LARGE");
  EXPECT_EQ(reason({}, copier_), "");
  EXPECT_EQ(ReasonOf(copier_.Measure({from_}, to_, {.entries_max = 2}).status()), "FILE_SET_TOO_LARGE");
}

TEST_F(FolderCopyTest, AFolderThatIsALinkOrMissingIsAnError) {
  fs::create_directory_symlink("/etc", dir_.File("link"));
  EXPECT_FALSE(copier_.Copy({dir_.File("link")}, to_, {}).ok());
  EXPECT_EQ(ReasonOf(copier_.Copy({dir_.File("none")}, to_, {}).status()), "FILE_NOT_FOUND");
}

}  // namespace
}  // namespace umbra::base
