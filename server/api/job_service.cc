#include "server/api/job_service.h"

#include <memory>
#include <optional>
#include <span>
#include <utility>

#include "server/api/convert.h"
#include "server/api/job_request.h"
#include "server/api/names.h"
#include "server/api/paging.h"
#include "server/api/watch_stream.h"
#include "storage/base/bytes.h"
#include "storage/base/invalid.h"
#include "storage/base/sha256.h"
#include "storage/base/status.h"

namespace umbra::api {
namespace {

using base::Invalid;

constexpr absl::Duration kSummaryPeriodDefault = absl::Hours(24);
constexpr absl::Duration kSummaryPeriodMin = absl::Hours(1);
constexpr absl::Duration kSummaryPeriodMax = absl::Hours(24 * 366);
constexpr int kSummaryCountDefault = 7;
constexpr int kSummaryCountMax = 100;
// Seconds around 1970, up to the year 9999: with all its stretches it stays a time that the catalog can hold.
constexpr int64_t kSummaryTimeMax = 253'402'300'800;

absl::StatusOr<catalog::JobStore::Filter> FilterOf(const v1::ListJobsRequest& request) {
  catalog::JobStore::Filter filter;
  filter.active_only = request.active_only();
  if (!request.policy().empty()) {
    ASSIGN_OR_RETURN(filter.policy, ParsePolicyName(request.policy(), "policy"));
  }
  if (request.kind().empty()) return filter;
  for (const auto kind : {catalog::JobKind::kBackup, catalog::JobKind::kRestore, catalog::JobKind::kVerify,
                          catalog::JobKind::kPrune}) {
    if (request.kind() == catalog::NameOf(kind)) filter.kind = kind;
  }
  if (filter.kind) return filter;
  return Invalid("kind: must be backup, restore, verify, prune or empty");
}

jobs::RequestKey KeyOf(const v1::CreateJobRequest& request) {
  v1::CreateJobRequest rest = request;
  rest.clear_request_id();
  const std::string bytes = rest.SerializeAsString();  // no maps inside: equal messages give equal bytes
  return {request.request_id(), base::ToHex(base::Sha256(bytes))};
}

// The job now, again whenever its revision has changed, and the end after its final state was told.
class JobSource final : public WatchSource<v1::Job> {
 public:
  JobSource(jobs::JobEngine& engine, const std::string& name) : engine_(engine), id_(ParseJobName(name, "name")) {}

  void Subscribe(std::function<void()> wake) override {
    if (id_.ok()) subscription_ = engine_.Subscribe(*id_, std::move(wake));
  }

  NextStep<v1::Job> Next() override {
    if (!id_.ok()) return End{id_.status()};
    const absl::StatusOr<catalog::Job> job = engine_.Get(*id_);
    if (!job.ok()) return End{job.status()};
    if (told_revision_ == job->revision) {
      if (catalog::IsTerminal(job->state)) return End{absl::OkStatus()};
      return NothingNew{};
    }
    told_revision_ = job->revision;
    ended_ = catalog::IsTerminal(job->state);
    v1::Job message;
    ToProto(*job, &message);
    return message;
  }

  bool Ended() const override { return ended_; }

