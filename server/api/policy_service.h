// umbra.v1.PolicyService: policies, what they would do, what they cover.
#ifndef UMBRA_SERVER_API_POLICY_SERVICE_H_
#define UMBRA_SERVER_API_POLICY_SERVICE_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "server/api/door.h"
#include "server/maintenance/repository_set.h"
#include "server/policies/coverage_board.h"
#include "server/policies/scheduler.h"
#include "storage/base/clock.h"
#include "storage/catalog/catalog.h"
#include "umbra/v1/policy.grpc.pb.h"

namespace umbra::api {

// Thread-safe. What it is given outlives it.
class PolicyService final : public v1::PolicyService::CallbackService {
 public:
  PolicyService(Door& door, catalog::Catalog& catalog, base::Clock& clock,
                const maintenance::RepositorySet& repositories, policies::Scheduler& scheduler,
                policies::CoverageBoard& board)
      : door_(door),
        catalog_(catalog),
        clock_(clock),
        repositories_(repositories),
        scheduler_(scheduler),
        board_(board) {}

 private:
  using Context = grpc::CallbackServerContext;
  grpc::ServerUnaryReactor* CreatePolicy(Context* context, const v1::CreatePolicyRequest* request,
                                         v1::Policy* response) override;
  grpc::ServerUnaryReactor* GetPolicy(Context* context, const v1::GetPolicyRequest* request,
                                      v1::Policy* response) override;
  grpc::ServerUnaryReactor* ListPolicies(Context* context, const v1::ListPoliciesRequest* request,
                                         v1::ListPoliciesResponse* response) override;
  grpc::ServerUnaryReactor* UpdatePolicy(Context* context, const v1::UpdatePolicyRequest* request,
                                         v1::Policy* response) override;
  grpc::ServerUnaryReactor* DeletePolicy(Context* context, const v1::DeletePolicyRequest* request,
                                         google::protobuf::Empty* response) override;
  grpc::ServerUnaryReactor* PausePolicy(Context* context, const v1::PausePolicyRequest* request,
                                        v1::Policy* response) override;
  grpc::ServerUnaryReactor* ResumePolicy(Context* context, const v1::ResumePolicyRequest* request,
                                         v1::Policy* response) override;
  grpc::ServerUnaryReactor* RunPolicy(Context* context, const v1::RunPolicyRequest* request,
                                      v1::RunPolicyResponse* response) override;
  grpc::ServerUnaryReactor* PreviewSchedule(Context* context, const v1::PreviewScheduleRequest* request,
                                            v1::PreviewScheduleResponse* response) override;
  grpc::ServerUnaryReactor* PreviewRetention(Context* context, const v1::PreviewRetentionRequest* request,
                                             v1::PreviewRetentionResponse* response) override;
  grpc::ServerUnaryReactor* PreviewPolicy(Context* context, const v1::PreviewPolicyRequest* request,
                                          v1::PreviewPolicyResponse* response) override;
  grpc::ServerUnaryReactor* GetCoverageSummary(Context* context, const v1::GetCoverageSummaryRequest* request,
                                               v1::CoverageSummary* response) override;
  grpc::ServerUnaryReactor* ListCoverage(Context* context, const v1::ListCoverageRequest* request,
                                         v1::ListCoverageResponse* response) override;

  absl::Status Create(const v1::CreatePolicyRequest& request, v1::Policy& response);
  absl::Status List(const v1::ListPoliciesRequest& request, v1::ListPoliciesResponse& response);
  // Leaves those in that select `member`, by its resource name.
  absl::Status KeepSelecting(const std::string& member, std::vector<catalog::Policy>& policies);
  absl::Status Update(const v1::UpdatePolicyRequest& request, v1::Policy& response);
  absl::Status SetPaused(const std::string& name, bool paused, v1::Policy& response);
  absl::Status Schedule(const v1::PreviewScheduleRequest& request, v1::PreviewScheduleResponse& response);
  absl::Status Retention(const v1::PreviewRetentionRequest& request, v1::PreviewRetentionResponse& response);
  absl::Status Preview(const v1::PreviewPolicyRequest& request, v1::PreviewPolicyResponse& response);
  absl::Status Summary(v1::CoverageSummary& response);
  absl::Status Coverage(const v1::ListCoverageRequest& request, v1::ListCoverageResponse& response);

  // The runs of `policy`, which is one of `set`, from `done` on, and whom it selects at present: all of them are
  // returned.
  absl::StatusOr<std::vector<catalog::Subject>> FillSchedule(const policies::PolicySet& set,
                                                             const policies::CompiledPolicy& policy, absl::Time done,
                                                             absl::Duration period,
                                                             v1::PreviewScheduleResponse& response);
  // Takes over into `current` what an update says.
  absl::Status Apply(const v1::UpdatePolicyRequest& request, catalog::Policy& current) const;
  // Reads the policy, lets `change` change it, and writes it with an event, in one transaction; then tells the
  // scheduler.
  absl::Status Change(const catalog::PolicyId& id, const std::string& event,
                      const std::function<absl::Status(catalog::Policy&)>& change, v1::Policy& response);
  // With its next run.
  void Answer(const catalog::Policy& policy, v1::Policy& response) const;
  catalog::Event EventOf(const catalog::PolicyId& id, const std::string& type) const;

  Door& door_;
  catalog::Catalog& catalog_;
  base::Clock& clock_;
  const maintenance::RepositorySet& repositories_;
  policies::Scheduler& scheduler_;
  policies::CoverageBoard& board_;
};

}  // namespace umbra::api

#endif  // UMBRA_SERVER_API_POLICY_SERVICE_H_
