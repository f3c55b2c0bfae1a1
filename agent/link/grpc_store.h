// The daemon's data service over gRPC, for one assignment.
#ifndef UMBRA_AGENT_LINK_GRPC_STORE_H_
#define UMBRA_AGENT_LINK_GRPC_STORE_H_

#include <memory>
#include <string>

#include "agent/link/identity.h"
#include "agent/transfer/cancellation.h"
#include "agent/transfer/chunk_store_client.h"
#include "storage/base/clock.h"

namespace umbra::link {

// A client with a connection of its own, so that bulk data never stands before a heartbeat. Calls that are under way end
// with the cancellation's reason when `cancellation` is cancelled, but for Commit; only AbortSession still works then.
// `clock` and `cancellation` outlive it. `address` empty: the identity's.
std::unique_ptr<transfer::ChunkStoreClient> MakeGrpcStore(const Identity& identity, const std::string& address,
                                                          base::Clock& clock, transfer::Cancellation& cancellation);

}  // namespace umbra::link

#endif  // UMBRA_AGENT_LINK_GRPC_STORE_H_
