#include "server/rest/problem.h"

#include <nlohmann/json.hpp>

#include "server/rest/api_description.h"
#include "storage/base/retry_after.h"
#include "storage/base/status.h"

namespace umbra::rest {
namespace {

// Of errors that don't know better: long enough for whatever was too much to pass, short enough that nobody gives up.
constexpr absl::Duration kRetryAfter = absl::Seconds(2);

}  // namespace

int HttpStatusOf(absl::StatusCode code, bool conditional) {
  switch (code) {
    case absl::StatusCode::kOk:
      return 200;
    case absl::StatusCode::kCancelled:
      return 499;
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kOutOfRange:
      return 400;
    case absl::StatusCode::kUnauthenticated:
      return 401;
    case absl::StatusCode::kPermissionDenied:
      return 403;
    case absl::StatusCode::kNotFound:
      return 404;
    case absl::StatusCode::kAborted:
      return conditional ? 412 : 409;
    case absl::StatusCode::kAlreadyExists:
    case absl::StatusCode::kFailedPrecondition:
      return 409;
    case absl::StatusCode::kResourceExhausted:
      return 429;
    case absl::StatusCode::kUnimplemented:
      return 501;
    case absl::StatusCode::kUnavailable:
      return 503;
    case absl::StatusCode::kDeadlineExceeded:
      return 504;
    default:  // UNKNOWN, INTERNAL, DATA_LOSS, and codes that aren't made yet
      return 500;
  }
}

Problem ProblemOf(const absl::Status& status, bool conditional) {
  return {HttpStatusOf(status.code(), conditional), base::ReasonOf(status), base::MessageOf(status),
          base::RetryAfterOf(status)};
}

std::string_view ActionFor(std::string_view reason) {
  for (const ReasonAction& known : ReasonActions()) {
    if (known.reason == reason) return known.action;
  }
  return {};
}

std::string ProblemJson(const Problem& problem, std::string_view request_id) {
  nlohmann::ordered_json json;
  json["type"] = problem.reason.empty() ? "about:blank" : "urn:umbra:error:" + problem.reason;
  json["title"] = std::string(Phrase(problem.status));
  json["status"] = problem.status;
  json["detail"] = problem.detail.empty() ? std::string(Phrase(problem.status)) : problem.detail;
  if (!problem.reason.empty()) json["reason"] = problem.reason;
  if (const std::string_view action = ActionFor(problem.reason); !action.empty()) json["action"] = std::string(action);
  if (problem.retry_after) json["retryAfterSeconds"] = absl::ToInt64Seconds(*problem.retry_after);
  json["requestId"] = std::string(request_id);
  return json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

Response ProblemResponse(const Problem& problem, std::string_view request_id) {
  Response response;
  response.status = problem.status;
  response.Set("Content-Type", "application/problem+json");
  response.Set("Cache-Control", "no-store");
  if (problem.status == 401) response.Set("WWW-Authenticate", "Bearer realm=\"umbra\"");
  if (problem.retry_after || problem.status == 429 || problem.status == 503) {
    response.Set("Retry-After", std::to_string(absl::ToInt64Seconds(problem.retry_after.value_or(kRetryAfter))));
  }
  response.body = ProblemJson(problem, request_id);
  return response;
}

}  // namespace umbra::rest
