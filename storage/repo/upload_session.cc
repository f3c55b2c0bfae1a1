#include "storage/repo/upload_session.h"

#include <algorithm>
#include <set>

#include "storage/base/crash_point.h"
#include "storage/base/log.h"
#include "storage/base/status.h"

namespace umbra::repo {
namespace {

// Packs that wait for their sync, the one being synced included. One more could hide a slow disk a little longer, at 32
// MiB of dirty page cache each.
constexpr size_t kSealQueueMax = 2;
// Map pages are mostly hashes; what compresses in them (runs of zero ids, repeated ids) compresses at any level.
constexpr Compression kPageCompression = {};

absl::Status Invalid(std::string message) {
  return base::MakeError(absl::StatusCode::kInvalidArgument, "UPLOAD_INVALID", std::move(message));
}

absl::Status Ended() {
  return base::MakeError(absl::StatusCode::kFailedPrecondition, "SESSION_NOT_FOUND", "the upload session has ended");
}

}  // namespace

// Cuts the ids into pages and stores each as it fills.
class PackingDiskMapWriter final : public DiskMapWriter {
 public:
  // `base`: null when the map is built on no other.
  PackingDiskMapWriter(PackingSession& session, PackingSession::DiskKey key, const DiskGeometry& geometry,
                       std::shared_ptr<const BaseMap> base)
      : session_(session),
        key_(std::move(key)),
        geometry_(geometry),
        base_(std::move(base)),
        base_reader_(session.core_.packs, session.core_.index, session.core_.hasher),
        base_ids_(geometry, base_ == nullptr ? std::vector<ChunkId>() : base_->pages(), base_reader_),
        hasher_(session.core_.info.id_suite) {
    map_.root.name = key_.second;
    map_.root.capacity_bytes = geometry.capacity_bytes();
  }

  absl::Status Append(std::span<const ChunkId> ids) override {
    PackingSession::Call call(session_);
    RETURN_IF_ERROR(call.status());
    if (finished_ || ids.size() > geometry_.chunk_count() - next_) {
      return Invalid(fmt::format("disk {}: the map has more ids than the disk has chunks", key_.second));
    }
    hasher_.Add(ids);
    for (const ChunkId& id : ids) {
      RETURN_IF_ERROR(CheckKnown(id));
      RETURN_IF_ERROR(AppendOne(id));
    }
    return absl::OkStatus();
  }

  absl::Status AppendBase(uint64_t count) override {
    PackingSession::Call call(session_);
    RETURN_IF_ERROR(call.status());
    if (base_ == nullptr) return Invalid(fmt::format("disk {}: the map isn't built on another", key_.second));
    if (finished_ || count > geometry_.chunk_count() - next_) {
      return Invalid(fmt::format("disk {}: the map has more ids than the disk has chunks", key_.second));
    }
    for (const uint64_t end = next_ + count; next_ < end;) {
      const uint64_t page = next_ / geometry_.page_entries();
      const uint64_t in_page = next_ % geometry_.page_entries();
      const uint64_t entries = std::min(geometry_.EntriesOf(page) - in_page, end - next_);
      ASSIGN_OR_RETURN(const std::span<const ChunkId> of_base, base_ids_.Page(page));
      const std::span<const ChunkId> ids = (of_base.empty() ? zeros_ : of_base).subspan(in_page, entries);
      hasher_.Add(ids);
      if (entries == geometry_.EntriesOf(page)) {
        for (uint64_t i = 0; i < entries; ++i) map_.data_bytes += ids[i].IsZero() ? 0 : geometry_.LengthOf(next_ + i);
        map_.root.pages.push_back(base_->pages()[page]);
        next_ += entries;
      } else {
        for (const ChunkId& id : ids) RETURN_IF_ERROR(AppendOne(id));
      }
    }
    return absl::OkStatus();
  }

