#include "storage/repo/verify.h"

#include <atomic>
#include <thread>

#include "storage/base/status.h"
#include "storage/repo/pack.h"

namespace umbra::repo {
namespace {

// Decompression and hashing are the work; more threads than this would starve the backups that run beside.
constexpr unsigned kWorkersMax = 4;
// Stored bytes fetched at a time by each worker.
constexpr uint64_t kBatchBytes = 4 * base::kMiB;

absl::Status Damaged(std::string message) {
  return base::MakeError(absl::StatusCode::kDataLoss, "CHUNK_DAMAGED", std::move(message));
}

// The repository isn't able to answer at all, as opposed to: the answer is "damaged".
bool IsDamage(const absl::Status& status) {
  const std::string reason = base::ReasonOf(status);
  return reason == "CHUNK_DAMAGED" || reason == "CHUNK_MISSING" || reason == "IO_ERROR";
}

}  // namespace

absl::Status Verifier::Stopped() const {
  if (!stop_.stop_requested()) return absl::OkStatus();
  return base::MakeError(absl::StatusCode::kCancelled, "CANCELLED", "the verification was cancelled");
}

void Verifier::AddProblem(std::string problem) {
  absl::MutexLock lock(&mu_);
  report_.problems.push_back(std::move(problem));
}

void Verifier::AddDamage(const Point* point, const std::string& disk, uint64_t offset, uint64_t length, const ChunkId& id,
                         const absl::Status& status) {
  ChunkDamage damage;
  damage.chunk_id = id.ToHex();
  damage.disk = disk;
  damage.offset_bytes = offset;
  damage.length_bytes = length;
  damage.reason = base::ReasonOf(status);
  if (point == nullptr) {
    damage.message = fmt::format("chunk {}, which no recovery point needs: {}", damage.chunk_id, base::MessageOf(status));
  } else {
    damage.recovery_point_id = point->manifest.recovery_point_id();
    damage.vm_display_name = point->manifest.vm_display_name();
    damage.message = fmt::format("chunk {} of disk {} of recovery point {} ({}) at offset {}: {}", damage.chunk_id, disk,
                                 damage.recovery_point_id, damage.vm_display_name, offset, base::MessageOf(status));
  }
  absl::MutexLock lock(&mu_);
  ++report_.damaged_count;
  if (report_.damaged.size() < kVerifyDamageMax) report_.damaged.push_back(std::move(damage));
}

void Verifier::Advance(uint64_t bytes) {
  absl::MutexLock lock(&progress_mu_);
  done_.done_bytes = std::min(done_.done_bytes + bytes, done_.total_bytes);
  if (progress_) progress_(done_);
}

absl::StatusOr<VerifyReport> Verifier::VerifyAll() {
  const std::vector<uint32_t> packs = core_.index.PresentPacks();
  {
    absl::MutexLock lock(&progress_mu_);
    for (const uint32_t pack : packs) done_.total_bytes += core_.index.pack(pack).size_bytes;
  }
  for (std::string& pack : core_.index.unreadable_packs()) AddProblem(std::move(pack));
  for (std::string& run : core_.index.CheckRuns()) AddProblem(std::move(run));
  VerifyPacks(packs);
  RETURN_IF_ERROR(Stopped());
  ASSIGN_OR_RETURN(const auto points, core_.points.List());
  RETURN_IF_ERROR(VerifyMaps(points));
  absl::flat_hash_map<ChunkId, absl::Status, ChunkIdHash> damaged;
  {
    absl::MutexLock lock(&mu_);
    damaged.swap(damaged_);
  }
  for (const auto& [id, status] : damaged) {
    if (!needed_.contains(id)) AddDamage(nullptr, "", 0, 0, id, status);
  }
  absl::MutexLock lock(&mu_);
  return std::move(report_);
}

void Verifier::VerifyPacks(const std::vector<uint32_t>& packs) {
  std::atomic<size_t> next{0};
  const auto work = [&] {
    Worker worker{ChunkReader(core_.packs, core_.index, core_.hasher), {}};
    for (size_t i = next++; i < packs.size() && !stop_.stop_requested(); i = next++) VerifyPack(packs[i], worker);
  };
  std::vector<std::jthread> workers;
  const unsigned count = std::clamp(std::thread::hardware_concurrency(), 1u, kWorkersMax);
  for (unsigned i = 0; i < count; ++i) workers.emplace_back(work);
}

std::vector<PackSlot> Verifier::SlotsOf(uint32_t pack, bool& from_footer) {
  const PackId id = core_.index.pack(pack).id;
  auto blob = core_.packs.Open(pack);
  absl::Status status = blob.status();
  if (blob.ok()) {
    auto contents = ReadPackContents(**blob, id, core_.uuid);
    if (contents.ok()) return std::move(contents->slots);
    status = contents.status();
  }
  AddProblem(fmt::format("{}: {}", PackName(id), base::MessageOf(status)));
  // The chunks themselves may be whole: the index still knows where they are.
  from_footer = false;
  std::vector<PackSlot> slots;
  const auto entries = core_.index.EntriesOfPack(pack);
  if (!entries.ok()) return slots;
  for (const auto& [chunk, at] : *entries) {
    slots.push_back({chunk, {}, at.offset, at.stored_length, at.plain_length, at.codec});
    for (size_t i = 0; i < 8; ++i) slots.back().stored_hash[i] = static_cast<std::byte>(at.check >> (8 * i));
  }
  return slots;
}

void Verifier::VerifyPack(uint32_t pack, Worker& worker) {
  bool from_footer = true;
  const std::vector<PackSlot> slots = SlotsOf(pack, from_footer);
  for (size_t first = 0; first < slots.size() && !stop_.stop_requested();) {
    size_t last = first;
    for (uint64_t bytes = 0; last < slots.size() && bytes < kBatchBytes; ++last) bytes += slots[last].stored_length;
    VerifySlots(pack, std::span(slots).subspan(first, last - first), from_footer, worker);
    first = last;
  }
  Advance(core_.index.pack(pack).size_bytes);
}

void Verifier::VerifySlots(uint32_t pack, std::span<const PackSlot> slots, bool from_footer, Worker& worker) {
  std::vector<ChunkLocation> locations;
  for (const PackSlot& slot : slots) {
    locations.push_back({pack, slot.offset, slot.stored_length, slot.plain_length, slot.codec, CheckOf(slot.stored_hash)});
  }
  const auto& fetched = worker.reader.Fetch(locations);
  for (size_t i = 0; i < slots.size(); ++i) {
    const absl::Status status = CheckSlot(slots[i], fetched[i], from_footer, worker);
    if (!status.ok()) core_.index.MarkDamaged(slots[i].id, locations[i]);
    absl::MutexLock lock(&mu_);
    ++report_.chunk_count;
    report_.stored_bytes += slots[i].stored_length;
    report_.plain_bytes += slots[i].plain_length;
    if (!status.ok()) damaged_[slots[i].id] = status;
  }
}

absl::Status Verifier::CheckSlot(const PackSlot& slot, const FetchedChunk& fetched, bool from_footer, Worker& worker) {
  RETURN_IF_ERROR(fetched.status);
  if (from_footer && HashOf(fetched.stored) != slot.stored_hash) return Damaged("the hash of the stored bytes is wrong");
  base::Bytes plain;
  const absl::Status opened =
      OpenChunk(core_.hasher, slot.id, slot.codec, slot.plain_length, fetched.stored, worker.scratch, plain);
  return opened.ok() ? opened : Damaged(base::MessageOf(opened));
}

absl::Status Verifier::VerifyMaps(const std::vector<std::string>& points) {
  for (const std::string& id : points) {
    RETURN_IF_ERROR(Stopped());
    const auto point = core_.points.Read(id);
    if (!point.ok()) {
      // Removed since the list was made: nothing to check.
      if (point.status().code() != absl::StatusCode::kNotFound) AddProblem(base::MessageOf(point.status()));
      continue;
    }
    for (const DiskRoot& disk : point->disks) RETURN_IF_ERROR(VerifyMap(*point, disk));
  }
  return absl::OkStatus();
}

absl::Status Verifier::VerifyMap(const Point& point, const DiskRoot& disk) {
  const DiskGeometry geometry(core_.info, disk.capacity_bytes);
  if (disk.pages.size() != geometry.page_count()) {
    AddProblem(fmt::format("recovery point {}: disk {} has {} map pages instead of {}", point.manifest.recovery_point_id(),
                           disk.name, disk.pages.size(), geometry.page_count()));
    return absl::OkStatus();
  }
  DiskMapCursor map(geometry, disk.pages, map_reader_);
  for (uint64_t page = 0; page < geometry.page_count(); ++page) {
    RETURN_IF_ERROR(Stopped());
    const ChunkId& page_id = disk.pages[page];
    if (clean_pages_.contains(page_id)) continue;
    const auto ids = map.Page(page);
    if (ids.ok()) {
      bool clean = true;
      RETURN_IF_ERROR(VerifyPage(point, geometry, disk, page, *ids, clean));
      if (clean) clean_pages_.insert(page_id);
      continue;
    }
    if (!IsDamage(ids.status())) return ids.status();
    needed_.insert(page_id);
    const uint64_t first = page * geometry.page_entries();
    const uint64_t offset = geometry.OffsetOf(first);
    AddDamage(&point, disk.name, offset, geometry.OffsetOf(first + geometry.EntriesOf(page)) - offset, page_id,
              base::Annotate(ids.status(), "map page"));
  }
  return absl::OkStatus();
}

absl::Status Verifier::VerifyPage(const Point& point, const DiskGeometry& geometry, const DiskRoot& disk, uint64_t page,
                                  std::span<const ChunkId> ids, bool& clean) {
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i].IsZero()) continue;
    ASSIGN_OR_RETURN(const auto location, core_.index.FindHealthy(ids[i]));
    const uint64_t chunk = page * geometry.page_entries() + i;
    absl::Status status;
    if (!location.has_value()) {
      absl::MutexLock lock(&mu_);
      const auto damaged = damaged_.find(ids[i]);
      status = damaged == damaged_.end() ? ChunkMissing(ids[i]) : damaged->second;
    } else if (location->plain_length != geometry.LengthOf(chunk)) {
      status = Damaged(fmt::format("it has {} plain bytes instead of {}", location->plain_length, geometry.LengthOf(chunk)));
    }
    if (status.ok()) continue;
    clean = false;
    needed_.insert(ids[i]);
    AddDamage(&point, disk.name, geometry.OffsetOf(chunk), geometry.LengthOf(chunk), ids[i], status);
  }
  return absl::OkStatus();
}

