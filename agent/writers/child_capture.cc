#include "agent/writers/child_capture.h"

#include <utility>

#include "storage/base/log.h"
#include "storage/base/status.h"

namespace umbra::writers {

ChildCapture::ChildCapture(const CaptureTools& tools, CaptureRequest request)
    : tools_(tools), request_(std::move(request)) {}

absl::Status ChildCapture::Prepare(const vss::Guid& set_id) {
  set_id_ = set_id;
  providers::VmPointInTimeRequest request;
  request.vm_uuid = request_.vm.uuid;
  request.options = request_.options;
  request.freeze = true;
  request.limits = request_.freeze;
  ASSIGN_OR_RETURN(point_, providers::VmPointInTime::Prepare(tools_.point_in_time, request));
  return absl::OkStatus();
}

absl::Status ChildCapture::Capture() {
  const absl::Status taken = point_->TakeFrozen();
  freeze_duration_ = point_->freeze_duration();
  const auto log = base::Log("writers");
  if (taken.ok()) {
    log->info("guest snapshot taken vm={} frozen_ms={}", request_.vm.uuid, absl::ToInt64Milliseconds(freeze_duration_));
  } else {
    log->warn("guest snapshot failed vm={} error=\"{}\"", request_.vm.uuid, base::Describe(taken));
  }
  return taken;
}

absl::Status ChildCapture::AfterSnapshot() {
  return base::Annotate(tools_.provider.Revert(set_id_, std::move(point_)), "revert the copy to the guest's snapshot");
}

}  // namespace umbra::writers