  absl::StatusOr<uint64_t> Finish() override {
    PackingSession::Call call(session_);
    RETURN_IF_ERROR(call.status());
    if (finished_ || next_ != geometry_.chunk_count()) {
      return Invalid(
          fmt::format("disk {}: the map has {} ids, the disk {} chunks", key_.second, next_, geometry_.chunk_count()));
    }
    finished_ = true;
    map_.finished = true;
    map_.map_hash = hasher_.Finish();
    const uint64_t data_bytes = map_.data_bytes;
    RETURN_IF_ERROR(session_.FinishDiskMap(key_, std::move(map_)));
    return data_bytes;
  }

 private:
  absl::Status CheckKnown(const ChunkId& id) {
    if (id.IsZero()) return absl::OkStatus();
    const uint32_t length = geometry_.LengthOf(next_);
    ASSIGN_OR_RETURN(const uint32_t known, session_.SafeLength(id));
    if (known == 0) {
      return base::Error(absl::StatusCode::kFailedPrecondition, "CHUNK_MISSING",
                         "disk {}: chunk {} at offset {} was not uploaded", key_.second, id.ToHex(),
                         geometry_.OffsetOf(next_));
    }
    if (known == length) return absl::OkStatus();
    return Invalid(fmt::format("disk {}: chunk {} at offset {} has {} bytes instead of {}", key_.second, id.ToHex(),
                               geometry_.OffsetOf(next_), known, length));
  }

  absl::Status AppendOne(const ChunkId& id) {
    if (!id.IsZero()) map_.data_bytes += geometry_.LengthOf(next_);
    page_.push_back(id);
    ++next_;
    if (page_.size() < geometry_.page_entries() && next_ < geometry_.chunk_count()) return absl::OkStatus();
    ASSIGN_OR_RETURN(map_.root.pages.emplace_back(), session_.StorePage(page_));
    page_.clear();
    return absl::OkStatus();
  }

  PackingSession& session_;
  const PackingSession::DiskKey key_;
  const DiskGeometry geometry_;
  const std::shared_ptr<const BaseMap> base_;
  ChunkReader base_reader_;
  DiskMapCursor base_ids_;
  const std::vector<ChunkId> zero_ids_{geometry_.page_entries(), kZeroChunkId};
  const std::span<const ChunkId> zeros_{zero_ids_};
  MapHasher hasher_;
  PackingSession::DiskMap map_;
  std::vector<ChunkId> page_;
  uint64_t next_ = 0;
  bool finished_ = false;
};

PackingSession::Call::Call(PackingSession& session) : session_(session) {
  absl::MutexLock lock(&session_.mu_);
  ++session_.calls_;
  status_ = session_.closed_ ? Ended() : session_.failure_;
}

PackingSession::Call::~Call() {
  absl::MutexLock lock(&session_.mu_);
  --session_.calls_;
}

PackingSession::PackingSession(Core& core)
    : core_(core),
      owner_id_(core.in_flight.Register(*this)),
      lease_(core.index.BeginLease()),
      sealer_([this](std::stop_token stop) { SealLoop(stop); }) {}

PackingSession::~PackingSession() {
  Abort();
}

absl::StatusOr<uint32_t> PackingSession::KnownLength(const ChunkId& id) {
  // In this order: a chunk is in the index before it stops being in flight.
  if (const auto in_flight = core_.in_flight.Find(id)) return in_flight->plain_length;
  ASSIGN_OR_RETURN(const auto location, core_.index.FindAndPin(id, *lease_));
  return location.has_value() ? location->plain_length : 0;
}

absl::StatusOr<uint32_t> PackingSession::SafeLength(const ChunkId& id) {
  core_.in_flight.AwaitSettled(id, owner_id_);
  const auto in_flight = core_.in_flight.Find(id);
  if (in_flight.has_value() && in_flight->owner == owner_id_) return in_flight->plain_length;
  ASSIGN_OR_RETURN(const auto location, core_.index.FindAndPin(id, *lease_));
  return location.has_value() ? location->plain_length : 0;
}

absl::StatusOr<std::vector<uint8_t>> PackingSession::Wanted(std::span<const ChunkId> ids) {
  Call call(*this);
  RETURN_IF_ERROR(call.status());
  std::vector<uint8_t> wanted(ids.size(), 0);
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i].IsZero()) continue;
    ASSIGN_OR_RETURN(const uint32_t known, KnownLength(ids[i]));
    wanted[i] = known == 0 ? 1 : 0;
  }
  return wanted;
}

