// Proves that a folder tree goes into one stream and comes back the same, whole or a part of it, and that its extents tell
// the truth.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <random>

#include "agent/files/tree_source.h"
#include "agent/files/tree_target.h"
#include "storage/base/status.h"
#include "tests/support/temp_dir.h"

namespace umbra::files {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;

constexpr uint64_t kChunk = 64 * base::kKiB;

class TreeTest : public ::testing::Test {
 protected:
  TreeTest() : copy_(dir_.File("copy")), target_(dir_.File("target")) { fs::create_directories(copy_); }

  void Write(const std::string& name, const std::string& text) {
    fs::create_directories(fs::path(copy_ + "/" + name).parent_path());
    std::ofstream(copy_ + "/" + name) << text;
  }
  static std::string Read(const std::string& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  std::unique_ptr<FileTreeSource> Open() {
    auto source = FileTreeSource::Open(files_, {{"/srv/shop", copy_}}, kChunk);
    EXPECT_TRUE(source.ok()) << base::Describe(source.status());
    return *std::move(source);
  }

  // The whole stream, by extents and in pieces as a backup reads it: what no extent names stays zero.
  static std::string Stream(FileTreeSource& source) {
    std::string stream(source.capacity_bytes(), '\0');
    const auto extents = source.Extents();
    EXPECT_TRUE(extents.ok());
    uint64_t at = 0;
    for (const auto& extent : *extents) {
      EXPECT_EQ(extent.offset_bytes, at) << "extents cover everything, in order";
      at += extent.length_bytes;
    }
    EXPECT_EQ(at, source.capacity_bytes());
    EXPECT_TRUE(source.ReadExtents(*extents, kChunk, [&](uint64_t offset, base::Bytes data) {
      EXPECT_EQ(offset / kChunk, (offset + data.size() - 1) / kChunk);
      stream.replace(offset, data.size(), base::AsText(data));
      return absl::OkStatus();
    }).ok());
    return stream;
  }

  absl::StatusOr<Selection> Chosen(const std::string& stream, const std::string& path) {
    ASSIGN_OR_RETURN(header_, filetree::ParseHeader(base::AsBytes(stream), stream.size()));
    ASSIGN_OR_RETURN(auto entries, filetree::ReadList(base::AsBytes(std::string_view(stream).substr(0, header_.list_bytes)), header_));
    return Select(std::move(entries), header_, path);
  }

  // Writes what is chosen into target_, in pieces of whole chunks in random order, as a restore does.
  absl::Status Restore(const std::string& stream, const std::string& path) {
    ASSIGN_OR_RETURN(Selection selection, Chosen(stream, path));
    const std::vector<Stretch> contents = selection.contents;
    ASSIGN_OR_RETURN(const auto target, FileTreeTarget::Create(target_, std::move(selection), header_));
    std::vector<uint64_t> chunks;
    for (const Stretch& stretch : contents) {
      for (uint64_t at = stretch.begin / kChunk * kChunk; at < stretch.end; at += kChunk) chunks.push_back(at);
    }
    std::shuffle(chunks.begin(), chunks.end(), std::minstd_rand(7));
    for (const uint64_t at : chunks) {
      const std::string_view piece = std::string_view(stream).substr(at, kChunk);
      if (base::IsZero(base::AsBytes(piece))) continue;  // never sent
      RETURN_IF_ERROR(target->WriteAt(at, base::AsBytes(piece)));
    }
    RETURN_IF_ERROR(target->Finish());
    changed_ = target->changed_count();
    return absl::OkStatus();
  }

  testing::TempDir dir_;
  const std::string copy_, target_;
  base::PosixFilesystem files_;
  filetree::Header header_;
  uint64_t changed_ = 0;
};

TEST_F(TreeTest, ComesBackTheSame) {
  std::string random(300000, '\0');
  std::minstd_rand generator(1);
  for (char& c : random) c = static_cast<char>(generator());
  Write("data/big", random);
  Write("data/small", "small");
  Write("empty", "");
  Write("sparse", "begin");
  fs::resize_file(copy_ + "/sparse", 1 << 20);
  std::ofstream(copy_ + "/sparse", std::ios::app) << "end";
  fs::create_hard_link(copy_ + "/data/big", copy_ + "/data/again");
  fs::create_symlink("../../../etc/shadow", copy_ + "/data/link");
  fs::permissions(copy_ + "/data/small", fs::perms(0604));
  fs::permissions(copy_ + "/data", fs::perms(0750));
  const bool attributes = setxattr((copy_ + "/data/small").c_str(), "user.note", "n", 1, 0) == 0;
  const auto time = fs::file_time_type::clock::now() - std::chrono::hours(1000);
  fs::last_write_time(copy_ + "/data", time);

  const auto source = Open();
  EXPECT_EQ(source->entry_count(), 8u);
  EXPECT_LT(source->data_bytes(), 500000u);
  const std::string stream = Stream(*source);
  const absl::Status restored = Restore(stream, "");
  ASSERT_TRUE(restored.ok()) << base::Describe(restored);
  EXPECT_EQ(changed_, 0u);
  const std::string to = target_ + "/srv/shop";
  EXPECT_EQ(Read(to + "/data/big"), random);
  EXPECT_EQ(Read(to + "/data/small"), "small");
  EXPECT_EQ(Read(to + "/empty"), "");
  EXPECT_EQ(Read(to + "/sparse"), Read(copy_ + "/sparse"));
  EXPECT_EQ(fs::read_symlink(to + "/data/link"), "../../../etc/shadow");
  EXPECT_TRUE(fs::equivalent(to + "/data/big", to + "/data/again"));
  EXPECT_EQ(fs::status(to + "/data/small").permissions(), fs::perms(0604));
  EXPECT_EQ(fs::status(to + "/data").permissions(), fs::perms(0750));
  EXPECT_EQ(fs::last_write_time(to + "/data"), fs::last_write_time(copy_ + "/data"));
  EXPECT_EQ(fs::status(target_ + "/srv").permissions(), fs::perms(0755));
  EXPECT_EQ(fs::status(target_).permissions(), fs::perms(0700));
  struct stat info {};
  ASSERT_EQ(stat((to + "/sparse").c_str(), &info), 0);
  EXPECT_LT(info.st_blocks * 512, 512 * 1024) << "holes stay holes";
  char note[8];
  if (attributes) {
    EXPECT_EQ(getxattr((to + "/data/small").c_str(), "user.note", note, sizeof note), 1);
  }
}

TEST_F(TreeTest, APartComesBackWithoutTheRest) {
  Write("a/x", "xx");
  Write("b/deep/y", std::string(100000, 'y'));
  Write("b/z", "z");
  Write("c", "c");
  const std::string stream = Stream(*Open());
  const auto selection = Chosen(stream, "srv/shop/b");
  ASSERT_TRUE(selection.ok());
  ASSERT_EQ(selection->contents.size(), 1u);
  EXPECT_LT(selection->contents[0].end - selection->contents[0].begin, 3 * kChunk);
  ASSERT_TRUE(Restore(stream, "srv/shop/b").ok());
  EXPECT_EQ(Read(target_ + "/deep/y"), std::string(100000, 'y'));
  EXPECT_EQ(Read(target_ + "/z"), "z");
  EXPECT_EQ(std::distance(fs::directory_iterator(target_), {}), 2);
}

TEST_F(TreeTest, AFileAloneComesBackByItsName) {
  Write("a/x", "xx");
  Write("a/y", "yy");
  ASSERT_TRUE(Restore(Stream(*Open()), "srv/shop/a/y").ok());
  EXPECT_EQ(Read(target_ + "/y"), "yy");
  EXPECT_EQ(std::distance(fs::directory_iterator(target_), {}), 1);
}

TEST_F(TreeTest, AFolderAboveTheFileSetIsAPathToo) {
  Write("x", "x");
  ASSERT_TRUE(Restore(Stream(*Open()), "srv").ok());
  EXPECT_EQ(Read(target_ + "/shop/x"), "x");
}

TEST_F(TreeTest, HardLinksWhoseFileStaysBehindBecomeTheFile) {
  Write("a/file", "content");
  fs::create_directories(copy_ + "/b");
  fs::create_hard_link(copy_ + "/a/file", copy_ + "/b/one");
  fs::create_hard_link(copy_ + "/a/file", copy_ + "/b/two");
  Write("b/x", "x");
  ASSERT_TRUE(Restore(Stream(*Open()), "srv/shop/b").ok());
  EXPECT_EQ(Read(target_ + "/one"), "content");
  EXPECT_TRUE(fs::equivalent(target_ + "/one", target_ + "/two"));
  EXPECT_EQ(Read(target_ + "/x"), "x");
}

TEST_F(TreeTest, WhatIsNotThereCanNotBeChosen) {
  Write("a", "a");
  const std::string stream = Stream(*Open());
  for (const char* path : {"srv/shop/b", "srv/sho", "srv/shop/a/x", "shop"}) {
    EXPECT_EQ(base::ReasonOf(Chosen(stream, path).status()), "PATH_NOT_FOUND") << path;
  }
}

TEST_F(TreeTest, FoldersThatOverlapAreRefused) {
  Write("in/x", "x");
  const auto source = FileTreeSource::Open(files_, {{"/srv/shop", copy_}, {"/srv/shop/in", copy_ + "/in"}}, kChunk);
  EXPECT_EQ(base::ReasonOf(source.status()), "INVALID_REQUEST");
}

TEST_F(TreeTest, SeveralFoldersAreOneTree) {
  Write("one/x", "1");
  Write("two/x", "2");
  auto source = FileTreeSource::Open(files_, {{"/var/two", copy_ + "/two"}, {"/srv/one", copy_ + "/one"}}, kChunk);
  ASSERT_TRUE(source.ok());
  ASSERT_TRUE(Restore(Stream(**source), "").ok());
  EXPECT_EQ(Read(target_ + "/srv/one/x") + Read(target_ + "/var/two/x"), "12");
}

TEST_F(TreeTest, AFullTargetIsSaid) {
  Write("x", std::string(1 << 20, 'x'));
  const std::string stream = Stream(*Open());
  fs::create_directories(dir_.File("small"));
  if (mount("umbra-test", dir_.File("small").c_str(), "tmpfs", 0, "size=256k") != 0) GTEST_SKIP() << "a small file system needs root";
  auto selection = Chosen(stream, "");
  auto target = FileTreeTarget::Create(dir_.File("small") + "/t", *std::move(selection), header_);
  ASSERT_TRUE(target.ok());
  EXPECT_EQ(base::ReasonOf((*target)->WriteAt(0, base::AsBytes(stream))), "TARGET_FULL");
  target->reset();
  umount(dir_.File("small").c_str());
}

}  // namespace
}  // namespace umbra::files
