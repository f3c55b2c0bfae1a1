#include "storage/base/status.h"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <system_error>

#include "absl/strings/cord.h"

namespace umbra::base {
namespace {
constexpr char kReasonUrl[] = "umbra/reason";
}

absl::Status MakeError(absl::StatusCode code, std::string_view reason, std::string message) {
  absl::Status status(code, message);
  if (!reason.empty()) status.SetPayload(kReasonUrl, absl::Cord(Av(reason)));
  return status;
}

std::string ReasonOf(const absl::Status& status) {
  auto payload = status.GetPayload(kReasonUrl);
  return payload.has_value() ? std::string(*payload) : std::string();
}

absl::Status AnnotateWith(const absl::Status& status, std::string_view context) {
  if (status.ok()) return status;
  absl::Status annotated(status.code(), fmt::format("{}: {}", context, MessageOf(status)));
  status.ForEachPayload([&](absl::string_view url, const absl::Cord& payload) { annotated.SetPayload(url, payload); });
  return annotated;
}

std::string MessageOf(const absl::Status& status) {
  return std::string(status.message().data(), status.message().size());
}

std::string Describe(const absl::Status& status) {
  if (status.ok()) return "OK";
  const std::string code = absl::StatusCodeToString(status.code());
  const std::string reason = ReasonOf(status);
  return reason.empty() ? fmt::format("{}: {}", code, MessageOf(status))
                        : fmt::format("{} [{}]: {}", code, reason, MessageOf(status));
}

absl::Status ErrnoError(int error, std::string_view what) {
  std::string text = fmt::format("{}: {}", what, std::generic_category().message(error));
  switch (error) {
    case ENOSPC:
    case EDQUOT:
      return MakeError(absl::StatusCode::kResourceExhausted, "STORAGE_FULL", std::move(text));
    case ENOENT:
      return MakeError(absl::StatusCode::kNotFound, "FILE_NOT_FOUND", std::move(text));
    case EEXIST:
      return MakeError(absl::StatusCode::kAlreadyExists, "FILE_EXISTS", std::move(text));
    case EACCES:
    case EPERM:
      return MakeError(absl::StatusCode::kPermissionDenied, "FILE_ACCESS_DENIED", std::move(text));
    default:
      return MakeError(absl::StatusCode::kUnavailable, "IO_ERROR", std::move(text));
  }
}

void CheckFailed(const char* condition, const char* file, int line) {
  std::fprintf(stderr, "%s:%d: broken invariant: %s\n", file, line, condition);
  std::abort();
}

}  // namespace umbra::base
