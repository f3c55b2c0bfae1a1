// umbra.v1.JobService: backups, restores and verifications.
#ifndef UMBRA_SERVER_API_JOB_SERVICE_H_
#define UMBRA_SERVER_API_JOB_SERVICE_H_

#include "absl/status/status.h"
#include "server/api/door.h"
#include "server/api/agent/stream_set.h"
#include "server/jobs/job_engine.h"
#include "server/maintenance/repository_set.h"
#include "storage/catalog/catalog.h"
#include "umbra/v1/job.grpc.pb.h"

namespace umbra::api {

// The API promises at most ten messages a second.
inline constexpr absl::Duration kWatchJobPause = absl::Milliseconds(100);

// Thread-safe. What it is given outlives it, `streams` until all streams have ended.
class JobService final : public v1::JobService::CallbackService {
 public:
  JobService(Door& door, catalog::Catalog& catalog, jobs::JobEngine& engine,
             const maintenance::RepositorySet& repositories, StreamSet& streams)
      : door_(door), catalog_(catalog), engine_(engine), repositories_(repositories), streams_(streams) {}

 private:
  grpc::ServerUnaryReactor* CreateJob(grpc::CallbackServerContext* context, const v1::CreateJobRequest* request,
                                      v1::Job* response) override;
  grpc::ServerUnaryReactor* GetJob(grpc::CallbackServerContext* context, const v1::GetJobRequest* request,
                                   v1::Job* response) override;
  grpc::ServerUnaryReactor* ListJobs(grpc::CallbackServerContext* context, const v1::ListJobsRequest* request,
                                     v1::ListJobsResponse* response) override;
  grpc::ServerUnaryReactor* CancelJob(grpc::CallbackServerContext* context, const v1::CancelJobRequest* request,
                                      v1::Job* response) override;
  grpc::ServerUnaryReactor* SummarizeBackups(grpc::CallbackServerContext* context,
                                             const v1::SummarizeBackupsRequest* request,
                                             v1::SummarizeBackupsResponse* response) override;
  grpc::ServerWriteReactor<v1::Job>* WatchJob(grpc::CallbackServerContext* context,
                                              const v1::WatchJobRequest* request) override;

  absl::Status Create(const v1::CreateJobRequest& request, v1::Job& response);
  absl::Status Summarize(const v1::SummarizeBackupsRequest& request, v1::SummarizeBackupsResponse& response);
  absl::Status List(const v1::ListJobsRequest& request, v1::ListJobsResponse& response);

  Door& door_;
  catalog::Catalog& catalog_;
  jobs::JobEngine& engine_;
  const maintenance::RepositorySet& repositories_;
  StreamSet& streams_;
};

}  // namespace umbra::api

#endif  // UMBRA_SERVER_API_JOB_SERVICE_H_
