#include "agent/vss/engine_session.h"

#include <algorithm>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "agent/vss/writer_state.h"
#include "storage/base/status.h"

namespace umbra::vss {
namespace {

// Bits that a requester may set in a context.
constexpr uint32_t kRequesterBits = kAttrPersistent | kAttrNoAutoRecovery | kAttrClientAccessible | kAttrNoAutoRelease |
                                    kAttrNoWriters | kAttrTransportable | kAttrNotTransacted | kAttrDifferential |
                                    kAttrPlex | kAttrRollbackRecovery | kAttrTxfRecovery;

absl::Status Call(Writer& writer, WriterEvent event, EventContext& context) {
  switch (event) {
    case WriterEvent::kPrepareBackup:
      return writer.OnPrepareBackup(context);
    case WriterEvent::kPrepareSnapshot:
      return writer.OnPrepareSnapshot(context);
    case WriterEvent::kFreeze:
      return writer.OnFreeze(context);
    case WriterEvent::kThaw:
      return writer.OnThaw(context);
    case WriterEvent::kPostSnapshot:
      return writer.OnPostSnapshot(context);
    case WriterEvent::kBackupComplete:
      return writer.OnBackupComplete(context);
    case WriterEvent::kBackupShutdown:
      return writer.OnBackupShutdown(context);
    case WriterEvent::kAbort:
      return writer.OnAbort(context);
    case WriterEvent::kPreRestore:
      return writer.OnPreRestore(context);
    case WriterEvent::kPostRestore:
      return writer.OnPostRestore(context);
    case WriterEvent::kIdentify:
      break;  // has its own way: it returns metadata
  }
  return Error(Code::kUnexpected, "no handler for {}", NameOf(event));
}

// Undoing must happen even when nobody waits for it any more.
bool MustRun(WriterEvent event) {
  return event == WriterEvent::kAbort || event == WriterEvent::kBackupShutdown;
}

// Front end freezes first, the system last.
int FreezeRank(ApplicationLevel level) {
  switch (level) {
    case ApplicationLevel::kBackEnd:
      return 1;
    case ApplicationLevel::kSystem:
      return 2;
    case ApplicationLevel::kSystemRm:
      return 3;
    default:
      return 0;
  }
}
constexpr int kFreezeRankCount = 4;

}  // namespace

// Owns the thaw: whoever was frozen gets Thaw, or else Abort when the window is left without.
class EngineSession::FreezeWindow {
 public:
  explicit FreezeWindow(EngineSession& session) : session_(session) {}
  ~FreezeWindow() {
    session_.window_end_ = absl::InfiniteDuration();
    if (!thawed_) session_.AbortWriters();
  }
  FreezeWindow(const FreezeWindow&) = delete;
  FreezeWindow& operator=(const FreezeWindow&) = delete;

  void Freeze() {
    for (int rank = 0; rank < kFreezeRankCount; ++rank) session_.Deliver(WriterEvent::kFreeze, Frozen(rank));
  }

  void Thaw() {
    session_.window_end_ = absl::InfiniteDuration();
    for (int rank = kFreezeRankCount - 1; rank >= 0; --rank) session_.Deliver(WriterEvent::kThaw, Frozen(rank));
    thawed_ = true;
  }

 private:
  std::vector<Participant*> Frozen(int rank) {
    std::vector<Participant*> of_rank = session_.Participants();
    std::erase_if(of_rank, [&](const Participant* p) { return FreezeRank(p->identity.level) != rank; });
    return of_rank;
  }

