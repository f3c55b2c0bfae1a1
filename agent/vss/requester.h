// The flow of a backup and of a restore, as steps that can't be called out of order.
//
// A step in the wrong place answers FAILED_PRECONDITION / VSS_BAD_STATE and changes nothing (the table is in
// requester_state.h). A step that fails ends the flow: everything is aborted and released before it returns, and only
// Abort() (a no-op then) and the destructor remain.
//
// A writer that takes part and fails ends the backup, also where VSS itself would go on: the error then keeps code,
// reason and text of the writer's own failure where it gave one (GUEST_FREEZE_TIMEOUT, SCRATCH_FULL ...), otherwise the
// reason is VSS_WRITER_FAILED. vss::CodeOf gives the VSS code, IsRetryable says whether trying later makes sense.
//
// A writer may say that only some of its components failed (VSS_E_WRITERERROR_PARTIAL_FAILURE, EventContext::failure).
// With BackupSettings::accept_partial_failure the backup goes on without these.
//
// Threads: one at a time, but for Cancel. Steps block (session.h).
#ifndef UMBRA_AGENT_VSS_REQUESTER_H_
#define UMBRA_AGENT_VSS_REQUESTER_H_

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/vss/requester_state.h"
#include "agent/vss/session.h"

namespace umbra::vss {

// Documents of a backup, as they are stored and as a restore needs them.
struct BackupDocuments {
  std::vector<std::string> writer_metadata;  // one per writer that takes part
  std::string backup_components;
};

// A component to back up, and what its writer is told about it (SetBackupOptions, SetPreviousBackupStamp).
struct ComponentChoice {
  ComponentId id;
  std::string options;
  std::string previous_stamp;  // the backup stamp in the document of the backup that this one builds on
};

struct BackupSettings {
  uint32_t context = kContextBackup;
  BackupState state;
  // How long Prepare waits, on the coordinator's clock, while another backup makes its set.
  absl::Duration set_wait = absl::ZeroDuration();
  // Which writers take part (Session::EnableWriterClasses ...).
  std::vector<Guid> enabled_classes;
  std::vector<Guid> disabled_classes;
  std::vector<Guid> disabled_instances;
  // Copied beside those of the components; all of them in volume mode.
  std::vector<std::string> volumes;
  bool accept_partial_failure = false;
  // Leaves out DoSnapshotSet when no file of the chosen components must be read from a snapshot.
  bool skip_needless_snapshot = false;
};

struct FailedComponent {
  ComponentId id;
  ComponentFailure failure;
};

struct SnapshotSet {
  Guid set_id;
  std::vector<SnapshotProperties> snapshots;  // none when no snapshot was needed
  // Only with accept_partial_failure. They are marked as not succeeded already.
  std::vector<FailedComponent> failed_components;
};

class BackupRequester {
 public:
  BackupRequester(std::unique_ptr<Session> session, BackupSettings settings);
  ~BackupRequester();  // Abort()
  BackupRequester(const BackupRequester&) = delete;
  BackupRequester& operator=(const BackupRequester&) = delete;

  const Guid& session_id() const { return session_->id(); }
  // How the writers have done so far, also after a failure; none where the session can't tell.
  std::vector<WriterStatus> Writers() const {
    return session_->GatherWriterStatus().value_or(std::vector<WriterStatus>());
  }

  // 1. Asks every writer what it has.
  absl::StatusOr<std::vector<WriterMetadata>> Gather();
  // 2. Chooses components, explicitly. NOT_FOUND (kObjectNotFound) for one that no writer offers. INVALID_ARGUMENT /
  //    INVALID_REQUEST: they can't be chosen together (ComponentTree::CheckSelection), or one depends on a component of
  //    this machine that isn't chosen (both ends take part, or neither). A dependency makes no order, and may be a
  //    circle: the events come to all writers, level by level (Microsoft, "IVssWMDependency").
  absl::Status Select(const std::vector<ComponentChoice>& components);
  // 3. Starts the set with the volumes of the chosen components and of what comes with them, PrepareForBackup.
  //    UNAVAILABLE / VSS_SNAPSHOT_SET_IN_PROGRESS: another backup is at this step; nothing was touched, try again.
  absl::Status Prepare();
  // 4. Makes the snapshot set (coordinator.h has the order).
  absl::StatusOr<SnapshotSet> Snapshot();
  // 5. Between Snapshot and Complete, for every component: whether all its data was stored.
  absl::Status SetBackupSucceeded(const ComponentId& component, bool succeeded);
  //    From Snapshot on. Call it when all components are marked and store the documents with the data.
  absl::StatusOr<BackupDocuments> Documents();
  // 6. The backup is durable: tells the writers, which may truncate logs now, then ends as Release does.
  // FAILED_PRECONDITION
  //    when a component was neither marked as succeeded nor as failed. An error here leaves a good backup: it is about
  //    the writers.
  absl::Status Complete();

  // At any point: undoes, deletes the snapshots (persistent ones too), lets the writers release everything. Idempotent.
  absl::Status Abort();

  // From any thread, at any time: the step that runs, or else the next one, ends with CANCELLED / CANCELLED as a step
  // that fails. Changes nothing from Complete on.
  void Cancel();

