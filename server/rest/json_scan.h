// A look at JSON before a parser sees it.
#ifndef UMBRA_SERVER_REST_JSON_SCAN_H_
#define UMBRA_SERVER_REST_JSON_SCAN_H_

#include <string_view>

#include "absl/status/status.h"

namespace umbra::rest {

// Nothing in the API is deeper than a handful.
inline constexpr int kJsonDepthMax = 32;

// One pass over `text`, in time proportional to its length: brackets match and are at most `depth_max` deep, strings
// end. Protobuf 3.21 takes time that grows faster than the square of the depth, and minutes for 100 kB of '['; so
// nothing deeper gets there. What is well nested may still be no JSON: that the parser says. INVALID_ARGUMENT /
// INVALID_REQUEST, with the place.
absl::Status ScanJson(std::string_view text, int depth_max = kJsonDepthMax);

}  // namespace umbra::rest

#endif  // UMBRA_SERVER_REST_JSON_SCAN_H_
