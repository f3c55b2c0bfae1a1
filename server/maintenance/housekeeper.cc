#include "server/maintenance/housekeeper.h"

#include <utility>

#include "storage/base/log.h"
#include "storage/base/status.h"

namespace umbra::maintenance {
namespace {

// Expired tokens stay a while: a person may ask why one didn't work.
constexpr absl::Duration kTokensKeptFor = absl::Hours(24 * 7);
// So does what was damaged once: it says something about the disk.
constexpr absl::Duration kHealedDamageKeptFor = absl::Hours(24 * 90);

}  // namespace

Housekeeper::Housekeeper(catalog::Catalog& catalog, jobs::JobEngine& engine, jobs::EventHub& events, base::Clock& clock,
                         std::vector<HousekeepingTask> tasks, HistoryKept kept, base::Threads& threads)
    : catalog_(catalog),
      engine_(engine),
      events_(events),
      clock_(clock),
      tasks_(std::move(tasks)),
      kept_(kept),
      ticker_(clock, threads, [this] {
        Clean();
        return kHousekeepingInterval;
      }) {
  ticker_.Start();
}

void Housekeeper::Clean() {
  absl::Status cleaned = events_.Prune(kept_.events);
  cleaned.Update(engine_.Prune(kept_.jobs));
  cleaned.Update(
      catalog_.Write([&](catalog::Stores& stores) { return stores.tokens.Prune(clock_.Now() - kTokensKeptFor); }));
  cleaned.Update(catalog_.Write(
      [&](catalog::Stores& stores) { return stores.verify.Prune(clock_.Now() - kHealedDamageKeptFor); }));
  if (!cleaned.ok()) base::Log("maintenance")->warn("housekeeping failed error={}", base::Describe(cleaned));
  for (const HousekeepingTask& task : tasks_) {
    if (const absl::Status done = task.run(); !done.ok()) {
      base::Log("maintenance")->warn("housekeeping failed task={} error={}", task.name, base::Describe(done));
    }
  }
}

}  // namespace umbra::maintenance
