#include "agent/vss/requester.h"

#include <algorithm>
#include <utility>

#include "storage/base/status.h"

namespace umbra::vss {
namespace {

absl::Status WrongPlace(RequesterState state, RequesterStep step) {
  return Error(Code::kBadState, "{} doesn't follow in state {}", NameOf(step), NameOf(state));
}

// The first failure among the writers that take part. `whose` is empty in volume mode: then everyone counts.
absl::Status FirstFailure(Session& session, const std::vector<Guid>& whose) {
  const auto statuses = session.GatherWriterStatus();
  // Windows answers BAD_STATE in some places of a restore; that means "not known".
  if (!statuses.ok()) return CodeOf(statuses.status()) == Code::kBadState ? absl::OkStatus() : statuses.status();
  for (const WriterStatus& status : *statuses) {
    const bool counts =
        whose.empty() || std::find(whose.begin(), whose.end(), status.identity.writer_id) != whose.end();
    if (counts && !status.failure.ok()) return status.failure;
  }
  return absl::OkStatus();
}

template <typename Choices>
std::vector<Guid> WritersOf(const Choices& choices) {
  std::vector<Guid> ids;
  for (const auto& choice : choices) ids.push_back(choice.id.writer_id);
  return ids;
}

}  // namespace

// --- backup ---

BackupRequester::BackupRequester(std::unique_ptr<Session> session, BackupSettings settings)
    : session_(std::move(session)), settings_(settings) {}

BackupRequester::~BackupRequester() {
  Abort().IgnoreError();
}

absl::Status BackupRequester::Enter(RequesterStep step) {
  const auto next = NextState(state_, step);
  if (!next.has_value()) return WrongPlace(state_, step);
  state_ = *next;
  return absl::OkStatus();
}

// A step has failed: nothing of the backup may stay.
absl::Status BackupRequester::Fail(const absl::Status& error) {
  state_ = RequesterState::kEnded;
  session_->AbortBackup().IgnoreError();
  session_->Release().IgnoreError();  // the cause is the error to be told
  return error;
}

// A writer's failure is the cause of what VSS says otherwise, so it is told first.
absl::Status BackupRequester::CheckWriters(const absl::Status& otherwise) {
  const absl::Status failure = FirstFailure(*session_, WritersOf(chosen_));
  return failure.ok() ? otherwise : failure;
}

absl::Status BackupRequester::GatherStep() {
  RETURN_IF_ERROR(session_->InitializeForBackup());
  if (settings_.context != kContextBackup) RETURN_IF_ERROR(session_->SetContext(settings_.context));
  RETURN_IF_ERROR(session_->SetBackupState(settings_.state));
  return session_->GatherWriterMetadata();
}

absl::StatusOr<std::vector<WriterMetadata>> BackupRequester::Gather() {
  RETURN_IF_ERROR(Enter(RequesterStep::kGather));
  if (const absl::Status gathered = GatherStep(); !gathered.ok()) return Fail(gathered);
  return session_->writer_metadata();
}

absl::Status BackupRequester::SelectStep(const std::vector<ComponentChoice>& components) {
  if (components.empty() && settings_.state.select_components) {
    return base::Error(absl::StatusCode::kInvalidArgument, "INVALID_REQUEST", "no component is chosen");
  }
  for (const ComponentChoice& choice : components) {
    RETURN_IF_ERROR(session_->AddComponent(choice.id));
    if (!choice.options.empty()) RETURN_IF_ERROR(session_->SetBackupOptions(choice.id, choice.options));
    unmarked_.push_back(choice.id);
  }
  chosen_ = components;
  return absl::OkStatus();
}

absl::Status BackupRequester::Select(const std::vector<ComponentChoice>& components) {
  RETURN_IF_ERROR(Enter(RequesterStep::kSelect));
  const absl::Status selected = SelectStep(components);
  return selected.ok() ? selected : Fail(selected);
}

absl::Status BackupRequester::PrepareStep() {
  ASSIGN_OR_RETURN(set_id_, session_->StartSnapshotSet());
  std::vector<std::string> volumes;
  for (const WriterMetadata& metadata : session_->writer_metadata()) {
    for (const ComponentChoice& choice : chosen_) {
      if (choice.id.writer_id != metadata.writer_id) continue;
      const Component* component = metadata.Find(choice.id.logical_path, choice.id.name);
      if (component != nullptr) volumes.insert(volumes.end(), component->volumes.begin(), component->volumes.end());
    }
  }
  std::sort(volumes.begin(), volumes.end());
  volumes.erase(std::unique(volumes.begin(), volumes.end()), volumes.end());
  for (const std::string& volume : volumes) {
    ASSIGN_OR_RETURN(const Guid snapshot_id, session_->AddToSnapshotSet(volume, Guid()));
    snapshot_ids_.push_back(snapshot_id);
  }
  return CheckWriters(session_->PrepareForBackup());
}

absl::Status BackupRequester::Prepare() {
  const RequesterState before = state_;
  RETURN_IF_ERROR(Enter(RequesterStep::kPrepare));
  const absl::Status prepared = PrepareStep();
  if (prepared.ok()) return prepared;
  if (CodeOf(prepared) == Code::kSnapshotSetInProgress) {
    state_ = before;  // nothing was begun: the step may be tried again
    return prepared;
  }
  return Fail(prepared);
}

absl::StatusOr<SnapshotSet> BackupRequester::SnapshotStep() {
  RETURN_IF_ERROR(CheckWriters(session_->DoSnapshotSet()));
  SnapshotSet set;
  set.set_id = set_id_;
  for (const Guid& snapshot_id : snapshot_ids_) {
    ASSIGN_OR_RETURN(SnapshotProperties properties, session_->GetSnapshotProperties(snapshot_id));
    set.snapshots.push_back(std::move(properties));
  }
  return set;
}

absl::StatusOr<SnapshotSet> BackupRequester::Snapshot() {
  RETURN_IF_ERROR(Enter(RequesterStep::kSnapshot));
  absl::StatusOr<SnapshotSet> set = SnapshotStep();
  if (!set.ok()) return Fail(set.status());
  return set;
}

absl::Status BackupRequester::SetBackupSucceeded(const ComponentId& component, bool succeeded) {
  RETURN_IF_ERROR(Enter(RequesterStep::kSetBackupSucceeded));
  RETURN_IF_ERROR(session_->SetBackupSucceeded(component, succeeded));
  std::erase(unmarked_, component);
  return absl::OkStatus();
}

absl::StatusOr<BackupDocuments> BackupRequester::Documents() {
  RETURN_IF_ERROR(Enter(RequesterStep::kDocuments));
  BackupDocuments documents;
  const std::vector<Guid> whose = WritersOf(chosen_);
  for (const WriterMetadata& metadata : session_->writer_metadata()) {
    if (!whose.empty() && std::find(whose.begin(), whose.end(), metadata.writer_id) == whose.end()) continue;
    documents.writer_metadata.push_back(PrintWriterMetadata(metadata));
  }
  ASSIGN_OR_RETURN(documents.backup_components, session_->SaveAsXml());
  return documents;
}

absl::Status BackupRequester::Complete() {
  if (NextState(state_, RequesterStep::kComplete).has_value() && !unmarked_.empty()) {
    return Error(Code::kBadState, "component {} is marked neither as succeeded nor as failed", unmarked_.front().name);
  }
  RETURN_IF_ERROR(Enter(RequesterStep::kComplete));
  absl::Status result = CheckWriters(session_->BackupComplete());
  result.Update(session_->Release());
  return result;
}

absl::Status BackupRequester::Abort() {
  if (state_ == RequesterState::kEnded) return absl::OkStatus();
  RETURN_IF_ERROR(Enter(RequesterStep::kAbort));
  absl::Status result = session_->AbortBackup();
  result.Update(session_->Release());
  return result;
}

// --- restore ---

RestoreRequester::RestoreRequester(std::unique_ptr<Session> session, BackupDocuments documents)
    : session_(std::move(session)), documents_(std::move(documents)) {}

RestoreRequester::~RestoreRequester() {
  Abort().IgnoreError();
}

absl::Status RestoreRequester::Enter(RequesterStep step) {
  const auto next = NextState(state_, step);
  if (!next.has_value()) return WrongPlace(state_, step);
  state_ = *next;
  return absl::OkStatus();
}

absl::Status RestoreRequester::Fail(const absl::Status& error) {
  state_ = RequesterState::kEnded;
  session_->Release().IgnoreError();
  return error;
}

absl::Status RestoreRequester::CheckWriters() {
  return FirstFailure(*session_, WritersOf(chosen_));
}

absl::Status RestoreRequester::GatherStep() {
  // Planned with the saved documents, not with what the writers say now.
  for (const std::string& xml : documents_.writer_metadata) RETURN_IF_ERROR(ParseWriterMetadata(xml).status());
  RETURN_IF_ERROR(session_->InitializeForRestore(documents_.backup_components));
  return session_->GatherWriterMetadata();
}

absl::Status RestoreRequester::Gather() {
  RETURN_IF_ERROR(Enter(RequesterStep::kGather));
  const absl::Status gathered = GatherStep();
  return gathered.ok() ? gathered : Fail(gathered);
}

absl::Status RestoreRequester::SelectStep(const std::vector<RestoreChoice>& components) {
  if (components.empty()) {
    return base::Error(absl::StatusCode::kInvalidArgument, "INVALID_REQUEST", "no component is chosen");
  }
  for (const RestoreChoice& choice : components) {
    RETURN_IF_ERROR(session_->SetSelectedForRestore(choice.id));
    if (!choice.options.empty()) RETURN_IF_ERROR(session_->SetRestoreOptions(choice.id, choice.options));
    for (const NewTarget& target : choice.new_targets) RETURN_IF_ERROR(session_->AddNewTarget(choice.id, target));
    without_status_.push_back(choice.id);
  }
  chosen_ = components;
  return absl::OkStatus();
}

absl::Status RestoreRequester::Select(const std::vector<RestoreChoice>& components) {
  RETURN_IF_ERROR(Enter(RequesterStep::kSelect));
  const absl::Status selected = SelectStep(components);
  return selected.ok() ? selected : Fail(selected);
}

absl::Status RestoreRequester::PreRestore() {
  RETURN_IF_ERROR(Enter(RequesterStep::kPreRestore));
  absl::Status prepared = session_->PreRestore();
  if (prepared.ok()) prepared = CheckWriters();
  if (prepared.ok()) return prepared;
  Abort().IgnoreError();  // the writers that did their part clean up
  return prepared;
}

absl::Status RestoreRequester::SetFileRestoreStatus(const ComponentId& component, FileRestoreStatus status) {
  RETURN_IF_ERROR(Enter(RequesterStep::kSetFileRestoreStatus));
  RETURN_IF_ERROR(session_->SetFileRestoreStatus(component, status));
  std::erase(without_status_, component);
  return absl::OkStatus();
}

absl::Status RestoreRequester::PostRestore() {
  RETURN_IF_ERROR(Enter(RequesterStep::kPostRestore));
  absl::Status result = session_->PostRestore();
  if (result.ok()) result = CheckWriters();
  session_->Release().IgnoreError();  // a restore holds no snapshot: nothing can fail
  return result;
}

absl::Status RestoreRequester::Abort() {
  const RequesterState before = state_;
  if (before == RequesterState::kEnded) return absl::OkStatus();
  RETURN_IF_ERROR(Enter(RequesterStep::kAbort));
  if (before == RequesterState::kPreRestored) {
    for (const ComponentId& component : without_status_) {
      session_->SetFileRestoreStatus(component, FileRestoreStatus::kFailed).IgnoreError();
    }
    session_->PostRestore().IgnoreError();  // their answer is "not restored", which the caller knows
  }
  return session_->Release();
}

}  // namespace umbra::vss
