// The chunk index by itself: memory and speed with as many chunks as asked, in one run on disk.
#include <malloc.h>

#include <cstdio>
#include <random>

#include "storage/base/clock.h"
#include "storage/base/filesystem.h"
#include "storage/base/random.h"
#include "storage/base/status.h"
#include "storage/repo/blob_file.h"
#include "storage/repo/chunk_index.h"
#include "tests/bench/repository/bench.h"

namespace umbra::bench {
namespace {

constexpr uint32_t kStoredLength = 40 * 1024;
constexpr uint32_t kPlainLength = 128 * 1024;
constexpr uint64_t kChunksPerPack = 64 * 1024;
constexpr uint64_t kLookups = 1'000'000;
constexpr uint64_t kTiB = 1024 * base::kGiB;

repo::PackId PackOf(uint64_t number) {
  repo::PackId id{};
  std::memcpy(id.data(), &number, sizeof number);
  id[15] = std::byte{1};
  return id;
}

}  // namespace

repo::ChunkId IdOf(uint64_t rank, uint64_t count) {
  repo::ChunkId id;
  std::mt19937_64 rest(rank);
  const uint64_t stride = UINT64_MAX / count;
  const uint64_t prefix = stride * rank + rest() % stride;
  for (int i = 0; i < 8; ++i) id.bytes[i] = static_cast<std::byte>(prefix >> (56 - 8 * i));
  for (int word = 1; word < 4; ++word) {
    const uint64_t value = rest();
    std::memcpy(id.bytes.data() + 8 * word, &value, 8);
  }
  return id;
}

void WriteRun(repo::BlobStore& store, const repo::RawUuid& repository, uint64_t chunks) {
  const uint64_t packs = chunks / kChunksPerPack + 1;
  repo::IndexRunWriter writer(Require(store.Create(repo::RunName(1, "00000000"))), repository, 1);
  for (uint64_t rank = 0; rank < chunks; ++rank) {
    const uint64_t place = rank * 0x9e3779b97f4a7c15 % chunks;
    Require(writer.Append({.id = IdOf(rank, chunks),
                           .pack = static_cast<uint32_t>(place % packs),
                           .offset = static_cast<uint32_t>(place / packs * kStoredLength),
                           .stored_length = kStoredLength,
                           .plain_length = kPlainLength,
                           .codec = repo::Codec::kZstd,
                           .check = place}));
  }
  std::vector<repo::IndexPack> table;
  for (uint64_t i = 0; i < packs; ++i) {
    table.push_back({PackOf(i), kChunksPerPack * kStoredLength, 1});
    // The index only looks whether the pack is there.
    Require(store.PutIfAbsent(repo::PackName(PackOf(i)), base::AsBytes("-")));
  }
  Require(writer.Finish(table));
}

namespace {

double LookupsPerSecond(const repo::ChunkIndex& index, uint64_t chunks, bool known) {
  std::mt19937_64 random(chunks);
  std::vector<repo::ChunkId> ids;
  for (uint64_t i = 0; i < kLookups; ++i) {
    ids.push_back(IdOf(random() % chunks, chunks));
    if (!known)
      ids.back().bytes[31] ^= std::byte{0xff}, ids.back().bytes[20] ^= std::byte{0x55},
          ids.back().bytes[10] ^= std::byte{0x77};
  }
  const double start = WallSeconds();
  for (const repo::ChunkId& id : ids) {
    if (Require(index.FindHealthy(id)).has_value() != known) Require(absl::InternalError("the index is wrong"));
  }
  return static_cast<double>(kLookups) / (WallSeconds() - start);
}

}  // namespace

void MeasureIndex(const std::string& folder, uint64_t chunks) {
  base::PosixFilesystem files;
  base::SystemRandom random;
  Require(files.MakeDirectories(folder));
  const auto store = Require(repo::FileBlobStore::Open(files, folder));
  repo::RawUuid repository{};
  WriteRun(*store, repository, chunks);
  malloc_trim(0);
  const uint64_t before = ResidentBytes();
  repo::ChunkIndex index(*store, random, repository, 256 * 1024);
  const double start = WallSeconds();
  Require(index.Load());
  const double load_seconds = WallSeconds() - start;
  const uint64_t resident = ResidentBytes() - before;
  const double known = LookupsPerSecond(index, chunks, true);
  const double unknown = LookupsPerSecond(index, chunks, false);
  const double per_tib =
      static_cast<double>(resident) / static_cast<double>(chunks) * static_cast<double>(kTiB / kPlainLength);
  std::printf(
      "{\"chunks\": %lu, \"resident_bytes\": %lu, \"resident_bytes_per_tib\": %.0f, \"load_seconds\": %.3f, "
      "\"known_per_second\": %.0f, \"unknown_per_second\": %.0f}\n",
      chunks, resident, per_tib, load_seconds, known, unknown);
}

}  // namespace umbra::bench
