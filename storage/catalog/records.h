// What the catalog remembers, as plain structs. No protos: the API and the schema age separately.
//
// Enum values are stored: they are never renumbered. They equal those of proto/umbra/v1 (server/api checks that).
// Times are stored with microseconds; what is finer is cut off.
#ifndef UMBRA_STORAGE_CATALOG_RECORDS_H_
#define UMBRA_STORAGE_CATALOG_RECORDS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/time/time.h"
#include "storage/catalog/hooks.h"
#include "storage/catalog/ids.h"
#include "storage/catalog/labels.h"

namespace umbra::catalog {

// ---- Paging ----

// What every list takes: at most `page_size` items (>= 1) that come after `after_key` in the list's order.
// The key is that of the last item seen, so that items added or removed meanwhile neither repeat nor hide others.
template <typename Key>
struct ListOptions {
  int page_size = 100;
  std::optional<Key> after_key;
};

template <typename Item, typename Key>
struct Page {
  std::vector<Item> items;
  std::optional<Key> next_key;  // absent on the last page
};

// ---- Hosts and what they have ----

struct Host {
  HostId id;
  std::string display_name;
  std::string agent_version;
  std::string hypervisor;
  std::string hypervisor_error;  // empty: the hypervisor can be used
  std::string certificate_serial;
  std::string certificate_fingerprint;  // SHA-256, lower-case hexadecimal; unique
  // Of a certificate that was given to the host and is good as well, until its first use makes it the one above; empty:
  // none. Set when read; SetNextCertificate writes it.
  std::string next_certificate_fingerprint;
  bool revoked = false;                 // the certificate is refused; the host is shown in no list
  bool drained = false;                 // maintenance: no new work
  std::string drain_note;
  absl::Time create_time;
  absl::Time last_seen_time;
  int64_t revision = 0;  // rises with every change but last_seen_time; set by the store
  int32_t vm_count = 0;  // of the last inventory; set when read
  Labels labels;         // set when read; LabelStore writes them
};

enum class VmState { kUnspecified = 0, kRunning = 1, kPaused = 2, kSaved = 3, kOff = 4, kCrashed = 5 };
enum class GuestAgentState { kUnspecified = 0, kRunning = 1, kNotResponding = 2, kNotConfigured = 3, kGuestOff = 4 };
enum class BackupMechanism {
  kUnspecified = 0,
  kSavedState = 1,
  kChildSnapshot = 2,
  kCrashConsistent = 3,
  kOffline = 4
};

struct VmDisk {
  std::string name;
  std::string path;
  std::string format;
  int64_t capacity_bytes = 0;
  int64_t allocated_bytes = 0;

  bool operator==(const VmDisk&) const = default;
};

// A disk that a backup leaves out.
struct ExcludedDisk {
  std::string name;
  std::string reason;
  std::string message;

  bool operator==(const ExcludedDisk&) const = default;
};

// A condition of child snapshot that doesn't hold.
struct Obstacle {
  std::string reason;
  std::string message;

  bool operator==(const Obstacle&) const = default;
};

// A virtual machine as a failover cluster knows it; all empty when it is no resource of one.
struct ClusterResource {
  std::string resource;
  std::string state;  // "online", "offline", "down", "changing"
  std::string node;   // where it is online

  bool operator==(const ClusterResource&) const = default;
};

// Persisted, never renumbered.
enum class CheckpointKind { kUnspecified = 0, kInternal = 1, kExternal = 2 };

// A state of a virtual machine that somebody else than a backup kept.
struct VmCheckpoint {
  std::string name;
  std::string parent;  // empty: a root
  CheckpointKind kind = CheckpointKind::kUnspecified;
  bool has_memory = false;
  bool current = false;
  absl::Time create_time;

