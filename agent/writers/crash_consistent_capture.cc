#include "agent/writers/crash_consistent_capture.h"

#include <utility>

namespace umbra::writers {

CrashConsistentCapture::CrashConsistentCapture(const CaptureTools& tools, CaptureRequest request)
    : tools_(tools), request_(std::move(request)) {}

absl::Status CrashConsistentCapture::Prepare(const vss::Guid& set_id) {
  providers::VmPointInTimeRequest request;
  request.vm_uuid = request_.vm.uuid;
  request.options = request_.options;
  return tools_.provider.TakeAtCommit(set_id, request);
}

}  // namespace umbra::writers
