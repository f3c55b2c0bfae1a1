// How long a caller should wait before it tries again, carried by an error beside its reason.
#ifndef UMBRA_STORAGE_BASE_RETRY_AFTER_H_
#define UMBRA_STORAGE_BASE_RETRY_AFTER_H_

#include <optional>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace umbra::base {

// `status` with the wait, rounded up to whole seconds. OK stays OK.
absl::Status WithRetryAfter(absl::Status status, absl::Duration wait);

// Absent: the error says nothing about it.
std::optional<absl::Duration> RetryAfterOf(const absl::Status& status);

}  // namespace umbra::base

#endif  // UMBRA_STORAGE_BASE_RETRY_AFTER_H_
