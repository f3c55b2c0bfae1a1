// The mark of a prune by itself: how many references of recovery points it follows in a second.
//
// Every point is a disk that has each chunk of the repository once, in an order of its own, so that no two points share
// a page of their maps and no page is in the order of the index: the worst that maps can be.
#include <cstdio>
#include <numeric>

#include "storage/base/clock.h"
#include "storage/base/filesystem.h"
#include "storage/base/random.h"
#include "storage/base/status.h"
#include "storage/repo/blob_file.h"
#include "storage/repo/core.h"
#include "storage/repo/mark.h"
#include "storage/repo/pack.h"
#include "tests/bench/repository/bench.h"

namespace umbra::bench {
namespace {

constexpr uint64_t kPackBytes = 32 * base::kMiB;
// Steps by it visit every chunk, unless it has a factor with their number in common.
constexpr uint64_t kStep = 2'654'435'761;

struct System {
  base::PosixFilesystem files;
  base::SystemClock clock;
  base::SystemRandom random;
};

repo::RepositoryOptions Options() {
  repo::RepositoryOptions options;
  options.key = {repo::KeyKind::kKeyFile, std::string(repo::kKeyFileSecretSize, 'k')};
  return options;
}

std::unique_ptr<repo::Core> OpenCore(System& system, const std::string& folder, uint64_t chunks) {
  const repo::RepositoryOptions options = Options();
  Require(repo::Repository::OpenOrCreate(system.files, system.clock, system.random, folder, options));
  std::unique_ptr<repo::BlobStore> store = Require(repo::FileBlobStore::Open(system.files, folder));
  const std::string header = Require(store->Get(repo::kHeaderName, 64 * base::kKiB));
  repo::RepositoryInfo info = Require(repo::DecodeHeader(header));
  const repo::RawUuid uuid = repo::ToRawUuid(info.uuid);
  auto keys = Require(repo::KeyStore::Open(
      {*store, system.clock, system.random, uuid, repo::HashOf(base::AsBytes(header)), options.passphrase_cost},
      options.key));
  info.id_key = base::AsText(keys->id_key().bytes);
  WriteRun(*store, uuid, chunks);
  auto core = std::make_unique<repo::Core>(std::move(store), nullptr, system.clock, system.random, info, options,
                                           std::move(keys));
  Require(core->index.Load());
  return core;
}

// Packs full of map pages.
class Pages {
 public:
  explicit Pages(repo::Core& core) : core_(core) {}

  repo::ChunkId Add(const std::vector<repo::ChunkId>& ids) {
    const base::Bytes bytes(reinterpret_cast<const std::byte*>(ids.data()), ids.size() * sizeof ids[0]);
    const repo::ChunkId id = core_.hasher.Id(bytes);
    if (pack_ == nullptr) {
      pack_ = Require(
          repo::PackWriter::Create(*core_.store, repo::NewPack(core_.keys(), core_.random, core_.uuid, /*time=*/1)));
    }
    Require(pack_->Append(id, repo::Codec::kRaw, static_cast<uint32_t>(bytes.size()), bytes));
    if (pack_->size_bytes() >= kPackBytes) Seal();
    return id;
  }
  void Seal() {
    if (pack_ == nullptr) return;
    const repo::IndexPack sealed = Require(pack_->Seal());
    core_.index.AddPack(sealed, pack_->slots());
    pack_.reset();
  }

 private:
  repo::Core& core_;
  std::unique_ptr<repo::PackWriter> pack_;
};

void AddPoint(repo::Core& core, uint64_t chunks, uint64_t number) {
  const uint64_t capacity = chunks * core.info.chunk_size_bytes;
  repo::Point point;
  point.manifest.set_recovery_point_id(core.random.Uuid());
  point.manifest.set_vm_uuid(core.random.Uuid());
  point.manifest.add_disks()->set_name("vda");
  point.manifest.mutable_disks(0)->set_capacity_bytes(static_cast<int64_t>(capacity));
  repo::DiskRoot& disk = point.disks.emplace_back();
  disk.name = "vda";
  disk.capacity_bytes = capacity;
  Pages pages(core);
  std::vector<repo::ChunkId> page;
  for (uint64_t i = 0, rank = number; i < chunks; ++i, rank = (rank + kStep) % chunks) {
    page.push_back(IdOf(rank, chunks));
    if (page.size() < core.info.map_page_entries && i + 1 < chunks) continue;
    disk.pages.push_back(pages.Add(page));
    page.clear();
  }
  pages.Seal();
  std::vector<repo::Point> points = {std::move(point)};
  Require(core.points.Publish(points));
}

}  // namespace

void MeasureMark(const std::string& folder, uint64_t chunks, uint64_t points) {
  if (std::gcd(kStep, chunks) != 1) Require(absl::InvalidArgumentError("ask for another number of chunks"));
  System system;
  const auto core = OpenCore(system, folder, chunks);
  for (uint64_t i = 0; i < points; ++i) AddPoint(*core, chunks, i);
  Require(core->index.Flush());

  const double start = WallSeconds();
  const repo::IndexSnapshot snapshot(core->index);
  repo::ChunkOrdinals ordinals(snapshot.chunk_count_max());
  Require(snapshot.ForEach([&](const repo::ChunkId& id, const repo::ChunkLocation&) {
    ordinals.Append(id);
    return absl::OkStatus();
  }));
  ordinals.Finish();
  const double numbered = WallSeconds();
  // Packs are written past the page cache, so the first mark reads its pages from the disk.
  Require(repo::Marker(*core, ordinals, {}).MarkEverything({}));
  const double cold = WallSeconds();
  repo::Marker marker(*core, ordinals, {});
  Require(marker.MarkEverything({}));
  const double marked = WallSeconds();
  if (marker.read_count() != chunks * points) Require(absl::InternalError("not every reference was followed"));
  for (uint64_t rank = 0; rank < chunks; ++rank) {
    if (!marker.IsMarked(IdOf(rank, chunks))) Require(absl::InternalError("a chunk isn't marked"));
  }
  std::printf(
      "{\"chunks\": %lu, \"points\": %lu, \"references\": %lu, \"number_seconds\": %.3f, \"cold_seconds\": %.3f, "
      "\"mark_seconds\": %.3f, \"references_per_second\": %.0f, \"ordinals_bytes\": %lu}\n",
      chunks, points, marker.read_count(), numbered - start, cold - numbered, marked - cold,
      static_cast<double>(marker.read_count()) / (marked - cold), ordinals.memory_bytes());
}

}  // namespace umbra::bench
