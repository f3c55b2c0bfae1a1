#include "agent/providers/vm_point_in_time.h"

#include <utility>

#include "agent/journal/crash_points.h"
#include "storage/base/crash_point.h"
#include "storage/base/status.h"

namespace umbra::providers {

VmPointInTime::VmPointInTime(const PointInTimeTools& tools, const VmPointInTimeRequest& request)
    : tools_(tools), request_(request) {}

VmPointInTime::~VmPointInTime() {
  Close().IgnoreError();
}

journal::Intent VmPointInTime::intent() const {
  journal::Intent intent{request_.freeze ? journal::IntentKind::kFrozenPointInTime : journal::IntentKind::kPointInTime,
                         request_.vm_uuid, request_.options.owner_tag, request_.options.scratch_folder};
  if (request_.options.track_changes && !request_.options.offline) {
    intent.checkpoint = hypervisor::kCheckpointPrefix + request_.options.owner_tag;
    intent.base_checkpoint = request_.options.base.name;
    intent.committing = committing_;
  }
  return intent;
}

absl::Status VmPointInTime::CommitFollows() {
  if (closed_ || intent().checkpoint.empty()) return absl::OkStatus();
  committing_ = true;
  return tools_.journal.Record(intent());
}

// While the virtual machine is off nothing began, and nothing can be removed.
absl::Status VmPointInTime::KeepOneCheckpoint(const std::string& began) {
  if (intent().checkpoint.empty()) return absl::OkStatus();
  return tools_.hypervisor.RemoveCheckpoints(request_.vm_uuid, committed_ ? began : request_.options.base.name)
      .status();
}

absl::StatusOr<std::unique_ptr<VmPointInTime>> VmPointInTime::Prepare(const PointInTimeTools& tools,
                                                                      const VmPointInTimeRequest& request) {
  RETURN_IF_ERROR(tools.hypervisor.CheckNoJob(request.vm_uuid));
  std::unique_ptr<VmPointInTime> point(new VmPointInTime(tools, request));
  RETURN_IF_ERROR(tools.journal.Record(point->intent()));
  base::CrashPoint(journal::kCrashIntentRecorded);
  ASSIGN_OR_RETURN(point->prepared_, tools.hypervisor.PreparePointInTime(request.vm_uuid, request.options));
  return point;
}

absl::Status VmPointInTime::Take() {
  UMBRA_CHECK(prepared_ != nullptr && view_ == nullptr);
  ASSIGN_OR_RETURN(view_, prepared_->Begin());
  base::CrashPoint(journal::kCrashSnapshotTaken);
  return absl::OkStatus();
}

absl::Status VmPointInTime::Close() {
  if (closed_) return absl::OkStatus();
  closed_ = true;
  prepared_.reset();
  absl::Status closed;
  const std::string began = view_ == nullptr ? "" : view_->checkpoint().name;
  if (view_ != nullptr) closed = view_->Close();
  view_.reset();
  if (committing_ && !committed_) {
    committing_ = false;  // should the agent die now, the base is to be kept
    closed.Update(tools_.journal.Record(intent()));
  }
  base::CrashPoint(journal::kCrashViewClosed);
  closed.Update(KeepOneCheckpoint(began));
  if (!closed.ok() || keep_intent_) {
    tools_.journal.Abandon(intent());
    return base::Annotate(closed, "end the view of {}", request_.vm_uuid);
  }
  return tools_.journal.Remove(intent());
}

}  // namespace umbra::providers
