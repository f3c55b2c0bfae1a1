// umbra.v1.LoggingService: the level of the daemon's log, while it runs.
#ifndef UMBRA_SERVER_API_LOGGING_SERVICE_H_
#define UMBRA_SERVER_API_LOGGING_SERVICE_H_

#include "server/api/door.h"
#include "umbra/v1/logging.grpc.pb.h"

namespace umbra::api {

// Thread-safe. The door outlives it.
class LoggingService final : public v1::LoggingService::CallbackService {
 public:
  explicit LoggingService(Door& door) : door_(door) {}

 private:
  grpc::ServerUnaryReactor* GetLogging(grpc::CallbackServerContext* context, const v1::GetLoggingRequest* request,
                                       v1::Logging* response) override;
  grpc::ServerUnaryReactor* SetLogLevel(grpc::CallbackServerContext* context, const v1::SetLogLevelRequest* request,
                                        v1::Logging* response) override;

  Door& door_;
};

}  // namespace umbra::api

#endif  // UMBRA_SERVER_API_LOGGING_SERVICE_H_
