#include "server/api/logging_service.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "storage/base/log.h"
#include "storage/base/status.h"

namespace umbra::api {
namespace {

constexpr std::array<std::string_view, 5> kLevels = {"trace", "debug", "info", "warn", "error"};

}  // namespace

grpc::ServerUnaryReactor* LoggingService::GetLogging(grpc::CallbackServerContext* context, const v1::GetLoggingRequest* request,
                                                     v1::Logging* response) {
  return door_.Unary(context, request, response, [=] {
    response->set_level(base::LogLevel());
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* LoggingService::SetLogLevel(grpc::CallbackServerContext* context,
                                                      const v1::SetLogLevelRequest* request, v1::Logging* response) {
  return door_.Unary(context, request, response, [=]() -> absl::Status {
    if (std::ranges::find(kLevels, request->level()) == kLevels.end() || !base::SetLogLevel(request->level())) {
      return base::Error(absl::StatusCode::kInvalidArgument, "INVALID_REQUEST",
                         "level: must be trace, debug, info, warn or error");
    }
    base::Log("api")->info("log level changed level={}", request->level());
    response->set_level(base::LogLevel());
    return absl::OkStatus();
  });
}

}  // namespace umbra::api
