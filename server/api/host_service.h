// umbra.v1.HostService: hosts and enrolment tokens.
#ifndef UMBRA_SERVER_API_HOST_SERVICE_H_
#define UMBRA_SERVER_API_HOST_SERVICE_H_

#include <string>

#include "server/api/door.h"
#include "server/auth/enrolment.h"
#include "server/dispatch/agent_registry.h"
#include "server/jobs/job_engine.h"
#include "storage/base/clock.h"
#include "storage/catalog/catalog.h"
#include "umbra/v1/host.grpc.pb.h"

namespace umbra::api {

// Thread-safe. What it is given outlives it.
class HostService final : public v1::HostService::CallbackService {
 public:
  HostService(Door& door, catalog::Catalog& catalog, base::Clock& clock, jobs::JobEngine& engine,
              auth::Enrolment& enrolment, dispatch::AgentRegistry& agents, std::string enrolment_address)
      : door_(door),
        catalog_(catalog),
        clock_(clock),
        engine_(engine),
        enrolment_(enrolment),
        agents_(agents),
        enrolment_address_(std::move(enrolment_address)) {}

 private:
  grpc::ServerUnaryReactor* ListHosts(grpc::CallbackServerContext* context, const v1::ListHostsRequest* request,
                                      v1::ListHostsResponse* response) override;
  grpc::ServerUnaryReactor* GetHost(grpc::CallbackServerContext* context, const v1::GetHostRequest* request,
                                    v1::Host* response) override;
  grpc::ServerUnaryReactor* DeleteHost(grpc::CallbackServerContext* context, const v1::DeleteHostRequest* request,
                                       google::protobuf::Empty* response) override;
  grpc::ServerUnaryReactor* DrainHost(grpc::CallbackServerContext* context, const v1::DrainHostRequest* request,
                                      v1::Host* response) override;
  grpc::ServerUnaryReactor* UndrainHost(grpc::CallbackServerContext* context, const v1::UndrainHostRequest* request,
                                        v1::Host* response) override;
  grpc::ServerUnaryReactor* SetHostLabels(grpc::CallbackServerContext* context, const v1::SetHostLabelsRequest* request,
                                          v1::Host* response) override;
  grpc::ServerUnaryReactor* CreateEnrolmentToken(grpc::CallbackServerContext* context,
                                                 const v1::CreateEnrolmentTokenRequest* request,
                                                 v1::EnrolmentToken* response) override;

  absl::Status List(const v1::ListHostsRequest& request, v1::ListHostsResponse& response);
  absl::Status Delete(const v1::DeleteHostRequest& request);
  absl::Status CreateToken(const v1::CreateEnrolmentTokenRequest& request, v1::EnrolmentToken& response);
  // The record, and what is known of its agent now.
  absl::Status Fill(const catalog::Host& host, v1::Host& out);
  absl::Status SetDrained(const std::string& name, bool drained, const std::string& note, v1::Host& response);
  absl::Status SetLabels(const v1::SetHostLabelsRequest& request, v1::Host& response);
  absl::Status Revoke(const catalog::HostId& id);
  absl::Status CancelJobsOf(const catalog::HostId& id);

  Door& door_;
  catalog::Catalog& catalog_;
  base::Clock& clock_;
  jobs::JobEngine& engine_;
  auth::Enrolment& enrolment_;
  dispatch::AgentRegistry& agents_;
  const std::string enrolment_address_;
};

}  // namespace umbra::api

#endif  // UMBRA_SERVER_API_HOST_SERVICE_H_
