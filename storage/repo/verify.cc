#include "storage/repo/verify.h"

#include <algorithm>
#include <atomic>
#include <thread>
#include <tuple>

#include "storage/base/status.h"
#include "storage/repo/pack.h"
#include "storage/repo/sealed_record.h"

namespace umbra::repo {
namespace {

// Chunks of maps that are remembered as sound: 8 MiB, a disk of 32 GiB. Most chunks of a map are those of the map
// before.
constexpr size_t kCleanChunks = 256 * 1024;

// Threads that read a disk beyond one for each processor: while some wait for the disk, the others decompress.
constexpr unsigned kReadersBeyondCores = 2;
constexpr unsigned kReadersMax = 16;
// Stored bytes fetched at a time by each of them.
constexpr uint64_t kBatchBytes = 4 * base::kMiB;

absl::Status Damaged(std::string message) {
  return base::MakeError(absl::StatusCode::kDataLoss, "CHUNK_DAMAGED", std::move(message));
}

bool IsIoError(const absl::Status& status) {
  return base::ReasonOf(status) == "IO_ERROR";
}

// The repository isn't able to answer at all, as opposed to: the answer is "damaged".
bool IsDamage(const absl::Status& status) {
  const std::string reason = base::ReasonOf(status);
  return reason == "CHUNK_DAMAGED" || reason == "CHUNK_MISSING" || IsIoError(status);
}

// Reports know two kinds of damage; a sector that can't be read is one of them.
absl::Status AsDamage(const absl::Status& status) {
  if (base::ReasonOf(status) == "CHUNK_MISSING") return status;
  return Damaged(base::MessageOf(status));
}

}  // namespace

absl::Status Verifier::Stopped() {
  if (stop_.stop_requested()) {
    return base::MakeError(absl::StatusCode::kCancelled, "CANCELLED", "the verification was cancelled");
  }
  absl::MutexLock lock(&mu_);
  return failure_;
}

void Verifier::Fail(const absl::Status& status) {
  absl::MutexLock lock(&mu_);
  if (failure_.ok()) failure_ = status;
  failed_ = true;
}

void Verifier::AddProblem(std::string problem) {
  absl::MutexLock lock(&mu_);
  report_.problems.push_back(std::move(problem));
}

void Verifier::AddDamage(const Point& point, const std::string& disk, uint64_t offset, uint64_t length,
                         const ChunkId& id, const absl::Status& status) {
  ChunkDamage damage;
  if (!id.IsZero()) damage.chunk_id = id.ToHex();
  damage.disk = disk;
  damage.offset_bytes = offset;
  damage.length_bytes = length;
  damage.reason = base::ReasonOf(status);
  damage.recovery_point_id = point.manifest.recovery_point_id();
  damage.vm_display_name = point.manifest.vm_display_name();
  damage.message =
      fmt::format("{}disk {} of recovery point {} ({}) at offset {}, {} bytes: {}",
                  id.IsZero() ? "" : fmt::format("chunk {} of ", damage.chunk_id), disk, damage.recovery_point_id,
                  damage.vm_display_name, offset, length, base::MessageOf(status));
  absl::MutexLock lock(&mu_);
  ++report_.damaged_count;
  if (report_.damaged.size() < kVerifyDamageMax) report_.damaged.push_back(std::move(damage));
}

void Verifier::Advance(uint64_t bytes) {
  absl::MutexLock lock(&progress_mu_);
  done_.done_bytes = std::min(done_.done_bytes + bytes, done_.total_bytes);
  if (progress_) progress_(done_);
}

absl::StatusOr<VerifyReport> Verifier::Run() {
  absl::Status status;
  if (!scope_.recovery_point_id.empty()) {
    const auto point = core_.points.Read(scope_.recovery_point_id);
    if (base::ReasonOf(point.status()) != "MANIFEST_DAMAGED") RETURN_IF_ERROR(point.status());
    status = VerifyDisks({scope_.recovery_point_id});
  } else if (scope_.level == VerifyLevel::kDisks) {
    ASSIGN_OR_RETURN(const auto points, PointsInScope());
    status = VerifyDisks(points);
  } else {
    status = VerifyPacks();
  }
  RETURN_IF_ERROR(status);
  RETURN_IF_ERROR(Stopped());
  absl::MutexLock lock(&mu_);
  std::stable_sort(report_.damaged.begin(), report_.damaged.end(), [](const ChunkDamage& a, const ChunkDamage& b) {
    return std::tie(a.recovery_point_id, a.disk, a.offset_bytes) <
           std::tie(b.recovery_point_id, b.disk, b.offset_bytes);
  });
  return std::move(report_);
}

// ---- Packs ----

std::vector<uint32_t> Verifier::PacksInScope() const {
  if (scope_.packs.empty()) return core_.index.PresentPacks();
  std::map<PackId, uint32_t> present;
  for (const uint32_t number : core_.index.PresentPacks()) present[core_.index.pack(number).id] = number;
  std::vector<uint32_t> packs;
  for (const std::string& text : scope_.packs) {
    const auto raw = base::FromHex(text);
    PackId id;
    if (!raw.has_value() || raw->size() != id.size()) continue;
    std::memcpy(id.data(), raw->data(), id.size());
    if (const auto at = present.find(id); at != present.end()) packs.push_back(at->second);
  }
  return packs;
}

absl::Status Verifier::VerifyPacks() {
  const std::vector<uint32_t> packs = PacksInScope();
  {
    absl::MutexLock lock(&progress_mu_);
    for (const uint32_t pack : packs) done_.total_bytes += core_.index.pack(pack).size_bytes;
    done_.total_bytes = std::min(done_.total_bytes, scope_.byte_budget);
  }
  RETURN_IF_ERROR(VerifyRuns());
  RETURN_IF_ERROR(VerifyRecords());
  PackScan(*this).Run(packs);
  RETURN_IF_ERROR(Stopped());
  RETURN_IF_ERROR(VerifyMaps());
  return SumUpPacks();
}

// A run is a cache: what is damaged in it is made again from the packs, and no harm is done.
absl::Status Verifier::VerifyRuns() {
  for (const ChunkIndex::DamagedRun& run : core_.index.CheckRuns()) {
    if (StoreIsGone(run.status)) return Stopped();
    const absl::Status rebuilt = core_.index.RebuildRun(run.name);
    const std::string what = fmt::format("{}: {}", run.name, base::MessageOf(run.status));
    if (!rebuilt.ok()) {
      AddProblem(fmt::format("{}; it can't be rebuilt now: {}", what, base::MessageOf(rebuilt)));
      continue;
    }
    absl::MutexLock lock(&mu_);
    report_.healed.push_back(what + "; it was made again from its packs");
  }
  return absl::OkStatus();
}

bool Verifier::GoesOn(bool at_once) {
  if (stop_.stop_requested() || failed_) return false;
  // Whatever the budget, something is read: a series of small budgets comes to an end.
  if (at_once || begun_bytes_ == 0) return true;
  if (begun_bytes_ < scope_.byte_budget && core_.clock.Monotonic() - start_ < scope_.time_budget) return true;
  absl::MutexLock lock(&mu_);
  report_.complete = false;
  return false;
}

bool Verifier::StoreIsGone(const absl::Status& status) {
  constexpr uint64_t kHeaderSizeMax = 64 * base::kKiB;
  if (!IsIoError(status) && !absl::IsNotFound(status)) return false;
  if (core_.store->Get(kHeaderName, kHeaderSizeMax).ok()) return false;
  Fail(base::Annotate(status, "the repository can't be read at all"));
  return true;
}

std::shared_ptr<ScannedPack> Verifier::Open(uint32_t number) {
  auto pack = std::make_shared<ScannedPack>();
  pack->number = number;
  const IndexPack info = core_.index.pack(number);
  pack->id = info.id;
  auto blob = core_.store->Open(PackName(info.id));
  if (blob.ok()) {
    pack->blob = *std::move(blob);
    pack->blob->SkipCache();
    pack->size_bytes = pack->blob->size();
  }
  begun_bytes_ += std::max(info.size_bytes, pack->size_bytes);
  absl::Status status = blob.status();
  if (status.ok()) {
    auto contents = ReadPackContents(*pack->blob, info.id, core_.uuid);
    if (contents.ok()) pack->slots = std::move(contents->slots);
    status = contents.status();
  }
  if (status.ok()) return pack;
  if (StoreIsGone(status)) return nullptr;
  if (absl::IsNotFound(status)) {
    // Unless a prune was here.
    if (core_.index.StateOf(number) != PackState::kSwept) PackIsGone(number);
    return nullptr;
  }
  // The chunks themselves may be whole: the index still knows where they are.
  pack->from_footer = false;
  pack->footer_status = status;
  pack->slots = IndexedSlots(number);
  if (pack->blob == nullptr) {
    absl::MutexLock lock(&pack->mu);
    for (const PackSlot& slot : pack->slots) pack->bad.emplace_back(slot, status);
    pack->slots.clear();
  }
  return pack;
}

std::vector<PackSlot> Verifier::IndexedSlots(uint32_t number) const {
  std::vector<PackSlot> slots;
  const auto entries = core_.index.EntriesOfPack(number);
  if (!entries.ok()) return slots;
  for (const auto& [chunk, at] : *entries) {
    slots.push_back({chunk, {}, at.offset, at.stored_length, at.plain_length, at.codec});
    for (size_t i = 0; i < 8; ++i) slots.back().stored_hash[i] = static_cast<std::byte>(at.check >> (8 * i));
  }
  return slots;
}

void Verifier::PackIsGone(uint32_t number) {
  const PackId id = core_.index.pack(number).id;
  const std::vector<PackSlot> slots = IndexedSlots(number);
  core_.index.MarkGone(number);
  absl::MutexLock lock(&mu_);
  for (const PackSlot& slot : slots) {
    damaged_[slot.id] = {base::Error(absl::StatusCode::kDataLoss, "CHUNK_MISSING", "{} is gone", PackName(id)), id};
  }
}

absl::Status Verifier::Check(const ScannedPack& pack, const PackSlot& slot, base::Bytes stored,
                             std::vector<std::byte>& scratch) {
  if (scope_.level == VerifyLevel::kStored) {
    const Hash hash = HashOf(stored);
    const bool right = pack.from_footer ? hash == slot.stored_hash : CheckOf(hash) == CheckOf(slot.stored_hash);
    if (right) return absl::OkStatus();
    return Damaged(fmt::format("the bytes at {} of {} are wrong", slot.offset, PackName(pack.id)));
  }
  // The tag covers every stored byte, its place and what it claims to be: a hash of the same bytes would prove no more.
  const auto open = core_.packs.OpenKeyed(pack.number);
  RETURN_IF_ERROR(open.status());
  RETURN_IF_ERROR((*open)->key.status());
  // The thread's own: what is stored is not to be changed, and what is decompressed goes to `scratch`.
  thread_local Opener opener;
  thread_local std::vector<std::byte> data;
  data.resize(std::max<size_t>(stored.size(), kTagSize) - kTagSize);
  opener.SetKey(*(*open)->key);
  if (!opener.Open(slot.offset, AadOf(slot.id, slot.plain_length, slot.codec), stored, data.data())) {
    return Damaged(fmt::format("the tag of the bytes at {} of {} is wrong", slot.offset, PackName(pack.id)));
  }
  base::Bytes plain;
  const absl::Status opened = OpenChunk(core_.hasher, slot.id, slot.codec, slot.plain_length, data, scratch, plain);
  return opened.ok() ? opened : Damaged(base::MessageOf(opened));
}

void Verifier::Done(ScannedPack& pack) {
  PackDamage damage;
  damage.whole = !pack.from_footer;
  PackCheck check{base::ToHex(pack.id), pack.size_bytes, scope_.level, damage.whole, 0};
  {
    absl::MutexLock pack_lock(&pack.mu);
    absl::MutexLock lock(&mu_);
    ++report_.pack_count;
    report_.chunk_count += std::max(pack.slots.size(), pack.bad.size());
    for (const PackSlot& slot : pack.slots) {
      report_.stored_bytes += slot.stored_length;
      report_.plain_bytes += scope_.level == VerifyLevel::kStored ? 0 : slot.plain_length;
    }
    for (const auto& [slot, status] : pack.bad) {
      damage.chunks.push_back({slot.offset, slot.stored_length});
      damaged_[slot.id] = {AsDamage(status), pack.id};
    }
    check.damaged_chunks = pack.bad.size();
    if (damage.whole) {
      pack_problems_[pack.id] = fmt::format("{}: {}", PackName(pack.id), base::MessageOf(pack.footer_status));
    }
  }
  std::sort(damage.chunks.begin(), damage.chunks.end());
  // Right stored bytes don't prove that they are the right chunk: only a full check lifts a quarantine.
  if (!pack.cut && scope_.level != VerifyLevel::kStored) {
    core_.index.quarantine().Replace(pack.id, damage);
  } else if (!damage.empty()) {
    core_.index.quarantine().Add(pack.id, damage);
  }
  if (pack.cut) return;
  if (scope_.on_pack) {
    absl::MutexLock lock(&progress_mu_);
    scope_.on_pack(check);
  }
  Advance(core_.index.pack(pack.number).size_bytes);
}

absl::Status Verifier::SumUpPacks() {
  std::map<PackId, std::string> pack_problems;
  absl::flat_hash_map<ChunkId, Found, ChunkIdHash> damaged;
  bool missing = false;
  {
    absl::MutexLock lock(&mu_);
    pack_problems.swap(pack_problems_);
    damaged.swap(damaged_);
    for (const ChunkDamage& damage : report_.damaged) missing |= damage.reason == "CHUNK_MISSING";
  }
  std::vector<std::string> problems, healed;
  for (std::string& pack : core_.index.unreadable_packs()) (missing ? problems : healed).push_back(std::move(pack));
  for (auto& [id, problem] : pack_problems)
    (needed_packs_.contains(id) ? problems : healed).push_back(std::move(problem));
  std::map<PackId, int> harmless;
  for (const auto& [id, found] : damaged) {
    ASSIGN_OR_RETURN(const auto sound, core_.index.FindHealthy(id));
    if (sound.has_value() || !needed_.contains(id)) ++harmless[found.pack];
  }
  for (const auto& [id, count] : harmless) {
    healed.push_back(fmt::format("{}: {} damaged chunks, of which there are other copies or which nothing needs",
                                 PackName(id), count));
  }
  absl::MutexLock lock(&mu_);
  std::ranges::move(problems, std::back_inserter(report_.problems));
  std::ranges::move(healed, std::back_inserter(report_.healed));
  return absl::OkStatus();
}

absl::Status Verifier::VerifyRecords() {
  for (const RecordKind& kind : kRecordKinds) {
    ASSIGN_OR_RETURN(const auto names, core_.store->List(kind.prefix));
    for (const std::string& name : names) {
      const auto text = core_.store->Get(name, kRecordSizeMax);
      if (absl::IsNotFound(text.status())) continue;  // it was taken back, or a younger one took its place
      absl::Status status = text.status();
      if (status.ok()) status = SealedRecord::Decode(core_.hasher, kind.kind, core_.info.uuid, *text).status();
      if (!status.ok()) AddProblem(fmt::format("{}: {}", name, base::MessageOf(status)));
    }
  }
  return VerifyCatalogCopies();
}

absl::Status Verifier::VerifyCatalogCopies() {
  ASSIGN_OR_RETURN(const auto copies, core_.catalogs.List());
  for (const CatalogCopyInfo& copy : copies) {
    const auto reader = core_.catalogs.Open(copy.id);
    absl::Status status = reader.status();
    for (bool more = status.ok(); more;) {
      RETURN_IF_ERROR(Stopped());
      const auto bytes = (*reader)->Next();
      status = bytes.status();
      more = bytes.ok() && !bytes->empty();
    }
    if (absl::IsNotFound(status)) continue;  // forgotten since the list was made
    if (!status.ok()) AddProblem(fmt::format("{}: {}", CatalogName(copy.id), base::MessageOf(status)));
  }
  return absl::OkStatus();
}

// ---- Maps ----

absl::Status Verifier::VerifyMaps() {
  ASSIGN_OR_RETURN(const auto points, core_.points.List());
  bool walk = true;  // what is needed can only be missing when something is wrong, or everything was to be proven
  {
    absl::MutexLock lock(&mu_);
    walk = report_.complete || !damaged_.empty() || !report_.problems.empty();
  }
  walk = walk || !core_.index.quarantine().empty() || !core_.index.unreadable_packs().empty();
  for (const std::string& id : points) {
    RETURN_IF_ERROR(Stopped());
    const auto use = core_.states.Use(id);  // its chunks stay
    if (!use.ok()) continue;
    const auto point = core_.points.Read(id);
    if (!point.ok()) {
      // Removed since the list was made: nothing to check.
      if (!absl::IsNotFound(point.status())) AddProblem(base::MessageOf(point.status()));
      continue;
    }
    if (!walk) continue;
    for (const DiskRoot& disk : point->disks) RETURN_IF_ERROR(VerifyMap(*point, disk));
  }
  return absl::OkStatus();
}

absl::Status Verifier::VerifyMap(const Point& point, const DiskRoot& disk) {
  const DiskGeometry geometry(core_.info, disk.capacity_bytes);
  if (disk.pages.size() != geometry.page_count()) {
    AddProblem(fmt::format("recovery point {}: disk {} has {} map pages instead of {}",
                           point.manifest.recovery_point_id(), disk.name, disk.pages.size(), geometry.page_count()));
    return absl::OkStatus();
  }
  DiskMapCursor map(geometry, disk.pages, map_reader_);
  for (uint64_t page = 0; page < geometry.page_count(); ++page) {
    RETURN_IF_ERROR(Stopped());
    const ChunkId& page_id = disk.pages[page];
    if (page_id.IsZero() || clean_pages_.contains(page_id)) continue;
    const auto ids = map.Page(page);
    if (ids.ok()) {
      ASSIGN_OR_RETURN(const auto location, core_.index.Find(page_id));
      NoteNeeded(location);
      bool clean = true;
      RETURN_IF_ERROR(VerifyPage(point, geometry, disk, page, *ids, clean));
      if (clean) clean_pages_.insert(page_id);
      continue;
    }
    if (!IsDamage(ids.status())) return ids.status();
    needed_.insert(page_id);
    PageDamaged(point, disk, geometry, page, ids.status());
  }
  return absl::OkStatus();
}

void Verifier::PageDamaged(const Point& point, const DiskRoot& disk, const DiskGeometry& geometry, uint64_t page,
                           const absl::Status& status) {
  const uint64_t first = page * geometry.page_entries();
  const uint64_t offset = geometry.OffsetOf(first);
  AddDamage(point, disk.name, offset, geometry.OffsetOf(first + geometry.EntriesOf(page)) - offset, disk.pages[page],
            base::Annotate(AsDamage(status), "map page"));
}

absl::Status Verifier::DamageOf(const ChunkId& id, const std::optional<ChunkLocation>& location) {
  absl::MutexLock lock(&mu_);
  if (const auto found = damaged_.find(id); found != damaged_.end()) return found->second.status;
  if (!location.has_value()) return ChunkMissing(id);
  return Damaged(fmt::format("the bytes at {} of {} were found to be wrong", location->offset,
                             PackName(core_.index.pack(location->pack).id)));
}

void Verifier::NoteNeeded(const std::optional<ChunkLocation>& location) {
  if (!location.has_value() || core_.index.TrustOf(*location) != Quarantine::Trust::kPackDamaged) return;
  needed_packs_.insert(core_.index.pack(location->pack).id);
}

absl::Status Verifier::VerifyPage(const Point& point, const DiskGeometry& geometry, const DiskRoot& disk, uint64_t page,
                                  std::span<const ChunkId> ids, bool& clean) {
  if (clean_chunks_.empty()) clean_chunks_.resize(kCleanChunks);
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i].IsZero()) continue;
    const uint64_t chunk = page * geometry.page_entries() + i;
    const bool whole = geometry.LengthOf(chunk) == geometry.chunk_size_bytes();
    ChunkId& clean_chunk = clean_chunks_[ChunkIdHash()(ids[i]) % kCleanChunks];
    if (whole && clean_chunk == ids[i]) continue;
    ASSIGN_OR_RETURN(const auto location, core_.index.Find(ids[i]));
    NoteNeeded(location);
    absl::Status status;
    if (!location.has_value() || core_.index.TrustOf(*location) == Quarantine::Trust::kChunkDamaged) {
      status = DamageOf(ids[i], location);
    } else if (location->plain_length != geometry.LengthOf(chunk)) {
      status =
          Damaged(fmt::format("it has {} plain bytes instead of {}", location->plain_length, geometry.LengthOf(chunk)));
    }
    if (status.ok()) {
      if (whole) clean_chunk = ids[i];
      continue;
    }
    clean = false;
    needed_.insert(ids[i]);
    AddDamage(point, disk.name, geometry.OffsetOf(chunk), geometry.LengthOf(chunk), ids[i], status);
  }
  return absl::OkStatus();
}

