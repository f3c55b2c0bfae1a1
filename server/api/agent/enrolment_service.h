// How agents get their certificate, over gRPC. The only service that answers callers without one: on a port of its own.
#ifndef UMBRA_SERVER_API_AGENT_ENROLMENT_SERVICE_H_
#define UMBRA_SERVER_API_AGENT_ENROLMENT_SERVICE_H_

#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/api/agent/executor.h"
#include "server/auth/enrolment.h"
#include "server/dispatch/agent_registry.h"
#include "storage/base/clock.h"
#include "umbra/agent/v1/enrolment.grpc.pb.h"

namespace umbra::api {

// Failed attempts, of all callers together, before everybody has to wait. A token has 256 bits, so this isn't what keeps
// guessers out: it keeps them from filling log and disk.
inline constexpr double kFailuresPerSecondMax = 10;

// Counts failures: a bucket that holds kFailuresPerSecondMax and refills as fast in a second. Thread-safe.
class FailureLimit {
 public:
  explicit FailureLimit(base::Clock& clock) : clock_(clock), filled_at_(clock.Monotonic()) {}
  // False when too many failed of late.
  bool MayTry();
  void Failed();

 private:
  void RefillLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  base::Clock& clock_;
  absl::Mutex mu_;  // the bucket is consistent
  double left_ ABSL_GUARDED_BY(mu_) = kFailuresPerSecondMax;
  absl::Duration filled_at_ ABSL_GUARDED_BY(mu_);
};

class EnrolmentService final : public agent::v1::EnrolmentService::CallbackService {
 public:
  // `agent_address` ("address:port") is where enrolled agents find the agent port. A host that is enrolled again loses
  // its link, as it lost its certificate. All outlive the service, and the service outlives its server.
  EnrolmentService(auth::Enrolment& enrolment, dispatch::AgentRegistry& agents, base::Clock& clock,
                   std::string agent_address)
      : enrolment_(enrolment), agents_(agents), agent_address_(std::move(agent_address)), failures_(clock) {}

 private:
  grpc::ServerUnaryReactor* Enrol(grpc::CallbackServerContext* context, const agent::v1::EnrolRequest* request,
                                  agent::v1::EnrolResponse* response) override;
  absl::Status DoEnrol(const agent::v1::EnrolRequest& request, agent::v1::EnrolResponse& response);

  auth::Enrolment& enrolment_;
  dispatch::AgentRegistry& agents_;
  const std::string agent_address_;
  FailureLimit failures_;
  Executor executor_{1};  // last, because its tasks use the rest
};

}  // namespace umbra::api

#endif  // UMBRA_SERVER_API_AGENT_ENROLMENT_SERVICE_H_
