#include "server/policies/scheduler.h"

#include <algorithm>
#include <utility>

#include "storage/base/bytes.h"
#include "storage/base/crash_point.h"
#include "storage/base/log.h"
#include "storage/base/sha256.h"
#include "storage/base/status.h"

namespace umbra::policies {
namespace {

// Jobs that one transaction submits: some 20 ms of the writer's time.
constexpr size_t kJobsPerTransaction = 500;
// After an error of the catalog.
constexpr absl::Duration kTryAgain = absl::Seconds(5);
constexpr absl::Duration kWaitMin = absl::Milliseconds(1);

// Fits a request id, and is another for any other text.
std::string RequestIdOf(const std::string& text) {
  return "policy-" + base::ToHex(base::Bytes(base::Sha256(text)).first(16));
}

catalog::BackupSpec SpecOf(const catalog::Policy& policy, const Group& group) {
  return {.vms = group.members,
          .repository = policy.repository,
          .allow_crash_consistent = policy.allow_crash_consistent,
          .freeze_timeout = policy.freeze_timeout,
          .child_snapshot_only = policy.child_snapshot_only,
          .forbid_saved_state = policy.forbid_saved_state,
          .hooks = policy.hooks};
}

catalog::JobTerms TermsOf(const catalog::Policy& policy) {
  return {.policy = policy.id,
          .priority = policy.priority,
          .retries_max = policy.retries_max,
          .retry_backoff = policy.retry_backoff,
          .upload_bytes_per_second = policy.upload_bytes_per_second,
          .policy_jobs_max = policy.jobs_max,
          .policy_host_jobs_max = policy.host_jobs_max,
          .policy_weight = policy.weight};
}

// Members that a job of the policy will still back up: what is due again meanwhile is done by it.
absl::flat_hash_set<catalog::VmKey> Waiting(const std::vector<jobs::ActiveJob>& active, const catalog::PolicyId& policy,
                                            absl::Time now) {
  absl::flat_hash_set<catalog::VmKey> waiting;
  for (const jobs::ActiveJob& job : active) {
    if (job.terms.policy != policy || job.state != catalog::JobState::kQueued) continue;
    if (job.terms.not_after && *job.terms.not_after <= now) continue;
    waiting.insert(job.vms.begin(), job.vms.end());
  }
  return waiting;
}

}  // namespace

absl::Duration Scheduler::TickOrTryAgain() {
  const absl::StatusOr<absl::Duration> ticked = Tick();
  if (ticked.ok()) return *ticked;
  base::Log("policies")->warn("policies not looked at error={}", base::Describe(ticked.status()));
  return kTryAgain;
}

absl::StatusOr<absl::Duration> Scheduler::Tick() {
  absl::MutexLock lock(&tick_mu_);
  ASSIGN_OR_RETURN(const PolicySet set, PolicySet::Load(catalog_));
  absl::Duration wait = kLookAgain;
  for (const CompiledPolicy& policy : set.All()) {
    if (policy.record().paused) continue;
    if (const absl::Status ticked = TickPolicy(set, policy, clock_.Now()); !ticked.ok()) {
      base::Log("policies")->warn("run put off policy={} error={}", policy.record().id, base::Describe(ticked));
      wait = std::min(wait, kTryAgain);
    } else {
      // As it was before this run: what is due already is found by the next tick, at once.
      wait = std::min(wait, WaitFor(policy, clock_.Now()));
    }
  }
  return std::max(wait, kWaitMin);
}

absl::Duration Scheduler::WaitFor(const CompiledPolicy& policy, absl::Time now) const {
  const std::optional<calendar::Run> run = policy.plan().Next(policy.record().done_time);
  if (!run) return kLookAgain;
  if (run->start > now) return run->start - now;
  // Just run, or missed while a window was closed.
  const std::optional<absl::Time> opens = policy.plan().openings().OpenFrom(now, policy.plan().zone());
  if (opens && *opens > now) return *opens - now;
  const std::optional<calendar::Run> next = policy.plan().Next(now);
  return next && next->start > now ? next->start - now : kLookAgain;
}

absl::Status Scheduler::TickPolicy(const PolicySet& set, const CompiledPolicy& policy, absl::Time now) {
  const catalog::Policy& record = policy.record();
  if (record.done_time > now + kClockWrongBy) {
    base::Log("policies")
        ->warn("due times taken back, the clock was ahead policy={} to={}", record.id,
               absl::FormatTime(record.done_time));
    return catalog_.Write([&](catalog::Stores& s) {
      return s.policies.SetProgress(record.id, record.done_time, now, std::nullopt, std::nullopt);
    });
  }
  const std::optional<calendar::Run> run = policy.plan().Ready(record.done_time, now);
  if (!run) return absl::OkStatus();
  const std::string due = absl::FormatTime("%Y-%m-%d %H:%M:%S%Ez", run->due, policy.plan().zone());
  if (record.skip_missed && now - run->start > kMissedAfter) {
    return Record(policy, *run, fmt::format("skipped, it was missed: due {}", due), catalog::Severity::kWarning, false);
  }
  const Order order{fmt::format("due {}", absl::ToUnixMicros(run->due)), run};
  ASSIGN_OR_RETURN(const Outcome outcome, SubmitAll(set, policy, order));
  base::CrashPoint("policy.submitted");
  std::string message = fmt::format("due {}: {} jobs", due, outcome.jobs.size());
  if (run->first_due != run->due) message += ", for all that was due before it as well";
  if (outcome.waiting > 0) message += fmt::format(", {} members are waited for already", outcome.waiting);
  if (outcome.refused > 0) message += fmt::format(", {} refused", outcome.refused);
  return Record(policy, *run, message, outcome.refused > 0 ? catalog::Severity::kWarning : catalog::Severity::kInfo,
                true);
}

absl::Status Scheduler::Record(const CompiledPolicy& policy, const calendar::Run& run, const std::string& message,
                               catalog::Severity severity, bool was_run) {
  const catalog::Policy& record = policy.record();
  const absl::Time now = clock_.Now();
  RETURN_IF_ERROR(catalog_.Write([&](catalog::Stores& s) -> absl::Status {
    RETURN_IF_ERROR(s.policies.SetProgress(record.id, record.done_time, run.due, run.due,
                                           was_run ? std::optional<absl::Time>(now) : std::nullopt));
    return s.events
        .Append({.time = now,
                 .type = was_run ? "POLICY_RUN" : "POLICY_RUN_SKIPPED",
                 .resource = fmt::format("policies/{}", record.id),
                 .severity = severity,
                 .message = message})
        .status();
  }));
  base::Log("policies")->info("policy run policy={} {}", record.id, message);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<jobs::Submission>> Scheduler::Submissions(const PolicySet& set, const CompiledPolicy& policy,
                                                                     const Order& order, Outcome& outcome) {
  const catalog::Policy& record = policy.record();
  ASSIGN_OR_RETURN(const auto subjects, Select(catalog_, set, policy));
  ASSIGN_OR_RETURN(const auto active, engine_.Active());
  const auto waiting = Waiting(active, record.id, clock_.Now());
  std::vector<jobs::Submission> submissions;
  for (Group& group : GroupMembers(record, subjects)) {
    jobs::Submission submission;
    submission.terms = TermsOf(record);
    // Another policy of the same name is another one.
    submission.request.id = RequestIdOf(
        fmt::format("{}\n{}\n{}\n{}", record.id, absl::ToUnixMicros(record.create_time), order.ticket, group.key));
    submission.request.hash = submission.request.id;
    if (std::ranges::any_of(group.members, [&](const catalog::VmKey& key) { return waiting.contains(key); })) {
      // What this very run submitted before a crash waits, too: it counts as submitted.
      ASSIGN_OR_RETURN(const auto earlier, engine_.FindRequest(submission.request));
      if (earlier) {
        outcome.jobs.push_back(earlier->id);
        continue;
      }
    }
    outcome.waiting += static_cast<int64_t>(
        std::erase_if(group.members, [&](const catalog::VmKey& key) { return waiting.contains(key); }));
    if (group.members.empty()) continue;
    submission.spec = SpecOf(record, group);
    if (order.run) {
      const calendar::Run& run = *order.run;
      submission.terms.due_time =
          run.start + calendar::SpreadOffset(record.id.value, group.key, run.Spread(record.spread));
      submission.terms.not_after = run.until;
    }
    submissions.push_back(std::move(submission));
  }
  return submissions;
}

absl::StatusOr<Scheduler::Outcome> Scheduler::SubmitAll(const PolicySet& set, const CompiledPolicy& policy,
                                                        const Order& order) {
  Outcome outcome;
  ASSIGN_OR_RETURN(const auto submissions, Submissions(set, policy, order, outcome));
  for (size_t begin = 0; begin < submissions.size(); begin += kJobsPerTransaction) {
    const auto first = submissions.begin() + static_cast<std::ptrdiff_t>(begin);
    const auto last =
        submissions.begin() + static_cast<std::ptrdiff_t>(std::min(submissions.size(), begin + kJobsPerTransaction));
    ASSIGN_OR_RETURN(const auto answers, engine_.SubmitAll({first, last}));
    for (const absl::StatusOr<catalog::Job>& answer : answers) {
      if (answer.ok()) {
        outcome.jobs.push_back(answer->id);
        continue;
      }
      // A full queue is a reason to try the rest later; what was submitted is found again then.
      if (absl::IsResourceExhausted(answer.status())) return answer.status();
      ++outcome.refused;
      base::Log("policies")
          ->error("job refused policy={} error={}", policy.record().id, base::Describe(answer.status()));
    }
  }
  return outcome;
}

absl::StatusOr<std::vector<catalog::JobId>> Scheduler::RunNow(const catalog::PolicyId& id,
                                                              const std::string& request_id) {
  if (request_id.size() > jobs::kRequestIdLengthMax) {
    return base::Error(absl::StatusCode::kInvalidArgument, "INVALID_REQUEST", "request_id: at most {} bytes",
                       jobs::kRequestIdLengthMax);
  }
  ASSIGN_OR_RETURN(const PolicySet set, PolicySet::Load(catalog_));
  const CompiledPolicy* const policy = set.Find(id);
  if (policy == nullptr) return base::Error(absl::StatusCode::kNotFound, "POLICY_NOT_FOUND", "no policy {}", id);
  const std::string ticket =
      request_id.empty() ? fmt::format("at {}", absl::ToUnixNanos(clock_.Now())) : "asked " + request_id;
  ASSIGN_OR_RETURN(const Outcome outcome, SubmitAll(set, *policy, {ticket, std::nullopt}));
  return outcome.jobs;
}

}  // namespace umbra::policies
