#include "agent/vss/requester.h"

#include <algorithm>
#include <utility>

#include "agent/vss/component_tree.h"
#include "agent/vss/restore_options.h"
#include "agent/vss/writer_state.h"
#include "storage/base/status.h"

namespace umbra::vss {
namespace {

absl::Status WrongPlace(RequesterState state, RequesterStep step) {
  return Error(Code::kBadState, "{} doesn't follow in state {}", NameOf(step), NameOf(state));
}

absl::Status Cancelled() {
  return base::Error(absl::StatusCode::kCancelled, "CANCELLED", "cancelled");
}

// The first failure among the writers that take part. `whose` is empty in volume mode: then everyone counts. A partial
// failure counts unless it is accepted; one that ended the writer's part always does.
absl::Status FirstFailure(Session& session, const std::vector<Guid>& whose, bool accept_partial) {
  const auto statuses = session.GatherWriterStatus();
  // Windows answers BAD_STATE in some places of a restore; that means "not known".
  if (!statuses.ok()) return CodeOf(statuses.status()) == Code::kBadState ? absl::OkStatus() : statuses.status();
  for (const WriterStatus& status : *statuses) {
    const bool counts =
        whose.empty() || std::find(whose.begin(), whose.end(), status.identity.writer_id) != whose.end();
    const bool partial = CodeOf(status.failure) == Code::kWriterErrorPartialFailure && !HasFailed(status.state);
    if (counts && !status.failure.ok() && !(partial && accept_partial)) return status.failure;
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
    : session_(std::move(session)), settings_(std::move(settings)) {}

BackupRequester::~BackupRequester() {
  Abort().IgnoreError();
}

absl::Status BackupRequester::Enter(RequesterStep step) {
  const auto next = NextState(state_, step);
  if (!next.has_value()) return WrongPlace(state_, step);
  if (cancelled_ && step != RequesterStep::kAbort) return Fail(Cancelled());
  state_ = *next;
  return absl::OkStatus();
}

// Copies that would outlive the session are of no use to anybody.
void BackupRequester::EndSession() {
  state_ = RequesterState::kEnded;
  session_->AbortBackup().IgnoreError();
  if ((settings_.context & kAttrNoAutoRelease) != 0) session_->DeleteSnapshots().IgnoreError();
}

// A step has failed: nothing of the backup may stay.
absl::Status BackupRequester::Fail(const absl::Status& error) {
  EndSession();
  session_->Release().IgnoreError();  // the cause is the error to be told
  return error;
}

// A writer's failure is the cause of what VSS says otherwise, so it is told first. Cancelling is nobody's failure.
absl::Status BackupRequester::CheckWriters(const absl::Status& otherwise) {
  if (absl::IsCancelled(otherwise) && cancelled_) return otherwise;
  const absl::Status failure = FirstFailure(*session_, WritersOf(chosen_), settings_.accept_partial_failure);
  return failure.ok() ? otherwise : failure;
}

void BackupRequester::Cancel() {
  cancelled_ = true;
  session_->Cancel();
}

absl::Status BackupRequester::GatherStep() {
  RETURN_IF_ERROR(session_->InitializeForBackup());
  if (settings_.context != kContextBackup) RETURN_IF_ERROR(session_->SetContext(settings_.context));
  RETURN_IF_ERROR(session_->SetBackupState(settings_.state));
  RETURN_IF_ERROR(session_->EnableWriterClasses(settings_.enabled_classes));
  RETURN_IF_ERROR(session_->DisableWriterClasses(settings_.disabled_classes));
  RETURN_IF_ERROR(session_->DisableWriterInstances(settings_.disabled_instances));
  return session_->GatherWriterMetadata();
}

absl::StatusOr<std::vector<WriterMetadata>> BackupRequester::Gather() {
  RETURN_IF_ERROR(Enter(RequesterStep::kGather));
  if (const absl::Status gathered = GatherStep(); !gathered.ok()) return Fail(gathered);
  return session_->writer_metadata();
}

absl::Status BackupRequester::SelectStep(const std::vector<ComponentChoice>& components) {
  if (components.empty() && settings_.volumes.empty() && settings_.state.select_components) {
    return base::Error(absl::StatusCode::kInvalidArgument, "INVALID_REQUEST", "no component is chosen");
  }
  for (const ComponentChoice& choice : components) {
    RETURN_IF_ERROR(session_->AddComponent(choice.id));
    if (!choice.options.empty()) RETURN_IF_ERROR(session_->SetBackupOptions(choice.id, choice.options));
    if (!choice.previous_stamp.empty()) {
      RETURN_IF_ERROR(session_->SetPreviousBackupStamp(choice.id, choice.previous_stamp));
    }
    unmarked_.push_back(choice.id);
  }
  chosen_ = components;
  return CheckSelection();
}

// What is chosen of one writer.
template <typename Choice>
std::vector<const Component*> ChosenOf(const WriterMetadata& metadata, const std::vector<Choice>& choices) {
  std::vector<const Component*> chosen;
  for (const Choice& choice : choices) {
    if (choice.id.writer_id != metadata.writer_id) continue;
    if (const Component* c = metadata.Find(choice.id.logical_path, choice.id.name)) chosen.push_back(c);
  }
  return chosen;
}

// For each instance of a writer: its metadata, and what is chosen of it.
template <typename Each>
absl::Status ForEachWriter(const Session& session, const std::vector<ComponentChoice>& choices, Each each) {
  for (const WriterMetadata& metadata : session.writer_metadata()) {
    const std::vector<const Component*> chosen = ChosenOf(metadata, choices);
    if (!chosen.empty()) RETURN_IF_ERROR(each(metadata, chosen));
  }
  return absl::OkStatus();
}

ComponentId AsId(const Dependency& dependency) {
  return {dependency.writer_id, dependency.logical_path, dependency.name};
}

// On another machine, where somebody else sees to it.
bool IsRemote(const Dependency& dependency) {
  return dependency.name.starts_with("\\\\") || dependency.logical_path.starts_with("\\\\");
}

bool Contains(const std::vector<ComponentId>& ids, const ComponentId& id) {
  return std::find(ids.begin(), ids.end(), id) != ids.end();
}

absl::Status MissingEnd(const std::string& name, const Dependency& dependency) {
  return base::Error(absl::StatusCode::kInvalidArgument, "INVALID_REQUEST",
                     "component {} depends on component {} of writer {}, which isn't chosen", name,
                     FullName(dependency.logical_path, dependency.name), dependency.writer_id.ToString());
}

absl::Status BackupRequester::CheckSelection() {
  RETURN_IF_ERROR(ForEachWriter(*session_, chosen_,
                                [](const WriterMetadata& metadata, const std::vector<const Component*>& chosen) {
                                  return ComponentTree(metadata).CheckSelection(chosen);
                                }));
  std::vector<ComponentId> included;
  for (const WriterMetadata& metadata : session_->writer_metadata()) {
    for (const Component* c : ComponentTree(metadata).Included(ChosenOf(metadata, chosen_))) {
      included.push_back({metadata.writer_id, c->logical_path, c->name});
    }
  }
  absl::Status result;
  ForEachIncluded([&](const WriterMetadata&, const Component& component) {
    for (const Dependency& d : component.dependencies) {
      if (!IsRemote(d) && !Contains(included, AsId(d))) result.Update(MissingEnd(component.name, d));
    }
  });
  return result;
}

void BackupRequester::ForEachIncluded(const std::function<void(const WriterMetadata&, const Component&)>& each) {
  ForEachWriter(*session_, chosen_, [&](const WriterMetadata& metadata, const std::vector<const Component*>& chosen) {
    for (const Component* component : ComponentTree(metadata).Included(chosen)) each(metadata, *component);
    return absl::OkStatus();
  }).IgnoreError();  // always OK
}

absl::Status BackupRequester::Select(const std::vector<ComponentChoice>& components) {
  RETURN_IF_ERROR(Enter(RequesterStep::kSelect));
  const absl::Status selected = SelectStep(components);
  return selected.ok() ? selected : Fail(selected);
}

absl::Status BackupRequester::AddVolumes() {
  std::vector<std::string> volumes = settings_.volumes;
  ForEachIncluded([&](const WriterMetadata&, const Component& component) {
    volumes.insert(volumes.end(), component.volumes.begin(), component.volumes.end());
  });
  std::sort(volumes.begin(), volumes.end());
  volumes.erase(std::unique(volumes.begin(), volumes.end()), volumes.end());
  if (volumes.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(snapshot_ids_, session_->AddVolumesToSnapshotSet(volumes));
  return absl::OkStatus();
}

absl::Status BackupRequester::PrepareStep() {
  ASSIGN_OR_RETURN(set_id_, session_->StartSnapshotSet(settings_.set_wait));
  bool needed = !settings_.skip_needless_snapshot || !settings_.volumes.empty() || chosen_.empty();
  ForEachIncluded([&](const WriterMetadata& metadata, const Component& c) {
    needed = needed || NeedsSnapshot(c, settings_.state.type, metadata.backup_schema);
  });
  without_snapshot_ = !needed;
  if (needed) RETURN_IF_ERROR(AddVolumes());
  if ((settings_.context & kAttrNoWriters) != 0) return absl::OkStatus();
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
  if (!without_snapshot_) RETURN_IF_ERROR(CheckWriters(session_->DoSnapshotSet()));
  SnapshotSet set;
  set.set_id = set_id_;
  set.failed_components = TakeFailedComponents();
  for (const Guid& snapshot_id : snapshot_ids_) {
    ASSIGN_OR_RETURN(SnapshotProperties properties, session_->GetSnapshotProperties(snapshot_id));
    set.snapshots.push_back(std::move(properties));
  }
  return set;
}

std::vector<FailedComponent> BackupRequester::TakeFailedComponents() {
  std::vector<FailedComponent> failed;
  if (!settings_.accept_partial_failure) return failed;
  for (const WriterComponents& writer : session_->components().writers) {
    for (const BackupComponent& c : writer.components) {
      if (c.failure.code == Code::kOk) continue;
      failed.push_back({{writer.writer_id, c.logical_path, c.name}, c.failure});
    }
  }
  for (const FailedComponent& f : failed) {
    session_->SetBackupSucceeded(f.id, false).IgnoreError();  // it is in the document, and the set is made
    std::erase(unmarked_, f.id);
  }
  return failed;
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
  absl::Status result;
  if ((settings_.context & kAttrNoWriters) == 0) result = CheckWriters(session_->BackupComplete());
  result.Update(session_->Release());
  return result;
}

absl::Status BackupRequester::Abort() {
  if (state_ == RequesterState::kEnded) return absl::OkStatus();
  RETURN_IF_ERROR(Enter(RequesterStep::kAbort));
  EndSession();
  return session_->Release();
}

// --- restore ---

RestoreRequester::RestoreRequester(std::unique_ptr<Session> session, BackupDocuments documents)
    : RestoreRequester(std::move(session), std::move(documents), RestoreType::kByCopy) {}

RestoreRequester::RestoreRequester(std::unique_ptr<Session> session, BackupDocuments documents, RestoreType type)
    : session_(std::move(session)), documents_(std::move(documents)), type_(type) {}

RestoreRequester::~RestoreRequester() {
  Abort().IgnoreError();
}

// Whoever is cancelled cleans up as after Abort; what PostRestore itself does is that already.
absl::Status RestoreRequester::Enter(RequesterStep step) {
  const auto next = NextState(state_, step);
  if (!next.has_value()) return WrongPlace(state_, step);
  if (cancelled_ && step != RequesterStep::kAbort && step != RequesterStep::kPostRestore) {
    Abort().IgnoreError();
    return Cancelled();
  }
  state_ = *next;
  return absl::OkStatus();
}

void RestoreRequester::Cancel() {
  cancelled_ = true;
  session_->Cancel();
}

absl::Status RestoreRequester::Fail(const absl::Status& error) {
  state_ = RequesterState::kEnded;
  session_->Release().IgnoreError();
  return error;
}

absl::Status RestoreRequester::CheckWriters() {
  return FirstFailure(*session_, WritersOf(chosen_), false);
}

absl::Status RestoreRequester::GatherStep() {
  // Planned with the saved documents, not with what the writers say now.
  for (const std::string& xml : documents_.writer_metadata) {
    ASSIGN_OR_RETURN(WriterMetadata metadata, ParseWriterMetadata(xml));
    saved_metadata_.push_back(std::move(metadata));
  }
  RETURN_IF_ERROR(session_->InitializeForRestore(documents_.backup_components));
  RETURN_IF_ERROR(session_->SetRestoreState(type_));
  return session_->GatherWriterMetadata();
}

absl::Status RestoreRequester::Gather() {
  RETURN_IF_ERROR(Enter(RequesterStep::kGather));
  const absl::Status gathered = GatherStep();
  return gathered.ok() ? gathered : Fail(gathered);
}

// Whether they may be restored alone is said by the saved metadata.
absl::Status RestoreRequester::SelectSubcomponents(const RestoreChoice& choice) {
  for (const std::string& name : choice.subcomponents) {
    for (const WriterMetadata& metadata : saved_metadata_) {
      const Component* explicit_one = metadata.Find(choice.id.logical_path, choice.id.name);
      if (metadata.writer_id != choice.id.writer_id || explicit_one == nullptr) continue;
      const ComponentTree tree(metadata);
      const Component* wanted = tree.Find(name);
      if (wanted == nullptr) return Error(Code::kObjectNotFound, "there is no component {}", name);
      RETURN_IF_ERROR(tree.SelectForRestore(*wanted, {explicit_one}).status());
    }
    RETURN_IF_ERROR(session_->AddRestoreSubcomponent(choice.id, name));
  }
  return absl::OkStatus();
}

const WriterMetadata* RestoreRequester::SavedMetadataOf(const ComponentId& id) const {
  for (const WriterMetadata& metadata : saved_metadata_) {
    if (metadata.writer_id == id.writer_id && metadata.Find(id.logical_path, id.name) != nullptr) return &metadata;
  }
  return nullptr;
}

absl::Status RestoreRequester::ReadOptions(RestoreChoice& choice) const {
  if (!IsRestoreOptionList(choice.options)) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::vector<RestoreOption> options, ParseRestoreOptionList(choice.options));
  const std::string whole = FullName(choice.id.logical_path, choice.id.name);
  for (const RestoreOption& option : options) {
    const std::string& sub = option.subcomponent;
    if (!sub.empty() && sub != choice.id.name && sub != whole) {
      const WriterMetadata* metadata = SavedMetadataOf(choice.id);
      const Component* below = metadata == nullptr ? nullptr : ComponentTree(*metadata).Find(sub);
      if (below != nullptr && IsAncestor(whole, below->logical_path)) continue;  // the writer's own business
      return Error(Code::kObjectNotFound, "restore option \"{}\": there is no component {} below {}", option.name, sub,
                   whole);
    }
    if (option.name == kOptionNewComponentName) choice.restore_name = option.value;
    if (option.name == kOptionAuthoritative) {
      ASSIGN_OR_RETURN(choice.authoritative, ParseRestoreSwitch(option));
    }
    if (option.name != kOptionRollForward) continue;
    choice.roll_forward = {RollForwardType::kPartial, option.value};
    if (option.value == "All") choice.roll_forward = {RollForwardType::kAll, ""};
    if (option.value == "None") choice.roll_forward = {RollForwardType::kNone, ""};
  }
  return absl::OkStatus();
}

// A component that the backup doesn't hold can't be restored with it: the writers were asked then.
absl::Status RestoreRequester::CheckDependencies(const std::vector<RestoreChoice>& components) const {
  std::vector<ComponentId> included;
  for (const WriterMetadata& metadata : saved_metadata_) {
    for (const Component* c : ComponentTree(metadata).Included(ChosenOf(metadata, components))) {
      included.push_back({metadata.writer_id, c->logical_path, c->name});
    }
  }
  for (const ComponentId& id : included) {
    for (const Dependency& d : SavedMetadataOf(id)->Find(id.logical_path, id.name)->dependencies) {
      if (IsRemote(d) || Contains(included, AsId(d)) || SavedMetadataOf(AsId(d)) == nullptr) continue;
      return MissingEnd(id.name, d);
    }
  }
  return absl::OkStatus();
}

absl::Status RestoreRequester::SelectOne(const RestoreChoice& choice) {
  const ComponentId& id = choice.id;
  if (choice.target_instance.is_null() && choice.target_instance_name.empty()) {
    RETURN_IF_ERROR(session_->SetSelectedForRestore(id));
  } else {
    RETURN_IF_ERROR(session_->SetSelectedForRestoreInto(id, choice.target_instance, choice.target_instance_name));
  }
  RETURN_IF_ERROR(SelectSubcomponents(choice));
  if (!choice.options.empty()) RETURN_IF_ERROR(session_->SetRestoreOptions(id, choice.options));
  for (const NewTarget& target : choice.new_targets) RETURN_IF_ERROR(session_->AddNewTarget(id, target));
  if (choice.additional_restores) RETURN_IF_ERROR(session_->SetAdditionalRestores(id, true));
  if (!choice.restore_name.empty()) RETURN_IF_ERROR(session_->SetRestoreName(id, choice.restore_name));
  if (choice.authoritative) RETURN_IF_ERROR(session_->SetAuthoritativeRestore(id, true));
  if (choice.roll_forward != RollForward()) RETURN_IF_ERROR(session_->SetRollForward(id, choice.roll_forward));
  return absl::OkStatus();
}

absl::Status RestoreRequester::SelectStep(const std::vector<RestoreChoice>& components) {
  if (components.empty()) {
    return base::Error(absl::StatusCode::kInvalidArgument, "INVALID_REQUEST", "no component is chosen");
  }
  RETURN_IF_ERROR(CheckDependencies(components));
  for (RestoreChoice choice : components) {
    RETURN_IF_ERROR(ReadOptions(choice));
    RETURN_IF_ERROR(SelectOne(choice));
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
  if (prepared.ok() && cancelled_) prepared = Cancelled();
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

absl::Status RestoreRequester::AddAlternativeLocationMapping(const ComponentId& component, const FileMapping& mapping) {
  RETURN_IF_ERROR(Enter(RequesterStep::kSetFileRestoreStatus));
  return session_->AddAlternativeLocationMapping(component, mapping);
}

absl::Status RestoreRequester::SetRangesFilePath(const ComponentId& component, size_t index, const std::string& path) {
  RETURN_IF_ERROR(Enter(RequesterStep::kSetFileRestoreStatus));
  return session_->SetRangesFilePath(component, index, path);
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
