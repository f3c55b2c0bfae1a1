// All the agents.
#ifndef UMBRA_TESTS_FLEET_FLEET_H_
#define UMBRA_TESTS_FLEET_FLEET_H_

#include <grpcpp/channel.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "storage/base/filesystem.h"
#include "tests/fleet/agent.h"

namespace umbra::fleet {

// One thread at a time.
class Fleet {
 public:
  Fleet(base::Filesystem& files, const World& world) : files_(files), world_(world) {}

  // Gives every agent its identity, by a token and the enrolment port, unless it has one from before.
  absl::Status Enrol();
  // All connect, as far as the back-off of a fleet that starts spreads them.
  void Start();
  // All die at once and come back after `down`, each somewhat earlier or later.
  void Storm(absl::Duration down);
  void CutLinks();
  void Stop();

 private:
  absl::StatusOr<link::Identity> Identify(int agent);
  std::string FolderOf(int agent) const;

  // gRPC ends its callback threads with the last channel that has used them, which must not happen on one of them.
  absl::Status KeepCallbackThreads();

  base::Filesystem& files_;
  const World& world_;
  std::shared_ptr<grpc::Channel> kept_;  // gRPC's stubs share their channel
  std::vector<std::unique_ptr<Agent>> agents_;
};

}  // namespace umbra::fleet

#endif  // UMBRA_TESTS_FLEET_FLEET_H_
