// Wakes those who follow the event log. The events themselves are read from the catalog's EventStore after the last
// number seen, which is what makes a stream without gap and repeat:
//
//   1. subscribe   2. read pages after `last seen` until the page is empty   3. at each call: go to 2
#ifndef UMBRA_SERVER_JOBS_EVENT_HUB_H_
#define UMBRA_SERVER_JOBS_EVENT_HUB_H_

#include <cstdint>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/jobs/notifier.h"
#include "storage/base/clock.h"
#include "storage/catalog/catalog.h"

namespace umbra::jobs {

// How many events are kept at most: a few months of a busy fleet, well under 100 MB.
inline constexpr int64_t kEventsKeptMax = 20'000'000;
inline constexpr absl::Duration kEventsKeptFor = absl::Hours(24 * 90);

// Thread-safe. Hears of every commit to the catalog that appends events, whoever writes; one EventHub per Catalog, made
// before other threads write. The catalog must outlive it, and nobody may write any more when it is destroyed.
class EventHub {
 public:
  EventHub(catalog::Catalog& catalog, base::Clock& clock);
  ~EventHub();
  EventHub(const EventHub&) = delete;
  EventHub& operator=(const EventHub&) = delete;

  // Appends one event that belongs to no other change. Its time is now.
  absl::Status Append(catalog::Event event);

  // The newest committed number; 0 when there is none.
  int64_t Newest() const ABSL_LOCKS_EXCLUDED(mu_);
  // Called after every commit that appended events.
  [[nodiscard]] Subscription Subscribe(Listener listener) { return notifier_.Subscribe("", std::move(listener)); }
  // Blocks until Newest() > `sequence` or `timeout` passed; returns Newest().
  int64_t WaitPast(int64_t sequence, absl::Duration timeout) ABSL_LOCKS_EXCLUDED(mu_);

  // Forgets what is older than `kept_for`, and the oldest beyond kEventsKeptMax. Call now and then.
  absl::Status Prune(absl::Duration kept_for = kEventsKeptFor);

 private:
  void OnCommit(int64_t newest) ABSL_LOCKS_EXCLUDED(mu_);

  catalog::Catalog& catalog_;
  base::Clock& clock_;
  Notifier notifier_;
  mutable absl::Mutex mu_;  // newest_ only grows
  int64_t newest_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace umbra::jobs

#endif  // UMBRA_SERVER_JOBS_EVENT_HUB_H_