// ---- Disks ----

absl::StatusOr<std::vector<std::string>> Verifier::PointsInScope() {
  ASSIGN_OR_RETURN(const auto all, core_.points.List());
  std::vector<std::string> points;
  for (const auto* list : {&scope_.recovery_points, &all}) {
    for (const std::string& id : *list) {
      if (std::ranges::binary_search(all, id) && std::ranges::find(points, id) == points.end()) points.push_back(id);
    }
  }
  return points;
}

absl::Status Verifier::VerifyDisks(const std::vector<std::string>& ids) {
  std::vector<Point> points;
  std::vector<PointUse> uses;  // their chunks stay
  for (const std::string& id : ids) {
    auto use = core_.states.Use(id);
    if (!use.ok()) continue;
    auto point = core_.points.Read(id);
    if (point.ok()) {
      points.push_back(*std::move(point));
      uses.push_back(*std::move(use));
    } else if (!absl::IsNotFound(point.status())) {
      if (!IsIoError(point.status()) && base::ReasonOf(point.status()) != "MANIFEST_DAMAGED") return point.status();
      AddProblem(base::MessageOf(point.status()));
      absl::MutexLock lock(&progress_mu_);
      if (scope_.on_point) scope_.on_point({id, false});
    }
  }
  {
    absl::MutexLock lock(&progress_mu_);
    for (const Point& point : points) {
      for (const DiskRoot& disk : point.disks) done_.total_bytes += disk.capacity_bytes;
    }
    done_.total_bytes = std::min(done_.total_bytes, scope_.byte_budget);
  }
  const auto findings = [this] {
    absl::MutexLock lock(&mu_);
    return report_.damaged_count + report_.problems.size();
  };
  for (const Point& point : points) {
    const uint64_t before = findings();
    for (size_t disk = 0; disk < point.disks.size(); ++disk) {
      RETURN_IF_ERROR(Stopped());
      if (!GoesOn(false)) return absl::OkStatus();
      begun_bytes_ += point.disks[disk].capacity_bytes;
      RETURN_IF_ERROR(VerifyDisk(point, disk));
    }
    absl::MutexLock lock(&progress_mu_);
    if (scope_.on_point) scope_.on_point({point.manifest.recovery_point_id(), findings() == before});
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> Verifier::HashMap(const Point& point, const DiskRoot& disk, const DiskGeometry& geometry,
                                              std::vector<uint8_t>& intact) {
  DiskMapCursor map(geometry, disk.pages, map_reader_);
  MapHasher hasher(core_.info.id_suite);
  const std::vector<ChunkId> zeros(geometry.page_entries(), kZeroChunkId);
  for (uint64_t page = 0; page < geometry.page_count(); ++page) {
    RETURN_IF_ERROR(Stopped());
    const auto ids = map.Page(page);
    intact.push_back(ids.ok() ? 1 : 0);
    if (ids.ok()) {
      hasher.Add(ids->empty() ? std::span(zeros).first(geometry.EntriesOf(page)) : *ids);
      continue;
    }
    if (!IsDamage(ids.status())) return ids.status();
    PageDamaged(point, disk, geometry, page, ids.status());
  }
  return hasher.Finish();
}

absl::Status Verifier::VerifyDisk(const Point& point, size_t position) {
  const DiskRoot& disk = point.disks[position];
  const DiskGeometry geometry(core_.info, disk.capacity_bytes);
  if (disk.pages.size() != geometry.page_count()) {
    AddProblem(fmt::format("recovery point {}: disk {} has {} map pages instead of {}",
                           point.manifest.recovery_point_id(), disk.name, disk.pages.size(), geometry.page_count()));
    return absl::OkStatus();
  }
  std::vector<uint8_t> intact;
  ASSIGN_OR_RETURN(const std::string hash, HashMap(point, disk, geometry, intact));
  const bool readable = std::ranges::all_of(intact, [](uint8_t page) { return page == 1; });
  if (readable && hash != point.manifest.disks(static_cast<int>(position)).map_hash()) {
    AddDamage(point, disk.name, 0, disk.capacity_bytes, kZeroChunkId,
              Damaged("its chunks aren't those that the backup read: the hash of the disk is another one"));
  }
  std::atomic<uint64_t> next{0};
  const auto work = [&] {
    ChunkReader map_reader(core_.packs, core_.index, core_.hasher);
    ChunkReader reader(core_.packs, core_.index, core_.hasher);
    DiskMapCursor map(geometry, disk.pages, map_reader);
    std::vector<std::byte> scratch;
    for (uint64_t page = next++; page < geometry.page_count() && GoesOn(true); page = next++) {
      absl::Status read;
      if (intact[page] == 1) read = ReadPage(point, disk, geometry, page, map, reader, scratch);
      if (!read.ok()) Fail(read);
      const uint64_t first = page * geometry.page_entries();
      Advance(geometry.OffsetOf(first + geometry.EntriesOf(page)) - geometry.OffsetOf(first));
    }
  };
  const unsigned cores = std::max(1u, std::thread::hardware_concurrency());
  const auto count = std::min<uint64_t>(std::min(cores + kReadersBeyondCores, kReadersMax), geometry.page_count());
  std::vector<std::jthread> workers;
  for (uint64_t i = 0; i < count; ++i) workers.emplace_back(work);
  workers.clear();
  return Stopped();
}

absl::Status Verifier::ReadPage(const Point& point, const DiskRoot& disk, const DiskGeometry& geometry, uint64_t page,
                                DiskMapCursor& map, ChunkReader& reader, std::vector<std::byte>& scratch) {
  ASSIGN_OR_RETURN(const auto ids, map.Page(page));
  const auto damaged = [&](size_t i, const absl::Status& status) {
    const uint64_t chunk = page * geometry.page_entries() + i;
    AddDamage(point, disk.name, geometry.OffsetOf(chunk), geometry.LengthOf(chunk), ids[i], AsDamage(status));
  };
  std::vector<ChunkLocation> locations;
  std::vector<size_t> places;
  const auto check_batch = [&] {
    std::vector<ChunkId> batch_ids;
    for (const size_t place : places) batch_ids.push_back(ids[place]);
    const auto& fetched = reader.Fetch(batch_ids, locations);
    for (size_t i = 0; i < locations.size(); ++i) {
      const ChunkId& id = ids[places[i]];
      base::Bytes plain;
      absl::Status status = fetched[i].status;
      if (status.ok()) {
        status = OpenChunk(core_.hasher, id, locations[i].codec, locations[i].plain_length, fetched[i].stored, scratch,
                           plain);
      }
      if (!status.ok() && StoreIsGone(status)) return;
      if (!status.ok()) {
        core_.index.MarkDamaged(id, locations[i]);
        damaged(places[i], status);
      }
      absl::MutexLock lock(&mu_);
      ++report_.chunk_count;
      report_.stored_bytes += locations[i].stored_length;
      report_.plain_bytes += locations[i].plain_length;
    }
    locations.clear();
    places.clear();
  };
  uint64_t batch = 0;
  for (size_t i = 0; i < ids.size() && GoesOn(true); ++i) {
    if (ids[i].IsZero()) continue;
    ASSIGN_OR_RETURN(const auto location, core_.index.Find(ids[i]));
    if (!location.has_value()) {
      damaged(i, ChunkMissing(ids[i]));
      continue;
    }
    if (location->plain_length != geometry.LengthOf(page * geometry.page_entries() + i)) {
      damaged(i, Damaged("it has another length than its place"));
      continue;
    }
    locations.push_back(*location);
    places.push_back(i);
    batch += location->stored_length;
    if (batch < kBatchBytes) continue;
    check_batch();
    batch = 0;
  }
  check_batch();
  return absl::OkStatus();
}

}  // namespace umbra::repo
