#include "server/maintenance/rebuild.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "storage/base/log.h"
#include "storage/base/status.h"

namespace umbra::maintenance {
namespace {

using catalog::RecoveryPointId;
using catalog::Stores;

constexpr char kConfigurationKind[] = "vm.configuration";

absl::Time ToTime(const google::protobuf::Timestamp& time) {
  return absl::FromUnixSeconds(time.seconds()) + absl::Nanoseconds(time.nanos());
}

absl::Duration ToDuration(const google::protobuf::Duration& duration) {
  return absl::Seconds(duration.seconds()) + absl::Nanoseconds(duration.nanos());
}

// A job that is still at work enters its own points, or takes them back.
bool LeftToItsJob(const Stores& stores, const catalog::JobId& id) {
  const auto job = stores.jobs.Get(id);
  return job.ok() && !catalog::IsTerminal(job->state);
}

absl::StatusOr<bool> Add(catalog::Catalog& catalog, const catalog::RecoveryPoint& point) {
  return catalog.Write([&](Stores& stores) -> absl::StatusOr<bool> {
    if (LeftToItsJob(stores, point.job)) return false;
    return stores.recovery_points.Insert(point);
  });
}

// The row's protection is what the repository says; true when it was another.
absl::StatusOr<bool> SetProtection(catalog::Catalog& catalog, const catalog::RecoveryPoint& point) {
  return catalog.Write([&](Stores& stores) -> absl::StatusOr<bool> {
    const auto row = stores.recovery_points.Get(point.id);
    if (absl::IsNotFound(row.status())) return false;
    RETURN_IF_ERROR(row.status());
    if (row->protection == point.protection) return false;
    RETURN_IF_ERROR(stores.recovery_points.SetProtection(point.id, point.protection));
    return true;
  });
}

// Also a point that can't be read, or that was removed since the list was made, is there.
absl::StatusOr<bool> Holds(const OpenRepository& repository, const RecoveryPointId& id) {
  if (!absl::IsNotFound(repository.repository->ReadManifest(id.value).status())) return true;
  ASSIGN_OR_RETURN(const repo::RecoveryPointList list, repository.repository->ListRecoveryPoints());
  return std::ranges::any_of(list.removed, [&](const auto& m) { return m.recovery_point_id() == id.value; });
}

// Removes the row, unless the point turns out to be there after all (a damaged manifest is no reason to forget it).
absl::StatusOr<bool> RemoveIfGone(catalog::Catalog& catalog, const OpenRepository& repository,
                                  const RecoveryPointId& id) {
  ASSIGN_OR_RETURN(const bool holds, Holds(repository, id));
  if (holds) return false;
  const absl::Status removed = catalog.Write([&](Stores& stores) { return stores.recovery_points.Delete(id); });
  if (absl::IsNotFound(removed)) return false;
  RETURN_IF_ERROR(removed);
  return true;
}

absl::Status Tell(catalog::Catalog& catalog, const OpenRepository& repository, base::Clock& clock,
                  const RebuildReport& report) {
  if (report.added_count == 0 && report.removed_count == 0 && report.changed_count == 0 && report.problems.empty()) return absl::OkStatus();
  catalog::Event event;
  event.time = clock.Now();
  event.type = "CATALOG_REBUILT";
  event.resource = fmt::format("repositories/{}", repository.id);
  event.severity = report.problems.empty() ? catalog::Severity::kInfo : catalog::Severity::kWarning;
  event.message = fmt::format("{} recovery points found, {} added, {} removed, {} unreadable", report.found_count,
                              report.added_count, report.removed_count, report.problems.size());
  base::Log("maintenance")
      ->info("catalog rebuilt repository={} found={} added={} removed={} problems={}", repository.id,
             report.found_count, report.added_count, report.removed_count, report.problems.size());
  return catalog.Write([&](Stores& stores) { return stores.events.Append(event).status(); });
}

}  // namespace

catalog::RecoveryPoint ToRecord(const repo::Manifest& manifest, const catalog::RepositoryId& repository) {
  catalog::RecoveryPoint point;
  point.id = RecoveryPointId(manifest.recovery_point_id());
  point.vm = {catalog::HostId(manifest.host_id()), manifest.vm_uuid()};
  point.vm_display_name = manifest.vm_display_name();
  point.repository = repository;
  point.job = catalog::JobId(manifest.job_id());
  point.point_time = ToTime(manifest.point_time());
  point.create_time = ToTime(manifest.create_time());
  // A manifest of a newer version may know more mechanisms.
  const bool known =
      manifest.mechanism() >= 0 && manifest.mechanism() <= static_cast<int>(catalog::BackupMechanism::kOffline);
  point.mechanism = known ? static_cast<catalog::BackupMechanism>(manifest.mechanism()) : catalog::BackupMechanism{};
  point.mechanism_reason = manifest.mechanism_reason();
  point.freeze_duration = ToDuration(manifest.freeze_duration());
  point.downtime = ToDuration(manifest.downtime());
  for (const auto& obstacle : manifest.obstacles()) point.obstacles.push_back({obstacle.reason(), obstacle.message()});
  for (const auto& disk : manifest.disks()) {
    if (disk.kind() == store::v1::ManifestDisk::KIND_MEMORY_STATE) {
      point.state_bytes = disk.capacity_bytes();
      point.state_data_bytes = disk.data_bytes();
      continue;
    }
    point.disks.push_back({disk.name(), disk.capacity_bytes(), disk.data_bytes(), disk.format(), disk.path()});
  }
  for (const auto& disk : manifest.excluded_disks()) {
    point.excluded_disks.push_back({disk.name(), disk.reason(), disk.message()});
  }
  for (const auto& document : manifest.documents()) {
    if (document.kind() == kConfigurationKind) {
      point.configuration = document.content();
    } else {
      point.documents.push_back({document.kind(), document.content()});
    }
  }
  point.read_bytes = manifest.read_bytes();
  point.new_bytes = manifest.new_bytes();
  point.stored_bytes = manifest.stored_bytes();
  return point;
}

catalog::RecoveryPointProtection ToRecord(const repo::PointProtection& from) {
  catalog::RecoveryPointProtection to;
  const auto time = [](absl::Time t) { return t == absl::InfinitePast() ? std::optional<absl::Time>() : t; };
  // One whose tombstone can't be read is removed all the same.
  if (from.removed) to.remove_time = time(from.remove_time).value_or(absl::UnixEpoch());
  if (from.removed) to.delete_time = time(from.delete_time);
  to.removed_by = from.removed_by;
  to.held = from.held;
  to.held_by = from.held_by;
  to.hold_note = from.hold_note;
  to.lock_until = time(from.lock_until);
  return to;
}

absl::StatusOr<std::vector<catalog::RecoveryPoint>> PointsOfJobs::Of(const catalog::Job& job) {
  std::vector<catalog::RecoveryPoint> points;
  const auto* backup = std::get_if<catalog::BackupSpec>(&job.spec);
  if (backup == nullptr) return points;
  const auto repository = repositories_.Find(backup->repository);
  if (!repository.ok()) return points;
  const auto [known, is_new] = known_.try_emplace((*repository)->id);
  if (is_new) {
    auto list = (*repository)->repository->ListRecoveryPoints();
    if (!list.ok()) {
      known_.erase(known);
      return list.status();
    }
    for (repo::Manifest& manifest : list->points) known->second.emplace(manifest.job_id(), std::move(manifest));
  }
  const auto [begin, end] = known->second.equal_range(job.id.value);
  for (auto it = begin; it != end; ++it) points.push_back(ToRecord(it->second, backup->repository));
  return points;
}

absl::StatusOr<RebuildReport> RebuildCatalog(catalog::Catalog& catalog, const OpenRepository& repository,
                                             base::Clock& clock, RebuildMode mode) {
  // Rows before manifests: a point that is committed in between is then never taken for a row without a point.
  ASSIGN_OR_RETURN(auto rows, catalog.Read([&](const Stores& stores) {
    return stores.recovery_points.Protections(repository.id);
  }));
  ASSIGN_OR_RETURN(repo::RecoveryPointList list, repository.repository->ListRecoveryPoints());
  RebuildReport report;
  report.found_count = static_cast<int64_t>(list.points.size() + list.removed.size());
  report.problems = std::move(list.problems);

  for (const auto* manifests : {&list.points, &list.removed}) {
    for (const repo::Manifest& manifest : *manifests) {
      catalog::RecoveryPoint point = ToRecord(manifest, repository.id);
      const auto protection = list.protections.find(manifest.recovery_point_id());
      if (protection != list.protections.end()) point.protection = ToRecord(protection->second);
      if (const auto row = rows.extract(point.id)) {
        if (row.mapped() == point.protection) continue;  // nearly always: not worth a transaction each
        ASSIGN_OR_RETURN(const bool changed, SetProtection(catalog, point));
        report.changed_count += changed;
      } else {
        ASSIGN_OR_RETURN(const bool added, Add(catalog, point));
        report.added_count += added;
      }
    }
  }
  for (const auto& [id, protection] : rows) {  // those that the repository doesn't hold
    // One that was removed was deleted by a prune, whose last step a crash cut off.
    if (mode != RebuildMode::kFull && !protection.remove_time.has_value()) continue;
    ASSIGN_OR_RETURN(const bool removed, RemoveIfGone(catalog, repository, id));
    report.removed_count += removed;
  }
  RETURN_IF_ERROR(Tell(catalog, repository, clock, report));
  return report;
}

}  // namespace umbra::maintenance
