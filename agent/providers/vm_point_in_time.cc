#include "agent/providers/vm_point_in_time.h"

#include <utility>

#include "absl/cleanup/cleanup.h"
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
  UMBRA_CHECK(prepared_ != nullptr && !request_.freeze);
  ASSIGN_OR_RETURN(view_, prepared_->Begin());
  prepared_.reset();
  base::CrashPoint(journal::kCrashSnapshotTaken);
  return absl::OkStatus();
}

absl::Status VmPointInTime::TakeFrozen() {
  UMBRA_CHECK(prepared_ != nullptr && request_.freeze);
  GuestFreeze freeze(tools_.hypervisor, tools_.clock, request_.vm_uuid, request_.limits);
  const absl::Cleanup remember = [&] {
    thaw_owed_ = freeze.thaw_owed();
    freeze_duration_ = freeze.duration();
  };
  base::CrashPoint(journal::kCrashBeforeFreeze);
  RETURN_IF_ERROR(freeze.Freeze());
  // Frozen: from here to the thaw nothing but these calls.
  base::CrashPoint(journal::kCrashFrozen);
  absl::StatusOr<std::unique_ptr<hypervisor::PointInTime>> view = prepared_->Begin();
  base::CrashPoint(journal::kCrashSnapshotTaken);
  const absl::Status thawed = freeze.Thaw();
  base::CrashPoint(journal::kCrashThawed);
  prepared_.reset();
  if (view.ok()) view_ = *std::move(view);
  RETURN_IF_ERROR(view.status());
  return thawed;
}

absl::Status VmPointInTime::Close() {
  if (closed_) return absl::OkStatus();
  closed_ = true;
  prepared_.reset();
  absl::Status closed;
  if (view_ != nullptr) closed = view_->Close();
  view_.reset();
  base::CrashPoint(journal::kCrashViewClosed);
  if (!closed.ok() || thaw_owed_) {
    tools_.journal.Abandon(intent());
    return base::Annotate(closed, "end the view of {}", request_.vm_uuid);
  }
  return tools_.journal.Remove(intent());
}

}  // namespace umbra::providers
