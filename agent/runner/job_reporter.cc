#include "agent/runner/job_reporter.h"

#include <utility>

#include "agent/runner/convert.h"
#include "storage/base/log.h"
#include "storage/base/status.h"

namespace umbra::runner {
namespace {

// The protocol allows five messages a second; phases come on top of these four.
constexpr absl::Duration kPeriod = absl::Milliseconds(250);

}  // namespace

JobReporter::JobReporter(link::Outbox& outbox, base::Clock& clock, const agent::v1::AssignmentId& id,
                         base::Threads& threads)
    : outbox_(outbox), clock_(clock), id_(id), meter_(clock) {
  thread_ = threads.Start([this] { Run(); });
}

JobReporter::~JobReporter() {
  {
    absl::MutexLock lock(&mu_);
    stop_ = true;
  }
  thread_.reset();
}

void JobReporter::SetPhase(v1::Job::Phase phase) {
  {
    absl::MutexLock lock(&mu_);
    phase_ = phase;
  }
  base::Log("runner")->info("phase job={} attempt={} phase={}", id_.job_id(), id_.attempt(), v1::Job::Phase_Name(phase));
  Send();
}

void JobReporter::Warn(const std::string& reason, const std::string& message) {
  base::Log("runner")->warn("warning job={} attempt={} reason={} message=\"{}\"", id_.job_id(), id_.attempt(), reason, message);
  agent::v1::AssignmentWarning warning;
  *warning.mutable_id() = id_;
  warning.mutable_warning()->set_reason(reason);
  warning.mutable_warning()->set_message(message);
  outbox_.Warning(std::move(warning));
}

void JobReporter::Warn(const absl::Status& status) {
  const v1::JobMessage message = ToJobMessage(status);
  Warn(message.reason(), message.message());
}

void JobReporter::Note(const std::string& text) {
  agent::v1::AssignmentNote note;
  *note.mutable_id() = id_;
  note.set_text(text);
  outbox_.Note(std::move(note));
}

v1::JobProgress JobReporter::Figures() { return ToProto(meter_.Figures()); }

void JobReporter::Run() {
  std::string sent;
  while (true) {
    {
      absl::MutexLock lock(&mu_);
      if (clock_.AwaitFor(mu_, absl::Condition(&stop_), kPeriod)) return;
    }
    const v1::JobProgress figures = Figures();
    if (std::string now = figures.SerializeAsString(); now != sent) {
      sent = std::move(now);
      Send();
    }
  }
}

void JobReporter::Send() {
  agent::v1::AssignmentProgress progress;
  *progress.mutable_id() = id_;
  *progress.mutable_progress() = Figures();
  absl::MutexLock lock(&mu_);  // also orders what two threads send
  progress.set_phase(phase_);
  outbox_.Progress(std::move(progress));
}

}  // namespace umbra::runner
