// What the fleet is like, and what has happened to it.
#ifndef UMBRA_TESTS_FLEET_OPTIONS_H_
#define UMBRA_TESTS_FLEET_OPTIONS_H_

#include <atomic>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace umbra::fleet {

struct Options {
  std::string folder;      // identities of the agents; those of an earlier run are used again
  std::string api_socket;  // of umbrad, for enrolment tokens and lists
  std::string enrolment_address;
  int agents = 20;
  int vms = 5;  // of each
  uint64_t seed = 1;

  // Of each machine: a disk of one chunk with so many bytes, ...
  int disk_bytes = 4096;
  // ... that is another one for each backup. Otherwise it stays what it was: nothing new comes to the repository.
  bool fresh_data = true;
  // A backup has a connection of its own, which its agent keeps for the next one, as that of a real agent (which has two);
  // otherwise it uses its agent's link.
  bool data_connections = true;

  // In how many of all assignments (0 to 1) the agent dies on the way, at any step of it; and comes back, as a new
  // process.
  std::atomic<double> die = 0;
  // The same for the link being cut, while the agent works on.
  std::atomic<double> cut = 0;
  // Part of the hosts whose every step takes `slow_step` more.
  double slow = 0;
  // Before a backup sends data, it tells of so many steps of progress, 1 MiB each, in such a distance. Nothing of that
  // is real.
  std::atomic<int> reports = 0;
  std::atomic<int> report_ms = 100;
  absl::Duration slow_step = absl::Milliseconds(500);
  absl::Duration down = absl::Seconds(2);  // from death to return: half to one and a half of it
};

// Thread-safe.
struct Tally {
  std::atomic<int64_t> connected{0};    // agents that are welcomed now
  std::atomic<int64_t> attempts{0};     // streams that were begun
  std::atomic<int64_t> welcomes{0};     // streams that were welcomed
  std::atomic<int64_t> assignments{0};  // that were taken on
  std::atomic<int64_t> working{0};      // under way now
  std::atomic<int64_t> commits{0};      // that were answered with OK
  std::atomic<int64_t> results{0};      // successes that were reported
  std::atomic<int64_t> acknowledged{0};
  std::atomic<int64_t> cancelled{0};
  std::atomic<int64_t> deaths{0};
  std::atomic<int64_t> cuts{0};
  // Assignments of a machine that another assignment of the same agent was working on: must stay 0.
  std::atomic<int64_t> overlaps{0};

  // Why calls and streams failed.
  void Failed(const std::string& what) {
    absl::MutexLock lock(&mu);
    ++failures[what];
  }
  // Points of a commit that was answered with OK: nothing may lose them.
  void Committed(const std::vector<std::string>& points) {
    ++commits;
    absl::MutexLock lock(&mu);
    committed_points.insert(committed_points.end(), points.begin(), points.end());
  }

  // The moment at which an agent told of the next step of its progress.
  void Reported(absl::Time now) {
    absl::MutexLock lock(&mu);
    reported.push_back(now);
  }

  absl::Mutex mu;
  std::vector<absl::Time> reported ABSL_GUARDED_BY(mu);
  std::map<std::string, int64_t> failures ABSL_GUARDED_BY(mu);
  std::vector<std::string> committed_points ABSL_GUARDED_BY(mu);
};

}  // namespace umbra::fleet

#endif  // UMBRA_TESTS_FLEET_OPTIONS_H_
