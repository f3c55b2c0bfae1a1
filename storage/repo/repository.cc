#include "storage/repo/repository.h"

#include <algorithm>
#include <atomic>
#include <set>

#include "absl/cleanup/cleanup.h"
#include "storage/base/log.h"
#include "storage/base/status.h"
#include "storage/repo/blob_file.h"
#include "storage/repo/core.h"
#include "storage/repo/disk_reader.h"
#include "storage/repo/disk_view.h"
#include "storage/repo/prune.h"
#include "storage/repo/upload_session.h"
#include "storage/repo/verify.h"

namespace umbra::repo {
namespace {

constexpr uint64_t kHeaderSizeMax = 64 * base::kKiB;
constexpr char kKeyFolder[] = "keys";

absl::Status Incompatible(std::string message) {
  return base::MakeError(absl::StatusCode::kFailedPrecondition, "REPOSITORY_INCOMPATIBLE", std::move(message));
}

class StoredRepository final : public Repository {
 public:
  explicit StoredRepository(std::unique_ptr<Core> core) : core_(std::move(core)) {}

  // Heals and loads.
  absl::Status Load() {
    RETURN_IF_ERROR(core_->points.FinishCommits());
    RETURN_IF_ERROR(core_->time.Load(core_->info.create_time));
    RETURN_IF_ERROR(core_->states.Load());
    ASSIGN_OR_RETURN(const std::set<PackId> swept, core_->sweeper.Load());
    RETURN_IF_ERROR(core_->index.Load(swept));
    // A full disk must not keep anybody from restoring.
    const absl::Status kept = KeepTimeAndReserve();
    if (!kept.ok()) base::Log("repo")->warn("time or reserve not kept, tried again later error={}", base::Describe(kept));
    return absl::OkStatus();
  }

  const RepositoryInfo& info() const override { return core_->info; }
  const ChunkHasher& hasher() const override { return core_->hasher; }
  std::unique_ptr<UploadSession> BeginSession() override { return std::make_unique<PackingSession>(*core_); }

  absl::StatusOr<KeyList> ListKeys() override { return core_->key_store->List(); }
  absl::StatusOr<KeyInfo> AddKey(const KeySecret& secret, const std::string& label) override {
    return core_->key_store->Add(secret, label);
  }
  absl::Status RemoveKey(const std::string& id) override { return core_->key_store->Remove(id); }
  absl::StatusOr<KeyList> RotateKeys() override { return core_->key_store->Rotate(); }

  absl::StatusOr<RecoveryPointList> ListRecoveryPoints() override;
  absl::StatusOr<Manifest> ReadManifest(const std::string& recovery_point_id) override;
  absl::StatusOr<std::unique_ptr<DiskReader>> OpenDisk(const std::string& recovery_point_id, const std::string& disk) override;
  absl::StatusOr<std::unique_ptr<DiskView>> OpenDiskView(const std::string& recovery_point_id, const std::string& disk,
                                                         const DiskViewOptions& options) override;
  absl::StatusOr<PointProtection> RemoveRecoveryPoint(const std::string& id, const RemovalOptions& options) override {
    return core_->states.Remove(id, options);
  }
  absl::StatusOr<PointProtection> UndeleteRecoveryPoint(const std::string& id) override { return core_->states.Undelete(id); }
  absl::StatusOr<PointProtection> HoldRecoveryPoint(const std::string& id, const std::string& who,
                                                    const std::string& note) override {
    return core_->states.Hold(id, who, note);
  }
  absl::StatusOr<PointProtection> ReleaseRecoveryPoint(const std::string& id) override { return core_->states.Release(id); }
  absl::StatusOr<PointProtection> LockRecoveryPoint(const std::string& id, absl::Time until, const std::string& who) override {
    return core_->states.Lock(id, until, who);
  }
  absl::StatusOr<PruneReport> Prune(const PruneOptions& options, std::function<void(const PruneProgress&)> progress,
                                    std::stop_token stop) override;
  absl::Status Maintain(const PruneOptions& options) override;
  absl::Duration ClockAhead() override {
    const RepositoryNow now = core_->time.Now();
    return now.jumped ? now.ahead : absl::ZeroDuration();
  }
  absl::Status ConfirmClock(const std::string& who) override { return core_->time.Confirm(who); }
  absl::StatusOr<VerifyReport> Verify(const VerifyScope& scope, std::function<void(const VerifyProgress&)> progress,
                                      std::stop_token stop) override;
  std::vector<PackInfo> ListPacks() override;
  absl::StatusOr<std::vector<uint8_t>> HaveSound(std::span<const ChunkId> ids) override;
  std::vector<QuarantinedPack> ListQuarantine() override;
  CatalogCopies& catalog_copies() override { return core_->catalogs; }
  absl::StatusOr<RepositoryStats> Stats() override;

