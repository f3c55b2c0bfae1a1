#include "storage/catalog/recovery_point_store.h"

#include "storage/base/status.h"
#include "storage/catalog/page.h"

namespace umbra::catalog {
namespace {

#define POINT_COLUMNS                                                                                            \
  "SELECT id, host_id, vm_uuid, vm_display_name, repository, job_id, point_time_us, create_time_us, mechanism, " \
  "mechanism_reason, freeze_duration_us, read_bytes, stored_bytes, downtime_us, state_bytes, state_data_bytes, "      \
  "new_bytes, remove_time_us, delete_time_us, removed_by, held, held_by, hold_note, lock_until_us "                                                                                                      \
  "FROM recovery_point "

constexpr char kInsert[] =
    "INSERT INTO recovery_point (id, host_id, vm_uuid, vm_display_name, repository, job_id, point_time_us, "
    "create_time_us, mechanism, mechanism_reason, freeze_duration_us, read_bytes, stored_bytes, configuration, "
    "downtime_us, state_bytes, state_data_bytes, new_bytes) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING";
constexpr char kInsertDisk[] =
    "INSERT INTO recovery_point_disk (recovery_point_id, position, name, capacity_bytes, data_bytes, format, path) "
    "VALUES (?, ?, ?, ?, ?, ?, ?)";
constexpr char kInsertExcluded[] =
    "INSERT INTO recovery_point_excluded_disk (recovery_point_id, position, name, reason, message) "
    "VALUES (?, ?, ?, ?, ?)";
constexpr char kInsertObstacle[] =
    "INSERT INTO recovery_point_obstacle (recovery_point_id, position, reason, message) VALUES (?, ?, ?, ?)";
constexpr char kInsertDocument[] =
    "INSERT INTO recovery_point_document (recovery_point_id, position, kind, content) VALUES (?, ?, ?, ?)";
constexpr char kSetProtection[] =
    "UPDATE recovery_point SET remove_time_us = ?, delete_time_us = ?, removed_by = ?, held = ?, held_by = ?, "
    "hold_note = ?, lock_until_us = ? WHERE id = ?";
constexpr char kDelete[] = "DELETE FROM recovery_point WHERE id = ?";
// What verification found about it. These rows have no foreign key: damage may be known of a point without a row.
constexpr char kDeleteDamage[] = "DELETE FROM damage WHERE recovery_point = ?";
constexpr char kDeleteCheck[] = "DELETE FROM point_check WHERE recovery_point = ?";
constexpr char kGet[] = POINT_COLUMNS "WHERE id = ?";
// ?6 is the time for locks.
#define POINT_PAGE(HOW, CONDITION)                                             \
  POINT_COLUMNS HOW                                                            \
      "WHERE (point_time_us, id) < (?1, ?2) AND (?3 = '' OR repository = ?3) " \
      "AND (?4 OR remove_time_us IS NULL) " CONDITION "ORDER BY point_time_us DESC, id DESC LIMIT ?5"
#define POINT_REMOVED "AND remove_time_us IS NOT NULL AND ?6 IS NOT NULL "
#define POINT_HELD "AND held = 1 AND ?6 IS NOT NULL "
#define POINT_LOCKED "AND lock_until_us IS NOT NULL AND lock_until_us > ?6 "
#define POINT_OF_VM "AND host_id = ?7 AND vm_uuid = ?8 "
// By RecoveryPointStore::Kind. Few of very many points are of a kind other than the first: each has an index of its
// own.
constexpr const char* kListAll[] = {POINT_PAGE("", "AND ?6 IS NOT NULL "),
                                    POINT_PAGE("INDEXED BY recovery_point_removed ", POINT_REMOVED),
                                    POINT_PAGE("INDEXED BY recovery_point_held ", POINT_HELD),
                                    POINT_PAGE("INDEXED BY recovery_point_locked ", POINT_LOCKED)};
constexpr const char* kListOfVm[] = {POINT_PAGE("", "AND ?6 IS NOT NULL " POINT_OF_VM),
                                     POINT_PAGE("", POINT_REMOVED POINT_OF_VM), POINT_PAGE("", POINT_HELD POINT_OF_VM),
                                     POINT_PAGE("", POINT_LOCKED POINT_OF_VM)};
constexpr char kIds[] = "SELECT id FROM recovery_point WHERE repository = ? ORDER BY id";
constexpr char kProtections[] =
    "SELECT remove_time_us, delete_time_us, removed_by, held, held_by, hold_note, lock_until_us, id FROM recovery_point "
    "WHERE repository = ? ORDER BY id";
constexpr char kIdsOfJob[] = "SELECT id FROM recovery_point WHERE job_id = ? ORDER BY id";
constexpr char kDisks[] =
    "SELECT name, capacity_bytes, data_bytes, format, path FROM recovery_point_disk WHERE recovery_point_id = ? "
    "ORDER BY position";
constexpr char kExcluded[] =
    "SELECT name, reason, message FROM recovery_point_excluded_disk WHERE recovery_point_id = ? ORDER BY position";
constexpr char kObstacles[] =
    "SELECT reason, message FROM recovery_point_obstacle WHERE recovery_point_id = ? ORDER BY position";
constexpr char kConfiguration[] = "SELECT configuration FROM recovery_point WHERE id = ?";
constexpr char kDocuments[] =
    "SELECT kind, content FROM recovery_point_document WHERE recovery_point_id = ? ORDER BY position";

// From seven columns, the first of which is number `first`.
RecoveryPointProtection ReadProtection(const sqlite::Row& row, int first) {
  return {.remove_time = row.OptionalTime(first),
          .delete_time = row.OptionalTime(first + 1),
          .removed_by = row.Text(first + 2),
          .held = row.Bool(first + 3),
          .held_by = row.Text(first + 4),
          .hold_note = row.Text(first + 5),
          .lock_until = row.OptionalTime(first + 6)};
}

RecoveryPoint ReadPoint(const sqlite::Row& row) {
  return {.id = RecoveryPointId(row.Text(0)),
          .vm = {HostId(row.Text(1)), row.Text(2)},
          .vm_display_name = row.Text(3),
          .repository = RepositoryId(row.Text(4)),
          .job = JobId(row.Text(5)),
          .point_time = row.Time(6),
          .create_time = row.Time(7),
          .mechanism = row.Enum<BackupMechanism>(8),
          .mechanism_reason = row.Text(9),
          .freeze_duration = row.Duration(10),
          .downtime = row.Duration(13),
          .state_bytes = row.Int(14),
          .state_data_bytes = row.Int(15),
          .read_bytes = row.Int(11),
          .new_bytes = row.Int(16),
          .stored_bytes = row.Int(12),
          .protection = ReadProtection(row, 17)};
}

}  // namespace

absl::StatusOr<bool> RecoveryPointStore::Insert(const RecoveryPoint& p) {
  RETURN_IF_ERROR(db_.Run(kInsert, p.id.value, p.vm.host.value, p.vm.uuid, p.vm_display_name, p.repository.value,
                          p.job.value, p.point_time, p.create_time, p.mechanism, p.mechanism_reason, p.freeze_duration,
                          p.read_bytes, p.stored_bytes, p.configuration, p.downtime, p.state_bytes, p.state_data_bytes,
                          p.new_bytes));
  if (db_.ChangedRows() == 0) return false;
  RETURN_IF_ERROR(InsertChildren(p));
  if (p.protection != RecoveryPointProtection()) RETURN_IF_ERROR(SetProtection(p.id, p.protection));
  return true;
}

absl::Status RecoveryPointStore::InsertChildren(const RecoveryPoint& p) {
  int position = 0;
  for (const RecoveryPointDisk& d : p.disks) {
    RETURN_IF_ERROR(
        db_.Run(kInsertDisk, p.id.value, position++, d.name, d.capacity_bytes, d.data_bytes, d.format, d.path));
  }
  position = 0;
  for (const ExcludedDisk& d : p.excluded_disks) {
    RETURN_IF_ERROR(db_.Run(kInsertExcluded, p.id.value, position++, d.name, d.reason, d.message));
  }
  position = 0;
  for (const Obstacle& o : p.obstacles) {
    RETURN_IF_ERROR(db_.Run(kInsertObstacle, p.id.value, position++, o.reason, o.message));
  }
  position = 0;
  for (const Document& d : p.documents) {
    RETURN_IF_ERROR(db_.Run(kInsertDocument, p.id.value, position++, d.kind, d.content));
  }
  return absl::OkStatus();
}

absl::Status RecoveryPointStore::SetProtection(const RecoveryPointId& id, const RecoveryPointProtection& p) {
  RETURN_IF_ERROR(db_.Run(kSetProtection, p.remove_time, p.delete_time, p.removed_by, p.held, p.held_by, p.hold_note,
                          p.lock_until, id.value));
  if (db_.ChangedRows() != 0) return absl::OkStatus();
  return base::Error(absl::StatusCode::kNotFound, "RECOVERY_POINT_NOT_FOUND", "no recovery point {}", id);
}

absl::Status RecoveryPointStore::Delete(const RecoveryPointId& id) {
  RETURN_IF_ERROR(db_.Run(kDeleteDamage, id.value));
  RETURN_IF_ERROR(db_.Run(kDeleteCheck, id.value));
  RETURN_IF_ERROR(db_.Run(kDelete, id.value));
  if (db_.ChangedRows() != 0) return absl::OkStatus();
  return base::Error(absl::StatusCode::kNotFound, "RECOVERY_POINT_NOT_FOUND", "no recovery point {}", id);
}

absl::Status RecoveryPointStore::ReadDisks(RecoveryPoint& point) const {
  RETURN_IF_ERROR(db_.Query(
      kDisks,
      [&](const sqlite::Row& row) {
        point.disks.push_back({row.Text(0), row.Int(1), row.Int(2), row.Text(3), row.Text(4)});
      },
      point.id.value));
  RETURN_IF_ERROR(db_.Query(
      kObstacles,
      [&](const sqlite::Row& row) {
        point.obstacles.push_back({row.Text(0), row.Text(1)});
      },
      point.id.value));
  return db_.Query(
      kExcluded,
      [&](const sqlite::Row& row) {
        point.excluded_disks.push_back({row.Text(0), row.Text(1), row.Text(2)});
      },
      point.id.value);
}

absl::Status RecoveryPointStore::ReadDocuments(RecoveryPoint& point) const {
  RETURN_IF_ERROR(db_.Query(
      kConfiguration, [&](const sqlite::Row& row) { point.configuration = row.Text(0); }, point.id.value));
  return db_.Query(
      kDocuments,
      [&](const sqlite::Row& row) {
        point.documents.push_back({row.Text(0), row.Text(1)});
      },
      point.id.value);
}

absl::StatusOr<RecoveryPoint> RecoveryPointStore::Get(const RecoveryPointId& id) const {
  std::optional<RecoveryPoint> point;
  RETURN_IF_ERROR(db_.Query(
      kGet, [&](const sqlite::Row& row) { point = ReadPoint(row); }, id.value));
  if (!point.has_value()) {
    return base::Error(absl::StatusCode::kNotFound, "RECOVERY_POINT_NOT_FOUND", "no recovery point {}", id);
  }
  RETURN_IF_ERROR(ReadDisks(*point));
  RETURN_IF_ERROR(ReadDocuments(*point));
  return *std::move(point);
}

absl::StatusOr<Page<RecoveryPoint, RecoveryPointKey>> RecoveryPointStore::List(
    const Filter& filter, const ListOptions<RecoveryPointKey>& options) const {
  std::vector<RecoveryPoint> points;
  const auto on_row = [&](const sqlite::Row& row) { points.push_back(ReadPoint(row)); };
  const RecoveryPointKey after = options.after_key.value_or(RecoveryPointKey{absl::InfiniteFuture(), {}});
  const std::string repository = filter.repository.value_or(RepositoryId()).value;
  const size_t kind = static_cast<size_t>(filter.kind);
  const bool removed = filter.show_removed || filter.kind == Kind::kRemoved;
  RETURN_IF_ERROR(filter.vm.has_value()
                      ? db_.Query(kListOfVm[kind], on_row, after.point_time, after.id.value, repository, removed,
                                  RowLimit(options), filter.now, filter.vm->host.value, filter.vm->uuid)
                      : db_.Query(kListAll[kind], on_row, after.point_time, after.id.value, repository, removed,
                                  RowLimit(options), filter.now));
  auto page = MakePage(std::move(points), options, [](const RecoveryPoint& p) {
    return RecoveryPointKey{p.point_time, p.id};
  });
  for (RecoveryPoint& point : page.items) RETURN_IF_ERROR(ReadDisks(point));
  return page;
}

absl::StatusOr<std::vector<RecoveryPointId>> RecoveryPointStore::Ids(const RepositoryId& repository) const {
  std::vector<RecoveryPointId> ids;
  RETURN_IF_ERROR(db_.Query(
      kIds, [&](const sqlite::Row& row) { ids.emplace_back(row.Text(0)); }, repository.value));
  return ids;
}

absl::StatusOr<std::map<RecoveryPointId, RecoveryPointProtection>> RecoveryPointStore::Protections(
    const RepositoryId& repository) const {
  std::map<RecoveryPointId, RecoveryPointProtection> all;
  const auto on_row = [&](const sqlite::Row& row) {
    all.emplace_hint(all.end(), RecoveryPointId(row.Text(7)), ReadProtection(row, 0));
  };
  RETURN_IF_ERROR(db_.Query(kProtections, on_row, repository.value));
  return all;
}

absl::StatusOr<std::vector<RecoveryPointId>> RecoveryPointStore::IdsOfJob(const JobId& job) const {
  std::vector<RecoveryPointId> ids;
  RETURN_IF_ERROR(db_.Query(
      kIdsOfJob, [&](const sqlite::Row& row) { ids.emplace_back(row.Text(0)); }, job.value));
  return ids;
}

}  // namespace umbra::catalog
