#include "server/jobs/job_engine.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "server/jobs/retry.h"
#include "storage/base/crash_point.h"
#include "storage/base/invalid.h"
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

using base::Invalid;

constexpr char kStatesTopic[] = "*";  // no job has this id
// Changes that come from the daemon itself are written this many at a time: others get their turn in between.
constexpr size_t kBatchMax = 256;

absl::Status CheckBackup(const catalog::BackupSpec& spec) {
  if (spec.vms.empty()) return Invalid("a backup names at least one virtual machine");
  if (spec.repository.empty()) return Invalid("a backup needs a repository");
  absl::flat_hash_set<VmKey> seen;
  for (const VmKey& vm : spec.vms) {
    if (vm.host.empty() || vm.uuid.empty()) return Invalid("a virtual machine of a backup has no host or no uuid");
    if (vm.host != spec.vms.front().host) return Invalid("the virtual machines of one backup are of one host");
    if (!seen.insert(vm).second) return Invalid("virtual machine {} is named twice", vm.uuid);
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
    return Invalid("request_id is longer than {} bytes", kRequestIdLengthMax);
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

bool IsBetweenAttempts(const Job& job) {
  return job.state == JobState::kQueued && job.next_attempt_time.has_value();
}

Severity SeverityOf(const Job& job, bool has_warnings) {
  if (IsBetweenAttempts(job)) return Severity::kWarning;
  if (job.state == JobState::kFailed) return Severity::kError;
  return job.state == JobState::kSucceeded && has_warnings ? Severity::kWarning : Severity::kInfo;
}

catalog::Event StateEvent(const Job& job, absl::Time now) {
  std::string message = fmt::format("{} {}", catalog::NameOf(catalog::KindOf(job.spec)), catalog::NameOf(job.state));
  if (job.state == JobState::kFailed) message += fmt::format(": {} ({})", job.error.message, job.error.reason);
  if (IsBetweenAttempts(job)) {
    message += fmt::format(" again for {}: attempt {} failed: {} ({})", absl::FormatTime(*job.next_attempt_time),
                           job.attempt, job.last_attempt_error.message, job.last_attempt_error.reason);
  }
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

catalog::Event NoteEvent(const JobId& id, const std::string& text, absl::Time now) {
  return {.time = now,
          .type = "JOB_NOTE",
          .resource = "jobs/" + id.value,
          .severity = Severity::kInfo,
          .message = text};
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
    case JobEvent::kWindowMissed:
      return {"BACKUP_WINDOW_MISSED", "the backup window ended before the job could begin"};
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
  if (!facts.writers.empty()) job.writers = facts.writers;
  if (!facts.restored_vm_uuid.empty()) job.restored_vm_uuid = facts.restored_vm_uuid;
}

// Puts the two neighbours together that took least, so that what is long stays visible.
void MergeShortest(std::vector<catalog::JobPhaseTime>& phases) {
  const auto length = [&](size_t i) { return *phases[i].end_time - phases[i].start_time; };
  size_t shortest = 0;
  for (size_t i = 1; i + 1 < phases.size(); ++i) {
    if (length(i) + length(i + 1) < length(shortest) + length(shortest + 1)) shortest = i;
  }
  if (length(shortest + 1) > length(shortest)) phases[shortest].phase = phases[shortest + 1].phase;
  phases[shortest].end_time = phases[shortest + 1].end_time;
  phases.erase(phases.begin() + static_cast<ptrdiff_t>(shortest) + 1);
}

// Brings the list of phases in line with the job's phase. Returns whether it changed.
bool RecordPhase(Job& job, absl::Time now) {
  std::vector<catalog::JobPhaseTime>& phases = job.phases;
  const bool open = !phases.empty() && !phases.back().end_time.has_value();
  if (job.phase == (open ? phases.back().phase : JobPhase::kNone)) return false;
  // A clock that was set back makes no phase end before it began.
  if (open) phases.back().end_time = std::max(now, phases.back().start_time);
  if (job.phase == JobPhase::kNone) return true;
  if (phases.size() >= catalog::kJobPhasesMax) MergeShortest(phases);
  phases.push_back({job.phase, now, std::nullopt});
  return true;
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
    job.next_attempt_time.reset();
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
    job.next_attempt_time.reset();
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

ActiveJob ActiveOf(const Job& job) {
  return {.id = job.id,
          .kind = catalog::KindOf(job.spec),
          .state = job.state,
          .attempt = job.attempt,
          .host = catalog::HostOf(job.spec),
          .vms = catalog::VmsOf(job.spec),
          .wait_reason = job.wait_reason,
          .number = job.number,
          .repository = catalog::RepositoryOf(job.spec),
          .terms = job.terms,
          .create_time = job.create_time,
          .next_attempt_time = job.next_attempt_time};
}

// When the next attempt may begin, after one that ended with `error`; absent: there is none.
std::optional<absl::Time> NextAttempt(const Job& job, const JobMessage& error, bool stays, absl::Time now) {
  if (job.failed_attempts >= job.terms.retries_max) return std::nullopt;
  const std::optional<absl::Duration> wait = RetryWait(error.reason, stays, job.terms.retry_backoff);
  if (!wait || (job.terms.not_after && now + *wait >= *job.terms.not_after)) return std::nullopt;
  return now + *wait;
}

// Writes the rows that belong to `event` besides the job's own.
absl::Status WriteResults(Stores& stores, const Job& job, JobEvent event, const EventFacts& facts, absl::Time now) {
  if (event == JobEvent::kRepoCommitted) {
    for (const catalog::RecoveryPoint& point : facts.recovery_points) {
      ASSIGN_OR_RETURN(const bool added, stores.recovery_points.Insert(point));
      if (added) RETURN_IF_ERROR(stores.events.Append(PointEvent(point, now)).status());
    }
    RETURN_IF_ERROR(stores.jobs.SetPointCount(job.id, static_cast<int64_t>(facts.recovery_points.size())));
  }
  const bool went_well_or_failed = job.state == JobState::kSucceeded || job.state == JobState::kFailed;
  if (went_well_or_failed && catalog::KindOf(job.spec) == catalog::JobKind::kBackup) {
    RETURN_IF_ERROR(stores.jobs.SetOutcome(job));
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
    return Invalid("priority: must be from {} to {}", -kPriorityMax, kPriorityMax);
  }
  if (terms.retries_max < 0 || terms.retries_max > kRetriesMax) {
    return Invalid("retry.max_retries: must be from 0 to {}", kRetriesMax);
  }
  if (terms.retry_backoff <= absl::ZeroDuration() || terms.retry_backoff > kRetryBackoffMax) {
    return Invalid("retry.backoff: must be more than 0 and at most {}", absl::FormatDuration(kRetryBackoffMax));
  }
  if (terms.due_time && terms.not_after && *terms.not_after < *terms.due_time) {
    return Invalid("not_after: must not be before due_time");
  }
  if (terms.upload_bytes_per_second < 0) return Invalid("upload_bytes_per_second: must not be negative");
  if (terms.policy_jobs_max < 0 || terms.policy_host_jobs_max < 0) {
    return Invalid("policy_concurrency: must not be negative");
  }
  if (terms.policy_weight < 1 || terms.policy_weight > kWeightMax) {
    return Invalid("weight: must be from 1 to {}", kWeightMax);
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
  std::vector<Job> fresh;
  {
    absl::MutexLock change_lock(&change_mu_);
    RETURN_IF_ERROR(LoadLocked());
    size_t queued = 0;
    {
      absl::MutexLock lock(&mu_);
      queued = queue_.queued_count();
    }
    RETURN_IF_ERROR(catalog_.Write([&](Stores& stores) -> absl::Status {
      for (const Submission& submission : submissions) {
        bool is_new = false;
        absl::StatusOr<Job> job = Insert(stores, submission, queued + fresh.size(), now, is_new);
        if (!job.ok() && is_new) return job.status();  // something may be written of it
        if (job.ok() && is_new) fresh.push_back(*job);
        jobs.push_back(std::move(job));
      }
      return absl::OkStatus();
    }));
    absl::MutexLock lock(&mu_);
    for (const Job& job : fresh) queue_.Put(ActiveOf(job), now);
  }
  for (const Job& job : fresh) {
    base::Log("jobs")->info("job submitted job={} kind={} policy={}", job.id,
                            catalog::NameOf(catalog::KindOf(job.spec)), job.terms.policy);
    Announce(job.id);
  }
  if (!fresh.empty()) notifier_.Notify(kStatesTopic);
  return jobs;
}

absl::StatusOr<Job> JobEngine::Insert(Stores& stores, const Submission& submission, size_t queued, absl::Time now,
                                      bool& is_new) {
  RETURN_IF_ERROR(CheckSpec(submission.spec));
  RETURN_IF_ERROR(CheckTerms(submission.terms));
  ASSIGN_OR_RETURN(std::optional<Job> earlier, Replay(stores, submission.request));
  if (earlier.has_value()) return *std::move(earlier);
  if (queued >= static_cast<size_t>(kQueuedJobsMax)) {
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

absl::Status JobEngine::Prune(absl::Duration jobs_kept_for) {
  const absl::Time now = clock_.Now();
  RETURN_IF_ERROR(catalog_.Write([&](Stores& stores) { return stores.requests.Prune(now - kRequestsKeptFor); }));
  constexpr int kAtOnceMax = kBatchMax;
  for (int64_t gone = kAtOnceMax; gone == kAtOnceMax;) {
    ASSIGN_OR_RETURN(
        gone, catalog_.Write([&](Stores& stores) { return stores.jobs.Prune(now - jobs_kept_for, kAtOnceMax); }));
  }
  return absl::OkStatus();
}

// ---- Changing ----

absl::StatusOr<Applied> JobEngine::Apply(const JobId& id, Attempt attempt, JobEvent event, const EventFacts& facts) {
  ASSIGN_OR_RETURN(std::vector<absl::StatusOr<Applied>> applied, ApplyAll({{id, attempt, event, facts}}));
  absl::StatusOr<Applied>& one = applied.front();
  if (one.ok() && event == JobEvent::kProgress) {
    ASSIGN_OR_RETURN(one->job, Get(id));
  }
  return std::move(one);
}

absl::StatusOr<std::vector<absl::StatusOr<Applied>>> JobEngine::ApplyAll(const std::vector<Change>& changes) {
  Waiting mine{.changes = changes, .answers = absl::UnknownError("not served")};
  {
    absl::MutexLock lock(&waiting_mu_);
    waiting_.push_back(&mine);
  }
  {
    absl::MutexLock lock(&change_mu_);
    while (!mine.done) ServeWaiting();
  }
  if (mine.answers.ok()) AnnounceAll(*mine.answers, changes);
  return std::move(mine.answers);
}

std::vector<JobEngine::Waiting*> JobEngine::TakeWaiting() {
  std::vector<Waiting*> taken;
  size_t count = 0;
  absl::MutexLock lock(&waiting_mu_);
  while (!waiting_.empty() && count < kBatchMax) {
    taken.push_back(waiting_.front());
    count += waiting_.front()->changes.size();
    waiting_.pop_front();
  }
  return taken;
}

void JobEngine::ServeWaiting() {
  const std::vector<Waiting*> taken = TakeWaiting();
  const absl::Status loaded = LoadLocked();
  std::vector<const Change*> all;
  for (const Waiting* one : taken) {
    for (const Change& change : one->changes) all.push_back(&change);
  }
  Answers together = loaded.ok() ? Write(all) : Answers(loaded);
  size_t next = 0;
  for (Waiting* one : taken) {
    one->done = true;
    if (together.ok()) {
      const auto begin = std::make_move_iterator(together->begin() + static_cast<ptrdiff_t>(next));
      next += one->changes.size();
      one->answers.emplace(begin, begin + static_cast<ptrdiff_t>(one->changes.size()));
    } else if (!loaded.ok() || taken.size() == 1) {
      one->answers = together.status();
    } else {
      // One of them can't be written: only its caller shall hear of it.
      std::vector<const Change*> alone;
      for (const Change& change : one->changes) alone.push_back(&change);
      one->answers = Write(alone);
    }
  }
}

void JobEngine::AnnounceAll(const std::vector<absl::StatusOr<Applied>>& applied, const std::vector<Change>& changes) {
  bool states_changed = false;
  for (size_t i = 0; i < changes.size(); ++i) {
    if (!applied[i].ok() || !applied[i]->changed) continue;
    const Job& job = applied[i]->job;
    if (changes[i].event != JobEvent::kProgress) {
      base::Log("jobs")->info("job changed job={} attempt={} event={} state={} reason={}", job.id, job.attempt,
                              NameOf(changes[i].event), catalog::NameOf(job.state), job.error.reason);
    }
    states_changed = states_changed || applied[i]->moved || changes[i].event != JobEvent::kProgress;
    Announce(changes[i].id);
  }
  if (states_changed) notifier_.Notify(kStatesTopic);
}

absl::StatusOr<Job> JobEngine::Cancel(const JobId& id) {
  ASSIGN_OR_RETURN(Applied applied, Apply(id, kCurrentAttempt, JobEvent::kCancelRequested));
  return std::move(applied.job);
}

JobEngine::Answers JobEngine::Write(const std::vector<const Change*>& changes) {
  std::vector<absl::StatusOr<Applied>> applied(changes.size(), absl::UnknownError("not applied"));
  std::vector<size_t> to_write;
  for (size_t i = 0; i < changes.size(); ++i) {
    UMBRA_CHECK(changes[i]->event != JobEvent::kSubmit);
    if (changes[i]->event == JobEvent::kProgress && TakeProgress(*changes[i])) {
      applied[i] = Applied{{.id = changes[i]->id}, true};
    } else {
      to_write.push_back(i);
    }
  }
  if (to_write.empty()) return applied;
  for (size_t i : to_write) {
    const JobEvent event = changes[i]->event;
    base::CrashPoint(fmt::format("jobs.{}.before", NameOf(event)));
  }
  RETURN_IF_ERROR(catalog_.Write([&](Stores& stores) -> absl::Status {
    for (size_t i : to_write) {
      bool wrote = false;
      applied[i] = ChangeRow(stores, *changes[i], wrote);
      if (!applied[i].ok() && wrote) return applied[i].status();
    }
    return absl::OkStatus();
  }));
  for (size_t i : to_write) {
    const JobEvent event = changes[i]->event;
    base::CrashPoint(fmt::format("jobs.{}.after", NameOf(event)));
  }
  for (size_t i : to_write) {
    if (!applied[i].ok() || !applied[i]->changed) continue;
    UpdateLive(applied[i]->job);
    if (applied[i]->job.end_time.has_value() && on_end_) on_end_(applied[i]->job);
  }
  return applied;
}

absl::StatusOr<Applied> JobEngine::ChangeRow(Stores& stores, const Change& change, bool& wrote) const {
  const auto& [id, attempt, asked, facts] = change;
  ASSIGN_OR_RETURN(Job job, stores.jobs.Get(id));
  Overlay(job, LiveOf(id));
  if (attempt.has_value() && *attempt != job.attempt) {
    if (asked == JobEvent::kRepoCommitted) return NotCurrent(job, *attempt);
    return Applied{std::move(job), false};
  }
  if (attempt.has_value() && asked == JobEvent::kRepoCommitted && job.state == JobState::kQueued) {
    return NotCurrent(job, *attempt);  // it failed, and another one follows
  }
  const absl::Time now = clock_.Now();
  JobEvent event = asked;
  JobMessage error = ErrorOf(event, facts);
  if (IsDoneWithoutCommit(job, event)) {
    event = JobEvent::kAgentFailed;
    error = {"UPLOAD_INVALID", "the agent reported success without committing a recovery point"};
  }
  Transition transition = Lookup(job.state, event);
  if (transition.verdict == Verdict::kRefuse) return Refuse(job, event);
  if (transition.verdict == Verdict::kIgnore) return Applied{std::move(job), false};
  if (event == JobEvent::kAssign) RETURN_IF_ERROR(CheckVmsFree(job));
  const bool attempt_ends = transition.next == JobState::kFailed && event != JobEvent::kWindowMissed;
  const std::optional<absl::Time> next_attempt =
      attempt_ends ? NextAttempt(job, error, facts.error_stays, now) : std::nullopt;
  if (next_attempt) {
    // A job that shall stop, or whose data was lost after its commit, doesn't come here again.
    const Transition again = Lookup(job.state, JobEvent::kAttemptFailed);
    if (again.verdict == Verdict::kMove && again.next == JobState::kQueued) transition = again;
  }

  wrote = true;
  const JobState before = job.state;
  TakeFacts(job, facts);
  EnterState(job, transition.next, now);
  const bool new_attempt = job.state == JobState::kDispatching && before != job.state;
  if (new_attempt) {
    job.phases.clear();
    job.writers.clear();
  }
  if (RecordPhase(job, now) || new_attempt) RETURN_IF_ERROR(stores.jobs.SetPhases(id, job.phases));
  if (new_attempt || !facts.writers.empty()) RETURN_IF_ERROR(stores.jobs.SetWriters(id, job.writers));
  job.revision = NextRevision(job.revision);
  if (job.state == JobState::kFailed) job.error = error;
  if (job.state == JobState::kQueued && next_attempt) {
    ++job.failed_attempts;
    job.last_attempt_error = error;
    job.next_attempt_time = next_attempt;
  }
  if (job.state == JobState::kSucceeded && event != JobEvent::kAgentDone) {
    RETURN_IF_ERROR(stores.jobs.AddWarning(id, error));  // the data was safe when the worker failed
  }
  RETURN_IF_ERROR(stores.jobs.Update(job));
  RETURN_IF_ERROR(WriteResults(stores, job, event, facts, now));
  ASSIGN_OR_RETURN(job, stores.jobs.Get(id));
  const bool moved = job.state != before;
  if (moved) RETURN_IF_ERROR(stores.events.Append(StateEvent(job, now)).status());
  return Applied{std::move(job), true, moved};
}

absl::Status JobEngine::CheckVmsFree(const Job& job) const {
  absl::MutexLock lock(&mu_);
  for (const VmKey& vm : catalog::VmsOf(job.spec)) {
    const std::optional<JobId> holder = queue_.HolderOf(vm);
    if (!holder || *holder == job.id) continue;
    return base::Error(absl::StatusCode::kAborted, "VM_BUSY", "job {} works on virtual machine {}", *holder, vm.uuid);
  }
  return absl::OkStatus();
}

absl::Status JobEngine::AddWarning(const JobId& id, Attempt attempt, const JobMessage& warning) {
  bool changed = false;
  {
    absl::MutexLock lock(&change_mu_);
    RETURN_IF_ERROR(LoadLocked());
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
  if (changed) Announce(id);
  return absl::OkStatus();
}

absl::Status JobEngine::AddNote(const JobId& id, Attempt attempt, const std::string& text) {
  return catalog_.Write([&](Stores& stores) -> absl::Status {
    ASSIGN_OR_RETURN(const Job row, stores.jobs.Get(id));
    if (catalog::IsTerminal(row.state) || (attempt.has_value() && *attempt != row.attempt)) return absl::OkStatus();
    return stores.events.Append(NoteEvent(id, text, clock_.Now())).status();
  });
}

// ---- Progress ----

bool JobEngine::TakeProgress(const Change& change) {
  absl::MutexLock lock(&mu_);
  const auto it = live_.find(change.id);
  if (it == live_.end() || (change.attempt.has_value() && *change.attempt != it->second.attempt)) return false;
  Live& live = it->second;
  const EventFacts& facts = change.facts;
  const bool moves = live.state == JobState::kDispatching || (facts.phase.has_value() && *facts.phase != live.phase);
  if (moves || clock_.Monotonic() - live.stored_at >= kProgressStoreInterval) return false;
  if (facts.progress.has_value()) MergeProgress(live.progress, *facts.progress);
  live.revision = NextRevision(live.revision);
  return true;
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
  const std::optional<PhaseSpent> spent = TakeLive(job);
  if (spent && on_phase_) on_phase_(*spent);
}

std::optional<PhaseSpent> JobEngine::TakeLive(const Job& job) {
  const absl::Duration now = clock_.Monotonic();
  absl::MutexLock lock(&mu_);
  queue_.Put(ActiveOf(job), clock_.Now());
  if (job.state != JobState::kQueued) told_waits_.erase(job.id);
  const auto it = live_.find(job.id);
  const bool works = HoldsVms(job.state) && job.state != JobState::kCancelling;
  const bool stays = works && it != live_.end() && it->second.attempt == job.attempt && it->second.phase == job.phase;
  std::optional<PhaseSpent> spent;
  if (it != live_.end() && !stays && it->second.phase != JobPhase::kNone) {
    spent = {catalog::KindOf(job.spec), it->second.phase, now - it->second.phase_since};
  }
  if (!works) {
    live_.erase(job.id);
    return spent;
  }
  const absl::Duration since = stays ? it->second.phase_since : now;
  live_[job.id] = {job.attempt, job.state, job.phase, job.progress, job.revision, now, since};
  return spent;
}

void JobEngine::ShowWait(Job& job) const {
  if (job.state != JobState::kQueued) return;
  absl::MutexLock lock(&mu_);
  std::string reason = queue_.WaitReason(job.id, clock_.Now());
  auto [it, fresh] = told_waits_.try_emplace(job.id);
  ToldWait& told = it->second;
  // Whoever compares revisions sees that the reason is another one.
  if (fresh) told = {reason, reason == job.wait_reason ? job.revision : NextRevision(job.revision)};
  if (told.reason != reason) told = {reason, NextRevision(std::max(job.revision, told.revision))};
  job.wait_reason = std::move(reason);
  job.revision = std::max(job.revision, told.revision);
}

int64_t JobEngine::NextRevision(int64_t current) const {
  // Time keeps it rising over a restart, although what was only in memory is gone then.
  return std::max(current + 1, absl::ToUnixMicros(clock_.Now()));
}

// ---- Queue ----

absl::Status JobEngine::Load() {
  absl::MutexLock lock(&change_mu_);
  return LoadLocked();
}

absl::Status JobEngine::LoadLocked() {
  if (loaded_) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::vector<ActiveJob> active, Active());
  ASSIGN_OR_RETURN(const std::vector<catalog::HostId> drained,
                   catalog_.Read([](const Stores& stores) { return stores.hosts.Drained(); }));
  absl::MutexLock lock(&mu_);
  for (const ActiveJob& job : active) queue_.Put(job, clock_.Now());
  for (const catalog::HostId& host : drained) queue_.SetDrained(host, true, clock_.Now());
  loaded_ = true;
  return absl::OkStatus();
}

void JobEngine::SetLimits(const QueueLimits& limits) {
  absl::MutexLock lock(&mu_);
  queue_.SetLimits(limits);
}

void JobEngine::SetHost(const catalog::HostId& host, const std::string& reason) {
  absl::MutexLock lock(&mu_);
  queue_.SetHost(host, reason, clock_.Now());
}

void JobEngine::SetDrained(const catalog::HostId& host, bool drained) {
  {
    absl::MutexLock lock(&mu_);
    queue_.SetDrained(host, drained, clock_.Now());
  }
  notifier_.Notify(kStatesTopic);
}

std::vector<ActiveJob> JobEngine::TakeNext(size_t count_max) {
  std::vector<ActiveJob> taken;
  const absl::Time now = clock_.Now();
  absl::MutexLock lock(&mu_);
  queue_.Advance(now);
  while (taken.size() < count_max) {
    const std::optional<JobId> next = queue_.Next();
    if (!next) break;
    queue_.Served(*next);
    taken.push_back(queue_.Get(*next));
    ActiveJob sent = taken.back();
    sent.state = JobState::kDispatching;
    queue_.Put(sent, now);
  }
  return taken;
}

absl::StatusOr<std::vector<Job>> JobEngine::AssignNext(size_t count_max) {
  std::vector<Change> changes;
  absl::StatusOr<std::vector<absl::StatusOr<Applied>>> applied;
  {
    absl::MutexLock change_lock(&change_mu_);
    RETURN_IF_ERROR(LoadLocked());
    const std::vector<ActiveJob> taken = TakeNext(count_max);
    for (const ActiveJob& job : taken) changes.push_back({job.id, kCurrentAttempt, JobEvent::kAssign});
    if (changes.empty()) return std::vector<Job>();
    std::vector<const Change*> pointers;
    for (const Change& change : changes) pointers.push_back(&change);
    applied = Write(pointers);
    absl::MutexLock lock(&mu_);
    for (size_t i = 0; i < taken.size(); ++i) {
      if (!applied.ok() || !applied->at(i).ok()) queue_.Put(taken[i], clock_.Now());
    }
  }
  RETURN_IF_ERROR(applied.status());
  AnnounceAll(*applied, changes);
  std::vector<Job> jobs;
  for (absl::StatusOr<Applied>& one : *applied) {
    if (one.ok())
      jobs.push_back(std::move(one->job));
    else
      base::Log("jobs")->error("job not assigned error={}", base::Describe(one.status()));
  }
  return jobs;
}

absl::StatusOr<std::optional<JobId>> JobEngine::NextOwn(catalog::JobKind kind) {
  RETURN_IF_ERROR(Load());
  absl::MutexLock lock(&mu_);
  return queue_.NextOwn(kind, clock_.Now());
}

absl::Status JobEngine::Tick(absl::Duration report_after) {
  RETURN_IF_ERROR(Load());
  RETURN_IF_ERROR(EndMissedWindows());
  RETURN_IF_ERROR(ReportWaits(report_after));
  TellWaits();
  return absl::OkStatus();
}

absl::Status JobEngine::EndMissedWindows() {
  while (true) {
    std::vector<Change> changes;
    {
      const absl::Time now = clock_.Now();
      absl::MutexLock lock(&mu_);
      queue_.Advance(now);
      for (const JobId& id : queue_.MissedWindows(now, kBatchMax)) {
        const std::string reason = queue_.WaitReason(id, now);
        JobMessage error = DefaultError(JobEvent::kWindowMissed);
        if (!reason.empty()) error.message += "; it waited: " + reason;
        changes.push_back({id, kCurrentAttempt, JobEvent::kWindowMissed, {.error = std::move(error)}});
      }
    }
    if (changes.empty()) return absl::OkStatus();
    RETURN_IF_ERROR(ApplyAll(changes).status());
  }
}

absl::Status JobEngine::ReportWaits(absl::Duration report_after) {
  while (true) {
    std::vector<JobId> reported;
    {
      absl::MutexLock change_lock(&change_mu_);
      std::vector<std::pair<JobId, std::string>> waits;
      {
        absl::MutexLock lock(&mu_);
        waits = queue_.Unreported(clock_.Now(), report_after, kBatchMax);
      }
      if (waits.empty()) return absl::OkStatus();
      std::vector<Job> jobs;
      RETURN_IF_ERROR(catalog_.Write([&](Stores& stores) -> absl::Status {
        for (const auto& [id, reason] : waits) {
          ASSIGN_OR_RETURN(Job job, stores.jobs.Get(id));
          job.wait_reason = reason;
          job.revision = NextRevision(job.revision);
          RETURN_IF_ERROR(stores.jobs.Update(job));
          RETURN_IF_ERROR(stores.events.Append(WaitEvent(id, reason, clock_.Now())).status());
          jobs.push_back(std::move(job));
        }
        return absl::OkStatus();
      }));
      for (const Job& job : jobs) {
        UpdateLive(job);
        reported.push_back(job.id);
      }
    }
    for (const JobId& id : reported) Announce(id);
  }
}

// Those who watch a queued job hear when it waits for something else.
void JobEngine::TellWaits() {
  std::vector<JobId> changed;
  {
    absl::MutexLock lock(&mu_);
    for (const auto& [id, told] : told_waits_) {
      if (queue_.WaitReason(id, clock_.Now()) != told.reason) changed.push_back(id);
    }
  }
  for (const JobId& id : changed) Announce(id);
}

absl::Time JobEngine::NextTime() const {
  absl::MutexLock lock(&mu_);
  return queue_.NextTime();
}

absl::StatusOr<std::vector<ActiveJob>> JobEngine::Active() const {
  return catalog_.Read([](const Stores& stores) { return stores.jobs.Active(); });
}

absl::StatusOr<std::vector<ActiveJob>> JobEngine::Working() {
  RETURN_IF_ERROR(Load());
  absl::MutexLock lock(&mu_);
  return queue_.Working();
}

absl::StatusOr<std::vector<ActiveJob>> JobEngine::Cancelling() {
  RETURN_IF_ERROR(Load());
  absl::MutexLock lock(&mu_);
  return queue_.Cancelling();
}

absl::StatusOr<int> JobEngine::WorkingOn(const catalog::HostId& host) {
  RETURN_IF_ERROR(Load());
  absl::MutexLock lock(&mu_);
  return queue_.WorkingOn(host);
}

absl::StatusOr<std::vector<JobId>> JobEngine::JobsOf(const catalog::HostId& host) {
  RETURN_IF_ERROR(Load());
  absl::MutexLock lock(&mu_);
  return queue_.JobsOf(host);
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
  ShowWait(job);
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
    ShowWait(job);
  }
  return page;
}

Subscription JobEngine::Subscribe(const JobId& id, Listener listener) {
  return notifier_.Subscribe(id.value, std::move(listener));
}

Subscription JobEngine::SubscribeStates(Listener listener) {
  return notifier_.Subscribe(kStatesTopic, std::move(listener));
}

void JobEngine::Announce(const JobId& id) {
  {
    absl::MutexLock lock(&mu_);
    ++changes_;
  }
  notifier_.Notify(id.value);
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
