#include "agent/writers/vm_capture.h"

#include <utility>

#include "agent/writers/child_capture.h"
#include "agent/writers/crash_consistent_capture.h"

namespace umbra::writers {

std::unique_ptr<VmCapture> NewCapture(BackupMechanism mechanism, const CaptureTools& tools, CaptureRequest request) {
  if (mechanism == BackupMechanism::kChildSnapshot) return std::make_unique<ChildCapture>(tools, std::move(request));
  return std::make_unique<CrashConsistentCapture>(tools, std::move(request));
}

}  // namespace umbra::writers