absl::StatusOr<uint64_t> PackingSession::Put(const ChunkView& chunk) {
  Call call(*this);
  RETURN_IF_ERROR(call.status());
  const uint32_t chunk_size = core_.info.chunk_size_bytes;
  if (chunk.id.IsZero() || chunk.plain_length == 0 || chunk.plain_length > chunk_size ||
      chunk.data.size() > chunk_size) {
    return Invalid(fmt::format("chunk {} has {} bytes, {} plain; 1 to {} are allowed, and never the zero id",
                               chunk.id.ToHex(), chunk.data.size(), chunk.plain_length, chunk_size));
  }
  // Known already: what was sent is dropped unseen, so it need not be checked.
  ASSIGN_OR_RETURN(const uint32_t known, KnownLength(chunk.id));
  if (known != 0) return 0;
  thread_local std::vector<std::byte> scratch;
  base::Bytes plain;
  const absl::Status checked =
      OpenChunk(core_.hasher, chunk.id, chunk.codec, chunk.plain_length, chunk.data, scratch, plain);
  if (!checked.ok()) return Invalid(fmt::format("chunk {}: {}", chunk.id.ToHex(), base::MessageOf(checked)));
  ASSIGN_OR_RETURN(const uint64_t stored, Store(chunk.id, chunk.codec, chunk.plain_length, chunk.data));
  if (stored > 0) new_bytes_ += chunk.plain_length;
  return stored;
}

absl::StatusOr<uint64_t> PackingSession::Store(const ChunkId& id, Codec codec, uint32_t plain_length,
                                               base::Bytes data) {
  PackWriter* pack = nullptr;  // stays: it isn't sealed before all its places are filled
  PackWriter::Place place;
  {
    absl::MutexLock lock(&mu_);
    const auto may_append = [this]() ABSL_SHARED_LOCKS_REQUIRED(mu_) {
      return to_seal_.size() < kSealQueueMax || !failure_.ok();
    };
    mu_.Await(absl::Condition(&may_append));
    RETURN_IF_ERROR(failure_);

    // Claimed only now, when the chunk is checked and goes into a pack: others rely on what is in flight.
    if (!core_.in_flight.Claim(id, plain_length, owner_id_)) return 0;
    // Whoever had it in flight since the last look has sealed it meanwhile.
    const auto location = core_.index.FindAndPin(id, *lease_);
    const bool known = location.ok() && location->has_value();
    if (!location.ok() || known) core_.in_flight.Release(id, owner_id_);
    RETURN_IF_ERROR(location.status());
    if (known) return 0;
    if (const auto opened = OpenPackLocked(); !opened.ok()) {
      core_.in_flight.Release(id, owner_id_);
      return FailLocked(opened);
    }
    pack = open_pack_.get();
    place = pack->Reserve(id, codec, plain_length, data.size());
    if (pack->size_bytes() >= core_.options.pack_size_bytes) QueueSealLocked();
  }
  if (const auto filled = pack->Fill(place, data); !filled.ok()) {
    absl::MutexLock lock(&mu_);
    core_.in_flight.Release(id, owner_id_);
    return FailLocked(filled);
  }
  return data.size() + kTagSize;
}

absl::Status PackingSession::OpenPackLocked() {
  if (open_pack_ != nullptr) return absl::OkStatus();
  const KeyedPack pack = NewPack(core_.keys(), core_.random, core_.uuid, absl::ToUnixMicros(core_.clock.Now()));
  ASSIGN_OR_RETURN(open_pack_, PackWriter::Create(*core_.store, pack));
  return absl::OkStatus();
}

absl::Status PackingSession::FailLocked(const absl::Status& status) {
  if (failure_.ok()) {
    failure_ = base::Annotate(status, "write chunks");
    base::Log("repo")->error("upload session lost error={}", base::Describe(failure_));
  }
  // The open pack will never be sealed: nobody shall wait for it. The packs in the queue settle as they come.
  if (open_pack_ != nullptr) core_.in_flight.Release(open_pack_->slots(), owner_id_);
  return failure_;
}

