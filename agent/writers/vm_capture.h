// How one virtual machine of a backup comes to its point in time: the writer's work in one place, with one
// implementation per mechanism. The writer walks a list of these and knows none of them by name.
//
//   PrepareSnapshot: Prepare() of every virtual machine, then Capture() of every one (B4)
//   CommitSnapshots: what Prepare left with the provider
//   PostSnapshot:    AfterSnapshot() of every one (B6, B7)
//   BackupComplete:  Complete() of every one
//   the destructor, at any of these points: the virtual machine is as it was before Prepare (B9)
//
// Threads: one at a time.
#ifndef UMBRA_AGENT_WRITERS_VM_CAPTURE_H_
#define UMBRA_AGENT_WRITERS_VM_CAPTURE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "agent/guest/guest_writers.h"
#include "agent/hypervisor/hypervisor.h"
#include "agent/providers/checkpoint_provider.h"
#include "agent/providers/guest_freeze.h"
#include "agent/vss/requester.h"
#include "agent/vss/types.h"
#include "agent/writers/mechanism.h"
#include "storage/base/filesystem.h"
#include "storage/base/random.h"

namespace umbra::writers {

// What captures work with; outlives them.
struct CaptureTools {
  providers::PointInTimeTools point_in_time;
  providers::CheckpointProvider& provider;
  base::Filesystem& filesystem;
  base::Random& random;
  guest::GuestWriters* guest_writers = nullptr;  // null: no guest has writers of its own
};

struct CaptureRequest {
  hypervisor::VmInfo vm;
  hypervisor::PointInTimeOptions options;
  providers::FreezeLimits freeze;
  std::vector<hypervisor::GuestFilesystem> filesystems;  // as the guest's agent reports them
  // How long a hypervisor that doesn't resume a stopped virtual machine is asked again; after that healing goes on.
  absl::Duration resume_patience = absl::Minutes(1);
};

// What the guest felt of it.
struct CaptureFigures {
  absl::Duration freeze_duration;        // from the freeze call to the answer of the thaw; zero without a freeze
  absl::Duration downtime;               // from the stop to running again; zero when it wasn't stopped
  vss::BackupDocuments child_documents;  // of the backup inside the guest; empty without one
  std::vector<vss::WriterStatus> guest_writers = {};  // of the same
};

// The memory that belongs to the disks of the copy.
struct CapturedState {
  std::string path;         // can be read as long as the capture lives; empty: there is none
  uint64_t size_bytes = 0;

  bool exists() const { return !path.empty(); }
};

class VmCapture {
 public:
  virtual ~VmCapture() = default;

  // Everything slow, so that nothing slow happens while a guest is frozen or stands still. `set_id` is the snapshot set
  // that is being made.
  virtual absl::Status Prepare(const vss::Guid& set_id) = 0;
  // When it returns OK, the virtual machine is where its mechanism wants it when the provider cuts.
  virtual absl::Status Capture() = 0;
  // The provider has cut: the virtual machine goes back to its former state, and the copy in the set becomes what the
  // mechanism captured. After an error the destructor puts back what is left.
  virtual absl::Status AfterSnapshot() = 0;

  // The host's backup is durable, or (not `succeeded`) this virtual machine isn't in it. An error leaves a good backup.
  virtual absl::Status Complete(bool /*succeeded*/) { return absl::OkStatus(); }

  // Complete after AfterSnapshot.
  virtual CaptureFigures figures() const = 0;
  virtual CapturedState state() const { return {}; }

  // The virtual machine stands still from Capture to AfterSnapshot. These are captured last and go on first.
  virtual bool stops_the_guest() const { return false; }
};

// The implementation for `mechanism`.
std::unique_ptr<VmCapture> NewCapture(BackupMechanism mechanism, const CaptureTools& tools, CaptureRequest request);

}  // namespace umbra::writers

#endif  // UMBRA_AGENT_WRITERS_VM_CAPTURE_H_
