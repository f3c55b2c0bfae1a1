// Child snapshot: the guest freezes, its disks are cut, it thaws, all inside PrepareSnapshot (B3). In PostSnapshot the
// copy in the set becomes that cut (B7).
#ifndef UMBRA_AGENT_WRITERS_CHILD_CAPTURE_H_
#define UMBRA_AGENT_WRITERS_CHILD_CAPTURE_H_

#include <memory>

#include "agent/providers/vm_point_in_time.h"
#include "agent/writers/vm_capture.h"

namespace umbra::writers {

class ChildCapture final : public VmCapture {
 public:
  ChildCapture(const CaptureTools& tools, CaptureRequest request);

  absl::Status Prepare(const vss::Guid& set_id) override;
  absl::Status Capture() override;
  absl::Status AfterSnapshot() override;
  CaptureFigures figures() const override { return {freeze_duration_}; }

 private:
  const CaptureTools tools_;
  const CaptureRequest request_;
  vss::Guid set_id_;
  // The guest's own snapshot, between Prepare and AfterSnapshot.
  std::unique_ptr<providers::VmPointInTime> point_;
  absl::Duration freeze_duration_;
};

}  // namespace umbra::writers

#endif  // UMBRA_AGENT_WRITERS_CHILD_CAPTURE_H_
