// Proves that every Filesystem keeps the promises of storage/base/filesystem.h: the real one, the one in memory whose
// power can be cut, and the one that fails on purpose, while it doesn't.
#include <gtest/gtest.h>

#include <algorithm>
#include <thread>

#include "storage/base/filesystem.h"
#include "storage/base/status.h"
#include "tests/contract/filesystem/places.h"

namespace umbra::base {
namespace {

class FilesystemContract : public PlaceTest {};

INSTANTIATE_TEST_SUITE_P(All, FilesystemContract,
                         ::testing::Values(Implementation{"Posix", [] { return std::make_unique<Temporary>(); }},
                                           Implementation{"Memory", [] { return std::make_unique<Memory>(); }},
                                           Implementation{"Faults", [] { return std::make_unique<Faults>(); }}),
                         [](const auto& info) { return std::string(info.param.name); });

TEST_P(FilesystemContract, OpenModes) {
  EXPECT_EQ(ReasonOf(fs_.Open(In("a"), OpenMode::kRead).status()), "FILE_NOT_FOUND");
  EXPECT_EQ(ReasonOf(fs_.Open(In("a"), OpenMode::kReadWrite).status()), "FILE_NOT_FOUND");
  EXPECT_TRUE(absl::IsNotFound(fs_.Open(In("a"), OpenMode::kRead).status()));
  EXPECT_TRUE(fs_.Open(In("a"), OpenMode::kCreate).ok());
  const absl::Status again = fs_.Open(In("a"), OpenMode::kCreate).status();
  EXPECT_TRUE(absl::IsAlreadyExists(again));
  EXPECT_EQ(ReasonOf(again), "FILE_EXISTS");
  Write("a", "content");
  EXPECT_EQ(Read("a"), "content");
  EXPECT_TRUE(fs_.Open(In("a"), OpenMode::kReadWrite).ok());
  EXPECT_EQ(Read("a"), "content");
  EXPECT_TRUE(fs_.Open(In("a"), OpenMode::kTruncate).ok());
  EXPECT_EQ(Read("a"), "");
  EXPECT_FALSE(fs_.Open(In("none/a"), OpenMode::kCreate).ok());
  EXPECT_FALSE(fs_.Open(In("a/b"), OpenMode::kCreate).ok()) << "a file is no folder";
}

TEST_P(FilesystemContract, ReadsAndWritesAnywhere) {
  auto file = *fs_.Open(In("a"), OpenMode::kCreate);
  ASSERT_TRUE(file->WriteAt(5000, AsBytes("late")).ok());
  EXPECT_EQ(*file->Size(), 5004u);
  ASSERT_TRUE(file->WriteAt(0, AsBytes("early")).ok());
  ASSERT_TRUE(file->WriteAt(3, AsBytes("ier")).ok());
  ASSERT_TRUE(file->WriteAt(7, {}).ok());
  EXPECT_EQ(*file->Size(), 5004u);
  std::string expected(5004, '\0');
  expected.replace(0, 6, "earier").replace(5000, 4, "late");
  EXPECT_EQ(Read("a"), expected);
  std::array<std::byte, 4> part;
  ASSERT_TRUE(file->ReadAt(5000, part).ok());
  EXPECT_EQ(AsText(part), "late");
  EXPECT_TRUE(file->ReadAt(5004, {}).ok());
  const absl::Status beyond = file->ReadAt(5001, part);
  EXPECT_TRUE(absl::IsOutOfRange(beyond));
  EXPECT_EQ(ReasonOf(beyond), "FILE_TOO_SHORT");
  EXPECT_TRUE(file->Sync().ok());
}

TEST_P(FilesystemContract, TruncateCutsAndGrowsWithZeros) {
  auto file = *fs_.Open(In("a"), OpenMode::kCreate);
  ASSERT_TRUE(file->WriteAt(0, AsBytes("0123456789")).ok());
  ASSERT_TRUE(file->Truncate(4).ok());
  EXPECT_EQ(Read("a"), "0123");
  ASSERT_TRUE(file->Truncate(6).ok());
  EXPECT_EQ(Read("a"), std::string("0123\0\0", 6));
}

TEST_P(FilesystemContract, SkippingTheCacheChangesNoByte) {
  const std::string content(3 * 4096 + 17, 'x');
  auto file = *fs_.Open(In("a"), OpenMode::kCreate);
  file->SkipCache();
  ASSERT_TRUE(file->WriteAt(0, AsBytes(content)).ok());
  ASSERT_TRUE(file->Sync().ok());
  EXPECT_EQ(Read("a"), content);
}

TEST_P(FilesystemContract, RenameReplaces) {
  Write("a", "new");
  Write("b", "old");
  auto old = *fs_.Open(In("b"), OpenMode::kRead);
  ASSERT_TRUE(fs_.Rename(In("a"), In("b")).ok());
  EXPECT_EQ(Read("b"), "new");
  EXPECT_FALSE(*fs_.Exists(In("a")));
  std::array<std::byte, 3> part;
  ASSERT_TRUE(old->ReadAt(0, part).ok()) << "who has it open keeps it";
  EXPECT_EQ(AsText(part), "old");
  EXPECT_TRUE(fs_.Rename(In("b"), In("b")).ok());
  EXPECT_EQ(Read("b"), "new");
  EXPECT_EQ(ReasonOf(fs_.Rename(In("a"), In("b"))), "FILE_NOT_FOUND");
  EXPECT_FALSE(fs_.Rename(In("b"), In("none/b")).ok());
  EXPECT_EQ(Read("b"), "new");
}

TEST_P(FilesystemContract, FoldersMoveWithWhatIsInThem) {
  ASSERT_TRUE(fs_.MakeDirectories(In("x/y")).ok());
  Write("x/y/a", "content");
  ASSERT_TRUE(fs_.MakeDirectories(In("empty")).ok());
  ASSERT_TRUE(fs_.Rename(In("x"), In("empty")).ok()) << "an empty folder is replaced";
  EXPECT_EQ(Read("empty/y/a"), "content");
  ASSERT_TRUE(fs_.MakeDirectories(In("z")).ok());
  EXPECT_FALSE(fs_.Rename(In("z"), In("empty")).ok()) << "a full one isn't";
  EXPECT_FALSE(fs_.Rename(In("empty/y/a"), In("z")).ok()) << "a file doesn't replace a folder";
  EXPECT_FALSE(fs_.Rename(In("z"), In("empty/y/a")).ok()) << "nor a folder a file";
}

TEST_P(FilesystemContract, Removes) {
  Write("a", "content");
  auto open = *fs_.Open(In("a"), OpenMode::kRead);
  ASSERT_TRUE(fs_.Remove(In("a")).ok());
  EXPECT_FALSE(*fs_.Exists(In("a")));
  EXPECT_EQ(ReasonOf(fs_.Remove(In("a"))), "FILE_NOT_FOUND");
  std::array<std::byte, 7> all;
  EXPECT_TRUE(open->ReadAt(0, all).ok()) << "who has it open keeps it";
  ASSERT_TRUE(fs_.MakeDirectories(In("x/y")).ok());
  EXPECT_FALSE(fs_.Remove(In("x")).ok()) << "a folder that isn't empty";
  EXPECT_TRUE(fs_.Remove(In("x/y")).ok());
  EXPECT_TRUE(fs_.Remove(In("x")).ok());
  EXPECT_FALSE(*fs_.Exists(In("x")));
}

TEST_P(FilesystemContract, MakesFolders) {
  ASSERT_TRUE(fs_.MakeDirectories(In("x/y/z")).ok());
  EXPECT_TRUE(fs_.MakeDirectories(In("x/y/z")).ok());
  EXPECT_TRUE(*fs_.Exists(In("x/y")));
  Write("a", "file");
  EXPECT_FALSE(fs_.MakeDirectories(In("a/b")).ok());
  EXPECT_FALSE(*fs_.Exists(In("a/b")));
  EXPECT_FALSE(*fs_.Exists(In("none/b")));
}

TEST_P(FilesystemContract, ListsSorted) {
  EXPECT_TRUE(fs_.List(place_->folder())->empty());
  for (const char* name : {"b", "a10", "a2", "B"}) Write(name, "x");
  ASSERT_TRUE(fs_.MakeDirectories(In("c/inner")).ok());
  EXPECT_EQ(*fs_.List(place_->folder()), (std::vector<std::string>{"B", "a10", "a2", "b", "c"}));
  const auto entries = *fs_.ListEntries(place_->folder());
  ASSERT_EQ(entries.size(), 5u);
  EXPECT_EQ(entries[3], (FolderEntry{"b", EntryKind::kFile}));
  EXPECT_EQ(entries[4], (FolderEntry{"c", EntryKind::kFolder}));
  EXPECT_EQ(ReasonOf(fs_.List(In("none")).status()), "FILE_NOT_FOUND");
  EXPECT_FALSE(fs_.List(In("b")).ok());
}

TEST_P(FilesystemContract, SyncsFolders) {
  Write("a", "x");
  EXPECT_TRUE(fs_.SyncDirectory(place_->folder()).ok());
  EXPECT_FALSE(fs_.SyncDirectory(In("none")).ok());
}

TEST_P(FilesystemContract, ALockHasOneHolder) {
  auto lock = fs_.Lock(In("lock"));
  ASSERT_TRUE(lock.ok()) << lock.status();
  const absl::Status second = fs_.Lock(In("lock")).status();
  EXPECT_EQ(second.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ReasonOf(second), "FILE_LOCKED");
  lock->reset();
  EXPECT_TRUE(fs_.Lock(In("lock")).ok());
}

TEST_P(FilesystemContract, WholeFiles) {
  ASSERT_TRUE(fs_.WriteFileAtomic(In("a"), "one").ok());
  ASSERT_TRUE(fs_.WriteFileAtomic(In("a"), "two").ok());
  EXPECT_EQ(Read("a"), "two");
  EXPECT_EQ(ReasonOf(fs_.ReadFile(In("a"), 2).status()), "FILE_TOO_LARGE");
  EXPECT_EQ(*fs_.List(place_->folder()), std::vector<std::string>{"a"}) << "no temporary file stays";
}

TEST_P(FilesystemContract, HasFreeSpace) {
  EXPECT_GT(*fs_.FreeSpace(place_->folder()), 0u);
}

TEST_P(FilesystemContract, ThreadsWriteOneFileAtTheirOwnPlaces) {
  constexpr size_t kThreads = 4, kPart = 5000;
  auto file = *fs_.Open(In("a"), OpenMode::kCreate);
  {
    std::vector<std::jthread> threads;
    for (size_t i = 0; i < kThreads; ++i) {
      threads.emplace_back([&, i] {
        const std::string part(kPart, static_cast<char>('a' + i));
        EXPECT_TRUE(file->WriteAt(i * kPart, AsBytes(part)).ok());
        std::string read(kPart, '\0');
        EXPECT_TRUE(file->ReadAt(i * kPart, std::as_writable_bytes(std::span(read.data(), read.size()))).ok());
        EXPECT_EQ(read, part);
      });
    }
  }
  EXPECT_EQ(*file->Size(), kThreads * kPart);
}

}  // namespace
}  // namespace umbra::base
