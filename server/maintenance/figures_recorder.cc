#include "server/maintenance/figures_recorder.h"

#include "storage/base/status.h"

namespace umbra::maintenance {

absl::Status FiguresRecorder::Tick() {
  absl::Status status;
  const int64_t day = absl::ToUnixSeconds(clock_.Now()) / absl::ToInt64Seconds(absl::Hours(24));
  for (const OpenRepository& repository : repositories_.All()) {
    const auto stats = repository.repository->Stats();
    status.Update(stats.status());
    if (!stats.ok()) continue;
    const catalog::RepositoryDay row{
        .repository = repository.id,
        .day = day,
        .figures = {.recovery_point_count = static_cast<int64_t>(stats->recovery_point_count),
                    .logical_bytes = static_cast<int64_t>(stats->logical_bytes),
                    .unique_bytes = static_cast<int64_t>(stats->unique_bytes),
                    .stored_bytes = static_cast<int64_t>(stats->stored_bytes)}};
    status.Update(catalog_.Write([&](catalog::Stores& stores) { return stores.figures.SetDay(row); }));
  }
  return status;
}

}  // namespace umbra::maintenance
