#include "server/jobs/job_engine.h"

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "storage/base/crash_point.h"
#include "storage/base/log.h"
#include "storage/base/status.h"

namespace umbra::jobs {

using catalog::JobMessage;
using catalog::JobPhase;
using catalog::JobProgress;
using catalog::Severity;
using catalog::Stores;
using catalog::VmKey;

namespace {

constexpr char kStatesTopic[] = "*";  // no job has this id

absl::Status Invalid(std::string message) {
  return base::MakeError(absl::StatusCode::kInvalidArgument, "INVALID_REQUEST", std::move(message));
}

absl::Status CheckBackup(const catalog::BackupSpec& spec) {
  if (spec.vms.empty()) return Invalid("a backup names at least one virtual machine");
  if (spec.repository.empty()) return Invalid("a backup needs a repository");
  absl::flat_hash_set<VmKey> seen;
  for (const VmKey& vm : spec.vms) {
    if (vm.host.empty() || vm.uuid.empty()) return Invalid("a virtual machine of a backup has no host or no uuid");
    if (vm.host != spec.vms.front().host) return Invalid("the virtual machines of one backup are of one host");
    if (!seen.insert(vm).second) return Invalid(fmt::format("virtual machine {} is named twice", vm.uuid));
  }
  return absl::OkStatus();
}

absl::Status CheckRestore(const catalog::RestoreSpec& spec) {
  if (spec.recovery_point.empty()) return Invalid("a restore names a recovery point");
  if (spec.target_host.empty()) return Invalid("a restore needs a target host");
  if (spec.mode == catalog::RestoreMode::kUnspecified) return Invalid("a restore says new or in place");
  if ((spec.mode == catalog::RestoreMode::kInPlace) == spec.replaced_vm.empty()) {
    return Invalid("a restore in place, and no other, replaces a virtual machine");
  }
  return absl::OkStatus();
}

absl::Status CheckSpec(const catalog::JobSpec& spec) {
  if (const auto* backup = std::get_if<catalog::BackupSpec>(&spec)) return CheckBackup(*backup);
  if (const auto* restore = std::get_if<catalog::RestoreSpec>(&spec)) return CheckRestore(*restore);
  if (const auto* prune = std::get_if<catalog::PruneSpec>(&spec)) {
    return prune->repository.empty() ? Invalid("a prune needs a repository") : absl::OkStatus();
  }
  return std::get<catalog::VerifySpec>(spec).repository.empty() ? Invalid("a verification needs a repository")
                                                                : absl::OkStatus();
}

// The job that `request` made before, when it did.
absl::StatusOr<std::optional<Job>> Replay(const Stores& stores, const RequestKey& request) {
  if (request.id.empty()) return std::nullopt;
  if (request.id.size() > kRequestIdLengthMax) {
    return Invalid(fmt::format("request_id is longer than {} bytes", kRequestIdLengthMax));
  }
  ASSIGN_OR_RETURN(const std::optional<catalog::Request> earlier, stores.requests.Find(request.id));
  if (!earlier.has_value()) return std::nullopt;
  if (earlier->request_hash != request.hash) {
    return base::Error(absl::StatusCode::kAlreadyExists, "REQUEST_ID_REUSED",
                       "request_id {} was used with another request", request.id);
  }
  return stores.jobs.Get(earlier->job);
}

// ---- Events of the log ----

Severity SeverityOf(const Job& job, bool has_warnings) {
  if (job.state == JobState::kFailed) return Severity::kError;
  return job.state == JobState::kSucceeded && has_warnings ? Severity::kWarning : Severity::kInfo;
}

catalog::Event StateEvent(const Job& job, absl::Time now) {
  std::string message = fmt::format("{} {}", catalog::NameOf(catalog::KindOf(job.spec)), catalog::NameOf(job.state));
  if (job.state == JobState::kFailed) message += fmt::format(": {} ({})", job.error.message, job.error.reason);
  return {.time = now,
          .type = "JOB_STATE_CHANGED",
          .resource = "jobs/" + job.id.value,
          .severity = SeverityOf(job, !job.warnings.empty()),
          .message = std::move(message)};
}

catalog::Event PointEvent(const catalog::RecoveryPoint& point, absl::Time now) {
  return {.time = now,
          .type = "RECOVERY_POINT_CREATED",
          .resource = "recoveryPoints/" + point.id.value,
          .severity = Severity::kInfo,
          .message = "recovery point of " + point.vm_display_name};
}

catalog::Event WaitEvent(const JobId& id, const std::string& reason, absl::Time now) {
  return {.time = now,
          .type = "JOB_WAITING",
          .resource = "jobs/" + id.value,
          .severity = Severity::kInfo,
          .message = "waits: " + reason};
}

// ---- Facts of an event, taken into the job ----

// A disk's figures never go down, and what is done is part of the whole. How it is read is told once it is known.
void MergeDisk(catalog::DiskProgress& into, const catalog::DiskProgress& from) {
  into.done_bytes = std::max(into.done_bytes, from.done_bytes);
  into.total_bytes = std::max({from.total_bytes, into.done_bytes, int64_t{0}});
  if (from.read_mode == catalog::ReadMode::kUnspecified) return;
  into.read_mode = from.read_mode;
  into.full_read_reason = from.full_read_reason;
  into.full_read_message = from.full_read_message;
  into.changed_bytes = from.changed_bytes;
}

void MergeDisks(std::vector<catalog::DiskProgress>& into, const std::vector<catalog::DiskProgress>& from) {
  for (size_t i = 0; i < from.size(); ++i) {
    // Reports keep their order, so that a disk is nearly always at its own index.
    const auto same = [&](const auto& d) { return d.vm == from[i].vm && d.disk == from[i].disk; };
    auto it = i < into.size() && same(into[i]) ? into.begin() + static_cast<ptrdiff_t>(i)
                                               : std::find_if(into.begin(), into.end(), same);
    if (it == into.end()) {
      if (into.size() >= kProgressDisksMax) return;
      it = into.insert(into.end(), catalog::DiskProgress{.vm = from[i].vm, .disk = from[i].disk});
    }
    MergeDisk(*it, from[i]);
  }
}

void MergeProgress(JobProgress& into, const JobProgress& from) {
  into.done_bytes = std::max(into.done_bytes, from.done_bytes);
  into.total_bytes = std::max({from.total_bytes, into.done_bytes, int64_t{0}});
  into.read_bytes = std::max(into.read_bytes, from.read_bytes);
  into.new_bytes = std::max(into.new_bytes, from.new_bytes);
  into.stored_bytes = std::max(into.stored_bytes, from.stored_bytes);
  into.rate_bytes_per_second = std::max(from.rate_bytes_per_second, int64_t{0});
  into.eta = from.eta;
  MergeDisks(into.disks, from.disks);
}

JobMessage DefaultError(JobEvent event) {
  switch (event) {
    case JobEvent::kAgentLost:
      return {"AGENT_RESTARTED", "the agent restarted while it worked; it put everything back"};
    case JobEvent::kAgentCancelled:
      return {"AGENT_RESTARTED", "the agent was stopped while it worked; it put everything back"};
    case JobEvent::kLeaseExpired:
      return {"AGENT_LOST", "the agent lost its link for too long"};
    case JobEvent::kServerRestarted:
      return {"DAEMON_RESTARTED", "the daemon restarted while the job ran"};
    default:
      return {"INTERNAL", "the worker failed and gave no reason"};
  }
}

JobMessage ErrorOf(JobEvent event, const EventFacts& facts) {
  return facts.error.reason.empty() ? DefaultError(event) : facts.error;
}

void TakeFacts(Job& job, const EventFacts& facts) {
  if (facts.phase.has_value()) job.phase = *facts.phase;
  if (facts.progress.has_value()) MergeProgress(job.progress, *facts.progress);
  job.freeze_duration = std::max(job.freeze_duration, facts.freeze_duration);
  job.downtime = std::max(job.downtime, facts.downtime);
  if (!facts.restored_vm_uuid.empty()) job.restored_vm_uuid = facts.restored_vm_uuid;
}

// Forgets what an attempt left in the job.
void ResetAttempt(Job& job) {
  job.phase = JobPhase::kNone;
  job.progress = {};
  job.start_time.reset();
  job.freeze_duration = absl::ZeroDuration();
  job.downtime = absl::ZeroDuration();
  job.wait_reason.clear();
}

void EnterState(Job& job, JobState next, absl::Time now) {
  const JobState before = std::exchange(job.state, next);
  if (before == next) return;
  if (next == JobState::kQueued) ResetAttempt(job);
  if (next == JobState::kDispatching) {
    ResetAttempt(job);
    ++job.attempt;
  }
  if (next == JobState::kRunning || next == JobState::kCommitting || next == JobState::kSucceeded) {
    if (!job.start_time.has_value()) job.start_time = now;
  }
  if (next == JobState::kCommitting) job.phase = JobPhase::kCompleting;
  if (next == JobState::kCancelling) job.phase = JobPhase::kNone;
  if (catalog::IsTerminal(next)) {
    job.end_time = now;
    job.phase = JobPhase::kNone;
    job.wait_reason.clear();
    job.progress.rate_bytes_per_second = 0;
    job.progress.eta.reset();
  }
}

// A backup is done when its points are committed; a worker that says "done" before is mistaken.
bool IsDoneWithoutCommit(const Job& job, JobEvent event) {
  return event == JobEvent::kAgentDone && catalog::KindOf(job.spec) == catalog::JobKind::kBackup &&
         job.state != JobState::kCommitting;
}

absl::Status Refuse(const Job& job, JobEvent event) {
  if (catalog::IsTerminal(job.state)) {
    return base::Error(absl::StatusCode::kFailedPrecondition, "JOB_ENDED", "job {} has ended: {}", job.id,
                       catalog::NameOf(job.state));
  }
  return base::Error(absl::StatusCode::kFailedPrecondition, "JOB_BAD_STATE", "job {} is {}: {} is not possible", job.id,
                     catalog::NameOf(job.state), NameOf(event));
}

absl::Status NotCurrent(const Job& job, int32_t attempt) {
  return base::Error(absl::StatusCode::kFailedPrecondition, "SESSION_NOT_FOUND",
                     "attempt {} of job {} is not the one that works: the job is {} in attempt {}", attempt, job.id,
                     catalog::NameOf(job.state), job.attempt);
}

// One virtual machine, one working job.
absl::Status CheckVmsFree(const Stores& stores, const Job& job) {
  const std::vector<VmKey> wanted = catalog::VmsOf(job.spec);
  ASSIGN_OR_RETURN(const std::vector<ActiveJob> active, stores.jobs.Active());
  for (const ActiveJob& other : active) {
    if (other.id == job.id || !HoldsVms(other.state)) continue;
    for (const VmKey& vm : other.vms) {
      if (std::find(wanted.begin(), wanted.end(), vm) == wanted.end()) continue;
      return base::Error(absl::StatusCode::kAborted, "VM_BUSY", "job {} works on virtual machine {}", other.id,
                         vm.uuid);
    }
  }
  return absl::OkStatus();
}

// Writes the rows that belong to `event` besides the job's own.
absl::Status WriteResults(Stores& stores, const Job& job, JobEvent event, const EventFacts& facts, absl::Time now) {
  if (event == JobEvent::kRepoCommitted) {
    for (const catalog::RecoveryPoint& point : facts.recovery_points) {
      ASSIGN_OR_RETURN(const bool added, stores.recovery_points.Insert(point));
      if (added) RETURN_IF_ERROR(stores.events.Append(PointEvent(point, now)).status());
    }
  }
  if (facts.prune_result) RETURN_IF_ERROR(stores.jobs.SetPruneResult(job.id, *facts.prune_result));
  for (const catalog::DamagedChunk& chunk : facts.damage) RETURN_IF_ERROR(stores.jobs.AddDamage(job.id, chunk));
  return absl::OkStatus();
}

}  // namespace

// ---- Submitting ----

absl::StatusOr<std::optional<Job>> JobEngine::FindRequest(const RequestKey& request) const {
  return catalog_.Read([&](const Stores& stores) { return Replay(stores, request); });
}

absl::Status CheckTerms(const catalog::JobTerms& terms) {
  if (terms.priority < -kPriorityMax || terms.priority > kPriorityMax) {
    return Invalid(fmt::format("priority: must be from {} to {}", -kPriorityMax, kPriorityMax));
  }
  if (terms.retries_max < 0 || terms.retries_max > kRetriesMax) {
    return Invalid(fmt::format("retry.max_retries: must be from 0 to {}", kRetriesMax));
  }
  if (terms.retry_backoff <= absl::ZeroDuration() || terms.retry_backoff > kRetryBackoffMax) {
    return Invalid(
        fmt::format("retry.backoff: must be more than 0 and at most {}", absl::FormatDuration(kRetryBackoffMax)));
  }
  if (terms.due_time && terms.not_after && *terms.not_after < *terms.due_time) {
    return Invalid("not_after: must not be before due_time");
  }
  if (terms.upload_bytes_per_second < 0) return Invalid("upload_bytes_per_second: must not be negative");
  if (terms.policy_jobs_max < 0 || terms.policy_host_jobs_max < 0) {
    return Invalid("policy_concurrency: must not be negative");
  }
  return absl::OkStatus();
}

absl::StatusOr<Job> JobEngine::Submit(const catalog::JobSpec& spec, const RequestKey& request) {
  return Submit(Submission{.spec = spec, .request = request});
}

absl::StatusOr<Job> JobEngine::Submit(const Submission& submission) {
  ASSIGN_OR_RETURN(std::vector<absl::StatusOr<Job>> jobs, SubmitAll({submission}));
  return std::move(jobs.front());
}

absl::StatusOr<std::vector<absl::StatusOr<Job>>> JobEngine::SubmitAll(const std::vector<Submission>& submissions) {
  const absl::Time now = clock_.Now();
  std::vector<absl::StatusOr<Job>> jobs;
  std::vector<JobId> fresh;
  RETURN_IF_ERROR(catalog_.Write([&](Stores& stores) -> absl::Status {
    for (const Submission& submission : submissions) {
      bool is_new = false;
      absl::StatusOr<Job> job = Insert(stores, submission, now, is_new);
      if (!job.ok() && is_new) return job.status();  // something may be written of it
      if (job.ok() && is_new) fresh.push_back(job->id);
      jobs.push_back(std::move(job));
    }
    return absl::OkStatus();
  }));
  for (const JobId& id : fresh) {
    base::Log("jobs")->info("job submitted job={}", id);
    Announce(id, id == fresh.back());
  }
  return jobs;
}

absl::StatusOr<Job> JobEngine::Insert(Stores& stores, const Submission& submission, absl::Time now, bool& is_new) {
  RETURN_IF_ERROR(CheckSpec(submission.spec));
  RETURN_IF_ERROR(CheckTerms(submission.terms));
  ASSIGN_OR_RETURN(std::optional<Job> earlier, Replay(stores, submission.request));
  if (earlier.has_value()) return *std::move(earlier);
  ASSIGN_OR_RETURN(const int64_t queued, stores.jobs.CountQueued());
  if (queued >= kQueuedJobsMax) {
    return base::Error(absl::StatusCode::kResourceExhausted, "SERVER_BUSY", "{} jobs wait already", queued);
  }
  is_new = true;
  Job fresh{.id = JobId(random_.Uuid()),
            .spec = submission.spec,
            .terms = submission.terms,
            .state = Lookup(JobState::kNone, JobEvent::kSubmit).next,
            .create_time = now,
            .revision = NextRevision(0)};
  ASSIGN_OR_RETURN(fresh.number, stores.jobs.Insert(fresh));
  const RequestKey& request = submission.request;
  if (!request.id.empty()) RETURN_IF_ERROR(stores.requests.Insert({request.id, request.hash, fresh.id, now}));
  RETURN_IF_ERROR(stores.events.Append(StateEvent(fresh, now)).status());
  return fresh;
}

absl::Status JobEngine::PruneRequests() {
  const absl::Time before = clock_.Now() - kRequestsKeptFor;
  return catalog_.Write([&](Stores& stores) { return stores.requests.Prune(before); });
}

// ---- Changing ----

absl::StatusOr<Applied> JobEngine::Apply(const JobId& id, Attempt attempt, JobEvent event, const EventFacts& facts) {
  UMBRA_CHECK(event != JobEvent::kSubmit);
  if (event == JobEvent::kProgress) return ApplyProgress(id, attempt, facts);
  absl::StatusOr<Applied> applied;
  {
    absl::MutexLock lock(&change_mu_);
    applied = Change(id, attempt, event, facts);
  }
  if (!applied.ok() || !applied->changed) return applied;
  base::Log("jobs")->info("job changed job={} attempt={} event={} state={} reason={}", id, applied->job.attempt,
                          NameOf(event), catalog::NameOf(applied->job.state), applied->job.error.reason);
  Announce(id, true);
  return applied;
}

absl::StatusOr<Job> JobEngine::Cancel(const JobId& id) {
  ASSIGN_OR_RETURN(Applied applied, Apply(id, kCurrentAttempt, JobEvent::kCancelRequested));
  return std::move(applied.job);
}

absl::StatusOr<Applied> JobEngine::Change(const JobId& id, Attempt attempt, JobEvent event, const EventFacts& facts) {
  base::CrashPoint(fmt::format("jobs.{}.before", NameOf(event)));
  absl::StatusOr<Applied> applied =
      catalog_.Write([&](Stores& stores) { return ChangeRow(stores, id, attempt, event, facts); });
  base::CrashPoint(fmt::format("jobs.{}.after", NameOf(event)));
  if (applied.ok() && applied->changed) UpdateLive(applied->job);
  if (applied.ok() && applied->changed && applied->job.end_time.has_value() && on_end_) on_end_(applied->job);
  return applied;
}

absl::StatusOr<Applied> JobEngine::ChangeRow(Stores& stores, const JobId& id, Attempt attempt, JobEvent event,
                                             const EventFacts& facts) const {
  ASSIGN_OR_RETURN(Job job, stores.jobs.Get(id));
  Overlay(job, LiveOf(id));
  if (attempt.has_value() && *attempt != job.attempt) {
    if (event == JobEvent::kRepoCommitted) return NotCurrent(job, *attempt);
    return Applied{std::move(job), false};
  }
  JobMessage error = ErrorOf(event, facts);
  if (IsDoneWithoutCommit(job, event)) {
    event = JobEvent::kAgentFailed;
    error = {"UPLOAD_INVALID", "the agent reported success without committing a recovery point"};
  }
  const Transition transition = Lookup(job.state, event);
  if (transition.verdict == Verdict::kRefuse) return Refuse(job, event);
  if (transition.verdict == Verdict::kIgnore) return Applied{std::move(job), false};
  if (event == JobEvent::kAssign) RETURN_IF_ERROR(CheckVmsFree(stores, job));

  const absl::Time now = clock_.Now();
  const JobState before = job.state;
  TakeFacts(job, facts);
  EnterState(job, transition.next, now);
  job.revision = NextRevision(job.revision);
  if (job.state == JobState::kFailed) job.error = error;
  if (job.state == JobState::kSucceeded && event != JobEvent::kAgentDone) {
    RETURN_IF_ERROR(stores.jobs.AddWarning(id, error));  // the data was safe when the worker failed
  }
  RETURN_IF_ERROR(stores.jobs.Update(job));
  RETURN_IF_ERROR(WriteResults(stores, job, event, facts, now));
  ASSIGN_OR_RETURN(job, stores.jobs.Get(id));
  if (job.state != before) RETURN_IF_ERROR(stores.events.Append(StateEvent(job, now)).status());
  return Applied{std::move(job), true};
}

absl::Status JobEngine::AddWarning(const JobId& id, Attempt attempt, const JobMessage& warning) {
  bool changed = false;
  {
    absl::MutexLock lock(&change_mu_);
    const absl::StatusOr<Job> job = catalog_.Write([&](Stores& stores) -> absl::StatusOr<Job> {
      ASSIGN_OR_RETURN(Job row, stores.jobs.Get(id));
      Overlay(row, LiveOf(id));
      if (catalog::IsTerminal(row.state) || (attempt.has_value() && *attempt != row.attempt)) return row;
      RETURN_IF_ERROR(stores.jobs.AddWarning(id, warning));
      row.revision = NextRevision(row.revision);
      RETURN_IF_ERROR(stores.jobs.Update(row));
      changed = true;
      return row;
    });
    RETURN_IF_ERROR(job.status());
    if (changed) UpdateLive(*job);
  }
  if (changed) Announce(id, false);
  return absl::OkStatus();
}

// ---- Progress ----

bool JobEngine::TakeProgress(Live& live, const EventFacts& facts) {
  const bool moves = live.state == JobState::kDispatching || (facts.phase.has_value() && *facts.phase != live.phase);
  if (moves || clock_.Monotonic() - live.stored_at >= kProgressStoreInterval) return false;
  if (facts.progress.has_value()) MergeProgress(live.progress, *facts.progress);
  live.revision = NextRevision(live.revision);
  return true;
}

absl::StatusOr<Applied> JobEngine::ApplyProgress(const JobId& id, Attempt attempt, const EventFacts& facts) {
  bool changed = false;
  bool started = false;
  {
    absl::MutexLock change_lock(&change_mu_);
    bool in_memory = false;
    {
      absl::MutexLock lock(&mu_);
      auto it = live_.find(id);
      if (it != live_.end() && (!attempt.has_value() || *attempt == it->second.attempt)) {
        started = it->second.state == JobState::kDispatching;
        changed = in_memory = TakeProgress(it->second, facts);
      }
    }
    if (!in_memory) {
      ASSIGN_OR_RETURN(const Applied applied, Change(id, attempt, JobEvent::kProgress, facts));
      changed = applied.changed;
    }
  }
  if (changed) Announce(id, started);
  ASSIGN_OR_RETURN(Job job, Get(id));
  return Applied{std::move(job), changed};
}

std::optional<JobEngine::Live> JobEngine::LiveOf(const JobId& id) const {
  absl::MutexLock lock(&mu_);
  auto it = live_.find(id);
  if (it == live_.end()) return std::nullopt;
  return it->second;
}

void JobEngine::Overlay(Job& job, const std::optional<Live>& live) {
  if (!live.has_value() || live->attempt != job.attempt || live->revision <= job.revision) return;
  job.phase = live->phase;
  job.progress = live->progress;
  job.revision = live->revision;
}

void JobEngine::UpdateLive(const Job& job) {
  absl::MutexLock lock(&mu_);
  if (!HoldsVms(job.state) || job.state == JobState::kCancelling) {
    live_.erase(job.id);
    return;
  }
  live_[job.id] = {job.attempt, job.state, job.phase, job.progress, job.revision, clock_.Monotonic()};
}

int64_t JobEngine::NextRevision(int64_t current) const {
  // Time keeps it rising over a restart, although what was only in memory is gone then.
  return std::max(current + 1, absl::ToUnixMicros(clock_.Now()));
}

// ---- Dispatching ----

absl::StatusOr<std::vector<ActiveJob>> JobEngine::Active() const {
  return catalog_.Read([](const Stores& stores) { return stores.jobs.Active(); });
}

absl::StatusOr<std::vector<ActiveJob>> JobEngine::Runnable(absl::FunctionRef<bool(const catalog::HostId&)> online) {
  ASSIGN_OR_RETURN(const std::vector<ActiveJob> active, Active());
  absl::flat_hash_set<VmKey> taken;
  for (const ActiveJob& job : active) {
    if (HoldsVms(job.state)) taken.insert(job.vms.begin(), job.vms.end());
  }
  std::vector<ActiveJob> runnable;
  for (const ActiveJob& job : active) {
    if (job.state != JobState::kQueued) continue;
    const bool busy = std::any_of(job.vms.begin(), job.vms.end(), [&](const VmKey& vm) { return taken.contains(vm); });
    // Those that wait claim their machines too: who came first is served first.
    taken.insert(job.vms.begin(), job.vms.end());
    const bool offline = !job.host.empty() && !online(job.host);
    if (!busy && !offline) {
      runnable.push_back(job);
      continue;
    }
    const char* reason = offline ? "HOST_OFFLINE" : "VM_BUSY";
    if (job.wait_reason != reason) RETURN_IF_ERROR(SetWaitReason(job.id, reason));
  }
  return runnable;
}

absl::Status JobEngine::SetWaitReason(const JobId& id, const std::string& reason) {
  bool changed = false;
  {
    absl::MutexLock lock(&change_mu_);
    RETURN_IF_ERROR(catalog_.Write([&](Stores& stores) -> absl::Status {
      ASSIGN_OR_RETURN(Job job, stores.jobs.Get(id));
      if (job.state != JobState::kQueued || job.wait_reason == reason) return absl::OkStatus();
      job.wait_reason = reason;
      job.revision = NextRevision(job.revision);
      RETURN_IF_ERROR(stores.jobs.Update(job));
      if (!reason.empty()) RETURN_IF_ERROR(stores.events.Append(WaitEvent(id, reason, clock_.Now())).status());
      changed = true;
      return absl::OkStatus();
    }));
  }
  if (changed) Announce(id, false);
  return absl::OkStatus();
}

absl::StatusOr<Job> JobEngine::CheckWorker(const JobId& id, int32_t attempt, const catalog::HostId& host) const {
  ASSIGN_OR_RETURN(Job job, Get(id));
  if (catalog::HostOf(job.spec) != host) {
    return base::Error(absl::StatusCode::kPermissionDenied, "PERMISSION_DENIED", "job {} is not of host {}", id, host);
  }
  if (attempt != job.attempt || !HoldsVms(job.state) || job.state == JobState::kCancelling) {
    return NotCurrent(job, attempt);
  }
  return job;
}

// ---- Looking ----

absl::StatusOr<Job> JobEngine::Get(const JobId& id) const {
  // Memory first: a row read afterwards is at least as new, so that figures never seem to go back.
  const std::optional<Live> live = LiveOf(id);
  ASSIGN_OR_RETURN(Job job, catalog_.Read([&](const Stores& stores) { return stores.jobs.Get(id); }));
  Overlay(job, live);
  return job;
}

absl::StatusOr<catalog::Page<Job, int64_t>> JobEngine::List(const catalog::JobStore::Filter& filter,
                                                            const catalog::ListOptions<int64_t>& options) const {
  absl::flat_hash_map<JobId, Live> live;
  {
    absl::MutexLock lock(&mu_);
    live = live_;
  }
  auto page = catalog_.Read([&](const Stores& stores) { return stores.jobs.List(filter, options); });
  if (!page.ok()) return page;
  for (Job& job : page->items) {
    if (auto it = live.find(job.id); it != live.end()) Overlay(job, it->second);
  }
  return page;
}

Subscription JobEngine::Subscribe(const JobId& id, Listener listener) {
  return notifier_.Subscribe(id.value, std::move(listener));
}

Subscription JobEngine::SubscribeStates(Listener listener) {
  return notifier_.Subscribe(kStatesTopic, std::move(listener));
}

void JobEngine::Announce(const JobId& id, bool state_changed) {
  {
    absl::MutexLock lock(&mu_);
    ++changes_;
  }
  notifier_.Notify(id.value);
  if (state_changed) notifier_.Notify(kStatesTopic);
}

absl::StatusOr<Job> JobEngine::WaitForChange(const JobId& id, int64_t revision, absl::Duration timeout) const {
  const absl::Duration deadline = clock_.Monotonic() + timeout;
  for (;;) {
    int64_t seen = 0;
    {
      absl::MutexLock lock(&mu_);
      seen = changes_;
    }
    ASSIGN_OR_RETURN(Job job, Get(id));
    const absl::Duration left = deadline - clock_.Monotonic();
    if (job.revision > revision || catalog::IsTerminal(job.state) || left <= absl::ZeroDuration()) return job;
    absl::MutexLock lock(&mu_);
    const auto changed = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return changes_ != seen; };
    clock_.AwaitFor(mu_, absl::Condition(&changed), left);
  }
}

}  // namespace umbra::jobs
