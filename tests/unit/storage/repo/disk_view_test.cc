// Proves that a view gives the disk's bytes wherever and from however many threads it is read, whatever its cache holds
// or evicts; that it reads ahead of reads in order; and that damage is named, stays with its chunk, and isn't
// remembered.
#include "storage/repo/disk_view.h"

#include <gtest/gtest.h>

#include <thread>

#include "storage/repo/format.h"
#include "storage/repo/pack.h"
#include "tests/support/fault_filesystem.h"
#include "tests/unit/storage/repo/model.h"

namespace umbra::repo {
namespace {

using base::ReasonOf;

// Noise, text, holes, a chunk that is there twice, and a short last one.
ModelDisk MixedDisk(size_t chunks, uint32_t seed) {
  std::mt19937_64 random(seed);
  std::vector<uint32_t> seeds;
  for (size_t i = 0; i < chunks; ++i) seeds.push_back(random() % 4 == 0 ? 0 : static_cast<uint32_t>(1 + random() % 60));
  seeds.back() = 7;
  return ModelDisk::OfChunks(std::move(seeds), 1000);
}

std::string ContentOf(const ModelDisk& disk) {
  std::string content;
  for (size_t i = 0; i < disk.seeds.size(); ++i) content += disk.Content(i);
  return content;
}

class DiskViewTest : public RepositoryTest {
 protected:
  std::unique_ptr<DiskView> Open(const ModelDisk& disk, const DiskViewOptions& options = {}) {
    const ModelVm vm = {{"vda", disk}};
    const auto point = Backup(*repository_, "vm1", vm);
    EXPECT_TRUE(point.ok()) << point.status();
    auto view = repository_->OpenDiskView(point->recovery_point_id(), "vda", options);
    EXPECT_TRUE(view.ok()) << view.status();
    return *std::move(view);
  }

  // Flips the same bit of a chunk's stored bytes each time.
  void Flip(uint32_t seed) {
    const ChunkId id = repository_->hasher().Id(base::AsBytes(repo::ContentOf(seed, kTestChunkSize)));
    for (const std::string& path : fs_.AllFiles("/repository/packs")) {
      const std::string bytes = *fs_.ReadFile(path);
      const base::Bytes all = base::AsBytes(bytes);
      const auto trailer = *DecodePackTrailer(all.last(kPackTrailerSize), bytes.size());
      const auto slots = *DecodePackFooter(all.first(kPackHeaderSize), all.subspan(trailer.footer_offset, trailer.footer_length),
                                           all.last(kPackTrailerSize));
      for (const PackSlot& slot : slots) {
        if (slot.id == id) fs_.FlipBit(path, (slot.offset + slot.stored_length / 2) * 8 + 3);
      }
    }
  }
};

std::string Read(DiskView& view, uint64_t offset, size_t length) {
  std::string out(length, '?');
  const absl::Status read = view.ReadAt(offset, std::as_writable_bytes(std::span(out)));
  EXPECT_TRUE(read.ok()) << read;
  return out;
}

TEST_F(DiskViewTest, ReadsAnywhereFromManyThreadsGiveTheDisksBytes) {
  const ModelDisk disk = MixedDisk(70, 11);
  const std::string content = ContentOf(disk);
  // The smallest cache, which every thread alone overruns; and one that holds everything.
  for (const uint64_t cache : {uint64_t{0}, 128 * base::kMiB}) {
    const auto view = Open(disk, {.cache_bytes = cache, .read_ahead_threads = 2});
    ASSERT_EQ(view->capacity_bytes(), content.size());
    std::vector<std::jthread> threads;
    for (uint64_t seed = 1; seed <= 20; ++seed) {
      threads.emplace_back([&, seed] {
        std::mt19937_64 random(seed);
        for (int i = 0; i < 60; ++i) {
          const uint64_t longest = random() % 8 == 0   ? 40 * kTestChunkSize
                                   : random() % 2 == 0 ? 4096
                                                       : 2 * kTestChunkSize;
          const uint64_t offset = random() % content.size();
          const size_t length = std::min<uint64_t>(random() % longest, content.size() - offset);
          ASSERT_EQ(Read(*view, offset, length) == content.substr(offset, length), true)
              << "seed " << seed << ", " << length << " bytes at " << offset;
        }
      });
    }
  }
}

TEST_F(DiskViewTest, ReadsInOrderGiveTheDisksBytes) {
  const ModelDisk disk = MixedDisk(90, 12);
  const std::string content = ContentOf(disk);
  for (const size_t step : {size_t{4096}, size_t{kTestChunkSize}, size_t{kTestChunkSize * 3 + 512}, content.size()}) {
    const auto view = Open(disk);
    std::string read;
    while (read.size() < content.size()) read += Read(*view, read.size(), std::min(step, content.size() - read.size()));
    EXPECT_EQ(read == content, true) << "in steps of " << step;
  }
}

TEST_F(DiskViewTest, BeyondTheEndIsRefused) {
  const auto view = Open(ModelDisk::OfChunks({1, 2}, 100));
  std::byte out[200];
  EXPECT_EQ(ReasonOf(view->ReadAt(2 * kTestChunkSize - 200, out)), "INVALID_REQUEST");
  EXPECT_EQ(ReasonOf(view->ReadAt(UINT64_MAX, out)), "INVALID_REQUEST");
  EXPECT_TRUE(view->ReadAt(view->capacity_bytes(), {}).ok()) << "nothing at the end is nothing";
  EXPECT_EQ(ReasonOf(view->StretchAt(view->capacity_bytes()).status()), "INVALID_REQUEST");
}

TEST_F(DiskViewTest, StretchesTellHolesFromDataWithoutReadingIt) {
  // Data, one hole within a page, and a hole of more than a page of the map.
  std::vector<uint32_t> seeds = {1, 2, 0, 0, 3};
  seeds.resize(3 * kMapPageEntries + 5, 0);
  seeds.push_back(4);
  const ModelDisk disk = ModelDisk::OfChunks(seeds, 10);
  const auto view = Open(disk);
  for (const uint32_t seed : {1, 2, 3, 4}) Flip(seed);
  std::vector<bool> zero;
  for (uint64_t at = 0; at < view->capacity_bytes();) {
    const auto stretch = view->StretchAt(at);
    ASSERT_TRUE(stretch.ok()) << stretch.status();
    ASSERT_EQ(stretch->offset_bytes, at);
    ASSERT_GT(stretch->length_bytes, 0u);
    at += stretch->length_bytes;
    while (zero.size() * kTestChunkSize < at) zero.push_back(stretch->zero);
  }
  ASSERT_EQ(zero.size(), seeds.size());
  for (size_t i = 0; i < seeds.size(); ++i) ASSERT_EQ(zero[i], seeds[i] == 0) << i;
  EXPECT_EQ(view->StretchAt(100)->length_bytes, 2 * kTestChunkSize - 100) << "from the middle of a chunk";
}

TEST_F(DiskViewTest, ADamagedChunkIsNamedStaysAloneAndIsNotRemembered) {
  const auto view = Open(ModelDisk::OfChunks({1, 2, 3, 4, 5}), {.cache_bytes = base::kMiB, .read_ahead_threads = 0});
  Flip(3);
  // A part of the chunk, the whole chunk, and a stretch with good chunks around it, from several threads.
  for (const auto& [offset, length] : std::vector<std::pair<uint64_t, size_t>>{
           {2 * kTestChunkSize + 10, 20}, {2 * kTestChunkSize, kTestChunkSize}, {kTestChunkSize, 3 * kTestChunkSize}}) {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&view, offset = offset, length = length] {
        std::string out(length, '?');
        const absl::Status read = view->ReadAt(offset, std::as_writable_bytes(std::span(out)));
        EXPECT_EQ(read.code(), absl::StatusCode::kDataLoss);
        EXPECT_EQ(ReasonOf(read), "CHUNK_DAMAGED");
        EXPECT_NE(base::MessageOf(read).find(fmt::format("at offset {}", 2 * kTestChunkSize)), std::string::npos)
            << read;
        EXPECT_NE(base::MessageOf(read).find("disk vda"), std::string::npos) << read;
      });
    }
  }
  EXPECT_EQ(Read(*view, 3 * kTestChunkSize, 100), repo::ContentOf(4, kTestChunkSize).substr(0, 100));
  EXPECT_EQ(Read(*view, kTestChunkSize, kTestChunkSize), repo::ContentOf(2, kTestChunkSize));
  Flip(3);
  EXPECT_EQ(Read(*view, 2 * kTestChunkSize + 10, 20), repo::ContentOf(3, kTestChunkSize).substr(10, 20));
}