void PackingSession::SealSoon() {
  absl::MutexLock lock(&mu_);
  if (failure_.ok()) QueueSealLocked();
}

void PackingSession::QueueSealLocked() {
  if (open_pack_ != nullptr) to_seal_.push_back(std::move(open_pack_));
}

absl::StatusOr<ChunkId> PackingSession::StorePage(std::span<const ChunkId> ids) {
  if (std::ranges::all_of(ids, &ChunkId::IsZero)) return kZeroChunkId;
  const base::Bytes plain = std::as_bytes(ids);
  const ChunkId id = core_.hasher.Id(plain);
  std::vector<std::byte> scratch;
  while (true) {
    ASSIGN_OR_RETURN(const uint32_t known, SafeLength(id));
    if (known != 0) return id;
    const CompressedChunk page = CompressChunk(plain, kPageCompression, scratch);
    ASSIGN_OR_RETURN(const uint64_t stored, Store(id, page.codec, static_cast<uint32_t>(plain.size()), page.data));
    if (stored != 0) return id;
    // Another session has begun to store the same page meanwhile: its seal is to be waited for.
  }
}

void PackingSession::SealLoop(std::stop_token stop) {
  const auto has_work = [&]() ABSL_SHARED_LOCKS_REQUIRED(mu_) { return !to_seal_.empty() || stop.stop_requested(); };
  // A Mutex looks at its conditions when it is released: this wakes the loop when stop is requested.
  const std::stop_callback wake(stop, [this] { absl::MutexLock lock(&mu_); });
  while (true) {
    PackWriter* pack = nullptr;
    {
      absl::MutexLock lock(&mu_);
      mu_.Await(absl::Condition(&has_work));
      if (stop.stop_requested()) return;
      pack = to_seal_.front().get();
    }
    const absl::Status sealed = Seal(*pack);
    absl::MutexLock lock(&mu_);
    if (!sealed.ok()) (void)FailLocked(sealed);
    core_.in_flight.Release(pack->slots(), owner_id_);
    to_seal_.pop_front();
  }
}

absl::Status PackingSession::Seal(PackWriter& pack) {
  ASSIGN_OR_RETURN(const IndexPack sealed, pack.Seal());
  base::CrashPoint("repo.pack.sealed");
  stored_bytes_ += sealed.size_bytes;
  core_.index.AddPack(sealed, pack.slots(), lease_.get());
  return absl::OkStatus();
}

absl::Status PackingSession::SealEverything() {
  absl::MutexLock lock(&mu_);
  // A pack that couldn't be written whole must never be sealed: its chunks would be known, and damaged.
  if (failure_.ok()) QueueSealLocked();
  const auto idle = [this]() ABSL_SHARED_LOCKS_REQUIRED(mu_) { return to_seal_.empty(); };
  mu_.Await(absl::Condition(&idle));
  return failure_;
}

absl::StatusOr<std::unique_ptr<DiskMapWriter>> PackingSession::AddDiskMap(const std::string& vm_uuid,
                                                                          const std::string& disk,
                                                                          uint64_t capacity_bytes) {
  Call call(*this);
  RETURN_IF_ERROR(call.status());
  // 2 PiB: beyond that the point itself would get too large to be read again.
  constexpr uint64_t kCapacityMax = uint64_t{1} << 51;
  if (capacity_bytes == 0 || capacity_bytes > kCapacityMax) {
    return Invalid(fmt::format("disk {} has a capacity of {} bytes", disk, capacity_bytes));
  }
  return NewMap({vm_uuid, disk}, capacity_bytes, nullptr);
}

absl::StatusOr<std::unique_ptr<DiskMapWriter>> PackingSession::NewMap(const DiskKey& key, uint64_t capacity_bytes,
                                                                      std::shared_ptr<const BaseMap> base) {
  absl::MutexLock lock(&mu_);
  maps_[key] = DiskMap();  // in place of one from a call that was cut, or whose answer got lost
  return std::make_unique<PackingDiskMapWriter>(*this, key, DiskGeometry(core_.info, capacity_bytes), std::move(base));
}

