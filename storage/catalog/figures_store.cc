#include "storage/catalog/figures_store.h"

#include <algorithm>

#include "storage/base/status.h"

namespace umbra::catalog {
namespace {

// Disks are summed for each point first: a point has several, and its own columns count once.
constexpr char kOfVm[] =
    "SELECT COUNT(*), COALESCE(SUM(state_data_bytes + (SELECT COALESCE(SUM(data_bytes), 0) FROM recovery_point_disk "
    "WHERE recovery_point_id = recovery_point.id)), 0), COALESCE(SUM(new_bytes), 0), COALESCE(SUM(stored_bytes), 0) "
    "FROM recovery_point WHERE host_id = ? AND vm_uuid = ?";
constexpr char kOfFleet[] =
    "SELECT (SELECT COUNT(*) FROM host WHERE revoked = 0), (SELECT COUNT(*) FROM vm), "
    "(SELECT COUNT(*) FROM vm WHERE NOT EXISTS (SELECT 1 FROM recovery_point WHERE host_id = vm.host_id AND vm_uuid = vm.uuid)), "
    "(SELECT COALESCE(MAX(sequence), 0) FROM event)";
constexpr char kSetDay[] =
    "INSERT INTO repository_day (repository, day, recovery_point_count, logical_bytes, unique_bytes, stored_bytes) "
    "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (repository, day) DO UPDATE SET "
    "recovery_point_count = excluded.recovery_point_count, logical_bytes = excluded.logical_bytes, "
    "unique_bytes = excluded.unique_bytes, stored_bytes = excluded.stored_bytes";
constexpr char kDays[] =
    "SELECT repository, day, recovery_point_count, logical_bytes, unique_bytes, stored_bytes FROM repository_day "
    "WHERE repository = ? ORDER BY day DESC LIMIT ?";

}  // namespace

absl::StatusOr<BackupFigures> FiguresStore::OfVm(const VmKey& vm) const {
  BackupFigures figures;
  RETURN_IF_ERROR(db_.Query(
      kOfVm,
      [&](const sqlite::Row& row) {
        figures = {row.Int(0), row.Int(1), row.Int(2), row.Int(3)};
      },
      vm.host.value, vm.uuid));
  return figures;
}

absl::StatusOr<FleetFigures> FiguresStore::OfFleet() const {
  FleetFigures figures;
  RETURN_IF_ERROR(db_.Query(
      kOfFleet, [&](const sqlite::Row& row) { figures = {row.Int(0), row.Int(1), row.Int(2), row.Int(3)}; }));
  return figures;
}

absl::Status FiguresStore::SetDay(const RepositoryDay& d) {
  const BackupFigures& f = d.figures;
  return db_.Run(kSetDay, d.repository.value, d.day, f.recovery_point_count, f.logical_bytes, f.unique_bytes,
                 f.stored_bytes);
}

absl::StatusOr<std::vector<RepositoryDay>> FiguresStore::Days(const RepositoryId& repository, int limit) const {
  std::vector<RepositoryDay> days;
  RETURN_IF_ERROR(db_.Query(
      kDays,
      [&](const sqlite::Row& row) {
        days.push_back({RepositoryId(row.Text(0)), row.Int(1), {row.Int(2), row.Int(3), row.Int(4), row.Int(5)}});
      },
      repository.value, int64_t{limit}));
  std::ranges::reverse(days);
  return days;
}

}  // namespace umbra::catalog
