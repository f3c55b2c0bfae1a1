// How long the List calls of the public API take, page after page, with and without filters, while the rest goes on.
#ifndef UMBRA_TESTS_FLEET_LIST_PROBE_H_
#define UMBRA_TESTS_FLEET_LIST_PROBE_H_

#include <map>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "storage/base/clock.h"

namespace umbra::fleet {

// Calls one after the other for `time`, with `pause` between two; a list is walked for some pages and begun anew. The
// times of each call, by the list's name. A call that fails is in "failed: NAME: why".
std::map<std::string, std::vector<absl::Duration>> ProbeLists(const std::string& api_socket, base::Clock& clock,
                                                              absl::Duration time, absl::Duration pause);

}  // namespace umbra::fleet

#endif  // UMBRA_TESTS_FLEET_LIST_PROBE_H_
