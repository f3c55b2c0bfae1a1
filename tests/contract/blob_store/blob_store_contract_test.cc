// Proves that every BlobStore keeps the promises of storage/repo/blob_store.h: files on a real disk, files of the
// in-memory filesystem, and the in-memory object store that other tests use in their place.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <thread>

#include "storage/base/filesystem.h"
#include "storage/base/status.h"
#include "storage/repo/blob_file.h"
#include "tests/support/memory_blob_store.h"
#include "tests/support/memory_filesystem.h"
#include "tests/support/temp_dir.h"

namespace umbra::repo {
namespace {

using base::AsBytes;

// A store and what it stands on.
struct StoreUnderTest {
  virtual ~StoreUnderTest() = default;
  virtual BlobStore& store() = 0;
};

struct PosixStore final : StoreUnderTest {
  testing::TempDir folder;
  base::PosixFilesystem fs;
  std::unique_ptr<BlobStore> files = *FileBlobStore::Open(fs, folder.path());
  BlobStore& store() override { return *files; }
};

struct SimulatedFilesStore final : StoreUnderTest {
  testing::MemoryFilesystem fs;
  std::unique_ptr<BlobStore> files = *FileBlobStore::Open(fs, "/repository");
  BlobStore& store() override { return *files; }
};

struct MemoryStore final : StoreUnderTest {
  testing::MemoryBlobStore blobs;
  BlobStore& store() override { return blobs; }
};

struct Implementation {
  const char* name;
  std::function<std::unique_ptr<StoreUnderTest>()> make;
};

class BlobStoreContract : public ::testing::TestWithParam<Implementation> {
 protected:
  std::unique_ptr<StoreUnderTest> holder_ = GetParam().make();
  BlobStore& store_ = holder_->store();
};

INSTANTIATE_TEST_SUITE_P(All, BlobStoreContract,
                         ::testing::Values(Implementation{"PosixFiles", [] { return std::make_unique<PosixStore>(); }},
                                           Implementation{"SimulatedFiles", [] { return std::make_unique<SimulatedFilesStore>(); }},
                                           Implementation{"Memory", [] { return std::make_unique<MemoryStore>(); }}),
                         [](const auto& info) { return std::string(info.param.name); });

TEST_P(BlobStoreContract, GivesBackWhatWasPut) {
  ASSERT_TRUE(store_.PutIfAbsent("packs/ab/abcd.pack", AsBytes("content")).ok());
  EXPECT_EQ(*store_.Get("packs/ab/abcd.pack", 100), "content");
}

TEST_P(BlobStoreContract, AppendsInOrder) {
  auto writer = *store_.Create("index/1.run");
  for (const char* part : {"one ", "two ", "", "three"}) ASSERT_TRUE(writer->Append(AsBytes(part)).ok());
  ASSERT_TRUE(writer->Commit().ok());
  EXPECT_EQ(*store_.Get("index/1.run", 100), "one two three");
}

TEST_P(BlobStoreContract, AnEmptyObjectExists) {
  ASSERT_TRUE(store_.PutIfAbsent("a/empty.x", {}).ok());
  EXPECT_EQ(*store_.Get("a/empty.x", 0), "");
}

TEST_P(BlobStoreContract, NothingIsVisibleBeforeCommit) {
  auto writer = *store_.Create("a/new.x");
  ASSERT_TRUE(writer->Append(AsBytes("half")).ok());
  EXPECT_EQ(base::ReasonOf(store_.Open("a/new.x").status()), "FILE_NOT_FOUND");
  EXPECT_TRUE(store_.List("a/")->empty());
  writer.reset();
  EXPECT_TRUE(absl::IsNotFound(store_.Open("a/new.x").status()));
}

TEST_P(BlobStoreContract, AnObjectIsNeverReplaced) {
  ASSERT_TRUE(store_.PutIfAbsent("a/once.x", AsBytes("first")).ok());
  const absl::Status second = store_.PutIfAbsent("a/once.x", AsBytes("second"));
  EXPECT_TRUE(absl::IsAlreadyExists(second));
  EXPECT_EQ(base::ReasonOf(second), "FILE_EXISTS");
  EXPECT_EQ(*store_.Get("a/once.x", 100), "first");
}

TEST_P(BlobStoreContract, OneOfManyWritersOfANameWins) {
  constexpr int kWriters = 8;
  std::atomic<int> winners{0};
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < kWriters; ++i) {
      threads.emplace_back([&, i] {
        const absl::Status put = store_.PutIfAbsent("a/race.x", AsBytes(std::string(1000, static_cast<char>('a' + i))));
        if (put.ok()) ++winners;
        EXPECT_TRUE(put.ok() || absl::IsAlreadyExists(put)) << put;
      });
    }
  }
  EXPECT_EQ(winners, 1);
  const std::string content = *store_.Get("a/race.x", 10000);
  EXPECT_EQ(content, std::string(1000, content[0]));
}