absl::StatusOr<VerifyReport> Verifier::VerifyPoint(const std::string& id) {
  const auto point = core_.points.Read(id);
  if (base::ReasonOf(point.status()) == "MANIFEST_DAMAGED") {
    AddProblem(base::MessageOf(point.status()));
    absl::MutexLock lock(&mu_);
    return std::move(report_);
  }
  RETURN_IF_ERROR(point.status());
  {
    absl::MutexLock lock(&progress_mu_);
    for (const DiskRoot& disk : point->disks) done_.total_bytes += disk.capacity_bytes;
  }
  for (const DiskRoot& disk : point->disks) RETURN_IF_ERROR(ReadDisk(*point, disk));
  absl::MutexLock lock(&mu_);
  return std::move(report_);
}

absl::Status Verifier::ReadDisk(const Point& point, const DiskRoot& disk) {
  StoredDiskReader reader(core_.packs, core_.index, core_.hasher, DiskGeometry(core_.info, disk.capacity_bytes), disk.pages,
                          disk.name);
  uint64_t before = 0;
  while (reader.position_bytes() < disk.capacity_bytes) {
    RETURN_IF_ERROR(Stopped());
    auto chunks = reader.Next(kBatchBytes);
    if (!chunks.ok()) RETURN_IF_ERROR(SkipDamage(point, disk, reader, chunks.status()));
    if (chunks.ok()) OpenChunks(point, disk, *chunks);
    Advance(reader.position_bytes() - before);
    before = reader.position_bytes();
  }
  return absl::OkStatus();
}

