// The providers' side of a session: volumes, and the making of the set inside the freeze window.
#include <algorithm>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "agent/vss/engine_session.h"
#include "storage/base/status.h"

namespace umbra::vss {
namespace {

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
  explicit FreezeWindow(EngineSession& session) : session_(session) { session_.in_window_ = true; }
  ~FreezeWindow() {
    if (!thawed_) {
      session_.ExpireFrozen();
      session_.AbortWriters(session_.Participants());
    }
    session_.in_window_ = false;
  }
  FreezeWindow(const FreezeWindow&) = delete;
  FreezeWindow& operator=(const FreezeWindow&) = delete;

  void Freeze() {
    for (int rank = 0; rank < kFreezeRankCount; ++rank) session_.Deliver(WriterEvent::kFreeze, OfRank(rank));
  }

  // A level that hangs in its thaw doesn't keep the next one frozen.
  void Thaw() {
    Deliveries all;
    for (int rank = kFreezeRankCount - 1; rank >= 0; --rank) {
      Deliveries of_rank = session_.Begin(WriterEvent::kThaw, OfRank(rank));
      if (rank > 0) AwaitTurn(of_rank);
      all.insert(all.end(), std::make_move_iterator(of_rank.begin()), std::make_move_iterator(of_rank.end()));
    }
    session_.Collect(WriterEvent::kThaw, std::move(all));
    thawed_ = true;
  }

 private:
  std::vector<Participant*> OfRank(int rank) {
    std::vector<Participant*> of_rank = session_.Participants();
    std::erase_if(of_rank, [&](const Participant* p) { return FreezeRank(p->identity.level) != rank; });
    return of_rank;
  }

  void AwaitTurn(const Deliveries& deliveries) {
    base::Clock& clock = session_.coordinator_.clock_;
    const absl::Duration end = clock.Monotonic() + session_.coordinator_.limits_.thaw_turn;
    Lane::Outcome later;  // Collect looks at it
    for (const Delivery& d : deliveries) {
      d.participant->lane->Await(d.call, std::max(absl::ZeroDuration(), end - clock.Monotonic()), &later);
    }
  }

