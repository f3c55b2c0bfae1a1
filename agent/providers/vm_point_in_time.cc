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
  return {request_.freeze ? journal::IntentKind::kFrozenPointInTime : journal::IntentKind::kPointInTime,
          request_.vm_uuid, request_.options.owner_tag, request_.options.scratch_folder};
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
  if (view_ != nullptr) closed = view_->Close();
  view_.reset();
  base::CrashPoint(journal::kCrashViewClosed);
  if (!closed.ok() || keep_intent_) {
    tools_.journal.Abandon(intent());
    return base::Annotate(closed, "end the view of {}", request_.vm_uuid);
  }
  return tools_.journal.Remove(intent());
}

}  // namespace umbra::providers
