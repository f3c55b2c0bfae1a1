// The agent's end of the control stream: connects, says Hello, carries messages both ways, and comes back after a cut.
//
// It decides nothing about work: assignments go on while the link is down, until the lease that the daemon gave is
// over.
#ifndef UMBRA_AGENT_LINK_CONTROL_LINK_H_
#define UMBRA_AGENT_LINK_CONTROL_LINK_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "agent/link/identity_keeper.h"
#include "agent/link/link_stream.h"
#include "agent/link/outbox.h"
#include "agent/transfer/backoff.h"
#include "storage/base/clock.h"
#include "storage/base/random.h"
#include "storage/base/threads.h"
#include "umbra/agent/v1/agent_link.pb.h"

namespace umbra::link {

// Who gets the daemon's words. Called on the link's threads: return soon.
class LinkHandler {
 public:
  virtual ~LinkHandler() = default;

  // Assignments that are under way, for Hello. (Results that wait in the outbox are added by the link.)
  virtual std::vector<agent::v1::AssignmentId> Running() = 0;
  virtual void OnConnected(const agent::v1::Welcome& welcome) = 0;
  virtual void OnAssignment(const agent::v1::Assignment& assignment) = 0;
  virtual void OnCancel(const agent::v1::AssignmentId& id) = 0;
  virtual void OnRefreshInventory() = 0;
  // The link has been down for longer than the lease: nobody waits for the work any more. Once per cut.
  virtual void OnLeaseExpired() = 0;
};

struct ControlLinkOptions {
  agent::v1::Hello hello;  // version, host name, hypervisor, process id
  std::string address;     // of the agent port; empty: the identity's
  transfer::Backoff::Limits backoff;
  // A peer that takes the connection but says no Welcome is given up on: well inside a lease, and long enough for a
  // daemon that all agents of a fleet come back to at once.
  absl::Duration connect_timeout = absl::Seconds(30);
  // Until the first Welcome says otherwise.
  absl::Duration heartbeat_interval = absl::Seconds(5);
  absl::Duration lease_duration = absl::Seconds(60);
};

class ControlLink {
 public:
  // Over gRPC, each stream with the certificate that is the present one when it begins; asks for new ones in time.
  // Everything outlives the link.
  ControlLink(IdentityKeeper& identities, ControlLinkOptions options, Outbox& outbox, LinkHandler& handler,
              base::Clock& clock, base::Random& random);
  // Over what `open` gives; the options' address is for the log alone. `identities` is null when the streams show no
  // certificates.
  ControlLink(LinkStreamFactory open, ControlLinkOptions options, Outbox& outbox, LinkHandler& handler,
              base::Clock& clock, base::Random& random, base::Threads& threads, IdentityKeeper* identities = nullptr);
  // Stop().
  ~ControlLink();

  // Starts to connect; returns at once.
  void Start();
  // Ends the stream and the threads; waits for handler calls that are under way.
  void Stop();

  bool connected();

 private:
  void Run();
  absl::Status RunStream();
  absl::Status RunStream(LinkStream& stream);
  void Converse(LinkStream& stream);
  void WriteLoop(LinkStream& stream);
  // Empty after `timeout`, and when the stream is over.
  std::optional<agent::v1::AgentMessage> NextMessage(absl::Duration timeout);
  void Handle(const agent::v1::DaemonMessage& message);
  void WatchLease();
  void SetConnected(const agent::v1::Welcome& welcome);
  void SetDisconnected();
  bool Stopping();

  const LinkStreamFactory open_;
  const ControlLinkOptions options_;  // with an address
  Outbox& outbox_;
  LinkHandler& handler_;
  base::Clock& clock_;
  base::Threads& threads_;
  IdentityKeeper* const identities_;
  transfer::Backoff backoff_;  // the link thread's

  absl::Mutex mu_;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  bool connected_ ABSL_GUARDED_BY(mu_) = false;   // welcomed on the stream that is open
  bool stream_over_ ABSL_GUARDED_BY(mu_) = true;  // the stream's writer shall end
  bool lease_over_ ABSL_GUARDED_BY(mu_) = false;  // of this cut, and the handler was told
  int64_t changes_ ABSL_GUARDED_BY(mu_) = 0;      // times that the link came or went
  absl::Duration down_since_ ABSL_GUARDED_BY(mu_);
  absl::Duration heartbeat_interval_ ABSL_GUARDED_BY(mu_);
  absl::Duration lease_duration_ ABSL_GUARDED_BY(mu_);
  LinkStream* stream_ ABSL_GUARDED_BY(mu_) = nullptr;  // that is open, to be cancelled by Stop

  std::unique_ptr<base::Thread> link_thread_;
  std::unique_ptr<base::Thread> lease_thread_;
};

}  // namespace umbra::link

#endif  // UMBRA_AGENT_LINK_CONTROL_LINK_H_
