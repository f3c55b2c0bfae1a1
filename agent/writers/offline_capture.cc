#include "agent/writers/offline_capture.h"

#include <utility>

#include "storage/base/status.h"

namespace umbra::writers {

OfflineCapture::OfflineCapture(const CaptureTools& tools, CaptureRequest request)
    : tools_(tools), request_(std::move(request)) {}

absl::Status OfflineCapture::Prepare(const vss::Guid& set_id) {
  ASSIGN_OR_RETURN(state_.path, tools_.point_in_time.hypervisor.ExistingState(request_.vm.uuid));
  if (state_.exists()) {
    ASSIGN_OR_RETURN(const auto file, hypervisor::OpenFile(tools_.filesystem, state_.path));
    state_.size_bytes = file->capacity_bytes();
  }
  providers::VmPointInTimeRequest request;
  request.vm_uuid = request_.vm.uuid;
  request.options = request_.options;
  request.options.offline = true;
  return tools_.provider.TakeAtCommit(set_id, request);
}

}  // namespace umbra::writers
