#include "storage/catalog/job_store.h"

#include <algorithm>
#include <limits>

#include "storage/base/status.h"
#include "storage/catalog/page.h"

namespace umbra::catalog {
namespace {

#define JOB_COLUMNS                                                                                                 \
  "SELECT number, id, kind + (prune <> 0), repository, allow_crash_consistent, freeze_timeout_us, recovery_point, " \
  "restore_mode, "                                                                                                  \
  "target_host, display_name, target_folder, power_on, state, phase, wait_reason, error_reason, error_message, "    \
  "done_bytes, total_bytes, read_bytes, new_bytes, stored_bytes, rate_bytes_per_second, eta_us, attempt, "          \
  "create_time_us, start_time_us, end_time_us, freeze_duration_us, restored_vm_uuid, revision, "                    \
  "child_snapshot_only, forbid_saved_state, resume_state, downtime_us, "                                            \
  "take_cluster_offline, verify_level, verify_time_budget_us, verify_byte_budget, full_read, restore_path, "        \
  "overwrite, prune, "                                                                                              \
  "policy, priority, due_time_us, not_after_us, retries_max, retry_backoff_us, upload_bytes_per_second, "           \
  "policy_jobs_max, policy_host_jobs_max, policy_weight, failed_attempts, last_attempt_reason, "                    \
  "last_attempt_message, next_attempt_time_us, pre_hook, post_hook, ignore_pre_hook_failure FROM job "

constexpr char kInsert[] =
    "INSERT INTO job (id, kind, repository, allow_crash_consistent, freeze_timeout_us, recovery_point, restore_mode, "
    "target_host, display_name, target_folder, power_on, create_time_us, state, phase, wait_reason, error_reason, "
    "error_message, done_bytes, total_bytes, read_bytes, new_bytes, stored_bytes, rate_bytes_per_second, eta_us, "
    "attempt, start_time_us, end_time_us, freeze_duration_us, restored_vm_uuid, revision, child_snapshot_only, "
    "forbid_saved_state, resume_state, take_cluster_offline, verify_level, verify_time_budget_us, verify_byte_budget, "
    "full_read, restore_path, overwrite, prune, policy, priority, due_time_us, not_after_us, retries_max, "
    "retry_backoff_us, upload_bytes_per_second, policy_jobs_max, policy_host_jobs_max, policy_weight, pre_hook, "
    "post_hook, ignore_pre_hook_failure) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, '', '', '', 0, 0, 0, 0, 0, 0, NULL, 0, NULL, NULL, 0, '', ?, "
    "?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
    "RETURNING number";
constexpr char kUpdate[] =
    "UPDATE job SET state = ?, phase = ?, wait_reason = ?, error_reason = ?, error_message = ?, done_bytes = ?, "
    "total_bytes = ?, read_bytes = ?, new_bytes = ?, stored_bytes = ?, rate_bytes_per_second = ?, eta_us = ?, "
    "attempt = ?, start_time_us = ?, end_time_us = ?, freeze_duration_us = ?, restored_vm_uuid = ?, revision = ?, "
    "downtime_us = ?, failed_attempts = ?, last_attempt_reason = ?, last_attempt_message = ?, next_attempt_time_us = ? "
    "WHERE id = ?";
constexpr char kGet[] = JOB_COLUMNS "WHERE id = ?";
constexpr char kListAll[] = JOB_COLUMNS "WHERE number < ?1 AND (?2 IS NULL OR kind + (prune <> 0) = ?2) ORDER BY number DESC LIMIT ?3";
// Of a kind of which there are few; with "kind <> 1" the partial index job_rare serves.
constexpr char kListOfRareKind[] = JOB_COLUMNS
    "WHERE kind <> 1 AND kind = MIN(?2, 3) AND (prune <> 0) = (?2 > 3) AND number < ?1 ORDER BY number DESC LIMIT ?3";
// The states are written out: only then does the partial index job_active serve.
constexpr char kListActive[] = JOB_COLUMNS
    "WHERE number < ?1 AND (?2 IS NULL OR kind + (prune <> 0) = ?2) AND state NOT IN (5, 6, 7) ORDER BY number DESC LIMIT ?3";
constexpr char kListOfPolicy[] = JOB_COLUMNS
    "WHERE policy <> '' AND policy = ?4 AND number < ?1 AND (?2 IS NULL OR kind + (prune <> 0) = ?2) AND "
    "(NOT ?5 OR state NOT IN (5, 6, 7)) ORDER BY number DESC LIMIT ?3";
constexpr char kActive[] =
    "SELECT job.id, kind + (prune <> 0), state, attempt, target_host, wait_reason, job_vm.host_id, job_vm.vm_uuid, "
    "number, repository, policy, priority, due_time_us, not_after_us, retries_max, retry_backoff_us, "
    "upload_bytes_per_second, policy_jobs_max, policy_host_jobs_max, policy_weight, next_attempt_time_us, "
    "create_time_us "
    "FROM job LEFT JOIN job_vm ON job_vm.job_id = job.id WHERE state NOT IN (5, 6, 7) "
    "ORDER BY number, job_vm.position";
constexpr char kCountQueued[] = "SELECT COUNT(*) FROM job WHERE state NOT IN (5, 6, 7) AND state = 1";

constexpr char kPrune[] =
    "DELETE FROM job WHERE number IN (SELECT number FROM job WHERE end_time_us IS NOT NULL AND end_time_us < ? AND "
    "NOT EXISTS (SELECT 1 FROM recovery_point WHERE recovery_point.job_id = job.id) ORDER BY end_time_us LIMIT ?)";

constexpr char kLastOfRepository[] =
    "SELECT create_time_us, state FROM job WHERE kind <> 1 AND kind = 3 AND prune = ? AND repository = ? AND recovery_point = '' AND verify_level <> 1 "
    "ORDER BY number DESC LIMIT 1";

constexpr char kInsertVm[] = "INSERT INTO job_vm (job_id, position, host_id, vm_uuid) VALUES (?, ?, ?, ?)";
constexpr char kVms[] = "SELECT host_id, vm_uuid FROM job_vm WHERE job_id = ? ORDER BY position";
constexpr char kUpsertDisk[] =
    "INSERT INTO job_disk (job_id, position, host_id, vm_uuid, disk, done_bytes, total_bytes, read_mode, "
    "full_read_reason, full_read_message, changed_bytes) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (job_id, position) DO UPDATE SET host_id = excluded.host_id, "
    "vm_uuid = excluded.vm_uuid, disk = excluded.disk, done_bytes = excluded.done_bytes, "
    "total_bytes = excluded.total_bytes, read_mode = excluded.read_mode, "
    "full_read_reason = excluded.full_read_reason, full_read_message = excluded.full_read_message, "
    "changed_bytes = excluded.changed_bytes";
constexpr char kTrimDisks[] = "DELETE FROM job_disk WHERE job_id = ? AND position >= ?";
constexpr char kDisks[] =
    "SELECT host_id, vm_uuid, disk, done_bytes, total_bytes, read_mode, full_read_reason, full_read_message, "
    "changed_bytes FROM job_disk WHERE job_id = ? ORDER BY position";
constexpr char kAddWarning[] =
    "INSERT INTO job_warning (job_id, position, reason, message) SELECT ?1, COUNT(*), ?2, ?3 FROM job_warning "
    "WHERE job_id = ?1 HAVING COUNT(*) < ?4";
constexpr char kSetWarned[] = "UPDATE job SET warned = 1 WHERE id = ? AND warned = 0";
constexpr char kUpsertPhase[] =
    "INSERT INTO job_phase (job_id, position, phase, start_time_us, end_time_us) VALUES (?, ?, ?, ?, ?) "
    "ON CONFLICT (job_id, position) DO UPDATE SET phase = excluded.phase, start_time_us = excluded.start_time_us, "
    "end_time_us = excluded.end_time_us";
constexpr char kTrimPhases[] = "DELETE FROM job_phase WHERE job_id = ? AND position >= ?";
constexpr char kPhases[] = "SELECT phase, start_time_us, end_time_us FROM job_phase WHERE job_id = ? ORDER BY position";
constexpr char kInsertWriter[] =
    "INSERT INTO job_writer (job_id, position, display_name, host_id, vm_uuid, freeze_time_us, frozen_time_us, "
    "thaw_time_us, thawed_time_us, error_reason, error_message) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
constexpr char kDeleteWriters[] = "DELETE FROM job_writer WHERE job_id = ?";
constexpr char kWriters[] =
    "SELECT display_name, host_id, vm_uuid, freeze_time_us, frozen_time_us, thaw_time_us, thawed_time_us, "
    "error_reason, error_message FROM job_writer WHERE job_id = ? ORDER BY position";
constexpr char kSetPointCount[] = "UPDATE job SET point_count = ? WHERE id = ?";
constexpr char kSetOutcome[] =
    "INSERT INTO backup_outcome (host_id, vm_uuid, job_id, failed, end_time_us) VALUES (?, ?, ?, ?, ?) "
    "ON CONFLICT (host_id, vm_uuid) DO UPDATE SET job_id = excluded.job_id, failed = excluded.failed, "
    "end_time_us = excluded.end_time_us";
// The conditions are written out, and every column is in the partial index job_backup_ended: no row is read.
constexpr char kSummarize[] =
    "SELECT state, warned, COUNT(*), SUM(point_count), SUM(read_bytes), SUM(stored_bytes) FROM job "
    "INDEXED BY job_backup_ended WHERE kind = 1 AND end_time_us IS NOT NULL AND end_time_us >= ? AND end_time_us < ? "
    "GROUP BY state, warned ORDER BY state, warned";
constexpr char kError[] = "SELECT error_reason, error_message FROM job WHERE id = ?";
constexpr char kWarnings[] = "SELECT reason, message FROM job_warning WHERE job_id = ? ORDER BY position";
constexpr char kAddDamage[] =
    "INSERT INTO job_damage (job_id, position, chunk_id, recovery_point, disk, offset_bytes, message, length_bytes) "
    "SELECT ?1, COUNT(*), ?2, ?3, ?4, ?5, ?6, ?8 FROM job_damage WHERE job_id = ?1 HAVING COUNT(*) < ?7";
constexpr char kDamage[] =
    "SELECT chunk_id, recovery_point, disk, offset_bytes, message, length_bytes FROM job_damage WHERE job_id = ? ORDER BY position";
constexpr char kSetPruneResult[] =
    "INSERT INTO job_prune_result (job_id, deleted_points, deleted_packs, freed_bytes, copied_bytes, waiting_bytes, "
    "needed_bytes) VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (job_id) DO NOTHING";
constexpr char kPruneResult[] =
    "SELECT deleted_points, deleted_packs, freed_bytes, copied_bytes, waiting_bytes, needed_bytes FROM job_prune_result "
    "WHERE job_id = ?";
constexpr char kPoints[] = "SELECT id FROM recovery_point WHERE job_id = ? AND remove_time_us IS NULL ORDER BY id";

// The columns of all kinds of specification side by side.
struct SpecColumns {
  RepositoryId repository;
  bool allow_crash_consistent = false;
  absl::Duration freeze_timeout;
  RecoveryPointId recovery_point;
  RestoreMode mode = RestoreMode::kUnspecified;
  std::string display_name;
  std::string target_folder;
  bool power_on = false;
  bool child_snapshot_only = false;
  bool forbid_saved_state = false;
  bool resume_state = false;
  bool take_cluster_offline = false;
  VerifyLevel verify_level = VerifyLevel::kUnspecified;
  absl::Duration verify_time_budget;
  int64_t verify_byte_budget = 0;
  bool full_read = false;
  std::string path;
  bool overwrite = false;
  int prune = 0;  // 1: it is one, 2: a dry run
  BackupHooks hooks;
};

// As migration 0008 says: kinds beyond this are kind 3 with something else.
int StoredKind(const JobSpec& spec) { return std::min(static_cast<int>(KindOf(spec)), 3); }

SpecColumns ToColumns(const JobSpec& spec) {
  if (const auto* b = std::get_if<BackupSpec>(&spec)) {
    return {.repository = b->repository,
            .allow_crash_consistent = b->allow_crash_consistent,
            .freeze_timeout = b->freeze_timeout,
            .child_snapshot_only = b->child_snapshot_only,
            .forbid_saved_state = b->forbid_saved_state,
            .full_read = b->full_read,
            .hooks = b->hooks};
  }
  if (const auto* r = std::get_if<RestoreSpec>(&spec)) {
    return {.repository = r->repository,
            .recovery_point = r->recovery_point,
            .mode = r->mode,
            .display_name = r->display_name,
            .target_folder = r->target_folder,
            .power_on = r->power_on,
            .resume_state = r->resume_state,
            .take_cluster_offline = r->take_cluster_offline,
            .path = r->path,
            .overwrite = r->overwrite};
  }
  if (const auto* p = std::get_if<PruneSpec>(&spec)) return {.repository = p->repository, .prune = p->dry_run ? 2 : 1};
  const auto& v = std::get<VerifySpec>(spec);
  return {.repository = v.repository,
          .recovery_point = v.recovery_point,
          .verify_level = v.level,
          .verify_time_budget = v.time_budget,
          .verify_byte_budget = v.byte_budget};
}

// The virtual machines are read afterwards.
JobSpec ReadSpec(const sqlite::Row& row) {
  const RepositoryId repository(row.Text(3));
  switch (row.Enum<JobKind>(2)) {
    case JobKind::kBackup:
      return BackupSpec{.repository = repository,
                        .allow_crash_consistent = row.Bool(4),
                        .freeze_timeout = row.Duration(5),
                        .child_snapshot_only = row.Bool(31),
                        .forbid_saved_state = row.Bool(32),
                        .full_read = row.Bool(39),
                        .hooks = {row.Text(57), row.Text(58), row.Bool(59)}};
    case JobKind::kRestore:
      return RestoreSpec{.recovery_point = RecoveryPointId(row.Text(6)),
                         .repository = repository,
                         .mode = row.Enum<RestoreMode>(7),
                         .target_host = HostId(row.Text(8)),
                         .display_name = row.Text(9),
                         .target_folder = row.Text(10),
                         .power_on = row.Bool(11),
                         .resume_state = row.Bool(33),
                         .take_cluster_offline = row.Bool(35),
                         .path = row.Text(40),
                         .overwrite = row.Bool(41)};
    case JobKind::kPrune:
      return PruneSpec{.repository = repository, .dry_run = row.Int(42) == 2};
    case JobKind::kVerify:
      break;
  }
  return VerifySpec{.repository = repository,
                    .recovery_point = RecoveryPointId(row.Text(6)),
                    .level = row.Enum<VerifyLevel>(36),
                    .time_budget = row.Duration(37),
                    .byte_budget = row.Int(38)};
}

// The ten columns from `first` on.
JobTerms ReadTerms(const sqlite::Row& row, int first) {
  return {.policy = PolicyId(row.Text(first)),
          .priority = row.Int32(first + 1),
          .due_time = row.OptionalTime(first + 2),
          .not_after = row.OptionalTime(first + 3),
          .retries_max = row.Int32(first + 4),
          .retry_backoff = row.Duration(first + 5),
          .upload_bytes_per_second = row.Int(first + 6),
          .policy_jobs_max = row.Int32(first + 7),
          .policy_host_jobs_max = row.Int32(first + 8),
          .policy_weight = row.Int32(first + 9)};
}

Job ReadJob(const sqlite::Row& row) {
  return {.id = JobId(row.Text(1)),
          .number = row.Int(0),
          .spec = ReadSpec(row),
          .terms = ReadTerms(row, 43),
          .state = row.Enum<JobState>(12),
          .phase = row.Enum<JobPhase>(13),
          .wait_reason = row.Text(14),
          .error = {row.Text(15), row.Text(16)},
          .progress = {.done_bytes = row.Int(17),
                       .total_bytes = row.Int(18),
                       .read_bytes = row.Int(19),
                       .new_bytes = row.Int(20),
                       .stored_bytes = row.Int(21),
                       .rate_bytes_per_second = row.Int(22),
                       .eta = row.OptionalDuration(23)},
          .attempt = row.Int32(24),
          .failed_attempts = row.Int32(53),
          .last_attempt_error = {row.Text(54), row.Text(55)},
          .next_attempt_time = row.OptionalTime(56),
          .create_time = row.Time(25),
          .start_time = row.OptionalTime(26),
          .end_time = row.OptionalTime(27),
          .freeze_duration = row.Duration(28),
          .downtime = row.Duration(34),
          .restored_vm_uuid = row.Text(29),
          .revision = row.Int(30)};
}

void SetVms(JobSpec& spec, std::vector<VmKey> vms) {
  if (auto* backup = std::get_if<BackupSpec>(&spec)) backup->vms = std::move(vms);
  auto* restore = std::get_if<RestoreSpec>(&spec);
  if (restore != nullptr && !vms.empty()) restore->replaced_vm = std::move(vms.front());
}

absl::Status NoSuchJob(const JobId& id) {
  return base::Error(absl::StatusCode::kNotFound, "JOB_NOT_FOUND", "no job {}", id);
}

}  // namespace

absl::StatusOr<int64_t> JobStore::Insert(const Job& job) {
  int64_t number = 0;
  const SpecColumns c = ToColumns(job.spec);
  RETURN_IF_ERROR(db_.Query(
      kInsert, [&](const sqlite::Row& row) { number = row.Int(0); }, job.id.value, StoredKind(job.spec),
      c.repository.value, c.allow_crash_consistent, c.freeze_timeout, c.recovery_point.value, c.mode,
      HostOf(job.spec).value, c.display_name, c.target_folder, c.power_on, job.create_time, job.state, job.revision,
      c.child_snapshot_only, c.forbid_saved_state, c.resume_state, c.take_cluster_offline, c.verify_level,
      c.verify_time_budget, c.verify_byte_budget, c.full_read, c.path, c.overwrite, c.prune, job.terms.policy.value,
      job.terms.priority, job.terms.due_time, job.terms.not_after, job.terms.retries_max, job.terms.retry_backoff,
      job.terms.upload_bytes_per_second, job.terms.policy_jobs_max, job.terms.policy_host_jobs_max,
      job.terms.policy_weight, c.hooks.pre, c.hooks.post, c.hooks.ignore_pre_failure));
  int position = 0;
  for (const VmKey& vm : VmsOf(job.spec)) {
    RETURN_IF_ERROR(db_.Run(kInsertVm, job.id.value, position++, vm.host.value, vm.uuid));
  }
  RETURN_IF_ERROR(Update(job));
  return number;
}

absl::Status JobStore::Update(const Job& job) {
  const JobProgress& p = job.progress;
  RETURN_IF_ERROR(db_.Run(
      kUpdate, job.state, job.phase, job.wait_reason, job.error.reason, job.error.message, p.done_bytes, p.total_bytes,
      p.read_bytes, p.new_bytes, p.stored_bytes, p.rate_bytes_per_second, p.eta, job.attempt, job.start_time,
      job.end_time, job.freeze_duration, job.restored_vm_uuid, job.revision, job.downtime, job.failed_attempts,
      job.last_attempt_error.reason, job.last_attempt_error.message, job.next_attempt_time, job.id.value));
  if (db_.ChangedRows() == 0) return NoSuchJob(job.id);
  return WriteDisks(job);
}

absl::Status JobStore::WriteDisks(const Job& job) {
  int position = 0;
  for (const DiskProgress& d : job.progress.disks) {
    RETURN_IF_ERROR(db_.Run(kUpsertDisk, job.id.value, position++, d.vm.host.value, d.vm.uuid, d.disk, d.done_bytes,
                            d.total_bytes, d.read_mode, d.full_read_reason, d.full_read_message, d.changed_bytes));
  }
  return db_.Run(kTrimDisks, job.id.value, position);
}

absl::Status JobStore::AddWarning(const JobId& id, const JobMessage& warning) {
  RETURN_IF_ERROR(db_.Run(kSetWarned, id.value));
  return db_.Run(kAddWarning, id.value, warning.reason, warning.message, kJobWarningsMax);
}

absl::Status JobStore::AddDamage(const JobId& id, const DamagedChunk& chunk) {
  return db_.Run(kAddDamage, id.value, chunk.chunk_id, chunk.recovery_point.value, chunk.disk, chunk.offset_bytes,
                 chunk.message, kJobDamageMax, chunk.length_bytes);
}

absl::Status JobStore::SetPhases(const JobId& id, const std::vector<JobPhaseTime>& phases) {
  int position = 0;
  for (const JobPhaseTime& p : phases) {
    RETURN_IF_ERROR(db_.Run(kUpsertPhase, id.value, position++, p.phase, p.start_time, p.end_time));
  }
  return db_.Run(kTrimPhases, id.value, position);
}

absl::Status JobStore::SetWriters(const JobId& id, const std::vector<JobWriter>& writers) {
  RETURN_IF_ERROR(db_.Run(kDeleteWriters, id.value));
  int position = 0;
  for (const JobWriter& w : writers) {
    RETURN_IF_ERROR(db_.Run(kInsertWriter, id.value, position++, w.display_name, w.vm.host.value, w.vm.uuid,
                            w.freeze_time, w.frozen_time, w.thaw_time, w.thawed_time, w.error.reason, w.error.message));
  }
  return absl::OkStatus();
}

absl::Status JobStore::SetPointCount(const JobId& id, int64_t count) {
  return db_.Run(kSetPointCount, count, id.value);
}

absl::Status JobStore::SetOutcome(const Job& job) {
  const bool failed = job.state == JobState::kFailed;
  for (const VmKey& vm : VmsOf(job.spec)) {
    RETURN_IF_ERROR(db_.Run(kSetOutcome, vm.host.value, vm.uuid, job.id.value, failed, job.end_time));
  }
  return absl::OkStatus();
}

absl::Status JobStore::SetPruneResult(const JobId& id, const PruneResult& r) {
  return db_.Run(kSetPruneResult, id.value, r.deleted_points, r.deleted_packs, r.freed_bytes, r.copied_bytes,
                 r.waiting_bytes, r.needed_bytes);
}

absl::Status JobStore::ReadChildren(Job& job) const {
  const std::string& id = job.id.value;
  std::vector<VmKey> vms;
  RETURN_IF_ERROR(db_.Query(
      kVms,
      [&](const sqlite::Row& row) {
        vms.push_back({HostId(row.Text(0)), row.Text(1)});
      },
      id));
  SetVms(job.spec, std::move(vms));
  RETURN_IF_ERROR(db_.Query(
      kDisks,
      [&](const sqlite::Row& row) {
        job.progress.disks.push_back({.vm = {HostId(row.Text(0)), row.Text(1)},
                                      .disk = row.Text(2),
                                      .done_bytes = row.Int(3),
                                      .total_bytes = row.Int(4),
                                      .read_mode = row.Enum<ReadMode>(5),
                                      .full_read_reason = row.Text(6),
                                      .full_read_message = row.Text(7),
                                      .changed_bytes = row.Int(8)});
      },
      id));
  RETURN_IF_ERROR(db_.Query(
      kWarnings,
      [&](const sqlite::Row& row) {
        job.warnings.push_back({row.Text(0), row.Text(1)});
      },
      id));
  RETURN_IF_ERROR(db_.Query(
      kDamage,
      [&](const sqlite::Row& row) {
        job.damage.push_back({row.Text(0), RecoveryPointId(row.Text(1)), row.Text(2), row.Int(3), row.Text(4), row.Int(5)});
      },
      id));
  RETURN_IF_ERROR(db_.Query(
      kPruneResult,
      [&](const sqlite::Row& row) {
        job.prune_result = PruneResult{row.Int(0), row.Int(1), row.Int(2), row.Int(3), row.Int(4), row.Int(5)};
      },
      id));
  return db_.Query(
      kPoints, [&](const sqlite::Row& row) { job.recovery_points.emplace_back(row.Text(0)); }, id);
}

absl::Status JobStore::ReadPhases(Job& job) const {
  return db_.Query(
      kPhases,
      [&](const sqlite::Row& row) {
        job.phases.push_back({row.Enum<JobPhase>(0), row.Time(1), row.OptionalTime(2)});
      },
      job.id.value);
}

absl::Status JobStore::ReadWriters(Job& job) const {
  return db_.Query(
      kWriters,
      [&](const sqlite::Row& row) {
        job.writers.push_back({.display_name = row.Text(0),
                               .vm = {HostId(row.Text(1)), row.Text(2)},
                               .freeze_time = row.Time(3),
                               .frozen_time = row.OptionalTime(4),
                               .thaw_time = row.OptionalTime(5),
                               .thawed_time = row.OptionalTime(6),
                               .error = {row.Text(7), row.Text(8)}});
      },
      job.id.value);
}

absl::StatusOr<Job> JobStore::Get(const JobId& id) const {
  std::optional<Job> job;
  RETURN_IF_ERROR(db_.Query(
      kGet, [&](const sqlite::Row& row) { job = ReadJob(row); }, id.value));
  if (!job.has_value()) return NoSuchJob(id);
  RETURN_IF_ERROR(ReadChildren(*job));
  RETURN_IF_ERROR(ReadPhases(*job));
  RETURN_IF_ERROR(ReadWriters(*job));
  return *std::move(job);
}

absl::StatusOr<Page<Job, int64_t>> JobStore::List(const Filter& filter, const ListOptions<int64_t>& options) const {
  std::vector<Job> jobs;
  const auto on_row = [&](const sqlite::Row& row) { jobs.push_back(ReadJob(row)); };
  const int64_t before = options.after_key.value_or(std::numeric_limits<int64_t>::max());
  const bool rare = filter.kind.has_value() && *filter.kind != JobKind::kBackup;
  const char* const of_all = filter.active_only ? kListActive : rare ? kListOfRareKind : kListAll;
  RETURN_IF_ERROR(filter.policy.empty() ? db_.Query(of_all, on_row, before, filter.kind, RowLimit(options))
                                        : db_.Query(kListOfPolicy, on_row, before, filter.kind, RowLimit(options),
                                                    filter.policy.value, filter.active_only));
  Page<Job, int64_t> page = MakePage(std::move(jobs), options, [](const Job& job) { return job.number; });
  for (Job& job : page.items) RETURN_IF_ERROR(ReadChildren(job));
  return page;
}

absl::StatusOr<std::vector<ActiveJob>> JobStore::Active() const {
  std::vector<ActiveJob> jobs;
  RETURN_IF_ERROR(db_.Query(kActive, [&](const sqlite::Row& row) {
    const JobId id(row.Text(0));
    if (jobs.empty() || jobs.back().id != id) {
      jobs.push_back({.id = id,
                      .kind = row.Enum<JobKind>(1),
                      .state = row.Enum<JobState>(2),
                      .attempt = row.Int32(3),
                      .host = HostId(row.Text(4)),
                      .wait_reason = row.Text(5),
                      .number = row.Int(8),
                      .repository = RepositoryId(row.Text(9)),
                      .terms = ReadTerms(row, 10),
                      .create_time = row.Time(21),
                      .next_attempt_time = row.OptionalTime(20)});
    }
    if (!row.IsNull(6)) jobs.back().vms.push_back({HostId(row.Text(6)), row.Text(7)});
  }));
  return jobs;
}

absl::StatusOr<std::optional<JobStore::Submitted>> JobStore::LastVerification(const RepositoryId& repository) const {
  return LastOf(repository, ToColumns(VerifySpec{}).prune);
}

absl::StatusOr<std::optional<JobStore::Submitted>> JobStore::LastPrune(const RepositoryId& repository) const {
  return LastOf(repository, ToColumns(PruneSpec{}).prune);
}

absl::StatusOr<std::optional<JobStore::Submitted>> JobStore::LastOf(const RepositoryId& repository, int prune) const {
  std::optional<Submitted> last;
  RETURN_IF_ERROR(db_.Query(
      kLastOfRepository, [&](const sqlite::Row& row) { last = Submitted{row.Time(0), row.Enum<JobState>(1)}; }, prune,
      repository.value));
  return last;
}

absl::StatusOr<int64_t> JobStore::CountQueued() const {
  int64_t count = 0;
  RETURN_IF_ERROR(db_.Query(kCountQueued, [&](const sqlite::Row& row) { count = row.Int(0); }));
  return count;
}

absl::StatusOr<BackupSummary> JobStore::SummarizeBackups(absl::Time start, absl::Time end) const {
  BackupSummary sums;
  const auto on_row = [&](const sqlite::Row& row) {
    const int64_t jobs = row.Int(2);
    switch (row.Enum<JobState>(0)) {
      case JobState::kSucceeded:
        sums.succeeded += jobs;
        if (row.Bool(1)) sums.warned += jobs;
        sums.recovery_points += row.Int(3);
        break;
      case JobState::kFailed:
        sums.failed += jobs;
        break;
      default:
        sums.cancelled += jobs;
    }
    sums.read_bytes += row.Int(4);
    sums.stored_bytes += row.Int(5);
  };
  RETURN_IF_ERROR(db_.Query(kSummarize, on_row, start, end));
  return sums;
}

absl::StatusOr<JobMessage> JobStore::ErrorOf(const JobId& id) const {
  JobMessage error;
  RETURN_IF_ERROR(db_.Query(
      kError,
      [&](const sqlite::Row& row) {
        error = {row.Text(0), row.Text(1)};
      },
      id.value));
  return error;
}

absl::StatusOr<int64_t> JobStore::Prune(absl::Time before, int count_max) {
  RETURN_IF_ERROR(db_.Run(kPrune, before, count_max));
  return db_.ChangedRows();
}

}  // namespace umbra::catalog
