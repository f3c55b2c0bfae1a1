// Proves that a folder's entries are all read in order with what is kept of them, and that writing a tree never leaves its
// folder, whatever paths and links say.
#include "storage/base/folder_tree.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "storage/base/status.h"
#include "storage/base/utf8.h"
#include "tests/support/temp_dir.h"

namespace umbra::base {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::HasSubstr;

class FolderTreeTest : public ::testing::Test {
 protected:
  FolderTreeTest() : folder_(dir_.File("tree")), outside_(dir_.File("outside")) { fs::create_directories(outside_); }

  static void Write(const std::string& path, const std::string& text) {
    fs::create_directories(fs::path(path).parent_path());
    std::ofstream(path) << text;
  }
  static std::string Read(const std::string& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  std::unique_ptr<FolderTreeWriter> Writer() {
    auto writer = FolderTreeWriter::Create(folder_);
    EXPECT_TRUE(writer.ok()) << Describe(writer.status());
    return *std::move(writer);
  }

  testing::TempDir dir_;
  const std::string folder_, outside_;
};

TEST(TreePath, OnlyPlainPartsArePaths) {
  for (const char* good : {"a", "a/b", "..a/b..", "a b/\n", "\xff\xfe/x"}) EXPECT_TRUE(IsTreePath(good)) << good;
  for (const char* bad : {"", "/", "/a", "a/", "a//b", ".", "..", "a/..", "../a", "a/./b", "a/../b"}) {
    EXPECT_FALSE(IsTreePath(bad)) << bad;
  }
  EXPECT_FALSE(IsTreePath(std::string_view("a\0b", 3)));
  EXPECT_FALSE(IsTreePath(std::string(256, 'a')));
  EXPECT_TRUE(IsTreePath(std::string(255, 'a')));
  std::string deep = "a";
  while (deep.size() <= 4095) deep += "/a";
  EXPECT_FALSE(IsTreePath(deep));
}

TEST(Utf8, OnlyValidSequencesStay) {
  for (const char* good : {"", "plain", "\u00e4\u20ac\U0001f600"}) EXPECT_EQ(ValidUtf8(good), good);
  EXPECT_EQ(ValidUtf8("a\xff\xfe z"), "a?? z");
  EXPECT_EQ(ValidUtf8("\xc3"), "?") << "cut off";
  EXPECT_EQ(ValidUtf8("\xc0\xaf"), "??") << "overlong";
  EXPECT_EQ(ValidUtf8("\xe0\x80\xaf"), "???");
  EXPECT_EQ(ValidUtf8("\xed\xa0\x80"), "???") << "a surrogate";
  EXPECT_EQ(ValidUtf8("\xf4\x90\x80\x80"), "????") << "beyond Unicode";
}

TEST(TreePath, AFolderComesRightBeforeWhatIsInIt) {
  const std::vector<std::string> in_order = {"a", "a/b", "a/b/c", "a/c", "a-b", "a-b/x", "a.txt", "ab", "b", "\xc3\xa4"};
  std::vector<std::string> sorted = in_order;
  std::reverse(sorted.begin(), sorted.end());
  std::sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) { return TreePathLess(a, b); });
  EXPECT_THAT(sorted, ElementsAreArray(in_order));
  for (const std::string& path : in_order) EXPECT_FALSE(TreePathLess(path, path));
  EXPECT_TRUE(IsAtOrBelow("a/b", "a"));
  EXPECT_TRUE(IsAtOrBelow("a", "a"));
  EXPECT_TRUE(IsAtOrBelow("a", ""));
  EXPECT_FALSE(IsAtOrBelow("ab", "a"));
  EXPECT_FALSE(IsAtOrBelow("a", "a/b"));
}

