// A complete backup inside one guest, nested into the host's PrepareSnapshot (B3): what the requestor in the child
// does.
//
// It has a coordinator of its own, the guest's writers (its file systems and those that GuestWriters brings) and its
// own provider, whose CommitSnapshots cuts the hypervisor's view. In this order, each at most once:
//   Prepare   E Identify · P BeginPrepareSnapshot per disk · E PrepareBackup: everything slow
//   Take      E PrepareSnapshot · P EndPrepareSnapshots · E Freeze · P PreCommit, Commit, PostCommit · E Thaw ·
//             P PreFinalCommit · E PostSnapshot · P PostFinalCommit; the guest runs on when this returns
//   Complete  E BackupComplete, when the host's own comes
//   Close     E BackupShutdown, when the host's own comes; E Abort before it when the set wasn't made
// A writer's failure at any event is the failure of the whole (B9); nothing stays then, but an intent in the journal
// while a thaw is owed.
//
// Limits: those of the coordinator and of each writer; the freeze of the request.
// Threads: one at a time. Blocks within these limits, and until no handler of a writer runs any more.
// Errors: those of the writers and of the hypervisor, with their reasons, as vss::Code kWriterErrorRetryable when
// trying again later may help, else kWriterErrorNonRetryable.
#ifndef UMBRA_AGENT_GUEST_CHILD_BACKUP_H_
#define UMBRA_AGENT_GUEST_CHILD_BACKUP_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "agent/guest/child_events.h"
#include "agent/guest/child_provider.h"
#include "agent/guest/filesystem_writer.h"
#include "agent/providers/guest_freeze.h"
#include "agent/providers/vm_point_in_time.h"
#include "agent/vss/coordinator.h"
#include "agent/vss/requester.h"
#include "agent/vss/session.h"
#include "storage/base/random.h"

namespace umbra::guest {

struct ChildBackupRequest {
  providers::VmPointInTimeRequest point;                 // `freeze` is true
  std::vector<hypervisor::GuestFilesystem> filesystems;  // as the guest's agent reports them; may be empty
  providers::FreezeLimits freeze;
};

// How a writer of the guest has done so far.
struct ChildWriter {
  std::string name;
  vss::WriterState state = vss::WriterState::kUnknown;
  absl::Status failure;
  std::vector<ChildEvent> events;
};

class ChildBackup {
 public:
  // `tools` and `random` outlive the object. `writers`: those of GuestWriters.
  ChildBackup(const providers::PointInTimeTools& tools, base::Random& random,
              std::vector<std::unique_ptr<vss::Writer>> writers, ChildBackupRequest request);
  ~ChildBackup();  // Close()
  ChildBackup(const ChildBackup&) = delete;
  ChildBackup& operator=(const ChildBackup&) = delete;

  absl::Status Prepare();
  absl::Status Take();
  // After Take, once: the guest's snapshot, which the host's copy is reverted to (B7). From here on it belongs to the
  // caller and outlives the backup in the guest.
  std::unique_ptr<providers::VmPointInTime> TakePoint();
  // Whether the guest's data was stored. An error is about the writers: the backup is good.
  absl::Status Complete(bool succeeded);
  // Idempotent; after it only the facts below can be asked for.
  absl::Status Close();

  // From the call of the freeze to the answer of the thaw; zero before. After Take or Close.
  absl::Duration freeze_duration() const { return freeze_.duration(); }
  // After Take succeeded.
  const vss::BackupDocuments& documents() const { return documents_; }
  // All that were asked; one whose Identify failed took no part, as VSS has it.
  std::vector<ChildWriter> Writers() const;
  // The same as VSS has it.
  std::vector<vss::WriterStatus> WriterStatuses() const;

 private:
  absl::Status Gather();
  absl::Status StartSet();
  // The first failure of a writer, which is the cause of what VSS says otherwise.
  absl::Status CheckWriters(const absl::Status& otherwise);
  absl::Status Fail(const absl::Status& error);

  const ChildBackupRequest request_;
  ChildEvents events_;
  providers::GuestFreeze freeze_;
  FilesystemWriter filesystems_;
  const std::vector<std::unique_ptr<vss::Writer>> guest_writers_;
  std::vector<std::unique_ptr<ObservedWriter>> observed_;
  ChildProvider provider_;
  std::unique_ptr<vss::Coordinator> coordinator_;  // null after Close
  std::unique_ptr<vss::Session> session_;          // null after Close
  std::vector<vss::ComponentId> components_;
  std::vector<vss::WriterStatus> last_writers_;  // as Close left them
  vss::BackupDocuments documents_;
};

}  // namespace umbra::guest

#endif  // UMBRA_AGENT_GUEST_CHILD_BACKUP_H_
