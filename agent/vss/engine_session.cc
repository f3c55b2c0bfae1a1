#include "agent/vss/engine_session.h"

#include <algorithm>
#include <utility>

#include "agent/vss/component_tree.h"
#include "storage/base/status.h"

namespace umbra::vss {
namespace {

// Bits that a requester may set in a context.
constexpr uint32_t kRequesterBits = kAttrPersistent | kAttrNoAutoRecovery | kAttrClientAccessible | kAttrNoAutoRelease |
                                    kAttrNoWriters | kAttrTransportable | kAttrNotTransacted | kAttrDifferential |
                                    kAttrPlex | kAttrRollbackRecovery | kAttrTxfRecovery;

}  // namespace

EngineSession::EngineSession(Coordinator& coordinator, Guid id) : coordinator_(coordinator), id_(id) {}

EngineSession::~EngineSession() {
  Release().IgnoreError();
}

absl::Status EngineSession::Require(std::string_view call, std::initializer_list<Stage> stages) const {
  if (std::find(stages.begin(), stages.end(), stage_) != stages.end()) return absl::OkStatus();
  return Error(Code::kBadState, "{} is called in the wrong place (stage {})", call, static_cast<int>(stage_));
}

absl::Status EngineSession::CheckNotCancelled() const {
  if (!cancelled_->load()) return absl::OkStatus();
  return base::Error(absl::StatusCode::kCancelled, "CANCELLED", "the session was cancelled");
}

void EngineSession::Cancel() {
  cancelled_->store(true);
  coordinator_.WakeWaiting();
}

absl::Status EngineSession::Advance(SnapshotEvent event) {
  const auto next = NextState(set_state_, event);
  if (!next.has_value()) {
    return Error(Code::kBadState, "{} of a snapshot set that is {}", NameOf(event), NameOf(set_state_));
  }
  set_state_ = *next;
  return absl::OkStatus();
}

absl::StatusOr<BackupComponent*> EngineSession::ComponentAt(std::string_view call, std::initializer_list<Stage> stages,
                                                            const ComponentId& id) {
  RETURN_IF_ERROR(Require(call, stages));
  BackupComponent* component = document_.Find(id);
  if (component == nullptr) {
    return Error(Code::kObjectNotFound, "{}: writer {} has no component {}\\{} here", call, id.writer_id.ToString(),
                 id.logical_path, id.name);
  }
  return component;
}

absl::StatusOr<BackupComponent*> EngineSession::ComponentWith(std::string_view call, uint32_t schema,
                                                              const ComponentId& id) {
  ASSIGN_OR_RETURN(BackupComponent * component, ComponentAt(call, {Stage::kRestoreGathered}, id));
  const WriterComponents* writer = document_.FindWriter(id.writer_id);
  if (writer == nullptr || (writer->backup_schema & schema) == 0) {
    return Error(Code::kNotSupported, "{}: the writer of component {} doesn't support it", call, id.name);
  }
  return component;
}

// The set that was started for it has no copy then.
bool EngineSession::MayLeaveOutSnapshot() const {
  if (stage_ != Stage::kPrepared || !document_.state.select_components) return false;
  for (const WriterComponents& writer : document_.writers) {
    for (const WriterMetadata& metadata : metadata_) {
      if (metadata.instance_id != writer.instance_id) continue;
      const ComponentTree tree(metadata);
      std::vector<const Component*> chosen;
      for (const BackupComponent& c : writer.components) chosen.push_back(metadata.Find(c.logical_path, c.name));
      for (const Component* c : tree.Included(chosen)) {
        if (NeedsSnapshot(*c, document_.state.type, metadata.backup_schema)) return false;
      }
    }
  }
  return true;
}

absl::Status EngineSession::RequireData(std::string_view call) const {
  return MayLeaveOutSnapshot() ? absl::OkStatus() : Require(call, {Stage::kSetMade});
}

// --- set-up ---

absl::Status EngineSession::InitializeForBackup() {
  RETURN_IF_ERROR(Require("InitializeForBackup", {Stage::kNew}));
  stage_ = Stage::kBackup;
  return absl::OkStatus();
}

absl::Status EngineSession::InitializeForRestore(const std::string& xml) {
  RETURN_IF_ERROR(Require("InitializeForRestore", {Stage::kNew}));
  ASSIGN_OR_RETURN(document_, ParseBackupComponents(xml));
  stage_ = Stage::kRestore;
  return absl::OkStatus();
}

absl::Status EngineSession::EnableWriterClasses(const std::vector<Guid>& writer_ids) {
  RETURN_IF_ERROR(Require("EnableWriterClasses", {Stage::kBackup, Stage::kRestore}));
  enabled_classes_.insert(enabled_classes_.end(), writer_ids.begin(), writer_ids.end());
  return absl::OkStatus();
}

absl::Status EngineSession::DisableWriterClasses(const std::vector<Guid>& writer_ids) {
  RETURN_IF_ERROR(Require("DisableWriterClasses", {Stage::kBackup, Stage::kRestore}));
  disabled_classes_.insert(disabled_classes_.end(), writer_ids.begin(), writer_ids.end());
  return absl::OkStatus();
}

absl::Status EngineSession::DisableWriterInstances(const std::vector<Guid>& instance_ids) {
  RETURN_IF_ERROR(Require("DisableWriterInstances", {Stage::kBackup, Stage::kRestore}));
  disabled_instances_.insert(disabled_instances_.end(), instance_ids.begin(), instance_ids.end());
  return absl::OkStatus();
}

absl::Status EngineSession::SetContext(uint32_t context) {
  RETURN_IF_ERROR(Require("SetContext", {Stage::kBackup}));
  if (context_set_) return Error(Code::kBadState, "SetContext is called twice");
  const bool both_kinds = (context & kAttrDifferential) != 0 && (context & kAttrPlex) != 0;
  if ((context & ~kRequesterBits) != 0 || both_kinds) {
    return Error(Code::kUnsupportedContext, "context 0x{:X}", context);
  }
  document_.context = context;
  context_set_ = true;
  return absl::OkStatus();
}

absl::Status EngineSession::SetBackupState(const BackupState& state) {
  RETURN_IF_ERROR(Require("SetBackupState", {Stage::kBackup, Stage::kGathered}));
  document_.state = state;
  backup_state_set_ = true;
  return absl::OkStatus();
}

absl::Status EngineSession::GatherWriterMetadata() {
  RETURN_IF_ERROR(Require("GatherWriterMetadata", {Stage::kBackup, Stage::kRestore}));
  RETURN_IF_ERROR(CheckNotCancelled());
  RETURN_IF_ERROR(Identify());
  stage_ = stage_ == Stage::kBackup ? Stage::kGathered : Stage::kRestoreGathered;
  return absl::OkStatus();
}

// --- backup: choosing ---

absl::Status EngineSession::AddComponent(const ComponentId& id) {
  RETURN_IF_ERROR(Require("AddComponent", {Stage::kGathered}));
  if ((document_.context & kAttrNoWriters) != 0) return Error(Code::kBadState, "the context has no writers");
  // A component's name is unique over all instances of its class.
  const auto metadata = std::find_if(metadata_.begin(), metadata_.end(), [&](const WriterMetadata& m) {
    return m.writer_id == id.writer_id && m.Find(id.logical_path, id.name) != nullptr;
  });
  if (metadata == metadata_.end()) {
    return Error(Code::kObjectNotFound, "writer {} offers no component {}\\{}", id.writer_id.ToString(),
                 id.logical_path, id.name);
  }
  if (document_.Find(id) != nullptr) return Error(Code::kObjectAlreadyExists, "component {} was added before", id.name);
  auto mine = std::find_if(document_.writers.begin(), document_.writers.end(),
                           [&](const WriterComponents& w) { return w.instance_id == metadata->instance_id; });
  if (mine == document_.writers.end()) {
    mine = document_.writers.insert(mine, WriterComponents());
    mine->writer_id = metadata->writer_id;
    mine->instance_id = metadata->instance_id;
    mine->instance_name = metadata->instance_name;
    mine->backup_schema = metadata->backup_schema;
  }
  BackupComponent& added = mine->components.emplace_back();
  added.type = metadata->Find(id.logical_path, id.name)->type;
  added.logical_path = id.logical_path;
  added.name = id.name;
  return absl::OkStatus();
}

absl::Status EngineSession::SetBackupOptions(const ComponentId& id, const std::string& options) {
  ASSIGN_OR_RETURN(BackupComponent * c, ComponentAt("SetBackupOptions", {Stage::kGathered, Stage::kSetStarted}, id));
  c->backup_options = options;
  return absl::OkStatus();
}

absl::Status EngineSession::SetPreviousBackupStamp(const ComponentId& id, const std::string& stamp) {
  ASSIGN_OR_RETURN(BackupComponent * c,
                   ComponentAt("SetPreviousBackupStamp", {Stage::kGathered, Stage::kSetStarted}, id));
  c->previous_backup_stamp = stamp;
  return absl::OkStatus();
}

absl::Status EngineSession::PrepareForBackup() {
  RETURN_IF_ERROR(Require("PrepareForBackup", {Stage::kSetStarted}));
  RETURN_IF_ERROR(CheckNotCancelled());
  if ((document_.context & kAttrNoWriters) != 0) return Error(Code::kBadState, "the context has no writers");
  if (!backup_state_set_) return Error(Code::kBadState, "SetBackupState wasn't called");
  Deliver(WriterEvent::kPrepareBackup, Participants());
  stage_ = Stage::kPrepared;
  return CheckNotCancelled();
}

absl::Status EngineSession::SetBackupSucceeded(const ComponentId& id, bool succeeded) {
  RETURN_IF_ERROR(RequireData("SetBackupSucceeded"));
  ASSIGN_OR_RETURN(BackupComponent * c, ComponentAt("SetBackupSucceeded", {stage_}, id));
  c->succeeded = succeeded;
  return absl::OkStatus();
}

absl::Status EngineSession::BackupComplete() {
  RETURN_IF_ERROR(RequireData("BackupComplete"));
  if ((document_.context & kAttrNoWriters) != 0) return Error(Code::kBadState, "the context has no writers");
  Deliver(WriterEvent::kBackupComplete, Participants());
  coordinator_.EndCreation(id_);  // held until here when no set had to be made
  stage_ = Stage::kCompleted;
  return absl::OkStatus();
}

absl::Status EngineSession::AbortBackup() {
  switch (stage_) {
    case Stage::kSetStarted:
    case Stage::kPrepared:
      FailSet();
      coordinator_.EndCreation(id_);
      break;
    case Stage::kSetMade:
      AbortWriters(Participants());  // reaches nobody who has had PostSnapshot; Release lets the copies go
      CollectAborts();
      stage_ = Stage::kAborted;
      break;
    default:
      break;  // nothing is under way
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> EngineSession::SaveAsXml() {
  const bool before_set = stage_ == Stage::kNew || stage_ == Stage::kBackup || stage_ == Stage::kGathered ||
                          stage_ == Stage::kSetStarted || stage_ == Stage::kPrepared;
  if (before_set && !MayLeaveOutSnapshot()) {
    return Error(Code::kBadState, "the document isn't complete before the end of DoSnapshotSet");
  }
  return PrintBackupComponents(document_);
}

absl::Status EngineSession::Release() {
  if (stage_ == Stage::kReleased) return absl::OkStatus();
  AbortBackup().IgnoreError();  // always OK
  absl::Status deleted;
  const bool ours = (document_.context & kAttrNoAutoRelease) == 0;
  if (ours && set_state_ == SnapshotState::kCreated) deleted = DeleteSnapshots();
  if (set_state_ != SnapshotState::kUnknown) Deliver(WriterEvent::kBackupShutdown, Participants());
  for (const Participant& p : writers_) {
    coordinator_.RememberStatus({p.identity, p.state, p.failure, p.component_count, p.freeze});
  }
  stage_ = Stage::kReleased;
  return deleted;
}

// --- restore ---

absl::Status EngineSession::SetRestoreState(RestoreType type) {
  RETURN_IF_ERROR(Require("SetRestoreState", {Stage::kRestore, Stage::kRestoreGathered}));
  document_.restore_type = type;
  return absl::OkStatus();
}

absl::Status EngineSession::SetSelectedForRestore(const ComponentId& id) {
  ASSIGN_OR_RETURN(BackupComponent * c, ComponentAt("SetSelectedForRestore", {Stage::kRestoreGathered}, id));
  const bool runs = std::any_of(writers_.begin(), writers_.end(),
                                [&](const Participant& p) { return p.identity.writer_id == id.writer_id; });
  if (!runs) return Error(Code::kObjectNotFound, "writer {} doesn't run", id.writer_id.ToString());
  c->selected_for_restore = true;
  return absl::OkStatus();
}

absl::Status EngineSession::SetSelectedForRestoreInto(const ComponentId& id, const Guid& instance_id,
                                                      const std::string& instance_name) {
  ASSIGN_OR_RETURN(BackupComponent * c, ComponentWith("SetSelectedForRestoreInto", kSchemaRestoreWithMove, id));
  const bool runs = std::any_of(writers_.begin(), writers_.end(), [&](const Participant& p) {
    return p.identity.writer_id == id.writer_id && (instance_id.is_null() || p.identity.instance_id == instance_id) &&
           (instance_name.empty() || p.identity.instance_name == instance_name);
  });
  if (!runs) return Error(Code::kObjectNotFound, "writer {} has no such instance", id.writer_id.ToString());
  c->selected_for_restore = true;
  c->target_instance = instance_id;
  c->target_instance_name = instance_name;
  return absl::OkStatus();
}

absl::Status EngineSession::AddRestoreSubcomponent(const ComponentId& id, const std::string& subcomponent) {
  ASSIGN_OR_RETURN(BackupComponent * c, ComponentAt("AddRestoreSubcomponent", {Stage::kRestoreGathered}, id));
  c->restore_subcomponents.push_back(subcomponent);
  return absl::OkStatus();
}

absl::Status EngineSession::SetRestoreOptions(const ComponentId& id, const std::string& options) {
  ASSIGN_OR_RETURN(BackupComponent * c, ComponentAt("SetRestoreOptions", {Stage::kRestoreGathered}, id));
  c->restore_options = options;
  return absl::OkStatus();
}

absl::Status EngineSession::SetAdditionalRestores(const ComponentId& id, bool additional) {
  ASSIGN_OR_RETURN(BackupComponent * c, ComponentAt("SetAdditionalRestores", {Stage::kRestoreGathered}, id));
  c->additional_restores = additional;
  return absl::OkStatus();
}

absl::Status EngineSession::AddNewTarget(const ComponentId& id, const NewTarget& target) {
  ASSIGN_OR_RETURN(BackupComponent * c, ComponentWith("AddNewTarget", kSchemaNewTarget, id));
  c->new_targets.push_back(target);
  return absl::OkStatus();
}

absl::Status EngineSession::SetRestoreName(const ComponentId& id, const std::string& name) {
  ASSIGN_OR_RETURN(BackupComponent * c, ComponentWith("SetRestoreName", kSchemaRestoreRename, id));
  c->restore_name = name;
  return absl::OkStatus();
}

absl::Status EngineSession::SetAuthoritativeRestore(const ComponentId& id, bool authoritative) {
  ASSIGN_OR_RETURN(BackupComponent * c, ComponentWith("SetAuthoritativeRestore", kSchemaAuthoritativeRestore, id));
  c->authoritative = authoritative;
  return absl::OkStatus();
}

absl::Status EngineSession::SetRollForward(const ComponentId& id, const RollForward& roll_forward) {
  ASSIGN_OR_RETURN(BackupComponent * c, ComponentWith("SetRollForward", kSchemaRollForwardRestore, id));
  c->roll_forward = roll_forward;
  return absl::OkStatus();
}

absl::Status EngineSession::PreRestore() {
  RETURN_IF_ERROR(Require("PreRestore", {Stage::kRestoreGathered}));
  RETURN_IF_ERROR(CheckNotCancelled());
  Deliver(WriterEvent::kPreRestore, RestoreParticipants());
  stage_ = Stage::kPreRestored;
  return CheckNotCancelled();
}

absl::Status EngineSession::SetFileRestoreStatus(const ComponentId& id, FileRestoreStatus status) {
  ASSIGN_OR_RETURN(BackupComponent * c, ComponentAt("SetFileRestoreStatus", {Stage::kPreRestored}, id));
  c->file_restore_status = status;
  return absl::OkStatus();
}

absl::Status EngineSession::AddAlternativeLocationMapping(const ComponentId& id, const FileMapping& mapping) {
  ASSIGN_OR_RETURN(BackupComponent * c, ComponentAt("AddAlternativeLocationMapping", {Stage::kPreRestored}, id));
  c->used_mappings.push_back(mapping);
  return absl::OkStatus();
}

absl::Status EngineSession::SetRangesFilePath(const ComponentId& id, size_t index, const std::string& path) {
  ASSIGN_OR_RETURN(BackupComponent * c, ComponentAt("SetRangesFilePath", {Stage::kPreRestored}, id));
  if (index >= c->partial_files.size()) {
    return Error(Code::kObjectNotFound, "component {} has no partial file {}", id.name, index);
  }
  c->partial_files[index].ranges = "File=" + path;
  return absl::OkStatus();
}

absl::Status EngineSession::PostRestore() {
  RETURN_IF_ERROR(Require("PostRestore", {Stage::kPreRestored}));
  Deliver(WriterEvent::kPostRestore, RestoreParticipants());
  stage_ = Stage::kPostRestored;
  return absl::OkStatus();
}

}  // namespace umbra::vss
