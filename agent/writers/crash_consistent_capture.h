// Crash-consistent: nothing is done to the guest; the provider cuts its disks in CommitSnapshots.
#ifndef UMBRA_AGENT_WRITERS_CRASH_CONSISTENT_CAPTURE_H_
#define UMBRA_AGENT_WRITERS_CRASH_CONSISTENT_CAPTURE_H_

#include "agent/writers/vm_capture.h"

namespace umbra::writers {

class CrashConsistentCapture final : public VmCapture {
 public:
  CrashConsistentCapture(const CaptureTools& tools, CaptureRequest request);

  absl::Status Prepare(const vss::Guid& set_id) override;
  absl::Status Capture() override { return absl::OkStatus(); }
  absl::Status AfterSnapshot() override { return absl::OkStatus(); }
  CaptureFigures figures() const override { return {}; }

 private:
  const CaptureTools tools_;
  const CaptureRequest request_;
};

}  // namespace umbra::writers

#endif  // UMBRA_AGENT_WRITERS_CRASH_CONSISTENT_CAPTURE_H_
