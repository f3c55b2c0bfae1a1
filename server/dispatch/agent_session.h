// One stream of one agent, as the dispatcher sees it. server/api/agent implements it over gRPC, tests by a script.
#ifndef UMBRA_SERVER_DISPATCH_AGENT_SESSION_H_
#define UMBRA_SERVER_DISPATCH_AGENT_SESSION_H_

#include <cstddef>
#include <string>

#include "absl/status/status.h"
#include "storage/catalog/ids.h"
#include "umbra/agent/v1/agent_link.pb.h"

namespace umbra::dispatch {

// Who opened a stream, by its client certificate alone; server/api has looked it up in the catalog.
struct Peer {
  catalog::HostId host;
  std::string address;  // for logs
  std::string certificate_fingerprint = {};
};

// Thread-safe; no call blocks. Owned by the stream while it is open, and by the dispatcher while it may still answer.
class AgentSession {
 public:
  virtual ~AgentSession() = default;

  virtual const Peer& peer() const = 0;

  // Queues a message; messages leave in order. Nothing happens after Close. An agent that lets kSendQueueMax messages
  // pile up is cut off: it will get what it needs after its next Hello.
  virtual void Send(agent::v1::DaemonMessage message) = 0;

  // Asks for the agent's next message. The dispatcher calls it when it has handled the one before, so that one message of
  // each agent is in memory at a time.
  virtual void ReadNext() = 0;

  // Ends the stream with `status` after what was queued has left. The first call decides.
  virtual void Close(absl::Status status) = 0;
};

// The agent reads slower than it is told things: far more than the few messages that all its assignments can cause.
inline constexpr size_t kSendQueueMax = 256;

}  // namespace umbra::dispatch

#endif  // UMBRA_SERVER_DISPATCH_AGENT_SESSION_H_
