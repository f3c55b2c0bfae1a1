// Errors as application/problem+json (RFC 9457).
#ifndef UMBRA_SERVER_REST_PROBLEM_H_
#define UMBRA_SERVER_REST_PROBLEM_H_

#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/rest/http.h"

namespace umbra::rest {

struct Problem {
  int status = 500;    // of HTTP
  std::string reason;  // stable, see proto/umbra/v1/error_reasons.proto; may be empty
  std::string detail;  // for people
  // How long to wait before the next try, in whole seconds; absent: the error says nothing about it.
  std::optional<absl::Duration> retry_after = std::nullopt;
};

// The status of HTTP for a code, in one table. `conditional`: the request carried If-Match, so a conflict means that
// its condition doesn't hold (412).
int HttpStatusOf(absl::StatusCode code, bool conditional = false);

Problem ProblemOf(const absl::Status& status, bool conditional = false);

// As one JSON object: type, title, status, detail, reason, action (what to do, where that is known), retryAfterSeconds
// (where the error says it), requestId.
std::string ProblemJson(const Problem& problem, std::string_view request_id);

// The whole answer; 429 and 503 say when to come back, and so does any other that knows it.
Response ProblemResponse(const Problem& problem, std::string_view request_id);

// What a reader of `reason` should do; empty when nothing is known.
std::string_view ActionFor(std::string_view reason);

}  // namespace umbra::rest

#endif  // UMBRA_SERVER_REST_PROBLEM_H_
