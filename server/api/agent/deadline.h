// Times of gRPC's alarms.
#ifndef UMBRA_SERVER_API_AGENT_DEADLINE_H_
#define UMBRA_SERVER_API_AGENT_DEADLINE_H_

#include <grpc/support/time.h>

#include "absl/time/time.h"

namespace umbra::api {

// So long from now on, whatever becomes of the wall clock.
inline gpr_timespec DeadlineAfter(absl::Duration pause) {
  return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                      gpr_time_from_micros(absl::ToInt64Microseconds(pause), GPR_TIMESPAN));
}

}  // namespace umbra::api

#endif  // UMBRA_SERVER_API_AGENT_DEADLINE_H_
