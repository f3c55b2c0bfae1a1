// Errors of the house: absl::Status with a stable, machine-readable reason.
//
// Every error that can reach a person carries a reason such as "VM_NOT_FOUND" (UPPER_SNAKE, listed in
// proto/umbra/v1/error_reasons.proto). The text may change; the reason may not.
// This header also hides that Debian's absl::string_view is not std::string_view.
#ifndef UMBRA_STORAGE_BASE_STATUS_H_
#define UMBRA_STORAGE_BASE_STATUS_H_

#include <fmt/format.h>

#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace umbra::base {

inline absl::string_view Av(std::string_view s) { return {s.data(), s.size()}; }
inline std::string_view Sv(absl::string_view s) { return {s.data(), s.size()}; }

// An error with `code`, a stable `reason` and a formatted message.
absl::Status MakeError(absl::StatusCode code, std::string_view reason, std::string message);

template <typename... Args>
absl::Status Error(absl::StatusCode code, std::string_view reason, fmt::format_string<Args...> format, Args&&... args) {
  return MakeError(code, reason, fmt::format(format, std::forward<Args>(args)...));
}

// The stable reason of `status`; empty when OK or when none was set.
std::string ReasonOf(const absl::Status& status);

// `status` with `context: ` before its message; code, reason and other payloads are kept. OK stays OK.
absl::Status AnnotateWith(const absl::Status& status, std::string_view context);

template <typename... Args>
absl::Status Annotate(const absl::Status& status, fmt::format_string<Args...> format, Args&&... args) {
  if (status.ok()) return status;
  return AnnotateWith(status, fmt::format(format, std::forward<Args>(args)...));
}

// The message as std::string (absl's own string_view does not print with fmt).
std::string MessageOf(const absl::Status& status);

// "CODE [REASON]: message", for logs.
std::string Describe(const absl::Status& status);

// An error from errno `error`, worded "what: strerror". ENOSPC and EDQUOT become RESOURCE_EXHAUSTED / STORAGE_FULL,
// ENOENT NOT_FOUND / FILE_NOT_FOUND, EEXIST ALREADY_EXISTS / FILE_EXISTS, EACCES and EPERM PERMISSION_DENIED,
// anything else UNAVAILABLE / IO_ERROR.
absl::Status ErrnoError(int error, std::string_view what);

}  // namespace umbra::base

#define UMBRA_CONCAT_INNER(a, b) a##b
#define UMBRA_CONCAT(a, b) UMBRA_CONCAT_INNER(a, b)

#define RETURN_IF_ERROR(expr)                       \
  do {                                              \
    if (absl::Status _umbra_s = (expr); !_umbra_s.ok()) return _umbra_s; \
  } while (false)

#define ASSIGN_OR_RETURN(lhs, expr) ASSIGN_OR_RETURN_IMPL(UMBRA_CONCAT(_umbra_so_, __LINE__), lhs, expr)
#define ASSIGN_OR_RETURN_IMPL(tmp, lhs, expr) \
  auto tmp = (expr);                          \
  if (!tmp.ok()) return tmp.status();         \
  lhs = *std::move(tmp)

// Our own invariant is broken: log and abort; the next start repairs from disk.
#define UMBRA_CHECK(condition)                                                                    \
  do {                                                                                            \
    if (!(condition)) ::umbra::base::CheckFailed(#condition, __FILE__, __LINE__);                 \
  } while (false)

namespace umbra::base {
[[noreturn]] void CheckFailed(const char* condition, const char* file, int line);
}

#endif  // UMBRA_STORAGE_BASE_STATUS_H_