 private:
  // A disk's map as its recovery point has it, with as many pages as its size needs.
  absl::StatusOr<DiskRoot> FindDisk(const std::string& recovery_point_id, const std::string& disk);
  absl::Status KeepTimeAndReserve();
  absl::Status RequireVisible(const std::string& id) const;

  const std::unique_ptr<Core> core_;
  std::atomic<bool> pruning_{false};
};

absl::StatusOr<RecoveryPointList> StoredRepository::ListRecoveryPoints() {
  ASSIGN_OR_RETURN(const auto ids, core_->points.List());
  RecoveryPointList list;
  for (const std::string& id : ids) {
    const PointProtection protection = core_->states.Of(id);
    if (protection != PointProtection()) list.protections[id] = protection;
    auto point = core_->points.Read(id);
    if (point.ok()) {
      (protection.removed ? list.removed : list.points).push_back(std::move(point->manifest));
    } else if (point.status().code() != absl::StatusCode::kNotFound) {
      list.problems.push_back(base::MessageOf(point.status()));
    }
  }
  for (auto* manifests : {&list.points, &list.removed}) {
    std::ranges::sort(*manifests, {}, [](const Manifest& m) {
      return std::tuple(m.create_time().seconds(), m.create_time().nanos(), std::string_view(m.recovery_point_id()));
    });
  }
  return list;
}

absl::Status StoredRepository::RequireVisible(const std::string& id) const {
  if (!core_->states.IsRemoved(id)) return absl::OkStatus();
  return base::Error(absl::StatusCode::kNotFound, "RECOVERY_POINT_NOT_FOUND", "recovery point {} is removed", id);
}

absl::StatusOr<Manifest> StoredRepository::ReadManifest(const std::string& recovery_point_id) {
  RETURN_IF_ERROR(RequireVisible(recovery_point_id));
  ASSIGN_OR_RETURN(Point point, core_->points.Read(recovery_point_id));
  return std::move(point.manifest);
}

absl::StatusOr<DiskRoot> StoredRepository::FindDisk(const std::string& recovery_point_id, const std::string& disk) {
  RETURN_IF_ERROR(RequireVisible(recovery_point_id));
  ASSIGN_OR_RETURN(Point point, core_->points.Read(recovery_point_id));
  const auto root = std::ranges::find(point.disks, disk, &DiskRoot::name);
  if (root == point.disks.end()) {
    return base::Error(absl::StatusCode::kNotFound, "INVALID_REQUEST", "recovery point {} has no disk {}", recovery_point_id,
                       disk);
  }
  const DiskGeometry geometry(core_->info, root->capacity_bytes);
  if (root->pages.size() != geometry.page_count()) {
    return base::Error(absl::StatusCode::kDataLoss, "MANIFEST_DAMAGED", "disk {} of recovery point {} has {} map pages, not {}",
                       disk, recovery_point_id, root->pages.size(), geometry.page_count());
  }
  return std::move(*root);
}

absl::StatusOr<std::unique_ptr<DiskReader>> StoredRepository::OpenDisk(const std::string& recovery_point_id,
                                                                       const std::string& disk) {
  ASSIGN_OR_RETURN(PointUse use, core_->states.Use(recovery_point_id));
  ASSIGN_OR_RETURN(DiskRoot root, FindDisk(recovery_point_id, disk));
  const DiskGeometry geometry(core_->info, root.capacity_bytes);
  const std::string name = fmt::format("disk {} of recovery point {}", disk, recovery_point_id);
  auto reader =
      std::make_unique<StoredDiskReader>(core_->packs, core_->index, core_->hasher, geometry, std::move(root.pages), name);
  reader->Keep(std::move(use));
  return reader;
}

absl::StatusOr<std::unique_ptr<DiskView>> StoredRepository::OpenDiskView(const std::string& recovery_point_id,
                                                                         const std::string& disk,
                                                                         const DiskViewOptions& options) {
  ASSIGN_OR_RETURN(PointUse use, core_->states.Use(recovery_point_id));
  ASSIGN_OR_RETURN(DiskRoot root, FindDisk(recovery_point_id, disk));
  const DiskGeometry geometry(core_->info, root.capacity_bytes);
  const std::string name = fmt::format("disk {} of recovery point {}", disk, recovery_point_id);
  auto view = std::make_unique<StoredDiskView>(core_->packs, core_->index, core_->hasher, geometry, std::move(root.pages),
                                               name, options);
  view->Keep(std::move(use));
  return view;
}

absl::StatusOr<PruneReport> StoredRepository::Prune(const PruneOptions& options,
                                                    std::function<void(const PruneProgress&)> progress, std::stop_token stop) {
  if (pruning_.exchange(true)) {
    return base::Error(absl::StatusCode::kFailedPrecondition, "PRUNE_RUNNING", "the repository is just being pruned");
  }
  const absl::Cleanup done = [this] { pruning_ = false; };
  auto report = Pruner(*core_, options, std::move(progress), std::move(stop)).Run();
  if (!options.dry_run) {
    if (const absl::Status kept = KeepTimeAndReserve(); !kept.ok()) {
      base::Log("repo")->warn("time or reserve not kept, tried again later error={}", base::Describe(kept));
    }
  }
  return report;
}

absl::Status StoredRepository::KeepTimeAndReserve() {
  absl::Status kept = core_->time.Keep();
  kept.Update(core_->reserve.Make());
  return kept;
}

absl::Status StoredRepository::Maintain(const PruneOptions& options) {
  absl::Status maintained = core_->sweeper.Sweep(options.condemned_grace).status();
  maintained.Update(KeepTimeAndReserve());
  return maintained;
}

absl::StatusOr<VerifyReport> StoredRepository::Verify(const VerifyScope& scope,
                                                      std::function<void(const VerifyProgress&)> progress,
                                                      std::stop_token stop) {
  Verifier verifier(*core_, scope, std::move(progress), std::move(stop));
  return verifier.Run();
}

std::vector<PackInfo> StoredRepository::ListPacks() {
  std::vector<PackInfo> packs;
  for (const uint32_t number : core_->index.PresentPacks()) {
    const IndexPack pack = core_->index.pack(number);
    packs.push_back({base::ToHex(pack.id), pack.size_bytes, absl::FromUnixMicros(pack.create_time_us)});
  }
  return packs;
}

absl::StatusOr<std::vector<uint8_t>> StoredRepository::HaveSound(std::span<const ChunkId> ids) {
  std::vector<uint8_t> sound;
  for (const ChunkId& id : ids) {
    ASSIGN_OR_RETURN(const auto location, core_->index.FindHealthy(id));
    sound.push_back(location.has_value() ? 1 : 0);
  }
  return sound;
}

std::vector<QuarantinedPack> StoredRepository::ListQuarantine() {
  std::vector<QuarantinedPack> packs;
  for (const auto& [id, damage] : core_->index.quarantine().All()) {
    packs.push_back({base::ToHex(id), damage.whole, damage.chunks.size()});
  }
  return packs;
}

absl::StatusOr<RepositoryStats> StoredRepository::Stats() {
  RepositoryStats stats;
  const IndexStats index = core_->index.Stats();
  stats.unique_bytes = index.plain_bytes;
  stats.stored_bytes = index.stored_bytes;
  stats.chunk_count = index.chunk_count;
  stats.pack_count = index.pack_count;
  ASSIGN_OR_RETURN(stats.free_bytes, core_->store->FreeSpace());
  // Those that can't be read have no bytes here: ListRecoveryPoints and Verify say so.
  ASSIGN_OR_RETURN(const PointFiguresTable::Sums points, core_->points.Sum(core_->states.Removed()));
  stats.recovery_point_count = points.all.count - points.some.count;
  stats.logical_bytes = points.all.logical_bytes - points.some.logical_bytes;
  stats.stored_bytes += points.all.size_bytes;
  ASSIGN_OR_RETURN(const auto copies, core_->catalogs.List());
  for (const CatalogCopyInfo& copy : copies) stats.stored_bytes += copy.stored_bytes;
  return stats;
}

KeyStore::Place PlaceOf(BlobStore& store, base::Clock& clock, base::Random& random, const RepositoryOptions& options,
                        const std::string& uuid, const std::string& header) {
  return {store, clock, random, ToRawUuid(uuid), HashOf(base::AsBytes(header)), options.passphrase_cost};
}

// Keys first: where there is no header, there is no repository.
absl::Status WriteHeader(BlobStore& store, base::Clock& clock, base::Random& random, const RepositoryOptions& options) {
  const uint32_t chunk_size = options.chunk_size_bytes;
  if (chunk_size < kMinChunkSizeBytes || chunk_size > kMaxChunkSizeBytes || (chunk_size & (chunk_size - 1)) != 0) {
    return base::Error(absl::StatusCode::kInvalidArgument, "INVALID_REQUEST", "{} is no chunk size: a power of two from {} to {}",
                       chunk_size, kMinChunkSizeBytes, kMaxChunkSizeBytes);
  }
  RepositoryInfo info;
  info.uuid = random.Uuid();
  info.format_version = kFormatVersion;
  info.chunk_size_bytes = chunk_size;
  info.map_page_entries = kMapPageEntries;
  info.id_suite = options.id_suite;
  info.create_time = clock.Now();
  const std::string header = EncodeHeader(info);
  RETURN_IF_ERROR(
      KeyStore::Create(PlaceOf(store, clock, random, options, info.uuid, header), options.key, options.key_label));
  return base::Annotate(store.PutIfAbsent(kHeaderName, base::AsBytes(header)), "write repository header");
}

absl::StatusOr<std::unique_ptr<Repository>> OpenStore(std::unique_ptr<BlobStore> store, std::unique_ptr<base::File> lock,
                                                      base::Clock& clock, base::Random& random,
                                                      const RepositoryOptions& options) {
  auto header = store->Get(kHeaderName, kHeaderSizeMax);
  if (header.status().code() == absl::StatusCode::kNotFound) return Incompatible("this is no repository: it has no header");
  RETURN_IF_ERROR(header.status());
  ASSIGN_OR_RETURN(RepositoryInfo info, DecodeHeader(*header));
  auto keys = KeyStore::Open(PlaceOf(*store, clock, random, options, info.uuid, *header), options.key);
  if (!keys.ok()) return base::Annotate(keys.status(), "open repository {}", info.uuid);
  info.id_key = base::AsText((*keys)->id_key().bytes);
  auto core = std::make_unique<Core>(std::move(store), std::move(lock), clock, random, info, options, *std::move(keys));
  auto repository = std::make_unique<StoredRepository>(std::move(core));
  RETURN_IF_ERROR(base::Annotate(repository->Load(), "open repository {}", info.uuid));
  return repository;
}

absl::StatusOr<std::unique_ptr<base::File>> LockFolder(base::Filesystem& fs, const std::string& path) {
  auto lock = fs.Lock(path + "/" + kLockName);
  if (base::ReasonOf(lock.status()) == "FILE_LOCKED") {
    return base::Error(absl::StatusCode::kFailedPrecondition, "REPOSITORY_LOCKED", "another process uses the repository {}", path);
  }
  return lock;
}

// A folder in which a repository may be made: empty, but for what a cut-short Create leaves.
absl::Status RequireEmpty(base::Filesystem& fs, const std::string& path) {
  ASSIGN_OR_RETURN(const auto names, fs.List(path));
  for (const std::string& name : names) {
    if (name == kLockName || name == "tmp" || name == "lost+found" || name == kKeyFolder) continue;
    return base::Error(absl::StatusCode::kAlreadyExists, "TARGET_EXISTS", "{} isn't empty: it holds {}", path, name);
  }
  return absl::OkStatus();
}

// The folder of keys holds nothing but what a cut-short Create leaves: it will be deleted.
absl::Status RequireOwnKeys(BlobStore& store, const std::string& path) {
  ASSIGN_OR_RETURN(const auto names, store.List(kKeyPrefix));
  for (const std::string& name : names) {
    SlotId slot;
    uint32_t epoch = 0;
    if (ParseSlotName(name, slot) || ParseRingName(name, epoch)) continue;
    return base::Error(absl::StatusCode::kAlreadyExists, "TARGET_EXISTS", "{} isn't empty: it holds {}", path, name);
  }
  return absl::OkStatus();
}

// Makes the folder so that it is still there, with what will be in it, after a power cut.
absl::Status MakeFolder(base::Filesystem& fs, const std::string& path) {
  std::vector<std::string> parents;  // of what has to be made; the last one always, since an earlier try may have died here
  for (std::string folder = path;;) {
    parents.push_back(base::DirectoryOf(folder));
    ASSIGN_OR_RETURN(const bool exists, fs.Exists(parents.back()));
    if (exists) break;
    folder = parents.back();
  }
  RETURN_IF_ERROR(fs.MakeDirectories(path));
  for (const std::string& parent : parents) RETURN_IF_ERROR(fs.SyncDirectory(parent));
  return absl::OkStatus();
}

// What to do when there is a repository, or none.
enum class When { kMustExist, kMustNotExist, kEither };

absl::StatusOr<std::unique_ptr<Repository>> OpenFolder(base::Filesystem& fs, base::Clock& clock, base::Random& random,
                                                       const std::string& path, const RepositoryOptions& options, When when) {
  ASSIGN_OR_RETURN(const bool exists, Repository::Exists(fs, path));
  if (!exists && when == When::kMustExist) return Incompatible(fmt::format("there is no repository in {}", path));
  if (exists && when == When::kMustNotExist) {
    return base::Error(absl::StatusCode::kAlreadyExists, "TARGET_EXISTS", "there is a repository in {} already", path);
  }
  if (!exists) {
    RETURN_IF_ERROR(MakeFolder(fs, path));
    RETURN_IF_ERROR(RequireEmpty(fs, path));
  }
  ASSIGN_OR_RETURN(auto lock, LockFolder(fs, path));
  ASSIGN_OR_RETURN(std::unique_ptr<BlobStore> store, FileBlobStore::Open(fs, path));
  if (!exists) {
    RETURN_IF_ERROR(RequireOwnKeys(*store, path));
    RETURN_IF_ERROR(WriteHeader(*store, clock, random, options));
  }
  return OpenStore(std::move(store), std::move(lock), clock, random, options);
}

}  // namespace

absl::StatusOr<bool> Repository::Exists(base::Filesystem& fs, const std::string& path) {
  return fs.Exists(path + "/" + kHeaderName);
}

absl::Status Repository::CheckHeader(base::Filesystem& fs, const std::string& path) {
  ASSIGN_OR_RETURN(const std::string header, fs.ReadFile(path + "/" + kHeaderName, kHeaderSizeMax));
  return base::Annotate(DecodeHeader(header).status(), "{}", path);
}

absl::StatusOr<std::unique_ptr<Repository>> Repository::Create(base::Filesystem& fs, base::Clock& clock, base::Random& random,
                                                               const std::string& path, const RepositoryOptions& options) {
  return OpenFolder(fs, clock, random, path, options, When::kMustNotExist);
}

absl::StatusOr<std::unique_ptr<Repository>> Repository::Open(base::Filesystem& fs, base::Clock& clock, base::Random& random,
                                                             const std::string& path, const RepositoryOptions& options) {
  return OpenFolder(fs, clock, random, path, options, When::kMustExist);
}

absl::StatusOr<std::unique_ptr<Repository>> Repository::OpenOrCreate(base::Filesystem& fs, base::Clock& clock,
                                                                     base::Random& random, const std::string& path,
                                                                     const RepositoryOptions& options) {
  return OpenFolder(fs, clock, random, path, options, When::kEither);
}

absl::StatusOr<std::unique_ptr<Repository>> Repository::OpenOrCreateIn(std::unique_ptr<BlobStore> store, base::Clock& clock,
                                                                       base::Random& random, const RepositoryOptions& options) {
  const auto header = store->Open(kHeaderName);
  if (header.status().code() == absl::StatusCode::kNotFound) {
    RETURN_IF_ERROR(WriteHeader(*store, clock, random, options));
  }
  return OpenStore(std::move(store), nullptr, clock, random, options);
}

}  // namespace umbra::repo
