#include "agent/writers/vm_capture.h"

#include <utility>

#include "agent/writers/child_capture.h"
#include "agent/writers/crash_consistent_capture.h"
#include "agent/writers/offline_capture.h"
#include "agent/writers/saved_state_capture.h"

namespace umbra::writers {

std::unique_ptr<VmCapture> NewCapture(BackupMechanism mechanism, const CaptureTools& tools, CaptureRequest request) {
  switch (mechanism) {
    case BackupMechanism::kChildSnapshot:
      return std::make_unique<ChildCapture>(tools, std::move(request));
    case BackupMechanism::kSavedState:
      return std::make_unique<SavedStateCapture>(tools, std::move(request));
    case BackupMechanism::kOffline:
      return std::make_unique<OfflineCapture>(tools, std::move(request));
    case BackupMechanism::kCrashConsistent:
      break;
  }
  return std::make_unique<CrashConsistentCapture>(tools, std::move(request));
}

}  // namespace umbra::writers
