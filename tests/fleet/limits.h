// What this machine can do at most of what a fleet asks of it: syncs of its disk, round trips and connections over
// loopback.
#ifndef UMBRA_TESTS_FLEET_LIMITS_H_
#define UMBRA_TESTS_FLEET_LIMITS_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "storage/base/clock.h"
#include "storage/base/filesystem.h"
#include "storage/base/random.h"

namespace umbra::fleet {

struct Limits {
  double syncs = 0;        // a second: 4 KiB appended to one file and synced
  double new_files = 0;    // a second: a file of 4 KiB made, synced, its folder synced too
  double round_trips = 0;  // a second: calls that do nothing, 64 at a time over 16 connections with mutual TLS
  double connections = 0;  // a second: a new connection with mutual TLS and one call over it, 16 at a time
};

// Takes about four times `time`. `folder` is made, and filled with rubbish.
absl::StatusOr<Limits> MeasureLimits(base::Filesystem& files, base::Clock& clock, base::Random& random,
                                     const std::string& folder, absl::Duration time);

}  // namespace umbra::fleet

#endif  // UMBRA_TESTS_FLEET_LIMITS_H_
