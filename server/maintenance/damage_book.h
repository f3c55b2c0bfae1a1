// What verification found, kept until it is healed: results of packs and points, and the places of recovery points that
// are damaged.
#ifndef UMBRA_SERVER_MAINTENANCE_DAMAGE_BOOK_H_
#define UMBRA_SERVER_MAINTENANCE_DAMAGE_BOOK_H_

#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "server/jobs/event_hub.h"
#include "server/maintenance/repository_set.h"
#include "storage/base/clock.h"
#include "storage/catalog/catalog.h"

namespace umbra::maintenance {

// Thread-safe. What it is given outlives it.
class DamageBook {
 public:
  DamageBook(catalog::Catalog& catalog, jobs::EventHub& events, base::Clock& clock)
      : catalog_(catalog), events_(events), clock_(clock) {}

  // The places that a verification found. Durable when OK returns.
  absl::Status Enter(const catalog::RepositoryId& repository, const repo::VerifyReport& report);
  // Places whose chunk has a sound copy by now count as healed; one event (DAMAGE_HEALED) for each recovery point that
  // has no damage left. Cheap when there is no damage; call it after backups and verifications.
  absl::Status CloseHealed(const OpenRepository& repository);

 private:
  absl::Status TellHealed(const std::vector<catalog::Damage>& before, const std::vector<catalog::Damage>& after);

  catalog::Catalog& catalog_;
  jobs::EventHub& events_;
  base::Clock& clock_;
};

// Writes results of packs and points to the catalog while a verification runs: a batch a second, since each transaction
// is a sync. What a crash loses is verified again, nothing more. One thread at a time.
class CheckRecorder {
 public:
  CheckRecorder(catalog::Catalog& catalog, base::Clock& clock, const catalog::RepositoryId& repository)
      : catalog_(catalog), clock_(clock), repository_(repository), written_(clock.Monotonic()) {}

  void Add(const repo::PackCheck& check);
  void Add(const repo::PointCheck& check);
  // Writes what is left.
  absl::Status Flush();

 private:
  void FlushNowAndThen();

  catalog::Catalog& catalog_;
  base::Clock& clock_;
  const catalog::RepositoryId repository_;
  absl::Duration written_;
  std::vector<catalog::PackCheck> packs_;
  std::vector<catalog::PointCheck> points_;
};

// Forgets the results of packs that the repository doesn't have any more.
absl::Status ForgetGonePacks(catalog::Catalog& catalog, const OpenRepository& repository);

}  // namespace umbra::maintenance

#endif  // UMBRA_SERVER_MAINTENANCE_DAMAGE_BOOK_H_
