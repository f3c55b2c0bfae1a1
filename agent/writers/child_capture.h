// Child snapshot: the guest runs its whole backup, freezes, is cut and thaws, all inside PrepareSnapshot (B3). In
// PostSnapshot the copy in the set becomes that cut (B7). The guest's BackupComplete and BackupShutdown come with the
// host's own.
#ifndef UMBRA_AGENT_WRITERS_CHILD_CAPTURE_H_
#define UMBRA_AGENT_WRITERS_CHILD_CAPTURE_H_

#include <memory>
#include <vector>

#include "agent/guest/child_backup.h"
#include "agent/writers/vm_capture.h"

namespace umbra::writers {

class ChildCapture final : public VmCapture {
 public:
  ChildCapture(const CaptureTools& tools, CaptureRequest request);
  ~ChildCapture() override;

  absl::Status Prepare(const vss::Guid& set_id) override;
  absl::Status Capture() override;
  absl::Status AfterSnapshot() override;
  absl::Status Complete(bool succeeded) override;
  CaptureFigures figures() const override;

 private:
  absl::Status Told(const absl::Status& result);
  void LogWriters();

  const CaptureTools tools_;
  const CaptureRequest request_;
  vss::Guid set_id_;
  std::unique_ptr<guest::ChildBackup> backup_;  // from Prepare on
  std::vector<size_t> logged_;                  // events of each writer that the log has
};

}  // namespace umbra::writers

#endif  // UMBRA_AGENT_WRITERS_CHILD_CAPTURE_H_