  EngineSession& session_;
  bool thawed_ = false;
};

// --- volumes ---

absl::StatusOr<Guid> EngineSession::StartSnapshotSet(absl::Duration wait) {
  const bool gathered = stage_ == Stage::kBackup && (document_.context & kAttrNoWriters) != 0;  // nobody to ask
  RETURN_IF_ERROR(Require("StartSnapshotSet", {gathered ? Stage::kBackup : Stage::kGathered}));
  RETURN_IF_ERROR(CheckNotCancelled());
  if (!coordinator_.TakeCreation(id_, wait, *cancelled_)) {
    RETURN_IF_ERROR(CheckNotCancelled());
    return Error(Code::kSnapshotSetInProgress, "another backup of this host makes its snapshot set, waited for {}",
                 absl::FormatDuration(wait));
  }
  RETURN_IF_ERROR(Advance(SnapshotEvent::kStart));
  document_.snapshot_set_id = Guid::Literal(coordinator_.random_.Uuid());
  stage_ = Stage::kSetStarted;
  return document_.snapshot_set_id;
}

absl::StatusOr<std::vector<Provider*>> EngineSession::BeginAtProviders(const std::vector<SnapshotRequest>& requests,
                                                                       const Guid& provider_id) {
  std::vector<Provider*> chosen(requests.size(), nullptr);
  bool asked = false;
  for (const auto& slot : coordinator_.providers_) {
    if (!provider_id.is_null() && slot.provider->identity().provider_id != provider_id) continue;
    asked = true;
    std::vector<size_t> open;  // those that nobody took yet
    std::vector<SnapshotRequest> of_open;
    for (size_t i = 0; i < requests.size(); ++i) {
      if (chosen[i] != nullptr) continue;
      open.push_back(i);
      of_open.push_back(requests[i]);
    }
    if (open.empty()) break;
    ProviderUse use{slot.provider, slot.lane.get(), nullptr};
    const auto begun = std::make_shared<std::vector<bool>>(open.size(), false);  // the call may outlive the session
    const auto call = use.lane->Post([provider = use.provider, of_open, begun]() -> absl::Status {
      for (size_t i = 0; i < of_open.size(); ++i) {
        ASSIGN_OR_RETURN(const bool supported, provider->IsVolumeSupported(of_open[i].volume, of_open[i].context));
        if (!supported) continue;
        RETURN_IF_ERROR(base::Annotate(provider->BeginPrepareSnapshot(of_open[i]), "volume {}", of_open[i].volume));
        (*begun)[i] = true;
      }
      return absl::OkStatus();
    });
    const absl::Duration deadline = coordinator_.clock_.Monotonic() + coordinator_.limits_.prepare;
    RETURN_IF_ERROR(FinishCall("BeginPrepareSnapshot", use, call, deadline));
    for (size_t i = 0; i < open.size(); ++i) {
      if ((*begun)[i]) chosen[open[i]] = use.provider;
    }
  }
  if (!provider_id.is_null() && !asked) {
    return Error(Code::kProviderNotRegistered, "no provider {}", provider_id.ToString());
  }
  for (size_t i = 0; i < requests.size(); ++i) {
    if (chosen[i] != nullptr) continue;
    return Error(provider_id.is_null() ? Code::kVolumeNotSupported : Code::kVolumeNotSupportedByProvider, "volume {}",
                 requests[i].volume);
  }
  return chosen;
}

absl::Status EngineSession::CheckVolumes(const std::vector<std::string>& volumes) const {
  if (snapshots_.size() + volumes.size() > static_cast<size_t>(kMaxVolumesPerSet)) {
    return Error(Code::kMaximumNumberOfVolumesReached, "a set holds at most {} volumes", kMaxVolumesPerSet);
  }
  for (auto it = volumes.begin(); it != volumes.end(); ++it) {
    const bool again = std::find(volumes.begin(), it, *it) != it;
    const bool known =
        std::any_of(snapshots_.begin(), snapshots_.end(), [&](const Snapshot& s) { return s.volume == *it; });
    if (again || known) return Error(Code::kObjectAlreadyExists, "volume {} is in the set already", *it);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Guid>> EngineSession::AddVolumes(const std::vector<std::string>& volumes,
                                                            const Guid& provider_id) {
  RETURN_IF_ERROR(Require("AddToSnapshotSet", {Stage::kSetStarted, Stage::kPrepared}));
  RETURN_IF_ERROR(CheckNotCancelled());
  RETURN_IF_ERROR(CheckVolumes(volumes));
  RETURN_IF_ERROR(Advance(SnapshotEvent::kAddVolume));
  std::vector<SnapshotRequest> requests;
  std::vector<Guid> ids;
  for (const std::string& volume : volumes) {
    ids.push_back(Guid::Literal(coordinator_.random_.Uuid()));
    requests.push_back({document_.snapshot_set_id, ids.back(), volume, document_.context});
  }
  ASSIGN_OR_RETURN(const std::vector<Provider*> chosen, BeginAtProviders(requests, provider_id));
  for (const auto& slot : coordinator_.providers_) {
    const bool known = std::any_of(providers_.begin(), providers_.end(),
                                   [&](const ProviderUse& u) { return u.provider == slot.provider; });
    const bool used = std::find(chosen.begin(), chosen.end(), slot.provider) != chosen.end();
    if (used && !known) providers_.push_back({slot.provider, slot.lane.get(), nullptr});
  }
  for (size_t i = 0; i < volumes.size(); ++i) {
    snapshots_.push_back({ids[i], volumes[i], chosen[i]});
    document_.snapshots.push_back({ids[i], chosen[i]->identity().provider_id, volumes[i]});
  }
  return ids;
}

absl::StatusOr<Guid> EngineSession::AddToSnapshotSet(const std::string& volume, const Guid& provider_id) {
  ASSIGN_OR_RETURN(const std::vector<Guid> ids, AddVolumes({volume}, provider_id));
  return ids.front();
}

absl::StatusOr<std::vector<Guid>> EngineSession::AddVolumesToSnapshotSet(const std::vector<std::string>& volumes) {
  return AddVolumes(volumes, Guid());
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
  Lane::Outcome outcome;
  if (!use.lane->Await(call, std::max(absl::ZeroDuration(), deadline - start), &outcome)) {
    use.lane->Abandon(call);
    use.hung = call;
    const Code code = what == "CommitSnapshots" ? Code::kHoldWritesTimeout : Code::kUnexpectedProviderError;
    return Error(code, "provider \"{}\": {} has not ended after {}", name, what,
                 absl::FormatDuration(coordinator_.clock_.Monotonic() - start));
  }
  return base::Annotate(AsProviderError(outcome.result), "provider \"{}\": {}", name, what);
}

absl::Status EngineSession::CallProviders(std::string_view what, absl::Duration limit, const ProviderCall& call,
                                          bool must_run) {
  const absl::Duration end = in_window_ ? WindowEnd() : absl::InfiniteDuration();
  const absl::Duration deadline = std::min(coordinator_.clock_.Monotonic() + limit, end);
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
  RETURN_IF_ERROR(CheckNotCancelled());
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
  RETURN_IF_ERROR(CheckNotCancelled());
  Deliver(WriterEvent::kPrepareSnapshot, Participants());
  RETURN_IF_ERROR(CheckNotCancelled());
  end_prepare_called_ = true;
  RETURN_IF_ERROR(
      CallProviders("EndPrepareSnapshots", limits.prepare, [set](Provider& p) { return p.EndPrepareSnapshots(set); }));
  RETURN_IF_ERROR(Advance(SnapshotEvent::kDone));
  RETURN_IF_ERROR(CheckNotCancelled());
  RETURN_IF_ERROR(CommitFrozen());
  RETURN_IF_ERROR(Phase(SnapshotEvent::kPreFinalCommit, "PreFinalCommitSnapshots", limits.finish,
                        [set](Provider& p) { return p.PreFinalCommitSnapshots(set); }));
  RETURN_IF_ERROR(CheckNotCancelled());
  Deliver(WriterEvent::kPostSnapshot, Participants());
  return Phase(SnapshotEvent::kPostFinalCommit, "PostFinalCommitSnapshots", limits.finish,
               [set](Provider& p) { return p.PostFinalCommitSnapshots(set); });
}

void EngineSession::FailSet() {
  // Who was frozen runs again before the copies are dropped.
  AbortWriters(Participants());
  CollectAborts();
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
  CollectAborts();
  stage_ = Stage::kSetMade;
  return absl::OkStatus();
}

absl::StatusOr<SnapshotProperties> EngineSession::GetSnapshotProperties(const Guid& snapshot_id) {
  RETURN_IF_ERROR(Require("GetSnapshotProperties", {Stage::kSetMade, Stage::kCompleted}));
  const auto snapshot =
      std::find_if(snapshots_.begin(), snapshots_.end(), [&](const Snapshot& s) { return s.id == snapshot_id; });
  if (snapshot == snapshots_.end()) return Error(Code::kObjectNotFound, "no snapshot {}", snapshot_id.ToString());
  const auto use = std::find_if(providers_.begin(), providers_.end(),
                                [&](const ProviderUse& u) { return u.provider == snapshot->provider; });
  const auto properties = std::make_shared<SnapshotProperties>();
  const auto call = use->lane->Post([provider = use->provider, snapshot_id, properties]() -> absl::Status {
    ASSIGN_OR_RETURN(*properties, provider->GetSnapshotProperties(snapshot_id));
    return absl::OkStatus();
  });
  const absl::Duration deadline = coordinator_.clock_.Monotonic() + coordinator_.limits_.finish;
  RETURN_IF_ERROR(FinishCall("GetSnapshotProperties", *use, call, deadline));
  properties->state = set_state_;
  return *properties;
}

absl::Status EngineSession::DeleteSnapshots() {
  RETURN_IF_ERROR(Require("DeleteSnapshots", {Stage::kSetMade, Stage::kCompleted, Stage::kAborted}));
  if (set_state_ != SnapshotState::kCreated) return absl::OkStatus();
  const Guid set = document_.snapshot_set_id;
  RETURN_IF_ERROR(CallProviders(
      "DeleteSnapshots", coordinator_.limits_.clean_up, [set](Provider& p) { return p.DeleteSnapshots(set); }, true));
  return Advance(SnapshotEvent::kDelete);
}

}  // namespace umbra::vss
