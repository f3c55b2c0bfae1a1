// The writers' side of a session: Identify, delivery of events, the frozen writers' limits.
#include <algorithm>
#include <utility>

#include "agent/vss/engine_session.h"
#include "agent/vss/writer_state.h"
#include "storage/base/status.h"

namespace umbra::vss {
namespace {

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
    case WriterEvent::kIdentify:     // has its own way: it returns metadata
    case WriterEvent::kFreezeTimer:  // has no handler
      break;
  }
  return Error(Code::kUnexpected, "no handler for {}", NameOf(event));
}

// Undoing must happen even when nobody waits for it any more.
bool MustRun(WriterEvent event) {
  return event == WriterEvent::kAbort || event == WriterEvent::kBackupShutdown;
}

bool IsFreezeOrThaw(WriterEvent event) {
  return event == WriterEvent::kFreeze || event == WriterEvent::kThaw;
}

bool EndsFreeze(WriterEvent event) {
  return event == WriterEvent::kThaw || event == WriterEvent::kAbort;
}

bool Has(const std::vector<Guid>& ids, const Guid& id) {
  return std::find(ids.begin(), ids.end(), id) != ids.end();
}

// With several instances of a class, the one that the requester named takes part in a restore.
bool IsRestoredBy(const BackupComponent& c, const WriterIdentity& identity) {
  if (!c.selected_for_restore) return false;
  const bool any = c.target_instance.is_null() && c.target_instance_name.empty();
  return any || (!c.target_instance.is_null() && c.target_instance == identity.instance_id) ||
         (!c.target_instance_name.empty() && c.target_instance_name == identity.instance_name);
}

// Takes over what belongs to the writer in this event (backup_components.h).
void Merge(WriterEvent event, const BackupComponent& from, BackupComponent* to) {
  switch (event) {
    case WriterEvent::kPrepareBackup:
    case WriterEvent::kPrepareSnapshot:
    case WriterEvent::kFreeze:
    case WriterEvent::kThaw:
    case WriterEvent::kPostSnapshot:
      to->backup_metadata = from.backup_metadata;
      to->backup_stamp = from.backup_stamp;
      to->partial_files = from.partial_files;
      to->differenced_files = from.differenced_files;
      to->prepare_for_backup_failure = from.prepare_for_backup_failure;
      to->post_snapshot_failure = from.post_snapshot_failure;
      break;
    case WriterEvent::kPreRestore:
      to->restore_metadata = from.restore_metadata;
      to->restore_target = from.restore_target;
      to->directed_targets = from.directed_targets;
      to->pre_restore_failure = from.pre_restore_failure;
      break;
    case WriterEvent::kPostRestore:
      to->post_restore_failure = from.post_restore_failure;
      break;
    default:
      return;  // the document can't be changed there
  }
  to->failure = from.failure;
}

}  // namespace

bool EngineSession::IsEnabled(const WriterIdentity& identity) const {
  if (!enabled_classes_.empty() && !Has(enabled_classes_, identity.writer_id)) return false;
  return !Has(disabled_classes_, identity.writer_id) && !Has(disabled_instances_, identity.instance_id);
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
    if (!IsEnabled(slot.writer->identity())) continue;
    Asked a;
    a.participant.writer = slot.writer;
    a.participant.lane = slot.lane.get();
    a.participant.identity = slot.writer->identity();
    a.participant.limits = slot.writer->limits();
    auto context = std::make_shared<EventContext>();
    context->session_id = id_;
    context->context = document_.context;
    context->backup_state = document_.state;
    context->restore_type = document_.restore_type;
    context->cancelled = cancelled_;
    a.call = slot.lane->Post([writer = slot.writer, context, metadata = a.metadata]() -> absl::Status {
      ASSIGN_OR_RETURN(*metadata, writer->OnIdentify(*context));
      return absl::OkStatus();
    });
    asked.push_back(std::move(a));
  }
  for (Asked& a : asked) {
    Participant& p = a.participant;
    Lane::Outcome outcome;
    const absl::Duration left = start + p.limits.identify - coordinator_.clock_.Monotonic();
    if (!p.lane->Await(a.call, std::max(absl::ZeroDuration(), left), &outcome)) {
      p.lane->Abandon(a.call);
      outcome.result =
          Error(Code::kWriterNotResponding, "no answer within {}", absl::FormatDuration(p.limits.identify));
    }
    if (!outcome.result.ok()) {
      // Absent from the session, as VSS has it; its status says why.
      coordinator_.RememberStatus({p.identity, WriterState::kFailedAtIdentify, AsWriterError(outcome.result), 0});
      continue;
    }
    p.component_count = static_cast<int>(a.metadata->components.size());
    metadata_.push_back(std::move(*a.metadata));
    writers_.push_back(std::move(p));
  }
  return CheckNotCancelled();
}

