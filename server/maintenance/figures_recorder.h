// Keeps a repository's figures of each day, so that its growth can be told.
#ifndef UMBRA_SERVER_MAINTENANCE_FIGURES_RECORDER_H_
#define UMBRA_SERVER_MAINTENANCE_FIGURES_RECORDER_H_

#include "absl/status/status.h"
#include "server/maintenance/repository_set.h"
#include "storage/base/clock.h"
#include "storage/catalog/catalog.h"

namespace umbra::maintenance {

// One thread at a time. What it is given outlives it.
class FiguresRecorder {
 public:
  FiguresRecorder(catalog::Catalog& catalog, const RepositorySet& repositories, base::Clock& clock)
      : catalog_(catalog), repositories_(repositories), clock_(clock) {}

  // Writes today's figures (UTC) of each repository; the last ones of a day stay. Call now and then.
  absl::Status Tick();

 private:
  catalog::Catalog& catalog_;
  const RepositorySet& repositories_;
  base::Clock& clock_;
};

}  // namespace umbra::maintenance

#endif  // UMBRA_SERVER_MAINTENANCE_FIGURES_RECORDER_H_
