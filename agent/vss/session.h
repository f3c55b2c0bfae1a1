// One backup or one restore as VSS itself offers it: the methods of IVssBackupComponents in host-neutral types.
//
// Two things stand behind it: our own engine (Coordinator::NewSession), and on Windows the system's VSS. A Requester
// drives it and guards the order of the calls; a session called out of order answers FAILED_PRECONDITION /
// VSS_BAD_STATE (kBadState) and changes nothing.
//
// Threads: one thread at a time. Every call waits until the work is done (Microsoft's asynchronous methods included),
// at most for the time limits of the writers and providers.
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

  // --- backup, in this order ---
  virtual absl::Status SetContext(uint32_t context) = 0;  // optional, once
  virtual absl::Status SetBackupState(const BackupState& state) = 0;
  // Identify. Once per session, in a restore too. A writer that fails is absent.
  virtual absl::Status GatherWriterMetadata() = 0;
  virtual const std::vector<WriterMetadata>& writer_metadata() const = 0;
  // kObjectNotFound, kObjectAlreadyExists.
  virtual absl::Status AddComponent(const ComponentId& component) = 0;
  // kSnapshotSetInProgress while another session makes a set. Returns the set's id.
  virtual absl::StatusOr<Guid> StartSnapshotSet() = 0;
  // kVolumeNotSupported, kObjectAlreadyExists, kMaximumNumberOfVolumesReached, or the provider's error. Returns the
  // snapshot's id. A null `provider_id` lets the session choose.
  virtual absl::StatusOr<Guid> AddToSnapshotSet(const std::string& volume, const Guid& provider_id) = 0;
  virtual absl::Status SetBackupOptions(const ComponentId& component, const std::string& options) = 0;
  virtual absl::Status SetPreviousBackupStamp(const ComponentId& component, const std::string& stamp) = 0;
  // OK also when a writer failed: ask GatherWriterStatus.
  virtual absl::Status PrepareForBackup() = 0;
  // OK also when a writer failed: ask GatherWriterStatus. Any provider failure fails the set.
  virtual absl::Status DoSnapshotSet() = 0;
  virtual absl::StatusOr<SnapshotProperties> GetSnapshotProperties(const Guid& snapshot_id) = 0;
  virtual absl::Status SetBackupSucceeded(const ComponentId& component, bool succeeded) = 0;
  virtual absl::Status BackupComplete() = 0;
  // Legal from StartSnapshotSet on; ignored when nothing is under way.
  virtual absl::Status AbortBackup() = 0;

  // --- restore, in this order ---
  // kObjectNotFound when the writer doesn't run or the document lacks the component.
  virtual absl::Status SetSelectedForRestore(const ComponentId& component) = 0;
  virtual absl::Status AddRestoreSubcomponent(const ComponentId& component, const std::string& subcomponent) = 0;
  virtual absl::Status SetRestoreOptions(const ComponentId& component, const std::string& options) = 0;
  virtual absl::Status SetAdditionalRestores(const ComponentId& component, bool additional) = 0;
  virtual absl::Status AddNewTarget(const ComponentId& component, const NewTarget& target) = 0;
  // Returns when ALL writers with a selected component have finished.
  virtual absl::Status PreRestore() = 0;
  virtual absl::Status SetFileRestoreStatus(const ComponentId& component, FileRestoreStatus status) = 0;
  virtual absl::Status PostRestore() = 0;

  // --- both ---
  // Of the writers that take part in this session.
  virtual absl::StatusOr<std::vector<WriterStatus>> GatherWriterStatus() = 0;
  // The Backup Components Document; in a backup not before the end of DoSnapshotSet.
  virtual absl::StatusOr<std::string> SaveAsXml() = 0;
  // Ends the session: deletes its (not persistent) snapshots, then BackupShutdown. Idempotent; the error is that of a
  // snapshot that couldn't be deleted.
  virtual absl::Status Release() = 0;
};

}  // namespace umbra::vss

#endif  // UMBRA_AGENT_VSS_SESSION_H_