// The entry of the same instance; in a restore, where instances have other ids than at the backup, the one that the
// requester names, or that has the same instance name, or any of the class.
WriterComponents* EngineSession::PartOf(const Participant& p) {
  const bool restore = stage_ == Stage::kRestoreGathered || stage_ == Stage::kPreRestored;
  WriterComponents* of_class = nullptr;
  for (WriterComponents& w : document_.writers) {
    if (w.writer_id != p.identity.writer_id) continue;
    if (w.instance_id == p.identity.instance_id) return &w;
    const bool same_name = w.instance_name == p.identity.instance_name;
    if (restore && (of_class == nullptr || same_name)) of_class = &w;
  }
  return of_class;
}

std::shared_ptr<EventContext> EngineSession::MakeContext(Participant& p) {
  std::shared_ptr<EventContext> context = std::exchange(p.context, nullptr);
  if (context == nullptr) {
    context = std::make_shared<EventContext>();
    context->session_id = id_;
    context->context = document_.context;
    context->backup_state = document_.state;
    context->cancelled = cancelled_;
  }
  context->snapshot_set_id = document_.snapshot_set_id;
  context->restore_type = document_.restore_type;
  // Volumes are only ever added.
  for (size_t i = context->volumes.size(); i < snapshots_.size(); ++i) context->volumes.push_back(snapshots_[i].volume);
  const WriterComponents* mine = PartOf(p);
  if (mine == nullptr) {
    context->components.clear();
  } else {
    context->components = mine->components;
  }
  context->failure = absl::OkStatus();
  return context;
}

EngineSession::Deliveries EngineSession::Begin(WriterEvent event, const std::vector<Participant*>& to) {
  if (in_window_ && IsFreezeOrThaw(event)) ExpireFrozen();
  Deliveries deliveries;
  deliveries.reserve(to.size());
  for (Participant* p : to) {
    if (!NextState(p->state, event, true).has_value()) continue;
    std::shared_ptr<EventContext> context = MakeContext(*p);
    const absl::Duration now = coordinator_.clock_.Monotonic();
    NoteHandedOut(event, *p, now);
    if (event == WriterEvent::kThaw) p->thawing = true;
    Lane::CallPtr call =
        p->lane->Post([writer = p->writer, event, context] { return Call(*writer, event, *context); }, MustRun(event));
    const absl::Duration start = IsFreezeOrThaw(event) ? p->frozen_since : now;
    deliveries.push_back({p, std::move(context), std::move(call), start + p->limits.Of(event)});
  }
  return deliveries;
}

void EngineSession::NoteHandedOut(WriterEvent event, Participant& p, absl::Duration when) {
  if (event == WriterEvent::kFreeze) {
    p.frozen_since = when;
    p.freeze = FreezeTimes{.freeze = coordinator_.clock_.Now()};
  } else if (EndsFreeze(event) && p.freeze.has_value() && !p.freeze->thaw.has_value()) {
    p.freeze->thaw = p.freeze->freeze + (when - p.frozen_since);
  }
}

void EngineSession::NoteAnswered(WriterEvent event, Participant& p, absl::Duration when) {
  if (!p.freeze.has_value()) return;
  const absl::Time time = p.freeze->freeze + (when - p.frozen_since);
  if (event == WriterEvent::kFreeze) p.freeze->frozen = time;
  if (EndsFreeze(event) && !p.freeze->thawed.has_value()) p.freeze->thawed = time;
}

void EngineSession::Collect(WriterEvent event, Deliveries deliveries) {
  // The first deadline first: whoever misses it is dealt with in time, however long the others take.
  std::stable_sort(deliveries.begin(), deliveries.end(),
                   [](const Delivery& a, const Delivery& b) { return a.deadline < b.deadline; });
  for (Delivery& d : deliveries) Finish(event, d);
}

bool EngineSession::AwaitWriter(Participant& p, const Lane::CallPtr& call, absl::Duration deadline,
                                Lane::Outcome* outcome) {
  while (true) {
    const absl::Duration until = std::min(deadline, in_window_ ? WindowEnd() : absl::InfiniteDuration());
    const absl::Duration left = until - coordinator_.clock_.Monotonic();
    if (p.lane->Await(call, std::max(absl::ZeroDuration(), left), outcome)) return true;
    if (in_window_) ExpireFrozen();
    if (coordinator_.clock_.Monotonic() >= deadline) return false;
  }
}

