#include "storage/catalog/policy_store.h"

#include "storage/base/status.h"
#include "storage/catalog/page.h"
#include "storage/filetree/subject.h"

namespace umbra::catalog {
namespace {

// Persisted, never renumbered.
enum class TextList { kMembers = 1, kHosts = 2, kSchedules = 3, kWindows = 4, kClosed = 5 };

#define POLICY_COLUMNS                                                                                                 \
  "id, description, expression, everything_else, exclude, time_zone, spread_us, skip_missed, repository, "             \
  "child_snapshot_only, forbid_saved_state, allow_crash_consistent, freeze_timeout_us, grouping_mode, retries_max, "   \
  "retry_backoff_us, priority, upload_bytes_per_second, jobs_max, host_jobs_max, keep_last, keep_hourly, keep_daily, " \
  "keep_weekly, keep_monthly, keep_yearly, keep_within_us, rpo_us, paused, create_time_us, update_time_us, "           \
  "done_time_us, last_due_time_us, last_run_time_us, weight, pre_hook, post_hook, ignore_pre_hook_failure, revision "

constexpr char kInsert[] = "INSERT INTO policy (" POLICY_COLUMNS
                           ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, "
                           "?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1)";
constexpr char kUpdate[] =
    "UPDATE policy SET description = ?2, expression = ?3, everything_else = ?4, exclude = ?5, time_zone = ?6, "
    "spread_us = ?7, skip_missed = ?8, repository = ?9, child_snapshot_only = ?10, forbid_saved_state = ?11, "
    "allow_crash_consistent = ?12, freeze_timeout_us = ?13, grouping_mode = ?14, retries_max = ?15, "
    "retry_backoff_us = ?16, priority = ?17, upload_bytes_per_second = ?18, jobs_max = ?19, host_jobs_max = ?20, "
    "keep_last = ?21, keep_hourly = ?22, keep_daily = ?23, keep_weekly = ?24, keep_monthly = ?25, keep_yearly = ?26, "
    "keep_within_us = ?27, rpo_us = ?28, paused = ?29, create_time_us = ?30, update_time_us = ?31, done_time_us = ?32, "
    "last_due_time_us = ?33, last_run_time_us = ?34, weight = ?35, pre_hook = ?36, post_hook = ?37, "
    "ignore_pre_hook_failure = ?38, revision = revision + 1 WHERE id = ?1";
constexpr char kSetProgress[] =
    "UPDATE policy SET done_time_us = ?2, last_due_time_us = COALESCE(?3, last_due_time_us), "
    "last_run_time_us = COALESCE(?4, last_run_time_us) WHERE id = ?1 AND done_time_us = ?5";
constexpr char kDelete[] = "DELETE FROM policy WHERE id = ?";
constexpr char kGet[] = "SELECT " POLICY_COLUMNS "FROM policy WHERE id = ?";
constexpr char kAll[] = "SELECT " POLICY_COLUMNS "FROM policy ORDER BY id";
constexpr char kDeleteTexts[] = "DELETE FROM policy_text WHERE policy_id = ?";
constexpr char kInsertText[] = "INSERT INTO policy_text (policy_id, list, position, text) VALUES (?, ?, ?, ?)";
constexpr char kTexts[] = "SELECT list, text FROM policy_text WHERE policy_id = ? ORDER BY list, position";

#define VM_HAS_DISK "EXISTS (SELECT 1 FROM vm_disk AS d WHERE d.host_id = v.host_id AND d.vm_uuid = v.uuid)"
constexpr char kVms[] =
    "SELECT v.host_id, v.uuid, v.display_name, h.display_name FROM vm AS v JOIN host AS h ON h.id = v.host_id "
    "WHERE (v.host_id, v.uuid) > (?, ?) AND " VM_HAS_DISK " ORDER BY v.host_id, v.uuid LIMIT ?";
#define LAST_GOOD(HOST, UUID)                                                                              \
  "SELECT p.point_time_us FROM recovery_point AS p INDEXED BY recovery_point_kept WHERE p.host_id = " HOST \
  " AND p.vm_uuid = " UUID " AND p.remove_time_us IS NULL AND NOT " POINT_DAMAGED                          \
  " ORDER BY p.point_time_us DESC, p.id DESC LIMIT 1"
#define POINT_DAMAGED "EXISTS (SELECT 1 FROM damage AS d WHERE d.recovery_point = p.id AND d.healed_time_us IS NULL)"
constexpr char kVmStates[] =
    "SELECT v.host_id, v.uuid, v.display_name, h.display_name, (" LAST_GOOD("v.host_id", "v.uuid") "), "
    "CASE WHEN o.failed THEN o.job_id ELSE '' END, COALESCE(o.end_time_us, 0) "
    "FROM vm AS v JOIN host AS h ON h.id = v.host_id "
    "LEFT JOIN backup_outcome AS o ON o.host_id = v.host_id AND o.vm_uuid = v.uuid "
    "WHERE (v.host_id, v.uuid) > (?, ?) AND " VM_HAS_DISK " ORDER BY v.host_id, v.uuid LIMIT ?";
constexpr char kFileSets[] =
    "SELECT f.host_id, f.name, h.display_name FROM file_set AS f JOIN host AS h ON h.id = f.host_id "
    "ORDER BY f.host_id, f.name";
// One step from each to the next along the index, however many points each has.
constexpr char kNextPointSubject[] =
    "SELECT p.host_id, p.vm_uuid FROM recovery_point AS p WHERE (p.host_id, p.vm_uuid) > (?, ?) "
    "ORDER BY p.host_id, p.vm_uuid LIMIT 1";
constexpr char kPointName[] =
    "SELECT p.vm_display_name, COALESCE((SELECT display_name FROM host WHERE id = p.host_id), '') FROM recovery_point "
    "AS p "
    "WHERE p.host_id = ? AND p.vm_uuid = ? ORDER BY p.point_time_us DESC, p.id DESC LIMIT 1";
constexpr char kPointsOf[] = "SELECT p.id, p.point_time_us, " POINT_DAMAGED
                             ", p.held, p.lock_until_us FROM recovery_point AS p "
                             "WHERE p.host_id = ? AND p.vm_uuid = ? AND p.repository = ? AND p.remove_time_us IS NULL "
                             "ORDER BY p.point_time_us DESC, p.id DESC";
constexpr char kLastGood[] = LAST_GOOD("?", "?");

Policy ReadPolicy(const sqlite::Row& row) {
  Policy p;
  p.id = PolicyId(row.Text(0));
  p.description = row.Text(1);
  p.selection.expression = row.Text(2);
  p.selection.everything_else = row.Bool(3);
  p.selection.exclude = row.Text(4);
  p.time_zone = row.Text(5);
  p.spread = row.Duration(6);
  p.skip_missed = row.Bool(7);
  p.repository = RepositoryId(row.Text(8));
  p.child_snapshot_only = row.Bool(9);
  p.forbid_saved_state = row.Bool(10);
  p.allow_crash_consistent = row.Bool(11);
  p.freeze_timeout = row.Duration(12);
  p.grouping = row.Enum<PolicyGrouping>(13);
  p.retries_max = row.Int32(14);
  p.retry_backoff = row.Duration(15);
  p.priority = row.Int32(16);
  p.upload_bytes_per_second = row.Int(17);
  p.jobs_max = row.Int32(18);
  p.host_jobs_max = row.Int32(19);
  p.retention = {row.Int32(20), row.Int32(21), row.Int32(22),   row.Int32(23),
                 row.Int32(24), row.Int32(25), row.Duration(26)};
  p.rpo = row.Duration(27);
  p.paused = row.Bool(28);
  p.create_time = row.Time(29);
  p.update_time = row.Time(30);
  p.done_time = row.Time(31);
  p.last_due_time = row.OptionalTime(32);
  p.last_run_time = row.OptionalTime(33);
  p.weight = row.Int32(34);
  p.hooks = {row.Text(35), row.Text(36), row.Bool(37)};
  p.revision = row.Int(38);
  return p;
}

absl::Status RunWith(sqlite::Database& db, std::string_view sql, const Policy& p) {
  const PolicyRetention& r = p.retention;
  return db.Run(sql, p.id.value, p.description, p.selection.expression, p.selection.everything_else,
                p.selection.exclude, p.time_zone, p.spread, p.skip_missed, p.repository.value, p.child_snapshot_only,
                p.forbid_saved_state, p.allow_crash_consistent, p.freeze_timeout, p.grouping, p.retries_max,
                p.retry_backoff, p.priority, p.upload_bytes_per_second, p.jobs_max, p.host_jobs_max, r.last, r.hourly,
                r.daily, r.weekly, r.monthly, r.yearly, r.within, p.rpo, p.paused, p.create_time, p.update_time,
                p.done_time, p.last_due_time, p.last_run_time, p.weight, p.hooks.pre, p.hooks.post,
                p.hooks.ignore_pre_failure);
}

absl::Status NotFound(const PolicyId& id) {
  return base::Error(absl::StatusCode::kNotFound, "POLICY_NOT_FOUND", "no policy {}", id);
}

// A member's key as one text; no id holds the character between.
constexpr char kKeySeparator = '\n';

Subject ReadSubject(const sqlite::Row& row) {
  return {{HostId(row.Text(0)), row.Text(1)}, row.Text(2), row.Text(3), {}};
}

}  // namespace

absl::Status PolicyStore::Insert(const Policy& policy) {
  const absl::Status inserted = RunWith(db_, kInsert, policy);
  if (absl::IsAlreadyExists(inserted)) {
    return base::Error(absl::StatusCode::kAlreadyExists, "POLICY_EXISTS", "there is a policy {} already", policy.id);
  }
  RETURN_IF_ERROR(inserted);
  return WriteTexts(policy);
}

absl::Status PolicyStore::Update(const Policy& policy) {
  RETURN_IF_ERROR(RunWith(db_, kUpdate, policy));
  if (db_.ChangedRows() == 0) return NotFound(policy.id);
  RETURN_IF_ERROR(db_.Run(kDeleteTexts, policy.id.value));
  return WriteTexts(policy);
}

absl::Status PolicyStore::WriteTexts(const Policy& policy) {
  int position = 0;
  const auto write = [&](TextList list, const std::string& text) {
    return db_.Run(kInsertText, policy.id.value, list, position++, text);
  };
  for (const VmKey& key : policy.selection.members) {
    RETURN_IF_ERROR(write(TextList::kMembers, key.host.value + kKeySeparator + key.uuid));
  }
  for (const HostId& host : policy.selection.hosts) RETURN_IF_ERROR(write(TextList::kHosts, host.value));
  for (const std::string& text : policy.schedules) RETURN_IF_ERROR(write(TextList::kSchedules, text));
  for (const std::string& text : policy.windows) RETURN_IF_ERROR(write(TextList::kWindows, text));
  for (const std::string& text : policy.closed) RETURN_IF_ERROR(write(TextList::kClosed, text));
  return absl::OkStatus();
}

absl::Status PolicyStore::ReadTexts(Policy& policy) const {
  const auto on_row = [&](const sqlite::Row& row) {
    const std::string text = row.Text(1);
    const size_t cut = text.find(kKeySeparator);
    switch (row.Enum<TextList>(0)) {
      case TextList::kMembers:
        policy.selection.members.push_back({HostId(text.substr(0, cut)), text.substr(cut + 1)});
        break;
      case TextList::kHosts:
        policy.selection.hosts.emplace_back(text);
        break;
      case TextList::kSchedules:
        policy.schedules.push_back(text);
        break;
      case TextList::kWindows:
        policy.windows.push_back(text);
        break;
      case TextList::kClosed:
        policy.closed.push_back(text);
        break;
    }
  };
  return db_.Query(kTexts, on_row, policy.id.value);
}

absl::Status PolicyStore::SetProgress(const PolicyId& id, absl::Time before, absl::Time done,
                                      std::optional<absl::Time> last_due, std::optional<absl::Time> last_run) {
  return db_.Run(kSetProgress, id.value, done, last_due, last_run, before);
}

absl::Status PolicyStore::Delete(const PolicyId& id) {
  RETURN_IF_ERROR(db_.Run(kDelete, id.value));
  return db_.ChangedRows() == 0 ? NotFound(id) : absl::OkStatus();
}

absl::StatusOr<Policy> PolicyStore::Get(const PolicyId& id) const {
  std::optional<Policy> policy;
  RETURN_IF_ERROR(db_.Query(
      kGet, [&](const sqlite::Row& row) { policy = ReadPolicy(row); }, id.value));
  if (!policy) return NotFound(id);
  RETURN_IF_ERROR(ReadTexts(*policy));
  return *std::move(policy);
}

absl::StatusOr<std::vector<Policy>> PolicyStore::All() const {
  std::vector<Policy> policies;
  RETURN_IF_ERROR(db_.Query(kAll, [&](const sqlite::Row& row) { policies.push_back(ReadPolicy(row)); }));
  for (Policy& policy : policies) RETURN_IF_ERROR(ReadTexts(policy));
  return policies;
}

absl::StatusOr<Page<Subject, VmKey>> PolicyStore::Vms(const ListOptions<VmKey>& options) const {
  std::vector<Subject> subjects;
  const VmKey after = options.after_key.value_or(VmKey());
  RETURN_IF_ERROR(db_.Query(
      kVms, [&](const sqlite::Row& row) { subjects.push_back(ReadSubject(row)); }, after.host.value, after.uuid,
      RowLimit(options)));
  RETURN_IF_ERROR(labels_.Fill(subjects));
  return MakePage(std::move(subjects), options, [](const Subject& subject) { return subject.key; });
}

absl::StatusOr<Page<PolicyStore::VmState, VmKey>> PolicyStore::VmStates(const ListOptions<VmKey>& options) const {
  std::vector<Subject> subjects;
  std::vector<VmState> states;
  const VmKey after = options.after_key.value_or(VmKey());
  RETURN_IF_ERROR(db_.Query(
      kVmStates,
      [&](const sqlite::Row& row) {
        subjects.push_back(ReadSubject(row));
        states.push_back({{}, row.OptionalTime(4), JobId(row.Text(5)), row.Time(6)});
      },
      after.host.value, after.uuid, RowLimit(options)));
  RETURN_IF_ERROR(labels_.Fill(subjects));
  for (size_t i = 0; i < states.size(); ++i) states[i].subject = std::move(subjects[i]);
  return MakePage(std::move(states), options, [](const VmState& state) { return state.subject.key; });
}

absl::StatusOr<std::vector<Subject>> PolicyStore::FileSets() const {
  std::vector<Subject> subjects;
  RETURN_IF_ERROR(db_.Query(kFileSets, [&](const sqlite::Row& row) {
    const std::string name = row.Text(1);
    subjects.push_back({{HostId(row.Text(0)), filetree::SubjectOfFileSet(name)}, name, row.Text(2), {}});
  }));
  RETURN_IF_ERROR(labels_.Fill(subjects));
  return subjects;
}

absl::StatusOr<Page<Subject, VmKey>> PolicyStore::PointSubjects(const ListOptions<VmKey>& options) const {
  std::vector<Subject> subjects;
  VmKey at = options.after_key.value_or(VmKey());
  while (static_cast<int64_t>(subjects.size()) < RowLimit(options)) {
    std::optional<VmKey> next;
    RETURN_IF_ERROR(db_.Query(
        kNextPointSubject,
        [&](const sqlite::Row& row) {
          next = VmKey{HostId(row.Text(0)), row.Text(1)};
        },
        at.host.value, at.uuid));
    if (!next) break;
    at = *next;
    ASSIGN_OR_RETURN(subjects.emplace_back(), Named(at));
  }
  RETURN_IF_ERROR(labels_.Fill(subjects));
  return MakePage(std::move(subjects), options, [](const Subject& subject) { return subject.key; });
}

absl::StatusOr<Subject> PolicyStore::Named(const VmKey& key) const {
  Subject subject{.key = key};
  RETURN_IF_ERROR(db_.Query(
      kPointName,
      [&](const sqlite::Row& row) {
        subject.display_name = row.Text(0);
        subject.host_name = row.Text(1);
      },
      key.host.value, key.uuid));
  return subject;
}

absl::StatusOr<Subject> PolicyStore::PointSubject(const VmKey& key) const {
  ASSIGN_OR_RETURN(Subject subject, Named(key));
  std::vector<Subject> one{std::move(subject)};
  RETURN_IF_ERROR(labels_.Fill(one));
  return std::move(one.front());
}

absl::StatusOr<std::vector<PolicyStore::PointFacts>> PolicyStore::PointsOf(const VmKey& key,
                                                                           const RepositoryId& repository) const {
  std::vector<PointFacts> points;
  RETURN_IF_ERROR(db_.Query(
      kPointsOf,
      [&](const sqlite::Row& row) {
        points.push_back({RecoveryPointId(row.Text(0)), row.Time(1), row.Bool(2), row.Bool(3), row.OptionalTime(4)});
      },
      key.host.value, key.uuid, repository.value));
  return points;
}

absl::StatusOr<std::optional<absl::Time>> PolicyStore::LastGood(const VmKey& key) const {
  std::optional<absl::Time> time;
  RETURN_IF_ERROR(db_.Query(
      kLastGood, [&](const sqlite::Row& row) { time = row.Time(0); }, key.host.value, key.uuid));
  return time;
}

}  // namespace umbra::catalog
