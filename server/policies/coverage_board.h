// How the virtual machines are protected, in sums, for everybody who asks: counted by one thread, at most once every
// few seconds, and only while somebody asks.
#ifndef UMBRA_SERVER_POLICIES_COVERAGE_BOARD_H_
#define UMBRA_SERVER_POLICIES_COVERAGE_BOARD_H_

#include <memory>
#include <optional>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/policies/coverage.h"
#include "storage/base/clock.h"
#include "storage/base/ticker.h"
#include "storage/catalog/catalog.h"

namespace umbra::policies {

// Sums that are older are counted anew before anybody gets them.
inline constexpr absl::Duration kCoverageAgeMax = absl::Seconds(5);
// From one count to the next: in time before the sums are too old, so that nobody waits.
inline constexpr absl::Duration kCoverageEvery = absl::Seconds(3);
// Counting goes on for so long after somebody asked: a dashboard that asks twice a minute never waits.
inline constexpr absl::Duration kCoverageAskedFor = absl::Seconds(30);
// A count that takes longer than this isn't waited for.
inline constexpr absl::Duration kCoverageWaitMax = absl::Seconds(20);

// Thread-safe. What it is given outlives it.
class CoverageBoard {
 public:
  CoverageBoard(catalog::Catalog& catalog, base::Clock& clock, base::Threads& threads = base::SystemThreads())
      : catalog_(catalog), clock_(clock), ticker_(clock, threads, [this] { return Tick(); }) {}
  ~CoverageBoard() { Stop(); }
  CoverageBoard(const CoverageBoard&) = delete;
  CoverageBoard& operator=(const CoverageBoard&) = delete;

  void Start() { ticker_.Start(); }
  // Who waits is answered.
  void Stop() ABSL_LOCKS_EXCLUDED(mu_);

  // The sums, at most kCoverageAgeMax old, or as old as the count that they come from took. At once while they are
  // asked for every now and then; the first one in a long time waits for a count. Besides the errors of
  // catalog::Catalog: UNAVAILABLE / SERVER_BUSY   the count takes too long, or the board was stopped.
  absl::StatusOr<std::shared_ptr<const CoverageSummary>> Get() ABSL_LOCKS_EXCLUDED(mu_);

  // Counts if that is due; returns how long it isn't. For the thread, and for tests.
  absl::Duration Tick() ABSL_LOCKS_EXCLUDED(mu_);

 private:
  using Summary = std::shared_ptr<const CoverageSummary>;  // the board's, and of those who were given it

  absl::StatusOr<CoverageSummary> Count() const;
  bool FreshLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  catalog::Catalog& catalog_;
  base::Clock& clock_;

  absl::Mutex mu_;  // not held while somebody counts
  Summary summary_ ABSL_GUARDED_BY(mu_);
  absl::Duration counted_at_ ABSL_GUARDED_BY(mu_) = -absl::InfiniteDuration();  // monotonic, when the count began
  absl::Duration asked_at_ ABSL_GUARDED_BY(mu_) = -absl::InfiniteDuration();
  // Counts that ended, and how the last one did: who waits sees that there is another one.
  int64_t counts_ ABSL_GUARDED_BY(mu_) = 0;
  absl::Status last_ ABSL_GUARDED_BY(mu_);
  bool stopped_ ABSL_GUARDED_BY(mu_) = false;
  base::Ticker ticker_;
};

}  // namespace umbra::policies

#endif  // UMBRA_SERVER_POLICIES_COVERAGE_BOARD_H_
