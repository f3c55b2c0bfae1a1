// Proves that a restore writes exactly the stored disk, resumes after a cut link, and never writes a damaged chunk.
#include "agent/transfer/disk_restorer.h"

#include <gtest/gtest.h>

#include <functional>
#include <utility>

#include "agent/transfer/backup_pipeline.h"
#include "tests/support/memory_chunk_store.h"
#include "tests/support/memory_disk.h"
#include "tests/support/stepping_clock.h"

namespace umbra::transfer {
namespace {

constexpr size_t kChunk = testing::MemoryChunkStore::kChunkSize;

class DiskRestorerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    testing::MemoryReader reader(content_);
    const auto session = store_.OpenSession({});
    const auto pipeline = BackupPipeline::Create(store_, *session, meter_, cancellation_, {.memory_bytes = 16 * kChunk});
    const size_t number = meter_.AddDisk("vm", "vda", content_.size());
    ASSERT_TRUE(
        testing::BackUpWholeDisk(**pipeline, reader, {session->session_id(), "vm", "vda", content_.size()}, number)
            .ok());
  }

  absl::Status Restore() { return RestoreAs(content_.size()); }
  absl::Status RestoreAs(uint64_t capacity) {
    writer_ = std::make_unique<testing::MemoryWriter>(content_.size());
    const size_t number = meter_.AddDisk("vm", "vda", capacity);
    DiskRestorer restorer(store_, *writer_, meter_, number, cancellation_, clock_, random_, {.queue_messages = 3});
    return restorer.Run({"job", 1, "point", "vda", capacity});
  }

  // Over a disk that holds `before`.
  absl::Status RestoreOver(const std::string& before, std::function<absl::Status(uint64_t)> fault = nullptr) {
    writer_ = std::make_unique<testing::MemoryWriter>(before);
    testing::MemoryReader seed(before);
    seed.SetFault(std::move(fault));
    seed.FindExtents(3 * kChunk + 512);
    const size_t number = meter_.AddDisk("vm", "vda", content_.size());
    DiskRestorer restorer(store_, *writer_, meter_, number, cancellation_, clock_, random_, {.queue_messages = 3});
    restorer.UseSeed(seed);
    return restorer.Run({"job", 1, "point", "vda", content_.size()});
  }

  const std::string content_ = testing::MakeDiskContent(21, 120, kChunk, 700) + std::string(40 * kChunk, '\0');
  testing::SteppingClock clock_;
  base::SeededRandom random_{5};
  Cancellation cancellation_;
  ProgressMeter meter_{clock_};
  testing::MemoryChunkStore store_;
  std::unique_ptr<testing::MemoryWriter> writer_;
};

TEST_F(DiskRestorerTest, WritesTheDiskAndNoZeroes) {
  ASSERT_TRUE(Restore().ok());
  EXPECT_TRUE(writer_->content() == content_);
  uint64_t zero_chunks = 0;
  for (size_t at = 0; at < content_.size(); at += kChunk) {
    const std::string_view chunk = std::string_view(content_).substr(at, kChunk);
    if (base::IsZero(base::AsBytes(chunk))) zero_chunks += chunk.size();
  }
  EXPECT_EQ(writer_->written_bytes(), content_.size() - zero_chunks) << "zero chunks are left as holes";
  EXPECT_EQ(meter_.Figures().disks.back().done_bytes, content_.size());
  EXPECT_LT(writer_->writes(), writer_->written_bytes() / kChunk) << "neighbours are written together";
}

