#include "agent/writers/saved_state_capture.h"

#include <algorithm>
#include <utility>

#include "agent/journal/crash_points.h"
#include "storage/base/crash_point.h"
#include "storage/base/log.h"
#include "storage/base/status.h"

namespace umbra::writers {
namespace {

// The guest waits, so the hypervisor is asked again soon.
constexpr absl::Duration kResumeFirstWait = absl::Milliseconds(50);
constexpr absl::Duration kResumeLongestWait = absl::Seconds(2);

// Off or gone: there is nothing to go on with.
bool NothingToResume(const absl::Status& status) {
  return absl::IsNotFound(status) || base::ReasonOf(status) == "GUEST_NOT_RUNNING";
}

}  // namespace

SavedStateCapture::SavedStateCapture(const CaptureTools& tools, CaptureRequest request)
    : tools_(tools),
      request_(std::move(request)),
      intent_{journal::IntentKind::kSave, request_.vm.uuid, request_.options.owner_tag, request_.options.scratch_folder,
              request_.vm.state == hypervisor::VmState::kRunning} {}

SavedStateCapture::~SavedStateCapture() {
  absl::Status back = Return();
  if (!saved_.path.empty()) {
    const absl::Status removed = tools_.filesystem.Remove(saved_.path);
    if (!absl::IsNotFound(removed)) back.Update(removed);
    // With a power cut it must not come back when its intent has gone.
    if (removed.ok()) back.Update(tools_.filesystem.SyncDirectory(request_.options.scratch_folder));
  }
  if (!recorded_) return;
  base::CrashPoint(journal::kCrashStateRemoved);
  if (back.ok()) back = tools_.point_in_time.journal.Remove(intent_);
  if (back.ok()) return;
  base::Log("writers")->error("left to healing vm={} error=\"{}\"", request_.vm.uuid, base::Describe(back));
  tools_.point_in_time.journal.Abandon(intent_);
}

hypervisor::SaveOptions SavedStateCapture::save_options() const {
  return {request_.options.scratch_folder, request_.options.owner_tag};
}

absl::Status SavedStateCapture::Prepare(const vss::Guid& set_id) {
  RETURN_IF_ERROR(tools_.point_in_time.hypervisor.CheckCanSave(request_.vm.uuid, save_options()));
  providers::VmPointInTimeRequest request;
  request.vm_uuid = request_.vm.uuid;
  request.options = request_.options;
  ASSIGN_OR_RETURN(auto point, providers::VmPointInTime::Prepare(tools_.point_in_time, request));
  RETURN_IF_ERROR(tools_.provider.TakeAtCommit(set_id, std::move(point)));
  RETURN_IF_ERROR(tools_.point_in_time.journal.Record(intent_));
  recorded_ = true;
  base::CrashPoint(journal::kCrashSaveRecorded);
  return absl::OkStatus();
}

absl::Status SavedStateCapture::Capture() {
  const auto log = base::Log("writers");
  absl::StatusOr<hypervisor::SavedState> saved =
      tools_.point_in_time.hypervisor.SaveState(request_.vm.uuid, save_options());
  if (!saved.ok()) {
    log->warn("not saved vm={} error=\"{}\"", request_.vm.uuid, base::Describe(saved.status()));
    return saved.status();
  }
  base::CrashPoint(journal::kCrashSaved);
  saved_ = *std::move(saved);
  held_ = saved_.was_running;
  log->info("saved vm={} was_running={} state_bytes={}", request_.vm.uuid, saved_.was_running, saved_.size_bytes);
  return absl::OkStatus();
}

absl::Status SavedStateCapture::ResumeWithPatience() {
  base::Clock& clock = tools_.point_in_time.clock;
  const absl::Duration deadline = clock.Monotonic() + request_.resume_patience;
  absl::Duration wait = kResumeFirstWait;
  while (true) {
    const absl::Status resumed = tools_.point_in_time.hypervisor.Resume(request_.vm.uuid);
    if (resumed.ok() || NothingToResume(resumed)) return resumed;
    if (clock.Monotonic() + wait > deadline) return base::Annotate(resumed, "the virtual machine still stands still");
    clock.Sleep(wait);
    wait = std::min(wait * 2, kResumeLongestWait);
  }
}

absl::Status SavedStateCapture::Return() {
  if (!held_) return absl::OkStatus();
  const absl::Status resumed = ResumeWithPatience();
  downtime_ = tools_.point_in_time.clock.Monotonic() - saved_.stopped_at;
  const auto log = base::Log("writers");
  if (!resumed.ok() && !NothingToResume(resumed)) return resumed;
  held_ = false;
  base::CrashPoint(journal::kCrashReturned);
  if (!resumed.ok()) {
    log->warn("stopped while it was saved vm={} error=\"{}\"", request_.vm.uuid, base::Describe(resumed));
    return absl::OkStatus();
  }
  log->info("runs again vm={} downtime_ms={}", request_.vm.uuid, absl::ToInt64Milliseconds(downtime_));
  // From here on somebody who pauses it means it.
  intent_.resume = false;
  return tools_.point_in_time.journal.Record(intent_);
}

absl::Status SavedStateCapture::AfterSnapshot() {
  return Return();
}

}  // namespace umbra::writers
