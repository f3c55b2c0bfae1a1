// Proves the everyday behaviour of a repository: what is committed reads back, equal data is stored once, several
// sessions work at once, wrong uploads are refused, and nothing shows before its commit.
#include "storage/repo/repository.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "storage/repo/format.h"
#include "tests/support/fault_filesystem.h"
#include "tests/support/memory_blob_store.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/storage/repo/model.h"

namespace umbra::repo {
namespace {

using base::AsBytes;
using base::ReasonOf;

class Everyday : public RepositoryTest {
 protected:
  ChunkId IdOf(std::string_view content) { return repository_->hasher().Id(AsBytes(content)); }
  ChunkView RawChunk(std::string_view content) {
    return {IdOf(content), static_cast<uint32_t>(content.size()), Codec::kRaw, AsBytes(content)};
  }
};

TEST_F(Everyday, ABackupReadsBackAlsoAfterReopening) {
  const ModelVm vm = {{"vda", ModelDisk::OfChunks({1, 2, 0, 0, 3, 4, 5, 6, 7, 8, 9, 2, 1}, 1000)},
                      {"vdb", ModelDisk::OfChunks({0, 0, 0})},
                      {"vdc", ModelDisk::OfChunks({1}, 65535)}};
  const auto manifest = Backup(*repository_, "vm1", vm);
  ASSERT_TRUE(manifest.ok()) << manifest.status();
  EXPECT_EQ(CompareVm(*repository_, manifest->recovery_point_id(), vm), absl::OkStatus());
  Reopen();
  EXPECT_EQ(CompareVm(*repository_, manifest->recovery_point_id(), vm), absl::OkStatus());
  const auto list = *repository_->ListRecoveryPoints();
  ASSERT_EQ(list.points.size(), 1u);
  EXPECT_TRUE(list.problems.empty());
  EXPECT_EQ(list.points[0].SerializeAsString(), manifest->SerializeAsString());
}

TEST_F(Everyday, TheManifestIsFilledIn) {
  const ModelVm vm = {{"vda", ModelDisk::OfChunks({1, 0, 2}, 10)}};
  const auto first = *Backup(*repository_, "vm1", vm);
  EXPECT_TRUE(IsUuidText(first.recovery_point_id()));
  EXPECT_TRUE(first.has_create_time());
  EXPECT_EQ(first.disks(0).data_bytes(), 2 * kTestChunkSize - 10);
  EXPECT_EQ(first.disks(0).map_hash().size(), 32u);
  EXPECT_GT(first.stored_bytes(), kTestChunkSize);
  const auto second = *Backup(*repository_, "vm1", vm);
  EXPECT_EQ(second.disks(0).map_hash(), first.disks(0).map_hash());
  EXPECT_EQ(second.stored_bytes(), 0) << "nothing new, not even a map page";
}

TEST_F(Everyday, BothIdSuitesWork) {
  for (const IdSuite suite : {IdSuite::kBlake3Keyed, IdSuite::kHmacSha256}) {
    RepositoryOptions options = SmallOptions();
    options.id_suite = suite;
    auto repository =
        *Repository::OpenOrCreateIn(std::make_unique<testing::MemoryBlobStore>(), clock_, random_, options);
    const ModelVm vm = {{"vda", ModelDisk::OfChunks({1, 2, 3})}};
    EXPECT_EQ(repository->info().id_suite, suite);
    EXPECT_EQ(CompareVm(*repository, Backup(*repository, "vm1", vm)->recovery_point_id(), vm), absl::OkStatus());
  }
}

TEST_F(Everyday, EqualChunksAreStoredOnce) {
  ASSERT_TRUE(Backup(*repository_, "vm1", {{"vda", ModelDisk::OfChunks({1, 3, 5, 1, 3, 5})}}).ok());
  EXPECT_EQ(repository_->Stats()->unique_bytes, 3 * kTestChunkSize + 6 * kChunkIdSize);
  ASSERT_TRUE(Backup(*repository_, "vm2", {{"sda", ModelDisk::OfChunks({5, 3, 1, 7})}}).ok());
  const auto stats = *repository_->Stats();
  EXPECT_EQ(stats.unique_bytes, 4 * kTestChunkSize + 10 * kChunkIdSize);
  EXPECT_EQ(stats.recovery_point_count, 2u);
  EXPECT_EQ(stats.logical_bytes, 10u * kTestChunkSize);
  EXPECT_EQ(stats.chunk_count, 6u) << "four chunks and two map pages";
  EXPECT_GT(stats.stored_bytes, 4u * kTestChunkSize);
  EXPECT_GT(stats.free_bytes, 0u);
  Reopen();
  EXPECT_EQ(repository_->Stats()->stored_bytes, stats.stored_bytes);
}

TEST_F(Everyday, BigSparseDisksShareTheirPages) {
  // Three pages; the second point changes one chunk in the last.
  std::vector<uint32_t> seeds(2500, 0);
  seeds[3] = 1;
  seeds[2400] = 3;
  const ModelVm before = {{"vda", ModelDisk::OfChunks(seeds)}};
  seeds[2401] = 5;
  const ModelVm after = {{"vda", ModelDisk::OfChunks(seeds)}};
  const auto first = *Backup(*repository_, "vm1", before);
  const uint64_t chunks = repository_->Stats()->chunk_count;
  const auto second = *Backup(*repository_, "vm1", after);
  EXPECT_EQ(repository_->Stats()->chunk_count, chunks + 2) << "the changed chunk and the page that names it";
  EXPECT_EQ(CompareVm(*repository_, first.recovery_point_id(), before), absl::OkStatus());
  EXPECT_EQ(CompareVm(*repository_, second.recovery_point_id(), after), absl::OkStatus());
}

TEST_F(Everyday, WantedKnowsStoredPendingAndZeroChunks) {
  const std::string stored = ContentOf(1, kTestChunkSize), pending = ContentOf(3, kTestChunkSize),
                    fresh = ContentOf(5, kTestChunkSize);
  ASSERT_TRUE(Backup(*repository_, "vm1", {{"vda", ModelDisk::OfChunks({1})}}).ok());
  auto session = repository_->BeginSession();
  EXPECT_GT(*session->Put(RawChunk(pending)), 0u);
  EXPECT_EQ(*session->Put(RawChunk(pending)), 0u) << "the second time it is known";
  const std::vector<ChunkId> ids = {IdOf(stored), IdOf(pending), IdOf(fresh), kZeroChunkId};
  EXPECT_EQ(*session->Wanted(ids), (std::vector<uint8_t>{0, 0, 1, 0}));
  auto other = repository_->BeginSession();
  EXPECT_EQ(*other->Wanted(ids), (std::vector<uint8_t>{0, 0, 1, 0})) << "another session need not send it, too";
}

TEST_F(Everyday, UploadsThatAreNotWhatTheySayAreRefusedAndTheSessionGoesOn) {
  auto session = repository_->BeginSession();
  const std::string content = ContentOf(1, kTestChunkSize);
  ChunkView wrong_id = RawChunk(content);
  wrong_id.id.bytes[0] ^= std::byte{1};
  ChunkView zero = RawChunk(content);
  zero.id = kZeroChunkId;
  ChunkView wrong_codec = RawChunk(content);
  wrong_codec.codec = Codec::kZstd;
  ChunkView wrong_length = RawChunk(content);
  wrong_length.plain_length = 1;
  const std::string big(kTestChunkSize + 1, 'b');
  for (const ChunkView& bad : {wrong_id, zero, wrong_codec, wrong_length, RawChunk(big), RawChunk("")}) {
    const auto put = session->Put(bad);
    EXPECT_EQ(ReasonOf(put.status()), "UPLOAD_INVALID");
    EXPECT_EQ(put.status().code(), absl::StatusCode::kInvalidArgument);
  }
  EXPECT_TRUE(session->Put(RawChunk(content)).ok());
}

TEST_F(Everyday, MapsMustFitTheDiskAndTheChunks) {
  auto session = repository_->BeginSession();
  const std::string whole = ContentOf(1, kTestChunkSize), tail = ContentOf(3, 100);
  ASSERT_TRUE(session->Put(RawChunk(whole)).ok());
  ASSERT_TRUE(session->Put(RawChunk(tail)).ok());
  EXPECT_EQ(ReasonOf(session->AddDiskMap("vm", "none", 0).status()), "UPLOAD_INVALID");
  auto map = *session->AddDiskMap("vm", "vda", kTestChunkSize + 100);

  const absl::Status missing = map->Append(std::vector<ChunkId>{IdOf("never sent")});
  EXPECT_EQ(ReasonOf(missing), "CHUNK_MISSING");
  EXPECT_NE(base::MessageOf(missing).find(IdOf("never sent").ToHex()), std::string::npos);
  EXPECT_EQ(ReasonOf(map->Append(std::vector<ChunkId>{IdOf(tail)})), "UPLOAD_INVALID") << "too short for its place";

  auto good = *session->AddDiskMap("vm", "vdb", kTestChunkSize + 100);
  ASSERT_TRUE(good->Append(std::vector<ChunkId>{IdOf(whole)}).ok());
  EXPECT_EQ(ReasonOf(good->Finish().status()), "UPLOAD_INVALID") << "an id is missing";
  ASSERT_TRUE(good->Append(std::vector<ChunkId>{IdOf(tail)}).ok());
  EXPECT_EQ(ReasonOf(good->Append(std::vector<ChunkId>{kZeroChunkId})), "UPLOAD_INVALID") << "one too many";
  EXPECT_EQ(*good->Finish(), kTestChunkSize + 100u);
}

TEST_F(Everyday, AMapThatWasCutCanBeMadeAgain) {
  auto session = repository_->BeginSession();
  const ModelVm vm = {{"vda", ModelDisk::OfChunks({1, 2})}};
  session->AddDiskMap("vm1", "vda", kTestChunkSize).IgnoreError();  // never finished
  ASSERT_TRUE(UploadDisk(*repository_, *session, "vm1", "vda", vm.at("vda")).ok());
  ASSERT_TRUE(UploadDisk(*repository_, *session, "vm1", "vda", vm.at("vda")).ok()) << "its answer got lost";
  EXPECT_TRUE(session->Commit({ManifestOf("vm1", vm)}).ok());
}

TEST_F(Everyday, CommitTakesExactlyTheFinishedMaps) {
  auto session = repository_->BeginSession();
  const ModelVm vm = {{"vda", ModelDisk::OfChunks({1, 2})}};
  EXPECT_EQ(ReasonOf(session->Commit({ManifestOf("vm1", vm)}).status()), "UPLOAD_INVALID") << "no map yet";
  ASSERT_TRUE(UploadDisk(*repository_, *session, "vm1", "vda", vm.at("vda")).ok());
  EXPECT_EQ(ReasonOf(session->Commit({}).status()), "UPLOAD_INVALID");
  EXPECT_EQ(ReasonOf(session->Commit({ManifestOf("vm2", vm)}).status()), "UPLOAD_INVALID") << "another virtual machine";
  EXPECT_EQ(ReasonOf(session->Commit({ManifestOf("vm1", vm), ManifestOf("vm1", vm)}).status()), "UPLOAD_INVALID");
  Manifest path = ManifestOf("vm1", vm);
  path.set_recovery_point_id("../../somewhere");
  EXPECT_EQ(ReasonOf(session->Commit({path}).status()), "UPLOAD_INVALID");
  EXPECT_TRUE(repository_->ListRecoveryPoints()->points.empty());
  const auto committed = session->Commit({ManifestOf("vm1", vm)});
  ASSERT_TRUE(committed.ok()) << committed.status();
  EXPECT_EQ(ReasonOf(session->Commit({ManifestOf("vm1", vm)}).status()), "SESSION_NOT_FOUND")
      << "the session has ended";
  EXPECT_EQ(ReasonOf(session->Put(RawChunk("x")).status()), "SESSION_NOT_FOUND");
  EXPECT_EQ(CompareVm(*repository_, (*committed)[0].recovery_point_id(), vm), absl::OkStatus());
}

TEST_F(Everyday, SeveralPointsCommitTogether) {
  auto session = repository_->BeginSession();
  const ModelVm vm1 = {{"vda", ModelDisk::OfChunks({1, 2})}}, vm2 = {{"vda", ModelDisk::OfChunks({2, 3, 4, 5, 7})}};
  ASSERT_TRUE(UploadDisk(*repository_, *session, "vm1", "vda", vm1.at("vda")).ok());
  ASSERT_TRUE(UploadDisk(*repository_, *session, "vm2", "vda", vm2.at("vda")).ok());
  const auto points = *session->Commit({ManifestOf("vm1", vm1), ManifestOf("vm2", vm2)});
  ASSERT_EQ(points.size(), 2u);
  EXPECT_EQ(points[0].stored_bytes() + points[1].stored_bytes(), static_cast<int64_t>(session->stored_bytes()));
  EXPECT_GT(points[1].stored_bytes(), points[0].stored_bytes());
  Reopen();
  EXPECT_EQ(CompareVm(*repository_, points[0].recovery_point_id(), vm1), absl::OkStatus());
  EXPECT_EQ(CompareVm(*repository_, points[1].recovery_point_id(), vm2), absl::OkStatus());
  EXPECT_TRUE(fs_.List("/repository/commits")->empty());
}

TEST_F(Everyday, AHalfPublishedCommitIsFinishedAtTheNextOpening) {
  auto session = repository_->BeginSession();
  const ModelVm vm1 = {{"vda", ModelDisk::OfChunks({1, 2})}}, vm2 = {{"vda", ModelDisk::OfChunks({3})}};
  ASSERT_TRUE(UploadDisk(*repository_, *session, "vm1", "vda", vm1.at("vda")).ok());
  ASSERT_TRUE(UploadDisk(*repository_, *session, "vm2", "vda", vm2.at("vda")).ok());
  const auto points = *session->Commit({ManifestOf("vm1", vm1), ManifestOf("vm2", vm2)});
  // Back to the moment when the commit object was durable and only one of its points written.
  std::vector<EncodedPoint> encoded;
  for (const Manifest& point : points) {
    const std::string& id = point.recovery_point_id();
    encoded.push_back({id, *fs_.ReadFile(std::string(kPath) + "/" + PointName(id))});
  }
  ASSERT_TRUE(fs_.Remove(std::string(kPath) + "/" + PointName(encoded[1].id)).ok());
  ASSERT_TRUE(fs_.WriteFileAtomic("/repository/commits/1234.commit", EncodeCommit(encoded)).ok());
  Reopen();
  EXPECT_EQ(repository_->ListRecoveryPoints()->points.size(), 2u);
  EXPECT_EQ(CompareVm(*repository_, encoded[1].id, vm2), absl::OkStatus());
  EXPECT_TRUE(fs_.List("/repository/commits")->empty());
}

TEST_F(Everyday, AnAbortedSessionLeavesNothingVisibleButItsSealedPacks) {
  {
    auto session = repository_->BeginSession();
    ASSERT_TRUE(
        UploadDisk(*repository_, *session, "vm1", "vda", ModelDisk::OfChunks({1, 3, 5, 7, 9, 11, 13, 15, 17})).ok());
    session->Abort();
    EXPECT_EQ(ReasonOf(session->Put(RawChunk("x")).status()), "SESSION_NOT_FOUND");
  }
  EXPECT_TRUE(repository_->ListRecoveryPoints()->points.empty());
  EXPECT_TRUE(fs_.List("/repository/tmp")->empty());
  Reopen();
  auto session = repository_->BeginSession();
  EXPECT_EQ(session->Wanted(std::vector<ChunkId>{IdOf(ContentOf(1, kTestChunkSize))})->at(0), 0)
      << "the first pack was full and sealed: the next attempt need not send it";
}

TEST_F(Everyday, RemovedPointsAreGoneAndOthersStay) {
  const ModelVm vm = {{"vda", ModelDisk::OfChunks({1, 2, 3})}};
  const std::string first = Backup(*repository_, "vm1", vm)->recovery_point_id();
  const std::string second = Backup(*repository_, "vm1", vm)->recovery_point_id();
  ASSERT_TRUE(repository_->RemoveRecoveryPoint(first, {}).ok());
  EXPECT_EQ(ReasonOf(repository_->RemoveRecoveryPoint(first, {}).status()), "RECOVERY_POINT_NOT_FOUND");
  EXPECT_EQ(ReasonOf(repository_->ReadManifest(first).status()), "RECOVERY_POINT_NOT_FOUND");
  Reopen();
  EXPECT_EQ(repository_->ListRecoveryPoints()->points.size(), 1u);
  EXPECT_EQ(CompareVm(*repository_, second, vm), absl::OkStatus());
}

TEST_F(Everyday, UnknownPointsAndDisksHaveReasons) {
  for (const char* id : {"01234567-89ab-4def-8123-456789abcdef", "../umbra-repository", ""}) {
    EXPECT_EQ(ReasonOf(repository_->ReadManifest(id).status()), "RECOVERY_POINT_NOT_FOUND") << id;
    EXPECT_EQ(ReasonOf(repository_->RemoveRecoveryPoint(id, {}).status()), "RECOVERY_POINT_NOT_FOUND") << id;
    EXPECT_EQ(ReasonOf(repository_->OpenDisk(id, "vda").status()), "RECOVERY_POINT_NOT_FOUND") << id;
    EXPECT_EQ(ReasonOf(repository_->Verify({id}, {}, {}).status()), *id == 0 ? "" : "RECOVERY_POINT_NOT_FOUND") << id;
  }
  const auto point = *Backup(*repository_, "vm1", {{"vda", ModelDisk::OfChunks({1})}});
  EXPECT_EQ(ReasonOf(repository_->OpenDisk(point.recovery_point_id(), "vdz").status()), "INVALID_REQUEST");
}

TEST_F(Everyday, ReadersSeek) {
  const ModelVm vm = {{"vda", ModelDisk::OfChunks({1, 0, 3, 4, 5})}};
  const auto point = *Backup(*repository_, "vm1", vm);
  auto reader = *repository_->OpenDisk(point.recovery_point_id(), "vda");
  ASSERT_TRUE(reader->Seek(3).ok());
  EXPECT_EQ(reader->position_bytes(), 3u * kTestChunkSize);
  auto chunks = *reader->Next(1);
  ASSERT_EQ(chunks.size(), 1u) << "at least one chunk, whatever the limit";
  EXPECT_EQ(chunks[0].offset_bytes, 3u * kTestChunkSize);
  ASSERT_TRUE(reader->Seek(5).ok());
  EXPECT_TRUE(reader->Next(1)->empty());
  EXPECT_EQ(ReasonOf(reader->Seek(6)), "INVALID_REQUEST");
  ASSERT_TRUE(reader->Seek(0).ok());
  EXPECT_EQ(reader->Next(base::kGiB)->size(), 4u);
  EXPECT_EQ(reader->position_bytes(), reader->capacity_bytes());
}

TEST_F(Everyday, OnlyOneOwner) {
  const auto second = Repository::Open(fs_, clock_, random_, kPath, SmallOptions());
  EXPECT_EQ(ReasonOf(second.status()), "REPOSITORY_LOCKED");
  repository_.reset();
  EXPECT_TRUE(Repository::Open(fs_, clock_, random_, kPath, SmallOptions()).ok());
}

TEST_F(Everyday, OpenAndCreateAreStrict) {
  EXPECT_EQ(ReasonOf(Repository::Open(fs_, clock_, random_, "/nothing").status()), "REPOSITORY_INCOMPATIBLE");
  EXPECT_EQ(ReasonOf(Repository::Create(fs_, clock_, random_, kPath).status()), "TARGET_EXISTS");
  ASSERT_TRUE(fs_.MakeDirectories("/photos").ok());
  ASSERT_TRUE(fs_.WriteFileAtomic("/photos/cat.jpg", "meow").ok());
  EXPECT_EQ(ReasonOf(Repository::OpenOrCreate(fs_, clock_, random_, "/photos").status()), "TARGET_EXISTS");
  EXPECT_TRUE(Repository::Create(fs_, clock_, random_, "/new/deep", SmallOptions()).ok());
  RepositoryOptions odd = SmallOptions();
  odd.chunk_size_bytes = 100000;
  EXPECT_EQ(ReasonOf(Repository::Create(fs_, clock_, random_, "/odd", odd).status()), "INVALID_REQUEST");
}

TEST_F(Everyday, ADamagedHeaderIsRefused) {
  repository_.reset();
  fs_.FlipBit("/repository/umbra-repository", 400);
  EXPECT_EQ(ReasonOf(Repository::Open(fs_, clock_, random_, kPath, SmallOptions()).status()),
            "REPOSITORY_INCOMPATIBLE");
}

// Sessions of several threads each, readers and verifications at once, on a real disk.
TEST(RepositoryThreads, BackupsRestoresAndVerifyRunTogether) {
  testing::TempDir folder;
  base::PosixFilesystem fs;
  base::SystemClock clock;
  base::SystemRandom random;
  RepositoryOptions options = SmallOptions();
  options.unindexed_chunks_max = 8;
  auto repository = *Repository::OpenOrCreate(fs, clock, random, folder.path() + "/r", options);
  std::atomic<bool> done{false};
  const ModelVm base_vm = {{"vda", ModelDisk::OfChunks({1, 2, 3, 4, 5, 6, 7, 8, 9, 10})}};
  const std::string base_point = Backup(*repository, "base", base_vm)->recovery_point_id();
  std::jthread verifier([&] {
    while (!done) {
      const auto report = repository->Verify({}, {}, {});
      ASSERT_TRUE(report.ok()) << report.status();
      EXPECT_TRUE(report->ok());
    }
  });
  std::jthread reader([&] {
    while (!done) EXPECT_EQ(CompareVm(*repository, base_point, base_vm), absl::OkStatus());
  });
  {
    std::vector<std::jthread> writers;
    for (uint32_t w = 0; w < 4; ++w) {
      writers.emplace_back([&, w] {
        for (uint32_t round = 0; round < 3; ++round) {
          std::vector<uint32_t> seeds;
          for (uint32_t i = 0; i < 20; ++i) seeds.push_back(i % 3 == 0 ? i : 1000 * w + 100 * round + i);
          const ModelVm vm = {{"vda", ModelDisk::OfChunks(seeds)}, {"vdb", ModelDisk::OfChunks({1, w + 1})}};
          const auto point = Backup(*repository, "vm" + std::to_string(w), vm);
          ASSERT_TRUE(point.ok()) << point.status();
          EXPECT_EQ(CompareVm(*repository, point->recovery_point_id(), vm), absl::OkStatus());
        }
      });
    }
  }
  done = true;
  EXPECT_EQ(repository->ListRecoveryPoints()->points.size(), 13u);
}

TEST_F(Everyday, ManyThreadsPutIntoOneSession) {
  auto session = repository_->BeginSession();
  std::atomic<uint64_t> stored{0};
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&] {
        for (uint32_t seed = 1; seed <= 40; ++seed) {
          const std::string content = ContentOf(seed, kTestChunkSize);
          const auto put = session->Put(RawChunk(content));
          ASSERT_TRUE(put.ok()) << put.status();
          stored += *put;
        }
      });
    }
  }
  EXPECT_GE(stored, 40u * kTestChunkSize);
  std::vector<uint32_t> seeds;
  for (uint32_t seed = 1; seed <= 40; ++seed) seeds.push_back(seed);
  const ModelVm vm = {{"vda", ModelDisk::OfChunks(seeds)}};
  ASSERT_TRUE(UploadDisk(*repository_, *session, "vm1", "vda", vm.at("vda")).ok());
  const auto points = session->Commit({ManifestOf("vm1", vm)});
  ASSERT_TRUE(points.ok()) << points.status();
  EXPECT_EQ(CompareVm(*repository_, (*points)[0].recovery_point_id(), vm), absl::OkStatus());
}

}  // namespace
}  // namespace umbra::repo
