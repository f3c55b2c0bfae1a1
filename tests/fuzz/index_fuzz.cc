// Target: index runs read back from disk. A run that loads answers every question without crashing, and knows only what
// lies in its own packs. The first byte says whether the hashes are made right again first, so that the bytes behind
// them are looked at, too.
#include <algorithm>
#include <cstring>
#include <memory>

#include "storage/repo/index_run.h"
#include "tests/fuzz/fuzz.h"
#include "tests/support/memory_blob_store.h"

namespace umbra::fuzz {
namespace {

constexpr char kUuid[] = "0c7f2a52-65d1-4c8e-9a51-1f5c3e8d7b20";
constexpr char kName[] = "index/1.run";
constexpr size_t kEntries = 200;

repo::ChunkId IdOf(uint64_t number) {
  repo::ChunkId id;
  for (size_t i = 0; i < repo::kChunkIdSize; ++i)
    id.bytes[i] = static_cast<std::byte>(number * 0x9e3779b97f4a7c15 >> (i * 3 % 56));
  return id;
}

std::string RunOf(size_t count) {
  testing::MemoryBlobStore store;
  repo::IndexRunWriter writer(*store.Create(kName), repo::ToRawUuid(kUuid), 7);
  std::vector<repo::ChunkId> ids;
  for (size_t i = 1; i <= count; ++i) ids.push_back(IdOf(i));
  std::sort(ids.begin(), ids.end());
  for (size_t i = 0; i < count; ++i) {
    Require(writer.Append({ids[i], static_cast<uint32_t>(i % 3), 100, 50, 60, repo::Codec::kZstd, i}).ok(),
            "a run is written");
  }
  std::vector<repo::IndexPack> packs(3);
  for (size_t i = 0; i < packs.size(); ++i) packs[i].id[0] = static_cast<std::byte>(i + 1);
  Require(writer.Finish(packs).ok(), "a run is finished");
  return *store.Get(kName, 1 << 20);
}

// Hashes of blocks and of the end, made right. False when the bytes don't hold together enough for that.
bool Sign(std::string& run) {
  const auto hash = [](std::string_view bytes, char* out, size_t size) {
    std::memcpy(out, repo::HashOf(base::AsBytes(bytes)).data(), size);
  };
  if (run.size() < repo::kIndexTrailerSize) return false;
  char* const trailer = run.data() + run.size() - repo::kIndexTrailerSize;
  uint64_t entries, packs;
  std::memcpy(&entries, trailer + 32, sizeof entries);
  std::memcpy(&packs, trailer + 40, sizeof packs);
  const uint64_t table = packs > run.size() ? run.size() : packs * repo::kIndexPackSize;
  if (table + repo::kIndexTrailerSize > run.size()) return false;
  for (size_t at = 0; at + repo::kIndexBlockSize <= run.size() - repo::kIndexTrailerSize - table;
       at += repo::kIndexBlockSize) {
    hash({run.data() + at, repo::kIndexBlockSize - 8}, run.data() + at + repo::kIndexBlockSize - 8, 8);
  }
  hash({trailer - table, table + 56}, trailer + 56, 32);
  return true;
}

}  // namespace

std::vector<std::string> Seeds() {
  return {"0" + RunOf(kEntries), "1" + RunOf(kEntries), "1" + RunOf(3), "1" + RunOf(0)};
}

void TestOneInput(std::string_view input) {
  if (input.empty()) return;
  std::string run(input.substr(1));
  if ((input[0] & 1) != 0 && !Sign(run)) return;
  testing::MemoryBlobStore store;
  Require(store.PutIfAbsent(kName, base::AsBytes(run)).ok(), "an object is stored");
  const auto loaded = repo::IndexRun::Load(store, kName, repo::ToRawUuid(kUuid));
  if (!loaded.ok()) return;
  for (uint64_t i = 0; i < kEntries + 5; ++i) {
    const auto found = (*loaded)->Find(IdOf(i));
    if (!found.ok() || !found->has_value()) continue;
    Require((*found)->id == IdOf(i), "a run finds what was asked for");
    Require((*found)->pack < (*loaded)->packs().size(), "an entry lies in one of the run's packs");
  }
  for (uint64_t block = 0; block < (*loaded)->block_count(); ++block) (void)(*loaded)->ReadEntries(block, 1);
}

}  // namespace umbra::fuzz