  bool operator==(const VmCheckpoint&) const = default;
};

struct Vm {
  VmKey key;
  std::string display_name;
  VmState state = VmState::kUnspecified;
  int64_t memory_bytes = 0;
  GuestAgentState guest_agent_state = GuestAgentState::kUnspecified;
  std::string guest_agent_version;
  BackupMechanism mechanism = BackupMechanism::kUnspecified;
  std::string mechanism_reason;
  std::string mechanism_message;
  std::vector<VmDisk> disks;
  std::vector<ExcludedDisk> excluded_disks;
  std::vector<Obstacle> obstacles;
  std::vector<VmCheckpoint> checkpoints;  // parents before their children
  ClusterResource cluster;
  absl::Time update_time;               // when the inventory was stored
  RecoveryPointId last_recovery_point;  // newest by point_time, empty when there is none; set when read
  Labels labels;                        // its own; set when read, LabelStore writes them

  bool operator==(const Vm&) const = default;
};

struct FileSetFolder {
  std::string path;
  std::string filespec;
  bool recursive = false;
  std::vector<std::string> excludes;

  bool operator==(const FileSetFolder&) const = default;
};

// A service of a host whose folders can join a backup.
struct FileSet {
  VmKey key;
  std::string display_name;
  std::vector<FileSetFolder> folders;
  bool has_freeze_hook = false;
  absl::Time update_time;               // when the inventory was stored
  RecoveryPointId last_recovery_point;  // newest by point_time, empty when there is none; set when read

  bool operator==(const FileSet&) const = default;
};

// An application-side participant of backups on a host, as the agent reported it.
struct Writer {
  std::string writer_id;
  std::string instance_id;
  std::string display_name;
  std::string state;
  uint32_t last_failure_code = 0;
  std::string last_failure;
  int32_t component_count = 0;

  bool operator==(const Writer&) const = default;
};

// A one-time secret for one enrolment; only its hash is known here.
struct EnrolmentToken {
  std::string hash;          // SHA-256 of the secret, lower-case hexadecimal
  std::string host_pattern;  // shell-style; empty: any host
  absl::Time create_time;
  absl::Time expire_time;
  std::optional<absl::Time> used_time;
  std::string used_by;  // host name that used it
};

// ---- Jobs ----

enum class JobKind { kBackup = 1, kRestore = 2, kVerify = 3, kPrune = 4 };

// What each state means is told beside the table in server/jobs/job_state.h.
enum class JobState {
  kNone = 0,  // not submitted yet; never stored
  kQueued = 1,
  kDispatching = 2,
  kRunning = 3,
  kCommitting = 4,
  kSucceeded = 5,
  kFailed = 6,
  kCancelled = 7,
  kCancelling = 8
};

enum class JobPhase {
  kNone = 0,
  kGathering = 1,
  kPreparing = 2,
  kFreezing = 3,
  kSnapshot = 4,
  kTransferring = 5,
  kCompleting = 6
};

enum class RestoreMode { kUnspecified = 0, kNew = 1, kInPlace = 2 };

// Lower-case words for logs and event messages: "backup", "running", "transferring".
std::string_view NameOf(JobKind kind);
std::string_view NameOf(JobState state);
std::string_view NameOf(JobPhase phase);

// True for states that never change again.
constexpr bool IsTerminal(JobState state) {
  return state == JobState::kSucceeded || state == JobState::kFailed || state == JobState::kCancelled;
}

struct BackupSpec {
  std::vector<VmKey> vms;  // virtual machines and file sets, all of one host
  RepositoryId repository;
  bool allow_crash_consistent = false;
  absl::Duration freeze_timeout;
  bool child_snapshot_only = false;
  bool forbid_saved_state = false;
  bool full_read = false;
  BackupHooks hooks;

  bool operator==(const BackupSpec&) const = default;
};

struct RestoreSpec {
  RecoveryPointId recovery_point;
  RepositoryId repository;  // of the recovery point; filled in by who submits
  RestoreMode mode = RestoreMode::kUnspecified;
  HostId target_host;         // never empty: filled in by who submits
  VmKey replaced_vm;          // kInPlace: the virtual machine that gives way, filled in by who submits; empty for kNew
  std::string display_name;   // kNew
  std::string target_folder;  // empty: beside the original's disks
  bool power_on = false;
  bool resume_state = false;          // kInPlace
  bool take_cluster_offline = false;  // kInPlace
  std::string path;                   // of a file set: only this
  bool overwrite = false;             // of a file set: an existing target_folder gives way