 private:
  absl::Status Enter(RequesterStep step);
  absl::Status CheckWriters(const absl::Status& otherwise);
  absl::Status CheckSelection();
  // Calls `each` for every component that the chosen ones bring along, and for themselves.
  void ForEachIncluded(const std::function<void(const WriterMetadata&, const Component&)>& each);
  absl::Status AddVolumes();
  std::vector<FailedComponent> TakeFailedComponents();
  void EndSession();
  absl::Status Fail(const absl::Status& error);

  absl::Status GatherStep();
  absl::Status SelectStep(const std::vector<ComponentChoice>& components);
  absl::Status PrepareStep();
  absl::StatusOr<SnapshotSet> SnapshotStep();

  const std::unique_ptr<Session> session_;
  const BackupSettings settings_;
  RequesterState state_ = RequesterState::kNew;
  std::vector<ComponentChoice> chosen_;
  std::vector<ComponentId> unmarked_;  // neither succeeded nor failed
  Guid set_id_;
  std::vector<Guid> snapshot_ids_;
  bool without_snapshot_ = false;
  std::atomic<bool> cancelled_ = false;
};

// A component to restore, and what its writer is told about it (SetRestoreOptions).
struct RestoreChoice {
  ComponentId id;
  // When it is a list in the common form (restore_options.h), the options that mean the same for every writer are told as
  // `authoritative`, `roll_forward` ("All", "None", or where to stop) and `restore_name` are, and each must be about this
  // component or one below it. The writer gets the text in any case.
  std::string options;
  std::vector<NewTarget> new_targets;
  // Restores only these of its set: full names of implicit components that are selectable for restore.
  std::vector<std::string> subcomponents;
  bool additional_restores = false;  // more increments follow: the writer shall not go online yet
  std::string restore_name;          // restored as another one
  bool authoritative = false;
  RollForward roll_forward;
  Guid target_instance;  // into this instance of the writer; null: wherever it runs
  std::string target_instance_name;
};

class RestoreRequester {
 public:
  RestoreRequester(std::unique_ptr<Session> session, BackupDocuments documents);
  ~RestoreRequester();
  RestoreRequester(const RestoreRequester&) = delete;
  RestoreRequester& operator=(const RestoreRequester&) = delete;

  const Guid& session_id() const { return session_->id(); }

  RestoreRequester(std::unique_ptr<Session> session, BackupDocuments documents, RestoreType type);

  // 1. Loads the saved documents and asks which writers run now. INVALID_ARGUMENT / VSS_DOCUMENT_INVALID.
  absl::Status Gather();
  // 2. What to restore. NOT_FOUND / VSS_OBJECT_NOT_FOUND when its writer doesn't run. INVALID_ARGUMENT /
  //    INVALID_REQUEST for a subcomponent that can't be restored alone, for options that can't be read, and for a
  //    component without one that it depends on and that is in the backup (restored together, in no order: PreRestore
  //    of all comes before the first file of any, PostRestore after the last). UNIMPLEMENTED / VSS_NOT_SUPPORTED when
  //    the writer's schema doesn't allow what is asked.
  absl::Status Select(const std::vector<RestoreChoice>& components);
  // 3. PreRestore of ALL writers. Files may be written only when this returned OK.
  absl::Status PreRestore();
  //    From here on: what the writers said there, which the plan of the files needs (restore_plan.h), and what they
  //    said at the backup.
  const BackupComponents& components() const { return session_->components(); }
  const std::vector<WriterMetadata>& saved_metadata() const { return saved_metadata_; }
  // 4. For every selected component, also when nothing was written.
  absl::Status SetFileRestoreStatus(const ComponentId& component, FileRestoreStatus status);
  absl::Status AddAlternativeLocationMapping(const ComponentId& component, const FileMapping& mapping);
  absl::Status SetRangesFilePath(const ComponentId& component, size_t index, const std::string& path);
  // 5. PostRestore of all writers; call it also when files failed.
  absl::Status PostRestore();

  // A restore can't be undone. When PreRestore is done and PostRestore not, this marks what has no status as failed and
  // calls PostRestore, so that the writers clean up; then releases. Idempotent.
  absl::Status Abort();

  // From any thread, at any time before PostRestore: the step that runs, or else the next one, ends with
  // CANCELLED / CANCELLED, after what Abort does.
  void Cancel();

 private:
  absl::Status Enter(RequesterStep step);
  absl::Status CheckWriters();
  absl::Status Fail(const absl::Status& error);

  absl::Status GatherStep();
  absl::Status SelectStep(const std::vector<RestoreChoice>& components);
  absl::Status SelectOne(const RestoreChoice& choice);
  absl::Status SelectSubcomponents(const RestoreChoice& choice);
  absl::Status ReadOptions(RestoreChoice& choice) const;
  absl::Status CheckDependencies(const std::vector<RestoreChoice>& components) const;
  // Of the backup; null when no writer there has it.
  const WriterMetadata* SavedMetadataOf(const ComponentId& id) const;

  const std::unique_ptr<Session> session_;
  const BackupDocuments documents_;
  const RestoreType type_;
  std::vector<WriterMetadata> saved_metadata_;
  std::atomic<bool> cancelled_ = false;
  RequesterState state_ = RequesterState::kNew;
  std::vector<RestoreChoice> chosen_;
  std::vector<ComponentId> without_status_;
};

}  // namespace umbra::vss

#endif  // UMBRA_AGENT_VSS_REQUESTER_H_