TEST_F(FolderTreeTest, ScansEverythingInOrderWithWhatIsKept) {
  Write(folder_ + "/b/file", "content");
  Write(folder_ + "/a", "x");
  Write(folder_ + "/b-c", "");
  fs::permissions(folder_ + "/a", fs::perms(0640));
  fs::create_symlink("/nowhere", folder_ + "/link");
  fs::create_hard_link(folder_ + "/a", folder_ + "/b/again");
  ASSERT_EQ(mkfifo((folder_ + "/pipe").c_str(), 0600), 0);
  const bool attributes = setxattr((folder_ + "/a").c_str(), "user.note", "hello", 5, 0) == 0;

  const auto entries = ScanFolder(folder_, 100);
  ASSERT_TRUE(entries.ok()) << Describe(entries.status());
  std::vector<std::string> paths;
  for (const TreeEntry& entry : *entries) paths.push_back(entry.path);
  EXPECT_THAT(paths, ElementsAre("", "a", "b", "b/again", "b/file", "b-c", "link"));
  EXPECT_EQ((*entries)[0].type, TreeEntryType::kFolder);
  EXPECT_EQ((*entries)[1].metadata.mode, 0640u);
  EXPECT_EQ((*entries)[1].size_bytes, 1u);
  if (attributes) {
    EXPECT_THAT((*entries)[1].metadata.attributes, ElementsAre(TreeAttribute{"user.note", "hello"}));
  }
  EXPECT_EQ((*entries)[3].type, TreeEntryType::kHardLink);
  EXPECT_EQ((*entries)[3].link_target, "a");
  EXPECT_EQ((*entries)[6].type, TreeEntryType::kSymlink);
  EXPECT_EQ((*entries)[6].link_target, "/nowhere");
  EXPECT_EQ(ReasonOf(ScanFolder(folder_, 3).status()), "FILE_SET_TOO_LARGE");
}

TEST_F(FolderTreeTest, ScanFindsHolesAndFollowsNoLink) {
  Write(folder_ + "/sparse", "head");
  fs::resize_file(folder_ + "/sparse", 10 << 20);
  Write(outside_ + "/secret", "s");
  fs::create_directory_symlink(outside_, folder_ + "/way-out");
  const auto entries = ScanFolder(folder_, 100);
  ASSERT_TRUE(entries.ok());
  ASSERT_EQ(entries->size(), 3u);
  EXPECT_EQ((*entries)[1].size_bytes, 10u << 20);
  uint64_t data = 0;
  for (const TreeData& range : (*entries)[1].data) data += range.length_bytes;
  EXPECT_LT(data, 1u << 20);
  fs::create_directory_symlink(folder_, dir_.File("alias"));
  EXPECT_FALSE(ScanFolder(dir_.File("alias"), 100).ok());
}