  bool operator==(const RestoreSpec&) const = default;
};

// How thorough a verification is; equals repo::VerifyLevel.
enum class VerifyLevel { kUnspecified = 0, kStored = 1, kFull = 2, kDisks = 3 };

struct VerifySpec {
  RepositoryId repository;
  RecoveryPointId recovery_point;  // empty: every one
  VerifyLevel level = VerifyLevel::kFull;
  // Zero: without limit.
  absl::Duration time_budget = absl::ZeroDuration();
  int64_t byte_budget = 0;

  bool operator==(const VerifySpec&) const = default;
};

struct PruneSpec {
  RepositoryId repository;
  bool dry_run = false;

  bool operator==(const PruneSpec&) const = default;
};

// In the order of JobKind.
using JobSpec = std::variant<BackupSpec, RestoreSpec, VerifySpec, PruneSpec>;

JobKind KindOf(const JobSpec& spec);
// The host whose agent does the job; empty for what the daemon does itself: verifications, prunes.
HostId HostOf(const JobSpec& spec);
RepositoryId RepositoryOf(const JobSpec& spec);
// Virtual machines that no other job may work on meanwhile.
std::vector<VmKey> VmsOf(const JobSpec& spec);

// Values of umbra.v1.DiskProgress.ReadMode; never renumbered.
enum class ReadMode { kUnspecified = 0, kFull = 1, kIncremental = 2 };

// Units and meaning as in umbra.v1.DiskProgress.
struct DiskProgress {
  VmKey vm;
  std::string disk;
  int64_t done_bytes = 0;
  int64_t total_bytes = 0;
  ReadMode read_mode = ReadMode::kUnspecified;
  std::string full_read_reason;
  std::string full_read_message;
  int64_t changed_bytes = 0;

  bool operator==(const DiskProgress&) const = default;
};

// Units and meaning as in umbra.v1.JobProgress.
struct JobProgress {
  int64_t done_bytes = 0;
  int64_t total_bytes = 0;
  int64_t read_bytes = 0;
  int64_t new_bytes = 0;
  int64_t stored_bytes = 0;
  int64_t rate_bytes_per_second = 0;
  std::optional<absl::Duration> eta;
  std::vector<DiskProgress> disks;

  bool operator==(const JobProgress&) const = default;
};

// A warning or an error, for people and programs.
struct JobMessage {
  std::string reason;
  std::string message;

  bool operator==(const JobMessage&) const = default;
};

struct DamagedChunk {
  std::string chunk_id;  // hexadecimal
  RecoveryPointId recovery_point;
  std::string disk;
  int64_t offset_bytes = 0;
  std::string message;
  int64_t length_bytes = 0;

  bool operator==(const DamagedChunk&) const = default;
};

// Units and meaning as in umbra.v1.PruneResult.
struct PruneResult {
  int64_t deleted_points = 0;
  int64_t deleted_packs = 0;
  int64_t freed_bytes = 0;
  int64_t copied_bytes = 0;
  int64_t waiting_bytes = 0;
  int64_t needed_bytes = 0;

  bool operator==(const PruneResult&) const = default;
};

inline constexpr absl::Duration kRetryBackoffDefault = absl::Minutes(10);

// Who wanted a job, and how it stands in the queue. Meaning as in umbra.v1.Job.
struct JobTerms {
  PolicyId policy;                      // empty: a person
  int32_t priority = 0;                 // -100 to 100
  std::optional<absl::Time> due_time;   // not begun before
  std::optional<absl::Time> not_after;  // no attempt is begun after
  int32_t retries_max = 0;              // attempts after one that failed for a passing reason
  absl::Duration retry_backoff = kRetryBackoffDefault;
  int64_t upload_bytes_per_second = 0;  // 0: no limit, also for the next two
  int32_t policy_jobs_max = 0;          // of the policy at once; what its newest job says counts
  int32_t policy_host_jobs_max = 0;     // the same on one host
  int32_t policy_weight = 1;            // its share beside other policies; from 1; what its newest job says counts

