// umbra.v1.LoggingService: the level of the daemon's log, while it runs.
#ifndef UMBRA_SERVER_API_LOGGING_SERVICE_H_
#define UMBRA_SERVER_API_LOGGING_SERVICE_H_

#include "server/api/agent/executor.h"
#include "umbra/v1/logging.grpc.pb.h"

namespace umbra::api {

// Thread-safe. The executor outlives it.
class LoggingService final : public v1::LoggingService::CallbackService {
 public:
  explicit LoggingService(Executor& executor) : executor_(executor) {}

 private:
  grpc::ServerUnaryReactor* GetLogging(grpc::CallbackServerContext* context, const v1::GetLoggingRequest* request,
                                       v1::Logging* response) override;
  grpc::ServerUnaryReactor* SetLogLevel(grpc::CallbackServerContext* context, const v1::SetLogLevelRequest* request,
                                        v1::Logging* response) override;

  Executor& executor_;
};

}  // namespace umbra::api

#endif  // UMBRA_SERVER_API_LOGGING_SERVICE_H_
