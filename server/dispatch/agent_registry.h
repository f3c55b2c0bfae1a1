// Which agents are connected. Facts only; the dispatcher keeps them, anybody may ask.
#ifndef UMBRA_SERVER_DISPATCH_AGENT_REGISTRY_H_
#define UMBRA_SERVER_DISPATCH_AGENT_REGISTRY_H_

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/dispatch/agent_session.h"
#include "storage/catalog/ids.h"

namespace umbra::dispatch {

// A connected agent that has said Hello.
struct AgentFacts {
  std::string process_id;
  std::string address;
  absl::Time online_since;
  absl::Time last_seen_time;
  std::string problem_reason = {};  // why it gets no work; empty: it does
  std::string problem = {};         // the same for people
};

// Thread-safe; no call blocks.
class AgentRegistry {
 public:
  // True when the host's agent is connected and has said Hello.
  bool IsOnline(const catalog::HostId& host) const { return Find(host).has_value(); }
  std::optional<AgentFacts> Find(const catalog::HostId& host) const;
  std::vector<catalog::HostId> Online() const;  // ordered

  // Asks the agent for its inventory. False when it isn't online.
  bool RefreshInventory(const catalog::HostId& host);

  // Ends the host's stream with `status`, for example when its certificate was revoked. It may come back if it still can.
  void Disconnect(const catalog::HostId& host, const absl::Status& status);

  // ---- For the dispatcher ----

  void SetOnline(const catalog::HostId& host, std::shared_ptr<AgentSession> session, AgentFacts facts);
  void SetSeen(const catalog::HostId& host, absl::Time now);
  void SetOffline(const catalog::HostId& host);

 private:
  struct Entry {
    std::shared_ptr<AgentSession> session;  // see agent_session.h for the owners
    AgentFacts facts;
  };
  std::shared_ptr<AgentSession> SessionOf(const catalog::HostId& host) const;

  mutable absl::Mutex mu_;
  absl::flat_hash_map<catalog::HostId, Entry> agents_ ABSL_GUARDED_BY(mu_);
};

}  // namespace umbra::dispatch

#endif  // UMBRA_SERVER_DISPATCH_AGENT_REGISTRY_H_
