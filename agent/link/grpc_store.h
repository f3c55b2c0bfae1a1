// The daemon's data service over gRPC, for one assignment.
#ifndef UMBRA_AGENT_LINK_GRPC_STORE_H_
#define UMBRA_AGENT_LINK_GRPC_STORE_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "agent/link/identity_keeper.h"
#include "agent/transfer/cancellation.h"
#include "agent/transfer/chunk_store_client.h"
#include "storage/base/clock.h"

namespace umbra::link {

class StoreConnection;

// Connections to the daemon's data service that no job has at present. A job takes what it needs and gives it back when it
// ends, so a host that has many short jobs doesn't pay for a TLS handshake, twice, in each of them; one that nobody uses for
// a minute is closed. Thread-safe.
class StoreConnections {
 public:
  // `identities` outlives it. `address` empty: the identity's.
  StoreConnections(IdentityKeeper& identities, std::string address);
  ~StoreConnections();

  // For its taker alone, until he gives it back.
  std::unique_ptr<StoreConnection> Take();
  void GiveBack(std::unique_ptr<StoreConnection> connection);

  IdentityKeeper& identities() { return identities_; }

 private:
  IdentityKeeper& identities_;
  const std::string address_;
  absl::Mutex mu_;
  std::vector<std::unique_ptr<StoreConnection>> free_ ABSL_GUARDED_BY(mu_);  // used last: at the back
};

// A client with connections that are its own as long as it lives, so that bulk data never stands before a heartbeat. Calls
// that are under way end with the cancellation's reason when `cancellation` is cancelled, but for Commit; only AbortSession
// still works then. When the agent has got another certificate, the next calls go over new connections that show it; a call
// that was refused because of the one before is UNAVAILABLE: it will do the next time. `connections`, `clock` and
// `cancellation` outlive it.
std::unique_ptr<transfer::ChunkStoreClient> MakeGrpcStore(StoreConnections& connections, base::Clock& clock,
                                                          transfer::Cancellation& cancellation);

}  // namespace umbra::link

#endif  // UMBRA_AGENT_LINK_GRPC_STORE_H_