TEST_F(FolderTreeTest, WritesWhatItIsTold) {
  auto writer = Writer();
  ASSERT_TRUE(writer->MakeFolder("a").ok());
  ASSERT_TRUE(writer->MakeFile("a/file", 10).ok());
  ASSERT_TRUE(writer->WriteAt("a/file", 4, AsBytes(std::string_view("mid"))).ok());
  ASSERT_TRUE(writer->MakeSymlink("a/link", "../anywhere").ok());
  ASSERT_TRUE(writer->MakeHardLink("again", "a/file").ok());
  TreeMetadata metadata{.mode = 04751, .uid = getuid(), .gid = getgid(), .modify_time_ns = -1'500'000'000};
  EXPECT_THAT(writer->SetMetadata("a/file", TreeEntryType::kFile, metadata), ::testing::Truly([](const auto& s) { return s.ok() && *s; }));
  metadata.mode = 0500;
  metadata.modify_time_ns = 1'700'000'000'123'456'789;
  EXPECT_TRUE(writer->SetMetadata("a/link", TreeEntryType::kSymlink, metadata).ok());
  EXPECT_TRUE(writer->SetMetadata("a", TreeEntryType::kFolder, metadata).ok());
  EXPECT_TRUE(writer->SetMetadata("", TreeEntryType::kFolder, metadata).ok());
  EXPECT_TRUE(writer->Sync().ok());

  EXPECT_EQ(Read(folder_ + "/a/file"), std::string("\0\0\0\0mid\0\0\0", 10));
  EXPECT_EQ(Read(folder_ + "/again"), Read(folder_ + "/a/file"));
  struct stat info {};
  ASSERT_EQ(stat((folder_ + "/a/file").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 04751u);
  EXPECT_EQ(info.st_nlink, 2u);
  EXPECT_EQ(info.st_mtim.tv_sec, -2);
  EXPECT_EQ(info.st_mtim.tv_nsec, 500'000'000);
  ASSERT_EQ(lstat((folder_ + "/a/link").c_str(), &info), 0);
  EXPECT_EQ(info.st_mtim.tv_nsec, 123'456'789);
  ASSERT_EQ(stat(folder_.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0500u);
  EXPECT_EQ(info.st_mtim.tv_sec, 1'700'000'000);
}

TEST_F(FolderTreeTest, NoPathLeadsOutside) {
  auto writer = Writer();
  Write(outside_ + "/victim", "untouched");
  for (const std::string& path : {std::string("../outside/x"), outside_ + "/x", std::string("a/../../outside/x"), std::string("."), std::string()}) {
    EXPECT_EQ(ReasonOf(writer->MakeFolder(path)), "INVALID_REQUEST") << path;
    EXPECT_EQ(ReasonOf(writer->MakeFile(path, 0)), "INVALID_REQUEST") << path;
    EXPECT_EQ(ReasonOf(writer->MakeSymlink(path, "t")), "INVALID_REQUEST") << path;
    EXPECT_EQ(ReasonOf(writer->MakeHardLink(path, "t")), "INVALID_REQUEST") << path;
    EXPECT_EQ(ReasonOf(writer->WriteAt(path, 0, {})), "INVALID_REQUEST") << path;
  }
  // A link that somebody made inside leads nowhere either.
  fs::create_directory_symlink(outside_, folder_ + "/door");
  fs::create_symlink(outside_ + "/victim", folder_ + "/leaf");
  EXPECT_FALSE(writer->MakeFolder("door/x").ok());
  EXPECT_FALSE(writer->MakeFile("door/x", 1).ok());
  EXPECT_FALSE(writer->MakeSymlink("door/x", "t").ok());
  EXPECT_FALSE(writer->WriteAt("door/victim", 0, AsBytes(std::string_view("!"))).ok());
  EXPECT_FALSE(writer->WriteAt("leaf", 0, AsBytes(std::string_view("!"))).ok());
  EXPECT_FALSE(writer->MakeFile("leaf", 1).ok());
  EXPECT_FALSE(writer->MakeHardLink("mine", "leaf").ok());
  EXPECT_FALSE(writer->MakeHardLink("mine", "door/victim").ok());
  EXPECT_FALSE(writer->SetMetadata("leaf", TreeEntryType::kFile, {.mode = 0777}).ok());
  EXPECT_FALSE(writer->SetMetadata("door/victim", TreeEntryType::kFile, {.mode = 0777}).ok());
  EXPECT_FALSE(writer->OpenFolder("door", 0777).ok());
  EXPECT_EQ(Read(outside_ + "/victim"), "untouched");
  EXPECT_EQ(std::distance(fs::directory_iterator(outside_), {}), 1);
}

TEST_F(FolderTreeTest, AFolderThatIsThereIsRefused) {
  fs::create_directories(folder_);
  EXPECT_EQ(ReasonOf(FolderTreeWriter::Create(folder_).status()), "FILE_EXISTS");
}

TEST_F(FolderTreeTest, TakesANameOnlyWhenItIsFreeOrGiven) {
  Write(folder_ + "/new", "n");
  Write(dir_.File("taken") + "/old", "o");
  EXPECT_EQ(ReasonOf(TakeFolderName(folder_, dir_.File("taken"), false).status()), "TARGET_EXISTS");
  EXPECT_TRUE(fs::exists(dir_.File("taken") + "/old"));
  const auto replaced = TakeFolderName(folder_, dir_.File("taken"), true);
  ASSERT_TRUE(replaced.ok()) << Describe(replaced.status());
  EXPECT_TRUE(*replaced);
  EXPECT_TRUE(fs::exists(dir_.File("taken") + "/new"));
  EXPECT_TRUE(fs::exists(folder_ + "/old"));
  const auto free = TakeFolderName(folder_, dir_.File("free"), true);
  ASSERT_TRUE(free.ok()) << Describe(free.status());
  EXPECT_FALSE(*free);
  EXPECT_FALSE(fs::exists(folder_));
}

TEST_F(FolderTreeTest, AFullFileSystemIsSaid) {
  const std::string small = dir_.File("small");
  fs::create_directories(small);
  if (mount("umbra-test", small.c_str(), "tmpfs", 0, "size=256k") != 0) GTEST_SKIP() << "a small file system needs root";
  {
    auto writer = FolderTreeWriter::Create(small + "/tree");
    ASSERT_TRUE(writer.ok());
    ASSERT_TRUE((*writer)->MakeFile("file", 1 << 20).ok());
    const std::string data(1 << 20, 'x');
    EXPECT_EQ(ReasonOf((*writer)->WriteAt("file", 0, AsBytes(data))), "STORAGE_FULL");
  }
  EXPECT_EQ(umount(small.c_str()), 0);
}

}  // namespace
}  // namespace umbra::base