absl::StatusOr<std::shared_ptr<const BaseMap>> PackingSession::OpenBase(const BaseDisk& base) {
  const std::string key =
      fmt::format("{}/{}/{}/{}", base.recovery_point_id, base.vm_uuid, base.capacity_bytes, base.disk);
  {
    absl::ReaderMutexLock lock(&mu_);
    if (const auto open = bases_.find(key); open != bases_.end()) return open->second;
  }
  ASSIGN_OR_RETURN(std::shared_ptr<const BaseMap> opened, BaseMap::Open(core_, base));
  absl::MutexLock lock(&mu_);
  return bases_.try_emplace(key, std::move(opened)).first->second;
}

absl::StatusOr<std::vector<size_t>> PackingSession::CompareWithBase(const BaseDisk& base,
                                                                    std::span<const uint64_t> chunks,
                                                                    std::span<const ChunkId> ids) {
  Call call(*this);
  RETURN_IF_ERROR(call.status());
  ASSIGN_OR_RETURN(const std::shared_ptr<const BaseMap> map, OpenBase(base));
  if (chunks.size() != ids.size()) return Invalid(fmt::format("{} chunks with {} ids", chunks.size(), ids.size()));
  const DiskGeometry geometry(core_.info, base.capacity_bytes);
  ChunkReader reader(core_.packs, core_.index, core_.hasher);
  DiskMapCursor cursor(geometry, map->pages(), reader);
  std::vector<size_t> different;
  for (size_t i = 0; i < chunks.size(); ++i) {
    if (chunks[i] >= geometry.chunk_count())
      return Invalid(fmt::format("disk {}: it has no chunk {}", base.disk, chunks[i]));
    ASSIGN_OR_RETURN(const std::span<const ChunkId> page, cursor.Page(chunks[i] / geometry.page_entries()));
    const ChunkId known = page.empty() ? kZeroChunkId : page[chunks[i] % geometry.page_entries()];
    if (known != ids[i]) different.push_back(i);
  }
  return different;
}

absl::StatusOr<std::unique_ptr<DiskMapWriter>> PackingSession::AddDiskMapOn(const BaseDisk& base) {
  Call call(*this);
  RETURN_IF_ERROR(call.status());
  ASSIGN_OR_RETURN(std::shared_ptr<const BaseMap> map, OpenBase(base));
  return NewMap({base.vm_uuid, base.disk}, base.capacity_bytes, std::move(map));
}

absl::Status PackingSession::FinishDiskMap(const DiskKey& key, DiskMap map) {
  absl::MutexLock lock(&mu_);
  maps_[key] = std::move(map);
  return absl::OkStatus();
}

bool PackingSession::Close() {
  absl::MutexLock lock(&mu_);
  if (closed_) return false;
  closed_ = true;
  const auto quiet = [this]() ABSL_SHARED_LOCKS_REQUIRED(mu_) { return calls_ == 0; };
  mu_.Await(absl::Condition(&quiet));
  return true;
}

absl::StatusOr<std::vector<Point>> PackingSession::BuildPoints(std::vector<Manifest> manifests) {
  std::vector<Point> points;
  std::set<DiskKey> used;
  std::set<std::string> ids;
  absl::ReaderMutexLock lock(&mu_);
  for (Manifest& manifest : manifests) {
    Point& point = points.emplace_back();
    std::string& id = *manifest.mutable_recovery_point_id();
    if (id.empty()) id = core_.random.Uuid();
    if (!IsUuidText(id) || !ids.insert(id).second)
      return Invalid(fmt::format("{} is no recovery point id, or used twice", id));
    for (auto& disk : *manifest.mutable_disks()) {
      const auto map = maps_.find({manifest.vm_uuid(), disk.name()});
      if (map == maps_.end() || !used.insert(map->first).second || !map->second.finished ||
          map->second.root.capacity_bytes != static_cast<uint64_t>(disk.capacity_bytes())) {
        return Invalid(fmt::format("disk {} of {} has no finished map of {} bytes", disk.name(), manifest.vm_uuid(),
                                   disk.capacity_bytes()));
      }
      disk.set_map_hash(map->second.map_hash);
      disk.set_data_bytes(static_cast<int64_t>(map->second.data_bytes));
      point.disks.push_back(map->second.root);
    }
    point.manifest = std::move(manifest);
  }
  if (points.empty() || used.size() != maps_.size()) {
    return Invalid(fmt::format("the manifests name {} disks, {} have maps", used.size(), maps_.size()));
  }
  return points;
}

