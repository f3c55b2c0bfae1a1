// One simulated agent: an identity and connections of its own and the real protocol; no thread, no hypervisor, made-up
// data.
//
// It does what agent/link and agent/runner do: Hello with what is under way, the inventory after each Welcome,
// heartbeats, results that are said again until they are acknowledged, and the agent's own back-off. It can die: then
// everything that it knew is gone.
#ifndef UMBRA_TESTS_FLEET_AGENT_H_
#define UMBRA_TESTS_FLEET_AGENT_H_

#include <grpcpp/channel.h>

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "agent/link/control_link.h"
#include "agent/link/identity.h"
#include "agent/link/outbox.h"
#include "agent/transfer/backoff.h"
#include "storage/base/random.h"
#include "tests/fleet/options.h"
#include "tests/fleet/timers.h"
#include "umbra/agent/v1/agent_link.pb.h"

namespace umbra::fleet {

class Backup;
class LinkStream;

// What all agents share; outlives them.
struct World {
  const Options& options;
  Tally& tally;
  Timers& timers;
  base::Clock& clock;
  base::Random& random;
};

// uuid of a machine, the same in every run.
std::string VmUuid(int agent, int vm);

// Thread-safe. Lives until the program ends, because calls that are under way know it.
class Agent {
 public:
  Agent(const World& world, int number, link::Identity identity);

  void Start();
  // The process is gone, at once. It comes back after `down`.
  void Die(absl::Duration down);
  // The link is cut; the work goes on.
  void CutLink();
  // For good.
  void Stop();

  const World& world() const { return world_; }
  const link::Identity& identity() const { return identity_; }
  bool slow() const { return slow_; }

  // ---- For its stream ----
  void OnMessage(const LinkStream* stream, const agent::v1::DaemonMessage& message);
  void OnStreamEnded(const LinkStream* stream, const std::string& why);

  // ---- For its backups ----
  void Say(agent::v1::AgentMessage message);
  // `backup` has ended; the result is kept until it is acknowledged.
  void Ended(const Backup* backup, agent::v1::AssignmentResult result);

 private:
  void Connect();
  void ConnectLater();
  void OnWelcome(const agent::v1::Welcome& welcome);
  void OnAssignment(const agent::v1::Assignment& assignment);
  void OnCancel(const agent::v1::AssignmentId& id);
  void Beat(int64_t stream_number);
  std::shared_ptr<grpc::Channel> DataChannelLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  agent::v1::AgentMessage HelloLocked() ABSL_SHARED_LOCKS_REQUIRED(mu_);
  agent::v1::AgentMessage Inventory() const;

  const World& world_;
  const int number_;
  const link::Identity identity_;
  const bool slow_;

  absl::Mutex mu_;
  bool alive_ ABSL_GUARDED_BY(mu_) = false;
  bool welcomed_ ABSL_GUARDED_BY(mu_) = false;
  bool spoke_ ABSL_GUARDED_BY(mu_) = false;  // since the last heartbeat was due
  int64_t stream_number_ ABSL_GUARDED_BY(mu_) = 0;
  std::string process_id_ ABSL_GUARDED_BY(mu_);
  transfer::Backoff backoff_ ABSL_GUARDED_BY(mu_);
  absl::Duration heartbeat_ ABSL_GUARDED_BY(mu_) = absl::Seconds(5);
  std::shared_ptr<LinkStream> stream_ ABSL_GUARDED_BY(mu_);  // itself is another owner, until it is done
  std::map<link::AssignmentKey, std::shared_ptr<Backup>> backups_ ABSL_GUARDED_BY(mu_);  // so are calls under way
  std::map<link::AssignmentKey, agent::v1::AssignmentResult> results_ ABSL_GUARDED_BY(mu_);
  std::vector<std::shared_ptr<grpc::Channel>> free_channels_ ABSL_GUARDED_BY(mu_);  // for the data of the next backups
};

}  // namespace umbra::fleet

#endif  // UMBRA_TESTS_FLEET_AGENT_H_
