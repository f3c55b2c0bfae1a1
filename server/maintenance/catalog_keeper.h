// Keeps copies of the daemon's catalog in every repository: every few hours, some minutes after a change that nobody
// wants to make twice (a policy, a host), at a graceful stop, and when a person asks (docs/adr/0043).
//
// A copy is made in two steps. The database is copied to a file beside it, through a connection of its own, while
// everybody reads and writes, and that file is checked: a damaged catalog never takes the place of a sound copy. Then
// the file goes into each repository, sealed. What fails in one repository doesn't keep the others from theirs.
#ifndef UMBRA_SERVER_MAINTENANCE_CATALOG_KEEPER_H_
#define UMBRA_SERVER_MAINTENANCE_CATALOG_KEEPER_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/jobs/event_hub.h"
#include "server/maintenance/catalog_copy.h"
#include "server/maintenance/repository_set.h"
#include "storage/base/clock.h"
#include "storage/base/filesystem.h"
#include "storage/base/threads.h"
#include "storage/base/ticker.h"
#include "storage/catalog/catalog.h"

namespace umbra::maintenance {

// How soon the thread notices that a copy is due.
inline constexpr absl::Duration kCatalogLookInterval = absl::Seconds(10);
// After a failure, in a repository, the next try.
inline constexpr absl::Duration kCatalogRetryAfter = absl::Minutes(10);
// At a stop people wait, and systemd does: a copy that takes longer is given up.
inline constexpr absl::Duration kCatalogStopMax = absl::Seconds(5);
// Left free on the state folder's file system, beside the file that is copied to: the catalog itself must not run
// short.
inline constexpr uint64_t kCatalogRoomBytes = 64 * base::kMiB;

struct CatalogKeeperOptions {
  // Zero: only when a person asks.
  absl::Duration every = absl::Hours(6);
  // From a change of policies or hosts to its copy; further changes in between are in it.
  absl::Duration after_change = absl::Minutes(5);
  std::string scratch;    // path of the file that is copied to; what is there is removed
  std::string authority;  // path; empty: left out of the copies
  std::string daemon_version;
  std::string machine;
};

// Thread-safe. What it is given outlives it.
class CatalogKeeper {
 public:
  // What is known of a repository's copies.
  struct State {
    absl::Time time = absl::InfinitePast();               // of the newest sound copy
    int64_t newest_event = -1;                            // in it
    absl::Status last;                                    // of the last try
    absl::Duration last_try = -absl::InfiniteDuration();  // monotonic; of the last one that failed
  };

  CatalogKeeper(catalog::Catalog& catalog, jobs::EventHub& events, const RepositorySet& repositories,
                base::Filesystem& filesystem, base::Clock& clock, CatalogKeeperOptions options,
                base::Threads& threads = base::SystemThreads());
  CatalogKeeper(const CatalogKeeper&) = delete;
  CatalogKeeper& operator=(const CatalogKeeper&) = delete;

  // Begins, by a thread of its own. Start and Stop are the owner's.
  void Start();
  // Ends the thread, and makes a last copy when something happened since the newest one. Takes kCatalogStopMax at most.
  void Stop() ABSL_LOCKS_EXCLUDED(mu_);

  // Copies to all repositories now; the result of each is in States. Waits for a copy that is just made. An error:
  // there is nothing to copy to them (RESOURCE_EXHAUSTED / STORAGE_FULL, DATA_LOSS / CATALOG_CORRUPT).
  absl::Status CopyNow() ABSL_LOCKS_EXCLUDED(copy_mu_, mu_);
  // Makes the copies that are due. For the thread, and for tests.
  absl::Status Tick() ABSL_LOCKS_EXCLUDED(copy_mu_, mu_);

  // By repository.
  std::map<catalog::RepositoryId, State> States() const ABSL_LOCKS_EXCLUDED(mu_);

 private:
  // Looks which copies there are, once.
  void Load() ABSL_LOCKS_EXCLUDED(mu_);
  absl::Status FollowEvents() ABSL_LOCKS_EXCLUDED(mu_);
  std::vector<const OpenRepository*> Due() ABSL_LOCKS_EXCLUDED(mu_);
  absl::Status Copy(const std::vector<const OpenRepository*>& targets, GoOn go_on) ABSL_LOCKS_EXCLUDED(copy_mu_, mu_);
  absl::StatusOr<CatalogCopySource> MakeSource(GoOn go_on) ABSL_EXCLUSIVE_LOCKS_REQUIRED(copy_mu_);
  absl::Status CheckRoom() const;
  // Writes down what became of a try, and tells when that is something new.
  void Record(const OpenRepository& repository, const absl::StatusOr<repo::CatalogCopyInfo>& copied,
              int64_t newest_event) ABSL_LOCKS_EXCLUDED(mu_);

  catalog::Catalog& catalog_;
  jobs::EventHub& events_;
  const RepositorySet& repositories_;
  base::Filesystem& filesystem_;
  base::Clock& clock_;
  const CatalogKeeperOptions options_;
  const absl::Duration started_;

  absl::Mutex copy_mu_;  // one copy at a time; held across its I/O, on purpose
  mutable absl::Mutex mu_;
  std::map<catalog::RepositoryId, State> states_ ABSL_GUARDED_BY(mu_);
  int64_t looked_at_ ABSL_GUARDED_BY(mu_);         // number of the last event that FollowEvents saw
  int64_t change_event_ ABSL_GUARDED_BY(mu_) = 0;  // the newest change that wants a copy soon
  // When the oldest one of those that no copy has was seen; monotonic.
  absl::Duration change_seen_ ABSL_GUARDED_BY(mu_) = absl::InfiniteDuration();
  bool loaded_ ABSL_GUARDED_BY(mu_) = false;
  bool running_ = false;  // the owner's
  base::Ticker ticker_;   // the last: its thread uses all of the above
};

}  // namespace umbra::maintenance

#endif  // UMBRA_SERVER_MAINTENANCE_CATALOG_KEEPER_H_
