// Saved state (B2): the virtual machine is stopped and its memory written to a file in PrepareSnapshot, the provider cuts
// its disks in CommitSnapshots while it stands still, and in PostSnapshot it goes back to exactly what it was before (B6).
// Disks are read afterwards, from the cut, while it runs. The file is there until the capture ends.
//
// Everything that could fail or take long without the virtual machine having to stand still for it is done in Prepare.
#ifndef UMBRA_AGENT_WRITERS_SAVED_STATE_CAPTURE_H_
#define UMBRA_AGENT_WRITERS_SAVED_STATE_CAPTURE_H_

#include "agent/journal/intent_journal.h"
#include "agent/writers/vm_capture.h"

namespace umbra::writers {

class SavedStateCapture final : public VmCapture {
 public:
  SavedStateCapture(const CaptureTools& tools, CaptureRequest request);
  // When the virtual machine can't be let go on, the journal's intent stays for healing.
  ~SavedStateCapture() override;

  absl::Status Prepare(const vss::Guid& set_id) override;
  absl::Status Capture() override;
  absl::Status AfterSnapshot() override;
  CaptureFigures figures() const override { return {absl::ZeroDuration(), downtime_, {}}; }
  CapturedState state() const override { return {saved_.path, saved_.size_bytes}; }
  bool stops_the_guest() const override { return true; }

 private:
  hypervisor::SaveOptions save_options() const;
  absl::Status Return();
  absl::Status ResumeWithPatience();

  const CaptureTools tools_;
  const CaptureRequest request_;
  journal::Intent intent_;
  bool recorded_ = false;  // the intent is in the journal
  bool held_ = false;      // it ran, and stands still because of us
  hypervisor::SavedState saved_;
  absl::Duration downtime_;
};

}  // namespace umbra::writers

#endif  // UMBRA_AGENT_WRITERS_SAVED_STATE_CAPTURE_H_
