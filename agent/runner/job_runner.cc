#include "agent/runner/job_runner.h"

#include <utility>

#include "agent/runner/backup_runner.h"
#include "agent/runner/convert.h"
#include "agent/runner/file_set_restore_runner.h"
#include "agent/runner/job_reporter.h"
#include "agent/runner/restore_runner.h"
#include "agent/vss/errors.h"
#include "storage/base/crash_point.h"
#include "storage/base/log.h"
#include "storage/base/status.h"
#include "storage/base/tuning.h"

namespace umbra::runner {

JobRunner::JobRunner(RunnerContext context, InventoryReporter& inventory)
    : context_(std::move(context)), inventory_(inventory) {}

JobRunner::~JobRunner() {
  Shutdown(base::MakeError(absl::StatusCode::kAborted, "AGENT_RESTARTED", "the agent was stopped"));
}

void JobRunner::Shutdown(const absl::Status& why) {
  {
    absl::MutexLock lock(&mu_);
    shut_down_ = true;
  }
  CancelAll(why);
  std::map<link::AssignmentKey, std::unique_ptr<Task>> tasks;
  {
    absl::MutexLock lock(&mu_);
    const auto all_ended = [this]() ABSL_SHARED_LOCKS_REQUIRED(mu_) {
      return std::all_of(tasks_.begin(), tasks_.end(), [](const auto& entry) { return entry.second->ended; });
    };
    context_.threads.Await(mu_, absl::Condition(&all_ended));
    tasks.swap(tasks_);
  }
}

std::vector<agent::v1::AssignmentId> JobRunner::Running() {
  absl::MutexLock lock(&mu_);
  std::vector<agent::v1::AssignmentId> ids;
  for (const auto& [key, task] : tasks_) {
    if (!task->ended) ids.push_back(task->assignment.id());
  }
  return ids;
}

void JobRunner::OnConnected(const agent::v1::Welcome&) { inventory_.Request(); }

void JobRunner::OnRefreshInventory() { inventory_.Request(); }

void JobRunner::OnAssignment(const agent::v1::Assignment& assignment) {
  absl::MutexLock lock(&mu_);
  if (shut_down_) return;  // not accepted: the daemon gives it to the next agent process
  ReapLocked();
  const auto [it, is_new] = tasks_.try_emplace(link::AssignmentKey::Of(assignment.id()));
  context_.outbox.Accepted(assignment.id());
  if (!is_new) return;  // said twice
  it->second = std::make_unique<Task>();
  Task& task = *it->second;
  task.assignment = assignment;
  task.thread = context_.threads.Start([this, &task] { Execute(task); });
}

void JobRunner::OnCancel(const agent::v1::AssignmentId& id) {
  absl::MutexLock lock(&mu_);
  const auto it = tasks_.find(link::AssignmentKey::Of(id));
  if (it == tasks_.end()) return;
  base::Log("runner")->info("cancelled by the daemon job={} attempt={}", id.job_id(), id.attempt());
  it->second->cancellation.Cancel(base::MakeError(absl::StatusCode::kCancelled, "CANCELLED", "the job was cancelled"));
}

void JobRunner::OnLeaseExpired() {
  CancelAll(base::MakeError(absl::StatusCode::kUnavailable, "AGENT_LOST",
                            "the link to the daemon was down for longer than the lease; everything was put back"));
}

void JobRunner::CancelAll(const absl::Status& why) {
  absl::MutexLock lock(&mu_);
  for (const auto& [key, task] : tasks_) task->cancellation.Cancel(why);
}

void JobRunner::ReapLocked() {
  std::erase_if(tasks_, [](const auto& entry) { return entry.second->ended; });
}

void JobRunner::Execute(Task& task) {
  const agent::v1::AssignmentId& id = task.assignment.id();
  base::Log("runner")->info("assignment taken on job={} attempt={}", id.job_id(), id.attempt());
  base::CrashPoint("agent.assigned");
  agent::v1::AssignmentResult result;
  *result.mutable_id() = id;
  const absl::Status status = Work(task, &result);
  if (status.ok()) {
    result.set_outcome(agent::v1::AssignmentResult::OUTCOME_SUCCEEDED);
  } else {
    *result.mutable_error() = ToJobMessage(status);
    result.set_error_stays(vss::CodeOf(status) != vss::Code::kOk && !vss::IsRetryable(status));
    const bool cancelled = result.error().reason() == "CANCELLED";
    result.set_outcome(cancelled ? agent::v1::AssignmentResult::OUTCOME_CANCELLED
                                 : agent::v1::AssignmentResult::OUTCOME_FAILED);
  }
  base::Log("runner")->info("assignment ended job={} attempt={} outcome={} error=\"{}\"", id.job_id(), id.attempt(),
                            agent::v1::AssignmentResult::Outcome_Name(result.outcome()), base::Describe(status));
  inventory_.Request();
  context_.outbox.Result(std::move(result));  // before it stops to be running: a Hello in between must name it
  absl::MutexLock lock(&mu_);
  task.ended = true;
}

absl::Status JobRunner::Work(Task& task, agent::v1::AssignmentResult* result) {
  const base::GivesBackMemory gives_back;
  JobReporter reporter(context_.outbox, context_.clock, task.assignment.id(), context_.threads);
  absl::Status status;
  switch (task.assignment.work_case()) {
    case agent::v1::Assignment::kBackup: {
      BackupRunner backup(context_, task.assignment.id(), task.assignment.backup(), task.cancellation, reporter);
      status = backup.Run(result);
      break;
    }
    case agent::v1::Assignment::kRestore: {
      if (!task.assignment.restore().recovery_point().file_set().empty()) {
        status = FileSetRestoreRunner(context_, task.assignment.id(), task.assignment.restore(), task.cancellation, reporter).Run();
        break;
      }
      RestoreRunner restore(context_, task.assignment.id(), task.assignment.restore(), task.cancellation, reporter);
      status = restore.Run(result);
      break;
    }
    default:
      status = base::MakeError(absl::StatusCode::kUnimplemented, "INVALID_REQUEST",
                               "this version of the agent doesn't know this kind of work");
  }
  *result->mutable_progress() = reporter.Figures();
  return status;
}

}  // namespace umbra::runner