TEST_F(DiskRestorerTest, APartIsWrittenWithoutTheRest) {
  const auto ids = store_.disk("vm", "vda").ids;
  constexpr size_t kFirst = 10, kEnd = 21;
  size_t outside = kEnd;
  while (ids[outside].IsZero() || std::find(ids.begin() + kFirst, ids.begin() + kEnd, ids[outside]) != ids.begin() + kEnd) ++outside;
  store_.Damage(ids[outside]);  // nobody looks there
  writer_ = std::make_unique<testing::MemoryWriter>(content_.size());
  const size_t number = meter_.AddDisk("vm", "vda", content_.size());
  DiskRestorer restorer(store_, *writer_, meter_, number, cancellation_, clock_, random_, {.queue_messages = 3});
  DiskSource source{"job", 1, "point", "vda", content_.size()};
  source.first_chunk = kFirst;
  source.end_bytes = (kEnd - 1) * kChunk + 1;
  const absl::Status restored = restorer.Run(source);
  ASSERT_TRUE(restored.ok()) << base::Describe(restored);
  EXPECT_EQ(restorer.chunk_size_bytes(), kChunk);
  std::string expected(content_.size(), '\0');
  expected.replace(kFirst * kChunk, (kEnd - kFirst) * kChunk, content_, kFirst * kChunk, (kEnd - kFirst) * kChunk);
  EXPECT_TRUE(writer_->content() == expected);
  EXPECT_LT(meter_.Figures().disks.back().done_bytes, content_.size()) << "the disk is not done";
}

TEST_F(DiskRestorerTest, FlippedBitIsNamedAndNotWritten) {
  const auto ids = store_.disk("vm", "vda").ids;
  size_t place = 0;
  while (ids[place].IsZero()) ++place;
  store_.Damage(ids[place]);
  const absl::Status status = Restore();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(base::ReasonOf(status), "CHUNK_DAMAGED");
  EXPECT_NE(base::MessageOf(status).find(ids[place].ToHex()), std::string::npos) << base::Describe(status);
  EXPECT_NE(base::MessageOf(status).find("vda"), std::string::npos);
  EXPECT_NE(base::MessageOf(status).find(fmt::format("offset {}", place * kChunk)), std::string::npos);
  const std::string written = writer_->content();
  for (size_t at = 0; at < content_.size(); at += kChunk) {
    const std::string_view chunk = std::string_view(written).substr(at, kChunk);
    EXPECT_TRUE(base::IsZero(base::AsBytes(chunk)) || chunk == std::string_view(content_).substr(at, kChunk))
        << "a wrong byte was written in the chunk at " << at;
  }
}

TEST_F(DiskRestorerTest, ResumesWhereTheLinkWasCut) {
  store_.SetReadFault([](int number) {
    static int cuts = 0;
    if (number % 7 == 6 && cuts < 5) {
      ++cuts;
      return absl::UnavailableError("connection reset");
    }
    return absl::OkStatus();
  });
  ASSERT_TRUE(Restore().ok());
  EXPECT_TRUE(writer_->content() == content_);
  EXPECT_EQ(store_.calls("ReadDisk"), 6);
}

TEST_F(DiskRestorerTest, EveryChunkIsWrittenOnceAlsoAfterACut) {
  ASSERT_TRUE(Restore().ok());
  const uint64_t uncut = writer_->written_bytes();
  bool cut = false;
  store_.SetReadFault([&cut](int) {
    return std::exchange(cut, true) ? absl::OkStatus() : absl::UnavailableError("connection reset");
  });
  ASSERT_TRUE(Restore().ok());
  EXPECT_EQ(writer_->written_bytes(), uncut);
}

TEST_F(DiskRestorerTest, OverTheSameDiskNothingIsWritten) {
  ASSERT_TRUE(RestoreOver(content_).ok());
  EXPECT_EQ(writer_->written_bytes(), 0u);
  EXPECT_TRUE(writer_->content() == content_);
  EXPECT_EQ(meter_.Figures().disks.back().done_bytes, content_.size());
}

TEST_F(DiskRestorerTest, OverAnotherDiskWhatDiffersIsWrittenAndZeroesToo) {
  // Every seventh chunk is something else: data where zeros belong, other data, and zeros where data belongs.
  std::string before = content_;
  uint64_t differing = 0;
  for (size_t at = 0, i = 0; at < before.size(); at += kChunk, ++i) {
    const size_t length = std::min(kChunk, before.size() - at);
    if (i % 7 != 3) continue;
    const std::string other(length, i % 2 == 0 ? '\0' : 'x');
    differing += before.compare(at, length, other) == 0 ? 0 : length;
    before.replace(at, length, other);
  }
  before[before.size() - 1] = 'y';  // alone in a hole at the end
  ASSERT_TRUE(RestoreOver(before).ok());
  EXPECT_TRUE(writer_->content() == content_);
  EXPECT_GE(writer_->written_bytes(), differing);
  EXPECT_LE(writer_->written_bytes(), differing + kChunk) << "the chunk of the last byte";
  EXPECT_GT(differing, 10 * kChunk);
}

