// One backup or one restore as VSS itself offers it: the methods of IVssBackupComponents in host-neutral types.
//
// Two things stand behind it: our own engine (Coordinator::NewSession), and on Windows the system's VSS. A Requester
// drives it and guards the order of the calls; a session called out of order answers FAILED_PRECONDITION /
// VSS_BAD_STATE (kBadState) and changes nothing.
//
// Threads: one thread at a time, but for Cancel. Every call waits until the work is done (Microsoft's asynchronous
// methods included), at most for the time limits of the writers and providers.
#ifndef UMBRA_AGENT_VSS_SESSION_H_
#define UMBRA_AGENT_VSS_SESSION_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/vss/backup_components.h"
#include "agent/vss/provider.h"
#include "agent/vss/types.h"
#include "agent/vss/writer.h"
#include "agent/vss/writer_metadata.h"

namespace umbra::vss {

class Session {
 public:
  virtual ~Session() = default;  // Release()

  virtual const Guid& id() const = 0;

  // Before everything else, one of the two. `xml`: the saved Backup Components Document.
  virtual absl::Status InitializeForBackup() = 0;
  virtual absl::Status InitializeForRestore(const std::string& xml) = 0;

  // Which writers take part; before GatherWriterMetadata. Enabling classes leaves out all others. A writer that is left
  // out isn't even asked.
  virtual absl::Status EnableWriterClasses(const std::vector<Guid>& writer_ids) = 0;
  virtual absl::Status DisableWriterClasses(const std::vector<Guid>& writer_ids) = 0;
  virtual absl::Status DisableWriterInstances(const std::vector<Guid>& instance_ids) = 0;

  // --- backup, in this order ---
  virtual absl::Status SetContext(uint32_t context) = 0;              // optional, once
  virtual absl::Status SetBackupState(const BackupState& state) = 0;  // before PrepareForBackup
  // Identify. Once per session, in a restore too. A writer that fails is absent.
  virtual absl::Status GatherWriterMetadata() = 0;
  virtual const std::vector<WriterMetadata>& writer_metadata() const = 0;
  // kObjectNotFound, kObjectAlreadyExists.
  virtual absl::Status AddComponent(const ComponentId& component) = 0;
  // Waits for at most `wait` while another session makes a set, then kSnapshotSetInProgress. Returns the set's id.
  virtual absl::StatusOr<Guid> StartSnapshotSet(absl::Duration wait) = 0;
  absl::StatusOr<Guid> StartSnapshotSet() { return StartSnapshotSet(absl::ZeroDuration()); }
  // kVolumeNotSupported, kObjectAlreadyExists, kMaximumNumberOfVolumesReached, or the provider's error. Returns the
  // snapshot's id. A null `provider_id` lets the session choose.
  virtual absl::StatusOr<Guid> AddToSnapshotSet(const std::string& volume, const Guid& provider_id) = 0;
  // The same for many volumes, the session choosing; the snapshots' ids in the same order. An error on one means that
  // none of them is in the set, which is good for nothing but AbortBackup then.
  virtual absl::StatusOr<std::vector<Guid>> AddVolumesToSnapshotSet(const std::vector<std::string>& volumes) = 0;
  virtual absl::Status SetBackupOptions(const ComponentId& component, const std::string& options) = 0;
  virtual absl::Status SetPreviousBackupStamp(const ComponentId& component, const std::string& stamp) = 0;
  // OK also when a writer failed: ask GatherWriterStatus.
  virtual absl::Status PrepareForBackup() = 0;
  // OK also when a writer failed: ask GatherWriterStatus. Any provider failure fails the set. May be left out when no
  // file of the chosen components must be read from a snapshot (NeedsSnapshot); what follows is legal after
  // PrepareForBackup then.
  virtual absl::Status DoSnapshotSet() = 0;
  virtual absl::StatusOr<SnapshotProperties> GetSnapshotProperties(const Guid& snapshot_id) = 0;
  virtual absl::Status SetBackupSucceeded(const ComponentId& component, bool succeeded) = 0;
  virtual absl::Status BackupComplete() = 0;
  // Legal from StartSnapshotSet on; ignored when nothing is under way.
  virtual absl::Status AbortBackup() = 0;
  // Deletes the set's copies now. For contexts whose copies outlive the session; others are deleted by Release.
  virtual absl::Status DeleteSnapshots() = 0;

  // --- restore, in this order ---
  virtual absl::Status SetRestoreState(RestoreType type) = 0;  // optional, before PreRestore
  // kObjectNotFound when the writer doesn't run or the document lacks the component.
  virtual absl::Status SetSelectedForRestore(const ComponentId& component) = 0;
  // The same, into another instance of the writer, named by its name (SetSelectedForRestoreEx). kNotSupported when the
  // writer's schema lacks kSchemaRestoreWithMove.
  virtual absl::Status SetSelectedForRestoreInto(const ComponentId& component, const Guid& instance_id,
                                                 const std::string& instance_name) = 0;
  virtual absl::Status AddRestoreSubcomponent(const ComponentId& component, const std::string& subcomponent) = 0;
  virtual absl::Status SetRestoreOptions(const ComponentId& component, const std::string& options) = 0;
  virtual absl::Status SetAdditionalRestores(const ComponentId& component, bool additional) = 0;
  // kNotSupported when the schema lacks kSchemaNewTarget, kSchemaRestoreRename, kSchemaAuthoritativeRestore,
  // kSchemaRollForwardRestore.
  virtual absl::Status AddNewTarget(const ComponentId& component, const NewTarget& target) = 0;
  virtual absl::Status SetRestoreName(const ComponentId& component, const std::string& name) = 0;
  virtual absl::Status SetAuthoritativeRestore(const ComponentId& component, bool authoritative) = 0;
  virtual absl::Status SetRollForward(const ComponentId& component, const RollForward& roll_forward) = 0;
  // Returns when ALL writers with a selected component have finished.
  virtual absl::Status PreRestore() = 0;
  // Strictly between PreRestore and PostRestore, as the next three.
  virtual absl::Status SetFileRestoreStatus(const ComponentId& component, FileRestoreStatus status) = 0;
  // The files of a set went to an alternate location.
  virtual absl::Status AddAlternativeLocationMapping(const ComponentId& component, const FileMapping& mapping) = 0;
  // Where the ranges file of partial file number `index` is now.
  virtual absl::Status SetRangesFilePath(const ComponentId& component, size_t index, const std::string& path) = 0;
  // Never left out: the writers clean up there.
  virtual absl::Status PostRestore() = 0;

  // --- both ---
  // Of the writers that take part in this session.
  virtual absl::StatusOr<std::vector<WriterStatus>> GatherWriterStatus() = 0;
  // The document so far: in a restore, what the writers said in PreRestore.
  virtual const BackupComponents& components() const = 0;
  // The Backup Components Document; in a backup not before the end of DoSnapshotSet.
  virtual absl::StatusOr<std::string> SaveAsXml() = 0;
  // Ends the session: deletes its (not persistent) snapshots, then BackupShutdown. Idempotent; the error is that of a
  // snapshot that couldn't be deleted.
  virtual absl::Status Release() = 0;

  // From any thread, at any time. The step that runs ends with CANCELLED / CANCELLED before it hands out another event
  // or call, and a step of a backup's making or of PreRestore that comes later doesn't begin; a set that was being made
  // is aborted. The handlers that run are waited for (EventContext::IsCancelled lets them end early). What
  // completes or cleans up isn't touched.
  virtual void Cancel() = 0;
};

}  // namespace umbra::vss

#endif  // UMBRA_AGENT_VSS_SESSION_H_
