#include "storage/repo/base_map.h"

#include <algorithm>

#include "storage/base/status.h"
#include "storage/repo/core.h"
#include "storage/repo/disk_map.h"

namespace umbra::repo {
namespace {

template <typename... Args>
absl::Status Unusable(fmt::format_string<Args...> format, Args&&... args) {
  return base::Error(absl::StatusCode::kFailedPrecondition, "CBT_BASE_UNUSABLE", format, std::forward<Args>(args)...);
}

absl::Status CheckChunk(Core& core, const ChunkId& id, uint32_t length) {
  if (id.IsZero()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const auto location, core.index.FindHealthy(id));
  if (location.has_value() && location->plain_length == length) return absl::OkStatus();
  return Unusable("chunk {} is missing or damaged", id.ToHex());
}

}  // namespace

BaseHolds::Hold::Hold(BaseHolds& owner, std::string point) : owner_(owner), point_(std::move(point)) {
  absl::MutexLock lock(&owner_.mu_);
  ++owner_.holds_[point_];
}

BaseHolds::Hold::~Hold() {
  absl::MutexLock lock(&owner_.mu_);
  if (--owner_.holds_[point_] == 0) owner_.holds_.erase(point_);
}

absl::StatusOr<bool> BaseHolds::RemoveUnlessHeld(const std::string& point,
                                                 const std::function<absl::Status()>& remove) {
  absl::MutexLock lock(&mu_);
  if (holds_.contains(point)) return false;
  RETURN_IF_ERROR(remove());
  return true;
}

BaseMap::BaseMap(Core& core, const BaseDisk& base) : hold_(core.base_holds, base.recovery_point_id) {}

BaseMap::~BaseMap() = default;

absl::StatusOr<std::shared_ptr<const BaseMap>> BaseMap::Open(Core& core, const BaseDisk& base) {
  std::shared_ptr<BaseMap> map(new BaseMap(core, base));  // the hold comes before the first look
  absl::Status status = map->Load(core, base);
  if (status.ok()) status = map->CheckHealth(core, base);
  if (status.ok()) return map;
  const bool gone = absl::IsNotFound(status) || absl::IsDataLoss(status);
  if (gone) status = Unusable("{}", base::MessageOf(status));
  return base::Annotate(status, "disk {} of recovery point {}", base.disk, base.recovery_point_id);
}

absl::Status BaseMap::Load(Core& core, const BaseDisk& base) {
  ASSIGN_OR_RETURN(Point point, core.points.Read(base.recovery_point_id));
  const auto root = std::ranges::find(point.disks, base.disk, &DiskRoot::name);
  if (point.manifest.vm_uuid() != base.vm_uuid || root == point.disks.end()) return Unusable("there is no such disk");
  const DiskGeometry geometry(core.info, base.capacity_bytes);
  if (root->capacity_bytes != base.capacity_bytes || root->pages.size() != geometry.page_count()) {
    return Unusable("it had {} bytes, not {}", root->capacity_bytes, base.capacity_bytes);
  }
  pages_ = std::move(root->pages);
  return absl::OkStatus();
}

absl::Status BaseMap::CheckHealth(Core& core, const BaseDisk& base) const {
  const DiskGeometry geometry(core.info, base.capacity_bytes);
  const bool each_chunk = core.index.KnowsOfDamage();
  ChunkReader reader(core.packs, core.index, core.hasher);
  DiskMapCursor cursor(geometry, pages_, reader);
  for (uint64_t page = 0; page < pages_.size(); ++page) {
    RETURN_IF_ERROR(CheckChunk(core, pages_[page], static_cast<uint32_t>(geometry.EntriesOf(page) * kChunkIdSize)));
    if (!each_chunk) continue;
    ASSIGN_OR_RETURN(const std::span<const ChunkId> ids, cursor.Page(page));
    for (uint64_t i = 0; i < ids.size(); ++i) {
      RETURN_IF_ERROR(CheckChunk(core, ids[i], geometry.LengthOf(page * geometry.page_entries() + i)));
    }
  }
  return absl::OkStatus();
}

}  // namespace umbra::repo