void EngineSession::Finish(WriterEvent event, Delivery& d) {
  Participant& p = *d.participant;
  // What waits behind a call that hangs is delivered when that returns; nobody waits for it.
  if (p.hung != nullptr && !p.lane->IsDone(p.hung)) return;
  p.hung = nullptr;

  Lane::Outcome outcome;
  const bool answered = AwaitWriter(p, d.call, d.deadline, &outcome);
  p.thawing = false;
  if (!answered) {
    p.lane->Abandon(d.call);
    p.hung = std::move(d.call);
    Fail(event, IsFreezeOrThaw(event) ? WriterEvent::kFreezeTimer : event, p,
         Error(IsFreezeOrThaw(event) ? Code::kWriterErrorTimeout : Code::kWriterNotResponding, "no answer within {}",
               absl::FormatDuration(p.limits.Of(event))));
    return;
  }
  if (outcome.result.ok()) NoteAnswered(event, p, outcome.finished);
  MergeComponents(event, p, *d.context);
  if (!outcome.result.ok()) {
    Fail(event, event, p, outcome.result);
  } else if (IsFreezeOrThaw(event) && outcome.finished > d.deadline) {
    Fail(event, WriterEvent::kFreezeTimer, p,
         Error(Code::kWriterErrorTimeout, "frozen for more than {}", absl::FormatDuration(p.limits.freeze)));
  } else {
    p.state = NextState(p.state, event, true).value_or(p.state);
    if (!d.context->failure.ok()) NoteFailure(event, p, d.context->failure);
  }
  p.context = std::move(d.context);
}

// The first failure is the one to be read.
void EngineSession::NoteFailure(WriterEvent event, Participant& p, const absl::Status& cause) {
  if (!p.failure.ok()) return;
  const absl::Status error = AsWriterError(cause);
  p.failure =
      base::Annotate(error, "writer \"{}\" failed at {}, {}", p.identity.name, NameOf(event), Describe(CodeOf(error)));
}

void EngineSession::Fail(WriterEvent event, WriterEvent step, Participant& p, const absl::Status& cause) {
  NoteFailure(event, p, cause);
  p.state = NextState(p.state, step, false).value_or(p.state);
  if (IsFreezeOrThaw(event)) AbortWriters({&p});
}

void EngineSession::MergeComponents(WriterEvent event, const Participant& p, const EventContext& context) {
  WriterComponents* mine = PartOf(p);
  if (mine == nullptr) return;
  for (const BackupComponent& from : context.components) {
    for (BackupComponent& to : mine->components) {
      if (to.logical_path == from.logical_path && to.name == from.name) Merge(event, from, &to);
    }
  }
}

absl::Duration EngineSession::WindowEnd() const {
  absl::Duration end = absl::InfiniteDuration();
  for (const Participant& p : writers_) {
    if (p.state == WriterState::kWaitingForThaw && !p.thawing) end = std::min(end, p.frozen_since + p.limits.freeze);
  }
  return end;
}

void EngineSession::ExpireFrozen() {
  const absl::Duration now = coordinator_.clock_.Monotonic();
  for (Participant& p : writers_) {
    if (p.state != WriterState::kWaitingForThaw || p.thawing || now < p.frozen_since + p.limits.freeze) continue;
    Fail(WriterEvent::kFreeze, WriterEvent::kFreezeTimer, p,
         Error(Code::kWriterErrorTimeout, "frozen for {}, at most {}", absl::FormatDuration(now - p.frozen_since),
               absl::FormatDuration(p.limits.freeze)));
  }
}

void EngineSession::AbortWriters(const std::vector<Participant*>& whom) {
  for (Participant* p : whom) {
    if (std::exchange(p->aborted, true)) continue;
    for (Delivery& d : Begin(WriterEvent::kAbort, {p})) pending_aborts_.push_back(std::move(d));
  }
}

void EngineSession::CollectAborts() {
  Collect(WriterEvent::kAbort, std::exchange(pending_aborts_, {}));
}

bool EngineSession::TakesPart(const Participant& p) {
  if ((document_.context & kAttrNoWriters) != 0) return false;
  if (!document_.state.select_components) return true;
  const WriterComponents* mine = PartOf(p);
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
    const WriterComponents* mine = PartOf(writers_[i]);
    if (mine == nullptr) continue;
    const bool selected = std::any_of(mine->components.begin(), mine->components.end(),
                                      [&](const BackupComponent& c) { return IsRestoredBy(c, writers_[i].identity); });
    if (selected) result.push_back(&writers_[i]);
  }
  return result;
}

absl::StatusOr<std::vector<WriterStatus>> EngineSession::GatherWriterStatus() {
  if (stage_ == Stage::kNew || stage_ == Stage::kBackup || stage_ == Stage::kRestore) {
    return Error(Code::kBadState, "GatherWriterStatus before GatherWriterMetadata");
  }
  std::vector<WriterStatus> result;
  for (const Participant& p : writers_) {
    result.push_back({p.identity, p.state, p.failure, p.component_count, p.freeze});
  }
  return result;
}

}  // namespace umbra::vss