void Verifier::OpenChunks(const Point& point, const DiskRoot& disk, std::span<const DiskChunk> chunks) {
  std::vector<std::byte> scratch;
  for (const DiskChunk& at : chunks) {
    const ChunkView& chunk = at.chunk;
    base::Bytes plain;
    const auto opened = OpenChunk(core_.hasher, chunk.id, chunk.codec, chunk.plain_length, chunk.data, scratch, plain);
    if (!opened.ok()) {
      const auto location = core_.index.Find(chunk.id);
      if (location.ok() && location->has_value()) core_.index.MarkDamaged(chunk.id, **location);
      AddDamage(&point, disk.name, at.offset_bytes, chunk.plain_length, chunk.id, Damaged(base::MessageOf(opened)));
    }
    absl::MutexLock lock(&mu_);
    ++report_.chunk_count;
    report_.stored_bytes += chunk.data.size();
    report_.plain_bytes += chunk.plain_length;
  }
}

absl::Status Verifier::SkipDamage(const Point& point, const DiskRoot& disk, StoredDiskReader& reader, const absl::Status& status) {
  if (!IsDamage(status)) return status;
  const DiskGeometry geometry(core_.info, disk.capacity_bytes);
  const uint64_t chunk = reader.position_bytes() / core_.info.chunk_size_bytes;
  const uint64_t page = chunk / geometry.page_entries();
  const bool whole_page = reader.failed_chunk() == disk.pages[page];
  const uint64_t next = whole_page ? page * geometry.page_entries() + geometry.EntriesOf(page) : chunk + 1;
  AddDamage(&point, disk.name, geometry.OffsetOf(chunk), geometry.OffsetOf(next) - geometry.OffsetOf(chunk),
            reader.failed_chunk(), status);
  return reader.Seek(next);
}

}  // namespace umbra::repo
