#include "tests/sim/faulty.h"

#include <algorithm>
#include <stdexcept>

#include "storage/base/status.h"

namespace umbra::sim {
namespace {

// Whoever undoes may be late or end with an error, but has done it: otherwise nothing could ever be promised.
bool MustWork(vss::WriterEvent event) {
  return event == vss::WriterEvent::kAbort || event == vss::WriterEvent::kBackupShutdown;
}

bool MustWork(std::string_view provider_call) {
  return provider_call == "AbortSnapshots" || provider_call == "DeleteSnapshots";
}

absl::Status GoWrong(FaultKind kind, absl::Duration duration, bool must_work, base::Clock& clock,
                     const std::function<absl::Status()>& work) {
  if (kind == FaultKind::kDelay || kind == FaultKind::kHang) clock.Sleep(duration);
  absl::Status done;
  if (must_work || (kind != FaultKind::kVetoBefore && kind != FaultKind::kThrow)) done = work();
  if (kind == FaultKind::kThrow) throw std::runtime_error("thrown by the simulation");
  if (kind == FaultKind::kVetoBefore || kind == FaultKind::kVetoAfter) {
    done.Update(absl::AbortedError("a veto of the simulation"));
  }
  return done;
}

}  // namespace

absl::Status FaultyWriter::Event(vss::WriterEvent event, const std::function<absl::Status()>& handle) {
  const auto fault = std::find_if(faults_.writers.begin(), faults_.writers.end(),
                                  [&](const WriterFault& f) { return f.writer == number_ && f.event == event; });
  run_.Trace("writer {} {}", number_, vss::NameOf(event));
  if (fault == faults_.writers.end()) return handle();
  const WriterFault now = *fault;
  faults_.writers.erase(fault);
  run_.probes.Hit("writer fault", vss::NameOf(event));
  run_.probes.Hit("writer fault kind", NameOf(now.kind));
  run_.Trace("writer {} goes wrong at {}: {}", number_, vss::NameOf(event), NameOf(now.kind));
  const bool late = now.kind == FaultKind::kDelay || now.kind == FaultKind::kHang;
  if (app_ != nullptr && late) app_->Excuse(now.duration);
  return GoWrong(now.kind, now.duration, MustWork(event), clock_, handle);
}

absl::StatusOr<vss::WriterMetadata> FaultyWriter::OnIdentify(const vss::EventContext& context) {
  vss::WriterMetadata metadata;
  RETURN_IF_ERROR(Event(vss::WriterEvent::kIdentify, [&]() -> absl::Status {
    ASSIGN_OR_RETURN(metadata, real_.OnIdentify(context));
    return absl::OkStatus();
  }));
  return metadata;
}

absl::Status FaultyWriter::OnPrepareBackup(vss::EventContext& c) {
  return Event(vss::WriterEvent::kPrepareBackup, [&] { return real_.OnPrepareBackup(c); });
}

absl::Status FaultyWriter::OnPrepareSnapshot(vss::EventContext& c) {
  return Event(vss::WriterEvent::kPrepareSnapshot, [&] { return real_.OnPrepareSnapshot(c); });
}

absl::Status FaultyWriter::OnFreeze(vss::EventContext& c) {
  return Event(vss::WriterEvent::kFreeze, [&] { return real_.OnFreeze(c); });
}

absl::Status FaultyWriter::OnThaw(vss::EventContext& c) {
  return Event(vss::WriterEvent::kThaw, [&] { return real_.OnThaw(c); });
}

absl::Status FaultyWriter::OnPostSnapshot(vss::EventContext& c) {
  return Event(vss::WriterEvent::kPostSnapshot, [&] { return real_.OnPostSnapshot(c); });
}

absl::Status FaultyWriter::OnBackupComplete(vss::EventContext& c) {
  return Event(vss::WriterEvent::kBackupComplete, [&] { return real_.OnBackupComplete(c); });
}

absl::Status FaultyWriter::OnBackupShutdown(vss::EventContext& c) {
  return Event(vss::WriterEvent::kBackupShutdown, [&] { return real_.OnBackupShutdown(c); });
}

absl::Status FaultyWriter::OnAbort(vss::EventContext& c) {
  return Event(vss::WriterEvent::kAbort, [&] { return real_.OnAbort(c); });
}

absl::Status FaultyProvider::Phase(std::string_view call, const std::function<absl::Status()>& work) {
  const auto fault = std::find_if(faults_.providers.begin(), faults_.providers.end(),
                                  [&](const ProviderFault& f) { return f.provider == number_ && f.call == call; });
  run_.Trace("provider {} {}", number_, call);
  if (fault == faults_.providers.end()) return work();
  const ProviderFault now = *fault;
  faults_.providers.erase(fault);
  run_.probes.Hit("provider fault", call);
  run_.probes.Hit("provider fault kind", NameOf(now.kind));
  run_.Trace("provider {} goes wrong at {}: {}", number_, call, NameOf(now.kind));
  return GoWrong(now.kind, now.duration, MustWork(call), clock_, work);
}

absl::StatusOr<bool> FaultyProvider::IsVolumeSupported(const std::string& volume, uint32_t context) {
  bool supported = false;
  const auto ask = [&]() -> absl::Status {
    ASSIGN_OR_RETURN(supported, real_.IsVolumeSupported(volume, context));
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(Phase("IsVolumeSupported", ask));
  return supported;
}

absl::Status FaultyProvider::BeginPrepareSnapshot(const vss::SnapshotRequest& request) {
  return Phase("BeginPrepareSnapshot", [&] { return real_.BeginPrepareSnapshot(request); });
}

absl::Status FaultyProvider::EndPrepareSnapshots(const vss::Guid& set_id) {
  return Phase("EndPrepareSnapshots", [&] { return real_.EndPrepareSnapshots(set_id); });
}

absl::Status FaultyProvider::PreCommitSnapshots(const vss::Guid& set_id) {
  return Phase("PreCommitSnapshots", [&] { return real_.PreCommitSnapshots(set_id); });
}

absl::Status FaultyProvider::CommitSnapshots(const vss::Guid& set_id) {
  return Phase("CommitSnapshots", [&] { return real_.CommitSnapshots(set_id); });
}

absl::Status FaultyProvider::PostCommitSnapshots(const vss::Guid& set_id, int count) {
  return Phase("PostCommitSnapshots", [&] { return real_.PostCommitSnapshots(set_id, count); });
}

absl::Status FaultyProvider::PreFinalCommitSnapshots(const vss::Guid& set_id) {
  return Phase("PreFinalCommitSnapshots", [&] { return real_.PreFinalCommitSnapshots(set_id); });
}

absl::Status FaultyProvider::PostFinalCommitSnapshots(const vss::Guid& set_id) {
  return Phase("PostFinalCommitSnapshots", [&] { return real_.PostFinalCommitSnapshots(set_id); });
}

absl::Status FaultyProvider::AbortSnapshots(const vss::Guid& set_id) {
  return Phase("AbortSnapshots", [&] { return real_.AbortSnapshots(set_id); });
}

absl::Status FaultyProvider::DeleteSnapshots(const vss::Guid& set_id) {
  return Phase("DeleteSnapshots", [&] { return real_.DeleteSnapshots(set_id); });
}

}  // namespace umbra::sim