TEST_P(BlobStoreContract, ReadsRanges) {
  ASSERT_TRUE(store_.PutIfAbsent("a/b.x", AsBytes("0123456789")).ok());
  auto reader = *store_.Open("a/b.x");
  EXPECT_EQ(reader->size(), 10u);
  std::array<std::byte, 4> part;
  ASSERT_TRUE(reader->ReadAt(3, part).ok());
  EXPECT_EQ(base::AsText(part), "3456");
  EXPECT_TRUE(reader->ReadAt(10, {}).ok());
  const absl::Status beyond = reader->ReadAt(7, part);
  EXPECT_TRUE(absl::IsOutOfRange(beyond));
  EXPECT_EQ(base::ReasonOf(beyond), "FILE_TOO_SHORT");
}

TEST_P(BlobStoreContract, ListsByPrefixSorted) {
  for (const char* name : {"packs/ff/2.pack", "packs/00/1.pack", "packs/00/3.pack", "points/9.point", "root"}) {
    ASSERT_TRUE(store_.PutIfAbsent(name, AsBytes("x")).ok());
  }
  EXPECT_EQ(*store_.List("packs/"), (std::vector<std::string>{"packs/00/1.pack", "packs/00/3.pack", "packs/ff/2.pack"}));
  EXPECT_EQ(*store_.List("points/"), std::vector<std::string>{"points/9.point"});
  EXPECT_TRUE(store_.List("nothing/")->empty());
}

TEST_P(BlobStoreContract, Deletes) {
  ASSERT_TRUE(store_.PutIfAbsent("a/b.x", AsBytes("x")).ok());
  auto reader = *store_.Open("a/b.x");
  ASSERT_TRUE(store_.Delete("a/b.x").ok());
  EXPECT_TRUE(absl::IsNotFound(store_.Open("a/b.x").status()));
  EXPECT_TRUE(store_.List("a/")->empty());
  EXPECT_EQ(base::ReasonOf(store_.Delete("a/b.x")), "FILE_NOT_FOUND");
  std::array<std::byte, 1> byte;
  EXPECT_TRUE(reader->ReadAt(0, byte).ok()) << "a reader keeps what it opened";
  EXPECT_TRUE(store_.PutIfAbsent("a/b.x", AsBytes("y")).ok()) << "the name is free again";
}

TEST_P(BlobStoreContract, GetKeepsItsLimit) {
  ASSERT_TRUE(store_.PutIfAbsent("a/b.x", AsBytes("12345")).ok());
  EXPECT_TRUE(store_.Get("a/b.x", 5).ok());
  EXPECT_EQ(base::ReasonOf(store_.Get("a/b.x", 4).status()), "FILE_TOO_LARGE");
}

TEST_P(BlobStoreContract, HasFreeSpace) { EXPECT_GT(*store_.FreeSpace(), 0u); }

// Only for files: what is durable, and what a dead process leaves.
TEST(FileBlobStore, CommittedObjectsSurviveAPowerCutAndNothingElseDoes) {
  testing::MemoryFilesystem fs;
  {
    ASSERT_TRUE(fs.MakeDirectories("/repository").ok());
    ASSERT_TRUE(fs.SyncDirectory("/").ok());
    auto store = *FileBlobStore::Open(fs, "/repository");
    ASSERT_TRUE(store->PutIfAbsent("packs/ab/kept.pack", AsBytes("kept")).ok());
    ASSERT_TRUE(store->PutIfAbsent("packs/ab/deleted.pack", AsBytes("x")).ok());
    ASSERT_TRUE(store->Delete("packs/ab/deleted.pack").ok());
    auto half = *store->Create("packs/ab/half.pack");
    ASSERT_TRUE(half->Append(AsBytes("half")).ok());
    fs.CutPower();
  }
  auto store = *FileBlobStore::Open(fs, "/repository");
  EXPECT_EQ(*store->List("packs/"), std::vector<std::string>{"packs/ab/kept.pack"});
  EXPECT_EQ(*store->Get("packs/ab/kept.pack", 100), "kept");
}

TEST(FileBlobStore, OpeningRemovesWhatADeadWriterLeft) {
  testing::MemoryFilesystem fs;
  auto first = *FileBlobStore::Open(fs, "/repository");
  auto half = *first->Create("a/half.x");
  ASSERT_TRUE(half->Append(AsBytes("half")).ok());
  EXPECT_EQ(fs.List("/repository/tmp")->size(), 1u);
  auto second = *FileBlobStore::Open(fs, "/repository");
  EXPECT_TRUE(fs.List("/repository/tmp")->empty());
}

}  // namespace
}  // namespace umbra::repo
