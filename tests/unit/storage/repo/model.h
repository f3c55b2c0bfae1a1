// Disks as the tests of this room know them: a list of seeds, one per chunk, from which the content can be made again.
#ifndef UMBRA_TESTS_UNIT_STORAGE_REPO_MODEL_H_
#define UMBRA_TESTS_UNIT_STORAGE_REPO_MODEL_H_

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "storage/base/clock.h"
#include "storage/base/random.h"
#include "storage/base/status.h"
#include "storage/repo/repository.h"
#include "tests/support/memory_filesystem.h"
#include "tests/support/repository_key.h"

namespace umbra::repo {

inline constexpr uint32_t kTestChunkSize = kMinChunkSizeBytes;

// The smallest chunks and packs that the format allows, so that little data already fills several.
inline RepositoryOptions SmallOptions() {
  RepositoryOptions options;
  options.chunk_size_bytes = kTestChunkSize;
  options.pack_size_bytes = 4 * kTestChunkSize;
  return testing::WithTestKey(options);
}

// `length` bytes that only depend on `seed`: half of the seeds give text that compresses, the others noise. 0 gives
// zeros.
inline std::string ContentOf(uint32_t seed, size_t length) {
  std::string content(length, '\0');
  if (seed == 0) return content;
  if (seed % 2 == 0) {
    for (size_t i = 0; i < length; ++i) content[i] = "The quick brown fox"[(i * seed / 7) % 19];
    for (size_t i = 0; i + 4 < length; i += 4096) std::memcpy(content.data() + i, &seed, 4);
    return content;
  }
  std::mt19937_64 engine(seed);
  for (size_t i = 0; i < length; i += 8) {
    const uint64_t word = engine();
    std::memcpy(content.data() + i, &word, std::min<size_t>(8, length - i));
  }
  return content;
}

struct ModelDisk {
  uint64_t capacity_bytes = 0;
  std::vector<uint32_t> seeds;  // one per chunk

  static ModelDisk OfChunks(std::vector<uint32_t> seeds, uint64_t missing_at_end = 0) {
    ModelDisk disk{seeds.size() * kTestChunkSize - missing_at_end, std::move(seeds)};
    return disk;
  }
  size_t LengthOf(size_t chunk) const {
    return static_cast<size_t>(std::min<uint64_t>(kTestChunkSize, capacity_bytes - chunk * kTestChunkSize));
  }
  std::string Content(size_t chunk) const { return ContentOf(seeds[chunk], LengthOf(chunk)); }
  uint64_t DataBytes() const {
    uint64_t sum = 0;
    for (size_t i = 0; i < seeds.size(); ++i) sum += seeds[i] == 0 ? 0 : LengthOf(i);
    return sum;
  }
};

using ModelVm = std::map<std::string, ModelDisk>;  // by target name

// Sends the chunks that are wanted, and the map.
inline absl::Status UploadDisk(Repository& repository, UploadSession& session, const std::string& vm_uuid,
                               const std::string& name, const ModelDisk& disk) {
  std::vector<ChunkId> ids;
  for (size_t i = 0; i < disk.seeds.size(); ++i) {
    const std::string content = disk.Content(i);
    ids.push_back(disk.seeds[i] == 0 ? kZeroChunkId : repository.hasher().Id(base::AsBytes(content)));
    ASSIGN_OR_RETURN(const auto wanted, session.Wanted({&ids.back(), 1}));
    if (wanted[0] == 0) continue;
    std::vector<std::byte> scratch;
    const CompressedChunk chunk = CompressChunk(base::AsBytes(content), {}, scratch);
    RETURN_IF_ERROR(session.Put({ids.back(), static_cast<uint32_t>(content.size()), chunk.codec, chunk.data}).status());
  }
  ASSIGN_OR_RETURN(auto map, session.AddDiskMap(vm_uuid, name, disk.capacity_bytes));
  RETURN_IF_ERROR(map->Append(ids));
  ASSIGN_OR_RETURN(const uint64_t data_bytes, map->Finish());
  EXPECT_EQ(data_bytes, disk.DataBytes());
  return absl::OkStatus();
}

inline Manifest ManifestOf(const std::string& vm_uuid, const ModelVm& vm) {
  Manifest manifest;
  manifest.set_vm_uuid(vm_uuid);
  manifest.set_vm_display_name("vm-" + vm_uuid);
  for (const auto& [name, disk] : vm) {
    auto& entry = *manifest.add_disks();
    entry.set_name(name);
    entry.set_capacity_bytes(static_cast<int64_t>(disk.capacity_bytes));
  }
  return manifest;
}

// One backup of one virtual machine; returns the manifest as stored.
inline absl::StatusOr<Manifest> Backup(Repository& repository, const std::string& vm_uuid, const ModelVm& vm) {
  auto session = repository.BeginSession();
  for (const auto& [name, disk] : vm) RETURN_IF_ERROR(UploadDisk(repository, *session, vm_uuid, name, disk));
  ASSIGN_OR_RETURN(auto manifests, session->Commit({ManifestOf(vm_uuid, vm)}));
  return manifests.at(0);
}

// OK when the stored disk equals `disk`, byte for byte; else the error, or INTERNAL at the first difference.
inline absl::Status CompareDisk(Repository& repository, const std::string& point, const std::string& name,
                                const ModelDisk& disk) {
  ASSIGN_OR_RETURN(auto reader, repository.OpenDisk(point, name));
  if (reader->capacity_bytes() != disk.capacity_bytes) return absl::InternalError("another capacity");
  std::vector<std::byte> scratch;
  uint64_t next = 0;
  while (true) {
    ASSIGN_OR_RETURN(const auto chunks, reader->Next(3 * kTestChunkSize));
    if (chunks.empty()) break;
    for (const DiskChunk& at : chunks) {
      const uint64_t index = at.offset_bytes / kTestChunkSize;
      for (; next < index; ++next) {
        if (disk.seeds.at(next) != 0) return absl::InternalError("a chunk was left out");
      }
      base::Bytes plain;
      RETURN_IF_ERROR(OpenChunk(repository.hasher(), at.chunk.id, at.chunk.codec, at.chunk.plain_length, at.chunk.data,
                                scratch, plain));
      if (base::AsText(plain) != disk.Content(index)) return absl::InternalError("other bytes");
      ++next;
    }
  }
  for (; next < disk.seeds.size(); ++next) {
    if (disk.seeds[next] != 0) return absl::InternalError("a chunk at the end was left out");
  }
  return absl::OkStatus();
}

inline absl::Status CompareVm(Repository& repository, const std::string& point, const ModelVm& vm) {
  for (const auto& [name, disk] : vm)
    RETURN_IF_ERROR(base::Annotate(CompareDisk(repository, point, name, disk), "{}", name));
  return absl::OkStatus();
}

// A repository in the simulated filesystem.
class RepositoryTest : public ::testing::Test {
 protected:
  static constexpr char kPath[] = "/repository";

  void SetUp() override { Reopen(); }
  void Reopen(const RepositoryOptions& options = SmallOptions()) {
    repository_.reset();
    auto opened = Repository::OpenOrCreate(fs_, clock_, random_, kPath, options);
    ASSERT_TRUE(opened.ok()) << opened.status();
    repository_ = *std::move(opened);
  }

  testing::MemoryFilesystem fs_;
  base::SystemClock clock_;
  base::SeededRandom random_{1};
  std::unique_ptr<Repository> repository_;
};

}  // namespace umbra::repo

#endif  // UMBRA_TESTS_UNIT_STORAGE_REPO_MODEL_H_
