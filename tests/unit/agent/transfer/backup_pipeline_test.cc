// Proves that a backup stores exactly the disk, each chunk once, and that every failure on the way ends it cleanly.
#include "agent/transfer/backup_pipeline.h"

#include <gtest/gtest.h>

#include <atomic>
#include <set>

#include "agent/transfer/disk_restorer.h"
#include "agent/transfer/retrying_store.h"
#include "tests/support/memory_chunk_store.h"
#include "tests/support/memory_disk.h"
#include "tests/support/stepping_clock.h"

namespace umbra::transfer {
namespace {

constexpr size_t kChunk = testing::MemoryChunkStore::kChunkSize;

class BackupPipelineTest : public ::testing::Test {
 protected:
  absl::Status BackUp(testing::MemoryReader& reader, const std::string& disk = "vda") {
    RetryingStore store(store_, clock_, random_, cancellation_);
    ASSIGN_OR_RETURN(const auto session, store.OpenSession({}));
    ASSIGN_OR_RETURN(const auto pipeline, BackupPipeline::Create(store, session, meter_, cancellation_, settings_));
    const size_t number = meter_.AddDisk("vm", disk, reader.capacity_bytes());
    return testing::BackUpWholeDisk(*pipeline, reader, {session.session_id(), "vm", disk, reader.capacity_bytes()},
                                    number);
  }

  absl::StatusOr<std::string> Restore(uint64_t capacity, const std::string& disk = "vda") {
    testing::MemoryWriter writer(capacity);
    const size_t number = meter_.AddDisk("vm", disk, capacity);
    DiskRestorer restorer(store_, writer, meter_, number, cancellation_, clock_, random_);
    RETURN_IF_ERROR(restorer.Run({"job", 1, "point", disk, capacity}));
    return writer.content();
  }

  testing::SteppingClock clock_;
  base::SeededRandom random_{5};
  Cancellation cancellation_;
  ProgressMeter meter_{clock_};
  testing::MemoryChunkStore store_;
  // Processors of their own, whatever else this machine does.
  static base::ThreadTimes Alone() { return {absl::ZeroDuration(), absl::ZeroDuration()}; }
  BackupSettings settings_{.memory_bytes = 16 * kChunk, .upload_batch_bytes = 3 * kChunk, .thread_times = Alone};
};

TEST_F(BackupPipelineTest, StoredEqualsSourceForRandomDisks) {
  for (uint64_t seed = 1; seed <= 12; ++seed) {
    SCOPED_TRACE(seed);
    const std::string content = testing::MakeDiskContent(seed, 20 + seed * 13, kChunk, seed % 3 == 0 ? 0 : seed * 512);
    testing::MemoryReader reader(content);
    if (seed % 2 == 0) reader.FindExtents(4096 << (seed % 5));
    reader.SetPieces(seed % 4 == 1 ? kChunk / 4 : kChunk, seed);
    const std::string disk = "vd" + std::to_string(seed);
    ASSERT_TRUE(BackUp(reader, disk).ok());
    const auto restored = Restore(content.size(), disk);
    ASSERT_TRUE(restored.ok()) << base::Describe(restored.status());
    ASSERT_TRUE(*restored == content);
  }
}

TEST_F(BackupPipelineTest, EachChunkIsSentOnceAndHolesAreNotRead) {
  const std::string content = testing::MakeDiskContent(4, 200, kChunk, 0) + std::string(100 * kChunk, '\0');
  std::set<std::string> distinct;
  uint64_t data = 0;
  for (size_t at = 0; at < content.size(); at += kChunk) {
    const std::string chunk = content.substr(at, kChunk);
    if (base::IsZero(base::AsBytes(chunk))) continue;
    distinct.insert(chunk);
    data += kChunk;
  }
  testing::MemoryReader reader(content);
  reader.FindExtents(kChunk);
  ASSERT_TRUE(BackUp(reader).ok());
  EXPECT_EQ(store_.chunks_received(), distinct.size());
  EXPECT_EQ(reader.read_bytes(), data);
  const TransferFigures figures = meter_.Figures();
  EXPECT_EQ(figures.new_bytes, distinct.size() * kChunk);
  EXPECT_LT(figures.stored_bytes, figures.new_bytes);
  EXPECT_EQ(figures.read_bytes, data);
  EXPECT_EQ(figures.done_bytes, content.size());

  testing::MemoryReader again(content);
  ASSERT_TRUE(BackUp(again).ok());
  EXPECT_EQ(store_.chunks_received(), distinct.size()) << "a second backup of the same content sends nothing";
}

// Compressing is only cut short when processors are what everything else waits for.
class CompressionTest : public BackupPipelineTest {
 protected:
  static constexpr size_t kChunks = 200;
  static constexpr repo::Compression kFast = {repo::Codec::kLz4, 50};

