// The error for a request that is wrong: the commonest of all.
#ifndef UMBRA_STORAGE_BASE_INVALID_H_
#define UMBRA_STORAGE_BASE_INVALID_H_

#include <utility>

#include "storage/base/status.h"

namespace umbra::base {

// INVALID_ARGUMENT / INVALID_REQUEST: useless to repeat until what was asked for is changed. The message names the
// field.
template <typename... Args>
absl::Status Invalid(fmt::format_string<Args...> format, Args&&... args) {
  return Error(absl::StatusCode::kInvalidArgument, "INVALID_REQUEST", format, std::forward<Args>(args)...);
}

}  // namespace umbra::base

#endif  // UMBRA_STORAGE_BASE_INVALID_H_