TEST_F(DiskViewTest, WhatTheCacheHoldsIsNotReadAgain) {
  const auto view = Open(ModelDisk::OfChunks({1, 2, 3}), {.cache_bytes = base::kMiB, .read_ahead_threads = 0});
  const std::string first = Read(*view, kTestChunkSize + 100, 100);
  Flip(2);
  EXPECT_EQ(Read(*view, kTestChunkSize + 200, 100), repo::ContentOf(2, kTestChunkSize).substr(200, 100));
  EXPECT_EQ(first, repo::ContentOf(2, kTestChunkSize).substr(100, 100));
}

TEST_F(DiskViewTest, ReadsInOrderAreReadAhead) {
  const ModelVm vm = {{"vda", ModelDisk::OfChunks({1, 3, 5, 7, 9, 11, 13, 15, 17, 19})}};
  const std::string point = Backup(*repository_, "vm1", vm)->recovery_point_id();
  repository_.reset();
  testing::FaultFilesystem faults(fs_);
  const auto repository = *Repository::Open(faults, clock_, random_, kPath, SmallOptions());
  // Threads are given a little time; with every try they have had more of it.
  bool ahead = false;
  for (int try_number = 0; try_number < 200 && !ahead; ++try_number) {
    const auto view = *repository->OpenDiskView(point, "vda", {});
    for (uint64_t at = 0; at < 3 * kTestChunkSize; at += 4096) Read(*view, at, 4096);
    for (int i = 0; i < try_number * 1000; ++i) std::this_thread::yield();
    faults.FailAt(1, testing::Fault::kIoError, /*for_good=*/true);
    std::byte out[4096];
    ahead = view->ReadAt(3 * kTestChunkSize, out).ok();
    faults.FailAt(0, testing::Fault::kIoError, false);
  }
  EXPECT_TRUE(ahead) << "a chunk that nobody had asked for was there although nothing could be read";
}

}  // namespace
}  // namespace umbra::repo
