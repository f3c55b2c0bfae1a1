#include "storage/catalog/verify_store.h"

#include "storage/base/status.h"

namespace umbra::catalog {
namespace {

constexpr char kSetPack[] =
    "INSERT INTO pack_check (repository, pack, size_bytes, stored_time_us, full_time_us, whole_damaged, "
    "damaged_chunks) "
    "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (repository, pack) DO UPDATE SET size_bytes = excluded.size_bytes, "
    "stored_time_us = excluded.stored_time_us, full_time_us = COALESCE(excluded.full_time_us, full_time_us), "
    "whole_damaged = excluded.whole_damaged, damaged_chunks = excluded.damaged_chunks";
constexpr char kPacks[] =
    "SELECT repository, pack, size_bytes, stored_time_us, full_time_us, whole_damaged, damaged_chunks FROM pack_check "
    "WHERE repository = ? ORDER BY pack";
constexpr char kDeletePack[] = "DELETE FROM pack_check WHERE repository = ? AND pack = ?";

constexpr char kSetPoint[] =
    "INSERT INTO point_check (repository, recovery_point, verify_time_us, sound) VALUES (?, ?, ?, ?) "
    "ON CONFLICT (repository, recovery_point) DO UPDATE SET verify_time_us = excluded.verify_time_us, "
    "sound = excluded.sound";
constexpr char kGetPoint[] =
    "SELECT repository, recovery_point, verify_time_us, sound FROM point_check WHERE recovery_point = ?";
constexpr char kPointTimes[] =
    "SELECT recovery_point, verify_time_us FROM point_check WHERE repository = ? ORDER BY recovery_point";

#define DAMAGE_COLUMNS                                                                                              \
  "SELECT repository, recovery_point, disk, offset_bytes, chunk_id, length_bytes, reason, message, found_time_us, " \
  "healed_time_us FROM damage "

constexpr char kAdd[] =
    "INSERT INTO damage (repository, recovery_point, disk, offset_bytes, chunk_id, length_bytes, reason, message, "
    "found_time_us, healed_time_us) SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, NULL "
    "WHERE (SELECT COUNT(*) FROM damage WHERE repository = ?1) < ?10 "
    "ON CONFLICT (repository, recovery_point, disk, offset_bytes, chunk_id) DO UPDATE SET "
    "length_bytes = excluded.length_bytes, reason = excluded.reason, message = excluded.message, "
    "found_time_us = CASE WHEN healed_time_us IS NULL THEN found_time_us ELSE excluded.found_time_us END, "
    "healed_time_us = NULL";
constexpr char kOpen[] = DAMAGE_COLUMNS
    "WHERE repository = ? AND healed_time_us IS NULL ORDER BY recovery_point, disk, offset_bytes, chunk_id";
constexpr char kOfPoint[] = DAMAGE_COLUMNS "WHERE recovery_point = ? ORDER BY disk, offset_bytes, chunk_id";
constexpr char kHeal[] =
    "UPDATE damage SET healed_time_us = ? WHERE repository = ? AND chunk_id = ? AND healed_time_us IS NULL";
constexpr char kHealDisks[] =
    "UPDATE damage SET healed_time_us = ? WHERE recovery_point = ? AND chunk_id = '' AND healed_time_us IS NULL";
constexpr char kPruneHealed[] = "DELETE FROM damage WHERE healed_time_us < ?";
constexpr char kPruneGone[] = "DELETE FROM damage WHERE recovery_point NOT IN (SELECT id FROM recovery_point)";
constexpr char kPruneChecks[] = "DELETE FROM point_check WHERE recovery_point NOT IN (SELECT id FROM recovery_point)";

PackCheck ReadPack(const sqlite::Row& row) {
  return {.repository = RepositoryId(row.Text(0)),
          .pack = row.Text(1),
          .size_bytes = row.Int(2),
          .stored_time = row.Time(3),
          .full_time = row.OptionalTime(4),
          .whole_damaged = row.Bool(5),
          .damaged_chunks = row.Int(6)};
}

Damage ReadDamage(const sqlite::Row& row) {
  return {.repository = RepositoryId(row.Text(0)),
          .recovery_point = RecoveryPointId(row.Text(1)),
          .disk = row.Text(2),
          .offset_bytes = row.Int(3),
          .chunk_id = row.Text(4),
          .length_bytes = row.Int(5),
          .reason = row.Text(6),
          .message = row.Text(7),
          .found_time = row.Time(8),
          .healed_time = row.OptionalTime(9)};
}

}  // namespace

absl::Status VerifyStore::SetPackCheck(const PackCheck& c) {
  return db_.Run(kSetPack, c.repository.value, c.pack, c.size_bytes, c.stored_time, c.full_time, c.whole_damaged,
                 c.damaged_chunks);
}

absl::StatusOr<std::vector<PackCheck>> VerifyStore::PackChecks(const RepositoryId& repository) const {
  std::vector<PackCheck> checks;
  RETURN_IF_ERROR(db_.Query(
      kPacks, [&](const sqlite::Row& row) { checks.push_back(ReadPack(row)); }, repository.value));
  return checks;
}

absl::Status VerifyStore::DeletePackCheck(const RepositoryId& repository, const std::string& pack) {
  return db_.Run(kDeletePack, repository.value, pack);
}

absl::Status VerifyStore::SetPointCheck(const PointCheck& c) {
  return db_.Run(kSetPoint, c.repository.value, c.recovery_point.value, c.verify_time, c.sound);
}

absl::StatusOr<std::optional<PointCheck>> VerifyStore::GetPointCheck(const RecoveryPointId& point) const {
  std::optional<PointCheck> check;
  RETURN_IF_ERROR(db_.Query(
      kGetPoint,
      [&](const sqlite::Row& row) {
        check = PointCheck{RepositoryId(row.Text(0)), RecoveryPointId(row.Text(1)), row.Time(2), row.Bool(3)};
      },
      point.value));
  return check;
}

absl::StatusOr<std::map<std::string, absl::Time>> VerifyStore::PointCheckTimes(const RepositoryId& repository) const {
  std::map<std::string, absl::Time> times;
  RETURN_IF_ERROR(db_.Query(
      kPointTimes, [&](const sqlite::Row& row) { times[row.Text(0)] = row.Time(1); }, repository.value));
  return times;
}

absl::Status VerifyStore::AddDamage(const Damage& d) {
  return db_.Run(kAdd, d.repository.value, d.recovery_point.value, d.disk, d.offset_bytes, d.chunk_id, d.length_bytes,
                 d.reason, d.message, d.found_time, kDamageRowsMax);
}

absl::StatusOr<std::vector<Damage>> VerifyStore::OpenDamage(const RepositoryId& repository) const {
  std::vector<Damage> damage;
  RETURN_IF_ERROR(db_.Query(
      kOpen, [&](const sqlite::Row& row) { damage.push_back(ReadDamage(row)); }, repository.value));
  return damage;
}

absl::StatusOr<std::vector<Damage>> VerifyStore::DamageOf(const RecoveryPointId& point) const {
  std::vector<Damage> damage;
  RETURN_IF_ERROR(db_.Query(
      kOfPoint, [&](const sqlite::Row& row) { damage.push_back(ReadDamage(row)); }, point.value));
  return damage;
}

absl::Status VerifyStore::Heal(const RepositoryId& repository, const std::string& chunk_id, absl::Time time) {
  return db_.Run(kHeal, time, repository.value, chunk_id);
}

absl::Status VerifyStore::HealDisks(const RecoveryPointId& point, absl::Time time) {
  return db_.Run(kHealDisks, time, point.value);
}

absl::Status VerifyStore::Prune(absl::Time time) {
  RETURN_IF_ERROR(db_.Run(kPruneHealed, time));
  RETURN_IF_ERROR(db_.Run(kPruneGone));
  return db_.Run(kPruneChecks);
}

}  // namespace umbra::catalog