TEST_F(DiskRestorerTest, ARestoreThatWasCutGoesOnFromWhatItHadWritten) {
  ASSERT_TRUE(Restore().ok());
  const uint64_t uncut = writer_->written_bytes();
  store_.SetReadFault([](int number) { return number % 40 == 20 ? absl::DataLossError("the power is gone") : absl::OkStatus(); });
  EXPECT_FALSE(Restore().ok());
  const std::string partial = writer_->content();
  const uint64_t written = writer_->written_bytes();
  EXPECT_GT(written, 0u);
  EXPECT_LT(written, uncut);
  store_.SetReadFault(nullptr);
  ASSERT_TRUE(RestoreOver(partial).ok());
  EXPECT_TRUE(writer_->content() == content_);
  EXPECT_EQ(writer_->written_bytes(), uncut - written);
}

TEST_F(DiskRestorerTest, AChunkThatTheDiskHasNeedNotBeWholeInTheStore) {
  const auto ids = store_.disk("vm", "vda").ids;
  size_t place = 0;
  while (ids[place].IsZero()) ++place;
  store_.Damage(ids[place]);
  EXPECT_TRUE(RestoreOver(content_).ok());
  std::string before = content_;
  before[place * kChunk] ^= 1;
  EXPECT_EQ(base::ReasonOf(RestoreOver(before)), "CHUNK_DAMAGED");
}

TEST_F(DiskRestorerTest, WhatTheDiskCanNotReadIsWritten) {
  const auto bad = [](uint64_t offset) {  // data and zeros alike
    return offset / kChunk % 3 == 1 ? absl::UnavailableError("a bad sector") : absl::OkStatus();
  };
  ASSERT_TRUE(RestoreOver(content_, bad).ok());
  EXPECT_TRUE(writer_->content() == content_);
  EXPECT_GT(writer_->written_bytes(), content_.size() / 5);
  EXPECT_LT(writer_->written_bytes(), content_.size() / 2);
  ASSERT_TRUE(RestoreOver(std::string(content_.size(), 'x'), bad).ok());
  EXPECT_TRUE(writer_->content() == content_);
}

TEST_F(DiskRestorerTest, ADiskOfAnotherSizeIsNoSeed) {
  EXPECT_EQ(base::ReasonOf(RestoreOver(content_ + "x")), "INVALID_REQUEST");
  EXPECT_EQ(writer_->written_bytes(), 0u);
}

TEST_F(DiskRestorerTest, GivesUpWhenTheLinkStaysDown) {
  store_.SetReadFault([](int number) { return number > 3 ? absl::UnavailableError("no route") : absl::OkStatus(); });
  const absl::Status status = Restore();
  EXPECT_EQ(base::ReasonOf(status), "AGENT_LOST");
  EXPECT_LT(clock_.Monotonic(), absl::Seconds(60));
}

TEST_F(DiskRestorerTest, OtherErrorsOfTheStoreAreTheAnswer) {
  store_.SetReadFault([](int number) {
    return number == 2 ? base::MakeError(absl::StatusCode::kDataLoss, "CHUNK_MISSING", "gone") : absl::OkStatus();
  });
  EXPECT_EQ(base::ReasonOf(Restore()), "CHUNK_MISSING");
}

TEST_F(DiskRestorerTest, DiskOfAnotherSizeIsRefusedBeforeAnythingIsWritten) {
  EXPECT_FALSE(RestoreAs(content_.size() - kChunk).ok());
  EXPECT_EQ(writer_->written_bytes(), 0u);
}

TEST_F(DiskRestorerTest, CancelEndsIt) {
  store_.SetReadFault([this](int number) {
    if (number == 5) cancellation_.Cancel(base::MakeError(absl::StatusCode::kCancelled, "CANCELLED", "stop"));
    return absl::OkStatus();
  });
  EXPECT_EQ(base::ReasonOf(Restore()), "CANCELLED");
}

}  // namespace
}  // namespace umbra::transfer