 private:
  jobs::JobEngine& engine_;
  const absl::StatusOr<catalog::JobId> id_;
  std::optional<int64_t> told_revision_;
  bool ended_ = false;
  jobs::Subscription subscription_;
};

}  // namespace

grpc::ServerUnaryReactor* JobService::CreateJob(grpc::CallbackServerContext* context,
                                                const v1::CreateJobRequest* request, v1::Job* response) {
  return door_.Unary(context, request, response, [=, this] { return Create(*request, *response); });
}

absl::Status JobService::Create(const v1::CreateJobRequest& request, v1::Job& response) {
  const jobs::RequestKey key = KeyOf(request);
  // A repeated request gets its first answer, also when what it names is gone by now.
  ASSIGN_OR_RETURN(const std::optional<catalog::Job> before, engine_.FindRequest(key));
  if (before) {
    ToProto(*before, &response);
    return absl::OkStatus();
  }
  jobs::Submission submission{.request = key};
  ASSIGN_OR_RETURN(submission.spec, ToSpec(request.job(), catalog_, repositories_));
  ASSIGN_OR_RETURN(submission.terms, ToTerms(request.job()));
  if (request.validate_only()) {
    RETURN_IF_ERROR(jobs::CheckTerms(submission.terms));
    ToProto(submission.spec, &response);
    ToProto(submission.terms, &response);
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const catalog::Job job, engine_.Submit(submission));
  ToProto(job, &response);
  return absl::OkStatus();
}

grpc::ServerUnaryReactor* JobService::GetJob(grpc::CallbackServerContext* context, const v1::GetJobRequest* request,
                                             v1::Job* response) {
  return door_.Unary(context, request, response, [=, this]() -> absl::Status {
    ASSIGN_OR_RETURN(const catalog::JobId id, ParseJobName(request->name(), "name"));
    ASSIGN_OR_RETURN(const catalog::Job job, engine_.Get(id));
    ToProto(job, response);
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* JobService::ListJobs(grpc::CallbackServerContext* context, const v1::ListJobsRequest* request,
                                               v1::ListJobsResponse* response) {
  return door_.Unary(context, request, response, [=, this] { return List(*request, *response); });
}

absl::Status JobService::List(const v1::ListJobsRequest& request, v1::ListJobsResponse& response) {
  ASSIGN_OR_RETURN(const auto filter, FilterOf(request));
  const std::string list =
      fmt::format("jobs kind={} active={} policy={}", request.kind(), request.active_only(), request.policy());
  ASSIGN_OR_RETURN(const auto options, ListOptionsOf<int64_t>(request, list));
  ASSIGN_OR_RETURN(const auto page, engine_.List(filter, options));
  for (const catalog::Job& job : page.items) ToProto(job, response.add_jobs());
  response.set_next_page_token(NextPageToken(page.next_key, list));
  return absl::OkStatus();
}

grpc::ServerUnaryReactor* JobService::SummarizeBackups(grpc::CallbackServerContext* context,
                                                       const v1::SummarizeBackupsRequest* request,
                                                       v1::SummarizeBackupsResponse* response) {
  return door_.Unary(context, request, response, [=, this] { return Summarize(*request, *response); });
}

absl::Status JobService::Summarize(const v1::SummarizeBackupsRequest& request, v1::SummarizeBackupsResponse& response) {
  if (!request.has_start_time()) return Invalid("start_time: is needed");
  if (request.start_time().seconds() < -kSummaryTimeMax || request.start_time().seconds() > kSummaryTimeMax) {
    return Invalid("start_time: no time that a backup could have");
  }
  absl::Duration period = FromProto(request.period());
  if (period == absl::ZeroDuration()) period = kSummaryPeriodDefault;
  if (period < kSummaryPeriodMin || period > kSummaryPeriodMax)
    return Invalid("period: an hour at least, a year at most");
  if (request.count() < 0 || request.count() > kSummaryCountMax) {
    return Invalid("count: must be from 0 to {}", kSummaryCountMax);
  }
  const int count = request.count() == 0 ? kSummaryCountDefault : request.count();
  absl::Time start = FromProto(request.start_time());
  for (int i = 0; i < count; ++i, start += period) {
    // One at a time: others read in between.
    ASSIGN_OR_RETURN(const catalog::BackupSummary sums, catalog_.Read([&](const catalog::Stores& s) {
      return s.jobs.SummarizeBackups(start, start + period);
    }));
    v1::BackupSummary* const out = response.add_summaries();
    ToProto(start, out->mutable_start_time());
    out->set_succeeded_count(sums.succeeded);
    out->set_warned_count(sums.warned);
    out->set_failed_count(sums.failed);
    out->set_cancelled_count(sums.cancelled);
    out->set_recovery_point_count(sums.recovery_points);
    out->set_read_bytes(sums.read_bytes);
    out->set_stored_bytes(sums.stored_bytes);
  }
  return absl::OkStatus();
}

grpc::ServerUnaryReactor* JobService::CancelJob(grpc::CallbackServerContext* context,
                                                const v1::CancelJobRequest* request, v1::Job* response) {
  return door_.Unary(context, request, response, [=, this]() -> absl::Status {
    ASSIGN_OR_RETURN(const catalog::JobId id, ParseJobName(request->name(), "name"));
    ASSIGN_OR_RETURN(const catalog::Job job, engine_.Cancel(id));
    ToProto(job, response);
    return absl::OkStatus();
  });
}

grpc::ServerWriteReactor<v1::Job>* JobService::WatchJob(grpc::CallbackServerContext* context,
                                                        const v1::WatchJobRequest* request) {
  return door_.Watch<v1::WatchJobRequest, v1::Job>(
      context, request, std::make_unique<JobSource>(engine_, request->name()), streams_, kWatchJobPause);
}

}  // namespace umbra::api