namespace {

uint64_t DataBytes(const Manifest& manifest) {
  uint64_t sum = 0;
  for (const auto& disk : manifest.disks()) sum += static_cast<uint64_t>(disk.data_bytes());
  return sum;
}

// Shares `bytes` out by the amount of data; the last point gets what rounding leaves.
void ShareOut(uint64_t bytes, std::vector<Point>& points, void (Manifest::*set)(int64_t)) {
  uint64_t total = 0, shared = 0;
  for (const Point& point : points) total += DataBytes(point.manifest);
  for (Point& point : points) {
    const double part = total == 0 ? 0 : static_cast<double>(DataBytes(point.manifest)) / static_cast<double>(total);
    const auto share = static_cast<uint64_t>(static_cast<double>(bytes) * part);
    (point.manifest.*set)(static_cast<int64_t>(&point == &points.back() ? bytes - shared : share));
    shared += share;
  }
}

// Times, and the session's growth.
void FillIn(std::vector<Point>& points, absl::Time now, uint64_t stored_bytes, uint64_t new_bytes) {
  ShareOut(stored_bytes, points, &Manifest::set_stored_bytes);
  ShareOut(new_bytes, points, &Manifest::set_new_bytes);
  for (Point& point : points) {
    if (point.manifest.has_create_time()) continue;
    const int64_t us = absl::ToUnixMicros(now);
    point.manifest.mutable_create_time()->set_seconds(us / 1'000'000);
    point.manifest.mutable_create_time()->set_nanos(static_cast<int32_t>(us % 1'000'000 * 1000));
  }
}

}  // namespace

absl::StatusOr<std::vector<Manifest>> PackingSession::CommitClosed(std::vector<Manifest> manifests) {
  ASSIGN_OR_RETURN(std::vector<Point> points, BuildPoints(std::move(manifests)));
  RETURN_IF_ERROR(SealEverything());
  RETURN_IF_ERROR(core_.index.Flush());
  FillIn(points, core_.clock.Now(), stored_bytes_, new_bytes_);
  base::CrashPoint("repo.commit.before_publish");
  RETURN_IF_ERROR(core_.points.Publish(points));
  base::CrashPoint("repo.commit.published");
  if (const auto merged = core_.index.MergeRuns(); !merged.ok()) {
    base::Log("repo")->warn("index runs not merged, tried again later error={}", base::Describe(merged));
  }
  std::vector<Manifest> stored;
  for (Point& point : points) stored.push_back(std::move(point.manifest));
  return stored;
}

absl::StatusOr<std::vector<Manifest>> PackingSession::Commit(std::vector<Manifest> manifests) {
  if (!Close()) return Ended();
  auto committed = CommitClosed(std::move(manifests));
  if (base::ReasonOf(committed.status()) == "UPLOAD_INVALID") {
    absl::MutexLock lock(&mu_);
    closed_ = false;
    return committed;
  }
  StopSealing();
  lease_.reset();
  return committed;
}

void PackingSession::StopSealing() {
  sealer_.request_stop();
  if (sealer_.joinable()) sealer_.join();
  core_.in_flight.Unregister(owner_id_);
}

void PackingSession::Abort() {
  if (!Close()) return;
  // An I/O error is in the log, and whoever relied on the chunks is told that they are missing.
  (void)SealEverything();
  StopSealing();
  lease_.reset();
  absl::MutexLock lock(&mu_);
  open_pack_.reset();
}

}  // namespace umbra::repo
