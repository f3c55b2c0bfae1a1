// A virtual machine that is off or saved: nothing is done to it (B6), the provider takes its disks as they lie there, and
// a saved one's memory comes with them. When somebody starts it meanwhile, the copy is lost and its health says so.
#ifndef UMBRA_AGENT_WRITERS_OFFLINE_CAPTURE_H_
#define UMBRA_AGENT_WRITERS_OFFLINE_CAPTURE_H_

#include "agent/writers/vm_capture.h"

namespace umbra::writers {

class OfflineCapture final : public VmCapture {
 public:
  OfflineCapture(const CaptureTools& tools, CaptureRequest request);

  absl::Status Prepare(const vss::Guid& set_id) override;
  absl::Status Capture() override { return absl::OkStatus(); }
  absl::Status AfterSnapshot() override { return absl::OkStatus(); }
  CaptureFigures figures() const override { return {}; }
  CapturedState state() const override { return state_; }

 private:
  const CaptureTools tools_;
  const CaptureRequest request_;
  CapturedState state_;
};

}  // namespace umbra::writers

#endif  // UMBRA_AGENT_WRITERS_OFFLINE_CAPTURE_H_