  EngineSession& session_;
  bool thawed_ = false;
};

EngineSession::EngineSession(Coordinator& coordinator, Guid id) : coordinator_(coordinator), id_(id) {}

EngineSession::~EngineSession() {
  Release().IgnoreError();
}

absl::Status EngineSession::Require(std::string_view call, std::initializer_list<Stage> stages) const {
  if (std::find(stages.begin(), stages.end(), stage_) != stages.end()) return absl::OkStatus();
  return Error(Code::kBadState, "{} is called in the wrong place (stage {})", call, static_cast<int>(stage_));
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

absl::Status EngineSession::SetContext(uint32_t context) {
  RETURN_IF_ERROR(Require("SetContext", {Stage::kBackup}));
  const bool both_kinds = (context & kAttrDifferential) != 0 && (context & kAttrPlex) != 0;
  if ((context & ~kRequesterBits) != 0 || both_kinds) {
    return Error(Code::kUnsupportedContext, "context 0x{:X}", context);
  }
  document_.context = context;
  return absl::OkStatus();
}

absl::Status EngineSession::SetBackupState(const BackupState& state) {
  RETURN_IF_ERROR(Require("SetBackupState", {Stage::kBackup}));
  document_.state = state;
  return absl::OkStatus();
}

// --- writers: events ---

absl::Status EngineSession::GatherWriterMetadata() {
  RETURN_IF_ERROR(Require("GatherWriterMetadata", {Stage::kBackup, Stage::kRestore}));
  RETURN_IF_ERROR(Identify());
  stage_ = stage_ == Stage::kBackup ? Stage::kGathered : Stage::kRestoreGathered;
  return absl::OkStatus();
}

absl::Status EngineSession::Identify() {
  struct Asked {
    Participant participant;
    Lane::CallPtr call;
    std::shared_ptr<WriterMetadata> metadata = std::make_shared<WriterMetadata>();
  };
  std::vector<Asked> asked;
  const absl::Duration start = coordinator_.clock_.Monotonic();
  for (const auto& slot : coordinator_.writers_) {
    Asked a;
    a.participant.writer = slot.writer;
    a.participant.lane = slot.lane.get();
    a.participant.identity = slot.writer->identity();
    a.participant.limits = slot.writer->limits();
    auto context = std::make_shared<EventContext>();
    context->session_id = id_;
    context->context = document_.context;
    context->backup_state = document_.state;
    a.call = slot.lane->Post([writer = slot.writer, context, metadata = a.metadata]() -> absl::Status {
      ASSIGN_OR_RETURN(*metadata, writer->OnIdentify(*context));
      return absl::OkStatus();
    });
    asked.push_back(std::move(a));
  }
  for (Asked& a : asked) {
    Participant& p = a.participant;
    absl::Status result;
    const absl::Duration left = start + p.limits.identify - coordinator_.clock_.Monotonic();
    if (!p.lane->Await(a.call, left, &result)) {
      result = Error(Code::kWriterNotResponding, "no answer within {}", absl::FormatDuration(p.limits.identify));
    }
    if (!result.ok()) {
      // Absent from the session, as VSS has it; its status says why.
      coordinator_.RememberStatus({p.identity, WriterState::kFailedAtIdentify, AsWriterError(result), 0});
      continue;
    }
    p.component_count = static_cast<int>(a.metadata->components.size());
    metadata_.push_back(std::move(*a.metadata));
    writers_.push_back(std::move(p));
  }
  return absl::OkStatus();
}

std::shared_ptr<EventContext> EngineSession::MakeContext(const Participant& participant) {
  auto context = std::make_shared<EventContext>();
  context->session_id = id_;
  context->snapshot_set_id = document_.snapshot_set_id;
  context->context = document_.context;
  context->backup_state = document_.state;
  for (const Snapshot& snapshot : snapshots_) context->volumes.push_back(snapshot.volume);
  if (const WriterComponents* mine = document_.FindWriter(participant.identity.writer_id)) {
    context->components = mine->components;
  }
  return context;
}

Lane::CallPtr EngineSession::Post(WriterEvent event, Participant& participant, std::shared_ptr<EventContext> context) {
  if (event == WriterEvent::kFreeze) {
    participant.frozen_since = coordinator_.clock_.Monotonic();
    window_end_ = std::min(window_end_, participant.frozen_since + participant.limits.freeze);
  }
  return participant.lane->Post(
      [writer = participant.writer, event, context = std::move(context)] { return Call(*writer, event, *context); },
      MustRun(event));
}

void EngineSession::Deliver(WriterEvent event, const std::vector<Participant*>& to) {
  struct Delivery {
    Participant* participant;
    std::shared_ptr<EventContext> context;
    Lane::CallPtr call;
    absl::Duration deadline;
  };
  std::vector<Delivery> deliveries;
  for (Participant* p : to) {
    if (!NextState(p->state, event, true).has_value()) continue;
    auto context = MakeContext(*p);
    auto call = Post(event, *p, context);
    const bool in_window = event == WriterEvent::kFreeze || event == WriterEvent::kThaw;
    const absl::Duration start = in_window ? p->frozen_since : coordinator_.clock_.Monotonic();
    deliveries.push_back({p, std::move(context), std::move(call), start + p->limits.Of(event)});
  }
  for (const Delivery& d : deliveries) Finish(event, *d.participant, d.call, *d.context, d.deadline);
}

void EngineSession::Finish(WriterEvent event, Participant& p, const Lane::CallPtr& call, const EventContext& context,
                           absl::Duration deadline) {
  // What waits behind a call that hangs is delivered when that returns; nobody waits for it.
  if (p.hung != nullptr && !p.lane->IsDone(p.hung)) return;
  p.hung = nullptr;

  absl::Status result;
  const bool in_window = event == WriterEvent::kFreeze || event == WriterEvent::kThaw;
  const absl::Duration left = std::max(absl::ZeroDuration(), deadline - coordinator_.clock_.Monotonic());
  if (!p.lane->Await(call, left, &result)) {
    p.hung = call;
    Fail(event, p,
         Error(in_window ? Code::kWriterErrorTimeout : Code::kWriterNotResponding, "no answer within {}",
               absl::FormatDuration(p.limits.Of(event))));
    return;
  }
  MergeComponents(p, context);
  if (result.ok() && in_window && coordinator_.clock_.Monotonic() > deadline) {
    result = Error(Code::kWriterErrorTimeout, "frozen for more than {}", absl::FormatDuration(p.limits.freeze));
  }
  if (!result.ok()) return Fail(event, p, result);
  p.state = *NextState(p.state, event, true);
}

void EngineSession::Fail(WriterEvent event, Participant& p, const absl::Status& cause) {
  const absl::Status error = AsWriterError(cause);
  if (p.failure.ok()) {
    p.failure = base::Annotate(error, "writer \"{}\" failed at {}, {}", p.identity.name, NameOf(event),
                               Describe(CodeOf(error)));
  }
  // A freeze that lasts too long fails at Freeze, whenever it is noticed.
  const bool overrun = event == WriterEvent::kThaw && CodeOf(error) == Code::kWriterErrorTimeout;
  p.state = overrun ? WriterState::kFailedAtFreeze : NextState(p.state, event, false).value_or(p.state);
  if (event == WriterEvent::kFreeze || event == WriterEvent::kThaw) AbortWriter(p);
}

// Takes over what belongs to the writer (backup_components.h).
void EngineSession::MergeComponents(const Participant& participant, const EventContext& context) {
  for (const BackupComponent& from : context.components) {
    BackupComponent* to = document_.Find({participant.identity.writer_id, from.logical_path, from.name});
    if (to == nullptr) continue;
    if (stage_ == Stage::kSetStarted || stage_ == Stage::kPrepared) {
      to->backup_metadata = from.backup_metadata;
      to->backup_stamp = from.backup_stamp;
      to->prepare_for_backup_failure = from.prepare_for_backup_failure;
      to->post_snapshot_failure = from.post_snapshot_failure;
    }
    to->failure = from.failure;
    to->restore_metadata = from.restore_metadata;
    to->restore_target = from.restore_target;
    to->pre_restore_failure = from.pre_restore_failure;
    to->post_restore_failure = from.post_restore_failure;
  }
}

void EngineSession::AbortWriter(Participant& p) {
  if (p.aborted) return;
  p.aborted = true;
  Deliver(WriterEvent::kAbort, {&p});
}

void EngineSession::AbortWriters() {
  std::vector<Participant*> rest = Participants();
  std::erase_if(rest, [](const Participant* p) { return p->aborted; });
  for (Participant* p : rest) p->aborted = true;
  Deliver(WriterEvent::kAbort, rest);
}

bool EngineSession::TakesPart(const Participant& participant) {
  if ((document_.context & kAttrNoWriters) != 0) return false;
  if (!document_.state.select_components) return true;
  const WriterComponents* mine = document_.FindWriter(participant.identity.writer_id);
  return mine != nullptr && !mine->components.empty();
}

std::vector<EngineSession::Participant*> EngineSession::Participants() {
  std::vector<Participant*> result;
  for (Participant& p : writers_) {
    if (TakesPart(p)) result.push_back(&p);
  }
  return result;
}

std::vector<EngineSession::Participant*> EngineSession::RestoreParticipants() {
  std::vector<Participant*> result;
  for (size_t i = 0; i < writers_.size(); ++i) {
    const RestoreMethodInfo& method = metadata_[i].restore_method;
    if (method.method != RestoreMethod::kUndefined && method.writer_restore == WriterRestore::kNever) continue;
    const WriterComponents* mine = document_.FindWriter(writers_[i].identity.writer_id);
    if (mine == nullptr) continue;
    const bool selected = std::any_of(mine->components.begin(), mine->components.end(),
                                      [](const BackupComponent& c) { return c.selected_for_restore; });
    if (selected) result.push_back(&writers_[i]);
  }
  return result;
}

absl::StatusOr<std::vector<WriterStatus>> EngineSession::GatherWriterStatus() {
  if (stage_ == Stage::kNew || stage_ == Stage::kBackup || stage_ == Stage::kRestore) {
    return Error(Code::kBadState, "GatherWriterStatus before GatherWriterMetadata");
  }
  std::vector<WriterStatus> result;
  for (const Participant& p : writers_) result.push_back({p.identity, p.state, p.failure, p.component_count});
  return result;
}

// --- backup: choosing ---

absl::Status EngineSession::AddComponent(const ComponentId& id) {
  RETURN_IF_ERROR(Require("AddComponent", {Stage::kGathered}));
  if ((document_.context & kAttrNoWriters) != 0) return Error(Code::kBadState, "the context has no writers");
  const auto metadata = std::find_if(metadata_.begin(), metadata_.end(),
                                     [&](const WriterMetadata& m) { return m.writer_id == id.writer_id; });
  const Component* offered = metadata == metadata_.end() ? nullptr : metadata->Find(id.logical_path, id.name);
  if (offered == nullptr) {
    return Error(Code::kObjectNotFound, "writer {} offers no component {}\\{}", id.writer_id.ToString(),
                 id.logical_path, id.name);
  }
  if (document_.Find(id) != nullptr) return Error(Code::kObjectAlreadyExists, "component {} was added before", id.name);
  WriterComponents* mine = document_.FindWriter(id.writer_id);
  if (mine == nullptr) {
    mine = &document_.writers.emplace_back();
    mine->writer_id = metadata->writer_id;
    mine->instance_id = metadata->instance_id;
    mine->instance_name = metadata->instance_name;
    mine->backup_schema = metadata->backup_schema;
  }
  BackupComponent& added = mine->components.emplace_back();
  added.type = offered->type;
  added.logical_path = offered->logical_path;
  added.name = offered->name;
  return absl::OkStatus();
}

absl::StatusOr<Guid> EngineSession::StartSnapshotSet() {
  RETURN_IF_ERROR(Require("StartSnapshotSet", {Stage::kGathered}));
  if (!coordinator_.TakeCreation(id_)) {
    return Error(Code::kSnapshotSetInProgress, "another backup of this host makes its snapshot set now");
  }
  RETURN_IF_ERROR(Advance(SnapshotEvent::kStart));
  document_.snapshot_set_id = Guid::Literal(coordinator_.random_.Uuid());
  stage_ = Stage::kSetStarted;
  return document_.snapshot_set_id;
}

absl::StatusOr<EngineSession::ProviderUse*> EngineSession::ChooseProvider(const std::string& volume,
                                                                          const Guid& provider_id) {
  bool asked = false;
  for (const auto& slot : coordinator_.providers_) {
    if (!provider_id.is_null() && slot.provider->identity().provider_id != provider_id) continue;
    asked = true;
    ProviderUse use{slot.provider, slot.lane.get(), nullptr};
    auto supported = std::make_shared<bool>(false);
    const auto call =
        use.lane->Post([provider = use.provider, volume, context = document_.context, supported]() -> absl::Status {
          ASSIGN_OR_RETURN(*supported, provider->IsVolumeSupported(volume, context));
          return absl::OkStatus();
        });
    const absl::Duration deadline = coordinator_.clock_.Monotonic() + coordinator_.limits_.prepare;
    RETURN_IF_ERROR(FinishCall("IsVolumeSupported", use, call, deadline));
    if (!*supported) continue;
    const auto known = std::find_if(providers_.begin(), providers_.end(),
                                    [&](const ProviderUse& u) { return u.provider == use.provider; });
    if (known != providers_.end()) return &*known;
    providers_.push_back(use);
    return &providers_.back();
  }
  if (!provider_id.is_null() && !asked) {
    return Error(Code::kProviderNotRegistered, "no provider {}", provider_id.ToString());
  }
  return Error(provider_id.is_null() ? Code::kVolumeNotSupported : Code::kVolumeNotSupportedByProvider, "volume {}",
               volume);
}

absl::StatusOr<Guid> EngineSession::AddToSnapshotSet(const std::string& volume, const Guid& provider_id) {
  RETURN_IF_ERROR(Require("AddToSnapshotSet", {Stage::kSetStarted, Stage::kPrepared}));
  if (snapshots_.size() >= static_cast<size_t>(kMaxVolumesPerSet)) {
    return Error(Code::kMaximumNumberOfVolumesReached, "a set holds at most {} volumes", kMaxVolumesPerSet);
  }
  if (std::any_of(snapshots_.begin(), snapshots_.end(), [&](const Snapshot& s) { return s.volume == volume; })) {
    return Error(Code::kObjectAlreadyExists, "volume {} is in the set already", volume);
  }
  ASSIGN_OR_RETURN(ProviderUse * use, ChooseProvider(volume, provider_id));
  RETURN_IF_ERROR(Advance(SnapshotEvent::kAddVolume));
  const Guid snapshot_id = Guid::Literal(coordinator_.random_.Uuid());
  const SnapshotRequest request{document_.snapshot_set_id, snapshot_id, volume, document_.context};
  const auto call =
      use->lane->Post([provider = use->provider, request] { return provider->BeginPrepareSnapshot(request); });
  const absl::Duration deadline = coordinator_.clock_.Monotonic() + coordinator_.limits_.prepare;
  RETURN_IF_ERROR(FinishCall("BeginPrepareSnapshot", *use, call, deadline));
  snapshots_.push_back({snapshot_id, volume, use->provider});
  document_.snapshots.push_back({snapshot_id, use->provider->identity().provider_id, volume});
  return snapshot_id;
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
  if ((document_.context & kAttrNoWriters) != 0) return Error(Code::kBadState, "the context has no writers");
  Deliver(WriterEvent::kPrepareBackup, Participants());
  stage_ = Stage::kPrepared;
  return absl::OkStatus();
}

// --- backup: making the set ---

absl::Status EngineSession::FinishCall(std::string_view what, ProviderUse& use, const Lane::CallPtr& call,
                                       absl::Duration deadline) {
  const std::string& name = use.provider->identity().name;
  if (use.hung != nullptr && !use.lane->IsDone(use.hung)) {
    return Error(Code::kProviderInUse, "provider \"{}\" still hangs; {} follows when it answers", name, what);
  }
  use.hung = nullptr;
  const absl::Duration start = coordinator_.clock_.Monotonic();
  absl::Status result;
  if (!use.lane->Await(call, std::max(absl::ZeroDuration(), deadline - start), &result)) {
    use.hung = call;
    const Code code = what == "CommitSnapshots" ? Code::kHoldWritesTimeout : Code::kUnexpectedProviderError;
    return Error(code, "provider \"{}\": {} has not ended after {}", name, what,
                 absl::FormatDuration(coordinator_.clock_.Monotonic() - start));
  }
  return base::Annotate(AsProviderError(result), "provider \"{}\": {}", name, what);
}

absl::Status EngineSession::CallProviders(std::string_view what, absl::Duration limit, const ProviderCall& call,
                                          bool must_run) {
  const absl::Duration deadline = std::min(coordinator_.clock_.Monotonic() + limit, window_end_);
  std::vector<Lane::CallPtr> calls;
  for (ProviderUse& use : providers_) {
    calls.push_back(use.lane->Post([call, provider = use.provider] { return call(*provider); }, must_run));
  }
  absl::Status first;
  for (size_t i = 0; i < calls.size(); ++i) first.Update(FinishCall(what, providers_[i], calls[i], deadline));
  return first;
}

absl::Status EngineSession::Phase(SnapshotEvent event, std::string_view what, absl::Duration limit,
                                  const ProviderCall& call) {
  RETURN_IF_ERROR(Advance(event));
  RETURN_IF_ERROR(CallProviders(what, limit, call));
  return Advance(SnapshotEvent::kDone);
}

absl::Status EngineSession::CommitFrozen() {
  const ProviderLimits& limits = coordinator_.limits_;
  const Guid set = document_.snapshot_set_id;
  const int count = static_cast<int>(snapshots_.size());
  FreezeWindow window(*this);
  window.Freeze();
  RETURN_IF_ERROR(Phase(SnapshotEvent::kPreCommit, "PreCommitSnapshots", limits.around_commit,
                        [set](Provider& p) { return p.PreCommitSnapshots(set); }));
  RETURN_IF_ERROR(Phase(SnapshotEvent::kCommit, "CommitSnapshots", limits.hold,
                        [set](Provider& p) { return p.CommitSnapshots(set); }));
  RETURN_IF_ERROR(Phase(SnapshotEvent::kPostCommit, "PostCommitSnapshots", limits.around_commit,
                        [set, count](Provider& p) { return p.PostCommitSnapshots(set, count); }));
  window.Thaw();
  return absl::OkStatus();
}

absl::Status EngineSession::MakeSet() {
  const ProviderLimits& limits = coordinator_.limits_;
  const Guid set = document_.snapshot_set_id;
  Deliver(WriterEvent::kPrepareSnapshot, Participants());
  end_prepare_called_ = true;
  RETURN_IF_ERROR(
      CallProviders("EndPrepareSnapshots", limits.prepare, [set](Provider& p) { return p.EndPrepareSnapshots(set); }));
  RETURN_IF_ERROR(Advance(SnapshotEvent::kDone));
  RETURN_IF_ERROR(CommitFrozen());
  RETURN_IF_ERROR(Phase(SnapshotEvent::kPreFinalCommit, "PreFinalCommitSnapshots", limits.finish,
                        [set](Provider& p) { return p.PreFinalCommitSnapshots(set); }));
  Deliver(WriterEvent::kPostSnapshot, Participants());
  return Phase(SnapshotEvent::kPostFinalCommit, "PostFinalCommitSnapshots", limits.finish,
               [set](Provider& p) { return p.PostFinalCommitSnapshots(set); });
}

void EngineSession::FailSet() {
  AbortWriters();
  if (end_prepare_called_) {
    const Guid set = document_.snapshot_set_id;
    CallProviders(
        "AbortSnapshots", coordinator_.limits_.clean_up, [set](Provider& p) { return p.AbortSnapshots(set); }, true)
        .IgnoreError();  // the error that led here is the one to be told
  }
  Advance(SnapshotEvent::kAbort).IgnoreError();  // refused only where there is nothing to abort
  stage_ = Stage::kAborted;
}

absl::Status EngineSession::DoSnapshotSet() {
  const bool without_writers = (document_.context & kAttrNoWriters) != 0;
  RETURN_IF_ERROR(Require("DoSnapshotSet", {without_writers ? Stage::kSetStarted : Stage::kPrepared}));
  const absl::Cleanup unlock = [this] { coordinator_.EndCreation(id_); };
  RETURN_IF_ERROR(Advance(SnapshotEvent::kEndPrepare));
  const absl::Status made = MakeSet();
  if (!made.ok()) {
    FailSet();
    return made;
  }
  stage_ = Stage::kSetMade;
  return absl::OkStatus();
}

// --- backup: afterwards ---

absl::StatusOr<SnapshotProperties> EngineSession::GetSnapshotProperties(const Guid& snapshot_id) {
  RETURN_IF_ERROR(Require("GetSnapshotProperties", {Stage::kSetMade, Stage::kCompleted}));
  for (const Snapshot& snapshot : snapshots_) {
    if (snapshot.id != snapshot_id) continue;
    ASSIGN_OR_RETURN(SnapshotProperties properties, snapshot.provider->GetSnapshotProperties(snapshot_id));
    properties.state = set_state_;
    return properties;
  }
  return Error(Code::kObjectNotFound, "no snapshot {}", snapshot_id.ToString());
}

absl::Status EngineSession::SetBackupSucceeded(const ComponentId& id, bool succeeded) {
  ASSIGN_OR_RETURN(BackupComponent * c, ComponentAt("SetBackupSucceeded", {Stage::kSetMade}, id));
  c->succeeded = succeeded;
  return absl::OkStatus();
}

absl::Status EngineSession::BackupComplete() {
  RETURN_IF_ERROR(Require("BackupComplete", {Stage::kSetMade}));
  if ((document_.context & kAttrNoWriters) != 0) return Error(Code::kBadState, "the context has no writers");
  Deliver(WriterEvent::kBackupComplete, Participants());
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
      AbortWriters();  // reaches nobody who has had PostSnapshot; Release lets the copies go
      stage_ = Stage::kAborted;
      break;
    default:
      break;  // nothing is under way
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> EngineSession::SaveAsXml() {
  if (stage_ == Stage::kNew || stage_ == Stage::kBackup || stage_ == Stage::kGathered || stage_ == Stage::kSetStarted ||
      stage_ == Stage::kPrepared) {
    return Error(Code::kBadState, "the document isn't complete before the end of DoSnapshotSet");
  }
  return PrintBackupComponents(document_);
}

absl::Status EngineSession::Release() {
  if (stage_ == Stage::kReleased) return absl::OkStatus();
  AbortBackup().IgnoreError();  // always OK
  absl::Status deleted;
  if (set_state_ == SnapshotState::kCreated && (document_.context & kAttrNoAutoRelease) == 0) {
    const Guid set = document_.snapshot_set_id;
    deleted = CallProviders(
        "DeleteSnapshots", coordinator_.limits_.clean_up, [set](Provider& p) { return p.DeleteSnapshots(set); }, true);
    if (deleted.ok()) deleted = Advance(SnapshotEvent::kDelete);
  }
  if (set_state_ != SnapshotState::kUnknown) Deliver(WriterEvent::kBackupShutdown, Participants());
  for (const Participant& p : writers_) {
    coordinator_.RememberStatus({p.identity, p.state, p.failure, p.component_count});
  }
  stage_ = Stage::kReleased;
  return deleted;
}

// --- restore ---

absl::Status EngineSession::SetSelectedForRestore(const ComponentId& id) {
  ASSIGN_OR_RETURN(BackupComponent * c, ComponentAt("SetSelectedForRestore", {Stage::kRestoreGathered}, id));
  const bool runs = std::any_of(writers_.begin(), writers_.end(),
                                [&](const Participant& p) { return p.identity.writer_id == id.writer_id; });
  if (!runs) return Error(Code::kObjectNotFound, "writer {} doesn't run", id.writer_id.ToString());
  c->selected_for_restore = true;
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
  ASSIGN_OR_RETURN(BackupComponent * c, ComponentAt("AddNewTarget", {Stage::kRestoreGathered}, id));
  c->new_targets.push_back(target);
  return absl::OkStatus();
}

absl::Status EngineSession::PreRestore() {
  RETURN_IF_ERROR(Require("PreRestore", {Stage::kRestoreGathered}));
  Deliver(WriterEvent::kPreRestore, RestoreParticipants());
  stage_ = Stage::kPreRestored;
  return absl::OkStatus();
}

absl::Status EngineSession::SetFileRestoreStatus(const ComponentId& id, FileRestoreStatus status) {
  ASSIGN_OR_RETURN(BackupComponent * c, ComponentAt("SetFileRestoreStatus", {Stage::kPreRestored}, id));
  c->file_restore_status = status;
  return absl::OkStatus();
}

absl::Status EngineSession::PostRestore() {
  RETURN_IF_ERROR(Require("PostRestore", {Stage::kPreRestored}));
  Deliver(WriterEvent::kPostRestore, RestoreParticipants());
  stage_ = Stage::kPostRestored;
  return absl::OkStatus();
}

}  // namespace umbra::vss
