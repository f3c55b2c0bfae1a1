#include "agent/transfer/link_settings.h"

#include <algorithm>

#include "storage/base/status.h"

namespace umbra::transfer {
namespace {

constexpr double kLineBytesPerSecond = 125e6;
// Uploads come in bursts and wait for their answers: to keep the line full, more than it holds has to be under way.
constexpr double kFill = 2.0;
constexpr double kPool = 1.5;
constexpr absl::Duration kRoundTripMax = absl::Milliseconds(150);
// Plain bytes that one question is about (64 chunks of 128 KiB).
constexpr double kAskedBytes = 8.0 * base::kMiB;
// A batch on its way is there twice: as the message, and as gRPC's copy of it.
constexpr uint64_t kCopiesOfBatch = 2;

}  // namespace

absl::StatusOr<absl::Duration> MeasureRoundTrip(ChunkStoreClient& store, const std::string& session_id,
                                                base::Clock& clock) {
  store::v1::NegotiateRequest nothing;
  nothing.set_session_id(session_id);
  absl::Duration best = absl::InfiniteDuration();
  for (int i = 0; i < 2; ++i) {
    const absl::Duration start = clock.Monotonic();
    RETURN_IF_ERROR(store.Negotiate(nothing).status());
    best = std::min(best, clock.Monotonic() - start);
  }
  return best;
}

BackupSettings SettingsForLink(const BackupSettings& usual, absl::Duration round_trip) {
  const double under_way = absl::ToDoubleSeconds(std::min(round_trip, kRoundTripMax)) * kLineBytesPerSecond;
  const int more = static_cast<int>(kFill * under_way / static_cast<double>(usual.upload_batch_bytes));
  BackupSettings settings = usual;
  settings.uploaders += more;
  settings.askers += static_cast<int>(under_way / kAskedBytes);
  const uint64_t taken = static_cast<uint64_t>(more) * kCopiesOfBatch * usual.upload_batch_bytes;
  // Chunks lie in the pool while their ids are asked about: less than half as much again as the line holds meanwhile,
  // and the pool would be what the line waits for.
  const auto asked = std::min(usual.memory_bytes, static_cast<uint64_t>(kPool * under_way));
  settings.memory_bytes -= std::min(taken, usual.memory_bytes - std::max(asked, usual.memory_bytes / 2));
  return settings;
}

}  // namespace umbra::transfer
