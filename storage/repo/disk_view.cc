#include "storage/repo/disk_view.h"

#include <algorithm>
#include <utility>

#include "storage/base/status.h"

namespace umbra::repo {
namespace {

// Chunks that one thread fetches and decodes at once: enough for large reads of packs, little beside the cache.
constexpr size_t kBatchChunks = 16;
// Of read-ahead: less, so that what is needed next is there early.
constexpr size_t kAheadBatchChunks = 4;
constexpr uint64_t kSlotsMin = 16;
constexpr uint64_t kWindowMax = 64;
// Requests of several threads overtake each other: a read this far behind or before the expected place still belongs to
// the stream.
constexpr uint64_t kStreamSlackBytes = 2 * base::kMiB;
// Pages of the map in memory, 32 KiB each: 16 of them cover 2 GiB of a disk.
constexpr size_t kMapPagesMax = 64;

}  // namespace

StoredDiskView::StoredDiskView(PackCache& packs, ChunkIndex& index, const ChunkHasher& hasher,
                               const DiskGeometry& geometry, std::vector<ChunkId> pages, std::string name,
                               const DiskViewOptions& options)
    : packs_(packs),
      index_(index),
      hasher_(hasher),
      geometry_(geometry),
      pages_(std::move(pages)),
      name_(std::move(name)),
      chunk_size_(geometry.chunk_size_bytes()),
      window_max_(std::min(kWindowMax, std::max(kSlotsMin, options.cache_bytes / chunk_size_) / 2)),
      slots_(std::max(kSlotsMin, options.cache_bytes / chunk_size_)) {
  for (int i = 0; i < options.read_ahead_threads; ++i) threads_.emplace_back([this] { RunAhead(); });
}

StoredDiskView::~StoredDiskView() {
  {
    absl::MutexLock lock(&ahead_mu_);
    stop_ = true;
  }
  threads_.clear();
}

std::unique_ptr<StoredDiskView::Lane> StoredDiskView::TakeLane() {
  {
    absl::MutexLock lock(&lanes_mu_);
    if (!lanes_.empty()) {
      auto lane = std::move(lanes_.back());
      lanes_.pop_back();
      return lane;
    }
  }
  return std::make_unique<Lane>(packs_, index_, hasher_);
}

void StoredDiskView::GiveBack(std::unique_ptr<Lane> lane) {
  absl::MutexLock lock(&lanes_mu_);
  lanes_.push_back(std::move(lane));
}

absl::Status StoredDiskView::AtPlace(const absl::Status& status, const ChunkId& id, uint64_t chunk) const {
  return base::Annotate(status, "chunk {} of {} at offset {}", id.ToHex(), name_, geometry_.OffsetOf(chunk));
}

absl::StatusOr<std::shared_ptr<const StoredDiskView::MapPage>> StoredDiskView::PageOf(uint64_t page, Lane& lane) {
  static const auto kZeroPage = std::make_shared<const MapPage>();
  if (pages_[page].IsZero()) return kZeroPage;
  {
    absl::MutexLock lock(&map_mu_);
    if (const auto at = map_.find(page); at != map_.end()) {
      at->second.last_use = ++map_uses_;
      return at->second.ids;
    }
  }
  const uint64_t entries = geometry_.EntriesOf(page);
  const auto bytes = lane.reader.FetchPlain(pages_[page], static_cast<uint32_t>(entries * kChunkIdSize));
  if (!bytes.ok())
    return AtPlace(base::Annotate(bytes.status(), "map page"), pages_[page], page * geometry_.page_entries());
  auto ids = std::make_shared<MapPage>(entries);
  std::memcpy(ids->data(), bytes->data(), bytes->size());
  absl::MutexLock lock(&map_mu_);
  if (map_.size() >= kMapPagesMax) {
    map_.erase(std::min_element(map_.begin(), map_.end(),
                                [](const auto& a, const auto& b) { return a.second.last_use < b.second.last_use; }));
  }
  map_[page] = {ids, ++map_uses_};
  return ids;
}

absl::Status StoredDiskView::FindIds(std::vector<Piece>& pieces, Lane& lane) {
  std::shared_ptr<const MapPage> ids;
  uint64_t loaded = UINT64_MAX;
  for (Piece& piece : pieces) {
    const uint64_t page = piece.chunk / geometry_.page_entries();
    if (page != loaded) {
      ASSIGN_OR_RETURN(ids, PageOf(page, lane));
      loaded = page;
    }
    if (!ids->empty()) piece.id = (*ids)[piece.chunk % geometry_.page_entries()];
  }
  return absl::OkStatus();
}

absl::Status StoredDiskView::ReadAt(uint64_t offset_bytes, base::MutableBytes out) {
  if (offset_bytes > capacity_bytes() || out.size() > capacity_bytes() - offset_bytes) {
    return base::Error(absl::StatusCode::kOutOfRange, "INVALID_REQUEST", "{} has {} bytes, not {} at {}", name_,
                       capacity_bytes(), out.size(), offset_bytes);
  }
  if (out.empty()) return absl::OkStatus();
  NoteRead(offset_bytes, out.size());
  std::unique_ptr<Lane> lane = TakeLane();
  absl::Status status;
  std::vector<Piece> pieces;
  for (size_t done = 0; done < out.size() && status.ok();) {
    pieces.clear();
    while (done < out.size() && pieces.size() < kBatchChunks) {
      const uint64_t at = offset_bytes + done;
      Piece& piece = pieces.emplace_back();
      piece.chunk = at / chunk_size_;
      piece.begin = static_cast<uint32_t>(at % chunk_size_);
      piece.out = out.subspan(done, std::min<size_t>(out.size() - done, geometry_.LengthOf(piece.chunk) - piece.begin));
      done += piece.out.size();
    }
    status = ReadPieces(pieces, *lane);
  }
  GiveBack(std::move(lane));
  return status;
}

absl::Status StoredDiskView::ReadPieces(std::vector<Piece>& pieces, Lane& lane) {
  RETURN_IF_ERROR(FindIds(pieces, lane));
  Claim(pieces, lane, /*ahead=*/false);
  const absl::Status loaded = Load(pieces, lane);
  return CopyOut(pieces, loaded);
}

StoredDiskView::Slot* StoredDiskView::SlotForLocked(uint64_t chunk) {
  Slot* oldest = nullptr;
  for (Slot& slot : slots_) {
    if (slot.users == 0 && (oldest == nullptr || slot.last_use < oldest->last_use)) oldest = &slot;
  }
  if (oldest == nullptr) return nullptr;
  if (oldest->state == Slot::State::kReady) by_chunk_.erase(oldest->chunk);
  if (oldest->plain.size() == 0) oldest->plain = base::AlignedBuffer(chunk_size_);
  oldest->state = Slot::State::kLoading;
  oldest->chunk = chunk;
  by_chunk_[chunk] = oldest;
  return oldest;
}

// Who decodes what. Read-ahead takes only what nobody has or decodes, and only into slots.
void StoredDiskView::Claim(std::vector<Piece>& pieces, Lane& lane, bool ahead) {
  size_t spare = 0;
  absl::MutexLock lock(&mu_);
  for (Piece& piece : pieces) {
    if (piece.id.IsZero()) continue;
    const uint32_t length = geometry_.LengthOf(piece.chunk);
    const auto known = by_chunk_.find(piece.chunk);
    if (known != by_chunk_.end()) {
      if (ahead) continue;
      piece.slot = known->second;
    } else if (!ahead && piece.out.size() == length) {  // a whole chunk: straight to where it is wanted
      piece.mine = true;
      piece.plain = piece.out;
      continue;
    } else {
      piece.slot = SlotForLocked(piece.chunk);
      piece.mine = piece.slot != nullptr || !ahead;
      if (piece.slot != nullptr) piece.plain = piece.slot->plain.bytes().first(length);
    }
    if (piece.slot != nullptr) {
      ++piece.slot->users;
      piece.slot->last_use = ++uses_;
    } else if (piece.mine) {  // more threads than slots
      if (spare == lane.spare.size()) lane.spare.emplace_back(chunk_size_);
      piece.plain = lane.spare[spare++].bytes().first(length);
    }
  }
}

absl::Status StoredDiskView::Locate(const Piece& piece, ChunkLocation& location) {
  ASSIGN_OR_RETURN(const auto found, index_.Find(piece.id));
  if (!found.has_value()) return ChunkMissing(piece.id);
  location = *found;
  if (location.plain_length == piece.plain.size()) return absl::OkStatus();
  return base::Error(absl::StatusCode::kDataLoss, "CHUNK_DAMAGED", "it has {} plain bytes, its place {}",
                     location.plain_length, piece.plain.size());
}

void StoredDiskView::Settle(Piece& piece, const absl::Status& status) {
  if (piece.slot == nullptr) return;
  absl::MutexLock lock(&mu_);
  piece.slot->state = status.ok() ? Slot::State::kReady : Slot::State::kFailed;
  piece.slot->error = status;
  if (!status.ok()) by_chunk_.erase(piece.chunk);
}

absl::Status StoredDiskView::Load(std::vector<Piece>& pieces, Lane& lane) {
  absl::Status first_error;
  std::vector<Piece*> wanted;
  std::vector<ChunkId> ids;
  std::vector<ChunkLocation> locations;
  for (Piece& piece : pieces) {
    if (!piece.mine) continue;
    ChunkLocation location;
    if (const absl::Status located = Locate(piece, location); !located.ok()) {
      const absl::Status status = AtPlace(located, piece.id, piece.chunk);
      first_error.Update(status);
      Settle(piece, status);
      continue;
    }
    wanted.push_back(&piece);
    ids.push_back(piece.id);
    locations.push_back(location);
  }
  std::vector<Piece*> moved;
  const auto& fetched = lane.reader.Fetch(ids, locations);
  for (size_t i = 0; i < wanted.size(); ++i) {
    Piece& piece = *wanted[i];
    absl::Status status = fetched[i].status;
    if (WasMoved(index_, locations[i], status)) {
      moved.push_back(&piece);
      continue;
    }
    if (status.ok()) {
      status = OpenChunkInto(hasher_, piece.id, locations[i].codec, fetched[i].stored, piece.plain);
      if (!status.ok()) status = base::MakeError(absl::StatusCode::kDataLoss, "CHUNK_DAMAGED", base::MessageOf(status));
    }
    if (base::ReasonOf(status) == "CHUNK_DAMAGED") index_.MarkDamaged(piece.id, locations[i]);
    if (!status.ok()) status = AtPlace(status, piece.id, piece.chunk);
    first_error.Update(status);
    Settle(piece, status);
  }
  // A prune copied these to another pack since they were located.
  for (Piece* const piece : moved) {
    const auto plain = lane.reader.FetchPlain(piece->id, static_cast<uint32_t>(piece->plain.size()));
    absl::Status status = plain.status();
    if (status.ok()) std::memcpy(piece->plain.data(), plain->data(), plain->size());
    if (!status.ok()) status = AtPlace(status, piece->id, piece->chunk);
    first_error.Update(status);
    Settle(*piece, status);
  }
  return first_error;
}

// Also after an error: what this read has a hold on must be let go.
absl::Status StoredDiskView::CopyOut(std::vector<Piece>& pieces, const absl::Status& loaded) {
  absl::Status status = loaded;
  for (Piece& piece : pieces) {
    if (piece.slot == nullptr) {
      if (piece.id.IsZero()) {
        std::memset(piece.out.data(), 0, piece.out.size());
      } else if (piece.plain.data() != piece.out.data()) {
        std::memcpy(piece.out.data(), piece.plain.data() + piece.begin, piece.out.size());
      }
      continue;
    }
    if (!piece.mine) {
      const Slot* slot = piece.slot;
      const auto settled = [slot] { return slot->state != Slot::State::kLoading; };
      absl::MutexLock lock(&mu_);
      mu_.Await(absl::Condition(&settled));
      status.Update(slot->error);
    }
    if (status.ok()) std::memcpy(piece.out.data(), piece.slot->plain.data() + piece.begin, piece.out.size());
    Unpin(piece.slot);
  }
  return status;
}

void StoredDiskView::Unpin(Slot* slot) {
  absl::MutexLock lock(&mu_);
  if (--slot->users > 0 || slot->state != Slot::State::kFailed) return;
  slot->state = Slot::State::kFree;
  slot->error = absl::OkStatus();
  slot->last_use = 0;
}

absl::StatusOr<DiskStretch> StoredDiskView::StretchAt(uint64_t offset_bytes) {
  if (offset_bytes >= capacity_bytes()) {
    return base::Error(absl::StatusCode::kOutOfRange, "INVALID_REQUEST", "{} has {} bytes, there is nothing at {}",
                       name_, capacity_bytes(), offset_bytes);
  }
  std::unique_ptr<Lane> lane = TakeLane();
  uint64_t chunk = offset_bytes / chunk_size_;
  std::optional<bool> zero;
  absl::Status status;
  // To the end of the page at most, but over all pages that are zero as a whole.
  while (chunk < geometry_.chunk_count()) {
    const uint64_t page = chunk / geometry_.page_entries();
    auto ids = PageOf(page, *lane);
    if (!ids.ok()) {
      status = ids.status();
      break;
    }
    const uint64_t end = page * geometry_.page_entries() + geometry_.EntriesOf(page);
    if ((*ids)->empty()) {
      if (!zero.value_or(true)) break;
      zero = true;
      chunk = end;
      continue;
    }
    for (; chunk < end; ++chunk) {
      const bool here = (**ids)[chunk % geometry_.page_entries()].IsZero();
      if (zero.value_or(here) != here) break;
      zero = here;
    }
    break;
  }
  GiveBack(std::move(lane));
  if (!status.ok() && !zero.has_value()) return status;
  return DiskStretch{offset_bytes, geometry_.OffsetOf(chunk) - offset_bytes, *zero};
}

// Notices reads that follow one another, and asks for what they will want next.
void StoredDiskView::NoteRead(uint64_t offset_bytes, uint64_t length_bytes) {
  if (threads_.empty()) return;
  const uint64_t end_bytes = offset_bytes + length_bytes;
  absl::MutexLock lock(&ahead_mu_);
  Stream* stream = nullptr;
  for (Stream& s : streams_) {
    if (s.last_use != 0 && offset_bytes + kStreamSlackBytes >= s.next_bytes &&
        offset_bytes <= s.next_bytes + kStreamSlackBytes) {
      stream = &s;
    }
  }
  if (stream == nullptr) {
    stream = &*std::min_element(streams_.begin(), streams_.end(),
                                [](const Stream& a, const Stream& b) { return a.last_use < b.last_use; });
    *stream = {end_bytes, (end_bytes + chunk_size_ - 1) / chunk_size_, 0, ++reads_};
    return;
  }
  stream->last_use = ++reads_;
  if (end_bytes <= stream->next_bytes) return;
  stream->next_bytes = end_bytes;
  const uint64_t next_chunk = (end_bytes + chunk_size_ - 1) / chunk_size_;
  stream->ahead_chunk = std::max(stream->ahead_chunk, next_chunk);
  // Read-ahead must not outrun the cache: at most a window beyond the reader, and not in crumbs.
  const uint64_t ahead = stream->ahead_chunk - next_chunk;
  if (ahead > stream->window_chunks / 2) return;
  stream->window_chunks = std::min(window_max_, std::max<uint64_t>(2, stream->window_chunks * 2));
  const uint64_t until = std::min(next_chunk + stream->window_chunks, geometry_.chunk_count());
  for (; stream->ahead_chunk < until; stream->ahead_chunk += ahead_.back().count) {
    ahead_.push_back({stream->ahead_chunk, std::min<uint64_t>(kAheadBatchChunks, until - stream->ahead_chunk)});
  }
}

void StoredDiskView::RunAhead() {
  const auto ready = [this]() ABSL_SHARED_LOCKS_REQUIRED(ahead_mu_) { return stop_ || !ahead_.empty(); };
  while (true) {
    Ahead task;
    {
      absl::MutexLock lock(&ahead_mu_);
      ahead_mu_.Await(absl::Condition(&ready));
      if (stop_) return;
      task = ahead_.front();
      ahead_.pop_front();
    }
    std::vector<Piece> pieces(task.count);
    for (uint64_t i = 0; i < task.count; ++i) pieces[i].chunk = task.first + i;
    std::unique_ptr<Lane> lane = TakeLane();
    // An error isn't one before somebody reads there; then it is found again.
    if (FindIds(pieces, *lane).ok()) {
      Claim(pieces, *lane, /*ahead=*/true);
      Load(pieces, *lane).IgnoreError();
      for (Piece& piece : pieces) {
        if (piece.slot != nullptr) Unpin(piece.slot);
      }
    }
    GiveBack(std::move(lane));
  }
}

}  // namespace umbra::repo
