// How a backup's pipeline is set for the link that it has: on a long line more must be under way at a time.
#ifndef UMBRA_AGENT_TRANSFER_LINK_SETTINGS_H_
#define UMBRA_AGENT_TRANSFER_LINK_SETTINGS_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "agent/transfer/backup_pipeline.h"
#include "agent/transfer/chunk_store_client.h"
#include "storage/base/clock.h"

namespace umbra::transfer {

// How long the shortest question to the store takes. Asks twice; blocks for that long.
absl::StatusOr<absl::Duration> MeasureRoundTrip(ChunkStoreClient& store, const std::string& session_id,
                                                base::Clock& clock);

// `usual` is for a link on which answers come at once. On one where they take `round_trip`, so many uploads and
// questions are under way as fill a line of 1 Gbit/s meanwhile, up to 150 ms; the memory that they need is taken from
// the pool of chunks, up to half of it, but for what the questions need there.
BackupSettings SettingsForLink(const BackupSettings& usual, absl::Duration round_trip);

}  // namespace umbra::transfer

#endif  // UMBRA_AGENT_TRANSFER_LINK_SETTINGS_H_