  CompressionTest() {
    while (content_.size() < kChunks * kChunk)
      content_ += fmt::format("line {} of a log that compresses\n", content_.size() * 7919);
    content_.resize(kChunks * kChunk);
    usual_ = SizeWith({});
    fast_ = SizeWith(kFast);
    store_.SetFast(kFast);
    settings_.memory_bytes = 2 * content_.size();  // room for the whole disk: nothing waits
  }

  uint64_t SizeWith(const repo::Compression& how) {
    uint64_t size = 0;
    std::vector<std::byte> scratch;
    for (size_t at = 0; at < content_.size(); at += kChunk) {
      size +=
          repo::CompressChunk(base::AsBytes(std::string_view(content_).substr(at, kChunk)), how, scratch).data.size();
    }
    return size;
  }

  uint64_t StoredBytes() {
    testing::MemoryReader reader(content_);
    EXPECT_TRUE(BackUp(reader).ok());
    return meter_.Figures().stored_bytes;
  }

  std::string content_;
  uint64_t usual_ = 0, fast_ = 0;
};

TEST_F(CompressionTest, UsualWhileNothingWaits) {
  ASSERT_LT(usual_, fast_);
  EXPECT_EQ(StoredBytes(), usual_);
}

TEST_F(CompressionTest, FastWhileTheReaderWaitsForRoom) {
  settings_.memory_bytes = 8 * kChunk;
  const uint64_t stored = StoredBytes();
  EXPECT_GT(stored, usual_) << "of a disk of " << kChunks << " chunks, not one was compressed fast";
  EXPECT_LE(stored, fast_);
}

TEST_F(CompressionTest, FastWhileOthersWantTheProcessors) {
  // Every stretch takes twice what it computes.
  std::atomic<int> calls = 0;
  settings_.thread_times = [&calls] {
    const int n = ++calls;
    return base::ThreadTimes{absl::Microseconds(100 * n), absl::Microseconds(200 * n)};
  };
  settings_.workers = 1;
  settings_.upload_batch_bytes = 100 * kChunk;  // a batch is always at hand
  const uint64_t stored = StoredBytes();
  EXPECT_GT(stored, (usual_ + 3 * fast_) / 4) << "it notices within a few chunks";
}

TEST_F(BackupPipelineTest, EmptyAndTinyDisks) {
  for (const std::string& content : {std::string(10 * kChunk, '\0'), std::string(512, 'x'), std::string(kChunk, 'y')}) {
    testing::MemoryReader reader(content);
    reader.FindExtents(512);
    const std::string disk = "vd" + std::to_string(content.size());
    ASSERT_TRUE(BackUp(reader, disk).ok());
    EXPECT_EQ(*Restore(content.size(), disk), content);
  }
}

// Every call of a backup fails once, for good: the backup fails with that error, no map is handed in.
TEST_F(BackupPipelineTest, FailingCallEndsTheBackup) {
  const std::string content = testing::MakeDiskContent(9, 150, kChunk, 100);
  for (const char* failing : {"OpenSession", "Negotiate", "Upload", "PutDiskMap"}) {
    for (int at : {0, 1, 2}) {
      if (at > 0 && std::string(failing) != "Negotiate" && std::string(failing) != "Upload") continue;
      testing::MemoryChunkStore store;
      store.SetFault([&](const std::string& call, int number) {
        return call == failing && number == at
                   ? base::MakeError(absl::StatusCode::kResourceExhausted, "STORAGE_FULL", "full")
                   : absl::OkStatus();
      });
      testing::MemoryReader reader(content);
      Cancellation cancellation;
      const auto session = store.OpenSession({});
      absl::Status status = session.status();
      if (session.ok()) {
        const auto pipeline = BackupPipeline::Create(store, *session, meter_, cancellation, settings_);
        const size_t number = meter_.AddDisk("vm", "vda", content.size());
        status =
            testing::BackUpWholeDisk(**pipeline, reader, {session->session_id(), "vm", "vda", content.size()}, number);
        EXPECT_EQ(
            testing::BackUpWholeDisk(**pipeline, reader, {session->session_id(), "vm", "vda", content.size()}, number),
            status);
      }
      EXPECT_EQ(base::ReasonOf(status), "STORAGE_FULL") << failing << " " << at;
      EXPECT_TRUE(store.disk("vm", "vda").ids.empty());
    }
  }
}

TEST_F(BackupPipelineTest, LivesThroughALinkThatComesBack) {
  const std::string content = testing::MakeDiskContent(10, 150, kChunk, 0);
  for (bool late : {false, true}) {  // the request or the answer was lost
    if (late) store_.SetLateFault();
    store_.SetFault([](const std::string&, int number) {
      return number % 3 == 1 ? absl::UnavailableError("connection reset") : absl::OkStatus();
    });
    testing::MemoryReader reader(content);
    const absl::Status status = BackUp(reader);
    ASSERT_TRUE(status.ok()) << base::Describe(status);
    store_.SetFault({});
    EXPECT_TRUE(*Restore(content.size()) == content);
  }
}

TEST_F(BackupPipelineTest, LinkThatStaysDownEndsTheBackup) {
  store_.SetFault([](const std::string& call, int number) {
    return call == "Upload" && number >= 1 ? absl::UnavailableError("connection reset") : absl::OkStatus();
  });
  testing::MemoryReader reader(testing::MakeDiskContent(11, 150, kChunk, 0));
  EXPECT_EQ(base::ReasonOf(BackUp(reader)), "AGENT_LOST");
}

TEST_F(BackupPipelineTest, LostSessionEndsTheBackup) {
  testing::MemoryReader reader(testing::MakeDiskContent(12, 150, kChunk, 0));
  reader.SetFault([this](uint64_t offset) {
    if (offset == 70 * kChunk) store_.LoseSessions();
    return absl::OkStatus();
  });
  EXPECT_EQ(base::ReasonOf(BackUp(reader)), "SESSION_NOT_FOUND");
}

TEST_F(BackupPipelineTest, WhatTheStoreLostMeanwhileIsSentAgain) {
  const std::string content = testing::MakeDiskContent(15, 150, kChunk, 300);
  testing::MemoryReader first(content);
  ASSERT_TRUE(BackUp(first).ok());
  const uint64_t received = store_.chunks_received();
  // All chunks are known, and then a part of them is gone when the map is handed in; once more at the second try.
  store_.SetFault([this](const std::string& call, int number) {
    if (call == "PutDiskMap" && number < 3) store_.LoseChunksLocked(5);
    return absl::OkStatus();
  });
  testing::MemoryReader reader(content);
  const absl::Status status = BackUp(reader);
  ASSERT_TRUE(status.ok()) << base::Describe(status);
  EXPECT_EQ(store_.calls("PutDiskMap"), 4);
  EXPECT_GT(store_.chunks_received(), received);
  EXPECT_LT(reader.read_bytes(), first.read_bytes() * 2) << "only what was lost is read again";
  EXPECT_EQ(meter_.Figures().disks.back().done_bytes, content.size());
  store_.SetFault({});
  EXPECT_TRUE(*Restore(content.size()) == content);
}

TEST_F(BackupPipelineTest, AStoreThatLosesChunksForEverEndsTheBackup) {
  testing::MemoryReader reader(testing::MakeDiskContent(16, 150, kChunk, 0));
  store_.SetFault([this](const std::string& call, int) {
    if (call == "PutDiskMap") store_.LoseChunksLocked(5);
    return absl::OkStatus();
  });
  EXPECT_EQ(base::ReasonOf(BackUp(reader)), "CHUNK_MISSING");
  EXPECT_TRUE(store_.disk("vm", "vda").ids.empty());
}

TEST_F(BackupPipelineTest, ReaderErrorIsTheAnswer) {
  testing::MemoryReader reader(std::string(300 * kChunk, 'x'));
  reader.SetFault([](uint64_t offset) {
    return offset > 100 * kChunk ? base::MakeError(absl::StatusCode::kAborted, "GUEST_STOPPED", "the guest died")
                                 : absl::OkStatus();
  });
  EXPECT_EQ(base::ReasonOf(BackUp(reader)), "GUEST_STOPPED");
}

TEST_F(BackupPipelineTest, DriverThatLeavesDataOutIsCaught) {
  testing::MemoryReader reader(testing::MakeDiskContent(13, 40, kChunk, 0));
  reader.Skip(7 * kChunk);
  const absl::Status status = BackUp(reader);
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_TRUE(store_.disk("vm", "vda").ids.empty());
}

TEST_F(BackupPipelineTest, CancelEndsItWithTheReason) {
  testing::MemoryReader reader(testing::MakeDiskContent(14, 150, kChunk, 0));
  reader.SetFault([this](uint64_t offset) {
    if (offset == 64 * kChunk)
      cancellation_.Cancel(base::MakeError(absl::StatusCode::kCancelled, "CANCELLED", "by a person"));
    return absl::OkStatus();
  });
  EXPECT_EQ(base::ReasonOf(BackUp(reader)), "CANCELLED");
}

TEST_F(BackupPipelineTest, RefusesASessionThatItCantServe) {
  store::v1::OpenSessionResponse session = *store_.OpenSession({});
  session.set_chunk_size_bytes(100'000);
  EXPECT_FALSE(BackupPipeline::Create(store_, session, meter_, cancellation_, settings_).ok());
  session.set_chunk_size_bytes(kChunk);
  session.set_id_suite(9);
  EXPECT_FALSE(BackupPipeline::Create(store_, session, meter_, cancellation_, settings_).ok());
}

}  // namespace
}  // namespace umbra::transfer
