// Proves that sessions side by side store a chunk once, never rely on what another one lost, and that backups,
// restores, verification and removal run together.
#include <gtest/gtest.h>

#include <set>
#include <thread>

#include "storage/repo/format.h"
#include "storage/repo/pack.h"
#include "tests/support/fault_filesystem.h"
#include "tests/unit/storage/repo/model.h"

namespace umbra::repo {
namespace {

using base::ReasonOf;

class ManyWriters : public RepositoryTest {
 protected:
  ChunkId IdOf(uint32_t seed) { return repository_->hasher().Id(base::AsBytes(ContentOf(seed, kTestChunkSize))); }
  bool Wants(UploadSession& session, uint32_t seed) { return session.Wanted(std::vector{IdOf(seed)})->at(0) != 0; }
  absl::StatusOr<uint64_t> Put(UploadSession& session, uint32_t seed) {
    const std::string content = ContentOf(seed, kTestChunkSize);
    return session.Put({IdOf(seed), kTestChunkSize, Codec::kRaw, base::AsBytes(content)});
  }
  absl::Status PutMap(UploadSession& session, const std::string& vm_uuid, const std::vector<uint32_t>& seeds) {
    std::vector<ChunkId> ids;
    for (const uint32_t seed : seeds) ids.push_back(IdOf(seed));
    ASSIGN_OR_RETURN(auto map, session.AddDiskMap(vm_uuid, "vda", seeds.size() * kTestChunkSize));
    RETURN_IF_ERROR(map->Append(ids));
    return map->Finish().status();
  }
};

TEST_F(ManyWriters, AChunkInAnotherSessionsOpenPackIsNotAskedForAndHoldsUpNobody) {
  auto first = repository_->BeginSession();
  auto second = repository_->BeginSession();
  ASSERT_GT(*Put(*first, 1), 0u);
  EXPECT_FALSE(Wants(*second, 1));
  EXPECT_EQ(*Put(*second, 1), 0u) << "stored by the first";
  // The first one sends nothing more for a long time; the second commits all the same, and what it commits is durable.
  ASSERT_TRUE(PutMap(*second, "vm2", {1}).ok());
  const ModelVm vm = {{"vda", ModelDisk::OfChunks({1})}};
  const auto committed = second->Commit({ManifestOf("vm2", vm)});
  ASSERT_TRUE(committed.ok()) << committed.status();
  fs_.CutPower();
  first.reset();
  second.reset();
  Reopen();
  EXPECT_EQ(CompareVm(*repository_, committed->at(0).recovery_point_id(), vm), absl::OkStatus());
  EXPECT_EQ(repository_->Stats()->chunk_count, 2u) << "the chunk and a map page";
}

TEST_F(ManyWriters, WhatAnAbortedSessionSentServesTheOthers) {
  auto first = repository_->BeginSession();
  auto second = repository_->BeginSession();
  ASSERT_GT(*Put(*first, 1), 0u);
  EXPECT_FALSE(Wants(*second, 1));
  first->Abort();
  EXPECT_FALSE(Wants(*second, 1));
  ASSERT_TRUE(PutMap(*second, "vm2", {1}).ok());
  const ModelVm vm = {{"vda", ModelDisk::OfChunks({1})}};
  const auto committed = second->Commit({ManifestOf("vm2", vm)});
  ASSERT_TRUE(committed.ok()) << committed.status();
  EXPECT_EQ(CompareVm(*repository_, committed->at(0).recovery_point_id(), vm), absl::OkStatus());
}

TEST_F(ManyWriters, ARefusedChunkIsNobodys) {
  auto liar = repository_->BeginSession();
  auto honest = repository_->BeginSession();
  const std::string other = ContentOf(3, kTestChunkSize);
  EXPECT_EQ(ReasonOf(liar->Put({IdOf(1), kTestChunkSize, Codec::kRaw, base::AsBytes(other)}).status()),
            "UPLOAD_INVALID");
  EXPECT_TRUE(Wants(*honest, 1));
  EXPECT_GT(*Put(*honest, 1), 0u);
}

// A full disk hits one session while another relies on its chunk: the other is told, sends it again, and commits.
TEST(ManyWritersFaults, AChunkThatAnotherSessionLostIsSentAgain) {
  testing::MemoryFilesystem real;
  testing::FaultFilesystem fs(real);
  base::SystemClock clock;
  base::SeededRandom random(1);
  auto repository = *Repository::OpenOrCreate(fs, clock, random, "/repository", SmallOptions());
  const ModelDisk disk = ModelDisk::OfChunks({1});
  const std::string content = disk.Content(0);
  const ChunkView chunk{repository->hasher().Id(base::AsBytes(content)), kTestChunkSize, Codec::kRaw,
                        base::AsBytes(content)};
  auto first = repository->BeginSession();
  auto second = repository->BeginSession();
  ASSERT_TRUE(first->Put(chunk).ok());
  ASSERT_EQ(second->Wanted({&chunk.id, 1})->at(0), 0);
  fs.FailAt(1, testing::Fault::kNoSpace, false);
  auto map = *second->AddDiskMap("vm2", "vda", disk.capacity_bytes);
  EXPECT_EQ(ReasonOf(map->Append({&chunk.id, 1})), "CHUNK_MISSING");
  EXPECT_EQ(ReasonOf(first->Put(chunk).status()), "STORAGE_FULL");
  ASSERT_EQ(second->Wanted({&chunk.id, 1})->at(0), 1);
  ASSERT_GT(*second->Put(chunk), 0u);
  map = *second->AddDiskMap("vm2", "vda", disk.capacity_bytes);
  ASSERT_TRUE(map->Append({&chunk.id, 1}).ok());
  ASSERT_TRUE(map->Finish().ok());
  const auto committed = second->Commit({ManifestOf("vm2", {{"vda", disk}})});
  ASSERT_TRUE(committed.ok()) << committed.status();
  EXPECT_EQ(CompareDisk(*repository, committed->at(0).recovery_point_id(), "vda", disk), absl::OkStatus());
}

// Writing fails in the middle of a pack, once: the pack is lost, whatever the session is told to do afterwards.
TEST(ManyWritersFaults, APackThatCouldNotBeWrittenWholeIsNeverSealed) {
  for (const bool commit : {true, false}) {
    testing::MemoryFilesystem real;
    testing::FaultFilesystem fs(real);
    base::SystemClock clock;
    base::SeededRandom random(1);
    RepositoryOptions options = SmallOptions();
    options.pack_size_bytes = 64 * base::kMiB;  // many times what a pack buffers
    auto repository = *Repository::OpenOrCreate(fs, clock, random, "/repository", options);
    auto session = repository->BeginSession();
    absl::Status status;
    // The write is another thread's: how soon its failure is told isn't known.
    for (uint32_t seed = 1; seed < 1401 && status.ok(); seed += 2) {
      if (seed == 3) fs.FailAt(1, testing::Fault::kNoSpace, false);
      const std::string content = ContentOf(seed, kTestChunkSize);
      status = session
                   ->Put({repository->hasher().Id(base::AsBytes(content)), kTestChunkSize, Codec::kRaw,
                          base::AsBytes(content)})
                   .status();
    }
    ASSERT_EQ(ReasonOf(status), "STORAGE_FULL");
    if (commit) {
      EXPECT_FALSE(session->Commit({}).ok());
    } else {
      session->Abort();
    }
    session.reset();
    EXPECT_TRUE(real.AllFiles("/repository/packs").empty());
    EXPECT_TRUE(real.AllFiles("/repository/tmp").empty());
    EXPECT_EQ(repository->Stats()->chunk_count, 0u);
  }
}

// Every writer sends the same chunks in its own order, beside readers, verification and removal.
TEST(ManyWritersThreads, TheSameChunksAreStoredOnceWhileEverybodyReads) {
  constexpr uint32_t kWriters = 6, kChunks = 60, kRounds = 3;
  testing::MemoryFilesystem fs;
  base::SystemClock clock;
  base::SeededRandom random(1);
  RepositoryOptions options = SmallOptions();
  options.unindexed_chunks_max = 20;
  auto repository = *Repository::OpenOrCreate(fs, clock, random, "/repository", options);
  std::atomic<uint32_t> writing{kWriters};
  {
    std::vector<std::jthread> threads;
    for (uint32_t writer = 0; writer < kWriters; ++writer) {
      threads.emplace_back([&, writer] {
        std::mt19937 order(writer);
        const std::string uuid = "vm" + std::to_string(writer);
        for (uint32_t round = 1; round <= kRounds; ++round) {
          std::vector<uint32_t> seeds(kChunks);
          for (uint32_t i = 0; i < kChunks; ++i) seeds[i] = round * 1000 + i;
          std::shuffle(seeds.begin(), seeds.end(), order);
          const ModelVm vm = {{"vda", ModelDisk::OfChunks(seeds)}};
          if (writer == 0) {  // gives up each time, with others relying on it
            auto session = repository->BeginSession();
            EXPECT_TRUE(UploadDisk(*repository, *session, uuid, "vda", vm.at("vda")).ok());
            continue;
          }
          const auto point = Backup(*repository, uuid, vm);
          ASSERT_TRUE(point.ok()) << point.status();
          EXPECT_EQ(CompareVm(*repository, point->recovery_point_id(), vm), absl::OkStatus());
          if (writer != 1) continue;
          EXPECT_TRUE(repository->RemoveRecoveryPoint(point->recovery_point_id(), {}).ok());
        }
        --writing;
      });
    }
    threads.emplace_back([&] {
      while (writing > 0) {
        const auto report = repository->Verify({}, {}, {});
        ASSERT_TRUE(report.ok()) << report.status();
        EXPECT_TRUE(report->ok());
      }
    });
  }
  const auto report = repository->Verify({}, {}, {});
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_TRUE(report->ok());
  // Every map differs, so that each has a page of its own.
  EXPECT_EQ(report->chunk_count, kRounds * (kChunks + kWriters));
}

}  // namespace
}  // namespace umbra::repo