  bool operator==(const JobTerms&) const = default;
};

// A stretch of an attempt's work.
struct JobPhaseTime {
  JobPhase phase = JobPhase::kNone;
  absl::Time start_time;
  std::optional<absl::Time> end_time;  // absent: it goes on

  bool operator==(const JobPhaseTime&) const = default;
};

// A writer's part in the freeze window of a backup, by the host's clock; what it didn't get to is absent.
struct JobWriter {
  std::string display_name;
  VmKey vm;  // in whose guest it is; empty: one of the host
  absl::Time freeze_time;
  std::optional<absl::Time> frozen_time;
  std::optional<absl::Time> thaw_time;
  std::optional<absl::Time> thawed_time;
  JobMessage error;  // empty: it didn't fail

  bool operator==(const JobWriter&) const = default;
};

struct Job {
  JobId id;
  int64_t number = 0;  // order of submission, from 1; set by the store
  JobSpec spec;
  JobTerms terms;
  JobState state = JobState::kQueued;
  JobPhase phase = JobPhase::kNone;
  std::string wait_reason;
  JobMessage error;  // reason empty: none
  std::vector<JobMessage> warnings;
  JobProgress progress;
  int32_t attempt = 0;  // 0: never assigned
  int32_t failed_attempts = 0;                  // that another one followed
  JobMessage last_attempt_error;                // of the last of them
  std::optional<absl::Time> next_attempt_time;  // queued after one of them: not begun before
  absl::Time create_time;
  std::optional<absl::Time> start_time;
  std::optional<absl::Time> end_time;
  absl::Duration freeze_duration;  // zero: no guest was frozen
  absl::Duration downtime;         // zero: no virtual machine stood still
  std::string restored_vm_uuid;
  std::vector<DamagedChunk> damage;
  std::optional<PruneResult> prune_result;
  std::vector<RecoveryPointId> recovery_points;  // that it made and that still exist; set when read
  std::vector<JobPhaseTime> phases;  // of the present attempt, or of the last one, in order of time; empty in lists
  std::vector<JobWriter> writers;    // that were frozen in the same, known at its end; empty in lists
  int64_t revision = 0;                          // rises with every change; set by server/jobs
};

// What a dispatcher needs to know of a job that has not ended.
struct ActiveJob {
  JobId id;
  JobKind kind = JobKind::kBackup;
  JobState state = JobState::kQueued;
  int32_t attempt = 0;
  HostId host;  // empty: done by the daemon itself
  std::vector<VmKey> vms;
  std::string wait_reason;
  int64_t number = 0;
  RepositoryId repository;
  JobTerms terms;
  absl::Time create_time;
  std::optional<absl::Time> next_attempt_time;
};

// The first answer to a request_id, so that a repeated request gets the same one.
struct Request {
  std::string request_id;
  std::string request_hash;  // of everything else in the request
  JobId job;
  absl::Time create_time;
};

// How the backups that ended in a stretch of time went. Units and meaning as in umbra.v1.BackupSummary.
struct BackupSummary {
  int64_t succeeded = 0;  // with warnings or without
  int64_t warned = 0;
  int64_t failed = 0;
  int64_t cancelled = 0;
  int64_t recovery_points = 0;
  int64_t read_bytes = 0;
  int64_t stored_bytes = 0;

