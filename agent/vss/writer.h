// The application side of VSS: an implementation quiesces one kind of data and knows how it is restored.
//
// A handler that returns an error has called SetWriterFailure and returned false, in Microsoft's words; the code is
// that of AsWriterError. Order and meaning of the events: coordinator.h.
//
// Threads: the coordinator never runs two handlers of one writer at once, of any session. Handlers run on the
// coordinator's thread for this writer, may block within their time limit, and must not throw.
// Lifetime: the writer outlives the coordinator.
#ifndef UMBRA_AGENT_VSS_WRITER_H_
#define UMBRA_AGENT_VSS_WRITER_H_

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "agent/vss/backup_components.h"
#include "agent/vss/errors.h"
#include "agent/vss/types.h"
#include "agent/vss/writer_metadata.h"

namespace umbra::vss {

enum class WriterEvent {
  kIdentify,
  kPrepareBackup,
  kPrepareSnapshot,
  kFreeze,
  kThaw,
  kPostSnapshot,
  kBackupComplete,
  kBackupShutdown,
  kAbort,
  kPreRestore,
  kPostRestore,
  kFreezeTimer,  // no handler: the writer has been frozen for as long as it may
};
inline constexpr int kWriterEventCount = 12;

std::string_view NameOf(WriterEvent event);  // "PrepareSnapshot"

// How long a writer may take. What happens when a limit runs out: the writer has failed at that event
// (kWriterErrorTimeout at Freeze, otherwise kWriterNotResponding), and the flow goes on as if it had vetoed. The
// handler itself can't be interrupted: Abort and BackupShutdown are delivered when it returns, and whatever it answers
// then is ignored.
struct WriterLimits {
  // From the call of OnFreeze to the return of OnThaw; Microsoft's default. It runs while other writers freeze and
  // providers commit, too: when it ends, this writer gets Abort at once.
  absl::Duration freeze = absl::Seconds(60);
  // No documented number; ten minutes is what Windows' own callers allow for making a whole set.
  absl::Duration identify = absl::Minutes(10);
  absl::Duration prepare_backup = absl::Minutes(10);
  absl::Duration prepare_snapshot = absl::Minutes(10);
  absl::Duration post_snapshot = absl::Minutes(10);
  absl::Duration backup_complete = absl::Minutes(10);
  absl::Duration backup_shutdown = absl::Minutes(10);
  absl::Duration abort = absl::Minutes(10);
  absl::Duration pre_restore = absl::Minutes(10);
  absl::Duration post_restore = absl::Minutes(10);

  absl::Duration Of(WriterEvent event) const;
};

struct WriterIdentity {
  Guid writer_id;    // class
  Guid instance_id;  // of this process's instance
  std::string name;
  std::string instance_name;
  ApplicationLevel level = ApplicationLevel::kFrontEnd;
};

// What a handler sees of the session.
struct EventContext {
  Guid session_id;       // tells concurrent backups apart
  Guid snapshot_set_id;  // null before StartSnapshotSet and in a restore
  uint32_t context = kContextBackup;
  BackupState backup_state;
  RestoreType restore_type = RestoreType::kUndefined;  // only in a restore
  std::vector<std::string> volumes;                    // of the snapshot set
  // This writer's explicit components. What the handler changes goes into the document when it returns in time: see
  // BackupComponent for what belongs to the writer. In BackupComplete and BackupShutdown changes are dropped.
  std::vector<BackupComponent> components;

  // A failure that doesn't end this writer's part (SetWriterFailure, then true): set it and return OK. The writer gets
  // the events that follow, and GatherWriterStatus shows the failure. With kWriterErrorPartialFailure, every component
  // that failed says so in its `failure`.
  absl::Status failure;

  // Whether the session was cancelled: a handler that takes long may look, and end early with an error.
  bool IsCancelled() const { return cancelled != nullptr && cancelled->load(); }
  std::shared_ptr<const std::atomic<bool>> cancelled;  // shared with the session, which may end before the handler
};

class Writer {
 public:
  virtual ~Writer() = default;

  virtual const WriterIdentity& identity() const = 0;
  virtual WriterLimits limits() const { return {}; }

  // The writer's metadata, made anew each time; keeps no state. A writer that fails here is absent from the session.
  virtual absl::StatusOr<WriterMetadata> OnIdentify(const EventContext& context) = 0;

  // --- backup ---
  virtual absl::Status OnPrepareBackup(EventContext&) { return absl::OkStatus(); }
  // The place for slow work. A failure here brings NO Abort by itself: undo here, or wait for Abort or BackupShutdown.
  virtual absl::Status OnPrepareSnapshot(EventContext&) { return absl::OkStatus(); }
  virtual absl::Status OnFreeze(EventContext&) = 0;
  virtual absl::Status OnThaw(EventContext&) = 0;
  // The last chance to change the copy and the components. A failure here brings no Abort either.
  virtual absl::Status OnPostSnapshot(EventContext&) { return absl::OkStatus(); }
  // The backup is stored; logs may be truncated here and only here.
  virtual absl::Status OnBackupComplete(EventContext&) { return absl::OkStatus(); }
  // The session ended, in whatever way; snapshots that die with it are gone. Must release what is left.
  virtual absl::Status OnBackupShutdown(EventContext&) { return absl::OkStatus(); }
  // Undo. May come several times; never after OnPostSnapshot.
  virtual absl::Status OnAbort(EventContext&) = 0;

  // --- restore; only for writers with a selected component ---
  virtual absl::Status OnPreRestore(EventContext&) { return absl::OkStatus(); }
  // Called also when files failed: read file_restore_status.
  virtual absl::Status OnPostRestore(EventContext&) { return absl::OkStatus(); }
};

// When a writer was frozen, by the host's clock; what it didn't get to is absent.
struct FreezeTimes {
  absl::Time freeze;                 // it was told to freeze
  std::optional<absl::Time> frozen;  // it said that it is frozen
  std::optional<absl::Time> thaw;    // it was told to thaw, or to give up
  std::optional<absl::Time> thawed;  // it said that it works again
};

// How a writer is doing in a session (GetWriterStatus).
struct WriterStatus {
  WriterIdentity identity;
  WriterState state = WriterState::kUnknown;
  absl::Status failure;  // OK, or the last failure with its code (CodeOf)
  int component_count = 0;
  std::optional<FreezeTimes> freeze = {};  // absent when it wasn't frozen in the session, or isn't known
};

}  // namespace umbra::vss

#endif  // UMBRA_AGENT_VSS_WRITER_H_
