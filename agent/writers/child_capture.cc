#include "agent/writers/child_capture.h"

#include <utility>

#include "storage/base/log.h"
#include "storage/base/status.h"

namespace umbra::writers {

ChildCapture::ChildCapture(const CaptureTools& tools, CaptureRequest request)
    : tools_(tools), request_(std::move(request)) {}

ChildCapture::~ChildCapture() {
  if (backup_ == nullptr) return;
  const absl::Status closed = backup_->Close();
  LogWriters();
  if (!closed.ok()) {
    base::Log("writers")->error("guest backup not ended cleanly vm={} error=\"{}\"", request_.vm.uuid,
                                base::Describe(closed));
  }
}

// Once per writer and call: the events that are new.
void ChildCapture::LogWriters() {
  const std::vector<guest::ChildWriter> writers = backup_->Writers();
  logged_.resize(writers.size());
  for (size_t i = 0; i < writers.size(); ++i) {
    const guest::ChildWriter& writer = writers[i];
    if (logged_[i] == writer.events.size()) continue;
    const std::vector<guest::ChildEvent> fresh(writer.events.begin() + static_cast<ptrdiff_t>(logged_[i]),
                                               writer.events.end());
    logged_[i] = writer.events.size();
    base::Log("writers")->info("guest writer vm={} writer=\"{}\" state={} events=\"{}\"", request_.vm.uuid, writer.name,
                               vss::NameOf(writer.state), guest::Describe(fresh));
  }
}

// Logs a failure once, and what the guest's writers had to say.
absl::Status ChildCapture::Told(const absl::Status& result) {
  if (result.ok()) return result;
  LogWriters();
  base::Log("writers")->warn("guest snapshot failed vm={} error=\"{}\"", request_.vm.uuid, base::Describe(result));
  return result;
}

absl::Status ChildCapture::Prepare(const vss::Guid& set_id) {
  set_id_ = set_id;
  std::vector<std::unique_ptr<vss::Writer>> writers;
  if (tools_.guest_writers != nullptr) {
    ASSIGN_OR_RETURN(writers, tools_.guest_writers->WritersOf(request_.vm.uuid));
  }
  guest::ChildBackupRequest request;
  request.point = {request_.vm.uuid, request_.options, /*freeze=*/true};
  request.filesystems = request_.filesystems;
  request.freeze = request_.freeze;
  backup_ =
      std::make_unique<guest::ChildBackup>(tools_.point_in_time, tools_.random, std::move(writers), std::move(request));
  return Told(backup_->Prepare());
}

absl::Status ChildCapture::Capture() {
  RETURN_IF_ERROR(Told(backup_->Take()));
  base::Log("writers")->info("guest snapshot taken vm={} frozen_ms={}", request_.vm.uuid,
                             absl::ToInt64Milliseconds(backup_->freeze_duration()));
  LogWriters();
  return absl::OkStatus();
}

absl::Status ChildCapture::AfterSnapshot() {
  return base::Annotate(tools_.provider.Revert(set_id_, backup_->TakePoint()),
                        "revert the copy to the guest's snapshot");
}

absl::Status ChildCapture::Complete(bool succeeded) {
  return base::Annotate(backup_->Complete(succeeded), "after the backup, in the guest");
}

CaptureFigures ChildCapture::figures() const {
  return {backup_->freeze_duration(), absl::ZeroDuration(), backup_->documents(), backup_->WriterStatuses()};
}

}  // namespace umbra::writers