  bool operator==(const BackupSummary&) const = default;
};

// ---- Events ----

enum class Severity { kInfo = 1, kWarning = 2, kError = 3 };

struct Event {
  int64_t sequence = 0;  // from 1 without gaps; set by the store
  absl::Time time;
  std::string type;      // stable, such as "JOB_STATE_CHANGED"
  std::string resource;  // such as "jobs/j1"
  Severity severity = Severity::kInfo;
  std::string message;
};

// ---- Recovery points ----

struct RecoveryPointDisk {
  std::string name;
  int64_t capacity_bytes = 0;
  int64_t data_bytes = 0;
  std::string format;
  std::string path;
};

struct Document {
  std::string kind;  // as in umbra.store.v1.ManifestDocument, the configuration excepted
  std::string content;
};

// What may be done with a recovery point, as its repository says.
struct RecoveryPointProtection {
  std::optional<absl::Time> remove_time;  // absent: it isn't removed
  std::optional<absl::Time> delete_time;  // from when a prune may delete what was removed
  std::string removed_by;
  bool held = false;
  std::string held_by;
  std::string hold_note;
  std::optional<absl::Time> lock_until;

  bool operator==(const RecoveryPointProtection&) const = default;
};

struct RecoveryPoint {
  RecoveryPointId id;
  VmKey vm;  // or file set; at backup time: the host may be gone
  std::string vm_display_name;
  RepositoryId repository;
  JobId job;  // may be gone
  absl::Time point_time;
  absl::Time create_time;
  BackupMechanism mechanism = BackupMechanism::kUnspecified;
  std::string mechanism_reason;
  absl::Duration freeze_duration;
  absl::Duration downtime;
  std::vector<Obstacle> obstacles;
  int64_t state_bytes = 0;  // size of the saved memory; 0: there is none
  int64_t state_data_bytes = 0;
  std::vector<RecoveryPointDisk> disks;
  std::vector<ExcludedDisk> excluded_disks;
  int64_t read_bytes = 0;
  int64_t new_bytes = 0;  // of chunks that the repository didn't have, before compression
  int64_t stored_bytes = 0;
  RecoveryPointProtection protection;
  std::string configuration;        // empty in lists
  std::vector<Document> documents;  // empty in lists
};

// Place in the list of recovery points: newest point_time first; of the same time, greatest id first.
struct RecoveryPointKey {
  absl::Time point_time;
  RecoveryPointId id;
};

// ---- Verification and figures ----

struct PackCheck {
  RepositoryId repository;
  std::string pack;  // 32 hexadecimal digits
  int64_t size_bytes = 0;
  absl::Time stored_time;               // the stored bytes were compared
  std::optional<absl::Time> full_time;  // and decompressed, and their ids computed; absent: never
  bool whole_damaged = false;           // it can't be listed by its own footer
  int64_t damaged_chunks = 0;

  bool operator==(const PackCheck&) const = default;
};

struct PointCheck {
  RepositoryId repository;
  RecoveryPointId recovery_point;
  absl::Time verify_time;
  bool sound = true;

  bool operator==(const PointCheck&) const = default;
};

// A place of a recovery point whose bytes were found to be wrong or gone.
struct Damage {
  RepositoryId repository;
  RecoveryPointId recovery_point;
  std::string disk;
  int64_t offset_bytes = 0;
  std::string chunk_id;  // hexadecimal; empty: the disk as a whole
  int64_t length_bytes = 0;
  std::string reason;
  std::string message;
  absl::Time found_time;
  std::optional<absl::Time> healed_time;  // absent: still damaged

  bool operator==(const Damage&) const = default;
};

struct BackupFigures {
  int64_t recovery_point_count = 0;
  int64_t logical_bytes = 0;  // the disks' bytes that aren't zero
  int64_t unique_bytes = 0;   // of different chunks, before compression
  int64_t stored_bytes = 0;   // on disk

  bool operator==(const BackupFigures&) const = default;
};

struct RepositoryDay {
  RepositoryId repository;
  int64_t day = 0;  // since 1970, UTC
  BackupFigures figures;

  bool operator==(const RepositoryDay&) const = default;
};

}  // namespace umbra::catalog

#endif  // UMBRA_STORAGE_CATALOG_RECORDS_H_
