#include "storage/repo/mark.h"

#include <algorithm>
#include <thread>

#include "storage/base/status.h"

namespace umbra::repo {
namespace {

// Hashing the pages is the work; more threads would starve the backups that run beside.
constexpr unsigned kWorkersMax = 4;
// Pages that a worker takes at a time, and batches that wait: a few MiB of maps at any size of repository.
constexpr size_t kBatchPages = 32;
constexpr size_t kQueueMax = 16;

}  // namespace

Marker::Marker(Core& core, const ChunkOrdinals& ordinals, std::stop_token stop)
    : core_(core), ordinals_(ordinals), stop_(std::move(stop)), marked_(ordinals.size()) {}

absl::Status Marker::Stopped() const {
  if (!stop_.stop_requested()) return absl::OkStatus();
  return base::MakeError(absl::StatusCode::kCancelled, "CANCELLED", "the prune was cancelled");
}

absl::Status Marker::MarkEverything(const std::set<std::string>& left_out) {
  std::vector<std::jthread> workers;
  const unsigned count = std::clamp(std::thread::hardware_concurrency(), 1u, kWorkersMax);
  for (unsigned i = 0; i < count; ++i) workers.emplace_back([this] { Work(); });
  const absl::Status queued = MarkPoints(left_out);
  QueueBatch();
  {
    absl::MutexLock lock(&mu_);
    complete_ = true;
    if (failure_.ok()) failure_ = queued;
  }
  workers.clear();
  absl::MutexLock lock(&mu_);
  return failure_;
}

absl::Status Marker::MarkPoints(const std::set<std::string>& left_out) {
  ASSIGN_OR_RETURN(const auto unfinished, core_.points.ReadCommits());
  for (const Point& point : unfinished) RETURN_IF_ERROR(MarkPoint(point));
  ASSIGN_OR_RETURN(const auto ids, core_.points.List());
  for (const std::string& id : ids) {
    if (left_out.contains(id)) continue;
    const auto point = core_.points.Read(id);
    // Taken back since the list was made, by the session that committed it.
    if (absl::IsNotFound(point.status())) continue;
    RETURN_IF_ERROR(base::Annotate(point.status(), "what recovery point {} needs isn't known", id));
    RETURN_IF_ERROR(MarkPoint(*point));
  }
  return absl::OkStatus();
}

absl::Status Marker::MarkPoint(const Point& point) {
  RETURN_IF_ERROR(Stopped());
  ++point_count_;
  for (const DiskRoot& disk : point.disks) {
    const DiskGeometry geometry(core_.info, disk.capacity_bytes);
    const std::string owner =
        fmt::format("disk {} of recovery point {}", disk.name, point.manifest.recovery_point_id());
    if (disk.pages.size() != geometry.page_count()) {
      return base::Error(absl::StatusCode::kDataLoss, "MANIFEST_DAMAGED", "{} has {} map pages instead of {}", owner,
                         disk.pages.size(), geometry.page_count());
    }
    for (uint64_t page = 0; page < disk.pages.size(); ++page) {
      if (!disk.pages[page].IsZero()) QueuePage(disk.pages[page], geometry.EntriesOf(page), owner);
    }
    absl::MutexLock lock(&mu_);
    RETURN_IF_ERROR(failure_);
  }
  return absl::OkStatus();
}

void Marker::QueuePage(const ChunkId& id, uint64_t entries, const std::string& owner) {
  reference_count_ += entries;
  std::pair<uint64_t, uint64_t> key;
  std::memcpy(&key.first, id.bytes.data(), sizeof key.first);
  std::memcpy(&key.second, id.bytes.data() + sizeof key.first, sizeof key.second);
  if (!queued_.insert(key).second) return;
  // A page without ordinal is younger than the ordinals, or gone: reading it tells.
  if (const uint32_t ordinal = ordinals_.Find(id); ordinal != ChunkOrdinals::kNone) marked_.Add(ordinal);
  open_.push_back({id, entries, owner});
  if (open_.size() == kBatchPages) QueueBatch();
}

void Marker::QueueBatch() {
  if (open_.empty()) return;
  absl::MutexLock lock(&mu_);
  const auto has_room = [this]()
                            ABSL_SHARED_LOCKS_REQUIRED(mu_) { return queue_.size() < kQueueMax || !failure_.ok(); };
  mu_.Await(absl::Condition(&has_room));
  if (failure_.ok()) queue_.push_back(std::move(open_));
  open_.clear();
}

void Marker::Work() {
  Lane lane(core_);
  const auto has_work = [this]() ABSL_SHARED_LOCKS_REQUIRED(mu_) { return !queue_.empty() || complete_; };
  while (true) {
    Batch batch;
    {
      absl::MutexLock lock(&mu_);
      mu_.Await(absl::Condition(&has_work));
      if (queue_.empty() || !failure_.ok()) {
        queue_.clear();
        return;
      }
      batch = std::move(queue_.front());
      queue_.pop_front();
    }
    const absl::Status read = ReadPages(batch, lane);
    if (read.ok()) continue;
    absl::MutexLock lock(&mu_);
    if (failure_.ok()) failure_ = read;
  }
}

// All pages of the batch at once, since those of one map mostly lie side by side. What goes wrong with one is found
// again, and told, when that page is read by itself.
absl::Status Marker::ReadPages(const Batch& batch, Lane& lane) {
  RETURN_IF_ERROR(Stopped());
  lane.ids.clear();
  lane.locations.clear();
  std::vector<const Page*> alone;
  std::vector<const Page*> together;
  for (const Page& page : batch) {
    const auto found = core_.index.Find(page.id);
    RETURN_IF_ERROR(base::Annotate(found.status(), "what {} needs isn't known", page.owner));
    if (!found->has_value()) {
      alone.push_back(&page);
      continue;
    }
    together.push_back(&page);
    lane.ids.push_back(page.id);
    lane.locations.push_back(**found);
  }
  const auto& fetched = lane.reader.Fetch(lane.ids, lane.locations);
  for (size_t i = 0; i < together.size(); ++i) {
    const Page& page = *together[i];
    if (const base::Bytes bytes = Decode(page, fetched[i], lane.locations[i].codec, lane); !bytes.empty()) {
      MarkPage(page, bytes, lane);
    } else {
      alone.push_back(&page);
    }
  }
  for (const Page* const page : alone) {
    RETURN_IF_ERROR(Stopped());
    const auto bytes = lane.reader.FetchPlain(page->id, static_cast<uint32_t>(page->entries * kChunkIdSize));
    RETURN_IF_ERROR(base::Annotate(bytes.status(), "what {} needs isn't known", page->owner));
    MarkPage(*page, *bytes, lane);
  }
  return absl::OkStatus();
}

// Empty when it isn't as many ids as the page has. The tag, which covers the page's id, has proven that these are the
// bytes that were stored under it, and whoever stored them computed the id: it isn't computed again.
base::Bytes Marker::Decode(const Page& page, const FetchedChunk& fetched, Codec codec, Lane& lane) {
  const size_t size = page.entries * kChunkIdSize;
  if (!fetched.status.ok()) return {};
  if (codec == Codec::kRaw) return fetched.stored.size() == size ? fetched.stored : base::Bytes();
  lane.plain.resize(size);
  return DecompressChunk(codec, fetched.stored, lane.plain).ok() ? base::Bytes(lane.plain) : base::Bytes();
}

void Marker::MarkPage(const Page& page, base::Bytes bytes, Lane& lane) {
  // Ids are bytes without alignment.
  const std::span ids(reinterpret_cast<const ChunkId*>(bytes.data()), page.entries);
  lane.ordinals.resize(ids.size());
  ordinals_.FindAll(ids, lane.ordinals);
  for (size_t i = 0; i < ids.size(); ++i) {
    if (lane.ordinals[i] != ChunkOrdinals::kNone && !ids[i].IsZero()) marked_.Add(lane.ordinals[i]);
  }
  read_count_ += ids.size();
}

}  // namespace umbra::repo
